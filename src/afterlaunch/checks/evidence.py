"""What a check is and what it is given. A check never reads, renders or stores."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import polars as pl

from afterlaunch.decide import EffectKind, Estimate
from afterlaunch.profile.types import Kind, MetricCounts, PairCounts, Profile
from afterlaunch.roles import Roles

Task = Literal["binary", "multiclass", "regression", "ranking"]
Need = Literal["columns", "metric", "pairs", "samples"]


@dataclass(frozen=True)
class Sample:
    """Some rows of a table, bounded in number.

    Attributes:
        frame: The rows, in the table's order; unit and bucket columns included where there are any.
        total: Rows of the whole table.
        seed: Seed of the draw.
    """

    frame: pl.DataFrame
    total: int
    seed: int

    @property
    def rows(self) -> int:
        """Rows drawn."""
        return self.frame.height

    @property
    def whole(self) -> bool:
        """Whether it is the whole table."""
        return self.rows == self.total


@dataclass(frozen=True)
class Evidence:
    """Everything a reader fetched for the checks of one review.

    Attributes:
        roles: What each column means.
        task: What kind of prediction it is, or None when there is nothing to score.
        reference_kinds: Kind of every column of the reference table.
        production_kinds: Kind of every column of the production table.
        reference: Counts of the reference (need "columns").
        production: Counts of production, in the bins of the reference.
        metric_reference: What metrics are computed from (need "metric"), by segment; "" is all rows.
        metric_production: The same for production.
        pairs: Rows found in both tables, compared value by value (need "pairs").
        reference_sample: Rows of the reference (need "samples").
        production_sample: Rows of production.
        predict: The user's model: takes a frame like the reference, returns scores, shape (n,).
        options: Settings of single checks, such as "threshold" or "k".
    """

    roles: Roles
    task: Task | None = None
    reference_kinds: Mapping[str, Kind] = field(default_factory=dict)
    production_kinds: Mapping[str, Kind] = field(default_factory=dict)
    reference: Profile | None = None
    production: Profile | None = None
    metric_reference: Mapping[str, MetricCounts] = field(default_factory=dict)
    metric_production: Mapping[str, MetricCounts] = field(default_factory=dict)
    pairs: PairCounts | None = None
    reference_sample: Sample | None = None
    production_sample: Sample | None = None
    predict: Callable[[pl.DataFrame], Any] | None = None
    options: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Check:
    """One check: its question, its effects, what it needs, and one pure function.

    Attributes:
        name: As in margin keys and findings.
        asks: The question it answers.
        kinds: The effects it measures, with their default margins.
        needs: Which parts of the evidence it reads.
        run: Evidence -> estimates.
    """

    name: str
    asks: str
    kinds: tuple[EffectKind, ...]
    needs: frozenset[Need]
    run: Callable[[Evidence], list[Estimate]]

    def kind(self, key: str) -> EffectKind:
        """The effect with this key."""
        return next(k for k in self.kinds if k.key == key)
