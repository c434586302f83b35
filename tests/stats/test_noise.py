"""The spread between replicates: error rates in simulation, and independent implementations."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy.stats import nct
from scipy.stats import t as student

from afterlaunch.stats.noise import Ratio, components, seeds_for, spread

DRAWS = 2000
TOLERANCE = 3 * (0.05 * 0.95 / DRAWS) ** 0.5


@pytest.mark.parametrize("count", [5, 10, 12, 30])
def test_the_spread_of_normal_metrics_errs_no_more_than_promised(count: int) -> None:
    drawn = np.random.default_rng(0).normal(size=(DRAWS, count))
    ends = np.array([spread(x).interval(0.05, 0.05) for x in drawn])
    assert (ends[:, 0] > 1).mean() <= 0.05 + TOLERANCE
    assert (ends[:, 1] < 1).mean() <= 0.05 + TOLERANCE


@pytest.mark.parametrize("count", [5, 12, 30])
def test_the_ratio_of_spreads_errs_no_more_than_promised(count: int) -> None:
    rng = np.random.default_rng(1)
    first, second = rng.normal(size=(DRAWS, count)), 2 * rng.normal(size=(DRAWS, count))
    pairs = zip(first, second, strict=True)
    ends = np.array([Ratio(spread(a), spread(b)).interval(0.05, 0.05) for a, b in pairs])
    assert (ends[:, 0] > 2).mean() <= 0.05 + TOLERANCE
    assert (ends[:, 1] < 2).mean() <= 0.05 + TOLERANCE
    assert (ends[:, 0] > 1).mean() > (0.5 if count > 10 else 0.05)


def test_few_replicates_say_little() -> None:
    assert spread([1.0, 2.0, 3.0]).interval(0.05, 0.05) == (0.0, math.inf)
    low, high = spread([1.0, 2.0, 3.0, 4.0, 5.0]).interval(0.025, 0.025)
    assert high / spread([1.0, 2.0, 3.0, 4.0, 5.0]).sd > 2.8
    assert low < spread([1.0, 2.0, 3.0, 4.0, 5.0]).sd / 1.5
    assert spread([0.5] * 10).interval(0.05, 0.05) == (0.0, 0.0)
    with pytest.raises(ValueError, match="takes two or more"):
        spread([1.0])


@pytest.mark.parametrize(("change", "sd"), [(0.01, 0.01), (0.01, 0.02), (0.005, 0.02), (0.02, 0.01)])
def test_replicates_needed_have_the_power_and_one_less_has_not(change: float, sd: float) -> None:
    count = seeds_for(change, sd)
    assert count is not None

    def power(n: int) -> float:
        return float(nct.sf(student.ppf(0.95, 2 * n - 2), 2 * n - 2, change / sd * math.sqrt(n / 2)))

    assert power(count) >= 0.8
    assert count == 2 or power(count - 1) < 0.8


def test_replicates_needed_by_simulation() -> None:
    count = seeds_for(0.01, 0.012)
    assert count is not None
    rng = np.random.default_rng(2)
    a, b = rng.normal(0, 0.012, (4000, count)), rng.normal(0.01, 0.012, (4000, count))
    se = np.sqrt((a.var(axis=1, ddof=1) + b.var(axis=1, ddof=1)) / count)
    seen = (b.mean(axis=1) - a.mean(axis=1)) / se > student.ppf(0.95, 2 * count - 2)
    assert 0.78 < seen.mean() < 0.86


def test_a_change_that_chance_hides_for_ever_is_none() -> None:
    assert seeds_for(1e-9, 1.0) is None
    assert seeds_for(0.1, 0.0) == 2
    with pytest.raises(ValueError, match="give a positive one"):
        seeds_for(0.0, 1.0)


@pytest.mark.parametrize("balanced", [True, False])
def test_components_are_found(balanced: bool) -> None:
    """Two sources and the rest with variances 4, 1 and 0.25; the estimates are unbiased, so their mean comes near."""
    rng = np.random.default_rng(3)
    found = []
    for _ in range(300):
        values, splits, boots = [], [], []
        for split in range(10):
            top = rng.normal(0, 2)
            for boot in range(4 if balanced else int(rng.integers(2, 6))):
                middle = rng.normal(0, 1)
                for _ in range(3 if balanced else int(rng.integers(1, 5))):
                    values.append(top + middle + rng.normal(0, 0.5))
                    splits.append(split)
                    boots.append(boot)
        parts = components(values, {"split": splits, "bootstrap": boots})
        assert [p.name for p in parts] == ["split", "bootstrap", "rest"]
        assert sum(p.share for p in parts) == pytest.approx(1)
        found.append([p.variance for p in parts])
    mean, se = np.mean(found, axis=0), np.std(found, axis=0) / math.sqrt(300)
    assert (np.abs(mean - [4, 1, 0.25]) < 4 * se).all()


def test_components_of_a_balanced_design_are_those_of_the_textbook() -> None:
    values = np.array([[1.0, 2.0, 3.0], [4.0, 6.0, 8.0], [5.0, 5.0, 8.0]])
    between, within = 3 * values.mean(axis=1).var(ddof=1), values.var(axis=1, ddof=1).mean()
    split, rest = components(values.ravel(), {"split": np.repeat([0, 1, 2], 3).tolist()})
    assert split.variance == pytest.approx((between - within) / 3)
    assert rest.variance == pytest.approx(within)
