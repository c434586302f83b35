"""Does a comparison tell seed noise from real change, on retrains of real models?

Two kinds of models (boosted trees and a small neural net) learn from the calls of `bank_marketing` who subscribes.
Every replicate draws its rows anew (bootstrap) and has another seed. All score the same panel of calls drawn from
those that the retrains cover, and a score of a tenth or more counts as positive (one call in nine subscribes).

1. *Nothing has changed.* A pool of replicates of one month's training is drawn from without replacement: K as the
   baseline, K as the candidate. How often is the excess an alarm (promised: at most 5 %), how often `ok`?
2. *Twelve monthly retrains*, each on the 8,000 calls before it: the churn between each month and the next, the floor,
   and the verdict on the excess.
3. *After the crisis*: the training of before against one on calls from 2009 on, thirty replicates of each: an alarm
   is right.

    python studies/seeds.py [--quick] [--repeats N] [--jobs J] [--data FOLDER] [--markdown FILE]
"""

from __future__ import annotations

import os

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
os.environ.setdefault("OMP_NUM_THREADS", "1")

import sys
import warnings
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from _common import Task, arguments, blocks, data_folder, markdown, most_hits, per_cent, seed_of, work
from numpy.typing import NDArray
from sklearn.compose import ColumnTransformer
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.exceptions import ConvergenceWarning
from sklearn.neural_network import MLPClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, OneHotEncoder, OrdinalEncoder, StandardScaler

import afterlaunch as al

Floats = NDArray[np.float64]
KINDS = ("boosted trees", "neural net")
THRESHOLD, MARGIN = 0.1, 0.02
PANEL, LEARNT, MONTHS = 4_000, 8_000, 12
COVERED = 26_000
"""Calls that the twelve retrains cover, from which the panel is drawn."""

MARGINS = (0.02, 0.03, 0.05, 0.1)
SIZES = (5, 8, 12, 20)
POOL = 60


@cache
def calls(folder: str) -> pl.DataFrame:
    """All calls in the order of time, without the length of the call."""
    found = next(p for p in sorted((Path(folder) / "bank_marketing").iterdir()) if p.suffix in {".csv", ".parquet"})
    table = pl.read_parquet(found) if found.suffix == ".parquet" else pl.read_csv(found, separator=";")
    return table.drop("duration")


def scaled() -> Any:
    """Standard deviations from the mean, no more than three: what hardly varied in training is no reason to explode."""
    return make_pipeline(StandardScaler(), FunctionTransformer(np.clip, kw_args={"a_min": -3, "a_max": 3}))


@cache
def panel(folder: str) -> pl.DataFrame:
    table = calls(folder)
    return table[np.sort(np.random.default_rng(7).choice(COVERED, PANEL, replace=False))]


def score(kind: str, rows: pl.DataFrame, seed: int, folder: str) -> Floats:
    """Train one replicate and score the panel."""
    drawn = rows[np.random.default_rng(seed).integers(0, rows.height, rows.height)]
    words = [c for c in drawn.columns if drawn.schema[c] == pl.String and c != "y"]
    numbers = [c for c in drawn.columns if c not in words and c != "y"]
    if kind == KINDS[0]:
        encode: Any = OrdinalEncoder(handle_unknown="use_encoded_value", unknown_value=np.nan)
        model: Any = HistGradientBoostingClassifier(max_iter=40, max_leaf_nodes=15, random_state=seed)
        steps = ColumnTransformer([("words", encode, words), ("numbers", "passthrough", numbers)])
    else:
        model = MLPClassifier(
            (12,), max_iter=20, learning_rate_init=0.003, alpha=1.0, batch_size=200, random_state=seed
        )
        encode = OneHotEncoder(handle_unknown="ignore", sparse_output=False)
        steps = ColumnTransformer([("words", encode, words), ("numbers", scaled(), numbers)])
    pipeline = make_pipeline(steps, model)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        pipeline.fit(drawn.drop("y").to_pandas(), (drawn["y"] == "yes").to_numpy())
        out: Floats = pipeline.predict_proba(panel(folder).drop("y").to_pandas())[:, 1]
    return out


def rows_of(when: str, folder: str) -> pl.DataFrame:
    """What a training learns from: "month 3", "before" or "after" the crisis."""
    table = calls(folder)
    if when == "after":
        return table.tail(11_000)[:LEARNT]
    start = 0 if when == "before" else int(when.split()[1]) * 1_500
    return table[start : start + LEARNT]


def train(task: Task) -> list[float]:
    """One replicate: the panel's scores, to four digits."""
    return [
        round(float(s), 4) for s in score(task["kind"], rows_of(task["when"], task["data"]), task["seed"], task["data"])
    ]


def verdict(old: Floats, new: Floats, folder: str) -> dict[str, Any]:
    """What `al.compare` says of two groups of replicates, shape (n, K)."""
    columns = {f"a{i}": old[:, i] for i in range(old.shape[1])} | {f"b{i}": new[:, i] for i in range(new.shape[1])}
    table = pl.DataFrame(columns).with_columns(y=panel(folder)["y"])
    review = al.compare(
        table,
        baseline=[c for c in columns if c[0] == "a"],
        candidate=[c for c in columns if c[0] == "b"],
        roles={"outcome": "y", "positive": "yes"},
        threshold=THRESHOLD,
    )
    found = {f.id: f for f in review}
    excess, floor = found["churn/excess"], found["seeds/floor"]
    assert excess.effect is not None
    assert floor.effect is not None
    return {
        "verdict": excess.verdict.value,
        "excess": excess.effect.value,
        "low": excess.effect.low,
        "high": excess.effect.high,
        "floor": floor.effect.value,
        "metric": found["seeds/metric"].verdict.value if "seeds/metric" in found else "",
    }


