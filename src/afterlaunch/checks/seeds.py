"""How much of the metric, and of the predictions, is the seed and the sample?"""

from __future__ import annotations

import math

import numpy as np

from afterlaunch.checks.between import LEAST, beyond_reruns, names_of, replicated
from afterlaunch.checks.evidence import Check, Evidence
from afterlaunch.decide import EffectKind, Estimate
from afterlaunch.finding import Effect, Json, Verdict
from afterlaunch.profile.compared import Compared, Floats, RunPairs
from afterlaunch.stats.contrast import p_beyond
from afterlaunch.stats.cures import Cured, anchored, averaged
from afterlaunch.stats.noise import Ratio, Spread, seeds_for, spread
from afterlaunch.stats.reruns import Measured
from afterlaunch.stats.resampling import degrees, deviations, pooled_degrees
from afterlaunch.words import estimate as in_words
from afterlaunch.words import number, quantity

METRIC = EffectKind(
    "metric", "change of accuracy", "share", 0.01, "down", "one point of accuracy, as for the metric of a launch"
)
LOSS = EffectKind("loss", "relative rise of the loss", "share", 0.05, "up", "a twentieth more loss than before")
SPREAD = EffectKind(
    "spread",
    "rise of the spread between replicates",
    "ratio",
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
            out.append(_metric(pairs, name))
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


def _metric(pairs: RunPairs, name: str) -> Estimate:
    first, second = names_of(pairs.runs, pairs.baseline)
    b, values = pairs.baseline, _values(pairs, name)
    sides = values[:b], values[b:]
    found = _change(pairs, name, sides)
    loss = name in LOSSES
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
            sentence=f"{len(sides[0])} and {len(sides[1])} runs of {first} and {second} do not tell how much is chance."
            if found is None
            else "The loss is exactly zero, so there is no relative change.",
            action=f"Give {LEAST} replicates or more of at least one version.",
            primary=not loss,
        )
    noise = max(s.sd for s in spreads) / scale

    def ends(low: float, high: float) -> tuple[float, float]:
        one, other = found.interval(low, high)
        return one / scale, other / scale

    def say(effect: Effect, verdict: Verdict) -> str:
        what = LOSSES[name] if loss else "Accuracy"
        text = (
            f"{what} changes by {in_words(effect)} from {first} to {second} in the mean of {len(sides[0])} and "
            f"{len(sides[1])} runs; another seed and sample alone move it by {quantity(float(f'{noise:.2g}'), 'share')}"
            f"{_doubt(spreads)}"
        )
        if verdict is Verdict.UNDECIDED and noise > 0:
            needed = seeds_for(kind.margin, noise)
            if needed is not None:
                text += f"; about {needed:,} replicates of each would show {quantity(kind.margin, 'share')}"
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
        method="difference of means over replicates; variance of runs and of rows",
        binding="too_few_replicates",
        p_value=lambda margin: p_beyond(ends, margin, "up" if loss else "down"),
        sample=pairs.sample,
        primary=not loss,
        table=_runs_table(pairs, values, LOSSES.get(name, "Accuracy").removeprefix("The ")),
    )


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


def _change(pairs: RunPairs, name: str, sides: tuple[Floats, Floats]) -> Measured | None:
    """The second version's mean metric less the first's."""
    b, known = pairs.baseline, pairs.scalar_subjects
    many = [len(s) for s in sides]
    if known is None or max(many) < 3 or pairs.scalars[name].shape[1] < 2:
        return None
    size = known[0].astype(np.float64)
    apart = pairs.scalars[name][b:].mean(axis=0) - pairs.scalars[name][:b].mean(axis=0)
    groups = int((size > 0).sum())
    if groups < 2:
        return None
    moves = deviations(apart, size)
    rows, rows_df = float((moves**2).sum()) * (groups - 1) / groups, degrees(size)
    spare = max((s for s in sides), key=len)
    parts = [float((s if len(s) > 1 else spare).var(ddof=1)) / len(s) for s in sides]
    free = [float(len(s if len(s) > 1 else spare) - 1) for s in sides]
    runs = sum(parts)
    df = pooled_degrees((parts[0], parts[1]), (free[0], free[1])) if runs > 0 else min(free)
    return Measured(float(sides[1].mean() - sides[0].mean()), runs, df, rows, rows_df)


def _runs_table(pairs: RunPairs, values: Floats, title: str) -> Json:
    rows = [
        {"name": f"{r.version}, {r.replicate or i + 1}", "value": float(v), "low": None, "high": None}
        for i, (r, v) in enumerate(zip(pairs.runs, values, strict=True))
    ]
    return {"kind": "intervals", "title": f"{title[0].upper()}{title[1:]} of every run", "unit": "share", "rows": rows}


def _spread(pairs: RunPairs, name: str) -> list[Estimate]:
    """Whether the new training is more of a lottery than the old one."""
    first, second = names_of(pairs.runs, pairs.baseline)
    values = _values(pairs, name)
    sides = values[: pairs.baseline], values[pairs.baseline :]
    if min(map(len, sides)) < 2:
        return []
    ratio = Ratio(spread(sides[0]), spread(sides[1]))
    low, high = ratio.interval(0.05, 0.05)
    if not math.isfinite(high) or not math.isfinite(ratio.value):
        return []

    def ends(low: float, high: float) -> tuple[float, float]:
        one, other = ratio.interval(low, high)
        return one - 1, other - 1

    def say(effect: Effect, verdict: Verdict) -> str:
        del verdict
        sds = [quantity(float(f"{s.sd:.2g}"), "share") for s in (ratio.first, ratio.second)]
        return (
            f"The spread between replicates is {number(1 + effect.value)} times that of {first} in {second}: "
            f"{sds[1]} against {sds[0]}."
        )

    del low
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
            f"another seed and sample{cures}."
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
    if panel.outputs is None or panel.output_kind != "score" or panel.threshold is None:
        return "", None
    whole = panel.outputs[~np.isnan(panel.outputs).any(axis=1)]
    if len(whole) < 100:
        return "", None
    sides = whole[:, : pairs.baseline], whole[:, pairs.baseline :]
    many = sides[1] if sides[1].shape[1] >= sides[0].shape[1] else sides[0]
    mean = averaged(many, panel.threshold)
    pulled = anchored(*sides, panel.threshold)
    words = ""
    if len(mean) > 1:
        words = f"; the mean of {mean[-1].strength:g} seeds would change {_share(mean[-1].churn)}"
    half = next((c for c in pulled if c.strength == 0.5), None)
    if half is not None:
        last = pulled[-1].churn
        words += (
            f"; half the weight on the last model's scores would bring the churn between versions from {_share(last)} "
            f"to {_share(half.churn)}"
        )
    series = [_line("between reruns, of the mean of so many seeds", mean)] if len(mean) > 1 else []
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
