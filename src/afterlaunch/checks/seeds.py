"""How much of the metric, and of the predictions, is the seed and the sample?"""

from __future__ import annotations

import math

import numpy as np

from afterlaunch.checks.between import LEAST, beyond_reruns, draws_of, names_of, replicated, sources_of
from afterlaunch.checks.evidence import Check, Evidence
from afterlaunch.decide import EffectKind, Estimate
from afterlaunch.finding import Effect, Json, Verdict
from afterlaunch.profile.compared import Compared, Floats, Ints, RunPairs
from afterlaunch.stats.contrast import p_beyond
from afterlaunch.stats.cures import Cured, anchored, averaged
from afterlaunch.stats.intervals import normal_quantile
from afterlaunch.stats.noise import LEAST as LEAST_SPREAD
from afterlaunch.stats.noise import Ratio, Spread, components, metric_change, seeds_for, spread
from afterlaunch.words import estimate as in_words
from afterlaunch.words import number, plain, quantity

METRIC = EffectKind(
    "metric", "change of accuracy", "share", 0.01, "down", "one point of accuracy, as for the metric of a launch"
)
LOSS = EffectKind("loss", "relative rise of the loss", "share", 0.05, "up", "a twentieth more loss than before")
SPREAD = EffectKind(
    "spread",
    "rise of the spread between replicates",
    "times",
    1.0,
    "up",
    "twice as large a spread: the training has become a lottery",
)
FLOOR = EffectKind(
    "floor", "churn between reruns", "share", 0.05, "up", "one prediction in twenty that the same training would change"
)
LOSSES = {"brier": "The Brier score", "squared_error": "The mean squared error", "absolute_error": "The mean error"}


def run(evidence: Evidence) -> list[Estimate]:
    """The metric's change against its spread between replicates, that spread, and what would make reruns agree.

    Args:
        evidence: Needs "panel"; without replicates there is nothing to say.
    """
    panel = evidence.panel
    if panel is None or panel.rows is None or not replicated(panel.rows):
        return []
    pairs, out = panel.rows, []
    known = pairs.scalar_subjects
    if known is not None and known.sum() > 0:
        names = [n for n in ("correct", *LOSSES) if n in pairs.scalars]
        for name in names[:2]:
            out.append(_metric(pairs, name, counts=name == names[0]))
        if names:
            out += _spread(pairs, names[0])
    if "churn" in pairs.sums:
        out += _floor(panel, pairs)
    return out


def _values(pairs: RunPairs, name: str) -> Floats:
    """The metric of every run, shape (R,)."""
    known = pairs.scalar_subjects
    size = known.sum(axis=1) if known is not None else np.ones(len(pairs.runs))
    out: Floats = pairs.scalars[name].sum(axis=1) / np.maximum(size, 1)
    return out


def _sides(pairs: RunPairs, name: str) -> tuple[Floats, Floats]:
    """The metric of every draw of each version: of every run, or the mean of those that share a sample."""
    values, draws = _values(pairs, name), draws_of(pairs.runs)
    b = pairs.baseline
    if draws is None:
        return values[:b], values[b:]
    return _means(values[:b], draws[:b]), _means(values[b:], draws[b:])


def _means(values: Floats, draws: Ints) -> Floats:
    return np.array([values[draws == d].mean() for d in dict.fromkeys(draws.tolist())])


def _metric(pairs: RunPairs, name: str, *, counts: bool) -> Estimate:
    first, second = names_of(pairs.runs, pairs.baseline)
    known, loss = pairs.scalar_subjects, name in LOSSES
    sides = _sides(pairs, name)
    many = pairs.baseline, len(pairs.runs) - pairs.baseline
    found = None
    if known is not None and pairs.scalars[name].shape[1] > 1:
        found = metric_change(pairs.scalars[name], known[0], pairs.baseline, draws_of(pairs.runs))
    kind = LOSS if loss else METRIC
    scale = float(sides[0].mean()) if loss else 1.0
    spreads = [spread(s) for s in sides if len(s) > 1]
    if found is None or not scale > 0:
        return Estimate(
            "seeds",
            kind,
            name if loss else "",
            None,
            n=pairs.total,
            reason="too_few_replicates" if found is None else "zero",
            sentence=f"{many[0]} and {many[1]} runs of {first} and {second} do not tell how much is chance."
            if found is None
            else "The loss is exactly zero, so there is no relative change.",
            action=f"Give {LEAST} replicates or more of at least one version.",
            primary=counts,
        )
    free = sum(s.count - 1 for s in spreads)
    noise = math.sqrt(sum((s.count - 1) * s.sd**2 for s in spreads) / free) / scale

    enough = _replicates_needed(kind.margin, noise, found.subjects / scale**2)
    near, needed = quantity(kind.margin, "share"), ""
    if enough is None:
        needed = f"; more replicates would not show {near}, more rows would"
    elif enough > min(many):
        needed = f"; about {enough:,} replicates of each would show {near}"

    def ends(low: float, high: float) -> tuple[float, float]:
        one, other = found.interval(low, high)
        return one / scale, other / scale

    def say(effect: Effect, verdict: Verdict) -> str:
        what = LOSSES[name] if loss else "Accuracy"
        text = (
            f"{what} changes by {in_words(effect)} from {first} to {second} in the mean of {many[0]} and "
            f"{many[1]} runs; another seed and sample alone move it by {quantity(float(f'{noise:.2g}'), 'share')}"
            f"{_doubt(spreads)}{_parts(pairs, name)}"
        )
        if verdict is Verdict.UNDECIDED:
            text += needed
        return text + "."

    return Estimate(
        "seeds",
        kind,
        name if loss else "",
        found.value / scale,
        ends,
        say=say,
        action=f"Keep {first}: the new training is worse than chance explains. Look at its data.",
        n=pairs.total,
        method="difference of means over replicates; variance of runs and of rows (two-way)",
        binding="too_few_rows" if enough is None else "too_few_replicates",
        p_value=lambda margin: p_beyond(ends, margin, "up" if loss else "down"),
        sample=pairs.sample,
        primary=counts,
        table=_runs_table(pairs, name),
    )


