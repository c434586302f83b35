"""Have many columns changed together? A classifier that is taught to tell production from the reference.

It finds what the columns find one by one, and what they cannot find: a change of how columns go
together. It costs time, so a cheap screen of means, spreads and correlations says whether it runs.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from datetime import datetime, timedelta
from functools import partial

import numpy as np
import polars as pl
from numpy.typing import NDArray

from afterlaunch.checks.domain_rows import Rows, lacking, read
from afterlaunch.checks.evidence import Check, Evidence, Sample
from afterlaunch.decide import EffectKind, Estimate
from afterlaunch.episodes import Change
from afterlaunch.finding import Effect, Json, Verdict
from afterlaunch.stats.clustered import p_value
from afterlaunch.stats.screen import screen
from afterlaunch.stats.two_sample import Told
from afterlaunch.watch import Course, Look, Window
from afterlaunch.words import estimate, number

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

MOST_ROWS = 10_000
"""Rows of each table that a classifier sees."""

LOOK_ROWS = 2_000
"""Rows of each table that the classifier of one look at some windows sees."""

LEAST_WINDOWS = 3
"""Fewest windows of a look: one stretch to learn from and two to score."""

MOST_LOOKS = 14
"""Most looks over the windows of a log."""

NAMED = 5
"""Columns named in the sentence."""

SCREEN = 0.1
"""The classifier runs unless the screen's p-value is above this."""

AUC = EffectKind(
    "auc",
    "AUC beyond chance",
    "AUC",
    0.05,
    "up",
    "an AUC of 0.55, which a shift of one normal column by 0.18 standard deviations gives (Cohen 1988: 0.2 is small)",
)

_ACTION = (
    "Look at the columns named first, together and not only one by one; retrain on recent rows if the change is real."
)
_METHOD = "classifier of rows, each block scored by one taught on the blocks before it; DeLong variance"


def run(evidence: Evidence) -> list[Estimate]:
    """Tell production rows from reference rows.

    Args:
        evidence: Needs "samples". The option "domain" is "always", "never" or "screen" (the default), which
            trains the classifier unless a cheap look finds no difference.

    Returns:
        One estimate; none where the screen finds nothing or nobody asked.
    """
    asked = evidence.options.get("domain", "screen")
    old, new = evidence.reference_sample, evidence.production_sample
    if asked == "never" or old is None or new is None:
        return []
    rows = read(evidence, old, new)
    sides = np.arange(old.rows), np.arange(old.rows, old.rows + new.rows)
    why = lacking(rows, sides)
    if rows is None or why is not None:
        return [_undecided(*(why or _NOTHING), new.rows)]
    drawn = rows.draw(sides, MOST_ROWS, old.seed)
    if asked != "always" and screen(rows.x[drawn], rows.production[drawn]).p_value > SCREEN:
        return []
    told = rows.judge(drawn, old.seed)
    if not math.isfinite(told.value):
        return [_undecided(*_NOTHING, new.rows)]

    def interval(alpha_low: float, alpha_high: float) -> tuple[float, float]:
        found = told.interval(alpha_low, alpha_high)
        return found.low, found.high

    whole = old.whole and new.whole and len(drawn) == old.rows + new.rows
    return [
        Estimate(
            "domain",
            AUC,
            "",
            told.excess,
            interval,
            say=partial(_say, rows.names, told, ""),
            action=_ACTION,
            n=told.rows[1],
            method=_METHOD + (", by units" if rows.unit is not None else ""),
            rows_needed=lambda margin, alpha: told.rows_needed(margin, alpha, min(MOST_ROWS, old.total)),
            binding="reference_too_small" if old.total < MOST_ROWS else "sample_too_small",
            p_value=lambda margin: p_value(interval, margin),
            sample=None if whole else len(drawn),
            table=_chart(rows.names, told),
        )
    ]


_NOTHING = "units_too_few", "a few units hold most of the rows."


def _undecided(reason: str, why: str, n: int) -> Estimate:
    return Estimate(
        "domain",
        AUC,
        "",
        None,
        reason=reason,
        sentence=f"The columns cannot be compared together: {why}",
        action="Give it more rows, or columns that both tables have.",
        n=n,
        primary=False,
        may_alarm=False,
    )


# ------------------------------------------------------------------ over windows


