"""Releases with their history: what is stored is done, once or again, and never by two."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pytest

from afterlaunch.decide import InputError
from afterlaunch.finding import Verdict
from afterlaunch.release.actions import MlflowAlias, Post, WeightsFile, argo_verdict, flagger_status
from afterlaunch.release.controller import Action, Evidence, Reading, State
from afterlaunch.release.history import History
from afterlaunch.release.plan import Gate, Plan, Stage
from afterlaunch.release.runner import Releases, replay, shown

PLAN = Plan(
    model="ranker",
    stages=[
        Stage(share=0.0, least="1d", units=0),
        Stage(share=0.1, least="1d", units=10),
        Stage(share=0.5, least="1d", units=10),
        Stage(share=1.0, least="0m", longest="1d", units=0),
    ],
    gates=[Gate(name="clicks", metric="ratio:clicked", required_from=0.1)],
)
BEGIN = datetime(2026, 11, 2, tzinfo=UTC)
DAY = timedelta(days=1)


class Killed(Exception):
    """The process is gone."""


def releases(folder: Path, *acts: Callable[[Action, State], None]) -> Releases:
    return Releases(PLAN, History(folder / "history.db"), [WeightsFile(folder / "weights.json"), *acts])


def begin(folder: Path, *acts: Callable[[Action, State], None], release: str = "w47") -> Releases:
    found = releases(folder, *acts)
    found.start(release=release, champion="W46", challenger="W47", now=BEGIN)
    return found


def fine(state: State, now: datetime, verdict: Verdict = Verdict.OK) -> Evidence:
    return Evidence(state.stage, now, 1000, (Reading("clicks", verdict, "so"),))


def tick(found: Releases, days: float, verdict: Verdict = Verdict.OK) -> State:
    state = found.status()
    assert state is not None
    now = BEGIN + days * DAY
    return found.tick(fine(state, now, verdict), now=now)


def weights(folder: Path) -> dict[str, object]:
    out: dict[str, object] = json.loads((folder / "weights.json").read_text(encoding="utf-8"))
    return out


def test_a_release_runs_to_its_end(tmp_path: Path) -> None:
    found = begin(tmp_path)
    assert weights(tmp_path) == {
        "model": "ranker",
        "release": "w47",
        "champion": "W46",
        "challenger": "W47",
        "share": 0.0,
    }
    shares = []
    for day in range(1, 5):
        state = tick(found, day)
        shares.append(weights(tmp_path)["share"])
    assert state.phase == "completed"
    assert shares == [0.1, 0.5, 1.0, 0.0]
    assert weights(tmp_path)["champion"] == "W47"
    assert replay(PLAN, found.steps()) == state
    assert [row["phase"] for row in shown(found.steps())][-1] == "completed"
    with pytest.raises(InputError, match="had a release 'w47' before"):
        found.start(release="w47", champion="W47", challenger="W48", now=BEGIN + 9 * DAY)


def test_a_history_that_does_not_follow_from_its_evidence_is_seen(tmp_path: Path) -> None:
    found = begin(tmp_path)
    for day in (1, 2):
        tick(found, day)
    steps = found.steps()
    assert replay(PLAN, []) is None
    forged = replace(steps[2], evidence={**steps[2].evidence, "units": 3})
    with pytest.raises(ValueError, match="Step 3 does not follow from its evidence"):
        replay(PLAN, [*steps[:2], forged])
    with pytest.raises(ValueError, match="Step 2 has the version 3"):
        replay(PLAN, [steps[0], steps[2]])


def test_a_tick_that_changes_nothing_stores_nothing(tmp_path: Path) -> None:
    found = begin(tmp_path)
    tick(found, 0.1)
    before = len(found.steps())
    for _ in range(5):
        tick(found, 0.1)
    assert len(found.steps()) == before


def test_a_version_that_was_rolled_back_needs_a_name(tmp_path: Path) -> None:
    found = begin(tmp_path)
    tick(found, 1)
    assert tick(found, 1.5, Verdict.ALARM).phase == "rolled_back"
    assert weights(tmp_path)["share"] == 0.0
    with pytest.raises(InputError, match="was rolled back"):
        found.start(release="w47b", champion="W46", challenger="W47", now=BEGIN + 9 * DAY)
    again = found.start(release="w47b", champion="W46", challenger="W47", now=BEGIN + 9 * DAY, override="Ada")
    assert "Ada overrides" in again.reason


def test_one_release_at_a_time(tmp_path: Path) -> None:
    found = begin(tmp_path)
    with pytest.raises(InputError, match="'w47' of 'ranker' is ramping"):
        found.start(release="w48", champion="W46", challenger="W48", now=BEGIN)
    assert found.hold(who="Ada", why="a fair", now=BEGIN).reason == "held by Ada: a fair"
    assert found.approve(who="Ada", now=BEGIN + DAY).stage == 1
    assert found.abort(who="Ada", now=BEGIN + DAY).phase == "rolled_back"
    with pytest.raises(InputError, match="No release of 'ranker' was begun"):
        releases(tmp_path / "..").__class__(PLAN, History(tmp_path / "other.db")).tick(None)


def test_of_two_controllers_one_acts(tmp_path: Path) -> None:
    first, second = begin(tmp_path), releases(tmp_path)
    state = second.status()
    assert state is not None
    tick(first, 1)
    # The second looked before the first acted: its evidence is about a stage that is over.
    after = second.tick(fine(state, BEGIN + DAY), now=BEGIN + DAY)
    assert after.stage == 1
    assert len([s for s in first.steps() if State.from_dict(s.state).stage == 2]) == 0


@pytest.mark.parametrize("seed", range(100))
def test_weights_and_history_agree_after_a_crash_anywhere(tmp_path: Path, seed: int) -> None:
    """The process dies before or after any action, or before the note that it was done; then another goes on."""
    rng = np.random.default_rng(seed)
    left = int(rng.integers(1, 9))

    def dying(action: Action, state: State) -> None:
        nonlocal left
        del action, state
        left -= 1
        if left == 0:
            raise Killed

    found = Releases(PLAN, History(tmp_path / "h.db"), [dying, WeightsFile(tmp_path / "weights.json"), dying])
    day = 0.0
    for _ in range(12):
        day += 1
        try:
            if found.status() is None:
                found.start(release="w47", champion="W46", challenger="W47", now=BEGIN)
            else:
                tick(found, day, Verdict.ALARM if rng.random() < 0.1 else Verdict.OK)
        except Killed:
            found = releases(tmp_path)
            found.history = History(tmp_path / "h.db")
            found.settle()
        state = found.status()
        if state is None:
            continue
        assert not found.history.pending()
        share = {"completed": 0.0, "rolled_back": 0.0}.get(state.phase, PLAN.stages[state.stage].share)
        assert weights(tmp_path)["share"] == share
        assert replay(PLAN, found.steps()) == state


# ------------------------------------------------------------------ the forms of others


def test_verdicts_for_argo_and_flagger(tmp_path: Path) -> None:
    found = begin(tmp_path)
    state = found.status()
    assert state is not None
    assert (argo_verdict(state)["value"], flagger_status(state)) == ("ok", 200)
    held = found.hold(who="Ada", now=BEGIN)
    assert (argo_verdict(held)["value"], flagger_status(held)) == ("undecided", 409)
    gone = found.abort(who="Ada", now=BEGIN)
    assert (argo_verdict(gone)["value"], flagger_status(gone)) == ("alarm", 500)


def test_actions_that_cannot_be_carried_out_say_so(tmp_path: Path) -> None:
    state = State("m", "r", "A", "B", "ramping", 0, BEGIN, BEGIN)
    with pytest.raises(InputError, match="cannot be written"):
        WeightsFile(tmp_path / "no" / "weights.json")(Action("set_share", "B", 0.1), state)
    with pytest.raises(InputError, match="none of http or https"):
        Post("ftp://x")
    with pytest.raises(InputError, match="did not take 'tell'"):
        Post("http://127.0.0.1:9/", timeout=0.5)(Action("tell", "B", words="x"), state)
    MlflowAlias("m")(Action("set_share", "B", 0.1), state)  # only a promotion concerns the registry
