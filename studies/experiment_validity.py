"""Does `al.experiment` keep its promises when it is looked at every day, and what does that cost?

Sixty daily looks at experiments without an effect must ship in 5 % of them or less, in either direction of "better", on
the scale of differences and of relative changes: for rare events, heavy tails raw and winsorised, clustered rows and
returning users, in splits of 50:50, 5:95 and 1:99. Further: power beside a test at a fixed horizon, non-inferiority,
the split of the units, and planned looks while the sums of returning users grow. The candidates for `BURN_IN` and
`NORMAL` of the effect check are tried beside those that ship.

Per-unit sums are drawn and added up by day with numpy; their moments, the rule of skewness, the multipliers and the
constants are the package's own, and some draws go through `al.experiment` as a log and must come to the same ends.

    python studies/experiment_validity.py [--quick] [--repeats N] [--splits N] [--jobs J] [--markdown FILE]
"""

from __future__ import annotations

import math
import os

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import numpy as np
import polars as pl
from _common import Floats, Ints, Task, arguments, blocks, markdown, most_hits, per_cent, seed_of, work
from numpy.typing import NDArray
from scipy import special, stats

import afterlaunch as al
from afterlaunch.checks.effect import BURN_IN, NORMAL
from afterlaunch.measures import Mean, Measure, Ratio
from afterlaunch.questions.experiment import TUNED_FOR
from afterlaunch.stats import assignment
from afterlaunch.stats.intervals import normal_quantile
from afterlaunch.stats.lift import Lift, Side
from afterlaunch.stats.looks import AnyTime, Looks, Planned

Mask = NDArray[np.bool_]
ALPHA, SRM_ALPHA, DOUBT = 0.05, 0.001, 0.001
DAYS, WINSORIZE, SIGMA, LIFT = 60, 0.999, 2.0, 0.1
SPLITS = {"50:50": (0.5, 120_000), "5:95": (0.05, 400_000), "1:99": (0.01, 1_000_000)}
"""Share of the treatment and units of both arms by the last day."""
SLOW = 50
"""Units of the smaller arm a day, for looks around the burn-in."""
NORMALS = sorted({0.0, 0.03, 0.1, 0.3, 1.0, NORMAL})
BURNS = sorted({50, 100, 200, 500, 1000, BURN_IN})
STRESS = 1_000
"""Units for which intervals are tuned in the hardest case: most of the error is spent at once."""
NEVER = 1e300
TESTED = "fixed Welch test"
SCALES, TAILS = ("difference", "relative"), ("up", "down")
SHIPPED = NORMALS.index(NORMAL), BURNS.index(BURN_IN)


# ------------------------------------------------------------------ worlds of per-unit sums


@dataclass(frozen=True)
class World:
    """Units whose sums have few values.

    Attributes:
        name: In the tables.
        values: Per-unit sums, shape (kinds, terms).
    """

    name: str
    values: Floats

    def rates(self, effect: float, days: int) -> Floats:
        """Share of all units that are of a kind and enter on a day, shape (days, kinds)."""
        if self.name.startswith("events"):
            p = self.base * (1 + effect)
            return np.tile([(1 - p) / days, p / days], (days, 1))
        if self.name == "clicks per row":
            c, k = self.values.T
            return np.tile(rows_of(k - 1, 2.0) * clicks_of(c, k, effect) / days, (days, 1))
        levels = stats.gamma.ppf((np.arange(200) + 0.5) / 200, 0.7, scale=0.4 / 0.7)
        day, k = np.arange(days)[:, None], np.arange(1.0, 41.0)
        entering = np.exp(-levels * day) - np.exp(-levels * (day + 1))
        rows = rows_of(k - 1, 7 * levels[:, None])
        clicks = clicks_of(self.values[:, 0][None, :], k[:, None], effect)
        found = entering @ (rows / rows.sum(axis=1, keepdims=True)) @ clicks
        return np.asarray(found / found.sum())

    @property
    def base(self) -> float:
        return float(self.name.split()[-1])

    @property
    def around(self) -> Floats:
        total = self.rates(0.0, DAYS).sum(axis=0)
        return np.asarray(total @ self.values / total.sum())


def rows_of(more: Floats, mean: Any) -> Floats:
    """Chances of so many rows beyond the first."""
    return np.asarray(stats.poisson.pmf(more, mean))


def clicks_of(c: Floats, k: Floats, effect: float) -> Floats:
    """Chances of c clicks in k rows of a user: a tenth of the rows, and a correlation of .1 within users."""
    mean = 0.1 * (1 + effect)
    return np.asarray(stats.betabinom.pmf(c, k, 9 * mean, 9 * (1 - mean)))


PAIRS = np.array([(c, k) for k in range(1, 13) for c in range(k + 1)], dtype=float)
WORLDS = {
    "scarce": World("events 0.001", np.array([[0.0], [1.0]])),
    "rare": World("events 0.01", np.array([[0.0], [1.0]])),
    "common": World("events 0.10", np.array([[0.0], [1.0]])),
    "rows": World("clicks per row", PAIRS),
    "returning": World("returning users, 7 days", np.arange(41.0)[:, None]),
}
HEAVY = {"raw": "lognormal, sigma 2", "cut": "the same, cut at .999"}
NAMES = {**{key: w.name for key, w in WORLDS.items()}, **HEAVY}
NULL = ("scarce", "rare", "raw", "cut", "rows", "returning")
CENTRE = math.exp(SIGMA**2 / 2)


