"""Dataframes in memory, and relations of engines, as lazy frames."""

from __future__ import annotations

import importlib
import importlib.util
from collections.abc import Sequence
from typing import Any

import narwhals as nw
import numpy as np
import polars as pl

from afterlaunch.decide import InputError
from afterlaunch.tables.rules import short
from afterlaunch.tables.table import Frame, brief

EXTRAS = {"pyarrow": "arrow", "pandas": "pandas", "duckdb": "duckdb", "pyspark": "spark", "ibis": "ibis"}
"""Module that may be missing to the extra that brings it."""


def lazy(source: Any, name: str) -> tuple[Frame, str]:
    """A lazy frame over a dataframe or relation, and what it is.

    Args:
        source: What the user handed in; it is not modified.
        name: What error sentences call it.

    Raises:
        InputError: When it is no table, has columns of mixed types, or a package is missing.
    """
    try:
        return _lazy(source, name)
    except ModuleNotFoundError as error:
        missing = (error.name or "").partition(".")[0]
        extra = EXTRAS.get(missing)
        if extra is None:
            raise
        raise InputError(
            f"Reading the {name} table, a {type(source).__name__}, needs {missing}; "
            f"run: pip install 'afterlaunch[{extra}]'."
        ) from error


def _lazy(source: Any, name: str) -> tuple[Frame, str]:
    if isinstance(source, (nw.DataFrame, nw.LazyFrame)):
        source = nw.to_native(source)
    if isinstance(source, pl.DataFrame):
        return nw.from_native(_without_objects(source, name).lazy()), "polars"
    if isinstance(source, pl.LazyFrame):
        return nw.from_native(source), "polars"
    if _is_pandas(source):
        return nw.from_native(_from_pandas(source, name).lazy()), "pandas"
    names = getattr(getattr(source, "schema", None), "names", None)
    _require_distinct([str(n) for n in names] if isinstance(names, (list, tuple)) else [], name)
    frame = nw.from_native(source, pass_through=True)
    if isinstance(frame, nw.LazyFrame):
        return frame, frame.implementation.name.lower()
    label = frame.implementation.name.lower() if isinstance(frame, nw.DataFrame) else "arrow"
    try:
        if hasattr(source, "__arrow_c_stream__"):
            return nw.from_native(pl.DataFrame(source).lazy()), label
        if type(source).__module__.startswith("pyarrow"):
            return nw.from_native(pl.DataFrame(pl.from_arrow(source)).lazy()), "pyarrow"
        if isinstance(frame, nw.DataFrame):
            return nw.from_native(frame.to_polars().lazy()), label
    except (pl.exceptions.PolarsError, TypeError, ValueError) as error:
        raise InputError(
            f"The {name} table ({label}) cannot be read ({brief(error)}); convert that column first."
        ) from error
    raise InputError(
        f"The {name} table is a {type(source).__name__}; "
        "give a path, or a Polars, pandas, PyArrow, DuckDB, Spark or Ibis table."
    )


def _is_pandas(source: Any) -> bool:
    return type(source).__module__.partition(".")[0] == "pandas" and type(source).__name__ == "DataFrame"


def _require_distinct(columns: Sequence[str], name: str) -> None:
    twice = (
        next((c for i, c in enumerate(columns) if c in columns[:i]), None) if len(set(columns)) < len(columns) else None
    )
    if twice is not None:
        raise InputError(f"The {name} table has two columns {twice!r}; rename one of them.")


def _without_objects(frame: pl.DataFrame, name: str) -> pl.DataFrame:
    """Columns of Python objects, which no engine can count, as what the objects are."""
    odd = [c for c, t in frame.schema.items() if t == pl.Object]
    return frame.with_columns(_from_objects(frame[c].to_list(), c, name) for c in odd) if odd else frame


def _from_pandas(frame: Any, name: str) -> pl.DataFrame:
    """Column by column, through numpy; only columns that already are Arrow go through pyarrow."""
    columns = [c if isinstance(c, str) else _label(c) for c in frame.columns]
    _require_distinct(columns, name)
    series = [_column(frame.iloc[:, i], c, name) for i, c in enumerate(columns)]
    return pl.DataFrame(series)


def _label(column: Any) -> str:
    """A pandas column label that is no text, such as 0 or ("price", "mean"), as text."""
    return " ".join(str(part) for part in column if part != "") if isinstance(column, tuple) else str(column)


