"""Mean distances between 0 and 1: error rates in simulation, and what is known of nothing."""

from __future__ import annotations

import numpy as np
import pytest

from afterlaunch.stats.apart import mean_distance
from afterlaunch.stats.intervals import share

DRAWS = 1000
TOLERANCE = 3 * (0.05 * 0.95 / DRAWS) ** 0.5


@pytest.mark.parametrize(("a", "b", "n"), [(1, 9, 50), (0.2, 20, 300), (5, 5, 40), (3, 1, 100)])
def test_independent_subjects(a: float, b: float, n: int) -> None:
    rng = np.random.default_rng(1)
    values = rng.beta(a, b, size=(DRAWS, n))
    sides = zip(values.sum(axis=1), (values**2).sum(axis=1), strict=True)
    ends = np.array([mean_distance(np.array([s]), np.array([q]), np.array([n])).interval(0.05, 0.05) for s, q in sides])
    assert (ends[:, 0] > a / (a + b)).mean() <= 0.05 + TOLERANCE + 0.01
    assert (ends[:, 1] < a / (a + b)).mean() <= 0.05 + TOLERANCE + 0.01


def test_subjects_of_one_unit_are_alike() -> None:
    rng = np.random.default_rng(2)
    wrong = np.zeros(2)
    for _ in range(DRAWS):
        unit = rng.beta(2, 6, size=400)
        bucket = rng.integers(0, 64, 400)
        sums, squares = (5 * np.bincount(bucket, unit**power, minlength=64) for power in (1, 2))
        low, high = mean_distance(sums, squares, 5 * np.bincount(bucket, minlength=64)).interval(0.05, 0.05)
        wrong += [low > 0.25, high < 0.25]
    assert (wrong / DRAWS <= 0.05 + TOLERANCE).all()


def test_of_noughts_and_ones_it_is_a_share() -> None:
    found = mean_distance(np.array([30.0]), np.array([30.0]), np.array([100])).interval(0.05, 0.01)
    expected = share(30, 100, 0.05, 0.01)
    assert found == pytest.approx((expected.low, expected.high), abs=0.002)


def test_nothing_is_known_of_nothing() -> None:
    assert mean_distance(np.zeros(1), np.zeros(1), np.zeros(1)).interval(0.05, 0.05) == (0.0, 1.0)
    one = np.zeros(64)
    one[3] = 5
    assert mean_distance(one / 2, one / 4, one).interval(0.05, 0.05) == (0.0, 1.0)
