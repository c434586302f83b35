"""How much being shown higher up does to clicks, and what an offline metric is once that is taken out.

Users examine the first place most. Where what stands at which place was left to chance, or where
two rankers showed the same items at different places, the share of clicks at one place over that
at another is the share of examination, whatever the items are worth.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from afterlaunch.stats.intervals import Interval, t_quantile

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]

FEWEST_CLICKS = 10
"""Fewest clicks at each of two places from which their ratio is estimated: its logarithm is then
known to about sqrt(2/10) = 0.45, and its normal interval holds its level to a point or two."""


@dataclass(frozen=True, slots=True)
class Curve:
    """Examination by place, relative to the first place.

    Attributes:
        positions: The places, increasing, shape (K,); the first is what the others are relative to.
        log_ratio: Logarithm of examination over that of the first place, shape (K,); NaN where the
            evidence is too thin.
        variance: Its variance, shape (K,); zero for the first place.
        clicks: Clicks behind each place, shape (K,).
        df: Degrees of freedom of the variances.
        groups: Influence of every group of dependent rows on `log_ratio`, shape (G, K), by code.
    """

    positions: Ints
    log_ratio: Floats
    variance: Floats
    clicks: Ints
    df: float
    groups: Floats

    def interval(self, index: int, alpha_low: float, alpha_high: float) -> Interval:
        """Examination of one place over that of the first, with its interval."""
        value, se = float(self.log_ratio[index]), math.sqrt(float(self.variance[index]))
        return Interval(
            math.exp(value),
            math.exp(value - t_quantile(alpha_low, self.df) * se),
            math.exp(value + t_quantile(alpha_high, self.df) * se),
        )

    @property
    def known(self) -> bool:
        """Whether every place has an estimate."""
        return bool(np.isfinite(self.log_ratio).all())

    def weights(self) -> Floats:
        """Examination over that of the first place, shape (K,)."""
        out: Floats = np.exp(self.log_ratio)
        return out


def randomised(position: Ints, clicked: Floats, group: Ints | None = None) -> Curve:
    """Examination where chance decided what stands where: click rates over that of the first place.

    Args:
        position: Place of every shown item, shape (n,).
        clicked: 1 for a click, else 0, shape (n,).
        group: Codes of users or lists whose rows depend on each other, shape (n,); None for independent rows.

    Returns:
        The curve; a place with fewer than `FEWEST_CLICKS` clicks has no estimate, and none has
        when the first place is such.

    Source:
        Joachims, Swaminathan & Schnabel (2017), WSDM, 781-789 (swapping at random); variance of a log ratio by
        linearisation, summed within groups.

    Example:
        >>> place = np.tile([1, 2], 1000)
        >>> click = (np.arange(2000) % 20 == 0) | (np.arange(2000) % 40 == 1)
        >>> randomised(place, click.astype(float)).weights().round(2).tolist()
        [1.0, 0.5]
    """
    places, at = np.unique(position, return_inverse=True)
    rows, clicks = np.bincount(at).astype(np.float64), np.bincount(at, clicked)
    codes, size = _groups(group, len(position))
    enough = clicks >= FEWEST_CLICKS
    rate = np.where(enough, clicks / rows, np.nan)
    moved = np.zeros((size, len(places)))
    # Influence of a row on the log click rate of its place.
    np.add.at(moved, (codes, at), (clicked - np.nan_to_num(rate)[at]) / np.maximum(clicks, 1)[at])
    with np.errstate(divide="ignore"):
        log_rate = np.log(rate)
    first = log_rate[:1] if len(places) else log_rate
    return _curve(places, log_rate - first, clicks, moved - moved[:, :1], codes)


def _groups(group: Ints | None, rows: int) -> tuple[Ints, int]:
    """Groups as codes and how many codes there are; without groups every row is one."""
    codes = np.arange(rows, dtype=np.int64) if group is None else group
    return codes, int(codes.max(initial=-1)) + 1


def _curve(places: Ints, log_ratio: Floats, clicks: NDArray[np.generic], influence: Floats, codes: Ints) -> Curve:
    groups = len(np.unique(codes))
    variance = (influence**2).sum(axis=0) * groups / max(groups - 1, 1)
    return Curve(
        places.astype(np.int64), log_ratio, variance, clicks.astype(np.int64), max(groups - 1.0, 1.0), influence
    )


def harvested(position: Ints, clicked: Floats, item: Ints, version: Ints, group: Ints | None = None) -> Curve:
    """Examination from items that two or more versions showed at different places (all pairs).

    Rows of the same item whose place depends on the version alone are an experiment: an item (in
    its context) is worth the same wherever it stands. For two places k and k', the items that
    stood at both, under whichever version, are weighted by how often they stood at each, so that
    both places count the same items; the share of clicks is then the share of examination.

    Args:
        position: Place of every shown item, shape (n,).
        clicked: 1 for a click, else 0, shape (n,).
        item: Item (or item in its query) of every row, shape (n,).
        version: Version that ranked it, shape (n,); versions must have been assigned by chance.
        group: Users or lists whose rows depend on each other, shape (n,).

    Returns:
        The curve that fits the weighted click counts of all pairs of places best by least squares
        on the log scale; a place that no chain of pairs with `FEWEST_CLICKS` clicks on both sides
        joins to the first has no estimate.

    Source:
        Agarwal, Zaitsev, Wang, Li, Najork & Joachims (2019), WSDM, 474-482, section 4 (sets of
        items at two places, clicks weighted by how often each stood there). All pairs of places
        are combined by least squares of log ratios, which gives a variance, where they maximise.

    Example:
        >>> rng = np.random.default_rng(1)
        >>> version, item = rng.integers(0, 2, 20_000), rng.integers(0, 10, 20_000)
        >>> place = 1 + (item + version) % 2
        >>> click = rng.random(20_000) < 0.3 / place
        >>> bool(abs(harvested(place, click.astype(float), item, version).weights()[1] - 0.5) < 0.1)
        True
    """
    places, at = np.unique(position, return_inverse=True)
    _, what = np.unique(item, return_inverse=True)
    _, who = np.unique(version, return_inverse=True)
    size, count, versions = int(what.max(initial=-1)) + 1, len(places), int(who.max(initial=-1)) + 1
    shown = np.bincount((what * versions + who) * count + at, minlength=size * versions * count)
    table = shown.reshape(size, versions, count).astype(np.float64)
    # How often each item stood at each place.
    weight = table.sum(axis=1)
    codes, groups = _groups(group, len(position))
    clicks = np.bincount(at, clicked, minlength=count)
    rows_of_pairs: list[Floats] = []
    pairs: list[tuple[int, int]] = []
    precision: list[float] = []
    values: list[float] = []
    for k in range(count):
        for m in range(k + 1, count):
            # Only items that different versions put at both places are an intervention.
            moved = ((table[:, :, k] > 0).any(axis=1) & (table[:, :, m] > 0).any(axis=1)) & (
                ((table[:, :, k] > 0) != (table[:, :, m] > 0)).any(axis=1)
                | _shares_differ(table[:, :, k], table[:, :, m])
            )
            if not moved.any():
                continue
            share_of = np.where(moved, np.minimum(weight[:, k], weight[:, m]), 0.0)
            logs, influence, enough = [], np.zeros(groups), True
            for place, sign in ((k, -1.0), (m, 1.0)):
                here = (at == place) & moved[what]
                factor = share_of[what[here]] / weight[what[here], place]
                total = float((factor * clicked[here]).sum())
                enough &= float(clicked[here].sum()) >= FEWEST_CLICKS and total > 0
                if not enough:
                    break
                base = float(factor.sum())
                logs.append(math.log(total / base))
                influence += sign * np.bincount(
                    codes[here], factor * (clicked[here] / total - 1 / base), minlength=groups
                )
            if enough:
                pairs.append((k, m))
                values.append(logs[1] - logs[0])
                rows_of_pairs.append(influence)
                precision.append(1.0 / max(float((influence**2).sum()), 1e-12))
    return _solve(places, clicks, pairs, np.array(values), rows_of_pairs, np.array(precision), codes, groups)


def _shares_differ(a: Floats, b: Floats) -> NDArray[np.bool_]:
    """Whether versions put an item at two places in different proportions, shape (items,)."""
    both = a + b
    share_of = np.divide(a, both, out=np.full_like(a, np.nan), where=both > 0)
    some = np.isfinite(share_of)
    low = np.where(some, share_of, np.inf).min(axis=1)
    high = np.where(some, share_of, -np.inf).max(axis=1)
    out: NDArray[np.bool_] = (high > low) & (some.sum(axis=1) > 1)
    return out


def _solve(
    places: Ints,
    clicks: NDArray[np.generic],
    pairs: list[tuple[int, int]],
    values: Floats,
    influences: list[Floats],
    precision: Floats,
    codes: Ints,
    groups: int,
) -> Curve:
    """Least squares over pairs for the places that pairs join to the first."""
    count = len(places)
    joined = {0}
    while more := {b for a, b in pairs if a in joined} | {a for a, b in pairs if b in joined}:
        if more <= joined:
            break
        joined |= more
    log_ratio, moved = np.full(count, np.nan), np.zeros((groups, count))
    log_ratio[0] = 0.0 if count else np.nan
    free = sorted(joined - {0})
    if free:
        used = [i for i, (a, b) in enumerate(pairs) if a in joined and b in joined]
        design = np.zeros((len(used), count))
        for row, i in enumerate(used):
            design[row, pairs[i][0]], design[row, pairs[i][1]] = -1.0, 1.0
        x, w = design[:, free], precision[used]
        solve = np.linalg.solve(x.T @ (x * w[:, None]), (x * w[:, None]).T)
        log_ratio[free] = solve @ values[used]
        moved[:, free] = np.stack([influences[i] for i in used], axis=1) @ solve.T
    return _curve(places, log_ratio, clicks, moved, codes)


@dataclass(frozen=True, slots=True)
class Corrected:
    """A mean gain as logged, and as it would be if every place were examined like the first.

    Attributes:
        naive: Mean gain per shown item, such as clicks.
        corrected: The same, each gain divided by the examination of its place.
        variance: Variance of the logarithm of corrected over naive.
        df: Its degrees of freedom.
    """

    naive: float
    corrected: float
    variance: float
    df: float

    @property
    def value(self) -> float:
        """What places take, relative to the naive mean: corrected over naive, less one."""
        return self.corrected / self.naive - 1

    def interval(self, alpha_low: float, alpha_high: float) -> tuple[float, float]:
        """Ends of the interval of `value`, symmetric on the log scale."""
        se, centre = math.sqrt(self.variance), math.log(self.corrected / self.naive)
        low = math.exp(centre - t_quantile(alpha_low, self.df) * se) - 1
        return low, math.exp(min(centre + t_quantile(alpha_high, self.df) * se, 700.0)) - 1


def corrected_mean(
    gain: Floats, position: Ints, curve: Curve, group: Ints | None = None, *, same: bool = False
) -> Corrected | None:
    """Mean gain per row with each row divided by the examination of its place (inverse propensity).

    Args:
        gain: What a row earns, such as 1 for a click, or a discounted click, shape (n,).
        position: Its place, shape (n,); rows at places that the curve does not know are left out.
        curve: Examination by place.
        group: Groups of dependent rows, shape (n,); None for independent rows.
        same: Whether the curve was made from these very rows in these very groups, so that the
            errors of both are correlated.

    Returns:
        Naive and corrected means with the error of the curve in the variance; None without gain.

    Source:
        Joachims, Swaminathan & Schnabel (2017), WSDM, 781-789 (the estimator); linearised.

    Example:
        >>> place = np.tile([1, 2], 1000)
        >>> click = ((np.arange(2000) % 20 == 0) | (np.arange(2000) % 40 == 1)).astype(float)
        >>> c = corrected_mean(click, place, randomised(place, click))
        >>> round(c.naive, 4), round(c.corrected, 4)
        (0.075, 0.1)
    """
    if not len(gain) or not len(curve.positions):
        return None
    index = np.searchsorted(curve.positions, position).clip(0, len(curve.positions) - 1)
    keep = (curve.positions[index] == position) & np.isfinite(curve.log_ratio[index])
    codes, size = _groups(group, len(gain))
    gain, index, codes = gain[keep], index[keep], codes[keep]
    if not gain.sum() > 0:
        return None
    n = len(gain)
    weighted = gain * np.exp(-curve.log_ratio[index])
    naive, corrected = float(gain.mean()), float(weighted.mean())
    rows = np.bincount(codes, weighted / (n * corrected) - gain / (n * naive), minlength=size)
    # d log(corrected) / d log(examination of place k): minus the share of the corrected gain there.
    slope = -np.bincount(index, weighted, minlength=len(curve.positions)) / (n * corrected)
    through = curve.groups @ np.nan_to_num(slope)
    # Gains of one group in both parts move together only when both parts are the same rows.
    variance = float(((rows + through) ** 2).sum()) if same else float((rows**2).sum() + (through**2).sum())
    return Corrected(naive, corrected, variance, curve.df)
