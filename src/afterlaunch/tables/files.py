"""Files as lazy Polars frames."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import polars as pl

from afterlaunch.decide import InputError


def scan(source: Any) -> tuple[pl.LazyFrame, str]:
    """A lazy frame over files."""
    text = str(source)
    suffix = Path(text).suffix.lower()
    if suffix in {".csv", ".tsv"}:
        return pl.scan_csv(source, infer_schema_length=10_000, try_parse_dates=True), text
    if suffix in {".jsonl", ".ndjson"}:
        return pl.scan_ndjson(source, infer_schema_length=10_000), text
    if suffix in {".arrow", ".feather", ".ipc"}:
        return pl.scan_ipc(source), text
    if not Path(text).exists() and not set(text) & set("*?["):
        raise InputError(f"There is no file {text!r}; check the path.")
    return pl.scan_parquet(source), text
