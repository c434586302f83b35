"""How often one may look: widths against the formulas of the papers, false alarms in simulation."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import optimize, stats

from afterlaunch.stats.looks import AnyTime, Looks, Once, Planned, spent
from tests.simulation import Floats, at_least, at_most

REPEATS = 4000
LOOKS = 60
BLOCK = 100

ALPHAS = st.floats(1e-5, 0.4)


@given(ALPHAS, st.floats(2, 1e5))
def test_one_look_is_students_t(alpha: float, df: float) -> None:
    assert Once().multiplier(alpha, 1000, df) == pytest.approx(float(stats.t.isf(alpha, df)), rel=1e-9)
    assert Once().multiplier(alpha, 1000, math.inf) == pytest.approx(float(stats.norm.isf(alpha)), rel=1e-9)


# ------------------------------------------------------------------ any number of looks


def half_width(t: float, rho: float, alpha: float, sigma: float = 1.0) -> float:
    """One-sided asymptotic confidence sequence of Waudby-Smith et al. (2024), appendix B, letter by letter."""
    inside = 2 * (t * rho**2 + 1) / (t**2 * rho**2) * math.log(1 + math.sqrt(t * rho**2 + 1) / (2 * alpha))
    return math.sqrt(inside) * sigma


def scale_of(looks: AnyTime) -> float:
    """Rho of appendix B.2, at the level that the looks are tuned at."""
    level = -2 * math.log(looks.tuned_at)
    return math.sqrt((level + math.log(level) + 1) / looks.tuned_for)


@given(ALPHAS, st.floats(10, 1e7), st.floats(100, 1e6), st.floats(0.001, 0.2))
def test_the_width_is_that_of_the_paper(alpha: float, units: float, tuned_for: float, tuned_at: float) -> None:
    looks = AnyTime(tuned_for, tuned_at)
    expected = half_width(units, scale_of(looks), alpha) * math.sqrt(units)
    assert looks.multiplier(alpha, units, 12.0) == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize("alpha", [0.01, 0.025, 0.05, 0.1])
def test_it_is_narrowest_near_the_units_it_is_tuned_for(alpha: float) -> None:
    tuned_for = 20_000.0
    best = optimize.minimize_scalar(lambda log_rho: half_width(tuned_for, math.exp(log_rho), alpha), (-8.0, -2.0))
    width = AnyTime(tuned_for, alpha).multiplier(alpha, tuned_for, math.inf) / math.sqrt(tuned_for)
    assert best.fun <= width <= 1.01 * best.fun
    for times in (0.1, 10):
        best = optimize.minimize_scalar(
            lambda log_rho, t=times * tuned_for: half_width(t, math.exp(log_rho), alpha), (-8.0, -2.0)
        )
        width = AnyTime(tuned_for, alpha).multiplier(alpha, times * tuned_for, math.inf) / math.sqrt(times * tuned_for)
        assert 1.05 * best.fun < width < 1.26 * best.fun


@given(ALPHAS, st.floats(100, 1e7))
def test_looking_often_costs_width(alpha: float, units: float) -> None:
    assert AnyTime(20_000).multiplier(alpha, units, math.inf) > Once().multiplier(alpha, units, math.inf)


@given(st.floats(1e-5, 0.2), st.floats(1.01, 2), st.floats(100, 1e7))
def test_smaller_errors_are_wider(alpha: float, times: float, units: float) -> None:
    for looks in (Once(), AnyTime(20_000), Planned((0.5, 1.0), 0), Planned((0.5, 1.0), 1)):
        assert looks.multiplier(alpha, units, math.inf) > looks.multiplier(alpha * times, units, math.inf)


@pytest.mark.parametrize(("tuned_for", "tuned_at"), [(0, 0.05), (-3, 0.05), (100, 0), (100, 1), (math.nan, 0.05)])
def test_what_cannot_be_tuned_is_refused(tuned_for: float, tuned_at: float) -> None:
    with pytest.raises(ValueError, match="give positive ones"):
        AnyTime(tuned_for, tuned_at)


def paths(seed: int) -> tuple[Floats, Floats]:
    """t statistics of two arms without an effect after each block, and degrees of freedom; both (repeats, looks)."""
    rng = np.random.default_rng(seed)
    means = rng.normal(0, 1 / math.sqrt(BLOCK), (2, REPEATS, LOOKS))
    squares = rng.chisquare(BLOCK - 1, (2, REPEATS, LOOKS)) + BLOCK * means**2
    n = BLOCK * np.arange(1, LOOKS + 1)
    mean = np.cumsum(means, axis=2) * BLOCK / n
    variance = (np.cumsum(squares, axis=2) - n * mean**2) / (n - 1)
    out: Floats = (mean[1] - mean[0]) / np.sqrt(variance.sum(axis=0) / n)
    return out, np.broadcast_to(2.0 * (n - 1), out.shape)


def crossed(looks: Looks, alpha: float, t: Floats, at: list[int] | None = None) -> float:
    """How often the low end of an effect of zero is above zero at any look."""
    chosen = at if at is not None else list(range(1, LOOKS))
    ends = [looks.multiplier(alpha, 2 * BLOCK * (i + 1), 2.0 * (BLOCK * (i + 1) - 1)) for i in chosen]
    return float((t[:, chosen] > np.array(ends)).any(axis=1).mean())


@pytest.mark.parametrize("alpha", [0.025, 0.05])
@pytest.mark.parametrize("tuned_for", [3_000, 12_000, 100_000])
def test_false_alarms_of_sixty_looks(alpha: float, tuned_for: int) -> None:
    t, _ = paths(1)
    for sign in (-1, 1):
        assert crossed(AnyTime(tuned_for), alpha, sign * t) <= at_most(alpha, REPEATS)


def test_one_look_made_sixty_times_is_wrong_far_more_often() -> None:
    t, _ = paths(2)
    assert crossed(Once(), 0.025, t) > 4 * 0.025
    assert crossed(Once(), 0.025, t, [LOOKS - 1]) == pytest.approx(0.025, abs=at_most(0.025, REPEATS) - 0.025)


# ------------------------------------------------------------------ planned looks

QUARTERS = (0.25, 0.5, 0.75, 1.0)


@given(st.floats(1e-4, 0.4), st.lists(st.floats(0.02, 0.99), min_size=0, max_size=8, unique=True))
def test_what_is_spent_adds_up(alpha: float, dates: list[float]) -> None:
    fractions = (*sorted(dates), 1.0)
    levels = [Planned(fractions, i).level(alpha) for i in range(len(fractions))]
    assert sum(levels) == pytest.approx(alpha, rel=1e-9)
    assert min(levels) >= 0


@pytest.mark.parametrize(
    ("fraction", "expected"),
    [(0.25, 7.4e-6), (0.5, 0.00153), (0.75, 0.00965), (1.0, 0.025)],
)
def test_what_is_spent_is_that_of_lan_and_demets(fraction: float, expected: float) -> None:
    assert spent(fraction, 0.025) == pytest.approx(expected, rel=0.01)


def test_boundaries_are_near_those_that_know_the_dependence() -> None:
    # Boundaries of Lan & DeMets for four equal steps at one-sided 0.025, as printed by ldbounds and gsDesign.
    exact = (4.3326, 2.9631, 2.3590, 2.0141)
    ours = [Planned(QUARTERS, i).multiplier(0.025, 0, math.inf) for i in range(4)]
    assert ours[0] == pytest.approx(exact[0], abs=1e-4)
    assert all(e - 1e-4 <= o <= 1.08 * e for e, o in zip(exact, ours, strict=True))


@pytest.mark.parametrize("fractions", [QUARTERS, (0.1, 0.2, 0.4, 0.6, 0.8, 1.0), (0.9, 1.0)])
def test_false_alarms_of_planned_looks(fractions: tuple[float, ...]) -> None:
    t, _ = paths(3)
    alpha, wrong = 0.05, np.zeros(REPEATS, dtype=bool)
    for i, fraction in enumerate(fractions):
        at = round(fraction * LOOKS) - 1
        df = 2.0 * (BLOCK * (at + 1) - 1)
        wrong |= t[:, at] > Planned(fractions, i).multiplier(alpha, 0, df)
    assert at_least(0.5 * alpha, REPEATS) <= wrong.mean() <= at_most(alpha, REPEATS)


def test_planned_looks_hold_whatever_their_dependence() -> None:
    t = np.random.default_rng(4).normal(size=(REPEATS, 4))
    for shared in (0.0, 0.5, 1.0):
        mixed = math.sqrt(shared) * t[:, :1] + math.sqrt(1 - shared) * t
        mixed /= np.sqrt(1 + 2 * math.sqrt(shared * (1 - shared)) * (np.arange(4) == 0))
        ends = [Planned(QUARTERS, i).multiplier(0.05, 0, math.inf) for i in range(4)]
        assert (mixed > np.array(ends)).any(axis=1).mean() <= at_most(0.05, REPEATS)


def test_the_last_of_one_planned_look_is_one_look() -> None:
    assert Planned((1.0,), 0).multiplier(0.025, 0, 30) == pytest.approx(Once().multiplier(0.025, 0, 30), rel=1e-9)


def test_a_very_early_look_can_hardly_find_anything() -> None:
    assert 30 < Planned((0.001, 1.0), 0).multiplier(0.05, 0, math.inf) < math.inf


@pytest.mark.parametrize("fractions", [(), (0.5, 0.5), (0.6, 0.4), (0.0, 1.0), (-0.1, 1.0), (0.5, 1.2)])
def test_looks_that_do_not_rise_are_refused(fractions: tuple[float, ...]) -> None:
    with pytest.raises(ValueError, match="give rising ones"):
        Planned(fractions, 0)


@pytest.mark.parametrize("look", [-1, 2])
def test_a_look_that_was_not_planned_is_refused(look: int) -> None:
    with pytest.raises(ValueError, match="is none of 2"):
        Planned((0.5, 1.0), look)
