"""The delete-one-group jackknife, against brute force, a textbook example and the usual standard error."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy import stats

from afterlaunch.stats.resampling import Jackknifed, degrees, deviations, jackknife, pooled_degrees
from tests.simulation import at_least, at_most

Floats = NDArray[np.float64]

LSAT = np.array([576, 635, 558, 578, 666, 580, 555, 661, 651, 605, 653, 575, 545, 572, 594.0])
GPA = np.array([3.39, 3.30, 2.81, 3.03, 3.44, 3.07, 3.00, 3.43, 3.36, 3.13, 3.12, 2.74, 2.76, 2.88, 2.96])


def ratio(total: Floats, rows: Floats) -> Floats:
    with np.errstate(invalid="ignore", divide="ignore"):
        out: Floats = total / rows
    return out


def correlation(sums: Floats) -> Floats:
    n, x, y, xx, yy, xy = np.moveaxis(sums, -1, 0)
    out: Floats = (xy - x * y / n) / np.sqrt((xx - x * x / n) * (yy - y * y / n))
    return out


def by_hand(total: Floats, rows: Floats) -> float:
    """Variance of a ratio by Tukey's formula, one group at a time."""
    without = [(total.sum() - x) / (rows.sum() - n) for x, n in zip(total, rows, strict=True)]
    mean = sum(without) / len(without)
    return float((len(without) - 1) / len(without)) * sum((w - mean) ** 2 for w in without)


groups = st.lists(st.tuples(st.integers(-1000, 1000), st.integers(1, 50)), min_size=3, max_size=30)


def test_the_mean_has_its_usual_standard_error() -> None:
    x = np.random.default_rng(0).normal(size=40)
    j = jackknife(ratio, x, np.ones(40), size=np.ones(40))
    assert j.value[0] == pytest.approx(x.mean(), abs=1e-12)
    assert j.se[0] == pytest.approx(x.std(ddof=1) / 40**0.5, rel=1e-9)
    assert (j.df, j.groups) == (pytest.approx(39), 40)


def test_the_law_schools_of_efron_and_tibshirani() -> None:
    """Correlation .776 with a jackknife standard error of .1425 (the law school data of Efron 1979 and 1982)."""
    sums = np.stack([np.ones(15), LSAT, GPA, LSAT**2, GPA**2, LSAT * GPA], axis=1)
    j = jackknife(correlation, sums, size=np.ones(15))
    assert round(float(j.value[0]), 3) == 0.776
    assert round(float(j.se[0]), 4) == 0.1425


@given(groups)
def test_groups_of_unequal_size_as_worked_out_one_by_one(drawn: list[tuple[int, int]]) -> None:
    total, rows = (np.array(x, dtype=float) for x in zip(*drawn, strict=True))
    j = jackknife(ratio, total, rows, size=rows)
    assert j.covariance[0, 0] == pytest.approx(by_hand(total, rows), rel=1e-6, abs=1e-9)


@given(groups)
def test_order_and_empty_groups_do_not_matter(drawn: list[tuple[int, int]]) -> None:
    total, rows = (np.array(x, dtype=float) for x in zip(*drawn, strict=True))
    j = jackknife(ratio, total, rows, size=rows)
    order = np.random.default_rng(len(drawn)).permutation(len(drawn))
    padded = [np.append(x[order], [0.0, 0.0]) for x in (total, rows)]
    again = jackknife(ratio, *padded, size=padded[1])
    assert again.covariance == pytest.approx(j.covariance, rel=1e-9, abs=1e-12)
    assert (again.groups, again.df) == (j.groups, pytest.approx(j.df))


@given(groups, st.floats(0.01, 100), st.floats(-100, 100))
def test_scale_and_shift(drawn: list[tuple[int, int]], scale: float, shift: float) -> None:
    total, rows = (np.array(x, dtype=float) for x in zip(*drawn, strict=True))
    j = jackknife(ratio, total, rows, size=rows)
    moved = jackknife(ratio, scale * total + shift * rows, rows, size=rows)
    assert moved.se[0] == pytest.approx(scale * j.se[0], rel=1e-6, abs=1e-6 * (1 + abs(shift)))
    assert j.covariance == pytest.approx(j.covariance.T)
    assert float(np.linalg.eigvalsh(j.covariance).min()) >= -1e-12


def test_several_statistics_at_once_give_their_covariance() -> None:
    rng = np.random.default_rng(1)
    x, y = rng.normal(size=(2, 200)) @ np.eye(200)
    y = y + x
    both = jackknife(lambda a, b, n: np.stack([a / n, b / n], axis=-1), x, y, np.ones(200), size=np.ones(200))
    assert both.covariance == pytest.approx(np.cov(x, y) / 200, rel=1e-9)


