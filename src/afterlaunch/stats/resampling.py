"""Variance from groups of rows: the delete-one-group jackknife on mergeable counts."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Jackknifed:
    """A statistic with the covariance that the jackknife gives it.

    Attributes:
        value: The statistic on all rows, shape (K,).
        covariance: Its covariance, shape (K, K).
        df: Degrees of freedom: groups that have rows, less one, and fewer when one dominates.
        groups: Groups that have rows.
    """

    value: Floats
    covariance: Floats
    df: float
    groups: int

    @property
    def se(self) -> Floats:
        """Standard errors, shape (K,)."""
        out: Floats = np.sqrt(np.maximum(np.diag(self.covariance), 0.0))
        return out


def jackknife(
    statistic: Callable[..., NDArray[np.float64] | float], *sums: NDArray[np.generic], size: NDArray[np.generic]
) -> Jackknifed:
    """Delete one group at a time.

    Args:
        statistic: Takes totals, one array of shape (..., *tail) for every array in `sums`, and
            returns the statistic with shape (..., K) or (...); it is called once with the
            totals (no leading axis) and once with all leave-one-out totals (leading axis G).
        *sums: Sums per group, each of shape (G, *tail). A group (a unit, or a bucket of units)
            that occurs in two tables has the same place in both, and is deleted from both at once.
        size: Size of each group, shape (G,): its rows, or for two tables the sum of its shares of each.

    Returns:
        The statistic, its covariance and degrees of freedom. Empty groups are left out. Where the
        statistic is undefined without a group (NaN), that group is left out too.

    Raises:
        ValueError: When the arrays have different numbers of groups.

    Source:
        Efron & Stein (1981), Annals of Statistics 9:586-596; for groups of unequal size the
        weights and degrees of freedom of Busing, Meijer & van der Leeden (1999), Statistics and
        Computing 9:3-8, eq. 3-5.

    Example:
        >>> import numpy as np
        >>> x = np.arange(10.0)
        >>> j = jackknife(lambda s, n: s / n, x, np.ones(10), size=np.ones(10))
        >>> float(j.value[0]), bool(np.isclose(j.se[0], x.std(ddof=1) / 10**0.5))
        (4.5, True)
    """
    arrays = [np.asarray(s, dtype=np.float64) for s in sums]
    count = arrays[0].shape[0]
    if any(a.shape[0] != count for a in arrays):
        raise ValueError("The arrays have different numbers of groups; group all tables alike.")
    sizes = np.asarray(size, dtype=np.float64)
    keep = sizes > 0
    arrays = [a[keep] for a in arrays]
    totals = [a.sum(axis=0) for a in arrays]
    value = np.atleast_1d(np.asarray(statistic(*totals), dtype=np.float64))
    without = np.asarray(statistic(*(t - a for t, a in zip(totals, arrays, strict=True))), dtype=np.float64)
    without = without.reshape(len(without), value.size)
    good = np.isfinite(without).all(axis=1)
    groups = int(good.sum())
    if groups < 2:
        return Jackknifed(value, np.full((value.size, value.size), np.nan), 0.0, groups)
    weight = sizes[keep][good]
    h = weight.sum() / weight
    # A group that holds all rows leaves nothing to compare it with.
    h = np.maximum(h, 1.0 + 1e-9)
    pseudo = h[:, None] * value - (h - 1)[:, None] * without[good]
    centre = (without[good] * ((h - 1) / h)[:, None]).sum(axis=0)
    estimate = groups * value - centre
    deviation = pseudo - estimate
    scale = 1.0 / (h - 1) / groups
    covariance = (deviation * scale[:, None]).T @ deviation
    share = weight / weight.sum()
    df = max(1.0, 1.0 / float((share**2).sum()) - 1.0)
    return Jackknifed(value, covariance, df, groups)
