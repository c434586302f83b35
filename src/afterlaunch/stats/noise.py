"""How much of a metric is chance: its spread between replicates, where it comes from, and how many are needed."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import special, stats

from afterlaunch.stats.intervals import normal_quantile

Floats = NDArray[np.float64]

LEAST = 5
"""Replicates that it takes at least to say how much they differ."""


@dataclass(frozen=True, slots=True)
class Spread:
    """Standard deviation of a metric between replicates.

    Attributes:
        sd: The standard deviation.
        count: Replicates.
        kurtosis: Of the replicates, 3 for normal ones; it widens the interval.
    """

    sd: float
    count: int
    kurtosis: float

    def interval(self, alpha_low: float, alpha_high: float) -> tuple[float, float]:
        """Ends at given one-sided error rates; [0, inf) with fewer than `LEAST` replicates."""
        if self.count < LEAST:
            return 0.0, math.inf
        if self.sd == 0:
            return 0.0, 0.0
        ends = []
        for sign, alpha in ((-1, alpha_low), (1, alpha_high)):
            z = sign * normal_quantile(alpha)
            small = self.count / (self.count - abs(z)) if self.count > abs(z) + 0.5 else 2.0 * self.count
            ends.append(self.sd * math.sqrt(small * math.exp(z * small * self._log_se())))
        return min(ends[0], self.sd), max(ends[1], self.sd)

    def _log_se(self) -> float:
        """Standard error of the logarithm of the variance."""
        return math.sqrt(max(self.kurtosis - (self.count - 3) / self.count, 0.1) / (self.count - 1))


def spread(values: Sequence[float] | Floats) -> Spread:
    """Standard deviation of a metric between replicates, with an interval that does not ask for a normal metric.

    Args:
        values: The metric of each replicate, shape (K,), K at least 2.

    Raises:
        ValueError: With fewer than two replicates.

    Source:
        Bonett (2006), Approximate confidence interval for standard deviation of nonnormal distributions,
        Computational Statistics & Data Analysis 50:775-782. The kurtosis is not taken to be less than a
        normal one's, which few replicates cannot show.

    Example:
        >>> found = spread([0.81, 0.79, 0.80, 0.82, 0.78, 0.80, 0.81, 0.79, 0.80, 0.80])
        >>> low, high = found.interval(0.025, 0.025)
        >>> round(found.sd, 4), 0.006 < low < found.sd < high < 0.025
        (0.0115, True)
    """
    x = np.asarray(values, dtype=np.float64)
    if x.size < 2:
        raise ValueError(f"There is {x.size} replicate; a spread takes two or more.")
    centred = x - _trimmed_mean(x)
    around = x - x.mean()
    second = float(around @ around)
    kurtosis = x.size * float((centred**4).sum()) / second**2 if second > 0 else 3.0
    return Spread(math.sqrt(second / (x.size - 1)), int(x.size), max(kurtosis, 3.0))


def _trimmed_mean(x: Floats) -> float:
    if x.size <= 4:
        return float(x.mean())
    cut = int(x.size * min(0.49, 1 / (2 * math.sqrt(x.size - 4))))
    inner = np.sort(x)[cut : x.size - cut]
    return float(inner.mean()) if inner.size else float(x.mean())


@dataclass(frozen=True, slots=True)
class Ratio:
    """Standard deviation of one group over that of another."""

    first: Spread
    second: Spread

    @property
    def value(self) -> float:
        """Second over first; infinite when the first does not vary."""
        if self.first.sd == 0:
            return 1.0 if self.second.sd == 0 else math.inf
        return self.second.sd / self.first.sd

    def interval(self, alpha_low: float, alpha_high: float) -> tuple[float, float]:
        """Ends at given one-sided error rates, on the scale of the logarithm, with Student's t."""
        if min(self.first.count, self.second.count) < LEAST or not 0 < self.value < math.inf:
            return 0.0, math.inf
        count = self.first.count + self.second.count
        pooled = (self.first.count * self.first.kurtosis + self.second.count * self.second.kurtosis) / count
        parts = [Spread(s.sd, s.count, pooled)._log_se() ** 2 for s in (self.first, self.second)]
        se = math.sqrt(sum(parts)) / 2
        df = count - 2.0
        low, high = (-float(special.stdtrit(df, a)) for a in (alpha_low, alpha_high))
        return self.value * math.exp(-low * se), self.value * math.exp(high * se)


