"""The difference of two arms: equal to tea-tasting and SciPy, whatever the way the sums were made."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial

import numpy as np
import pandas as pd
import pytest
import statsmodels.stats.weightstats as weights
import tea_tasting as tt
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from afterlaunch.measures import Custom
from afterlaunch.stats.contrast import p_beyond
from afterlaunch.stats.lift import Floats, Lift, Moments, Side, gradient, lift
from afterlaunch.stats.looks import Once
from tests.simulation import at_most

SEEDS = st.integers(0, 10_000)


def close(expected: float) -> object:
    return pytest.approx(expected, rel=1e-9, abs=1e-12)


def first(means: Floats) -> float:
    return float(means[0])


def ratio(means: Floats, *, above: int = 0) -> float:
    return float(means[above] / means[above + 1])


def column(means: Floats, *, at: int) -> float:
    return float(means[at])


def units(seed: int, n: int, better: float) -> pd.DataFrame:
    """Units with sessions and orders, now and before."""
    rng = np.random.default_rng(seed)
    rich = rng.lognormal(0, 0.5, n)
    before = rng.poisson(4 * rich) + 1
    sessions = rng.poisson(5 * rich) + 1
    return pd.DataFrame(
        {
            "sessions": sessions.astype(float),
            "orders": rng.binomial(sessions, 0.2 + better).astype(float),
            "old_sessions": before.astype(float),
            "old_orders": rng.binomial(before, 0.2).astype(float),
        }
    )


def theirs(metric: tt.metrics.MetricBase, control: pd.DataFrame, treatment: pd.DataFrame) -> object:
    data = pd.concat([control.assign(variant=0), treatment.assign(variant=1)])
    return tt.Experiment(m=metric).analyze(data)["m"]


def moments(table: pd.DataFrame, *columns: str) -> Moments:
    return Moments.of(table[list(columns)].to_numpy())


def same(found: Lift, expected: object) -> None:
    """Sides, differences and both intervals of tea-tasting, and the level at which the interval meets zero."""
    e = expected
    assert found.control.value == close(e.control)
    assert found.treatment.value == close(e.treatment)
    assert found.value == close(e.effect_size)
    assert found.relative == close(e.rel_effect_size)
    assert found.value / found.se == close(e.statistic)
    assert found.interval(Once(), 0.025, 0.025) == close((e.effect_size_ci_lower, e.effect_size_ci_upper))
    assert found.relative_interval(Once(), 0.025, 0.025) == close(
        (e.rel_effect_size_ci_lower, e.rel_effect_size_ci_upper)
    )
    meets(found, e.pvalue)


def meets(found: Lift, p: float) -> None:
    """An interval whose errors are half the p-value each ends at zero."""
    low, high = found.interval(Once(), p / 2, p / 2)
    assert (low if found.value > 0 else high) == pytest.approx(0, abs=1e-9 * abs(found.value))
    assert p_beyond(partial(found.interval, Once()), 0.0, "both") == pytest.approx(p, rel=2e-3)


SIZES = [(400, 600, 0.0), (900, 300, 0.03), (50, 40, 0.1)]


@pytest.mark.parametrize(("n", "m", "better"), SIZES)
def test_a_mean_is_that_of_tea_tasting(n: int, m: int, better: float) -> None:
    a, b = units(1, n, 0), units(2, m, better)
    same(lift(moments(a, "orders"), moments(b, "orders"), first), theirs(tt.Mean("orders"), a, b))


@pytest.mark.parametrize(("n", "m", "better"), SIZES)
def test_a_ratio_is_that_of_tea_tasting(n: int, m: int, better: float) -> None:
    a, b = units(3, n, 0), units(4, m, better)
    found = lift(moments(a, "orders", "sessions"), moments(b, "orders", "sessions"), ratio)
    same(found, theirs(tt.RatioOfMeans("orders", "sessions"), a, b))


@pytest.mark.parametrize(("n", "m", "better"), SIZES)
def test_an_adjusted_mean_is_that_of_tea_tasting(n: int, m: int, better: float) -> None:
    a, b = units(5, n, 0), units(6, m, better)
    names = ("orders", "old_orders")
    found = lift(moments(a, *names), moments(b, *names), first, covariate=partial(column, at=1))
    same(found, theirs(tt.Mean("orders", "old_orders"), a, b))


@pytest.mark.parametrize(("n", "m", "better"), SIZES)
def test_a_ratio_adjusted_by_a_ratio_is_that_of_tea_tasting(n: int, m: int, better: float) -> None:
    a, b = units(7, n, 0), units(8, m, better)
    names = ("orders", "sessions", "old_orders", "old_sessions")
    found = lift(moments(a, *names), moments(b, *names), ratio, covariate=partial(ratio, above=2))
    same(found, theirs(tt.RatioOfMeans("orders", "sessions", "old_orders", "old_sessions"), a, b))


@given(SEEDS, st.integers(2, 60), st.integers(2, 60), st.floats(-3, 3), st.floats(0.2, 5))
def test_a_mean_is_that_of_welch(seed: int, n: int, m: int, shift: float, spread: float) -> None:
    rng = np.random.default_rng(seed)
    a, b = rng.normal(0, 1, n), rng.normal(shift, spread, m)
    found = lift(Moments.of(a[:, None]), Moments.of(b[:, None]), first)
    expected = stats.ttest_ind(b, a, equal_var=False)
    assert found.value / found.se == close(float(expected.statistic))
    assert found.df == close(float(expected.df))
    ends = expected.confidence_interval(0.9)
    assert found.interval(Once(), 0.05, 0.05) == pytest.approx((ends.low, ends.high), rel=1e-9, abs=1e-9)


def test_a_mean_is_that_of_statsmodels() -> None:
    a, b = units(9, 300, 0)["orders"], units(10, 200, 0.05)["orders"]
    found = lift(Moments.of(a.to_numpy()[:, None]), Moments.of(b.to_numpy()[:, None]), first)
    compared = weights.CompareMeans(weights.DescrStatsW(b), weights.DescrStatsW(a))
    assert found.interval(Once(), 0.025, 0.025) == close(compared.tconfint_diff(0.05, usevar="unequal"))
    meets(found, float(compared.ttest_ind(usevar="unequal")[1]))


def test_errors_of_the_two_ends_may_differ() -> None:
    found = lift(moments(units(1, 300, 0), "orders"), moments(units(2, 200, 0), "orders"), first)
    assert found.interval(Once(), 0.01, 0.2)[0] == found.interval(Once(), 0.01, 0.01)[0]
    assert found.interval(Once(), 0.01, 0.2)[1] == found.interval(Once(), 0.2, 0.2)[1]
    assert found.relative_interval(Once(), 0.01, 0.2)[0] == found.relative_interval(Once(), 0.01, 0.01)[0]


# ------------------------------------------------------------------ moments


@given(SEEDS, st.integers(1, 40), st.integers(1, 3), st.floats(-5, 5))
def test_moments_from_sums_are_those_of_the_values(seed: int, n: int, p: int, shift: float) -> None:
    rng = np.random.default_rng(seed)
    values = rng.gamma(2.0, 1.0, (n, p)) @ rng.normal(size=(p, p))
    around = values.mean(axis=0) + shift
    away = values - around
    found = Moments.from_sums(
        n,
        away.sum(axis=0),
        away.T @ away,
        np.einsum("ni,nj,nk->ijk", away, away, away),
        around,
    )
    expected = Moments.of(values)
    scale = float(np.abs(away).max()) + 1
    assert found.units == expected.units
    assert np.allclose(found.mean, expected.mean, rtol=1e-12, atol=1e-12 * scale)
    assert np.allclose(found.covariance, expected.covariance, rtol=1e-9, atol=1e-12 * scale**2)
    assert np.allclose(found.third, expected.third, rtol=1e-9, atol=1e-11 * scale**3)


def test_no_units_have_no_moments_and_one_has_no_variance() -> None:
    none = Moments.from_sums(0, np.zeros(1), np.zeros((1, 1)), np.zeros((1, 1, 1)), np.array([3.0]))
    assert (none.units, none.covariance.tolist()) == (0, [[0.0]])
    assert Moments.of(np.array([[5.0, 2.0]])).covariance.tolist() == [[0.0, 0.0], [0.0, 0.0]]


@given(SEEDS, st.integers(1, 30), st.integers(1, 30), st.integers(1, 3))
def test_moments_added_are_those_of_all_units(seed: int, n: int, m: int, p: int) -> None:
    rng = np.random.default_rng(seed)
    a, b = rng.normal(size=(n, p)), rng.normal(2, 3, size=(m, p))
    found, expected = Moments.of(a) + Moments.of(b), Moments.of(np.vstack([a, b]))
    assert found.units == expected.units
    assert np.allclose(found.mean, expected.mean, rtol=1e-12)
    assert np.allclose(found.covariance, expected.covariance, rtol=1e-9, atol=1e-12)


def test_third_moments_are_those_of_scipy() -> None:
    values = np.random.default_rng(0).lognormal(0, 1, (500, 1))
    found = Moments.of(values)
    assert found.third[0, 0, 0] == close(float(stats.moment(values[:, 0], 3)))


# ------------------------------------------------------------------ functions of means

FUNCTIONS: list[tuple[Callable[..., float], Callable[..., tuple[float, ...]]]] = [
    (lambda r, c, n: (r - c) / n, lambda r, c, n: (1 / n, -1 / n, -(r - c) / n**2)),
    (lambda r, c, n: r * c * n, lambda r, c, n: (c * n, r * n, r * c)),
    (lambda r, c, n: math.log(r / c) + n, lambda r, c, n: (1 / r, -1 / c, 1.0)),
]


@pytest.mark.parametrize(("function", "slope"), FUNCTIONS)
@given(st.tuples(*[st.floats(0.05, 500)] * 3))
def test_slopes_of_custom_metrics(
    function: Callable[..., float], slope: Callable[..., tuple[float, ...]], at: tuple[float, float, float]
) -> None:
    m = Custom(("revenue", "cost", "orders"), function)
    expected = np.array(slope(*at))
    # Central differences know a slope to about 1e-10 of the function over the step.
    size = 1 + abs(function(*at)) / np.array(at)
    assert (np.abs(gradient(m.value, np.array(at)) - expected) <= 1e-9 * (np.abs(expected) + size)).all()


def test_the_slope_at_zero() -> None:
    assert gradient(lambda m: float(3 * m[0] + m[1] ** 2), np.zeros(2)).tolist() == pytest.approx([3, 0], abs=1e-9)


def test_a_custom_ratio_is_the_ratio() -> None:
    a, b = (moments(units(s, 300, 0), "orders", "sessions") for s in (1, 2))
    custom = Custom(("orders", "sessions"), lambda x, y: x / y)
    one, two = lift(a, b, ratio), lift(a, b, custom.value)
    assert (one.value, one.se) == (two.value, two.se)


def test_a_scaled_metric_has_a_scaled_interval_and_the_same_relative_one() -> None:
    a, b = (moments(units(s, 300, 0), "orders") for s in (1, 2))
    one, two = lift(a, b, first), lift(a, b, lambda m: float(100 * m[0]))
    assert two.interval(Once(), 0.05, 0.05) == pytest.approx([100 * v for v in one.interval(Once(), 0.05, 0.05)])
    assert two.relative_interval(Once(), 0.05, 0.05) == pytest.approx(one.relative_interval(Once(), 0.05, 0.05))


def test_intervals_of_a_ratio_hold_though_rows_of_a_unit_are_alike() -> None:
    repeats, n = 1000, 300
    rng = np.random.default_rng(11)
    wrong = np.zeros(2)
    for _ in range(repeats):
        rows = rng.poisson(4, (2, n)) + 1.0
        hits = rng.binomial(rows.astype(int), rng.beta(1, 3, (2, n)))
        a, b = (Moments.of(np.column_stack([hits[i], rows[i]])) for i in range(2))
        low, high = lift(a, b, ratio).interval(Once(), 0.05, 0.05)
        wrong += [low > 0, high < 0]
    assert (wrong / repeats <= at_most(0.05, repeats)).all()


# ------------------------------------------------------------------ covariates


@given(SEEDS, st.integers(5, 200), st.floats(-3, 3))
def test_a_covariate_takes_away_what_it_explains(seed: int, n: int, slope: float) -> None:
    rng = np.random.default_rng(seed)
    before = rng.normal(size=n)
    values = np.column_stack([slope * before + rng.normal(size=n), before])
    a = Moments.of(values)
    b = Moments(a.units, a.mean + np.array([0.5, 0.0]), a.covariance, a.third)
    plain, found = lift(a, b, first), lift(a, b, first, covariate=partial(column, at=1))
    rho = float(np.corrcoef(values.T)[0, 1])
    within = found.treatment.variance
    # The shift between arms is in the coefficient's denominators and numerators alike, as the covariate has none.
    assert found.reduction == pytest.approx(rho**2, rel=1e-9, abs=1e-9)
    assert within == pytest.approx((1 - rho**2) * plain.treatment.variance, rel=1e-9)
    assert found.value == pytest.approx(plain.value, rel=1e-9)


def test_the_coefficient_is_that_of_least_squares() -> None:
    a, b = units(1, 300, 0), units(2, 400, 0.05)
    names = ("orders", "old_orders")
    found = lift(moments(a, *names), moments(b, *names), first, covariate=partial(column, at=1))
    both = pd.concat([a, b])
    assert found.coefficient == close(float(np.polyfit(both["old_orders"], both["orders"], 1)[0]))


def test_the_coefficient_may_come_from_more_arms() -> None:
    a, b, c = (moments(units(s, 300, 0), "orders", "old_orders") for s in (1, 2, 3))
    found = lift(a, b, first, covariate=partial(column, at=1), total=a + b + c)
    assert found.coefficient == close(float((a + b + c).covariance[0, 1] / (a + b + c).covariance[1, 1]))
    assert found.coefficient != lift(a, b, first, covariate=partial(column, at=1)).coefficient


def test_a_covariate_that_is_the_same_for_all_changes_nothing() -> None:
    a, b = (units(s, 100, 0).assign(one=1.0) for s in (1, 2))
    plain = lift(moments(a, "orders"), moments(b, "orders"), first)
    found = lift(moments(a, "orders", "one"), moments(b, "orders", "one"), first, covariate=partial(column, at=1))
    assert (found.value, found.se, found.coefficient, found.reduction) == (plain.value, plain.se, 0.0, 0.0)


def test_intervals_after_adjustment_hold_and_are_narrower() -> None:
    repeats, n = 2000, 200
    rng = np.random.default_rng(12)
    wrong, narrower = np.zeros(2), 0
    for _ in range(repeats):
        before = rng.gamma(2, 1, (2, n))
        now = before + rng.normal(size=(2, n))
        a, b = (Moments.of(np.column_stack([now[i], before[i]])) for i in range(2))
        found = lift(a, b, first, covariate=partial(column, at=1))
        low, high = found.interval(Once(), 0.05, 0.05)
        wrong += [low > 0, high < 0]
        narrower += found.se < lift(a, b, first).se
    assert (wrong / repeats <= at_most(0.05, repeats)).all()
    assert narrower == repeats


# ------------------------------------------------------------------ skewness


def test_equal_arms_need_no_units_for_symmetry() -> None:
    a = Moments.of(np.random.default_rng(0).lognormal(0, 2, (1000, 1)))
    assert lift(a, a, first).rows_for_normal == 0


def test_unequal_arms_need_what_the_smaller_one_does() -> None:
    rng = np.random.default_rng(0)
    small, large = rng.exponential(1, (1000, 1)), rng.exponential(1, (1_000_000, 1))
    found = lift(Moments.of(large), Moments.of(small), first)
    # An exponential variable has the skewness 2: rule 7 asks for 355 x 4 units.
    assert found.rows_for_normal == pytest.approx(355 * float(stats.skew(small[:, 0])) ** 2, rel=0.02)


def test_what_never_varies_needs_no_units() -> None:
    a = Moments.of(np.ones((10, 1)))
    found = lift(a, a, first)
    assert (found.se, found.rows_for_normal, found.df) == (0.0, 0.0, math.inf)


# ------------------------------------------------------------------ what has no answer


def test_an_arm_of_one_unit_is_refused() -> None:
    one, two = Moments.of(np.ones((1, 1))), Moments.of(np.array([[1.0], [2.0]]))
    with pytest.raises(ValueError, match="fewer than two units"):
        lift(one, two, first)


@pytest.mark.parametrize(("a", "b"), [(-1.0, 1.0), (0.0, 1.0), (1.0, -0.1), (-1.0, -2.0)])
def test_what_is_not_positive_has_no_relative_change(a: float, b: float) -> None:
    found = Lift(Side(a, 1, 10), Side(b, 1, 10))
    assert found.relative is None
    with pytest.raises(ValueError, match="has no meaning"):
        found.relative_interval(Once(), 0.05, 0.05)


def test_an_arm_that_has_nothing_lost_everything() -> None:
    found = Lift(Side(0.1, 0.09, 2000), Side(0.0, 0.0, 2000))
    low, high = found.relative_interval(Once(), 0.05, 0.05)
    assert (found.relative, low) == (-1.0, -1.0)
    assert -1 < high < -0.8


def test_rounding_of_sums_that_cancel_is_nothing() -> None:
    ones = Moments.from_sums(1000, np.array([300.0]), np.array([[90.0]]), np.array([[[27.0]]]), np.array([0.7]))
    assert ones.covariance[0, 0] == ones.third[0, 0, 0] == 0
    none = Moments.from_sums(1000, np.array([-110.0]), np.array([[12.1]]), np.array([[[-1.331]]]), np.array([0.11]))
    assert none.mean[0] == none.covariance[0, 0] == 0


def test_a_huge_standard_error_leaves_the_relative_change_open() -> None:
    low, high = Lift(Side(1e-6, 1e6, 10), Side(1, 1, 10)).relative_interval(Once(), 0.05, 0.05)
    assert low == -1
    assert high > 1e300
