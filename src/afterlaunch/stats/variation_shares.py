"""A share window by window, such as what is missing or new, as the excess over how much windows differ normally."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import special

from afterlaunch.stats.variation import Looks, Normal, intraclass, normal_counts, quantile, windows_behind

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

EXACT_BELOW = 50
"""Rows of the rarer kind below which the interval for a share is exact, as in `intervals.share`."""


@dataclass(frozen=True)
class FollowedShare:
    """A share at every look, against that of the reference.

    Attributes:
        now: Share of each look, shape (L,); NaN for looks without rows.
        before: Share in the reference that it is held against, shape (L,).
        rows: Rows of each look over their design effect, shape (L,).
        reference: (one-sided errors of the low and of the high ends, each of shape (L,)) -> ends of `before`.
        df: Degrees of freedom of the design effect, shape (L,).
    """

    now: Floats
    before: Floats
    rows: Floats
    reference: Callable[[Floats, Floats], tuple[Floats, Floats]]
    df: Floats

    @property
    def value(self) -> Floats:
        """Rise of the share, shape (L,)."""
        return self.now - self.before

    def ends(self, alpha_low: Floats, alpha_high: Floats) -> tuple[Floats, Floats]:
        """Ends of the rise by MOVER (Zou & Donner 2008, eq. 4), each of shape (L,)."""
        low, high = share_ends(self.now, self.rows, alpha_low, alpha_high, self.df)
        under, _ = self.reference(alpha_high, alpha_low)
        _, over = self.reference(alpha_low, alpha_low)
        d = self.value
        return (
            d - np.sqrt((self.now - low) ** 2 + (over - self.before) ** 2),
            d + np.sqrt((high - self.now) ** 2 + (self.before - under) ** 2),
        )


def share_ends(
    share: Floats, rows: Floats, alpha_low: Floats, alpha_high: Floats, df: Floats | float
) -> tuple[Floats, Floats]:
    """Both ends of many shares at once; the interval of `intervals.share`.

    Args:
        share: Shares, shape (L,).
        rows: Rows behind them over their design effect, shape (L,).
        alpha_low: One-sided errors of the low ends, shape (L,).
        alpha_high: Those of the high ends, shape (L,).
        df: Degrees of freedom of the design effect, of each or of all.

    Source:
        As `intervals.share`.

    Example:
        >>> low, high = share_ends(np.array([0.1]), np.array([50.0]), np.array([0.05]), np.array([0.05]), np.inf)
        >>> low.round(3).tolist(), high.round(3).tolist()
        ([0.04], [0.199])
    """

    def end(alpha: Floats, upper: bool) -> Floats:
        z = -special.ndtri(alpha)
        t = quantile(alpha, np.broadcast_to(np.asarray(df, dtype=np.float64), alpha.shape))
        shrink = np.where(alpha < 0.5, (t / np.where(z > 0, z, 1.0)) ** 2, 1.0)
        n = np.maximum(rows, 1e-9) / shrink
        half = np.where(np.minimum(share, 1 - share) * n >= EXACT_BELOW, 0.5, 0.0)
        hits, misses = share * n, (1 - share) * n
        with np.errstate(invalid="ignore"):
            if upper:
                found = special.betainccinv(hits + 1 - half, np.maximum(misses + half, 1e-12), alpha)
                return np.where(misses <= 1e-9, 1.0, np.maximum(found, share))
            found = special.betaincinv(np.maximum(hits + half, 1e-12), misses + 1 - half, alpha)
            return np.where(hits <= 1e-9, 0.0, np.minimum(found, share))

    return end(alpha_low, False), end(alpha_high, True)


@dataclass(frozen=True)
class Expected:
    """A share that the reference leads to expect, where it is not the share seen in it.

    Attributes:
        value: The share.
        ends: (one-sided error of the low end, of the high end) -> ends of its interval.
    """

    value: float
    ends: Callable[[float, float], tuple[float, float]]


def beyond(rows: int, singles: int = 0) -> Expected:
    """The share of new rows beyond the extremes of the reference's rows: Beta(2, rows - 1).

    Args:
        rows: Rows of the reference.
        singles: Not used.

    Source:
        Wilks (1941), Annals of Mathematical Statistics 12:91-96: it does not depend on the distribution.
    """
    if rows < 2:
        return Expected(1.0, lambda low, high: (0.0, 1.0))
    return Expected(
        2 / (rows + 1),
        lambda low, high: (
            float(special.betaincinv(2, rows - 1, low)),
            float(special.betainccinv(2, rows - 1, high)),
        ),
    )


def unseen(rows: int, singles: int) -> Expected:
    """The share of new rows in categories that the reference has not seen: that of its categories seen once.

    Args:
        rows: Rows of the reference.
        singles: Categories that occur in it once.

    Source:
        Good (1953), Biometrika 40:237-264.
    """

    def ends(low: float, high: float) -> tuple[float, float]:
        one = np.array([min(singles / max(rows, 1), 1.0)])
        a, b = share_ends(one, np.array([max(rows, 1) / 2.0]), np.array([low]), np.array([high]), math.inf)
        return float(a[0]), float(b[0])

    return Expected(min(singles / max(rows, 1), 1.0), ends)


def shares(normal: Normal, looks: Looks, expected: Expected | None = None) -> FollowedShare:
    """How far a share rose over that of the reference's windows of the same phase.

    Args:
        normal: The reference; bin 0 holds the rows without, bin 1 those with the property.
        looks: The same of production.
        expected: What to hold it against instead of the share in the reference.

    Returns:
        Shares whose rows are divided by the design effect that the history shows: the variance of the
        share between windows over the binomial one.

    Source:
        Design effect of windows as clusters: Kish (1965), Survey Sampling, 5.4; interval as `share_ends`.

    Example:
        >>> days = np.tile([90, 10], (28, 1))
        >>> normal = Normal(days, days.sum(axis=0), np.zeros(28, dtype=np.int64))
        >>> now = Looks(np.array([[80, 20]]), np.zeros(1, dtype=np.int64), np.ones(1))
        >>> shares(normal, now).value.round(2).tolist()
        [0.1]
    """
    n = looks.counts.sum(axis=1).astype(np.float64)
    base, m = normal_counts(normal, looks.phase)
    now = np.where(n > 0, looks.counts[:, 1] / np.maximum(n, 1), np.nan)
    before = np.where(m > 0, base[:, 1] / np.maximum(m, 1), np.nan)
    rows, behind, df = n.copy(), m.copy(), np.full(n.shape, math.inf)
    if normal.known:
        for length in np.unique(looks.length):
            mine = looks.length == length
            icc, freedom = intraclass(normal, int(length))
            rows[mine] = n[mine] / (1 + icc * np.maximum(n[mine] / normal.filled(int(length)) - 1, 0.0))
            behind[mine] = m[mine] / (1 + icc * np.maximum((m / windows_behind(normal, looks.phase))[mine] - 1, 0.0))
            df[mine] = freedom

    def reference(alpha_low: Floats, alpha_high: Floats) -> tuple[Floats, Floats]:
        return share_ends(np.nan_to_num(before), behind, alpha_low, alpha_high, df)

    if expected is None:
        return FollowedShare(now, before, rows, reference, df)
    given = expected

    def ends(alpha_low: Floats, alpha_high: Floats) -> tuple[Floats, Floats]:
        known = {(a, b): given.ends(a, b) for a, b in {*zip(alpha_low.tolist(), alpha_high.tolist(), strict=True)}}
        pairs = [known[pair] for pair in zip(alpha_low.tolist(), alpha_high.tolist(), strict=True)]
        low, high = (np.array(side, dtype=np.float64) for side in zip(*pairs, strict=True))
        return low, high

    return FollowedShare(now, np.full_like(now, given.value), rows, ends, df)


def alone(counts: Ints) -> Ints:
    """Rows of each window in bins that no other window has rows in, shape (R,).

    What a window holds that all the others lack is what a new window may be expected to hold that they lack.

    Args:
        counts: Rows per window and bin, shape (R, K).

    Example:
        >>> alone(np.array([[5, 1, 0], [4, 0, 2], [6, 0, 0]])).tolist()
        [1, 2, 0]
    """
    filled = counts > 0
    out: Ints = np.where(filled & (filled.sum(axis=0) == 1), counts, 0).sum(axis=1)
    return out


def outermost(counts: Ints) -> Ints:
    """Rows of each window in the first or the last bin that any window has rows in, whichever has fewer, shape (R,).

    Whether extreme values come in the same windows shows in how these rows are spread over them.

    Args:
        counts: Rows per window and bin, shape (R, K).

    Example:
        >>> outermost(np.array([[0, 1, 5, 0], [0, 0, 4, 2]])).tolist()
        [1, 0]
    """
    total = counts.sum(axis=0)
    filled = np.flatnonzero(total)
    if filled.size == 0:
        return np.zeros(len(counts), dtype=np.int64)
    return counts[:, min(filled[0], filled[-1], key=lambda j: int(total[j]))]


def effective(normal: Normal, rows: int) -> int:
    """How many independent rows say as much as the rows of the history, by their design effect.

    Args:
        normal: Windows of the reference; bin 0 holds the rows without, bin 1 those with the property.
        rows: Rows of the whole reference.
    """
    if not normal.known:
        return rows
    icc, _ = intraclass(normal)
    return max(round(rows / (1 + icc * max(normal.rows - 1, 0.0))), 2)
