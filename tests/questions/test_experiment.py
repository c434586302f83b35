"""Experiments from end to end: what is decided, what is not believed, and what is refused."""

from __future__ import annotations

import datetime as dt
import functools
import math
import re
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from afterlaunch.decide import InputError
from afterlaunch.finding import Finding, Review, Verdict
from afterlaunch.measures import Custom, Mean, Quantile, Ratio, Share
from afterlaunch.profile.arms import Arms
from afterlaunch.questions import experiment as module
from afterlaunch.questions.experiment import experiment
from afterlaunch.stats.lift import Moments, lift
from afterlaunch.stats.looks import AnyTime, Once, Planned
from afterlaunch.stats.quantile_gap import QuantileGap, Tail
from afterlaunch.words import quantity
from tests.frames import handed_in
from tests.simulation import at_least, at_most

START = dt.datetime(2026, 11, 1)  # noqa: DTZ001 - a naive time is what most tables hold
HALF = {"rules": 0.5, "model": 0.5}
ROLES = {"version": "arm"}
UNITS = {"version": "arm", "unit": "user", "time": "ts"}


def times(days: np.ndarray) -> pl.Series:
    """Moments so many days after the start."""
    return pl.Series(np.datetime64(START, "us") + (86_400e6 * np.asarray(days)).astype("timedelta64[us]"))


def arms(rng: np.random.Generator, n: int, names: tuple[str, ...] = ("rules", "model")) -> np.ndarray:
    """As many units of each arm as planned, in random order."""
    return rng.permutation(np.resize(names, n))


def rows(n: int = 8000, lift: float = 0.0, seed: int = 0) -> pl.DataFrame:
    """Independent rows: an amount of about ten of which the model brings more by a share, and a time in ms."""
    rng = np.random.default_rng(seed)
    arm = arms(rng, n)
    factor = np.where(arm == "model", 1 + lift, 1.0)
    return pl.DataFrame({"arm": arm, "y": rng.normal(10, 3, n) * factor, "ms": rng.lognormal(3, 0.5, n)})


def visits(
    users: int = 3000, lift: float = 0.0, seed: int = 0, days: int = 14, names: tuple[str, ...] = ("rules", "model")
) -> pl.DataFrame:
    """Users who come back: each enters in the first days and has visits for a week, of which some are clicked."""
    rng = np.random.default_rng(seed)
    arm, keen = arms(rng, users, names), rng.beta(4, 6, users)
    entry = rng.uniform(0, days - 1e-3, users)
    each = rng.poisson(3, users) + 1
    user = np.repeat(np.arange(users), each)
    first = np.concatenate([[True], user[1:] != user[:-1]])
    later = np.where(first, 0.0, rng.uniform(0, 7, user.size))
    chance = keen[user] * np.where(arm[user] == names[1], 1 + lift, 1.0)
    clicked = rng.random(user.size) < chance
    log = pl.DataFrame(
        {
            "user": user,
            "arm": arm[user],
            "ts": times(entry[user] + later),
            "clicked": clicked.astype(int),
            "spent": np.where(clicked, rng.gamma(2, 5, user.size), 0.0),
            "ms": rng.lognormal(3, 0.4, user.size) * np.exp(0.3 * keen[user]),
            "country": np.where(user % 3 == 0, "DE", "FR"),
        }
    )
    return log.filter(pl.col("ts") < START + dt.timedelta(days=days)).sort("ts")


def ask(log: Any, *metrics: Any, **more: Any) -> Review:
    return experiment(
        log, **{"control": "rules", "metrics": metrics or (Mean("y"),), "roles": ROLES, "shares": HALF, **more}
    )


def named(review: Review) -> dict[str, Finding]:
    return {f.id: f for f in review}


def values(f: Finding) -> tuple[float, float, float]:
    assert f.effect is not None
    return f.effect.value, f.effect.low, f.effect.high


