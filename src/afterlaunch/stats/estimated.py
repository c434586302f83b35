"""What a metric must be when outcomes have not come: calibrated scores in their place.

Given what each row's score means, the realised metric is a random number whose mean and spread are
known. What a score means is learned from a reference with outcomes, and its error is part of the
interval. All of it rests on one condition: outcomes given the features are as they were in the
reference, P(y | x) unchanged. A change of that is invisible without outcomes.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from afterlaunch.stats.estimated_map import fit_map
from afterlaunch.stats.estimated_metrics import LOSS_METRICS, Parts, dense_ranks, loss_parts, parts
from afterlaunch.stats.intervals import t_quantile
from afterlaunch.stats.resampling import degrees

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

RELATIVE = ("log_loss", "brier", "mae", "rmse")
"""Metrics whose change is relative to the reference, as in `checks.metric_kinds`."""

FEWEST_WINDOWS = 8
"""Fewest windows of the reference from which a variance between windows is taken."""

STRATA = 20
"""Strata of the reference's scores: five take off nine tenths of a bias (Cochran 1968, Biometrics 24:295-313)."""


@dataclass(frozen=True)
class Estimated:
    """A metric without outcomes, beside the reference's, with what makes it uncertain.

    Attributes:
        value: The metric expected.
        reference: The reference's metric, with outcomes.
        outcome: Variance from the luck of single outcomes.
        sampling: Variance from looking at some rows only of those that the realised metric is of.
        calibration: Variance from the error of what scores mean.
        joint: Variance of the same and the reference's metric together, for the change.
        between: Variance of the realised metric between windows that neither explains.
        skew: Third cumulants of the luck of single outcomes, of the `calibration` error and of the `joint` one.
        step: What one outcome moves the metric by, 0 where that is no single number.
        losses: Whether it is a mean of losses of any size, whose error is nearly symmetric on logarithms.
        df: Degrees of freedom of `calibration` and `joint`.
        df_between: Those of `between`.
        relative: Whether its change is relative to the reference.
    """

    value: float
    reference: float
    outcome: float
    sampling: float
    calibration: float
    joint: float
    between: float = 0.0
    skew: tuple[float, float, float] = (0.0, 0.0, 0.0)
    step: float = 0.0
    df: float = math.inf
    df_between: float = math.inf
    relative: bool = False
    losses: bool = False

    def se(self, *, change: bool) -> float:
        """Standard error of prediction, of the realised metric or of its change."""
        return math.sqrt(self.outcome + self.sampling + self.between + (self.joint if change else self.calibration))

    def realised(self, alpha_low: float, alpha_high: float) -> tuple[float, float]:
        """Where the realised metric will lie, with these one-sided errors."""
        return self._ends(change=False, alpha_low=alpha_low, alpha_high=alpha_high)

    @property
    def change(self) -> float:
        """Expected metric less the reference's; relative to it for losses."""
        return self.value / self.reference - 1 if self.relative else self.value - self.reference

    def interval(self, alpha_low: float, alpha_high: float) -> tuple[float, float]:
        """Where the realised change will lie, the reference's own error included."""
        low, high = self._ends(change=True, alpha_low=alpha_low, alpha_high=alpha_high)
        if self.relative:
            return low / self.reference - 1, high / self.reference - 1
        return low - self.reference, high - self.reference

    def _df(self, *, change: bool) -> float:
        fit = self.joint if change else self.calibration
        luck = self.outcome + self.sampling
        # Satterthwaite, the luck of outcomes being known.
        found = (luck + fit) ** 2 * self.df / fit**2 if fit > 0 and math.isfinite(self.df) else math.inf
        # The moment estimate of the variance between windows errs by the whole of a window's variance.
        return min(found, self.df_between)

    def _ends(self, *, change: bool, alpha_low: float, alpha_high: float) -> tuple[float, float]:
        v, se, df = self.value, self.se(change=change), self._df(change=change)
        if se <= 0:
            return v, v
        down, up = t_quantile(alpha_low, df), t_quantile(alpha_high, df)
        if self.losses and v > 0:
            return v * math.exp(-down * se / v), v * math.exp(up * se / v)
        skewness = (self.skew[0] + self.skew[2 if change else 1]) / se**3
        low = v - _bent(down, -skewness) * se - self.step / 2
        high = v + _bent(up, skewness) * se + self.step / 2
        most = math.inf if self.relative else 1.0
        return min(max(low, 0.0), v), max(min(high, most), v)


def _bent(z: float, skewness: float) -> float:
    """A normal quantile, corrected for skewness; it never turns back."""
    if skewness < 0:
        z = min(z, 3 / -skewness)
    return z + (z * z - 1) * skewness / 6


