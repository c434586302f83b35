"""`afterlaunch demo`, with nothing but the core dependencies."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import jsonschema
import pytest
from typer.testing import CliRunner

from afterlaunch import InputError
from afterlaunch.cli import app, main
from afterlaunch.cli.demo import FOLDER
from afterlaunch.demo import story
from afterlaunch.demo.chapter import Chapter, Context, Progress, Told
from afterlaunch.finding import Effect, Finding, Review, Verdict

ROOT = Path(__file__).parents[2]
CHAPTERS = ("launch", "experiment", "drift", "loop", "compare", "clusters")

CORE_ONLY = """
import sys
class Absent:
    def find_spec(self, name, *_):
        if name.partition(".")[0] in {"pandas", "pyarrow", "duckdb", "statsmodels"}:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
sys.meta_path.insert(0, Absent())
from afterlaunch.cli import main
main()
"""


@dataclass(frozen=True)
class Run:
    out: str
    err: str
    code: int
    folder: Path


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    folder = tmp_path_factory.mktemp("demo") / "a new folder with a name that is longer than a line of the terminal is"
    command = [sys.executable, "-W", "error", "-c", CORE_ONLY, "demo", "--output", str(folder)]
    paths = os.pathsep.join([str(ROOT / "src"), os.environ.get("PYTHONPATH", "")])
    done = subprocess.run(
        command,
        env=os.environ | {"PYTHONPATH": paths, "COLUMNS": "80"},
        capture_output=True,
        encoding="utf-8",
        check=False,
    )
    return Run(done.stdout, done.stderr, done.returncode, folder)


def test_the_story_runs_in_silence_beside_its_words(run: Run) -> None:
    assert run.err == ""
    assert run.code == 0
    names = {path.name for path in run.folder.iterdir()}
    assert names == {f"{chapter}.{kind}" for chapter in CHAPTERS for kind in ("html", "json")}


@pytest.mark.parametrize("chapter", CHAPTERS)
def test_the_review_satisfies_the_schema(run: Run, chapter: str) -> None:
    text = (run.folder / f"{chapter}.json").read_text(encoding="utf-8")
    schema = json.loads((ROOT / "docs" / "review.schema.json").read_text(encoding="utf-8"))
    jsonschema.Draft202012Validator(schema).validate(json.loads(text))
    review = Review.from_json(text)
    assert review.question == chapter
    assert review.verdict is (Verdict.OK if chapter == "clusters" else Verdict.ALARM)


def test_it_ends_with_the_verdict_the_worst_findings_and_the_report(run: Run) -> None:
    lines = run.out.rstrip("\n").split("\n")
    assert lines[-2:] == [f"Report: {run.folder / 'clusters.html'}", f"Data:   {run.folder / 'clusters.json'}"]
    titles = "|".join(re.escape(f"{i}. {chapter.title}") for i, chapter in enumerate(story.CHAPTERS, 1) if i > 1)
    parts = re.split(titles, run.out)
    told_of = dict(zip(CHAPTERS, (" ".join(part.split()) for part in parts), strict=True))
    assert "Verdict: OK." in told_of["clusters"]
    for chapter in ("launch", "experiment", "drift", "loop", "compare"):
        told = told_of[chapter]
        review = Review.from_json((run.folder / f"{chapter}.json").read_text(encoding="utf-8"))
        assert "Verdict: ALARM." in told
        ends = [told.index("Verdict: ALARM."), *(told.index(" ".join(f.sentence.split())) for f in review.worst(3))]
        assert ends == sorted(ends)
    told = told_of["launch"]
    assert "'duration'" in told[told.index("Verdict: ALARM.") :]
    assert "CC BY 4.0" in " ".join(run.out.split())
    assert all(len(line) <= 80 for line in lines if not line.startswith(("Report:", "Data:")))


@pytest.mark.parametrize("chapter", CHAPTERS)
def test_the_report_loads_nothing_and_links_nowhere(run: Run, chapter: str) -> None:
    page = (run.folder / f"{chapter}.html").read_text(encoding="utf-8")
    assert len(page.encode()) < 1_000_000
    assert not re.search(r"<(script|link|iframe|img|object|embed|base)\b", page)
    assert not re.search(r"""(href|src|action)=["'](?!#)""", page.replace("xlink:href", "href"))
    assert not re.search(r"url\((?!#)|@import", page)
    assert chapter not in {"launch", "drift"} or "duration" in page


