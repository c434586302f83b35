"""Clusters of two weeks: what is said of them, and how often it is wrong."""

from __future__ import annotations

from typing import Any

import numpy as np
import polars as pl
import pytest
from scipy import optimize
from sklearn.metrics import adjusted_rand_score

from afterlaunch.checks.cluster_events import flow
from afterlaunch.checks.cluster_words import describe
from afterlaunch.checks.clusters import CHANGE, CHECK, EXCESS
from afterlaunch.checks.evidence import Evidence
from afterlaunch.decide import Margins, decide
from afterlaunch.finding import Finding, Verdict
from afterlaunch.profile.compared import Labelings, Run
from afterlaunch.profile.labels import pairs_of
from afterlaunch.roles import Roles
from afterlaunch.stats.partitions import adjusted_rand
from tests.simulation import BUCKETS, at_least, at_most


def labelings(table: Any, noise: tuple[str, ...] = (), **more: Any) -> Labelings:
    counts = np.asarray(table, dtype=np.int64)
    counts = counts if counts.ndim == 3 else counts[None]
    names = [tuple(str(i) for i in range(n)) for n in counts.shape[1:]]
    names = [(*n[:-1], "-1") if "-1" in noise else n for n in names]
    return Labelings(names[0], names[1], counts, noise=frozenset(noise), **more)


def judged(found: Labelings, margins: dict[str, float] | None = None, **options: Any) -> dict[str, Finding]:
    estimates = CHECK.run(Evidence(Roles(), labelings=found, options=options))
    return {f.id: f for f in decide(estimates, margins=Margins(margins or {}), primary=["clusters"])}


# ------------------------------------------------------------------ what is said


def test_the_same_clusters_under_other_names_are_ok() -> None:
    found = judged(labelings([[0, 500, 0], [0, 0, 700], [600, 0, 0]]))
    assert set(found) == {"clusters/change", "clusters/moved"}
    for f in found.values():
        assert f.verdict is Verdict.OK
        assert f.effect is not None
        assert f.effect.value == 0
    assert "3 clusters survive, and none split" in found["clusters/moved"].sentence


def test_the_change_is_that_of_scikit_learn_and_the_moved_are_those_off_the_match() -> None:
    table = np.array([[300, 40, 0], [20, 500, 10], [60, 0, 400]])
    found = judged(labelings(table))
    pairs = np.argwhere(table >= 0).repeat(table.ravel(), axis=0)
    change, moved = found["clusters/change"].effect, found["clusters/moved"].effect
    assert change is not None
    assert moved is not None
    assert change.value == pytest.approx(1 - adjusted_rand_score(pairs[:, 0], pairs[:, 1]))
    assert moved.value == pytest.approx(130 / 1330)
    assert found["clusters/change"].n == 1330


def test_random_labels_alarm() -> None:
    found = judged(labelings(np.random.default_rng(0).poisson(60, size=(5, 5))))
    assert found["clusters/change"].verdict is Verdict.ALARM
    assert found["clusters/moved"].verdict is Verdict.ALARM
    assert "al.StableKMeans" in found["clusters/moved"].action


def test_events_are_told_with_shares_and_what_is_telling() -> None:
    told = {"current": {"2": "age +2 sd"}, "previous": {"1": "town Oslo in 90 %"}}
    table = [[0, 0, 0, 580, 360], [0, 30, 30, 0, 40], [0, 900, 0, 0, 0], [0, 0, 10, 0, 0], [0, 0, 50, 0, 0]]
    f = judged(labelings(table), descriptions=told)["clusters/moved"]
    assert "cluster 0 split into 3 and 4: 62 % and 38 % of its members" in f.sentence
    assert (
        "cluster 1 is gone: 100 members, 40 %, 30 % and 30 % of them now in 4, 1 and 2 (town Oslo in 90 %)"
        in f.sentence
    )
    assert f.table is not None
    assert f.table["columns"][-1] == "told by"
    rows = {(r[0], r[1], r[2]) for r in f.table["rows"]}
    assert {("split", "0", "3, 4"), ("survive", "2", "1"), ("survive", "4", "2"), ("death", "3", "2")} <= rows


def test_members_in_no_cluster_are_a_change_when_they_fall_out_and_none_when_they_stay_out() -> None:
    base = labelings([[500, 0, 0], [0, 400, 0], [0, 0, 600]], noise=("-1",))
    found = judged(base)
    assert found["clusters/change"].n == 900
    assert found["clusters/noise"].verdict is Verdict.OK
    assert found["clusters/noise"].effect is not None
    assert found["clusters/noise"].effect.value == 0
    out = judged(labelings([[300, 0, 200], [0, 400, 0], [10, 0, 590]], noise=("-1",)))
    assert out["clusters/moved"].effect is not None
    assert out["clusters/moved"].effect.value == pytest.approx(210 / 910)
    assert out["clusters/noise"].verdict is Verdict.ALARM
    assert "from 40 % to 52.7 %: 200 fell out of theirs, 10 came into one" in out["clusters/noise"].sentence


