"""Ranked lists of two versions: what is said of them, and how often it is wrong."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from afterlaunch.checks.evidence import Evidence
from afterlaunch.checks.lists import CHECK
from afterlaunch.decide import Margins, decide
from afterlaunch.finding import Finding, Verdict
from afterlaunch.profile.compared import Catalogue, Compared, Mix, Run, RunPairs
from afterlaunch.roles import Roles
from tests.simulation import BUCKETS, at_least, at_most

DRAWS = 400


def pairs(distances: Any, bucket: np.ndarray | None = None, **more: Any) -> RunPairs:
    """Two runs whose lists are this far apart, shape (U,)."""
    values = np.asarray(distances, dtype=np.float64)
    where, groups = (np.zeros(len(values), dtype=int), 1) if bucket is None else (bucket, BUCKETS)

    def added(weights: np.ndarray | None) -> np.ndarray:
        return np.bincount(where, weights, minlength=groups)[None, :].astype(np.float64)

    return RunPairs(
        runs=(Run("W46"), Run("W47")),
        baseline=1,
        pairs=np.array([[0, 1]]),
        subjects=added(None).astype(np.int64),
        sums={"rbo": added(values), "jaccard": added(values)},
        squares={"rbo": added(values**2), "jaccard": added(values**2)},
        **more,
    )


def replicates(said: np.ndarray, baseline: int) -> RunPairs:
    """Runs of two versions from one output per run and list, shape (R, U): lists differ where outputs do."""
    many, lists = said.shape
    first, second = np.triu_indices(many, 1)
    bucket = np.arange(lists) % BUCKETS
    apart = (said[first] != said[second]).astype(np.float64)
    sums = np.stack([np.bincount(bucket, row, minlength=BUCKETS) for row in apart])
    return RunPairs(
        runs=tuple(Run("W46" if r < baseline else "W47", str(r)) for r in range(many)),
        baseline=baseline,
        pairs=np.stack([first, second], axis=1),
        subjects=np.tile(np.bincount(bucket, minlength=BUCKETS), (len(first), 1)),
        sums={"rbo": sums, "jaccard": sums},
        squares={"rbo": sums, "jaccard": sums},
    )


def judged(lists: RunPairs, **more: Any) -> dict[str, Finding]:
    found = decide(
        CHECK.run(Evidence(Roles(), panel=Compared(lists=lists, **more))), margins=Margins({}), primary=["lists"]
    )
    assert all(f.sentence.endswith((".", ")")) for f in found)
    return {f"{f.key}@{f.segment or ''}": f for f in found}


def catalogue(new: int, gone: int, places: int = 1000) -> Catalogue:
    counts = [np.array([n]) for n in (new, places, gone, places)]
    return Catalogue(50, 60, 40, *counts, gained=(("film 7", 0.0, 0.031),), lost=(("film 3", 0.05, 0.001),))


def test_the_same_lists_are_ok_and_other_lists_alarm() -> None:
    for value, verdict in ((0.0, Verdict.OK), (1.0, Verdict.ALARM)):
        found = judged(pairs(np.full(500, value)))
        assert set(found) == {"rbo@", "jaccard@"}
        assert {f.verdict for f in found.values()} == {verdict}
        assert found["rbo@"].effect is not None
        assert found["rbo@"].effect.value == value


def test_the_sentence_is_in_the_users_words() -> None:
    found = judged(pairs(np.tile([0.1, 0.3], 200)))["rbo@"]
    assert found.n == 400
    assert found.sentence.startswith("20")
    assert "of the weight of a list changes from W46 to W47 (rank-biased overlap 0.80)" in found.sentence


@pytest.mark.parametrize("lists", [40, 1000])
def test_the_margin_is_kept(lists: int) -> None:
    """Lists are 0.3 apart on average, as far as the margin allows: neither an alarm nor `ok` is right."""
    rng = np.random.default_rng(0)
    found = [judged(pairs(rng.beta(0.6, 1.4, size=lists)))["rbo@"] for _ in range(DRAWS)]
    assert np.mean([f.verdict == "alarm" for f in found]) <= at_most(0.05, DRAWS)
    assert np.mean([f.verdict == "ok" for f in found]) <= at_most(0.05, DRAWS)


def test_lists_of_one_user_are_taken_together() -> None:
    """The margin is kept where the twenty lists of a user are equally far apart."""
    rng = np.random.default_rng(1)
    bucket = np.repeat(rng.integers(BUCKETS, size=200), 20)
    found = [judged(pairs(np.repeat(rng.beta(0.6, 1.4, size=200), 20), bucket))["rbo@"] for _ in range(DRAWS)]
    assert np.mean([f.verdict == "alarm" for f in found]) <= at_most(0.05, DRAWS)
    assert np.mean([f.verdict == "ok" for f in found]) <= at_most(0.05, DRAWS)


def drawn(rng: np.random.Generator, shift: float, seed: float = 0.3) -> np.ndarray:
    """Ten runs each of two versions on 2,000 lists: a taste, the change of versions, and what reruns differ by."""
    taste = rng.normal(size=2000)
    change = shift * rng.normal(size=2000)
    return np.stack([taste + (r >= 10) * change + seed * rng.normal(size=2000) > 0 for r in range(20)])


def test_reruns_are_no_change_and_the_floor_is_said() -> None:
    rng = np.random.default_rng(2)
    found = [judged(replicates(drawn(rng, 0.0), 10))["excess@"] for _ in range(60)]
    assert np.mean([f.verdict == "alarm" for f in found]) <= at_most(0.05, 60)
    assert np.mean([f.verdict == "ok" for f in found]) >= at_least(0.9, 60)
    assert "than between reruns of one version" in found[0].sentence
    assert "the rest is seed and sample" in next(f for f in found if f.verdict == "ok").sentence


def test_a_change_beyond_reruns_alarms_and_takes_the_place_of_the_plain_distances() -> None:
    found = judged(replicates(drawn(np.random.default_rng(3), 1.0), 10))
    assert set(found) == {"excess@"}
    assert found["excess@"].verdict == "alarm"


def test_two_runs_of_one_version_are_too_few_to_know_the_floor() -> None:
    found = judged(replicates(np.random.default_rng(0).random((3, 500)) > 0.5, 1))
    assert found["excess@"].verdict == "undecided"
    assert found["excess@"].reason == "too_few_replicates"


def test_items_that_come_and_go_inform() -> None:
    found = judged(pairs(np.full(500, 0.1)), catalogue=catalogue(300, 20))
    new, gone = found["new@"], found["vanished@"]
    assert (new.verdict, gone.verdict) == ("alarm", "ok")
    assert not new.primary
    assert not gone.primary
    assert "of the places of W47 hold items that W46 never shows (20 items)" in new.sentence
    assert "of the places of W46 held items that W47 never shows (10 items)" in gone.sentence
    assert new.table is not None
    assert new.table["rows"] == [["film 7", "0 %", "3.1 %"]]
    assert gone.table is not None
    assert gone.table["columns"] == ["item", "W46", "W47"]


def test_segments_inform() -> None:
    segments = {"DE": pairs(np.full(300, 0.9)), "FR": pairs(np.full(300, 0.0)), "IT": pairs([])}
    found = judged(pairs(np.tile([0.9, 0.0], 300)), list_segments=segments)
    by = {f.segment: f for f in found.values() if f.key == "rbo" and f.segment}
    assert set(by) == {"DE", "FR"}
    assert (by["DE"].verdict, by["FR"].verdict) == ("alarm", "ok")
    assert not by["DE"].primary
    assert "in DE" in by["DE"].sentence


def test_the_lists_moved_most_are_a_table() -> None:
    table = {"kind": "examples", "title": "Lists moved most", "columns": ["list"], "rows": [["user 7"]]}
    assert judged(pairs(np.full(500, 0.1), examples={"rbo": table}))["rbo@"].table == table


def test_lists_of_one_version_only() -> None:
    few = judged(pairs(np.zeros(50), alone=(20, 5)))["rbo@"]
    assert few.verdict == "undecided"
    assert few.reason == "few_in_common"
    assert few.primary
    assert "66.7 %" in few.sentence
    assert judged(pairs(np.zeros(50), alone=(5, 5)))["rbo@"].verdict == "ok"


def test_versions_that_served_different_lists_are_compared_by_their_items() -> None:
    mixes = {"": Mix((Run("W46"), Run("W47")), 1, ("a",), np.ones((2, 64, 1), dtype=np.int64))}
    found = judged(pairs([], alone=(500, 400)), catalogue=catalogue(300, 20), mixes=mixes)
    assert set(found) == {"rbo@", "new@", "vanished@"}
    assert found["rbo@"].reason == "no_shared_rows"
    assert not found["rbo@"].primary


def test_no_panel_and_rows_say_nothing() -> None:
    assert CHECK.run(Evidence(Roles())) == []
    assert CHECK.run(Evidence(Roles(), panel=Compared(rows=pairs(np.zeros(5))))) == []
