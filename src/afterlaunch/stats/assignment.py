"""Were units split as planned? Sample-ratio mismatch, looked at once or as often as one likes.

A split that is off by more than chance says that units were lost or sent elsewhere on the way, and not at random:
then no metric of the experiment means anything (Fabijan et al., 2019, KDD, "Diagnosing sample ratio mismatch").
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import special, stats

from afterlaunch.stats.intervals import normal_quantile

Floats = NDArray[np.float64]


def once(counts: ArrayLike, shares: ArrayLike) -> float:
    """P-value of the split at one look, by the chi-square test.

    Args:
        counts: Units of each arm, shape (arms,).
        shares: Planned shares, positive, adding up to one.

    Raises:
        ValueError: When shapes differ, shares are not positive, or counts are negative.

    Source:
        Pearson (1900).

    Example:
        >>> round(once([5000, 5200], [0.5, 0.5]), 4)
        0.0477
    """
    n, p = _checked(counts, shares)
    total = n.sum()
    if total == 0:
        return 1.0
    statistic = float(((n - total * p) ** 2 / (total * p)).sum())
    return float(stats.chi2.sf(statistic, n.size - 1))


def log_bayes(counts: ArrayLike, shares: ArrayLike, *, concentration: float | None = None) -> Floats:
    """Logarithm of the Bayes factor against the planned split, a martingale when the split is as planned.

    Args:
        counts: Units so far of each arm, shape (arms,) or (looks, arms).
        shares: Planned shares, positive, adding up to one.
        concentration: Of the Dirichlet prior around the plan: it is quickest to see splits that are off by about
            sqrt(1 / concentration); when None the average of the factors at `CONCENTRATIONS`, from a third to a third
            of a point, which is a martingale as they are.

    Returns:
        Shape () or (looks,). The chance that it ever exceeds log(1 / alpha) is at most alpha.

    Raises:
        ValueError: As `once`.

    Source:
        Lindon & Malek (2022), "Anytime-valid inference for multinomial count data", NeurIPS, eq. 6.

    Example:
        >>> [round(float(v), 1) for v in log_bayes([[500, 500], [5000, 5200], [50000, 52000]], [0.5, 0.5])]
        [-0.5, 0.1, 16.2]
    """
    n, p = _checked(counts, shares)
    chosen = CONCENTRATIONS if concentration is None else (concentration,)
    return np.asarray(special.logsumexp([_factor(n, p, c * p) for c in chosen], axis=0) - math.log(len(chosen)))


def _factor(n: Floats, p: Floats, prior: Floats) -> Floats:
    total = n.sum(axis=-1)
    found = special.gammaln(prior.sum()) - special.gammaln(prior.sum() + total)
    found = found + (special.gammaln(prior + n) - special.gammaln(prior)).sum(axis=-1)
    return np.asarray(found - (n * np.log(p)).sum(axis=-1))


CONCENTRATIONS = (10.0, 100.0, 1_000.0, 10_000.0, 100_000.0)
"""Prior weights, in units, of the planned split."""


def any_time(counts: ArrayLike, shares: ArrayLike) -> float:
    """P-value of the split that is valid however often one looks, from counts at the looks so far.

    Args:
        counts: Cumulative units of each arm, shape (looks, arms), in the order of time.
        shares: Planned shares.

    Raises:
        ValueError: As `once`.

    Example:
        >>> any_time([[500, 500], [50000, 52000]], [0.5, 0.5]) < 1e-6
        True
    """
    found = np.atleast_1d(log_bayes(np.atleast_2d(np.asarray(counts)), shares))
    return min(1.0, math.exp(-float(found.max(initial=0.0))))


def deviation(counts: ArrayLike, shares: ArrayLike, arm: int) -> Deviation:
    """How far the share of one arm is from the plan.

    Args:
        counts: Units of each arm, shape (arms,).
        shares: Planned shares, shape (arms,).
        arm: Which arm.

    Raises:
        ValueError: As `once`.

    Example:
        >>> found = deviation([5000, 5200], [0.5, 0.5], 1)
        >>> round(found.value, 4), [round(v, 4) for v in found.interval(0.0005, 0.0005, any_time=False)]
        (0.0098, [-0.0065, 0.0261])
    """
    n, p = _checked(counts, shares)
    return Deviation(float(n[arm]), float(n.sum()), float(p[arm]))


@dataclass(frozen=True, slots=True)
class Deviation:
    """Share of units in an arm beyond the planned one.

    Attributes:
        hits: Units of the arm.
        rows: Units of all arms, at least one.
        planned: Planned share of the arm.
    """

    hits: float
    rows: float
    planned: float

    @property
    def value(self) -> float:
        """Units beyond those planned, as a share of all."""
        return self.hits / self.rows - self.planned

    @property
    def se(self) -> float:
        """Standard error of the share under the planned split."""
        return math.sqrt(self.planned * (1 - self.planned) / self.rows)

    @property
    def z(self) -> float:
        """The deviation in standard errors."""
        return self.value / self.se

    def interval(self, alpha_low: float, alpha_high: float, *, any_time: bool) -> tuple[float, float]:
        """Ends at one-sided error rates.

        Args:
            alpha_low: One-sided error of the low end.
            alpha_high: One-sided error of the high end.
            any_time: Whether the interval holds however often one looks: the shifts of the plan that the
                Bayes factor does not reject (Lindon & Malek, 2022, section 4); else the score interval around the
                plan, which excludes zero just when the chi-square test of two arms rejects it.
        """
        if not any_time:
            low, high = (normal_quantile(alpha) * self.se for alpha in (alpha_low, alpha_high))
            return self.value - low, self.value + high
        return (
            self._crossing(-self.planned, -math.log(2 * alpha_low)),
            self._crossing(1 - self.planned, -math.log(2 * alpha_high)),
        )

    def _crossing(self, stop: float, line: float) -> float:
        """Where the logarithm of the Bayes factor against a shifted plan crosses a line."""
        misses = self.rows - self.hits
        marginal = [
            special.betaln(c * self.planned + self.hits, c * (1 - self.planned) + misses)
            - special.betaln(c * self.planned, c * (1 - self.planned))
            for c in CONCENTRATIONS
        ]
        fixed = float(special.logsumexp(marginal)) - math.log(len(marginal))

        def against(shift: float) -> float:
            p = self.planned + shift
            return fixed - float(special.xlogy(self.hits, p) + special.xlogy(misses, 1 - p)) - line

        inside, outside = self.value, stop
        for _ in range(60):
            middle = (inside + outside) / 2
            inside, outside = (inside, middle) if against(middle) > 0 else (middle, outside)
        return outside


def _checked(counts: ArrayLike, shares: ArrayLike) -> tuple[Floats, Floats]:
    n, p = np.asarray(counts, dtype=float), np.asarray(shares, dtype=float)
    if p.ndim != 1 or n.shape[-1:] != p.shape:
        raise ValueError(f"Counts have the shape {n.shape} and shares {p.shape}; give a share for each arm.")
    if not (p > 0).all() or abs(p.sum() - 1) > 1e-9:
        raise ValueError(f"The shares are {p.tolist()}; give positive ones that add up to 1.")
    if not np.isfinite(n).all() or (n < 0).any():
        raise ValueError("Counts of units are negative or missing.")
    return n, p
