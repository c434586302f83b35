"""May the experiment be believed at all? Split, arms, times, missing outcomes, fading effects."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from itertools import pairwise

import numpy as np

from afterlaunch.checks.evidence import Check, Evidence
from afterlaunch.decide import EffectKind, Estimate
from afterlaunch.finding import Effect, Json, Verdict
from afterlaunch.profile.arms import Arms, Cells
from afterlaunch.stats import assignment
from afterlaunch.stats.intervals import share
from afterlaunch.stats.lift import Floats, Function, Lift, lift
from afterlaunch.stats.looks import Once
from afterlaunch.words import estimate as in_words
from afterlaunch.words import plain, quantity

SRM = EffectKind(
    "srm",
    "share of units beyond the planned split",
    "share",
    0.01,
    "both",
    "any deviation beyond chance is an alarm; within one point it is known to be small",
)
SEVERAL = EffectKind(
    "several_arms",
    "share of units in more than one arm",
    "share",
    0.005,
    "up",
    "one user in two hundred seeing both is dilution; more is a fault of assignment",
)
START = EffectKind(
    "start",
    "share of units that entered while an arm was empty",
    "share",
    0.02,
    "up",
    "other days have other users: those few can move a metric by little",
)
MISSING = EffectKind(
    "missing",
    "difference of the share of missing values",
    "share",
    0.005,
    "both",
    "half a point of lost outcomes can hide a change of half a point",
)
FADING = EffectKind(
    "fading",
    "change of the relative effect from the first half to the second",
    "share",
    0.05,
    "both",
    "an effect that moves by five points within the experiment is not the effect users will live with",
)
BALANCE = EffectKind(
    "balance",
    "difference of what was there before",
    "sd",
    0.05,
    "both",
    "a twentieth of a standard deviation is less than a covariate can hide",
)
ENDED = EffectKind("looks", "share of the planned time", "share", 0.01, "down", "a planned look is at its end")

SRM_ALPHA = 0.001
"""Error rate of the split, the field's convention (Fabijan et al., 2019)."""

FADES = "The effect changes over the days, as users get used to the new: run on, and judge by the later part."


def run(evidence: Evidence) -> list[Estimate]:
    """Everything that has to hold before the effects of an experiment mean anything.

    Args:
        evidence: Needs "arms".
    """
    arms = evidence.arms
    if arms is None:
        return []
    out = [_split(arms)]
    if arms.unit:
        out.append(_several(arms))
    if arms.days != (None,):
        out.append(_start(arms))
    for name, cells in arms.missing.items():
        out += _contrasts(arms, MISSING, name, cells, _missing_share, partial(_say_missing, name), ACTION_MISSING)
    for name, cells in arms.fading.items():
        out += _contrasts(arms, FADING, name, cells, _change, partial(_say_fading, name), FADES)
    for name, cells in arms.balance.items():
        out += _balance(arms, name, cells)
    if arms.ended is False:
        out.append(
            Estimate(
                "trust",
                ENDED,
                "",
                None,
                reason="before_planned_end",
                sentence="The planned look has not come yet; an earlier one was not planned.",
                action="Wait for the planned look, or give an observation window to look as often as you like.",
            )
        )
    return out


def blocks(estimate_key: str, verdict: Verdict, reason: str | None) -> bool:
    """Whether a finding of this check forbids to judge any effect."""
    return verdict is Verdict.ALARM or (estimate_key == ENDED.key and reason == "before_planned_end")


# ------------------------------------------------------------------ who is in which arm


