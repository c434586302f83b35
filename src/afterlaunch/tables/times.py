"""Text that is times in ISO form, such as 2026-01-31 09:00:00.5+01:00, made times."""

from __future__ import annotations

from typing import Any

import narwhals as nw
import polars as pl

from afterlaunch.tables.table import Frame, Table, fetch

LOOK = 1000
"""Values that are looked at to tell whether a text column is times."""

ISO = r"^\d{4}-\d\d-\d\d([T ]\d\d:\d\d(:\d\d(\.\d+)?)?)?"
OFFSET = r"(Z|[+-]\d\d:?\d\d)$"
DUCKDB_TYPES = {"UTC": "TIMESTAMPTZ", "": "TIMESTAMP"}
FORMATS: tuple[str, ...] = ("%Y-%m-%dT%H:%M:%S%.f", "%Y-%m-%dT%H:%M", "%Y-%m-%d")


def zone_of(values: pl.Series) -> str | None:
    """The zone of text that is times: "UTC" where all have an offset, "" where none has; None for other text.

    Example:
        >>> zone_of(pl.Series(["2026-01-31T09:00:00Z"])), zone_of(pl.Series(["2026-01-31"])), zone_of(pl.Series(["x"]))
        ('UTC', '', None)
    """
    filled = values.drop_nulls()
    if filled.dtype != pl.String or not filled.len():
        return None
    patterns = {"UTC": ISO + OFFSET, "": ISO + "$"}
    return next((zone for zone, pattern in patterns.items() if filled.str.contains(pattern).all()), None)


def as_times(column: str, zone: str) -> pl.Expr:
    """A text column of Polars as times; null where it is no time.

    Args:
        column: The column.
        zone: From `zone_of`.
    """
    text = pl.col(column).str.replace(" ", "T", literal=True)
    formats = FORMATS
    if zone:
        text = text.str.replace(r"Z$", "+0000").str.replace(r"([+-]\d\d):(\d\d)$", "${1}${2}")
        formats = tuple(f + "%z" for f in FORMATS)
    parsed = [text.str.to_datetime(f, time_unit="us", time_zone=zone or None, strict=False) for f in formats]
    return pl.coalesce(parsed).alias(column)


def with_times(table: Table) -> Table:
    """Make times of text in ISO form.

    A CSV file has no type for times, pandas reads them as text, and Parquet files are often
    written from there: the same log should mean the same however it came.

    Args:
        table: One table, in Polars or DuckDB; others come back as they are.

    Returns:
        The table in which a text column whose every value is a time, all with an offset or all
        without one, is a column of times, in UTC where they have an offset.

    Raises:
        InputError: When the engine cannot read the table.

    Example:
        >>> from afterlaunch.tables import open_table
        >>> log = open_table(pl.DataFrame({"ts": ["2026-01-31 09:00"], "note": ["2026"]}), name="log")
        >>> log.kinds["ts"], log.kinds["note"]
        ('time', 'category')
    """
    text = [c for c in table.columns if table.kinds[c] == "category"]
    if not text or table.engine not in {"polars", "duckdb"}:
        return table
    head = fetch(table.frame.select(*text).head(LOOK), table)
    zones = {c: zone for c in text if (zone := zone_of(head[c])) is not None}
    zones = {c: zone for c, zone in zones.items() if _all_times(table, c, zone)}
    if not zones:
        return table
    native: Any = nw.to_native(table.frame)
    if table.engine == "polars":
        parsed: Frame = nw.from_native(native.with_columns(as_times(c, z) for c, z in zones.items()))
    else:
        parsed = nw.from_native(native.select(*(_in_duckdb(c, zones.get(c)) for c in native.columns)))
    return table.with_frame(parsed, list(zones))


def _in_duckdb(name: str, zone: str | None) -> Any:
    import duckdb

    column = duckdb.ColumnExpression(name)
    return column if zone is None else column.cast(DUCKDB_TYPES[zone]).alias(name)


def _all_times(table: Table, column: str, zone: str) -> bool:
    """Whether every value is a time of this sort, and one that exists (there is no 31 June)."""
    native: Any = nw.to_native(table.frame)
    if table.engine == "polars":
        lost = native.select((pl.col(column).is_not_null() & as_times(column, zone).is_null()).any().alias("lost"))
        return fetch(nw.from_native(lost), table).item() is not True
    import duckdb

    text = native.select(duckdb.ColumnExpression(column).alias("v"))
    tried = text.select("v", duckdb.SQLExpression(f"try_cast(v as {DUCKDB_TYPES[zone]})").alias("t"))
    pattern = ISO + (OFFSET if zone else "$")
    v, t = nw.col("v"), nw.col("t")
    wrong = nw.from_native(tried).filter(~v.is_null() & (t.is_null() | ~v.str.contains(pattern)))
    return int(fetch(wrong.select(nw.len()), table).item()) == 0
