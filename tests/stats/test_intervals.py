"""Intervals for shares and differences: oracles, textbook values, exact error rates by enumeration."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy import stats
from statsmodels.stats.proportion import confint_proportions_2indep, proportion_confint

from afterlaunch.stats.intervals import (
    EXACT_BELOW,
    Interval,
    Shares,
    difference,
    filled,
    invert,
    logit_scale,
    normal_quantile,
    rows_for,
    share,
    shares,
    symmetric,
    t_quantile,
)
from tests.simulation import at_least, at_most, clustered

Floats = NDArray[np.float64]

alphas = st.floats(1e-6, 0.5)
counts = st.integers(1, 5000).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n)))


def wilson(hits: int, rows: int) -> Callable[[float, float], Interval]:
    """The interval that Newcombe combines, from statsmodels."""
    return lambda low, high: Interval(
        hits / rows,
        proportion_confint(hits, rows, 2 * low, method="wilson")[0],
        proportion_confint(hits, rows, 2 * high, method="wilson")[1],
    )


# ------------------------------------------------------------------ quantiles


@given(alphas, st.floats(1, 1e4))
def test_quantiles_are_scipy_s(alpha: float, df: float) -> None:
    assert normal_quantile(alpha) == pytest.approx(stats.norm.isf(alpha), abs=1e-12)
    assert t_quantile(alpha, df) == pytest.approx(stats.t.isf(alpha, df), rel=1e-6, abs=1e-9)
    assert t_quantile(alpha, math.inf) == normal_quantile(alpha)
    assert t_quantile(alpha, df) >= normal_quantile(alpha) - 1e-9


@pytest.mark.parametrize(("alpha", "df", "value"), [(0.025, 1, 12.706), (0.05, 5, 2.015), (0.005, 30, 2.750)])
def test_quantiles_of_the_printed_t_table(alpha: float, df: float, value: float) -> None:
    assert t_quantile(alpha, df) == pytest.approx(value, abs=5e-4)


# ------------------------------------------------------------------ one share


@given(counts, alphas)
def test_a_share_has_the_exact_interval_or_jeffreys(drawn: tuple[int, int], alpha: float) -> None:
    """Clopper and Pearson's below 50 rows of the rarer kind, by statsmodels, and Jeffreys' from there on."""
    hits, rows = drawn
    assume(0 < hits < rows)
    method = "beta" if min(hits, rows - hits) < EXACT_BELOW else "jeffreys"
    low, high = proportion_confint(hits, rows, 2 * alpha, method=method)
    ours = share(hits, rows, alpha, alpha)
    assert ours.value == hits / rows
    assert ours.low == pytest.approx(min(low, hits / rows), rel=1e-9, abs=1e-12)
    assert ours.high == pytest.approx(max(high, hits / rows), rel=1e-9, abs=1e-12)


@pytest.mark.parametrize(("hits", "low", "high"), [(0, 0.0, 0.3085), (1, 0.0025, 0.4450), (5, 0.1871, 0.8129)])
def test_a_share_as_in_the_tables_of_clopper_and_pearson(hits: int, low: float, high: float) -> None:
    """Of 10 rows, at 95 %."""
    i = share(hits, 10, 0.025, 0.025)
    assert (i.low, i.high) == (pytest.approx(low, abs=5e-5), pytest.approx(high, abs=5e-5))


@pytest.mark.parametrize("rows", [10, 100, 1000, 100_000])
def test_no_hits_exclude_what_the_rule_of_three_excludes(rows: int) -> None:
    """Hanley & Lippman-Hand (1983): 3 / n, at one-sided 5 %."""
    assert share(0, rows, 0.05, 0.05).high == pytest.approx(1 - 0.05 ** (1 / rows))
    assert share(0, rows, 0.05, 0.05).high <= 3 / rows


@given(counts, alphas, alphas, st.floats(0.2, 30), st.floats(2, 500))
def test_a_share_lies_in_its_interval_and_the_interval_in_0_1(
    drawn: tuple[int, int], low: float, high: float, deff: float, df: float
) -> None:
    hits, rows = drawn
    i = share(hits, rows, low, high, deff=deff, df=df)
    assert 0 <= i.low <= i.value <= i.high <= 1
    if hits == 0:
        assert i.low == 0
    if hits == rows:
        assert i.high == 1


@given(counts, alphas, alphas)
def test_a_smaller_error_gives_a_wider_interval(drawn: tuple[int, int], one: float, two: float) -> None:
    small, large = sorted((one, two))
    wide, narrow = share(*drawn, small, small), share(*drawn, large, large)
    assert wide.low <= narrow.low
    assert wide.high >= narrow.high


@given(counts, alphas, alphas)
def test_the_share_without_the_property_is_the_mirror_image(drawn: tuple[int, int], low: float, high: float) -> None:
    hits, rows = drawn
    i, mirror = share(hits, rows, low, high), share(rows - hits, rows, high, low)
    assert (mirror.low, mirror.high) == (pytest.approx(1 - i.high, abs=1e-9), pytest.approx(1 - i.low, abs=1e-9))


@given(st.integers(1, 200), st.integers(1, 200), st.integers(2, 9))
def test_a_design_effect_divides_the_rows(hits: int, others: int, deff: int) -> None:
    many = share(hits * deff, (hits + others) * deff, 0.05, 0.01, deff=deff)
    few = share(hits, hits + others, 0.05, 0.01)
    assert (many.low, many.high) == (pytest.approx(few.low), pytest.approx(few.high))


def test_few_degrees_of_freedom_shrink_the_sample_as_korn_and_graubard_do() -> None:
    shrunk = 10_000 * (stats.norm.isf(0.025) / stats.t.isf(0.025, 9)) ** 2 / 2
    low, high = stats.beta.ppf([0.025, 0.975], 0.1 * shrunk + 0.5, 0.9 * shrunk + 0.5)
    i = share(1000, 10_000, 0.025, 0.025, deff=2.0, df=9)
    assert (i.low, i.high) == (pytest.approx(low), pytest.approx(high))


def test_a_design_effect_below_one_is_not_trusted() -> None:
    assert share(5, 50, 0.05, 0.05, deff=0.1) == share(5, 50, 0.05, 0.05)


def test_no_rows_say_nothing() -> None:
    assert share(0, 0, 0.05, 0.05) == Interval(0.0, 0.0, 1.0)


@pytest.mark.parametrize("alpha", [0.05, 0.0005])
@pytest.mark.parametrize("rows", [30, 100, 1000])
def test_the_error_of_each_end_of_a_share(rows: int, alpha: float) -> None:
    """Exact, by summing binomial probabilities over a grid of true shares.

    Never above the rate below 50 expected rows of the rarer kind, and at most 2 points above from
    there on; on average no more careful than an exact interval must be.
    """
    intervals = [share(h, rows, alpha, alpha) for h in range(rows + 1)]
    low, high = (np.array([getattr(i, end) for i in intervals]) for end in ("low", "high"))
    grid = np.linspace(0.001, 0.999, 300)
    chances = stats.binom.pmf(np.arange(rows + 1)[None], rows, grid[:, None])
    errors = np.stack([(chances * (low > grid[:, None])).sum(1), (chances * (high < grid[:, None])).sum(1)])
    rare = np.minimum(grid, 1 - grid) * rows < 30
    assert errors[:, rare].max() <= 1.02 * alpha
    assert errors.max() <= min(alpha + 0.02, 1.5 * alpha)
    assert errors.mean() >= 0.3 * alpha


# ------------------------------------------------------------------ differences


@pytest.mark.parametrize(
    ("before", "now", "low", "high"),
    [
        ((48, 80), (56, 70), 0.0524, 0.3339),
        ((3, 10), (9, 10), 0.1705, 0.8090),
        ((2, 7), (6, 7), 0.0582, 0.8062),
        ((0, 29), (5, 56), -0.0381, 0.1926),
    ],
)
def test_a_difference_as_printed_by_newcombe(
    before: tuple[int, int], now: tuple[int, int], low: float, high: float
) -> None:
    """Table II of Newcombe (1998), method 10, from the Wilson intervals that it combines."""
    i = difference(wilson(*before), wilson(*now), 0.025, 0.025)
    assert (round(i.low, 4), round(i.high, 4)) == (low, high)


@given(counts, counts, st.floats(1e-4, 0.4))
def test_a_difference_is_newcombe_s_by_statsmodels(before: tuple[int, int], now: tuple[int, int], alpha: float) -> None:
    low, high = confint_proportions_2indep(*now, *before, method="newcomb", alpha=2 * alpha)
    i = difference(wilson(*before), wilson(*now), alpha, alpha)
    assert (i.low, i.high) == (pytest.approx(low, abs=1e-9), pytest.approx(high, abs=1e-9))


@given(counts, counts, alphas, alphas, st.floats(0, 0.95))
def test_a_difference_swaps_bounds_and_narrows_with_correlation(
    before: tuple[int, int], now: tuple[int, int], low: float, high: float, correlation: float
) -> None:
    def first(a: float, b: float) -> Interval:
        return share(*before, a, b)

    def second(a: float, b: float) -> Interval:
        return share(*now, a, b)

    i = difference(first, second, low, high)
    back = difference(second, first, high, low)
    assert (back.low, back.high) == (pytest.approx(-i.high, abs=1e-12), pytest.approx(-i.low, abs=1e-12))
    assert -1 - 1e-12 <= i.low <= i.value <= i.high <= 1 + 1e-12
    paired = difference(first, second, low, high, correlation=correlation)
    assert i.low - 1e-12 <= paired.low <= paired.value <= paired.high <= i.high + 1e-12


def errors_of_change(m: int, n: int, p: float, q: float, alpha: float, margin: float) -> tuple[float, float, float]:
    """Exact chances that the low end is above q - p, the high end below it, and the low end above `margin`."""
    first, second = (np.array([vars_of(share(h, r, alpha, alpha)) for h in range(r + 1)]) for r in (m, n))
    value = second[None, :, 0] - first[:, None, 0]
    low = value - np.hypot(second[None, :, 0] - second[None, :, 1], first[:, None, 2] - first[:, None, 0])
    high = value + np.hypot(second[None, :, 2] - second[None, :, 0], first[:, None, 0] - first[:, None, 1])
    chance = np.outer(stats.binom.pmf(range(m + 1), m, p), stats.binom.pmf(range(n + 1), n, q))
    true = q - p
    return tuple(float(chance[event].sum()) for event in (low > true + 1e-12, high < true - 1e-12, low > margin))  # type: ignore[return-value]


def vars_of(i: Interval) -> tuple[float, float, float]:
    return i.value, i.low, i.high


def test_the_enumeration_is_of_the_function_itself() -> None:
    both = Shares((7, 19), (60, 50))
    first, second = share(7, 60, 0.05, 0.05), share(19, 50, 0.05, 0.05)
    low = second.value - first.value - math.hypot(second.value - second.low, first.high - first.value)
    assert both.change(0.05, 0.05).low == pytest.approx(low)


@pytest.mark.parametrize("alpha", [0.05, 0.0005])
@pytest.mark.parametrize(("m", "n"), [(100, 100), (400, 100), (200, 50)])
@pytest.mark.parametrize("p", [0.1, 0.3, 0.5])
@pytest.mark.parametrize("change", [0.0, 0.05, 0.1, 0.2])
def test_the_error_of_each_end_of_a_change_and_its_power(alpha: float, m: int, n: int, p: float, change: float) -> None:
    """At true changes of zero, half the margin, the margin and twice the margin (0.1): at most 2 points over nominal.

    At a small error rate: at most half as much again.
    """
    false_alarm, false_ok, _ = errors_of_change(m, n, p, p + change, alpha, 0.1)
    allowed = min(alpha + 0.02, 1.5 * alpha)
    assert false_alarm <= allowed
    assert false_ok <= allowed


@pytest.mark.parametrize("alpha", [0.05, 0.0005])
@pytest.mark.parametrize(("m", "n"), [(100, 100), (400, 100), (200, 50)])
@pytest.mark.parametrize("p", [0.1, 0.3, 0.5])
def test_the_power_against_a_change_beyond_the_margin(alpha: float, m: int, n: int, p: float) -> None:
    """A rise of .35 against a margin of .1: within 5 points of the best test that is told the share of the reference.

    That test alarms where the difference is above its exact 1 - alpha quantile at the margin. At
    a small error rate not being told costs more: within 15 points.
    """
    hits = np.arange(n + 1)[None, :] / n - np.arange(m + 1)[:, None] / m
    at_margin, beyond = (
        np.outer(stats.binom.pmf(range(m + 1), m, p), stats.binom.pmf(range(n + 1), n, p + c)) for c in (0.1, 0.35)
    )
    order = np.argsort(-hits, axis=None, kind="stable")
    best = float(beyond.ravel()[order][np.cumsum(at_margin.ravel()[order]) <= alpha].sum())
    power = errors_of_change(m, n, p, p + 0.35, alpha, 0.1)[2]
    assert best > 0.4
    assert power >= best - (0.05 if alpha == 0.05 else 0.15)


@given(counts, counts, st.floats(0.001, 0.5), st.floats(1e-4, 0.4))
def test_the_p_value_of_a_rise_is_where_the_interval_meets_the_margin(
    before: tuple[int, int], now: tuple[int, int], margin: float, alpha: float
) -> None:
    both = Shares((float(before[0]), float(now[0])), (float(before[1]), float(now[1])))
    p = both.p_value(margin)
    assert 0 <= p <= 1
    if abs(math.log(max(p, 1e-17) / alpha)) > 1e-6:
        assert (p <= alpha) == (both.change(alpha, alpha).low > margin)


# ------------------------------------------------------------------ shares from buckets


def test_without_buckets_rows_are_independent() -> None:
    both = shares((np.array([10]), np.array([30])), (np.array([100]), np.array([200])))
    assert both == Shares((10, 30), (100, 200))


def test_an_empty_table_says_nothing() -> None:
    none = np.zeros(64, dtype=int)
    both = shares((none, none), (none, none))
    assert both.rows == (0, 0)
    assert both.change(0.05, 0.05) == Interval(0.0, -1.0, 1.0)
    assert both.rows_needed(0.1, 0.05) is None


def test_the_design_effect_is_that_of_the_cluster_variance() -> None:
    """Equal groups: the sandwich variance of Liang & Zeger with G / (G - 1), over the binomial one."""
    rng = np.random.default_rng(0)
    hits, rows = rng.binomial(50, rng.beta(2, 8, 64)), np.full(64, 50)
    others = rng.binomial(30, rng.beta(3, 3, 64)), np.full(64, 30)
    both = shares((hits, others[0]), (rows, others[1]))
    for x, n, deff in ((hits, rows, both.deff[0]), (*others, both.deff[1])):
        p, total = x.sum() / n.sum(), n.sum()
        cluster = ((x - p * n) ** 2).sum() / total**2 * 64 / 63
        assert deff == pytest.approx(cluster / (p * (1 - p) / total), rel=1e-6)
    assert 63 <= both.df <= 126


def test_units_in_both_tables_make_the_shares_correlated() -> None:
    rng = np.random.default_rng(1)
    own = rng.beta(1, 3, 64)
    rows = np.full(64, 40)
    same = shares((rng.binomial(40, own), rng.binomial(40, own)), (rows, rows))
    apart = shares((rng.binomial(40, own), rng.binomial(40, rng.permutation(own))), (rows, rows))
    assert same.correlation > 0.7
    assert abs(apart.correlation) < 0.3
    assert same.change(0.05, 0.05).high - same.change(0.05, 0.05).low < 0.5 * (
        apart.change(0.05, 0.05).high - apart.change(0.05, 0.05).low
    )


@pytest.mark.parametrize("hits", [0, 50])
def test_a_share_of_none_or_all_borrows_the_design_effect_of_the_other_table(hits: int) -> None:
    rng = np.random.default_rng(2)
    rows = np.full(64, 50)
    both = shares((np.full(64, hits), rng.binomial(50, rng.beta(1, 4, 64))), (rows, rows))
    assert both.deff[0] == both.deff[1] > 2
    assert both.correlation == 0


@pytest.mark.parametrize("icc", [0.1, 0.3])
def test_a_change_between_tables_of_dependent_rows(icc: float) -> None:
    """True change .1: each 5 % end misses at most 7 % of the time with 200 units of 6 rows; power beside it."""
    rng, repeats, alpha = np.random.default_rng(3), 1000, 0.05
    before = clustered(rng, np.array([0.8, 0.2]), 300, 6, icc, repeats)
    now = clustered(rng, np.array([0.7, 0.3]), 200, 6, icc, repeats)
    low = high = sure = naive = 0
    for a, b in zip(before, now, strict=True):
        both = shares((a[:, 1], b[:, 1]), (a.sum(1), b.sum(1)))
        i = both.change(alpha, alpha)
        low, high, sure = low + (i.low > 0.1), high + (i.high < 0.1), sure + (i.low > 0)
        naive += Shares(both.hits, both.rows).change(alpha, alpha).low > 0.1
    assert low / repeats <= at_most(alpha + 0.02, repeats)
    assert high / repeats <= at_most(alpha + 0.02, repeats)
    assert naive > low
    assert sure / repeats > 0.8


def test_rows_needed_is_what_a_simulation_needs() -> None:
    """A share of .1 in 20,000 reference rows, margin .02: `ok` in 80 % at the rows named, within a factor 1.5."""
    rng, repeats = np.random.default_rng(4), 1500
    needed = Shares((2000, 30), (20_000, 300)).rows_needed(0.02, 0.05)
    assert needed is not None

    def decided(rows: int) -> float:
        before, now = rng.binomial(20_000, 0.1, repeats), rng.binomial(rows, 0.1, repeats)
        return float(
            np.mean(
                [
                    Shares((a, b), (20_000, rows)).change(0.5, 0.05).high <= 0.02
                    for a, b in zip(before, now, strict=True)
                ]
            )
        )

    assert decided(round(needed / 1.5)) <= at_most(0.8, repeats)
    assert decided(round(needed * 1.5)) >= at_least(0.8, repeats)


def test_rows_needed_is_none_when_the_reference_binds() -> None:
    assert Shares((5, 5), (50, 50)).rows_needed(0.001, 0.05) is None


# ------------------------------------------------------------------ symmetric and logit


@given(st.floats(-1e6, 1e6), st.floats(0, 1e3), st.floats(1, 1e3), alphas, alphas)
def test_a_symmetric_interval_is_t(value: float, se: float, df: float, low: float, high: float) -> None:
    i = symmetric(value, se, df, low, high)
    assert i.low == pytest.approx(value - stats.t.isf(low, df) * se, rel=1e-6, abs=1e-6)
    assert i.high == pytest.approx(value + stats.t.isf(high, df) * se, rel=1e-6, abs=1e-6)


@given(st.floats(0.001, 0.999), st.floats(1e-6, 0.2), st.floats(2, 1e3), alphas, alphas)
def test_the_logit_interval_stays_inside_0_1_and_mirrors(
    value: float, se: float, df: float, low: float, high: float
) -> None:
    i, mirror = logit_scale(value, se, df, low, high), logit_scale(1 - value, se, df, high, low)
    assert 0 <= i.low <= value + 1e-12
    assert value - 1e-12 <= i.high <= 1
    assert (mirror.low, mirror.high) == (pytest.approx(1 - i.high, abs=1e-9), pytest.approx(1 - i.low, abs=1e-9))
    odds = math.log(value / (1 - value)) - stats.t.isf(low, df) * se / (value * (1 - value))
    assert i.low == pytest.approx(1 / (1 + math.exp(-odds)) if odds > -700 else 0.0, rel=1e-4, abs=1e-9)


def test_the_logit_interval_of_an_auc() -> None:
    """An AUC of .95 with se .02 is [.893, .977] on the logit scale and would pass 1 with three standard errors."""
    i = logit_scale(0.95, 0.02, math.inf, 0.025, 0.025)
    assert (round(i.low, 3), round(i.high, 3)) == (0.893, 0.977)
    assert logit_scale(0.95, 0.02, math.inf, 0.001, 0.001).high < 1 < symmetric(0.95, 0.02, math.inf, 0.001, 0.001).high


@pytest.mark.parametrize("value", [0.0, 1.0, 0.4])
def test_the_logit_interval_where_there_is_no_logit_or_no_error(value: float) -> None:
    se = 0.0 if value == 0.4 else 0.1
    assert logit_scale(value, se, 10, 0.05, 0.05) == symmetric(value, se, 10, 0.05, 0.05)


# ------------------------------------------------------------------ inverting tests, rows


@given(st.floats(0, 50), alphas, alphas)
def test_inverting_the_normal_test_gives_the_normal_interval(x: float, low: float, high: float) -> None:
    """X ~ N(theta, 1), theta >= 0: the interval is x ± z, cut off at zero."""
    found = invert(lambda t: float(stats.norm.sf(x - t)), lambda t: float(stats.norm.cdf(x - t)), x, 1e3, low, high)
    expected = (max(x - normal_quantile(low), 0.0), max(x + normal_quantile(high), 0.0))
    assert found == pytest.approx(expected, abs=1e-6)


@given(st.integers(1, 60), st.floats(1e-4, 0.5), st.floats(1e-4, 0.5))
def test_inverting_the_poisson_test_gives_garwood_s_interval(count: int, low: float, high: float) -> None:
    """Garwood (1936): chi-square quantiles."""
    found = invert(
        lambda t: float(stats.poisson.sf(count - 1, t)),
        lambda t: float(stats.poisson.cdf(count, t)),
        count,
        100.0,
        low,
        high,
    )
    expected = (stats.chi2.ppf(low, 2 * count) / 2, stats.chi2.isf(high, 2 * count + 2) / 2)
    assert found == pytest.approx(expected, rel=1e-6)


def test_inverting_stops_at_the_largest_possible_value() -> None:
    assert invert(lambda t: 1.0, lambda t: 1.0, 0.5, 1.0, 0.05, 0.05) == (0.0, 1.0)


@given(st.floats(2, 1e9), st.floats(1, 1e6))
def test_rows_for_finds_the_smallest_to_one_percent(truth: float, start: float) -> None:
    rows = rows_for(lambda n: n >= truth, start)
    assert rows is not None
    assert truth <= rows <= 1.0101 * truth + 1


def test_rows_for_gives_up() -> None:
    assert rows_for(lambda n: False, 100) is None
    assert rows_for(lambda n: n >= 1e13, 100) is None


def test_filled_counts_groups_that_have_rows() -> None:
    assert filled(np.array([0, 3, 0, 1])) == 2
