"""Distances between distributions: oracles, textbook quantiles, laws, error rates beside power."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy import stats
from scipy.spatial.distance import jensenshannon

from afterlaunch.stats import distances
from afterlaunch.stats.distances import FEW, Distance, Pair, merge_rare, pair
from tests.simulation import at_least, at_most, clustered, independent, tilted

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

SD = math.sqrt((10**2 - 1) / 12)
"""Of the values 0 to 9, each as often."""


def discrete(both: Pair) -> tuple[Pair, Floats]:
    """Bin j holds the value j, with an empty bin for each gap, as for a column of few values; and the edges."""
    size = both.p.size
    spread = np.zeros((2 * size, size))
    spread[2 * np.arange(size), np.arange(size)] = 1.0
    inflation = None if both.inflation is None else spread @ both.inflation @ spread.T
    values = np.arange(float(size))
    edges = np.ravel(np.column_stack([values, np.nextafter(values + 1, -np.inf)]))[:-1]
    return replace(both, p=spread @ both.p, q=spread @ both.q, inflation=inflation), edges


def wasserstein(both: Pair) -> Distance:
    """Between columns of the values 0, 1, 2, ..."""
    return distances.wasserstein(*discrete(both), SD)


def _true_psi(p: Floats, q: Floats) -> float:
    return float(stats.entropy(p, q) + stats.entropy(q, p))


def _true_wasserstein(p: Floats, q: Floats) -> float:
    at = np.arange(p.size)
    return float(stats.wasserstein_distance(at, at, p, q)) / SD


@dataclass(frozen=True)
class Kind:
    """A distance, what it is between two known distributions, and its default margin."""

    name: str
    of: Callable[[Pair], Distance]
    true: Callable[[Floats, Floats], float]
    ordered: bool
    margin: float = 0.1
    effort: float = 1.0  # share of the repeats that a simulation of it is given; a build takes milliseconds


KINDS = (
    Kind("psi", distances.psi, _true_psi, False),
    Kind("js", distances.jensen_shannon, lambda p, q: float(jensenshannon(p, q, base=2)), False),
    Kind("ks", distances.kolmogorov_smirnov, lambda p, q: float(np.abs(np.cumsum(q - p)).max()), True, effort=0.4),
    Kind("linf", distances.l_infinity, lambda p, q: float(np.abs(q - p).max()), False, effort=0.6),
    Kind("wasserstein", wasserstein, _true_wasserstein, True),
)
EACH = pytest.mark.parametrize("kind", KINDS, ids=lambda k: k.name)

rows_of_bins = st.lists(st.tuples(st.integers(0, 500), st.integers(0, 500)), min_size=2, max_size=12).filter(
    lambda rows: sum(a for a, _ in rows) >= 3 and sum(b for _, b in rows) >= 3
)


def tables(rows: list[tuple[int, int]]) -> tuple[Ints, Ints]:
    counts = np.array(rows, dtype=np.int64).T
    return counts[:1], counts[1:]


# ------------------------------------------------------------------ oracles


@given(rows_of_bins)
def test_the_plain_statistics_are_those_of_scipy(rows: list[tuple[int, int]]) -> None:
    a, b = tables(rows)
    both = pair(a, b)
    at = np.arange(len(rows), dtype=float)
    half_a, half_b = a[0] + 0.5, b[0] + 0.5  # half a row is added to every bin
    half_a, half_b = half_a / half_a.sum(), half_b / half_b.sum()
    observed = {k.name: k.of(both).model.observed for k in KINDS}
    x, y = np.repeat(at, a[0]), np.repeat(at, b[0])
    assert observed["psi"] == pytest.approx(_true_psi(half_a, half_b), rel=1e-9, abs=1e-12)
    assert observed["js"] == pytest.approx(jensenshannon(half_a, half_b, base=2), rel=1e-6, abs=1e-7)
    assert observed["ks"] == pytest.approx(stats.ks_2samp(x, y, method="asymp").statistic, abs=1e-12)
    assert observed["linf"] == pytest.approx(np.abs(b[0] / b.sum() - a[0] / a.sum()).max(), abs=1e-12)
    assert observed["wasserstein"] == pytest.approx(stats.wasserstein_distance(x, y) / SD, abs=1e-9)


def test_values_worked_out_by_hand() -> None:
    """(.5, .5) against (.4, .6), a million rows each: -.1 ln .8 + .1 ln 1.2 and the rest."""
    both = pair(np.array([[500_000, 500_000]]), np.array([[400_000, 600_000]]))
    m = (0.45, 0.55)
    bits = (0.5 * math.log2(0.5 / m[0]) + 0.5 * math.log2(0.5 / m[1])) / 2
    bits += (0.4 * math.log2(0.4 / m[0]) + 0.6 * math.log2(0.6 / m[1])) / 2
    assert distances.psi(both).value == pytest.approx(0.1 * math.log(1.5), rel=1e-3)
    assert distances.jensen_shannon(both).value == pytest.approx(math.sqrt(bits), rel=1e-3)
    for kind in (distances.kolmogorov_smirnov, distances.l_infinity):
        assert kind(both).value == pytest.approx(0.1, rel=1e-3)


@pytest.mark.parametrize("bins", [5, 10, 20])
def test_the_null_quantile_of_psi_is_that_of_yurdakul_and_naranjo(bins: int) -> None:
    """(1/m + 1/n) times a chi-square with bins - 1 degrees of freedom (Yurdakul & Naranjo 2020, eq. 11)."""
    both = pair(np.full((1, bins), 10_000 // bins), np.full((1, bins), 4_000 // bins))
    expected = stats.chi2.ppf(0.95, bins - 1) * (1 / 10_000 + 1 / 4_000)
    assert distances.psi(both).model.null_quantile(0.95) == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize(("probability", "value"), [(0.9, 0.499), (0.95, 0.580), (0.975, 0.657)])
def test_the_null_quantile_of_wasserstein_is_that_of_the_absolute_brownian_bridge(
    probability: float, value: float
) -> None:
    """Quantiles of its integral as tabulated by Johnson & Killeen (1983), to 4 %."""
    size = 400
    both = pair(np.full((1, size), 1000), np.full((1, size), 1000))
    d = distances.wasserstein(both, np.arange(1.0, size), size)
    root = math.sqrt(both.m * both.n / (both.m + both.n))
    assert root * d.model.null_quantile(probability) == pytest.approx(value, rel=0.04)
    far = d.model.seeing(0.964 / root)  # .999 by simulation; the matched moments alone would give .0003
    assert far.upper(0.0) == pytest.approx(0.001, rel=0.25)


@pytest.mark.parametrize(("probability", "value"), [(0.9, 1.224), (0.95, 1.358), (0.99, 1.628)])
def test_the_null_quantile_of_kolmogorov_smirnov(probability: float, value: float) -> None:
    """Of Smirnov's table (1948), less what 27 edges cannot see: below it, by at most 8 %."""
    both = pair(np.full((1, 28), 10_000), np.full((1, 28), 10_000))
    root = math.sqrt(both.m * both.n / (both.m + both.n))
    ratio = root * distances.kolmogorov_smirnov(both).model.null_quantile(probability) / value
    assert 0.92 <= ratio <= 1


