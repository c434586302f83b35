"""What does each broken column cost? The offline rows scored again with it as production has it.

Pairs of scores of the same rows differ by the column alone, so the drop is the part of the gap
that the column explains, free of any change of traffic or outcomes.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from afterlaunch.checks.evidence import Check, Evidence
from afterlaunch.checks.rows import groups, is_number, is_plain, numbers, quoted, words
from afterlaunch.checks.scoring import column, finite, has_units, positives, row_groups
from afterlaunch.decide import EffectKind, Estimate
from afterlaunch.finding import Effect, Verdict
from afterlaunch.stats import discrimination, losses
from afterlaunch.stats.contrast import p_beyond
from afterlaunch.stats.intervals import ENOUGH_GROUPS, symmetric
from afterlaunch.stats.resampling import Jackknifed, jackknife

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Predict = Callable[[pl.DataFrame], Any]

MOST_ROWS = 20_000
"""Offline rows that are scored again."""

LEAST_ROWS = 50
"""Fewest offline rows with an outcome."""

LEAST_RARE = 10
"""Fewest of them with the rarer outcome."""

MOST_COLUMNS = 12
"""Columns that are tried one by one."""

MISSING_JUMP = 0.05
"""A column is tried when its missing share rose by more than this."""

MODAL = 0.95
"""A column is tried when one value holds this share of production and not of the offline rows."""

DIFFERENT = 0.05
"""A column is tried when this share of the rows found in both tables differ in it."""

STANDS_IN = 0.95
"""Rank correlation from which a column stands in for the position."""

CELLS = 2048

DROP = EffectKind("drop", "drop of AUC", "AUC", 0.01, "up", "half the margin of the AUC itself: one column's part of a gap")
DROP_ACCURACY = EffectKind(
    "drop_accuracy", "drop of accuracy", "share", 0.01, "up", "half the margin of the accuracy itself"
)
DROP_RMSE = EffectKind(
    "drop_rmse", "relative rise of RMSE", "share", 0.025, "up", "half the margin of the RMSE itself"
)


@dataclass(frozen=True)
class _Change:
    """A column as production has it.

    Attributes:
        columns: The columns changed; more than one when all are changed at once.
        how: What is done to it, in words.
        apply: Offline rows -> the same rows with the column changed.
    """

    columns: tuple[str, ...]
    how: str
    apply: Callable[[pl.DataFrame], pl.DataFrame]


@dataclass(frozen=True)
class _Offline:
    """Offline rows with outcomes, and how good the model is on them."""

    frame: pl.DataFrame
    outcome: Any
    group: Ints
    before: Floats
    kind: EffectKind
    gap: float | None
    clustered: bool


def _run(evidence: Evidence) -> list[Estimate]:
    sample = evidence.reference_sample
    if evidence.predict is None or sample is None or sample.rows == 0:
        return []
    changes = _changes(evidence)
    if not changes:
        return []
    prepared = _prepare(evidence, evidence.predict)
    if isinstance(prepared, tuple):
        reason, why = prepared
        kind = _kind(evidence)
        return [_nothing(kind, c.columns[0], reason, why, sample.rows) for c in changes]
    found = [_rescore(evidence.predict, prepared, c, c.columns[0]) for c in changes]
    if len(changes) > 1:
        found.append(_rescore(evidence.predict, prepared, _together(changes), ALL))
    return found


ALL = "all of them"
"""Subject of the finding on all columns changed at once."""


def _kind(evidence: Evidence) -> EffectKind:
    return {"regression": DROP_RMSE, "multiclass": DROP_ACCURACY}.get(evidence.task or "binary", DROP)


def _prepare(evidence: Evidence, predict: Predict) -> _Offline | tuple[str, str]:
    roles, kind, sample = evidence.roles, _kind(evidence), evidence.reference_sample
    assert sample is not None
    truth = column(sample.frame, roles.outcome)
    if truth is None:
        return "no_outcomes", "the offline table has no outcome."
    values: Any = words(truth).to_numpy() if kind is DROP_ACCURACY else None
    if values is None:
        known = positives(truth, roles) if kind is DROP else finite(truth)
        if known is None:
            return "no_outcomes", "the outcome is not a number."
        values = known
        rows = np.flatnonzero(np.isfinite(known))
    else:
        rows = np.flatnonzero(truth.is_not_null().to_numpy())
    if rows.size > MOST_ROWS:
        rows = rows[np.arange(MOST_ROWS) * rows.size // MOST_ROWS]
    if rows.size < LEAST_ROWS:
        return "too_few_rows", f"only {rows.size} offline rows have an outcome, and it takes {LEAST_ROWS}."
    outcome = values[rows]
    if kind is DROP and min(outcome.sum(), (1 - outcome).sum()) < LEAST_RARE:
        return "too_few_of_rarer_class", f"fewer than {LEAST_RARE} offline rows have the rarer outcome."
    frame = sample.frame[rows]
    try:
        before = _scores(predict, frame, kind)
    except _Refused as error:
        return "model_failed", f"the model does not score the offline rows as they are ({error})."
    group = row_groups(groups(evidence)[0], sample.rows)[rows]
    return _Offline(frame, outcome, group, before, kind, _gap(evidence, kind), has_units(evidence))


def _gap(evidence: Evidence, kind: EffectKind) -> float | None:
    """How much worse production is than offline in the effect's unit, where both are known."""
    a, b = evidence.metric_reference.get(""), evidence.metric_production.get("")
    if a is None or b is None:
        return None
    if kind is DROP and a.histogram is not None and b.histogram is not None:
        value = float(discrimination.auc(a.histogram.sum(axis=0)) - discrimination.auc(b.histogram.sum(axis=0)))
    elif kind is DROP_ACCURACY and a.confusion is not None and b.confusion is not None:
        first, second = (float(discrimination.accuracy(c.confusion.sum(axis=0))) for c in (a, b) if c.confusion is not None)
        value = first - second
    elif kind is DROP_RMSE and "squared" in a.moments and "squared" in b.moments:
        first, second = (float(losses.mean(c.moments["squared"].sum(axis=0))) for c in (a, b))
        value = np.sqrt(second / first) - 1 if first > 0 else np.nan
    else:
        return None
    return value if np.isfinite(value) else None


