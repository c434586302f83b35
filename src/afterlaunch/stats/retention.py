"""What is left in another table of the power that a column had in one."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from afterlaunch.stats.association import Power, meaning
from afterlaunch.stats.intervals import Interval, difference, normal_quantile, rows_for

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]


def kept_spread(
    codes: Ints, level: Ints, block: Ints, other_codes: Ints, other_block: Ints, *, classes: bool = False
) -> float:
    """How much of a column's power another table leaves room for, if every value kept its meaning.

    A column that hardly varies within a block of the other table can tell little apart there,
    however honest it is. The room is the spread, within blocks, of what its values meant in the
    first table: in the other table over in the first.

    Args:
        codes: The column in the first table, shape (n,).
        level: Outcome levels in the first table, shape (n,).
        block: Blocks of the first table, shape (n,).
        other_codes: The column in the other table, shape (m,).
        other_block: Blocks of the other table, shape (m,).
        classes: Whether the levels are classes without an order.

    Returns:
        At most 1; 0 when the column tells nothing in the first table or is constant in the other.

    Example:
        >>> x, block = np.tile([0, 1], 50), np.arange(100) // 50
        >>> constant = np.ones(100, dtype=int)
        >>> [round(kept_spread(x, x, block, other, block), 3) for other in (constant, x)]
        [0.0, 1.0]
    """
    if not len(codes) or not len(other_codes):
        return 0.0
    size = int(max(codes.max(), other_codes.max())) + 1
    targets = range(int(level.max()) + 1) if classes else [None]
    here = there = 0.0
    for target in targets:
        y = (level if target is None else level == target).astype(np.float64)
        score = meaning(codes, y, block, size)
        here += _within(score[codes], block)
        there += _within(score[other_codes], other_block)
    return min(1.0, math.sqrt(there / here)) if here > 1e-12 else 0.0


def smoothness(codes: Ints, level: Ints, block: Ints, other_codes: Ints, *, classes: bool = False) -> float:
    """How slowly what a column's values mean changes from row to row of another table in time order.

    Args:
        codes: The column in the first table, shape (n,).
        level: Outcome levels in the first table, shape (n,).
        block: Blocks of the first table, shape (n,).
        other_codes: The column in the other table, in time order, shape (m,).
        classes: Whether the levels are classes without an order.

    Returns:
        One less von Neumann's ratio: near 0 for rows in random order, near 1 when neighbours are
        alike; 0 when nothing varies.

    Source:
        von Neumann (1941), Annals of Mathematical Statistics 12:367-395.

    Example:
        >>> x, block = np.tile([0, 1], 50), np.arange(100) // 50
        >>> smoothness(x, x, block, np.arange(100) // 50) > 0.9
        True
    """
    if len(codes) == 0 or len(other_codes) < 2:
        return 0.0
    size = int(max(codes.max(), other_codes.max())) + 1
    targets = range(int(level.max()) + 1) if classes else [None]
    steps = spread = 0.0
    for target in targets:
        y = (level if target is None else level == target).astype(np.float64)
        score = meaning(codes, y, block, size)[other_codes]
        steps += float(np.mean(np.diff(score) ** 2)) / 2
        spread += float(np.var(score))
    return 1 - steps / spread if spread > 1e-12 else 0.0


def _within(score: Floats, block: Ints) -> float:
    """Variance of scores around the means of their blocks."""
    mean = np.bincount(block, score) / np.maximum(np.bincount(block), 1)
    return float(np.mean((score - mean[block]) ** 2))


@dataclass(frozen=True, slots=True)
class Loss:
    """Power that a column had in one table and has not in another.

    Attributes:
        before: Its power in the first table.
        after: Its power in the other, or None where it has no values to have power with.
        room: Share of the power that the other table leaves room for, see `kept_spread`.
    """

    before: Power
    after: Power | None
    room: float = 1.0

    @property
    def expected(self) -> float:
        """Power above one half that it would have if every value kept its meaning."""
        return self.room * max(0.0, self.before.value - 0.5)

    @property
    def left(self) -> float:
        """Power above one half that it has."""
        return max(0.0, self.after.value - 0.5) if self.after is not None else 0.0

    @property
    def value(self) -> float:
        """Power lost."""
        return self.expected - self.left

    def interval(self, alpha_low: float, alpha_high: float) -> tuple[float, float]:
        """Ends of the interval (MOVER for two independent tables).

        Example:
            >>> before = Power(0.9, 0.0001, float("inf"), 500, 5000)
            >>> low, high = Loss(before, None).interval(0.05, 0.05)
            >>> round(low, 2), round(high, 2)
            (0.38, 0.42)
        """

        def old(low: float, high: float) -> Interval:
            i = self.before.interval(low, high)
            ends = [self.room * max(0.0, x - 0.5) for x in (i.low, i.high)]
            return Interval(self.expected, *ends)

        def new(low: float, high: float) -> Interval:
            if self.after is None:
                return Interval(0.0, 0.0, 0.0)
            i = self.after.interval(low, high)
            return Interval(self.left, max(0.0, i.low - 0.5), max(0.0, i.high - 0.5))

        found = difference(new, old, alpha_low, alpha_high)
        return max(-0.5, found.low), min(0.5, found.high)

    def rows_needed(self, margin: float, alpha: float) -> int | None:
        """Rows of the other table that show no loss with 80 % power; None when the first table binds."""
        after = self.after
        if after is None or after.rows == 0:
            return None

        def decides(rows: float) -> bool:
            factor = rows / after.rows
            variance = max(after.variance, 1e-12) / factor
            seen = 0.5 + max(0.0, self.expected - normal_quantile(0.2) * math.sqrt(variance))
            then = Power(seen, variance, after.df, max(1.0, after.rarer * factor), max(1, round(rows)))
            return Loss(self.before, then, self.room).interval(alpha, alpha)[1] <= margin

        return rows_for(decides, 30.0)
