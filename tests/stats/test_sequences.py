"""The e-detector, the limits of a mean and the set of change points keep their error rates, and find what is there."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import special
from scipy import stats as scipy_stats

from afterlaunch.stats.intervals import Interval
from afterlaunch.stats.sequences import (
    CAP,
    bets,
    change_point,
    detector_path,
    first_alarm,
    mean_limits,
    monitor,
    running_mean,
    sample_limits,
    stitched,
)
from tests.simulation import at_least, at_most

RNG = np.random.default_rng
Floats = np.ndarray


def bernoulli(rng: np.random.Generator, *parts: tuple[float, int]) -> Floats:
    return np.concatenate([(rng.random(n) < p).astype(np.float64) for p, n in parts])


def plain_detector(loss: Floats, null: float, sizes: Floats) -> Floats:
    """The recursion M = (M + 1) (1 + b (x - m)) as it stands in the paper."""
    b = np.minimum(sizes, CAP / null)
    held, out = np.zeros(len(b)), []
    for x in loss:
        held = (held + 1) * (1 + b * (x - null))
        out.append(held.mean())
    return np.array(out)


def divergence(q: float, p: float) -> float:
    return float(special.rel_entr(q, p) + special.rel_entr(1 - q, 1 - p))


# ------------------------------------------------------------------ the detector


def test_a_bet_on_a_bernoulli_mean_is_its_likelihood_ratio() -> None:
    m, q = 0.1, 0.3
    x = bernoulli(RNG(0), (0.2, 50))
    ratio = (scipy_stats.bernoulli.logpmf(x, q) - scipy_stats.bernoulli.logpmf(x, m)).cumsum()
    path = detector_path(x, m, np.array([(q - m) / (m * (1 - m))]), restart=False)
    np.testing.assert_allclose(path, ratio, atol=1e-12)


@pytest.mark.parametrize("null", [0.02, 0.5, 0.97])
def test_pieces_and_logarithms_give_what_the_recursion_gives(null: float) -> None:
    rng = RNG(1)
    loss = np.concatenate([rng.beta(1, 9, 60), rng.random(60), np.ones(30), np.zeros(2000)])
    sizes = bets(null, len(loss), 1e6)
    expected = plain_detector(loss, null, sizes)
    np.testing.assert_allclose(detector_path(loss, null, sizes), np.log(expected), rtol=1e-9)
    for threshold in (5.0, 100.0, 1e6):
        over = np.flatnonzero(expected >= threshold)
        assert first_alarm(loss, null, threshold, sizes) == (int(over[0]) if over.size else None)


def test_the_detector_looks_at_its_part_of_the_stream_only() -> None:
    loss = bernoulli(RNG(2), (0.9, 40), (0.05, 500), (0.9, 40))
    sizes = bets(0.05, len(loss), 1e4)
    assert first_alarm(loss, 0.07, 1e4, sizes) < 40  # type: ignore[operator]
    part = first_alarm(loss[40:], 0.07, 1e4, sizes)
    assert part is not None
    assert first_alarm(loss, 0.07, 1e4, sizes, start=40) == part + 40
    assert first_alarm(loss, 0.07, 1e4, sizes, start=40, stop=500) is None
    assert first_alarm(loss, 1.0, 1e4, sizes) is None


losses = st.lists(st.sampled_from([0.0, 0.1, 0.5, 1.0]), min_size=1, max_size=60).map(np.array)


@settings(max_examples=60, deadline=None)
@given(losses, st.floats(0.01, 0.9), st.floats(0.0, 0.09), st.floats(2, 1e3), st.floats(1, 10))
def test_a_larger_null_or_threshold_or_a_smaller_loss_never_alarms_earlier(
    loss: Floats, null: float, more: float, threshold: float, times: float
) -> None:
    sizes = bets(0.05, 1000, 1e4)

    def alarm(x: Floats, m: float, a: float) -> float:
        row = first_alarm(x, m, a, sizes)
        return math.inf if row is None else row

    first = alarm(loss, null, threshold)
    assert alarm(loss, null + more, threshold) >= first
    assert alarm(loss, null, threshold * times) >= first
    assert alarm(loss / 2, null, threshold) >= first


def test_its_expectation_grows_by_one_a_row_at_most() -> None:
    """Exactly, over all streams of 12 rows: E[M_n] = n at the null, and less below it."""
    n, null, sizes = 12, 0.3, bets(0.3, 100, 1e3)
    streams = ((np.arange(2**n)[:, None] >> np.arange(n)) & 1).astype(np.float64)
    last = np.array([math.exp(detector_path(x, null, sizes)[-1]) for x in streams])
    for mean, most in ((null, n), (0.2, n)):
        chance = mean ** streams.sum(axis=1) * (1 - mean) ** (n - streams.sum(axis=1))
        expected = float(chance @ last)
        assert expected <= most * (1 + 1e-9)
        if mean == null:
            assert expected == pytest.approx(n)


@pytest.mark.parametrize("kind", ["independent", "beta", "dependent"])
def test_false_alarms_are_as_rare_as_promised(kind: str) -> None:
    """P(alarm within N rows) <= N / A, with the true mean on the line, for other losses and dependent rows too."""
    rng, rows, null, repeats = RNG(3), 2_000, 0.1, 400
    threshold = rows / 0.1
    sizes, hits = bets(null, rows, threshold), 0
    for _ in range(repeats):
        if kind == "independent":
            loss = bernoulli(rng, (null, rows))
        elif kind == "beta":
            loss = rng.beta(0.3, 2.7, rows)
        else:
            # A row's size depends on the row before; its conditional mean is the null all the same.
            large = np.concatenate([[1.0], np.where(rng.random(rows - 1) < 0.5, 1.0, 0.2)])
            loss = large * (rng.random(rows) < null / large)
        hits += first_alarm(loss, null, threshold, sizes) is not None
    assert hits / repeats <= at_most(0.1, repeats)


def test_the_average_run_length_is_kept() -> None:
    """Run lengths are about exponential; a mean of `repeats` of them is below 0.8 A by chance once in 1,000 at most."""
    rng, threshold, null, repeats = RNG(4), 300.0, 0.2, 300
    sizes = bets(null, 5_000, threshold)
    runs = []
    for _ in range(repeats):
        row = first_alarm(bernoulli(rng, (null, 5_000)), null, threshold, sizes)
        runs.append(5_000 if row is None else row + 1)
    # Runs are cut at 5,000 rows, which only lowers their mean.
    assert np.mean(runs) >= threshold * (1 - 3.1 / math.sqrt(repeats))


def test_the_e_process_rarely_ever_reaches_one_over_alpha() -> None:
    rng, repeats, alpha, null = RNG(5), 1_000, 0.1, 0.3
    sizes = bets(null, 500, 1e3)
    hits = sum(
        bool(detector_path(bernoulli(rng, (null, 500)), null, sizes, restart=False).max() >= math.log(1 / alpha))
        for _ in range(repeats)
    )
    assert hits / repeats <= at_most(alpha, repeats)


@pytest.mark.parametrize("mean", [0.001, 0.02, 0.2])
@pytest.mark.parametrize("after", [0.3, 0.5, 0.985])
def test_delays_are_near_the_least_possible(mean: float, after: float) -> None:
    """Lorden (1971): no detector of this ARL has, for large ARL, a delay below log(ARL) / KL."""
    rng, threshold, null = RNG(6), 1e6, mean + 0.02
    sizes = bets(mean, 40_000, threshold)
    delays = []
    for _ in range(60):
        row = first_alarm(bernoulli(rng, (mean, 500), (after, 3_000)), null, threshold, sizes)
        assert row is not None
        delays.append(row - 499)
    assert np.median(delays) <= 1.25 * math.log(threshold) / divergence(after, null)


# ------------------------------------------------------------------ the mean


@pytest.mark.parametrize("mean", [0.02, 0.5])
def test_limits_of_a_mean_hold_at_every_row(mean: float) -> None:
    rng, repeats, alpha = RNG(7), 300, 0.1
    at = [5, 20, 60, 150, 400, 1_000]
    low_missed = high_missed = 0
    for _ in range(repeats):
        loss = bernoulli(rng, (mean, at[-1]))
        found = [mean_limits(loss[:n], alpha, alpha) for n in at]
        low_missed += any(i.low > mean for i in found)
        high_missed += any(i.high < mean for i in found)
    assert low_missed / repeats <= at_most(alpha, repeats)
    assert high_missed / repeats <= at_most(alpha, repeats)


def test_limits_are_within_twice_a_normal_interval_of_many_rows() -> None:
    loss = RNG(8).beta(2, 18, 30_000)
    normal = 1.645 * loss.std() / math.sqrt(len(loss))
    found = mean_limits(loss, 0.05, 0.05)
    assert normal < found.high - found.value < 2 * normal
    assert normal < found.value - found.low < 2 * normal


@settings(max_examples=30, deadline=None)
@given(losses, st.floats(0.001, 0.2), st.floats(0.001, 0.2))
def test_limits_mirror_and_nest(loss: Floats, alpha: float, other: float) -> None:
    for limits in (mean_limits, sample_limits):
        a, b = limits(loss, alpha, other), limits(1 - loss, other, alpha)
        assert (a.low, a.high) == pytest.approx((1 - b.high, 1 - b.low), abs=2e-6)
        assert 0 <= a.low <= a.value <= a.high <= 1
        wide = limits(loss, alpha / 2, other / 2)
        assert wide.low <= a.low + 2e-6
        assert wide.high >= a.high - 2e-6


@pytest.mark.parametrize("kind", ["few", "many", "beta"])
def test_limits_of_a_sample_miss_as_seldom_as_promised(kind: str) -> None:
    rng, repeats, alpha, mean = RNG(9), 1_000, 0.05, 0.1
    missed = np.zeros(2)
    for _ in range(repeats):
        loss = rng.beta(0.2, 1.8, 400) if kind == "beta" else bernoulli(rng, (mean, {"few": 30, "many": 400}[kind]))
        i = sample_limits(loss, alpha, alpha)
        missed += (i.low > mean, i.high < mean)
    assert (missed / repeats <= at_most(alpha, repeats)).all()


def test_exact_limits_are_those_of_scipy() -> None:
    found = sample_limits(np.r_[np.ones(3), np.zeros(97)], 0.025, 0.025)
    known = scipy_stats.binomtest(3, 100).proportion_ci(method="exact")
    assert (found.low, found.high) == pytest.approx((known.low, known.high))


def test_no_rows_no_limits() -> None:
    empty = np.array([])
    for limits in (mean_limits, sample_limits):
        i = limits(empty, 0.05, 0.05)
        assert (i.low, i.high) == (0.0, 1.0)


def test_a_running_mean_is_covered_even_when_the_mean_moves() -> None:
    rng, repeats, alpha = RNG(10), 400, 0.1
    chance = 0.3 + 0.25 * np.sin(np.arange(2_000) / 200)
    truth = chance.cumsum() / np.arange(1, 2_001)
    missed = 0
    for _ in range(repeats):
        _, low, high = running_mean((rng.random(2_000) < chance).astype(np.float64), alpha)
        missed += bool(((low > truth) | (high < truth)).any())
    assert missed / repeats <= at_most(alpha, repeats)


def test_the_stitched_boundary_is_the_one_of_the_paper() -> None:
    """Howard et al. (2021), eq. 2: 1.7 sqrt(v (log log 2v + 0.72 log(10.4 / alpha))), two-sided."""
    v = np.array([1e2, 1e4, 1e6])
    simple = 1.7 * np.sqrt(v * (np.log(np.log(2 * v)) + 0.72 * np.log(10.4 / 0.05)))
    np.testing.assert_allclose(stitched(v, 0.025, scale=0.0), simple, rtol=0.01)


# ------------------------------------------------------------------ when


@pytest.mark.parametrize(
    ("before", "after", "rows"),
    [(0.05, 0.12, (3_000, 1_500)), (0.02, 0.985, (1_000, 30)), (0.1, 0.4, (100, 100)), (0.5, 0.2, (800, 2_000))],
)
def test_the_set_of_change_points_holds_the_true_one(before: float, after: float, rows: tuple[int, int]) -> None:
    rng, repeats = RNG(11), 400
    held = 0
    for _ in range(repeats):
        found = change_point(bernoulli(rng, (before, rows[0]), (after, rows[1])))
        held += found.low <= rows[0] <= found.high
    assert held / repeats >= at_least(0.95, repeats)


def test_it_holds_it_right_after_an_alarm_too() -> None:
    """An alarm stops at rows that look bad; with the reference's losses known the set is right all the same."""
    rng, repeats, held, found = RNG(12), 300, 0, 0
    sizes = bets(0.05, 36_000, 1e6)
    for _ in range(repeats):
        loss = bernoulli(rng, (0.05, 2_000), (0.25, 2_000))
        alarm = first_alarm(loss, 0.07, 1e6, sizes)
        if alarm is None or alarm < 2_000:
            continue
        change = change_point(loss, stop=alarm + 1, known=(150.0, 3_000.0))
        found += 1
        held += change.low <= 2_000 <= change.high
    assert found >= 0.95 * repeats
    assert held / found >= at_least(0.95, found)


