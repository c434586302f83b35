"""Freezing the bins of a reference, so that every later table is counted alike and counts add up."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import polars as pl
from numpy.typing import ArrayLike

from afterlaunch.profile.types import Bins, CategoryBins, Kind, NumericBins

LEVELS = (
    *(0.001, 0.005, 0.01, 0.025),
    *(round(0.05 * i, 2) for i in range(1, 20)),
    *(0.975, 0.99, 0.995, 0.999),
)
"""Quantiles at which a numeric column is cut: twentieths, and finer in both tails."""

MOST_VALUES = 1000
"""A categorical column with more different values is counted in its `TOP` most frequent ones and the rest."""

TOP = 200


def numeric_bins(values: ArrayLike) -> NumericBins | None:
    """Bins of a numeric column from a sample of the reference.

    A column of at most as many different values as there are levels gets one bin for each value.

    Args:
        values: Sampled values, shape (n,); missing and infinite ones are left out.

    Returns:
        The bins, their range that of the sample; None when no finite value is left.

    Example:
        >>> bins = numeric_bins([1.0, 2.0, 2.0, 5.0])
        >>> bins.edges, bins.discrete
        ((1.0, 2.0, 5.0), True)
    """
    x = np.asarray(values, dtype=np.float64)
    x = x[np.isfinite(x)]
    if x.size == 0:
        return None
    x.sort()
    distinct = x[np.concatenate([[True], x[1:] != x[:-1]])]
    discrete = bool(distinct.size <= len(LEVELS))
    if discrete:
        edges = distinct
    else:
        at = np.minimum((np.ceil(np.array(LEVELS) * x.size) - 1).clip(0).astype(np.int64), x.size - 1)
        edges = np.unique(x[at])
    inside = np.clip(x, edges[0], edges[-1])
    with np.errstate(over="ignore"):
        centre = inside.mean()
        scale = float(np.sqrt(np.mean((inside - centre) ** 2)))
    if not np.isfinite(scale):
        scale = float(np.ptp(inside / 2.0))
    return NumericBins(tuple(edges.tolist()), discrete, float(x[0]), float(x[-1]), scale if np.isfinite(scale) else 0.0)


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
