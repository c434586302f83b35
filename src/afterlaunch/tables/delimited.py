"""CSV and TSV files: types from many rows, and a sentence for what does not fit them."""

from __future__ import annotations

import csv
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import polars as pl

from afterlaunch.decide import InputError
from afterlaunch.tables.table import brief

HEAD = 10_000
"""Rows of each file that types are read from."""

READ = 200_000_000
"""Bytes up to which text files are read into memory once; larger ones are streamed each time."""

MARKS = ("NA", "N/A", "n/a", "NaN", "nan", "NULL", "null", "None", "#N/A")
"""Words for a missing value in a column whose other values are numbers."""

SEPARATORS = (",", ";", "\t", "|")

Schema = dict[str, pl.DataType]


def scan(files: list[Path]) -> pl.LazyFrame:
    r"""A lazy frame over CSV files with the same columns.

    The separator is the one of ``, ; tab |`` that splits the header most. Types come from the
    first `HEAD` rows of each file: whole numbers become decimal ones where a later row or file
    has them; text among numbers is refused. In a column of numbers, words such as NA are missing.

    Raises:
        InputError: When a file is not UTF-8, ragged, has two columns of one name or no columns,
            or a value does not fit its column.
    """
    headers = [_header(f) for f in files]
    columns, separator = headers[0]
    for file, (other, _) in zip(files, headers, strict=True):
        if other != columns:
            _refuse_header(files[0], columns, file, other)
    heads = [_head(f, separator) for f in files]
    schema, numbers = _schema(heads)
    frame = _lazy(files, separator, schema, numbers)
    small = sum(f.stat().st_size for f in files) <= READ
    try:
        checked = _check(frame, small)
    except pl.exceptions.PolarsError as error:
        _require_straight(files, separator)
        schema = _wider(schema, files, separator, error)
        frame = _lazy(files, separator, schema, numbers)
        try:
            checked = _check(frame, small)
        except pl.exceptions.PolarsError as again:
            raise _refused(files, separator, columns, again) from again
    if not checked.missing_last:
        return frame if checked.frame is None else checked.frame.lazy()
    if len(columns) > 1:
        _require_straight(files, separator)
    if not any(map(_empty_lines, files)):
        return frame if checked.frame is None else checked.frame.lazy()
    parts = [_lazy([f], separator, schema, numbers) for f in files]
    rows = [p.select(pl.len()).collect(engine="streaming").item() for p in parts]
    frame = pl.concat([p.head(max(0, n - _empty_lines(f))) for p, n, f in zip(parts, rows, files, strict=True)])
    return frame.collect(engine="streaming").lazy() if small else frame


class _Checked:
    """A frame whose every value was parsed: held in memory, or parsed and dropped."""

    def __init__(self, frame: pl.DataFrame | None, missing_last: bool) -> None:
        self.frame = frame
        self.missing_last = missing_last


def _check(frame: pl.LazyFrame, small: bool) -> _Checked:
    last = frame.collect_schema().names()[-1]
    if small:
        held = frame.collect(engine="streaming")
        return _Checked(held, held[last].null_count() > 0)
    missing = frame.select(pl.all().null_count()).collect(engine="streaming")
    return _Checked(None, missing[last].item() > 0)


def _lazy(files: list[Path], separator: str, schema: Schema, numbers: list[str]) -> pl.LazyFrame:
    frame = pl.scan_csv([str(f) for f in files], separator=separator, schema=schema, glob=False, try_parse_dates=True)
    changes = [
        pl.when(pl.col(c).is_in(MARKS)).then(None).otherwise(pl.col(c)).cast(pl.Float64).alias(c) for c in numbers
    ]
    return frame.with_columns(changes) if changes else frame


def _text(file: Path) -> Iterator[str]:
    """The lines of a file as text."""
    with file.open(encoding="utf-8-sig", newline="") as opened:
        yield from opened


