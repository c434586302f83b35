"""Does this week's model say the same as last week's, beyond what another seed would change?"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import narwhals as nw
import numpy as np
import polars as pl

from afterlaunch.decide import InputError
from afterlaunch.finding import Review
from afterlaunch.profile.buckets import with_bucket
from afterlaunch.profile.compared import Compared, Run
from afterlaunch.profile.panel import Columns, count_two, drawn
from afterlaunch.profile.panel_sample import count_sampled
from afterlaunch.questions.gather import SEED, Progress, Tables, count_columns, preload, require_bucket, review
from afterlaunch.questions.outcomes import task_of, with_positive
from afterlaunch.questions.ranked import count_ranked
from afterlaunch.roles import Roles
from afterlaunch.roles_guess import guess_roles
from afterlaunch.tables import Table, as_text, fetch, free_name, open_table, require_kinds, require_roles, sample
from afterlaunch.tables.panel import (
    Wide,
    are_lists,
    is_run,
    require_one_row_each,
    runs_of,
    spread,
    unfold,
    wide,
)

CHECKS = ("churn", "scores", "lists", "mix", "seeds", "drift")
PRIMARY = ("churn", "scores", "lists", "mix", "seeds", "drift")
PANEL_ROWS = 50_000
"""Most values of each run that are looked at row by row: for orders of rows, and for replicates."""

MOST_CLASSES = 20
"""Most different whole numbers that are taken as classes; predictions of more are amounts."""

ROUNDING = 1e-6
"""By so much may a probability lie outside 0 and 1."""

TWINS = 0.05
"""From this share of rows in common on the versions are compared row by row, else by what they put out altogether."""


def compare(
    panel: Any,
    *,
    baseline: str | Sequence[str],
    candidate: str | Sequence[str],
    replicates: str | None = None,
    history: Any = None,
    roles: Roles | Mapping[str, Any] | None = None,
    margins: Mapping[str, float] | None = None,
    alpha: float = 0.05,
    task: str | None = None,
    threshold: float | None = None,
    k: int = 10,
    progress: Progress | None = None,
) -> Review:
    """Compare two versions of a model on what they put out for the same rows, users or queries.

    Args:
        panel: The table: a path or glob, or any dataframe or relation narwhals knows. *Long*, with the
            roles `version` and `id` and one row for each id and version; *wide*, with a column of
            scores, classes or lists of items for each version; *ranked lists*, with the roles `version`,
            `list`, `item` and `position`; or a traffic log in which the versions scored different rows: then
            only what they put out altogether is compared.
        baseline: The version that was: a value of the role `version`, or a column of a wide table, or
            columns of its replicates.
        candidate: The version that shall be.
        replicates: Column that tells replicates apart: the same training repeated on resampled data with
            another seed. With them, change is judged by how far it goes beyond that of a repetition.
        history: Of ranked lists: what each user chose before, a table with the columns of the roles `list`
            and `category`, and `weight` if there is one.
        roles: What columns mean.
        margins: How much change matters, over the defaults in `docs/stability.md`.
        alpha: Chance of any false alarm in the review.
        task: "binary", "multiclass" or "regression"; guessed from the outcome when None.
        threshold: Score from which a row counts as predicted positive, where there is no `prediction`
            (default 0.5 for scores between 0 and 1).
        k: Length of the lists that are compared.
        progress: Called with a few words on what is being done.

    Returns:
        The review; see `docs/stability.md`, `docs/lists.md` and `docs/seeds.md`.

    Raises:
        InputError: For unusable input, in one sentence.

    Example:
        >>> import polars as pl
        >>> week = pl.DataFrame({"row": range(1000), "label": ["action", "comedy"] * 500})
        >>> turned = week.with_columns(label=pl.lit("comedy"))
        >>> panel = pl.concat([week.with_columns(version=pl.lit("W46")), turned.with_columns(version=pl.lit("W47"))])
        >>> roles = {"version": "version", "id": "row", "prediction": "label"}
        >>> compare(panel, baseline="W46", candidate="W47", roles=roles).findings[0].id
        'churn/churn'
    """
    say = progress or (lambda _: None)
    preload()
    if isinstance(k, bool) or not isinstance(k, int) or k < 1:
        raise InputError(f"The length k of the lists is {k}; give a whole number from 1 on.")
    say("opening the panel")
    known = roles if isinstance(roles, Roles) else Roles.from_mapping(roles or {})
    opened = _open(panel, known, baseline, candidate, replicates)
    _require_outputs(opened)
    say("comparing the versions")
    lists = opened.roles.list is not None and opened.roles.item is not None
    counted = None
    if lists:
        counted = count_ranked(
            opened.table, opened.roles, opened.runs, opened.before, replicates, history, k, opened.notes
        )
    elif opened.wide is not None:
        counted = _rows(opened, task, threshold, replicates)
    tables = opened.as_tables()
    from afterlaunch.checks import Evidence

    evidence = Evidence(roles=opened.roles, panel=counted)
    checks = [c for c in CHECKS if c != "drift"]
    if counted is None:
        evidence, checks = _distributions(tables, progress), [c for c in CHECKS if c == "drift"]
    else:
        tables.rows = _sizes(counted)
    if counted is not None and len(opened.runs) == 2:
        tables.notes.append(
            "Without replicates nobody knows how much of the change is the seed and the sample: give the same "
            "training repeated, and name the column with replicates=."
        )
    found = review(
        "compare",
        evidence,
        checks,
        primary=PRIMARY,
        margins=margins or {},
        alpha=alpha,
        tables=tables,
        progress=progress,
    )
    pictures = [f.table for f in found if f.id == "mix/overall" and f.table is not None]
    return replace(found, figures=tuple(pictures))


@dataclass
class _Opened:
    """A panel, and which runs of which versions are in it.

    `wide` is None where no rows can be matched; `rows` are those of both versions in a long table.
    """

    table: Table
    roles: Roles
    runs: tuple[Run, ...]
    before: int
    replicate: str | None
    wide: Wide | None
    notes: list[str]
    rows: int = 0

    def as_tables(self) -> Tables:
        """The rows of each version, as the two tables of a review."""
        version = self.roles.version
        if version is None:
            return Tables(self.table, self.table, self.roles, notes=self.notes)
        both = []
        for name, run in (("reference", self.runs[0]), ("production", self.runs[-1])):
            mine = is_run(self.table, Run(run.version), version, None)
            both.append(replace(self.table.with_frame(self.table.frame.filter(mine)), name=name))
        return Tables(both[0], both[1], self.roles, notes=self.notes)


def _open(
    panel: Any, roles: Roles, baseline: str | Sequence[str], candidate: str | Sequence[str], replicate: str | None
) -> _Opened:
    table = open_table(panel, name="panel")
    require_roles(roles, [table])
    require_kinds(table, roles)
    notes: list[str] = []
    names = [
        list(v) if isinstance(v, (list, tuple)) else [] if v is None else [as_text(v)] for v in (baseline, candidate)
    ]
    if not all(names):
        raise InputError("Baseline and candidate are empty; name a version, or a column, for each.")
    if roles.version is None and are_lists(table, [*names[0], *names[1]]):
        table, key = unfold(table, names[0], names[1], roles.list or roles.id)
        roles = roles.with_(version="version", item="item", position="position", list=key, id=None)
    version = roles.version
    if version is None and not any(c in table.columns for c in (*names[0], *names[1])):
        guess = next((g for g in guess_roles(table) if g.role == "version"), None)
        if guess is not None:
            version = guess.column
            roles = roles.with_(version=version)
            notes.append(f"{version!r} was taken as the role 'version': {guess.reason}")
    if replicate is not None and replicate not in table.columns:
        raise InputError(f"The panel has no column {replicate!r} to tell replicates apart; check the name.")
    if replicate is not None and replicate == version:
        raise InputError(f"The column {replicate!r} is the version; name the column that numbers the replicates.")
    table, roles = _with_bucket(table, roles)
    if version is None:
        if replicate is not None:
            raise InputError(
                f"The replicates are in {replicate!r}, but no column has the role version; name it, or give each "
                "replicate a column and list those of the baseline and of the candidate."
            )
        found = wide(table, names[0], names[1], roles.id)
        return _Opened(table, roles, found.runs, found.baseline, None, found, notes)
    if any(len(n) > 1 for n in names):
        raise InputError(
            f"Baseline and candidate are values of the column {version!r}, so give one of each; "
            "replicates of a version are told apart by the column that replicates= names."
        )
    runs, before, rows = runs_of(table, version, names[0][0], names[1][0], replicate)
    if replicate is not None and len(runs) == 2:
        notes.append(f"The column {replicate!r} tells only one run of each version apart, so there are no replicates.")
    taken = [c for c in (roles.outcome, roles.bucket, roles.segment) if c is not None]
    matched = None
    if roles.id is not None and roles.list is None:
        matched = spread(
            table,
            runs,
            before,
            key=roles.id,
            version=version,
            replicate=replicate,
            prediction=roles.prediction,
            score=roles.score,
            others=taken,
        )
    return _Opened(table, roles, runs, before, replicate, matched, notes, rows)


def _named(given: Any) -> list[str]:
    """A version, or columns, as they were given."""
    if given is None:
        return []
    return [str(v) for v in given] if isinstance(given, (list, tuple)) else [as_text(given)]


def _require_outputs(opened: _Opened) -> None:
    roles = opened.roles
    if roles.version is None or (roles.list is not None and roles.item is not None):
        return
    if roles.prediction is None and roles.score is None:
        more = " " if roles.item is None else " the role list, so that the items of each list are compared; or"
        raise InputError(
            "The panel has no column with the role prediction or score, so there is nothing to compare; name"
            f"{more} the column with what the versions put out."
        )


def _with_bucket(table: Table, roles: Roles) -> tuple[Table, Roles]:
    """Buckets of units, unless each unit is a subject of its own."""
    if roles.bucket is not None:
        require_bucket(table, roles.bucket)
        return table, roles
    if roles.unit is None or roles.unit in {roles.id, roles.list}:
        return table, roles
    name = free_name(table.columns, "afterlaunch_bucket")
    integer = table.schema()[roles.unit].is_integer()
    with_ = table.with_frame(with_bucket(table.frame, roles.unit, name=name, integer=integer))
    return with_, roles.with_(bucket=name)


def _rows(opened: _Opened, task: str | None, threshold: float | None, replicate: str | None) -> Compared | None:
    """Rows matched by their id; None where too few are, so that only distributions can be compared."""
    found, roles = opened.wide, opened.roles
    if found is None:
        return None
    rows, total = _draw(opened, found)
    columns = _columns(opened, found, rows, task, threshold)
    first, other = 0, found.baseline
    pair = replace(
        columns,
        predictions=_pick(columns.predictions, first, other),
        scores=_pick(columns.scores, first, other),
    )
    two = (found.runs[first], found.runs[other])
    counted = count_two(found.table.frame, pair, two, partial(_fetch, found.table))
    if counted.most > 1:
        require_one_row_each(found, "panel")
    together = counted.pairs.total
    if roles.version is not None and together < TWINS * max(counted.total, 1) and len(found.runs) == 2:
        opened.notes.append(
            f"Only {together:,} of {counted.total:,} ids were scored by both versions, so rows could not be compared "
            "one by one: what the versions put out altogether is compared, which differs for other rows too."
        )
        return None
    sampled = count_sampled(rows, columns, found.runs, found.baseline, total=max(total, rows.height), seed=SEED)
    if len(found.runs) == 2:
        sampled = replace(sampled, rows=counted.pairs, row_segments=counted.segments)
    elif sampled.rows is not None:
        sampled = replace(sampled, rows=replace(sampled.rows, alone=counted.pairs.alone))
    return replace(sampled, output_total=counted.total)


def _pick(columns: tuple[str, ...], first: int, other: int) -> tuple[str, ...]:
    return (columns[first], columns[other]) if columns else ()


def _fetch(table: Table, frame: Any) -> pl.DataFrame:
    return fetch(frame, table)


def _columns(opened: _Opened, found: Wide, rows: pl.DataFrame, task: str | None, threshold: float | None) -> Columns:
    """What the columns hold, told from a sample of rows."""
    from afterlaunch.checks import Sample

    roles = opened.roles
    named = [c for c in (roles.outcome,) if c is not None]
    looked = rows.select(*named, *[pl.col(c) for c in (*found.predictions[:1], *found.scores[:1]) if c not in named])
    if roles.prediction is not None and found.predictions and found.predictions[0] != roles.prediction:
        looked = looked.rename({found.predictions[0]: roles.prediction})
    some = Sample(looked, looked.height, SEED)
    if not found.predictions or roles.positive is not None:
        roles = with_positive(roles, (some, some))
    kind = task_of(task, roles, (some, some))
    predicted, scored = list(found.predictions), list(found.scores)
    number = bool(predicted) and kind in {None, "regression"} and not all(_are_classes(rows[c]) for c in predicted)
    if not number and predicted and roles.outcome is not None:
        _require_same_words(rows, predicted[0], roles)
    if kind == "regression" and predicted:
        number = all(rows[c].dtype.is_numeric() for c in predicted)
    cut = threshold
    if cut is None and scored and not predicted and kind in {None, "binary"} and _are_probabilities(rows, scored):
        cut = 0.5
    return Columns(
        predictions=found.predictions,
        scores=found.scores,
        counts=found.counts,
        outcome=roles.outcome,
        bucket=roles.bucket,
        segment=roles.segment,
        threshold=cut if not found.predictions else None,
        positive=str(roles.positive) if roles.positive is not None and kind in {None, "binary"} else None,
        number=number,
        centre=_centre(rows, scored or (predicted if number else [])),
    )


def _centre(rows: pl.DataFrame, columns: Sequence[str]) -> float:
    """Mean of the first column's finite values; 0 without any."""
    if not columns:
        return 0.0
    values = rows[columns[0]].cast(pl.Float64).drop_nulls().to_numpy()
    values = values[np.isfinite(values)]
    return float(values.mean()) if values.size else 0.0


