"""Did the model learn from something that it cannot know when it predicts?

A leak gives itself away in three ways: one column alone is too good to be true, one column
determines the outcome, or its power offline is gone in production. None of them accuses a
column for following time: outcomes are only compared within stretches of time (see
`stats.association`), and a column is only asked to keep the power for which its values in
production leave room. Nor does a relation that weakens accuse a column, for the world changes:
only power of which less than a quarter is left does.
"""

from __future__ import annotations

import re
from functools import partial
from typing import Any

import numpy as np
import polars as pl

from afterlaunch.checks.evidence import Check, Evidence, Sample
from afterlaunch.checks.outcomes import MOST_CLASSES, Coded, OutcomeTable, coded, prepare
from afterlaunch.checks.rows import (
    comparable,
    fills_in,
    is_number,
    is_plain,
    numbers,
    percent,
    quoted,
    steadiness,
    text_codes,
    times,
    words,
)
from afterlaunch.decide import EffectKind, Estimate
from afterlaunch.finding import Effect, Json, Verdict
from afterlaunch.stats.association import Determined, Power, determined, power
from afterlaunch.stats.clustered import Share, p_value
from afterlaunch.stats.retention import Loss, kept_spread, smoothness

LEFT = 0.25
"""A relation of which more than this share is left has weakened, not vanished."""
SLOW = 0.5
"""A column follows time in production when this share of what its values meant changes slowly from row to row."""
WORTH = 0.05
"""Power above one half from which losing it is worth a finding."""
FOLLOWS = 0.05
"""Power over all rows beyond that within stretches of time from which a column is said to follow time."""

POWER = EffectKind(
    "power",
    "power of the column alone",
    "AUC",
    0.95,
    "up",
    "two normal populations 2.3 standard deviations apart; where one honest column gets so far, no model is needed",
)
LOST = EffectKind(
    "lost_power",
    "power lost in production",
    "AUC",
    0.1,
    "up",
    "ten points of AUC that the model counted on and that production does not give back",
)
DETERMINES = EffectKind(
    "determines",
    "errors saved by knowing the column",
    "share",
    0.9,
    "up",
    "nine of ten errors of always guessing the commonest outcome; a copy of the outcome with some noise",
)
IDENTIFIER = EffectKind(
    "identifier",
    "share of different values",
    "share",
    0.95,
    "up",
    "a value that belongs to one row can only be memorised",
)
FOLLOWS_TIME = EffectKind(
    "follows_time",
    "power that comes from time alone",
    "AUC",
    0.5,
    "up",
    "never bad in itself, so the margin is the most it can be",
)


def run(evidence: Evidence) -> list[Estimate]:
    """Leaks among the features.

    Args:
        evidence: Needs "samples" with an outcome in the reference. Without outcomes in production,
            lost power is only known for columns that production lacks or has no values of.

    Returns:
        "power" for every feature; "lost_power" for features with power where production can tell;
        "determines" and "identifier" where there is something to say; "follows_time", which informs.
        Without an outcome, with one class only, or with too few rows: one undecided estimate.
    """
    roles, sample = evidence.roles, evidence.reference_sample
    if sample is None or roles.outcome is None or roles.outcome not in sample.frame.columns:
        return [_undecided("no_outcome", "The reference has no outcome, so it was not looked at for leaks.", False)]
    if not is_plain(sample.frame[roles.outcome]):
        return [
            _undecided("no_outcome", f"The outcome {roles.outcome!r} holds lists or records, not single values.", False)
        ]
    names = roles.features_of(evidence.reference_kinds or sample.frame.columns)
    features = [c for c in names if c in sample.frame.columns and is_plain(sample.frame[c])]
    prepared = prepare(evidence, max(1, len(features)))
    if prepared is None:
        return [
            _undecided(
                "one_class", f"The outcome {roles.outcome!r} has less than two different values in the reference.", True
            )
        ]
    before, after, classes = prepared
    found: list[Estimate] = []
    for name in features:
        found += _feature(evidence, name, before, after, classes, pooled=len(features) <= 500)
    if features and not found:
        return [_undecided("too_few_rows", "The reference has too few rows to look for leaks.", True)]
    return found


