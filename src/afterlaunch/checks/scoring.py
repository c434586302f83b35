"""Outcomes and scores of sample rows as arrays, for checks that need rows."""

from __future__ import annotations

import numpy as np
import polars as pl
from numpy.typing import NDArray

from afterlaunch.checks.evidence import Evidence
from afterlaunch.checks.rows import is_number, is_plain, numbers, words
from afterlaunch.roles import Roles

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


def column(frame: pl.DataFrame, name: str | None) -> pl.Series | None:
    """A plain column, None when the frame has none of that name."""
    if name is None or name not in frame.columns or not is_plain(frame[name]):
        return None
    return frame[name]


def positives(series: pl.Series, roles: Roles) -> Floats:
    """1 where a column is the positive outcome, 0 where it is another one, NaN where it is missing."""
    positive = 1 if roles.positive is None else roles.positive
    if is_number(series):
        x = numbers(series)
        try:
            wanted = float(positive)
        except ValueError:
            wanted = 1.0
        return np.where(np.isfinite(x), (x == wanted).astype(np.float64), np.nan)
    text = words(series)
    hit = text == (positive if isinstance(positive, str) else str(int(positive)))
    return hit.cast(pl.Float64).to_numpy().astype(np.float64)


def finite(series: pl.Series | None) -> Floats | None:
    """A number column with infinite values as NaN; None for anything else."""
    if series is None or not is_number(series):
        return None
    x = numbers(series)
    return np.where(np.isfinite(x), x, np.nan)


def row_groups(given: Ints | None, rows: int, groups: int = 64) -> Ints:
    """The group of every row: the given one, else rows are dealt in turn."""
    return np.arange(rows, dtype=np.int64) % groups if given is None else given


def has_units(evidence: Evidence) -> bool:
    """Whether both tables say which unit a row belongs to."""
    kinds = (evidence.reference_kinds, evidence.production_kinds)
    names = (evidence.roles.unit, evidence.roles.bucket)
    return any(name is not None and all(not k or name in k for k in kinds) for name in names)
