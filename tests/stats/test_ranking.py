"""NDCG and reciprocal rank, against scikit-learn and by hand."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from sklearn import metrics as sk

from afterlaunch.stats.ranking import ndcg, reciprocal_rank

Gains = hnp.arrays(np.int64, 8, elements=st.integers(0, 3))
Scores = hnp.arrays(np.int64, 8, elements=st.integers(0, 5))


@given(Gains, Scores, st.sampled_from([None, 1, 3, 8]))
def test_ndcg_is_that_of_scikit_learn(gains: np.ndarray, scores: np.ndarray, k: int | None) -> None:
    ours = ndcg(gains, scores, k)
    if gains.max() == 0:
        assert np.isnan(ours)
    else:
        assert ours == pytest.approx(sk.ndcg_score([gains], [scores], k=k), abs=1e-12)


@given(Gains, Scores, st.permutations(range(8)))
def test_the_order_of_storage_does_not_matter(gains: np.ndarray, scores: np.ndarray, order: list[int]) -> None:
    assert ndcg(gains[order], scores[order], 3) == pytest.approx(ndcg(gains, scores, 3), abs=1e-12, nan_ok=True)
    assert reciprocal_rank(gains[order], scores[order]) == reciprocal_rank(gains, scores)


@given(Gains, Scores)
def test_bounds(gains: np.ndarray, scores: np.ndarray) -> None:
    assert np.isnan(ndcg(gains, scores)) or 0 <= ndcg(gains, scores) <= 1 + 1e-12
    assert 0 <= reciprocal_rank(gains, scores) <= 1


def test_the_published_example() -> None:
    """Järvelin & Kekäläinen's G' = <3, 2, 3, 0, 0, 1, 2, 2, 3, 0> with today's discount log2(1 + rank)."""
    gains = np.array([3, 2, 3, 0, 0, 1, 2, 2, 3, 0])
    dcg = 3 + 2 / np.log2(3) + 3 / 2 + 1 / np.log2(7) + 2 / 3 + 2 / np.log2(9) + 3 / np.log2(10)
    best = 3 + 3 / np.log2(3) + 3 / 2 + 2 / np.log2(5) + 2 / np.log2(6) + 2 / np.log2(7) + 1 / 3
    assert ndcg(gains, -np.arange(10)) == pytest.approx(dcg / best)


def test_reciprocal_rank_by_hand() -> None:
    assert reciprocal_rank([0, 0, 1], [3, 2, 1]) == pytest.approx(1 / 3)
    assert reciprocal_rank([0, 1, 0, 0], [5, 5, 5, 1]) == pytest.approx(1 / 2)
    assert reciprocal_rank([0, 0], [1, 2]) == 0
