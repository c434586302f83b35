"""Rules for every file of the project."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
MADE = {"__pycache__", "build", "dist", "htmlcov"}  # left out where git cannot say, as are hidden folders


def is_made(part: str) -> bool:
    return part in MADE or (part.startswith(".") and part not in {".ci", ".gitignore"})


def files() -> list[Path]:
    """What is, or would be, committed."""
    command = ["git", "-c", "safe.directory=*", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    listed = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    if listed.returncode == 0:
        paths = [ROOT / name for name in listed.stdout.split("\0") if name]
    else:
        paths = [path for path in ROOT.rglob("*") if not any(map(is_made, path.relative_to(ROOT).parts))]
    found = [path for path in paths if path.is_file()]
    assert len(found) > 20
    return found


def test_no_module_is_over_800_lines() -> None:
    long = {
        path.name: lines
        for path in (ROOT / "src").rglob("*.py")
        if (lines := path.read_text(encoding="utf-8").count("\n")) > 800
    }
    assert long == {}


def test_no_file_names_a_path_of_one_machine() -> None:
    folders = "|".join(["work", "root", "tmp/venvs", r"home/\w+"])
    machine = re.compile(rb"(?<![\w./>*-])/(?:%s)/" % folders.encode())
    named = {
        str(path.relative_to(ROOT)): match.group().decode()
        for path in files()
        if (match := machine.search(path.read_bytes()))
    }
    assert named == {}


def test_nothing_large_is_committed() -> None:
    assert {path.name: path.stat().st_size for path in files() if path.stat().st_size > 5_000_000} == {}


def test_contributing_names_only_what_exists() -> None:
    text = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))
    assert set(re.findall(r"`make ([a-z-]+)", text)) == targets - {"help"}
    paths = set(re.findall(r"`((?:src|tests|docs|studies|benchmarks|\.ci)/[\w./-]*)`", text))
    assert paths
    assert [path for path in sorted(paths) if not (ROOT / path).exists()] == []


STUDIES = sorted((ROOT / "studies").glob("[!_]*.py"))


def test_there_are_studies() -> None:
    assert len(STUDIES) > 10


@pytest.mark.parametrize("study", STUDIES, ids=lambda path: path.stem)
def test_a_study_starts(study: Path) -> None:
    """What it imports, from the package and from beside it, is there."""
    started = subprocess.run([sys.executable, study, "--help"], capture_output=True, text=True, check=False)
    assert started.returncode == 0, started.stderr[-500:]
