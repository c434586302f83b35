"""Power lost between two tables: its room, its pace, and the errors and power of its interval."""

import math

import numpy as np
import pytest
from scipy.special import ndtri

from afterlaunch.stats.association import Power, binned, bins_for, blocks, power
from afterlaunch.stats.retention import Loss, kept_spread, smoothness
from tests.simulation import at_most


def test_room_shrinks_with_the_spread_of_a_column() -> None:
    rng = np.random.default_rng(0)
    y = rng.integers(0, 2, 4000)
    x = rng.normal(size=4000) + y
    block = blocks(4000, 2000)
    codes = binned(np.concatenate([x, 0.2 * x, x]))
    ref, narrow, same = codes[:4000], codes[4000:8000], codes[8000:]
    assert kept_spread(ref, y, block, same, block) == 1.0
    assert 0.1 < kept_spread(ref, y, block, narrow, block) < 0.5
    assert kept_spread(ref, y, block, np.full(4000, 70), block) == pytest.approx(0, abs=1e-9)
    assert kept_spread(ref, y, block, np.zeros(0, int), np.zeros(0, int)) == 0
    assert kept_spread(ref, y % 3, block, same, block, classes=True) == 1.0


def test_a_column_that_follows_time_is_smooth() -> None:
    rng = np.random.default_rng(1)
    x = rng.integers(0, 4, 2000)
    y = (rng.random(2000) < 0.2 + 0.2 * x).astype(np.int64)
    block = blocks(2000, 500)
    assert abs(smoothness(x, y, block, rng.permutation(x))) < 0.1
    assert smoothness(x, y, block, np.sort(x)) > 0.95
    assert smoothness(x, y, block, np.zeros(2000, int)) == 0
    assert smoothness(x, y, block, x[:1]) == 0
    assert smoothness(x, y, block, np.sort(x), classes=True) > 0.95


def test_a_column_that_is_gone_loses_all_it_had() -> None:
    before = Power(0.8, 0.0001, math.inf, 500, 5000)
    loss = Loss(before, None)
    assert loss.value == pytest.approx(0.3)
    i = before.interval(0.01, 0.02)
    assert loss.interval(0.01, 0.02) == pytest.approx((i.low - 0.5, i.high - 0.5))
    assert loss.rows_needed(0.1, 0.05) is None


def drawn(rng: np.random.Generator, rows: int, auc: float) -> Power:
    y = (rng.random(rows) < 0.3).astype(np.int64)
    x = binned(rng.normal(size=rows) + math.sqrt(2) * float(ndtri(auc)) * y, bins_for(float(y.sum())))
    found = power(x, y, blocks(rows, int(y.sum())), ordered=64)
    assert found is not None
    return found


@pytest.mark.parametrize("alpha", [0.05, 0.0005])
def test_the_errors_at_the_margin_and_power_beside_them(alpha: float) -> None:
    """A loss of .1 is "more than .1" at most alpha of the time, one of .25 nearly always (1,000 rows each)."""
    rng, repeats = np.random.default_rng(2), 600
    false = found = wrong = 0
    for _ in range(repeats):
        before = drawn(rng, 1000, 0.8)
        false += Loss(before, drawn(rng, 1000, 0.7)).interval(alpha, alpha)[0] > 0.1
        found += Loss(before, drawn(rng, 1000, 0.5)).interval(alpha, alpha)[0] > 0.1
        wrong += Loss(before, drawn(rng, 1000, 0.8)).interval(alpha, alpha)[1] < 0
    # Learning from half the rows costs the weaker relation a little more: under half a point.
    assert false / repeats <= at_most(alpha + 0.02, repeats)
    assert wrong / repeats <= at_most(alpha + 0.02, repeats)
    assert found / repeats > (0.99 if alpha == 0.05 else 0.95)


def test_rows_needed_is_what_a_simulation_needs() -> None:
    rng = np.random.default_rng(3)
    before = drawn(rng, 20_000, 0.75)
    small = drawn(rng, 300, 0.75)
    needed = Loss(before, small).rows_needed(0.1, 0.05)
    assert needed is not None

    def decided(rows: int) -> float:
        return float(np.mean([Loss(before, drawn(rng, rows, 0.75)).interval(0.5, 0.05)[1] <= 0.1 for _ in range(200)]))

    assert decided(2 * needed) > 0.75
    assert decided(needed // 2) < 0.85