def powers(values: Floats, around: Floats) -> Floats:
    """1, deviations, products of two and of three, shape (..., 4) for one term and (..., 10) for two."""
    x = values - around
    if x.shape[-1] == 1:
        x = x[..., 0]
        return np.stack([np.ones_like(x), x, x * x, x * x * x], axis=-1)
    x, y = x[..., 0], x[..., 1]
    parts = [np.ones_like(x), x, y, x * x, x * y, y * y, x * x * x, x * x * y, x * y * y, y * y * y]
    return np.stack(parts, axis=-1)


def inflow(units: float, treatment: float) -> Floats:
    return units * np.array([1 - treatment, treatment])


def kinds(rng: np.random.Generator, world: World, units: Floats, effect: float, repeats: int, days: int) -> list[Ints]:
    """Units of each kind that enter each day, shape (repeats, days, kinds) for each arm."""
    return [
        rng.poisson(units[arm] * world.rates(effect * arm, days), (repeats, days, len(world.values))) for arm in (0, 1)
    ]


def added(world: World, counts: Sequence[Any]) -> Floats:
    """Cumulative sums of powers, shape (repeats, days, arms, powers)."""
    each = powers(world.values, world.around)
    return np.stack([np.cumsum(c @ each, axis=-2) for c in counts], axis=-2)


def heavy(rng: np.random.Generator, units: Floats, effect: float, days: int) -> tuple[Floats, Ints]:
    """Lognormal values by day, control first, and how many there are of each arm, shape (days, arms)."""
    counts = np.maximum(rng.poisson(np.tile(units / days, (days, 1))), 1)
    values = np.exp(SIGMA * rng.standard_normal(int(counts.sum())))
    if effect:
        values *= np.repeat(np.tile([1.0, 1 + effect], days), counts.ravel())
    return values, counts


def heavy_added(values: Floats, counts: Ints) -> tuple[Floats, Floats]:
    """Cumulative sums of powers, raw and with the largest of all units so far cut, shape (days, arms, powers)."""
    days = len(counts)
    starts = np.concatenate([[0], np.cumsum(counts.ravel())])
    x = values - CENTRE
    square = x * x
    sums = np.stack([np.add.reduceat(v, starts[:-1]) for v in (x, square, square * x)], axis=-1)
    raw = np.concatenate([counts[..., None], sums.reshape(days, 2, 3)], axis=-1).cumsum(axis=0)
    cut, top, arm = raw.copy(), np.empty(0), np.empty(0, dtype=np.int64)
    most = kept(int(counts.sum()))
    for d in range(days):
        a, b, c = starts[2 * d], starts[2 * d + 1], starts[2 * d + 2]
        new = np.flatnonzero(values[a:c] > (top[-1] if top.size == most else -math.inf))
        top, arm = np.append(top, values[a:c][new]), np.append(arm, new >= b - a)
        order = np.argsort(-top)[:most]
        top, arm = top[order], arm[order]
        keep = kept(int(raw[d, :, 0].sum()))
        high, cap = top[: keep - 1] - CENTRE, top[keep - 1] - CENTRE
        for power in (1, 2, 3):
            cut[d, :, power] += np.bincount(arm[: keep - 1], cap**power - high**power, minlength=2)
    return raw, cut


def kept(units: int) -> int:
    """Which of the largest sums the others are cut to; written as the package does."""
    return max(1, math.ceil((1 - WINSORIZE) * units))


def cut_mean(cap: float, scale: float) -> float:
    """Mean of min(scale X, cap) for a lognormal X."""
    at = math.log(cap / scale) / SIGMA
    return scale * CENTRE * float(special.ndtr(at - SIGMA)) + cap * float(special.ndtr(-at))


def cap_of(treatment: float, effect: float) -> float:
    """The winsorising quantile of the units of both arms."""
    low, high = 1.0, 1e6
    for _ in range(200):
        cap = math.sqrt(low * high)
        beyond = [float(special.ndtr(-math.log(cap / s) / SIGMA)) for s in (1.0, 1 + effect)]
        low, high = (cap, high) if (1 - treatment) * beyond[0] + treatment * beyond[1] > 1 - WINSORIZE else (low, cap)
    return high


# ------------------------------------------------------------------ from sums to intervals


@dataclass(frozen=True)
class Compared:
    """Two arms at every look; arrays are of one shape, such as (repeats, days).

    Attributes:
        z: Scale to the change: value and standard error.
        df: Scale to degrees of freedom.
        units: Of both arms.
        smaller: Units of the smaller arm.
        need: Units that the smaller arm needs by the package's rule of skewness.
    """

    z: dict[str, tuple[Floats, Floats]]
    df: dict[str, Floats]
    units: Floats
    smaller: Floats
    need: Floats

    def said(self, normal: float = NORMAL, burn: float = BURN_IN) -> Mask:
        """Whether anything is said at a look."""
        return (self.smaller >= burn) & (self.z["difference"][1] > 0) & ~(self.need * normal > self.smaller)

    def beyond(self, scale: str, tail: str, by: Floats, truth: Any = 0.0) -> Mask:
        """Whether the low ("up") or high end, so many standard errors away, lies beyond the truth."""
        value, se = self.z[scale]
        sign = 1 if tail == "up" else -1
        return sign * (value - truth) > by * se


