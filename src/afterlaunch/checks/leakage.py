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
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from afterlaunch.checks.evidence import Check, Evidence
from afterlaunch.checks.rows import (
    groups,
    is_number,
    is_plain,
    looks_default,
    numbers,
    order,
    percent,
    quoted,
    steadiness,
    text_codes,
    times,
    words,
)
from afterlaunch.decide import EffectKind, Estimate
from afterlaunch.finding import Effect, Json, Verdict
from afterlaunch.stats.association import (
    Determined,
    Loss,
    Power,
    binned,
    blocks,
    determined,
    kept_spread,
    levels,
    power,
    smoothness,
)
from afterlaunch.stats.shares import Share, p_value

Ints = NDArray[np.int64]

MOST_CLASSES = 20
"""A numeric outcome with more values is a number; rarer classes of a text outcome are taken together."""
MOST_CELLS = 4_000_000
"""Rows times features that are looked at; wide tables are thinned to keep within it."""
LEFT = 0.25
"""A relation of which more than this share is left has weakened, not vanished."""
SLOW = 0.5
"""A column follows time in production when this share of what its values meant changes slowly from row to row."""
WORTH = 0.05
"""Power above one half from which losing it is worth a finding."""
FOLLOWS = 0.05
"""Power over all rows beyond that within stretches of time from which a column is said to follow time."""

POWER = EffectKind(
    "power", "power of the column alone", "AUC", 0.95, "up",
    "two normal populations 2.3 standard deviations apart; a single honest column rarely gets so far where a model is needed",
)  # fmt: skip
LOST = EffectKind(
    "lost_power", "power lost in production", "AUC", 0.1, "up",
    "ten points of AUC that the model counted on and that production does not give back",
)  # fmt: skip
DETERMINES = EffectKind(
    "determines", "errors saved by knowing the column", "share", 0.9, "up",
    "nine of ten errors of always guessing the commonest outcome; a copy of the outcome with some noise",
)  # fmt: skip
IDENTIFIER = EffectKind(
    "identifier", "share of different values", "share", 0.95, "up",
    "a value that belongs to one row can only be memorised",
)  # fmt: skip
FOLLOWS_TIME = EffectKind(
    "follows_time", "power that comes from time alone", "AUC", 0.5, "up",
    "never bad in itself, so the margin is the most it can be",
)  # fmt: skip


@dataclass(frozen=True)
class _Table:
    """Rows of one table that have an outcome, in time order."""

    frame: pl.DataFrame
    level: Ints
    block: Ints
    group: Ints | None
    fold: Ints
    whole: bool


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
        return [_undecided("no_outcome", f"The outcome {roles.outcome!r} holds lists or records, not single values.", False)]
    features = [c for c in roles.features_of(sample.frame.columns) if is_plain(sample.frame[c])]
    prepared = _prepare(evidence, max(1, len(features)))
    if prepared is None:
        return [_undecided("one_class", f"The outcome {roles.outcome!r} has less than two different values in the reference.", True)]
    before, after, classes = prepared
    found: list[Estimate] = []
    for name in features:
        found += _feature(evidence, name, before, after, classes, pooled=len(features) <= 500)
    if features and not found:
        return [_undecided("too_few_rows", "The reference has too few rows to look for leaks.", True)]
    return found


def _undecided(reason: str, sentence: str, primary: bool) -> Estimate:
    return Estimate(
        "leakage", POWER, "", None, reason=reason, sentence=sentence, primary=primary, may_alarm=False,
        action="Give a reference with the outcome that the model was trained on.",
    )  # fmt: skip


