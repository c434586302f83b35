"""Does the model still perform, also while outcomes are late?

Realised metrics of windows whose outcomes are in; estimates of the same metrics, without outcomes, of all windows;
and, where both are there, how far the estimates came true.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from afterlaunch.checks.evidence import Check, Evidence
from afterlaunch.checks.metric import percent, plain
from afterlaunch.checks.metric import say as say_metric
from afterlaunch.checks.metric_kinds import KINDS as METRIC_KINDS
from afterlaunch.checks.metric_kinds import METRICS, Metric
from afterlaunch.checks.over_time import Plan, named, plan
from afterlaunch.checks.performance_estimated import Estimates, Reweighted
from afterlaunch.checks.performance_maturity import Coming, coming
from afterlaunch.checks.performance_realised import Realised
from afterlaunch.checks.performance_rows import ESTIMATED
from afterlaunch.decide import EffectKind, Estimate
from afterlaunch.episodes import Change
from afterlaunch.finding import Effect, Verdict
from afterlaunch.profile.types import MetricCounts
from afterlaunch.stats.change import change_point
from afterlaunch.stats.contrast import Contrast, p_beyond
from afterlaunch.stats.estimated import Estimated
from afterlaunch.stats.intervals import share
from afterlaunch.watch import Course, Look, Window
from afterlaunch.words import estimate, quantity

Floats = NDArray[np.float64]

LEFT_OUT = {"calibration", "base_rate", "ctr"}
"""Metrics that are not followed: they say how the world is, or cannot be told from few rows."""

REWEIGHTED = {"binary": ("auc", "accuracy"), "multiclass": ("accuracy",)}
"""Metrics that are estimated a second time with a reweighted calibration."""

FEWEST_COMPARED = 5
"""Fewest windows with an outcome that estimates are compared with."""

PROMISED = 0.05
"""Share of realised values that may lie outside a 95 % prediction interval."""

LOOK_BACK = 60
"""Windows before the first alarm in which a change may have begun."""

REALISED = tuple(k for k in METRIC_KINDS if k.key not in LEFT_OUT)
_ESTIMABLE = {key for keys in ESTIMATED.values() for key in keys}
WITHOUT = {
    k.key: replace(k, key=f"estimated_{k.key}", name=f"estimated {k.name}", why="as for the realised metric")
    for k in REALISED
    if k.key in _ESTIMABLE
}
SHIFTED = {
    k.key: replace(k, key=f"reweighted_{k.key}", name=f"reweighted estimate of the {k.name}", why="as for the metric")
    for k in REALISED
    if k.key in {key for keys in REWEIGHTED.values() for key in keys}
}
OUTSIDE = EffectKind(
    "outside",
    "share of realised values outside the prediction interval",
    "share",
    0.15,
    "up",
    "informs; three times the 5 % that the interval promises",
)
KINDS = (*REALISED, *WITHOUT.values(), *SHIFTED.values(), OUTSIDE)
_KIND = {k.key: k for k in KINDS}

ACTION = (
    "Look at what changed in the window it began (the drift and novelty findings name columns), then retrain on "
    "recent outcomes or go back to the last version that held its number."
)
ACTION_WITHOUT = (
    "Do not wait for outcomes to look: find which features or scores moved in the drift findings, and get outcomes "
    "of a sample of recent rows early."
)
WAIT_FOR = {
    "outcomes_immature": "Wait until the outcomes of these rows are in; until then go by the estimate.",
    "no_outcomes": "Give the outcomes, or go by the estimate until they come.",
    "no_overlap": "Get outcomes of recent rows: the reference has no rows like them.",
}


@dataclass(frozen=True)
class _Case:
    """One review's windows and what is known of them."""

    evidence: Evidence
    windows: tuple[Window, ...]
    counts: list[MetricCounts]
    coming: Coming | None
    estimates: Estimates | None
    looks: tuple[Look, ...]
    blocked: tuple[str | None, ...]

    def mature(self, look: Look) -> bool:
        """Whether the outcomes of every window of a look are in."""
        return self.coming is not None and bool(self.coming.windows.mature[look.first : look.last + 1].all())

    @property
    def metrics(self) -> list[Metric]:
        assert self.evidence.task is not None
        return [m for m in METRICS[self.evidence.task] if m.kind not in LEFT_OUT]


