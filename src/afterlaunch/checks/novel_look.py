"""Judging every production row: how unlike the reference it is, which rows are named, and their groups."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

import numpy as np
import polars as pl
from numpy.typing import NDArray

from afterlaunch.checks.evidence import Evidence, Sample
from afterlaunch.checks.novel_groups import EXAMPLES, Group, Sides, row_groups, text_groups, vector_groups
from afterlaunch.checks.novel_space import (
    EmbeddingSpace,
    embedded,
    row_space,
    text_space,
    unit,
)
from afterlaunch.checks.rows import GROUPS, groups, is_number, is_plain, text_codes, words
from afterlaunch.stats import clustered
from afterlaunch.stats.conformal import novel, p_values
from afterlaunch.stats.multiplicity import benjamini_hochberg
from afterlaunch.words import number, plain, shorten

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

ALPHA = 0.05
"""Level at which a row counts as novel; as many normal rows do."""

FALSE_SHARE = 0.1
"""Expected share of normal rows among those said to stand out on their own, at most."""

LEAST_CALIBRATION = 100
"""Fewest calibration rows: of fewer, less than five lie beyond the threshold."""

MOST_TRAINING = 10_000
MOST_CALIBRATION = 10_000
"""Rows of the reference in use; with so many calibration rows their error is a fifth of a point of share."""

FEWEST_WINDOWS = 8
"""Fewest windows of the reference from which the variation between windows is taken."""


@dataclass(frozen=True)
class Lacking:
    """Why something could not be judged."""

    kind: str
    subject: str
    reason: str
    sentence: str
    action: str = ""
    rows: int = 0


@dataclass(frozen=True)
class Novel:
    """The rows that are novel at the level, and their groups.

    Attributes:
        places: Their places among the judged rows, shape (k,).
        named: How many of them stand out on their own, after Benjamini-Hochberg over all rows.
        groups: Groups that are news, largest first.
        label: Place of each row's group in `groups`, -1 for none, shape (k,).
        examples: A few rows of each group, as text.
    """

    places: Ints
    named: int = 0
    groups: tuple[Group, ...] = ()
    label: Ints = field(default_factory=lambda: np.zeros(0, dtype=np.int64))
    examples: tuple[tuple[str, ...], ...] = ()


@dataclass(frozen=True)
class Judged:
    """One thing about production rows, held against the reference.

    Attributes:
        kind: text, embedding or rows.
        subject: The column; "" for all features together.
        where: Places of the judged rows in the production sample, shape (n,).
        hits: How far each is novel at the level, shape (n,).
        p: Conformal p-values, shape (n,).
        calibration: Calibration rows.
        deff_calibration: Their design effect from units.
        df_calibration: Its degrees of freedom.
        group: Group of each judged row's unit, or None for independent rows.
        units: Calibration and production rows per group of units, or None.
        history: Novel calibration rows over windows of the reference, or None.
        history_windows: Windows of the reference that have rows.
        window: Window of each judged row, -1 for none, shape (n,); None without windows.
        novel: The rows that are novel at the level.
        unlike: Places of calibration rows in the reference sample that are as unlike the rest.
        sides: Both as the grouping needs them.
        sample: Rows of the bounded sample, None when it is the whole table.
    """

    kind: str
    subject: str
    where: Ints
    hits: Floats
    p: Floats
    calibration: int
    deff_calibration: float
    df_calibration: float
    group: Ints | None
    units: tuple[Ints, Ints] | None
    history: clustered.Share | None
    history_windows: int
    window: Ints | None
    novel: Novel
    unlike: Ints
    sides: Sides
    sample: int | None

    @property
    def rows(self) -> int:
        """Rows that were judged."""
        return int(self.where.size)


class _Space(Protocol):
    def scores(self, vectors: Any) -> Floats: ...


def judge(evidence: Evidence) -> list[Judged | Lacking]:
    """Judge the text, the embedding, and all features together, as far as there are any."""
    old, new = evidence.reference_sample, evidence.production_sample
    if old is None or new is None:
        return []
    out: list[Judged | Lacking] = []
    for kind, column in (("text", evidence.roles.text), ("embedding", evidence.roles.embedding)):
        if column is None:
            continue
        lacks = [column not in s.frame.columns for s in (old, new)]
        if all(lacks):
            continue
        if any(lacks):
            reason = "only_in_production" if lacks[0] else "only_in_reference"
            table = "reference" if lacks[0] else "production"
            sentence = f"The novelty of {column!r} cannot be judged: the {table} table has no such column."
            out.append(Lacking(kind, column, reason, sentence, rows=new.rows))
        else:
            out.append(_text(evidence, column) if kind == "text" else _embedding(evidence, column))
    features = _features(evidence, old, new)
    if features:
        out.append(_rows(evidence, features))
    elif not out:
        out.append(Lacking("rows", "", "no_features", "No feature is in both tables, so no row can be called novel."))
    return out


def _features(evidence: Evidence, old: Sample, new: Sample) -> list[str]:
    """Plain columns that are features of both tables and of one sort in both."""
    kinds = evidence.reference_kinds
    names = [
        c
        for c in evidence.roles.features_of(old.frame.columns)
        if c in new.frame.columns and c not in {old.window, new.window} and (not kinds or c in kinds)
    ]
    return [
        c
        for c in names
        if all(is_plain(s.frame[c]) and not s.frame[c].dtype.is_temporal() for s in (old, new))
        and is_number(old.frame[c]) == is_number(new.frame[c])
    ]


# ------------------------------------------------------------------ splitting the reference


def split(evidence: Evidence, rows: int) -> NDArray[np.bool_]:
    """Which reference rows train (the others calibrate): half of them, whole units, drawn by the sample's seed."""
    sample = evidence.reference_sample
    assert sample is not None
    rng = np.random.default_rng(sample.seed)
    for name in (evidence.roles.unit, evidence.roles.bucket):
        if name is not None and name in sample.frame.columns and is_plain(sample.frame[name]):
            codes = words(sample.frame[name]).rank("dense").cast(pl.Int64)
            alone = codes.is_null().to_numpy()
            unit_of = codes.fill_null(0).to_numpy().copy()
            # A row without a unit is one of its own.
            unit_of[alone] = unit_of.max(initial=0) + 1 + np.arange(int(alone.sum()))
            _, unit_of = np.unique(unit_of, return_inverse=True)
            size = int(unit_of.max(initial=-1)) + 1
            trains = np.zeros(size, dtype=bool)
            trains[rng.permutation(size)[: (size + 1) // 2]] = True
            return np.asarray(trains[unit_of])
    trains = np.zeros(rows, dtype=bool)
    trains[rng.permutation(rows)[: (rows + 1) // 2]] = True
    return trains


def _halves(evidence: Evidence, have: NDArray[np.bool_]) -> tuple[Ints, Ints]:
    """Places of training and calibration rows that have a value, bounded in number."""
    sample = evidence.reference_sample
    assert sample is not None
    trains = split(evidence, sample.rows)
    rng = np.random.default_rng([sample.seed, 1])
    out = []
    for mine, most in ((have & trains, MOST_TRAINING), (have & ~trains, MOST_CALIBRATION)):
        at = np.flatnonzero(mine)
        out.append(at if at.size <= most else np.sort(rng.choice(at, most, replace=False)))
    return out[0], out[1]


# ------------------------------------------------------------------ texts, embeddings, rows


def _text(evidence: Evidence, column: str) -> Judged | Lacking:
    old, new = (_texts(s, column) for s in _samples(evidence))
    lacking = _lacking(evidence, "text", column, old[1], new[1])
    if lacking is not None:
        return lacking
    train, rest = _halves(evidence, old[1])
    known, seed = [old[0][i] for i in train], _samples(evidence)[0].seed
    space = text_space(known, seed)
    if space is None:
        return Lacking("text", column, "no_values", f"The texts of {column!r} in the reference have no words.")
    judged = _judged(
        evidence,
        "text",
        column,
        space,
        space.vectors([old[0][i] for i in rest]),
        rest,
        new[1],
        space.vectors([new[0][i] for i in np.flatnonzero(new[1])]),
    )
    texts = [new[0][judged.where[i]] for i in judged.novel.places]
    both = [*texts, *(old[0][i] for i in judged.unlike)]
    return _with_groups(judged, text_groups(both, known, judged.sides, seed), texts)


def _texts(sample: Sample, column: str) -> tuple[list[str], NDArray[np.bool_]]:
    """Texts, and which rows have one: neither null nor blank."""
    series = sample.frame[column]
    if not is_plain(series):
        return [""] * len(series), np.zeros(len(series), dtype=bool)
    text = words(series)
    have = (text.is_not_null() & (text.str.strip_chars().str.len_bytes() > 0)).fill_null(False)
    return text.fill_null("").to_list(), have.to_numpy()


def _embedding(evidence: Evidence, column: str) -> Judged | Lacking:
    samples = _samples(evidence)
    old, new = (embedded(s.frame[column]) for s in samples)
    if old is None or new is None:
        table = "reference" if old is None else "production"
        return Lacking(
            "embedding", column, "no_values", f"The column {column!r} of the {table} table holds no lists of numbers."
        )
    if old[1].any() and new[1].any() and old[0].shape[1] != new[0].shape[1]:
        sizes = f"{old[0].shape[1]} numbers in the reference and {new[0].shape[1]} in production"
        return Lacking("embedding", column, "no_values", f"The embeddings in {column!r} have {sizes}.")
    lacking = _lacking(evidence, "embedding", column, old[1], new[1])
    if lacking is not None:
        return lacking
    train, rest = _halves(evidence, old[1])
    space = EmbeddingSpace(unit(old[0][train]))
    vectors = space.vectors(new[0][new[1]])
    judged = _judged(evidence, "embedding", column, space, space.vectors(old[0][rest]), rest, new[1], vectors)
    text = evidence.roles.text
    if text is not None and all(text in s.frame.columns for s in samples):
        mine = _texts(samples[1], text)[0]
        shown = [mine[judged.where[i]] for i in judged.novel.places]
        background = _texts(samples[0], text)[0]
    else:
        shown = [f"row {judged.where[i]:,}" for i in judged.novel.places]
        background = []
    both = np.concatenate([vectors[judged.novel.places], space.vectors(old[0][judged.unlike])])
    found = vector_groups(both, shown if background else [], background, judged.sides, samples[0].seed)
    return _with_groups(judged, found, shown)


def _rows(evidence: Evidence, features: Sequence[str]) -> Judged | Lacking:
    old, new = _samples(evidence)
    every = np.ones(old.rows, dtype=bool), np.ones(new.rows, dtype=bool)
    lacking = _lacking(evidence, "rows", "", *every)
    if lacking is not None:
        return lacking
    train, rest = _halves(evidence, every[0])
    space = row_space(old.frame[train], features)
    if space is None:
        return Lacking("rows", "", "no_values", "No feature has values in the reference that rows could differ by.")
    vectors = space.vectors(new.frame)
    judged = _judged(evidence, "rows", "", space, space.vectors(old.frame[rest]), rest, every[1], vectors)
    named = new.frame[judged.where[judged.novel.places]].select(space.names)
    both = np.concatenate([vectors[judged.novel.places], space.vectors(old.frame[judged.unlike])])
    found = row_groups(named, both, old.frame[train].select(space.names), judged.sides, old.seed)
    return _with_groups(judged, found, _lines(named))


def _lines(frame: pl.DataFrame) -> list[str]:
    """Rows as text."""
    shown = frame.columns[:8]

    def cell(name: str, value: Any) -> str:
        text = number(value) if isinstance(value, float) and np.isfinite(value) else plain(value)
        return f"{plain(name)} {shorten(text, 30)}" if value is not None else f"{plain(name)} missing"

    return [", ".join(map(cell, shown, row)) for row in frame.select(shown).iter_rows()]


def _samples(evidence: Evidence) -> tuple[Sample, Sample]:
    assert evidence.reference_sample is not None
    assert evidence.production_sample is not None
    return evidence.reference_sample, evidence.production_sample


def _lacking(
    evidence: Evidence, kind: str, column: str, old: NDArray[np.bool_], new: NDArray[np.bool_]
) -> Lacking | None:
    thing = f"values of {column!r}" if column else "rows"
    for have, table in ((old, "reference"), (new, "production")):
        if have.size == 0:
            return Lacking(kind, column, "no_rows", f"The {table} table has no rows, so no row can be called novel.")
        if not have.any():
            return Lacking(
                kind,
                column,
                "no_values",
                f"The column {column!r} has no values in the {table} table, so none can be called novel.",
                rows=new.size,
            )
    train, rest = _halves(evidence, old)
    if min(train.size, rest.size) < LEAST_CALIBRATION:
        return Lacking(
            kind,
            column,
            "too_few_rows",
            f"The {int(old.sum()):,} {thing} in the reference are too few to say what is novel: "
            f"half of them calibrate, and that takes {LEAST_CALIBRATION}.",
            "Give a larger reference.",
            int(new.sum()),
        )
    return None


def _judged(
    evidence: Evidence,
    kind: str,
    column: str,
    space: _Space,
    calibration: Any,
    rest: Ints,
    have: NDArray[np.bool_],
    vectors: Any,
) -> Judged:
    old, new = _samples(evidence)
    known, scores = space.scores(calibration), space.scores(vectors)
    p, where = p_values(known, scores), np.flatnonzero(have)
    own = novel(known, known, ALPHA)
    old_group, new_group = groups(evidence)
    units, cal = None, clustered.Share(0, 1)
    if old_group is not None and new_group is not None:
        a, b = old_group[rest], new_group[where]
        cal = clustered.counted(np.bincount(a, own, minlength=GROUPS), np.bincount(a, minlength=GROUPS))
        units = np.bincount(a, minlength=GROUPS), np.bincount(b, minlength=GROUPS)
    history, filled = _history(old, rest, own)
    places = np.flatnonzero(p <= ALPHA)
    beyond = np.sort(known)[::-1][max(int(ALPHA * (known.size + 1)) - 1, 0)]
    unlike = rest[known >= beyond]
    return Judged(
        kind=kind,
        subject=column,
        where=where,
        hits=novel(known, scores, ALPHA),
        p=p,
        calibration=int(rest.size),
        deff_calibration=cal.deff,
        df_calibration=cal.df,
        group=new_group[where] if units is not None and new_group is not None else None,
        units=units,
        history=history,
        history_windows=filled,
        window=_window(new)[where] if new.window is not None else None,
        novel=Novel(places, int((benjamini_hochberg(p) <= FALSE_SHARE).sum())),
        unlike=unlike,
        sides=_sides(evidence, where, where[places], rest, unlike),
        sample=None if new.whole else new.rows,
    )


def _sides(evidence: Evidence, where: Ints, novel_rows: Ints, rest: Ints, unlike: Ints) -> Sides:
    """Rows that are grouped, with their units where both tables have them."""
    old, new = _samples(evidence)
    for name in (evidence.roles.unit, evidence.roles.bucket):
        if name is not None and all(name in s.frame.columns and is_plain(s.frame[name]) for s in (old, new)):
            a, b = text_codes(old.frame[name], new.frame[name])
            totals = int(np.unique(b[where]).size), int(np.unique(a[rest]).size)
            return Sides(novel_rows.size, totals, np.concatenate([b[novel_rows], a[unlike]]))
    return Sides(novel_rows.size, (where.size, rest.size))


def _history(old: Sample, rest: Ints, own: Floats) -> tuple[clustered.Share | None, int]:
    """How novel calibration rows spread over the windows of the reference."""
    if old.window is None:
        return None, 0
    window = _window(old)[rest]
    mine = window >= 0
    rows = np.bincount(window[mine])
    filled = int(np.count_nonzero(rows))
    if filled < FEWEST_WINDOWS:
        return None, filled
    return clustered.counted(np.bincount(window[mine], own[mine]), rows), filled


def _window(sample: Sample) -> Ints:
    assert sample.window is not None
    return sample.frame[sample.window].cast(pl.Int64).fill_null(-1).to_numpy()


def _with_groups(judged: Judged, found: list[Group], texts: Sequence[str]) -> Judged:
    label = np.full(judged.novel.places.size, -1, dtype=np.int64)
    for i, g in enumerate(found):
        label[g.rows] = i
    examples = tuple(
        tuple(dict.fromkeys(shorten(plain(texts[i]), 120) for i in g.rows[: 4 * EXAMPLES]))[:EXAMPLES] for g in found
    )
    return replace(judged, novel=replace(judged.novel, groups=tuple(found), label=label, examples=examples))
