"""How scores and outcomes are read before they are counted: score bins, classes, the positive outcome."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from afterlaunch.decide import InputError

SCORE_BINS = 4096
"""Score bins of a whole table."""

COARSE = 4
"""Neighbouring score bins that are put together where segments are counted."""

POSITIVE_WORDS = (
    "1", "yes", "y", "true", "t", "positive", "pos", "success", "click", "clicked", "converted", "conversion",
    "default", "fraud", "spam", "churn", "churned", "bad", "good",
)  # fmt: skip
"""Outcomes, in lower case, that are taken as the positive one when the user names none."""

NEGATIVE_WORDS = ("0", "no", "n", "false", "f", "negative", "neg", "failure", "none")
"""Outcomes whose counterpart is the positive one when no `POSITIVE_WORDS` match."""

_TAIL = 0.5 ** np.arange(4, 10)
_QUANTILES = np.unique([*(np.arange(13) / 12), *_TAIL, *(1 - _TAIL)])


def score_knots(scores: ArrayLike) -> tuple[float, ...]:
    """Knots of the piecewise linear transform that spreads scores over bins; frozen per reference.

    The knots are quantiles of a sample, denser in the tails where the rarer class often lies.
    Between two knots, bins have equal width. When the sample has few different values (rounded
    scores), every one of them gets a bin of its own.

    Args:
        scores: Sample of scores, shape (n,); NaN and infinite ones are left out.

    Returns:
        (knot, first bin, knot, first bin, ..., last knot, number of bins), flat; () without scores.

    Example:
        >>> knots = score_knots([0.1, 0.2, 0.2, 0.9])
        >>> knots[0], knots[-2], knots[-1]
        (0.0, 1.0, 4096.0)
    """
    x = np.asarray(scores, dtype=np.float64)
    x = np.sort(x[np.isfinite(x)])
    if x.size == 0:
        return ()
    ends = [0.0, 1.0] if x[0] >= 0 and x[-1] <= 1 else [x[0] - 0.5, x[-1] + 0.5] if x[0] == x[-1] else []
    knots = np.unique([*ends, *np.quantile(x, _QUANTILES, method="inverted_cdf")])
    values = np.unique(x)
    gaps = np.diff(values)
    pieces = np.searchsorted(knots, values[:-1], side="right") - 1
    width = np.diff(knots)
    closest = width.copy()
    np.minimum.at(closest, pieces, gaps)
    need = np.ceil(width / np.maximum(closest, 1e-300)) + 1
    room = float(need.sum())
    share = need / room if room <= SCORE_BINS else np.full(width.size, 1 / width.size)
    starts = np.concatenate([[0.0], np.cumsum(share)]) * SCORE_BINS
    starts[-1] = SCORE_BINS
    return tuple(float(v) for pair in zip(knots, starts, strict=True) for v in pair)


def positive_of(values: Iterable[Any], given: Any = None, column: str = "outcome") -> Any:
    """Which outcome counts as positive.

    Args:
        values: The different outcomes, missing ones left out.
        given: The user's choice, or None.
        column: Name of the column, for the message.

    Returns:
        `given` if there is one; else True, 1, or a word of `POSITIVE_WORDS`; else the counterpart
        of a word of `NEGATIVE_WORDS`; else the larger of two numbers.

    Raises:
        InputError: When it cannot be told.

    Example:
        >>> positive_of(["no", "yes"]), positive_of([0, 1]), positive_of(["no", "maybe"])
        ('yes', 1, 'maybe')
    """
    if given is not None:
        return given
    found = sorted(set(values), key=lambda v: (str(type(v)), v))
    if not found:
        return 1
    for value in found:
        if value is True or (not isinstance(value, (str, bool)) and value == 1):
            return value
    words = {str(v).strip().lower(): v for v in found}
    for word in POSITIVE_WORDS:
        if word in words:
            return words[word]
    others = [v for word, v in words.items() if word not in NEGATIVE_WORDS]
    if len(others) == 1 and len(found) == 2:
        return others[0]
    numbers = [v for v in found if isinstance(v, (int, float)) and not isinstance(v, bool)]
    if numbers and len(numbers) == len(found) <= 2:
        return max(1, *numbers)
    shown = ", ".join(repr(v) for v in found[:6])
    raise InputError(
        f"The column {column!r} has the values {shown}; say which one is positive with the role positive=VALUE."
    )


def label(value: Any) -> str:
    """A class as text, the same for 1, 1.0, True and "1".

    Example:
        >>> label(1.0), label(True), label("red")
        ('1', '1', 'red')
    """
    if isinstance(value, bool):
        return str(int(value))
    if isinstance(value, float) and math.isfinite(value) and value == int(value):
        return str(int(value))
    return str(value)
