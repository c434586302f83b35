"""Does novelty hurt? The loss on novel rows against that on familiar ones."""

from __future__ import annotations

import math

import numpy as np
import polars as pl
from numpy.typing import NDArray

from afterlaunch.checks.evidence import Evidence
from afterlaunch.checks.novel_look import Judged
from afterlaunch.checks.rows import comparable
from afterlaunch.checks.scoring import column, finite, positives, row_groups
from afterlaunch.decide import EffectKind, Estimate
from afterlaunch.finding import Effect
from afterlaunch.stats.losses import absolute_error, log_loss
from afterlaunch.stats.resampling import jackknife
from afterlaunch.stats.variation import quantile
from afterlaunch.watch import Course, Look
from afterlaunch.words import estimate, number

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

HARM = EffectKind(
    "harm", "rise of the loss on novel rows", "share", 0.25, "up", "a quarter more loss than on familiar rows; informs"
)

LEAST_NOVEL = 30
"""Fewest novel rows with an outcome."""

SPAN = 7
"""Windows that are looked at together."""

_GROUPS = 64
_ACTION = "Collect outcomes for the new groups and retrain with them, or send them elsewhere until then."
_METHOD = "ratio of mean losses, jackknife over 64 groups of rows or units, on logarithms"


def losses(evidence: Evidence) -> tuple[Floats, str] | None:
    """Loss of every row of the production sample, NaN where it is not known, and what it is called."""
    sample, roles = evidence.production_sample, evidence.roles
    if sample is None:
        return None
    outcome = column(sample.frame, roles.outcome)
    score, prediction = column(sample.frame, roles.score), column(sample.frame, roles.prediction)
    if outcome is None:
        return None
    if evidence.task == "binary":
        y, p = positives(outcome, roles), finite(score)
        if p is not None and not (np.nan_to_num(p, nan=0.5) < 0).any() and not (np.nan_to_num(p, nan=0.5) > 1).any():
            both = np.isfinite(y) & np.isfinite(p)
            return np.where(both, log_loss(np.where(both, p, 0.5), np.where(both, y, 0.0)), np.nan), "log loss"
    if evidence.task in {"binary", "multiclass"} and prediction is not None:
        a, b = comparable(prediction, outcome)
        known = (a.is_not_null() & b.is_not_null()).to_numpy()
        wrong = (a != b).cast(pl.Float64).fill_null(0.0).to_numpy()
        return np.where(known, wrong, np.nan), "error rate"
    if evidence.task == "regression":
        truth, guess = finite(outcome), finite(prediction if prediction is not None else score)
        if truth is not None and guess is not None:
            with np.errstate(over="ignore", invalid="ignore"):
                off = absolute_error(guess, truth)
            return np.where(np.isfinite(off), off, np.nan), "mean absolute error"
    return None


class _Ratio:
    """Mean loss of novel rows over that of familiar ones, at one look."""

    def __init__(self, loss: Floats, hits: Floats, group: Ints) -> None:
        known = np.isfinite(loss)
        x, w, g = loss[known], hits[known], group[known]
        self.n = int(known.sum())
        self.rows = float(w.sum())
        self.reason: str | None = None
        sums = [np.bincount(g, v, minlength=_GROUPS) for v in (w * x, w, (1 - w) * x, 1 - w)]
        if self.n == 0:
            self.reason = "no_outcomes"
        elif self.rows < LEAST_NOVEL or self.n - self.rows < LEAST_NOVEL:
            self.reason = "too_few_rows"
        elif min(float(sums[0].sum()), float(sums[2].sum())) <= 0:
            self.reason = "zero"
        if self.reason is not None:
            return
        total = [float(s.sum()) for s in sums]
        self.novel, self.familiar = total[0] / total[1], total[2] / total[3]
        with np.errstate(divide="ignore", invalid="ignore"):
            found = jackknife(
                lambda a, b, c, d: np.log(a / b) - np.log(c / d), *sums, size=sums[1] / total[1] + sums[3] / total[3]
            )
        self.log, self.se, self.df = float(found.value[0]), float(found.se[0]), found.df
        if not (math.isfinite(self.log) and math.isfinite(self.se)) or self.df < 5:
            self.reason = "units_too_few"

    @property
    def value(self) -> float:
        return math.expm1(self.log)

    def ends(self, alpha_low: float, alpha_high: float) -> tuple[float, float]:
        low, high = quantile(np.array([alpha_low, alpha_high]), np.array([self.df, self.df]))
        return math.expm1(max(self.log - low * self.se, -700.0)), math.expm1(min(self.log + high * self.se, 700.0))

    def say(self, e: Effect, word: str, subject: str) -> str:
        of = f" by {subject!r}" if subject else ""
        return (
            f"The change of the loss on rows that are novel{of} is {estimate(e)}: {word} {number(self.novel)} "
            f"against {number(self.familiar)} on familiar rows."
        )


