"""A share of the rows of one table, where rows of one unit may depend on each other.

`intervals.shares` compares the shares of two tables; this is for questions that one table answers.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import special

from afterlaunch.stats.intervals import normal_quantile, rows_for, share

Counts = NDArray[np.generic]


@dataclass(frozen=True, slots=True)
class Share:
    """A share of rows with what is known about its precision.

    Attributes:
        hits: Rows that have the property.
        rows: All rows.
        deff: Variance between groups over the variance of independent rows, at least 1.
        df: Degrees of freedom of `deff`; infinite for independent rows, 0 when it is not known.
    """

    hits: float
    rows: float
    deff: float = 1.0
    df: float = math.inf

    @property
    def value(self) -> float:
        """The share; 0 without rows."""
        return self.hits / self.rows if self.rows > 0 else 0.0

    def interval(self, alpha_low: float, alpha_high: float) -> tuple[float, float]:
        """Ends of the Jeffreys interval at the effective number of rows; [0, 1] without rows or without `df`."""
        if self.df <= 0:
            return 0.0, 1.0
        found = share(self.hits, self.rows, alpha_low, alpha_high, deff=self.deff, df=self.df)
        return found.low, found.high

    def p_value(self, margin: float) -> float:
        """P-value of "at most the margin"."""
        return p_value(self.interval, margin)

    def rows_needed(self, margin: float, alpha: float) -> int | None:
        """Rows that show a share of zero to lie under the margin."""
        if self.df <= 0:
            return None
        return rows_for(lambda rows: Share(0, rows, self.deff, self.df).interval(alpha, alpha)[1] <= margin, 30.0)


def counted(hits: Counts, rows: Counts) -> Share:
    """A share from counts per group.

    Args:
        hits: Rows with the property per group of dependent rows, shape (G,).
        rows: All rows per group, shape (G,); a single group means independent rows.

    Returns:
        The share. Where every row or none has the property the groups show no variance. Then the
        design effect is the most that dependence within units can do, their size-weighted mean
        size. That is what the variance of rows over groups is in units of its mean, when units
        are hashed into groups; its upper 95 % limit is taken.

    Source:
        Variance of a ratio of sums over clusters: Cochran (1977), Sampling Techniques, section 9A;
        degrees of freedom for unequal groups: Busing, Meijer & van der Leeden (1999), Statistics
        and Computing 9:3-8.

    Example:
        >>> counted(np.array([5]), np.array([50])).deff
        1.0
        >>> round(counted(np.array([10, 0] * 20), np.array([10] * 40)).deff, 1)
        10.3
    """
    h, every = np.asarray(hits, dtype=np.float64), np.asarray(rows, dtype=np.float64)
    if len(every) <= 1:
        return Share(float(h.sum()), float(every.sum()))
    h, n = h[every > 0], every[every > 0]
    total, some, groups = float(n.sum()), float(h.sum()), len(n)
    if groups < 2:
        return Share(some, total, 1.0, 0.0)
    spread = float(((n / total) ** 2).sum())
    df = max(1.0, 1 / spread - 1)
    p = some / total
    if 0 < some < total:
        variance = float(((h - p * n) ** 2).sum()) / total**2 * groups / (groups - 1)
        return Share(some, total, max(1.0, variance * total / (p * (1 - p))), df)
    free = len(every) - 1
    dispersion = float(every.var(ddof=1) / every.mean()) * free / float(special.chdtri(free, 0.95))
    return Share(some, total, min(max(1.0, total * spread), max(1.0, dispersion)), df)


def least_variance(rows: Counts) -> float:
    """Variance to be reckoned with where no subject showed any difference: not none, but what so few can hide.

    Args:
        rows: Subjects per group, shape (G,).

    Returns:
        The square of the standard error whose 5 % end is that of a share of none.

    Example:
        >>> round(least_variance(np.array([100])) ** 0.5, 3)
        0.018
    """
    return (counted(np.zeros(len(rows)), rows).interval(0.05, 0.05)[1] / normal_quantile(0.05)) ** 2


def p_value(interval: Callable[[float, float], tuple[float, float]], margin: float) -> float:
    """P-value of "at most the margin" by inverting an interval whose low end rises with its error rate.

    Args:
        interval: (alpha_low, alpha_high) -> (low, high).
        margin: What the effect is held against.

    Returns:
        The error rate at which the low end meets the margin, to a tenth of it; 1.0 over a half.

    Example:
        >>> 0.05 < p_value(Share(20, 100).interval, 0.15) < 0.12
        True
    """
    if not interval(0.49, 0.49)[0] > margin:
        return 1.0
    low, high = math.log(1e-12), math.log(0.49)
    if interval(math.exp(low), 0.49)[0] > margin:
        return math.exp(low)
    while high - low > 0.1:
        middle = (low + high) / 2
        if interval(math.exp(middle), 0.49)[0] > margin:
            high = middle
        else:
            low = middle
    return math.exp(high)
