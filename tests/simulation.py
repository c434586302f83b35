"""Drawing tables of counts again and again, and how far a simulated rate may lie from a promised one."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from scipy import optimize, stats

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

SURE = 1e-3
"""Chance that a rate that is exactly as promised fails its test; every seed is fixed, so it does so once or never."""

BUCKETS = 64


def at_most(rate: float, repeats: int) -> float:
    """Largest share of `repeats` that a true rate of `rate` explains: the 1 - SURE quantile of the binomial."""
    return float(stats.binom.ppf(1 - SURE, repeats, rate)) / repeats


def at_least(rate: float, repeats: int) -> float:
    """Smallest share of `repeats` that a true rate of `rate` explains: the SURE quantile of the binomial."""
    return float(stats.binom.ppf(SURE, repeats, rate)) / repeats


def tilted(p: Floats, distance: Callable[[Floats, Floats], float], theta: float) -> Floats:
    """The distribution q ∝ p · exp(t · j) over bins j that is `theta` from p."""
    if theta == 0:
        return p
    at = np.linspace(-1, 1, p.size)

    def shifted(t: float) -> Floats:
        q = p * np.exp(t * at)
        out: Floats = q / q.sum()
        return out

    return shifted(float(optimize.brentq(lambda t: distance(p, shifted(t)) - theta, 0.0, 20.0)))


def independent(rng: np.random.Generator, p: Floats, rows: int, repeats: int) -> Ints:
    """Counts of independent rows, shape (repeats, 1, K)."""
    return rng.multinomial(rows, p, size=repeats)[:, None, :].astype(np.int64)


def clustered(rng: np.random.Generator, p: Floats, units: int, rows_each: int, icc: float, repeats: int) -> Ints:
    """Counts per bucket of rows that come in units, shape (repeats, 64, K).

    Every unit has a distribution of its own, Dirichlet around p, so that two rows of a unit have
    correlation `icc`; every unit falls into a bucket at random.
    """
    own = rng.dirichlet(p * (1 / icc - 1), size=(repeats, units))
    counts = rng.multinomial(rows_each, own)
    bucket = rng.integers(BUCKETS, size=(repeats, units))
    out = np.zeros((repeats, BUCKETS, p.size), dtype=np.int64)
    np.add.at(out, (np.arange(repeats)[:, None], bucket), counts)
    return out


def most(rate: float, se: float, looks: int) -> float:
    """Largest share that a true `rate` explains with a chance of about 1e-3: 3.1 standard errors, at least binomial."""
    return rate + 3.1 * max(se, np.sqrt(rate * (1 - rate) / looks))
