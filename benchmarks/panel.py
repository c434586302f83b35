"""Time of comparing two versions on a panel of 10M rows beside the join of the two on their id by DuckDB.

Ours: `al.compare` of a Parquet file with scores and outcomes of two versions, without what it takes to import the
package: everything that the review holds. Theirs: the two versions read from the same file, joined on the id, and the
rows counted whose decisions differ; nothing else. Both have two threads and are run `--repeats` times in turn; medians
are compared. The target: ours takes at most 4 times as long.

    python benchmarks/panel.py [--rows N] [--repeats R] [--folder FOLDER]
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
import tempfile
import time
from pathlib import Path

os.environ.setdefault("POLARS_MAX_THREADS", "2")

import duckdb
import numpy as np
import polars as pl

import afterlaunch as al

TARGET = 4.0
ROLES = {"version": "version", "id": "id", "score": "score", "outcome": "y"}


def make(path: Path, rows: int) -> None:
    """A panel whose two versions stand in another order each."""
    rng = np.random.default_rng(0)
    truth = rng.random(rows)
    parts = []
    for version in ("W46", "W47"):
        order = rng.permutation(rows)
        score = np.clip(truth[order] + rng.normal(0, 0.03, rows), 0, 1)
        parts.append(
            pl.DataFrame(
                {"id": order, "version": [version] * rows, "score": score, "y": truth[order] > rng.random(rows)}
            )
        )
    pl.concat(parts).write_parquet(path)


def ours(path: Path) -> float:
    started = time.perf_counter()
    al.compare(path, baseline="W46", candidate="W47", roles=ROLES)
    return time.perf_counter() - started


def theirs(path: Path) -> float:
    connection = duckdb.connect()
    connection.execute("set threads = 2")
    side = "select * from read_parquet(?) where version = '{}'"
    started = time.perf_counter()
    connection.execute(
        f"select count(*), sum(((a.score >= 0.5) != (b.score >= 0.5))::int) from ({side.format('W46')}) a "
        f"join ({side.format('W47')}) b using (id)",
        [str(path), str(path)],
    ).fetchall()
    return time.perf_counter() - started


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=10_000_000)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--folder", type=Path, default=None, help="where the panel is kept; by default it is removed")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as made:
        path = (given.folder or Path(made)) / f"panel_{given.rows}.parquet"
        if not path.exists():
            make(path, given.rows)
        ours(path)
        times: dict[str, list[float]] = {"ours": [], "join": []}
        for _ in range(given.repeats):
            times["ours"].append(ours(path))
            times["join"].append(theirs(path))
    for name, spent in times.items():
        print(f"{name:5} {statistics.median(spent):6.2f} s  ({', '.join(f'{s:.2f}' for s in spent)})")
    ratio = statistics.median(times["ours"]) / statistics.median(times["join"])
    print(f"ours / join {ratio:.2f}, target at most {TARGET:g}")
    return int(ratio > TARGET)


if __name__ == "__main__":
    sys.exit(main())