def sides(sums: Floats, around: Floats) -> tuple[Floats, Floats, Floats, Floats]:
    """Value, variance by the delta method, skewness and units, as `stats.lift.lift` has them."""
    n = sums[..., 0]
    if around.size == 1:
        value = around[0] + sums[..., 1] / n
        one, two, three = sums[..., 1], sums[..., 2], sums[..., 3]
    else:
        x, y = around[0] + sums[..., 1] / n, around[1] + sums[..., 2] / n
        value, a, b = x / y, 1 / y, -x / y**2
        one = a * sums[..., 1] + b * sums[..., 2]
        two = a**2 * sums[..., 3] + 2 * a * b * sums[..., 4] + b**2 * sums[..., 5]
        three = a**3 * sums[..., 6] + 3 * a**2 * b * sums[..., 7] + 3 * a * b**2 * sums[..., 8] + b**3 * sums[..., 9]
    m = one / n
    spread = np.maximum(two / n - m**2, 0.0)
    variance = np.where(spread < 1e-13 * two / n, 0.0, spread * n / (n - 1))
    third = three / n - 3 * two / n * m + 2 * m**3
    return value, variance, np.where(variance > 0, third / variance**1.5, 0.0), n


def compare(sums: Floats, around: Floats, least: float = min(BURNS)) -> Compared:
    """The arms of sums of shape (..., 2, powers)."""
    with np.errstate(all="ignore"):
        a, b = (sides(sums[..., arm, :], around) for arm in (0, 1))
        parts = {"difference": (a[1], b[1]), "relative": (a[1] / a[0] ** 2, b[1] / b[0] ** 2)}
        positive = (a[0] > 0) & (b[0] > 0)
        change = {"difference": b[0] - a[0], "relative": np.where(positive, np.log(b[0] / a[0]), math.nan)}
        z, df = {}, {}
        for scale, (va, vb) in parts.items():
            total = va / a[3] + vb / b[3]
            z[scale] = (change[scale], np.sqrt(total))
            df[scale] = total**2 / ((va / a[3]) ** 2 / (a[3] - 1) + (vb / b[3]) ** 2 / (b[3] - 1))
    smaller = np.minimum(a[3], b[3])
    need = np.full(smaller.shape, NEVER)
    for i in zip(*np.nonzero(smaller >= max(least, 2)), strict=True):
        pair = [Side(float(s[0][i]), float(s[1][i]), float(s[3][i]), float(s[2][i])) for s in (a, b)]
        need[i] = Lift(*pair).rows_for_normal
    return Compared(z, df, a[3] + b[3], smaller, need)


def multipliers(looks: Looks, alpha: float, units: Floats, df: Floats | float = math.inf) -> Floats:
    return np.asarray(np.frompyfunc(lambda n, f: looks.multiplier(alpha, n, f), 2, 1)(units, df), dtype=float)


def any_time(found: Compared, tuned: float) -> Floats:
    return multipliers(AnyTime(tuned, ALPHA), ALPHA, np.maximum(found.units, 1.0))


def first_day(hits: Mask) -> list[int]:
    """How many repeats have their first hit at each look; the last number is of those that have none."""
    day = np.where(hits.any(axis=1), hits.argmax(axis=1), hits.shape[1])
    return np.bincount(day, minlength=hits.shape[1] + 1).tolist()


# ------------------------------------------------------------------ the parts of the study


def daily(found: Compared, end: float, truth: dict[str, Any]) -> dict[str, Any]:
    """Repeats in which an end is ever beyond the truth, by normal, burn-in, tuning, scale and tail; and so on."""
    ever = np.zeros((len(NORMALS), len(BURNS), 3, 2, 2), dtype=np.int64)
    normal = [~(found.need * v > found.smaller) & (found.z["difference"][1] > 0) for v in NORMALS]
    burnt = [found.smaller >= v for v in BURNS]
    naive = np.zeros(2, dtype=np.int64)
    welch = -special.stdtrit(np.nan_to_num(found.df["difference"], nan=2.0), ALPHA)
    for t, tuned in enumerate((TUNED_FOR, end, STRESS)):
        by = any_time(found, tuned)
        for s, scale in enumerate(SCALES):
            for w, tail in enumerate(TAILS):
                wrong = found.beyond(scale, tail, by, truth[scale])
                for i, j in np.ndindex(len(NORMALS), len(BURNS)):
                    ever[i, j, t, s, w] = (wrong & normal[i] & burnt[j]).any(axis=1).sum()
    for w, tail in enumerate(TAILS):
        seen = (found.smaller >= 2) & (found.z["difference"][1] > 0)
        naive[w] = (found.beyond("difference", tail, welch, truth["difference"]) & seen).any(axis=1).sum()
    said = [found.said(v) for v in NORMALS]
    return {
        "repeats": len(found.units),
        "ever": ever.tolist(),
        "naive": naive.tolist(),
        "withheld": [int((~s[:, -1]).sum()) for s in said],
        "first": [first_day(s) for s in said],
    }


def do(task: Task) -> dict[str, Any]:
    return {"null": do_daily, "power": do_power, "srm": do_srm, "seen": do_seen, "planned": do_planned}[task["part"]](
        seed_of(task), task
    )


