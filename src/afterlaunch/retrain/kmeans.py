"""K-means that gives nearly the same clusters to nearly the same data, under the same numbers."""

from __future__ import annotations

import copy
import warnings
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import sparse
from sklearn.base import BaseEstimator, ClassNamePrefixFeaturesOutMixin, ClusterMixin, TransformerMixin, clone
from sklearn.cluster import KMeans
from sklearn.exceptions import ConvergenceWarning
from sklearn.metrics import pairwise_distances_argmin, pairwise_distances_argmin_min
from sklearn.metrics.pairwise import euclidean_distances
from sklearn.utils import check_random_state
from sklearn.utils.validation import _check_sample_weight, check_is_fitted, validate_data

from afterlaunch.decide import InputError
from afterlaunch.stats.partitions import SURVIVES, adjusted_rand, match

Floats = NDArray[np.floating[Any]]
Ints = NDArray[np.int64]

LOWER = 0.01
"""Part by which a cold run's inertia must be lower for a warm start to count as stale."""


class StaleStartWarning(UserWarning):
    """A run from scratch found clusters with an inertia so much lower that the warm start must have hidden some."""


class StableKMeans(TransformerMixin, ClusterMixin, ClassNamePrefixFeaturesOutMixin, BaseEstimator):  # type: ignore[misc]
    """K-means whose clusters stay, from seed to seed and from week to week.

    Plain k-means keeps the run of the lowest inertia. Runs with nearly the same inertia can be far apart, so which of
    them that is turns on the seed and on a handful of rows. This one:

    - runs `n_init` times from scratch and, of the runs whose inertia is within `tolerance` of the best, keeps the one
      that agrees most with the others (the medoid under one minus the adjusted Rand index);
    - with `previous`, starts from last week's centroids instead, so that a cluster keeps its number as long as
      the data let it;
    - compares that with the runs from scratch, because a warm start can hide that clusters were born or died. When one
      has an inertia more than `tolerance` lower, `stale_` is true and `StaleStartWarning` is given. By default the run
      from scratch that agrees most with the others is then taken, and last week's numbers are given to the
      clusters that are still the same.

    Neither the order of the rows nor repeating a row instead of weighting it changes the clusters.

    Args:
        n_clusters: Number of clusters.
        n_init: Runs from scratch without `previous`.
        n_cold: Runs from scratch that a warm start is compared with; as many as `n_init` when None.
        max_iter: Most iterations of a run.
        tol: A run stops when its centroids move less than this, relative to the variance of the features.
        tolerance: Part of the inertia that counts as no difference.
        if_stale: "switch" takes a run from scratch when the warm start is stale; "keep" stays with the warm start.
        random_state: Seed of the runs, as anywhere in scikit-learn. With the default the same data give the same
            clusters every time.
        previous: Last week's model, or its centroids of shape (clusters, features), in the same features.
            The number of clusters may be another one. A pickle of this model holds the previous one, but not
            what that one was compared with.

    Attributes:
        cluster_centers_: Centroids, shape (n_clusters, n_features).
        labels_: Row of its centroid for each sample, shape (n_samples,). Rows of matched clusters are those of
            the previous model.
        ids_: Id of the cluster of each row, shape (n_clusters,). A cluster keeps its id while more than half of its
            samples, sorted to last week's centroids, are of it, and the reverse; any other gets an id
            that no model in this line had before. Without `previous` they are the rows.
        n_ids_: How many ids this line of models has given.
        inertia_: Weighted sum of squared distances to the centroids.
        n_iter_: Iterations of the run that was kept.
        agreement_: Mean adjusted Rand index between the runs from scratch, every two of them. Near 1 the
            clusters are the data's; what is far below (Steinley 2004 calls 0.8 good) is the seed's, and
            another number of clusters or other features should be tried. 1 for a single run.
        cold_inertias_: Inertia of each run from scratch.
        stale_: Whether a run from scratch is more than `tolerance` better than the warm start.
        n_features_in_: Number of features.

    Source:
        Arthur & Vassilvitskii (2007), SODA, 1027-1035 (seeding); Steinley (2004), Psychological Methods 9:386-396
        (adjusted Rand index, local optima); Hornik (2005), Journal of Statistical Software 14(12) (medoid of runs);
        Kuhn (1955), Naval Research Logistics Quarterly 2:83-97 (matching).

    Example:
        >>> rng = np.random.default_rng(0)
        >>> places = np.array([[0.0, 0.0], [9.0, 0.0], [0.0, 9.0]])
        >>> week = np.repeat(places, 50, axis=0) + rng.normal(size=(150, 2))
        >>> last = StableKMeans(3).fit(week)
        >>> this = StableKMeans(3, previous=last).fit(week[::-1] + 0.1)
        >>> bool((this.labels_[::-1] == last.labels_).all()), this.stale_, round(this.agreement_, 2)
        (True, False, 1.0)
    """

    def __init__(
        self,
        n_clusters: int = 8,
        *,
        n_init: int = 10,
        n_cold: int | None = None,
        max_iter: int = 300,
        tol: float = 1e-4,
        tolerance: float = LOWER,
        if_stale: str = "switch",
        random_state: Any = 0,
        previous: Any = None,
    ) -> None:
        self.n_clusters = n_clusters
        self.n_init = n_init
        self.n_cold = n_cold
        self.max_iter = max_iter
        self.tol = tol
        self.tolerance = tolerance
        self.if_stale = if_stale
        self.random_state = random_state
        self.previous = previous

    # ------------------------------------------------------------------ fitting

    def fit(self, X: Any, y: Any = None, sample_weight: Any = None) -> StableKMeans:
        """Find the clusters.

        Args:
            X: Samples, shape (n_samples, n_features), dense or sparse.
            y: Not used.
            sample_weight: Weight of each sample, shape (n_samples,); a weight of 2 is the sample twice.

        Raises:
            InputError: For parameters out of range, and a `previous` with other features.
        """
        self._check_parameters()
        X = self._validated(X, reset=True)
        weight = _check_sample_weight(sample_weight, X, dtype=X.dtype)
        if not (weight >= 0).all() or not weight.any():
            raise InputError("Sample weights must not be negative, nor all of them zero; correct sample_weight.")
        if X.shape[0] < self.n_clusters:
            raise InputError(f"There are {X.shape[0]} samples, fewer than n_clusters={self.n_clusters}; ask for fewer.")
        before = self._previous(X)
        order = _in_order(X)
        data = _Data(X[order], weight[order], self.n_clusters, self.max_iter, self.tol)
        random = check_random_state(self.random_state)
        cold_runs = self.n_init if before is None or self.n_cold is None else self.n_cold
        cold = [data.run("k-means++", int(s)) for s in random.randint(np.iinfo(np.int32).max, size=cold_runs)]
        between = np.array([[_agreement(a, b, data) for b in cold] for a in cold])
        inertias = np.array([r.inertia for r in cold])
        several = len(cold) > 1
        self.agreement_ = float(between[np.triu_indices(len(cold), 1)].mean()) if several else 1.0
        self.cold_inertias_ = inertias
        good = np.flatnonzero(inertias <= inertias.min() * (1 + self.tolerance))
        mean = between[np.ix_(good, good)].mean(axis=1)
        best = min(range(len(good)), key=lambda i: (-round(float(mean[i]), 12), inertias[good[i]], i))
        kept, self.stale_ = cold[int(good[best])], False
        if before is not None:
            kept = self._warm(data, before, kept)
        rows, self.ids_, self.n_ids_ = _numbered(data, kept, before)
        place = np.empty_like(rows)
        place[rows] = np.arange(len(rows))
        labels = np.empty(len(order), dtype=np.int32)
        labels[order] = place[kept.labels]
        self.labels_ = labels
        self.cluster_centers_ = kept.centers[rows]
        self.inertia_, self.n_iter_ = kept.inertia, kept.n_iter
        self._n_features_out = len(rows)
        found = len(np.unique(labels))
        if found < self.n_clusters:
            warnings.warn(
                f"Only {found} distinct clusters were found, fewer than n_clusters={self.n_clusters}; samples repeat.",
                ConvergenceWarning,
                stacklevel=2,
            )
        return self

    def _warm(self, data: _Data, before: _Before, representative: _Run) -> _Run:
        """The run from last week's centroids, or that from scratch where it hides too much."""
        warm = data.run(_start(data, before), 0)
        lowest = float(self.cold_inertias_.min())
        if lowest >= warm.inertia * (1 - self.tolerance):
            return warm
        self.stale_ = True
        switch = self.if_stale == "switch"
        warnings.warn(
            f"A run from scratch has an inertia {1 - lowest / warm.inertia:.1%} lower than the one from last week's "
            "centroids, so clusters were born, died, split or merged; "
            + ("the run from scratch was taken." if switch else "the warm start was kept."),
            StaleStartWarning,
            stacklevel=3,
        )
        return representative if switch else warm

    def _check_parameters(self) -> None:
        cold = 1 if self.n_cold is None else self.n_cold
        for name, value in (("n_clusters", self.n_clusters), ("n_init", self.n_init), ("n_cold", cold)):
            if isinstance(value, bool) or not isinstance(value, int | np.integer) or value < 1:
                raise InputError(f"{name} is {value!r}; give a whole number from 1 on.")
        if not isinstance(self.max_iter, int | np.integer) or self.max_iter < 1:
            raise InputError(f"max_iter is {self.max_iter!r}; give a whole number from 1 on.")
        if not self.tol >= 0 or not 0 <= self.tolerance < 1:
            raise InputError(
                f"tol is {self.tol!r} and tolerance {self.tolerance!r}; give tol >= 0, tolerance in [0, 1)."
            )
        if self.if_stale not in {"switch", "keep"}:
            raise InputError(f"if_stale is {self.if_stale!r}; give 'switch' or 'keep'.")

    def _previous(self, X: Any) -> _Before | None:
        if self.previous is None:
            return None
        centers = getattr(self.previous, "cluster_centers_", self.previous)
        if hasattr(centers, "get_params"):
            raise InputError(f"previous is a {type(centers).__name__} that is not fitted; fit it, or give centroids.")
        centers = np.asarray(centers, dtype=X.dtype)
        if centers.ndim != 2 or centers.shape[1] != X.shape[1] or not len(centers) or not np.isfinite(centers).all():
            raise InputError(
                f"previous has centroids of shape {centers.shape}, and X has {X.shape[1]} features; give finite "
                "centroids in the same features."
            )
        ids = np.asarray(getattr(self.previous, "ids_", np.arange(len(centers))), dtype=np.int64)
        return _Before(centers, ids, int(getattr(self.previous, "n_ids_", ids.max() + 1)))

    # ------------------------------------------------------------------ using it

    def fit_predict(self, X: Any, y: Any = None, sample_weight: Any = None) -> NDArray[np.int32]:
        """Find the clusters and return `labels_`."""
        out: NDArray[np.int32] = self.fit(X, sample_weight=sample_weight).labels_
        return out

    def fit_transform(self, X: Any, y: Any = None, sample_weight: Any = None) -> Floats:
        """Find the clusters and return the distance of each sample to each centroid."""
        out: Floats = self.fit(X, sample_weight=sample_weight).transform(X)
        return out

    def predict(self, X: Any) -> NDArray[np.int32]:
        """Row of the nearest centroid of each sample, shape (n_samples,); `ids_[predict(X)]` are the ids."""
        X = self._checked(X)
        out: NDArray[np.int32] = pairwise_distances_argmin(X, self.cluster_centers_).astype(np.int32)
        return out

    def transform(self, X: Any) -> Floats:
        """Distance of each sample to each centroid, shape (n_samples, n_clusters)."""
        X = self._checked(X)
        out: Floats = euclidean_distances(X, self.cluster_centers_)
        # A small difference of large squares is mostly rounding.
        size = np.asarray(X.multiply(X).sum(axis=1)).ravel() if _is_sparse(X) else np.einsum("ij,ij->i", X, X)
        for i, j in np.argwhere(out**2 <= 1e-6 * size[:, None]):
            row = X[[i]].toarray()[0] if _is_sparse(X) else X[i]
            out[i, j] = np.sqrt(((row - self.cluster_centers_[j]) ** 2).sum())
        return out

    def score(self, X: Any, y: Any = None, sample_weight: Any = None) -> float:
        """Minus the inertia of samples: the higher the better."""
        X = self._checked(X)
        weight = _check_sample_weight(sample_weight, X, dtype=X.dtype)
        _, distance = pairwise_distances_argmin_min(X, self.cluster_centers_)
        return -float((weight * distance**2).sum())

    def _checked(self, X: Any) -> Any:
        check_is_fitted(self)
        return self._validated(X, reset=False)

    def _validated(self, X: Any, *, reset: bool) -> Any:
        types = [np.float64, np.float32]
        return validate_data(
            self, X, reset=reset, accept_sparse="csr", accept_large_sparse=False, dtype=types, order="C"
        )

    # ------------------------------------------------------------------ as an estimator

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.sparse = True
        tags.transformer_tags.preserves_dtype = ["float64", "float32"]
        return tags

    def __sklearn_clone__(self) -> StableKMeans:
        # A clone of the previous model would not be fitted, and there would be nothing to start from.
        given = self.get_params(deep=False)
        return type(self)(**{k: v if k == "previous" else clone(v, safe=False) for k, v in given.items()})

    def __getstate__(self) -> dict[str, Any]:
        # Else a pickle would hold the models of all weeks.
        state: dict[str, Any] = dict(super().__getstate__())
        last = state.get("previous")
        if isinstance(last, StableKMeans) and last.previous is not None:
            last = copy.copy(last)
            last.previous = None
            state["previous"] = last
        return state