@pytest.mark.parametrize(("sizes", "df"), [((1.0,) * 64, 63.0), ((1.0,) * 30 + (30.0,), 3.0), ((99.0, 1.0), 1.0)])
def test_one_large_group_leaves_few_degrees_of_freedom(sizes: tuple[float, ...], df: float) -> None:
    size = np.array(sizes)
    j = jackknife(ratio, np.arange(len(size)) * size, size, size=size)
    assert j.df <= df + 0.1
    assert j.df >= 1


def test_a_group_without_which_nothing_is_defined_is_left_out() -> None:
    total, rows = np.array([1.0, 2.0, 3.0, 0.0]), np.array([2.0, 3.0, 4.0, 0.0])
    other = np.array([0.0, 0.0, 5.0, 0.0])
    j = jackknife(lambda a, b, c: ratio(a, c) / b, total, rows, other, size=np.ones(4))
    assert j.groups == 3
    assert np.isfinite(j.covariance).all()


@pytest.mark.parametrize("size", [[], [5.0], [0.0, 0.0, 5.0]])
def test_fewer_than_two_groups_say_nothing(size: list[float]) -> None:
    x = np.ones(len(size))
    j = jackknife(ratio, x, np.array(size) + 0.0, size=np.array(size))
    assert isinstance(j, Jackknifed)
    assert j.df == 0
    assert np.isnan(j.covariance).all()


@given(st.lists(st.tuples(st.integers(0, 9), st.integers(0, 9), st.integers(0, 9)), min_size=2, max_size=20))
def test_deviations_of_shares_are_those_of_deleting_each_group(drawn: list[tuple[int, int, int]]) -> None:
    counts = np.array(drawn, dtype=float)
    rows = counts.sum(axis=1)
    off = deviations(counts, rows)
    if rows.max() == rows.sum():
        assert not off.any()  # one group holds every row, or there is none
        return
    share = counts.sum(axis=0) / rows.sum()
    for g in range(len(counts)):
        without = (counts.sum(axis=0) - counts[g]) / (rows.sum() - rows[g])
        assert off[g] == pytest.approx(share - without, abs=1e-12)
    assert off.sum(axis=1) == pytest.approx(np.zeros(len(counts)), abs=1e-12)


@given(st.lists(st.floats(0.1, 100), min_size=1, max_size=40))
def test_degrees_of_freedom_are_those_of_the_groups_and_fewer_where_one_is_large(sizes: list[float]) -> None:
    df = degrees(np.array(sizes))
    assert 1 <= df <= max(1, len(sizes) - 1) + 1e-9
    assert degrees(np.array(sizes) * 7) == pytest.approx(df)
    assert degrees(np.array([*sizes, 0.0])) == pytest.approx(df)
    assert degrees(np.full(len(sizes), 3.0)) == pytest.approx(max(1, len(sizes) - 1))


@given(st.lists(st.floats(-9, 9), min_size=3, max_size=15), st.lists(st.floats(-9, 9), min_size=3, max_size=15))
def test_pooled_degrees_of_freedom_are_welch_s(x: list[float], y: list[float]) -> None:
    """Of the unpaired t test with unequal variances, by SciPy."""
    variances = float(np.var(x, ddof=1)) / len(x), float(np.var(y, ddof=1)) / len(y)
    if min(variances) > 1e-6:
        expected = stats.ttest_ind(x, y, equal_var=False).df
        assert pooled_degrees(variances, (len(x) - 1, len(y) - 1)) == pytest.approx(expected)
    assert pooled_degrees((0.0, 0.0), (5, 3)) == 3


def test_tables_grouped_differently_are_refused() -> None:
    with pytest.raises(ValueError, match="different numbers of groups"):
        jackknife(ratio, np.ones(3), np.ones(4), size=np.ones(3))


def test_coverage_of_a_ratio_of_dependent_rows() -> None:
    """Ends of the 95 % t interval each miss 2.5 % of the time; the interval for independent rows misses far more."""
    rng, repeats, units = np.random.default_rng(2), 2000, 64
    rows = rng.integers(1, 20, size=(repeats, units)).astype(float)
    p = rng.beta(2, 6, size=(repeats, units))  # correlation of 1/9 within a unit
    hits = rng.binomial(rows.astype(int), p).astype(float)
    t, low, high, naive = 1.998, 0, 0, 0
    for x, n in zip(hits, rows, strict=True):
        j = jackknife(ratio, x, n, size=n)
        value, se = float(j.value[0]), float(j.se[0])
        low += value - t * se > 0.25
        high += value + t * se < 0.25
        naive += abs(value - 0.25) > 1.96 * (value * (1 - value) / n.sum()) ** 0.5
    assert low / repeats <= at_most(0.025 + 0.02, repeats)
    assert high / repeats <= at_most(0.025 + 0.02, repeats)
    assert (low + high) / repeats >= at_least(0.03, repeats)
    assert naive / repeats > 0.1
