"""Sampling distributions of distances between two distributions, at any true distance.

A distance is never negative, so near zero neither its estimate nor its interval can be had from
a normal approximation. Each model here gives both tails of an estimated distance when the true
one is theta, along the shift that the data show; `stats.distances` builds and inverts them.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np
from numpy.typing import NDArray
from scipy import special

Floats = NDArray[np.float64]

BRIDGE_SKEWNESS, BRIDGE_KURTOSIS = 1.29, 2.2
"""Of the integral of an absolute Brownian bridge, from its first four moments (Shepp 1982, Ann. Probab. 10:234-239)."""


class Model(Protocol):
    """The sampling distribution of one distance."""

    @property
    def observed(self) -> float:
        """The distance between the two estimated distributions, biased upward."""
        ...

    @property
    def estimate(self) -> float:
        """The distance with its bias taken off."""
        ...

    def upper(self, theta: float) -> float:
        """P(statistic >= observed) at true distance theta."""
        ...

    def lower(self, theta: float) -> float:
        """P(statistic <= observed) at true distance theta."""
        ...

    def null_quantile(self, probability: float) -> float:
        """Quantile of the statistic at true distance zero."""
        ...

    def seeing(self, observed: float) -> Model:
        """The same model had another value been observed."""
        ...


def _studentised(probability: float, df: float) -> float:
    """A probability under a known variance as one under a variance with `df` degrees of freedom.

    Its normal score is referred to t. A noncentral F would let the error of the variance scale the
    distance itself, not just its noise, and be far too wide away from zero.
    """
    if math.isinf(df) or not 0 < probability < 1:
        return probability
    return float(special.stdtr(df, float(special.ndtri(probability))))


def _plain(probability: float, df: float) -> float:
    """The inverse of `_studentised`."""
    return probability if math.isinf(df) else float(special.ndtr(special.stdtrit(df, probability)))


@dataclass(frozen=True)
class Quadratic:
    """A divergence that is a quadratic form near zero: s · noncentral chi-square(nu, theta / s).

    `null_scale` and `null_mean` match mean and variance at theta = 0 (Satterthwaite, as Rao and
    Scott do for clustered counts); `far_scale` matches the delta-method variance 4 · s · theta far
    from zero. In between the scale is their mean, weighted by noise and signal.
    """

    observed: float
    null_mean: float
    null_scale: float
    far_scale: float
    df: float

    @property
    def estimate(self) -> float:
        return max(self.observed - self.null_mean, 0.0)

    def _shape(self, theta: float) -> tuple[float, float, float, float]:
        b = self.null_mean
        s = max((self.null_scale * b + self.far_scale * theta) / (b + theta), 1e-300)
        nu = b / s
        df = self.df * (nu * b + theta) / (b + theta) if math.isfinite(self.df) else math.inf
        return s, nu, theta / s, df

    def lower(self, theta: float) -> float:
        s, nu, noncentral, df = self._shape(theta)
        return _studentised(float(special.chndtr(self.observed / s, nu, noncentral)), df)

    def upper(self, theta: float) -> float:
        s, nu, noncentral, df = self._shape(theta)
        if noncentral == 0.0 and math.isinf(df):
            return float(special.chdtrc(nu, self.observed / s))
        return 1.0 - self.lower(theta)

    def null_quantile(self, probability: float) -> float:
        s, nu, _, df = self._shape(0.0)
        return float(s * special.chdtri(nu, 1 - _plain(probability, df)))

    def seeing(self, observed: float) -> Quadratic:
        return replace(self, observed=observed)


@dataclass(frozen=True)
class RootBits:
    """A divergence in nats seen as its square root in bits."""

    inner: Model

    @property
    def observed(self) -> float:
        return root_bits(self.inner.observed)

    @property
    def estimate(self) -> float:
        return root_bits(self.inner.estimate)

    def upper(self, theta: float) -> float:
        return self.inner.upper(theta**2 * math.log(2))

    def lower(self, theta: float) -> float:
        return self.inner.lower(theta**2 * math.log(2))

    def null_quantile(self, probability: float) -> float:
        return root_bits(self.inner.null_quantile(probability))

    def seeing(self, observed: float) -> RootBits:
        return RootBits(self.inner.seeing(observed**2 * math.log(2)))


def root_bits(nats: float) -> float:
    """Square root of a divergence in nats, in bits."""
    return math.sqrt(max(nats, 0.0) / math.log(2))


@dataclass(frozen=True)
class Largest:
    """The largest of correlated absolute differences.

    The upper tail is the Hunter-Worsley bound: the sum of the single tails less the joint tails
    of neighbours, which is nearly exact for a process with independent increments such as a
    cumulative distribution. The lower tail is that of the single largest difference.
    Variances are those at the candidate theta (score variances), times the design effects.
    """

    observed: float
    shape: Floats  # differences divided by the largest one, so that theta · shape is the candidate
    pooled: Floats  # pooled share at each point
    share: tuple[float, float]  # how a difference splits between reference and production
    m: float
    n: float
    deff: Floats
    correlation: Floats  # of neighbours, shape (K - 1,); empty for unordered categories
    df: float
    noise: float  # median of the largest difference at theta = 0
    top: int  # where the largest difference is

    @property
    def estimate(self) -> float:
        return math.sqrt(max(self.observed**2 - self.noise**2, 0.0))

    def _sd(self, theta: float) -> Floats:
        c = theta * self.shape
        f = np.clip(self.pooled - self.share[0] * c, 0.0, 1.0)
        g = np.clip(self.pooled + self.share[1] * c, 0.0, 1.0)
        variance = self.deff * (f * (1 - f) / self.m + g * (1 - g) / self.n)
        out: Floats = np.sqrt(np.maximum(variance, 1e-300)).astype(np.float64)
        return out

    def _tail(self, z: Floats) -> Floats:
        tail = special.ndtr(-z) if math.isinf(self.df) else special.stdtr(self.df, -z)
        return np.asarray(tail, dtype=np.float64)

    def upper(self, theta: float) -> float:
        sd, c = self._sd(theta), theta * self.shape
        high, low = (self.observed - c) / sd, (self.observed + c) / sd
        above, below = self._tail(high), self._tail(low)
        total = float(above.sum() + below.sum())
        if self.correlation.size:
            total -= float(_both_above(high[:-1], high[1:], above[:-1], above[1:], self.correlation).sum())
            total -= float(_both_above(low[:-1], low[1:], below[:-1], below[1:], self.correlation).sum())
        return min(max(total, float(above.max()), float(below.max()), 0.0), 1.0)

    def lower(self, theta: float) -> float:
        sd = float(self._sd(theta)[self.top])
        inside = self._tail(np.array([(theta - self.observed) / sd, (theta + self.observed) / sd]))
        return float(np.clip(inside[0] - inside[1], 0.0, 1.0))

    def null_quantile(self, probability: float) -> float:
        if probability == 0.5 and self.noise > 0:
            return self.noise
        low, high = 0.0, 8 * float(self._sd(0.0).max())
        for _ in range(18):
            middle = (low + high) / 2
            low, high = (middle, high) if self.seeing(middle).upper(0.0) > 1 - probability else (low, middle)
        return high

    def seeing(self, observed: float) -> Largest:
        return replace(self, observed=observed)


def _both_above(h: Floats, k: Floats, tail_h: Floats, tail_k: Floats, rho: Floats) -> Floats:
    """P(X > h, Y > k) for standard normals with correlation rho, by Owen's T function."""
    rho = np.clip(rho, -0.999999, 0.999999)
    root = np.sqrt(1 - rho**2)
    h, k = np.clip(h, -40.0, 40.0), np.clip(k, -40.0, 40.0)
    h = np.where(np.abs(h) < 1e-12, 1e-12, h)
    k = np.where(np.abs(k) < 1e-12, 1e-12, k)
    t = special.owens_t(h, (k - rho * h) / (h * root)) + special.owens_t(k, (h - rho * k) / (k * root))
    beta = np.where(h * k < 0, 0.5, 0.0)
    return np.clip((tail_h + tail_k) / 2 - t - beta, 0.0, np.minimum(tail_h, tail_k))


