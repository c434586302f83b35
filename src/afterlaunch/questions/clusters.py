"""Are this week's clusters those of last week, beyond what another run of the clustering would change?"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any, Literal

import narwhals as nw
import numpy as np
import polars as pl

from afterlaunch.decide import InputError
from afterlaunch.finding import Review
from afterlaunch.profile.centroids import by_centroids
from afterlaunch.profile.compared import Labelings
from afterlaunch.profile.labels import NOISE, WEEKS, count_beside, count_joined, label_text, repeats
from afterlaunch.questions.cold_runs import count_cold
from afterlaunch.questions.gather import SAMPLE_ROWS, SEED, Progress, Tables, open_tables, preload, review
from afterlaunch.questions.outcomes import fetch_of
from afterlaunch.roles import Roles
from afterlaunch.roles_guess import guess_roles
from afterlaunch.tables import Table, fetch_all, open_table, require_unique, sample

CHECKS = ("clusters",)
PRIMARY = CHECKS
SHARED = 0.8
"""Share of the members that both weeks must have to be compared by members when the caller does not say."""

By = Literal["members", "centroids", "both"]


def clusters(
    previous: Any,
    current: Any = None,
    *,
    label: str | tuple[str, str] = "cluster",
    id: str | None = None,
    by: By | None = None,
    features: Sequence[str] | None = None,
    reruns: Any = None,
    roles: Roles | Mapping[str, Any] | None = None,
    margins: Mapping[str, float] | None = None,
    alpha: float = 0.05,
    progress: Progress | None = None,
) -> Review:
    """Compare two clusterings, and say which clusters survived, split, merged, were born and died.

    Args:
        previous: The clustering that was: a path or glob, or any dataframe or relation narwhals knows, with a row
            for each member, its id and its label. Missing and -1 mean "in no cluster".
        current: The clustering that is. None when `previous` has a column for each; then every row is a member.
        label: Column with the labels, or (column before, column now).
        id: Column with the members' ids, the role `id`; guessed when neither is given.
        by: "members", on those that both weeks have; "centroids", where members differ: this week's are put to the
            nearest centroid of last week and of this one; "both". None takes members when both weeks have most of
            them, else centroids when there are features.
        features: Columns that the clusters are described by, and numbers of which their centroids are made; None
            means every column without another role. The role `embedding` makes centroids too, the role `text`
            describes.
        reruns: Cold reruns of both weeks: the same clustering repeated on resampled data with other seeds. A table
            with the columns of `id` and of (the current) `label`, "week" ("previous" or "current") and
            "replicate". With them, change is judged by how far it goes beyond that of a rerun.
        roles: What columns mean; `unit` or `bucket` where members come in groups that depend on each other.
        margins: How much change matters, over the defaults in `docs/clusters.md`.
        alpha: Chance of any false alarm in the review.
        progress: Called with a few words on what is being done.

    Returns:
        The review; its figure shows the flow of members from cluster to cluster. See `docs/clusters.md`.

    Raises:
        InputError: For unusable input, in one sentence.

    Example:
        >>> import polars as pl
        >>> before = pl.DataFrame({"user": range(300), "cluster": [0, 1, 2] * 100})
        >>> now = before.with_columns(cluster=pl.col("cluster").replace({0: 2, 2: 0}))
        >>> clusters(before, now, id="user").verdict.value
        'ok'
    """
    say = progress or (lambda _: None)
    preload()
    if by not in {None, "members", "centroids", "both"}:
        raise InputError(f"The comparison by={by!r} is none; give 'members', 'centroids' or 'both'.")
    names = (label, label) if isinstance(label, str) else tuple(label)
    if len(names) != 2 or (current is None and names[0] == names[1]):
        raise InputError(
            f"The labels are {label!r}; give the column with the labels, or (column before, column now) where one "
            "table has both clusterings."
        )
    say("opening the tables")
    tables = _open(previous, current, (names[0], names[1]), id, roles, features)
    say("counting members by their clusters")
    members = None
    if by != "centroids":
        members = _members(tables, (names[0], names[1]), current is None)
    say("looking at features")
    samples = _samples(tables, (names[0], names[1]))
    centroids = None
    wanted = by in {"centroids", "both"} or (by is None and (members is None or not _mostly_shared(members)))
    if wanted:
        centroids = _centroids(tables, samples, (names[0], names[1]), strict=by is not None)
    if members is None and centroids is None:
        raise InputError(
            "The tables share no id column and no numeric features, so neither members nor centroids can be compared; "
            "name the id with id=, or add the features that the clusters were made from."
        )
    main = centroids if members is None or (by is None and centroids is not None) else members
    assert main is not None
    if by is None and centroids is not None:
        tables.notes.append(
            "Too few members are in both weeks to compare their labels, so clusters were compared by their centroids."
        )
    if reruns is not None:
        say("comparing reruns")
        main = replace(main, reruns=count_cold(reruns, tables, (names[0], names[1])))
    else:
        tables.notes.append(
            "Without reruns nobody knows how much of the change is the seed and the sample: cluster each week's "
            "resampled data again with other seeds, without a warm start, and give the labels with reruns=."
        )
    return _review(
        tables, main, centroids if by == "both" else None, samples, (names[0], names[1]), margins, alpha, say
    )


def _review(
    tables: Tables,
    main: Labelings,
    other: Labelings | None,
    samples: tuple[pl.DataFrame, pl.DataFrame],
    names: tuple[str, str],
    margins: Mapping[str, float] | None,
    alpha: float,
    say: Progress,
) -> Review:
    from afterlaunch.checks import Evidence
    from afterlaunch.checks.cluster_events import flow
    from afterlaunch.checks.cluster_words import describe

    told = {}
    for week, frame, column in zip(WEEKS, samples, names, strict=True):
        looked = [c for c in frame.columns if c not in {*names, tables.roles.text, tables.roles.embedding}]
        text = tables.roles.text if tables.roles.text in frame.columns else None
        if looked or text:
            labels = [label_text(v) for v in frame[column].to_list()]
            told[week] = {k: v for k, v in describe(frame, labels, looked, text).items() if k not in NOISE}
    evidence = Evidence(
        roles=tables.roles,
        labelings=main,
        options={"descriptions": told} | ({"by_centroids": other} if other is not None else {}),
    )
    found = review(
        "clusters",
        evidence,
        CHECKS,
        primary=PRIMARY,
        margins=margins or {},
        alpha=alpha,
        tables=tables,
        progress=say,
    )
    figure = flow(main)
    settings = {**found.settings, "labels": list(names), "by": "members" if main.recovered is None else "centroids"}
    return replace(found, settings=settings, figures=(figure,) if figure is not None else ())


# ------------------------------------------------------------------ tables


def _open(
    previous: Any,
    current: Any,
    names: tuple[str, str],
    key: str | None,
    roles: Roles | Mapping[str, Any] | None,
    features: Sequence[str] | None,
) -> Tables:
    known = roles if isinstance(roles, Roles) else Roles.from_mapping(roles or {})
    if key is not None:
        known = known.with_(id=key)
    if features is not None:
        known = known.with_(features=(features,) if isinstance(features, str) else tuple(features))
    both = [open_table(previous, name="previous")]
    both.append(both[0] if current is None else open_table(current, name="current"))
    for table, name in zip(both, names, strict=True):
        if name not in table.columns:
            raise InputError(
                f"The {table.name} table ({table.source}) has no column {name!r} with labels; name it with label=, one "
                f"of {', '.join(repr(c) for c in table.columns[:12])}."
            )
        if table.kinds[name] == "other":
            raise InputError(f"The labels {name!r} of the {table.name} table are lists or records; give one a member.")
        for column in known.features or ():
            if column not in table.columns:
                raise InputError(f"The {table.name} table has no column {column!r}, a feature; leave it out or add it.")
    notes: list[str] = []
    if known.id is None and current is not None:
        known, notes = _with_id(known, both[0], both[1], names)
    taken = tuple(c for c in dict.fromkeys(names) if c not in known.ignore)
    for name in taken:
        if known.of(name) not in {"feature", "ignored"}:
            raise InputError(
                f"The column {name!r} has the role {known.of(name)!r}; the labels need a column of their own."
            )
    tables = open_tables(both[0], both[1], known.with_(ignore=(*known.ignore, *taken)))
    tables.notes[:0] = notes
    tables.rows = {"previous": tables.reference.rows(), "current": tables.production.rows()}
    if current is None:
        tables.rows = {"members": tables.reference.rows()}
    return tables


def _with_id(known: Roles, old: Table, new: Table, names: tuple[str, str]) -> tuple[Roles, list[str]]:
    """Guess what names the members: an identifier, or what names users or items, who here are the members."""
    used = {column for _, column in known.pairs()} | {*known.ignore, *(known.features or ()), *names}
    guesses = [g for g in guess_roles(old) if g.column not in used and g.column in new.columns]
    for role in ("id", "unit", "item"):
        found = next((g for g in guesses if g.role == role), None)
        if found is not None:
            return known.with_(id=found.column), [f"{found.column!r} was taken as the role 'id': {found.reason}"]
    return known, []


def _members(tables: Tables, names: tuple[str, str], beside: bool) -> Labelings | None:
    """Both weeks' labels of the same members; None when nothing names them."""
    old, new, key = tables.reference, tables.production, tables.roles.id
    if beside:
        if key is not None and key in old.columns:
            require_unique(old, key)
        return count_beside(old.frame, names, partial(fetch_of, old), tables.bucket)
    if key is None or not all(key in t.columns for t in (old, new)):
        return None
    found = count_joined(old.frame, new.frame, (key, key), names, partial(fetch_of, old, new), tables.bucket)
    rows = [int(fetch_all([t.frame.select(nw.col(key).count().alias("n"))], t)[0].item()) for t in (old, new)]
    if repeats(found, (rows[0], rows[1])) or any(found.alone):
        for table in (old, new):
            require_unique(table, key)
    tables.rows["both"] = int(found.counts.sum())
    for table, known in zip((old, new), rows, strict=True):
        if known < table.rows():
            tables.notes.append(
                f"{table.rows() - known:,} rows of the {table.name} table have no id and were left out."
            )
    return found


