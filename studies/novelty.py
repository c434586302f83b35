"""Are new kinds of queries found on real queries, and is nothing found where nothing is new?

clinc150: short queries of 150 intents, and queries out of the scope of all of them. A model is made for 135
intents, drawn anew for every split; queries of the other 15 and out-of-scope ones come in from day 30 of 60.

1. Without novelty, in random draws of production from the 135 intents: the share at the 5 % level, and verdicts.
2. How well the score ranks novel before known queries (AUROC), beside scikit-learn's local outlier factor,
   one-class SVM and isolation forest fitted on the same training queries. Each gets several settings and several
   forms of the vectors: TF-IDF as our score sees it (shorter for a text with unknown words, which makes novel texts
   look central to a one-class SVM and a forest), TF-IDF of length 1 as scikit-learn makes it, and the SVD of both.
   The best of all of them is what ours is held against: the choice is made in the peers' favour, on the test queries.
3. The daily course: when the episode opens and which day it is said to begin.
4. How well the groups recover the 15 intents (adjusted mutual information over their queries), beside k-means
   on all production queries and on the same novel queries, both told the right number of groups.

    python studies/novelty.py [--quick] [--repeats N] [--splits S] [--seed N] [--data FOLDER] [--markdown FILE]
"""

from __future__ import annotations

import sys
from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from _common import Floats, arguments, data_folder, markdown, most_hits, per_cent

from afterlaunch.checks import novelty
from afterlaunch.checks.evidence import Evidence, Sample
from afterlaunch.checks.novel_look import ALPHA, Judged, judge
from afterlaunch.checks.novel_space import TextSpace, text_space, unit
from afterlaunch.decide import Margins, decide
from afterlaunch.profile.types import Timeline
from afterlaunch.roles import Roles
from afterlaunch.watch import Budget, Window, watch

HELD_OUT = 15
REFERENCE = 12_000
DAYS, BEGIN = 60, 30
KNOWN_A_DAY, NOVEL_A_DAY = 100, 40
DIMENSIONS = 256
ROLES = Roles(text="text", ignore=("split", "intent", "domain"))
PEERS = ("LOF, 5 neighbours", "LOF, 20 neighbours", "one-class SVM, nu .05", "one-class SVM, nu .5", "isolation forest")


@dataclass(frozen=True)
class Split:
    """Queries of the intents that the model was made for, and of those that it was not."""

    known: pl.DataFrame
    held_out: pl.DataFrame
    out_of_scope: pl.DataFrame


def split_of(data: pl.DataFrame, seed: int) -> Split:
    rng = np.random.default_rng(seed)
    intents = sorted(set(data["intent"]) - {"oos"})
    held = set(rng.choice(intents, HELD_OUT, replace=False))
    parts = [
        data.filter(~pl.col("intent").is_in(held | {"oos"})),
        data.filter(pl.col("intent").is_in(held)),
        data.filter(pl.col("intent") == "oos"),
    ]
    return Split(*(p[rng.permutation(p.height)] for p in parts))


def evidence(reference: pl.DataFrame, production: pl.DataFrame, seed: int) -> Evidence:
    return Evidence(
        ROLES,
        reference_sample=Sample(reference, reference.height, seed),
        production_sample=Sample(production, production.height, seed),
    )


def judged(given: Evidence) -> Judged:
    (one,) = judge(given)
    assert isinstance(one, Judged)
    return one


# ------------------------------------------------------------------ 1. nothing new


def nothing_new(data: pl.DataFrame, repeats: int, seed: int) -> tuple[list[list[Any]], list[str]]:
    rows, failed = [], []
    for n in (300, 2000, 6000):
        shares, verdicts, outside = [], [], 0
        for r in range(repeats):
            known = split_of(data, seed + 1000 * r).known
            given = evidence(known[:REFERENCE], known[REFERENCE : REFERENCE + n], r)
            (estimate,) = novelty.run(given)
            assert estimate.value is not None
            assert estimate.interval is not None
            (finding,) = decide([estimate], margins=Margins({}), primary=("novelty",))
            shares.append(estimate.value + ALPHA)
            verdicts.append(finding.verdict.value)
            low, high = estimate.interval(0.025, 0.025)
            outside += not low <= 0 <= high
        mean, error = float(np.mean(shares)), float(np.std(shares)) / np.sqrt(max(repeats - 1, 1))
        said = [per_cent(verdicts.count(v) / repeats) for v in ("ok", "undecided", "alarm")]
        rows.append([f"{n:,}", per_cent(mean), f"± {100 * error:.2f}", *said, f"{outside} of {repeats}"])
        # Half a point is a tenth of the level; few rows in few draws cannot tell as much.
        if abs(mean - ALPHA) > max(0.005, 3 * error):
            failed.append(f"The share without novelty is {per_cent(mean)} % at {n} rows.")
        if outside / repeats > most_hits(0.05, repeats):
            failed.append(f"{outside} of {repeats} intervals of 95 % miss zero at {n} rows.")
        if verdicts.count("alarm") > most_hits(0.05, repeats) * repeats:
            failed.append(f"{verdicts.count('alarm')} of {repeats} alarm at {n} rows.")
        if n == 6000 and verdicts.count("ok") < 0.95 * repeats:
            failed.append(f"Only {verdicts.count('ok')} of {repeats} are ok at {n} rows.")
    return rows, failed


