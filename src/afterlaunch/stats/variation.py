"""Effects window by window, as the excess over how much windows differ in normal times.

Windows of the same length from the reference's own history say how much one window differs from
another while nothing is wrong: sampling noise, shocks that a whole day shares, and the pattern of
the week. A window of production is held against the reference windows of its own phase (Mondays
against Mondays). What windows of the history differ by, beyond what their rows explain, is the
shock variance: it raises the expected distance of a normal window, which is taken off, and it is
part of every interval.

An interval rests on the projection of a window's shares on the direction of the change seen. Its
variance between windows of the history holds whatever the windows depend on within themselves
(units, sessions, hours), and Student's t pays for estimating it from so many windows.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from scipy import special

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Distance = Literal["psi", "ks", "wasserstein", "linf"]

FEWEST_WINDOWS = 8
"""Fewest windows of the history from which a variance between windows is taken."""

NOISE_DRAWS = 400
"""Draws of pure sampling noise behind the expected distance of two samples of one distribution."""

EXACT_BELOW = 50
"""Rows of the rarer kind below which the interval for a share is exact, as in `intervals.share`."""


@dataclass(frozen=True)
class Normal:
    """Windows of the reference: what normal is.

    Attributes:
        counts: Rows per window and bin, shape (R, K); R is 0 where the reference has no history.
        whole: Rows of the whole reference per bin, shape (K,).
        phase: Phase of each window (0 to 6 for the days of a week), shape (R,); all 0 without a cycle.
    """

    counts: Ints
    whole: Ints
    phase: Ints

    @property
    def known(self) -> bool:
        """Whether there is enough history to know how windows vary."""
        return self.df >= FEWEST_WINDOWS - 1

    @property
    def df(self) -> int:
        """Windows less the means that are estimated from them."""
        filled = self.counts.sum(axis=1) > 0
        return int(filled.sum()) - int(np.unique(self.phase[filled]).size)

    def grouped(self, groups: NDArray[np.intp]) -> Normal:
        """Merge bins: bin j goes to group groups[j]."""
        return Normal(merged(self.counts, groups), merged(self.whole[None, :], groups)[0], self.phase)


@dataclass(frozen=True)
class Looks:
    """Windows of production, one or several together at a time.

    Attributes:
        counts: Rows per look and bin, shape (L, K).
        phase: Phase of the look, shape (L,); -1 where it spans whole cycles.
        length: Windows in it, shape (L,).
    """

    counts: Ints
    phase: Ints
    length: Ints

    def grouped(self, groups: NDArray[np.intp]) -> Looks:
        """Merge bins: bin j goes to group groups[j]."""
        return Looks(merged(self.counts, groups), self.phase, self.length)


@dataclass(frozen=True)
class Followed:
    """An effect at every look.

    Attributes:
        value: Estimates, shape (L,); NaN for looks without rows.
        raw: The plain distances, shape (L,).
        se: Standard errors of the estimates far from zero, shape (L,).
        df: Degrees of freedom behind each, shape (L,).
        quadratic: Whether the distance is quadratic in a small change, as PSI is.
    """

    value: Floats
    raw: Floats
    se: Floats
    df: Floats
    quadratic: bool

    def ends(self, alpha_low: Floats, alpha_high: Floats) -> tuple[Floats, Floats]:
        """Ends of the interval of each look at the given one-sided errors; never below zero.

        Args:
            alpha_low: Those of the low ends, shape (L,).
            alpha_high: Those of the high ends, shape (L,).
        """
        low = self.value - quantile(alpha_low, self.df) * self.se
        above = quantile(alpha_high, self.df) * self.se
        if self.quadratic:
            # The root of a quadratic distance has a standard error that does not depend on the distance.
            high = (np.sqrt(self.value) + above / (2 * np.sqrt(np.maximum(self.raw, 1e-300)))) ** 2
        else:
            # What chance adds to a distance is less, the further it is from zero: `ok` does not count on it.
            high = self.raw + above
        return np.minimum(np.maximum(low, 0.0), self.value), np.maximum(high, self.value)


def quantile(alpha: Floats, df: Floats) -> Floats:
    """Upper `alpha` quantile of Student's t; the normal one where `df` is infinite.

    Example:
        >>> quantile(np.array([0.025, 0.025]), np.array([10.0, np.inf])).round(3).tolist()
        [2.228, 1.96]
    """
    with np.errstate(invalid="ignore"):
        t = special.stdtrit(np.where(np.isfinite(df), df, 1.0), alpha)
    out: Floats = -np.where(np.isfinite(df), t, special.ndtri(alpha))
    return out


def merged(counts: Ints, groups: NDArray[np.intp]) -> Ints:
    """Add up bins that belong to one group.

    Args:
        counts: Shape (N, K).
        groups: Group of each bin, shape (K,), numbered from 0 without gaps.

    Example:
        >>> merged(np.array([[1, 2, 3]]), np.array([0, 0, 1])).tolist()
        [[3, 3]]
    """
    out = np.zeros((counts.shape[0], int(groups.max()) + 1), dtype=np.int64)
    for j, g in enumerate(groups):
        out[:, g] += counts[:, j]
    return out


def distances(kind: Distance, normal: Normal, looks: Looks, spacing: Floats | None = None) -> Followed:
    """Distance of every look from the reference, in excess of that of a normal window.

    Args:
        kind: Which distance: the definitions are those of `stats.distances`, over the same bins.
        normal: The reference.
        looks: What is looked at.
        spacing: For Wasserstein, the width that each inner edge stands for, in its unit, shape (K - 1,).

    Returns:
        Estimates with the expected value of a normal window taken off: on the scale of squares for
        those distances that are proportional to a change (KS, Wasserstein, L-infinity), on its own for PSI,
        which is quadratic in the change.

    Source:
        Delta method; PSI's bias: Yurdakul & Naranjo (2020), Journal of Risk Model Validation 14(4), eq. 11.
        Variance between blocks of dependent rows: Politis, Romano & Wolf (1999), Subsampling, ch. 3.

    Example:
        >>> rng = np.random.default_rng(0)
        >>> days = rng.multinomial(1000, [0.5, 0.3, 0.2], size=28)
        >>> normal = Normal(days, days.sum(axis=0), np.zeros(28, dtype=np.int64))
        >>> now = Looks(np.array([[500, 300, 200], [300, 300, 400]]), np.zeros(2, dtype=np.int64), np.ones(2))
        >>> distances("linf", normal, now).value.round(1).tolist()
        [0.0, 0.2]
    """
    n = looks.counts.sum(axis=1).astype(np.float64)
    base, m = _base(normal, looks.phase)
    raw, toward, away = _measure(kind, base, looks.counts, spacing)
    power = 1 if kind == "psi" else 2
    noise = _noise(kind, normal, spacing)
    shock = _excess(kind, normal, spacing, noise, power) if normal.known else 0.0
    with np.errstate(divide="ignore", invalid="ignore"):
        expected = np.maximum(noise * (1 / n + 1 / m) + shock / looks.length, 0.0)
        value = np.maximum(raw**power - expected, 0.0) ** (1 / power)
    q = _shares(looks.counts)
    with np.errstate(divide="ignore", invalid="ignore"):
        own = _spread_of(toward, q) / n
        other = _spread_of(away, _shares(base)) / m
        if kind == "psi":
            own = own + 2 * noise * (1 / n + 1 / m) ** 2  # of a chi-square with `noise` degrees of freedom
    df = np.full(n.shape, math.inf)
    if normal.known:
        between, within, carried = _between(normal, toward, looks.length)
        own = own + np.maximum(between - within + carried, 0.0) / looks.length
        reference, _, echo = _between(normal, away, np.full_like(looks.length, max(len(normal.phase), 1)))
        other = (reference + echo) / _windows(normal, looks.phase)
        df = np.where(looks.length > 1, normal.df / 2, float(normal.df))
    value = np.where((n > 0) & (m > 0), value, np.nan)
    return Followed(value, raw, np.sqrt(np.where(np.isnan(value), 0.0, own + other)), df, kind == "psi")


def _shares(counts: Ints) -> Floats:
    rows = counts.sum(axis=1, keepdims=True)
    out: Floats = counts / np.maximum(rows, 1)
    return out


def _spread_of(direction: Floats, shares: Floats) -> Floats:
    """Variance of a projection of one row, shape (L,)."""
    out: Floats = np.maximum((direction**2 * shares).sum(axis=1) - (direction * shares).sum(axis=1) ** 2, 0.0)
    return out


def _base(normal: Normal, phase: Ints) -> tuple[Ints, Floats]:
    """Reference rows per bin that each look is held against, shape (L, K), and how many rows those are."""
    by_phase = {-1: normal.whole}
    for f in np.unique(phase[phase >= 0]):
        own = normal.counts[normal.phase == f].sum(axis=0) if normal.known else normal.whole
        by_phase[int(f)] = own if own.sum() > 0 else normal.whole
    base = np.stack([by_phase[int(f)] for f in phase]) if phase.size else np.zeros((0, normal.whole.size), np.int64)
    return base, base.sum(axis=1).astype(np.float64)


def _windows(normal: Normal, phase: Ints) -> Floats:
    """How many windows of the reference are behind each look's base."""
    filled = normal.counts.sum(axis=1) > 0
    number = {int(f): int((filled & (normal.phase == f)).sum()) for f in np.unique(phase)}
    every = int(filled.sum())
    return np.array([number[int(f)] or every if f >= 0 else every for f in phase], dtype=np.float64)


