"""The difference of a quantile: equal to NumPy where all is known, and its coverage in simulation."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from afterlaunch.stats.lift import Moments
from afterlaunch.stats.looks import AnyTime, Once
from afterlaunch.stats.quantile_gap import QuantileGap, Tail
from tests.simulation import Floats, at_most

SEEDS = st.integers(0, 10_000)


def whole(values: Floats, inflation: float = 1.0) -> Tail:
    return Tail(np.sort(values), 0, values.size, inflation)


@given(SEEDS, st.integers(1, 60), st.floats(0, 1))
def test_the_quantile_is_that_of_numpy(seed: int, n: int, q: float) -> None:
    values = np.random.default_rng(seed).normal(size=n)
    assert whole(values).at(q) == pytest.approx(float(np.quantile(values, q)), rel=1e-9, abs=1e-12)


@given(SEEDS, st.integers(30, 80), st.floats(0.3, 0.7))
def test_a_part_of_the_values_is_enough(seed: int, n: int, q: float) -> None:
    values = np.sort(np.random.default_rng(seed).normal(size=n))
    part = Tail(values[n // 5 : -n // 5], n // 5, n)
    assert part.at(q) == pytest.approx(float(np.quantile(values, q)), rel=1e-9)
    assert part.at(0.01) == -math.inf
    assert part.at(0.99) == math.inf


def test_of_one_value_every_quantile_is_it() -> None:
    assert whole(np.array([3.0])).at(0.5) == 3
    assert whole(np.full(9, 2.0)).at(0.37) == 2


@given(SEEDS, st.integers(50, 500), st.floats(0.1, 0.9), st.floats(0.5, 3))
def test_ends_are_quantiles_of_shifted_shares(seed: int, n: int, q: float, z: float) -> None:
    values = np.random.default_rng(seed).normal(size=n)
    low, high = whole(values, 2.0).ends(q, z, z)
    se = math.sqrt(q * (1 - q) * 2 / n)
    expected = [
        float(np.quantile(values, e)) if 0 < e < 1 else math.copysign(math.inf, e) for e in (q - z * se, q + z * se)
    ]
    assert [low, high] == pytest.approx(expected, rel=1e-9, abs=1e-9)


def test_alike_rows_widen_the_interval() -> None:
    values = stats.norm.ppf((np.arange(4000) + 0.5) / 4000)
    narrow, wide = (QuantileGap(whole(values, f), whole(values + 1, f), 0.5) for f in (1.0, 4.0))
    assert narrow.units == 8000
    assert wide.units == 2000
    (a, b), (c, d) = (g.interval(Once(), 0.05, 0.05) for g in (narrow, wide))
    assert (d - c) / (b - a) == pytest.approx(2, rel=0.01)
    assert whole(values, 0.5).effective == 4000


def test_one_quantile_without_the_other_is_woodruffs_interval() -> None:
    values = np.random.default_rng(1).lognormal(size=3000)
    fixed = whole(np.full(3000, 1.0))
    found = QuantileGap(fixed, whole(values), 0.9)
    ends = whole(values).ends(0.9, float(stats.norm.isf(0.05)), float(stats.norm.isf(0.05)))
    assert found.interval(Once(), 0.05, 0.05) == pytest.approx([e - 1 for e in ends])


def test_the_relative_change_does_not_know_the_unit() -> None:
    a, b = np.random.default_rng(2).lognormal(size=(2, 3000))
    one, two = (QuantileGap(whole(f * a), whole(f * b), 0.5) for f in (1.0, 1000.0))
    assert one.relative == pytest.approx(two.relative)
    assert one.relative_interval(Once(), 0.05, 0.05) == pytest.approx(two.relative_interval(Once(), 0.05, 0.05))
    low, high = one.relative_interval(Once(), 0.05, 0.05)
    assert low < one.relative < high  # type: ignore[operator]


def test_what_is_not_positive_has_no_relative_change() -> None:
    values = np.linspace(-1, 1, 1000)
    assert QuantileGap(whole(values), whole(values + 5), 0.25).relative is None
    low, high = QuantileGap(whole(values + 1.01), whole(values + 1.01), 0.01).relative_interval(Once(), 1e-6, 1e-6)
    assert low == -1
    assert high == math.inf or high > 1


def test_many_looks_are_wider() -> None:
    a, b = np.random.default_rng(3).lognormal(size=(2, 5000))
    gap = QuantileGap(whole(a), whole(b), 0.5)
    (low, high), (lower, higher) = (gap.interval(looks, 0.05, 0.05) for looks in (Once(), AnyTime(10_000)))
    assert lower < low < gap.value < high < higher


@pytest.mark.parametrize(
    ("rows", "q", "known"), [(3000, 0.99, True), (2999, 0.99, False), (60, 0.5, True), (59, 0.5, False)]
)
def test_thirty_rows_must_lie_beyond(rows: int, q: float, known: bool) -> None:
    values = np.arange(float(rows))
    assert QuantileGap(whole(values), whole(np.arange(1e4)), q).known is known
    assert QuantileGap(whole(np.arange(1e4)), whole(values), q).known is known


# ------------------------------------------------------------------ coverage

REPEATS = 1500


@pytest.mark.parametrize(("q", "rows"), [(0.5, 500), (0.5, 3000), (0.9, 2000), (0.99, 5000)])
def test_coverage_of_independent_rows(q: float, rows: int) -> None:
    rng = np.random.default_rng([5, int(100 * q), rows])
    point = math.exp(float(stats.norm.ppf(q)))
    wrong = np.zeros((2, 2))
    for _ in range(REPEATS):
        gap = QuantileGap(whole(rng.lognormal(size=rows)), whole(1.3 * rng.lognormal(size=2 * rows)), q)
        low, high = gap.interval(Once(), 0.05, 0.05)
        wrong[0] += [low > 0.3 * point, high < 0.3 * point]
        low, high = gap.relative_interval(Once(), 0.05, 0.05)
        wrong[1] += [low > 0.3, high < 0.3]
    assert (wrong / REPEATS <= at_most(0.05, REPEATS)).all(), wrong / REPEATS


def clustered(rng: np.random.Generator, units: int, each: float) -> tuple[Floats, Floats]:
    """Values of rows and the unit of each; half of the variance of logarithms is the unit's."""
    unit = np.repeat(np.arange(units), rng.poisson(each, units) + 1)
    return np.exp(math.sqrt(0.5) * (rng.normal(size=units)[unit] + rng.normal(size=unit.size))), unit


