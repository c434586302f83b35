"""Rows of both samples as a domain classifier takes them: ranks, codes and units."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import polars as pl
from numpy.typing import NDArray

from afterlaunch.checks.evidence import Evidence, Sample
from afterlaunch.checks.rows import is_number, is_plain, numbers, text_codes, words
from afterlaunch.stats.screen import screen
from afterlaunch.stats.two_sample import Told, told_apart

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]

LEAST_ROWS = 200
"""Fewest rows of each table."""

LEAST_UNITS = 30
"""Fewest units of each table."""

MOST_LEVELS = 200
"""Values of a category that are told apart; the rest are one more value."""

LEAST_SEEN = 5
"""Rows of both tables together that a category's value needs to be told apart."""

MOST_SHUFFLED = 30
"""Columns that are shuffled to see what they contribute: those that moved most in the screen."""


@dataclass(frozen=True)
class Rows:
    """Rows of both samples as a classifier takes them.

    Attributes:
        names: Columns, shape (D,).
        x: Ranks or codes, NaN where missing, reference first, shape (n, D).
        production: Which rows are production's, shape (n,).
        unit: Unit of each row, or None for independent rows.
    """

    names: tuple[str, ...]
    x: Floats
    production: Bools
    unit: Ints | None

    def draw(self, rows: tuple[Ints, Ints], most: int, seed: int) -> Ints:
        """As many rows of each table as of the other, at most `most`."""
        size = min(most, *(len(r) for r in rows))
        rng = np.random.default_rng(seed)
        return np.concatenate([np.sort(rng.permutation(r)[:size]) for r in rows])

    def judge(self, rows: Ints, seed: int, window: Ints | None = None) -> Told:
        """What a classifier makes of some of the rows."""
        unit = None if self.unit is None else np.unique(self.unit[rows], return_inverse=True)[1].astype(np.int64)
        moved = screen(self.x[rows], self.production[rows]).moved
        return told_apart(
            self.x[rows],
            self.production[rows],
            unit=unit,
            window=window,
            candidates=[int(c) for c in np.argsort(-moved, kind="stable")[:MOST_SHUFFLED]],
            seed=seed,
        )


def lacking(rows: Rows | None, sides: tuple[Ints, Ints]) -> tuple[str, str] | None:
    """What is missing, as a reason code and in words; None when nothing is."""
    for table, own in zip(("reference", "production"), sides, strict=True):
        if len(own) < LEAST_ROWS:
            return "too_few_rows", f"{len(own):,} {table} rows are too few, and it takes {LEAST_ROWS}."
    if rows is None:
        return "no_features", "no feature of one kind is in both tables."
    for table, own in zip(("reference", "production"), sides, strict=True):
        if rows.unit is not None and (units := np.unique(rows.unit[own]).size) < LEAST_UNITS:
            return "units_too_few", f"the {table} rows come from {units} units, and it takes {LEAST_UNITS}."
    return None


def read(evidence: Evidence, old: Sample, new: Sample) -> Rows | None:
    """Features that both tables have in the same kind and with values, as ranks and codes; None without any."""
    kinds = evidence.reference_kinds, evidence.production_kinds
    names, columns = [], []
    for name in evidence.roles.features_of(kinds[0] or old.frame.columns):
        if name not in old.frame.columns or name not in new.frame.columns or name in {old.window, new.window}:
            continue
        if any(k.get(name, "numeric") not in {"numeric", "category"} for k in kinds):
            continue
        a, b = old.frame[name], new.frame[name]
        if not (is_plain(a) and is_plain(b)) or a.dtype.is_temporal() or is_number(a) != is_number(b):
            continue
        if a.null_count() == len(a) or b.null_count() == len(b):
            continue  # a column that is gone tells all rows apart, which hides what the others do
        values = _ranks(np.concatenate([numbers(a), numbers(b)])) if is_number(a) else _codes(a, b)
        if np.isnan(values).all():
            continue
        names.append(name)
        columns.append(values)
    if not names:
        return None
    production = np.arange(old.rows + new.rows) >= old.rows
    return Rows(tuple(names), np.stack(columns, axis=1), production, _units(evidence, old, new))


def _ranks(values: Floats) -> Floats:
    """Numbers as their ranks, which trees see alike and which no extreme value spoils; missing ones as NaN."""
    known = ~np.isnan(values)
    out = np.full(values.shape, math.nan)
    _, place = np.unique(values[known], return_inverse=True)
    count = np.bincount(place, minlength=1)
    out[known] = (np.cumsum(count) - (count - 1) / 2)[place] if place.size else place
    return out


def _codes(a: pl.Series, b: pl.Series) -> Floats:
    """Words as codes, the most frequent of both tables first; rare ones share the last."""
    code = np.concatenate(text_codes(a, b))
    missing = np.concatenate([words(s).is_null().to_numpy() for s in (a, b)])
    count = np.bincount(code, minlength=1)
    order = np.argsort(-count, kind="stable")
    rank = np.empty(count.size)
    rank[order] = np.arange(count.size)
    rank = np.minimum(rank, min(MOST_LEVELS, int((count >= LEAST_SEEN).sum())))
    out: Floats = np.where(missing, math.nan, rank[code])
    return out


def _units(evidence: Evidence, old: Sample, new: Sample) -> Ints | None:
    """Unit of every row, alike in both tables; rows without one stand for themselves."""
    for name in (evidence.roles.unit, evidence.roles.bucket):
        if name is None or not all(name in s.frame.columns and is_plain(s.frame[name]) for s in (old, new)):
            continue
        unit = np.concatenate(text_codes(old.frame[name], new.frame[name]))
        missing = np.concatenate([words(s.frame[name]).is_null().to_numpy() for s in (old, new)])
        unit[missing] = unit.max(initial=0) + 1 + np.arange(int(missing.sum()))
        return unit
    return None