def counted(log: Any, *metrics: Any, **more: Any) -> Arms:
    """What is counted, before anything is decided."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "judge", lambda found, **_: found)
        found: Any = ask(log, *metrics, **more)
    assert isinstance(found, Arms)
    return found


def moments(log: pl.DataFrame, arm: str, *columns: str) -> Moments:
    """Of per-unit sums, by hand."""
    part = log.filter(pl.col("arm") == arm).group_by("user").agg(pl.col(*columns).sum())
    return Moments.of(part.select(columns).to_numpy())


# ------------------------------------------------------------------ what is decided


def test_a_gain_ships() -> None:
    review = ask(rows(lift=0.1))
    found = named(review)["effect/relative@y"]
    assert (review.verdict, found.verdict, found.goal) == (Verdict.OK, Verdict.OK, "better")
    assert review.decision.startswith("Ship model: 10 %")
    assert review.headline == review.decision
    assert review.rows == {"log": 8000, "units of rules": 4000, "units of model": 4000}
    assert named(review)["trust/srm"].verdict is not Verdict.ALARM
    assert Review.from_dict(review.to_dict()).to_dict() == review.to_dict()


def test_a_gain_that_is_too_small_to_matter_keeps_the_rules() -> None:
    review = ask(rows(), Mean("y", relative=0.1))
    assert review.verdict is Verdict.ALARM
    assert review.decision.startswith("Keep rules: ")
    assert ask(rows(lift=-0.2)).decision.startswith("Keep rules: ")


def test_too_little_is_run_on() -> None:
    review = ask(rows(n=600))
    found = named(review)["effect/relative@y"]
    assert (review.verdict, found.verdict) == (Verdict.UNDECIDED, Verdict.UNDECIDED)
    assert review.decision.startswith("Run on: about ")
    assert "more units to see 1 % in y" in review.decision
    assert found.rows_needed is not None
    assert found.rows_needed > 600


def test_running_on_is_said_in_days_where_there_are_days() -> None:
    review = ask(visits(users=2000), Mean("clicked", relative=0.05), roles=UNITS)
    found = named(review)["effect/relative@clicked"]
    said = re.match(r"Run on: ([0-9,]+) more days? to see 5 % in clicked", review.decision)
    assert said is not None, review.decision
    assert found.rows_needed is not None
    days = (found.rows_needed / found.n - 1) * 14
    assert int(said[1].replace(",", "")) == pytest.approx(days, rel=0.1, abs=1)


def test_fewer_units_than_the_burn_in_say_nothing() -> None:
    found = named(ask(rows(n=390, lift=5.0)))["effect/relative@y"]
    assert (found.verdict, found.reason, found.effect) == (Verdict.UNDECIDED, "burn_in", None)


def test_of_times_less_is_better() -> None:
    log = rows()
    fast = log.with_columns(ms=pl.when(pl.col("arm") == "model").then(0.8 * pl.col("ms")).otherwise("ms"))
    slow = log.with_columns(ms=pl.when(pl.col("arm") == "model").then(1.2 * pl.col("ms")).otherwise("ms"))
    assert ask(fast, Mean("ms", better="down")).verdict is Verdict.OK
    assert ask(slow, Mean("ms", better="down")).verdict is Verdict.ALARM
    assert ask(slow, Mean("ms", better="up")).verdict is Verdict.OK
    assert ask(fast, "mean:ms,better=down").verdict is Verdict.OK


def test_a_guardrail_that_is_hurt_keeps_the_rules() -> None:
    log = rows(lift=0.1)
    slow = log.with_columns(ms=pl.when(pl.col("arm") == "model").then(1.3 * pl.col("ms")).otherwise("ms"))
    guard = Mean("ms", better="down", relative=0.1)
    good, bad = (ask(x, "mean:y", guardrails=[guard]) for x in (log, slow))
    assert good.verdict is Verdict.OK
    assert good.decision.startswith("Ship model: ")
    assert good.decision.endswith("The other metric holds.")
    assert bad.verdict is Verdict.ALARM
    assert bad.decision.startswith("Keep rules: ")
    assert "change of ms" in bad.decision
    assert named(bad)["effect/relative@y"].verdict is Verdict.OK
    assert named(bad)["effect/relative@ms"].goal == "inside"


def test_a_guardrail_does_not_have_to_gain() -> None:
    review = ask(rows(lift=0.1), "mean:y", guardrails="mean:ms,better=down,relative=0.1")
    assert named(review)["effect/relative@ms"].verdict is Verdict.OK
    assert review.verdict is Verdict.OK


def test_equivalence_holds_in_both_directions() -> None:
    metric = Mean("y", goal="equivalence", relative=0.05)
    assert ask(rows(), metric).verdict is Verdict.OK
    for change in (-0.15, 0.15):
        review = ask(rows(lift=change), metric)
        assert review.verdict is Verdict.ALARM
        assert named(review)["effect/relative@y"].direction == "both"


def test_a_margin_in_the_metrics_own_unit() -> None:
    review = ask(rows(lift=0.1), Mean("y", margin=0.2, unit="EUR"))
    found = named(review)["effect/difference@y"]
    assert (found.margin, found.verdict) == (0.2, Verdict.OK)
    assert found.effect is not None
    assert found.effect.unit == "EUR"
    assert found.effect.value == pytest.approx(1, abs=0.3)
    assert named(ask(rows(), margins={"effect/relative@y": 0.3}))["effect/relative@y"].margin == 0.3


def test_numbers_are_those_of_a_few_lines_of_numpy() -> None:
    log = rows(lift=0.05)
    a, b = (Moments.of(log.filter(pl.col("arm") == x).select("y").to_numpy()) for x in ("rules", "model"))
    expected = lift(a, b, lambda m: float(m[0]))
    f = named(ask(log))["effect/relative@y"]
    ends = expected.relative_interval(AnyTime(20_000, 0.05), 0.05, 0.05)
    assert values(f) == pytest.approx((expected.relative, *ends), rel=1e-9)
    once = named(ask(log, Mean("y", margin=1.0), looks="once", alpha=0.01))["effect/difference@y"]
    assert values(once) == pytest.approx((expected.value, *expected.interval(Once(), 0.01, 0.01)), rel=1e-9)


def test_metrics_share_the_error_of_alarms_but_not_of_shipping() -> None:
    review = ask(rows(), Mean("y"), Mean("ms", better="down"))
    found = [f for f in review if f.check == "effect"]
    assert {f.alpha for f in found} == {0.05}
    assert {f.alpha_each for f in found} == {0.025}


# ------------------------------------------------------------------ several arms


def three(effects: tuple[float, float], n: int = 12_000, seed: int = 0) -> pl.DataFrame:
    rng = np.random.default_rng(seed)
    arm = arms(rng, n, ("rules", "new", "newer"))
    factor = 1 + np.select([arm == "new", arm == "newer"], effects, 0.0)
    return pl.DataFrame({"arm": arm, "y": rng.normal(10, 3, n) * factor})


THIRDS = {"rules": 1, "new": 1, "newer": 1}


def test_of_three_arms_the_best_ships() -> None:
    review = ask(three((0.08, 0.2)), shares=THIRDS)
    found = named(review)
    assert review.verdict is Verdict.OK
    assert review.decision.startswith("Ship newer: ")
    assert found["effect/relative@y:newer"].primary
    assert not found["effect/relative@y:new"].primary
    assert {f.alpha for f in review if f.check == "effect"} == {0.025}


def test_a_bad_arm_does_not_keep_a_good_one_from_shipping() -> None:
    review = ask(three((0.1, -0.2)), shares=THIRDS)
    assert review.verdict is Verdict.OK
    assert review.decision.startswith("Ship new: ")
    assert named(review)["effect/relative@y:newer"].verdict is Verdict.ALARM


def test_of_lower_is_better_the_lowest_arm_ships() -> None:
    review = ask(three((-0.08, -0.2)), Mean("y", better="down"), shares=THIRDS)
    assert review.decision.startswith("Ship newer: ")


def test_the_split_of_three_arms() -> None:
    log = three((0.0, 0.0))
    assert named(ask(log, shares=THIRDS))["trust/srm"].verdict is not Verdict.ALARM
    off = named(ask(log, shares={"rules": 0.5, "new": 0.25, "newer": 0.25}))["trust/srm"]
    assert off.verdict is Verdict.ALARM
    assert "are in rules" in off.sentence


# ------------------------------------------------------------------ what is not believed


def blocked(review: Review, key: str) -> Finding:
    """The finding that forbids to decide, and nothing else decides anything."""
    found = next(f for f in review if f.check == "trust" and f.key == key)
    assert found.verdict is Verdict.ALARM, found.sentence
    assert review.verdict is Verdict.UNDECIDED
    assert review.decision.startswith("Do not decide on this experiment: ")
    effects = [f for f in review if f.check == "effect"]
    assert effects
    assert {(f.verdict, f.reason) for f in effects} == {(Verdict.UNDECIDED, "not_trusted")}
    return found


def test_a_split_that_is_off_is_not_believed() -> None:
    log = rows(n=20_000, lift=0.2)
    lost = log.with_row_index().filter((pl.col("arm") == "rules") | (pl.col("index") % 7 > 0)).drop("index")
    for looks in ("any", "once"):
        found = blocked(ask(lost, looks=looks), "srm")
        assert found.goal == "none"
        assert found.p_value is not None
        assert found.p_value < 0.001


def test_a_split_without_a_plan_is_not_judged() -> None:
    review = ask(rows(lift=0.1), shares=None)
    found = named(review)["trust/srm"]
    assert (found.verdict, found.reason, found.primary) == (Verdict.UNDECIDED, "no_planned_split", False)
    assert review.verdict is Verdict.OK


def test_the_split_counts_units_and_not_rows() -> None:
    log = visits()
    busy = pl.concat([log, log.filter(pl.col("arm") == "model")])
    found = named(ask(busy, Mean("clicked"), roles=UNITS))["trust/srm"]
    assert found.verdict is not Verdict.ALARM
    assert found.n == 3000


def ramp(second: float = 0.5) -> pl.DataFrame:
    """A week at a tenth, and then a week at a half (or what is given)."""
    rng = np.random.default_rng(0)
    day = np.repeat(np.arange(14), 1000)
    chance = np.where(day < 7, 0.1, second)
    arm = np.where(rng.random(day.size) < chance, "model", "rules")
    ts = times(day + rng.random(day.size))
    return pl.DataFrame({"arm": arm, "ts": ts, "y": rng.normal(10, 3, day.size)})


RAMP = [(None, {"rules": 0.9, "model": 0.1}), ("2026-11-08", HALF)]


def test_a_ramp_has_a_plan_for_each_stage() -> None:
    roles = {**ROLES, "time": "ts"}
    assert named(ask(ramp(), roles=roles, shares=RAMP))["trust/srm"].verdict is not Verdict.ALARM
    assert named(ask(ramp(), roles=roles))["trust/srm"].verdict is Verdict.ALARM
    found = named(ask(ramp(0.55), roles=roles, shares=RAMP))["trust/srm"]
    assert found.verdict is Verdict.ALARM


@pytest.mark.parametrize("looks", ["any", "once"])
def test_stages_that_are_off_in_opposite_ways_are_an_alarm(looks: str) -> None:
    rng = np.random.default_rng(0)
    day = np.repeat(np.arange(14), 1000)
    arm = np.where(np.tile(np.arange(1000), 14) < np.where(day < 7, 600, 400), "model", "rules")
    ts = times(day)
    log = pl.DataFrame({"arm": arm, "ts": ts, "y": rng.normal(10, 3, day.size)})
    stages = [(None, HALF), ("2026-11-08", HALF)]
    found = named(ask(log, roles={**ROLES, "time": "ts"}, shares=stages, looks=looks))["trust/srm"]
    assert found.verdict is Verdict.ALARM


def test_units_in_two_arms_are_left_out_and_said() -> None:
    log = visits()
    other = {"rules": "model", "model": "rules"}
    astray = log.filter(pl.col("user") < 300).with_columns(pl.col("arm").replace_strict(other))
    review = ask(pl.concat([log, astray]), Mean("clicked"), roles=UNITS)
    found = blocked(review, "several_arms")
    assert found.effect is not None
    assert found.effect.value == pytest.approx(0.1)
    assert "(300)" in found.sentence
    assert review.rows["units of rules"] + review.rows["units of model"] == 2700
    clean = named(ask(log.filter(pl.col("user") >= 300), Mean("clicked"), roles=UNITS))["effect/relative@clicked"]
    assert values(named(review)["effect/relative@clicked"])[0] == pytest.approx(values(clean)[0], rel=1e-9)
    assert named(ask(log, Mean("clicked"), roles=UNITS))["trust/several_arms"].verdict is Verdict.OK


def test_arms_that_start_at_different_times() -> None:
    log = visits()
    late = log.filter((pl.col("arm") == "rules") | (pl.col("ts") >= START + dt.timedelta(days=4)))
    found = blocked(ask(late, Mean("clicked"), roles=UNITS, shares=None), "start")
    assert "rules from 2026-11-01 to 2026-11-14, model from 2026-11-05 to 2026-11-14" in found.sentence
    assert named(ask(log, Mean("clicked"), roles=UNITS))["trust/start"].verdict is Verdict.OK


def test_outcomes_that_one_arm_loses() -> None:
    log = rows(n=20_000)
    index = pl.int_range(pl.len())
    holes = log.with_columns(y=pl.when((pl.col("arm") == "model") & (index % 10 == 0)).then(None).otherwise("y"))
    found = blocked(ask(holes), "missing")
    assert found.subject == "y"
    assert found.effect is not None
    assert found.effect.value == pytest.approx(0.1, abs=0.02)
    same = log.with_columns(y=pl.when(index % 10 == 0).then(None).otherwise("y"))
    assert named(ask(same))["trust/missing@y"].verdict is not Verdict.ALARM
    assert "trust/missing@y" not in named(ask(log))


def test_missing_outcomes_leave_their_rows_out_of_the_mean() -> None:
    log = rows(lift=0.1)
    holes = log.with_columns(y=pl.when(pl.int_range(pl.len()) % 5 == 0).then(None).otherwise("y"))
    nans = log.with_columns(y=pl.when(pl.int_range(pl.len()) % 5 == 0).then(math.nan).otherwise("y"))
    expected = values(named(ask(holes.drop_nulls(), shares=None))["effect/relative@y"])
    for table in (holes, nans):
        assert values(named(ask(table))["effect/relative@y"]) == pytest.approx(expected, rel=1e-9)


def test_an_effect_that_fades_is_not_believed() -> None:
    log = rows(n=40_000).with_columns(ts=times(np.arange(40_000) // 2 / 1440))
    early = (pl.col("ts") < START + dt.timedelta(days=7)) & (pl.col("arm") == "model")
    fading = log.with_columns(y=pl.when(early).then(1.3 * pl.col("y")).otherwise("y"))
    roles = {**ROLES, "time": "ts"}
    found = blocked(ask(fading, roles=roles), "fading")
    assert found.effect is not None
    assert found.effect.value == pytest.approx(-math.log(1.3), abs=0.02)
    assert "falls from the first half to the second" in found.sentence
    assert named(ask(log, roles=roles))["trust/fading@y"].verdict is not Verdict.ALARM
    steady = log.with_columns(y=pl.when(pl.col("arm") == "model").then(1.3 * pl.col("y")).otherwise("y"))
    assert ask(steady, roles=roles).verdict is Verdict.OK


def test_an_effect_of_other_days_is_no_fading() -> None:
    log = visits(users=6000).with_columns(clicked=pl.when(pl.col("ts").dt.day() > 7).then(1).otherwise("clicked"))
    found = named(ask(log, Mean("clicked"), roles=UNITS))["trust/fading@clicked"]
    assert found.verdict is not Verdict.ALARM


# ------------------------------------------------------------------ units and their windows


def test_a_mean_is_over_units_and_a_ratio_over_rows() -> None:
    log = visits(lift=0.2)
    mean, per_row, over, share = (
        values(named(ask(log, m, roles=UNITS))[f"effect/difference@{m.label}"])
        for m in (
            Mean("clicked", margin=0.1),
            Ratio("clicked", margin=0.1),
            Ratio("spent", "clicked", margin=0.1),
            Share("clicked", margin=0.1),
        )
    )
    log = log.with_columns(one=1.0)
    a, b = (partial(moments, log, arm) for arm in ("rules", "model"))
    expected = lift(a("clicked"), b("clicked"), lambda m: float(m[0]))
    assert mean == pytest.approx((expected.value, *expected.interval(Once(), 0.05, 0.05)), rel=1e-9)
    expected = lift(a("clicked", "one"), b("clicked", "one"), lambda m: float(m[0] / m[1]))
    assert per_row == pytest.approx((expected.value, *expected.interval(Once(), 0.05, 0.05)), rel=1e-9)
    expected = lift(a("spent", "clicked"), b("spent", "clicked"), lambda m: float(m[0] / m[1]))
    assert over == pytest.approx((expected.value, *expected.interval(Once(), 0.05, 0.05)), rel=1e-9)
    bought = (
        log.group_by("user").agg(pl.col("arm").first(), pl.col("clicked").max()).group_by("arm").agg(pl.mean("clicked"))
    )
    shares = dict(bought.iter_rows())
    assert share[0] == pytest.approx(shares["model"] - shares["rules"], rel=1e-9)


def tiny() -> pl.DataFrame:
    """Five users of two days' window: (user, arm, hours since the start, amount)."""
    seen = [
        ("a", "rules", 0, 1.0),
        ("a", "rules", 47, 2.0),
        ("a", "rules", 48, 100.0),  # just after its window
        ("b", "model", 5, 3.0),
        ("b", "model", 80, 100.0),  # long after its window
        ("c", "model", 30, 5.0),
        ("c", "model", 77, 7.0),
        ("d", "rules", 52, 9.0),  # its window closes with the log
        ("e", "model", 53, 100.0),  # its window is still open
        ("f", "rules", 100, 100.0),  # the log's last hour
    ]
    return pl.DataFrame(
        [(u, a, START + dt.timedelta(hours=h), y) for u, a, h, y in seen],
        schema=["user", "arm", "ts", "y"],
        orient="row",
    )


