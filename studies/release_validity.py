"""Does a staggered release ship what is as good, and stop what is not, and what do simpler rules do on the same users?

Releases through shadow, 5, 25, 50 and 100 % with gates on quality (overall and four segments), errors, 99th percentile
of latency and the split of the units, looked at once a day. All effects zero: at most 5 % are rolled back, and 80 %
are completed by the day that the plan foretells. One harm at its margin or twice it: at most 5 % are shipped. Beside
them on the same draws: a fixed threshold on point estimates, a canary judge of tests at the end of each stage, and
"not significant, so ship". Last, 52 releases in a row that are each a little worse than the one before.

Units, clicks and errors of each day are drawn and added up with numpy (every unit is new); the 99th percentile is
normal with a known standard error. Intervals, Holm's steps and the split are the package's arithmetic on arrays, some
of which are put through `decide.decide` and must come to the same verdicts; all go through the package's controller.

    python studies/release_validity.py [--quick] [--repeats N] [--jobs J] [--seed S] [--markdown FILE]
"""

from __future__ import annotations

import hashlib
import math
import os

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from _common import Floats, Ints, Task, arguments, blocks, markdown, most_hits, per_cent, seed_of, work
from experiment_validity import powers, sides
from numpy.typing import NDArray
from scipy import special

import afterlaunch
from afterlaunch.checks.detectable import Design, smallest
from afterlaunch.checks.effect import BURN_IN, DIFFERENCE, NORMAL, RELATIVE
from afterlaunch.checks.trust import SRM, SRM_ALPHA
from afterlaunch.decide import Estimate, Margins, decide
from afterlaunch.finding import Verdict
from afterlaunch.release import controller
from afterlaunch.release.controller import Evidence, Reading, State
from afterlaunch.release.gates import TUNED
from afterlaunch.release.plan import Gate, Plan, Stage, duration
from afterlaunch.stats import assignment
from afterlaunch.stats.intervals import rows_for
from afterlaunch.stats.lift import Lift, Side
from afterlaunch.stats.looks import AnyTime, Looks, Once

TRAFFIC, SEGMENTS = 40_000, np.array([0.05, 0.15, 0.30, 0.50])
CLICKS, ERRORS, SLOW_SD = 0.10, 0.01, 1.9
"""Rates, and what a unit adds to the relative standard error of the 99th percentile: that of a lognormal, sigma .5."""
RELATIVE_MARGIN, TIMES, ERROR_MARGIN, SLOW_MARGIN, SPLIT_MARGIN = 0.05, 3.0, 0.003, 0.05, 0.01
PLAN = Plan(
    model="ranker",
    stages=(
        Stage(share=0.0, least="1d", longest="7d", units=0),
        Stage(share=0.05, least="1d", longest="21d"),
        Stage(share=0.25, least="2d", longest="28d"),
        Stage(share=0.5, least="3d", longest="28d"),
        Stage(share=1.0, least="0m", longest="1d", units=0),
    ),
    gates=(
        Gate(name="clicks", metric=f"ratio:clicked,segment_times={TIMES:g}", relative=RELATIVE_MARGIN),
        Gate(
            name="errors",
            metric="mean:error,better=down",
            dimension="errors",
            margin=ERROR_MARGIN,
            segments=False,
            required_from=0.05,
        ),
        Gate(
            name="slow",
            metric="quantile:ms:0.99,better=down",
            dimension="latency",
            relative=SLOW_MARGIN,
            segments=False,
        ),
        Gate(name="split", dimension="assignment"),
    ),
)
JUDGED = [i for i, s in enumerate(PLAN.stages) if 0 < s.share < 1]
DAY, MONDAY = timedelta(days=1), datetime(2026, 11, 30, tzinfo=UTC)
OK, UNDECIDED, ALARM = 0, 1, 2
VERDICTS = (Verdict.OK, Verdict.UNDECIDED, Verdict.ALARM)
ENDS = ("completed", "rolled_back", "needs_person")
RULES = ("afterlaunch", "threshold", "canary", "not significant")
RELEASES, SMALLER, POWER = 52, 0.8, 0.8


def predicted(plan: Plan, days: Sequence[float | None]) -> float | None:
    """Days until completion if every stage lasts as long as its slowest gate needs; None where one is never decided."""
    total = 0.0
    for stage, need in zip(plan.stages, days, strict=True):
        if need is None:
            return None
        total += max(duration(stage.least).total_seconds() / 86_400, need)
    return total