def test_wasserstein_between_edges_is_that_of_the_rows_to_the_width_of_a_bin() -> None:
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=200_000), rng.normal(0.5, 1, size=200_000)
    edges = np.linspace(-4, 5, 91)
    counts = [np.histogram(v, np.concatenate([[-np.inf], edges, [np.inf]]))[0][None] for v in (x, y)]
    d = distances.wasserstein(pair(counts[0], counts[1]), edges, 1.0)
    assert d.value == pytest.approx(stats.wasserstein_distance(x, y), rel=0.01)


# ------------------------------------------------------------------ laws


@EACH
@given(rows_of_bins, st.floats(1e-4, 0.4), st.floats(1e-4, 0.4))
def test_bounds_and_nested_intervals(kind: Kind, rows: list[tuple[int, int]], one: float, two: float) -> None:
    d = kind.of(pair(*tables(rows)))
    small, large = sorted((one, two))
    wide, narrow = d.interval(small, small), d.interval(large, large)
    assert 0 <= wide[0] <= narrow[0] + 1e-9
    assert narrow[0] <= d.value <= narrow[1]
    assert narrow[1] <= wide[1] + 1e-9
    assert wide[1] <= max(d.most, d.value) + 1e-9
    assert 0 <= d.p_value(kind.margin) <= 1