# ------------------------------------------------------------------ runs


@dataclass(frozen=True)
class _Run:
    """One run of k-means; labels are those of sorted samples."""

    centers: Floats
    labels: Ints
    inertia: float
    n_iter: int


@dataclass(frozen=True)
class _Before:
    """Last week's centroids, their ids, and how many ids there have been."""

    centers: Floats
    ids: Ints
    given: int


class _Data:
    """Samples in an order of their own, so that neither their order nor repeated ones matter."""

    def __init__(self, X: Any, weight: Floats, n_clusters: int, max_iter: int, tol: float) -> None:
        self.X, self.weight = X, weight
        self.n_clusters, self.max_iter = n_clusters, max_iter
        total = float(weight.sum())
        # An ARI counts members, and weights that sum to one are none.
        self.members = weight.astype(np.float64) * max(1.0, float((weight > 0).sum()) / total)
        plain, weighted = _variance(X, np.ones(len(weight))), _variance(X, weight.astype(np.float64))
        # KMeans takes the tolerance relative to the variance of samples, each counted once.
        self.tol = tol * weighted / plain if plain > 0 else 0.0

    def run(self, init: Any, seed: int) -> _Run:
        """One run from a way to start, or from centroids."""
        model = KMeans(self.n_clusters, init=init, n_init=1, max_iter=self.max_iter, tol=self.tol, random_state=seed)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)
            model.fit(self.X, sample_weight=self.weight)
        return _Run(model.cluster_centers_, model.labels_.astype(np.int64), float(model.inertia_), int(model.n_iter_))

    def table(self, a: Ints, b: Ints, shape: tuple[int, int]) -> NDArray[np.float64]:
        """Weight of samples by two labels."""
        flat = np.bincount(a * shape[1] + b, weights=self.members, minlength=shape[0] * shape[1])
        out: NDArray[np.float64] = flat.astype(np.float64).reshape(shape)
        return out


