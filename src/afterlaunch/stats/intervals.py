"""Intervals for shares, means and differences, at any one-sided error rate.

Every function takes the one-sided error of each end separately, because the end that can
raise an alarm and the end that can say `ok` carry different error rates (see `decide`).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from scipy import special

ENOUGH_GROUPS = 30
"""Fewest filled groups of dependent rows from which a variance between groups is taken."""


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


def share(hits: float, rows: float, alpha_low: float, alpha_high: float, *, deff: float = 1.0, df: float = math.inf) -> Interval:
    """Jeffreys interval for a share.

    Its one-sided error is close to the nominal rate down to very small counts and rates,
    where the normal interval fails.

    Args:
        hits: Rows that have the property, 0 <= hits <= rows.
        rows: All rows.
        alpha_low: One-sided error of the low end.
        alpha_high: One-sided error of the high end.
        deff: Design effect, variance under dependence over binomial variance; at least 1 is used.
        df: Degrees of freedom of `deff`; the effective sample shrinks by the squared ratio of
            the t to the normal quantile (Korn & Graubard 1998).

    Returns:
        The share and its interval; [0, 1] without rows.

    Source:
        Brown, Cai & DasGupta (2001), Statistical Science 16:101-133, section 4.3;
        Korn & Graubard (1998), Survey Methodology 24:193-201, for the effective sample size.

    Example:
        >>> i = share(5, 50, 0.05, 0.05)
        >>> round(i.low, 3), round(i.high, 3)
        (0.047, 0.186)
    """
    if rows <= 0:
        return Interval(0.0, 0.0, 1.0)
    p = hits / rows

    def effective(alpha: float) -> float:
        shrink = 1.0 if math.isinf(df) else (t_quantile(alpha, df) / normal_quantile(alpha)) ** 2
        return rows / (max(deff, 1.0) * shrink)

    low_n, high_n = effective(alpha_low), effective(alpha_high)
    low = 0.0 if hits <= 0 else float(special.betaincinv(p * low_n + 0.5, (1 - p) * low_n + 0.5, alpha_low))
    high = 1.0 if hits >= rows else float(special.betainccinv(p * high_n + 0.5, (1 - p) * high_n + 0.5, alpha_high))
    return Interval(p, min(low, p), max(high, p))


def difference(first: Callable[[float, float], Interval], second: Callable[[float, float], Interval], alpha_low: float, alpha_high: float) -> Interval:
    """Interval for second - first from the intervals of two independent estimates (MOVER).

    Args:
        first: (alpha_low, alpha_high) -> interval of the first estimate.
        second: The same for the second.
        alpha_low: One-sided error of the low end of the difference.
        alpha_high: One-sided error of its high end.

    Source:
        Zou & Donner (2008), Statistics in Medicine 27:1693-1702, eq. 4; for shares it is
        method 10 of Newcombe (1998), Statistics in Medicine 17:873-890.

    Example:
        >>> a = lambda low, high: share(10, 100, low, high)
        >>> b = lambda low, high: share(30, 100, low, high)
        >>> i = difference(a, b, 0.025, 0.025)
        >>> round(i.low, 2), round(i.high, 2)
        (0.09, 0.31)
    """
    value = second(0.25, 0.25).value - first(0.25, 0.25).value
    a, b = first(alpha_high, alpha_low), second(alpha_low, alpha_high)
    low = value - math.hypot(b.value - b.low, a.high - a.value)
    high = value + math.hypot(b.high - b.value, a.value - a.low)
    return Interval(value, low, high)


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
        (0.892, 0.978)
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


def invert(upper: Callable[[float], float], lower: Callable[[float], float], estimate: float, most: float, alpha_low: float, alpha_high: float) -> tuple[float, float]:
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
    high = 0.0 if lower(0.0) <= alpha_high else _crossing(lambda x: lower(x) - alpha_high, 0.0, max(estimate, low), most)
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
    side = 0
    for _ in range(60):
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
        if b - a <= 1e-11 * max(b, 1e-6) or fx == 0:
            break
    return (a + b) / 2


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


def filled(groups: np.ndarray) -> int:
    """How many groups have any rows; `groups` has rows per group, shape (G,)."""
    return int(np.count_nonzero(np.asarray(groups)))