def test_a_window_closes_units_and_each_enters_once() -> None:
    found = counted(tiny(), Mean("y"), Ratio("y"), roles=UNITS, window="2d")
    mean, per_row = found.cells[""]["y"], found.cells[""]["y per row"]
    assert mean.units.sum(axis=1).tolist() == [2, 2]
    assert (mean.moments(0).mean[0], mean.moments(1).mean[0]) == pytest.approx(((3 + 9) / 2, (3 + 12) / 2))
    assert per_row.moments(0).mean.tolist() == pytest.approx([6.0, 1.5])
    assert per_row.moments(1).mean.tolist() == pytest.approx([7.5, 1.5])
    assert mean.moments(0).covariance[0, 0] == pytest.approx(np.var([3, 9], ddof=1))
    # The split is that of all who entered, closed or not, each on the day of its first row.
    assert found.assigned.sum(axis=1).tolist() == [3, 3]
    assert [str(d) for d in found.days] == ["2026-11-01", "2026-11-02", "2026-11-03", "2026-11-05"]
    assert found.assigned.tolist() == [[1, 0, 1, 1], [1, 1, 1, 0]]
    assert isinstance(found.looks, AnyTime)


def test_what_a_unit_did_in_its_window_never_changes() -> None:
    whole = visits(users=300)
    sums: dict[int, tuple[float, float]] = {}
    for day in (9, 11, 14):
        log = whole.filter(pl.col("ts") < START + dt.timedelta(days=day))
        found = counted(log, Mean("spent"), roles=UNITS, window="3d")
        cells = found.cells[""]["spent"]
        for i, d in enumerate(found.days):
            closed = (
                float(cells.units[:, i].sum()),
                float((cells.first + cells.units[..., None] * cells.around)[:, i].sum()),
            )
            if d is not None and d.day <= 5:
                assert sums.setdefault(d.day, closed) == pytest.approx(closed)
    assert len(sums) == 5


