"""What a plan can and cannot see at the traffic there is, stage by stage, before anything is released."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from afterlaunch.checks.effect import RELATIVE
from afterlaunch.decide import InputError
from afterlaunch.finding import Finding, Review, Verdict
from afterlaunch.measures import Measure
from afterlaunch.profile.arms import Arms
from afterlaunch.questions.arms import Plan as Looking
from afterlaunch.questions.arms import count_arms, window_of
from afterlaunch.questions.arms_log import prepare
from afterlaunch.questions.gather import Tables, review
from afterlaunch.release.gates import LEAST_SEGMENT, TUNED
from afterlaunch.release.plan import Gate, Plan, duration
from afterlaunch.roles import Roles
from afterlaunch.stats.looks import Once
from afterlaunch.tables import open_table, require_kinds, require_roles

POWER = 0.8


def plan_power(plan: Plan, traffic: Any, *, roles: Roles | Mapping[str, Any]) -> Review:
    """The smallest harm that each gate would clear in each stage, and how many days that takes.

    Args:
        plan: The plan.
        traffic: A log of recent days under one version, with the roles unit and time.
        roles: What columns mean.

    Returns:
        A review with a finding for each gate and stage: `ok` where the longest time of the stage is enough to show
        with 80 % power that a challenger as good as the champion is no worse than the margin.

    Raises:
        InputError: For unusable input, or a plan without gates on metrics.
    """
    from afterlaunch.checks import Evidence
    from afterlaunch.checks.detectable import Design

    known = roles if isinstance(roles, Roles) else Roles.from_mapping(roles)
    table = open_table(traffic, name="traffic")
    require_roles(known, [table])
    require_kinds(table, known)
    if known.time is None:
        raise InputError("Nothing says how many units come in a day; name the column of the role time.")
    gates = [g for g in plan.gates if g.metric]
    measures = [m for g in gates if (m := g.measure()) is not None]
    if not measures:
        raise InputError("The plan has no gate on a metric, so traffic says nothing about it.")
    notes: list[str] = []
    ready = prepare(table, known, measures, None, notes)
    window = window_of(plan.window) if known.unit is not None else None
    counted = count_arms(ready, measures, Looking(Once(), window))
    findings: list[Finding] = []
    days, whole = 0.0, None
    tables = Tables(table, table, known, notes=notes)
    tables.rows = {"traffic": table.rows(), "units": int(counted.assigned.sum())}
    for stage in plan.stages:
        if not 0 < stage.share < 1:
            continue
        longest = max(1, round(duration(stage.longest).total_seconds() / 86_400))
        asked = [(g, m) for g, m in zip(gates, measures, strict=True) if stage.share >= g.required_from]
        if not asked:
            continue
        design = Design(
            share=stage.share,
            days=longest,
            power=POWER,
            alpha=plan.alpha,
            any_time=True,
            window=0.0 if window is None else window.total_seconds() / 86_400,
            tuned_for=TUNED,
            tuned_at=plan.alpha_stage,
        )
        for arms in _parts(counted, asked, stage.name):
            found = review(
                "release plan",
                Evidence(roles=known, arms=arms, options={"design": design}),
                ("detectable",),
                primary=("detectable",),
                margins={},
                alpha=plan.alpha,
                tables=tables,
            )
            findings += list(found.findings)
            whole = replace(found, findings=tuple(findings))
        days += longest
    if whole is None:
        raise InputError("No stage requires a gate on a metric; set required_from of the gates lower.")
    cannot = [f for f in whole if f.verdict is not Verdict.OK]
    said = (
        f"The plan can be completed in at most {days:g} days of its judged stages: every gate can be decided."
        if not cannot
        else f"The plan would wait for a person: {cannot[0].sentence}"
    )
    return replace(whole, decision=said)


def _parts(counted: Arms, asked: Sequence[tuple[Gate, Measure]], stage: str) -> Iterator[Arms]:
    """The traffic as a whole, then every segment that a gate requires, with the margin that holds there."""
    total = max(1.0, float(counted.assigned.sum()))
    for segment in counted.cells:
        chosen = [m for g, m in asked if not segment or g.segments]
        known = [m for m in chosen if m.terms]
        size = max((float(counted.cells[segment][m.label].units.sum()) for m in known), default=0.0)
        if not chosen or (segment and size < LEAST_SEGMENT * total):
            continue
        where = f"{stage} in {segment}" if segment else stage
        parts = {m.label: replace(_of_segment(m) if segment else m, name=f"{m.label} at {where}") for m in chosen}
        share = size / total if segment else 1.0
        yield replace(
            counted,
            measures=tuple(parts.values()),
            cells={"": {parts[m.label].label: counted.cells[segment][m.label] for m in known}},
            quantiles={"": {parts[m.label].label: counted.quantiles[segment][m.label] for m in chosen if not m.terms}},
            assigned=np.round(counted.assigned * share).astype(np.int64),
        )


def _of_segment(m: Measure) -> Measure:
    if m.margin is not None:
        return replace(m, margin=m.margin * m.segment_times)
    return replace(m, relative=(RELATIVE.margin if m.relative is None else m.relative) * m.segment_times)
