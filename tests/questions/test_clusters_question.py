"""`al.clusters`: two weeks' clusterings from tables to a review."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from sklearn.cluster import KMeans

from afterlaunch.decide import InputError
from afterlaunch.finding import Finding, Review, Verdict
from afterlaunch.questions import cold_runs
from afterlaunch.questions.clusters import clusters
from tests.frames import ENGINES, handed_in

CENTRES = np.random.default_rng(0).normal(0, 6, (6, 4))


def week(
    seed: int, members: int = 1200, first: int = 0, centres: np.ndarray = CENTRES
) -> tuple[pl.DataFrame, np.ndarray]:
    rng = np.random.default_rng(seed)
    own = rng.integers(len(centres), size=members)
    x = centres[own] + rng.normal(0, 1, (members, centres.shape[1]))
    frame = pl.DataFrame({"user": np.arange(first, first + members), "cluster": own})
    return frame.with_columns(*(pl.Series(f"f{i}", x[:, i]) for i in range(x.shape[1]))), x


def only(review: Review, key: str) -> Finding:
    return next(f for f in review if f.id == f"clusters/{key}")


def cold(x: np.ndarray, k: int, name: str, many: int = 6, tries: int = 1) -> pl.DataFrame:
    rng, frames = np.random.default_rng(1), []
    for r in range(many):
        drawn = rng.integers(len(x), size=len(x))
        model = KMeans(k, n_init=tries, random_state=r).fit(x[drawn])
        labels = model.predict(x)
        frames.append(pl.DataFrame({"user": np.arange(len(x)), "week": name, "replicate": r, "cluster": labels}))
    return pl.concat(frames)


# ------------------------------------------------------------------ members


@pytest.mark.parametrize("engine", ENGINES)
def test_every_engine_gives_the_same_review(engine: str, tmp_path: Path) -> None:
    before, _ = week(1)
    rng = np.random.default_rng(2)
    moved = np.where(rng.random(1200) < 0.3, 3, before["cluster"].to_numpy())
    now = before.with_columns(cluster=pl.Series(moved).cast(pl.Float64))
    wanted = clusters(before, now, id="user")
    with handed_in(engine, tmp_path, a=before, b=now) as tables:
        found = clusters(tables["a"], tables["b"], id="user")
    assert found.to_dict() == wanted.to_dict()
    assert found.verdict is Verdict.ALARM
    assert found.rows == {"previous": 1200, "current": 1200, "both": 1200}
    assert found.figures[0]["kind"] == "flow"


def test_a_split_is_told_by_what_sets_its_parts_apart() -> None:
    before, x = week(1)
    half = (before["cluster"].to_numpy() == 2) & (x[:, 0] > CENTRES[2, 0])
    now = before.with_columns(cluster=pl.Series(np.where(half, 9, before["cluster"].to_numpy())))
    found = only(clusters(before, now, id="user"), "moved")
    assert "cluster 2 split into" in found.sentence
    assert found.table is not None
    split = next(r for r in found.table["rows"] if r[0] == "split")
    assert "9: f" in split[-1]


def test_one_table_with_both_labels_needs_no_id() -> None:
    before, _ = week(1)
    both = before.with_columns(new=pl.col("cluster") + 10)
    review = clusters(both, label=("cluster", "new"))
    assert review.verdict is Verdict.OK
    assert review.rows == {"members": 1200}
    assert only(review, "change").effect is not None


def test_the_id_is_guessed_and_said() -> None:
    before, _ = week(1)
    renamed = before.rename({"user": "user_id"})
    review = clusters(renamed, renamed)
    assert any("'user_id' was taken as the role 'id'" in n for n in review.notes)


def test_units_and_buckets_make_members_depend() -> None:
    before, _ = week(1)
    rng = np.random.default_rng(3)
    home = np.arange(1200) // 12
    moved = np.where((rng.random(100) < 0.2)[home], 3, before["cluster"].to_numpy())
    frames = [f.with_columns(home=pl.Series(home)) for f in (before, before.with_columns(cluster=pl.Series(moved)))]
    alone, together = (only(clusters(*frames, id="user", roles=r), "moved").effect for r in ({}, {"unit": "home"}))
    assert alone is not None
    assert together is not None
    assert alone.value == together.value
    assert together.high - together.low > 1.5 * (alone.high - alone.low)


def test_margins_and_alpha_are_heard() -> None:
    before, _ = week(1)
    now = before.with_columns(cluster=pl.when(pl.col("user") < 60).then(0).otherwise(pl.col("cluster")))
    review = clusters(before, now, id="user", margins={"clusters/moved": 0.001}, alpha=0.1)
    assert only(review, "moved").verdict is Verdict.ALARM
    assert only(review, "moved").alpha == 0.1
    with pytest.raises(InputError, match="names no effect of 'clusters'"):
        clusters(before, now, id="user", margins={"clusters/churn": 0.1})


def test_the_tables_of_the_caller_stay_as_they_were() -> None:
    before, _ = week(1)
    pandas = before.to_pandas()
    copy = pandas.copy(deep=True)
    clusters(pandas, pandas, id="user")
    assert pandas.equals(copy)


# ------------------------------------------------------------------ centroids


def test_other_members_are_compared_by_centroids() -> None:
    before, _ = week(1)
    now, _ = week(2, first=5000)
    now = now.with_columns(cluster=pl.col("cluster").replace({0: 5, 5: 0}))
    review = clusters(before, now, id="user")
    assert review.verdict is Verdict.OK
    assert review.settings["by"] == "centroids"
    assert any("compared by their centroids" in n for n in review.notes)
    moved, _ = week(3, first=9000, centres=np.vstack([CENTRES[:4], CENTRES[4:] + 9]))
    assert clusters(before, moved, id="user").verdict is Verdict.ALARM


def test_both_ways_at_once() -> None:
    before, _ = week(1)
    review = clusters(before, before, id="user", by="both")
    assert {f.id for f in review} == {f"clusters/{k}{s}" for k in ("change", "moved") for s in ("", "@centroids")}
    assert [f.primary for f in review if f.subject] == [False, False]


def test_an_embedding_makes_centroids_and_a_text_describes() -> None:
    (before, x), (now, y) = week(1), week(2, first=5000)
    frames = []
    for frame, rows in ((before, x), (now, y)):
        words = [f"about {'abcdef'[k] * 3}" for k in frame["cluster"].to_list()]
        frames.append(frame.select("user", "cluster").with_columns(v=pl.Series(rows.tolist()), q=pl.Series(words)))
    one = frames[1].with_columns(cluster=pl.when(pl.col("cluster") == 1).then(0).otherwise(pl.col("cluster")))
    review = clusters(frames[0], one, id="user", by="centroids", roles={"embedding": "v", "text": "q"})
    assert "clusters 1 and 0 merged into 0" in only(review, "moved@centroids").sentence
    assert "'bbb'" in only(review, "moved@centroids").sentence


def test_without_features_few_shared_members_are_undecided() -> None:
    before, _ = week(1)
    now, _ = week(2, first=600)
    review = clusters(before.select("user", "cluster"), now.select("user", "cluster"), id="user")
    assert review.verdict is Verdict.UNDECIDED
    assert only(review, "change").reason == "few_in_common"
    assert "600 in the previous one alone" in only(review, "change").sentence


# ------------------------------------------------------------------ reruns


def test_k_means_that_breaks_a_cluster_elsewhere_each_time_is_no_change_beyond_reruns() -> None:
    _, x = week(1)
    first, second = (KMeans(9, n_init=1, random_state=s).fit(x).labels_ for s in (0, 7))
    users = pl.Series("user", np.arange(1200))
    before, now = (pl.DataFrame({"user": users, "cluster": k}) for k in (first, second))
    # Nine clusters where there are six: three of the six are split, other ones each time.
    alone = clusters(before, now, id="user")
    assert alone.verdict is not Verdict.OK
    assert any("Without reruns nobody knows" in n for n in alone.notes)
    reruns = pl.concat([cold(x, 9, "previous", 10), cold(x, 9, "current", 10)])
    found = clusters(before, now, id="user", reruns=reruns)
    assert only(found, "excess").verdict is not Verdict.ALARM
    assert only(found, "excess").primary
    assert not only(found, "change").primary


def test_a_birth_is_a_change_beyond_reruns() -> None:
    before, x = week(1)
    born = x.copy()
    born[::3] += np.array([0, 25, 0, 25])
    reruns = pl.concat([cold(x, 6, "previous", 10), cold(born, 7, "current", 10)])
    now = before.with_columns(cluster=pl.when(pl.col("user") % 3 == 0).then(6).otherwise(pl.col("cluster")))
    found = clusters(before, now, id="user", reruns=reruns)
    assert only(found, "excess").verdict is Verdict.ALARM
    assert "cluster 6 is new" in only(found, "moved").sentence


def test_a_week_without_reruns_has_its_own_labels_for_one() -> None:
    before, x = week(1)
    review = clusters(before, before, id="user", reruns=cold(x, 6, "previous", 10, tries=8))
    assert any("The current week has no reruns" in n for n in review.notes)
    assert only(review, "excess").verdict is Verdict.OK


@pytest.mark.parametrize("text", [False, True])
def test_of_many_members_the_same_ones_of_every_rerun_are_looked_at(
    monkeypatch: pytest.MonkeyPatch, text: bool
) -> None:
    before, x = week(1)
    reruns = pl.concat([cold(x, 6, "previous", 5), cold(x, 6, "current", 5)])
    if text:
        before, reruns = (f.with_columns(pl.format("u{}", "user").alias("user")) for f in (before, reruns))
    monkeypatch.setattr(cold_runs, "MEMBERS", 400)
    monkeypatch.setattr(cold_runs, "FEWEST", 400)
    found = only(clusters(before, before, id="user", reruns=reruns), "excess")
    assert found.sample is not None
    assert 300 < found.sample < 500
    assert found.n == found.sample


# ------------------------------------------------------------------ refusals


def table(**columns: Any) -> pl.DataFrame:
    return pl.DataFrame({"user": [1, 2, 3, 4], "cluster": [0, 0, 1, 1]}).with_columns(**columns)


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: clusters(table(), table(), label="k"), "The previous table (polars) has no column 'k' with labels"),
        (
            lambda: clusters(table(), table(), by="names"),  # type: ignore[arg-type]
            "by='names' is none",
        ),
        (lambda: clusters(table(), label="cluster"), "give the column with the labels, or (column before, column now)"),
        (
            lambda: clusters(pl.concat([table(), table().head(1)]), table(), id="user"),
            "The id column 'user' of the previous table repeats 1 id, such as 1 in 2 rows",
        ),
        (
            lambda: clusters(
                table(), pl.concat([table(), pl.DataFrame({"user": [9, 9], "cluster": [0, 0]})]), id="user"
            ),
            "The id column 'user' of the current table repeats 1 id, such as 9",
        ),
        (lambda: clusters(table(), table(), id="member"), "'member'"),
        (lambda: clusters(table(), table(), features=["age"]), "The previous table has no column 'age', a feature"),
        (lambda: clusters(table(), table(), id="user", by="centroids"), "Comparing by centroids needs the numeric"),
        (lambda: clusters(table(), table(), id="cluster"), "The column 'cluster' has the role 'id'"),
        (lambda: clusters(table(), table(), id="user", reruns=table()), "has no column 'week' with the week"),
        (
            lambda: clusters(
                table(cluster=pl.Series([[0], [0], [1], [1]])), table(cluster=pl.Series([[0], [0], [1], [1]]))
            ),
            "are lists or records",
        ),
        (lambda: clusters("nowhere.parquet", table()), "nowhere.parquet"),
    ],
)
def test_what_makes_no_sense_is_refused_in_a_sentence(call: Any, words: str) -> None:
    with pytest.raises(InputError) as refused:
        call()
    assert words in str(refused.value)
    assert "\n" not in str(refused.value)


def test_reruns_of_nothing_or_of_too_many_runs_are_refused() -> None:
    runs = table(week=pl.lit("previous"), replicate=pl.lit(1))
    with pytest.raises(InputError, match="has no rows"):
        clusters(table(), table(), id="user", reruns=runs.head(0))
    many = pl.concat([runs.with_columns(replicate=pl.lit(i)) for i in range(101)])
    with pytest.raises(InputError, match="101 runs, more than 100"):
        clusters(table(), table(), id="user", reruns=many)


@pytest.mark.parametrize(
    "labels", [[-1] * 4, [None] * 4, [7] * 4, ["a", None, "a", "b"], [float("nan"), 1.0, 1.0, -1.0], [True, False] * 2]
)
def test_odd_labels_give_a_review(labels: list[Any]) -> None:
    odd = pl.DataFrame({"user": range(40), "cluster": pl.Series(labels * 10, strict=False)})
    review = clusters(odd, odd, id="user")
    for f in review:
        assert f.effect is not None or f.reason
    assert Review.from_json(review.to_json()) == review


def test_empty_tables_give_a_review() -> None:
    none = table().head(0)
    review = clusters(none, none, id="user")
    assert [f.reason for f in review] == ["no_rows"]
    assert review.figures == ()
