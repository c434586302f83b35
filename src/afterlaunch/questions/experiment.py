"""Does the new model beat the old rules, on every metric that matters?"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import date, datetime, time, timedelta
from itertools import pairwise
from typing import Any

from afterlaunch.decide import InputError, Margins, decide, require_alpha, withheld
from afterlaunch.finding import Finding, Json, Review, Verdict
from afterlaunch.measures import Goal, Measure, parse_measure
from afterlaunch.profile.arms import Arms
from afterlaunch.questions.arms import Plan, count_arms, window_of
from afterlaunch.questions.arms_log import Log, prepare
from afterlaunch.questions.gather import Progress, preload
from afterlaunch.roles import Roles
from afterlaunch.roles_guess import guess_roles
from afterlaunch.stats.looks import AnyTime, Once, Planned
from afterlaunch.tables import open_table, require_kinds, require_roles
from afterlaunch.tables.calendar import on_clock
from afterlaunch.words import number, plain, quantity

CHECKS = ("trust", "effect")
PRIMARY = ("effect",)

TUNED_FOR = 20_000
"""Units at which intervals for many looks are narrowest, where nothing was planned."""

Shares = Mapping[str, float] | Sequence[tuple[Any, Mapping[str, float]]]


def experiment(
    log: Any,
    *,
    control: str,
    metrics: Sequence[Measure | str],
    guardrails: Sequence[Measure | str] = (),
    roles: Roles | Mapping[str, Any] | None = None,
    shares: Shares | None = None,
    window: str | None = None,
    looks: str | Sequence[Any] | None = None,
    planned: int | None = None,
    until: Any = None,
    pre: Any = None,
    margins: Mapping[str, float] | None = None,
    alpha: float = 0.05,
    progress: Progress | None = None,
) -> Review:
    """Compare the arms of an experiment, and say whether to ship.

    Args:
        log: The log: a path or glob, or any dataframe or relation narwhals knows, with the role `version` for
            the arm of each row, `unit` for what was randomised (without it every row stands for itself), `time`,
            and `segment` for results by group.
        control: The arm that the others are compared with: the old rules.
        metrics: What shall be better: `Mean`, `Share`, `Ratio`, `Quantile` or `Custom`, or text such as
            "mean:clicked".
        guardrails: What must not be worse by the margin, given in the same way.
        roles: What columns mean.
        shares: Planned share of units of each arm, such as ``{"rules": 0.5, "model": 0.5}``; for a ramp a list of
            ``(start, shares)``.
        window: How long each unit is observed from its first row on, such as "7d". A unit counts once its window
            has closed, and then for good.
        looks: "any" for intervals that hold however often one looks, "once" for a single planned look, or the
            dates of the planned looks. When None: "any" with a window or without units, else "once".
        planned: Units (all arms) for which the intervals of "any" shall be narrowest.
        until: With "once": the planned end; before it nothing is decided.
        pre: Table of the time before the experiment with the unit and the columns of metrics, whose variance
            is then taken out (CUPED).
        margins: How much change matters, over the defaults in `docs/experiment.md`.
        alpha: Chance of wrongly shipping, and of any false alarm.
        progress: Called with a few words on what is being done.

    Returns:
        The review: "ok" ships, "alarm" keeps the control; see `docs/experiment.md`.

    Raises:
        InputError: For unusable input, in one sentence.

    Example:
        >>> import numpy as np, polars as pl
        >>> rng = np.random.default_rng(0)
        >>> arm = np.repeat(["rules", "model"], 20_000)
        >>> log = pl.DataFrame({"arm": arm, "clicked": rng.binomial(1, np.where(arm == "model", 0.13, 0.10))})
        >>> review = experiment(log, control="rules", metrics=["mean:clicked"], roles={"version": "arm"},
        ...                     shares={"rules": 0.5, "model": 0.5})
        >>> review.verdict.value, review.headline[:11]
        ('ok', 'Ship model:')
    """
    say = progress or (lambda _: None)
    preload()
    require_alpha(alpha)
    measures = [*measures_of(metrics, "superiority"), *measures_of(guardrails, "non-inferiority")]
    labels = [m.label for m in measures]
    twice = next((x for x in labels if labels.count(x) > 1), None)
    if not measures:
        raise InputError("No metric was given; name what shall be better, such as 'mean:clicked'.")
    if twice is not None:
        raise InputError(f"Two metrics are called {twice!r}; give one of them another name.")
    say("opening the log")
    table = open_table(log, name="log")
    known = roles if isinstance(roles, Roles) else Roles.from_mapping(roles or {})
    notes: list[str] = []
    if known.version is None:
        guess = next((g for g in guess_roles(table) if g.role == "version"), None)
        if guess is not None:
            known = known.with_(version=guess.column)
            notes.append(f"{guess.column!r} was taken as the role 'version': {guess.reason}")
    require_roles(known, [table])
    require_kinds(table, known)
    say("numbering the arms")
    ready = prepare(table, known, measures, control, notes)
    plan = _plan(ready, shares, window, looks, planned, until, alpha)
    say("adding up each unit")
    counted = count_arms(ready, measures, plan, pre)
    return judge(
        counted,
        margins=margins or {},
        alpha=alpha,
        settings={"roles": known.to_dict()},
        rows={"log": table.rows()},
        notes=[*notes, *_said(counted, plan, ready, pre)],
        progress=progress,
    )


def judge(
    counted: Arms,
    *,
    margins: Mapping[str, float],
    alpha: float,
    settings: Json,
    rows: Json,
    notes: Sequence[str],
    alarm: float | None = None,
    progress: Progress | None = None,
) -> Review:
    """Decide from what was counted.

    Args:
        counted: What the experiment has counted.
        margins: The user's margins.
        alpha: Chance of wrongly shipping, and of any false alarm.
        settings: Roles, for the record.
        rows: Rows of tables.
        notes: Sentences for the review.
        alarm: Chance of any false alarm, where it is another than alpha.
        progress: Called with a few words on what is being done.
    """
    from afterlaunch import __version__
    from afterlaunch.checks import CHECKS as KNOWN
    from afterlaunch.checks import Evidence
    from afterlaunch.checks.trust import SRM, SRM_ALPHA, blocks

    say = progress or (lambda _: None)
    say("deciding")
    held = Margins(margins)
    evidence = Evidence(roles=Roles(), arms=counted)
    trust, effects = (KNOWN[name].run(evidence) if name in CHECKS else [] for name in ("trust", "effect"))
    subjects = {"trust": [e.subject for e in trust], "effect": [e.subject for e in effects]}
    held.require_known({name: KNOWN[name].kinds for name in CHECKS}, subjects)
    _require_used(margins, {(e.kind.key, e.subject) for e in effects})
    split = [e for e in trust if e.kind.key == SRM.key]
    rest = [e for e in trust if e.kind.key != SRM.key]
    checked = [
        *decide(split, margins=held, alpha=SRM_ALPHA, family="split of the units"),
        *decide(rest, margins=held, alpha=TRUST_ALPHA, family="trust in the experiment", step_down=True),
    ]
    claims = len(counted.names) - 1
    found = decide(
        effects,
        margins=held,
        alpha=alpha,
        primary=PRIMARY,
        family="experiment review",
        step_down=True,
        claims=claims,
        alarm=alarm,
    )
    broken = [f for f in checked if blocks(f.key, f.verdict, f.reason)]
    if broken:
        found = [withheld(f, broken[0], reason="not_trusted", mend="the experiment") for f in found]
    by_arm = {name: _of_arm(found, counted, i) for i, name in enumerate(counted.names[1:], start=1)}
    decision, arm = _decision(by_arm, counted, broken)
    harmed = _harmed(found, counted, counted.names.index(arm)) if not broken else None
    if harmed is not None and all(f.verdict is Verdict.OK for f in by_arm[arm]):
        decision = f"Do not ship {plain(arm)} as it is: {harmed.sentence} {harmed.action}"
    found = [replace(f, primary=True) if harmed is not None and f.id == harmed.id else f for f in found]
    if claims > 1:
        # The verdict is that of the arm which the decision is about.
        chosen = {f.id for f in by_arm[arm]} | ({harmed.id} if harmed is not None else set())
        found = [f if f.id in chosen else replace(f, primary=False) for f in found]
    units = counted.assigned.sum(axis=1)
    return Review(
        "experiment",
        (*checked, *found),
        {**rows, **{f"units of {plain(n)}": int(u) for n, u in zip(counted.names, units, strict=True)}},
        {**settings, "margins": dict(margins), "alpha": alpha, "checks": list(CHECKS), "control": counted.names[0]},
        tuple(notes),
        __version__,
        decision=decision,
    )


def _require_used(margins: Mapping[str, float], measured: set[tuple[str, str]]) -> None:
    """Refuse a margin on a scale that no metric is measured on: it would be taken and hold nothing."""
    for key in margins:
        head, _, subject = key.partition("@")
        check, slash, effect = head.partition("/")
        if check != "effect" or not slash:
            continue
        if not any(k == effect and (not subject or s == subject) for k, s in measured):
            other = "a margin=" if effect == "difference" else "a relative="
            of = f"{subject!r} is not" if subject else "no metric is"
            raise InputError(
                f"The margin {key!r} holds nothing, as {of} measured on that scale; give the metric {other} of its own."
            )


TRUST_ALPHA = 0.01
"""Chance that anything of a sound experiment, other than its split, is called broken."""


def measures_of(given: Sequence[Measure | str], goal: Goal) -> list[Measure]:
    """Metrics from metrics and text.

    Args:
        given: Each a metric, or its words on the command line.
        goal: The goal of those that are to be guardrails or say none.

    Raises:
        InputError: For anything else.
    """
    if isinstance(given, (str, Measure)):
        given = [given]
    if not isinstance(given, Sequence):
        raise InputError(f"The metrics are {given!r}; give a list of them, such as ['mean:clicked'].")
    out = []
    for m in given:
        if isinstance(m, str):
            m = parse_measure(m, goal=goal)
        elif not isinstance(m, Measure):
            raise InputError(f"The metric {m!r} is no metric; give one such as Mean('clicked'), or 'mean:clicked'.")
        elif goal != "superiority" and m.goal == "superiority":
            m = replace(m, goal=goal)
        out.append(m)
    return out


# ------------------------------------------------------------------ how it is looked at


def _plan(
    log: Log, shares: Shares | None, window: str | None, looks: Any, planned: int | None, until: Any, alpha: float
) -> Plan:
    roles = log.roles
    observed = window_of(window) if window is not None else None
    if observed is not None and (roles.unit is None or roles.time is None):
        raise InputError(
            "An observation window counts from each unit's first row on; name the columns of the roles unit and time."
        )
    if planned is not None and (isinstance(planned, bool) or not isinstance(planned, int) or planned < 2):
        raise InputError(f"The experiment is planned for {planned!r} units; give a whole number.")
    if looks is None:
        looks = "any" if observed is not None or roles.unit is None else "once"
    end = _date_of(until, "until") if until is not None else None
    if end is not None and looks != "once":
        raise InputError("The planned end (until) is that of an experiment with one look; give looks='once' with it.")
    if end is not None and roles.time is None:
        raise InputError("The planned end (until) is a date, but no column has the role time; name it.")
    stages = _stages(shares)
    if any(start is not None for start, _ in stages) and roles.time is None:
        raise InputError("The stages of a ramp have dates, but no column has the role time; name it.")
    if looks == "any":
        if roles.unit is not None and observed is None:
            raise InputError(
                "Looking at any time needs units whose sums are final: give each an observation window, such as "
                "window='7d', or plan the dates of the looks."
            )
        return Plan(AnyTime(planned or TUNED_FOR, alpha), observed, None, stages, None)
    if looks == "once":
        ended = None if end is None or log.end is None else bool(log.end >= _like(end, log.end) - timedelta(days=1))
        return Plan(Once(), observed, None if end is None else _like(end, log.end), stages, ended)
    return _dated(log, looks, observed, stages)


def _dated(log: Log, looks: Any, observed: timedelta | None, stages: Any) -> Plan:
    if isinstance(looks, str) or not isinstance(looks, Sequence):
        raise InputError(f"The looks are {looks!r}; give 'any', 'once', or a list of dates.")
    if log.start is None or log.end is None:
        raise InputError("The looks have dates, but no column has the role time; name it.")
    dates = [_like(_date_of(d, "looks"), log.end) for d in looks]
    if not dates or any(a >= b for a, b in pairwise(dates)) or dates[0] <= log.start:
        raise InputError(
            f"The looks are {[str(d) for d in looks]}; give rising dates after the start on {log.start:%Y-%m-%d}."
        )
    whole = dates[-1] - log.start
    fractions = tuple((d - log.start) / whole for d in dates)
    # A look at midnight has come when the log holds rows of the day before.
    come = [i for i, d in enumerate(dates) if log.end >= d - timedelta(days=1)]
    look = come[-1] if come else 0
    return Plan(Planned(fractions, look), observed, dates[look], stages, bool(come))


def _stages(shares: Shares | None) -> tuple[tuple[datetime | None, Mapping[str, float]], ...]:
    if shares is None:
        return ()
    if isinstance(shares, Mapping):
        return ((None, shares),)
    if isinstance(shares, str) or not isinstance(shares, Sequence):
        raise InputError(
            f"The planned shares are {shares!r}; give arm to share, such as {{'rules': 0.5, 'model': 0.5}}."
        )
    out: list[tuple[datetime | None, Mapping[str, float]]] = []
    for part in shares:
        try:
            start, split = part
        except (TypeError, ValueError):
            raise InputError(f"A stage of the ramp is {part!r}; give (start, shares).") from None
        if not isinstance(split, Mapping):
            raise InputError(f"The shares of a stage are {split!r}; give arm to share.")
        out.append((None if start is None else _date_of(start, "shares"), split))
    starts = [start for start, _ in out]
    known = [s for s in starts if s is not None]
    if None in starts[1:] or any(a >= b for a, b in pairwise(known)):
        raise InputError("The stages of the ramp are not in the order of time; give each a later start.")
    return tuple(out)


def _date_of(value: Any, what: str) -> datetime:
    if isinstance(value, datetime):
        return value
    if isinstance(value, date):
        return datetime.combine(value, time())
    try:
        return datetime.fromisoformat(str(value))
    except ValueError:
        raise InputError(f"{value!r} in {what} is no date; give one such as 2026-11-28.") from None


def _like(moment: datetime, other: datetime | None) -> datetime:
    """The moment on the clock of the log's times."""
    return moment if other is None else on_clock(moment, other.tzinfo is not None)


