"""Do clusters keep their names through births, deaths, splits and merges, and does k-means stay?

Queries of `clinc150` in fifteen intents, for ten weeks; every week four fifths of each intent's queries are there. One
intent is born in week 3, one dies in week 5, one group splits into two intents in week 4, and two groups merge in
week 7.

1. *Identity.* The clusters of a week are the true groups with a part of the members put elsewhere at random, under
   labels that are drawn anew every week. `al.ClusterHistory` names them. Every pair of clusters of a week and the next
   is the same cluster or not, by what really happened; F1 is over those pairs. Beside it the labels as they are, and a
   greedy matching by the largest overlap. The same with those that k-means finds in TF-IDF and SVD vectors.
2. *K-means.* `al.StableKMeans`, started from last week's, beside scikit-learn's `KMeans(n_init=10)` with another seed
   a week: the adjusted Rand index between weeks on the queries of both, and the inertia.

    python studies/clusters.py [--quick] [--repeats SEEDS] [--jobs J] [--data FOLDER] [--markdown FILE]
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
from _common import Task, arguments, data_folder, markdown, seed_of, work
from numpy.typing import NDArray
from sklearn.cluster import KMeans
from sklearn.decomposition import TruncatedSVD
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.metrics import adjusted_rand_score
from sklearn.preprocessing import normalize

import afterlaunch as al

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
WEEKS, INTENTS, THERE, COMPONENTS = 10, 15, 0.8, 60
BORN, DIES, SPLITS, MERGES = 3, 5, 4, 7
NOISE = (0.0, 0.05, 0.1, 0.2)


@cache
def queries(folder: str) -> pl.DataFrame:
    table = pl.read_parquet(Path(folder) / "clinc150" / "clinc150_full.parquet")
    return table.filter(pl.col("intent") != "oos").select("text", "intent")


def groups_of(week: int, intent: Ints) -> Ints:
    """Group of each query in a week, -1 where it is not there: intents 0 to 14, with what happens to them."""
    out = intent.copy()
    if week < BORN:
        out[intent == 0] = -1
    if week >= DIES:
        out[intent == 1] = -1
    if week < SPLITS:
        out[intent == 3] = 2
    if week >= MERGES:
        out[intent == 5] = 4
    return out


def same_clusters(old: Ints, new: Ints) -> set[tuple[int, int]]:
    """Which group of a week really goes on as which: here groups that keep their number."""
    return {(g, g) for g in set(old.tolist()) & set(new.tolist()) if g >= 0}


def pairs_by(old: dict[str, Any], new: dict[str, Any]) -> set[tuple[str, str]]:
    """Pairs of labels that are given one name."""
    return {(a, b) for a, i in old.items() for b, j in new.items() if i == j}


def greedy(old: list[str], new: list[str]) -> set[tuple[str, str]]:
    """Every cluster goes on as the one that holds most of its members, the largest overlaps first."""
    counts: dict[tuple[str, str], int] = {}
    for a, b in zip(old, new, strict=True):
        if a and b:
            counts[a, b] = counts.get((a, b), 0) + 1
    out: set[tuple[str, str]] = set()
    for a, b in sorted(counts, key=lambda p: (-counts[p], p)):
        if a not in {x for x, _ in out} and b not in {y for _, y in out}:
            out.add((a, b))
    return out


def do(task: Task) -> dict[str, Any]:
    rng = seed_of(task)
    table = queries(task["data"])
    names = rng.permutation(table["intent"].unique().sort().to_numpy())[:INTENTS]
    mine = table.filter(pl.col("intent").is_in(names.tolist()))
    place = {name: i for i, name in enumerate(names)}
    intent = np.array([place[n] for n in mine["intent"]], dtype=np.int64)
    vectors = TfidfVectorizer(sublinear_tf=True).fit_transform(mine["text"].to_list())
    vectors = normalize(TruncatedSVD(COMPONENTS, random_state=0).fit_transform(vectors))
    present = rng.random((WEEKS, len(intent))) < THERE
    return {
        "identity": {name: identity(rng, intent, vectors, present, name) for name in (*map(str, NOISE), "k-means")},
        "kmeans": stays(intent, vectors, present),
    }


def identity(rng: np.random.Generator, intent: Ints, vectors: Floats, present: Any, how: str) -> dict[str, Any]:
    """Right, wrong and missed pairs of clusters by way of naming, over all weeks; and how far clusters are groups."""
    history = al.ClusterHistory()
    counts = {way: [0, 0, 0] for way in ("history", "greedy", "labels")}
    agreement, last = [], None
    for week in range(WEEKS):
        truth = groups_of(week, intent)
        here = np.flatnonzero(present[week] & (truth >= 0))
        number = len(set(truth[here].tolist()))
        if how == "k-means":
            found = KMeans(number, n_init=10, random_state=int(rng.integers(2**31))).fit_predict(vectors[here])
        else:
            found = truth[here].copy()
            moved = rng.random(len(here)) < float(how)
            found[moved] = rng.choice(found, int(moved.sum()))
        labels = [f"{v}" for v in rng.permutation(100)[found]]
        agreement.append(adjusted_rand_score(truth[here], found))
        named = history.append(str(week), ids=here, labels=labels).names
        # A cluster stands for the group that most of its members are of.
        stands = {k: int(np.bincount(truth[here][np.array(labels) == k]).argmax()) for k in set(labels)}
        if last is not None:
            before, old_named, old_stands, old_of = last
            real = same_clusters(before, truth[here])
            right = {(a, b) for a, g in old_stands.items() for b, h in stands.items() if (g, h) in real}
            of = dict(zip(here.tolist(), labels, strict=True))
            common = sorted(set(old_of) & set(of))
            said = {
                "history": pairs_by(old_named, named),
                "greedy": greedy([old_of[m] for m in common], [of[m] for m in common]),
                "labels": {(a, a) for a in set(old_named) & set(named)},
            }
            for way, mine in said.items():
                for i, n in enumerate((len(mine & right), len(mine - right), len(right - mine))):
                    counts[way][i] += n
        last = truth[here], dict(named), stands, dict(zip(here.tolist(), labels, strict=True))
    return {"counts": counts, "agreement": float(np.mean(agreement))}


def stays(intent: Ints, vectors: Floats, present: Any) -> dict[str, float]:
    """Agreement of weeks and inertia, of weeks in which nothing happens."""
    rows: dict[str, list[float]] = {"ours": [], "theirs": [], "ratio": []}
    last: tuple[Any, Ints, Ints, Ints] | None = None
    for week in range(WEEKS):
        here = np.flatnonzero(present[week])
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            previous = last[0] if last is not None else None
            ours = al.StableKMeans(INTENTS, previous=previous, random_state=week).fit(vectors[here])
        theirs = KMeans(INTENTS, n_init=10, random_state=week).fit(vectors[here])
        rows["ratio"].append(float(ours.inertia_ / theirs.inertia_))
        if last is not None:
            _, old_here, old_ours, old_theirs = last
            both, i, j = np.intersect1d(old_here, here, return_indices=True)
            del both
            rows["ours"].append(adjusted_rand_score(old_ours[i], ours.labels_[j]))
            rows["theirs"].append(adjusted_rand_score(old_theirs[i], theirs.labels_[j]))
        last = ours, here, ours.labels_, theirs.labels_
    return {name: float(np.mean(values)) for name, values in rows.items()} | {"most": max(rows["ratio"])}


def f1(counts: list[int]) -> float:
    right, wrong, missed = counts
    return 2 * right / max(2 * right + wrong + missed, 1)


def main() -> int:
    parser = arguments(__doc__)
    parser.add_argument("--data", type=Path, default=None, help="folder of the real tables")
    given = parser.parse_args()
    repeats = given.repeats or (3 if given.quick else 20)
    tasks = [{"run": i, "seed": given.seed, "data": str(data_folder(given.data))} for i in range(repeats)]
    results = [result for _, result in work("clusters", tasks, do, given.jobs)]
    failed, rows, ways = [], [], ("history", "greedy", "labels")
    for how in (*map(str, NOISE), "k-means"):
        each = [r["identity"][how] for r in results]
        total = {
            way: np.sum([e["counts"][way] for e in each], axis=0).tolist() for way in ("history", "greedy", "labels")
        }
        scores = {way: f1(counts) for way, counts in total.items()}
        agreement = float(np.mean([e["agreement"] for e in each]))
        name = "clusters of k-means" if how == "k-means" else f"{float(how):.0%} of members put elsewhere"
        rows.append([name, f"{agreement:.2f}", *(f"{scores[w]:.3f}" for w in ways)])
        if how != "k-means" and agreement >= 0.8 and scores["history"] < 0.95:
            failed.append(f"{name}: identity F1 {scores['history']:.3f}")
    mean = {k: float(np.mean([r["kmeans"][k] for r in results])) for k in ("ours", "theirs", "ratio")}
    most = max(r["kmeans"]["most"] for r in results)
    kmeans = [["StableKMeans", f"{mean['ours']:.3f}", f"{mean['ratio']:.4f}, at most {most:.4f}"]]
    kmeans.append(["KMeans(n_init=10)", f"{mean['theirs']:.3f}", "1"])
    if mean["ours"] <= mean["theirs"]:
        failed.append("StableKMeans does not agree more from week to week")
    if mean["ratio"] > 1.01:
        failed.append(f"StableKMeans has an inertia of {mean['ratio']:.4f} of k-means'")
    head = ["clusters", "Rand index with the groups", "F1 of our names", "greedy matching", "labels as they are"]
    text = (
        f"{repeats} seeds, {WEEKS} weeks, {INTENTS} intents.\n\n"
        + markdown(head, rows)
        + "\n\n"
        + markdown(["k-means", "Rand index from week to week", "inertia over that of KMeans"], kmeans)
    )
    print(text)
    if given.markdown:
        given.markdown.write_text(text + "\n", encoding="utf-8")
    print("\n".join(failed) if failed else "\nEvery promise is kept.")
    return int(bool(failed))


if __name__ == "__main__":
    sys.exit(main())