# ------------------------------------------------------------------ which columns, and how


def _changes(evidence: Evidence) -> list[_Change]:
    roles, sample = evidence.roles, evidence.reference_sample
    assert sample is not None
    serving = dict(evidence.options.get("serving") or {})
    reference = sample.frame
    production = None if evidence.production_sample is None else evidence.production_sample.frame
    kinds = evidence.production_kinds or ({} if production is None else production.schema)
    found: list[_Change] = []
    places = _places(evidence)
    names = [*places, *(n for n in roles.features_of(reference.columns) if n not in places)]
    for name in names:
        given = column(reference, name)
        if given is None or given.null_count() == len(given):
            continue
        if name in serving:
            found.append(_constant(name, serving[name], "the value that serving puts in"))
        elif name not in kinds:
            found.append(_constant(name, None, "missing, as production lacks it"))
        elif name in places:
            found.append(_constant(name, None, "missing, since no place is known when the model decides"))
        elif production is not None and production.height and name in production.columns and is_plain(production[name]):
            change = _seen(evidence, name, given, production[name], sample.seed)
            if change is not None:
                found.append(change)
    return found[:MOST_COLUMNS]


def _places(evidence: Evidence) -> list[str]:
    """The position column and the features that say the same, as far as the offline rows have them."""
    frame = evidence.reference_sample.frame if evidence.reference_sample is not None else pl.DataFrame()
    place = column(frame, evidence.roles.position)
    if place is None or not is_number(place) or place.n_unique() < 2:
        return [] if place is None else [place.name]
    out = [place.name]
    for name in evidence.roles.features_of(frame.columns):
        other = column(frame, name)
        if other is None or not is_number(other) or other.n_unique() < 2:
            continue
        pair = pl.DataFrame({"a": numbers(place), "b": numbers(other)}).fill_nan(None).drop_nulls()
        if pair.height < LEAST_ROWS:
            continue
        rho = pair.select(pl.corr(pl.col("a").rank(), pl.col("b").rank())).item()
        if rho is not None and abs(rho) >= STANDS_IN:
            out.append(name)
    return out


