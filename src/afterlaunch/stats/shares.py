"""Shares of rows that may depend on each other, and how much one table's share exceeds another's."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import special

from afterlaunch.stats.intervals import Interval, difference, normal_quantile, rows_for, share

Counts = NDArray[np.generic]


@dataclass(frozen=True, slots=True)
class Share:
    """A share of rows with what is known about its precision.

    Attributes:
        hits: Rows that have the property.
        rows: All rows.
        deff: Variance between groups over the variance of independent rows, at least 1.
        df: Degrees of freedom of `deff`; infinite for independent rows.
    """

    hits: float
    rows: float
    deff: float = 1.0
    df: float = math.inf

    @property
    def value(self) -> float:
        """The share; 0 without rows."""
        return self.hits / self.rows if self.rows > 0 else 0.0

    def interval(self, alpha_low: float, alpha_high: float) -> Interval:
        """Jeffreys interval at the effective number of rows; [0, 1] without rows or without groups."""
        if self.df <= 0:
            return Interval(self.value, 0.0, 1.0)
        return share(self.hits, self.rows, alpha_low, alpha_high, deff=self.deff, df=self.df)

    def at(self, value: float, rows: float) -> Share:
        """The same precision per row at another share and number of rows."""
        return Share(value * rows, rows, self.deff, self.df)


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
        Linearised variance of a ratio: Cochran (1977), Sampling Techniques, eq. 9A.4; degrees of
        freedom for unequal groups from Busing, Meijer & van der Leeden (1999), eq. 5.

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
    total, some = float(n.sum()), float(h.sum())
    groups = len(n)
    if groups < 2:
        return Share(some, total, max(1.0, total), 0.0)
    part = n / total
    spread = float((part**2).sum())
    df = max(1.0, 1 / spread - 1)
    p = some / total
    binomial = p * (1 - p) / total
    if binomial <= 0:
        free = len(every) - 1
        dispersion = float(every.var(ddof=1) / every.mean()) * free / float(special.chdtri(free, 0.95))
        return Share(some, total, min(max(1.0, total * spread), max(1.0, dispersion)), df)
    variance = float(((h - p * n) ** 2).sum()) / total**2 * groups / (groups - 1)
    return Share(some, total, max(1.0, variance / binomial), df)


@dataclass(frozen=True, slots=True)
class Excess:
    """How much the share of production exceeds that of the reference.

    Attributes:
        reference: Share in the reference.
        production: Share in production.
    """

    reference: Share
    production: Share

    @property
    def value(self) -> float:
        """Production's share less the reference's."""
        return self.production.value - self.reference.value

    def interval(self, alpha_low: float, alpha_high: float) -> tuple[float, float]:
        """Ends of the interval (MOVER); units that occur in both tables make it wider than it need be."""
        found = difference(self.reference.interval, self.production.interval, alpha_low, alpha_high)
        return max(-1.0, found.low), min(1.0, found.high)

    def rows_needed(self, margin: float, alpha: float) -> int | None:
        """Production rows that show an excess of zero to lie under the margin with 80 % power.

        Returns:
            Rows; None when the reference, or the number of groups, is what binds.

        Example:
            >>> Excess(Share(100, 10_000), Share(1, 50)).rows_needed(0.05, 0.05)
            78
        """
        p = self.reference.value

        def decides(rows: float) -> bool:
            se = math.sqrt(p * (1 - p) * self.production.deff / rows)
            seen = self.production.at(min(1.0, p + normal_quantile(0.2) * se), rows)
            return Excess(self.reference, seen).interval(alpha, alpha)[1] <= margin

        return rows_for(decides, 30.0)


def p_value(interval: Callable[[float, float], tuple[float, float]], margin: float) -> float:
    """p-value of "at most the margin" by inverting an interval whose low end rises with its error rate.

    Args:
        interval: (alpha_low, alpha_high) -> (low, high).
        margin: What the effect is held against.

    Returns:
        The error rate at which the low end meets the margin, to 10 %; 1.0 when it is over a half.

    Example:
        >>> one = Share(20, 100)
        >>> p = p_value(lambda a, b: (one.interval(a, b).low, 1.0), 0.15)
        >>> 0.05 < p < 0.12
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
