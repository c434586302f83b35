"""What standing at a place does to clicks, and metrics without it; part of the check `position`."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import polars as pl
from numpy.typing import NDArray

from afterlaunch.checks.evidence import Evidence, Sample
from afterlaunch.checks.rows import is_number, is_plain, numbers, percent, words
from afterlaunch.decide import EffectKind, Estimate
from afterlaunch.finding import Effect, Json, Verdict
from afterlaunch.roles import Roles
from afterlaunch.stats.examination import FEWEST_CLICKS, Curve, corrected_mean, harvested, randomised
from afterlaunch.stats.intervals import Interval, normal_quantile

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]

MOST_POSITIONS = 50

EXAMINATION = EffectKind(
    "examination",
    "clicks lost by standing last",
    "share",
    0.2,
    "up",
    "a fifth: then offline clicks say as much about places as about items",
)
CORRECTED = EffectKind(
    "corrected",
    "what places take from the metric",
    "share",
    0.2,
    "both",
    "a fifth of the metric: then it says as much about places as about items",
)


@dataclass(frozen=True)
class _Shown:
    """Rows of a log that have a place and an outcome."""

    frame: pl.DataFrame
    position: Ints
    gain: Floats
    group: Ints
    table: str
    whole: bool


def examined(evidence: Evidence) -> list[Estimate]:
    """The effect of position on clicks, and metrics without it, where there are positions and outcomes.

    Args:
        evidence: Needs "samples".

    Returns:
        "examination", from production where it has what it takes, else from the reference; and
        "corrected", for the reference where it has positions, else for production.
    """
    found = []
    for label, sample in (("production", evidence.production_sample), ("reference", evidence.reference_sample)):
        shown = _shown(evidence.roles, sample, label)
        if shown is not None:
            found.append(shown)
    return _examined(evidence.roles, found[0], found[-1]) if found else []


def _shown(roles: Roles, sample: Sample | None, label: str) -> _Shown | None:
    if sample is None or roles.position is None or roles.outcome is None:
        return None
    frame = sample.frame
    if not {roles.position, roles.outcome} <= set(frame.columns):
        return None
    if not (is_number(frame[roles.position]) and is_plain(frame[roles.outcome])):
        return None
    place, gain = numbers(frame[roles.position]), _gain(frame[roles.outcome], roles)
    keep = np.isfinite(place) & np.isfinite(gain) & (gain >= 0)
    keep &= np.abs(place) < 2**31
    frame = frame.filter(pl.Series(keep))
    group = np.arange(frame.height, dtype=np.int64)
    for name in (roles.unit, roles.list):
        if name is not None and name in frame.columns and is_plain(frame[name]):
            group = words(frame[name]).rank("dense").cast(pl.Int64).fill_null(0).to_numpy()
            break
    return _Shown(frame, place[keep].astype(np.int64), gain[keep], group, label, sample.whole)


def _gain(outcome: pl.Series, roles: Roles) -> Floats:
    """What a row earned: the outcome as a number, or 1 for its positive value."""
    if is_number(outcome):
        return numbers(outcome)
    text = words(outcome)
    if roles.positive is None:
        return np.full(len(outcome), np.nan)
    return np.where(
        text.is_null().to_numpy(), np.nan, (text == str(roles.positive)).fill_null(False).to_numpy().astype(np.float64)
    )


def _examined(roles: Roles, log: _Shown, offline: _Shown) -> list[Estimate]:
    name = roles.position or ""
    found = _curve(roles, log)
    if found is None:
        reason, sentence = (
            "no_randomisation",
            (
                f"No part of the {log.table} says what {name!r} itself does to clicks: places were not left to chance, "
                "and no two versions showed the same items at different places."
            ),
        )
        action = "Show a small share of lists in random order, or log `version`, `item` and `propensity`."
        return [_cannot(kind, name, reason, sentence, action) for kind in (EXAMINATION, CORRECTED)]
    curve, how, rows = found
    if not curve.known or len(curve.positions) < 2:
        if len(curve.positions) < 2:
            return [
                _cannot(k, name, "one_position", f"Only one value of {name!r} was shown {how}.", "")
                for k in (EXAMINATION, CORRECTED)
            ]
        few = int(curve.clicks.min())
        sentence = (
            f"{few:,} clicks at the place with fewest, {how}, are too few to say what {name!r} does to clicks: "
            f"it takes at least {FEWEST_CLICKS} at each place."
        )
        total = int(rows.frame.height * max(2.0, FEWEST_CLICKS / max(few, 1)))
        action = f"Collect about {total:,} such rows."
        return [_cannot(kind, name, "too_few_clicks", sentence, action) for kind in (EXAMINATION, CORRECTED)]
    return [_say_curve(name, curve, how, rows), *_say_corrected(roles, curve, rows, offline)]


def _curve(roles: Roles, log: _Shown) -> tuple[Curve, str, _Shown] | None:
    """The examination curve, what it rests on in words, and its rows; None when nothing was left to chance."""
    chance = _left_to_chance(roles, log)
    if chance.any():
        rows = _only(log, chance)
        rows = _only(rows, np.isin(rows.position, np.unique(rows.position)[:MOST_POSITIONS]))
        return (
            randomised(rows.position, np.minimum(rows.gain, 1.0), rows.group),
            "where places were left to chance",
            rows,
        )
    if roles.version is None or roles.item is None or not {roles.version, roles.item} <= set(log.frame.columns):
        return None
    version, item = (
        words(log.frame[c]).rank("dense").cast(pl.Int64).fill_null(0).to_numpy() for c in (roles.version, roles.item)
    )
    if len(np.unique(version)) < 2:
        return None
    keep = np.isin(log.position, np.unique(log.position)[:MOST_POSITIONS])
    rows = _only(log, keep)
    curve = harvested(rows.position, np.minimum(rows.gain, 1.0), item[keep], version[keep], rows.group)
    return curve, "for items that versions showed at different places", rows


def _only(log: _Shown, keep: NDArray[np.bool_]) -> _Shown:
    kept = log.frame.filter(pl.Series(keep))
    return _Shown(kept, log.position[keep], log.gain[keep], log.group[keep], log.table, log.whole)


def _left_to_chance(roles: Roles, log: _Shown) -> NDArray[np.bool_]:
    """Rows whose version shows everything at a place with one and the same probability below one."""
    frame, n = log.frame, log.frame.height
    version = (
        words(frame[roles.version]).fill_null("")
        if roles.version in frame.columns and is_plain(frame[roles.version or ""])
        else pl.Series([""] * n, dtype=pl.String)
    )
    if roles.propensity in frame.columns and is_number(frame[roles.propensity or ""]):
        data = pl.DataFrame({"v": version, "k": log.position, "p": numbers(frame[roles.propensity or ""])})
        cells = data.group_by("v", "k").agg(
            pl.col("p").min().alias("low"), pl.col("p").max().alias("high"), pl.col("p").is_nan().any().alias("nan")
        )
        fixed = (
            (pl.col("low") > 0)
            & (pl.col("high") < 1)
            & (pl.col("high") - pl.col("low") <= 1e-6 * pl.col("high"))
            & ~pl.col("nan")
        )
        good = cells.group_by("v").agg(fixed.all().alias("fixed")).filter(pl.col("fixed"))["v"]
        return version.is_in(good.implode()).to_numpy()
    parts = version.str.to_lowercase().str.extract_all(r"[a-z]+")
    named = parts.list.eval(
        pl.element().is_in(["random", "randomised", "randomized", "shuffle", "shuffled", "uniform"])
    ).list.any()
    return named.fill_null(False).to_numpy().astype(bool)


def _cannot(kind: EffectKind, name: str, reason: str, sentence: str, action: str) -> Estimate:
    return Estimate(
        "position", kind, name, None, reason=reason, sentence=sentence, action=action, primary=False, may_alarm=False
    )


def _say_curve(name: str, curve: Curve, how: str, rows: _Shown) -> Estimate:
    last = len(curve.positions) - 1

    def ends(low: float, high: float) -> tuple[float, float]:
        i = curve.interval(last, high, low)
        return 1 - i.high, 1 - i.low

    value = 1 - float(curve.weights()[last])
    shown = [curve.interval(i, 0.05, 0.05) for i in range(last + 1)]

    def say(effect: Effect, verdict: Verdict) -> str:
        moved = f"{percent(value)} fewer clicks" if value >= 0 else f"{percent(-value)} more clicks"
        return (
            f"{moved} at {name} {curve.positions[last]} than at {name} {curve.positions[0]}, {how}, whatever the item."
        )

    return Estimate(
        "position",
        EXAMINATION,
        name,
        value,
        ends,
        say=say,
        n=rows.frame.height,
        primary=False,
        action="Judge rankings by clicks divided by examination (see `corrected`), and train on them so.",
        method="ratio of click rates on the log scale, linearised by unit",
        rows_needed=lambda margin, alpha: _rows_needed(curve, last, rows.frame.height, margin, alpha),
        sample=None if rows.whole else rows.frame.height,
        table=_lines(name, curve, shown),
    )


def _rows_needed(curve: Curve, last: int, n: int, margin: float, alpha: float) -> int | None:
    """Rows that show that the last place loses less than the margin, if it lost nothing."""
    if margin >= 1:
        return None
    gap = -math.log(1 - margin)
    per_row = float(curve.variance[last]) * n
    return math.ceil(per_row * ((normal_quantile(alpha) + normal_quantile(0.2)) / gap) ** 2)


def _lines(name: str, curve: Curve, shown: list[Interval]) -> Json:
    return {
        "kind": "lines",
        "title": "Examination by place, the first place is 1",
        "x_title": name,
        "y_title": "examination",
        "series": [
            {
                "name": "examination",
                "x": [int(p) for p in curve.positions],
                "y": [i.value for i in shown],
                "low": [i.low for i in shown],
                "high": [i.high for i in shown],
            }
        ],
    }


def _say_corrected(roles: Roles, curve: Curve, rows: _Shown, offline: _Shown) -> list[Estimate]:
    """The click rate, and DCG where there are scores and lists, with every place examined like the first."""
    name = roles.position or ""
    found = []
    for metric, gain in _metrics(roles, offline):
        one = corrected_mean(gain, offline.position, curve, offline.group, same=rows.table == offline.table)
        if one is None:
            continue
        moved = f"{percent(one.value)} more" if one.value >= 0 else f"{percent(-one.value)} less"

        sentence = (
            f"{moved} {metric} in the {offline.table} if every place were examined like the first: "
            f"{one.corrected:.4g} instead of {one.naive:.4g}."
        )

        found.append(
            Estimate(
                "position",
                CORRECTED,
                metric,
                one.value,
                one.interval,
                say=_always(sentence),
                n=offline.frame.height,
                primary=False,
                action=f"Compare rankers on the corrected {metric}; the logged one credits what merely stood high.",
                method="inverse propensity by place, linearised",
                sample=None if offline.whole else offline.frame.height,
                table={
                    "kind": "parts",
                    "title": f"{metric} as logged and without the effect of {name}",
                    "unit": metric,
                    "rows": [
                        {"name": "as logged", "value": one.naive, "low": None, "high": None},
                        {"name": "corrected", "value": one.corrected, "low": None, "high": None},
                    ],
                },
            )
        )
    return found or [_cannot(CORRECTED, name, "too_few_clicks", f"The {offline.table} has no clicks to correct.", "")]


def _always(sentence: str) -> Callable[[Effect, Verdict], str]:
    return lambda effect, verdict: sentence


def _metrics(roles: Roles, log: _Shown) -> list[tuple[str, Floats]]:
    out = [("click rate", log.gain)]
    if roles.score in log.frame.columns and roles.list in log.frame.columns and is_number(log.frame[roles.score or ""]):
        data = pl.DataFrame({"s": numbers(log.frame[roles.score or ""]), "l": words(log.frame[roles.list or ""])})
        rank = data.select(pl.col("s").fill_nan(None).rank("average", descending=True).over("l"))["s"]
        out.append(("DCG", log.gain / np.log2(1 + np.nan_to_num(numbers(rank), nan=np.inf))))
    return out
