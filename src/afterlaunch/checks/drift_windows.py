"""Have the columns changed, window by window: the drift check followed over time."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial

import numpy as np

from afterlaunch.checks.drift_kinds import ACTION, CATEGORIES, GROUPS, KIND
from afterlaunch.checks.evidence import Evidence
from afterlaunch.checks.over_time import Plan, named, plan
from afterlaunch.episodes import Change
from afterlaunch.finding import Effect, Verdict
from afterlaunch.profile.types import CategoryBins, ColumnCounts, Floats, Ints, NumericBins, Timeline, WindowCounts
from afterlaunch.stats import variation, variation_shares
from afterlaunch.stats.change import change_point
from afterlaunch.stats.distances import LEAST_EXPECTED, merge_rare
from afterlaunch.stats.variation import Distance, Looks, Normal
from afterlaunch.watch import Course, Window
from afterlaunch.words import estimate, quantity

FEWEST_ROWS = 10
"""Fewest values of a look whose distribution is compared, as in the drift check."""

LOOK_BACK = 60
"""Windows before the first alarm in which a change may have begun."""


def follow(evidence: Evidence) -> list[Course]:
    """Every column of production, window by window, against the reference."""
    timeline, history, reference = evidence.timeline, evidence.history, evidence.reference
    if timeline is None or reference is None or not timeline.windows:
        return []
    out: list[Course] = []
    for segment, now in [(None, timeline), *timeline.segments.items()]:
        past = history if segment is None else history.segments.get(segment) if history is not None else None
        if segment is not None and (past is None or past.rows.sum() == 0):
            continue
        schedule = plan(timeline.windows, timeline.every, past.windows if past is not None else ())
        for name, counts in now.columns.items():
            if name in reference.columns and counts.kind == reference.columns[name].kind:
                whole = reference.columns[name]
                before = past.columns.get(name) if past is not None else None
                if before is None or before.bins != counts.bins:
                    before = None
                column = _Column(whole, before, counts, timeline.windows, schedule, segment, now, past)
                out += column.courses()
    return out


@dataclass(frozen=True)
class _Column:
    """One column of one segment: all that its courses are made from."""

    whole: ColumnCounts
    before: WindowCounts | None
    now: WindowCounts
    windows: tuple[Window, ...]
    plan: Plan
    segment: str | None
    timeline: Timeline
    past: Timeline | None

    @property
    def name(self) -> str:
        return self.whole.name

    def courses(self) -> Iterator[Course]:
        yield self._share("missing", self._rows(self.past), self.timeline.rows)
        if self.whole.kind not in {"numeric", "category"} or self.now.bins is None or self.whole.valid == 0:
            return
        normal, looks = self._normal(), Looks(self.plan.total(self.now.counts), self.plan.phase, self.plan.length)
        p = (normal.whole / max(int(normal.whole.sum()), 1) + _shares(self.now.counts.sum(axis=0))) / 2
        if np.count_nonzero(p) < 2:
            return
        filled = self.now.counts.sum(axis=1)
        filled = filled[filled > 0]
        typical = float(np.median(filled)) if filled.size else 0.0
        numeric = isinstance(self.now.bins, NumericBins)
        groups = merge_rare(p, LEAST_EXPECTED / max(typical, 1.0), GROUPS if numeric else CATEGORIES, ordered=numeric)
        if int(groups.max()) > 0:
            yield self._distance("psi", normal.grouped(groups), looks.grouped(groups))
            if not numeric:
                yield self._distance("linf", normal.grouped(groups), looks.grouped(groups))
        if isinstance(self.now.bins, NumericBins):
            yield self._distance("ks", normal, looks)
            if self.now.bins.scale > 0:
                half = np.diff(np.array(self.now.bins.edges) / 2)
                yield self._distance(
                    "wasserstein", normal, looks, (np.append(half, 0.0) + np.append(0.0, half)) / self.now.bins.scale
                )
            yield self._share("range", None, self.now.counts.sum(axis=1))
        elif isinstance(self.now.bins, CategoryBins) and self.now.bins.complete:
            yield self._share("new", None, self.now.counts.sum(axis=1))

    # -------------------------------------------------------------- what normal is

    def _normal(self) -> Normal:
        if self.before is None:
            return Normal(np.zeros((0, self.now.counts.shape[1]), np.int64), self._total(), np.zeros(0, np.int64))
        return Normal(self.before.counts, self._total(), self.plan.history_phase)

    def _total(self) -> Ints:
        """Rows of the whole reference, or of the segment in it, per bin."""
        if self.segment is None or self.before is None:
            total: Ints = self.whole.counts.sum(axis=0)
        else:
            total = self.before.counts.sum(axis=0)
        return total

    def _rows(self, past: Timeline | None) -> Ints:
        return past.rows if past is not None else np.zeros(0, dtype=np.int64)

    # -------------------------------------------------------------- courses

    def _distance(self, key: Distance, normal: Normal, looks: Looks, spacing: Floats | None = None) -> Course:
        found = variation.distances(key, normal, looks, spacing)
        n = looks.counts.sum(axis=1)
        few = n < FEWEST_ROWS
        value = np.where(few, np.nan, found.value)
        kind = KIND[key]

        def say(e: Effect, verdict: Verdict, look: int) -> str:
            when = named(self.windows, self.plan.looks[look])
            if key == "wasserstein":
                return f"{self.name!r} moved by {estimate(e)} (Wasserstein distance) {when}{self._inside()}."
            if key == "linf":
                return f"The share of one category of {self.name!r} changed by {estimate(e)} {when}{self._inside()}."
            return f"{kind.name} of {self.name!r} is {estimate(e)} {when}{self._inside()}."

        known = "in excess of normal variation, t over reference windows" if normal.known else "sampling error only"
        reasons = self._reasons(few, "too_few_rows")
        return Course(
            "drift",
            kind,
            self.name,
            self.windows,
            self.plan.looks,
            self._open(value),
            found.ends,
            n,
            reasons,
            say,
            ACTION["shape"],
            f"{kind.name} over frozen bins, {known}",
            change=partial(self._change, normal, looks),
            segment=self.segment,
        )

    def _share(self, key: str, rows_before: Ints | None, rows_now: Ints) -> Course:
        now, before = self.now, self.before
        hits = {"missing": now.missing, "new": now.counts[:, -1] if now.counts.size else now.missing}.get(key)
        if hits is None:
            hits = now.below + now.above - (now.infinite if self.whole.infinite.any() else 0)
        looks = Looks(_two(self.plan.total(rows_now), self.plan.total(hits)), self.plan.phase, self.plan.length)
        if key == "missing":
            whole_rows = int(self.whole.rows)
            history = np.zeros((0, 2), dtype=np.int64)
            total = np.array([whole_rows - int(self.whole.missing.sum()), int(self.whole.missing.sum())])
            if before is not None and rows_before is not None:
                history = _two(rows_before, before.missing)
                total = total if self.segment is None else history.sum(axis=0)
            phase = self.plan.history_phase if len(history) else np.zeros(0, dtype=np.int64)
            found = variation_shares.shares(Normal(history, total, phase), looks)
        else:
            valid, singles = self._total(), 0
            if key == "new" and isinstance(now.bins, CategoryBins):
                singles = now.bins.singletons
            history = np.zeros((0, 2), dtype=np.int64)
            if before is not None:
                hits_before = (variation_shares.alone if key == "new" else variation_shares.outermost)(before.counts)
                history = _two(before.counts.sum(axis=1), hits_before)
            normal = Normal(history, _whole(history, valid), np.zeros(len(history), dtype=np.int64))
            expected: variation_shares.Expected | None = None
            if key == "range":
                expected = variation_shares.beyond(variation_shares.effective(normal, int(valid.sum())))
            elif not normal.known:
                expected = variation_shares.unseen(int(valid.sum()), singles)
            looks = Looks(looks.counts, np.full_like(looks.phase, -1), looks.length)
            found = variation_shares.shares(normal, looks, expected)
        n = looks.counts.sum(axis=1)
        kind = KIND[key]

        def say(e: Effect, verdict: Verdict, look: int) -> str:
            when = named(self.windows, self.plan.looks[look])
            inside = self._inside()
            share = quantity(float(found.now[look]), "share")
            if key == "missing":
                return f"The share missing of {self.name!r} rose by {estimate(e)} to {share} {when}{inside}."
            if key == "new":
                return (
                    f"{estimate(e)} of {self.name!r} are in categories the reference lacks {when}{inside}{self._new()}."
                )
            return f"{estimate(e)} of the values of {self.name!r} are out of the reference's range {when}{inside}."

        return Course(
            "drift",
            kind,
            self.name,
            self.windows,
            self.plan.looks,
            self._open(np.where(n < FEWEST_ROWS, np.nan, found.value)),
            found.ends,
            n,
            self._reasons(n < FEWEST_ROWS, "too_few_rows"),
            say,
            ACTION[key],
            "shares with the design effect of reference windows, combined by MOVER",
            change=partial(self._rise, found.before, looks),
            segment=self.segment,
        )

    def _inside(self) -> str:
        return f" in {self.segment!r}" if self.segment is not None else ""

    def _new(self) -> str:
        names = sorted((self.now.others or {}).items(), key=lambda kv: (-kv[1], kv[0]))
        named = ", ".join(f"{value!r} ({count:,} rows)" for value, count in names[:3])
        return (f": {named}" + (f" and {len(names) - 3:,} more" if len(names) > 3 else "")) if named else ""

    def _open(self, value: Floats) -> Floats:
        """Estimates of looks that may be looked at."""
        return np.where([r is not None for r in self.plan.reasons], np.nan, value)

    def _reasons(self, lacking: np.ndarray, why: str) -> tuple[str | None, ...]:
        return tuple(r or (why if few else None) for r, few in zip(self.plan.reasons, lacking, strict=True))

    # -------------------------------------------------------------- when it began

    def _change(self, normal: Normal, looks: Looks, first: int, last: int) -> Change | None:
        """Along the direction in which the windows of the episode differ from the reference."""
        single = [i for i, look in enumerate(self.plan.looks) if look.length == 1]
        counts = looks.counts[single]
        phase = looks.phase[single]
        base = variation.shares_by_phase(normal, phase)
        after = counts[first : last + 1].sum(axis=0)
        direction = _shares(after) - base[first : last + 1].mean(axis=0)
        # Weighted as a likelihood ratio would: a change of a rare bin says more than one of a common bin.
        direction = direction / np.maximum((_shares(after) + base.mean(axis=0)) / 2, 1e-6)
        n = counts.sum(axis=1)
        off = ((_rows(counts) - base) * direction).sum(axis=1)
        return self._when(
            np.where(n > 0, off, np.nan), variation.variance_along(normal, direction, counts), first, last
        )

    def _rise(self, before: Floats, looks: Looks, first: int, last: int) -> Change | None:
        single = [i for i, look in enumerate(self.plan.looks) if look.length == 1]
        counts = looks.counts[single]
        n = counts.sum(axis=1)
        share = counts[:, 1] / np.maximum(n, 1)
        middle = float(counts[first : last + 1, 1].sum() / max(int(n[first : last + 1].sum()), 1))
        spread = max(middle * (1 - middle), 1e-6) / np.maximum(n, 1)
        return self._when(np.where(n > 0, share - before[single], np.nan), spread, first, last)

    def _when(self, off: Floats, variances: Floats, first: int, last: int) -> Change | None:
        start = max(0, first - LOOK_BACK)
        found = change_point(off[start : last + 1], variances[start : last + 1], 0.0, first - start)
        if found is None:
            return None
        return Change(start + found.index, start + found.low, start + found.high)


def _two(rows: Ints, hits: Ints) -> Ints:
    out: Ints = np.stack([rows - hits, hits], axis=1)
    return out


def _whole(history: Ints, valid: Ints) -> Ints:
    if len(history):
        out: Ints = history.sum(axis=0)
        return out
    return np.array([int(valid.sum()), 0], dtype=np.int64)


def _shares(counts: Ints) -> Floats:
    out: Floats = counts / max(int(counts.sum()), 1)
    return out


def _rows(counts: Ints) -> Floats:
    out: Floats = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    return out
