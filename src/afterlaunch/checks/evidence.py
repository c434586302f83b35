"""What a check is and what it is given. A check never reads, renders or stores."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import polars as pl

from afterlaunch.decide import EffectKind, Estimate
from afterlaunch.profile.arms import Arms
from afterlaunch.profile.compared import Compared, Labelings
from afterlaunch.profile.exposures import Exposures
from afterlaunch.profile.logged import Drafts, Logged
from afterlaunch.profile.types import Kind, MetricCounts, PairCounts, Profile, Timeline
from afterlaunch.roles import Roles
from afterlaunch.watch import Course

Task = Literal["binary", "multiclass", "regression", "ranking"]
Need = Literal[
    "columns",
    "metric",
    "pairs",
    "samples",
    "windows",
    "stream",
    "panel",
    "labelings",
    "arms",
    "exposures",
    "logged",
    "drafts",
]


@dataclass(frozen=True)
class Sample:
    """Some rows of a table, bounded in number.

    Attributes:
        frame: The rows, in the table's order; unit and bucket columns included where there are any.
        total: Rows of the whole table.
        seed: Seed of the draw.
        window: Column of `frame` with the index of each row's window, null for none; None without windows.
            Every window has a quota of rows of its own, drawn uniformly within it.
    """

    frame: pl.DataFrame
    total: int
    seed: int
    window: str | None = None

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
        history: Counts of the reference, window by window (need "windows"); None when it has no time.
        timeline: Counts of production, window by window, in the same bins.
        metric_history: What metrics are computed from, for every window of the reference (need "metric").
        metric_timeline: The same for production; one for each of `timeline.windows`.
        stream: Rows of production in the order of time with their outcome, prediction, score and whatever
            else a loss is made of (need "stream"); bounded, the first rows of the log are kept.
        panel: What two versions put out for the same rows or lists (need "panel").
        labelings: Two clusterings of the same members (need "labelings").
        arms: What an experiment has counted (need "arms").
        exposures: What was shown, window by window (need "exposures").
        logged: Decisions with their chances under two policies (need "logged").
        drafts: Interleaved lists and who got the clicks (need "drafts").
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
    history: Timeline | None = None
    timeline: Timeline | None = None
    metric_history: Sequence[MetricCounts] = ()
    metric_timeline: Sequence[MetricCounts] = ()
    stream: pl.DataFrame | None = None
    panel: Compared | None = None
    labelings: Labelings | None = None
    arms: Arms | None = None
    exposures: Exposures | None = None
    logged: Logged | None = None
    drafts: Drafts | None = None
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
        run: Evidence -> estimates, for two tables as they are.
        follow: Evidence -> effects over the windows of production, or None for a check that cannot.
    """

    name: str
    asks: str
    kinds: tuple[EffectKind, ...]
    needs: frozenset[Need]
    run: Callable[[Evidence], list[Estimate]]
    follow: Callable[[Evidence], list[Course]] | None = None

    def kind(self, key: str) -> EffectKind:
        """The effect with this key."""
        return next(k for k in self.kinds if k.key == key)
