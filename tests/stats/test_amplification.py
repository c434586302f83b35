"""The response of exposure to exposure by chance: what leaves it as it is, and that simulated ones come back."""

from __future__ import annotations

import itertools
from datetime import UTC, datetime, timedelta

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from afterlaunch.checks import amplification as check
from afterlaunch.checks.evidence import Evidence
from afterlaunch.profile.exposures import Exposures
from afterlaunch.roles import Roles
from afterlaunch.stats.amplification import Amplification, amplification, slice_for
from afterlaunch.stats.intervals import normal_quantile
from afterlaunch.watch import Window
from tests.simulation import at_least, at_most

Floats = NDArray[np.float64]
SEEDS = st.integers(0, 10_000)


def drawn(seed: int, *, response: float = 0.3, pairs: int = 6, items: int = 80, chance: float = 10.0) -> list[Floats]:
    """Impressions given by chance, of the model in the next week, and of the model in this week."""
    rng = np.random.default_rng(seed)
    base = 20 + 40 * rng.gamma(1.0, size=items)
    given = rng.poisson(chance, (pairs, items)).astype(float)
    before = rng.poisson(base, (pairs, items)).astype(float)
    # Places are as many every week: what comes back to one item is taken from all.
    luck = given - given.mean(axis=1, keepdims=True)
    return [given, rng.poisson(np.maximum(base + response * luck, 0)).astype(float), before]


def found(given: Floats, later: Floats, before: Floats) -> Amplification:
    out = amplification(given, given, later, before)
    assert out is not None
    return out


def same(a: Amplification, b: Amplification) -> None:
    assert (a.value, a.se, a.df) == pytest.approx((b.value, b.se, b.df), rel=1e-9, abs=1e-12)


# ------------------------------------------------------------------ what changes nothing


@given(seed=SEEDS)
def test_the_order_of_items_and_of_weeks_changes_nothing(seed: int) -> None:
    given, later, before = drawn(seed)
    plain = found(given, later, before)
    order = np.random.default_rng(seed).permutation(given.shape[1])
    same(plain, found(given[:, order], later[:, order], before[:, order]))
    weeks = np.random.default_rng(seed).permutation(len(given))
    same(plain, found(given[weeks], later[weeks], before[weeks]))


@given(seed=SEEDS, factor=st.floats(0.01, 100))
def test_the_unit_of_counting_hardly_matters(seed: int, factor: float) -> None:
    """Only the weights know how much counts scatter, and any weights give the same response but for luck."""
    given, later, before = drawn(seed)
    plain, other = found(given, later, before), found(factor * given, factor * later, factor * before)
    assert other.value == pytest.approx(plain.value, abs=2 * plain.se)


@given(seed=SEEDS, factor=st.floats(0.1, 10))
def test_traffic_of_the_next_week_changes_nothing(seed: int, factor: float) -> None:
    given, later, before = drawn(seed)
    more = later * factor ** np.arange(len(later))[:, None]
    same(found(given, later, before), found(given, more, before))


@given(seed=SEEDS, factor=st.floats(0.1, 10), by=st.floats(-5, 5))
def test_only_the_order_of_the_lottery_counts(seed: int, factor: float, by: float) -> None:
    given, later, before = drawn(seed)
    other = amplification(given, factor * given + by, later, before)
    assert other is not None
    assert other.value == pytest.approx(found(given, later, before).value)


@given(seed=SEEDS)
def test_items_that_nobody_was_shown_hardly_count(seed: int) -> None:
    """One more among eighty is one that the lottery did not draw, and no more than that."""
    given, later, before = drawn(seed)
    plain = found(given, later, before)
    more = found(*(np.pad(x, ((0, 0), (0, 1))) for x in (given, later, before)))
    assert more.items == plain.items
    assert more.value == pytest.approx(plain.value, abs=plain.se)


# ------------------------------------------------------------------ what is refused or cannot be told


def test_shapes_have_to_agree() -> None:
    given, later, before = drawn(0)
    with pytest.raises(ValueError, match="Shapes differ"):
        amplification(given, given[:, :-1], later, before)
    with pytest.raises(ValueError, match="Shapes differ"):
        amplification(given[0], given[0], later[0], before[0])


def test_without_chance_or_items_nothing_is_said() -> None:
    given, later, before = drawn(0)
    nothing = np.zeros_like(given)
    assert amplification(nothing, nothing, later, before) is None
    assert amplification(given, np.full_like(given, 3.0), later, before) is None
    assert amplification(given, given, nothing, before) is None
    assert amplification(given[:, :2], given[:, :2], later[:, :2], before[:, :2]) is None
    assert amplification(given[:0], given[:0], later[:0], before[:0]) is None
    one = nothing.copy()
    one[:, 0] = 5
    assert amplification(one, one, later, before) is None


