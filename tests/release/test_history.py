"""Steps of releases: appended once, kept as they were given, and never lost between deciding and doing."""

from __future__ import annotations

import itertools
import math
import multiprocessing
import os
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from afterlaunch.decide import InputError
from afterlaunch.release.history import Conflict, History, Step

AT = datetime(2026, 10, 12, 9, 30, tzinfo=UTC)
LATER = AT + timedelta(hours=1)
GIVEN: dict[str, Any] = {
    "release": "r-7",
    "at": AT,
    "state": {"share": 0.01},
    "evidence": {"n": 5},
    "actions": ["ramp"],
}

texts = st.text(st.characters(exclude_categories=["Cs"]))
values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=8,
)
objects = st.dictionaries(texts, values, max_size=4)

numbers = itertools.count()


@pytest.fixture(params=["sqlite", pytest.param("postgres", marks=pytest.mark.postgres)])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """Where an empty history can be kept."""
    if request.param == "sqlite":
        return str(tmp_path / "steps.db")
    import psycopg

    url = request.getfixturevalue("postgres_url")
    name = f"history_{next(numbers)}"
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name}")
    return str(url).replace("/postgres?", f"/{name}?")


@pytest.fixture
def history(place: str) -> Iterator[History]:
    with History(place) as opened:
        yield opened


# Appending and reading -----------------------------------------------------------------------------------------------


def test_steps_are_numbered_by_model(history: History) -> None:
    assert history.latest("churn") is None
    assert history.steps("churn") == []
    first = history.append("churn", 0, **GIVEN)
    second = history.append("churn", 1, **GIVEN | {"release": "r-8", "at": LATER})
    other = history.append("fraud", 0, **GIVEN)
    assert first == Step("churn", "r-7", 1, AT, {"share": 0.01}, {"n": 5}, ["ramp"], None)
    assert (second.version, other.version) == (2, 1)
    assert history.steps("churn") == [first, second]
    assert history.latest("churn") == second
    assert history.latest("fraud") == other


@pytest.mark.parametrize("expected", [0, 2, 99])
def test_only_who_saw_the_latest_may_append(history: History, expected: int) -> None:
    history.append("churn", 0, **GIVEN)
    with pytest.raises(Conflict, match=f"latest step of 'churn' is not number {expected}") as raised:
        history.append("churn", expected, **GIVEN)
    assert (raised.value.model, raised.value.expected) == ("churn", expected)
    assert [step.version for step in history.steps("churn")] == [1]


def test_the_first_step_has_number_one(history: History) -> None:
    with pytest.raises(Conflict):
        history.append("churn", 1, **GIVEN)
    assert history.latest("churn") is None


def test_times_are_kept_in_utc(history: History, place: str) -> None:
    east = AT.astimezone(timezone(timedelta(hours=5, minutes=30)))
    step = history.append("churn", 0, **GIVEN | {"at": east})
    assert step.at == AT
    assert step.at.tzinfo is UTC
    if "://" not in place:
        assert rows(place, "SELECT at FROM release_steps") == [("2026-10-12T09:30:00.000000+00:00",)]


def test_a_history_that_is_opened_again_has_its_steps(place: str) -> None:
    with History(place) as one:
        step = one.append("churn", 0, **GIVEN)
    with History(place) as again:
        assert again.steps("churn") == [step]


# Doing ---------------------------------------------------------------------------------------------------------------


def test_steps_are_pending_until_they_are_marked(history: History) -> None:
    first = history.append("fraud", 0, **GIVEN)
    second = history.append("churn", 0, **GIVEN)
    assert history.pending() == [second, first]
    assert history.mark_done("churn", 1, at=LATER)
    assert history.pending() == [first]
    marked = history.latest("churn")
    assert marked is not None
    assert marked.done == LATER


def test_the_first_mark_stays(history: History) -> None:
    history.append("churn", 0, **GIVEN)
    assert history.mark_done("churn", 1, at=AT)
    assert not history.mark_done("churn", 1, at=LATER)
    assert [step.done for step in history.steps("churn")] == [AT]


def test_a_step_without_actions_is_done(history: History) -> None:
    assert history.append("churn", 0, **GIVEN | {"actions": []}).done == AT
    assert history.pending() == []


def test_a_step_that_is_not_there_cannot_be_marked(history: History) -> None:
    with pytest.raises(InputError, match="'churn' has no step number 1"):
        history.mark_done("churn", 1, at=AT)


