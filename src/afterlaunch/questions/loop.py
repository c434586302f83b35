"""Is the model teaching itself: shown because clicked, clicked because shown?"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import narwhals as nw
import numpy as np
import polars as pl

from afterlaunch.decide import InputError
from afterlaunch.finding import Review
from afterlaunch.profile.exposures import Exposures
from afterlaunch.profile.types import Floats
from afterlaunch.questions.gather import SEED, Progress, Tables, preload, review
from afterlaunch.roles import Roles
from afterlaunch.roles_guess import guess_roles
from afterlaunch.tables import (
    Cut,
    Table,
    are_numbers,
    as_number,
    as_text,
    cut,
    fetch,
    fetch_all,
    open_table,
    parse_every,
    require_chances,
    require_kinds,
    require_roles,
    sample,
)

CHECKS = ("amplification", "concentration", "popularity")
PRIMARY = ("amplification",)

MOST_CELLS = 60_000_000
"""Windows times items that are held in memory."""

MOST_SEGMENTS = 12
SAMPLED_ROWS = 500_000
"""Rows from which the dependence of one user's rows is learned."""

NAMES = {"1d": "day", "1w": "week", "1mo": "month"}


def loop(
    log: Any,
    *,
    roles: Roles | Mapping[str, Any] | None = None,
    every: str = "1w",
    explored: str | None = None,
    born: str | None = None,
    catalogue: int | None = None,
    share: float = 0.02,
    margins: Mapping[str, float] | None = None,
    alpha: float = 0.05,
    progress: Progress | None = None,
) -> Review:
    """Follow what is shown over time, and ask whether being shown makes it shown again.

    Args:
        log: A row for each impression (or purchase, or view): a path or glob, or any dataframe or relation narwhals
            knows, with the roles `time` and `item`, and where there are any `unit`, `outcome` (a click), `category`,
            `segment` and `propensity`.
        roles: What columns mean.
        every: How often the model is trained again, "1d", "1w" or another length.
        explored: Column that says which impressions were filled by chance, all items of the catalogue being as
            likely; `afterlaunch.explore` fills and records them.
        born: Column with the time at which the item came into the catalogue.
        catalogue: Items that could be shown; those that were ever shown when None.
        share: Exploration share that the cost is estimated for.
        margins: How much matters, over the defaults in `docs/loop.md`.
        alpha: Chance of any false alarm.
        progress: Called with a few words on what is being done.

    Returns:
        The review; see `docs/loop.md`.

    Raises:
        InputError: For unusable input, in one sentence.

    Example:
        >>> import datetime as dt
        >>> import numpy as np, polars as pl
        >>> rng = np.random.default_rng(0)
        >>> days = rng.integers(0, 56, 20_000)
        >>> log = pl.DataFrame({
        ...     "ts": [dt.datetime(2026, 1, 5) + dt.timedelta(days=int(d)) for d in days],
        ...     "film": rng.zipf(1.5, 20_000) % 200,
        ... })
        >>> found = loop(log, roles={"time": "ts", "item": "film"})
        >>> found.verdict.value, next(f.reason for f in found if f.check == "amplification")
        ('undecided', 'no_randomisation')
    """
    say = progress or (lambda _: None)
    preload()
    if isinstance(share, bool) or not isinstance(share, (int, float)) or not 0 < share < 1:
        raise InputError(f"The exploration share is {share!r}; give a number between 0 and 1, such as 0.02.")
    if catalogue is not None and (isinstance(catalogue, bool) or not isinstance(catalogue, int) or catalogue < 1):
        raise InputError(f"The catalogue has {catalogue!r} items; give a whole number from 1 on.")
    say("opening the log")
    table = open_table(log, name="log")
    known = roles if isinstance(roles, Roles) else Roles.from_mapping(roles or {})
    notes: list[str] = []
    for role in ("time", "item"):
        if getattr(known, role) is None:
            guess = next((g for g in guess_roles(table) if g.role == role), None)
            if guess is None:
                raise InputError(f"Nothing says which column is the {role}; name it with the role {role}.")
            known = known.with_(**{role: guess.column})
            notes.append(f"{guess.column!r} was taken as the role {role!r}: {guess.reason}")
    require_roles(known, [table])
    require_kinds(table, known)
    _require_columns(table, known, explored, born, notes)
    if parse_every(every).unit == "row":
        raise InputError("A loop runs in time, so its windows are lengths of time; give one such as '1w'.")
    say("cutting the log into windows")
    windows = cut(table, parse_every(every), time=known.time)
    say("counting impressions")
    counted = _count(windows, known, explored, born, catalogue, notes)
    tables = Tables(table, table, known, notes=notes)
    tables.rows = {"log": table.rows(), "items": len(counted.items), "windows": len(counted.windows)}
    from afterlaunch.checks import Evidence

    return review(
        "loop",
        Evidence(roles=known, exposures=counted, options={"share": float(share)}),
        CHECKS,
        primary=PRIMARY,
        margins=margins or {},
        alpha=alpha,
        tables=tables,
        progress=progress,
    )


