"""How certain the agreement of two clusterings is, when their members are a sample."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from afterlaunch.stats.clustered import Share, counted, p_value
from afterlaunch.stats.intervals import rows_for, share
from afterlaunch.stats.partitions import adjusted_rand, adjusted_rand_slope, match
from afterlaunch.stats.resampling import degrees

Floats = NDArray[np.float64]
Counts = NDArray[np.generic]


@dataclass(frozen=True)
class Disagreement:
    """One minus an index of agreement, with what is known about its precision.

    The adjusted mutual information has no such interval: with few members in a cell its bias is larger than its
    standard error.

    Attributes:
        value: 0 when the clusterings are the same, about 1 when they agree no more than by chance.
        se: Standard error, members (or whole units of them) being a sample.
        df: Degrees of freedom of the standard error; 0 when it is not known.
        moved: Share of the members that are not in the match of the cluster that they were in.
        worst: The most that the value can rise for each share of the members that moves, where none has moved.
    """

    value: float
    se: float
    df: float
    moved: Share
    worst: float

    def interval(self, alpha_low: float, alpha_high: float) -> tuple[float, float]:
        """Ends of the interval at one-sided error rates; [0, 1.5] where nothing is known.

        Half the value is taken as a share of as many independent members as have its standard error, so that
        few changes give an exact interval. Where nobody moved, the high end is that of the share of those who
        do, times the most that it can matter.
        """
        if self.df <= 0:
            return 0.0, 1.5
        if self.value <= 0 or self.se <= 0:
            return self.value, min(self.value + self.worst * self.moved.interval(alpha_low, alpha_high)[1], 1.5)
        part = self.value / 2
        rows = part * (1 - part) / (self.se / 2) ** 2
        found = share(part * rows, rows, alpha_low, alpha_high, df=self.df)
        return 2 * found.low, min(2 * found.high, 1.5)

    def p_value(self, margin: float) -> float:
        """P-value of "at most the margin"."""
        return p_value(self.interval, margin)

    def rows_needed(self, margin: float, alpha: float) -> int | None:
        """Members of which none has to move to show that the value lies under the margin."""
        if self.df <= 0:
            return None
        none = self.moved

        def shown(rows: float) -> bool:
            return self.worst * Share(0, rows, none.deff, none.df).interval(alpha, alpha)[1] <= margin

        return rows_for(shown, 30.0)


def disagreement(counts: Counts) -> Disagreement | None:
    """One minus the adjusted Rand index of two clusterings, whose members are a sample.

    Args:
        counts: Members by bucket of dependent members, cluster before and cluster now, shape (G, A, B);
            G is 1 for independent members.

    Returns:
        The disagreement, or None for fewer than two members. To its first-order variance, linearised in the counts of
        the buckets or of single members, that of two independent clusterings is added, which alone
        remains where the first-order one vanishes.

    Source:
        Infinitesimal jackknife: Jaeckel (1972), Bell Laboratories Memorandum MM 72-1215-11; Efron (1982), The
        Jackknife, the Bootstrap and Other Resampling Plans, chapter 6. Under independence the sum of squared
        deviations of the cells is a quadratic form with the covariance (diag(p) - pp') x (diag(q) - qq').

    Example:
        >>> found = disagreement(np.array([[[50, 2], [3, 45]]]))
        >>> round(found.value, 3), [round(x, 3) for x in found.interval(0.025, 0.025)]
        (0.192, [0.065, 0.417])
    """
    t = np.asarray(counts, dtype=np.float64)
    whole = t.sum(axis=0)
    n = float(whole.sum())
    if n < 2:
        return None
    value, slope = adjusted_rand(whole), adjusted_rand_slope(whole)
    size = t.sum(axis=(1, 2))
    paired = np.zeros_like(whole)
    for i, j in match(whole).pairs:
        paired[i, j] = 1.0
    moved = counted(size - (t * paired).sum(axis=(1, 2)), size)
    if len(t) == 1:
        variance, df = float((whole * slope**2).sum()) * n / (n - 1), math.inf
    else:
        groups = int((size > 0).sum())
        pull = (t * slope).sum(axis=(1, 2))
        variance = float((pull**2).sum()) * groups / max(groups - 1, 1)
        df = degrees(size) if groups > 1 else 0.0
    variance += _by_chance(whole, n)
    return Disagreement(max(1.0 - value, 0.0), math.sqrt(variance), df, moved, _worst(whole, slope) * n)


def _by_chance(t: Floats, n: float) -> float:
    """Variance of the index when the clusterings are independent."""
    p, q = t.sum(axis=1) / n, t.sum(axis=0) / n
    together = [float((x**2).sum()) for x in (p, q)]
    room = sum(together) / 2 - together[0] * together[1]
    if adjusted_rand(t) >= 1 or room <= 0:
        return 0.0
    # Traces of the squares of diag(p) - pp'.
    traces = [float((x**2).sum() - 2 * (x**3).sum() + (x**2).sum() ** 2) for x in (p, q)]
    return 2 * traces[0] * traces[1] / (n * room) ** 2


def _worst(t: Floats, slope: Floats) -> float:
    """The largest fall of the index when one member moves to another cluster, before or now."""
    there = t > 0
    falls = [
        (np.where(there, slope, -np.inf).max(axis=axis) - slope.min(axis=axis)).max(initial=0.0) for axis in (0, 1)
    ]
    return float(max(falls))
