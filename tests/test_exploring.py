"""Filling places by chance: the recorded probabilities are the true ones, over every outcome there is."""

from __future__ import annotations

import itertools
import math
import sys
from collections import Counter, defaultdict
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import afterlaunch as al
from tests.simulation import SURE


class Undecided(Exception):
    """The script has come to its end, and chance is asked once more."""

    def __init__(self, outcomes: list[tuple[float, float]]) -> None:
        self.outcomes = outcomes


class Scripted:
    """Chance that does what was written down, so that every outcome can be had once."""

    def __init__(self, script: tuple[float, ...], rate: float) -> None:
        self.left, self.rate = list(script), rate

    def random(self) -> float:
        # Below the rate or not; one of the two never comes where the rate is 0 or 1.
        ways = [(self.rate / 2, self.rate), ((1 + self.rate) / 2, 1 - self.rate)]
        return self._next([(value, p) for value, p in ways if p > 0])

    def integers(self, n: int) -> int:
        return int(self._next([(i, 1 / n) for i in range(n)]))

    def _next(self, outcomes: list[tuple[float, float]]) -> float:
        if not self.left:
            raise Undecided(outcomes)
        return self.left.pop(0)


def outcomes(ranking: list[str], catalogue: list[str], rate: float, k: int) -> Iterator[tuple[float, al.Explored]]:
    """Every way the lottery can go, with its probability."""
    waiting: list[tuple[tuple[float, ...], float]] = [((), 1.0)]
    while waiting:
        script, p = waiting.pop()
        chance: Any = Scripted(script, rate)
        try:
            yield p, al.explore(ranking, catalogue, rate=rate, k=k, rng=chance)
        except Undecided as asked:
            waiting += [((*script, value), p * q) for value, q in asked.outcomes]


SMALL = st.integers(2, 4).flatmap(
    lambda m: st.tuples(
        st.permutations("abcd"[:m]).flatmap(lambda items: st.integers(1, m).map(lambda n: list(items)[:n])),
        st.just(list("abcd"[:m])),
        st.sampled_from([0.0, 0.1, 0.5, 0.9, 1.0]),
        st.integers(1, min(m, 3)),
    )
)


@given(world=SMALL)
def test_propensities_are_those_of_all_outcomes(world: tuple[list[str], list[str], float, int]) -> None:
    ranking, catalogue, rate, k = world
    reached: dict[tuple[str, ...], float] = defaultdict(float)
    said: dict[tuple[str, ...], float] = {}
    explored = 0.0
    for p, shown in outcomes(ranking, catalogue, rate, k):
        for place in range(k + 1):
            reached[shown.items[:place]] += p
        for place in range(k):
            head = shown.items[: place + 1]
            assert said.setdefault(head, shown.propensity[place]) == shown.propensity[place]
        assert shown.position == tuple(range(1, k + 1))
        assert len(set(shown.items)) == k
        explored += p * sum(shown.explored)
    assert reached[()] == pytest.approx(1.0)
    for head, chance in said.items():
        assert chance == pytest.approx(reached[head] / reached[head[:-1]])
    for head in {h[:-1] for h in said}:
        assert sum(c for h, c in said.items() if h[:-1] == head) == pytest.approx(1.0)
    if len(ranking) == len(catalogue):
        assert explored == pytest.approx(rate * k)


def test_propensities_are_the_shares_of_many_lists() -> None:
    rng = np.random.default_rng(0)
    lists = 20_000
    shown = [al.explore(["b", "a", "d"], list("abcd"), rate=0.4, k=2, rng=rng) for _ in range(lists)]
    first = Counter(s.items[0] for s in shown)
    pairs = Counter(s.items for s in shown)
    chances = {s.items: s.propensity for s in shown}
    assert set(pairs) == set(itertools.permutations("abcd", 2))
    wide = math.sqrt(2 * math.log(2 / SURE))  # Hoeffding
    for items, n in pairs.items():
        assert abs(first[items[0]] / lists - chances[items][0]) < wide / (2 * math.sqrt(lists))
        assert abs(n / lists - math.prod(chances[items])) < wide / (2 * math.sqrt(lists))
    assert abs(sum(sum(s.explored) for s in shown) / (2 * lists) - 0.4) < wide / (2 * math.sqrt(2 * lists))


