"""Rows with an outcome and something to hold against it, as expressions that every engine runs.

What counts as missing: a null or NaN outcome, score or prediction, an infinite one, and a weight that
is missing, infinite or not above zero. Such rows are `unmatched`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import narwhals as nw
import numpy as np
import polars as pl
from numpy.typing import NDArray

from afterlaunch.profile.scores import POSITIVE_WORDS, label
from afterlaunch.profile.types import MetricCounts
from afterlaunch.roles import Roles

Floats = NDArray[np.float64]
Parts = Mapping[str, tuple[nw.Expr, nw.Expr]]

GROUPS = 64
"""Buckets."""


@dataclass(frozen=True)
class Ask:
    """Group-bys of one grouping, and how to read their answers."""

    frames: tuple[nw.LazyFrame[Any], ...]
    read: Callable[[list[pl.DataFrame]], dict[str, MetricCounts]]


@dataclass(frozen=True)
class Options:
    """Settings of `metrics.count_metrics` that only some tasks read."""

    knots: tuple[float, ...]
    classes: tuple[Any, ...]
    threshold: float
    positive: Any
    k: int


class Table:
    """The columns that metrics read, as plain expressions with missing values made null."""

    def __init__(self, frame: nw.LazyFrame[Any], roles: Roles, bucket: str, segment: str | None) -> None:
        self.frame, self.roles, self.bucket, self.segment = frame, roles, bucket, segment
        self.schema = frame.collect_schema()
        self.columns = set(self.schema.names())

    def has(self, column: str | None) -> bool:
        """Whether the table has the column."""
        return column is not None and column in self.columns

    def number(self, column: str | None) -> nw.Expr:
        """A column as a finite float, else null."""
        if column is None or column not in self.columns:
            return nw.lit(None, dtype=nw.Float64())
        dtype = self.schema[column]
        if dtype == nw.Boolean:
            return nw.col(column).cast(nw.Int64).cast(nw.Float64)
        if not dtype.is_numeric():
            return nw.lit(None, dtype=nw.Float64())
        x = nw.col(column).cast(nw.Float64)
        return nw.when((~x.is_null()) & x.is_finite()).then(x)

    def weight(self) -> nw.Expr:
        """Weight of a row, null where it is not above zero."""
        if not self.has(self.roles.weight):
            return nw.lit(1.0)
        w = self.number(self.roles.weight)
        return nw.when(w > 0).then(w)

    def is_positive(self, column: str | None, positive: Any) -> nw.Expr:
        """1.0 where a column is positive, 0.0 where it is not, null where it is missing."""
        if column is None or column not in self.columns:
            return nw.lit(None, dtype=nw.Float64())
        dtype = self.schema[column]
        x = nw.col(column)
        if dtype == nw.Boolean:
            hit = x if not isinstance(positive, bool) or positive else ~x
        elif dtype.is_numeric():
            wanted = float(positive) if isinstance(positive, (int, float)) else 1.0
            x = self.number(column)
            hit = x == wanted
        else:
            x = x.cast(nw.String)
            word = x.str.strip_chars().str.to_lowercase()
            hit = x == positive if isinstance(positive, str) else word.is_in(list(POSITIVE_WORDS))
        return nw.when(~x.is_null()).then(hit.cast(nw.Int64).cast(nw.Float64))

    def narrow(self, keep: Sequence[Any], **columns: nw.Expr) -> nw.LazyFrame[Any]:
        """Only the named columns, with `bucket`, and with `segment` when some are to be kept."""
        keys = {"bucket": nw.col(self.bucket).cast(nw.Int64)}
        frame = self.frame
        if keep and self.segment is not None:
            frame = frame.filter(nw.col(self.segment).is_in(list(keep)))
            keys["segment"] = nw.col(self.segment)
        return frame.select(**keys, **columns)


def ok(*columns: str) -> nw.Expr:
    """Whether a row has all of the columns."""
    out = ~nw.col(columns[0]).is_null()
    for column in columns[1:]:
        out = out & ~nw.col(column).is_null()
    return out


def weighted_sums(parts: Parts) -> list[nw.Expr]:
    """Weight and weighted sum of every part; a part is (which rows have it, the quantity)."""
    out: list[nw.Expr] = []
    for name, (has, x) in parts.items():
        out.append(nw.when(has).then(nw.col("w")).sum().alias(f"weight_{name}"))
        out.append(nw.when(has).then(nw.col("w") * x).sum().alias(f"sum_{name}"))
    return out


def row_counts(complete: nw.Expr) -> list[nw.Expr]:
    """Complete rows, all rows, and rows without an outcome."""
    return [
        complete.cast(nw.Int64).sum().alias("rows"),
        nw.len().cast(nw.Int64).alias("total"),
        nw.col("y").is_null().cast(nw.Int64).sum().alias("without"),
    ]


def by_segment(answer: pl.DataFrame) -> Iterable[tuple[str, pl.DataFrame]]:
    """The rows of every segment; all of them under "" when there are no segments."""
    if "segment" not in answer.columns:
        return [("", answer)]
    return [(label(key[0]), part) for key, part in answer.group_by("segment")]


def dense(part: pl.DataFrame, name: str, *at: tuple[str, int], dtype: Any = np.float64) -> Any:
    """A column as an array over the bucket and further index columns."""
    out = np.zeros((GROUPS, *(size for _, size in at)), dtype=dtype)
    index = [part["bucket"].to_numpy(), *(part[column].to_numpy() for column, _ in at)]
    np.add.at(out, tuple(np.asarray(i, dtype=np.int64) for i in index), part[name].fill_null(0).to_numpy())
    return out


def base_fields(part: pl.DataFrame, names: Iterable[str]) -> dict[str, Any]:
    """The fields that the counts of every task have."""
    rows = dense(part, "rows", dtype=np.int64)
    return {
        "rows": rows,
        "unmatched": dense(part, "total", dtype=np.int64) - rows,
        "without_outcome": dense(part, "without", dtype=np.int64),
        "moments": {n: np.stack([dense(part, f"weight_{n}"), dense(part, f"sum_{n}")], axis=-1) for n in names},
    }


def grouping(keep: Sequence[Any]) -> list[str]:
    """Columns to group by; `keep` are the segments, if any."""
    return ["segment", "bucket"] if keep else ["bucket"]