def test_weeks_in_which_nothing_was_shown_are_passed_over() -> None:
    given, later, before = drawn(0)
    empty = later.copy()
    empty[2] = 0
    left = [i for i in range(len(given)) if i != 2]
    same(found(given, empty, before), found(given[left], later[left], before[left]))


def test_a_week_that_was_all_chance_is_on_its_own_scale() -> None:
    """Nothing came before, so weeks are put on the scale of what chance gave."""
    given, later, _ = drawn(0, response=1.0)
    told = found(given, later, np.zeros_like(given))
    assert told.value == pytest.approx(given.sum() / later.sum(), abs=3 * told.se)


# ------------------------------------------------------------------ simulated responses


@pytest.mark.parametrize("response", [0.0, 0.1, 0.5, 1.0])
@pytest.mark.parametrize("chance", [1.0, 10.0])
def test_a_response_to_a_slice_comes_back(response: float, chance: float) -> None:
    repeats = 300
    every = [found(*drawn(7 * s, response=response, chance=chance)) for s in range(repeats)]
    values = np.array([f.value for f in every])
    assert abs(values.mean() - response) < 3.3 * values.std() / np.sqrt(repeats) + 0.02 * response
    below = np.mean([f.interval(0.05, 0.05)[0] > response for f in every])
    above = np.mean([f.interval(0.05, 0.05)[1] < response for f in every])
    assert below <= at_most(0.06, repeats)
    assert above <= at_most(0.06, repeats)
    assert np.mean([f.se for f in every]) == pytest.approx(values.std(), rel=0.2)


def test_what_is_good_is_not_taken_for_what_was_shown() -> None:
    """Items differ a hundredfold, and weeks are alike: the elasticity is near 1, the response 0."""
    given, later, before = drawn(3, response=0.0, items=400, pairs=12)
    assert np.corrcoef(np.log(later + 1).ravel(), np.log(before + 1).ravel())[0, 1] > 0.9
    low, high = found(given, later, before).interval(0.025, 0.025)
    assert low < 0 < high < 0.2


def windows(n: int) -> tuple[Window, ...]:
    start = datetime(2026, 1, 5, tzinfo=UTC)
    return tuple(Window(f"W{i:02}", start + timedelta(weeks=i), start + timedelta(weeks=i + 1), 0) for i in range(n))


def exposures(shown: Floats, explored: Floats | None = None, inverse: Floats | None = None) -> Exposures:
    items = tuple(f"i{j}" for j in range(shown.shape[1]))
    return Exposures(windows(len(shown)), "week", items, shown, explored=explored, inverse=inverse)


def judged(seen: Exposures) -> tuple[float, float, float]:
    """Value and one-sided ends at 5 %, from the check."""
    told = check.run(Evidence(roles=Roles(), exposures=seen))[0]
    assert told.value is not None
    assert told.interval is not None
    return (told.value, *told.interval(0.05, 0.05))


def by_propensity(seed: int, response: float, *, weeks: int = 16, items: int = 100, places: int = 8000) -> Exposures:
    """Every place is drawn from known chances; so much of last week's surprise comes back."""
    rng = np.random.default_rng(seed)
    base = rng.gamma(2.0, size=items) + 0.2
    expected = places * base / base.sum()
    shown, inverse = [], []
    luck = np.zeros(items)
    for _ in range(weeks):
        chance = np.maximum(expected + response * luck, 0.2 * expected)
        chance /= chance.sum()
        n = rng.multinomial(places, chance).astype(float)
        luck = n - places * chance
        shown.append(n)
        inverse.append(n / chance)
    return exposures(np.array(shown), inverse=np.array(inverse))


@pytest.mark.parametrize("response", [0.0, 0.3, 0.8])
def test_a_response_to_logged_propensities_comes_back(response: float) -> None:
    repeats = 200
    every = np.array([judged(by_propensity(s, response)) for s in range(repeats)])
    assert abs(every[:, 0].mean() - response) < 3.3 * every[:, 0].std() / np.sqrt(repeats) + 0.02
    assert np.mean(every[:, 1] > response) <= at_most(0.06, repeats)
    assert np.mean(every[:, 2] < response) <= at_most(0.06, repeats)


