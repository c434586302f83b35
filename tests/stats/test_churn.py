"""Wins less losses: error rates in simulation, and laws."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from afterlaunch.stats.churn import net

DRAWS = 2000
TOLERANCE = 3 * (0.05 * 0.95 / DRAWS) ** 0.5
"""Three standard errors of a rate of 5 % over the draws."""


@pytest.mark.parametrize(
    ("n", "wins", "losses"),
    [(50, 0.02, 0.02), (200, 0.05, 0.05), (200, 0.01, 0.03), (1000, 0.02, 0.02), (2000, 0.1, 0.11)],
)
def test_each_end_errs_no_more_than_promised(n: int, wins: float, losses: float) -> None:
    rng = np.random.default_rng(1)
    drawn = rng.multinomial(n, [wins, losses, 1 - wins - losses], size=DRAWS)
    ends = np.array([net(d[:1], d[1:2], np.array([n])).interval(0.05, 0.05) for d in drawn])
    assert (ends[:, 0] > wins - losses).mean() <= 0.05 + TOLERANCE
    assert (ends[:, 1] < wins - losses).mean() <= 0.05 + TOLERANCE


def test_it_is_not_so_wide_that_it_never_errs() -> None:
    rng = np.random.default_rng(2)
    drawn = rng.multinomial(5000, [0.1, 0.1, 0.8], size=DRAWS)
    ends = np.array([net(d[:1], d[1:2], np.array([5000])).interval(0.05, 0.05) for d in drawn])
    assert (ends[:, 0] > 0).mean() > 0.05 - 2 * TOLERANCE
    assert (ends[:, 1] < 0).mean() > 0.05 - 2 * TOLERANCE


def test_units_that_win_or_lose_together_are_heard() -> None:
    """Every unit has 20 rows that change alike; rows taken as independent would err far more often."""
    rng = np.random.default_rng(3)
    missed = np.zeros(2)
    alone = 0
    for _ in range(600):
        fate = rng.choice([1, -1, 0], size=640, p=[0.05, 0.05, 0.9])
        bucket = rng.integers(0, 64, 640)
        wins, losses = (20 * np.bincount(bucket, fate == way, minlength=64) for way in (1, -1))
        rows = 20 * np.bincount(bucket, minlength=64)
        low, high = net(wins, losses, rows).interval(0.05, 0.05)
        missed += [low > 0, high < 0]
        alone += (
            net(wins.sum(keepdims=True), losses.sum(keepdims=True), rows.sum(keepdims=True)).interval(0.05, 0.05)[0] > 0
        )
    assert (missed / 600 <= 0.05 + 3 * (0.05 * 0.95 / 600) ** 0.5).all()
    assert alone / 600 > 0.2


@given(st.integers(0, 50), st.integers(0, 50), st.integers(1, 200))
def test_the_interval_holds_the_estimate_and_turns_with_the_sides(wins: int, losses: int, more: int) -> None:
    rows = np.array([wins + losses + more])
    one, other = net(np.array([wins]), np.array([losses]), rows), net(np.array([losses]), np.array([wins]), rows)
    low, high = one.interval(0.01, 0.1)
    assert -1 <= low <= one.value <= high <= 1
    turned = other.interval(0.1, 0.01)
    assert turned == pytest.approx((-high, -low))


def test_no_rows_say_nothing() -> None:
    assert net(np.array([0]), np.array([0]), np.array([0])).interval(0.05, 0.05) == (-1.0, 1.0)
