"""Opening a source: its rows as they are, its types made those of a `Table`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import narwhals as nw
import polars as pl

from afterlaunch.decide import InputError
from afterlaunch.tables.files import scan
from afterlaunch.tables.frames import lazy
from afterlaunch.tables.table import Frame, Table, kind_of, reading
from afterlaunch.tables.times import with_times


def open_table(source: Any, *, name: str) -> Table:
    """Open a path, a URL, a dataframe or a relation.

    Args:
        source: A path or glob (Parquet, CSV, TSV, NDJSON, Arrow), a folder of Parquet files, a
            list of paths, a URL, or a dataframe: Polars, pandas 2 and 3, PyArrow, a DuckDB
            relation, PySpark, Ibis, or anything else that narwhals takes. It is never modified.
            The index of a pandas frame is not a column.
        name: What error sentences call it, such as "reference".

    Returns:
        The table. Local frames and files are lazy Polars; an engine's relation stays there.

    Raises:
        InputError: When the source is unusable, in one sentence.

    Example:
        >>> table = open_table(pl.DataFrame({"age": [31, 27], "vip": [True, None]}), name="reference")
        >>> table.columns, dict(table.kinds), table.engine
        (('age', 'vip'), {'age': 'numeric', 'vip': 'category'}, 'polars')
    """
    if isinstance(source, Table):
        return source
    if _is_path(source):
        native, label = scan(source)
        frame: Frame = nw.from_native(native)
    else:
        frame, label = lazy(source, name)
    with reading(f"the {name} table ({label})"):
        given = dict(frame.collect_schema())
        _require_columns(list(given), f"the {name} table ({label})")
        frame = normal(frame)
        schema = frame.collect_schema()
    kinds = {c: kind_of(t) for c, t in schema.items()}
    return with_times(Table(name, frame, engine_of(frame), tuple(schema), kinds, label, given))


def _require_columns(columns: Sequence[str], which: str) -> None:
    if not columns:
        raise InputError(f"T{which[1:]} has no columns; give a table with at least one.")
    pattern = next((c for c in columns if c == "*" or (c.startswith("^") and c.endswith("$"))), None)
    if pattern is not None:
        raise InputError(f"The column {pattern!r} of {which} has a name that stands for several columns; rename it.")


def _is_path(source: Any) -> bool:
    many = isinstance(source, (list, tuple)) and source
    return all(isinstance(s, (str, Path)) for s in (source if many else [source]))


def engine_of(frame: Frame) -> str:
    """Name of the engine behind a frame."""
    return frame.implementation.name.lower()


def normal(frame: Frame) -> Frame:
    """Give every column one of the few types that a `Table` has."""
    duck = frame.implementation.is_duckdb()
    polars = frame.implementation.is_polars()
    changes: list[nw.Expr] = []
    for name, dtype in frame.collect_schema().items():
        column = nw.col(name)
        if dtype.is_float() or isinstance(dtype, nw.Decimal):
            if dtype != nw.Float64:
                column = column.cast(nw.Float64)
            changes.append(column.fill_nan(None) if dtype.is_float() else column)
        elif dtype == nw.Boolean:
            if polars or duck:
                changes.append(column.cast(nw.String))
            else:
                changes.append(nw.when(column).then(nw.lit("true")).when(~column).then(nw.lit("false")).alias(name))
        elif isinstance(dtype, (nw.Categorical, nw.Enum)):
            changes.append(column.cast(nw.String))
        elif dtype == nw.Date:
            changes.append(column.cast(nw.Datetime("us")))
        elif (
            isinstance(dtype, nw.Datetime)
            and polars
            and (dtype.time_unit != "us" or dtype.time_zone not in {None, "UTC"})
        ):
            if dtype.time_zone not in {None, "UTC"}:
                column = column.dt.convert_time_zone("UTC")
            changes.append(column.cast(nw.Datetime("us", dtype.time_zone and "UTC")))
        elif dtype == nw.Duration and polars:
            changes.append(column.dt.total_microseconds() / 1e6)
    frame = frame.with_columns(changes) if changes else frame
    if polars:
        return _polars_rest(frame)
    return _duckdb_rest(frame) if duck else frame


def _polars_rest(frame: Frame) -> Frame:
    """Types that narwhals calls unknown: a column of nothing but nulls is text."""
    native: pl.LazyFrame = nw.to_native(frame)
    empty = [c for c, t in native.collect_schema().items() if t == pl.Null]
    return nw.from_native(native.with_columns(pl.col(empty).cast(pl.String))) if empty else frame


def _duckdb_rest(frame: Frame) -> Frame:
    """Intervals in seconds; UUID, JSON and columns of nothing but nulls as text."""
    import duckdb

    native: Any = nw.to_native(frame)
    chosen, changed = [], False
    for name, dtype in zip(native.columns, native.types, strict=True):
        column = duckdb.ColumnExpression(name)
        kind = str(dtype).strip('"').upper()
        if kind == "INTERVAL":
            column, changed = duckdb.FunctionExpression("epoch", column).alias(name), True
        elif kind in {"UUID", "JSON", "NULL"}:
            column, changed = column.cast("VARCHAR").alias(name), True
        chosen.append(column)
    return nw.from_native(native.select(*chosen)) if changed else frame
