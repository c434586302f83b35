"""The split of a gap: the parts add up, each finds its cause, and both ends keep their errors."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from afterlaunch.stats.intervals import symmetric
from afterlaunch.stats.shift import domain_chance, overlap, split_gap
from tests.simulation import at_least, at_most

Chance = hnp.arrays(np.float64, 30, elements=st.floats(0, 1))
Loss = hnp.arrays(np.float64, 30, elements=st.floats(0.1, 10))
GROUP = np.arange(30) % 10


@given(Loss, Loss, Chance, Chance, st.booleans())
def test_the_parts_add_up(a: np.ndarray, b: np.ndarray, p: np.ndarray, q: np.ndarray, joint: bool) -> None:
    parts = split_gap((a, b), (p, q), (GROUP, GROUP), joint=joint)
    assert parts.covariate + parts.conditional == pytest.approx(parts.gap, abs=1e-9)
    assert parts.gap == pytest.approx(b.mean() / a.mean() - 1)
    assert (parts.se >= 0).all()


@given(Loss, Chance)
def test_a_table_against_itself_has_no_gap(a: np.ndarray, p: np.ndarray) -> None:
    half = np.full(30, 0.5)
    parts = split_gap((a, a), (half, half), (GROUP, GROUP), joint=True)
    assert abs(parts.gap) < 1e-9
    assert abs(parts.conditional) < 1e-9
    assert parts.se[0] < 1e-6


@given(Chance, Chance)
def test_overlap_is_a_share(p: np.ndarray, q: np.ndarray) -> None:
    o = overlap((p, q))
    assert 0 <= o.share <= 1
    assert 0 < o.effective <= 1 + 1e-9
    assert o.rows <= 30 + 1e-9


def test_overlap_of_two_normals() -> None:
    """Twice the integral of pq / (p + q) of N(0, 1) and N(1, 1), by quadrature."""
    x = np.linspace(-8, 9, 20001)
    p, q = np.exp(-(x**2) / 2), np.exp(-((x - 1) ** 2) / 2)
    exact = 2 * float((p * q / (p + q)).sum() / p.sum())
    rng = np.random.default_rng(0)
    a, b = rng.normal(size=40_000), rng.normal(1, 1, 40_000)
    chance = [1 / (1 + np.exp(0.5 - v)) for v in (a, b)]
    assert overlap((chance[0], chance[1])).share == pytest.approx(exact, abs=0.01)


@pytest.mark.parametrize("flip", [0.0, 0.3])
def test_each_end_keeps_its_error_and_finds_a_change(flip: float) -> None:
    """Rows move by one sd, and the loss of every row rises by `flip`; the chance of the domain is known."""
    rng, repeats = np.random.default_rng(5), 400
    truth = conditional_truth(flip)
    low = high = found = 0
    for _ in range(repeats):
        x, z = rng.normal(size=1500), rng.normal(1, 1, 1500)
        loss = (1 + np.abs(x) + rng.exponential(1, 1500), 1 + flip + np.abs(z) + rng.exponential(1, 1500))
        chance = (1 / (1 + np.exp(0.5 - x)), 1 / (1 + np.exp(0.5 - z)))
        group = np.arange(1500) % 64
        parts = split_gap(loss, chance, (group, group), joint=False)
        i = symmetric(parts.conditional, float(parts.se[2]), parts.df, 0.05, 0.05)
        low, high, found = low + (i.low > truth), high + (i.high < truth), found + (i.low > 0)
    assert low / repeats <= at_most(0.07, repeats)
    assert high / repeats <= at_most(0.07, repeats)
    if flip:
        assert found / repeats >= at_least(0.8, repeats)


def conditional_truth(flip: float) -> float:
    offline = 1 + (2 / np.pi) ** 0.5 + 1
    return flip / offline


def test_the_domain_classifier_is_cross_fitted_and_seeded() -> None:
    rng = np.random.default_rng(0)
    same = rng.normal(size=(4000, 3))
    live = np.arange(4000) >= 2500
    group = rng.integers(0, 64, 4000)
    chance = domain_chance(same, live, group, [], 7)
    # Without a difference, cross-fitted chances do not tell the tables apart.
    assert abs(chance[live].mean() - chance[~live].mean()) < 0.02
    assert chance.mean() == pytest.approx(0.5, abs=0.03)
    np.testing.assert_array_equal(chance, domain_chance(same, live, group, [], 7))
    moved = same + 1.5 * live[:, None] * np.array([1, 0, 0])
    told = domain_chance(moved, live, group, [], 7)
    assert told[live].mean() - told[~live].mean() > 0.3