def _said(counted: Arms, plan: Plan, log: Log, pre: Any) -> list[str]:
    out = []
    if isinstance(plan.looks, AnyTime):
        out.append(
            "You may look as often as you like: intervals hold at every look (asymptotic confidence sequences, "
            f"narrowest about {plan.looks.tuned_for:,.0f} units)."
        )
    elif isinstance(plan.looks, Planned):
        out.append(
            f"This is look {plan.looks.look + 1} of {len(plan.looks.fractions)} planned ones; the error rate is spent "
            "over them, and rows after its date are not used."
        )
    else:
        out.append(
            "This is one planned look. Whoever looks more often and stops at the first good day ships nothing for "
            "something far more often than promised: give window= to look at any time."
        )
    if plan.window is not None:
        out.append(
            f"Each unit counts with its first {_length(plan.window)}, once that has passed; "
            "what happens later is not seen."
        )
    if not counted.unit:
        out.append("Rows were taken as independent; name the unit that was randomised if a user has several.")
    out += [
        f"The largest sums of {plain(k)} were cut at {v:,.6g} (winsorised), in all arms."
        for k, v in counted.cut.items()
    ]
    out.append(
        "Arms share training data and popularity counts, so the old rules may profit from what the model explores, "
        "and the model from what the rules show: no interval holds that interference."
    )
    return out


