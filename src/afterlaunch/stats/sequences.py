"""Watching the mean of a bounded loss row by row: when it rose, with errors that hold at every row.

A bet of size b against "the mean is at most m" multiplies its stake by 1 + b (x - m) at every row: a
supermartingale for any loss in [0, 1] whose conditional mean is at most m, whatever its distribution.
For 0/1 losses and b = (q - m) / (m (1 - m)) that factor is the likelihood ratio of q against m, so a
mixture over bets loses next to nothing against the best test.

Starting one such bet at every row and adding them up gives the e-detector of Shiryaev-Roberts form. Its
expectation grows by at most one a row, hence two promises from one threshold A: on average at least A rows
to a false alarm, and P(any false alarm in the first N rows) <= N / A. The CUSUM form (the largest of the
bets instead of their sum) is never above it and keeps no better promise, so it is not offered.

To watch for a fall, give 1 - loss and 1 - m.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy import optimize, special

from afterlaunch.stats.intervals import Interval

Floats = NDArray[np.float64]

CAP = 0.95
"""Largest share of the stake that one row may lose."""

RATIO = 1.7
"""Ratio of neighbouring bets. The best bet for a small rise lies at most midway between two of them, where either
grows at 1 - (0.7 / 2.7)^2 = 93 % of its speed."""

_LOGS = 500.0
"""Products over rows are kept within exp of this before they are rescaled."""


def bets(mean: float, rows: int, threshold: float) -> Floats:
    """Sizes of bets that between them suit every rise that can be told in so many rows.

    Args:
        mean: About the mean of the loss before a rise, in [0, 1].
        rows: Rows of the stream.
        threshold: What the detector has to reach.

    Returns:
        Growing geometrically, shape (K,); K is about 10.

    Source:
        Shin, Ramdas & Rinaldo (2024), New England J. Stat. Data Sci. 2:229-260, section 4 (exponential grid).

    Example:
        >>> bets(0.05, 40_000, 1e6).round(2).tolist()[:3]
        [0.12, 0.2, 0.33]
    """
    m = min(max(mean, 1e-3), 1 - 1e-3)
    largest = CAP / m
    smallest = math.sqrt(2 * math.log(max(threshold, 2.0)) / (max(rows, 1) * m * (1 - m)))
    smallest = min(smallest, largest / 2)
    count = 2 + math.floor(math.log(largest / smallest) / math.log(RATIO))
    return np.asarray(np.geomspace(smallest, largest, count))


def _factors(null: float, sizes: Floats) -> Floats:
    """Bets that lose at most CAP of their stake at a row; their factors fall in `null` for every loss."""
    return np.minimum(sizes, CAP / max(null, 1e-12))


def _pieces(loss: Floats, null: float, b: Floats, start: int, stop: int) -> Iterator[tuple[int, Floats]]:
    """(row, products of factors from that row on, shape (K, rows)) in pieces that neither over- nor underflow."""
    largest = float(max(np.log1p(b * (1 - null)).max(), -np.log1p(-b * null).min(), 1e-3))
    size = int(min(max(_LOGS / largest, 16), 8192))
    for first in range(start, stop, size):
        x = loss[first : min(first + size, stop)]
        yield first, np.multiply.accumulate(1.0 + b[:, None] * (x - null), axis=1)


def first_alarm(
    loss: Floats, null: float, threshold: float, sizes: Floats, *, start: int = 0, stop: int | None = None
) -> int | None:
    """First row at which the e-detector reaches the threshold.

    Whether there is one by a given row is monotone: a larger null or threshold alarms no earlier.

    Args:
        loss: In [0, 1], shape (n,), in order of time.
        null: Mean that the loss has at most, in (0, 1), while there is nothing to find.
        threshold: A > 1. If E[loss | past] <= null at every row, an alarm takes A rows or more on average, and
            comes within N rows with probability at most N / A.
        sizes: Sizes of bets from `bets`, fixed without looking at the loss, shape (K,).
        start: First row to look at; the detector starts empty there.
        stop: Row to stop before; None is the end.

    Returns:
        The row, or None.

    Source:
        Shin, Ramdas & Rinaldo (2024), section 2 (e-SR and its average run length), section 4 (mixtures);
        Waudby-Smith & Ramdas (2024), J. R. Stat. Soc. B 86:1-27, section 4 (betting on a bounded mean).

    Example:
        >>> loss = np.r_[np.zeros(1000), np.ones(20)]
        >>> first_alarm(loss, 0.05, 1e5, bets(0.05, 1020, 1e5))
        1004
    """
    if not 0 < null < 1:
        return None
    b = _factors(null, sizes)
    held = np.zeros((b.size, 1))
    for first, product in _pieces(loss, null, b, start, len(loss) if stop is None else stop):
        sums = np.empty_like(product)
        sums[:, 0] = 1.0
        np.divide(1.0, product[:, :-1], out=sums[:, 1:])
        np.add.accumulate(sums, axis=1, out=sums)
        sums += held
        sums *= product
        over = np.flatnonzero(sums.mean(axis=0) >= threshold)
        if over.size:
            return first + int(over[0])
        held = sums[:, -1:]
    return None


def detector_path(loss: Floats, null: float, sizes: Floats, *, restart: bool = True) -> Floats:
    """Logarithm of the e-detector, or of the e-process that starts at the first row only, after every row.

    Args:
        loss: In [0, 1], shape (n,).
        null: Mean that it has at most, in (0, 1).
        sizes: Sizes of bets, shape (K,).
        restart: False gives the e-process: P(it ever reaches 1 / alpha) <= alpha.

    Returns:
        Shape (n,). For long streams `first_alarm` is faster.

    Source:
        As `first_alarm`; for the e-process Ville (1939), and Howard et al. (2021), Ann. Statist. 49:1055-1080.

    Example:
        >>> path = detector_path(np.ones(3), 0.5, np.array([1.0]))
        >>> np.exp(path).round(3).tolist()  # 1.5, 1.5 (1 + 1.5), 1.5 (1 + 3.75)
        [1.5, 3.75, 7.125]
    """
    b = _factors(null, sizes)
    log = np.log1p(b[:, None] * (loss - null)).cumsum(axis=1)
    if restart:
        before = np.concatenate([np.zeros((b.size, 1)), log[:, :-1]], axis=1)
        log = log + np.logaddexp.accumulate(-before, axis=1)
    return np.asarray(special.logsumexp(log, axis=0) - math.log(b.size))


# ------------------------------------------------------------------ the mean


def mean_limits(loss: Floats, alpha_low: float, alpha_high: float) -> Interval:
    """Limits of the mean of a bounded loss, that hold at every row at once (a confidence sequence's last value).

    The limits are the means that a mixture of bets does not reject; looking again after more rows is allowed.

    Args:
        loss: In [0, 1], shape (n,).
        alpha_low: Chance that the low end is ever above the mean.
        alpha_high: Chance that the high end is ever below it.

    Returns:
        Mean and limits; [0, 1] without rows.

    Source:
        Waudby-Smith & Ramdas (2024), theorem 3 (hedged capital), with a mixture of fixed bets for their plug-in.

    Example:
        >>> i = mean_limits(np.tile([0.0, 0.0, 0.0, 1.0], 500), 0.05, 0.05)
        >>> round(i.low, 3), round(i.high, 3)
        (0.22, 0.282)
    """
    n = len(loss)
    if n == 0:
        return Interval(0.5, 0.0, 1.0)
    mean = float(loss.mean())
    return Interval(mean, min(mean, _lower_limit(loss, alpha_low)), max(mean, 1 - _lower_limit(1 - loss, alpha_high)))


_MEAN_BETS = np.geomspace(1e-3, 1.0, 13)
"""Shares of the largest bet, fixed in advance, with which a limit is tested."""


_NEAR = 1e-6
"""How exactly a limit is found; it is moved outward by as much."""

_STEPS = 16_384
"""Losses of long streams are rounded down to so many steps, which only lowers a lower limit."""


def _lower_limit(loss: Floats, alpha: float) -> float:
    """Smallest mean that is not rejected as too small."""
    values, counts = np.unique(np.floor(loss * _STEPS) / _STEPS if len(loss) > _STEPS else loss, return_counts=True)
    mean, rows, line = float(loss.mean()), counts.astype(np.float64), math.log(1 / alpha)

    def excess(m: float) -> float:
        log = np.log1p((_MEAN_BETS * CAP / m)[:, None] * (values - m)) @ rows
        top = float(log.max())
        return top + math.log(np.exp(log - top).mean()) - line

    if mean <= _NEAR or excess(_NEAR) <= 0:
        return 0.0
    return max(0.0, float(optimize.brentq(excess, _NEAR, mean, xtol=_NEAR, rtol=1e-6)) - _NEAR)


def sample_limits(loss: Floats, alpha_low: float, alpha_high: float) -> Interval:
    """Limits of the mean from one sample of independent rows of a size fixed in advance.

    Clopper-Pearson for 0/1 losses; for others bets planned for just this many rows. Both are never too short.

    Args:
        loss: In [0, 1], shape (n,); for others than 0/1 in random order.
        alpha_low: One-sided error of the low end.
        alpha_high: One-sided error of the high end.

    Source:
        Clopper & Pearson (1934), Biometrika 26:404-413; Waudby-Smith & Ramdas (2024), section 4.1 (fixed time).

    Example:
        >>> i = sample_limits(np.r_[np.ones(5), np.zeros(45)], 0.05, 0.05)
        >>> round(i.low, 3), round(i.high, 3)
        (0.04, 0.199)
    """
    n = len(loss)
    if n == 0:
        return Interval(0.5, 0.0, 1.0)
    mean = float(loss.mean())
    if np.isin(loss, (0.0, 1.0)).all():
        k = round(mean * n)
        low = float(special.betaincinv(k, n - k + 1, alpha_low)) if k else 0.0
        high = float(special.betaincinv(k + 1, n - k, 1 - alpha_high)) if k < n else 1.0
        return Interval(mean, low, high)
    low, high = _planned(loss, alpha_low), 1 - _planned(1 - loss, alpha_high)
    return Interval(mean, min(low, mean), max(high, mean))


def _planned(loss: Floats, alpha: float) -> float:
    """Lower limit from bets of the size that suits n rows, given the variance seen before each."""
    n = len(loss)
    at = np.arange(1, n + 1)
    centre = (0.5 + loss.cumsum()) / (at + 1)
    variance = (0.25 + ((loss - centre) ** 2).cumsum()) / (at + 1)
    line = math.log(1 / alpha)
    planned = np.sqrt(2 * line / (n * np.concatenate([[0.25], variance[:-1]])))
    low, high = 0.0, float(loss.mean())
    for _ in range(24):
        m = (low + high) / 2
        gain = np.log1p(np.minimum(planned, CAP / max(m, 1e-12)) * (loss - m)).sum()
        low, high = (m, high) if gain >= line else (low, m)
    return low


def running_mean(loss: Floats, alpha: float) -> tuple[Floats, Floats, Floats]:
    """Mean up to every row, with a confidence sequence for the average of the conditional means so far.

    Args:
        loss: In [0, 1], shape (n,); its conditional mean may change from row to row.
        alpha: Chance that the sequence ever misses, half of it on either side.

    Returns:
        Mean, low and high after every row, each of shape (n,).

    Source:
        Howard, Ramdas, McAuliffe & Sekhon (2021), theorem 4 (empirical Bernstein) with the stitched boundary of
        eq. 10 at eta = 2, s = 1.4, m = 1.

    Example:
        >>> mean, low, high = running_mean(np.tile([0.0, 1.0], 5000), 0.05)
        >>> round(float(low[-1]), 3), round(float(high[-1]), 3)
        (0.478, 0.522)
    """
    at = np.arange(1, len(loss) + 1)
    total = loss.cumsum()
    mean = total / at
    guess = np.concatenate([[0.5], mean[:-1]])
    half = stitched(((loss - guess) ** 2).cumsum(), alpha / 2) / at
    return mean, np.maximum(mean - half, 0.0), np.minimum(mean + half, 1.0)


def stitched(variance: Floats, alpha: float, *, scale: float = 1.0) -> Floats:
    """Boundary that a sub-gamma sum of such accumulated variance crosses with probability at most alpha.

    Source:
        Howard et al. (2021), eq. 10.

    Example:
        >>> v = 1e4
        >>> simple = 1.7 * np.sqrt(v * (np.log(np.log(2 * v)) + 0.72 * np.log(5.2 / 0.025)))  # their eq. 2
        >>> round(float(stitched(np.array([v]), 0.025, scale=0.0)[0] / simple), 2)
        1.0
    """
    eta, s = 2.0, 1.4
    v = np.maximum(variance, 1.0)
    first, second = (eta**0.25 + eta**-0.25) / math.sqrt(2), (math.sqrt(eta) + 1) / 2
    level = s * np.log(np.log(eta * v)) + math.log(float(special.zeta(s)) / (alpha * math.log(eta) ** s))
    return np.asarray(np.sqrt(first**2 * v * level + (second * scale * level) ** 2) + second * scale * level)


# ------------------------------------------------------------------ when it changed


@dataclass(frozen=True, slots=True)
class ChangePoint:
    """When the mean of a stream changed.

    Attributes:
        row: First row after the change, the most likely one.
        low: Earliest row in the confidence set.
        high: Latest row in it.
        before: Mean before.
        after: Mean from `row` on.
    """

    row: int
    low: int
    high: int
    before: float
    after: float


def change_point(
    loss: Floats,
    *,
    start: int = 0,
    stop: int | None = None,
    known: tuple[float, float] = (0.0, 0.0),
    alpha: float = 0.05,
) -> ChangePoint:
    """The row at which the mean of a bounded loss changed once, with a confidence set.

    The set holds every row whose likelihood, with the means before and after at their best for that row, is within
    a factor of the largest. At the true row each side of the ratio is a martingale of mean 1, so that its largest
    value exceeds e^c with probability at most e^-c; (1 - e^-c)^2 = 1 - alpha. The binomial likelihood serves every
    loss in [0, 1], for which it is on the safe side. Means that are estimated cost about one half each in c, which is
    added.

    Args:
        loss: In [0, 1], shape (n,).
        start: First row that is looked at.
        stop: Row to stop before; None is the end.
        known: Sum and number of losses from before the stream, such as the reference's.
        alpha: Chance that the set misses the row.

    Source:
        Siegmund (1988), Int. Stat. Rev. 56:31-48; Hinkley (1970), Biometrika 57:1-17.

    Example:
        >>> found = change_point(np.r_[np.tile([0, 0, 0, 1.0], 50), np.tile([0, 1, 1, 1.0], 25)])
        >>> found.row, found.low <= 200 <= found.high
        (201, True)
    """
    stop = len(loss) if stop is None else stop
    x = loss[start:stop]
    n = len(x)
    if n == 0:
        raise ValueError("There is no row at which the loss could have changed.")
    done = np.concatenate([[0.0], x.cumsum()[:-1]])
    rows = np.arange(n, dtype=np.float64)
    left, left_rows = done + known[0], rows + known[1]
    right, right_rows = x.sum() - done, n - rows
    fit = _binomial(left, left_rows) + _binomial(right, right_rows)
    if known[1] == 0 and n > 1:
        fit[0] = -np.inf
    best = int(np.argmax(fit))
    line = -math.log(1 - math.sqrt(1 - alpha)) + 1.0
    near = np.flatnonzero(fit >= fit[best] - line)
    before = float(left[best] / left_rows[best]) if left_rows[best] else float(x.mean())
    return ChangePoint(
        start + best, start + int(near[0]), start + int(near[-1]), before, float(right[best] / right_rows[best])
    )


def _binomial(total: Floats, rows: Floats) -> Floats:
    """Largest binomial log-likelihood of so much loss in so many rows."""
    rows = np.maximum(rows, 1e-300)
    total = np.clip(total, 0.0, rows)
    return np.asarray(special.xlogy(total, total / rows) + special.xlogy(rows - total, 1 - total / rows))


# ------------------------------------------------------------------ one break after the other

LEARN = 250
"""Rows after an alarm from which its level is learnt at first; twice as many each time nothing has happened."""

Direction = Literal["rise", "fall", "recovery"]


@dataclass(frozen=True, slots=True)
class Break:
    """One change of the mean that was found.

    Attributes:
        direction: "rise" beyond the margin, above what it was; "fall", still outside the margin; or "recovery".
        alarm: Row at which it was found.
        change: When it happened.
    """

    direction: Direction
    alarm: int
    change: ChangePoint


def monitor(
    loss: Floats, normal: Interval, margin: float, threshold: float, *, known: tuple[float, float], alpha: float
) -> tuple[Break, ...]:
    """All breaks of a stream, in order.

    While the mean is normal, its rise above `normal.high + margin` is watched for. After an alarm three detectors
    run: for a mean back below the line that was crossed, which ends it, and for a further rise or a fall by more than
    the margin, against the level since the alarm. That level is learnt anew from twice the rows whenever twice the
    rows went by. After a recovery the normal level holds again.

    Args:
        loss: In [0, 1], shape (n,), in order of time.
        normal: Mean and limits of the loss when all is well.
        margin: How much rise matters.
        threshold: A of every detector, see `first_alarm`. As they run on stretches that do not overlap, the expected
            number of false alarms from the normal level is at most n / A in all.
        known: Sum and number of the losses behind `normal`.
        alpha: One-sided error of the limits of a learnt level.

    Example:
        >>> loss = np.r_[np.tile([0, 0, 0, 0, 1.0], 200), np.tile([0, 1.0], 500), np.tile([0, 0, 0, 0, 1.0], 400)]
        >>> found = monitor(loss, Interval(0.2, 0.19, 0.21), 0.1, 1e5, known=(2e3, 1e4), alpha=0.01)
        >>> [(b.direction, b.change.row) for b in found]
        [('rise', 999), ('recovery', 2000)]
    """
    n = len(loss)
    sizes = bets(normal.value, n, threshold), bets(1 - normal.value, n, threshold)
    found: list[tuple[Direction, int]] = []
    at = 0
    while at < n:
        alarm = first_alarm(loss, normal.high + margin, threshold, sizes[0], start=at)
        if alarm is None:
            break
        found.append(("rise", alarm))
        end = first_alarm(1 - loss, 1 - normal.high - margin, threshold, sizes[1], start=alarm + 1)
        found += _while_open(loss, margin, threshold, alpha, alarm + 1, n if end is None else end)
        if end is None:
            break
        found.append(("recovery", end))
        at = end + 1
    return _dated(loss, found, known)


def _while_open(
    loss: Floats, margin: float, threshold: float, alpha: float, start: int, stop: int
) -> list[tuple[Direction, int]]:
    """Changes of the level between an alarm and its end."""
    found: list[tuple[Direction, int]] = []
    begin, length = start, LEARN
    while begin + length < stop:
        level = sample_limits(loss[begin : begin + length], alpha, alpha)
        until = min(begin + 2 * length, stop)
        sizes = bets(level.value, stop - begin, threshold), bets(1 - level.value, stop - begin, threshold)
        here = begin + length
        up = first_alarm(loss, level.high + margin, threshold, sizes[0], start=here, stop=until)
        down = first_alarm(1 - loss, 1 - level.low + margin, threshold, sizes[1], start=here, stop=until)
        if up is None and down is None:
            length *= 2
            continue
        if down is None or (up is not None and up <= down):
            assert up is not None
            found.append(("rise", up))
        else:
            found.append(("fall", down))
        begin, length = found[-1][1] + 1, LEARN
    return found


def _dated(loss: Floats, found: list[tuple[Direction, int]], known: tuple[float, float]) -> tuple[Break, ...]:
    """When each break happened, given its neighbours; a fall that was the recovery already is left out."""
    out: list[Break] = []
    for direction, alarm in found:
        if direction == "recovery" and out and out[-1].direction == "fall":
            # Was it one change, or did the mean fall in two steps?
            earlier = _change(loss, out[:-1], alarm + 1, known)
            if out[-1].change.low <= earlier.row <= out[-1].change.high:
                out.pop()
        out.append(Break(direction, alarm, _change(loss, out, alarm + 1, known)))
    for i, b in enumerate(out):
        # With the rows up to the next break the level after it is known better.
        stop = out[i + 1].change.row if i + 1 < len(out) else len(loss)
        if stop > b.alarm:
            out[i] = Break(b.direction, b.alarm, _change(loss, out[:i], stop, known))
    return tuple(out)


def _change(loss: Floats, before: list[Break], stop: int, known: tuple[float, float]) -> ChangePoint:
    if not before:
        return change_point(loss, stop=stop, known=known)
    start = before[-1].change.row
    normal = before[-1].direction == "recovery"
    return change_point(loss, start=start, stop=stop, known=known if normal else (0.0, 0.0))
