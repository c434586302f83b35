"""Cold reruns of two weeks' clusterings, on members that fit into memory."""

from __future__ import annotations

from typing import Any

import narwhals as nw
import polars as pl

from afterlaunch.decide import InputError
from afterlaunch.profile.compared import RunPairs
from afterlaunch.profile.labels import WEEKS, count_reruns
from afterlaunch.profile.panel import drawn
from afterlaunch.questions.gather import SEED, Tables
from afterlaunch.tables import Table, fetch, open_table, sample
from afterlaunch.tables.panel import MOST_RUNS

LABELS = 4_000_000
"""Most labels of reruns, members times runs, that are held."""

MEMBERS = 50_000
"""Most members of whom reruns are compared."""

FEWEST = 2_000
"""Members that are looked at however many runs there are."""

WEEK, REPLICATE = "week", "replicate"


def count_cold(reruns: Any, tables: Tables, labels: tuple[str, str]) -> RunPairs:
    """Distances between cold reruns.

    Where one of the weeks has no reruns, the labels that were given are its single run.

    Args:
        reruns: A table with the id, "week", "replicate" and the label.
        tables: The two weeks.
        labels: Their columns with labels.

    Raises:
        InputError: When a column lacks, or there are too many runs.
    """
    table, key, label = open_table(reruns, name="reruns"), tables.roles.id, labels[1]
    if key is None:
        raise InputError("Reruns are compared member by member, which needs the role 'id'; name the column with id=.")
    for column, what in (
        (key, "the id"),
        (WEEK, "the week"),
        (REPLICATE, "the number of the rerun"),
        (label, "labels"),
    ):
        if column not in table.columns:
            raise InputError(
                f"The reruns table ({table.source}) has no column {column!r} with {what}; it has "
                f"{', '.join(repr(c) for c in table.columns[:12])}."
            )
    runs = fetch(table.frame.select(WEEK, REPLICATE).unique(), table)
    if not runs.height:
        raise InputError(f"The reruns table ({table.source}) has no rows; leave it out.")
    if runs.height > MOST_RUNS:
        raise InputError(
            f"The reruns table has {runs.height} runs, more than {MOST_RUNS}; leave some out, or see that "
            f"{REPLICATE!r} numbers the reruns."
        )
    most = max(FEWEST, min(MEMBERS, LABELS // runs.height))
    members = table.rows() / runs.height
    chosen = None if members <= most else _chosen(table, key, runs, most, members)
    wanted = [key, WEEK, REPLICATE, label]
    rows = fetch(_kept(table, chosen).select(*wanted), table)
    found = {str(w).strip().lower() for w in runs[WEEK].to_list()}
    for week, given, own in zip(WEEKS, (tables.reference, tables.production), labels, strict=True):
        if week not in found and found <= set(WEEKS) and key in given.columns:
            alone = fetch(_kept(given, chosen).select(nw.col(key), nw.col(own).alias(label)), given)
            tables.notes.append(f"The {week} week has no reruns, so the labels that were given are its only run.")
            added = alone.select(
                pl.col(key).cast(rows[key].dtype, strict=False),
                pl.lit(week).alias(WEEK),
                pl.lit(None).cast(rows[REPLICATE].dtype).alias(REPLICATE),
                pl.col(label).cast(pl.String),
            )
            rows = pl.concat([rows.with_columns(pl.col(label).cast(pl.String), pl.col(WEEK).cast(pl.String)), added])
    return count_reruns(rows, key, WEEK, REPLICATE, label, chosen is not None)


def _chosen(table: Table, key: str, runs: pl.DataFrame, most: int, members: float) -> nw.Expr:
    """Which members are looked at: the same ones of every run."""
    if table.schema()[key].is_integer():
        return drawn(nw.col(key), most / members)
    first = runs.sort(WEEK, REPLICATE).row(0)
    one = nw.lit(True)
    for column, value in zip((WEEK, REPLICATE), first, strict=True):
        one = one & (nw.col(column).is_null() if value is None else nw.col(column) == value)
    few = sample(table.with_frame(table.frame.filter(one)), [key], most, SEED)
    return nw.col(key).is_in(few[key].drop_nulls().to_list())


def _kept(table: Table, chosen: nw.Expr | None) -> Any:
    return table.frame if chosen is None else table.frame.filter(chosen)
