"""Files and URLs as lazy Polars frames; unusable ones are refused in one sentence."""

from __future__ import annotations

import difflib
import glob
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import polars as pl

from afterlaunch.decide import InputError
from afterlaunch.tables import delimited, json_lines
from afterlaunch.tables.table import brief

Source = str | Path | Sequence[str | Path]

FORMATS = {
    ".parquet": "Parquet",
    ".pq": "Parquet",
    ".csv": "CSV",
    ".tsv": "CSV",
    ".jsonl": "NDJSON",
    ".ndjson": "NDJSON",
    ".arrow": "Arrow",
    ".feather": "Arrow",
    ".ipc": "Arrow",
}
"""Suffix to format."""

MAGIC = {b"PAR1": "Parquet", b"ARROW1": "Arrow"}
"""First bytes of binary formats."""


def scan(source: Source) -> tuple[pl.LazyFrame, str]:
    """A lazy frame over one or more files of one format and one schema.

    Args:
        source: A path, a glob, a folder of Parquet files, a URL, or a list of these.

    Returns:
        The frame, and what to call the source.

    Raises:
        InputError: When a file is missing, empty, damaged, ragged, of an unknown format, or of
            another schema than its neighbours.
    """
    given = [source] if isinstance(source, (str, Path)) else list(source)
    label = str(given[0]) if len(given) == 1 else f"{given[0]} and {len(given) - 1} more"
    if any(is_url(s) for s in given):
        return _remote([str(s) for s in given]), label
    files, hive = [], False
    for one in given:
        found, in_folders = _expand(one)
        files += found
        hive = hive or in_folders
    formats = {_format(f) for f in files}
    if len(formats) > 1:
        raise InputError(
            f"The files of {label} are of several formats ({', '.join(sorted(formats))}); give files of one format."
        )
    kind = formats.pop()
    for f in files:
        _require_readable(f, kind)
    if kind == "CSV":
        return delimited.scan(files), label
    if kind == "NDJSON":
        return json_lines.scan(files), label
    return (_parquet(files, hive) if kind == "Parquet" else _arrow(files)), label


def is_url(source: str | Path) -> bool:
    """Whether it is a URL such as https://… or s3://… rather than a path.

    Example:
        >>> is_url("s3://logs/day=1/*.parquet"), is_url("C:/log.csv")
        (True, False)
    """
    return isinstance(source, str) and re.match(r"[A-Za-z][A-Za-z0-9+.-]+://", source) is not None


def local_files(source: object) -> list[Path] | None:
    """The files of a path, a glob, a folder or a list of these; None for anything else.

    Folders whose names hold columns (day=2026-01-01) count as anything else: their files alone lack those columns.

    Args:
        source: What was given as a table.

    Example:
        >>> local_files("s3://logs/*.parquet") is None, local_files({"a": [1]}) is None
        (True, True)
    """
    given = [source] if isinstance(source, (str, Path)) else source
    if not isinstance(given, (list, tuple)) or not given or not all(isinstance(s, (str, Path)) for s in given):
        return None
    if any(is_url(s) for s in given):
        return None
    found = [_expand(one) for one in given]
    return None if any(columns for _, columns in found) else [file for files, _ in found for file in files]


def _expand(source: str | Path) -> tuple[list[Path], bool]:
    """The files of a path, a glob or a folder, and whether folder names hold columns (day=2026-01-01)."""
    text = str(source)
    if not text:
        raise InputError("The path of a table is empty; give the path of a file.")
    try:
        path = Path(text).expanduser()
        is_folder, exists = path.is_dir(), path.exists()
    except (OSError, ValueError, RuntimeError) as error:
        raise InputError(f"The path {text!r} cannot be opened ({brief(error)}); check it.") from error
    if is_folder:
        return _inside(path, text)
    if exists:
        return [path], False
    if glob.has_magic(text):
        files = sorted(Path(f) for f in glob.glob(str(path), recursive=True) if Path(f).is_file())
        if not files:
            raise InputError(f"No file matches {text!r}; check the pattern.")
        return files, False
    near = []
    if path.parent.is_dir():
        near = difflib.get_close_matches(path.name, [f.name for f in path.parent.iterdir()], n=1, cutoff=0.75)
    raise InputError(f"There is no file {text!r}; {f'did you mean {near[0]!r}?' if near else 'check the path.'}")


def _inside(path: Path, text: str) -> tuple[list[Path], bool]:
    """The Parquet files in a folder and its folders; hidden ones and markers such as _SUCCESS are left out."""
    inside = [f for f in path.rglob("*") if f.suffix.lower() in {".parquet", ".pq"} and f.is_file()]
    files = sorted(f for f in inside if not any(p[0] in "._" for p in f.relative_to(path).parts))
    if not files:
        example = f"{text.rstrip('/')}/*.csv"
        raise InputError(f"The folder {text!r} holds no Parquet file; name its files, for example {example!r}.")
    return files, any("=" in p for f in files for p in f.relative_to(path).parts[:-1])


def _format(file: Path | str) -> str:
    suffix = Path(str(file).partition("?")[0]).suffix.lower()
    if suffix not in FORMATS:
        what = f"ends in {suffix!r}" if suffix else "has no suffix"
        raise InputError(
            f"The file {str(file)!r} {what}, which is no format of a table; "
            "give .parquet, .csv, .tsv, .jsonl, .ndjson, .arrow or .feather."
        )
    return FORMATS[suffix]


