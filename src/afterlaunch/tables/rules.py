"""Refusing tables that contradict their roles, each in one sentence."""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from typing import Any

import narwhals as nw

from afterlaunch.decide import InputError
from afterlaunch.profile.types import Kind
from afterlaunch.roles import Roles
from afterlaunch.tables.table import Frame, Table, fetch, fetch_all

ISO = r"^\d{4}-\d\d-\d\d"
TIMES = ("time", "outcome_time")
NUMBERS = ("latency_ms", "position", "propensity", "weight", "bucket")


def require_roles(roles: Roles, tables: Sequence[Table]) -> None:
    """Refuse a role that names a column of no table.

    Args:
        roles: What the columns mean. A role that only some of the tables have is fine here.
        tables: All tables of the question.

    Raises:
        InputError: Naming role and column, and the nearest column there is.

    Example:
        >>> import polars as pl
        >>> from afterlaunch.tables import open_table
        >>> require_roles(Roles(time="tss"), [open_table(pl.DataFrame({"ts": [1]}), name="log")])
        Traceback (most recent call last):
        afterlaunch.decide.InputError: The role 'time' names the column 'tss', which the log table does not have; ...
    """
    known = {c: None for t in tables for c in t.columns}
    listed = [("features", c) for c in roles.features or ()] + [("ignore", c) for c in roles.ignore]
    features = [("feature_times", f) for f in roles.feature_times]
    for role, column in (*roles.pairs(), *features, *listed):
        if column not in known:
            which = f"the {tables[0].name} table does not have" if len(tables) == 1 else "no table has"
            raise InputError(
                f"The role {role!r} names the column {column!r}, which {which}; {_nearest(column, list(known))}"
            )


def _nearest(column: str, known: list[str]) -> str:
    near = difflib.get_close_matches(column, known, n=1, cutoff=0.6) or [
        c for c in known if c.lower() == column.lower()
    ]
    if near:
        return f"did you mean {near[0]!r}?"
    more = f" and {len(known) - 8} more" if len(known) > 8 else ""
    return f"the columns are {', '.join(map(repr, known[:8]))}{more}."


def require_kinds(table: Table, roles: Roles) -> None:
    """Refuse a role whose column cannot mean that, such as a time that is text.

    Args:
        table: One table; roles that it does not have are skipped.
        roles: What the columns mean.

    Raises:
        InputError: Naming role, column, its kind and what is needed.

    Example:
        >>> import polars as pl
        >>> from afterlaunch.tables import open_table
        >>> require_kinds(open_table(pl.DataFrame({"ts": ["1 May"]}), name="log"), Roles(time="ts"))
        Traceback (most recent call last):
        afterlaunch.decide.InputError: The column 'ts' of the log table holds text such as '1 May', but the role ...
    """
    for role, column in roles.pairs():
        kind = table.kinds.get(column)
        head = role.partition(".")[0]
        if kind is None:
            continue
        if head in {*TIMES, "feature_times"} and kind != "time":
            remedy = "parse them, for example with pandas.to_datetime, or write them as 2026-01-31T09:00:00Z"
            _refuse_kind(table, column, kind, role, "times", remedy)
        elif head in {*NUMBERS, "score", "scores"} and kind != "numeric":
            _refuse_kind(table, column, kind, role, "numbers", "convert the column, or give the role another column")


def _refuse_kind(table: Table, column: str, kind: Kind, role: str, needed: str, remedy: str) -> None:
    words = {"category": "text", "numeric": "numbers", "time": "times"}.get(kind, "lists or other objects")
    example = ""
    if kind != "other":
        filled = table.frame.select(nw.col(column)).filter(~nw.col(column).is_null())
        odd = filled.filter(~nw.col(column).str.contains(ISO)) if kind == "category" and needed == "times" else filled
        values = fetch_all([odd.head(1), filled.head(1)], table)
        if not values[1].height:
            return
        example = f" such as {short((values[0] if values[0].height else values[1]).item())}"
    raise InputError(
        f"The column {column!r} of the {table.name} table holds {words}{example}, "
        f"but the role {role!r} needs {needed}; {remedy}."
    )


