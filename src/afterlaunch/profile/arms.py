"""Counting an experiment: per-unit sums of every metric, added up by arm, day of entry and segment by the engine."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from typing import Any

import narwhals as nw
import numpy as np
import polars as pl

from afterlaunch.measures import Measure, Term
from afterlaunch.profile.types import Floats, Ints
from afterlaunch.stats.lift import Moments
from afterlaunch.stats.looks import Looks, Once
from afterlaunch.stats.quantile_gap import Tail
from afterlaunch.tables.table import Frame

ARM, DAY, SEGMENT = "al_arm", "al_day", "al_segment"


@dataclass(frozen=True)
class Cells:
    """Sums over the units of each arm and day of entry, for one metric in one segment.

    Attributes:
        units: Shape (arms, days).
        first: Sums of deviations from `around`, shape (arms, days, p).
        second: Of products of two, shape (arms, days, p, p).
        third: Of products of three, shape (arms, days, p, p, p).
        around: Shape (p,).
    """

    units: Floats
    first: Floats
    second: Floats
    third: Floats
    around: Floats

    def moments(self, arm: int, until: int | None = None) -> Moments:
        """Moments of one arm.

        Args:
            arm: Which one.
            until: Only units that entered on the days before this one; all when None.
        """
        at = (arm, slice(until))
        return Moments.from_sums(
            float(self.units[at].sum()),
            self.first[at].sum(axis=0),
            self.second[at].sum(axis=0),
            self.third[at].sum(axis=0),
            self.around,
        )


@dataclass(frozen=True)
class Stage:
    """A stretch of the experiment with one planned split.

    Attributes:
        first: First day, as an index into `Arms.days`.
        shares: Planned share of each arm, shape (arms,).
    """

    first: int
    shares: tuple[float, ...]


@dataclass(frozen=True)
class Arms:
    """What an experiment has counted.

    Attributes:
        names: The arms, the control first.
        measures: The metrics.
        cells: Segment to label to sums; segment "" is all units.
        quantiles: Segment to label to what lies near the quantile in each arm.
        looks: How often may be looked.
        days: Days on which units entered, or numbers of days since the start; one None when there is no time.
        assigned: Units of each arm by the day on which they entered, shape (arms, days).
        stages: Planned splits; empty when none was given.
        both: Units found in more than one arm; they are left out.
        missing: Column to sums of (rows without a value, rows).
        fading: Label to sums of each half of the experiment: value and rows early, value and rows late.
        balance: Covariate to its sums.
        covariates: Label to how many of the last columns of its cells are covariates.
        unit: Whether rows were added up by unit.
        cut: Label to what larger per-unit sums were cut to, where they were winsorised.
        ended: Whether the last planned look has been reached, None where no end was planned.
    """

    names: tuple[str, ...]
    measures: tuple[Measure, ...]
    cells: Mapping[str, Mapping[str, Cells]]
    looks: Looks = field(default_factory=Once)
    days: tuple[date | float | None, ...] = (None,)
    assigned: Ints = field(default_factory=lambda: np.zeros((2, 1), dtype=np.int64))
    stages: tuple[Stage, ...] = ()
    both: int = 0
    missing: Mapping[str, Cells] = field(default_factory=dict)
    fading: Mapping[str, Cells] = field(default_factory=dict)
    balance: Mapping[str, Cells] = field(default_factory=dict)
    covariates: Mapping[str, int] = field(default_factory=dict)
    quantiles: Mapping[str, Mapping[str, tuple[Tail, ...]]] = field(default_factory=dict)
    unit: bool = False
    cut: Mapping[str, float] = field(default_factory=dict)
    ended: bool | None = None

    @property
    def per_day(self) -> float:
        """Units that enter each day of late: the mean of seven days, without the very last, which may be short."""
        daily = self.assigned.sum(axis=0)
        late = daily[-8:-1] if daily.size > 1 else daily
        first, last = self.days[0], self.days[-1]
        length = 1.0
        if isinstance(first, float) and isinstance(last, float):
            length = (last - first) / (len(self.days) - 1)
        return max(float(late.mean()) / length, 1e-9)


@dataclass(frozen=True)
class Wanted:
    """Sums to be made of every unit for one metric.

    Attributes:
        columns: Columns of the frame of units.
        known: Column with how many values of the unit are known; units with none are left out. None keeps all.
    """

    columns: tuple[str, ...]
    known: str | None = None


def count_cells(
    units: Frame,
    wanted: Mapping[str, Wanted],
    *,
    arms: int,
    days: Sequence[date | None],
    segments: int,
    by_segment: Sequence[str],
    around: Mapping[str, float],
    fetch: Callable[[Frame], pl.DataFrame],
) -> list[dict[str, Cells]]:
    """Add up powers of per-unit sums by arm, day and segment, in one pass.

    Args:
        units: One row for each unit, with the columns ARM, DAY when there are days, and SEGMENT when there are
            segments.
        wanted: Name to what is added up.
        arms: How many arms.
        days: The days, in order; (None,) without time.
        segments: How many values, from 0, of SEGMENT are counted apart; 0 without segments.
        by_segment: Names in `wanted` that are counted by segment too.
        around: Column to a number near its mean.
        fetch: Brings a small result into memory.

    Returns:
        Name to sums: of all units, then of each segment.
    """
    sums: dict[str, nw.Expr] = {}

    def powers(what: Wanted) -> None:
        inside = None if what.known is None else nw.col(what.known) > 0
        tag = "" if what.known is None else f"|{what.known}"
        one = nw.lit(1.0) if inside is None else nw.when(inside).then(nw.lit(1.0)).otherwise(nw.lit(0.0))
        sums.setdefault(f"n{tag}", one.sum() if inside is not None else nw.len())
        for power in (1, 2, 3):
            for chosen in itertools.combinations_with_replacement(range(len(what.columns)), power):
                columns = tuple(sorted(what.columns[i] for i in chosen))
                key = "*".join(columns) + tag
                product = nw.lit(1.0)
                for i, c in enumerate(columns):
                    away = nw.col(c) - around[c]
                    product = away if i == 0 else product * away
                if inside is not None:
                    product = nw.when(inside).then(product).otherwise(nw.lit(0.0))
                sums.setdefault(key, product.sum())

    for what in wanted.values():
        powers(what)
    keys = [ARM] + ([DAY] if days != (None,) else []) + ([SEGMENT] if segments else [])
    names = {key: f"s{i}" for i, key in enumerate(sums)}
    found = fetch(units.group_by(*keys).agg(*(expr.alias(names[key]) for key, expr in sums.items())))
    day_of = {d: i for i, d in enumerate(days)}
    arm = found[ARM].to_numpy().astype(np.int64)
    day = (
        np.array([day_of[d] for d in found[DAY].dt.date()], dtype=np.int64)
        if DAY in found.columns
        else np.zeros(arm.size, dtype=np.int64)
    )
    out = []
    for segment in range(-1, segments):
        inside = np.ones(arm.size, dtype=bool)
        if segment >= 0:
            inside = (found[SEGMENT] == segment).fill_null(False).to_numpy()
        chosen = found.filter(pl.Series(inside))
        where = (arm[inside], day[inside])
        out.append(
            {
                name: _cells(chosen, what, names, where, (arms, len(days)), around)
                for name, what in wanted.items()
                if segment < 0 or name in by_segment
            }
        )
    return out


def _cells(
    found: pl.DataFrame,
    what: Wanted,
    names: Mapping[str, str],
    where: tuple[Ints, Ints],
    shape: tuple[int, int],
    around: Mapping[str, float],
) -> Cells:
    tag, p = "" if what.known is None else f"|{what.known}", len(what.columns)

    def added(key: str) -> Floats:
        out = np.zeros(shape)
        np.add.at(out, where, found[names[key]].fill_null(0.0).to_numpy().astype(float))
        return out

    arrays: list[Floats] = [np.zeros((*shape, *(p,) * power)) for power in (1, 2, 3)]
    for power, array in zip((1, 2, 3), arrays, strict=True):
        for chosen in itertools.combinations_with_replacement(range(p), power):
            value = added("*".join(sorted(what.columns[i] for i in chosen)) + tag)
            for order in set(itertools.permutations(chosen)):
                place: Any = (..., *order)
                array[place] = value
    return Cells(added(f"n{tag}"), arrays[0], arrays[1], arrays[2], np.array([around[c] for c in what.columns]))


def metric_key(label: str) -> str:
    """Under which name the sums of a metric are wanted, apart from those that are made for trust."""
    return f"metric:{label}"


def flag(column: str) -> nw.Expr:
    """A count of values made whether there are any."""
    return nw.when(nw.col(column) > 0).then(nw.lit(1.0)).otherwise(nw.lit(0.0)).alias(column)


def term_name(term: Term) -> str:
    """Column of the frame of units that holds a term."""
    return f"al_{term[0]}:{term[1]}"


def term_sum(term: Term, numbers: Mapping[str, nw.Expr]) -> nw.Expr:
    """A term over the rows of a unit.

    Args:
        term: What is added up.
        numbers: Column to its values as floats, null where missing.
    """
    how, column = term
    value = numbers[column]
    if how == "known":
        out = nw.when(value.is_null()).then(nw.lit(0.0)).otherwise(nw.lit(1.0)).sum()
    elif how == "any":
        # How many are; whether any is, is told from it, as engines add up faster than they look for the largest.
        out = nw.when(value != 0).then(nw.lit(1.0)).otherwise(nw.lit(0.0)).sum()
    else:
        out = value.sum()
    return out.alias(term_name(term))


def term_row(term: Term, numbers: Mapping[str, nw.Expr]) -> nw.Expr:
    """A term of a single row, where every row is a unit of its own.

    Args:
        term: What is added up.
        numbers: Column to its values as floats, null where missing.
    """
    how, column = term
    value = numbers[column]
    if how == "known":
        out = nw.when(value.is_null()).then(nw.lit(0.0)).otherwise(nw.lit(1.0))
    elif how == "any":
        out = nw.when(value != 0).then(nw.lit(1.0)).otherwise(nw.lit(0.0))
    else:
        out = value.fill_null(0.0)
    return out.alias(term_name(term))