def _in_order(X: Any) -> Ints:
    """An order of samples that depends on nothing but themselves; equal ones are neighbours."""
    by = np.random.default_rng(0).normal(size=X.shape[1])
    if _is_sparse(X):
        return np.argsort(X.sorted_indices() @ by, kind="stable").astype(np.int64)
    out = np.empty(X.shape[0])
    for start in range(0, X.shape[0], 4096):
        # Unlike a matrix product, a sum along rows rounds equal rows alike wherever they stand.
        out[start : start + 4096] = (X[start : start + 4096] * by).sum(axis=1)
    return np.argsort(out, kind="stable").astype(np.int64)


def _is_sparse(X: Any) -> bool:
    return bool(sparse.issparse(X))


def _variance(X: Any, weight: NDArray[np.float64]) -> float:
    """Mean over features of their weighted variance."""
    part = weight / weight.sum()
    mean = np.asarray(X.T @ part).ravel()
    if _is_sparse(X):
        return float((np.asarray(X.power(2).T @ part).ravel() - mean**2).clip(0).mean())
    square = np.zeros(X.shape[1])
    for start in range(0, X.shape[0], 4096):
        square += part[start : start + 4096] @ (X[start : start + 4096] - mean) ** 2
    return float(square.mean())


def _agreement(a: _Run, b: _Run, data: _Data) -> float:
    return 1.0 if a is b else adjusted_rand(data.table(a.labels, b.labels, (data.n_clusters, data.n_clusters)))