def _require_readable(file: Path, kind: str) -> None:
    """Refuse an empty file, one that may not be read, and one whose content is of another format."""
    try:
        with file.open("rb") as opened:
            first = opened.read(8)
    except OSError as error:
        raise InputError(
            f"The file {str(file)!r} cannot be read ({error.strerror or brief(error)}); check it."
        ) from error
    if not first:
        raise InputError(f"The file {str(file)!r} is empty (0 bytes); write it again.")
    real = next((k for magic, k in MAGIC.items() if first.startswith(magic)), None)
    if real not in {None, kind}:
        suffix = next(s for s, k in FORMATS.items() if k == real)
        raise InputError(f"The file {str(file)!r} is {real} inside, not {kind}; rename it to end in {suffix}.")
    if kind == "Parquet" and real is None:
        raise InputError(
            f"The file {str(file)!r} is not Parquet: it begins with {first!r}; "
            "give it the suffix of what it is, or write it again."
        )


def _parquet(files: list[Path], hive: bool) -> pl.LazyFrame:
    _require_one_schema(files, lambda f: pl.scan_parquet(f, glob=False).collect_schema(), "Parquet")
    paths: list[Any] = [str(f) for f in files]
    return pl.scan_parquet(paths, glob=False, hive_partitioning=hive, try_parse_hive_dates=True)


def _arrow(files: list[Path]) -> pl.LazyFrame:
    streams = [f for f in files if _first_bytes(f) != b"ARROW1"]
    if not streams:
        _require_one_schema(files, lambda f: pl.scan_ipc(f, glob=False).collect_schema(), "Arrow")
        return pl.scan_ipc([str(f) for f in files], glob=False)

    read: dict[Path, pl.DataFrame] = {}

    def schema(file: Path) -> dict[str, pl.DataType]:
        read[file] = pl.read_ipc_stream(file) if file in streams else pl.read_ipc(file)
        return dict(read[file].schema)

    _require_one_schema(files, schema, "Arrow")
    return pl.concat([read[f].select(read[files[0]].columns) for f in files]).lazy()


def _first_bytes(file: Path) -> bytes:
    with file.open("rb") as opened:
        return opened.read(6)


def _require_one_schema(files: list[Path], read: Callable[[Path], Any], kind: str) -> None:
    """Read what each file says its columns are: damaged files show here, and files that do not belong together."""
    first: dict[str, pl.DataType] = {}
    for file in files:
        try:
            schema = dict(read(file))
        except pl.exceptions.DuplicateError as error:
            found = re.search(r"name '(.*)' has more than one", str(error))
            column = f" {found[1]!r}" if found else ""
            raise InputError(f"The file {str(file)!r} has two columns{column}; rename one of them.") from error
        except (pl.exceptions.PolarsError, OSError, ValueError) as error:
            raise InputError(
                f"The {kind} file {str(file)!r} is damaged or cut short ({brief(error)}); write or copy it again."
            ) from error
        if not schema:
            raise InputError(f"The {kind} file {str(file)!r} has no columns; write it again with at least one.")
        if file is files[0]:
            first = schema
        require_like(str(files[0]), first, str(file), schema)


def require_like(one: str, first: dict[str, pl.DataType], other: str, schema: dict[str, pl.DataType]) -> None:
    """Refuse two files of one table that have different columns or types.

    Example:
        >>> require_like("a.parquet", {"x": pl.Int64()}, "b.parquet", {"x": pl.String()})
        Traceback (most recent call last):
        afterlaunch.decide.InputError: The column 'x' is Int64 in 'a.parquet' and String in 'b.parquet'; write both ...
    """
    for have, lack, where, not_where in ((first, schema, one, other), (schema, first, other, one)):
        for column in have:
            if column not in lack:
                raise InputError(
                    f"The column {column!r} is in {where!r} and not in {not_where!r}; "
                    "write both files with the same columns."
                )
    for column, dtype in first.items():
        if schema[column] != dtype:
            raise InputError(
                f"The column {column!r} is {dtype} in {one!r} and {schema[column]} in {other!r}; "
                "write both files with one type."
            )


def _remote(urls: list[str]) -> pl.LazyFrame:
    """Polars reads URLs itself; what goes wrong on the way shows when the schema is asked for."""
    formats = {_format(u) for u in urls}
    if len(formats) > 1:
        raise InputError(f"The URLs are of several formats ({', '.join(sorted(formats))}); give URLs of one format.")
    kind = formats.pop()
    scans: dict[str, Callable[[], pl.LazyFrame]] = {
        "Parquet": lambda: pl.scan_parquet(urls),
        "CSV": lambda: pl.scan_csv(urls, infer_schema_length=delimited.HEAD, try_parse_dates=True),
        "NDJSON": lambda: pl.scan_ndjson(urls, infer_schema_length=delimited.HEAD),
        "Arrow": lambda: pl.scan_ipc(urls),
    }
    try:
        frame = scans[kind]()
        frame.collect_schema()
        frame.head(1).collect()
    except (pl.exceptions.PolarsError, OSError, ValueError, ImportError) as error:
        raise InputError(
            f"The URL {urls[0]!r} cannot be read as {kind} ({brief(error)}); check the address and your access."
        ) from error
    return frame
