"""How few items take most of the exposure, week by week, and whether that rises.

Few impressions look more concentrated than many: by chance some items have none and others a few. `concentration`
describes the counts as they are; `series` corrects for that, so that weeks of unlike size can be compared.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy import special
from scipy import stats as distributions

from afterlaunch.stats.intervals import logit_scale, t_quantile
from afterlaunch.stats.resampling import degrees
from afterlaunch.stats.trend import Trend, trend

Array = NDArray[np.generic]
Floats = NDArray[np.float64]
Measure = Literal["gini", "hhi", "effective", "entropy_effective", "coverage", "largest"]

MEASURES: tuple[Measure, ...] = ("gini", "hhi", "effective", "entropy_effective", "coverage", "largest")
COUNTS_ITEMS = ("effective", "entropy_effective")
"""Measures that are numbers of items; the others lie between 0 and 1."""

FOLDS = 8
"""Groups of buckets whose exposure is held against the order of items in all the others."""


# ------------------------------------------------------------------ one table of counts


@dataclass(frozen=True, slots=True)
class Concentration:
    """How unevenly exposure falls on the items of a catalogue.

    Attributes:
        gini: Gini index: 0 when all items have as much, (m - 1) / m when one of m has everything.
        hhi: Sum of squared shares, between 1 / m and 1.
        effective: Items that would have that sum if all had as much, 1 / hhi.
        entropy_effective: Items that would have the entropy of the shares if all had as much.
        largest: Largest share of an item.
        catalogue: Items, those never shown among them.
        shares: Shares of the items, largest first.
    """

    gini: float
    hhi: float
    effective: float
    entropy_effective: float
    largest: float
    catalogue: int
    shares: Floats = field(repr=False, compare=False)

    def coverage(self, share: float = 0.8) -> float:
        """Least share of the catalogue that takes this share of the exposure; the last item counts in part."""
        return float(_covering(self.shares[None, ::-1], share)[0])


def concentration(exposure: Array, *, catalogue: int | None = None) -> Concentration:
    """Measures of concentration of counts or weights as they are.

    Args:
        exposure: Impressions of every item, or their weights, shape (items,).
        catalogue: Number of items, those never shown among them; by default as many as `exposure` has.

    Returns:
        The measures, without correction for few impressions.

    Raises:
        ValueError: When an exposure is negative or not finite, when all are zero, or when more items have a count
            than the catalogue holds.

    Source:
        Gini (1912), Variabilità e mutabilità; computed as by Dorfman (1979), Review of Economics and Statistics
        61:146-149. Sum of squared shares: Hirschman (1964), American Economic Review 54:761. Its inverse: Laakso &
        Taagepera (1979), Comparative Political Studies 12:3-27. Effective numbers: Jost (2006), Oikos 113:363-375.

    Example:
        >>> found = concentration(np.array([60, 20, 10, 10]), catalogue=8)
        >>> round(found.gini, 3), round(found.hhi, 2), round(found.effective, 2), round(found.entropy_effective, 2)
        (0.7, 0.42, 2.38, 2.97)
        >>> round(found.coverage(0.8), 2), found.largest
        (0.25, 0.6)
    """
    x = _valid(exposure)
    if x.ndim != 1:
        raise ValueError("Exposure has one number for every item.")
    if x.sum() <= 0:
        raise ValueError("Nothing was shown: there is no exposure to be concentrated.")
    m = x.size if catalogue is None else catalogue
    if m < x.size:
        x = x[x > 0]
        if m < x.size:
            raise ValueError(f"{x.size} items were shown, more than the {m} of the catalogue.")
    x = np.sort(np.concatenate([x, np.zeros(m - x.size)]))
    shares = x / x.sum()
    value = dict(zip(MEASURES, _plain(x[None, :], 0.8)[0].tolist(), strict=True))
    del value["coverage"]
    return Concentration(**value, catalogue=m, shares=shares[::-1])


def gini(exposure: Array) -> Floats:
    """Gini index over the last axis, without correction for few impressions; NaN without exposure.

    Source:
        Gini (1912), Variabilità e mutabilità; Dorfman (1979), Review of Economics and Statistics 61:146-149.

    Example:
        >>> gini(np.array([[1, 1, 1, 1], [0, 0, 0, 4]])).tolist()
        [0.0, 0.75]
    """
    x = np.sort(np.asarray(exposure, dtype=np.float64), axis=-1)
    m = x.shape[-1]
    total = x.sum(axis=-1)
    with np.errstate(invalid="ignore", divide="ignore"):
        out: Floats = (x * (2 * np.arange(1, m + 1) - m - 1)).sum(axis=-1) / (m * total)
    return out


def unbiased_hhi(counts: Array) -> Floats:
    """Sum of squared shares over the last axis as it would be with endless impressions.

    Args:
        counts: Independent impressions of every item, shape (..., items).

    Returns:
        The chance that two impressions are of the same item; NaN with fewer than two.

    Source:
        Simpson (1949), Nature 163:688.

    Example:
        >>> unbiased_hhi(np.array([1, 1, 1, 1])).item(), unbiased_hhi(np.array([2, 2])).round(3).item()
        (0.0, 0.333)
    """
    n = np.asarray(counts, dtype=np.float64)
    total = n.sum(axis=-1)
    with np.errstate(invalid="ignore", divide="ignore"):
        out: Floats = np.where(total > 1, (n * (n - 1)).sum(axis=-1) / (total * (total - 1)), np.nan)
    return out


def debiased_gini(counts: Array) -> float:
    """Gini index as it would be with endless impressions.

    Args:
        counts: Impressions of every item, in groups that are independent of each other, shape (groups, items); of
            shape (items,), or with a single group, all impressions are independent.

    Returns:
        The index; 0 when the order of items in some groups says nothing about the others, NaN when there are fewer
        than two impressions. With four impressions an item and shares that spread smoothly, from gamma to Zipf, it is
        off by about 0.01; where the catalogue is of two kinds of items with equal shares, half the bias is left.

    Source:
        The counts' own index is too high, as the noise that orders the items is also in what they are given. The index
        with the exposure of one part in the order of the others is too low (the concentration index of Kakwani 1977,
        Econometrica 45:719-727). With normal shares of variance a and noise b they go with √(a + b) and a / √(a + b),
        so that their geometric mean goes with √a, as in the correction for attenuation of Spearman (1904), American
        Journal of Psychology 15:72-101. The parts are groups, as impressions of one user are alike.

    Example:
        >>> rng = np.random.default_rng(1)
        >>> few = rng.multinomial(2000, np.full(500, 1 / 500))
        >>> round(gini(few).item(), 2), debiased_gini(few) < 0.1
        (0.27, True)
    """
    n = np.atleast_2d(_valid(counts))
    n = n[n.sum(axis=1) > 0]
    if n.sum() < 2:
        return math.nan
    return _between_folds(_folded(n)) if len(n) > 1 else _between_impressions(n[0])


def _between_folds(folds: Floats) -> float:
    """The index without noise, from groups of shape (F, items)."""
    total = folds.sum(axis=0)
    every = float(total.sum())
    m = total.size
    rank = distributions.rankdata(total - folds, axis=1)
    other = float(((2 * rank - m - 1) * folds).sum()) / (m * every)
    part = folds.sum(axis=1) / every
    part = part[part < 1]
    # The order of a part has more noise than that of the whole.
    return _without_noise(float(gini(total)), other, float((part / (1 - part)).sum()))


def _between_impressions(x: Floats) -> float:
    """The index without noise where each impression is held against the order of all others."""
    every, m = float(x.sum()), x.size
    ordered = np.sort(x)
    below = np.searchsorted(ordered, x - 1, side="left")
    alike = np.searchsorted(ordered, x - 1, side="right") - below + 1
    rank = below + (alike + 1) / 2
    other = float(((2 * rank - m - 1) * x).sum()) / (m * every)
    return _without_noise(float(gini(x)), other, every / (every - 1))


def _without_noise(own: float, other: float, noisier: float) -> float:
    """√a from √(a + b) and a / √(a + noisier · b)."""
    if other <= 0:
        return 0.0
    square, excess = other**2, noisier - 1
    a = (math.sqrt((square * excess) ** 2 + 4 * square * noisier * own**2) - square * excess) / 2
    return min(math.sqrt(a), own)


# ------------------------------------------------------------------ weeks


@dataclass(frozen=True, slots=True)
class Measured:
    """A measure of one week.

    Attributes:
        value: The measure, as it would be with endless impressions.
        se: Standard error over buckets of users.
        df: Its degrees of freedom; 0 when it is not known.
        most: The largest it can be: 1, or the items of the catalogue.
    """

    value: float
    se: float
    df: float
    most: float = 1.0

    def interval(self, alpha_low: float, alpha_high: float) -> tuple[float, float]:
        """Ends at given one-sided error rates; everything that is possible where nothing is known.

        Those of coverage and the largest share are for as many impressions as there were.
        """
        least = 0.0 if self.most <= 1 else 1.0
        if self.df <= 0 or not math.isfinite(self.value) or not math.isfinite(self.se):
            return least, self.most
        if self.most <= 1:
            found = logit_scale(self.value, self.se, self.df, alpha_low, alpha_high)
            # The logit scale never comes to 0, even where nothing speaks against it.
            zero = self.value <= t_quantile(alpha_low, self.df) * self.se
            return 0.0 if zero else max(found.low, 0.0), min(max(found.high, 0.0), 1.0)
        slope = self.se / self.value
        low, high = (math.exp(t_quantile(alpha, self.df) * slope) for alpha in (alpha_low, alpha_high))
        return min(max(self.value / low, least), self.most), min(max(self.value * high, least), self.most)


@dataclass(frozen=True, slots=True)
class Series:
    """Measures of concentration week by week; columns are in the order of `MEASURES`.

    Attributes:
        values: The measures as they would be with endless impressions, shape (weeks, 6); coverage and the largest share
            are as counted. NaN in a week without exposure.
        plain: The measures of the counts as they are, shape (weeks, 6).
        se: Standard errors of `values`, shape (weeks, 6); NaN where they are not known.
        df: Degrees of freedom of the standard errors, shape (weeks,).
        impressions: Exposure per week, shape (weeks,).
        catalogue: Items, those never shown among them.
    """

    values: Floats
    plain: Floats
    se: Floats
    df: Floats
    impressions: Floats
    catalogue: int

    def at(self, measure: Measure, week: int) -> Measured:
        """A measure of one week."""
        place = MEASURES.index(measure)
        most = float(self.catalogue) if measure in COUNTS_ITEMS else 1.0
        return Measured(float(self.values[week, place]), float(self.se[week, place]), float(self.df[week]), most)

    def trend(self, measure: Measure, weeks: Array | None = None) -> Trend:
        """Change of a measure per week; `weeks` are their numbers, by default one after the other."""
        place = MEASURES.index(measure)
        when = np.arange(len(self.values)) if weeks is None else weeks
        return trend(self.values[:, place], self.se[:, place], when)


def series(counts_by_bucket: Array, *, coverage: float = 0.8, catalogue: int | None = None) -> Series:
    """Measures of concentration for every week, corrected for few impressions, with standard errors.

    Args:
        counts_by_bucket: Impressions by week, bucket of users and item, shape (weeks, buckets, items). Users are
            independent of each other and every user is in one bucket; a single bucket means that all impressions are
            independent, and then no standard error is known.
        coverage: Share of the exposure whose share of the catalogue is wanted.
        catalogue: Number of items, those never shown among them; by default as many as there are columns.

    Returns:
        The measures. The Gini index is that of `debiased_gini`; the sum of squares is the chance that impressions of
        users in two buckets are of the same item; the entropy has the bias taken off that deleting buckets shows.
        Coverage and the largest share are not corrected, and should be compared for weeks of about the same size.

    Raises:
        ValueError: When the counts have another shape, are negative or not finite, or when the catalogue is smaller
            than the number of columns.

    Source:
        Delete-a-group jackknife: Efron & Stein (1981), Annals of Statistics 9:586-596. Sum of squares: Simpson (1949),
        Nature 163:688, over pairs of buckets. Entropy: Zahl (1977), Ecology 58:907-913; for independent impressions
        Miller (1955), Information Theory in Psychology, 95-100.

    Example:
        >>> rng = np.random.default_rng(1)
        >>> share = rng.dirichlet(np.full(200, 0.5))
        >>> found = series(rng.multinomial(40, share, size=(3, 64)))
        >>> low, high = found.at("gini", 0).interval(0.05, 0.05)
        >>> low < concentration(share).gini < high
        True
        >>> found.trend("gini").df
        1
    """
    n = _valid(counts_by_bucket)
    if n.ndim != 3:
        raise ValueError("Counts have the shape (weeks, buckets, items).")
    m = n.shape[2] if catalogue is None else catalogue
    if m < n.shape[2]:
        raise ValueError(f"There are counts of {n.shape[2]} items, more than the {m} of the catalogue.")
    n = np.concatenate([n, np.zeros((*n.shape[:2], m - n.shape[2]))], axis=2)
    weeks = [_week(week, coverage) for week in n]
    plain = _plain(np.sort(n.sum(axis=1), axis=1), coverage)
    values, se, df = (np.array([week[part] for week in weeks]) for part in range(3))
    shape = (len(n), len(MEASURES))
    return Series(values.reshape(shape), plain, se.reshape(shape), df.reshape(-1), n.sum(axis=(1, 2)), m)


def _week(table: Floats, coverage: float) -> tuple[Floats, Floats, float]:
    """Corrected measures, their standard errors and degrees of freedom, from counts of shape (buckets, items)."""
    table = table[table.sum(axis=1) > 0]
    unknown = np.full(len(MEASURES), np.nan)
    total = table.sum(axis=0)
    if total.sum() < 2:
        return unknown, unknown, 0.0
    whole = _plain(np.sort(total)[None, :], coverage)[0]
    entropy = MEASURES.index("entropy_effective")
    groups = len(table)
    if groups < 2:
        more = (int((total > 0).sum()) - 1) / (2 * total.sum())
        whole[entropy] = min(whole[entropy] * math.exp(more), total.size)
        value = _put(whole, _between_impressions(total), float(unbiased_hhi(total)))
        return _capped(value, total.size), unknown, 0.0
    size = table.sum(axis=1)
    folds = _folded(table)
    same, pairs = float((total**2).sum()), float(size.sum()) ** 2
    own, squares = (table**2).sum(axis=1), size**2
    value = _put(whole, _between_folds(folds), _ratio(same - own.sum(), pairs - squares.sum()))
    if groups < 3:
        return _capped(value, total.size), unknown, 0.0
    rest = total - table
    left = _plain(np.sort(rest, axis=1), coverage)
    bias = (groups - 1) * float(np.log(left[:, entropy]).mean() - math.log(whole[entropy]))
    value[entropy] = min(max(whole[entropy] * math.exp(-bias), 1.0), total.size)
    same_left = (rest**2).sum(axis=1) - (own.sum() - own)
    pairs_left = (size.sum() - size) ** 2 - (squares.sum() - squares)
    for b in range(groups):
        fold = folds[b % FOLDS].copy()
        folds[b % FOLDS] -= table[b]
        left[b] = _put(left[b], _between_folds(folds), _ratio(same_left[b], pairs_left[b]))
        folds[b % FOLDS] = fold
    off = left - left.mean(axis=0)
    se = np.sqrt((groups - 1) / groups * (off**2).sum(axis=0))
    if value[0] <= 0:
        # No order was found; the index is somewhere between none and that of the counts.
        se[0] = max(float(se[0]), float(whole[0]) / 2)
    return _capped(value, total.size), se, degrees(size)


def _put(measures: Floats, index: float, squares: float) -> Floats:
    out = measures.copy()
    out[MEASURES.index("gini")] = index
    out[MEASURES.index("hhi")] = squares
    out[MEASURES.index("effective")] = 1 / squares if squares > 0 else math.nan
    return out


def _capped(value: Floats, items: int) -> Floats:
    """Measures where hardly two impressions are of the same item, so that the catalogue is the limit."""
    out, place = value.copy(), MEASURES.index("effective")
    squares = value[MEASURES.index("hhi")]
    out[place] = items if squares <= 0 else np.minimum(value[place], items)
    return out


def _ratio(part: float, whole: float) -> float:
    return part / whole if whole > 0 else math.nan


def _folded(table: Floats) -> Floats:
    """Sums over every eighth bucket, shape (FOLDS, items)."""
    out = np.zeros((FOLDS, table.shape[1]))
    np.add.at(out, np.arange(len(table)) % FOLDS, table)
    return out


def _plain(ordered: Floats, coverage: float) -> Floats:
    """The measures of counts as they are, shape (R, 6), from counts of shape (R, items), least first."""
    with np.errstate(invalid="ignore", divide="ignore"):
        shares = ordered / ordered.sum(axis=1, keepdims=True)
        squares = (shares**2).sum(axis=1)
        entropy = special.entr(shares).sum(axis=1)
        columns = (gini(ordered), squares, 1 / squares, np.exp(entropy), _covering(shares, coverage), shares[:, -1])
    return np.stack(columns, axis=1)


def _covering(shares: Floats, share: float) -> Floats:
    """Least share of the items that have this share, shape (R,), from shares of shape (R, items), least first."""
    if not 0 < share <= 1:
        raise ValueError("A share of the exposure is above 0 and at most 1.")
    falling = shares[:, ::-1]
    reached = falling.cumsum(axis=1)
    before = (reached < share - 1e-12).sum(axis=1)
    last = np.minimum(before, shares.shape[1] - 1)
    row = np.arange(len(shares))
    had = reached[row, last] - falling[row, last]
    part = np.clip((share - had) / np.where(falling[row, last] > 0, falling[row, last], 1.0), 0.0, 1.0)
    out: Floats = np.where(np.isfinite(reached[:, -1]), (last + part) / shares.shape[1], np.nan)
    return out


def _valid(exposure: Array) -> Floats:
    x = np.asarray(exposure, dtype=np.float64)
    if not np.isfinite(x).all() or (x < 0).any():
        raise ValueError("Exposure is a number of at least 0 for every item.")
    if x.shape[-1:] in {(), (0,)}:
        raise ValueError("A catalogue has at least one item.")
    return x
