"""The review in a terminal."""

from __future__ import annotations

import io
import subprocess
import sys
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from rich.cells import cell_len
from rich.console import Console

from afterlaunch.finding import Finding, Review, Verdict
from afterlaunch.report import render
from tests.report.reviews import launch_review, nasty_review, reviews


def shown(review: Review, width: int = 100, limit: int = 10, **more: Any) -> str:
    console = Console(file=io.StringIO(), **more)
    render(review, console, limit=limit, width=width)
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def test_at_100_columns() -> None:
    text = shown(launch_review(), limit=2)
    assert text.splitlines()[:14] == [
        "▲ ALARM  launch review",
        "Not fine: 100 % of production rows have no duration, against 0 % in the reference. Fill duration at",
        "serving time, or retrain without it: it is known only after the click.",
        "",
        "▲ duration  alarm · availability",
        "  100 % of production rows have no duration, against 0 % in the reference.",
        "  excess share missing 100.00 % [99.95 %, 100.00 %], margin 5 %",
        "  → Fill duration at serving time, or retrain without it: it is known only after the click.",
        "",
        "▲ country  alarm · skew",
        "  country: share of rows that differ is 0.12.",
        "  share of rows that differ 12.0 % [10.9 %, 13.1 %], margin 1 %",
        "  → Look at the pipeline of this column.",
        "",
    ]
    assert [line.split() for line in text.splitlines()[14:20]] == [
        ["check", "alarm", "undecided", "ok"],
        ["availability", "1", "0", "0"],
        ["skew", "1", "0", "0"],
        ["metric", "1", "0", "0"],
        ["calibration", "1", "0", "0"],
        ["drift", "2", "1", "10"],
    ]
    assert text.endswith(f"\n\n{len(launch_review().findings) - 2} more; --html FILE shows all.\n")


@pytest.mark.parametrize("width", [60, 100, 160, 200])
def test_widths(width: int) -> None:
    review = launch_review()
    text = shown(review, width)
    assert all(cell_len(line) <= width and line == line.rstrip() for line in text.splitlines())
    words = " ".join(text.split())
    for f in review.findings:
        if f.verdict is not Verdict.OK:
            assert f.sentence in words
            assert f"→ {f.action}" in words
    assert "no_randomised_slice" not in words
    assert "No randomised slice." in words


def test_all_is_well_and_nothing_checked() -> None:
    fine = Review("drift", tuple(f for f in launch_review() if f.verdict is Verdict.OK))
    text = shown(fine)
    assert text.startswith("● OK  drift review\nFine: all")
    assert text.endswith("--html FILE shows all 11.\n")
    assert shown(Review("drift", ())) == "◆ UNDECIDED  drift review\nNot decided: nothing could be checked.\n"


def test_markup_and_control_characters_do_not_act() -> None:
    text = shown(nasty_review(), 160, limit=50, force_terminal=True, color_system="truecolor")
    assert "[red]markup[/red]" in text
    assert "\x1b]8;" not in text
    assert "\x1b[31m and nul" not in text
    assert "␛[31m and nul ␀" in text
    assert "\u202e" not in text


def test_colours_only_on_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setenv("TERM", "xterm")
    assert "\x1b" not in shown(launch_review())
    assert "\x1b[1;31m" in shown(launch_review(), force_terminal=True, color_system="standard")
    monkeypatch.setenv("NO_COLOR", "1")
    assert "31m" not in shown(launch_review(), force_terminal=True, color_system="standard", _environ={"NO_COLOR": "1"})


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "cp1252"])
def test_other_encodings(encoding: str) -> None:
    for review in (launch_review(), nasty_review()):
        raw = io.BytesIO()
        console = Console(file=io.TextIOWrapper(raw, encoding=encoding, write_through=True))
        render(review, console, width=100)
        text = raw.getvalue().decode(encoding)
        assert text.startswith("! ALARM  launch review")
        assert "> Look at" in text


def test_standard_output_that_is_ascii() -> None:
    code = (
        "from tests.report.reviews import launch_review; from afterlaunch.report import render; render(launch_review())"
    )
    env = {"PYTHONPATH": ":".join(sys.path), "PYTHONIOENCODING": "ascii"}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True, env=env)
    assert done.stdout.isascii()
    assert done.stdout.startswith(b"! ALARM")
    assert max(len(line) for line in done.stdout.splitlines()) <= 80


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
@given(review=reviews(), width=st.integers(60, 200), limit=st.integers(-1, 5))
def test_any_review_can_be_shown(review: Review, width: int, limit: int) -> None:
    text = shown(review, width, limit)
    assert review.verdict.value.upper() in text
    assert not set(text) & {chr(code) for code in range(0x20) if chr(code) != "\n"}


def test_an_unknown_encoding_counts_as_ascii() -> None:
    class File(io.StringIO):
        encoding = "of-another-planet"

    console = Console(file=File())
    render(launch_review(), console, width=100)
    assert isinstance(console.file, File)
    assert console.file.getvalue().isascii()


def test_a_finding_may_have_no_action() -> None:
    f = Finding("metric", "auc", "", Verdict.UNDECIDED, "There are no outcomes.", "", None, reason="no_outcomes")
    assert "→" not in shown(Review("launch", (f,)))
