"""Agreement of clusterings, their matching, and what became of clusters."""

from __future__ import annotations

import math
import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from sklearn.metrics import adjusted_mutual_info_score, adjusted_rand_score, mutual_info_score
from sklearn.metrics.cluster import contingency_matrix
from sklearn.metrics.cluster import expected_mutual_information as by_scikit_learn

from afterlaunch.stats.agreement import Disagreement, disagreement
from afterlaunch.stats.information import (
    adjusted_mutual_information,
    expected_mutual_information,
    variation_of_information,
)
from afterlaunch.stats.partitions import (
    adjusted_rand,
    adjusted_rand_slope,
    events,
    jaccard,
    match,
    match_centroids,
)
from tests.simulation import BUCKETS, Floats, Ints, at_least, at_most

TABLES = hnp.arrays(np.int64, st.tuples(st.integers(1, 6), st.integers(1, 6)), elements=st.integers(0, 30))


def labelings(n: int, a: int, b: int, agree: float, seed: int) -> tuple[Ints, Ints]:
    rng = np.random.default_rng(seed)
    first = rng.integers(a, size=n)
    return first, np.where(rng.random(n) < agree, first % b, rng.integers(b, size=n))


def spelled(table: Ints) -> tuple[list[int], list[int]]:
    cells = np.argwhere(table >= 0)
    pairs = [(i, j) for i, j in cells.tolist() for _ in range(int(table[i, j]))]
    return [i for i, _ in pairs], [j for _, j in pairs]


# ------------------------------------------------------------------ how alike


@pytest.mark.parametrize(
    ("n", "a", "b", "agree"),
    [(10, 3, 4, 0.6), (100, 5, 7, 0.6), (2000, 20, 15, 0.7), (50, 40, 40, 0.5), (9000, 3, 2, 0)],
)
def test_rand_and_mutual_information_are_those_of_scikit_learn(n: int, a: int, b: int, agree: float) -> None:
    first, second = labelings(n, a, b, agree, seed=n)
    table = contingency_matrix(first, second)
    assert adjusted_rand(table) == pytest.approx(adjusted_rand_score(first, second), abs=1e-12)
    assert adjusted_mutual_information(table) == pytest.approx(adjusted_mutual_info_score(first, second), abs=1e-9)
    assert expected_mutual_information(table) == pytest.approx(by_scikit_learn(table, n), rel=1e-9)


@given(TABLES)
@settings(deadline=None)
def test_any_table_gives_what_scikit_learn_gives(table: Ints) -> None:
    first, second = spelled(table)
    assert adjusted_rand(table) == pytest.approx(adjusted_rand_score(first, second) if len(first) > 1 else 1, abs=1e-9)
    found = adjusted_mutual_information(table)
    if len(set(first)) < len(first) or len(set(second)) < len(second):
        assert found == pytest.approx(adjusted_mutual_info_score(first, second), abs=1e-6)
    assert -1 - 1e-9 <= found <= 1 + 1e-9


@given(TABLES, st.randoms(use_true_random=False))
@settings(deadline=None)
def test_permuting_labels_or_adding_empty_ones_changes_nothing(table: Ints, random: object) -> None:
    rng = np.random.default_rng(random.randrange(2**31))  # type: ignore[attr-defined]
    rows, columns = rng.permutation(table.shape[0]), rng.permutation(table.shape[1])
    other = np.pad(table[rows][:, columns], ((0, 1), (0, 2)))
    for index in (adjusted_rand, adjusted_mutual_information, variation_of_information):
        assert index(other) == pytest.approx(index(table), abs=1e-9)
        assert index(table.T) == pytest.approx(index(table), abs=1e-9)


def test_random_labels_agree_as_much_as_chance_has_it() -> None:
    rand, information = [], []
    for seed in range(60):
        first, second = labelings(400, 8, 5, 0.0, seed)
        table = contingency_matrix(first, second)
        rand.append(adjusted_rand(table))
        information.append(adjusted_mutual_information(table))
    for values in (rand, information):
        assert abs(np.mean(values)) < 4 * np.std(values) / len(values) ** 0.5
        assert np.abs(values).max() < 0.05


def test_published_numbers() -> None:
    # Yeung & Ruzzo (2001), Details of the Adjusted Rand index, table 2 and the text below it.
    assert adjusted_rand(np.array([[1, 1, 0], [1, 2, 1], [0, 0, 4]])) == pytest.approx(0.313, abs=5e-4)
    # Meila (2007), section 5: of clusterings that say nothing of each other it is the sum of the entropies.
    halves = np.array([[25, 25], [25, 25]])
    assert variation_of_information(halves) == pytest.approx(2 * math.log(2))
    assert variation_of_information(halves, normalised=True) == pytest.approx(1)


