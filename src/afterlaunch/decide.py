"""From estimates to findings: an interval held against a margin, and who shares the error rate.

A check hands over `Estimate`s: a value and a way to compute its interval at any error
rate. Only here is it known how many estimates share the review's error rate, so only here
do intervals, verdicts and sentences come into being.

The two ends of an interval have different duties. The end that can raise an alarm is
computed at a share of the family's rate `alpha` (weighted Bonferroni), so that the chance
of *any* false alarm in the family is at most `alpha`. The end that can say `ok` is computed
at `alpha` itself: a review is `ok` only if every primary finding is, and such an
intersection-union test needs no correction (Berger, 1982, Technometrics 24:295-300).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Protocol

from afterlaunch.finding import Direction, Effect, Finding, Goal, Json, Verdict
from afterlaunch.words import quantity

IntervalAt = Callable[[float, float], tuple[float, float]]
"""(one-sided error of the low end, one-sided error of the high end) -> (low, high)."""


class InputError(ValueError):
    """Unusable input: one sentence that names the column or option, the value and the remedy."""


@dataclass(frozen=True, slots=True)
class EffectKind:
    """One effect that a check measures, and the margin it is held against by default.

    Attributes:
        key: Short name, the part after the slash in a margin key.
        name: The effect in words.
        unit: Its unit.
        margin: Default margin.
        direction: Which direction is bad.
        why: Where the default margin comes from.
    """

    key: str
    name: str
    unit: str
    margin: float
    direction: Direction
    why: str


@dataclass(frozen=True, slots=True)
class Estimate:
    """What a check found, before anybody knows how many findings share the error rate.

    Attributes:
        check: Name of the check.
        kind: The effect measured.
        subject: Column, metric or other subject; "" for the whole table.
        value: The estimate in `kind.unit`, or None when there is nothing to estimate
            (then `reason` says why).
        interval: Computes the interval at given one-sided error rates of its two ends.
        say: Builds the sentence from the effect and the verdict; the effect comes first in it.
            Not called when `value` is None.
        action: What to do when it alarms.
        n: Rows behind it on the production side.
        method: How the interval is computed, in a few words.
        rows_needed: (margin, alpha) -> production rows that would decide with 80 % power if
            the true effect were zero, or None when rows are not what binds. The margin is
            positive, alpha is the one-sided error of the `ok` end.
        binding: What binds when `rows_needed` gives None, as a reason code such as
            "reference_too_small".
        p_value: margin -> p-value of "the effect lies inside the margin" against "beyond".
        reason: Why there is no value, as a code; `sentence` then says it in words.
        sentence: The sentence when there is no value.
        weight: Share of the family's error rate relative to the other estimates.
        primary: False makes this estimate inform only, whatever its question says.
        segment: Segment it is about.
        sample: Rows of the bounded sample it rests on.
        table: Chart data, see `Finding.table`.
        may_alarm: False for an estimate that can never alarm (it then takes no error rate).
        things: What `rows_needed` counts.
        goal: What is to be shown, see `afterlaunch.finding.Goal`. Where it is "better", `rows_needed` are those
            that would show a gain as large as the margin.
    """

    check: str
    kind: EffectKind
    subject: str
    value: float | None
    interval: IntervalAt | None = None
    say: Callable[[Effect, Verdict], str] | None = None
    action: str = ""
    n: int = 0
    method: str = ""
    rows_needed: Callable[[float, float], int | None] | None = None
    binding: str | None = None
    p_value: Callable[[float], float] | None = None
    reason: str | None = None
    sentence: str = ""
    weight: float = 1.0
    primary: bool = True
    segment: str | None = None
    sample: int | None = None
    table: Json | None = None
    may_alarm: bool = True
    things: str = "production rows"
    goal: Goal = "inside"


@dataclass(frozen=True)
class Margins:
    """The user's margins over the documented defaults; the most specific key wins.

    Keys have the form ``CHECK[/EFFECT][@SUBJECT]``, such as "drift", "drift/psi",
    "drift@income" or "drift/psi@income".

    Args:
        given: Key to margin.

    Raises:
        InputError: When a margin is not a positive finite number.

    Example:
        >>> kind = EffectKind("psi", "PSI", "PSI", 0.1, "up", "")
        >>> margins = Margins({"drift/psi": 0.2, "drift/psi@income": 0.05})
        >>> margins.of("drift", kind, "income"), margins.of("drift", kind, "age")
        (0.05, 0.2)
    """

    given: Mapping[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for key, value in self.given.items():
            if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value) or value <= 0:
                raise InputError(f"The margin {key!r} is {value!r}; give a positive number.")

    def of(self, check: str, kind: EffectKind, subject: str) -> float:
        """The margin that holds for one estimate."""
        for key in (f"{check}/{kind.key}@{subject}", f"{check}@{subject}", f"{check}/{kind.key}", check):
            if key in self.given:
                return float(self.given[key])
        return kind.margin

    def require_known(self, kinds: Mapping[str, Sequence[EffectKind]], subjects: Mapping[str, Iterable[str]]) -> None:
        """Refuse keys that name no check, effect or subject.

        Args:
            kinds: Effects of every check of the question.
            subjects: Subjects of every check that were looked at.

        Raises:
            InputError: For the first unknown key, naming what is known.
        """
        for key in self.given:
            head, at, subject = key.partition("@")
            check, slash, effect = head.partition("/")
            if check not in kinds:
                raise InputError(f"The margin {key!r} names no check; the checks are {_listed(kinds)}.")
            known = [k.key for k in kinds[check]]
            if slash and effect not in known:
                raise InputError(f"The margin {key!r} names no effect of {check!r}; its effects are {_listed(known)}.")
            if at and subject not in set(subjects.get(check, ())):
                raise InputError(
                    f"The margin {key!r} names {subject!r}, which {check!r} did not look at; "
                    f"it looked at {_listed(sorted(set(subjects.get(check, ()))))}."
                )


INFORMING = 0.2
"""Share of the error rate that findings share which only inform, when there are others that count."""


def verdict_of(low: float, high: float, margin: float, direction: Direction, goal: Goal = "inside") -> Verdict:
    """Hold an interval against a margin.

    Args:
        low: Lower end.
        high: Upper end.
        margin: Positive.
        direction: Which direction of the effect is bad.
        goal: What is to be shown.

    Returns:
        `ok` when the interval lies wholly inside the margin, `alarm` when wholly outside
        on the bad side, else `undecided`. With the goal "better": `ok` when it lies wholly on the good side
        of zero, `alarm` when it excludes a gain as large as the margin. With the goal "none": `alarm` when it
        lies wholly on the bad side of zero, `ok` when wholly inside the margin.

    Example:
        >>> verdict_of(0.02, 0.08, 0.1, "up").value, verdict_of(0.12, 0.2, 0.1, "up").value
        ('ok', 'alarm')
        >>> verdict_of(-0.03, 0.01, 0.02, "down").value
        'undecided'
        >>> verdict_of(0.01, 0.2, 0.1, "down", "better").value, verdict_of(-0.02, 0.04, 0.1, "down", "better").value
        ('ok', 'alarm')
        >>> verdict_of(0.01, 0.2, 0.1, "both", "none").value, verdict_of(-0.02, 0.04, 0.1, "both", "none").value
        ('alarm', 'ok')
    """
    if goal == "better":
        if direction == "both":
            raise ValueError("What is bad in both directions cannot be better.")
        good_low, good_high = (low, high) if direction == "down" else (-high, -low)
        return Verdict.OK if good_low > 0 else Verdict.ALARM if good_high < margin else Verdict.UNDECIDED
    beyond = 0.0 if goal == "none" else margin
    if direction == "up":
        return Verdict.ALARM if low > beyond else Verdict.OK if high <= margin else Verdict.UNDECIDED
    if direction == "down":
        return Verdict.ALARM if high < -beyond else Verdict.OK if low >= -margin else Verdict.UNDECIDED
    if low > beyond or high < -beyond:
        return Verdict.ALARM
    return Verdict.OK if -margin <= low and high <= margin else Verdict.UNDECIDED


def decide(
    estimates: Sequence[Estimate],
    *,
    margins: Margins,
    alpha: float = 0.05,
    primary: Iterable[str] = (),
    family: str = "review",
    step_down: bool = False,
    claims: int = 1,
    alarm: float | None = None,
) -> list[Finding]:
    """Turn the estimates of one family into findings.

    Args:
        estimates: All estimates that share the error rate.
        margins: The user's margins.
        alpha: Chance of any false alarm in the family, in (0, 0.5). Findings that only inform share
            a fifth of it, so that they cost those that count little power.
        primary: Names of the checks that count toward the verdict of the review.
        family: What the family is, in words.
        step_down: Share the error rate of alarms by Holm's steps in place of equal parts: those that alarm
            leave their part to the others.
        claims: How many things could wrongly be called good, such as arms of an experiment; each `ok` end
            stands at alpha over this number.
        alarm: Chance of any false alarm, where it is another than `alpha`.

    Returns:
        One finding per estimate, in the same order.

    Raises:
        InputError: When alpha is not in (0, 0.5).
    """
    require_alpha(alpha)
    size = sum(e.may_alarm for e in estimates)
    words = f"{family}: {size} effect{'' if size == 1 else 's'}, {'Holm' if step_down else 'weighted Bonferroni'}"
    held = [margins.of(e.check, e.kind, e.subject) for e in estimates]
    shares = shares_of(estimates, primary)
    spent = alpha if alarm is None else alarm
    if step_down:
        parts = _steps(estimates, held, spent)
        shares = [(part, counts) for part, (_, counts) in zip(parts, shares, strict=True)]
    return [
        _finding(e, margin, alpha / claims, spent * part, words, counts)
        for e, margin, (part, counts) in zip(estimates, held, shares, strict=True)
    ]


def _steps(estimates: Sequence[Estimate], margins: Sequence[float], alpha: float) -> list[float]:
    """Share of alpha at which each may alarm: Holm (1979), Scandinavian Journal of Statistics 6:65-70.

    The first to alarm does so at one part of m, the next at one of m - 1, and so on; all that are left stand at
    the part of the first that does not, so that every interval says what its verdict says.
    """
    levels = [_alarm_level(e, m) for e, m in zip(estimates, margins, strict=True)]
    waiting = sorted((i for i, e in enumerate(estimates) if e.may_alarm), key=lambda i: levels[i])
    parts = [1.0] * len(estimates)
    while waiting:
        part = 1 / len(waiting)
        if levels[waiting[0]] > alpha * part:
            for i in waiting:
                parts[i] = part
            break
        parts[waiting.pop(0)] = part
    return parts


def _alarm_level(e: Estimate, margin: float) -> float:
    """Smallest error rate at which the estimate alarms; 1 for none below a half."""
    if e.interval is None or e.value is None:
        return 1.0

    def alarms(level: float) -> bool:
        assert e.interval is not None
        return _ends(e, e.interval, margin, 0.25, level)[2] is Verdict.ALARM

    low, high = 1e-15, 0.499
    if not alarms(high):
        return 1.0
    if alarms(low):
        return low
    for _ in range(40):
        middle = math.sqrt(low * high)
        low, high = (low, middle) if alarms(middle) else (middle, high)
    return high


def require_alpha(alpha: float) -> None:
    """Refuse an error rate that is none.

    Raises:
        InputError: When it is not in (0, 0.5).
    """
    if not 0 < alpha < 0.5:
        raise InputError(f"The error rate alpha is {alpha}; give a number between 0 and 0.5, such as 0.05.")


class Sharing(Protocol):
    """What takes a share of an error rate: an estimate, or a course."""

    @property
    def check(self) -> str:
        """Name of the check."""

    @property
    def weight(self) -> float:
        """Its share beside the others'."""

    @property
    def primary(self) -> bool:
        """Whether it may count toward the verdict."""

    @property
    def may_alarm(self) -> bool:
        """Whether it takes any error rate."""


