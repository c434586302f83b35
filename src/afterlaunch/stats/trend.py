"""A straight line through weeks that are known with unlike precision, and vary beyond that."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy import optimize, special

from afterlaunch.stats.intervals import t_quantile

Array = NDArray[np.generic]


@dataclass(frozen=True, slots=True)
class Trend:
    """Change of a value per week.

    Attributes:
        slope: Change per week; NaN with fewer than two weeks.
        se: Standard error of the slope.
        df: Weeks less two; where that is below 1 nothing is known of the slope.
        between: Standard deviation of weeks around the line, beyond their standard errors.
    """

    slope: float
    se: float
    df: int
    between: float

    def interval(self, alpha_low: float, alpha_high: float) -> tuple[float, float]:
        """Ends at given one-sided error rates; without limits where nothing is known."""
        if self.df < 1:
            return -math.inf, math.inf
        low, high = t_quantile(alpha_low, self.df), t_quantile(alpha_high, self.df)
        return self.slope - low * self.se, self.slope + high * self.se

    def p_value(self, margin: float = 0.0, direction: Literal["up", "down"] = "up") -> float:
        """P-value of "it goes up by at most the margin per week", or down by at most the margin."""
        if self.df < 1:
            return 1.0
        beyond = (self.slope if direction == "up" else -self.slope) - margin
        if self.se <= 0:
            return 0.0 if beyond > 0 else 1.0
        return float(special.stdtr(self.df, -beyond / self.se))


def trend(values: Array, se: Array, weeks: Array) -> Trend:
    """A straight line through weeks that are known with unlike precision and vary beyond that.

    Args:
        values: A value per week, shape (weeks,).
        se: Its standard error, shape (weeks,).
        weeks: Number of the week, shape (weeks,); some may be missing.

    Returns:
        The slope. Weeks that have no value or no standard error are left out. Weeks are independent around the line; a
        part of the errors that all weeks share, as of users who come every week, makes the interval too wide and not
        too narrow. A value that wanders, each week from where it was, has a trend in this sense.

    Raises:
        ValueError: When the arrays have different lengths, or when a standard error is negative.

    Source:
        Variance between weeks: Paule & Mandel (1982), Journal of Research of the National Bureau of Standards
        87:377-385. Student's t for a random-effects line: Knapp & Hartung (2003), Statistics in Medicine 22:2693-2710,
        with a factor of at least 1.

    Example:
        >>> found = trend(np.array([0.50, 0.52, 0.55, 0.56, 0.58]), np.full(5, 0.01), np.arange(5))
        >>> low, high = found.interval(0.05, 0.05)
        >>> round(found.slope, 3), round(low, 3), round(high, 3), found.df
        (0.02, 0.013, 0.027, 3)
        >>> found.p_value(0.0) < 0.01
        True
    """
    y, error, when = (np.asarray(a, dtype=np.float64) for a in (values, se, weeks))
    if not y.shape == error.shape == when.shape or y.ndim != 1:
        raise ValueError("Every week has a value, a standard error and a number.")
    if (error < 0).any():
        raise ValueError("A standard error is at least 0.")
    keep = np.isfinite(y) & np.isfinite(error) & np.isfinite(when)
    y, within, when = y[keep], error[keep] ** 2, when[keep]
    if len(np.unique(when)) < 2:
        return Trend(math.nan, math.nan, 0, 0.0)
    df = len(y) - 2
    # Exact values would have endless weight.
    floor = 1e-12 * float(within.max())

    def line(between: float) -> tuple[float, float, float]:
        variance = np.maximum(within + between, floor)
        weight = 1 / variance if variance.min() > 0 else np.ones_like(variance)
        x = when - np.average(when, weights=weight)
        curved = float((weight * x**2).sum())
        slope = float((weight * x * y).sum()) / curved
        off = y - np.average(y, weights=weight) - slope * x
        return slope, curved, float((weight * off**2).sum())

    between = 0.0
    if df > 0:
        x = when - when.mean()
        off = y - y.mean() - x * float((x * y).sum() / (x**2).sum())
        most = float((off**2).sum()) / df
        # With equal weights nothing is left to solve; rounding is not variance.
        if most > 1e-24 * float((y**2).mean()) and (within.max() <= 0 or line(0.0)[2] > df):
            low = min(1e-9 * most, 1e-3 * floor) if within.max() > 0 else most
            between = most
            if line(low)[2] > df > line(most)[2]:
                between = float(optimize.brentq(lambda t: line(t)[2] - df, low, most, xtol=1e-9 * most))
    slope, curved, _ = line(between)
    known = bool((within + between > 0).any())
    return Trend(slope, math.sqrt(1 / curved) if known else 0.0, df, math.sqrt(between))
