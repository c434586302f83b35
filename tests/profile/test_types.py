"""Counts that add up, and counts that must not be added."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from afterlaunch.profile.types import (
    NAMES_KEPT,
    CategoryBins,
    ColumnCounts,
    MetricCounts,
    NumericBins,
    Profile,
)

NUMERIC = NumericBins((0.0, 1.0), True, 0.0, 1.0, 0.5)
CATEGORY = CategoryBins(("a", "b"), True, 0, 2)


def column(counts: list[list[int]], **more: Any) -> ColumnCounts:
    array = np.array(counts, dtype=np.int64)
    zero = np.zeros(len(array), dtype=np.int64)
    fields: dict[str, Any] = {
        "name": "x",
        "kind": "numeric",
        "bins": NUMERIC,
        "counts": array,
        "missing": zero + 1,
        "infinite": zero,
        "below": zero,
        "above": zero,
        "low": 0.0,
        "high": 1.0,
    }
    return ColumnCounts(**{**fields, **more})


def profile(**more: Any) -> Profile:
    fields: dict[str, Any] = {
        "scheme": "rows",
        "rows": np.array([7]),
        "columns": {"x": column([[1, 2, 3]])},
        "kinds": {"x": "numeric"},
    }
    return Profile(**{**fields, **more})


def test_a_bin_more_than_edges_or_values() -> None:
    assert (NUMERIC.size, CATEGORY.size) == (3, 3)


def test_rows_are_those_with_and_without_a_value() -> None:
    x = column([[1, 2, 3], [0, 0, 4]])
    assert (x.valid, x.rows) == (10, 12)


def test_columns_add_up() -> None:
    total = column([[1, 2, 3]], low=None, others={"z": 1}) + column(
        [[4, 0, 1]], low=-2.0, high=9.0, others={"z": 2, "w": 1}
    )
    assert total.counts.tolist() == [[5, 2, 4]]
    assert total.missing.tolist() == [2]
    assert (total.low, total.high) == (-2.0, 9.0)
    assert total.others == {"z": 3, "w": 1}


def test_very_many_other_names_are_dropped_and_stay_dropped() -> None:
    half = NAMES_KEPT // 2 + 1
    a = column([[1, 2, 3]], others={f"a{i}": 1 for i in range(half)})
    b = column([[1, 2, 3]], others={f"b{i}": 1 for i in range(half)})
    assert (a + b).others is None
    assert (a + b + a).others is None
    assert (a + a).others == dict.fromkeys(a.others or {}, 2)


@pytest.mark.parametrize(
    "change", [{"name": "y"}, {"kind": "category", "bins": CATEGORY}, {"bins": replace(NUMERIC, high=2.0)}]
)
def test_columns_counted_otherwise_do_not_add_up(change: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="count one of them again"):
        column([[1, 2, 3]]) + column([[1, 2, 3]], **change)


def test_profiles_of_different_schemes_never_merge() -> None:
    with pytest.raises(ValueError, match="'rows' and 'al64-1'; count one of them again"):
        profile() + profile(scheme="al64-1")


@pytest.mark.parametrize("kinds", [{"x": "category"}, {"x": "numeric", "y": "numeric"}, {}])
def test_profiles_of_other_columns_never_merge(kinds: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="different columns or kinds"):
        profile() + profile(kinds=kinds)


def test_a_profile_knows_its_rows_and_whether_they_come_in_units() -> None:
    assert profile().total == 7
    assert not profile().clustered
    assert profile(rows=np.ones(64, dtype=int)).clustered


def test_equality_is_of_every_count() -> None:
    assert column([[1, 2, 3]]) == column([[1, 2, 3]])
    assert column([[1, 2, 3]]) != column([[1, 2, 4]])
    assert column([[1, 2, 3]]) != column([[1, 2, 3]], high=2.0)
    assert column([[1, 2, 3]]) != "x"
    with pytest.raises(TypeError, match="unhashable"):
        hash(column([[1, 2, 3]]))


cells = st.lists(st.integers(0, 10**9), min_size=3, max_size=3)


@given(cells, cells, cells)
def test_adding_columns_is_adding_integers_in_any_order(a: list[int], b: list[int], c: list[int]) -> None:
    x, y, z = column([a]), column([b]), column([c])
    assert (x + y) + z == x + (y + z) == z + (y + x)


# ------------------------------------------------------------------ metrics


def metric(**more: Any) -> MetricCounts:
    return MetricCounts(**{"rows": np.array([3]), "unmatched": np.array([1]), "without_outcome": np.array([1]), **more})


def test_metrics_add_up_also_where_one_table_lacks_a_part() -> None:
    full = metric(
        moments={"brier": np.array([[3.0, 0.5]])},
        class_rows=np.array([[1, 2]]),
        histogram=np.ones((1, 2, 4)),
        classes=("0", "1"),
        knots=(0.5,),
    )
    bare = metric(classes=("0", "1"), knots=(0.5,), moments={"mae": np.array([[3.0, 1.0]])})
    for total in (full + bare, bare + full):
        assert total.moments["brier"].tolist() == [[3.0, 0.5]]
        assert total.moments["mae"].tolist() == [[3.0, 1.0]]
        assert total.class_rows is not None
        assert total.class_rows.tolist() == [[1, 2]]
        assert total.confusion is None
        assert total.total == 8
    assert full + bare == bare + full
    assert full != bare
    assert full != 1


@pytest.mark.parametrize("change", [{"classes": ("0", "1")}, {"knots": (0.5,)}])
def test_metrics_in_other_classes_or_bins_do_not_add_up(change: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="count one of them again"):
        metric() + metric(**change)