def do_daily(rng: np.random.Generator, task: Task) -> dict[str, Any]:
    """A and C: sixty looks at one world, raw and cut together for heavy tails."""
    share, units = SPLITS[task["split"]]
    effect, repeats, key = task["effect"], task["repeats"], task["world"]
    if task["slow"]:
        # Most users who return enter on the first days: so many that the first look is just beyond the burn-in.
        first = WORLDS[key].rates(0.0, DAYS)[0].sum() if key == "returning" else 1 / DAYS
        units = round((1.2 * BURN_IN if key == "returning" else SLOW) / share / first)
    flow = inflow(units, share)
    if key == "raw":
        drawn = [heavy_added(*heavy(rng, flow, effect, DAYS)) for _ in range(repeats)]
        cap = cap_of(share, effect)
        means = {"raw": (CENTRE, CENTRE * (1 + effect)), "cut": (cut_mean(cap, 1.0), cut_mean(cap, 1 + effect))}
        out = {}
        for i, name in enumerate(HEAVY):
            a, b = means[name]
            found = compare(np.stack([d[i] for d in drawn]), np.array([CENTRE]))
            out[name] = daily(found, units, {"difference": b - a, "relative": math.log(b / a)})
        return out
    world = WORLDS[key]
    truth = {s: v[0] for s, v in expected(world, flow, effect, DAYS).z.items()}
    if task["margin"]:
        truth["difference"] = np.full(DAYS, -task["margin"])
    found = compare(added(world, kinds(rng, world, flow, effect, repeats, DAYS)), world.around)
    return {key: daily(found, units, truth)}


def expected(world: World, flow: Floats, effect: float, days: int) -> Compared:
    """What the arms come to without chance, shape (days,)."""
    counts = [flow[arm] * world.rates(effect * arm, days) for arm in (0, 1)]
    return compare(added(world, counts), world.around, math.inf)


def do_power(rng: np.random.Generator, task: Task) -> dict[str, Any]:
    """B: the day of shipping, up to 2.5 times the planned one, and the test at the planned one."""
    share, units = SPLITS[task["split"]]
    world, days = WORLDS[task["world"]], DAYS * 5 // 2
    flow = inflow(units * days / DAYS, share)
    low, high = 0.0, 1.0
    for _ in range(50):
        effect = (low + high) / 2
        value, se = (v[DAYS - 1] for v in expected(world, flow, effect, days).z["difference"])
        low, high = (low, effect) if value > se * (normal_quantile(ALPHA) + normal_quantile(0.2)) else (effect, high)
    found = compare(added(world, kinds(rng, world, flow, high * task["times"], task["repeats"], days)), world.around)
    welch = -special.stdtrit(found.df["difference"][:, [DAYS - 1]], ALPHA)
    now = Compared({s: (v[0][:, [DAYS - 1]], v[1][:, [DAYS - 1]]) for s, v in found.z.items()}, {}, *[welch] * 3)
    out: dict[str, Any] = {"repeats": task["repeats"], TESTED: int(now.beyond("difference", "up", welch).sum())}
    for name, tuned in (("planned", units), ("default", TUNED_FOR)):
        out[name] = first_day(found.beyond("difference", "up", any_time(found, tuned)) & found.said())
    out["effect"] = high * task["times"]
    return out


LOOKS, A_DAY = 30, 4_000
RAMP = {"1:99, 10:90, 50:50": (0.01, 0.1, 0.5)}


def do_srm(rng: np.random.Generator, task: Task) -> dict[str, Any]:
    """D: experiments split as planned whose Bayes factor, in any stage, ever exceeds 1,000 times the stages."""
    shares = RAMP.get(task["split"]) or (SPLITS[task["split"]][0],)
    most = np.zeros(task["repeats"])
    for share in shares:
        days = LOOKS // len(shares)
        treated = rng.binomial(A_DAY, share, (task["repeats"], days)).cumsum(axis=1)
        counts = np.stack([A_DAY * np.arange(1, days + 1) - treated, treated], axis=-1)
        most = np.maximum(most, assignment.log_bayes(counts, [1 - share, share]).max(axis=1))
    return {"repeats": task["repeats"], "false": int((most > math.log(len(shares) / SRM_ALPHA)).sum())}


def do_seen(rng: np.random.Generator, task: Task) -> dict[str, Any]:
    """D: looks, one every 5,000 units, until a split of 50.5:49.5 is seen."""
    treated = rng.binomial(5_000, 0.505, (task["repeats"], 120)).cumsum(axis=1)
    counts = np.stack([5_000 * np.arange(1, 121) - treated, treated], axis=-1)
    return {"looks": first_day(assignment.log_bayes(counts, [0.5, 0.5]) > math.log(1 / SRM_ALPHA))}


USERS = {"50:50": (0.5, 40_000), "5:95": (0.05, 100_000), "1:99": (0.01, 200_000)}
FRACTIONS, STEP = (0.25, 0.5, 0.75, 1.0), 7
GROWING = ("clicks of a user", "clicks per visit")


