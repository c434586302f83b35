"""Category mixes: error rates at the margin in simulation, and laws."""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import entropy

from afterlaunch.stats.mixing import miscalibration, moved, total_variation
from tests.simulation import at_most

DRAWS, RUN_DRAWS = 400, 200
TOLERANCE = 3 * (0.05 * 0.95 / DRAWS) ** 0.5
MARGIN = 0.05


@cache
def simulated(categories: int, lists: int, change: float) -> np.ndarray:
    """Lists of ten whose users differ in taste; `change` of the mass moves from one half of categories to the other."""
    rng = np.random.default_rng(3)
    old = rng.dirichlet(np.full(categories, 2.0))
    new, half = old.copy(), categories // 2
    mass = old[:half].sum()
    new[:half] *= (mass - change) / mass
    new[half:] *= (1 - mass + change) / (1 - mass)
    bucket = np.arange(lists) % 64
    out = []
    for _ in range(DRAWS):
        counts = np.zeros((2, 1, 64, categories))
        for side, mix in enumerate((old, new)):
            taste = rng.gamma(mix * 5, size=(lists, categories))
            drawn = rng.multinomial(10, taste / taste.sum(axis=1, keepdims=True))
            np.add.at(counts[side, 0], bucket, drawn)
        found = moved(*counts)
        assert found is not None
        out.append((found.value, *found.interval(0.05, 0.05)))
    return np.array(out)


@pytest.mark.parametrize("change", [0.0, 0.025, 0.05, 0.1])
@pytest.mark.parametrize(("categories", "lists"), [(5, 2000), (10, 200), (40, 500)])
def test_neither_end_errs_more_than_promised(categories: int, lists: int, change: float) -> None:
    found = simulated(categories, lists, change)
    assert (found[:, 1] > max(change, 1e-12)).mean() <= 0.05 + TOLERANCE
    assert (found[:, 2] < change).mean() <= 0.05 + TOLERANCE


def test_no_change_is_shown_and_twice_the_margin_is_found() -> None:
    assert (simulated(5, 2000, 0.0)[:, 2] <= MARGIN).mean() > 0.95
    assert (simulated(5, 2000, 0.1)[:, 1] > MARGIN).mean() > 0.95


@cache
def of_runs(categories: int, many: tuple[int, int], change: float) -> np.ndarray:
    """Versions whose every run has a mix of its own, which all of its lists share, as with models of other seeds."""
    rng = np.random.default_rng(4)
    old = np.full(categories, 1 / categories)
    new, half = old.copy(), categories // 2
    new[:half] *= 1 - change / old[:half].sum()
    new[half:] *= 1 + change / old[half:].sum()
    out = []
    for _ in range(RUN_DRAWS):
        counts = [
            np.stack([rng.multinomial(150, rng.dirichlet(mix * 200), size=64) for _ in range(runs)])
            for mix, runs in zip((old, new), many, strict=True)
        ]
        found = moved(*counts)
        assert found is not None
        out.append((found.value, *found.interval(0.05, 0.05)))
    return np.array(out)


@pytest.mark.parametrize("change", [0.0, 0.05])
@pytest.mark.parametrize(("categories", "many"), [(5, (3, 3)), (20, (10, 10)), (20, (1, 10)), (20, (6, 2))])
def test_what_sets_runs_apart_is_no_change(categories: int, many: tuple[int, int], change: float) -> None:
    """Two single runs are 0.16 apart by chance with twenty categories."""
    found = of_runs(categories, many, change)
    assert (found[:, 1] > max(change, 1e-12)).mean() <= at_most(0.05, RUN_DRAWS)
    assert (found[:, 2] < change).mean() <= at_most(0.05, RUN_DRAWS)


def test_a_change_beyond_what_sets_runs_apart_is_found() -> None:
    assert (of_runs(20, (10, 10), 0.2)[:, 1] > MARGIN).mean() > 0.95
    assert (of_runs(20, (1, 10), 0.4)[:, 1] > MARGIN).mean() > 0.95


def test_runs_that_agree_are_compared_as_one() -> None:
    rng = np.random.default_rng(0)
    lists = [rng.multinomial(20, mix, size=(1, 64)) for mix in ([0.5, 0.3, 0.2], [0.4, 0.3, 0.3])]
    one, ten = moved(*lists), moved(*[np.repeat(x, 10, axis=0) for x in lists])
    assert one is not None
    assert ten is not None
    assert (ten.value, ten.plain, ten.se) == pytest.approx((one.value, one.plain, one.se))


def test_too_little_is_none() -> None:
    nothing = np.zeros((1, 64, 3))
    single = nothing.copy()
    single[0, 0] = 1
    assert moved(nothing, single) is None
    assert moved(single, single) is None


COUNTS = st.lists(st.integers(0, 20), min_size=4, max_size=4)


@given(COUNTS, COUNTS)
def test_total_variation_is_a_distance(a: list[int], b: list[int]) -> None:
    one, other = float(total_variation(np.array(a), np.array(b))), float(total_variation(np.array(b), np.array(a)))
    assert one == other
    assert 0 <= one <= 1
    assert float(total_variation(np.array(a), 3 * np.array(a))) == pytest.approx(0)
    if sum(a) and sum(b):
        shares = np.array(a) / sum(a), np.array(b) / sum(b)
        assert one == pytest.approx(np.maximum(shares[1] - shares[0], 0).sum())


@given(st.lists(st.floats(0.01, 1), min_size=4, max_size=4), COUNTS.filter(any))
def test_miscalibration_is_the_divergence_from_the_smoothed_list(liked: list[float], shown: list[int]) -> None:
    p, q = np.array(liked) / sum(liked), np.array(shown) / sum(shown)
    expected = entropy(p, 0.99 * q + 0.01 * p)
    assert float(miscalibration(np.array(liked), np.array(shown))) == pytest.approx(expected, abs=1e-12)


def test_without_history_or_list_it_is_unknown() -> None:
    assert np.isnan(miscalibration(np.array([0.0, 0.0]), np.array([1, 0])))
    assert np.isnan(miscalibration(np.array([1.0, 0.0]), np.array([0, 0])))
