"""Time and memory of an experiment of 50M rows and 5M units beside one group-by on the unit.

Ours: `al.experiment` of a Parquet file with two arms, six metrics (means, a share, ratios, a quantile) and ten
segments: the whole review. Theirs: Polars reads the same file, groups by the unit and adds up the same columns;
nothing else. Every run is a process of its own with two threads, both in turn, `--repeats` times; medians are
compared. The targets: ours takes at most 3 times as long, and less than 2 GB.

    python benchmarks/experiment.py [--rows N] [--units U] [--repeats R] [--folder FOLDER]
"""

from __future__ import annotations

import os
from pathlib import Path

os.environ.setdefault("POLARS_MAX_THREADS", "2")

import numpy as np
import polars as pl
from beside import beside

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


if __name__ == "__main__":
    raise SystemExit(
        beside(
            __doc__,
            __file__,
            ours=ours,
            theirs=theirs,
            make=make,
            things="units",
            sizes=(50_000_000, 5_000_000),
            imports="afterlaunch.questions.experiment",
            target=TARGET,
            most_mb=MOST_MB,
        )
    )
