"""What to do next: a pure function of the plan, the state, the evidence and the time."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any, Literal

from afterlaunch.decide import InputError
from afterlaunch.finding import Verdict
from afterlaunch.release.plan import Plan, duration

Phase = Literal["ramping", "holding", "needs_person", "completed", "rolled_back"]
OVER = ("completed", "rolled_back")
"""Phases that a release does not leave."""


@dataclass(frozen=True, slots=True)
class Reading:
    """What one gate says of one stage.

    Attributes:
        gate: Its name.
        verdict: `ok`, `alarm` or `undecided`; the worst of its findings, those of segments included.
        sentence: Why, in words.
        estimate: Whether outcomes are late, and it rests on an estimate of them.
    """

    gate: str
    verdict: Verdict
    sentence: str = ""
    estimate: bool = False

    def to_dict(self) -> dict[str, Any]:
        """As plain data."""
        return {"gate": self.gate, "verdict": self.verdict.value, "sentence": self.sentence, "estimate": self.estimate}


@dataclass(frozen=True, slots=True)
class Evidence:
    """What is known of a stage at one time.

    Attributes:
        stage: Index of the stage it is about.
        at: Until when rows were looked at.
        units: Units of the challenger seen in this stage.
        readings: One for each gate.
    """

    stage: int
    at: datetime
    units: int
    readings: tuple[Reading, ...]

    def to_dict(self) -> dict[str, Any]:
        """As plain data."""
        return {
            "stage": self.stage,
            "at": self.at.isoformat(),
            "units": self.units,
            "readings": [r.to_dict() for r in self.readings],
        }

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Evidence:
        """Read evidence back from `to_dict`.

        Raises:
            ValueError: When it is none.
        """
        try:
            readings = tuple(Reading(**{**r, "verdict": Verdict(r["verdict"])}) for r in data["readings"])
            return cls(data["stage"], datetime.fromisoformat(data["at"]), data["units"], readings)
        except (KeyError, TypeError) as error:
            raise ValueError(f"This is no evidence: {error}.") from error


@dataclass(frozen=True, slots=True)
class State:
    """Where a release stands.

    Attributes:
        model: Name of the model.
        release: Name of the release; it is the salt of the ramp.
        champion: Version that everybody has.
        challenger: Version that is released.
        phase: What is going on.
        stage: Index of the stage.
        entered: When the stage began.
        seen: The latest time the controller was told; it never goes back.
        reason: Why the phase is what it is, in words.
    """

    model: str
    release: str
    champion: str
    challenger: str
    phase: Phase
    stage: int
    entered: datetime
    seen: datetime
    reason: str = ""

    @property
    def over(self) -> bool:
        """Whether nothing can happen any more."""
        return self.phase in OVER

    def to_dict(self) -> dict[str, Any]:
        """As plain data."""
        return {
            "model": self.model,
            "release": self.release,
            "champion": self.champion,
            "challenger": self.challenger,
            "phase": self.phase,
            "stage": self.stage,
            "entered": self.entered.isoformat(),
            "seen": self.seen.isoformat(),
            "reason": self.reason,
        }

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> State:
        """Read a state back from `to_dict`.

        Raises:
            ValueError: When it is none.
        """
        try:
            times = {k: datetime.fromisoformat(data[k]) for k in ("entered", "seen")}
            return cls(**{**data, **times})
        except (KeyError, TypeError) as error:
            raise ValueError(f"This is no state of a release: {error}.") from error


@dataclass(frozen=True, slots=True)
class Action:
    """Something to be done outside; doing it twice does no harm.

    Attributes:
        kind: "set_share" of the challenger, "promote" it to champion, or "tell" a person.
        share: Of "set_share".
        version: The challenger.
        words: What to tell.
    """

    kind: Literal["set_share", "promote", "tell"]
    version: str
    share: float | None = None
    words: str = ""

    def to_dict(self) -> dict[str, Any]:
        """As plain data."""
        return {"kind": self.kind, "version": self.version, "share": self.share, "words": self.words}

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Action:
        """Read an action back from `to_dict`."""
        return cls(**data)


@dataclass(frozen=True, slots=True)
class Banned:
    """Versions that were rolled back; they need a named override to be released again.

    Attributes:
        versions: Version to why it was rolled back.
    """

    versions: Mapping[str, str] = field(default_factory=dict)


Step = tuple[State, tuple[Action, ...]]


def start(
    plan: Plan,
    *,
    release: str,
    champion: str,
    challenger: str,
    now: datetime,
    banned: Mapping[str, str] | None = None,
    override: str | None = None,
) -> Step:
    """Begin a release.

    Args:
        plan: The plan.
        release: Name of the release, not used before.
        champion: Version that everybody has.
        challenger: Version to be released.
        now: The time.
        banned: Versions that were rolled back, and why.
        override: Name of the person who allows one of them all the same.

    Raises:
        InputError: When the challenger is the champion, or was rolled back and nobody overrides that.

    Example:
        >>> from afterlaunch.release.plan import Gate
        >>> plan = Plan(model="ranker", gates=[Gate(name="clicks", metric="ratio:clicked")])
        >>> state, actions = start(
        ...     plan, release="w47", champion="W46", challenger="W47", now=datetime(2026, 11, 28)
        ... )
        >>> state.phase, actions[0].kind, actions[0].share
        ('ramping', 'set_share', 0.0)
    """
    for name, value in (("release", release), ("champion", champion), ("challenger", challenger)):
        if not isinstance(value, str) or not value:
            raise InputError(f"The {name} is {value!r}; give its name.")
    if champion == challenger:
        raise InputError(f"{challenger!r} is the champion already; a release has another version as challenger.")
    why = (banned or {}).get(challenger)
    if why is not None and not override:
        raise InputError(
            f"{challenger!r} was rolled back ({why}); name the person who releases it again with override."
        )
    reason = "begun" if why is None else f"begun; {override} overrides that it was rolled back"
    state = State(plan.model, release, champion, challenger, "ramping", 0, now, now, reason)
    return state, (Action("set_share", challenger, plan.stages[0].share),)


def step(plan: Plan, state: State, evidence: Evidence | None, now: datetime) -> Step:
    """What to do, given what is known.

    The same call gives the same answer; a call that changes nothing gives back the state itself and no action.

    Args:
        plan: The plan.
        state: Where the release stands.
        evidence: What is known of the stage; None when nothing is.
        now: The time. A clock that goes back changes nothing.

    Returns:
        The next state, and what has to be done outside.
    """
    if state.over or now < state.seen:
        return state, ()
    stage = plan.stages[state.stage]
    known, lacking = _usable(plan, state, evidence, now)
    if known is not None:
        alarm = next((r for r in known.readings if r.verdict is Verdict.ALARM), None)
        if alarm is not None:
            return _roll_back(plan, state, now, f"{alarm.gate}: {alarm.sentence}".strip(": "))
    if state.phase == "needs_person":
        return state, ()
    waited = now - state.entered
    why = lacking or _waits_for(plan, state, known, waited)
    if why is None:
        required = _required(plan, state) if 0 < stage.share < 1 else []
        return _go_on(plan, state, now, "every gate is ok" if required else f"nothing is required in {stage.name}")
    if waited >= duration(stage.longest):
        reason = f"{stage.name} has lasted {stage.longest} without a decision: {why}"
        return (
            replace(state, phase="needs_person", seen=now, reason=reason),
            (Action("tell", state.challenger, words=f"A person has to decide on {state.release}: {reason}"),),
        )
    phase: Phase = "ramping" if why.startswith(YOUNG) else "holding"
    if (phase, why) == (state.phase, state.reason):
        return state, ()
    return replace(state, phase=phase, seen=now, reason=why), ()


YOUNG = "it is early"
"""How the reason begins while a stage has not lasted its shortest time."""


def _usable(plan: Plan, state: State, evidence: Evidence | None, now: datetime) -> tuple[Evidence | None, str | None]:
    """The evidence, or why it cannot be used."""
    if plan.stages[state.stage].share in (0, 1) and evidence is None:
        return None, None
    if evidence is None:
        return None, "there is no evidence"
    if evidence.stage != state.stage:
        return None, "the evidence is about another stage"
    if evidence.at > now:
        return None, "the evidence is from the future, so a clock is wrong"
    names = [r.gate for r in evidence.readings]
    if len(set(names)) < len(names):
        return None, "the evidence contradicts itself: a gate has two readings"
    if now - evidence.at > duration(plan.stale):
        # An alarm does not grow old.
        alarms = tuple(r for r in evidence.readings if r.verdict is Verdict.ALARM)
        return (replace(evidence, readings=alarms) if alarms else None), f"the evidence is older than {plan.stale}"
    return evidence, None


def _required(plan: Plan, state: State) -> list[str]:
    share = plan.stages[state.stage].share
    return [g.name for g in plan.gates if share >= g.required_from]


def _waits_for(plan: Plan, state: State, evidence: Evidence | None, waited: Any) -> str | None:
    """What stands in the way of going on; None for nothing."""
    stage = plan.stages[state.stage]
    if waited < duration(stage.least):
        return f"{YOUNG}: {stage.name} lasts at least {stage.least}"
    if stage.share == 1:
        return None
    if evidence is not None and evidence.units < stage.units:
        return f"{evidence.units:,} units of the challenger have been seen, {stage.units:,} are the least"
    readings = {r.gate: r for r in evidence.readings} if evidence is not None else {}
    following = plan.stages[state.stage + 1].share
    for name in _required(plan, state):
        reading = readings.get(name)
        if reading is None:
            return f"nothing is known of {name}"
        if reading.verdict is not Verdict.OK:
            return f"{name} is undecided: {reading.sentence}".rstrip(": ")
        if reading.estimate and (following > plan.gate(name).estimate_up_to or following == 1):
            return f"{name} rests on an estimate, which does not go beyond {plan.gate(name).estimate_up_to:.0%}"
    return None


def _go_on(plan: Plan, state: State, now: datetime, why: str) -> Step:
    if state.stage == len(plan.stages) - 1:
        done = replace(state, phase="completed", seen=now, reason=why)
        words = f"{state.challenger} is the champion of {state.model}"
        return done, (Action("promote", state.challenger), Action("tell", state.challenger, words=words))
    after = state.stage + 1
    moved = replace(state, phase="ramping", stage=after, entered=now, seen=now, reason=why)
    return moved, (Action("set_share", state.challenger, plan.stages[after].share),)


def _roll_back(plan: Plan, state: State, now: datetime, why: str) -> Step:
    del plan
    gone = replace(state, phase="rolled_back", seen=now, reason=why)
    words = f"{state.challenger} is rolled back to {state.champion}: {why}"
    return gone, (Action("set_share", state.challenger, 0.0), Action("tell", state.challenger, words=words))


def approve(plan: Plan, state: State, *, who: str, now: datetime) -> Step:
    """A person lets a release go on to the next stage, past gates, shortest time and least units.

    Raises:
        InputError: When the release waits for nobody, or nobody is named.
    """
    _named(who)
    if state.phase not in ("needs_person", "holding"):
        raise InputError(f"{state.release!r} is {said(state.phase)}; only one that waits can be approved.")
    return _go_on(plan, state, max(now, state.seen), f"approved by {who}")


def hold(state: State, *, who: str, now: datetime, why: str = "") -> Step:
    """A person stops a release where it stands, until it is approved or aborted.

    Raises:
        InputError: When it is over, or nobody is named.
    """
    _named(who)
    if state.over:
        raise InputError(f"{state.release!r} is {said(state.phase)} already.")
    reason = f"held by {who}" + (f": {why}" if why else "")
    return replace(state, phase="needs_person", seen=max(now, state.seen), reason=reason), ()


def resume(state: State, *, who: str, now: datetime) -> Step:
    """A person lets a release that waits for one be judged again by its gates, in the stage where it stands.

    Raises:
        InputError: When it waits for nobody, or nobody is named.
    """
    _named(who)
    if state.phase != "needs_person":
        raise InputError(f"{state.release!r} is {said(state.phase)}; only one that waits for a person can be resumed.")
    now = max(now, state.seen)
    return replace(state, phase="ramping", entered=now, seen=now, reason=f"resumed by {who}"), ()


def abort(plan: Plan, state: State, *, who: str, now: datetime, why: str = "") -> Step:
    """A person rolls a release back.

    Raises:
        InputError: When it is over, or nobody is named.
    """
    _named(who)
    if state.over:
        raise InputError(f"{state.release!r} is {said(state.phase)} already.")
    return _roll_back(plan, state, max(now, state.seen), f"aborted by {who}" + (f": {why}" if why else ""))


def said(phase: str) -> str:
    """A phase in words."""
    return phase.replace("_", " ")


def _named(who: str) -> None:
    if not isinstance(who, str) or not who.strip():
        raise InputError("Nobody is named; say who decides with who.")
