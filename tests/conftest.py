"""What all tests share: where real data is, how hypothesis draws, and a quiet terminal."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from hypothesis import HealthCheck, settings

from tests.cli.running import Run, runner

ROOT = Path(__file__).parents[1]
REAL_DATA = Path(os.environ.get("AFTERLAUNCH_DATA") or ROOT.parent / "shared" / "data")
"""Real tables that are too large, or not ours, to ship: the folder `shared/data` beside the repository."""

# The same examples in every run: a red test is a change of the code. `thorough` looks for new ones.
settings.register_profile("steady", derandomize=True, deadline=None, max_examples=50)
settings.register_profile("thorough", deadline=None, max_examples=1000, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "steady"))


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line(
        "markers", "real_data(*folders): needs these folders of the real data; see tests/conftest.py"
    )


def absent(folders: Sequence[str], data: Path = REAL_DATA) -> list[str]:
    """Which of the folders of real data are not here."""
    return [folder for folder in folders if not (data / folder).is_dir()]


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Tests on real data that is not here are not part of the run; the header says so."""
    left_out = [
        item for item in items if (mark := item.get_closest_marker("real_data")) is not None and absent(mark.args)
    ]
    if left_out:
        config.hook.pytest_deselected(items=left_out)
        items[:] = [item for item in items if item not in set(left_out)]


def pytest_report_header() -> str:
    return f"real data: {REAL_DATA}" if REAL_DATA.is_dir() else "real data: none, so its tests are left out"


@pytest.fixture(scope="session")
def real_data() -> Path:
    """The folder of real data."""
    return REAL_DATA


@pytest.fixture(autouse=True)
def plain_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    """No colours, no width of the terminal that the tests happen to run in, no settings of the person at it."""
    for name in [n for n in os.environ if n.startswith("AFTERLAUNCH_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("NO_COLOR", "1")
    monkeypatch.setenv("COLUMNS", "100")
    monkeypatch.delenv("FORCE_COLOR", raising=False)


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> Run:
    """The command line, in a working folder of its own."""
    monkeypatch.chdir(tmp_path)
    return runner(monkeypatch, capsys)


@pytest.fixture
def log_files(tmp_path: Path) -> dict[str, Path]:
    """Paths of small tables: `normal`, `alike` (ok against it), `moved` (alarm), `few` (undecided)."""
    rng = np.random.default_rng(0)

    def table(rows: int, shift: float) -> pl.DataFrame:
        score = rng.beta(2, 2, rows)
        return pl.DataFrame(
            {
                "age": rng.normal(40 + 20 * shift, 10, rows),
                "colour": rng.choice(["red", "blue"], rows),
                "p": score,
                "y": (rng.random(rows) < score).astype(int),
            }
        )

    tables = {"normal": table(20_000, 0), "alike": table(20_000, 0), "moved": table(20_000, 1), "few": table(40, 0)}
    paths = {name: tmp_path / f"{name}.parquet" for name in tables}
    for name, frame in tables.items():
        frame.write_parquet(paths[name])
    return paths
