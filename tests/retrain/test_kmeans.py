"""K-means that stays: scikit-learn's own checks, the same numbers for the same clusters, and its flag."""

from __future__ import annotations

import pickle
import warnings
from typing import Any

import numpy as np
import pytest
from sklearn.cluster import KMeans
from sklearn.metrics import adjusted_rand_score
from sklearn.utils.estimator_checks import estimator_checks_generator

import afterlaunch as al
from afterlaunch.retrain.kmeans import StaleStartWarning

# The check of the array API skips itself where that is not switched on; this estimator makes no claim to it.
CHECKS = [c for c in estimator_checks_generator(al.StableKMeans()) if "array_api" not in str(c[1])]


@pytest.mark.parametrize(("estimator", "check"), CHECKS, ids=lambda c: getattr(c, "func", c).__class__.__name__)
def test_it_is_an_estimator(estimator: Any, check: Any) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        check(estimator)


PLACES = np.array([[0.0, 0.0], [8.0, 0.0], [0.0, 8.0], [8.0, 8.0]])


def blobs(seed: int, places: np.ndarray = PLACES, size: int = 60) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return np.repeat(places, size, axis=0) + rng.normal(size=(size * len(places), 2))


def test_separable_clusters_are_found_and_agreed_upon() -> None:
    model = al.StableKMeans(4).fit(blobs(0))
    assert adjusted_rand_score(np.repeat(range(4), 60), model.labels_) > 0.99
    assert model.agreement_ > 0.99
    assert not model.stale_


@pytest.mark.parametrize("seed", range(5))
def test_clusters_keep_their_numbers_from_week_to_week(seed: int) -> None:
    last = al.StableKMeans(4, random_state=seed).fit(blobs(seed))
    this = al.StableKMeans(4, random_state=seed + 100, previous=last).fit(blobs(seed + 50)[::-1])
    assert (this.labels_[::-1] == last.labels_).mean() > 0.99
    assert this.ids_.tolist() == last.ids_.tolist()
    from_rows = al.StableKMeans(4, previous=last.cluster_centers_).fit(blobs(seed + 50))
    assert (from_rows.labels_ == last.labels_).mean() > 0.99


def test_a_new_cluster_gets_a_number_that_none_had_and_an_old_one_keeps_its_own() -> None:
    last = al.StableKMeans(3).fit(blobs(0, PLACES[:3]))
    more = al.StableKMeans(4, previous=last).fit(blobs(1, PLACES))
    assert set(last.ids_) < set(more.ids_)
    assert len(set(more.ids_)) == 4
    less = al.StableKMeans(3, previous=more).fit(blobs(2, PLACES[[0, 1, 3]]))
    again = al.StableKMeans(4, previous=less).fit(blobs(3, PLACES))
    assert max(again.ids_) > max(more.ids_)


def test_a_warm_start_that_hides_a_birth_is_flagged_and_left() -> None:
    """Two of last week's clusters are on one place, and two places share one: only a cold run finds that."""
    rng = np.random.default_rng(0)
    places = np.array([[0.0, 0.0], [40.0, 0.0], [40.0, 6.0]])
    week = np.repeat(places, 80, axis=0) + rng.normal(size=(240, 2))
    bad = np.array([[-0.5, 0.0], [0.5, 0.0], [40.0, 3.0]])
    with pytest.warns(StaleStartWarning):
        switched = al.StableKMeans(3, previous=bad).fit(week)
    with pytest.warns(StaleStartWarning):
        kept = al.StableKMeans(3, previous=bad, if_stale="keep").fit(week)
    assert switched.stale_
    assert kept.stale_
    assert switched.inertia_ < 0.8 * kept.inertia_
    assert switched.inertia_ <= min(switched.cold_inertias_) * 1.01


def test_inertia_is_within_the_tolerance_of_scikit_learns() -> None:
    rng = np.random.default_rng(1)
    x = rng.normal(size=(600, 5))
    ours = al.StableKMeans(8).fit(x)
    theirs = KMeans(8, n_init=10, random_state=0).fit(x)
    assert ours.inertia_ <= 1.02 * theirs.inertia_
    distance = ((x - ours.cluster_centers_[ours.labels_]) ** 2).sum()
    assert distance == pytest.approx(ours.inertia_, rel=1e-9)


def test_seeds_move_it_less_than_plain_k_means() -> None:
    """Overlapping clusters, where runs of equal inertia differ."""
    rng = np.random.default_rng(2)
    x = rng.normal(size=(500, 4))
    ours = [al.StableKMeans(8, random_state=s).fit(x).labels_ for s in range(6)]
    theirs = [KMeans(8, n_init=10, random_state=s).fit(x).labels_ for s in range(6)]

    def agreement(runs: list[Any]) -> float:
        pairs = [adjusted_rand_score(a, b) for i, a in enumerate(runs) for b in runs[:i]]
        return float(np.mean(pairs))

    assert agreement(ours) > agreement(theirs)


def test_it_is_the_same_again_and_survives_a_pickle() -> None:
    x = blobs(3)
    one, other = al.StableKMeans(4).fit(x), al.StableKMeans(4).fit(x)
    assert (one.labels_ == other.labels_).all()
    back = pickle.loads(pickle.dumps(al.StableKMeans(4, previous=one).fit(blobs(4))))
    assert (back.predict(x) == one.labels_).mean() > 0.99


@pytest.mark.parametrize(
    ("parameters", "words"),
    [
        ({"n_clusters": 0}, "n_clusters"),
        ({"if_stale": "never"}, "if_stale"),
        ({"previous": np.zeros((2, 3))}, "features"),
    ],
)
def test_bad_parameters_are_named(parameters: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        al.StableKMeans(**{"n_clusters": 4, **parameters}).fit(blobs(0))