def _are_classes(values: pl.Series) -> bool:
    """Whether predictions are names or numbers of classes, not amounts."""
    if not values.dtype.is_float():
        return True
    known = values.drop_nulls().drop_nans()
    return bool((known == known.floor()).all()) and known.n_unique() <= MOST_CLASSES


def _require_same_words(rows: pl.DataFrame, predicted: str, roles: Roles) -> None:
    """Refuse classes that are written otherwise than outcomes: none of them would ever be right."""
    happened = rows[str(roles.outcome)].drop_nulls()
    said = rows[predicted].drop_nulls()
    if not happened.len() or not said.len():
        return
    if said.dtype.is_numeric() and happened.dtype.is_numeric():
        words = [set(x.cast(pl.Float64).unique().to_list()) for x in (said, happened)]
    else:
        words = [set(x.cast(pl.String).unique().to_list()) for x in (said, happened)]
    if not words[0] & words[1]:
        shown = [", ".join(repr(v) for v in sorted(w)[:4]) for w in words]
        raise InputError(
            f"The predictions are {shown[0]} and the outcome {roles.outcome!r} has {shown[1]}; write both alike."
        )


def _are_probabilities(frame: pl.DataFrame, columns: Sequence[str]) -> bool:
    for c in columns:
        values = frame[c].cast(pl.Float64).drop_nulls().drop_nans()
        values = values.filter(values.is_finite())
        if not values.len() or not bool(((values >= -ROUNDING) & (values <= 1 + ROUNDING)).all()):
            return False
    return True


