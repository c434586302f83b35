"""One week action, next week comedy: does the mix of categories change, overall and user by user?"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from afterlaunch.checks.between import draws_of, excess_estimate, few, mean_estimate, names_of, replicated
from afterlaunch.checks.evidence import Check, Evidence
from afterlaunch.decide import EffectKind, Estimate
from afterlaunch.finding import Effect, Json, Verdict
from afterlaunch.profile.compared import Floats, Mix, RunPairs
from afterlaunch.stats.contrast import p_beyond
from afterlaunch.stats.intervals import symmetric
from afterlaunch.stats.mixing import moved
from afterlaunch.stats.resampling import degrees, deviations, pooled_degrees
from afterlaunch.words import estimate as in_words
from afterlaunch.words import plain, quantity

OVERALL = EffectKind(
    "overall",
    "share of places that went to other categories",
    "share",
    0.05,
    "up",
    "one place in twenty: a category of usual size visibly grows or shrinks",
)
USER = EffectKind(
    "user",
    "mean share of a list that went to other categories",
    "share",
    0.2,
    "up",
    "two of ten places: what a user sees as another taste",
)
EXCESS = EffectKind(
    "excess",
    "change of lists' mix beyond reruns",
    "share",
    0.05,
    "up",
    "one place in twenty that neither seed nor sample explain",
)
CALIBRATION = EffectKind(
    "calibration",
    "rise of the distance from users' own history",
    "nats",
    0.1,
    "up",
    "a list of ten loses about one of the places that the user's own taste would fill",
)
NAMED = 2
TRAFFIC = 0.05
"""Share of lists in both versions under which each is taken to have served users or requests of its own."""


def of_traffic(pairs: RunPairs) -> bool:
    """Whether the versions put out lists for different users or requests, as in the log of a split of traffic."""
    return min(pairs.alone) > 0 and pairs.total < TRAFFIC * (pairs.total + sum(pairs.alone))


def run(evidence: Evidence) -> list[Estimate]:
    """The category mix over all and by segment, list by list, and against users' history.

    Args:
        evidence: Needs "panel".
    """
    panel = evidence.panel
    if panel is None or panel.lists is None or not panel.mixes:
        return []
    pairs = panel.lists
    lacking = few("mix", OVERALL, pairs, "lists")
    if lacking is not None and not of_traffic(pairs):
        return [lacking]
    out = [_overall(name, mix, pairs) for name, mix in panel.mixes.items()]
    if lacking is not None:
        return out
    if "mix" in pairs.sums:
        if replicated(pairs):
            out.append(
                excess_estimate(
                    "mix",
                    EXCESS,
                    pairs,
                    "mix",
                    what="of a list goes to other categories",
                    things="lists",
                    title="Change of lists' mix between runs",
                    action="Users see another mix than seed and sample explain: find what changed in the data.",
                )
            )
        else:
            out.append(_by_list(pairs))
    if "calibration" in pairs.scalars:
        out.append(_calibration(pairs))
    return out


def _overall(segment: str, mix: Mix, pairs: RunPairs) -> Estimate:
    first, second = names_of(mix.runs, mix.baseline)
    old, new = mix.counts[: mix.baseline], mix.counts[mix.baseline :]
    draws, b = draws_of(mix.runs), mix.baseline
    found = moved(old, new) if draws is None else moved(_pooled(old, draws[:b]), _pooled(new, draws[b:]))
    name = segment or None
    if found is None:
        return Estimate(
            "mix",
            OVERALL,
            "",
            None,
            n=int(new.sum()),
            reason="too_few_rows",
            sentence=f"Too few lists have categories{_where(name)} to compare their mix.",
            action="Give more lists, or a category for every item.",
            segment=name,
            primary=name is None,
        )
    shares = [x.sum(axis=(0, 1)) / max(float(x.sum()), 1.0) for x in (old, new)]
    change = shares[1] - shares[0]
    order = np.argsort(-change, kind="stable")
    rises = [i for i in order[:NAMED] if change[i] > 0]
    falls = [i for i in order[::-1][:NAMED] if change[i] < 0]

    def side(word: str, places: list[int]) -> str:
        parts = [
            f"{plain(mix.categories[i])} {word} from {_per_cent(shares[0][i])} to {_per_cent(shares[1][i])}"
            for i in places
        ]
        return ", ".join(parts)

    told = "; ".join(t for t in (side("rises", rises[:NAMED]), side("falls", falls[:NAMED])) if t)

    def say(effect: Effect, verdict: Verdict) -> str:
        del verdict
        lead = f"{in_words(effect)} of what is shown{_where(name)} goes to other categories from {first} to {second}"
        if of_traffic(pairs):
            lead += ", over all, as the versions served different lists"
        return f"{lead}: {told}." if told else f"{lead}."

    return Estimate(
        "mix",
        OVERALL,
        "",
        found.value,
        found.interval,
        say=say,
        action="Ask whether users changed or only the model: look at the training data of the categories that rose.",
        n=int(new.sum()),
        method="total variation; direction from other buckets of lists and other runs, high end from the plug-in",
        binding="units_too_few",
        p_value=lambda margin: p_beyond(found.interval, margin, "up"),
        segment=name,
        # With replicates the mix of lists beyond reruns counts.
        primary=name is None and (not replicated(pairs) or of_traffic(pairs)),
        sample=pairs.sample,
        table=_picture(mix, shares[0], shares[1], name, first, second),
    )


def _pooled(values: NDArray[np.generic], draws: NDArray[np.int64]) -> Floats:
    """Sums over the runs of one draw, shape (D, ...)."""
    return np.stack([np.asarray(values, dtype=np.float64)[draws == d].sum(axis=0) for d in np.unique(draws)])


def _where(segment: str | None) -> str:
    return "" if segment is None else f" in {plain(segment)}"


def _per_cent(value: float) -> str:
    return quantity(round(float(value), 3), "share")


def _picture(mix: Mix, old: Floats, new: Floats, segment: str | None, first: str, second: str) -> Json:
    largest = np.argsort(-(old + new), kind="stable")
    return {
        "kind": "distribution",
        "title": f"Category mix{_where(segment)}",
        "labels": [mix.categories[i] for i in largest],
        "reference": [float(old[i]) for i in largest],
        "production": [float(new[i]) for i in largest],
        "names": [first, second],
    }


def _by_list(pairs: RunPairs) -> Estimate:
    first, second = names_of(pairs.runs, pairs.baseline)

    def say(effect: Effect, verdict: Verdict) -> str:
        del verdict
        return f"{in_words(effect)} of a list goes to other categories from {first} to {second}, on average."

    action = "Look at the users moved most: their lists are of another taste than last time."
    return mean_estimate("mix", USER, pairs, "mix", say=say, action=action)


def _calibration(pairs: RunPairs) -> Estimate:
    """The mean over lists of the new versions' divergence less that of the old ones'."""
    first, second = names_of(pairs.runs, pairs.baseline)
    b, known = pairs.baseline, pairs.scalar_subjects
    values, squares = pairs.scalars["calibration"], pairs.scalar_squares["calibration"]
    n = float(known.sum(axis=1).max()) if known is not None else 0.0
    if known is None or n < 2:
        return Estimate(
            "mix",
            CALIBRATION,
            "",
            None,
            n=int(n),
            reason="too_few_rows",
            sentence="Fewer than two lists belong to users with a history, so their taste cannot be compared.",
            action="Give the history of the users whose lists are compared.",
            primary=False,
        )
    size = known[0].astype(np.float64)
    apart = values[b:].mean(axis=0) - values[:b].mean(axis=0)
    value = float(apart.sum()) / n
    groups = int((size > 0).sum())
    if groups > 1:
        moves = deviations(apart, size)
        rows_var, rows_df = float((moves**2).sum()) * (groups - 1) / groups, degrees(size)
    else:
        # Lists' values before and after are dependent in an unknown way: the sum of both variances bounds it.
        each = squares.sum(axis=1) / n - (values.sum(axis=1) / n) ** 2
        rows_var, rows_df = float(each[:b].mean() + each[b:].mean()) / (n - 1), n - 1
    means = values.sum(axis=1) / n
    sides, draws = (means[:b], means[b:]), draws_of(pairs.runs)
    if draws is not None:
        many = np.bincount(draws)[draws]
        sides = _pooled(means[:b] / many[:b], draws[:b]), _pooled(means[b:] / many[b:], draws[b:])
    spare = max(sides, key=len)
    # A version with a single run is one draw, as spread as the other's.
    some = [m if len(m) > 1 else spare for m in sides]
    parts = [float(s.var(ddof=1)) / len(m) if len(s) > 1 else 0.0 for s, m in zip(some, sides, strict=True)]
    run_var = sum(parts)
    df = rows_df
    if run_var > 0:
        free = max(1.0, len(some[0]) - 1.0), max(1.0, len(some[1]) - 1.0)
        df = pooled_degrees((rows_var, run_var), (rows_df, pooled_degrees((parts[0], parts[1]), free)))
    se = math.sqrt(max(rows_var + run_var, 0.0))

    def ends(low: float, high: float) -> tuple[float, float]:
        found = symmetric(value, se, df, low, high)
        return found.low, found.high

    def say(effect: Effect, verdict: Verdict) -> str:
        del verdict
        old, new = float(means[:b].mean()), float(means[b:].mean())
        return (
            f"Lists are {in_words(effect)} farther from what their users chose before, from {first} to {second} "
            f"({old:.2f} to {new:.2f})."
        )

    return Estimate(
        "mix",
        CALIBRATION,
        "",
        value,
        ends,
        say=say,
        action="The new lists fit users' own taste less: look whether rare tastes have been crowded out.",
        n=int(n),
        things="lists of users with a history",
        method="mean difference of Steck's divergence",
        binding="units_too_few",
        p_value=lambda margin: p_beyond(ends, margin, "up"),
        sample=pairs.sample,
    )


CHECK = Check(
    name="mix",
    asks="Does the mix of categories change, over all, by segment and list by list?",
    kinds=(OVERALL, USER, EXCESS, CALIBRATION),
    needs=frozenset({"panel"}),
    run=run,
)
"""The check, for the registry."""
