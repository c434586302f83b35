"""Freezing the bins of a reference, so that every later table is counted alike and counts add up."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import polars as pl
from numpy.typing import ArrayLike, NDArray

from afterlaunch.profile.types import Bins, CategoryBins, Kind, NumericBins

LEVELS = (
    *(0.001, 0.005, 0.01, 0.025),
    *(round(0.05 * i, 2) for i in range(1, 20)),
    *(0.975, 0.99, 0.995, 0.999),
)
"""Quantiles at which a numeric column is cut: twentieths, and finer in both tails."""

BEYOND = (0.25, 0.5, 1.0, 2.0, 4.0, 8.0, 16.0, 32.0)
"""Distances beyond the outer quantiles, in standard deviations, of further edges: production may lie there."""

MOST_VALUES = 1000
"""A categorical column with more different values is counted in its `TOP` most frequent ones and the rest."""

TOP = 200


def numeric_bins(values: ArrayLike) -> NumericBins | None:
    """Bins of a numeric column from a sample of the reference.

    A column of at most as many different values as there are levels gets a bin for each value and
    one for each gap between them, so that a value never seen is in no seen value's bin. Every
    column gets further bins outside the range of the reference.

    Args:
        values: Sampled values, shape (n,); missing and infinite ones are left out.

    Returns:
        The bins, their range that of the sample; None when no finite value is left.

    Example:
        >>> bins = numeric_bins([1.0, 2.0, 2.0, 5.0])
        >>> bins.discrete, 2.0 in bins.edges, sum(1 < e < 2 for e in bins.edges)
        (True, True, 1)
    """
    x = np.asarray(values, dtype=np.float64)
    x = x[np.isfinite(x)]
    if x.size == 0:
        return None
    x.sort()
    distinct = x[np.concatenate([[True], x[1:] != x[:-1]])]
    discrete = bool(distinct.size <= len(LEVELS))
    if discrete:
        with np.errstate(over="ignore", under="ignore"):
            edges = np.concatenate([distinct, np.nextafter(distinct, -np.inf)])
    else:
        at = np.minimum((np.ceil(np.array(LEVELS) * x.size) - 1).clip(0).astype(np.int64), x.size - 1)
        # Midway to the next value, so that a small move of rounded values is not a move of whole atoms.
        above = np.minimum(np.searchsorted(distinct, x[at], side="right"), distinct.size - 1)
        edges = x[at] / 2 + distinct[above] / 2
    scale = _spread(np.clip(x, edges.min(), edges.max()))
    with np.errstate(over="ignore"):
        beyond = np.array(BEYOND) * scale
        edges = np.unique(np.concatenate([edges, edges.min() - beyond, edges.max() + beyond]))
    return NumericBins(tuple(edges[np.isfinite(edges)].tolist()), discrete, float(x[0]), float(x[-1]), scale)


def _spread(x: NDArray[np.float64]) -> float:
    """Standard deviation, also where squares would overflow; 0 when there is none."""
    size = float(np.abs(x).max()) or 1.0
    scale = float(np.std(x / size)) * size
    return scale if np.isfinite(scale) else 0.0


def sample_bins(sample: pl.DataFrame, kinds: Mapping[str, Kind]) -> dict[str, Bins | None]:
    """Numeric bins of every numeric column of a sample; categorical columns are frozen by the counter.

    Args:
        sample: Rows of the reference.
        kinds: Kind of each column to bin.
    """
    return {
        name: numeric_bins(sample[name].cast(pl.Float64, strict=False).drop_nulls().to_numpy())
        for name, kind in kinds.items()
        if kind == "numeric" and name in sample.columns
    }


def category_bins(values: list[str], counts: list[int], distinct: int, singletons: int) -> CategoryBins:
    """Bins of a categorical column from its most frequent values.

    Args:
        values: The values, most frequent first (ties by text), at most MOST_VALUES + 1 of them.
        counts: Their rows.
        distinct: How many different values there are in all.
        singletons: How many occur once.
    """
    order = sorted(range(len(values)), key=lambda i: (-counts[i], values[i]))
    if distinct <= MOST_VALUES:
        return CategoryBins(tuple(values[i] for i in order), True, singletons, distinct)
    return CategoryBins(tuple(values[i] for i in order[:TOP]), False, singletons, distinct)
