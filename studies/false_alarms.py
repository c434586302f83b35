"""How often is an alarm false, and how often is a real change found, at every number of rows?

Random halves of real tables: one half is the reference, rows of the other half are production, so that
nothing has changed. Counted is the share of drift reviews with any alarm, beside the shares that are
`ok` or `undecided`, and the same for Evidently's default rules and for a plain test per column at p < .05.

Beside the false alarms stands the power. One column of production is changed by exactly twice the margin
of one effect, and found or not at the error rate that it has within the review. The yardstick is the best
fixed-size test that one could make by knowing the column: the same statistic, its critical value
simulated at the margin itself. Changes: for PSI, Jensen-Shannon, Kolmogorov-Smirnov and Wasserstein rows
with high values are drawn more often (exponential tilting of ranks); for the largest change of a share the
most frequent category is; values are lost, new categories and values out of range come in at random.

Last, the rows that an undecided finding asks for are held against the rows that it takes in simulation to
be `ok` in 80 % of draws without a change.

    python studies/false_alarms.py [--quick] [--repeats N] [--jobs J] [--data FOLDER] [--markdown FILE]
        [--part null,detection,needed] [--table NAME] [--check-evidently PYTHON]
"""

from __future__ import annotations

import json
import math
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from _common import (
    Floats,
    Ints,
    Task,
    add_up,
    arguments,
    blocks,
    category_counts,
    category_reference,
    data_folder,
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
from scipy.spatial.distance import jensenshannon

import afterlaunch
from afterlaunch.checks import Evidence, drift
from afterlaunch.decide import Estimate, Margins, decide, verdict_of
from afterlaunch.finding import Review
from afterlaunch.profile.buckets import INDEPENDENT
from afterlaunch.profile.types import CategoryBins, ColumnCounts, NumericBins, Profile
from afterlaunch.roles import Roles
from afterlaunch.stats import distances

ROWS = (30, 50, 100, 200, 500, 1000, 5000, 50_000)
MOST_REFERENCE = 50_000
ALPHA = 0.05
MARGIN = {kind.key: kind.margin for kind in drift.KINDS}
CHANGED = {
    "acs_employment_ma": ("AGEP", "SCHL"),
    "car_loan": ("car_value", "salary_range"),
    "bank_marketing": ("age", "job"),
}
NUMERIC = ("psi", "js", "ks", "wasserstein", "missing", "range")
CATEGORICAL = ("psi", "js", "linf", "missing", "new")


# ------------------------------------------------------------------ real tables


@dataclass(frozen=True)
class Column:
    """A column in memory: values with NaN for missing, or codes with −1."""

    name: str
    values: Any
    names: tuple[str, ...] = ()

    @property
    def numeric(self) -> bool:
        return not self.names

    def reference(self, rows: Ints) -> ColumnCounts:
        if self.numeric:
            return numeric_reference(self.name, self.values[rows])
        return category_reference(self.name, self.values[rows], self.names)

    def counts(self, rows: Ints, like: ColumnCounts) -> ColumnCounts:
        return count(self, self.values[rows], like)


def count(column: Column, values: Any, like: ColumnCounts) -> ColumnCounts:
    if isinstance(like.bins, NumericBins):
        return numeric_counts(column.name, values, like.bins)
    assert isinstance(like.bins, CategoryBins)
    return category_counts(column.name, values, column.names, like.bins)


def read(name: str, folder: Path) -> pl.DataFrame:
    """A whole table, without its id, its time and its late outcome."""
    if name == "bank_marketing":
        return pl.read_parquet(folder / name / "bank_additional_full.parquet")
    parts = [pl.read_parquet(folder / name / f"{part}.parquet") for part in ("reference", "analysis")]
    shared = [c for c in parts[1].columns if c in parts[0].columns and c not in {"id", "timestamp"}]
    frame = pl.concat([p.select(shared) for p in parts], how="vertical_relaxed")
    return frame.with_columns(pl.col(pl.Categorical).cast(pl.String))


@cache
def table(name: str, folder: str) -> tuple[Column, ...]:
    out = []
    for series in read(name, Path(folder)):
        if series.dtype.is_numeric():
            out.append(Column(series.name, series.cast(pl.Float64).fill_null(math.nan).to_numpy()))
            continue
        text = series.cast(pl.String).to_list()
        names = tuple(sorted({v for v in text if v is not None}))
        place = {v: j for j, v in enumerate(names)} | {None: -1}
        out.append(Column(series.name, np.array([place[v] for v in text], dtype=np.int64), names))
    return tuple(out)


def length(columns: tuple[Column, ...]) -> int:
    return int(columns[0].values.size)


# ------------------------------------------------------------------ reviews


def profile(counts: Mapping[str, ColumnCounts]) -> Profile:
    kinds = {n: c.kind for n, c in counts.items()}
    rows = next(iter(counts.values())).rows
    return Profile(INDEPENDENT, np.array([rows]), counts, kinds)


def estimates(reference: Mapping[str, ColumnCounts], production: Mapping[str, ColumnCounts]) -> list[Estimate]:
    before, after = profile(reference), profile(production)
    return drift.CHECK.run(Evidence(Roles(), None, before.kinds, after.kinds, before, after))


def review(reference: Mapping[str, ColumnCounts], production: Mapping[str, ColumnCounts]) -> Review:
    # The rows that a finding asks for take longest and decide nothing.
    found = [replace(e, rows_needed=None) for e in estimates(reference, production)]
    return Review("drift", tuple(decide(found, margins=Margins(), alpha=ALPHA, primary=("drift",))), {}, {}, ())


def verify(columns: tuple[Column, ...], first: Ints, second: Ints, ours: Review, frame: pl.DataFrame) -> None:
    """The whole path from frames must come to the same findings."""
    whole = afterlaunch.drift(frame[first], frame[second], roles=Roles(features=tuple(c.name for c in columns)))
    mine = {(f.key, f.subject): f for f in ours.findings}
    assert len(mine) == len(whole.findings), (len(mine), len(whole.findings))
    for f in whole.findings:
        other = mine[f.key, f.subject]
        assert f.verdict == other.verdict, (f, other)
        if f.effect is not None and other.effect is not None:
            ends = [(f.effect.low, other.effect.low), (f.effect.high, other.effect.high)]
            assert all(math.isclose(a, b, rel_tol=1e-9, abs_tol=1e-12) for a, b in ends), (f, other)


# ------------------------------------------------------------------ other rules


def evidently(column: Column, first: Ints, second: Ints) -> bool:
    """Evidently 0.7's default rule for one column (`_get_default_stattest` and the tests that it names)."""
    a, b = column.values[first], column.values[second]
    distinct = np.unique(np.concatenate([a, b])).size
    whole = bool(column.numeric and (column.values == np.floor(column.values)).all())
    # Whole numbers of at most ten values are taken as categories.
    numeric = column.numeric and not (whole and np.unique(a).size <= 10)
    if a.size > 1000:
        if numeric and distinct > 5:
            return bool(stats.wasserstein_distance(a, b) / max(float(np.std(a)), 0.001) >= 0.1)
        return js_of_evidently(a, b, numeric) >= 0.1
    if numeric and distinct > 5:
        return p_of_ks(a, b) <= 0.05
    keys, inverse = np.unique(np.concatenate([a, b]), return_inverse=True)
    p, q = (np.bincount(x, minlength=keys.size) for x in (inverse[: a.size], inverse[a.size :]))
    if keys.size > 2:
        expected = p * (b.size / a.size)
        with np.errstate(divide="ignore", invalid="ignore"):
            chi2 = float(np.nansum((q - expected) ** 2 / expected))
        return bool(special.chdtrc(keys.size - 1, chi2) < 0.05)
    if keys.size == 1:
        return False
    pooled = (p[1] + q[1]) / (a.size + b.size)
    se = math.sqrt(pooled * (1 - pooled) * (1 / a.size + 1 / b.size))
    return bool(2 * special.ndtr(-abs(p[1] / a.size - q[1] / b.size) / se) < 0.05)


def js_of_evidently(a: Floats, b: Floats, numeric: bool) -> float:
    if numeric and np.unique(a).size > 20:
        bins = np.histogram_bin_edges(np.concatenate([a, b]), bins="sturges")
        p, q = np.histogram(a, bins)[0], np.histogram(b, bins)[0]
    else:
        keys, inverse = np.unique(np.concatenate([a, b]), return_inverse=True)
        p, q = (np.bincount(x, minlength=keys.size) for x in (inverse[: a.size], inverse[a.size :]))
    return float(jensenshannon(p / a.size, q / b.size))


def p_of_ks(a: Floats, b: Floats) -> float:
    """Two-sample Kolmogorov-Smirnov; exact for small samples, as SciPy does it by itself, where that is quick."""
    if a.size * b.size <= 10_000:
        return float(stats.ks_2samp(a, b).pvalue)
    a, b = np.sort(a), np.sort(b)
    every = np.concatenate([a, b])
    gap = np.searchsorted(a, every, side="right") / a.size - np.searchsorted(b, every, side="right") / b.size
    return float(stats.kstwo.sf(float(np.abs(gap).max()), round(a.size * b.size / (a.size + b.size))))


def plain(column: Column, first: Ints, second: Ints) -> bool:
    """Kolmogorov-Smirnov for numbers and chi-square for categories, each at p < .05."""
    a, b = column.values[first], column.values[second]
    if column.numeric:
        return p_of_ks(a, b) < 0.05
    rows = np.stack([np.bincount(x, minlength=len(column.names)) for x in (a, b)])
    rows = rows[:, rows.sum(axis=0) > 0]
    return rows.shape[1] > 1 and bool(stats.chi2_contingency(rows, correction=False).pvalue < 0.05)


# ------------------------------------------------------------------ part 1: nothing has changed


def do_null(task: Task) -> dict[str, Any]:
    rng = seed_of(task)
    columns = table(task["table"], task["data"])
    half = length(columns) // 2
    frame = read(task["table"], Path(task["data"])) if task["block"] == 0 else None
    out: dict[str, Any] = {}
    for repeat in range(task["repeats"]):
        order = rng.permutation(length(columns))
        # In the order of the table, as the engine's sample of the reference takes them.
        whole = np.sort(order[: min(half, MOST_REFERENCE)])
        frozen = {c.name: c.reference(whole) for c in columns}
        for n in (n for n in ROWS if n <= half):
            second = np.sort(order[half : half + n])
            small = np.sort(order[:n])
            sides = {"half": (whole, frozen)}
            if n <= 5000:
                sides["same"] = (small, {c.name: c.reference(small) for c in columns})
            for side, (first, reference) in sides.items():
                production = {c.name: c.counts(second, reference[c.name]) for c in columns}
                ours = review(reference, production)
                if frame is not None and repeat == 0 and n <= 5000:
                    verify(columns, first, second, ours, frame)
                cell = out.setdefault(f"{side}|{n}", {"repeats": 0, "by": {}, "effects": 0})
                cell["repeats"] += 1
                cell["effects"] += len(ours.findings)
                cell[ours.verdict.value] = cell.get(ours.verdict.value, 0) + 1
                for f in ours.findings:
                    name = f"{f.key} {f.verdict.value}"
                    cell["by"][name] = cell["by"].get(name, 0) + 1
                    if f.verdict.value == "alarm":
                        name = f"alarm {f.key} of {f.subject}"
                        cell["by"][name] = cell["by"].get(name, 0) + 1
                for name, rule in (("evidently", evidently), ("plain", plain)):
                    flags = [rule(c, first, second) for c in columns]
                    cell[name] = cell.get(name, 0) + any(flags)
                    cell[f"{name} columns"] = cell.get(f"{name} columns", 0) + sum(flags) / len(flags)
                    cell[f"{name} half"] = cell.get(f"{name} half", 0) + (sum(flags) >= len(flags) / 2)
    return out


# ------------------------------------------------------------------ part 2: one column has changed


@dataclass(frozen=True)
class Change:
    """One column of production, changed; the whole table is the population.

    Attributes:
        column: The column as it is.
        upto: Cumulative chance of each row to be drawn; None for all alike.
        share: Share of rows whose value is replaced.
        by: What takes its place: "missing", "new" or "range".
    """

    column: Column
    upto: Floats | None = None
    share: float = 0.0
    by: str = ""

    def draw(self, rng: np.random.Generator, n: int, like: ColumnCounts) -> ColumnCounts:
        if self.upto is None:
            rows = rng.integers(0, self.column.values.size, n)
        else:
            rows = np.searchsorted(self.upto, rng.random(n), side="right").clip(0, self.upto.size - 1)
        x, column = self.column.values[rows], self.column
        if self.share > 0:
            hit = rng.random(n) < self.share
            if self.by == "missing":
                x = np.where(hit, np.nan if column.numeric else -1, x)
            elif self.by == "range":
                assert isinstance(like.bins, NumericBins)
                x = np.where(hit, like.bins.high + 1, x)
            else:
                column = replace(column, names=(*column.names, "never seen"))
                x = np.where(hit, len(column.names) - 1, x)
        return count(column, x, like)


@dataclass(frozen=True)
class World:
    """A column, its distribution over the bins that the whole table would freeze, and its changes."""

    column: Column
    whole: ColumnCounts

    @property
    def shares(self) -> Floats:
        out: Floats = self.whole.counts.sum(axis=0) / self.whole.valid
        return out

    def weights(self, key: str, theta: float) -> Floats:
        x = self.column.values
        if key == "linf" or not self.column.numeric:
            rows = np.bincount(x[x >= 0], minlength=len(self.column.names))
            top = int(np.argmax(rows))
            up = rows[top] < 0.5 * x.size
            return np.where(x == top, math.exp(theta if up else -theta), 1.0)
        order = np.argsort(x, kind="stable")
        rank = np.empty(x.size)
        rank[order] = (np.arange(x.size) + 0.5) / x.size
        return np.exp(theta * rank)

    def after(self, weight: Floats) -> Floats:
        """Shares of the bins when rows are drawn by weight."""
        x, bins = self.column.values, self.whole.bins
        if isinstance(bins, NumericBins):
            cell = np.searchsorted(np.array(bins.edges), x, side="left")
        else:
            assert isinstance(bins, CategoryBins)
            place = {v: j for j, v in enumerate(bins.values)}
            cell = np.array([place.get(v, bins.size - 1) for v in self.column.names])[x]
        assert bins is not None
        return np.bincount(cell, weight, minlength=bins.size) / weight.sum()

    def effect(self, key: str, p: Floats, q: Floats, rows: tuple[float, float]) -> Floats:
        """The plain statistic of one or many pairs of distributions over the bins, shapes (..., K)."""
        if key == "wasserstein":
            assert isinstance(self.whole.bins, NumericBins)
            return np.asarray(np.abs(np.cumsum(q - p, axis=-1))[..., :-1] @ spacing(self.whole.bins))
        if key == "ks":
            return np.asarray(np.abs(np.cumsum(q - p, axis=-1)).max(axis=-1))
        least = distances.LEAST_EXPECTED / min(rows)
        numeric = self.column.numeric
        most = drift.GROUPS if numeric else drift.CATEGORIES
        groups = distances.merge_rare(self.shares, least, most, ordered=numeric)
        member = np.eye(int(groups.max()) + 1)[groups]
        p, q = p @ member, q @ member
        if key == "linf":
            return np.asarray(np.abs(q - p).max(axis=-1))
        k = p.shape[-1]
        p, q = ((s * r + 0.5) / (r + k / 2) for s, r in zip((p, q), rows, strict=True))
        if key == "psi":
            return np.asarray(((q - p) * np.log(q / p)).sum(axis=-1))
        middle = (p + q) / 2
        nats = (p * np.log(p / middle) + q * np.log(q / middle)).sum(axis=-1) / 2
        return np.asarray(np.sqrt(np.maximum(nats, 0.0) / math.log(2)))


@cache
def world(name: str, folder: str, column: str) -> World:
    c = next(c for c in table(name, folder) if c.name == column)
    return World(c, c.reference(np.arange(c.values.size)))


@cache
def change(name: str, folder: str, column: str, key: str, size: float) -> tuple[Change, Floats | None]:
    """The change that has exactly this effect, and the shares of the bins after it."""
    w = world(name, folder, column)
    if size == 0:
        return Change(w.column), w.shares
    if key in {"missing", "new", "range"}:
        return Change(w.column, share=size, by=key), None
    many = (1e9, 1e9)
    low, high = 0.0, 30.0
    for _ in range(50):
        middle = (low + high) / 2
        reached = float(w.effect(key, w.shares, w.after(w.weights(key, middle)), many))
        low, high = (middle, high) if reached < size else (low, middle)
    weight = w.weights(key, high)
    after = w.after(weight)
    assert math.isclose(float(w.effect(key, w.shares, after, many)), size, rel_tol=0.01), (column, key)
    upto = np.cumsum(weight)
    return Change(w.column, upto / upto[-1]), after


def estimate(key: str, a: ColumnCounts, b: ColumnCounts) -> Estimate | None:
    found = estimates({a.name: a}, {b.name: b})
    return next((e for e in found if e.kind.key == key and e.interval is not None), None)


def do_detection(task: Task) -> dict[str, int]:
    rng = seed_of(task)
    w = world(task["table"], task["data"], task["column"])
    size = w.column.values.size
    m = min(size // 2, MOST_REFERENCE)
    out = {"draws": 0, "ok": 0, "alarm": 0, "undecided": 0, "false": 0}
    for _ in range(task["repeats"]):
        reference = w.column.reference(rng.integers(0, size, m))
        for multiple in (2.0, 1.0):
            made, _after = change(
                task["table"], task["data"], task["column"], task["effect"], multiple * MARGIN[task["effect"]]
            )
            e = estimate(task["effect"], reference, made.draw(rng, task["n"], reference))
            verdict = "undecided"
            if e is not None and e.interval is not None:
                low, high = e.interval(task["alpha_each"], ALPHA)
                verdict = verdict_of(low, high, MARGIN[task["effect"]], "up").value
            if multiple == 2.0:
                out["draws"] += 1
                out[verdict] += 1
            else:
                out["false"] += verdict == "alarm"
    return out


def do_best(task: Task) -> dict[str, float]:
    """Power of the test whose critical value is simulated at the margin."""
    rng = seed_of(task)
    key, n, alpha, draws = task["effect"], task["n"], task["alpha_each"], task["draws"]
    margin = MARGIN[key]
    w = world(task["table"], task["data"], task["column"])
    m = min(w.column.values.size // 2, MOST_REFERENCE)
    if key in {"missing", "new", "range"}:
        # Rows that have it, less the share of the reference's; out of range is what lies beyond its extremes.
        p = w.whole.missing.sum() / w.column.values.size if key == "missing" else 0.0
        base = rng.beta(2, m - 1, draws) if key == "range" else np.full(draws, p)
        seen = (
            rng.binomial(m, p, draws) / m
            if key == "missing"
            else np.full(draws, 2 / (m + 1) if key == "range" else 0.0)
        )
        at = [rng.binomial(n, base + (1 - base) * k * margin) / n - seen for k in (1, 2)]
        critical = np.sort(at[0])[::-1][int(alpha * draws)]
        return {"power": float((at[1] > critical).mean())}
    found = []
    for multiple in (1.0, 2.0):
        _, q = change(task["table"], task["data"], task["column"], key, multiple * margin)
        assert q is not None
        statistic = []
        for _ in range(math.ceil(draws / 10_000)):
            a, b = rng.multinomial(m, w.shares, 10_000) / m, rng.multinomial(n, q, 10_000) / n
            statistic.append(w.effect(key, a, b, (m, n)))
        found.append(np.concatenate(statistic))
    critical = np.sort(found[0])[::-1][int(alpha * found[0].size)]
    return {"power": float((found[1] > critical).mean())}


# ------------------------------------------------------------------ part 3: rows needed


def do_needed(task: Task) -> dict[str, Any]:
    """Rows that take `ok` to 80 % of draws, and what findings at a third of them say."""
    rng = seed_of(task)
    key, margin = task["effect"], MARGIN[task["effect"]]
    w = world(task["table"], task["data"], task["column"])
    same, _ = change(task["table"], task["data"], task["column"], key, 0.0)
    size = w.column.values.size
    m = min(size // 2, MOST_REFERENCE)
    references = [w.column.reference(rng.integers(0, size, m)) for _ in range(20)]

    def decided(n: int) -> float:
        hits = 0
        for i in range(task["draws"]):
            reference = references[i % len(references)]
            e = estimate(key, reference, same.draw(rng, n, reference))
            hits += e is not None and e.interval is not None and e.interval(ALPHA, ALPHA)[1] <= margin
        return hits / task["draws"]

    low, high = 10, 20
    while decided(high) < 0.8:
        low, high = high, high * 2
        if high > 10**6:
            return {"truth": None}
    for _ in range(6):
        middle = round(math.sqrt(low * high))
        low, high = (middle, high) if decided(middle) < 0.8 else (low, middle)
    truth = math.sqrt(low * high)
    said = []
    for i in range(60):
        reference = references[i % len(references)]
        e = estimate(key, reference, same.draw(rng, max(round(truth / 3), 10), reference))
        rows = e.rows_needed(margin, ALPHA) if e is not None and e.rows_needed is not None else None
        said.append(None if rows is None else rows / truth)
    return {"truth": truth, "ratios": said}


# ------------------------------------------------------------------ the study


def do(task: Task) -> Any:
    parts: dict[str, Callable[[Task], Any]] = {
        "null": do_null,
        "detection": do_detection,
        "best": do_best,
        "needed": do_needed,
    }
    return parts[task["part"]](task)


def main() -> int:
    parser = arguments(__doc__)
    parser.add_argument("--data", type=Path, default=None, help="folder of the real tables")
    parser.add_argument("--part", default="null,detection,needed")
    parser.add_argument("--table", default=",".join(CHANGED), help="tables, separated by commas")
    parser.add_argument("--check-evidently", metavar="PYTHON", help="hold 30 draws against Evidently itself and stop")
    given = parser.parse_args()
    folder = str(data_folder(given.data).resolve())
    names = given.table.split(",")
    if given.check_evidently:
        return check_evidently(given.check_evidently, names, folder, given.seed)
    repeats = given.repeats or (20 if given.quick else 500)
    parts, text, failed = given.part.split(","), [], []
    sizes = {name: length(table(name, folder)) // 2 for name in names}
    base = {"data": folder, "seed": given.seed}
    if "null" in parts:
        tasks = [
            {"part": "null", "table": name, "block": block, "repeats": size, **base}
            for name in names
            for block, size in blocks(repeats, 10)
        ]
        done = work("false_alarms", tasks, do, given.jobs)
        part, bad = report_null(done, names, repeats)
        text.append(part)
        failed += bad
    settings = [
        {"table": name, "column": column, "effect": effect}
        for name in names
        for column, effects in zip(CHANGED[name], (NUMERIC, CATEGORICAL), strict=True)
        for effect in effects
    ]
    if "detection" in parts:
        tasks = []
        for s in settings:
            for n in (n for n in ROWS if n <= sizes[s["table"]]):
                each = {**s, "n": n, "alpha_each": ALPHA / count_effects(s["table"], folder), **base}
                tasks += [
                    {"part": "detection", "block": block, "repeats": size, **each}
                    for block, size in blocks(repeats, 100)
                ]
                tasks.append({"part": "best", "draws": 20_000 if given.quick else 100_000, **each})
        part, bad = report_detection(work("false_alarms", tasks, do, given.jobs))
        text.append(part)
        failed += bad
    if "needed" in parts:
        tasks = [{"part": "needed", "draws": 100 if given.quick else 400, **s, **base} for s in settings]
        part, bad = report_needed(work("false_alarms", tasks, do, given.jobs))
        text.append(part)
        failed += bad
    print("\n\n".join(text))
    print("\n" + ("\n".join(failed) or "Every promise is kept."))
    if given.markdown is not None:
        given.markdown.write_text("\n\n".join(text) + "\n", encoding="utf-8")
    return 1 if failed else 0


@cache
def count_effects(name: str, folder: str) -> int:
    """How many effects share the error rate in a review of this table."""
    columns = table(name, folder)
    rng = np.random.default_rng(0)
    order = rng.permutation(length(columns))
    reference = {c.name: c.reference(order[: length(columns) // 2]) for c in columns}
    production = {c.name: c.counts(order[-1000:], reference[c.name]) for c in columns}
    return sum(e.may_alarm for e in estimates(reference, production))


def report_null(done: list[tuple[Task, Any]], names: list[str], repeats: int) -> tuple[str, list[str]]:
    limit = most_hits(ALPHA, repeats)
    head = ["reference : production", "ours: alarm %", "ok %", "undecided %"]
    head += ["Evidently: any column %", "columns %", "half of them %", "plain tests: any column %", "columns %"]
    text = [
        f"Nothing has changed: {repeats} random halves of each table. A true rate of 5 % is exceeded by more "
        f"than {per_cent(limit)} % with a chance of 1 %."
    ]
    failed, why = [], []
    for name in names:
        total = add_up(r for t, r in done if t["table"] == name)
        rows = []
        for side in ("half", "same"):
            for n in ROWS:
                cell = total.get(f"{side}|{n}")
                if cell is None:
                    continue
                k = cell["repeats"]
                share = {x: cell.get(x, 0) / k for x in ("alarm", "ok", "undecided")}
                keys = ("evidently", "evidently columns", "evidently half", "plain", "plain columns")
                others = [per_cent(cell.get(x, 0) / k) for x in keys]
                label = f"{'half the table' if side == 'half' else f'{n:,}'} : {n:,}"
                rows.append([label, *(per_cent(share[x]) for x in share), *others])
                alarms = {x: c for x, c in cell["by"].items() if x.startswith("alarm ")}
                why += [f"{name}, {label}: {c} × {x}" for x, c in sorted(alarms.items(), key=lambda x: -x[1])]
                if share["alarm"] > limit:
                    failed.append(f"{name}, {label}: false alarms in {per_cent(share['alarm'])} % of reviews")
        text += [f"### {name}", markdown(head, rows)]
    text += ["Every false alarm:", "\n".join(why) or "none"]
    return "\n\n".join(text), failed


def report_detection(done: list[tuple[Task, Any]]) -> tuple[str, list[str]]:
    ours: dict[tuple[str, str, str, int], list[Any]] = {}
    best: dict[tuple[str, str, str, int], float] = {}
    for task, result in done:
        key = (task["table"], task["column"], task["effect"], task["n"])
        if task["part"] == "best":
            best[key] = result["power"]
        else:
            ours.setdefault(key, []).append(result)
    rows, failed = [], []
    sizes = [n for n in ROWS if any(k[3] == n for k in best)]
    for name, column, effect in dict.fromkeys(k[:3] for k in best):
        line = [f"{name}: {effect} of {column}"]
        for n in sizes:
            key = (name, column, effect, n)
            if key not in best:
                line.append("–")
                continue
            total = add_up(ours[key])
            found, at_margin = total["alarm"] / total["draws"], total["false"] / total["draws"]
            spread = 2.6 * math.sqrt(max(found * (1 - found), 0.002) / total["draws"])
            short = best[key] - found > 0.05 + spread
            cell = f"{per_cent(found)} / {per_cent(best[key])}"
            line.append(f"**{cell}**" if short else cell)
            if short:
                failed.append(f"{name}, {effect} of {column}, {n:,} rows: found {cell} % of the best test")
            if at_margin > most_hits(ALPHA, total["draws"]):
                failed.append(
                    f"{name}, {effect} of {column}, {n:,} rows: alarm in {per_cent(at_margin)} % at the margin"
                )
        rows.append(line)
    head = ["found % / best test % at", *(f"{n:,}" for n in sizes)]
    return f"One column changed by twice the margin of one effect.\n\n{markdown(head, rows)}", failed


def report_needed(done: list[tuple[Task, Any]]) -> tuple[str, list[str]]:
    rows, failed = [], []
    for task, result in done:
        label = f"{task['table']}: {task['effect']} of {task['column']}"
        if result["truth"] is None:
            rows.append([label, "never", "", "", "", ""])
            continue
        said = np.array([r for r in result["ratios"] if r is not None])
        none = 1 - said.size / len(result["ratios"])
        if said.size == 0:
            rows.append([label, f"{result['truth']:,.0f}", "", "", "", per_cent(none)])
            failed.append(f"{label}: no rows needed are said")
            continue
        low, middle, high = np.quantile(said, [0.1, 0.5, 0.9])
        rows.append([label, f"{result['truth']:,.0f}", *(f"{x:.2f}" for x in (low, middle, high)), per_cent(none)])
        if not 1 / 1.5 <= middle <= 1.5:
            failed.append(f"{label}: says {middle:.2f} times the rows that it takes")
    head = ["no change", "rows for 80 % ok", "said / that: tenth", "median", "nine tenths", "says none %"]
    return f"Rows needed, as said at a third of the rows.\n\n{markdown(head, rows)}", failed


# ------------------------------------------------------------------ Evidently itself

SCRIPT = """
import json, sys
import pandas as pd
from evidently import Report
from evidently.presets import DataDriftPreset
out = []
for i in range(int(sys.argv[2])):
    a, b = (pd.read_parquet(f"{sys.argv[1]}/{i}-{part}.parquet") for part in "ab")
    found = Report([DataDriftPreset()], include_tests=True).run(b, a).dict()
    out.append({t["metric_config"]["params"]["column"]: t["status"] == "FAIL"
                for t in found["tests"] if "column" in t["metric_config"]["params"]})
print(json.dumps(out, default=str))
"""


def check_evidently(python: str, names: list[str], folder: str, seed: int) -> int:
    """Our version of Evidently's rule against Evidently, column by column."""
    differences, looked = [], 0
    for name in names:
        columns, frame = table(name, folder), read(name, Path(folder))
        rng = np.random.default_rng([seed, len(name)])
        with tempfile.TemporaryDirectory() as work_folder:
            ours = []
            for i in range(30):
                order = rng.permutation(frame.height)
                first, second = order[: (500, 5000)[i % 2]], order[-(30, 100, 500)[i % 3] :]
                frame[first].write_parquet(f"{work_folder}/{i}-a.parquet")
                frame[second].write_parquet(f"{work_folder}/{i}-b.parquet")
                ours.append({c.name: evidently(c, first, second) for c in columns})
            done = subprocess.run([python, "-c", SCRIPT, work_folder, "30"], capture_output=True, text=True, check=True)
            theirs = json.loads(done.stdout.strip().splitlines()[-1])
        for i, (mine, other) in enumerate(zip(ours, theirs, strict=True)):
            looked += len(other)
            differences += [
                f"{name}, draw {i}, {c}: ours {mine[c]}, theirs {x}" for c, x in other.items() if mine[c] != x
            ]
    print("\n".join(differences))
    print(f"{looked} columns looked at, {len(differences)} differ")
    return 1 if differences else 0


if __name__ == "__main__":
    sys.exit(main())
