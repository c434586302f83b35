"""What questions about outcomes share: the task, the positive outcome, and counting what metrics are computed from."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import TYPE_CHECKING, Any, cast, get_args

import polars as pl

from afterlaunch.decide import InputError
from afterlaunch.profile.buckets import with_bucket
from afterlaunch.profile.metrics import Task, count_metrics
from afterlaunch.profile.scores import positive_of, score_knots
from afterlaunch.profile.types import MetricCounts
from afterlaunch.questions.gather import Tables
from afterlaunch.roles import Roles
from afterlaunch.tables import Table, fetch_all, free_name, require_probability, with_row_number

if TYPE_CHECKING:
    from afterlaunch.checks import Sample

DEFAULT_K = 10
"""Ranks that count in NDCG."""

MOST_CLASSES = 50
"""An outcome with more different values is not a class."""

MOST_SEGMENTS = 50
"""Segments that get metrics of their own, largest first."""


def outcome_values(roles: Roles, samples: tuple[Sample, Sample]) -> list[Any]:
    """Different outcomes in the samples, at most `MOST_CLASSES` + 1 of them."""
    found: dict[Any, None] = {}
    for sample in samples:
        if roles.outcome is not None and roles.outcome in sample.frame.columns:
            for value in sample.frame[roles.outcome].drop_nulls().unique(maintain_order=True).head(MOST_CLASSES + 1):
                found.setdefault(value)
    return list(found)


def with_positive(roles: Roles, samples: tuple[Sample, Sample]) -> Roles:
    """The roles with the outcome that counts as positive, as the tables write it."""
    values = outcome_values(roles, samples)
    if roles.outcome is None or not values:
        return roles
    if roles.positive is not None:
        return roles.with_(positive=_as_found(roles.positive, values, roles.outcome))
    return roles.with_(positive=positive_of(values, None, roles.outcome)) if len(values) <= 2 else roles


def _as_found(given: Any, values: list[Any], column: str) -> Any:
    """The user's positive outcome as the table writes it: the command line knows only text."""
    for value in values:
        if value == given or str(value) == str(given):
            return value
    for value in values:
        if isinstance(value, (int, float)) and _is_number(given) and float(value) == float(given):
            return value
    shown = ", ".join(repr(v) for v in values[:6])
    raise InputError(f"The role positive is {given!r}, but the column {column!r} has only {shown}; give one of these.")


def _is_number(value: Any) -> bool:
    try:
        float(value)
    except (TypeError, ValueError):
        return False
    return True


def task_of(given: str | None, roles: Roles, samples: tuple[Sample, Sample]) -> Task | None:
    """What kind of prediction it is."""
    if given is not None:
        if given not in get_args(Task):
            raise InputError(f"The task is {given!r}; give one of {', '.join(get_args(Task))}.")
        return cast(Task, given)
    values = outcome_values(roles, samples)
    if roles.outcome is None or not values:
        return None
    if roles.list is not None and (roles.score is not None or roles.position is not None):
        return "ranking"
    if roles.scores:
        return "multiclass"
    if len(values) <= 2:
        return "binary"
    numeric = all(isinstance(v, (int, float)) and not isinstance(v, bool) for v in values)
    if not numeric:
        return "multiclass"
    whole = all(float(v).is_integer() for v in values)
    predicted = samples[0].frame.get_column(roles.prediction, default=None) if roles.prediction else None
    if whole and len(values) <= 20 and predicted is not None:
        seen = {float(v) for v in predicted.drop_nulls().unique().head(MOST_CLASSES) if _is_number(v)}
        if seen <= {float(v) for v in values}:
            return "multiclass"
    return "regression"


def count_outcomes(
    tables: Tables,
    task: Task,
    sample: Sample,
    options: Mapping[str, Any],
    windows: Mapping[str, tuple[str, int]] | None = None,
) -> tuple[dict[str, MetricCounts], dict[str, MetricCounts]]:
    """What the metrics of both tables are computed from.

    Args:
        tables: The tables.
        task: Kind of prediction.
        sample: Rows of the reference.
        options: "k" and, where given, "threshold".
        windows: Table name to its window column and number of windows, to count by window instead of by segment.

    Returns:
        For the reference and for production, counts of all rows under "", and of every segment or window by
        its label.
    """
    roles = tables.roles
    if task == "binary" and roles.score is not None:
        for table in (tables.reference, tables.production):
            if roles.score in table.columns:
                require_probability(table, roles.score)
    knots: tuple[float, ...] = ()
    if task == "binary" and roles.score is not None and roles.score in sample.frame.columns:
        knots = score_knots(sample.frame[roles.score].cast(pl.Float64, strict=False).drop_nulls().to_numpy())
    classes = sorted(outcome_values(roles, (sample, sample)), key=str)[:MOST_CLASSES] if task == "multiclass" else []
    segments: list[Any] = []
    if roles.segment is not None and roles.segment in sample.frame.columns:
        counts = sample.frame[roles.segment].drop_nulls().value_counts(sort=True)
        segments = counts[roles.segment].to_list()[:MOST_SEGMENTS]
    out = []
    for table in (tables.reference, tables.production):
        rows, bucket = bucketed(table, tables)
        cut: tuple[str | None, list[Any]] = (None, [])
        if windows is not None:
            cut = (windows[table.name][0], list(range(windows[table.name][1]))) if table.name in windows else cut
        elif segments and roles.segment in table.columns:
            cut = (roles.segment, segments)
        out.append(
            count_metrics(
                rows.frame,
                roles,
                task,
                fetch=partial(fetch_of, table),
                bucket=bucket,
                segment=cut[0],
                segments=cut[1],
                knots=knots,
                classes=classes,
                threshold=options.get("threshold", 0.5),
                positive=roles.positive if roles.positive is not None else 1,
                k=options["k"],
            )
        )
    return out[0], out[1]


def fetch_of(*args: Any) -> list[pl.DataFrame]:
    """Run the frames that come last, made from the tables before them."""
    *tables, frames = args
    return fetch_all(frames, *tables)


def bucketed(table: Table, tables: Tables) -> tuple[Table, str]:
    """The table with buckets: those of its units, else dealt by row number."""
    if tables.bucket is not None:
        return table, tables.bucket
    numbered, row = with_row_number(table)
    name = free_name(numbered.columns, "afterlaunch_bucket")
    return numbered.with_frame(with_bucket(numbered.frame, row, name=name, integer=True)), name
