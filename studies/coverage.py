"""Do the intervals of the drift check keep their promise? Each end on its own, at four true effects.

Rows are drawn from known distributions, counted as the check counts them, and the true effect is
computed on the very bins, groups and range that the draw came to. Counted is how often each end of the
interval lies on the wrong side of it, at one-sided error rates .05 and .0005. At the margin itself an
error of the low end is a false alarm. Beside it stands the power: `ok` at effect zero, `alarm` at twice
the margin (both at .05).

An interval is read by its two tail functions: its low end lies above theta just when
P(statistic >= observed | theta) is below the error rate. Some draws check that against the ends.

    python studies/coverage.py [--quick] [--repeats N] [--jobs J] [--only psi,ks] [--markdown FILE]
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
from _common import (
    Floats,
    Ints,
    Task,
    add_up,
    arguments,
    blocks,
    category_counts,
    category_reference,
    markdown,
    most_hits,
    numeric_counts,
    numeric_reference,
    per_cent,
    seed_of,
    spacing,
    work,
)
from scipy import special, stats

from afterlaunch.checks import drift
from afterlaunch.decide import Estimate, verdict_of
from afterlaunch.profile.types import CategoryBins, ColumnCounts, NumericBins
from afterlaunch.stats import distances
from afterlaunch.stats.distances import Distance

ICC = 0.1
MULTIPLES = (0.0, 0.5, 1.0, 2.0)
ALPHAS = (0.05, 0.0005)
MARGIN = {kind.key: kind.margin for kind in drift.KINDS}
SHAPES = ("psi", "js", "ks", "wasserstein", "linf")
SHARES = ("missing", "new", "range")
BLOCK = 50


# ------------------------------------------------------------------ populations


@dataclass(frozen=True)
class Population:
    """A column as a function of a standard normal variate; production moves the variate by theta.

    Attributes:
        effects: Which effects are measured on it.
        value: z -> values or codes, increasing.
        below: Edges or codes -> z at and under which a value is at most that.
        names: Categories, or None for numbers.
        spread: Production multiplies the variate by 1 + theta instead of adding theta.
    """

    effects: tuple[str, ...]
    value: Callable[[Floats], Any]
    below: Callable[[Floats], Floats]
    names: tuple[str, ...] | None = None
    spread: bool = False

    def moved(self, z: Floats, theta: float) -> Floats:
        return z * (1 + theta) if self.spread else z + theta

    def cdf(self, at: Floats, theta: float) -> Floats:
        z = self.below(np.asarray(at, dtype=np.float64))
        out: Floats = special.ndtr(z / (1 + theta) if self.spread else z - theta)
        return out

    def shares(self, theta: float) -> Floats:
        assert self.names is not None
        return np.diff(self.cdf(np.arange(len(self.names)), theta), prepend=0.0)


def _cut(shares: list[float]) -> tuple[Callable[[Floats], Any], Callable[[Floats], Floats], tuple[str, ...]]:
    edges = special.ndtri(np.cumsum(shares)[:-1])

    def value(z: Floats) -> Ints:
        return np.searchsorted(edges, z, side="left").astype(np.int64)

    def below(code: Floats) -> Floats:
        out: Floats = np.append(edges, np.inf)[code.astype(np.int64)]
        return out

    return value, below, tuple(f"c{j:02d}" for j in range(len(shares)))


def _zeros(z: Floats) -> Floats:
    """Six tenths zeros, the rest lognormal: an amount paid."""
    u = special.ndtr(z)
    return np.where(u <= 0.6, 0.0, np.exp(1.5 * special.ndtri(np.clip((u - 0.6) / 0.4, 1e-16, 1 - 1e-16))))


def _zeros_below(x: Floats) -> Floats:
    with np.errstate(divide="ignore"):
        inside = 0.6 + 0.4 * special.ndtr(np.log(np.maximum(x, 0.0)) / 1.5)
    out: Floats = special.ndtri(np.where(x < 0, 0.0, np.where(x == 0, 0.6, inside)))
    return out


POISSON = special.ndtri(stats.poisson(2.0).cdf(np.arange(14)))


def _poisson(z: Floats) -> Floats:
    return np.searchsorted(POISSON, z, side="left").astype(np.float64)


def _poisson_below(x: Floats) -> Floats:
    z = np.concatenate([[-np.inf], POISSON, [np.inf]])
    out: Floats = z[np.floor(x).clip(-1, POISSON.size).astype(np.int64) + 1]
    return out


NUMERIC = ("psi", "js", "ks", "wasserstein", "range")
CATEGORICAL = ("psi", "js", "linf")
ZIPF = [1 / (j + 1) for j in range(30)]
SPARSE = [0.55, 0.25, *([0.0015] * 100), 0.05]

POPULATIONS: dict[str, Population] = {
    "normal": Population(NUMERIC, lambda z: z, lambda x: x),
    "normal, spread": Population(NUMERIC, lambda z: z, lambda x: x, spread=True),
    "lognormal": Population(NUMERIC, lambda z: np.exp(1.5 * z), lambda x: np.log(np.maximum(x, 1e-300)) / 1.5),
    "zeros and lognormal": Population(NUMERIC[:4], _zeros, _zeros_below),
    "Poisson(2)": Population(NUMERIC[:4], _poisson, _poisson_below),
    "2 categories": Population(CATEGORICAL, *_cut([0.7, 0.3])),
    "2 categories, rare": Population(CATEGORICAL, *_cut([0.97, 0.03])),
    "5 categories": Population(CATEGORICAL, *_cut([0.4, 0.3, 0.15, 0.1, 0.05])),
    "30 categories": Population(CATEGORICAL, *_cut([s / sum(ZIPF) for s in ZIPF])),
    "sparse categories": Population(("new",), *_cut(SPARSE)),
    "no missing": Population(("missing",), lambda z: z, lambda x: x),
    "3 % missing": Population(("missing",), lambda z: z, lambda x: x),
    "30 % missing": Population(("missing",), lambda z: z, lambda x: x),
}
MISSING = {"no missing": 0.0, "3 % missing": 0.03, "30 % missing": 0.3}
CLUSTERED = ("normal", "normal, spread", "zeros and lognormal", "Poisson(2)", "2 categories", "30 categories")
CLUSTERED += ("2 categories, rare", "3 % missing", "sparse categories")


# ------------------------------------------------------------------ rows


@dataclass(frozen=True)
class Setting:
    """How many rows, and how they hang together.

    Attributes:
        rows: Of the reference and of production.
        units: Of the reference and of production, or None for independent rows.
        shared: Whether production has the first of the reference's units.
    """

    rows: tuple[int, int]
    units: tuple[int, int] | None = None
    shared: bool = False


SETTINGS = {
    f"{m:,} : {n:,}": Setting((m, n))
    for m, n in [
        *((50, 50), (50, 500), (50, 5000), (500, 50), (500, 500), (500, 5000)),
        *((5000, 50), (5000, 500), (5000, 5000), (50_000, 50), (50_000, 500), (50_000, 5000)),
    ]
} | {
    "64 × 10 : 64 × 10": Setting((640, 640), (64, 64)),
    "64 × 10 : the same": Setting((640, 640), (64, 64), shared=True),
    "64 × 50 : 64 × 50": Setting((3200, 3200), (64, 64)),
    "64 × 50 : the same": Setting((3200, 3200), (64, 64), shared=True),
    "1,000 × 10 : 64 × 10": Setting((10_000, 640), (1000, 64)),
    "1,000 × 10 : 64 of them × 10": Setting((10_000, 640), (1000, 64), shared=True),
    "64 × 50 : 1,000 × 10": Setting((3200, 10_000), (64, 1000)),
    "1,000 × 20 : 1,000 × 5": Setting((20_000, 5000), (1000, 1000)),
    "1,000 × 20 : the same × 5": Setting((20_000, 5000), (1000, 1000), shared=True),
}


@dataclass(frozen=True)
class Rows:
    """Normal variates of the rows of both tables, and their buckets."""

    first: Floats
    second: Floats
    buckets: tuple[Ints | None, Ints | None]


def draw_rows(rng: np.random.Generator, setting: Setting) -> Rows:
    m, n = setting.rows
    if setting.units is None:
        return Rows(rng.normal(size=m), rng.normal(size=n), (None, None))
    effect = rng.normal(size=setting.units[0])
    bucket = rng.integers(0, 64, setting.units[0])
    out = []
    for size, units in zip(setting.rows, setting.units, strict=True):
        if out and not setting.shared:
            effect, bucket = rng.normal(size=units), rng.integers(0, 64, units)
        # Sizes of units differ: a gamma with shape 2 makes one in ten units four times another.
        weight = rng.gamma(2.0, size=units)
        unit = np.searchsorted(np.cumsum(weight / weight.sum()), rng.random(size)).clip(0, units - 1)
        z = math.sqrt(ICC) * effect[unit] + math.sqrt(1 - ICC) * rng.normal(size=size)
        out.append((z, bucket[unit]))
    return Rows(out[0][0], out[1][0], (out[0][1], out[1][1]))


def draw_reference(population: str, rows: Rows) -> ColumnCounts:
    p = POPULATIONS[population]
    if p.effects == ("missing",):
        gone = rows.first <= special.ndtri(MISSING[population])
        return numeric_counts(
            "x", np.where(gone, np.nan, 0.0), NumericBins((0.0,), True, 0.0, 0.0, 0.0), rows.buckets[0]
        )
    if p.names is None:
        return numeric_reference("x", p.value(rows.first), rows.buckets[0])
    return category_reference("x", p.value(rows.first), (*p.names, "never seen"), rows.buckets[0])


def draw_production(population: str, rows: Rows, theta: float, effect: str, reference: ColumnCounts) -> ColumnCounts:
    p, bins, bucket = POPULATIONS[population], reference.bins, rows.buckets[1]
    z = rows.second
    if isinstance(bins, CategoryBins):
        assert p.names is not None
        codes = p.value(z if effect == "new" else p.moved(z, theta))
        if effect == "new" and theta > 0:
            codes = np.where(z > special.ndtri(1 - theta), len(p.names), codes)
        return category_counts("x", codes, (*p.names, "never seen"), bins, bucket)
    assert isinstance(bins, NumericBins)
    if effect == "missing":
        x = np.where(z <= special.ndtri(MISSING[population] + theta), np.nan, 0.0)
    elif effect == "range":
        # The highest rows of the variate leave the range, so that units do it together.
        x = np.asarray(p.value(z), dtype=np.float64)
        x = np.where(z > special.ndtri(1 - theta), bins.high + 1, x) if theta > 0 else x
    else:
        x = np.asarray(p.value(p.moved(z, theta)), dtype=np.float64)
    return numeric_counts("x", x, bins, bucket)


# ------------------------------------------------------------------ the truth


def distance_between(key: str, p: Floats, q: Floats, lengths: Floats | None) -> float:
    """The distance of two known distributions over bins, as the check defines it."""
    keep = (p > 0) | (q > 0)
    if key == "psi":
        a, b = np.maximum(p[keep], 1e-300), np.maximum(q[keep], 1e-300)
        return float(((b - a) * np.log(b / a)).sum())
    if key == "js":
        middle = (p + q) / 2
        nats = (special.xlogy(p, p) + special.xlogy(q, q) - 2 * special.xlogy(middle, middle)).sum() / 2
        return math.sqrt(max(float(nats), 0.0) / math.log(2))
    change = np.cumsum(q - p)[:-1] if key in {"ks", "wasserstein"} else q - p
    if key == "wasserstein":
        assert lengths is not None
        return float(lengths @ np.abs(change))
    return float(np.abs(change).max()) if change.size else 0.0


def true_shares(population: str, bins: NumericBins | CategoryBins, theta: float) -> Floats:
    p = POPULATIONS[population]
    if isinstance(bins, NumericBins):
        return np.diff(np.concatenate([[0.0], p.cdf(np.array(bins.edges), theta), [1.0]]))
    assert p.names is not None
    known = dict(zip(p.names, p.shares(theta), strict=True))
    seen = np.array([known[v] for v in bins.values])
    return np.append(seen, max(1.0 - seen.sum(), 0.0))


def grouping(key: str, a: ColumnCounts, b: ColumnCounts) -> Ints | None:
    """The groups of bins that the check compares, made from the same counts."""
    fine = distances.pair(a.counts, b.counts)
    least = distances.LEAST_EXPECTED / min(fine.m, fine.n)
    if a.kind == "category":
        return distances.merge_rare(fine.pooled, least, drift.most_categories(fine.df), ordered=False)
    if key in {"psi", "js"}:
        return distances.merge_rare(fine.pooled, least, drift.GROUPS, ordered=True)
    return None


def truth_of(key: str, population: str, a: ColumnCounts, b: ColumnCounts, d: Distance, theta: float) -> float:
    assert a.bins is not None
    p, q = true_shares(population, a.bins, 0.0), true_shares(population, a.bins, theta)
    groups = grouping(key, a, b)
    if groups is not None:
        p, q = np.bincount(groups, p), np.bincount(groups, q)
    return distance_between(key, p, q, d.spacing)


@cache
def theta_for(population: str, key: str, effect: float) -> float:
    """How far production moves so that the distance on the population's own bins is `effect`."""
    if effect == 0 or key in SHARES:
        return effect
    p = POPULATIONS[population]
    if p.names is None:
        z = special.ndtri((np.arange(50_000) + 0.5) / 50_000)
        reference = numeric_reference("x", np.asarray(p.value(z), dtype=np.float64))
        bins: NumericBins | CategoryBins = reference.bins  # type: ignore[assignment]
    else:
        bins = CategoryBins(p.names, True, 0, len(p.names))
    before = true_shares(population, bins, 0.0)
    groups = None
    if key in {"psi", "js"} and isinstance(bins, NumericBins):
        groups = distances.merge_rare(before, 1e-4, drift.GROUPS, ordered=True)
    lengths = spacing(bins) if isinstance(bins, NumericBins) else None

    def at(theta: float) -> float:
        x, y = before, true_shares(population, bins, theta)
        if groups is not None:
            x, y = np.bincount(groups, x), np.bincount(groups, y)
        return distance_between(key, x, y, lengths)

    low, high = 0.0, 3.0
    for _ in range(50):
        middle = (low + high) / 2
        low, high = (middle, high) if at(middle) < effect else (low, middle)
    return high


