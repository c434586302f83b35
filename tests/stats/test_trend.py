"""Trends: coverage and false alarms in simulation, weeks known exactly, weeks that are missing."""

from __future__ import annotations

import math

import numpy as np
import pytest
from numpy.typing import NDArray

from afterlaunch.stats.concentration import series
from afterlaunch.stats.trend import Trend, trend
from tests.simulation import at_most

Floats = NDArray[np.float64]


@pytest.mark.parametrize("slope", [0.0, 0.3])
@pytest.mark.parametrize("between", [0.0, 1.0, 10.0])
@pytest.mark.parametrize("weeks", [4, 12, 26])
def test_the_interval_of_a_trend_covers(weeks: int, between: float, slope: float) -> None:
    """Without a slope these are its false alarms."""
    rng = np.random.default_rng(11)
    repeats, when = 600, np.arange(weeks)
    wrong = np.zeros(2)
    alarms = 0
    for _ in range(repeats):
        se = rng.uniform(0.5, 2, weeks)
        found = trend(slope * when + rng.normal(0, np.hypot(se, between)), se, when)
        low, high = found.interval(0.05, 0.05)
        wrong += [low > slope, high < slope]
        alarms += found.p_value(slope) <= 0.05
    # Knapp and Hartung's interval is approximate where precision is unlike.
    assert (wrong / repeats <= at_most(0.05 + 0.01, repeats)).all()
    assert alarms == wrong[0]


def test_false_alarms_of_weeks_that_vary() -> None:
    """Tastes of every week are its own, beyond what the jackknife sees within it."""
    rng = np.random.default_rng(12)
    p, repeats = rng.dirichlet(np.full(60, 2)), 100
    alarms = np.zeros(2)
    for _ in range(repeats):
        own = rng.dirichlet(p * 200, size=8)
        found = series(np.stack([rng.multinomial(40, q, size=16) for q in own])).trend("gini")
        alarms += [found.p_value(0, "up") <= 0.05, found.p_value(0, "down") <= 0.05]
    assert (alarms / repeats <= at_most(0.05, repeats)).all()


def test_a_rise_is_found() -> None:
    rng = np.random.default_rng(13)
    base = np.sort(rng.gamma(2, size=80))
    shares = np.array([base**power / (base**power).sum() for power in np.linspace(1, 1.6, 10)])
    found = series(np.stack([rng.multinomial(40, q, size=64) for q in shares]))
    assert found.trend("gini").p_value(0.005) < 0.001
    assert found.trend("effective").p_value(0.5, "down") < 0.001
    assert found.trend("gini", np.arange(10) * 2).slope == pytest.approx(found.trend("gini").slope / 2)


def test_equal_precision_is_least_squares() -> None:
    rng = np.random.default_rng(14)
    y, when = rng.normal(size=9), np.arange(9.0)
    design = np.stack([np.ones(9), when], axis=1)
    fit, left, *_ = np.linalg.lstsq(design, y)
    se = float(np.sqrt(left[0] / 7 * np.linalg.inv(design.T @ design)[1, 1]))
    for given_se in (0.0, 0.1):
        found = trend(y, np.full(9, given_se), when)
        assert (found.slope, found.se, found.df) == pytest.approx((fit[1], se, 7), rel=1e-6)
    assert trend(y, np.full(9, 50.0), when).between == 0


def test_exact_values_on_a_line() -> None:
    found = trend(np.array([1.0, 2.0, 3.0, 4.0]), np.zeros(4), np.arange(4))
    assert found.slope == pytest.approx(1)
    assert found.p_value(0.5) == 0
    assert found.p_value(0.0, "down") == 1
    mixed = trend(np.array([1.0, 2.0, 3.5, 4.0]), np.array([0, 0, 1, 1.0]), np.arange(4))
    assert mixed.slope == pytest.approx(1, abs=0.01)


def test_weeks_without_a_value_are_left_out() -> None:
    y, se = np.array([1.0, math.nan, 2.5, 2.0, 9.0]), np.array([0.1, 0.1, 0.1, 0.1, math.nan])
    assert trend(y, se, np.arange(5)) == trend(y[[0, 2, 3]], se[[0, 2, 3]], np.array([0, 2, 3]))


@pytest.mark.parametrize("weeks", [[], [1], [1, 2], [3, 3, 3]])
def test_too_few_weeks_for_a_trend(weeks: list[int]) -> None:
    found = trend(np.ones(len(weeks)), np.ones(len(weeks)), np.array(weeks))
    assert isinstance(found, Trend)
    assert found.interval(0.05, 0.05) == (-math.inf, math.inf)
    assert found.p_value() == 1.0


def test_what_is_no_trend() -> None:
    with pytest.raises(ValueError, match="Every week"):
        trend(np.ones(3), np.ones(2), np.arange(3))
    with pytest.raises(ValueError, match="at least 0"):
        trend(np.ones(3), -np.ones(3), np.arange(3))
