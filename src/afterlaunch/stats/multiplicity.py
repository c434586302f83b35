"""Sharing one error rate between many tests."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float64]


def holm(p_values: ArrayLike) -> Floats:
    """Holm's adjusted p-values: reject those <= alpha and any false rejection has chance <= alpha.

    Args:
        p_values: Shape (m,), each in [0, 1].

    Returns:
        Adjusted p-values in the order given, shape (m,).

    Source:
        Holm (1979), Scandinavian Journal of Statistics 6:65-70.

    Example:
        >>> holm([0.01, 0.04, 0.03]).tolist()
        [0.03, 0.06, 0.06]
    """
    p = _checked(p_values)
    order = np.argsort(p, kind="stable")
    factors = np.arange(p.size, 0, -1)
    adjusted = np.minimum(np.maximum.accumulate(p[order] * factors), 1.0)
    out = np.empty_like(p)
    out[order] = adjusted
    return out


def benjamini_hochberg(p_values: ArrayLike) -> Floats:
    """Benjamini-Hochberg adjusted p-values: reject those <= q and the expected share of false ones is <= q.

    Holds for independent p-values and for the positively dependent ones that conformal
    outlier tests give (Bates et al. 2023).

    Args:
        p_values: Shape (m,), each in [0, 1].

    Returns:
        Adjusted p-values in the order given, shape (m,).

    Source:
        Benjamini & Hochberg (1995), J. R. Stat. Soc. B 57:289-300.

    Example:
        >>> benjamini_hochberg([0.01, 0.04, 0.03]).tolist()
        [0.03, 0.04, 0.04]
    """
    p = _checked(p_values)
    order = np.argsort(p, kind="stable")
    ranks = np.arange(1, p.size + 1)
    adjusted = np.minimum.accumulate((p[order] * p.size / ranks)[::-1])[::-1]
    out = np.empty_like(p)
    out[order] = np.minimum(adjusted, 1.0)
    return out


def _checked(p_values: ArrayLike) -> Floats:
    p = np.asarray(p_values, dtype=np.float64)
    if p.ndim != 1 or not ((p >= 0) & (p <= 1)).all():
        raise ValueError("p-values are a flat sequence of numbers between 0 and 1.")
    return p
