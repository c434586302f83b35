"""Fetching the evidence that a question's checks declare: the only place where tables meet checks."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from importlib import import_module
from threading import Thread
from typing import TYPE_CHECKING, Any, TypeVar

import narwhals as nw
import polars as pl

from afterlaunch.decide import InputError, Margins, decide
from afterlaunch.finding import Json, Review
from afterlaunch.profile.buckets import BUCKETS, SCHEME, with_bucket
from afterlaunch.profile.count import Source, count_categories, freeze_categories, profile_reference, profile_table
from afterlaunch.profile.types import Profile
from afterlaunch.roles import Roles
from afterlaunch.roles_guess import guess_roles
from afterlaunch.tables import (
    JoinInfo,
    Table,
    align_kinds,
    drawn_rows,
    fetch_all,
    free_name,
    join_outcomes,
    open_table,
    require_kinds,
    require_roles,
    require_same_clock,
    sample,
)
from afterlaunch.tables.table import kind_of

if TYPE_CHECKING:
    from afterlaunch.checks import Check, Evidence, Sample

SEED = 0
BIN_ROWS = 50_000
"""Rows of the reference from which numeric bins are frozen."""

HELD_BYTES = 200_000_000
"""Numeric columns of the reference that take no more memory are read once and held while they are counted."""

SAMPLE_ROWS = 50_000
"""Most rows of each table that checks may look at row by row."""

COMPARED = ("score", "prediction", "segment", "category", "position", "latency_ms")
"""Roles whose columns are compared like features."""

Progress = Callable[[str], None]
A = TypeVar("A")
B = TypeVar("B")


@dataclass
class Tables:
    """The opened tables of one review and what was found on opening them."""

    reference: Table
    production: Table
    roles: Roles
    rows: Json = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    joined: JoinInfo | None = None
    bucket: str | None = None
    scheme: str = SCHEME


def preload() -> None:
    """Import the checks beside the counting: their SciPy takes as long as a small table."""
    Thread(target=import_module, args=("afterlaunch.checks",), daemon=True).start()


def open_tables(
    reference: Any, production: Any, roles: Roles, *, outcomes: Any = None, progress: Progress | None = None
) -> Tables:
    """Open the tables of a review, join outcomes, complete the roles, and refuse what contradicts itself.

    Args:
        reference: What normal is: a path, a dataframe or a relation.
        production: The log.
        roles: What is known of the columns.
        outcomes: A table with the id and the outcome, for logs that came before their outcomes.
        progress: Called with what is being done.

    Raises:
        InputError: For anything unusable, in one sentence.
    """
    say = progress or (lambda _: None)
    say("opening the tables")
    old, new = open_table(reference, name="reference"), open_table(production, name="production")
    happened = open_table(outcomes, name="outcomes") if outcomes is not None else None
    roles, notes = _complete(roles, old, new)
    require_roles(roles, [old, new, *([happened] if happened else [])])
    out = Tables(old, new, roles, notes=notes)
    if happened is not None:
        say("joining outcomes")
        out.production, out.joined = join_outcomes(new, happened, roles)
    for table in (out.reference, out.production):
        require_kinds(table, roles)
    require_same_clock(out.reference, out.production, roles)
    out.reference, out.production = align_kinds(out.reference, out.production)
    out.rows = {"reference": out.reference.rows(), "production": out.production.rows()}
    if out.joined is not None:
        out.rows["with_outcome"] = out.joined.matched
    _add_buckets(out)
    return out


def _complete(roles: Roles, old: Table, new: Table) -> tuple[Roles, list[str]]:
    """Guess the id and the time, which are no features even when nobody said so."""
    taken = {column for _, column in roles.pairs()} | set(roles.ignore) | set(roles.features or ())
    notes = []
    for guess in guess_roles(old):
        wanted = guess.role in {"id", "time"} and getattr(roles, guess.role) is None
        if wanted and guess.column not in taken and guess.column in new.columns:
            roles = roles.with_(**{guess.role: guess.column})
            notes.append(f"{guess.column!r} was taken as the role {guess.role!r}: {guess.reason}")
    return roles, notes


def _add_buckets(tables: Tables) -> None:
    """Give both tables a bucket column when rows come in units that both tables name."""
    roles = tables.roles
    both = (tables.reference, tables.production)
    if roles.bucket is not None and all(roles.bucket in t.columns for t in both):
        for table in both:
            require_bucket(table, roles.bucket)
        tables.bucket, tables.scheme = roles.bucket, f"column {roles.bucket}"
        return
    if roles.unit is None:
        return
    if not all(roles.unit in t.columns for t in both):
        missing = " and ".join(t.name for t in both if roles.unit not in t.columns)
        tables.notes.append(
            f"The unit {roles.unit!r} is not in the {missing} table, so rows were taken as independent."
        )
        return
    types = [t.schema()[roles.unit] for t in both]
    if len({(kind_of(t), t.is_integer()) for t in types}) > 1:
        raise InputError(
            f"The unit {roles.unit!r} is {types[0]} in the reference and {types[1]} in production; "
            "give both the same type, else one user would be two."
        )
    name = free_name([*both[0].columns, *both[1].columns], "afterlaunch_bucket")
    integer = all(t.is_integer() for t in types)
    tables.reference, tables.production = (
        t.with_frame(with_bucket(t.frame, roles.unit, name=name, integer=integer)) for t in both
    )
    tables.bucket = name


def require_bucket(table: Table, column: str) -> None:
    """Refuse a bucket column that does not hold 0 to 63."""
    if not table.schema()[column].is_integer():
        raise InputError(
            f"The bucket {column!r} of the {table.name} table holds no integers; give integers from 0 to 63."
        )
    bucket = nw.col(column)
    asked = [bucket.min().alias("low"), bucket.max().alias("high"), bucket.is_null().cast(nw.Int64).sum().alias("null")]
    low, high, null = fetch_all([table.frame.select(*asked)], table)[0].row(0)
    if null:
        raise InputError(
            f"The bucket {column!r} of the {table.name} table is missing in {null:,} rows; give one for each."
        )
    if low is not None and (low < 0 or high >= BUCKETS):
        found = low if low < 0 else high
        raise InputError(f"The bucket {column!r} of the {table.name} table holds {found}; give integers from 0 to 63.")


def compared(tables: Tables) -> list[str]:
    """Columns of the reference that are compared: its features, and what the model put out."""
    roles, columns = tables.roles, [c for c in tables.reference.columns if c != tables.bucket]
    more = [c for r in COMPARED if (c := getattr(roles, r)) is not None and c in tables.reference.columns]
    more += [c for c in roles.scores.values() if c in tables.reference.columns]
    return list(dict.fromkeys([*roles.features_of(columns), *more]))


def count_columns(tables: Tables, progress: Progress | None = None) -> tuple[Profile, Profile]:
    """Profiles of both tables in the bins of the reference."""
    say = progress or (lambda _: None)
    columns = compared(tables)
    numeric = [c for c in columns if tables.reference.kinds[c] == "numeric"]
    say("sampling the reference")
    old, new = source_of(tables.reference, tables), source_of(tables.production, tables)
    (drawn, held), frozen = _both(tables, lambda: _numbers(tables, numeric), lambda: freeze_categories(old, columns))
    say("counting the reference")
    reference, cells = _both(
        tables,
        lambda: profile_reference(replace(old, held=held), drawn, columns, frozen),
        lambda: count_categories(new, frozen.bins),
    )
    say("counting production")
    bins = {name: counts.bins for name, counts in reference.columns.items()}
    production = profile_table(new, bins, columns, cells)
    return (
        replace(reference, kinds={c: tables.reference.kinds[c] for c in columns}),
        replace(production, kinds={c: k for c, k in tables.production.kinds.items() if c != tables.bucket}),
    )


def count_reference(tables: Tables, columns: Sequence[str]) -> Profile:
    """Freeze the bins of the reference, and count it."""
    numeric = [c for c in columns if tables.reference.kinds[c] == "numeric"]
    source = source_of(tables.reference, tables)
    (drawn, held), frozen = _both(tables, lambda: _numbers(tables, numeric), lambda: freeze_categories(source, columns))
    profile = profile_reference(replace(source, held=held), drawn, columns, frozen)
    return replace(profile, kinds={c: tables.reference.kinds[c] for c in columns})


def _both(tables: Tables, first: Callable[[], A], second: Callable[[], B]) -> tuple[A, B]:
    """Two independent countings, side by side where tables are local: one alone leaves a core waiting now and then."""
    if {tables.reference.engine, tables.production.engine} != {"polars"}:
        return first(), second()
    with ThreadPoolExecutor(1) as pool:
        other = pool.submit(second)
        return first(), other.result()


def _numbers(tables: Tables, numeric: Sequence[str]) -> tuple[pl.DataFrame, pl.DataFrame | None]:
    """A sample of the numeric columns and, when all their rows are few enough to hold, the columns themselves."""
    table = tables.reference
    if not numeric:
        return pl.DataFrame(), None
    if table.engine != "polars" or table.rows() * len(numeric) * 8 > HELD_BYTES:
        return sample(table, numeric, BIN_ROWS, SEED), None
    wanted = [*numeric, tables.bucket] if tables.bucket else numeric
    held = fetch_all([table.frame.select(*wanted)], table)[0]
    return held[drawn_rows(held.height, BIN_ROWS, SEED)], held


def source_of(table: Table, tables: Tables) -> Source:
    """A table as the counter sees it."""

    def fetch(frames: Sequence[Any]) -> list[pl.DataFrame]:
        return fetch_all(frames, table)

    return Source(table.frame, table.kinds, fetch, tables.bucket, tables.scheme, rows=table.rows())


def draw_samples(tables: Tables, most: int = SAMPLE_ROWS) -> tuple[Sample, Sample]:
    """Bounded samples of both tables with every column that a check can use."""
    return sample_of(tables, tables.reference, most), sample_of(tables, tables.production, most)


def sample_of(tables: Tables, table: Table, most: int = SAMPLE_ROWS) -> Sample:
    """A bounded sample of one table with every column that a check can use."""
    from afterlaunch.checks import Sample

    columns = [c for c in table.columns if table.kinds[c] != "other" or c == tables.roles.embedding]
    return Sample(sample(table, columns, most, SEED), table.rows(), SEED)


def review(
    question: str,
    evidence: Evidence,
    checks: Iterable[str],
    *,
    primary: Iterable[str],
    margins: Mapping[str, float],
    alpha: float,
    tables: Tables,
    progress: Progress | None = None,
) -> Review:
    """Run checks on evidence and decide.

    Args:
        question: Name of the question.
        evidence: What was fetched.
        checks: Names of the checks to run.
        primary: Names of those that count toward the verdict.
        margins: The user's margins.
        alpha: Chance of any false alarm in the review.
        tables: Where rows and notes come from.
        progress: Called with what is being done.
    """
    from afterlaunch import __version__
    from afterlaunch.checks import CHECKS

    say = progress or (lambda _: None)
    held = Margins(margins)
    used: list[Check] = [CHECKS[name] for name in checks]
    estimates = []
    for check in used:
        say(f"checking {check.name}")
        estimates += check.run(evidence)
    kinds = {c.name: c.kinds for c in used}
    subjects: dict[str, list[str]] = {}
    for e in estimates:
        subjects.setdefault(e.check, []).append(e.subject)
    held.require_known(kinds, subjects)
    say("deciding")
    findings = decide(estimates, margins=held, alpha=alpha, primary=primary, family=f"{question} review")
    settings: Json = {
        "roles": tables.roles.to_dict(),
        "margins": dict(margins),
        "alpha": alpha,
        "checks": [c.name for c in used],
    }
    return Review(question, tuple(findings), dict(tables.rows), settings, tuple(tables.notes), __version__)
