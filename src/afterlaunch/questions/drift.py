"""Have users, data or queries changed since the reference?"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from afterlaunch.finding import Review
from afterlaunch.questions.gather import Progress, count_columns, open_tables, preload, review
from afterlaunch.roles import Roles

CHECKS = ("drift",)
PRIMARY = ("drift",)


def drift(
    reference: Any,
    production: Any,
    *,
    roles: Roles | Mapping[str, Any] | None = None,
    margins: Mapping[str, float] | None = None,
    alpha: float = 0.05,
    progress: Progress | None = None,
) -> Review:
    """Compare two tables column by column.

    Args:
        reference: The table that says what normal is: a path or glob (Parquet, CSV, NDJSON,
            Arrow), or any dataframe or relation narwhals knows. Never modified.
        production: The table to judge.
        roles: What columns mean; the rest are features. The id and the time are guessed when
            not given, and the review says so.
        margins: How much change matters, over the defaults in `docs/drift.md`, by keys of the form
            ``CHECK[/EFFECT][@SUBJECT]``.
        alpha: Chance of any false alarm in the whole review.
        progress: Called with a few words on what is being done.

    Returns:
        The review; primary check is "drift".

    Raises:
        InputError: For unusable input, in one sentence.

    Example:
        >>> import polars as pl
        >>> normal = pl.DataFrame({"age": [20.0, 30.0, 40.0, 50.0] * 500})
        >>> review = drift(normal, normal.with_columns(pl.col("age") + 15))
        >>> review.verdict.value, review.findings[0].subject
        ('alarm', 'age')
    """
    preload()
    known = roles if isinstance(roles, Roles) else Roles.from_mapping(roles or {})
    tables = open_tables(reference, production, known, progress=progress)
    before, after = count_columns(tables, progress)
    from afterlaunch.checks import Evidence

    evidence = Evidence(tables.roles, None, before.kinds, after.kinds, before, after)
    return review(
        "drift",
        evidence,
        CHECKS,
        primary=PRIMARY,
        margins=margins or {},
        alpha=alpha,
        tables=tables,
        progress=progress,
    )
