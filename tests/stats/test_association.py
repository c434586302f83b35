"""Single-column power: oracles, properties, and the errors and power of its interval."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import roc_auc_score

from afterlaunch.stats.association import (
    Determined,
    Power,
    binned,
    bins_for,
    blocks,
    concordance,
    determined,
    levels,
    meaning,
    power,
)
from tests.simulation import at_least, at_most

drawn = st.lists(st.tuples(st.integers(0, 5), st.integers(0, 3), st.integers(0, 2)), min_size=2, max_size=40)


def brute(rank: np.ndarray, level: np.ndarray, block: np.ndarray) -> float:
    right = pairs = 0.0
    for i in range(len(rank)):
        for j in range(len(rank)):
            if block[i] == block[j] and level[i] > level[j]:
                pairs += 1
                right += 1.0 if rank[i] > rank[j] else 0.5 if rank[i] == rank[j] else 0.0
    return right / pairs if pairs else math.nan


@given(drawn)
def test_concordance_is_what_counting_pairs_gives(rows: list[tuple[int, int, int]]) -> None:
    rank, level, block = np.array(rows).T
    value, influence = concordance(rank, level, block)
    assert value == pytest.approx(brute(rank, level, block), nan_ok=True)
    assert influence.sum() == pytest.approx(0, abs=1e-9)


@given(drawn, st.randoms(use_true_random=False))
def test_concordance_knows_no_order_of_rows_and_mirrors_with_the_ranks(
    rows: list[tuple[int, int, int]], random
) -> None:
    rank, level, block = np.array(rows).T
    shuffled = list(rows)
    random.shuffle(shuffled)
    value = concordance(rank, level, block)[0]
    assert concordance(*np.array(shuffled).T)[0] == pytest.approx(value, nan_ok=True)
    assert concordance(5 - rank, level, block)[0] == pytest.approx(1 - value, nan_ok=True)


def test_in_one_block_it_is_the_auc_of_scikit_learn_with_the_variance_of_delong() -> None:
    rng = np.random.default_rng(0)
    level = (rng.random(300) < 0.3).astype(int)
    rank = rng.integers(0, 40, 300) + 8 * level
    value, influence = concordance(rank, level, np.zeros(300, int))
    assert value == pytest.approx(roc_auc_score(level, rank))
    positive, negative = rank[level == 1], rank[level == 0]
    wins = (positive[:, None] > negative) + 0.5 * (positive[:, None] == negative)
    delong = wins.mean(1).var() / len(positive) + wins.mean(0).var() / len(negative)
    assert (influence**2).sum() == pytest.approx(delong)


def test_binning_keeps_few_values_and_cuts_many() -> None:
    assert binned(np.array([2.0, 1.0, np.inf, np.nan, -np.inf])).tolist() == [2, 1, 3, 4, 0]
    codes = binned(np.concatenate([np.arange(1000.0), [np.nan, np.inf, -np.inf]]))
    assert codes.max() == 64
    assert codes[-3:].tolist() == [64, 63, 0]
    assert np.bincount(codes[:1000]).max() <= 17
    assert levels(np.arange(100.0)).max() == 9


def test_what_a_value_means_is_free_of_its_block() -> None:
    block = np.repeat([0, 1], 50)
    outcome = np.repeat([0.0, 1.0], 50)
    assert meaning(block, outcome, block, 2) == pytest.approx([0, 0])
    assert meaning(np.zeros(0, int), np.zeros(0), np.zeros(0, int), 2).tolist() == [0, 0]


@given(st.integers(0, 500), st.integers(0, 500))
def test_blocks_are_contiguous_and_at_most_twenty(rows: int, rarer: int) -> None:
    b = blocks(rows, rarer)
    assert len(b) == rows
    assert set(np.diff(b)) <= ({0, 1} if rows >= 2 else set())
    assert rows == 0 or b.max() < 20


def world(rng: np.random.Generator, rows: int) -> tuple[np.ndarray, np.ndarray]:
    """A base rate that swings with time, and outcomes."""
    swing = 2 * np.sin(np.linspace(0, rng.uniform(2, 12), rows))
    return swing, (rng.random(rows) < 1 / (1 + np.exp(1 - swing))).astype(np.int64)


@pytest.mark.parametrize("kind", ["follows time", "identifier", "many values", "noise"])
def test_a_column_that_tells_nothing_within_time_has_no_power(kind: str) -> None:
    """Also one that tells much over all rows, or that could memorise them."""
    rng, values, whole = np.random.default_rng(1), [], []
    for _ in range(40):
        swing, y = world(rng, 2000)
        x = {
            "follows time": binned(np.round(swing, 2)),
            "identifier": rng.permutation(2000),
            "many values": rng.integers(0, 500, 2000),
            "noise": binned(rng.normal(size=2000)),
        }[kind]
        block = blocks(2000, int(min(np.bincount(y))))
        found = power(x, y, block)
        assert found is not None
        values.append(found.value)
        fold = rng.integers(0, 2, 2000)
        pooled = power(x, y, np.zeros(2000, int), fold=fold)
        whole.append(pooled.value if pooled is not None else math.nan)
    assert abs(np.mean(values) - 0.5) < 0.02
    assert max(values) < 0.6
    assert (np.mean(whole) > 0.7) == (kind == "follows time")


@pytest.mark.parametrize("task", ["binary", "classes", "number"])
def test_a_copy_has_all_power_and_a_noisy_one_what_it_has(task: str) -> None:
    rng = np.random.default_rng(2)
    y = {"binary": rng.integers(0, 2, 1000), "classes": rng.integers(0, 4, 1000), "number": rng.normal(size=1000)}[task]
    level = levels(y.astype(float)) if task == "number" else y
    block = blocks(1000, 400)
    copy = power(binned(y.astype(float)), level, block, classes=task == "classes")
    none = power(rng.integers(0, 9, 1000), level, block, classes=task == "classes")
    assert copy is not None
    assert none is not None
    assert copy.value > 0.97
    assert abs(none.value - 0.5) < 0.08


def test_nothing_to_compare_is_none() -> None:
    empty = np.zeros(0, int)
    assert power(empty, empty, empty) is None
    assert power(np.arange(10), np.zeros(10, int), blocks(10, 1)) is None
    assert power(np.arange(10), np.zeros(10, int), blocks(10, 1), classes=True) is None


def normal_ranks(rng: np.random.Generator, y: np.ndarray, auc: float) -> np.ndarray:
    from scipy.special import ndtri

    return binned(rng.normal(size=len(y)) + math.sqrt(2) * ndtri(auc) * y, bins_for(float(y.sum())))


@pytest.mark.parametrize(("rows", "share"), [(300, 0.3), (3000, 0.1)])
@pytest.mark.parametrize("alpha", [0.05, 0.0005])
def test_the_errors_of_the_interval_and_its_power(rows: int, share: float, alpha: float) -> None:
    """AUC .95 exactly is above .95 at most alpha of the time; AUC .995 mostly (90, 300 of the rarer outcome)."""
    rng, repeats = np.random.default_rng(3), 800
    false, found, missed = 0, 0, 0
    for _ in range(repeats):
        y = (rng.random(rows) < share).astype(np.int64)
        block = blocks(rows, int(y.sum()))
        at, above = (power(normal_ranks(rng, y, a), y, block, ordered=64) for a in (0.95, 0.995))
        assert at is not None
        assert above is not None
        i = at.interval(alpha, alpha)
        false, missed = false + (i.low > 0.95), missed + (i.high < 0.95 - 0.012)
        found += above.interval(alpha, alpha).low > 0.95
    assert false / repeats <= at_most(alpha, repeats)
    # Learning on half the rows costs about a point of AUC.
    assert missed / repeats <= at_most(alpha + 0.02, repeats)
    assert found / repeats >= (0.8 if alpha == 0.05 else 0.0 if rows == 300 else 0.5)


def test_rows_of_one_user_are_counted_as_dependent() -> None:
    """A column and outcomes of the user, each user five times: 5 % errors stay 5 %, and naive ones do not."""
    rng, repeats = np.random.default_rng(4), 400
    over, naive = 0, 0
    for _ in range(repeats):
        user = np.repeat(np.arange(200), 5)
        y, x = rng.integers(0, 2, 200)[user], binned(rng.normal(size=200))[user]
        order = rng.permutation(1000)
        user, y, x = user[order], y[order], x[order]
        block = np.zeros(1000, int)
        fold = user % 2
        for group in (user, None):
            found = power(x, y, block, fold=fold, group=group)
            assert found is not None
            low = found.interval(0.05, 0.05).low > 0.5
            over, naive = (over + low, naive) if group is not None else (over, naive + low)
    assert over / repeats <= at_most(0.05, repeats)
    assert naive / repeats > 0.08


def test_perfect_power_has_an_interval_by_the_rarer_outcome() -> None:
    found = Power(1.0, 0.0, math.inf, 50, 1000).interval(0.05, 0.05)
    assert found.high == 1.0
    assert found.low == pytest.approx(0.05 ** (1 / 50))


@given(st.floats(0.01, 0.99), st.floats(1e-6, 0.01), st.integers(1, 500))
def test_the_interval_holds_the_value_and_lies_in_0_1(value: float, variance: float, rarer: int) -> None:
    i = Power(value, variance, 20, rarer, 4 * rarer).interval(0.01, 0.1)
    assert 0 <= i.low <= value <= i.high <= 1


def test_lambda_on_held_out_halves() -> None:
    rng = np.random.default_rng(5)
    y = rng.integers(0, 3, 900)
    fold = rng.integers(0, 2, 900)
    assert determined((y + 1) % 3, y, fold).value == 1.0
    assert determined(rng.permutation(900), y, fold).value < 0.05
    assert determined(rng.integers(0, 9, 900), y, fold).value < 0.1
    assert determined(np.zeros(900, int), np.zeros(900, int), fold).interval(0.05, 0.05) == (0.0, 1.0)


def test_lambda_as_goodman_and_kruskal_define_it() -> None:
    """Without holding out: (sum of row maxima - largest total) / (n - largest total)."""
    table = np.array([[30, 10], [5, 55]])
    codes, y = np.repeat([0, 0, 1, 1], table.ravel()), np.repeat([0, 1, 0, 1], table.ravel())
    codes, y = np.tile(codes, 2), np.tile(y, 2)
    fold = np.repeat([0, 1], 100)
    assert determined(codes, y, fold).value == pytest.approx((30 + 55 - 65) / (100 - 65))


@pytest.mark.parametrize("alpha", [0.05, 0.0005])
def test_the_errors_of_lambda_s_interval_at_the_margin_and_its_power(alpha: float) -> None:
    rng, repeats = np.random.default_rng(6), 1000
    false = found = 0
    for _ in range(repeats):
        y = rng.integers(0, 2, 1000)
        fold = rng.integers(0, 2, 1000)
        for flips, at_margin in ((0.05, True), (0.01, False)):
            x = np.where(rng.random(1000) < flips, 1 - y, y)
            low = determined(x, y, fold).interval(alpha, alpha)[0] > 0.9
            false, found = (false + low, found) if at_margin else (false, found + low)
    assert false / repeats <= at_most(alpha + 0.005, repeats)
    assert found / repeats >= at_least(0.95, repeats)


def test_dependent_errors_count_for_less() -> None:
    y = np.tile([0, 1], 500)
    x, user = y.copy(), np.arange(1000) // 10
    x[:50] = 1 - x[:50]
    fold = user % 2
    alone, grouped = determined(x, y, fold), determined(x, y, fold, user)
    assert isinstance(grouped, Determined)
    assert grouped.deff == pytest.approx(10)
    assert grouped.interval(0.05, 0.05)[0] < alone.interval(0.05, 0.05)[0]
