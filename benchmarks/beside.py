"""One function of ours beside one of the engine's on the same files: each run is a process of its own."""

from __future__ import annotations

import argparse
import importlib
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

Work = Callable[[str], None]


def beside(
    about: str,
    script: str,
    *,
    ours: Work,
    theirs: Work,
    make: Callable[[Path, int, int], None],
    things: str,
    sizes: tuple[int, int],
    imports: str,
    target: float,
    most_mb: float | None = None,
) -> int:
    """Run both in turn and print how many times as long ours takes, and its peak memory.

    Args:
        about: What the benchmark is, for --help.
        script: Path of the benchmark's own file, which is run for each measurement.
        ours: What we do with the files in a folder.
        theirs: What it is held against.
        make: Writes the files: folder, rows, things.
        things: What there are so many of besides rows, such as "units".
        sizes: Rows and things when not given.
        imports: Module that is imported before the clock runs.
        target: Times as long that ours may take.
        most_mb: Megabytes that it may take, or None.

    Returns:
        Exit code: 0 where the targets are met.
    """
    parser = argparse.ArgumentParser(description=about, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=sizes[0])
    parser.add_argument(f"--{things}", dest="things", type=int, default=sizes[1])
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--folder", type=Path)
    parser.add_argument("--one", choices=["ours", "theirs"], help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.one:
        importlib.import_module(imports)
        started = time.perf_counter()
        {"ours": ours, "theirs": theirs}[given.one](str(given.folder))
        print(time.perf_counter() - started, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)
        return 0
    with tempfile.TemporaryDirectory() as temporary:
        path = (given.folder or Path(temporary)) / f"{Path(script).stem}-{given.rows}-{given.things}"
        if not path.exists():
            make(path, given.rows, given.things)
        runs = [(_measured(script, "theirs", path), _measured(script, "ours", path)) for _ in range(given.repeats)]
    base, mine = (statistics.median(r[side][0] for r in runs) for side in (0, 1))
    theirs_mb, ours_mb = (max(r[side][1] for r in runs) for side in (0, 1))
    limit = "" if most_mb is None else f" (at most {most_mb:,g})"
    print(f"the engine {base:.1f} s, ours {mine:.1f} s: {mine / base:.2f} times (at most {target:g})")
    print(f"peak memory {ours_mb:,.0f} MB{limit}; the engine {theirs_mb:,.0f} MB")
    return 0 if mine <= target * base and (most_mb is None or ours_mb <= most_mb) else 1


def _measured(script: str, which: str, path: Path) -> tuple[float, float]:
    """Seconds and megabytes of one run."""
    words = [sys.executable, script, "--one", which, "--folder", str(path)]
    seconds, megabytes = subprocess.run(words, check=True, capture_output=True, text=True).stdout.split()[-2:]
    return float(seconds), float(megabytes)
