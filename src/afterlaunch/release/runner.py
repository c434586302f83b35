"""Releases in the world: each step is stored before anything is done, and what was not done is done again."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from afterlaunch.decide import InputError
from afterlaunch.release import controller
from afterlaunch.release.actions import Act
from afterlaunch.release.controller import Action, Evidence, State
from afterlaunch.release.history import Conflict, History
from afterlaunch.release.history import Step as Stored
from afterlaunch.release.plan import Plan

logger = logging.getLogger(__name__)


@dataclass
class Releases:
    """The releases of one model.

    Every step is appended to the history, with the evidence it used, before its actions are carried out; actions that
    were stored and not confirmed, as after a crash, are carried out again first. Two controllers never both act: the
    history takes the step of one of them only.

    Attributes:
        plan: The plan.
        history: Where steps are stored.
        acts: What carries out actions, each in turn.
    """

    plan: Plan
    history: History
    acts: Sequence[Act] = field(default_factory=tuple)

    def status(self) -> State | None:
        """Where the latest release stands; None before the first."""
        found = self.history.latest(self.plan.model)
        return None if found is None else State.from_dict(found.state)

    def steps(self) -> list[Stored]:
        """Every step of every release of the model, oldest first."""
        return self.history.steps(self.plan.model)

    def banned(self) -> dict[str, str]:
        """Versions that were rolled back, and why."""
        states = [State.from_dict(s.state) for s in self.steps()]
        return {s.challenger: s.reason for s in states if s.phase == "rolled_back"}

    def start(
        self, *, release: str, champion: str, challenger: str, now: datetime | None = None, override: str | None = None
    ) -> State:
        """Begin a release.

        Args:
            release: Its name, which no release of the model had before.
            champion: Version that everybody has.
            challenger: Version to be released.
            now: The time; that of the clock when None.
            override: Who allows a version that was rolled back before.

        Raises:
            InputError: When another release goes on, the name was used, or the challenger may not be released.
        """
        state = self.status()
        if state is not None and not state.over:
            raise InputError(
                f"The release {state.release!r} of {self.plan.model!r} is {controller.said(state.phase)}; abort it, or "
                "wait until it is over."
            )
        if any(s.release == release for s in self.steps()):
            raise InputError(
                f"{self.plan.model!r} had a release {release!r} before; the name is the salt, give a new one."
            )
        begun = controller.start(
            self.plan,
            release=release,
            champion=champion,
            challenger=challenger,
            now=now or _now(),
            banned=self.banned(),
            override=override,
        )
        return self._store(begun, None)

    def tick(self, evidence: Evidence | None, *, now: datetime | None = None) -> State:
        """Take a step if there is one to take.

        Args:
            evidence: What is known of the stage, from `read_gates`.
            now: The time; that of the clock when None.

        Raises:
            InputError: When no release was begun, or an action cannot be carried out.
        """
        moment = now or _now()
        if moment > _now() + AHEAD:
            raise InputError(
                f"The time {moment.isoformat(timespec='minutes')} is ahead of the clock; see which is wrong."
            )
        state = self._current()
        found = self._keep(state, controller.step(self.plan, state, evidence, moment), evidence)
        self.settle()
        return found

    def resume(self, *, who: str, now: datetime | None = None) -> State:
        """Let a release that a person holds be judged again, where it stands."""
        state = self._current()
        return self._keep(state, controller.resume(state, who=who, now=now or _now()), None)

    def approve(self, *, who: str, now: datetime | None = None) -> State:
        """Let a release that waits go on."""
        state = self._current()
        return self._keep(state, controller.approve(self.plan, state, who=who, now=now or _now()), None)

    def hold(self, *, who: str, why: str = "", now: datetime | None = None) -> State:
        """Stop a release where it stands."""
        state = self._current()
        return self._keep(state, controller.hold(state, who=who, why=why, now=now or _now()), None)

    def abort(self, *, who: str, why: str = "", now: datetime | None = None) -> State:
        """Roll a release back."""
        state = self._current()
        return self._keep(state, controller.abort(self.plan, state, who=who, why=why, now=now or _now()), None)

    def settle(self) -> None:
        """Carry out what was stored and not confirmed.

        Of several steps only the last share is set: an older one would undo it. Where nothing carries out actions,
        they stay to be done, for whoever comes with something that does.

        Raises:
            InputError: When a share cannot be set or a version not be promoted; it stays to be done. That people could
                not be told stops nothing, and goes to the log of this module.
        """
        if not self.acts:
            return
        waiting = [s for s in self.history.pending() if s.model == self.plan.model]
        last = max((s.version for s in waiting if any(a["kind"] != "tell" for a in s.actions)), default=0)
        failed: list[str] = []
        for stored in waiting:
            state = State.from_dict(stored.state)
            wrong = []
            for data in stored.actions:
                action = Action.from_dict(data)
                if action.kind == "tell" or stored.version == last:
                    wrong += self._act(action, state)
            if not wrong:
                self.history.mark_done(self.plan.model, stored.version, at=_now())
            failed += wrong
        if failed:
            raise InputError(failed[0])

    def _current(self) -> State:
        state = self.status()
        if state is None:
            raise InputError(f"No release of {self.plan.model!r} was begun; start one.")
        return state

    def _keep(self, before: State, taken: controller.Step, evidence: Evidence | None) -> State:
        return before if taken == (before, ()) else self._store(taken, evidence)

    def _store(self, taken: controller.Step, evidence: Evidence | None) -> State:
        state, actions = taken
        latest = self.history.latest(self.plan.model)
        try:
            self.history.append(
                self.plan.model,
                0 if latest is None else latest.version,
                release=state.release,
                at=state.seen,
                state=state.to_dict(),
                evidence={} if evidence is None else evidence.to_dict(),
                actions=[a.to_dict() for a in actions],
            )
        except Conflict:
            raise InputError(
                f"Another controller took the step of {self.plan.model!r} first; look at its status and try again."
            ) from None
        self.settle()
        return state

    def _act(self, action: Action, state: State) -> list[str]:
        """Carry out an action by all that can; what went wrong, where it matters."""
        wrong = []
        for act in self.acts:
            try:
                act(action, state)
            except InputError as error:
                if action.kind == "tell":
                    logger.warning("Nobody was told that %s: %s", action.words, error)
                else:
                    wrong.append(str(error))
        return wrong


AHEAD = timedelta(hours=1)
"""By so much may a time be ahead of the clock."""


def _now() -> datetime:
    return datetime.now(UTC)


def replay(plan: Plan, steps: Sequence[Stored]) -> State | None:
    """Take every step of a history again, and see that each follows from the one before.

    Args:
        plan: The plan that was followed.
        steps: From `Releases.steps`.

    Returns:
        The state that the history leads to; None for an empty one.

    Raises:
        ValueError: When versions have a gap, a release that is over goes on, or the controller would not have done
            on the evidence of a step what was stored.
    """
    state: State | None = None
    for number, stored in enumerate(steps, start=1):
        following = State.from_dict(stored.state)
        if stored.version != number:
            raise ValueError(f"Step {number} has the version {stored.version}.")
        if state is not None and state.over and following.release == state.release:
            raise ValueError(f"Step {number} goes on with {state.release!r}, which is over.")
        if state is not None and stored.evidence:
            taken = controller.step(plan, state, Evidence.from_dict(stored.evidence), following.seen)
            if taken != (following, tuple(Action.from_dict(a) for a in stored.actions)):
                raise ValueError(f"Step {number} does not follow from its evidence: {following.reason}.")
        state = following
    return state


def shown(steps: Sequence[Stored]) -> list[dict[str, Any]]:
    """Steps as rows to read, oldest first."""
    rows = []
    for stored in steps:
        state = State.from_dict(stored.state)
        rows.append(
            {
                "version": stored.version,
                "at": state.seen.isoformat(timespec="minutes"),
                "release": state.release,
                "phase": controller.said(state.phase),
                "stage": state.stage,
                "reason": state.reason,
            }
        )
    return rows
