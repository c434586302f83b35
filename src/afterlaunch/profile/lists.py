"""Ranked lists, counted by the engine: how much of the best possible gain each list's order earns.

The formulas are those of `stats.ranking`; a test holds the two together.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

import narwhals as nw
import polars as pl

from afterlaunch.profile.scored_rows import (
    GROUPS,
    Ask,
    Options,
    Parts,
    Table,
    base_fields,
    by_segment,
    grouping,
    ok,
    row_counts,
    weighted_sums,
)
from afterlaunch.profile.types import MetricCounts


def ask_lists(table: Table, options: Options, keep: Sequence[Any]) -> Ask:
    """Counts of a ranking task, by score (else by position), over lists.

    NDCG is over lists with any gain, the reciprocal rank of a list without gain is 0, and CTR is over
    shown items. Rows without a list are left out.
    """
    roles = table.roles
    if not table.has(roles.list):
        nothing = nw.lit(None, dtype=nw.Float64())
        frame = table.narrow(keep, y=nothing, w=nw.lit(1.0))
        empty = frame.group_by(grouping(keep)).agg(*row_counts(ok("y")))
        return Ask((empty,), partial(_read, ()))
    by_score = table.has(roles.score)
    order = table.number(roles.score) if by_score else 0.0 - table.number(roles.position)
    y = table.is_positive(roles.outcome, options.positive)
    if table.has(roles.outcome) and table.schema[str(roles.outcome)].is_numeric():
        y = table.number(roles.outcome)
    rows = table.narrow(keep, list=nw.col(str(roles.list)), y=y, s=order, w=table.weight())
    rows = rows.filter(~nw.col("list").is_null())
    lists = _lists(rows, keep, options.k)
    if not table.has(roles.unit) and not table.has(roles.bucket):
        lists = lists.with_columns(bucket=(nw.col("list").rank("ordinal").cast(nw.Int64) - 1) % GROUPS)
    y = nw.col("gain")
    useful = y > 0
    parts: Parts = {
        "ndcg": (useful, nw.col("dcg") / nw.col("ideal")),
        "mrr": (nw.col("items") > 0, nw.when(useful).then(1 / nw.col("first")).otherwise(0.0)),
    }
    sums = lists.group_by(grouping(keep)).agg(
        (nw.col("items") > 0).cast(nw.Int64).sum().alias("rows"),
        nw.len().cast(nw.Int64).alias("total"),
        (nw.col("outcomes") == 0).cast(nw.Int64).sum().alias("without"),
        nw.col("shown").sum().alias("weight_outcome"),
        nw.col("clicks").sum().alias("sum_outcome"),
        *weighted_sums(parts),
    )
    names = [*parts, "outcome"]
    return Ask((sums,), partial(_read, names))


def _read(names: Sequence[str], answers: list[pl.DataFrame]) -> dict[str, MetricCounts]:
    return {name: MetricCounts(**base_fields(part, names)) for name, part in by_segment(answers[0])}


def _lists(rows: nw.LazyFrame[Any], keep: Sequence[Any], k: int) -> nw.LazyFrame[Any]:
    """One row per list: its gain in the order shown, the best gain, the rank of its first relevant item."""
    y, s = nw.col("y"), nw.col("s")
    held = ok("y", "s", "w")
    rows = rows.with_columns(
        held=nw.when(held).then(nw.lit(1)), ranked=nw.when(held).then(0.0 - s), best=nw.when(held).then(0.0 - y)
    )
    rows = rows.with_columns(
        rank=nw.col("ranked").rank("ordinal").over("list").cast(nw.Float64),
        top=nw.col("best").rank("ordinal").over("list").cast(nw.Float64),
        gain=y.mean().over("list", "ranked"),
    )
    rows = rows.with_columns(middle=nw.col("rank").mean().over("list", "ranked"))

    def discount(rank: str) -> nw.Expr:
        return nw.when(nw.col(rank) <= k).then(1 / (nw.col(rank) + 1).log(2.0)).otherwise(0.0)

    segment = [nw.col("segment").min().alias("segment")] if keep else []
    useful = held & (y > 0)
    return (
        rows.with_columns(
            gained=nw.when(held).then(nw.col("gain") * discount("rank")),
            possible=nw.when(held).then(y * discount("top")),
            found=nw.when(useful).then(nw.col("middle")),
            kept=nw.when(held).then(y),
            outcome=nw.when(ok("y", "w")).then(nw.col("w") * y),
            seen=nw.when(ok("y", "w")).then(nw.col("w")),
        )
        .group_by("list")
        .agg(
            nw.col("bucket").min().alias("bucket"),
            *segment,
            nw.col("gained").sum().alias("dcg"),
            nw.col("possible").sum().alias("ideal"),
            nw.col("found").min().alias("first"),
            nw.col("kept").sum().alias("gain"),
            nw.col("held").sum().alias("items"),
            nw.col("seen").count().alias("outcomes"),
            nw.col("seen").sum().alias("shown"),
            nw.col("outcome").sum().alias("clicks"),
            nw.col("w").mean().alias("w"),
        )
    )
