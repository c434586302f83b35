"""A table, and bringing small results of it into memory."""

from __future__ import annotations

import contextlib
import importlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import narwhals as nw
import polars as pl

from afterlaunch.decide import InputError
from afterlaunch.profile.types import Kind

Frame = nw.LazyFrame[Any]
DType = nw.dtypes.DType


@dataclass(frozen=True)
class Table:
    """One opened table; its columns have the same few types on every engine.

    In `frame`, NaN is null (±inf is a value), booleans are the text "true" and "false",
    categoricals and enums are text, decimals and short floats are float64, durations are
    float64 seconds, dates are datetimes at midnight, and times with a zone are in UTC.

    Attributes:
        name: What error sentences call it, such as "reference".
        frame: The rows, lazy: over Polars, or over the engine that was handed in.
        engine: "polars", "duckdb", "pyspark", "ibis", …
        columns: Column names in their order.
        kinds: Column to its kind.
        given: Column to the type it had before it was made one of a table's few.
        source: What was opened: "pandas", "polars", "pyarrow", "duckdb", or the path.
    """

    name: str
    frame: Frame
    engine: str
    columns: tuple[str, ...]
    kinds: Mapping[str, Kind]
    source: str
    given: Mapping[str, nw.dtypes.DType | type[nw.dtypes.DType]] = field(default_factory=dict, compare=False)
    _memo: dict[str, Any] = field(default_factory=dict, repr=False, compare=False)

    def rows(self) -> int:
        """How many rows it has; counted once.

        Raises:
            InputError: When the engine cannot read it.

        Example:
            >>> from afterlaunch.tables import open_table
            >>> open_table(pl.DataFrame({"a": [1, 2]}), name="log").rows()
            2
        """
        if "rows" not in self._memo:
            self._memo["rows"] = int(fetch(self.frame.select(nw.len().alias("n")), self).item())
        return int(self._memo["rows"])

    def schema(self) -> Mapping[str, nw.dtypes.DType]:
        """Column to its narwhals type."""
        if "schema" not in self._memo:
            self._memo["schema"] = dict(self.frame.collect_schema())
        return dict(self._memo["schema"])

    def with_frame(self, frame: Frame, retyped: Iterable[str] = ()) -> Table:
        """The same table with other rows or columns, such as a window or a segment of it.

        Args:
            frame: Made from this table's `frame`.
            retyped: Columns of another type than before, whose kind is read anew.

        Example:
            >>> from afterlaunch.tables import open_table
            >>> table = open_table(pl.DataFrame({"a": [1, 2]}), name="log")
            >>> table.with_frame(table.frame.filter(nw.col("a") > 1)).rows()
            1
        """
        schema = dict(frame.collect_schema())
        kept = {c: k for c, k in self.kinds.items() if c not in set(retyped)}
        kinds = {c: kept.get(c) or kind_of(t) for c, t in schema.items()}
        return replace(self, frame=frame, columns=tuple(schema), kinds=kinds, _memo={})


def kind_of(dtype: nw.dtypes.DType | type[nw.dtypes.DType]) -> Kind:
    """The kind of a column of this narwhals type.

    Example:
        >>> kind_of(nw.Int64), kind_of(nw.String), kind_of(nw.Date), kind_of(nw.Binary)
        ('numeric', 'category', 'time', 'other')
    """
    if dtype.is_numeric() or dtype == nw.Duration:
        return "numeric"
    if dtype in {nw.String, nw.Categorical, nw.Boolean} or dtype == nw.Enum:
        return "category"
    if dtype in {nw.Date, nw.Time} or dtype == nw.Datetime:
        return "time"
    return "other"


def missing(expr: nw.Expr, kind: Kind) -> nw.Expr:
    """Whether a value is missing: null or NaN.

    Args:
        expr: A column of a `Table`, or something computed from one.
        kind: Its kind. In a `Table` a NaN is already null, so that every kind is asked alike;
            what is computed from columns (0 / 0) can be NaN again: fill it there.

    Returns:
        A boolean expression without nulls.

    Example:
        >>> from afterlaunch.tables import open_table
        >>> table = open_table(pl.DataFrame({"a": [1.0, None, float("nan"), float("inf")]}), name="log")
        >>> fetch(table.frame.select(missing(nw.col("a"), "numeric")))["a"].to_list()
        [False, True, True, False]
    """
    del kind
    return expr.is_null()


def as_text(value: object) -> str:
    """A value as the text that a `category` column has for it.

    Example:
        >>> as_text(True), as_text("yes"), as_text(3)
        ('true', 'yes', '3')
    """
    return str(value).lower() if isinstance(value, bool) else str(value)


def free_name(columns: Iterable[str], wish: str) -> str:
    """A column name like the wish that no column has yet.

    Example:
        >>> free_name(["row", "row_"], "row")
        'row__'
    """
    taken = {c.casefold() for c in columns}
    while wish.casefold() in taken:
        wish += "_"
    return wish


