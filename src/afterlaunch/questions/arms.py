"""Fetching what an experiment has counted: who entered which arm when, and what each unit brought."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import date, datetime, time, timedelta
from typing import Any, TypeGuard

import narwhals as nw
import numpy as np
import polars as pl

from afterlaunch.decide import InputError
from afterlaunch.measures import Measure, Quantile, Ratio, Term
from afterlaunch.profile.arms import (
    ARM,
    DAY,
    SEGMENT,
    Arms,
    Cells,
    Stage,
    Wanted,
    count_cells,
    term_name,
    term_row,
    term_sum,
)
from afterlaunch.profile.compared import Run
from afterlaunch.questions.gather import SEED
from afterlaunch.roles import Roles
from afterlaunch.stats.looks import Looks
from afterlaunch.stats.quantile_gap import Tail
from afterlaunch.tables import Table, as_text, fetch, fetch_all, open_table, parse_every, sample
from afterlaunch.tables.calendar import MICROSECONDS
from afterlaunch.tables.panel import is_run
from afterlaunch.tables.table import Frame

MOST_ARMS = 20
MOST_SEGMENTS = 20
NEAR_ROWS = 50_000
"""Rows of the sample that tells where a quantile lies."""

ENTRY, ROWS = "al_entry", "al_rows"
PRE = "al_pre:"


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
        if table.kinds[column] != "numeric" and table.given.get(column) != nw.Boolean:
            raise InputError(
                f"The metric column {column!r} holds {table.schema()[column]}, no numbers; give 0 and 1, or amounts."
            )
    numbers = {c: _number(table, c) for c in columns}
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
        start, end = _moment(found["first"].min()), _moment(found["last"].max())
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


def _number(table: Table, column: str) -> nw.Expr:
    """The values of a column as floats, null where missing; true is 1."""
    if table.kinds[column] == "numeric":
        return nw.col(column).cast(nw.Float64)
    known = nw.when(nw.col(column) == "true").then(nw.lit(1.0)).otherwise(nw.lit(0.0))
    return nw.when(~nw.col(column).is_null()).then(known)


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


def _moment(value: Any) -> datetime | None:
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


@dataclass(frozen=True)
class Plan:
    """How an experiment is looked at.

    Attributes:
        looks: How often may be looked.
        window: How long each unit is observed, None for all of its rows.
        until: Rows after this moment are left out; None keeps all.
        shares: Planned splits with the moment from which each holds, in order; empty when none was given.
        ended: Whether the last planned look has been reached, None where no end was planned.
    """

    looks: Looks
    window: timedelta | None = None
    until: datetime | None = None
    shares: tuple[tuple[datetime | None, Mapping[str, float]], ...] = ()
    ended: bool | None = None


def window_of(text: str) -> timedelta:
    """The length of an observation window.

    Raises:
        InputError: When it is no length of fixed time.

    Example:
        >>> window_of("7d").days
        7
    """
    if not isinstance(text, str):
        raise InputError(f"The observation window is {text!r}; give text such as '7d'.")
    every = parse_every(text)
    if every.unit not in MICROSECONDS:
        raise InputError(f"An observation window of {text!r} has no fixed length; give hours or days, such as '7d'.")
    return timedelta(microseconds=every.count * MICROSECONDS[every.unit])


def count_arms(log: Log, measures: Sequence[Measure], plan: Plan, pre: Any = None) -> Arms:
    """Add up what each unit brought, by arm, day of entry and segment.

    Args:
        log: From `prepare`.
        measures: The metrics.
        plan: How it is looked at.
        pre: Table of the time before the experiment, or None.

    Raises:
        InputError: For unusable input, in one sentence.
    """
    table, roles = log.table, log.roles
    if plan.until is not None and roles.time is not None:
        table = table.with_frame(table.frame.filter(nw.col(roles.time) < nw.lit(plan.until)))
    end = min(log.end, plan.until) if log.end is not None and plan.until is not None else log.end
    if plan.window is not None:
        table = _within(table, roles, plan.window)
    quantiles = [m for m in measures if isinstance(m, Quantile)]
    drawn = _drawn(table, log, quantiles)
    numbers = dict(log.numbers)
    wanted = _sums(measures, log, numbers, drawn, _middle(table, log, end))
    _leave_out_full(wanted, log, measures)
    if table.engine == "polars":
        held = _held(table, roles.unit, lambda t: _by_unit(t, log, wanted, numbers, measures))
        units: Frame = nw.from_native(held.lazy())
    else:
        units = _by_unit(table, log, wanted, numbers, measures)
    units, covariates = _with_covariates(units, table, log, measures, wanted, pre)
    if roles.time is not None:
        units = units.with_columns(nw.col(ENTRY).dt.truncate("1d").alias(DAY))
    entered, both, several = _entered(units, log, table)
    if several:
        log.notes.append(
            f"{several:,} units were seen in more than one segment; they count in the whole, and in no segment."
        )
    dated = tuple(sorted(d for d in entered if d is not None))
    days: tuple[date | None, ...] = dated or (None,)
    if roles.unit is not None:
        units = units.filter(nw.col(ARM) >= 0)
    if plan.window is not None and end is not None:
        units = units.filter(nw.col(ENTRY) <= nw.lit(end - plan.window))
    units, cut = _winsorised(units, wanted, measures, table)
    segments = len(log.segments)
    metrics = [m.label for m in measures if not isinstance(m, Quantile)]
    cells = count_cells(
        units,
        wanted,
        arms=len(log.names),
        days=days,
        segments=segments,
        by_segment=metrics,
        around=_around(units, wanted, table),
        fetch=lambda frame: fetch(frame, table),
    )
    assigned = np.zeros((len(log.names), len(days)), dtype=np.int64)
    for day, counts in entered.items():
        assigned[:, days.index(day) if dated else 0] += counts
    if quantiles and roles.unit is not None and (both or plan.window is not None):
        # Rows of units that do not count have no say in quantiles either.
        table = table.with_frame(table.frame.join(units.select(roles.unit), on=roles.unit, how="semi"))
    near = {m.label: _near(table, log, m, drawn[m.label], cells[0][f"below:{m.label}"]) for m in quantiles}
    named = ["", *log.segments]
    return Arms(
        names=log.names,
        measures=tuple(measures),
        cells={s: {label: by[label] for label in metrics} for s, by in zip(named, cells, strict=True)},
        quantiles={s: {label: parts[i] for label, parts in near.items()} for i, s in enumerate(named)},
        looks=plan.looks,
        days=days,
        assigned=assigned,
        stages=_stages(plan, log.names, days),
        both=both,
        missing=_part(cells[0], "missing"),
        fading=_part(cells[0], "half"),
        balance=_part(cells[0], "balance"),
        covariates=covariates,
        unit=roles.unit is not None,
        cut=cut,
        ended=plan.ended,
    )


def _held(table: Table, unit: str | None, count: Callable[[Table], Frame]) -> pl.DataFrame:
    """The units in memory, counted in several passes where rows are many: each holds only its share of the units."""
    passes = math.ceil(table.rows() / ROWS_OF_PASS) if unit is not None else 1
    if passes <= 1:
        return fetch(count(table), table)
    native: pl.LazyFrame = nw.to_native(table.frame)
    parts = []
    for i in range(passes):
        mine = native.filter(pl.col(str(unit)).hash(0) % passes == i)
        parts.append(fetch(count(table.with_frame(nw.from_native(mine))), table))
    return pl.concat(parts)


ROWS_OF_PASS = 10_000_000
"""Rows that are added up by unit at once, about."""


def _part(cells: Mapping[str, Cells], head: str) -> dict[str, Cells]:
    return {name.removeprefix(f"{head}:"): c for name, c in cells.items() if name.startswith(f"{head}:")}


def _within(table: Table, roles: Roles, window: timedelta) -> Table:
    """Only the rows of each unit's first stretch of time."""
    if roles.unit is None or roles.time is None:
        return table
    first = table.frame.group_by(roles.unit).agg(nw.col(roles.time).min().alias(ENTRY))
    minutes = int(window.total_seconds() // 60)
    rows = table.frame.join(first, on=roles.unit, how="inner")
    return table.with_frame(rows.filter(nw.col(roles.time) < nw.col(ENTRY).dt.offset_by(f"{minutes}m")).drop(ENTRY))


def _drawn(table: Table, log: Log, quantiles: Sequence[Quantile]) -> dict[str, pl.Series]:
    """Sorted samples of the columns of quantiles."""
    out = {}
    for m in quantiles:
        values = _spread(table, m.column).lazy()
        known: Any = nw.to_native(nw.from_native(values).select(log.numbers[m.column].alias("v")))
        out[m.label] = known.collect()["v"].drop_nulls().sort()
        if not out[m.label].len():
            raise InputError(f"The metric {m.label!r} has no value in {m.column!r}; leave it out.")
    return out


def _spread(table: Table, column: str) -> pl.DataFrame:
    """Values of rows spread over the table: they only say where to look, and what is found there is counted."""
    step = table.rows() // NEAR_ROWS
    if table.engine != "polars" or step < 2:
        return sample(table, [column], NEAR_ROWS, SEED)
    native: pl.LazyFrame = nw.to_native(table.frame)
    return native.select(column).gather_every(step).collect(engine="streaming")


def _middle(table: Table, log: Log, end: datetime | None) -> datetime | None:
    """Midnight before or after which about half of the rows lie; None for experiments of a few days."""
    when = log.roles.time
    if when is None or log.start is None or end is None or end - log.start < timedelta(days=4):
        return None
    median: Any = _spread(table, when)[when].median()
    if median is None:
        return None
    moment: datetime = median
    moment = (moment + timedelta(hours=12)).replace(hour=0, minute=0, second=0, microsecond=0)
    return moment if log.start < moment < end else None


def _sums(
    measures: Sequence[Measure],
    log: Log,
    numbers: dict[str, nw.Expr],
    drawn: Mapping[str, pl.Series],
    middle: datetime | None,
) -> dict[str, Wanted]:
    """What is added up for each unit, by name; columns that have to be made first are added to `numbers`."""
    when, out = log.roles.time, {}
    for m in measures:
        if isinstance(m, Quantile):
            value, column = float(drawn[m.label].quantile(m.q, "nearest") or 0.0), f"<below {m.q}>{m.column}"
            at_most = nw.when(numbers[m.column] <= value).then(nw.lit(1.0)).otherwise(nw.lit(0.0))
            numbers[column] = nw.when(~numbers[m.column].is_null()).then(at_most)
            out[f"below:{m.label}"] = Wanted((term_name(("sum", column)), term_name(("known", column))))
            continue
        gap = m.kind in ("mean", "share") and m.terms[0][1] in log.gaps
        known = term_name(("known", m.terms[0][1])) if gap else None
        columns = [term_name(t) for t in m.terms]
        if isinstance(m, Ratio) and m.over is not None and {m.column, m.over} & log.gaps:
            # A row counts in both sums or in none.
            there = ~numbers[m.column].is_null() & ~numbers[m.over].is_null()
            for place, column in enumerate((m.column, m.over)):
                numbers[f"<{m.label}>{column}"] = nw.when(there).then(numbers[column])
                columns[place] = term_name(("sum", f"<{m.label}>{column}"))
        out[m.label] = Wanted(tuple(columns), known)
        if middle is not None and when is not None and m.goal == "superiority" and m.kind in ("mean", "share", "ratio"):
            names = []
            for half, inside in (("early", nw.col(when) < nw.lit(middle)), ("late", nw.col(when) >= nw.lit(middle))):
                how, above = m.terms[0]
                value_of = numbers[above]
                if how == "any":
                    value_of = nw.when(value_of != 0).then(nw.lit(1.0)).otherwise(value_of)
                numbers[f"<{half} {how}>{above}"] = nw.when(inside).then(value_of)
                below: Term = ("known", f"<{half} {how}>{above}")
                if len(m.terms) > 1 and m.terms[1][0] == "sum":
                    numbers[f"<{half}>{m.terms[1][1]}"] = nw.when(inside).then(numbers[m.terms[1][1]])
                    below = ("sum", f"<{half}>{m.terms[1][1]}")
                names += [term_name(("sum", f"<{half} {how}>{above}")), term_name(below)]
            out[f"half:{m.label}"] = Wanted(tuple(names))
    for column in sorted(log.gaps):
        out[f"missing:{column}"] = Wanted((term_name(("known", column)), ROWS))
    return out


def _by_unit(
    table: Table,
    log: Log,
    wanted: Mapping[str, Wanted],
    numbers: Mapping[str, nw.Expr],
    measures: Sequence[Measure],
) -> Frame:
    """One row for each unit, or for each row where there are no units."""
    roles = log.roles
    names = {c for w in wanted.values() for c in (*w.columns, *([w.known] if w.known else []))}
    terms = [t for t in _all_terms(numbers) if term_name(t) in names]
    covariates = sorted({m.covariate for m in measures if m.covariate is not None})
    if roles.unit is None:
        made = [term_row(t, numbers) for t in terms]
        made += [numbers[c].alias(f"{PRE}{c}") for c in covariates]
        kept = [nw.col(ARM)] + ([nw.col(SEGMENT)] if log.segments else [])
        if roles.time is not None:
            made.append(nw.col(roles.time).alias(ENTRY))
        return table.frame.select(*kept, *made, nw.lit(1.0).alias(ROWS))
    made = [term_sum(t, numbers) for t in terms]
    flags = [term_name(t) for t in terms if t[0] == "any"]
    made += [numbers[c].min().alias(f"{PRE}{c}") for c in covariates]
    made += [numbers[c].max().alias(f"al_most:{c}") for c in covariates]
    if roles.time is not None:
        made.append(nw.col(roles.time).min().alias(ENTRY))
    # Numbers that are all alike have n times the sum of their squares as the square of their sum: the least and the
    # largest would say as much, but engines add up several times as fast.
    last = len(log.segments)
    codes = {ARM: nw.col(ARM).cast(nw.Int64)}
    if last:
        codes[SEGMENT] = nw.col(SEGMENT).cast(nw.Int64).fill_null(last)
    rows = table.frame.with_columns(*(code.alias(name) for name, code in codes.items()))
    squares = [(nw.col(name) * nw.col(name)).sum().alias(f"{name}^2") for name in codes]
    out = rows.group_by(roles.unit).agg(*(nw.col(name).sum() for name in codes), *squares, *made, nw.len().alias(ROWS))
    alike = {name: nw.col(f"{name}^2") * nw.col(ROWS) == nw.col(name) * nw.col(name) for name in codes}
    out = out.with_columns(
        *(alike[name].alias(f"{name} alike") for name in codes),
        *((nw.col(name) // nw.col(ROWS)).alias(name) for name in codes),
        *(_flag(c) for c in flags),
    )
    kept = [nw.col(c) for c in out.collect_schema().names() if not c.endswith(("^2", " alike")) and c not in codes]
    arm = nw.when(nw.col(f"{ARM} alike")).then(nw.col(ARM)).otherwise(nw.lit(-1)).alias(ARM)
    segment = nw.when(nw.col(f"{SEGMENT} alike") & (nw.col(SEGMENT) < last)).then(nw.col(SEGMENT)).alias(SEGMENT)
    return out.select(*kept, arm, *([segment] if last else []))


def _flag(column: str) -> nw.Expr:
    return nw.when(nw.col(column) > 0).then(nw.lit(1.0)).otherwise(nw.lit(0.0)).alias(column)


def _leave_out_full(wanted: dict[str, Wanted], log: Log, measures: Sequence[Measure]) -> None:
    """A column without gaps is known in every row: its known values are the rows."""
    full = {term_name(("known", c)): ROWS for c in log.numbers if c not in log.gaps}
    full |= {term_name(("known", f"<below {m.q}>{m.column}")): ROWS for m in measures if _is_full(m, log)}
    for name, w in wanted.items():
        wanted[name] = replace(w, columns=tuple(full.get(c, c) for c in w.columns))


def _is_full(m: Measure, log: Log) -> TypeGuard[Quantile]:
    return isinstance(m, Quantile) and m.column not in log.gaps


def _all_terms(numbers: Mapping[str, nw.Expr]) -> list[Term]:
    return [(how, column) for column in numbers for how in ("sum", "any", "known")]


def _with_covariates(
    units: Frame, table: Table, log: Log, measures: Sequence[Measure], wanted: dict[str, Wanted], pre: Any
) -> tuple[Frame, dict[str, int]]:
    """Add what was known of each unit before the experiment, and put it behind the columns of its metric."""
    counts: dict[str, int] = {}
    new: dict[str, tuple[str, ...]] = {}
    own = [m for m in measures if m.covariate is not None]
    _require_before(units, table, log, sorted({m.covariate for m in own if m.covariate is not None}))
    for m in own:
        if m.covariate in {c for _, c in m.terms}:
            raise InputError(
                f"The covariate {m.covariate!r} of the metric {m.label!r} is what it measures: it came after the units "
                "were assigned, and would take the effect away. Name a column from before the experiment."
            )
        new[m.label] = (f"{PRE}{m.covariate}",)
    if pre is not None:
        units, more = _before(units, table, log, [m for m in measures if m.covariate is None and m.terms], pre)
        new.update(more)
    names = sorted({c for columns in new.values() for c in columns})
    if names:
        means = fetch(units.select(*(nw.col(c).mean().alias(f"m{i}") for i, c in enumerate(names))), table)
        middle = [means[f"m{i}"][0] for i in range(len(names))]
        for c, value in zip(names, middle, strict=True):
            if value is None:
                raise InputError(f"The covariate {c.removeprefix(PRE)!r} has no value at all; leave it out.")
        units = units.with_columns(*(nw.col(c).fill_null(v) for c, v in zip(names, middle, strict=True)))
    for label, columns in new.items():
        wanted[label] = replace(wanted[label], columns=(*wanted[label].columns, *columns))
        counts[label] = len(columns)
    for c in names:
        wanted[f"balance:{c.removeprefix(PRE)}"] = Wanted((c,))
    return units, counts


def _require_before(units: Frame, table: Table, log: Log, covariates: Sequence[str]) -> None:
    """Refuse covariates that change within a unit, or that became known after it entered."""
    if not covariates:
        return
    found: tuple[Any, ...] = (0,) * len(covariates)
    if log.roles.unit is not None:
        changed = [
            (nw.col(f"{PRE}{c}") != nw.col(f"al_most:{c}")).cast(nw.Int64).sum().alias(f"c{i}")
            for i, c in enumerate(covariates)
        ]
        found = fetch(units.select(*changed), table).row(0)
    for c, n in zip(covariates, found, strict=True):
        if n:
            raise InputError(
                f"The covariate {c!r} changes within {n:,} units, so it was measured after they entered the "
                "experiment and would take a part of the effect away; give each unit one value from before."
            )
    times, when = log.roles.feature_times, log.roles.time
    for c in covariates:
        if c in times and when is not None:
            late = (nw.col(times[c]) > nw.col(when)).cast(nw.Int64).sum().alias("late")
            n = fetch(log.table.frame.select(late), log.table)["late"][0]
            if n:
                raise InputError(
                    f"The covariate {c!r} became known after the row's {when!r} in {n:,} rows ({times[c]!r}); "
                    "give values from before the experiment."
                )


def _before(
    units: Frame, table: Table, log: Log, measures: Sequence[Measure], pre: Any
) -> tuple[Frame, dict[str, tuple[str, ...]]]:
    """Join what each unit brought before the experiment; units that were not there brought nothing."""
    roles, old = log.roles, open_table(pre, name="pre")
    if roles.unit is None or roles.unit not in old.columns:
        raise InputError(
            f"The table of the time before the experiment needs the unit ({roles.unit or 'a column with that role'}), "
            "by which its rows are joined."
        )
    if old.engine != table.engine:
        raise InputError(
            f"The log is read by {table.engine} and the table of the time before by {old.engine}; give both the same."
        )
    if roles.time is not None and log.start is not None:
        if roles.time not in old.columns or old.kinds[roles.time] != "time":
            raise InputError(
                f"Nothing in the pre table says when its rows were: it has no times in {roles.time!r}. Rows from after "
                "the start would take a part of the effect away; add the column."
            )
        late = (nw.col(roles.time) >= nw.lit(log.start)).cast(nw.Int64).sum().alias("late")
        n = fetch(old.frame.select(late), old)["late"][0]
        if n:
            raise InputError(
                f"{n:,} rows of the pre table are from after the experiment began on {log.start:%Y-%m-%d %H:%M}: what "
                "is measured after exposure would take a part of the effect away. Cut the table there."
            )
    usable = [m for m in measures if all(c in old.columns for _, c in m.terms)]
    if not usable:
        raise InputError("The pre table has the columns of no metric; give it those of the log, from before the start.")
    for column in {c for m in usable for _, c in m.terms}:
        if old.kinds[column] != "numeric" and old.given.get(column) != nw.Boolean:
            raise InputError(f"The column {column!r} of the pre table holds {old.schema()[column]}; give numbers.")
    numbers = {c: _number(old, c) for m in usable for _, c in m.terms}
    terms = list(dict.fromkeys(t for m in usable for t in m.terms))
    sums = [term_sum(t, numbers).alias(f"{PRE}{t[0]} {t[1]}") for t in terms]
    frame = old.frame.group_by(roles.unit).agg(*sums)
    names = [f"{PRE}{t[0]} {t[1]}" for t in terms]
    flags = [f"{PRE}{t[0]} {t[1]}" for t in terms if t[0] == "any"]
    if flags:
        frame = frame.with_columns(*(_flag(c) for c in flags))
    joined = units.join(frame, on=roles.unit, how="left").with_columns(*(nw.col(c).fill_null(0.0) for c in names))
    return joined, {m.label: tuple(f"{PRE}{t[0]} {t[1]}" for t in m.terms) for m in usable}


def _entered(units: Frame, log: Log, table: Table) -> tuple[dict[date | None, Any], int, int]:
    """Units of each arm by the day they entered, how many are in several arms, and how many in several segments."""
    roles = log.roles
    keys = [ARM] + ([DAY] if roles.time is not None else [])
    asked = [nw.len().alias("units")]
    if log.segments:
        asked.append(nw.col(SEGMENT).is_null().cast(nw.Int64).sum().alias("several"))
    found = fetch(units.group_by(*keys).agg(*asked), table)
    out: dict[date | None, Any] = {}
    for row in found.iter_rows(named=True):
        when = _moment(row[DAY]) if roles.time is not None else None
        counts = out.setdefault(when.date() if when is not None else None, np.zeros(len(log.names), dtype=np.int64))
        if row[ARM] >= 0:
            counts[int(row[ARM])] += row["units"]
    several = int(found["several"].sum()) if log.segments and roles.unit is not None else 0
    return out, int(found.filter(pl.col(ARM) < 0)["units"].sum()), several


def _winsorised(
    units: Frame, wanted: dict[str, Wanted], measures: Sequence[Measure], table: Table
) -> tuple[Frame, dict[str, float]]:
    """Cut the largest per-unit sums of the metrics that ask for it, in columns of their own."""
    cut: dict[str, float] = {}
    made: list[nw.Expr] = []
    asking = [m for m in measures if m.winsorize is not None and m.terms]
    if not asking:
        return units, {}
    total = int(fetch(units.select(nw.len().alias("n")), table).item())
    for m in asking:
        keep = max(1, math.ceil(round((1 - float(m.winsorize or 1.0)) * total, 6)))
        for place, (how, _) in enumerate(m.terms):
            column = wanted[m.label].columns[place]
            largest = fetch(units.select(nw.col(column).alias("v")).sort("v", descending=True).head(keep), table)
            if how != "sum" or not largest.height:
                continue
            cap = float(largest["v"][-1])
            name = f"{column} cut at {m.winsorize}"
            made.append(nw.when(nw.col(column) > cap).then(nw.lit(cap)).otherwise(nw.col(column)).alias(name))
            columns = list(wanted[m.label].columns)
            columns[place] = name
            wanted[m.label] = replace(wanted[m.label], columns=tuple(columns))
            cut.setdefault(m.label, cap)
    return units.with_columns(*made) if made else units, cut


def _around(units: Frame, wanted: Mapping[str, Wanted], table: Table) -> dict[str, float]:
    """Numbers near the means of columns, so that sums of squares keep their digits."""
    columns = sorted({c for w in wanted.values() for c in w.columns})
    found = fetch(units.select(*(nw.col(c).mean().alias(f"m{i}") for i, c in enumerate(columns))), table)
    return {c: float(found[f"m{i}"][0] or 0.0) for i, c in enumerate(columns)}


def shares_of(given: Mapping[str, float]) -> dict[str, float]:
    """Planned shares by arm.

    Raises:
        InputError: When one is no positive number.
    """
    for value in given.values():
        if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value) or value <= 0:
            raise InputError(f"A planned share is {value!r}; give positive numbers, such as 0.5 for each of two arms.")
    return {as_text(k): float(v) for k, v in given.items()}


def _stages(plan: Plan, names: Sequence[str], days: Sequence[date | None]) -> tuple[Stage, ...]:
    out = []
    for start, shares in plan.shares:
        known = shares_of(shares)
        unknown, lacking = [k for k in known if k not in names], [n for n in names if n not in known]
        if unknown or lacking:
            raise InputError(
                f"The planned shares are for {', '.join(map(repr, known))}, the arms are "
                f"{', '.join(map(repr, names))}; give a share for each arm."
            )
        total = sum(known.values())
        first = 0
        if start is not None:
            first = next((i for i, d in enumerate(days) if d is not None and d >= start.date()), len(days))
        out.append(Stage(first, tuple(known[n] / total for n in names)))
    return tuple(out)


def _near(table: Table, log: Log, m: Quantile, drawn: pl.Series, below: Cells) -> list[tuple[Tail, ...]]:
    """The values of each arm around its quantile: of all rows, then of each segment."""
    value, arms = log.numbers[m.column], len(log.names)
    inflation = []
    for arm in range(arms):
        found = below.moments(arm)
        p = found.mean[0] / found.mean[1] if found.mean[1] > 0 else 0.0
        slope = np.array([1.0, -p]) / (found.mean[1] or 1.0)
        variance = float(slope @ found.covariance @ slope) / max(found.units, 1.0)
        plain = p * (1 - p) / max(found.mean[1] * found.units, 1.0)
        inflation.append(max(1.0, variance / plain) if log.roles.unit is not None and plain > 0 else 1.0)
    half = 10 * math.sqrt(m.q * (1 - m.q) / drawn.len()) * math.sqrt(max(inflation)) + 0.002
    keys = [ARM] + ([SEGMENT] if log.segments else [])
    rows = table.frame.filter(~value.is_null()).with_columns(value.alias("al_value"))
    while True:
        whole = half >= 0.5
        low = -math.inf if whole else float(drawn.quantile(max(0.0, m.q - half), "lower") or 0.0)
        high = math.inf if whole else float(drawn.quantile(min(1.0, m.q + half), "higher") or 0.0)
        low = -math.inf if m.q - half <= 0 else low
        high = math.inf if m.q + half >= 1 else high
        under = (nw.col("al_value") < low).cast(nw.Int64).sum().alias("below") if low > -math.inf else None
        sums = [nw.len().alias("rows")] + ([under] if under is not None else [])
        inside = rows
        if low > -math.inf:
            inside = inside.filter(nw.col("al_value") >= low)
        if high < math.inf:
            inside = inside.filter(nw.col("al_value") <= high)
        counts, values = fetch_all([rows.group_by(*keys).agg(*sums), inside.select(*keys, "al_value")], table)
        out = []
        for segment in range(-1, len(log.segments)):
            parts = []
            for arm in range(arms):
                where = pl.col(ARM) == arm
                if segment >= 0:
                    where &= pl.col(SEGMENT) == segment
                n = counts.filter(where)
                under_n = float(n["below"].sum()) if under is not None else 0.0
                near = values.filter(where)["al_value"].sort().to_numpy()
                parts.append(Tail(near, under_n, float(n["rows"].sum()), inflation[arm]))
            out.append(tuple(parts))
        if whole or all(_covers(p, m.q) for parts in out for p in parts):
            return out
        half *= 4


def _covers(near: Tail, q: float) -> bool:
    """Whether an interval of the quantile lies within the values that were fetched."""
    if near.rows < 2:
        return True
    half = 8 * math.sqrt(q * (1 - q) * near.inflation / near.rows)
    above = near.below + near.values.size
    return near.below <= max(0.0, q - half) * near.rows and above >= min(1.0, q + half) * near.rows
