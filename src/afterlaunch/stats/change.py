"""When did a series of windows change?"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

DROP = 3.68
"""By how much the log-likelihood of a window may lie below the best one: (1 - exp(-x))² = .95 at this x."""


@dataclass(frozen=True, slots=True)
class ChangePoint:
    """Where a series changed.

    Attributes:
        index: First index after the change.
        low: Earliest index of the 95 % confidence set.
        high: Latest index of it.
    """

    index: int
    low: int
    high: int


def change_point(values: Floats, variances: Floats, before: float) -> ChangePoint | None:
    """The index from which a series has another mean, with a confidence set.

    The log-likelihood of a change at each index is that of normal values with known variances, the
    mean `before` in front of it and their own weighted mean from it on. How far it falls short of
    its maximum at the true change is the larger of two independent maxima of random walks that
    drift downward, one on each side; for changes that are small beside the noise each is
    exponential with mean one, and for larger ones it is stochastically smaller.

    Args:
        values: The series, shape (n,); NaN where there is none.
        variances: Its variances, shape (n,), positive.
        before: Mean before the change.

    Returns:
        The change with a set that holds the true index with 95 %; None when no value is left or none
        differs from `before`.

    Source:
        Siegmund (1988), Confidence sets in change-point problems, International Statistical Review
        56:31-48; Hinkley (1970), Biometrika 57:1-17.

    Example:
        >>> found = change_point(np.array([0.0, 0.1, -0.1, 5.0, 5.2, 4.9]), np.ones(6), 0.0)
        >>> found.index, found.low, found.high
        (3, 3, 3)
    """
    have = np.flatnonzero(np.isfinite(values) & (variances > 0))
    if have.size == 0:
        return None
    x, weight = values[have] - before, 1 / variances[have]
    # From index t on, at the mean of what is left: the gain over no change is (sum w x)² / (2 sum w).
    score, information = np.cumsum((weight * x)[::-1])[::-1], np.cumsum(weight[::-1])[::-1]
    gain = score**2 / (2 * information)
    best = int(np.argmax(gain))
    if gain[best] <= 0:
        return None
    # Only changes toward the same side as the best one are the same change.
    alike = np.flatnonzero((gain >= gain[best] - DROP) & (np.sign(score) == np.sign(score[best])))
    return ChangePoint(int(have[best]), int(have[alike[0]]), int(have[alike[-1]]))