def do_planned(rng: np.random.Generator, task: Task) -> dict[str, Any]:
    """E: four weekly looks at users who come back at rates of their own, all of whose visits so far count."""
    share, users = USERS[task["split"]]
    sums = np.zeros((task["repeats"], len(FRACTIONS), 2, 10))
    for i in range(task["repeats"]):
        for arm, n in enumerate(rng.poisson(inflow(users, share))):
            rate, taste = rng.gamma(0.5, 0.3 / 0.5, n), rng.beta(0.9, 8.1, n)
            visits, clicks = np.zeros(n), np.zeros(n)
            for look in range(len(FRACTIONS)):
                more = rng.poisson(STEP * rate)
                came = np.flatnonzero(more)
                visits += more
                clicks[came] += rng.binomial(more[came], taste[came])
                sums[i, look, arm] = grown(clicks, visits)
    out: dict[str, Any] = {"repeats": task["repeats"]}
    for metric, part in zip(GROWING, ([0, 1, 3, 6], list(range(10))), strict=True):
        found = compare(sums[..., part], np.zeros(1 if len(part) == 4 else 2))
        ever, naive = np.zeros((2, 2), dtype=np.int64), np.zeros((2, 2), dtype=np.int64)
        for s, scale in enumerate(SCALES):
            planned = [
                multipliers(Planned(FRACTIONS, look), ALPHA, found.units[:, look], found.df[scale][:, look])
                for look in range(len(FRACTIONS))
            ]
            welch = -special.stdtrit(found.df[scale], ALPHA)
            for w, tail in enumerate(TAILS):
                ever[s, w] = (found.beyond(scale, tail, np.stack(planned, axis=1)) & found.said()).any(axis=1).sum()
                naive[s, w] = (found.beyond(scale, tail, welch) & found.said()).any(axis=1).sum()
        out |= {f"{metric}: ever": ever.tolist(), f"{metric}: naive": naive.tolist()}
    return out


def grown(x: Floats, y: Floats) -> Floats:
    """Sums of powers over the users that have come."""
    n, xx, xy, yy = float(np.count_nonzero(y)), x * x, x * y, y * y
    return np.array([n, x.sum(), y.sum(), xx.sum(), xy.sum(), yy.sum(), xx @ x, xx @ y, x @ yy, yy @ y])


# ------------------------------------------------------------------ the same through al.experiment

START = datetime.fromisoformat("2026-03-02")
ROLES = {"version": "arm", "time": "at"}


def same(seed: int) -> tuple[int, list[str]]:
    """How many looks of logs were compared with `al.experiment`, and what was found to differ."""
    wrong, looked, days = [], 0, 14
    for split, total in (("50:50", 6_000), ("5:95", 30_000)):
        share = SPLITS[split][0]
        for key in (*NULL, "common"):
            rng = np.random.default_rng([seed, total, *key.encode()])
            if key in HEAVY:
                values, counts = heavy(rng, inflow(total, share), 0.05, days)
                sums, around = heavy_added(values, counts)[key == "cut"][None], np.array([CENTRE])
                day = np.repeat(np.repeat(np.arange(days), 2), counts.ravel())
                arm = np.repeat(np.tile([0, 1], days), counts.ravel())
                log, window = frame(day, arm, values), None
            else:
                world = WORLDS[key]
                drawn = kinds(rng, world, inflow(total, share), 0.1, 1, days)
                sums, around = added(world, drawn), world.around
                log, window = log_of(rng, key, [c[0] for c in drawn])
            found = compare(sums, around, 2)
            for look in (0, 2, 6):
                until = START + timedelta(days=look) + (window or timedelta())
                rows = log.filter(pl.col("at") <= until)
                for scale in SCALES:
                    looked += 1
                    review = ask(rows, key, scale, window=None if window is None else f"{window.days}d")
                    differs = differ(review, found, (0, look), scale, AnyTime(TUNED_FOR, ALPHA))
                    wrong += [f"{NAMES[key]}, {split}, day {look}: {w}" for w in differs]
    more, found_wrong = same_planned(seed)
    return looked + more, wrong + found_wrong


def measure_of(key: str, scale: str) -> Measure:
    margin = {"margin": 0.01} if scale == "difference" else {"relative": 0.01}
    kind = Ratio if key in {"rows", GROWING[1]} else Mean
    return kind("x", winsorize=WINSORIZE if key == "cut" else None, **margin)  # type: ignore[arg-type]


def ask(log: pl.DataFrame, key: str, scale: str, **how: Any) -> al.Review:
    roles = {**ROLES, "unit": "user"} if "user" in log.columns else ROLES
    return al.experiment(log, control="old", metrics=[measure_of(key, scale)], roles=roles, alpha=ALPHA, **how)


def differ(review: al.Review, found: Compared, i: tuple[int, int], scale: str, looks: Looks) -> Iterable[str]:
    """What `al.experiment` says otherwise."""
    f = next(f for f in review.findings if f.check == "effect")
    said = bool(found.said()[i]) and not math.isnan(float(found.z[scale][0][i]))
    if (f.effect is not None) is not said:
        yield f"{f.reason} beside {'a value' if said else 'none'}"
    if f.effect is None or not said:
        return
    value, se = (float(v[i]) for v in found.z[scale])
    ends = [
        value + sign * se * looks.multiplier(level, float(found.units[i]), float(found.df[scale][i]))
        for sign, level in ((-1, f.alpha), (1, f.alpha_each))
    ]
    if scale == "relative":
        ends = [math.expm1(v) for v in ends]
    if not np.allclose(ends, [f.effect.low, f.effect.high], rtol=1e-6, atol=1e-9):
        yield f"{ends} beside [{f.effect.low}, {f.effect.high}]"


def frame(day: Ints, arm: Ints, values: Floats, user: Ints | None = None, minutes: Any = 0) -> pl.DataFrame:
    moments = np.datetime64(START, "us") + (day * 1440 + np.asarray(minutes)).astype("timedelta64[m]")
    columns = {"at": moments, "arm": np.array(["old", "new"])[arm.astype(int)], "x": values}
    return pl.DataFrame({**columns, "user": user} if user is not None else columns)


