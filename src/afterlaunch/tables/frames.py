"""Dataframes in memory, and relations of engines, as lazy frames."""

from __future__ import annotations

from typing import Any

import narwhals as nw
import polars as pl

from afterlaunch.decide import InputError
from afterlaunch.tables.table import Frame


def lazy(source: Any, name: str) -> tuple[Frame, str]:
    """A lazy frame over a dataframe or relation, and where it comes from.

    Args:
        source: What the user handed in; it is not modified.
        name: What error sentences call it.

    Raises:
        InputError: When it is no table.
    """
    frame = nw.from_native(source, pass_through=True)
    if isinstance(frame, nw.DataFrame):
        label = frame.implementation.name.lower()
        return nw.from_native(frame.to_polars().lazy()), label
    if isinstance(frame, nw.LazyFrame):
        return frame, frame.implementation.name.lower()
    if hasattr(source, "__arrow_c_stream__"):
        return nw.from_native(pl.DataFrame(source).lazy()), "arrow"
    raise InputError(f"The {name} table is a {type(source).__name__}; give a path, or a Polars, pandas, PyArrow or DuckDB table.")
