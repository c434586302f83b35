"""Fetching what the ranked lists of two versions hold."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

import narwhals as nw
import numpy as np
import polars as pl

from afterlaunch.decide import InputError
from afterlaunch.profile.compared import Compared, Run
from afterlaunch.profile.ranked import Lists, count_lists
from afterlaunch.questions.gather import SEED
from afterlaunch.roles import Roles
from afterlaunch.tables import Table, fetch, free_name, open_table
from afterlaunch.tables.panel import is_run

PERSISTENCE = 0.9
"""Chance that a user looks at the next place of a list: the first ten places have 86 % of the weight of RBO."""

RERUN_LISTS = 5_000
"""Lists that are compared between all pairs of runs, where there are replicates."""

FETCHED_ROWS = 2_000_000
"""Rows of lists that are brought from another engine at most; with more, lists are drawn."""

WEIGHT = "weight"


def count_ranked(
    table: Table,
    roles: Roles,
    runs: Sequence[Run],
    before: int,
    replicate: str | None,
    history: Any,
    k: int,
    notes: list[str],
) -> Compared:
    """Compare the lists of all pairs of runs.

    Args:
        table: Long table with a row for each item of each list and run.
        roles: With version, list, item, and position or score.
        runs: The runs, those of the baseline first.
        before: How many are the baseline's.
        replicate: Column that tells replicates apart, or None.
        history: What users chose before, or None.
        k: Length of the lists that are compared.
        notes: Sentences for the review are added here.

    Raises:
        InputError: For what cannot be compared, in one sentence.
    """
    listed, item, version = roles.list, roles.item, roles.version
    if listed is None or item is None or version is None:
        raise InputError("Ranked lists need the roles version, list and item; name their columns.")
    order = roles.position if roles.position is not None else roles.score
    if order is None:
        raise InputError(
            f"Nothing says in which order the items of a list stand; name the column of the positions with the role "
            f"position (or a score with the role score) beside {listed!r} and {item!r}."
        )
    number = free_name(table.columns, "afterlaunch_run")
    which = nw.lit(None, dtype=nw.Int64())
    for i, run in enumerate(runs):
        which = nw.when(is_run(table, run, version, replicate)).then(nw.lit(i, dtype=nw.Int64())).otherwise(which)
    frame = table.frame.with_columns(which.alias(number)).filter(~nw.col(number).is_null())
    drawn, rows = None, table.rows()
    if len(runs) > 2 or (table.engine != "polars" and rows > FETCHED_ROWS):
        most = RERUN_LISTS if len(runs) > 2 else max(1, FETCHED_ROWS // (2 * k))
        lists = fetch(frame.select(listed).unique(), table)[listed].drop_nulls().sort()
        if lists.len() > most:
            places = np.sort(np.random.default_rng(SEED).choice(lists.len(), most, replace=False))
            frame = frame.filter(nw.col(listed).is_in(lists.gather(places).to_list()))
            rows, drawn = rows * most // lists.len(), most
            notes.append(f"{most:,} of {lists.len():,} lists were drawn and compared.")
    where = Lists(number, listed, item, order, roles.position is None, roles.category, roles.bucket, roles.segment)
    found = count_lists(
        frame,
        where,
        runs,
        before,
        k=k,
        p=PERSISTENCE,
        fetch=partial(_fetch, table),
        rows=rows,
        history=_history(history, roles),
        sample=drawn,
    )
    if found.repeats:
        notes.append(f"{found.repeats:,} rows repeat an item of their list; it counts at its first place.")
    return Compared(lists=found.pairs, list_segments=found.segments, mixes=found.mixes, catalogue=found.catalogue)


def _fetch(table: Table, frame: Any) -> pl.DataFrame:
    return fetch(frame, table)


def _history(given: Any, roles: Roles) -> pl.DataFrame | None:
    """What each user chose before: columns named by the roles list and category, and "weight"."""
    if given is None:
        return None
    table = open_table(given, name="history")
    if roles.category is None or roles.list is None:
        raise InputError("The history says which categories users chose, but no column has the role category; name it.")
    for column in (roles.list, roles.category):
        if column not in table.columns:
            raise InputError(f"The history has no column {column!r}; it needs those of the roles list and category.")
    value = nw.col(roles.weight).sum() if roles.weight is not None and roles.weight in table.columns else nw.len()
    rows = table.frame.filter(~nw.col(roles.list).is_null() & ~nw.col(roles.category).is_null())
    return fetch(rows.group_by(roles.list, roles.category).agg(value.alias(WEIGHT)), table)