def log_of(rng: np.random.Generator, key: str, counts: Sequence[Ints]) -> tuple[pl.DataFrame, timedelta | None]:
    """Rows of units of known kinds, and how long each unit is observed."""
    values = WORLDS[key].values
    where = [np.repeat(np.indices(c.shape).reshape(2, -1), c.ravel(), axis=1) for c in counts]
    day, kind = np.concatenate([w[0] for w in where]), np.concatenate([w[1] for w in where])
    arm = np.repeat([0, 1], [w.shape[1] for w in where])
    if key in {"scarce", "rare", "common"}:
        return frame(day, arm, values[kind, 0]), None
    clicks = values[kind, 0].astype(int)
    # Of a user who returns, the first row is no click, and the last comes after the window and must not count.
    size = values[kind, 1].astype(int) if key == "rows" else clicks + 2
    window = 1 if key == "rows" else 7
    user = np.repeat(np.arange(kind.size), size)
    place = np.arange(user.size) - np.repeat(np.cumsum(size) - size, size)
    minutes = np.where(place == 0, 0, rng.integers(1, window * 1440, user.size))
    hits = place < clicks[user] if key == "rows" else place > 0
    if key == "returning":
        minutes = np.where(place == size[user] - 1, window * 1440 + 5, minutes)
    return frame(day[user], arm[user], hits.astype(float), user, minutes), timedelta(days=window)


def same_planned(seed: int) -> tuple[int, list[str]]:
    """The same for planned looks at users who come back."""
    rng = np.random.default_rng([seed, 5])
    n, looks = 4_000, len(FRACTIONS)
    arm = (np.arange(n) % 2).astype(np.int64)
    visits = rng.poisson(STEP * rng.gamma(0.5, 0.6, n)[:, None], (n, looks))
    clicks = rng.binomial(visits, rng.beta(0.9, 8.1, n)[:, None])
    user, look = np.repeat(np.indices(visits.shape).reshape(2, -1), visits.ravel(), axis=1)
    place = np.arange(user.size) - np.repeat(np.cumsum(visits.ravel()) - visits.ravel(), visits.ravel())
    hits = place < np.repeat(clicks.ravel(), visits.ravel())
    minutes = rng.integers(1, STEP * 1440, user.size)
    log = frame(look * STEP, arm[user], hits.astype(float), user, minutes)
    so_far = [x.cumsum(axis=1).astype(float) for x in (clicks, visits)]
    sums = np.array([[grown(*(x[arm == a, i] for x in so_far)) for a in (0, 1)] for i in range(looks)])[None]
    wrong, looked = [], 0
    dates = [START + timedelta(days=STEP * (i + 1)) for i in range(looks)]
    first = log["at"].min()
    assert isinstance(first, datetime)
    planned = tuple((d - first) / (dates[-1] - first) for d in dates)
    for metric, part in zip(GROWING, ([0, 1, 3, 6], list(range(10))), strict=True):
        found = compare(sums[..., part], np.zeros(1 if len(part) == 4 else 2))
        for i in (1, 3):
            for scale in SCALES:
                review = ask(log.filter(pl.col("at") < dates[i]), metric, scale, looks=dates)
                looked += 1
                differs = differ(review, found, (0, i), scale, Planned(planned, i))
                wrong += [f"{metric}, look {i + 1}: {w}" for w in differs]
    return looked, wrong


def same_split(seed: int) -> list[str]:
    """Whether the interval of the split excludes zero just when the Bayes factor exceeds 1,000."""
    rng, wrong = np.random.default_rng([seed, 7]), []
    for _ in range(300):
        share = rng.choice([0.5, 0.05, 0.01])
        n = int(rng.integers(2_000, 400_000))
        # As many standard errors from the plan as the line lies, more or less.
        treated = round(n * share + rng.normal(4.2, 0.5) * rng.choice([-1, 1]) * math.sqrt(n * share * (1 - share)))
        counts, plan = [n - treated, treated], [1 - share, share]
        low, high = assignment.deviation(counts, plan, 1).interval(SRM_ALPHA / 2, SRM_ALPHA / 2, any_time=True)
        factor = float(assignment.log_bayes(counts, plan)) - math.log(1 / SRM_ALPHA)
        if abs(factor) > 1e-6 and (low > 0 or high < 0) is not (factor > 0):
            wrong.append(f"split {counts}, planned {plan}: the interval [{low}, {high}] and the Bayes factor differ")
    return wrong


# ------------------------------------------------------------------ tables


class Total:
    """Counts of all blocks of one setting."""

    def __init__(self) -> None:
        self.parts: dict[str, Any] = {}

    def add(self, result: dict[str, Any]) -> None:
        for key, value in {**result, "blocks": 1}.items():
            new = np.asarray(value)
            self.parts[key] = self.parts[key] + new if key in self.parts else new

    def rate(self, key: str) -> Floats:
        return np.asarray(self.parts[key] / self.repeats)

    @property
    def repeats(self) -> int:
        return int(self.parts["repeats"])


Totals = dict[tuple[Any, ...], Total]
FOUR = list(np.ndindex(len(SCALES), len(TAILS)))
ENDS = [f"{SCALES[s]} {TAILS[w]} %" for s, w in FOUR]