def _mostly_shared(found: Labelings) -> bool:
    together = int(found.counts.sum())
    return together >= SHARED * (together + sum(found.alone))


# ------------------------------------------------------------------ features


def _looked(tables: Tables, table: Table) -> list[str]:
    roles = tables.roles
    wanted = [*roles.features_of(table.columns), roles.text, roles.embedding]
    both = (tables.reference, tables.production)
    return [
        c
        for c in dict.fromkeys(wanted)
        if c is not None
        and c != tables.bucket
        and all(c in t.columns for t in both)
        and (table.kinds[c] in {"numeric", "category"} or c == roles.embedding)
    ]


def _samples(tables: Tables, names: tuple[str, str]) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Rows of both weeks with their labels and what is known of members."""
    out = []
    for table, name in ((tables.reference, names[0]), (tables.production, names[1])):
        columns = _looked(tables, table)
        out.append(sample(table, [name, *columns], SAMPLE_ROWS, SEED) if columns else pl.DataFrame({name: []}))
    return out[0], out[1]


def _centroids(
    tables: Tables, samples: tuple[pl.DataFrame, pl.DataFrame], names: tuple[str, str], *, strict: bool
) -> Labelings | None:
    vector = tables.roles.embedding
    if vector is not None and all(vector in s.columns for s in samples):
        rows = [_vectors(s[vector], vector) for s in samples]
        if rows[0].shape[1] != rows[1].shape[1]:
            raise InputError(
                f"The embeddings {vector!r} have {rows[0].shape[1]} numbers in the previous table and "
                f"{rows[1].shape[1]} in the current one; compute both with one model."
            )
    else:
        columns = [c for c in samples[0].columns if c not in names and samples[0][c].dtype.is_numeric()]
        columns = [c for c in columns if c in samples[1].columns and samples[1][c].dtype.is_numeric()]
        if not columns:
            if strict:
                raise InputError(
                    "Comparing by centroids needs the numeric features that the clusters were made from, or a column "
                    "with the role embedding, in both tables; add them, or compare by members."
                )
            return None
        rows = [s.select(pl.col(columns).cast(pl.Float64)).to_numpy() for s in samples]
    labels = [[label_text(v) for v in s[n].to_list()] for s, n in zip(samples, names, strict=True)]
    whole = tables.production.rows() == samples[1].height
    return by_centroids((rows[0], labels[0]), (rows[1], labels[1]), sample=not whole)


def _vectors(column: pl.Series, name: str) -> Any:
    """Embeddings as rows, missing ones as NaN."""
    length = column.list.len() if isinstance(column.dtype, pl.List) else None
    if length is None:
        return column.to_numpy().reshape(len(column), -1).astype(np.float64)
    sizes = length.drop_nulls().unique().to_list()
    if len(sizes) != 1:
        raise InputError(f"The embeddings {name!r} have different lengths, such as {sizes[:2]}; give one length.")
    out = np.full((len(column), int(sizes[0])), np.nan)
    there = column.is_not_null().to_numpy()
    out[there] = np.stack(column.drop_nulls().to_list())
    return out