def _header(file: Path) -> tuple[list[str], str]:
    """Column names and separator."""
    try:
        line = next((line for line in _text(file) if line.strip()), "")
    except UnicodeDecodeError as error:
        raise _not_text(file, error) from error
    choices = {s: next(csv.reader([line], delimiter=s), []) for s in SEPARATORS}
    separator = max(SEPARATORS, key=lambda s: len(choices[s])) if file.suffix.lower() != ".tsv" else "\t"
    names = choices[separator]
    names = [*names[:-1], names[-1].rstrip("\r\n")] if names else []
    if not names:
        raise InputError(f"The file {str(file)!r} has no columns, only empty lines; write it again with a header line.")
    twice = next((n for i, n in enumerate(names) if n in names[:i]), None)
    if twice is not None:
        raise InputError(f"The file {str(file)!r} has two columns {twice!r}; rename one of them.")
    return names, separator


def _not_text(file: Path, error: UnicodeDecodeError) -> InputError:
    byte = error.object[error.start : error.start + 1]
    return InputError(f"The file {str(file)!r} is not UTF-8 text (it holds the byte 0x{byte.hex()}); save it as UTF-8.")


def _refuse_header(one: Path, columns: list[str], file: Path, other: list[str]) -> None:
    for have, lack, where, not_where in ((columns, other, one, file), (other, columns, file, one)):
        for column in have:
            if column not in lack:
                raise InputError(
                    f"The column {column!r} is in {str(where)!r} and not in {str(not_where)!r}; "
                    "write both files with the same columns."
                )
    raise InputError(
        f"The columns of {str(file)!r} are in another order than those of {str(one)!r}; write both files in one order."
    )


@dataclass(frozen=True)
class _Head:
    """The first rows of one file, as text, and the types they seem to have."""

    file: Path
    types: Schema
    rows: pl.DataFrame


def _head(file: Path, separator: str) -> _Head:
    try:
        frame = pl.scan_csv(file, separator=separator, infer_schema_length=HEAD, try_parse_dates=True, glob=False)
        rows = pl.read_csv(file, separator=separator, n_rows=HEAD, infer_schema=False, glob=False)
        return _Head(file, dict(frame.collect_schema()), rows)
    except pl.exceptions.PolarsError as error:
        _require_straight([file], separator)
        raise InputError(
            f"The file {str(file)!r} is not readable as CSV ({brief(error)}); check it around that place."
        ) from error


def _schema(heads: list[_Head]) -> tuple[Schema, list[str]]:
    """One type per column for all files, and the text columns that hold numbers beside words for missing."""
    schema: Schema = {}
    numbers = []
    for column in heads[0].types:
        filled = [h for h in heads if h.rows[column].null_count() < h.rows.height]
        types = [h.types[column] for h in filled]
        marked = [t == pl.String and _is_marked(h.rows[column]) for t, h in zip(types, filled, strict=True)]
        if any(marked) and all(m or t.is_numeric() for m, t in zip(marked, types, strict=True)):
            numbers.append(column)
            schema[column] = pl.String()
            continue
        found = types[0] if types else pl.String()
        for head, dtype in zip(filled[1:], types[1:], strict=True):
            both = _common(found, dtype)
            if both is None:
                raise InputError(
                    f"The column {column!r} is {found} in {str(filled[0].file)!r} and {dtype} in {str(head.file)!r}; "
                    "write both files with one type."
                )
            found = both
        schema[column] = found
    return schema, numbers


def _is_marked(values: pl.Series) -> bool:
    """Whether text is nothing but numbers and words for missing values, such as "3", "NA"."""
    rest = values.drop_nulls()
    plain = rest.filter(~rest.is_in(MARKS))
    if plain.len() == rest.len():
        return False
    return bool(plain.cast(pl.Float64, strict=False).is_not_null().all()) and not plain.str.contains(r"^[+-]?0\d").any()


