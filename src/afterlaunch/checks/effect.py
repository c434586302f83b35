"""What does the new arm change, metric by metric?"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from functools import partial

from afterlaunch.checks.evidence import Check, Evidence
from afterlaunch.checks.trust import subject_of
from afterlaunch.decide import EffectKind, Estimate
from afterlaunch.finding import Effect, Goal, Json, Verdict
from afterlaunch.measures import Measure, Quantile
from afterlaunch.profile.arms import Arms, Cells
from afterlaunch.stats.contrast import p_beyond
from afterlaunch.stats.intervals import normal_quantile, rows_for
from afterlaunch.stats.lift import Floats, Function, Lift, lift
from afterlaunch.stats.looks import AnyTime, Looks, Once
from afterlaunch.stats.quantile_gap import QuantileGap
from afterlaunch.words import estimate as in_words
from afterlaunch.words import number, plain, quantity

RELATIVE = EffectKind(
    "relative",
    "relative change",
    "share",
    0.01,
    "down",
    "a hundredth of what the old rules bring is what most teams would still act on",
)
DIFFERENCE = EffectKind(
    "difference",
    "change",
    "",
    0.01,
    "down",
    "in the metric's own unit; give yours with margin=",
)
BURN_IN = 200
"""Units of each arm below which nothing is said: the intervals rest on means being nearly normal."""

NORMAL = 0.1
"""Part of the units by Kohavi's rule that must be there; the rule keeps tails within a fifth of what is promised, and
intervals for many looks are wide enough to bear more."""

SMALLEST_LEVEL = 1e-4
"""Error rate at which the ends of a quantile must still be known."""

GOALS: dict[str, Goal] = {"superiority": "better", "non-inferiority": "inside", "equivalence": "inside"}


def run(evidence: Evidence) -> list[Estimate]:
    """Differences between every arm and the control, overall and by segment.

    Args:
        evidence: Needs "arms".
    """
    arms = evidence.arms
    if arms is None:
        return []
    out = []
    for measure in arms.measures:
        for arm in range(1, len(arms.names)):
            for segment in arms.cells:
                found = _one(arms, measure, arm, segment)
                if found is not None:
                    out.append(found)
    return out


def _one(arms: Arms, m: Measure, arm: int, segment: str) -> Estimate | None:
    base = _Base(arms, m, arm, segment)
    if isinstance(m, Quantile):
        return _quantile(base, m)
    cells = arms.cells[segment][m.label]
    a, b = cells.moments(0), cells.moments(arm)
    smaller = min(a.units, b.units)
    if smaller < BURN_IN:
        return base.nothing(
            "burn_in",
            f"{int(smaller):,} units of the smaller arm are too few to say what changes {base.what}",
            f"Wait for {BURN_IN} units of each arm.",
            int(a.units + b.units),
        )
    found = _lift(arms, m, cells, arm)
    if found is None:
        return base.nothing(
            "no_value",
            f"{plain(m.label)} has no value in one of the arms",
            "Look at its columns: a denominator may be 0.",
            int(a.units + b.units),
        )
    if found.se == 0 and found.value == 0:
        return base.nothing(
            "no_variation",
            f"Every unit has the same {plain(m.label)}, so nothing can be compared",
            "Check that the column is filled.",
            int(found.units),
        )
    if found.rows_for_normal * NORMAL > smaller:
        need = math.ceil(found.rows_for_normal * NORMAL)
        return base.nothing(
            "heavy_tails",
            f"A few very large values make {plain(m.label)} too skewed for {int(smaller):,} units of the smaller arm",
            f"Cut the largest sums with winsorize=0.999, or wait for about {need:,} units in each arm.",
            int(found.units),
        )
    return base.estimate(
        value=(found.value, found.relative),
        sides=(found.control.value, found.treatment.value),
        interval=found.interval,
        relative_interval=found.relative_interval,
        se=found.se,
        units=found.units,
        method=_method(arms, m, found),
        table=_course(arms, m, arm, segment),
    )


def _lift(arms: Arms, m: Measure, cells: Cells, arm: int, until: int | None = None) -> Lift | None:
    """The lift of one metric; None where it has no value."""
    a, b = cells.moments(0, until), cells.moments(arm, until)
    extra, size = arms.covariates.get(m.label, 0), len(m.terms)
    covariate: Function | None = None
    if extra == 1:
        covariate = partial(_first, size)
    elif extra:
        covariate = partial(_shifted, m, size)
    every = [cells.moments(i, until) for i in range(len(arms.names))]
    if min(x.units for x in every) < 2 or not all(math.isfinite(m.value(x.mean[:size])) for x in every):
        return None
    total = every[0]
    for other in every[1:]:
        total = total + other
    if covariate is not None and not math.isfinite(covariate(total.mean)):
        covariate = None

    def value(means: Floats) -> float:
        return m.value(means[:size])

    found = lift(a, b, value, covariate=covariate, total=total)
    return found if math.isfinite(found.value) and math.isfinite(found.se) else None


def _first(size: int, means: Floats) -> float:
    return float(means[size])


def _shifted(m: Measure, size: int, means: Floats) -> float:
    return m.value(means[size:])


def _method(arms: Arms, m: Measure, found: Lift) -> str:
    parts = ["asymptotic confidence sequence" if isinstance(arms.looks, AnyTime) else "Welch's t over units"]
    if found.coefficient is not None:
        parts.append(f"covariate takes away {quantity(found.reduction, 'share')} of the variance")
    if m.label in arms.cut:
        parts.append(f"sums of a unit cut at {number(arms.cut[m.label])} (winsorised)")
    return "; ".join(parts)


def _quantile(base: _Base, m: Quantile) -> Estimate | None:
    arms = base.arms
    tails = arms.quantiles[base.segment][m.label]
    found = QuantileGap(tails[0], tails[base.arm], m.q)
    n = int(found.control.rows + found.treatment.rows)
    if not found.known:
        return base.nothing(
            "too_few_rows",
            f"Too few rows lie beyond the {100 * m.q:g}th percentile of {plain(m.column)}",
            "Wait for more rows, or take a quantile nearer to the middle.",
            n,
        )
    low, high = found.interval(arms.looks, 0.16, 0.16)
    width = (high - low) / (2 * arms.looks.multiplier(0.16, found.units, math.inf))
    widest = found.interval(arms.looks, SMALLEST_LEVEL, SMALLEST_LEVEL)
    if base.kind.key == RELATIVE.key and found.relative is not None:
        widest = found.relative_interval(arms.looks, SMALLEST_LEVEL, SMALLEST_LEVEL)
        widest = (math.inf if widest[0] <= -1 or widest[1] > 1e6 else widest[0], widest[1])
    if not math.isfinite(width) or not all(map(math.isfinite, widest)):
        return base.nothing(
            "too_few_rows", f"Too few rows lie near the {m.label} of both arms", "Wait for more rows.", n
        )
    return base.estimate(
        value=(found.value, found.relative),
        sides=(found.control.at(m.q), found.treatment.at(m.q)),
        interval=found.interval,
        relative_interval=found.relative_interval,
        se=width,
        units=found.units,
        method="order statistics, design effect of units" if arms.unit else "order statistics",
        table=None,
        things="independent rows",
        n=n,
    )


Ends = Callable[[Looks, float, float], tuple[float, float]]


class _Base:
    """What all estimates of one metric, arm and segment share."""

    def __init__(self, arms: Arms, m: Measure, arm: int, segment: str) -> None:
        self.arms, self.m, self.arm, self.segment = arms, m, arm, segment
        self.names = plain(arms.names[0]), plain(arms.names[arm])
        where = f" in {plain(segment)}" if segment else ""
        self.what = f"{plain(m.label)}{where}"
        self.subject = subject_of(arms, m.label, arm)
        own = DIFFERENCE if m.margin is not None else RELATIVE
        direction = "both" if m.goal == "equivalence" else m.direction
        margin = m.margin if m.margin is not None else m.relative if m.relative is not None else own.margin
        unit = m.unit if own is DIFFERENCE else own.unit
        if segment:
            margin *= m.segment_times
        # A segment must not be harmed; that it gains is not asked of each.
        self.goal: Goal = "inside" if segment else GOALS[m.goal]
        self.kind = replace(own, direction=direction, margin=margin, unit=unit)

    def nothing(self, reason: str, sentence: str, action: str, n: int) -> Estimate:
        """An estimate that says why there is none."""
        return Estimate(
            "effect",
            self.kind,
            self.subject,
            None,
            reason=reason,
            sentence=f"{sentence}.",
            action=action,
            n=n,
            segment=self.segment or None,
            primary=not self.segment,
            goal=self.goal,
            things="units",
        )

    def estimate(
        self,
        *,
        value: tuple[float, float | None],
        sides: tuple[float, float],
        interval: Ends,
        relative_interval: Ends,
        se: float,
        units: float,
        method: str,
        table: Json | None,
        things: str = "units",
        n: int | None = None,
    ) -> Estimate:
        """The change of a metric, on the scale of its margin."""
        m, looks, kind = self.m, self.arms.looks, self.kind
        relative = kind.key == RELATIVE.key
        if relative and value[1] is None:
            return self.nothing(
                "no_scale",
                f"{self.what} is {number(sides[0])} in {self.names[0]} and {number(sides[1])} in {self.names[1]}, "
                "of which a relative change has no meaning",
                "Give the metric a margin in its own unit.",
                int(units if n is None else n),
            )
        shown = value[1] if relative else value[0]
        assert shown is not None
        scale = 1 / sides[0] if relative else 1.0
        ends = relative_interval if relative else interval

        def say(effect: Effect, verdict: Verdict) -> str:
            del verdict
            was = (quantity(v, m.unit) for v in sides)
            lead = f"{in_words(effect)} {'relative ' if relative else ''}change of {self.what} from "
            return lead + "{} to {} ({} to {}).".format(*self.names, *was)

        def needed(margin: float, alpha: float) -> int | None:
            power = normal_quantile(0.2)

            def decides(n: float) -> bool:
                return (looks.multiplier(alpha, n, math.inf) + power) * se * scale * math.sqrt(units / n) <= margin

            return rows_for(decides, units)

        def p_value(margin: float) -> float:
            bound, bad = margin, kind.direction
            if self.goal == "better":
                bound, bad = 0.0, "up" if kind.direction == "down" else "down"
            p = p_beyond(partial(ends, looks), bound, bad)
            # Intervals for many looks do not close at an error rate of one half, so beyond it nothing is known.
            return p if p < 0.5 or isinstance(looks, Once) else 1.0

        return Estimate(
            "effect",
            kind,
            self.subject,
            shown,
            partial(ends, looks),
            say=say,
            action=self._action(),
            n=int(units if n is None else n),
            method=method,
            rows_needed=needed,
            p_value=p_value,
            segment=self.segment or None,
            primary=not self.segment,
            table=table,
            things=things,
            goal=self.goal,
        )

    def _action(self) -> str:
        control, arm = self.names
        if self.segment:
            return f"Keep {control} there, or find out why {plain(self.m.label)} is worse in this segment."
        if self.goal == "better":
            return f"Keep {control}: a gain that matters is excluded. Look at the segments for one where it is not."
        if self.m.goal == "equivalence":
            return f"Keep {control}, and find out what changes {plain(self.m.label)}."
        return f"Keep {control}: {arm} is worse in {plain(self.m.label)} by more than the margin."


def _course(arms: Arms, m: Measure, arm: int, segment: str) -> Json | None:
    """The interval after every day, for the chart."""
    if segment or len(arms.days) < 3 or not isinstance(arms.looks, AnyTime):
        return None
    x, y, lows, highs = [], [], [], []
    relative = m.margin is None
    step = max(1, len(arms.days) // 60)
    for until in range(step, len(arms.days) + 1, step):
        found = None
        cells = arms.cells[""][m.label]
        if min(cells.moments(i, until).units for i in range(len(arms.names))) >= BURN_IN:
            found = _lift(arms, m, cells, arm, until)
        if found is None or found.se == 0 or (relative and not found.relative):
            continue
        ends = found.relative_interval if relative else found.interval
        low, high = ends(arms.looks, 0.025, 0.025)
        value = found.relative if relative else found.value
        x.append(str(arms.days[until - 1]))
        y.append(value)
        lows.append(low)
        highs.append(high)
    if len(x) < 2:
        return None
    return {
        "kind": "lines",
        "title": f"{plain(m.label)}, day by day (intervals hold at every look)",
        "x_title": "units that entered until",
        "y_title": "relative change" if relative else "change",
        "series": [
            {"name": "change", "x": x, "y": y, "low": lows, "high": highs},
            {"name": "no change", "x": x, "y": [0.0] * len(x), "low": None, "high": None},
        ],
    }


CHECK = Check(
    name="effect",
    asks="What does the new arm change?",
    kinds=(RELATIVE, DIFFERENCE),
    needs=frozenset({"arms"}),
    run=run,
)
"""The check, for the registry."""