def luck(slope: Floats, chance: Floats) -> tuple[Floats, Floats]:
    """Variance and third cumulant that each row's outcome gives a metric.

    Args:
        slope: From `Parts`, shape (n, K).
        chance: Of every class, shape (n, K) or (n,) for two classes.

    Returns:
        Both of shape (n,).

    Example:
        >>> luck(np.array([[1.0]]), np.array([0.5]))[0].tolist()
        [0.25]
    """
    p = chance if chance.ndim == 2 else chance[:, None]
    one, two, three = ((p * slope**k).sum(axis=1) for k in (1, 2, 3))
    return np.maximum(two - one**2, 0.0), three - 3 * two * one + 2 * one**3


def variance_of(contributions: Floats, group: Ints | None = None) -> tuple[float, float]:
    """Variance of a sum of centred contributions of rows, and its degrees of freedom.

    Args:
        contributions: Shape (m,).
        group: Group of dependent rows, shape (m,); None for independent rows.
    """
    if group is None:
        return float((contributions**2).sum()), math.inf
    sums = np.bincount(group, contributions)
    size = np.bincount(group)
    filled = int(np.count_nonzero(size))
    if filled < 2:
        return float((contributions**2).sum()), 1.0
    return float((sums**2).sum()) * filled / (filled - 1), degrees(size[size > 0])


def between(value: ArrayLike, variance: ArrayLike) -> tuple[float, float]:
    """Variance between windows that sampling does not explain, by moments.

    Args:
        value: A metric in every window, shape (W,).
        variance: Its sampling variance in each, shape (W,).

    Returns:
        The variance, not below zero, and its degrees of freedom W - 1; (0, infinity) for fewer than two windows.

    Source:
        Hedges & Olkin (1985), Statistical Methods for Meta-Analysis, ch. 9, eq. 7.

    Example:
        >>> between([0.0, 1.0, 2.0], [0.25, 0.25, 0.25])
        (0.75, 2.0)
    """
    x, v = np.asarray(value, dtype=np.float64), np.asarray(variance, dtype=np.float64)
    if x.size < 2:
        return 0.0, math.inf
    return max(float(x.var(ddof=1)) - float(v.mean()), 0.0), float(x.size - 1)


def design_effect(residual: Floats, unit: Ints, other: Ints) -> float:
    """How much dependence within units widens the luck of outcomes in other rows.

    Args:
        residual: Outcome less its chance, times what it moves the metric by, of reference rows, shape (m,).
        unit: Unit of each of them, shape (m,).
        other: Unit of each row whose outcomes are awaited, shape (n,).

    Returns:
        At least 1: 1 + (mean size of a row's unit - 1) · correlation within units, from the reference.

    Source:
        Kish (1965), Survey Sampling, section 5.4; the correlation by pairs: Karlin, Cameron & Williams (1981),
        PNAS 78:2664-2668.

    Example:
        >>> unit = np.repeat(np.arange(50), 2)
        >>> design_effect(np.repeat(np.random.default_rng(0).normal(size=50), 2), unit, unit)
        2.0
    """
    sums, sizes = np.bincount(unit, residual), np.bincount(unit)
    squares = float((residual**2).sum())
    pairs = float((sizes * (sizes - 1.0)).sum())
    if pairs <= 0 or squares <= 0 or other.size == 0:
        return 1.0
    correlation = (float((sums**2).sum()) - squares) / pairs / (squares / residual.size)
    count = np.bincount(other).astype(np.float64)
    size = float((count**2).sum() / count.sum())
    return max(1.0, 1.0 + (size - 1.0) * min(correlation, 1.0))


@dataclass(frozen=True)
class Rows:
    """Rows that a metric is of.

    Attributes:
        score: Probability of the positive class, shape (n,), or of every class, shape (n, K).
        chance: Chance of the same, or known outcomes as 0 and 1; for losses the loss, expected or known, shape (n,).
        predicted: Predicted class as a number from 0, shape (n,), or None.
        weight: Weight of each row, shape (n,), or None.
        place: What the maps take, when that is not the score; shape (n,) or (n, K).
    """

    score: Floats
    chance: Floats
    predicted: Ints | None = None
    weight: Floats | None = None
    place: Floats | None = None


