"""Does the model use the place it is to decide, and what does the place itself do to clicks?"""

from __future__ import annotations

import math
import re

import numpy as np
import polars as pl
from numpy.typing import NDArray

from afterlaunch.checks.evidence import Check, Evidence, Sample
from afterlaunch.checks.places import CORRECTED, EXAMINATION, examined
from afterlaunch.checks.rows import is_number, is_plain, numbers, words
from afterlaunch.decide import EffectKind, Estimate
from afterlaunch.finding import Effect, Verdict
from afterlaunch.stats.intervals import normal_quantile

Floats = NDArray[np.float64]

STANDS_IN = 0.95
"""Rank correlation from which a feature stands in for the position."""
CLOSE = 0.9
"""Rank correlation from which a feature gets a finding of its own."""
MOST_CELLS = 4_000_000
"""Rows times features that are ranked; wide tables are cut to their first lists."""

USED = EffectKind(
    "used",
    "rank correlation with the position",
    "correlation",
    STANDS_IN,
    "up",
    "nine tenths of the variance of ranks: the feature and the position say the same",
)


def run(evidence: Evidence) -> list[Estimate]:
    """Positions as features, the effect of position on clicks, and metrics without it.

    Args:
        evidence: Needs "samples". Without a `position` role, only columns whose name and values say
            that they are ranks are looked at.

    Returns:
        "used" for features that are or stand in for the position (or the one that comes closest);
        "examination" and "corrected", which inform, where there is a position and an outcome:
        undecided without randomisation or with too few clicks.
    """
    found = _used(evidence)
    return found + examined(evidence)


def _used(evidence: Evidence) -> list[Estimate]:
    """Features that are the position or say the same."""
    roles, sample = evidence.roles, evidence.reference_sample
    if sample is None or sample.rows == 0:
        return []
    frame = sample.frame
    features = [f for f in roles.features_of(evidence.reference_kinds or frame.columns) if f in frame.columns]
    place = roles.position if roles.position in frame.columns else None
    found = []
    if roles.position is not None and roles.position in features:
        found.append(_say_used(roles.position, 1.0, math.inf, sample, "is the position itself"))
    others = [f for f in features if f != roles.position and is_plain(frame[f]) and is_number(frame[f])]
    listed = roles.list if roles.list in frame.columns and is_plain(frame[roles.list or ""]) else None
    if place is not None and is_number(frame[place]):
        found += _standing_in(frame, place, listed, others, sample, any_found=bool(found))
    done = {e.subject for e in found if e.value is not None and e.value >= CLOSE}
    for name in others:
        if name not in done and listed is not None and _named_rank(name) and _is_rank(frame, name, listed):
            found.append(_say_used(name, 1.0, math.inf, sample, "counts the places of each list from one"))
    return found


def _standing_in(
    frame: pl.DataFrame, place: str, listed: str | None, others: list[str], sample: Sample, *, any_found: bool
) -> list[Estimate]:
    """Features by their rank correlation with the position, over all rows or within lists."""
    if not others:
        return []
    small = frame.head(max(1000, MOST_CELLS // len(others)))
    columns = [numbers(small[c]) for c in (place, *others)]
    data = pl.DataFrame({f"c{i}": pl.Series(x).fill_nan(None) for i, x in enumerate(columns)})
    ways = {"over all rows": (_correlations(data.select(pl.all().rank())), small.height)}
    if listed is not None:
        keyed = data.with_columns(words(small[listed]).alias("list")).filter(pl.col("list").is_not_null())
        if keyed.height:
            ranks = keyed.select(pl.exclude("list").rank().over("list"))
            centred = ranks.with_columns(keyed["list"]).select(
                pl.exclude("list") - pl.exclude("list").mean().over("list")
            )
            ways["within lists"] = (_correlations(centred), keyed["list"].n_unique())
    best: list[tuple[float, str, str, int]] = []
    for i, name in enumerate(others):
        pairs = int((np.isfinite(columns[0]) & np.isfinite(columns[i + 1])).sum())
        value, way, n = max((abs(float(r[i])), w, min(n, pairs)) for w, (r, n) in ways.items())
        best.append((value, name, way, n))
    close = [b for b in best if b[0] >= CLOSE]
    shown = close or ([] if any_found else [max(best)])
    return [_say_used(name, value, n, sample, way) for value, name, way, n in shown]


def _correlations(ranks: pl.DataFrame) -> Floats:
    """Correlation of the first column with every other, pairs without a value left out; 0 where undefined."""
    data = ranks.to_numpy().astype(np.float64)
    first, out = data[:, 0], np.zeros(data.shape[1] - 1)
    for j in range(1, data.shape[1]):
        both = np.isfinite(first) & np.isfinite(data[:, j])
        a, b = first[both], data[both, j]
        if len(a) > 2:
            a, b = a - a.mean(), b - b.mean()
            norm = math.sqrt(float(a @ a) * float(b @ b))
            out[j - 1] = float(a @ b) / norm if norm > 1e-9 else 0.0
    return out


def _named_rank(name: str) -> bool:
    parts = {p.lower() for p in re.findall(r"[A-Z]?[a-z]+|[A-Z]+", name)}
    return bool(parts & {"rank", "ranking", "pos", "position", "slot", "place"})


def _is_rank(frame: pl.DataFrame, name: str, listed: str) -> bool:
    """Whether a column counts 1, 2, … within every list."""
    data = pl.DataFrame({"x": numbers(frame[name]), "list": words(frame[listed])}).drop_nulls()
    if not data.height:
        return False
    by_list = data.group_by("list").agg(
        pl.col("x").n_unique().alias("distinct"), pl.len(), pl.col("x").min(), pl.col("x").max().alias("most")
    )
    whole = bool(((data["x"] == data["x"].round()) & data["x"].is_finite()).all())
    unique = bool((by_list["distinct"] == by_list["len"]).all())
    return whole and unique and by_list["x"].min() == 1 and bool((by_list["most"] > 1).any())


def _say_used(name: str, value: float, n: float, sample: Sample, how: str) -> Estimate:
    def ends(low: float, high: float) -> tuple[float, float]:
        if math.isinf(n):
            return value, value
        if n <= 3:
            return 0.0, 1.0
        r = min(value, 1 - 1e-9)
        se = math.sqrt((1 + r * r / 2) / (n - 3))
        centre = math.atanh(r)
        return max(0.0, math.tanh(centre - normal_quantile(low) * se)), math.tanh(centre + normal_quantile(high) * se)

    def say(effect: Effect, verdict: Verdict) -> str:
        if math.isinf(n):
            return f"{name!r} {how}, and is a feature of the model; a place is not known before the ranking."
        text = f"Rank correlation {effect.value:.2f} with the position: {name!r} {how}"
        return text + (
            ", and the model has it as a feature." if verdict is Verdict.ALARM else "; no feature comes closer."
        )

    return Estimate(
        "position",
        USED,
        name,
        value,
        ends,
        say=say,
        n=sample.rows,
        sample=None if sample.whole else sample.rows,
        action=f"Retrain without {name!r}, or feed it one fixed value; the power it has offline will not be there.",
        method="Spearman's correlation, Fisher's interval with the variance of Bonett and Wright (2000)",
        binding="reference_too_small",
    )


CHECK = Check(
    name="position",
    asks="Does the model use the place it is to decide, and what does the place itself do to clicks?",
    kinds=(USED, EXAMINATION, CORRECTED),
    needs=frozenset({"samples"}),
    run=run,
)
"""The check, for the registry."""
