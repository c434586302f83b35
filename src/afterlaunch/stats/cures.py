"""What would make reruns differ less: averaging several of them, or a pull toward the last model."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from afterlaunch.stats.intervals import t_quantile

Floats = NDArray[np.float64]
SHUFFLES = 6
"""Ways of grouping the replicates that are averaged over."""


@dataclass(frozen=True, slots=True)
class Cured:
    """Churn under a cure, estimated from replicates.

    Attributes:
        strength: Models averaged, or the weight of the new model.
        churn: Share of predictions that would change.
        se: Standard error from which replicates were drawn (delete-one jackknife).
        df: Degrees of freedom of it.
    """

    strength: float
    churn: float
    se: float
    df: float

    def interval(self, alpha_low: float, alpha_high: float) -> tuple[float, float]:
        """Ends at given one-sided error rates, between 0 and 1."""
        low = self.churn - t_quantile(alpha_low, self.df) * self.se
        return max(low, 0.0), min(self.churn + t_quantile(alpha_high, self.df) * self.se, 1.0)


def averaged(scores: Floats, threshold: float | None, sizes: Sequence[int] = (1, 2, 3, 4, 5, 6)) -> tuple[Cured, ...]:
    """Churn between two models each of which averages the scores of m replicates, or lets them vote.

    Args:
        scores: Scores of rows by replicate of one version, or codes of their classes, shape (n, K).
        threshold: Score from which a row is predicted positive; None for classes, of which the one with most votes
            wins, and of a tie the one of the replicate drawn first.
        sizes: Values of m; those of which K holds no two disjoint groups are left out.

    Returns:
        One for each m, in their order.

    Source:
        Ensembling against churn: Bahri & Jiang (2021), Locally Adaptive Label Smoothing Improves Predictive
        Churn, ICML, section 2; the jackknife over replicates, see `reruns`.

    Example:
        >>> rng = np.random.default_rng(0)
        >>> scores = rng.normal(size=(4000, 1)) + 0.3 * rng.normal(size=(4000, 12))
        >>> one, three = averaged(scores, 0.0, (1, 3))
        >>> 1.5 < one.churn / three.churn < 1.95  # the noise falls with the square root of three
        True
    """
    replicates = scores.shape[1]
    out = []
    for size in sizes:
        if 2 * size > replicates:
            break
        every = np.arange(replicates)
        value = _churn_of_groups(scores, every, size, threshold)
        if 2 * size > replicates - 1:
            out.append(Cured(size, value, float("inf"), 1.0))
            continue
        without = np.array([_churn_of_groups(scores, np.delete(every, r), size, threshold) for r in every])
        se = float(np.sqrt(((without - without.mean()) ** 2).sum() * (replicates - 1) / replicates))
        out.append(Cured(size, value, se, replicates - 1.0))
    return tuple(out)


def _churn_of_groups(scores: Floats, chosen: NDArray[np.int64], size: int, threshold: float | None) -> float:
    """Mean churn between disjoint groups of replicates, over several ways of grouping them."""
    rng = np.random.default_rng(0)
    found = []
    for _ in range(1 if size == 1 else SHUFFLES):
        order = rng.permutation(chosen)
        groups = order[: len(order) // size * size].reshape(-1, size)
        said = np.stack([_said(scores[:, g], threshold) for g in groups], axis=1)
        many = len(groups)
        if threshold is None:
            apart = [(said[:, i] != said[:, j]).mean() for i in range(many) for j in range(i)]
            found.append(float(np.mean(apart)))
            continue
        ones = said.sum(axis=1).astype(np.float64)
        found.append(float((ones * (many - ones)).mean()) / (many * (many - 1) / 2))
    return float(np.mean(found))


def _said(outputs: Floats, threshold: float | None) -> NDArray[np.generic]:
    """What some replicates decide together, shape (n,)."""
    if threshold is not None:
        positive: NDArray[np.generic] = outputs.mean(axis=1) >= threshold
        return positive
    votes = np.stack([(outputs == outputs[:, [i]]).sum(axis=1) for i in range(outputs.shape[1])], axis=1)
    winner: NDArray[np.generic] = outputs[np.arange(len(outputs)), votes.argmax(axis=1)]
    return winner


def anchored(
    last: Floats, new: Floats, threshold: float, weights: Sequence[float] = (0.25, 0.5, 0.75, 1.0)
) -> tuple[Cured, ...]:
    """Churn against the last model when its score is mixed into that of the new one.

    Args:
        last: Scores of rows by replicate of the last version, shape (n, K).
        new: Scores by replicate of the new version, shape (n, L).
        threshold: Score from which a row is predicted positive.
        weights: Weight of the new model, in (0, 1].

    Returns:
        One for each weight. What is deployed is one run of each; the churn is the mean over all pairs.

    Source:
        Milani Fard, Cormier, Canini & Gupta (2016), Launch and Iterate: Reducing Prediction Churn, NeurIPS 29, for
        a pull toward the last model; here of its scores, after the training.

    Example:
        >>> rng = np.random.default_rng(0)
        >>> truth = rng.normal(size=(2000, 1))
        >>> last, new = (truth + 0.3 * rng.normal(size=(2000, 5)) for _ in range(2))
        >>> half, whole = anchored(last, new, 0.0, (0.5, 1.0))
        >>> half.churn < whole.churn
        True
    """
    out = []
    for weight in weights:
        mixed = (weight * new[:, None, :] + (1 - weight) * last[:, :, None]) >= threshold
        apart = (mixed != (last >= threshold)[:, :, None]).mean(axis=0)
        sides = [apart.mean(axis=1), apart.mean(axis=0)]
        parts = [float(s.var(ddof=1)) / len(s) for s in sides if len(s) > 1]
        free = [len(s) - 1.0 for s in sides if len(s) > 1]
        variance = sum(parts)
        df = variance**2 / sum(p**2 / f for p, f in zip(parts, free, strict=True)) if variance > 0 else 1.0
        out.append(Cured(weight, float(apart.mean()), float(np.sqrt(variance)), df))
    return tuple(out)