def _prepare(evidence: Evidence, width: int) -> tuple[_Table, _Table | None, bool] | None:
    """Both tables with outcome levels, blocks, groups and folds; None when the reference has one outcome only."""
    roles, reference, production = evidence.roles, evidence.reference_sample, evidence.production_sample
    assert reference is not None and roles.outcome is not None
    frames = [reference.frame]
    if production is not None and roles.outcome in production.frame.columns and is_plain(production.frame[roles.outcome]):
        frames.append(production.frame)
    most = max(1000, MOST_CELLS // width)
    group = groups(evidence)
    kept: list[tuple[pl.DataFrame, Ints | None]] = []
    for frame, g in zip(frames, group, strict=False):
        rows = order(frame, roles)
        known = _known(frame[roles.outcome])[rows]
        rows = rows[known]
        if len(rows) > most:
            rows = rows[np.arange(most) * len(rows) // most]
        kept.append((frame[rows], g[rows] if g is not None else None))
    outcome, classes = _levels([f[roles.outcome] for f, _ in kept], evidence.task)
    if len(np.unique(outcome[0])) < 2:
        return None
    rng = np.random.default_rng(reference.seed)
    tables = []
    for (frame, g), level, sample in zip(kept, outcome, (reference, production), strict=False):
        if sample is not None:
            tables.append(_table(frame, level, g, rng, timed=roles.time in frame.columns, whole=sample.whole))
    after = tables[1] if len(tables) > 1 and len(np.unique(tables[1].level)) > 1 else None
    return tables[0], after, classes


def _known(outcome: pl.Series) -> NDArray[np.bool_]:
    return np.isfinite(numbers(outcome)) if is_number(outcome) else outcome.is_not_null().to_numpy()


def _levels(outcomes: list[pl.Series], task: str | None) -> tuple[list[Ints], bool]:
    """Levels of the outcome, alike in all tables, and whether they are classes without an order."""
    sizes = [len(o) for o in outcomes]
    if all(is_number(o) for o in outcomes):
        values = np.concatenate([numbers(o) for o in outcomes])
        distinct = len(np.unique(values[: sizes[0]]))
        level = binned(values) if distinct <= MOST_CLASSES else levels(values)
        classes = task == "multiclass" and distinct <= MOST_CLASSES
    else:
        joined = pl.concat([words(o) for o in outcomes])
        common = joined[: sizes[0]].value_counts(sort=True)[joined.name].head(MOST_CLASSES).sort()
        rank = {v: i for i, v in enumerate(common)}
        level = np.array([rank.get(v, len(rank)) for v in joined], dtype=np.int64)
        classes = True
    return [np.asarray(part, dtype=np.int64) for part in np.split(level, np.cumsum(sizes)[:-1])], classes


def _table(
    frame: pl.DataFrame, level: Ints, group: Ints | None, rng: np.random.Generator, *, timed: bool, whole: bool
) -> _Table:
    n = len(level)
    count = np.bincount(level)
    block = blocks(n, int(count.sum() - count.max()) if np.count_nonzero(count) > 2 else int(min(count[count > 0], default=0)))
    if not timed and n and _sorted_by(level, block):
        block = rng.permutation(block)
    fold = rng.integers(0, 2, n)
    if group is not None and n:
        fold = rng.integers(0, 2, int(group.max()) + 1)[group]
    return _Table(frame, level, block, group, fold.astype(np.int64), whole)


def _sorted_by(level: Ints, block: Ints) -> bool:
    """Whether the rows stand in the order of the outcome, so that their order is no order in time."""
    table = np.zeros((int(block.max()) + 1, int(level.max()) + 1))
    np.add.at(table, (block, level), 1)
    rows = table.sum(axis=1)
    within = float((rows**2 - (table**2).sum(axis=1)).sum())
    whole = float(rows.sum() ** 2 - (table.sum(axis=0) ** 2).sum()) / len(table)
    return within < 0.5 * whole


def _codes(first: pl.Series, second: pl.Series | None) -> tuple[Ints, Ints]:
    """Values as codes, alike in both tables."""
    other = second if second is not None and is_plain(second) else first.clear()
    if is_number(first) and is_number(other):
        joined = binned(np.concatenate([numbers(first), numbers(other)]))
        return joined[: len(first)], joined[len(first) :]
    return text_codes(first, other)


def _feature(
    evidence: Evidence, name: str, before: _Table, after: _Table | None, classes: bool, *, pooled: bool
) -> list[Estimate]:
    column = before.frame[name]
    other = after.frame[name] if after is not None and name in after.frame.columns else None
    codes, other_codes = _codes(column, other)
    within = power(codes, before.level, before.block, classes=classes, group=before.group)
    if within is None:
        return []
    whole = power(codes, before.level, np.zeros_like(codes), classes=classes, fold=before.fold) if pooled else None
    drawn = None if before.whole else len(codes)
    found = [_say_power(name, within, whole, drawn)]
    if whole is not None and whole.value - within.value >= FOLLOWS:
        found.append(_say_time(name, within, whole, drawn))
    if within.value >= 0.5 + WORTH:
        found += _lost(evidence, name, within, whole, before, after, codes, other_codes, classes, drawn)
    if int(before.level.max()) <= MOST_CLASSES:
        one = determined(codes, before.level, before.fold, before.group)
        if one.value >= 0.5:
            found.append(_say_determines(name, one, drawn))
    return found + _identifier(name, column, codes, drawn)


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
            return f"AUC {effect.value:.3f} offline from {name!r} alone: that is too good to be true for a single column."
        return f"AUC {effect.value:.3f} offline from {name!r} alone, among rows of the same stretch of time."

    def ends(low: float, high: float) -> tuple[float, float]:
        i = within.interval(low, high)
        return i.low, i.high

    return Estimate(
        "leakage", POWER, name, within.value, ends, say=say, n=within.rows,
        action=f"Find out when {name!r} becomes known; if that is after the prediction, retrain without it.",
        method="cross-fitted AUC within blocks of time, DeLong variance, Jeffreys interval", binding="reference_too_small",
        p_value=lambda margin: p_value(ends, margin), sample=drawn,
        table=_chart(name, within_time=within, all_rows=whole),
    )  # fmt: skip


def _say_time(name: str, within: Power, whole: Power, drawn: int | None) -> Estimate:
    sentence = (
        f"{name!r} follows time, and so does the outcome: AUC {whole.value:.3f} over all rows, but {within.value:.3f} "
        "among rows of the same stretch of time. That is no leak."
    )

    def ends(low: float, high: float) -> tuple[float, float]:
        a, b = within.interval(high, low), whole.interval(low, high)
        gap = whole.value - within.value
        half = [float(np.hypot(x, y)) for x, y in ((b.value - b.low, a.high - a.value), (b.high - b.value, a.value - a.low))]
        return max(-0.5, gap - half[0]), min(0.5, gap + half[1])

    return Estimate(
        "leakage", FOLLOWS_TIME, name, min(0.5, whole.value - within.value), ends, say=lambda e, v: sentence, n=within.rows,
        method="cross-fitted AUC over all rows less that within blocks of time", primary=False, may_alarm=False,
        sample=drawn, table=_chart(name, within_time=within, all_rows=whole),
    )  # fmt: skip


def _lost(
    evidence: Evidence, name: str, within: Power, whole: Power | None, before: _Table, after: _Table | None,
    codes: Ints, other_codes: Ints, classes: bool, drawn: int | None,
) -> list[Estimate]:  # fmt: skip
    gone = _gone(evidence, name, before)
    if gone is not None:
        return [_say_lost(name, Loss(within, None), gone, whole, drawn, evidence.production_sample)]
    if after is None or not len(other_codes):
        return []
    own = power(other_codes, after.level, after.block, classes=classes, group=after.group)
    taught = power(
        other_codes, after.level, after.block, classes=classes, group=after.group, taught=(codes, before.level, before.block)
    )
    left = max((p for p in (own, taught) if p is not None), key=lambda p: p.value, default=None)
    if left is None:
        return []
    room = kept_spread(codes, before.level, before.block, other_codes, after.block, classes=classes)
    loss = Loss(within, left, room)
    if loss.expected < WORTH:
        return []
    slow = smoothness(codes, before.level, before.block, other_codes, classes=classes) >= SLOW
    honest = slow or loss.left > LEFT * loss.expected
    if honest and loss.value > LOST.margin / 2:
        return [_say_weaker(name, loss, slow, whole, drawn)]
    return [_say_lost(name, loss, "", whole, drawn, evidence.production_sample, may_alarm=not honest)]


def _gone(evidence: Evidence, name: str, before: _Table) -> str | None:
    """Why a column can have no power in production, in words that follow "and"; None when it can."""
    if evidence.production_sample is None:
        return None
    if name not in evidence.production_kinds:
        return "production does not have it"
    frame = evidence.production_sample.frame
    if name not in frame.columns or frame.height == 0:
        return None
    column = frame[name]
    if column.null_count() == frame.height:
        return "production has no value of it"
    ref = before.frame[name]
    both_numbers = is_number(ref) and is_number(column)
    a, b = (s.cast(pl.Float64).fill_nan(None) if both_numbers else words(s) for s in (ref, column))
    if b.drop_nulls().n_unique() == 0:
        return "production has no value of it"
    if b.n_unique() > 1 or frame.height < 2:
        return None
    value, known = b[0], a.drop_nulls()
    new = len(known) > 0 and not bool((known == value).any())
    # One natural value can be all that a short or narrow stretch of production has.
    if not new and not (looks_default(value) and not steadiness(text_codes(a, a)[0]).steady):
        return None
    return f"production has nothing but {quoted(value)}"


def _say_lost(
    name: str, loss: Loss, where: str, whole: Power | None, drawn: int | None, sample: Any, *, may_alarm: bool = True
) -> Estimate:
    def say(effect: Effect, verdict: Verdict) -> str:
        moved = f"loses {effect.value:.3f}" if effect.value >= 0 else f"gains {-effect.value:.3f}"
        start = f"{name!r} {moved} of AUC: alone it reaches {loss.before.value:.3f} offline"
        if loss.after is None:
            return f"{start}, and {where}."
        return f"{start}, and {0.5 + loss.left:.3f} in production, where its values leave room for {0.5 + loss.expected:.3f}."

    n = loss.after.rows if loss.after is not None else (sample.total if sample is not None else 0)
    return Estimate(
        "leakage", LOST, name, loss.value, loss.interval, say=say, n=n,
        action=f"Find out when {name!r} becomes known: if after the prediction, retrain without it; if before, repair its feed.",
        method="cross-fitted AUC within blocks of time, offline less production (MOVER)", rows_needed=loss.rows_needed,
        binding="reference_too_small", p_value=lambda margin: p_value(loss.interval, margin), sample=drawn,
        may_alarm=may_alarm, table=_chart(name, offline_within_time=loss.before, offline_all_rows=whole, production=loss.after),
    )  # fmt: skip


def _say_weaker(name: str, loss: Loss, slow: bool, whole: Power | None, drawn: int | None) -> Estimate:
    assert loss.after is not None
    return Estimate(
        "leakage", LOST, name, None, reason="relation_changed", primary=False, may_alarm=False, n=loss.after.rows,
        sentence=(
            f"{name!r} keeps AUC {loss.after.value:.3f} in production, from {loss.before.value:.3f} offline: "
            + (
                "it follows time in production, and what followed time once may not again; that is not a sign of a leak."
                if slow
                else "a relation that weakens is a change of the world, not a sign of a leak."
            )
        ),
        action="See the metric gap for what it costs; retraining on newer rows may win it back.", sample=drawn,
        table=_chart(name, offline_within_time=loss.before, offline_all_rows=whole, production=loss.after),
    )  # fmt: skip


def _say_determines(name: str, one: Determined, drawn: int | None) -> Estimate:
    return Estimate(
        "leakage", DETERMINES, name, one.value, one.interval, n=one.rows, sample=drawn,
        say=lambda e, v: (
            f"{percent(one.value)} of the errors of guessing are saved by knowing {name!r} alone: it predicts "
            f"{one.rows - one.errors:,} of {one.rows:,} outcomes on rows it was not learnt from."
        ),
        action=f"{name!r} is the outcome in other words: retrain without it.",
        method="Goodman and Kruskal's lambda on held-out halves, Jeffreys interval for the errors",
        binding="reference_too_small", p_value=lambda margin: p_value(one.interval, margin),
    )  # fmt: skip


def _identifier(name: str, column: pl.Series, codes: Ints, drawn: int | None) -> list[Estimate]:
    """A column whose values belong to single rows."""
    n = len(column)
    if n < 100 or column.dtype.is_float() or column.dtype == pl.Boolean or column.dtype.is_temporal():
        return []
    distinct = column.drop_nulls().n_unique()
    if distinct < POWER.margin * n:
        return []
    if is_number(column):
        whole = column.drop_nulls()
        span = float(whole.max()) - float(whole.min()) + 1  # type: ignore[arg-type]
        if not (whole.is_sorted() or whole.is_sorted(descending=True) or span <= 1.05 * distinct or _named_id(name)):
            return []
    else:
        text = words(column).drop_nulls()
        if float(text.str.count_matches(r"\s").mean() or 0.0) > 1 or times(column) is not None:
            return []
    one = Share(distinct, n)
    return [
        Estimate(
            "leakage", IDENTIFIER, name, one.value, lambda low, high: (one.interval(low, high).low, one.interval(low, high).high),
            say=lambda e, v: f"{percent(one.value)} of rows have a value of {name!r} of their own: it names rows, and can only be memorised.",
            action=f"Give {name!r} the role `id`, or list it under `ignore`; if the model reads it, retrain without it.",
            n=n, method="Jeffreys interval", binding="reference_too_small", sample=drawn,
        )  # fmt: skip
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
