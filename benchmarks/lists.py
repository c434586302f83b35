"""Time and memory of comparing ranked lists: 1M users, 20 items each, two versions.

`al.compare` of a Parquet file of 40M rows with category: RBO, Jaccard, overlap, and category mix by list and over all.
The target on two cores: at most 30 seconds and 2 GB.

    python benchmarks/lists.py [--users N] [--folder FOLDER]
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

import numpy as np
import polars as pl
from measure import run

LENGTH, ITEMS, CATEGORIES = 20, 20_000, 18
SECONDS, MEGABYTES = 30.0, 2000.0
ASK = """
import sys
import afterlaunch as al
roles = {"version": "version", "list": "user", "item": "item", "position": "rank", "category": "genre"}
review = al.compare(sys.argv[1], baseline="W46", candidate="W47", roles=roles, k=20)
assert {f.check for f in review} == {"lists", "mix"}, [f.id for f in review]
"""


def make(path: Path, users: int) -> None:
    """Lists that share about half of their items between versions, a chunk of users at a time."""
    rng = np.random.default_rng(0)
    genre = rng.integers(0, CATEGORIES, ITEMS)
    parts = path.with_suffix("")
    parts.mkdir(exist_ok=True)
    for start in range(0, users, 50_000):
        many = min(50_000, users - start)
        liked = (rng.integers(0, ITEMS, (many, 1)) + 7 * np.arange(2 * LENGTH)) % ITEMS
        for version in ("W46", "W47"):
            chosen = np.take_along_axis(liked, rng.random(liked.shape).argsort(axis=1)[:, :LENGTH], axis=1)
            items = chosen.reshape(-1)
            pl.DataFrame(
                {
                    "version": [version] * len(items),
                    "user": np.repeat(np.arange(start, start + many), LENGTH),
                    "item": items.astype(np.int32),
                    "rank": np.tile(np.arange(1, LENGTH + 1, dtype=np.int8), many),
                    "genre": pl.Series(genre[items]).cast(pl.String),
                }
            ).write_parquet(parts / f"{version}-{start:09}.parquet")
    pl.scan_parquet(parts / "*.parquet").sink_parquet(path)
    for part in parts.iterdir():
        part.unlink()
    parts.rmdir()


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--users", type=int, default=1_000_000)
    parser.add_argument(
        "--folder", type=Path, default=None, help="where the lists are kept; by default they are removed"
    )
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as made:
        path = (given.folder or Path(made)) / f"lists_{given.users}.parquet"
        if not path.exists():
            make(path, given.users)
        command = [sys.executable, "-c", ASK, str(path)]
        cost = run(command, Path(made) / "log", timeout=600, environment={"POLARS_MAX_THREADS": "2"})
    print(f"{given.users:,} users: {cost.wall:.1f} s ({cost.cpu:.1f} s of processor), {cost.peak:,.0f} MB at most")
    print(f"target at most {SECONDS:g} s and {MEGABYTES:g} MB")
    return int(cost.wall > SECONDS or cost.peak > MEGABYTES)


if __name__ == "__main__":
    sys.exit(main())