def _draw(opened: _Opened, found: Wide) -> tuple[pl.DataFrame, int]:
    """A bounded number of matched rows, in the order of their ids where they have any, and about how many there are."""
    most = max(2_000, PANEL_ROWS * 2 // max(len(found.runs), 2))
    others = [c for c in (opened.roles.outcome, opened.roles.bucket, opened.roles.segment) if c is not None]
    wanted = [*found.predictions, *found.scores, *others]
    key, table = found.key, opened.table
    if key is None or opened.roles.version is None:
        return sample(found.table, wanted, most, SEED), table.rows()
    total = -(-opened.rows // len(found.runs))
    if total > most and table.schema()[key].is_integer():
        # The draw comes before the group-by, which then has little to do.
        few = table.with_frame(table.frame.filter(drawn(nw.col(key), most / total)))
        found = spread(
            few,
            found.runs,
            found.baseline,
            key=key,
            version=str(opened.roles.version),
            replicate=opened.replicate,
            prediction=opened.roles.prediction,
            score=opened.roles.score,
            others=others,
        )
        rows = fetch(found.table.frame.sort(key).select(*wanted), found.table)
        return rows.head(2 * most), total
    return sample(found.table.with_frame(found.table.frame.sort(key)), wanted, most, SEED), total


def _distributions(tables: Tables, progress: Progress | None) -> Any:
    """What the versions put out altogether, compared like columns of two tables."""
    from afterlaunch.checks import Evidence

    roles = tables.roles
    shown = [c for c in (roles.item,) if c is not None]
    tables.roles = roles.with_(features=tuple(shown))
    tables.bucket = roles.bucket
    tables.rows = {"baseline": tables.reference.rows(), "candidate": tables.production.rows()}
    before, after = count_columns(tables, progress)
    return Evidence(tables.roles, None, before.kinds, after.kinds, before, after)


def _sizes(counted: Compared) -> dict[str, Any]:
    pairs = counted.rows or counted.lists
    if pairs is None:
        return {}
    names = [pairs.runs[0].version, pairs.runs[pairs.baseline].version]
    alone = {f"{name} alone": n for name, n in zip(names, pairs.alone, strict=True) if n}
    return {"both versions": pairs.total, **alone}