def _case(evidence: Evidence, windows: tuple[Window, ...], schedule: Plan | None) -> _Case:
    sample = evidence.production_sample
    looks = (Look(0, 0),) if schedule is None else schedule.looks
    blocked = (None,) if schedule is None else schedule.reasons
    if schedule is None:
        counts = [evidence.metric_production[""]] if "" in evidence.metric_production else []
        total = [sample.total if sample is not None else 0]
        window = np.zeros(sample.rows) if sample is not None else None
    else:
        counts = list(evidence.metric_timeline)
        total = [w.rows for w in windows]
        window = None
        if sample is not None and sample.window is not None and sample.window in sample.frame.columns:
            window = sample.frame[sample.window].cast(float).fill_null(math.nan).to_numpy()
    found = None
    if counts and len(counts) == len(total):
        found = coming(evidence, counts, window if schedule is not None else None)
    usable = sample is not None and sample.rows > 0 and evidence.task in ESTIMATED and window is not None
    usable = usable and evidence.reference_sample is not None
    estimates = Estimates(evidence, total, window) if usable and window is not None else None
    return _Case(evidence, windows, counts, found, estimates, looks, blocked)


def _why_not(case: _Case, look: Look) -> tuple[str, str] | None:
    """Why realised metrics of a look are not looked at, or None."""
    if case.coming is None:
        return "no_outcomes", "no row of production has an outcome yet."
    together = case.counts[look.first : look.last + 1]
    total = sum(c.total for c in together)
    if total == 0:
        return "no_rows", "it has no rows."
    if all(int(c.without_outcome.sum()) == c.total for c in case.counts):
        return "no_outcomes", "no row of production has an outcome yet."
    if not case.mature(look):
        in_ = float(case.coming.windows.share[look.first : look.last + 1].min())
        return "outcomes_immature", f"only {quantity(in_, 'share')} of its outcomes are in.{case.coming.says()}"
    return None


# ------------------------------------------------------------------ two tables


def run(evidence: Evidence) -> list[Estimate]:
    """The whole of production as one window."""
    if evidence.task is None or "" not in evidence.metric_reference:
        return []
    case = _case(evidence, (), None)
    look = Look(0, 0)
    out = []
    for metric in case.metrics:
        one = _realised_whole(case, metric, look)
        out += [one] if one is not None else []
    if case.estimates is not None:
        for key in _estimable(case):
            out.append(_estimated_whole(case, key, case.estimates.at(key, look, None), False))
        for key in REWEIGHTED.get(str(evidence.task), ()):
            if key in _estimable(case):
                out.append(_estimated_whole(case, key, case.estimates.reweighted(key, look), True))
    return out


def _estimable(case: _Case) -> tuple[str, ...]:
    assert case.estimates is not None
    if case.estimates.model.lacking is not None:
        return ESTIMATED[str(case.evidence.task)][:1]
    return case.estimates.model.metrics


def _realised_whole(case: _Case, metric: Metric, look: Look) -> Estimate | None:
    evidence, reference = case.evidence, case.evidence.metric_reference[""]
    live = case.counts[0] if case.counts else None
    if metric.sums(reference) is None and (live is None or metric.sums(live) is None):
        return None
    kind = _KIND[metric.kind]
    n = int(live.rows.sum()) if live is not None else 0
    make = partial(Estimate, "performance", kind, "", n=n, primary=metric.primary)
    found: Contrast | tuple[str, str] = _why_not(case, look) or ("", "")
    if found == ("", ""):
        found = Realised(evidence, metric, reference, evidence.metric_history, case.counts).at(look)
    if isinstance(found, tuple):
        reason, why = found
        sentence = f"The {metric.word} cannot be told: {why}"
        return make(None, reason=reason, sentence=sentence, action=WAIT_FOR.get(reason, MORE))
    change = found
    return make(
        change.value,
        interval=change.interval,
        say=partial(say_metric, metric, change, ""),
        action=ACTION,
        method="delete-one-bucket jackknife, MOVER",
        rows_needed=lambda margin, alpha: change.rows_needed(margin, alpha, kind.direction),
        binding="reference_too_small",
        p_value=lambda margin: change.p_value(margin, kind.direction),
    )


