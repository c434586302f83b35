"""A file of window counts: written whole or not at all, and read as nothing when it is anything else."""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from afterlaunch.profile.types import Bins, Ints, Kind
from afterlaunch.tables.calendar import Every
from afterlaunch.tables.windows import Extent

FORMAT = 1
"""Goes up whenever counts, or how they are written, change their meaning."""

TAIL = 1 << 16
"""Bytes at the end of a file that are part of what it is known by."""

KEPT_COUNTS = 50_000_000
"""Most counts that a file of the folder holds; parts that the log at hand does not use are dropped first."""

Others = dict[str, dict[str, int] | None]


@dataclass(frozen=True)
class Part:
    """Some files of a log, counted.

    Attributes:
        files: Path to what the file was known by.
        extent: Where their rows lie.
        cells: Shape (1 + segments, windows of the extent, width): the rows of a cell, then of each column the
            counts of its bins, missing, infinite, below and above.
        others: Of each segment (the first is the whole) the values outside the frozen lists, by column.
    """

    files: Mapping[str, str]
    extent: Extent
    cells: Ints
    others: tuple[Others, ...]


@dataclass(frozen=True)
class Plan:
    """What is counted, and how.

    Attributes:
        columns: Column to its kind.
        bins: Bins of those that are binned.
        every: Length of a window.
        time: Column of times.
        segment: Column of the segment, or None.
        segments: Its values.
    """

    columns: Mapping[str, Kind]
    bins: Mapping[str, Bins]
    every: Every
    time: str
    segment: str | None
    segments: tuple[str, ...]

    @property
    def sizes(self) -> dict[str, int]:
        """Bins of each column."""
        return {c: self.bins[c].size if c in self.bins else 0 for c in self.columns}

    @property
    def width(self) -> int:
        """Length of a row of counts."""
        return 1 + sum(size + 4 for size in self.sizes.values())

    def key(self) -> str:
        """What counts of this plan are filed under."""
        bins = {c: {"type": type(b).__name__, **asdict(b)} for c, b in self.bins.items()}
        content = [FORMAT, dict(self.columns), bins, self.every.count, self.every.unit, self.time]
        text = json.dumps([*content, self.segment, self.segments])
        return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


def identity(file: Path) -> str:
    """What a file is known by: size, time of change and its last 64 KiB; "" when it cannot be read.

    Args:
        file: A file of any format.
    """
    try:
        with file.open("rb") as opened:
            about = os.fstat(opened.fileno())
            opened.seek(max(0, about.st_size - TAIL))
            tail = hashlib.sha256(opened.read(TAIL)).hexdigest()
    except OSError:
        return ""
    return f"{about.st_size}-{about.st_mtime_ns}-{tail}"


def save(place: Path, plan: Plan, parts: Sequence[Part], spare: Sequence[Part] = ()) -> bool:
    """Write parts to a file of the folder, whole or not at all.

    Args:
        place: The file.
        plan: What was counted.
        parts: Parts of the log at hand.
        spare: Parts of other logs, kept as long as there is room.

    Returns:
        Whether it was written: a full disk costs a later counting, no review.
    """
    kept = list(parts)
    room = KEPT_COUNTS - sum(p.cells.size for p in parts)
    for part in spare:
        room -= part.cells.size
        if room >= 0:
            kept.append(part)
    cells = np.concatenate([p.cells.reshape(-1, plan.width) for p in kept])
    ends = {
        name: np.concatenate([getattr(p.extent, name) for p in kept]) for name in ("index", "rows", "first", "last")
    }
    header: dict[str, Any] = {
        "afterlaunch": "windows",
        "key": plan.key(),
        "parts": [[dict(p.files), len(p.extent.index), p.extent.without_time, p.others] for p in kept],
    }
    small = cells.astype(np.uint32) if cells.max(initial=0) < 1 << 32 else cells
    temporary = ""
    try:
        with tempfile.NamedTemporaryFile(dir=place.parent, prefix=place.stem, suffix=".part", delete=False) as opened:
            temporary = opened.name
            arrays: dict[str, Any] = {"cells": small, **ends}
            arrays["header"] = np.frombuffer(json.dumps(header).encode(), dtype=np.uint8)
            np.savez(opened, **arrays)
        os.replace(temporary, place)
    except OSError:
        with suppress(OSError):
            os.unlink(temporary)
        return False
    return True


def load(place: Path, plan: Plan) -> list[Part]:
    """The parts in a file of the folder; none when it is not there, damaged, or of another plan."""
    try:
        with place.open("rb") as opened, np.load(opened, allow_pickle=False) as found:
            header = json.loads(found["header"].tobytes())
            arrays = {n: found[n].astype(np.int64) for n in ("index", "rows", "first", "last", "cells")}
        return _parts(header, arrays, plan)
    except Exception:  # a damaged file can raise anything, and all of it means the same: count again
        return []


def _parts(header: Any, arrays: Mapping[str, Ints], plan: Plan) -> list[Part]:
    """What a file holds.

    Raises:
        ValueError: When its numbers contradict each other; and whatever comes of a file of another make.
    """
    if header["afterlaunch"] != "windows" or header["key"] != plan.key():
        raise ValueError("the file is of another plan")
    out: list[Part] = []
    depth = 1 + len(plan.segments)
    start = row = 0
    for files, count, without_time, others in header["parts"]:
        index, rows, first, last = (arrays[n][start : start + count] for n in ("index", "rows", "first", "last"))
        cells = arrays["cells"][row : row + depth * count].reshape(depth, count, plan.width)
        if len(others) != depth or not (cells[0, :, 0] == rows).all() or (np.diff(index) <= 0).any():
            raise ValueError("the file contradicts itself")
        extent = Extent(index, rows, first, last, int(without_time))
        out.append(Part({str(p): str(k) for p, k in files.items()}, extent, cells, tuple(others)))
        start, row = start + count, row + depth * count
    _require_sums(arrays["cells"], plan)
    if start != len(arrays["index"]) or row != len(arrays["cells"]):
        raise ValueError("the file contradicts itself")
    return out


def _require_sums(cells: Ints, plan: Plan) -> None:
    """Every row of a binned column is in a bin or missing."""
    if (cells < 0).any():
        raise ValueError("a count is negative")
    at = 1
    for name, size in plan.sizes.items():
        if name in plan.bins and not (cells[:, at : at + size + 1].sum(axis=1) == cells[:, 0]).all():
            raise ValueError("counts do not add up to rows")
        at += size + 4