@EACH
@given(rows_of_bins)
def test_the_order_of_the_tables_does_not_matter(kind: Kind, rows: list[tuple[int, int]]) -> None:
    a, b = tables(rows)
    one, two = kind.of(pair(a, b)), kind.of(pair(b, a))
    assert two.value == pytest.approx(one.value, abs=1e-7)
    assert two.interval(0.05, 0.05) == pytest.approx(one.interval(0.05, 0.05), abs=1e-5)


@pytest.mark.parametrize("kind", [k for k in KINDS if not k.ordered], ids=lambda k: k.name)
@given(rows_of_bins)
def test_the_order_of_categories_does_not_matter(kind: Kind, rows: list[tuple[int, int]]) -> None:
    a, b = tables(rows)
    order = np.random.default_rng(len(rows)).permutation(len(rows))
    one, two = kind.of(pair(a, b)), kind.of(pair(a[:, order], b[:, order]))
    assert two.value == pytest.approx(one.value, abs=1e-7)
    assert two.interval(0.05, 0.05) == pytest.approx(one.interval(0.05, 0.05), abs=1e-5)


@pytest.mark.parametrize("kind", [k for k in KINDS if k.ordered], ids=lambda k: k.name)
@given(rows_of_bins)
def test_an_ordered_distance_reads_alike_from_both_ends(kind: Kind, rows: list[tuple[int, int]]) -> None:
    a, b = tables(rows)
    one, two = kind.of(pair(a, b)), kind.of(pair(a[:, ::-1], b[:, ::-1]))
    assert two.value == pytest.approx(one.value, abs=1e-7)
    assert two.interval(0.05, 0.05) == pytest.approx(one.interval(0.05, 0.05), abs=1e-5)


@EACH
@given(st.lists(st.integers(5, 300), min_size=2, max_size=12), st.integers(1, 5))
def test_a_table_is_at_no_distance_from_its_copies(kind: Kind, counts: list[int], copies: int) -> None:
    a = np.array([counts], dtype=np.int64)
    d = kind.of(pair(a, a * copies))
    assert d.value == pytest.approx(0, abs=1e-6)
    assert d.interval(0.05, 0.05)[0] == 0
    assert d.interval(0.4, 0.4)[1] > 0


@EACH
@given(rows_of_bins, st.floats(0.001, 0.3), st.floats(0.001, 0.3))
def test_an_alarm_is_a_small_p_value(kind: Kind, rows: list[tuple[int, int]], margin: float, alpha: float) -> None:
    d = kind.of(pair(*tables(rows)))
    low, p = d.interval(alpha, 0.05)[0], d.p_value(margin)
    if abs(low - margin) > 1e-6 and abs(p - alpha) > 1e-6 and d.value > margin:
        assert (low > margin) == (p < alpha)


@given(rows_of_bins, st.floats(1e-3, 1e3))
def test_wasserstein_has_the_unit_that_it_is_given(rows: list[tuple[int, int]], unit: float) -> None:
    both, edges = pair(*tables(rows)), np.arange(len(rows) - 1.0)
    one = distances.wasserstein(both, edges, 1.0)
    two = distances.wasserstein(both, edges * unit, unit)
    assert two.value == pytest.approx(one.value, abs=1e-9)
    assert two.interval(0.05, 0.05) == pytest.approx(one.interval(0.05, 0.05), abs=1e-6)


@EACH
def test_more_rows_say_more(kind: Kind) -> None:
    p = np.full(10, 0.1)
    counts = (
        (1000 * p).round().astype(np.int64)[None],
        (1000 * tilted(p, kind.true, 0.2)).round().astype(np.int64)[None],
    )
    drawn = [kind.of(pair(counts[0] * times, counts[1] * times)) for times in (1, 10, 100)]
    widths = [high - low for low, high in (d.interval(0.05, 0.05) for d in drawn)]
    assert widths[0] > 2.5 * widths[1] > 6 * widths[2]
    assert drawn[-1].value == pytest.approx(0.2, rel=0.02)


