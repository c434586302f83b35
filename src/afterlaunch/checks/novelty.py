"""Are there new kinds of queries, or rows, that the model was not made for?

Half of the reference trains a score of how unlike its rows another one is; the other half, which the
score never saw, calibrates it. Five in a hundred normal rows are novel at the 5 % level; the effect is
what production has beyond that. Rows and groups of them are named only after Benjamini-Hochberg.
"""

from __future__ import annotations

from functools import partial

import numpy as np
from numpy.typing import NDArray

from afterlaunch.checks.evidence import Check, Evidence
from afterlaunch.checks.novel_harm import HARM, harm_course, harm_estimate
from afterlaunch.checks.novel_look import ALPHA, Judged, Lacking, Novel, judge
from afterlaunch.decide import EffectKind, Estimate
from afterlaunch.episodes import Change
from afterlaunch.finding import Effect, Json, Verdict
from afterlaunch.stats import clustered
from afterlaunch.stats.conformal import Excess
from afterlaunch.stats.intervals import difference, filled, share
from afterlaunch.stats.sequences import change_point
from afterlaunch.watch import Course, Look
from afterlaunch.words import estimate, quantity

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

MARGIN = 0.05
"""As many again as normal rows: novel rows have doubled."""

WEEK = 7
"""Windows that are looked at together, once there are twice as many."""

NAMED = 3
"""Groups that a sentence names."""

BEFORE = 28
"""Windows before an alarm among which the change is looked for."""

_WHY = "as many novel rows again as the reference itself has at the 5 % level"
KINDS = (
    EffectKind("text", "excess share of novel texts", "share", MARGIN, "up", _WHY),
    EffectKind("embedding", "excess share of novel embeddings", "share", MARGIN, "up", _WHY),
    EffectKind("rows", "excess share of novel rows", "share", MARGIN, "up", _WHY),
    HARM,
)
_KIND = {k.key: k for k in KINDS}
_THINGS = {"text": "texts", "embedding": "embeddings", "rows": "rows"}
_ACTION = (
    "Read the examples of each new group; decide what the model does with them until it is retrained on some "
    "that have outcomes."
)


def run(evidence: Evidence) -> list[Estimate]:
    """Share of novel texts, embeddings and rows in production, and whether novelty hurts."""
    out: list[Estimate] = []
    for one in judge(evidence):
        if isinstance(one, Lacking):
            out.append(
                Estimate(
                    "novelty",
                    _KIND[one.kind],
                    one.subject,
                    None,
                    reason=one.reason,
                    sentence=one.sentence,
                    action=one.action,
                    n=one.rows,
                )
            )
            continue
        out.append(_estimate(one))
        harm = harm_estimate(evidence, one)
        out += [harm] if harm is not None else []
    return out


def follow(evidence: Evidence) -> list[Course]:
    """The same in every window of production, and over the last seven of them."""
    if evidence.timeline is None or not evidence.timeline.windows:
        return []
    out: list[Course] = []
    for one in judge(evidence):
        if isinstance(one, Lacking):
            out.append(_nothing(evidence, one))
            continue
        if one.window is None:
            continue
        out.append(_course(evidence, one, one.window))
        harm = harm_course(evidence, one)
        out += [harm] if harm is not None else []
    return out


CHECK = Check(
    name="novelty",
    asks="Are there new kinds of queries or rows that the model was not made for?",
    kinds=KINDS,
    needs=frozenset({"samples"}),
    run=run,
    follow=follow,
)


# ------------------------------------------------------------------ two tables


def _estimate(one: Judged) -> Estimate:
    found = _excess(one, [np.ones(one.rows)], np.zeros(1))
    name = _THINGS[one.kind] + (f" in {one.subject!r}" if one.subject else "")
    kind = _KIND[one.kind]
    if one.units is not None and (filled(one.units[0]) < LEAST_GROUPS or filled(one.units[1]) < LEAST_GROUPS):
        return Estimate(
            "novelty",
            kind,
            one.subject,
            None,
            reason="units_too_few",
            sentence=f"The {name} come from too few units to judge their novelty.",
            n=one.rows,
        )

    def interval(low: float, high: float) -> tuple[float, float]:
        a, b = found.ends(np.array([low]), np.array([high]))
        return float(a[0]), float(b[0])

    def say(e: Effect, verdict: Verdict) -> str:
        return f"The share of novel {name} exceeds the expected {quantity(ALPHA, 'share')} by {estimate(e)}" + (
            _largest(one.novel) + "."
        )

    return Estimate(
        check="novelty",
        kind=kind,
        subject=one.subject,
        value=float(found.value[0]),
        interval=interval,
        say=say,
        action=_ACTION,
        n=one.rows,
        method=_method(one),
        rows_needed=found.rows_needed,
        binding="reference_too_small",
        p_value=lambda margin: float(found.p_value(margin)[0]),
        sample=one.sample,
        table=_table(one),
    )


