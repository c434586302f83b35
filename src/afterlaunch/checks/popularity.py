"""Which items are popular because they are good, and which because they are shown?"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.stats import binom

from afterlaunch.checks.evidence import Check, Evidence
from afterlaunch.decide import EffectKind, Estimate
from afterlaunch.finding import Effect, Json, Verdict
from afterlaunch.profile.exposures import Exposures
from afterlaunch.stats.contrast import p_beyond
from afterlaunch.stats.intervals import normal_quantile, symmetric
from afterlaunch.stats.multiplicity import benjamini_hochberg
from afterlaunch.words import estimate as in_words
from afterlaunch.words import plain, quantity

Floats = NDArray[np.float64]

BEYOND = EffectKind(
    "beyond_quality",
    "share of exposure beyond what items earn when shown by chance",
    "share",
    0.2,
    "up",
    "a fifth of all places goes to items that are no better than others which are not shown",
)
LEAST_CHOSEN = 50
"""Clicks on explored impressions from which quality is told."""

SHOWN = 15
"""Items of the table."""

FALSE_SHARE = 0.05
"""Share of the named items that may be named wrongly."""

PLACES = 20
"""Ways of splitting the explored impressions that are averaged."""


def run(evidence: Evidence) -> list[Estimate]:
    """How much exposure goes beyond quality, with the items that stand out.

    Args:
        evidence: Needs "exposures".
    """
    seen = evidence.exposures
    if seen is None or seen.chosen is None:
        return []
    if seen.explored is None or seen.explored_chosen is None:
        return [
            Estimate(
                "popularity",
                BEYOND,
                "",
                None,
                n=int(seen.shown.sum()),
                reason="no_randomisation",
                sentence="Quality is what an item earns when shown by chance, and no impression is marked as such.",
                action="Fill a small share of places by chance and record it; afterlaunch.explore does both.",
                primary=False,
            )
        ]
    rows, hits = seen.explored.sum(axis=0), seen.explored_chosen.sum(axis=0)
    whole = bool(np.allclose(hits, np.round(hits))) and bool((hits <= rows).all()) and bool((hits >= 0).all())
    if not whole:
        return []
    by_window = seen.shown - seen.explored
    model = by_window.sum(axis=0)
    if hits.sum() < LEAST_CHOSEN or model.sum() <= 0:
        return [
            Estimate(
                "popularity",
                BEYOND,
                "",
                None,
                n=int(rows.sum()),
                reason="too_few_rows",
                sentence=f"{int(hits.sum())} positive outcomes of {int(rows.sum()):,} explored impressions do not tell "
                "which items are good.",
                action=f"Wait for {LEAST_CHOSEN} positive outcomes of explored impressions, or explore more.",
                primary=False,
            )
        ]
    found = beyond(by_window, rows, hits, present=seen.there)

    def say(effect: Effect, verdict: Verdict) -> str:
        del verdict
        return f"{in_words(effect)} of what the model shows goes beyond what the items earn when shown by chance."

    def ends(low: float, high: float) -> tuple[float, float]:
        out = symmetric(found.value, found.se, math.inf, low, high)
        return max(-1.0, out.low), min(1.0, out.high)

    return [
        Estimate(
            "popularity",
            BEYOND,
            "",
            found.value,
            ends,
            say=say,
            action="Look at the items of the table: shown beyond their quality, they are popular because shown.",
            n=int(rows.sum()),
            method="items chosen on one half of the explored impressions, measured on the other",
            binding="too_few_rows",
            p_value=lambda margin: p_beyond(ends, margin, "up"),
            primary=False,
            things="explored impressions",
            table=_items(seen, by_window, rows, hits),
        )
    ]


@dataclass(frozen=True, slots=True)
class Beyond:
    """Exposure beyond quality: its share, and the standard error."""

    value: float
    se: float


def beyond(
    model: Floats, rows: Floats, hits: Floats, *, present: NDArray[np.bool_] | None = None, seed: int = 0
) -> Beyond:
    """Share of the model's impressions that goes to items beyond their share of quality.

    The items that are shown too much are picked on one half of the explored impressions and measured on the
    other: picked and measured on the same, chance alone would look like popularity without quality.

    Args:
        model: Impressions that the model gave each item, shape (items,) or (windows, items).
        rows: Impressions by chance, shape (items,).
        hits: Positive outcomes of those.
        present: Which items were there in each window, shape (windows, items); all when None.
        seed: Of the halving.

    Returns:
        The mean over halvings and both directions; less than the truth where explored impressions are few.

    Example:
        >>> shown = np.array([5000.0, 4000.0, 500.0, 500.0])
        >>> found = beyond(shown, np.full(4, 2000.0), np.array([200.0, 200.0, 200.0, 200.0]))
        >>> round(found.value, 2), found.se < 0.03
        (0.4, True)
    """
    rng = np.random.default_rng(seed)
    model = np.atleast_2d(model)
    there = np.ones(model.shape, dtype=bool) if present is None else present
    share = model.sum(axis=0) / model.sum()
    values, errors = [], []
    whole_rows, whole_hits = np.round(rows).astype(np.int64), np.round(hits).astype(np.int64)
    for _ in range(PLACES):
        first_rows = rng.binomial(whole_rows, 0.5)
        first_hits = rng.hypergeometric(whole_hits, whole_rows - whole_hits, first_rows)
        halves = ((first_rows, first_hits), (whole_rows - first_rows, whole_hits - first_hits))
        for pick, measure in (halves, halves[::-1]):
            quality, _ = _quality(*pick)
            held, variance = _quality(*measure)
            if quality.sum() <= 0 or held.sum() <= 0:
                continue
            chosen = share > quality * _scale(model, there, quality)
            scale = _scale(model, there, held)
            part = float((held * scale)[chosen].sum())
            values.append(float(share[chosen].sum()) - part)
            # Delta method for a share of sums: items inside weigh 1 - part, those outside -part.
            weight = np.where(chosen, 1 - part, -part) * scale
            errors.append(float((weight**2 * variance).sum()))
    if not values:
        return Beyond(0.0, 1.0)
    # A half knows half as much as all explored impressions, but halves are averaged; the larger of the two is taken.
    return Beyond(float(np.mean(values)), math.sqrt(float(np.mean(errors))))


def _scale(model: Floats, present: NDArray[np.bool_], quality: Floats) -> Floats:
    """By what an item's quality is multiplied to be its share of quality, among the items there were in each window."""
    whole = present @ quality
    size = model.sum(axis=1) / model.sum()
    out: Floats = np.where(whole > 0, size / np.maximum(whole, 1e-300), 0.0) @ present
    return out