@pytest.mark.parametrize(
    ("found", "reason", "words"),
    [
        (labelings(np.zeros((0, 0))), "no_rows", "Neither clustering has any members"),
        (labelings(np.zeros((1, 1)), alone=(5, 7)), "no_shared_rows", "no member in common"),
        (labelings([[70]], alone=(10, 10)), "few_in_common", "Only 77.8 % of the members"),
        (labelings([[70]]), "undefined", "Both clusterings have one cluster, of 70 members"),
        (labelings([[90, 0], [0, 0]]), "undefined", "one cluster"),
        (labelings([[3, 1], [0, 4]]), "too_few_rows", "8 members in clusters are too few"),
        (labelings([[80]], noise=("-1",)), "no_values", "None of 80 members is in a cluster"),
        (labelings([[80, 3], [0, 9]], recovered=0.5), "not_by_centroid", "puts only 50 % of the previous members"),
    ],
)
def test_what_cannot_be_judged_is_undecided_with_a_reason(found: Labelings, reason: str, words: str) -> None:
    (f,) = judged(found).values()
    assert (f.verdict, f.reason, f.effect) == (Verdict.UNDECIDED, reason, None)
    assert words in f.sentence
    assert f.action


def test_one_cluster_that_becomes_two_is_no_edge_case() -> None:
    found = judged(labelings([[600, 400]]))
    assert found["clusters/change"].verdict is Verdict.ALARM
    assert "cluster 0 split into 0 and 1: 60 % and 40 %" in found["clusters/moved"].sentence