MORE = "Wait for more production rows with outcomes, or give a larger reference."


def _estimated_whole(case: _Case, key: str, found: Estimated | Reweighted | tuple[str, str], shifted: bool) -> Estimate:
    kind = (SHIFTED if shifted else WITHOUT)[key]
    assert case.estimates is not None
    metric = case.estimates.metric(key)
    sample = case.evidence.production_sample
    rows = sample.rows if sample is not None else 0
    primary = metric.primary and not shifted and not case.mature(Look(0, 0))
    make = partial(Estimate, "performance", kind, "", n=rows, sample=rows, primary=primary, may_alarm=not shifted)
    if isinstance(found, tuple):
        reason, why = found
        how = "estimated with reweighting" if shifted else "estimated"
        sentence = f"The {metric.word} cannot be {how}: {why}"
        return make(None, reason=reason, sentence=sentence, action=WAIT_FOR.get(reason, MORE))
    value = found.found if isinstance(found, Reweighted) else found
    return make(
        value.change,
        interval=value.interval,
        say=lambda e, v: _say_estimate(metric, found, "", e),
        action=ACTION_WITHOUT,
        method=_method(case, shifted),
        p_value=lambda margin: p_beyond(value.interval, margin, kind.direction),
    )


def _method(case: _Case, shifted: bool) -> str:
    if case.evidence.task == "regression":
        return "model of the loss, cross-fitted on the reference and calibrated (DLE); prediction interval"
    how = ", reweighted to production's features" if shifted else ""
    return f"isotonic calibration on the reference{how} (CBPE); prediction interval"


def _say_estimate(metric: Metric, found: Estimated | Reweighted, where: str, effect: Effect) -> str:
    value = found.found if isinstance(found, Reweighted) else found
    verb, low, high, size = "risen", effect.low, effect.high, effect.value
    if size < 0:
        verb, low, high, size = "fallen", -effect.high, -effect.low, -size
    show = percent if value.relative else plain
    word = metric.word
    how = (
        "reweighted for the shift of features, without outcomes"
        if isinstance(found, Reweighted)
        else "without outcomes"
    )
    text = (
        f"The {word}{where} is estimated, {how}, to have {verb} by {show(size)} [{show(low)}, {show(high)}], "
        f"from {plain(value.reference)} in the reference to {plain(value.value)}; "
        "that holds if P(y | x), the outcomes given the features, is unchanged."
    )
    if isinstance(found, Reweighted):
        text += (
            f" The features overlap by {quantity(found.overlap, 'share')}; the reference counts as "
            f"{found.effective:,.0f} rows."
        )
    return text


# ------------------------------------------------------------------ over windows


