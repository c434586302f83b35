"""Whether scores mean what they say: of the rows scored 0.3, do three in ten come out positive?"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy import special

from afterlaunch.stats.intervals import Interval, invert
from afterlaunch.stats.resampling import jackknife

Floats = NDArray[np.float64]

BINS = 15
"""Most bins of equal mass."""

LEAST_ROWS = 20
"""Fewest rows of a bin; smaller tables get fewer bins."""


@dataclass(frozen=True)
class Calibration:
    """A calibration error with its sampling distribution.

    Attributes:
        value: Root mean square of (share positive - mean score) over the bins, its bias taken off.
        score: Mean score of every bin, shape (K,).
        outcome: Share positive of every bin, shape (K,).
        se: Standard error of their difference, shape (K,).
        mass: Share of the rows in every bin, shape (K,).
        df: Degrees of freedom of the standard errors.
    """

    value: float
    score: Floats
    outcome: Floats
    se: Floats
    mass: Floats
    df: float
    _model: _SumOfSquares

    def interval(self, alpha_low: float, alpha_high: float) -> Interval:
        """Interval with the given one-sided errors; an end with error one half is the estimate itself."""
        guess = self.value**2
        low = high = self.value
        if alpha_low < 0.5:
            low = math.sqrt(invert(self._model.upper, lambda _: 0.0, guess, 1.0, alpha_low, 0.5)[0])
        if alpha_high < 0.5:
            high = math.sqrt(invert(lambda _: 1.0, self._model.lower, guess, 1.0, 0.5, alpha_high)[1])
        return Interval(self.value, min(low, self.value), max(high, self.value))

    def expected(self, times: float, value: float, probability: float) -> Calibration:
        """What would be seen with `times` as many rows at a true error of `value`, at a quantile of the luck.

        Args:
            times: Rows over the present rows.
            value: True error.
            probability: Chance of seeing a smaller error.
        """
        m = self._model
        m = replace(m, null_mean=m.null_mean / times, null_scale=m.null_scale / times, far_scale=m.far_scale / times)
        low, high = 0.0, (value + 6 * math.sqrt(m.null_mean) + 6 * math.sqrt(m.far_scale)) ** 2
        for _ in range(60):
            middle = (low + high) / 2
            if replace(m, observed=middle).lower(value**2) < probability:
                low = middle
            else:
                high = middle
        m = replace(m, observed=high)
        return replace(self, value=math.sqrt(m.estimate), _model=m)


@dataclass(frozen=True)
class _SumOfSquares:
    """A sum of squares that is about s · noncentral chi-square(nu, theta / s).

    The scale s matches mean and variance of the noise at theta = 0 and the delta-method variance
    4 · s · theta far from zero, and is weighted by noise and signal between. Since it comes from an
    estimated covariance, the normal score of every tail is referred to Student's t.
    """

    observed: float
    null_mean: float
    null_scale: float
    far_scale: float
    df: float

    @property
    def estimate(self) -> float:
        return max(self.observed - self.null_mean, 0.0)

    def lower(self, theta: float) -> float:
        """P(sum of squares <= observed)."""
        b = self.null_mean
        s = (self.null_scale * b + self.far_scale * theta) / (b + theta) if b + theta > 0 else 0.0
        if s <= 1e-14 * max(self.observed, theta):
            # The noise is nothing beside the error: the estimate is the truth.
            return 1.0 if self.observed >= theta else 0.0
        return float(special.stdtr(self.df, _normal_score(self.observed / s, b / s, theta / s)))

    def upper(self, theta: float) -> float:
        """P(sum of squares >= observed)."""
        return 1.0 - self.lower(theta)


def _normal_score(x: float, k: float, centre: float) -> float:
    """Normal score of the noncentral chi-square probability below x; by series, or Sankaran's far out.

    Source:
        Sankaran (1963), Biometrika 50:199-204, for noncentralities from 1,000 on.
    """
    if centre < 1000:
        return float(special.ndtri(special.chndtr(x, k, centre)))
    mean = k + centre
    h = 1 - 2 / 3 * mean * (k + 3 * centre) / (k + 2 * centre) ** 2
    p = (k + 2 * centre) / mean**2
    m = (h - 1) * (1 - 3 * h)
    middle = 1 + h * p * (h - 1 - 0.5 * (2 - h) * m * p)
    return float(((x / mean) ** h - middle) / (h * math.sqrt(2 * p) * (1 + 0.5 * m * p)))


def equal_mass(weight: Floats, bins: int) -> NDArray[np.intp]:
    """Neighbouring score bins put together into groups of nearly equal mass.

    Args:
        weight: Weight of every score bin in rising order, shape (B,).
        bins: How many groups at most.

    Returns:
        Group of every score bin, shape (B,), numbered from 0; every group has weight.

    Example:
        >>> equal_mass(np.array([1.0, 1.0, 2.0, 0.0, 4.0]), 2).tolist()
        [0, 0, 0, 1, 1]
    """
    middle = np.cumsum(weight) - weight / 2
    group = np.minimum((middle * bins / max(float(weight.sum()), 1e-300)).astype(np.intp), bins - 1)
    used = np.unique(group[weight > 0])
    return np.searchsorted(used, group).clip(0, max(used.size - 1, 0)).astype(np.intp)


def calibration_error(
    histogram: NDArray[np.generic], score_sums: NDArray[np.generic], *, rows: float | None = None
) -> Calibration:
    """Root mean square calibration error over bins of equal mass, debiased.

    The plain estimate sums squares of noisy differences, so that a perfectly calibrated model
    seems miscalibrated; the expected noise is taken off. The interval inverts tests of the sum
    of squares, which is close to a scaled noncentral chi-square.

    Args:
        histogram: Weight per group of rows, outcome and score bin, shape (G, 2, B).
        score_sums: Weighted sums of the score per group and score bin, shape (G, B).
        rows: Unweighted rows; None when weights are 1.

    Returns:
        The error, in probability.

    Raises:
        ValueError: When there are no rows, or in fewer than two groups.

    Source:
        Kumar, Liang & Ma (2019), Verified uncertainty calibration, NeurIPS 32, section 4 (the
        debiased estimator); the noise is the jackknife's, the tail
        that of Satterthwaite (1946), Biometrics Bulletin 2:110-114.

    Example:
        >>> rng = np.random.default_rng(1)
        >>> cell = rng.integers(0, 10, 5000)
        >>> y = rng.random(5000) < (cell + 0.5) / 10
        >>> h, s = np.zeros((64, 2, 10)), np.zeros((64, 10))
        >>> group = np.arange(5000) % 64
        >>> np.add.at(h, (group, y.astype(int), cell), 1)
        >>> np.add.at(s, (group, cell), (cell + 0.5) / 10)
        >>> calibration_error(h, s).interval(0.05, 0.05).low
        0.0
    """
    h, sums = np.asarray(histogram, dtype=np.float64), np.asarray(score_sums, dtype=np.float64)
    weight = h.sum(axis=1)
    total = float(weight.sum())
    if total <= 0 or np.count_nonzero(weight.sum(axis=1)) < 2:
        raise ValueError("A calibration error needs rows in at least two groups.")
    count = total if rows is None else rows
    group = equal_mass(weight.sum(axis=0), int(min(BINS, max(1, count // LEAST_ROWS))))
    size = int(group.max()) + 1
    member = np.zeros((group.size, size))
    member[np.arange(group.size), group] = 1.0
    weights, positives, scores = weight @ member, h[:, 1] @ member, sums @ member

    def miss(w: Floats, y: Floats, s: Floats) -> Floats:
        return np.asarray((y - s) / np.where(w > 0, w, 1.0))

    j = jackknife(miss, weights, positives, scores, size=weights.sum(axis=1))
    by_bin = weights.sum(axis=0)
    mass = by_bin / total
    observed = float(mass @ j.value**2)
    form = j.covariance * mass[:, None]
    mean = float(np.trace(form))
    square = float((form * form.T).sum())
    # An estimated covariance makes trace(form²) too large by trace² / df.
    square = max((square - mean**2 / j.df) / (1 + 1 / j.df), mean**2 / max(size, 1))
    slope = mass * j.value
    far = float(slope @ j.covariance @ slope)
    null_scale = square / mean if mean > 0 else 1e-300
    far_scale = far / observed if observed > 0 and far > 0 else null_scale
    model = _SumOfSquares(observed, max(mean, 1e-300), null_scale, max(far_scale, 1e-3 * null_scale), j.df)
    return Calibration(
        value=math.sqrt(model.estimate),
        score=scores.sum(axis=0) / by_bin,
        outcome=positives.sum(axis=0) / by_bin,
        se=j.se,
        mass=mass,
        df=j.df,
        _model=model,
    )
