"""The metrics of every kind of prediction: what they are computed from, and how much change matters."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import numpy as np
from numpy.typing import NDArray

from afterlaunch.checks.evidence import Task
from afterlaunch.decide import EffectKind
from afterlaunch.profile.types import MetricCounts
from afterlaunch.stats import discrimination, losses

Floats = NDArray[np.float64]

KINDS = (
    EffectKind("auc", "change in AUC", "AUC", 0.02, "down", "two points of AUC are about what a feature is worth"),
    EffectKind(
        "log_loss",
        "relative change in log loss",
        "share",
        0.1,
        "up",
        "relative, since a log loss of 0.05 is good or bad by how rare the outcome is; "
        "a tenth, since a few sure mistakes move it",
    ),
    EffectKind("brier", "relative change in Brier score", "share", 0.1, "up", "relative, as for the log loss"),
    EffectKind(
        "calibration", "change in calibration error", "probability", 0.02, "up", "scores off by two points in a hundred"
    ),
    EffectKind("accuracy", "change in accuracy", "share", 0.02, "down", "two more wrong predictions in a hundred"),
    EffectKind("f1", "change in F1", "F1", 0.05, "down", "F1 moves with the base rate, so its margin is wider"),
    EffectKind("macro_f1", "change in macro F1", "F1", 0.05, "down", "as for F1"),
    EffectKind(
        "mae", "relative change in mean absolute error", "share", 0.05, "up", "predictions off by a twentieth more"
    ),
    EffectKind("rmse", "relative change in RMSE", "share", 0.05, "up", "predictions off by a twentieth more"),
    EffectKind(
        "bias",
        "change in mean error",
        "offline RMSE",
        0.1,
        "both",
        "a tenth of a typical error (a small standardised difference)",
    ),
    EffectKind("ndcg", "change in NDCG", "NDCG", 0.02, "down", "a common size of a release's offline gain"),
    EffectKind("mrr", "change in MRR", "MRR", 0.02, "down", "as for NDCG"),
    EffectKind(
        "ctr", "relative change in CTR", "share", 0.1, "both", "a tenth; informs, since the public decides it too"
    ),
    EffectKind(
        "base_rate",
        "relative change in the share of positive outcomes",
        "share",
        0.1,
        "both",
        "a tenth; informs, since the world decides it",
    ),
)

Statistic = Callable[..., "Floats | float"]
Sums = tuple[NDArray[np.generic], ...]


@dataclass(frozen=True)
class Metric:
    """How one metric is computed from counts, and how its interval is built.

    Attributes:
        kind: Key of its effect.
        word: Its name inside a sentence.
        sums: Counts -> the arrays it is computed from, or None when the table lacks them.
        statistic: Totals -> the metric.
        scale: Which interval each side gets.
        by_class: Whether it needs rows of the rarer class.
        primary: Whether it counts toward the verdict of the review.
    """

    kind: str
    word: str
    sums: Callable[[MetricCounts], Sums | None]
    statistic: Statistic
    scale: str
    by_class: bool = False
    primary: bool = True


def _moment(name: str, counts: MetricCounts) -> Sums | None:
    found = counts.moments.get(name)
    return None if found is None or not found[:, 0].sum() > 0 else (found,)


def _histogram(counts: MetricCounts) -> Sums | None:
    return None if counts.histogram is None or not counts.histogram.sum() > 0 else (counts.histogram,)


def _scored(counts: MetricCounts) -> Sums | None:
    return None if counts.score_sums is None else _histogram(counts)


def _table(counts: MetricCounts) -> Sums | None:
    return None if counts.confusion is None or not counts.confusion.sum() > 0 else (counts.confusion,)


def _root(moments: Floats) -> Floats:
    return np.sqrt(losses.mean(moments))


METRICS: dict[Task, tuple[Metric, ...]] = {
    "binary": (
        Metric("auc", "AUC", _histogram, discrimination.auc, "unit", by_class=True),
        Metric("log_loss", "log loss", partial(_moment, "log_loss"), losses.mean, "positive", by_class=True),
        Metric(
            "brier", "Brier score", partial(_moment, "brier"), losses.mean, "positive", by_class=True, primary=False
        ),
        Metric("calibration", "calibration error", _scored, losses.mean, "calibration", by_class=True),
        Metric("accuracy", "accuracy", _table, discrimination.accuracy, "share"),
        Metric("f1", "F1", _table, discrimination.f1, "unit", by_class=True),
        Metric(
            "base_rate",
            "share of positive outcomes",
            partial(_moment, "outcome"),
            losses.mean,
            "positive",
            by_class=True,
            primary=False,
        ),
    ),
    "multiclass": (
        Metric("accuracy", "accuracy", partial(_moment, "hit"), losses.mean, "share"),
        Metric("macro_f1", "macro F1", _table, discrimination.macro_f1, "unit", by_class=True),
        Metric("log_loss", "log loss", partial(_moment, "log_loss"), losses.mean, "positive"),
        Metric("brier", "Brier score", partial(_moment, "brier"), losses.mean, "positive", primary=False),
    ),
    "regression": (
        Metric("rmse", "RMSE", partial(_moment, "squared"), _root, "positive"),
        Metric("mae", "mean absolute error", partial(_moment, "absolute"), losses.mean, "positive"),
        Metric("bias", "mean error", partial(_moment, "error"), losses.mean, "bias"),
    ),
    "ranking": (
        Metric("ndcg", "NDCG", partial(_moment, "ndcg"), losses.mean, "unit"),
        Metric("mrr", "MRR", partial(_moment, "mrr"), losses.mean, "unit"),
        Metric("ctr", "CTR", partial(_moment, "outcome"), losses.mean, "positive", primary=False),
    ),
}
"""The metrics of every task, the one that sums it up first."""

PER_SEGMENT = {"auc", "calibration", "accuracy", "rmse", "ndcg"}
"""Metrics that segments get too; a segment informs and does not count toward the verdict."""
