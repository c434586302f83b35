"""From effects followed over time to findings: an alarm budget, episodes, and when each began.

A check hands over `Course`s: one effect on one subject, estimated in every window, with a way to
compute the interval of every look at any error rate. Only here is it known how many courses share
the budget, so only here do alarms, episodes and sentences come into being.

The budget is the expected number of false episodes in thirty days, over all courses together. It
is spent as error rates of single looks: were every true effect inside its margin, the expected
number of looks that alarm is at most the sum of their error rates, whatever the dependence between
them (linearity of expectation), and an episode begins with a look that alarms.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime

import numpy as np
from numpy.typing import NDArray

from afterlaunch.decide import EffectKind, InputError, Margins, require_alpha, shares_of, verdict_of
from afterlaunch.episodes import Change, Episode, episodes_of, stories_of
from afterlaunch.finding import Effect, Finding, Json, Verdict
from afterlaunch.words import quantity

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Window:
    """A half-open stretch of a log.

    Attributes:
        label: What a reader calls it, such as "2026-10-14"; labels sort as the windows do.
        start: First moment (UTC), or first row number where the log has no time.
        end: First moment, or row, after it.
        rows: Rows in it.
        complete: False for a first or last window that the log covers in part only.
    """

    label: str
    start: datetime | int
    end: datetime | int
    rows: int
    complete: bool = True


@dataclass(frozen=True, slots=True)
class Look:
    """Windows that are looked at together.

    Attributes:
        first: Index of the first.
        last: Index of the last one, included.
    """

    first: int
    last: int

    @property
    def length(self) -> int:
        """How many windows."""
        return self.last - self.first + 1


@dataclass(frozen=True)
class Course:
    """One effect on one subject, over the windows of production.

    Attributes:
        check: Name of the check.
        kind: The effect measured.
        subject: Column, metric or other subject; "" for the table as a whole.
        windows: The windows, in order.
        looks: What was looked at, in the order of their last window; shape (L,).
        value: Estimate of each look, shape (L,); NaN where there is none (then `reasons` says why).
        ends: (one-sided errors of the low ends of the looks, those of the high ends), each of shape (L,), ->
            low and high ends, both of shape (L,).
        n: Rows behind each look, shape (L,).
        reasons: Why a look has no value, as a code; None where it has one; shape (L,).
        say: Builds the sentence from the effect at one look, its verdict and the index of the look;
            the effect comes first in it.
        action: What to do when it alarms.
        method: How the interval is computed, in a few words.
        change: (first look, last look of an episode) -> when it began, or None when that cannot be told.
        weight: Share of the budget relative to the other courses.
        primary: False makes it inform only, whatever its question says.
        segment: Segment it is about.
        sample: Rows of the bounded sample it rests on.
        may_alarm: False for what can never alarm; it takes no budget.
        table: Chart data; None draws the windows with their intervals.
    """

    check: str
    kind: EffectKind
    subject: str
    windows: tuple[Window, ...]
    looks: tuple[Look, ...]
    value: Floats
    ends: Callable[[Floats, Floats], tuple[Floats, Floats]]
    n: Ints
    reasons: tuple[str | None, ...]
    say: Callable[[Effect, Verdict, int], str]
    action: str
    method: str
    change: Callable[[int, int], Change | None] | None = None
    weight: float = 1.0
    primary: bool = True
    segment: str | None = None
    sample: int | None = None
    may_alarm: bool = True
    table: Json | None = None


# ------------------------------------------------------------------ the budget


@dataclass(frozen=True, slots=True)
class Budget:
    """How many false episodes are allowed.

    Attributes:
        episodes: Expected number of false episodes.
        days: In how many days; where a log has no time, a window counts as a day.
    """

    episodes: float = 1.0
    days: float = 30.0

    @classmethod
    def parse(cls, text: str) -> Budget:
        """Read a budget such as "1/month", "0.5/week" or "2/90d".

        Raises:
            InputError: For anything else.

        Example:
            >>> Budget.parse("1/month"), Budget.parse("2/90d").days
            (Budget(episodes=1.0, days=30.0), 90.0)
        """
        found = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*/\s*(?:(\d+)\s*)?(day|week|month|quarter|year|d|w|mo|q|y)\s*", text)
        if not found or float(found[1]) <= 0 or found[2] == "0":
            raise InputError(f"The alarm budget is {text!r}; give episodes per time, such as 1/month or 0.5/week.")
        return cls(float(found[1]), int(found[2] or 1) * DAYS[found[3][0] if found[3] != "month" else "mo"])

    @property
    def monthly(self) -> float:
        """Expected false episodes in thirty days."""
        return self.episodes * 30 / self.days

    def __str__(self) -> str:
        return f"{self.episodes:g} false episode{'' if self.episodes == 1 else 's'} in {self.days:g} days"


DAYS = {"d": 1.0, "w": 7.0, "m": 30.0, "mo": 30.0, "q": 91.0, "y": 365.0}
"""Days of the units that a budget is given in."""

MOST_ALPHA = 0.05
"""Largest error rate of a single look, however large the budget."""


@dataclass(frozen=True, slots=True)
class Watched:
    """What came of watching.

    Attributes:
        findings: One for every course and episode.
        figure: All courses as one picture (see `report.charts`, kind "timeline"); None without windows.
        episodes: Every episode, and the effect that it is of.
    """

    findings: tuple[Finding, ...]
    figure: Json | None
    episodes: tuple[tuple[Course, Episode], ...]


def watch(
    courses: Sequence[Course],
    *,
    margins: Margins,
    budget: Budget,
    alpha: float = 0.05,
    primary: Iterable[str] = (),
    family: str = "review",
) -> Watched:
    """Turn courses that share an alarm budget into findings.

    Args:
        courses: All courses that share it.
        margins: The user's margins.
        budget: How many false episodes are allowed over all of them.
        alpha: One-sided error of the end of an interval that can say `ok`.
        primary: Names of the checks that count toward the verdict of the review.
        family: What the family is, in words.

    Returns:
        For every course one finding on its longest recent look, and one for each episode. Of the effects on one
        subject the worst counts toward the verdict, the others inform; an episode that is over informs.

    Raises:
        InputError: When alpha is not in (0, 0.5).

    Source:
        Spending an error rate over looks so that the expected number of false alarms is bounded:
        Foster & Stine (2008), JRSS B 70:429-444; Tartakovsky, Nikiforov & Basseville (2015),
        Sequential Analysis, 6.3, for false alarms in a given time as the criterion.
    """
    require_alpha(alpha)
    words = f"{family}: {sum(c.may_alarm for c in courses)} courses, {budget}, spent over looks"
    seen = [
        _see(c, margins.of(c.check, c.kind, c.subject), budget.monthly * part, alpha, counts)
        for c, (part, counts) in zip(courses, shares_of(courses, primary), strict=True)
    ]
    leads = _leads(seen)
    stories = _stories(seen, leads)
    out: list[Finding] = []
    for i, s in enumerate(seen):
        lead = i in leads
        for episode in s.episodes:
            out.append(_episode_finding(s, episode, stories.get((i, episode.first), ""), words, lead))
        if not any(e.open for e in s.episodes):
            out.append(_quiet_finding(s, words, lead))
    episodes = tuple((s.course, episode) for s in seen for episode in s.episodes)
    return Watched(tuple(out), _timeline(seen, leads, budget), episodes)


def alphas(course: Course, monthly: float) -> Floats:
    """Error rate of every look of a course that may spend so many expected alarms in thirty days.

    Looks of each length share it equally, and so do looks of one length.

    Args:
        course: The course.
        monthly: Expected false alarms in thirty days.

    Returns:
        Shape (L,).
    """
    lengths = np.array([look.length for look in course.looks])
    different = np.unique(lengths)
    days = max(days_of(course.windows), 1e-9)
    out = np.zeros(lengths.shape)
    for length in different:
        mine = lengths == length
        rate = mine.sum() * 30 / days
        out[mine] = monthly / different.size / rate
    return np.minimum(out, MOST_ALPHA)


def shown_looks(course: Course) -> frozenset[int]:
    """Looks that stand for their windows: those at one window, or all where a course has no such look."""
    single = frozenset(i for i, look in enumerate(course.looks) if look.length == 1)
    return single or frozenset(range(len(course.looks)))


def days_of(windows: Sequence[Window]) -> float:
    """Days that windows span; a window of rows counts as one."""
    if not windows:
        return 0.0
    start, end = windows[0].start, windows[-1].end
    if isinstance(start, datetime) and isinstance(end, datetime):
        return (end - start).total_seconds() / 86_400
    return float(len(windows))


# ------------------------------------------------------------------ episodes


@dataclass(frozen=True)
class _Seen:
    """A course, looked at with its error rates."""

    course: Course
    margin: float
    each: Floats
    low: Floats
    high: Floats
    verdicts: tuple[Verdict | None, ...]
    episodes: tuple[Episode, ...]
    alpha: float
    counts: bool

    @property
    def last(self) -> int | None:
        """The look that says how things are: the longest with a value that ended no longer ago than it is long."""
        course = self.course
        end = len(course.windows) - 1
        have = [i for i, v in enumerate(course.value) if math.isfinite(v)]
        recent = [i for i in have if end - course.looks[i].last < course.looks[i].length]
        if recent:
            return max(recent, key=lambda i: (course.looks[i].length, course.looks[i].last))
        return max(have, key=lambda i: (course.looks[i].last, course.looks[i].length)) if have else None


def _see(course: Course, margin: float, monthly: float, alpha: float, counts: bool) -> _Seen:
    direction = course.kind.direction
    each, fine = alphas(course, monthly), np.full(len(course.looks), alpha)
    if direction == "both":
        wide, narrow = course.ends(each / 2, each / 2), course.ends(fine, fine)
        outside = (wide[0] > margin) | (wide[1] < -margin)
        low, high = (np.where(outside, w, n) for w, n in zip(wide, narrow, strict=True))
    else:
        low, high = course.ends(each, fine) if direction == "up" else course.ends(fine, each)
    verdicts: list[Verdict | None] = []
    for i, value in enumerate(course.value):
        if not math.isfinite(value):
            verdicts.append(None)
            continue
        verdict = verdict_of(float(low[i]), float(high[i]), margin, direction)
        verdicts.append(Verdict.UNDECIDED if verdict is Verdict.ALARM and not course.may_alarm else verdict)
    episodes = _episodes(course, verdicts, margin)
    return _Seen(course, margin, each, low, high, tuple(verdicts), episodes, alpha, counts)


def _episodes(course: Course, verdicts: Sequence[Verdict | None], margin: float) -> tuple[Episode, ...]:
    """A look that stands for its windows speaks for each of them; another for its last one."""
    alarms: dict[int, int] = {}
    begins: dict[int, int] = {}
    inside: list[bool | None] = [None] * len(course.windows)
    shown = shown_looks(course)
    for i in sorted(range(len(course.looks)), key=lambda i: -course.looks[i].length):
        look, seen = course.looks[i], verdicts[i]
        spoken = range(look.first, look.last + 1) if i in shown else range(look.last, look.last + 1)
        for w in spoken:
            if seen is Verdict.ALARM:
                alarms[w], begins[w] = i, w if i in shown else look.first
            if seen is not None and i in shown:
                inside[w] = not _beyond(float(course.value[i]), margin, course.kind.direction)
    return episodes_of(alarms, inside, course.change, begins)


def _beyond(value: float, margin: float, direction: str) -> bool:
    return {"up": value > margin, "down": value < -margin, "both": abs(value) > margin}[direction]


def _leads(seen: Sequence[_Seen]) -> set[int]:
    """Of the effects on one subject the one that speaks for it: the worst verdict, then the farthest beyond."""
    best: dict[tuple[str, str, str | None], tuple[tuple[float, ...], int]] = {}
    for i, s in enumerate(seen):
        c = s.course
        at = s.last
        now = s.verdicts[at] if at is not None else None
        rank = 0 if any(e.open for e in s.episodes) else (now or Verdict.UNDECIDED).rank + 1
        key = (float(not s.counts), float(rank), -_excess(s, at) if at is not None else 0.0, float(i))
        place = (c.check, c.subject, c.segment)
        if place not in best or key < best[place][0]:
            best[place] = (key, i)
    return {i for _, i in best.values()}


def _stories(seen: Sequence[_Seen], leads: set[int]) -> dict[tuple[int, int], str]:
    """What the episode that speaks for a story adds about the others, by course and first window."""
    every = [(i, e) for i, s in enumerate(seen) for e in s.episodes]
    out: dict[tuple[int, int], str] = {}

    def rank(member: int) -> tuple[bool, bool, float]:
        i, episode = every[member]
        return i in leads, episode.open, _excess(seen[i], _telling(seen[i], episode))

    for story, members in stories_of([(_name(seen[i].course), e) for i, e in every]):
        i, episode = every[max(members, key=rank)]
        others = [s for s in story.subjects if s != _name(seen[i].course)]
        if others:
            begun = seen[i].course.windows[story.first].label
            named = ", ".join(others[:5]) + (f" and {len(others) - 5} more" if len(others) > 5 else "")
            out[i, episode.first] = f" It is one story with {named}, which began with {story.subjects[0]} in {begun}."
    return out


def _excess(s: _Seen, look: int) -> float:
    value = float(s.course.value[look])
    return {"up": value, "down": -value, "both": abs(value)}[s.course.kind.direction] / s.margin


def _name(course: Course) -> str:
    name = repr(course.subject) if course.subject else course.check
    return f"{name} in {course.segment}" if course.segment is not None else name


# ------------------------------------------------------------------ findings


def _telling(s: _Seen, episode: Episode) -> int:
    """The look that says how large an episode is: the longest alarm within it, the latest of these."""
    looks = s.course.looks
    within = [
        i
        for i, verdict in enumerate(s.verdicts)
        if verdict is Verdict.ALARM and episode.start <= looks[i].first and looks[i].last <= episode.last
    ]
    return max(within, key=lambda i: (looks[i].length, looks[i].last), default=episode.look)


def _episode_finding(s: _Seen, episode: Episode, story: str, words: str, lead: bool) -> Finding:
    c, look = s.course, _telling(s, episode)
    effect = _effect(s, look)
    since = _since(c.windows, episode)
    sentence = f"{c.say(effect, Verdict.ALARM, look)} {since}{story}"
    label = c.windows[episode.start].label
    window = f"from {label}" if episode.open else f"{label} to {c.windows[episode.last].label}"
    action = c.action if episode.open else "It is over: look at what it was, so that it need not come back."
    return _finding(s, look, Verdict.ALARM, effect, sentence, action, window, words, lead and episode.open)


def _quiet_finding(s: _Seen, words: str, lead: bool) -> Finding:
    c, at = s.course, s.last
    if at is None:
        why = next((r for r, _ in Counter(r for r in c.reasons if r).most_common(1)), "no_rows")
        about = f" of {_name(c)}" if c.subject or c.segment is not None else ""
        sentence = f"Nothing can be said yet of the {c.kind.name}{about}: no window could be looked at."
        return _finding(s, None, Verdict.UNDECIDED, None, sentence, WAIT, None, words, lead, why)
    verdict = s.verdicts[at] or Verdict.UNDECIDED
    effect = _effect(s, at)
    sentence = c.say(effect, verdict, at)
    if verdict is Verdict.UNDECIDED:
        sentence += f" That is too uncertain to hold against the margin of {quantity(s.margin, c.kind.unit)}."
    reason = "interval_straddles_margin" if verdict is Verdict.UNDECIDED else None
    action = "Nothing to do." if verdict is Verdict.OK else WAIT
    return _finding(s, at, verdict, effect, sentence, action, None, words, lead, reason)


WAIT = "Wait for more windows, or set a wider margin if that much change does not matter."


def _effect(s: _Seen, look: int) -> Effect:
    kind, value = s.course.kind, float(s.course.value[look])
    low, high = min(float(s.low[look]), value), max(float(s.high[look]), value)
    return Effect(kind.name, value, low, high, kind.unit)


def _since(windows: Sequence[Window], episode: Episode) -> str:
    change = episode.change
    text = f"Since {windows[episode.start].label}" if episode.open else f"From {windows[episode.start].label}"
    if change is not None and change.high > change.low:
        text += f" (between {windows[change.low].label} and {windows[change.high].label})"
    if not episode.open:
        text += f" to {windows[episode.last].label}"
    return text + "."


def _finding(
    s: _Seen,
    look: int | None,
    verdict: Verdict,
    effect: Effect | None,
    sentence: str,
    action: str,
    window: str | None,
    words: str,
    lead: bool,
    reason: str | None = None,
) -> Finding:
    c = s.course
    return Finding(
        check=c.check,
        key=c.kind.key,
        subject=c.subject,
        verdict=verdict,
        sentence=sentence,
        action=action,
        effect=effect,
        reason=reason,
        direction=c.kind.direction,
        margin=s.margin,
        primary=s.counts and lead,
        segment=c.segment,
        window=window,
        alpha=s.alpha,
        alpha_each=float(s.each[look]) if look is not None else s.alpha,
        family=words,
        method=c.method,
        n=int(c.n[look]) if look is not None else 0,
        sample=c.sample,
        table=c.table or _lines(s),
    )


def _lines(s: _Seen) -> Json | None:
    """The course as a chart: its single windows, with their intervals."""
    c = s.course
    shown = [i for i in sorted(shown_looks(c)) if math.isfinite(c.value[i])]
    if len(shown) < 2:
        return None
    return {
        "kind": "lines",
        "title": f"{c.subject or c.check}: {c.kind.name}",
        "x_title": "window",
        "y_title": c.kind.unit or c.kind.name,
        "series": [
            {
                "name": c.kind.name,
                "x": [c.windows[c.looks[i].last].label for i in shown],
                "y": [round(float(c.value[i]), 6) for i in shown],
                "low": [round(min(float(s.low[i]), float(c.value[i])), 6) for i in shown],
                "high": [round(max(float(s.high[i]), float(c.value[i])), 6) for i in shown],
            },
            {
                "name": "margin",
                "x": [c.windows[c.looks[i].last].label for i in (shown[0], shown[-1])],
                "y": [s.margin if c.kind.direction != "down" else -s.margin] * 2,
                "low": None,
                "high": None,
            },
        ],
    }


def _timeline(seen: Sequence[_Seen], leads: set[int], budget: Budget) -> Json | None:
    """A row for every subject, by the effect that speaks for it; what alarmed longest first."""
    windows = max((s.course.windows for s in seen), key=len, default=())
    if not windows:
        return None
    rows = []
    counting = [i for i in leads if seen[i].counts] or list(leads)
    for i in sorted(counting, key=lambda i: (-sum(e.last - e.start + 1 for e in seen[i].episodes), i)):
        s = seen[i]
        c = s.course
        verdicts: list[str | None] = [None] * len(windows)
        values: list[float | None] = [None] * len(windows)
        for j in shown_looks(c):
            if (verdict := s.verdicts[j]) is not None:
                for w in range(c.looks[j].first, c.looks[j].last + 1):
                    verdicts[w], values[w] = verdict.value, round(float(c.value[j]), 6)
        spans = [{"from": e.start, "to": e.last, "open": e.open} for e in s.episodes]
        name = f"{c.subject or c.check} ({c.kind.name})" + (f" in {c.segment}" if c.segment is not None else "")
        rows.append({"name": name, "unit": c.kind.unit, "verdicts": verdicts, "values": values, "episodes": spans})
    each = {look.length: float(s.each[j]) for s in seen if s.counts for j, look in enumerate(s.course.looks)}
    usual = [n for n in sorted(each) if 2 * sum(n in {k.length for k in s.course.looks} for s in seen) >= len(seen)]
    rates = ", ".join(f"{each[n]:.2g} at {n} window{'' if n == 1 else 's'}" for n in usual)
    spent = f"{budget}, over {len(seen)} courses" + (f"; error rate of a look: {rates}" if rates else "")
    return {
        "kind": "timeline",
        "title": "Every window",
        "windows": [w.label for w in windows],
        "rows": rows,
        "budget": {"episodes": budget.episodes, "per_days": budget.days, "spent": spent},
    }
