"""What metrics are computed from, counted by the engine that holds the table.

Everything is asked for in a few group-bys whose results are small; the arithmetic is the same on
every engine.

What counts as missing: a null or NaN outcome, score or prediction, an infinite one, and a weight that
is missing, infinite or not above zero. Such rows are `unmatched`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import narwhals as nw
import numpy as np
import polars as pl
from numpy.typing import NDArray

from afterlaunch.profile.scores import COARSE, POSITIVE_WORDS, SCORE_BINS, label
from afterlaunch.profile.types import MetricCounts
from afterlaunch.roles import Roles
from afterlaunch.stats.losses import CLIP

Task = Literal["binary", "multiclass", "regression", "ranking"]
Fetch = Callable[[Sequence[Any]], list[pl.DataFrame]]
Floats = NDArray[np.float64]
Parts = Mapping[str, tuple[nw.Expr, nw.Expr]]

GROUPS = 64
"""Buckets."""

REST = "(other)"
"""The class that stands for every value that is not a frozen class."""


@dataclass(frozen=True)
class _Ask:
    """Group-bys of one grouping, and how to read their answers."""

    frames: tuple[nw.LazyFrame[Any], ...]
    read: Callable[[list[pl.DataFrame]], dict[str, MetricCounts]]


def count_metrics(
    frame: nw.LazyFrame[Any],
    roles: Roles,
    task: Task,
    *,
    fetch: Fetch,
    bucket: str,
    segment: str | None = None,
    segments: Sequence[Any] = (),
    knots: tuple[float, ...] = (),
    classes: Sequence[Any] = (),
    threshold: float = 0.5,
    positive: Any = 1,
    k: int = 10,
) -> dict[str, MetricCounts]:
    """Count what the metrics of one table are computed from.

    Args:
        frame: The table, with an integer column that says in which of 64 buckets each row is.
        roles: What its columns mean; columns it lacks count as missing in every row.
        task: Kind of prediction.
        fetch: Runs lazy frames and returns their rows, in the same order.
        bucket: Name of the bucket column.
        segment: Column whose values get counts of their own, or None.
        segments: The values of `segment` to count, as the table holds them.
        knots: From `scores.score_knots` on a sample of the reference (binary).
        classes: The classes, as the table holds them (multi-class); every other value is one more class.
        threshold: Scores from here on are predicted positive, when there is no `prediction` (binary).
        positive: The positive outcome (binary), from `scores.positive_of`.
        k: Ranks that count in NDCG (ranking).

    Returns:
        Counts of all rows under "", and of every segment under `scores.label` of its value.

    Note:
        A ranked list belongs to one bucket and segment: the smallest of its rows'. Without a
        `unit` and a `bucket` role, lists are dealt to buckets in the order of their identifiers.
    """
    table = _Table(frame, roles, bucket, segment)
    build = {"binary": _binary, "multiclass": _multiclass, "regression": _regression, "ranking": _ranking}[task]
    options = _Options(knots, tuple(classes), threshold, positive, k)
    asks = [build(table, options, [])]
    if segment is not None and segments and segment in table.columns:
        asks.append(build(table, options, list(segments)))
    answers = fetch([f for ask in asks for f in ask.frames])
    out: dict[str, MetricCounts] = {}
    for ask in asks:
        out |= ask.read(answers[: len(ask.frames)])
        answers = answers[len(ask.frames) :]
    return out


@dataclass(frozen=True)
class _Options:
    knots: tuple[float, ...]
    classes: tuple[Any, ...]
    threshold: float
    positive: Any
    k: int


class _Table:
    """The columns that metrics read, as plain expressions with missing values made null."""

    def __init__(self, frame: nw.LazyFrame[Any], roles: Roles, bucket: str, segment: str | None) -> None:
        self.frame, self.roles, self.bucket, self.segment = frame, roles, bucket, segment
        self.schema = frame.collect_schema()
        self.columns = set(self.schema.names())

    def has(self, column: str | None) -> bool:
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


def _ok(*columns: str) -> nw.Expr:
    out = ~nw.col(columns[0]).is_null()
    for column in columns[1:]:
        out = out & ~nw.col(column).is_null()
    return out


def _sums(parts: Parts) -> list[nw.Expr]:
    """Weight and weighted sum of every part; a part is (which rows have it, the quantity)."""
    out = []
    for name, (has, x) in parts.items():
        out.append(nw.when(has).then(nw.col("w")).sum().alias(f"weight_{name}"))
        out.append(nw.when(has).then(nw.col("w") * x).sum().alias(f"sum_{name}"))
    return out


def _counts(complete: nw.Expr) -> list[nw.Expr]:
    return [
        complete.cast(nw.Int64).sum().alias("rows"),
        nw.len().cast(nw.Int64).alias("total"),
        nw.col("y").is_null().cast(nw.Int64).sum().alias("without"),
    ]


def _split(answer: pl.DataFrame) -> Iterable[tuple[str, pl.DataFrame]]:
    """The rows of every segment; all of them under "" when there are no segments."""
    if "segment" not in answer.columns:
        return [("", answer)]
    return [(label(key[0]), part) for key, part in answer.group_by("segment")]


def _dense(part: pl.DataFrame, name: str, *at: tuple[str, int], dtype: Any = np.float64) -> Any:
    """A column as an array over the bucket and further index columns."""
    out = np.zeros((GROUPS, *(size for _, size in at)), dtype=dtype)
    index = [part["bucket"].to_numpy(), *(part[column].to_numpy() for column, _ in at)]
    np.add.at(out, tuple(np.asarray(i, dtype=np.int64) for i in index), part[name].fill_null(0).to_numpy())
    return out


def _base(part: pl.DataFrame, names: Iterable[str]) -> dict[str, Any]:
    rows = _dense(part, "rows", dtype=np.int64)
    return {
        "rows": rows,
        "unmatched": _dense(part, "total", dtype=np.int64) - rows,
        "without_outcome": _dense(part, "without", dtype=np.int64),
        "moments": {n: np.stack([_dense(part, f"weight_{n}"), _dense(part, f"sum_{n}")], axis=-1) for n in names},
    }


def _keys(keep: Sequence[Any]) -> list[str]:
    return ["segment", "bucket"] if keep else ["bucket"]


# ------------------------------------------------------------------ binary


def _binary(table: _Table, options: _Options, keep: Sequence[Any]) -> _Ask:
    roles = table.roles
    s = table.number(roles.score)
    if table.has(roles.prediction):
        p = table.is_positive(roles.prediction, options.positive)
    else:
        p = nw.when(~s.is_null()).then((s >= options.threshold).cast(nw.Int64).cast(nw.Float64))
    frame = table.narrow(keep, y=table.is_positive(roles.outcome, options.positive), s=s, p=p, w=table.weight())
    y, s, p = nw.col("y"), nw.col("s"), nw.col("p")
    scored, predicted = _ok("y", "s", "w"), _ok("y", "p", "w")
    clipped = s.clip(CLIP, 1 - CLIP)
    parts: dict[str, tuple[nw.Expr, nw.Expr]] = {
        "outcome": (_ok("y", "w"), y),
        "score": (scored, s),
        "log_loss": (scored, -nw.when(y > 0.5).then(clipped).otherwise(1 - clipped).log()),
        "brier": (scored, (s - y) * (s - y)),
        "both": (predicted, y * p),
        "predicted": (predicted, p),
        "truly": (predicted, y),
    }
    complete = scored | predicted
    sums = frame.group_by(_keys(keep)).agg(
        *_counts(complete), (nw.when(complete).then(y)).sum().alias("positives"), *_sums(parts)
    )
    frames: tuple[nw.LazyFrame[Any], ...] = (sums,)
    bins = SCORE_BINS // COARSE if keep else SCORE_BINS
    binned = bool(options.knots) and table.has(roles.score)
    if binned:
        cell = _bin(s, options.knots)
        if keep:
            cell = (cell - cell % COARSE) / COARSE
        cells = frame.filter(scored).with_columns(cell=cell.cast(nw.Int64), y=y.cast(nw.Int64))
        weighted = nw.col("w") * nw.col("s")
        frames += (
            cells.with_columns(ws=weighted)
            .group_by([*_keys(keep), "y", "cell"])
            .agg(nw.col("w").sum().alias("weight"), nw.col("ws").sum().alias("scores")),
        )

    def read(answers: list[pl.DataFrame]) -> dict[str, MetricCounts]:
        cells = dict(_split(answers[1])) if binned else {}
        out = {}
        for name, part in _split(answers[0]):
            base = _base(part, parts)
            confusion = _confusion(base["moments"])
            positives = _dense(part, "positives", dtype=np.int64)
            shapes: dict[str, Any] = {}
            if binned:
                mine = cells.get(name, answers[1].clear())
                shapes = {
                    "histogram": _dense(mine, "weight", ("y", 2), ("cell", bins)),
                    "score_sums": _dense(mine, "scores", ("cell", bins)),
                    "knots": options.knots,
                }
            out[name] = MetricCounts(
                **base,
                class_rows=np.stack([base["rows"] - positives, positives], axis=-1),
                confusion=confusion,
                classes=("0", "1"),
                **shapes,
            )
        return out

    return _Ask(frames, read)


def _confusion(moments: dict[str, Floats]) -> Floats:
    """Outcome by prediction, shape (G, 2, 2); takes its ingredients out of the moments."""
    both, predicted, truly = moments.pop("both"), moments.pop("predicted"), moments.pop("truly")
    weight, hit = both[:, 0], both[:, 1]
    flat = [weight - truly[:, 1] - predicted[:, 1] + hit, predicted[:, 1] - hit, truly[:, 1] - hit, hit]
    return np.stack(flat, axis=-1).reshape(-1, 2, 2)


def _bin(score: nw.Expr, knots: tuple[float, ...]) -> nw.Expr:
    """Score bin by a sum of clipped linear pieces: additions and multiplications, the same on every engine."""
    x, start = knots[::2], knots[1::2]
    spread = nw.lit(0.0)
    for a, b, first, last in zip(x, x[1:], start, start[1:], strict=False):
        spread = spread + (score.clip(a, b) - a) * ((last - first) / (b - a))
    spread = spread.clip(0.0, SCORE_BINS - 0.5)
    return spread - spread % 1.0


# ------------------------------------------------------------------ several classes


def _multiclass(table: _Table, options: _Options, keep: Sequence[Any]) -> _Ask:
    roles = table.roles
    classes = [label(c) for c in options.classes]
    predicted, scores = table.has(roles.prediction), {
        name: column for name, column in roles.scores.items() if table.has(column) and label(name) in classes
    }
    outcome = _class(table, roles.outcome, options.classes)
    columns = {"y": outcome, "p": _class(table, roles.prediction, options.classes), "w": table.weight()}
    columns |= {f"s{i}": table.number(column) for i, column in enumerate(scores.values())}
    frame = table.narrow(keep, **columns)
    y, p = nw.col("y"), nw.col("p")
    held = _ok("y", "p", "w")
    hit = (y == p).cast(nw.Int64).cast(nw.Float64)
    parts: dict[str, tuple[nw.Expr, nw.Expr]] = {"hit": (held, hit)}
    complete = held
    if scores:
        has = _ok("y", "w", *(f"s{i}" for i in range(len(scores))))
        right, square = nw.lit(0.0), nw.lit(0.0)
        for i, name in enumerate(scores):
            s = nw.col(f"s{i}")
            truth = (y == classes.index(label(name))).cast(nw.Int64).cast(nw.Float64)
            right, square = right + truth * s, square + (s - truth) * (s - truth)
        parts |= {"log_loss": (has, -right.clip(CLIP, 1 - CLIP).log()), "brier": (has, square)}
        complete = held | has if predicted else has
    sums = frame.group_by(_keys(keep)).agg(*_counts(complete), *_sums(parts))
    cells = (
        frame.filter(complete)
        .with_columns(held=nw.when(held).then(nw.col("w")))
        .group_by([*_keys(keep), "y", "p"])
        .agg(nw.col("held").sum().alias("weight"), nw.len().cast(nw.Int64).alias("count"))
    )
    size = len(classes) + 1

    def read(answers: list[pl.DataFrame]) -> dict[str, MetricCounts]:
        found = dict(_split(answers[1]))
        out = {}
        for name, part in _split(answers[0]):
            mine = found.get(name, answers[1].clear())
            both = mine.filter(pl.col("p").is_not_null())
            out[name] = MetricCounts(
                **_base(part, parts),
                class_rows=_dense(mine, "count", ("y", size), dtype=np.int64),
                confusion=_dense(both, "weight", ("y", size), ("p", size)) if predicted else None,
                classes=(*classes, REST),
            )
        return out

    return _Ask((sums, cells), read)


def _class(table: _Table, column: str | None, classes: Sequence[Any]) -> nw.Expr:
    """Index of a column's class; the number of classes for any other value, null where it is missing."""
    if column is None or column not in table.columns:
        return nw.lit(None, dtype=nw.Int64())
    dtype = table.schema[column]
    names = [label(c) for c in classes]
    x = table.number(column) if dtype == nw.Boolean or dtype.is_numeric() else nw.col(column).cast(nw.String)
    index = nw.lit(len(names), dtype=nw.Int64())
    for i, name in reversed(list(enumerate(names))):
        wanted: Any = name
        if dtype == nw.Boolean or dtype.is_numeric():
            try:
                wanted = float(name)
            except ValueError:
                continue
        index = nw.when(x == wanted).then(nw.lit(i, dtype=nw.Int64())).otherwise(index)
    return nw.when(~x.is_null()).then(index)


