"""The same rows in two tables, compared value by value by the engine that holds them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import narwhals as nw
import numpy as np
import polars as pl

from afterlaunch.profile.buckets import BUCKETS
from afterlaunch.profile.count import Fetch, Frame
from afterlaunch.profile.types import Ints, Kind, PairCounts

TOLERANCE = 1e-6
"""Numbers that differ by less than this part of the larger one are the same: half the digits of a 32-bit float."""

EXAMPLES = 5
WORST = 50
"""Examples are fetched for this many features, those that differ in most rows."""

TOGETHER = 400
"""Features compared in one query: engines plan wide queries in more than linear time."""


def count_pairs(
    reference: Frame,
    production: Frame,
    keys: Sequence[str],
    features: Sequence[str],
    kinds: Mapping[str, Kind],
    fetch: Fetch,
    tolerance: float = TOLERANCE,
    bucket: str | None = None,
) -> PairCounts:
    """Join two tables by key and count the rows in which each feature differs.

    Numbers are equal within a relative tolerance, truth values are numbers, everything else is
    compared as text, exactly. A value against none is a difference, none against none is not.
    Keys must be unique in each table; a missing key matches nothing.

    Args:
        reference: Lazy frame, NaN already null.
        production: Lazy frame; where its engine cannot see the reference, both come into memory.
        keys: Columns that identify a row in both.
        features: Columns to compare; those that a table lacks are left out.
        kinds: Kind of the columns; "other" (lists, records) is left out.
        fetch: Runs lazy frames.
        tolerance: Relative tolerance for numbers.
        bucket: Production's column with the bucket of each row, or None for independent rows.

    Returns:
        The counts, with up to `EXAMPLES` examples of each of the `WORST` features that differ.

    Example:
        >>> a = nw.from_native(pl.LazyFrame({"id": [1, 2, 3], "x": [1.0, 2.0, 3.0]}))
        >>> b = nw.from_native(pl.LazyFrame({"id": [2, 3, 4], "x": [2.0, None, 4.0]}))
        >>> run = lambda frames: [f.to_native().collect() for f in frames]
        >>> pairs = count_pairs(a, b, ["id"], ["x"], {"x": "numeric"}, run)
        >>> pairs.matched.tolist(), pairs.only_production, pairs.different["x"].tolist(), pairs.missing["x"].tolist()
        ([2], 1, [1], [1])
        >>> pairs.examples["x"]
        (('3', '3', ''),)
    """
    schemas = [f.collect_schema() for f in (reference, production)]
    both = [f for f in dict.fromkeys(features) if all(f in s for s in schemas)]
    both = [f for f in both if kinds.get(f) != "other" and f not in keys]
    reference, production = _together(reference, production, keys, both, bucket, fetch)
    left, right = (_keyed(f, s, keys, schemas) for f, s in ((reference, schemas[0]), (production, schemas[1])))
    hits = [f"k{j}" for j in range(len(keys))]
    group = ["b"] if bucket else []
    matched, different, missing = np.zeros(BUCKETS if bucket else 1, dtype=np.int64), {}, {}
    for start in range(0, max(1, len(both)), TOGETHER):
        part = both[start : start + TOGETHER]
        joined = _joined(left, right, hits, part, schemas, bucket)
        compared = [_different(i, f, schemas, tolerance) for i, f in enumerate(part)]
        lacking = [(~nw.col(f"r{i}").is_null() & nw.col(f"p{i}").is_null()).cast(nw.Int64) for i in range(len(part))]
        sums = [nw.len().cast(nw.Int64).alias("n")]
        marks = [
            *(e.cast(nw.Int64).alias(f"d{i}") for i, e in enumerate(compared)),
            *(e.alias(f"m{i}") for i, e in enumerate(lacking)),
        ]
        marked = joined.with_columns(*marks) if marks else joined
        sums += [nw.col(f"{c}{i}").sum() for i in range(len(part)) for c in "dm"]
        (found,) = fetch([marked.group_by(*group).agg(*sums) if group else marked.select(*sums)])
        matched = _spread(found, "n", bucket)
        for i, f in enumerate(part):
            different[f], missing[f] = _spread(found, f"d{i}", bucket), _spread(found, f"m{i}", bucket)
    totals = [int(f.item() or 0) for f in fetch([t.select(nw.len().alias("n")) for t in (left, right)])]
    whole = int(matched.sum())
    examples = _examples(left, right, hits, schemas, different, tolerance, bucket, fetch)
    return PairCounts(matched, totals[0] - whole, totals[1] - whole, different, missing, examples)


def _together(
    reference: Frame, production: Frame, keys: Sequence[str], features: Sequence[str], bucket: str | None, fetch: Fetch
) -> tuple[Frame, Frame]:
    """Both tables where one engine sees them, with only the columns needed."""
    columns = list(dict.fromkeys([*keys, *features]))
    left = reference.select(*columns)
    right = production.select(*dict.fromkeys([*columns, *([bucket] if bucket else [])]))
    if sees(left, right):
        return left, right
    a, b = (nw.from_native(fetch([f])[0].lazy()) for f in (left, right))
    return a, b


def sees(left: Frame, right: Frame) -> bool:
    """Whether a join of the two by their first columns can run: one connection does not see another's tables.

    Args:
        left: Lazy frame.
        right: Lazy frame whose first column has the same name.

    Example:
        >>> frames = [nw.from_native(pl.LazyFrame({"k": [1]})) for _ in range(2)]
        >>> sees(*frames)
        True
    """
    if left.implementation != right.implementation:
        return False
    if left.implementation.is_polars():
        return True
    try:
        key = left.collect_schema().names()[0]
        left.select(nw.col(key).alias("k")).join(
            right.select(nw.col(key).alias("k")), on="k", how="inner"
        ).collect_schema()
    except Exception:
        return False
    return True


def _keyed(frame: Frame, schema: nw.Schema, keys: Sequence[str], schemas: Sequence[nw.Schema]) -> Frame:
    """The frame with its keys as `k0`, `k1`, … in a type in which equal ones are equal."""
    out = []
    for j, key in enumerate(keys):
        types = [s[key] for s in schemas]
        column = nw.col(key)
        if types[0] != types[1]:
            if all(t.is_integer() for t in types):
                column = column.cast(nw.Int64)
            elif all(t.is_numeric() for t in types):
                column = column.cast(nw.Float64)
            elif all(t.is_temporal() for t in types):
                column = column.cast(nw.Datetime("us"))
            else:
                column = column.cast(nw.String)
        out.append(column.alias(f"k{j}"))
    kept = set(frame.collect_schema().names())
    return frame.select(*(nw.col(c).alias(_inner(i)) for i, c in enumerate(schema.names()) if c in kept), *out)


def _inner(index: int) -> str:
    """A name for the column at this place of the schema, whatever it is called there."""
    return f"c{index}"


def _joined(
    left: Frame,
    right: Frame,
    hits: Sequence[str],
    part: Sequence[str],
    schemas: Sequence[nw.Schema],
    bucket: str | None,
) -> Frame:
    columns = [{c: i for i, c in enumerate(s.names())} for s in schemas]
    a = left.select(*hits, *(_plain(_inner(columns[0][f]), f, schemas, 0).alias(f"r{i}") for i, f in enumerate(part)))
    more = [nw.col(_inner(columns[1][bucket])).alias("b")] if bucket else []
    b = right.select(
        *hits, *more, *(_plain(_inner(columns[1][f]), f, schemas, 1).alias(f"p{i}") for i, f in enumerate(part))
    )
    return a.join(b, on=list(hits), how="inner")


def _is_number(dtype: Any) -> bool:
    return bool(dtype.is_numeric() or isinstance(dtype, nw.Boolean))


def _plain(name: str, feature: str, schemas: Sequence[nw.Schema], side: int) -> nw.Expr:
    """A feature in the type it is compared in."""
    types = [s[feature] for s in schemas]
    column, own = nw.col(name), types[side]
    if all(_is_number(t) for t in types):
        return (column.cast(nw.Int64) if isinstance(own, nw.Boolean) else column).cast(nw.Float64)
    if all(t.is_temporal() for t in types):
        return column if types[0] == types[1] else column.cast(nw.Datetime("us"))
    if isinstance(own, nw.Boolean):
        return nw.when(column).then(nw.lit("true")).when(~column).then(nw.lit("false"))
    return column if isinstance(own, nw.String) else column.cast(nw.String)


def _different(index: int, feature: str, schemas: Sequence[nw.Schema], tolerance: float) -> nw.Expr:
    """Whether the values at one place of the join differ; never null."""
    a, b = nw.col(f"r{index}"), nw.col(f"p{index}")
    same = a == b
    if all(_is_number(s[feature]) for s in schemas):
        apart = (a - b).abs()
        near = (apart <= a.abs() * tolerance) | (apart <= b.abs() * tolerance)
        same = same | (a.is_finite() & b.is_finite() & near)
    neither = a.is_null() & b.is_null()
    either = a.is_null() | b.is_null()
    return nw.when(neither).then(nw.lit(0)).when(either).then(nw.lit(1)).when(same).then(nw.lit(0)).otherwise(nw.lit(1))


def _examples(
    left: Frame,
    right: Frame,
    hits: Sequence[str],
    schemas: Sequence[nw.Schema],
    different: Mapping[str, Ints],
    tolerance: float,
    bucket: str | None,
    fetch: Fetch,
) -> dict[str, tuple[tuple[str, str, str], ...]]:
    """The first few differing rows by key, for the features that differ most."""
    worst = sorted((f for f in different if different[f].sum()), key=lambda f: (-int(different[f].sum()), f))[:WORST]
    frames = []
    for f in worst:
        joined = _joined(left, right, hits, [f], schemas, bucket).with_columns(
            _different(0, f, schemas, tolerance).alias("d")
        )
        frames.append(joined.filter(nw.col("d") == 1).sort(*hits).head(EXAMPLES).select(*hits, "r0", "p0"))
    out = {}
    for f, result in zip(worst, fetch(frames) if frames else [], strict=True):
        out[f] = tuple((", ".join(map(_word, row[:-2])), _word(row[-2]), _word(row[-1])) for row in result.rows())
    return out


def _word(value: object) -> str:
    # Numbers are compared as floats; whole ones read better as they were.
    whole = isinstance(value, float) and value.is_integer() and abs(value) < 1e15
    text = "" if value is None else f"{value:.0f}" if whole else str(value)
    return text if len(text) <= 200 else text[:199] + "…"


def _spread(found: pl.DataFrame, name: str, bucket: str | None) -> Ints:
    out = np.zeros(BUCKETS if bucket else 1, dtype=np.int64)
    where = found["b"].cast(pl.Int64).to_numpy() if bucket else np.zeros(found.height, dtype=np.int64)
    out[where] = found[name].fill_null(0).cast(pl.Int64).to_numpy()
    return out
