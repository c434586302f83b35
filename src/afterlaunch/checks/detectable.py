"""What would an experiment of so many days be able to see?"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
from numpy.typing import NDArray

from afterlaunch.checks.effect import DIFFERENCE, RELATIVE
from afterlaunch.checks.evidence import Check, Evidence
from afterlaunch.decide import EffectKind, Estimate
from afterlaunch.finding import Effect, Json, Verdict
from afterlaunch.measures import Measure, Quantile
from afterlaunch.profile.arms import Arms
from afterlaunch.stats.intervals import normal_quantile, rows_for, symmetric
from afterlaunch.stats.lift import Floats, gradient
from afterlaunch.stats.looks import AnyTime, Looks, Once
from afterlaunch.words import estimate as in_words
from afterlaunch.words import plain, quantity

SMALLEST = EffectKind(
    "relative",
    "smallest relative change that is seen",
    "share",
    RELATIVE.margin,
    "up",
    "the change that the experiment shall see, see the effect of the same name of an experiment",
)
SMALLEST_OWN = EffectKind(
    "difference",
    "smallest change that is seen",
    "",
    DIFFERENCE.margin,
    "up",
    "the same in the metric's own unit",
)


@dataclass(frozen=True)
class Design:
    """An experiment that has not begun.

    Attributes:
        share: Planned share of units in the new arm.
        days: How long it shall run.
        power: Chance to see the change that matters.
        alpha: One-sided error of the end that ships.
        any_time: Whether it shall be looked at every day.
        window: Days for which each unit is observed before it counts.
        tuned_for: Units at which intervals of any number of looks are narrowest; those that are needed when None.
        tuned_at: Level for which they are; `alpha` when None.
    """

    share: float = 0.5
    days: int = 14
    power: float = 0.8
    alpha: float = 0.05
    any_time: bool = True
    window: float = 0.0
    tuned_for: float | None = None
    tuned_at: float | None = None


def run(evidence: Evidence) -> list[Estimate]:
    """The smallest change that each metric would show.

    Args:
        evidence: Needs "arms" of one arm: recent traffic; the option "design" is a `Design`.
    """
    arms = evidence.arms
    design: Design | None = evidence.options.get("design")
    if arms is None or design is None:
        return []
    return [_one(arms, m, design) for m in arms.measures]


def _one(arms: Arms, m: Measure, design: Design) -> Estimate:
    own = SMALLEST_OWN if m.margin is not None else SMALLEST
    margin = m.margin if m.margin is not None else m.relative if m.relative is not None else own.margin
    kind = replace(own, margin=margin, unit=m.unit if own is SMALLEST_OWN else own.unit)
    noise = _noise(arms, m, relative=own is SMALLEST)
    total = float(arms.assigned.sum())
    if noise is None or not total:
        return Estimate(
            "detectable",
            kind,
            m.label,
            None,
            reason="no_value",
            sentence=f"The traffic says nothing about the spread of {plain(m.label)}.",
            action="Give a log with more units, and with values that are not all the same.",
        )
    sd, error = noise
    spread = math.sqrt(1 / design.share + 1 / (1 - design.share)) * sd
    units = _units_after(arms, design.days - design.window)
    if units < 2:
        return Estimate(
            "detectable",
            kind,
            m.label,
            None,
            reason="too_few_days",
            sentence=f"No unit is observed to its end within {design.days} days.",
            action=f"Plan more than the {design.window:g} days for which each unit is observed.",
        )
    tuned = design.tuned_for or _needed(Once(), spread, margin, design) or units
    every, once = AnyTime(tuned, design.tuned_at or design.alpha), Once()
    looks: Looks = every if design.any_time else once
    value = smallest(looks, spread, units, design)
    need = {name: _needed(how, spread, margin, design) for name, how in (("daily", every), ("once", once))}

    def interval(low: float, high: float) -> tuple[float, float]:
        found = symmetric(math.log(value), error, math.inf, low, high)
        return math.exp(found.low), math.exp(found.high)

    def say(effect: Effect, verdict: Verdict) -> str:
        del verdict
        how = "looked at every day" if design.any_time else "with one look at the end"
        parts = [
            f"{in_words(effect)} is the smallest {'relative ' if own is SMALLEST else ''}change of "
            f"{plain(m.label)} that {design.days} days ({units:,.0f} units) would show with "
            f"{quantity(design.power, 'share')} power, {how}",
        ]
        if need["daily"] is not None and need["once"] is not None:
            both = [_days_for(arms, n, design.window) for n in (need["daily"], need["once"])]
            parts.append(
                f"to see {quantity(margin, kind.unit)} takes {need['daily']:,} units ({_in_days(both[0])}) when "
                f"looked at every day, {need['once']:,} ({_in_days(both[1])}) with one look"
            )
        return "; ".join(parts) + "."

    return Estimate(
        "detectable",
        kind,
        m.label,
        value,
        interval,
        say=say,
        action="Run longer, give the new arm a larger share, take a covariate from before, or a less noisy metric.",
        n=int(total),
        method="normal approximation" + ("; spread by delete-one-day jackknife" if error > 0 else ""),
        things="units",
        binding="units_wanted",
        table=_curve(arms, m, spread, margin, design, (every, once), kind.unit),
    )


def smallest(looks: Looks, spread: float, units: float, design: Design) -> float:
    """Smallest change that is seen with the power asked for, in the units of `spread`.

    Example:
        >>> round(smallest(Once(), 2.0, 10_000, Design(alpha=0.025)), 4)
        0.056
    """
    return (
        (looks.multiplier(design.alpha, units, math.inf) + normal_quantile(1 - design.power))
        * spread
        / math.sqrt(units)
    )


def _needed(looks: Looks, spread: float, margin: float, design: Design) -> int | None:
    return rows_for(lambda n: smallest(looks, spread, n, design) <= margin, 1000.0)


def _noise(arms: Arms, m: Measure, *, relative: bool) -> tuple[float, float] | None:
    """Standard deviation of what a unit contributes, on the scale of the margin, and the error of its logarithm."""
    if isinstance(m, Quantile):
        tail = arms.quantiles[""][m.label][0]
        low, high = tail.ends(m.q, 1.0, 1.0)
        if not (math.isfinite(low) and math.isfinite(high)) or high <= low:
            return None
        at = tail.at(m.q)
        sd = (high - low) / 2 * math.sqrt(float(arms.assigned.sum()))
        return (sd / at if relative else sd, 0.0) if at > 0 or not relative else None
    cells = arms.cells[""][m.label]
    size, extra = len(m.terms), arms.covariates.get(m.label, 0)

    def sd_of(keep: NDArray[np.bool_]) -> float:
        chosen = replace(
            cells,
            units=cells.units[:, keep],
            first=cells.first[:, keep],
            second=cells.second[:, keep],
            third=cells.third[:, keep],
        )
        found = chosen.moments(0)
        value = m.value(found.mean[:size]) if found.units >= 2 else math.nan
        if not math.isfinite(value) or (relative and value <= 0):
            return math.nan
        slope = gradient(lambda means: m.value(means[:size]), found.mean)
        variance: float = float(slope @ found.covariance @ slope)
        if extra:
            by = gradient(partial(_covariate, m, size, extra), found.mean)
            spread = float(by @ found.covariance @ by)
            variance -= float(slope @ found.covariance @ by) ** 2 / spread if spread > 0 else 0.0
        return math.sqrt(max(variance, 0.0)) / (value if relative else 1.0)

    days = len(arms.days)
    whole = sd_of(np.ones(days, dtype=bool))
    if not math.isfinite(whole) or whole <= 0:
        return None
    without = [sd_of(np.arange(days) != d) for d in range(days)] if days >= 5 else []
    logs = np.log([v for v in without if math.isfinite(v) and v > 0])
    error = math.sqrt(float(((logs - logs.mean()) ** 2).sum()) * (logs.size - 1) / logs.size) if logs.size >= 5 else 0.0
    return whole, error


def _covariate(m: Measure, size: int, extra: int, means: Floats) -> float:
    return float(means[size]) if extra == 1 else m.value(means[size:])


def _units_after(arms: Arms, days: float) -> float:
    """Units that enter within so many days, as they entered in the traffic; beyond its end at its late pace."""
    entered = arms.assigned.sum(axis=0).cumsum().astype(float)
    if len(arms.days) < 2:
        return float(entered[-1])
    if days <= len(entered):
        return float(np.interp(days, np.arange(len(entered) + 1), np.r_[0.0, entered]))
    return float(entered[-1] + (days - len(entered)) * arms.per_day)


def _days_for(arms: Arms, units: float, window: float) -> float | None:
    if len(arms.days) < 2:
        return None
    entered = arms.assigned.sum(axis=0).cumsum().astype(float)
    if units <= entered[-1]:
        return float(np.searchsorted(entered, units)) + 1 + window
    return len(entered) + window + math.ceil((units - float(entered[-1])) / arms.per_day)


def _in_days(days: float | None) -> str:
    return "no times, so no days" if days is None else f"{days:,.0f} day{'' if days == 1 else 's'}"


def _curve(
    arms: Arms, m: Measure, spread: float, margin: float, design: Design, looks: tuple[Looks, Looks], unit: str
) -> Json:
    """Power against days, or against units where there are no times, for the change that matters."""
    del unit
    timed = len(arms.days) >= 2
    last = max(design.days, 2) * 3
    xs = list(range(1, last + 1, max(1, last // 40))) if timed else [design.days]
    at = [max(_units_after(arms, x - design.window), 1.0) for x in xs]
    if not timed:
        at = [float(arms.assigned.sum()) * f for f in np.linspace(0.1, 4, 40)]
        xs = [round(v) for v in at]
    series = []
    for name, how in zip(("looked at every day", "one look at the end"), looks, strict=True):
        y = [float(1 - _tail(margin * math.sqrt(n) / spread - how.multiplier(design.alpha, n, math.inf))) for n in at]
        series.append({"name": name, "x": xs, "y": y, "low": None, "high": None})
    return {
        "kind": "lines",
        "title": f"Power to see the change of {plain(m.label)} that matters",
        "x_title": "days" if timed else "units",
        "y_title": "power",
        "series": series,
    }


def _tail(z: float) -> float:
    return 0.5 * math.erfc(z / math.sqrt(2))


CHECK = Check(
    name="detectable",
    asks="What would an experiment be able to see?",
    kinds=(SMALLEST, SMALLEST_OWN),
    needs=frozenset({"arms"}),
    run=run,
)
"""The check, for the registry."""