def shares_of(members: Sequence[Sharing], primary: Iterable[str]) -> list[tuple[float, bool]]:
    """Each member's share of the family's error rate, and whether it counts toward the verdict.

    Those that only inform share `INFORMING` of it, when there are others that count.

    Args:
        members: All that share the error rate.
        primary: Names of the checks that count.
    """
    counted = set(primary)
    counts = [m.primary and m.check in counted for m in members]
    pools = {True: 0.0, False: 0.0}
    for m, own in zip(members, counts, strict=True):
        pools[own] += m.weight if m.may_alarm else 0.0
    both = all(weight > 0 for weight in pools.values())
    share = {True: 1 - INFORMING if both else 1.0, False: INFORMING if both else 1.0}
    return [
        (share[own] * m.weight / pools[own] if pools[own] > 0 else 1.0, own)
        for m, own in zip(members, counts, strict=True)
    ]


def _finding(e: Estimate, margin: float, alpha: float, alpha_each: float, family: str, primary: bool) -> Finding:
    direction = e.kind.direction
    effect, verdict, p_value, rows_needed, reason = None, Verdict.UNDECIDED, None, None, e.reason
    if e.value is not None and e.interval is not None:
        low, high, verdict = _ends(e, e.interval, margin, alpha, alpha_each)
        effect = Effect(e.kind.name, float(e.value), low, high, e.kind.unit)
        if e.p_value is not None:
            p_value = min(1.0, max(0.0, float(e.p_value(margin))))
        if verdict is Verdict.UNDECIDED:
            if e.rows_needed is not None:
                rows_needed = e.rows_needed(margin, alpha)
            reason = reason or (
                "interval_straddles_margin" if rows_needed is not None else e.binding or "interval_straddles_margin"
            )
    sentence = e.say(effect, verdict) if effect is not None and e.say is not None else e.sentence
    if effect is not None and verdict is Verdict.UNDECIDED:
        sentence += _uncertain(e.goal, margin, e.kind.unit)
    return Finding(
        check=e.check,
        key=e.kind.key,
        subject=e.subject,
        verdict=verdict,
        sentence=sentence,
        action=_action(e, verdict, margin, rows_needed, reason),
        effect=effect,
        reason=reason,
        direction=direction,
        margin=margin,
        primary=primary,
        segment=e.segment,
        alpha=alpha,
        alpha_each=alpha_each,
        family=family,
        method=e.method,
        n=e.n,
        p_value=p_value,
        rows_needed=rows_needed,
        sample=e.sample,
        table=e.table,
        goal=e.goal,
    )