@dataclass(frozen=True)
class World:
    """What the challenger does.

    Attributes:
        clicks: Relative loss in each segment.
        errors: Added to the error rate.
        slow: Relative rise of the 99th percentile.
        off: Points by which the challenger's share falls short of the plan.
        held: Share of all units that are held out and logged with the champion's version.
        late: Days by which the router follows the plan late.
        traffic: Units a day.
    """

    clicks: tuple[float, ...] = (0.0,) * 4
    errors: float = 0.0
    slow: float = 0.0
    off: float = 0.0
    held: float = 0.0
    late: float = 0.0
    traffic: float = TRAFFIC


def inside(times: float) -> World:
    """Every effect so many times its margin, the small segment at its own; the split is sound."""
    small, whole = times * TIMES * RELATIVE_MARGIN, times * RELATIVE_MARGIN
    rest = (whole - SEGMENTS[0] * small) / (1 - SEGMENTS[0])
    return World((small, rest, rest, rest), times * ERROR_MARGIN, times * SLOW_MARGIN)


WORLDS: dict[str, World] = {"no effect": World()}
for n in (1, 2):
    WORLDS[f"clicks {n}x"] = World((n * RELATIVE_MARGIN,) * 4)
    WORLDS[f"small segment {n}x"] = World((n * TIMES * RELATIVE_MARGIN, 0.0, 0.0, 0.0))
    WORLDS[f"errors {n}x"] = World(errors=n * ERROR_MARGIN)
    WORLDS[f"p99 {n}x"] = World(slow=n * SLOW_MARGIN)
    WORLDS[f"split {n} point{'s' * (n - 1)} off"] = World(off=n * SPLIT_MARGIN)
HARMS = list(WORLDS)[1:]
WORLDS["all at 0.9x"] = inside(0.9)
WORLDS["all at 1x"] = inside(1.0)
WORLDS["no effect, holdout logs the champion"] = World(held=PLAN.holdout)
WORLDS["no effect, router an hour late"] = World(late=1 / 24)
WORLDS["the same, 400,000 units a day"] = World(late=1 / 24, traffic=10 * TRAFFIC)


# ------------------------------------------------------------------ draws


@dataclass(frozen=True)
class Drawn:
    """Sums until the end of each day of one stage; arms are champion and challenger.

    Attributes:
        units: Shape (repeats, days, arms, segments).
        hits: Units that clicked, likewise.
        errors: Shape (repeats, days, arms).
        noise: Sum of what units add to the relative 99th percentile, likewise.
        planned: Share of the challenger.
        slow: Its true relative change of the 99th percentile.
    """

    units: Ints
    hits: Ints
    errors: Ints
    noise: Floats
    planned: float
    slow: float


def draw(rng: np.random.Generator, world: World, stage: Stage, repeats: int, base: Any = CLICKS) -> Drawn:
    """The longest time of a stage; `base` is the champion's rate of clicks, one for all or one for each repeat."""
    days = round(duration(stage.longest) / DAY)
    share = stage.share * (1 - world.held) - world.off
    before = max(s.share for s in PLAN.stages if s.share < stage.share)
    shares = np.full(days, share)
    shares[0] += world.late * (before - share)
    inflow = world.traffic * np.stack([1 - shares, shares], axis=-1)[..., None] * SEGMENTS
    units = rng.poisson(inflow, (repeats, days, 2, 4))
    left = np.stack([np.ones(4), 1 - np.array(world.clicks)])
    hits = rng.binomial(units, np.broadcast_to(base, repeats)[:, None, None, None] * left)
    both = units.sum(axis=-1)
    errors = rng.binomial(both, ERRORS + np.array([0.0, world.errors]))
    noise = SLOW_SD * np.sqrt(both) * rng.standard_normal(both.shape)
    units, hits, errors, noise = (x.cumsum(axis=1) for x in (units, hits, errors, noise))
    return Drawn(units, hits, errors, noise, stage.share, world.slow)


# ------------------------------------------------------------------ the package's arithmetic on arrays


@dataclass(frozen=True)
class Found:
    """One estimate at every look, on the scale on which its interval is symmetric, "up" being worse.

    Attributes:
        z: Standard errors by which it lies beyond the margin.
        units: Of both arms.
        said: Whether anything is said.
    """

    z: Floats
    units: Floats
    said: NDArray[np.bool_]


def spread(units: Floats) -> Floats:
    """`AnyTime._spread` of a stage."""
    level = -2 * math.log(PLAN.alpha_stage / 2)
    return np.asarray(np.maximum(units, 1.0) / TUNED * (level + math.log(level) + 1))