def _require_columns(table: Table, roles: Roles, explored: str | None, born: str | None, notes: list[str]) -> None:
    for column, what in ((explored, "impressions were filled by chance"), (born, "items came into the catalogue")):
        if column is not None and column not in table.columns:
            raise InputError(f"The log has no column {column!r} that says when or which {what}; check the name.")
    if born is not None and table.kinds[born] != "time":
        raise InputError(f"The column {born!r} holds {table.schema()[born]}, no times; give when an item came.")
    if explored is not None and not are_numbers(table, explored):
        raise InputError(f"The column {explored!r} holds {table.schema()[explored]}; give true or false, or 1 and 0.")
    asked = []
    if roles.propensity is not None:
        require_chances(table, roles.propensity, "propensity", taken=True)
    if explored is not None and table.kinds[explored] == "numeric":
        e = nw.col(explored)
        asked.append(((e != 0) & (e != 1)).cast(nw.Int64).sum().alias("neither"))
    asked.append((~nw.col(str(roles.item)).is_null()).cast(nw.Int64).sum().alias("items"))
    found = fetch(table.frame.select(*asked), table).row(0, named=True)
    if lost := table.rows() - int(found["items"] or 0):
        notes.append(f"{lost:,} rows without an item were left out.")
    if not found["items"]:
        raise InputError(f"The item {roles.item!r} is missing in every row; give what was shown.")
    if found.get("neither"):
        raise InputError(
            f"The column {explored!r} is neither 0 nor 1 in {found['neither']:,} rows; give 1 for by chance."
        )


def _count(
    found: Cut, roles: Roles, explored: str | None, born: str | None, catalogue: int | None, notes: list[str]
) -> Exposures:
    """Impressions of every item in every complete window, in one group-by."""
    table, item = found.table, roles.item
    assert item is not None
    complete = [i for i, w in enumerate(found.windows) if w.complete]
    if len(complete) < len(found.windows):
        left = [w.label for w in found.windows if not w.complete]
        notes.append(f"The log covers {', '.join(left)} in part only; they were left out.")
    if not complete:
        raise InputError(
            f"The log covers no whole window of {found.every.text}; give a longer log, or a shorter every."
        )
    rows = table.frame.filter(~nw.col(found.column).is_null() & ~nw.col(item).is_null())
    sums = [nw.len().alias("al_shown")]
    outcome = as_number(table, roles.outcome, roles.positive) if roles.outcome is not None else None
    chance = as_number(table, explored).fill_null(0.0) if explored is not None else None
    if outcome is not None:
        sums.append(outcome.sum().alias("al_chosen"))
    if chance is not None:
        sums.append(chance.sum().alias("al_explored"))
        if outcome is not None:
            sums.append((chance * outcome).sum().alias("al_explored_chosen"))
    # In a list, places are no draws of their own, and a slice is the simpler lottery.
    if roles.propensity is not None and (explored is None or roles.position is None):
        waited = nw.lit(0.0)
        if roles.list is not None and roles.position is not None:
            # In a list an item stands once: it had as many chances as places down to its own.
            places = fetch(table.frame.select(nw.col(roles.position).max().alias("k")), table)["k"][0]
            waited = nw.lit(float(places or 0)) - nw.col(roles.position).cast(nw.Float64)
        sums.append((1 / nw.col(roles.propensity) + waited).sum().alias("al_inverse"))
        if outcome is not None:
            sums.append((outcome / nw.col(roles.propensity)).sum().alias("al_inverse_chosen"))
    keys = [found.column, item] + ([roles.segment] if roles.segment is not None else [])
    queries = [rows.group_by(*keys).agg(*sums)]
    more = [nw.col(roles.category).min().alias("al_category")] if roles.category is not None else []
    more += [nw.col(born).min().alias("al_born")] if born is not None else []
    if more:
        queries.append(rows.group_by(item).agg(*more))
    results = fetch_all(queries, table)
    cells = results[0]
    names = cells[item].unique().sort()
    if names.len() * len(complete) > MOST_CELLS:
        raise InputError(
            f"{names.len():,} items in {len(complete):,} windows are more than {MOST_CELLS:,} counts; give longer "
            "windows, or an item that is coarser."
        )
    size = max(names.len(), catalogue or 0)
    if catalogue is not None and catalogue < names.len():
        raise InputError(f"The catalogue has {catalogue:,} items, but {names.len():,} were shown; give all of them.")
    place = {w: i for i, w in enumerate(complete)}
    cells = cells.filter(pl.col(found.column).is_in(complete)).with_columns(
        pl.col(found.column).replace_strict(list(place), list(place.values()), return_dtype=pl.Int64).alias("al_w"),
        pl.col(item)
        .replace_strict(names, pl.Series(range(names.len()), dtype=pl.Int64), return_dtype=pl.Int64)
        .alias("al_i"),
    )

    def table_of(name: str, part: pl.DataFrame) -> Floats:
        out = np.zeros((len(complete), size))
        values = part[name].fill_null(0).to_numpy().astype(float)
        np.add.at(out, (part["al_w"].to_numpy(), part["al_i"].to_numpy()), values)
        return out

    given = {name: table_of(f"al_{name}", cells) for name in ARRAYS if f"al_{name}" in cells.columns}
    segments: dict[str, Floats] = {}
    if roles.segment is not None:
        sizes = (
            cells.group_by(roles.segment).agg(pl.col("al_shown").sum()).drop_nulls().sort("al_shown", descending=True)
        )
        for value in sizes[roles.segment].head(MOST_SEGMENTS):
            segments[as_text(value)] = table_of("al_shown", cells.filter(pl.col(roles.segment) == value))
        if sizes.height > MOST_SEGMENTS:
            notes.append(f"The {MOST_SEGMENTS} largest segments of {roles.segment!r} were looked at on their own.")
    facts = results[1] if more else None
    numbers = None
    categories: tuple[str, ...] = ()
    if facts is not None and roles.category is not None:
        known = dict(zip(facts[item], facts["al_category"], strict=True))
        of = [None if known.get(n) is None else as_text(known[n]) for n in names]
        categories = tuple(sorted({c for c in of if c is not None}))
        index = {c: i for i, c in enumerate(categories)}
        numbers = np.full(size, -1, dtype=np.int64)
        numbers[: names.len()] = [-1 if c is None else index[c] for c in of]
    return Exposures(
        windows=tuple(found.windows[i] for i in complete),
        every=NAMES.get(found.every.text, f"{found.every.text} window"),
        items=tuple(as_text(n) for n in names),
        category=numbers,
        categories=categories,
        segments=segments,
        born=_ages(facts, item, names, size, found, complete) if facts is not None and born is not None else None,
        inflation=_inflation(found, roles, complete),
        units=roles.unit is not None,
        **given,
    )


