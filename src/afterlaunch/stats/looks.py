"""How often one may look at an experiment: multipliers of a standard error for one look, some looks, or any number.

Whoever looks every day and stops at the first significant day has several times the promised rate of false
alarms (Armitage, McPherson & Rowe, 1969, JRSS A 132:235-244). Each class here says how wide an interval has to
be so that the promise holds for its way of looking.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Protocol

from scipy import special

from afterlaunch.stats.intervals import normal_quantile, t_quantile


class Looks(Protocol):
    """A way of looking at an estimate that is approximately normal."""

    def multiplier(self, alpha: float, units: float, df: float) -> float:
        """Standard errors from the estimate to the end of an interval.

        Args:
            alpha: One-sided chance that the end is ever on the wrong side, in (0, 0.5).
            units: Units so far, all arms.
            df: Degrees of freedom of the standard error.
        """


@dataclass(frozen=True, slots=True)
class Once:
    """One look, planned before the start: Student's t.

    Example:
        >>> round(Once().multiplier(0.025, 1000, math.inf), 3)
        1.96
    """

    def multiplier(self, alpha: float, units: float, df: float) -> float:
        """Standard errors to the end of an interval; see `Looks`."""
        del units
        return t_quantile(alpha, df)


@dataclass(frozen=True, slots=True)
class AnyTime:
    """As many looks as one likes: an asymptotic confidence sequence.

    The normal mixture is tuned to be narrowest about `tuned_for` units; with ten times as many the intervals are
    about a tenth wider than they could be, with a tenth as many about a fifth. Scale and level are fixed before the
    start, so the intervals of all levels come from one martingale.

    Attributes:
        tuned_for: Units at which intervals are narrowest, fixed before the start.
        tuned_at: Level for which they are, likewise.

    Source:
        Waudby-Smith, Arbour, Sinha, Kennedy & Ramdas (2024), Annals of Statistics 52:2613-2640: theorem 2.2
        (two-sided), its one-sided version in appendix B, and the scale of appendix B.2.

    Example:
        >>> looks = AnyTime(10_000)
        >>> round(looks.multiplier(0.025, 10_000, math.inf), 2), round(looks.multiplier(0.025, 300_000, math.inf), 2)
        (3.04, 3.41)
    """

    tuned_for: float
    tuned_at: float = 0.05

    def __post_init__(self) -> None:
        if not self.tuned_for > 0 or not 0 < self.tuned_at < 1:
            raise ValueError(f"Tuned for {self.tuned_for} units at level {self.tuned_at}; give positive ones.")

    def _spread(self, units: float) -> float:
        """T times rho squared, in the letters of the paper."""
        level = -2 * math.log(self.tuned_at)
        return units / self.tuned_for * (level + math.log(level) + 1)

    def multiplier(self, alpha: float, units: float, df: float) -> float:
        """Standard errors to the end of an interval; see `Looks`. The sequence is asymptotic: `df` is not used."""
        del df
        v = self._spread(units)
        return math.sqrt(2 * (v + 1) / v * math.log1p(math.sqrt(v + 1) / (2 * alpha)))


@dataclass(frozen=True, slots=True)
class Planned:
    """Looks at dates fixed before the start: the error rate is spent step by step.

    The error spent at each look adds up (a union bound), so no model of the dependence between looks is needed:
    with returning users, whose sums grow from look to look, there is none that holds.

    Attributes:
        fractions: Share of the planned duration at each look, rising, the last one 1.
        look: Which look this is, from 0.

    Source:
        Lan & DeMets (1983), Biometrika 70:659-663; the spending function that resembles O'Brien & Fleming (1979).

    Example:
        >>> [round(Planned((0.25, 0.5, 0.75, 1.0), i).multiplier(0.025, 0, math.inf), 2) for i in range(4)]
        [4.33, 2.96, 2.4, 2.16]
    """

    fractions: tuple[float, ...]
    look: int

    def __post_init__(self) -> None:
        rising = all(a < b for a, b in zip(self.fractions, self.fractions[1:], strict=False))
        if not self.fractions or not rising or not 0 < self.fractions[0] <= self.fractions[-1] <= 1 + 1e-9:
            raise ValueError(f"Looks are at the fractions {self.fractions}; give rising ones in (0, 1].")
        if not 0 <= self.look < len(self.fractions):
            raise ValueError(f"Look {self.look} is none of {len(self.fractions)}.")

    def level(self, alpha: float) -> float:
        """Part of alpha that this look may spend."""
        now = spent(self.fractions[self.look], alpha)
        return now - (spent(self.fractions[self.look - 1], alpha) if self.look else 0.0)

    def multiplier(self, alpha: float, units: float, df: float) -> float:
        """Standard errors to the end of an interval; see `Looks`."""
        return Once().multiplier(max(self.level(alpha), 1e-300), units, df)


def spent(fraction: float, alpha: float) -> float:
    """One-sided error that may be spent until a fraction of the planned duration.

    Args:
        fraction: In (0, 1].
        alpha: Total one-sided error.

    Source:
        Lan & DeMets (1983), alpha_1* for one-sided tests.

    Example:
        >>> [round(spent(f, 0.025), 5) for f in (0.25, 0.5, 1.0)]
        [1e-05, 0.00153, 0.025]
    """
    return float(2 * special.ndtr(-normal_quantile(alpha / 2) / math.sqrt(min(1.0, fraction))))
