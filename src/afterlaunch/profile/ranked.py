"""What the ranked lists of two versions have in common: chunks of lists, compared as arrays of codes."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import narwhals as nw
import numpy as np
import polars as pl

from afterlaunch.finding import Json
from afterlaunch.profile.buckets import BUCKETS
from afterlaunch.profile.compared import Catalogue, Floats, Ints, Mix, Run, RunPairs
from afterlaunch.stats.mixing import miscalibration, total_variation
from afterlaunch.stats.overlap import EMPTY, overlap

Frame = nw.LazyFrame[Any]
CHUNK_ROWS = 4_000_000
"""Rows that are brought into memory at once."""

MOST_CATEGORIES = 60
"""Categories that are told apart, the most frequent ones; the others count as one."""

MOST_SEGMENTS = 20
EXAMPLES = 10
SHOWN = 5
"""Items of a list that an example shows."""

MOVERS = 10
OTHERS = "(others)"
DISTANCES = ("rbo", "jaccard", "overlap")


@dataclass(frozen=True)
class Lists:
    """Where things stand in a frame with a row for each item of each list and run.

    Attributes:
        run: Place of the run in `runs`.
        listed: Which list.
        item: Which item.
        order: By what the items of a list are ordered.
        descending: Whether the largest comes first.
        category: Category of the item, or None.
        bucket: Bucket of dependent lists, or None.
        segment: Segment of the list, or None.
    """

    run: str
    listed: str
    item: str
    order: str
    descending: bool
    category: str | None = None
    bucket: str | None = None
    segment: str | None = None

    @property
    def columns(self) -> list[str]:
        """All columns that are read."""
        some = (self.run, self.listed, self.item, self.order, self.category, self.bucket, self.segment)
        return list(dict.fromkeys(c for c in some if c is not None))


@dataclass(frozen=True)
class Ranked:
    """What was counted of ranked lists.

    Attributes:
        pairs: Distances between lists: "rbo", "jaccard", "overlap", and "mix" where there are categories; scalar
            "calibration" where there is a history.
        segments: The same by segment.
        mixes: Category mix by segment; "" is all.
        catalogue: Items.
        repeats: Rows left out because the list has the item at an earlier place.
    """

    pairs: RunPairs
    segments: Mapping[str, RunPairs]
    mixes: Mapping[str, Mix]
    catalogue: Catalogue
    repeats: int


def count_lists(
    frame: Frame,
    where: Lists,
    runs: Sequence[Run],
    baseline: int,
    *,
    k: int,
    p: float,
    fetch: Callable[[Frame], pl.DataFrame],
    rows: int,
    history: pl.DataFrame | None = None,
    sample: int | None = None,
) -> Ranked:
    """Compare the lists of all pairs of runs.

    Args:
        frame: Lazy frame; rows whose run, list, item or order is missing are left out.
        where: Where things stand in it.
        runs: The runs, those of the baseline first.
        baseline: How many are the baseline's.
        k: Places of a list that count.
        p: Persistence of RBO, see `overlap.overlap`.
        fetch: Brings a frame into memory.
        rows: Rows of the frame, about; more than `CHUNK_ROWS` are brought in parts.
        history: What users chose before: the columns of list and category, and "weight".
        sample: Lists that were drawn, when not all are compared.

    Example:
        >>> frame = nw.from_native(pl.LazyFrame({
        ...     "run": [0, 0, 1, 1], "user": [7] * 4, "item": ["a", "b", "b", "c"], "rank": [1, 2, 1, 2]}))
        >>> where = Lists("run", "user", "item", "rank", descending=False)
        >>> bring = lambda f: f.to_native().collect()
        >>> found = count_lists(frame, where, (Run("x"), Run("y")), 1, k=2, p=0.9, fetch=bring, rows=4)
        >>> found.pairs.sums["jaccard"].round(3).tolist(), found.catalogue.both
        ([[0.667]], 1)
    """
    there = [~nw.col(c).is_null() for c in (where.run, where.listed, where.item, where.order)]
    known = frame.select(*where.columns).filter(*there)
    # Independent lists may be dealt into buckets, which tell how distances of different pairs of runs go together.
    total = _Sums(runs, baseline, clustered=where.bucket is not None or len(runs) > 2, sample=sample)
    categories = _categories(known, where, fetch)
    for part in _chunks(known, where, fetch, rows):
        _add(total, part, where, k, p, categories, history)
    return total.ranked(categories)


def _categories(frame: Frame, where: Lists, fetch: Callable[[Frame], pl.DataFrame]) -> list[str]:
    if where.category is None:
        return []
    counts = fetch(frame.group_by(where.category).agg(nw.len().alias("n")))
    named = counts.drop_nulls().with_columns(pl.col(where.category).cast(pl.String))
    found: list[str] = named.sort(["n", where.category], descending=[True, False])[where.category].to_list()
    return found if len(found) <= MOST_CATEGORIES else [*found[: MOST_CATEGORIES - 1], OTHERS]


def _chunks(frame: Frame, where: Lists, fetch: Callable[[Frame], pl.DataFrame], rows: int) -> Iterator[pl.DataFrame]:
    """Whole lists, in parts of about `CHUNK_ROWS` rows."""
    parts = -(-rows // CHUNK_ROWS)
    if parts <= 1:
        yield fetch(frame)
        return
    lists = fetch(frame.select(where.listed).unique())[where.listed].sort()
    bounds = [lists[int(i)] for i in np.linspace(0, lists.len(), parts + 1)[1:-1]]
    for low, high in zip([None, *bounds], [*bounds, None], strict=True):
        inside = [nw.col(where.listed) >= low] if low is not None else []
        inside += [nw.col(where.listed) < high] if high is not None else []
        yield fetch(frame.filter(*inside))


@dataclass
class _Sums:
    """Sums over chunks."""

    runs: Sequence[Run]
    baseline: int
    clustered: bool
    sample: int | None
    all: dict[str, Any] = field(default_factory=dict)
    by: dict[str, dict[str, Any]] = field(default_factory=dict)
    mixes: dict[str, Floats] = field(default_factory=dict)
    items: list[pl.DataFrame] = field(default_factory=list)
    examples: dict[str, list[tuple[float, Any, list[str]]]] = field(default_factory=dict)
    alone: tuple[int, int] = (0, 0)
    repeats: int = 0

    @property
    def groups(self) -> int:
        # Mixes are always counted in buckets: what lists add to them tells how certain they are.
        return BUCKETS if self.clustered else 1

    @property
    def places(self) -> Ints:
        return np.stack(np.triu_indices(len(self.runs), 1), axis=1).astype(np.int64)

    def add(self, into: dict[str, Any], name: str, values: Floats) -> None:
        into[name] = into[name] + values if name in into else values

    def pairs(self, sums: Mapping[str, Any], *, whole: bool) -> RunPairs:
        names = [n for n in (*DISTANCES, "mix") if n in sums]
        scalars = {"calibration": sums["calibration"]} if "calibration" in sums else {}
        return RunPairs(
            runs=tuple(self.runs),
            baseline=self.baseline,
            pairs=self.places,
            subjects=sums["lists"].astype(np.int64),
            sums={n: sums[n] for n in names},
            squares={n: sums[f"{n}^2"] for n in names},
            scalars=scalars,
            scalar_squares={n: sums[f"{n}^2"] for n in scalars},
            scalar_subjects=sums["calibrated"].astype(np.int64) if scalars else None,
            alone=self.alone if whole else (0, 0),
            sample=self.sample,
            examples=self.tables() if whole else {},
        )

    def tables(self) -> dict[str, Json]:
        first, second = self.runs[0].version, self.runs[self.baseline].version
        return {
            name: {
                "kind": "examples",
                "title": "Lists moved most",
                "columns": ["list", f"{first}, first {SHOWN}", f"{second}, first {SHOWN}", "distance"],
                "rows": [row for _, _, row in found],
            }
            for name, found in self.examples.items()
        }

    def ranked(self, categories: Sequence[str]) -> Ranked:
        empty = np.zeros((len(self.places), self.groups))
        if "lists" not in self.all:
            self.all = {"lists": empty, **{n: empty for d in DISTANCES for n in (d, f"{d}^2")}}
        largest = sorted(self.by, key=lambda s: (-float(self.by[s]["lists"].sum()), s))[:MOST_SEGMENTS]
        return Ranked(
            self.pairs(self.all, whole=True),
            {s: self.pairs(self.by[s], whole=False) for s in largest},
            {
                s: Mix(tuple(self.runs), self.baseline, tuple(categories), counts.astype(np.int64))
                for s, counts in self.mixes.items()
                if s == "" or s in largest
            },
            _catalogue(self.items, self.groups),
            self.repeats,
        )


def _add(
    total: _Sums,
    part: pl.DataFrame,
    where: Lists,
    k: int,
    p: float,
    categories: Sequence[str],
    history: pl.DataFrame | None,
) -> None:
    """Compare the lists of one chunk."""
    if not part.height:
        return
    rows = part.sort(
        [where.listed, where.run, where.order, where.item], descending=[False, False, where.descending, False]
    )
    once = rows.unique([where.listed, where.run, where.item], keep="first", maintain_order=True)
    total.repeats += rows.height - once.height
    once = once.with_columns(place=pl.int_range(pl.len()).over(where.listed, where.run)).filter(pl.col("place") < k)
    lists = once[where.listed].unique(maintain_order=True)
    which = once[where.listed].rle_id().to_numpy().astype(np.int64)
    items = once[where.item].unique(maintain_order=True)
    names = pl.DataFrame({where.item: items, "code": np.arange(items.len())})
    code = once.select(where.item).join(names, on=where.item, how="left", maintain_order="left")["code"].to_numpy()
    run, place = once[where.run].to_numpy().astype(np.int64), once["place"].to_numpy().astype(np.int64)
    size, many = lists.len(), len(total.runs)
    shown = np.full((many, size, k), EMPTY, dtype=np.int32)
    shown[run, which, place] = code
    has = (shown != EMPTY).any(axis=2)
    bucket, segment = _of_lists(once, which, size, where, total.groups)
    mixes = _mixes(once, which, run, size, many, where, categories) if categories else None
    old, new = has[: total.baseline].any(axis=0), has[total.baseline :].any(axis=0)
    total.alone = (total.alone[0] + int((old & ~new).sum()), total.alone[1] + int((new & ~old).sum()))
    parts: list[tuple[dict[str, Any], Any]] = [(total.all, slice(None))]
    if segment is not None:
        for name in segment.drop_nulls().unique():
            parts.append((total.by.setdefault(str(name), {}), (segment == name).fill_null(value=False).to_numpy()))
    found: dict[str, list[Floats]] = {}
    for place_of, (i, j) in enumerate(total.places):
        both = has[i] & has[j]
        agree = overlap(shown[i], shown[j], p)
        apart = {"rbo": 1 - agree.rbo, "jaccard": 1 - agree.jaccard, "overlap": 1 - agree.overlap}
        if mixes is not None:
            apart["mix"] = total_variation(mixes[i], mixes[j])
        if place_of == total.baseline - 1:
            _examples(total, apart, both, shown[i], shown[j], lists, items)
        for name, values in apart.items():
            found.setdefault(name, []).append(np.where(both, values, 0.0))
        found.setdefault("lists", []).append(both.astype(np.float64))
    if mixes is not None and history is not None:
        found["calibration"], found["calibrated"] = _calibration(mixes, lists, where, categories, history, has)
    for into, chosen in parts:
        for name, each in found.items():
            squared = name not in {"lists", "calibrated"}
            total.add(into, name, _by_bucket(each, bucket, chosen, total.groups))
            if squared:
                total.add(into, f"{name}^2", _by_bucket([v * v for v in each], bucket, chosen, total.groups))
    _add_mixes(total, mixes, bucket if total.clustered else np.arange(size) % BUCKETS, segment)
    version = (once[where.run] >= total.baseline).cast(pl.Int8)
    places = pl.DataFrame({"item": once[where.item].cast(pl.String), "new": version, "bucket": bucket[which]})
    total.items.append(places.group_by("item", "new", "bucket").len())
    if len(total.items) > 4:
        total.items = [pl.concat(total.items).group_by("item", "new", "bucket").agg(pl.col("len").sum())]


def _by_bucket(each: Sequence[Floats], bucket: Ints, chosen: Any, groups: int) -> Floats:
    return np.stack([np.bincount(bucket[chosen], v[chosen], minlength=groups) for v in each])


def _of_lists(once: pl.DataFrame, which: Ints, size: int, where: Lists, groups: int) -> tuple[Ints, pl.Series | None]:
    """Bucket and segment of every list: those of its first row."""
    first = np.searchsorted(which, np.arange(size))
    bucket = np.arange(size, dtype=np.int64) % groups
    if where.bucket is not None:
        bucket = once[where.bucket].gather(first).fill_null(0).to_numpy().astype(np.int64)
    return bucket, once[where.segment].gather(first).cast(pl.String) if where.segment is not None else None


def _mixes(
    once: pl.DataFrame, which: Ints, run: Ints, size: int, many: int, where: Lists, categories: Sequence[str]
) -> Floats:
    """Places of each category by run and list, shape (R, U, C)."""
    places = {name: i for i, name in enumerate(categories)}
    other = places.get(OTHERS, -1)
    code = once[str(where.category)].cast(pl.String).replace_strict(places, default=other, return_dtype=pl.Int64)
    codes = code.fill_null(-1).to_numpy()
    known = codes >= 0
    flat = (run[known] * size + which[known]) * len(categories) + codes[known]
    counts = np.bincount(flat, minlength=many * size * len(categories))
    return counts.reshape(many, size, len(categories)).astype(np.float64)


def _calibration(
    mixes: Floats, lists: pl.Series, where: Lists, categories: Sequence[str], history: pl.DataFrame, has: Any
) -> tuple[list[Floats], list[Floats]]:
    """Steck's divergence of every run's lists from the history, 0 where unknown, and where it is known."""
    name, category = where.listed, str(where.category)
    rows = pl.DataFrame({name: lists, "place": np.arange(lists.len())})
    if history.schema[name] != rows.schema[name]:
        history, rows = (t.with_columns(pl.col(name).cast(pl.String)) for t in (history, rows))
    mine = history.join(rows, on=name, how="inner")
    code = (
        mine[category]
        .cast(pl.String)
        .replace_strict({c: i for i, c in enumerate(categories)}, default=len(categories), return_dtype=pl.Int64)
    )
    liked = np.zeros((lists.len(), len(categories) + 1))
    np.add.at(liked, (mine["place"].to_numpy(), code.to_numpy()), mine["weight"].cast(pl.Float64).to_numpy())
    values, known = [], []
    # A list is judged where all runs have one, so that runs are not told apart by their lists.
    every = has.all(axis=0)
    for mix in mixes:
        found = miscalibration(liked, np.concatenate([mix, np.zeros((len(mix), 1))], axis=1))
        # A history of mostly other categories than any list has says nothing of these lists.
        there = every & np.isfinite(found) & (2 * liked[:, -1] <= liked.sum(axis=1))
        values.append(np.where(there, found, 0.0))
        known.append(there.astype(np.float64))
    return values, known


def _add_mixes(total: _Sums, mixes: Floats | None, bucket: Ints, segment: pl.Series | None) -> None:
    if mixes is None:
        return
    shape = (len(total.runs), BUCKETS, mixes.shape[2])
    names: list[tuple[str, Any]] = [("", np.ones(mixes.shape[1], dtype=bool))]
    if segment is not None:
        names += [(str(s), (segment == s).fill_null(value=False).to_numpy()) for s in segment.drop_nulls().unique()]
    for name, mine in names:
        counts = np.zeros(shape)
        for run in range(shape[0]):
            np.add.at(counts[run], bucket[mine], mixes[run][mine])
        total.mixes[name] = total.mixes[name] + counts if name in total.mixes else counts


def _examples(
    total: _Sums, apart: Mapping[str, Floats], both: Any, old: Any, new: Any, lists: pl.Series, items: pl.Series
) -> None:
    for name in ("rbo", "mix"):
        if name not in apart:
            continue
        values = np.where(both, apart[name], -1.0)
        for u in np.argsort(-values, kind="stable")[:EXAMPLES]:
            if values[u] <= 0:
                break
            words = [", ".join(str(items[int(c)]) for c in side[u][:SHOWN] if c != EMPTY) for side in (old, new)]
            row = [str(lists[int(u)]), *words, f"{values[u]:.2f}"]
            total.examples.setdefault(name, []).append((float(values[u]), lists[int(u)], row))
        kept = sorted(total.examples.get(name, []), key=lambda f: (-f[0], f[1]))
        total.examples[name] = kept[:EXAMPLES]


def _catalogue(parts: Sequence[pl.DataFrame], groups: int) -> Catalogue:
    zero = np.zeros(groups, dtype=np.int64)
    if not parts:
        return Catalogue(0, 0, 0, zero, zero, zero, zero)
    counts = pl.concat(parts).group_by("item", "new", "bucket").agg(pl.col("len").sum())
    by = counts.group_by("item").agg(
        pl.col("len").filter(pl.col("new") == 0).sum().alias("old"),
        pl.col("len").filter(pl.col("new") == 1).sum().alias("now"),
    )
    joined = counts.join(by, on="item")

    def slots(rows: pl.DataFrame) -> Ints:
        return np.bincount(rows["bucket"].to_numpy(), rows["len"].to_numpy(), minlength=groups).astype(np.int64)

    old, now = joined.filter(pl.col("new") == 0), joined.filter(pl.col("new") == 1)
    before, after = max(int(by["old"].sum()), 1), max(int(by["now"].sum()), 1)
    change = by.with_columns(gain=pl.col("now") / after - pl.col("old") / before)

    def movers(rows: pl.DataFrame) -> tuple[tuple[str, float, float], ...]:
        return tuple((r["item"], r["old"] / before, r["now"] / after) for r in rows.head(MOVERS).to_dicts())

    return Catalogue(
        baseline=by.filter(pl.col("old") > 0).height,
        candidate=by.filter(pl.col("now") > 0).height,
        both=by.filter((pl.col("old") > 0) & (pl.col("now") > 0)).height,
        new_slots=slots(now.filter(pl.col("old") == 0)),
        slots=slots(now),
        vanished_slots=slots(old.filter(pl.col("now") == 0)),
        old_slots=slots(old),
        gained=movers(change.filter(pl.col("gain") > 0).sort(["gain", "item"], descending=[True, False])),
        lost=movers(change.filter(pl.col("gain") < 0).sort(["gain", "item"])),
    )
