"""How much two ranked lists have in common."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Ints = NDArray[np.integer]

EMPTY = -1
"""Code of a place that holds nothing."""


@dataclass(frozen=True, slots=True)
class Overlap:
    """Agreement of many pairs of lists, each shape (U,).

    Attributes:
        rbo: Extrapolated rank-biased overlap.
        jaccard: Items in both over items in either.
        overlap: Items in both over the places of the longer list.
    """

    rbo: Floats
    jaccard: Floats
    overlap: Floats


def overlap(first: Ints, second: Ints, p: float = 0.9) -> Overlap:
    """Compare lists row by row.

    Args:
        first: Codes of items from the first place on, shape (U, A); `EMPTY` after the end of a list. A repeated
            item counts at its first place only.
        second: The lists to compare them with, shape (U, B).
        p: Chance of a user to go on to the next place, in (0, 1): the first ten places have 86 % of the weight
            at 0.9.

    Returns:
        The agreement, each between 0 and 1. Two empty lists agree; an empty list and another do not.

    Raises:
        ValueError: When `p` is not in (0, 1).

    Source:
        Webber, Moffat & Zobel (2010), A similarity measure for indefinite rankings, ACM Transactions on
        Information Systems 28(4):20, eq. 32 for lists of different length.

    Example:
        >>> same = overlap(np.array([[1, 2, 3]]), np.array([[1, 2, 3]]))
        >>> other = overlap(np.array([[1, 2, 3]]), np.array([[3, 1, 4]]))
        >>> same.rbo.tolist(), other.jaccard.tolist(), other.rbo.round(3).tolist()
        ([1.0], [0.5], [0.585])
    """
    if not 0 < p < 1:
        raise ValueError(f"The persistence p is {p}; it lies between 0 and 1.")
    first, second = _without_repeats(np.asarray(first)), _without_repeats(np.asarray(second))
    lengths = _length(first), _length(second)
    size = max(first.shape[1], second.shape[1], 1)
    shared = _shared(first, second, size)
    known = [(x != EMPTY).sum(axis=1) for x in (first, second)]
    both = shared[:, -1].astype(np.float64)
    either = known[0] + known[1] - both
    longest = np.maximum(*lengths)
    with np.errstate(invalid="ignore", divide="ignore"):
        jaccard = np.where(either > 0, both / either, 1.0)
        part = np.where(longest > 0, both / longest, 1.0)
    return Overlap(_rbo(shared, np.minimum(*lengths), longest, p), jaccard, part)


def _without_repeats(lists: Ints) -> Ints:
    out = lists.copy()
    for place in range(1, lists.shape[1]):
        repeated = (lists[:, :place] == lists[:, place : place + 1]).any(axis=1)
        out[repeated, place] = EMPTY
    return out


def _length(lists: Ints) -> NDArray[np.int64]:
    """Places up to the last one that holds something."""
    known = lists != EMPTY
    backwards = known[:, ::-1].argmax(axis=1) if lists.shape[1] else np.zeros(len(lists), dtype=np.int64)
    return np.where(known.any(axis=1), lists.shape[1] - backwards, 0).astype(np.int64)


def _shared(first: Ints, second: Ints, size: int) -> NDArray[np.int32]:
    """Items that both lists have within their first d places, shape (U, size)."""
    rows = len(first)
    found = np.zeros((rows, size), dtype=np.int32)
    for i in range(first.shape[1]):
        item = first[:, i : i + 1]
        same = (second == item) & (item != EMPTY)
        hit = same.any(axis=1)
        depth = np.maximum(same.argmax(axis=1), i)
        found[np.flatnonzero(hit), depth[hit]] += 1
    return np.cumsum(found, axis=1, dtype=np.int32)


def _rbo(shared: NDArray[np.int32], short: NDArray[np.int64], long: NDArray[np.int64], p: float) -> Floats:
    size = shared.shape[1]
    depth = np.arange(1, size + 1)
    weight = p**depth
    rows = np.arange(len(shared))
    at_long = np.where(long > 0, shared[rows, np.maximum(long, 1) - 1], 0).astype(np.float64)
    at_short = np.where(short > 0, shared[rows, np.maximum(short, 1) - 1], 0).astype(np.float64)
    within = depth[None, :] <= long[:, None]
    total = (np.where(within, shared, 0) * (weight / depth)).sum(axis=1)
    # Beyond the shorter list its agreement is taken to go on as it ended.
    rate = at_short / np.maximum(short, 1)
    beyond = within & (depth[None, :] > short[:, None])
    total += rate * (np.where(beyond, depth[None, :] - short[:, None], 0) * (weight / depth)).sum(axis=1)
    end = (at_long - at_short) / np.maximum(long, 1) + rate
    out: Floats = total * (1 - p) / p + end * p ** np.maximum(long, 1)
    return np.where(long == 0, 1.0, np.where(short == 0, 0.0, np.clip(out, 0.0, 1.0)))
