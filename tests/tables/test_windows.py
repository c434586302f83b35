"""Windows follow the calendar, cover the log without holes, and are the same from every engine."""

from __future__ import annotations

import datetime as dt
from pathlib import Path
from typing import Any

import duckdb
import narwhals as nw
import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from afterlaunch.decide import InputError
from afterlaunch.tables import Cut, cut, fetch, open_table, parse_every
from afterlaunch.tables.calendar import by_parts, number_of, starts_of
from afterlaunch.tables.windows import MOST_WINDOWS, Extent, assign, measure, windows_of
from tests.frames import handed_in

UTC = dt.UTC
LENGTHS = ("30m", "6h", "1d", "3d", "1w", "2w", "1mo", "2mo", "1q", "1y")


def at(text: str) -> dt.datetime:
    return dt.datetime.fromisoformat(text)


def log(*times: str | None) -> pl.DataFrame:
    given = [None if t is None else at(t) for t in times]
    return pl.DataFrame({"ts": given, "x": range(len(given))}, schema={"ts": pl.Datetime("us"), "x": pl.Int64})


def done(frame: Any, every: str, time: str | None = "ts", **more: Any) -> Cut:
    return cut(open_table(frame, name="log"), parse_every(every), time=time, **more)


def places(found: Cut) -> list[int | None]:
    return fetch(found.table.frame.select(found.column), found.table)[found.column].to_list()


@pytest.mark.parametrize("text", ["", "d", "1", "0d", "-1d", "1 fortnight", "1.5d", "1D", "1M", "one day", "5e3 rows"])
def test_what_is_no_length_is_refused_with_the_forms_that_are(text: str) -> None:
    with pytest.raises(InputError, match=r"no length of a window; give a whole number and a unit, such as '30m'"):
        parse_every(text)


def test_a_length_beyond_all_calendars_is_refused() -> None:
    with pytest.raises(InputError, match="longer than a thousand years"):
        parse_every("999999999999mo")


@pytest.mark.parametrize(
    ("every", "label", "start", "end"),
    [
        ("30m", "2026-10-14 06:30", "2026-10-14T06:30", "2026-10-14T07:00"),
        ("6h", "2026-10-14 06:00", "2026-10-14T06:00", "2026-10-14T12:00"),
        ("1d", "2026-10-14", "2026-10-14", "2026-10-15"),
        ("1w", "2026-W42", "2026-10-12", "2026-10-19"),
        ("1mo", "2026-10", "2026-10-01", "2026-11-01"),
        ("1q", "2026-Q4", "2026-10-01", "2027-01-01"),
        ("1y", "2026", "2026-01-01", "2027-01-01"),
    ],
)
def test_windows_begin_where_the_calendar_says(every: str, label: str, start: str, end: str) -> None:
    found = done(log("2026-10-14T06:45"), every)
    (window,) = found.windows
    assert (window.label, window.rows) == (label, 1)
    assert (window.start, window.end) == (at(start).replace(tzinfo=UTC), at(end).replace(tzinfo=UTC))
    assert not window.complete


def test_a_row_at_midnight_belongs_to_the_day_that_begins() -> None:
    found = done(log("2026-01-31T23:59:59.999999", "2026-02-01", None, "2026-02-03T12:00"), "1d")
    assert places(found) == [0, 1, None, 3]
    assert [(w.label, w.rows) for w in found.windows] == [
        ("2026-01-31", 1),
        ("2026-02-01", 1),
        ("2026-02-02", 0),
        ("2026-02-03", 1),
    ]
    assert found.without_time == 1


def test_weeks_of_the_turn_of_a_year_are_those_of_iso() -> None:
    found = done(log("2025-12-28T12:00", "2025-12-29", "2027-01-03T23:00", "2027-01-04"), "1w")
    labels = [w.label for w in found.windows]
    assert (labels[0], labels[1], labels[-2], labels[-1]) == ("2025-W52", "2026-W01", "2026-W53", "2027-W01")
    assert labels == sorted(labels)
    assert places(found) == [0, 1, 53, 54]


def test_a_zone_is_reckoned_in_utc() -> None:
    text = ["2026-03-29T01:30:00+02:00", "2026-03-29T23:30:00-02:00"]
    found = done(pl.DataFrame({"ts": text}), "1d")
    assert [w.label for w in found.windows] == ["2026-03-28", "2026-03-29", "2026-03-30"]
    assert places(found) == [0, 2]


def test_dates_are_midnights_and_the_days_are_complete() -> None:
    days = pl.DataFrame({"ts": [dt.date(2026, 1, d) for d in (1, 1, 2, 3)]})
    assert [(w.rows, w.complete) for w in done(days, "1d").windows] == [(2, True), (1, True), (1, True)]


