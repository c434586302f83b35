"""What has changed in ranked lists: their order, their items, and the catalogue that is shown at all."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

from afterlaunch.checks.between import excess_estimate, few, mean_estimate, names_of, replicated
from afterlaunch.checks.evidence import Check, Evidence
from afterlaunch.checks.mix import of_traffic
from afterlaunch.decide import EffectKind, Estimate
from afterlaunch.finding import Effect, Json, Verdict
from afterlaunch.profile.compared import Catalogue, RunPairs
from afterlaunch.stats.clustered import counted
from afterlaunch.words import estimate as in_words
from afterlaunch.words import plain, quantity

RBO = EffectKind(
    "rbo",
    "1 - rank-biased overlap",
    "share",
    0.3,
    "up",
    "lists that keep seven tenths of their weight are still known again by their user",
)
JACCARD = EffectKind(
    "jaccard", "1 - Jaccard overlap", "share", 0.5, "up", "half of the items that either list has are not in both"
)
EXCESS = EffectKind(
    "excess",
    "1 - rank-biased overlap beyond reruns",
    "share",
    0.05,
    "up",
    "a twentieth of the lists' weight that neither seed nor sample explain",
)
NEW = EffectKind(
    "new", "share of places with items not shown before", "share", 0.1, "up", "one place in ten for unknown items"
)
VANISHED = EffectKind(
    "vanished",
    "share of places with items not shown any more",
    "share",
    0.1,
    "up",
    "as for new items, seen from before",
)
ACTION = "Look at the lists moved most before they are shown to users; fewer changes need a pull toward the last model."


def run(evidence: Evidence) -> list[Estimate]:
    """Distances between the lists of two versions, beyond reruns where there are replicates, and changed items.

    Args:
        evidence: Needs "panel".
    """
    panel = evidence.panel
    if panel is None or panel.lists is None:
        return []
    pairs = panel.lists
    lacking = few("lists", RBO, pairs, "lists")
    if lacking is not None and of_traffic(pairs):
        # What the versions put out altogether is still known, and the mix of categories is judged by it.
        items = _items(panel.catalogue, pairs) if panel.catalogue is not None else []
        return [replace(lacking, primary=not panel.mixes), *items]
    if lacking is not None:
        return [lacking]
    out: list[Estimate] = []
    if replicated(pairs):
        out.append(
            excess_estimate(
                "lists",
                EXCESS,
                pairs,
                "rbo",
                what="of the lists' weight changes",
                things="lists",
                title="Change of lists between runs",
                action="The lists change by more than seed and sample: find what changed in the data. " + ACTION,
            )
        )
    else:
        out += [_distance(pairs, RBO), _distance(pairs, JACCARD)]
        out += [_distance(p, RBO, name) for name, p in panel.list_segments.items() if p.total]
    if panel.catalogue is not None:
        out += _items(panel.catalogue, pairs)
    return out


SAYS = {
    "rbo": "of the weight of a list changes from {first} to {second} (rank-biased overlap {rest:.2f})",
    "jaccard": "of the items that either list has are not in both, from {first} to {second} (Jaccard {rest:.2f})",
}


def _distance(pairs: RunPairs, kind: EffectKind, segment: str | None = None) -> Estimate:
    first, second = names_of(pairs.runs, pairs.baseline)
    where = "" if segment is None else f" in {plain(segment)}"

    def say(effect: Effect, verdict: Verdict) -> str:
        del verdict
        rest = SAYS[kind.key].format(first=first, second=second, rest=1 - effect.value)
        return f"{in_words(effect)} {rest}{where}."

    return mean_estimate("lists", kind, pairs, kind.key, say=say, action=ACTION, segment=segment)


def _items(found: Catalogue, pairs: RunPairs) -> list[Estimate]:
    first, second = names_of(pairs.runs, pairs.baseline)
    if not found.slots.sum() or not found.old_slots.sum():
        return []
    new, gone = counted(found.new_slots, found.slots), counted(found.vanished_slots, found.old_slots)

    def say_new(effect: Effect, verdict: Verdict) -> str:
        del verdict
        many = found.candidate - found.both
        return f"{in_words(effect)} of the places of {second} hold items that {first} never shows ({many:,} items)."

    def say_gone(effect: Effect, verdict: Verdict) -> str:
        del verdict
        many = found.baseline - found.both
        return f"{in_words(effect)} of the places of {first} held items that {second} never shows ({many:,} items)."

    out = []
    for kind, side, say, n, movers in (
        (NEW, new, say_new, found.slots, found.gained),
        (VANISHED, gone, say_gone, found.old_slots, found.lost),
    ):
        out.append(
            Estimate(
                "lists",
                kind,
                "",
                side.value,
                side.interval,
                say=say,
                action="See which items these are, and whether they were meant to come or go.",
                n=int(n.sum()),
                things="places of lists",
                # Places of one list depend on each other; they are counted by unit only where there are units.
                method="share of places" + (", design effect of units" if pairs.clustered else ""),
                rows_needed=side.rows_needed,
                binding="units_too_few",
                p_value=side.p_value,
                sample=pairs.sample,
                primary=False,
                table=_movers(movers, first, second),
            )
        )
    return out


def _movers(items: Sequence[tuple[str, float, float]], first: str, second: str) -> Json | None:
    if not items:
        return None
    rows = [[name, _percent(before), _percent(after)] for name, before, after in items]
    return {"kind": "examples", "title": "Items moved most", "columns": ["item", first, second], "rows": rows}


def _percent(value: float) -> str:
    return quantity(float(f"{value:.3g}"), "share") if math.isfinite(value) else ""


CHECK = Check(
    name="lists",
    asks="What has changed in the ranked lists, and is it more than a rerun would change?",
    kinds=(RBO, JACCARD, EXCESS, NEW, VANISHED),
    needs=frozenset({"panel"}),
    run=run,
)
"""The check, for the registry."""