UNCERTAIN: dict[Goal, str] = {
    "inside": "That is too uncertain to hold against the margin of {}.",
    "better": "That is too uncertain to tell from no gain, and to exclude a gain of {}.",
    "none": "That is too uncertain to say that it lies within {}.",
}
"""What is added to the sentence of an estimate that does not decide."""


def _uncertain(goal: Goal, margin: float, unit: str) -> str:
    return f" {UNCERTAIN[goal].format(quantity(margin, unit))}"


def withheld(f: Finding, because: Finding, *, reason: str, mend: str) -> Finding:
    """A finding whose number is shown and means nothing, as something that it rests on is broken.

    Args:
        f: The finding; one without an effect is left as it is.
        because: What is broken.
        reason: Why, as a code.
        mend: What has to be mended first, such as "the experiment".
    """
    if f.effect is None:
        return f
    return replace(
        f,
        verdict=Verdict.UNDECIDED,
        reason=reason,
        sentence=f.sentence.removesuffix(_uncertain(f.goal, f.margin or 0.0, f.effect.unit)),
        action=f"Mend {mend} first: {because.sentence}",
        rows_needed=None,
    )


def _ends(
    e: Estimate, interval: IntervalAt, margin: float, alpha: float, alpha_each: float
) -> tuple[float, float, Verdict]:
    """Interval and verdict; each verdict is read off the interval that carries its own error rate."""
    if e.kind.direction == "both":
        wide = interval(alpha_each / 2, alpha_each / 2)
        if e.may_alarm and verdict_of(*wide, margin, "both", e.goal) is Verdict.ALARM:
            return *wide, Verdict.ALARM
        low, high = interval(alpha, alpha)
        inside = verdict_of(low, high, margin, "both") is Verdict.OK
        return low, high, Verdict.OK if inside else Verdict.UNDECIDED
    up = e.kind.direction == "up"
    low, high = interval(alpha_each, alpha) if up else interval(alpha, alpha_each)
    verdict = verdict_of(low, high, margin, e.kind.direction, e.goal)
    if verdict is Verdict.ALARM and not e.may_alarm:
        verdict = Verdict.UNDECIDED
    return low, high, verdict