def test_without_a_window_all_rows_count() -> None:
    found = counted(tiny(), Mean("y"), roles=UNITS)
    assert isinstance(found.looks, Once)
    cells = found.cells[""]["y"]
    assert cells.units.sum(axis=1).tolist() == [3, 3]
    assert cells.moments(0).mean[0] == pytest.approx((103 + 9 + 100) / 3)


def test_windows_are_said() -> None:
    review = ask(visits(), Mean("clicked"), roles=UNITS, window="3d")
    assert any("Each unit counts with its first 3 days, once that has passed" in n for n in review.notes)
    assert any("as often as you like" in n for n in review.notes)
    hours = ask(visits(), Mean("clicked"), roles=UNITS, window="36h")
    assert any("its first 36 hours" in n for n in hours.notes)


def test_the_course_is_drawn_for_many_looks() -> None:
    f = named(ask(visits(users=6000, lift=0.3), Mean("clicked"), roles=UNITS, window="3d"))["effect/relative@clicked"]
    assert f.table is not None
    series = f.table["series"][0]
    assert series["y"][-1] == pytest.approx(values(f)[0], rel=1e-9)
    assert len(series["x"]) == len(series["low"]) == len(series["high"])
    assert sorted(series["x"]) == series["x"]


# ------------------------------------------------------------------ looks


def test_before_its_planned_end_nothing_is_decided() -> None:
    log = visits(users=4000, lift=0.5)
    early = ask(log, Mean("clicked"), roles=UNITS, looks="once", until="2026-11-20")
    assert early.verdict is Verdict.UNDECIDED
    assert early.decision.startswith("Do not decide on this experiment: The planned look has not come yet")
    assert named(early)["trust/looks"].reason == "before_planned_end"
    assert {f.verdict for f in early if f.check == "effect"} == {Verdict.UNDECIDED}
    come = ask(log, Mean("clicked"), roles=UNITS, looks="once", until=dt.date(2026, 11, 15))
    assert come.verdict is Verdict.OK
    assert "trust/looks" not in named(come)


def test_rows_after_the_planned_end_are_not_used() -> None:
    log = visits()
    cut = log.filter(pl.col("ts") < START + dt.timedelta(days=9))
    f, g = (
        named(ask(x, Mean("clicked"), roles=UNITS, looks="once", until="2026-11-10"))["effect/relative@clicked"]
        for x in (log, cut)
    )
    assert (f.n, values(f)) == (g.n, pytest.approx(values(g), rel=1e-9))


def test_planned_dates_spend_the_error() -> None:
    log = visits(users=4000, lift=0.05)
    dates = ["2026-11-06", "2026-11-11", dt.datetime(2026, 11, 21)]  # noqa: DTZ001
    found = counted(log, Mean("clicked"), roles=UNITS, looks=dates)
    assert isinstance(found.looks, Planned)
    assert found.looks.look == 1
    start = log["ts"].min()
    whole = (dt.datetime(2026, 11, 21) - start) / dt.timedelta(days=1)  # noqa: DTZ001
    assert found.looks.fractions[1] == pytest.approx((dt.datetime(2026, 11, 11) - start) / dt.timedelta(days=1) / whole)  # noqa: DTZ001
    review = ask(log, Mean("clicked"), roles=UNITS, looks=dates)
    assert any("This is look 2 of 3 planned ones" in n for n in review.notes)
    cut = log.filter(pl.col("ts") < dt.datetime(2026, 11, 11))  # noqa: DTZ001
    assert found.cells[""]["clicked"].units.sum() == cut["user"].n_unique()
    f = named(review)["effect/relative@clicked"]
    expected = lift(moments(cut, "rules", "clicked"), moments(cut, "model", "clicked"), lambda m: float(m[0]))
    ends = expected.relative_interval(found.looks, 0.05, 0.05)
    assert values(f) == pytest.approx((expected.relative, *ends), rel=1e-9)


def test_before_the_first_planned_date_nothing_is_decided() -> None:
    review = ask(visits(lift=0.5), Mean("clicked"), roles=UNITS, looks=["2026-11-20", "2026-11-30"])
    assert review.verdict is Verdict.UNDECIDED
    assert review.decision.startswith("Do not decide on this experiment: The planned look has not come yet")


def test_the_units_of_the_narrowest_intervals_can_be_planned() -> None:
    found = counted(rows(), planned=5000, alpha=0.1)
    assert found.looks == AnyTime(5000, 0.1)
    assert any("narrowest about 5,000 units" in n for n in ask(rows(), planned=5000).notes)


def test_times_with_a_zone_and_dates_without() -> None:
    log = visits(lift=0.3)
    zoned = log.with_columns(pl.col("ts").dt.replace_time_zone("UTC"))
    for more in ({"looks": "once", "until": "2026-11-15"}, {"looks": ["2026-11-06", "2026-11-15"]}, {"window": "3d"}):
        f, g = (
            named(ask(x, Mean("clicked"), roles=UNITS, shares=[(None, HALF), ("2026-11-08", HALF)], **more))
            for x in (log, zoned)
        )
        assert values(f["effect/relative@clicked"]) == pytest.approx(values(g["effect/relative@clicked"]), rel=1e-9)
        assert {k: v.verdict for k, v in f.items()} == {k: v.verdict for k, v in g.items()}


def test_days_are_times() -> None:
    log = visits(lift=0.3).with_columns(pl.col("ts").cast(pl.Date))
    found = named(ask(log, Mean("clicked"), roles=UNITS, window="3d"))
    assert found["trust/start"].verdict is Verdict.OK
    assert found["effect/relative@clicked"].effect is not None


# ------------------------------------------------------------------ less variance


def known(n: int = 4000, lift: float = 0.0, seed: int = 0) -> pl.DataFrame:
    """Rows whose amount was mostly known before."""
    rng = np.random.default_rng(seed)
    arm, old = arms(rng, n), rng.normal(10, 3, n)
    new = old + rng.normal(0, 1, n) + 10 * lift * (arm == "model")
    return pl.DataFrame({"arm": arm, "user": np.arange(n), "old": old, "y": new})


def test_a_column_from_before_takes_variance_away() -> None:
    log = known(lift=0.02)
    plain, found = (named(ask(log, m))["effect/relative@y"] for m in (Mean("y"), Mean("y", covariate="old")))
    assert (plain.verdict, found.verdict) == (Verdict.UNDECIDED, Verdict.OK)
    a, b = (Moments.of(log.filter(pl.col("arm") == x).select("y", "old").to_numpy()) for x in ("rules", "model"))
    expected = lift(a, b, lambda m: float(m[0]), covariate=lambda m: float(m[1]))
    ends = expected.relative_interval(AnyTime(20_000, 0.05), 0.05, 0.05)
    assert values(found) == pytest.approx((expected.relative, *ends), rel=1e-9)
    assert f"covariate takes away {quantity(expected.reduction, 'share')} of the variance" in found.method
    assert named(ask(log, Mean("y", covariate="old")))["trust/balance@old"].verdict is not Verdict.ALARM


def test_a_column_from_before_of_units() -> None:
    log = visits(lift=0.1).with_columns(age=20.0 + pl.col("user") % 40)
    log = log.with_columns(spent=pl.col("spent") + 0.5 * pl.col("age"))
    found = named(ask(log, Mean("spent", covariate="age", margin=1.0), roles=UNITS))["effect/difference@spent"]
    parts = [
        log.filter(pl.col("arm") == x).group_by("user").agg(pl.sum("spent"), pl.first("age")).select("spent", "age")
        for x in ("rules", "model")
    ]
    a, b = (Moments.of(p.to_numpy()) for p in parts)
    expected = lift(a, b, lambda m: float(m[0]), covariate=lambda m: float(m[1]))
    assert values(found) == pytest.approx((expected.value, *expected.interval(Once(), 0.05, 0.05)), rel=1e-9)


def before_and_after(n: int = 2500) -> tuple[pl.DataFrame, pl.DataFrame]:
    """A log, and what most of its users had done in the two weeks before."""
    log = visits(users=n, lift=0.05)
    rng = np.random.default_rng(5)
    keen = log.group_by("user").agg(pl.len().alias("n")).sort("user")
    old = keen.filter(pl.col("user") % 10 > 0).select(pl.col("user").repeat_by("n").explode())
    pre = old.with_columns(
        ts=times(-rng.uniform(0.1, 14, old.height)),
        clicked=pl.Series(rng.integers(0, 2, old.height)),
        spent=pl.Series(rng.gamma(2, 5, old.height)),
    )
    return log, pre


