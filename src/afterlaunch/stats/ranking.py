"""How good ranked lists are, on arrays of one list.

The engine computes the same formulas for all lists at once in `profile.metrics`.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike


def ndcg(gains: ArrayLike, scores: ArrayLike, k: int | None = None) -> float:
    """Normalised discounted cumulative gain of one list: its gain over the best possible order's.

    The gain is linear in the outcome and the discount is log2(1 + rank). Items with equal scores
    share their gains equally, so the result does not depend on how ties are stored.

    Args:
        gains: Outcome of every item, at least 0, shape (n,).
        scores: Score of every item, shape (n,).
        k: Ranks that count; None for all.

    Returns:
        Between 0 and 1; NaN for a list without gain, which no order can rank better or worse.

    Source:
        Järvelin & Kekäläinen (2002), ACM TOIS 20:422-446; ties: McSherry & Najork (2008), ECIR, eq. 4.

    Example:
        >>> round(ndcg([0, 1, 0], [0.3, 0.2, 0.1]), 4)
        0.6309
    """
    g, s = np.asarray(gains, dtype=np.float64), np.asarray(scores, dtype=np.float64)
    discount = 1 / np.log2(np.arange(2, g.size + 2))
    if k is not None:
        discount[k:] = 0.0
    best = float(np.sort(g)[::-1] @ discount)
    if best <= 0:
        return float("nan")
    _, tie = np.unique(-s, return_inverse=True)
    shared = np.bincount(tie, g) / np.bincount(tie)
    return float(shared[np.sort(tie)] @ discount) / best


def reciprocal_rank(gains: ArrayLike, scores: ArrayLike) -> float:
    """One over the rank of the first item with any gain; ranks of tied items are averaged.

    Args:
        gains: Outcome of every item, shape (n,).
        scores: Score of every item, shape (n,).

    Returns:
        Between 0 and 1; 0 for a list without gain.

    Source:
        Voorhees (1999), TREC-8, section 3.

    Example:
        >>> reciprocal_rank([0, 1, 1], [0.3, 0.2, 0.1])
        0.5
    """
    g, s = np.asarray(gains, dtype=np.float64), np.asarray(scores, dtype=np.float64)
    if not (g > 0).any():
        return 0.0
    best = s[g > 0].max()
    above, tied = int((s > best).sum()), int((s == best).sum())
    return 1 / (above + (tied + 1) / 2)