def require_chances(table: Table, column: str, role: str, *, taken: bool) -> None:
    """Refuse what cannot be the chance of an action.

    Args:
        table: One table.
        column: The chances.
        role: What they are called in the sentence, such as "propensity".
        taken: Whether the action was taken, so that its chance was above 0.

    Raises:
        InputError: With the worst value, how many rows, and the remedy.

    Example:
        >>> import polars as pl
        >>> from afterlaunch.tables import open_table
        >>> log = open_table(pl.DataFrame({"p": [0.5, 0.0]}), name="log")
        >>> require_chances(log, "p", "propensity", taken=True)
        Traceback (most recent call last):
        afterlaunch.decide.InputError: The propensity 'p' of the log table is 0.0 in the worst of 1 of 2 rows ...
    """
    if table.kinds[column] != "numeric":
        raise InputError(f"The {role} {column!r} of the {table.name} table holds no numbers; give numbers from 0 to 1.")
    p = nw.col(column).cast(nw.Float64)
    low = p <= 0 if taken else p < 0
    one, none = nw.lit(1), nw.lit(0)
    found = fetch(
        table.frame.select(
            nw.len().alias("rows"),
            nw.when(p.is_null()).then(one).otherwise(none).sum().alias("missing"),
            nw.when(low).then(one).otherwise(none).sum().alias("low"),
            nw.when(p > 1).then(one).otherwise(none).sum().alias("high"),
            p.min().alias("least"),
            p.max().alias("most"),
        ),
        table,
    ).row(0, named=True)
    which = f"The {role} {column!r} of the {table.name} table is"
    rows = f"of {found['rows']:,} rows"
    if found["missing"]:
        remedy = "leave out rows whose probability was not logged" if taken else "give 0 where it would not take it"
        raise InputError(f"{which} missing in {found['missing']:,} {rows}; {remedy}.")
    if found["low"]:
        remedy = (
            "what was shown had a chance above 0: log the probability at the moment of the draw"
            if taken
            else "give probabilities from 0 to 1"
        )
        raise InputError(f"{which} {found['least']!r} in the worst of {found['low']:,} {rows} at or below 0; {remedy}.")
    if found["high"]:
        raise InputError(
            f"{which} {found['most']!r} in the worst of {found['high']:,} {rows} above 1; give probabilities, not "
            "percent or scores."
        )


def require_probability(table: Table, column: str) -> None:
    """Refuse a score outside [0, 1] where it must be a probability.

    Args:
        table: One table; nothing happens when it lacks the column.
        column: The score.

    Raises:
        InputError: With the worst value, how many rows, and the remedy.

    Example:
        >>> import polars as pl
        >>> from afterlaunch.tables import open_table
        >>> require_probability(open_table(pl.DataFrame({"p": [0.5, 1.5, 2.0]}), name="log"), "p")
        Traceback (most recent call last):
        afterlaunch.decide.InputError: The score 'p' of the log table is outside [0, 1] in 2 of 3 ...
    """
    if column not in table.columns:
        return
    if table.kinds[column] != "numeric":
        _refuse_kind(table, column, table.kinds[column], "score", "numbers", "give probabilities of the positive class")
        return
    p = nw.col(column)
    outside = (p < 0) | (p > 1)
    found = fetch(
        table.frame.select(
            nw.len().alias("rows"),
            nw.when(outside).then(1).otherwise(0).sum().alias("bad"),
            p.min().alias("low"),
            p.max().alias("high"),
        ),
        table,
    ).row(0, named=True)
    if found["bad"]:
        low, high = float(found["low"]), float(found["high"])
        worst = high if high - 1 >= -low else low
        raise InputError(
            f"The score {column!r} of the {table.name} table is outside [0, 1] "
            f"in {found['bad']:,} of {found['rows']:,} rows, "
            f"such as {worst!r}; give probabilities, for example 1 / (1 + exp(-score)) of a raw score."
        )