def test_variation_of_information_is_entropies_less_twice_the_mutual_information() -> None:
    first, second = labelings(500, 6, 9, 0.5, seed=1)
    entropies = mutual_info_score(first, first) + mutual_info_score(second, second)
    wanted = entropies - 2 * mutual_info_score(first, second)
    assert variation_of_information(contingency_matrix(first, second)) == pytest.approx(wanted)


@given(st.integers(0, 10**6))
@settings(deadline=None, max_examples=30)
def test_variation_of_information_is_a_metric(seed: int) -> None:
    rng = np.random.default_rng(seed)
    a, b, c = (rng.integers(4, size=40) for _ in range(3))

    def far(x: Ints, y: Ints) -> float:
        return variation_of_information(contingency_matrix(x, y))

    assert far(a, a) == 0
    assert far(a, c) <= far(a, b) + far(b, c) + 1e-9


@pytest.mark.parametrize(
    ("table", "rand", "information", "variation"),
    [
        (np.array([[7]]), 1, 1, 0),
        (np.eye(4, dtype=int), 1, 1, 0),
        (np.zeros((2, 2), dtype=int), 1, 1, 0),
        (np.array([[5, 5]]), 0, 0, math.log(2)),
        (np.zeros((0, 0), dtype=int), 1, 1, 0),
    ],
)
def test_the_conventions_at_the_edges(table: Ints, rand: float, information: float, variation: float) -> None:
    assert adjusted_rand(table) == pytest.approx(rand)
    assert adjusted_mutual_information(table) == pytest.approx(information)
    assert variation_of_information(table) == pytest.approx(variation)


def test_expected_information_of_two_hundred_clusters_of_many_members_is_quick() -> None:
    rng = np.random.default_rng(0)
    table = rng.poisson(150, size=(200, 200)) * rng.integers(1, 4, size=(200, 1))
    table[np.arange(200), np.arange(200)] += 30_000
    started = time.perf_counter()
    found = expected_mutual_information(table)
    assert time.perf_counter() - started < 10
    # By chance twice the members times the information is chi-squared with (A - 1)(B - 1) degrees of freedom.
    assert found == pytest.approx(199**2 / 2 / table.sum(), rel=1e-3)


@given(TABLES)
@settings(deadline=None)
def test_the_slope_is_the_derivative(table: Ints) -> None:
    t = table + 1.0
    if min(t.shape) < 2:
        assert not np.isnan(adjusted_rand_slope(t)).any()
        return
    step, numeric = 1e-4, np.zeros_like(t)
    for cell in np.ndindex(t.shape):
        up, down = t.copy(), t.copy()
        up[cell] += step
        down[cell] -= step
        numeric[cell] = (adjusted_rand(up) - adjusted_rand(down)) / (2 * step)
    numeric -= (numeric * t).sum() / t.sum()
    assert np.allclose(adjusted_rand_slope(t), numeric, atol=1e-7)


# ------------------------------------------------------------------ its interval


def chance(a: int, b: int, stay: float, sizes: list[float] | None = None) -> Floats:
    """Probability of each cell: a share `stay` of each cluster goes to one, the rest anywhere."""
    p = np.full(a, 1 / a) if sizes is None else np.array(sizes)
    out = np.outer(p, np.full(b, 1 / b)) * (1 - stay)
    out[np.arange(a), np.arange(a) % b] += p * stay
    return out


def missed(draws: list[Ints], truth: float, alpha: float) -> tuple[float, float]:
    ends = [d.interval(alpha, alpha) for t in draws if (d := disagreement(t)) is not None]
    return float(np.mean([truth < low for low, _ in ends])), float(np.mean([truth > high for _, high in ends]))


@pytest.mark.parametrize(
    "cells",
    [
        chance(5, 5, 0.9),
        chance(5, 5, 0.5),
        chance(20, 15, 0.7),
        chance(3, 3, 0.99),
        chance(4, 4, 0.02),
        chance(5, 5, 0.95, [0.7, 0.1, 0.1, 0.05, 0.05]),
    ],
)
@pytest.mark.parametrize("members", [150, 1500])
def test_the_interval_misses_as_seldom_as_it_promises(cells: Floats, members: int) -> None:
    rng, repeats = np.random.default_rng(members), 300
    truth = 1 - adjusted_rand(cells * 1e9)
    draws = list(rng.multinomial(members, cells.ravel(), size=repeats).reshape(repeats, 1, *cells.shape))
    for alpha in (0.05, 0.005):
        low, high = missed(draws, truth, alpha)
        assert max(low, high) <= at_most(alpha, repeats)


