"""Reading the rows of bounded samples: their order in time, groups of dependent rows, values as codes."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import polars as pl
from numpy.typing import NDArray

from afterlaunch.checks.evidence import Evidence
from afterlaunch.roles import Roles
from afterlaunch.words import quantity

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]

GROUPS = 64
"""Groups of dependent rows, as in profiles."""


def is_number(series: pl.Series) -> bool:
    """Whether a column holds numbers (truth values count as such)."""
    return series.dtype.is_numeric() or series.dtype == pl.Boolean


def is_plain(series: pl.Series) -> bool:
    """Whether a column holds single values, not lists or records."""
    return not (series.dtype.is_nested() or series.dtype in (pl.Object, pl.Binary))


def numbers(series: pl.Series) -> Floats:
    """A number column as floats, null as NaN, shape (n,)."""
    return series.cast(pl.Float64, strict=False).to_numpy().astype(np.float64)


def words(series: pl.Series) -> pl.Series:
    """Any plain column as text; what is true or whole reads alike in every table."""
    if series.dtype == pl.Boolean:
        series = series.cast(pl.Int8)
    if series.dtype.is_float():
        series = series.fill_nan(None)
    return series.cast(pl.String, strict=False)


def text_codes(first: pl.Series, second: pl.Series) -> tuple[Ints, Ints]:
    """The same code for the same text in both columns; null has a code of its own."""
    joined = pl.concat([words(first), words(second)])
    codes = joined.rank("dense").cast(pl.Int64).fill_null(0).to_numpy()
    return codes[: len(first)], codes[len(first) :]


def times(series: pl.Series) -> pl.Series | None:
    """A column as times: temporal ones as they are, text when nine of ten values can be read; else None."""
    dtype = series.dtype
    if dtype == pl.Datetime:
        zone = getattr(dtype, "time_zone", None)
        return series.dt.convert_time_zone("UTC").dt.replace_time_zone(None) if zone else series
    if dtype == pl.Date:
        return series
    if dtype == pl.String and series.null_count() < len(series):
        trial = series.drop_nulls().head(200)
        for reader in (_read_zoned, _read_plain):
            if reader(trial).null_count() <= 0.1 * len(trial):
                return reader(series)
    return None


def _read_plain(series: pl.Series) -> pl.Series:
    try:
        return series.str.to_datetime(time_unit="us", strict=False)
    except pl.exceptions.PolarsError:
        return pl.Series(series.name, [None] * len(series), dtype=pl.Datetime("us"))


def _read_zoned(series: pl.Series) -> pl.Series:
    read = series.str.to_datetime("%+", time_unit="us", strict=False, time_zone="UTC")
    return read.dt.replace_time_zone(None)


def later(first: pl.Series, second: pl.Series) -> tuple[Ints, Ints] | None:
    """Whether `first` is later than `second`; where either has days only, days are compared.

    Returns:
        (later, comparable), each 0 or 1 per row; None for columns that are no times.
    """
    a, b = times(first), times(second)
    if a is None or b is None:
        if not (first.dtype.is_numeric() and second.dtype.is_numeric()):
            return None
        x, y = numbers(first), numbers(second)
        both = np.isfinite(x) & np.isfinite(y)
        return (both & (x > y)).astype(np.int64), both.astype(np.int64)
    if pl.Date in (a.dtype, b.dtype):
        a, b = a.cast(pl.Date), b.cast(pl.Date)
    else:
        a, b = a.cast(pl.Datetime("us")), b.cast(pl.Datetime("us"))
    both = (a.is_not_null() & b.is_not_null()).to_numpy()
    return ((a > b).fill_null(False).to_numpy() & both).astype(np.int64), both.astype(np.int64)


def order(frame: pl.DataFrame, roles: Roles) -> Ints:
    """Row numbers in time order, shape (n,); as they stand without a readable time."""
    if roles.time is not None and roles.time in frame.columns:
        column = frame[roles.time]
        read = times(column) if not column.dtype.is_numeric() else column
        if read is not None and read.null_count() < len(read):
            key = read.cast(pl.Float64, strict=False) if read.dtype.is_numeric() else read.to_physical()
            return np.argsort(key.fill_null(key.max()).to_numpy(), kind="stable").astype(np.int64)
    return np.arange(frame.height, dtype=np.int64)


def groups(evidence: Evidence) -> tuple[Ints | None, Ints | None]:
    """Group below `GROUPS` of every row of both samples, alike in both; None for independent rows."""
    frames = [s.frame if s is not None else None for s in (evidence.reference_sample, evidence.production_sample)]
    for name in (evidence.roles.bucket, evidence.roles.unit):
        found = [f[name] if f is not None and name in f.columns and is_plain(f[name]) else None for f in frames]
        if name is None or all(f is None for f in found):
            continue
        empty = pl.Series([], dtype=pl.String)
        a, b = text_codes(*(empty if f is None else f for f in found))
        return (None if found[0] is None else a % GROUPS), (None if found[1] is None else b % GROUPS)
    return None, None


def per_group(hits: Ints, group: Ints | None) -> Floats:
    """Sums per group, shape (GROUPS,), or (1,) for independent rows."""
    if group is None:
        return np.array([float(hits.sum())])
    return np.bincount(group, hits.astype(np.float64), minlength=GROUPS).astype(np.float64)


@dataclass(frozen=True, slots=True)
class Steadiness:
    """How seldom a column changes from one row to the next.

    Attributes:
        changes: Share of adjacent rows with different values.
        chance: What that share would be in random order.
    """

    changes: float
    chance: float

    @property
    def steady(self) -> bool:
        """Whether the column follows time: it changes less than a tenth as often as in random order."""
        return self.chance > 0 and self.changes < 0.1 * self.chance


def steadiness(codes: Ints) -> Steadiness:
    """How seldom a column changes, from its values as codes in time order, shape (n,).

    Example:
        >>> steadiness(np.arange(1000) // 250).steady, steadiness(np.arange(1000) % 4).steady
        (True, False)
    """
    n = len(codes)
    if n < 2:
        return Steadiness(0.0, 0.0)
    count = np.bincount(codes).astype(np.float64)
    chance = 1 - float((count * (count - 1)).sum()) / (n * (n - 1))
    return Steadiness(float(np.mean(codes[1:] != codes[:-1])), max(0.0, chance))


MANY_VALUES = 20
"""A column with more different values than this is continuous: no single number is natural to it."""

DEFAULT_WORDS = frozenset(
    {
        *["", "-", "?", "n/a", "na", "nan", "<na>", "#n/a", "none", "null", "nil", "unknown", "unk", "undefined"],
        *["missing", "not available", "default"],
    }
)
DEFAULT_NUMBERS = frozenset({0.0, -1.0})


def looks_default(value: float | str) -> bool:
    """Whether a value looks like what programs fill in: 0, -1, 999…, "", "unknown" and the like.

    Example:
        >>> looks_default(-999.0), looks_default("Unknown"), looks_default(12.5), looks_default("red")
        (True, True, False, False)
    """
    if isinstance(value, str):
        return value.strip().lower() in DEFAULT_WORDS
    if value in DEFAULT_NUMBERS or not math.isfinite(value):
        return True
    digits = f"{abs(value):.0f}"
    return value == round(value) and len(digits) >= 3 and set(digits) == {"9"}


def fills_in(value: float | str, known: pl.Series) -> bool:
    """Whether a value stands for "no value" in a column.

    A word like "unknown" does. A number does when it looks like a default, or is the mean or
    median, of a column with many values, or looks like one and is new to the column: 0 is a
    natural value of a count or a flag.

    Args:
        value: The value.
        known: The column's values in the reference, without nulls, comparable with the value.

    Example:
        >>> column = pl.Series([float(i) for i in range(50)])
        >>> fills_in(0.0, column), fills_in(24.5, column), fills_in(0.0, pl.Series([0.0, 1.0]))
        (True, True, False)
    """
    if isinstance(value, str):
        return looks_default(value)
    share = float((known == value).sum()) / max(len(known), 1)
    many = known.n_unique() > MANY_VALUES
    if looks_default(value):
        return share == 0 or (many and share < 0.5)
    if not many or share >= 0.05:
        return False
    x = numbers(known)
    x = x[np.isfinite(x)]
    near = 1e-6 * float(np.std(x))
    return len(x) > 0 and min(abs(value - float(np.mean(x))), abs(value - float(np.median(x)))) <= near


def comparable(first: pl.Series, second: pl.Series) -> tuple[pl.Series, pl.Series]:
    """Both columns as floats when both hold numbers, else as text; NaN is null."""
    if is_number(first) and is_number(second):
        a, b = (s.cast(pl.Float64).fill_nan(None) for s in (first, second))
        return a, b
    return words(first), words(second)


def quoted(value: float | str) -> str:
    """A value for a sentence."""
    if isinstance(value, str):
        return repr(value if len(value) <= 40 else value[:39] + "…")
    return f"{value:g}"


def percent(value: float) -> str:
    """A share for a sentence.

    Example:
        >>> percent(0.1234), percent(1.0), percent(0.0004)
        ('12.3 %', '100 %', '0.04 %')
    """
    return quantity(value, "share")
