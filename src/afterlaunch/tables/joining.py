"""What happened after each prediction, joined by id."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import narwhals as nw

from afterlaunch.decide import InputError
from afterlaunch.roles import Roles
from afterlaunch.tables.rules import require_same_clock, require_unique, short
from afterlaunch.tables.sampling import beside, sample, with_row_number
from afterlaunch.tables.table import DType, Frame, Table, fetch, free_name

DELAY_ROWS = 100_000
DELAY_SEED = 0
EXACT = 2**53


@dataclass(frozen=True)
class JoinInfo:
    """How many predictions have an outcome, and how late it came.

    Attributes:
        rows: Rows of the predictions table.
        matched: Rows whose id the outcomes have.
        delay_seconds: Quantile (0.5, 0.9, 0.99) to seconds from prediction to outcome, from at
            most `DELAY_ROWS` sampled rows; empty when the times are not known.
    """

    rows: int
    matched: int
    delay_seconds: Mapping[float, float] = field(default_factory=dict)

    @property
    def share(self) -> float:
        """Share of the rows that matched; 0 for no rows."""
        return self.matched / self.rows if self.rows else 0.0


def join_outcomes(table: Table, outcomes: Table, roles: Roles) -> tuple[Table, JoinInfo]:
    """Put what happened beside each prediction: a left join by id, inside the engine.

    Every column of the outcomes that has a role comes along (outcome, outcome_time, weight, …).

    Args:
        table: One row per prediction, with the id column.
        outcomes: One row per id, with the id column and the outcome column.
        roles: `id` and `outcome` are needed; `time` and `outcome_time` give the delay.

    Returns:
        The table with the outcome columns, null where an id has none, and how well it matched.

    Raises:
        InputError: When a column is missing, is in both tables, an id repeats, or the ids are
            of different types.

    Example:
        >>> import polars as pl
        >>> from afterlaunch.tables import open_table
        >>> log = open_table(pl.DataFrame({"id": [1, 2], "p": [0.1, 0.9]}), name="production")
        >>> seen = open_table(pl.DataFrame({"id": [2], "y": [1]}), name="outcomes")
        >>> joined, info = join_outcomes(log, seen, Roles(id="id", score="p", outcome="y"))
        >>> fetch(joined.frame)["y"].to_list(), info.share
        ([None, 1], 0.5)
    """
    key = roles.id
    if key is None:
        raise InputError(
            f"Joining the {outcomes.name} table needs the role 'id'; name the column that both tables share."
        )
    for t in (table, outcomes):
        if key not in t.columns:
            raise InputError(
                f"The {t.name} table ({t.source}) has no column {key!r}, the role 'id'; add it or name another."
            )
    if roles.outcome is None or roles.outcome not in outcomes.columns:
        which = "the role 'outcome'" if roles.outcome is None else f"the column {roles.outcome!r}, the role 'outcome'"
        raise InputError(f"The {outcomes.name} table ({outcomes.source}) lacks {which}; name a column that it has.")
    taken = [
        c
        for _, c in roles.pairs()
        if c in outcomes.columns and c != key and (c not in table.columns or c == roles.outcome)
    ]
    if roles.outcome in table.columns:
        raise InputError(
            f"Both the {table.name} and the {outcomes.name} table have the outcome {roles.outcome!r}; "
            "leave it out of one of them."
        )
    require_same_clock(table, outcomes, roles)
    require_unique(table, key)
    require_unique(outcomes, key)
    joined, counts = _join(table, outcomes, key, taken)
    rows, matched = (int(n or 0) for n in counts)
    return joined, JoinInfo(rows, matched, _delays(joined, roles) if matched else {})


def _join(table: Table, outcomes: Table, key: str, taken: list[str]) -> tuple[Table, tuple[int, int]]:
    on = free_name((*table.columns, *outcomes.columns), "afterlaunch_key")
    hit = free_name((*table.columns, *outcomes.columns), "afterlaunch_hit")
    cast = _common_type(table, outcomes, key)
    right = outcomes.frame.filter(~nw.col(key).is_null()).select(
        nw.col(key).cast(cast).alias(on), *taken, nw.lit(1).alias(hit)
    )
    numbered, row = (table, "") if table.engine == "polars" else with_row_number(table)
    left = numbered.frame.with_columns(nw.col(key).cast(cast).alias(on))
    both = _left_join(left, right, on, table, outcomes)
    counts = fetch(both.select(nw.len().alias("rows"), nw.col(hit).count().alias("matched")), table, outcomes).row(0)
    both = both.drop(on, hit) if table.engine == "polars" else both.sort(row).drop(on, hit, row)
    return table.with_frame(both), counts


def _left_join(left: Frame, right: Frame, on: str, table: Table, outcomes: Table) -> Frame:
    """In the engine of the left side; the right side is brought there when it is elsewhere."""
    if table.engine == "polars":
        if outcomes.engine != "polars":
            right = nw.from_native(fetch(right, outcomes).lazy())
        joined: Frame = nw.from_native(
            nw.to_native(left).join(nw.to_native(right), on=on, how="left", maintain_order="left")
        )
        return joined
    if table.engine == outcomes.engine:
        try:
            return left.join(right, on=on, how="left")
        except Exception:
            if table.engine != "duckdb":
                raise
            # Two DuckDB connections do not see each other's relations.
    if table.engine == "duckdb":
        rows = nw.from_native(beside(nw.to_native(left), fetch(right, outcomes)))
        return left.join(rows, on=on, how="left")
    raise InputError(
        f"The {table.name} table is in {table.engine} and the {outcomes.name} table in {outcomes.engine}; "
        "open both in the same engine."
    )


def _common_type(table: Table, outcomes: Table, key: str) -> DType:
    """The type under which the ids of both tables can be equal."""
    types = [t.schema()[key] for t in (table, outcomes)]
    if types[0] == types[1]:
        return types[0]
    kinds = [t.kinds[key] for t in (table, outcomes)]
    if kinds[0] != kinds[1]:
        words = ["numbers" if k == "numeric" else "text" if k == "category" else k + " values" for k in kinds]
        values = [_first(t, key) for t in (table, outcomes)]
        raise InputError(
            f"The id {key!r} holds {words[0]} in the {table.name} table ({values[0]}) and {words[1]} in the "
            f"{outcomes.name} table ({values[1]}); convert one of them so that equal ids are equal."
        )
    if kinds[0] == "time":
        return nw.Datetime("us", getattr(types[0], "time_zone", None))
    if not all(t.is_integer() for t in types):
        for t, dtype in zip((table, outcomes), types, strict=True):
            _require_exact(t, key, dtype)
        return nw.Int64()
    return nw.Int128() if any(t in {nw.UInt64, nw.Int128, nw.UInt128} for t in types) else nw.Int64()


def _require_exact(table: Table, key: str, dtype: DType) -> None:
    """Refuse float ids that are not whole numbers, or too large to be told apart."""
    if dtype.is_integer():
        return
    value = nw.col(key)
    bad = table.frame.select(value).filter((value != value.floor()) | (value > EXACT) | (value < -EXACT)).head(1)
    found = fetch(bad, table)
    if found.height:
        raise InputError(
            f"The id {key!r} of the {table.name} table is {found.item()!r}, "
            "which cannot stand for a whole number; "
            "write the ids as integers or as text in both tables."
        )


def _first(table: Table, key: str) -> str:
    found = fetch(table.frame.select(nw.col(key)).filter(~nw.col(key).is_null()).head(1), table)
    return f"such as {short(found.item())}" if found.height else "all missing"


def _delays(joined: Table, roles: Roles) -> dict[float, float]:
    begun, known = roles.time, roles.outcome_time
    if begun not in joined.columns or known not in joined.columns or begun is None or known is None:
        return {}
    if not all(isinstance(joined.schema()[c], nw.Datetime) for c in (begun, known)):
        return {}
    drawn = sample(joined, [begun, known], DELAY_ROWS, DELAY_SEED)
    delay = (drawn[known] - drawn[begun]).drop_nulls().dt.total_microseconds() / 1e6
    if not delay.len():
        return {}
    return {q: float(delay.quantile(q, "linear") or 0.0) for q in (0.5, 0.9, 0.99)}
