"""When did a series of windows change?"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

DROP = 3.68
"""By how much the log-likelihood of a window may lie below the best one: (1 - exp(-x))² = .95 at this x."""

KNOWN = 3.0
"""How many values of the series the reference's mean counts as."""


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


def change_point(values: Floats, variances: Floats, before: float, latest: int | None = None) -> ChangePoint | None:
    """The index from which a series has another mean, with a confidence set.

    The log-likelihood of a change at each index is that of normal values with known variances and a
    mean of their own on each side of it; before it the reference counts as `KNOWN` values, so that a
    series that has changed from its start is one that changed at index 0. How far it falls short of
    its maximum at the true change is the larger of two independent maxima of random walks that
    drift downward, one on each side; for changes that are small beside the noise each is
    exponential with mean one, and for larger ones it is stochastically smaller.

    Args:
        values: The series, shape (n,); NaN where there is none.
        variances: Its variances, shape (n,), positive.
        before: Mean that the reference leads to expect before the change.
        latest: Last index at which it may have changed, such as that of the alarm; None for any.

    Returns:
        The change with a set that holds the true index with 95 %; None when no value is left or none
        differs from `before`.

    Source:
        Siegmund (1988), Confidence sets in change-point problems, International Statistical Review
        56:31-48; Hinkley (1970), Biometrika 57:1-17; Schwarz (1978), Annals of Statistics 6:461-464.

    Example:
        >>> found = change_point(np.array([0.0, 0.1, -0.1, 5.0, 5.2, 4.9]), np.ones(6), 0.0)
        >>> found.index, found.low, found.high
        (3, 3, 3)
    """
    have = np.flatnonzero(np.isfinite(values) & (variances > 0))
    if have.size == 0:
        return None
    x, weight = values[have] - before, 1 / variances[have]
    known = KNOWN * float(np.median(weight))
    # Twice the gain of a change at each index, from the sums on both sides of it; `before` counts as `KNOWN` values.
    score, information = np.cumsum((weight * x)[::-1])[::-1], np.cumsum(weight[::-1])[::-1]
    first, behind = (weight * x).sum() - score, weight.sum() - information + known
    gain = (score**2 / information + first**2 / behind) / 2
    # With nothing in front of it a change has one mean less to fit (Schwarz 1978).
    gain[0] += np.log(have.size) / 2
    if latest is not None:
        gain = np.where(have <= latest, gain, -np.inf)
    after, earlier = score / information, first / behind
    best = int(np.argmax(gain))
    if not gain[best] > 0 or after[best] == earlier[best]:
        return None
    side = np.sign(after - earlier)
    # Only changes toward the same side as the best one are the same change.
    alike = np.flatnonzero((gain >= gain[best] - DROP) & (side == side[best]))
    return ChangePoint(int(have[best]), int(have[alike[0]]), int(have[alike[-1]]))