def _split(arms: Arms) -> Estimate:
    total = arms.assigned.sum(axis=1)
    table = _split_table(arms, total)
    if not arms.stages:
        return Estimate(
            "trust",
            SRM,
            "",
            None,
            n=int(total.sum()),
            reason="no_planned_split",
            sentence="No planned split was given, so nobody knows whether units were lost on the way to an arm: "
            + ", ".join(f"{plain(n)} has {int(t):,}" for n, t in zip(arms.names, total, strict=True))
            + ".",
            action="Give the planned share of each arm with shares=.",
            table=table,
        )
    if not total.sum():
        return Estimate(
            "trust",
            SRM,
            "",
            None,
            reason="too_few_rows",
            sentence="No unit is in just one arm, so there is no split to judge.",
            action="Check that the unit is the id that was randomised.",
        )
    counts, shares = _by_stage(arms)
    stages, two = len(counts), len(arms.names) == 2
    every = [
        (stage, arm, assignment.deviation(n, p, arm))
        for stage, (n, p) in enumerate(zip(counts, shares, strict=True))
        for arm in range(1 if two else 0, len(arms.names))
    ]
    stage, worst, of = max(every, key=lambda e: abs(e[2].z))
    tests = len(every)
    any_time = not isinstance(arms.looks, Once)
    where = "" if stages == 1 else f" in stage {stage + 1} of {stages}"

    def interval(low: float, high: float) -> tuple[float, float]:
        return of.interval(low / tests, high / tests, any_time=any_time)

    def say(effect: Effect, verdict: Verdict) -> str:
        del verdict
        got = quantity(float(f"{of.planned + of.value:.4g}"), "share")
        return (
            f"{in_words(effect)} of the units beyond the planned split are in {plain(arms.names[worst])}{where}: "
            f"{got}, {quantity(of.planned, 'share')} were planned."
        )

    def p_value(margin: float) -> float:
        del margin
        if any_time:
            factors = [float(assignment.log_bayes(n, p)) for n, p in zip(counts, shares, strict=True)]
            return min(1.0, stages * math.exp(-max(factors)))
        return min(1.0, stages * min(assignment.once(n, p) for n, p in zip(counts, shares, strict=True)))

    return Estimate(
        "trust",
        SRM,
        "",
        of.value,
        interval,
        say=say,
        action="Find where units are lost: redirects, crashes, bots, filters that one arm passes more often. "
        "Judge no metric before.",
        n=int(total.sum()),
        method="Dirichlet-multinomial Bayes factor, valid at every look"
        if any_time
        else "chi-square test of the split",
        p_value=p_value,
        binding="units_wanted",
        goal="none",
        things="units",
        table=table,
    )


def _by_stage(arms: Arms) -> tuple[Floats, Floats]:
    """Units of each arm that entered in each stage, and the planned shares; stages without units are left out."""
    edges = [s.first for s in arms.stages] + [len(arms.days)]
    edges[0] = 0
    counts = np.array([arms.assigned[:, a:b].sum(axis=1) for a, b in pairwise(edges)], dtype=float)
    shares = np.array([s.shares for s in arms.stages])
    some = counts.sum(axis=1) > 0
    return (counts[some], shares[some]) if some.any() else (counts[:1], shares[:1])


def _split_table(arms: Arms, total: Floats) -> Json:
    planned = _by_stage(arms) if arms.stages else None
    rows = []
    for i, name in enumerate(arms.names):
        row = [plain(name), f"{int(total[i]):,}", quantity(float(total[i]) / max(float(total.sum()), 1.0), "share")]
        if planned is not None:
            counts, shares = planned
            expected = float((counts.sum(axis=1) * shares[:, i]).sum() / max(counts.sum(), 1.0))
            row.append(quantity(expected, "share"))
        rows.append(row)
    columns = ["arm", "units", "share"] + (["planned"] if planned is not None else [])
    return {"kind": "examples", "title": "Units of each arm", "columns": columns, "rows": rows}


def _several(arms: Arms) -> Estimate:
    total = int(arms.assigned.sum()) + arms.both

    def interval(low: float, high: float) -> tuple[float, float]:
        found = share(arms.both, total, low, high)
        return found.low, found.high

    def say(effect: Effect, verdict: Verdict) -> str:
        del verdict
        return f"{in_words(effect)} of the units were in more than one arm ({arms.both:,}); they are left out."

    return Estimate(
        "trust",
        SEVERAL,
        "",
        arms.both / total if total else 0.0,
        interval,
        say=say,
        action="Make assignment sticky: one unit, one arm, for the whole experiment; check that the unit is the "
        "id that was randomised.",
        n=total,
        method="binomial",
        binding="units_wanted",
        things="units",
    )


def _start(arms: Arms) -> Estimate:
    present = arms.assigned > 0
    first = max(int(np.argmax(row)) if row.any() else len(arms.days) for row in present)
    last = min(int(len(row) - np.argmax(row[::-1])) if row.any() else 0 for row in present)
    total = int(arms.assigned.sum())
    alone = total - int(arms.assigned[:, first:last].sum()) if last > first else total

    def interval(low: float, high: float) -> tuple[float, float]:
        found = share(alone, total, low, high)
        return found.low, found.high

    def say(effect: Effect, verdict: Verdict) -> str:
        del verdict
        spans = []
        for name, row in zip(arms.names, present, strict=True):
            days = [d for d, some in zip(arms.days, row, strict=True) if some]
            spans.append(f"{plain(name)} from {days[0]} to {days[-1]}" if days else f"{plain(name)} never")
        return f"{in_words(effect)} of the units entered while another arm took none: " + ", ".join(spans) + "."

    return Estimate(
        "trust",
        START,
        "",
        alone / total if total else 0.0,
        interval,
        say=say,
        action="Compare only days on which every arm ran: cut the log to them.",
        n=total,
        method="binomial",
        binding="units_wanted",
        things="units",
    )


