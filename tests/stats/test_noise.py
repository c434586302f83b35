"""The spread between replicates: error rates in simulation, and independent implementations."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy.stats import nct, ttest_ind
from scipy.stats import t as student

from afterlaunch.stats.noise import Ratio, components, metric_change, seeds_for, spread

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


def test_components_are_those_of_restricted_likelihood() -> None:
    """In a balanced design whose estimates are positive both are the same."""
    import statsmodels.api as sm  # type: ignore[import-untyped]

    rng = np.random.default_rng(6)
    sample = np.repeat(np.arange(12), 4)
    values = rng.normal(0, 2, 12)[sample] + rng.normal(size=48)
    found = components(values, {"sample": sample.tolist(), "seed": list(range(48))})
    fitted = sm.MixedLM(values, np.ones((48, 1)), groups=sample).fit(reml=True)
    assert [c.name for c in found] == ["sample", "seed"]
    assert found[0].variance == pytest.approx(float(fitted.cov_re[0, 0]), rel=1e-3)
    assert found[1].variance == pytest.approx(float(fitted.scale), rel=1e-3)


DESIGNS = [
    ([np.repeat(np.arange(6), 4)], (1.0, 1.0)),
    ([np.repeat(np.arange(6), 4)], (0.0, 1.0)),
    ([np.repeat(np.arange(4), 6), np.repeat(np.arange(12), 2)], (1.0, 0.3, 1.0)),
]


@pytest.mark.parametrize(("levels", "sds"), DESIGNS)
def test_intervals_of_components_err_no_more_than_promised(levels: list[np.ndarray], sds: tuple[float, ...]) -> None:
    rng, draws = np.random.default_rng(7), 1000
    missed = np.zeros((len(sds), 2))
    named = {str(i): level.tolist() for i, level in enumerate(levels)}
    for _ in range(draws):
        parts = [sd * rng.normal(size=level.max() + 1)[level] for sd, level in zip(sds, levels, strict=False)]
        found = components(sum(parts) + sds[-1] * rng.normal(size=len(levels[0])), named, 0.05, 0.05)
        missed += [[c.low > sd**2, c.high < sd**2] for c, sd in zip(found, sds, strict=True)]
    assert (missed / draws).max() <= 0.05 + 3 * (0.05 * 0.95 / draws) ** 0.5


def test_sources_that_cannot_be_told_apart_are_left_out() -> None:
    found = components([1.0, 2.0, 3.0, 5.0], {"split": ["a"] * 4, "sample": [1, 1, 2, 2], "same": [1, 1, 2, 2]})
    assert [c.name for c in found] == ["sample", "rest"]
    assert components([1.0], {"seed": [1]}) == ()


# ------------------------------------------------------------------ change of a metric


def changes(first: int, second: int, alike: float, own: float, draws: int, together: int = 1) -> np.ndarray:
    """Value and ends of simulated changes that are none; `together` runs share what is resampled."""
    rng, rows = np.random.default_rng(8), 640
    bucket, runs = np.arange(rows) % 64, (first + second) * together
    groups = np.repeat(np.arange(first + second), together)
    out = []
    for _ in range(draws):
        noise = rng.normal(size=(rows, 8)) / math.sqrt(8) @ rng.normal(0, alike, size=(8, first + second))
        level = rng.normal(0, alike / 5, size=(1, first + second))
        latent = 1 + rng.normal(size=(rows, 1)) + (noise + level)[:, groups] + own * rng.normal(size=(rows, runs))
        sums = np.stack([np.bincount(bucket, x > 0, minlength=64) for x in latent.T])
        found = metric_change(sums, np.bincount(bucket), first * together, groups)
        assert found is not None
        out.append((found.value, *found.interval(0.05, 0.05)))
    return np.array(out)


@pytest.mark.parametrize(("first", "second"), [(3, 3), (5, 5), (12, 12), (12, 2), (12, 1), (1, 5)])
@pytest.mark.parametrize(("alike", "own"), [(0.4, 0.3), (0.0, 0.3)])
def test_a_change_that_is_none_is_missed_no_more_than_promised(
    first: int, second: int, alike: float, own: float
) -> None:
    draws = 600
    found = changes(first, second, alike, own, draws)
    tolerance = 3 * (0.05 * 0.95 / draws) ** 0.5
    assert (found[:, 1] > 0).mean() <= 0.05 + tolerance
    assert (found[:, 2] < 0).mean() <= 0.05 + tolerance


def test_runs_that_share_a_sample_are_one_draw() -> None:
    draws = 400
    found = changes(4, 4, 0.4, 0.3, draws, together=3)
    tolerance = 3 * (0.05 * 0.95 / draws) ** 0.5
    assert (found[:, 1] > 0).mean() <= 0.05 + tolerance
    assert (found[:, 2] < 0).mean() <= 0.05 + tolerance


def test_the_interval_of_a_change_is_no_wider_than_it_has_to_be() -> None:
    """Its half width beside the 1.645 standard deviations that a known variance would take."""
    found = changes(12, 12, 0.4, 0.3, 300)
    assert (found[:, 2] - found[:, 0]).mean() < 1.25 * 1.645 * found[:, 0].std()


def test_a_change_of_runs_with_one_value_each_is_that_of_welch() -> None:
    """Where every bucket of a run has the same mean there is nothing but runs."""
    rng = np.random.default_rng(9)
    first, second = rng.normal(0, 1, 6), rng.normal(0.5, 3, 9)
    sums = np.repeat(np.concatenate([first, second])[:, None], 64, axis=1)
    found = metric_change(sums, np.ones(64), 6)
    assert found is not None
    expected = ttest_ind(second, first, equal_var=False)
    assert found.value / found.se == pytest.approx(expected.statistic)
    assert found.runs_df == pytest.approx(expected.df)


def test_a_change_needs_three_draws_and_two_buckets() -> None:
    assert metric_change(np.ones((4, 64)), np.ones(64), 2) is None
    assert metric_change(np.ones((6, 1)), np.ones(1), 3) is None
    assert metric_change(np.ones((6, 64)), np.ones(64), 3, np.array([0, 0, 1, 2, 2, 3])) is None