def two(share: float) -> str:
    return f"{100 * share:.1f}"


def day_of(counts: Ints, share: float) -> str:
    """First look at which so large a share has been hit."""
    reached = np.cumsum(counts[:-1]) >= share * counts.sum()
    return str(int(reached.argmax()) + 1) if reached.any() else f"> {counts.size - 1}"


def worst(ever: Iterable[Floats]) -> str:
    """The largest of the two usual tunings, and under stress."""
    every = np.stack(list(ever))
    return f"{two(every[:, :2].max())} / {two(every[:, 2].max())}"


class Book:
    """The tables, and the promises that were not kept."""

    def __init__(self, totals: Totals) -> None:
        self.totals = totals
        self.text: list[str] = []
        self.failed: list[str] = []

    def of(self, part: str) -> Totals:
        return {k[1:]: t for k, t in self.totals.items() if k[0] == part}

    def hold(self, what: str, share: float, rate: float, repeats: int) -> None:
        if share > most_hits(rate, repeats, DOUBT):
            self.failed.append(f"{what}: {100 * share:.2f} % in place of {100 * rate:g} %")

    def add(self, title: str, head: Sequence[str], rows: Sequence[Sequence[object]], note: str = "") -> None:
        if rows:
            self.text.append(f"## {title}\n\n{note}{markdown(head, rows)}")

    def daily(self) -> None:
        null = {named(*k): t for k, t in self.of("null").items() if k[3] == 0.0 and not k[4]}
        rows, by_normal = [], []
        for name, t in null.items():
            ever, held, first = t.rate("ever"), t.rate("withheld"), t.parts["first"]
            now, at = ever[SHIPPED], SHIPPED[0]
            cells = [two(now[0][i]) for i in FOUR] + [two(now[1].max()), two(now[2].max()), per_cent(held[at])]
            rows.append([name, *cells, day_of(first[at], 0.5), "/".join(per_cent(v) for v in t.rate("naive"))])
            for i, tuning in enumerate(("default", "tuned for the end")):
                for j, end in zip(FOUR, ENDS, strict=True):
                    self.hold(f"{name}, {end[:-2]}, {tuning}", now[i][j], ALPHA, t.repeats)
            late = [f"({per_cent(held[i])}, {day_of(first[i], 0.5)})" for i in range(len(NORMALS))]
            by_normal.append([name, *(f"{worst([e[SHIPPED[1]]])} {x}" for e, x in zip(ever, late, strict=True))])
        head = ["without effect, ever ships", *ENDS, "end: worst %", "stress: worst %", "withheld at end %"]
        self.add("A. False shipping", [*head, "median first day", "daily Welch up/down %"], rows)
        every = [t.rate("ever") for t in null.values()]
        by_normal.append(["all", *(worst(e[i, SHIPPED[1]] for e in every) for i in range(len(NORMALS)))])
        note = "Worst end % / under stress (withheld at the end %, median first day with a word).\n\n"
        self.add("NORMAL", [f"BURN_IN {BURN_IN}", *map(str, NORMALS)], by_normal, note)
        slow = [t.rate("ever") for name, t in null.items() if name.endswith("(slow)")]
        grid = [[v, *(worst(e[i, j] for e in slow) for j in range(len(BURNS)))] for i, v in enumerate(NORMALS)]
        self.add("BURN_IN", ["NORMAL \\ BURN_IN", *map(str, BURNS)], grid, "Worst of the slow ones, as above.\n\n")

    def lifted(self) -> None:
        rows = []
        for key, t in self.of("null").items():
            if key[3] != LIFT or key[4]:
                continue
            ever = t.rate("ever")[(*SHIPPED, 0)]
            rows.append([named(*key), *(two(ever[i]) for i in FOUR)])
            for i, end in zip(FOUR, ENDS, strict=True):
                if key[0] != "cut":
                    self.hold(f"{named(*key)}, a lift missed, {end[:-2]}", ever[i], ALPHA, t.repeats)
        note = f"A true lift of {per_cent(LIFT)} %. No promise for cut sums, whose truth moves with the cut.\n\n"
        head = ["ever missed by the low (up) or high (down) end", *ENDS]
        self.add("Coverage at all looks", head, rows, note)

    def power(self) -> None:
        rows = []
        for (key, split, times), t in self.of("power").items():
            cells = [f"{per_cent(t.parts['effect'] / t.parts['blocks'])} %", per_cent(float(t.rate(TESTED)))]
            for name in ("planned", "default"):
                days = t.parts[name]
                cells += [per_cent(float(days[:DAYS].sum()) / t.repeats), day_of(days, 0.5), day_of(days, 0.8)]
            rows.append([f"{NAMES[key]}, {split}, effect × {times:g}", *cells])
        tuned = [f"{n}: {c}" for n in ("for plan", "default") for c in ("by day 60 %", "median day", "day of 80 %")]
        self.add("B. Power", ["power", "relative effect", "Welch, day 60 %", *tuned], rows)

    def worse(self) -> None:
        rows = []
        for key, t in self.of("null").items():
            if key[4]:
                ever = t.rate("ever")[SHIPPED][:, 0, 0]
                name = f"{100 * WORLDS[key[0]].base * key[3]:+.1f} points, {named(*key)}"
                rows.append([name, *map(two, ever)])
                for v in ever[:2]:
                    self.hold(f"non-inferiority, {name}", v, ALPHA, t.repeats)
        self.add("C. Non-inferiority, margin 1 point", ["ever ok", "default %", "end %", "stress %"], rows)

    def split(self) -> None:
        rows = []
        for (split,), t in self.of("srm").items():
            rows.append([split, f"{t.repeats:,}", f"{100 * float(t.rate('false')):.4f}"])
            self.hold(f"split {split}", float(t.rate("false")), SRM_ALPHA, t.repeats)
        looks = self.totals["seen",].parts["looks"]
        fixed = (normal_quantile(SRM_ALPHA / 2) + normal_quantile(0.2)) ** 2 * 0.25 / 0.005**2
        seen = ", ".join(f"{100 * q:.0f} % by {5_000 * int(day_of(looks, q)):,}" for q in (0.1, 0.5, 0.8, 0.9))
        note = (
            f"50.5:49.5 in place of 50:50 is seen: {seen} units; one chi-square test of 80 % power takes {fixed:,.0f}."
        )
        note += f" Below: {LOOKS} looks, {A_DAY:,} units a day, split as planned.\n\n"
        self.add("D. Split of the units", ["planned", "repeats", "ever alarms %"], rows, note)

    def planned(self) -> None:
        rows = []
        for (split,), t in self.of("planned").items():
            for metric in GROWING:
                ever, naive = t.rate(f"{metric}: ever"), t.rate(f"{metric}: naive")
                rows.append([f"{metric}, {split}", *(two(ever[i]) for i in FOUR), two(naive.max())])
                for i, end in zip(FOUR, ENDS, strict=True):
                    self.hold(f"planned looks, {metric}, {split}, {end[:-2]}", ever[i], ALPHA, t.repeats)
        self.add("E. Four planned looks at sums that grow", ["ever ships", *ENDS, "Welch each time: worst %"], rows)


