"""Asking an engine for the counts of a table: a bounded number of queries, only aggregates come back."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import narwhals as nw
import numpy as np
import polars as pl
from numpy.typing import NDArray

from afterlaunch.profile.bins import MOST_VALUES, category_bins, sample_bins
from afterlaunch.profile.buckets import BUCKETS, INDEPENDENT, SCHEME
from afterlaunch.profile.types import (
    NAMES_KEPT,
    Bins,
    CategoryBins,
    ColumnCounts,
    Ints,
    Kind,
    NumericBins,
    Profile,
)

Frame = nw.LazyFrame[Any]
Fetch = Callable[[Sequence[Frame]], list[pl.DataFrame]]
"""Runs lazy frames and returns their (small) results."""

EXPRESSIONS = 2000
"""Most expressions in one query: engines plan wide queries in more than linear time."""

CELLS = 50_000_000
"""Most values that one query reads: what an engine holds in memory grows with the columns of a query."""

HELD_CELLS = 20_000_000
"""Most values that are held at once while Polars counts them by bucket."""

LEAST_COLUMNS = 4
"""Columns of one query at least, however long the table is."""

ROWS_FETCHED = 100_000
"""Most rows of one group-by that are fetched; a column with more groups is counted in its frozen values only."""


@dataclass(frozen=True)
class Source:
    """A table as the counter sees it.

    Attributes:
        frame: Lazy frame on its engine; NaN is null already (see `tables.Table`).
        kinds: Kind of every column.
        bucket: Column that holds the bucket of each row, or None when rows are independent.
        fetch: Runs queries.
        scheme: Bucket scheme behind `bucket`; the column's own name when the user made it.
        rows: Rows of the table; a long table is read a few columns at a time.
        held: The numeric columns (and the bucket) when they are in memory already, to save a reading.
        cells: How many values `bucket` can have.
    """

    frame: Frame
    kinds: Mapping[str, Kind]
    fetch: Fetch
    bucket: str | None = None
    scheme: str = SCHEME
    held: pl.DataFrame | None = None
    rows: int = 0
    cells: int = BUCKETS

    @property
    def groups(self) -> int:
        """Length of the bucket axis."""
        return self.cells if self.bucket else 1


Found = tuple[NDArray[np.int64], list[Any]]
"""Bucket and value of each row of a result."""

Cells = tuple[Ints, Mapping[str, int] | None]
"""Rows per bucket and frozen value, and the rows of values outside the frozen list."""


@dataclass(frozen=True)
class Frozen:
    """The categories of a reference.

    Attributes:
        bins: Column to its bins.
        cells: What came with them: the counts of the reference itself, where rows are independent and all values kept.
    """

    bins: Mapping[str, CategoryBins]
    cells: Mapping[str, Cells]


def freeze_categories(source: Source, columns: Iterable[str]) -> Frozen:
    """Bins of the categorical columns of the reference, from all of its rows.

    Args:
        source: The reference.
        columns: Columns to count; those of other kinds are left out.
    """
    found = _freeze_categories(source, [c for c in columns if source.kinds[c] == "category"])
    cells: dict[str, Cells] = {c: (counts, {}) for c, (_, counts) in found.items() if counts is not None}
    return Frozen({c: b for c, (b, _) in found.items()}, cells)


def profile_reference(
    source: Source, sample: pl.DataFrame, columns: Iterable[str], frozen: Frozen | None = None
) -> Profile:
    """Freeze the bins of numbers from a sample of the reference, and count it.

    Args:
        source: The reference.
        sample: Some rows of it, holding the numeric columns.
        columns: Columns to count.
        frozen: Its categories, when they are known already.

    Returns:
        The profile; its bins are what every later table is counted in.
    """
    columns = list(columns)
    frozen = frozen or freeze_categories(source, columns)
    bins: dict[str, Bins | None] = {**sample_bins(sample, {c: source.kinds[c] for c in columns}), **frozen.bins}
    profile = profile_table(source, bins, columns, frozen.cells)
    ranged = {name: _with_own_range(counts) for name, counts in profile.columns.items()}
    return replace(profile, columns=ranged)


def count_categories(source: Source, bins: Mapping[str, CategoryBins]) -> dict[str, Cells]:
    """Rows of every frozen category, to be handed to `profile_table`.

    Args:
        source: The table.
        bins: Bins by column; a column that is no category any more is left out.
    """
    fitting = {c: b for c, b in bins.items() if source.kinds.get(c) == "category"}
    return _count_categories(source, fitting, source.frame.collect_schema())


def profile_table(
    source: Source, bins: Mapping[str, Bins | None], columns: Iterable[str], known: Mapping[str, Cells] | None = None
) -> Profile:
    """Count a table in frozen bins.

    Args:
        source: The table.
        bins: Bins by column; a column whose kind does not fit its bins is only counted for missing values.
        columns: Columns to count.
        known: Categories that are counted already.
    """
    known = known or {}
    columns = [c for c in columns if c in source.kinds]
    usable = {c: b for c in columns if (b := bins.get(c)) is not None and fits(source.kinds[c], b)}
    schema = source.frame.collect_schema()
    values = {c: b for c, b in usable.items() if isinstance(b, CategoryBins)}
    numbers = _count_scalars(source, [c for c in columns if c not in values], usable, schema)
    rows = numbers[""].missing
    cells = {**known, **_count_categories(source, {c: b for c, b in values.items() if c not in known}, schema)}
    for name, (counts, others) in cells.items():
        empty = _empty(name, "category", bins[name], rows - counts.sum(axis=1), source.groups)
        numbers[name] = replace(empty, counts=counts, others=others)
    scheme = source.scheme if source.bucket else INDEPENDENT
    return Profile(scheme, rows, {name: numbers[name] for name in columns}, dict(source.kinds))


def fits(kind: Kind, bins: Bins) -> bool:
    """Whether a column of this kind can be counted in these bins."""
    return kind == "numeric" if isinstance(bins, NumericBins) else kind == "category"


def _with_own_range(counts: ColumnCounts) -> ColumnCounts:
    if not isinstance(counts.bins, NumericBins) or counts.low is None or counts.high is None:
        return counts
    zero = np.zeros_like(counts.missing)
    return replace(counts, bins=replace(counts.bins, low=counts.low, high=counts.high), below=zero, above=zero)


# ------------------------------------------------------------------ scalars: rows, missing, cumulative counts


def _count_scalars(
    source: Source, columns: Sequence[str], bins: Mapping[str, Bins], schema: nw.Schema
) -> dict[str, ColumnCounts]:
    """Everything that is a sum over rows, for all columns; key "" has the rows of the table."""
    found: dict[str, Any] = {}
    held = set(source.held.columns) if source.held is not None else set()
    for inside in (True, False):
        chosen = [(i, c) for i, c in enumerate(columns) if (c in held) is inside]
        if chosen or not inside:
            native: Any = source.held.lazy() if inside and source.held is not None else nw.to_native(source.frame)
            _ask_scalars(source, native, chosen, bins, schema, found)
    infinite = [
        (i, c)
        for i, c in enumerate(columns)
        if f"{i}:low" in found and _has_infinite(found[f"{i}:low"], found[f"{i}:high"])
    ]
    if infinite:
        _ask_finite(source, infinite, found)
    rows = _spread(found["rows"], source.groups)
    out = {"": _empty("", "other", None, rows, source.groups)}
    for index, name in enumerate(columns):
        out[name] = _tally(index, name, source, bins.get(name), found, rows)
    return out


def _ask_scalars(
    source: Source,
    native: Any,
    columns: Sequence[tuple[int, str]],
    bins: Mapping[str, Bins],
    schema: nw.Schema,
    found: dict[str, Any],
) -> None:
    local = isinstance(native, pl.LazyFrame)
    # Polars and narwhals name these expressions alike; Polars builds its own ten times faster.
    ops: Any = pl if local else nw
    frame: Any = native if local else source.frame
    spans = _spans(source.held, columns, bins) if local and source.held is not None else {}
    cells, least = (HELD_CELLS, 1) if local and source.bucket else (CELLS, LEAST_COLUMNS)
    most = max(least, cells // max(source.rows, 1))
    wrap = nw.from_native if local else _same
    for chosen in _queries(columns, bins, most):
        if local and source.bucket:
            # Polars sums a bucket at a time twice as fast as it sums groups of a hundred expressions.
            names = {source.bucket: None, **dict.fromkeys(name for _, name in chosen)}
            held = source.fetch([wrap(frame.select(*names))])[0]
            parts = held.partition_by(source.bucket, maintain_order=False) or [held]
            sums, ends = _expressions(ops, chosen, bins, _spans(held, chosen, bins))
            place = pl.col(source.bucket).first().fill_null(0)
            _keep(source, pl.concat([p.select(place, *sums, *ends) for p in parts]), found)
            continue
        sums, ends = _expressions(ops, chosen, bins, spans)
        if source.bucket is None:
            _collect(source, wrap(frame.select(sums + ends)), found)
        else:
            _collect(source, wrap(frame.group_by(source.bucket).agg(*sums, *ends)), found)


Chosen = Sequence[tuple[int, str]]
"""Columns by their place."""

Span = tuple[float, float]


def _queries(columns: Chosen, bins: Mapping[str, Bins], most: int) -> list[list[tuple[int, str]]]:
    """The columns of each query; one query at least, which counts the rows."""
    out: list[list[tuple[int, str]]] = [[]]
    width = 0
    for index, name in columns:
        edges = bins.get(name)
        asked = len(edges.edges) + 5 if isinstance(edges, NumericBins) else 1
        if width + asked > EXPRESSIONS or len(out[-1]) >= most:
            out.append([])
            width = 0
        out[-1].append((index, name))
        width += asked
    return out


def _spans(held: pl.DataFrame, columns: Chosen, bins: Mapping[str, Bins]) -> dict[str, Span]:
    """Smallest and largest value of the numeric columns that are in memory: no edge outside need be asked."""
    names = [name for _, name in columns if isinstance(bins.get(name), NumericBins)]
    if not names:
        return {}
    low, high = (
        held.select(pl.col(names).cast(pl.Float64)) for held in (held.select(names).min(), held.select(names).max())
    )
    found = {n: (low[n][0], high[n][0]) for n in names}
    return {n: (a, b) for n, (a, b) in found.items() if a is not None and b is not None}


def _expressions(
    ops: Any, columns: Chosen, bins: Mapping[str, Bins], spans: Mapping[str, Span]
) -> tuple[list[Any], list[Any]]:
    sums, ends = [ops.len().cast(ops.Int64).alias("rows")], []
    for index, name in columns:
        more = _scalar_expressions(ops, index, name, bins.get(name), spans.get(name, (-math.inf, math.inf)))
        sums += more[0]
        ends += more[1]
    return sums, ends


def _same(frame: Any) -> Any:
    return frame


def _collect(source: Source, frame: Frame, found: dict[str, Any]) -> None:
    _keep(source, source.fetch([frame])[0], found)


def _keep(source: Source, result: pl.DataFrame, found: dict[str, Any]) -> None:
    where = result[source.bucket].to_numpy().astype(np.int64) if source.bucket else np.zeros(result.height, np.int64)
    # Plain lists: an operation on a Polars column costs more than all the values of one result.
    for name, values in result.to_dict(as_series=False).items():
        if name != source.bucket:
            found[name] = (where, values)


def _has_infinite(low: Found, high: Found) -> bool:
    return any(math.isinf(v) for _, values in (low, high) for v in values if v is not None)


def _ask_finite(source: Source, columns: Sequence[tuple[int, str]], found: dict[str, Any]) -> None:
    """Range of the finite values, and how many are not, of the few columns that have infinite ones."""
    odd, ends = [], []
    for index, name in columns:
        column = nw.col(name)
        finite = nw.when(column.is_finite()).then(column)
        odd.append((~column.is_finite()).cast(nw.Int64).sum().alias(f"{index}:odd"))
        ends += [finite.min().alias(f"{index}:low"), finite.max().alias(f"{index}:high")]
        found[f"{index}:top"] = found[f"{index}:high"]
    frame = source.frame
    _collect(source, frame.group_by(source.bucket).agg(*odd) if source.bucket else frame.select(*odd), found)
    _collect(replace(source, bucket=None), frame.select(*ends), found)


def _scalar_expressions(ops: Any, index: int, name: str, bins: Bins | None, span: Span) -> tuple[list[Any], list[Any]]:
    """Sums and extremes asked of one column, in the expressions of Polars or narwhals (`ops`)."""
    column = ops.col(name)

    def total(condition: Any, alias: str) -> Any:
        # Polars counts true values much faster than it sums integers; other engines cannot sum Booleans.
        return (condition if ops is pl else condition.cast(ops.Int64)).sum().alias(f"{index}:{alias}")

    out = [total(column.is_null(), "null")]
    if not isinstance(bins, NumericBins):
        return out, []
    ends = [column.min().alias(f"{index}:low"), column.max().alias(f"{index}:high")]
    out += [total(column <= edge, f"e{j}") for j, edge in enumerate(bins.edges) if span[0] <= edge < span[1]]
    out += [total(column < bins.low, "below"), total(column <= bins.high, "within")]
    return out, ends


def _tally(
    index: int, name: str, source: Source, bins: Bins | None, found: Mapping[str, Any], rows: Ints
) -> ColumnCounts:
    groups, kind = source.groups, source.kinds[name]
    null = _spread(found[f"{index}:null"], groups)
    if not isinstance(bins, NumericBins):
        return _empty(name, kind, bins, null, groups)
    zero = np.zeros(groups, dtype=np.int64)
    odd = _spread(found[f"{index}:odd"], groups) if f"{index}:odd" in found else zero
    valid = rows - null
    cumulative = np.stack([*_cumulative(index, bins, found, valid), valid], axis=1)
    below = _spread(found[f"{index}:below"], groups)
    return ColumnCounts(
        name=name,
        kind=kind,
        bins=bins,
        counts=np.diff(cumulative, axis=1, prepend=0),
        missing=null,
        infinite=odd,
        below=below,
        above=valid - _spread(found[f"{index}:within"], groups),
        low=_extreme(found[f"{index}:low"], min),
        high=_extreme(found[f"{index}:high"], max),
    )


def _cumulative(index: int, bins: NumericBins, found: Mapping[str, Any], valid: Ints) -> Iterator[Ints]:
    """Rows up to each edge; what was not asked lies below all values or, after the first that was, above them."""
    asked = [j for j in range(len(bins.edges)) if f"{index}:e{j}" in found]
    high = _extreme(found.get(f"{index}:top", found[f"{index}:high"]), max)
    for j, edge in enumerate(bins.edges):
        if asked and asked[0] <= j <= asked[-1]:
            yield _spread(found[f"{index}:e{j}"], len(valid))
        else:
            above = j > asked[-1] if asked else high is not None and edge >= high
            yield valid if above else np.zeros_like(valid)


def _empty(name: str, kind: Kind, bins: Bins | None, missing: Ints, groups: int) -> ColumnCounts:
    zero = np.zeros(groups, dtype=np.int64)
    size = bins.size if bins is not None else 0
    return ColumnCounts(name, kind, bins, np.zeros((groups, size), dtype=np.int64), missing, zero, zero, zero)


def _spread(found: Found, groups: int) -> Ints:
    """Values by bucket as an array with a place for every bucket."""
    where, values = found
    out = np.zeros(groups, dtype=np.int64)
    out[where] = [value or 0 for value in values]
    return out


def _extreme(found: Found, choose: Callable[[Iterable[float]], float]) -> float | None:
    values = [float(v) for v in found[1] if v is not None]
    return choose(values) if values else None


# ------------------------------------------------------------------ categories


def text_of(name: str, dtype: nw.dtypes.DType) -> nw.Expr:
    """A column as the text that categories are counted in."""
    if isinstance(dtype, nw.Boolean):
        return nw.when(nw.col(name)).then(nw.lit("true")).when(~nw.col(name)).then(nw.lit("false"))
    return nw.col(name) if isinstance(dtype, nw.String) else nw.col(name).cast(nw.String)


def _by_value(source: Source, name: str, dtype: nw.dtypes.DType, *, bucket: bool) -> Frame:
    keys = ["value", source.bucket] if bucket and source.bucket else ["value"]
    columns = [text_of(name, dtype).alias("value")]
    if len(keys) == 2:
        columns.append(nw.col(keys[1]))
    frame = source.frame.select(*columns).filter(~nw.col("value").is_null())
    return frame.group_by(*keys).agg(nw.len().cast(nw.Int64).alias("n"))


def _freeze_categories(source: Source, names: Sequence[str]) -> dict[str, tuple[CategoryBins, Ints | None]]:
    """Bins of categorical columns and, where rows are independent and all values are kept, their counts."""
    schema = source.frame.collect_schema()
    top = MOST_VALUES + 1
    one = nw.when(nw.col("n") == 1).then(1).otherwise(0)
    grouped = [_by_value(source, n, schema[n], bucket=False) for n in names]
    firsts = source.fetch([g.sort("n", "value", descending=[True, False]).head(top) for g in grouped])
    many = [i for i, first in enumerate(firsts) if first.height == top]
    summaries = source.fetch([grouped[i].select(nw.len().alias("distinct"), one.sum().alias("singles")) for i in many])
    known = dict(zip(many, summaries, strict=True))
    out: dict[str, tuple[CategoryBins, Ints | None]] = {}
    for i, (name, first) in enumerate(zip(names, firsts, strict=True)):
        counts = first["n"].to_list()
        distinct, singles = known[i].row(0) if i in known else (len(counts), sum(n == 1 for n in counts))
        bins = category_bins(first["value"].to_list(), counts, int(distinct), int(singles or 0))
        whole = bins.complete and source.bucket is None
        out[name] = (bins, _cells(first, bins, source, named=False)[0] if whole else None)
    return out


def _count_categories(source: Source, bins: Mapping[str, CategoryBins], schema: nw.Schema) -> dict[str, Cells]:
    wide = [n for n, b in bins.items() if not b.complete]
    narrow = [n for n in bins if n not in set(wide)]
    out: dict[str, Cells] = {}
    frames = [_by_value(source, n, schema[n], bucket=True).head(ROWS_FETCHED) for n in narrow]
    for name, result in zip(narrow, source.fetch(frames), strict=True):
        if result.height >= ROWS_FETCHED:
            wide.append(name)
        else:
            out[name] = _cells(result, bins[name], source, named=True)
    frames = []
    for name in wide:
        frozen = nw.col("value").is_in(list(bins[name].values))
        grouped = _by_value(source, name, schema[name], bucket=True)
        keys = [source.bucket] if source.bucket else []
        frames.append(grouped.filter(frozen))
        rest = grouped.filter(~frozen)
        total = nw.col("n").sum().alias("n")
        frames.append(rest.group_by(*keys).agg(total) if keys else rest.select(total))
        frames.append(
            rest.group_by("value").agg(total).sort("n", "value", descending=[True, False]).head(NAMES_KEPT + 1)
        )
    results = source.fetch(frames)
    for i, name in enumerate(wide):
        kept, outside, names = results[3 * i : 3 * i + 3]
        counts, _ = _cells(kept, bins[name], source, named=False)
        where = (
            outside[source.bucket].to_numpy().astype(np.int64) if source.bucket else np.zeros(outside.height, np.int64)
        )
        counts[:, -1] = _spread((where, outside["n"].to_list()), source.groups)
        others = (
            dict(zip(names["value"].to_list(), names["n"].to_list(), strict=True))
            if names.height <= NAMES_KEPT
            else None
        )
        out[name] = (counts, others)
    return out


def _cells(result: pl.DataFrame, bins: CategoryBins, source: Source, *, named: bool) -> Cells:
    place = {value: j for j, value in enumerate(bins.values)}
    counts = np.zeros((source.groups, bins.size), dtype=np.int64)
    others: dict[str, int] = {}
    where = result[source.bucket].to_list() if source.bucket else [0] * result.height
    for value, bucket, n in zip(result["value"].to_list(), where, result["n"].to_list(), strict=True):
        j = place.get(value, bins.size - 1)
        counts[int(bucket), j] += n
        if named and j == bins.size - 1:
            others[value] = others.get(value, 0) + n
    return counts, others if len(others) <= NAMES_KEPT else None
