"""A classifier that tells two tables apart: what it measures, and how often its interval is wrong."""

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from sklearn.metrics import roc_auc_score

from afterlaunch.stats import two_sample
from afterlaunch.stats.two_sample import Told, told_apart
from tests.simulation import at_least, at_most

RNG = np.random.default_rng


def rows(
    rng: np.random.Generator, n: int, shift: float = 0.0, columns: int = 4, units: int = 0, windows: int = 0
) -> tuple[Any, Any, Any]:
    """Normal rows, the first column shifted; units and windows have levels of their own."""
    x = rng.normal(size=(n, columns))
    unit = window = None
    if units:
        unit = rng.integers(units, size=n)
        x = 0.8 * x + 0.6 * rng.normal(size=(units, columns))[unit]
    if windows:
        window = np.sort(np.arange(n) % windows)
        x += 0.3 * rng.normal(size=(windows, columns))[window]
    x[:, 0] += shift
    return x, unit, window


def both(seed: int, m: int, n: int, shift: float = 0.0, units: int = 0, windows: tuple[int, int] = (0, 0)) -> Told:
    rng = RNG(seed)
    a, unit_a, window_a = rows(rng, m, units=units, windows=windows[0])
    b, unit_b, window_b = rows(rng, n, shift, units=units, windows=windows[1])
    unit = None if not units else np.unique(np.append(unit_a, unit_b + units), return_inverse=True)[1]
    window = None
    if windows[1]:
        window = np.append(np.full(m, -1) if window_a is None else window_a, window_b + windows[0])
    return told_apart(np.concatenate([a, b]), np.arange(m + n) >= m, unit=unit, window=window, seed=seed)


# ------------------------------------------------------------------ what it is


def test_of_two_normals_it_comes_near_the_best_that_can_be() -> None:
    """No classifier reaches more than Φ(d/√2) for normals d apart; trees come near it with many rows."""
    told = both(0, 6000, 6000, 0.6)
    best = stats.norm.cdf(0.6 / math.sqrt(2))
    assert best - 0.03 < told.value < best + 0.01
    assert told.rows == (6000, 6000)
    assert told.df == math.inf


def test_value_and_variance_are_those_of_scores_given(monkeypatch: pytest.MonkeyPatch) -> None:
    """With a fixed score the value is a mean of AUCs (scikit-learn's), the variance about Hanley & McNeil's."""
    monkeypatch.setattr(two_sample, "_taught", lambda *given: lambda x: x[:, 0])
    rng = RNG(1)
    x, _, _ = rows(rng, 4000)
    production = np.arange(4000) >= 2000
    x[production, 0] += 0.5
    told = told_apart(x, production)
    cells = two_sample._cells(production, None, None, RNG(0))
    tested = np.concatenate([c for c, _ in cells])
    assert len(tested) == len(set(tested.tolist())) == pytest.approx(0.6 * 4000, abs=20)
    aucs = [roc_auc_score(production[c], x[c, 0]) for c, _ in cells]
    assert told.value == pytest.approx(np.mean(aucs), abs=1e-3)
    shift = 0.5 / math.sqrt(2)
    a = stats.norm.cdf(shift)
    # For two normals P(two of one table both lie right of one of the other) is a bivariate normal probability.
    q = stats.multivariate_normal.cdf([shift, shift], cov=[[1, 0.5], [0.5, 1]])
    assert told.variance == pytest.approx(2 * (q - a**2) / 1200, rel=0.1)


def test_no_row_unit_or_window_is_learnt_from_and_scored_at_once() -> None:
    rng = RNG(2)
    production = np.arange(3000) >= 1500
    unit = rng.integers(300, size=3000)
    window = np.where(production, np.arange(3000) % 12 + 20, np.arange(3000) % 20)
    for cell_unit, cell_window in ((None, None), (unit, None), (None, window), (unit, window)):
        cells = two_sample._cells(production, cell_unit, cell_window, RNG(0))
        assert len(cells) >= 2
        for tested, learnt in cells:
            assert not set(tested) & set(learnt)
            for group in (cell_unit, cell_window):
                assert group is None or not set(group[tested]) & set(group[learnt])
        if cell_window is not None:
            for tested, learnt in cells:
                assert cell_window[learnt][production[learnt]].max() < cell_window[tested][production[tested]].min()


