"""Filling a few places by chance, and recording with which probability each item came to its place."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from afterlaunch.decide import InputError


@dataclass(frozen=True, slots=True)
class Explored:
    """A list as it is to be shown and logged, a value for each place.

    Attributes:
        items: What to show, best place first.
        explored: Whether the place was filled by chance; log it for `loop(explored=…)`.
        propensity: Probability with which the item came to the place, given the places above it; log it with the
            role `propensity`.
        position: 1, 2, …
    """

    items: tuple[Any, ...]
    explored: tuple[bool, ...]
    propensity: tuple[float, ...]
    position: tuple[int, ...]

    def rows(self, **more: Any) -> list[dict[str, Any]]:
        """The rows to log, one for each place.

        Args:
            **more: Columns that all rows have, such as the time, the user and the list.

        Example:
            >>> shown = explore(["a", "b"], ["a", "b", "c"], rate=0.0, k=1, rng=np.random.default_rng(0))
            >>> shown.rows(user=7)
            [{'user': 7, 'item': 'a', 'position': 1, 'explored': False, 'propensity': 1.0}]
        """
        columns = zip(self.items, self.position, self.explored, self.propensity, strict=True)
        names = ("item", "position", "explored", "propensity")
        return [{**more, **dict(zip(names, values, strict=True))} for values in columns]


def explore(
    ranking: Sequence[Hashable],
    catalogue: Sequence[Hashable],
    *,
    rate: float,
    k: int | None = None,
    rng: np.random.Generator | None = None,
) -> Explored:
    """Take the ranking of a model, and fill each place by chance with a set probability.

    A place is filled with probability `rate` by an item drawn from those of the catalogue that stand in no place
    above, all as likely, and else with the next item of the ranking that stands in no place above.

    Args:
        ranking: The model's items, best first.
        catalogue: All items that may be shown; those of the ranking among them.
        rate: Share of places filled by chance, in [0, 1].
        k: Places to fill; as many as the ranking has when None.
        rng: Source of chance; a fresh one when None.

    Returns:
        The list, with what has to be logged.

    Raises:
        InputError: For a rate outside [0, 1], an item of the ranking that the catalogue lacks, an item that stands
            twice, or a catalogue too small for the places.

    Source:
        Epsilon-greedy exploration with logged propensities (Langford, Strehl & Wortman, 2008, ICML, "Exploration
        scavenging"; Li et al., 2011, WSDM).

    Example:
        >>> shown = explore(["a", "b", "c"], list("abcdef"), rate=0.5, k=3, rng=np.random.default_rng(7))
        >>> shown.items, shown.explored
        (('a', 'b', 'c'), (False, False, False))
        >>> [round(p, 3) for p in shown.propensity]  # 1/2 + 1/2 · 1/6, then 1/5, then 1/4
        [0.583, 0.6, 0.625]
    """
    if isinstance(rate, bool) or not isinstance(rate, (int, float)) or not 0 <= rate <= 1:
        raise InputError(f"The exploration rate is {rate!r}; give a share from 0 to 1, such as 0.02.")
    places = len(ranking) if k is None else k
    if isinstance(places, bool) or not isinstance(places, int) or places < 1:
        raise InputError(f"The list has {places!r} places; give a whole number from 1 on.")
    every, ranked = list(dict.fromkeys(catalogue)), list(ranking)
    known = set(every)
    strange = next((item for item in ranked if item not in known), None)
    if strange is not None:
        raise InputError(f"The ranking holds {strange!r}, which the catalogue lacks; give all items that may be shown.")
    if len(set(ranked)) < len(ranked):
        twice = next(item for item in ranked if ranked.count(item) > 1)
        raise InputError(f"The ranking holds {twice!r} twice; an item has one place.")
    if places > len(every):
        raise InputError(f"{places} places cannot be filled from {len(every)} items; give more items, or a smaller k.")
    rng = np.random.default_rng() if rng is None else rng
    left, waiting = every, ranked
    items: list[Any] = []
    drawn: list[bool] = []
    chances: list[float] = []
    for _ in range(places):
        # A ranking that has run out leaves only chance.
        by_chance = not waiting or bool(rng.random() < rate)
        item = left[int(rng.integers(len(left)))] if by_chance else waiting[0]
        share = float(rate) if waiting else 1.0
        chances.append(share / len(left) + (1 - share) * bool(waiting and item == waiting[0]))
        items.append(item)
        drawn.append(by_chance)
        left = [i for i in left if i != item]
        waiting = [i for i in waiting if i != item]
    return Explored(tuple(items), tuple(drawn), tuple(chances), tuple(range(1, places + 1)))