def seeds_for(change: float, sd: float, alpha: float = 0.05, power: float = 0.8, most: int = 100_000) -> int | None:
    """Replicates of each version that show a change of the mean metric.

    Args:
        change: The change to be seen, in the metric's unit; positive.
        sd: Standard deviation between replicates.
        alpha: One-sided error rate.
        power: Chance to see it.
        most: None is returned when it takes more.

    Raises:
        ValueError: When `change` is not positive.

    Source:
        Power of the two-sample t test from the noncentral t distribution: Cohen (1988), Statistical Power
        Analysis; for replicates of a training: Bouthillier et al. (2021), Accounting for Variance in Machine
        Learning Benchmarks, MLSys 3.

    Example:
        >>> seeds_for(0.01, 0.01), seeds_for(0.01, 0.002)
        (14, 2)
    """
    if not change > 0:
        raise ValueError(f"The change is {change}; give a positive one.")

    def seen(count: int) -> float:
        df = 2 * count - 2
        shift = change / sd * math.sqrt(count / 2)
        return float(stats.nct.sf(-special.stdtrit(df, alpha), df, shift))

    if sd <= 0:
        return 2
    low, high = 1, 2
    while seen(high) < power:
        low, high = high, 2 * high
        if high > most:
            return None
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if seen(middle) >= power else (middle, high)
    return high


@dataclass(frozen=True, slots=True)
class Component:
    """How much one source of chance moves a metric.

    Attributes:
        name: The source, as the column is called.
        variance: Its variance component; one below zero is zero.
        share: Part of the sum of all.
    """

    name: str
    variance: float
    share: float


def components(values: Sequence[float] | Floats, levels: dict[str, Sequence[object]]) -> tuple[Component, ...]:
    """Where the variance of a metric comes from, of sources nested in each other.

    Args:
        values: The metric of each run, shape (K,).
        levels: Source to its level for each run, from the outermost (split, say) to the innermost (seed); levels of an
            inner one with the same name under different outer ones are different.

    Returns:
        A component for each source and "rest" for what runs of equal levels differ.

    Source:
        Analysis of variance of a nested design with unequal numbers (method 1 of Henderson): Searle, Casella
        & McCulloch (1992), Variance Components, chapters 3 and 5.

    Example:
        >>> split = ["a"] * 3 + ["b"] * 3 + ["c"] * 3
        >>> found = components([1.0, 1.1, 0.9, 2.0, 2.1, 1.9, 3.0, 3.1, 2.9], {"split": split})
        >>> [(c.name, round(c.share, 2)) for c in found]
        [('split', 0.99), ('rest', 0.01)]
    """
    x = np.asarray(values, dtype=np.float64)
    names = list(levels)
    codes = [np.zeros(x.size, dtype=np.int64)]
    for name in names:
        pairs = [(int(c), str(v)) for c, v in zip(codes[-1], levels[name], strict=True)]
        order = {p: i for i, p in enumerate(dict.fromkeys(pairs))}
        codes.append(np.array([order[p] for p in pairs], dtype=np.int64))
    codes.append(np.arange(x.size, dtype=np.int64))
    means, sizes = [], []
    for code in codes:
        size = np.bincount(code)
        means.append((np.bincount(code, x) / size)[code])
        sizes.append(size[code].astype(np.float64))
    count = len(codes) - 1
    squares, free = np.zeros(count), np.zeros(count)
    weights = np.zeros((count, count))
    for i in range(count):
        squares[i] = float(((means[i + 1] - means[i]) ** 2).sum())
        free[i] = len(np.unique(codes[i + 1])) - len(np.unique(codes[i]))
        for j in range(i, count):
            # Expected square: runs of one level of j share its effect.
            inner = _shared(codes[j + 1], codes[i + 1]) - _shared(codes[j + 1], codes[i])
            weights[i, j] = inner
    found = np.zeros(count)
    for i in reversed(range(count)):
        rest = squares[i] - float(weights[i, i + 1 :] @ found[i + 1 :])
        found[i] = max(rest / weights[i, i], 0.0) if weights[i, i] > 1e-9 else 0.0
    total = float(found.sum())
    return tuple(
        Component(name, float(v), float(v) / total if total > 0 else 0.0)
        for name, v in zip([*names, "rest"], found, strict=True)
    )


def _shared(inner: NDArray[np.int64], outer: NDArray[np.int64]) -> float:
    """Sum over levels of `outer` of the squared sizes of its levels of `inner` over its size."""
    outer_size = np.bincount(outer).astype(np.float64)
    pair = np.unique(np.stack([outer, inner]), axis=1, return_counts=True)
    return float((pair[1].astype(np.float64) ** 2 / outer_size[pair[0][0]]).sum())