LEAST_GROUPS = 10
"""Fewest filled groups of units in each table."""


def _method(one: Judged) -> str:
    units = ", by unit" if one.units is not None else ""
    history = ", with the variation between windows of the reference" if one.history is not None else ""
    return f"split-conformal p-values from {one.calibration:,} calibration rows, exact test inversion{units}{history}"


def _excess(one: Judged, weights: list[Floats], per_window: Floats) -> Excess:
    """Excess of the rows of each look.

    Args:
        one: What was judged.
        weights: Weight of every production row at each look, shape (n,); rows not looked at weigh 0.
        per_window: Mean rows per window of each look, shape (L,); 0 leaves the variation between windows out.
    """
    hits, rows, deff, df = (np.zeros(len(weights)) for _ in range(4))
    for i, w in enumerate(weights):
        total = float(w.sum())
        if total <= 0:
            continue
        # Rows of windows that were sampled more thinly weigh more; as many equal rows tell as much (Kish 1965).
        w = w * (total / float((w**2).sum()))
        if one.group is None:
            found = clustered.counted(np.array([w @ one.hits]), np.array([w.sum()]))
        else:
            found = clustered.counted(
                np.bincount(one.group, w * one.hits, minlength=64), np.bincount(one.group, w, minlength=64)
            )
        hits[i], rows[i], deff[i], df[i] = found.hits, found.rows, found.deff, found.df
    cal_deff, cal_df = one.deff_calibration, one.df_calibration
    if one.history is not None:
        between = max(one.history.deff - 1, 0.0)
        each = one.history.rows / max(one.history_windows, 1)
        deff = np.maximum(deff, 1.0) + between * per_window / max(each, 1.0)
        df = np.where(per_window > 0, np.minimum(df, one.history.df), df)
        cal_deff, cal_df = max(cal_deff, one.history.deff), min(cal_df, one.history.df)
    return Excess(hits, rows, one.calibration, ALPHA, deff, df, cal_deff, cal_df)


def _largest(novel: Novel) -> str:
    if not novel.groups:
        return ""
    shown = [f"{g.name} ({g.rows.size:,} rows)" for g in novel.groups[:NAMED]]
    more = f" and {len(novel.groups) - NAMED} more" if len(novel.groups) > NAMED else ""
    return "; new groups: " + "; ".join(shown) + more


def _table(one: Judged) -> Json:
    """Examples of each group; without groups, how p-values are distributed."""
    title = one.subject or "rows"
    if not one.novel.groups:
        edges = np.array([0.05, 0.1, 0.2, 0.4, 0.6, 0.8])
        shares = np.bincount(np.searchsorted(edges, one.p), minlength=7) / one.rows
        return {
            "kind": "distribution",
            "title": f"{title}: share of rows by how many reference rows are as unlike the rest",
            "ordered": True,
            "labels": ["≤ 5 %", "to 10 %", "to 20 %", "to 40 %", "to 60 %", "to 80 %", "to 100 %"],
            "reference": [0.05, 0.05, 0.1, 0.2, 0.2, 0.2, 0.2],
            "production": [round(float(s), 6) for s in shares],
        }
    return {
        "kind": "examples",
        "title": f"{title}: new groups",
        "columns": ["group", "rows", "share of rows", "share in the reference", "example"],
        "rows": [
            [
                g.name,
                int(g.rows.size),
                quantity(g.rows.size / one.rows, "share"),
                quantity(g.reference / one.calibration, "share"),
                example,
            ]
            for g, examples in zip(one.novel.groups, one.novel.examples, strict=True)
            for example in examples
        ],
    }


# ------------------------------------------------------------------ windows


def looks_of(windows: int) -> tuple[Look, ...]:
    """Every window, and from a fortnight on the last seven windows at each."""
    out = []
    for t in range(windows):
        out.append(Look(t, t))
        if windows >= 2 * WEEK and t >= WEEK - 1:
            out.append(Look(t - WEEK + 1, t))
    return tuple(out)


