"""What many runs said of the same rows: all pairs of them, on a sample of rows in memory."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from afterlaunch.profile.buckets import BUCKETS
from afterlaunch.profile.compared import Compared, Floats, Ints, Run, RunPairs
from afterlaunch.profile.panel import MOST_SEGMENTS, Columns


def count_sampled(
    rows: pl.DataFrame, columns: Columns, runs: Sequence[Run], baseline: int, *, total: int, seed: int = 0
) -> Compared:
    """Compare all pairs of runs on rows in memory.

    Args:
        rows: One row for each subject, those of a sample.
        columns: Where things stand in it.
        runs: The runs, those of the baseline first.
        baseline: How many are the baseline's.
        total: Subjects that the sample was drawn from.
        seed: Of the draw of pairs of rows whose order is compared.

    Returns:
        Rows, orders and outputs; sums are named as by `count_two`, "wins", "losses" and "neutral" left out.
    """
    bucket = rows[columns.bucket].to_numpy().astype(np.int64) if columns.bucket else None
    if bucket is None and len(runs) > 2:
        # Independent rows may be dealt into any buckets, and these tell how distances of different pairs go together.
        bucket = np.arange(rows.height, dtype=np.int64) % BUCKETS
    classes, values = _classes(rows, columns), _values(rows, columns)
    if classes is None and values is None:
        return Compared()
    # What is decided by: a panel may have predictions and scores.
    decided = classes is not None and (values is None or bool(columns.predictions))
    outputs = classes if decided else values
    sample = rows.height if rows.height < total else None
    pairs = _all_pairs(rows, columns, runs, baseline, classes, values, bucket)
    segments: dict[str, RunPairs] = {}
    if columns.segment is not None and pairs is not None:
        sizes = rows.group_by(columns.segment).len().drop_nulls()
        for name in sizes.sort(["len", columns.segment], descending=[True, False])[columns.segment][:MOST_SEGMENTS]:
            part = (rows[columns.segment] == name).fill_null(value=False).to_numpy()
            of = [None if x is None else x[part] for x in (classes, values, bucket)]
            found = _all_pairs(rows.filter(part), columns, runs, baseline, of[0], of[1], _ints(of[2]))
            if found is not None:
                segments[str(name)] = replace(found, sample=sample)
    return Compared(
        rows=replace(pairs, sample=sample) if pairs is not None else None,
        row_segments=segments,
        orders=_orders(values, runs, baseline, bucket, seed) if values is not None else None,
        outputs=outputs,
        output_kind="class" if decided else "score",
        output_total=total,
        threshold=columns.threshold,
    )


def _ints(values: NDArray[Any] | None) -> Ints | None:
    return None if values is None else values.astype(np.int64)


def _classes(rows: pl.DataFrame, c: Columns) -> Floats | None:
    """Decisions as codes, shape (n, R), NaN where there is none; None where nothing is decided."""
    if c.number:
        return None
    if c.predictions:
        words = pl.concat([rows[p].cast(pl.String).rename("p") for p in c.predictions])
        codes = words.rank("dense").cast(pl.Float64).fill_null(float("nan")).to_numpy()
        return codes.reshape(len(c.predictions), rows.height).T
    if c.threshold is None or not c.scores:
        return None
    values = _numbers(rows, c.scores)
    return np.where(np.isnan(values), np.nan, (values >= c.threshold).astype(np.float64))


def _values(rows: pl.DataFrame, c: Columns) -> Floats | None:
    names = c.scores or (c.predictions if c.number else ())
    return _numbers(rows, names) if names else None


def _numbers(rows: pl.DataFrame, names: Sequence[str]) -> Floats:
    values = np.stack([rows[s].cast(pl.Float64).fill_null(float("nan")).to_numpy() for s in names], axis=1)
    return np.where(np.isfinite(values), values, np.nan)


def _all_pairs(
    rows: pl.DataFrame,
    c: Columns,
    runs: Sequence[Run],
    baseline: int,
    classes: Floats | None,
    values: Floats | None,
    bucket: Ints | None,
) -> RunPairs | None:
    size = BUCKETS if bucket is not None else 1
    where = bucket if bucket is not None else np.zeros(rows.height, dtype=np.int64)
    said = classes if classes is not None else values
    if said is None:
        return None
    places = _places(len(runs))
    there = ~np.isnan(said)

    def added(x: NDArray[Any]) -> Floats:
        return np.bincount(where, x, minlength=size).astype(np.float64)

    subjects = np.stack([added(there[:, i] & there[:, j]) for i, j in places]).astype(np.int64)
    sums: dict[str, Floats] = {}
    squares: dict[str, Floats] = {}
    if classes is not None:
        changed = [there[:, i] & there[:, j] & (classes[:, i] != classes[:, j]) for i, j in places]
        sums["churn"] = np.stack([added(x) for x in changed])
    if values is not None:
        gaps = [np.nan_to_num(values[:, j] - values[:, i]) for i, j in places]
        sums["shift"] = np.stack([added(x) for x in gaps])
        squares["shift"] = np.stack([added(x * x) for x in gaps])
        sums["scored"] = np.stack([added(~np.isnan(values[:, i]) & ~np.isnan(values[:, j])) for i, j in places])
    scalars, known = _scalars(rows, c, classes, values, there)
    whole = np.zeros((len(runs), size))
    if known is not None:
        whole = np.stack([added(known[:, i]) for i in range(len(runs))])
    if values is not None:
        every = np.asarray(~np.isnan(values).any(axis=1))
        scored = np.broadcast_to(every[:, None], values.shape)
        scalars["score"] = np.where(scored, values - c.centre, 0.0)
        scalars["scored"] = scored.astype(np.float64)
    firsts = np.arange(len(runs)) < baseline
    some = there[:, firsts].any(axis=1), there[:, ~firsts].any(axis=1)
    return RunPairs(
        runs=tuple(runs),
        baseline=baseline,
        pairs=places,
        subjects=subjects,
        sums=sums,
        squares=squares,
        scalars={n: np.stack([added(v[:, i]) for i in range(len(runs))]) for n, v in scalars.items()},
        scalar_squares={n: np.stack([added(v[:, i] ** 2) for i in range(len(runs))]) for n, v in scalars.items()},
        scalar_subjects=whole.astype(np.int64),
        alone=(int((some[0] & ~some[1]).sum()), int((some[1] & ~some[0]).sum())),
    )


def _places(runs: int) -> Ints:
    first, second = np.triu_indices(runs, 1)
    return np.stack([first, second], axis=1).astype(np.int64)


def _scalars(
    rows: pl.DataFrame, c: Columns, classes: Floats | None, values: Floats | None, there: NDArray[np.bool_]
) -> tuple[dict[str, Floats], NDArray[np.bool_] | None]:
    """What each run's output was worth on each row with an outcome, shape (n, R), and where it is known."""
    if c.outcome is None or c.outcome not in rows.columns:
        return {}, None
    happened = rows[c.outcome]
    # Rows that every run has, so that runs are not told apart by their rows.
    known = np.broadcast_to((there.all(axis=1) & happened.is_not_null().to_numpy())[:, None], there.shape)
    out: dict[str, Floats] = {}
    if classes is not None and c.predictions:
        numeric = all(rows[n].dtype.is_numeric() for n in (*c.predictions, c.outcome))
        kind = pl.Float64 if numeric else pl.String
        same = [(rows[p].cast(kind) == happened.cast(kind)).fill_null(value=False).to_numpy() for p in c.predictions]
        out["correct"] = np.where(known, np.stack(same, axis=1), 0.0)
    truth = (
        (happened.cast(pl.String) == c.positive).fill_null(value=False).to_numpy() if c.positive is not None else None
    )
    if truth is not None and classes is not None and not c.predictions:
        out["correct"] = np.where(known, classes == truth[:, None], 0.0)
    if truth is not None and values is not None and c.threshold is not None:
        out["brier"] = np.where(known, (np.nan_to_num(values) - truth[:, None]) ** 2, 0.0)
    elif values is not None and c.positive is None and happened.dtype.is_numeric():
        error = np.nan_to_num(values) - happened.fill_null(0).cast(pl.Float64).to_numpy()[:, None]
        out["squared_error"] = np.where(known, error**2, 0.0)
        out["absolute_error"] = np.where(known, np.abs(error), 0.0)
    return out, known


