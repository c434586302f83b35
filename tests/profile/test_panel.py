"""Comparing rows of two versions: exact laws, the same numbers on every engine, and by hand."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import narwhals as nw
import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from afterlaunch.profile.compared import Run, RunPairs
from afterlaunch.profile.panel import Columns, count_two, drawn
from afterlaunch.profile.panel_sample import count_sampled
from afterlaunch.tables import fetch, open_table
from tests.frames import ENGINES, handed_in

RUNS = (Run("a"), Run("b"))


def counted(frame: pl.DataFrame, columns: Columns) -> RunPairs:
    return count_two(nw.from_native(frame.lazy()), columns, RUNS, lambda f: f.to_native().collect()).pairs


def total(pairs: RunPairs, name: str) -> float:
    return float(pairs.sums[name].sum())


LABELS = st.sampled_from(["x", "y", "z"])


@given(st.lists(st.tuples(LABELS, LABELS, LABELS), min_size=1, max_size=40))
def test_accuracy_cannot_change_more_than_predictions(rows: Sequence[tuple[str, str, str]]) -> None:
    """|accuracy of b - accuracy of a| <= churn <= errors of a + errors of b."""
    pairs = counted(pl.DataFrame(rows, schema=["a", "b", "y"], orient="row"), Columns(("a", "b"), (), outcome="y"))
    churn, wins, losses, neutral = (total(pairs, n) for n in ("churn", "wins", "losses", "neutral"))
    right = pairs.scalars["correct"].sum(axis=1)
    assert right[1] - right[0] == wins - losses
    assert abs(wins - losses) <= churn
    assert churn == wins + losses + neutral
    assert churn <= 2 * len(rows) - right.sum()


@given(st.lists(st.tuples(LABELS, LABELS, LABELS), min_size=1, max_size=40), st.permutations(["x", "y", "z"]))
def test_names_of_classes_do_not_matter(rows: Sequence[tuple[str, str, str]], names: Sequence[str]) -> None:
    frame = pl.DataFrame(rows, schema=["a", "b", "y"], orient="row")
    renamed = frame.with_columns(pl.all().replace(dict(zip("xyz", names, strict=True))))
    columns = Columns(("a", "b"), (), outcome="y")
    one, other = counted(frame, columns), counted(renamed, columns)
    assert {n: total(one, n) for n in one.sums} == {n: total(other, n) for n in other.sums}


def test_the_same_run_twice_has_no_churn() -> None:
    rng = np.random.default_rng(0)
    score = rng.random(500)
    frame = pl.DataFrame({"a": score, "b": score})
    pairs = counted(frame, Columns((), ("a", "b"), threshold=0.5))
    assert total(pairs, "churn") == total(pairs, "shift") == 0
    sampled = count_sampled(frame, Columns((), ("a", "b"), threshold=0.5), RUNS, 1, total=500)
    assert sampled.orders is not None
    assert total(sampled.orders, "disorder") == 0


def log(rows: int = 400) -> pl.DataFrame:
    rng = np.random.default_rng(1)
    a = rng.random(rows)
    b = np.clip(a + rng.normal(0, 0.1, rows), 0, 1)
    b[::17] = np.nan
    return pl.DataFrame(
        {
            "a": a,
            "b": pl.Series(b).fill_nan(None),
            "y": (rng.random(rows) < a).astype(int),
            "bucket": rng.integers(0, 64, rows),
            "land": rng.choice(["DE", "FR", "IT"], rows),
        }
    )


COLUMNS = Columns((), ("a", "b"), outcome="y", bucket="bucket", segment="land", threshold=0.5, positive="1")


@pytest.mark.parametrize("engine", ENGINES)
def test_every_engine_counts_alike_and_as_by_hand(engine: str, tmp_path: Path) -> None:
    frame = log()
    with handed_in(engine, tmp_path, panel=frame) as tables:
        table = open_table(tables["panel"], name="panel")
        found = count_two(table.frame, COLUMNS, RUNS, lambda f: fetch(f, table))
    both = frame.drop_nulls()
    a, b, y = (both[c].to_numpy() for c in ("a", "b", "y"))
    said = (a >= 0.5).astype(int), (b >= 0.5).astype(int)
    by_hand = {
        "churn": (said[0] != said[1]).sum(),
        "wins": ((said[0] != y) & (said[1] == y)).sum(),
        "losses": ((said[0] == y) & (said[1] != y)).sum(),
        "neutral": 0,
        "judged": len(y),
        "scored": len(y),
    }
    assert {n: total(found.pairs, n) for n in by_hand} == by_hand
    assert total(found.pairs, "shift") == pytest.approx((b - a).sum())
    assert found.pairs.scalars["brier"].sum(axis=1) == pytest.approx([((a - y) ** 2).sum(), ((b - y) ** 2).sum()])
    assert found.pairs.alone == (frame.height - both.height, 0)
    per_bucket = np.bincount(both["bucket"].to_numpy(), minlength=64)
    assert found.pairs.subjects[0].tolist() == per_bucket.tolist()
    assert {s: p.total for s, p in found.segments.items()} == {
        row["land"]: row["len"] for row in both.group_by("land").len().to_dicts()
    }


def same(one: RunPairs, other: RunPairs) -> None:
    assert one.subjects.tolist() == other.subjects.tolist()
    for name in one.sums:
        assert one.sums[name] == pytest.approx(other.sums[name]), name
    for name in other.scalars:
        assert one.scalars[name] == pytest.approx(other.scalars[name]), name
        assert one.scalar_squares[name] == pytest.approx(other.scalar_squares[name]), name


@pytest.mark.parametrize(
    "columns",
    [
        COLUMNS,
        Columns(("a", "b"), (), outcome="y", number=True),
        Columns(("k", "l"), (), outcome="m", bucket="bucket"),
    ],
)
def test_rows_in_memory_are_counted_as_in_the_engine(columns: Columns) -> None:
    frame = log().with_columns(k=pl.col("land"), l=pl.col("land").shift(1), m=pl.col("land").shift(2))
    engine = counted(frame, columns)
    sampled = count_sampled(frame, columns, RUNS, 1, total=frame.height)
    assert sampled.rows is not None
    same(sampled.rows, engine)
    assert sampled.rows.alone == engine.alone
    assert sampled.rows.sample is None


def test_replicates_are_compared_pair_by_pair() -> None:
    frame = log().drop_nulls().with_columns(c=pl.col("b") * 0.9)
    columns = Columns((), ("a", "b", "c"), threshold=0.5)
    runs = (Run("v", "1"), Run("w", "1"), Run("w", "2"))
    found = count_sampled(frame, columns, runs, 1, total=10_000).rows
    assert found is not None
    assert found.pairs.tolist() == [[0, 1], [0, 2], [1, 2]]
    assert found.sample == frame.height
    for place, (i, j) in enumerate([("a", "b"), ("a", "c"), ("b", "c")]):
        changed = ((frame[i] >= 0.5) != (frame[j] >= 0.5)).sum()
        assert found.sums["churn"][place].sum() == changed


def test_disorder_is_kendalls_tau_told_otherwise() -> None:
    from scipy.stats import kendalltau

    rng = np.random.default_rng(2)
    a = rng.normal(size=20_000)
    b = a + rng.normal(size=20_000)
    found = count_sampled(pl.DataFrame({"a": a, "b": b}), Columns((), ("a", "b")), RUNS, 1, total=20_000).orders
    assert found is not None
    assert found.total == 10_000
    share = total(found, "disorder") / found.total
    expected = (1 - kendalltau(a, b).statistic) / 2
    assert abs(share - expected) < 4 * (expected * (1 - expected) / 10_000) ** 0.5


def test_pairs_of_rows_stay_within_a_bucket() -> None:
    frame = log().drop_nulls()
    found = count_sampled(frame, COLUMNS, RUNS, 1, total=frame.height).orders
    assert found is not None
    per_bucket = np.bincount(frame["bucket"].to_numpy(), minlength=64)
    assert (found.subjects[0] <= (per_bucket + 1) // 2).all()
    assert found.total >= frame.height // 2 - 64


@pytest.mark.parametrize("ids", [range(50_000), range(0, 5_000_000, 100), range(-40_000, 10_000)])
def test_a_draw_is_of_about_the_share_asked_for(ids: Any) -> None:
    frame = nw.from_native(pl.DataFrame({"id": ids}))
    assert frame.filter(drawn(nw.col("id"), 0.1)).shape[0] == pytest.approx(5_000, rel=0.1)