class Learned:
    """What a reference with outcomes teaches about the metrics of rows without: one object for many windows.

    Args:
        reference: The rows, with their outcomes or losses as `chance`.
        importance: How much more common each of them is among the rows to come, shape (m,); None for no shift. What
            scores mean is then learned for those, and the reference's own metric stays unweighted.
        group: Groups of dependent reference rows, shape (m,); None for independent ones.

    Raises:
        ValueError: Without a row of positive weight.

    Example:
        >>> rng = np.random.default_rng(0)
        >>> s, t = rng.random(4000), rng.random(4000)
        >>> y = (rng.random(4000) < s).astype(float)
        >>> known = Learned(Rows(s, y, (s > 0.5).astype(int)))
        >>> e = known.estimate("accuracy", Rows(t, known.chances(t), (t > 0.5).astype(int)))
        >>> abs(e.value - 0.75) < 0.02, e.realised(0.025, 0.025)[0] < 0.75 < e.realised(0.025, 0.025)[1]
        (True, True)
    """

    def __init__(self, reference: Rows, importance: Floats | None = None, group: Ints | None = None) -> None:
        self.reference, self.group = reference, group
        one = np.ones(reference.chance.shape[0])
        self._plain = one if reference.weight is None else reference.weight
        self._weight = self._plain if importance is None else self._plain * importance
        place = _table(reference.place if reference.place is not None else reference.score)
        outcome = _table(reference.chance)
        self.maps = tuple(fit_map(place[:, k], outcome[:, k], self._weight) for k in range(place.shape[1]))
        self._place = place
        self._chance = self.chances(place if reference.chance.ndim == 2 else place[:, 0])
        scores = _table(reference.score)
        self._ranks = [dense_ranks(scores[:, k]) for k in range(scores.shape[1])]
        self._known: dict[str, Parts] = {}
        self._edges = np.unique(np.quantile(place[:, 0], np.arange(1, STRATA) / STRATA, method="lower"))
        self._stratum = np.searchsorted(self._edges, place[:, 0])
        self._mass = np.bincount(self._stratum, self._weight, minlength=self._edges.size + 1) / self._weight.sum()
        self._mass = np.where(self._mass > 0, self._mass, np.inf)

    def chances(self, place: ArrayLike) -> Floats:
        """Calibrated chances (expected losses), shaped like `place`; those of several classes add up to 1."""
        x = np.asarray(place, dtype=np.float64)
        if x.ndim == 1:
            return self.maps[0](x)
        each = np.stack([m(x[:, k]) for k, m in enumerate(self.maps)], axis=1)
        total = each.sum(axis=1, keepdims=True)
        out: Floats = np.where(total > 0, each / np.where(total > 0, total, 1.0), 1 / each.shape[1])
        return out

    def estimate(
        self,
        metric: str,
        window: Rows,
        *,
        drawn: Floats | float = 1.0,
        design: float = 1.0,
        unexplained: tuple[float, float] = (0.0, math.inf),
    ) -> Estimated:
        """The metric of rows without outcomes, with what it takes for a prediction interval.

        The metric at calibrated chances is too good, since isotonic chances rise where outcomes only happened to
        (the expected AUC of the reference is the area under the convex hull of its ROC curve). So what the same
        chances get wrong on the reference, weighted to the window's scores in `STRATA` strata, is taken off.

        Args:
            metric: One of `CLASS_METRICS` or `LOSS_METRICS`.
            window: The rows, their chances from `chances`.
            drawn: Share of the window's rows that each of its rows was drawn from, in (0, 1], a number or shape (n,);
                the metric predicted is that of all of them.
            design: From `design_effect`.
            unexplained: From `between`: variance between windows that nothing here explains, and its degrees of
                freedom.

        Returns:
            The estimate. It may be NaN, see `parts`.

        Source:
            The difference estimator of survey sampling: Sarndal, Swensson & Wretman (1992), Model Assisted Survey
            Sampling, section 6.3; convex hull: Fawcett & Niculescu-Mizil (2007), Machine Learning 68:97-106. Errors
            by the delta method over the outcomes of the window's rows, their draw and the reference's rows (van der
            Vaart 1998, Asymptotic Statistics, ch. 3 and 20), the third moment by Cornish & Fisher (1938), Revue de
            l'Institut International de Statistique 5:307-320.
        """
        here = _parts(metric, window, window.chance, window.weight)
        place = _table(window.score if window.place is None else window.place)
        there, expected, own, own_error = self._reference(metric, place, window.weight)
        share = np.broadcast_to(np.asarray(drawn, dtype=np.float64), (place.shape[0],))
        error = self._error(place, window.chance, here.slope)
        relative = metric in RELATIVE
        if relative:
            ratio = own.value / expected.value if expected.value > 0 else math.nan
            value = here.value * ratio
            error = ratio * error + value * own_error
        else:
            # Only where outcomes are few can it leave the unit interval.
            value = min(max(here.value + own.value - expected.value, 0.0), 1.0)
            error = error + own_error
        if metric in LOSS_METRICS:
            noise, third = here.slope[:, 0] ** 2 * self.maps[0].noise_at(place[:, 0]), np.zeros(place.shape[0])
        else:
            noise, third = luck(here.slope, window.chance)
        fit, df = variance_of(error, self.group)
        change = there.influence * (value / there.value if relative and there.value > 0 else 1.0)
        joint, _ = variance_of(error - change, self.group)
        # What lies between the realised metric and its estimate has the opposite sign of the estimate's error.
        skews = (
            (0.0, 0.0) if self.group is not None else (-float((error**3).sum()), float(((change - error) ** 3).sum()))
        )
        steps = np.abs(here.slope).max(axis=1) * share if metric == "accuracy" else np.zeros(1)
        return Estimated(
            value=value,
            reference=there.value,
            outcome=float((noise * share).sum()) * design,
            sampling=float((here.influence**2 * (1 - share)).sum()),
            calibration=fit,
            joint=joint,
            between=unexplained[0],
            skew=(float((third * share**2).sum()) * design, *skews),
            step=float(steps.max(initial=0.0)),
            df=df,
            df_between=unexplained[1],
            relative=relative,
            losses=metric in LOSS_METRICS,
        )

    def unexplained(self, metric: str, window: ArrayLike, rare: float = 10.0) -> tuple[float, float] | None:
        """Variance of the realised metric between the reference's own windows that estimates do not explain.

        Args:
            metric: One of `CLASS_METRICS` or `LOSS_METRICS`.
            window: Window of every reference row, NaN for none, shape (m,).
            rare: Fewest rows outside the commonest class that are to be expected in a window that counts.

        Returns:
            As `between`; None for fewer than `FEWEST_WINDOWS` windows.
        """
        rows, at = self.reference, np.asarray(window, dtype=np.float64)
        off, variance = [], []
        for w in np.unique(at[np.isfinite(at)]):
            mine = at == w
            chance = self._chance[mine]
            if metric not in LOSS_METRICS:
                common = chance.sum(axis=0).max() if chance.ndim == 2 else max(chance.sum(), (1 - chance).sum())
                if mine.sum() - common < rare:
                    continue
            pick = Rows(
                rows.score[mine],
                chance,
                None if rows.predicted is None else rows.predicted[mine],
                None if rows.weight is None else rows.weight[mine],
                None if rows.place is None else rows.place[mine],
            )
            found = self.estimate(metric, pick)
            real = _parts(metric, pick, rows.chance[mine], pick.weight).value
            if math.isfinite(real) and math.isfinite(found.value):
                off.append(real - found.value)
                variance.append(found.outcome)
        return between(off, variance) if len(off) >= FEWEST_WINDOWS else None

    def _reference(self, metric: str, place: Floats, weight: Floats | None) -> tuple[Parts, Parts, Parts, Floats]:
        """The reference's metric, the same at chances and with outcomes as if its scores were a window's.

        Last the error of the difference (or logarithm of the ratio) of the last two, by reference row.
        """
        rows = self.reference
        there = self._known.get(metric)
        if there is None:
            there = self._known[metric] = _parts(metric, rows, rows.chance, self._plain, self._ranks)
        alike = self._weight
        if place.shape[1] == 1 and place.shape[0]:
            count = np.bincount(np.searchsorted(self._edges, place[:, 0]), weight, minlength=self._mass.size)
            alike = alike * (count / count.sum() / self._mass)[self._stratum] if count.sum() > 0 else alike
        expected = _parts(metric, rows, self._chance, alike, self._ranks)
        own = _parts(metric, rows, rows.chance, alike, self._ranks)
        if not (math.isfinite(own.value) and math.isfinite(expected.value)):
            expected = own = there
        spread = self._error(self._place, self._chance, expected.slope) + expected.influence
        if metric in RELATIVE:
            error = own.influence / max(own.value, 1e-300) - spread / max(expected.value, 1e-300)
        else:
            error = own.influence - spread
        return there, expected, own, error

    def _error(self, place: Floats, chance: Floats, slope: Floats) -> Floats:
        """What each reference row adds to the error of a metric at calibrated chances."""
        if len(self.maps) > 1:
            # Chances add up to 1: what one map gains the others lose.
            total = np.stack([m(place[:, k]) for k, m in enumerate(self.maps)], axis=1).sum(axis=1, keepdims=True)
            slope = (slope - (slope * chance).sum(axis=1, keepdims=True)) / np.where(total > 0, total, 1.0)
        out: Floats = np.sum([m.error_of(place[:, k], slope[:, k]) for k, m in enumerate(self.maps)], axis=0)
        return out


def _parts(
    metric: str, rows: Rows, chance: Floats, weight: Floats | None, ranks: Sequence[Ints] | None = None
) -> Parts:
    if metric in LOSS_METRICS:
        return loss_parts(metric, chance, weight)
    return parts(metric, rows.score, rows.predicted, chance, weight, ranks)


def _table(x: Floats) -> Floats:
    return x if x.ndim == 2 else x[:, None]