def follow(evidence: Evidence) -> list[Course]:
    """Realised and estimated metrics of every window, and how far the estimates came true."""
    timeline = evidence.timeline
    if evidence.task is None or timeline is None or not timeline.windows or "" not in evidence.metric_reference:
        return []
    past = evidence.history.windows if evidence.history is not None else ()
    case = _case(evidence, timeline.windows, plan(timeline.windows, timeline.every, past))
    out: list[Course] = []
    realised: dict[str, list[Contrast | tuple[str, str]]] = {}
    sources: dict[str, Realised] = {}
    if case.coming is not None:
        for metric in case.metrics:
            source = Realised(
                evidence, metric, evidence.metric_reference[""], evidence.metric_history, evidence.metric_timeline
            )
            if metric.sums(source.reference) is None and all(metric.sums(c) is None for c in case.counts):
                continue
            found: list[Contrast | tuple[str, str]] = []
            for look, blocked in zip(case.looks, case.blocked, strict=True):
                if blocked is not None:
                    found.append((blocked, "it is not complete."))
                else:
                    found.append(_why_not(case, look) or source.at(look))
            realised[metric.kind], sources[metric.kind] = found, source
            out.append(_realised_course(case, metric, source, found))
    if case.estimates is None:
        return out
    for key in _estimable(case):
        source_of = sources.get(key)
        normal = source_of.variation if source_of is not None else None
        expected: list[Any] = [
            (blocked, "it is not complete.") if blocked is not None else case.estimates.at(key, look, normal)
            for look, blocked in zip(case.looks, case.blocked, strict=True)
        ]
        out.append(_estimated_course(case, key, case.looks, expected, False))
        if key in realised:
            out.append(_trust(case, key, realised[key], expected))
    for key in REWEIGHTED.get(str(evidence.task), ()):
        if key in _estimable(case):
            blocks = case.estimates.blocks()
            found_here: list[Any] = [case.estimates.reweighted(key, b) for b in blocks]
            out.append(_estimated_course(case, key, blocks, found_here, True))
    return out


def _ends(
    intervals: list[Callable[[float, float], tuple[float, float]] | None],
) -> Callable[[Floats, Floats], tuple[Floats, Floats]]:
    def ends(alpha_low: Floats, alpha_high: Floats) -> tuple[Floats, Floats]:
        one, two = (
            np.broadcast_to(np.asarray(a, dtype=np.float64), (len(intervals),)) for a in (alpha_low, alpha_high)
        )
        pairs = [
            (math.nan, math.nan) if f is None else f(float(a), float(b))
            for f, a, b in zip(intervals, one, two, strict=True)
        ]
        return np.array([p[0] for p in pairs]), np.array([p[1] for p in pairs])

    return ends


def _realised_course(case: _Case, metric: Metric, source: Realised, found: list[Contrast | tuple[str, str]]) -> Course:
    value = np.array([math.nan if isinstance(f, tuple) else f.value for f in found])

    def say(effect: Effect, verdict: Verdict, look: int) -> str:
        change = found[look]
        assert not isinstance(change, tuple)
        return say_metric(metric, change, f" {named(case.windows, case.looks[look])}", effect, verdict)

    variances = np.array(
        [
            math.nan if isinstance(f, tuple) else _variance(f)
            for f, k in zip(found, case.looks, strict=True)
            if k.length == 1
        ]
    )
    single = np.array([v for v, k in zip(value, case.looks, strict=True) if k.length == 1])
    return Course(
        "performance",
        _KIND[metric.kind],
        "",
        case.windows,
        case.looks,
        value,
        _ends([None if isinstance(f, tuple) else f.interval for f in found]),
        np.array(
            [sum(int(c.rows.sum()) for c in case.counts[k.first : k.last + 1]) for k in case.looks], dtype=np.int64
        ),
        tuple(f[0] if isinstance(f, tuple) else None for f in found),
        say,
        ACTION,
        source.method,
        change=partial(_when, single, variances),
        primary=metric.primary,
    )


def _variance(change: Contrast) -> float:
    scale = change.production.value if change.relative else 1.0
    return float((change.production.se / max(scale, 1e-300)) ** 2)


def _when(value: Floats, variances: Floats, first: int, last: int) -> Change | None:
    start = max(0, first - LOOK_BACK)
    x, v = value[start : last + 1], variances[start : last + 1]
    good = np.isfinite(x) & np.isfinite(v)
    found = change_point(np.where(good, x, np.nan), np.where(good, v, 1.0), 0.0, first - start)
    return None if found is None else Change(start + found.index, start + found.low, start + found.high)