@EACH
def test_the_estimate_has_its_bias_taken_off(kind: Kind) -> None:
    """On average within a tenth of a true distance of .2 at 1,000 and 500 rows; the plain statistic is above it."""
    drawn = simulated(kind, np.full(10, 0.1), 0.2, 1000, 500, 400, seed=9)
    assert np.mean([d.value for d in drawn]) == pytest.approx(0.2, rel=0.1)
    assert np.mean([d.model.observed for d in drawn]) > np.mean([d.value for d in drawn])


# ------------------------------------------------------------------ pairs and bins


def test_pairs_that_cannot_be_compared_are_refused() -> None:
    with pytest.raises(ValueError, match="count both in the same bins"):
        pair(np.ones((1, 3), dtype=int), np.ones((1, 4), dtype=int))
    with pytest.raises(ValueError, match="at least one row"):
        pair(np.zeros((1, 3), dtype=int), np.ones((1, 3), dtype=int))


@given(rows_of_bins)
def test_merging_bins_keeps_all_rows_and_covariances(rows: list[tuple[int, int]]) -> None:
    both = pair(*tables(rows))
    groups = np.arange(len(rows)) // 2
    merged = both.grouped(groups)
    assert merged.p.sum() == pytest.approx(1)
    assert merged.q == pytest.approx([both.q[groups == g].sum() for g in range(groups.max() + 1)])
    member = np.equal.outer(np.arange(groups.max() + 1), groups).astype(float)
    assert merged.null_covariance == pytest.approx(member @ both.null_covariance @ member.T, abs=1e-12)


@given(st.lists(st.integers(1, 200), min_size=1, max_size=40), st.floats(0, 0.3), st.integers(2, 30), st.booleans())
def test_merged_bins_are_few_and_not_rare(counts: list[int], least: float, most: int, ordered: bool) -> None:
    p = np.array(counts) / sum(counts)
    groups = merge_rare(p, least, most, ordered=ordered)
    assert groups.shape == p.shape
    assert sorted(set(groups.tolist())) == list(range(int(groups.max()) + 1))
    mass = np.bincount(groups, p)
    assert len(mass) <= most + (1 if ordered else 0)
    assert len(mass) == 1 or mass.min() >= 0.95 * least - 1e-9
    if ordered:
        assert (np.diff(groups) >= 0).all()