def _replicates_needed(margin: float, noise: float, rows: float) -> int | None:
    """Replicates of each version that show the margin beside the variance that rows leave; None when rows bind."""
    left = margin**2 - (normal_quantile(0.05) + normal_quantile(0.2)) ** 2 * rows
    return seeds_for(math.sqrt(left), noise) if left > 0 else None


def _parts(pairs: RunPairs, name: str) -> str:
    """Which source moves the metric how much, where replicates name their sources."""
    sources = sources_of(pairs.runs)
    if sources is None:
        return ""
    version = [r.version for r in pairs.runs]
    values = _values(pairs, name)
    found = components(values, {"version": version, **sources})
    told = [c for c in found if c.name in {*sources, "rest"}]
    total = sum(c.variance for c in told)
    if total <= 0 or len(told) < 2:
        return ""
    shown = [f"{plain(c.name)} {quantity(round(c.variance / total, 2), 'share')}" for c in told]
    return f" (of its variance: {', '.join(shown)})"


def _doubt(spreads: list[Spread]) -> str:
    """How uncertain a spread from few replicates is, in words."""
    least = min(spreads, key=lambda s: s.count)
    if least.count >= LEAST:
        return ""
    low, high = least.interval(0.025, 0.025)
    if not (least.sd > 0 and 0 < high < math.inf):
        return f" (from {least.count} replicates that is hardly known)"
    times = f"{number(low / least.sd)} to {number(high / least.sd)} times"
    return f" (from {least.count} replicates that is uncertain: {times})"


def _runs_table(pairs: RunPairs, name: str) -> Json:
    rows = [
        {"name": f"{r.version}, {r.replicate or i + 1}", "value": float(v), "low": None, "high": None}
        for i, (r, v) in enumerate(zip(pairs.runs, _values(pairs, name), strict=True))
    ]
    title = LOSSES.get(name, "Accuracy").removeprefix("The ")
    title = f"{title[0].upper()}{title[1:]} of every run"
    return {"kind": "intervals", "title": title, "unit": "" if name in LOSSES else "share", "rows": rows}


def _spread(pairs: RunPairs, name: str) -> list[Estimate]:
    """Whether the new training is more of a lottery than the old one."""
    first, second = names_of(pairs.runs, pairs.baseline)
    sides = _sides(pairs, name)
    if min(map(len, sides)) < 2:
        return []
    ratio = Ratio(spread(sides[0]), spread(sides[1]))
    few = min(map(len, sides)) < LEAST_SPREAD
    if few or not 0 < ratio.value < math.inf:
        return [
            Estimate(
                "seeds",
                SPREAD,
                "",
                None,
                n=pairs.total,
                reason="too_few_replicates" if few else "zero",
                sentence=f"{len(sides[0])} and {len(sides[1])} replicates do not tell how their spreads differ."
                if few
                else "Replicates of a version all have the same metric, so their spreads have no ratio.",
                action=f"Give {LEAST_SPREAD} replicates or more of each version.",
                primary=False,
            )
        ]
    scale = float(sides[0].mean()) if name in LOSSES else 1.0
    of = " of the loss" if name in LOSSES else ""

    def ends(low: float, high: float) -> tuple[float, float]:
        one, other = ratio.interval(low, high)
        return one - 1, other - 1

    def say(effect: Effect, verdict: Verdict) -> str:
        del verdict
        sds = [quantity(float(f"{s.sd / scale:.2g}"), "share") for s in (ratio.first, ratio.second)]
        return (
            f"The spread between replicates is {number(1 + effect.value)} times that of {first} in {second}: "
            f"{sds[1]} against {sds[0]}{of}."
        )

    return [
        Estimate(
            "seeds",
            SPREAD,
            "",
            ratio.value - 1,
            ends,
            say=say,
            action="Look for what makes the training unstable: too few rows, a learning rate, early stopping.",
            n=pairs.total,
            method="ratio of standard deviations, on the scale of the logarithm (Bonett 2006)",
            binding="too_few_replicates",
            sample=pairs.sample,
            primary=False,
        )
    ]


