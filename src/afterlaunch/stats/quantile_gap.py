"""How far a quantile of one group lies from that of another, from the values near it."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from afterlaunch.stats.looks import Looks

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Tail:
    """The values of one group near a quantile.

    Attributes:
        values: Rising, shape (k,): all values of the group between two limits around the quantile.
        below: How many values are less than all of them.
        rows: All values of the group.
        inflation: By how much rows of one unit that are alike inflate the variance of a share (design effect).
    """

    values: Floats
    below: float
    rows: float
    inflation: float = 1.0

    @property
    def effective(self) -> float:
        """Independent rows that would know a share as well."""
        return self.rows / max(self.inflation, 1.0)

    def at(self, q: float) -> float:
        """The value at a share of the rows, between order statistics as numpy does it by default.

        Infinite where the share lies outside the values that are known.
        """
        place = q * (self.rows - 1) - self.below
        last = self.values.size - 1
        if place < 0:
            return -math.inf
        if place > last:
            return math.inf
        low = math.floor(place)
        high = min(low + 1, last)
        return float(self.values[low] + (place - low) * (self.values[high] - self.values[low]))

    def ends(self, q: float, low: float, high: float) -> tuple[float, float]:
        """Ends of an interval for the quantile, so many standard errors of the share below it.

        Args:
            q: The quantile.
            low: Standard errors to the low end.
            high: To the high end.

        Source:
            Woodruff (1952), JASA 47:635-646: the interval of the share below, read off the order statistics.
        """
        se = math.sqrt(q * (1 - q) / self.effective)
        ends = (q - low * se, q + high * se)
        edges = (-math.inf if ends[0] <= 0 else self.at(ends[0]), math.inf if ends[1] >= 1 else self.at(ends[1]))
        return edges


@dataclass(frozen=True, slots=True)
class QuantileGap:
    """The difference of a quantile between a treatment and a control.

    Attributes:
        control: The control.
        treatment: The other one.
        q: Which quantile.

    Source:
        Ends of the difference from the ends of both by Zou & Donner (2008), Statistics in Medicine 27:1693-1702.
        At any time: a confidence sequence of the share below, inverted as in Howard & Ramdas (2022), Bernoulli
        28:1704-1728, who do it for independent rows; this one is asymptotic and takes units.

    Example:
        >>> from afterlaunch.stats.looks import Once
        >>> fast, slow = (Tail(np.arange(0.0, 1000.0) * f, 0, 1000) for f in (1.0, 1.2))
        >>> gap = QuantileGap(fast, slow, 0.5)
        >>> round(gap.value, 1), [round(v) for v in gap.interval(Once(), 0.025, 0.025)]
        (99.9, [52, 148])
    """

    control: Tail
    treatment: Tail
    q: float

    @property
    def value(self) -> float:
        """Treatment minus control."""
        return self.treatment.at(self.q) - self.control.at(self.q)

    @property
    def relative(self) -> float | None:
        """Treatment over control minus one; None unless both are positive."""
        a, b = self.control.at(self.q), self.treatment.at(self.q)
        return b / a - 1 if a > 0 and b > 0 and math.isfinite(a) and math.isfinite(b) else None

    @property
    def units(self) -> float:
        """Independent rows of both."""
        return self.control.effective + self.treatment.effective

    @property
    def known(self) -> bool:
        """Whether there are rows enough on both sides of both quantiles for an interval."""
        least = min(self.q, 1 - self.q)
        return all(t.effective * least >= LEAST_BEYOND for t in (self.control, self.treatment))

    def interval(self, looks: Looks, alpha_low: float, alpha_high: float) -> tuple[float, float]:
        """Ends of the difference at one-sided error rates; infinite where rows are too few for them."""
        return self._ends(looks, alpha_low, alpha_high, lambda v: v)

    def relative_interval(self, looks: Looks, alpha_low: float, alpha_high: float) -> tuple[float, float]:
        """Ends of the relative difference, on the scale of logarithms."""
        low, high = self._ends(looks, alpha_low, alpha_high, lambda v: math.log(v) if v > 0 else -math.inf)
        return math.expm1(low), math.expm1(min(high, 700))

    def _ends(
        self, looks: Looks, alpha_low: float, alpha_high: float, scale: Callable[[float], float]
    ) -> tuple[float, float]:
        down, up = (looks.multiplier(a, self.units, math.inf) for a in (alpha_low, alpha_high))
        a, b = scale(self.control.at(self.q)), scale(self.treatment.at(self.q))
        a_low, b_high = scale(self.control.ends(self.q, up, 0)[0]), scale(self.treatment.ends(self.q, 0, up)[1])
        a_high, b_low = scale(self.control.ends(self.q, 0, down)[1]), scale(self.treatment.ends(self.q, down, 0)[0])
        return b - a - math.hypot(b - b_low, a_high - a), b - a + math.hypot(b_high - b, a - a_low)


LEAST_BEYOND = 30.0
"""Independent rows that must lie beyond a quantile, on either side."""
