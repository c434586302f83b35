"""Two labelings counted by the engine that holds them, reruns, and labels by centroids."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import polars as pl
import pytest
from sklearn.metrics import adjusted_rand_score

from afterlaunch.decide import InputError
from afterlaunch.profile.buckets import BUCKETS, bucket_of, with_bucket
from afterlaunch.profile.centroids import by_centroids, nearest
from afterlaunch.profile.compared import Labelings
from afterlaunch.profile.labels import (
    MOST_CLUSTERS,
    count_beside,
    count_joined,
    count_reruns,
    in_order,
    label_text,
    repeats,
)
from afterlaunch.tables import Table, fetch_all, open_table
from tests.frames import ENGINES, handed_in


def fetch_of(*args: Any) -> list[pl.DataFrame]:
    *tables, frames = args
    return fetch_all(frames, *tables)


def joined(a: Any, b: Any, bucket: bool = False) -> Labelings:
    old, new = open_table(a, name="previous"), open_table(b, name="current")
    name = None
    if bucket:
        name = "bucket_"
        new = new.with_frame(with_bucket(new.frame, "user", name=name, integer=True))
    return count_joined(old.frame, new.frame, ("id", "id"), ("k", "k"), partial(fetch_of, old, new), name)


def weeks(seed: int = 0) -> tuple[pl.DataFrame, pl.DataFrame]:
    rng = np.random.default_rng(seed)
    ids = rng.permutation(600)
    k = rng.integers(4, size=600)
    before = pl.DataFrame({"id": ids[:550], "k": k[:550], "user": ids[:550] // 3})
    moved = np.where(rng.random(600) < 0.2, rng.integers(5, size=600), k)
    now = pl.DataFrame({"id": ids[40:], "k": moved[40:], "user": ids[40:] // 3}).sample(
        fraction=1, shuffle=True, seed=1
    )
    return before, now


def by_hand(before: pl.DataFrame, now: pl.DataFrame) -> dict[tuple[str, str], int]:
    both = before.join(now, on="id", suffix="_now")
    pairs = zip(both["k"].to_list(), both["k_now"].to_list(), strict=True)
    out: dict[tuple[str, str], int] = {}
    for a, b in pairs:
        key = label_text(a), label_text(b)
        out[key] = out.get(key, 0) + 1
    return out


def told(found: Labelings) -> dict[tuple[str, str], int]:
    whole = found.counts.sum(axis=0)
    cells = np.argwhere(whole > 0).tolist()
    return {(found.previous[i], found.current[j]): int(whole[i, j]) for i, j in cells}


# ------------------------------------------------------------------ two labelings


@pytest.mark.parametrize("engine", ENGINES)
def test_every_engine_counts_the_same(engine: str, tmp_path: Path) -> None:
    before, now = weeks()
    before = before.with_columns(k=pl.when(pl.col("k") == 3).then(None).otherwise(pl.col("k")).cast(pl.Float64))
    now = now.with_columns(k=pl.when(pl.col("k") == 4).then(-1).otherwise(pl.col("k")))
    with handed_in(engine, tmp_path, a=before, b=now) as tables:
        plain, grouped = joined(tables["a"], tables["b"]), joined(tables["a"], tables["b"], bucket=True)
    assert plain.previous == ("0", "1", "2", "")
    assert plain.current == ("-1", "0", "1", "2", "3")
    assert plain.noise == {"", "-1"}
    assert plain.alone == (40, 50)
    assert told(plain) == by_hand(before, now) == told(grouped)
    assert plain.counts.shape == (1, 4, 5)
    assert grouped.counts.shape == (BUCKETS, 4, 5)
    both = before.join(now, on="id")
    wanted = np.bincount([bucket_of(u) for u in both["user"].to_list()], minlength=BUCKETS)
    assert grouped.counts.sum(axis=(1, 2)).tolist() == wanted.tolist()
    assert plain.sizes is not None
    assert [int(s.sum()) for s in plain.sizes] == [550, 560]


def test_tables_of_two_engines_and_of_two_connections_come_together(tmp_path: Path) -> None:
    before, now = weeks()
    before.write_parquet(tmp_path / "a.parquet")
    now.write_parquet(tmp_path / "b.parquet")
    wanted = by_hand(before, now)
    with duckdb.connect() as one, duckdb.connect() as two:
        a, b = one.read_parquet(str(tmp_path / "a.parquet")), two.read_parquet(str(tmp_path / "b.parquet"))
        assert told(joined(a, b)) == told(joined(a, now)) == told(joined(before, b)) == wanted


@pytest.mark.parametrize("types", [(pl.Int64, pl.String), (pl.Float64, pl.Int32), (pl.String, pl.Float64)])
def test_labels_are_the_same_whatever_their_type(types: tuple[Any, Any]) -> None:
    before, now = weeks()
    cast = before.with_columns(pl.col("k").cast(types[0])), now.with_columns(pl.col("k").cast(types[1]))
    assert told(joined(*cast)) == by_hand(before, now)


@pytest.mark.parametrize("types", [(pl.Int64, pl.String), (pl.Float64, pl.Int64), (pl.UInt16, pl.Int64)])
def test_ids_are_the_same_whatever_their_type(types: tuple[Any, Any]) -> None:
    before, now = weeks()
    cast = before.with_columns(pl.col("id").cast(types[0])), now.with_columns(pl.col("id").cast(types[1]))
    assert told(joined(*cast)) == by_hand(before, now)


def test_rows_without_an_id_are_left_out_and_repeats_are_told() -> None:
    before = pl.DataFrame({"id": [1, 2, None, 3], "k": ["a", "a", "b", "b"]})
    now = pl.DataFrame({"id": [1, 2, 3, None], "k": ["x", "x", "y", "y"]})
    found = joined(before, now)
    assert found.counts.sum() == 3
    assert found.alone == (0, 0)
    assert not repeats(found, (3, 3))
    again = joined(pl.concat([before, before.head(1)]), now)
    assert repeats(again, (4, 3))
    assert repeats(joined(before, pl.concat([now, now.head(1)])), (3, 4))


def test_a_table_with_both_labels_gives_what_two_give() -> None:
    before, now = weeks()
    both = before.join(now, on="id", suffix="_now")
    table = open_table(both, name="previous")
    found = count_beside(table.frame, ("k", "k_now"), partial(fetch_of, table))
    assert told(found) == by_hand(before, now)
    assert found.alone == (0, 0)


def test_a_column_of_ids_is_no_labels() -> None:
    many = pl.DataFrame({"id": range(MOST_CLUSTERS + 1), "k": range(MOST_CLUSTERS + 1)})
    with pytest.raises(InputError, match="1,001 different values"):
        joined(many, many)


def test_empty_tables_have_no_labels() -> None:
    none = pl.DataFrame({"id": [], "k": []}, schema={"id": pl.Int64, "k": pl.Int64})
    found = joined(none, none)
    assert found.counts.shape == (1, 0, 0)
    assert found.alone == (0, 0)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        *[(1, "1"), (1.0, "1"), ("1", "1"), ("1.0", "1"), ("-1.00", "-1"), (1.5, "1.5"), ("1.5", "1.5")],
        *[("v1.0", "v1.0"), (float("nan"), ""), (None, ""), (" a ", "a"), (float("inf"), "inf"), ("1.", "1.")],
    ],
)
def test_labels_as_text(value: Any, text: str) -> None:
    assert label_text(value) == text


def test_labels_are_ordered_as_a_person_would() -> None:
    assert in_order(["b", "10", "9", "", "a", "-1", "nan", "9"]) == ["-1", "9", "10", "a", "b", "nan", ""]


# ------------------------------------------------------------------ reruns


def runs(members: int = 300, each: int = 3, text: bool = False) -> pl.DataFrame:
    rng = np.random.default_rng(0)
    frames = []
    for week, shift in (("previous", 0), ("current", 1)):
        base = (np.arange(members) + shift * (np.arange(members) % 7 == 0)) % 4
        for r in range(each):
            label = np.where(rng.random(members) < 0.1, rng.integers(4, size=members), base)
            frames.append(pl.DataFrame({"id": np.arange(members), "week": week, "replicate": r, "k": label}))
    out = pl.concat(frames)
    return out.with_columns(pl.format("m{}", "id").alias("id")) if text else out


@pytest.mark.parametrize("text", [False, True])
def test_the_distances_of_reruns_are_those_of_scikit_learn(text: bool) -> None:
    rows = runs(text=text)
    found = count_reruns(rows.sample(fraction=1, shuffle=True, seed=3), "id", "week", "replicate", "k", False)
    assert [(r.version, r.replicate) for r in found.runs] == [
        (w, str(r)) for w in ("previous", "current") for r in range(3)
    ]
    assert found.baseline == 3
    assert found.pairs.shape == (15, 2)
    labels = [
        rows.filter((pl.col("week") == r.version) & (pl.col("replicate") == int(r.replicate)))["k"] for r in found.runs
    ]
    for p, (i, j) in enumerate(found.pairs.tolist()):
        mean = found.sums["change"][p].sum() / found.subjects[p].sum()
        assert mean == pytest.approx(1 - adjusted_rand_score(labels[i], labels[j]))
    assert (found.subjects.sum(axis=1) == 300).all()
    ids = rows["id"].unique().to_list()
    assert found.subjects[0].tolist() == np.bincount([bucket_of(i) for i in ids], minlength=BUCKETS).tolist()


def test_without_a_bucket_the_distance_is_nearly_what_its_sums_say() -> None:
    rows = runs(members=4000, each=2)
    found = count_reruns(rows, "id", "week", "replicate", "k", False)
    labels = [
        rows.filter((pl.col("week") == r.version) & (pl.col("replicate") == int(r.replicate)))["k"].to_numpy()
        for r in found.runs
    ]
    bucket = np.array([bucket_of(i) for i in range(4000)])
    i, j = found.pairs[1].tolist()
    for b in (0, 17, 63):
        kept = bucket != b
        exact = 1 - adjusted_rand_score(labels[i][kept], labels[j][kept])
        said = found.sums["change"][1][np.arange(64) != b].sum() / found.subjects[1][np.arange(64) != b].sum()
        assert said == pytest.approx(exact, abs=3e-4)


def test_members_that_a_run_lacks_and_noise_in_both_are_left_out_of_a_pair() -> None:
    rows = runs(each=1).with_columns(k=pl.when(pl.col("id") < 50).then(-1).otherwise(pl.col("k")))
    rows = rows.filter((pl.col("week") == "previous") | (pl.col("id") >= 60))
    found = count_reruns(rows, "id", "week", "replicate", "k", True)
    assert found.subjects.sum() == 240
    assert found.sample == 300
    first, second = (rows.filter((pl.col("week") == w) & (pl.col("id") >= 60))["k"] for w in ("previous", "current"))
    assert found.sums["change"].sum() / 240 == pytest.approx(1 - adjusted_rand_score(first, second))


def test_reruns_that_make_no_sense_are_refused() -> None:
    rows = runs()
    with pytest.raises(InputError, match="holds 'W46'; write 'previous' or 'current'"):
        count_reruns(rows.with_columns(week=pl.lit("W46")), "id", "week", "replicate", "k", False)
    with pytest.raises(InputError, match="The id 0 of the reruns table has 2 rows in replicate '0' of the "):
        count_reruns(pl.concat([rows, rows.head(1)]), "id", "week", "replicate", "k", False)


# ------------------------------------------------------------------ centroids


def blobs(centres: np.ndarray, each: int, seed: int) -> tuple[np.ndarray, list[str]]:
    rng = np.random.default_rng(seed)
    own = np.repeat(np.arange(len(centres)), each)
    return centres[own] + rng.normal(0, 1, (len(own), centres.shape[1])), [str(k) for k in own]


def test_other_members_of_the_same_clusters_are_put_to_the_same_clusters() -> None:
    centres = np.array([[0, 0, 0], [8, 0, 1], [0, 9, 2], [7, 7, 0]], dtype=float)
    found = by_centroids(blobs(centres, 100, 1), blobs(centres[[2, 0, 3, 1]], 100, 2))
    whole = found.counts[0]
    assert {(int(i), int(whole[i].argmax())) for i in range(4)} == {(2, 0), (0, 1), (3, 2), (1, 3)}
    assert whole.max(axis=1).sum() > 395
    assert found.recovered is not None
    assert found.recovered > 0.98
    # The unit of a feature is of no account, nor is one that is the same everywhere or missing.
    unit = np.array([1e-6, 1.0, 1e5])
    (x, a), (y, b) = blobs(centres, 100, 1), blobs(centres[[2, 0, 3, 1]], 100, 2)
    odd = [np.column_stack([v * unit, np.ones(len(v)), np.full(len(v), np.nan)]) for v in (x, y)]
    assert by_centroids((odd[0], a), (odd[1], b)).counts.tolist() == found.counts.tolist()


def test_nothing_changes_where_no_centroid_does_whatever_the_shape() -> None:
    rng = np.random.default_rng(0)
    x = rng.normal(size=(500, 2))
    labels = ["a" if v > 0.3 * w * w else "b" for v, w in x]
    found = by_centroids((x, labels), (x, labels))
    assert np.count_nonzero(found.counts[0]) == 2
    assert found.recovered is not None
    assert found.recovered < 1


def test_noise_has_no_centroid_and_noise_alone_no_clusters() -> None:
    x = np.array([[0.0], [0.1], [9.0], [9.1], [500.0]])
    found = by_centroids((x, ["a", "a", "b", "b", "-1"]), (x, ["1", "1", "2", "2", ""]))
    assert (found.previous, found.current, found.counts.sum()) == (("a", "b"), ("1", "2"), 4)
    none = by_centroids((x, ["-1"] * 5), (x, ["1", "1", "2", "2", ""]))
    assert none.noise >= set(none.previous)
    assert none.counts.sum() == 5


def test_the_nearest_of_many_rows_is_found_in_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(0)
    x, c = rng.normal(size=(100, 3)), rng.normal(size=(7, 3))
    wanted = ((x[:, None] - c[None]) ** 2).sum(axis=2).argmin(axis=1)
    monkeypatch.setattr("afterlaunch.profile.centroids._AT_ONCE", 50)
    assert nearest(x, c).tolist() == wanted.tolist()


def test_a_table_is_left_as_it_was() -> None:
    before, now = weeks()
    copies = before.clone(), now.clone()
    joined(before, now)
    assert before.equals(copies[0])
    assert now.equals(copies[1])
    assert isinstance(open_table(before, name="previous"), Table)