def _common(a: pl.DataType, b: pl.DataType) -> pl.DataType | None:
    """The type that holds the values of both, or None."""
    if a == b:
        return a
    if a.is_numeric() and b.is_numeric():
        return pl.Float64() if a.is_float() or b.is_float() else pl.Int128()
    if {a, b} == {pl.Date(), pl.Datetime("us")}:
        return pl.Datetime("us")
    return None


def _wider(schema: Schema, files: list[Path], separator: str, error: pl.exceptions.PolarsError) -> Schema:
    """The schema with whole numbers made decimal where all rows are asked, after a value did not fit."""
    whole = {c for c, t in schema.items() if t.is_integer()}
    column = _column_of(error)
    if column is not None and column not in whole:
        return schema
    out = dict(schema)
    for file in files:
        found = pl.scan_csv(file, separator=separator, infer_schema_length=None, glob=False).collect_schema()
        for c in whole:
            both = _common(out[c], found[c]) if found[c].is_numeric() else None
            out[c] = both or out[c]
    return out


def _column_of(error: Exception) -> str | None:
    found = re.search(r"(?:at|in) column '(.*?)'(?: \(column number| for \d)", str(error), re.DOTALL)
    return found[1] if found else None


def _refused(files: list[Path], separator: str, columns: list[str], error: Exception) -> InputError:
    """The sentence for a value that does not fit its column."""
    text = str(error)
    if "utf-8" in text.lower():
        for file in files:
            try:
                for _ in _text(file):
                    pass
            except UnicodeDecodeError as wrong:
                return _not_text(file, wrong)
    column = _column_of(error)
    value = re.search(r"parse `(.*?)` as|values?: \[\"(.*?)\"", text, re.DOTALL)
    if column is None or value is None or column not in columns:
        return InputError(
            f"The file {str(files[0])!r} is not readable as CSV ({brief(error)}); check it around that place."
        )
    wrong_value = value[1] if value[1] is not None else value[2]
    place = _find(files, separator, columns.index(column), wrong_value)
    return InputError(
        f"The column {column!r} of {place} holds {wrong_value!r}, which is not of the type of the first {HEAD:,} rows; "
        "correct it, or leave the field empty if the value is missing."
    )


def _find(files: list[Path], separator: str, index: int, value: str) -> str:
    for file in files:
        reader = csv.reader(_text(file), delimiter=separator)
        try:
            for row in reader:
                if index < len(row) and row[index] == value:
                    return f"{str(file)!r} (line {reader.line_num})"
        except (csv.Error, UnicodeDecodeError):
            continue
    return repr(str(files[0]))


def _empty_lines(file: Path) -> int:
    """How many empty lines end a file; Polars takes each for a row of missing values."""
    with file.open("rb") as opened:
        opened.seek(max(0, file.stat().st_size - 4096))
        tail = opened.read()
    return max(0, tail[len(tail.rstrip(b"\r\n")) :].count(b"\n") - 1)


def _require_straight(files: list[Path], separator: str) -> None:
    """Refuse a row with more or fewer fields than the header; empty lines at the end are fine."""
    for file in files:
        reader = csv.reader(_text(file), delimiter=separator)
        width, blank, seen = 0, 0, 0
        try:
            for row in reader:
                seen += sum(map(len, row))
                if seen > READ:
                    break
                if not row:
                    blank += 1
                    continue
                if not width:
                    width, blank = len(row), 0
                if len(row) != width or blank:
                    line = reader.line_num - (1 if blank else 0)
                    what = "no field" if blank else f"{len(row)} field{'' if len(row) == 1 else 's'}"
                    raise InputError(
                        f"Line {line} of {str(file)!r} has {what} where the header has {width}; "
                        "correct that line (a value that holds the separator needs quotes)."
                    )
        except UnicodeDecodeError as error:
            raise _not_text(file, error) from error
        except csv.Error as error:
            raise InputError(
                f"Line {reader.line_num} of {str(file)!r} is not CSV ({brief(error)}); correct it."
            ) from error
