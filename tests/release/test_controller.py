"""The controller ships on `ok` only, rolls back on any alarm, and does nothing twice."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from afterlaunch.decide import InputError
from afterlaunch.finding import Verdict
from afterlaunch.release.controller import (
    Action,
    Evidence,
    Reading,
    State,
    Step,
    abort,
    approve,
    hold,
    start,
    step,
)
from afterlaunch.release.plan import Gate, Plan, Stage, duration

PLAN = Plan(
    model="ranker",
    stages=[
        Stage(share=0.0, least="1d", longest="7d", units=0),
        Stage(share=0.01, least="1d", longest="7d", units=100),
        Stage(share=0.25, least="2d", longest="14d", units=100),
        Stage(share=0.5, least="3d", longest="21d", units=100),
        Stage(share=1.0, least="0m", longest="1d", units=0),
    ],
    gates=[
        Gate(name="clicks", metric="ratio:clicked", relative=0.02, estimate_up_to=0.3),
        Gate(name="errors", metric="ratio:error,better=down", relative=0.5, dimension="errors", required_from=0.01),
    ],
)
BEGIN = datetime(2026, 11, 2)  # noqa: DTZ001
DAY = timedelta(days=1)


def begun() -> State:
    return start(PLAN, release="w47", champion="W46", challenger="W47", now=BEGIN)[0]


def evidence(state: State, now: datetime, units: int = 1000, **verdicts: Verdict) -> Evidence:
    every = {g.name: Verdict.OK for g in PLAN.gates} | verdicts
    return Evidence(state.stage, now, units, tuple(Reading(n, v, f"{n} is {v.value}") for n, v in every.items()))


def at(stage: int, now: datetime = BEGIN) -> State:
    return replace(begun(), stage=stage, entered=now, seen=now)


# ------------------------------------------------------------------ one step


def test_a_release_that_holds_goes_from_shadow_to_champion() -> None:
    state, now, shares, kinds = begun(), BEGIN, [0.0], []
    for _ in range(20):
        now += DAY
        state, actions = step(PLAN, state, evidence(state, now), now)
        shares += [a.share for a in actions if a.kind == "set_share" and a.share is not None]
        kinds += [a.kind for a in actions]
        if state.over:
            break
    assert state.phase == "completed"
    assert shares == [0.0, 0.01, 0.25, 0.5, 1.0]
    assert kinds[-2:] == ["promote", "tell"]


@pytest.mark.parametrize("stage", range(5))
def test_any_alarm_rolls_back_at_once(stage: int) -> None:
    state = at(stage)
    for gate in ("clicks", "errors"):
        now = BEGIN + timedelta(minutes=1)
        after, actions = step(PLAN, state, evidence(state, now, **{gate: Verdict.ALARM}), now)
        assert after.phase == "rolled_back"
        assert actions[0] == Action("set_share", "W47", 0.0)
        assert gate in after.reason


def test_a_gate_that_is_not_required_yet_may_be_undecided_but_not_alarm() -> None:
    now = BEGIN + 2 * DAY
    state = at(1)
    after, _ = step(PLAN, state, evidence(state, now, clicks=Verdict.UNDECIDED), now)
    assert after.stage == 2
    state = at(2)
    after, actions = step(PLAN, state, evidence(state, now, clicks=Verdict.UNDECIDED), now)
    assert (after.phase, after.stage, actions) == ("holding", 2, ())
    assert after.reason == "clicks is undecided: clicks is undecided"


def test_too_few_units_no_evidence_and_old_evidence_hold() -> None:
    state, now = at(2), BEGIN + 3 * DAY
    for given, why in (
        (evidence(state, now, units=10), "10 units of the challenger have been seen, 100 are the least"),
        (None, "there is no evidence"),
        (evidence(state, now - 2.5 * DAY), "the evidence is older than 2d"),
        (evidence(state, now + DAY), "the evidence is from the future, so a clock is wrong"),
        (evidence(at(3), now), "the evidence is about another stage"),
        (replace(evidence(state, now), readings=()), "nothing is known of clicks"),
    ):
        after, actions = step(PLAN, state, given, now)
        assert (after.phase, after.stage, after.reason, actions) == ("holding", 2, why, ())


def test_two_readings_of_one_gate_hold() -> None:
    state, now = at(2), BEGIN + 3 * DAY
    found = evidence(state, now)
    twice = replace(found, readings=(*found.readings, found.readings[0]))
    assert "contradicts itself" in step(PLAN, state, twice, now)[0].reason


def test_an_old_alarm_is_an_alarm() -> None:
    state = at(2)
    now = BEGIN + 10 * DAY
    old = evidence(state, BEGIN + DAY, errors=Verdict.ALARM)
    assert step(PLAN, state, old, now)[0].phase == "rolled_back"


def test_an_estimate_goes_as_far_as_it_may_and_no_farther() -> None:
    now = BEGIN + 4 * DAY
    for stage, moved in ((1, True), (2, False), (3, False)):
        state = at(stage)
        found = evidence(state, now)
        guessed = replace(found, readings=tuple(replace(r, estimate=r.gate == "clicks") for r in found.readings))
        after, _ = step(PLAN, state, guessed, now)
        assert (after.stage > stage) == moved, stage


def test_a_stage_that_lasts_too_long_needs_a_person_who_may_let_it_go_on() -> None:
    state = at(2)
    now = BEGIN + 14 * DAY
    after, actions = step(PLAN, state, evidence(state, now, clicks=Verdict.UNDECIDED), now)
    assert after.phase == "needs_person"
    assert actions[0].kind == "tell"
    # It waits for the person, also when the gates get well.
    assert step(PLAN, after, evidence(after, now + DAY), now + DAY) == (after, ())
    moved, actions = approve(PLAN, after, who="Ada", now=now)
    assert (moved.stage, moved.phase, actions[0].share) == (3, "ramping", 0.5)
    assert step(PLAN, after, evidence(after, now, clicks=Verdict.ALARM), now)[0].phase == "rolled_back"


def test_the_clock_may_stand_still_or_go_back() -> None:
    state, now = at(2, BEGIN + 5 * DAY), BEGIN + 4 * DAY
    assert step(PLAN, state, evidence(state, now, clicks=Verdict.ALARM), now) == (state, ())


def test_people() -> None:
    state, now = at(2), BEGIN + DAY
    held, _ = hold(state, who="Ada", now=now, why="a fair")
    assert (held.phase, held.reason) == ("needs_person", "held by Ada: a fair")
    gone, actions = abort(PLAN, held, who="Ada", now=now)
    assert (gone.phase, actions[0].share) == ("rolled_back", 0.0)
    with pytest.raises(InputError, match="rolled back already"):
        abort(PLAN, gone, who="Ada", now=now)
    with pytest.raises(InputError, match="only one that waits"):
        approve(PLAN, state, who="Ada", now=now)
    with pytest.raises(InputError, match="Nobody is named"):
        hold(state, who=" ", now=now)


def test_a_version_that_was_rolled_back_needs_a_name() -> None:
    banned = {"W47": "errors"}
    with pytest.raises(InputError, match=r"'W47' was rolled back \(errors\)"):
        start(PLAN, release="w48", champion="W46", challenger="W47", now=BEGIN, banned=banned)
    state, _ = start(PLAN, release="w48", champion="W46", challenger="W47", now=BEGIN, banned=banned, override="Ada")
    assert "Ada" in state.reason
    with pytest.raises(InputError, match="champion already"):
        start(PLAN, release="w48", champion="W46", challenger="W46", now=BEGIN)


def test_states_and_actions_come_back_from_plain_data() -> None:
    state = at(3)
    assert State.from_dict(state.to_dict()) == state
    action = Action("set_share", "W47", 0.5)
    assert Action.from_dict(action.to_dict()) == action
    with pytest.raises(ValueError, match="no state of a release"):
        State.from_dict({"model": "m"})


# ------------------------------------------------------------------ any path


class Releases(RuleBasedStateMachine):
    """A controller that is ticked with anything at any time."""

    def __init__(self) -> None:
        super().__init__()
        self.now = BEGIN
        self.state = begun()
        self.share = 0.0
        self.promoted = False
        self.reached: set[str] = set()

    @initialize()
    def begin(self) -> None:
        self.state = begun()

    def _take(self, done: Step, *, by_person: bool = False) -> None:
        before, (after, actions) = self.state, done
        for action in actions:
            if action.kind == "set_share":
                assert action.share is not None
                if after.phase != "rolled_back":
                    assert action.share > self.share, "no treated unit moves back"
                self.share = action.share
            elif action.kind == "promote":
                self.promoted = True
        assert not before.over or (after, actions) == (before, ())
        assert after.seen >= before.seen
        self.state = after
        self.reached.add(after.phase)
        if not by_person:
            assert after.stage - before.stage in (0, 1)

    @rule(
        days=st.floats(-1, 9),
        units=st.sampled_from([0, 99, 100, 5000]),
        verdicts=st.lists(st.sampled_from(list(Verdict)), min_size=2, max_size=2),
        estimate=st.booleans(),
        old=st.sampled_from([0.0, 0.0, 0.0, 3.0]),
        stage=st.sampled_from([0, 0, 0, 0, 1]),
        missing=st.sampled_from([False, False, False, True]),
        lost=st.sampled_from([False, False, False, True]),
    )
    def tick(
        self,
        days: float,
        units: int,
        verdicts: list[Verdict],
        estimate: bool,
        old: float,
        stage: int,
        missing: bool,
        lost: bool,
    ) -> None:
        now = self.now + timedelta(days=days)
        readings = tuple(
            Reading(g.name, v, "so", estimate and g.name == "clicks") for g, v in zip(PLAN.gates, verdicts, strict=True)
        )
        given = Evidence(self.state.stage + stage, now - old * DAY, units, readings[:1] if missing else readings)
        found = None if lost else given
        before = self.state
        done = step(PLAN, before, found, now)
        assert step(PLAN, before, found, now) == done
        share = PLAN.stages[before.stage].share
        if done[0].stage > before.stage and 0 < share < 1:
            assert found is not None
            for gate in PLAN.gates:
                if share >= gate.required_from:
                    reading = next(r for r in found.readings if r.gate == gate.name)
                    assert reading.verdict is Verdict.OK, "nothing ships on undecided"
                    assert not reading.estimate or PLAN.stages[done[0].stage].share <= gate.estimate_up_to
            assert now - before.entered >= duration(PLAN.stages[before.stage].least)
        usable = found is not None and found.stage == before.stage and now >= before.seen
        if usable and found is not None and not before.over and Verdict.ALARM in [r.verdict for r in found.readings]:
            assert done[0].phase == "rolled_back"
        self._take(done)
        # What let one stage go on lets no other: it is about a stage that is over.
        if self.state.stage > before.stage and found is not None and PLAN.stages[self.state.stage].share < 1:
            assert step(PLAN, self.state, found, now)[0].stage == self.state.stage
        self.now = max(self.now, now)

    @precondition(lambda self: self.state.phase in ("needs_person", "holding"))
    @rule()
    def approved(self) -> None:
        self._take(approve(PLAN, self.state, who="Ada", now=self.now), by_person=True)

    @precondition(lambda self: not self.state.over)
    @rule()
    def held(self) -> None:
        self._take(hold(self.state, who="Ada", now=self.now), by_person=True)

    @precondition(lambda self: not self.state.over)
    @rule(sure=st.sampled_from([False, False, False, False, True]))
    def aborted(self, sure: bool) -> None:
        if sure:
            self._take(abort(PLAN, self.state, who="Ada", now=self.now), by_person=True)

    @precondition(lambda self: self.state.over)
    @rule()
    def another(self) -> None:
        self.state, self.share, self.promoted = at(0, self.now), 0.0, False

    @invariant()
    def what_is_over_is_over_with_reason(self) -> None:
        if self.state.phase == "rolled_back":
            assert self.share == 0.0
            assert not self.promoted
        if self.state.phase == "completed":
            assert self.promoted
            assert self.share == 1.0


TestReleases = Releases.TestCase
TestReleases.settings = settings(
    max_examples=250, stateful_step_count=50, deadline=None, suppress_health_check=list(HealthCheck)
)