def _undecided(reason: str, sentence: str, primary: bool) -> Estimate:
    return Estimate(
        "leakage",
        POWER,
        "",
        None,
        reason=reason,
        sentence=sentence,
        primary=primary,
        may_alarm=False,
        action="Give a reference with the outcome that the model was trained on.",
    )


def _feature(
    evidence: Evidence, name: str, before: OutcomeTable, after: OutcomeTable | None, classes: bool, *, pooled: bool
) -> list[Estimate]:
    column = before.frame[name]
    other = after.frame[name] if after is not None and name in after.frame.columns else None
    values = coded(column, other, before.bins)
    codes = values.before
    look = partial(power, classes=classes, ordered=values.ordered)
    within = look(codes, before.level, before.block, group=before.group)
    if within is None:
        return []
    whole = look(codes, before.level, np.zeros_like(codes), fold=before.fold) if pooled else None
    drawn = None if before.whole else len(codes)
    found = [_say_power(name, within, whole, drawn)]
    if whole is not None and _follows_time(within, whole):
        found.append(_say_time(name, within, whole, drawn))
    if within.value >= 0.5 + WORTH:
        found += _lost(evidence, name, within, whole, before, after, values, classes, drawn)
    if int(before.level.max()) <= MOST_CLASSES:
        one = determined(codes, before.level, before.fold, before.group)
        if one.value >= 0.5:
            found.append(_say_determines(name, one, drawn))
    return found + _identifier(name, column, drawn)


def _rows(**powers: Power | None) -> list[dict[str, Any]]:
    rows = []
    for label, p in powers.items():
        if p is not None:
            i = p.interval(0.05, 0.05)
            rows.append({"name": label.replace("_", " "), "value": i.value, "low": i.low, "high": i.high})
    return rows


def _chart(name: str, **powers: Power | None) -> Json:
    return {"kind": "intervals", "title": f"{name}: AUC of the column alone", "unit": "AUC", "rows": _rows(**powers)}


def _say_power(name: str, within: Power, whole: Power | None, drawn: int | None) -> Estimate:
    def say(effect: Effect, verdict: Verdict) -> str:
        if verdict is Verdict.ALARM:
            return (
                f"AUC {effect.value:.3f} offline from {name!r} alone: that is too good to be true for a single column."
            )
        return f"AUC {effect.value:.3f} offline from {name!r} alone, among rows of the same stretch of time."

    def ends(low: float, high: float) -> tuple[float, float]:
        i = within.interval(low, high)
        return i.low, i.high

    return Estimate(
        "leakage",
        POWER,
        name,
        within.value,
        ends,
        say=say,
        n=within.rows,
        action=f"Find out when {name!r} becomes known; if that is after the prediction, retrain without it.",
        method="cross-fitted AUC within blocks of time, DeLong variance, Jeffreys interval",
        binding="reference_too_small",
        p_value=lambda margin: p_value(ends, margin),
        sample=drawn,
        table=_chart(name, within_time=within, all_rows=whole),
    )


def _follows_time(within: Power, whole: Power) -> bool:
    gap = whole.value - max(0.5, within.value)
    return gap >= FOLLOWS and whole.interval(0.05, 0.05).low > within.interval(0.05, 0.05).high


def _say_time(name: str, within: Power, whole: Power, drawn: int | None) -> Estimate:
    sentence = (
        f"{name!r} follows time, and so does the outcome: AUC {whole.value:.3f} over all rows, but {within.value:.3f} "
        "among rows of the same stretch of time. That is no leak."
    )

    def ends(low: float, high: float) -> tuple[float, float]:
        a, b = within.interval(high, low), whole.interval(low, high)
        gap = whole.value - within.value
        half = [
            float(np.hypot(x, y)) for x, y in ((b.value - b.low, a.high - a.value), (b.high - b.value, a.value - a.low))
        ]
        return max(-0.5, gap - half[0]), min(0.5, gap + half[1])

    return Estimate(
        "leakage",
        FOLLOWS_TIME,
        name,
        min(0.5, whole.value - within.value),
        ends,
        say=lambda e, v: sentence,
        n=within.rows,
        method="cross-fitted AUC over all rows less that within blocks of time",
        primary=False,
        may_alarm=False,
        sample=drawn,
        table=_chart(name, within_time=within, all_rows=whole),
    )


