"""Metrics of rows whose outcomes are known by their chances only, with their first derivatives."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from afterlaunch.stats.losses import CLIP

Floats = NDArray[np.float64]
# Sums are written out: for vectors of this length the threads of a BLAS wait longer than they add.

CLASS_METRICS = ("auc", "accuracy", "f1", "precision", "recall", "log_loss", "brier", "macro_f1", "macro_auc")
LOSS_METRICS = ("mae", "rmse")


@dataclass(frozen=True)
class Parts:
    """A metric whose outcomes are known by their chances only.

    Attributes:
        value: The metric at these chances.
        slope: How the metric moves with each row's outcome, by class, shape (n, K).
        influence: How the metric moves with each row's weight, times that weight, shape (n,); sums to zero.
    """

    value: float
    slope: Floats
    influence: Floats


def parts(
    metric: str,
    score: ArrayLike,
    predicted: ArrayLike | None,
    chance: ArrayLike,
    weight: ArrayLike | None = None,
    ranks: Sequence[NDArray[np.int64]] | None = None,
) -> Parts:
    """A metric of classes and its first derivatives, given chances instead of outcomes.

    Args:
        metric: One of `CLASS_METRICS`.
        score: Probability of the positive class, shape (n,), or of every class, shape (n, K).
        predicted: Predicted class as a number from 0, shape (n,); None for metrics of scores.
        chance: Chance of the positive class, or of every class, shaped like `score`; 0 and 1 for known outcomes.
        weight: Weight of every row, shape (n,).
        ranks: Dense rank of every row's score from 0, one array of shape (n,) per class, where they are known.

    Returns:
        The metric; NaN where it is not defined, as an AUC with one class. Pairs of a row with itself are left out
        of the AUC.

    Source:
        Guillory et al. (2021), arXiv:2107.03315, and the public description of CBPE in NannyML's documentation
        (expected confusion tables from calibrated scores); derivatives are ours.

    Example:
        >>> known = parts("auc", [0.1, 0.4, 0.35, 0.8], None, [0, 0, 1, 1])
        >>> known.value
        0.75
        >>> round(parts("accuracy", [0.2, 0.9], [0, 1], [0.2, 0.9]).value, 2)
        0.85
    """
    s, p = np.asarray(score, dtype=np.float64), np.asarray(chance, dtype=np.float64)
    w = np.ones(s.shape[0]) if weight is None else np.asarray(weight, dtype=np.float64)
    many = p.ndim == 2
    s, p = (x if x.ndim == 2 else x[:, None] for x in (s, p))
    classes = p.shape[1]
    hat = None if predicted is None else np.asarray(predicted, dtype=np.int64)
    if metric in {"auc", "macro_auc"}:
        known = ranks or [dense_ranks(s[:, k]) for k in range(classes)]
        return _average([_auc(known[k], p[:, k], w) for k in range(classes)])
    if metric in {"log_loss", "brier"}:
        return _row_mean(*_row_loss(metric, s, many), p, w)
    if hat is None:
        raise ValueError(f"The metric {metric!r} needs predictions.")
    said = (hat[:, None] == np.arange(classes)).astype(np.float64) if many else (hat == 1).astype(np.float64)[:, None]
    if metric == "accuracy":
        return _row_mean(np.zeros(w.size), said, p, w) if many else _row_mean(1 - said[:, 0], 2 * said - 1, p, w)
    each = {"f1": _f1, "macro_f1": _f1, "precision": _precision, "recall": _recall}[metric]
    return _average([each(said[:, k], p[:, k], w) for k in range(classes)])


def loss_parts(metric: str, expected: ArrayLike, weight: ArrayLike | None = None) -> Parts:
    """The mean of losses of rows, "mae" for absolute ones, or its root, "rmse" for squared ones.

    Args:
        metric: One of `LOSS_METRICS`.
        expected: Loss of every row, expected or known, shape (n,).
        weight: Shape (n,).

    Example:
        >>> loss_parts("rmse", [1.0, 7.0]).value
        2.0
    """
    x = np.asarray(expected, dtype=np.float64)
    w = np.ones(x.size) if weight is None else np.asarray(weight, dtype=np.float64)
    plain = _row_mean(np.zeros(x.size), np.ones((x.size, 1)), x[:, None], w)
    if metric != "rmse":
        return plain
    value = math.sqrt(max(plain.value, 0.0))
    scale = 0.5 / value if value > 0 else 0.0
    return Parts(value, plain.slope * scale, plain.influence * scale)


def _row_loss(metric: str, s: Floats, many: bool) -> tuple[Floats, Floats]:
    """Loss of a row as a constant and a slope by outcome."""
    if metric == "log_loss":
        c = np.clip(s, CLIP, 1 - CLIP)
        if many:
            return np.zeros(s.shape[0]), -np.log(c)
        return -np.log(1 - c[:, 0]), np.log(1 - c) - np.log(c)
    # (s - y)² summed over classes is s² + y - 2 s y, since y is 0 or 1.
    return (s**2).sum(axis=1), 1 - 2 * s


def _row_mean(constant: Floats, by_outcome: Floats, p: Floats, w: Floats) -> Parts:
    total = float(w.sum())
    if total <= 0:
        return _undefined(p)
    each = constant + (by_outcome * p).sum(axis=1)
    value = float((w * each).sum()) / total
    return Parts(value, w[:, None] * by_outcome / total, w * (each - value) / total)


def _f1(said: Floats, p: Floats, w: Floats) -> Parts:
    hits, size = float((w * said * p).sum()), float((w * (said + p)).sum())
    if size <= 0:
        return _undefined(p[:, None])
    f = 2 * hits / size
    slope, influence = w * (2 * said - f) / size, w * (2 * said * p - f * (said + p)) / size
    return Parts(f, slope[:, None], influence)


def _precision(said: Floats, p: Floats, w: Floats) -> Parts:
    return _row_mean(np.zeros(p.size), np.ones((p.size, 1)), p[:, None], w * said)


def _recall(said: Floats, p: Floats, w: Floats) -> Parts:
    size = float((w * p).sum())
    if size <= 0:
        return _undefined(p[:, None])
    r = float((w * said * p).sum()) / size
    slope, influence = w * (said - r) / size, w * p * (said - r) / size
    return Parts(r, slope[:, None], influence)


def dense_ranks(score: Floats) -> NDArray[np.int64]:
    """Ranks from 0, ties share one, shape (n,)."""
    return np.unique(score, return_inverse=True)[1].astype(np.int64)


def _auc(at: NDArray[np.int64], p: Floats, w: Floats) -> Parts:
    positive, negative = w * p, w * (1 - p)
    up, down = np.bincount(at, positive), np.bincount(at, negative)
    below = (np.cumsum(down) - down / 2)[at]
    above = (up.sum() - np.cumsum(up) + up / 2)[at]
    own = positive * negative
    wins = float((positive * below).sum()) - float(own.sum()) / 2
    ones, zeros = float(positive.sum()), float(negative.sum())
    pairs = ones * zeros - float(own.sum())
    if not pairs > 1e-12 * max(float(w.sum()) ** 2, 1e-300):
        return _undefined(p[:, None])
    value = wins / pairs
    # A row makes no pair with itself.
    alone = w**2 * (1 - 2 * p)
    slope = (w * (below - above) - alone / 2 - value * (w * (zeros - ones) - alone)) / pairs
    won, all_ = positive * below + negative * above - own, positive * zeros + negative * ones - 2 * own
    influence = (won - value * all_) / pairs
    return Parts(value, slope[:, None], influence)


def _average(each: Sequence[Parts]) -> Parts:
    size = len(each)
    return Parts(
        float(np.mean([x.value for x in each])),
        np.concatenate([x.slope for x in each], axis=1) / size,
        np.sum([x.influence for x in each], axis=0) / size,
    )


def _undefined(p: Floats) -> Parts:
    return Parts(math.nan, np.zeros(p.shape), np.zeros(p.shape[0]))
