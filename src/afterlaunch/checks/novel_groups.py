"""Groups of novel rows: which belong together, which of them are news, and what each is about.

Production rows that are novel and reference rows that are as unlike the rest are grouped together, blind
to where they come from. Were a group no news, it would have its rows from both alike; so the share of
production in it gives a p-value, and only groups that pass Benjamini-Hochberg are shown.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray
from scipy import stats

from afterlaunch.checks.novel_space import prepared, unit
from afterlaunch.checks.rows import is_number, numbers, words
from afterlaunch.stats.multiplicity import benjamini_hochberg
from afterlaunch.words import number, plain, shorten

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]

MOST_GROUPED = 2000
"""Most novel rows that are grouped; of more, a sample is, and the rest go to the nearest group."""

MOST_GROUPS = 100
"""Most groups that are tried."""

LEAST_GROUP = 5
"""Fewest rows of a group that is shown."""

FALSE_GROUPS = 0.1
"""Expected share of groups that are no news among those that are shown, at most."""

DIMENSIONS = 100
"""Dimensions that texts are grouped in: as many as Deerwester et al. (1990) use."""

EXAMPLES = 5
"""Examples of each group."""

TERMS = 3
"""Terms or features that name a group."""

RARER = 3.0
"""How many times as common as in the reference a word is that tells a group from it."""

_WORD = re.compile(r"\w+")


@dataclass(frozen=True)
class Group:
    """Novel rows that belong together.

    Attributes:
        name: What tells them from the reference.
        rows: Their places among the novel production rows, nearest to the middle first.
        reference: Calibration rows of the reference in the same group.
    """

    name: str
    rows: Ints
    reference: int


@dataclass(frozen=True)
class Sides:
    """Where the rows that are grouped come from: production's first, then the reference's.

    Attributes:
        new: How many are production's.
        totals: All rows (units, where there are any) of production and of the calibration part.
        units: Unit of each row, or None for independent rows; a unit counts once in a group.
    """

    new: int
    totals: tuple[int, int]
    units: Ints | None = None

    def counts(self, labels: Ints) -> tuple[Ints, Ints]:
        """Rows (units) of production and of the reference in every group."""
        size = int(labels.max(initial=-1)) + 1
        sides = np.arange(labels.size) >= self.new
        if self.units is not None:
            first = np.unique(np.column_stack([labels, sides, self.units]), axis=0)
            labels, sides = first[:, 0], first[:, 1].astype(bool)
        return np.bincount(labels[~sides], minlength=size), np.bincount(labels[sides], minlength=size)

    def news(self, labels: Ints) -> NDArray[np.bool_]:
        """Which groups have more of production's rows than would fall to it by chance, after Benjamini-Hochberg."""
        a, b = self.counts(labels)
        n, m = self.totals
        if a.size == 0:
            return np.zeros(0, dtype=bool)
        # P(X >= a) of the hypergeometric law with n and m rows, of which a + b are in the group.
        p = stats.hypergeom.sf(a - 1, n + m, np.minimum(a + b, n + m), n)
        passed: NDArray[np.bool_] = benjamini_hochberg(np.clip(p, 0.0, 1.0)) <= FALSE_GROUPS
        return passed & (np.bincount(labels[: self.new], minlength=a.size) >= LEAST_GROUP)


def cluster(vectors: NDArray[Any], seed: int) -> Ints:
    """Label of every row, shape (n,): average linkage, cut where the silhouette is best.

    Unlike k-means it makes groups of very different sizes, and odd rows stay on their own.

    Args:
        vectors: Shape (n, D).
        seed: Of the sample that is grouped when there are many rows; the others go to the nearest group.

    Source:
        Sokal & Michener (1958), Univ. Kansas Sci. Bull. 38:1409-1438; Rousseeuw (1987), J. Comput. Appl.
        Math. 20:53-65.
    """
    every, place = np.unique(np.asarray(vectors, dtype=np.float64).round(6), axis=0, return_inverse=True)
    return _distinct_clusters(every, seed)[place.reshape(-1)]