@dataclass(frozen=True)
class Absolute:
    """A weighted sum of correlated absolute differences.

    Upper tail: mean and variance at the candidate are those of folded normals; the square of the
    statistic is then matched to a scaled noncentral chi-square with the same mean and variance.
    Its third and fourth cumulants near zero are those of the integral of an absolute Brownian
    bridge. Lower tail: the statistic is at least the plain sum of differences of one sign, which
    is normal with mean theta.
    """

    observed: float
    shape: Floats  # differences for theta = 1
    weight: Floats
    sd: Floats
    correlation: Floats
    df: float
    far: Floats | None = None  # covariance at the estimate; None when it does not depend on theta

    @property
    def estimate(self) -> float:
        null_mean = self._moments(0.0)[0]
        return math.sqrt(max(self.observed**2 - null_mean**2, 0.0))

    def _moments(self, theta: float) -> tuple[float, float, float]:
        """Mean, variance, and the part of the variance that is not of differences of a sure sign."""
        mean, sd = theta * self.shape, self.sd
        z = mean / sd
        folded = sd * math.sqrt(2 / math.pi) * np.exp(-(z**2) / 2) + mean * special.erf(z / math.sqrt(2))
        signed = special.erf(z / math.sqrt(2))
        rho = self.correlation
        null = (2 / math.pi) * (np.sqrt(np.maximum(1 - rho**2, 0)) + rho * np.arcsin(rho) - 1)
        rest = np.sqrt(np.maximum(1 - signed**2, 0))
        scaled = self.weight * sd
        sure, unsure = scaled * signed, scaled * rest
        loose = float(unsure @ null @ unsure)
        return float(self.weight @ folded), max(float(sure @ rho @ sure) + loose, 1e-300), loose

    def _shape(self, theta: float) -> tuple[float, float, float]:
        mean, variance, loose = self._moments(theta)
        excess = max(mean**2 + variance - theta**2, 1e-12 * variance)
        skewed = 4 * mean * BRIDGE_SKEWNESS * loose * math.sqrt(variance) + BRIDGE_KURTOSIS * loose * variance
        s = (4 * mean**2 * variance + 2 * variance**2 + skewed) / (2 * excess + 4 * theta**2)
        return s, excess / s, theta**2 / s

    def lower(self, theta: float) -> float:
        scaled = self.weight * self.sd
        z = (self.observed - theta) / math.sqrt(max(float(scaled @ self.correlation @ scaled), 1e-300))
        return float(special.ndtr(z)) if math.isinf(self.df) else float(special.stdtr(self.df, z))

    def _at(self, theta: float) -> Absolute:
        """The model with the covariance of the candidate: pooled at zero, that of the estimate where it lies."""
        if self.far is None or theta == 0.0 or self.observed <= 0:
            return self
        part = min(theta / self.observed, 1.0)
        near = np.outer(self.sd, self.sd) * self.correlation
        covariance = (1 - part) * near + part * self.far
        sd = np.sqrt(np.maximum(np.diag(covariance), 1e-300))
        correlation = np.clip(covariance / np.outer(sd, sd), -1.0, 1.0)
        return replace(self, sd=sd, correlation=correlation, far=None)

    def upper(self, theta: float) -> float:
        if self.far is not None and theta > 0:
            return self._at(theta).upper(theta)
        s, nu, noncentral = self._shape(theta)
        tail = 1.0 - _studentised(float(special.chndtr(self.observed**2 / s, nu, noncentral)), self.df)
        return max(tail, self._of_one_sign(theta))

    def _of_one_sign(self, theta: float) -> float:
        """Two-sided tail of the plain sum of differences: the statistic is never below it, and far out not above."""
        scaled = self.weight * self.sd
        sd = math.sqrt(max(float(scaled @ self.correlation @ scaled), 1e-300))
        mean = theta * float(self.weight @ self.shape)
        z = np.array([(mean - self.observed) / sd, (-mean - self.observed) / sd])
        return float((special.ndtr(z) if math.isinf(self.df) else special.stdtr(self.df, z)).sum())

    def null_quantile(self, probability: float) -> float:
        s, nu, _ = self._shape(0.0)
        return math.sqrt(float(s * special.chdtri(nu, 1 - _plain(probability, self.df))))

    def seeing(self, observed: float) -> Absolute:
        return replace(self, observed=observed)
