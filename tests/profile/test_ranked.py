"""Lists of two versions: the same numbers on every engine, in parts as in one, and as by hand."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import narwhals as nw
import numpy as np
import polars as pl
import pytest

from afterlaunch.profile import ranked
from afterlaunch.profile.compared import Run
from afterlaunch.profile.ranked import Lists, Ranked, count_lists
from afterlaunch.tables import fetch, open_table
from tests.frames import ENGINES, handed_in

RUNS = (Run("old"), Run("new"))
WHERE = Lists("run", "user", "item", "rank", descending=False, category="genre", segment="land")
GENRES = ("action", "comedy", "drama")


def lists(users: int = 60, seed: int = 0) -> pl.DataFrame:
    rng = np.random.default_rng(seed)
    rows = []
    for run in (0, 1):
        for user in range(users):
            if (user, run) in {(3, 0), (4, 1), (5, 1)}:
                continue
            many = int(rng.integers(1, 9))
            for rank, item in enumerate(rng.permutation(20)[:many]):
                land = "DE" if user % 3 else "FR"
                rows.append((run, user, f"item {item}", rank + 1, GENRES[item % 3], land, user % 64))
    names = ["run", "user", "item", "rank", "genre", "land", "bucket"]
    return pl.DataFrame(rows, schema=names, orient="row").sample(fraction=1, shuffle=True, seed=1)


def bring(frame: Any) -> pl.DataFrame:
    found: pl.DataFrame = frame.to_native().collect()
    return found


def counted(frame: pl.DataFrame, where: Lists = WHERE, **more: Any) -> Ranked:
    given = {"k": 5, "p": 0.9, "fetch": bring, "rows": frame.height, **more}
    return count_lists(nw.from_native(frame.lazy()), where, RUNS, 1, **given)


def taken(frame: pl.DataFrame, run: int, user: int, k: int = 5) -> list[str]:
    mine = frame.filter((pl.col("run") == run) & (pl.col("user") == user)).sort("rank")
    return mine["item"].to_list()[:k]


def test_sums_are_those_by_hand() -> None:
    frame = lists()
    found = counted(frame)
    jaccard, mix, both = 0.0, 0.0, 0
    genre = dict(frame.select("item", "genre").unique().iter_rows())
    for user in range(60):
        a, b = (taken(frame, run, user) for run in (0, 1))
        if a and b:
            both += 1
            jaccard += 1 - len(set(a) & set(b)) / len(set(a) | set(b))
            shares = [Counter(genre[i] for i in side) for side in (a, b)]
            mix += sum(abs(shares[0][g] / len(a) - shares[1][g] / len(b)) for g in GENRES) / 2
    assert found.pairs.subjects.tolist() == [[both]]
    assert found.pairs.sums["jaccard"][0, 0] == pytest.approx(jaccard)
    assert found.pairs.sums["mix"][0, 0] == pytest.approx(mix)
    assert found.pairs.alone == (2, 1)
    assert found.mixes[""].categories == tuple(sorted(GENRES, key=lambda g: (-(frame["genre"] == g).sum(), g)))
    places = [sum(len(taken(frame, run, u)) for u in range(60)) for run in (0, 1)]
    assert found.mixes[""].counts.sum(axis=(1, 2)).tolist() == places
    assert sum(p.total for p in found.segments.values()) == both
    assert found.mixes["DE"].counts.sum() + found.mixes["FR"].counts.sum() == sum(places)


def same(one: Ranked, other: Ranked) -> None:
    assert one.pairs.subjects.tolist() == other.pairs.subjects.tolist()
    for name, values in one.pairs.sums.items():
        assert other.pairs.sums[name] == pytest.approx(values), name
    assert one.pairs.examples == other.pairs.examples
    assert one.mixes[""].counts.sum(axis=1).tolist() == other.mixes[""].counts.sum(axis=1).tolist()
    assert one.catalogue.gained == other.catalogue.gained
    assert one.catalogue.new_slots.sum() == other.catalogue.new_slots.sum()
    assert one.repeats == other.repeats


@pytest.mark.parametrize("engine", ENGINES)
def test_every_engine_counts_alike(engine: str, tmp_path: Path) -> None:
    frame = lists()
    with handed_in(engine, tmp_path, panel=frame) as tables:
        table = open_table(tables["panel"], name="panel")
        found = count_lists(table.frame, WHERE, RUNS, 1, k=5, p=0.9, fetch=lambda f: fetch(f, table), rows=frame.height)
    same(found, counted(frame))


def test_lists_in_parts_are_counted_as_in_one(monkeypatch: pytest.MonkeyPatch) -> None:
    frame = lists(200)
    whole = counted(frame)
    monkeypatch.setattr(ranked, "CHUNK_ROWS", 100)
    same(whole, counted(frame))
    text = frame.with_columns(pl.col("user").cast(pl.String))
    assert counted(text).pairs.sums["rbo"] == pytest.approx(whole.pairs.sums["rbo"])


def test_places_may_begin_anywhere_and_scores_order_the_other_way() -> None:
    frame = lists()
    other = frame.with_columns(rank=pl.col("rank") * 7 - 100)
    same(counted(frame), counted(other))
    score = Lists("run", "user", "item", "score", descending=True, category="genre", segment="land")
    same(counted(frame), counted(frame.with_columns(score=1.0 / pl.col("rank")), score))


def test_repeats_ties_and_holes() -> None:
    frame = lists()
    again = frame.filter(pl.col("rank") == 1).with_columns(rank=pl.lit(99, dtype=pl.Int64))
    found = counted(pl.concat([frame, again]))
    assert found.repeats == again.height
    assert found.pairs.sums["rbo"] == pytest.approx(counted(frame).pairs.sums["rbo"])
    holes = frame.with_columns(pl.when(pl.col("rank") == 2).then(None).otherwise(pl.col("item")).alias("item"))
    assert counted(holes).pairs.total <= counted(frame).pairs.total
    tied = counted(frame.with_columns(rank=pl.lit(1)))
    assert tied.pairs.sums["rbo"] == pytest.approx(
        counted(frame.with_columns(rank=pl.lit(1)).reverse()).pairs.sums["rbo"]
    )


def test_units_have_buckets() -> None:
    frame = lists()
    found = counted(frame, Lists("run", "user", "item", "rank", descending=False, bucket="bucket"))
    assert found.pairs.subjects.shape == (1, 64)
    assert found.pairs.sums["rbo"].sum() == pytest.approx(counted(frame).pairs.sums["rbo"].sum())


def test_all_pairs_of_runs_are_compared() -> None:
    frame = lists()
    third = frame.filter(pl.col("run") == 1).with_columns(run=pl.lit(2, dtype=pl.Int64))
    runs = (Run("old"), Run("new", "1"), Run("new", "2"))
    rows = nw.from_native(pl.concat([frame, third]).lazy())
    found = count_lists(rows, WHERE, runs, 1, k=5, p=0.9, fetch=bring, rows=1).pairs
    assert found.pairs.tolist() == [[0, 1], [0, 2], [1, 2]]
    sums = found.sums["rbo"].sum(axis=1)
    assert sums[0] == pytest.approx(sums[1])
    assert sums[2] == pytest.approx(0)


def test_histories_are_held_against_lists() -> None:
    frame = lists()
    history = frame.filter(pl.col("run") == 0).group_by("user", "genre").agg(pl.len().alias("weight"))
    found = counted(frame, k=20, history=history).pairs
    values = found.scalars["calibration"].sum(axis=1)
    assert values[0] == pytest.approx(0, abs=1e-9)
    assert values[1] > 1
    assert found.scalar_subjects is not None
    assert found.scalar_subjects.sum(axis=1).tolist() == [found.total, found.total]


def test_no_lists_are_no_error() -> None:
    found = counted(lists().head(0))
    assert found.pairs.total == 0
    assert found.catalogue.candidate == 0


def test_many_categories_are_put_together() -> None:
    frame = lists().with_columns(genre=pl.col("item"))
    wide = pl.concat([frame, frame.with_columns(genre=pl.concat_str("item", pl.lit("x"), "user"), item=pl.lit("odd"))])
    found = counted(wide)
    assert len(found.mixes[""].categories) == ranked.MOST_CATEGORIES
    assert found.mixes[""].categories[-1] == ranked.OTHERS
