"""Frozen bins: where they are cut, what they leave out, and that they do not depend on the order of rows."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from afterlaunch.profile.bins import BEYOND, LEVELS, MOST_VALUES, TOP, category_bins, numeric_bins, sample_bins
from afterlaunch.profile.types import NumericBins

values = st.lists(st.floats(allow_nan=True, allow_infinity=True), max_size=200)


def test_levels_are_increasing_and_symmetric() -> None:
    assert list(LEVELS) == sorted(set(LEVELS))
    assert [round(1 - level, 9) for level in reversed(LEVELS)] == list(LEVELS)


def test_edges_of_a_continuous_column_are_its_quantiles() -> None:
    x = np.random.default_rng(0).normal(size=10_001)
    bins = numeric_bins(x)
    assert bins is not None
    assert not bins.discrete
    far = len(BEYOND)
    inner = np.array(bins.edges[far:-far])
    below = (x[None] <= inner[:, None]).mean(axis=1)
    assert below == pytest.approx(LEVELS, abs=1.001 / x.size)
    assert bins.edges[:far] == pytest.approx(inner[0] - bins.scale * np.array(BEYOND[::-1]))
    assert bins.edges[-far:] == pytest.approx(inner[-1] + bins.scale * np.array(BEYOND))
    assert (bins.low, bins.high) == (x.min(), x.max())
    assert bins.size == len(LEVELS) + 2 * far + 1


def test_the_scale_is_the_standard_deviation_within_the_outer_edges() -> None:
    x = np.append(np.random.default_rng(1).normal(size=5000), [1e6])  # one wild value
    bins = numeric_bins(x)
    assert bins is not None
    assert bins.scale == pytest.approx(np.clip(x, *np.quantile(x, [LEVELS[0], LEVELS[-1]])).std(), rel=1e-3)
    assert bins.scale < 1.1
    assert bins.high == 1e6


@pytest.mark.parametrize("distinct", [1, 2, len(LEVELS)])
def test_a_column_of_few_values_has_a_bin_for_each_and_for_each_gap(distinct: int) -> None:
    bins = numeric_bins([*range(distinct)] * 7)
    assert bins is not None
    assert bins.discrete

    def bin_of(x: float) -> int:
        return int(np.searchsorted(bins.edges, x))

    seen = [bin_of(x) for x in range(distinct)]
    between = [bin_of(x - 0.5) for x in range(distinct + 1)]
    assert len({*seen, *between}) == 2 * distinct + 1
    assert sorted([*seen, *between]) == [j for pair in zip(between, [*seen, 99], strict=True) for j in pair][:-1]


def test_one_value_more_makes_it_continuous() -> None:
    bins = numeric_bins([*range(len(LEVELS) + 1)] * 7)
    assert bins is not None
    assert not bins.discrete


@given(values)
def test_edges_increase_and_hold_the_values_of_the_column(drawn: list[float]) -> None:
    bins = numeric_bins(drawn)
    finite = [x for x in drawn if np.isfinite(x)]
    if not finite:
        assert bins is None
        return
    assert bins is not None
    assert all(a < b for a, b in zip(bins.edges, bins.edges[1:], strict=False))
    assert np.isfinite(bins.edges).all()
    assert bins.edges[0] <= bins.high
    if bins.discrete:
        assert set(finite) <= set(bins.edges)
    assert (bins.low, bins.high) == (min(finite), max(finite))
    assert np.isfinite(bins.scale)
    assert bins.scale >= 0
    shuffled = np.random.default_rng(len(drawn)).permutation(np.array(drawn))
    assert numeric_bins(shuffled) == bins


@given(st.lists(st.integers(-1000, 1000), min_size=1, max_size=100), st.integers(-(10**6), 10**6))
def test_a_shift_of_the_column_shifts_its_bins(drawn: list[int], shift: int) -> None:
    bins, moved = numeric_bins(drawn), numeric_bins([x + shift for x in drawn])
    assert bins is not None
    assert moved is not None
    assert (bins.discrete, bins.low + shift) == (moved.discrete, moved.low)
    assert moved.edges == pytest.approx([e + shift for e in bins.edges], rel=1e-9, abs=1e-6)
    assert moved.scale == pytest.approx(bins.scale, rel=1e-6, abs=1e-6)


@pytest.mark.parametrize("empty", [[], [np.nan], [np.inf, -np.inf], [np.nan, np.inf]])
def test_no_finite_value_gives_no_bins(empty: list[float]) -> None:
    assert numeric_bins(empty) is None


def test_a_constant_column_has_no_scale() -> None:
    bins = numeric_bins([7.0] * 10)
    assert bins is not None
    assert (bins.edges, bins.scale, bins.discrete) == ((np.nextafter(7.0, 0), 7.0), 0.0, True)


def test_the_largest_numbers_do_not_overflow() -> None:
    bins = numeric_bins([-1.7e308, 1.7e308, 0.0] * 3)
    assert bins is not None
    assert np.isfinite(bins.scale)
    assert bins.scale > 1e307


def test_only_numeric_columns_are_binned_from_a_sample() -> None:
    sample = pl.DataFrame({"a": [1, 2, None], "c": ["x", "y", None]})
    bins = sample_bins(sample, {"a": "numeric", "c": "category", "gone": "numeric"})
    assert set(bins) == {"a"}
    assert isinstance(bins["a"], NumericBins)
    assert (bins["a"].low, bins["a"].high) == (1, 2)


# ------------------------------------------------------------------ categories


def test_the_most_frequent_category_comes_first_and_ties_by_text() -> None:
    bins = category_bins(["b", "a", "c"], [3, 3, 9], distinct=3, singletons=0)
    assert bins.values == ("c", "a", "b")
    assert bins.complete
    assert bins.size == 4


def test_a_column_of_very_many_values_keeps_the_top_ones() -> None:
    names, counts = [f"v{i:05}" for i in range(MOST_VALUES + 1)], [*range(MOST_VALUES + 1, 0, -1)]
    bins = category_bins(names, counts, distinct=10**6, singletons=5)
    assert not bins.complete
    assert bins.values == tuple(names[:TOP])
    assert (bins.distinct, bins.singletons) == (10**6, 5)
    whole = category_bins(names[:MOST_VALUES], counts[:MOST_VALUES], distinct=MOST_VALUES, singletons=0)
    assert whole.complete
    assert len(whole.values) == MOST_VALUES


@given(st.dictionaries(st.text(max_size=5), st.integers(1, 50), max_size=30))
def test_categories_do_not_depend_on_their_order(drawn: dict[str, int]) -> None:
    items = list(drawn.items())
    once = sum(n == 1 for n in drawn.values())
    one, two = (category_bins([v for v, _ in x], [n for _, n in x], len(drawn), once) for x in (items, items[::-1]))
    assert one == two
    assert set(one.values) == set(drawn)
