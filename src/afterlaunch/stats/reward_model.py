"""A small model of the reward of an item at a place, for doubly robust estimates of a new policy."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]

FOLDS = 5
SEED = 20
MOST_ITEMS = 500
"""Most items that have an effect of their own, those with most rows; the others share one."""
MOST_PLACES = 100
"""Most places that do."""


@dataclass(frozen=True, slots=True)
class Policy:
    """With which probability a policy takes each item at each place.

    Attributes:
        item: Number of the item, shape (m,).
        place: Number of the place, shape (m,).
        probability: Shape (m,).
    """

    item: Integers
    place: Integers
    probability: Floats


@dataclass(frozen=True, slots=True)
class Modelled:
    """What a model of the reward says of each logged decision, fitted on the other folds.

    Attributes:
        predicted: Reward of the logged item, shape (n,).
        expected: Reward under the policy at the same place, shape (n,).
        kind: The model.
    """

    predicted: Floats
    expected: Floats
    kind: Literal["logistic", "ridge"]


def cross_fitted(
    reward: Floats, item: Integers, place: Integers, policy: Policy, *, groups: Integers | None = None
) -> Modelled:
    """Fit the reward by item and place: logistic for rewards of 0 and 1, else ridge regression.

    Rows of one unit are in one fold. The model sees sums by item and place only, so that millions of rows are no
    matter; it needs not be right for the doubly robust estimate to be.

    Args:
        reward: Of the logged items, shape (n,).
        item: Number of each logged item, from 0, shape (n,).
        place: Number of its place, from 0, shape (n,).
        policy: The new policy, in the same numbers.
        groups: Number of the unit of each row, from 0, shape (n,); None for independent rows.

    Source:
        Dudik, Langford & Li (2011), Doubly Robust Policy Evaluation and Learning, ICML; cross-fitting: Chernozhukov et
        al. (2018), Double/Debiased Machine Learning, Econometrics Journal 21:C1-C68.

    Example:
        >>> rng = np.random.default_rng(0)
        >>> item = rng.integers(2, size=2000)
        >>> always_1 = Policy(np.array([1]), np.array([0]), np.array([1.0]))
        >>> reward = (rng.random(2000) < np.where(item == 1, 0.4, 0.1)).astype(float)
        >>> found = cross_fitted(reward, item, np.zeros(2000, dtype=int), always_1)
        >>> found.kind, round(float(found.expected.mean()), 1)
        ('logistic', 0.4)
    """
    n = len(reward)
    items = int(max(item.max(initial=0), policy.item.max(initial=0))) + 1
    places = int(max(place.max(initial=0), policy.place.max(initial=0))) + 1
    item_level = _levels(np.bincount(item, minlength=items), MOST_ITEMS)
    place_level = _levels(np.bincount(place, minlength=places), MOST_PLACES)
    units = int(groups.max()) + 1 if groups is not None else n
    folds = max(2, min(FOLDS, units))
    shuffled = np.random.default_rng(SEED).permutation(units) % folds
    fold = shuffled if groups is None else shuffled[groups]
    wide = int(place_level.max()) + 1
    cells, cell = np.unique(item_level[item] * wide + place_level[place], return_inverse=True)
    size = folds * len(cells)
    counts = np.bincount(fold * len(cells) + cell, minlength=size).reshape(folds, -1).astype(np.float64)
    sums = np.bincount(fold * len(cells) + cell, reward, minlength=size).reshape(folds, -1)
    binary = bool(((reward == 0) | (reward == 1)).all())
    known = np.stack([cells // wide, cells % wide], axis=1)
    asked = np.stack([item_level[policy.item], place_level[policy.place]], axis=1)
    predicted, expected = np.empty(n), np.empty(n)
    for i in range(folds):
        rest_counts, rest_sums = counts.sum(axis=0) - counts[i], sums.sum(axis=0) - sums[i]
        both = _fit(known, rest_counts, rest_sums, np.concatenate([known, asked]), binary)
        by_place = np.bincount(policy.place, policy.probability * both[len(known) :], minlength=places)
        here = fold == i
        predicted[here] = both[cell[here]]
        expected[here] = by_place[place[here]]
    return Modelled(predicted, expected, "logistic" if binary else "ridge")


def _levels(rows: NDArray[np.int64], most: int) -> Integers:
    """A level for each value: the values with most rows have their own, the others share the last."""
    order = np.argsort(-rows, kind="stable")
    out = np.full(len(rows), most, dtype=np.int64)
    kept = order[:most]
    out[kept] = np.arange(len(kept))
    out[rows == 0] = min(most, len(rows))
    return out


def _fit(known: Integers, counts: Floats, sums: Floats, asked: Integers, binary: bool) -> Floats:
    """Rewards of the asked (item, place) levels, by a model of counts and sums of the known ones."""
    from scipy import sparse
    from sklearn.linear_model import LogisticRegression, Ridge

    total = float(counts.sum())
    mean = float(sums.sum()) / total if total > 0 else 0.0
    if total == 0 or (binary and not 0 < mean < 1):
        return np.full(len(asked), mean)
    levels = [np.unique(column) for column in known.T]

    def hot(cells: Integers) -> Any:
        parts = []
        for column, own in zip(cells.T, levels, strict=True):
            at = np.minimum(np.searchsorted(own, column), len(own) - 1)
            value = (own[at] == column).astype(np.float64)
            parts.append(sparse.csr_matrix((value, (np.arange(len(column)), at)), shape=(len(column), len(own))))
        return sparse.hstack(parts, format="csr")

    x, ask = hot(known), hot(asked)
    if not binary:
        some = counts > 0
        model = Ridge(alpha=1.0).fit(x[some], sums[some] / counts[some], sample_weight=counts[some])
        return np.asarray(model.predict(ask), dtype=np.float64)
    weight = np.concatenate([sums, counts - sums])
    some = weight > 0
    y = np.repeat([1, 0], len(sums))
    fitted = LogisticRegression(C=1.0, max_iter=1000).fit(
        sparse.vstack([x, x], format="csr")[some], y[some], sample_weight=weight[some]
    )
    return np.asarray(fitted.predict_proba(ask)[:, 1], dtype=np.float64)
