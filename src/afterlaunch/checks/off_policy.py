"""What would the new policy have brought, on decisions that the old one took?"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from afterlaunch.checks.evidence import Check, Evidence
from afterlaunch.decide import EffectKind, Estimate
from afterlaunch.finding import Effect, Json, Verdict
from afterlaunch.profile.logged import Logged
from afterlaunch.stats.contrast import p_beyond
from afterlaunch.stats.intervals import normal_quantile, rows_for, share
from afterlaunch.stats.off_policy import OffPolicy, off_policy
from afterlaunch.stats.skewed import Paired, paired
from afterlaunch.words import estimate as in_words
from afterlaunch.words import number, plain, quantity

Floats = NDArray[np.float64]
Say = Callable[[Effect, Verdict], str]

LIFT = EffectKind(
    "lift",
    "relative change of the outcome per decision",
    "share",
    0.01,
    "down",
    "a hundredth of what is earned now is what most teams would still run an A/B for",
)
DIFFERENCE = EffectKind(
    "difference",
    "change of the outcome per decision",
    "",
    0.01,
    "down",
    "in the outcome's own unit, in place of the lift: give yours with the margin",
)
SUPPORT = EffectKind(
    "support",
    "share of the new policy that the log never shows",
    "share",
    0.05,
    "up",
    "of what a twentieth of the decisions would bring nothing is known: more than most lifts",
)
PROPENSITY = EffectKind(
    "propensity",
    "mean weight beyond 1",
    "share",
    0.05,
    "up",
    "weights have the mean 1 where both probabilities are right; a twentieth more moves the outcome by as much",
)
EFFECTIVE = EffectKind(
    "effective",
    "share of the log that uneven weights use up",
    "share",
    0.9,
    "up",
    "a tenth of the decisions is left to decide by: intervals are three times as wide",
)

LEAST_EFFECTIVE = 50.0
"""Decisions of equal weight below which nothing is said of the outcome."""

LEAST_REWARDED = 20.0
"""The same for decisions with a reward: fewer do not show how uneven rewards are."""

WITHHELD = {SUPPORT.key: "no_support", PROPENSITY.key: "wrong_probabilities"}
"""Effects that forbid to judge the others when they alarm, and the reason code of those."""

TOO_UNEVEN = "weights_too_uneven"


def run(evidence: Evidence) -> list[Estimate]:
    """What the new policy would have brought, and whether the log can tell.

    Args:
        evidence: Needs "logged".
    """
    return [] if evidence.logged is None else estimates(evidence.logged)


def estimates(logged: Logged) -> list[Estimate]:
    """Estimates of the lift, and of what it rests on.

    Args:
        logged: The decisions; at least one.

    Returns:
        "support", "propensity", "effective", and "lift" or, for a margin in the outcome's unit, "difference".
        Without any weight the log shows nothing of the new policy: then "support" alone has a value.
    """
    if not logged.target.any():
        return [_nothing_shown(logged), *_without(logged)]
    found = off_policy(
        logged.reward,
        logged.logged,
        logged.target,
        predicted=logged.predicted,
        expected=logged.expected,
        groups=logged.groups,
    )
    weights = paired(found.each["weight"])
    return [_support(logged, weights), _propensity(logged, weights), _effective(logged, found), _lift(logged, found)]


# ------------------------------------------------------------------ whether the log can tell


def _support(logged: Logged, weights: Paired) -> Estimate:
    def interval(low: float, high: float) -> tuple[float, float]:
        ends = weights.difference(high, low)
        return 1 - ends[1], 1 - ends[0]

    def say(effect: Effect, verdict: Verdict) -> str:
        del verdict
        return f"{in_words(effect)} of what the new policy would do the log never shows.{_likeliest(logged)}"

    return _weight(
        logged,
        SUPPORT,
        1 - weights.first,
        interval,
        say,
        "Let the old policy explore: give every action that the new one may take a chance above 0, log it, and "
        "ask again.",
        _unseen_table(logged),
        weights,
    )


def _propensity(logged: Logged, weights: Paired) -> Estimate:
    def interval(low: float, high: float) -> tuple[float, float]:
        ends = weights.difference(low, high)
        return ends[0] - 1, ends[1] - 1

    def say(effect: Effect, verdict: Verdict) -> str:
        del verdict
        return (
            f"{in_words(effect)} is what the mean weight exceeds 1 by: "
            "no more than chance where the logged and the new probabilities are right."
        )

    return _weight(
        logged,
        PROPENSITY,
        weights.first - 1,
        interval,
        say,
        "Log the probability of the action at the moment it is drawn, for the same place; see that the new one "
        "is of that action too, and sums to 1.",
        None,
        weights,
    )


def _weight(
    logged: Logged,
    kind: EffectKind,
    value: float,
    interval: Callable[[float, float], tuple[float, float]],
    say: Say,
    action: str,
    table: Json | None,
    weights: Paired,
) -> Estimate:
    if weights.units < 2:
        return _nothing(
            logged, kind, "too_few_rows", "One unit says nothing about the weights.", "Wait for more units."
        )

    def needed(margin: float, alpha: float) -> int | None:
        return _needed(weights.se, weights.units, margin, alpha)

    return Estimate(
        "off_policy",
        kind,
        "",
        value,
        interval,
        say=say,
        action=action,
        n=logged.rows,
        method="mean weight, skewness taken out of t",
        rows_needed=needed,
        p_value=lambda margin: p_beyond(interval, margin, "up"),
        primary=False,
        sample=_sample(logged),
        table=table,
        things=_things(logged),
    )


def _effective(logged: Logged, found: OffPolicy) -> Estimate:
    if found.effective < LEAST_EFFECTIVE:
        return _nothing(logged, EFFECTIVE, TOO_UNEVEN, _too_uneven(found), TOO_UNEVEN_ACTION)
    units = _units(logged)
    value = max(1 - found.effective / units, 0.0)

    def say(effect: Effect, verdict: Verdict) -> str:
        del verdict
        return (
            f"{quantity(effect.value, 'share')} of the log is used up by uneven weights: {units:,} "
            f"{_things(logged)} are "
            f"worth {found.effective:,.0f} of equal weight, and the heaviest decision has "
            f"{quantity(found.largest, 'share')} of all weight."
        )

    return Estimate(
        "off_policy",
        EFFECTIVE,
        "",
        value,
        lambda low, high: (value, value),
        say=say,
        action=TOO_UNEVEN_ACTION,
        n=logged.rows,
        method="Kish's effective sample size",
        binding=TOO_UNEVEN,
        primary=False,
        sample=_sample(logged),
        may_alarm=False,
        things=_things(logged),
    )


TOO_UNEVEN_ACTION = (
    "Ask about a policy nearer to the logged one, log more decisions, or let the old policy explore what the new one "
    "prefers."
)


def _too_uneven(found: OffPolicy) -> str:
    return (
        f"Weights are so uneven that {found.rows:,} decisions are worth {found.effective:,.1f} of equal weight "
        f"(the heaviest has {quantity(found.largest, 'share')} of all weight); {LEAST_EFFECTIVE:.0f} are the "
        "least to go by."
    )


# ------------------------------------------------------------------ what it would bring


def _lift(logged: Logged, found: OffPolicy) -> Estimate:
    kind = DIFFERENCE if logged.absolute else LIFT
    name = plain(logged.outcome)
    if found.effective < LEAST_EFFECTIVE:
        return _nothing(logged, kind, TOO_UNEVEN, _too_uneven(found), TOO_UNEVEN_ACTION)
    earned = np.abs(logged.reward) * logged.target / logged.logged
    rewarded = _effective_of(logged, earned)
    if rewarded < LEAST_REWARDED:
        return _nothing(
            logged,
            kind,
            "too_few_outcomes",
            f"All {name} that tells of the new policy is worth {rewarded:.1f} decisions of equal weight; "
            f"{LEAST_REWARDED:.0f} are the least to go by.",
            "Log more decisions, or take an outcome that is less rare.",
        )
    ways = _ways(found)
    label, pair = next(reversed(ways.items()))
    if not pair.known:
        return _nothing(
            logged, kind, "no_variation", f"Every decision has the same {name}.", "Check that the column is filled."
        )
    if not logged.absolute and (pair.first <= 0 or pair.second <= 0 or pair.ratio(1e-4, 1e-4)[1] >= MOST):
        return _nothing(
            logged,
            kind,
            "no_scale",
            f"{name} is {number(pair.second)} per decision as logged and {number(pair.first)} under the new "
            "policy, of which "
            "a relative change has no meaning.",
            "Give a margin in its own unit: off_policy/difference.",
        )
    unit = "share" if logged.binary else ""

    def interval(low: float, high: float) -> tuple[float, float]:
        if logged.absolute:
            return pair.difference(low, high)
        ends = pair.ratio(low, high)
        return ends[0] - 1, ends[1] - 1

    def say(effect: Effect, verdict: Verdict) -> str:
        del verdict
        return (
            f"{in_words(effect)} {'' if logged.absolute else 'relative '}change of {name} per decision from what was "
            f"logged to what the new policy would bring ({quantity(pair.second, unit)} to "
            f"{quantity(pair.first, unit)}; "
            f"{label})."
        )

    def needed(margin: float, alpha: float) -> int | None:
        se = pair.se if logged.absolute else pair.ratio_se
        return _needed(se, pair.units, margin, alpha)

    return Estimate(
        "off_policy",
        kind,
        logged.outcome,
        pair.first - pair.second if logged.absolute else pair.first / pair.second - 1,
        interval,
        say=say,
        action="Do not spend an A/B on it: a gain that matters is excluded.",
        n=logged.rows,
        method=f"{label}, {logged.model + ', ' if logged.model else ''}influence values by "
        f"{'decision' if logged.groups is None else 'unit'}, skewness taken out of t",
        rows_needed=needed,
        p_value=lambda margin: p_beyond(interval, 0.0, "up"),
        sample=_sample(logged),
        table=_chart(name, unit, ways),
        things=_things(logged),
        goal="better",
    )


MOST = 1e5
"""Relative changes that are no longer a scale."""

ON_POLICY, IPS, SNIPS, DR = "as logged", "IPS", "SNIPS", "DR"


def _ways(found: OffPolicy) -> dict[str, Paired]:
    """Every estimate beside what was logged; the last one is the best."""
    names = {ON_POLICY: "on_policy", IPS: "ips", SNIPS: "snips", DR: "dr"}
    return {
        label: paired(found.each[name], found.each["on_policy"]) for label, name in names.items() if name in found.each
    }


def _effective_of(logged: Logged, weight: Floats) -> float:
    each = weight if logged.groups is None else np.bincount(logged.groups, weight)
    squares = float(each @ each)
    return float(each.sum()) ** 2 / squares if squares > 0 else 0.0


def _chart(name: str, unit: str, ways: dict[str, Paired]) -> Json:
    rows = []
    for label, pair in ways.items():
        alone = Paired(
            pair.first, 0.0, (pair.second_order[0], 0.0, 0.0), (pair.third_order[0], 0.0, 0.0, 0.0), pair.units
        )
        low, high = alone.difference(0.025, 0.025)
        known = math.isfinite(low) and math.isfinite(high)
        rows.append(
            {"name": label, "value": pair.first, "low": low if known else None, "high": high if known else None}
        )
    title = f"{name} per decision: as logged, and by each estimate of the new policy (95 %)"
    return {"kind": "intervals", "title": title, "unit": unit, "rows": rows}


# ------------------------------------------------------------------ what all of them share


def _nothing(logged: Logged, kind: EffectKind, reason: str, sentence: str, action: str) -> Estimate:
    lift = kind.key in {LIFT.key, DIFFERENCE.key}
    return Estimate(
        "off_policy",
        kind,
        logged.outcome if lift else "",
        None,
        reason=reason,
        sentence=sentence,
        action=action,
        n=logged.rows,
        primary=lift,
        sample=_sample(logged),
        may_alarm=kind is not EFFECTIVE,
        goal="better" if lift else "inside",
        things=_things(logged),
    )


def _nothing_shown(logged: Logged) -> Estimate:
    units = _units(logged)

    def interval(low: float, high: float) -> tuple[float, float]:
        ends = share(units, units, low, high)
        return ends.low, ends.high

    return Estimate(
        "off_policy",
        SUPPORT,
        "",
        1.0,
        interval,
        say=lambda effect, _: (
            f"{in_words(effect)} of what the new policy would do the log never shows: not one logged "
            f"action is one that it would take.{_likeliest(logged)}"
        ),
        action="See that the probabilities are those of the logged actions; else let the old policy explore.",
        n=logged.rows,
        method="binomial",
        binding="units_too_few",
        primary=False,
        sample=_sample(logged),
        table=_unseen_table(logged),
        things=_things(logged),
    )


def _without(logged: Logged) -> list[Estimate]:
    sentence = "The new policy would take none of the logged actions, so the log says nothing about it."
    action = "Log decisions of a policy that explores what the new one would do."
    kinds = (PROPENSITY, EFFECTIVE, DIFFERENCE if logged.absolute else LIFT)
    return [_nothing(logged, kind, "no_support", sentence, action) for kind in kinds]


def _likeliest(logged: Logged) -> str:
    if not logged.unseen:
        return ""
    first = logged.unseen[0]
    where = f" at place {plain(first.place)}" if first.place else ""
    return f" The likeliest of them is {plain(first.item)}{where} ({quantity(first.share, 'share')} of all decisions)."


def _unseen_table(logged: Logged) -> Json | None:
    if not logged.unseen:
        return None
    placed = any(u.place for u in logged.unseen)
    rows = [
        [plain(u.item), *([plain(u.place)] if placed else []), quantity(u.share, "share")] for u in logged.unseen[:50]
    ]
    columns = ["item", *(["place"] if placed else []), "share of the new policy"]
    return {"kind": "examples", "title": "What the log never shows", "columns": columns, "rows": rows}


def _needed(se: float, units: int, margin: float, alpha: float) -> int | None:
    power = normal_quantile(0.2)

    def decides(n: float) -> bool:
        return (normal_quantile(alpha) + power) * se * math.sqrt(units / n) <= margin

    return rows_for(decides, units)


def _units(logged: Logged) -> int:
    return logged.rows if logged.groups is None else int(np.count_nonzero(np.bincount(logged.groups)))


def _things(logged: Logged) -> str:
    return "decisions" if logged.groups is None else "units"


def _sample(logged: Logged) -> int | None:
    return logged.rows if logged.rows < logged.total else None


CHECK = Check(
    name="off_policy",
    asks="What would the new policy have brought, on decisions that the old one took?",
    kinds=(LIFT, DIFFERENCE, SUPPORT, PROPENSITY, EFFECTIVE),
    needs=frozenset({"logged"}),
    run=run,
)
"""The check, for the registry."""