def follow(evidence: Evidence) -> list[Course]:
    """One course: stretches of windows against the reference, each by a classifier of its own.

    Args:
        evidence: Needs "samples" and "windows". Option "domain" as for `run`; the screen is of every look,
            and where none differs there is no course.
    """
    asked = evidence.options.get("domain", "screen")
    old, new, timeline = evidence.reference_sample, evidence.production_sample, evidence.timeline
    if asked == "never" or old is None or new is None or new.window is None or timeline is None:
        return []
    windows = timeline.windows
    looks = looks_of(windows)
    rows = read(evidence, old, new)
    if not looks:
        return []
    history = evidence.history.windows if evidence.history is not None and old.window is not None else ()
    drawn = [_draw(rows, old, new, look, windows, history, i) for i, look in enumerate(looks)] if rows else []
    if rows is not None and asked != "always":
        some = [r for r, _, why in drawn if why is None]
        p = [screen(rows.x[r], rows.production[r]).p_value for r in some]
        if some and min(p) * len(p) > SCREEN:
            return []
    told: list[Told | None] = [None] * len(looks)
    reasons: list[str | None] = ["no_features"] * len(looks)
    for i, (own, label, why) in enumerate(drawn):
        reasons[i] = why
        if rows is None or why is not None:
            continue
        found = rows.judge(own, old.seed + i, label)
        reasons[i] = None if found.df > 0 and math.isfinite(found.value) else "too_few_windows"
        told[i] = None if reasons[i] else found
    return [
        _course(
            evidence, rows, looks, told, reasons, [int(rows.production[r].sum()) if rows else 0 for r, _, _ in drawn]
        )
    ]


def _course(
    evidence: Evidence,
    rows: Rows | None,
    looks: Sequence[Look],
    told: Sequence[Told | None],
    reasons: Sequence[str | None],
    n: Sequence[int],
) -> Course:
    assert evidence.timeline is not None
    windows = evidence.timeline.windows

    def ends(alpha_low: Floats, alpha_high: Floats) -> tuple[Floats, Floats]:
        low, high = np.full(len(looks), math.nan), np.full(len(looks), math.nan)
        wanted = np.broadcast_to(alpha_low, low.shape), np.broadcast_to(alpha_high, low.shape)
        for i, t in enumerate(told):
            if t is not None:
                found = t.interval(float(wanted[0][i]), float(wanted[1][i]))
                low[i], high[i] = found.low, found.high
        return low, high

    def say(effect: Effect, verdict: Verdict, look: int) -> str:
        t, at = told[look], looks[look]
        assert t is not None
        assert rows is not None
        span = f" in {windows[at.first].label} to {windows[at.last].label}"
        return _say(rows.names, t, span, effect, verdict)

    return Course(
        "domain",
        AUC,
        "",
        windows,
        tuple(looks),
        np.array([t.excess if t is not None else math.nan for t in told]),
        ends,
        np.array([*n, *[0] * (len(looks) - len(n))], dtype=np.int64),
        tuple(reasons),
        say,
        _ACTION,
        _METHOD + ", by windows" + (" and units" if rows is not None and rows.unit is not None else ""),
        change=partial(_change, looks, told),
        sample=sum(sum(t.rows) for t in told if t is not None),
    )


def _change(looks: Sequence[Look], told: Sequence[Told | None], first: int, last: int) -> Change | None:
    """An episode began in the stretch where it was found, or since the last one shown to be fine."""
    at = next((i for i, look in enumerate(looks) if look.first <= first <= look.last), None)
    if at is None:
        return None
    fine = [
        i for i, t in enumerate(told[:at]) if t is not None and t.df > 0 and t.interval(0.05, 0.05).high <= AUC.margin
    ]
    return Change(looks[at].first, looks[fine[-1]].first if fine else 0, looks[at].last)


