"""What one clustering tells of another, in nats: adjusted mutual information and variation of information."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray
from scipy import special

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Counts = NDArray[np.generic]

_AT_ONCE = 4_000_000
"""Terms of the expected mutual information that are held in memory at once."""


def adjusted_mutual_information(table: Counts) -> float:
    """Mutual information of two clusterings, corrected for chance, over the mean of their entropies.

    Args:
        table: Members by cluster before and now, shape (A, B).

    Returns:
        1 when they are the same, about 0 at random; 0 when one of them has a single cluster and the
        other has several.

    Source:
        Vinh, Epps & Bailey (2010), Journal of Machine Learning Research 11:2837-2854, AMI_sum.

    Example:
        >>> round(adjusted_mutual_information(np.array([[5, 0, 0], [0, 1, 4]])), 4)
        0.8163
    """
    t = _filled(table)
    if t.size == 0 or _same(t):
        return 1.0
    if min(t.shape) == 1:
        return 0.0
    before, now, together = (_entropy(x) for x in (t.sum(axis=1), t.sum(axis=0), t))
    expected = expected_mutual_information(t)
    room = (before + now) / 2 - expected
    # Where every clustering of these sizes tells as much, as with singletons alone, there is no room.
    return float((before + now - together - expected) / room) if room > 1e-12 else 1.0


def expected_mutual_information(table: Counts) -> float:
    """Mean of the mutual information, in nats, over all pairs of clusterings with these sizes.

    Each cell's count is hypergeometric; the terms beyond 12 standard deviations and 60 counts from its mean, whose
    probability is below 1e-18, are left out, so that the work grows with the root of the members.

    Args:
        table: Members by cluster before and now, shape (A, B).

    Source:
        Vinh, Epps & Bailey (2010), Journal of Machine Learning Research 11:2837-2854, equation (24a).

    Example:
        >>> round(expected_mutual_information(np.array([[5, 0, 0], [0, 1, 4]])), 4)
        0.1373
    """
    t = _filled(table)
    n = float(t.sum())
    # Cells with the same sizes have the same expectation.
    (a, times_a), (b, times_b) = (np.unique(t.sum(axis=i), return_counts=True) for i in (1, 0))
    cell_a, cell_b = np.repeat(a, len(b)), np.tile(b, len(a))
    times = np.outer(times_a, times_b).ravel()
    mean = cell_a * cell_b / n
    spread = 12 * np.sqrt(mean * (1 - cell_a / n) * (1 - cell_b / n)) + 60
    low = np.maximum(np.maximum(0.0, cell_a + cell_b - n), np.floor(mean - spread))
    high = np.minimum(np.minimum(cell_a, cell_b), np.ceil(mean + spread))
    length = (high - low + 1).astype(np.int64)
    ends, total, start = np.cumsum(length), 0.0, 0
    while start < len(length):
        stop = max(start + 1, int(np.searchsorted(ends, _AT_ONCE + (ends[start - 1] if start else 0))))
        part = slice(start, stop)
        terms = _expected_terms(cell_a[part], cell_b[part], low[part], length[part], n)
        total += float((times[part] * terms).sum())
        start = stop
    return total


def _expected_terms(a: Floats, b: Floats, low: Floats, length: Ints, n: float) -> Floats:
    """Expectation of count / n · log(n · count / (a b)) for cells of these sizes."""
    first = np.concatenate([[0], np.cumsum(length)[:-1]])
    place = np.arange(int(length.sum()))
    own = np.repeat(np.arange(len(length)), length)
    count = low[own] + (place - first[own])
    with np.errstate(divide="ignore", invalid="ignore"):
        # Logarithm of the probability of one count over that of the count before it.
        step = np.log((a[own] - count + 1) * (b[own] - count + 1) / (count * (n - a[own] - b[own] + count)))
        gain = count / n * np.log(n * count / (a[own] * b[own]))
    step[first] = 0.0
    gain[count == 0] = 0.0
    log_p = np.cumsum(step)
    log_p -= np.repeat(np.maximum.reduceat(log_p, first), length)
    p = np.exp(log_p)
    out: Floats = np.add.reduceat(p * gain, first) / np.add.reduceat(p, first)
    return out


def variation_of_information(table: Counts, *, normalised: bool = False) -> float:
    """What each clustering leaves unknown of the other: a metric between clusterings.

    Args:
        table: Members by cluster before and now, shape (A, B).
        normalised: Divide by the joint entropy, which bounds it, so that it lies between 0 and 1.

    Returns:
        In nats: 0 when they are the same, at most the logarithm of the members.

    Source:
        Meila (2007), Journal of Multivariate Analysis 98:873-895; normalised as in Vinh, Epps & Bailey
        (2010), Journal of Machine Learning Research 11:2837-2854, table 3.

    Example:
        >>> halves = np.array([[25, 25], [25, 25]])
        >>> round(variation_of_information(halves) / math.log(2), 4)
        2.0
        >>> round(variation_of_information(halves, normalised=True), 4)
        1.0
    """
    t = _filled(table)
    if t.size == 0 or _same(t):
        return 0.0
    together = _entropy(t)
    found = max(2 * together - _entropy(t.sum(axis=1)) - _entropy(t.sum(axis=0)), 0.0)
    return min(found / together, 1.0) if normalised else found


def _filled(table: Counts) -> Floats:
    t = np.asarray(table, dtype=np.float64)
    out: Floats = t[t.sum(axis=1) > 0][:, t.sum(axis=0) > 0]
    return out


def _same(filled: Floats) -> bool:
    """Whether the two clusterings are one, of a table without empty rows and columns."""
    return bool(((filled > 0).sum(axis=0) == 1).all() and ((filled > 0).sum(axis=1) == 1).all())


def _entropy(counts: Floats) -> float:
    n = float(counts.sum())
    return math.log(n) - float(special.xlogy(counts, counts).sum()) / n
