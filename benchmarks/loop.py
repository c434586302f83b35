"""Time and memory of a loop review of 50M impressions of 100,000 items in 52 weeks beside one group-by.

Ours: `al.loop` of a Parquet file with times, items, users, clicks and propensities: the whole review. Theirs:
Polars reads the same file, groups by week and item, and adds up impressions and clicks; nothing else. Every run is
a process of its own with two threads, both in turn, `--repeats` times; medians are compared. The target: ours takes
at most 3 times as long.

    python benchmarks/loop.py [--rows N] [--items M] [--repeats R] [--folder FOLDER]
"""

from __future__ import annotations

import argparse
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

os.environ.setdefault("POLARS_MAX_THREADS", "2")

import numpy as np
import polars as pl

TARGET = 3.0
PART = 5_000_000
WEEKS = 52


def make(path: Path, rows: int, items: int) -> None:
    """A log in files of some rows each, in no order of time."""
    path.mkdir(exist_ok=True)
    start = np.datetime64("2026-01-05T00:00:00", "us")
    for part, first in enumerate(range(0, rows, PART)):
        rng = np.random.default_rng(part)
        n = min(PART, rows - first)
        seconds = rng.integers(0, WEEKS * 7 * 86_400, n)
        item = (items * rng.random(n) ** 3).astype(np.int64)
        pl.DataFrame(
            {
                "ts": start + seconds.astype("timedelta64[s]"),
                "item": item,
                "user": rng.integers(0, 2_000_000, n),
                "clicked": rng.binomial(1, 0.05, n),
                "p": rng.uniform(0.01, 0.5, n),
            }
        ).write_parquet(path / f"{part:03}.parquet")


def ours(path: str) -> None:
    import afterlaunch as al

    roles = {"time": "ts", "item": "item", "unit": "user", "outcome": "clicked", "propensity": "p"}
    al.loop(f"{path}/*.parquet", roles=roles)


def theirs(path: str) -> None:
    week = pl.col("ts").dt.truncate("1w").alias("week")
    rows = pl.scan_parquet(f"{path}/*.parquet").group_by(week, "item")
    rows.agg(pl.len(), pl.col("clicked").sum()).collect(engine="streaming")


def measured(which: str, path: Path) -> tuple[float, float]:
    """Seconds and megabytes of one run in a process of its own."""
    done = subprocess.run(
        [sys.executable, __file__, "--one", which, "--folder", str(path)], check=True, capture_output=True, text=True
    )
    seconds, megabytes = done.stdout.split()[-2:]
    return float(seconds), float(megabytes)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=50_000_000)
    parser.add_argument("--items", type=int, default=100_000)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--folder", type=Path)
    parser.add_argument("--one", choices=["ours", "theirs"], help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.one:
        import afterlaunch.questions.loop  # noqa: F401  the clock runs for work, not for imports

        started = time.perf_counter()
        {"ours": ours, "theirs": theirs}[given.one](str(given.folder))
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        print(time.perf_counter() - started, peak)
        return 0
    with tempfile.TemporaryDirectory() as temporary:
        folder = given.folder or Path(temporary)
        path = folder / f"loop-{given.rows}-{given.items}"
        if not path.exists():
            make(path, given.rows, given.items)
        runs = [(measured("theirs", path), measured("ours", path)) for _ in range(given.repeats)]
    base = statistics.median(b[0] for b, _ in runs)
    mine = statistics.median(o[0] for _, o in runs)
    memory = max(o[1] for _, o in runs)
    print(f"group-by on week and item {base:.1f} s, ours {mine:.1f} s: {mine / base:.2f} times (at most {TARGET:g})")
    print(f"peak memory {memory:,.0f} MB; the group-by {max(b[1] for b, _ in runs):,.0f} MB")
    return 0 if mine <= TARGET * base else 1


if __name__ == "__main__":
    raise SystemExit(main())
