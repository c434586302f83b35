"""Both samples with their outcomes: levels, blocks of time, groups, and values as codes."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import polars as pl
from numpy.typing import NDArray

from afterlaunch.checks.evidence import Evidence
from afterlaunch.checks.rows import groups, is_number, is_plain, numbers, order, text_codes, words
from afterlaunch.stats.association import binned, bins_for, blocks, levels

Ints = NDArray[np.int64]

MOST_CLASSES = 20
"""A numeric outcome with more values is a number; rarer classes of a text outcome are taken together."""
MOST_CELLS = 4_000_000
"""Rows times features that are looked at; wide tables are thinned to keep within it."""


@dataclass(frozen=True)
class OutcomeTable:
    """Rows of one table that have an outcome, in time order.

    Attributes:
        frame: The rows.
        level: Level of the outcome, shape (n,).
        block: Block of time, shape (n,).
        group: Group of dependent rows, shape (n,), or None for independent rows.
        fold: A half drawn at random, by groups where there are any, shape (n,).
        bins: How many bins of a number these rows can teach.
        whole: Whether the sample behind it is the whole table.
    """

    frame: pl.DataFrame
    level: Ints
    block: Ints
    group: Ints | None
    fold: Ints
    bins: int
    whole: bool


def prepare(evidence: Evidence, width: int) -> tuple[OutcomeTable, OutcomeTable | None, bool] | None:
    """Both tables with outcome levels, blocks, groups and folds; None when the reference has one outcome only."""
    roles, reference, production = evidence.roles, evidence.reference_sample, evidence.production_sample
    assert reference is not None
    assert roles.outcome is not None
    frames = [reference.frame]
    if (
        production is not None
        and roles.outcome in production.frame.columns
        and is_plain(production.frame[roles.outcome])
    ):
        frames.append(production.frame)
    most = max(1000, MOST_CELLS // width)
    group = groups(evidence)
    kept: list[tuple[pl.DataFrame, Ints | None]] = []
    for frame, g in zip(frames, group, strict=False):
        rows = order(frame, roles)
        known = _known(frame[roles.outcome])[rows]
        rows = rows[known]
        if len(rows) > most:
            rows = rows[np.arange(most) * len(rows) // most]
        kept.append((frame[rows], g[rows] if g is not None else None))
    outcome, classes = _levels([f[roles.outcome] for f, _ in kept], evidence.task)
    if len(np.unique(outcome[0])) < 2:
        return None
    rng = np.random.default_rng(reference.seed)
    tables = []
    for (frame, g), level, sample in zip(kept, outcome, (reference, production), strict=False):
        if sample is not None:
            tables.append(_outcome_table(frame, level, g, rng, timed=roles.time in frame.columns, whole=sample.whole))
    after = tables[1] if len(tables) > 1 and len(np.unique(tables[1].level)) > 1 else None
    return tables[0], after, classes


def _known(outcome: pl.Series) -> NDArray[np.bool_]:
    return np.isfinite(numbers(outcome)) if is_number(outcome) else outcome.is_not_null().to_numpy()


def _levels(outcomes: list[pl.Series], task: str | None) -> tuple[list[Ints], bool]:
    """Levels of the outcome, alike in all tables, and whether they are classes without an order."""
    sizes = [len(o) for o in outcomes]
    if all(is_number(o) for o in outcomes):
        values = np.concatenate([numbers(o) for o in outcomes])
        distinct = len(np.unique(values[: sizes[0]]))
        level = binned(values) if distinct <= MOST_CLASSES else levels(values)
        classes = task == "multiclass" and distinct <= MOST_CLASSES
    else:
        joined = pl.concat([words(o) for o in outcomes])
        common = joined[: sizes[0]].value_counts(sort=True)[joined.name].head(MOST_CLASSES).sort()
        rank = {v: i for i, v in enumerate(common)}
        level = np.array([rank.get(v, len(rank)) for v in joined], dtype=np.int64)
        classes = True
    return [np.asarray(part, dtype=np.int64) for part in np.split(level, np.cumsum(sizes)[:-1])], classes


def _outcome_table(
    frame: pl.DataFrame, level: Ints, group: Ints | None, rng: np.random.Generator, *, timed: bool, whole: bool
) -> OutcomeTable:
    n = len(level)
    count = np.bincount(level)
    two = np.count_nonzero(count) <= 2
    rarer = int(min(count[count > 0], default=0)) if two else int(count.sum() - count.max())
    block = blocks(n, rarer)
    if not timed and n and _sorted_by(level, block):
        block = rng.permutation(block)
    fold = rng.integers(0, 2, n)
    if group is not None and n:
        fold = rng.integers(0, 2, int(group.max()) + 1)[group]
    return OutcomeTable(frame, level, block, group, fold.astype(np.int64), bins_for(rarer), whole)


def _sorted_by(level: Ints, block: Ints) -> bool:
    """Whether the rows stand in the order of the outcome, so that their order is no order in time."""
    table = np.zeros((int(block.max()) + 1, int(level.max()) + 1))
    np.add.at(table, (block, level), 1)
    rows = table.sum(axis=1)
    within = float((rows**2 - (table**2).sum(axis=1)).sum())
    whole = float(rows.sum() ** 2 - (table.sum(axis=0) ** 2).sum()) / len(table)
    return within < 0.5 * whole


@dataclass(frozen=True, slots=True)
class Coded:
    """One column of both tables as codes, alike in both.

    Attributes:
        before: Codes in the reference, shape (n,).
        after: Codes in production, shape (m,); empty where production lacks the column.
        ordered: How many of the codes, from 0 on, are in the order of a number.
    """

    before: Ints
    after: Ints
    ordered: int


def coded(first: pl.Series, second: pl.Series | None, bins: int) -> Coded:
    """Values as codes; numbers in about so many bins at most."""
    other = second if second is not None and is_plain(second) else first.clear()
    if is_number(first) and is_number(other):
        values = np.concatenate([numbers(first), numbers(other)])
        joined = binned(values, bins)
        ordered = int(joined[~np.isnan(values)].max(initial=-1)) + 1
        return Coded(joined[: len(first)], joined[len(first) :], ordered)
    return Coded(*text_codes(first, other), 0)
