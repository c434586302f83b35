"""The mean distance between what two models put out, over rows, lists or users."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from afterlaunch.stats.clustered import counted, p_value
from afterlaunch.stats.intervals import rows_for, share
from afterlaunch.stats.resampling import degrees, deviations

Array = NDArray[np.generic]


@dataclass(frozen=True, slots=True)
class Mean:
    """A mean of values between 0 and 1.

    Attributes:
        value: The mean.
        variance: Variance of a single subject's value.
        subjects: How many there are.
        deff: Variance between groups over that of independent subjects, at least 1.
        df: Degrees of freedom of `deff`; infinite for independent subjects, 0 when it is not known.
    """

    value: float
    variance: float
    subjects: float
    deff: float = 1.0
    df: float = math.inf

    def interval(self, alpha_low: float, alpha_high: float) -> tuple[float, float]:
        """Ends at given one-sided error rates; [0, 1] where nothing is known."""
        if self.subjects <= 0 or self.df <= 0:
            return 0.0, 1.0
        # A mean of values in [0, 1] varies at most as a share does: it is one of more subjects.
        most = self.value * (1 - self.value)
        part = min(max(self.variance / most, 1 / self.subjects), 1.0) if most > 0 else 1.0
        rows = self.subjects / part
        found = share(self.value * rows, rows, alpha_low, alpha_high, deff=self.deff, df=self.df)
        return found.low, found.high

    def p_value(self, margin: float) -> float:
        """P-value of "at most the margin"."""
        return p_value(self.interval, margin)

    def subjects_needed(self, margin: float, alpha: float) -> int | None:
        """Subjects that show a mean of zero to lie under the margin."""
        if self.df <= 0:
            return None
        return rows_for(lambda n: Mean(0.0, 0.0, n, self.deff, self.df).interval(alpha, alpha)[1] <= margin, 30.0)


def mean_distance(sums: Array, squares: Array, subjects: Array) -> Mean:
    """A mean from sums per group.

    Args:
        sums: Values between 0 and 1, summed per group of dependent subjects, shape (G,).
        squares: Their squares, summed, shape (G,).
        subjects: Subjects per group, shape (G,); a single group means independent subjects.

    Returns:
        The mean. Its interval is that of a share of as many subjects as would be known as well, so that few
        subjects, and values near 0 or 1, have an interval that keeps inside.

    Source:
        Effective sample size as for shares from surveys: Korn & Graubard (1998), Survey Methodology
        24:193-201; variance of a ratio over clusters: Cochran (1977), Sampling Techniques, 9A.

    Example:
        >>> found = mean_distance(np.array([30.0]), np.array([10.0]), np.array([100]))
        >>> low, high = found.interval(0.025, 0.025)
        >>> round(found.value, 2), round(low, 2), round(high, 2)
        (0.3, 0.28, 0.32)
    """
    total, square, size = (np.asarray(x, dtype=np.float64) for x in (sums, squares, subjects))
    n = float(size.sum())
    if n <= 0:
        return Mean(0.0, 0.0, 0.0)
    value = min(max(float(total.sum()) / n, 0.0), 1.0)
    variance = max(float(square.sum()) / n - value**2, 0.0) * n / max(n - 1, 1.0)
    if len(size) <= 1:
        return Mean(value, variance, n)
    some = size > 0
    groups = int(some.sum())
    if groups < 2:
        return Mean(value, variance, n, 1.0, 0.0)
    moves = deviations(total, size)
    between = float((moves**2).sum()) * (groups - 1) / groups
    # Without any variance, the most that dependence within units can do.
    deff = max(1.0, between * n / variance) if variance > 0 else counted(np.zeros_like(size), size).deff
    return Mean(value, variance, n, deff, degrees(size))
