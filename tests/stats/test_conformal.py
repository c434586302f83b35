"""Split-conformal p-values and the excess of novel rows: uniform, exact at any error rate, found when there."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from afterlaunch.stats.conformal import Excess, excess, novel, p_values
from afterlaunch.stats.multiplicity import benjamini_hochberg
from tests.simulation import at_most

RNG = np.random.default_rng
ALPHA = 0.05


def error_rates(m: int, n: int, effect: float, alpha: float) -> tuple[float, float]:
    """Exact one-sided errors of both ends, summed over all counts and integrated over the calibration level."""
    found = excess(np.arange(n + 1), np.full(n + 1, n), m, ALPHA)
    low, high = found.ends(np.full(n + 1, alpha), np.full(n + 1, alpha))
    k = math.floor(ALPHA * (m + 1))
    level = stats.beta(k, m + 1 - k).ppf((np.arange(2000) + 0.5) / 2000)
    chance = stats.binom.pmf(np.arange(n + 1)[:, None], n, np.clip(level + effect, 0, 1)[None, :]).mean(axis=1)
    return float(chance[low > effect].sum()), float(chance[high < effect].sum())


# ------------------------------------------------------------------ p-values


def test_p_values_by_hand() -> None:
    assert p_values([1, 2, 3, 4], [5, 4, 2.5, 0]).tolist() == [0.2, 0.4, 0.6, 1.0]
    assert p_values([], [1.0]).tolist() == [1.0]


def test_p_values_of_normal_rows_are_uniform() -> None:
    # One row for each of 4,000 draws of 99 calibration rows: independent, and uniform on 1/100, ..., 1.
    rng = RNG(0)
    p = np.array([p_values(rng.normal(size=99), rng.normal(size=1))[0] for _ in range(4000)])
    for t in (0.01, 0.05, 0.5):
        assert float((p <= t).mean()) <= at_most(t, p.size)
    assert stats.kstest(p - RNG(1).random(p.size) / 100, "uniform").pvalue > 1e-3


@pytest.mark.parametrize("values", [2, 7, 1000])
def test_the_smoothed_level_is_exact_for_scores_with_ties(values: int) -> None:
    rng, means = RNG(values), []
    for _ in range(3000):
        known, new = rng.integers(values, size=60), rng.integers(values, size=20)
        means.append(float(novel(known, new, ALPHA).mean()))
    error = np.std(means) / math.sqrt(len(means))
    # Means of independent draws are normal: four standard errors are missed once in 16,000.
    assert abs(np.mean(means) - ALPHA) <= 4 * error + 1e-12


def test_scores_that_are_all_alike_are_all_as_novel_as_expected() -> None:
    assert novel(np.zeros(50), np.zeros(3), ALPHA) == pytest.approx(np.full(3, ALPHA))


@given(
    st.lists(st.integers(0, 20), min_size=1, max_size=60),
    st.lists(st.integers(0, 20), min_size=1, max_size=30),
    st.randoms(use_true_random=False),
)
@settings(max_examples=60, deadline=None)
def test_order_does_not_matter_and_only_ranks_do(known: list[int], new: list[int], random: object) -> None:
    shuffled = list(known)
    random.shuffle(shuffled)  # type: ignore[attr-defined]
    for f in (p_values, lambda a, b: novel(a, b, ALPHA)):
        assert f(known, new).tolist() == f(shuffled, new).tolist()
        assert f(np.exp(np.array(known) / 5), np.exp(np.array(new) / 5)).tolist() == f(known, new).tolist()
    assert ((p_values(known, new) > 0) & (p_values(known, new) <= 1)).all()
    assert (novel(known, new, ALPHA) >= (p_values(known, new) <= ALPHA)).all()


def test_not_a_number_is_refused() -> None:
    with pytest.raises(ValueError, match="flat sequence"):
        p_values([1.0, math.nan], [1.0])


# ------------------------------------------------------------------ Benjamini-Hochberg over them


def test_of_the_rows_that_are_named_few_are_normal() -> None:
    # 900 normal rows and 100 novel ones against 2,000 calibration rows, 300 draws: the mean false share.
    rng, false, found = RNG(3), [], []
    for _ in range(300):
        known = rng.normal(size=2000)
        new = np.concatenate([rng.normal(size=900), rng.normal(4.5, 1, size=100)])
        named = benjamini_hochberg(p_values(known, new)) <= 0.1
        false.append(named[:900].sum() / max(int(named.sum()), 1))
        found.append(named[900:].mean())
    # At most .1 · 900/1000, up to four standard errors of the simulation.
    assert np.mean(false) <= 0.09 + 4 * np.std(false) / math.sqrt(300)
    assert np.mean(found) > 0.8


# ------------------------------------------------------------------ the excess


@pytest.mark.parametrize("alpha", [0.05, 1e-5])
@pytest.mark.parametrize(("m", "n"), [(199, 40), (1999, 400)])
@pytest.mark.parametrize("effect", [0.0, 0.025, 0.05, 0.1])
def test_one_sided_errors_hold_exactly(m: int, n: int, effect: float, alpha: float) -> None:
    # Not simulated: exact sums over counts. 1 % is for the 2,000 points of the integral over the level,
    # whose outermost lies at a chance of 1/4,000, so that it is coarse in the tails.
    low, high = error_rates(m, n, effect, alpha)
    assert low <= alpha * (1.01 if alpha > 1e-3 else 1.1)
    assert high <= alpha * (1.01 if alpha > 1e-3 else 1.1)


def test_intervals_are_not_much_wider_than_they_must_be() -> None:
    low, high = error_rates(1999, 1000, 0.0, 0.05)
    assert low > 0.03
    assert high > 0.03


def test_ends_are_quantiles_of_the_difference_of_two_betas() -> None:
    rng, draws = RNG(5), 1_000_000
    level = rng.beta(ALPHA * 301, (1 - ALPHA) * 301, draws)
    low, high = excess([30], [400], 300, ALPHA).ends(np.array([0.01]), np.array([0.02]))
    assert low[0] == pytest.approx(np.quantile(rng.beta(30, 371, draws) - level, 0.01), abs=4e-4)
    assert high[0] == pytest.approx(np.quantile(rng.beta(31, 370, draws) - level, 0.98), abs=4e-4)


def test_many_calibration_rows_leave_clopper_and_pearson() -> None:
    low, high = excess([30], [400], 10_000_000, ALPHA).ends(np.array([0.025]), np.array([0.025]))
    exact = stats.binomtest(30, 400).proportion_ci(0.95, "exact")
    assert (low[0], high[0]) == pytest.approx((exact.low - ALPHA, exact.high - ALPHA), abs=3e-4)


@given(
    st.integers(1, 3000).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))),
    st.integers(20, 20_000),
    st.sampled_from([0.2, 0.05, 1e-3, 1e-6]),
)
@settings(max_examples=80, deadline=None)
def test_ends_lie_about_the_value_and_widen_with_less_error(counts: tuple[int, int], m: int, alpha: float) -> None:
    found = excess([counts[0]], [counts[1]], m, ALPHA)
    low, high = found.ends(np.array([alpha]), np.array([alpha]))
    wide_low, wide_high = found.ends(np.array([alpha / 10]), np.array([alpha / 10]))
    assert -1 <= wide_low[0] <= low[0] + 1e-7
    assert low[0] <= found.value[0] <= high[0]
    assert high[0] - 1e-7 <= wide_high[0] <= 1


def test_looks_do_not_depend_on_each_other() -> None:
    hits, rows = np.array([0.0, 3.5, 80.0, 10.0]), np.array([50.0, 40.0, 900.0, 10.0])
    low, high = excess(hits, rows, 500, ALPHA).ends(np.array([0.01, 0.02, 1e-4, 0.05]), np.full(4, 0.05))
    for i, rate in enumerate([0.01, 0.02, 1e-4, 0.05]):
        one = excess([hits[i]], [rows[i]], 500, ALPHA).ends(np.array([rate]), np.array([0.05]))
        assert (one[0][0], one[1][0]) == pytest.approx((low[i], high[i]), abs=1e-6)


def test_without_rows_nothing_is_known() -> None:
    found = excess([0], [0], 500, ALPHA)
    assert np.isnan(found.value[0])
    assert [float(e[0]) for e in found.ends(np.array([0.05]), np.array([0.05]))] == [-1.0, 1.0]
    assert found.p_value(0.05).tolist() == [1.0]
    assert excess([1], [10], 0, ALPHA).rows_needed(0.05, 0.05) is None


def test_p_value_is_the_rate_at_which_the_low_end_meets_the_margin() -> None:
    found = excess([150], [1000], 2000, ALPHA)
    p = float(found.p_value(0.05)[0])
    low, _ = found.ends(np.array([p]), np.array([0.5]))
    assert low[0] == pytest.approx(0.05, abs=1e-4)
    assert 1e-8 < p < 1e-3


def test_dependent_rows_count_for_fewer() -> None:
    one = excess([150], [1000], 2000, ALPHA)
    many = Excess(one.hits, one.rows, 2000, ALPHA, np.array([4.0]), np.array([30.0]), 2.0, 30.0)
    rate = np.array([0.01])
    assert many.ends(rate, rate)[0][0] < one.ends(rate, rate)[0][0]
    assert many.ends(rate, rate)[1][0] > one.ends(rate, rate)[1][0]


def test_rows_needed_decide_in_four_cases_of_five() -> None:
    m, margin = 2000, 0.05
    rows = excess([5], [100], m, ALPHA).rows_needed(margin, 0.05)
    assert rows is not None
    rng = RNG(8)
    level = rng.beta(ALPHA * (m + 1), (1 - ALPHA) * (m + 1), 1500)
    hits = rng.binomial(rows, level)
    _, high = excess(hits, np.full(1500, rows), m, ALPHA).ends(np.full(1500, 0.05), np.full(1500, 0.05))
    assert 0.74 < float((high <= margin).mean()) < 0.9
    assert excess([5], [100], 30, ALPHA).rows_needed(0.02, 0.01) is None


def test_a_level_outside_zero_and_one_is_refused() -> None:
    with pytest.raises(ValueError, match="between 0 and 1"):
        excess([1], [10], 100, 1.0)
