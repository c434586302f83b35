"""Is every column that the model learnt from there in production, alive, and there in time?"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from afterlaunch.checks.evidence import Check, Evidence
from afterlaunch.checks.rows import (
    comparable,
    fills_in,
    groups,
    is_plain,
    later,
    order,
    per_group,
    percent,
    quoted,
    steadiness,
    text_codes,
    times,
)
from afterlaunch.decide import EffectKind, Estimate
from afterlaunch.finding import Effect, Json, Verdict
from afterlaunch.stats.clustered import Share, counted, p_value
from afterlaunch.stats.intervals import ENOUGH_GROUPS, Interval, Shares, share, shares

Ints = NDArray[np.int64]

CONSTANT_FROM = 0.99
"""From this share of one natural value on a column is called constant; below, it has drifted."""
ALMOST_ALL = 0.95
"""From this share of a default-looking value on a column is called a default throughout."""
MOSTLY = 0.5
"""From this share of a default-looking value on a column is called mostly default."""
WORTH = 0.01
"""Excess over the reference from which one value is worth a finding; a fifth of the margin."""
TIME_ENDINGS = ("_time", "_at", "_ts", "_timestamp", "_updated_at")

MISSING = EffectKind(
    "missing",
    "share missing",
    "share",
    0.01,
    "up",
    "one row in a hundred that the model scores without a column it learnt from",
)
CONSTANT = EffectKind(
    "constant",
    "share of one value beyond the reference",
    "share",
    0.05,
    "up",
    "the same one row in twenty; it is only asked where 99 % of production has one value",
)
DEFAULT = EffectKind(
    "default",
    "share of a default value beyond the reference",
    "share",
    0.05,
    "up",
    "the same one row in twenty; it is only asked where half of production has a default-looking value",
)
STEADY = EffectKind(
    "steady",
    "share of one value beyond the reference",
    "share",
    1.0,
    "up",
    "never bad in itself: a column that follows time is constant in a short stretch of it",
)
LATE = EffectKind(
    "late",
    "share known after the prediction",
    "share",
    0.01,
    "up",
    "clock skew aside, no row may use a value from its future",
)
UNEXPECTED = EffectKind("unexpected", "share with a column the reference lacks", "share", 1.0, "up", "informs only")
ROLE = EffectKind("role", "tables that have the column", "share", 1.0, "up", "informs only")


def run(evidence: Evidence) -> list[Estimate]:
    """Availability of every feature of the reference in production.

    Args:
        evidence: Needs "columns" for missing values and "samples" for constants, defaults and late values;
            what is not there is left out.

    Returns:
        For every training feature an estimate "missing"; "constant", "default", "steady" and "late"
        where there is something to say; "unexpected" for features that only production has and
        "role" for role columns that one table lacks, both informing. A table without rows gives
        undecided findings.
    """
    features = evidence.roles.features_of(evidence.reference_kinds)
    found = [_missing(evidence, name) for name in features]
    found += _one_valued(evidence, [name for name in features if name in evidence.production_kinds])
    found += _late(evidence, features)
    found += _one_table_only(evidence)
    return found


def _estimate(kind: EffectKind, name: str, both: Shares, what: str, **more: Any) -> Estimate:
    """How much more of production than of the reference has a property."""
    clustered = np.isfinite(both.df)
    return Estimate(
        "availability",
        kind,
        name,
        both.change(0.25, 0.25).value,
        lambda low, high: _ends(both, low, high),
        n=int(both.rows[1]),
        method="difference of two Jeffreys intervals" + (", design effect from groups of units" if clustered else ""),
        rows_needed=both.rows_needed,
        binding="units_too_few" if clustered and both.df < ENOUGH_GROUPS - 1 else "reference_too_small",
        p_value=both.p_value,
        table=_table(name, what, {"reference": _of(both, 0), "production": _of(both, 1)}),
        **more,
    )


def _ends(both: Shares, low: float, high: float) -> tuple[float, float]:
    found = both.change(low, high)
    return max(-1.0, found.low), min(1.0, found.high)


def _of(both: Shares, table: int) -> Interval:
    return both.of(table, 0.05, 0.05)


def _missing(evidence: Evidence, name: str) -> Estimate:
    """Share of production rows without a value, beyond the reference's."""
    there = name in evidence.production_kinds
    before = evidence.reference.columns.get(name) if evidence.reference is not None else None
    after = evidence.production.columns.get(name) if evidence.production is not None else None
    total = evidence.production.total if evidence.production is not None else 0
    if not there:
        # A fact about the table: every row lacks it, and the interval is about rows to come.
        rows = {"production": share(total, total, 0.05, 0.05)} if total else {}
        if before is not None and evidence.reference is not None and evidence.reference.total:
            then = share(int(before.missing.sum()), evidence.reference.total, 0.05, 0.05)
            rows = {"reference": then, **rows}
        gone = Share(total, total)
        return Estimate(
            "availability",
            MISSING,
            name,
            1.0,
            gone.interval,
            say=lambda e, v: (
                f"100 % of production rows lack {name!r}: production has no such column, and the model learnt from it."
            ),
            action=f"Log {name!r} in production if it is known when the model predicts; else retrain without it.",
            n=total,
            method="Jeffreys interval",
            p_value=gone.p_value,
            table=_table(name, "share missing", rows),
        )
    if after is None or before is None or evidence.reference is None or evidence.production is None:
        return Estimate(
            "availability",
            MISSING,
            name,
            None,
            reason="not_counted",
            primary=False,
            may_alarm=False,
            sentence=f"Missing values of {name!r} were not counted.",
        )
    both = shares((before.missing, after.missing), (evidence.reference.rows, evidence.production.rows))

    def say(effect: Effect, verdict: Verdict) -> str:
        then, now = (percent(_of(both, table).value) for table in (0, 1))
        return f"{now} of production rows have no value of {name!r}, against {then} of the reference."

    return _estimate(
        MISSING,
        name,
        both,
        "share missing",
        say=say,
        action=f"Find out why {name!r} is empty in production; until then scores on those rows are untested.",
    )


