"""The mix of categories of two versions: what is said of it, and how often it is wrong."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from afterlaunch.checks.evidence import Evidence
from afterlaunch.checks.mix import CHECK
from afterlaunch.decide import Margins, decide
from afterlaunch.finding import Finding
from afterlaunch.profile.compared import Compared, Mix, Run, RunPairs
from afterlaunch.roles import Roles
from tests.simulation import BUCKETS, at_least, at_most

DRAWS = 300
GENRES = ("action", "comedy", "drama", "horror")


def runs_of(many: tuple[int, int], names: tuple[str, ...] | None = None) -> tuple[Run, ...]:
    versions = ["W46"] * many[0] + ["W47"] * many[1]
    if sum(many) == 2:
        return Run("W46"), Run("W47")
    return tuple(Run(v, names[i] if names else str(i)) for i, v in enumerate(versions))


def lists(many: tuple[int, int] = (1, 1), size: int = 640, **more: Any) -> RunPairs:
    """Runs that all have the same lists, without distances."""
    runs = runs_of(many, more.pop("names", None))
    first, second = np.triu_indices(len(runs), 1)
    subjects = np.full((len(first), 1), size, dtype=np.int64)
    return RunPairs(runs, many[0], np.stack([first, second], axis=1), subjects, {}, **more)


def mix(old: Any, new: Any, pairs: RunPairs, rng: np.random.Generator, places: int = 100) -> Mix:
    """Places drawn from a share of each category per run, shapes (R, C)."""
    shares = [np.atleast_2d(np.asarray(s, dtype=float)) for s in (old, new)]
    counts = [np.stack([rng.multinomial(places, s, size=BUCKETS) for s in side]) for side in shares]
    return Mix(pairs.runs, pairs.baseline, GENRES[: shares[0].shape[1]], np.concatenate(counts).astype(np.int64))


def judged(pairs: RunPairs, **mixes: Mix) -> dict[str, Finding]:
    named = {"" if name == "all" else name: m for name, m in mixes.items()}
    found = decide(
        CHECK.run(Evidence(Roles(), panel=Compared(lists=pairs, mixes=named))), margins=Margins({}), primary=["mix"]
    )
    assert all(f.sentence.endswith((".", ")")) for f in found)
    return {f"{f.key}@{f.segment or ''}": f for f in found}


def test_one_week_action_next_week_comedy() -> None:
    pairs = lists()
    found = judged(pairs, all=mix([0.4, 0.12, 0.48], [0.22, 0.31, 0.47], pairs, np.random.default_rng(0), 5000))
    overall = found["overall@"]
    assert overall.verdict == "alarm"
    assert overall.effect is not None
    assert overall.effect.value == pytest.approx(0.19, abs=0.005)
    assert "comedy rises from 1" in overall.sentence
    assert "action falls from " in overall.sentence
    assert "goes to other categories from W46 to W47" in overall.sentence
    table = overall.table
    assert table is not None
    assert table["kind"] == "distribution"
    assert table["names"] == ["W46", "W47"]
    assert sum(table["reference"]) == pytest.approx(1)
    assert sum(table["production"]) == pytest.approx(1)
    assert table["labels"][0] == "drama"


def test_the_same_mix_is_ok() -> None:
    pairs = lists()
    found = judged(pairs, all=mix([0.4, 0.6], [0.4, 0.6], pairs, np.random.default_rng(0)))
    assert found["overall@"].verdict == "ok"


@pytest.mark.parametrize("many", [(1, 1), (3, 3), (10, 10), (1, 10)])
def test_the_margin_is_kept_with_runs_that_differ(many: tuple[int, int]) -> None:
    """A twentieth goes to other categories on average over runs, which is the margin; every run differs by more."""
    rng, pairs = np.random.default_rng(1), lists(many)
    old, new = np.array([0.3, 0.3, 0.2, 0.2]), np.array([0.25, 0.3, 0.25, 0.2])
    verdicts = []
    for _ in range(DRAWS):
        sides = [rng.dirichlet(m * 100, size=n) if sum(many) > 2 else m for m, n in zip((old, new), many, strict=True)]
        verdicts.append(judged(pairs, all=mix(*sides, pairs, rng))["overall@"].verdict)
    assert np.mean([v == "alarm" for v in verdicts]) <= at_most(0.05, DRAWS)
    assert np.mean([v == "ok" for v in verdicts]) <= at_most(0.05, DRAWS)


def test_seeds_on_one_sample_are_one_draw() -> None:
    """Nine runs on three samples, whose mix is that of the sample: as uncertain as three runs."""
    rng = np.random.default_rng(2)
    names = tuple(f"sample={i // 3}/seed={i % 3}" for i in range(9)) * 2
    nested, plain = lists((9, 9), names=names), lists((9, 9))
    own = [np.repeat(rng.dirichlet([30, 30, 20, 20], size=3), 3, axis=0) for _ in range(2)]
    counted = mix(*own, nested, rng, 2000)
    one = judged(nested, all=counted)["overall@"].effect
    other = judged(plain, all=Mix(plain.runs, 9, counted.categories, counted.counts))["overall@"].effect
    assert one is not None
    assert other is not None
    assert one.low <= other.low
    assert one.high > other.high


def test_segments_inform() -> None:
    rng, pairs = np.random.default_rng(0), lists()
    still = mix([0.4, 0.6], [0.4, 0.6], pairs, rng, 1000)
    found = judged(pairs, all=still, DE=mix([0.4, 0.6], [0.7, 0.3], pairs, rng, 1000), FR=still)
    whole, moved, other = (found[f"overall@{name}"] for name in ("", "DE", "FR"))
    assert (whole.verdict, moved.verdict, other.verdict) == ("ok", "alarm", "ok")
    assert whole.primary
    assert not moved.primary
    assert "in DE" in moved.sentence
    assert moved.table is not None
    assert moved.table["title"] == "Category mix in DE"


def test_too_few_places_of_known_category() -> None:
    pairs = lists()
    empty = Mix(pairs.runs, 1, GENRES, np.zeros((2, BUCKETS, 4), dtype=np.int64))
    found = judged(pairs, all=empty)["overall@"]
    assert found.reason == "too_few_rows"


def test_users_may_move_while_the_whole_stands_still() -> None:
    """Half of the users go from action to comedy, the other half back."""
    moved = {"mix": np.array([[500.0]])}
    pairs = lists(size=640)
    apart = RunPairs(pairs.runs, 1, pairs.pairs, pairs.subjects, moved, moved)
    found = judged(apart, all=mix([0.5, 0.5], [0.5, 0.5], pairs, np.random.default_rng(0), 1000))
    assert found["overall@"].verdict == "ok"
    assert found["user@"].verdict == "alarm"
    assert "of a list goes to other categories from W46 to W47, on average" in found["user@"].sentence


def test_the_mix_of_lists_is_held_against_reruns() -> None:
    rng, pairs = np.random.default_rng(0), lists((5, 5))
    size = np.full((len(pairs.pairs), BUCKETS), 10, dtype=np.int64)
    between = (pairs.pairs[:, 0] < 5) & (pairs.pairs[:, 1] >= 5)
    sums = {"mix": np.where(between, 4.0, 1.0)[:, None] + rng.normal(0, 0.1, size.shape)}
    apart = RunPairs(pairs.runs, 5, pairs.pairs, size, sums, sums)
    found = judged(apart, all=mix(np.tile([0.5, 0.5], (5, 1)), np.tile([0.5, 0.5], (5, 1)), apart, rng))
    assert "user@" not in found
    assert not found["overall@"].primary
    assert found["excess@"].verdict == "alarm"
    assert found["excess@"].effect is not None
    assert found["excess@"].effect.value == pytest.approx(0.3, abs=0.02)


def calibrated(old: np.ndarray, new: np.ndarray, clustered: bool = False) -> RunPairs:
    """Divergence from the history of every run and list, shapes (R, U)."""
    both = np.concatenate([old, new])
    groups = BUCKETS if clustered else 1
    bucket = np.arange(both.shape[1]) % groups
    sums, squares = (
        {"calibration": np.stack([np.bincount(bucket, row, minlength=groups) for row in x])} for x in (both, both**2)
    )
    known = np.tile(np.bincount(bucket, minlength=groups), (len(both), 1))
    return lists((len(old), len(new)), both.shape[1], scalars=sums, scalar_squares=squares, scalar_subjects=known)


@pytest.mark.parametrize(("clustered", "runs"), [(False, 1), (True, 1), (True, 8)])
def test_a_rise_of_the_distance_from_histories(clustered: bool, runs: int) -> None:
    """At the margin of 0.1 nats, with runs that differ when there are several."""
    rng, found = np.random.default_rng(5), []
    for _ in range(DRAWS):
        taste = rng.gamma(2, 0.2, size=400)
        level = rng.normal(0, 0.03 if runs > 1 else 0.0, size=(2 * runs, 1))
        values = taste * rng.lognormal(0, 0.3, size=(2 * runs, 400)) + 1 + level
        values[runs:] += 0.1
        pairs = calibrated(values[:runs], values[runs:], clustered)
        empty = mix(np.tile([0.5, 0.5], (runs, 1)), np.tile([0.5, 0.5], (runs, 1)), pairs, rng)
        found.append(judged(pairs, all=empty)["calibration@"])
    assert np.mean([f.verdict == "alarm" for f in found]) <= at_most(0.05, DRAWS)
    assert np.mean([f.verdict == "ok" for f in found]) <= at_most(0.05, DRAWS)
    values = [f.effect.value for f in found if f.effect is not None]
    assert np.mean(values) == pytest.approx(0.1, abs=0.01)
    assert "farther from what their users chose before, from W46 to W47" in found[0].sentence


def test_a_history_of_nobody() -> None:
    pairs = calibrated(np.zeros((1, 1)), np.zeros((1, 1)))
    found = judged(pairs, all=mix([0.5, 0.5], [0.5, 0.5], pairs, np.random.default_rng(0)))["calibration@"]
    assert found.reason == "too_few_rows"
    assert not found.primary


@pytest.mark.parametrize(("size", "code"), [(0, None), (20, None), (300, "few_in_common")])
def test_versions_that_served_different_lists_are_compared_altogether(size: int, code: str | None) -> None:
    rng, pairs = np.random.default_rng(0), lists(size=size, alone=(500, 400))
    found = judged(pairs, all=mix([0.4, 0.6], [0.7, 0.3], pairs, rng, 1000))["overall@"]
    if code is None:
        assert found.verdict == "alarm"
        assert "over all, as the versions served different lists" in found.sentence
        assert found.primary
    else:
        assert found.reason == code


def test_lists_of_one_version_are_nothing_to_compare() -> None:
    pairs = lists(size=0, alone=(500, 0))
    found = judged(pairs, all=mix([0.4, 0.6], [0.7, 0.3], pairs, np.random.default_rng(0)))["overall@"]
    assert found.reason == "no_shared_rows"


def test_power_grows_with_runs() -> None:
    rng, pairs = np.random.default_rng(7), lists((10, 10))
    base, turned = np.array([0.3, 0.3, 0.2, 0.2]), np.array([0.1, 0.3, 0.4, 0.2])
    found = []
    for _ in range(60):
        sides = [rng.dirichlet(m * 100, size=10) for m in (base, turned)]
        found.append(judged(pairs, all=mix(*sides, pairs, rng))["overall@"].verdict)
    assert np.mean([v == "alarm" for v in found]) >= at_least(0.95, 60)


def test_no_categories_say_nothing() -> None:
    assert CHECK.run(Evidence(Roles())) == []
    assert CHECK.run(Evidence(Roles(), panel=Compared(lists=lists()))) == []
