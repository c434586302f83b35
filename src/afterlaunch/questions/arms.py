"""Counting an experiment: who entered which arm when, and what each unit brought."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date, datetime, timedelta
from typing import Any

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
    flag,
    metric_key,
    term_name,
    term_row,
    term_sum,
)
from afterlaunch.questions.arms_before import PRE, with_covariates
from afterlaunch.questions.arms_log import Log, moment_of_day
from afterlaunch.questions.arms_near import drawn, near_quantile, spread
from afterlaunch.roles import Roles
from afterlaunch.stats.looks import Looks
from afterlaunch.tables import Table, as_text, fetch, parse_every
from afterlaunch.tables.calendar import MICROSECONDS
from afterlaunch.tables.table import Frame

ENTRY, ROWS = "al_entry", "al_rows"


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
    samples = drawn(table, log, quantiles)
    numbers = dict(log.numbers)
    wanted = _sums(measures, log, numbers, samples, _middle(table, log, end))
    _leave_out_full(wanted, log, measures)
    if table.engine == "polars":
        held = _held(table, roles.unit, lambda t: _by_unit(t, log, wanted, numbers, measures))
        units: Frame = nw.from_native(held.lazy())
    else:
        units = _by_unit(table, log, wanted, numbers, measures)
    units, covariates = with_covariates(units, table, log, measures, wanted, pre)
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
    keys = [metric_key(label) for label in metrics]
    cells = count_cells(
        units,
        wanted,
        arms=len(log.names),
        days=days,
        segments=segments,
        by_segment=keys,
        around=_around(units, wanted, table),
        fetch=lambda frame: fetch(frame, table),
    )
    assigned = np.zeros((len(log.names), len(days)), dtype=np.int64)
    for day, counts in entered.items():
        assigned[:, days.index(day) if dated else 0] += counts
    if quantiles and roles.unit is not None and (both or plan.window is not None):
        # Rows of units that do not count have no say in quantiles either.
        table = table.with_frame(table.frame.join(units.select(roles.unit), on=roles.unit, how="semi"))
    near = {m.label: near_quantile(table, log, m, samples[m.label], cells[0][f"below:{m.label}"]) for m in quantiles}
    named = ["", *log.segments]
    return Arms(
        names=log.names,
        measures=tuple(measures),
        cells={s: {label: by[metric_key(label)] for label in metrics} for s, by in zip(named, cells, strict=True)},
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


def _middle(table: Table, log: Log, end: datetime | None) -> datetime | None:
    """Midnight before or after which about half of the rows lie; None for experiments of a few days."""
    when = log.roles.time
    if when is None or log.start is None or end is None or end - log.start < timedelta(days=4):
        return None
    median: Any = spread(table, when)[when].median()
    if median is None:
        return None
    moment: datetime = median
    moment = (moment + timedelta(hours=12)).replace(hour=0, minute=0, second=0, microsecond=0)
    return moment if log.start < moment < end else None


def _sums(
    measures: Sequence[Measure],
    log: Log,
    numbers: dict[str, nw.Expr],
    samples: Mapping[str, pl.Series],
    middle: datetime | None,
) -> dict[str, Wanted]:
    """What is added up for each unit, by name; columns that have to be made first are added to `numbers`."""
    when, out = log.roles.time, {}
    for m in measures:
        if isinstance(m, Quantile):
            value, column = float(samples[m.label].quantile(m.q, "nearest") or 0.0), f"<below {m.q}>{m.column}"
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
        out[metric_key(m.label)] = Wanted(tuple(columns), known)
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
        *(flag(c) for c in flags),
    )
    kept = [nw.col(c) for c in out.collect_schema().names() if not c.endswith(("^2", " alike")) and c not in codes]
    arm = nw.when(nw.col(f"{ARM} alike")).then(nw.col(ARM)).otherwise(nw.lit(-1)).alias(ARM)
    segment = nw.when(nw.col(f"{SEGMENT} alike") & (nw.col(SEGMENT) < last)).then(nw.col(SEGMENT)).alias(SEGMENT)
    return out.select(*kept, arm, *([segment] if last else []))


def _leave_out_full(wanted: dict[str, Wanted], log: Log, measures: Sequence[Measure]) -> None:
    """A column without gaps is known in every row: its known values are the rows."""
    full = {term_name(("known", c)): ROWS for c in log.numbers if c not in log.gaps}
    for m in measures:
        if isinstance(m, Quantile) and m.column not in log.gaps:
            full[term_name(("known", f"<below {m.q}>{m.column}"))] = ROWS
    for name, w in wanted.items():
        wanted[name] = replace(w, columns=tuple(full.get(c, c) for c in w.columns))


def _all_terms(numbers: Mapping[str, nw.Expr]) -> list[Term]:
    return [(how, column) for column in numbers for how in ("sum", "any", "known")]


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
        when = moment_of_day(row[DAY]) if roles.time is not None else None
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
            column = wanted[metric_key(m.label)].columns[place]
            largest = fetch(units.select(nw.col(column).alias("v")).sort("v", descending=True).head(keep), table)
            if how != "sum" or not largest.height:
                continue
            cap = float(largest["v"][-1])
            name = f"{column} cut at {m.winsorize}"
            made.append(nw.when(nw.col(column) > cap).then(nw.lit(cap)).otherwise(nw.col(column)).alias(name))
            columns = list(wanted[metric_key(m.label)].columns)
            columns[place] = name
            wanted[metric_key(m.label)] = replace(wanted[metric_key(m.label)], columns=tuple(columns))
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
