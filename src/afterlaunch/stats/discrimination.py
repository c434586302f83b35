"""How well scores and predictions tell classes apart, from counts.

Every function takes totals with any number of leading axes, so that `resampling.jackknife`
can hand it all leave-one-out totals at once.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


def auc(histogram: NDArray[np.generic]) -> Floats:
    """Area under the ROC curve: chance that a positive row scores above a negative one.

    Ties, which are rows in the same score bin, count one half.

    Args:
        histogram: Rows (or weight) by outcome and score bin in rising order, shape (..., 2, B);
            row 0 holds the negatives.

    Returns:
        Shape (...); NaN where a class has no rows.

    Source:
        Bamber (1975), Journal of Mathematical Psychology 12:387-415; Hanley & McNeil (1982),
        Radiology 143:29-36.

    Example:
        >>> float(auc(np.array([[2, 1, 1], [0, 1, 2]])))
        0.7916666666666666
    """
    h = np.asarray(histogram, dtype=np.float64)
    negative, positive = h[..., 0, :], h[..., 1, :]
    below = np.cumsum(negative, axis=-1)
    pairs = below[..., -1] * positive.sum(axis=-1)
    wins = (positive * (below - negative / 2)).sum(axis=-1)
    return np.asarray(_ratio(wins, pairs))


def auc_variance(value: float, positives: float, negatives: float) -> float:
    """Variance of an AUC that the two class sizes alone suggest (scores exponential in both classes).

    Args:
        value: The AUC, in [0, 1].
        positives: Rows of the positive class.
        negatives: Rows of the negative class.

    Source:
        Hanley & McNeil (1982), Radiology 143:29-36, eq. 2; for use in an interval both class sizes
        are replaced by their mean as in Newcombe (2006), Statistics in Medicine 25:559-573, method 5.

    Example:
        >>> round(auc_variance(0.8, 50, 50) ** 0.5, 4)
        0.0445
    """
    mean = (positives + negatives) / 2 - 1
    spread = 1 + mean * ((1 - value) / (2 - value) + value / (1 + value))
    return value * (1 - value) * spread / (positives * negatives)


def accuracy(confusion: NDArray[np.generic]) -> Floats:
    """Share of rows whose prediction is the outcome.

    Args:
        confusion: Rows by outcome and prediction, shape (..., C, C).

    Returns:
        Shape (...); NaN without rows.

    Example:
        >>> float(accuracy(np.array([[3, 1], [0, 4]])))
        0.875
    """
    c = np.asarray(confusion, dtype=np.float64)
    hits = np.trace(c, axis1=-2, axis2=-1)
    return np.asarray(_ratio(hits, c.sum(axis=(-2, -1))))


def f1(confusion: NDArray[np.generic]) -> Floats:
    """F1 of the positive class, 2 TP / (2 TP + FP + FN).

    Args:
        confusion: Rows by outcome and prediction, shape (..., 2, 2); index 1 is positive.

    Returns:
        Shape (...); NaN where nothing is positive, neither in truth nor predicted.

    Source:
        van Rijsbergen (1979), Information Retrieval, ch. 7.

    Example:
        >>> float(f1(np.array([[3, 1], [0, 4]]))) == 8 / 9
        True
    """
    return np.asarray(f1_by_class(confusion)[..., 1])


def f1_by_class(confusion: NDArray[np.generic]) -> Floats:
    """F1 of every class against all others, shape (..., C); NaN for a class that never occurs."""
    c = np.asarray(confusion, dtype=np.float64)
    hits = np.diagonal(c, axis1=-2, axis2=-1)
    return np.asarray(_ratio(2 * hits, c.sum(axis=-1) + c.sum(axis=-2)))


def macro_f1(confusion: NDArray[np.generic], classes: NDArray[np.bool_] | None = None) -> Floats:
    """Mean of the classes' F1.

    Args:
        confusion: Rows by outcome and prediction, shape (..., C, C).
        classes: Which classes to average, shape (C,); None means those that occur among outcomes
            or predictions in `confusion` (as scikit-learn does).

    Returns:
        Shape (...); a class with no rows at all counts 0 when it is asked for.

    Source:
        Opitz & Burst (2019), arXiv:1911.03347, eq. 2 (the mean of F1, not the F1 of means).

    Example:
        >>> round(float(macro_f1(np.array([[3, 1], [0, 4]]))), 4)
        0.873
    """
    each = f1_by_class(confusion)
    if classes is None:
        return np.asarray(_ratio(np.nansum(each, axis=-1), np.isfinite(each).sum(axis=-1).astype(np.float64)))
    return np.asarray(np.nan_to_num(each[..., classes]).mean(axis=-1))


def _ratio(a: Floats, b: Floats) -> Floats:
    with np.errstate(invalid="ignore", divide="ignore"):
        out: Floats = np.where(b > 0, a / np.where(b > 0, b, 1.0), np.nan)
    return out