def _length(window: timedelta) -> str:
    hours = window.total_seconds() / 3600
    many, unit = (hours / 24, "day") if hours % 24 == 0 else (hours, "hour")
    return f"{many:g} {unit}" + ("" if many == 1 else "s")


# ------------------------------------------------------------------ the decision


def _harmed(found: Sequence[Finding], counted: Arms, arm: int) -> Finding | None:
    """The segment that is worst off in an arm, where one is surely harmed."""
    from afterlaunch.checks.trust import subject_of

    subjects = {subject_of(counted, m.label, arm) for m in counted.measures}
    alarms = [f for f in found if f.segment is not None and f.subject in subjects and f.verdict is Verdict.ALARM]
    return max(alarms, key=lambda f: f.excess, default=None)


def _of_arm(found: Sequence[Finding], counted: Arms, arm: int) -> list[Finding]:
    from afterlaunch.checks.trust import subject_of

    subjects = {subject_of(counted, m.label, arm) for m in counted.measures}
    return [f for f in found if f.subject in subjects and f.segment is None]


def _decision(by_arm: Mapping[str, Sequence[Finding]], counted: Arms, broken: Sequence[Finding]) -> tuple[str, str]:
    """What to do, and the arm it is about."""
    control = plain(counted.names[0])
    rank = {
        name: (
            any(f.verdict is Verdict.ALARM for f in findings),
            any(f.verdict is not Verdict.OK for f in findings),
            -_gain(findings[0]) if findings else 0.0,
        )
        for name, findings in by_arm.items()
    }
    arm = min(rank, key=lambda name: rank[name])
    findings, shown = by_arm[arm], plain(arm)
    if broken:
        return f"Do not decide on this experiment: {broken[0].sentence} {broken[0].action}", arm
    if not findings:
        return "", arm
    alarms = [f for f in findings if f.verdict is Verdict.ALARM]
    waiting = [f for f in findings if f.verdict is Verdict.UNDECIDED]
    if not alarms and not waiting:
        lead = max(findings, key=lambda f: (f.goal == "better", abs(f.excess)))
        rest = f" The other {len(findings) - 1} metrics hold." if len(findings) > 2 else ""
        if len(findings) == 2:
            rest = " The other metric holds."
        return f"Ship {shown}: {lead.sentence}{rest}", arm
    if alarms:
        first = alarms[0]
        unit = first.effect.unit if first.effect is not None else ""
        more = f" A gain of {quantity(first.margin or 0.0, unit)} is excluded." if first.goal == "better" else ""
        return f"Keep {control}: {first.sentence}{more}", arm
    return f"Run on: {_longer(waiting, counted)}", arm