def review_of(*findings: Finding) -> Review:
    return Review("launch", findings, version="0")


def tiny_chapter(review: Review, reason: Finding | None = None) -> Chapter:
    def tell(context: Context, progress: Progress) -> Told:
        progress("working")
        return Told(("It [bold]happened[/bold].",), review, reason)

    return Chapter("tiny", "A [red]title", tell)


@pytest.fixture
def chapters(monkeypatch: pytest.MonkeyPatch) -> list[Chapter]:
    found = [tiny_chapter(review_of())]
    monkeypatch.setattr(story, "CHAPTERS", found)
    return found


def test_names_are_no_markup_and_nothing_is_cut(chapters: list[Chapter], tmp_path: Path) -> None:
    finding = Finding(
        "drift", "psi", "[x]", Verdict.ALARM, "PSI of '[x]' is 0.3.", "Look at [/x].",
        Effect("PSI", 0.3, 0.2, 0.4, "PSI"), margin=0.1,
    )  # fmt: skip
    chapters[:] = [tiny_chapter(review_of(finding))]
    done = CliRunner().invoke(app, ["demo", "--output", str(tmp_path)])
    assert done.exit_code == 0
    assert "1. A [red]title\nIt [bold]happened[/bold].\n" in done.output
    assert "1. PSI of '[x]' is 0.3.\n   To do: Look at [/x].\n" in done.output
    assert "1 alarm, 0 undecided, 0 ok; 0 more inform." in done.output
    assert "Why: " not in done.output
    chapters[:] = [tiny_chapter(review_of(finding), finding)]
    done = CliRunner().invoke(app, ["demo", "--output", str(tmp_path)])
    assert "\nWhy: PSI of '[x]' is 0.3.\n" in done.output


def test_chapters_are_numbered(chapters: list[Chapter], tmp_path: Path) -> None:
    chapters.append(Chapter("second", "The end", chapters[0].tell))
    done = CliRunner().invoke(app, ["demo", "--output", str(tmp_path / "new" / "deep")])
    assert done.exit_code == 0
    assert "\n1. A [red]title\n" in done.output
    assert "\n2. The end\n" in done.output
    assert {p.name for p in (tmp_path / "new" / "deep").iterdir()} == {
        f"{name}.{end}" for name in ("tiny", "second") for end in ("html", "json")
    }


@pytest.mark.usefixtures("chapters")
def test_a_folder_that_cannot_be_is_one_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").write_text("mine", encoding="utf-8")
    for place in ("file", "file/below"):
        monkeypatch.setattr(sys, "argv", ["afterlaunch", "demo", "--output", str(tmp_path / place)])
        with pytest.raises(SystemExit) as stopped:
            main()
        assert stopped.value.code == 2
        said = capsys.readouterr()
        assert said.out == ""
        assert said.err.count("\n") == 1
        assert "cannot be written" in said.err
        assert "choose another folder" in said.err
    assert (tmp_path / "file").read_text(encoding="utf-8") == "mine"


@pytest.mark.usefixtures("chapters")
def test_a_report_that_cannot_be_written_leaves_no_part_of_it(tmp_path: Path) -> None:
    (tmp_path / "tiny.html").mkdir()
    done = CliRunner().invoke(app, ["demo", "--output", str(tmp_path)])
    assert isinstance(done.exception, InputError)
    assert [p.name for p in tmp_path.iterdir()] == ["tiny.html"]


def test_it_is_an_ordinary_folder_in_the_working_one() -> None:
    assert Path("afterlaunch-demo") == FOLDER
