"""Effects window by window: error rates at zero and at the margin, with the pattern of the week and day shocks."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from afterlaunch.stats import variation
from afterlaunch.stats.variation import Distance, Looks, Normal
from tests.simulation import most, tilted

Floats = np.ndarray
BINS = 8
BASE = np.array([0.05, 0.1, 0.15, 0.2, 0.2, 0.15, 0.1, 0.05])
WIDTHS = np.full(BINS - 1, 0.5)
REFERENCE, WEEKS, ROWS = 84, 3, 500
MARGIN = 0.1


def psi(p: Floats, q: Floats) -> float:
    return float(((q - p) * np.log(q / p)).sum())


def linf(p: Floats, q: Floats) -> float:
    return float(np.abs(q - p).max())


def ks(p: Floats, q: Floats) -> float:
    return float(np.abs(np.cumsum(q - p)).max())


def wasserstein(p: Floats, q: Floats) -> float:
    return float(np.abs(np.cumsum(q - p))[:-1] @ WIDTHS)


PLAIN: dict[Distance, Callable[[Floats, Floats], float]] = {
    "psi": psi,
    "linf": linf,
    "ks": ks,
    "wasserstein": wasserstein,
}


def weekday(day: int) -> Floats:
    """The distribution of a weekday: the pattern of the week."""
    p = BASE * np.exp(0.15 * np.cos(2 * np.pi * day / 7) * np.linspace(-1, 1, BINS))
    return np.asarray(p / p.sum())


def draw(rng: np.random.Generator, shares: Floats, icc: float, rows: int) -> Floats:
    """Windows of these shares, shape (W, K); a Dirichlet shock gives rows of a window this correlation."""
    own = np.stack([rng.dirichlet(p * (1 / icc - 1)) for p in shares]) if icc else shares
    return np.stack([rng.multinomial(rows, p) for p in own])


def both_errors(
    kind: Distance, theta: float, icc: float, rows: int, alpha: float, repeats: int, together: int = 1, seed: int = 1
) -> tuple[float, float, float, float]:
    """Shares of looks whose low end is above and whose high end is below `theta`, with their standard errors.

    Looks at one reference share its error, so that the error of a share comes from the references.
    """
    rng = np.random.default_rng([seed, int(1000 * theta), int(1e4 * icc), rows])
    phase = np.arange(REFERENCE) % 7
    every = np.stack([weekday(d) for d in range(7)])
    moved = np.stack([tilted(p, PLAIN[kind], theta) for p in every])
    if together > 1:
        # The shift of a whole week is the one that has the distance.
        toward = tilted(every.mean(axis=0), PLAIN[kind], theta) - every.mean(axis=0)
        moved = every + toward
    low_wrong, high_wrong = [], []
    for _ in range(repeats):
        history = draw(rng, every[phase], icc, rows)
        now_phase = np.arange(7 * WEEKS * together) % 7
        now = draw(rng, moved[now_phase], icc, rows)
        normal = Normal(history, history.sum(axis=0), phase)
        if together > 1:
            now = now.reshape(-1, together, BINS).sum(axis=1)
            now_phase = np.full(len(now), -1)
        looks = Looks(now, now_phase, np.full(len(now), together))
        found = variation.distances(kind, normal, looks, WIDTHS if kind == "wasserstein" else None)
        each = np.full(len(now), alpha)
        low, high = found.ends(each, np.full(len(now), 0.05))
        low_wrong.append(float((low > theta).mean()))
        high_wrong.append(float((high < theta).mean()))
    out: list[float] = []
    for wrong in (low_wrong, high_wrong):
        out += [float(np.mean(wrong)), float(np.std(wrong) / np.sqrt(repeats))]
    return out[0], out[1], out[2], out[3]


@pytest.mark.parametrize("kind", ["psi", "linf", "ks", "wasserstein"])
@pytest.mark.parametrize("icc", [0.0, 0.004], ids=["days alike", "day shocks"])
@pytest.mark.parametrize("theta", [0.0, MARGIN], ids=["no effect", "at the margin"])
def test_a_window_keeps_its_error_rates(kind: Distance, icc: float, theta: float) -> None:
    alpha, repeats = 0.01, 100
    low, low_se, high, high_se = both_errors(kind, theta, icc, ROWS, alpha, repeats)
    looks = repeats * 7 * WEEKS
    assert low <= most(alpha, low_se, looks)
    if theta:
        assert high <= most(0.05, high_se, looks)


@pytest.mark.parametrize("kind", ["psi", "linf", "ks", "wasserstein"])
def test_a_week_of_windows_keeps_its_error_rate(kind: Distance) -> None:
    alpha, repeats = 0.01, 60
    low, se, _, _ = both_errors(kind, MARGIN, 0.004, ROWS, alpha, repeats, together=7)
    assert low <= most(alpha, se, repeats * WEEKS * 7)


def test_the_margin_at_zero_is_not_crossed_by_shocks_alone() -> None:
    # Rows of a day have correlation 0.02: with 500 rows the design effect is 11.
    low, _, _, _ = both_errors("ks", 0.0, 0.02, ROWS, 0.001, 100)
    assert low == 0.0


def test_power_at_twice_the_margin() -> None:
    phase = np.zeros(7, dtype=np.int64)
    rng = np.random.default_rng(5)
    history = draw(rng, np.tile(BASE, (REFERENCE, 1)), 0.0, 2000)
    now = draw(rng, np.tile(tilted(BASE, ks, 2 * MARGIN), (7, 1)), 0.0, 2000)
    normal = Normal(history, history.sum(axis=0), np.zeros(REFERENCE, dtype=np.int64))
    low, high = variation.distances("ks", normal, Looks(now, phase, np.ones(7, np.int64))).ends(
        np.full(7, 1e-4), np.full(7, 0.05)
    )
    assert (low > MARGIN).all()
    assert (high > 2 * MARGIN).all()


def test_degrees_of_freedom_are_those_of_the_windows() -> None:
    rng = np.random.default_rng(2)
    every = np.stack([weekday(d) for d in range(7)])
    phase = np.arange(REFERENCE) % 7
    history = draw(rng, every[phase], 0.02, ROWS)
    normal = Normal(history, history.sum(axis=0), phase)
    assert normal.df == REFERENCE - 7
    looks = Looks(draw(rng, every, 0.02, ROWS), np.arange(7), np.ones(7, np.int64))
    found = variation.distances("ks", normal, looks)
    # Independent days lose little: the squared correlations of 14 lags are taken less their expected value.
    assert (found.df <= REFERENCE - 7).all()
    assert np.median(found.df) > 0.6 * (REFERENCE - 7)


def test_windows_that_depend_on_each_other_have_fewer_degrees_of_freedom() -> None:
    rng = np.random.default_rng(3)
    weeks = np.repeat(np.stack([rng.dirichlet(BASE * 50) for _ in range(12)]), 7, axis=0)
    history = np.stack([rng.multinomial(ROWS, p) for p in weeks])
    normal = Normal(history, history.sum(axis=0), np.arange(REFERENCE) % 7)
    looks = Looks(history[:7], np.arange(7), np.ones(7, np.int64))
    assert np.median(variation.distances("ks", normal, looks).df) < 35


def test_without_history_only_sampling_error_is_known() -> None:
    whole = np.array([5000, 3000, 2000])
    normal = Normal(np.zeros((0, 3), np.int64), whole, np.zeros(0, np.int64))
    looks = Looks(np.array([[500, 300, 200]]), np.full(1, -1), np.ones(1, np.int64))
    found = variation.distances("linf", normal, looks)
    assert np.isinf(found.df).all()
    assert not normal.known
    low, high = found.ends(np.full(1, 0.01), np.full(1, 0.05))
    assert low[0] == 0.0
    assert 0.01 < high[0] < 0.1


def test_a_look_without_rows_has_no_value() -> None:
    history = np.tile([50, 50], (20, 1))
    normal = Normal(history, history.sum(axis=0), np.zeros(20, np.int64))
    looks = Looks(np.array([[0, 0], [50, 50]]), np.full(2, -1), np.ones(2, np.int64))
    for kind in ("psi", "linf", "ks"):
        found = variation.distances(kind, normal, looks)  # type: ignore[arg-type]
        assert np.isnan(found.value).tolist() == [True, False]


def test_a_value_that_every_window_of_the_history_lacks_is_judged_by_how_windows_vary() -> None:
    # A rate that all rows of a day have in common takes another value every week: a window that shows a new one
    # is nothing new, although along its direction the history does not vary at all.
    history = np.zeros((84, 14), dtype=np.int64)
    history[np.arange(84), np.arange(84) // 7] = 500
    normal = Normal(history, history.sum(axis=0), np.arange(84) % 7)
    now = np.zeros((1, 14), dtype=np.int64)
    now[0, 13] = 500
    low, _ = variation.distances("ks", normal, Looks(now, np.zeros(1, np.int64), np.ones(1, np.int64))).ends(
        np.full(1, 1e-3), np.full(1, 0.05)
    )
    assert low[0] < MARGIN


@settings(max_examples=40, deadline=None)
@given(st.lists(st.lists(st.integers(0, 60), min_size=3, max_size=3), min_size=1, max_size=12), st.integers(0, 30))
def test_ends_hold_the_value_and_are_finite(rows: list[list[int]], days: int) -> None:
    rng = np.random.default_rng(days)
    history = rng.multinomial(40, [0.5, 0.3, 0.2], size=days) if days else np.zeros((0, 3), np.int64)
    whole = history.sum(axis=0) + np.array([40, 20, 1])
    normal = Normal(history, whole, np.arange(days) % 7)
    now = np.array(rows)
    looks = Looks(now, np.arange(len(now)) % 7, np.ones(len(now), np.int64))
    some = now.sum(axis=1) > 0
    for kind in ("psi", "linf", "ks", "wasserstein"):
        found = variation.distances(kind, normal, looks, np.ones(2))  # type: ignore[arg-type]
        low, high = found.ends(np.full(len(now), 1e-4), np.full(len(now), 0.05))
        assert np.isfinite(low[some]).all()
        assert np.isfinite(high[some]).all()
        assert (low[some] <= found.value[some]).all()
        assert (found.value[some] <= high[some]).all()
        wider, _ = found.ends(np.full(len(now), 1e-6), np.full(len(now), 0.05))
        assert (wider[some] <= low[some] + 1e-12).all()