# As they were given --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("place", ["sqlite"], indirect=True)
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(state=objects, evidence=objects, actions=st.lists(values, max_size=3))
def test_steps_are_read_as_they_were_given(history: History, state: Any, evidence: Any, actions: Any) -> None:
    latest = history.latest("churn")
    given_step = {"release": "r", "at": AT, "state": state, "evidence": evidence, "actions": actions}
    step = history.append("churn", latest.version if latest else 0, **given_step)
    assert history.latest("churn") == step
    assert (step.state, step.evidence, step.actions) == (state, evidence, actions)


@pytest.mark.parametrize(
    "value",
    [2**80, -0.1, 1e-300, 5e-324, 1.7976931348623157e308, "naïve ☕ 🦆 \" ' \\ %s :x", "\0", "\ud800", [[], {}, None]],
)
def test_odd_values_are_kept(history: History, value: Any) -> None:
    step = history.append("churn", 0, **GIVEN | {"state": {"value": value}, "actions": [value]})
    assert (step.state, step.actions) == ({"value": value}, [value])


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf, AT, {1, 2}, b"a", object()])
@pytest.mark.parametrize("part", ["state", "evidence", "actions"])
def test_what_json_has_no_word_for_is_refused(history: History, part: str, value: Any) -> None:
    wrong = [value] if part == "actions" else {"deep": [value]}
    with pytest.raises(InputError, match=f"The {part} of a step cannot be kept as JSON"):
        history.append("churn", 0, **GIVEN | {part: wrong})
    assert history.latest("churn") is None


@pytest.mark.parametrize("value", [{1: "a"}, (1, 2), {"a": {None: 1}}])
def test_what_would_be_read_as_something_else_is_refused(history: History, value: Any) -> None:
    with pytest.raises(InputError, match="read back as something else"):
        history.append("churn", 0, **GIVEN | {"state": {"deep": value}})


def test_what_holds_itself_is_refused(history: History) -> None:
    ring: list[Any] = []
    ring.append(ring)
    with pytest.raises(InputError, match="cannot be kept as JSON"):
        history.append("churn", 0, **GIVEN | {"actions": ring})


@pytest.mark.parametrize(
    ("wrong", "complaint"),
    [
        ({"release": ""}, "The release is ''"),
        ({"release": None}, "The release is None"),
        ({"release": "a\0b"}, "The release is"),
        ({"release": "\ud800"}, "The release is"),
        ({"at": datetime(2026, 10, 12)}, "give a datetime with a time zone"),  # noqa: DTZ001
        ({"at": "2026-10-12"}, "give a datetime with a time zone"),
        ({"state": []}, "The state of a step is a list; give a dict"),
        ({"actions": {}}, "The actions of a step is a dict; give a list"),
    ],
)
def test_a_step_that_is_none_is_refused(history: History, wrong: dict[str, Any], complaint: str) -> None:
    with pytest.raises(InputError, match=complaint):
        history.append("churn", 0, **GIVEN | wrong)


@pytest.mark.parametrize("expected", [-1, None, True, 1.0])
def test_a_version_that_is_none_is_refused(history: History, expected: Any) -> None:
    with pytest.raises(InputError, match="The expected version is"):
        history.append("churn", expected, **GIVEN)


# Several processes ---------------------------------------------------------------------------------------------------

RACES = 60


def race(place: str, name: str, start: Any, results: Any) -> None:
    """Append each version in turn, and tell which of them were ours."""
    start.wait(60)
    won = []
    with History(place) as history:
        start.wait(60)
        for expected in range(RACES):
            try:
                won.append(history.append("churn", expected, **GIVEN | {"state": {"by": name}}).version)
            except Conflict:
                # Another one was first; it may be several steps ahead, and then these are conflicts too.
                continue
    results.put((name, won))


def test_of_processes_that_append_at_once_one_wins_each_version(place: str) -> None:
    context = multiprocessing.get_context("spawn")
    names = ["a", "b", "c"]
    start, results = context.Barrier(len(names)), context.Queue()
    running = [context.Process(target=race, args=(place, name, start, results)) for name in names]
    for process in running:
        process.start()
    won = dict(results.get(timeout=120) for _ in running)
    for process in running:
        process.join(60)
        assert process.exitcode == 0
    with History(place) as history:
        steps = history.steps("churn")
    assert [step.version for step in steps] == list(range(1, RACES + 1))
    assert {step.version: step.state["by"] for step in steps} == {v: n for n, versions in won.items() for v in versions}
    assert sum(map(len, won.values())) == RACES


