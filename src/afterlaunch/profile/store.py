"""Window counts kept in a folder, so that a new day costs the counting of a new day.

A log of many files (one a day) is counted a few files at a time, and what was counted is kept under
what those files are: path, size, time of change, and the last 64 KiB, which hold the footer of a
Parquet file. Counts of parts add up to those of the log, so later only files that are new or
changed are read. A file that grew is a changed file: whether its earlier rows stayed as they were
could only be told by reading them, so it is counted again as a whole. Windows of rows are not kept:
where they begin depends on all files before.

What is kept holds counts and the text of categories, no rows. A file of the folder that is damaged,
or of another make, is counted again and written anew. Files appear whole or not at all; of two runs
at once the later one wins, and what it did not know of is counted again some day.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import polars as pl

from afterlaunch.decide import InputError
from afterlaunch.profile.count import Frame, Source, fits
from afterlaunch.profile.kept import Others, Part, Plan, identity, load, save
from afterlaunch.profile.types import NAMES_KEPT, Bins, Ints, Kind, Timeline, WindowCounts
from afterlaunch.profile.windows import count_windows
from afterlaunch.tables.calendar import Every
from afterlaunch.tables.table import Table, brief, fetch_all
from afterlaunch.tables.windows import Extent, assign, cut, measure, windows_of
from afterlaunch.watch import Window

BATCH_BYTES = 64_000_000
"""Bytes of files that are counted together; when one of them changes, all of them are counted again."""

Opened = Callable[[Sequence[Path]], Table]


@dataclass(frozen=True)
class Followed:
    """A log counted window by window.

    Attributes:
        timeline: The counts.
        without_time: Rows in no window.
        read: How many files were read for it.
    """

    timeline: Timeline
    without_time: int
    read: int


def count_with_store(
    files: Sequence[Path],
    opened: Opened,
    bins: Mapping[str, Bins | None],
    columns: Iterable[str],
    every: Every,
    *,
    time: str | None,
    kinds: Mapping[str, Kind],
    cache: Path | None,
    segment: str | None = None,
    segments: Sequence[str] = (),
) -> Followed:
    """Count a log in windows, reading only the files that were not counted before.

    Args:
        files: The files of the log, in order.
        opened: Opens some of them as one table, with columns made of the types that they have in the whole log.
        bins: Bins by column, as for `count_windows`.
        columns: Columns to count.
        every: Length of a window.
        time: Column of times.
        kinds: Kind of every column of the whole log. Where a part of it has others (a column of
            text that is all dates on one day), the log is counted as a whole, and nothing is kept.
        cache: Folder of what was counted before; made when it is not there. None keeps nothing.
        segment: Column of a segment that is counted apart as well.
        segments: Its values.

    Returns:
        The counts: those of `cut` and `count_windows` on the whole log, whatever was kept.

    Raises:
        InputError: As for `cut` and `count_windows`, and when the folder cannot be made.
    """
    columns = [c for c in dict.fromkeys(columns) if c in kinds]
    segment = segment if segment in kinds else None
    if cache is None or every.unit == "row" or time is None or kinds.get(time) != "time":
        return _whole(files, opened, bins, columns, every, time, segment, segments)
    usable = {c: b for c in columns if (b := bins.get(c)) is not None and fits(kinds[c], b)}
    chosen = tuple(dict.fromkeys(segments)) if segment is not None else ()
    plan = Plan({c: kinds[c] for c in columns}, usable, every, time, segment, chosen)
    try:
        cache.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(
            f"The cache folder {str(cache)!r} cannot be made ({error.strerror or brief(error)}); name another."
        ) from error
    place = cache / f"windows-{plan.key()[:40]}.npz"
    known = {str(f.absolute()): identity(f) for f in files}
    stored = [p for p in load(place, plan) if not _stale(p, known)]
    used = _fitting(stored, known)
    done = {path for part in used for path in part.files}
    fresh: list[Part] = []
    for batch in _batches([f for f in files if str(f.absolute()) not in done], files[-1] if files else None):
        table = opened(batch)
        part = _count(table, {str(f.absolute()): known[str(f.absolute())] for f in batch}, plan)
        if part is None:
            return _whole(files, opened, bins, columns, every, time, segment, segments)
        fresh.append(part)
    unchanged = [p for p in fresh if all(identity(Path(path)) == key for path, key in p.files.items())]
    if unchanged:
        spare = [p for p in stored if not any(p is u for u in used)]
        save(place, plan, [*used, *unchanged], spare)
    parts = [*used, *fresh]
    return Followed(_merge(parts, plan), sum(p.extent.without_time for p in parts), sum(len(p.files) for p in fresh))


def _whole(
    files: Sequence[Path],
    opened: Opened,
    bins: Mapping[str, Bins | None],
    columns: Sequence[str],
    every: Every,
    time: str | None,
    segment: str | None,
    segments: Sequence[str],
) -> Followed:
    found = cut(opened(files), every, time=time)
    rows = sum(w.rows for w in found.windows) + found.without_time
    timeline = count_windows(
        _source(found.table, rows),
        bins,
        columns,
        found.column,
        found.windows,
        every=every.text,
        segment=segment,
        segments=segments,
    )
    return Followed(timeline, found.without_time, len(files))


def _source(table: Table, rows: int) -> Source:
    def fetch(frames: Sequence[Frame]) -> list[pl.DataFrame]:
        return fetch_all(frames, table)

    return Source(table.frame, table.kinds, fetch, rows=rows)


def _stale(part: Part, known: Mapping[str, str]) -> bool:
    """Whether a file of the part is another one now."""
    return any(known.get(path, key) != key for path, key in part.files.items())


def _fitting(parts: Sequence[Part], known: Mapping[str, str]) -> list[Part]:
    """Parts, the largest first, that are of this log's files only and share none."""
    out: list[Part] = []
    taken: set[str] = set()
    for part in sorted(parts, key=lambda p: -len(p.files)):
        if part.files and part.files.keys() <= known.keys() and taken.isdisjoint(part.files):
            out.append(part)
            taken |= part.files.keys()
    return out