def multiplier(alpha: float, units: Floats) -> Floats:
    """`AnyTime.multiplier` of a stage."""
    v = spread(units)
    return np.asarray(np.sqrt(2 * (v + 1) / v * np.log1p(np.sqrt(v + 1) / (2 * alpha))))


def level(found: Found) -> Floats:
    """Smallest error rate at which an estimate alarms; 1 for none below a half."""
    v = spread(found.units)
    with np.errstate(over="ignore", divide="ignore", invalid="ignore"):
        at = np.sqrt(v + 1) / 2 / np.expm1(np.where(found.z > 0, found.z, np.nan) ** 2 * v / (2 * (v + 1)))
    return np.where(found.said & (found.z > 0) & (at <= 0.499), at, 1.0)


def judged(family: Sequence[Found], alpha: float) -> list[Ints]:
    """Verdicts of estimates that share the error rate of alarms by Holm's steps."""
    levels = np.stack([level(f) for f in family], axis=-1)
    order = np.argsort(levels, axis=-1, kind="stable")
    steps = np.take_along_axis(levels, order, axis=-1) <= alpha / np.arange(len(family), 0, -1)
    alarms = np.empty_like(steps)
    np.put_along_axis(alarms, order, np.logical_and.accumulate(steps, axis=-1), axis=-1)
    out = []
    for i, f in enumerate(family):
        ok = f.said & (f.z <= -multiplier(PLAN.alpha, f.units))
        out.append(np.where(alarms[..., i], ALARM, np.where(ok, OK, UNDECIDED)))
    return out


def bernoulli(units: Ints, hits: Ints, rate: float, margin: float, *, relative: bool) -> Found:
    """A rate of two arms, shape (..., 2): relative and worse when lower, or a difference and worse when higher."""
    around = np.array([rate])
    each = powers(np.array([[0.0], [1.0]]), around)
    sums = np.stack([units - hits, hits], axis=-1) @ each
    with np.errstate(all="ignore"):
        (a, va, sa, n), (b, vb, sb, m) = (sides(sums[..., arm, :], around) for arm in (0, 1))
        if relative:
            z = (math.log1p(-margin) - np.log(b / a)) / np.sqrt(va / a**2 / n + vb / b**2 / m)
        else:
            z = (b - a - margin) / np.sqrt(va / n + vb / m)
        # `Lift.rows_for_normal`
        thirds, smaller = (sa * va**1.5, sb * vb**1.5), np.minimum(n, m)
        third, one = ((n * x + m * y) / (n + m) for x, y in (thirds, (va, vb)))
        own = abs(thirds[1] / m**2 - thirds[0] / n**2) / (va / n + vb / m) ** 1.5
        pooled = abs(third / m**2 - third / n**2) / (one / n + one / m) ** 1.5
        need = 355 * np.maximum(own, pooled) ** 2 * smaller
    said = (smaller >= BURN_IN) & np.isfinite(z) & ~(need * NORMAL > smaller)
    return Found(np.where(said, z, 0.0), n + m, said)


def slow_of(d: Drawn) -> tuple[Floats, Floats]:
    """Relative change of the 99th percentile, and its standard error."""
    both = np.maximum(d.units.sum(axis=-1), 1)
    means = d.noise / both
    return d.slow + means[..., 1] - means[..., 0], SLOW_SD * np.sqrt((1 / both).sum(axis=-1))


def lagged(x: Ints) -> Ints:
    """What is known a day later: a unit counts once its window of one day has closed."""
    return np.concatenate([np.zeros_like(x[:, :1]), x[:, :-1]], axis=1)


def families(d: Drawn) -> tuple[list[Found], list[Found]]:
    """Estimates of clicks, overall and by segment, and those of serving, as `gates.read_gates` puts them together."""
    units, hits = lagged(d.units), lagged(d.hits)
    quality = [bernoulli(units.sum(axis=-1), hits.sum(axis=-1), CLICKS, RELATIVE_MARGIN, relative=True)]
    quality += [
        bernoulli(units[..., s], hits[..., s], CLICKS, TIMES * RELATIVE_MARGIN, relative=True) for s in range(4)
    ]
    value, se = slow_of(d)
    both = d.units.sum(axis=-1)
    served = [
        bernoulli(both, d.errors, ERRORS, ERROR_MARGIN, relative=False),
        Found((value - SLOW_MARGIN) / se, both.sum(axis=-1).astype(float), np.ones(se.shape, dtype=bool)),
    ]
    return quality, served


