"""Do the intervals of the metric check keep their promise? Each end on its own, at four true effects.

Draws pairs of tables with a known change of one metric (none, half the margin, the margin, twice the
margin), lets the check estimate it, and counts how often each end of the interval misses the truth.
Rows are independent, or come in units (ICC 0.1) that the two tables do not share, or share. At the
margin itself, a miss of the low end is a false alarm. Beside it stands the power: how often no change
is found `ok`, and twice the margin is an `alarm`.

    python studies/coverage_metrics.py [--repeats 1000] [--quick] [--json FILE] [--only auc,f1]
"""

from __future__ import annotations

import argparse
import json
import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import special

from afterlaunch.checks.evidence import Evidence, Task
from afterlaunch.checks.metric import CHECK
from afterlaunch.decide import Estimate, verdict_of
from afterlaunch.profile.types import MetricCounts
from afterlaunch.roles import Roles
from afterlaunch.stats import losses
from afterlaunch.stats.calibration import BINS, LEAST_ROWS, equal_mass

Floats = NDArray[np.float64]
ICC = 0.1
GROUPS = 64
CELLS = 512
BASE, SLOPE = 0.2, 1.5
MULTIPLES = (0.0, 0.5, 1.0, 2.0)
STRUCTURES = ("independent", "clustered", "shared")
ALPHAS = (0.05, 0.0005)


@dataclass(frozen=True)
class Draw:
    """Random numbers of one table: rows with a bucket, and normal variates with unit effects in them."""

    rng: np.random.Generator
    bucket: NDArray[np.int64]
    unit: NDArray[np.int64] | None
    effects: Floats | None

    def normal(self, which: int) -> Floats:
        e = self.rng.normal(size=self.bucket.size)
        if self.unit is None or self.effects is None:
            return e
        return math.sqrt(ICC) * self.effects[which, self.unit] + math.sqrt(1 - ICC) * e


@dataclass(frozen=True)
class Case:
    """One metric: how to draw a table with change `theta`, and the metric's true value then."""

    kind: str
    task: Task
    draw: Callable[[Draw, float], MetricCounts]
    truth: Callable[[float, int], float]
    most: float
    relative: bool = False
    scale: float = 1.0

    def effect(self, theta: float, rows: tuple[int, int]) -> float:
        a, b = self.truth(0.0, rows[0]), self.truth(theta, rows[1])
        return b / a - 1 if self.relative else (b - a) / self.scale

    def solve(self, target: float, rows: tuple[int, int]) -> float:
        """The theta whose effect is closest to `target` in the bad direction."""
        low, high = 0.0, self.most
        if target == 0:
            return 0.0
        for _ in range(60):
            middle = (low + high) / 2
            low, high = (middle, high) if abs(self.effect(middle, rows)) < target else (low, middle)
        return (low + high) / 2


def per_bucket(bucket: NDArray[np.int64], x: Floats) -> Floats:
    return np.bincount(bucket, weights=x, minlength=GROUPS)


def moment(bucket: NDArray[np.int64], x: Floats) -> Floats:
    return np.stack([per_bucket(bucket, np.ones(x.size)), per_bucket(bucket, x)], axis=-1)


def table(bucket: NDArray[np.int64], **more: Any) -> MetricCounts:
    rows = np.bincount(bucket, minlength=GROUPS)
    none = np.zeros(GROUPS, dtype=np.int64)
    return MetricCounts(rows=rows, unmatched=none, without_outcome=none, **more)


# ------------------------------------------------------------------ two classes


