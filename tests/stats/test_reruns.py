"""Excess over reruns: error rates and power in simulation, exact values by hand, and laws."""

from __future__ import annotations

import math
from functools import cache

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from afterlaunch.stats.reruns import Excess, excess

DRAWS = 300
MARGIN = 0.02
TOLERANCE = 3 * (0.05 * 0.95 / DRAWS) ** 0.5
"""Three standard errors of a rate of 5 % over the draws."""


def pairs_of(runs: int) -> np.ndarray:
    return np.stack(np.triu_indices(runs, 1), axis=1)


def of(said: np.ndarray, baseline: int, groups: np.ndarray | None = None) -> Excess | None:
    """Excess churn of decisions, shape (n, R), rows dealt into buckets."""
    pairs, bucket = pairs_of(said.shape[1]), np.arange(len(said)) % 64
    sums = np.stack([np.bincount(bucket, said[:, i] != said[:, j], minlength=64) for i, j in pairs])
    size = np.broadcast_to(np.bincount(bucket, minlength=64), sums.shape)
    return excess(sums, size, pairs, baseline=baseline, runs=said.shape[1], groups=groups)


def models(rng: np.random.Generator, rows: int, runs: tuple[int, int], change: float) -> np.ndarray:
    """Decisions of replicates: each has noise of its seed (row by row) and of its sample (rows alike move alike)."""
    total = sum(runs)
    alike = rng.normal(size=(rows, 8)) / math.sqrt(8)
    latent = rng.normal(size=(rows, 1)) + alike @ rng.normal(0, 0.4, size=(8, total))
    latent = latent + 0.3 * rng.normal(size=(rows, total))
    latent[:, runs[0] :] += change * rng.normal(size=(rows, 1))
    return latent > 0


@cache
def simulated(rows: int, first: int, second: int, change: float) -> np.ndarray:
    """Value and ends of `DRAWS` simulations, shape (DRAWS, 3)."""
    rng = np.random.default_rng(7)
    out = []
    for _ in range(DRAWS):
        found = of(models(rng, rows, (first, second), change), first)
        assert found is not None
        out.append((found.value, *found.interval(0.05, 0.05)))
    return np.array(out)


SIZES = [(1000, 5, 5), (1000, 12, 12), (1000, 6, 15), (1000, 12, 1)]


@pytest.mark.parametrize("change", [0.0, 0.33])
@pytest.mark.parametrize(("rows", "first", "second"), SIZES)
def test_each_end_errs_no_more_than_promised(rows: int, first: int, second: int, change: float) -> None:
    """At no excess, and at one near the margin; the truth is the mean of the unbiased estimates."""
    found = simulated(rows, first, second, change)
    truth = 0.0 if change == 0 else found[:, 0].mean()
    assert abs(found[:, 0].mean() - truth) < 4 * found[:, 0].std() / math.sqrt(DRAWS)
    assert (found[:, 1] > truth).mean() <= 0.05 + TOLERANCE
    assert (found[:, 2] < truth).mean() <= 0.05 + TOLERANCE


def test_twelve_replicates_show_that_nothing_changed() -> None:
    """Every false-alarm figure stands beside its power: at no excess `ok` in nine of ten, never an alarm."""
    found = simulated(1000, 12, 12, 0.0)
    assert (found[:, 2] <= MARGIN).mean() >= 0.9
    assert (found[:, 1] > MARGIN).mean() <= 0.05


def test_a_real_change_is_found() -> None:
    rng = np.random.default_rng(8)
    alarms = [of(models(rng, 1000, (12, 12), 0.8), 12).interval(0.05, 0.05)[0] > MARGIN for _ in range(40)]  # type: ignore[union-attr]
    assert np.mean(alarms) >= 0.9


def test_values_are_those_by_hand() -> None:
    said = np.array([[0, 0, 1, 1, 1], [0, 1, 1, 1, 0], [0, 0, 0, 1, 1], [0, 0, 0, 0, 0]])
    found = of(np.tile(said, (16, 1)), 2)
    assert found is not None
    apart = [(said[:, i] != said[:, j]).mean() for i in (0, 1) for j in (2, 3, 4)]
    within = (
        (said[:, 0] != said[:, 1]).mean(),
        np.mean([(said[:, i] != said[:, j]).mean() for i, j in ((2, 3), (2, 4), (3, 4))]),
    )
    assert found.between == pytest.approx(np.mean(apart))
    assert found.floor == pytest.approx(np.mean(within))
    assert found.value == pytest.approx(np.mean(apart) - np.mean(within))


