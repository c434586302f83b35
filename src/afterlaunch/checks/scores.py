"""Have the new version's scores moved, and do they put rows in another order?"""

from __future__ import annotations

import math

import numpy as np

from afterlaunch.checks.between import excess_estimate, few, names_of, replicated
from afterlaunch.checks.evidence import Check, Evidence
from afterlaunch.decide import EffectKind, Estimate
from afterlaunch.finding import Effect, Verdict
from afterlaunch.profile.compared import RunPairs
from afterlaunch.stats.clustered import counted
from afterlaunch.stats.contrast import p_beyond
from afterlaunch.stats.intervals import symmetric
from afterlaunch.stats.resampling import degrees, deviations, pooled_degrees
from afterlaunch.words import estimate as in_words

SHIFT = EffectKind(
    "shift",
    "mean change of the score",
    "sd",
    0.1,
    "both",
    "a tenth of the scores' standard deviation, the usual bound of a small shift; thresholds move with it",
)
DISORDER = EffectKind(
    "disorder",
    "share of pairs of rows whose order turned round",
    "share",
    0.1,
    "up",
    "a Kendall's tau of 0.8 between the versions",
)
EXCESS = EffectKind(
    "excess", "disorder beyond reruns", "share", 0.02, "up", "one pair in fifty that neither seed nor sample explain"
)

LEAST_ROWS = 10
"""Rows that it takes to say how far scores moved on average."""


def run(evidence: Evidence) -> list[Estimate]:
    """Shift of the scores, and how many pairs of rows turned round; beyond reruns where there are replicates.

    Args:
        evidence: Needs "panel".
    """
    panel = evidence.panel
    if panel is None or panel.rows is None or "shift" not in panel.rows.sums:
        return []
    lacking = few("scores", SHIFT, panel.rows, "rows")
    if lacking is not None:
        return [lacking]
    out = [_shift(panel.rows)]
    if panel.orders is not None and panel.orders.total > 0:
        if replicated(panel.orders):
            out.append(
                excess_estimate(
                    "scores",
                    EXCESS,
                    panel.orders,
                    "disorder",
                    what="of the pairs of rows turn round",
                    things="pairs of rows",
                    title="Disorder between runs",
                    action="The new version orders rows otherwise than seed and sample explain: find what changed in "
                    "its data before the order is used.",
                )
            )
        else:
            out.append(_disorder(panel.orders, panel.output_total))
    return out


def _shift(pairs: RunPairs) -> Estimate:
    first, second = names_of(pairs.runs, pairs.baseline)
    b = pairs.baseline
    scored = pairs.sums["scored"]
    between = [i for i, (x, y) in enumerate(pairs.pairs) if x < b <= y]
    rows = float(scored[between].sum(axis=1).mean())
    known = np.maximum(pairs.scalars["scored"].sum(axis=1), 1.0)
    means = pairs.scalars["score"].sum(axis=1) / known
    old = means[:b].mean()
    variance = float((pairs.scalar_squares["score"].sum(axis=1)[:b] / known[:b] - means[:b] ** 2).mean())
    sd = math.sqrt(max(variance, 0.0))
    if rows < LEAST_ROWS or not sd > 1e-12 * max(1.0, abs(float(old))):
        return Estimate(
            "scores",
            SHIFT,
            "",
            None,
            n=int(rows),
            reason="too_few_rows" if rows < LEAST_ROWS else "undefined",
            sentence=f"The scores of {first} do not differ between rows, so a shift has no scale."
            if rows >= LEAST_ROWS
            else f"Fewer than {LEAST_ROWS} rows have scores of both {first} and {second}.",
            action="Check the scores of the baseline.",
        )
    total, size = pairs.sums["shift"][between], scored[between]
    shift = float((total.sum(axis=1) / np.maximum(size.sum(axis=1), 1.0)).mean())
    if pairs.clustered:
        moves = np.mean([deviations(t, n) for t, n in zip(total, size, strict=True)], axis=0)
        groups = int((size.mean(axis=0) > 0).sum())
        rows_var = float((moves**2).sum()) * (groups - 1) / max(groups, 1)
        rows_df = degrees(size.mean(axis=0))
    else:
        squares = pairs.squares["shift"][between].sum(axis=1) / np.maximum(size.sum(axis=1), 1.0)
        each = squares - (total.sum(axis=1) / np.maximum(size.sum(axis=1), 1.0)) ** 2
        rows_var, rows_df = float(np.maximum(each, 0.0).mean()) / max(rows - 1, 1.0), max(rows - 1, 1.0)
    run_var, run_df = 0.0, math.inf
    sides = [means[:b], means[b:]]
    if all(len(s) > 1 for s in sides):
        parts = [float(s.var(ddof=1)) / len(s) for s in sides]
        run_var = sum(parts)
        free = len(sides[0]) - 1.0, len(sides[1]) - 1.0
        run_df = pooled_degrees((parts[0], parts[1]), free) if run_var > 0 else 1.0
    elif replicated(pairs):
        many = max(sides, key=len)
        # The only run of the other version is one draw, as spread as the replicates are.
        run_var, run_df = float(many.var(ddof=1)) * (1 + 1 / len(many)), len(many) - 1.0
    se = math.sqrt(rows_var + run_var) / sd
    df = pooled_degrees((rows_var, run_var), (rows_df, run_df)) if run_var > 0 else rows_df
    value = shift / sd

    def ends(low: float, high: float) -> tuple[float, float]:
        found = symmetric(value, se, df, low, high)
        return found.low, found.high

    def say(effect: Effect, verdict: Verdict) -> str:
        del verdict
        return f"Scores move by {in_words(effect)} on average from {first} to {second}, in the spread that they had."

    return Estimate(
        "scores",
        SHIFT,
        "",
        value,
        ends,
        say=say,
        action="Look whether thresholds and calibration still hold: the same cut-off now takes other rows.",
        n=int(rows),
        method="mean of paired differences, t interval" + (", jackknife over units" if pairs.clustered else ""),
        binding="too_few_replicates" if run_var > rows_var else "units_too_few",
        p_value=lambda margin: p_beyond(ends, margin, "both"),
        sample=pairs.sample,
    )


def _disorder(pairs: RunPairs, total: int) -> Estimate:
    first, second = names_of(pairs.runs, pairs.baseline)
    found = counted(pairs.sums["disorder"][0], pairs.subjects[0])
    drawn = pairs.total

    def say(effect: Effect, verdict: Verdict) -> str:
        del verdict
        return (
            f"{in_words(effect)} of pairs of rows stand in another order in {second} than in {first} "
            f"(Kendall's tau {1 - 2 * effect.value:.2f})."
        )

    return Estimate(
        "scores",
        DISORDER,
        "",
        found.value,
        found.interval,
        say=say,
        action="Look at the rows that moved most, before an order of rows (a list, a queue) is taken from the scores.",
        n=drawn,
        method="disjoint pairs of rows drawn at random; Jeffreys interval of a share",
        binding="sample_too_small" if total > 2 * drawn else "too_few_rows",
        sample=2 * drawn if total > 2 * drawn else None,
        p_value=found.p_value,
    )


CHECK = Check(
    name="scores",
    asks="Have the new version's scores moved, and do they put rows in another order?",
    kinds=(SHIFT, DISORDER, EXCESS),
    needs=frozenset({"panel"}),
    run=run,
)
"""The check, for the registry."""