def test_weighting_by_propensity_gives_every_item_its_places() -> None:
    """The sum of 1 / propensity over the places at which an item still could come is the number of those places."""
    rng = np.random.default_rng(1)
    catalogue, lists = list(range(6)), 4000
    weight, could = np.zeros(6), np.zeros(6)
    for _ in range(lists):
        shown = al.explore([3, 0, 1], catalogue, rate=0.5, k=3, rng=rng)
        could += 3
        for item, place, chance in zip(shown.items, shown.position, shown.propensity, strict=True):
            weight[item] += 1 / chance
            could[item] -= 3 - place
    assert weight / could == pytest.approx(np.ones(6), abs=0.1)


def test_rate_zero_is_the_ranking_and_rate_one_the_lottery() -> None:
    rng = np.random.default_rng(0)
    for _ in range(20):
        shown = al.explore("abc", "abcdef", rate=0, k=3, rng=rng)
        assert shown == al.Explored(("a", "b", "c"), (False,) * 3, (1.0,) * 3, (1, 2, 3))
    counts: Counter[str] = Counter()
    for _ in range(3000):
        shown = al.explore("abc", "abcdef", rate=1, k=2, rng=rng)
        assert shown.explored == (True, True)
        assert shown.propensity == pytest.approx((1 / 6, 1 / 5))
        counts.update(shown.items)
    assert all(abs(n / 3000 - 1 / 3) < 0.04 for n in counts.values())


def test_a_short_ranking_is_filled_up_by_chance() -> None:
    shown = al.explore(["a"], "abcd", rate=0.0, k=4, rng=np.random.default_rng(0))
    assert shown.explored == (False, True, True, True)
    assert shown.propensity == pytest.approx((1.0, 1 / 3, 1 / 2, 1.0))
    assert sorted(shown.items) == list("abcd")
    alone = al.explore([], "ab", rate=0.0, k=1, rng=np.random.default_rng(0))
    assert alone.explored == (True,)


def test_a_catalogue_that_repeats_itself_counts_once() -> None:
    shown = al.explore(["a"], ["a", "b", "a", "b"], rate=1.0, rng=np.random.default_rng(0))
    assert shown.propensity == (0.5,)


def test_a_seed_gives_the_same_list_and_none_gives_some_list() -> None:
    one, two = (al.explore(range(5), range(50), rate=0.5, rng=np.random.default_rng(3)) for _ in range(2))
    assert one == two
    assert len({al.explore(range(5), range(50), rate=1.0).items for _ in range(5)}) > 1


def test_rows_have_what_is_to_be_logged() -> None:
    shown = al.explore("ab", "abc", rate=0.0, rng=np.random.default_rng(0))
    rows = shown.rows(user=7, list="x")
    assert [list(r) for r in rows] == [["user", "list", "item", "position", "explored", "propensity"]] * 2
    assert [r["item"] for r in rows] == ["a", "b"]


@pytest.mark.parametrize("first", ["Explored", "explore"])
def test_the_function_is_there_whatever_was_used_first(first: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A module of the same name must not take its place."""
    monkeypatch.delitem(sys.modules, "afterlaunch.exploring", raising=False)
    for name in ("explore", "Explored"):
        monkeypatch.delitem(vars(al), name, raising=False)
    assert getattr(al, first) is not None
    assert callable(al.explore)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"rate": -0.1}, "The exploration rate is -0.1"),
        ({"rate": 1.01}, "The exploration rate is 1.01"),
        ({"rate": float("nan")}, "The exploration rate is nan"),
        ({"rate": True}, "The exploration rate is True"),
        ({"rate": "2 %"}, "The exploration rate is '2 %'"),
        ({"ranking": ["a", "z"]}, "The ranking holds 'z', which the catalogue lacks"),
        ({"ranking": ["a", "b", "a"]}, "The ranking holds 'a' twice"),
        ({"k": 0}, "The list has 0 places"),
        ({"k": True}, "The list has True places"),
        ({"k": 1.5}, "The list has 1.5 places"),
        ({"ranking": []}, "The list has 0 places"),
        ({"k": 4}, "4 places cannot be filled from 3 items"),
        ({"catalogue": []}, "which the catalogue lacks"),
    ],
)
def test_bad_input_is_one_sentence(change: dict[str, Any], words: str) -> None:
    asked = {"ranking": ["a", "b"], "catalogue": ["a", "b", "c"], "rate": 0.1, **change}
    with pytest.raises(al.InputError) as caught:
        al.explore(asked.pop("ranking"), asked.pop("catalogue"), **asked)
    text = str(caught.value)
    assert words in text
    assert text.endswith(".")
    assert "\n" not in text
