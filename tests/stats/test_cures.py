"""Averaging seeds and pulling toward the last model: against the models that they stand for."""

from __future__ import annotations

import numpy as np
import pytest

from afterlaunch.stats.cures import anchored, averaged


def scores(rng: np.random.Generator, rows: int, runs: int, noise: float = 0.3) -> np.ndarray:
    return np.random.default_rng(5).normal(size=(rows, 1)) + noise * rng.normal(size=(rows, runs))


def test_one_replicate_is_the_plain_churn() -> None:
    found = scores(np.random.default_rng(0), 500, 6)
    said = found >= 0
    apart = [(said[:, i] != said[:, j]).mean() for i in range(6) for j in range(i)]
    assert averaged(found, 0.0, (1,))[0].churn == pytest.approx(np.mean(apart))


def test_averages_of_new_replicates_differ_as_foretold() -> None:
    rng = np.random.default_rng(1)
    foretold = averaged(scores(rng, 4000, 12), 0.0, (1, 2, 3))
    for cured in foretold:
        many = [scores(rng, 4000, 2 * int(cured.strength)) for _ in range(20)]
        groups = [np.stack([m[:, ::2].mean(axis=1), m[:, 1::2].mean(axis=1)]) >= 0 for m in many]
        real = np.mean([(g[0] != g[1]).mean() for g in groups])
        assert cured.churn == pytest.approx(real, rel=0.12)
    assert foretold[0].churn > foretold[1].churn > foretold[2].churn


@pytest.mark.parametrize("size", [1, 2, 4])
def test_the_interval_errs_no_more_than_promised(size: int) -> None:
    """Rows are fixed: the truth is the churn between averages of new replicates on the same rows."""
    rng = np.random.default_rng(2)
    pairs = [scores(rng, 300, 2 * size) for _ in range(2000)]
    truth = np.mean([((m[:, :size].mean(axis=1) >= 0) != (m[:, size:].mean(axis=1) >= 0)).mean() for m in pairs])
    found = [averaged(scores(rng, 300, 12), 0.0, (size,))[0].interval(0.05, 0.05) for _ in range(300)]
    tolerance = 3 * (0.05 * 0.95 / 300) ** 0.5
    assert np.mean([low > truth for low, _ in found]) <= 0.05 + tolerance
    assert np.mean([high < truth for _, high in found]) <= 0.05 + tolerance


def test_groups_must_be_disjoint() -> None:
    found = averaged(scores(np.random.default_rng(3), 200, 7), 0.0)
    assert [c.strength for c in found] == [1, 2, 3]
    assert averaged(scores(np.random.default_rng(3), 200, 1), 0.0) == ()


def test_a_pull_toward_the_last_model_lessens_churn_step_by_step() -> None:
    rng = np.random.default_rng(4)
    last, new = scores(rng, 2000, 5), scores(rng, 2000, 5, noise=0.5)
    found = anchored(last, new, 0.0)
    churns = [c.churn for c in found]
    assert churns == sorted(churns)
    apart = [((last[:, i] >= 0) != (new[:, j] >= 0)).mean() for i in range(5) for j in range(5)]
    assert churns[-1] == pytest.approx(np.mean(apart))
    assert anchored(last[:, :1], new[:, :1], 0.0)[-1].churn == pytest.approx(apart[0])


def test_a_majority_of_classes_is_that_of_scores_for_two_classes() -> None:
    """Three votes of two classes: the majority is the median of the scores' decisions."""
    found = (scores(np.random.default_rng(6), 400, 12) >= 0).astype(float)
    votes, means = averaged(found, None, (1, 3)), averaged(found, 0.5, (1, 3))
    assert [v.churn for v in votes] == pytest.approx([m.churn for m in means])
    assert [v.se for v in votes] == pytest.approx([m.se for m in means])


def test_many_classes_agree_more_when_more_vote() -> None:
    rng = np.random.default_rng(7)
    truth = rng.integers(0, 5, (3000, 1))
    said = np.where(rng.random((3000, 14)) < 0.7, truth, rng.integers(0, 5, (3000, 14))).astype(float)
    one, three, five = averaged(said, None, (1, 3, 5))
    assert one.churn > three.churn > five.churn