def _lost(
    evidence: Evidence,
    name: str,
    within: Power,
    whole: Power | None,
    before: OutcomeTable,
    after: OutcomeTable | None,
    values: Coded,
    classes: bool,
    drawn: int | None,
) -> list[Estimate]:
    gone = _gone(evidence, name, before)
    if gone is not None:
        return [_say_lost(name, Loss(within, None), gone, whole, drawn, evidence.production_sample)]
    codes, other_codes = values.before, values.after
    if after is None or not len(other_codes):
        return []
    look = partial(power, other_codes, after.level, classes=classes, ordered=values.ordered, group=after.group)
    # Its own relation or the one learnt offline, within stretches of time or over all of it: the
    # best counts, for whatever still tells outcomes apart is no sign of a leak.
    tries = []
    for block, fold in ((after.block, None), (np.zeros_like(after.block), after.fold)):
        lesson = (codes, before.level, before.block)
        for taught in (None, lesson):
            found = look(block, taught=taught, fold=fold)
            tries += [found] if found is not None else []
    left = max(tries, key=lambda p: p.value, default=None)
    if left is None:
        return []
    room = kept_spread(codes, before.level, before.block, other_codes, after.block, classes=classes)
    loss = Loss(within, left, room)
    if loss.expected < WORTH:
        return []
    slow = smoothness(codes, before.level, before.block, other_codes, classes=classes) >= SLOW
    # What keeps more than `LEFT`, or follows time, is no candidate for a leak: its loss only informs.
    honest = slow or loss.left > LEFT * loss.expected
    if honest and loss.value > LOST.margin / 2:
        return [_say_weaker(name, loss, slow, whole, drawn)]
    return [_say_lost(name, loss, "", whole, drawn, evidence.production_sample, may_alarm=not honest)]


def _gone(evidence: Evidence, name: str, before: OutcomeTable) -> str | None:
    """Why a column can have no power in production, in words that follow "and"; None when it can."""
    if evidence.production_sample is None:
        return None
    if name not in evidence.production_kinds:
        return "production does not have it"
    frame = evidence.production_sample.frame
    if name not in frame.columns or frame.height == 0:
        return None
    known, served = (c.drop_nulls() for c in comparable(before.frame[name], frame[name]))
    if not len(served):
        return "production has no value of it"
    if served.n_unique() > 1 or frame.height < 2:
        return None
    # One natural value can be all that a short or narrow stretch of production has.
    value = served[0]
    new = len(known) > 0 and not bool((known == value).any())
    steady = steadiness(text_codes(before.frame[name], before.frame[name])[0]).steady
    if not new and (steady or not fills_in(value, known)):
        return None
    return f"production has nothing but {quoted(value)}"


def _say_lost(
    name: str,
    loss: Loss,
    where: str,
    whole: Power | None,
    drawn: int | None,
    sample: Sample | None,
    *,
    may_alarm: bool = True,
) -> Estimate:
    def say(effect: Effect, verdict: Verdict) -> str:
        moved = f"loses {effect.value:.3f}" if effect.value >= 0 else f"gains {-effect.value:.3f}"
        start = f"{name!r} {moved} of AUC: alone it reaches {loss.before.value:.3f} offline"
        if loss.after is None:
            return f"{start}, and {where}."
        room = f"where its values leave room for {0.5 + loss.expected:.3f}"
        return f"{start}, and {0.5 + loss.left:.3f} in production, {room}."

    n = loss.after.rows if loss.after is not None else (sample.total if sample is not None else 0)
    return Estimate(
        "leakage",
        LOST,
        name,
        loss.value,
        loss.interval,
        say=say,
        n=n,
        action=f"Find out when {name!r} becomes known; if after the prediction, retrain without it, else repair it.",
        method="cross-fitted AUC within blocks of time, offline less production (MOVER)",
        rows_needed=loss.rows_needed,
        binding="reference_too_small",
        p_value=lambda margin: p_value(loss.interval, margin),
        sample=drawn,
        may_alarm=may_alarm,
        primary=may_alarm,
        table=_chart(name, offline_within_time=loss.before, offline_all_rows=whole, production=loss.after),
    )