# ------------------------------------------------------------------ numbers


def _regression(table: _Table, options: _Options, keep: Sequence[Any]) -> _Ask:
    roles = table.roles
    guess = roles.prediction if table.has(roles.prediction) else roles.score
    frame = table.narrow(keep, y=table.number(roles.outcome), p=table.number(guess), w=table.weight())
    held = _ok("y", "p", "w")
    error = nw.col("p") - nw.col("y")
    parts: Parts = {
        "absolute": (held, error.abs()),
        "squared": (held, error * error),
        "error": (held, error),
        "outcome": (_ok("y", "w"), nw.col("y")),
    }
    sums = frame.group_by(_keys(keep)).agg(*_counts(held), *_sums(parts))
    return _Ask(
        (sums,), lambda answers: {name: MetricCounts(**_base(part, parts)) for name, part in _split(answers[0])}
    )


# ------------------------------------------------------------------ lists


def _ranking(table: _Table, options: _Options, keep: Sequence[Any]) -> _Ask:
    roles = table.roles
    if not table.has(roles.list):
        nothing = nw.lit(None, dtype=nw.Float64())
        frame = table.narrow(keep, y=nothing, w=nw.lit(1.0))
        empty = frame.group_by(_keys(keep)).agg(*_counts(_ok("y")))
        return _Ask((empty,), lambda answers: {n: MetricCounts(**_base(part, ())) for n, part in _split(answers[0])})
    by_score = table.has(roles.score)
    order = table.number(roles.score) if by_score else 0.0 - table.number(roles.position)
    y = table.is_positive(roles.outcome, options.positive)
    if table.has(roles.outcome) and table.schema[str(roles.outcome)].is_numeric():
        y = table.number(roles.outcome)
    rows = table.narrow(keep, list=nw.col(str(roles.list)), y=y, s=order, w=table.weight())
    lists = _lists(rows, keep, options.k)
    if roles.unit is None and roles.bucket is None:
        lists = lists.with_columns(bucket=(nw.col("list").rank("ordinal").cast(nw.Int64) - 1) % GROUPS)
    y = nw.col("gain")
    useful = y > 0
    parts: Parts = {
        "ndcg": (useful, nw.col("dcg") / nw.col("ideal")),
        "mrr": (nw.col("items") > 0, nw.when(useful).then(1 / nw.col("first")).otherwise(0.0)),
    }
    sums = lists.group_by(_keys(keep)).agg(
        (nw.col("items") > 0).cast(nw.Int64).sum().alias("rows"),
        nw.len().cast(nw.Int64).alias("total"),
        (nw.col("outcomes") == 0).cast(nw.Int64).sum().alias("without"),
        nw.col("shown").sum().alias("weight_outcome"),
        nw.col("clicks").sum().alias("sum_outcome"),
        *_sums(parts),
    )
    names = [*parts, "outcome"]
    return _Ask((sums,), lambda answers: {n: MetricCounts(**_base(part, names)) for n, part in _split(answers[0])})


