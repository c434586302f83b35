"""Time of the novelty of 100,000 short texts beside TF-IDF and SVD of the same texts by scikit-learn.

Ours: fit on a reference of 20,000 texts, judge 100,000 production texts, name and group the novel ones.
Theirs: `TfidfVectorizer().fit_transform` and `TruncatedSVD(256).fit_transform` of the 100,000 texts, nothing else.
Texts recombine the words of clinc150 at random with its lengths of queries. Each is run `--repeats` times in
turn in one process; medians are compared. The target: ours takes at most 3 times as long.

    python benchmarks/novelty.py [--rows N] [--repeats R] [--data FOLDER]
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
import time
from pathlib import Path

import numpy as np
import polars as pl

from afterlaunch.checks.evidence import Evidence, Sample
from afterlaunch.checks.novelty import run
from afterlaunch.roles import Roles

TARGET = 3.0
COMPONENTS = 256
REFERENCE = 20_000


def texts(folder: Path, rows: int, seed: int) -> list[str]:
    """Random texts with the words and the lengths of real queries."""
    known = pl.read_parquet(folder / "clinc150" / "clinc150_full.parquet")["text"].str.split(" ")
    words, lengths = known.explode().to_numpy(), known.list.len().to_numpy()
    rng = np.random.default_rng(seed)
    size = rng.choice(lengths, rows)
    drawn, end = rng.choice(words, int(size.sum())), np.cumsum(size)
    return [" ".join(drawn[e - s : e]) for s, e in zip(size, end, strict=True)]


def ours(reference: list[str], production: list[str]) -> float:
    started = time.perf_counter()
    old, new = (pl.DataFrame({"query": t}) for t in (reference, production))
    run(
        Evidence(
            Roles(text="query"),
            reference_sample=Sample(old, old.height, 0),
            production_sample=Sample(new, new.height, 0),
        )
    )
    return time.perf_counter() - started


def theirs(production: list[str]) -> float:
    from sklearn.decomposition import TruncatedSVD
    from sklearn.feature_extraction.text import TfidfVectorizer

    started = time.perf_counter()
    TruncatedSVD(COMPONENTS, random_state=0).fit_transform(TfidfVectorizer().fit_transform(production))
    return time.perf_counter() - started


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=100_000)
    parser.add_argument("--repeats", type=int, default=3)
    default = Path(os.environ.get("AFTERLAUNCH_DATA") or Path(__file__).resolve().parents[2] / "shared" / "data")
    parser.add_argument("--data", type=Path, default=default)
    given = parser.parse_args()
    if not (given.data / "clinc150").is_dir():
        print(f"There is no clinc150 in {given.data}; give --data or set AFTERLAUNCH_DATA.", file=sys.stderr)
        return 2
    reference, production = texts(given.data, REFERENCE, 1), texts(given.data, given.rows, 2)
    import sklearn.decomposition
    import sklearn.feature_extraction.text  # noqa: F401 - imported before the clock starts

    mine, other = [], []
    for _ in range(given.repeats):
        mine.append(ours(reference, production))
        other.append(theirs(production))
    ratio = statistics.median(mine) / statistics.median(other)
    print("| what | seconds (median) | least | most |\n|---|---:|---:|---:|")
    for name, times in (
        (f"novelty of {given.rows:,} texts", mine),
        (f"scikit-learn TF-IDF + SVD({COMPONENTS})", other),
    ):
        print(f"| {name} | {statistics.median(times):.2f} | {min(times):.2f} | {max(times):.2f} |")
    print(f"\nRatio {ratio:.2f}; target at most {TARGET:g}: {'held' if ratio <= TARGET else 'MISSED'}.")
    return 0 if ratio <= TARGET else 1


if __name__ == "__main__":
    sys.exit(main())
