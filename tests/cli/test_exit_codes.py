"""How every command ends: 0, 1 alarm, 2 unusable, 3 undecided, 70 our own fault; one sentence, no traceback."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import afterlaunch.cli.drift as drift_command
from tests.cli.running import Run


def files(folder: Path) -> set[str]:
    return {p.name for p in folder.iterdir()} - {f"{n}.parquet" for n in ("normal", "alike", "moved", "few")}


# ------------------------------------------------------------------ 0, 1, 3


@pytest.mark.parametrize("command", ["drift", "launch"])
@pytest.mark.parametrize(
    ("production", "fail_on", "code"),
    [
        ("alike", None, 0),
        ("alike", "undecided", 0),
        ("moved", None, 1),
        ("moved", "alarm", 1),
        ("moved", "undecided", 1),
        ("few", None, 0),
        ("few", "alarm", 0),
        ("few", "undecided", 3),
    ],
)
def test_the_verdict_is_the_exit_code(
    run: Run, log_files: dict[str, Path], command: str, production: str, fail_on: str | None, code: int
) -> None:
    words: list[Any] = [command, "--reference", log_files["normal"], "--production", log_files[production]]
    words += ["--fail-on", fail_on] if fail_on else []
    if command == "launch":
        words += ["--role", "outcome=y", "--role", "score=p"]
        if production == "moved":
            words[4] = moved_outcomes(log_files["alike"])
    else:
        words += ["--role", "ignore=y"]
    done = run(*words)
    assert (done.code, done.err) == (code, "")
    assert files(log_files["normal"].parent) <= {"turned.parquet"}


def moved_outcomes(path: Path) -> Path:
    """A log whose outcomes are turned round, so that the model is worse than nothing."""
    import polars as pl

    turned = path.with_name("turned.parquet")
    pl.read_parquet(path).with_columns(y=1 - pl.col("y")).write_parquet(turned)
    return turned


# ------------------------------------------------------------------ 2

BAD: dict[str, tuple[list[str], str]] = {
    "no reference": (["drift", "--production", "alike.parquet"], "--reference"),
    "no production": (["drift", "--reference", "normal.parquet"], "--production"),
    "no such file": (["drift", "--reference", "gone.parquet", "--production", "alike.parquet"], "gone.parquet"),
    "no such folder": (["launch", "--reference", "no/gone.csv", "--production", "alike.parquet"], "no/gone.csv"),
    "unknown role": (["drift", "--role", "scoer=p"], "scoer"),
    "role of no column": (["drift", "--role", "score=pp"], "'pp'"),
    "role without column": (["drift", "--role", "score"], "ROLE=COLUMN"),
    "one column in two roles": (["drift", "--role", "score=p", "--role", "prediction=p"], "two roles"),
    "unknown check in a margin": (["drift", "--margin", "drfit=0.1"], "'drfit'"),
    "unknown effect in a margin": (["drift", "--margin", "drift/pis=0.1"], "'drift/pis'"),
    "unknown column in a margin": (["drift", "--margin", "drift/psi@agee=0.1"], "'agee'"),
    "margin of no number": (["drift", "--margin", "drift/psi=much"], "'much'"),
    "margin below zero": (["drift", "--margin", "drift/psi=-1"], "positive number"),
    "margin without value": (["drift", "--margin", "drift/psi"], "=VALUE"),
    "alpha too large": (["drift", "--alpha", "0.7"], "0.7"),
    "alpha of no number": (["drift", "--alpha", "little"], "--alpha"),
    "wrong ending of json": (["drift", "--json", "out.txt"], "out.txt"),
    "wrong ending of html": (["drift", "--html", "out.json"], "out.json"),
    "unknown fail-on": (["drift", "--fail-on", "never"], "never"),
    "unknown option": (["drift", "--colour", "red"], "--colour"),
    "unknown command": (["drfit"], "drfit"),
    "no such config": (["drift", "--config", "gone.toml"], "gone.toml"),
    "unknown task": (["launch", "--task", "guess"], "guess"),
    "cut-off of zero": (["launch", "--k", "0"], "0"),
    "predict of no module": (["launch", "--predict", "no_such_module:f"], "no_such_module"),
    "predict without function": (["launch", "--predict", "math"], "MODULE:FUNCTION"),
    "predict of no function": (["launch", "--predict", "math:nothing"], "nothing"),
    "score of no probability": (["launch", "--role", "outcome=y", "--role", "score=age"], "'age'"),
    "show of no file": (["show", "gone.json"], "gone.json"),
    "show of a table": (["show", "normal.parquet"], "normal.parquet"),
}


@pytest.mark.parametrize("bad", BAD)
def test_unusable_input_ends_with_2_one_sentence_and_no_file(run: Run, log_files: dict[str, Path], bad: str) -> None:
    words, named = BAD[bad]
    given = {"--reference": "normal.parquet", "--production": "alike.parquet"}
    if words[0] in {"drift", "launch"} and not bad.startswith("no "):
        words = [*words, *(w for flag, value in given.items() if flag not in words for w in (flag, value))]
    if words[0] in {"drift", "launch"} and "--json" not in words and "--html" not in words:
        words = [*words, "--json", "out.json", "--html", "out.html"]
    done = run(*words)
    assert done.code == 2, done
    assert named in done.sentence
    assert done.sentence.startswith("afterlaunch: ")
    assert done.sentence.endswith((".", "?"))
    assert done.out == ""
    assert files(log_files["normal"].parent) == set()


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("empty.parquet", b""),
        ("torn.parquet", b"PAR1\x00\x00half"),
        ("empty.csv", b""),
        ("ragged.csv", b"a,b\n1,2\n3\n4,5,6,7\n"),
        ("text.xlsx", b"not a table"),
    ],
)
def test_unusable_files_end_with_2(run: Run, log_files: dict[str, Path], name: str, content: bytes) -> None:
    (log_files["normal"].parent / name).write_bytes(content)
    done = run("drift", "--reference", "normal.parquet", "--production", name, "--json", "out.json")
    assert done.code == 2
    assert name in done.sentence
    assert "out.json" not in files(log_files["normal"].parent)


# ------------------------------------------------------------------ outputs that cannot be written


@pytest.mark.parametrize("flag", ["--json", "--html"])
def test_a_place_that_cannot_be_written_ends_with_2(run: Run, log_files: dict[str, Path], flag: str) -> None:
    words = ["drift", "--reference", "normal.parquet", "--production", "alike.parquet"]
    done = run(*words, flag, f"no/such/folder/out.{flag[2:]}")
    assert done.code == 2
    assert "no/such/folder" in done.sentence
    assert files(log_files["normal"].parent) == set()
    (log_files["normal"].parent / f"taken.{flag[2:]}").mkdir()
    done = run(*words, flag, f"taken.{flag[2:]}")
    assert done.code == 2
    assert "taken" in done.sentence


def test_two_outputs_appear_both_or_not_at_all(run: Run, log_files: dict[str, Path]) -> None:
    words = ["drift", "--reference", "normal.parquet", "--production", "alike.parquet", "--json", "out.json"]
    done = run(*words, "--html", "no/such/folder/out.html")
    assert done.code == 2
    assert files(log_files["normal"].parent) == set()


def test_an_output_that_was_there_is_replaced_only_by_a_whole_one(run: Run, log_files: dict[str, Path]) -> None:
    out = log_files["normal"].parent / "out.json"
    out.write_text("old", encoding="utf-8")
    assert run("drift", "--reference", "gone.parquet", "--production", "alike.parquet", "--json", "out.json").code == 2
    assert out.read_text(encoding="utf-8") == "old"
    words = ["drift", "--reference", "normal.parquet", "--production", "alike.parquet", "--role", "ignore=y"]
    assert run(*words, "--json", "out.json").code == 0
    assert out.read_text(encoding="utf-8").startswith("{")
    assert files(out.parent) == {"out.json"}


# ------------------------------------------------------------------ 70, and streams


def test_our_own_fault_ends_with_70_one_sentence_and_a_debug_log(
    run: Run, log_files: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*words: Any, **more: Any) -> None:
        raise RuntimeError("a mistake of ours\nin two lines")

    monkeypatch.setattr(drift_command, "drift", broken)
    monkeypatch.setenv("TMPDIR", str(log_files["normal"].parent))
    monkeypatch.setattr("tempfile.tempdir", None)
    done = run("drift", "--reference", "normal.parquet", "--production", "alike.parquet", "--json", "out.json")
    assert done.code == 70
    path = Path(done.sentence.split("debug log ")[1].rstrip("."))
    assert "a mistake of ours" in path.read_text(encoding="utf-8")
    assert "Traceback" in path.read_text(encoding="utf-8")
    assert "out.json" not in files(log_files["normal"].parent)
    path.unlink()


def test_no_words_at_all_show_the_help(run: Run) -> None:
    done = run()
    assert done.code == 2
    assert "Usage: afterlaunch" in done.err
    assert "drift" in done.err


def test_the_version(run: Run) -> None:
    import afterlaunch

    done = run("--version")
    assert (done.code, done.out) == (0, f"afterlaunch {afterlaunch.__version__}\n")


@pytest.mark.parametrize("command", ["", "drift", "launch", "show", "demo", "init"])
def test_help_is_help(run: Run, command: str) -> None:
    done = run(*([command] if command else []), "--help")
    assert done.code == 0
    assert "Usage: afterlaunch" in done.out
    assert done.err == ""


def test_as_a_program_of_its_own(log_files: dict[str, Path]) -> None:
    """In a process: exit code, nothing on stderr when all is well, output that a closed pipe does not upset."""
    folder = log_files["normal"].parent
    words = "--reference normal.parquet --production moved.parquet --role ignore=y"
    command = f"'{sys.executable}' -m afterlaunch drift {words}"
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2] / "src")}

    def shell(line: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            line, shell=True, cwd=folder, env=environment, capture_output=True, text=True, encoding="utf-8", check=False
        )

    done = shell(command)
    assert (done.returncode, done.stderr) == (1, "")
    assert "age" in done.stdout
    done = shell(f"{command} --alpha 2")
    assert done.returncode == 2
    assert len(done.stderr.splitlines()) == 1
    assert shell(f"{command} | true").stderr == ""
