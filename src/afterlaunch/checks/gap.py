"""Why is production worse: other rows than offline, or other outcomes for the same rows?

Only means of row-wise losses can be split this way: never an AUC, an F1 or an NDCG.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import numpy as np
import polars as pl
from numpy.typing import NDArray

from afterlaunch.checks.evidence import Check, Evidence, Sample
from afterlaunch.checks.rows import groups, is_number, is_plain, numbers, text_codes, words
from afterlaunch.checks.scoring import column, finite, has_units, positives, row_groups
from afterlaunch.decide import EffectKind, Estimate
from afterlaunch.finding import Effect, Json, Verdict
from afterlaunch.stats import losses
from afterlaunch.stats.contrast import p_beyond
from afterlaunch.stats.intervals import symmetric
from afterlaunch.stats.shift import Overlap, Split, domain_chance, overlap, split_gap

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

MOST_ROWS = 20_000
"""Rows of each table that the split looks at."""

LEAST_ROWS = 200
"""Fewest rows of each table with a loss."""

LEAST_OVERLAP = 0.1
"""Smallest shared mass of the two tables' features; below, no row is comparable with one of the other table."""

LEAST_EFFECTIVE = 100.0
"""Fewest effective rows under the shared distribution."""

MOST_LEVELS = 200
"""Values of a categorical feature that are told apart; the rest are one more value."""

COVARIATE = EffectKind(
    "covariate",
    "change of the loss from other rows",
    "share",
    0.05,
    "up",
    "relative to the offline loss; as the margin of the metric it explains",
)
CONDITIONAL = EffectKind(
    "conditional",
    "change of the loss from other outcomes for the same rows",
    "share",
    0.05,
    "up",
    "relative to the offline loss; as the margin of the metric it explains",
)

Loss = Callable[[pl.DataFrame], "Floats | None"]


def _run(evidence: Evidence) -> list[Estimate]:
    samples = evidence.reference_sample, evidence.production_sample
    if samples[0] is None or samples[1] is None or samples[0].rows == 0 or samples[1].rows == 0:
        return []
    named = _losses(evidence)
    given = groups(evidence)
    found: list[Estimate] = []
    cache: dict[bytes, _Domain] = {}
    for name, loss in named.items():
        offline, live = _Rows.take(samples[0], loss, given[0]), _Rows.take(samples[1], loss, given[1])
        if offline is not None and live is not None:
            found += _split(evidence, name, offline, live, cache)
    return found


