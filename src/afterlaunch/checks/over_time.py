"""What checks that follow windows share: which windows are looked at, and against which of the reference."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

import numpy as np

from afterlaunch.profile.types import Ints
from afterlaunch.watch import Look, Window

TOGETHER = ((7, 3), (14, 7), (28, 14))
"""How many windows are also looked at together, and how often: what is too small for one window shows in a week."""

FEWEST_TOGETHER = 2
"""How many times as many windows there must be for that."""

CYCLES_COVERED = 4
"""How often the reference must cover a cycle for windows to be held against those of their own phase."""


@dataclass(frozen=True)
class Plan:
    """Which windows are looked at.

    Attributes:
        looks: Single windows and some together, in the order of their last window; shape (L,).
        phase: Phase of each look, -1 for those that span a cycle or where there is none to match; shape (L,).
        history_phase: Phase of every window of the reference, shape (R,).
        reasons: Why a look cannot be looked at, else None; shape (L,).
    """

    looks: tuple[Look, ...]
    phase: Ints
    history_phase: Ints
    reasons: tuple[str | None, ...]

    @property
    def length(self) -> Ints:
        """Windows in each look, shape (L,)."""
        return np.array([look.length for look in self.looks], dtype=np.int64)

    def total(self, counts: Ints) -> Ints:
        """Add up windows: (W, ...) -> (L, ...)."""
        running = np.concatenate([np.zeros_like(counts[:1]), np.cumsum(counts, axis=0)])
        first = np.array([look.first for look in self.looks], dtype=np.intp)
        last = np.array([look.last for look in self.looks], dtype=np.intp)
        out: Ints = running[last + 1] - running[first]
        return out


def plan(windows: Sequence[Window], every: str, history: Sequence[Window]) -> Plan:
    """Every complete window by itself and, where there are enough, several together (`TOGETHER`).

    Args:
        windows: Windows of production.
        every: Their length, such as "1d".
        history: Windows of the reference.
    """
    own, cycle = phases(windows, every, history)
    old, _ = phases(history, every, history)
    looks: list[Look] = []
    phase: list[int] = []
    for w in range(len(windows)):
        looks.append(Look(w, w))
        phase.append(int(own[w]) if cycle > 1 else -1)
        for length, step in TOGETHER:
            if len(windows) >= FEWEST_TOGETHER * length and w + 1 >= length and (w + 1) % step == 0:
                looks.append(Look(w - length + 1, w))
                phase.append(-1)
    reasons = tuple(
        "window_incomplete" if not all(windows[w].complete for w in range(k.first, k.last + 1)) else None for k in looks
    )
    return Plan(tuple(looks), np.array(phase, dtype=np.int64), old, reasons)


def phases(windows: Sequence[Window], every: str, history: Sequence[Window]) -> tuple[Ints, int]:
    """Phase of each window in the longest cycle that the history covers `CYCLES_COVERED` times, and its length.

    Days have a weekly cycle; hours have that of the week or else of the day.
    """
    found = re.fullmatch(r"(\d+)(m|h|d)", every)
    zero = np.zeros(len(windows), dtype=np.int64)
    if found is None or not all(isinstance(w.start, datetime) for w in (*windows, *history)):
        return zero, 1
    minutes = int(found[1]) * {"m": 1, "h": 60, "d": 1440}[found[2]]
    for cycle in (7 * 1440, 1440):
        size, rest = divmod(cycle, minutes)
        if rest == 0 and size > 1 and len(history) >= CYCLES_COVERED * size:
            start = datetime(2024, 1, 1, tzinfo=UTC)  # a Monday
            own = [
                int((w.start.replace(tzinfo=UTC) - start).total_seconds() // 60) % cycle // minutes
                for w in windows
                if isinstance(w.start, datetime)
            ]
            return np.array(own, dtype=np.int64), size
    return zero, 1


def named(windows: Sequence[Window], look: Look) -> str:
    """What to call a look in a sentence."""
    if look.length == 1:
        return f"in {windows[look.last].label}"
    return f"in the {look.length} windows to {windows[look.last].label}"
