"""Intervals for a mean, a difference and a ratio of means of skewed values, such as unevenly weighted rare rewards."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from afterlaunch.stats.intervals import t_quantile

Floats = NDArray[np.float64]

FARTHEST = 1e6
"""Largest ratio that is looked for; an end beyond it is given as this."""


@dataclass(frozen=True, slots=True)
class Paired:
    """Two means of the same independent units, with what their joint skewness needs.

    Attributes:
        first: Mean of the first value.
        second: Mean of the second.
        second_order: Central moments of the pair: of first squared, of both, of second squared.
        third_order: Those of first cubed, first squared and second, first and second squared, second cubed.
        units: Independent units.
    """

    first: float
    second: float
    second_order: tuple[float, float, float]
    third_order: tuple[float, float, float, float]
    units: int

    @property
    def known(self) -> bool:
        """Whether there is any variance to make an interval of."""
        return self.units >= 2 and self._moments(1.0)[1] > 0

    @property
    def se(self) -> float:
        """Standard error of first less second."""
        return math.sqrt(self._moments(1.0)[1] / self.units)

    @property
    def ratio_se(self) -> float:
        """Standard error of first over second, by the delta method."""
        ratio = self.first / self.second
        return math.sqrt(self._moments(ratio)[1] / self.units) / abs(self.second)

    def difference(self, alpha_low: float, alpha_high: float) -> tuple[float, float]:
        """Ends of first less second at given one-sided error rates; the whole line where nothing is known."""
        if self.units < 2:
            return -math.inf, math.inf
        return self._low(1.0, alpha_low), self._high(1.0, alpha_high)

    def ratio(self, alpha_low: float, alpha_high: float) -> tuple[float, float]:
        """Ends of first over second, both positive: those ratios that the data do not refute.

        Raises:
            ValueError: When a mean is not positive.
        """
        if self.first <= 0 or self.second <= 0:
            raise ValueError(f"A ratio of {self.first} to {self.second} has no meaning.")
        if self.units < 2:
            return 0.0, FARTHEST
        at = self.first / self.second
        low = 0.0 if self._low(0.0, alpha_low) <= 0 else _root(lambda r: self._low(r, alpha_low), 0.0, at)
        high = min(2 * at, FARTHEST)
        while high < FARTHEST and self._high(high, alpha_high) > 0:
            high = min(2 * high, FARTHEST)
        if self._high(high, alpha_high) > 0:
            return low, FARTHEST
        return low, _root(lambda r: self._high(r, alpha_high), at, high)

    def _moments(self, ratio: float) -> tuple[float, float, float]:
        """Mean, variance and third central moment of first less ratio times second."""
        aa, ab, bb = self.second_order
        aaa, aab, abb, bbb = self.third_order
        variance = max(aa - 2 * ratio * ab + ratio**2 * bb, 0.0)
        if variance <= 1e-12 * (aa + ratio**2 * bb):
            variance = 0.0
        third = aaa - 3 * ratio * aab + 3 * ratio**2 * abb - ratio**3 * bbb
        more = self.units / max(self.units - 1, 1)
        return self.first - ratio * self.second, variance * more, third

    def _low(self, ratio: float, alpha: float) -> float:
        return self._end(ratio, t_quantile(alpha, self.units - 1.0))

    def _high(self, ratio: float, alpha: float) -> float:
        return self._end(ratio, -t_quantile(alpha, self.units - 1.0))

    def _end(self, ratio: float, z: float) -> float:
        mean, variance, third = self._moments(ratio)
        if variance == 0:
            return mean
        sd, skewness, n = math.sqrt(variance), third / variance**1.5, self.units
        x = z / math.sqrt(n)
        if abs(skewness) > 1e-9:
            x = 3 / skewness * (float(np.cbrt(1 + skewness * (x - skewness / (6 * n)))) - 1)
        # The transformation must not turn an end to the other side of the estimate.
        return mean - sd * (max(x, 0.0) if z > 0 else min(x, 0.0))


def _root(f: Callable[[float], float], low: float, high: float) -> float:
    """Where a function that falls changes its sign."""
    for _ in range(200):
        middle = (low + high) / 2
        if middle in {low, high}:
            break
        low, high = (middle, high) if f(middle) > 0 else (low, middle)
    return (low + high) / 2


def paired(first: ArrayLike, second: ArrayLike | None = None) -> Paired:
    """Moments of two values of every unit.

    Args:
        first: A value of each independent unit, shape (n,).
        second: Another one, shape (n,); zeros when None, so that the difference is the first mean.

    Returns:
        The means. One unit has no interval.

    Raises:
        ValueError: If there are no units, or values are not finite or not as many.

    Source:
        Hall (1992), On the Removal of Skewness by Transformation, JRSS B 54:221-228, the cubic transformation; the
        ratio: Fieller (1954), JRSS B 16:175-185, with that in place of the t statistic.

    Example:
        >>> bought = np.r_[np.ones(20), np.zeros(1980)]
        >>> [round(end, 4) for end in paired(bought).difference(0.05, 0.05)]
        [0.0068, 0.0143]
    """
    a = np.asarray(first, dtype=np.float64)
    b = np.zeros_like(a) if second is None else np.asarray(second, dtype=np.float64)
    if a.ndim != 1 or a.shape != b.shape or len(a) == 0:
        raise ValueError(f"The values have the shapes {a.shape} and {b.shape}.")
    if not (np.isfinite(a).all() and np.isfinite(b).all()):
        raise ValueError("A value is missing or infinite.")
    x, y = float(a.mean()), float(b.mean())
    a, b = a - x, b - y
    n = len(a)
    aa, ab, bb = a * a, a * b, b * b
    squares = (float(aa.sum()) / n, float(ab.sum()) / n, float(bb.sum()) / n)
    cubes = (float(aa @ a) / n, float(aa @ b) / n, float(a @ bb) / n, float(bb @ b) / n)
    return Paired(x, y, squares, cubes, n)