# ------------------------------------------------------------------ every moment is in its window

moments = st.datetimes(dt.datetime(1, 1, 20), dt.datetime(9990, 1, 1))  # noqa: DTZ001 - a naive time is UTC
near = st.datetimes(dt.datetime(1960, 1, 1), dt.datetime(1985, 1, 1))  # noqa: DTZ001


@pytest.mark.parametrize("every", LENGTHS)
@settings(max_examples=30, deadline=None)
@given(moment=moments | near)
def test_a_moment_lies_in_the_window_of_its_number_on_every_engine(every: str, moment: dt.datetime) -> None:
    length = parse_every(every)
    number = number_of(moment.replace(tzinfo=UTC), length)
    a, b = starts_of(number, 2, length)
    since = moment - dt.datetime(1970, 1, 1)  # noqa: DTZ001
    assert a <= since // dt.timedelta(microseconds=1) < b
    frame = pl.DataFrame({"ts": [moment]}, schema={"ts": pl.Datetime("us")})
    (found,) = measure(open_table(frame, name="log"), length, time="ts").index
    assert found == number


@pytest.mark.parametrize("every", LENGTHS)
def test_duckdb_and_the_parts_of_a_time_give_the_same_numbers(every: str, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    us = np.concatenate([rng.integers(-(6 * 10**16), 2 * 10**17, 500), rng.integers(-(10**14), 10**14, 500)])
    frame = pl.DataFrame({"ts": pl.Series(us).cast(pl.Datetime("us"))})
    length = parse_every(every)
    expected = [number_of(t.replace(tzinfo=UTC), length) for t in frame["ts"].to_list()]
    for engine in ("polars", "duckdb"):
        with handed_in(engine, tmp_path, log=frame) as tables:
            table = open_table(tables["log"], name="log")
            try:
                index = measure(table, length, time="ts").index
            except InputError as error:
                assert "more than 5,000 windows" in str(error)  # noqa: PT017
            else:
                assert index.tolist() == sorted(set(expected))
    parts = nw.from_native(frame).select(by_parts(nw.col("ts")).alias("us"))["us"].to_list()
    assert parts == us.tolist()


@pytest.mark.parametrize("engine", ["parquet", "pandas", "pyarrow", "duckdb"])
@pytest.mark.parametrize("every", ["6h", "1d", "1w", "1mo", "1q", "40 rows"])
def test_every_engine_cuts_alike(engine: str, every: str, tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    us = np.sort(rng.integers(0, 300 * 86_400, 300)) * 1_000_000 + 1_760_000_000_000_000
    frame = pl.DataFrame({"ts": pl.Series(us).cast(pl.Datetime("us")), "x": range(300)})
    frame = frame.with_columns(ts=pl.when(pl.col("x") % 11 != 0).then(pl.col("ts")))
    expected = done(frame, every)
    with handed_in(engine, tmp_path, log=frame) as tables:
        found = done(tables["log"], every)
        assert (found.windows, found.without_time) == (expected.windows, expected.without_time)
        assert places(found) == places(expected)
    assert sum(w.rows for w in expected.windows) + expected.without_time == 300
    counts = np.bincount([p for p in places(expected) if p is not None], minlength=len(expected.windows))
    assert counts.tolist() == [w.rows for w in expected.windows]


def test_a_session_of_duckdb_in_another_zone_cuts_the_same_days() -> None:
    with duckdb.connect() as connection:
        connection.execute("set timezone = 'Asia/Tokyo'")
        relation = connection.sql("select timestamptz '2026-01-01 23:00:00+00' as ts, 1 as x")
        found = done(relation, "1d")
        assert [w.label for w in found.windows] == ["2026-01-01"]
        assert places(found) == [0]


# ------------------------------------------------------------------ first and last


def every_minutes(start: str, end: str, minutes: int) -> pl.DataFrame:
    return pl.DataFrame({"ts": pl.datetime_range(at(start), at(end), f"{minutes}m", closed="left", eager=True)})


def whole(frame: pl.DataFrame, every: str = "1d") -> list[bool]:
    return [w.complete for w in done(frame, every).windows]


def test_a_first_and_a_last_window_in_part_are_incomplete() -> None:
    assert whole(every_minutes("2026-01-01", "2026-01-04", 10)) == [True, True, True]
    assert whole(every_minutes("2026-01-01T02:00", "2026-01-04", 10)) == [False, True, True]
    assert whole(every_minutes("2026-01-01", "2026-01-03T21:00", 10)) == [True, True, False]
    assert whole(every_minutes("2026-01-01T08:00", "2026-01-01T09:00", 10)) == [False]
    assert whole(every_minutes("2026-01-01T01:00", "2026-01-03T23:00", 10)) == [True, True, True]  # under 5 %


def test_nights_without_rows_do_not_make_a_day_incomplete() -> None:
    office = every_minutes("2026-01-01", "2026-01-11", 10).filter(pl.col("ts").dt.hour().is_between(8, 17))
    assert all(whole(office))
    assert whole(office.filter(pl.col("ts") >= at("2026-01-01T13:00")))[:2] == [False, True]
    assert whole(office.filter(pl.col("ts") < at("2026-01-10T13:00")))[-2:] == [True, False]


# ------------------------------------------------------------------ going on, parts, rows


def test_windows_go_on_where_the_history_ended() -> None:
    frame = log("2026-01-01T12:00", "2026-01-05T12:00", "2026-01-06")
    found = done(frame, "1d", start=at("2026-01-03"))
    assert [w.label for w in found.windows] == ["2026-01-03", "2026-01-04", "2026-01-05", "2026-01-06"]
    assert places(found) == [None, 2, 3]
    assert found.before == 1
    assert done(frame, "1d", start=at("2026-01-07")).windows == ()


def test_the_windows_of_parts_add_up_to_those_of_the_log() -> None:
    frame = every_minutes("2026-01-01T05:00", "2026-02-04", 37)
    for every in LENGTHS:
        length = parse_every(every)
        parts = [measure(open_table(p, name="log"), length, time="ts") for p in frame.iter_slices(100)]
        total = sum(parts[1:], parts[0])
        assert windows_of(total, length) == done(frame, every).windows
        table = open_table(frame, name="log")
        assert places(assign(table, length, windows_of(total, length), time="ts")) == places(done(frame, every))


def test_no_rows_have_no_windows() -> None:
    for every in ("1d", "5 rows"):
        found = done(log(), every)
        assert (found.windows, found.without_time, places(found)) == ((), 0, [])
    found = done(log(None, None), "1d")
    assert (found.windows, found.without_time, places(found)) == ((), 2, [None, None])
    nothing = np.zeros(0, dtype=np.int64)
    assert windows_of(Extent(nothing, nothing, nothing, nothing), parse_every("1d")) == ()


def test_windows_of_rows() -> None:
    for time in (None, "ts"):
        found = done(log(*["2026-01-01"] * 12), "5 rows", time)
        assert [(w.label, w.rows, w.complete) for w in found.windows] == [
            ("rows 0 to 4", 5, True),
            ("rows 5 to 9", 5, True),
            ("rows 10 to 11", 2, False),
        ]
        assert places(found) == [0] * 5 + [1] * 5 + [2] * 2
    later = done(log(*[None] * 6), "5 rows", None, start=10_000)
    assert [(w.label, w.start, w.end) for w in later.windows] == [
        ("rows 10,000 to 10,004", 10_000, 10_005),
        ("rows 10,005 to 10,005", 10_005, 10_006),
    ]


def test_the_table_handed_in_keeps_its_columns() -> None:
    frame = log("2026-01-01").rename({"x": "afterlaunch_window"})
    found = done(frame, "1d")
    assert found.table.columns == ("ts", "afterlaunch_window", found.column)
    assert found.table.kinds[found.column] == "numeric"
    assert fetch(found.table.frame).height == 1


# ------------------------------------------------------------------ refused in one sentence


def test_what_cannot_be_cut_is_refused() -> None:
    with pytest.raises(InputError, match=r"Windows of '1d' need the role 'time'.* or cut windows of rows"):
        done(log("2026-01-01"), "1d", None)
    with pytest.raises(InputError, match="no column 'when', the role 'time'"):
        done(log("2026-01-01"), "1d", "when")
    with pytest.raises(InputError, match="The column 'x' of the log table is Int64, not times"):
        done(log("2026-01-01"), "1d", "x")
    with pytest.raises(InputError, match=r"more than 5,000 windows of '1d' \(20,455, from 1970-01-01 to 2026-01-01\)"):
        done(log("1970-01-01", "2026-01-01"), "1d")
    with pytest.raises(InputError, match=r"more than 5,000 windows of '1 rows' \(5,001\)"):
        done(pl.DataFrame({"x": range(MOST_WINDOWS + 1)}), "1 rows", None)
    with pytest.raises(InputError, match="more than 5,000 windows of '1m'; cut longer windows"):
        done(every_minutes("2026-01-01", "2026-01-06", 1), "1m")


def test_times_beyond_the_calendar_are_refused() -> None:
    far = pl.DataFrame({"ts": pl.Series([10**18]).cast(pl.Datetime("us"))})
    for every in ("1d", "1y"):
        with pytest.raises(InputError, match="beyond the years 1 to 9999"):
            done(far, every)
