"""`afterlaunch experiment`, `loop`, `off-policy` and `interleaving` from the command line."""

from __future__ import annotations

from pathlib import Path

import pytest

from afterlaunch.finding import Review
from tests.cli.running import Run, runner
from tests.frames import drafted, experimented, logged, looped


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> Run:
    monkeypatch.chdir(tmp_path)
    for name, table in (("ab", experimented), ("seen", looped), ("old", logged), ("drafts", drafted)):
        table()[1].write_parquet(f"{name}.parquet")
    return runner(monkeypatch, capsys)


UNITS = ("--role", "version=arm", "--role", "unit=user", "--role", "time=ts")


def test_an_experiment(run: Run) -> None:
    done = run(
        *("experiment", "--log", "ab.parquet", "--control", "rules", "--metric", "share:y,margin=0.02", *UNITS),
        *("--share", "rules=0.5", "--share", "model=0.5", "--json", "ab.json", "--html", "ab.html"),
    )
    assert done.code == 0, done.out + done.err
    assert "Ship model: " in done.out
    found = Review.from_json(Path("ab.json").read_text(encoding="utf-8"))
    assert (found.question, found.verdict.value) == ("experiment", "ok")
    assert "Ship model: " in Path("ab.html").read_text(encoding="utf-8")


def test_a_guardrail_that_breaks_exits_with_1(run: Run) -> None:
    done = run(
        *("experiment", "--log", "ab.parquet", "--control", "rules", "--metric", "mean:y", *UNITS),
        *("--guardrail", "ratio:y,better=down,margin=0.05,name=harm"),
    )
    assert done.code == 1
    assert "Keep rules: " in done.out


def test_an_experiment_is_planned(run: Run) -> None:
    words = ("experiment", "plan", "--log", "ab.parquet", "--role", "unit=user", "--role", "time=ts", "--days", "30")
    assert run(*words, "--metric", "mean:y,relative=0.5").code == 0
    done = run(*words, "--metric", "mean:y,relative=0.001", "--share", "0.1", "--power", "0.9")
    assert done.code == 1
    assert "30 days are not enough" in " ".join(done.out.split())


def test_a_loop(run: Run) -> None:
    roles = ("--role", "time=ts", "--role", "item=place", "--role", "unit=user", "--role", "outcome=y")
    done = run("loop", "--log", "seen.parquet", *roles, "--explored", "by_chance", "--fail-on", "undecided")
    assert done.code in (1, 3)
    assert "come back in the next week" in " ".join(done.out.split())


def test_an_old_log_and_drafted_lists(run: Run) -> None:
    roles = ("--role", "outcome=y", "--role", "propensity=p", "--role", "unit=user")
    done = run("off-policy", "--log", "old.parquet", "--target", "talk", *roles)
    assert done.code == 0
    assert "off_policy" in done.out
    roles = ("--role", "list=request", "--role", "outcome=y", "--role", "unit=user", "--role", "position=place")
    done = run("interleaving", "--log", "drafts.parquet", "--first", "old", "--second", "new", *roles)
    assert done.code == 0
    assert "Go on with new" in " ".join(done.out.split())


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (("experiment",), "No table was given for --log"),
        (("experiment", "fly", "--log", "ab.parquet"), "There is no 'fly' of an experiment"),
        (("experiment", "--log", "ab.parquet"), "No metric was given"),
        (("experiment", "--log", "ab.parquet", "--metric", "mean:y"), "No control was given"),
        (("experiment", "--log", "ab.parquet", "--metric", "y", "--control", "rules"), "not of the form KIND:COLUMN"),
        (
            ("experiment", "--log", "ab.parquet", "--metric", "mean:y", "--control", "rules", "--share", "half"),
            "not of the form ARM=SHARE",
        ),
        (("experiment", "plan", "--log", "ab.parquet", "--metric", "mean:y", "--share", "x"), "holds no number"),
        (("experiment", "plan", "--log", "ab.parquet", "--metric", "mean:y", "--power", "2"), "The power is 2.0"),
        (("loop", "--log", "seen.parquet", "--role", "item=place", "--every", "3 rows"), "lengths of time"),
        (("loop", "--log", "seen.parquet", "--role", "item=nothing"), "does not have"),
        (("off-policy", "--log", "old.parquet", "--target", "talk"), "outcome"),
        (("interleaving", "--log", "drafts.parquet", "--first", "old"), "second"),
    ],
)
def test_what_is_wrong_is_one_sentence(run: Run, words: tuple[str, ...], sentence: str) -> None:
    done = run(*words)
    assert done.code == 2
    assert sentence in done.sentence