def _innermost(pairs: RunPairs) -> str:
    """Churn of runs that differ in their innermost source only, such as the seed."""
    sources = sources_of(pairs.runs)
    if sources is None:
        return ""
    *outer, last = sources
    alike = list(zip([r.version for r in pairs.runs], *(sources[name] for name in outer), strict=True))
    same = np.array([alike[i] == alike[j] for i, j in pairs.pairs])
    total = float(pairs.subjects[same].sum())
    if total <= 0:
        return ""
    return f", {_share(float(pairs.sums['churn'][same].sum()) / total)} with another {plain(last)} alone"


def _floor(panel: Compared, pairs: RunPairs) -> list[Estimate]:
    """What a rerun alone changes, and what would make it less."""
    found = beyond_reruns(pairs, "churn")
    if found is None or found.reruns is None:
        return []
    reruns = found.reruns
    first, second = names_of(pairs.runs, pairs.baseline)
    cures, table = _cures(panel, pairs)

    def ends(low: float, high: float) -> tuple[float, float]:
        one, other = reruns.interval(low, high)
        return min(max(one, 0.0), reruns.value), max(min(other, 1.0), reruns.value)

    def say(effect: Effect, verdict: Verdict) -> str:
        del verdict
        return (
            f"{in_words(effect)} of predictions change when the training of {first} or {second} is repeated with "
            f"another seed and sample{_innermost(pairs)}{cures}."
        )

    return [
        Estimate(
            "seeds",
            FLOOR,
            "",
            reruns.value,
            ends,
            say=say,
            action="Average several seeds, or pull the new scores toward the last model's; docs/seeds.md says how.",
            n=pairs.total,
            method="mean distance between replicates; jackknife over runs and rows",
            binding="too_few_replicates",
            sample=pairs.sample,
            primary=False,
            table=table,
        )
    ]


def _cures(panel: Compared, pairs: RunPairs) -> tuple[str, Json | None]:
    """What averaging and anchoring would do to churn, in words and as lines."""
    scored = panel.output_kind == "score"
    if panel.outputs is None or (scored and panel.threshold is None):
        return "", None
    draws = draws_of(pairs.runs)
    # One run of each draw: those that share a sample are no averages of independent ones.
    one = np.arange(len(pairs.runs)) if draws is None else np.unique(draws, return_index=True)[1]
    whole = panel.outputs[~np.isnan(panel.outputs).any(axis=1)]
    if len(whole) < 100:
        return "", None
    sides = whole[:, one[one < pairs.baseline]], whole[:, one[one >= pairs.baseline]]
    many = sides[1] if sides[1].shape[1] >= sides[0].shape[1] else sides[0]
    mean = averaged(many, panel.threshold if scored else None)
    pulled = anchored(*sides, panel.threshold) if scored and panel.threshold is not None else ()
    words = ""
    if len(mean) > 1:
        how = "the mean" if scored else "the majority"
        words = f"; {how} of {mean[-1].strength:g} seeds would change {_share(mean[-1].churn)}"
    half = next((c for c in pulled if c.strength == 0.5), None)
    if half is not None:
        last = pulled[-1].churn
        words += (
            f"; half the weight on the last model's scores would bring the churn between versions from {_share(last)} "
            f"to {_share(half.churn)}"
        )
    series = [_line("between reruns, of so many seeds together", mean)] if len(mean) > 1 else []
    table: Json | None = None
    if series:
        table = {
            "kind": "lines",
            "title": "Churn when several seeds are averaged",
            "x_title": "seeds averaged",
            "y_title": "share of predictions changed",
            "series": series,
        }
    return words, table


def _line(name: str, found: tuple[Cured, ...]) -> Json:
    known = [c for c in found if math.isfinite(c.se)]
    ends = [c.interval(0.025, 0.025) for c in known]
    return {
        "name": name,
        "x": [float(c.strength) for c in known],
        "y": [c.churn for c in known],
        "low": [e[0] for e in ends],
        "high": [e[1] for e in ends],
    }


def _share(value: float) -> str:
    return quantity(float(f"{value:.2g}"), "share")


CHECK = Check(
    name="seeds",
    asks="How much of the metric, and of the predictions, is the seed and the sample?",
    kinds=(METRIC, LOSS, SPREAD, FLOOR),
    needs=frozenset({"panel"}),
    run=run,
)
"""The check, for the registry."""
