"""Counting: against plain Polars, the same on every engine, and the parts add up to the whole."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from afterlaunch.profile import count
from afterlaunch.profile.bins import MOST_VALUES, TOP
from afterlaunch.profile.buckets import SCHEME
from afterlaunch.profile.count import Source, profile_reference, profile_table
from afterlaunch.profile.types import NAMES_KEPT, CategoryBins, ColumnCounts, NumericBins, Profile
from afterlaunch.tables import fetch_all, open_table
from tests.frames import handed_in, mixed

COLUMNS = ("age", "amount", "visits", "member", "colour", "town", "seen", "constant", "nothing")


def source(table: Any, bucket: str | None = None) -> Source:
    opened = open_table(table, name="log")

    def fetch(frames: Sequence[Any]) -> list[pl.DataFrame]:
        return fetch_all(frames, opened)

    return Source(opened.frame, opened.kinds, fetch, bucket, rows=opened.rows())


def counted(reference: pl.DataFrame, table: Any, bucket: str | None = None) -> Profile:
    """The table counted in the bins of the reference."""
    columns = [c for c in reference.columns if c != bucket]
    own = profile_reference(source(reference, bucket), reference, columns)
    return profile_table(source(table, bucket), {n: c.bins for n, c in own.columns.items()}, columns)


def same(a: Profile, b: Profile) -> None:
    assert a.scheme == b.scheme
    assert a.rows.tolist() == b.rows.tolist()
    assert a.kinds == b.kinds
    assert dict(a.columns) == dict(b.columns)


# ------------------------------------------------------------------ oracle: plain Polars, value by value


def numeric_by_hand(values: list[float | None], bins: NumericBins) -> dict[str, Any]:
    valid = np.array([v for v in values if v is not None and not np.isnan(v)])
    finite = valid[np.isfinite(valid)]
    place = np.searchsorted(np.array(bins.edges), valid, side="left")
    return {
        "counts": np.bincount(place, minlength=bins.size).tolist(),
        "missing": len(values) - len(valid),
        "infinite": len(valid) - len(finite),
        "below": int((valid < bins.low).sum()),
        "above": int((valid > bins.high).sum()),
        "low": min(finite, default=None),
        "high": max(finite, default=None),
    }


def shown(counts: ColumnCounts) -> dict[str, Any]:
    sums = {k: int(getattr(counts, k).sum()) for k in ("missing", "infinite", "below", "above")}
    return {"counts": counts.counts.sum(axis=0).tolist(), **sums, "low": counts.low, "high": counts.high}


@pytest.mark.parametrize("bucket", [None, "group"])
@pytest.mark.parametrize("column", ["age", "amount", "visits", "constant", "p"])
def test_numbers_are_counted_as_numpy_counts_them(column: str, bucket: str | None) -> None:
    before, now = mixed(900, 0), mixed(700, 1, shift=0.5)
    counts = counted(before, now, bucket).columns[column]
    assert isinstance(counts.bins, NumericBins)
    assert shown(counts) == numeric_by_hand(now[column].to_list(), counts.bins)
    assert counts.rows == 700


@pytest.mark.parametrize("column", ["member", "colour", "town", "country"])
def test_categories_are_counted_as_polars_counts_them(column: str) -> None:
    before, now = mixed(900, 0), mixed(700, 1, shift=0.5)
    counts = counted(before, now).columns[column]
    assert isinstance(counts.bins, CategoryBins)
    text = now[column].cast(pl.String).drop_nulls()
    expected = dict(text.value_counts().iter_rows())
    assert counts.counts[0, :-1].tolist() == [expected.pop(v, 0) for v in counts.bins.values]
    assert counts.others == expected
    assert counts.counts[0, -1] == sum(expected.values())
    assert counts.missing.tolist() == [700 - len(text)]
    frequent = (
        before[column].cast(pl.String).drop_nulls().value_counts().sort(["count", column], descending=[True, False])
    )
    assert counts.bins.values == tuple(frequent[column].to_list())
    assert counts.bins.singletons == int((frequent["count"] == 1).sum())


def test_the_bucket_axis_is_a_count_of_each_bucket_on_its_own() -> None:
    before, now = mixed(900, 0), mixed(700, 1)
    whole = counted(before, now, "group")
    bins = {n: c.bins for n, c in whole.columns.items()}
    assert whole.scheme == SCHEME
    assert whole.rows.tolist() == np.bincount(now["group"], minlength=64).tolist()
    for group in (0, 17, 63):
        rows = now.filter(pl.col("group") == group)
        alone = profile_table(source(rows), bins, list(whole.columns))
        for name, counts in alone.columns.items():
            assert counts.counts[0].tolist() == whole.columns[name].counts[group].tolist()
            assert counts.missing[0] == whole.columns[name].missing[group]
            assert counts.infinite[0] == whole.columns[name].infinite[group]


def test_times_and_columns_without_bins_are_counted_for_missing_values_only() -> None:
    now = mixed(50, 1).with_columns(seen=pl.when(pl.col("age") > 40).then("seen"))
    counts = counted(mixed(100, 0), now).columns
    assert counts["seen"].missing.tolist() == [now["seen"].null_count()]
    assert counts["seen"].counts.shape == (1, 0)
    assert counts["nothing"].bins is None
    assert counts["nothing"].missing.tolist() == [50]


def test_a_column_that_changed_its_kind_is_counted_for_missing_values_only() -> None:
    before = pl.DataFrame({"a": [1.0, 2.0], "b": ["x", "y"]})
    counts = counted(before, pl.DataFrame({"a": ["1", None], "b": [1, 2]})).columns
    assert [counts[c].missing.tolist() for c in "ab"] == [[1], [0]]
    assert [counts[c].valid for c in "ab"] == [0, 0]


def test_columns_that_are_gone_are_left_out() -> None:
    assert set(counted(pl.DataFrame({"a": [1], "b": [2]}), pl.DataFrame({"b": [3]})).columns) == {"b"}


def test_the_reference_s_range_is_that_of_all_its_rows_not_of_the_sample() -> None:
    whole = pl.DataFrame({"a": [*range(100), 10_000]})
    profile = profile_reference(source(whole), whole.head(50), ["a"])
    bins = profile.columns["a"].bins
    assert isinstance(bins, NumericBins)
    assert (bins.low, bins.high) == (0, 10_000)
    assert bins.edges[-1] < 10_000
    assert int(profile.columns["a"].above.sum() + profile.columns["a"].below.sum()) == 0


@pytest.mark.parametrize("bucket", [None, "group"])
def test_no_rows_are_a_profile_of_zeros(bucket: str | None) -> None:
    profile = counted(mixed(100, 0), mixed(100, 0).head(0), bucket)
    assert profile.total == 0
    assert all(c.rows == 0 for c in profile.columns.values())


# ------------------------------------------------------------------ engines


@pytest.mark.parametrize("bucket", [None, "group"])
@pytest.mark.parametrize("engine", ["parquet", "pandas", "pandas-arrow", "pyarrow", "duckdb"])
def test_every_engine_counts_alike(engine: str, bucket: str | None, tmp_path: Path) -> None:
    before, now = mixed(600, 2), mixed(500, 3, shift=0.3)
    columns = [c for c in COLUMNS if c != bucket]
    expected = profile_reference(source(before, bucket), before, columns)
    bins = {n: c.bins for n, c in expected.columns.items()}
    with handed_in(engine, tmp_path, before=before, now=now) as given_tables:
        here = source(given_tables["before"], bucket)
        sample = fetch_all([here.frame.select(*[c for c, k in here.kinds.items() if k == "numeric"])])[0]
        same(profile_reference(here, sample, columns), expected)
        same(
            profile_table(source(given_tables["now"], bucket), bins, columns),
            profile_table(source(now, bucket), bins, columns),
        )


# ------------------------------------------------------------------ long and wide


@pytest.mark.parametrize("bucket", [None, "group"])
@pytest.mark.parametrize("limit", ["EXPRESSIONS", "CELLS", "HELD_CELLS", "LEAST_COLUMNS"])
def test_a_table_asked_a_few_columns_at_a_time_is_the_same_table(
    limit: str, bucket: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    before, now = mixed(300, 0), mixed(200, 1)
    whole = counted(before, now, bucket)
    monkeypatch.setattr(count, limit, 1)
    monkeypatch.setattr(count, "CELLS", min(count.CELLS, 10_000))
    same(counted(before, now, bucket), whole)


def many_values(rows: int, start: int) -> pl.DataFrame:
    names = [f"v{i % 700 if i % 2 else i}" for i in range(start, start + rows)]
    return pl.DataFrame({"v": names, "group": [i % 64 for i in range(rows)]})


@pytest.mark.parametrize("bucket", [None, "group"])
def test_a_category_of_very_many_values_is_counted_in_its_most_frequent_ones(bucket: str | None) -> None:
    before, now = many_values(6000, 0), many_values(1500, 5000)
    counts = counted(before, now, bucket).columns["v"]
    assert isinstance(counts.bins, CategoryBins)
    frequent = before["v"].value_counts().sort(["count", "v"], descending=[True, False])
    assert frequent.height > MOST_VALUES
    assert not counts.bins.complete
    assert counts.bins.values == tuple(frequent["v"].head(TOP))
    assert counts.bins.distinct == frequent.height
    inside = now["v"].is_in(list(counts.bins.values))
    assert counts.counts[:, :-1].sum() == inside.sum()
    assert counts.counts[:, -1].sum() == (~inside).sum()
    assert counts.others is None or counts.others == dict(now["v"].filter(~inside).value_counts().iter_rows())
    assert counts.rows == now.height


@pytest.mark.parametrize("bucket", [None, "group"])
def test_values_outside_the_list_are_named_up_to_a_limit(bucket: str | None) -> None:
    before = pl.DataFrame({"v": ["a", "b"] * 50, "group": [0, 1] * 50})

    def others(names: int) -> Any:
        now = pl.DataFrame({"v": [f"new {i}" for i in range(names)], "group": [i % 64 for i in range(names)]})
        return counted(before, now, bucket).columns["v"].others

    assert others(NAMES_KEPT) == {f"new {i}": 1 for i in range(NAMES_KEPT)}
    assert others(NAMES_KEPT + 1) is None


@pytest.mark.parametrize("bucket", [None, "group"])
def test_a_column_with_more_groups_than_are_fetched_is_counted_by_the_engine(
    bucket: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    before, now = mixed(300, 0), mixed(300, 1)
    whole = counted(before, now, bucket)
    monkeypatch.setattr(count, "ROWS_FETCHED", 3)
    same(counted(before, now, bucket), whole)


# ------------------------------------------------------------------ parts and the whole

numbers = st.none() | st.floats(allow_nan=True, allow_infinity=True, width=32)
words = st.none() | st.sampled_from(["a", "b", "c", "new", "", " ", "ü"])


@st.composite
def frames(draw: st.DrawFn) -> pl.DataFrame:
    rows = draw(st.integers(0, 30))

    def column(values: st.SearchStrategy[Any]) -> list[Any]:
        return draw(st.lists(values, min_size=rows, max_size=rows))

    return pl.DataFrame(
        {
            "x": column(numbers),
            "i": column(st.none() | st.integers(-5, 5)),
            "w": column(words),
            "b": column(st.none() | st.booleans()),
            "group": column(st.integers(0, 63)),
        },
        schema={"x": pl.Float64, "i": pl.Int64, "w": pl.String, "b": pl.Boolean, "group": pl.Int64},
    )


@pytest.mark.parametrize("bucket", [None, "group"])
@settings(suppress_health_check=[HealthCheck.too_slow], max_examples=40)
@given(reference=frames(), a=frames(), b=frames())
def test_the_profiles_of_two_tables_add_up_to_that_of_both(
    bucket: str | None, reference: pl.DataFrame, a: pl.DataFrame, b: pl.DataFrame
) -> None:
    columns = ["x", "i", "w", "b"]
    own = profile_reference(source(reference, bucket), reference, columns)
    bins = {n: c.bins for n, c in own.columns.items()}
    parts = [profile_table(source(t, bucket), bins, columns) for t in (a, b, pl.concat([a, b]))]
    total = parts[0] + parts[1]
    same(total, parts[2])
    assert all(c.counts.dtype == np.int64 for c in total.columns.values())
    same(parts[1] + parts[0], parts[2])


def test_a_year_is_the_sum_of_its_days() -> None:
    before, days = mixed(400, 0), [mixed(30 + i, i) for i in range(12)]
    total = counted(before, days[0], "group")
    for day in days[1:]:
        total = total + counted(before, day, "group")
    same(total, counted(before, pl.concat(days), "group"))