def turning(seed: int, response: float, life: int) -> Exposures:
    """Items come and go; the lottery is among those that are there."""
    rng = np.random.default_rng(seed)
    items, weeks, places = 300, 16, 6000
    taste, born = rng.gamma(0.7, size=items), rng.integers(-life, weeks, items)
    shown, explored, given = [], [], np.zeros(items)
    for week in range(weeks):
        there = (born <= week) & (week < born + life)
        model = rng.poisson(0.95 * places * taste * there / (taste * there).sum() + response * given * there)
        given = rng.multinomial(places // 20, there / there.sum()).astype(float)
        shown.append(model + given)
        explored.append(given)
    return exposures(np.array(shown), np.array(explored))


@pytest.mark.parametrize("life", [12, 40])
@pytest.mark.parametrize("response", [0.0, 0.5])
def test_items_that_come_and_go_do_not_hide_a_loop(response: float, life: int) -> None:
    """An item that is not in the catalogue yet, or no more, was not passed over by the lottery."""
    repeats = 60
    every = np.array([judged(turning(s, response, life)) for s in range(repeats)])
    assert every[:, 0].mean() == pytest.approx(response, abs=0.1)
    assert np.mean((every[:, 1] <= response) & (response <= every[:, 2])) >= at_least(0.9, repeats)


def listed(seed: int, *, users: int = 800, items: int = 60, places: int = 8, weeks: int = 12) -> Exposures:
    """Lists as `explore` fills them, where an item stands once; the ranking of every user is the same every week."""
    rng = np.random.default_rng(seed)
    rank = np.argsort(-(rng.normal(size=items) + 0.5 * rng.gumbel(size=(users, items))), axis=1)
    user = np.arange(users)
    shown, explored = np.zeros((2, weeks, items))
    for week in range(weeks):
        gone, at = np.zeros((users, items), dtype=bool), np.zeros(users, dtype=np.int64)
        for _ in range(places):
            while (passed := gone[user, rank[user, at]]).any():
                at[passed] += 1
            by_chance = rng.random(users) < 0.1
            lottery = np.where(gone, -1.0, rng.random((users, items))).argmax(axis=1)
            item = np.where(by_chance, lottery, rank[user, at])
            gone[user, item] = True
            np.add.at(shown[week], item, 1)
            np.add.at(explored[week], item[by_chance], 1)
    return exposures(shown, explored)


def test_what_chance_puts_first_the_model_was_not_robbed_of() -> None:
    """An item that chance puts above its place is not shown at it: less from the model now is no response later."""
    repeats = 60
    every = np.array([judged(listed(s)) for s in range(repeats)])
    assert np.mean(every[:, 1] > 0) <= at_most(0.05, repeats)
    assert abs(every[:, 0].mean()) < 3.3 * every[:, 0].std() / np.sqrt(repeats)


# ------------------------------------------------------------------ how large a slice


def without_lottery(rng: np.random.Generator, pairs: int, base: Floats, noise: float) -> Floats:
    """Weeks around the same mean, with more scatter than counts have."""
    return rng.poisson(base * rng.gamma(1 / noise, noise, (pairs + 1, base.size))).astype(float)


@pytest.mark.parametrize(("response", "noise"), [(0.1, 0.001), (0.3, 0.001), (0.3, 0.02), (1.0, 0.1)])
def test_the_slice_has_the_power_that_was_asked_for(response: float, noise: float) -> None:
    items, pairs, repeats = 200, 12, 400
    base = 40 * np.random.default_rng(1).gamma(2.0, size=items)
    impressions = float(base.sum())
    sigmas = normal_quantile(0.05) + normal_quantile(0.2)
    hits, shares = 0, []
    for seed in range(repeats):
        rng = np.random.default_rng([seed, 5])
        log = without_lottery(rng, pairs, base, noise)
        share = slice_for(log[1:], log[:-1], impressions, response=response, sigmas=sigmas)
        assert share is not None
        shares.append(share)
        model = without_lottery(rng, pairs, (1 - share) * base, noise)
        given = rng.poisson(share * impressions / items, (pairs, items)).astype(float)
        later = model[1:] + rng.poisson(response * given)
        hits += found(given, later, model[:-1]).interval(0.05, 0.05)[0] > 0
    assert np.std(shares) < 0.3 * np.mean(shares)
    assert 0.7 <= hits / repeats <= 0.9


def test_a_smaller_response_takes_a_larger_slice_and_some_are_out_of_reach() -> None:
    week = np.random.default_rng(0).poisson(50, (9, 100)).astype(float)

    def share(response: float) -> float | None:
        return slice_for(week[1:], week[:-1], 5000, response=response, sigmas=2.5)

    sizes = [share(r) for r in (1.0, 0.5, 0.25)]
    assert all(s is not None for s in sizes)
    for a, b in itertools.pairwise(sizes):
        assert a is not None
        assert b == pytest.approx(4 * a)
    assert share(0.001) is None
    assert slice_for(week[:0], week[:0], 5000, response=0.1, sigmas=2.5) is None
    assert slice_for(np.zeros((2, 9)), np.zeros((2, 9)), 5000, response=0.1, sigmas=2.5) is None