# ------------------------------------------------------------------ 2. ranking


def ranking(part: Split, seed: int) -> dict[str, float]:
    """AUROC of every score, ours under "ours"."""
    from sklearn.metrics import roc_auc_score

    training = part.known["text"][: REFERENCE // 2].to_list()
    usual = part.known["text"][REFERENCE:].to_list()
    new = [*part.held_out["text"], *part.out_of_scope["text"]]
    space = text_space(training, seed)
    assert space is not None
    truth = np.repeat([0, 1], [len(usual), len(new)])
    vectors = space.vectors([*usual, *new])
    ours = space.scores(vectors)
    out = {"ours": float(roc_auc_score(truth, ours))}
    for name, rows in (("out of scope", len(new) - part.held_out.height), ("held out", part.held_out.height)):
        mine = np.r_[: len(usual), slice_of(name, len(usual), rows, len(truth))]
        out[f"ours, {name} only"] = float(roc_auc_score(truth[mine], ours[mine]))
    for form, old, now in forms(space, training, [*usual, *new], vectors.known, seed):
        for peer in PEERS:
            out[f"{peer}, {form}"] = float(roc_auc_score(truth, peer_score(peer, old, now, seed)))
    return out


def slice_of(name: str, usual: int, rows: int, total: int) -> slice:
    return slice(total - rows, total) if name == "out of scope" else slice(usual, usual + rows)


def forms(
    space: TextSpace, training: list[str], texts: list[str], now: Any, seed: int
) -> Iterable[tuple[str, Any, Any]]:
    """Vectors of training and of other texts, in several forms."""
    from sklearn.decomposition import TruncatedSVD
    from sklearn.feature_extraction.text import TfidfVectorizer

    usual = TfidfVectorizer(token_pattern=r"\w+").fit(training)
    for name, old, other in (
        ("TF-IDF of ours", space.vectors(training).known, now),
        ("TF-IDF of length 1", usual.transform(training), usual.transform(texts)),
    ):
        yield name, old, other
        svd = TruncatedSVD(DIMENSIONS, random_state=seed).fit(old)
        low, high = svd.transform(old), svd.transform(other)
        yield f"SVD of {name}", low, high
        yield f"SVD of {name}, scaled", unit(low), unit(high)


def peer_score(peer: str, old: Any, now: Any, seed: int) -> Floats:
    """Higher is more novel: scikit-learn gives high scores to inliers."""
    from scipy.sparse import issparse
    from sklearn.ensemble import IsolationForest
    from sklearn.neighbors import LocalOutlierFactor
    from sklearn.svm import OneClassSVM

    if peer.startswith("LOF"):
        metric = "cosine" if issparse(old) else "minkowski"
        model = LocalOutlierFactor(n_neighbors=int(peer.split()[1]), novelty=True, metric=metric)
    elif peer.startswith("one-class"):
        model = OneClassSVM(nu=float(peer.rsplit(maxsplit=1)[-1]))
    else:
        model = IsolationForest(random_state=seed)
    return np.asarray(-model.fit(old).score_samples(now))


# ------------------------------------------------------------------ 3. and 4. day by day, and groups


def log_of(part: Split) -> pl.DataFrame:
    """Sixty days of queries, with their day."""
    new = pl.concat([part.held_out, part.out_of_scope])
    new = new[np.random.default_rng(0).permutation(new.height)]
    known = part.known[REFERENCE : REFERENCE + DAYS * KNOWN_A_DAY]
    late = new[: (DAYS - BEGIN) * NOVEL_A_DAY]
    day = np.concatenate(
        [np.repeat(np.arange(DAYS), KNOWN_A_DAY)[: known.height], np.repeat(np.arange(BEGIN, DAYS), NOVEL_A_DAY)]
    )
    return pl.concat([known, late]).with_columns(day=pl.Series(day)).sort("day", maintain_order=True)


def daily(part: Split, seed: int) -> tuple[list[Any], list[Any]]:
    log = log_of(part)
    start = datetime(2026, 1, 1, tzinfo=UTC)
    rows = np.bincount(log["day"].to_numpy(), minlength=DAYS)
    windows = tuple(
        Window(f"{i:02d}", start + timedelta(days=i), start + timedelta(days=i + 1), int(rows[i])) for i in range(DAYS)
    )
    given = evidence(part.known[:REFERENCE], log, seed)
    assert given.production_sample is not None
    given = replace(
        given,
        production_sample=replace(given.production_sample, window="day"),
        timeline=Timeline("1d", windows, rows.astype(np.int64), {}),
    )
    found = watch(novelty.follow(given), margins=Margins({}), budget=Budget(), primary=("novelty",)).findings
    alarms = [f for f in found if f.verdict.value == "alarm"]
    course = [len(alarms), *((alarms[0].window, alarms[0].sentence.rsplit(". ", 1)[-1]) if alarms else ("–", "–"))]
    return course, recovered(judged(given), log, seed)


def recovered(one: Judged, log: pl.DataFrame, seed: int) -> list[Any]:
    """AMI with the held-out intents: our groups, k-means on all queries, k-means on the novel ones."""
    from sklearn.cluster import KMeans
    from sklearn.decomposition import TruncatedSVD
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.metrics import adjusted_mutual_info_score as ami

    at = one.where[one.novel.places]
    intents = log["intent"].to_numpy()
    known = set(log.filter(pl.col("day") < BEGIN)["intent"])
    held = np.array([i not in known and i != "oos" for i in intents])
    weighted = TfidfVectorizer().fit_transform(log["text"].to_list())
    vectors = unit(TruncatedSVD(100, random_state=seed).fit_transform(weighted))
    everything = KMeans(len(set(intents[intents != "oos"])), n_init=3, random_state=seed).fit_predict(vectors)
    among = KMeans(HELD_OUT + 1, n_init=3, random_state=seed).fit_predict(vectors[at])
    mine, grouped = held[at], one.novel.label >= 0
    shown = mine & grouped
    return [
        len(one.novel.groups),
        int(mine.sum()),
        int(shown.sum()),
        f"{ami(intents[at][shown], one.novel.label[shown]):.2f}",
        f"{ami(intents[at][shown], among[shown]):.2f}",
        f"{ami(intents[at][shown], everything[at][shown]):.2f}",
        f"{ami(intents[at][mine], one.novel.label[mine]):.2f}",
        f"{ami(intents[at][mine], everything[at][mine]):.2f}",
        per_cent(float(np.isin(intents[at], list(known))[grouped].mean())) if grouped.any() else "–",
    ]


# ------------------------------------------------------------------ all


def main() -> int:
    parser = arguments(__doc__)
    parser.add_argument("--splits", type=int, default=None, help="draws of the held-out intents")
    parser.add_argument("--data", type=Path, default=None)
    given = parser.parse_args()
    data = pl.read_parquet(data_folder(given.data) / "clinc150" / "clinc150_full.parquet")
    splits = given.splits or (2 if given.quick else 5)
    repeats = given.repeats or (8 if given.quick else 40)

    quiet, failed = nothing_new(data, repeats, given.seed)
    scores: dict[str, list[float]] = {}
    courses, groups = [], []
    for s in range(splits):
        part = split_of(data, given.seed + s)
        for name, value in ranking(part, given.seed).items():
            scores.setdefault(name, []).append(value)
        course, group = daily(part, given.seed)
        courses.append([s + 1, *course])
        groups.append([s + 1, *group])
        best = max(v[s] for k, v in scores.items() if not k.startswith("ours"))
        if scores["ours"][s] < best:
            failed.append(f"Split {s + 1}: AUROC {scores['ours'][s]:.3f} is under the best peer's {best:.3f}.")
        if course[0] != 1:
            failed.append(f"Split {s + 1}: {course[0]} episodes.")
    order = sorted(scores, key=lambda k: (not k.startswith("ours"), -float(np.mean(scores[k]))))
    ranked = [[k, *(f"{v:.3f}" for v in scores[k])] for k in order]
    text = "\n\n".join(
        [
            f"Without novelty, {repeats} draws, share of rows at the 5 % level",
            markdown(
                ["rows", "share %", "error", "ok %", "undecided %", "alarm %", "95 % intervals that miss 0"], quiet
            ),
            f"AUROC of novel against known queries, {splits} draws of {HELD_OUT} held-out intents",
            markdown(["score", *(f"split {s + 1}" for s in range(splits))], ranked),
            f"Novel queries from day {BEGIN} of {DAYS}, {KNOWN_A_DAY} known and {NOVEL_A_DAY} novel a day",
            markdown(["split", "episodes", "window", "said to begin"], courses),
            "Groups of novel queries; AMI with held-out intents over their queries that are in a group that is shown"
            " (then over all that are novel at the 5 % level)",
            markdown(
                [
                    "split",
                    "groups",
                    "held-out queries found",
                    "in groups",
                    "AMI ours",
                    "k-means on novel",
                    "k-means on all",
                    "AMI ours, all found",
                    "k-means on all, all found",
                    "known queries in groups %",
                ],
                groups,
            ),
        ]
    )
    print(text)
    print("\n".join(failed) or "\nEvery promise is kept.")
    if given.markdown is not None:
        given.markdown.write_text(text + "\n", encoding="utf-8")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
