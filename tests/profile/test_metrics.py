"""Counting for metrics: against scikit-learn and arrays, on two engines, merged, and with all that can be missing."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import duckdb
import narwhals as nw
import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics as sk

from afterlaunch.decide import InputError
from afterlaunch.profile.metrics import count_metrics
from afterlaunch.profile.scores import label, positive_of, score_knots
from afterlaunch.profile.types import MetricCounts
from afterlaunch.roles import Roles
from afterlaunch.stats import discrimination, losses, ranking

ROLES = Roles(score="p", outcome="y")
ENGINES = ["polars", "duckdb"]


def lazy(frame: pl.DataFrame, engine: str = "polars") -> nw.LazyFrame[Any]:
    if engine == "polars":
        return nw.from_native(frame.lazy())
    return nw.from_native(duckdb.connect().from_arrow(frame.to_arrow())).lazy()


def fetch(frames: Sequence[Any]) -> list[pl.DataFrame]:
    natives = [f.to_native() for f in frames]
    return [n.collect() if isinstance(n, pl.LazyFrame) else n.pl() for n in natives]


def count(frame: pl.DataFrame, engine: str = "polars", roles: Roles = ROLES, task: Any = "binary", **more: Any) -> Any:
    return count_metrics(lazy(frame, engine), roles, task, fetch=fetch, bucket="b", **more)


def scored(n: int, seed: int = 0, decimals: int | None = None, rare: float = 3.0) -> pl.DataFrame:
    rng = np.random.default_rng(seed)
    z = rng.normal(size=n)
    p = 1 / (1 + np.exp(rare - 1.5 * z))
    y = rng.random(n) < p
    p = p if decimals is None else np.round(p, decimals)
    return pl.DataFrame({"b": np.arange(n) % 64, "p": p, "y": y, "s": rng.choice(["a", "b"], n)})


def mean(counts: MetricCounts, name: str) -> float:
    return float(losses.mean(counts.moments[name].sum(axis=0)))


def auc(counts: MetricCounts) -> float:
    assert counts.histogram is not None
    return float(discrimination.auc(counts.histogram.sum(axis=0)))


# ------------------------------------------------------------------ two classes


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("n", [300, 20_000])
@pytest.mark.parametrize("rare", [0.0, 3.0])
def test_binary_metrics_are_those_of_scikit_learn(engine: str, n: int, rare: float) -> None:
    frame = scored(n, rare=rare)
    p, y = frame["p"].to_numpy(), frame["y"].to_numpy()
    c = count(frame, engine, knots=score_knots(p[:5000]), positive=True, threshold=0.3)[""]
    assert auc(c) == pytest.approx(sk.roc_auc_score(y, p), abs=1e-4)
    assert mean(c, "log_loss") == pytest.approx(sk.log_loss(y, p), rel=1e-9)
    assert mean(c, "brier") == pytest.approx(sk.brier_score_loss(y, p), rel=1e-9)
    assert mean(c, "outcome") == pytest.approx(y.mean())
    total = c.confusion.sum(axis=0)
    np.testing.assert_allclose(total, sk.confusion_matrix(y, p >= 0.3))
    assert float(discrimination.f1(total)) == pytest.approx(sk.f1_score(y, p >= 0.3))
    assert c.class_rows.sum(axis=0).tolist() == [n - y.sum(), y.sum()]
    assert c.score_sums.sum() == pytest.approx(p.sum(), rel=1e-9)
    assert c.total == n


@pytest.mark.parametrize("decimals", [1, 2, 3])
def test_rounded_scores_give_the_exact_auc(decimals: int) -> None:
    frame = scored(30_000, decimals=decimals)
    c = count(frame, knots=score_knots(frame["p"].to_numpy()[:20_000]), positive=True)[""]
    assert auc(c) == pytest.approx(sk.roc_auc_score(frame["y"], frame["p"]), abs=1e-9 if decimals < 3 else 1e-6)


@settings(max_examples=20)
@given(st.lists(st.floats(0, 1), min_size=1, max_size=40), st.floats(0.01, 0.99))
def test_knots_rise_and_cover_all_bins(scores: list[float], extra: float) -> None:
    knots = score_knots([*scores, extra])
    x, bins = np.array(knots[::2]), np.array(knots[1::2])
    assert (np.diff(x) > 0).all()
    assert (np.diff(bins) >= 0).all()
    assert (x[0], x[-1], bins[0], bins[-1]) == (0, 1, 0, 4096)


def test_knots_of_odd_scores() -> None:
    assert score_knots([]) == ()
    assert score_knots([np.nan, np.inf]) == ()
    assert score_knots([7.0, 7.0])[::2] == (6.5, 7.0, 7.5)
    assert score_knots([-3.0, 5.0])[::2] == (-3.0, 5.0)


def test_engines_agree_to_the_last_count() -> None:
    frame = scored(5000).with_columns(w=pl.Series(np.arange(5000) % 3 + 0.5))
    roles = ROLES.with_(weight="w", segment="s")
    knots = score_knots(frame["p"])
    both = [count(frame, e, roles, knots=knots, positive=True, segment="s", segments=["a", "b"]) for e in ENGINES]
    assert both[0].keys() == both[1].keys() == {"", "a", "b"}
    for name, one in both[0].items():
        other = both[1][name]
        np.testing.assert_array_equal(one.rows, other.rows)
        np.testing.assert_array_equal(one.histogram, other.histogram)
        np.testing.assert_array_equal(one.confusion, other.confusion)
        np.testing.assert_allclose(one.score_sums, other.score_sums, rtol=1e-12)
        for key in one.moments:
            np.testing.assert_allclose(one.moments[key], other.moments[key], rtol=1e-9)


def test_segments_add_up_to_the_whole() -> None:
    frame = scored(8000)
    c = count(frame, knots=score_knots(frame["p"]), positive=True, segment="s", segments=["a", "b"])
    np.testing.assert_array_equal(c["a"].rows + c["b"].rows, c[""].rows)
    np.testing.assert_allclose(c["a"].moments["brier"] + c["b"].moments["brier"], c[""].moments["brier"], rtol=1e-9)
    part = frame.filter(pl.col("s") == "a")
    assert auc(c["a"]) == pytest.approx(sk.roc_auc_score(part["y"], part["p"]), abs=5e-4)


@settings(max_examples=15)
@given(st.integers(0, 400), st.integers(0, 1000))
def test_counts_of_two_tables_add_up_to_those_of_both(cut: int, seed: int) -> None:
    frame = scored(400, seed)
    knots = score_knots(frame["p"])
    parts = [count(f, knots=knots, positive=True)[""] for f in (frame[:cut], frame[cut:])]
    whole, merged = count(frame, knots=knots, positive=True)[""], parts[0] + parts[1]
    for name in ("rows", "unmatched", "without_outcome", "class_rows", "histogram", "confusion"):
        np.testing.assert_array_equal(getattr(merged, name), getattr(whole, name))
    np.testing.assert_allclose(merged.score_sums, whole.score_sums, rtol=1e-12)
    for name, moments in whole.moments.items():
        np.testing.assert_allclose(merged.moments[name], moments, rtol=1e-12)
    assert merged == parts[0] + parts[1]
    assert whole != parts[0] or cut == 400


def test_counts_in_other_bins_do_not_add_up() -> None:
    frame = scored(50)
    one = count(frame, knots=score_knots(frame["p"]), positive=True)[""]
    with pytest.raises(ValueError, match="count one of them again"):
        one + count(frame, knots=score_knots([0.2, 0.3]), positive=True)[""]


@pytest.mark.parametrize("engine", ENGINES)
def test_what_is_missing_is_unmatched(engine: str) -> None:
    frame = pl.DataFrame(
        {
            "b": [0, 1, 2, 3, 4, 5],
            "p": [0.5, None, float("nan"), float("inf"), 0.5, 0.9],
            "y": [1, 1, 1, 1, None, 0],
        }
    )
    c = count(frame, engine, knots=score_knots([0.5, 0.9]))[""]
    assert c.rows[:6].tolist() == [1, 0, 0, 0, 0, 1]
    assert c.unmatched[:6].tolist() == [0, 1, 1, 1, 1, 0]
    assert c.without_outcome.sum() == 1
    assert c.histogram.sum() == 2
    assert c.moments["outcome"][:, 0].sum() == 5


@pytest.mark.parametrize("engine", ENGINES)
def test_a_table_may_lack_every_role(engine: str) -> None:
    frame = pl.DataFrame({"b": [0, 1], "p": [0.5, 0.6]})
    c = count(frame, engine, knots=score_knots([0.5, 0.6]))[""]
    assert (c.rows.sum(), c.unmatched.sum(), c.without_outcome.sum()) == (0, 2, 2)
    other = count(frame.rename({"p": "y"}), engine, knots=score_knots([0.5]))[""]
    assert other.rows.sum() == 0
    assert other.histogram is None


@pytest.mark.parametrize("task", ["binary", "multiclass", "regression", "ranking"])
def test_an_empty_table(task: str) -> None:
    frame = scored(5).clear().with_columns(q=pl.lit(1))
    c = count(frame, roles=ROLES.with_(list="q", prediction="s"), task=task, knots=score_knots([0.5]), classes=["a"])[
        ""
    ]
    assert c.total == 0


@pytest.mark.parametrize("engine", ENGINES)
def test_a_prediction_without_a_score(engine: str) -> None:
    frame = pl.DataFrame({"b": [0, 1, 2, 3], "hat": ["yes", "no", "yes", None], "y": ["yes", "yes", "no", "no"]})
    c = count(frame, engine, Roles(prediction="hat", outcome="y"), positive="yes")[""]
    assert c.confusion.sum(axis=0).tolist() == [[0, 1], [1, 1]]
    assert c.rows.sum() == 3
    assert c.histogram is None


@pytest.mark.parametrize(
    ("outcomes", "positive"),
    [([1, 0, 1], 1), ([1.0, 0.0, 1.0], 1), ([True, False, True], True), (["yes", "no", "yes"], "yes"), ([2, 1, 2], 2)],
)
@pytest.mark.parametrize("engine", ENGINES)
def test_outcomes_are_read_in_every_writing(engine: str, outcomes: list[Any], positive: Any) -> None:
    frame = pl.DataFrame({"b": [0, 0, 0], "p": [0.9, 0.2, 0.8], "y": outcomes})
    c = count(frame, engine, knots=score_knots([0.9, 0.2]), positive=positive)[""]
    assert c.class_rows[0].tolist() == [1, 2]


def test_the_writing_may_change_between_tables() -> None:
    """Booleans in one table, words in the other: the positive outcome of one is found in both."""
    words = pl.DataFrame({"b": [0, 0], "p": [0.9, 0.2], "y": ["Yes", "no"]})
    truth = pl.DataFrame({"b": [0, 0], "p": [0.9, 0.2], "y": [True, False]})
    assert count(words, positive=True)[""].class_rows[0].tolist() == [1, 1]
    assert count(truth, positive="yes")[""].class_rows[0].tolist() == [1, 1]


@pytest.mark.parametrize(
    ("values", "positive"),
    [
        ([0, 1], 1),
        ([False, True], True),
        (["no", "yes"], "yes"),
        (["N", "Y"], "Y"),
        ([1, 2], 1),
        ([-1, 1], 1),
        (["no", "maybe"], "maybe"),
        ([3, 7], 7),
        ([], 1),
        (["bought", "0"], "bought"),
    ],
)
def test_the_positive_outcome_is_guessed(values: list[Any], positive: Any) -> None:
    assert positive_of(values) == positive


def test_an_outcome_that_cannot_be_guessed_is_refused() -> None:
    with pytest.raises(InputError, match="'kind' has the values 'cat', 'dog'"):
        positive_of(["dog", "cat"], None, "kind")
    assert positive_of(["dog", "cat"], "dog") == "dog"


def test_labels() -> None:
    assert [label(v) for v in (1, 1.0, True, "1", 1.5, "red")] == ["1", "1", "1", "1", "1.5", "red"]


def test_weights_count_rows_more_than_once() -> None:
    frame = scored(500).with_columns(w=pl.Series(np.arange(500) % 3 + 1))
    copies = pl.concat([frame.filter(pl.col("w") > k) for k in range(3)])
    knots = score_knots(frame["p"])
    one = count(frame, roles=ROLES.with_(weight="w"), knots=knots, positive=True)[""]
    many = count(copies, knots=knots, positive=True)[""]
    np.testing.assert_array_equal(one.histogram, many.histogram)
    np.testing.assert_array_equal(one.confusion, many.confusion)
    for name in one.moments:
        np.testing.assert_allclose(one.moments[name], many.moments[name], rtol=1e-9)
    assert one.rows.sum() == 500
    light = frame.with_columns(w=pl.lit(0.0))
    assert count(light, roles=ROLES.with_(weight="w"), knots=knots, positive=True)[""].rows.sum() == 0


# ------------------------------------------------------------------ several classes, numbers


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("classes", [["a", "b", "c"], [1, 2, 3]])
def test_classes_are_those_of_scikit_learn(engine: str, classes: list[Any]) -> None:
    rng = np.random.default_rng(0)
    y, hat = rng.choice(3, 2000, p=[0.5, 0.3, 0.2]), rng.choice(3, 2000)
    hat = np.where(rng.random(2000) < 0.6, y, hat)
    s = rng.dirichlet([1, 1, 1], 2000)
    frame = pl.DataFrame({"b": np.arange(2000) % 64, "y": [classes[i] for i in y], "hat": [classes[i] for i in hat]})
    frame = frame.with_columns(**{f"s{i}": pl.Series(s[:, i]) for i in range(3)})
    roles = Roles(outcome="y", prediction="hat", scores={label(c): f"s{i}" for i, c in enumerate(classes)})
    c = count(frame, engine, roles, "multiclass", classes=classes)[""]
    assert c.classes == (*map(label, classes), "(other)")
    np.testing.assert_allclose(c.confusion.sum(axis=0)[:3, :3], sk.confusion_matrix(y, hat))
    assert mean(c, "hit") == pytest.approx(sk.accuracy_score(y, hat))
    assert mean(c, "log_loss") == pytest.approx(sk.log_loss(y, s), rel=1e-6)
    assert mean(c, "brier") == pytest.approx(((s - np.eye(3)[y]) ** 2).sum(axis=1).mean())
    assert c.class_rows.sum(axis=0).tolist() == [*np.bincount(y), 0]


def test_new_classes_are_others() -> None:
    frame = pl.DataFrame({"b": [0, 0, 0, 0], "y": ["a", "zebra", "b", None], "hat": ["a", "a", "yak", "a"]})
    c = count(frame, roles=Roles(outcome="y", prediction="hat"), task="multiclass", classes=["a", "b"])[""]
    assert c.confusion[0].tolist() == [[1, 0, 0], [0, 0, 1], [1, 0, 0]]
    assert c.rows[0] == 3


@pytest.mark.parametrize("engine", ENGINES)
def test_errors_are_those_of_scikit_learn(engine: str) -> None:
    rng = np.random.default_rng(0)
    y, hat = rng.normal(size=(2, 1000))
    frame = pl.DataFrame({"b": np.arange(1000) % 64, "y": y, "hat": hat})
    c = count(frame, engine, Roles(outcome="y", prediction="hat"), "regression")[""]
    assert mean(c, "absolute") == pytest.approx(sk.mean_absolute_error(y, hat))
    assert mean(c, "squared") == pytest.approx(sk.mean_squared_error(y, hat))
    assert mean(c, "error") == pytest.approx((hat - y).mean())


# ------------------------------------------------------------------ lists


def lists(n: int, seed: int = 0, ties: bool = True) -> pl.DataFrame:
    rng = np.random.default_rng(seed)
    size = rng.integers(1, 12, n)
    query = np.repeat(np.arange(n), size)
    score = rng.integers(0, 6, query.size) * 1.0 if ties else rng.random(query.size)
    return pl.DataFrame(
        {
            "b": query % 64,
            "q": [f"q{i}" for i in query],
            "p": score,
            "y": (rng.random(query.size) < 0.2).astype(int),
            "rank": np.concatenate([np.arange(1, k + 1) for k in size]),
        }
    ).sample(fraction=1, shuffle=True, seed=seed)


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("ties", [True, False])
def test_lists_are_those_of_the_arrays(engine: str, ties: bool) -> None:
    frame = lists(300, ties=ties).with_columns(u=pl.col("q"))
    roles = Roles(list="q", score="p", outcome="y", unit="u")
    c = count(frame, engine, roles, "ranking", k=5)[""]
    each = [(g["y"].to_numpy(), g["p"].to_numpy()) for _, g in frame.group_by("q", maintain_order=True)]
    assert mean(c, "ndcg") == pytest.approx(np.nanmean([ranking.ndcg(y, p, 5) for y, p in each]), rel=1e-9)
    assert mean(c, "mrr") == pytest.approx(np.mean([ranking.reciprocal_rank(y, p) for y, p in each]), rel=1e-9)
    assert mean(c, "outcome") == pytest.approx(frame["y"].mean())
    assert c.rows.sum() == 300
    assert c.moments["ndcg"][:, 0].sum() == sum(y.any() for y, _ in each)


@pytest.mark.parametrize("engine", ENGINES)
def test_lists_may_be_ordered_by_position(engine: str) -> None:
    frame = lists(200)
    c = count(frame, engine, Roles(list="q", position="rank", outcome="y"), "ranking")[""]
    each = [(g["y"].to_numpy(), -g["rank"].to_numpy()) for _, g in frame.group_by("q", maintain_order=True)]
    assert mean(c, "mrr") == pytest.approx(np.mean([ranking.reciprocal_rank(y, p) for y, p in each]), rel=1e-9)
    # Without a unit, lists are dealt evenly to the buckets.
    assert c.rows.max() - c.rows.min() <= 1


@pytest.mark.parametrize("engine", ENGINES)
def test_lists_with_holes(engine: str) -> None:
    frame = pl.DataFrame(
        {
            "b": [0] * 6,
            "q": ["a", "a", "b", "b", None, "c"],
            "p": [0.9, None, 0.3, 0.2, 0.9, float("nan")],
            "y": [0, 1, 0, 1, 1, 1],
        }
    )
    c = count(frame, engine, Roles(list="q", score="p", outcome="y", unit="u"), "ranking")[""]
    assert c.rows.sum() == 2
    assert c.total == 3
    assert mean(c, "mrr") == pytest.approx((0 + 1 / 2) / 2)
    assert c.moments["ndcg"].sum(axis=0)[0] == 1
    assert count(frame, engine, Roles(list="none", score="p", outcome="y"), "ranking")[""].rows.sum() == 0