def split(both: Ints, planned: float) -> Ints:
    """Verdicts on the split, shape (repeats, days), from units of shape (..., 2)."""
    beyond = assignment.log_bayes(both, [1 - planned, planned]) > -math.log(SRM_ALPHA)
    misses, hits = both[..., 0].astype(float), both[..., 1].astype(float)
    priors = [(c * planned, c * (1 - planned)) for c in assignment.CONCENTRATIONS]
    marginal = [special.betaln(a + hits, b + misses) - special.betaln(a, b) for a, b in priors]
    fixed = special.logsumexp(marginal, axis=0) - math.log(len(priors)) + math.log(2 * SRM_ALPHA)
    ends = []
    for stop in (-planned, 1 - planned):
        near, far = hits / (hits + misses) - planned, np.full(hits.shape, stop)
        for _ in range(40):
            middle = (near + far) / 2
            p = planned + middle
            away = fixed - special.xlogy(hits, p) - special.xlogy(misses, 1 - p) > 0
            near, far = np.where(away, near, middle), np.where(away, middle, far)
        ends.append(far)
    ok = (ends[0] >= -SPLIT_MARGIN) & (ends[1] <= SPLIT_MARGIN)
    return np.where(beyond, ALARM, np.where(ok, OK, UNDECIDED))


def verdicts(d: Drawn, *, shared: bool) -> Ints:
    """Of each gate at each look, shape (repeats, days, gates); `shared` puts all estimates into one family."""
    quality, served = families(d)
    if shared:
        found = judged([*quality, *served], PLAN.alpha_stage)
    else:
        found = [*judged(quality, PLAN.alpha_stage / 2), *judged(served, PLAN.alpha_stage / 2)]
    units = d.units.sum(axis=-1)
    return np.stack([np.max(found[:5], axis=0), found[5], found[6], split(units, d.planned)], axis=-1)


def differ(d: Drawn, told: Ints, rng: np.random.Generator, looks: int) -> int:
    """At how many of some looks `decide.decide` says something else of a gate."""
    wrong = 0
    for _ in range(looks):
        r, k = int(rng.integers(len(told))), int(rng.integers(told.shape[1]))
        wrong += told[r, k].tolist() != _decided(d, r, k)
    return wrong


def _decided(d: Drawn, r: int, k: int) -> list[int]:
    looks = AnyTime(TUNED, PLAN.alpha_stage / 2)

    def rate(units: Ints, hits: Ints, margin: float, *, relative: bool) -> Estimate:
        kind = replace(RELATIVE, margin=margin) if relative else replace(DIFFERENCE, margin=margin, direction="up")
        nothing = Estimate("effect", kind, "", None, reason="burn_in")
        if min(units) < max(BURN_IN, 2):
            return nothing
        pair = []
        for n, h in zip(units.tolist(), hits.tolist(), strict=True):
            p = h / n
            skewness = (1 - 2 * p) * p * (1 - p) / (p * (1 - p) * n / (n - 1)) ** 1.5
            pair.append(Side(p, p * (1 - p) * n / (n - 1), n, skewness))
        found = Lift(pair[0], pair[1])
        if found.rows_for_normal * NORMAL > min(units):
            return nothing
        ends = found.relative_interval if relative else found.interval
        return Estimate("effect", kind, "", found.value, partial(ends, looks))

    quality: list[Estimate] = []
    if k:
        units, hits = d.units[r, k - 1], d.hits[r, k - 1]
        quality = [rate(units.sum(axis=-1), hits.sum(axis=-1), RELATIVE_MARGIN, relative=True)]
        quality += [rate(units[:, s], hits[:, s], TIMES * RELATIVE_MARGIN, relative=True) for s in range(4)]
    both = d.units[r, k].sum(axis=-1)
    value, se = (float(x[r, k]) for x in slow_of(d))

    def ends(low: float, high: float) -> tuple[float, float]:
        a, b = (se * looks.multiplier(x, float(both.sum()), math.inf) for x in (low, high))
        return value - a, value + b

    kind = replace(RELATIVE, margin=SLOW_MARGIN, direction="up")
    served = [
        rate(both, d.errors[r, k], ERROR_MARGIN, relative=False),
        Estimate("effect", kind, "", value, ends),
    ]
    of = assignment.deviation(both, [1 - d.planned, d.planned], 1)
    srm = Estimate("trust", SRM, "", of.value, partial(of.interval, any_time=True), goal="none")
    say = partial(decide, margins=Margins({}), primary=("effect",))
    out = [
        [VERDICTS.index(f.verdict) for f in say(family, alpha=alpha, step_down=True, alarm=PLAN.alpha_stage / 2)]
        for family, alpha in ((quality, PLAN.alpha), (served, PLAN.alpha))
    ]
    out.append([VERDICTS.index(f.verdict) for f in say([srm], alpha=SRM_ALPHA)])
    return [max(out[0], default=UNDECIDED), *out[1], *out[2]]