def _seen(evidence: Evidence, name: str, offline: pl.Series, live: pl.Series, seed: int) -> _Change | None:
    """What production did to a column that it has, None when nothing."""
    lost = live.null_count() / len(live) - offline.null_count() / len(offline)
    top, share = _modal(live)
    if lost > MISSING_JUMP:
        if live.null_count() == len(live):
            return _constant(name, None, "missing, as in all of production")
        return _Change((name,), f"missing in {100 * lost:.0f} % more rows", partial(_lose, name, lost, seed))
    if share >= MODAL and _modal(offline)[1] < MODAL:
        return _constant(name, top, f"always {quoted(top) if isinstance(top, (str, int, float)) else top}, as in production")
    pairs = evidence.pairs
    if pairs is not None and name in pairs.different and pairs.matched.sum() > 0:
        differ = float(pairs.different[name].sum()) / float(pairs.matched.sum())
        if differ > DIFFERENT:
            return _Change((name,), "drawn from production's values", partial(_draw, name, live, seed))
    return None


def _modal(series: pl.Series) -> tuple[Any, float]:
    counts = series.value_counts(sort=True)
    return (None, 0.0) if counts.height == 0 else (counts[series.name][0], float(counts["count"][0]) / len(series))


def _constant(name: str, value: Any, how: str) -> _Change:
    return _Change((name,), how, partial(_fill, name, value))


def _fill(name: str, value: Any, frame: pl.DataFrame) -> pl.DataFrame:
    dtype = frame.schema[name]
    filled = pl.Series(name, [value], dtype=None if value is not None else dtype)
    return frame.with_columns(filled.cast(dtype, strict=False).extend_constant(None, 0).new_from_index(0, frame.height))


def _lose(name: str, share: float, seed: int, frame: pl.DataFrame) -> pl.DataFrame:
    known = float(frame[name].is_not_null().mean() or 0.0)
    gone = np.random.default_rng(seed).random(frame.height) < min(1.0, share / max(known, 1e-9))
    return frame.with_columns(pl.when(pl.Series(gone)).then(None).otherwise(pl.col(name)).alias(name))


def _draw(name: str, live: pl.Series, seed: int, frame: pl.DataFrame) -> pl.DataFrame:
    picked = np.random.default_rng(seed).integers(0, len(live), frame.height)
    return frame.with_columns(live[picked].cast(frame.schema[name], strict=False).alias(name))


def _together(changes: list[_Change]) -> _Change:
    def apply(frame: pl.DataFrame) -> pl.DataFrame:
        for change in changes:
            frame = change.apply(frame)
        return frame

    return _Change(tuple(c.columns[0] for c in changes), "as production has them", apply)


# ------------------------------------------------------------------ scoring again


class _Refused(Exception):
    """The model raised, or gave no usable score."""


def _scores(predict: Predict, frame: pl.DataFrame, kind: EffectKind) -> Any:
    """One score (or class) per row.

    Raises:
        _Refused: With what the model said.
    """
    try:
        raw = np.asarray(predict(frame))
        if raw.ndim == 2 and raw.shape[1] in {1, 2} and kind is not DROP_ACCURACY:
            raw = raw[:, -1]
        if raw.shape != (frame.height,):
            raise _Refused(f"it returned the shape {raw.shape} for {frame.height} rows")
        if kind is DROP_ACCURACY:
            return words(pl.Series(raw)).to_numpy()
        scores = raw.astype(np.float64)
    except _Refused:
        raise
    except Exception as error:  # The user's model may raise anything.
        text = " ".join(str(error).split())
        raise _Refused(f"{type(error).__name__}: {text[:200]}") from error
    if not np.isfinite(scores).all():
        raise _Refused(f"it gave no finite score for {int((~np.isfinite(scores)).sum()):,} rows")
    return scores


def _rescore(predict: Predict, offline: _Offline, change: _Change, subject: str) -> Estimate:
    rows, kind = offline.frame.height, offline.kind
    try:
        after = _scores(predict, change.apply(offline.frame), kind)
    except _Refused as error:
        why = f"the model refuses rows with it {change.how} ({error}); in production it fails or something fills it in."
        return _nothing(kind, subject, "model_refused_missing", why, rows)
    if offline.clustered and np.unique(offline.group).size < ENOUGH_GROUPS:
        return _nothing(kind, subject, "units_too_few", "the offline rows come from too few units.", rows)
    j = _drop(offline, after)
    value, se = float(j.value[0]), float(j.se[0])
    if not np.isfinite([value, se]).all():
        return _nothing(kind, subject, "undefined", "the metric is not defined on the offline rows.", rows)

    def interval(alpha_low: float, alpha_high: float) -> tuple[float, float]:
        i = symmetric(value, se, j.df, alpha_low, alpha_high)
        return i.low, i.high

    several = len(change.columns) > 1
    named = ", ".join(change.columns) if several else subject
    return Estimate(
        "rescore",
        kind,
        subject,
        value,
        interval,
        say=partial(_say, offline, change, named),
        action=(
            f"Serve {named} as in training, or retrain without {'them' if several else 'it'}: "
            "the offline number counts on what production does not give."
        ),
        n=rows,
        method="paired delete-one-group jackknife on the same rows",
        binding="reference_too_small",
        p_value=lambda margin: p_beyond(interval, margin, kind.direction),
        sample=rows,
        table={
            "kind": "parts",
            "title": f"{kind.name[:1].upper()}{kind.name[1:]}, part of the gap",
            "unit": kind.unit,
            "rows": [
                {"name": named, "value": value, **dict(zip(("low", "high"), interval(0.025, 0.025), strict=True))},
                *([] if offline.gap is None else [{"name": "whole gap", "value": offline.gap, "low": None, "high": None}]),
            ],
        },
    )