def binary(name: str) -> tuple[Callable[[Draw, float], MetricCounts], Callable[[float, int], float]]:
    """Binormal scores: raw | y ~ N(slope · y, 1); the model believes in SLOPE and BASE."""

    def model(raw: Floats, theta: float) -> Floats:
        shift = theta if name == "calibration" else 0.0
        return np.asarray(special.expit(special.logit(BASE) - SLOPE**2 / 2 + SLOPE * raw + shift))

    def slope(theta: float) -> float:
        return SLOPE if name == "calibration" else SLOPE * (1 - theta)

    def draw(d: Draw, theta: float) -> MetricCounts:
        y = (d.normal(0) > -special.ndtri(BASE)).astype(np.float64)
        s = model(slope(theta) * y + d.normal(1), theta)
        by_class = np.stack([per_bucket(d.bucket, 1 - y), per_bucket(d.bucket, y)], axis=-1).astype(np.int64)
        more: dict[str, Any] = {"class_rows": by_class, "classes": ("0", "1")}
        if name in {"auc", "calibration"}:
            cell = np.minimum((special.ndtr(special.logit(s) / 2 + 0.7) * CELLS).astype(np.int64), CELLS - 1)
            index = (d.bucket * 2 + y.astype(np.int64)) * CELLS + cell
            h = np.bincount(index, minlength=GROUPS * 2 * CELLS).reshape(GROUPS, 2, CELLS)
            sums = np.bincount(d.bucket * CELLS + cell, weights=s, minlength=GROUPS * CELLS).reshape(GROUPS, CELLS)
            if name == "auc":
                sums = None
            return table(d.bucket, histogram=h.astype(np.float64), score_sums=sums, **more)
        if name in {"accuracy", "f1"}:
            index = (d.bucket * 2 + y.astype(np.int64)) * 2 + (s >= 0.5)
            return table(
                d.bucket, confusion=np.bincount(index, minlength=GROUPS * 4).reshape(GROUPS, 2, 2) * 1.0, **more
            )
        x = losses.log_loss(s, y) if name == "log_loss" else losses.brier(s, y)
        return table(d.bucket, moments={name: moment(d.bucket, x)}, **more)

    grid = special.ndtri((np.arange(40_000) + 0.5) / 40_000)

    @cache
    def truth(theta: float, rows: int) -> float:
        raw = [grid, grid + slope(theta)]
        weight = [1 - BASE, BASE]
        if name == "auc":
            return float(special.ndtr(slope(theta) / math.sqrt(2)))
        scores = [model(r, theta) for r in raw]
        if name in {"accuracy", "f1"}:
            tp, fp = weight[1] * float((scores[1] >= 0.5).mean()), weight[0] * float((scores[0] >= 0.5).mean())
            return 2 * tp / (tp + fp + weight[1]) if name == "f1" else tp + weight[0] - fp
        if name == "calibration":
            s, y = np.concatenate(scores), np.repeat([0.0, 1.0], grid.size)
            w = np.repeat(weight, grid.size) / grid.size
            order = np.argsort(s)
            s, y, w = s[order], y[order], w[order]
            group = equal_mass(w, int(min(BINS, max(1, rows // LEAST_ROWS))))
            mass = np.bincount(group, w)
            gap = np.bincount(group, w * (y - s)) / mass
            return float(np.sqrt((mass * gap**2).sum()))
        loss = losses.log_loss if name == "log_loss" else losses.brier
        return float(
            sum(w * loss(s, np.full(s.size, k)).mean() for k, (w, s) in enumerate(zip(weight, scores, strict=True)))
        )

    return draw, truth


# ------------------------------------------------------------------ several classes, numbers, lists

SHARES = np.array([0.6, 0.25, 0.15])
RIGHT = np.array([0.9, 0.8, 0.7])


def draw_classes(d: Draw, theta: float) -> MetricCounts:
    y = np.searchsorted(np.cumsum(SHARES)[:-1], special.ndtr(d.normal(0)))
    p = np.where(special.ndtr(d.normal(1)) < RIGHT[y] - theta, y, (y + 1) % 3)
    cells = np.bincount((d.bucket * 4 + y) * 4 + p, minlength=GROUPS * 16).reshape(GROUPS, 4, 4)
    return table(d.bucket, confusion=cells * 1.0, class_rows=cells.sum(axis=2), classes=("a", "b", "c", "(other)"))


def true_macro_f1(theta: float, rows: int) -> float:
    c = np.diag(SHARES * (RIGHT - theta)) + np.roll(np.diag(SHARES * (1 - RIGHT + theta)), 1, axis=1)
    return float((2 * np.diag(c) / (c.sum(axis=0) + c.sum(axis=1))).mean())


def draw_errors(name: str) -> Callable[[Draw, float], MetricCounts]:
    part = {"rmse": "squared", "mae": "absolute", "bias": "error"}[name]

    def draw(d: Draw, theta: float) -> MetricCounts:
        e = d.normal(0) * (1 if name == "bias" else 1 + theta) + (theta if name == "bias" else 0.0)
        x = {"squared": e**2, "absolute": np.abs(e), "error": e}
        found = {part: moment(d.bucket, x[part])} | (
            {"squared": moment(d.bucket, x["squared"])} if name == "bias" else {}
        )
        return table(d.bucket, moments=found)

    return draw


ITEMS = 8


def one_list(name: str, noise: Floats, chance: Floats) -> Floats:
    """NDCG@5 or reciprocal rank of lists, shapes (n, ITEMS); items are shown in columns' order of score."""
    order = np.argsort(-noise, axis=1)
    gain = np.take_along_axis(chance, order, axis=1)
    if name == "mrr":
        first = np.argmax(gain > 0, axis=1)
        return np.where(gain.any(axis=1), 1 / (first + 1), 0.0)
    discount = np.where(np.arange(ITEMS) < 5, 1 / np.log2(np.arange(2, ITEMS + 2)), 0.0)
    best = np.sort(gain, axis=1)[:, ::-1] @ discount
    return np.where(best > 0, (gain @ discount) / np.where(best > 0, best, 1), np.nan)


def lists(name: str, rng: np.random.Generator, shared: Floats, theta: float) -> Floats:
    """A list has one attractive item on average; the score sees it through noise that grows with theta."""
    relevant = (rng.random((shared.size, ITEMS)) < 0.2).astype(np.float64)
    score = relevant * 1.5 * (1 + 0.5 * shared[:, None]) + (1 + theta) * rng.normal(size=relevant.shape)
    return one_list(name, score, relevant)


def draw_lists(name: str) -> Callable[[Draw, float], MetricCounts]:
    def draw(d: Draw, theta: float) -> MetricCounts:
        x = lists(name, d.rng, d.normal(0), theta)
        ok = np.isfinite(x)
        return table(d.bucket, moments={name: moment(d.bucket[ok], x[ok])})

    return draw


def true_lists(name: str) -> Callable[[float, int], float]:
    @cache
    def curve() -> np.polynomial.Polynomial:
        """The mean of 400,000 lists by theta, the same random numbers at every theta."""
        grid = np.linspace(0, 1, 9)
        means = []
        for theta in grid:
            rng = np.random.default_rng(7)
            parts = [lists(name, rng, rng.normal(size=100_000), float(theta)) for _ in range(4)]
            means.append(float(np.nanmean(np.concatenate(parts))))
        return np.polynomial.Polynomial.fit(grid, means, 5)

    return lambda theta, _: float(curve()(theta))


def absolute_mean(theta: float, rows: int) -> float:
    return (1 + theta) * math.sqrt(2 / math.pi)


CASES = [
    Case("auc", "binary", *binary("auc"), most=0.9),
    Case("log_loss", "binary", *binary("log_loss"), most=0.9, relative=True),
    Case("brier", "binary", *binary("brier"), most=0.9, relative=True),
    Case("calibration", "binary", *binary("calibration"), most=3.0),
    Case("accuracy", "binary", *binary("accuracy"), most=0.9),
    Case("f1", "binary", *binary("f1"), most=0.9),
    Case("macro_f1", "multiclass", draw_classes, true_macro_f1, most=0.5),
    Case("rmse", "regression", draw_errors("rmse"), lambda theta, _: 1 + theta, most=2.0, relative=True),
    Case("mae", "regression", draw_errors("mae"), absolute_mean, most=2.0, relative=True),
    Case("bias", "regression", draw_errors("bias"), lambda theta, _: theta, most=2.0),
    Case("ndcg", "ranking", draw_lists("ndcg"), true_lists("ndcg"), most=1.0),
    Case("mrr", "ranking", draw_lists("mrr"), true_lists("mrr"), most=1.0),
]


def pair(rng: np.random.Generator, rows: tuple[int, int], structure: str) -> tuple[Draw, Draw]:
    """Random numbers for both tables; clustered rows come about four to a unit, in 64 units or more."""
    if structure == "independent":
        return tuple(Draw(rng, np.arange(n) % GROUPS, None, None) for n in rows)  # type: ignore[return-value]
    out = []
    bucket, effects = None, None
    for n in rows:
        units = max(64, min(rows) // 4)
        if bucket is None or effects is None or structure == "clustered":
            bucket, effects = rng.integers(0, GROUPS, units), rng.normal(size=(2, units))
        unit = rng.integers(0, units, n)
        out.append(Draw(rng, bucket[unit], unit, effects))
    return out[0], out[1]


def estimate(case: Case, rng: np.random.Generator, rows: tuple[int, int], structure: str, theta: float) -> Estimate:
    first, second = pair(rng, rows, structure)
    roles = Roles(unit=None if structure == "independent" else "unit", outcome="y", prediction="p")
    evidence = Evidence(
        roles=roles,
        task=case.task,
        metric_reference={"": case.draw(first, 0.0)},
        metric_production={"": case.draw(second, theta)},
    )
    return next(e for e in CHECK.run(evidence) if e.kind.key == case.kind)


def run(case: Case, rows: tuple[int, int], structure: str, multiple: float, repeats: int, seed: int) -> dict[str, Any]:
    """Misses of each end, and verdicts, over `repeats` pairs of tables."""
    kind = CHECK.kind(case.kind)
    theta = case.solve(multiple * kind.margin, rows)
    truth = case.effect(theta, rows)
    key = [seed, CASES.index(case), *rows, STRUCTURES.index(structure), int(multiple * 2)]
    rng = np.random.default_rng(key)
    misses = {a: [0, 0] for a in ALPHAS}
    verdicts = {"ok": 0, "alarm": 0, "undecided": 0, "nothing": 0}
    need = []
    for _ in range(repeats):
        e = estimate(case, rng, rows, structure, theta)
        if e.interval is None:
            verdicts["nothing"] += 1
            continue
        for alpha in ALPHAS:
            low, high = e.interval(alpha, alpha)
            misses[alpha][0] += low > truth
            misses[alpha][1] += high < truth
        low, high = e.interval(0.05, 0.05)
        verdicts[verdict_of(low, high, kind.margin, kind.direction).value] += 1
        if multiple == 0 and e.rows_needed is not None and len(need) < 50:
            need.append(e.rows_needed(kind.margin, 0.05) or math.inf)
    done = max(repeats - verdicts["nothing"], 1)
    return {
        "metric": case.kind,
        "structure": structure,
        "rows": rows,
        "effect": truth,
        "in_margins": multiple,
        "repeats": repeats,
        "low_misses": {str(a): m[0] / done for a, m in misses.items()},
        "high_misses": {str(a): m[1] / done for a, m in misses.items()},
        "rows_needed": None if not need or math.isinf(np.median(need)) else int(np.median(need)),
        **{name: count / repeats for name, count in verdicts.items()},
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=1000)
    parser.add_argument("--quick", action="store_true", help="200 repeats of the smallest size")
    parser.add_argument("--json", type=Path, default=None)
    parser.add_argument("--only", default="", help="metrics, separated by commas")
    parser.add_argument("--seed", type=int, default=1)
    given = parser.parse_args()
    repeats = 200 if given.quick else given.repeats
    sizes = [(1000, 250)] if given.quick else [(1000, 250), (4000, 1000), (4000, 8000)]
    wanted = set(filter(None, given.only.split(",")))
    started, results = time.perf_counter(), []
    print("one-sided misses in %, promised 5 and 0.05; verdicts in %")
    print(
        f"{'metric':12}{'rows':>12} {'structure':12}{'margins':>8}{'low':>7}{'high':>7}"
        f"{'low.05':>8}{'high.05':>8}{'ok':>6}{'alarm':>7}{'none':>6}{'needed':>8}"
    )
    for case in CASES:
        if wanted and case.kind not in wanted:
            continue
        for rows in sizes:
            for structure in STRUCTURES:
                for multiple in MULTIPLES:
                    r = run(case, rows, structure, multiple, repeats, given.seed)
                    results.append(r)
                    low, high = r["low_misses"], r["high_misses"]
                    needed = r["rows_needed"] or "-"
                    print(
                        f"{r['metric']:12}{rows[0]:>6}{rows[1]:>6} {structure:12}{multiple:>8}"
                        f"{100 * low['0.05']:>7.1f}{100 * high['0.05']:>7.1f}"
                        f"{100 * low['0.0005']:>8.2f}{100 * high['0.0005']:>8.2f}"
                        f"{100 * r['ok']:>6.0f}{100 * r['alarm']:>7.0f}{100 * r['nothing']:>6.0f}{needed:>8}",
                        flush=True,
                    )
    print(f"{len(results)} settings of {repeats} repeats in {time.perf_counter() - started:.0f} s")
    if given.json is not None:
        given.json.write_text(json.dumps(results, indent=1), encoding="utf-8")


if __name__ == "__main__":
    main()
