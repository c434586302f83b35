"""What the gates of a release say: from a log of both versions to a reading of each."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from datetime import datetime, timedelta
from typing import Any

import narwhals as nw
import numpy as np

from afterlaunch.decide import InputError, verdict_of
from afterlaunch.finding import Finding, Review, Verdict
from afterlaunch.measures import Mean, Ratio
from afterlaunch.profile.buckets import BUCKETS, with_bucket
from afterlaunch.profile.compared import Run
from afterlaunch.questions.arms import Plan as Looking
from afterlaunch.questions.arms import count_arms, window_of
from afterlaunch.questions.arms_log import prepare
from afterlaunch.questions.compare import compare
from afterlaunch.questions.drift import drift
from afterlaunch.questions.experiment import judge
from afterlaunch.release.controller import Evidence, Reading, State
from afterlaunch.release.plan import Gate, Plan, duration
from afterlaunch.roles import Roles
from afterlaunch.stats.concentration import series
from afterlaunch.stats.looks import AnyTime
from afterlaunch.tables import Table, fetch, free_name, open_table, require_kinds, require_roles
from afterlaunch.tables.calendar import on_clock
from afterlaunch.tables.panel import is_run

BLOCK = "10m"
"""Rows of one instance within so much time are taken as alike in latency and errors."""

BY_LOG = ("quality", "latency", "errors", "assignment")
"""Dimensions that the log of both versions tells of."""

COUNTED = "rows_of_release"

TUNED = 20_000
"""Units for which intervals are narrowest."""


@dataclass(frozen=True)
class Judged:
    """What was found in one look at a stage.

    Attributes:
        evidence: For the controller.
        reviews: Reviews behind it, by what they are about.
    """

    evidence: Evidence
    reviews: Mapping[str, Review]


def read_gates(
    plan: Plan,
    state: State,
    log: Any,
    *,
    now: datetime,
    roles: Roles | Mapping[str, Any],
    instance: str | None = None,
    panel: Any = None,
    replicates: str | None = None,
) -> Judged:
    """Look at the rows of a stage, and say of every gate whether it holds.

    Only rows since the stage began count, so that a change of shares cannot mix weeks of unlike users (Simpson's
    paradox); a unit counts once its window has closed.

    Args:
        plan: The plan.
        state: Where the release stands.
        log: The log of both versions, with the roles version, time and unit.
        now: The time; later rows are left out.
        roles: What columns mean.
        instance: Column with the machine that served the row; latency and errors are taken as alike within one
            machine and ten minutes.
        panel: What both versions put out for the same rows, for gates on stability.
        replicates: Column of the panel that tells repetitions of a training apart.

    Returns:
        The evidence, with the reviews behind it.

    Raises:
        InputError: For unusable input, in one sentence.
    """
    known = roles if isinstance(roles, Roles) else Roles.from_mapping(roles)
    if known.version is None or known.time is None:
        raise InputError("A release needs the roles version and time of its log; name their columns.")
    table = open_table(log, name="log")
    whole = known
    if panel is not None:
        # Roles of the panel alone, such as the id of its rows, are not asked of the log.
        alone = {r: None for r, c in known.pairs() if c not in table.columns and r in ("id", "score", "prediction")}
        known = known.with_(**alone)
    require_roles(known, [table])
    require_kinds(table, known)
    table = _of_stage(table, known, state.entered + duration(plan.settle), now)
    share = plan.stages[state.stage].share
    together = {"assignment": "quality", "latency": "serving", "errors": "serving"}
    kinds = {together.get(g.dimension, str(g.dimension)) for g in plan.gates if g.against == "champion"}
    kinds |= {"holdout" for g in plan.gates if g.against == "frozen"}
    alarm = plan.alpha_stage / max(1, len(kinds))
    readings: list[Reading] = []
    reviews: dict[str, Review] = {}
    units = 0
    versions = _versions(table, str(known.version))
    both = {state.champion, state.challenger} <= versions
    if 0 < share < 1 and both:
        quality = [g for g in plan.gates if g.dimension in ("quality", "assignment") and g.against == "champion"]
        # The holdout is taken first; while it keeps the champion's version, its rows are among the champion's.
        ramped = share * (1 - plan.holdout) if plan.frozen == state.champion else share
        shares = {state.challenger: ramped, state.champion: 1 - ramped}
        found, units = _experiment(table, known, state, plan, alarm, [g for g in quality if g.metric], shares)
        reviews["quality"] = found
        readings += [_reading(g, found) for g in quality]
        kept = [g for g in plan.gates if g.dimension == "quality" and g.against == "frozen"]
        if kept and plan.frozen in versions:
            holdout = replace(state, champion=plan.frozen)
            found, _ = _experiment(
                table, known, holdout, plan, alarm, [g for g in kept if g.metric], None, per_row=False
            )
            reviews["holdout"] = found
            readings += [_reading(g, found) for g in kept]
        served = [g for g in plan.gates if g.dimension in ("latency", "errors")]
        if served:
            blocks, by_block = _blocked(table, known, instance)
            found, _ = _experiment(blocks, by_block, state, plan, alarm, served, None, window=None)
            reviews["serving"] = found
            readings += [_reading(g, found) for g in served]
    elif 0 < share < 1:
        missing = sorted({state.champion, state.challenger} - versions)
        readings += [
            Reading(g.name, Verdict.UNDECIDED, f"the log has no row of {', '.join(missing)} in this stage")
            for g in plan.gates
            if g.dimension in BY_LOG
        ]
    for gate in plan.gates:
        if gate.dimension == "stability" and panel is not None:
            found = compare(
                panel,
                baseline=state.champion,
                candidate=state.challenger,
                replicates=replicates,
                roles=_of_panel(whole, panel),
                alpha=alarm,
            )
            reviews[gate.name] = found
            readings.append(_whole(gate, found))
        elif gate.dimension == "concentration" and both and 0 < share < 1:
            readings.append(_concentration(gate, table, known, state, plan, alarm))
        elif gate.dimension == "inputs" and both and share < 1:
            found = _inputs(table, known, state, alarm)
            reviews[gate.name] = found
            readings.append(_whole(gate, found))
    return Judged(Evidence(state.stage, now, units, tuple(readings)), reviews)


def _of_panel(roles: Roles, panel: Any) -> Roles:
    """The roles whose columns the panel has."""
    columns = open_table(panel, name="panel").columns
    return roles.with_(**{r: None for r, c in roles.pairs() if c not in columns and "." not in r})


def _of_stage(table: Table, roles: Roles, begin: datetime, now: datetime) -> Table:
    assert roles.time is not None
    zoned = getattr(table.schema()[roles.time], "time_zone", None) is not None
    entered, until = (on_clock(m, zoned) for m in (begin, now))
    when = nw.col(roles.time)
    return table.with_frame(table.frame.filter((when >= nw.lit(entered)) & (when < nw.lit(until))))


def _versions(table: Table, column: str) -> set[str]:
    from afterlaunch.tables import as_text, fetch

    return {as_text(v) for v in fetch(table.frame.select(column).unique(), table)[column] if v is not None}


def _experiment(
    table: Table,
    roles: Roles,
    state: State,
    plan: Plan,
    alarm: float,
    gates: Sequence[Gate],
    shares: Mapping[str, float] | None,
    *,
    window: str | None = "",
    per_row: bool = True,
) -> tuple[Review, int]:
    """Both versions compared by the metrics of some gates."""
    assert roles.version is not None
    measures = [m for g in gates if (m := g.measure()) is not None]
    if shares is None and per_row:
        # Blocks are no users: a mean is one over rows.
        measures = [_per_row(m) if isinstance(m, Mean) else m for m in measures]
    if not measures:
        # Assignment needs no metric: rows are counted, and what they come to is looked at by nobody.
        table = table.with_frame(table.frame.with_columns(nw.lit(1).alias(COUNTED)))
        table = replace(table, columns=(*table.columns, COUNTED), kinds={**table.kinds, COUNTED: "numeric"})
        measures = [Mean(COUNTED)]
    ours = is_run(table, Run(state.champion), roles.version, None)
    ours = ours | is_run(table, Run(state.challenger), roles.version, None)
    table = table.with_frame(table.frame.filter(ours))
    if not any(g.segments for g in gates):
        # Segments that nobody asks about take no error rate.
        roles = roles.with_(segment=None)
    notes: list[str] = []
    ready = prepare(table, roles, measures, state.champion, notes)
    length: timedelta | None = window_of(plan.window) if window == "" and roles.unit is not None else None
    looking = Looking(AnyTime(TUNED, alarm), length, None, ((None, shares),) if shares is not None else (), None)
    counted = count_arms(ready, measures, looking)
    review = judge(
        counted,
        margins={},
        alpha=plan.alpha,
        alarm=alarm,
        settings={"roles": roles.to_dict()},
        rows={"log": table.rows()},
        notes=notes,
    )
    return review, int(counted.assigned[1].sum())


def _per_row(m: Mean) -> Ratio:
    shared = {f.name: getattr(m, f.name) for f in fields(m) if f.name not in ("column", "name")}
    return Ratio(m.column, name=m.label, **shared)


def _blocked(table: Table, roles: Roles, instance: str | None) -> tuple[Table, Roles]:
    """Rows grouped by machine, time and version: what slows a machine slows both versions, so it is no news."""
    assert roles.time is not None
    assert roles.version is not None
    parts = [nw.col(roles.time).dt.truncate(BLOCK).cast(nw.String), nw.col(roles.version).cast(nw.String)]
    if roles.segment is not None:
        parts.append(nw.col(roles.segment).cast(nw.String))
    if instance is not None:
        if instance not in table.columns:
            raise InputError(f"The log has no column {instance!r} for the instance; check the name.")
        parts.append(nw.col(instance).cast(nw.String))
    frame = table.frame.with_columns(nw.concat_str(parts, separator="|").alias("block"))
    return table.with_frame(frame), roles.with_(unit="block")


def _inputs(table: Table, roles: Roles, state: State, alarm: float) -> Review:
    """Whether both versions were asked the same sort of thing."""
    assert roles.version is not None
    sides = []
    for name, version in (("reference", state.champion), ("production", state.challenger)):
        mine = table.frame.filter(is_run(table, Run(version), roles.version, None))
        sides.append(nw.to_native(mine))
        del name
    plain = roles.with_(
        outcome=None, score=None, prediction=None, latency_ms=None, error=None, position=None, version=None
    )
    ignored = tuple(
        c for c in (roles.version, roles.outcome, roles.score, roles.prediction, roles.latency_ms, roles.error) if c
    )
    return drift(sides[0], sides[1], roles=plain.with_(ignore=(*plain.ignore, *ignored)), alpha=alarm)


def _concentration(gate: Gate, table: Table, roles: Roles, state: State, plan: Plan, alarm: float) -> Reading:
    """Whether the challenger shows fewer items than the champion does, by the Gini index of what each shows.

    Units fall into buckets, and the index of each version has the standard error of the jackknife over them.
    """
    if roles.item is None or roles.unit is None or roles.version is None:
        raise InputError("A gate on concentration needs the roles item and unit; name their columns.")
    name = free_name(table.columns, "afterlaunch_bucket")
    integer = table.schema()[roles.unit].is_integer()
    bucketed = with_bucket(table.frame, roles.unit, name=name, integer=integer)
    new = is_run(table, Run(state.challenger), roles.version, None)
    old = is_run(table, Run(state.champion), roles.version, None)
    which = nw.when(new).then(nw.lit(1)).otherwise(nw.lit(0)).alias("al_new")
    rows = bucketed.filter((new | old) & ~nw.col(roles.item).is_null()).with_columns(which)
    counts = fetch(rows.group_by("al_new", name, roles.item).agg(nw.len().alias("al_n")), table)
    items = counts[roles.item].unique().sort()
    places = {item: i for i, item in enumerate(items)}
    array = np.zeros((2, BUCKETS, items.len()))
    for version, bucket, item, n in counts.select("al_new", name, roles.item, "al_n").iter_rows():
        array[version, bucket, places[item]] += n
    if array.sum(axis=(1, 2)).min() < LEAST_SHOWN:
        return Reading(gate.name, Verdict.UNDECIDED, "too few items were shown to say how concentrated they are")
    found = series(array)
    measures = [found.at("gini", i) for i in (0, 1)]
    value, se = measures[1].value - measures[0].value, float(np.hypot(measures[0].se, measures[1].se))
    if not (np.isfinite(value) and np.isfinite(se) and se > 0):
        return Reading(gate.name, Verdict.UNDECIDED, "too few units to say how concentrated exposure is")
    margin = gate.margin if gate.margin is not None else GINI
    looks, units = AnyTime(TUNED, alarm), float(array.sum())
    low = value - se * looks.multiplier(alarm, units, np.inf)
    high = value + se * looks.multiplier(plan.alpha, units, np.inf)
    said = f"the Gini index of what is shown changes by {value:+.3f} [{low:+.3f}, {high:+.3f}], margin {margin:g}"
    verdict = verdict_of(low, high, margin, "up")
    return Reading(gate.name, verdict, said if verdict is not Verdict.OK else "")


GINI = 0.05
"""Rise of the Gini index that a gate on concentration allows by default."""

LEAST_SHOWN = 500
"""Impressions of each version from which concentration is told."""


def _reading(gate: Gate, review: Review) -> Reading:
    """The worst of what was found for a gate."""
    if gate.dimension == "assignment":
        found = [f for f in review if f.check == "trust" and f.key in ("srm", "several_arms", "start", "missing")]
    else:
        found = [
            f for f in review if f.check == "effect" and f.subject == gate.name and (gate.segments or f.segment is None)
        ]
    return _worst(gate, found)


def _whole(gate: Gate, review: Review) -> Reading:
    return _worst(gate, [f for f in review if f.primary])


LEAST_SEGMENT = 0.02
"""Share of the units from which on a segment is required to be `ok`."""


def _worst(gate: Gate, found: Sequence[Finding]) -> Reading:
    if not found:
        return Reading(gate.name, Verdict.UNDECIDED, "nothing was found")
    whole = max((f.n for f in found if f.segment is None), default=0)
    found = [f for f in found if f.segment is None or f.n >= LEAST_SEGMENT * whole or f.verdict is Verdict.ALARM]
    worst = min(found, key=lambda f: (f.verdict.rank, not f.primary, -f.excess))
    if worst.reason == "not_trusted":
        return Reading(gate.name, worst.verdict, worst.action)
    return Reading(gate.name, worst.verdict, worst.sentence if worst.verdict is not Verdict.OK else "")
