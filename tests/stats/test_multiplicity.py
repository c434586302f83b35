"""Adjusted p-values against statsmodels, the example of Benjamini and Hochberg, and simulated families."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import ArrayLike, NDArray
from statsmodels.stats.multitest import multipletests

from afterlaunch.stats.multiplicity import benjamini_hochberg, holm
from tests.simulation import at_most

Adjust = Callable[[ArrayLike], NDArray[np.float64]]
BOTH = pytest.mark.parametrize("adjust", [holm, benjamini_hochberg])
p_values = st.lists(st.floats(0, 1), min_size=1, max_size=40)

MYOCARDIAL = [
    *(0.0001, 0.0004, 0.0019, 0.0095, 0.0201, 0.0278, 0.0298, 0.0344),
    *(0.0459, 0.3240, 0.4262, 0.5719, 0.6528, 0.7590, 1.0),
]
"""The 15 p-values of Benjamini & Hochberg (1995), section 3.2."""


@pytest.mark.parametrize(("adjust", "name"), [(holm, "holm"), (benjamini_hochberg, "fdr_bh")])
@given(p=p_values)
def test_as_statsmodels_has_them(adjust: Adjust, name: str, p: list[float]) -> None:
    assert adjust(p) == pytest.approx(multipletests(p, method=name)[1], abs=1e-12)


def test_the_example_of_benjamini_and_hochberg() -> None:
    assert int((benjamini_hochberg(MYOCARDIAL) <= 0.05).sum()) == 4
    assert int((holm(MYOCARDIAL) <= 0.05).sum()) == 3


@BOTH
@given(p=p_values)
def test_bounds_and_order(adjust: Adjust, p: list[float]) -> None:
    out, raw = adjust(p), np.array(p)
    assert ((out >= raw - 1e-12) & (out <= 1)).all()
    order = np.argsort(raw, kind="stable")
    assert (np.diff(out[order]) >= -1e-12).all()
    assert (holm(p) >= benjamini_hochberg(p) - 1e-12).all()


@BOTH
@given(p=p_values)
def test_each_p_value_keeps_its_own_whatever_the_order(adjust: Adjust, p: list[float]) -> None:
    order = np.random.default_rng(len(p)).permutation(len(p))
    assert adjust(np.array(p)[order]) == pytest.approx(adjust(p)[order], abs=1e-12)


@BOTH
def test_edges(adjust: Adjust) -> None:
    assert adjust([]).size == 0
    assert adjust([0.3]).tolist() == [0.3]
    assert adjust([0.0, 1.0]).tolist() == [0.0, 1.0]


@BOTH
@pytest.mark.parametrize("bad", [[-0.1], [1.1], [float("nan")], [[0.1, 0.2]], 0.1])
def test_what_is_no_p_value_is_refused(adjust: Adjust, bad: ArrayLike) -> None:
    with pytest.raises(ValueError, match="between 0 and 1"):
        adjust(bad)


def test_error_rates_and_power_of_simulated_families() -> None:
    """Of 20 hypotheses 15 hold: any false rejection in <= 5 % of families (Holm), <= 5 % of rejections false (BH)."""
    from scipy.special import ndtr

    rng, repeats, alpha = np.random.default_rng(0), 3000, 0.05
    z = rng.normal(size=(repeats, 20)) + np.repeat([0.0, 3.5], [15, 5])
    p = ndtr(-z)
    false = np.arange(20) < 15
    any_false = share_false = found = found_bh = 0.0
    for row in p:
        rejected = holm(row) <= alpha
        any_false += bool((rejected & false).any())
        found += int((rejected & ~false).sum())
        rejected = benjamini_hochberg(row) <= alpha
        share_false += (rejected & false).sum() / max(rejected.sum(), 1)
        found_bh += int((rejected & ~false).sum())
    assert any_false / repeats <= at_most(alpha, repeats)
    assert share_false / repeats <= at_most(alpha, repeats)
    assert found / repeats / 5 > 0.7
    assert found_bh > found
