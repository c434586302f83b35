"""Examination curves: what they estimate, and the errors and power of their intervals."""

import numpy as np
import pytest

from afterlaunch.stats.examination import Curve, corrected_mean, harvested, randomised
from tests.simulation import at_least, at_most

TRUTH = 1 / np.arange(1, 6)


def clicks(rng: np.random.Generator, place: np.ndarray, worth: np.ndarray) -> np.ndarray:
    return (rng.random(len(place)) < worth * TRUTH[place - 1]).astype(float)


def test_a_curve_where_chance_decided_is_the_ratio_of_click_rates() -> None:
    place = np.repeat([1, 2, 4], [100, 200, 100])
    clicked = np.concatenate([np.arange(100) < 40, np.arange(200) < 20, np.arange(100) < 5]).astype(float)
    curve = randomised(place, clicked)
    assert curve.positions.tolist() == [1, 2, 4]
    assert curve.weights()[:2] == pytest.approx([1, 0.25])
    assert np.isnan(curve.weights()[2])
    assert not curve.known
    # The textbook variance of a log risk ratio: 1/a - 1/n + 1/b - 1/m.
    assert curve.variance[1] == pytest.approx(1 / 40 - 1 / 100 + 1 / 20 - 1 / 200, rel=0.02)


def test_thin_evidence_gives_no_curve() -> None:
    none = randomised(np.zeros(0, int), np.zeros(0))
    assert none.positions.size == 0
    few = randomised(np.array([1, 2]), np.array([1.0, 0.0]))
    assert not few.known
    assert corrected_mean(np.array([1.0, 0.0]), np.array([1, 2]), few) is None
    assert corrected_mean(np.zeros(0), np.zeros(0, int), none) is None


@pytest.mark.parametrize("clustered", [False, True])
def test_the_errors_of_a_curve_and_its_power(clustered: bool) -> None:
    """True ratio .2 at place 5: each 5 % end misses at most 7 %, and "loses a fifth" is found nearly always."""
    rng, repeats = np.random.default_rng(0), 800
    low = high = found = 0
    for _ in range(repeats):
        lists = 1000
        place = np.tile(np.arange(1, 6), lists)
        unit = np.repeat(np.arange(lists // 2), 10)
        taste = rng.gamma(2, 0.1, lists // 2)[unit] if clustered else np.full(5 * lists, 0.2)
        curve = randomised(place, clicks(rng, place, np.minimum(taste, 1)), unit if clustered else None)
        i = curve.interval(4, 0.05, 0.05)
        low, high, found = low + (i.low > 0.2), high + (i.high < 0.2), found + (i.high < 0.8)
    assert low / repeats <= at_most(0.07, repeats)
    assert high / repeats <= at_most(0.07, repeats)
    assert found / repeats >= at_least(0.99, repeats)


@pytest.mark.parametrize("slope", [0.0, 1.0])
def test_no_effect_of_position_is_rarely_called_one(slope: float) -> None:
    """With no effect "a fifth is lost" is said in at most 5 % (beside it: with 1 / place in most)."""
    rng, repeats, said = np.random.default_rng(1), 500, 0
    for _ in range(repeats):
        place = np.tile([1, 2], 1000)
        clicked = (rng.random(2000) < 0.1 * place.astype(float) ** -slope).astype(float)
        said += randomised(place, clicked).interval(1, 0.05, 0.05).high < 0.8
    assert (said / repeats <= at_most(0.05, repeats)) if slope == 0 else (said / repeats > 0.75)


def log_of_two_rankers(rng: np.random.Generator, rows: int) -> tuple[np.ndarray, ...]:
    """Two rankers that put the same ten items at different places; better items stand higher under both."""
    worth = np.linspace(0.1, 0.9, 10)
    orders = np.stack([np.argsort(np.argsort(-(worth + rng.normal(size=10) * 0.2))) for _ in range(2)])
    item, version = rng.integers(0, 10, rows), rng.integers(0, 2, rows)
    place = 1 + orders[version, item] // 2
    return place, clicks(rng, place, worth[item]), item, version


def test_the_errors_of_harvesting_and_what_naive_rates_do() -> None:
    rng, repeats = np.random.default_rng(2), 300
    low = high = seen = naive = 0
    for _ in range(repeats):
        place, clicked, item, version = log_of_two_rankers(rng, 8000)
        curve = harvested(place, clicked, item, version)
        if not np.isfinite(curve.log_ratio[1]):
            continue
        i = curve.interval(1, 0.05, 0.05)
        seen, low, high = seen + 1, low + (i.low > 0.5), high + (i.high < 0.5)
        naive += randomised(place, clicked).interval(1, 0.05, 0.05).high < 0.5
    assert seen > repeats / 2
    assert low / seen <= at_most(0.07, seen)
    assert high / seen <= at_most(0.07, seen)
    assert naive / seen > 0.5


def test_harvesting_takes_the_first_place_of_a_chain() -> None:
    """Places 1 and 3 share no item; 2 joins them."""
    rng = np.random.default_rng(3)
    version, item = rng.integers(0, 2, 40_000), rng.integers(0, 2, 40_000)
    place = np.where(item == 0, 1 + version, 2 + version)
    curve = harvested(place, clicks(rng, place, np.where(item == 0, 0.3, 0.8)), item, version)
    assert curve.known
    assert curve.weights() == pytest.approx(TRUTH[:3], abs=0.06)


def test_versions_that_agree_harvest_nothing() -> None:
    rng = np.random.default_rng(4)
    item, version = rng.integers(0, 3, 3000), rng.integers(0, 2, 3000)
    curve = harvested(item + 1, np.ones(3000), item, version)
    assert isinstance(curve, Curve)
    assert np.isnan(curve.log_ratio[1:]).all()


@pytest.mark.parametrize("same", [True, False])
def test_the_errors_of_a_corrected_click_rate(same: bool) -> None:
    """The rate that all places at the first would have; the curve from the same rows and from others."""
    rng, repeats = np.random.default_rng(5), 600
    truth = 5 / TRUTH.sum() - 1
    low = high = found = 0
    for _ in range(repeats):
        place = np.tile(np.arange(1, 6), 800)
        worth = np.full(4000, 0.2)
        clicked = clicks(rng, place, worth)
        curve = randomised(place, clicked if same else clicks(rng, place, worth))
        one = corrected_mean(clicked, place, curve, same=same)
        assert one is not None
        a, b = one.interval(0.05, 0.05)
        low, high, found = low + (a > truth), high + (b < truth), found + (a > 0.2)
    assert low / repeats <= at_most(0.07, repeats)
    assert high / repeats <= at_most(0.07, repeats)
    assert found / repeats >= at_least(0.99, repeats)