def looks_of(windows: Sequence[Window]) -> list[Look]:
    """Stretches of windows of one length, one after the other: whole weeks or days where they fit.

    At most `MOST_LOOKS`; their length doubles as a log grows, so that it seldom changes. What is
    left at the end waits until it is a whole stretch, so that no stretch is looked at twice.

    Example:
        >>> start = datetime(2026, 1, 1)
        >>> days = [Window(str(i), start + timedelta(i), start + timedelta(i + 1), 9) for i in range(30)]
        >>> [(look.first, look.last) for look in looks_of(days)]
        [(0, 6), (7, 13), (14, 20), (21, 27)]
    """
    count, size = len(windows), 4
    each = _length(windows)
    if each is not None and each <= timedelta(days=1):
        day = max(1, round(timedelta(days=1) / each))
        size = 7 * day if count >= 7 * day else day if day >= LEAST_WINDOWS and count >= day else size
    if count < LEAST_WINDOWS:
        return []
    size = min(size, count)
    while count // size > MOST_LOOKS:
        size *= 2
    return [Look(i * size, (i + 1) * size - 1) for i in range(count // size)]


def _length(windows: Sequence[Window]) -> timedelta | None:
    if not windows or not isinstance(windows[0].start, datetime) or not isinstance(windows[0].end, datetime):
        return None
    return windows[0].end - windows[0].start


def _draw(
    rows: Rows,
    old: Sample,
    new: Sample,
    look: Look,
    windows: Sequence[Window],
    history: Sequence[Window],
    seed: int,
) -> tuple[Ints, Ints, str | None]:
    """Rows of one look, the window of each, and why there are none to compare."""
    assert new.window is not None
    own = _window(new)
    now = np.flatnonzero((own >= look.first) & (own <= look.last))
    before = np.full(old.rows, -1, dtype=np.int64)
    if history:
        assert old.window is not None
        before = _window(old)
    normal = np.flatnonzero((before >= 0) | (not history))
    each = _length(windows)
    by_day = each is not None and each <= timedelta(days=1)
    if by_day and history:
        # A look of other days of the week than the reference's mix is held against those days only.
        mine = {_weekday(w) for w in windows[look.first : look.last + 1]}
        normal = normal[np.isin(before[normal], [i for i, w in enumerate(history) if _weekday(w) in mine])]
    drawn = rows.draw((normal, now + old.rows), LOOK_ROWS, old.seed + 1 + seed)
    why = lacking(rows, (normal, now + old.rows))
    # Hours of one day depend on each other: the day is what is held out.
    label = np.concatenate([_days(before, history) if by_day else before, _days(own, windows) if by_day else own])
    production = rows.production
    label[production & (label >= 0)] += 1 + label[~production].max(initial=-1)
    label = label[drawn]
    if why is None and np.unique(label[production[drawn]]).size < LEAST_WINDOWS:
        return drawn, label, "too_few_windows"
    return drawn, label, why[0] if why else None


def _window(sample: Sample) -> Ints:
    assert sample.window is not None
    return sample.frame[sample.window].cast(pl.Int64).fill_null(-1).to_numpy().astype(np.int64)


def _weekday(window: Window) -> int:
    return window.start.weekday() if isinstance(window.start, datetime) else 0


def _days(index: Ints, windows: Sequence[Window]) -> Ints:
    """Windows by their day, numbered from 0."""
    days = [w.start.toordinal() if isinstance(w.start, datetime) else i for i, w in enumerate(windows)]
    if not days:
        return index
    of = np.array(days, dtype=np.int64) - days[0]
    return np.where(index >= 0, of[np.maximum(index, 0)], -1)


# ------------------------------------------------------------------ words and charts


def _drivers(names: Sequence[str], told: Told) -> list[tuple[str, float, float]]:
    """Columns without which the AUC falls, with the loss and its standard error, largest first."""
    order = np.argsort(-told.drop, kind="stable")
    return [(names[told.columns[i]], float(told.drop[i]), float(told.drop_se[i])) for i in order]


def _say(names: Sequence[str], told: Told, where: str, effect: Effect, verdict: Verdict) -> str:
    sure = [(name, drop) for name, drop, se in _drivers(names, told) if drop > told.critical * se][:NAMED]
    by = ", ".join(f"{name!r} ({number(drop)})" for name, drop in sure)
    led = f"; shuffling a column loses of it: {by}" if by else ""
    count = f"{len(names):,} columns" if len(names) > 1 else "1 column"
    return (
        f"{estimate(effect)} beyond chance: by {count} together a classifier tells production rows{where} "
        f"from reference rows with AUC {told.value:.3f}{led}."
    )


def _chart(names: Sequence[str], told: Told) -> Json | None:
    found = _drivers(names, told)[:10]
    if not found:
        return None
    rows = [{"name": n, "value": d, "low": d - 1.96 * se, "high": d + 1.96 * se} for n, d, se in found]
    return {"kind": "parts", "title": "AUC lost when the column is shuffled", "unit": "AUC", "rows": rows}


CHECK = Check(
    name="domain",
    asks="Have many columns changed together?",
    kinds=(AUC,),
    needs=frozenset({"samples", "windows"}),
    run=run,
    follow=follow,
)
