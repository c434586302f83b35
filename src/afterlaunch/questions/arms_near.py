"""Fetching the values of each arm that lie near a quantile."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import narwhals as nw
import numpy as np
import polars as pl

from afterlaunch.decide import InputError
from afterlaunch.measures import Quantile
from afterlaunch.profile.arms import ARM, SEGMENT, Cells
from afterlaunch.questions.arms_log import Log
from afterlaunch.questions.gather import SEED
from afterlaunch.stats.quantile_gap import Tail
from afterlaunch.tables import Table, fetch_all, sample

NEAR_ROWS = 50_000
"""Rows of the sample that tells where a quantile lies."""


def drawn(table: Table, log: Log, quantiles: Sequence[Quantile]) -> dict[str, pl.Series]:
    """Sorted samples of the columns of quantiles, by the quantile's label.

    Raises:
        InputError: When a column holds no value.
    """
    out = {}
    for m in quantiles:
        values = spread(table, m.column).lazy()
        known: Any = nw.to_native(nw.from_native(values).select(log.numbers[m.column].alias("v")))
        out[m.label] = known.collect()["v"].drop_nulls().sort()
        if not out[m.label].len():
            raise InputError(f"The metric {m.label!r} has no value in {m.column!r}; leave it out.")
    return out


def spread(table: Table, column: str) -> pl.DataFrame:
    """Values of rows spread over the table: they only say where to look, and what is found there is counted."""
    step = table.rows() // NEAR_ROWS
    if table.engine != "polars" or step < 2:
        return sample(table, [column], NEAR_ROWS, SEED)
    native: pl.LazyFrame = nw.to_native(table.frame)
    return native.select(column).gather_every(step).collect(engine="streaming")


def near_quantile(table: Table, log: Log, m: Quantile, some: pl.Series, below: Cells) -> list[tuple[Tail, ...]]:
    """The values of each arm around its quantile.

    Args:
        table: The rows that count.
        log: The log as it was prepared.
        m: The quantile.
        some: A sorted sample of its column.
        below: Of each unit, rows at most as large as the sample's quantile, and rows.

    Returns:
        Of all rows, then of each segment, a tail for each arm.
    """
    value, arms = log.numbers[m.column], len(log.names)
    inflation = []
    for arm in range(arms):
        found = below.moments(arm)
        p = found.mean[0] / found.mean[1] if found.mean[1] > 0 else 0.0
        slope = np.array([1.0, -p]) / (found.mean[1] or 1.0)
        variance = float(slope @ found.covariance @ slope) / max(found.units, 1.0)
        plain = p * (1 - p) / max(found.mean[1] * found.units, 1.0)
        inflation.append(max(1.0, variance / plain) if log.roles.unit is not None and plain > 0 else 1.0)
    half = 10 * math.sqrt(m.q * (1 - m.q) / some.len()) * math.sqrt(max(inflation)) + 0.002
    keys = [ARM] + ([SEGMENT] if log.segments else [])
    rows = table.frame.filter(~value.is_null()).with_columns(value.alias("al_value"))
    while True:
        whole = half >= 0.5
        low = -math.inf if whole else float(some.quantile(max(0.0, m.q - half), "lower") or 0.0)
        high = math.inf if whole else float(some.quantile(min(1.0, m.q + half), "higher") or 0.0)
        low = -math.inf if m.q - half <= 0 else low
        high = math.inf if m.q + half >= 1 else high
        under = (nw.col("al_value") < low).cast(nw.Int64).sum().alias("below") if low > -math.inf else None
        sums = [nw.len().alias("rows")] + ([under] if under is not None else [])
        inside = rows
        if low > -math.inf:
            inside = inside.filter(nw.col("al_value") >= low)
        if high < math.inf:
            inside = inside.filter(nw.col("al_value") <= high)
        counts, values = fetch_all([rows.group_by(*keys).agg(*sums), inside.select(*keys, "al_value")], table)
        out = []
        for segment in range(-1, len(log.segments)):
            parts = []
            for arm in range(arms):
                where = pl.col(ARM) == arm
                if segment >= 0:
                    where &= pl.col(SEGMENT) == segment
                n = counts.filter(where)
                under_n = float(n["below"].sum()) if under is not None else 0.0
                near = values.filter(where)["al_value"].sort().to_numpy()
                parts.append(Tail(near, under_n, float(n["rows"].sum()), inflation[arm]))
            out.append(tuple(parts))
        if whole or all(_covers(p, m.q) for parts in out for p in parts):
            return out
        half *= 4


def _covers(near: Tail, q: float) -> bool:
    """Whether an interval of the quantile lies within the values that were fetched."""
    if near.rows < 2:
        return True
    half = 8 * math.sqrt(q * (1 - q) * near.inflation / near.rows)
    above = near.below + near.values.size
    return near.below <= max(0.0, q - half) * near.rows and above >= min(1.0, q + half) * near.rows
