"""Is the model as good in production as offline tests said, and if not, why?"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

import narwhals as nw
import polars as pl

from afterlaunch.decide import InputError
from afterlaunch.finding import Review
from afterlaunch.profile.pairs import count_pairs
from afterlaunch.questions.gather import Progress, Tables, count_columns, draw_samples, open_tables, preload, review
from afterlaunch.questions.outcomes import DEFAULT_K, count_outcomes, fetch_of, task_of, with_positive
from afterlaunch.roles import Roles
from afterlaunch.tables import (
    Table,
    as_pandas,
    require_unique,
)

if TYPE_CHECKING:
    pass

CHECKS = ("metric", "availability", "leakage", "skew", "position", "rescore", "gap", "drift")
PRIMARY = ("metric", "availability", "leakage", "skew", "position")


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
    tables.roles = with_positive(tables.roles, samples)
    kind = task_of(task, tables.roles, samples)
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
        offline, live = count_outcomes(tables, kind, samples[0], options)
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
        fetch=partial(fetch_of, *both),
        bucket=tables.bucket,
    )