def _start(data: _Data, before: _Before) -> Floats:
    """Last week's centroids: the heaviest where there are too many, more of the data where there are too few."""
    centers, k = before.centers, data.n_clusters
    if len(centers) > k:
        nearest = pairwise_distances_argmin(data.X, centers)
        heavy = np.argsort(-np.bincount(nearest, weights=data.weight, minlength=len(centers)), kind="stable")
        return centers[np.sort(heavy[:k])]
    for _ in range(k - len(centers)):
        _, distance = pairwise_distances_argmin_min(data.X, centers)
        farthest = int(np.argmax(np.where(data.weight > 0, distance, -1.0)))
        row = data.X[[farthest]]
        centers = np.vstack([centers, row.toarray() if _is_sparse(row) else row])
    return centers


def _numbered(data: _Data, kept: _Run, before: _Before | None) -> tuple[Ints, Ints, int]:
    """Order of the clusters in which matched ones have last week's rows, their ids, and how many ids there are now."""
    k = data.n_clusters
    if before is None:
        return np.arange(k), np.arange(k, dtype=np.int64), k
    sorted_to = pairwise_distances_argmin(data.X, before.centers).astype(np.int64)
    table = data.table(sorted_to, kept.labels, (len(before.centers), k))
    found = match(table)
    rows, ids = np.full(k, -1, dtype=np.int64), np.full(k, -1, dtype=np.int64)
    left = dict(enumerate(range(k)))
    same: dict[int, int] = {}
    late: list[int] = []
    for i, j in found.pairs:
        if table[i, j] > SURVIVES * max(table[i].sum(), table[:, j].sum()):
            same[j] = int(before.ids[i])
        if i < k:
            rows[i] = j
            del left[j]
        else:
            late.append(j)
    rest = [*late, *(j for j in left if j not in late)]
    rows[rows < 0] = rest
    given = before.given
    for row, j in enumerate(rows.tolist()):
        if j in same:
            ids[row] = same[j]
        else:
            ids[row], given = given, given + 1
    return rows, ids, given