# ------------------------------------------------------------------ a release


def walk(told: Sequence[Ints], units: Sequence[Ints], person: bool) -> tuple[int, int, int, int, list[int]]:
    """One release through the controller, looked at once a day.

    Args:
        told: For each judged stage verdicts of shape (days, gates).
        units: For each judged stage units of the challenger so far, shape (days,).
        person: Whether somebody approves whatever waits for a person.

    Returns:
        How it ends, the day, units that had the challenger before 100 %, days on hold, and the last day of each judged
        stage.
    """
    state, _ = controller.start(PLAN, release="r", champion="old", challenger="new", now=MONDAY)
    now, exposed, held, last = MONDAY, 0, 0, [0] * len(JUDGED)
    while True:
        now += DAY
        held += state.phase == "holding"
        evidence, k = None, 0
        if state.stage in JUDGED:
            i, k = JUDGED.index(state.stage), (now - state.entered) // DAY
            readings = tuple(
                Reading(g.name, VERDICTS[v], "seen") for g, v in zip(PLAN.gates, told[i][k - 1], strict=True)
            )
            evidence = Evidence(state.stage, now, int(units[i][k - 1]), readings)
            last[i] = k
        state = _stepped(state, evidence, now, person)
        if state.over or state.phase == "needs_person" or state.stage not in (0, *JUDGED):
            break
    exposed = sum(int(u[k - 1]) for u, k in zip(units, last, strict=True) if k)
    end = ENDS.index(state.phase)
    return end, (now - MONDAY) // DAY, exposed, held, last


def _stepped(state: State, evidence: Evidence | None, now: datetime, person: bool) -> State:
    after, _ = controller.step(PLAN, state, evidence, now)
    if person and after.phase == "needs_person":
        after, _ = controller.approve(PLAN, after, who="somebody", now=now)
    if after.stage == len(PLAN.stages) - 1 and not after.over:
        # At 100 % there is nothing to wait for: the next call of a scheduler completes it.
        after, _ = controller.step(PLAN, after, None, now)
    return after


# ------------------------------------------------------------------ simpler rules


def simple(drawn: Sequence[Drawn], rule: str) -> tuple[Ints, Ints, Ints]:
    """How each release ends, the day, and units that had the challenger before; every stage lasts its shortest time."""
    repeats = len(drawn[0].units)
    end, day = np.zeros(repeats, dtype=np.int64), np.ones(repeats, dtype=np.int64)
    exposed = np.zeros(repeats, dtype=np.int64)
    for d, i in zip(drawn, JUDGED, strict=True):
        least = max(1, round(duration(PLAN.stages[i].least) / DAY))
        bad = worse(d, least, rule)
        hit = bad.any(axis=1)
        stays = np.where(hit, bad.argmax(axis=1) + 1, least)
        going = end == ENDS.index("completed")
        day += np.where(going, stays, 0)
        exposed += np.where(going, d.units[np.arange(repeats), stays - 1, 1].sum(axis=-1), 0)
        end = np.where(going & hit, ENDS.index("rolled_back"), end)
    return end, day, exposed


def worse(d: Drawn, least: int, rule: str) -> NDArray[np.bool_]:
    """Whether the rule rolls back at the end of each day until the shortest time, shape (repeats, days)."""
    units, hits, errors = d.units[:, :least], d.hits[:, :least], d.errors[:, :least]
    both, clicked = units.sum(axis=-1), hits.sum(axis=-1)
    slow, slow_se = (x[:, :least] for x in slow_of(d))
    with np.errstate(all="ignore"):
        rates, parts, wrong = clicked / both, hits / units, errors / both
        if rule == "threshold":
            return np.asarray(
                (rates[..., 1] / rates[..., 0] - 1 < -RELATIVE_MARGIN)
                | (parts[..., 1, :] / parts[..., 0, :] - 1 < -TIMES * RELATIVE_MARGIN).any(axis=-1)
                | (wrong[..., 1] - wrong[..., 0] > ERROR_MARGIN)
                | (slow > SLOW_MARGIN)
                | (abs(both[..., 1] / both.sum(axis=-1) - d.planned) > SPLIT_MARGIN)
            )
        line = -float(special.ndtri(0.025))
        if rule == "canary":
            # Of two rates the rank test is the test of proportions with a pooled variance.
            found = (_pooled(both, clicked) < -line) | (_pooled(both, errors) > line) | (slow / slow_se > line)
        else:
            variance = (rates * (1 - rates) / (both - 1)).sum(axis=-1)
            found = (rates[..., 1] - rates[..., 0]) / np.sqrt(variance) < -line
    found[:, :-1] = False
    return np.asarray(found)


