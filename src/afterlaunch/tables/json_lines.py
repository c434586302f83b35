"""NDJSON files: one JSON object a line."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import polars as pl

from afterlaunch.decide import InputError
from afterlaunch.tables.delimited import HEAD, READ
from afterlaunch.tables.table import brief

WORDS: dict[type, str] = {
    str: "text",
    bool: "true or false",
    int: "a number",
    float: "a number",
    list: "a list",
    dict: "an object",
}


def scan(files: list[Path]) -> pl.LazyFrame:
    """A lazy frame over NDJSON files; a key that a line lacks is missing there.

    Raises:
        InputError: For a line that is no JSON object, or a key with text here and a number there.
    """
    paths = [str(f) for f in files]
    small = sum(f.stat().st_size for f in files) <= READ
    try:
        frame = pl.scan_ndjson(paths, infer_schema_length=None if small else HEAD)
        head = frame.head(HEAD).collect()
        if small:
            held = frame.collect(engine="streaming")
            frame, head = held.lazy(), held
        else:
            frame.select(pl.all().null_count()).collect(engine="streaming")
    except (pl.exceptions.PolarsError, OSError) as error:
        _require_objects(files, None)
        raise InputError(f"The file {paths[0]!r} is not readable as NDJSON ({brief(error)}); check it.") from error
    if not head.columns:
        _require_objects(files, None)
        raise InputError(f"The file {paths[0]!r} has no columns, only empty objects; write it again.")
    suspects = {c for c in head.columns if head[c].dtype == pl.String and _looks_mixed(head[c])}
    if suspects:
        _require_objects(files, suspects)
    return frame


def _looks_mixed(values: pl.Series) -> bool:
    number = values.drop_nulls().cast(pl.Float64, strict=False).is_not_null()
    return bool(number.any()) and not bool(number.all())


def _require_objects(files: list[Path], columns: set[str] | None) -> None:
    """Refuse a line that is no JSON object, or a key whose type changes; looks at all keys, or at some."""
    for file in files:
        seen: dict[str, tuple[str, int, Any]] = {}
        read = 0
        with file.open("rb") as opened:
            for number, line in enumerate(opened, 1):
                read += len(line)
                if read > READ:
                    break
                if not line.strip():
                    continue
                try:
                    row = json.loads(line)
                except ValueError as error:
                    raise InputError(
                        f"Line {number} of {str(file)!r} is not JSON ({brief(error)}); correct it."
                    ) from error
                if not isinstance(row, dict):
                    what = WORDS.get(type(row), "null")
                    raise InputError(f"Line {number} of {str(file)!r} is {what}; write one JSON object on each line.")
                for key, value in row.items():
                    if value is None or (columns is not None and key not in columns):
                        continue
                    word = WORDS[type(value)]
                    before = seen.setdefault(key, (word, number, value))
                    if before[0] != word:
                        raise InputError(
                            f"The column {key!r} of {str(file)!r} mixes types: "
                            f"{before[2]!r} is {before[0]} on line {before[1]}, "
                            f"{value!r} is {word} on line {number}; write one type."
                        )
        if not seen and columns is None:
            raise InputError(f"The file {str(file)!r} holds no values; write one JSON object on each line.")