def test_few_alone_are_said_and_left_out() -> None:
    found = judged(labelings([[500, 5], [0, 400]], alone=(30, 1200 // 20)))
    assert "left out: 30 members only before and 60 members only now" in found["clusters/change"].sentence


def test_members_of_units_give_wider_ends() -> None:
    rng = np.random.default_rng(0)
    table = np.zeros((BUCKETS, 3, 3), dtype=np.int64)
    for _ in range(300):
        i = int(rng.integers(3))
        table[rng.integers(BUCKETS), i, int(rng.integers(3)) if rng.random() < 0.15 else i] += 10
    alone, units = judged(labelings(table.sum(axis=0))), judged(labelings(table))
    for key in ("clusters/change", "clusters/moved"):
        a, b = alone[key].effect, units[key].effect
        assert a is not None
        assert b is not None
        assert a.value == b.value
        assert b.high - b.low > 1.5 * (a.high - a.low)


def test_without_labelings_nothing_is_said() -> None:
    assert CHECK.run(Evidence(Roles())) == []


def test_the_centroids_inform_beside_the_members() -> None:
    main, other = labelings([[500, 5], [0, 400]]), labelings([[300, 200], [0, 400]], recovered=0.99)
    found = judged(main, by_centroids=other)
    assert {f.id: f.primary for f in found.values()} == {
        "clusters/change": True,
        "clusters/moved": True,
        "clusters/change@centroids": False,
        "clusters/moved@centroids": False,
    }


# ------------------------------------------------------------------ beyond reruns


def rerun(base: np.ndarray, other: np.ndarray, runs: tuple[int, int], loose: float, rng: np.random.Generator) -> Any:
    """Runs that put a share `loose` of members anywhere; the second week's start from another base."""
    labels = []
    for which, many in ((base, runs[0]), (other, runs[1])):
        for _ in range(many):
            anywhere = rng.random(len(base)) < loose
            labels.append(np.where(anywhere, rng.integers(base.max() + 1, size=len(base)), which))
    names = [Run("previous", str(i)) for i in range(runs[0])] + [Run("current", str(i)) for i in range(runs[1])]
    bucket = rng.integers(BUCKETS, size=len(base))
    noise = np.zeros(int(base.max()) + 1, dtype=bool)
    return pairs_of(np.stack(labels).astype(np.int64), noise, tuple(names), runs[0], bucket.astype(np.int64), None)


def test_with_reruns_the_excess_counts_and_the_rest_informs() -> None:
    rng = np.random.default_rng(0)
    base = rng.integers(5, size=2000)
    same = rerun(base, base, (10, 10), 0.15, rng)
    noisy = labelings(np.diag([300] * 5) + 15)
    found = judged(Labelings(noisy.previous, noisy.current, noisy.counts, reruns=same))
    assert {f.key: f.primary for f in found.values()} == {"change": False, "moved": False, "excess": True}
    assert found["clusters/excess"].verdict is Verdict.OK
    other = np.where(rng.random(2000) < 0.3, (base + 1) % 5, base)
    found = judged(
        Labelings(noisy.previous, noisy.current, noisy.counts, reruns=rerun(base, other, (10, 10), 0.15, rng))
    )
    assert found["clusters/excess"].verdict is Verdict.ALARM
    assert "than between reruns of one version" in found["clusters/excess"].sentence
    assert found["clusters/excess"].table is not None


def test_one_replicate_of_each_does_not_tell() -> None:
    rng = np.random.default_rng(0)
    base = rng.integers(5, size=500)
    noisy = labelings(np.diag([300] * 5))
    found = judged(Labelings(noisy.previous, noisy.current, noisy.counts, reruns=rerun(base, base, (1, 1), 0.1, rng)))
    assert found["clusters/excess"].reason == "too_few_replicates"


LOOSE = 0.2


def excess_of(moved: float, clusters: int = 5) -> float:
    """The excess of infinitely many members of whom a share `moved` goes on to the next cluster."""

    def change(share: float) -> float:
        stay = (1 - LOOSE) * np.eye(clusters) + LOOSE / clusters
        on = (1 - share) * np.eye(clusters) + share * np.roll(np.eye(clusters), 1, axis=1)
        return 1 - adjusted_rand(stay.T @ on @ stay * 1e9)

    return change(moved) - change(0.0)


AT_MARGIN = float(optimize.brentq(lambda m: excess_of(m) - EXCESS.margin, 0.0, 0.3))


@pytest.mark.parametrize(
    ("moved", "least_ok", "most_ok", "least_alarm", "most_alarm"),
    [
        (0.0, 0.9, 1.0, 0.0, 0.05),
        (AT_MARGIN / 2, 0.9, 1.0, 0.0, 0.05),
        (AT_MARGIN, 0.0, 0.05, 0.0, 0.05),
        (2 * AT_MARGIN, 0.0, 0.05, 0.9, 1.0),
    ],
)
def test_the_excess_is_as_seldom_wrong_as_it_promises(
    moved: float, least_ok: float, most_ok: float, least_alarm: float, most_alarm: float
) -> None:
    rng, repeats, verdicts = np.random.default_rng(5), 200, []
    noisy = labelings(np.diag([300] * 5))
    for _ in range(repeats):
        base = rng.integers(5, size=1000)
        other = np.where(rng.random(1000) < moved, (base + 1) % 5, base)
        pairs = rerun(base, other, (8, 8), LOOSE, rng)
        found = judged(Labelings(noisy.previous, noisy.current, noisy.counts, reruns=pairs))
        verdicts.append(found["clusters/excess"].verdict)
    ok, alarm = (verdicts.count(v) / repeats for v in (Verdict.OK, Verdict.ALARM))
    assert at_least(least_ok, repeats) <= ok <= at_most(most_ok, repeats)
    assert at_least(least_alarm, repeats) <= alarm <= at_most(most_alarm, repeats)


def test_margins_are_those_of_the_documentation() -> None:
    assert (CHANGE.margin, EXCESS.margin) == (0.2, 0.05)


# ------------------------------------------------------------------ what is telling, and the picture


def test_what_is_telling_about_clusters() -> None:
    rng = np.random.default_rng(0)
    own = np.repeat(["a", "b", "few"], [100, 200, 3])
    frame = pl.DataFrame(
        {
            "age": np.where(own == "a", 60.0, 30.0) + rng.normal(0, 5, 303),
            "town": np.where(own == "b", "Oslo", np.where(rng.random(303) < 0.5, "Rome", "Bonn")),
            "noise": rng.normal(size=303),
            "hole": pl.Series([None] * 303, dtype=pl.Float64),
            "same": [1] * 303,
            "query": np.where(own == "a", "refund my ticket", "book my flight"),
        }
    )
    found = describe(frame, own.tolist(), ["age", "town", "noise", "hole", "same"], "query")
    assert set(found) == {"a", "b"}
    assert "'refund', 'ticket'" in found["a"]
    assert "'my'" not in found["a"]
    assert "age +2.0 sd (mean 60" in found["a"]
    assert "town Oslo in 100 % (others 0 %)" in found["b"]
    assert "noise" not in found["a"] + found["b"]
    assert describe(frame.head(0), [], ["age"]) == {}


def test_the_flow_holds_every_member_once() -> None:
    found = labelings([[500, 5, 0], [0, 400, 9], [1, 0, 30]], noise=("-1",))
    picture = flow(found)
    assert picture is not None
    assert sum(f["size"] for f in picture["flows"][0]) == 945
    assert [sum(n["size"] for n in column) for column in picture["nodes"]] == [945, 945]
    assert picture["nodes"][0][2]["name"] == "in no cluster"
    assert flow(labelings(np.zeros((2, 2)))) is None


def test_the_flow_of_very_many_clusters_is_short_and_loses_nobody() -> None:
    table = np.random.default_rng(0).integers(0, 9, size=(200, 150)) + np.eye(200, 150, dtype=np.int64) * 500
    picture = flow(labelings(table))
    assert picture is not None
    assert [len(column) for column in picture["nodes"]] == [24, 24]
    assert picture["nodes"][0][-1]["name"] == "177 smaller ones"
    assert sum(f["size"] for f in picture["flows"][0]) == table.sum()
