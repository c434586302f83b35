"""The peeking lesson on the ASOS Digital Experiments data: 78 real experiments, 99 arms, 4 metrics.

For every arm and metric the cumulative counts, means and variances at each checkpoint are judged by the statistics of
`al.experiment_summaries`: naively at every checkpoint (Welch's t at 5 %), by intervals that hold at every look, and
once at the end.

    python studies/asos.py [--folder FOLDER]
"""

from __future__ import annotations

import argparse
import math
import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import polars as pl

from afterlaunch.stats.lift import Lift, Side
from afterlaunch.stats.looks import AnyTime, Once

ALPHA = 0.05


def contrasts(data: pl.DataFrame) -> Iterator[list[Lift]]:
    """Every arm and metric: the lift at each checkpoint at which both arms have at least two units and vary."""
    for _, part in data.sort("time_since_start").group_by(
        ["experiment_id", "variant_id", "metric_id"], maintain_order=True
    ):
        out = []
        for row in part.iter_rows(named=True):
            numbers = [row[f"{k}_{s}"] for s in "ct" for k in ("mean", "variance", "count")]
            if any(v is None or not math.isfinite(v) for v in numbers) or min(numbers[2], numbers[5]) < 2:
                continue
            found = Lift(Side(*numbers[:3]), Side(*numbers[3:]))
            if found.se > 0:
                out.append(found)
        if out:
            yield out


def significant(found: Lift, looks: Once | AnyTime) -> bool:
    low, high = found.interval(looks, ALPHA / 2, ALPHA / 2)
    return low > 0 or high < 0


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, default=Path(os.environ.get("AFTERLAUNCH_DATA", "../shared/data")))
    given = parser.parse_args()
    data = pl.read_parquet(given.folder / "asos_experiments" / "asos_digital_experiments.parquet")
    every = list(contrasts(data))
    looks = [len(c) for c in every]
    naive, ours, end, kept = [], [], [], []
    for course in every:
        # Tuned to the size that the experiment had, which its owner knew from its traffic.
        any_time = AnyTime(max(course[-1].units, 2.0), ALPHA / 2)
        crossed = [significant(c, Once()) for c in course]
        naive.append(any(crossed))
        end.append(crossed[-1])
        ours.append(any(significant(c, any_time) for c in course))
        kept.append((any(crossed), crossed[-1]))
    first = sum(a and not b for a, b in kept)
    experiments = data["experiment_id"].n_unique()
    print(f"{len(every)} contrasts of {experiments} experiments, {np.median(looks):.0f} checkpoints each (median)\n")
    print("| rule | significant at 5 % |\n|---|---|")
    for name, found in (
        ("naive: at the first checkpoint that crosses", naive),
        ("intervals that hold at every look", ours),
        ("once, at the end", end),
    ):
        print(f"| {name} | {np.mean(found):.1%} ({int(np.sum(found))}) |")
    print(f"\n{first} of the {int(np.sum(naive))} that crossed naively are not significant at the end.")
    both = sum(o and e for o, e in zip(ours, end, strict=True))
    print(f"{both} of the {int(np.sum(ours))} that our intervals call are significant at the end too.")
    kept_promise = np.mean(ours) <= np.mean(naive)
    return 0 if kept_promise else 1


if __name__ == "__main__":
    raise SystemExit(main())