def _pooled(units: Ints, hits: Ints) -> Floats:
    p = hits.sum(axis=-1) / units.sum(axis=-1)
    rates = hits / units
    return np.asarray((rates[..., 1] - rates[..., 0]) / np.sqrt(p * (1 - p) * (1 / units).sum(axis=-1)))


# ------------------------------------------------------------------ what the plan foretells


def foretold(tuned: bool) -> list[float]:
    """Days that each stage needs to be decided with 80 % power, by the logic of `checks.detectable`.

    Args:
        tuned: Whether looks are narrowest at the units needed, as `plan_power` has them; else as the gates have them.
    """
    relative = math.sqrt((1 - CLICKS) / CLICKS)
    needs = {
        "clicks": [(relative, RELATIVE_MARGIN, 1.0, 1.0)]
        + [(relative, TIMES * RELATIVE_MARGIN, float(s), 1.0) for s in SEGMENTS],
        "errors": [(math.sqrt(ERRORS * (1 - ERRORS)), ERROR_MARGIN, 1.0, 0.0)],
        "slow": [(SLOW_SD, SLOW_MARGIN, 1.0, 0.0)],
    }
    days: list[float] = []
    for stage in PLAN.stages:
        most = 0.0
        for gate in PLAN.gates:
            if 0 < stage.share < 1 and stage.share >= gate.required_from:
                for sd, margin, part, window in needs.get(gate.name, []):
                    wide = sd * math.sqrt(1 / stage.share + 1 / (1 - stage.share))
                    units = _units(wide, margin, stage.share, tuned)
                    most = max(most, units / (part * TRAFFIC) + window)
        days.append(float(math.ceil(most)))
    return days


def _units(wide: float, margin: float, share: float, tuned: bool) -> float:
    design = Design(share=share, power=POWER, alpha=PLAN.alpha)

    def need(looks: Looks) -> int:
        found = rows_for(lambda n: smallest(looks, wide, n, design) <= margin, 1000.0)
        assert found is not None
        return found

    return need(AnyTime(need(Once()), PLAN.alpha) if tuned else AnyTime(TUNED, PLAN.alpha_stage / 2))


# ------------------------------------------------------------------ the parts of the study


def do(task: Task) -> dict[str, Any]:
    rng = seed_of({k: v for k, v in task.items() if k != "source"})
    return do_creep(rng, task) if task["part"] == "creep" else do_releases(rng, task)


def do_releases(rng: np.random.Generator, task: Task) -> dict[str, Any]:
    drawn = [draw(rng, WORLDS[task["world"]], PLAN.stages[i], task["repeats"]) for i in JUDGED]
    told = [verdicts(d, shared=task["shared"]) for d in drawn]
    out: dict[str, Any] = {"checked": 0, "differ": 0}
    if not task["shared"]:
        out["checked"] = len(JUDGED) * CHECKED
        out["differ"] = sum(differ(d, t, rng, CHECKED) for d, t in zip(drawn, told, strict=True))
    units = [d.units[..., 1, :].sum(axis=-1) for d in drawn]
    walked = [walk([t[r] for t in told], [u[r] for u in units], person=False)[:4] for r in range(task["repeats"])]
    out[RULES[0]] = [list(column) for column in zip(*walked, strict=True)]
    for rule in RULES[1:]:
        out[rule] = [x.tolist() for x in simple(drawn, rule)]
    return out


CHECKED = 30
"""Looks of a stage in a block that go through `decide.decide`."""