def true_share(key: str, population: str, a: ColumnCounts, theta: float) -> float:
    """Missing: the rise. New and range: what production has beyond what the same range or list left out anyway."""
    if key == "missing":
        return theta
    p = POPULATIONS[population]
    if key == "new":
        # The rows that turn into the new category are the highest; those of them that were unseen anyway count once.
        assert isinstance(a.bins, CategoryBins)
        assert p.names is not None
        codes = {v: j for j, v in enumerate(p.names)}
        seen = np.zeros(len(p.names), dtype=bool)
        seen[[codes[v] for v in a.bins.values]] = True
        edges = np.concatenate([[0.0], p.cdf(np.arange(len(p.names)), 0.0)])
        kept = np.minimum(edges, 1 - theta)
        return theta + float(np.diff(kept)[~seen].sum()) - float(np.diff(edges)[~seen].sum())
    assert isinstance(a.bins, NumericBins)
    _, high = p.cdf(np.array([a.bins.low, a.bins.high]), 0.0)
    return float(max(theta, 1 - high)) - float(1 - high)


# ------------------------------------------------------------------ misses


def measure(key: str, a: ColumnCounts, b: ColumnCounts) -> Estimate | Distance | None:
    """One effect as the check measures it; None where it says that there is too little."""
    if key == "missing":
        rows = tuple(c.counts.sum(axis=1) + c.missing for c in (a, b))
        return drift._missing(a, b, (rows[0], rows[1]))[0]
    if drift._too_little(a, b):
        return None
    if key in SHARES:
        return (drift._new if key == "new" else drift._range)(a, b)[0]
    fine = distances.pair(a.counts, b.counts)
    if np.count_nonzero(fine.pooled) == 1:
        return None
    groups = grouping(key, a, b)
    both = fine if groups is None else fine.grouped(groups)
    if both.p.size == 1:
        return None
    if key == "wasserstein":
        assert isinstance(a.bins, NumericBins)
        if a.bins.scale == 0:
            return None
        return distances.wasserstein(both, np.array(a.bins.edges), a.bins.scale)
    return BUILD[key](both)