def trial(task: Task) -> list[tuple[str, float]]:
    """Verdicts on pure reruns, and the high ends of the excess."""
    rng = seed_of({k: v for k, v in task.items() if k != "pool"})
    scores = POOLS[task["kind"]]
    out = []
    for _ in range(task["repeats"]):
        chosen = rng.permutation(scores.shape[1])[: 2 * task["K"]]
        said = verdict(scores[:, chosen[: task["K"]]], scores[:, chosen[task["K"] :]], task["data"])
        out.append((said["verdict"], said["high"]))
    return out


POOLS: dict[str, Floats] = {}


def main() -> int:
    parser = arguments(__doc__)
    parser.add_argument("--data", type=Path, default=None, help="folder of the real tables")
    given = parser.parse_args()
    folder = str(data_folder(given.data))
    repeats = given.repeats or (40 if given.quick else 200)
    months, count = (3, 8) if given.quick else (MONTHS, 12)
    pool, after = (30, 12) if given.quick else (POOL, 30)
    kinds = KINDS[:1] if given.quick else KINDS
    base = {"data": folder}
    trainings = [
        {"kind": kind, "when": when, "seed": 1000 * j + i, **base}
        for kind in kinds
        for j, (when, many) in enumerate(
            [("before", pool), *((f"month {m}", count) for m in range(months)), ("after", after)]
        )
        for i in range(many)
    ]
    scores: dict[tuple[str, str], list[list[float]]] = {}
    for task, result in work("seeds", trainings, train, given.jobs):
        scores.setdefault((task["kind"], task["when"]), []).append(result)
    groups = {key: np.array(found).T for key, found in scores.items()}
    POOLS.update({kind: groups[kind, "before"] for kind in kinds})
    sizes = [k for k in SIZES if 2 * k <= pool]
    trials = [
        {"kind": kind, "K": k, "block": b, "repeats": size, "seed": given.seed, "pool": pool, **base}
        for kind in kinds
        for k in sizes
        for b, size in blocks(repeats, 20)
    ]
    verdicts: dict[tuple[str, int], list[tuple[str, float]]] = {}
    for task, result in work("seeds", trials, trial, 1):  # the pools are in this process
        verdicts.setdefault((task["kind"], task["K"]), []).extend(result)
    failed, null = [], []
    stated: dict[str, tuple[float, int]] = {}
    for (kind, k), found in verdicts.items():
        alarms = sum(v == "alarm" for v, _ in found) / len(found)
        shown = [sum(high <= margin for _, high in found) / len(found) for margin in MARGINS]
        null.append([f"{kind}, {k} and {k} replicates", per_cent(alarms), *map(per_cent, shown)])
        if alarms > most_hits(0.05, len(found)):
            failed.append(f"{kind}, {k} replicates: {per_cent(alarms)} % false alarms")
        for margin, share in zip(MARGINS, shown, strict=True):
            if share >= 0.9:
                stated[kind] = min(stated.get(kind, (margin, k)), (margin, k))
    failed += [f"{kind}: no margin and number shows reruns in nine of ten" for kind in kinds if kind not in stated]
    steps = []
    for kind in kinds:
        pairs = [(f"month {m}", f"month {m + 1}") for m in range(months - 1)] + [("before", "after")]
        for old, new in pairs:
            most = after if new == "after" else count
            said = verdict(groups[kind, old][:, :most], groups[kind, new][:, :most], folder)
            interval = f"{said['excess']:.3f} [{said['low']:.3f}, {said['high']:.3f}]"
            steps.append(
                [f"{kind}: {old} to {new}", per_cent(said["floor"]), interval, said["verdict"], said["metric"]]
            )
            if new == "after" and said["verdict"] != "alarm":
                failed.append(f"{kind}: the retrain after the crisis is {said['verdict']}")
    text = (
        f"Churn at a threshold of {THRESHOLD}, margin of the excess {MARGIN}, panel of {PANEL:,} calls; "
        f"{repeats} draws of reruns from a pool of {pool} replicates.\n\n"
        + markdown(["nothing has changed", "alarm %", *(f"ok at {m:g} %" for m in MARGINS)], null)
        + "".join(
            f"\n\n{kind}: with {k} replicates and a margin of {margin:g} reruns are shown to be reruns in nine of ten."
            for kind, (margin, k) in stated.items()
        )
        + "\n\n"
        + markdown(["retrain", "floor %", "excess [interval]", "excess is", "accuracy is"], steps)
    )
    print(text)
    if given.markdown:
        given.markdown.write_text(text + "\n", encoding="utf-8")
    print("\n".join(failed) if failed else "\nEvery promise is kept.")
    return int(bool(failed))


if __name__ == "__main__":
    sys.exit(main())
