"""Outcome delays: estimates against simulated truth, errors of the intervals, and which windows are mature."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from afterlaunch.stats.delays import Delays, by_delay, by_share, censored, truncated
from tests.simulation import at_most

AT = np.array([1.0, 2.0, 4.0, 8.0])


def log(rng: np.random.Generator, n: int, ever: float = 1.0) -> tuple[np.ndarray, np.ndarray]:
    """Exponential delays of mean 2, rows spread over 30 days: (delay, age); never for a share of rows."""
    delay = np.where(rng.random(n) < ever, rng.exponential(2.0, n), np.inf)
    return delay, rng.uniform(0, 30, n)


def seen(delay: np.ndarray, age: np.ndarray) -> np.ndarray:
    return np.where(delay <= age, delay, np.nan)


@pytest.mark.parametrize("kind", ["censored", "truncated"])
def test_the_share_matured_keeps_its_errors(kind: str) -> None:
    """One-sided errors of 5 % (1 % for the approximation) at four ages, true F = 1 - exp(-age / 2)."""
    rng, repeats, misses = np.random.default_rng(5), 200, np.zeros((2, AT.size))
    truth = 1 - np.exp(-AT / 2)
    for _ in range(repeats):
        delay, age = log(rng, 400, 0.7 if kind == "censored" else 1.0)
        if kind == "censored":
            found = censored(seen(delay, age), age)
        else:
            found = truncated(delay[delay <= age], age[delay <= age])
        ends = [found.share([a]) for a in AT]
        misses += np.array([[e.low > t for e, t in zip(ends, truth, strict=True)],
                            [e.high < t for e, t in zip(ends, truth, strict=True)]])  # fmt: skip
    assert misses.max() / repeats <= at_most(0.06, repeats)


def test_plain_shares_are_too_early_where_young_rows_show_only_short_delays() -> None:
    rng = np.random.default_rng(0)
    delay, age = rng.exponential(5.0, 20_000), rng.uniform(0, 15, 20_000)
    here = delay <= age
    truth = (1 - np.exp(-1.0)) / (1 - np.exp(-3.0))
    assert float((delay[here] <= 5).mean()) > truth + 0.05
    assert truncated(delay[here], age[here]).matured_by(5.0) == pytest.approx(truth, abs=0.02)


def test_rows_that_never_get_an_outcome_are_told_from_late_ones() -> None:
    rng = np.random.default_rng(1)
    delay, age = log(rng, 20_000, ever=0.6)
    found = censored(seen(delay, age), age)
    assert found.ever == pytest.approx(0.6, abs=0.02)
    assert found.settled
    assert found.matured_by(AT) == pytest.approx(1 - np.exp(-AT / 2), abs=0.02)
    assert found.quantile(0.5) == pytest.approx(2 * np.log(2), abs=0.1)


def test_complete_data_give_plain_shares() -> None:
    x = np.array([3.0, 1.0, 1.0, 2.0])
    for found in (censored(x, np.full(4, 9.0)), truncated(x, np.full(4, 9.0))):
        assert found.time.tolist() == [1.0, 2.0, 3.0]
        assert found.arrived.tolist() == pytest.approx([0.5, 0.75, 1.0])


def test_truncation_on_the_table_of_the_source() -> None:
    """By hand: at 3, of rows in the table by then and as old as that 1 of 2 came then, at 2 also 1 of 2."""
    found = truncated([1.0, 2.0, 3.0], [2.0, 4.0, 4.0])
    assert found.arrived.tolist() == pytest.approx([0.25, 0.5, 1.0])


def test_a_log_shorter_than_the_delays_matures_nothing() -> None:
    rng = np.random.default_rng(2)
    delay, age = rng.exponential(60.0, 5000), rng.uniform(0, 30, 5000)
    found = censored(seen(delay, age), age)
    assert not found.settled
    assert not by_delay(found, [age[age > 25], age[age < 5]]).mature.any()


def test_old_windows_are_mature_and_young_ones_are_not() -> None:
    rng = np.random.default_rng(3)
    delay, age = log(rng, 30_000, ever=0.8)
    found = censored(seen(delay, age), age)
    windows = [age[(age >= d) & (age < d + 1)] for d in range(29, -1, -1)]
    got = by_delay(found, windows)
    assert got.mature[:20].all()
    assert not got.mature[-5:].any()
    assert (np.diff(got.share) <= 1e-12).all()
    assert ((got.low <= got.share) & (got.share <= got.high)).all()


def test_nothing_is_never_mature() -> None:
    empty = censored([np.nan] * 5, [1.0] * 5)
    assert not empty.settled
    assert not by_delay(empty, [np.array([1.0]), np.zeros(0)]).mature.any()
    assert truncated([], []).rows == 0
    assert not by_share([0, 0], [10, 10]).mature.any()
    assert not by_share([0, 0], [0, 0]).mature.any()


def test_shares_tell_maturity_where_outcomes_have_no_time() -> None:
    got = by_share([48, 50, 49, 20, 46, 50, 30, 2], [100] * 8)
    assert got.mature.tolist() == [True, True, True, False, True, True, False, False]


def test_bad_input_is_refused() -> None:
    with pytest.raises(ValueError, match="same length"):
        censored([1.0], [1.0, 2.0])
    with pytest.raises(ValueError, match="missing"):
        truncated([np.nan], [1.0])


rows = st.lists(st.tuples(st.floats(0, 50), st.floats(0, 50)), min_size=1, max_size=60)


@given(rows)
def test_a_distribution_rises_to_one(pairs: list[tuple[float, float]]) -> None:
    delay, age = (np.array(c) for c in zip(*pairs, strict=True))
    here = delay <= age
    found: list[Delays] = [censored(seen(delay, age), age)]
    if here.any():
        found.append(truncated(delay[here], age[here]))
    for f in found:
        if f.time.size == 0:
            continue
        assert (np.diff(f.arrived) >= -1e-12).all()
        assert f.arrived[-1] == pytest.approx(1.0)
        e = f.share(age)
        assert 0 <= e.low <= e.value + 1e-12
        assert e.value <= e.high + 1e-12
        assert e.high <= 1 + 1e-12
