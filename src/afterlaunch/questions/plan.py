"""How large must the experiment be, and how long will it take?"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import timedelta
from typing import Any

from afterlaunch.decide import InputError, require_alpha
from afterlaunch.finding import Review, Verdict
from afterlaunch.measures import Measure, Quantile
from afterlaunch.questions.arms import Plan, count_arms, window_of
from afterlaunch.questions.arms_log import prepare
from afterlaunch.questions.experiment import measures_of
from afterlaunch.questions.gather import Progress, Tables, preload, review
from afterlaunch.roles import Roles
from afterlaunch.roles_guess import guess_roles
from afterlaunch.stats.looks import Once
from afterlaunch.tables import open_table, require_kinds, require_roles

CHECKS = ("detectable",)
PRIMARY = ("detectable",)


def plan(
    traffic: Any,
    *,
    metrics: Sequence[Measure | str],
    roles: Roles | Mapping[str, Any] | None = None,
    share: float = 0.5,
    days: int = 14,
    power: float = 0.8,
    looks: str = "any",
    window: str | None = None,
    pre: Any = None,
    margins: Mapping[str, float] | None = None,
    alpha: float = 0.05,
    progress: Progress | None = None,
) -> Review:
    """Size an experiment from recent traffic: what it would see, how long it takes, what looking daily costs.

    Args:
        traffic: A log of recent days, without arms: a path or glob, or any dataframe or relation narwhals knows;
            the roles `unit` and `time` say who enters when.
        metrics: As for `experiment`; what each shall see is its margin.
        roles: What columns mean.
        share: Planned share of units in the new arm.
        days: How long it shall run.
        power: Chance to see the change that matters.
        looks: "any" for looking every day, "once" for one look at the end.
        window: How long each unit is observed, such as "7d".
        pre: Table of the time before, whose variance is taken out.
        margins: Changes that shall be seen, over the defaults in `docs/experiment.md`.
        alpha: One-sided chance of wrongly shipping.
        progress: Called with a few words on what is being done.

    Returns:
        The review: "ok" where so many days show the change that matters, "alarm" where they do not.

    Raises:
        InputError: For unusable input, in one sentence.

    Example:
        >>> import numpy as np, polars as pl
        >>> log = pl.DataFrame({"clicked": np.random.default_rng(0).binomial(1, 0.1, 50_000)})
        >>> found = plan(log, metrics=["mean:clicked,relative=0.05"], looks="once")
        >>> found.findings[0].verdict.value
        'alarm'
    """
    say = progress or (lambda _: None)
    preload()
    require_alpha(alpha)
    for name, value in (("share", share), ("power", power)):
        if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 < value < 1:
            raise InputError(f"The {name} is {value!r}; give a number between 0 and 1.")
    if isinstance(days, bool) or not isinstance(days, int) or days < 1:
        raise InputError(f"The experiment shall run {days!r} days; give a whole number from 1 on.")
    if looks not in ("any", "once"):
        raise InputError(f"The looks are {looks!r}; give 'any' or 'once'.")
    measures = measures_of(metrics, "superiority")
    if not measures:
        raise InputError("No metric was given; name what shall be seen, such as 'mean:clicked'.")
    say("opening the traffic")
    table = open_table(traffic, name="traffic")
    known = roles if isinstance(roles, Roles) else Roles.from_mapping(roles or {})
    notes: list[str] = []
    if known.time is None:
        guess = next((g for g in guess_roles(table) if g.role == "time"), None)
        if guess is not None:
            known = known.with_(time=guess.column)
            notes.append(f"{guess.column!r} was taken as the role 'time': {guess.reason}")
    require_roles(known, [table])
    require_kinds(table, known)
    observed: timedelta | None = window_of(window) if window is not None else None
    if observed is not None and (known.unit is None or known.time is None):
        raise InputError(
            "An observation window counts from each unit's first row on; name the columns of the roles unit and time."
        )
    say("adding up each unit")
    ready = prepare(table, known.with_(segment=None), measures, None, notes)
    counted = count_arms(ready, measures, Plan(Once(), observed), pre)
    if known.time is None:
        notes.append("No column has the role time, so nobody knows how many units come in a day.")
    elif observed is None and known.unit is not None:
        notes.append(
            f"Without a window units are observed for all {len(counted.days)} days of the traffic; an experiment of "
            "another length has another spread."
        )
    if any(isinstance(m, Quantile) for m in measures):
        notes.append("Quantiles are planned with their density in the traffic, which a new arm may change.")
    from afterlaunch.checks import Evidence
    from afterlaunch.checks.detectable import Design

    length = observed.total_seconds() / 86_400 if observed is not None else 0.0
    design = Design(float(share), days, float(power), alpha, looks == "any", length)
    tables = Tables(table, table, known, notes=notes)
    tables.rows = {"traffic": table.rows(), "units": int(counted.assigned.sum()), "days": len(counted.days)}
    evidence = Evidence(roles=known, arms=counted, options={"design": design})
    found = review(
        "plan",
        evidence,
        CHECKS,
        primary=PRIMARY,
        margins=margins or {},
        alpha=alpha,
        tables=tables,
        progress=progress,
    )
    return replace(found, decision=_decision(found, days))


def _decision(found: Review, days: int) -> str:
    first = next((f for f in found if f.primary), None)
    if first is None:
        return ""
    lead = {
        Verdict.OK: f"{days} days are enough",
        Verdict.ALARM: f"{days} days are not enough",
        Verdict.UNDECIDED: "The traffic does not say",
    }[found.verdict]
    return f"{lead}: {first.sentence}"
