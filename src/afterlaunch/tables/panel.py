"""A panel: the same things put before several versions of a model, long or wide, as one row for each thing."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, time
from typing import Any

import narwhals as nw

from afterlaunch.decide import InputError
from afterlaunch.profile.compared import Run
from afterlaunch.tables.rules import short
from afterlaunch.tables.table import Table, as_text, fetch, free_name

MOST_RUNS = 100
"""Most runs (replicates of both versions together) that are compared with each other."""

NAMED = 12


@dataclass(frozen=True)
class Wide:
    """One row for each thing that was scored, and columns for what each run put out.

    Attributes:
        table: The rows.
        runs: The runs, those of the baseline first.
        baseline: How many are the baseline's.
        predictions: Column of each run's predicted class or value, or () without.
        scores: Column of each run's score, or () without.
        counts: Column that counts each run's rows of the thing, or () where it is one by form.
        key: Column that names the thing, or None where rows are their own.
    """

    table: Table
    runs: tuple[Run, ...]
    baseline: int
    predictions: tuple[str, ...]
    scores: tuple[str, ...]
    counts: tuple[str, ...] = ()
    key: str | None = None


def runs_of(
    table: Table, version: str, baseline: str, candidate: str, replicate: str | None
) -> tuple[tuple[Run, ...], int, int]:
    """The runs of two versions that a long table holds, in the order of their replicates.

    Args:
        table: Long table.
        version: Column with the version.
        baseline: The version that was.
        candidate: The version that shall be.
        replicate: Column that tells replicates of one version apart, or None.

    Returns:
        The runs, those of the baseline first, how many are the baseline's, and how many rows they have.

    Raises:
        InputError: When a version is not in the table, with those that are; when both are one; when
            there are too many runs.

    Example:
        >>> import polars as pl
        >>> from afterlaunch.tables import open_table
        >>> panel = open_table(pl.DataFrame({"v": ["a", "b", "b"], "seed": [1, 1, 2]}), name="panel")
        >>> runs, before, rows = runs_of(panel, "v", "a", "b", "seed")
        >>> [(r.version, r.replicate) for r in runs], before, rows
        ([('a', '1'), ('b', '1'), ('b', '2')], 1, 3)
    """
    if baseline == candidate:
        raise InputError(f"Baseline and candidate are both {baseline!r}; give two different versions.")
    columns = [version] if replicate is None else [version, replicate]
    number = free_name(columns, "afterlaunch_rows")
    found = fetch(table.frame.group_by(*columns).agg(nw.len().alias(number)), table)
    words = {c: [None if v is None else _word(v) for v in found[c].to_list()] for c in columns}
    known = sorted({v for v in words[version] if v is not None})
    for wanted in (baseline, candidate):
        if wanted not in known:
            shown = ", ".join(repr(v) for v in known[:NAMED]) + (" …" if len(known) > NAMED else "")
            raise InputError(
                f"The version column {version!r} of the {table.name} has no {wanted!r}; it has {shown or 'no values'}."
            )
    out: list[Run] = []
    for wanted in (baseline, candidate):
        mine = [i for i, v in enumerate(words[version]) if v == wanted]
        names = {"" if replicate is None else (words[replicate][i] or "") for i in mine}
        out += [Run(wanted, name) for name in sorted(names, key=_natural)]
    if len(out) > MOST_RUNS:
        raise InputError(
            f"The column {replicate!r} tells {len(out)} runs of the two versions apart, more than {MOST_RUNS}; "
            "name the column that numbers the replicates, or leave some out."
        )
    compared = [v in {baseline, candidate} for v in words[version]]
    rows = int(found.filter(compared)[number].sum())
    return tuple(out), sum(r.version == baseline for r in out), rows


def _word(value: Any) -> str:
    """A version as text; a date without its midnight."""
    if isinstance(value, datetime) and value.time() == time():
        return value.date().isoformat()
    return as_text(value)


def _natural(name: str) -> tuple[int, float, str]:
    try:
        return 0, float(name), name
    except ValueError:
        return 1, 0.0, name


def is_run(table: Table, run: Run, version: str, replicate: str | None) -> nw.Expr:
    """Whether a row of a long table is of a run."""
    where = _equals(table, version, run.version)
    if replicate is None:
        return where
    return where & (nw.col(replicate).is_null() if run.replicate == "" else _equals(table, replicate, run.replicate))


def is_compared(table: Table, runs: Sequence[Run], version: str) -> nw.Expr:
    """Whether a row of a long table is of one of the versions that are compared."""
    versions = dict.fromkeys(r.version for r in runs)
    return nw.any_horizontal(*[_equals(table, version, v) for v in versions], ignore_nulls=True)


def _equals(table: Table, column: str, word: str) -> nw.Expr:
    dtype = table.schema()[column]
    if dtype.is_integer():
        return nw.col(column) == int(word)
    if dtype.is_float():
        return nw.col(column) == float(word)
    if dtype == nw.String:
        return nw.col(column) == word
    if isinstance(dtype, nw.Datetime) and dtype.time_zone is None:
        return nw.col(column) == nw.lit(datetime.fromisoformat(word))
    raise InputError(
        f"The column {column!r} of the {table.name} holds {dtype}, which names no version or replicate; "
        "give text or numbers."
    )


def spread(
    table: Table,
    runs: Sequence[Run],
    baseline: int,
    *,
    key: str,
    version: str,
    replicate: str | None,
    prediction: str | None,
    score: str | None,
    others: Sequence[str],
) -> Wide:
    """Turn a long panel into one row for each id, by one group-by of the engine.

    Args:
        table: Long table with one row for each id and run.
        runs: The runs to spread.
        baseline: How many of them are the baseline's.
        key: Column with the id.
        version: Column with the version.
        replicate: Column with the replicate, or None.
        prediction: Column with the predicted class or value, or None.
        score: Column with the score, or None.
        others: Columns that belong to the thing and not to the run (outcome, bucket, segment); the largest
            value of the id's rows is taken.
    """
    taken = list(table.columns)
    names: dict[str, list[str]] = {"p": [], "s": [], "n": []}
    values, sums = [], []
    for i, run in enumerate(runs):
        mine = is_run(table, run, version, replicate)
        for kind, column in (("p", prediction), ("s", score)):
            if column is not None:
                names[kind].append(free_name(taken, f"afterlaunch_{kind}{i}"))
                there = mine
                if table.schema()[column].is_float():
                    # NaN is null in a table; but DuckDB (seen in 2.0.1) loses that condition within another
                    # one. All engines hold NaN to be more than infinity.
                    there = mine & (nw.col(column) <= math.inf)
                values.append(nw.when(there).then(nw.col(column)).alias(names[kind][-1]))
        names["n"].append(free_name(taken, f"afterlaunch_n{i}"))
        sums.append(nw.when(mine).then(1).otherwise(0).alias(names["n"][-1]))
    rows = table.frame.filter(is_compared(table, runs, version) & ~nw.col(key).is_null()).select(
        key, *others, *values, *sums
    )
    grouped = rows.group_by(key).agg(
        *[nw.col(c).max() for c in (*others, *names["p"], *names["s"])],
        *[nw.col(c).sum() for c in names["n"]],
    )
    return Wide(
        table.with_frame(grouped), tuple(runs), baseline, tuple(names["p"]), tuple(names["s"]), tuple(names["n"]), key
    )


def wide(table: Table, baseline: Sequence[str], candidate: Sequence[str], key: str | None) -> Wide:
    """A table that has a column for each run.

    Args:
        table: Wide table.
        baseline: Columns with what runs of the baseline put out.
        candidate: Columns of the candidate.
        key: Column that names the thing, or None.

    Raises:
        InputError: When a column is not there, is named twice, or the columns are of different kinds.

    Example:
        >>> import polars as pl
        >>> from afterlaunch.tables import open_table
        >>> panel = open_table(pl.DataFrame({"w46": [0.1, 0.9], "w47": [0.2, 0.8]}), name="panel")
        >>> wide(panel, ["w46"], ["w47"], None).scores
        ('w46', 'w47')
    """
    columns = [*baseline, *candidate]
    for column in columns:
        if column not in table.columns:
            raise InputError(
                f"The {table.name} has no column {column!r}; name versions of the role 'version', or a column for each "
                f"version; its columns are {', '.join(repr(c) for c in table.columns[:NAMED])}."
            )
        if columns.count(column) > 1:
            raise InputError(f"The column {column!r} is named twice; give baseline and candidate different columns.")
    kinds = {table.kinds[c] for c in columns}
    if len(kinds) > 1 or kinds & {"time", "other"}:
        first, other = columns[0], next((c for c in columns if table.kinds[c] != table.kinds[columns[0]]), columns[0])
        raise InputError(
            f"The columns {first!r} and {other!r} hold {table.kinds[first]} and {table.kinds[other]} values; "
            "give scores or classes of one type for both versions."
        )
    schema = table.schema()
    is_score = all(schema[c].is_float() for c in columns)
    names = baseline[0] if len(baseline) == 1 else "baseline", candidate[0] if len(candidate) == 1 else "candidate"
    runs = [Run(names[0], "" if len(baseline) == 1 else c) for c in baseline]
    runs += [Run(names[1], "" if len(candidate) == 1 else c) for c in candidate]
    put_out = tuple(columns)
    return Wide(table, tuple(runs), len(baseline), () if is_score else put_out, put_out if is_score else (), (), key)


def are_lists(table: Table, columns: Sequence[str]) -> bool:
    """Whether columns hold lists of items."""
    schema = table.schema()
    return bool(columns) and all(isinstance(schema.get(c), (nw.List, nw.Array)) for c in columns)


def unfold(table: Table, baseline: Sequence[str], candidate: Sequence[str], key: str | None) -> tuple[Table, str]:
    """A table with a column of lists for each version, as one with a row for each item.

    Args:
        table: One row for each user or query.
        baseline: The column of the baseline, of one name.
        candidate: The column of the candidate, of one name.
        key: Column that names the list, or None, when every row is one.

    Returns:
        The long table with the columns "version", "item" and "position" besides the other columns, and the column that
        names the list.

    Raises:
        InputError: On an engine other than Polars, for several columns of a version, and where the table has one of the
            names already.

    Example:
        >>> import polars as pl
        >>> from afterlaunch.tables import fetch, open_table
        >>> table = open_table(pl.DataFrame({"user": [1], "a": [["x", "y"]], "b": [["y"]]}), name="panel")
        >>> long, _ = unfold(table, ["a"], ["b"], "user")
        >>> fetch(long.frame).select("version", "item", "position").rows()
        [('a', 'x', 1), ('a', 'y', 2), ('b', 'y', 1)]
    """
    import polars as pl

    if len(baseline) != 1 or len(candidate) != 1:
        raise InputError(
            "Lists of several replicates cannot stand in columns; give the lists long, with a row for each item, and a "
            "column that tells replicates apart."
        )
    if table.engine != "polars":
        raise InputError(
            f"The columns {baseline[0]!r} and {candidate[0]!r} hold lists, which {table.engine} is not asked to "
            "unfold; give the lists long, with a row for each item and the roles version, list, item and position."
        )
    taken = [c for c in ("version", "item", "position") if c in table.columns]
    if taken:
        raise InputError(f"The {table.name} has a column {taken[0]!r}, which its lists are unfolded into; rename it.")
    native: pl.LazyFrame = nw.to_native(table.frame)
    rest = [c for c in table.columns if c not in {baseline[0], candidate[0]}]
    if key is None:
        key = free_name(table.columns, "row")
        native, rest = native.with_row_index(key).with_columns(pl.col(key).cast(pl.Int64)), [*rest, key]
    parts = []
    for column in (baseline[0], candidate[0]):
        lists = pl.col(column).cast(pl.List(pl.String))
        rows = native.select(*rest, lists.alias("item"), pl.lit(column).alias("version"))
        rows = rows.filter(pl.col("item").list.len() > 0).with_columns(
            position=pl.int_ranges(1, pl.col("item").list.len() + 1, dtype=pl.Int64)
        )
        parts.append(rows.explode("item", "position"))
    long = pl.concat(parts)
    return table.with_frame(nw.from_native(long)), key


def require_one_row_each(found: Wide, name: str) -> None:
    """Refuse ids that repeat within one run.

    Raises:
        InputError: With one of them.
    """
    if not found.counts or found.key is None:
        return
    most = nw.max_horizontal(*[nw.col(c) for c in found.counts])
    worst = free_name(found.table.columns, "afterlaunch_most")
    rows = found.table.frame.select(found.key, most.alias(worst)).filter(nw.col(worst) > 1)
    seen: dict[str, Any] = fetch(
        rows.select(nw.len().alias("ids"), nw.col(found.key).min().alias("first"), nw.col(worst).max().alias("most")),
        found.table,
    ).row(0, named=True)
    if seen["ids"]:
        ids = f"{seen['ids']:,} id{'' if seen['ids'] == 1 else 's'}"
        raise InputError(
            f"The id column {found.key!r} of the {name} repeats {ids} within one version, such as "
            f"{short(seen['first'])}, up to {seen['most']} times; keep one row for each, or name the column that "
            "numbers the replicates."
        )
