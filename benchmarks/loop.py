"""Time and memory of a loop review of 50M impressions of 100,000 items in 52 weeks beside one group-by.

Ours: `al.loop` of a Parquet file with times, items, users, clicks and propensities: the whole review. Theirs:
Polars reads the same file, groups by week and item, and adds up impressions and clicks; nothing else. Every run is
a process of its own with two threads, both in turn, `--repeats` times; medians are compared. The target: ours takes
at most 3 times as long.

    python benchmarks/loop.py [--rows N] [--items M] [--repeats R] [--folder FOLDER]
"""

from __future__ import annotations

import os
from pathlib import Path

os.environ.setdefault("POLARS_MAX_THREADS", "2")

import numpy as np
import polars as pl
from beside import beside

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


if __name__ == "__main__":
    raise SystemExit(
        beside(
            __doc__,
            __file__,
            ours=ours,
            theirs=theirs,
            make=make,
            things="items",
            sizes=(50_000_000, 100_000),
            imports="afterlaunch.questions.loop",
            target=TARGET,
        )
    )