KILLED = """
import os, signal, sys
from datetime import UTC, datetime
from afterlaunch.release.history import History

at = datetime(2026, 10, 12, tzinfo=UTC)
history = History(sys.argv[1])
for version in range(2):
    history.append("churn", version, release="r", at=at, state={}, evidence={}, actions=["ramp"])
    if version == 0:
        history.mark_done("churn", 1, at=at)
print("appended", flush=True)
os.kill(os.getpid(), signal.SIGKILL)
"""


def test_a_step_of_a_killed_process_stays_pending(place: str) -> None:
    source = str(Path(__file__).parents[2] / "src")
    done = subprocess.run(
        [sys.executable, "-c", KILLED, place],
        check=False,
        capture_output=True,
        text=True,
        timeout=100,
        env=os.environ | {"PYTHONPATH": source},
    )
    assert (done.stdout, done.returncode) == ("appended\n", -signal.SIGKILL), done.stderr
    with History(place) as history:
        assert [(step.version, step.actions) for step in history.pending()] == [(2, ["ramp"])]
        with pytest.raises(Conflict):
            history.append("churn", 1, **GIVEN)
        history.mark_done("churn", 2, at=AT)
        assert history.append("churn", 2, **GIVEN).version == 3


# Where it is kept ----------------------------------------------------------------------------------------------------


def test_sqlite_survives_a_loss_of_power(tmp_path: Path) -> None:
    import sqlalchemy as sa

    with History(tmp_path / "steps.db") as history, history._engine.connect() as connection:
        assert connection.execute(sa.text("PRAGMA journal_mode")).scalar() == "wal"
        assert connection.execute(sa.text("PRAGMA synchronous")).scalar() == 2


def test_a_reader_does_not_wait_for_a_writer(tmp_path: Path) -> None:
    place = str(tmp_path / "steps.db")
    with History(place) as history:
        step = history.append("churn", 0, **GIVEN)
        writer = sqlite3.connect(place, isolation_level=None)
        try:
            writer.execute("BEGIN IMMEDIATE")
            assert history.latest("churn") == step
        finally:
            writer.close()


def test_the_schema_of_a_newer_version_is_refused(place: str) -> None:
    import sqlalchemy as sa

    with History(place) as history, history._engine.begin() as connection:
        assert connection.execute(sa.text("SELECT part, version FROM schema_version")).all() == [("release_steps", 1)]
        connection.execute(sa.text("UPDATE schema_version SET version = 2"))
    with pytest.raises(InputError, match="schema 2, which a newer version of afterlaunch made; update this one"):
        History(place)


def test_a_file_that_is_no_database_is_refused(tmp_path: Path) -> None:
    place = tmp_path / "steps.db"
    place.write_text("no database " * 1000, encoding="utf-8")
    with pytest.raises(InputError, match=r"steps\.db' cannot be used: file is not a database"):
        History(place)
    assert place.read_text(encoding="utf-8").startswith("no database")


def test_a_folder_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="cannot be used: unable to open database file"):
        History(tmp_path / "nowhere" / "steps.db")


@pytest.mark.parametrize(
    ("place", "complaint"),
    [
        (":memory:", "in memory is lost"),
        ("sqlite://", "in memory is lost"),
        ("mysql://user@host/database", "cannot be kept in 'mysql'"),
        ("postgresql://user:secret@host:port/database", "cannot be read"),
    ],
)
def test_a_place_that_is_none_is_refused(place: str, complaint: str) -> None:
    with pytest.raises(InputError, match=complaint) as raised:
        History(place)
    assert "secret" not in str(raised.value)


def test_a_server_that_does_not_answer_is_a_sentence_without_the_password(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="cannot be used") as raised:
        History(f"postgresql://user:secret@/database?host={tmp_path}")
    assert "secret" not in str(raised.value)


@pytest.mark.parametrize(
    ("package", "open_it"),
    [
        ("sqlalchemy", lambda folder: History(folder / "steps.db")),
        ("psycopg", lambda folder: History("postgresql://user@host/database")),
    ],
)
def test_a_missing_package_is_a_sentence(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, package: str, open_it: Callable[[Path], History]
) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(InputError, match=rf"needs {package}; run: pip install 'afterlaunch\[service\]'"):
        open_it(tmp_path)


def test_importing_it_leaves_sqlalchemy_alone() -> None:
    code = "import sys, afterlaunch.release.history; sys.exit('sqlalchemy' in sys.modules)"
    source = str(Path(__file__).parents[2] / "src")
    subprocess.run([sys.executable, "-c", code], check=True, env=os.environ | {"PYTHONPATH": source})


def rows(place: str, query: str) -> list[tuple[Any, ...]]:
    connection = sqlite3.connect(place)
    try:
        return connection.execute(query).fetchall()
    finally:
        connection.close()
