"""The split of the units: against brute force, and its false alarms however often one looks."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import special, stats

from afterlaunch.stats.assignment import CONCENTRATIONS, any_time, deviation, log_bayes, once
from tests.simulation import at_most

PLANS = st.sampled_from([(0.5, 0.5), (0.9, 0.1), (0.2, 0.3, 0.5), (0.25, 0.25, 0.25, 0.25)])


@st.composite
def splits(draw: st.DrawFn, least: int = 0, most: int = 5000) -> tuple[list[int], tuple[float, ...]]:
    plan = draw(PLANS)
    return [draw(st.integers(least, most)) for _ in plan], plan


@given(splits(least=1))
def test_one_look_is_the_chi_square_test(case: tuple[list[int], tuple[float, ...]]) -> None:
    counts, plan = case
    expected = stats.chisquare(counts, sum(counts) * np.array(plan)).pvalue
    assert once(counts, plan) == pytest.approx(float(expected), rel=1e-9, abs=1e-300)


def test_of_no_units_nothing_is_known() -> None:
    assert once([0, 0], [0.5, 0.5]) == 1
    assert float(log_bayes([0, 0], [0.5, 0.5])) == pytest.approx(0, abs=1e-9)
    assert any_time([[0, 0]], [0.5, 0.5]) == pytest.approx(1)


@given(splits(most=15), st.floats(0.5, 200), st.randoms(use_true_random=False))
def test_the_bayes_factor_is_a_product_of_predictions(
    case: tuple[list[int], tuple[float, ...]], concentration: float, random: object
) -> None:
    counts, plan = case
    order = [arm for arm, n in enumerate(counts) for _ in range(n)]
    random.shuffle(order)  # type: ignore[attr-defined]
    seen, expected = [concentration * p for p in plan], 0.0
    for arm in order:
        expected += math.log(seen[arm] / sum(seen) / plan[arm])
        seen[arm] += 1
    assert float(log_bayes(counts, plan, concentration=concentration)) == pytest.approx(expected, rel=1e-9, abs=1e-9)


@pytest.mark.parametrize("plan", [(0.5, 0.5), (0.9, 0.1), (0.2, 0.3, 0.5)])
@pytest.mark.parametrize("concentration", [0.7, 20.0, None])
def test_under_the_plan_it_is_one_in_the_mean(plan: tuple[float, ...], concentration: float | None) -> None:
    for n in (1, 2, 7):
        cases = [c for c in itertools.product(range(n + 1), repeat=len(plan)) if sum(c) == n]
        chance = stats.multinomial.pmf(cases, n, plan)
        factor = np.exp(log_bayes(cases, plan, concentration=concentration))
        assert float(chance.sum()) == pytest.approx(1)
        assert float((chance * factor).sum()) == pytest.approx(1, rel=1e-9)


@given(splits(most=50), st.floats(0.5, 200))
def test_from_any_point_on_its_mean_is_where_it_is(
    case: tuple[list[int], tuple[float, ...]], concentration: float
) -> None:
    counts, plan = case
    now = math.exp(float(log_bayes(counts, plan, concentration=concentration)))
    steps = np.array(counts) + np.eye(len(plan), dtype=int)
    after = np.exp(log_bayes(steps, plan, concentration=concentration))
    assert float((np.array(plan) * after).sum()) == pytest.approx(now, rel=1e-8)


def test_looks_together_are_looks_one_by_one() -> None:
    counts = np.cumsum(np.random.default_rng(0).multinomial(50, [0.4, 0.6], 8), axis=0)
    together = log_bayes(counts, [0.5, 0.5])
    assert together.shape == (8,)
    assert together.tolist() == [float(log_bayes(c, [0.5, 0.5])) for c in counts]
    assert any_time(counts, [0.5, 0.5]) == pytest.approx(min(1.0, math.exp(-together.max())))


def test_false_alarms_of_thirty_looks() -> None:
    repeats, looks, alpha = 100_000, 30, 0.001
    rng = np.random.default_rng(1)
    for plan in (0.5, 0.1):
        hits = np.cumsum(rng.binomial(1000, plan, (repeats, looks)), axis=1)
        counts = np.stack([1000 * np.arange(1, looks + 1) - hits, hits], axis=-1)
        most = log_bayes(counts, [1 - plan, plan]).max(axis=1)
        assert (most > -math.log(alpha)).mean() <= at_most(alpha, repeats)
        assert (most > -math.log(0.05)).mean() <= at_most(0.05, repeats)


def test_a_split_that_is_off_is_found() -> None:
    rng = np.random.default_rng(2)
    hits = np.cumsum(rng.binomial(1000, 0.52, (500, 60)), axis=1)
    counts = np.stack([1000 * np.arange(1, 61) - hits, hits], axis=-1)
    assert (log_bayes(counts, [0.5, 0.5]).max(axis=1) > math.log(1000)).mean() > 0.99


# ------------------------------------------------------------------ how far it is off


@given(st.integers(0, 20_000), st.integers(0, 20_000), st.sampled_from([0.5, 0.1, 0.8]), st.floats(1e-5, 0.2))
def test_the_interval_for_many_looks_excludes_zero_just_when_the_factor_does(
    control: int, treatment: int, plan: float, alpha: float
) -> None:
    if control + treatment == 0:
        treatment = 1
    found = deviation([control, treatment], [1 - plan, plan], 1)
    low, high = found.interval(alpha / 2, alpha / 2, any_time=True)
    factor = float(log_bayes([control, treatment], [1 - plan, plan]))
    if abs(factor + math.log(alpha)) > 1e-6:
        assert (low > 0 or high < 0) == (factor > -math.log(alpha))
    assert low <= found.value <= high


@given(st.integers(1, 20_000), st.integers(1, 20_000), st.sampled_from([0.5, 0.1, 0.8]), st.floats(1e-5, 0.2))
def test_the_interval_for_one_look_excludes_zero_just_when_chi_square_does(
    control: int, treatment: int, plan: float, alpha: float
) -> None:
    found = deviation([control, treatment], [1 - plan, plan], 1)
    low, high = found.interval(alpha / 2, alpha / 2, any_time=False)
    p = once([control, treatment], [1 - plan, plan])
    if abs(math.log(max(p, 1e-300) / alpha)) > 1e-6:
        assert (low > 0 or high < 0) == (p < alpha)
    assert found.z**2 == pytest.approx(float(stats.chi2.isf(p, 1)), rel=1e-6, abs=1e-9) or p < 1e-15


def test_ends_are_shifts_at_which_the_factor_is_one_over_alpha() -> None:
    found = deviation([9000, 11_000], [0.5, 0.5], 1)
    alpha = 0.01
    priors = [stats.betabinom.logpmf(11_000, 20_000, c / 2, c / 2) for c in CONCENTRATIONS]
    prior = float(special.logsumexp(priors)) - math.log(len(priors))
    for end in found.interval(alpha / 2, alpha / 2, any_time=True):
        assert prior - stats.binom.logpmf(11_000, 20_000, 0.5 + end) == pytest.approx(-math.log(alpha), abs=1e-6)


def test_intervals_for_many_looks_hold_the_true_shift() -> None:
    repeats, rng = 1000, np.random.default_rng(3)
    wrong = 0
    for _ in range(repeats):
        hits = np.cumsum(rng.binomial(2000, 0.51, 5))
        found = [deviation([n - h, h], [0.5, 0.5], 1) for n, h in zip(2000 * np.arange(1, 6), hits, strict=True)]
        ends = [f.interval(0.025, 0.025, any_time=True) for f in found]
        wrong += any(not low <= 0.01 <= high for low, high in ends)
    assert wrong / repeats <= at_most(0.05, repeats)


def test_the_share_beyond_the_plan() -> None:
    found = deviation([100, 200, 100], [0.25, 0.5, 0.25], 1)
    assert (found.value, found.z) == (0.0, 0.0)
    assert deviation([100, 300], [0.5, 0.5], 1).value == 0.25
    assert deviation([100, 300], [0.5, 0.5], 0).value == -0.25


# ------------------------------------------------------------------ what is no split


@pytest.mark.parametrize(
    ("counts", "shares", "message"),
    [
        ([1, 2], [0.2, 0.3, 0.5], "give a share for each arm"),
        ([1, 2], [0.5, 0.6], "add up to 1"),
        ([1, 2], [0.0, 1.0], "give positive ones"),
        ([-1, 2], [0.5, 0.5], "negative or missing"),
        ([math.nan, 2], [0.5, 0.5], "negative or missing"),
    ],
)
def test_what_is_no_split_is_refused(counts: list[float], shares: list[float], message: str) -> None:
    for ask in (once, log_bayes, lambda n, p: any_time([n], p), lambda n, p: deviation(n, p, 0)):
        with pytest.raises(ValueError, match=message):
            ask(counts, shares)  # type: ignore[operator]
