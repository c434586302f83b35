"""What is shipped, under which version, and what importing it costs."""

import json
import re
import subprocess
import sys
import tomllib
import zipfile
from email import message_from_string
from pathlib import Path

import pytest

import afterlaunch

ROOT = Path(__file__).parents[2]
SRC = ROOT / "src"


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    (path,) = folder.glob("*.whl")
    return path


def metadata(wheel: Path) -> dict[str, list[str]]:
    with zipfile.ZipFile(wheel) as archive:
        (name,) = [n for n in archive.namelist() if n.endswith(".dist-info/METADATA")]
        message = message_from_string(archive.read(name).decode())
    return {key: message.get_all(key) or [] for key in message.keys()}  # noqa: SIM118


def test_the_wheel_holds_every_file_of_the_package(wheel: Path) -> None:
    ours = {
        path.relative_to(SRC).as_posix()
        for path in (SRC / "afterlaunch").rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    with zipfile.ZipFile(wheel) as archive:
        packed = {name for name in archive.namelist() if ".dist-info/" not in name}
        info = {name.partition(".dist-info/")[2] for name in archive.namelist()}
    assert packed == ours
    assert {"licenses/LICENSE", "licenses/NOTICE", "entry_points.txt"} <= info
    assert "afterlaunch/py.typed" in packed
    assert [name for name in packed if name.startswith("afterlaunch/demo/data/")]


def test_there_is_one_version(wheel: Path) -> None:
    version = afterlaunch.__version__
    assert metadata(wheel)["Version"] == [version]
    places = [
        str(path.relative_to(ROOT))
        for path in [ROOT / "pyproject.toml", *SRC.rglob("*.py")]
        if re.search(rf"version\w* *= *[\"']{re.escape(version)}[\"']", path.read_text(encoding="utf-8"))
    ]
    assert places == ["src/afterlaunch/__init__.py"]


def test_the_changelog_describes_the_version() -> None:
    text = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    assert re.search(rf"^## {re.escape(afterlaunch.__version__)}\b", text, re.MULTILINE)


def test_the_wheel_says_what_it_needs(wheel: Path) -> None:
    said = metadata(wheel)
    assert said["Requires-Python"] == [">=3.11"]
    assert said["License-Expression"] == ["Apache-2.0"]
    core = [line for line in said["Requires-Dist"] if "extra ==" not in line]
    assert len(core) == len(project()["dependencies"])
    assert {*project()["optional-dependencies"]} == {*said["Provides-Extra"]}


def test_all_is_every_extra_but_dev() -> None:
    extras = dict(project()["optional-dependencies"])
    (everything,) = extras.pop("all")
    extras.pop("dev")
    assert set(re.findall(r"[\w-]+", everything)) == {"afterlaunch", *extras}


def test_every_dependency_has_a_lower_bound() -> None:
    free = {"pandas-stubs", "scipy-stubs"}  # they follow the version of the library that is installed
    extras = project()["optional-dependencies"].values()
    lines = [line for group in [project()["dependencies"], *extras] for line in group]
    assert [line for line in lines if ">=" not in line and not line.startswith("afterlaunch[")] == sorted(free)


def test_importing_is_light() -> None:
    heavy = ["altair", "duckdb", "pandas", "pyarrow", "scipy.stats", "sklearn", "vl_convert"]
    code = f"import json, sys, afterlaunch; print(json.dumps([m for m in {heavy} if m in sys.modules]))"
    loaded = subprocess.run([sys.executable, "-c", code], cwd=SRC, capture_output=True, text=True, check=True)
    assert json.loads(loaded.stdout) == []


def project() -> dict[str, dict[str, list[str]]]:
    data: dict[str, dict[str, dict[str, list[str]]]] = tomllib.loads(
        (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    )
    return data["project"]