def harm_estimate(evidence: Evidence, one: Judged) -> Estimate | None:
    """The effect over all production rows; None where nobody can know a loss."""
    found = losses(evidence)
    if found is None:
        return None
    loss, word = found
    ratio = _Ratio(loss[one.where], one.hits, row_groups(one.group, one.rows))
    if ratio.reason is not None:
        return Estimate(
            "novelty",
            HARM,
            one.subject,
            None,
            reason=ratio.reason,
            sentence=_why(ratio),
            n=ratio.n,
            primary=False,
            sample=one.sample,
        )
    return Estimate(
        check="novelty",
        kind=HARM,
        subject=one.subject,
        value=ratio.value,
        interval=ratio.ends,
        say=lambda e, verdict: ratio.say(e, word, one.subject),
        action=_ACTION,
        n=ratio.n,
        method=_METHOD,
        primary=False,
        sample=one.sample,
    )


def _why(ratio: _Ratio) -> str:
    start = "Whether novelty hurts cannot be told"
    return {
        "no_outcomes": f"{start}: no production row has an outcome and a prediction yet.",
        "too_few_rows": f"{start}: {number(ratio.rows)} of {ratio.n:,} rows with an outcome are novel, "
        f"and it takes {LEAST_NOVEL} novel ones and as many familiar ones.",
        "zero": f"{start}: the loss is exactly zero on novel or on familiar rows.",
        "units_too_few": f"{start}: the rows come from too few units.",
    }[ratio.reason or "units_too_few"]


def harm_course(evidence: Evidence, one: Judged) -> Course | None:
    """The effect over the last seven windows at each window; None where nobody can know a loss."""
    found, window, timeline = losses(evidence), one.window, evidence.timeline
    if found is None or window is None or timeline is None:
        return None
    loss, word = found
    group = row_groups(one.group, one.rows)
    looks, ratios = [], []
    for t in range(len(timeline.windows)):
        look = Look(max(0, t - SPAN + 1), t)
        mine = (window >= look.first) & (window <= look.last)
        looks.append(look)
        ratios.append(_Ratio(loss[one.where][mine], one.hits[mine], group[mine]))

    def ends(low: Floats, high: Floats) -> tuple[Floats, Floats]:
        each = [
            r.ends(float(a), float(b)) if r.reason is None else (math.nan, math.nan)
            for r, a, b in zip(ratios, low, high, strict=True)
        ]
        return np.array([e[0] for e in each]), np.array([e[1] for e in each])

    return Course(
        check="novelty",
        kind=HARM,
        subject=one.subject,
        windows=timeline.windows,
        looks=tuple(looks),
        value=np.array([r.value if r.reason is None else math.nan for r in ratios]),
        ends=ends,
        n=np.array([r.n for r in ratios], dtype=np.int64),
        reasons=tuple(r.reason for r in ratios),
        say=lambda e, verdict, i: ratios[i].say(e, word, one.subject),
        action=_ACTION,
        method=_METHOD,
        primary=False,
        sample=one.sample,
    )