BUILD = {
    "psi": distances.psi,
    "js": distances.jensen_shannon,
    "ks": distances.kolmogorov_smirnov,
    "linf": distances.l_infinity,
}


def judge(e: Estimate | Distance, truth: float, margin: float) -> dict[str, int]:
    """Where the ends of the interval lie, at every error rate."""
    out = {"draws": 1}
    if isinstance(e, Distance):
        typical = e.model.seeing(max(e.model.observed, e.model.null_quantile(0.5)))
        tails = {x: (e.model.upper(x), typical.lower(x)) for x in {truth, margin}}
        for alpha in ALPHAS:
            out[f"low {alpha}"] = int(tails[truth][0] < alpha and e.value > truth)
            out[f"high {alpha}"] = int(tails[truth][1] <= alpha and e.value < truth)
        out["alarm"] = int(tails[margin][0] < ALPHAS[0] and e.value > margin)
        out["ok"] = int(tails[margin][1] <= ALPHAS[0] and e.value <= margin)
        return out
    assert e.interval is not None
    for alpha in ALPHAS:
        low, high = e.interval(alpha, alpha)
        out[f"low {alpha}"], out[f"high {alpha}"] = int(low > truth + 1e-12), int(high < truth - 1e-12)
        if alpha == ALPHAS[0]:
            verdict = verdict_of(low, high, margin, "up").value
    return out | {"alarm": int(verdict == "alarm"), "ok": int(verdict == "ok")}