ARRAYS = ("shown", "chosen", "explored", "explored_chosen", "inverse", "inverse_chosen")


def _ages(facts: pl.DataFrame, item: str, names: pl.Series, size: int, found: Cut, complete: list[int]) -> Floats:
    """In which window every item came, as a fraction; not a number where the log does not say."""
    first = found.windows[complete[0]]
    length = (found.windows[complete[0]].end - first.start).total_seconds()  # type: ignore[operator, union-attr]
    known = dict(zip(facts[item], facts["al_born"], strict=True))
    out = np.full(size, np.nan)
    for i, name in enumerate(names):
        when = known.get(name)
        if when is not None:
            start: Any = first.start
            if when.tzinfo is None and start.tzinfo is not None:
                start = start.replace(tzinfo=None)
            out[i] = (when - start).total_seconds() / length
    return out


def _inflation(found: Cut, roles: Roles, complete: list[int]) -> float:
    """How much more a unit's rows scatter than independent ones, by the items' popularity; from a bounded sample."""
    if roles.unit is None or roles.item is None:
        return 1.0
    drawn = sample(found.table, [roles.unit, roles.item, found.column], SAMPLED_ROWS, SEED)
    drawn = drawn.filter(pl.col(found.column).is_in(complete)).drop_nulls()
    if drawn.height < 100:
        return 1.0
    # The weight of a row in a measure of concentration goes with how popular its item is in that window.
    part = pl.len().over(found.column, roles.item) / pl.len().over(found.column)
    rows = drawn.with_columns(part.alias("al_p"))
    rows = rows.with_columns((pl.col("al_p") - pl.col("al_p").mean().over(found.column)).alias("al_p"))
    by_unit = rows.group_by(roles.unit, found.column).agg(pl.col("al_p").sum())["al_p"]
    plain = float((rows["al_p"] ** 2).sum())
    rate = found.table.rows() / max(drawn.height, 1)
    found_here = float((by_unit**2).sum()) / plain if plain > 0 else 1.0
    # A sample of rows meets each unit's other rows only so often.
    return max(1.0, 1 + (found_here - 1) * rate)