def do_creep(rng: np.random.Generator, task: Task) -> dict[str, Any]:
    """Chains of releases that are each worse than the champion by less than the margin."""
    chains = task["repeats"]
    loss = SMALLER * RELATIVE_MARGIN
    world = World((loss,) * 4, traffic=task["traffic"])
    base = np.full(chains, CLICKS)
    out: dict[str, Any] = {"rates": [], "ends": [0] * 3, "days": 0}
    alarmed, unsure = np.full(chains, RELEASES), np.full(chains, RELEASES)
    lost = np.zeros(chains)
    for number in range(RELEASES):
        drawn = [draw(rng, world, PLAN.stages[i], chains, base) for i in JUDGED]
        told = [verdicts(d, shared=False) for d in drawn]
        units = [d.units[..., 1, :].sum(axis=-1) for d in drawn]
        kept = rng.poisson(task["traffic"] * PLAN.holdout, told[-1].shape[:2])
        old, old_hits = kept.cumsum(axis=1), rng.binomial(kept, CLICKS).cumsum(axis=1)
        new = rng.poisson(task["traffic"] * (1 - PLAN.holdout) / 2, kept.shape)
        new_hits = rng.binomial(new, (base * (1 - loss))[:, None]).cumsum(axis=1)
        both, clicked = np.stack([old, new.cumsum(axis=1)], axis=-1), np.stack([old_hits, new_hits], axis=-1)
        frozen = bernoulli(lagged(both), lagged(clicked), CLICKS, RELATIVE_MARGIN, relative=True)
        beyond = level(frozen) <= PLAN.alpha / RELEASES
        fine = frozen.said & (frozen.z <= -multiplier(PLAN.alpha, frozen.units))
        for c in range(chains):
            end, day, _, _, last = walk([t[c] for t in told], [u[c] for u in units], task["person"])
            out["ends"][end] += 1
            out["days"] += day
            k = last[-1]
            if k and beyond[c, :k].any() and alarmed[c] == RELEASES:
                alarmed[c] = number
                lost[c] = 1 - base[c] * (1 - loss) / CLICKS
            if k and not fine[c, k - 1] and unsure[c] == RELEASES:
                unsure[c] = number
            if end == ENDS.index("completed"):
                base[c] *= 1 - loss
    out["rates"] = (1 - base / CLICKS).tolist()
    out["alarmed"], out["unsure"], out["lost"] = alarmed.tolist(), unsure.tolist(), lost.tolist()
    return out


CREEPS: dict[str, tuple[int, bool]] = {
    "40,000 units a day": (TRAFFIC, False),
    "the same, a person approves what waits": (TRAFFIC, True),
    "400,000 units a day": (10 * TRAFFIC, False),
}


def source() -> str:
    """Changes with the controller, which the cache of the studies does not know of."""
    folder = Path(afterlaunch.__file__).parent / "release"
    return hashlib.sha256(b"".join(f.read_bytes() for f in sorted(folder.glob("*.py")))).hexdigest()[:16]


def joined(found: Sequence[tuple[Task, Any]], rule: str, **want: Any) -> Ints:
    """End, day, exposed and more of all blocks, shape (4 or 3, repeats)."""
    parts = [np.array(r[rule]) for t, r in found if all(t.get(k) == v for k, v in want.items())]
    return np.concatenate(parts, axis=1)


def share_of(x: Ints, end: str) -> float:
    return float((x[0] == ENDS.index(end)).mean())


def middle(values: Any, digits: int = 0) -> str:
    return f"{np.median(values):,.{digits}f}" if len(values) else "–"


