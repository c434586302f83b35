"""What two versions said of the same rows: counted by the engine, or from a sample when there are replicates."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import narwhals as nw
import numpy as np
import polars as pl
from numpy.typing import NDArray

from afterlaunch.profile.buckets import BUCKETS, MULTIPLIER, PRIME
from afterlaunch.profile.compared import Floats, Run, RunPairs

Frame = nw.LazyFrame[Any]
MOST_SEGMENTS = 20
"""Segments that are looked at by themselves, those with most rows."""

OURS = "afterlaunch_"
"""Before the names of sums, which segments and buckets may be called, too."""

LOSSES = ("brier", "squared_error", "absolute_error")
"""Scalars that are better when they are smaller."""


@dataclass(frozen=True)
class Columns:
    """Where things stand in a frame with one row for each subject.

    Attributes:
        predictions: Predicted class or value of each run, () without.
        scores: Score of each run, () without.
        counts: Rows of each run, () where there is one by form.
        outcome: What happened, or None.
        bucket: Bucket of dependent rows, or None.
        segment: Segment, or None.
        threshold: Score from which a row counts as predicted positive, when there are no predictions; None where
            scores make no decision.
        positive: The outcome that counts as positive, as text.
        centre: A number near the scores' mean, taken off before they are squared.
        number: Whether predictions are numbers to be close to, not classes to be equal to.
    """

    predictions: tuple[str, ...]
    scores: tuple[str, ...]
    counts: tuple[str, ...] = ()
    outcome: str | None = None
    bucket: str | None = None
    segment: str | None = None
    threshold: float | None = None
    positive: str | None = None
    number: bool = False
    centre: float = 0.0


@dataclass(frozen=True)
class Counted:
    """What one query over a panel gives.

    Attributes:
        pairs: All rows.
        segments: By segment, those with most rows.
        most: Most rows that one run has of one id; more than 1 means that ids repeat.
        total: Ids of either version.
    """

    pairs: RunPairs
    segments: Mapping[str, RunPairs]
    most: int
    total: int


def count_two(frame: Frame, columns: Columns, runs: tuple[Run, Run], fetch: Callable[[Frame], pl.DataFrame]) -> Counted:
    """Compare two runs row by row inside the engine.

    Args:
        frame: One row for each subject.
        columns: Where things stand in it, for two runs.
        runs: The runs.
        fetch: Computes a small frame.

    Returns:
        Counts with these sums: "churn" (another decision), and of rows with an outcome ("judged") "wins", "losses"
        and "neutral" (both wrong, in different ways); of rows with two scores ("scored") "shift", the second minus
        the first, with its squares. Scalars: "correct", "brier" or errors, and "score"
        less the centre.

    Example:
        >>> frame = nw.from_native(pl.LazyFrame({"a": ["x", "y", "y"], "b": ["x", "x", "y"], "y": ["x", "x", "y"]}))
        >>> runs = Run("a"), Run("b")
        >>> columns = Columns(("a", "b"), (), outcome="y")
        >>> found = count_two(frame, columns, runs, lambda f: f.to_native().collect())
        >>> {name: int(found.pairs.sums[name].sum()) for name in ("churn", "wins", "losses")}
        {'churn': 1, 'wins': 1, 'losses': 0}
    """
    sums = dict(_sums(columns, frame.collect_schema()))
    groups = [c for c in (columns.bucket, columns.segment) if c is not None]
    exprs = [e.sum().alias(f"{OURS}{name}") for name, e in sums.items()]
    exprs += [nw.col(c).max().alias(f"{OURS}most{i}") for i, c in enumerate(columns.counts)]
    if groups:
        found = fetch(frame.group_by(*groups).agg(*exprs, nw.len().alias(f"{OURS}rows")))
    else:
        found = fetch(frame.select(*exprs, nw.len().alias(f"{OURS}rows")))
    repeats = [found[f"{OURS}most{i}"].fill_null(0).to_numpy().max(initial=0) for i in range(len(columns.counts))]
    most = int(max(repeats, default=1))
    size = BUCKETS if columns.bucket else 1
    bucket = found[columns.bucket].to_numpy().astype(np.int64) if columns.bucket else np.zeros(found.height, np.int64)

    def added(name: str, where: NDArray[np.bool_]) -> Floats:
        values = found[f"{OURS}{name}"].fill_null(0).cast(pl.Float64).to_numpy()
        return np.bincount(bucket[where], values[where], minlength=size).astype(np.float64)

    def pairs(where: NDArray[np.bool_]) -> RunPairs:
        return _pairs({name: added(name, where) for name in sums}, runs)

    every = np.ones(found.height, dtype=bool)
    segments: dict[str, RunPairs] = {}
    if columns.segment is not None:
        named = found[columns.segment]
        sizes = found.group_by(columns.segment).agg(pl.col(f"{OURS}both").sum()).drop_nulls(columns.segment)
        for name in sizes.sort([f"{OURS}both", columns.segment], descending=[True, False])[columns.segment][
            :MOST_SEGMENTS
        ]:
            segments[str(name)] = pairs((named == name).fill_null(value=False).to_numpy())
    return Counted(pairs(every), segments, most, int(found[f"{OURS}rows"].sum()))


def _sums(c: Columns, schema: Mapping[str, Any]) -> Iterator[tuple[str, nw.Expr]]:
    """Name to what is summed, over the rows of a frame."""
    scores = [_finite(s, schema) for s in c.scores]
    said = [nw.col(p) for p in c.predictions] if c.predictions else scores
    if c.predictions and c.number:
        said = [_finite(p, schema) for p in c.predictions]
    there = [~e.is_null() for e in said]
    both = there[0] & there[1]
    yield "both", _one(both)
    yield "only0", _one(there[0] & ~there[1])
    yield "only1", _one(there[1] & ~there[0])
    decisions = _decisions(c, said)
    if decisions is not None:
        yield "churn", _one(both & (decisions[0] != decisions[1]))
    if c.outcome is not None:
        known = both & ~nw.col(c.outcome).is_null()
        yield "judged", _one(known)
        if decisions is not None:
            right = [known & r for r in _right(c, decisions, schema)]
            yield "wins", _one(~right[0] & right[1])
            yield "losses", _one(right[0] & ~right[1])
            yield "neutral", _one(known & (decisions[0] != decisions[1]) & ~right[0] & ~right[1])
            for i in (0, 1):
                yield f"correct{i}", _one(right[i])
        for name, e in _losses(c, scores if c.scores else said, schema):
            for i in (0, 1):
                yield f"{name}{i}", nw.when(known).then(e(i)).otherwise(0.0)
                yield f"{name}{i}^2", nw.when(known).then(e(i) * e(i)).otherwise(0.0)
    numbers = scores or (said if c.number else [])
    if numbers:
        scored = ~numbers[0].is_null() & ~numbers[1].is_null()
        yield "scored", _one(scored)
        for name, value in (
            ("shift", numbers[1] - numbers[0]),
            ("score0", numbers[0] - c.centre),
            ("score1", numbers[1] - c.centre),
        ):
            yield name, nw.when(scored).then(value).otherwise(0.0)
            yield f"{name}^2", nw.when(scored).then(value * value).otherwise(0.0)


def _one(condition: nw.Expr) -> nw.Expr:
    return nw.when(condition).then(1).otherwise(0)


def _finite(column: str, schema: Mapping[str, Any]) -> nw.Expr:
    value = nw.col(column)
    if not schema[column].is_float():
        return value.cast(nw.Float64)
    return nw.when(value.is_finite()).then(value)


def _decisions(c: Columns, said: Sequence[nw.Expr]) -> list[nw.Expr] | None:
    if c.number:
        return None
    if c.predictions:
        return list(said)
    return None if c.threshold is None else [_one(s >= c.threshold) for s in said]


def _right(c: Columns, decisions: Sequence[nw.Expr], schema: Mapping[str, Any]) -> list[nw.Expr]:
    """Whether each decision is the outcome."""
    happened = nw.col(str(c.outcome))
    if not c.predictions:
        truth = _one(happened.cast(nw.String) == c.positive)
        return [d == truth for d in decisions]
    types = [schema[p] for p in (*c.predictions, str(c.outcome))]
    if all(t.is_numeric() for t in types):
        return [d == happened for d in decisions]
    return [d.cast(nw.String) == happened.cast(nw.String) for d in decisions]


def _losses(
    c: Columns, numbers: Sequence[nw.Expr], schema: Mapping[str, Any]
) -> list[tuple[str, Callable[[int], nw.Expr]]]:
    """Losses of numbers against the outcome."""
    happened = nw.col(str(c.outcome))
    if c.number or (c.threshold is None and c.scores and c.positive is None and schema[str(c.outcome)].is_numeric()):
        return [
            ("squared_error", lambda i: (numbers[i] - happened) * (numbers[i] - happened)),
            ("absolute_error", lambda i: (numbers[i] - happened).abs()),
        ]
    if c.scores and c.threshold is not None and c.positive is not None:
        truth = nw.when(happened.cast(nw.String) == c.positive).then(1.0).otherwise(0.0)
        return [("brier", lambda i: (numbers[i] - truth) * (numbers[i] - truth))]
    return []


def _pairs(sums: Mapping[str, Floats], runs: tuple[Run, Run]) -> RunPairs:
    """Sums of one query, as those of one pair of runs."""
    one = {n: v[None, :] for n, v in sums.items() if n in {"churn", "wins", "losses", "neutral", "judged", "scored"}}
    if "shift" in sums:
        one["shift"] = sums["shift"][None, :]
    scalars = {
        name: np.stack([sums[f"{name}0"], sums[f"{name}1"]])
        for name in ("correct", *LOSSES, "score")
        if f"{name}0" in sums
    }
    squares = {name: np.stack([sums.get(f"{name}{i}^2", sums[f"{name}{i}"]) for i in (0, 1)]) for name in scalars}
    if "scored" in sums:
        scalars["scored"] = squares["scored"] = np.stack([sums["scored"], sums["scored"]])
    judged = sums.get("judged", np.zeros_like(sums["both"]))
    return RunPairs(
        runs=runs,
        baseline=1,
        pairs=np.array([[0, 1]], dtype=np.int64),
        subjects=sums["both"].astype(np.int64)[None, :],
        sums=one,
        squares={"shift": sums["shift^2"][None, :]} if "shift" in sums else {},
        scalars=scalars,
        scalar_squares=squares,
        scalar_subjects=np.stack([judged, judged]).astype(np.int64),
        alone=(int(sums["only0"].sum()), int(sums["only1"].sum())),
    )


def drawn(key: nw.Expr, share: float) -> nw.Expr:
    """Whether an integer id belongs to a fixed draw of about this share of all ids, on any engine.

    The multiplier is the square of the buckets' one, so that a draw holds rows of every bucket.

    Args:
        key: Integer column.
        share: In (0, 1].

    Example:
        >>> frame = nw.from_native(pl.DataFrame({"id": range(100_000)}))
        >>> 950 < len(frame.filter(drawn(nw.col("id"), 0.01))) < 1050
        True
    """
    x = ((key.cast(nw.Int64) % PRIME) + PRIME) % PRIME
    h = (x * MULTIPLIER % PRIME) * MULTIPLIER % PRIME
    return h < int(share * PRIME)