def _lists(rows: nw.LazyFrame[Any], keep: Sequence[Any], k: int) -> nw.LazyFrame[Any]:
    """One row per list: its gain in the order shown, the best gain, the rank of its first relevant item."""
    y, s = nw.col("y"), nw.col("s")
    held = _ok("y", "s", "w")
    rows = rows.with_columns(
        held=nw.when(held).then(nw.lit(1)), ranked=nw.when(held).then(0.0 - s), best=nw.when(held).then(0.0 - y)
    )
    rows = rows.with_columns(
        rank=nw.col("ranked").rank("ordinal").over("list").cast(nw.Float64),
        top=nw.col("best").rank("ordinal").over("list").cast(nw.Float64),
        gain=y.mean().over("list", "ranked"),
    )
    rows = rows.with_columns(middle=nw.col("rank").mean().over("list", "ranked"))

    def discount(rank: str) -> nw.Expr:
        return nw.when(nw.col(rank) <= k).then(1 / (nw.col(rank) + 1).log(2.0)).otherwise(0.0)

    segment = [nw.col("segment").min().alias("segment")] if keep else []
    useful = held & (y > 0)
    return rows.with_columns(
        gained=nw.when(held).then(nw.col("gain") * discount("rank")),
        possible=nw.when(held).then(y * discount("top")),
        found=nw.when(useful).then(nw.col("middle")),
        kept=nw.when(held).then(y),
        outcome=nw.when(_ok("y", "w")).then(nw.col("w") * y),
        seen=nw.when(_ok("y", "w")).then(nw.col("w")),
    ).group_by("list").agg(
        nw.col("bucket").min().alias("bucket"),
        *segment,
        nw.col("gained").sum().alias("dcg"),
        nw.col("possible").sum().alias("ideal"),
        nw.col("found").min().alias("first"),
        nw.col("kept").sum().alias("gain"),
        nw.col("held").sum().alias("items"),
        nw.col("seen").count().alias("outcomes"),
        nw.col("seen").sum().alias("shown"),
        nw.col("outcome").sum().alias("clicks"),
        nw.col("w").mean().alias("w"),
    )