def _batches(files: Sequence[Path], newest: Path | None) -> Iterator[list[Path]]:
    """Files that are counted together; the newest, the one most likely to change, alone."""
    batch: list[Path] = []
    held = 0
    for file in files:
        size = file.stat().st_size if file.exists() else 0
        if batch and (held + size > BATCH_BYTES or file == newest):
            yield batch
            batch, held = [], 0
        batch.append(file)
        held += size
    if batch:
        yield batch


def _count(table: Table, files: Mapping[str, str], plan: Plan) -> Part | None:
    """Count a part; None when its columns are not of the kinds of the whole."""
    needed = {**plan.columns, plan.time: "time"}
    if any(table.kinds.get(c) != kind for c, kind in needed.items()):
        return None
    if plan.segment is not None and plan.segment not in table.kinds:
        return None
    extent = measure(table, plan.every, time=plan.time)
    windows = windows_of(extent, plan.every, name=table.name)
    found = assign(table, plan.every, windows, time=plan.time)
    timeline = count_windows(
        _source(found.table, int(extent.rows.sum()) + extent.without_time),
        plan.bins,
        list(plan.columns),
        found.column,
        windows,
        every=plan.every.text,
        segment=plan.segment,
        segments=plan.segments,
    )
    at = extent.index - extent.index[0] if len(extent.index) else extent.index
    each = [timeline, *timeline.segments.values()]
    others = tuple(
        {n: None if c.others is None else dict(c.others) for n, c in t.columns.items() if c.others != {}} for t in each
    )
    return Part(files, extent, np.stack([_row(t, plan)[at] for t in each]), others)


# ------------------------------------------------------------------ counts as rows, and back


def _row(timeline: Timeline, plan: Plan) -> Ints:
    """All counts of a timeline, shape (W, width)."""
    parts = [timeline.rows[:, None]]
    for name in plan.columns:
        c = timeline.columns[name]
        parts += [c.counts, *(v[:, None] for v in (c.missing, c.infinite, c.below, c.above))]
    return np.concatenate(parts, axis=1)


def _merge(parts: Sequence[Part], plan: Plan) -> Timeline:
    nothing = np.zeros(0, dtype=np.int64)
    extent = Extent(nothing, nothing, nothing, nothing)
    for part in parts:
        extent = extent + part.extent
    windows = windows_of(extent, plan.every)
    total = np.zeros((1 + len(plan.segments), len(windows), plan.width), dtype=np.int64)
    first = extent.index[0] if len(extent.index) else 0
    for part in parts:
        total[:, part.extent.index - first] += part.cells
    others = [_join([part.others[at] for part in parts]) for at in range(len(total))]
    whole, *apart = (
        _timeline(total[at], windows if at == 0 else None, windows, others[at], plan) for at in range(len(total))
    )
    return replace(whole, segments=dict(zip(plan.segments, apart, strict=True)))


def _timeline(
    cells: Ints, known: tuple[Window, ...] | None, windows: tuple[Window, ...], others: Others, plan: Plan
) -> Timeline:
    columns: dict[str, WindowCounts] = {}
    at = 1
    for name, size in plan.sizes.items():
        end = at + size
        counts, (missing, infinite, below, above) = cells[:, at:end], cells[:, end : end + 4].T
        kind, bins, names = plan.columns[name], plan.bins.get(name), others.get(name, {})
        columns[name] = WindowCounts(name, kind, bins, counts, missing, infinite, below, above, names)
        at = end + 4
    rows = cells[:, 0]
    mine = known or tuple(replace(w, rows=int(n)) for w, n in zip(windows, rows, strict=True))
    return Timeline(plan.every.text, mine, rows, columns)


def _join(parts: Sequence[Others]) -> Others:
    out: Others = {}
    for part in parts:
        for name, values in part.items():
            so_far = out.setdefault(name, {})
            if so_far is None or values is None:
                out[name] = None
                continue
            for value, n in values.items():
                so_far[value] = so_far.get(value, 0) + n
    return {c: None if v is None or len(v) > NAMES_KEPT else v for c, v in out.items()}
