"""What checks of two versions share: their names, what they have in common, and change beyond reruns."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from afterlaunch.decide import EffectKind, Estimate
from afterlaunch.finding import Effect, Json, Verdict
from afterlaunch.profile.compared import Run, RunPairs
from afterlaunch.stats.apart import mean_distance
from afterlaunch.stats.reruns import LEAST as LEAST_RUNS
from afterlaunch.stats.reruns import Excess, excess
from afterlaunch.words import estimate as in_words
from afterlaunch.words import plain, quantity

COMMON = 0.8
"""Share of the subjects of either version that both must have; with fewer, those in common may be of another kind."""

LEAST = 10
"""Replicates of a version from which their spread is known well enough not to be warned of."""


def names_of(runs: Sequence[Run], baseline: int) -> tuple[str, str]:
    """What the two versions are called."""
    return plain(runs[0].version), plain(runs[baseline].version)


def replicated(pairs: RunPairs) -> bool:
    """Whether any version has more than one run."""
    return len(pairs.runs) > 2


def few(check: str, kind: EffectKind, pairs: RunPairs, things: str) -> Estimate | None:
    """An estimate that says why nothing can be said, when the versions have too little in common.

    Args:
        check: Name of the check.
        kind: The effect that would be measured.
        pairs: What they have in common.
        things: What the subjects are, such as "rows".
    """
    together, alone = pairs.total, sum(pairs.alone)
    first, second = names_of(pairs.runs, pairs.baseline)
    if together == 0:
        why, say = "no_shared_rows", f"{first} and {second} have put out something for none of the same {things}"
    elif together < COMMON * (together + alone):
        why = "few_in_common"
        share = quantity(round(together / (together + alone), 3), "share")
        say = f"Only {share} of the {things} have an output of both {first} and {second}"
    else:
        return None
    return Estimate(
        check,
        kind,
        "",
        None,
        n=together,
        reason=why,
        sentence=f"{say}, so they cannot be compared.",
        action=f"Let both versions put out something for the same {things}: score one table with both.",
    )


def sources_of(runs: Sequence[Run]) -> dict[str, list[str]] | None:
    """What every run had of each source of chance, outermost first, where names of replicates tell it.

    A replicate "sample=3/seed=1" is seed 1 on sample 3.

    Args:
        runs: The runs.

    Returns:
        Source to its value for each run; None where names are not of that form, or have other sources.

    Example:
        >>> sources_of([Run("W46", "sample=1/seed=1"), Run("W46", "sample=1/seed=2")])
        {'sample': ['1', '1'], 'seed': ['1', '2']}
    """
    parts = [[p.partition("=") for p in r.replicate.split("/")] for r in runs]
    names = [[name.strip() for name, _, _ in p] for p in parts]
    told = all(sign for p in parts for _, sign, _ in p)
    if not told or len(names[0]) < 2 or len(set(names[0])) < len(names[0]) or any(n != names[0] for n in names):
        return None
    return {name: [p[i][2].strip() for p in parts] for i, name in enumerate(names[0])}


def draws_of(runs: Sequence[Run]) -> NDArray[np.int64] | None:
    """Which runs of a version share their outermost source, so that they are one draw, shape (R,)."""
    sources = sources_of(runs)
    if sources is None:
        return None
    order: dict[tuple[str, str], int] = {}
    first = next(iter(sources.values()))
    return np.array([order.setdefault((r.version, v), len(order)) for r, v in zip(runs, first, strict=True)])


def beyond_reruns(pairs: RunPairs, name: str) -> Excess | None:
    """How much farther the versions are apart than their own reruns, for one distance."""
    return excess(
        pairs.sums[name],
        pairs.subjects,
        pairs.pairs,
        baseline=pairs.baseline,
        runs=len(pairs.runs),
        groups=draws_of(pairs.runs),
    )


def excess_estimate(
    check: str,
    kind: EffectKind,
    pairs: RunPairs,
    name: str,
    *,
    what: str,
    things: str,
    action: str,
    title: str,
) -> Estimate:
    """The change beyond reruns of one distance, or why it is not known.

    Args:
        check: Name of the check.
        kind: The effect.
        pairs: Distances between the runs.
        name: Which of them.
        what: What the distance is, such as "of predictions change".
        things: What the subjects are, such as "rows".
        action: What to do when it alarms.
        title: Of the picture of what was found.
    """
    first, second = names_of(pairs.runs, pairs.baseline)
    sizes = pairs.baseline, len(pairs.runs) - pairs.baseline
    found = beyond_reruns(pairs, name)
    if found is None or found.floor is None:
        scarce = max(sizes) >= LEAST_RUNS
        return Estimate(
            check,
            kind,
            "",
            None,
            n=pairs.total,
            reason="too_few_rows" if scarce else "too_few_replicates",
            sentence=f"Too few independent {things} have an output of every run to say how far the runs are apart."
            if scarce
            else f"{sizes[0]} and {sizes[1]} runs of {first} and {second} do not tell how much reruns differ.",
            action=f"Give more {things}, of more units."
            if scarce
            else f"Give {LEAST} replicates or more of at least one version, from resampled data and other seeds.",
        )
    floor, between = quantity(found.floor, kind.unit), quantity(found.between, kind.unit)

    def say(effect: Effect, verdict: Verdict) -> str:
        ways = f"from {first} to {second} than between reruns of one version: {between} against {floor}"
        lead = f"{in_words(effect)} more {what} {ways}"
        if effect.value < 0:
            lead = f"{in_words(effect)}: no more {what} {ways}"
        if min(s for s in sizes if s > 1) < LEAST:
            lead += f"; with {sizes[0]} and {sizes[1]} runs that floor is itself uncertain"
        if verdict is Verdict.OK:
            lead += "; the rest is seed and sample"
        return lead + "."

    return Estimate(
        check,
        kind,
        "",
        found.value,
        found.interval,
        say=say,
        action=action,
        n=pairs.total,
        method="two-sample U-statistic of distances between runs; jackknife over runs and subjects",
        binding="too_few_replicates",
        sample=pairs.sample,
        table=_picture(found, f"{first} to {second}", title, kind.unit),
    )


def _picture(found: Excess, apart: str, title: str, unit: str) -> Json:
    """The distance between versions, that between reruns, and what lies between."""
    rows = []
    for name, part in ((apart, found.apart), ("reruns", found.reruns), ("beyond reruns", found.beyond)):
        if part is not None:
            low, high = part.interval(0.025, 0.025)
            rows.append({"name": name, "value": part.value, "low": low, "high": high})
    return {"kind": "intervals", "title": title, "unit": unit, "rows": rows}


def mean_estimate(
    check: str,
    kind: EffectKind,
    pairs: RunPairs,
    name: str,
    *,
    say: Callable[[Effect, Verdict], str],
    action: str,
    segment: str | None = None,
) -> Estimate:
    """The mean distance between the lists of two runs.

    Args:
        check: Name of the check.
        kind: The effect.
        pairs: Distances of one pair of runs.
        name: Which distance.
        say: The sentence.
        action: What to do when it alarms.
        segment: Whose lists; those of a segment inform.
    """
    found = mean_distance(pairs.sums[name][0], pairs.squares[name][0], pairs.subjects[0])
    return Estimate(
        check,
        kind,
        "",
        found.value,
        found.interval,
        say=say,
        action=action,
        n=pairs.total,
        things="lists of both versions",
        method="mean over lists" + (", jackknife over units" if pairs.clustered else ""),
        rows_needed=found.subjects_needed,
        binding="units_too_few",
        p_value=found.p_value,
        sample=pairs.sample,
        segment=segment,
        primary=segment is None,
        table=pairs.examples.get(name),
    )


def by_segment(segments: Mapping[str, float], most: int = 40) -> list[tuple[str, float]]:
    """Segments and their values, the largest first."""
    return sorted(segments.items(), key=lambda s: (-s[1], s[0]))[:most]