def verify(key: str, a: ColumnCounts, b: ColumnCounts, d: Distance, truth: float) -> None:
    """The check must come to the same interval, and its ends must tell the same as the tail functions."""
    checked = next(e for e in drift._distribution(a, b) if e.kind.key == key)
    assert checked.interval is not None
    for alpha in ALPHAS:
        low, high = d.interval(alpha, alpha)
        assert checked.interval(alpha, alpha) == (low, high), key
        told = judge(d, truth, 1.0)
        if abs(low - truth) > 1e-8:
            assert (low > truth) == bool(told[f"low {alpha}"]), (d.kind, "low", alpha, low, truth, d.value)
        if abs(high - truth) > 1e-8 and truth > 0:
            assert (high < truth) == bool(told[f"high {alpha}"]), (d.kind, "high", alpha, high, truth, d.value)


def do(task: Task) -> dict[str, dict[str, int]]:
    rng = seed_of(task)
    population, setting = task["population"], SETTINGS[task["setting"]]
    out: dict[str, dict[str, int]] = {}
    for repeat in range(task["repeats"]):
        rows = draw_rows(rng, setting)
        a = draw_reference(population, rows)
        for multiple in MULTIPLES:
            for key in task["effects"]:
                theta = theta_for(population, key, multiple * MARGIN[key])
                b = draw_production(population, rows, theta, key, a)
                cell = out.setdefault(f"{key}|{multiple}", {})
                e = measure(key, a, b)
                if e is None:
                    cell["nothing"] = cell.get("nothing", 0) + 1
                    continue
                if isinstance(e, Distance):
                    truth = truth_of(key, population, a, b, e, theta)
                    if repeat == 0 and task["block"] == 0:
                        verify(key, a, b, e, truth)
                else:
                    truth = true_share(key, population, a, theta)
                for name, count in judge(e, truth, MARGIN[key]).items():
                    cell[name] = cell.get(name, 0) + count
    return out