def _distinct_clusters(x: Floats, seed: int) -> Ints:
    """Labels of rows that are all different: many copies of one would each time make a group of their own."""
    from scipy.cluster.hierarchy import cut_tree, linkage
    from scipy.spatial.distance import pdist, squareform
    from sklearn.metrics import silhouette_score

    few = np.arange(len(x))
    if len(x) > MOST_GROUPED:
        few = np.sort(np.random.default_rng(seed).choice(len(x), MOST_GROUPED, replace=False))
    most = min(MOST_GROUPS, len(few) // LEAST_GROUP)
    if most < 2:
        return np.zeros(len(x), dtype=np.int64)
    between = pdist(x[few])
    sizes = np.unique(np.geomspace(2, most, 12).astype(np.int64))
    cuts = cut_tree(linkage(between, "average"), sizes)
    square = squareform(between)
    quality = [float(silhouette_score(square, cut, metric="precomputed")) for cut in cuts.T]
    own = cuts[:, int(np.argmax(quality))].astype(np.int64)
    if few.size == len(x):
        return own
    centre = np.stack([x[few][own == label].mean(axis=0) for label in range(int(own.max()) + 1)])
    away = (centre**2).sum(axis=1) - 2 * (x @ centre.T)
    labels: Ints = away.argmin(axis=1).astype(np.int64)
    labels[few] = own
    return labels


def groups(vectors: NDArray[Any], labels: Ints, sides: Sides, name: Callable[[Ints], str]) -> list[Group]:
    """The groups that are news, largest first.

    Args:
        vectors: Shape (n, D).
        labels: Group of each row, shape (n,).
        sides: Where they come from.
        name: Places of production rows -> what they are about.
    """
    x = np.asarray(vectors, dtype=np.float64)
    named: dict[str, list[int]] = {}
    for label in np.flatnonzero(sides.news(labels)):
        named.setdefault(name(np.flatnonzero(labels[: sides.new] == label)), []).append(int(label))
    out = []
    for title, members in named.items():
        # Groups that cannot be told apart by name are one to a reader.
        rows = np.flatnonzero(np.isin(labels, members))
        away = ((x[rows] - x[rows].mean(axis=0)) ** 2).sum(axis=1)
        rows = rows[np.argsort(away, kind="stable")]
        mine = rows[rows < sides.new]
        out.append(Group(title, mine, int(rows.size - mine.size)))
    return sorted(out, key=lambda g: (-g.rows.size, g.name))


def text_groups(texts: Sequence[str], background: Sequence[str], sides: Sides, seed: int) -> list[Group]:
    """Group novel texts by their own words, which the reference may lack, and name them.

    Args:
        texts: Novel texts of production, then texts of the reference that are as unlike the rest.
        background: Texts of the reference.
        sides: Where the texts come from.
        seed: Of the clustering.
    """
    from sklearn.decomposition import TruncatedSVD
    from sklearn.feature_extraction.text import TfidfVectorizer

    if sides.new < LEAST_GROUP:
        return []
    try:
        vectoriser = TfidfVectorizer(
            preprocessor=prepared, token_pattern=r"\w+", min_df=2, max_df=0.5, sublinear_tf=True, dtype=np.float32
        )
        weighted = vectoriser.fit_transform(texts)
    except ValueError:  # No word is in two of the texts.
        return []
    size = min(DIMENSIONS, weighted.shape[1] - 1, len(texts) - 1)
    if size >= 2:
        vectors = unit(TruncatedSVD(size, n_iter=2, random_state=seed).fit_transform(weighted))
    else:
        vectors = unit(weighted.toarray())
    return groups(vectors, cluster(vectors, seed), sides, _namer(texts, background))


def vector_groups(
    vectors: NDArray[Any], texts: Sequence[str], background: Sequence[str], sides: Sides, seed: int
) -> list[Group]:
    """Group novel embeddings, and name each group by the terms of its texts where there are texts.

    Args:
        vectors: Embeddings of novel production rows, then of reference rows that are as unlike the rest, shape (n, D).
        texts: Texts of the production rows, or none.
        background: Texts of the reference.
        sides: Where the rows come from.
        seed: Of the clustering.
    """
    if sides.new < LEAST_GROUP:
        return []
    namer = _namer(texts, background) if texts else lambda rows: f"{rows.size} rows like row {rows[0]:,}"
    return groups(vectors, cluster(vectors, seed), sides, namer)


def _namer(texts: Sequence[str], background: Sequence[str]) -> Callable[[Ints], str]:
    """Names a group by the terms that take part most in its divergence from the background.

    Source:
        Kullback & Leibler (1951), Annals of Mathematical Statistics 22:79-86.
    """
    common = Counter(w for t in background for w in _terms(t))
    size = len(background)

    def name(rows: Ints) -> str:
        mine = Counter(w for i in rows for w in _terms(texts[i]))
        n = max(rows.size, 1)
        ratio = {w: c / n * (size + 1) / (common[w] + 0.5) for w, c in mine.items()}
        weight = {w: mine[w] / n * float(np.log(r)) for w, r in ratio.items() if r > RARER}
        # A pair of words is a term where each of them is news.
        weight = {w: x for w, x in weight.items() if all(part in weight for part in w.split())}
        chosen: list[str] = []
        for term in sorted(weight, key=lambda w: (-weight[w], w)):
            if len(chosen) == TERMS:
                break
            if not any(set(term.split()) & set(other.split()) for other in chosen):
                chosen.append(term)
        return ", ".join(shorten(plain(t), 40) for t in chosen) or "no word of its own"

    return name


def _terms(text: str) -> set[str]:
    found = _WORD.findall(prepared(text))
    return {*found, *(f"{a} {b}" for a, b in pairwise(found))}


def row_groups(
    frame: pl.DataFrame, vectors: NDArray[Any], reference: pl.DataFrame, sides: Sides, seed: int
) -> list[Group]:
    """Group novel rows and name each group by the features that set it apart.

    Args:
        frame: Novel rows of production, with the features only.
        vectors: Their place in the space of rows, then that of reference rows as unlike the rest, shape (n, D).
        reference: Rows of the reference, the same columns.
        sides: Where the rows come from.
        seed: Of the clustering.
    """
    if sides.new < LEAST_GROUP:
        return []
    return groups(vectors, cluster(vectors, seed), sides, lambda rows: _row_name(frame[rows], reference))


def _row_name(frame: pl.DataFrame, reference: pl.DataFrame) -> str:
    told = [_told(frame[c], reference[c]) for c in frame.columns]
    best = sorted((t for t in told if t[0] > 0), key=lambda t: (-t[0], t[1]))
    return ", ".join(text for _, text in best[:TERMS]) or "an unusual combination"


def _told(new: pl.Series, old: pl.Series) -> tuple[float, str]:
    """How much a feature sets rows apart, and in words: a shift in standard units, or a share of rows."""
    if is_number(new) and is_number(old):
        a, b = (np.clip(x[np.isfinite(x)], -1e150, 1e150) for x in (numbers(new), numbers(old)))
        absent = 1 - a.size / max(len(new), 1) - (1 - b.size / max(len(old), 1))
        if absent > 0.5 or a.size == 0 or b.size == 0:
            return 2 * absent, f"{new.name!r} missing"
        low, middle, high = np.quantile(b, [0.25, 0.5, 0.75])
        now = float(np.median(a))
        spread = float(high - low) / 1.349 or float(b.std()) or abs(float(middle)) or 1.0
        away = abs(float(np.arcsinh(np.clip((now - middle) / spread, -1e12, 1e12))))
        return (away if away > 1 else 0.0), f"{new.name!r} near {number(now)} (usually {number(float(middle))})"
    a_text, b_text = words(new), words(old)
    count = a_text.value_counts(sort=True).sort(["count", new.name], descending=[True, False])
    value, rows = count.row(0)
    share = rows / len(new)
    before = float((b_text.is_null() if value is None else b_text == value).fill_null(False).sum()) / max(len(old), 1)
    shown = f"{new.name!r} missing" if value is None else f"{new.name!r} is {shorten(plain(value), 30)!r}"
    return (2 * (share - before) if share > 0.5 and share - before > 0.3 else 0.0), shown
