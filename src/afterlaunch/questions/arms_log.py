"""Making the log of an experiment ready: arms and segments are numbered, and what cannot be measured is refused."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime, time
from typing import Any

import narwhals as nw
import polars as pl

from afterlaunch.decide import InputError
from afterlaunch.measures import Measure, Quantile
from afterlaunch.profile.arms import ARM, SEGMENT
from afterlaunch.profile.compared import Run
from afterlaunch.roles import Roles
from afterlaunch.tables import Table, are_numbers, as_number, as_text, fetch
from afterlaunch.tables.panel import is_run

MOST_ARMS = 20
MOST_SEGMENTS = 20


@dataclass
class Log:
    """A log made ready for counting.

    Attributes:
        table: With the columns ARM and, where there is a segment, SEGMENT as numbers.
        roles: What its columns mean.
        names: The arms, the control first.
        numbers: Column of a metric to its values as floats, null where missing.
        gaps: Columns of metrics that have missing values.
        segments: Segments that are counted apart.
        start: First moment, None without time.
        end: Last moment.
        notes: Sentences for the review.
    """

    table: Table
    roles: Roles
    names: tuple[str, ...]
    numbers: dict[str, nw.Expr]
    gaps: frozenset[str]
    segments: tuple[str, ...]
    start: datetime | None
    end: datetime | None
    notes: list[str] = field(default_factory=list)


def prepare(table: Table, roles: Roles, measures: Sequence[Measure], control: str | None, notes: list[str]) -> Log:
    """Number arms and segments, and refuse columns that cannot be measured.

    Args:
        table: The log.
        roles: With `version`.
        measures: The metrics.
        control: The arm that the others are compared with; None takes all rows as one arm.
        notes: Sentences for the review are added here.

    Raises:
        InputError: For unusable input, in one sentence.
    """
    version = roles.version if control is not None else None
    if version is None and control is not None:
        raise InputError("Nothing says which arm a row belongs to; name its column with the role version.")
    columns = list(dict.fromkeys([c for m in measures for c in _columns(m)]))
    for column in columns:
        if column not in table.columns:
            raise InputError(f"The log has no column {column!r} that a metric asks for; check the name.")
        if not are_numbers(table, column):
            raise InputError(
                f"The metric column {column!r} holds {table.schema()[column]}, no numbers; give 0 and 1, or amounts."
            )
    numbers = {c: as_number(table, c) for c in columns}
    inside = next((c for c in table.columns if c.startswith("al_")), None)
    if inside is not None:
        raise InputError(f"The column {inside!r} begins with 'al_', as columns do that are made here; rename it.")
    if roles.time is not None and table.kinds[roles.time] != "time":
        raise InputError(f"The time {roles.time!r} holds {table.schema()[roles.time]}; give dates or times.")
    found = _look(table, roles, version, columns, numbers)
    for i, c in enumerate(columns):
        if f"inf{i}" in found.columns and (infinite := int(found[f"inf{i}"].sum())):
            raise InputError(
                f"The metric column {c!r} holds values beyond {HUGE:g} in {infinite:,} rows; leave them missing."
            )
    start = end = None
    if roles.time is not None:
        start, end = moment_of_day(found["first"].min()), moment_of_day(found["last"].max())
    if version is None or control is None:
        names: tuple[str, ...] = ("all",)
        table = table.with_frame(table.frame.with_columns(nw.lit(0).alias(ARM)))
    else:
        names = _arms(_sizes(found, version), version, control)
        arms = {name: is_run(table, Run(name), version, None) for name in names}
        table = _coded(table, version, arms, ARM)
        missing = int(found.filter(pl.col(version).is_null())["rows"].sum())
        if missing:
            notes.append(f"{missing:,} rows without a version were left out.")
    segments: tuple[str, ...] = ()
    if roles.segment is not None:
        segments = _segments(_sizes(found, roles.segment), roles.segment, notes)
        which = {as_text(s): is_run(table, Run(as_text(s)), roles.segment, None) for s in segments}
        table = _coded(table, roles.segment, which, SEGMENT)
    kept = ~nw.col(ARM).is_null()
    for role in ("unit", "time"):
        name: str | None = getattr(roles, role)
        if name is not None and (lost := int(found[f"no_{role}"].sum())):
            notes.append(f"{lost:,} rows without a {role} were left out.")
            kept = kept & ~nw.col(name).is_null()
    table = table.with_frame(table.frame.filter(kept))
    gaps = frozenset(c for i, c in enumerate(columns) if found[f"gap{i}"].sum())
    return Log(table, roles, names, numbers, gaps, segments, start, end, notes)


def _look(
    table: Table, roles: Roles, version: str | None, columns: Sequence[str], numbers: Mapping[str, nw.Expr]
) -> pl.DataFrame:
    """What has to be known before counting, for each version and segment: rows, gaps, infinite values, times."""
    asked = [nw.len().alias("rows")]
    for role, column in (("unit", roles.unit), ("time", roles.time)):
        if column is not None:
            asked.append(nw.col(column).is_null().cast(nw.Int64).sum().alias(f"no_{role}"))
    for i, c in enumerate(columns):
        asked.append(numbers[c].is_null().cast(nw.Int64).sum().alias(f"gap{i}"))
        if table.kinds[c] == "numeric" and table.schema()[c].is_float():
            asked.append((numbers[c].abs() > HUGE).cast(nw.Int64).sum().alias(f"inf{i}"))
    if roles.time is not None:
        asked += [nw.col(roles.time).min().alias("first"), nw.col(roles.time).max().alias("last")]
    keys = [c for c in (version, roles.segment) if c is not None]
    if not keys:
        return fetch(table.frame.select(*asked), table)
    head = fetch(table.frame.select(*keys).head(HEAD), table)
    for column in keys:
        if head[column].n_unique() > MOST_VALUES:
            raise InputError(
                f"The column {column!r} has more than {MOST_VALUES:,} different values, as ids have; name the one with "
                f"the {'arm' if column == version else 'segment'} of each row."
            )
    return fetch(table.frame.group_by(*keys).agg(*asked), table)


HUGE = 1e100
"""Values beyond this are no measurements; their squares are no numbers."""

HEAD, MOST_VALUES = 100_000, 2_000
"""Rows that are looked at first, and different arms or segments among them from which on they are taken for ids."""


def _sizes(found: pl.DataFrame, column: str) -> pl.DataFrame:
    """Rows of each value, the largest first, alike ones by name."""
    return found.group_by(column).agg(pl.col("rows").sum()).sort(["rows", column], descending=[True, False])


def _columns(measure: Measure) -> list[str]:
    more = [measure.covariate] if measure.covariate is not None else []
    return [measure.column] if isinstance(measure, Quantile) else [*(c for _, c in measure.terms), *more]


def _arms(found: pl.DataFrame, version: str, control: str) -> tuple[str, ...]:
    names = [as_text(v) for v in found[version].to_list() if v is not None]
    if control not in names:
        raise InputError(
            f"No row of {version!r} is the control {control!r}; its values are {', '.join(map(repr, names[:12]))}."
        )
    if len(names) < 2:
        raise InputError(f"Every row of {version!r} is {control!r}; an experiment has another arm to compare it with.")
    if len(names) > MOST_ARMS:
        raise InputError(f"The column {version!r} has more than {MOST_ARMS} values; an experiment has fewer arms.")
    return (control, *sorted(n for n in names if n != control))


def _segments(found: pl.DataFrame, column: str, notes: list[str]) -> tuple[str, ...]:
    names = [as_text(v) for v in found[column].to_list() if v is not None]
    if len(names) > MOST_SEGMENTS:
        notes.append(f"The {MOST_SEGMENTS} largest segments of {column!r} were looked at on their own.")
    return tuple(sorted(names[:MOST_SEGMENTS]))


def moment_of_day(value: Any) -> datetime | None:
    """A moment, or midnight of a day; None for anything else."""
    if isinstance(value, date) and not isinstance(value, datetime):
        return datetime.combine(value, time())
    return value if isinstance(value, datetime) else None


def _coded(table: Table, column: str, which: Mapping[str, nw.Expr], name: str) -> Table:
    """The table with a number for each of some values of a column, null for others."""
    if table.engine == "polars" and table.schema()[column] == nw.String:
        native: pl.LazyFrame = nw.to_native(table.frame)
        code = pl.col(column).cast(pl.Enum(list(which)), strict=False).to_physical().cast(pl.Int64)
        return table.with_frame(nw.from_native(native.with_columns(code.alias(name))))
    value = nw.lit(None, dtype=nw.Int64())
    for i, condition in enumerate(which.values()):
        value = nw.when(condition).then(nw.lit(i, dtype=nw.Int64())).otherwise(value)
    return table.with_frame(table.frame.with_columns(value.alias(name)))
