"""What a treatment changes: means, ratios and functions of means of two arms, from sums over units.

A unit (a user) is what was randomised. Everything here is computed from moments of per-unit sums, so that rows of
one unit may depend on each other as they like, and so that an engine can do the counting.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from afterlaunch.stats.looks import Looks

Floats = NDArray[np.float64]
Function = Callable[[Floats], float]


@dataclass(frozen=True, slots=True)
class Moments:
    """Means and covariances of columns of per-unit sums in one arm.

    Attributes:
        units: How many units.
        mean: Shape (p,).
        covariance: With divisor units - 1, shape (p, p).
        third: Mean of products of three deviations from the mean, shape (p, p, p); zeros when not known.
    """

    units: float
    mean: Floats
    covariance: Floats
    third: Floats

    @classmethod
    def of(cls, values: Floats) -> Moments:
        """Moments of a table of units.

        Args:
            values: Shape (units, p).

        Example:
            >>> Moments.of(np.array([[1.0], [2.0], [4.0]])).covariance.round(3).tolist()
            [[2.333]]
        """
        values = np.asarray(values, dtype=float)
        n, p = values.shape
        mean = values.mean(axis=0)
        away = values - mean
        covariance = away.T @ away / (n - 1) if n > 1 else np.zeros((p, p))
        return cls(float(n), mean, covariance, np.einsum("ni,nj,nk->ijk", away, away, away) / max(n, 1))

    @classmethod
    def from_sums(cls, units: float, first: Floats, second: Floats, third: Floats, around: Floats) -> Moments:
        """Moments from sums of powers of deviations from fixed numbers.

        Args:
            units: How many units.
            first: Sums of deviations, shape (p,).
            second: Sums of products of two, shape (p, p).
            third: Sums of products of three, shape (p, p, p).
            around: What the deviations are from, shape (p,); near the mean, else digits are lost.
        """
        p = first.size
        if units < 1:
            return cls(0.0, around.copy(), np.zeros((p, p)), np.zeros((p, p, p)))
        m = first / units
        square = second / units
        covariance = (square - np.outer(m, m)) * (units / (units - 1) if units > 1 else 0.0)
        by_two = np.einsum("ij,k->ijk", square, m)
        central = (
            third / units
            - by_two
            - by_two.transpose(0, 2, 1)
            - by_two.transpose(2, 0, 1)
            + 2 * np.einsum("i,j,k->ijk", m, m, m)
        )
        # What is nothing but the rounding of large sums that cancel is nothing.
        mean, size = around + m, np.maximum(np.abs(around), np.sqrt(np.abs(np.diag(square))))
        mean = np.where(np.abs(mean) <= ROUNDING * np.maximum(size, np.abs(around)), 0.0, mean)
        constant = np.diag(covariance) <= ROUNDING * (mean**2 + around**2)
        covariance = np.where(constant[:, None] | constant[None, :], 0.0, covariance)
        gone = constant[:, None, None] | constant[None, :, None] | constant[None, None, :]
        return cls(float(units), mean, covariance, np.where(gone, 0.0, central))

    def __add__(self, other: Moments) -> Moments:
        """Moments of the units of both, by the update of Chan, Golub & LeVeque (1983); third ones are left out."""
        n = self.units + other.units
        apart = other.mean - self.mean
        mean = self.mean + apart * (other.units / n)
        squares = self.covariance * (self.units - 1) + other.covariance * (other.units - 1)
        squares = squares + np.outer(apart, apart) * (self.units * other.units / n)
        return Moments(n, mean, squares / (n - 1), np.zeros_like(self.third))


ROUNDING = 1e-12
"""Share of the numbers that were added up below which a difference of them is nothing."""


@dataclass(frozen=True, slots=True)
class Side:
    """One arm's value of a metric.

    Attributes:
        value: The value, after adjustment by a covariate if there is one.
        variance: Variance that one unit contributes: the standard error is sqrt(variance / units).
        units: How many units.
        skewness: Of what one unit contributes.
    """

    value: float
    variance: float
    units: float
    skewness: float = 0.0


@dataclass(frozen=True, slots=True)
class Lift:
    """What a treatment changes in one metric.

    Attributes:
        control: The control arm.
        treatment: The other one.
        coefficient: Of the covariate (theta), None without one.
        reduction: Share of the variance that the covariate takes away.
    """

    control: Side
    treatment: Side
    coefficient: float | None = None
    reduction: float = 0.0

    @property
    def value(self) -> float:
        """Treatment minus control."""
        return self.treatment.value - self.control.value

    @property
    def units(self) -> float:
        """Units of both arms."""
        return self.control.units + self.treatment.units

    @property
    def se(self) -> float:
        """Standard error of the difference."""
        return math.sqrt(sum(s.variance / s.units for s in (self.control, self.treatment)))

    @property
    def df(self) -> float:
        """Degrees of freedom by Welch (1947), Biometrika 34:28-35."""
        return _welch([(s.variance, s.units) for s in (self.control, self.treatment)])

    @property
    def relative(self) -> float | None:
        """Treatment over control minus one; None unless the control is positive and the treatment not negative."""
        a, b = self.control.value, self.treatment.value
        return b / a - 1 if a > 0 and b >= 0 else None

    def interval(self, looks: Looks, alpha_low: float, alpha_high: float) -> tuple[float, float]:
        """Ends of the difference at one-sided error rates."""
        low, high = (looks.multiplier(alpha, self.units, self.df) * self.se for alpha in (alpha_low, alpha_high))
        return self.value - low, self.value + high

    def relative_interval(self, looks: Looks, alpha_low: float, alpha_high: float) -> tuple[float, float]:
        """Ends of the relative difference, by the delta method on the scale of logarithms.

        Raises:
            ValueError: When there is no relative difference.
        """
        if self.relative is not None and self.treatment.value == 0:
            # Nothing at all has no logarithm, and shows no variance: it is given that of both arms together.
            both = sum(s.variance * s.units for s in (self.control, self.treatment)) / self.units
            se = math.sqrt(self.control.variance / self.control.units + both / self.treatment.units)
            above = looks.multiplier(alpha_high, self.units, self.df) * se / self.control.value
            return -1.0, above - 1.0
        ratio, se, df = self._logs()
        low, high = (looks.multiplier(alpha, self.units, df) * se for alpha in (alpha_low, alpha_high))
        return ratio * math.exp(-min(low, 700)) - 1, ratio * math.exp(min(high, 700)) - 1

    def _logs(self) -> tuple[float, float, float]:
        if self.relative is None or self.treatment.value <= 0:
            raise ValueError(f"A relative change of {self.control.value} to {self.treatment.value} has no meaning.")
        parts = [(s.variance / s.value**2, s.units) for s in (self.control, self.treatment)]
        return self.relative + 1, math.sqrt(sum(v / n for v, n in parts)), _welch(parts)

    @property
    def rows_for_normal(self) -> float:
        """Units that the smaller arm needs for its mean to be near enough to normal.

        Source:
            Kohavi, Deng, Longbotham & Xu (2014), KDD, rule 7: 355 times the squared skewness keep each tail of a 95 %
            interval between 2 and 3 %. A difference of equal arms has none; of unequal ones that of the smaller. The
            larger of two estimates is taken, from each arm alone and from both together: a small arm that has missed
            its rare large values looks harmless just when its mean is wrong.
        """
        if 0.0 in (self.se, self.control.variance + self.treatment.variance):
            return 0.0
        sides = (self.control, self.treatment)
        thirds = [float(s.skewness * s.variance**1.5) for s in sides]
        variances = [s.variance for s in sides]
        weights = [s.units / self.units for s in sides]
        third = sum(w * x for w, x in zip(weights, thirds, strict=True))
        variance = sum(w * x for w, x in zip(weights, variances, strict=True))
        most = max(_skewness(thirds, variances, sides), _skewness([third] * 2, [variance] * 2, sides))
        return 355 * most**2 * min(self.control.units, self.treatment.units)


def _skewness(thirds: list[float], variances: list[float], sides: tuple[Side, Side]) -> float:
    """Of the difference of two means, from moments of what one unit contributes."""
    (a, b), (n, m) = thirds, (s.units for s in sides)
    return float(abs(b / m**2 - a / n**2) / (variances[0] / n + variances[1] / m) ** 1.5)


def lift(
    control: Moments,
    treatment: Moments,
    value: Function,
    *,
    covariate: Function | None = None,
    total: Moments | None = None,
) -> Lift:
    """The difference of a function of means between two arms, adjusted by a covariate if there is one.

    Args:
        control: Moments of the control arm.
        treatment: Moments of the other arm.
        value: The metric as a function of the means, shape (p,) -> number: one of them, or a ratio of two.
        covariate: Another such function, of columns that were fixed before the units were assigned.
        total: Moments of all arms, from which the coefficient is taken; the two arms' when None.

    Returns:
        The lift. Variances are those of the delta method.

    Raises:
        ValueError: When an arm has fewer than two units.

    Source:
        Deng, Knoblich & Lu (2018), KDD, "Applying the delta method in metric analytics"; Deng, Xu, Kohavi & Walker
        (2013), WSDM, for the covariate (CUPED), with one coefficient for all arms.

    Example:
        >>> rng = np.random.default_rng(0)
        >>> clicks = rng.poisson(5.0, (2, 1000, 1)).astype(float)
        >>> found = lift(Moments.of(clicks[0]), Moments.of(clicks[1]), lambda m: float(m[0]))
        >>> round(found.value, 3), round(found.se, 3)
        (0.037, 0.097)
    """
    if min(control.units, treatment.units) < 2:
        raise ValueError("An arm has fewer than two units.")
    both = total if total is not None else control + treatment
    theta, middle = 0.0, 0.0
    if covariate is not None:
        by, of = gradient(covariate, both.mean), gradient(value, both.mean)
        spread = float(by @ both.covariance @ by)
        theta = float(of @ both.covariance @ by) / spread if spread > 0 else 0.0
        middle = covariate(both.mean)
    sides, plain = [], 0.0
    for arm in (control, treatment):
        slope = gradient(value, arm.mean)
        before = max(float(slope @ arm.covariance @ slope), 0.0)
        third = float(np.einsum("ijk,i,j,k->", arm.third, slope, slope, slope))
        skewness = third / before**1.5 if before > 0 else 0.0
        at = value(arm.mean)
        if covariate is not None:
            slope = slope - theta * gradient(covariate, arm.mean)
            at -= theta * (covariate(arm.mean) - middle)
        variance = max(float(slope @ arm.covariance @ slope), 0.0)
        plain += before / arm.units
        sides.append(Side(at, variance, arm.units, skewness))
    after = sum(s.variance / s.units for s in sides)
    return Lift(
        sides[0],
        sides[1],
        None if covariate is None else theta,
        1 - after / plain if covariate is not None and plain > 0 else 0.0,
    )


def gradient(function: Function, at: Floats) -> Floats:
    """Derivatives of a function of means, by central differences of fourth order, shape (p,).

    Example:
        >>> gradient(lambda m: float(m[0] / m[1]), np.array([1.0, 4.0])).round(9).tolist()
        [0.25, -0.0625]
    """
    out = np.zeros(at.size)
    for i in range(at.size):
        # Of such a size that truncation (h to the fourth) and rounding (1 / h) are about the same.
        h = 1e-3 * (abs(float(at[i])) or 1.0)
        step = np.zeros(at.size)
        step[i] = h
        near = function(at + step) - function(at - step)
        far = function(at + 2 * step) - function(at - 2 * step)
        out[i] = (8 * near - far) / (12 * h)
    return out


def _welch(parts: list[tuple[float, float]]) -> float:
    total: float = sum(v / n for v, n in parts)
    below = sum((v / n) ** 2 / (n - 1) for v, n in parts)
    return float(total**2 / below) if below > 0 else math.inf