def _column(values: Any, column: str, name: str) -> pl.Series:
    import pandas as pd

    dtype = values.dtype
    if isinstance(dtype, np.dtype):
        if dtype.kind in "biuf":
            return pl.Series(column, values.to_numpy())
        if dtype.kind in "mM":
            array = values.to_numpy()
            unit = np.datetime_data(dtype)[0]
            return pl.Series(column, array if unit in {"ms", "us", "ns"} else array.astype(f"{dtype.kind}8[ms]"))
        return _objects(values, column, name)
    if isinstance(dtype, pd.CategoricalDtype):
        categories = _column(pd.Series(dtype.categories), column, name).cast(pl.String)
        codes = pl.Series(column, values.cat.codes.to_numpy())
        return categories.gather(codes.replace(-1, None).cast(pl.UInt32)).alias(column)
    if isinstance(dtype, pd.DatetimeTZDtype):
        plain = _column(values.dt.tz_convert("UTC").dt.tz_localize(None), column, name)
        return plain.dt.replace_time_zone("UTC")
    array = values.array
    if hasattr(array, "__arrow_array__") and _is_arrow(array):
        pa = importlib.import_module("pyarrow")
        return pl.Series(column, pl.from_arrow(pa.chunked_array(array.__arrow_array__())))
    if hasattr(array, "_mask") and hasattr(array, "_data"):
        missing = pl.Series(values.isna().to_numpy())
        full = pl.Series(column, values.fillna(values.dtype.type(0)).to_numpy(dtype=values.dtype.numpy_dtype))
        return pl.select(pl.when(~missing).then(full)).to_series().alias(column) if missing.any() else full
    if isinstance(dtype, pd.SparseDtype):
        return _column(values.sparse.to_dense(), column, name)
    return _objects(values.astype(object), column, name)


def _objects(values: Any, column: str, name: str) -> pl.Series:
    """A pandas column of Python objects; nothing but text, by far the commonest, goes a faster way."""
    import pandas as pd

    if pd.api.types.infer_dtype(values, skipna=True) != "string":
        return _from_objects(values.tolist(), column, name)
    text, missing = values.to_numpy(dtype=object, copy=True), values.isna().to_numpy()
    if importlib.util.find_spec("pyarrow") is not None:
        pa = importlib.import_module("pyarrow")
        return pl.Series(column, pl.from_arrow(pa.array(text, type=pa.large_string(), mask=missing)))
    text[missing] = None
    return pl.Series(column, text, dtype=pl.String)


def _is_arrow(array: Any) -> bool:
    return "Arrow" in type(array).__name__


def _from_objects(values: list[Any], column: str, name: str) -> pl.Series:
    """A column of Python objects as the one type that they have; None, NaN, NaT and NA are missing."""
    values = [None if _is_missing(v) else v for v in values]
    first: dict[str, Any] = {}
    for value in values:
        if value is not None:
            first.setdefault(_word(value), value)
    if set(first) == {"a number", "true or false"} and all(
        isinstance(v, (bool, np.bool_)) or v in (0, 1) for v in values if v is not None
    ):
        first.pop("true or false")  # a column of 0, 1, True, False is one of numbers
        values = [None if v is None else int(v) for v in values]
    if len(first) > 1:
        (one, a), (two, b) = list(first.items())[:2]
        raise InputError(
            f"The column {column!r} of the {name} table mixes types: {short(a)} is {one} and {short(b)} is {two}; "
            "convert it to one type."
        )
    if not first:
        return pl.Series(column, values, dtype=pl.String)
    word, value = next(iter(first.items()))
    try:
        if word == "text":
            return pl.Series(column, [None if v is None else str(v) for v in values], dtype=pl.String)
        if word == "a number":
            if all(v is None or (isinstance(v, (int, np.integer)) and -(2**63) <= v < 2**63) for v in values):
                return pl.Series(column, [None if v is None else int(v) for v in values], dtype=pl.Int64)
            return pl.Series(column, [None if v is None else float(v) for v in values], dtype=pl.Float64)
        if word == "a time with a zone":
            return _aware(values, column)
        made = pl.Series(column, [v.tolist() if isinstance(v, np.ndarray) else v for v in values])
        if made.dtype == pl.Object:
            raise TypeError
        return made
    except (pl.exceptions.PolarsError, TypeError, ValueError, OverflowError) as error:
        raise InputError(
            f"The column {column!r} of the {name} table holds {type(value).__name__} objects such as {short(value)}; "
            "convert it to text, numbers or times."
        ) from error


def _aware(values: list[Any], column: str) -> pl.Series:
    import datetime as dt

    plain = [None if v is None else v.astimezone(dt.UTC).replace(tzinfo=None) for v in values]
    return pl.Series(column, plain, dtype=pl.Datetime("us")).dt.replace_time_zone("UTC")


def _is_missing(value: Any) -> bool:
    if value is None or type(value).__name__ in {"NAType", "NaTType"}:
        return True
    return isinstance(value, (float, np.floating)) and bool(np.isnan(value))


def _word(value: Any) -> str:
    """What an object is, in words; two different words do not belong in one column."""
    import datetime as dt
    import decimal
    import uuid

    if isinstance(value, (bool, np.bool_)):
        return "true or false"
    if isinstance(value, (str, uuid.UUID)):
        return "text"
    if isinstance(value, (int, float, np.integer, np.floating, decimal.Decimal)):
        return "a number"
    if isinstance(value, dt.datetime):
        return "a time" if value.tzinfo is None else "a time with a zone"
    if isinstance(value, dt.date):
        return "a date"
    if isinstance(value, (list, tuple, np.ndarray)):
        return "a list"
    return f"a {type(value).__name__}"


def as_pandas(frame: pl.DataFrame) -> Any:
    """A Polars frame as a pandas one, also where pyarrow is not installed.

    Example:
        >>> as_pandas(pl.DataFrame({"age": [31, 27]}))["age"].tolist()
        [31, 27]
    """
    import pandas as pd

    try:
        return frame.to_pandas()
    except ModuleNotFoundError:
        return pd.DataFrame({c: pd.Series(frame[c].to_numpy()) for c in frame.columns})
