"""Rank-biased overlap against the paper, a slow reference and its laws."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from afterlaunch.stats.overlap import EMPTY, overlap


def padded(*lists: list[int], size: int = 12) -> np.ndarray:
    return np.array([[*x, *[EMPTY] * (size - len(x))] for x in lists])


def slow(first: list[int], second: list[int], p: float) -> float:
    """Eq. 32 of Webber, Moffat & Zobel (2010), term by term."""
    short, long = sorted((first, second), key=len)
    s, many = len(short), len(long)

    def shared(d: int) -> int:
        return len(set(short[:d]) & set(long[:d]))

    total = sum(shared(d) / d * p**d for d in range(1, many + 1))
    total += sum(shared(s) * (d - s) / (s * d) * p**d for d in range(s + 1, many + 1))
    return (1 - p) / p * total + ((shared(many) - shared(s)) / many + shared(s) / s) * p**many


LISTS = st.lists(st.integers(0, 15), min_size=1, max_size=12, unique=True)


@given(LISTS, LISTS, st.sampled_from([0.5, 0.9, 0.98]))
def test_it_is_the_formula_of_the_paper(first: list[int], second: list[int], p: float) -> None:
    assert overlap(padded(first), padded(second), p).rbo[0] == pytest.approx(slow(first, second, p))


def test_the_agreement_by_depth_of_the_example_in_the_paper() -> None:
    """Lists abcdefg and zcavwxy: the overlap at depth d is 0, 0, 2, 2, 2, 2, 2, and its mean proportion 0.312."""
    first, second = padded([1, 2, 3, 4, 5, 6, 7], size=7), padded([26, 3, 1, 22, 23, 24, 25], size=7)
    proportions = [overlap(first[:, :d], second[:, :d]).overlap[0] for d in range(1, 8)]
    assert proportions == pytest.approx([0, 0, 2 / 3, 0.5, 0.4, 1 / 3, 2 / 7])
    assert np.mean(proportions) == pytest.approx(0.312, abs=0.0005)


def test_the_first_ten_places_have_86_percent_of_the_weight() -> None:
    """The paper, section 4.4: with p = 0.9. Lists that agree in ten places and then no more have that much overlap."""
    ten = list(range(10))
    first = padded([*ten, *range(100, 500)], size=410)
    second = padded([*ten, *range(600, 1000)], size=410)
    deep = overlap(first, second, 0.9).rbo[0]
    tail = (1 - 0.9) / 0.9 * sum(10 / d * 0.9**d for d in range(11, 2000))
    assert deep - tail == pytest.approx(1 - 0.9**10, abs=1e-4)
    weight = 1 - 0.9**9 + (1 - 0.9) / 0.9 * 10 * (np.log(10) - sum(0.9**i / i for i in range(1, 10)))
    assert weight == pytest.approx(0.8556, abs=1e-4)


@given(LISTS, LISTS)
def test_laws(first: list[int], second: list[int]) -> None:
    one, other = overlap(padded(first), padded(second)), overlap(padded(second), padded(first))
    for name in ("rbo", "jaccard", "overlap"):
        value = getattr(one, name)[0]
        assert 0 <= value <= 1
        assert value == pytest.approx(getattr(other, name)[0])
        assert getattr(overlap(padded(first), padded(first)), name)[0] == pytest.approx(1.0)
        assert (value == 0) == (not set(first) & set(second))
    assert one.jaccard[0] == pytest.approx(len(set(first) & set(second)) / len(set(first) | set(second)))


@given(st.integers(0, 9), st.integers(0, 9))
def test_a_change_further_down_counts_less(place: int, other: int) -> None:
    same = list(range(10))
    changed = [[*same[:i], 99, *same[i + 1 :]] for i in (place, other)]
    values = [overlap(padded(same), padded(c)).rbo[0] for c in changed]
    assert (values[0] <= values[1] + 1e-12) == (place <= other)


def test_empty_lists_and_repeats() -> None:
    found = overlap(padded([], [], [1, 2], [1, 1, 2]), padded([], [1], [], [1, 2, 3]))
    assert found.rbo[:3].tolist() == [1.0, 0.0, 0.0]
    assert found.jaccard.tolist() == pytest.approx([1.0, 0.0, 0.0, 2 / 3])


def test_many_lists_are_compared_as_one_by_one() -> None:
    rng = np.random.default_rng(0)
    first, second = (np.array([rng.permutation(30)[:10] for _ in range(200)]) for _ in range(2))
    together = overlap(first, second)
    alone = [overlap(first[i : i + 1], second[i : i + 1]).rbo[0] for i in range(200)]
    assert together.rbo.tolist() == alone


@pytest.mark.parametrize("p", [0.0, 1.0, -1.0])
def test_a_persistence_outside_zero_and_one_is_refused(p: float) -> None:
    with pytest.raises(ValueError, match="between 0 and 1"):
        overlap(padded([1]), padded([1]), p)


# What the authors' own program gives, as rounded in the test data of the Rust crate `rbo` (MIT).
ALPHABET = "abcdefghijklmnopqrstuvwxyz"
BY_THE_AUTHORS = [
    ("akdwcjomxrubqitenhspyl", 0.1, 0.948509),
    ("ck", 0.1, 0.003245),
    ("av", 0.2, 0.9),
    ("bncxagm", 0.2, 0.105466),
    ("yad", 0.4, 0.187572),
    ("afdqwtvehcpubinloygrs", 0.4, 0.782330),
    ("karfvodcjmwgzlypebunq", 0.9, 0.468431),
    ("f", 0.9, 0.053090),
    ("zclx", 0.9, 0.233312),
    ("nxqyk", 0.9, 0.049050),
]


@pytest.mark.parametrize(("letters", "p", "expected"), BY_THE_AUTHORS)
def test_lists_of_uneven_length_agree_as_in_the_authors_program(letters: str, p: float, expected: float) -> None:
    first, second = (padded([ALPHABET.index(c) for c in x], size=26) for x in (ALPHABET, letters))
    assert overlap(first, second, p).rbo[0] == pytest.approx(expected, abs=1e-6)


def test_a_rotated_list_of_five() -> None:
    assert overlap(np.array([[1, 2, 3, 4, 5]]), np.array([[2, 3, 4, 1, 5]]), 0.9).rbo[0] == pytest.approx(
        0.828, abs=5e-4
    )
