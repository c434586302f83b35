"""Row numbers, and drawing a bounded number of rows."""

from __future__ import annotations

import importlib.util
from collections.abc import Sequence
from typing import Any

import narwhals as nw
import numpy as np
import polars as pl

from afterlaunch.decide import InputError
from afterlaunch.tables.table import Table, fetch, free_name

ROW = "afterlaunch_row"
CELLS = 50_000_000
"""Most values that one pass over a local table decodes; of larger ones a few columns are drawn at a time."""

Numbers = np.ndarray[Any, np.dtype[np.int64]]


def with_row_number(table: Table) -> tuple[Table, str]:
    """Number the rows of a table from 0.

    Polars numbers rows as they stand in the source, DuckDB as it scans them (insertion order,
    unless the user switched `preserve_insertion_order` off). Other engines have no order of
    their own: there rows are numbered in the order of their values, column by column.

    Args:
        table: Any table.

    Returns:
        The table with one more column, and the column's name, which no other column has.

    Example:
        >>> from afterlaunch.tables import open_table
        >>> numbered, name = with_row_number(open_table(pl.DataFrame({"a": ["x", "y"]}), name="log"))
        >>> fetch(numbered.frame)[name].to_list()
        [0, 1]
    """
    name = free_name(table.columns, ROW)
    native: Any = nw.to_native(table.frame)
    if table.engine == "polars":
        frame = nw.from_native(native.with_row_index(name).with_columns(pl.col(name).cast(pl.Int64)))
    elif table.engine == "duckdb":
        import duckdb

        number = duckdb.SQLExpression("row_number() over () - 1").cast("BIGINT").alias(name)
        frame = nw.from_native(native.select(duckdb.StarExpression(), number))
    else:
        keys = [c for c in table.columns if table.kinds[c] != "other"]
        frame = table.frame.with_row_index(name, order_by=keys).with_columns(nw.col(name).cast(nw.Int64))
    return table.with_frame(frame), name


