"""Cutting a log into windows: by the calendar where rows have a time, by row count where they have none."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

import narwhals as nw
import numpy as np
from numpy.typing import NDArray

from afterlaunch.decide import InputError
from afterlaunch.tables.calendar import Every, in_utc, label_of, moment_of, number_of, on_calendar, starts_of
from afterlaunch.tables.sampling import with_row_number
from afterlaunch.tables.table import Table, fetch, free_name
from afterlaunch.watch import Window

Ints = NDArray[np.int64]

COLUMN = "afterlaunch_window"

MOST_WINDOWS = 5_000
"""Most windows that a log is cut into."""

UNCOVERED = 0.05
"""Share of a first or last window that the log may leave uncovered at its outer end."""

USUAL = 0.9
"""Quantile of the gaps in the other windows that still counts as usual."""


@dataclass(frozen=True)
class Extent:
    """Where the rows of a table lie; extents of the parts of a log add up to that of the log.

    Windows are numbered on the calendar: number 0 of a day begins in 1970, that of a month in year 0.

    Attributes:
        index: Numbers of the windows that have rows, increasing, shape (C,).
        rows: Rows of each, shape (C,).
        first: First moment with a row in each, in microseconds from 1970 UTC, shape (C,).
        last: Last one, shape (C,).
        without_time: Rows that have no time.
    """

    index: Ints
    rows: Ints
    first: Ints
    last: Ints
    without_time: int = 0

    def __add__(self, other: Extent) -> Extent:
        index = np.union1d(self.index, other.index)
        rows = np.zeros(len(index), dtype=np.int64)
        first = np.full(len(index), np.iinfo(np.int64).max)
        last = np.full(len(index), np.iinfo(np.int64).min)
        for part in (self, other):
            at = np.searchsorted(index, part.index)
            rows[at] += part.rows
            first[at] = np.minimum(first[at], part.first)
            last[at] = np.maximum(last[at], part.last)
        return Extent(index, rows, first, last, self.without_time + other.without_time)


@dataclass(frozen=True)
class Cut:
    """A table whose every row knows its window.

    Attributes:
        table: The table with one more column.
        column: Its name: the index into `windows`, null for rows in none.
        every: Length of a window.
        windows: The windows, in order, empty ones between others included.
        without_time: Rows that have no time, and so no window.
        before: Rows before the first window, where a start was given.
    """

    table: Table
    column: str
    every: Every
    windows: tuple[Window, ...]
    without_time: int = 0
    before: int = 0


def cut(table: Table, every: Every, *, time: str | None, start: datetime | int | None = None) -> Cut:
    """Give every row its window.

    Windows follow the calendar in UTC: minutes and hours are counted from midnight of 1 January
    1970, days begin at midnight, weeks on Monday, months, quarters and years on the first. A time
    without a zone is taken as UTC. Windows are half-open: a row at midnight belongs to the day
    that begins. A window of rows holds so many rows in the order in which the table has them.

    The first window is incomplete when the gap from its start to the first row is longer than 5 %
    of the window and longer than such a gap usually is: than nine in ten of those in the other
    windows. So a log of office hours is not incomplete in its first morning. The last window is
    judged alike by the gap to its end. A last window of fewer rows than asked for is incomplete.

    Args:
        table: The log.
        every: Length of a window.
        time: Column of times; None when there is none, and then windows are of rows.
        start: A moment in the first window, or the number of the first row, so that windows go on
            where those of another table ended; rows before that window are in none.

    Returns:
        The table, cut. One query, besides counting the rows for windows of rows.

    Raises:
        InputError: For a unit of time without times, a column that holds none, times beyond the
            years 1 to 9999, or more than 5,000 windows.

    Example:
        >>> import polars as pl
        >>> from afterlaunch.tables import open_table, parse_every
        >>> log = pl.DataFrame({"ts": ["2026-10-14 09:00", "2026-10-16 10:00", None]})
        >>> found = cut(open_table(log, name="log"), parse_every("1d"), time="ts")
        >>> [(w.label, w.rows) for w in found.windows], found.without_time
        ([('2026-10-14', 1), ('2026-10-15', 0), ('2026-10-16', 1)], 1)
        >>> fetch(found.table.frame)[found.column].to_list()
        [0, 2, None]
    """
    if every.unit == "row":
        return _cut_rows(table, every, int(start) if isinstance(start, int) else 0)
    extent = measure(table, every, time=time)
    begin = None if start is None else number_of(in_utc(start), every)
    windows = windows_of(extent, every, start=begin, name=table.name)
    assigned = assign(table, every, windows, time=time)
    before = 0 if begin is None else int(extent.rows[extent.index < begin].sum())
    return Cut(assigned.table, assigned.column, every, windows, extent.without_time, before)


def measure(table: Table, every: Every, *, time: str | None) -> Extent:
    """Where the rows of a table lie on the calendar; one query.

    Args:
        table: The log.
        every: Length of a window, of a unit of time.
        time: Column of times.

    Raises:
        InputError: As for `cut`.
    """
    column = _require_time(table, every, time)
    frame, moment, number = on_calendar(table, column, every)
    timed = frame.select(moment.alias("us"), number.alias("index"))
    ends = [nw.len().cast(nw.Int64).alias("n"), nw.col("us").min().alias("a"), nw.col("us").max().alias("b")]
    found = fetch(timed.group_by("index").agg(*ends).head(MOST_WINDOWS + 2), table)
    placed = found.drop_nulls("index").sort("index")
    if placed.height > MOST_WINDOWS:
        raise _too_many(table.name, every)
    index, n, first, last = (placed[c].to_numpy().astype(np.int64) for c in ("index", "n", "a", "b"))
    return Extent(index, n, first, last, int(found.filter(found["index"].is_null())["n"].sum()))


def windows_of(
    extent: Extent, every: Every, *, start: int | None = None, name: str = "production"
) -> tuple[Window, ...]:
    """The windows of a log, first to last, empty ones between included.

    Args:
        extent: Where its rows lie.
        every: Length of a window.
        start: Number of the first window, where it is not that of the first row.
        name: What error sentences call the table.

    Raises:
        InputError: For more than 5,000 windows, or times beyond the years 1 to 9999.
    """
    if start is not None:
        keep = extent.index >= start
        extent = Extent(extent.index[keep], extent.rows[keep], extent.first[keep], extent.last[keep])
    if not len(extent.index):
        return ()
    first, last = int(extent.index[0] if start is None else start), int(extent.index[-1])
    try:
        begins = starts_of(first, min(last - first, MOST_WINDOWS) + 2, every)
        moments = [moment_of(b) for b in begins]
        ends = [label_of(moment_of(starts_of(i, 1, every)[0]), every) for i in (first, last)]
    except (OverflowError, ValueError) as error:
        raise InputError(
            f"The {name} table holds times beyond the years 1 to 9999; leave those rows out or correct their times."
        ) from error
    if last - first >= MOST_WINDOWS:
        raise _too_many(name, every, f" {last - first + 1:,}, from {ends[0]} to {ends[1]}")
    rows = np.zeros(last - first + 1, dtype=np.int64)
    rows[extent.index - first] = extent.rows
    whole = _complete(extent, first, begins)
    return tuple(
        Window(label_of(moments[i], every), moments[i], moments[i + 1], int(n), bool(whole[i]))
        for i, n in enumerate(rows)
    )


def assign(table: Table, every: Every, windows: Sequence[Window], *, time: str | None) -> Cut:
    """Give every row its window when the windows are known already; no query.

    Args:
        table: The log, or a part of it.
        every: Length of a window, of a unit of time.
        windows: The windows, in order and without a hole between them.
        time: Column of times.

    Returns:
        The table, cut; rows outside all windows are in none.

    Raises:
        InputError: As for `cut`.
    """
    column = _require_time(table, every, time)
    name = free_name(table.columns, COLUMN)
    frame, _, number = on_calendar(table, column, every)
    first = number_of(in_utc(windows[0].start), every) if windows else 0
    index = nw.col(name)
    inside = nw.when((index >= 0) & (index < len(windows))).then(index)
    placed = frame.with_columns((number - first).alias(name)).with_columns(inside.cast(nw.Int32).alias(name))
    return Cut(table.with_frame(placed.select(*table.columns, name)), name, every, tuple(windows))


def _cut_rows(table: Table, every: Every, start: int) -> Cut:
    total, size = table.rows(), every.count
    count = -(-total // size)
    if count > MOST_WINDOWS:
        raise _too_many(table.name, every, f" {count:,}")
    numbered, row = with_row_number(table)
    name = free_name(table.columns, COLUMN)
    index = (nw.col(row) // size).cast(nw.Int32).alias(name)
    placed = numbered.frame.with_columns(index).select(*table.columns, name)
    windows = []
    for first in range(0, total, size):
        n = min(size, total - first)
        a, b = start + first, start + first + n
        windows.append(Window(f"rows {a:,} to {b - 1:,}", a, b, n, n == size))
    return Cut(table.with_frame(placed), name, every, tuple(windows))


def _require_time(table: Table, every: Every, time: str | None) -> str:
    if every.unit == "row":
        raise ValueError("windows of rows are not on the calendar")
    if time is None:
        raise InputError(
            f"Windows of {every.text!r} need the role 'time', and the {table.name} table has none; "
            "name its column, or cut windows of rows, such as '5000 rows'."
        )
    if time not in table.columns:
        raise InputError(f"The {table.name} table ({table.source}) has no column {time!r}, the role 'time'; name one.")
    if not isinstance(table.schema()[time], nw.Datetime):
        raise InputError(
            f"The column {time!r} of the {table.name} table is {table.schema()[time]}, not times; "
            f"make it a column of times, or cut windows of rows, such as '5000 rows'."
        )
    return time


def _too_many(name: str, every: Every, found: str = "") -> InputError:
    return InputError(
        f"The {name} table has more than {MOST_WINDOWS:,} windows of {every.text!r}{found and f' ({found.strip()})'}; "
        "cut longer windows, or leave out the rows of far-off times."
    )


def _complete(extent: Extent, first: int, begins: Sequence[int]) -> NDArray[np.bool_]:
    """Whether each window is covered whole; only the outer ends of the first and the last are in doubt."""
    at = extent.index - first
    starts = np.array(begins, dtype=np.int64)
    whole = np.ones(len(begins) - 1, dtype=bool)
    lead, trail = extent.first - starts[at], starts[at + 1] - extent.last
    for place, gaps in ((0, lead), (len(at) - 1, trail)):
        window = at[place]
        others = np.delete(gaps, place)
        usual = float(np.quantile(others, USUAL, method="higher")) if others.size else 0.0
        whole[window] &= gaps[place] <= max(UNCOVERED * (starts[window + 1] - starts[window]), usual)
    return whole
