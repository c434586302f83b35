"""Are this week's clusters those of last week, beyond what another run of the same clustering would change?"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from afterlaunch.checks.between import COMMON, excess_estimate
from afterlaunch.checks.cluster_events import Story, Weeks, weeks_of
from afterlaunch.checks.evidence import Check, Evidence
from afterlaunch.decide import EffectKind, Estimate
from afterlaunch.finding import Effect, Verdict
from afterlaunch.profile.compared import Labelings
from afterlaunch.stats.agreement import disagreement
from afterlaunch.stats.churn import net
from afterlaunch.stats.clustered import counted
from afterlaunch.stats.contrast import p_beyond
from afterlaunch.stats.information import adjusted_mutual_information, variation_of_information
from afterlaunch.stats.partitions import match
from afterlaunch.words import estimate as in_words
from afterlaunch.words import quantity

CHANGE = EffectKind(
    "change",
    "one minus the adjusted Rand index",
    "share",
    0.2,
    "up",
    "an adjusted Rand index of 0.8, from which Steinley (2004) calls agreement good",
)
EXCESS = EffectKind(
    "excess",
    "change of clusters beyond reruns",
    "share",
    0.05,
    "up",
    "a twentieth of the way to a random clustering that neither seed nor sample explain",
)
MOVED = EffectKind(
    "moved",
    "share of members in another cluster",
    "share",
    0.1,
    "up",
    "one member in ten: what is addressed to clusters must be looked at again",
)
NOISE = EffectKind(
    "noise",
    "change in the share of members in no cluster",
    "share",
    0.05,
    "both",
    "one member in twenty more, or fewer, that nothing is done for",
)

FEWEST = 10
"""Members below which nothing is said of a clustering."""

RECOVERED = 0.8
"""Share of the previous members that their nearest centroid must put into their own cluster."""

SAID = 3
"""Events that a sentence tells."""

RERUNS = (
    "Reruns of one week differ, too: the change beyond reruns says whether this is more than they do. Only where it "
    "is, look at the clusters that are new, gone, split or merged."
)
KEEP = (
    "Look at the clusters that are new, gone, split or merged before anything that is addressed by cluster runs; "
    "al.StableKMeans keeps clusters as long as the data lets it, and al.ClusterHistory keeps their names."
)


def run(evidence: Evidence) -> list[Estimate]:
    """How much two clusterings differ, who moved, and whether it is more than between reruns.

    Args:
        evidence: Needs "labelings". Options: "descriptions", a mapping of "previous" and "current" to what is
            telling about each label; "by_centroids", a second `Labelings` that informs.
    """
    found = evidence.labelings
    if found is None:
        return []
    out = _judged(found, evidence.options.get("descriptions") or {}, primary=True)
    other = evidence.options.get("by_centroids")
    if isinstance(other, Labelings):
        out += _judged(other, {}, primary=False)
    return out


def _judged(found: Labelings, told: Mapping[str, Mapping[str, str]], *, primary: bool) -> list[Estimate]:
    subject = "centroids" if found.recovered is not None else ""
    if not primary:
        subject = "centroids"
    lacking = _lacking(found, subject, primary)
    out: list[Estimate] = []
    if lacking is not None:
        out.append(lacking)
    else:
        weeks = weeks_of(found)
        informs = primary and found.reruns is None
        out += [_change(weeks, found, subject, informs), _moved(weeks, found, told, subject, informs)]
        if weeks.noisy:
            out.append(_noise(weeks, found, subject, informs))
    if primary and found.reruns is not None:
        out.append(_excess(found))
    return out


def _lacking(found: Labelings, subject: str, primary: bool) -> Estimate | None:
    """Why nothing can be said, or None."""
    together, alone = int(found.counts.sum()), sum(found.alone)
    weeks = weeks_of(found)
    clustered = float(weeks.members.sum())
    filled = [int((weeks.clusters.sum(axis=(0, axis)) > 0).sum()) for axis in (2, 1)]
    more = "Give both weeks' labels of the same members, or features, so that clusters are compared by centroids."
    if together == 0 and alone == 0:
        why, say, do = "no_rows", "Neither clustering has any members.", "Give two tables of members and labels."
    elif together == 0:
        why, say, do = "no_shared_rows", "The two clusterings have no member in common.", more
    elif together < COMMON * (together + alone):
        share = quantity(float(f"{together / (together + alone):.3g}"), "share")
        say = (
            f"Only {share} of the members are in both clusterings: {found.alone[0]:,} in the previous one alone, "
            f"{found.alone[1]:,} in the current one."
        )
        why, do = "few_in_common", more
    elif clustered == 0:
        why, say = "no_values", f"None of {together:,} members is in a cluster, before or now."
        do = "Give labels other than -1 and missing."
    elif filled == [1, 1] and not weeks.noisy:
        why, say = "undefined", f"Both clusterings have one cluster, of {together:,} members: nothing can change."
        do = "Nothing to do, unless there should be more clusters."
    elif clustered < FEWEST:
        why, say = "too_few_rows", f"{clustered:.0f} members in clusters are too few to compare."
        do = f"Give {FEWEST} members or more."
    elif found.recovered is not None and found.recovered < RECOVERED:
        share = quantity(float(f"{found.recovered:.3g}"), "share")
        why = "not_by_centroid"
        say = f"Their nearest centroid puts only {share} of the previous members into their own cluster."
        do = "Give the features that the clustering was made from, or both weeks' labels of the same members."
    else:
        return None
    return Estimate(
        "clusters",
        CHANGE,
        subject,
        None,
        n=together,
        reason=why,
        sentence=say,
        action=do,
        primary=primary and found.reruns is None,
    )


def _change(weeks: Weeks, found: Labelings, subject: str, primary: bool) -> Estimate:
    table = weeks.table()
    whole = table.sum(axis=0)
    measured = disagreement(table)
    assert measured is not None
    information = adjusted_mutual_information(whole)
    sizes = [sum(bool(s > 0) for s in weeks.clusters.sum(axis=(0, axis))) for axis in (2, 1)]

    def say(effect: Effect, verdict: Verdict) -> str:
        del verdict
        how = "by their nearest centroids, " if subject else ""
        return (
            f"{in_words(effect)} short of the same clustering: {how}{sizes[0]} clusters before and {sizes[1]} "
            f"now agree with an adjusted Rand index of {1 - effect.value:.2f} and an adjusted mutual information of "
            f"{information:.2f}{_rest(found)}."
        )

    rows = [
        ["adjusted Rand index", round(1 - measured.value, 4)],
        ["adjusted mutual information", round(information, 4)],
        ["variation of information, nats", round(variation_of_information(whole), 4)],
        ["variation of information, 0 to 1", round(variation_of_information(whole, normalised=True), 4)],
        ["clusters before", sizes[0]],
        ["clusters now", sizes[1]],
    ]
    return Estimate(
        "clusters",
        CHANGE,
        subject,
        measured.value,
        measured.interval,
        say=say,
        action=KEEP if found.reruns is None else RERUNS,
        n=int(whole.sum()),
        method="infinitesimal jackknife of the adjusted Rand index" + (", by unit" if len(table) > 1 else ""),
        rows_needed=measured.rows_needed,
        binding="units_too_few",
        p_value=measured.p_value,
        primary=primary,
        sample=found.sample,
        table={"kind": "examples", "title": "How alike the two are", "columns": ["measure", "value"], "rows": rows},
    )


def _rest(found: Labelings) -> str:
    """What is left out, in words."""
    parts = []
    for number, when in zip(found.alone, ("before", "now"), strict=True):
        if number:
            parts.append(f"{number:,} members only {when}")
    return f"; left out: {' and '.join(parts)}" if parts else ""


def _moved(
    weeks: Weeks, found: Labelings, told: Mapping[str, Mapping[str, str]], subject: str, primary: bool
) -> Estimate:
    whole = weeks.clusters.sum(axis=0)
    same = np.zeros_like(whole)
    for i, j in match(whole).pairs:
        same[i, j] = 1.0
    stayed = (weeks.clusters * same).sum(axis=(1, 2))
    measured = counted(weeks.members - stayed, weeks.members)
    story = Story(weeks, told)
    worst = story.notable()
    survived = len(story.events) - len(worst)
    said = "; ".join(story.phrase(e) for e in worst[:SAID])
    more = f"; and {len(worst) - SAID} more" if len(worst) > SAID else ""

    def say(effect: Effect, verdict: Verdict) -> str:
        del verdict
        lasting = f"{survived} cluster survives" if survived == 1 else f"{survived} clusters survive"
        lead = f"{in_words(effect)} of members are in another cluster than before; {lasting}"
        return f"{lead}; {said}{more}." if worst else f"{lead}, and none split, merged, was born or died."

    return Estimate(
        "clusters",
        MOVED,
        subject,
        measured.value,
        measured.interval,
        say=say,
        action=KEEP if found.reruns is None else RERUNS,
        n=int(weeks.members.sum()),
        method="Jeffreys interval of a share, clusters matched by Jaccard's overlap"
        + (", design effect of units" if len(weeks.members) > 1 else ""),
        rows_needed=measured.rows_needed,
        binding="units_too_few",
        p_value=measured.p_value,
        primary=primary,
        sample=found.sample,
        table=story.table(),
    )


def _noise(weeks: Weeks, found: Labelings, subject: str, primary: bool) -> Estimate:
    every = weeks.members + weeks.never
    fell, rose = weeks.fell.sum(axis=1), weeks.rose.sum(axis=1)
    measured = net(fell, rose, every)
    total = float(every.sum())
    before = float(weeks.never.sum() + rose.sum()) / total
    now = float(weeks.never.sum() + fell.sum()) / total

    def say(effect: Effect, verdict: Verdict) -> str:
        del verdict
        shown = [quantity(float(f"{s:.3g}"), "share") for s in (before, now)]
        return (
            f"{in_words(effect)} change in the share of members in no cluster, from {shown[0]} to {shown[1]}: "
            f"{fell.sum():,.0f} fell out of theirs, {rose.sum():,.0f} came into one."
        )

    return Estimate(
        "clusters",
        NOISE,
        subject,
        measured.value,
        measured.interval,
        say=say,
        action="See whether the density, or the distance that the clustering asks for, still fits the data.",
        n=int(total),
        method="difference of two dependent shares (MOVER)",
        binding="units_too_few",
        p_value=lambda margin: p_beyond(measured.interval, margin, "both"),
        primary=primary,
        sample=found.sample,
    )


def _excess(found: Labelings) -> Estimate:
    assert found.reruns is not None
    return excess_estimate(
        "clusters",
        EXCESS,
        found.reruns,
        "change",
        what="change of clusters",
        things="members",
        action="The clusters changed by more than seed and sample: find what changed in the data. " + KEEP,
        title="One minus the adjusted Rand index between cold runs",
    )


CHECK = Check(
    name="clusters",
    asks="Are this week's clusters those of last week, beyond what another run would change?",
    kinds=(CHANGE, EXCESS, MOVED, NOISE),
    needs=frozenset({"labelings"}),
    run=run,
)
"""The check, for the registry."""