# ------------------------------------------------------------------ differences that should not be there


def _missing_share(means: Floats) -> float:
    return float(1 - means[0] / means[1]) if means[1] > 0 else math.nan


def _change(means: Floats) -> float:
    """Logarithm of the mean in the second half over that in the first."""
    if not (means > 0).all():
        return math.nan
    early, early_rows, late, late_rows = (float(m) for m in means)
    return math.log(late / late_rows) - math.log(early / early_rows)


ACTION_MISSING = "Find why one arm loses outcomes: late events, crashes, another logging path. Then count again."


def _say_missing(column: str, pair: tuple[str, str], found: Lift, effect: Effect) -> str:
    return (
        f"{in_words(effect)} more values of {plain(column)} are missing in {pair[1]} than in {pair[0]} "
        f"({quantity(found.treatment.value, 'share')} against {quantity(found.control.value, 'share')})."
    )


def _say_fading(label: str, pair: tuple[str, str], found: Lift, effect: Effect) -> str:
    del found
    way = "grows" if effect.value > 0 else "falls"
    return f"{in_words(effect)}: so the effect of {pair[1]} on {plain(label)} {way} from the first half to the second."


Say = Callable[[tuple[str, str], Lift, Effect], str]


def _contrasts(
    arms: Arms, kind: EffectKind, name: str, cells: Cells, value: Function, say: Say, action: str
) -> list[Estimate]:
    out = []
    control = plain(arms.names[0])
    for i, arm in enumerate(arms.names[1:], start=1):
        subject = subject_of(arms, name, i)
        a, b = cells.moments(0), cells.moments(i)
        usable = min(a.units, b.units) >= 2 and all(math.isfinite(value(m.mean)) for m in (a, b))
        found = lift(a, b, value) if usable else None
        if found is None or not math.isfinite(found.se):
            out.append(
                Estimate(
                    "trust",
                    kind,
                    subject,
                    None,
                    reason="too_few_rows",
                    sentence=f"There is too little of {plain(name)} to see its {kind.name}.",
                    action="Wait for more units.",
                )
            )
            continue
        pair = (control, plain(arm))

        def speak(effect: Effect, verdict: Verdict, pair: tuple[str, str] = pair, found: Lift = found) -> str:
            del verdict
            return say(pair, found, effect)

        out.append(
            Estimate(
                "trust",
                kind,
                subject,
                found.value,
                partial(found.interval, arms.looks),
                say=speak,
                action=action,
                n=int(found.units),
                method="delta method over units" if arms.unit else "delta method over rows",
                binding="units_wanted",
                things="units",
            )
        )
    return out


def _balance(arms: Arms, name: str, cells: Cells) -> list[Estimate]:
    sd = math.sqrt(max(float(cells.moments(0).covariance[0, 0]), 0.0))
    if sd == 0:
        return []

    def scaled(means: Floats) -> float:
        return float(means[0]) / sd

    def say(pair: tuple[str, str], found: Lift, effect: Effect) -> str:
        del found
        return f"{in_words(effect)} lies {plain(name)} apart in {pair[1]} from {pair[0]}, before anything was shown."

    action = (
        "A covariate that differs between arms was measured after exposure, or units were not assigned at random; "
        "do not adjust by it."
    )
    return _contrasts(arms, BALANCE, name, cells, scaled, say, action)


def subject_of(arms: Arms, label: str, arm: int) -> str:
    """What a finding on a metric and an arm is about; the arm is named where there are several."""
    return label if len(arms.names) == 2 else f"{label}:{arms.names[arm]}"


CHECK = Check(
    name="trust",
    asks="May the experiment be believed?",
    kinds=(SRM, SEVERAL, START, MISSING, FADING, BALANCE, ENDED),
    needs=frozenset({"arms"}),
    run=run,
)
"""The check, for the registry."""
