"""What a table looks like in counts; two summaries add up to the summary of both tables.

Every array has the bucket as its first axis: 64 buckets when rows are grouped by a unit,
a single one when rows are independent (see `profile.buckets`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from afterlaunch.watch import Window

Kind = Literal["numeric", "category", "time", "text", "other"]
Ints = NDArray[np.int64]
Floats = NDArray[np.float64]

NAMES_KEPT = 1000
"""Most values outside the frozen list whose names a profile keeps."""


@dataclass(frozen=True, slots=True)
class NumericBins:
    """Frozen edges of a numeric column; bin j holds edges[j-1] < x <= edges[j].

    Attributes:
        edges: Increasing, shape (K - 1,) for K bins.
        discrete: Whether every value of the reference (as far as it was sampled) has a bin of its own.
        low: Smallest value of the reference; below is out of range.
        high: Largest value of the reference.
        scale: Standard deviation of the reference within its outer quantiles, the unit of distances; 0 for a constant.
    """

    edges: tuple[float, ...]
    discrete: bool
    low: float
    high: float
    scale: float

    @property
    def size(self) -> int:
        """Number of bins."""
        return len(self.edges) + 1


@dataclass(frozen=True, slots=True)
class CategoryBins:
    """Frozen values of a categorical column; the last bin holds every other value.

    Attributes:
        values: The values, most frequent first, shape (K - 1,) for K bins.
        complete: Whether they are all the values that the reference has.
        singletons: How many values occur exactly once in the reference.
        distinct: How many different values the reference has.
    """

    values: tuple[str, ...]
    complete: bool
    singletons: int
    distinct: int

    @property
    def size(self) -> int:
        """Number of bins."""
        return len(self.values) + 1


Bins = NumericBins | CategoryBins


@dataclass(frozen=True)
class ColumnCounts:
    """One column of one table, counted.

    Attributes:
        name: The column.
        kind: Numeric or category; other kinds are only counted for missing values.
        bins: The frozen bins, or None for kinds that are not binned.
        counts: Rows per bucket and bin, shape (G, K); missing values are in no bin.
        missing: Rows without a value (null or NaN) per bucket, shape (G,).
        infinite: Rows with an infinite value per bucket, shape (G,); they are in the outer bins.
        below: Rows under the reference's smallest value, shape (G,).
        above: Rows over its largest, shape (G,).
        low: Smallest finite value, or None.
        high: Largest finite value, or None.
        others: Values outside the frozen list and their rows, whole table; None when there are
            more than `NAMES_KEPT` of them.
    """

    name: str
    kind: Kind
    bins: Bins | None
    counts: Ints
    missing: Ints
    infinite: Ints
    below: Ints
    above: Ints
    low: float | None = None
    high: float | None = None
    others: Mapping[str, int] | None = field(default_factory=dict)

    @property
    def rows(self) -> int:
        """Rows of the table, with and without a value."""
        return int(self.counts.sum() + self.missing.sum())

    @property
    def valid(self) -> int:
        """Rows with a value."""
        return int(self.counts.sum())

    def __add__(self, other: ColumnCounts) -> ColumnCounts:
        if (self.name, self.kind, self.bins) != (other.name, other.kind, other.bins):
            raise ValueError(
                f"The counts of {self.name!r} and {other.name!r} have other bins; count one of them again."
            )
        return ColumnCounts(
            name=self.name,
            kind=self.kind,
            bins=self.bins,
            counts=self.counts + other.counts,
            missing=self.missing + other.missing,
            infinite=self.infinite + other.infinite,
            below=self.below + other.below,
            above=self.above + other.above,
            low=_pick(min, self.low, other.low),
            high=_pick(max, self.high, other.high),
            others=_join(self.others, other.others),
        )

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, ColumnCounts):
            return NotImplemented
        mine, theirs = self.__dict__, other.__dict__
        return all(
            np.array_equal(value, theirs[k]) if isinstance(value, np.ndarray) else value == theirs[k]
            for k, value in mine.items()
        )

    __hash__ = None  # type: ignore[assignment]


@dataclass(frozen=True)
class Profile:
    """A whole table, counted.

    Attributes:
        scheme: Id of the bucket scheme; profiles of different schemes never merge.
        rows: Rows per bucket, shape (G,).
        columns: Counts by column name.
        kinds: Kind of every column of the table, counted or not.
    """

    scheme: str
    rows: Ints
    columns: Mapping[str, ColumnCounts]
    kinds: Mapping[str, Kind]

    @property
    def total(self) -> int:
        """Rows of the table."""
        return int(self.rows.sum())

    @property
    def clustered(self) -> bool:
        """Whether rows are grouped by unit, so that intervals must come from the buckets."""
        return len(self.rows) > 1

    def __add__(self, other: Profile) -> Profile:
        if self.scheme != other.scheme:
            raise ValueError(
                f"These profiles were counted under the bucket schemes {self.scheme!r} and {other.scheme!r}; "
                "count one of them again."
            )
        if self.kinds != other.kinds:
            raise ValueError("These profiles have different columns or kinds; profiles of one table's schema add up.")
        columns = {name: counts + other.columns[name] for name, counts in self.columns.items()}
        return Profile(self.scheme, self.rows + other.rows, columns, self.kinds)


def _pick(choose: Any, a: float | None, b: float | None) -> float | None:
    return b if a is None else a if b is None else choose(a, b)


def _join(a: Mapping[str, int] | None, b: Mapping[str, int] | None) -> Mapping[str, int] | None:
    if a is None or b is None:
        return None
    out = dict(a)
    for value, count in b.items():
        out[value] = out.get(value, 0) + count
    return out if len(out) <= NAMES_KEPT else None


@dataclass(frozen=True)
class WindowCounts:
    """One column, counted in every window; rows are taken as independent within a window.

    Attributes:
        name: The column.
        kind: Its kind.
        bins: The frozen bins, or None for kinds that are not binned.
        counts: Rows per window and bin, shape (W, K).
        missing: Rows without a value, shape (W,).
        infinite: Rows with an infinite value, shape (W,).
        below: Rows under the reference's smallest value, shape (W,).
        above: Rows over its largest, shape (W,).
        others: Values outside the frozen list and their rows, all windows together; None when too many.
    """

    name: str
    kind: Kind
    bins: Bins | None
    counts: Ints
    missing: Ints
    infinite: Ints
    below: Ints
    above: Ints
    others: Mapping[str, int] | None = field(default_factory=dict)


@dataclass(frozen=True)
class Timeline:
    """A table counted window by window, whole and by segment.

    Attributes:
        every: Length of a window as the user gave it.
        windows: The windows, in order, empty ones included.
        rows: Rows of each, shape (W,).
        columns: Counts by column.
        segments: The same by segment value; empty without a segment.
    """

    every: str
    windows: tuple[Window, ...]
    rows: Ints
    columns: Mapping[str, WindowCounts]
    segments: Mapping[str, Timeline] = field(default_factory=dict)


@dataclass(frozen=True)
class MetricCounts:
    """What the metrics of one table (or segment of it) are computed from; merges by adding.

    Rows are lists for a ranking task. Every weight is 1 unless a `weight` role is given.

    Attributes:
        rows: Rows with an outcome and something to hold against it per bucket, shape (G,).
        unmatched: All other rows per bucket, shape (G,).
        without_outcome: Those of them that lack an outcome, shape (G,).
        moments: Name of a row-wise quantity (a loss, a hit) to the weight of the rows that have
            it and its weighted sum, shape (G, 2).
        class_rows: Unweighted rows of every outcome class, shape (G, C); classification only.
        confusion: Weight per bucket, outcome and prediction, shape (G, C, C); classification only.
        classes: The classes, shape (C,); ("0", "1") for a binary task, and for a multi-class
            task the last one stands for every other value.
        histogram: Weight per bucket, outcome and score bin, shape (G, 2, B); binary only.
        score_sums: Weighted sums of the score per bucket and score bin, shape (G, B).
        knots: Frozen knots of the score bins.
    """

    rows: Ints
    unmatched: Ints
    without_outcome: Ints
    moments: Mapping[str, Floats] = field(default_factory=dict)
    class_rows: Ints | None = None
    confusion: Floats | None = None
    classes: tuple[str, ...] = ()
    histogram: Floats | None = None
    score_sums: Floats | None = None
    knots: tuple[float, ...] = ()

    @property
    def total(self) -> int:
        """All rows, whatever they lack."""
        return int(self.rows.sum() + self.unmatched.sum())

    def __add__(self, other: MetricCounts) -> MetricCounts:
        if (self.classes, self.knots) != (other.classes, other.knots):
            raise ValueError("These metrics were counted in different classes or score bins; count one of them again.")
        names = [*self.moments, *(name for name in other.moments if name not in self.moments)]
        nothing = np.zeros((len(self.rows), 2))
        return MetricCounts(
            rows=self.rows + other.rows,
            unmatched=self.unmatched + other.unmatched,
            without_outcome=self.without_outcome + other.without_outcome,
            moments={n: self.moments.get(n, nothing) + other.moments.get(n, nothing) for n in names},
            class_rows=_sum(self.class_rows, other.class_rows),
            confusion=_sum(self.confusion, other.confusion),
            classes=self.classes,
            histogram=_sum(self.histogram, other.histogram),
            score_sums=_sum(self.score_sums, other.score_sums),
            knots=self.knots,
        )

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, MetricCounts):
            return NotImplemented
        mine, theirs = self.__dict__, other.__dict__
        return self.moments.keys() == other.moments.keys() and all(
            np.array_equal(a, b)
            for key in mine
            for a, b in (
                [(self.moments[n], other.moments[n]) for n in self.moments]
                if key == "moments"
                else [(np.asarray(mine[key]), np.asarray(theirs[key]))]
            )
        )

    __hash__ = None  # type: ignore[assignment]


def _sum(a: Any, b: Any) -> Any:
    return b if a is None else a if b is None else a + b


@dataclass(frozen=True)
class PairCounts:
    """Rows found in both tables by their key, compared feature by feature.

    Attributes:
        matched: Rows found in both, per bucket, shape (G,).
        only_reference: Rows of the reference whose key production lacks.
        only_production: Rows of production whose key the reference lacks.
        different: Feature to the matched rows whose values differ, per bucket, shape (G,).
        missing: Feature to the matched rows where just production has no value, shape (G,).
        examples: Feature to a few (key, reference value, production value) triples, as text.
    """

    matched: Ints
    only_reference: int
    only_production: int
    different: Mapping[str, Ints]
    missing: Mapping[str, Ints]
    examples: Mapping[str, tuple[tuple[str, str, str], ...]]