def test_the_interval_holds_for_members_that_come_in_units() -> None:
    rng, repeats, cells = np.random.default_rng(3), 300, chance(5, 5, 0.8)
    draws = []
    for _ in range(repeats):
        # Ten members of a unit are all in the same cell.
        cell = rng.choice(cells.size, size=400, p=cells.ravel())
        table = np.zeros((BUCKETS, cells.size), dtype=np.int64)
        np.add.at(table, (rng.integers(BUCKETS, size=400), cell), 10)
        draws.append(table.reshape(BUCKETS, *cells.shape))
    low, high = missed(draws, 1 - adjusted_rand(cells * 1e9), 0.05)
    assert max(low, high) <= at_most(0.05, repeats)
    pooled = [t.sum(axis=0, keepdims=True) for t in draws]
    assert sum(missed(pooled, 1 - adjusted_rand(cells * 1e9), 0.05)) >= at_least(0.3, repeats)


def test_without_any_change_the_interval_still_has_a_width_that_members_make_smaller() -> None:
    few, many = (disagreement(np.eye(4, dtype=np.int64)[None] * n) for n in (10, 1000))
    assert few is not None
    assert many is not None
    assert few.value == many.value == 0
    assert 0 < many.interval(0.05, 0.05)[1] < 0.01 < few.interval(0.05, 0.05)[1] < 0.5
    needed = few.rows_needed(0.1, 0.05)
    assert needed is not None
    enough = disagreement(np.eye(4, dtype=np.int64)[None] * (needed // 4 + 1))
    assert enough is not None
    assert enough.interval(0.05, 0.05)[1] <= 0.1


def test_an_interval_of_nothing_is_none_and_one_bucket_says_nothing() -> None:
    assert disagreement(np.zeros((1, 2, 2), dtype=np.int64)) is None
    table = np.zeros((64, 2, 2), dtype=np.int64)
    table[0] = [[40, 3], [2, 50]]
    found = disagreement(table)
    assert isinstance(found, Disagreement)
    assert found.interval(0.05, 0.05) == (0.0, 1.5)


@given(TABLES, st.floats(0.001, 0.4))
@settings(deadline=None)
def test_ends_enclose_the_value_and_widen_with_certainty(table: Ints, alpha: float) -> None:
    found = disagreement(table[None])
    if found is None:
        return
    low, high = found.interval(alpha, alpha)
    wider = found.interval(alpha / 2, alpha / 2)
    assert 0 <= wider[0] <= low <= found.value + 1e-12
    assert found.value - 1e-12 <= high <= wider[1] + 1e-12


# ------------------------------------------------------------------ which are the same


def test_matching_undoes_a_permutation() -> None:
    rng = np.random.default_rng(0)
    order = rng.permutation(12)
    table = np.zeros((12, 12), dtype=np.int64)
    table[np.arange(12), order] = rng.integers(20, 90, size=12)
    table += rng.integers(0, 4, size=table.shape)
    assert match(table).pairs == tuple(enumerate(order.tolist()))


@given(TABLES)
def test_a_matching_is_one_to_one_and_leaves_out_only_what_has_no_partner(table: Ints) -> None:
    found = match(table)
    before, now = [i for i, _ in found.pairs], [j for _, j in found.pairs]
    assert len(set(before)) == len(before)
    assert len(set(now)) == len(now)
    assert {*before, *found.lost} == set(np.flatnonzero(table.sum(axis=1)).tolist())
    assert {*now, *found.new} == set(np.flatnonzero(table.sum(axis=0)).tolist())
    assert match(table) == found
    swapped = match(table.T)
    total = sum(found.closeness)
    assert sum(swapped.closeness) == pytest.approx(total)
    assert all(c == jaccard(table)[p] for c, p in zip(found.closeness, found.pairs, strict=True))


def test_no_other_pairing_overlaps_more() -> None:
    from itertools import permutations

    rng = np.random.default_rng(1)
    for _ in range(20):
        table = rng.integers(0, 20, size=(4, 5))
        best = max(sum(jaccard(table)[i, j] for i, j in enumerate(p)) for p in permutations(range(5), 4))
        assert sum(match(table).closeness) == pytest.approx(best)


def test_centroids_are_found_again_after_a_shuffle_and_a_drift() -> None:
    rng = np.random.default_rng(2)
    before = rng.normal(0, 5, (9, 3))
    order = rng.permutation(9)
    now = before[order] + rng.normal(0, 0.2, (9, 3))
    found = match_centroids(before, now)
    assert found.pairs == tuple((i, int(np.flatnonzero(order == i)[0])) for i in range(9))
    assert min(found.closeness) > 0.2
    # The unit of a feature does not matter.
    unit = np.array([1e-6, 1.0, 1e6])
    assert match_centroids(before * unit, now * unit).pairs == found.pairs


def test_a_centroid_out_of_reach_is_new_and_an_empty_cluster_is_none() -> None:
    before = np.array([[0.0, 0.0], [10.0, 0.0], [0.0, 10.0]])
    now = np.array([[0.2, 0.1], [10.1, 0.0], [30.0, 30.0], [0.0, 10.0]])
    sizes = np.array([5, 5, 5]), np.array([5, 5, 5, 0])
    found = match_centroids(before, now, sizes, within=np.ones(2))
    assert (found.pairs, found.lost, found.new) == (((0, 0), (1, 1)), (2,), (2,))
    one = match_centroids(before[:1], now[2:3])
    assert one.pairs == ((0, 0),)
    assert match_centroids(np.zeros((0, 2)), now).new == (0, 1, 2, 3)
    with pytest.raises(ValueError, match="same features"):
        match_centroids(before, now[:, :1])


def test_of_two_successors_the_nearer_one_is_taken() -> None:
    before = np.array([[0.0], [10.0]])
    found = match_centroids(before, np.array([[0.9], [0.1], [10.0]]), within=np.ones(1))
    assert (0, 1) in found.pairs
    assert found.new == (0,)


# ------------------------------------------------------------------ what became of them


def kinds(table: list[list[int]]) -> list[tuple[str, tuple[int, ...], tuple[int, ...]]]:
    return [(e.kind, e.previous, e.current) for e in events(np.array(table))]


def test_what_became_of_clusters() -> None:
    assert kinds([[90, 5], [4, 80]]) == [("survive", (0,), (0,)), ("survive", (1,), (1,))]
    assert kinds([[36, 58, 6]]) == [("split", (0,), (1, 0)), ("birth", (0,), (2,))]
    assert kinds([[60], [40]]) == [("merge", (0, 1), (0,))]
    # A small cluster that a large one takes in is gone, and the large one lives on.
    assert kinds([[90, 0], [9, 0], [0, 50]]) == [
        ("survive", (0,), (0,)),
        ("death", (1,), (0,)),
        ("survive", (2,), (1,)),
    ]
    # A cluster that is dealt out to others is no split.
    assert kinds([[10, 10, 10], [90, 0, 0], [0, 90, 0], [0, 0, 90]])[0] == ("death", (0,), (0, 1, 2))
    assert kinds([[30, 30, 30, 30]]) == [
        ("death", (0,), ()),
        ("birth", (0,), (0,)),
        ("birth", (0,), (1,)),
        ("birth", (0,), (2,)),
        ("birth", (0,), (3,)),
    ]
    (split,) = events(np.array([[58, 0, 36]]))
    assert split.shares == pytest.approx((58 / 94, 36 / 94))


def test_members_that_left_all_clusters_count_among_those_a_cluster_had() -> None:
    table = np.array([[40, 0], [0, 90]])
    assert [e.kind for e in events(table)] == ["survive", "survive"]
    assert [e.kind for e in events(table, sizes=(np.array([100, 90]), np.array([40, 90])))] == [
        "death",
        "survive",
        "birth",
    ]


@given(TABLES)
def test_every_cluster_has_an_event_and_time_reversed_a_split_is_a_merge(table: Ints) -> None:
    found = events(table)
    before = [i for e in found if e.kind in {"survive", "split", "merge", "death"} for i in e.previous]
    now = [j for e in found if e.kind in {"survive", "split", "merge", "birth"} for j in e.current]
    assert set(before) == set(np.flatnonzero(table.sum(axis=1)).tolist())
    assert set(now) == set(np.flatnonzero(table.sum(axis=0)).tolist())
    reverse = {"survive": "survive", "split": "merge", "merge": "split", "birth": "death", "death": "birth"}
    back = {(reverse[e.kind], frozenset(e.current), frozenset(e.previous)) for e in events(table.T)}
    assert {(e.kind, frozenset(e.previous), frozenset(e.current)) for e in found} == back
    survivors = [e for e in found if e.kind == "survive"]
    assert len({e.current for e in survivors}) == len({e.previous for e in survivors}) == len(survivors)


@pytest.mark.parametrize(("survive", "part"), [(0.4, 0.3), (1.0, 0.3), (0.5, 0.0)])
def test_thresholds_out_of_range_are_refused(survive: float, part: float) -> None:
    with pytest.raises(ValueError, match="thresholds"):
        events(np.eye(2), survive=survive, part=part)
