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
        Efron & Stein (1981), Annals of Statistics 9:586-596. Groups of unequal size are not
        weighted: with rows that are alike within a unit, the weights for independent rows (Busing,
        Meijer & van der Leeden 1999) make the variance too small by about one plus the squared
        coefficient of variation of the sizes. Unequal sizes cost degrees of freedom instead:
        1 / sum(share²) - 1.

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
    left = without[good]
    deviation = left - left.mean(axis=0)
    covariance = (groups - 1) / groups * deviation.T @ deviation
    return Jackknifed(value, covariance, degrees(sizes[keep][good]), groups)


def degrees(size: NDArray[np.generic]) -> float:
    """Degrees of freedom of a variance between groups of these sizes, at least 1.

    Example:
        >>> import numpy as np
        >>> degrees(np.ones(64)), degrees(np.array([97.0, 1.0, 1.0, 1.0]))
        (63.0, 1.0)
    """
    weight = np.asarray(size, dtype=np.float64)
    total = float(weight.sum())
    return max(1.0, total**2 / float((weight**2).sum()) - 1.0) if total > 0 else 1.0


def deviations(hits: NDArray[np.generic], rows: NDArray[np.generic]) -> Floats:
    """How much each group moves a share: its delete-one deviations.

    Args:
        hits: Rows with the property per group, shape (G,) or (G, K).
        rows: All rows per group, shape (G,).

    Returns:
        An array like `hits`, whose cross product times (G - 1) / G is the jackknife covariance;
        empty groups are 0.

    Example:
        >>> import numpy as np
        >>> deviations(np.array([1, 0]), np.array([2, 2])).tolist()
        [0.25, -0.25]
    """
    counts = np.asarray(hits, dtype=np.float64)
    size = np.asarray(rows, dtype=np.float64)
    total = float(size.sum())
    share = counts.sum(axis=0) / max(total, 1.0)
    shape = (-1, *([1] * (counts.ndim - 1)))
    # A group that holds every row leaves none to compare it with.
    rest = np.where(size < total, total - size, np.inf).reshape(shape)
    out: Floats = (counts - size.reshape(shape) * share) / rest
    return out


def pooled_degrees(variances: tuple[float, float], degrees_of: tuple[float, float]) -> float:
    """Degrees of freedom of a sum of two independent variances.

    Source:
        Satterthwaite (1946), Biometrics Bulletin 2:110-114.

    Example:
        >>> pooled_degrees((1.0, 1.0), (10.0, 10.0)), pooled_degrees((1.0, 0.0), (10.0, 3.0))
        (20.0, 10.0)
    """
    total = sum(variances)
    if total <= 0:
        return min(degrees_of)
    return total**2 / sum(v**2 / d for v, d in zip(variances, degrees_of, strict=True))
