"""Two clusterings of the same members, counted by the engine that holds them; and cold reruns of both.

A label is text, whatever the table holds: 1, 1.0 and "1" are the same cluster. A member without a label, or with the
label -1, is in no cluster.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import narwhals as nw
import numpy as np
import polars as pl
from numpy.typing import NDArray

from afterlaunch.decide import InputError
from afterlaunch.profile.buckets import BUCKETS, MULTIPLIER, PRIME, bucket_of
from afterlaunch.profile.compared import Floats, Ints, Labelings, Run, RunPairs
from afterlaunch.profile.count import Fetch, Frame
from afterlaunch.profile.pairs import sees
from afterlaunch.stats.partitions import adjusted_rand, adjusted_rand_slope

MOST_CLUSTERS = 1_000
"""Most clusters of a clustering; a column with more different values is hardly one of labels."""

NO_LABEL = ""
"""Label of members without one."""

NOISE = frozenset({NO_LABEL, "-1"})
"""Labels that mean "in no cluster"."""

WEEKS = ("previous", "current")


def label_text(value: Any) -> str:
    """A label as text; whole floats as whole numbers.

    Example:
        >>> label_text(1.0), label_text(-1), label_text("gold"), label_text(None)
        ('1', '-1', 'gold', '')
    """
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return NO_LABEL
    if isinstance(value, float) and value.is_integer() and abs(value) < 1e15:
        return str(int(value))
    text = str(value).strip()
    head, dot, tail = text.partition(".")
    # Text of a float column that went through CSV or pandas: "1.0".
    return head if dot and tail and not tail.strip("0") and head.lstrip("-").isdigit() else text


def in_order(labels: Sequence[str]) -> list[str]:
    """Labels that are numbers by their size, then others by their letters, and none last.

    Example:
        >>> in_order(["10", "2", "gold", "", "-1"])
        ['-1', '2', '10', 'gold', '']
    """

    def key(label: str) -> tuple[int, float, str]:
        try:
            number = float(label)
        except ValueError:
            return (2 if label == NO_LABEL else 1), 0.0, label
        return (0, number, label) if math.isfinite(number) else (1, 0.0, label)

    return sorted(dict.fromkeys(labels), key=key)


# ------------------------------------------------------------------ two labelings


def count_joined(
    previous: Frame,
    current: Frame,
    keys: tuple[str, str],
    labels: tuple[str, str],
    fetch: Fetch,
    bucket: str | None = None,
) -> Labelings:
    """Join two tables of members by their id and count every pair of labels.

    Args:
        previous: Lazy frame, NaN already null; one row for each member.
        current: Lazy frame; where one engine does not see both, ids and labels come into memory.
        keys: Column with the id in each. Rows without an id are left out.
        labels: Column with the label in each.
        fetch: Runs lazy frames.
        bucket: Current's column with the bucket of each row, or None for independent members.

    Returns:
        The counts. An id that repeats counts several times, which `repeats` tells.

    Raises:
        InputError: When a table has more clusters than `MOST_CLUSTERS`.

    Example:
        >>> a = nw.from_native(pl.LazyFrame({"id": [1, 2, 3], "k": [0.0, 0.0, None]}))
        >>> b = nw.from_native(pl.LazyFrame({"id": [2, 3, 4], "k": ["x", "x", "y"]}))
        >>> run = lambda frames: [f.to_native().collect() for f in frames]
        >>> found = count_joined(a, b, ("id", "id"), ("k", "k"), run)
        >>> found.previous, found.current, found.counts.tolist(), found.alone
        (('0', ''), ('x', 'y'), [[[1, 0], [1, 0]]], (1, 1))
    """
    types = [f.collect_schema()[k] for f, k in zip((previous, current), keys, strict=True)]
    more = [nw.col(bucket).alias("b")] if bucket else []
    left = previous.select(_as_key(keys[0], types).alias("k"), nw.col(labels[0]).alias("p"), nw.lit(1).alias("hp"))
    right = current.select(
        _as_key(keys[1], types).alias("k"), nw.col(labels[1]).alias("c"), nw.lit(1).alias("hc"), *more
    )
    left, right = (f.filter(~nw.col("k").is_null()) for f in (left, right))
    if not sees(left, right):
        left, right = (nw.from_native(fetch([f])[0].lazy()) for f in (left, right))
    group = ["p", "c", "hp", "hc", *(["b"] if bucket else [])]
    both = left.join(right, on="k", how="full")
    (found,) = fetch([both.group_by(*group).agg(nw.len().alias("n"))])
    return _labelings(found, bucket is not None)


def count_beside(frame: Frame, labels: tuple[str, str], fetch: Fetch, bucket: str | None = None) -> Labelings:
    """Count every pair of labels of one table that has a column for each clustering.

    Args:
        frame: Lazy frame, NaN already null; one row for each member.
        labels: Columns with the previous and the current label.
        fetch: Runs lazy frames.
        bucket: Column with the bucket of each row, or None for independent members.

    Example:
        >>> frame = nw.from_native(pl.LazyFrame({"old": [1, 1, 2], "new": [5, 5, 6]}))
        >>> count_beside(frame, ("old", "new"), lambda fs: [f.to_native().collect() for f in fs]).counts.tolist()
        [[[2, 0], [0, 1]]]
    """
    more = [nw.col(bucket).alias("b")] if bucket else []
    chosen = frame.select(nw.col(labels[0]).alias("p"), nw.col(labels[1]).alias("c"), *more)
    (found,) = fetch([chosen.group_by("p", "c", *(["b"] if bucket else [])).agg(nw.len().alias("n"))])
    return _labelings(found.with_columns(hp=pl.lit(1), hc=pl.lit(1)), bucket is not None)


def repeats(found: Labelings, rows: tuple[int, int]) -> bool:
    """Whether an id of a member that both tables have may repeat: more rows came of the join than went in.

    Args:
        found: From `count_joined`.
        rows: Rows with an id of both tables.
    """
    together = int(found.counts.sum())
    return together + found.alone[0] != rows[0] or together + found.alone[1] != rows[1]


def _labelings(found: pl.DataFrame, bucketed: bool) -> Labelings:
    """Counts of raw labels as a table of their texts."""
    sides: list[tuple[str, ...]] = []
    codes: list[Ints] = []
    for name, there in (("p", "hp"), ("c", "hc")):
        raw = found[name].to_list()
        texts = [label_text(v) if h is not None else None for v, h in zip(raw, found[there].to_list(), strict=True)]
        known = in_order([t for t in texts if t is not None])
        if len(known) > MOST_CLUSTERS:
            raise InputError(
                f"The labels of the {WEEKS[len(sides)]} clustering have {len(known):,} different values, such as "
                f"{known[0]!r} and {known[1]!r}, more than {MOST_CLUSTERS:,} clusters; name the column with the labels."
            )
        place = {t: i for i, t in enumerate(known)}
        sides.append(tuple(known))
        codes.append(np.array([-1 if t is None else place[t] for t in texts], dtype=np.int64))
    n = found["n"].cast(pl.Int64).to_numpy()
    where = found["b"].fill_null(0).cast(pl.Int64).to_numpy() if bucketed else np.zeros(len(n), dtype=np.int64)
    shape = (BUCKETS if bucketed else 1, len(sides[0]), len(sides[1]))
    counts = np.zeros(shape, dtype=np.int64)
    both = (codes[0] >= 0) & (codes[1] >= 0)
    np.add.at(counts, (where[both], codes[0][both], codes[1][both]), n[both])
    sizes = []
    for own, names in zip(codes, sides, strict=True):
        size = np.zeros(len(names), dtype=np.int64)
        np.add.at(size, own[own >= 0], n[own >= 0])
        sizes.append(size)
    alone = int(n[codes[1] < 0].sum()), int(n[codes[0] < 0].sum())
    noise = NOISE & {*sides[0], *sides[1]}
    return Labelings(sides[0], sides[1], counts, alone, frozenset(noise), sizes=(sizes[0], sizes[1]))


def _as_key(column: str, types: Sequence[Any]) -> nw.Expr:
    """An id in a type in which equal ones are equal."""
    key = nw.col(column)
    if types[0] == types[1]:
        return key
    if all(t.is_integer() for t in types):
        return key.cast(nw.Int64)
    if all(t.is_numeric() for t in types):
        return key.cast(nw.Float64)
    return key.cast(nw.Datetime("us") if all(t.is_temporal() for t in types) else nw.String)


# ------------------------------------------------------------------ reruns


def count_reruns(rows: pl.DataFrame, key: str, week: str, replicate: str, label: str, drawn: bool) -> RunPairs:
    """One minus the adjusted Rand index of every two cold reruns.

    Args:
        rows: A row for each member and run.
        key: Column with the member's id.
        week: Column with "previous" or "current".
        replicate: Column that numbers the reruns of a week.
        label: Column with the label.
        drawn: Whether the members are a draw.

    Returns:
        The runs and their distances. Members are dealt into buckets by their id. A bucket's sum is that of
        its members' distances, linearised: the members' mean, plus how much each pulls at it.

    Raises:
        InputError: For another week, or a member that repeats within a run.
    """
    weeks = rows[week].cast(pl.String).str.to_lowercase().str.strip_chars()
    odd = rows[week].filter(~weeks.is_in(WEEKS) | weeks.is_null())
    if odd.len():
        raise InputError(
            f"The column {week!r} of the reruns table holds {odd[0]!r}; write 'previous' or 'current' in every row."
        )
    tall = pl.DataFrame(
        {"id": rows[key], "week": weeks, "replicate": [label_text(v) for v in rows[replicate].to_list()]}
    ).with_columns(label=_texts(rows[label]))
    tall = tall.filter(pl.col("id").is_not_null())
    several = tall.group_by("id", "week", "replicate").len().filter(pl.col("len") > 1)
    if several.height:
        first = several.sort("id").row(0)
        raise InputError(
            f"The id {first[0]!r} of the reruns table has {first[3]} rows in replicate {first[2]!r} of the {first[1]} "
            "week; keep one row for each member and rerun."
        )
    distinct = tall.select("week", "replicate").unique()
    runs = [Run(w, r) for w in WEEKS for r in in_order(distinct.filter(pl.col("week") == w)["replicate"].to_list())]
    baseline = sum(r.version == WEEKS[0] for r in runs)
    members = tall["id"].unique().sort()
    place = (
        tall.select("id")
        .join(
            pl.DataFrame({"id": members, "at": np.arange(members.len())}), on="id", how="left", maintain_order="left"
        )["at"]
        .to_numpy()
    )
    number = {(r.version, r.replicate): i for i, r in enumerate(runs)}
    own = np.array([number[p] for p in zip(tall["week"].to_list(), tall["replicate"].to_list(), strict=True)])
    known = in_order(tall["label"].unique().to_list())
    code = tall["label"].replace_strict(known, list(range(len(known))), return_dtype=pl.Int64).to_numpy()
    # -1 is a member that the run lacks; noise in both runs says nothing of clusters.
    codes = np.full((len(runs), members.len()), -1, dtype=np.int64)
    codes[own, place] = code
    noise = np.array([k in NOISE for k in known])
    bucket = _buckets(members)
    return pairs_of(codes, noise, tuple(runs), baseline, bucket, members.len() if drawn else None)


def pairs_of(
    codes: Ints, noise: NDArray[np.bool_], runs: tuple[Run, ...], baseline: int, bucket: Ints, sample: int | None
) -> RunPairs:
    """Distances of every two runs from their labels.

    Args:
        codes: Place of each label, -1 for a member that the run lacks, shape (R, n).
        noise: Which labels mean "in no cluster", shape (K,).
        runs: The runs, shape (R,).
        baseline: How many are the previous week's.
        bucket: Bucket of each member, shape (n,).
        sample: Members drawn, or None.
    """
    first, second = np.triu_indices(len(runs), 1)
    subjects, sums = (np.zeros((len(first), BUCKETS)) for _ in range(2))
    for p, (i, j) in enumerate(zip(first.tolist(), second.tolist(), strict=True)):
        a, b = codes[i], codes[j]
        kept = (a >= 0) & (b >= 0)
        kept &= ~(noise[a] & noise[b])
        each, where = _distances(a[kept], b[kept], len(noise)), bucket[kept]
        subjects[p] = np.bincount(where, minlength=BUCKETS)
        sums[p] = np.bincount(where, each, minlength=BUCKETS)
    return RunPairs(
        runs=runs,
        baseline=baseline,
        pairs=np.stack([first, second], axis=1).astype(np.int64),
        subjects=subjects.astype(np.int64),
        sums={"change": sums},
        sample=sample,
    )


def _distances(a: Ints, b: Ints, labels: int) -> Floats:
    """One minus the adjusted Rand index plus each member's influence on it, shape (n,); their mean is the former."""
    if not len(a):
        return np.zeros(0)
    table = np.bincount(a * labels + b, minlength=labels * labels).reshape(labels, labels)
    out: Floats = (1 - adjusted_rand(table)) - len(a) * adjusted_rand_slope(table)[a, b]
    return out


def _texts(labels: pl.Series) -> pl.Series:
    """Every label as text; each different one is read once."""
    distinct = labels.unique()
    return pl.DataFrame({"v": labels}).join(
        pl.DataFrame({"v": distinct, "t": [label_text(v) for v in distinct.to_list()]}),
        on="v",
        how="left",
        nulls_equal=True,
        maintain_order="left",
    )["t"]


def _buckets(ids: pl.Series) -> Ints:
    if ids.dtype.is_integer():
        x = (ids.cast(pl.Int64) % PRIME).to_numpy()
        return ((x + PRIME) % PRIME * MULTIPLIER % PRIME * BUCKETS // PRIME).astype(np.int64)
    return np.array([bucket_of(str(v)) for v in ids.to_list()], dtype=np.int64)