# ------------------------------------------------------------------ the study


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("--only", default="", help="effects, separated by commas")
    parser.add_argument("--rows", choices=("independent", "clustered", "both"), default="both")
    given = parser.parse_args()
    repeats = given.repeats or (50 if given.quick else 1000)
    only = set(filter(None, given.only.split(",")))
    tasks = []
    for name, setting in SETTINGS.items():
        kind = "independent" if setting.units is None else "clustered"
        if given.rows not in {kind, "both"}:
            continue
        for population, p in POPULATIONS.items():
            effects = [e for e in p.effects if not only or e in only]
            if not effects or (kind == "clustered" and population not in CLUSTERED):
                continue
            for block, size in blocks(repeats, BLOCK):
                tasks.append(
                    {
                        **{"population": population, "setting": name, "effects": effects},
                        **{"block": block, "repeats": size, "seed": given.seed},
                    }
                )
    found: dict[tuple[str, str, str], dict[str, int]] = {}
    groups: dict[tuple[str, str], list[Any]] = {}
    for task, result in work("coverage", tasks, do, given.jobs):
        groups.setdefault((task["population"], task["setting"]), []).append(result)
    for (population, setting), results in groups.items():
        for key, cell in add_up(results).items():
            found[population, setting, key] = cell
    text = report(found, repeats)
    print(text)
    if given.markdown is not None:
        given.markdown.write_text(text + "\n", encoding="utf-8")