@dataclass(frozen=True)
class _Rows:
    """Rows of one table that have a loss."""

    frame: pl.DataFrame
    loss: Floats
    group: Ints

    @staticmethod
    def take(sample: Sample, loss: Loss, group: Ints | None) -> _Rows | None:
        values = loss(sample.frame)
        if values is None:
            return None
        rows = np.flatnonzero(np.isfinite(values))
        if rows.size > MOST_ROWS:
            rows = rows[np.arange(MOST_ROWS) * rows.size // MOST_ROWS]
        return _Rows(sample.frame[rows], values[rows], row_groups(group, sample.rows)[rows])


@dataclass(frozen=True)
class _Domain:
    """Where the rows of each table lie, seen from the other one."""

    chance: tuple[Floats, Floats]
    overlap: Overlap
    leading: tuple[str, float] | None
    left_out: tuple[str, ...]


def _losses(evidence: Evidence) -> dict[str, Loss]:
    roles, task = evidence.roles, evidence.task
    if task == "regression":
        guess = roles.prediction or roles.score
        return {
            "absolute error": partial(_of_numbers, losses.absolute_error, guess, roles.outcome),
            "squared error": partial(_of_numbers, losses.squared_error, guess, roles.outcome),
        }

    def of_score(frame: pl.DataFrame, loss: Callable[[Floats, Floats], Floats]) -> Floats | None:
        score, outcome = finite(column(frame, roles.score)), column(frame, roles.outcome)
        return None if score is None or outcome is None else loss(score, positives(outcome, roles))

    def of_prediction(frame: pl.DataFrame) -> Floats | None:
        prediction, outcome = column(frame, roles.prediction), column(frame, roles.outcome)
        if prediction is None or outcome is None:
            return None
        if task == "binary":
            return np.abs(positives(prediction, roles) - positives(outcome, roles))
        if is_number(prediction) and is_number(outcome):
            a, b = numbers(prediction), numbers(outcome)
            return np.where(np.isfinite(a) & np.isfinite(b), losses.miss(a, b), np.nan)
        missed = (words(prediction) != words(outcome)).cast(pl.Float64)
        return missed.to_numpy().astype(np.float64)

    if task == "binary" and roles.score is not None:
        return {
            "log loss": partial(of_score, loss=losses.log_loss),
            "Brier score": partial(of_score, loss=losses.brier),
        }
    return {"error rate": of_prediction} if task in {"binary", "multiclass"} else {}


def _of_numbers(
    loss: Callable[[Floats, Floats], Floats], guess: str | None, truth: str | None, frame: pl.DataFrame
) -> Floats | None:
    a, b = finite(column(frame, guess)), finite(column(frame, truth))
    return None if a is None or b is None else loss(a, b)


def _split(evidence: Evidence, name: str, offline: _Rows, live: _Rows, cache: dict[bytes, _Domain]) -> list[Estimate]:
    rows = min(offline.loss.size, live.loss.size)
    if rows < LEAST_ROWS:
        why = f"only {rows} rows of a table have an outcome and a score, and it takes {LEAST_ROWS}."
        return _undecided(name, "too_few_rows", why, offline, live)
    key = np.isfinite(offline.loss).tobytes() + np.isfinite(live.loss).tobytes()
    domain = cache.get(key)
    if domain is None:
        domain = _domain(evidence, offline, live)
    if domain is None:
        return _undecided(name, "no_features", "no feature is in both tables.", offline, live)
    cache[key] = domain
    if domain.overlap.share < LEAST_OVERLAP or domain.overlap.rows < LEAST_EFFECTIVE:
        because = f"; {domain.leading[0]} separates them most" if domain.leading else ""
        why = (
            f"the features of the two tables overlap by only {_percent(domain.overlap.share)}"
            f" ({domain.overlap.rows:,.0f} effective rows), so that no rows can be compared{because}."
        )
        return _undecided(name, "no_overlap", why, offline, live)
    parts = split_gap((offline.loss, live.loss), domain.chance, (offline.group, live.group), joint=has_units(evidence))
    if not (parts.offline > 0 and np.isfinite(parts.se).all()):
        return _undecided(name, "zero", "the offline loss is zero, and parts are relative to it.", offline, live)
    sides = ((COVARIATE, parts.covariate, float(parts.se[1])), (CONDITIONAL, parts.conditional, float(parts.se[2])))
    return [_estimate(kind, name, value, se, parts, domain, offline, live) for kind, value, se in sides]


def _estimate(
    kind: EffectKind, name: str, value: float, se: float, parts: Split, domain: _Domain, offline: _Rows, live: _Rows
) -> Estimate:
    def interval(alpha_low: float, alpha_high: float) -> tuple[float, float]:
        i = symmetric(value, se, parts.df, alpha_low, alpha_high)
        return i.low, i.high

    action = (
        "Retrain with rows like those of production: the model meets other rows than it was tested on."
        if kind is COVARIATE
        else "Look for a broken or changed feature, then retrain on recent outcomes: the same rows end differently now."
    )
    return Estimate(
        "gap",
        kind,
        _subject(name),
        value,
        interval,
        say=partial(_say, kind, name, parts, domain),
        action=action,
        n=live.loss.size,
        method="DISDE, cross-fitted domain classifier, jackknife over 64 groups",
        binding="sample_too_small",
        p_value=lambda margin: p_beyond(interval, margin, kind.direction),
        primary=False,
        sample=offline.loss.size + live.loss.size,
        table=_chart(name, parts),
    )


def _subject(name: str) -> str:
    return name.lower().replace(" ", "_")


def _undecided(name: str, reason: str, why: str, offline: _Rows, live: _Rows) -> list[Estimate]:
    sentence = f"The change of the {name} cannot be split into its causes: {why}"
    action = "Give an offline table from a nearer time, or compare the features one by one in the drift findings."
    return [
        Estimate(
            "gap",
            kind,
            _subject(name),
            None,
            reason=reason,
            sentence=sentence,
            action=action,
            n=live.loss.size,
            primary=False,
            sample=offline.loss.size + live.loss.size,
        )
        for kind in (COVARIATE, CONDITIONAL)
    ]


# ------------------------------------------------------------------ features


def _domain(evidence: Evidence, offline: _Rows, live: _Rows) -> _Domain | None:
    kinds = evidence.reference_kinds, evidence.production_kinds
    names, left_out = [], []
    for name in evidence.roles.features_of(offline.frame.columns):
        if any(k.get(name, "numeric") not in {"numeric", "category"} for k in kinds):
            continue
        if name not in live.frame.columns or _dead(offline.frame[name]) or _dead(live.frame[name]):
            left_out.append(name)
        elif column(offline.frame, name) is not None and column(live.frame, name) is not None:
            names.append(name)
    if not names:
        return None
    columns, categorical, moved = [], [], []
    for name in names:
        a, b = offline.frame[name], live.frame[name]
        if is_number(a) and is_number(b):
            x = np.concatenate([numbers(a), numbers(b)])
            columns.append(np.where(np.isfinite(x), x, np.nan))
            moved.append(_distance(_ranked(x), offline.loss.size))
        else:
            code = _codes(a, b)
            categorical.append(len(columns))
            columns.append(code.astype(np.float64))
            moved.append(_distance(code, offline.loss.size))
    is_live = np.arange(offline.loss.size + live.loss.size) >= offline.loss.size
    shared = np.concatenate([offline.group, live.group])
    seed = evidence.reference_sample.seed if evidence.reference_sample is not None else 0
    chance = domain_chance(np.stack(columns, axis=1), is_live, shared, categorical, seed)
    both = chance[~is_live], chance[is_live]
    top = int(np.argmax(moved))
    return _Domain(both, overlap(both), (names[top], moved[top]), tuple(left_out))


def _dead(series: pl.Series) -> bool:
    """Whether a column has no value or a single one, so that it would only tell the tables apart."""
    return series.null_count() == len(series) or not is_plain(series) or series.n_unique() < 2


def _codes(a: pl.Series, b: pl.Series) -> Ints:
    """Values of both columns as codes below 255, most frequent first."""
    code = np.concatenate(text_codes(a, b))
    _, inverse, count = np.unique(code, return_inverse=True, return_counts=True)
    rank = np.empty(count.size, dtype=np.int64)
    rank[np.argsort(-count, kind="stable")] = np.arange(count.size)
    return np.minimum(rank[inverse], MOST_LEVELS)


def _ranked(x: Floats) -> Ints:
    """Numbers as 32 bins of equal mass, the last one for missing values."""
    known = x[np.isfinite(x)]
    edges = np.unique(np.quantile(known, np.arange(1, 32) / 32)) if known.size else np.zeros(0)
    return np.where(np.isfinite(x), np.searchsorted(edges, x), edges.size + 1).astype(np.int64)


def _distance(code: Ints, offline: int) -> float:
    """Total variation between the two tables of one feature."""
    size = int(code.max(initial=0)) + 1
    p, q = np.bincount(code[:offline], minlength=size), np.bincount(code[offline:], minlength=size)
    return float(np.abs(p / max(p.sum(), 1) - q / max(q.sum(), 1)).sum() / 2)


# ------------------------------------------------------------------ words


def _say(kind: EffectKind, name: str, parts: Split, domain: _Domain, effect: Effect, verdict: Verdict) -> str:
    verb, value, low, high = "up", effect.value, effect.low, effect.high
    if value < 0:
        verb, value, low, high = "down", -value, -effect.high, -effect.low
    cause = (
        "the rows are other ones than offline"
        if kind is COVARIATE
        else "the outcomes of the same rows (by the features in both tables) are other ones"
    )
    text = (
        f"The {name} went {verb} by {_percent(value)} [{_percent(low)}, {_percent(high)}] of its offline value "
        f"because {cause}; "
        f"in all it went from {parts.offline:.3g} to {parts.production:.3g}. "
        f"The tables overlap by {_percent(domain.overlap.share)}."
    )
    if kind is COVARIATE and domain.leading is not None and domain.leading[1] >= 0.05 and verdict is not Verdict.OK:
        text += f" The feature that moved most is {domain.leading[0]}."
    if kind is CONDITIONAL and domain.left_out:
        shown = ", ".join(domain.left_out[:3]) + (" and others" if len(domain.left_out) > 3 else "")
        text += f" Left out, since a table has no or only one value of it: {shown}."
    return text


def _percent(value: float) -> str:
    return f"{100 * value:.1f} %"


def _chart(name: str, parts: Split) -> Json:
    values = (
        ("other rows", parts.covariate, parts.se[1]),
        ("other outcomes", parts.conditional, parts.se[2]),
        ("whole change", parts.gap, parts.se[0]),
    )
    rows = []
    for label, value, se in values:
        i = symmetric(float(value), float(se), parts.df, 0.025, 0.025)
        rows.append({"name": label, "value": i.value, "low": i.low, "high": i.high})
    return {"kind": "parts", "title": f"Change of the {name}, relative to offline", "unit": "share", "rows": rows}


CHECK = Check(
    name="gap",
    asks="Why did a loss change: other rows, or other outcomes for the same rows?",
    kinds=(COVARIATE, CONDITIONAL),
    needs=frozenset({"samples"}),
    run=_run,
)
