"""What was known of each unit before an experiment: covariates of the log, or a table of the time before."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import narwhals as nw

from afterlaunch.decide import InputError
from afterlaunch.measures import Measure
from afterlaunch.profile.arms import Wanted, flag, metric_key, term_sum
from afterlaunch.questions.arms_log import Log
from afterlaunch.tables import Table, are_numbers, as_number, fetch, open_table
from afterlaunch.tables.table import Frame

PRE = "al_pre:"


def with_covariates(
    units: Frame, table: Table, log: Log, measures: Sequence[Measure], wanted: dict[str, Wanted], pre: Any
) -> tuple[Frame, dict[str, int]]:
    """Add what was known of each unit before the experiment, and put it behind the columns of its metric.

    Args:
        units: One row for each unit.
        table: The log that it was made of.
        log: The log as it was prepared.
        measures: The metrics.
        wanted: What is added up for each; columns of covariates are added.
        pre: Table of the time before, or None.

    Returns:
        The units, and how many columns of covariates each metric has.

    Raises:
        InputError: For covariates that were measured after exposure, and for a table that cannot be joined.
    """
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
        key = metric_key(label)
        wanted[key] = replace(wanted[key], columns=(*wanted[key].columns, *columns))
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
        if not are_numbers(old, column):
            raise InputError(f"The column {column!r} of the pre table holds {old.schema()[column]}; give numbers.")
    numbers = {c: as_number(old, c) for m in usable for _, c in m.terms}
    terms = list(dict.fromkeys(t for m in usable for t in m.terms))
    sums = [term_sum(t, numbers).alias(f"{PRE}{t[0]} {t[1]}") for t in terms]
    frame = old.frame.group_by(roles.unit).agg(*sums)
    names = [f"{PRE}{t[0]} {t[1]}" for t in terms]
    flags = [f"{PRE}{t[0]} {t[1]}" for t in terms if t[0] == "any"]
    if flags:
        frame = frame.with_columns(*(flag(c) for c in flags))
    joined = units.join(frame, on=roles.unit, how="left").with_columns(*(nw.col(c).fill_null(0.0) for c in names))
    return joined, {m.label: tuple(f"{PRE}{t[0]} {t[1]}" for t in m.terms) for m in usable}
