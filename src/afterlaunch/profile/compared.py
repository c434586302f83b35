"""What two versions of a model said of the same things, in counts.

A **run** is one training of one version: the deployed model, or a replicate of it. Whatever two runs
put out for the same row, list or user has a distance between 0 (the same) and 1; its sums over pairs
of runs are all that stability is judged from.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from afterlaunch.finding import Json

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Run:
    """One training of one version.

    Attributes:
        version: The version, as text.
        replicate: Which replicate of it, as text; "" where the table has none.
    """

    version: str
    replicate: str = ""


@dataclass(frozen=True)
class RunPairs:
    """Distances between the outputs of runs on the same subjects (rows, lists or users), summed by bucket.

    Attributes:
        runs: The runs, those of the baseline first, shape (R,).
        baseline: How many of them are the baseline's.
        pairs: Which two runs, as places in `runs`, first < second, shape (P, 2).
        subjects: Subjects that both runs put something out for, per pair and bucket, shape (P, G); G is 1
            where subjects are independent.
        sums: Name of a distance to its sums over those subjects, shape (P, G).
        squares: Name to the sums of its squares, shape (P, G).
        scalars: Name of a value that every run has on every subject (a loss, a hit) to its sums, shape (R, G).
        scalar_squares: Name to the sums of squares, shape (R, G).
        scalar_subjects: Subjects with an outcome, behind the scalars that need one, shape (R, G); "score" is of
            the subjects that "scored" counts.
        alone: Subjects that only one of the two versions has: (baseline only, candidate only).
        sample: Subjects that were drawn, when not all were looked at; None when all were.
        examples: Name of a distance to rows to read, a table of kind "examples" (see `report.charts`).
    """

    runs: tuple[Run, ...]
    baseline: int
    pairs: Ints
    subjects: Ints
    sums: Mapping[str, Floats]
    squares: Mapping[str, Floats] = field(default_factory=dict)
    scalars: Mapping[str, Floats] = field(default_factory=dict)
    scalar_squares: Mapping[str, Floats] = field(default_factory=dict)
    scalar_subjects: Ints | None = None
    alone: tuple[int, int] = (0, 0)
    sample: int | None = None
    examples: Mapping[str, Json] = field(default_factory=dict)

    @property
    def total(self) -> int:
        """Subjects that both versions have, of the pair that has most."""
        return int(self.subjects.sum(axis=1).max(initial=0))

    @property
    def clustered(self) -> bool:
        """Whether subjects are grouped by unit."""
        return int(self.subjects.shape[1]) > 1


@dataclass(frozen=True)
class Mix:
    """Which share of what runs put out is of which category.

    Attributes:
        runs: The runs, those of the baseline first, shape (R,).
        baseline: How many of them are the baseline's.
        categories: Names, shape (C,); the last may stand for all others.
        counts: Slots (or rows) per run, bucket and category, shape (R, G, C).
    """

    runs: tuple[Run, ...]
    baseline: int
    categories: tuple[str, ...]
    counts: Ints


@dataclass(frozen=True)
class Catalogue:
    """Which items the lists of each version hold.

    Attributes:
        baseline: Different items in the baseline's lists.
        candidate: In the candidate's.
        both: In both.
        new_slots: Slots of the candidate's lists with an item that the baseline never shows, per bucket, shape (G,).
        slots: Slots of the candidate's lists, shape (G,).
        vanished_slots: Slots of the baseline's lists with an item that the candidate never shows, shape (G,).
        old_slots: Slots of the baseline's lists, shape (G,).
        gained: Items shown more, most first: (item, share of slots before, share after).
        lost: Items shown less.
    """

    baseline: int
    candidate: int
    both: int
    new_slots: Ints
    slots: Ints
    vanished_slots: Ints
    old_slots: Ints
    gained: tuple[tuple[str, float, float], ...] = ()
    lost: tuple[tuple[str, float, float], ...] = ()


@dataclass(frozen=True)
class Compared:
    """All that was counted of a panel.

    Attributes:
        rows: Predictions of rows, when the panel has any ("churn", "score_gap", …).
        lists: Ranked lists ("rbo", "jaccard", "overlap", "mix").
        row_segments: The same as `rows` by segment.
        list_segments: The same as `lists` by segment.
        mixes: Category mix by segment; "" is all.
        catalogue: Items of the lists.
        orders: Pairs of rows, drawn at random, as subjects: whether their order turned round ("disorder").
        outputs: What every run put out for a sample of rows, shape (n, R): scores, or codes of classes.
        output_kind: Which of them; None without outputs.
        output_total: Rows that were drawn from.
        threshold: Score from which a row counts as predicted positive; None where scores decide nothing.
    """

    rows: RunPairs | None = None
    lists: RunPairs | None = None
    row_segments: Mapping[str, RunPairs] = field(default_factory=dict)
    list_segments: Mapping[str, RunPairs] = field(default_factory=dict)
    mixes: Mapping[str, Mix] = field(default_factory=dict)
    catalogue: Catalogue | None = None
    orders: RunPairs | None = None
    outputs: Floats | None = None
    output_kind: Literal["score", "class"] | None = None
    output_total: int = 0
    threshold: float | None = None


@dataclass(frozen=True)
class Labelings:
    """Two labelings of the same members, counted by the engine.

    Attributes:
        previous: Labels of the previous clustering, shape (A,).
        current: Labels of the current one, shape (B,).
        counts: Members per bucket and pair of labels, shape (G, A, B); G is 1 without units.
        alone: Members that only one of the two has: (previous only, current only).
        noise: Labels that mean "in no cluster", such as -1; they are never matched.
        reruns: Cold reruns of both weeks, the previous week's first, and one minus the adjusted Rand index of every
            two, as "change"; None without.
        sample: Members that were drawn, when not all were counted; None when all were.
        recovered: Where the previous labels are those of the nearest centroid, the share of the previous week's own
            members that get their own label back in that way; None where labels are as they were given.
        sizes: All members of each previous and each current label, shapes (A,) and (B,).
    """

    previous: tuple[str, ...]
    current: tuple[str, ...]
    counts: Ints
    alone: tuple[int, int] = (0, 0)
    noise: frozenset[str] = frozenset()
    reruns: RunPairs | None = None
    sample: int | None = None
    recovered: float | None = None
    sizes: tuple[Ints, Ints] | None = None