def named(key: str, split: str, slow: bool, *_: float) -> str:
    return f"{NAMES[key]}, {split}{' (slow)' if slow else ''}"


def settings(quick: bool) -> Iterable[tuple[Task, int]]:
    """What is repeated, and the size of its blocks."""
    for split in ("1:99", "5:95", "50:50"):
        base = {"part": "null", "split": split}
        for key in ("raw", "scarce", "rare", "rows", "returning"):
            for slow, effect in ((False, 0.0), (True, 0.0), (False, LIFT))[: 2 if quick else 3]:
                task = {**base, "world": key, "slow": slow, "effect": effect, "margin": 0.0}
                yield task, 50 if key == "raw" else 250
        for effect, slow in ((-0.15, False), (-0.1, False), (-0.1, True)):
            yield {**base, "world": "common", "slow": slow, "effect": effect, "margin": 0.01}, 250
        yield {"part": "planned", "split": split}, 50
    for key, split in (("common", "50:50"), ("common", "5:95"), ("rows", "50:50")):
        for times in (1.0, 2.0):
            yield {"part": "power", "world": key, "split": split, "times": times}, 250


def keyed(task: Task, result: dict[str, Any]) -> Iterable[tuple[tuple[Any, ...], dict[str, Any]]]:
    """The parts of a result, and the setting of each."""
    if task["part"] == "null":
        for name, part in result.items():
            yield ("null", name, *(task[k] for k in ("split", "slow", "effect", "margin"))), part
        return
    yield tuple(task[k] for k in ("part", "world", "split", "times") if k in task), result


def main() -> int:
    parser = arguments(__doc__)
    parser.add_argument("--splits", type=int, default=None, help="repeats of every planned split")
    given = parser.parse_args()
    repeats = given.repeats or (200 if given.quick else 2_000)
    splits = given.splits or (20_000 if given.quick else 200_000)
    looked, wrong = same(given.seed)
    wrong += same_split(given.seed)
    parts = [(task, blocks(repeats, size)) for task, size in settings(given.quick)]
    parts += [({"part": "srm", "split": s}, blocks(splits, 20_000)) for s in (*SPLITS, *RAMP)]
    parts.append(({"part": "seen"}, [(0, repeats)]))
    fixed = {"seed": given.seed, "tuned": TUNED_FOR}
    tasks = [{**task, "block": b, "repeats": n, **fixed} for task, of in parts for b, n in of]
    totals: Totals = {}
    for task, result in work("experiment_validity", tasks, do, given.jobs):
        for key, part in keyed(task, result):
            totals.setdefault(key, Total()).add(part)
    book = Book(totals)
    for add in (book.daily, book.lifted, book.power, book.worse, book.split, book.planned):
        add()
    first = (
        f"{repeats:,} repeats of each setting, {DAYS} daily looks, alpha {ALPHA}. BURN_IN {BURN_IN}, NORMAL {NORMAL}; "
        f"tuned for {TUNED_FOR:,} units, for the last day's (end), or for {STRESS:,} (stress). Units by the last day: "
    )
    first += ", ".join(f"{k} {n:,}" for k, (_, n) in SPLITS.items()) + f"; slow: {SLOW} of the smaller arm a day."
    last = f"{looked} looks at logs were put through `al.experiment`; {len(wrong)} differ."
    text = "\n\n".join([first, *book.text, last])
    print(text)
    print("\n".join([*book.failed, *wrong]) or "\nEvery promise is kept.")
    if given.markdown is not None:
        given.markdown.write_text(text + "\n", encoding="utf-8")
    return int(bool(book.failed or wrong))


if __name__ == "__main__":
    sys.exit(main())
