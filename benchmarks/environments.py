"""An environment of its own for each peer, and a fresh one to see what our core install brings."""

import shutil
import sys
from dataclasses import dataclass
from importlib.metadata import distributions
from pathlib import Path

from measure import StepError, run

HERE = Path(__file__).resolve().parent
TOOLS = {"pip", "setuptools", "wheel"}
INSTALL_TIMEOUT = 1800.0


def _create(folder: Path, log: Path) -> Path:
    """A bare environment in `folder`, replacing what is there; returns its interpreter."""
    shutil.rmtree(folder, ignore_errors=True)
    run([sys.executable, "-m", "venv", str(folder)], log, timeout=INSTALL_TIMEOUT)
    return folder / "bin" / "python"


def peer(name: str, venvs: Path, logs: Path) -> Path:
    """The interpreter of a peer's environment, which is made first unless it is there with the same requirements."""
    requirements = HERE / "requirements" / f"{name}.txt"
    folder = venvs / name
    made = folder / "made-from.txt"
    python = folder / "bin" / "python"
    if python.exists() and made.exists() and made.read_text() == requirements.read_text():
        return python
    log = logs / f"install-{name}.log"
    python = _create(folder, log)
    run([str(python), "-m", "pip", "install", "--quiet", "-r", str(requirements)], log, timeout=INSTALL_TIMEOUT)
    shutil.copyfile(requirements, made)
    return python


@dataclass(frozen=True)
class Installed:
    """What an installation brought: distributions (without pip and setuptools) and MB (1e6 bytes) on disk."""

    distributions: int
    megabytes: float


def _size(folder: Path) -> int:
    return sum(path.lstat().st_size for path in folder.rglob("*") if path.is_file() and not path.is_symlink())


def installed_by(what: list[str], folder: Path, logs: Path) -> Installed:
    """Install `what` (pip's arguments) in a fresh environment and measure it; the environment is removed again."""
    log = logs / "install-core.log"
    try:
        python = _create(folder, log)
        before = _size(folder)
        run([str(python), "-m", "pip", "install", "--quiet", *what], log, timeout=INSTALL_TIMEOUT)
        sites = [str(path) for path in folder.glob("lib/python*/site-packages")]
        names = {distribution.metadata["Name"].lower() for distribution in distributions(path=sites)}
        if not names - TOOLS:
            raise StepError(f"nothing was installed in {folder}")
        return Installed(len(names - TOOLS), (_size(folder) - before) / 1e6)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
