"""Where rows lie, and how unlike the training rows they are: texts, embeddings, and features together.

Every space is fitted on training rows of the reference only. Its score is the distance to the nearest of
them: unlike an isolation forest or a one-class boundary, that sees an odd combination of usual values and
makes no assumption on the shape of what is normal (Sun et al. 2022, ICML, arXiv:2204.06507, for embeddings).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from afterlaunch.checks.rows import is_number, numbers, words

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Singles = NDArray[np.float32]

NEIGHBOURS = 3
"""Nearest training rows whose distance is averaged: one alone would follow a single odd training row."""

LENGTHS = np.array([1, 2, 3, 4, 5, 7, 10, 14, 20, 28, 40, 80, 160, 320])
"""Upper ends of classes of texts by how many different words they have."""

DRAWN = 20.0
"""Rows that draw a class of few rows to the mean of all."""

MOST_PRODUCTS = 100_000.0
"""Most products of words for one text; beyond, fewer training texts are neighbours."""

HASHED = 2**20
"""Places for words; so many that few share one."""

CHUNK = 1024
"""Rows scored at a time."""

CATEGORIES = 50
"""Most values of a category that have a dimension of their own; rarer and unseen ones share one."""

_DIGITS = str.maketrans("123456789", "000000000")
_UNSPACED = (
    ("\u0e00", "\u0eff"),
    ("\u1000", "\u109f"),
    ("\u1780", "\u17ff"),
    ("\u3040", "\u30ff"),
    ("\u3400", "\u9fff"),
)
"""Thai and Lao, Burmese, Khmer, kana, and Chinese characters: scripts that put no spaces between words."""


def prepared(text: str) -> str:
    """Small letters, and every digit as 0: an order number is a number, not a new word."""
    return text.lower().translate(_DIGITS)


def unit(vectors: NDArray[Any]) -> Singles:
    """Rows of length 1; a row of zeros stays."""
    x = np.asarray(vectors, dtype=np.float32)
    length = np.linalg.norm(x, axis=1, keepdims=True)
    return np.asarray(x / np.where(length > 0, length, 1.0), dtype=np.float32)


def nearest_products(vectors: Singles, training: Singles, count: int = NEIGHBOURS) -> Floats:
    """Mean of the largest inner products of each row with training rows, shape (n,)."""
    count = min(count, len(training))
    out = np.empty(len(vectors))
    for i in range(0, len(vectors), CHUNK):
        each = vectors[i : i + CHUNK] @ training.T
        out[i : i + CHUNK] = np.partition(each, -count, axis=1)[:, -count:].mean(axis=1)
    return out


def nearest_distances(vectors: Singles, training: Singles, count: int = NEIGHBOURS) -> Floats:
    """Mean Euclidean distance of each row to its nearest training rows, shape (n,)."""
    count = min(count, len(training))
    own = (training.astype(np.float64) ** 2).sum(axis=1).astype(np.float32)
    out = np.empty(len(vectors))
    for i in range(0, len(vectors), CHUNK):
        part = vectors[i : i + CHUNK]
        each = own - 2 * (part @ training.T)
        least = np.partition(each, count - 1, axis=1)[:, :count].astype(np.float64)
        square = (part.astype(np.float64) ** 2).sum(axis=1)[:, None]
        out[i : i + CHUNK] = np.sqrt(np.maximum(least + square, 0.0)).mean(axis=1)
    return out


# ------------------------------------------------------------------ texts


@dataclass(frozen=True)
class Weighted:
    """Texts as weighted words.

    Attributes:
        known: TF-IDF of the words that the training texts have, shape (n, V), sparse.
        words: Different words of each text, the unknown ones included, shape (n,).
    """

    known: Any
    words: Ints


@dataclass(frozen=True)
class TextSpace:
    """TF-IDF of words, all of them: what tells a new kind of query are rare words, which an SVD would drop.

    A text keeps in its length the words that the training texts lack, each at the weight of an unseen
    word. So the product with a training text is their cosine times the share of the text that is known: a
    text of unknown words is unlike everything. How alike usual texts are depends on how many words they
    have; the score is taken in standard deviations about that, from training texts that are no neighbours.

    Source:
        Salton & Buckley (1988), Information Processing & Management 24:513-523 (TF-IDF); Weinberger et al.
        (2009), ICML, arXiv:0902.2206 (hashed words); Papadopoulos et al. (2002), ECML, doi
        10.1007/3-540-36755-1_29 (scores normalised by what is expected).
    """

    analyzer: str
    place: NDArray[np.int32]
    idf: Singles
    training: Any
    mean: Floats
    sd: Floats

    def vectors(self, texts: Sequence[str]) -> Weighted:
        """Texts as this space sees them."""
        return _weighted(_counted(texts, self.analyzer), self.idf, self.place, self.training.shape[1])

    def scores(self, vectors: Weighted) -> Floats:
        """How unlike the nearest training texts, in standard deviations of usual texts, shape (n,)."""
        at = np.searchsorted(LENGTHS, vectors.words)
        out: Floats = (self.mean[at] - self.likeness(vectors)) / self.sd[at]
        return out

    def likeness(self, vectors: Weighted) -> Floats:
        """Mean product with the nearest training texts, from 0 to 1, shape (n,)."""
        count = min(NEIGHBOURS, self.training.shape[0])
        across = self.training.T.tocsr()
        out = np.empty(vectors.known.shape[0])
        for i in range(0, len(out), CHUNK):
            each = (vectors.known[i : i + CHUNK] @ across).toarray()
            out[i : i + CHUNK] = np.partition(each, -count, axis=1)[:, -count:].mean(axis=1)
        return out


def text_space(texts: Sequence[str], seed: int) -> TextSpace | None:
    """Fit the space of texts: four fifths are neighbours, the rest says how alike usual texts are.

    Args:
        texts: Training texts.
        seed: Of the parts.

    Returns:
        The space; None when no text has a word.
    """
    analyzer = "char" if _unspaced(texts) else "word"
    order = np.random.default_rng(seed).permutation(len(texts))
    cut = max(1, len(texts) * 4 // 5)
    counted = _counted([texts[i] for i in order[:cut]], analyzer)
    rows = np.bincount(counted.indices, minlength=HASHED)
    # Products per text are the sum of squared word frequencies: long texts leave room for fewer neighbours.
    cost = float((rows.astype(np.float64) ** 2).sum()) / cut
    if cost > MOST_PRODUCTS:
        cut = max(min(cut, NEIGHBOURS), int(cut * MOST_PRODUCTS / cost))
        counted = counted[:cut]
        rows = np.bincount(counted.indices, minlength=HASHED)
    idf = (np.log((1 + cut) / (1 + rows)) + 1).astype(np.float32)
    seen = np.flatnonzero(rows)
    if seen.size == 0:
        return None
    place = np.full(HASHED, -1, dtype=np.int32)
    place[seen] = np.arange(seen.size)
    training = _weighted(counted, idf, place, seen.size).known
    one = np.ones(LENGTHS.size + 1)
    space = TextSpace(analyzer, place, idf, training, one, one)
    usual = space.vectors([texts[i] for i in order[-max(1, len(texts) // 5) :]])
    mean, sd = _usual(space.likeness(usual), np.searchsorted(LENGTHS, usual.words))
    return replace(space, mean=mean, sd=sd)


def _usual(likeness: Floats, length: NDArray[np.intp]) -> tuple[Floats, Floats]:
    """Mean and standard deviation by length, each drawn to that of all as if by some more rows."""
    size, many = LENGTHS.size + 1, np.bincount(length, minlength=LENGTHS.size + 1)
    middle = float(likeness.mean())
    mean = (np.bincount(length, likeness, minlength=size) + DRAWN * middle) / (many + DRAWN)
    square = (likeness - mean[length]) ** 2
    variance = (np.bincount(length, square, minlength=size) + DRAWN * float(square.mean())) / (many + DRAWN)
    return mean, np.maximum(np.sqrt(variance), 1e-3)


def _weighted(counted: Any, idf: Singles, place: NDArray[np.int32], size: int) -> Weighted:
    from scipy import sparse

    data = counted.data * idf[counted.indices]
    length = np.sqrt(_row_sums(data**2, counted.indptr))
    many = np.diff(counted.indptr)
    data /= np.repeat(np.where(length > 0, length, 1.0), many).astype(np.float32)
    column = place[counted.indices]
    seen = column >= 0
    start = np.concatenate([[0], np.cumsum(seen)])[counted.indptr]
    known = sparse.csr_matrix((data[seen], column[seen], start), shape=(counted.shape[0], size))
    return Weighted(known, many.astype(np.int64))


def _row_sums(data: Singles, start: NDArray[Any]) -> Floats:
    total = np.concatenate([[0.0], np.cumsum(data, dtype=np.float64)])
    out: Floats = np.maximum(total[start[1:]] - total[start[:-1]], 0.0)
    return out


def _counted(texts: Sequence[str], analyzer: str) -> Any:
    from sklearn.feature_extraction.text import HashingVectorizer

    char = analyzer == "char"
    return HashingVectorizer(
        n_features=HASHED,
        alternate_sign=False,
        norm=None,
        analyzer=analyzer,
        ngram_range=(1, 2) if char else (1, 1),
        token_pattern=None if char else r"\w+",
        preprocessor=prepared,
        dtype=np.float32,
    ).transform(texts)


def _unspaced(texts: Sequence[str]) -> bool:
    """Whether most letters of the first texts belong to scripts without spaces between words."""
    letters = [c for text in texts[:500] for c in text[:200] if c.isalpha()]
    return 2 * sum(any(a <= c <= b for a, b in _UNSPACED) for c in letters) > len(letters) > 0


# ------------------------------------------------------------------ embeddings


@dataclass(frozen=True)
class EmbeddingSpace:
    """Vectors that the user computed, on the unit sphere."""

    training: Singles

    def vectors(self, values: Singles) -> Singles:
        """Shape (n, D), of length 1."""
        return unit(values)

    def scores(self, vectors: Singles) -> Floats:
        """1 less the cosine to the nearest training vectors, shape (n,)."""
        return 1 - nearest_products(vectors, self.training)


def embedded(series: pl.Series) -> tuple[Singles, NDArray[np.bool_]] | None:
    """Embeddings as an array, with which rows have one; None for a column that holds no vectors.

    A row of another length than most, or with a value that is not finite, has none.
    """
    if isinstance(series.dtype, pl.Array):
        series = series.arr.to_list()
    if not isinstance(series.dtype, pl.List) or not series.dtype.inner.is_numeric():
        return None
    length = series.list.len()
    lengths = length.filter(length > 0).mode().sort().to_list()
    if not lengths:
        return np.zeros((len(series), 0), dtype=np.float32), np.zeros(len(series), dtype=bool)
    usual = int(lengths[0])
    good = (length == usual).fill_null(False)
    flat = series.filter(good).explode().cast(pl.Float32, strict=False).to_numpy().reshape(-1, usual)
    out = np.zeros((len(series), flat.shape[1]), dtype=np.float32)
    have = good.to_numpy().copy()
    finite = np.isfinite(flat).all(axis=1)
    out[have] = np.where(finite[:, None], flat, 0.0)
    have[have] = finite
    return out, have


# ------------------------------------------------------------------ features together


@dataclass(frozen=True)
class _Number:
    name: str
    middle: float
    spread: float
    missing: float

    def columns(self, series: pl.Series) -> list[Floats]:
        x = numbers(series) if is_number(series) else np.full(len(series), np.nan)
        absent = np.isnan(x)
        with np.errstate(over="ignore"):
            z = np.arcsinh(np.clip((np.where(absent, self.middle, x) - self.middle) / self.spread, -1e12, 1e12))
        return [z, absent / self.missing]


@dataclass(frozen=True)
class _Category:
    name: str
    values: tuple[str, ...]
    scale: float

    def columns(self, series: pl.Series) -> list[Floats]:
        text = words(series)
        codes = text.replace_strict(
            list(self.values), list(range(len(self.values))), default=len(self.values), return_dtype=pl.Int64
        )
        at = codes.fill_null(len(self.values) + 1).to_numpy()
        # Absent (null) is a value like others; the last one but it is every other value.
        at = np.where(text.is_null().to_numpy(), len(self.values) + 1, at)
        return [(at == j) * self.scale for j in range(len(self.values) + 2)]


@dataclass(frozen=True)
class RowSpace:
    """Features side by side, so scaled that each contributes alike to the distance of two usual rows.

    Numbers are centred at the median, divided by the interquartile range as a standard deviation, and
    compressed by arsinh, which leaves usual values as they are and takes the tails to logarithms: else one
    heavy-tailed column would decide alone. A missing number lies at the median and is marked. A category
    has one dimension per value.
    """

    features: tuple[_Number | _Category, ...]
    training: Singles

    @property
    def names(self) -> tuple[str, ...]:
        """The features that are looked at."""
        return tuple(f.name for f in self.features)

    def vectors(self, frame: pl.DataFrame) -> Singles:
        """Shape (n, D)."""
        columns = [c for f in self.features for c in f.columns(frame[f.name])]
        return np.column_stack(columns).astype(np.float32)

    def scores(self, vectors: Singles) -> Floats:
        """Distance to the nearest training rows, shape (n,)."""
        return nearest_distances(vectors, self.training)


def row_space(frame: pl.DataFrame, features: Sequence[str]) -> RowSpace | None:
    """Fit the space of features.

    Args:
        frame: Training rows.
        features: Names of plain columns.

    Returns:
        The space; None when no feature varies.
    """
    found: list[_Number | _Category] = []
    for name in features:
        one = _number(name, frame[name]) if is_number(frame[name]) else _category(name, frame[name])
        if one is not None:
            found.append(one)
    if not found:
        return None
    space = RowSpace(tuple(found), np.zeros((0, 0), dtype=np.float32))
    return RowSpace(space.features, space.vectors(frame))


def _number(name: str, series: pl.Series) -> _Number | None:
    x = numbers(series)
    x = np.clip(x[~np.isnan(x)], -1e300, 1e300)
    if x.size == 0:
        return None
    low, middle, high = np.quantile(x, [0.25, 0.5, 0.75])
    spread = float(high - low) / 1.349
    if not np.isfinite(spread) or spread <= 0:
        with np.errstate(over="ignore"):
            spread = float(np.std(x))
    if not np.isfinite(spread) or spread <= 0:
        spread = abs(float(middle)) or 1.0
    share = 1 - x.size / len(series)
    return _Number(name, float(middle), spread, max(float(np.sqrt(share * (1 - share))), 0.1))


def _category(name: str, series: pl.Series) -> _Category | None:
    text = words(series)
    count = text.drop_nulls().value_counts(sort=True)
    if count.height == 0 or count.height > 0.5 * len(text) > CATEGORIES:
        return None
    ordered = count.sort(["count", text.name], descending=[True, False])
    values = tuple(ordered[text.name].head(CATEGORIES).to_list())
    shares = ordered["count"].to_numpy() / len(text)
    # The expected squared distance of two rows is then 2, as for a number; at most ten times that of a coin.
    return _Category(name, values, float(1 / np.sqrt(max(1 - float((shares**2).sum()), 0.05))))