def _action(e: Estimate, verdict: Verdict, margin: float, rows_needed: int | None, reason: str | None) -> str:
    if verdict is Verdict.OK:
        return "Nothing to do."
    if verdict is Verdict.ALARM:
        return e.action
    if rows_needed is not None and rows_needed <= e.n:
        near = quantity(margin, e.kind.unit)
        return f"The change lies near the margin of {near}: decide whether that much matters, or watch it."
    if rows_needed is not None:
        return f"Wait for about {rows_needed:,} {e.things}; they would decide it."
    generic = "Give it more evidence, or set a wider margin if that much change does not matter."
    # Without a value the check knows best what is lacking; with one, its action is for an alarm.
    return REMEDIES.get(reason or "", (e.action if e.value is None else "") or generic)


REMEDIES: dict[str, str] = {
    "units_wanted": "Wait for more units.",
    "reference_too_small": "More production rows would not decide it: the reference is too small. "
    "Give a larger reference, or set a wider margin.",
    "units_too_few": "More rows of the same units would not decide it: there are too few units. "
    "Wait for more units, or set a wider margin.",
}
"""What to do about findings that rows alone will not decide, by reason code."""


def _listed(words: Iterable[str]) -> str:
    words = [repr(w) for w in words]
    shown = words[:12]
    more = f" and {len(words) - 12} more" if len(words) > 12 else ""
    return (", ".join(shown) + more) or "none"
