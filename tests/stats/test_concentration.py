"""Concentration of exposure: known cases, what may not matter, few impressions, and error rates in simulation."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from afterlaunch.stats import concentration as module
from afterlaunch.stats.concentration import (
    MEASURES,
    Measured,
    concentration,
    debiased_gini,
    gini,
    series,
    unbiased_hhi,
)
from tests.simulation import BUCKETS, at_most

Floats = NDArray[np.float64]
exposures = st.lists(st.integers(0, 1000), min_size=2, max_size=30).filter(lambda x: sum(x) > 0)


def naive_gini(x: list[int]) -> float:
    return sum(abs(a - b) for a in x for b in x) / (2 * len(x) * sum(x))


def truth(share: Floats) -> dict[str, float]:
    found = concentration(share)
    return {m: found.coverage(0.8) if m == "coverage" else float(getattr(found, m)) for m in MEASURES}


# ------------------------------------------------------------------ one table


def test_equal_items() -> None:
    found = concentration(np.full(20, 7))
    assert found.gini == pytest.approx(0, abs=1e-12)
    assert found.hhi == pytest.approx(1 / 20)
    assert (found.effective, found.entropy_effective) == pytest.approx((20, 20))
    assert found.largest == pytest.approx(1 / 20)
    assert found.coverage(0.8) == pytest.approx(0.8)


@pytest.mark.parametrize("catalogue", [1, 5, 300])
def test_a_single_item(catalogue: int) -> None:
    found = concentration(np.array([9]), catalogue=catalogue)
    assert found.gini == pytest.approx((catalogue - 1) / catalogue)
    assert (found.hhi, found.effective, found.entropy_effective, found.largest) == pytest.approx((1, 1, 1, 1))
    assert found.coverage(1.0) == pytest.approx(1 / catalogue)
    assert found.catalogue == catalogue


@given(exposures)
def test_the_gini_index_is_the_mean_difference(x: list[int]) -> None:
    assert concentration(np.array(x)).gini == pytest.approx(naive_gini(x), abs=1e-9)


@given(exposures)
def test_the_measures_agree_with_their_definitions(x: list[int]) -> None:
    found, p = concentration(np.array(x)), np.array(x) / sum(x)
    assert found.hhi == pytest.approx((p**2).sum())
    assert found.entropy_effective == pytest.approx(math.exp(-sum(q * math.log(q) for q in p if q > 0)))
    assert 1 - 1e-9 <= found.effective <= found.entropy_effective + 1e-9 <= len(x) + 2e-9
    covering = [found.coverage(s) for s in (0.2, 0.5, 0.8, 1.0)]
    assert covering == sorted(covering)
    assert covering[-1] == pytest.approx((p > 0).mean())


@given(exposures, st.floats(0.01, 100), st.randoms(use_true_random=False))
def test_scale_and_order_do_not_matter(x: list[int], scale: float, random: Any) -> None:
    shuffled = list(x)
    random.shuffle(shuffled)
    one, other = concentration(np.array(x)), concentration(scale * np.array(shuffled))
    for name in ("gini", "hhi", "effective", "entropy_effective", "largest"):
        assert getattr(one, name) == pytest.approx(getattr(other, name), abs=1e-9)
    assert one.coverage(0.8) == pytest.approx(other.coverage(0.8), abs=1e-9)


@given(exposures, st.integers(1, 50))
def test_items_that_are_never_shown(x: list[int], more: int) -> None:
    one, other = concentration(np.array(x)), concentration(np.array(x), catalogue=len(x) + more)
    assert other.gini > one.gini
    assert (other.hhi, other.entropy_effective) == pytest.approx((one.hhi, one.entropy_effective))
    assert other.coverage(0.8) < one.coverage(0.8)
    assert other == concentration(np.array([*x, *[0] * more]))


def test_a_smaller_catalogue_leaves_out_what_was_not_shown() -> None:
    assert concentration(np.array([3, 0, 1, 0]), catalogue=2) == concentration(np.array([3, 1]))
    with pytest.raises(ValueError, match="2 items were shown"):
        concentration(np.array([3, 0, 1, 0]), catalogue=1)


@pytest.mark.parametrize(
    ("x", "message"),
    [([1, -1], "at least 0"), ([1, math.nan], "at least 0"), ([0, 0], "Nothing was shown"), ([], "at least one item")],
)
def test_what_is_no_exposure(x: list[float], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        concentration(np.array(x))


def test_exposure_of_one_table() -> None:
    with pytest.raises(ValueError, match="one number"):
        concentration(np.ones((2, 3)))
    with pytest.raises(ValueError, match="above 0"):
        concentration(np.ones(3)).coverage(0.0)


# ------------------------------------------------------------------ few impressions

SHAPES = {
    "gamma 3": lambda rng: rng.gamma(3, size=500),
    "exponential": lambda rng: rng.gamma(1, size=500),
    "gamma 0.3": lambda rng: rng.gamma(0.3, size=500),
    "lognormal": lambda rng: rng.lognormal(0, 1.5, size=500),
    "zipf": lambda _: 1 / np.arange(1, 501.0),
}


@pytest.mark.parametrize("groups", [1, 50])
@pytest.mark.parametrize("shape", SHAPES)
def test_the_gini_index_of_2000_impressions_over_500_items(shape: str, groups: int) -> None:
    rng = np.random.default_rng(1)
    p = SHAPES[shape](rng)
    p /= p.sum()
    drawn = rng.multinomial(2000 // groups, p, size=(60, groups))
    bias = np.mean([debiased_gini(n) for n in drawn]) - gini(p)
    assert abs(bias) < 0.015
    assert abs(bias) < 0.35 * (gini(drawn.sum(axis=1)).mean() - gini(p))


def test_items_that_are_alike_have_nearly_no_gini_index() -> None:
    rng = np.random.default_rng(2)
    drawn = rng.multinomial(2000, np.full(500, 1 / 500), size=60)
    assert gini(drawn).mean() > 0.25
    assert np.mean([debiased_gini(n) for n in drawn]) < 0.04


def test_a_small_week_is_not_more_concentrated() -> None:
    rng = np.random.default_rng(3)
    p = rng.dirichlet(np.full(300, 0.8))
    weeks = np.stack([rng.multinomial(n, p, size=64) for n in [200, 20] * 10])
    found = series(weeks)
    assert (found.impressions == [12800, 1280] * 10).all()
    for measure in ("gini", "hhi", "effective", "entropy_effective"):
        place = MEASURES.index(measure)
        large, small = found.values[::2, place], found.values[1::2, place]
        plain = found.plain[1::2, place].mean() - found.plain[::2, place].mean()
        assert abs(small.mean() - large.mean()) < 0.3 * abs(plain)


def test_unbiased_squares() -> None:
    rng = np.random.default_rng(4)
    p = rng.dirichlet(np.full(50, 0.5))
    drawn = unbiased_hhi(rng.multinomial(60, p, size=20000))
    assert drawn.mean() == pytest.approx((p**2).sum(), abs=3.3 * drawn.std() / 20000**0.5)
    assert np.isnan(unbiased_hhi(np.array([1, 0])))


def test_a_single_group_is_of_independent_impressions() -> None:
    rng = np.random.default_rng(5)
    n = rng.multinomial(900, rng.dirichlet(np.full(80, 0.7)))
    found = series(n[None, None, :])
    values = dict(zip(MEASURES, found.values[0], strict=True))
    assert values["gini"] == pytest.approx(debiased_gini(n))
    assert values["hhi"] == pytest.approx(unbiased_hhi(n))
    assert values["entropy_effective"] > concentration(n).entropy_effective
    assert found.at("gini", 0).interval(0.05, 0.05) == (0.0, 1.0)
    assert found.at("effective", 0).interval(0.05, 0.05) == (1.0, 80.0)


def test_leaving_out_one_impression_is_leaving_out_a_group_of_one() -> None:
    rng = np.random.default_rng(6)
    n = rng.multinomial(40, rng.dirichlet(np.full(12, 0.7)))
    item = np.repeat(np.arange(12), n)
    folds = np.eye(12)[item]
    assert module._between_folds(folds) == pytest.approx(module._between_impressions(n.astype(float)))
    assert math.isnan(debiased_gini(np.array([1, 0])))


# ------------------------------------------------------------------ weeks


def weeks_of(rng: np.random.Generator, p: Floats, users: int, slots: int, alike: float) -> Floats:
    """A week of users who have tastes of their own, Dirichlet around p, shape (1, 64, items)."""
    own = rng.dirichlet(p * alike, size=users)
    table = np.zeros((BUCKETS, p.size))
    np.add.at(table, rng.integers(BUCKETS, size=users), rng.multinomial(slots, own))
    return table[None]


def test_counts_as_they_are() -> None:
    rng = np.random.default_rng(7)
    n = rng.poisson(1.0, size=(2, 64, 30))
    found = series(n, catalogue=40)
    assert found.catalogue == 40
    for week in range(2):
        total = np.concatenate([n[week].sum(axis=0), np.zeros(10)])
        assert found.plain[week] == pytest.approx(list(truth(total).values()))


def test_the_order_of_items_and_weeks_does_not_matter() -> None:
    rng = np.random.default_rng(8)
    n = rng.multinomial(30, rng.dirichlet(np.full(40, 0.5)), size=(3, 64))
    one, other = series(n), series(n[::-1, :, rng.permutation(40)])
    for field in ("values", "plain", "se", "df"):
        assert getattr(one, field) == pytest.approx(getattr(other, field)[::-1])


@pytest.mark.parametrize(
    ("items", "users", "alike", "shape"), [(200, 400, 30, 0.5), (500, 200, 300, 1), (60, 600, 20, 3)]
)
def test_intervals_cover(items: int, users: int, alike: float, shape: float) -> None:
    rng = np.random.default_rng(9)
    p = rng.dirichlet(np.full(items, shape))
    true, repeats = truth(p), 120
    wrong = {m: np.zeros(2) for m in ("gini", "hhi", "effective", "entropy_effective")}
    for _ in range(repeats):
        found = series(weeks_of(rng, p, users, 10, alike))
        for measure, missed in wrong.items():
            low, high = found.at(measure, 0).interval(0.05, 0.05)
            missed += [low > true[measure], high < true[measure]]
    for missed in wrong.values():
        # What is left of the bias costs a fraction of a standard error.
        assert (missed / repeats <= at_most(0.05 + 0.03, repeats)).all()


def test_intervals_where_all_items_are_alike() -> None:
    rng = np.random.default_rng(10)
    p, repeats = np.full(100, 0.01), 100
    wrong = np.zeros(2)
    for _ in range(repeats):
        found = series(weeks_of(rng, p, 400, 10, 1e6))
        assert found.at("effective", 0).interval(0.05, 0.05)[1] > 98
        wrong += [
            found.at("gini", 0).interval(0.05, 0.05)[0] > 0.001,
            found.at("hhi", 0).interval(0.05, 0.05)[0] > 0.01,
        ]
    assert (wrong / repeats <= at_most(0.05, repeats)).all()


def test_weeks_of_which_little_is_known() -> None:
    n = np.zeros((4, 64, 10))
    n[1, 0] = 5
    n[2, :2] = [[3, 1, *[0] * 8], [2, 2, *[0] * 8]]
    n[3] = 1
    found = series(n)
    assert np.isnan(found.values[0]).all()
    assert found.df.tolist() == [0, 0, 0, 63]
    for week in range(3):
        assert found.at("hhi", week).interval(0.05, 0.05) == (0.0, 1.0)
        assert found.at("effective", week).interval(0.05, 0.05) == (1.0, 10.0)
    assert found.trend("hhi").interval(0.05, 0.05) == (-math.inf, math.inf)


def test_squares_are_of_users_in_two_buckets() -> None:
    # Every user is shown one item again and again, and no two users have the same.
    found = series(np.eye(12)[None] * 10)
    assert found.values[0, MEASURES.index("hhi")] == 0
    assert found.values[0, MEASURES.index("effective")] == 12
    assert found.at("effective", 0).interval(0.05, 0.05) == (1.0, 12.0)


@pytest.mark.parametrize(
    ("counts", "catalogue", "message"),
    [(np.ones((2, 3)), None, "weeks, buckets, items"), (np.ones((1, 2, 3)), 2, "more than the 2")],
)
def test_what_is_no_series(counts: Floats, catalogue: int | None, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        series(counts, catalogue=catalogue)


def test_ends_stay_where_the_measure_can_be() -> None:
    assert Measured(0.02, 0.03, 60).interval(0.05, 0.05)[0] == 0
    low, high = Measured(95.0, 30.0, 60, 100.0).interval(0.05, 0.05)
    assert 1 < low < 95
    assert high == 100