def main() -> int:
    given = arguments(__doc__).parse_args()
    repeats = given.repeats or (200 if given.quick else 1000)
    common = {"source": source(), "seed": given.seed}
    tasks: list[Task] = [
        {"part": "release", "world": w, "shared": shared, "block": b, "repeats": n, **common}
        for w in WORLDS
        for shared in ((False, True) if w == "all at 1x" else (False,))
        for b, n in blocks(repeats, 250)
    ]
    tasks += [
        {"part": "creep", "creep": name, "traffic": t, "person": p, "block": b, "repeats": n, **common}
        for name, (t, p) in CREEPS.items()
        for b, n in blocks(max(20, repeats // 10), 25)
    ]
    found = work("release_validity", tasks, do, given.jobs)
    failed: list[str] = []
    few = most_hits(0.05, repeats)

    plain, ours = foretold(tuned=True), foretold(tuned=False)
    by_plan, by_gates = predicted(PLAN, plain), predicted(PLAN, ours)
    text = [
        f"{repeats} releases of each kind, {TRAFFIC:,} new units a day. Foretold: "
        f"{by_gates:g} days with the looks of the gates ({', '.join(f'{ours[i]:g}' for i in JUDGED)} in the stages), "
        f"{by_plan:g} with those of `plan_power`, both with segments."
    ]
    rows = []
    for w in WORLDS:
        x = joined(found, RULES[0], world=w, shared=False)
        gone, done = x[:, x[0] == 1], x[:, x[0] == 0]
        rows.append(
            [
                w,
                *(per_cent(share_of(x, e)) for e in ENDS),
                middle(done[1]),
                middle(x[3]),
                middle(gone[1]),
                middle(gone[2]),
            ]
        )
        if w in HARMS and share_of(x, "completed") > few:
            failed.append(f"{w}: {per_cent(share_of(x, 'completed'))} % shipped")
    head = ["afterlaunch", "shipped %", "rolled back %", "for a person %", "days until shipped", "of them on hold"]
    text.append(markdown([*head, "days until rolled back", "units exposed until then"], rows))

    x = joined(found, RULES[0], world="no effect", shared=False)
    if share_of(x, "rolled_back") > few:
        failed.append(f"no effect: {per_cent(share_of(x, 'rolled_back'))} % rolled back")
    assert by_plan is not None
    assert by_gates is not None
    timely = [float(((x[0] == 0) & (x[1] <= d)).mean()) for d in (by_gates, by_plan)]
    if timely[0] < 1 - most_hits(1 - POWER, repeats):
        failed.append(f"no effect: {per_cent(timely[0])} % completed by day {by_gates:g}")
    quantiles = ", ".join(f"{v:g}" for v in np.quantile(x[1][x[0] == 0], [0.1, 0.5, 0.8, 0.9]))
    shared = joined(found, RULES[0], world="all at 1x", shared=True)
    text.append(
        f"No effect: {per_cent(timely[0])} % completed by day {by_gates:g}, {per_cent(timely[1])} % by {by_plan:g}. "
        f"Days at 10, 50, 80 and 90 %: {quantiles}. All at 1x with one family for all gates: "
        f"{per_cent(share_of(shared, 'rolled_back'))} % rolled back."
    )

    rows = []
    for w in WORLDS:
        cells: list[str] = []
        for rule in RULES:
            x = joined(found, rule, world=w, shared=False)
            gone = x[:, x[0] == 1]
            cells.append(f"{per_cent(share_of(x, 'completed'))} / {per_cent(share_of(x, 'rolled_back'))}")
            cells[-1] += f" ({middle(gone[1])} d, {middle(gone[2] / 1000, 1)}k)" if gone.size else ""
        rows.append([w, *cells])
    text.append(markdown(["shipped / rolled back % (median day, units)", *RULES], rows))

    rows = []
    for name in CREEPS:
        parts = [r for t, r in found if t.get("creep") == name]
        rates, alarmed, unsure, lost = (
            np.array([v for r in parts for v in r[key]]) for key in ("rates", "alarmed", "unsure", "lost")
        )
        ends = np.array([r["ends"] for r in parts]).sum(axis=0)
        caught = alarmed < RELEASES
        rows.append(
            [
                name,
                *(per_cent(v / ends.sum()) for v in ends),
                f"{sum(r['days'] for r in parts) / ends.sum():.0f}",
                per_cent(float(np.median(rates))),
                middle(unsure[unsure < RELEASES] + 1),
                f"{middle(alarmed[caught] + 1)} ({_ninth(alarmed[caught] + 1)})",
                middle(100 * lost[caught], 1),
            ]
        )
    text.append(
        markdown(
            [
                f"{RELEASES} releases, each {SMALLER:g} x the margin worse",
                "shipped %",
                "rolled back %",
                "for a person %",
                "days each",
                "clicks lost after all %",
                "frozen gate holds at release",
                "frozen gate alarms at (90 %)",
                "clicks lost then %",
            ],
            rows,
        )
    )
    checked, wrong = (sum(r.get(k, 0) for _, r in found) for k in ("checked", "differ"))
    text.append(f"{checked} looks were put through `decide.decide`; {wrong} differ.")
    if wrong:
        failed.append(f"{wrong} looks differ from `decide.decide`")
    out = "\n\n".join(text)
    print(out)
    if given.markdown:
        given.markdown.write_text(out + "\n", encoding="utf-8")
    print("\n".join(failed) if failed else "\nEvery promise is kept.")
    return int(bool(failed))


def _ninth(values: Ints) -> str:
    return f"{np.quantile(values, 0.9):.0f}" if len(values) else "–"


if __name__ == "__main__":
    sys.exit(main())
