"""Counting a log in memory by windows and segments: one histogram over cells and bins for each column.

Hundreds of windows times a thousand sums would cost more to ask for than to compute. Here each value
gets the number of its bin, by comparing stretches of a column that stay in the processor's cache with
every edge, and one histogram over (window, segment, bin) counts them all, in whatever order rows come.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import narwhals as nw
import numpy as np
import polars as pl
from numpy.typing import NDArray

from afterlaunch.profile.count import Source
from afterlaunch.profile.types import Bins, Floats, Ints, NumericBins
from afterlaunch.watch import Window

HELD = 40_000_000
"""Most numbers that are held at once, over all threads."""

THREADS = 4
"""Most threads that count side by side."""

STEP = 1 << 16
"""Rows that are binned at once: they stay in the cache of the processor."""

LONG_STEP = 1 << 21
"""Rows at most that go into one histogram, where rows of all windows are mixed."""

ROWS_OF_PASS = 50_000_000
"""Rows that are read at once; a longer log is read some windows at a time."""


@dataclass(frozen=True)
class Grid:
    """Windows × segments: the cells in which rows are counted; the last segment is all the rest.

    Attributes:
        window: Column with the index of the window.
        windows: How many windows.
        segment: Column with the segment, or None.
        segments: Its values that are counted apart.
    """

    window: str
    windows: int
    segment: str | None
    segments: tuple[str, ...]

    @property
    def parts(self) -> int:
        """Length of the axis of segments."""
        return len(self.segments) + 1

    @property
    def size(self) -> int:
        """How many cells."""
        return self.windows * self.parts


@dataclass(frozen=True)
class Counted:
    """One column in every cell.

    Attributes:
        counts: Shape (cells, K).
        missing: Shape (cells,).
        infinite: Shape (cells,).
        below: Shape (cells,).
        above: Shape (cells,).
    """

    counts: Ints
    missing: Ints
    infinite: Ints
    below: Ints
    above: Ints

    def __add__(self, other: Counted) -> Counted:
        mine, theirs = vars(self), vars(other)
        return Counted(**{name: values + theirs[name] for name, values in mine.items()})


def count_in_memory(
    source: Source, bins: Mapping[str, Bins], columns: Sequence[str], grid: Grid, windows: Sequence[Window]
) -> tuple[Ints, dict[str, Counted]]:
    """Some columns at a time, and of a very long log some windows at a time, are read and counted by threads."""
    frame: pl.LazyFrame = nw.to_native(source.frame)
    passes = _passes(windows, frame, source, grid.window)
    threads = max(1, min(THREADS, pl.thread_pool_size()))
    total = np.zeros(grid.size, dtype=np.int64)
    cells: dict[str, Counted] = {}
    with ThreadPoolExecutor(threads) as pool:
        for rows, part in passes:
            most = max(1, HELD // threads // max(rows, 1))
            tasks = list(_tasks(columns, bins, most)) or [[]]
            jobs = [pool.submit(_count_some, source, part, bins, task, grid) for task in tasks]
            try:
                found = [job.result() for job in jobs]
            except BaseException:
                for job in jobs:
                    job.cancel()
                raise
            total += found[0][0]
            for _, some in found:
                for name, counted in some.items():
                    cells[name] = cells[name] + counted if name in cells else counted
    return total, cells


def _passes(
    windows: Sequence[Window], frame: pl.LazyFrame, source: Source, window: str
) -> list[tuple[int, pl.LazyFrame]]:
    """Frames with the rows of some windows each, and how many rows they have."""
    rows = sum(w.rows for w in windows)
    if rows <= ROWS_OF_PASS:
        outside = source.rows != rows
        return [(rows, frame.filter(pl.col(window).is_not_null()) if outside else frame)]
    out: list[tuple[int, pl.LazyFrame]] = []
    first = held = 0
    for i, w in enumerate(windows):
        held += w.rows
        if i + 1 == len(windows) or held + windows[i + 1].rows > ROWS_OF_PASS:
            out.append((held, frame.filter(pl.col(window).is_between(first, i))))
            first, held = i + 1, 0
    return out


def _tasks(columns: Sequence[str], bins: Mapping[str, Bins], most: int) -> Iterator[list[str]]:
    """Columns that are read together: few numbers, and more of those that are read as small codes."""
    for numbers, many in ((True, most), (False, 4 * most)):
        chosen = [c for c in columns if isinstance(bins.get(c), NumericBins) is numbers]
        for i in range(0, len(chosen), many):
            yield chosen[i : i + many]


def _count_some(
    source: Source, frame: pl.LazyFrame, bins: Mapping[str, Bins], columns: Sequence[str], grid: Grid
) -> tuple[Ints, dict[str, Counted]]:
    """Read some columns with the cell of each row, and count them."""
    schema = source.frame.collect_schema()
    codes = [_code(c, schema[c], bins.get(c)).alias(str(i)) for i, c in enumerate(columns)]
    held = source.fetch([nw.from_native(frame.select(_cell(grid, schema).alias("cell"), *codes))])[0]
    cell = held["cell"].to_numpy()
    step = _step(cell, grid)
    rows = _histogram(cell, lambda a, b: np.zeros(b - a, dtype=np.uint8), 1, grid.size, STEP)[:, 0]
    out: dict[str, Counted] = {}
    for i, name in enumerate(columns):
        found, column = bins.get(name), held[str(i)]
        if isinstance(found, NumericBins):
            out[name] = _count_numbers(column, found, cell, grid.size, step)
        else:
            size = found.size if found is not None else 1
            counts = _histogram(cell, _slicer(column), size + 1, grid.size, step)
            zero = np.zeros(grid.size, dtype=np.int64)
            binned = counts[:, :size] if found is not None else counts[:, :0]
            out[name] = Counted(binned, counts[:, size], zero, zero, zero)
    return rows, out


def _slicer(column: pl.Series) -> Callable[[int, int], NDArray[Any]]:
    return lambda a, b: column.slice(a, b - a).to_numpy()


def _polars_text(name: str, dtype: nw.dtypes.DType) -> pl.Expr:
    column = pl.col(name)
    return column if isinstance(dtype, nw.String) else column.cast(pl.String)


def _cell(grid: Grid, schema: nw.Schema) -> pl.Expr:
    """The cell of each row; one past the last for rows in no window."""
    cell = pl.col(grid.window).cast(pl.Int32)
    if grid.segment is not None and grid.segments:
        text = _polars_text(grid.segment, schema[grid.segment])
        part = text.cast(pl.Enum(grid.segments), strict=False).to_physical().cast(pl.Int32)
        cell = cell * grid.parts + part.fill_null(len(grid.segments))
    return cell.fill_null(grid.size)


def _code(name: str, dtype: nw.dtypes.DType, bins: Bins | None) -> pl.Expr:
    """A number as it is; a category as the place of its bin, one more when missing; others whether they are missing."""
    column = pl.col(name)
    if isinstance(bins, NumericBins):
        return column.cast(pl.Float64)
    if bins is None:
        return column.is_null().cast(pl.UInt8)
    last = len(bins.values)
    small = pl.UInt8 if last < 250 else pl.UInt16
    text = _polars_text(name, dtype)
    place: pl.Expr = pl.lit(last)
    if bins.values:
        place = text.cast(pl.Enum(bins.values), strict=False).to_physical().cast(small).fill_null(last)
    return pl.when(text.is_null()).then(pl.lit(last + 1)).otherwise(place).cast(small)


def _step(cell: NDArray[np.int32], grid: Grid) -> int:
    """Rows of one histogram: more where each stretch of the log has rows of many cells."""
    if cell.size <= STEP:
        return STEP
    starts = np.arange(0, cell.size, STEP)
    spans = np.maximum.reduceat(cell, starts) - np.minimum.reduceat(cell, starts)
    return int(min(LONG_STEP, max(STEP, 64 * float(spans.mean()))))


def _histogram(
    cell: NDArray[np.int32], code: Callable[[int, int], NDArray[Any]], width: int, cells: int, step: int
) -> Ints:
    """Rows by cell and code, shape (cells, width); `code` gives the codes of rows a to b."""
    flat = np.zeros((cells + 1) * width, dtype=np.int64)
    for a in range(0, cell.size, step):
        here = cell[a : a + step].astype(np.int64)
        low = int(here.min())
        here -= low
        here *= width
        here += code(a, a + here.size)
        found = np.bincount(here)
        flat[low * width : low * width + found.size] += found
    return flat[: cells * width].reshape(cells, width)


def _count_numbers(column: pl.Series, bins: NumericBins, cell: NDArray[np.int32], cells: int, step: int) -> Counted:
    """Every count of a number is one of rows up to a point: edges, and the ends of the reference and of all numbers."""
    edges = np.array(bins.edges)
    below, most = math.nextafter(bins.low, -math.inf), np.finfo(np.float64).max
    points = np.unique(np.concatenate([edges, [below, bins.high, -np.inf, most, np.inf]]))
    read = _slicer(column)
    ends = column.min(), column.max()

    def code(a: int, b: int) -> NDArray[Any]:
        values = np.asarray(read(a, b), dtype=np.float64)
        parts = [_up_to(values[i : i + STEP], points, *ends) for i in range(0, len(values), STEP)]
        return parts[0] if len(parts) == 1 else np.concatenate(parts)

    # Code c is a value with c points at or above it, so that the first of them is number len(points) - c.
    found = _histogram(cell, code, len(points) + 1, cells, step)[:, ::-1]
    total = np.cumsum(found, axis=1)

    def up_to(values: Any) -> Ints:
        at: Ints = total[:, np.searchsorted(points, values)]
        return at

    valid = up_to(np.inf)
    cumulative = np.concatenate([up_to(edges), valid[:, None]], axis=1)
    return Counted(
        counts=np.diff(cumulative, axis=1, prepend=0),
        missing=found[:, -1].copy(),
        infinite=up_to(-np.inf) + valid - up_to(most),
        below=up_to(below),
        above=valid - up_to(bins.high),
    )


def _up_to(values: Floats, points: Floats, low: Any, high: Any) -> NDArray[Any]:
    """How many points are at or above each value; 0 for NaN. No point outside the column's range need be compared."""
    out: NDArray[Any] = np.zeros(len(values), dtype=np.uint8 if len(points) < 250 else np.uint16)
    if low is None:
        return out
    above = int(np.searchsorted(points, high))
    for point in points[int(np.searchsorted(points, low)) : above]:
        np.add(out, values <= point, out=out)
    np.add(out, len(points) - above, out=out, where=values <= np.inf)
    return out