def _say_weaker(name: str, loss: Loss, slow: bool, whole: Power | None, drawn: int | None) -> Estimate:
    assert loss.after is not None
    return Estimate(
        "leakage",
        LOST,
        name,
        None,
        reason="relation_changed",
        primary=False,
        may_alarm=False,
        n=loss.after.rows,
        sentence=(
            f"{name!r} keeps AUC {loss.after.value:.3f} in production, from {loss.before.value:.3f} offline: "
            + (
                "it follows time in production, where the past need not repeat itself; that is no sign of a leak."
                if slow
                else "a relation that weakens is a change of the world, no sign of a leak."
            )
        ),
        action="See the metric gap for what it costs; retraining on newer rows may win it back.",
        sample=drawn,
        table=_chart(name, offline_within_time=loss.before, offline_all_rows=whole, production=loss.after),
    )


def _say_determines(name: str, one: Determined, drawn: int | None) -> Estimate:
    return Estimate(
        "leakage",
        DETERMINES,
        name,
        one.value,
        one.interval,
        n=one.rows,
        sample=drawn,
        say=lambda e, v: (
            f"{percent(one.value)} of the errors of guessing are saved by knowing {name!r} alone: it predicts "
            f"{one.rows - one.errors:,} of {one.rows:,} outcomes on rows it was not learnt from."
        ),
        action=f"{name!r} is the outcome in other words: retrain without it.",
        method="Goodman and Kruskal's lambda on held-out halves, Jeffreys interval for the errors",
        binding="reference_too_small",
        p_value=lambda margin: p_value(one.interval, margin),
    )


def _identifier(name: str, column: pl.Series, drawn: int | None) -> list[Estimate]:
    """A column whose values belong to single rows."""
    n = len(column)
    if n < 100 or column.dtype.is_float() or column.dtype == pl.Boolean or column.dtype.is_temporal():
        return []
    distinct = column.drop_nulls().n_unique()
    if distinct < POWER.margin * n:
        return []
    if is_number(column):
        whole = column.drop_nulls()
        span = float(np.ptp(numbers(whole))) + 1
        if not (whole.is_sorted() or whole.is_sorted(descending=True) or span <= 1.05 * distinct or _named_id(name)):
            return []
    else:
        text = words(column).drop_nulls()
        if int(text.str.count_matches(r"\s").sum()) > len(text) or times(column) is not None:
            return []
    one = Share(distinct, n)
    return [
        Estimate(
            "leakage",
            IDENTIFIER,
            name,
            one.value,
            one.interval,
            say=lambda e, v: (
                f"{percent(one.value)} of rows have a value of {name!r} of their own: it can only be memorised."
            ),
            action=f"Give {name!r} the role `id` or list it under `ignore`; retrain without it if the model reads it.",
            n=n,
            method="Jeffreys interval",
            binding="reference_too_small",
            sample=drawn,
        )
    ]


def _named_id(name: str) -> bool:
    """Whether a name says identifier: `id`, `userId`, `row_id`, `uuid`, `index`."""
    parts = re.findall(r"[A-Z]?[a-z]+|[A-Z]+|\d+", name)
    return bool({p.lower() for p in parts} & {"id", "uuid", "guid", "key", "index", "rownum"})


CHECK = Check(
    name="leakage",
    asks="Did the model learn from something that it cannot know when it predicts?",
    kinds=(POWER, LOST, DETERMINES, IDENTIFIER, FOLLOWS_TIME),
    needs=frozenset({"samples"}),
    run=run,
)
"""The check, for the registry."""