def design_effect(values: Floats, unit: Floats, point: float) -> float:
    """Variance of the share at or below a point with units, over that of as many independent rows."""
    sums = np.column_stack([np.bincount(unit, values <= point), np.bincount(unit)]).astype(float)
    found = Moments.of(sums)
    p = found.mean[0] / found.mean[1]
    slope = np.array([1, -p]) / found.mean[1]
    return float(slope @ found.covariance @ slope / found.units / (p * (1 - p) / values.size))


@pytest.mark.parametrize(("q", "units"), [(0.5, 400), (0.99, 2500)])
def test_coverage_of_rows_that_come_in_units(q: float, units: int) -> None:
    rng = np.random.default_rng([6, int(100 * q)])
    wrong, naive = np.zeros(2), np.zeros(2)
    repeats = 1000
    for _ in range(repeats):
        both = [clustered(rng, units, 4) for _ in range(2)]
        middle = float(np.quantile(np.concatenate([v for v, _ in both]), q))
        tails = [whole(v, design_effect(v, u, middle)) for v, u in both]
        low, high = QuantileGap(tails[0], tails[1], q).interval(Once(), 0.05, 0.05)
        wrong += [low > 0, high < 0]
        low, high = QuantileGap(whole(both[0][0]), whole(both[1][0]), q).interval(Once(), 0.05, 0.05)
        naive += [low > 0, high < 0]
    assert (wrong / repeats <= at_most(0.05, repeats)).all(), wrong / repeats
    if q == 0.5:
        assert (naive / repeats > at_most(0.05, repeats)).all()