def test_a_table_from_before_takes_variance_away() -> None:
    log, pre = before_and_after()
    found = named(ask(log, Mean("spent", margin=1.0), Ratio("spent", "clicked", margin=1.0), roles=UNITS, pre=pre))
    sums = pre.group_by("user").agg(old_spent=pl.sum("spent"), old_clicked=pl.sum("clicked"))
    parts = []
    for arm in ("rules", "model"):
        part = log.filter(pl.col("arm") == arm).group_by("user").agg(pl.sum("spent", "clicked"))
        parts.append(part.join(sums, on="user", how="left").fill_null(0))
    a, b = (Moments.of(p.select("spent", "old_spent").to_numpy()) for p in parts)
    expected = lift(a, b, lambda m: float(m[0]), covariate=lambda m: float(m[1]))
    mean = found["effect/difference@spent"]
    assert values(mean) == pytest.approx(
        (expected.value, *expected.interval(Once(), mean.alpha, mean.alpha_each)), rel=1e-9
    )
    a, b = (
        Moments.of(p.select("spent", "clicked", "old_spent", "old_clicked").to_numpy().astype(float)) for p in parts
    )
    expected = lift(a, b, lambda m: float(m[0] / m[1]), covariate=lambda m: float(m[2] / m[3]))
    ratio = found["effect/difference@spent/clicked"]
    assert values(ratio) == pytest.approx(
        (expected.value, *expected.interval(Once(), ratio.alpha, ratio.alpha_each)), rel=1e-9
    )
    assert expected.reduction >= 0


def test_a_covariate_that_differs_between_arms_is_not_believed() -> None:
    log = known().with_columns(old=pl.col("old") + pl.when(pl.col("arm") == "model").then(2.0).otherwise(0.0))
    found = blocked(ask(log, Mean("y", covariate="old")), "balance")
    assert found.subject == "old"


def test_covariates_with_holes_are_filled_by_their_mean() -> None:
    log = known(lift=0.02).with_columns(old=pl.when(pl.col("user") % 7 == 0).then(None).otherwise("old"))
    filled = log.with_columns(pl.col("old").fill_null(pl.col("old").mean()))
    f, g = (named(ask(x, Mean("y", covariate="old")))["effect/relative@y"] for x in (log, filled))
    assert values(f) == pytest.approx(values(g), rel=1e-9)


def test_a_margin_on_another_scale_is_refused() -> None:
    log = rows()
    with pytest.raises(InputError, match="'effect/difference@y' holds nothing"):
        ask(log, margins={"effect/difference@y": 0.3})
    with pytest.raises(InputError, match="'effect/relative' holds nothing"):
        ask(log, Mean("y", margin=0.3), margins={"effect/relative": 0.3})
    found = named(ask(log, margins={"effect/relative@y": 0.3}))["effect/relative@y"]
    assert found.margin == 0.3


def test_large_sums_are_cut_where_that_is_asked_for() -> None:
    rng = np.random.default_rng(0)
    log = pl.DataFrame({"arm": np.repeat(["rules", "model"], [9000, 3000]), "y": rng.lognormal(0, 3, 12_000)})
    shares = {"rules": 3, "model": 1}
    plain = named(ask(log, shares=shares))["effect/relative@y"]
    assert (plain.verdict, plain.reason) == (Verdict.UNDECIDED, "heavy_tails")
    assert "winsorize=0.999" in plain.action
    review = ask(log, Mean("y", winsorize=0.95), shares=shares)
    cap = float(log["y"].sort(descending=True)[600 - 1])
    cut = ask(log.with_columns(pl.col("y").clip(upper_bound=cap)), shares=shares)
    f, g = (named(r)["effect/relative@y"] for r in (review, cut))
    assert values(f) == pytest.approx(values(g), rel=1e-9)
    assert any("The largest sums of y were cut at" in n for n in review.notes)
    assert "winsorised" in f.method


# ------------------------------------------------------------------ other metrics


def test_a_metric_of_ones_own() -> None:
    log = visits(lift=0.2).with_columns(cost=0.3)
    own = Custom(("spent", "cost"), lambda s, c: (s - c) / c, name="return", margin=5.0)
    found = named(ask(log, own, roles=UNITS))["effect/difference@return"]
    a, b = (moments(log, arm, "spent", "cost") for arm in ("rules", "model"))
    expected = lift(a, b, lambda m: float((m[0] - m[1]) / m[1]))
    assert values(found) == pytest.approx((expected.value, *expected.interval(Once(), 0.05, 0.05)), rel=1e-9)


def test_a_metric_without_a_value_is_undecided() -> None:
    log = rows().with_columns(none=0.0)
    found = named(ask(log, Ratio("y", "none")))["effect/relative@y/none"]
    assert (found.verdict, found.reason) == (Verdict.UNDECIDED, "no_value")
    found = named(ask(log, Mean("none")))["effect/relative@none"]
    assert (found.verdict, found.reason) == (Verdict.UNDECIDED, "no_variation")
    negative = log.with_columns(pl.col("y") - 30)
    found = named(ask(negative))["effect/relative@y"]
    assert (found.verdict, found.reason) == (Verdict.UNDECIDED, "no_scale")


def test_true_and_false_are_one_and_nought() -> None:
    log = rows(n=20_000, lift=0.1).with_columns(hit=pl.col("y") > 12)
    same = log.with_columns(pl.col("hit").cast(pl.Int64))
    for metric in (Mean("hit"), Share("hit"), Ratio("hit")):
        f, g = (named(ask(x, metric))[f"effect/relative@{metric.label}"] for x in (log, same))
        assert values(f) == pytest.approx(values(g), rel=1e-9)
        assert f.verdict is Verdict.OK


def test_a_share_is_in_points() -> None:
    log = rows(n=20_000, lift=0.1).with_columns(hit=pl.col("y") > 12)
    f = named(ask(log, Share("hit", margin=0.01)))["effect/difference@hit"]
    assert f.effect is not None
    assert f.effect.unit == "share"
    assert f.margin == 0.01


@pytest.mark.parametrize("q", [0.5, 0.95])
def test_a_quantile_of_rows(q: float) -> None:
    log = rows(n=6000)
    slow = log.with_columns(ms=pl.when(pl.col("arm") == "model").then(1.5 * pl.col("ms")).otherwise("ms"))
    metric = Quantile("ms", q, better="down")
    f = named(ask(slow, metric, looks="once"))[f"effect/relative@{metric.label}"]
    assert f.verdict is Verdict.ALARM
    tails = [Tail(np.sort(slow.filter(pl.col("arm") == a)["ms"].to_numpy()), 0, 3000) for a in ("rules", "model")]
    gap = QuantileGap(tails[0], tails[1], q)
    assert values(f) == pytest.approx((gap.relative, *gap.relative_interval(Once(), 0.05, 0.05)), rel=1e-9)
    assert ask(slow, Quantile("ms", q), looks="once").verdict is Verdict.OK


def test_a_quantile_of_units_whose_rows_are_alike() -> None:
    log = visits(users=2000)
    alike = pl.concat([log.with_columns(ms=pl.col("user").hash() % 1000 + pl.col("ms") / 1e6) for _ in range(3)])
    f = named(ask(alike, Quantile("ms", 0.5, relative=0.2), roles=UNITS))["effect/relative@ms p50"]
    rows_alone = named(ask(alike, Quantile("ms", 0.5, relative=0.2), looks="once"))["effect/relative@ms p50"]
    wide, narrow = (b - a for _, a, b in (values(f), values(rows_alone)))
    assert wide > 2 * narrow
    assert "design effect of units" in f.method