def require_same_clock(a: Table, b: Table, roles: Roles) -> None:
    """Refuse times with a time zone beside times without one: nobody knows how far apart they are.

    Args:
        a: One table.
        b: Another, or the same one again.
        roles: Its `time`, `outcome_time` and `feature_times` columns are compared.

    Raises:
        InputError: Naming one column of each sort, and the remedy.

    Example:
        >>> import datetime as dt, polars as pl
        >>> from afterlaunch.tables import open_table
        >>> naive = dt.datetime(2026, 1, 1)
        >>> old = open_table(pl.DataFrame({"ts": [naive]}), name="reference")
        >>> new = open_table(pl.DataFrame({"ts": [naive.replace(tzinfo=dt.timezone.utc)]}), name="production")
        >>> require_same_clock(old, new, Roles(time="ts"))
        Traceback (most recent call last):
        afterlaunch.decide.InputError: The times 'ts' of the production table have a time zone ...
    """
    aware: dict[bool, tuple[str, str]] = {}
    for table in (a, b):
        schema = table.schema()
        for role, column in roles.pairs():
            dtype = schema.get(column)
            if role.partition(".")[0] in {*TIMES, "feature_times"} and isinstance(dtype, nw.Datetime):
                aware.setdefault(dtype.time_zone is not None, (column, table.name))
    if len(aware) == 2:
        (with_zone, its), (without, others) = aware[True], aware[False]
        raise InputError(
            f"The times {with_zone!r} of the {its} table have a time zone "
            f"and {without!r} of the {others} table have none; "
            "give both one, for example with pandas' tz_localize('UTC')."
        )


def require_unique(table: Table, column: str) -> None:
    """Refuse ids that repeat where each must stand for one row; rows without an id are left alone.

    Raises:
        InputError: With how many ids repeat, and one of them.

    Example:
        >>> import polars as pl
        >>> from afterlaunch.tables import open_table
        >>> require_unique(open_table(pl.DataFrame({"id": [7, 7, 8]}), name="outcomes"), "id")
        Traceback (most recent call last):
        afterlaunch.decide.InputError: The id column 'id' of the outcomes table repeats 1 id, ...
    """
    key = nw.col(column)
    counts: Frame = (
        table.frame.select(key.alias("id")).filter(~nw.col("id").is_null()).group_by("id").agg(nw.len().alias("n"))
    )
    repeated = counts.filter(nw.col("n") > 1)
    some = fetch(repeated.select(nw.len().alias("ids"), nw.col("id").min().alias("first")), table).row(0, named=True)
    if some["ids"]:
        rows = fetch(repeated.filter(nw.col("id") == nw.lit(some["first"])), table)["n"][0]
        ids = f"{some['ids']:,} id{'' if some['ids'] == 1 else 's'}"
        raise InputError(
            f"The id column {column!r} of the {table.name} table repeats {ids}, "
            f"such as {short(some['first'])} in {rows} rows; "
            "keep one row for each id."
        )


def align_kinds(a: Table, b: Table) -> tuple[Table, Table]:
    """Let a column without any value take its kind from the other table.

    A column of nothing but missing values has no type of its own: Parquet, CSV and pandas each
    call it something else. Beside a table that has values, it is of their type.

    Returns:
        Both tables; the very same objects when nothing had to change.

    Raises:
        InputError: When a table cannot be read.

    Example:
        >>> import polars as pl
        >>> from afterlaunch.tables import open_table
        >>> full, empty = pl.DataFrame({"x": [1.5]}), pl.DataFrame({"x": [None]})
        >>> a, b = align_kinds(open_table(full, name="reference"), open_table(empty, name="production"))
        >>> b.kinds["x"]
        'numeric'
    """
    differ = [c for c in a.columns if c in b.kinds and b.kinds[c] != a.kinds[c]]
    if not differ:
        return a, b
    empty_a, empty_b = (_without_values(t, differ) for t in (a, b))
    return _adopt(a, b, empty_a - empty_b), _adopt(b, a, empty_b)


def _without_values(table: Table, columns: list[str]) -> set[str]:
    counts = fetch(table.frame.select(*(nw.col(c).count().alias(c) for c in columns)), table)
    return {c for c in columns if not counts[c][0]}


def _adopt(table: Table, other: Table, columns: set[str]) -> Table:
    plain = {c: other.schema()[c] for c in columns if other.kinds[c] != "other"}
    if not plain:
        return table
    return table.with_frame(
        table.frame.with_columns(*(nw.lit(None).cast(t).alias(c) for c, t in plain.items())), list(plain)
    )


def short(value: Any) -> str:
    """A value as it stands in a sentence: quoted, on one line, at most 60 characters.

    Example:
        >>> short("a b"), short(3), short("x" * 90)[-3:]
        ("'a b'", '3', "x…'")
    """
    if isinstance(value, str):
        return repr(value if len(value) <= 60 else value[:59] + "…")
    text = " ".join(str(value).split())
    return text if len(text) <= 60 else text[:59] + "…"
