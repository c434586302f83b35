"""Columns as production has them: which ones differ from training, and how to make offline rows like it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import polars as pl

from afterlaunch.checks.evidence import Evidence
from afterlaunch.checks.rows import is_number, is_plain, numbers, quoted
from afterlaunch.checks.scoring import column

MOST_COLUMNS = 12
"""Columns that are tried one by one."""

MISSING_JUMP = 0.05
"""A column is tried when its missing share rose by more than this."""

MODAL = 0.95
"""A column is tried when one value holds this share of production and not of the offline rows."""

DIFFERENT = 0.05
"""A column is tried when this share of the rows found in both tables differ in it."""

STANDS_IN = 0.95
"""Rank correlation from which a column stands in for the position."""

LEAST_ROWS = 50
"""Fewest rows from which a correlation is taken."""


@dataclass(frozen=True)
class Change:
    """A column as production has it.

    Attributes:
        columns: The columns changed; more than one when all are changed at once.
        how: What is done to it, in words.
        apply: Offline rows -> the same rows with the column changed.
    """

    columns: tuple[str, ...]
    how: str
    apply: Callable[[pl.DataFrame], pl.DataFrame]


def serving_changes(evidence: Evidence) -> list[Change]:
    """Columns of the reference sample that production does not have as training had them.

    They are the position and what stands in for it, and the features that are absent, missing or
    constant in production, that differ from the reference row by row, or for which
    `options["serving"]` names a value; at most `MOST_COLUMNS`.
    """
    roles, sample = evidence.roles, evidence.reference_sample
    assert sample is not None
    serving = dict(evidence.options.get("serving") or {})
    reference = sample.frame
    production = None if evidence.production_sample is None else evidence.production_sample.frame
    kinds = evidence.production_kinds or ({} if production is None else production.schema)
    found: list[Change] = []
    places = _places(evidence)
    names = [*places, *(n for n in roles.features_of(reference.columns) if n not in places)]
    for name in names:
        given = column(reference, name)
        if given is None or given.null_count() == len(given):
            continue
        if name in serving:
            found.append(_constant(name, serving[name], "the value that serving puts in"))
        elif name not in kinds:
            found.append(_constant(name, None, "missing, as production lacks it"))
        elif name in places:
            found.append(_constant(name, None, "missing, since it says the place, which follows from the score"))
        elif production is not None and production.height and name in production.columns and is_plain(production[name]):
            change = _seen(evidence, name, given, production[name], sample.seed)
            if change is not None:
                found.append(change)
    return found[:MOST_COLUMNS]


def _places(evidence: Evidence) -> list[str]:
    """The position column and the features that say the same, as far as the offline rows have them."""
    frame = evidence.reference_sample.frame if evidence.reference_sample is not None else pl.DataFrame()
    place = column(frame, evidence.roles.position)
    if place is None or not is_number(place) or place.n_unique() < 2:
        return [] if place is None else [place.name]
    out = [place.name]
    for name in evidence.roles.features_of(frame.columns):
        other = column(frame, name)
        if other is None or not is_number(other) or other.n_unique() < 2:
            continue
        pair = pl.DataFrame({"a": numbers(place), "b": numbers(other)}).fill_nan(None).drop_nulls()
        if pair.height < LEAST_ROWS:
            continue
        rho = pair.select(pl.corr(pl.col("a").rank(), pl.col("b").rank())).item()
        if rho is not None and abs(rho) >= STANDS_IN:
            out.append(name)
    return out


def _seen(evidence: Evidence, name: str, offline: pl.Series, live: pl.Series, seed: int) -> Change | None:
    """What production did to a column that it has, None when nothing."""
    lost = live.null_count() / len(live) - offline.null_count() / len(offline)
    top, share = _modal(live)
    if lost > MISSING_JUMP:
        if live.null_count() == len(live):
            return _constant(name, None, "missing, as in all of production")
        return Change((name,), f"missing in {100 * lost:.0f} % more rows", partial(_lose, name, lost, seed))
    if share >= MODAL and _modal(offline)[1] < MODAL:
        shown = quoted(top) if isinstance(top, (str, int, float)) else str(top)
        return _constant(name, top, f"always {shown}, as in production")
    pairs = evidence.pairs
    if pairs is not None and name in pairs.different and pairs.matched.sum() > 0:
        differ = float(pairs.different[name].sum()) / float(pairs.matched.sum())
        if differ > DIFFERENT:
            return Change((name,), "drawn from production's values", partial(_draw, name, live, seed))
    return None


def _modal(series: pl.Series) -> tuple[Any, float]:
    counts = series.value_counts(sort=True)
    return (None, 0.0) if counts.height == 0 else (counts[series.name][0], float(counts["count"][0]) / len(series))


def _constant(name: str, value: Any, how: str) -> Change:
    return Change((name,), how, partial(_fill, name, value))


def _fill(name: str, value: Any, frame: pl.DataFrame) -> pl.DataFrame:
    dtype = frame.schema[name]
    filled = pl.lit(None, dtype=dtype) if value is None else pl.lit(value).cast(dtype, strict=False)
    return frame.with_columns(filled.alias(name))


def _lose(name: str, share: float, seed: int, frame: pl.DataFrame) -> pl.DataFrame:
    known = 1 - frame[name].null_count() / max(frame.height, 1)
    gone = np.random.default_rng(seed).random(frame.height) < min(1.0, share / max(known, 1e-9))
    return frame.with_columns(pl.when(pl.Series(gone)).then(None).otherwise(pl.col(name)).alias(name))


def _draw(name: str, live: pl.Series, seed: int, frame: pl.DataFrame) -> pl.DataFrame:
    picked = np.random.default_rng(seed).integers(0, len(live), frame.height)
    return frame.with_columns(live[picked].cast(frame.schema[name], strict=False).alias(name))


def together(changes: list[Change]) -> Change:
    """All changes at once."""

    def apply(frame: pl.DataFrame) -> pl.DataFrame:
        for change in changes:
            frame = change.apply(frame)
        return frame

    return Change(tuple(c.columns[0] for c in changes), "as production has them", apply)
