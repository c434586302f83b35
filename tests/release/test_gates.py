"""Gates read from a log of both versions, stage by stage."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import polars as pl
import pytest

from afterlaunch.decide import InputError
from afterlaunch.finding import Verdict
from afterlaunch.release.controller import State
from afterlaunch.release.gates import read_gates
from afterlaunch.release.plan import Gate, Plan, Stage
from afterlaunch.release.power import plan_power

PLAN = Plan(
    model="ranker",
    window="1d",
    stages=[
        Stage(share=0.0, units=0),
        Stage(share=0.5, least="1d", longest="10d"),
        Stage(share=1.0, least="0m", longest="1d", units=0),
    ],
    gates=[
        Gate(name="clicks", metric="ratio:clicked", relative=0.1),
        Gate(name="slow", metric="quantile:ms:0.9,better=down", relative=0.2, dimension="latency", segments=False),
        Gate(name="errors", metric="mean:error,better=down", margin=0.02, dimension="errors"),
        Gate(name="split", dimension="assignment"),
    ],
)
ROLES = {"version": "version", "unit": "user", "time": "ts", "segment": "device"}
BEGIN = datetime(2026, 11, 2, tzinfo=UTC)
STATE = State("ranker", "w47", "W46", "W47", "ramping", 1, BEGIN, BEGIN)
NOW = BEGIN + timedelta(days=6)


def log(*, worse: float = 1.0, in_app: float = 1.0, slow: float = 1.0, errors: float = 0.01, share: float = 0.5) -> Any:
    rng = np.random.default_rng(0)
    users = 60_000
    rows = rng.poisson(2, users) + 1
    user = np.repeat(np.arange(users), rows)
    new = (rng.random(users) < share)[user]
    app = user % 4 == 0
    first = np.repeat(rng.uniform(0, 5, users), rows)
    rate = 0.3 * np.where(new, worse * np.where(app, in_app, 1.0), 1.0)
    return pl.DataFrame(
        {
            "user": user,
            "version": np.where(new, "W47", "W46"),
            "ts": [BEGIN + timedelta(seconds=round(86_400 * float(d))) for d in first + rng.uniform(0, 0.9, user.size)],
            "device": np.where(app, "app", "web"),
            "clicked": rng.binomial(1, rate),
            "ms": rng.lognormal(3, 0.5, user.size) * np.where(new, slow, 1.0),
            "error": rng.binomial(1, np.where(new, errors, 0.01)),
        }
    )


def readings(frame: Any, **more: Any) -> dict[str, Verdict]:
    found = read_gates(PLAN, STATE, frame, now=NOW, roles=ROLES, **more).evidence
    return {r.gate: r.verdict for r in found.readings}


def test_a_version_that_is_as_good_passes_every_gate_that_can_be_decided() -> None:
    found = read_gates(PLAN, STATE, log(), now=NOW, roles=ROLES)
    verdicts = {r.gate: r.verdict for r in found.evidence.readings}
    assert Verdict.ALARM not in verdicts.values()
    assert verdicts["slow"] is verdicts["errors"] is verdicts["split"] is Verdict.OK
    assert found.evidence.units > 20_000
    assert set(found.reviews) == {"quality", "serving"}


@pytest.mark.parametrize(
    ("harm", "gate"),
    [
        ({"worse": 0.75}, "clicks"),
        ({"in_app": 0.6}, "clicks"),
        ({"slow": 1.5}, "slow"),
        ({"errors": 0.08}, "errors"),
        ({"share": 0.42}, "split"),
    ],
)
def test_each_harm_is_seen_by_its_gate(harm: dict[str, float], gate: str) -> None:
    assert readings(log(**harm))[gate] is Verdict.ALARM


def test_only_rows_of_the_stage_count() -> None:
    frame = log()
    before = log(worse=0.2, errors=0.5).with_columns(pl.col("ts") - pl.duration(days=20))
    assert readings(pl.concat([before, frame])) == readings(frame)


def test_a_version_that_is_not_in_the_log_is_undecided() -> None:
    frame = log().filter(pl.col("version") == "W46")
    found = read_gates(PLAN, STATE, frame, now=NOW, roles=ROLES).evidence
    assert {r.verdict for r in found.readings} == {Verdict.UNDECIDED}
    assert found.readings[0].sentence == "the log has no row of W47 in this stage"


def test_rows_of_one_machine_are_grouped() -> None:
    frame = log().with_columns(machine=pl.col("user") % 7)
    assert readings(frame, instance="machine")["errors"] is Verdict.OK
    with pytest.raises(InputError, match="no column 'pod'"):
        readings(frame, instance="pod")


def test_a_panel_tells_of_stability() -> None:
    plan = PLAN.model_copy(update={"gates": (Gate(name="churn", dimension="stability"),)})
    rng = np.random.default_rng(0)
    score = rng.random(2000)
    panel = pl.concat(
        [
            pl.DataFrame({"id": range(2000), "version": ["W46"] * 2000, "p": score}),
            pl.DataFrame({"id": range(2000), "version": ["W47"] * 2000, "p": 1 - score}),
        ]
    )
    roles = {"version": "version", "id": "id", "score": "p", "time": "ts"}
    frame = log()
    found = read_gates(plan, STATE, frame, now=NOW, roles={**roles, "unit": "user"}, panel=panel).evidence
    assert [(r.gate, r.verdict) for r in found.readings] == [("churn", Verdict.ALARM)]


@pytest.mark.parametrize(("pull", "verdict"), [(0.0, Verdict.OK), (2.0, Verdict.ALARM)])
def test_a_version_that_shows_fewer_items_is_seen(pull: float, verdict: Verdict) -> None:
    plan = PLAN.model_copy(update={"gates": (Gate(name="spread", dimension="concentration"),)})
    frame = log()
    rng = np.random.default_rng(1)
    even, pulled = np.arange(1, 101.0), np.arange(1, 101.0) ** (1 + pull)
    new = frame["version"].to_numpy() == "W47"
    shown, pulled_to = (rng.choice(100, frame.height, p=p / p.sum()) for p in (even, pulled))
    item = np.where(new, pulled_to, shown)
    found = read_gates(plan, STATE, frame.with_columns(item=item), now=NOW, roles={**ROLES, "item": "item"}).evidence
    assert [(r.gate, r.verdict) for r in found.readings] == [("spread", verdict)]
    with pytest.raises(InputError, match="needs the roles item and unit"):
        read_gates(plan, STATE, frame, now=NOW, roles=ROLES)


def test_the_creep_is_held_against_the_frozen_version() -> None:
    gates = (
        Gate(name="clicks", metric="ratio:clicked", relative=0.1, segments=False),
        Gate(name="since spring", metric="ratio:clicked", relative=0.1, segments=False, against="frozen"),
    )
    plan = Plan.model_validate({**PLAN.model_dump(), "gates": gates, "frozen": "W20"})
    rng = np.random.default_rng(2)
    frame = log(worse=0.99)
    spring = log().with_columns(
        user=pl.col("user") + 1_000_000, version=pl.lit("W20"), clicked=pl.Series(rng.binomial(1, 0.37, log().height))
    )
    found = read_gates(plan, STATE, pl.concat([frame, spring]), now=NOW, roles=ROLES).evidence
    assert {r.gate: r.verdict for r in found.readings} == {"clicks": Verdict.OK, "since spring": Verdict.ALARM}
    with pytest.raises(InputError, match="name that version with frozen"):
        Plan.load({"model": "m", "gates": [{"name": "a", "metric": "mean:x", "against": "frozen"}]})


def test_a_plan_is_held_against_traffic() -> None:
    traffic = log().drop("version")
    found = plan_power(PLAN, traffic, roles={k: v for k, v in ROLES.items() if k != "version"})
    every = {"clicks at 50 %", "slow at 50 %", "errors at 50 %"}
    # The gate on latency asks for no segments.
    every |= {f"{gate} at 50 % in {segment}" for gate in ("clicks", "errors") for segment in ("app", "web")}
    assert {f.subject for f in found} == every
    assert found.decision.startswith(("The plan can be completed", "The plan would wait"))
    tight = PLAN.model_copy(update={"gates": (Gate(name="clicks", metric="ratio:clicked", relative=0.001),)})
    assert plan_power(tight, traffic, roles={"unit": "user", "time": "ts"}).verdict is Verdict.ALARM


INPUTS = {"name": "a", "dimension": "inputs"}


@pytest.mark.parametrize(
    ("data", "words"),
    [
        ({"model": "m"}, "gates: Field required"),
        ({"model": "m", "gates": [{"name": "a"}]}, "has no metric"),
        ({"model": "m", "gates": [INPUTS], "holdout": 0.1}, "name the version"),
        ({"model": "m", "gates": [{"name": "a", "metric": "median:x"}]}, "of no known kind"),
        (
            {"model": "m", "gates": [INPUTS], "stages": [{"share": 0.5}, {"share": 0.2}]},
            "they rise",
        ),
        (
            {"model": "m", "gates": [INPUTS, INPUTS]},
            "two gates are called 'a'",
        ),
        (
            {"model": "m", "gates": [{**INPUTS, "required_from": 0.9}]},
            "never stand in the way",
        ),
        ({"model": "m", "gates": [INPUTS], "window": "1mo"}, "no fixed length"),
        (
            {
                "model": "m",
                "gates": [INPUTS],
                "stages": [{"share": 0.5, "least": "9d", "longest": "1d"}],
            },
            "swap",
        ),
        ({"model": "m", "gates": [INPUTS], "speed": 1}, "speed"),
    ],
)
def test_bad_plans_are_one_sentence(data: dict[str, Any], words: str) -> None:
    with pytest.raises(InputError) as caught:
        Plan.load(data)
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


def test_files_that_hold_no_plan(tmp_path: Any) -> None:
    with pytest.raises(InputError, match="cannot be read"):
        Plan.load(tmp_path / "no.toml")
    (tmp_path / "a.toml").write_text("x = 1")
    with pytest.raises(InputError, match=r"no table \[release\]"):
        Plan.load(tmp_path / "a.toml")
    (tmp_path / "b.toml").write_text("x = ")
    with pytest.raises(InputError, match="no TOML"):
        Plan.load(tmp_path / "b.toml")