def _measure(kind: Distance, base: Ints, counts: Ints, spacing: Floats | None) -> tuple[Floats, Floats, Floats]:
    """The plain distance of each row of counts from its base, and its gradients in the shares of both."""
    if kind == "psi":
        k = counts.shape[1]
        p = (base + 0.5) / (base.sum(axis=1, keepdims=True) + k / 2)
        q = (counts + 0.5) / (counts.sum(axis=1, keepdims=True) + k / 2)
        log = np.log(q / p)
        return ((q - p) * log).sum(axis=1), log + 1 - p / q, -log + 1 - q / p
    change = _shares(counts) - _shares(base)
    rows = np.arange(change.shape[0])
    if kind == "linf":
        top = np.argmax(np.abs(change), axis=1)
        toward = np.zeros_like(change)
        toward[rows, top] = np.sign(change[rows, top])
        return np.abs(change[rows, top]), toward, -toward
    below = np.cumsum(change, axis=1)[:, :-1]
    if kind == "ks":
        top = np.argmax(np.abs(below), axis=1) if below.shape[1] else np.zeros(len(rows), dtype=np.intp)
        at = below[rows, top] if below.shape[1] else np.zeros(len(rows))
        toward = np.where(np.arange(change.shape[1])[None, :] <= top[:, None], np.sign(at)[:, None], 0.0)
        return np.abs(at), toward, -toward
    assert spacing is not None
    signed = spacing * np.sign(below)
    toward = np.zeros_like(change)
    toward[:, :-1] = np.cumsum(signed[:, ::-1], axis=1)[:, ::-1]
    return (spacing * np.abs(below)).sum(axis=1), toward, -toward


