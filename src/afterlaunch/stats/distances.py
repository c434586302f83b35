"""How far apart two distributions are, counted in bins, with intervals that hold near zero too.

A distance is never negative, so its estimate is biased upward and its interval cannot be
estimate ± something near zero. Each distance here has a model of its sampling distribution at
any true value theta: a shift from the pooled distribution in the direction seen in the data,
scaled so that the distance is theta. Intervals invert the tests that the model gives.

All of them need the two estimated distributions and the covariance of their difference: the
multinomial one for independent rows, the delete-one-bucket jackknife for rows that come in units.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from afterlaunch.stats.intervals import invert, rows_for
from afterlaunch.stats.resampling import degrees, deviations, pooled_degrees
from afterlaunch.stats.tails import Absolute, Largest, Model, Quadratic, RootBits, root_bits

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

POWER = 0.8
"""Power at which `rows_needed` is computed."""

LEAST_EXPECTED = 5.0
"""Fewest expected rows of a bin in the smaller table before it is merged with its neighbour (Cochran 1954)."""


FEW = 4.0
"""A covariance from buckets is raised by this over its degrees of freedom: units are skewed and few, and Student's t,
which takes them for normal, comes out short by about that much in `studies/coverage.py`."""


@dataclass(frozen=True)
class Pair:
    """Two distributions over the same bins.

    Attributes:
        p: Shares of the reference, shape (K,).
        q: Shares of production, shape (K,).
        m: Rows of the reference.
        n: Rows of production.
        inflation: Covariance of q - p over what independent rows would give it, as a (K, K)
            matrix of the actual covariance; None for independent rows.
        df: Degrees of freedom of that covariance.
    """

    p: Floats
    q: Floats
    m: float
    n: float
    inflation: Floats | None = None
    df: float = math.inf

    @property
    def pooled(self) -> Floats:
        """Shares of both tables together, shape (K,)."""
        return (self.m * self.p + self.n * self.q) / (self.m + self.n)

    @property
    def covariance(self) -> Floats:
        """Covariance of q - p, shape (K, K)."""
        if self.inflation is not None:
            return self.inflation
        return _multinomial(self.p) / self.m + _multinomial(self.q) / self.n

    @property
    def null_covariance(self) -> Floats:
        """Covariance of q - p if both had the pooled distribution, shape (K, K)."""
        if self.inflation is not None:
            return self.inflation
        return _multinomial(self.pooled) * (1 / self.m + 1 / self.n)

    def grouped(self, groups: NDArray[np.intp]) -> Pair:
        """Merge bins: bin j goes to group groups[j]."""
        size = int(groups.max()) + 1
        member = np.zeros((size, groups.size))
        member[groups, np.arange(groups.size)] = 1.0
        inflation = None if self.inflation is None else member @ self.inflation @ member.T
        return replace(self, p=member @ self.p, q=member @ self.q, inflation=inflation)

    def at_rows(self, n: float) -> Pair:
        """The same pair had production `n` rows and no shift: p and q both pooled.

        Under dependence the covariance is split between the tables in proportion to 1 / rows.
        """
        inflation = None
        if self.inflation is not None:
            inflation = self.inflation * (1 / self.m + 1 / n) / (1 / self.m + 1 / self.n)
        return replace(self, p=self.pooled, q=self.pooled, n=n, inflation=inflation)


def pair(reference: Ints, production: Ints) -> Pair:
    """Two distributions from counts.

    Args:
        reference: Counts per bucket and bin, shape (G, K); G is 1 for independent rows.
        production: The same for production; a unit has the same bucket in both.

    Returns:
        The pair. With G > 1 the covariance is the delete-one-bucket jackknife's, buckets being
        deleted from both tables at once.

    Raises:
        ValueError: When a table has no rows, the shapes differ, or all rows are in one bucket.

    Example:
        >>> import numpy as np
        >>> both = pair(np.array([[50, 50]]), np.array([[30, 70]]))
        >>> both.p.tolist(), both.q.tolist()
        ([0.5, 0.5], [0.3, 0.7])
    """
    if reference.shape != production.shape:
        raise ValueError(
            f"The counts have shapes {reference.shape} and {production.shape}; count both in the same bins."
        )
    m, n = float(reference.sum()), float(production.sum())
    if m == 0 or n == 0:
        raise ValueError("A distance needs at least one row in both tables.")
    p, q = reference.sum(axis=0) / m, production.sum(axis=0) / n
    if reference.shape[0] == 1:
        return Pair(p, q, m, n)
    tables = [(counts, counts.sum(axis=1)) for counts in (reference, production)]
    off = [deviations(counts, rows) for counts, rows in tables]
    groups = int(np.count_nonzero(tables[0][1] + tables[1][1]))
    if groups < 2:
        raise ValueError("All rows belong to one bucket of units; no variance can be had from it.")
    change = off[1] - off[0]
    pooled = np.maximum((m * p + n * q) / (m + n), 1e-12)
    variances = float((off[0] ** 2 / pooled).sum()), float((off[1] ** 2 / pooled).sum())
    # However the two tables add up, there are only so many deviations.
    df = min(pooled_degrees(variances, (degrees(tables[0][1]), degrees(tables[1][1]))), groups - 1.0)
    if not change.any():
        # One table given twice: its buckets cannot differ, so rows stand for themselves.
        return Pair(p, q, m, n)
    return Pair(p, q, m, n, (1 + FEW / df) * (groups - 1) / groups * change.T @ change, df)


def merge_rare(p: Floats, least: float, most_groups: int, *, ordered: bool) -> NDArray[np.intp]:
    """Which bins to merge so that no group is rare.

    The last of the unordered bins holds what the reference has never seen. It is a group of its
    own only when no other bin is rare: its share of the reference is zero by construction, which
    would count as a change.

    Args:
        p: Share of each bin, shape (K,).
        least: Least share of a group.
        most_groups: Largest number of groups.
        ordered: Whether only neighbours may be merged (numeric bins); else rare bins go
            together into one group.

    Returns:
        Group of each bin, shape (K,), numbered from 0 without gaps.

    Example:
        >>> import numpy as np
        >>> merge_rare(np.array([0.01, 0.04, 0.45, 0.5]), 0.05, 20, ordered=True).tolist()
        [0, 0, 1, 2]
    """
    size = p.size
    if not ordered:
        rank = np.argsort(-p, kind="stable")
        kept = [j for j in rank[: most_groups - 1] if p[j] >= least and j != size - 1]
        groups = np.full(size, len(kept), dtype=np.intp)
        for g, j in enumerate(kept):
            groups[j] = g
        rest = p[groups == len(kept)].sum()
        if kept and rest < least:
            groups[groups == len(kept)] = len(kept) - 1
        return np.unique(groups, return_inverse=True)[1].astype(np.intp)
    target = max(least, 1.0 / most_groups)
    groups = np.empty(size, dtype=np.intp)
    group, mass, left = 0, 0.0, float(p.sum())
    for j in range(size):
        # A bin that is a group by itself does not swallow a smaller one before it.
        if p[j] >= target and mass >= least:
            group, mass = group + 1, 0.0
        groups[j] = group
        mass += float(p[j])
        left -= float(p[j])
        # Half a bin of slack keeps deciles deciles although shares are only near 1/10.
        if mass >= target * 0.95 and left >= least * 0.95:
            group, mass = group + 1, 0.0
    return np.unique(groups, return_inverse=True)[1].astype(np.intp)


@dataclass(frozen=True)
class Distance:
    """An estimated distance.

    Attributes:
        value: The estimate, its bias taken off, at least 0.
        model: The sampling distribution it is judged by.
        most: Largest value the distance can have.
        pair: The distributions.
        kind: Function name that made it, to make it again at other sizes.
    """

    value: float
    model: Model
    most: float
    pair: Pair
    kind: str
    spacing: Floats | None = None

    def interval(self, alpha_low: float, alpha_high: float) -> tuple[float, float]:
        """Interval with the given one-sided errors."""
        # Below the median of pure noise the data are more alike than chance would make them; the high
        # end then stays where the median would put it, instead of collapsing onto zero.
        typical = self.model.seeing(max(self.model.observed, self.model.null_quantile(0.5)))
        low, high = invert(self.model.upper, typical.lower, self.value, self.most, alpha_low, alpha_high)
        return min(low, self.value), max(high, self.value)

    def p_value(self, margin: float) -> float:
        """P-value of "the distance is at most `margin`"."""
        return self.model.upper(margin)

    def rows_needed(self, margin: float, alpha: float) -> int | None:
        """Production rows that would show the distance to be inside `margin` with 80 % power if it were zero.

        None when no number of rows would, since the reference is too small.
        """

        def decides(n: float) -> bool:
            model = _BUILD[self.kind](self.pair.at_rows(n), self.spacing, self.pair).model
            return model.seeing(model.null_quantile(POWER)).lower(margin) <= alpha

        return rows_for(decides, start=self.pair.n)


def psi(both: Pair) -> Distance:
    """Population stability index, sum of (q - p) ln(q / p).

    Half a row is added to every bin, so that an empty bin gives a large but finite value.
    It is the symmetrised Kullback-Leibler divergence; by convention 0.1 is a small and 0.25 a
    large change, for about ten bins.

    Args:
        both: Distributions over bins with about 5 expected rows each (`merge_rare`).

    Returns:
        The distance, unbounded.

    Source:
        Siddiqi (2006), Credit Risk Scorecards, ch. 10; sampling distribution: Yurdakul & Naranjo
        (2020), Journal of Risk Model Validation 14(4), eq. 11, and Rao & Scott (1981), JASA 76:221-230.

    Example:
        >>> import numpy as np
        >>> d = psi(pair(np.array([[5000, 5000]]), np.array([[4000, 6000]])))
        >>> round(d.value, 3), [round(x, 3) for x in d.interval(0.05, 0.05)]
        (0.04, [0.032, 0.05])
    """
    p, q = _smoothed(both)
    log = np.log(q / p)
    observed = float(((q - p) * log).sum())
    gradient_q, gradient_p = log + 1 - p / q, -log + 1 - q / p
    return _divergence("psi", both, observed, gradient_p, gradient_q, 1.0, math.inf)


def jensen_shannon(both: Pair) -> Distance:
    """Jensen-Shannon distance: square root of the divergence in bits, between 0 and 1.

    Args:
        both: Distributions over bins with about 5 expected rows each (`merge_rare`).

    Source:
        Lin (1991), IEEE Trans. Inf. Theory 37:145-151; Endres & Schindelin (2003),
        IEEE Trans. Inf. Theory 49:1858-1860, for the root being a metric.

    Example:
        >>> import numpy as np
        >>> d = jensen_shannon(pair(np.array([[5000, 5000]]), np.array([[4000, 6000]])))
        >>> round(d.value, 3)
        0.085
    """
    p, q = _smoothed(both)
    middle = (p + q) / 2
    log_p, log_q = np.log(p / middle), np.log(q / middle)
    observed = float((p * log_p + q * log_q).sum() / 2)
    inner = _divergence("jensen_shannon", both, observed, log_p / 2, log_q / 2, 0.125, math.log(2))
    return replace(inner, value=root_bits(inner.value), model=RootBits(inner.model), most=1.0)


def _divergence(
    kind: str, both: Pair, observed: float, gradient_p: Floats, gradient_q: Floats, curvature: float, most: float
) -> Distance:
    """Shared by the divergences that are curvature · sum (q - p)² / pooled near zero."""
    weight = 1.0 / np.maximum(both.pooled, 0.5 / (both.m + both.n))
    form = weight[:, None] * both.null_covariance * curvature
    mean = float(np.trace(form))
    square = float((form * form.T).sum())
    if math.isfinite(both.df):
        # An estimated covariance makes trace(form²) too large by trace² / df.
        square = max((square - mean**2 / both.df) / (1 + 1 / both.df), mean**2 / max(form.shape[0] - 1, 1))
    if both.inflation is None:
        v = (gradient_p**2 * both.p).sum() - (gradient_p * both.p).sum() ** 2
        w = (gradient_q**2 * both.q).sum() - (gradient_q * both.q).sum() ** 2
        far = float(v / both.m + w / both.n)
    else:
        change = (gradient_q - gradient_p) / 2
        far = float(change @ both.inflation @ change)
    null_scale = square / mean if mean > 0 else 1e-300
    far_scale = far / (4 * observed) if observed > 0 and far > 0 else null_scale
    model = Quadratic(observed, max(mean, 1e-300), null_scale, max(far_scale, 1e-3 * null_scale), both.df)
    ceiling = most if math.isfinite(most) else max(100.0, 100 * observed)
    return Distance(model.estimate, model, ceiling, both, kind)


def kolmogorov_smirnov(both: Pair) -> Distance:
    """Largest difference between the two cumulative distributions at the bin edges, between 0 and 1.

    Args:
        both: Distributions over ordered bins.

    Returns:
        The distance; at the bin edges only, so it is at most the exact one.

    Source:
        Kolmogorov (1933), Smirnov (1948); tail: Worsley (1982), Biometrika 69:297-302.

    Example:
        >>> import numpy as np
        >>> d = kolmogorov_smirnov(pair(np.array([[500, 250, 250]]), np.array([[300, 350, 350]])))
        >>> round(d.value, 2)
        0.2
    """
    below = np.cumsum(both.q - both.p)[:-1]
    pooled = np.cumsum(both.pooled)[:-1]
    covariance = np.cumsum(np.cumsum(both.null_covariance, axis=0), axis=1)[:-1, :-1]
    return _largest("kolmogorov_smirnov", both, below, pooled, covariance, ordered=True)


def l_infinity(both: Pair) -> Distance:
    """Largest difference between the shares of one category, between 0 and 1.

    Args:
        both: Distributions over categories.

    Source:
        The tail is Bonferroni's over categories, with score variances as in Miettinen & Nurminen
        (1985), Statistics in Medicine 4:213-226.

    Example:
        >>> import numpy as np
        >>> d = l_infinity(pair(np.array([[500, 250, 250]]), np.array([[300, 350, 350]])))
        >>> round(d.value, 2)
        0.2
    """
    return _largest("l_infinity", both, both.q - both.p, both.pooled, both.null_covariance, ordered=False)


def _largest(kind: str, both: Pair, change: Floats, pooled: Floats, covariance: Floats, *, ordered: bool) -> Distance:
    if change.size == 0:
        change, pooled, covariance = np.zeros(1), np.full(1, 0.0), np.zeros((1, 1))
    observed = float(np.abs(change).max())
    binomial = pooled * (1 - pooled) * (1 / both.m + 1 / both.n)
    variance = np.maximum(np.diag(covariance), 0.0)
    deff = np.ones_like(pooled)
    if both.inflation is not None:
        with np.errstate(invalid="ignore", divide="ignore"):
            deff = np.where(binomial > 0, variance / np.where(binomial > 0, binomial, 1.0), 1.0)
        # A point with few rows says little about dependence: no point is trusted to have less than the typical half.
        deff = np.maximum(deff, max(0.5 * float(np.median(deff)), 0.25))
    sd = np.sqrt(np.maximum(variance, 1e-300))
    correlation = np.empty(0)
    if ordered and pooled.size > 1:
        neighbour = np.diag(covariance, 1) / (sd[:-1] * sd[1:])
        correlation = np.where(variance[:-1] * variance[1:] > 0, neighbour, 0.0)
    total = both.m + both.n
    shape = change / observed if observed > 0 else np.zeros_like(change)
    top = int(np.argmax(np.abs(change))) if observed > 0 else int(np.argmax(variance))
    if observed > 0:
        # Points within one standard error of the largest may be the largest in truth; they count as such.
        sign = np.where(change * change[top] < 0, -1.0, 1.0)
        apart = np.sqrt(np.maximum(variance + variance[top] - 2 * sign * covariance[top], 0.0))
        raised = np.minimum(np.abs(change) + apart, observed)
        shape = np.where(variance > 0, sign * np.sign(change[top]) * raised / observed, shape)
    model = Largest(
        observed, shape, pooled, (both.n / total, both.m / total), both.m, both.n, deff, correlation, both.df, 0.0, top
    )
    noise = model.null_quantile(0.5) if (pooled * (1 - pooled)).any() else 0.0
    model = replace(model, noise=noise)
    return Distance(model.estimate, model, 1.0, both, kind)


def wasserstein(both: Pair, edges: Floats, scale: float) -> Distance:
    """Wasserstein-1 distance between the distributions cut off at the outer edges, in units of `scale`.

    Between edges the difference of the cumulative distributions is taken as linear. It is exact
    where no value lies strictly between two edges, as in the bins of a discrete column.

    Args:
        both: Distributions over ordered bins, shape (K,).
        edges: Bin edges, shape (K - 1,).
        scale: Standard deviation of the reference, or another unit; positive.

    Source:
        Ramdas, García Trillos & Cuturi (2017), Entropy 19:47, proposition 1; moments of folded
        normals: Leone, Nelson & Nottingham (1961), Technometrics 3:543-550.

    Example:
        >>> import numpy as np
        >>> both = pair(np.array([[500, 0, 500, 0]]), np.array([[300, 0, 700, 0]]))
        >>> round(wasserstein(both, np.array([0.0, 1.0 - 1e-12, 1.0]), 1.0).value, 2)
        0.2
    """
    half_gaps = np.diff(edges / 2)  # the whole range may be more than a float can hold
    return _wasserstein(both, (np.append(half_gaps, 0.0) + np.append(0.0, half_gaps)) / scale, both)


def _wasserstein(both: Pair, spacing: Floats, direction: Pair) -> Distance:
    change = np.cumsum(both.q - both.p)[:-1]
    towards = np.cumsum(direction.q - direction.p)[:-1]
    covariance = np.cumsum(np.cumsum(both.null_covariance, axis=0), axis=1)[:-1, :-1]
    df = min(both.df, min(both.m, both.n) - 1) if min(both.m, both.n) > 2 else 1.0
    sd = np.sqrt(np.maximum(np.diag(covariance), 0.0))
    live = (sd > 0) & (spacing > 0)
    observed = float(spacing @ np.abs(change))
    if not live.any():
        constant = Absolute(observed, np.ones(1), np.ones(1), np.full(1, 1e-12), np.ones((1, 1)), df)
        return Distance(observed, constant, max(float(spacing.sum()), 1e-12), both, "wasserstein", spacing)
    correlation = covariance[np.ix_(live, live)] / np.outer(sd[live], sd[live])
    reach = float(spacing @ np.abs(towards))
    shape = towards[live] / reach if reach > 0 else np.full(int(live.sum()), 1.0 / float(spacing[live].sum()))
    far = None
    if both.inflation is None and observed > 0:
        far = np.cumsum(np.cumsum(both.covariance, axis=0), axis=1)[:-1, :-1][np.ix_(live, live)]
    model = Absolute(observed, shape, spacing[live], sd[live], np.clip(correlation, -1, 1), df, far)
    return Distance(model.estimate, model, float(spacing.sum()), both, "wasserstein", spacing)


_BUILD = {
    "psi": lambda both, spacing, direction: psi(both),
    "jensen_shannon": lambda both, spacing, direction: jensen_shannon(both),
    "kolmogorov_smirnov": lambda both, spacing, direction: _toward(kolmogorov_smirnov(both), direction, ordered=True),
    "l_infinity": lambda both, spacing, direction: _toward(l_infinity(both), direction, ordered=False),
    "wasserstein": _wasserstein,
}


def _toward(distance: Distance, direction: Pair, *, ordered: bool) -> Distance:
    """Give a largest-difference model the direction of a shift that another pair shows."""
    change = direction.q - direction.p
    change = np.cumsum(change)[:-1] if ordered else change
    top = float(np.abs(change).max()) if change.size else 0.0
    if top == 0 or not isinstance(distance.model, Largest):
        return distance
    model = replace(distance.model, shape=change / top, top=int(np.argmax(np.abs(change))))
    return replace(distance, model=model)


def _multinomial(p: Floats) -> Floats:
    out: Floats = np.diag(p) - np.outer(p, p)
    return out


def _smoothed(both: Pair) -> tuple[Floats, Floats]:
    k = both.p.size
    return (both.p * both.m + 0.5) / (both.m + k / 2), (both.q * both.n + 0.5) / (both.n + k / 2)
