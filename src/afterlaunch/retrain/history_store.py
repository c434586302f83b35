"""Where a history of clusters is kept: a folder of weeks, or memory.

A folder holds ``history.json``, and one folder for each week that was ever appended, ``000001``, ``000002``, … with

- ``week.json``: clusters, ids, events and flows of the week, and all that the next one needs to know of weeks before;
- ``members.parquet``: the members with the persistent id of their cluster;
- ``centroids.npy``: centroids in the order of the clusters in ``week.json``, where there are any.

A week is written beside and then renamed to its number: it is there as a whole or not at all, and of two that are
appended at once one finds its number taken. Nothing that is there is ever changed.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import tempfile
import time
import warnings
from contextlib import suppress
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import polars as pl
from numpy.typing import NDArray

from afterlaunch.decide import InputError

Floats = NDArray[np.float64]
Entry = dict[str, Any]

FORMAT = 1
"""Goes up whenever what is kept, or how, changes its meaning."""

KIND = "cluster history"

LEFT = 86_400.0
"""Seconds after which an unfinished week is what a killed process left behind."""

_NUMBER = re.compile(r"\d{6,}")


class TakenError(Exception):
    """Another process has appended a week in the meantime."""


class DamagedWeekWarning(UserWarning):
    """The last week of a folder cannot be read; the history goes on from the one before."""


class Store(Protocol):
    """Keeps weeks by number."""

    def last(self) -> Entry | None:
        """The newest week, or None."""

    def entry(self, number: int) -> Entry:
        """A week."""

    def members(self, number: int) -> pl.DataFrame:
        """Its members: "id" (where they have any) and "cluster"."""

    def centroids(self, number: int) -> Floats | None:
        """Centroids of its clusters."""

    def given(self) -> int:
        """Highest id that was ever given, whatever became of its week."""

    def number(self) -> int:
        """Number that the next week gets."""

    def add(self, entry: Entry, members: pl.DataFrame, centroids: Floats | None) -> None:
        """Keep a week under its number.

        Raises:
            TakenError: When there is one of this number already.
        """


class Memory:
    """Keeps weeks as long as the process lives."""

    def __init__(self) -> None:
        self._weeks: list[tuple[Entry, pl.DataFrame, Floats | None]] = []

    def last(self) -> Entry | None:  # noqa: D102
        return self._weeks[-1][0] if self._weeks else None

    def entry(self, number: int) -> Entry:  # noqa: D102
        return self._weeks[number - 1][0]

    def members(self, number: int) -> pl.DataFrame:  # noqa: D102
        return self._weeks[number - 1][1]

    def centroids(self, number: int) -> Floats | None:  # noqa: D102
        return self._weeks[number - 1][2]

    def given(self) -> int:  # noqa: D102
        return self._weeks[-1][0]["given"] if self._weeks else 0

    def number(self) -> int:  # noqa: D102
        return len(self._weeks) + 1

    def add(self, entry: Entry, members: pl.DataFrame, centroids: Floats | None) -> None:  # noqa: D102
        if entry["number"] != self.number():
            raise TakenError
        self._weeks.append((entry, members, centroids))


class Folder:
    """Keeps weeks in a folder, where any number of processes may read them.

    Args:
        path: The folder; made when it is not there.

    Raises:
        InputError: When it cannot be made, or is not a folder of this format.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._header = path / "history.json"
        try:
            path.mkdir(parents=True, exist_ok=True)
            if not self._header.exists():
                self._write_header(0)
        except OSError as error:
            raise InputError(
                f"The folder {str(path)!r} cannot be written to ({error.strerror}); name another."
            ) from error
        header = self._read_header()
        if header is not None and header.get("afterlaunch") != KIND:
            raise InputError(
                f"The folder {str(path)!r} has a history.json that is no cluster history; name another folder."
            )
        self._require_format(header or {}, self._header)

    def last(self) -> Entry | None:  # noqa: D102
        for number in sorted(self._numbers(), reverse=True):
            try:
                return self.entry(number)
            except InputError as error:
                if "newer" in str(error):
                    raise
                warnings.warn(
                    f"{error} The history goes on from the week before it; append that week again.",
                    DamagedWeekWarning,
                    stacklevel=4,
                )
        return None

    def entry(self, number: int) -> Entry:  # noqa: D102
        place = self._place(number)
        try:
            found: Entry = json.loads((place / "week.json").read_text(encoding="utf-8"))
            whole = found["afterlaunch"] == KIND and found["number"] == number
            whole = whole and (place / "members.parquet").stat().st_size == found["bytes"]
        except (OSError, ValueError, KeyError, TypeError):
            found, whole = {}, False
        if not whole:
            raise InputError(f"The week in {str(place)!r} is damaged; restore it from a copy, or remove that folder.")
        self._require_format(found, place / "week.json")
        return found

    def members(self, number: int) -> pl.DataFrame:  # noqa: D102
        place = self._place(number) / "members.parquet"
        try:
            return pl.read_parquet(place, memory_map=False)
        except (OSError, pl.exceptions.PolarsError) as error:
            raise InputError(f"The members in {str(place)!r} cannot be read; restore the file from a copy.") from error

    def centroids(self, number: int) -> Floats | None:  # noqa: D102
        place = self._place(number) / "centroids.npy"
        if not place.exists():
            return None
        try:
            found: Floats = np.load(place, allow_pickle=False)
        except (OSError, ValueError, EOFError) as error:
            raise InputError(
                f"The centroids in {str(place)!r} cannot be read; restore the file from a copy."
            ) from error
        return found

    def given(self) -> int:  # noqa: D102
        return int((self._read_header() or {}).get("given", 0))

    def number(self) -> int:  # noqa: D102
        return max(self._numbers(), default=0) + 1

    def add(self, entry: Entry, members: pl.DataFrame, centroids: Floats | None) -> None:  # noqa: D102
        try:
            self._add(entry, members, centroids)
        except OSError as error:
            raise InputError(
                f"The week {entry['week']!r} cannot be written to {str(self.path)!r} ({error.strerror}); nothing was "
                "changed."
            ) from error

    def _add(self, entry: Entry, members: pl.DataFrame, centroids: Floats | None) -> None:
        self._clear()
        made = Path(tempfile.mkdtemp(prefix=".part-", dir=self.path))
        try:
            members.write_parquet(made / "members.parquet", compression="zstd")
            if centroids is not None:
                np.save(made / "centroids.npy", centroids, allow_pickle=False)
            whole = entry | {"bytes": (made / "members.parquet").stat().st_size}
            (made / "week.json").write_text(json.dumps(whole, ensure_ascii=True), encoding="utf-8")
            for file in made.iterdir():
                _sync(file)
            _sync(made)
            os.chmod(made, 0o777 & ~_umask())
            # Before the week is there, so that its ids are never given again even if it is removed.
            self._write_header(max(self.given(), int(entry["given"])))
            target = self._place(entry["number"])
            try:
                if target.exists():
                    raise TakenError
                # Renaming onto a folder that is not empty fails everywhere.
                os.rename(made, target)
            except OSError as error:
                if target.exists():
                    raise TakenError from error
                raise
            _sync(self.path)
        finally:
            shutil.rmtree(made, ignore_errors=True)

    def _numbers(self) -> list[int]:
        return [int(n) for n in os.listdir(self.path) if _NUMBER.fullmatch(n)]

    def _place(self, number: int) -> Path:
        return self.path / f"{number:06d}"

    def _read_header(self) -> Entry | None:
        """The header; None when it is damaged, which costs nothing as long as no week was removed."""
        try:
            found = json.loads(self._header.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return None
        return found if isinstance(found, dict) else None

    def _write_header(self, given: int) -> None:
        content = {"afterlaunch": KIND, "format": FORMAT, "given": given}
        handle, temporary = tempfile.mkstemp(prefix=".part-", dir=self.path)
        try:
            with os.fdopen(handle, "w", encoding="utf-8") as opened:
                opened.write(json.dumps(content))
                opened.flush()
                os.fsync(opened.fileno())
            os.chmod(temporary, 0o666 & ~_umask())
            os.replace(temporary, self._header)
        except OSError:
            with suppress(OSError):
                os.unlink(temporary)
            raise

    def _require_format(self, found: Entry, place: Path) -> None:
        if found.get("format", FORMAT) > FORMAT:
            raise InputError(f"{str(place)!r} was written by a newer version of afterlaunch; update this one.")

    def _clear(self) -> None:
        """Remove what a killed process left long ago."""
        for left in self.path.glob(".part-*"):
            with suppress(OSError):
                if time.time() - left.stat().st_mtime > LEFT:
                    if left.is_dir():
                        shutil.rmtree(left, ignore_errors=True)
                    else:
                        left.unlink()


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def _sync(path: Path) -> None:
    """See that a file or folder is on disk; not every system can do so for folders."""
    with suppress(OSError):
        handle = os.open(path, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