def _quality(rows: NDArray[np.int64], hits: NDArray[np.int64]) -> tuple[Floats, Floats]:
    """Rate of each item and its variance; without impressions that of all, as nothing speaks against it."""
    overall = float(hits.sum()) / max(float(rows.sum()), 1.0)
    rate = np.where(rows > 0, hits / np.maximum(rows, 1), overall)
    smooth = (hits + overall) / (rows + 1)
    return rate, smooth * (1 - smooth) / np.maximum(rows, 1)


def _items(seen: Exposures, by_window: Floats, rows: Floats, hits: Floats) -> Json | None:
    """Items whose share of exposure differs from their share of quality, after multiplicity."""
    share = by_window.sum(axis=0) / by_window.sum()
    n, k = np.round(rows).astype(np.int64), np.round(hits).astype(np.int64)
    rate, variance = _quality(n, k)
    if float(rate.sum()) <= 0:
        return None
    scale = _scale(by_window, seen.there, rate)
    quality, se = rate * scale, np.sqrt(variance) * scale
    gap = share - quality
    known = np.flatnonzero((rows > 0) & (scale > 0))
    # The rate that an item would have if its exposure were its quality; few rows are held against it exactly.
    expected = np.minimum(share[known] / scale[known], 1.0)
    p = np.minimum(
        1.0, 2 * np.minimum(binom.cdf(k[known], n[known], expected), binom.sf(k[known] - 1, n[known], expected))
    )
    adjusted = benjamini_hochberg(p) if p.size else p
    picked = known[adjusted <= FALSE_SHARE]
    if not picked.size:
        return None
    wide = normal_quantile(FALSE_SHARE * picked.size / max(known.size, 1) / 2)
    order = picked[np.argsort(-gap[picked])]
    most = [*order[:SHOWN], *(i for i in order[SHOWN:][-SHOWN:])]
    table = []
    for i in most:
        low, high = gap[i] - wide * se[i], gap[i] + wide * se[i]
        name = plain(seen.items[i]) if i < len(seen.items) else "never shown by the model"
        because = "shown" if gap[i] > 0 else "good, but not shown"
        interval = f"{_percent(gap[i])} [{_percent(low)}, {_percent(high)}]"
        table.append([name, because, _percent(share[i]), _percent(quality[i]), interval])
    return {
        "kind": "examples",
        "title": f"Items whose exposure is not their quality ({picked.size:,} of {known.size:,}, at most one in "
        f"{1 / FALSE_SHARE:.0f} named by chance)",
        "columns": ["item", "popular because", "share of exposure", "share of quality", "gap"],
        "rows": table,
    }


def _percent(value: float) -> str:
    return quantity(float(f"{value:.2g}"), "share")


CHECK = Check(
    name="popularity",
    asks="Are items popular because they are good, or because they are shown?",
    kinds=(BEYOND,),
    needs=frozenset({"exposures"}),
    run=run,
)
"""The check, for the registry."""