def _noise(kind: Distance, normal: Normal, spacing: Floats | None) -> float:
    """Expected plain distance (or its square) of two samples of the reference's distribution, times 1 / (1/n + 1/m)."""
    p = normal.whole / max(int(normal.whole.sum()), 1)
    if kind == "psi":
        return float(max(np.count_nonzero(p) - 1, 0))
    e = np.random.default_rng(0).normal(size=(NOISE_DRAWS, p.size)) * np.sqrt(p)
    z = e - p * e.sum(axis=1, keepdims=True)
    if kind == "linf":
        return float((np.abs(z).max(axis=1) ** 2).mean())
    below = np.abs(np.cumsum(z, axis=1)[:, :-1])
    if below.shape[1] == 0:
        return 0.0
    plain: Any = below.max(axis=1) if kind == "ks" else below @ _given(spacing)
    return float(np.mean(plain**2))


def _given(spacing: Floats | None) -> Floats:
    assert spacing is not None
    return spacing


def _excess(kind: Distance, normal: Normal, spacing: Floats | None, noise: float, power: int) -> float:
    """What windows of the history differ by from the rest of it, beyond sampling, on the scale on which it adds up."""
    n = normal.counts.sum(axis=1)
    keep = n > 0
    counts, phase, n = normal.counts[keep], normal.phase[keep], n[keep]
    totals = {int(f): counts[phase == f].sum(axis=0) for f in np.unique(phase)}
    rest = np.stack([totals[int(f)] - row for f, row in zip(phase, counts, strict=True)])
    m = rest.sum(axis=1)
    use = m > 0
    if use.sum() < 2:
        return 0.0
    raw, _, _ = _measure(kind, rest[use], counts[use], spacing)
    return float((raw**power - noise * (1 / n[use] + 1 / m[use])).mean())


