"""Is the model as good in production as offline tests said, and if not, why?"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any, cast, get_args

import narwhals as nw
import polars as pl

from afterlaunch.decide import InputError
from afterlaunch.finding import Review
from afterlaunch.profile.buckets import with_bucket
from afterlaunch.profile.metrics import Task, count_metrics
from afterlaunch.profile.pairs import count_pairs
from afterlaunch.profile.scores import positive_of, score_knots
from afterlaunch.profile.types import MetricCounts
from afterlaunch.questions.gather import Progress, Tables, count_columns, draw_samples, open_tables, preload, review
from afterlaunch.roles import Roles
from afterlaunch.tables import (
    Table,
    as_pandas,
    fetch_all,
    free_name,
    require_probability,
    require_unique,
    with_row_number,
)

if TYPE_CHECKING:
    from afterlaunch.checks import Sample

CHECKS = ("metric", "availability", "leakage", "skew", "position", "rescore", "gap", "drift")
PRIMARY = ("metric", "availability", "leakage", "skew", "position")

DEFAULT_K = 10
"""Ranks that count in NDCG."""

MOST_CLASSES = 50
"""An outcome with more different values is not a class."""

MOST_SEGMENTS = 50
"""Segments that get metrics of their own, largest first."""


def launch(
    reference: Any,
    production: Any,
    *,
    outcomes: Any = None,
    roles: Roles | Mapping[str, Any] | None = None,
    margins: Mapping[str, float] | None = None,
    alpha: float = 0.05,
    task: str | None = None,
    threshold: float | None = None,
    k: int | None = None,
    predict: Callable[..., Any] | None = None,
    serving: Mapping[str, Any] | None = None,
    progress: Progress | None = None,
) -> Review:
    """Review a launch: is the model as good as offline tests said, and if not, why?

    Args:
        reference: The offline table that the model was tested on (holdout or training set).
        production: The log since launch.
        outcomes: Outcomes of the log, joined by the role `id`.
        roles: What columns mean; the rest are features.
        margins: How much change matters, over the defaults in `docs/launch.md`.
        alpha: Chance of any false alarm in the whole review.
        task: "binary", "multiclass", "regression" or "ranking"; guessed from the outcome when None.
        threshold: Score from which a row counts as predicted positive, when there is no `prediction`.
        k: Cut-off of NDCG (default 10).
        predict: The model: takes rows of the reference, as pandas when `reference` is a pandas frame
            and else as Polars, and returns scores, shape (n,). With it, the review sizes what each
            broken column costs.
        serving: Column to the value that serving code puts in when the column is missing.
        progress: Called with a few words on what is being done.

    Returns:
        The review; primary checks are metric, availability, leakage, skew and position.

    Raises:
        InputError: For unusable input, in one sentence.

    Example:
        >>> import polars as pl
        >>> offline = pl.DataFrame({"y": [0, 1] * 500, "p": [0.2, 0.8] * 500, "age": [30.0, 40.0] * 500})
        >>> review = launch(offline, offline.drop("age"), roles={"outcome": "y", "score": "p"})
        >>> review.findings[0].id
        'availability/missing@age'
    """
    say = progress or (lambda _: None)
    preload()
    known = roles if isinstance(roles, Roles) else Roles.from_mapping(roles or {})
    tables = open_tables(reference, production, known, outcomes=outcomes, progress=progress)
    before, after = count_columns(tables, progress)
    say("sampling both tables")
    samples = draw_samples(tables)
    tables.roles = _with_positive(tables.roles, samples)
    kind = _task(task, tables.roles, samples)
    if k is not None and k < 1:
        raise InputError(f"The cut-off k is {k}; give a whole number from 1 on.")
    options: dict[str, Any] = {"k": DEFAULT_K if k is None else k, "serving": dict(serving or {})}
    if threshold is not None:
        options["threshold"] = threshold
    from afterlaunch.checks import Evidence

    evidence = Evidence(
        # The bucket of each row is a role here, so that no check takes it for a feature.
        roles=tables.roles.with_(bucket=tables.bucket),
        task=kind,
        reference_kinds={c: v for c, v in tables.reference.kinds.items() if c != tables.bucket},
        production_kinds={c: v for c, v in tables.production.kinds.items() if c != tables.bucket},
        reference=before,
        production=after,
        reference_sample=samples[0],
        production_sample=samples[1],
        predict=partial(_predict, predict, tables.reference) if predict is not None else None,
        options=options,
    )
    if kind is not None:
        say("counting outcomes")
        offline, live = _count_metrics(tables, kind, samples[0], options)
        evidence = replace(evidence, metric_reference=offline, metric_production=live)
    say("comparing rows found in both tables")
    evidence = replace(evidence, pairs=_pairs(tables))
    return review(
        "launch",
        evidence,
        CHECKS,
        primary=PRIMARY,
        margins=margins or {},
        alpha=alpha,
        tables=tables,
        progress=progress,
    )


def _outcome_values(roles: Roles, samples: tuple[Sample, Sample]) -> list[Any]:
    """Different outcomes in the samples, at most `MOST_CLASSES` + 1 of them."""
    found: dict[Any, None] = {}
    for sample in samples:
        if roles.outcome is not None and roles.outcome in sample.frame.columns:
            for value in sample.frame[roles.outcome].drop_nulls().unique(maintain_order=True).head(MOST_CLASSES + 1):
                found.setdefault(value)
    return list(found)


def _with_positive(roles: Roles, samples: tuple[Sample, Sample]) -> Roles:
    values = _outcome_values(roles, samples)
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


def _task(given: str | None, roles: Roles, samples: tuple[Sample, Sample]) -> Task | None:
    """What kind of prediction it is."""
    if given is not None:
        if given not in get_args(Task):
            raise InputError(f"The task is {given!r}; give one of {', '.join(get_args(Task))}.")
        return cast(Task, given)
    values = _outcome_values(roles, samples)
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


def _count_metrics(
    tables: Tables, task: Task, sample: Sample, options: Mapping[str, Any]
) -> tuple[dict[str, MetricCounts], dict[str, MetricCounts]]:
    roles = tables.roles
    if task == "binary" and roles.score is not None:
        for table in (tables.reference, tables.production):
            if roles.score in table.columns:
                require_probability(table, roles.score)
    knots: tuple[float, ...] = ()
    if task == "binary" and roles.score is not None and roles.score in sample.frame.columns:
        knots = score_knots(sample.frame[roles.score].cast(pl.Float64, strict=False).drop_nulls().to_numpy())
    classes = sorted(_outcome_values(roles, (sample, sample)), key=str)[:MOST_CLASSES] if task == "multiclass" else []
    segments: list[Any] = []
    if roles.segment is not None and roles.segment in sample.frame.columns:
        counts = sample.frame[roles.segment].drop_nulls().value_counts(sort=True)
        segments = counts[roles.segment].to_list()[:MOST_SEGMENTS]
    out = []
    for table in (tables.reference, tables.production):
        bucketed, bucket = _bucketed(table, tables)
        out.append(
            count_metrics(
                bucketed.frame,
                roles,
                task,
                fetch=partial(_fetch, table),
                bucket=bucket,
                segment=roles.segment if segments and roles.segment in table.columns else None,
                segments=segments,
                knots=knots,
                classes=classes,
                threshold=options.get("threshold", 0.5),
                positive=roles.positive if roles.positive is not None else 1,
                k=options["k"],
            )
        )
    return out[0], out[1]


def _predict(predict: Callable[..., Any], table: Table, rows: pl.DataFrame) -> Any:
    """Call the user's model with the types that the user's table has."""
    casts = []
    for name, dtype in table.given.items():
        if name in rows.columns and rows[name].dtype == pl.String:
            if dtype == nw.Boolean:
                casts.append(pl.col(name) == "true")
            elif dtype == nw.Categorical:
                casts.append(pl.col(name).cast(pl.Categorical))
    frame = rows.with_columns(casts)
    return predict(as_pandas(frame) if table.source == "pandas" else frame)


def _fetch(*args: Any) -> list[pl.DataFrame]:
    *tables, frames = args
    return fetch_all(frames, *tables)


def _bucketed(table: Table, tables: Tables) -> tuple[Table, str]:
    """The table with buckets: those of its units, else dealt by row number."""
    if tables.bucket is not None:
        return table, tables.bucket
    numbered, row = with_row_number(table)
    name = free_name(numbered.columns, "afterlaunch_bucket")
    return numbered.with_frame(with_bucket(numbered.frame, row, name=name, integer=True)), name


def _pairs(tables: Tables) -> Any:
    roles = tables.roles
    both = (tables.reference, tables.production)
    if roles.id is None or not all(roles.id in t.columns for t in both) or len({t.kinds[roles.id] for t in both}) > 1:
        return None
    features = [
        c
        for c in roles.features_of(tables.reference.columns)
        if c in tables.production.columns
        and c != tables.bucket
        and tables.reference.kinds[c] == tables.production.kinds[c]
    ]
    for table in both:
        require_unique(table, roles.id)
    return count_pairs(
        tables.reference.frame,
        tables.production.frame,
        keys=[roles.id],
        features=features,
        kinds=tables.reference.kinds,
        fetch=partial(_fetch, *both),
        bucket=tables.bucket,
    )
