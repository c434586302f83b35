"""The two commands: what `make` does on a machine that it meets for the first time."""

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PYTHONS = ["python3.13", "python3.12", "python3.11", "python3"]

MISSING = "exit 127"
NO_VENV = 'case "$*" in *ensurepip*|*"-m venv"*) exit 1;; esac'
OLD = "exit 1"
# Stands for a Python that works: "makes" an environment whose programs only note how they were called.
WORKING = """
case "$*" in
  *"-m venv"*)
    mkdir -p .venv/bin; rm -f .venv/core .venv/dev
    for name in python afterlaunch; do
      printf '#!/bin/sh\\necho "%s $*" >> calls\\n' $name > .venv/bin/$name; chmod +x .venv/bin/$name
    done
    echo "$(basename "$0") $*" >> calls;;
esac
"""


class Machine:
    """A folder with our Makefile, and a PATH on which each Python is what the test says."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder / "project"
        self.bin = folder / "bin"
        self.folder.mkdir()
        self.bin.mkdir()
        for name in ("Makefile", "pyproject.toml"):
            shutil.copy(ROOT / name, self.folder)
        self.pythons()

    def pythons(self, **scripts: str) -> None:
        for name in PYTHONS:
            path = self.bin / name
            path.write_text(f"#!/bin/sh\n{scripts.get(name.replace('.', '_'), MISSING)}\n", encoding="utf-8")
            path.chmod(0o755)

    def make(self, *words: str) -> subprocess.CompletedProcess[str]:
        clean = {k: v for k, v in os.environ.items() if k not in {"MAKEFLAGS", "MFLAGS", "MAKELEVEL", "ARGS", "JOBS"}}
        return subprocess.run(
            ["make", *words],
            cwd=self.folder,
            env=clean | {"PATH": f"{self.bin}:{os.environ['PATH']}"},
            capture_output=True,
            text=True,
            check=False,
        )

    def calls(self) -> list[str]:
        """How the programs were called since the last look."""
        log = self.folder / "calls"
        lines = log.read_text(encoding="utf-8").splitlines() if log.exists() else []
        log.unlink(missing_ok=True)
        return [re.sub(r"-m pip .*install", "install", line) for line in lines]


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path)


TARGETS = ["demo", "test", "test-all", "check", "bench", "studies", "clean", "help"]


@pytest.mark.parametrize("target", TARGETS)
def test_every_target_parses(machine: Machine, target: str) -> None:
    done = machine.make("-n", target)
    assert (done.returncode, done.stderr) == (0, "")


def test_help_is_the_default_and_lists_every_target(machine: Machine) -> None:
    done = machine.make()
    assert sorted(re.findall(r"^  make (\S+) +\S", done.stdout, re.MULTILINE)) == sorted(TARGETS)


@pytest.mark.parametrize("target", ["demo", "test", "check"])
def test_without_venv_one_sentence_says_what_to_install(machine: Machine, target: str) -> None:
    machine.pythons(python3=NO_VENV)
    done = machine.make(target)
    assert done.returncode == 2
    assert done.stderr.splitlines()[0] == "python3 cannot make a virtual environment: apt install python3-venv"
    assert done.stdout == ""
    assert not (machine.folder / ".venv").exists()


def test_without_a_new_enough_python_one_sentence_says_so(machine: Machine) -> None:
    machine.pythons(python3=OLD)
    done = machine.make("demo")
    assert done.returncode == 2
    assert "needs Python 3.11 or newer" in done.stderr.splitlines()[0]


def test_the_newest_python_that_can_is_taken(machine: Machine) -> None:
    machine.pythons(python3_13=MISSING, python3_12=NO_VENV, python3_11=WORKING, python3=WORKING)
    assert machine.make("demo").returncode == 0
    assert machine.calls()[0] == "python3.11 -m venv --clear .venv"


def test_demo_installs_the_core_once_and_runs(machine: Machine) -> None:
    machine.pythons(python3=WORKING)
    first = machine.make("demo")
    assert first.stdout == "Installing afterlaunch into .venv (about a minute the first time) …\n"
    assert machine.calls()[1:] == ["python install --editable .", "afterlaunch demo"]
    assert machine.make("demo").stdout == ""
    assert machine.calls() == ["afterlaunch demo"]


def test_a_changed_pyproject_is_installed_again(machine: Machine) -> None:
    machine.pythons(python3=WORKING)
    machine.make("demo")
    machine.calls()
    later = (machine.folder / ".venv" / "core").stat().st_mtime + 10
    os.utime(machine.folder / "pyproject.toml", (later, later))
    machine.make("demo")
    assert machine.calls() == ["python install --editable .", "afterlaunch demo"]


def test_test_adds_what_it_needs_and_says_what_it_left_out(machine: Machine) -> None:
    machine.pythons(python3=WORKING)
    done = machine.make("test")
    install, run = machine.calls()[1:]
    assert install == "python install --editable .[dev]"
    assert "-m not (spark or browser or postgres)" in run
    assert [line for line in done.stdout.splitlines() if "Left out" in line and "make test-all" in line]
    machine.make("demo")
    assert machine.calls() == ["afterlaunch demo"]


def test_test_all_leaves_nothing_out(machine: Machine) -> None:
    machine.pythons(python3=WORKING)
    (machine.folder / "tests").mkdir()
    assert machine.make("test-all").returncode == 0
    run = machine.calls()[-1]
    assert "-p tests.project.nothing_skipped" in run
    assert " or " not in run


def test_test_all_refuses_to_leave_spark_out(machine: Machine) -> None:
    machine.pythons(python3=WORKING)
    (machine.folder / "tests").mkdir()
    (machine.folder / "tests" / "test_a.py").write_text("pytestmark = pytest.mark.spark", encoding="utf-8")
    (machine.bin / "java").write_text("#!/bin/sh\nexit 1\n", encoding="utf-8")
    (machine.bin / "java").chmod(0o755)
    done = machine.make("test-all")
    assert done.returncode == 2
    assert done.stderr.splitlines()[0] == "The Spark tests need Java 17: apt install openjdk-17-jre-headless"
    assert not [call for call in machine.calls() if "pytest" in call]


def test_an_environment_that_was_copied_along_is_made_anew(machine: Machine) -> None:
    machine.pythons(python3=WORKING)
    machine.make("demo")
    copy = machine.folder.with_name("copy")
    machine.folder = Path(shutil.copytree(machine.folder, copy))
    machine.calls()
    machine.make("demo")
    assert machine.calls() == ["python3 -m venv --clear .venv", "python install --editable .", "afterlaunch demo"]


def test_clean_removes_what_was_made(machine: Machine) -> None:
    machine.pythons(python3=WORKING)
    machine.make("demo")
    machine.calls()
    machine.make("clean")
    assert sorted(path.name for path in machine.folder.iterdir()) == ["Makefile", "pyproject.toml"]
