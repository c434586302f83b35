"""How long outcomes take to come, and what share of a window's outcomes is in."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from afterlaunch.stats.intervals import Interval, logit_scale, share

Floats = NDArray[np.float64]

ENOUGH = 0.95
"""A window is mature when at least this share of the outcomes that it will ever have is expected to be in."""

OLDEST = 4
"""Where no outcome has a time, one window in so many, the oldest, shows what share of rows ever gets an outcome."""


@dataclass(frozen=True)
class Delays:
    """The distribution of the delay between a row and its outcome, among outcomes that ever come.

    "Ever" reaches as far as the log does: a delay longer than the oldest row's age cannot be known.

    Attributes:
        time: Distinct delays seen, rising, shape (J,).
        arrived: Share of outcomes that have come by each of them, shape (J,).
        se: Standard errors of the shares, shape (J,); infinite where there is nothing to tell them from.
        ever: Share of rows that get an outcome at all; 1 when only rows with outcomes were seen.
        longest: Greatest age of a row, the longest delay that could have been seen.
        rows: Rows behind it.
        method: How it was estimated.
    """

    time: Floats
    arrived: Floats
    se: Floats
    ever: float
    longest: float
    rows: int
    method: str

    def matured_by(self, age: ArrayLike) -> Floats:
        """Share of outcomes that have come when rows are this old.

        Args:
            age: In the unit of the delays, any shape.

        Returns:
            Same shape, in [0, 1].
        """
        at = np.searchsorted(self.time, np.asarray(age, dtype=np.float64), side="right")
        return np.concatenate([[0.0], self.arrived])[at]

    def share(self, age: ArrayLike, alpha_low: float = 0.05, alpha_high: float = 0.05) -> Interval:
        """Share of the outcomes of some rows that is expected to be in.

        Args:
            age: Age of every row, shape (n,).
            alpha_low: One-sided error of the low end.
            alpha_high: One-sided error of the high end.

        Returns:
            The mean of `matured_by` over the rows. Each end is the mean of the ends at the single ages, which
            is too wide rather than too narrow, since the shares at two ages are positively dependent. Without
            rows the share is 0 and the interval says nothing.
        """
        ages = np.asarray(age, dtype=np.float64).ravel()
        if ages.size == 0:
            return Interval(0.0, 0.0, 1.0)
        at, count = np.unique(np.searchsorted(self.time, ages, side="right"), return_counts=True)
        each = [self._at(int(j), alpha_low, alpha_high) for j in at]
        low, value, high = (
            float(np.average([getattr(i, end) for i in each], weights=count)) for end in ("low", "value", "high")
        )
        return Interval(value, low, high)

    @property
    def settled(self) -> bool:
        """Whether the log is long enough to know the delays: few outcomes took more than three quarters of it.

        Otherwise later outcomes than any that could be seen are likely. For exponential delays the border is a
        log about three times as long as their mean, when 95 % have come.
        """
        before = float(self.matured_by(0.75 * self.longest))
        return self.time.size > 0 and 1 - before <= 1 - ENOUGH

    def quantile(self, level: float) -> float:
        """Delay by which this share of the outcomes has come; infinite when it never has."""
        reached = np.flatnonzero(self.arrived >= level - 1e-12)
        return float(self.time[reached[0]]) if reached.size else np.inf

    def _at(self, j: int, alpha_low: float, alpha_high: float) -> Interval:
        value, se = (0.0, 0.0) if j == 0 else (float(self.arrived[j - 1]), float(self.se[j - 1]))
        if 0 < value < 1 and np.isfinite(se) and se > 0:
            return logit_scale(value, se, np.inf, alpha_low, alpha_high)
        if not np.isfinite(se):
            return Interval(value, 0.0, 1.0)
        # None or all of what came has come by then: as sure as a share of all outcomes seen.
        return share(value * self.rows, self.rows, alpha_low, alpha_high)


def censored(delay: ArrayLike, age: ArrayLike) -> Delays:
    """Delays when every row is known from its start, and its outcome is missing until it comes.

    The Kaplan-Meier estimate, taken as a share of those that ever come: rows that never get an outcome make it
    level off, at one less the share `ever`.

    Args:
        delay: Time from the row to its outcome, NaN while it has not come, shape (n,).
        age: Time from the row to the end of the log, shape (n,).

    Returns:
        The distribution; with no outcome at all it is empty.

    Raises:
        ValueError: When the shapes differ.

    Source:
        Kaplan & Meier (1958), JASA 53:457-481; variances by Greenwood's hazards and the delta method; the level
        as the share that ever has the event: Maller & Zhou (1992), Biometrika 79:731-739.

    Example:
        >>> found = censored([1.0, 2.0, np.nan, np.nan], [4.0, 4.0, 1.5, 4.0])
        >>> found.matured_by([0.5, 1.0, 9.0]).round(3).tolist(), round(found.ever, 3)
        ([0.0, 0.4, 1.0], 0.625)
    """
    x, a = _pair(delay, age)
    come = np.isfinite(x)
    # An outcome from before its row, or after the end of the log, is there at once or at the end.
    x = np.where(come, np.clip(x, 0.0, np.maximum(a, 0.0)), np.inf)
    longest = float(a.max(initial=0.0))
    time, events = np.unique(x[come], return_counts=True)
    if time.size == 0:
        return Delays(time, np.zeros(0), np.zeros(0), 0.0, longest, x.size, "Kaplan-Meier")
    ends = np.sort(np.minimum(x, a))
    at_risk = (ends.size - np.searchsorted(ends, time, side="left")).astype(np.float64)
    hazard = events / at_risk
    left = np.cumprod(1 - hazard)
    last = float(left[-1])
    come_by, ever = 1 - left, 1 - last
    with np.errstate(divide="ignore", invalid="ignore"):
        noise = np.where(at_risk > events, events / (at_risk * np.maximum(at_risk - events, 1e-300)), 0.0)
    # Derivatives by the hazard of each time: of the share at that time or later, and of the level.
    late = -come_by * last / ever**2
    early = left / ever + late
    so_far = np.cumsum(noise)
    variance = early**2 * so_far + late**2 * (so_far[-1] - so_far)
    arrived: Floats = np.asarray(come_by / ever, dtype=np.float64)
    return Delays(time, arrived, np.sqrt(variance), ever, longest, x.size, "Kaplan-Meier")


def truncated(delay: ArrayLike, age: ArrayLike) -> Delays:
    """Delays when a row is in the table only once its outcome has come.

    Late outcomes of young rows are not seen, so that plain shares make delays too short. In reversed time
    they are left-truncated, and the product-limit estimate is right again.

    Args:
        delay: Time from the row to its outcome, shape (n,).
        age: Time from the row to the end of the log, shape (n,); no delay is longer than it.

    Returns:
        The distribution of delays up to the greatest age.

    Raises:
        ValueError: When the shapes differ, or a delay is missing.

    Source:
        Lagakos, Barraj & De Gruttola (1988), Biometrika 75:515-523, eq. 2.4; Woodroofe (1985), Annals of
        Statistics 13:163-177.

    Example:
        >>> found = truncated([1.0, 1.0, 3.0], [2.0, 5.0, 5.0])  # Young rows show only short delays.
        >>> found.matured_by([1.0, 3.0]).round(3).tolist()
        [0.5, 1.0]
    """
    x, a = _pair(delay, age)
    if not np.isfinite(x).all():
        raise ValueError("A delay is missing; give only rows whose outcome has come.")
    x = np.clip(x, 0.0, np.maximum(a, 0.0))
    longest = float(a.max(initial=0.0))
    time, events = np.unique(x, return_counts=True)
    if time.size == 0:
        return Delays(time, np.zeros(0), np.zeros(0), 0.0, longest, 0, "reverse-time Kaplan-Meier")
    # At risk at t in reversed time: in the table by then, and old enough that t could have been seen.
    seen = np.searchsorted(np.sort(x), time, side="right")
    too_young = np.searchsorted(np.sort(a), time, side="left")
    at_risk = (seen - too_young).astype(np.float64)
    factor = 1 - events / at_risk
    # Share at a time: the product over all later ones.
    arrived = np.append(np.cumprod(factor[:0:-1])[::-1], 1.0)
    with np.errstate(divide="ignore"):
        noise = np.where(factor > 0, events / (at_risk * np.maximum(at_risk - events, 1e-300)), np.inf)
    log_variance = np.append(np.cumsum(noise[:0:-1])[::-1], 0.0)
    with np.errstate(invalid="ignore"):
        se = np.where(np.isfinite(log_variance), arrived * np.sqrt(log_variance), np.inf)
    return Delays(time, arrived, se, 1.0, longest, x.size, "reverse-time Kaplan-Meier")


@dataclass(frozen=True)
class Maturity:
    """Which windows have their outcomes.

    Attributes:
        share: Share of each window's outcomes that is expected to be in, shape (W,).
        low: Low end of its 95 % interval, shape (W,).
        high: High end, shape (W,).
        mature: Whether that is enough, shape (W,).
    """

    share: Floats
    low: Floats
    high: Floats
    mature: NDArray[np.bool_]


def by_delay(delays: Delays, ages: Sequence[Floats], here: Sequence[Floats] | None = None) -> Maturity:
    """Maturity of windows from the delay distribution.

    Args:
        delays: From `censored` or `truncated`.
        ages: Ages of each window's rows, each of shape (n_w,).
        here: Whether each of these rows has its outcome, where rows without one are in the table too.

    Returns:
        A window is mature when the low end of the share's interval is at least `ENOUGH`, or the estimate is and
        the window holds no row younger than every delay seen, provided that the delays have settled
        (`Delays.settled`); or when that many of its rows have their outcome. One without rows is not mature.
    """
    each = [delays.share(a, 0.025, 0.025) for a in ages]
    value, low, high = (np.array([getattr(i, end) for i in each]) for end in ("value", "low", "high"))
    longest = float(delays.time[-1]) if delays.time.size else np.inf
    old = np.array([a.size > 0 and float(a.min()) >= longest for a in ages], dtype=np.bool_)
    mature = ((low >= ENOUGH) | (old & (value >= ENOUGH))) & delays.settled
    if here is not None:
        known = np.array([float(h.mean()) if h.size else 0.0 for h in here])
        mature |= known >= ENOUGH
        value, low, high = (np.maximum(x, known) for x in (value, low, high))
    return Maturity(value, low, high, mature)


def by_share(with_outcome: ArrayLike, rows: ArrayLike) -> Maturity:
    """Maturity of windows where no outcome has a time: their share of rows with an outcome beside the oldest windows'.

    Args:
        with_outcome: Rows with an outcome, windows from old to new, shape (W,).
        rows: All rows, shape (W,).

    Returns:
        Shares are relative to that of the oldest quarter of the windows that have rows. A window is mature when
        its own share is at least `ENOUGH` of that, or is within its error of it and a later window is mature.
        When all windows are equally immature nothing here can tell.

    Example:
        >>> by_share([98, 97, 99, 98, 60, 3], [100] * 6).mature.tolist()
        [True, True, True, True, False, False]
    """
    k, n = np.asarray(with_outcome, dtype=np.float64), np.asarray(rows, dtype=np.float64)
    filled = np.flatnonzero(n > 0)
    oldest = filled[: max(1, filled.size // OLDEST)]
    level = float(k[oldest].sum() / n[oldest].sum()) if oldest.size else 0.0
    if level <= 0:
        nothing = np.zeros(k.size)
        return Maturity(nothing, nothing, np.ones(k.size), np.zeros(k.size, dtype=np.bool_))
    each = [share(a, b, 0.025, 0.025) if b > 0 else Interval(0.0, 0.0, 1.0) for a, b in zip(k, n, strict=True)]
    value, low, high = (np.array([getattr(i, end) for i in each]) / level for end in ("value", "low", "high"))
    own = (n > 0) & (value >= ENOUGH)
    later = np.append(np.flip(np.maximum.accumulate(np.flip(own)))[1:], False)
    mature = own | ((n > 0) & later & (high >= 1.0))
    return Maturity(np.minimum(value, 1.0), np.minimum(low, 1.0), np.minimum(high, 1.0), mature)


def _pair(delay: ArrayLike, age: ArrayLike) -> tuple[Floats, Floats]:
    x, a = np.asarray(delay, dtype=np.float64), np.asarray(age, dtype=np.float64)
    if x.shape != a.shape or x.ndim != 1:
        raise ValueError("Delays and ages are two flat sequences of the same length.")
    return x, a
