"""Grouping dependent rows: every unit falls into one of 64 buckets.

Rows of one user are not independent of each other, so a variance must come from groups of
whole users. The bucket of a unit is the same on every engine and in every language:

* an integer `x`: ``(((x mod P) + P) mod P) * 1583458089 mod P * 64 div P`` with ``P = 2**31 - 1``
  (a multiplicative generator of L'Ecuyer 1999, Mathematics of Computation 68:249-260, table 2);
* anything else, as text in UTF-8: the first byte of its SHA-256, mod 64.

`VECTORS` lists values to test another implementation against. The id of the scheme, `SCHEME`, is
stored in every profile.
"""

from __future__ import annotations

import hashlib
from typing import Any

import narwhals as nw
import polars as pl

from afterlaunch.decide import InputError

BUCKETS = 64
SCHEME = "al64-1"
"""Id of this scheme; a change of the scheme changes the id."""

INDEPENDENT = "rows"
"""Scheme of profiles without buckets: every row stands for itself."""

PRIME = 2**31 - 1
MULTIPLIER = 1583458089

VECTORS: tuple[tuple[int | str, int], ...] = (
    (0, 0),
    (1, 47),
    (2, 30),
    (1_000_000_007, 40),
    (-5, 20),
    ("", 35),
    ("a", 10),
    ("user-42", 45),
    ("naïve ☕", 50),
)
"""(unit, bucket) pairs."""


def bucket_of(unit: int | str) -> int:
    """The bucket of one unit.

    Example:
        >>> all(bucket_of(unit) == bucket for unit, bucket in VECTORS)
        True
    """
    if isinstance(unit, int):
        return (unit % PRIME) * MULTIPLIER % PRIME * BUCKETS // PRIME
    return hashlib.sha256(unit.encode()).digest()[0] % BUCKETS


def with_bucket(frame: nw.LazyFrame[Any], column: str, *, name: str, integer: bool) -> nw.LazyFrame[Any]:
    """Add the bucket of a unit column.

    Args:
        frame: A lazy frame on any engine.
        column: The unit column.
        name: Name of the new integer column.
        integer: Whether the unit column holds integers. Text is hashed by the engine where it
            has SHA-256 (DuckDB), else over the distinct values and joined back (Polars).

    Returns:
        The frame with the new column; a missing unit gets bucket 0.

    Raises:
        InputError: For text units on an engine without SHA-256.
    """
    if integer:
        unit = nw.col(column)
        # Half of the unsigned 64-bit numbers are no signed ones.
        x = (unit % PRIME if frame.collect_schema()[column] == nw.UInt64 else unit).cast(nw.Int64)
        h = (((x % PRIME) + PRIME) % PRIME) * MULTIPLIER % PRIME
        return frame.with_columns((h * BUCKETS // PRIME).fill_null(0).cast(nw.Int64).alias(name))
    native = nw.to_native(frame)
    if isinstance(native, pl.LazyFrame):
        return nw.from_native(pl.concat([native, _hashed(native, column, name).lazy()], how="horizontal"))
    if type(native).__module__.split(".")[0] in {"duckdb", "_duckdb"}:
        quoted, new = _quoted(column), _quoted(name)
        bucket = f"(('0x' || substr(sha256(CAST({quoted} AS VARCHAR)), 1, 2))::BIGINT % {BUCKETS})"
        return nw.from_native(native.select(f"*, coalesce({bucket}, 0) AS {new}"))  # type: ignore[no-any-return]
    raise InputError(
        f"The unit column {column!r} holds text and this engine has no SHA-256; "
        "give integers, or a column with the role bucket."
    )


def _hashed(native: pl.LazyFrame, column: str, name: str) -> pl.DataFrame:
    """Bucket of every row, one byte each; every different unit is hashed once."""
    units = native.select(pl.col(column).cast(pl.String)).collect(engine="streaming")[column]
    # Polars' own hash is quick but differs between its versions: here it only tells units apart.
    codes = units.hash(0)
    first = codes.arg_unique()
    sha = hashlib.sha256
    buckets = [0 if u is None else sha(u.encode()).digest()[0] % BUCKETS for u in units.gather(first).to_list()]
    hashed = pl.Series(buckets, dtype=pl.Int8)
    return pl.DataFrame({name: codes.replace_strict(codes.gather(first), hashed, return_dtype=pl.Int8)})


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'
