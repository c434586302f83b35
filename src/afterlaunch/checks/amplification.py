"""Does being shown make an item shown again?"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray
from scipy.stats import chi2

from afterlaunch.checks.evidence import Check, Evidence
from afterlaunch.decide import EffectKind, Estimate
from afterlaunch.finding import Effect, Json, Verdict
from afterlaunch.profile.exposures import Exposures
from afterlaunch.stats.amplification import Amplification, amplification, slice_for
from afterlaunch.stats.contrast import p_beyond
from afterlaunch.stats.intervals import normal_quantile
from afterlaunch.stats.lift import Floats, Moments, lift
from afterlaunch.stats.looks import Once
from afterlaunch.words import estimate as in_words
from afterlaunch.words import quantity

RESPONSE = EffectKind(
    "response",
    "impressions that come back for each given by chance",
    "impressions",
    0.1,
    "up",
    "a tenth of what is given by chance comes back the next time; after ten rounds it would have doubled",
)
COST = EffectKind(
    "cost",
    "share of the outcome that exploration costs",
    "share",
    0.01,
    "up",
    "a hundredth of the clicks is what most teams would pay to know",
)
LEAST_PAIRS = 3
"""Pairs of windows from which a response is told."""

SHARES = (0.01, 0.02, 0.05)
"""Exploration shares of the cure table."""


def run(evidence: Evidence) -> list[Estimate]:
    """The response of exposure to exposure by chance, and what chance costs.

    Args:
        evidence: Needs "exposures".
    """
    seen = evidence.exposures
    if seen is None:
        return []
    out = [_response(seen)]
    cost = _cost(seen, float(evidence.options.get("share", 0.02)))
    return out if cost is None else [*out, cost]


def _pairs(seen: Exposures) -> list[int]:
    """Windows whose next one is there too."""
    ends = [w.end for w in seen.windows]
    return [i for i in range(len(ends) - 1) if ends[i] == seen.windows[i + 1].start]


def _response(seen: Exposures) -> Estimate:
    pairs = _pairs(seen)
    explored = seen.explored is not None and float(seen.explored.sum()) > 0
    if explored and seen.inverse is not None and _independent(seen):
        # Each place was a draw of its own, so propensities tell of the chance in all of them, not in the slice alone.
        explored = False
    if not explored and seen.inverse is None:
        return _unknown(seen, pairs)
    # What was shown in the same window holds the same chance; only the one before does not.
    three = [i for i in pairs if i - 1 in pairs]
    at, count = np.array(three, dtype=np.int64), len(three)
    present = _present(seen)[at] if three else np.zeros((0, seen.shown.shape[1]), dtype=bool)
    found, how = None, "impressions filled by chance" if explored else "logged propensities"
    if three and explored:
        assert seen.explored is not None
        if _uneven(seen.explored, seen.there):
            return _not_random(seen)
        model = seen.shown - seen.explored
        found = amplification(seen.explored[at], seen.explored[at], model[at + 1], model[at - 1], present)
    elif three:
        assert seen.inverse is not None
        weight = seen.shown[at - 1] / np.maximum(seen.shown[at - 1].sum(axis=1, keepdims=True), 1)
        luck = weight * (seen.inverse[at] - seen.shown[at].sum(axis=1, keepdims=True))
        found = amplification(seen.shown[at], luck, seen.shown[at + 1], seen.shown[at - 1], present)
    if found is None and count >= LEAST_PAIRS:
        return Estimate(
            "amplification",
            RESPONSE,
            "",
            None,
            n=int(seen.shown.sum()),
            reason="too_little_chance",
            sentence="Too little was left to chance to see what comes back.",
            action="Explore a larger share, or give a longer log.",
            table=_described(seen),
        )
    if found is None or count < LEAST_PAIRS:
        return Estimate(
            "amplification",
            RESPONSE,
            "",
            None,
            reason="too_few_windows",
            sentence=f"{count} windows with one before and one after are too few to see what comes back.",
            action=f"Give a log of at least {LEAST_PAIRS + 2} whole windows, or a shorter every.",
        )
    return _estimate(seen, found, how, count)


def _independent(seen: Exposures) -> bool:
    """Whether places were drawn independently of each other.

    The sum of 1 / propensity counts how many items could have been drawn: all of them, where each place is a draw of
    its own, and fewer where an item stands in a list only once.
    """
    assert seen.inverse is not None
    could = float((seen.shown.sum(axis=1) * seen.there.sum(axis=1)).sum())
    return could > 0 and abs(float(seen.inverse.sum()) / could - 1) < NEARLY


NEARLY = 0.05
"""By so much may the sum of 1 / propensity be off."""


def _present(seen: Exposures) -> NDArray[np.bool_]:
    """Items that were shown before the window and after the one that follows, or were never shown at all."""
    known = seen.there
    before = np.vstack([np.ones_like(known[:1]), known[:-1]])
    after = np.vstack([known[2:], np.ones_like(known[:2])])[: len(known)]
    # The last windows have nothing after them: there the item has to be shown in the window itself, or later.
    out: NDArray[np.bool_] = before & after & known
    return out


def _uneven(explored: Floats, known: NDArray[np.bool_]) -> bool:
    """Whether impressions marked as chance are not spread as chance spreads them."""
    statistic, df = 0.0, 0
    for counts, inside in zip(explored, known, strict=True):
        n, total = int(inside.sum()), float(counts[inside].sum())
        if n < 2 or total < n:
            continue
        expected = total / n
        statistic += float(((counts[inside] - expected) ** 2).sum()) / expected
        df += n - 1
    return df > 0 and statistic > TOLERATED * df and float(chi2.sf(statistic, df)) < SURELY


TOLERATED, SURELY = 2.0, 1e-6
"""Times that counts may scatter as much as chance has it, and the p-value from which on that is none."""


def _not_random(seen: Exposures) -> Estimate:
    return Estimate(
        "amplification",
        RESPONSE,
        "",
        None,
        n=int(seen.shown.sum()),
        reason="not_random",
        sentence="The impressions marked as filled by chance are not spread evenly over the items, so it was no "
        "lottery among all of them.",
        action="Mark only places that were filled by a draw from the whole catalogue; afterlaunch.explore does.",
        table=_described(seen),
    )


def _estimate(seen: Exposures, found: Amplification, how: str, pairs: int) -> Estimate:
    def say(effect: Effect, verdict: Verdict) -> str:
        del verdict
        return (
            f"{in_words(effect)} come back in the next {seen.every} for each that was given by chance "
            f"({how}; {pairs} {seen.every}s)."
        )

    def needed(margin: float, alpha: float) -> int | None:
        sigmas = normal_quantile(alpha) + normal_quantile(0.2)
        return math.ceil(found.chance * (sigmas * found.se / margin) ** 2)

    return Estimate(
        "amplification",
        RESPONSE,
        "",
        found.value,
        found.interval,
        say=say,
        action="Break the loop: train on explored rows or weigh clicks by 1 / propensity, keep an exploration slice, "
        "and judge items by what they earn when shown at random.",
        n=int(found.chance),
        method=f"two-stage least squares on {how}, clustered by item",
        rows_needed=needed,
        p_value=lambda margin: p_beyond(found.interval, margin, "up"),
        things="impressions by chance",
        table=_described(seen),
    )


def _unknown(seen: Exposures, pairs: list[int]) -> Estimate:
    three = [i for i in pairs if i - 1 in pairs]
    at = np.array(three, dtype=np.int64)
    sentence = "Nothing was shown by chance, so nobody knows whether items are shown because they were shown."
    action = "Fill a small share of places by chance and record it; afterlaunch.explore does both."
    sigmas = normal_quantile(0.05) + normal_quantile(0.2)
    need = None
    if len(three) >= LEAST_PAIRS:
        week = float(seen.shown.sum()) / len(seen.windows)
        need = slice_for(seen.shown[at + 1], seen.shown[at - 1], week, response=RESPONSE.margin, sigmas=sigmas)
    if need is not None:
        share = quantity(float(f"{max(need, 1e-4):.2g}"), "share")
        weeks = f"{len(seen.windows)} {seen.every}s"
        sentence += f" A slice of {share} over {weeks} would tell a response of {RESPONSE.margin} from none."
    elif len(three) >= LEAST_PAIRS:
        sentence += f" Even half of all impressions over {len(seen.windows)} {seen.every}s would not tell; "
        sentence += "it takes a longer log."
    return Estimate(
        "amplification",
        RESPONSE,
        "",
        None,
        n=int(seen.shown.sum()),
        reason="no_randomisation",
        sentence=sentence,
        action=action,
        table=_described(seen),
    )


def _described(seen: Exposures) -> Json | None:
    """Elasticity from window to window. A description: it is 1 where the rich get richer, and where nothing happens."""
    pairs = _pairs(seen)
    values = []
    for i in pairs:
        both = (seen.shown[i] > 0) & (seen.shown[i + 1] > 0)
        if both.sum() < 3:
            continue
        x, y = np.log(seen.shown[i][both]), np.log(seen.shown[i + 1][both])
        spread = float(((x - x.mean()) ** 2).sum())
        if spread > 0:
            values.append((seen.windows[i + 1].label, float(((x - x.mean()) * (y - y.mean())).sum()) / spread))
    if len(values) < 2:
        return None
    line = {"name": "elasticity", "x": [v[0] for v in values], "y": [v[1] for v in values], "low": None, "high": None}
    return {
        "kind": "lines",
        "title": f"Elasticity of impressions to those of the {seen.every} before (a description, no test of a loop)",
        "x_title": seen.every,
        "y_title": "elasticity",
        "series": [line],
    }


# ------------------------------------------------------------------ what a cure costs


def _cost(seen: Exposures, share: float) -> Estimate | None:
    """What an exploration share costs: its places bring what an item drawn at random brings."""
    if seen.explored is None or seen.explored_chosen is None or seen.chosen is None or seen.explored.sum() == 0:
        return None
    model = seen.shown - seen.explored, seen.chosen - seen.explored_chosen
    sides = []
    for rows, hits in (model, (seen.explored, seen.explored_chosen)):
        # Items are the units: rows of one item are alike.
        pair = np.stack([hits.sum(axis=0), rows.sum(axis=0)], axis=1)
        pair = pair[pair[:, 1] > 0]
        if len(pair) < 3 or pair[:, 0].sum() <= 0:
            return None
        sides.append(Moments.of(pair))
    found = lift(sides[0], sides[1], lambda m: float(m[0] / m[1]))
    if found.relative is None or found.se == 0:
        return None

    def interval(low: float, high: float) -> tuple[float, float]:
        ends = found.relative_interval(Once(), high, low)
        return -share * ends[1], -share * ends[0]

    def say(effect: Effect, verdict: Verdict) -> str:
        del verdict
        return (
            f"{in_words(effect)} of the outcome is what an exploration share of {quantity(share, 'share')} costs: "
            f"a place brings {quantity(found.treatment.value, 'share')} when filled by chance, "
            f"{quantity(found.control.value, 'share')} when the model fills it."
        )

    return Estimate(
        "amplification",
        COST,
        "",
        -share * found.relative,
        interval,
        say=say,
        action="Explore less, or only among items that have not been shown enough to be judged.",
        n=int(seen.explored.sum()),
        method="delta method over items",
        binding="units_wanted",
        primary=False,
        things="impressions by chance",
        table=_cures(seen, -found.relative),
    )


def _cures(seen: Exposures, loss: float) -> Json:
    """What shares would cost, and how many impressions by chance each item would get."""
    week, items = float(seen.shown.sum()) / len(seen.windows), seen.shown.shape[1]
    rows = [
        [
            quantity(s, "share"),
            quantity(float(f"{s * loss:.3g}"), "share"),
            f"{s * week:,.0f}",
            f"{s * week / items:,.1f}",
        ]
        for s in SHARES
    ]
    return {
        "kind": "examples",
        "title": f"What exploration costs and reveals, each {seen.every}",
        "columns": ["share explored", "outcome lost", "impressions by chance", "for each item"],
        "rows": rows,
    }


CHECK = Check(
    name="amplification",
    asks="Is what is shown shown because it was shown?",
    kinds=(RESPONSE, COST),
    needs=frozenset({"exposures"}),
    run=run,
)
"""The check, for the registry."""
