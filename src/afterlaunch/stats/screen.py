"""A cheap look at whether two tables differ in any column or pair of columns."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import stats

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]


@dataclass(frozen=True)
class Screen:
    """A cheap look at means, spreads and correlations.

    Attributes:
        p_value: For no difference of any of them, rows taken as independent.
        moved: The largest z-value in which each column takes part, shape (D,).
    """

    p_value: float
    moved: Floats


def screen(x: Floats, production: Bools) -> Screen:
    """Whether means, spreads and correlations of two tables differ: what can be seen without a classifier.

    Args:
        x: Columns as ranks or codes, NaN where missing, shape (n, D).
        production: Which rows are production's, shape (n,).

    Returns:
        A p-value that needs no permutations. Values are centred and scaled over both tables, missing
        ones count as the mean, and which values are missing is one more column. Means are compared
        together (Hotelling's T squared), second moments one by one (Bonferroni).

    Source:
        Hotelling (1931), Annals of Mathematical Statistics 2:360-378; second moments by their own
        empirical variance as in Cai, Liu & Xia (2013), JASA 108:265-277, eq. 2.

    Example:
        >>> rng = np.random.default_rng(0)
        >>> x = rng.normal(size=(2000, 2))
        >>> production = np.arange(2000) >= 1000
        >>> x[1000:, 1] = (x[1000:, 0] + x[1000:, 1]) / 2**0.5
        >>> screen(x, production).p_value < 1e-6
        True
    """
    width = x.shape[1]
    missing = np.isnan(x)
    z = np.where(missing, 0.0, x - _mean_known(x, missing))
    some = missing.any(axis=0) & ~missing.all(axis=0)
    z = np.concatenate([z, missing[:, some].astype(np.float64)], axis=1)
    owner = np.concatenate([np.arange(width), np.flatnonzero(some)])
    z = z - z.mean(axis=0)
    scale = z.std(axis=0)
    keep = scale > 0
    z, owner = z[:, keep] / scale[keep], owner[keep]
    moved = np.zeros(width)
    if z.shape[1] == 0:
        return Screen(1.0, moved)
    a, b = z[~production], z[production]
    means = _z(a.mean(axis=0) - b.mean(axis=0), a.var(axis=0), b.var(axis=0), len(a), len(b))
    pooled = np.cov(a, rowvar=False).reshape(z.shape[1], -1) / len(a) + np.cov(b, rowvar=False).reshape(
        z.shape[1], -1
    ) / len(b)
    values, vectors = np.linalg.eigh(pooled)
    whole = values > 1e-8 * values.max()
    along = (a.mean(axis=0) - b.mean(axis=0)) @ vectors[:, whole]
    p_mean = float(stats.chi2.sf((along**2 / values[whole]).sum(), int(whole.sum())))
    a, b = a - a.mean(axis=0), b - b.mean(axis=0)
    second = [(t.T @ t) / len(t) for t in (a, b)]
    fourth = [(t**2).T @ t**2 / len(t) - s**2 for t, s in zip((a, b), second, strict=True)]
    seconds = _z(second[0] - second[1], fourth[0], fourth[1], len(a), len(b))
    pairs = z.shape[1] * (z.shape[1] + 1) / 2
    p_second = min(1.0, pairs * 2 * float(stats.norm.sf(np.abs(seconds).max())))
    np.maximum.at(moved, owner, np.maximum(np.abs(means), np.abs(seconds).max(axis=1)))
    return Screen(min(1.0, 2 * min(p_mean, p_second)), moved)


def _mean_known(x: Floats, missing: Bools) -> Floats:
    count = np.maximum((~missing).sum(axis=0), 1)
    out: Floats = np.where(missing, 0.0, x).sum(axis=0) / count
    return out


def _z(change: Floats, first: Floats, second: Floats, m: int, n: int) -> Floats:
    se = np.sqrt(np.maximum(first, 0) / m + np.maximum(second, 0) / n)
    out: Floats = change / np.where(se > 1e-12, se, np.inf)
    return out
