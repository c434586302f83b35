"""A complete run fails where an ordinary one skips."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

TESTS = """
import pytest

def test_that_skips_itself():
    pytest.skip("no browser")

@pytest.mark.skip
def test_that_is_skipped(): pass

@pytest.mark.xfail
def test_that_is_known_to_fail(): raise ValueError

def test_that_runs(): pass
"""
MODULE = "import pytest\npytest.importorskip('no_such_module')\ndef test_that_is_never_seen(): pass"


@pytest.mark.parametrize("workers", ["0", "2"])
def test_a_skip_fails(tmp_path: Path, workers: str) -> None:
    for name, text in {"test_one.py": TESTS, "test_two.py": MODULE, "pytest.ini": "[pytest]"}.items():
        (tmp_path / name).write_text(text, encoding="utf-8")
    command = [sys.executable, "-m", "pytest", "-p", "tests.project.nothing_skipped", "-n", workers]
    command += ["--continue-on-collection-errors", "-c", f"{tmp_path}/pytest.ini", str(tmp_path)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    outcomes = re.findall(r"\d+ \w+", done.stdout.splitlines()[-1].partition(" in ")[0])
    assert outcomes == ["1 failed", "1 passed", "1 xfailed", "2 errors"], done.stdout + done.stderr
    assert done.returncode == 1
