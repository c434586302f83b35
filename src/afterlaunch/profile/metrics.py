"""What metrics are computed from, counted by the engine that holds the table.

Everything is asked for in a few group-bys whose results are small; the arithmetic is the same on
every engine.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Literal

import narwhals as nw
import numpy as np
import polars as pl
from numpy.typing import NDArray

from afterlaunch.profile.lists import ask_lists
from afterlaunch.profile.scored_rows import (
    Ask,
    Options,
    Parts,
    Table,
    base_fields,
    by_segment,
    dense,
    grouping,
    ok,
    row_counts,
    weighted_sums,
)
from afterlaunch.profile.scores import COARSE, SCORE_BINS, label
from afterlaunch.profile.types import MetricCounts
from afterlaunch.roles import Roles
from afterlaunch.stats.losses import CLIP

Task = Literal["binary", "multiclass", "regression", "ranking"]
Fetch = Callable[[Sequence[Any]], list[pl.DataFrame]]
Floats = NDArray[np.float64]

REST = "(other)"
"""The class that stands for every value that is not a frozen class."""


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
    table = Table(frame, roles, bucket, segment)
    build = {"binary": _binary, "multiclass": _multiclass, "regression": _regression, "ranking": ask_lists}[task]
    options = Options(knots, tuple(classes), threshold, positive, k)
    asks = [build(table, options, [])]
    if segment is not None and segments and segment in table.columns:
        asks.append(build(table, options, list(segments)))
    answers = fetch([f for ask in asks for f in ask.frames])
    out: dict[str, MetricCounts] = {}
    for ask in asks:
        out |= ask.read(answers[: len(ask.frames)])
        answers = answers[len(ask.frames) :]
    return out


# ------------------------------------------------------------------ binary


def _binary(table: Table, options: Options, keep: Sequence[Any]) -> Ask:
    roles = table.roles
    s = table.number(roles.score)
    if table.has(roles.prediction):
        p = table.is_positive(roles.prediction, options.positive)
    else:
        p = nw.when(~s.is_null()).then((s >= options.threshold).cast(nw.Int64).cast(nw.Float64))
    frame = table.narrow(keep, y=table.is_positive(roles.outcome, options.positive), s=s, p=p, w=table.weight())
    y, s, p = nw.col("y"), nw.col("s"), nw.col("p")
    scored, predicted = ok("y", "s", "w"), ok("y", "p", "w")
    clipped = s.clip(CLIP, 1 - CLIP)
    parts: dict[str, tuple[nw.Expr, nw.Expr]] = {
        "outcome": (ok("y", "w"), y),
        "score": (scored, s),
        "log_loss": (scored, -nw.when(y > 0.5).then(clipped).otherwise(1 - clipped).log()),
        "brier": (scored, (s - y) * (s - y)),
        "both": (predicted, y * p),
        "predicted": (predicted, p),
        "truly": (predicted, y),
    }
    complete = scored | predicted
    sums = frame.group_by(grouping(keep)).agg(
        *row_counts(complete), (nw.when(complete).then(y)).sum().alias("positives"), *weighted_sums(parts)
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
            .group_by([*grouping(keep), "y", "cell"])
            .agg(nw.col("w").sum().alias("weight"), nw.col("ws").sum().alias("scores")),
        )

    def read(answers: list[pl.DataFrame]) -> dict[str, MetricCounts]:
        cells = dict(by_segment(answers[1])) if binned else {}
        out = {}
        for name, part in by_segment(answers[0]):
            base = base_fields(part, parts)
            confusion = _confusion(base["moments"])
            positives = dense(part, "positives", dtype=np.int64)
            shapes: dict[str, Any] = {}
            if binned:
                mine = cells.get(name, answers[1].clear())
                shapes = {
                    "histogram": dense(mine, "weight", ("y", 2), ("cell", bins)),
                    "score_sums": dense(mine, "scores", ("cell", bins)),
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

    return Ask(frames, read)


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


def _multiclass(table: Table, options: Options, keep: Sequence[Any]) -> Ask:
    roles = table.roles
    classes = [label(c) for c in options.classes]
    predicted, scores = (
        table.has(roles.prediction),
        {name: column for name, column in roles.scores.items() if table.has(column) and label(name) in classes},
    )
    outcome = _class(table, roles.outcome, options.classes)
    columns = {"y": outcome, "p": _class(table, roles.prediction, options.classes), "w": table.weight()}
    columns |= {f"s{i}": table.number(column) for i, column in enumerate(scores.values())}
    frame = table.narrow(keep, **columns)
    y, p = nw.col("y"), nw.col("p")
    held = ok("y", "p", "w")
    hit = (y == p).cast(nw.Int64).cast(nw.Float64)
    parts: dict[str, tuple[nw.Expr, nw.Expr]] = {"hit": (held, hit)}
    complete = held
    if scores:
        has = ok("y", "w", *(f"s{i}" for i in range(len(scores))))
        right, square = nw.lit(0.0), nw.lit(0.0)
        for i, name in enumerate(scores):
            s = nw.col(f"s{i}")
            truth = (y == classes.index(label(name))).cast(nw.Int64).cast(nw.Float64)
            right, square = right + truth * s, square + (s - truth) * (s - truth)
        parts |= {"log_loss": (has, -right.clip(CLIP, 1 - CLIP).log()), "brier": (has, square)}
        complete = held | has if predicted else has
    sums = frame.group_by(grouping(keep)).agg(*row_counts(complete), *weighted_sums(parts))
    cells = (
        frame.filter(complete)
        .with_columns(held=nw.when(held).then(nw.col("w")))
        .group_by([*grouping(keep), "y", "p"])
        .agg(nw.col("held").sum().alias("weight"), nw.len().cast(nw.Int64).alias("count"))
    )
    size = len(classes) + 1

    def read(answers: list[pl.DataFrame]) -> dict[str, MetricCounts]:
        found = dict(by_segment(answers[1]))
        out = {}
        for name, part in by_segment(answers[0]):
            mine = found.get(name, answers[1].clear())
            both = mine.filter(pl.col("p").is_not_null())
            out[name] = MetricCounts(
                **base_fields(part, parts),
                class_rows=dense(mine, "count", ("y", size), dtype=np.int64),
                confusion=dense(both, "weight", ("y", size), ("p", size)) if predicted else None,
                classes=(*classes, REST),
            )
        return out

    return Ask((sums, cells), read)


def _class(table: Table, column: str | None, classes: Sequence[Any]) -> nw.Expr:
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


def _regression(table: Table, options: Options, keep: Sequence[Any]) -> Ask:
    roles = table.roles
    guess = roles.prediction if table.has(roles.prediction) else roles.score
    frame = table.narrow(keep, y=table.number(roles.outcome), p=table.number(guess), w=table.weight())
    held = ok("y", "p", "w")
    error = nw.col("p") - nw.col("y")
    parts: Parts = {
        "absolute": (held, error.abs()),
        "squared": (held, error * error),
        "error": (held, error),
        "outcome": (ok("y", "w"), nw.col("y")),
    }
    sums = frame.group_by(grouping(keep)).agg(*row_counts(held), *weighted_sums(parts))
    return Ask(
        (sums,),
        lambda answers: {n: MetricCounts(**base_fields(part, parts)) for n, part in by_segment(answers[0])},
    )
