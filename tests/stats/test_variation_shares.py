"""A share window by window: error rates at zero and at the margin, exact ends, and what is new by chance."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from afterlaunch.stats import variation_shares
from afterlaunch.stats.variation import Looks, Normal
from tests.simulation import most

REFERENCE, WEEKS, ROWS = 84, 3, 500


@pytest.mark.parametrize("icc", [0.0, 0.01], ids=["days alike", "day shocks"])
@pytest.mark.parametrize("rise", [0.0, 0.02], ids=["no effect", "at the margin"])
@pytest.mark.parametrize("together", [1, 7])
def test_a_share_keeps_its_error_rates(icc: float, rise: float, together: int) -> None:
    alpha, repeats, size = 0.01, 150, 14
    rng = np.random.default_rng([int(1e3 * icc), int(1e3 * rise), together])

    def days(p: float, number: int) -> np.ndarray:
        own = rng.beta(p * (1 / icc - 1), (1 - p) * (1 / icc - 1), number) if icc else np.full(number, p)
        hits = rng.binomial(ROWS, own)
        return np.stack([ROWS - hits, hits], axis=1)

    low_wrong, high_wrong = [], []
    for _ in range(repeats):
        history = days(0.05, REFERENCE)
        now = days(0.05 + rise, size * together).reshape(size, together, 2).sum(axis=1)
        normal = Normal(history, history.sum(axis=0), np.arange(REFERENCE) % 7)
        looks = Looks(now, np.full(size, -1) if together > 1 else np.arange(size) % 7, np.full(size, together))
        low, high = variation_shares.shares(normal, looks).ends(np.full(size, alpha), np.full(size, 0.05))
        low_wrong.append(float((low > rise).mean()))
        high_wrong.append(float((high < rise).mean()))
    for wrong, rate in ((low_wrong, alpha), (high_wrong, 0.05)):
        assert np.mean(wrong) <= most(rate, float(np.std(wrong) / np.sqrt(repeats)), repeats * size)


def test_ends_of_a_share_are_those_of_clopper_and_pearson_when_hits_are_few() -> None:
    low, high = variation_shares.share_ends(
        np.array([0.1]), np.array([50.0]), np.array([0.05]), np.array([0.025]), np.inf
    )
    assert low[0] == pytest.approx(stats.beta.ppf(0.05, 5, 46))
    assert high[0] == pytest.approx(stats.beta.ppf(0.975, 6, 45))


def test_what_is_new_by_chance_is_not_new() -> None:
    # Every window has a category of its own: a new one in the next window is what normal windows do.
    history = np.zeros((40, 42), dtype=np.int64)
    history[:, 0] = 95
    history[np.arange(40), np.arange(40) + 1] = 5
    alone = variation_shares.alone(history)
    assert alone.tolist() == [5] * 40
    past = np.stack([100 - alone, alone], axis=1)
    normal = Normal(past, past.sum(axis=0), np.zeros(40, np.int64))
    looks = Looks(np.array([[95, 5], [60, 40]]), np.full(2, -1), np.ones(2, np.int64))
    found = variation_shares.shares(normal, looks)
    low, _ = found.ends(np.full(2, 1e-3), np.full(2, 0.05))
    assert found.value == pytest.approx([0.0, 0.35])
    assert low[0] < 0 < low[1]


def test_extremes_that_come_together_are_few_rows() -> None:
    scattered = np.tile([1, 98, 1], (40, 1))
    clustered = np.zeros((40, 3), dtype=np.int64)
    clustered[:, 1] = 100
    clustered[3] = [80, 20, 0]
    rows = []
    for counts in (scattered, clustered):
        hits = variation_shares.outermost(counts)
        past = np.stack([counts.sum(axis=1) - hits, hits], axis=1)
        normal = Normal(past, past.sum(axis=0), np.zeros(40, np.int64))
        rows.append(variation_shares.effective(normal, 4000))
    assert rows[0] == 4000
    assert rows[1] < 400


def test_wilks_holds_for_the_share_beyond_the_extremes() -> None:
    rng = np.random.default_rng(4)
    expected = variation_shares.beyond(200)
    x = np.sort(rng.random((4000, 200)), axis=1)
    share = x[:, 0] + 1 - x[:, -1]
    assert expected.value == pytest.approx(share.mean(), rel=0.05)
    low, high = expected.ends(0.05, 0.05)
    assert (share < low).mean() == pytest.approx(0.05, abs=0.011)  # 3.1 standard errors of a share of .05 in 4,000
    assert (share > high).mean() == pytest.approx(0.05, abs=0.011)