def test_shuffling_names_the_columns_that_changed_together() -> None:
    """Both columns of a correlation that changed, whose own distributions are as before."""
    rng = RNG(3)
    x = rng.normal(size=(4000, 5))
    x[2000:, 1] = 0.8 * x[2000:, 0] + 0.6 * x[2000:, 1]
    told = told_apart(x, np.arange(4000) >= 2000, candidates=range(5))
    sure = {int(c) for c, d, se in zip(told.columns, told.drop, told.drop_se, strict=True) if d > told.critical * se}
    assert sure == {0, 1}
    assert told.excess > 0.05


def test_nothing_is_shuffled_where_nothing_is_told_apart() -> None:
    rng = RNG(4)
    told = told_apart(rng.normal(size=(1000, 3)), np.arange(1000) >= 500, candidates=range(3))
    assert told.columns.size == told.drop.size == 0


def test_missing_values_alone_can_tell_rows_apart() -> None:
    x = RNG(5).normal(size=(2000, 2))
    x[1000::2, 1] = np.nan
    assert told_apart(x, np.arange(2000) >= 1000).value > 0.7


def test_apart_for_good_is_an_auc_of_one_with_an_interval() -> None:
    x = RNG(6).normal(size=(1000, 2))
    x[500:] += 100
    told = told_apart(x, np.arange(1000) >= 500)
    assert told.value == 1
    i = told.interval(0.05, 0.05)
    assert 0.45 < i.low < i.high == 0.5


@pytest.mark.parametrize("windows", [8, 30])
def test_apart_for_good_counts_each_window_once(windows: int) -> None:
    """With not one row in the wrong place nothing shows how alike rows of a window are: a window is as one row."""
    production = np.arange(2700) >= 1500
    window = np.append(np.arange(1500) % windows, windows + np.arange(1200) % windows)
    told = told_apart(production[:, None].astype(float), production, window=window)
    assert told.value == 1.0
    counted = min(told.rows) / told.design
    assert windows / 3 <= counted <= windows
    for alpha in (0.05, 1e-3):
        assert told.interval(alpha, 0.05).low == pytest.approx(alpha ** (1 / counted) - 0.5)


@pytest.mark.parametrize("windows", [8, 30])
def test_nearly_apart_for_good_is_as_sure_as_it_looks(windows: int) -> None:
    """Rounding of ranks that are all alike once made the variance 1e27, and the interval everything."""
    for shift in (6, 50):
        told = both(3, 1500, 1200, shift=shift, windows=(windows, windows))
        assert told.value > 0.99
        assert told.variance < 1e-3
        assert told.interval(0.01, 0.05).low > 0.4


def test_too_few_rows_are_no_number() -> None:
    told = told_apart(np.zeros((30, 1)), np.arange(30) >= 15)
    assert math.isnan(told.value)
    assert told.df == 0


def test_one_window_says_nothing_of_how_windows_differ() -> None:
    x = RNG(7).normal(size=(1200, 2))
    production = np.arange(1200) >= 600
    told = told_apart(x, production, window=np.where(production, np.arange(1200) % 3 + 9, 0))
    assert math.isnan(told.value)
    new = told_apart(x, production, window=np.where(production, np.arange(1200) % 3, -1))
    assert (new.df, new.design) == (math.inf, 1)


def test_an_auc_below_one_half_has_the_high_end_of_one_half() -> None:
    worse, even = (Told(v, 0.001, math.inf, (500, 500)).interval(0.05, 0.05) for v in (0.4, 0.5))
    assert worse.value == pytest.approx(-0.1)
    assert worse.low < -0.1
    assert worse.high == pytest.approx(even.high, rel=0.02)


def test_it_is_the_same_again() -> None:
    one, other = both(8, 400, 300, 0.4), both(8, 400, 300, 0.4)
    assert (one.value, one.variance, one.rows) == (other.value, other.variance, other.rows)


