"""What a score means, learned from rows with outcomes: a rising map with the error of each of its values."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


@dataclass(frozen=True)
class ScoreMap:
    """Score to mean outcome, rising: blocks of neighbouring scores that share one mean.

    Attributes:
        knots: First and last reference score of every block, rising, shape (2 B,).
        mean: Mean outcome of every block, shape (B,).
        noise: Variance of the outcome within every block, shape (B,).
        block: Block of every reference row, shape (m,).
        pull: What each reference row adds to the error of its block's mean, shape (m,).
    """

    knots: Floats
    mean: Floats
    noise: Floats
    block: Ints
    pull: Floats

    def place(self, score: ArrayLike) -> tuple[Ints, Ints, Floats]:
        """The two blocks whose means a score's is between, and the share of the second; shapes (n,)."""
        s = np.asarray(score, dtype=np.float64)
        if self.mean.size == 0:
            raise ValueError("The map was fitted without rows.")
        right = np.clip(np.searchsorted(self.knots, s, side="left"), 1, self.knots.size - 1)
        a, b = self.knots[right - 1], self.knots[right]
        with np.errstate(invalid="ignore", divide="ignore"):
            part = np.where(
                b > a, np.clip((s - a) / np.where(b > a, b - a, 1.0), 0.0, 1.0), (s >= b).astype(np.float64)
            )
        return ((right - 1) // 2).astype(np.int64), (right // 2).astype(np.int64), part

    def __call__(self, score: ArrayLike) -> Floats:
        """Mean outcome at scores, shape (n,); beyond the reference's scores, that of the outermost block."""
        left, right, part = self.place(score)
        out: Floats = (1 - part) * self.mean[left] + part * self.mean[right]
        return out

    def noise_at(self, score: ArrayLike) -> Floats:
        """Variance of the outcome at scores, shape (n,)."""
        left, right, part = self.place(score)
        out: Floats = (1 - part) * self.noise[left] + part * self.noise[right]
        return out

    def error_of(self, score: ArrayLike, slope: Floats) -> Floats:
        """What each reference row adds to the error of a number that has this slope by the mean of every score.

        Args:
            score: Shape (n,).
            slope: Shape (n,).

        Returns:
            Shape (m,).
        """
        left, right, part = self.place(score)
        size = self.mean.size
        total = np.bincount(left, slope * (1 - part), minlength=size) + np.bincount(right, slope * part, minlength=size)
        out: Floats = total[self.block] * self.pull
        return out


def fit_map(score: ArrayLike, outcome: ArrayLike, weight: ArrayLike | None = None) -> ScoreMap:
    """Learn what scores mean from rows with outcomes: isotonic regression.

    It has no tuning, takes ties as they are, and leaves no error on the mean of any block. A smooth functional of
    it has the error of the block means, to first order as if the blocks had been known.

    Args:
        score: Finite, shape (m,), m > 0.
        outcome: 0 or 1, or a loss, shape (m,).
        weight: Weight of each row, not negative, shape (m,).

    Raises:
        ValueError: Without a row of positive weight.

    Source:
        Barlow, Bartholomew, Bremner & Brunk (1972), Statistical Inference under Order Restrictions, ch. 1; Zadrozny
        & Elkan (2002), KDD, section 4 (for scores); first-order error of smooth functionals: Groeneboom & Jongbloed
        (2014), Nonparametric Estimation under Shape Constraints, section 9.1.

    Example:
        >>> found = fit_map([0.1, 0.2, 0.3, 0.4], [0, 1, 0, 1])
        >>> found([0.1, 0.25, 0.3, 0.9]).tolist()
        [0.0, 0.5, 0.5, 1.0]
    """
    from scipy.optimize import isotonic_regression

    s, y = np.asarray(score, dtype=np.float64), np.asarray(outcome, dtype=np.float64)
    w = np.ones(s.size) if weight is None else np.asarray(weight, dtype=np.float64)
    if s.size == 0 or not w.sum() > 0:
        raise ValueError("A map is learned from at least one row with weight.")
    # Rows without weight would make empty blocks.
    least = float(w.max()) * 1e-9
    levels, at = np.unique(s, return_inverse=True)
    mass = np.bincount(at, np.maximum(w, least))
    level_mean = np.bincount(at, np.maximum(w, least) * y) / mass
    fitted = isotonic_regression(level_mean, weights=mass)
    edges = np.asarray(fitted.blocks, dtype=np.int64)
    of_level = np.repeat(np.arange(edges.size - 1), np.diff(edges))
    block = of_level[at]
    weight_of = np.bincount(block, np.maximum(w, least))
    mean = np.bincount(block, np.maximum(w, least) * y) / weight_of
    off = y - mean[block]
    rows = np.bincount(block, w) ** 2 / np.maximum(np.bincount(block, w**2), 1e-300)
    noise = np.bincount(block, np.maximum(w, least) * off**2) / weight_of * (rows + 1e-12) / np.maximum(rows - 1, 0.5)
    if np.isin(y, (0.0, 1.0)).all():
        # A block whose outcomes are all alike does not show that all of them are: half a row of each more.
        p = (mean * rows + 0.5) / (rows + 1)
        noise = np.maximum(noise, p * (1 - p))
        noise = np.minimum(noise, 0.25)
    knots = np.stack([levels[edges[:-1]], levels[edges[1:] - 1]], axis=-1).ravel()
    # A row that is alone in its block has no residual of its own: the block's noise stands in, half up and half down.
    pull = w * off / weight_of[block]
    lack = np.sqrt(np.maximum(noise / np.maximum(rows, 1.0), 0.0))
    seen = np.sqrt(np.bincount(block, pull**2))
    with np.errstate(divide="ignore", invalid="ignore"):
        grown = np.where(seen > 0, np.maximum(lack / seen, 1.0), 1.0)
    pull = pull * grown[block]
    first = np.unique(block, return_index=True)[1]
    bare = seen == 0
    pull[first[bare]] = lack[bare] * np.where(np.arange(int(bare.sum())) % 2 == 0, 1.0, -1.0)
    return ScoreMap(knots, mean, noise, block.astype(np.int64), pull)