def _estimated_course(case: _Case, key: str, looks: tuple[Look, ...], found: list[Any], shifted: bool) -> Course:
    assert case.estimates is not None
    metric = case.estimates.metric(key)
    values = [None if isinstance(f, tuple) else f.found if isinstance(f, Reweighted) else f for f in found]
    value = np.array([math.nan if v is None else v.change for v in values])
    places = case.estimates.places if case.estimates.model.lacking is None else [np.zeros(0)] * len(case.windows)
    n = np.array([sum(places[w].size for w in range(k.first, k.last + 1)) for k in looks], dtype=np.int64)
    singles = [(v, k) for v, k in zip(values, looks, strict=True) if k.length == 1]
    single = np.array([math.nan if v is None else v.change for v, _ in singles])
    spread = np.array(
        [math.nan if v is None else (v.se(change=True) / (v.reference if v.relative else 1.0)) ** 2 for v, _ in singles]
    )

    def say(effect: Effect, verdict: Verdict, look: int) -> str:
        return _say_estimate(metric, found[look], f" {named(case.windows, looks[look])}", effect)

    sample = case.evidence.production_sample
    complete = [w for w, k in enumerate(case.windows) if k.complete]
    # While outcomes of the last windows are out, the estimate is all there is to go by.
    needed = not complete or not case.mature(Look(complete[-1], complete[-1]))
    return Course(
        "performance",
        (SHIFTED if shifted else WITHOUT)[key],
        "",
        case.windows,
        looks,
        value,
        _ends([None if v is None else v.interval for v in values]),
        n,
        tuple(f[0] if isinstance(f, tuple) else None for f in found),
        say,
        ACTION_WITHOUT,
        _method(case, shifted),
        change=None if shifted else partial(_when, single, spread),
        primary=metric.primary and needed and not shifted,
        sample=sample.rows if sample is not None else None,
        may_alarm=not shifted,
    )


def _trust(case: _Case, key: str, realised: list[Contrast | tuple[str, str]], expected: list[Any]) -> Course:
    """Realised values beside the estimates of the same windows."""
    off: list[float] = []
    outside = 0
    for real, guess, look in zip(realised, expected, case.looks, strict=True):
        if look.length > 1 or isinstance(real, tuple) or isinstance(guess, tuple):
            continue
        seen = real.production.value
        low, high = guess.realised(PROMISED / 2, PROMISED / 2)
        off.append(guess.value - seen)
        outside += not low <= seen <= high
    size = len(off)
    assert case.estimates is not None
    word = case.estimates.metric(key).word
    enough = size >= FEWEST_COMPARED
    whole = Look(0, len(case.windows) - 1)

    def say(effect: Effect, verdict: Verdict, look: int) -> str:
        mean, bias = float(np.mean(np.abs(off))), float(np.mean(off))
        return (
            f"{estimate(effect)} of the realised values of the {word} ({outside} of {size} windows) lie outside the "
            f"95 % prediction interval of their estimate; estimates were off by {plain(mean)} on average, "
            f"{plain(abs(bias))} too {'high' if bias >= 0 else 'low'} in the mean."
        )

    return Course(
        "performance",
        OUTSIDE,
        key,
        case.windows,
        (whole,),
        np.array([outside / size if enough else math.nan]),
        _ends([(lambda a, b: _share(outside, size, a, b)) if enough else None]),
        np.array([size], dtype=np.int64),
        (None if enough else "too_few_windows",),
        say,
        "Trust the estimates of this metric less than their interval says: P(y | x) has changed, or rows depend on "
        "each other more than the reference shows.",
        "Jeffreys interval over windows",
        weight=0.1,
        primary=False,
    )


def _share(hits: int, rows: int, alpha_low: float, alpha_high: float) -> tuple[float, float]:
    found = share(hits, rows, alpha_low, alpha_high)
    return found.low, found.high


CHECK = Check(
    name="performance",
    asks="Does the model still perform, also while outcomes are late?",
    kinds=KINDS,
    needs=frozenset({"metric", "samples", "windows"}),
    run=run,
    follow=follow,
)
