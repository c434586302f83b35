"""Is exposure drawn to fewer and fewer items?"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from afterlaunch.checks.evidence import Check, Evidence
from afterlaunch.decide import EffectKind, Estimate
from afterlaunch.finding import Effect, Json, Verdict
from afterlaunch.profile.exposures import Exposures
from afterlaunch.stats.concentration import concentration, debiased_gini, unbiased_hhi
from afterlaunch.stats.trend import trend
from afterlaunch.words import estimate as in_words
from afterlaunch.words import plain, quantity

Floats = NDArray[np.float64]

GINI = EffectKind(
    "gini",
    "change of the Gini index",
    "",
    0.05,
    "up",
    "from .60 to .65 the upper tenth gains about five points of all",
)
HHI = EffectKind(
    "hhi", "change of the Herfindahl index", "", 0.01, "up", "one hit more that alone takes a tenth of everything"
)
EFFECTIVE = EffectKind(
    "effective",
    "relative change of the effective number of items",
    "share",
    0.2,
    "down",
    "a fifth fewer items among which users in fact choose",
)
COVERAGE = EffectKind(
    "coverage",
    "change of the share of the catalogue that takes four fifths of exposure",
    "share",
    0.05,
    "down",
    "one item in twenty drops out of what is really shown",
)
NEW = EffectKind(
    "new_items",
    "change of the share of impressions that new items get",
    "share",
    0.05,
    "down",
    "one place in twenty less for what nobody knows yet",
)
AGE = EffectKind(
    "age",
    "change of the age of what is shown beyond that of the catalogue",
    "windows",
    1.0,
    "up",
    "what is shown grows older by one retraining more than what could be shown",
)
LEAST = 4
"""Windows from which a trend is told."""

YOUNG = 4
"""Windows for which an item counts as new after it came."""

COVERED = 0.8
"""Share of exposure of which coverage tells who takes it."""

LEAST_ROWS = 50
"""Impressions of a window from which its concentration is told."""


def run(evidence: Evidence) -> list[Estimate]:
    """Trends of concentration over the log: of all items, then of each category and segment.

    Args:
        evidence: Needs "exposures".
    """
    seen = evidence.exposures
    if seen is None:
        return []
    out = [_trend(seen, _measured(seen.shown, measure, seen), "", None) for measure in MEASURES]
    for more in (_new(seen), _age(seen)):
        if more is not None:
            out.append(_trend(seen, more, "", None))
    if seen.category is not None:
        for number, name in enumerate(seen.categories):
            inside = seen.shown[:, seen.category == number]
            if inside.shape[1] > 1:
                out.append(_trend(seen, _measured(inside, MEASURES[0], seen), name, None))
    for name, inside in seen.segments.items():
        out.append(_trend(seen, _measured(inside, MEASURES[0], seen), "", name))
    return out


@dataclass(frozen=True)
class _Line:
    """One measure in every window, with its standard error; on the scale of logarithms where `relative`."""

    kind: EffectKind
    values: Floats
    se: Floats
    relative: bool = False


@dataclass(frozen=True)
class _Measure:
    """A measure of concentration, and the weight of one impression of each item in it."""

    kind: EffectKind
    value: Callable[[Floats], float]
    weight: Callable[[Floats], Floats]
    relative: bool = False


def _gini_weight(counts: Floats) -> Floats:
    order = counts.argsort(kind="stable")
    out = np.empty(counts.size)
    out[order] = (2 * np.arange(1, counts.size + 1) - counts.size - 1) / counts.size
    return out


def _hhi(counts: Floats) -> float:
    return float(unbiased_hhi(counts))


def _hhi_weight(counts: Floats) -> Floats:
    out: Floats = 2 * counts / counts.sum()
    return out


def _log_effective(counts: Floats) -> float:
    found = _hhi(counts)
    return -math.log(found) if found > 0 else math.nan


def _log_effective_weight(counts: Floats) -> Floats:
    shares = counts / counts.sum()
    out: Floats = -2 * shares / float((shares**2).sum())
    return out


def _coverage(counts: Floats) -> float:
    return concentration(counts).coverage(COVERED)


def _coverage_weight(counts: Floats) -> Floats:
    order = np.argsort(-counts, kind="stable")
    falling = counts[order].cumsum() / counts.sum()
    last = int(np.searchsorted(falling, COVERED))
    out = np.zeros(counts.size)
    out[order[: last + 1]] = -1.0
    return out * float(counts.sum()) / (counts.size * max(float(counts[order[last]]), 1e-12))


MEASURES = (
    _Measure(GINI, debiased_gini, _gini_weight),
    _Measure(HHI, _hhi, _hhi_weight),
    _Measure(EFFECTIVE, _log_effective, _log_effective_weight, relative=True),
    _Measure(COVERAGE, _coverage, _coverage_weight),
)


def _measured(shown: Floats, m: _Measure, seen: Exposures) -> _Line:
    values, errors = np.full(len(shown), np.nan), np.full(len(shown), np.nan)
    for w, counts in enumerate(shown):
        total = float(counts.sum())
        if total < LEAST_ROWS:
            continue
        values[w] = m.value(counts)
        weight, shares = m.weight(counts), counts / total
        variance = float((shares * weight**2).sum()) - float((shares * weight).sum()) ** 2
        errors[w] = math.sqrt(max(variance, 0.0) / total * seen.inflation)
    return _Line(m.kind, values, errors, m.relative)


def _part(seen: Exposures, kind: EffectKind, inside: NDArray[np.bool_], valid: NDArray[np.bool_]) -> _Line:
    """The share of impressions of some items."""
    total = seen.shown.sum(axis=1)
    hits = (seen.shown * inside).sum(axis=1)
    good = valid & (total >= LEAST_ROWS)
    share = np.where(good, hits / np.maximum(total, 1), np.nan)
    se = np.sqrt(np.maximum(share * (1 - share), 1 / np.maximum(total, 1)) / np.maximum(total, 1) * seen.inflation)
    return _Line(kind, share, np.where(good, se, np.nan))


def _new(seen: Exposures) -> _Line | None:
    """Impressions of items that came into the catalogue a few windows ago."""
    windows = len(seen.windows)
    # Without dates of birth rare items look new when they are first met, and fewer of them are as the log grows.
    if seen.born is None or not np.isfinite(seen.born).any():
        return None
    at = np.arange(windows)[:, None]
    inside = (at - np.nan_to_num(seen.born, nan=-np.inf)[None, :]) < YOUNG
    line = _part(seen, NEW, inside & (seen.shown > 0), np.ones(windows, dtype=bool))
    return line if np.nansum(line.values) > 0 else None


def _age(seen: Exposures) -> _Line | None:
    """Age of what is shown less that of what could be shown."""
    if seen.born is None or not np.isfinite(seen.born).any():
        return None
    known = np.isfinite(seen.born)
    values, errors = np.full(len(seen.windows), np.nan), np.full(len(seen.windows), np.nan)
    for w in range(len(seen.windows)):
        there = known & (np.nan_to_num(seen.born, nan=np.inf) < w + 1)
        counts = seen.shown[w, there]
        total = float(counts.sum())
        if total < LEAST_ROWS:
            continue
        age = w + 1 - seen.born[there]
        mean = float((counts * age).sum()) / total
        values[w] = mean - float(age.mean())
        errors[w] = math.sqrt(max(float((counts * (age - mean) ** 2).sum()) / total**2 * seen.inflation, 0.0))
    return _Line(AGE, values, errors)


def _trend(seen: Exposures, line: _Line, subject: str, segment: str | None) -> Estimate:
    known = np.flatnonzero(np.isfinite(line.values) & np.isfinite(line.se))
    where = f" among {plain(subject)}" if subject else f" in {plain(segment)}" if segment is not None else ""
    if known.size < LEAST:
        return Estimate(
            "concentration",
            line.kind,
            subject,
            None,
            reason="too_few_windows",
            sentence=f"{known.size} windows of {LEAST_ROWS} impressions or more{where} are too few for a trend.",
            action=f"Give a log of at least {LEAST} whole windows, or a shorter every.",
            segment=segment,
            primary=False,
        )
    found = trend(line.values[known], line.se[known], known.astype(float))
    span = float(known[-1] - known[0])

    def ends(low: float, high: float) -> tuple[float, float]:
        bottom, top = (span * v for v in found.interval(low, high))
        return (math.expm1(bottom), math.expm1(min(top, 700.0))) if line.relative else (bottom, top)

    value = span * found.slope
    first, last = (_shown(line, int(w)) for w in (known[0], known[-1]))

    def say(effect: Effect, verdict: Verdict) -> str:
        del verdict
        return f"{in_words(effect)} {line.kind.name}{where} over {int(span) + 1} {seen.every}s ({first} to {last})."

    return Estimate(
        "concentration",
        line.kind,
        subject,
        math.expm1(value) if line.relative else value,
        ends,
        say=say,
        action="See whether quality moved too: an alarm of amplification says that exposure itself does it. Else look "
        "at what came into the catalogue and at the season.",
        n=int(seen.shown.sum()),
        method="line over windows, variance between them estimated"
        + ("; design effect of units" if seen.units else ""),
        binding="too_few_windows",
        segment=segment,
        primary=False,
        table=_picture(seen, line, where),
    )


def _shown(line: _Line, window: int) -> str:
    value = float(line.values[window])
    if line.relative:
        return f"{math.exp(value):,.0f}"
    return quantity(float(f"{value:.3g}"), "share" if line.kind.unit == "share" else "")


def _picture(seen: Exposures, line: _Line, where: str) -> Json:
    transform = math.exp if line.relative else float
    rows = [w for w in range(len(seen.windows)) if math.isfinite(line.values[w]) and math.isfinite(line.se[w])]
    return {
        "kind": "lines",
        "title": f"{line.kind.name.rpartition(' of the ')[2].capitalize()}{where}",
        "x_title": seen.every,
        "y_title": "",
        "series": [
            {
                "name": "by window, 95 %",
                "x": [seen.windows[w].label for w in rows],
                "y": [transform(float(line.values[w])) for w in rows],
                "low": [transform(float(line.values[w] - 1.96 * line.se[w])) for w in rows],
                "high": [transform(float(line.values[w] + 1.96 * line.se[w])) for w in rows],
            }
        ],
    }


CHECK = Check(
    name="concentration",
    asks="Is exposure drawn to fewer and fewer items?",
    kinds=(GINI, HHI, EFFECTIVE, COVERAGE, NEW, AGE),
    needs=frozenset({"exposures"}),
    run=run,
)
"""The check, for the registry."""
