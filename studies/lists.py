"""Is a recommender that was trained on a skewed sample found, and are the others left alone?

Households of `complete_journey` get ten kinds of products each, from an item-based nearest-neighbour recommender that
is trained anew every week on the sixteen weeks before, for twenty weeks. Every week has replicates on resampled
baskets. For one week every second purchase of groceries was lost from the training data. `al.compare` is asked of
every week and the next: the mix of departments, list by list and over all, beyond what reruns change.

    python studies/lists.py [--quick] [--repeats REPLICATES] [--jobs J] [--data FOLDER] [--markdown FILE]
"""

from __future__ import annotations

import itertools
import os

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import sys
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from _common import Task, arguments, data_folder, markdown, per_cent, work
from numpy.typing import NDArray

import afterlaunch as al

Floats = NDArray[np.float64]
WINDOW, FIRST, WEEKS, LENGTH, NEIGHBOURS = 16, 20, 20, 10, 20
SKEWED, LOST, KEPT = 30, "GROCERY", 0.5
ROLES = {"version": "week", "list": "household", "item": "product", "position": "rank", "category": "department"}


@cache
def purchases(folder: str) -> tuple[pl.DataFrame, pl.DataFrame, int]:
    """Purchases with numbered households and kinds of products, the kinds, and how many households there are."""
    place = Path(folder) / "complete_journey"
    kinds = pl.read_parquet(place / "products.parquet").select("product_id", "department", "product_category")
    kinds = kinds.drop_nulls().rename({"product_category": "product"})
    bought = pl.read_parquet(place / "transactions_sample.parquet").join(kinds, on="product_id")
    named = bought.group_by("product").agg(pl.col("department").mode().sort().first(), pl.len())
    named = named.sort(["len", "product"], descending=[True, False]).with_row_index("item")
    homes = bought.select("household_id").unique().sort("household_id").with_row_index("home")
    rows = bought.drop("department").join(named, on="product").join(homes, on="household_id")
    return rows.select("week", "basket_id", "home", "item", "department"), named, homes.height


def recommend(week: int, replicate: int, folder: str) -> list[list[int]]:
    """Items for every household that bought anything in the window, shape (homes, LENGTH); [] for the others."""
    rows, named, homes = purchases(folder)
    seen = rows.filter(pl.col("week").is_between(week - WINDOW, week - 1))
    rng = np.random.default_rng([week, replicate])
    if week == SKEWED:
        lost = (seen["department"] == LOST).to_numpy() & (rng.random(seen.height) > KEPT)
        seen = seen.filter(~lost)
    baskets = seen["basket_id"].unique().sort()
    drawn = pl.DataFrame({"basket_id": baskets[rng.integers(0, baskets.len(), baskets.len())]})
    learnt = drawn.join(seen, on="basket_id")
    bought: Floats = np.zeros((homes, named.height))
    np.add.at(bought, (learnt["home"].to_numpy(), learnt["item"].to_numpy()), 1.0)
    known = bought > 0
    size = np.sqrt(np.maximum(known.sum(axis=0), 1))
    alike = (known.T.astype(float) @ known) / np.outer(size, size)
    np.fill_diagonal(alike, 0.0)
    least = np.sort(alike, axis=1)[:, -NEIGHBOURS][:, None]
    scores = np.log1p(bought) @ np.where(alike >= least, alike, 0.0)
    # Households get their lists from all that they bought, not from what was drawn.
    mine = set(seen["home"].to_list())
    best = np.argsort(-scores, axis=1, kind="stable")[:, :LENGTH]
    return [best[h].tolist() if h in mine and scores[h].max() > 0 else [] for h in range(homes)]


def do(task: Task) -> list[list[int]]:
    return recommend(task["week"], task["replicate"], task["data"])


def frame(lists: list[list[int]], week: int, replicate: int, named: pl.DataFrame) -> pl.DataFrame:
    homes = np.repeat(np.arange(len(lists)), [len(x) for x in lists])
    items = np.array([i for x in lists for i in x])
    ranks = np.array([r for x in lists for r in range(1, len(x) + 1)])
    return pl.DataFrame(
        {
            "week": [str(week)] * len(homes),
            "replicate": [replicate] * len(homes),
            "household": homes,
            "product": named["product"].gather(items),
            "department": named["department"].gather(items),
            "rank": ranks,
        }
    )


def main() -> int:
    parser = arguments(__doc__)
    parser.add_argument("--data", type=Path, default=None, help="folder of the real tables")
    given = parser.parse_args()
    folder = str(data_folder(given.data))
    replicates = given.repeats or (4 if given.quick else 10)
    weeks = list(range(SKEWED - 2, SKEWED + 3)) if given.quick else list(range(FIRST, FIRST + WEEKS + 1))
    tasks = [{"week": w, "replicate": r, "data": folder} for w in weeks for r in range(replicates)]
    named = purchases(folder)[1]
    frames: dict[int, list[pl.DataFrame]] = {}
    for task, lists in work("lists", tasks, do, given.jobs):
        frames.setdefault(task["week"], []).append(frame(lists, task["week"], task["replicate"], named))
    failed, rows = [], []
    for old, new in itertools.pairwise(weeks):
        review = al.compare(
            pl.concat([*frames[old], *frames[new]]),
            baseline=str(old),
            candidate=str(new),
            replicates="replicate",
            roles=ROLES,
        )
        found = {f.id: f for f in review}
        cells: list[Any] = []
        for name in ("mix/overall", "mix/excess", "lists/excess"):
            effect = found[name].effect
            assert effect is not None
            ends = f"[{per_cent(effect.low)}, {per_cent(effect.high)}]"
            cells.append(f"{per_cent(effect.value)} {ends} {found[name].verdict.value}")
        changed = SKEWED in {old, new}
        mixes = {found[n].verdict.value for n in ("mix/overall", "mix/excess")}
        rows.append([f"{old} to {new}{' (skewed)' if changed else ''}", *cells])
        if changed and "alarm" not in mixes:
            failed.append(f"{old} to {new}: the skewed week is not found")
        if not changed and "alarm" in mixes:
            failed.append(f"{old} to {new}: an alarm though nothing was skewed")
    text = f"{replicates} replicates a week.\n\n" + markdown(
        ["weeks", "mix over all %", "mix of a list beyond reruns %", "lists beyond reruns %"], rows
    )
    print(text)
    if given.markdown:
        given.markdown.write_text(text + "\n", encoding="utf-8")
    print("\n".join(failed) if failed else "\nEvery promise is kept.")
    return int(bool(failed))


if __name__ == "__main__":
    sys.exit(main())
