"""Have users, data or queries changed since the reference?"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from afterlaunch.decide import InputError
from afterlaunch.finding import Review
from afterlaunch.questions.gather import Progress, Tables, count_columns, draw_samples, open_tables, preload, review
from afterlaunch.questions.over_time import follow
from afterlaunch.roles import Roles
from afterlaunch.tables.files import local_files
from afterlaunch.watch import Budget

CHECKS = ("drift", "domain", "novelty")
FOLLOWED = ("drift", "domain", "novelty", "performance", "concept")
PRIMARY = ("drift", "domain", "novelty", "performance", "concept")

Domain = Literal["screen", "always", "never"]


def drift(
    reference: Any,
    production: Any,
    *,
    every: str | None = None,
    alarm_budget: str = "1/month",
    outcomes: Any = None,
    roles: Roles | Mapping[str, Any] | None = None,
    margins: Mapping[str, float] | None = None,
    alpha: float = 0.05,
    task: str | None = None,
    threshold: float | None = None,
    domain: Domain | None = None,
    cache: str | Path | None = None,
    progress: Progress | None = None,
) -> Review:
    """Compare production with the reference: as a whole, or window by window.

    Args:
        reference: The table that says what normal is: a path or glob (Parquet, CSV, NDJSON,
            Arrow), or any dataframe or relation narwhals knows. Never modified.
        production: The table to judge.
        every: Length of a window, such as "1d", "6h", "1w", or "5000 rows" where there is no time.
            None compares the two tables as a whole.
        alarm_budget: With windows, how many false episodes to expect at most, over all columns,
            segments and windows together, such as "1/month".
        outcomes: With windows, a table with the id and the outcome of production rows.
        roles: What columns mean; the rest are features. The id and the time are guessed when
            not given, and the review says so.
        margins: How much change matters, over the defaults in `docs/drift.md`, by keys of the form
            ``CHECK[/EFFECT][@SUBJECT]``.
        alpha: Without windows, the chance of any false alarm in the whole review; with windows, the
            chance that a finding says `ok` of an effect at its margin.
        task: With windows and outcomes: "binary", "multiclass", "regression" or "ranking"; guessed.
        threshold: Score from which a prediction is positive.
        domain: Whether to train a classifier that tells production from the reference, which sees
            changes of many columns together: "always", "never", or "screen" for when a cheap look
            at the columns does not settle it. By default "never" without windows, else "screen".
        cache: With windows of a log that is files, a folder that keeps what was counted of them, so that
            the next review counts new files only; made when it is not there. None keeps nothing.
        progress: Called with a few words on what is being done.

    Returns:
        The review. With windows it has findings for every effect followed and for every episode.

    Raises:
        InputError: For unusable input, in one sentence.

    Example:
        >>> import polars as pl
        >>> normal = pl.DataFrame({"age": [20.0, 30.0, 40.0, 50.0] * 500})
        >>> review = drift(normal, normal.with_columns(pl.col("age") + 15))
        >>> review.verdict.value, review.findings[0].subject
        ('alarm', 'age')
    """
    if domain not in {None, "screen", "always", "never"}:
        raise InputError(f"The option domain is {domain!r}; give screen, always or never.")
    preload()
    budget = Budget.parse(alarm_budget)
    known = roles if isinstance(roles, Roles) else Roles.from_mapping(roles or {})
    tables = open_tables(reference, production, known, outcomes=outcomes, progress=progress)
    if every is not None:
        return follow(
            tables,
            every,
            checks=FOLLOWED,
            primary=PRIMARY,
            margins=margins or {},
            budget=budget,
            alpha=alpha,
            task=task,
            threshold=threshold,
            domain=domain or "screen",
            files=local_files(production),
            cache=Path(cache) if cache is not None else None,
            progress=progress,
        )
    return _compare(tables, margins or {}, alpha, domain or "never", progress)


def _compare(
    tables: Tables, margins: Mapping[str, float], alpha: float, domain: Domain, progress: Progress | None
) -> Review:
    """The two tables as a whole; rows are drawn only for what must look at rows."""
    before, after = count_columns(tables, progress)
    from afterlaunch.checks import Evidence

    roles = tables.roles
    queries = any(c is not None and c in tables.production.columns for c in (roles.text, roles.embedding))
    checks = [
        c for c in CHECKS if c == "drift" or (c == "domain" and domain != "never") or (c == "novelty" and queries)
    ]
    samples = draw_samples(tables) if len(checks) > 1 else (None, None)
    evidence = Evidence(
        roles.with_(bucket=tables.bucket) if len(checks) > 1 else roles,
        None,
        before.kinds,
        after.kinds,
        before,
        after,
        reference_sample=samples[0],
        production_sample=samples[1],
        options={"domain": domain},
    )
    return review(
        "drift",
        evidence,
        checks,
        primary=PRIMARY,
        margins=margins,
        alpha=alpha,
        tables=tables,
        progress=progress,
    )
