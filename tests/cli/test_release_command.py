"""`afterlaunch release` from the command line: words, exit codes, one sentence for what is wrong."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from tests.cli.running import runner

PLAN = """
[release]
model = "ranker"
window = "1d"
stages = [
    {share = 0.0, least = "1d", units = 0},
    {share = 0.5, least = "1d", longest = "5d"},
    {share = 1.0, least = "0m", longest = "1d", units = 0},
]
gates = [{name = "clicks", metric = "ratio:clicked", relative = 0.2}]
"""
BEGIN = datetime(2026, 11, 2, tzinfo=UTC)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "afterlaunch.toml").write_text(PLAN)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def log(folder: Path, *, worse: float = 1.0, first: int = 1, days: int = 3) -> str:
    rng = np.random.default_rng(0)
    user = np.arange(40_000)
    new = rng.random(user.size) < 0.5
    seconds = rng.integers(first * 86_400, (first + days) * 86_400, user.size)
    frame = pl.DataFrame(
        {
            "user": user,
            "version": np.where(new, "W47", "W46"),
            "ts": [BEGIN + timedelta(seconds=int(s)) for s in seconds],
            "clicked": rng.binomial(1, np.where(new, 0.2 * worse, 0.2)),
        }
    )
    frame.write_parquet(folder / "log.parquet")
    return "log.parquet"


def ask(capsys: pytest.CaptureFixture[str], *words: str) -> tuple[int, str]:
    with pytest.MonkeyPatch.context() as patch:
        done = runner(patch, capsys)("release", *words)
    return done.code, done.out + done.err


ROLES = ("--role", "version=version", "--role", "unit=user", "--role", "time=ts")
START = ("start", "--release", "w47", "--champion", "W46", "--challenger", "W47", "--weights", "weights.json")


def test_a_release_from_start_to_end(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert ask(capsys, *START, "--now", "2026-11-02") == (0, "w47: W47 against W46, ramping at shadow\n  begun\n")
    assert ask(capsys, "tick", "--now", "2026-11-03", "--weights", "weights.json")[0] == 0
    assert json.loads((folder / "weights.json").read_text())["share"] == 0.5
    table = log(folder)
    code, said = ask(capsys, "tick", "--log", table, *ROLES, "--now", "2026-11-06", "--weights", "weights.json")
    assert (code, "ramping at 100 %" in said) == (0, True), said
    code, said = ask(capsys, "tick", "--log", table, *ROLES, "--now", "2026-11-06T01:00", "--weights", "weights.json")
    assert "completed" in said
    assert json.loads((folder / "weights.json").read_text())["champion"] == "W47"
    assert ask(capsys, "status")[0] == 0
    assert ask(capsys, "history")[1].count("w47") == 4


def test_an_alarm_rolls_back_and_exits_with_1(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    ask(capsys, *START, "--now", "2026-11-02")
    ask(capsys, "tick", "--now", "2026-11-03")
    code, said = ask(capsys, "tick", "--log", log(folder, worse=0.5), *ROLES, "--now", "2026-11-06")
    assert code == 1
    assert "rolled back" in said
    assert ask(capsys, "status")[0] == 1
    code, said = ask(capsys, *START[:1], "--release", "w48", "--champion", "W46", "--challenger", "W47")
    assert code == 2
    assert "was rolled back" in said


def test_people_decide(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    ask(capsys, *START, "--now", "2026-11-02")
    assert "held by Ada: a fair" in ask(capsys, "hold", "--who", "Ada", "--why", "a fair", "--now", "2026-11-02")[1]
    assert ask(capsys, "status", "--fail-on", "undecided")[0] == 3
    assert "ramping at 50 %" in ask(capsys, "approve", "--who", "Ada", "--now", "2026-11-02")[1]
    assert "rolled back" in ask(capsys, "abort", "--who", "Ada", "--now", "2026-11-02")[1]


def test_a_plan_is_shown_before_anything_starts(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, said = ask(capsys, "plan", "--log", log(folder), "--role", "unit=user", "--role", "time=ts")
    assert code == 0
    assert "every gate can be decided" in " ".join(said.split())


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (("fly",), "There is no 'fly' of a release"),
        (("start",), "--release is missing"),
        (("tick",), "No release of 'ranker' was begun"),
        (("hold",), "--who is missing"),
        (("plan",), "No traffic was given"),
        (("status", "--plan", "no.toml"), "cannot be read"),
        (("tick", "--now", "soon"), "The time 'soon' is none"),
    ],
)
def test_what_is_wrong_is_one_sentence(
    folder: Path, capsys: pytest.CaptureFixture[str], words: tuple[str, ...], sentence: str
) -> None:
    code, said = ask(capsys, *words)
    assert code == 2
    assert sentence in " ".join(said.split())
    assert "Traceback" not in said


def test_before_the_first_release_there_is_no_status(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert ask(capsys, "status") == (0, "No release of 'ranker' was begun.\n")