def test_a_quantile_is_of_units_whose_window_has_closed() -> None:
    log = visits(users=4000)
    entry = pl.col("ts").min().over("user")
    within = pl.col("ts") < entry + dt.timedelta(days=3)
    closed = log.filter(within & (entry <= log["ts"].max() - dt.timedelta(days=3)))
    tails = counted(log, Quantile("ms", 0.9), roles=UNITS, window="3d").quantiles[""]["ms p90"]
    assert sum(t.rows for t in tails) == closed.height
    for tail, arm in zip(tails, ("rules", "model"), strict=True):
        part = closed.filter(pl.col("arm") == arm)["ms"].to_numpy()
        assert tail.at(0.9) == pytest.approx(float(np.quantile(part, 0.9)), rel=1e-9)


def test_a_quantile_leaves_units_in_two_arms_out() -> None:
    log = visits()
    astray = log.with_columns(
        arm=pl.when((pl.col("user") < 300) & (pl.int_range(pl.len()) % 2 == 0)).then(pl.lit("model")).otherwise("arm")
    )
    mixed = astray.filter(pl.col("arm").n_unique().over("user") == 1)
    assert mixed.height < log.height
    tails = counted(astray, Quantile("ms", 0.9), roles=UNITS).quantiles[""]["ms p90"]
    assert sum(t.rows for t in tails) == mixed.height


def test_ends_of_a_quantile_near_nought_are_not_absurd() -> None:
    log = rows(n=4000).with_columns(steps=(pl.col("ms") / 20).floor())
    f = named(ask(log, Quantile("steps", 0.5)))["effect/relative@steps p50"]
    assert f.effect is None or f.effect.high < 1e6


def test_too_few_rows_for_a_quantile_are_said() -> None:
    f = named(ask(rows(n=4000), Quantile("ms", 0.999)))["effect/relative@ms p99.9"]
    assert (f.verdict, f.reason) == (Verdict.UNDECIDED, "too_few_rows")


@pytest.mark.parametrize("alpha", [0.05, 1e-3, 1e-5, 1e-7])
def test_a_quantile_at_small_error_rates(alpha: float) -> None:
    review = ask(rows(n=7000), Quantile("ms", 0.99, better="down"), Mean("y"), alpha=alpha)
    assert named(review)["effect/relative@ms p99"].verdict is Verdict.UNDECIDED


# ------------------------------------------------------------------ segments


def test_segments_are_looked_at_and_one_that_is_harmed_stands_in_the_way() -> None:
    log = visits(users=6000, lift=0.4)
    harmed = log.with_columns(
        clicked=pl.when((pl.col("country") == "DE") & (pl.col("arm") == "model")).then(0).otherwise("clicked")
    )
    review = ask(harmed, Mean("clicked", margin=0.05), roles={**UNITS, "segment": "country"})
    found = named(review)
    de, fr = (found[f"effect/difference@clicked[{c}]"] for c in ("DE", "FR"))
    assert (de.verdict, fr.verdict) == (Verdict.ALARM, Verdict.OK)
    assert (de.primary, fr.primary) == (True, False)
    assert review.verdict is Verdict.ALARM
    assert de.goal == "inside"
    assert found["effect/difference@clicked"].primary
    part = harmed.filter(pl.col("country") == "FR")
    expected = lift(moments(part, "rules", "clicked"), moments(part, "model", "clicked"), lambda m: float(m[0]))
    assert values(fr)[0] == pytest.approx(expected.value, rel=1e-9)
    assert fr.n == part["user"].n_unique()


def test_units_of_several_segments_are_said() -> None:
    log = visits().with_columns(
        country=pl.when((pl.col("user") < 50) & (pl.int_range(pl.len()) % 2 == 0))
        .then(pl.lit("IT"))
        .otherwise("country")
    )
    mixed = log.group_by("user").agg(pl.col("country").n_unique().alias("n")).filter(pl.col("n") > 1).height
    review = ask(log, Mean("clicked"), roles={**UNITS, "segment": "country"})
    assert any(f"{mixed:,} units were seen in more than one segment" in n for n in review.notes)
    f = named(review)["effect/relative@clicked"]
    assert f.n == 3000


def test_quantiles_have_segments_too() -> None:
    log = visits(users=3000)
    found = named(ask(log, Quantile("ms", 0.5, relative=0.1), roles={**UNITS, "segment": "country"}))
    assert {"effect/relative@ms p50", "effect/relative@ms p50[DE]", "effect/relative@ms p50[FR]"} <= set(found)


# ------------------------------------------------------------------ holes and odd tables


def test_rows_without_an_arm_or_a_unit_are_left_out() -> None:
    log = visits()
    torn = log.with_columns(
        arm=pl.when(pl.int_range(pl.len()) % 10 == 0).then(None).otherwise("arm"),
        user=pl.when(pl.int_range(pl.len()) % 10 == 1).then(None).otherwise("user"),
    )
    review = ask(torn, Mean("clicked"), roles=UNITS)
    expected = ask(torn.drop_nulls(["arm", "user"]), Mean("clicked"), roles=UNITS)
    f, g = (named(r)["effect/relative@clicked"] for r in (review, expected))
    assert (f.n, values(f)) == (g.n, pytest.approx(values(g), rel=1e-9))
    lost = torn["arm"].null_count()
    assert any(f"{lost:,} rows without a version were left out" in n for n in review.notes)


def test_rows_without_a_unit_are_said() -> None:
    torn = visits().with_columns(user=pl.when(pl.int_range(pl.len()) % 10 == 1).then(None).otherwise("user"))
    notes = ask(torn, Mean("clicked"), roles=UNITS).notes
    assert any(f"{torn['user'].null_count():,} rows without a unit" in n for n in notes)


@pytest.mark.parametrize("unit", [True, False])
@pytest.mark.parametrize("more", [{"looks": "once"}, {"window": "3d"}, {"looks": ["2026-11-06", "2026-11-15"]}])
def test_rows_without_a_time_do_not_stop_the_count(unit: bool, more: dict[str, Any]) -> None:
    if "window" in more and not unit:
        more = {"looks": "any"}
    log = visits().with_columns(ts=pl.when(pl.col("user") % 50 == 0).then(None).otherwise("ts"))
    roles = UNITS if unit else {"version": "arm", "time": "ts"}
    review = ask(log, Mean("clicked"), roles=roles, **more)
    assert named(review)["effect/relative@clicked"].effect is not None


def test_arms_may_be_numbers_or_categories() -> None:
    log = rows(lift=0.1)
    coded = log.with_columns(arm=(pl.col("arm") == "model").cast(pl.Int64))
    review = ask(coded, control="0", shares={"0": 0.5, "1": 0.5})
    assert review.decision.startswith("Ship 1: ")
    category = ask(log.with_columns(pl.col("arm").cast(pl.Categorical)))
    assert category.decision == ask(log).decision
    truth = ask(log.with_columns(arm=pl.col("arm") == "model"), control="false", shares={"false": 1, "true": 1})
    assert truth.decision.startswith("Ship true: ")


def test_the_arm_can_be_guessed() -> None:
    review = ask(rows(lift=0.1).rename({"arm": "version"}), roles=None)
    assert review.verdict is Verdict.OK
    assert any("'version' was taken as the role 'version'" in n for n in review.notes)


def test_rows_as_units_are_said() -> None:
    assert any("Rows were taken as independent" in n for n in ask(rows()).notes)
    assert any("interference" in n for n in ask(rows()).notes)


def test_progress_is_told() -> None:
    said: list[str] = []
    ask(rows(), progress=said.append)
    assert said == ["opening the log", "numbering the arms", "adding up each unit", "deciding"]


# ------------------------------------------------------------------ what is refused

Refused = tuple[Callable[[], Any], str]
WINDOWED = {"roles": UNITS, "metrics": ["mean:clicked"]}