def _drop(offline: _Offline, after: Any) -> Jackknifed:
    """Drop of the metric, in the effect's unit, with its paired jackknife."""
    group, size = offline.group, 1 + int(offline.group.max())
    rows = np.bincount(group, minlength=size).astype(np.float64)
    if offline.kind is DROP:
        sums = [_histogram(s, offline.outcome, group, size) for s in (offline.before, after)]
        return jackknife(lambda a, b: discrimination.auc(a) - discrimination.auc(b), *sums, size=rows)
    if offline.kind is DROP_ACCURACY:
        hits = [np.bincount(group, s == offline.outcome, minlength=size) for s in (offline.before, after)]
        return jackknife(lambda a, b, n: (a - b) / n, *hits, rows, size=rows)
    errors = [np.bincount(group, (s - offline.outcome) ** 2, minlength=size) for s in (offline.before, after)]

    def rise(a: Floats, b: Floats) -> Floats:
        with np.errstate(invalid="ignore", divide="ignore"):
            return np.asarray(np.sqrt(b / a) - 1)

    return jackknife(rise, *errors, size=rows)


def _histogram(scores: Floats, outcome: Floats, group: Ints, size: int) -> Floats:
    """Rows per group, outcome and score cell, shape (size, 2, CELLS); cells hold equal numbers of rows."""
    values, cell = np.unique(scores, return_inverse=True)
    if values.size > CELLS:
        rank = np.searchsorted(np.sort(scores), scores, side="right")
        cell = (rank - 1) * CELLS // scores.size
    flat = (group * 2 + outcome.astype(np.int64)) * CELLS + cell
    return np.bincount(flat, minlength=size * 2 * CELLS).reshape(size, 2, CELLS).astype(np.float64)


def _nothing(kind: EffectKind, subject: str, reason: str, why: str, rows: int) -> Estimate:
    return Estimate(
        "rescore",
        kind,
        subject,
        None,
        reason=reason,
        sentence=f"What {subject} costs cannot be told: {why}",
        action=f"Give the value that serving puts in for {subject} with serving={{{subject!r}: VALUE}}.",
        n=rows,
        sample=rows,
    )


def _say(offline: _Offline, change: _Change, named: str, effect: Effect, verdict: Verdict) -> str:
    show = _percent if effect.unit == "share" else _plain
    what = {"drop": "AUC falls", "drop_accuracy": "Accuracy falls", "drop_rmse": "RMSE rises"}[offline.kind.key]
    many = len(change.columns) > 1
    text = (
        f"{what} by {show(effect.value)} [{show(effect.low)}, {show(effect.high)}] on the offline rows "
        f"when {named} {'are' if many else 'is'} {change.how}."
    )
    gap = offline.gap
    if gap is not None and gap > offline.kind.margin and effect.value > 0:
        part = effect.value / gap
        text += (
            f" That is {100 * part:.0f} % of the gap of {show(gap)} between offline and production."
            if part <= 1.05
            else f" That is more than the whole gap of {show(gap)} between offline and production."
        )
    return text


def _plain(value: float) -> str:
    return f"{value:.3f}"


def _percent(value: float) -> str:
    return f"{100 * value:.1f} %"


CHECK = Check(
    name="rescore",
    asks="What does each broken column cost?",
    kinds=(DROP, DROP_ACCURACY, DROP_RMSE),
    needs=frozenset({"samples", "metric"}),
    run=_run,
)
