"""Intervals for shares, means and differences, at any one-sided error rate.

Every function takes the one-sided error of each end separately, because the end that can
raise an alarm and the end that can say `ok` carry different error rates (see `decide`).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import special

from afterlaunch.stats.resampling import degrees, deviations, pooled_degrees

Floats = NDArray[np.float64]

ENOUGH_GROUPS = 30
"""Fewest filled groups of dependent rows from which a variance between groups is taken."""


EXACT_BELOW = 50
"""Rows of the rarer kind below which the interval for a share is exact."""


@dataclass(frozen=True, slots=True)
class Interval:
    """An estimate and the ends of its interval."""

    value: float
    low: float
    high: float


def normal_quantile(alpha: float) -> float:
    """Upper `alpha` quantile of the standard normal.

    Example:
        >>> round(normal_quantile(0.025), 4)
        1.96
    """
    return float(-special.ndtri(alpha))


def t_quantile(alpha: float, df: float) -> float:
    """Upper `alpha` quantile of Student's t; the normal one when `df` is infinite.

    Example:
        >>> round(t_quantile(0.025, 10), 3)
        2.228
    """
    return normal_quantile(alpha) if math.isinf(df) else float(-special.stdtrit(df, alpha))


def share(
    hits: float, rows: float, alpha_low: float, alpha_high: float, *, deff: float = 1.0, df: float = math.inf
) -> Interval:
    """Interval for a share: exact for few rows with or without the property, else Jeffreys'.

    Below `EXACT_BELOW` rows of the rarer kind both ends are Clopper-Pearson's, whose one-sided
    errors never exceed the rate promised; from there on Jeffreys' are as good as exact and
    somewhat shorter.

    Args:
        hits: Rows that have the property, 0 <= hits <= rows.
        rows: All rows.
        alpha_low: One-sided error of the low end.
        alpha_high: One-sided error of the high end.
        deff: Design effect, variance under dependence over binomial variance; at least 1 is used.
        df: Degrees of freedom of `deff`; the effective sample shrinks by the squared ratio of
            the t to the normal quantile.

    Returns:
        The share and its interval; [0, 1] without rows.

    Source:
        Clopper & Pearson (1934), Biometrika 26:404-413; Brown, Cai & DasGupta (2001), Statistical
        Science 16:101-133, section 4.3; Korn & Graubard (1998), Survey Methodology 24:193-201,
        for the effective sample size.

    Example:
        >>> i = share(5, 50, 0.05, 0.05)
        >>> round(i.low, 3), round(i.high, 3)
        (0.04, 0.199)
    """
    if rows <= 0:
        return Interval(0.0, 0.0, 1.0)
    p = hits / rows

    def effective(alpha: float) -> float:
        shrink = 1.0 if math.isinf(df) or alpha >= 0.5 else (t_quantile(alpha, df) / normal_quantile(alpha)) ** 2
        return rows / (max(deff, 1.0) * shrink)

    low, high = 0.0, 1.0
    if hits > 0:
        n, half = effective(alpha_low), _half(p, effective(alpha_low))
        low = float(special.betaincinv(p * n + half, (1 - p) * n + 1 - half, alpha_low))
    if hits < rows:
        n, half = effective(alpha_high), _half(p, effective(alpha_high))
        high = float(special.betainccinv(p * n + 1 - half, (1 - p) * n + half, alpha_high))
    return Interval(p, min(low, p), max(high, p))


def _half(p: float, rows: float) -> float:
    """What Jeffreys adds to the count, or nothing where the interval is to be exact."""
    return 0.5 if min(p, 1 - p) * rows >= EXACT_BELOW else 0.0


def difference(
    first: Callable[[float, float], Interval],
    second: Callable[[float, float], Interval],
    alpha_low: float,
    alpha_high: float,
    *,
    correlation: float = 0.0,
) -> Interval:
    """Interval for second - first from the intervals of two estimates (MOVER).

    Args:
        first: (alpha_low, alpha_high) -> interval of the first estimate.
        second: The same for the second.
        alpha_low: One-sided error of the low end of the difference.
        alpha_high: One-sided error of its high end.
        correlation: Of the two estimates; not 0 when the same units are behind both.

    Source:
        Zou & Donner (2008), Statistics in Medicine 27:1693-1702, eq. 4, with a correlation Zou
        (2007), Psychological Methods 12:399-413, eq. 8; for independent shares it is method 10
        of Newcombe (1998), Statistics in Medicine 17:873-890.

    Example:
        >>> a = lambda low, high: share(10, 100, low, high)
        >>> b = lambda low, high: share(30, 100, low, high)
        >>> i = difference(a, b, 0.025, 0.025)
        >>> round(i.low, 2), round(i.high, 2)
        (0.08, 0.31)
    """
    value = second(0.25, 0.25).value - first(0.25, 0.25).value
    a, b = first(alpha_high, alpha_low), second(alpha_low, alpha_high)
    low = value - _joint(b.value - b.low, a.high - a.value, correlation)
    high = value + _joint(b.high - b.value, a.value - a.low, correlation)
    return Interval(value, low, high)


def _joint(x: float, y: float, correlation: float) -> float:
    return math.sqrt(max(x * x + y * y - 2 * correlation * x * y, 0.0))


@dataclass(frozen=True, slots=True)
class Shares:
    """A share in each of two tables, with what dependence between rows does to their variances.

    Attributes:
        hits: Rows with the property, (reference, production).
        rows: All rows, (reference, production).
        deff: Design effect of each share.
        df: Degrees of freedom of the design effects.
        correlation: Of the two shares.
    """

    hits: tuple[float, float]
    rows: tuple[float, float]
    deff: tuple[float, float] = (1.0, 1.0)
    df: float = math.inf
    correlation: float = 0.0

    def of(self, table: int, alpha_low: float, alpha_high: float) -> Interval:
        """The share in table 0 (reference) or 1 (production)."""
        return share(self.hits[table], self.rows[table], alpha_low, alpha_high, deff=self.deff[table], df=self.df)

    def change(self, alpha_low: float, alpha_high: float) -> Interval:
        """Production share minus reference share."""
        return difference(
            lambda low, high: self.of(0, low, high),
            lambda low, high: self.of(1, low, high),
            alpha_low,
            alpha_high,
            correlation=self.correlation,
        )

    def p_value(self, margin: float) -> float:
        """P-value of "the share rose by at most `margin`": where the low end meets the margin."""
        if self.change(0.5, 0.5).low <= margin:
            return 1.0 if self.change(0.5, 0.5).value <= margin else 0.5
        low, high = -40.0, math.log(0.5)
        for _ in range(50):
            middle = (low + high) / 2
            low, high = (low, middle) if self.change(math.exp(middle), 0.5).low > margin else (middle, high)
        return math.exp(high)

    def rows_needed(self, margin: float, alpha: float, power: float = 0.8) -> int | None:
        """Production rows that show the share to have risen by less than `margin` if it has not risen at all."""
        m = self.rows[0]
        if m <= 0:
            return None
        p = self.hits[0] / m
        z = normal_quantile(1 - power)

        def decides(n: float) -> bool:
            # The worst of the samples that 80 % of the time are not exceeded.
            seen = min(n * p + z * math.sqrt(n * p * (1 - p) * max(self.deff[1], 1.0)), n)
            planned = Shares((self.hits[0], seen), (m, n), self.deff, self.df, self.correlation)
            return planned.change(0.5, alpha).high <= margin

        return rows_for(decides, start=max(self.rows[1], 2.0))


def shares(
    hits: tuple[NDArray[np.generic], NDArray[np.generic]], rows: tuple[NDArray[np.generic], NDArray[np.generic]]
) -> Shares:
    """Two shares from sums per bucket.

    Args:
        hits: Rows with the property per bucket, (reference, production), each of shape (G,).
        rows: All rows per bucket, the same shapes. With G = 1 rows are independent; else the
            design effects come from the delete-one-bucket jackknife, buckets being deleted from
            both tables at once.

    Example:
        >>> import numpy as np
        >>> both = shares((np.array([10]), np.array([30])), (np.array([100]), np.array([100])))
        >>> round(both.change(0.025, 0.025).low, 2)
        0.08
    """
    totals = tuple(float(np.sum(h)) for h in hits), tuple(float(np.sum(r)) for r in rows)
    (a, b), (m, n) = totals
    if len(hits[0]) == 1 or m == 0 or n == 0:
        return Shares((a, b), (m, n))
    off = [deviations(h, r) for h, r in zip(hits, rows, strict=True)]
    groups = int(np.count_nonzero(np.asarray(rows[0]) + np.asarray(rows[1])))
    if groups < 2:
        # All rows belong to one bucket: they count as a single independent row.
        return Shares((a, b), (m, n), (m, n))
    variance = (groups - 1) / groups * np.array([off[0] @ off[0], off[1] @ off[1]])
    df = pooled_degrees((float(variance[0]), float(variance[1])), (degrees(rows[0]), degrees(rows[1])))
    df = min(df, groups - 1.0)
    binomial = np.array([a / m * (1 - a / m) / m, b / n * (1 - b / n) / n])
    known = binomial > 0
    effects = np.where(known, variance / np.where(known, binomial, 1.0), np.nan)
    # A share of 0 or 1 says nothing about dependence: the other table's design effect stands in.
    spare = float(np.nanmax(effects)) if known.any() else 1.0
    effects = np.where(known, effects, spare)
    se = np.sqrt(variance)
    covariance = (groups - 1) / groups * float(off[0] @ off[1])
    correlation = covariance / float(se[0] * se[1]) if se.min() > 0 else 0.0
    return Shares((a, b), (m, n), (float(effects[0]), float(effects[1])), df, min(max(correlation, -1.0), 1.0))


def symmetric(value: float, se: float, df: float, alpha_low: float, alpha_high: float) -> Interval:
    """Interval value ± t · se.

    Example:
        >>> round(symmetric(1.0, 0.1, float("inf"), 0.025, 0.025).low, 3)
        0.804
    """
    return Interval(value, value - t_quantile(alpha_low, df) * se, value + t_quantile(alpha_high, df) * se)


def logit_scale(value: float, se: float, df: float, alpha_low: float, alpha_high: float) -> Interval:
    """Interval for a quantity in (0, 1), symmetric on the logit scale.

    Args:
        value: The estimate; at 0 or 1 the interval is one-sided from the rule se -> bound.
        se: Its standard error on the original scale.
        df: Degrees of freedom of the standard error.
        alpha_low: One-sided error of the low end.
        alpha_high: One-sided error of the high end.

    Source:
        Pepe (2003), The Statistical Evaluation of Medical Tests, section 5.2.4 (for the AUC).

    Example:
        >>> i = logit_scale(0.95, 0.02, float("inf"), 0.025, 0.025)
        >>> round(i.low, 3), round(i.high, 3)
        (0.893, 0.977)
    """
    if not 0 < value < 1 or se <= 0:
        return symmetric(value, max(se, 0.0), df, alpha_low, alpha_high)
    slope = se / (value * (1 - value))
    centre = float(special.logit(value))
    return Interval(
        value,
        float(special.expit(centre - t_quantile(alpha_low, df) * slope)),
        float(special.expit(centre + t_quantile(alpha_high, df) * slope)),
    )


def invert(
    upper: Callable[[float], float],
    lower: Callable[[float], float],
    estimate: float,
    most: float,
    alpha_low: float,
    alpha_high: float,
) -> tuple[float, float]:
    """Interval for a quantity >= 0 by inverting tests.

    Args:
        upper: theta -> P(statistic >= observed | theta), increasing in theta.
        lower: theta -> P(statistic <= observed | theta), decreasing in theta.
        estimate: A first guess at theta.
        most: The largest value theta can have.
        alpha_low: One-sided error of the low end.
        alpha_high: One-sided error of the high end.

    Returns:
        (low, high): every theta that neither test rejects; low is 0 when zero is not rejected.

    Source:
        Neyman (1937), Phil. Trans. R. Soc. A 236:333-380.
    """
    low = 0.0 if upper(0.0) >= alpha_low else _crossing(lambda x: alpha_low - upper(x), 0.0, estimate, most)
    high = (
        0.0 if lower(0.0) <= alpha_high else _crossing(lambda x: lower(x) - alpha_high, 0.0, max(estimate, low), most)
    )
    return low, max(high, low)


def _crossing(f: Callable[[float], float], a: float, guess: float, most: float) -> float:
    """Where `f` falls from positive to negative, by doubling and then Illinois false position."""
    fa, b = f(a), max(guess, 1e-9 * most)
    fb = f(b)
    while fb > 0:
        if b >= most:
            return most
        a, fa = b, fb
        b = min(2 * b, most)
        fb = f(b)
    side, x = 0, b
    for _ in range(100):
        before = x
        x = (a * fb - b * fa) / (fb - fa) if fb != fa else (a + b) / 2
        if not a < x < b:
            x = (a + b) / 2
        fx = f(x)
        if fx > 0:
            a, fa = x, fx
            fb, side = (fb / 2, 1) if side == 1 else (fb, 1)
        else:
            b, fb = x, fx
            fa, side = (fa / 2, -1) if side == -1 else (fa, -1)
        if fx == 0 or min(abs(x - before), b - a) <= 1e-12 * max(b, 1e-6):
            break
    return x


def rows_for(decides: Callable[[float], bool], start: float, most: float = 1e12) -> int | None:
    """Smallest number of rows that decides, to 1 %.

    Args:
        decides: rows -> whether that many rows decide; monotone.
        start: Where to start looking.
        most: Give up beyond this many.

    Returns:
        Rows, or None when `most` rows do not decide.

    Example:
        >>> rows_for(lambda n: n >= 1000, 10) in range(1000, 1011)
        True
    """
    if not decides(most):
        return None
    high = max(start, 2.0)
    while not decides(high):
        high = min(high * 4, most)
    low = high
    while low > 2 and decides(low / 4):
        low /= 4
    low = max(low / 4, 1.0)
    while high / low > 1.01:
        middle = math.sqrt(low * high)
        low, high = (low, middle) if decides(middle) else (middle, high)
    return math.ceil(high)


def filled(groups: NDArray[np.generic]) -> int:
    """How many groups have any rows; `groups` has rows per group, shape (G,)."""
    return int(np.count_nonzero(np.asarray(groups)))