def refused() -> dict[str, Refused]:
    log, visited = rows(n=500), visits(users=50)
    changing = visited.with_columns(age=pl.int_range(pl.len()))
    late = known(500).with_columns(when=pl.lit(START + dt.timedelta(days=1)), ts=pl.lit(START))
    pre = visited.with_columns(pl.col("ts") - dt.timedelta(days=30))
    single = log.filter(pl.col("arm") == "rules")
    many = log.with_columns(arm=pl.concat_str(pl.lit("a"), pl.int_range(pl.len()) % 30))
    return {
        "no metric": (lambda: ask(log, metrics=[]), "No metric was given; name what shall be better"),
        "twice": (lambda: ask(log, "mean:y", "share:y"), "Two metrics are called 'y'; give one of them another name."),
        "both": (lambda: ask(log, "mean:y", guardrails=["mean:y"]), "Two metrics are called 'y'"),
        "no such metric": (lambda: ask(log, 3), "The metric 3 is no metric; give one such as Mean('clicked')"),
        "words": (lambda: ask(log, "clicked"), "is not of the form KIND:COLUMN"),
        "no column": (lambda: ask(log, "mean:z"), "The log has no column 'z' that a metric asks for; check the name."),
        "no covariate": (
            lambda: ask(log, Mean("y", covariate="z")),
            "The log has no column 'z' that a metric asks for",
        ),
        "number": (lambda: ask(log, Mean(3)), "The log has no column 3 that a metric asks for"),  # type: ignore[arg-type]
        "text": (lambda: ask(log, "mean:arm"), "The metric column 'arm' holds String, no numbers; give 0 and 1"),
        "infinite": (
            lambda: ask(log.with_columns(y=pl.lit(math.inf))),
            "The metric column 'y' holds values beyond 1e+100 in 500 rows; leave them missing.",
        ),
        "control": (
            lambda: ask(log, control="old"),
            "No row of 'arm' is the control 'old'; its values are '",
        ),
        "one arm": (lambda: ask(single), "Every row of 'arm' is 'rules'; an experiment has another arm"),
        "many arms": (lambda: ask(many, control="a0"), "The column 'arm' has more than 20 values"),
        "no arm": (lambda: ask(log.rename({"arm": "q"}), roles={}), "Nothing says which arm a row belongs to"),
        "no role": (lambda: ask(log, roles={"colour": "arm"}), "There is no role 'colour'"),
        "role": (lambda: ask(log, roles={"version": "arms"}), "arms"),
        "time": (lambda: ask(log, roles={**ROLES, "time": "y"}), "y"),
        "alpha": (lambda: ask(log, alpha=0.7), "The error rate alpha is 0.7"),
        "margin": (lambda: ask(log, margins={"effect/relative@z": 0.1}), "names 'z', which 'effect' did not look at"),
        "margin check": (lambda: ask(log, margins={"drift": 0.1}), "The margin 'drift' names no check"),
        "shares of others": (
            lambda: ask(log, shares={"rules": 0.5, "new": 0.5}),
            "The planned shares are for 'rules', 'new', the arms are 'rules', 'model'; give a share for each arm.",
        ),
        "shares of some": (lambda: ask(log, shares={"rules": 1.0}), "give a share for each arm"),
        "negative shares": (lambda: ask(log, shares={"rules": 1.5, "model": -0.5}), "give positive numbers"),
        "no shares": (lambda: ask(log, shares={"rules": 0, "model": 0}), "give positive numbers"),
        "shares in words": (lambda: ask(log, shares={"rules": "half", "model": "half"}), "half"),
        "shares as numbers": (lambda: ask(log, shares=[0.5, 0.5]), "A stage of the ramp is 0.5; give (start, shares)."),
        "stage": (lambda: ask(log, shares=[(None, 0.5)]), "The shares of a stage are 0.5; give arm to share."),
        "one number": (lambda: ask(log, shares=0.5), "0.5"),  # type: ignore[arg-type]
        "ramp without time": (lambda: ask(log, shares=RAMP), "The stages of a ramp have dates, but no column"),
        "ramp backwards": (
            lambda: ask(visited, **WINDOWED, shares=[(None, HALF), ("2026-11-08", HALF), ("2026-11-05", HALF)]),
            "The stages of the ramp are not in the order of time; give each a later start.",
        ),
        "ramp date": (
            lambda: ask(visited, **WINDOWED, shares=[(None, HALF), ("soon", HALF)]),
            "'soon' in shares is no date; give one such as 2026-11-28.",
        ),
        "window": (lambda: ask(visited, **WINDOWED, window="week"), "'week' is no length of a window"),
        "window of months": (
            lambda: ask(visited, **WINDOWED, window="1mo"),
            "An observation window of '1mo' has no fixed length; give hours or days, such as '7d'.",
        ),
        "window of rows": (lambda: ask(visited, **WINDOWED, window="50 rows"), "has no fixed length"),
        "window of none": (lambda: ask(visited, **WINDOWED, window="0d"), "'0d' is no length of a window"),
        "window number": (lambda: ask(visited, **WINDOWED, window=7), "7"),  # type: ignore[arg-type]
        "window without units": (
            lambda: ask(visited, "mean:clicked", roles={**ROLES, "time": "ts"}, window="7d"),
            "An observation window counts from each unit's first row on; name the columns of the roles unit and time.",
        ),
        "any without a window": (
            lambda: ask(visited, **WINDOWED, looks="any"),
            "Looking at any time needs units whose sums are final: give each an observation window",
        ),
        "looks": (lambda: ask(log, looks="daily"), "The looks are 'daily'; give 'any', 'once', or a list of dates."),
        "looks as a number": (lambda: ask(log, looks=3), "The looks are 3; give 'any', 'once', or a list of dates."),  # type: ignore[arg-type]
        "looks without time": (lambda: ask(log, looks=["2026-11-08"]), "The looks have dates, but no column has"),
        "no looks": (lambda: ask(visited, **WINDOWED, looks=[]), "give rising dates after the start on 2026-11-01"),
        "looks backwards": (
            lambda: ask(visited, **WINDOWED, looks=["2026-11-09", "2026-11-08"]),
            "The looks are ['2026-11-09', '2026-11-08']; give rising dates after the start on 2026-11-01.",
        ),
        "look before": (lambda: ask(visited, **WINDOWED, looks=["2026-10-09"]), "give rising dates after the start"),
        "look date": (lambda: ask(visited, **WINDOWED, looks=["soon"]), "'soon' in looks is no date"),
        "until": (lambda: ask(log, looks="once", until="soon"), "'soon' in until is no date"),
        "until without time": (lambda: ask(log, looks="once", until="2026-11-20"), "time"),
        "until of any": (
            lambda: ask(visited, **WINDOWED, window="3d", looks="any", until="2026-11-20"),
            "until",
        ),
        "planned": (lambda: ask(log, planned=0), "The experiment is planned for 0 units; give a whole number."),
        "planned words": (lambda: ask(log, planned="many"), "The experiment is planned for 'many' units"),  # type: ignore[arg-type]
        "changes": (
            lambda: ask(changing, Mean("clicked", covariate="age"), roles=UNITS),
            "The covariate 'age' changes within ",
        ),
        "itself": (
            lambda: ask(log, Mean("y", covariate="y")),
            "The covariate 'y' of the metric 'y' is what it measures: it came after",
        ),
        "itself below": (lambda: ask(log, Ratio("y", "ms", covariate="ms")), "The covariate 'ms' of the metric 'y/ms'"),
        "became known late": (
            lambda: ask(
                late,
                Mean("y", covariate="old"),
                roles={**ROLES, "unit": "user", "time": "ts", "feature_times": {"old": "when"}},
                looks="once",
            ),
            "The covariate 'old' became known after the row's 'ts' in 500 rows ('when')",
        ),
        "became known late, rows": (
            lambda: ask(
                late,
                Mean("y", covariate="old"),
                roles={**ROLES, "time": "ts", "feature_times": {"old": "when"}},
            ),
            "The covariate 'old' became known after the row's 'ts' in 500 rows ('when')",
        ),
        "empty covariate": (
            lambda: ask(log.with_columns(old=pl.lit(None, dtype=pl.Float64)), Mean("y", covariate="old")),
            "The covariate 'old' has no value at all; leave it out.",
        ),
        "pre after": (
            lambda: ask(visited, **WINDOWED, pre=pre.vstack(visited)),
            f"{visited.height:,} rows of the pre table are from after the experiment began on 2026-11-01",
        ),
        "pre without time": (lambda: ask(visited, **WINDOWED, pre=pre.drop("ts")), "it has no times in 'ts'"),
        "pre without unit": (lambda: ask(visited, **WINDOWED, pre=pre.drop("user")), "needs the unit (user)"),
        "pre of rows": (lambda: ask(log, pre=log), "needs the unit (a column with that role)"),
        "pre of nothing": (lambda: ask(visited, **WINDOWED, pre=pre.drop("clicked")), "has the columns of no metric"),
        "pre of words": (
            lambda: ask(visited, **WINDOWED, pre=pre.with_columns(pl.col("clicked").cast(pl.String))),
            "clicked",
        ),
        "pre of other units": (
            lambda: ask(visited, **WINDOWED, pre=pre.with_columns(pl.col("user").cast(pl.String))),
            "user",
        ),
        "pre engine": (lambda: ask(visited, **WINDOWED, pre=3), "give a path, or a Polars, pandas"),
        "no value": (
            lambda: ask(log.with_columns(ms=pl.lit(None, dtype=pl.Float64)), Quantile("ms", 0.5)),
            "The metric 'ms p50' has no value in 'ms'; leave it out.",
        ),
        "empty": (lambda: ask(log.head(0)), "rules"),
    }


