"""Time and memory of an experiment of 50M rows and 5M units beside one group-by on the unit.

Ours: `al.experiment` of a Parquet file with two arms, six metrics (means, a share, ratios, a quantile) and ten
segments: the whole review. Theirs: Polars reads the same file, groups by the unit and adds up the same columns;
nothing else. Every run is a process of its own with two threads, both in turn, `--repeats` times; medians are
compared. The targets: ours takes at most 3 times as long, and less than 2 GB.

    python benchmarks/experiment.py [--rows N] [--units U] [--repeats R] [--folder FOLDER]
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

TARGET, MOST_MB = 3.0, 2000
PART = 5_000_000
SUMS = ("clicked", "revenue", "orders", "minutes", "errors", "ms")


def make(path: Path, rows: int, units: int) -> None:
    """A log in files of some rows each; a unit has one arm and one segment."""
    path.mkdir(exist_ok=True)
    for part, start in enumerate(range(0, rows, PART)):
        rng = np.random.default_rng(part)
        n = min(PART, rows - start)
        user = rng.integers(0, units, n)
        orders = rng.binomial(1, 0.05, n)
        pl.DataFrame(
            {
                "user": user,
                "arm": pl.Series(np.array(["rules", "model"])[user % 2]),
                "segment": pl.Series(np.array([f"country {i}" for i in range(10)])[user // 2 % 10]),
                "clicked": rng.binomial(1, 0.1, n),
                "orders": orders,
                "revenue": orders * rng.lognormal(3, 0.5, n),
                "minutes": rng.exponential(5, n),
                "errors": rng.binomial(1, 0.01, n),
                "ms": rng.lognormal(4, 0.5, n),
            }
        ).write_parquet(path / f"{part:03}.parquet")


def ours(path: str) -> None:
    import afterlaunch as al

    al.experiment(
        f"{path}/*.parquet",
        control="rules",
        metrics=[al.Ratio("clicked"), al.Mean("revenue"), al.Share("orders"), al.Ratio("revenue", "orders")],
        guardrails=[al.Mean("minutes"), al.Quantile("ms", 0.99, better="down")],
        shares={"rules": 0.5, "model": 0.5},
        roles={"version": "arm", "unit": "user", "segment": "segment"},
    )


def theirs(path: str) -> None:
    sums = [pl.col(c).sum() for c in SUMS]
    pl.scan_parquet(f"{path}/*.parquet").group_by("user").agg(sums).collect(engine="streaming")


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
    parser.add_argument("--units", type=int, default=5_000_000)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--folder", type=Path)
    parser.add_argument("--one", choices=["ours", "theirs"], help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.one:
        import afterlaunch.questions.experiment  # noqa: F401  the clock runs for work, not for imports

        started = time.perf_counter()
        {"ours": ours, "theirs": theirs}[given.one](str(given.folder))
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        print(time.perf_counter() - started, peak)
        return 0
    with tempfile.TemporaryDirectory() as temporary:
        folder = given.folder or Path(temporary)
        path = folder / f"experiment-{given.rows}-{given.units}"
        if not path.exists():
            make(path, given.rows, given.units)
        runs = [(measured("theirs", path), measured("ours", path)) for _ in range(given.repeats)]
    base = statistics.median(b[0] for b, _ in runs)
    mine = statistics.median(o[0] for _, o in runs)
    memory = max(o[1] for _, o in runs)
    print(f"group-by on the unit {base:.1f} s, ours {mine:.1f} s: {mine / base:.2f} times (at most {TARGET:g})")
    print(f"peak memory {memory:,.0f} MB (at most {MOST_MB:,}); the group-by {max(b[1] for b, _ in runs):,.0f} MB")
    return 0 if mine <= TARGET * base and memory <= MOST_MB else 1


if __name__ == "__main__":
    raise SystemExit(main())