def _orders(values: Floats, runs: Sequence[Run], baseline: int, bucket: Ints | None, seed: int) -> RunPairs:
    """Disjoint pairs of rows, drawn within buckets, and whether two runs put them in another order; a tie is half."""
    rng = np.random.default_rng(seed)
    shuffled = rng.permutation(len(values))
    if bucket is not None:
        shuffled = shuffled[np.argsort(bucket[shuffled], kind="stable")]
    one, two = shuffled[: len(values) // 2 * 2 : 2], shuffled[1 : len(values) // 2 * 2 : 2]
    if bucket is not None:
        same = bucket[one] == bucket[two]
        one, two = one[same], two[same]
    order = np.sign(values[one] - values[two])
    size = BUCKETS if bucket is not None else 1
    where = bucket[one] if bucket is not None else np.zeros(len(one), dtype=np.int64)
    places = _places(len(runs))
    subjects, sums, squares = [], [], []
    for i, j in places:
        known = ~np.isnan(order[:, i]) & ~np.isnan(order[:, j])
        turned = np.where(known, np.abs(order[:, i] - order[:, j]) / 2, 0.0)
        subjects.append(np.bincount(where, known, minlength=size))
        sums.append(np.bincount(where, turned, minlength=size))
        squares.append(np.bincount(where, turned**2, minlength=size))
    return RunPairs(
        runs=tuple(runs),
        baseline=baseline,
        pairs=places,
        subjects=np.stack(subjects).astype(np.int64),
        sums={"disorder": np.stack(sums)},
        squares={"disorder": np.stack(squares)},
        sample=len(one),
    )
