"""Does exposure beget exposure? What comes back next week of an impression that was given by chance.

Items that are shown much this week are shown much next week because they are good, because the model likes them,
and because being shown made them liked. Only chance tells the last from the others: an item that a lottery showed
more often this week is no better for it, so what the model shows it more next week, it shows because it was shown.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from afterlaunch.stats.intervals import symmetric

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Amplification:
    """Impressions next week for each impression given by chance this week.

    Attributes:
        value: 0 without a loop; 1 when everything given comes back, as where items are shown in proportion to their
            clicks.
        se: Its standard error, clustered by item.
        df: Degrees of freedom: items that count, by the spread of what each contributes.
        chance: Impressions given by chance.
        items: Items that had any.
    """

    value: float
    se: float
    df: float
    chance: float
    items: int

    def interval(self, alpha_low: float, alpha_high: float) -> tuple[float, float]:
        """Ends at one-sided error rates, by Student's t."""
        found = symmetric(self.value, self.se, self.df, alpha_low, alpha_high)
        return found.low, found.high


def amplification(
    given: Floats, drawn: Floats, later: Floats, before: Floats, present: NDArray[np.bool_] | None = None
) -> Amplification | None:
    """The response of exposure to exposure by chance, over pairs of weeks.

    Args:
        given: Impressions this week of which the response is asked, shape (pairs, items).
        drawn: Chance: a number that is higher where the lottery happened to favour an item, and has the same
            expectation for all items of a pair, whatever they are; shape (pairs, items). With a slice of uniform
            exploration it is `given` itself; with propensities, the sum of 1 / propensity over an item's impressions.
        later: Impressions that the model gave next week, shape (pairs, items).
        before: Impressions that tell how much the model would have given anyway, and do not depend on `drawn`;
            shape (pairs, items). They take out variance and set the weights.
        present: Which items could be shown in both weeks, shape (pairs, items); all when None. An item that is not
            there yet, or is gone, was not passed over by the lottery.

    Returns:
        The response; None when fewer than two items had any, or nothing was left to chance.

    Raises:
        ValueError: When shapes differ.

    Source:
        Two-stage least squares with the lottery as instrument (Angrist & Pischke, 2009, chapter 4), weeks as fixed
        effects, weights by the counts expected, variance clustered by item (Liang & Zeger, 1986) with degrees of
        freedom by Satterthwaite's rule.

    Example:
        >>> rng = np.random.default_rng(0)
        >>> chance = rng.poisson(20, (8, 300)).astype(float)
        >>> later = rng.poisson(200 + 0.5 * chance).astype(float)
        >>> found = amplification(chance, chance, later, np.full((8, 300), 200.0))
        >>> round(found.value, 1), [round(v, 1) for v in found.interval(0.025, 0.025)]
        (0.5, [0.4, 0.7])
    """
    if not given.shape == drawn.shape == later.shape == before.shape or given.ndim != 2:
        raise ValueError(f"Shapes differ: {given.shape}, {drawn.shape}, {later.shape}, {before.shape}.")
    pairs, items = given.shape
    if items < 3 or not pairs:
        return None
    parts_above, parts_below = np.zeros(items), np.zeros(items)
    there = np.ones(given.shape, dtype=bool) if present is None else present
    drift, scale_below = _drift(later * there, before * there), 0.0
    for d_all, z_all, y_all, x_all, inside in zip(given, drawn, later, before, there, strict=True):
        d, z, y, x = (v[inside] for v in (d_all, z_all, y_all, x_all))
        if y.sum() <= 0 or d.sum() <= 0:
            continue
        # Weeks of unlike traffic are put on the scale of the week in which the impressions were given.
        scale = (x.sum() or d.sum()) / y.sum()
        y = y * scale
        w = _weights(x, drift) if x.sum() > 0 else np.full(x.size, 1 / max(float(y.mean()), 1e-12))
        rest = _residual(y, x, w)
        away = w * (z - np.average(z, weights=w))
        parts_above[inside] += away * rest
        parts_below[inside] += away * _residual(d, x, w)
        scale_below += float((w * np.abs(z) * d).sum())
    above, below = float(parts_above.sum()), float(parts_below.sum())
    active = int((given.sum(axis=0) > 0).sum())
    if below <= 1e-9 * scale_below or active < 2:
        return None
    value = above / below
    u = parts_above - value * parts_below
    square = float((u**2).sum())
    if square <= 0:
        return None
    df = max(square**2 / float((u**4).sum()) - 1, 1.0)
    se = math.sqrt(square * items / (items - 1)) / below
    return Amplification(value, se, df, float(given.sum()), active)


def _drift(later: Floats, before: Floats) -> float:
    """Variance of an item's growth beyond that of counts: by so much its square scatters more than the item itself."""
    above, below = 0.0, 0.0
    for y, x in zip(later, before, strict=True):
        if y.sum() > 0 and x.sum() > 0:
            y = y * (x.sum() / y.sum())
            large = x > x.mean()
            above += float((((y - x) ** 2 - y - x)[large] / x[large]).sum())
            below += float(x[large].sum())
    return max(above / below, 0.0) if below > 0 else 0.0


def _weights(x: Floats, drift: float) -> Floats:
    """The inverse of how much the exposure of each item scatters, so that one that has won it all does not rule."""
    out: Floats = 1 / (x.mean() + x + drift * x**2)
    return out


def _residual(y: Floats, x: Floats, w: Floats) -> Floats:
    """What a weighted line through the exposure before leaves of the exposure later."""
    x0, y0 = x - np.average(x, weights=w), y - np.average(y, weights=w)
    spread = float((w * x0**2).sum())
    slope = float((w * x0 * y0).sum()) / spread if spread > 0 else 0.0
    out: Floats = y0 - slope * x0
    return out


def slice_for(later: Floats, before: Floats, impressions: float, *, response: float, sigmas: float) -> float | None:
    """Share of impressions that would have to be given by chance for a response to be told from none.

    Args:
        later: Impressions next week, shape (pairs, items), without a lottery.
        before: Impressions this week, the same shape.
        impressions: Impressions in a week.
        response: The response that shall be told.
        sigmas: So many standard errors it shall be, such as 1.64 + 0.84 for a one-sided error of 5 % and 80 % power.

    Returns:
        The share; None when even half of all impressions would not do.

    Example:
        >>> rng = np.random.default_rng(0)
        >>> week = rng.poisson(200, (2, 8, 300)).astype(float)
        >>> round(slice_for(week[0], week[1], 60_000, response=0.1, sigmas=2.5), 2)
        0.26
    """
    total, information = 0, 0.0
    drift = _drift(later, before)
    for y, x in zip(later, before, strict=True):
        if y.sum() <= 0 or x.sum() <= 0:
            continue
        w = _weights(x, drift)
        rest = _residual(y * (x.sum() / y.sum()), x, w)
        # Numbers of a lottery scatter like counts around the same mean, with a variance of share * mean.
        information += float(w.sum()) ** 2 / float((w**2 * rest**2).sum() or 1.0) * impressions / x.size
        total += 1
    if not total or information <= 0:
        return None
    need = (sigmas / response) ** 2 / information
    return need if need <= 0.5 else None