def fetch(frame: Frame, *tables: Table) -> pl.DataFrame:
    """Compute a small result and bring it into memory.

    Args:
        frame: A lazy frame made from a table's frame: aggregates, or few rows.
        *tables: The tables it is made from; named in the error sentence.

    Returns:
        A Polars frame. Integers that only the engine widened (the sum of a DuckDB column is
        a 128-bit integer) are int64 again where they fit.

    Raises:
        InputError: When the engine cannot read the table, in one sentence.

    Example:
        >>> from afterlaunch.tables import open_table
        >>> table = open_table(pl.DataFrame({"a": [1, 2]}), name="log")
        >>> fetch(table.frame.select(nw.col("a").sum())).item()
        3
    """
    return fetch_all([frame], *tables)[0]


SEPARATE = pl.QueryOptFlags(comm_subplan_elim=False)
"""Queries over one table share no intermediate result: it would be the whole table, held in memory."""


def fetch_all(frames: Sequence[Frame], *tables: Table) -> list[pl.DataFrame]:
    """Compute several small results at once.

    Args:
        frames: As for `fetch`.
        *tables: As for `fetch`.

    Returns:
        One Polars frame for each.

    Raises:
        InputError: As for `fetch`.
    """
    with collecting(*tables):
        natives = [nw.to_native(f) for f in frames]
        lazy = [n for n in natives if isinstance(n, pl.LazyFrame)]
        done = iter(pl.collect_all(lazy, engine="streaming", optimizations=SEPARATE) if lazy else [])
        return [
            next(done) if isinstance(n, pl.LazyFrame) else _bring(n, f) for n, f in zip(natives, frames, strict=True)
        ]


def _bring(native: Any, frame: Frame) -> pl.DataFrame:
    """A result of an engine other than Polars, with its types made those of Polars."""
    if hasattr(native, "__arrow_c_stream__") and frame.implementation.is_duckdb():
        out = pl.DataFrame(native)
    else:
        out = nw.to_native(frame.collect("polars"))
    changes = []
    for name, dtype in out.schema.items():
        column = pl.col(name)
        if isinstance(dtype, pl.Decimal):
            whole = dtype.scale == 0
            changes.append(column.cast(pl.Int64 if whole and _fits(out[name]) else pl.Float64))
        elif dtype == pl.Int128 and _fits(out[name]):
            changes.append(column.cast(pl.Int64))
        elif isinstance(dtype, pl.Datetime):
            changes.append(column.cast(pl.Datetime("us", dtype.time_zone and "UTC")))
    return out.with_columns(changes) if changes else out


def _fits(column: pl.Series) -> bool:
    ends: list[Any] = [column.min(), column.max()]
    return ends[0] is None or bool(int(ends[0]) >= -(2**63) and int(ends[1]) < 2**63)


def _engine_errors() -> tuple[type[BaseException], ...]:
    """What an engine raises about the data; our own mistakes (a wrong column name) are not among it."""
    from polars import exceptions as pe

    found: list[type[BaseException]] = [
        pe.ComputeError,
        pe.SchemaError,
        pe.NoDataError,
        pe.InvalidOperationError,
        OSError,
    ]
    for module, names in ENGINE_ERRORS.items():
        with contextlib.suppress(ImportError):
            loaded = importlib.import_module(module)
            found += [e for n in names if (e := getattr(loaded, n, None)) is not None]
    return tuple(found)


ENGINE_ERRORS = {
    "duckdb": (
        "IOException",
        "ConversionException",
        "InvalidInputException",
        "OutOfRangeException",
        "OutOfMemoryException",
        "ConnectionException",
        "CatalogException",
        "HTTPException",
    ),
}
"""Module of an engine to its errors about data, asked for only after something was raised."""


@contextlib.contextmanager
def collecting(*tables: Table) -> Iterator[None]:
    r"""Turn an engine's error about the data into one sentence.

    Args:
        *tables: The tables being read; named in the sentence.

    Raises:
        InputError: For such an error.

    Example:
        >>> with collecting():
        ...     raise OSError("connection reset\nby peer")
        Traceback (most recent call last):
        afterlaunch.decide.InputError: The tables cannot be read: connection reset; check the source and try again.
    """
    which = " and ".join(f"the {t.name} table ({t.source})" for t in tables) or "the tables"
    with reading(which):
        yield


@contextlib.contextmanager
def reading(which: str) -> Iterator[None]:
    """The same for what is not a `Table` yet.

    Args:
        which: What is read, such as "the reference table (log.parquet)".

    Raises:
        InputError: For an engine's error about the data.
    """
    try:
        yield
    except InputError:
        raise
    except Exception as error:
        if not isinstance(error, _engine_errors()):
            raise
        raise InputError(
            f"{which[0].upper()}{which[1:]} cannot be read: {brief(error)}; check the source and try again."
        ) from error


def brief(error: BaseException) -> str:
    r"""The first line of an engine's message, without a full stop.

    Example:
        >>> brief(ValueError("no such file.\n\nThis error occurred with …"))
        'no such file'
    """
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    text = lines[0] if lines else type(error).__name__
    return (text if len(text) <= 200 else text[:199] + "…").rstrip(".:; ")
