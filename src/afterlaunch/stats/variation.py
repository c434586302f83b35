"""Effects window by window, as the excess over how much windows differ in normal times.

Windows of the same length from the reference's own history say how much one window differs from
another while nothing is wrong: sampling noise, shocks that a whole day shares, and the pattern of
the week. A window of production is held against the reference windows of its own phase (Mondays
against Mondays). What windows of the history differ by, beyond what their rows explain, is the
shock variance: it raises the expected distance of a normal window, which is taken off, and it is
part of every interval.

An interval rests on the projection of a window's shares on the direction of the change seen. Its
variance between windows of the history holds whatever the windows depend on within themselves
(units, sessions, hours), and Student's t pays for estimating it from so many windows.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from scipy import special

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Distance = Literal["psi", "ks", "wasserstein", "linf"]

FEWEST_WINDOWS = 8
"""Fewest windows of the history from which a variance between windows is taken."""

MOST_LAGS = 14
"""Windows over which dependence between neighbours is taken into account: two weeks of days."""

NOISE_DRAWS = 400
"""Draws of pure sampling noise behind the expected distance of two samples of one distribution."""


@dataclass(frozen=True)
class Normal:
    """Windows of the reference: what normal is.

    Attributes:
        counts: Rows per window and bin, shape (R, K); R is 0 where the reference has no history.
        whole: Rows of the whole reference per bin, shape (K,).
        phase: Phase of each window (0 to 6 for the days of a week), shape (R,); all 0 without a cycle.
    """

    counts: Ints
    whole: Ints
    phase: Ints

    @property
    def known(self) -> bool:
        """Whether there is enough history to know how windows vary."""
        return self.df >= FEWEST_WINDOWS - 1

    @property
    def df(self) -> int:
        """Windows less the means that are estimated from them."""
        filled = self.counts.sum(axis=1) > 0
        return int(filled.sum()) - int(np.unique(self.phase[filled]).size)

    @property
    def rows(self) -> float:
        """Rows of a window that has any."""
        return float(self.counts.sum() / max(int((self.counts.sum(axis=1) > 0).sum()), 1))

    def filled(self, length: int) -> int:
        """How many of so many windows have rows, as in the history."""
        share = float((self.counts.sum(axis=1) > 0).mean()) if len(self.counts) else 1.0
        return max(round(length * share), 1)

    def together(self, length: int) -> Normal:
        """The history cut into blocks of so many windows, from its end, in one phase; dependence stays inside them."""
        number = self.counts.shape[0] // length
        last = self.counts[self.counts.shape[0] - number * length :]
        blocks = last.reshape(number, length, self.counts.shape[1]).sum(axis=1)
        return Normal(blocks, self.whole, np.zeros(number, dtype=np.int64))

    def grouped(self, groups: NDArray[np.intp]) -> Normal:
        """Merge bins: bin j goes to group groups[j]."""
        return Normal(merged(self.counts, groups), merged(self.whole[None, :], groups)[0], self.phase)


@dataclass(frozen=True)
class Looks:
    """Windows of production, one or several together at a time.

    Attributes:
        counts: Rows per look and bin, shape (L, K).
        phase: Phase of the look, shape (L,); -1 where it spans whole cycles.
        length: Windows in it, shape (L,).
    """

    counts: Ints
    phase: Ints
    length: Ints

    def grouped(self, groups: NDArray[np.intp]) -> Looks:
        """Merge bins: bin j goes to group groups[j]."""
        return Looks(merged(self.counts, groups), self.phase, self.length)


@dataclass(frozen=True)
class Followed:
    """An effect at every look.

    Attributes:
        value: Estimates, shape (L,); NaN for looks without rows.
        raw: The plain distances, shape (L,).
        expected: What a normal window is expected to show, on the scale on which it adds up, shape (L,).
        se: Standard errors of the plain distances far from zero, shape (L,).
        se_high: The same where the distance itself may be chance: not less than that of a normal window.
        wobble: Variance of what normal windows show, on the scale on which it adds up, shape (L,).
        df: Degrees of freedom behind `se`, shape (L,).
        df_wobble: Degrees of freedom behind `wobble`, shape (L,).
        quadratic: Whether the distance is quadratic in a small change, as PSI is.
        most: Largest value that the distance can have.
    """

    value: Floats
    raw: Floats
    expected: Floats
    se: Floats
    se_high: Floats
    wobble: Floats
    df: Floats
    df_wobble: Floats
    quadratic: bool
    most: float = math.inf

    def ends(self, alpha_low: Floats, alpha_high: Floats) -> tuple[Floats, Floats]:
        """Ends of the interval of each look at the given one-sided errors; never below zero.

        Args:
            alpha_low: Those of the low ends, shape (L,).
            alpha_high: Those of the high ends, shape (L,).
        """
        raw = np.maximum(self.raw, 1e-100)
        wobble = self.wobble if self.quadratic else self.wobble / (4 * raw**2)
        total = self.se**2 + wobble
        # Satterthwaite (1946): degrees of freedom of a sum of variances.
        with np.errstate(divide="ignore", invalid="ignore"):
            part = np.where(total > 0, wobble / total, 0.0)
            df = 1 / ((1 - part) ** 2 / self.df + part**2 / self.df_wobble)
        if self.quadratic:
            grows = self.se**2 / raw
            low = _score(self.raw, self.expected, wobble, grows, quantile(alpha_low, df))
            high = _score(self.raw, self.expected, wobble, grows, -quantile(alpha_high, df))
        else:
            # The expected part is taken off the squares, so that the plain distance keeps its standard error.
            under = quantile(alpha_low, df) * np.sqrt(total)
            low = np.sqrt(np.maximum(np.maximum(self.raw - under, 0.0) ** 2 - self.expected, 0.0))
            # What chance adds to a distance is less, the further it is from zero: `ok` does not count on it.
            high = self.raw + quantile(alpha_high, self.df) * self.se_high
        return np.minimum(np.maximum(low, 0.0), self.value), np.maximum(np.minimum(high, self.most), self.value)


def _score(raw: Floats, expected: Floats, wobble: Floats, grows: Floats, z: Floats) -> Floats:
    """The distance at which `raw` lies `z` standard errors above what is to be seen, shape (L,).

    A quadratic distance is near a scaled chi-square: at theta its mean is the expected value and theta, its
    variance that of a normal window and a part that grows with theta (Patnaik 1949); quantiles by the cube root
    (Wilson & Hilferty 1931).
    """

    def seen(theta: Floats) -> Floats:
        mean = np.maximum(expected + theta, 1e-100)
        a = (wobble + grows * theta) / mean**2 / 9
        out: Floats = mean * np.maximum(1 - a + z * np.sqrt(a), 0.0) ** 3
        return out

    low, high = np.zeros_like(raw), 2 * raw + 1e-12
    while (short := seen(high) < raw).any() and float(high.max()) < 1e12:
        high = np.where(short, 2 * high, high)
    for _ in range(50):
        middle = (low + high) / 2
        below = seen(middle) < raw
        low, high = np.where(below, middle, low), np.where(below, high, middle)
    return np.where(seen(np.zeros_like(raw)) >= raw, 0.0, high)


def quantile(alpha: Floats, df: Floats) -> Floats:
    """Upper `alpha` quantile of Student's t; the normal one where `df` is infinite.

    Example:
        >>> quantile(np.array([0.025, 0.025]), np.array([10.0, np.inf])).round(3).tolist()
        [2.228, 1.96]
    """
    with np.errstate(invalid="ignore"):
        t = special.stdtrit(np.where(np.isfinite(df), df, 1.0), alpha)
    out: Floats = -np.where(np.isfinite(df), t, special.ndtri(alpha))
    return out


def merged(counts: Ints, groups: NDArray[np.intp]) -> Ints:
    """Add up bins that belong to one group.

    Args:
        counts: Shape (N, K).
        groups: Group of each bin, shape (K,), numbered from 0 without gaps.

    Example:
        >>> merged(np.array([[1, 2, 3]]), np.array([0, 0, 1])).tolist()
        [[3, 3]]
    """
    out = np.zeros((counts.shape[0], int(groups.max()) + 1), dtype=np.int64)
    for j, g in enumerate(groups):
        out[:, g] += counts[:, j]
    return out


def distances(kind: Distance, normal: Normal, looks: Looks, spacing: Floats | None = None) -> Followed:
    """Distance of every look from the reference, in excess of that of a normal window.

    Args:
        kind: Which distance: the definitions are those of `stats.distances`, over the same bins.
        normal: The reference.
        looks: What is looked at.
        spacing: For Wasserstein, the width that each inner edge stands for, in its unit, shape (K - 1,).

    Returns:
        Estimates with the expected value of a normal window taken off: on the scale of squares for
        those distances that are proportional to a change (KS, Wasserstein, L-infinity), on its own for PSI,
        which is quadratic in the change.

    Source:
        Delta method; PSI's bias: Yurdakul & Naranjo (2020), Journal of Risk Model Validation 14(4), eq. 11.
        Variance between blocks of dependent rows: Politis, Romano & Wolf (1999), Subsampling, ch. 3.

    Example:
        >>> rng = np.random.default_rng(0)
        >>> days = rng.multinomial(1000, [0.5, 0.3, 0.2], size=28)
        >>> normal = Normal(days, days.sum(axis=0), np.zeros(28, dtype=np.int64))
        >>> now = Looks(np.array([[500, 300, 200], [300, 300, 400]]), np.zeros(2, dtype=np.int64), np.ones(2))
        >>> distances("linf", normal, now).value.round(1).tolist()
        [0.0, 0.2]
    """
    n = looks.counts.sum(axis=1).astype(np.float64)
    base, m = normal_counts(normal, looks.phase)
    raw, toward, away = _measure(kind, base, looks.counts, spacing)
    power = 1 if kind == "psi" else 2
    noise, spread = _noise(kind, normal, spacing)
    with np.errstate(divide="ignore", invalid="ignore"):
        sampling = 1 / n + 1 / m
        own = _spread_of(toward, _shares(looks.counts)) / n
        other = _spread_of(away, _shares(base)) / m
        wobble = spread * sampling**2
    shock, df, df_wobble = np.zeros_like(n), np.full(n.shape, math.inf), np.full(n.shape, math.inf)
    if normal.known:
        for length in np.unique(looks.length):
            mine, filled = looks.length == length, normal.filled(int(length))
            blocks, size = _blocks(normal, int(length))
            extra, varied = _excess(kind, blocks, spacing, noise, power)
            shock[mine] = extra * size / length
            wobble[mine] = np.maximum(wobble[mine], varied * (size / length) ** 2)
            between, within, freedom = _together(normal, toward[mine], int(length))
            # What windows add may be a shock of its own size, or multiply the variance that rows have: the larger is
            # taken. The gradient of PSI is steep where production has few rows; for it only the latter makes sense.
            times = np.divide(between, within, out=np.ones_like(within), where=within > 0)
            multiplied = own[mine] * (1 + np.maximum(times - 1, 0.0) * n[mine] / filled / normal.rows)
            added = own[mine] + np.maximum(between - within, 0.0) / filled
            own[mine] = multiplied if kind == "psi" else np.maximum(multiplied, added)
            df[mine] = freedom
            df_wobble[mine] = np.minimum(freedom, blocks.df)
        reference, _, echo, _ = _between(normal, away, len(normal.phase))
        other = (reference + echo) / windows_behind(normal, looks.phase)
    with np.errstate(invalid="ignore"):
        expected = np.maximum(noise * sampling + shock, 0.0)
        value = np.maximum(raw**power - expected, 0.0) ** (1 / power)
    some = (n > 0) & (m > 0)
    value = np.where(some, value, np.nan)
    se, expected, wobble = (np.where(some, x, 0.0) for x in (np.sqrt(own + other), expected, wobble))
    # Where changes of both signs cancel by chance, so does the variance along their direction.
    se_high = np.maximum(se, np.sqrt(expected)) if kind == "wasserstein" else se
    most = 1.0 if kind in {"ks", "linf"} else math.inf
    return Followed(value, raw, expected, se, se_high, wobble, df, df_wobble, kind == "psi", most)


def _blocks(normal: Normal, length: int) -> tuple[Normal, int]:
    """The longest blocks of the history, if there are enough, that make up `length` windows, and their size."""
    for size in range(length, 1, -1):
        if length % size == 0 and (blocks := normal.together(size)).known:
            return blocks, size
    return normal, 1


def _shares(counts: Ints) -> Floats:
    rows = counts.sum(axis=1, keepdims=True)
    out: Floats = counts / np.maximum(rows, 1)
    return out


def _spread_of(direction: Floats, shares: Floats) -> Floats:
    """Variance of a projection of one row, shape (L,)."""
    out: Floats = np.maximum((direction**2 * shares).sum(axis=1) - (direction * shares).sum(axis=1) ** 2, 0.0)
    return out


def normal_counts(normal: Normal, phase: Ints) -> tuple[Ints, Floats]:
    """Reference rows per bin that each look is held against, and how many rows those are.

    Args:
        normal: The reference's windows.
        phase: Phase of each look, -1 for all windows together, shape (L,).

    Returns:
        Shapes (L, K) and (L,).
    """
    by_phase = {-1: normal.whole}
    for f in np.unique(phase[phase >= 0]):
        own = normal.counts[normal.phase == f].sum(axis=0) if normal.known else normal.whole
        by_phase[int(f)] = own if own.sum() > 0 else normal.whole
    base = np.stack([by_phase[int(f)] for f in phase]) if phase.size else np.zeros((0, normal.whole.size), np.int64)
    return base, base.sum(axis=1).astype(np.float64)


def windows_behind(normal: Normal, phase: Ints) -> Floats:
    """How many windows of the reference are behind each look's base, shape (L,).

    Args:
        normal: The reference's windows.
        phase: Phase of each look, shape (L,).
    """
    filled = normal.counts.sum(axis=1) > 0
    number = {int(f): int((filled & (normal.phase == f)).sum()) for f in np.unique(phase)}
    every = int(filled.sum())
    return np.array([number[int(f)] or every if f >= 0 else every for f in phase], dtype=np.float64)


def _measure(kind: Distance, base: Ints, counts: Ints, spacing: Floats | None) -> tuple[Floats, Floats, Floats]:
    """The plain distance of each row of counts from its base, and its gradients in the shares of both."""
    if kind == "psi":
        k = counts.shape[1]
        p = (base + 0.5) / (base.sum(axis=1, keepdims=True) + k / 2)
        q = (counts + 0.5) / (counts.sum(axis=1, keepdims=True) + k / 2)
        log = np.log(q / p)
        return ((q - p) * log).sum(axis=1), log + 1 - p / q, -log + 1 - q / p
    change = _shares(counts) - _shares(base)
    rows = np.arange(change.shape[0])
    if kind == "linf":
        top = np.argmax(np.abs(change), axis=1)
        toward = np.zeros_like(change)
        toward[rows, top] = _side(change[rows, top])
        return np.abs(change[rows, top]), toward, -toward
    below = np.cumsum(change, axis=1)[:, :-1]
    if kind == "ks":
        top = np.argmax(np.abs(below), axis=1) if below.shape[1] else np.zeros(len(rows), dtype=np.intp)
        at = below[rows, top] if below.shape[1] else np.zeros(len(rows))
        toward = np.where(np.arange(change.shape[1])[None, :] <= top[:, None], _side(at)[:, None], 0.0)
        return np.abs(at), toward, -toward
    assert spacing is not None
    signed = spacing * _side(below)
    toward = np.zeros_like(change)
    toward[:, :-1] = np.cumsum(signed[:, ::-1], axis=1)[:, ::-1]
    return (spacing * np.abs(below)).sum(axis=1), toward, -toward


def _side(change: Floats) -> Floats:
    """1 or -1; a change of nothing has a direction too, or it would have no variance."""
    out: Floats = np.where(change < 0, -1.0, 1.0)
    return out


def _noise(kind: Distance, normal: Normal, spacing: Floats | None) -> tuple[float, float]:
    """Mean and variance of the plain distance (or its square) of two samples of the reference's distribution.

    Over 1/n + 1/m, and over its square.
    """
    p = normal.whole / max(int(normal.whole.sum()), 1)
    if kind == "psi":
        k = float(max(int(np.count_nonzero(p)) - 1, 0))
        return k, 2 * k
    e = np.random.default_rng(0).normal(size=(NOISE_DRAWS, p.size)) * np.sqrt(p)
    z = e - p * e.sum(axis=1, keepdims=True)
    below = np.abs(np.cumsum(z, axis=1)[:, :-1])
    if kind == "linf":
        plain: Any = np.abs(z).max(axis=1)
    elif below.shape[1] == 0:
        return 0.0, 0.0
    else:
        plain = below.max(axis=1) if kind == "ks" else below @ _given(spacing)
    return float(np.mean(plain**2)), float(np.var(plain**2))


def _given(spacing: Floats | None) -> Floats:
    assert spacing is not None
    return spacing


def _excess(kind: Distance, normal: Normal, spacing: Floats | None, noise: float, power: int) -> tuple[float, float]:
    """What windows of the history differ by from the rest of it, on the scale on which it adds up.

    Returns its mean beyond sampling, and its variance.
    """
    n = normal.counts.sum(axis=1)
    keep = n > 0
    counts, phase, n = normal.counts[keep], normal.phase[keep], n[keep]
    totals = {int(f): counts[phase == f].sum(axis=0) for f in np.unique(phase)}
    rest = np.stack([totals[int(f)] - row for f, row in zip(phase, counts, strict=True)])
    m = rest.sum(axis=1)
    use = m > 0
    if use.sum() < 2:
        return 0.0, 0.0
    raw, _, _ = _measure(kind, rest[use], counts[use], spacing)
    found = raw**power
    return float((found - noise * (1 / n[use] + 1 / m[use])).mean()), float(found.var(ddof=1))


def _together(normal: Normal, direction: Floats, length: int) -> tuple[Floats, Floats, Floats]:
    """As `_between`, what neighbours have in common included, for the mean of `length` windows times their number.

    Blocks show more of it where they are the weeks in which it lies; the larger is taken.
    """
    between, within, carried, df = _between(normal, direction, normal.filled(length))
    between = between + carried
    blocks, size = _blocks(normal, length)
    if size > 1:
        whole, _, _, _ = _between(blocks, direction, 1)
        between = np.maximum(between, whole * normal.filled(size))
    return between, within, df


def _between(normal: Normal, direction: Floats, length: int) -> tuple[Floats, Floats, Floats, Floats]:
    """Variance of a projection between windows, and what belongs to it, each of shape (L,).

    That is: what the rows of a window explain of it; what neighbouring windows have in common, which a mean of
    `length` windows does not average out; and degrees of freedom. A variance has fewer of them, the more windows
    are correlated, by the sum of squared correlations (Bartlett 1946; by chance each is 1 / R), and one that adds
    covariances has 1 / sum of squared weights times as many as there are windows (Priestley 1981, 6.2.3).
    """
    keep = normal.counts.sum(axis=1) > 0
    shares, phase, n = _shares(normal.counts[keep]), normal.phase[keep], normal.counts[keep].sum(axis=1)
    centred = shares.copy()
    for f in np.unique(phase):
        centred[phase == f] -= shares[phase == f].mean(axis=0)
    off = centred @ direction.T  # (R, L)
    size, df = len(n), normal.df
    between = np.einsum("rl,rl->l", off, off) / df
    square = (shares @ (direction.T**2)) - (shares @ direction.T) ** 2
    within = (np.maximum(square, 0.0) / n[:, None]).mean(axis=0)
    alike, carried, weights = np.zeros_like(between), np.zeros_like(between), 1.0
    varies = between > 1e-9 * np.maximum(within, 1e-12)
    for lag in range(1, min(size // 4, MOST_LAGS) + 1):
        gamma = np.einsum("rl,rl->l", off[lag:], off[:-lag]) / df
        alike += np.divide(gamma, between, out=np.zeros_like(gamma), where=varies) ** 2 - 1 / size
        if lag < length:
            carried += 2 * (1 - lag / length) * gamma
            weights += 2 * (1 - lag / length) ** 2
    carried = np.where(varies, np.maximum(carried, 0.0), 0.0)
    part = np.divide(carried, between + carried, out=np.zeros_like(carried), where=varies)
    own = (1 + 2 * np.maximum(alike, 0.0)) / df
    return between, within, carried, 1 / ((1 - part) * own + part * np.maximum(own, weights / size))


def shares_by_phase(normal: Normal, phase: Ints) -> Floats:
    """Shares of the reference that each window is held against, shape (W, K).

    Args:
        normal: The reference.
        phase: Phase of each window, shape (W,).
    """
    return _shares(normal_counts(normal, phase)[0])


def variance_along(normal: Normal, direction: Floats, counts: Ints) -> Floats:
    """Variance of windows along a direction: of their rows, and of normal windows beyond that.

    Args:
        normal: The reference.
        direction: Weight of each bin, shape (K,).
        counts: Windows, shape (W, K).

    Returns:
        Shape (W,).
    """
    each = np.tile(direction, (counts.shape[0], 1))
    own = _spread_of(each, _shares(counts)) / np.maximum(counts.sum(axis=1), 1)
    if normal.known:
        between, within, _, _ = _between(normal, direction[None, :], 1)
        own = own + max(float(between[0] - within[0]), 0.0)
    floor = max(float(np.median(own[own > 0])) * 1e-3, 1e-12) if (own > 0).any() else 1e-12
    out: Floats = np.maximum(own, floor)
    return out


def intraclass(normal: Normal, length: int = 1) -> tuple[float, float]:
    """Correlation of rows of one window, raised by what `length` windows have in common, and degrees of freedom.

    Args:
        normal: The reference's windows, of two bins.
        length: Windows that are taken together.
    """
    direction = np.array([[0.0, 1.0]])
    between, within, df = (float(v[0]) for v in _together(normal, direction, length))
    share = float(normal.counts[:, 1].sum() / max(int(normal.counts.sum()), 1))
    if share * (1 - share) <= 0:
        return 0.0, math.inf
    return max(between - within, 0.0) / (share * (1 - share)), df
