"""Two models' decisions on the same rows: what changed, and whether it changed for the better."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from afterlaunch.stats.clustered import Share, counted
from afterlaunch.stats.intervals import Interval, difference

Counts = NDArray[np.generic]


@dataclass(frozen=True, slots=True)
class Net:
    """Wins less losses of a new model over an old one, as a share of rows.

    Attributes:
        wins: Share of rows that only the new model gets right.
        losses: Share of rows that only the old model gets right.
        correlation: Of the two shares.
    """

    wins: Share
    losses: Share
    correlation: float

    @property
    def value(self) -> float:
        """Wins less losses: the change in accuracy."""
        return self.wins.value - self.losses.value

    def interval(self, alpha_low: float, alpha_high: float) -> tuple[float, float]:
        """Ends at given one-sided error rates; [-1, 1] without rows."""

        def ends(side: Share, low: float, high: float) -> Interval:
            return Interval(side.value, *side.interval(low, high))

        if self.wins.rows <= 0 or self.wins.df <= 0 or self.losses.df <= 0:
            return -1.0, 1.0
        found = difference(
            lambda low, high: ends(self.losses, low, high),
            lambda low, high: ends(self.wins, low, high),
            alpha_low,
            alpha_high,
            correlation=self.correlation,
        )
        return max(-1.0, found.low), min(1.0, found.high)


def net(wins: Counts, losses: Counts, rows: Counts) -> Net:
    """Wins less losses with what is known about their precision.

    Args:
        wins: Rows that only the new model gets right, per group of dependent rows, shape (G,).
        losses: Rows that only the old model gets right, shape (G,).
        rows: All rows whose outcome is known, shape (G,); a single group means independent rows.

    Returns:
        The difference. Its interval comes from those of both shares, so that it is honest where there are
        few of either. Independent rows make the shares correlate as in a multinomial; between groups the
        correlation is measured.

    Source:
        Wins and losses of a retrained model: Milani Fard, Cormier, Canini & Gupta (2016), Launch and
        Iterate: Reducing Prediction Churn, NeurIPS 29. Interval: Zou & Donner (2008), see
        `intervals.difference`; Newcombe (1998), Statistics in Medicine 17:2635-2650, for paired shares.

    Example:
        >>> found = net(np.array([40]), np.array([10]), np.array([1000]))
        >>> low, high = found.interval(0.025, 0.025)
        >>> round(found.value, 3), round(low, 3), round(high, 3)
        (0.03, 0.016, 0.045)
    """
    w, lost, n = (np.asarray(x, dtype=np.float64) for x in (wins, losses, rows))
    sides = counted(w, n), counted(lost, n)
    p, q = sides[0].value, sides[1].value
    if len(n) <= 1:
        spread = p * (1 - p) * q * (1 - q)
        return Net(*sides, -p * q / math.sqrt(spread) if spread > 0 else 0.0)
    a, b = w - p * n, lost - q * n
    spread = float(a @ a) * float(b @ b)
    return Net(*sides, float(a @ b) / math.sqrt(spread) if spread > 0 else 0.0)
