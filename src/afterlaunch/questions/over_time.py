"""The drift question followed over windows: fetching what checks follow, and spending one alarm budget on it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import narwhals as nw
import numpy as np
import polars as pl

from afterlaunch.decide import Estimate, InputError, Margins, decide
from afterlaunch.finding import Finding, Json, Review
from afterlaunch.profile.store import count_with_store
from afterlaunch.profile.types import ColumnCounts, MetricCounts, Profile, Timeline
from afterlaunch.profile.windows import count_windows
from afterlaunch.questions.gather import SEED, Progress, Tables, compared, count_reference, source_of
from afterlaunch.questions.outcomes import DEFAULT_K, count_outcomes, task_of, with_positive
from afterlaunch.tables import (
    Cut,
    Every,
    Table,
    align_kinds,
    cut,
    fetch,
    open_table,
    parse_every,
    sample,
    sample_by,
)
from afterlaunch.watch import Budget, Course, days_of, watch

if TYPE_CHECKING:
    from afterlaunch.checks import Evidence, Sample

ROWS_OF_WINDOW = 500
"""Most rows of a window that checks may look at one by one."""

ROWS_LOOKED_AT = 50_000
"""Most rows of a table that checks may look at one by one: with many windows each has fewer."""

STREAM_ROWS = 2_000_000
"""Most rows whose outcomes are followed one by one."""

MOST_SEGMENTS = 20
"""Segments that are followed, largest first."""

OUTSIDE = 0.1
"""Share of the alarm budget for what is not looked at by windows: outcomes row by row, columns gone or retyped."""


@dataclass(frozen=True)
class Windows:
    """Both tables, cut.

    Attributes:
        every: Length of a window.
        production: The log.
        reference: The reference; None where it cannot be cut, since it has no time.
    """

    every: Every
    production: Cut
    reference: Cut | None


def cut_tables(tables: Tables, every: str) -> Windows:
    """Cut the log into windows, and the reference into the same.

    Raises:
        InputError: When the log cannot be cut.
    """
    length, roles = parse_every(every), tables.roles
    time = roles.time if roles.time in tables.production.columns else None
    if length.unit == "row":
        time = None
    production = cut(tables.production, length, time=time)
    if not production.windows:
        raise InputError("No row of the production table has a time; give the log's column of times with --role time=.")
    reference = None
    if time is None or time in tables.reference.columns:
        reference = cut(tables.reference, length, time=time)
    if reference is None or len(reference.windows) < 2:
        tables.notes.append(
            "The reference has no history of windows, so what is normal between windows is not known: "
            "intervals hold sampling error only, and an alarm may be an ordinary day."
        )
    if production.without_time:
        tables.notes.append(f"{production.without_time:,} rows of the log have no time and are in no window.")
    return Windows(length, production, reference)


def follow(
    tables: Tables,
    every: str,
    *,
    checks: Sequence[str],
    primary: Sequence[str],
    margins: Mapping[str, float],
    budget: Budget,
    alpha: float,
    task: str | None = None,
    threshold: float | None = None,
    domain: str = "screen",
    files: Sequence[Path] | None = None,
    cache: Path | None = None,
    progress: Progress | None = None,
) -> Review:
    """Run checks over windows and decide under one alarm budget.

    Args:
        tables: The opened tables.
        every: Length of a window.
        checks: Names of the checks.
        primary: Those that count toward the verdict.
        margins: The user's margins.
        budget: How many false episodes are allowed.
        alpha: One-sided error of the ends of intervals that can say `ok`.
        task: What is predicted; None is guessed.
        threshold: Score from which a prediction is positive.
        domain: "always", "screen" or "never" to train a domain classifier.
        files: The files that the log is made of, where it is.
        cache: Folder of what was counted of them before; None keeps nothing.
        progress: Called with what is being done.
    """
    from afterlaunch import __version__
    from afterlaunch.checks import CHECKS
    from afterlaunch.checks.drift import structure

    say = progress or (lambda _: None)
    say("cutting the log into windows")
    windows = cut_tables(tables, every)
    evidence = _gather(tables, windows, task, threshold, domain, (files, cache), say)
    days = days_of(windows.production.windows)
    rate = min(alpha, OUTSIDE * budget.monthly * max(days, 1.0) / 30)
    held = Margins(margins)
    evidence = replace(evidence, options={**evidence.options, "margins": held, "alpha": rate})
    used = [CHECKS[name] for name in checks]
    courses: list[Course] = []
    estimates: list[Estimate] = structure(evidence)
    for check in used:
        say(f"following {check.name}")
        if check.follow is not None:
            courses += check.follow(evidence)
        elif check.name != "drift":
            estimates += check.run(evidence)
    subjects: dict[str, list[str]] = {}
    for check_name, subject in [*((c.check, c.subject) for c in courses), *((e.check, e.subject) for e in estimates)]:
        subjects.setdefault(check_name, []).append(subject)
    held.require_known({c.name: c.kinds for c in used}, subjects)
    say("deciding")
    inside = Budget(budget.episodes * (1 - OUTSIDE), budget.days) if estimates else budget
    watched = watch(courses, margins=held, budget=inside, alpha=alpha, primary=primary, family="drift review")
    findings: list[Finding] = [*watched.findings]
    findings += decide(estimates, margins=held, alpha=rate, primary=primary, family="drift review, whole log")
    settings: Json = {
        "roles": tables.roles.to_dict(),
        "margins": dict(margins),
        "alpha": alpha,
        "checks": [c.name for c in used],
        "every": every,
        "alarm_budget": {
            "episodes": budget.episodes,
            "days": budget.days,
            "whole_log": rate if estimates else 0.0,
            "windows": len(windows.production.windows),
            "courses": len(courses),
        },
    }
    figures = (watched.figure,) if watched.figure is not None else ()
    return Review(
        "drift", tuple(findings), dict(tables.rows), settings, tuple(tables.notes), __version__, figures=figures
    )


# ------------------------------------------------------------------ evidence


def _gather(
    tables: Tables,
    windows: Windows,
    task: str | None,
    threshold: float | None,
    domain: str,
    kept: tuple[Sequence[Path] | None, Path | None],
    say: Progress,
) -> Evidence:
    from afterlaunch.checks import Evidence

    columns = compared(tables)
    say("counting the reference")
    reference = count_reference(tables, columns)
    bins = {name: counts.bins for name, counts in reference.columns.items()}
    segment, segments = _segments(tables)
    say("counting windows")

    def counted(found: Cut) -> Timeline:
        present = [c for c in columns if c in found.table.columns]
        return count_windows(
            replace(source_of(found.table, tables), bucket=None),
            bins,
            present,
            found.column,
            found.windows,
            every=windows.every.text,
            segment=segment if segment in found.table.columns else None,
            segments=segments,
        )

    files, cache = kept
    if files is None or cache is None:
        timeline = counted(windows.production)
    else:
        timeline = count_with_store(
            files,
            lambda some: align_kinds(tables.reference, open_table(list(some), name="production"))[1],
            bins,
            [c for c in columns if c in tables.production.columns],
            windows.every,
            time=tables.roles.time,
            kinds=tables.production.kinds,
            cache=cache,
            segment=segment,
            segments=segments,
        ).timeline
    history = counted(windows.reference) if windows.reference is not None else None
    say("sampling windows")
    production_sample = _sample(tables, windows.production)
    reference_sample = _sample(tables, windows.reference)
    tables.roles = with_positive(tables.roles, (reference_sample, production_sample))
    kind = task_of(task, tables.roles, (reference_sample, production_sample))
    options: dict[str, Any] = {"k": DEFAULT_K, "domain": domain}
    if threshold is not None:
        options["threshold"] = threshold
    evidence = Evidence(
        roles=tables.roles.with_(bucket=tables.bucket),
        task=kind,
        reference_kinds={c: v for c, v in tables.reference.kinds.items() if c != tables.bucket},
        production_kinds={c: v for c, v in tables.production.kinds.items() if c != tables.bucket},
        reference=reference,
        production=_whole(timeline, tables),
        history=history,
        timeline=timeline,
        reference_sample=reference_sample,
        production_sample=production_sample,
        options=options,
    )
    if kind is None:
        return evidence
    say("counting outcomes")
    parts = {"production": (windows.production.column, len(timeline.windows))}
    cut_up = replace(tables, production=windows.production.table)
    if windows.reference is not None:
        parts["reference"] = (windows.reference.column, len(windows.reference.windows))
        cut_up = replace(cut_up, reference=windows.reference.table)
    offline, live = count_outcomes(cut_up, kind, reference_sample, options, parts)
    return replace(
        evidence,
        metric_reference={"": offline[""]},
        metric_production={"": live[""]},
        metric_history=_by_window(offline, parts.get("reference", ("", 0))[1]),
        metric_timeline=_by_window(live, parts["production"][1]),
        stream=_stream(tables),
    )


def _segments(tables: Tables) -> tuple[str | None, list[str]]:
    """The most frequent segments of the reference, which are the ones that can be compared."""
    segment = tables.roles.segment
    if segment is None or not all(segment in t.columns for t in (tables.reference, tables.production)):
        return None, []
    counts = tables.reference.frame.group_by(segment).agg(nw.len().cast(nw.Int64).alias("n"))
    found = fetch(counts.sort("n", descending=True).head(MOST_SEGMENTS + 1), tables.reference).drop_nulls(segment)
    return segment, [str(v) for v in found[segment].to_list()[:MOST_SEGMENTS]]


def _whole(timeline: Timeline, tables: Tables) -> Profile:
    """All windows together, without buckets."""

    def one(values: Any) -> Any:
        return np.asarray(values).sum(axis=0, keepdims=True)

    columns = {
        name: ColumnCounts(
            name, c.kind, c.bins, one(c.counts), one(c.missing), one(c.infinite), one(c.below), one(c.above)
        )
        for name, c in timeline.columns.items()
    }
    kinds = {c: k for c, k in tables.production.kinds.items() if c != tables.bucket}
    return Profile("independent", one(timeline.rows), columns, kinds)


def _sample(tables: Tables, found: Cut | None) -> Sample:
    from afterlaunch.checks import Sample
    from afterlaunch.questions.gather import sample_of

    if found is None:
        return sample_of(tables, tables.reference)
    table = found.table
    columns = [c for c in table.columns if table.kinds[c] != "other" or c == tables.roles.embedding]
    if table.name == "reference":
        # The reference is drawn as a whole: checks take means over it.
        return Sample(sample(table, columns, ROWS_LOOKED_AT, SEED), table.rows(), SEED, window=found.column)
    quota = max(1, min(ROWS_OF_WINDOW, ROWS_LOOKED_AT // max(len(found.windows), 1)))
    frame = sample_by(table, columns, found.column, quota, SEED)
    return Sample(frame, table.rows(), SEED, window=found.column)


def _by_window(found: Mapping[str, MetricCounts], windows: int) -> tuple[MetricCounts, ...]:
    return tuple(found[str(w)] if str(w) in found else _nothing(found[""]) for w in range(windows))


def _nothing(like: MetricCounts) -> MetricCounts:
    def empty(values: Any) -> Any:
        return None if values is None else np.zeros_like(values)

    return MetricCounts(
        rows=empty(like.rows),
        unmatched=empty(like.unmatched),
        without_outcome=empty(like.without_outcome),
        moments={n: np.zeros_like(v) for n, v in like.moments.items()},
        class_rows=empty(like.class_rows),
        confusion=empty(like.confusion),
        classes=like.classes,
        histogram=empty(like.histogram),
        score_sums=empty(like.score_sums),
        knots=like.knots,
    )


def _stream(tables: Tables) -> pl.DataFrame | None:
    """Rows with an outcome in the order of time, with what a loss is made of."""
    roles, table = tables.roles, tables.production
    given = [roles.time, roles.outcome, roles.prediction, roles.score, roles.outcome_time, *roles.scores.values()]
    wanted = [c for c in dict.fromkeys(given) if c is not None and c in table.columns]
    if roles.outcome not in wanted or len({roles.prediction, roles.score, *roles.scores.values()} & set(wanted)) == 0:
        return None
    return _in_order(table, wanted, roles.time)


def _in_order(table: Table, wanted: list[str], time: str | None) -> pl.DataFrame:
    frame = table.frame.select(*wanted)
    if time is not None and time in wanted:
        frame = frame.sort(time, nulls_last=True)
    return fetch(frame.head(STREAM_ROWS), table)
