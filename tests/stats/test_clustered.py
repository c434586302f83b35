"""A share of dependent rows: errors of its ends, and what happens at none and all."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from afterlaunch.stats.clustered import Share, counted, p_value
from tests.simulation import BUCKETS, at_most


@given(st.integers(0, 50), st.integers(0, 50), st.floats(0.001, 0.4), st.floats(0.001, 0.4))
def test_the_interval_holds_the_share(hits: int, others: int, low: float, high: float) -> None:
    one = Share(hits, hits + others)
    a, b = one.interval(low, high)
    assert 0 <= a <= (one.value if one.rows else 1) <= b <= 1


def test_nothing_known_says_nothing() -> None:
    assert Share(0, 0).interval(0.05, 0.05) == (0.0, 1.0)
    assert Share(0, 0).value == 0
    lone = counted(np.array([0, 5]), np.array([0, 10]))
    assert lone.interval(0.05, 0.05) == (0.0, 1.0)
    assert lone.rows_needed(0.05, 0.05) is None


@pytest.mark.parametrize("alpha", [0.05, 0.0005])
@pytest.mark.parametrize("icc", [0.1, 1.0])
def test_the_errors_of_both_ends_with_units_and_power_beside_them(icc: float, alpha: float) -> None:
    """300 units of 6 rows, true share .1; a margin of .05 is passed in nearly all tables."""
    rng, repeats = np.random.default_rng(0), 1500
    low = high = sure = 0
    for _ in range(repeats):
        unit = rng.beta(0.1 * (1 / icc - 1), 0.9 * (1 / icc - 1), 300) if icc < 1 else (rng.random(300) < 0.1)
        hits = rng.binomial(6, unit)
        bucket = rng.integers(0, BUCKETS, 300)
        one = counted(np.bincount(bucket, hits, BUCKETS), np.bincount(bucket, np.full(300, 6), BUCKETS))
        a, b = one.interval(alpha, alpha)
        low, high, sure = low + (a > 0.1), high + (b < 0.1), sure + (a > 0.05)
    assert low / repeats <= at_most(alpha + 0.015 if alpha == 0.05 else 0.003, repeats)
    assert high / repeats <= at_most(alpha + 0.03 if alpha == 0.05 else 0.008, repeats)
    assert sure / repeats > {(0.1, 0.05): 0.95, (0.1, 0.0005): 0.4, (1.0, 0.05): 0.6, (1.0, 0.0005): 0.02}[icc, alpha]


@pytest.mark.parametrize("share", [0.003, 0.01])
def test_units_that_never_hit_are_not_taken_for_rows(share: float) -> None:
    """Whole units hit with a small chance: the upper end misses it at most 5 % (+ 2 points) of the time."""
    rng, repeats = np.random.default_rng(1), 1500
    missed = 0
    for _ in range(repeats):
        hits = 20 * (rng.random(250) < share)
        bucket = rng.integers(0, BUCKETS, 250)
        one = counted(np.bincount(bucket, hits, BUCKETS), np.bincount(bucket, np.full(250, 20), BUCKETS))
        missed += one.interval(0.05, 0.05)[1] < share
    assert missed / repeats <= at_most(0.07, repeats)


def test_many_small_units_that_never_hit_decide() -> None:
    rng = np.random.default_rng(2)
    rows = np.bincount(rng.integers(0, BUCKETS, 20_000), minlength=BUCKETS)
    assert counted(np.zeros(BUCKETS), rows).interval(0.05, 0.05)[1] < 0.001


def test_rows_needed_and_p_value_agree_with_the_interval() -> None:
    needed = Share(3, 100).rows_needed(0.01, 0.05)
    assert needed is not None
    assert Share(0, needed).interval(0.05, 0.05)[1] <= 0.01 < Share(0, 0.98 * needed).interval(0.05, 0.05)[1]
    one = Share(20, 100)
    p = one.p_value(0.15)
    assert one.interval(p * 1.01, 0.5)[0] >= 0.15 >= one.interval(p * 0.9, 0.5)[0]
    assert p_value(one.interval, 0.3) == 1.0
    assert p_value(Share(10_000, 10_000).interval, 0.5) == pytest.approx(1e-12)