def _between(normal: Normal, direction: Floats, length: Ints) -> tuple[Floats, Floats, Floats]:
    """Variance of a projection between windows of the history, and two parts of it, each of shape (L,).

    The parts are what their rows explain, and what neighbouring windows have in common, which looks at
    several windows do not average out.
    """
    keep = normal.counts.sum(axis=1) > 0
    shares, phase, n = _shares(normal.counts[keep]), normal.phase[keep], normal.counts[keep].sum(axis=1)
    centred = shares.copy()
    for f in np.unique(phase):
        centred[phase == f] -= shares[phase == f].mean(axis=0)
    off = centred @ direction.T  # (R, L)
    between = (off**2).sum(axis=0) / normal.df
    square = (shares @ (direction.T**2)) - (shares @ direction.T) ** 2
    within = (np.maximum(square, 0.0) / n[:, None]).mean(axis=0)
    carried = np.zeros_like(between)
    most = min(int(length.max(initial=1)) - 1, len(n) // 4)
    for lag in range(1, most + 1):
        gamma = (off[lag:] * off[:-lag]).sum(axis=0) / normal.df
        carried += np.where(length > lag, 2 * (1 - lag / length) * gamma, 0.0)
    return between, within, np.maximum(carried, 0.0)


# ------------------------------------------------------------------ shares


@dataclass(frozen=True)
class FollowedShare:
    """A share at every look, against that of the reference.

    Attributes:
        now: Share of each look, shape (L,); NaN for looks without rows.
        before: Share in the reference that it is held against, shape (L,).
        rows: Rows of each look over their design effect, shape (L,).
        reference: (one-sided errors of the low and of the high ends, each of shape (L,)) -> ends of `before`.
        df: Degrees of freedom of the design effect.
    """

    now: Floats
    before: Floats
    rows: Floats
    reference: Callable[[Floats, Floats], tuple[Floats, Floats]]
    df: float

    @property
    def value(self) -> Floats:
        """Rise of the share, shape (L,)."""
        return self.now - self.before

    def ends(self, alpha_low: Floats, alpha_high: Floats) -> tuple[Floats, Floats]:
        """Ends of the rise by MOVER (Zou & Donner 2008, eq. 4), each of shape (L,)."""
        low, high = share_ends(self.now, self.rows, alpha_low, alpha_high, self.df)
        under, _ = self.reference(alpha_high, alpha_low)
        _, over = self.reference(alpha_low, alpha_low)
        d = self.value
        return (
            d - np.sqrt((self.now - low) ** 2 + (over - self.before) ** 2),
            d + np.sqrt((high - self.now) ** 2 + (self.before - under) ** 2),
        )


def share_ends(share: Floats, rows: Floats, alpha_low: Floats, alpha_high: Floats, df: float) -> tuple[Floats, Floats]:
    """Both ends of many shares at once; the interval of `intervals.share`.

    Args:
        share: Shares, shape (L,).
        rows: Rows behind them over their design effect, shape (L,).
        alpha_low: One-sided errors of the low ends, shape (L,).
        alpha_high: Those of the high ends, shape (L,).
        df: Degrees of freedom of the design effect.

    Source:
        As `intervals.share`.

    Example:
        >>> low, high = share_ends(np.array([0.1]), np.array([50.0]), np.array([0.05]), np.array([0.05]), np.inf)
        >>> low.round(3).tolist(), high.round(3).tolist()
        ([0.04], [0.199])
    """

    def end(alpha: Floats, upper: bool) -> Floats:
        shrink = np.ones_like(alpha)
        if math.isfinite(df):
            z = -special.ndtri(alpha)
            shrink = np.where(
                alpha < 0.5, (quantile(alpha, np.full_like(alpha, df)) / np.where(z > 0, z, 1.0)) ** 2, 1.0
            )
        n = np.maximum(rows, 1e-9) / shrink
        half = np.where(np.minimum(share, 1 - share) * n >= EXACT_BELOW, 0.5, 0.0)
        hits, misses = share * n, (1 - share) * n
        with np.errstate(invalid="ignore"):
            if upper:
                found = special.betainccinv(hits + 1 - half, np.maximum(misses + half, 1e-12), alpha)
                return np.where(misses <= 1e-9, 1.0, np.maximum(found, share))
            found = special.betaincinv(np.maximum(hits + half, 1e-12), misses + 1 - half, alpha)
            return np.where(hits <= 1e-9, 0.0, np.minimum(found, share))

    return end(alpha_low, False), end(alpha_high, True)


@dataclass(frozen=True)
class Expected:
    """A share that the reference leads to expect, where it is not the share seen in it.

    Attributes:
        value: The share.
        ends: (one-sided error of the low end, of the high end) -> ends of its interval.
    """

    value: float
    ends: Callable[[float, float], tuple[float, float]]


def beyond(rows: int, singles: int = 0) -> Expected:
    """The share of new rows beyond the extremes of the reference's rows: Beta(2, rows - 1).

    Args:
        rows: Rows of the reference.
        singles: Not used.

    Source:
        Wilks (1941), Annals of Mathematical Statistics 12:91-96: it does not depend on the distribution.
    """
    if rows < 2:
        return Expected(1.0, lambda low, high: (0.0, 1.0))
    return Expected(
        2 / (rows + 1),
        lambda low, high: (
            float(special.betaincinv(2, rows - 1, low)),
            float(special.betainccinv(2, rows - 1, high)),
        ),
    )


def unseen(rows: int, singles: int) -> Expected:
    """The share of new rows in categories that the reference has not seen: that of its categories seen once.

    Args:
        rows: Rows of the reference.
        singles: Categories that occur in it once.

    Source:
        Good (1953), Biometrika 40:237-264.
    """

    def ends(low: float, high: float) -> tuple[float, float]:
        one = np.array([min(singles / max(rows, 1), 1.0)])
        a, b = share_ends(one, np.array([max(rows, 1) / 2.0]), np.array([low]), np.array([high]), math.inf)
        return float(a[0]), float(b[0])

    return Expected(min(singles / max(rows, 1), 1.0), ends)


def shares(normal: Normal, looks: Looks, expected: Expected | None = None) -> FollowedShare:
    """How far a share rose over that of the reference's windows of the same phase.

    Args:
        normal: The reference; bin 0 holds the rows without, bin 1 those with the property.
        looks: The same of production.
        expected: What to hold it against instead of the share in the reference.

    Returns:
        Shares whose rows are divided by the design effect that the history shows: the variance of the
        share between windows over the binomial one.

    Source:
        Design effect of windows as clusters: Kish (1965), Survey Sampling, 5.4; interval as `share_ends`.

    Example:
        >>> days = np.tile([90, 10], (28, 1))
        >>> normal = Normal(days, days.sum(axis=0), np.zeros(28, dtype=np.int64))
        >>> now = Looks(np.array([[80, 20]]), np.zeros(1, dtype=np.int64), np.ones(1))
        >>> shares(normal, now).value.round(2).tolist()
        [0.1]
    """
    n = looks.counts.sum(axis=1).astype(np.float64)
    base, m = _base(normal, looks.phase)
    now = np.where(n > 0, looks.counts[:, 1] / np.maximum(n, 1), np.nan)
    before = np.where(m > 0, base[:, 1] / np.maximum(m, 1), np.nan)
    icc, echo, df = _intraclass(normal)
    common = icc * (1 + echo * (looks.length > 1))
    rows = n / (1 + common * np.maximum(n / looks.length - 1, 0.0))
    per_window = m / _windows(normal, looks.phase) if normal.known else np.ones_like(m)
    behind = m / (1 + icc * np.maximum(per_window - 1, 0.0))

    def reference(alpha_low: Floats, alpha_high: Floats) -> tuple[Floats, Floats]:
        return share_ends(np.nan_to_num(before), behind, alpha_low, alpha_high, df)

    if expected is None:
        return FollowedShare(now, before, rows, reference, df)
    given = expected

    def ends(alpha_low: Floats, alpha_high: Floats) -> tuple[Floats, Floats]:
        known = {(a, b): given.ends(a, b) for a, b in {*zip(alpha_low.tolist(), alpha_high.tolist(), strict=True)}}
        pairs = [known[pair] for pair in zip(alpha_low.tolist(), alpha_high.tolist(), strict=True)]
        low, high = (np.array(side, dtype=np.float64) for side in zip(*pairs, strict=True))
        return low, high

    return FollowedShare(now, np.full_like(now, given.value), rows, ends, df)


def shares_by_phase(normal: Normal, phase: Ints) -> Floats:
    """Shares of the reference that each window is held against, shape (W, K).

    Args:
        normal: The reference.
        phase: Phase of each window, shape (W,).
    """
    return _shares(_base(normal, phase)[0])


def variance_along(normal: Normal, direction: Floats, counts: Ints) -> Floats:
    """Variance of windows along a direction: of their rows, and of normal windows beyond that.

    Args:
        normal: The reference.
        direction: Weight of each bin, shape (K,).
        counts: Windows, shape (W, K).

    Returns:
        Shape (W,).
    """
    each = np.tile(direction, (counts.shape[0], 1))
    own = _spread_of(each, _shares(counts)) / np.maximum(counts.sum(axis=1), 1)
    if normal.known:
        between, within, _ = _between(normal, direction[None, :], np.ones(1, dtype=np.int64))
        own = own + max(float(between[0] - within[0]), 0.0)
    floor = max(float(np.median(own[own > 0])) * 1e-3, 1e-12) if (own > 0).any() else 1e-12
    out: Floats = np.maximum(own, floor)
    return out


def _intraclass(normal: Normal) -> tuple[float, float, float]:
    """Correlation of rows of one window by what varies between windows, how much neighbours share, and its df."""
    if not normal.known:
        return 0.0, 0.0, math.inf
    direction = np.array([[0.0, 1.0]])
    between, within, carried = (float(v[0]) for v in _between(normal, direction, np.array([7])))
    p = float(normal.whole[1] / max(int(normal.whole.sum()), 1))
    if p * (1 - p) <= 0:
        return 0.0, 0.0, math.inf
    shock = max(between - within, 0.0)
    return shock / (p * (1 - p)), carried / shock if shock > 0 else 0.0, float(normal.df)