def report(found: dict[tuple[str, str, str], dict[str, int]], repeats: int) -> str:
    parts = []
    limit = most_hits(0.05, repeats, 0.001)
    parts.append(
        f"One-sided errors in %, promised 5 and 0.05; beyond {100 * limit:.1f} of {repeats} draws lies chance (.001)."
    )
    head = [
        "effect, column, rows",
        "low at 0",
        "½",
        "1",
        "2",
        "high at ½",
        "1",
        "2",
        "ok at 0",
        "alarm at 2",
        "no value",
    ]
    for structure, chosen in (("Independent rows", None), ("Rows in units", True)):
        rows = []
        for effect in (*SHAPES, *SHARES):
            for population in POPULATIONS:
                for setting in SETTINGS:
                    if (SETTINGS[setting].units is not None) != bool(chosen):
                        continue
                    cells = [found.get((population, setting, f"{effect}|{m}")) for m in MULTIPLES]
                    if not any(c and c.get("draws") for c in cells):
                        continue
                    low = [_rate(c, "low 0.05") for c in cells]
                    high = [_rate(c, "high 0.05") for c in cells[1:]]
                    marked = [
                        f"**{per_cent(x)}**" if x is not None and x > limit else per_cent(x) for x in [*low, *high]
                    ]
                    nothing = sum((c or {}).get("nothing", 0) for c in cells) / (4 * repeats)
                    power = [_rate(cells[0], "ok"), _rate(cells[3], "alarm")]
                    rows.append([f"{effect}, {population}, {setting}", *marked, *map(per_cent, [*power, nothing])])
        if rows:
            parts += [f"\n## {structure}\n", markdown(head, rows)]
    parts += ["\n## At .0005, all columns together\n", far(found)]
    return "\n".join(parts)


def far(found: dict[tuple[str, str, str], dict[str, int]]) -> str:
    """Errors at the small rate, in units of that rate."""
    rows = []
    for effect in (*SHAPES, *SHARES):
        for setting in SETTINGS:
            cells = [[c for (_, s, k), c in found.items() if s == setting and k == f"{effect}|{m}"] for m in MULTIPLES]
            if not any(cells):
                continue
            line = [f"{effect}, {setting}"]
            for side in ("low", "high"):
                for group in cells[0 if side == "low" else 1 :]:
                    draws = sum(c.get("draws", 0) for c in group)
                    misses = sum(c.get(f"{side} 0.0005", 0) for c in group)
                    line.append(f"{misses / draws / 0.0005:.1f} ({misses})" if draws else "–")
            rows.append(line)
    head = ["errors in units of .0005 (count)", "low at 0", "½", "1", "2", "high at ½", "1", "2"]
    return markdown(head, rows)


def _rate(cell: dict[str, int] | None, name: str) -> float | None:
    return cell[name] / cell["draws"] if cell and cell.get("draws") else None


if __name__ == "__main__":
    main()
