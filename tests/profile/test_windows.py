"""Windows are counted as `profile_table` counts each of them alone, on every engine and by segment."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from afterlaunch.decide import InputError
from afterlaunch.profile import histograms, windows
from afterlaunch.profile.bins import MOST_VALUES
from afterlaunch.profile.count import Source, profile_reference, profile_table
from afterlaunch.profile.types import NAMES_KEPT, Bins, Timeline
from afterlaunch.profile.windows import count_windows
from afterlaunch.tables import Cut, cut, fetch_all, open_table, parse_every
from afterlaunch.tables.table import Table
from afterlaunch.watch import Window
from tests.frames import handed_in, mixed

COLUMNS = ("age", "amount", "visits", "member", "colour", "town", "seen", "constant", "nothing")


def source(table: Table) -> Source:
    def fetch(frames: Sequence[Any]) -> list[pl.DataFrame]:
        return fetch_all(frames, table)

    return Source(table.frame, table.kinds, fetch, rows=table.rows())


def bins_of(reference: pl.DataFrame, columns: Sequence[str] = COLUMNS) -> dict[str, Bins | None]:
    own = profile_reference(source(open_table(reference, name="reference")), reference, columns)
    return {n: c.bins for n, c in own.columns.items()}


def counted(found: Cut, bins: dict[str, Bins | None], columns: Sequence[str] = COLUMNS, **more: Any) -> Timeline:
    every = found.every.text
    return count_windows(source(found.table), bins, columns, found.column, found.windows, every=every, **more)


def cut_days(frame: Any, every: str = "1d") -> Cut:
    return cut(open_table(frame, name="log"), parse_every(every), time="seen")


def alone(frame: pl.DataFrame, place: list[int | None], bins: dict[str, Bins | None], timeline: Timeline) -> None:
    """Every window of a timeline against the rows of it alone."""
    names = list(timeline.columns)
    assert [w.rows for w in timeline.windows] == timeline.rows.tolist()
    for i in range(len(timeline.windows)):
        rows = frame.filter(pl.Series([p == i for p in place], dtype=pl.Boolean))
        assert timeline.rows[i] == rows.height
        profile = profile_table(source(open_table(rows, name="log")), bins, names)
        for name, expected in profile.columns.items():
            found = timeline.columns[name]
            assert found.kind == expected.kind
            assert found.bins == expected.bins
            assert found.counts[i].tolist() == expected.counts[0].tolist(), name
            for part in ("missing", "infinite", "below", "above"):
                assert getattr(found, part)[i] == getattr(expected, part)[0], (name, part)
    inside = frame.filter(pl.Series([p is not None for p in place], dtype=pl.Boolean))
    whole = profile_table(source(open_table(inside, name="log")), bins, names)
    assert {n: c.others for n, c in timeline.columns.items()} == {n: c.others for n, c in whole.columns.items()}


def same(a: Timeline, b: Timeline) -> None:
    assert (a.every, a.windows, a.rows.tolist()) == (b.every, b.windows, b.rows.tolist())
    assert list(a.columns) == list(b.columns)
    for name, mine in a.columns.items():
        theirs = b.columns[name]
        assert (mine.name, mine.kind, mine.bins, mine.others) == (theirs.name, theirs.kind, theirs.bins, theirs.others)
        for part in ("counts", "missing", "infinite", "below", "above"):
            assert getattr(mine, part).tolist() == getattr(theirs, part).tolist(), (name, part)
            assert getattr(mine, part).dtype == np.int64
    assert list(a.segments) == list(b.segments)
    for value, segment in a.segments.items():
        same(segment, b.segments[value])


def test_every_window_is_counted_as_it_is_alone() -> None:
    log = mixed(900, 1, shift=0.4).with_columns(seen=pl.when(pl.col("age") > 20).then("seen"))
    bins = bins_of(mixed(600, 0))
    found = cut_days(log)
    timeline = counted(found, bins)
    assert list(timeline.columns) == list(COLUMNS)
    place = fetch_all([found.table.frame.select(found.column)])[0][found.column].to_list()
    assert None in place
    alone(log, place, bins, timeline)


def test_segments_are_counted_as_tables_of_their_own() -> None:
    log, bins = mixed(900, 1, shift=0.4), bins_of(mixed(600, 0))
    log = log.with_columns(country=pl.when(pl.col("visits") != 2).then("country"))
    found = cut_days(log)
    timeline = counted(found, bins, segment="country", segments=["DE", "AT", "FR"])
    assert list(timeline.segments) == ["DE", "AT", "FR"]
    assert timeline.segments["AT"].rows.sum() == 0
    place = fetch_all([found.table.frame.select(found.column)])[0][found.column].to_list()
    for value in ("DE", "FR"):
        mask = (log["country"] == value).fill_null(False).to_list()
        alone(log.filter(mask), [p for p, m in zip(place, mask, strict=True) if m], bins, timeline.segments[value])
    same(replace(timeline, segments={}), counted(found, bins))


@pytest.mark.parametrize("engine", ["parquet", "pandas", "pyarrow", "duckdb"])
def test_every_engine_counts_alike(engine: str, tmp_path: Path) -> None:
    log, bins = mixed(500, 1, shift=0.4), bins_of(mixed(600, 0))
    expected = counted(cut_days(log), bins, segment="country", segments=["DE", "IT"])
    with handed_in(engine, tmp_path, log=log) as tables:
        same(counted(cut_days(tables["log"]), bins, segment="country", segments=["DE", "IT"]), expected)
        rows = counted(cut_days(tables["log"], "70 rows"), bins)
        same(rows, counted(cut_days(log, "70 rows"), bins))


def test_columns_that_changed_are_counted_for_missing_values_and_gone_ones_left_out() -> None:
    bins = bins_of(pl.DataFrame({"a": [1.0, 2.0], "b": ["x", "y"], "c": [1, 2]}), ["a", "b", "c"])
    log = pl.DataFrame({"a": ["1", None, "2"], "b": [1, 2, None]})
    found = cut(open_table(log, name="log"), parse_every("2 rows"), time=None)
    timeline = counted(found, bins, ["a", "b", "c"])
    assert {n: c.missing.tolist() for n, c in timeline.columns.items()} == {"a": [1, 0], "b": [0, 1]}
    assert all(c.bins is None and c.counts.shape == (2, 0) for c in timeline.columns.values())


def test_no_rows_and_no_columns() -> None:
    bins = bins_of(mixed(50, 0))
    empty = counted(cut_days(mixed(50, 0).head(0)), bins)
    assert empty.windows == ()
    assert all(c.counts.shape[0] == 0 for c in empty.columns.values())
    found = cut_days(mixed(50, 0))
    assert counted(found, {}, []).rows.tolist() == [w.rows for w in found.windows]
    lost = mixed(50, 0).with_columns(seen=pl.lit(None, dtype=pl.Datetime("us")))
    assert counted(cut_days(lost), bins).rows.tolist() == []


def test_a_log_read_in_parts_is_the_same_log(monkeypatch: pytest.MonkeyPatch) -> None:
    log, bins = mixed(900, 1, shift=0.4), bins_of(mixed(600, 0))
    expected = counted(cut_days(log), bins, segment="country", segments=["DE"])
    for name, value in {"HELD": 1, "STEP": 64, "LONG_STEP": 256, "ROWS_OF_PASS": 200, "THREADS": 1}.items():
        monkeypatch.setattr(histograms, name, value)
        same(counted(cut_days(log), bins, segment="country", segments=["DE"]), expected)


def test_names_outside_the_list_are_kept_up_to_a_limit() -> None:
    bins = bins_of(pl.DataFrame({"v": ["a", "b"] * 50}), ["v"])
    for names in (NAMES_KEPT, NAMES_KEPT + 1):
        log = pl.DataFrame({"v": [f"new {i}" for i in range(names)], "part": [i % 2 for i in range(names)]})
        found = cut(open_table(log, name="log"), parse_every("100 rows"), time=None)
        timeline = counted(found, bins, ["v"], segment="part", segments=["0"])
        expected = {f"new {i}": 1 for i in range(names)} if names == NAMES_KEPT else None
        assert timeline.columns["v"].others == expected
        assert len(timeline.segments["0"].columns["v"].others or {}) == (names + 1) // 2
        assert timeline.columns["v"].counts[:, -1].sum() == names


def test_a_category_of_very_many_values() -> None:
    reference = pl.DataFrame({"v": [f"v{i % 3000 if i % 2 else i % 7}" for i in range(9000)]})
    bins = bins_of(reference, ["v"])
    assert reference["v"].n_unique() > MOST_VALUES
    found = cut(open_table(reference, name="log"), parse_every("1000 rows"), time=None)
    alone(reference, [i // 1000 for i in range(9000)], bins, counted(found, bins, ["v"]))


def test_a_category_that_had_no_value_in_the_reference(tmp_path: Path) -> None:
    bins = bins_of(pl.DataFrame({"v": [None, None]}, schema={"v": pl.String}), ["v"])
    log = pl.DataFrame({"v": ["a", None, "a", "b"]})
    for engine in ("polars", "duckdb"):
        with handed_in(engine, tmp_path, log=log) as tables:
            found = cut(open_table(tables["log"], name="log"), parse_every("2 rows"), time=None)
            counts = counted(found, bins, ["v"]).columns["v"]
            assert (counts.counts.tolist(), counts.missing.tolist()) == ([[1], [2]], [1, 0])
            assert counts.others == {"a": 2, "b": 1}


def test_more_counts_than_can_be_held_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(windows, "MOST_COUNTS", 100)
    found = cut_days(mixed(100, 0))
    with pytest.raises(InputError, match=r"windows of '1d' × 1 segments × .* cut longer windows"):
        counted(found, bins_of(mixed(100, 0)))


# ------------------------------------------------------------------ any rows, in any order

numbers = st.none() | st.sampled_from([0.0, -0.0, 1.0, -1.5, float("inf"), -float("inf"), 1.7976931348623157e308])
words = st.none() | st.sampled_from(["a", "b", "new", "", " ", "ü"])


@st.composite
def frames(draw: st.DrawFn) -> pl.DataFrame:
    rows = draw(st.integers(0, 25))

    def column(values: st.SearchStrategy[Any]) -> list[Any]:
        return draw(st.lists(values, min_size=rows, max_size=rows))

    return pl.DataFrame(
        {
            "x": column(numbers | st.floats(allow_nan=True, allow_infinity=True)),
            "i": column(st.none() | st.integers(-(2**62), 2**62) | st.integers(-3, 3)),
            "w": column(words),
            "b": column(st.none() | st.booleans()),
            "window": column(st.none() | st.integers(0, 3)),
        },
        schema={"x": pl.Float64, "i": pl.Int64, "w": pl.String, "b": pl.Boolean, "window": pl.Int32},
    )


@settings(suppress_health_check=[HealthCheck.too_slow], max_examples=60, deadline=None)
@given(reference=frames(), log=frames())
def test_any_rows_are_counted_as_each_window_is_alone(reference: pl.DataFrame, log: pl.DataFrame) -> None:
    columns = ["x", "i", "w", "b"]
    bins = bins_of(reference, columns)
    place = log["window"].to_list()
    four = [Window(str(i), i, i + 1, place.count(i)) for i in range(4)]
    table = open_table(log, name="log")
    timeline = count_windows(source(table), bins, columns, "window", four, every="1 rows")
    alone(log, place, bins, timeline)