def test_deciles_stay_deciles() -> None:
    assert merge_rare(np.full(20, 0.05), 0.01, 10, ordered=True).tolist() == [j // 2 for j in range(20)]


def test_buckets_of_independent_rows_give_the_multinomial_covariance() -> None:
    rng = np.random.default_rng(1)
    p = np.array([0.1, 0.2, 0.3, 0.4])
    ratios, degrees = [], []
    for _ in range(200):
        a, b = (rng.multinomial(40, p, size=64) for _ in range(2))
        clustered_pair, plain = pair(a, b), pair(a.sum(0, keepdims=True), b.sum(0, keepdims=True))
        degrees.append(clustered_pair.df)
        raised = 1 + FEW / clustered_pair.df
        ratios.append(np.trace(clustered_pair.null_covariance) / np.trace(plain.null_covariance) / raised)
    assert np.mean(ratios) == pytest.approx(1, abs=0.03)
    assert all(63 <= df <= 126 for df in degrees)  # 63 of each table, in so far as both add to the variance


def test_dependent_rows_have_the_covariance_of_their_design_effect() -> None:
    """Units of 6 rows at ICC .1: the variance is 1 + 5 · .1 times that of independent rows (Kish 1965)."""
    rng = np.random.default_rng(2)
    p = np.array([0.2, 0.3, 0.5])
    a, b = clustered(rng, p, 300, 6, 0.1, 200), clustered(rng, p, 200, 6, 0.1, 200)
    ratios = [
        np.trace(pair(x, y).null_covariance)
        / np.trace(pair(x.sum(0, keepdims=True), y.sum(0, keepdims=True)).null_covariance)
        / (1 + FEW / pair(x, y).df)
        for x, y in zip(a, b, strict=True)
    ]
    assert np.mean(ratios) == pytest.approx(1.5, abs=0.06)


# ------------------------------------------------------------------ error rates and power


def simulated(kind: Kind, p: Floats, theta: float, m: int, n: int, repeats: int, seed: int) -> list[Distance]:
    rng = np.random.default_rng(seed)
    q = tilted(p, kind.true, theta)
    a, b = independent(rng, p, m, repeats), independent(rng, q, n, repeats)
    return [kind.of(pair(x, y)) for x, y in zip(a, b, strict=True)]


@EACH
@pytest.mark.parametrize(("m", "n"), [(500, 200), (5000, 1000)])
def test_the_low_end_is_rarely_too_high(kind: Kind, m: int, n: int) -> None:
    """At a true distance of 0, half the margin, the margin and twice the margin: in at most 5 %.

    Up to the binomial tolerance; the low end above the margin is a false alarm.
    """
    repeats, alpha, p = int(1000 * kind.effort), 0.05, np.full(10, 0.1)
    for theta in (0.0, 0.05, 0.1, 0.2):
        drawn = simulated(kind, p, theta, m, n, repeats, seed=int(1000 * theta) + n)
        assert np.mean([d.model.upper(theta) < alpha for d in drawn]) <= at_most(alpha, repeats), theta


@EACH
@pytest.mark.parametrize(("m", "n"), [(500, 200), (5000, 1000)])
def test_the_high_end_is_rarely_too_low(kind: Kind, m: int, n: int) -> None:
    """At the margin that is a false `ok`: in at most 5 %, plus 2 points below 1,000 rows and the binomial tolerance."""
    repeats, alpha, p = int(500 * kind.effort), 0.05, np.full(10, 0.1)
    for theta in (0.05, 0.1, 0.2):
        drawn = simulated(kind, p, theta, m, n, repeats, seed=int(1000 * theta) + n + 1)
        missed = np.mean([d.interval(0.5, alpha)[1] < theta for d in drawn])
        assert missed <= at_most(alpha + 0.02, repeats), theta


def plain_statistics(kind: Kind, p: Floats, theta: float, m: int, n: int, repeats: int, seed: int) -> Floats:
    """The statistic without any model, of many draws; divergences have half a row added to every bin."""
    rng = np.random.default_rng(seed)
    half = 0.5 if kind.name in {"psi", "js"} else 0.0
    a, b = (
        independent(rng, p, m, repeats)[:, 0] + half,
        independent(rng, tilted(p, kind.true, theta), n, repeats)[:, 0] + half,
    )
    shares = zip(a / a.sum(1, keepdims=True), b / b.sum(1, keepdims=True), strict=True)
    return np.array([kind.true(x, y) for x, y in shares])


@EACH
@pytest.mark.parametrize(("m", "n"), [(1000, 300), (5000, 300)])
def test_power_is_that_of_the_best_test_of_the_right_size(kind: Kind, m: int, n: int) -> None:
    """Alarms at twice the margin, within 5 points of a test that knows the distribution.

    That test alarms where the plain statistic is above its simulated 95 % quantile at the margin.
    """
    repeats, alpha, p = int(1000 * kind.effort), 0.05, np.full(10, 0.1)
    border = np.quantile(plain_statistics(kind, p, kind.margin, m, n, 5000, seed=n + 2), 1 - alpha)
    drawn = simulated(kind, p, 2 * kind.margin, m, n, repeats, seed=n + 3)
    best = float(np.mean([d.model.observed > border for d in drawn]))
    ours = float(np.mean([d.p_value(kind.margin) < alpha for d in drawn]))
    assert best > 0.3
    assert ours >= best - 0.05


@EACH
def test_no_drift_is_shown_to_be_none(kind: Kind) -> None:
    """`ok` in at least 95 % with 20,000 and 5,000 rows: a tool that never says so is of no use either."""
    drawn = simulated(kind, np.full(10, 0.1), 0.0, 20_000, 5000, 200, seed=5)
    assert np.mean([d.interval(0.05, 0.05)[1] < kind.margin for d in drawn]) >= 0.95
    assert not any(d.interval(0.05, 0.05)[0] > kind.margin for d in drawn)


@EACH
@pytest.mark.parametrize("theta", [0.0, 0.1])
def test_a_small_error_rate_is_kept_too(kind: Kind, theta: float) -> None:
    """Families of many columns work at rates such as .001: at most twice as often, plus the binomial tolerance."""
    repeats, alpha = int(5000 * kind.effort), 0.001
    drawn = simulated(kind, np.full(10, 0.1), theta, 5000, 1000, repeats, seed=7)
    assert np.mean([d.model.upper(theta) < alpha for d in drawn]) <= at_most(2 * alpha, repeats)


@EACH
@pytest.mark.parametrize("theta", [0.0, 0.1])
def test_dependent_rows_keep_the_error_rates_and_some_power(kind: Kind, theta: float) -> None:
    """400 and 300 units of 5 rows, ICC .1: each 5 % end misses in at most 7 % plus the binomial tolerance.

    Beside it: taking the rows as independent alarms far too often, and a distance of .4 is found.
    """
    repeats, alpha, p = int(400 * kind.effort), 0.05, np.full(10, 0.1)
    rng = np.random.default_rng(11)

    def draw(distance: float) -> list[tuple[Ints, Ints]]:
        q = tilted(p, kind.true, distance)
        a, b = clustered(rng, p, 400, 5, 0.1, repeats), clustered(rng, q, 300, 5, 0.1, repeats)
        return list(zip(a, b, strict=True))

    drawn = draw(theta)
    in_units = [kind.of(pair(a, b)) for a, b in drawn]
    assert np.mean([d.model.upper(theta) < alpha for d in in_units]) <= at_most(alpha + 0.02, repeats)
    if theta:
        assert np.mean([d.interval(0.5, alpha)[1] < theta for d in in_units]) <= at_most(alpha + 0.02, repeats)
        found = [kind.of(pair(a, b)).p_value(kind.margin) < alpha for a, b in draw(0.4)]
        assert np.mean(found) > 0.8
    else:
        as_rows = [kind.of(pair(a.sum(0, keepdims=True), b.sum(0, keepdims=True))) for a, b in drawn]
        assert np.mean([d.model.upper(0.0) < alpha for d in as_rows]) > 0.09


# ------------------------------------------------------------------ rows needed


@EACH
def test_rows_needed_is_what_a_simulation_needs(kind: Kind) -> None:
    """20,000 reference rows, no drift: `ok` has 80 % power at the rows named, within a factor 1.5."""
    p, alpha, repeats = np.full(10, 0.1), 0.05, int(400 * kind.effort)
    needed = kind.of(pair(np.full((1, 10), 2000), np.full((1, 10), 20))).rows_needed(kind.margin, alpha)
    assert needed is not None

    def decided(rows: int) -> float:
        drawn = simulated(kind, p, 0.0, 20_000, rows, repeats, seed=rows)
        return float(np.mean([d.interval(0.5, alpha)[1] <= kind.margin for d in drawn]))

    assert decided(round(needed / 1.5)) <= at_most(0.8, repeats)
    assert decided(round(needed * 1.5)) >= at_least(0.8, repeats)


@EACH
def test_rows_needed_of_dependent_rows_is_more(kind: Kind) -> None:
    rng = np.random.default_rng(3)
    p = np.full(10, 0.1)
    a, b = clustered(rng, p, 4000, 5, 0.3, 1)[0], clustered(rng, p, 100, 5, 0.3, 1)[0]
    in_units = kind.of(pair(a, b)).rows_needed(kind.margin, 0.05)
    as_rows = kind.of(pair(a.sum(0, keepdims=True), b.sum(0, keepdims=True))).rows_needed(kind.margin, 0.05)
    assert in_units is not None
    assert as_rows is not None
    assert 1.2 * as_rows < in_units < 5 * as_rows


@EACH
def test_a_reference_that_is_too_small_is_not_cured_by_rows(kind: Kind) -> None:
    assert kind.of(pair(np.full((1, 10), 3), np.full((1, 10), 30))).rows_needed(0.02, 0.05) is None


def test_a_bin_as_large_as_a_group_does_not_swallow_a_smaller_one() -> None:
    """96 % of one value and a few others: the others are a group, not nothing."""
    assert distances.merge_rare(np.array([0.02, 0.02, 0.96]), 0.001, 10, ordered=True).tolist() == [0, 0, 1]
    assert distances.merge_rare(np.array([0.0001, 0.9999]), 0.001, 10, ordered=True).tolist() == [0, 0]
