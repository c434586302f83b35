"""Losses of rows, against scikit-learn."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from sklearn import metrics as sk

from afterlaunch.stats import losses

Scores = hnp.arrays(np.float64, 20, elements=st.floats(0.001, 0.999))
Outcomes = hnp.arrays(np.int64, 20, elements=st.integers(0, 1))


@given(Scores, Outcomes)
def test_means_are_those_of_scikit_learn(s: np.ndarray, y: np.ndarray) -> None:
    assert losses.log_loss(s, y).mean() == pytest.approx(sk.log_loss(y, s, labels=[0, 1]), rel=1e-9)
    assert losses.brier(s, y).mean() == pytest.approx(((s - y) ** 2).mean())
    if 0 < y.sum() < y.size:
        assert losses.brier(s, y).mean() == pytest.approx(sk.brier_score_loss(y, s), rel=1e-9)


@given(Scores, Scores)
def test_errors_are_those_of_scikit_learn(p: np.ndarray, y: np.ndarray) -> None:
    assert losses.absolute_error(p, y).mean() == pytest.approx(sk.mean_absolute_error(y, p))
    assert losses.squared_error(p, y).mean() == pytest.approx(sk.mean_squared_error(y, p))


@given(Scores, Outcomes)
def test_the_other_class_has_the_other_score(s: np.ndarray, y: np.ndarray) -> None:
    np.testing.assert_allclose(losses.log_loss(s, y), losses.log_loss(1 - s, 1 - y), rtol=1e-9)
    assert (losses.log_loss(s, y) >= 0).all()


def test_a_confident_mistake_costs_a_finite_sum() -> None:
    assert losses.log_loss([0.0, 1.0], [1, 0]) == pytest.approx(-np.log(losses.CLIP))


def test_missing_values_stay_missing() -> None:
    assert np.isnan(losses.log_loss([np.nan, 0.5], [1, np.nan])).all()
    assert np.isnan(losses.brier([np.nan, 0.5], [1, np.nan])).all()


def test_misses() -> None:
    assert losses.miss([1, 2, 3], [1, 2, 4]).tolist() == [0, 0, 1]


def test_a_mean_without_weight_is_not_a_number() -> None:
    assert losses.mean(np.array([[2.0, 3.0], [0.0, 0.0]])).tolist()[0] == 1.5
    assert np.isnan(losses.mean(np.array([0.0, 0.0])))
