"""Counting a log window by window, whole and by segment, in one pass over its rows.

In memory, where a log is read most often, it is one histogram for each column (`histograms`). To
other engines a window is a bucket, and they group by it as they group by buckets.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

import narwhals as nw
import polars as pl

from afterlaunch.decide import InputError
from afterlaunch.profile.count import Frame, Source, fits, profile_table, text_of
from afterlaunch.profile.histograms import Counted, Grid, count_in_memory
from afterlaunch.profile.types import NAMES_KEPT, Bins, CategoryBins, Ints, Timeline, WindowCounts
from afterlaunch.watch import Window

MOST_COUNTS = 50_000_000
"""Most counts of one timeline: windows × segments × bins of all columns."""

Others = Mapping[str, int] | None


def count_windows(
    source: Source,
    bins: Mapping[str, Bins | None],
    columns: Iterable[str],
    window: str,
    windows: Sequence[Window],
    *,
    every: str,
    segment: str | None = None,
    segments: Sequence[str] = (),
) -> Timeline:
    """Count a log in frozen bins, window by window.

    Every count is that of `profile_table` on the rows of the window alone.

    Args:
        source: The log, cut; buckets are not used, as rows are taken as independent within a window.
        bins: Bins by column; a column whose kind does not fit its bins is only counted for missing values.
        columns: Columns to count; those that the log lacks are left out.
        window: Column with the index of each row's window, null for rows in none.
        windows: The windows.
        every: Length of a window, as the user gave it.
        segment: Column of a segment that is counted apart as well.
        segments: Its values to count; rows of others are in the whole only.

    Returns:
        The counts, whole and for each of the segments.

    Raises:
        InputError: When there are too many counts to hold, or the engine cannot read the table.
    """
    columns = [c for c in dict.fromkeys(columns) if c in source.kinds]
    usable = {c: b for c in columns if (b := bins.get(c)) is not None and fits(source.kinds[c], b)}
    grid = Grid(window, len(windows), segment, tuple(dict.fromkeys(segments)) if segment else ())
    wide = sum(b.size for b in usable.values()) + len(columns)
    if grid.size * wide > MOST_COUNTS:
        raise InputError(
            f"{grid.windows:,} windows of {every!r} × {grid.parts:,} segments × {wide:,} bins are too many counts "
            f"to hold ({MOST_COUNTS:,}); cut longer windows, or name fewer columns or segments."
        )
    source = replace(source, bucket=None, held=None)
    local = isinstance(nw.to_native(source.frame), pl.LazyFrame)
    rows, cells = (count_in_memory if local else _count_there)(source, usable, columns, grid, windows)
    others = _name_others(source, usable, cells, grid)
    parts = [
        _timeline(every, windows, source, usable, columns, rows, cells, others, grid, at)
        for at in (None, *range(len(grid.segments)))
    ]
    return replace(parts[0], segments=dict(zip(grid.segments, parts[1:], strict=True)))


def _timeline(
    every: str,
    windows: Sequence[Window],
    source: Source,
    bins: Mapping[str, Bins],
    columns: Sequence[str],
    rows: Ints,
    cells: Mapping[str, Counted],
    others: Mapping[tuple[str, int | None], Others],
    grid: Grid,
    at: int | None,
) -> Timeline:
    """The timeline of one segment, or of all rows."""

    def pick(values: Ints) -> Ints:
        apart = values.reshape(grid.windows, grid.parts, *values.shape[1:])
        found: Ints = apart.sum(axis=1) if at is None else apart[:, at].copy()
        return found

    counted = {
        name: WindowCounts(
            name=name,
            kind=source.kinds[name],
            bins=bins.get(name),
            counts=pick(cells[name].counts),
            missing=pick(cells[name].missing),
            infinite=pick(cells[name].infinite),
            below=pick(cells[name].below),
            above=pick(cells[name].above),
            others=others.get((name, at), {}),
        )
        for name in columns
    }
    own = pick(rows)
    mine = tuple(w if at is None else replace(w, rows=int(n)) for w, n in zip(windows, own, strict=True))
    return Timeline(every, mine, own, counted)


# ------------------------------------------------------------------ values outside the frozen list


def _name_others(
    source: Source, bins: Mapping[str, Bins], cells: Mapping[str, Counted], grid: Grid
) -> dict[tuple[str, int | None], Others]:
    """Values outside the frozen list of the few columns, and segments, that have any; one query for each."""
    schema = source.frame.collect_schema()
    asked: list[tuple[str, int | None]] = []
    frames: list[Frame] = []
    for name, found in bins.items():
        if not isinstance(found, CategoryBins):
            continue
        outside = cells[name].counts[:, -1].reshape(grid.windows, grid.parts).sum(axis=0)
        for at in (None, *range(len(grid.segments))):
            if (outside.sum() if at is None else outside[at]) == 0:
                continue
            keep = ~nw.col(grid.window).is_null()
            if at is not None and grid.segment is not None:
                keep = keep & (text_of(grid.segment, schema[grid.segment]) == grid.segments[at])
            value = nw.col("value")
            frame = source.frame.filter(keep).select(text_of(name, schema[name]).alias("value"))
            frame = frame.filter(~value.is_null())
            if found.values:
                frame = frame.filter(~value.is_in(list(found.values)))
            asked.append((name, at))
            frames.append(frame.group_by("value").agg(nw.len().cast(nw.Int64).alias("n")).head(NAMES_KEPT + 1))
    results = source.fetch(frames) if frames else []
    return {
        key: dict(zip(r["value"].to_list(), r["n"].to_list(), strict=True)) if r.height <= NAMES_KEPT else None
        for key, r in zip(asked, results, strict=True)
    }


# ------------------------------------------------------------------ in an engine


def _count_there(
    source: Source, bins: Mapping[str, Bins], columns: Sequence[str], grid: Grid, windows: Sequence[Window]
) -> tuple[Ints, dict[str, Counted]]:
    """The engine groups by cell."""
    del windows
    name = "afterlaunch_cell"
    while name in source.frame.collect_schema():
        name += "_"
    part: nw.Expr = nw.lit(0)
    if grid.segment is not None and grid.segments:
        text = text_of(grid.segment, source.frame.collect_schema()[grid.segment])
        part = nw.lit(len(grid.segments))
        for i, value in enumerate(grid.segments):
            part = nw.when(text == value).then(nw.lit(i)).otherwise(part)
    cell = (nw.col(grid.window).cast(nw.Int64) * grid.parts + part).alias(name)
    frame = source.frame.filter(~nw.col(grid.window).is_null()).with_columns(cell)
    profile = profile_table(replace(source, frame=frame, bucket=name, cells=grid.size), bins, columns)
    cells = {
        c: Counted(found.counts, found.missing, found.infinite, found.below, found.above)
        for c, found in profile.columns.items()
    }
    return profile.rows, cells
