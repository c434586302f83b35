"""Is the distance between two versions more than that between reruns of one?"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from afterlaunch.stats.clustered import least_variance
from afterlaunch.stats.intervals import t_quantile
from afterlaunch.stats.resampling import degrees

Floats = NDArray[np.float64]
Array = NDArray[np.generic]

LEAST = 3
"""Runs of one version that it takes at least to say how much reruns differ."""


@dataclass(frozen=True, slots=True)
class Measured:
    """An estimate with the variance that the draw of runs and the draw of subjects give it.

    Attributes:
        value: The estimate.
        runs: Variance from which runs were drawn.
        runs_df: Degrees of freedom of it.
        subjects: Variance from which subjects were drawn.
        subjects_df: Degrees of freedom of it.
    """

    value: float
    runs: float
    runs_df: float
    subjects: float
    subjects_df: float

    @property
    def se(self) -> float:
        """Standard error."""
        return math.sqrt(self.runs + self.subjects)

    @property
    def df(self) -> float:
        """Degrees of freedom of the standard error (Satterthwaite)."""
        both = self.runs + self.subjects
        parts = self.runs**2 / self.runs_df + self.subjects**2 / self.subjects_df
        return both**2 / parts if parts > 0 else min(self.runs_df, self.subjects_df)

    def interval(self, alpha_low: float, alpha_high: float) -> tuple[float, float]:
        """Ends at given one-sided error rates."""
        se, df = self.se, self.df
        return self.value - t_quantile(alpha_low, df) * se, self.value + t_quantile(alpha_high, df) * se


@dataclass(frozen=True, slots=True)
class Excess:
    """How much farther two versions are apart than reruns of one.

    Attributes:
        beyond: Mean distance between the versions less the floor.
        apart: Mean distance between runs of the two versions.
        reruns: The floor: mean distance between runs of one version, the mean of both versions' where both have
            replicates; None without replicates.
    """

    beyond: Measured
    apart: Measured
    reruns: Measured | None

    @property
    def value(self) -> float:
        """The excess; may be below zero."""
        return self.beyond.value

    @property
    def between(self) -> float:
        """Mean distance between the versions."""
        return self.apart.value

    @property
    def floor(self) -> float | None:
        """Mean distance between reruns."""
        return self.reruns.value if self.reruns is not None else None

    def interval(self, alpha_low: float, alpha_high: float) -> tuple[float, float]:
        """Ends of the excess at given one-sided error rates."""
        return self.beyond.interval(alpha_low, alpha_high)


def excess(
    sums: Array, subjects: Array, pairs: Array, *, baseline: int, runs: int, groups: Array | None = None
) -> Excess | None:
    """Mean distance between runs of two versions, less the mean distance between runs of one.

    Args:
        sums: Distances of pairs of runs, summed over subjects by bucket, shape (P, G), G > 1.
        subjects: Subjects behind them, shape (P, G).
        pairs: Which runs, first < second, shape (P, 2); all pairs of runs.
        baseline: How many runs are the baseline's; they come first.
        runs: All runs.
        groups: Which runs of a version are draws together, such as those that share a sample, shape (R,); None where
            every run is a draw of its own. Runs of one group count as one draw, and the floor is that between groups.

    Returns:
        The excess. It is zero when the runs of both versions are draws of one distribution of models, and
        else, for a distance such as "predicts another class", positive. Variance from the draw of runs is that
        of their projections (Hoeffding 1948), at zero excess about twice what it should be; variance from the
        draw of subjects is the jackknife's over buckets, and where nothing differs what so few subjects can hide.
        A version with a single run is one draw, as spread as the other's. None when no version has `LEAST` runs,
        or a pair has subjects in fewer than two buckets.

    Raises:
        ValueError: When subjects come in one bucket only, or pairs are missing.

    Source:
        Székely & Rizzo (2013), Energy statistics, Journal of Statistical Planning and Inference 143:1249-1272,
        for the statistic; Hoeffding (1948), Annals of Mathematical Statistics 19:293-325, for its variance;
        Bouthillier et al. (2021), Accounting for Variance in Machine Learning Benchmarks, MLSys 3, for what is
        to be varied between runs.

    Example:
        >>> rng = np.random.default_rng(0)
        >>> said = (rng.normal(size=(2000, 1)) + 0.2 * rng.normal(size=(2000, 20))) > 0
        >>> first, second = np.triu_indices(20, 1)
        >>> changed = (said[:, first] != said[:, second]).reshape(50, 40, -1).sum(axis=1).T
        >>> found = excess(changed, np.full(changed.shape, 40), np.stack([first, second], 1), baseline=10, runs=20)
        >>> low, high = found.interval(0.05, 0.05)
        >>> low < 0 < high < 0.01 < found.floor
        True
    """
    total, size = np.asarray(sums, dtype=np.float64), np.asarray(subjects, dtype=np.float64)
    if total.shape[1] < 2:
        raise ValueError("Subjects come in one bucket; deal them into buckets, as many as 64.")
    if len(pairs) != runs * (runs - 1) // 2:
        raise ValueError(f"There are {len(pairs)} pairs of {runs} runs; give them all.")
    sides = np.arange(runs) < baseline
    many = [int(sides.sum()), int((~sides).sum())]
    own = np.arange(runs) if groups is None else np.unique(np.asarray(groups), return_inverse=True)[1]
    draws = [len(np.unique(own[s])) for s in (sides, ~sides)]
    if max(draws) < LEAST or ((size > 0).sum(axis=1) < 2).any():
        return None
    # Every estimate is a weighted sum of the pairs' distances.
    kinds = sides[np.asarray(pairs)].sum(axis=1)
    apart = np.where(kinds == 1, 1 / (many[0] * many[1]), 0.0)
    known = [s for s in (0, 1) if draws[s] > 1]
    apart_draws = own[np.asarray(pairs)[:, 0]] != own[np.asarray(pairs)[:, 1]]
    floor = np.zeros(len(pairs))
    for s in known:
        mine = (kinds == (2 if s == 0 else 0)) & apart_draws
        floor += np.where(mine, 1 / (len(known) * mine.sum()), 0.0)
    each = total.sum(axis=1) / size.sum(axis=1)
    # Distances within a draw are no part of the floor.
    square = _square(np.where(apart_draws | (kinds == 1), each, np.nan), np.asarray(pairs), runs)
    out = []
    for weights, how in ((apart - floor, (1.0, 1.0)), (apart, (1.0, 0.0)), (floor, (0.0, 1.0))):
        value = float(weights @ each)
        run_var, run_df = _of_runs(square, sides, own, known, *how)
        row_var, row_df = _of_subjects(weights, total, size)
        out.append(Measured(value, run_var, run_df, row_var, row_df))
    return Excess(*out)


def _square(distances: Floats, pairs: Array, runs: int) -> Floats:
    out = np.full((runs, runs), np.nan)
    first, second = np.asarray(pairs).T
    out[first, second] = out[second, first] = distances
    return out


def _of_runs(
    square: Floats, sides: NDArray[np.bool_], own: Array, known: list[int], apart: float, floor: float
) -> tuple[float, float]:
    """Variance of apart x (mean between) - floor x (mean within) from the draw of the runs."""
    parts = []
    for s, mine in enumerate((sides, ~sides)):
        draws = len(np.unique(own[mine]))
        between = square[np.ix_(mine, ~mine)].mean(axis=1)
        if draws > 1:
            within = np.nanmean(square[np.ix_(mine, mine)], axis=1)
            # The mean over pairs counts each run twice; where both versions have replicates it has weight a half.
            projected = apart * between - floor * within * (2 / len(known) if s in known else 0.0)
            parts.append((_of_mean(projected, own[mine]), draws - 1.0))
        elif apart > 0:
            others = np.nanmean(square[np.ix_(~mine, ~mine)], axis=1)
            parts.append((apart**2 * float(others.var(ddof=1)), len(np.unique(own[~mine])) - 1.0))
    variance = sum(v for v, _ in parts)
    spread = sum(v**2 / df for v, df in parts)
    return variance, variance**2 / spread if spread > 0 else min(df for _, df in parts)


def _of_mean(values: Floats, own: Array) -> float:
    """Variance of a mean of values that come in draws."""
    _, code = np.unique(own, return_inverse=True)
    moves = np.bincount(code, values - values.mean()) / len(values)
    return float((moves**2).sum()) * len(moves) / (len(moves) - 1)


def _of_subjects(weights: Floats, total: Floats, size: Floats) -> tuple[float, float]:
    """Variance of a weighted sum of distances from the draw of the subjects: the jackknife over buckets."""
    rest = size.sum(axis=1, keepdims=True) - size
    some = (size > 0).any(axis=0)
    without = weights @ ((total.sum(axis=1, keepdims=True) - total) / np.maximum(rest, 1e-300))[:, some]
    variance = float(without.var()) * (without.size - 1)
    return variance if variance > 0 else least_variance(size.mean(axis=0)), degrees(size.sum(axis=0))