def _course(evidence: Evidence, one: Judged, window: Ints) -> Course:
    assert evidence.timeline is not None
    windows = evidence.timeline.windows
    looks = looks_of(len(windows))
    sampled = np.bincount(window[window >= 0], minlength=len(windows))
    whole = np.array([max(w.rows, s) for w, s in zip(windows, sampled, strict=True)], dtype=np.float64)
    weight = whole / np.maximum(sampled, 1)
    each = [_weights(window, weight, look) for look in looks]
    n = np.array([int((w > 0).sum()) for w in each], dtype=np.int64)
    found = _excess(one, each, n / np.array([look.length for look in looks]))
    name = _THINGS[one.kind] + (f" in {one.subject!r}" if one.subject else "")

    def say(e: Effect, verdict: Verdict, i: int) -> str:
        text = f"The share of novel {name} exceeds the expected {quantity(ALPHA, 'share')} by {estimate(e)}"
        return f"{text}{_new(one, window, looks[i])}."

    return Course(
        check="novelty",
        kind=_KIND[one.kind],
        subject=one.subject,
        windows=windows,
        looks=looks,
        value=found.value,
        ends=found.ends,
        n=n,
        reasons=tuple("no_rows" if k == 0 else None for k in n),
        say=say,
        action=_ACTION,
        method=_method(one),
        change=partial(_change, one, window),
        sample=one.sample,
    )


def _weights(window: Ints, weight: Floats, look: Look) -> Floats:
    mine = (window >= look.first) & (window <= look.last)
    out: Floats = np.where(mine, weight[np.maximum(window, 0)], 0.0)
    return out


def _new(one: Judged, window: Ints, look: Look) -> str:
    """The largest groups of a look, and which of them grew against the windows before it."""
    at, label = window[one.novel.places], one.novel.label
    now = (at >= look.first) & (at <= look.last)
    counts = np.bincount(label[now & (label >= 0)], minlength=len(one.novel.groups))
    largest = [g for g in np.argsort(-counts, kind="stable")[:NAMED] if counts[g] > 0]
    if not largest:
        return ""
    start = max(look.first, look.last - WEEK + 1)
    rows_now = int(((window >= start) & (window <= look.last)).sum())
    rows_then = int(((window >= 0) & (window < start)).sum())
    words = []
    for g in largest:
        mine = at[label == g]
        grew = rows_then > 0 and _grew(
            int((mine < start).sum()), rows_then, int(((mine >= start) & (mine <= look.last)).sum()), rows_now
        )
        words.append(f"{one.novel.groups[g].name} ({counts[g]:,} rows{', more than before' if grew else ''})")
    return "; new groups: " + "; ".join(words)


def _grew(before: int, rows_before: int, now: int, rows_now: int) -> bool:
    """Whether a group's share rose, at a one-sided error of 1 % for each group."""
    return (
        difference(
            lambda low, high: share(before, rows_before, low, high),
            lambda low, high: share(now, rows_now, low, high),
            0.01,
            0.5,
        ).low
        > 0
    )


def _change(one: Judged, window: Ints, first: int, last: int) -> Change | None:
    """When novel rows began to be more, by the likelihood of one change before the alarm."""
    begin = max(0, first - BEFORE)
    mine = np.flatnonzero((window >= begin) & (window <= last))
    if mine.size == 0:
        return None
    order = mine[np.argsort(window[mine], kind="stable")]
    at = window[order]
    # Rows of one window have no order among each other: each counts as its window's share.
    shares = np.bincount(at, one.hits[order]) / np.maximum(np.bincount(at), 1)
    found = change_point(shares[at], known=(ALPHA * one.calibration, float(one.calibration)))
    return Change(int(at[found.row]), int(at[found.low]), int(at[found.high]))


def _nothing(evidence: Evidence, lacking: Lacking) -> Course:
    assert evidence.timeline is not None
    windows = evidence.timeline.windows
    looks = tuple(Look(t, t) for t in range(len(windows)))
    none = np.full(len(looks), np.nan)
    return Course(
        check="novelty",
        kind=_KIND[lacking.kind],
        subject=lacking.subject,
        windows=windows,
        looks=looks,
        value=none,
        ends=lambda low, high: (none, none),
        n=np.zeros(len(looks), dtype=np.int64),
        reasons=(lacking.reason,) * len(looks),
        say=lambda e, verdict, i: lacking.sentence,
        action=lacking.action,
        method="",
        may_alarm=False,
    )