def _table(name: str, what: str, rows: Mapping[str, Interval]) -> Json:
    shown = [{"name": label, "value": i.value, "low": i.low, "high": i.high} for label, i in rows.items()]
    return {"kind": "intervals", "title": f"{name}: {what}", "unit": "share", "rows": shown}


@dataclass(frozen=True, slots=True)
class _Modal:
    """Production's commonest value of one column.

    Attributes:
        value: The value.
        both: Its share in the reference and in production.
        default: Whether it stands for "no value".
    """

    value: float | str
    both: Shares
    default: bool

    @property
    def new(self) -> bool:
        """Whether the reference lacks it."""
        return self.both.hits[0] == 0


def _one_valued(evidence: Evidence, features: list[str]) -> list[Estimate]:
    """Columns that have (almost) one value in production."""
    before, after = evidence.reference_sample, evidence.production_sample
    if before is None or after is None or before.rows == 0 or after.rows == 0:
        return []
    group = groups(evidence)
    found = []
    sample = None if after.whole and before.whole else after.rows
    in_order: Ints | None = None
    for name in features:
        if name not in before.frame.columns or name not in after.frame.columns:
            continue
        ref, prod = before.frame[name], after.frame[name]
        if not (is_plain(ref) and is_plain(prod)) or ref.dtype.is_temporal() or prod.dtype.is_temporal():
            continue
        modal = _modal(ref, prod, group)
        if modal is None:
            continue
        then, now = (_of(modal.both, table).value for table in (0, 1))
        constant = now >= (ALMOST_ALL if modal.default else CONSTANT_FROM)
        # Half of what told rows apart must be gone; less is as likely a change of the world.
        filled = modal.default and now >= MOSTLY and 1 - now <= 0.5 * (1 - then)
        if now - then < WORTH or not (constant or filled):
            continue
        in_order = order(before.frame, evidence.roles) if in_order is None else in_order
        pace = steadiness(text_codes(ref, ref)[0][in_order])
        steady = pace.steady and not (modal.new and modal.default)
        found.append(_say_modal(name, modal, steady, pace.changes, sample))
    return found


def _modal(ref: pl.Series, prod: pl.Series, group: tuple[Ints | None, Ints | None]) -> _Modal | None:
    """The commonest value, when at least half of production has it."""
    a, b = comparable(ref, prod)
    valid = b.drop_nulls()
    if not len(valid):
        return None
    value = valid.mode().sort()[0]
    if float((valid == value).sum()) < MOSTLY * len(valid):
        return None

    hits, known = [], []
    for column, g in zip((a, b), group, strict=True):
        known.append(per_group(column.is_not_null().to_numpy().astype(np.int64), g))
        hits.append(per_group((column == value).fill_null(False).to_numpy().astype(np.int64), g))
    return _Modal(value, shares((hits[0], hits[1]), (known[0], known[1])), fills_in(value, a.drop_nulls()))


def _say_modal(name: str, modal: _Modal, steady: bool, changes: float, sample: int | None) -> Estimate:
    then, now = (percent(_of(modal.both, table).value) for table in (0, 1))
    value = quoted(modal.value)
    start = f"{now} of production's values of {name!r} are {value}, against {then} in the reference"
    what = f"share of {value}"
    if steady:
        sentence = (
            f"{start}; that is no fault by itself, because {name!r} follows time: in the reference, "
            f"{percent(1 - changes)} of rows have the value of the row before."
        )
        return _estimate(
            STEADY,
            name,
            modal.both,
            what,
            say=lambda e, v: sentence,
            sample=sample,
            primary=False,
            may_alarm=False,
        )
    kind = DEFAULT if modal.default else CONSTANT
    why = ", which stands for no value" if modal.default else ""
    action = (
        f"Find out whether {value} is filled in for {name!r} when its real value does not arrive, and repair that."
        if modal.default
        else f"Find out why {name!r} has stopped varying; the model can tell nothing from it in production."
    )
    return _estimate(kind, name, modal.both, what, say=lambda e, v: f"{start}{why}.", action=action, sample=sample)