@settings(max_examples=50, deadline=None)
@given(
    value=st.floats(0, 1),
    variance=st.floats(0, 0.01),
    rows=st.tuples(st.integers(20, 10_000), st.integers(20, 10_000)),
    df=st.sampled_from([0.0, 3.0, 20.0, math.inf]),
    alpha=st.floats(1e-6, 0.4),
)
def test_intervals_hold_their_value_and_widen_with_their_sureness(
    value: float, variance: float, rows: tuple[int, int], df: float, alpha: float
) -> None:
    told = Told(value, variance, df, rows)
    narrow, wide = told.interval(alpha, alpha), told.interval(alpha / 10, alpha / 10)
    assert -0.5 <= wide.low <= narrow.low <= told.excess <= narrow.high <= wide.high <= 0.5


def test_rows_needed_decide_with_the_power_promised() -> None:
    told = Told(0.5, 0.0001, math.inf, (2000, 2000))
    needed = told.rows_needed(0.05, 0.05, 10_000)
    assert needed is not None
    # 60 % of 2n rows are scored; the variance of an AUC of one half is (1/m + 1/n) / 12.
    se = math.sqrt(2 / (0.6 * needed) / 12)
    assert (0.05 - stats.norm.isf(0.05) * se) / se == pytest.approx(stats.norm.isf(0.2), abs=0.02)
    assert told.rows_needed(0.001, 0.05, 10_000) is None
    assert Told(0.5, 0.0001, 0.0, (9, 9)).rows_needed(0.05, 0.05, 10_000) is None


# ------------------------------------------------------------------ how often it is wrong


@pytest.mark.parametrize(("m", "n"), [(300, 300), (600, 300)])
def test_without_a_difference_the_low_end_is_above_zero_as_often_as_promised(m: int, n: int) -> None:
    """Cross-validation as usual has √2 times the spread of its DeLong error here; blocks in order do not."""
    repeats, alpha = 40, 0.1
    wrong = [both(seed, m, n).interval(alpha, alpha) for seed in range(repeats)]
    assert np.mean([i.low > 0 for i in wrong]) <= at_most(alpha, repeats)
    assert np.mean([i.high < 0 for i in wrong]) <= at_most(alpha, repeats)
    found = [both(seed, m, n, 1.0).interval(alpha, alpha).low > 0 for seed in range(10)]
    assert np.mean(found) >= at_least(0.9, 10)


@pytest.mark.parametrize("shift", [0.0, 0.6])
@pytest.mark.parametrize(
    ("units", "windows"),
    [(200, (0, 0)), (0, (28, 7)), (200, (28, 9))],
    ids=["unit", "day", "both"],
)
def test_a_fixed_score_has_the_error_promised_with_units_and_days(
    monkeypatch: pytest.MonkeyPatch, shift: float, units: int, windows: tuple[int, int]
) -> None:
    """The variance alone, without the time that learning takes; the truth is the mean over many draws."""
    monkeypatch.setattr(two_sample, "_taught", lambda *given: lambda x: x[:, 0])
    repeats, alpha = 150, 0.05
    told = [both(seed, 1500, 1000, shift, units, windows) for seed in range(repeats)]
    truth = np.mean([t.excess for t in told])
    low = np.mean([t.interval(alpha, alpha).low > truth for t in told])
    high = np.mean([t.interval(alpha, alpha).high < truth for t in told])
    assert max(low, high) <= at_most(alpha, repeats) + 0.02  # the truth is estimated from the same draws


def test_days_with_levels_of_their_own_do_not_tell_the_tables_apart() -> None:
    """Rows taken as independent would be; with whole days held out and counted as days they seldom are."""
    repeats, alpha = 25, 0.05
    by_day = [both(seed, 900, 700, windows=(28, 7)).interval(alpha, alpha).low > 0 for seed in range(repeats)]
    assert np.mean(by_day) <= at_most(alpha, repeats)
    rng = RNG(9)
    naive = []
    for _ in range(10):
        a, _, _ = rows(rng, 900, windows=28)
        b, _, _ = rows(rng, 700, windows=7)
        told = told_apart(np.concatenate([a, b]), np.arange(1600) >= 900)
        naive.append(told.interval(alpha, alpha).low > 0)
    assert np.mean(naive) >= 0.4
