"""Shares of categories: how far two mixes are apart, and how far a list is from what its user likes."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from afterlaunch.stats.intervals import t_quantile
from afterlaunch.stats.resampling import degrees, pooled_degrees

Floats = NDArray[np.float64]
Array = NDArray[np.generic]


def total_variation(first: Array, second: Array) -> Floats:
    """Half the summed difference of shares: the part of one mix that must move to make it the other.

    Args:
        first: Counts or weights of categories, shape (..., C).
        second: The same of the other mix.

    Returns:
        Shape (...), between 0 and 1. Two empty mixes are 0 apart; an empty one and another are 1.

    Example:
        >>> total_variation(np.array([6, 4, 0]), np.array([2, 4, 4])).round(3).item()
        0.4
    """
    a, b = np.asarray(first, dtype=np.float64), np.asarray(second, dtype=np.float64)
    sums = a.sum(axis=-1), b.sum(axis=-1)
    shares = [x / np.where(s > 0, s, 1.0)[..., None] for x, s in zip((a, b), sums, strict=True)]
    apart: Floats = np.abs(shares[0] - shares[1]).sum(axis=-1) / 2
    return np.where((sums[0] > 0) == (sums[1] > 0), apart, 1.0)


def miscalibration(liked: Array, shown: Array, smoothing: float = 0.01) -> Floats:
    """Kullback-Leibler divergence of what is shown to a user from what the user chose before.

    Args:
        liked: Weights of categories in the user's history, shape (..., C).
        shown: Counts of categories in the list, shape (..., C).
        smoothing: Part of the history mixed into the list, so that a category which is not shown does not count
            without bound.

    Returns:
        In nats, shape (...), at least 0; NaN without a history or with an empty list.

    Source:
        Steck (2018), Calibrated Recommendations, RecSys, eq. 7 and 8 with his alpha of 0.01.

    Example:
        >>> miscalibration(np.array([7.0, 3.0]), np.array([7.0, 3.0])).round(3).item()
        0.0
        >>> miscalibration(np.array([7.0, 3.0]), np.array([10.0, 0.0])).round(2).item()
        1.13
    """
    p, q = np.asarray(liked, dtype=np.float64), np.asarray(shown, dtype=np.float64)
    with np.errstate(invalid="ignore", divide="ignore"):
        p = p / p.sum(axis=-1, keepdims=True)
        q = q / q.sum(axis=-1, keepdims=True)
        mixed = (1 - smoothing) * q + smoothing * p
        terms = np.where(p > 0, p * np.log(p / mixed), 0.0)
    out: Floats = np.where(np.isnan(p).any(axis=-1) | np.isnan(q).any(axis=-1), np.nan, terms.sum(axis=-1))
    return np.maximum(out, 0.0)


@dataclass(frozen=True, slots=True)
class Moved:
    """Total variation between the mixes of two versions.

    Attributes:
        value: Estimate; the direction of change is learnt from other buckets and runs than it is measured in.
        plain: The plug-in value, which is too large on average.
        se: Standard error.
        df: Degrees of freedom of it.
    """

    value: float
    plain: float
    se: float
    df: float

    def interval(self, alpha_low: float, alpha_high: float) -> tuple[float, float]:
        """Ends at given one-sided error rates: the low one from `value`, the high one from `plain`."""
        low = self.value - t_quantile(alpha_low, self.df) * self.se
        high = self.plain + t_quantile(alpha_high, self.df) * self.se
        return min(max(low, 0.0), self.value), min(max(high, self.value), 1.0)


def moved(first: Array, second: Array) -> Moved | None:
    """How far the category mixes of two versions are apart, over all they put out.

    Args:
        first: Counts by run, bucket and category, shape (R, G, C), of the one version; G > 1.
        second: The same of the other version.

    Returns:
        The distance. The plug-in distance is too large where there is little data, so that it would alarm of noise;
        the estimate takes which categories rose and which fell from one half of the buckets and measures them in the
        other, which on average is at most the distance; it is the mean over the halves that the digits of the
        buckets' numbers make. Runs are halved in the same way, so that what sets single runs apart is not taken for
        a change: the distance is between what the versions put out on average over their runs. A version with a
        single run cannot be halved: what a run of the other version is away from its fellows on average is taken
        off. Two single runs are compared as they are. None when a version put out nothing or too few buckets are
        filled.

    Source:
        Total variation is the largest difference of probability over sets of categories; any set chosen on other
        data bounds it from below on average. The plug-in bounds it from above (Jensen), as it is convex. It obeys
        the triangle inequality, which bounds what a single run adds.

    Example:
        >>> rng = np.random.default_rng(0)
        >>> same = [rng.multinomial(20, [0.5, 0.3, 0.2], size=(1, 64)) for _ in range(2)]
        >>> found = moved(*same)
        >>> found.interval(0.05, 0.05)[0] == 0.0, found.plain > found.value
        (True, True)
    """
    sides = np.asarray(first, dtype=np.float64), np.asarray(second, dtype=np.float64)
    pooled = [x.sum(axis=0) for x in sides]
    size = [x.sum(axis=1) for x in pooled]
    if min(s.sum() for s in size) <= 0:
        return None
    totals = [x.sum(axis=0) for x in pooled]
    plain = float(total_variation(*totals))
    number, rng = np.arange(len(size[0])), np.random.default_rng(0)
    splits = []
    for bit in range(max(1, int(number[-1]).bit_length())):
        halves = [_halved(x, rng) for x in sides]
        splits.append(_split(halves, (number >> bit) & 1 == 1))
    found = [s for s in splits if s is not None]
    if not found:
        return None
    value = float(np.mean([v for v, _ in found]))
    # The variance of a mean is at most the mean of the variances.
    rows = float(np.mean([v for _, v in found]))
    runs, runs_df, single = _of_runs(sides, np.sign(totals[1] / totals[1].sum() - totals[0] / totals[0].sum()))
    filled = size[0] + size[1] > 0
    rows_df = degrees((size[0] / size[0].sum() + size[1] / size[1].sum())[filled])
    df = pooled_degrees((rows, runs), (rows_df, runs_df)) if runs > 0 else rows_df
    return Moved(min(max(value - single, 0.0), plain), plain, math.sqrt(rows + runs), df)


def _halved(runs: Floats, rng: np.random.Generator) -> tuple[Floats, Floats]:
    """Counts by bucket and category of two halves of the runs, drawn at random; a single run is in both."""
    if len(runs) == 1:
        return runs[0], runs[0]
    order = rng.permutation(len(runs))
    return runs[order[::2]].sum(axis=0), runs[order[1::2]].sum(axis=0)


def _split(halves: Sequence[tuple[Floats, Floats]], half: NDArray[np.bool_]) -> tuple[float, float] | None:
    """The distance in the direction that the other runs have in the other buckets, and its variance over buckets."""
    values, variances = [], []
    for mine in (half, ~half):
        influence = np.zeros(int(mine.sum()))
        for here, there in ((0, 1), (1, 0)):
            inside = [x[here][mine] for x in halves]
            totals = [x.sum(axis=0) for x in inside]
            others = [x[there][~mine].sum(axis=0) for x in halves]
            if min(t.sum() for t in (*totals, *others)) <= 0:
                return None
            way = np.sign(others[1] / others[1].sum() - others[0] / others[0].sum())
            values.append(float(way @ (totals[1] / totals[1].sum() - totals[0] / totals[0].sum())) / 2)
            moves = [
                (x @ way - x.sum(axis=1) * (t @ way) / t.sum()) / t.sum() / 2
                for x, t in zip(inside, totals, strict=True)
            ]
            influence += (moves[1] - moves[0]) / 2
        many = int((sum(x[0][mine].sum(axis=1) + x[1][mine].sum(axis=1) for x in halves) > 0).sum())
        if many < 2:
            return None
        variances.append(float(influence @ influence) * many / (many - 1))
    return float(np.mean(values)), sum(variances) / 4


def _of_runs(sides: Sequence[Floats], way: Floats) -> tuple[float, float, float]:
    """Variance from the draw of the runs with its degrees of freedom, and what a single run adds to the distance."""
    several = [x for x in sides if len(x) > 1]
    if not several:
        return 0.0, 1.0, 0.0
    shares = [x.sum(axis=1) / np.maximum(x.sum(axis=(1, 2)), 1.0)[:, None] for x in several]
    spread = [float((x @ way).var(ddof=1)) / 4 for x in shares]
    free = [len(x) - 1.0 for x in shares]
    if len(several) == len(sides):
        parts = spread[0] / len(shares[0]), spread[1] / len(shares[1])
        return sum(parts), pooled_degrees(parts, (free[0], free[1])), 0.0
    # A version with a single run is one draw, as spread as the other's.
    x = shares[0]
    rest = (x.sum(axis=0) - x) / (len(x) - 1)
    return spread[0] * (1 + 1 / len(x)), free[0], float(total_variation(x, rest).mean())
