"""Losses of single rows: what a wrong prediction costs, on arrays.

The engine computes the same formulas in `profile.metrics`; a test holds the two together.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float64]

CLIP = 1e-7
"""Probabilities are kept this far from 0 and 1 in the log loss (the resolution of single precision),
so that one confident mistake costs 16.1 and not infinity."""


def log_loss(score: ArrayLike, outcome: ArrayLike) -> Floats:
    """Log loss of every row, -log of the probability that was given to what happened.

    Args:
        score: Probability of the positive class, clipped to [CLIP, 1 - CLIP], shape (n,).
        outcome: 0 or 1, shape (n,).

    Returns:
        Shape (n,); NaN where score or outcome is NaN.

    Source:
        Good (1952), J. R. Stat. Soc. B 14:107-114.

    Example:
        >>> log_loss([0.5, 0.0], [1, 1]).round(3).tolist()
        [0.693, 16.118]
    """
    s = np.clip(np.asarray(score, dtype=np.float64), CLIP, 1 - CLIP)
    y = np.asarray(outcome, dtype=np.float64)
    return np.asarray(-np.log(np.where(y > 0.5, s, 1 - s)) + 0.0 * y)


def brier(score: ArrayLike, outcome: ArrayLike) -> Floats:
    """Squared distance of the probability from the outcome, shape (n,).

    Source:
        Brier (1950), Monthly Weather Review 78:1-3 (half of his score, as is usual for two classes).

    Example:
        >>> brier([0.5, 0.9], [1, 1]).round(2).tolist()
        [0.25, 0.01]
    """
    return np.asarray((np.asarray(score, dtype=np.float64) - np.asarray(outcome, dtype=np.float64)) ** 2)


def absolute_error(prediction: ArrayLike, outcome: ArrayLike) -> Floats:
    """Distance of prediction and outcome, shape (n,).

    Example:
        >>> absolute_error([1.0, 3.0], [2.0, 3.0]).tolist()
        [1.0, 0.0]
    """
    return np.asarray(np.abs(np.asarray(prediction, dtype=np.float64) - np.asarray(outcome, dtype=np.float64)))


def squared_error(prediction: ArrayLike, outcome: ArrayLike) -> Floats:
    """Squared distance of prediction and outcome, shape (n,).

    Example:
        >>> squared_error([1.0, 3.0], [3.0, 3.0]).tolist()
        [4.0, 0.0]
    """
    return brier(prediction, outcome)


def miss(prediction: ArrayLike, outcome: ArrayLike) -> Floats:
    """1 where the prediction is not the outcome, else 0, shape (n,).

    Example:
        >>> miss(["a", "b"], ["a", "a"]).tolist()
        [0.0, 1.0]
    """
    return np.asarray(np.asarray(prediction) != np.asarray(outcome), dtype=np.float64)


def mean(moments: NDArray[np.generic]) -> Floats:
    """Weighted mean from a weight and a weighted sum.

    Args:
        moments: Shape (..., 2).

    Returns:
        Shape (...); NaN without weight.

    Example:
        >>> float(mean(np.array([4.0, 6.0])))
        1.5
    """
    m = np.asarray(moments, dtype=np.float64)
    weight = m[..., 0]
    return np.asarray(np.where(weight > 0, m[..., 1] / np.where(weight > 0, weight, 1.0), np.nan))
