"""What was logged of single decisions with their chances, and of lists that two rankers drafted."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Unseen:
    """An action of the new policy that the log never shows.

    Attributes:
        item: The item, as text.
        place: Its place, as text; "" where there are no places.
        share: Share of all logged decisions in which the new policy would take it.
    """

    item: str
    place: str
    share: float


@dataclass(frozen=True, eq=False)
class Logged:
    """Decisions that an old policy took, with their chances under it and under a new one.

    Attributes:
        outcome: Name of the reward.
        reward: Reward of each decision, shape (n,).
        logged: Probability with which the old policy took it, in (0, 1], shape (n,).
        target: Probability with which the new policy would, in [0, 1], shape (n,).
        total: Decisions in the log with an outcome; more than n when a sample was drawn.
        groups: Number of the unit of each decision, from 0, shape (n,); None for independent decisions.
        predicted: A model's reward of each, cross-fitted, shape (n,); None without a model.
        expected: The model's reward under the new policy, shape (n,).
        model: What the model is, in words; "" without one.
        unseen: Actions of the new policy that the log never shows, the likeliest first.
        absolute: Whether the lift is held against a margin in the outcome's own unit.
    """

    outcome: str
    reward: Floats
    logged: Floats
    target: Floats
    total: int
    groups: Integers | None = None
    predicted: Floats | None = None
    expected: Floats | None = None
    model: str = ""
    unseen: tuple[Unseen, ...] = ()
    absolute: bool = False

    @property
    def rows(self) -> int:
        """Decisions that are looked at."""
        return len(self.reward)

    @property
    def binary(self) -> bool:
        """Whether every reward is 0 or 1."""
        return bool(((self.reward == 0) | (self.reward == 1)).all())


@dataclass(frozen=True, eq=False)
class Drafts:
    """Lists that two rankers drafted, counted by the unit that saw them.

    Attributes:
        first: Name of the first ranker, the old one.
        second: Name of the second, the new one.
        won: Lists with more clicks for the second ranker, by unit, shape (u,).
        lost: Lists with more clicks for the first, shape (u,).
        tied: The others, shape (u,).
        unit: Whether lists of one unit are dependent; without, there is one entry for all lists.
        clicks: Clicks of the first and of the second ranker's places.
        places: Places of each.
        larger: Lists in which each has the larger team.
        top: Lists in which each has the first place; None without positions.
        only_clicked: Whether the log holds only places that were clicked, so that its drafts cannot be looked at.
    """

    first: str
    second: str
    won: Integers
    lost: Integers
    tied: Integers
    unit: bool
    clicks: tuple[float, float]
    places: tuple[int, int]
    larger: tuple[int, int]
    top: tuple[int, int] | None = None
    only_clicked: bool = False

    @property
    def lists(self) -> int:
        """All lists."""
        return int(self.won.sum() + self.lost.sum() + self.tied.sum())
