"""Is the model as good in production as the offline test said?

Every metric is counted on both tables; the effect is production less offline (or their ratio
less one, for losses whose size depends on the data). A metric needs enough rows of the rarer
outcome and enough units, else it is undecided and the sentence says what is missing.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial

import numpy as np
from numpy.typing import NDArray

from afterlaunch.checks.evidence import Check, Evidence, Task
from afterlaunch.checks.metric_kinds import KINDS, METRICS, PER_SEGMENT, Floats, Metric, Sums
from afterlaunch.checks.scoring import has_units
from afterlaunch.decide import Estimate
from afterlaunch.finding import Effect, Json, Verdict
from afterlaunch.profile.types import MetricCounts
from afterlaunch.stats import contrast, discrimination
from afterlaunch.stats.calibration import Calibration, calibration_error
from afterlaunch.stats.contrast import Contrast, Side
from afterlaunch.stats.intervals import ENOUGH_GROUPS, Interval
from afterlaunch.stats.resampling import Jackknifed

LEAST_RARE = 10
"""Fewest rows of the rarer outcome, on either side, for a metric of classes."""

LEAST_ROWS = 20
"""Fewest rows (lists) on either side for any other metric."""

LEAST_DF = 10.0
"""Fewest degrees of freedom: below, a few units hold most rows."""


def _run(evidence: Evidence) -> list[Estimate]:
    if evidence.task is None:
        return []
    reference, production = evidence.metric_reference, evidence.metric_production
    if "" not in reference or "" not in production:
        return []
    segments = sorted((set(reference) & set(production)) - {""})
    out = []
    for metric in METRICS[evidence.task]:
        estimate = _compare(evidence, metric, reference[""], production[""], None, 1.0)
        if estimate is None:
            continue
        out.append(estimate)
        if metric.kind in PER_SEGMENT:
            each = [_compare(evidence, metric, reference[s], production[s], s, 1 / len(segments)) for s in segments]
            out += [e for e in each if e is not None]
    return out or [_nothing(evidence, reference[""], production[""])]


def _compare(
    evidence: Evidence,
    metric: Metric,
    reference: MetricCounts,
    production: MetricCounts,
    segment: str | None,
    weight: float,
) -> Estimate | None:
    """The estimate of one metric, None when neither table has what it needs."""
    kind = CHECK.kind(metric.kind)
    sums = metric.sums(reference), metric.sums(production)
    if sums[0] is None and sums[1] is None:
        return None
    primary = (
        metric.primary
        and segment is None
        and not (
            # Nobody said that scores are cut at 0.5.
            metric.kind in {"accuracy", "f1"}
            and evidence.task == "binary"
            and evidence.roles.prediction is None
            and "threshold" not in evidence.options
        )
    )
    rows = int(own_rows(evidence, metric, production)[0].sum())
    estimate = partial(Estimate, "metric", kind, "", n=rows, weight=weight, primary=primary, segment=segment)
    where = "" if segment is None else f" where {evidence.roles.segment} is {segment}"
    missing = lacking(evidence, metric, reference, production)
    if missing is not None:
        reason, why = missing
        return estimate(
            None, reason=reason, sentence=f"The {metric.word}{where} cannot be compared: {why}", action=_MORE
        )
    assert sums[0] is not None
    assert sums[1] is not None
    change, calibrations = contrast_of(evidence, metric, reference, production, sums[0], sums[1])
    if isinstance(change, tuple):
        reason, why = change
        return estimate(
            None, reason=reason, sentence=f"The {metric.word}{where} cannot be compared: {why}", action=_MORE
        )
    return estimate(
        change.value,
        interval=change.interval,
        say=partial(say, metric, change, where),
        action=_action(metric.kind, evidence.task, where),
        method=_METHODS["macro_f1" if metric.kind == "macro_f1" else metric.scale]
        + (", joint over units" if change.correlation else ""),
        rows_needed=lambda margin, alpha: change.rows_needed(margin, alpha, kind.direction),
        binding="reference_too_small",
        p_value=lambda margin: change.p_value(margin, kind.direction),
        table=_reliability(calibrations) if calibrations else _rows(metric, change),
    )


def lacking(
    evidence: Evidence, metric: Metric, reference: MetricCounts, production: MetricCounts
) -> tuple[str, str] | None:
    """What is missing, as a reason code and in words; None when nothing is."""
    roles, unit = evidence.roles, "lists" if evidence.task == "ranking" else "rows"
    for table, counts in (("offline", reference), ("production", production)):
        if counts.total == 0:
            return "no_rows", f"the {table} table has no rows."
        if int(counts.without_outcome.sum()) == counts.total:
            return "no_outcomes", f"no {table} row has an outcome{_named(roles.outcome)} yet."
        if metric.sums(counts) is None:
            return "no_score", f"no {table} row has both an outcome and a score or prediction."
        each, by_class = own_rows(evidence, metric, counts)
        rows = int(each.sum())
        if metric.by_class and by_class is not None:
            seen = by_class[by_class > 0] if evidence.task == "multiclass" else by_class
            if np.count_nonzero(by_class) < 2:
                return "one_class", f"every {table} row has the same outcome."
            rare = int(seen.min())
            if rare < LEAST_RARE and metric.kind != "macro_f1":
                need = round(rows * LEAST_RARE / max(rare, 1))
                return "too_few_of_rarer_class", (
                    f"only {rare} of {rows:,} {table} rows have the rarer outcome and it takes {LEAST_RARE}; "
                    f"at this rate that is about {need:,} rows."
                )
        if rows < LEAST_ROWS:
            return (
                "too_few_rows",
                f"only {rows} {table} {unit} have an outcome and a prediction, and it takes {LEAST_ROWS}.",
            )
        filled = np.count_nonzero(each)
        if filled < (ENOUGH_GROUPS if has_units(evidence) else 2):
            return "units_too_few", (
                f"its {rows:,} {table} {unit} come from too few units: they fill {filled} of 64 groups "
                f"and it takes {ENOUGH_GROUPS}."
            )
    return None


def own_rows(evidence: Evidence, metric: Metric, counts: MetricCounts) -> tuple[Floats, Floats | None]:
    """Rows per group that a metric is computed from, and by class; those of all metrics when rows have weights."""
    classes = None if counts.class_rows is None else counts.class_rows.sum(axis=0).astype(np.float64)
    sums = metric.sums(counts)
    if evidence.roles.weight is not None or sums is None:
        return counts.rows.astype(np.float64), classes
    one = np.asarray(sums[0], dtype=np.float64)
    if one.ndim == 2:
        positive = float(one[:, 1].sum())
        own = np.array([float(one[:, 0].sum()) - positive, positive])
        return one[:, 0], own if metric.kind == "base_rate" else classes
    return one.sum(axis=(1, 2)), one.sum(axis=(0, 2))


def contrast_of(
    evidence: Evidence,
    metric: Metric,
    reference: MetricCounts,
    production: MetricCounts,
    first: Sums,
    second: Sums,
) -> tuple[Contrast | tuple[str, str], tuple[Calibration, Calibration] | None]:
    """The change of a metric, or a reason and why there is none; and the calibration curves of both tables."""
    size = tuple(own_rows(evidence, metric, c)[0] for c in (reference, production))
    rows = [float(s.sum()) for s in size]
    if metric.scale == "calibration":
        both = [
            calibration_error(c.histogram, c.score_sums, rows=r)
            for c, r in zip((reference, production), rows, strict=True)
            if c.histogram is not None and c.score_sums is not None
        ]
        if min(c.df for c in both) < LEAST_DF:
            return _DOMINATED, None
        sides = [contrast.calibrated_side(c) for c in both]
        return Contrast(sides[0], sides[1], 0.0, False, rows[1], curved=True), (both[0], both[1])
    statistic = metric.statistic
    if metric.kind == "macro_f1":
        common = _common_classes(reference, production)
        if not common.any():
            return ("too_few_of_rarer_class", f"no class has {LEAST_RARE} rows in both tables."), None
        statistic = partial(discrimination.macro_f1, classes=common)
    a, b, rho = contrast.jackknife_both(statistic, first, second, size=(size[0], size[1]), joint=has_units(evidence))
    if min(a.df, b.df) < LEAST_DF:
        return _DOMINATED, None
    if not (np.isfinite(a.value).all() and np.isfinite(b.value).all()):
        return ("undefined", "it is not defined on one of the tables."), None
    if metric.scale in {"positive"} and min(a.value[0], b.value[0]) <= 0:
        return ("zero", "it is exactly zero on one of the tables, so that no relative change exists."), None
    scale = 1.0
    if metric.scale == "bias":
        squared = reference.moments["squared"].sum(axis=0)
        scale = float(np.sqrt(squared[1] / squared[0]))
        if scale <= 0:
            return ("zero", "the offline RMSE is zero, and it is measured in that."), None
    sides = [
        _side(metric, j, c, r, scale, has_units(evidence) or evidence.roles.weight is not None)
        for j, c, r in zip((a, b), (reference, production), rows, strict=True)
    ]
    return Contrast(sides[0], sides[1], rho, metric.scale == "positive", rows[1]), None


def _common_classes(reference: MetricCounts, production: MetricCounts) -> NDArray[np.bool_]:
    """Classes with enough rows in both tables, the only ones that macro F1 is the mean of."""
    enough = np.ones(len(reference.classes), dtype=np.bool_)
    for counts in (reference, production):
        if counts.class_rows is not None:
            enough &= counts.class_rows.sum(axis=0) >= LEAST_RARE
    return enough


def _side(metric: Metric, j: Jackknifed, counts: MetricCounts, rows: float, scale: float, dependent: bool) -> Side:
    value, se = float(j.value[0]), float(j.se[0])
    if metric.scale == "positive":
        return contrast.positive_side(value, se, j.df)
    if metric.scale == "share":
        return contrast.share_side(value, rows, se**2 if dependent else None, j.df)
    if metric.scale == "bias":
        return contrast.plain_side(value / scale, se / scale, j.df)
    if metric.kind == "auc" and counts.class_rows is not None:
        negatives, positives = (float(v) for v in counts.class_rows.sum(axis=0))
        rows = 1 / (discrimination.auc_variance(1 - 1e-9, positives, negatives) / 1e-9)
    elif metric.kind == "f1" and counts.confusion is not None:
        c = counts.confusion.sum(axis=0)
        rows = float(c[1, 1] + (c[0, 1] + c[1, 0]) / 2)
    return contrast.unit_side(value, se, j.df, rows)


_DOMINATED = ("units_too_few", "a few units hold most of the rows, so that its uncertainty cannot be told.")

_MORE = "Wait for more production rows with outcomes, or give a larger offline table."

_METHODS = {
    "unit": "delete-one-bucket jackknife on logits, MOVER",
    "macro_f1": "mean over classes with 10 rows in both tables; delete-one-bucket jackknife on logits, MOVER",
    "positive": "delete-one-bucket jackknife on logarithms, MOVER",
    "share": "Jeffreys with design effect, MOVER",
    "bias": "delete-one-bucket jackknife, MOVER",
    "calibration": "debiased, inverted noncentral chi-square",
}


# ------------------------------------------------------------------ words


def _named(column: str | None) -> str:
    return "" if column is None else f" ({column})"


def say(metric: Metric, change: Contrast, where: str, effect: Effect, verdict: Verdict) -> str:
    """The change of a metric as a sentence."""
    low, high, value = effect.low, effect.high, effect.value
    verb = "rose" if value >= 0 else "fell"
    if value < 0:
        low, high, value = -high, -low, -value
    show: Callable[[float], str] = percent if change.relative else plain
    of = f"from {plain(change.reference.value)} offline to {plain(change.production.value)} in production"
    name = (
        metric.word if metric.word.isupper() or metric.word[:1].isupper() else metric.word[:1].upper() + metric.word[1:]
    )
    unit = ", in units of the offline RMSE," if metric.scale == "bias" else ""
    return f"{name}{where} {verb} by {show(value)} [{show(low)}, {show(high)}]{unit or ','} {of}."


def plain(value: float) -> str:
    """A metric as text."""
    return f"{value:.3f}" if abs(value) < 10 else f"{value:,.4g}"


def percent(value: float) -> str:
    """A relative change as text."""
    return f"{100 * value:.1f} %"


def _action(kind: str, task: Task | None, where: str) -> str:
    if kind == "calibration":
        return (
            "Recalibrate the scores on recent outcomes (Platt or isotonic), "
            "and do not cut them at a fixed threshold until then."
        )
    if kind in {"base_rate", "ctr"}:
        return "Find out whether the traffic or the world changed; then recalibrate, or retrain on recent rows."
    if kind == "bias":
        return "Correct the level of the predictions, and retrain on recent rows."
    if where:
        return f"Look at the rows{where} first: compare their features with the offline table, then retrain with them."
    return (
        "Do not trust the offline number: read the availability, skew and leakage findings for the cause, "
        "and go back to the last version that held its number."
    )


# ------------------------------------------------------------------ charts


def _rows(metric: Metric, change: Contrast) -> Json:
    unit = {"share": "share", "bias": "offline RMSE"}.get(metric.scale, metric.word)
    rows = []
    for name, side in (("offline", change.reference), ("production", change.production)):
        i: Interval = side.ends(0.025, 0.025)
        rows.append({"name": name, "value": i.value, "low": i.low, "high": i.high})
    title = f"{metric.word[:1].upper()}{metric.word[1:]}, with 95 % intervals"
    return {"kind": "intervals", "title": title, "unit": unit, "rows": rows}


def _reliability(both: tuple[Calibration, Calibration]) -> Json:
    series = []
    for name, c in zip(("offline", "production"), both, strict=True):
        half = 1.96 * np.nan_to_num(c.se)
        series.append(
            {
                "name": name,
                "x": [float(v) for v in c.score],
                "y": [float(v) for v in c.outcome],
                "low": [float(v) for v in np.clip(c.outcome - half, 0, 1)],
                "high": [float(v) for v in np.clip(c.outcome + half, 0, 1)],
            }
        )
    return {
        "kind": "lines",
        "title": "Share of positive outcomes by score",
        "x_title": "mean score",
        "y_title": "share positive",
        "diagonal": True,
        "series": series,
    }


CHECK = Check(
    name="metric",
    asks="Is the model as good in production as the offline test said?",
    kinds=KINDS,
    needs=frozenset({"metric"}),
    run=_run,
)


def _nothing(evidence: Evidence, reference: MetricCounts, production: MetricCounts) -> Estimate:
    """What is said when no metric at all can be computed."""
    metric = METRICS[evidence.task or "binary"][0]
    reason, why = lacking(evidence, metric, reference, production) or ("no_score", "no row has a score.")
    sentence = f"The {metric.word} cannot be compared: {why}"
    return Estimate("metric", CHECK.kind(metric.kind), "", None, reason=reason, sentence=sentence, action=_MORE)


def headline(evidence: Mapping[str, MetricCounts], task: Task) -> str:
    """Key of the metric that sums a task up, among those that the counts allow."""
    for metric in METRICS[task]:
        if metric.sums(evidence[""]) is not None:
            return metric.kind
    return METRICS[task][0].kind