def sample(table: Table, columns: Sequence[str], most: int, seed: int) -> pl.DataFrame:
    """Draw rows: uniform, without replacement, in the table's order.

    The row numbers are drawn by numpy's generator from the table's row count, so that the
    same rows in the same order give the same sample on every engine (see `with_row_number`
    for what order means there). The table is streamed; only the drawn rows are held.

    Args:
        table: Any table.
        columns: Which columns.
        most: Most rows to draw; a table with no more rows comes whole.
        seed: Seed of the draw.

    Returns:
        At most `most` rows.

    Raises:
        InputError: When the engine cannot read the table.

    Example:
        >>> from afterlaunch.tables import open_table
        >>> table = open_table(pl.DataFrame({"a": list(range(100))}), name="log")
        >>> drawn = sample(table, ["a"], 3, seed=1)["a"]
        >>> drawn.len(), drawn.is_sorted(), drawn.n_unique()
        (3, True, 3)
    """
    columns = list(dict.fromkeys(columns))
    if not columns:
        return pl.DataFrame()
    if most <= 0:
        return fetch(table.frame.select(*columns).head(0), table)
    total = table.rows()
    if total <= most and table.engine == "polars":
        return fetch(table.frame.select(*columns), table)
    wanted = None
    if total > most:
        wanted = drawn_rows(total, most, seed)
    many = max(1, CELLS // total) if table.engine == "polars" else len(columns)
    parts = [_draw(table, columns[i : i + many], wanted) for i in range(0, len(columns), many)]
    return pl.concat(parts, how="horizontal") if len(parts) > 1 else parts[0]


def sample_by(table: Table, columns: Sequence[str], group: str, quota: int, seed: int) -> pl.DataFrame:
    """Draw rows of every group: uniform within it, without replacement, in the table's order.

    A local table is asked for the group of every row and then for the drawn rows. On an engine the
    rows are drawn over all groups together instead, so that none but those drawn are brought.

    Args:
        table: Any table.
        columns: Which columns; the group is among them or is added.
        group: Integer column; rows without a value belong to no group and are not drawn.
        quota: Most rows of a group.
        seed: Seed of the draw.

    Example:
        >>> from afterlaunch.tables import open_table
        >>> table = open_table(pl.DataFrame({"g": [0] * 90 + [1] * 10}), name="log")
        >>> sample_by(table, ["g"], "g", 5, seed=1)["g"].to_list()
        [0, 0, 0, 0, 0, 1, 1, 1, 1, 1]
    """
    columns = list(dict.fromkeys([*columns, group]))
    if table.engine != "polars":
        found = fetch(table.frame.select(nw.col(group).n_unique().alias("n")), table)
        return sample(table, columns, quota * max(int(found.item()), 1), seed).drop_nulls(group)
    codes = fetch(table.frame.select(group), table)[group]
    rng = np.random.default_rng(seed)
    shuffled = rng.permutation(len(codes))
    known = codes.gather(shuffled)
    place = pl.DataFrame({"row": shuffled, "group": known}).filter(pl.col("group").is_not_null())
    wanted = place.group_by("group", maintain_order=True).head(quota)["row"].sort().to_numpy().astype(np.int64)
    many = max(1, CELLS // max(len(codes), 1))
    parts = [_draw(table, columns[i : i + many], wanted) for i in range(0, len(columns), many)]
    return pl.concat(parts, how="horizontal") if len(parts) > 1 else parts[0]


def drawn_rows(total: int, most: int, seed: int) -> Numbers:
    """Which rows `sample` draws from a table.

    Args:
        total: Rows of the table.
        most: Most rows to draw.
        seed: Seed of the draw.

    Returns:
        Row numbers in increasing order, shape (min(total, most),).

    Example:
        >>> drawn_rows(3, 5, seed=0).tolist(), drawn_rows(1000, 2, seed=0).size
        ([0, 1, 2], 2)
    """
    if total <= most:
        return np.arange(total, dtype=np.int64)
    return np.sort(np.random.default_rng(seed).choice(total, most, replace=False, shuffle=False))


def _draw(table: Table, columns: Sequence[str], wanted: Numbers | None) -> pl.DataFrame:
    numbered, row = with_row_number(table.with_frame(table.frame.select(*columns)))
    if wanted is not None:
        numbered = _keep(numbered, row, wanted)
    return fetch(numbered.frame, table).sort(row).drop(row)


def _keep(table: Table, row: str, wanted: Numbers) -> Table:
    """The rows with these numbers, by a semi-join inside the engine."""
    native: Any = nw.to_native(table.frame)
    if table.engine == "polars":
        keep = pl.Series(wanted, dtype=pl.Int64).implode()  # less memory than a semi-join
        return table.with_frame(nw.from_native(native.filter(pl.col(row).is_in(keep))))
    if table.engine == "duckdb":
        other = nw.from_native(beside(native, {"k": wanted}))
        return table.with_frame(table.frame.join(other, left_on=row, right_on="k", how="semi"))
    return table.with_frame(table.frame.filter(nw.col(row).is_in(wanted.tolist())))


def beside(relation: Any, afterlaunch_rows: Any) -> Any:
    """A DuckDB relation of rows in memory, on the connection of another relation.

    Args:
        relation: Any relation of that connection.
        afterlaunch_rows: A Polars frame, or columns as numpy arrays.

    Raises:
        InputError: For a Polars frame when pyarrow, which DuckDB reads it with, is not there.
    """
    if isinstance(afterlaunch_rows, pl.DataFrame) and importlib.util.find_spec("pyarrow") is None:
        raise InputError("Joining a table to one in DuckDB needs pyarrow; run: pip install 'afterlaunch[arrow]'.")
    return relation.query("afterlaunch_beside", "select * from afterlaunch_rows")
