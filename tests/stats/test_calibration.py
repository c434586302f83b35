"""The debiased calibration error: its bias, both ends of its interval, and its power."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy import special

from afterlaunch.stats.calibration import _normal_score, calibration_error, equal_mass
from tests.simulation import BUCKETS, at_least, at_most

CELLS = 200


def counts(rng: np.random.Generator, n: int, shift: float) -> tuple[np.ndarray, np.ndarray]:
    """Scores uniform on .1 to .9; the true chance is the score less `shift`."""
    s = 0.1 + 0.8 * rng.random(n)
    y = (rng.random(n) < s - shift).astype(int)
    cell, bucket = (s * CELLS).astype(int), np.arange(n) % BUCKETS
    h, sums = np.zeros((BUCKETS, 2, CELLS)), np.zeros((BUCKETS, CELLS))
    np.add.at(h, (bucket, y, cell), 1)
    np.add.at(sums, (bucket, cell), s)
    return h, sums


@given(hnp.arrays(np.float64, 40, elements=st.integers(0, 9).map(float)), st.integers(1, 15))
def test_bins_of_equal_mass_are_few_ordered_and_full(weight: np.ndarray, bins: int) -> None:
    group = equal_mass(weight, bins)
    assert (np.diff(group) >= 0).all()
    if weight.sum() > 0:
        size = int(group[weight > 0].max()) + 1
        mass = np.bincount(group, weight, minlength=size)
        assert size <= bins
        assert (mass > 0).all()
        assert mass.max() <= weight.sum() / bins + weight.max() + 1e-9


def test_bias_is_taken_off() -> None:
    """Kumar et al. (2019), figure 2: the plain estimate of a calibrated model is far from zero, this one is not."""
    rng = np.random.default_rng(0)
    plain, ours = [], []
    for _ in range(300):
        c = calibration_error(*counts(rng, 1000, 0.0))
        ours.append(c._model.observed - c._model.null_mean)
        plain.append(c._model.observed)
    assert np.mean(plain) > 0.0025
    assert abs(np.mean(ours)) < 4 * np.std(ours) / 300**0.5 + 1e-4


@pytest.mark.parametrize("shift", [0.0, 0.02, 0.06])
def test_each_end_keeps_its_error_and_power_stands_beside(shift: float) -> None:
    rng, repeats = np.random.default_rng(3), 400
    low = high = far = 0
    for _ in range(repeats):
        i = calibration_error(*counts(rng, 2000, shift)).interval(0.05, 0.05)
        low, high, far = low + (i.low > shift), high + (i.high < shift), far + (i.low > 0)
    # Two points of allowance for the approximation, and the binomial's own.
    assert low / repeats <= at_most(0.07, repeats)
    assert high / repeats <= at_most(0.07, repeats)
    if shift == 0.06:
        assert far / repeats >= at_least(0.99, repeats)


def test_merging_groups_of_rows_keeps_the_estimate() -> None:
    h, s = counts(np.random.default_rng(1), 3000, 0.05)
    whole, other = calibration_error(h, s), calibration_error(h[::-1], s[::-1])
    assert other.value == pytest.approx(whole.value, rel=1e-9)
    assert other.outcome == pytest.approx(whole.outcome)


def test_what_cannot_be_told_is_refused() -> None:
    with pytest.raises(ValueError, match="two groups"):
        calibration_error(np.zeros((64, 2, 5)), np.zeros((64, 5)))


@pytest.mark.parametrize("centre", [300.0, 900.0])
def test_the_approximation_far_out(centre: float, monkeypatch: pytest.MonkeyPatch) -> None:
    """Sankaran's normal score against the exact one, where both can be had."""
    for x in (0.85 * centre, centre, 1.2 * centre):
        exact = special.ndtri(special.chndtr(x, 12.0, centre))
        shifted = _normal_score(x * 1001 / centre, 12.0 * 1001 / centre, 1001.0)
        assert np.isfinite(shifted)
        assert _normal_score(x, 12.0, centre) == pytest.approx(exact)
    for x in (900.0, 1012.0, 1150.0):
        assert _normal_score(x, 12.0, 1000.0) == pytest.approx(special.ndtri(special.chndtr(x, 12.0, 1000.0)), abs=1e-3)


def test_more_rows_are_expected_to_say_more() -> None:
    c = calibration_error(*counts(np.random.default_rng(2), 2000, 0.0))
    highs = [c.expected(times, 0.0, 0.8).interval(0.05, 0.05).high for times in (1, 4, 16)]
    assert highs[0] > highs[1] > highs[2] > 0
