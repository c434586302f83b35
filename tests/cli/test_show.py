"""`afterlaunch show`: a saved review again, without its data."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.cli.running import Run

WORDS = ["drift", "--reference", "normal.parquet", "--role", "ignore=y", "--json", "out.json"]


@pytest.mark.parametrize(("production", "code"), [("alike", 0), ("moved", 1), ("few", 0)])
def test_it_shows_what_was_shown_and_ends_as_that_did(
    run: Run, log_files: dict[str, Path], production: str, code: int
) -> None:
    first = run(*WORDS, "--production", f"{production}.parquet")
    for path in log_files.values():
        path.unlink()
    again = run("show", "out.json")
    assert again.code == first.code == code
    assert again.out == first.out.replace("Written: out.json\n", "")
    assert again.err == ""


def test_it_obeys_fail_on(run: Run, log_files: dict[str, Path]) -> None:
    run(*WORDS, "--production", "few.parquet")
    assert run("show", "out.json", "--fail-on", "undecided").code == 3


def test_it_renders_the_page_again(run: Run, log_files: dict[str, Path]) -> None:
    run(*WORDS, "--production", "moved.parquet", "--html", "first.html")
    run("show", "out.json", "--html", "again.html")
    assert Path("again.html").read_bytes() == Path("first.html").read_bytes()


@pytest.mark.parametrize(
    "text", ["", "{}", "[]", '{"schema_version": 99}', "\ud800".encode("utf-8", "surrogatepass").decode("latin1")]
)
def test_what_is_no_review_is_refused(run: Run, text: str) -> None:
    Path("bad.json").write_text(text, encoding="utf-8")
    done = run("show", "bad.json", "--html", "out.html")
    assert done.code == 2
    assert "bad.json" in done.sentence
    assert not Path("out.html").exists()


def test_bytes_that_are_no_text_are_refused(run: Run) -> None:
    Path("bad.json").write_bytes(b"\xff\xfe\x00{}")
    assert run("show", "bad.json").code == 2


def test_a_folder_is_no_review(run: Run, tmp_path: Path) -> None:
    assert run("show", tmp_path).code == 2


def test_a_review_that_somebody_edited_shows_its_names_as_text(run: Run, log_files: dict[str, Path]) -> None:
    run(*WORDS, "--production", "moved.parquet")
    data = json.loads(Path("out.json").read_text(encoding="utf-8"))
    for finding in data["findings"]:
        finding["sentence"] = "<img src=x onerror=alert(1)>\x1b[2J"
    Path("out.json").write_text(json.dumps(data), encoding="utf-8")
    done = run("show", "out.json", "--html", "out.html")
    assert done.code == 1
    assert "\x1b" not in done.out
    assert "<img src=x" not in Path("out.html").read_text(encoding="utf-8")


def test_half_a_review_is_refused(run: Run, log_files: dict[str, Path]) -> None:
    run(*WORDS, "--production", "moved.parquet")
    whole = Path("out.json").read_text(encoding="utf-8")
    for cut in (10, len(whole) // 2, len(whole) - 3):
        Path("half.json").write_text(whole[:cut], encoding="utf-8")
        assert run("show", "half.json").code == 2
    data = json.loads(whole)
    del data["findings"][0]["verdict"]
    Path("half.json").write_text(json.dumps(data), encoding="utf-8")
    assert run("show", "half.json").code == 2
