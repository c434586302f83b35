"""AUC, accuracy and F1 from counts, against scikit-learn, DeLong and the literature."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy import special
from sklearn import metrics as sk

from afterlaunch.stats import discrimination as d
from afterlaunch.stats.resampling import jackknife

Counts = hnp.arrays(np.int64, (2, 6), elements=st.integers(0, 9))


def histogram(scores: np.ndarray, outcome: np.ndarray, group: np.ndarray | None = None) -> np.ndarray:
    values, cell = np.unique(scores, return_inverse=True)
    group = np.zeros(len(scores), dtype=int) if group is None else group
    out = np.zeros((int(group.max()) + 1, 2, values.size))
    np.add.at(out, (group, outcome.astype(int), cell), 1)
    return out


def delong_variance(scores: np.ndarray, outcome: np.ndarray) -> float:
    """DeLong, DeLong & Clarke-Pearson (1988), Biometrics 44:837-845, eq. 5, for one curve."""
    x, y = scores[outcome == 1], scores[outcome == 0]
    wins = (x[:, None] > y).astype(float) + 0.5 * (x[:, None] == y)
    return float(wins.mean(axis=1).var(ddof=1) / x.size + wins.mean(axis=0).var(ddof=1) / y.size)


@given(Counts)
def test_auc_is_that_of_scikit_learn(h: np.ndarray) -> None:
    value = float(d.auc(h))
    if h.sum(axis=1).min() == 0:
        assert np.isnan(value)
        return
    y = np.repeat([0, 1], h.sum(axis=1))
    s = np.concatenate([np.repeat(np.arange(6), row) for row in h])
    assert value == pytest.approx(sk.roc_auc_score(y, s), abs=1e-12)


@given(Counts)
def test_auc_turned_round_is_one_less_auc(h: np.ndarray) -> None:
    value = float(d.auc(h))
    if np.isfinite(value):
        assert 0 <= value <= 1
        assert float(d.auc(h[:, ::-1])) == pytest.approx(1 - value, abs=1e-12)
        assert float(d.auc(h[::-1])) == pytest.approx(1 - value, abs=1e-12)
        assert float(d.auc(3 * h)) == pytest.approx(value, abs=1e-12)


def test_the_jackknife_of_the_auc_is_delong() -> None:
    rng = np.random.default_rng(0)
    outcome = rng.random(600) < 0.3
    scores = rng.normal(size=600) + 1.2 * outcome
    each = histogram(scores, outcome, np.arange(600))
    j = jackknife(d.auc, each, size=np.ones(600))
    assert j.value[0] == pytest.approx(sk.roc_auc_score(outcome, scores), abs=1e-12)
    assert j.se[0] ** 2 == pytest.approx(delong_variance(scores, outcome), rel=0.01)


def test_the_variance_of_hanley_and_mcneil() -> None:
    """The published example: AUC .893 with 58 diseased and 51 normal has a standard error of .032."""
    assert d.auc_variance(0.893, 58, 51) ** 0.5 == pytest.approx(0.032, abs=0.0005)
    rng = np.random.default_rng(1)
    values = []
    for _ in range(2000):
        scores = np.r_[rng.exponential(3, 40), rng.exponential(1, 40)]
        values.append(float(d.auc(histogram(scores, np.repeat([1, 0], 40))[0])))
    assert np.var(values) == pytest.approx(d.auc_variance(0.75, 40, 40), rel=0.15)


@given(hnp.arrays(np.int64, (3, 3), elements=st.integers(0, 9)))
def test_accuracy_and_f1_are_those_of_scikit_learn(c: np.ndarray) -> None:
    truth = np.repeat(np.arange(3), c.sum(axis=1))
    guess = np.concatenate([np.repeat(np.arange(3), row) for row in c])
    if truth.size == 0:
        assert np.isnan(d.accuracy(c))
        assert np.isnan(d.macro_f1(c))
        return
    assert float(d.accuracy(c)) == pytest.approx(sk.accuracy_score(truth, guess))
    assert float(d.macro_f1(c)) == pytest.approx(sk.f1_score(truth, guess, average="macro", zero_division=0))
    two = c[:2, :2]
    if two.sum() > two[0, 0]:
        t = np.repeat(np.arange(2), two.sum(axis=1))
        g = np.concatenate([np.repeat(np.arange(2), row) for row in two])
        assert float(d.f1(two)) == pytest.approx(sk.f1_score(t, g, zero_division=0))
    else:
        assert np.isnan(d.f1(two))


@given(hnp.arrays(np.int64, (3, 3), elements=st.integers(0, 9)), st.permutations(range(3)))
def test_renaming_classes_changes_nothing(c: np.ndarray, order: list[int]) -> None:
    turned = c[np.ix_(order, order)]
    assert d.accuracy(turned) == pytest.approx(float(d.accuracy(c)), nan_ok=True)
    assert d.macro_f1(turned) == pytest.approx(float(d.macro_f1(c)), nan_ok=True)


def test_a_class_asked_for_but_absent_counts_zero() -> None:
    c = np.array([[5, 0, 0], [0, 5, 0], [0, 0, 0]])
    assert float(d.macro_f1(c)) == 1
    assert float(d.macro_f1(c, np.array([True, True, True]))) == pytest.approx(2 / 3)


def test_binormal_auc() -> None:
    """Scores normal in both classes: AUC is Phi(distance / sqrt 2)."""
    grid = special.ndtri((np.arange(2000) + 0.5) / 2000)
    value = float(d.auc(histogram(np.r_[grid, grid + 1.5], np.repeat([0, 1], 2000))[0]))
    assert value == pytest.approx(special.ndtr(1.5 / 2**0.5), abs=2e-4)
