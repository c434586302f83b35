"""Production against offline: the change of a metric with an interval, from the groups of both tables.

Each table's metric has an interval of its own on the scale that suits it; two of them combine
into one for the change without being forced into symmetry. A unit that occurs in both tables
makes the two dependent, which the joint jackknife sees.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cache

import numpy as np
from numpy.typing import NDArray
from scipy import special

from afterlaunch.stats.calibration import Calibration
from afterlaunch.stats.intervals import (
    Interval,
    logit_scale,
    normal_quantile,
    rows_for,
    share,
    symmetric,
    t_quantile,
)
from afterlaunch.stats.resampling import Jackknifed, jackknife

Floats = NDArray[np.float64]
Statistic = Callable[..., NDArray[np.float64] | float]
Ends = Callable[[float, float], Interval]

_ANGLES = tuple(math.pi / 2 * i / 18 for i in range(19))

POWER = 0.8
"""Power at which `rows_needed` is computed."""


@dataclass(frozen=True)
class Side:
    """A metric on one table.

    Attributes:
        value: The metric.
        se: Its standard error.
        df: Degrees of freedom of the standard error.
        ends: (alpha_low, alpha_high) -> its interval.
        slope: value -> what the standard error is proportional to as the value changes.
        expect: (times as many rows, true value) -> a side that is unluckier in one case of five
            only; None where the standard error says enough.
    """

    value: float
    se: float
    df: float
    ends: Ends
    slope: Callable[[float], float]
    expect: Callable[[float, float], Side] | None = None

    def se_at(self, value: float) -> float:
        """Standard error had the metric another value."""
        here = self.slope(self.value)
        return self.se * self.slope(value) / here if here > 0 else self.se


@dataclass(frozen=True)
class Contrast:
    """Production minus offline, or their ratio less one.

    Attributes:
        reference: The offline metric.
        production: The production metric.
        correlation: Correlation of the two estimates; 0 when no unit can be in both tables.
        relative: Whether the change is relative to the offline value.
        rows: Production rows behind it.
        curved: Whether the ends of the two intervals are combined point by point, as is needed
            for metrics that cannot be negative and may be zero.
    """

    reference: Side
    production: Side
    correlation: float
    relative: bool
    rows: float
    curved: bool = False

    @property
    def value(self) -> float:
        """The change."""
        if self.relative:
            return self.production.value / self.reference.value - 1
        return self.production.value - self.reference.value

    def interval(self, alpha_low: float, alpha_high: float) -> tuple[float, float]:
        """Interval of the change with the given one-sided errors.

        Source:
            Zou (2007), Psychological Methods 12:399-413, eq. 15, for dependent estimates; without
            dependence the MOVER of `intervals.difference`. For a ratio it is taken on logarithms
            (Zou & Donner 2008, Statistics in Medicine 27:1693-1702).
        """
        if self.curved:
            return -self._farthest(self.production, self.reference, alpha_low), self._farthest(
                self.reference, self.production, alpha_high
            )
        x, y = self.reference.ends(alpha_high, alpha_low), self.production.ends(alpha_low, alpha_high)
        if self.relative:
            x, y = _log(x), _log(y)
        change, rho = y.value - x.value, self.correlation
        low = change - _combined(y.value - y.low, x.high - x.value, rho)
        high = change + _combined(y.high - y.value, x.value - x.low, rho)
        return (math.expm1(low), math.expm1(high)) if self.relative else (low, high)

    def _rows_expected(self, margin: float, alpha: float) -> int | None:
        expect = self.production.expect
        assert expect is not None

        def decides(rows: float) -> bool:
            seen = expect(rows / self.rows, self.reference.value)
            return self._farthest(self.reference, seen, alpha) <= margin

        return rows_for(decides, start=self.rows, most=1e4 * self.rows)

    @staticmethod
    def _farthest(first: Side, second: Side, alpha: float) -> float:
        """The most that second - first can be.

        MOVER takes the ends of both intervals to move in proportion to the normal score of
        their error. Here the score is shared between the two in every proportion, z cos(phi) and
        z sin(phi), and the most is taken, which is the same when they do move in proportion.
        Where the first may be zero it cannot move further, and the score has the law of a
        mixture of chi-squares instead (Self & Liang 1987, JASA 82:605-610, case 7).
        """
        # Far above zero by its own interval at a much smaller error, it may move either way.
        z = _boundary_quantile(alpha) if first.ends(alpha / 20, 0.5).low <= 0 else normal_quantile(alpha)
        most = second.value - first.value
        for phi in _ANGLES:
            a, b = (float(special.ndtr(-z * f(phi))) for f in (math.cos, math.sin))
            low = first.ends(b, 0.5).low
            most = max(most, second.ends(0.5, a).high - low)
            if low <= 0:
                break
        return most

    def p_value(self, margin: float, direction: str) -> float:
        """P-value of "the change lies inside the margin"."""
        return p_beyond(self.interval, margin, direction)

    def rows_needed(self, margin: float, alpha: float, direction: str) -> int | None:
        """Production rows that would show no change to lie inside the margin with 80 % power.

        None when the reference alone is too uncertain.
        """
        if self.production.expect is not None:
            return self._rows_expected(margin, alpha)
        a, b = self.reference.se, self.production.se_at(self.reference.value)
        if self.relative:
            a, b, margin = a / self.reference.value, b / self.reference.value, math.log1p(margin)
        beta = (1 - POWER) / (2 if direction == "both" else 1)
        df = min(self.reference.df, max(self.production.df, 60.0))
        most = margin / (t_quantile(alpha, df) + normal_quantile(beta))
        return rows_for_variance(a, b, self.correlation, self.rows, most)


@cache
def _boundary_quantile(alpha: float) -> float:
    """The z with P(Z > z) / 2 + P(chi-square(2) > z²) / 4 = alpha."""
    low, high = 0.0, normal_quantile(alpha / 4) if alpha < 0.25 else 2.0
    for _ in range(40):
        z = (low + high) / 2
        low, high = (z, high) if special.ndtr(-z) / 2 + math.exp(-z * z / 2) / 4 > alpha else (low, z)
    return high


def _combined(a: float, b: float, correlation: float) -> float:
    return math.sqrt(max(a * a + b * b - 2 * correlation * a * b, 0.0))


def _log(i: Interval) -> Interval:
    return Interval(math.log(i.value), math.log(max(i.low, 1e-300)), math.log(i.high))


def rows_for_variance(a: float, b: float, correlation: float, rows: float, most: float) -> int | None:
    """Rows at which the standard error of a change is at most `most`.

    Args:
        a: Standard error of the reference.
        b: Standard error of production with `rows` rows.
        correlation: Of the two.
        rows: Production rows now.
        most: Standard error wanted.

    Returns:
        Rows, or None when no number of them suffices.

    Example:
        >>> rows_for_variance(0.0, 0.02, 0.0, 1000, 0.01), rows_for_variance(0.02, 0.02, 0.0, 1000, 0.01)
        (4000, None)
    """
    # b shrinks to x·b, x = sqrt(rows / wanted): the largest root of a² + x²b² - 2·r·x·a·b = most².
    if b <= 0:
        return math.ceil(rows) if a <= most else None
    inside = most**2 - a**2 * (1 - correlation**2)
    if inside < 0:
        return None
    x = (correlation * a + math.sqrt(inside)) / b
    return math.ceil(rows / x**2) if x > 1e-6 else None


def p_beyond(interval: Callable[[float, float], tuple[float, float]], margin: float, direction: str) -> float:
    """P-value of "the effect lies inside the margin" from an interval that can be had at any error rate.

    It is the smallest one-sided error whose interval lies wholly beyond the margin (twice that
    when both directions are bad); for an estimate inside the margin, one less the error at which
    the other end reaches the margin.

    Args:
        interval: (alpha_low, alpha_high) -> (low, high).
        margin: Positive.
        direction: Which direction is bad.

    Example:
        >>> round(p_beyond(lambda a, b: (2 - normal_quantile(a), 2 + normal_quantile(b)), 0.355, "up"), 3)
        0.05
    """
    if direction == "both":
        return min(1.0, 2 * min(p_beyond(interval, margin, "up"), p_beyond(interval, margin, "down")))
    up = direction == "up"

    def gap(alpha: float, outer: bool) -> float:
        """How far an end lies beyond the margin, positive when it does."""
        low, high = interval(alpha, alpha)
        end = (low if outer else high) if up else -(high if outer else low)
        return end - margin

    outer = gap(0.5, True) > 0
    low, high = math.log(1e-12), math.log(0.5)
    for _ in range(50):
        middle = (low + high) / 2
        # The outer end lies beyond the margin for large errors, the inner one for small.
        if (gap(math.exp(middle), outer) > 0) == outer:
            high = middle
        else:
            low = middle
        if high - low < 1e-3:
            break
    alpha = math.exp(high)
    return alpha if outer else 1 - alpha


# ------------------------------------------------------------------ one table


def plain_side(value: float, se: float, df: float) -> Side:
    """A metric whose interval is value ± t · se."""
    return Side(value, se, df, lambda a, b: symmetric(value, se, df, a, b), lambda v: 1.0)


def positive_side(value: float, se: float, df: float) -> Side:
    """A metric above zero whose interval is symmetric on logarithms, such as a mean loss."""

    def ends(a: float, b: float) -> Interval:
        step = se / value
        return Interval(value, value * math.exp(-t_quantile(a, df) * step), value * math.exp(t_quantile(b, df) * step))

    return Side(value, se, df, ends, lambda v: v)


def unit_side(value: float, se: float, df: float, rows: float) -> Side:
    """A metric between 0 and 1 whose interval is symmetric on logits, such as an AUC.

    At 0 and 1 themselves, where the jackknife has no variance, it is a share of `rows`.

    Args:
        value: The metric.
        se: Its standard error.
        df: Degrees of freedom.
        rows: Independent rows that carry as much information as the table does at the boundary.
    """

    def ends(a: float, b: float) -> Interval:
        if 0 < value < 1 and se > 0:
            return logit_scale(value, se, df, a, b)
        return share(value * rows, rows, a, b)

    return Side(value, se, df, ends, lambda v: v * (1 - v))


def share_side(value: float, rows: float, variance: float | None, df: float) -> Side:
    """A share of rows: Jeffreys interval with the design effect that the groups show.

    Args:
        value: The share.
        rows: All rows.
        variance: Its variance under dependence; None for independent rows.
        df: Degrees of freedom of that variance.
    """
    binomial = value * (1 - value) / rows
    deff = 1.0 if variance is None or binomial <= 0 else max(variance / binomial, 1.0)
    known = df if variance is not None else math.inf

    def ends(a: float, b: float) -> Interval:
        return share(value * rows, rows, a, b, deff=deff, df=known)

    return Side(value, math.sqrt(binomial * deff), known, ends, lambda v: math.sqrt(max(v * (1 - v), 0.0)))


def calibrated_side(found: Calibration) -> Side:
    """A calibration error, which brings its own interval; its standard error is read off the 16 % end."""
    se = max(found.interval(0.16, 0.16).high - found.value, 0.0)

    def expect(times: float, value: float) -> Side:
        return calibrated_side(found.expected(times, value, POWER))

    return Side(found.value, se, found.df, cache(found.interval), lambda v: 1.0, expect)


# ------------------------------------------------------------------ both tables


def jackknife_both(
    statistic: Statistic,
    reference: Sequence[NDArray[np.generic]],
    production: Sequence[NDArray[np.generic]],
    *,
    size: tuple[NDArray[np.generic], NDArray[np.generic]],
    joint: bool,
) -> tuple[Jackknifed, Jackknifed, float]:
    """The statistic on both tables, with standard errors and their correlation.

    Args:
        statistic: As in `resampling.jackknife`; one number per table.
        reference: Sums per group, each of shape (G, *tail).
        production: The same; a unit has the same group in both.
        size: Rows per group of both, each of shape (G,).
        joint: Whether a unit can be in both tables, so that its group is deleted from both at once.

    Returns:
        Reference, production and the correlation of the two, 0 when not joint.
    """
    first = jackknife(statistic, *reference, size=size[0])
    second = jackknife(statistic, *production, size=size[1])
    if not joint:
        return first, second, 0.0
    count = len(reference)

    def pair(*sums: Floats) -> Floats:
        return np.stack([np.asarray(statistic(*sums[:count])), np.asarray(statistic(*sums[count:]))], axis=-1)

    shares = [np.asarray(s, dtype=np.float64) / max(float(np.sum(s)), 1.0) for s in size]
    both = jackknife(pair, *reference, *production, size=shares[0] + shares[1])
    spread = float(np.prod(both.se))
    rho = float(both.covariance[0, 1]) / spread if spread > 0 else 0.0
    df = min(first.df, second.df, both.df)
    return replace(first, df=df), replace(second, df=df), max(-0.99, min(0.99, rho))
