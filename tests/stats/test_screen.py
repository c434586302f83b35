"""The cheap look before the classifier."""

import numpy as np
import pytest

from afterlaunch.stats.screen import screen
from tests.simulation import at_least, at_most

RNG = np.random.default_rng


def table(rng: np.random.Generator, n: int, change: str = "", size: float = 0.0) -> np.ndarray:
    x = rng.normal(size=(n, 6))
    x[:, 5] = rng.integers(0, 4, n)
    x[rng.random(n) < 0.1, 4] = np.nan
    if change == "mean":
        x[:, 0] += size
    elif change == "many":
        x[:, :4] += size / 2
    elif change == "spread":
        x[:, 1] *= 1 + size
    elif change == "correlation":
        x[:, 1] = size * x[:, 0] + np.sqrt(1 - size**2) * x[:, 1]
    elif change == "missing":
        x[rng.random(n) < size / 2, 2] = np.nan
    return x


def p(rng: np.random.Generator, change: str = "", size: float = 0.0, n: int = 1000) -> float:
    x = np.concatenate([table(rng, n), table(rng, n, change, size)])
    return screen(x, np.arange(2 * n) >= n).p_value


def test_without_a_change_it_seldom_asks_for_the_classifier() -> None:
    rng, repeats = RNG(0), 300
    assert np.mean([p(rng) <= 0.1 for _ in range(repeats)]) <= at_most(0.1, repeats)


@pytest.mark.parametrize("change", ["mean", "many", "spread", "correlation", "missing"])
def test_changes_of_every_sort_that_it_looks_for_are_seen(change: str) -> None:
    rng = RNG(1)
    assert np.mean([p(rng, change, 0.3) <= 0.1 for _ in range(20)]) >= at_least(0.9, 20)


def test_what_moved_is_known_by_column() -> None:
    rng = RNG(2)
    x = np.concatenate([table(rng, 2000), table(rng, 2000, "correlation", 0.5)])
    assert set(np.argsort(-screen(x, np.arange(4000) >= 2000).moved)[:2].tolist()) == {0, 1}


@pytest.mark.parametrize("value", [np.nan, 1.0])
def test_columns_that_say_nothing_have_a_p_value_of_one(value: float) -> None:
    found = screen(np.full((100, 2), value), np.arange(100) >= 50)
    assert found.p_value == 1
    assert found.moved.tolist() == [0, 0]


def test_copies_of_a_column_do_no_harm() -> None:
    x = RNG(3).normal(size=(500, 1))
    assert 0 < screen(np.concatenate([x, x, -x], axis=1), np.arange(500) >= 250).p_value <= 1