@given(st.integers(0, 2**32 - 1), st.permutations(range(4)), st.permutations(range(4, 9)))
def test_the_order_of_replicates_does_not_matter(seed: int, first: list[int], second: list[int]) -> None:
    said = models(np.random.default_rng(seed), 128, (4, 5), 0.2)
    one, other = of(said, 4), of(said[:, [*first, *second]], 4)
    assert one is not None
    assert other is not None
    assert one.interval(0.05, 0.01) == pytest.approx(other.interval(0.05, 0.01))
    assert one.value == pytest.approx(one.between - one.floor)  # type: ignore[operator]


def test_the_same_model_again_and_again_has_no_excess_but_what_so_few_rows_can_hide() -> None:
    said = np.tile(np.random.default_rng(0).random((200, 1)) > 0.5, (1, 10))
    found = of(said, 5)
    assert found is not None
    assert (found.value, found.floor) == (0.0, 0.0)
    low, high = found.interval(0.05, 0.05)
    assert -0.03 < low < 0 < high < 0.03
    few = of(np.tile([[True]] * 8, (1, 10)), 5)
    assert few is not None
    assert few.interval(0.05, 0.05)[1] > 0.2  # eight rows on which nothing differed show little


def test_two_runs_of_a_version_are_not_enough() -> None:
    assert of(models(np.random.default_rng(0), 200, (2, 2), 0.0), 2) is None
    assert of(models(np.random.default_rng(0), 200, (1, 1), 0.0), 1) is None
    assert of(models(np.random.default_rng(0), 200, (3, 1), 0.0), 3) is not None


def test_nothing_in_common_is_said() -> None:
    pairs = pairs_of(6)
    assert excess(np.zeros((15, 64)), np.zeros((15, 64)), pairs, baseline=3, runs=6) is None


def test_one_bucket_or_missing_pairs_are_refused() -> None:
    pairs = pairs_of(6)
    with pytest.raises(ValueError, match="one bucket"):
        excess(np.zeros((15, 1)), np.ones((15, 1)), pairs, baseline=3, runs=6)
    with pytest.raises(ValueError, match="14 pairs of 6 runs"):
        excess(np.zeros((14, 64)), np.ones((14, 64)), pairs[:14], baseline=3, runs=6)


def grouped(rng: np.random.Generator, rows: int, draws: int, together: int, change: float) -> Excess:
    """Both versions have `draws` samples, each trained `together` times with other seeds."""
    groups = np.repeat(np.arange(2 * draws), together)
    alike = rng.normal(size=(rows, 8)) / math.sqrt(8) @ rng.normal(0, 0.4, size=(8, 2 * draws))
    latent = rng.normal(size=(rows, 1)) + alike[:, groups] + 0.15 * rng.normal(size=(rows, len(groups)))
    latent[:, draws * together :] += change * rng.normal(size=(rows, 1))
    found = of(latent > 0, draws * together, groups=groups)
    assert found is not None
    return found


@pytest.mark.parametrize("change", [0.0, 0.33])
def test_seeds_on_one_sample_are_one_draw(change: float) -> None:
    rng = np.random.default_rng(11)
    ends = [(f.value, *f.interval(0.05, 0.05)) for f in (grouped(rng, 500, 6, 2, change) for _ in range(DRAWS))]
    found = np.array(ends)
    truth = 0.0 if change == 0 else found[:, 0].mean()
    assert abs(found[:, 0].mean() - truth) < 4 * found[:, 0].std() / math.sqrt(DRAWS)
    assert (found[:, 1] > truth).mean() <= 0.05 + TOLERANCE
    assert (found[:, 2] < truth).mean() <= 0.05 + TOLERANCE


def test_groups_of_one_change_nothing_and_one_group_is_not_enough() -> None:
    said = models(np.random.default_rng(12), 300, (5, 4), 0.2)
    plain, own = of(said, 5), of(said, 5, groups=np.arange(9))
    assert plain == own
    assert of(said, 5, groups=np.array([0] * 5 + [1] * 4)) is None
