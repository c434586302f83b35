"""Ids that stay: never two clusters of one id, never an id again, whatever labels, order or process."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import afterlaunch as al
from afterlaunch.report.charts import figure

MEMBERS = 60
WEEKS = st.lists(st.lists(st.integers(-1, 4), min_size=MEMBERS, max_size=MEMBERS), min_size=1, max_size=6)


def play(weeks: list[list[Any]], history: al.ClusterHistory | None = None) -> list[Any]:
    history = history or al.ClusterHistory()
    return [history.append(f"w{i}", ids=range(len(labels)), labels=labels) for i, labels in enumerate(weeks)]


@settings(max_examples=60, deadline=None)
@given(WEEKS)
def test_ids_never_collide_and_new_ones_were_never_given(weeks: list[list[int]]) -> None:
    given_before: set[int] = set()
    for labels, week in zip(weeks, play(weeks), strict=True):
        ids = list(week.names.values())
        assert len(ids) == len(set(ids))
        assert set(week.names) == {str(v) for v in labels if v != -1}
        assert [None if v == -1 else week.names[str(v)] for v in labels] == week.ids.to_list()
        new = set(ids) - given_before
        assert all(i > max(given_before, default=0) for i in new)
        given_before |= set(ids)


@settings(max_examples=40, deadline=None)
@given(WEEKS, st.permutations(range(5)), st.randoms(use_true_random=False))
def test_what_labels_are_called_and_how_rows_are_ordered_changes_nothing(
    weeks: list[list[int]], names: list[int], random: Any
) -> None:
    plain, other = play(weeks), al.ClusterHistory()
    for i, (labels, week) in enumerate(zip(weeks, plain, strict=True)):
        order = list(range(MEMBERS))
        random.shuffle(order)
        renamed = [None if labels[m] == -1 else f"c{names[labels[m]]}" for m in order]
        mine = other.append(f"w{i}", ids=order, labels=renamed)
        assert [mine.ids[order.index(m)] for m in range(MEMBERS)] == week.ids.to_list()
        assert mine.events == week.events


@settings(max_examples=15, deadline=None)
@given(WEEKS)
def test_a_folder_remembers_what_memory_does(weeks: list[list[int]]) -> None:
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        kept = []
        for i, labels in enumerate(weeks):
            history = al.ClusterHistory.open(Path(folder) / "h")  # opened anew each week
            kept.append(history.append(f"w{i}", ids=range(MEMBERS), labels=labels))
        for one, other in zip(play(weeks), kept, strict=True):
            assert one.ids.to_list() == other.ids.to_list()
            assert (one.names, one.events, one.change, one.parents) == (
                other.names,
                other.events,
                other.change,
                other.parents,
            )
        history = al.ClusterHistory.open(Path(folder) / "h")
        assert history.weeks() == [f"w{i}" for i in range(len(weeks))]
        assert history.table()["size"].sum() == sum(v != -1 for labels in weeks for v in labels)


def test_a_split_a_merge_and_a_return() -> None:
    a, b, c = [0] * 30, [1] * 20, [2] * 10
    history = al.ClusterHistory()
    first = history.append("1", ids=range(60), labels=[*a, *b, *c]).names
    split = history.append("2", ids=range(60), labels=[*([5] * 18), *([6] * 12), *b, *c])
    assert split.names["5"] == first["0"]
    assert split.names["6"] not in first.values()
    assert split.parents[split.names["6"]] == (first["0"],)
    merged = history.append("3", ids=range(60), labels=[*([5] * 18), *([6] * 12), *([1] * 30)])
    assert merged.names["1"] == first["1"]
    assert first["2"] not in merged.names.values()
    back = history.append("4", ids=range(60), labels=[*([5] * 18), *([6] * 12), *b, *c])
    assert back.names["2"] == first["2"]
    assert {e.kind for e in back.events} >= {"return"}


def test_a_cluster_is_forgotten_after_its_weeks() -> None:
    labels = [0] * 30 + [1] * 30
    gone = [0] * 30 + [-1] * 30
    kept, lost = al.ClusterHistory(recall=3), al.ClusterHistory(recall=1)
    for history in (kept, lost):
        for week, given_labels in enumerate([labels, gone, gone, labels]):
            last = history.append(str(week), ids=range(60), labels=given_labels)
        old = history.members("0").filter(pl.col("id") == 59)["cluster"][0]
        assert (last.names["1"] == old) == (history is kept)


def test_centroids_tie_weeks_of_other_members() -> None:
    rng = np.random.default_rng(0)
    places = np.array([[0.0, 0.0], [9.0, 0.0], [0.0, 9.0]])
    history = al.ClusterHistory()
    first = history.append("1", labels=rng.integers(0, 3, 90), centroids=places)
    moved = np.concatenate([places[[2, 0, 1]] + 0.2, [[30.0, 30.0]]])
    second = history.append("2", labels=rng.integers(0, 4, 90), centroids=moved)
    assert [second.names[str(k)] for k in (1, 2, 0)] == [first.names[str(k)] for k in (0, 1, 2)]
    assert second.names["3"] == 4
    third = history.append("3", labels=[0] * 30 + [1] * 30, centroids={0: places[0], 1: places[1]})
    assert third.names == {"0": first.names["0"], "1": first.names["1"]}
    fourth = history.append("4", labels=[0, 1, 2] * 30, centroids=places)
    assert fourth.names["2"] == first.names["2"]


def test_the_same_week_again_changes_nothing_and_another_is_refused(tmp_path: Path) -> None:
    history = al.ClusterHistory.open(tmp_path / "h")
    one = history.append("1", ids=range(6), labels=[0, 0, 0, 1, 1, -1])
    again = history.append("1", ids=range(6), labels=[0, 0, 0, 1, 1, -1])
    assert again.ids.to_list() == one.ids.to_list()
    assert history.weeks() == ["1"]
    with pytest.raises(al.InputError, match="with other clusters; give another name"):
        history.append("1", ids=range(6), labels=[0, 1, 0, 1, 1, -1])
    history.append("2", ids=range(6), labels=[0, 0, 0, 1, 1, 1])
    with pytest.raises(al.InputError, match="'1' is in the history already; give another name"):
        history.append("1", ids=range(6), labels=[0] * 6)


def test_two_processes_append_one_after_the_other(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    mine, theirs = (al.ClusterHistory.open(tmp_path / "h") for _ in range(2))
    mine.append("1", ids=range(6), labels=[0] * 6)
    add = type(mine._store).add
    calls: list[int] = []

    def late(self: Any, entry: Any, members: Any, centroids: Any) -> None:
        if not calls:
            calls.append(1)
            theirs.append("2", ids=range(6), labels=[0, 0, 0, 0, 1, 1])
        add(self, entry, members, centroids)

    monkeypatch.setattr(type(mine._store), "add", late)
    week = mine.append("3", ids=range(6), labels=[0, 0, 0, 0, 1, 2])
    assert mine.weeks() == ["1", "2", "3"]
    assert len(set(week.names.values())) == 3


def test_a_damaged_week_does_not_bring_ids_back(tmp_path: Path) -> None:
    history = al.ClusterHistory.open(tmp_path / "h")
    history.append("1", ids=range(6), labels=[0] * 6)
    second = history.append("2", ids=range(6), labels=[0, 0, 0, 0, 1, 1])
    (tmp_path / "h" / "000002" / "week.json").write_text("{")
    with pytest.warns(UserWarning, match="goes on from the week before"):
        third = al.ClusterHistory.open(tmp_path / "h").append("3", ids=range(6), labels=[0, 0, 0, 0, 1, 1])
    assert set(third.names.values()) & set(second.names.values()) == {1}
    shutil.rmtree(tmp_path / "h" / "000002")
    assert max(third.names.values()) > max(second.names.values())


def test_pictures_and_tables() -> None:
    history = al.ClusterHistory()
    assert history.weeks() == []
    assert history.table().height == 0
    play([[0] * 30 + [1] * 30, [0] * 40 + [1] * 20, [1] * 60], history)
    flow = history.flow()
    assert flow["columns"] == ["w0", "w1", "w2"]
    assert sum(f["size"] for f in flow["flows"][0]) == 60
    assert "<svg" in figure(flow)
    assert json.loads(json.dumps(flow)) == flow
    assert history.flow(last=2)["columns"] == ["w1", "w2"]
    assert history.table().filter(pl.col("week") == "w2")["size"].to_list() == [60]
    assert history.members("w0").height == 60
    with pytest.raises(al.InputError, match=r"no week 'w9' in the history; it has w0, w1, w2\."):
        history.members("w9")


@pytest.mark.parametrize(
    "labels", [["1", "2"] * 3, [1, 2] * 3, [1.0, 2.0] * 3, np.array([1, 2] * 3), pl.Series([1, 2] * 3)]
)
def test_labels_of_all_kinds_are_the_same(labels: Any) -> None:
    history = al.ClusterHistory()
    assert history.append("1", ids=list("abcdef"), labels=labels).names == {"1": 1, "2": 2}
    nothing = history.append("2", ids=list("abcdef"), labels=[None, -1, "-1", float("nan"), None, -1.0])
    assert nothing.names == {}
    assert nothing.ids.null_count() == 6
    assert set(history.append("3", ids=list("abcdef"), labels=[3] * 6).names) == {"3"}


@pytest.mark.parametrize(
    ("given_", "words"),
    [
        ({"ids": [1, 1], "labels": [0, 1]}, "The id 1 is given twice"),
        ({"ids": [1], "labels": [0, 1]}, "There are 1 ids and 2 labels"),
        ({"ids": [1, None], "labels": [0, 1]}, "1 ids are missing"),
        ({"ids": [1, 2]}, "No labels were given"),
        ({"labels": [0, 1], "centroids": {0: [1.0]}}, "The cluster '1' has no centroid"),
        ({"labels": [0], "centroids": [1.0, 2.0]}, "The centroids have shape"),
        ({"labels": [0, 1], "centroids": {0: [1.0], 1: [float("nan")]}}, "missing values or different lengths"),
        ({"ids": [8, 9], "labels": [0, 1]}, "Nothing ties the week"),
    ],
)
def test_bad_input_is_one_sentence(given_: dict[str, Any], words: str) -> None:
    history = al.ClusterHistory()
    history.append("1", ids=[1, 2, 3], labels=[0, 0, 1])
    with pytest.raises(al.InputError, match=words) as caught:
        history.append("2", **given_)
    assert str(caught.value).endswith(".")


def test_rules_out_of_range_are_refused() -> None:
    with pytest.raises(al.InputError, match=r"survive=0\.2"):
        al.ClusterHistory(survive=0.2)


def test_a_week_that_another_process_adds_meanwhile_is_not_lost(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ours, theirs = al.ClusterHistory.open(tmp_path), al.ClusterHistory.open(tmp_path)
    ours.append("W1", range(50), [0] * 50)
    name = al.ClusterHistory._name
    theirs_named: list[int] = []

    def late(self: al.ClusterHistory, *given: Any) -> Any:
        out = name(self, *given)
        monkeypatch.setattr(al.ClusterHistory, "_name", name)
        theirs_named.extend(theirs.append("theirs", [*range(50), *range(100, 130)], [0] * 50 + [1] * 30).names.values())
        return out

    monkeypatch.setattr(al.ClusterHistory, "_name", late)
    mine = ours.append("ours", [*range(50), *range(500, 530)], [0] * 50 + [1] * 30).names
    assert ours.weeks() == ["W1", "theirs", "ours"]
    assert theirs_named == [1, 2]
    assert list(mine.values()) == [1, 3]


def test_clusters_without_a_member_in_common_die_and_are_born() -> None:
    history = al.ClusterHistory()
    history.append("W1", range(100), [0] * 50 + [1] * 50)
    week = history.append("W2", [*range(50), *range(200, 230)], [0] * 50 + [1] * 30)
    told = [(e.kind, e.previous, e.current) for e in week.events]
    assert told == [("survive", (1,), (1,)), ("death", (2,), ()), ("birth", (), (3,))]