def _gain(f: Finding) -> float:
    if f.effect is None:
        return -math.inf
    return f.effect.value if f.direction == "down" else -f.effect.value


def _longer(waiting: Sequence[Finding], counted: Arms) -> str:
    """How much longer the experiment has to run, in days where units come by the day."""
    first = waiting[0]
    unable = [f for f in waiting if f.rows_needed is None]
    if unable:
        return f"{unable[0].sentence} {unable[0].action}"
    longest = max(waiting, key=lambda f: (f.rows_needed or 0) / max(f.n, 1))
    need, margin = longest.rows_needed or 0, longest.margin or 0.0
    unit = longest.effect.unit if longest.effect is not None else ""
    points = unit == "share" and longest.key == "difference"
    see = f"{number(100 * margin)} points" if points else quantity(margin, unit)
    if need <= longest.n:
        return (
            f"{first.sentence} The truth lies near the border; more days may not decide it, so decide whether "
            f"{see} matters."
        )
    factor = need / max(longest.n, 1)
    if len(counted.days) >= 2:
        per_day = counted.per_day
        more = max(1, math.ceil((factor - 1) * float(counted.assigned.sum()) / per_day))
        if more > LONGEST:
            years = "more than a year" if more < 730 else f"{min(more // 365, 1000):,} years or more"
            return (
                f"{first.sentence} A change of {see} in {plain(longest.subject)} would take {years} to see: "
                "take a metric with less noise, a covariate from before, or a wider margin."
            )
        longer = f"{more:,} more day{'' if more == 1 else 's'}"
    else:
        longer = f"about {need - longest.n:,} more units"
    return f"{longer} to see {see} in {plain(longest.subject)}. {longest.sentence}"


LONGEST = 180
"""Days that an experiment may be asked to run on."""
