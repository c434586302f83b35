"""From effects followed over time to findings: an alarm budget, episodes, and when each began.

A check hands over `Course`s: one effect on one subject, estimated in every window, with a way to
compute the interval of every look at any error rate. Only here is it known how many courses share
the budget, so only here do alarms, episodes and sentences come into being.

The budget is the expected number of false episodes in thirty days, over all courses together. It
is spent as error rates of single looks: were every true effect inside its margin, the expected
number of looks that alarm is at most the sum of their error rates, whatever the dependence between
them (linearity of expectation), and an episode begins with a look that alarms.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

import numpy as np
from numpy.typing import NDArray

from afterlaunch.decide import EffectKind
from afterlaunch.finding import Effect, Verdict

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Window:
    """A half-open stretch of a log.

    Attributes:
        label: What a reader calls it, such as "2026-10-14"; labels sort as the windows do.
        start: First moment (UTC), or first row number where the log has no time.
        end: First moment, or row, after it.
        rows: Rows in it.
        complete: False for a first or last window that the log covers in part only.
    """

    label: str
    start: datetime | int
    end: datetime | int
    rows: int
    complete: bool = True


@dataclass(frozen=True, slots=True)
class Look:
    """Windows that are looked at together.

    Attributes:
        first: Index of the first.
        last: Index of the last one, included.
    """

    first: int
    last: int

    @property
    def length(self) -> int:
        """How many windows."""
        return self.last - self.first + 1


@dataclass(frozen=True, slots=True)
class Change:
    """When an effect began.

    Attributes:
        window: Index of the first window after the change.
        low: Earliest index that the data allow at 95 %.
        high: Latest index that they allow.
    """

    window: int
    low: int
    high: int


@dataclass(frozen=True)
class Course:
    """One effect on one subject, over the windows of production.

    Attributes:
        check: Name of the check.
        kind: The effect measured.
        subject: Column, metric or other subject; "" for the table as a whole.
        windows: The windows, in order.
        looks: What was looked at, in the order of their last window; shape (L,).
        value: Estimate of each look, shape (L,); NaN where there is none (then `reasons` says why).
        ends: (one-sided error of the low end of each look, shape (L,), that of the high end) -> low and high
            ends, both of shape (L,). Errors depend on neither end being looked at again.
        n: Rows behind each look, shape (L,).
        reasons: Why a look has no value, as a code; None where it has one; shape (L,).
        say: Builds the sentence from the effect at one look, its verdict and the index of the look;
            the effect comes first in it.
        action: What to do when it alarms.
        method: How the interval is computed, in a few words.
        change: (first look, last look of an episode) -> when it began, or None when that cannot be told.
        weight: Share of the budget relative to the other courses.
        primary: False makes it inform only, whatever its question says.
        segment: Segment it is about.
        sample: Rows of the bounded sample it rests on.
        may_alarm: False for what can never alarm; it takes no budget.
    """

    check: str
    kind: EffectKind
    subject: str
    windows: tuple[Window, ...]
    looks: tuple[Look, ...]
    value: Floats
    ends: Callable[[Floats, float], tuple[Floats, Floats]]
    n: Ints
    reasons: tuple[str | None, ...]
    say: Callable[[Effect, Verdict, int], str]
    action: str
    method: str
    change: Callable[[int, int], Change | None] | None = None
    weight: float = 1.0
    primary: bool = True
    segment: str | None = None
    sample: int | None = None
    may_alarm: bool = True