def _late(evidence: Evidence, features: tuple[str, ...]) -> list[Estimate]:
    """Columns whose value became known after the prediction was made."""
    time = evidence.roles.time
    samples = [("reference", evidence.reference_sample), ("production", evidence.production_sample)]
    if time is None:
        return []
    group = groups(evidence)
    found = []
    for name in features:
        found_in: dict[str, tuple[Share, str, bool]] = {}
        for (label, sample), g in zip(samples, group, strict=True):
            if sample is None or time not in sample.frame.columns or sample.rows == 0:
                continue
            column = _time_column(evidence, name, sample.frame)
            if column is None:
                continue
            both = later(sample.frame[column], sample.frame[time])
            if both is not None and both[1].sum():
                found_in[label] = (counted(per_group(both[0], g), per_group(both[1], g)), column, sample.whole)
        if found_in:
            found.append(_say_late(name, found_in, samples[1][1].rows if samples[1][1] is not None else 0))
    return found


def _time_column(evidence: Evidence, name: str, frame: pl.DataFrame) -> str | None:
    """The column that says when a feature's value became known."""
    given = evidence.roles.feature_times.get(name)
    if given is not None:
        return given if given in frame.columns else None
    for ending in TIME_ENDINGS:
        column = name + ending
        if column in frame.columns and evidence.roles.of(column) == "feature" and times(frame[column]) is not None:
            return column
    return None


def _say_late(name: str, found_in: Mapping[str, tuple[Share, str, bool]], n: int) -> Estimate:
    worst = max(found_in, key=lambda label: found_in[label][0].value)
    one, column, whole = found_in[worst]

    # The worse of two tables is reported, so each end carries half of its error rate.
    def ends(low: float, high: float) -> tuple[float, float]:
        return one.interval(low / len(found_in), high / len(found_in))

    def say(effect: Effect, verdict: Verdict) -> str:
        return (
            f"{percent(one.value)} of the values of {name!r} in the {worst} became known after the prediction, "
            f"by {column!r}."
        )

    return Estimate(
        "availability",
        LATE,
        name,
        one.value,
        ends,
        say=say,
        action=(
            f"Build {name!r} as of the time of each prediction; as it is, offline tests see the future of {name!r}."
            if worst == "reference"
            else f"Log {name!r} as it was when the model predicted, not as it was filled in later."
        ),
        n=n,
        method="Jeffreys interval; the worse of the tables that have times",
        sample=None if whole else int(one.rows),
        p_value=lambda margin: p_value(ends, margin),
        table=_table(name, "share known too late", {label: _alone(s[0]) for label, s in found_in.items()}),
    )


def _alone(one: Share) -> Interval:
    return Interval(one.value, *one.interval(0.05, 0.05))


def _one_table_only(evidence: Evidence) -> list[Estimate]:
    """Columns that just one table has, other than features that production lacks."""
    before, after, roles = evidence.reference_kinds, evidence.production_kinds, evidence.roles
    found = [
        Estimate(
            "availability",
            UNEXPECTED,
            name,
            None,
            reason="only_in_production",
            primary=False,
            may_alarm=False,
            sentence=f"Production has the column {name!r}, which the reference lacks: nothing says how it should look.",
            action=f"If the model reads {name!r}, add it to the reference; if not, list it under `ignore`.",
        )
        for name in roles.features_of(after)
        if name not in before
    ]
    for role, name in roles.pairs():
        if (name in before) == (name in after):
            continue
        has, lacks = ("reference", "production") if name in before else ("production", "reference")
        found.append(
            Estimate(
                "availability",
                ROLE,
                name,
                None,
                reason=f"only_in_{has}",
                primary=False,
                may_alarm=False,
                sentence=f"{name!r}, role {role!r}, is in the {has} only: nothing compares it with the {lacks}.",
                action=f"Add {name!r} to the {lacks} if it is known there.",
            )
        )
    return found


CHECK = Check(
    name="availability",
    asks="Is every column that the model learnt from there in production, alive, and there in time?",
    kinds=(MISSING, CONSTANT, DEFAULT, STEADY, LATE, UNEXPECTED, ROLE),
    needs=frozenset({"columns", "samples"}),
    run=run,
)
"""The check, for the registry."""