@settings(max_examples=40, deadline=None)
@given(losses, st.floats(0.001, 0.3))
def test_the_set_holds_its_row_and_does_not_depend_on_the_side(loss: Floats, alpha: float) -> None:
    found, mirrored = change_point(loss, alpha=alpha), change_point(1 - loss, alpha=alpha)
    assert 0 <= found.low <= found.row <= found.high < len(loss)
    assert (found.low, found.high) == (mirrored.low, mirrored.high)


def test_there_is_no_change_without_rows() -> None:
    with pytest.raises(ValueError, match="no row"):
        change_point(np.array([]))


def test_a_change_may_be_at_the_first_row() -> None:
    assert change_point(np.ones(20), known=(10.0, 1_000.0)).row == 0


# ------------------------------------------------------------------ one break after the other


def told(loss: Floats, mean: float) -> list[tuple[str, int]]:
    rows = 3_000
    reference = np.r_[np.ones(round(mean * rows)), np.zeros(rows - round(mean * rows))]
    normal = sample_limits(reference, 0.01, 0.01)
    known = (float(reference.sum()), float(rows))
    return [(b.direction, b.change.row) for b in monitor(loss, normal, 0.02, len(loss) / 0.04, known=known, alpha=0.01)]


@pytest.mark.parametrize(
    ("parts", "expected"),
    [
        ([(0.05, 5_000)], []),
        ([(0.05, 3_000), (0.5, 3_000)], ["rise"]),
        ([(0.05, 3_000), (0.5, 3_000), (0.05, 5_000)], ["rise", "recovery"]),
        ([(0.05, 3_000), (0.5, 3_000), (0.05, 5_000), (0.4, 2_000)], ["rise", "recovery", "rise"]),
        ([(0.05, 3_000), (0.98, 3_000), (0.26, 3_000), (0.74, 3_000)], ["rise", "fall", "rise"]),
        ([(0.05, 3_000), (0.5, 3_000), (0.25, 3_000), (0.04, 6_000)], ["rise", "fall", "recovery"]),
        ([(0.5, 1_000)], ["rise"]),
    ],
)
def test_a_story_of_breaks_is_told_in_order(parts: list[tuple[float, int]], expected: list[str]) -> None:
    found = told(bernoulli(RNG(13), *parts), 0.05)
    assert [direction for direction, _ in found] == expected
    edges = np.cumsum([n for _, n in parts])[:-1] if len(parts) > 1 else [0]
    for (_, row), edge in zip(found, edges, strict=False):
        assert abs(row - edge) < 60


def test_a_margin_that_no_loss_can_exceed_never_alarms() -> None:
    assert monitor(np.ones(500), Interval(0.5, 0.4, 0.6), 0.5, 1e4, known=(50.0, 100.0), alpha=0.01) == ()
