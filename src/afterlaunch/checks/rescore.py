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
from afterlaunch.checks.rows import groups, words
from afterlaunch.checks.scoring import column, finite, positives, row_groups
from afterlaunch.checks.serving import Change, serving_changes, together
from afterlaunch.decide import EffectKind, Estimate
from afterlaunch.finding import Effect, Json, Verdict
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

CELLS = 2048

DROP = EffectKind("drop", "drop of AUC", "AUC", 0.01, "up", "half the margin of the AUC itself: one column is a part")
DROP_ACCURACY = EffectKind(
    "drop_accuracy", "drop of accuracy", "share", 0.01, "up", "half the margin of the accuracy itself"
)
DROP_RMSE = EffectKind("drop_rmse", "relative rise of RMSE", "share", 0.025, "up", "half the margin of the RMSE itself")


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
    changes = serving_changes(evidence)
    if not changes:
        return []
    prepared = _prepare(evidence, evidence.predict)
    if isinstance(prepared, tuple):
        reason, why = prepared
        kind = _kind(evidence)
        return [_nothing(kind, c.columns[0], reason, why, sample.rows) for c in changes]
    found = [_rescore(evidence.predict, prepared, c, c.columns[0]) for c in changes]
    if len(changes) > 1:
        found.append(_rescore(evidence.predict, prepared, together(changes), ""))
    return found


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
    given = groups(evidence)[0]
    group = row_groups(given, sample.rows)[rows]
    return _Offline(frame, outcome, group, before, kind, _gap(evidence, kind), given is not None)


def _gap(evidence: Evidence, kind: EffectKind) -> float | None:
    """How much worse production is than offline in the effect's unit, where both are known."""
    a, b = evidence.metric_reference.get(""), evidence.metric_production.get("")
    if a is None or b is None:
        return None
    if kind is DROP and a.histogram is not None and b.histogram is not None:
        value = float(discrimination.auc(a.histogram.sum(axis=0)) - discrimination.auc(b.histogram.sum(axis=0)))
    elif kind is DROP_ACCURACY and a.confusion is not None and b.confusion is not None:
        tables = a.confusion.sum(axis=0), b.confusion.sum(axis=0)
        value = float(discrimination.accuracy(tables[0]) - discrimination.accuracy(tables[1]))
    elif kind is DROP_RMSE and "squared" in a.moments and "squared" in b.moments:
        first, second = (float(losses.mean(c.moments["squared"].sum(axis=0))) for c in (a, b))
        value = np.sqrt(second / first) - 1 if first > 0 else np.nan
    else:
        return None
    return value if np.isfinite(value) else None


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


def _rescore(predict: Predict, offline: _Offline, change: Change, subject: str) -> Estimate:
    rows, kind = offline.frame.height, offline.kind
    try:
        after = _scores(predict, change.apply(offline.frame), kind)
    except _Refused as error:
        why = f"the model refuses such rows, {change.how} ({error}); in production it fails or something fills them in."
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
                *([] if offline.gap is None else [_whole(offline.gap)]),
            ],
        },
    )


def _whole(gap: float) -> Json:
    return {"name": "whole gap", "value": gap, "low": None, "high": None}


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
        sentence=f"What {subject or 'all of them together'} costs cannot be told: {why}",
        action="Give the values that serving puts in, such as serving={" + repr(subject or "column") + ": 0}.",
        n=rows,
        sample=rows,
    )


def _say(offline: _Offline, change: Change, named: str, effect: Effect, verdict: Verdict) -> str:
    show = _percent if effect.unit == "share" else _plain
    name, worse, better = {
        "drop": ("AUC", "falls", "rises"),
        "drop_accuracy": ("Accuracy", "falls", "rises"),
        "drop_rmse": ("RMSE", "rises", "falls"),
    }[offline.kind.key]
    way, value, low, high = worse, effect.value, effect.low, effect.high
    if value < 0:
        way, value, low, high = better, -effect.value, -effect.high, -effect.low
    many = len(change.columns) > 1
    text = (
        f"{name} {way} by {show(value)} [{show(low)}, {show(high)}] on the offline rows "
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