REFUSED = tuple(re.findall(r'^        "([^"]+)": \(', Path(__file__).read_text(encoding="utf-8"), flags=re.MULTILINE))


@pytest.mark.parametrize("case", REFUSED)
def test_what_is_refused_is_said_in_one_sentence(case: str) -> None:
    make, part = refused()[case]
    with pytest.raises(InputError) as caught:
        make()
    said = str(caught.value)
    assert part in said
    assert said.endswith((".", "?"))
    assert "\n" not in said


# ------------------------------------------------------------------ every form of table


@functools.cache
def asked(engine: str, way: str) -> Review:
    import tempfile

    log, pre = before_and_after(1200)
    log = log.with_columns(
        spent=pl.when(pl.col("user") % 40 == 0).then(None).otherwise("spent"),
        bought=pl.col("clicked") == 1,
        age=20.0 + pl.col("user") % 40,
    )
    metrics = [
        Mean("spent", winsorize=0.99),
        Share("bought", margin=0.02),
        Ratio("clicked"),
        Quantile("ms", 0.9, better="down"),
        Custom(("spent", "clicked"), lambda s, c: s / (1 + c), name="own"),
        Mean("age", name="years", covariate=None, goal="equivalence", margin=5.0),
        Mean("clicked", name="adjusted", covariate="age"),
    ]
    roles = {**UNITS, "segment": "country"}
    with tempfile.TemporaryDirectory() as folder, handed_in(engine, Path(folder), log=log, pre=pre) as given:
        if way == "rows":
            return ask(given["log"], *metrics, roles={"version": "arm", "segment": "country"})
        if way == "window":
            return ask(given["log"], *metrics, roles=roles, window="3d", shares=[(None, HALF), ("2026-11-08", HALF)])
        if way == "dates":
            return ask(given["log"], *metrics, roles=roles, looks=["2026-11-06", "2026-11-15"])
        return ask(given["log"], *metrics, roles=roles, pre=given["pre"])


@pytest.mark.parametrize("way", ["rows", "window", "dates", "pre"])
@pytest.mark.parametrize("engine", ["parquet", "lazy", "pandas", "pandas-arrow", "pyarrow", "duckdb"])
def test_every_form_gives_the_same_review(engine: str, way: str) -> None:
    ours, theirs = asked("polars", way), asked(engine, way)
    assert (theirs.verdict, theirs.decision) == (ours.verdict, ours.decision)
    assert theirs.rows == ours.rows
    assert theirs.notes == ours.notes
    found, others = named(ours), named(theirs)
    assert set(found) == set(others)
    for key, f in found.items():
        g = others[key]
        assert (f.verdict, f.reason, f.n, f.primary, f.margin) == (g.verdict, g.reason, g.n, g.primary, g.margin), key
        assert f.alpha_each == pytest.approx(g.alpha_each), key
        if f.effect is not None:
            assert values(f) == pytest.approx(values(g), rel=1e-9, abs=1e-9), key
        if f.p_value is not None:
            assert f.p_value == pytest.approx(g.p_value, rel=1e-6), key


@pytest.mark.parametrize("way", ["rows", "window", "dates", "pre"])
def test_the_reviews_compared_have_something_in_them(way: str) -> None:
    found = [f for f in asked("polars", way) if f.check == "effect"]
    assert {f.subject for f in found} >= {"spent", "bought", "clicked per row", "ms p90", "own", "years", "adjusted"}
    assert {f.segment for f in found} == {None, "DE", "FR"}
    assert sum(f.effect is not None for f in found) >= 14


# ------------------------------------------------------------------ error rates


def ships(review: Review) -> bool:
    return review.decision.startswith("Ship")


@pytest.mark.slow
def test_an_experiment_of_nothing_hardly_ever_ships_however_often_one_looks() -> None:
    repeats, looks = 400, (500, 1000, 2000, 3500, 6000)
    shipped = blamed = 0
    for seed in range(repeats):
        rng = np.random.default_rng([1, seed])
        arm = np.where(rng.random(looks[-1]) < 0.5, "model", "rules")
        log = pl.DataFrame({"arm": arm, "y": rng.exponential(1, looks[-1])})
        reviews = [ask(log.head(n), planned=3000) for n in looks]
        shipped += any(map(ships, reviews))
        blamed += any(named(r)["trust/srm"].verdict is Verdict.ALARM for r in reviews)
    assert shipped / repeats <= at_most(0.05, repeats)
    assert blamed / repeats <= at_most(0.001, repeats)


@pytest.mark.slow
def test_units_that_come_back_do_not_make_it_ship() -> None:
    repeats = 300
    shipped = blamed = 0
    for seed in range(repeats):
        log = visits(users=1200, seed=seed)
        reviews = [
            ask(
                log.filter(pl.col("ts") < START + dt.timedelta(days=day)),
                Mean("clicked"),
                Ratio("spent", "clicked", goal="non-inferiority", relative=0.5),
                roles=UNITS,
                window="3d",
                planned=1000,
            )
            for day in (8, 10, 12, 14)
        ]
        shipped += any(map(ships, reviews))
        blamed += any(f.check == "trust" and f.verdict is Verdict.ALARM for r in reviews for f in r)
    assert shipped / repeats <= at_most(0.05, repeats)
    assert blamed / repeats <= at_most(0.011, repeats)


@pytest.mark.slow
def test_one_planned_look_ships_nothing_at_the_promised_rate_and_something_mostly() -> None:
    repeats = 400
    shipped = [0, 0]
    for seed in range(repeats):
        for i, gain in enumerate((0.0, 0.08)):
            shipped[i] += ships(ask(rows(n=1000, lift=gain, seed=10_000 + seed), looks="once"))
    assert at_least(0.05, repeats) <= shipped[0] / repeats <= at_most(0.05, repeats)
    assert shipped[1] / repeats > 0.9


@pytest.mark.slow
def test_none_of_two_useless_arms_ships() -> None:
    repeats = 500
    shipped = sum(
        ships(ask(three((0.0, 0.0), n=900, seed=20_000 + s), looks="once", shares=THIRDS)) for s in range(repeats)
    )
    assert shipped / repeats <= at_most(0.05, repeats)


@pytest.mark.slow
def test_a_harmful_guardrail_hardly_ever_ships() -> None:
    """At a loss of exactly the margin, a gain elsewhere ships at most one time in twenty."""
    repeats = 400
    shipped = 0
    for seed in range(repeats):
        rng = np.random.default_rng([2, seed])
        arm = arms(rng, 2000)
        treated = arm == "model"
        log = pl.DataFrame(
            {
                "arm": arm,
                "y": rng.normal(10, 3, 2000) * (1 + 0.3 * treated),
                "ms": rng.gamma(4, 5, 2000) * (1 + 0.1 * treated),
            }
        )
        shipped += ships(ask(log, "mean:y", guardrails=[Mean("ms", better="down", relative=0.1)], looks="once"))
    assert at_least(0.05, repeats) <= shipped / repeats <= at_most(0.05, repeats)
