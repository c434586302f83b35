"""The calendar that windows follow: which window a moment is in, in Python and in the engines."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import Any, Literal

import narwhals as nw

from afterlaunch.decide import InputError
from afterlaunch.tables.table import Frame, Table, free_name

Unit = Literal["minute", "hour", "day", "week", "month", "row"]

UNITS: dict[str, tuple[Unit, int]] = {
    "m": ("minute", 1),
    "min": ("minute", 1),
    "h": ("hour", 1),
    "d": ("day", 1),
    "w": ("week", 1),
    "mo": ("month", 1),
    "q": ("month", 3),
    "y": ("month", 12),
    "row": ("row", 1),
    "rows": ("row", 1),
}
"""How a unit is written to what it is."""

SECOND = 1_000_000
DAY = 86_400 * SECOND
MICROSECONDS: dict[Unit, int] = {"minute": 60 * SECOND, "hour": 3600 * SECOND, "day": DAY, "week": 7 * DAY}
EPOCH = date(1970, 1, 1).toordinal()
YEAR_0 = 719_528
"""Days from 1 January of year 0 to 1 January 1970."""
MONDAY = 3
"""Days from the Monday before 1970 to 1 January 1970."""


@dataclass(frozen=True, slots=True)
class Every:
    """How long a window is.

    Attributes:
        count: How many units.
        unit: The unit; a quarter is three months and a year is twelve.
        text: As the user wrote it.
    """

    count: int
    unit: Unit
    text: str


def parse_every(text: str) -> Every:
    """The length of a window from its text.

    Args:
        text: A whole number and a unit: "30m", "6h", "1d", "1w", "1mo", "1q", "1y" or "5000 rows".

    Raises:
        InputError: When it is anything else.

    Example:
        >>> parse_every("6h").unit, parse_every("1q").count, parse_every("5000 rows").unit
        ('hour', 3, 'row')
    """
    found = re.fullmatch(r"\s*([0-9]{1,12})\s*([a-z]+)\s*", text)
    if found is None or found[2] not in UNITS or not int(found[1]):
        raise InputError(
            f"{text!r} is no length of a window; give a whole number and a unit, such as "
            "'30m', '6h', '1d', '1w', '1mo', '1q', '1y' or '5000 rows'."
        )
    unit, times = UNITS[found[2]]
    count = int(found[1]) * times
    longest = 12 * 1000 if unit == "month" else 366_000 * DAY // MICROSECONDS.get(unit, 1)
    if unit != "row" and count > longest:
        raise InputError(f"A window of {text!r} is longer than a thousand years; give a shorter one, such as '1d'.")
    return Every(count, unit, " ".join(text.split()))


def number_of(moment: datetime, every: Every) -> int:
    """Number of the window that holds a moment.

    Example:
        >>> number_of(datetime(1970, 1, 2, 12, tzinfo=UTC), parse_every("1d"))
        1
    """
    if every.unit == "month":
        return (moment.year * 12 + moment.month - 1) // every.count
    days = moment.toordinal() - EPOCH
    us = (days * 86_400 + moment.hour * 3600 + moment.minute * 60 + moment.second) * SECOND + moment.microsecond
    return (us + _shift(every)) // (MICROSECONDS[every.unit] * every.count)


def starts_of(first: int, count: int, every: Every) -> list[int]:
    """Starts of so many windows from number `first` on, in microseconds from 1970.

    Raises:
        ValueError: For a month beyond the years 1 to 9999.
    """
    if every.unit != "month":
        size = MICROSECONDS[every.unit] * every.count
        return [(first + i) * size - _shift(every) for i in range(count)]
    months = [(first + i) * every.count for i in range(count)]
    return [(date(m // 12, m % 12 + 1, 1).toordinal() - EPOCH) * DAY for m in months]


def _shift(every: Every) -> int:
    return MONDAY * DAY if every.unit == "week" else 0


def in_utc(given: datetime | int) -> datetime:
    """A moment in UTC; one without a zone is taken as UTC."""
    if not isinstance(given, datetime):
        raise TypeError(f"a window of time starts at a moment, not at {given!r}")
    return given.replace(tzinfo=UTC) if given.tzinfo is None else given.astimezone(UTC)


def on_clock(moment: datetime, zoned: bool) -> datetime:
    """A moment as a column of times has it: with UTC, or without a zone, which is taken as UTC.

    Args:
        moment: The moment.
        zoned: Whether the column's times have a zone.

    Example:
        >>> from datetime import timezone
        >>> on_clock(datetime(2026, 1, 1, 2, tzinfo=timezone(timedelta(hours=2))), False).hour
        0
    """
    utc = in_utc(moment)
    return utc if zoned else utc.replace(tzinfo=None)


def moment_of(us: int) -> datetime:
    """The moment so many microseconds from 1970.

    Raises:
        OverflowError: Beyond the years 1 to 9999.
    """
    return datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=int(us))


def label_of(start: datetime, every: Every) -> str:
    """What a reader calls the window that starts then.

    Example:
        >>> label_of(datetime(2026, 10, 12, tzinfo=UTC), parse_every("1w"))
        '2026-W42'
    """
    day = start.date().isoformat()
    if every.unit in {"minute", "hour"}:
        return f"{day} {start:%H:%M}"
    if every.unit == "day":
        return day
    if every.unit == "week":
        year, week, _ = start.isocalendar()
        return f"{year:04d}-W{week:02d}"
    if every.count % 12 == 0:
        return day[:4]
    if every.count == 3:
        return f"{day[:4]}-Q{(start.month + 2) // 3}"
    return day[:7]


def on_calendar(table: Table, time: str, every: Every) -> tuple[Frame, nw.Expr, nw.Expr]:
    """A frame, and on it the microseconds from 1970 UTC and the number of the window of each row."""
    frame, column = table.frame, nw.col(time)
    us = column.dt.timestamp("us") if table.engine == "polars" else by_parts(column)
    if table.engine == "duckdb":
        import duckdb

        # The parts of a time with a zone are those in the zone of the session there.
        native: Any = nw.to_native(frame)
        name = free_name(table.columns, "afterlaunch_time")
        moment = duckdb.FunctionExpression("epoch_us", duckdb.ColumnExpression(time))
        utc = duckdb.FunctionExpression("make_timestamp", moment).alias(name)
        other = free_name([*table.columns, name], "afterlaunch_us")
        frame = nw.from_native(native.select(duckdb.StarExpression(), utc, moment.alias(other)))
        column, us = nw.col(name), nw.col(other)
    if every.unit == "month":
        month = column.dt.year().cast(nw.Int64) * 12 + column.dt.month().cast(nw.Int64) - 1
        return frame, us, month // every.count
    # Only positive numbers are divided, as engines differ on others.
    size = MICROSECONDS[every.unit] * every.count
    ahead = YEAR_0 * DAY // size + 1
    return frame, us, (us + (ahead * size + _shift(every))) // size - ahead


def by_parts(time: nw.Expr) -> nw.Expr:
    """Microseconds from 1970, from the year, the month, … the microsecond: what every engine can tell.

    Args:
        time: Times without a zone, or in UTC.

    Source:
        Days from the year, month and day: H. Hinnant, chrono-compatible low-level date algorithms, `days_from_civil`.
    """
    part = time.dt
    year, month, day = (p.cast(nw.Int64) for p in (part.year(), part.month(), part.day()))
    march = (month + 9) % 12
    y = nw.when(month <= 2).then(year - 1).otherwise(year)
    days = y * 365 + y // 4 - y // 100 + y // 400 + (march * 153 + 2) // 5 + day - 1 - (YEAR_0 - 60)
    seconds = part.hour().cast(nw.Int64) * 3600 + part.minute().cast(nw.Int64) * 60 + part.second().cast(nw.Int64)
    return (days * 86_400 + seconds) * SECOND + part.microsecond().cast(nw.Int64)
