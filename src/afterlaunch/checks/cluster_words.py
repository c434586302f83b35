"""What is telling about each cluster: the features and the terms that set its members apart from all others."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence

import numpy as np
import polars as pl

from afterlaunch.checks.rows import is_number, is_plain, numbers, words
from afterlaunch.words import plain, quantity, shorten

TOLD = 3
"""Features or terms that describe a cluster."""

LEAST_SHIFT = 0.5
"""Standard deviations from which a mean is telling: a medium effect of Cohen (1988)."""

LEAST_SHARE = 0.2
"""Difference of shares from which a category is telling."""

LEAST_LIFT = 2.0
"""How many times as common as in all other clusters a term is."""

LEAST_ROWS = 5
"""Fewest members of a cluster in the sample that is described."""

_WORD = re.compile(r"\w+")


def describe(
    frame: pl.DataFrame, labels: Sequence[str], features: Sequence[str], text: str | None = None
) -> dict[str, str]:
    """A few words on each cluster.

    Numbers are told by the mean's distance from that of the other clusters, in standard deviations; categories
    by the share of members beyond that of the others; terms of texts by their part in the divergence from the others.

    Args:
        frame: Rows of a sample.
        labels: Cluster of each row, shape (n,).
        features: Columns to look at.
        text: Column with texts, or None.

    Returns:
        Cluster to words; a cluster of which nothing is telling, or of which there are few rows, is left out.

    Example:
        >>> frame = pl.DataFrame({"age": [20, 21, 22, 23, 24, 60, 61, 62, 63, 64], "vip": [False] * 5 + [True] * 5})
        >>> describe(frame, ["a"] * 5 + ["b"] * 5, ["age", "vip"])["b"]
        'age +2.0 sd (mean 62), vip true in 100 % (others 0 %)'
    """
    own = np.asarray(labels, dtype=object)
    known = [k for k in dict.fromkeys(labels) if int((own == k).sum()) >= LEAST_ROWS]
    told: dict[str, list[tuple[float, str]]] = {k: [] for k in known}
    for name in features:
        column = frame[name]
        if not is_plain(column):
            continue
        if column.dtype == pl.Boolean:
            column = column.cast(pl.String)
        each = _numeric if is_number(column) else _category
        for k in known:
            found = each(column, own == k)
            if found is not None:
                told[k].append(found)
    out = {}
    terms = _terms_of(frame[text], own, known) if text is not None else {}
    for k in known:
        parts = [t for _, t in sorted(told[k], key=lambda t: (-t[0], t[1]))[:TOLD]]
        if terms.get(k):
            parts.insert(0, ", ".join(repr(shorten(plain(t), 30)) for t in terms[k]))
        if parts:
            out[k] = ", ".join(parts)
    return out


def _numeric(column: pl.Series, mine: np.ndarray[tuple[int, ...], np.dtype[np.bool_]]) -> tuple[float, str] | None:
    x = np.clip(numbers(column), -1e150, 1e150)
    a, b = (v[np.isfinite(v)] for v in (x[mine], x[~mine]))
    if a.size == 0 or b.size == 0:
        return None
    spread = float(x[np.isfinite(x)].std())
    if spread <= 0:
        return None
    away = (float(a.mean()) - float(b.mean())) / spread
    if abs(away) < LEAST_SHIFT:
        return None
    return abs(away), f"{plain(column.name)} {away:+.1f} sd (mean {quantity(float(a.mean()), '')})"


def _category(column: pl.Series, mine: np.ndarray[tuple[int, ...], np.dtype[np.bool_]]) -> tuple[float, str] | None:
    text = words(column).to_numpy()
    a, b = (Counter(v for v in part if v is not None) for part in (text[mine], text[~mine]))
    sizes = max(int(mine.sum()), 1), max(int((~mine).sum()), 1)
    beyond = {v: c / sizes[0] - b[v] / sizes[1] for v, c in a.items()}
    if not beyond:
        return None
    value = min(beyond, key=lambda v: (-beyond[v], v))
    if beyond[value] < LEAST_SHARE:
        return None
    shares = [quantity(float(f"{c / n:.2g}"), "share") for c, n in zip((a[value], b[value]), sizes, strict=True)]
    # On the scale of a mean's distance: Cohen's h of a share of 0 and one of 1 is 3.1.
    score = 2 * abs(np.arcsin((a[value] / sizes[0]) ** 0.5) - np.arcsin((b[value] / sizes[1]) ** 0.5))
    shown = shorten(plain(value), 30)
    return float(score) / 2, f"{plain(column.name)} {shown} in {shares[0]} (others {shares[1]})"


def _terms_of(
    column: pl.Series, own: np.ndarray[tuple[int, ...], np.dtype[np.object_]], known: list[str]
) -> dict[str, list[str]]:
    """The words that take part most in the divergence of a cluster from the others.

    Source:
        Kullback & Leibler (1951), Annals of Mathematical Statistics 22:79-86.
    """
    found: dict[str, Counter[str]] = {}
    sizes: Counter[str] = Counter()
    for value, k in zip(words(column).to_list(), own.tolist(), strict=True):
        sizes[k] += 1
        found.setdefault(k, Counter()).update(set(_WORD.findall((value or "").casefold())))
    whole: Counter[str] = Counter()
    for c in found.values():
        whole.update(c)
    total, out = sum(sizes.values()), {}
    for k in known:
        mine, n = found[k], sizes[k]
        weight = {}
        for term, hits in mine.items():
            lift = (hits / n) / ((whole[term] - hits + 0.5) / (total - n + 1))
            if hits > 1 and lift >= LEAST_LIFT:
                weight[term] = hits / n * float(np.log(lift))
        out[k] = sorted(weight, key=lambda t: (-weight[t], t))[:TOLD]
    return out
