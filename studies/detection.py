"""How soon is a change of a known size found, beside tools whose thresholds raise as many false alarms?

Windows are drawn as in `alarm_budget` (days of each weekday). One column changes on day 60 of 240: its mean (values
move up), its variance (values move to both ends), two categories (the most frequent turns into the next), or values
go missing. The size is that of the largest true effect, in margins. We alarm at the error rate that the column has
in a review of its whole table at one false episode a month.

The other tools' scores of the same column are held against thresholds that are tuned to us: on separate runs, the
column held exactly at its margin, they raise as many false episodes as we do. Missing values, which their drift
scores leave out, are given to them as the share missing: its rise, its rise over the standard deviation of the
reference's days, and the p-value of two shares.

What leaves every column as it is: values of one column shuffled among the rows (found by the domain classifier), and
texts of intents that the reference lacks (found by the novelty check), each with few repeats.

    python studies/detection.py [--quick] [--repeats N] [--jobs J] [--data FOLDER] [--markdown FILE]
        [--table NAME] [--part columns,together]
"""

from __future__ import annotations

import os

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import math
import sys
from dataclasses import dataclass
from datetime import timedelta
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from _common import Floats, Ints, Task, add_up, arguments, blocks, data_folder, markdown, per_cent, seed_of, work
from _windows import (
    MONDAY,
    TABLES,
    Counted,
    Move,
    PoolColumn,
    evidence,
    freeze,
    pool,
    side,
    true_effects,
    true_shares,
    with_production,
)
from alarm_budget import code
from peers_windows import RULES
from scipy import stats

from afterlaunch.checks import Evidence, Sample, domain, drift, novelty
from afterlaunch.checks.drift_kinds import KIND
from afterlaunch.decide import Margins, decide
from afterlaunch.episodes import episodes_of
from afterlaunch.finding import Verdict
from afterlaunch.roles import Roles
from afterlaunch.watch import Budget, watch

REFERENCE, PRODUCTION, START = 84, 240, 60
ROWS = 500
SIZES = (0.5, 1.0, 1.5, 2.0, 3.0)
CHANGED = {
    "car_loan": {"mean": "car_value", "variance": "car_value", "category": "salary_range", "missing": "driver_tenure"},
    "complete_journey": {
        "mean": "sales_value",
        "variance": "sales_value",
        "category": "department",
        "missing": "retail_disc",
    },
    "acs_employment_ma": {"mean": "AGEP", "variance": "AGEP", "category": "MAR", "missing": "AGEP"},
    "bank_marketing": {"mean": "duration", "variance": "duration", "category": "marital", "missing": "age"},
}


# ------------------------------------------------------------------ changes


@dataclass(frozen=True)
class Spread:
    """Values move to the nearer end, half of the distance in ranks: the variance grows."""

    share: float

    def codes(self, rng: np.random.Generator, column: PoolColumn, codes: Ints) -> Ints:
        out = codes.copy()
        at = np.flatnonzero((rng.random(codes.size) < self.share) & (codes >= 0))
        p = column.shares
        upto = np.append(0.0, np.cumsum(p[:-1]))
        rank = upto[codes[at]] + rng.random(at.size) * p[codes[at]]
        rank = np.where(rank < 0.5, rank / 2, (1 + rank) / 2)
        out[at] = np.searchsorted(upto[1:], rank, side="left").clip(0, column.size - 2)
        return out

    def shares(self, column: PoolColumn, before: Floats) -> Floats:
        moved = before.copy()
        at = np.append(0.0, np.cumsum(column.shares[:-1]))
        # The rank that comes to lie at each end of a value; nothing lies between a quarter and three quarters.
        source = np.where(at < 0.25, 2 * at, np.where(at > 0.75, 2 * at - 1, 0.5))
        for own, line in zip(moved.reshape(-1, at.size), before.reshape(-1, at.size), strict=True):
            own[:-1] = np.diff(np.interp(source, at, np.append(0.0, np.cumsum(line[:-1]))))
        return np.asarray(before + self.share * (moved - before))


def change(kind: str, c: Counted, shares: Floats, missing: Floats, size: float) -> Move | Spread | None:
    """The change whose largest effect is `size` margins; None where it cannot be as large."""
    if kind == "missing":
        return Move(missing=size * KIND["missing"].margin / (1 - float(missing.min())))
    make = Spread if kind == "variance" else Move

    def reached(share: float) -> float:
        effects = true_effects(c, shares, make(share).shares(c.column, shares), ROWS)
        return max(v / KIND[k].margin for k, v in effects.items())

    low, high = 0.0, 1.0
    if reached(high) < size:
        return None
    for _ in range(25):
        middle = (low + high) / 2
        low, high = (middle, high) if reached(middle) < size else (low, middle)
    return make(low)


# ------------------------------------------------------------------ runs


@cache
def courses_of(table: str, folder: str) -> int:
    """Courses that share the budget in a review of the whole table."""
    p = pool(table, folder, ROWS)
    rng = np.random.default_rng(0)
    reference, production = side(rng, p, REFERENCE, MONDAY), side(rng, p, 28, MONDAY + timedelta(days=REFERENCE))
    columns = [with_production(freeze(c, reference, rng), production, c.codes[production.rows]) for c in p.columns]
    return len(drift.follow(evidence(columns, reference, production)))


def scores(name: str, kind: str, c: Counted) -> Floats:
    """Scores of a tool's rule, on a scale on which one threshold serves every reference."""
    if kind == "missing":
        before = c.lost_before / np.maximum(c.lost_before + c.before.sum(axis=1), 1)
        n = c.lost_after + c.after.sum(axis=1)
        now = np.where(n > 0, c.lost_after / np.maximum(n, 1), np.nan)
        filled = c.before.sum(axis=1) + c.lost_before > 0
        rise = now - before[filled].mean()
        if name == "Evidently":
            return rise
        if name == "NannyML":
            return np.asarray(rise / max(float(before[filled].std()), 1e-9))
        m = int(c.before.sum() + c.lost_before.sum())
        p = (c.lost_after + c.lost_before.sum()) / (m + n)
        se = np.sqrt(np.maximum(p * (1 - p) * (1 / m + 1 / np.maximum(n, 1)), 1e-12))
        return np.asarray(-stats.norm.logsf(rise / se))
    scored = RULES[name](c)
    if name != "NannyML":
        return scored.score
    # Its threshold is the mean and some standard deviations of the reference's own days.
    own = RULES[name](with_days(c))
    days = own.score[np.isfinite(own.score)]
    return np.asarray((scored.score - days.mean()) / max(float(days.std()), 1e-9))


def with_days(c: Counted) -> Counted:
    """The reference's own days in the place of production."""
    return Counted(c.column, c.bins, c.member, c.before, c.lost_before, c.before, c.lost_before)


def do(task: Task) -> Any:
    if task["part"] == "together":
        return do_together(task)
    rng = seed_of(task)
    p = pool(task["table"], task["data"], ROWS)
    column = next(c for c in p.columns if c.name == CHANGED[task["table"]][task["kind"]])
    shares, missing = true_shares(p, column)
    start = 0 if task["size"] == "tune" else START
    size = 1.0 if task["size"] == "tune" else task["size"]
    out: dict[str, Any] = {"ours": [], **{name: [] for name in RULES}}
    for _ in range(task["repeats"]):
        reference = side(rng, p, REFERENCE, MONDAY, "days")
        production = side(rng, p, PRODUCTION, MONDAY + timedelta(days=REFERENCE), "days")
        c = freeze(column, reference, rng)
        move = change(task["kind"], c, shares, missing, size)
        if move is None:
            return None
        codes = column.codes[production.rows]
        late = production.index >= start
        codes[late] = move.codes(rng, column, codes[late])
        c = with_production(c, production, codes)
        courses = drift.follow(evidence([c], reference, production))
        budget = Budget(len(courses) / courses_of(task["table"], task["data"]))
        mine = watch(courses, margins=Margins(), budget=budget, primary=("drift",)).episodes
        if task["size"] == "tune":
            out["ours"].append(len(mine))
        else:
            out["ours"].append(min((e.first - START for _, e in mine if e.first >= START), default=None))
        for name in RULES:
            out[name].append([None if math.isnan(x) else round(float(x), 5) for x in scores(name, task["kind"], c)])
    return out


def flags_of(line: list[float | None], limit: float) -> tuple[dict[int, int], list[bool | None]]:
    return (
        {w: 0 for w, x in enumerate(line) if x is not None and x > limit},
        [None if x is None else x <= limit for x in line],
    )


def tuned(lines: list[list[float | None]], episodes: int) -> float:
    """The lowest threshold at which a tool raises at most so many episodes over these runs."""
    values = np.unique([x for line in lines for x in line if x is not None])
    low, high = 0, values.size - 1
    while low < high:
        middle = (low + high) // 2
        raised = sum(len(episodes_of(*flags_of(line, float(values[middle])))) for line in lines)
        low, high = (low, middle) if raised <= episodes else (middle + 1, high)
    return float(values[low])


# ------------------------------------------------------------------ changes of no single column


def do_together(task: Task) -> dict[str, int]:
    rng = seed_of(task)
    check = domain.CHECK if task["kind"] == "correlation" else novelty.CHECK
    out = {"repeats": 0, "found": 0, "drift": 0}
    for _ in range(task["repeats"]):
        e = correlated(rng, task) if task["kind"] == "correlation" else queries(rng, task)
        found = decide(check.run(e), margins=Margins(), alpha=0.05, primary=(check.name,))
        out["repeats"] += 1
        out["found"] += any(f.verdict is Verdict.ALARM for f in found)
    return out


def correlated(rng: np.random.Generator, task: Task) -> Evidence:
    """Values of one column of production shuffled among a share of its rows."""
    frame = pl.read_parquet(Path(task["data"]) / "car_loan" / "reference.parquet").drop("id", "timestamp", "repaid")
    order = rng.permutation(frame.height)
    before, after = frame[order[:5000]], frame[order[5000:10_000]]
    some = np.flatnonzero(rng.random(after.height) < task["size"])
    values = after["car_value"].to_numpy().copy()
    values[some] = values[rng.permutation(some)]
    return sampled(before, after.with_columns(pl.Series("car_value", values)), Roles())


def queries(rng: np.random.Generator, task: Task) -> Evidence:
    """A share of production's texts is of intents that the reference lacks."""
    frame = pl.read_parquet(Path(task["data"]) / "clinc150" / "clinc150_full.parquet")
    intents = sorted(i for i in frame["intent"].unique().to_list() if i != "oos")
    held = set(rng.choice(intents, 15, replace=False).tolist())
    known = frame.filter(~pl.col("intent").is_in(held) & (pl.col("intent") != "oos"))["text"].to_list()
    new = frame.filter(pl.col("intent").is_in(held))["text"].to_list()
    order = rng.permutation(len(known))
    n = round(2000 * task["size"])
    texts = [known[i] for i in order[8000 : 10_000 - n]] + [new[i] for i in rng.permutation(len(new))[:n]]
    before = pl.DataFrame({"text": [known[i] for i in order[:8000]]})
    return sampled(before, pl.DataFrame({"text": texts}), Roles(text="text"))


def sampled(before: pl.DataFrame, after: pl.DataFrame, roles: Roles) -> Evidence:
    kinds = {
        c: "text" if c == roles.text else "numeric" if before[c].dtype.is_numeric() else "category"
        for c in before.columns
    }
    a, b = (Sample(x, x.height, 0) for x in (before, after))
    return Evidence(roles, None, kinds, kinds, reference_sample=a, production_sample=b, options={"domain": "always"})  # type: ignore[arg-type]


# ------------------------------------------------------------------ the study


def main() -> int:
    parser = arguments(__doc__)
    parser.add_argument("--data", type=Path, default=None, help="folder of the real tables")
    parser.add_argument("--table", choices=TABLES, default=None, help="only this table")
    parser.add_argument("--part", default="columns,together", help="which parts, by comma")
    given = parser.parse_args()
    folder = str(data_folder(given.data))
    names = [given.table] if given.table else list(TABLES[:1] if given.quick else TABLES)
    repeats = given.repeats or (20 if given.quick else 100)
    tune = 2 * repeats
    base = {"data": folder, "seed": given.seed, "code": code()}
    text, failed = [], []
    if "columns" in given.part:
        settings = [(name, kind) for name in names for kind in CHANGED[name]]
        sizes: list[float | str] = ["tune", *SIZES]
        tasks = [
            {"part": "columns", "table": t, "kind": k, "size": size, "block": block, "repeats": number, **base}
            for t, k in settings
            for size in sizes
            for block, number in blocks(tune if size == "tune" else repeats, 20)
        ]
        part, bad = report(work("detection", tasks, do, given.jobs), settings, repeats)
        text.append(part)
        failed += bad
    if "together" in given.part:
        few = 5 if given.quick else 20
        tasks = [
            {"part": "together", "kind": kind, "size": size, "block": block, "repeats": number, **base}
            for kind, shares in (("correlation", (0.0, 0.25, 0.5, 1.0)), ("queries", (0.0, 0.1, 0.25, 0.5)))
            for size in shares
            for block, number in blocks(few, 5)
        ]
        part, bad = report_together(work("detection", tasks, do, given.jobs))
        text.append(part)
        failed += bad
    print("\n\n".join(text))
    print("\n" + ("\n".join(failed) or "Every promise is kept."))
    if given.markdown is not None:
        given.markdown.write_text("\n\n".join(text) + "\n", encoding="utf-8")
    return 1 if failed else 0


def report(done: list[tuple[Task, Any]], settings: list[tuple[str, str]], repeats: int) -> tuple[str, list[str]]:
    rows, failed = [], []
    for table, kind in settings:
        runs: dict[Any, Any] = {}
        for task, result in done:
            if (task["table"], task["kind"]) == (table, kind) and result is not None:
                runs[task["size"]] = add_up([runs[task["size"]], result]) if task["size"] in runs else result
        if "tune" not in runs:
            continue
        false = sum(runs["tune"]["ours"])
        limits = {name: tuned(runs["tune"][name], false) for name in RULES}
        months = len(runs["tune"]["ours"]) * PRODUCTION / 30
        for size in (s for s in SIZES if s in runs):
            delays = {"ours": late(runs[size]["ours"])}
            for name in RULES:
                firsts = [
                    next((w - START for w in range(START, PRODUCTION) if (line[w] or -math.inf) > limits[name]), None)
                    for line in runs[size][name]
                ]
                delays[name] = late(firsts)
            label = f"{table}, {kind} of {CHANGED[table][kind]}"
            row = [label if size == SIZES[0] else "", f"{false / months:.3f}" if size == SIZES[0] else "", f"{size:g}"]
            for d in delays.values():
                row += [per_cent(float(np.isfinite(d).mean())), shown(d)]
            rows.append(row)
            best = min((name for name in RULES), key=lambda name: middle(delays[name]))
            if size >= 2 and later(delays["ours"], delays[best]):
                failed.append(
                    f"{label}, {size:g} margins: median delay {shown(delays['ours'])}, {best} {shown(delays[best])}"
                )
    head = ["column", "false episodes a month at the margin", "size in margins", "ours: found %", "median delay"]
    for name in RULES:
        head += [f"{name}, tuned: found %", "median delay"]
    return (
        f"{repeats} runs of each size; delays in windows, 0 is the day of the change.\n\n{markdown(head, rows)}",
        failed,
    )


def late(delays: list[int | None]) -> Floats:
    return np.array([math.inf if d is None else d for d in delays])


def middle(d: Floats) -> float:
    return float(np.quantile(d, 0.5, method="lower"))


def shown(d: Floats) -> str:
    m = middle(d)
    return f"{m:.0f}" if math.isfinite(m) else "–"


def later(ours: Floats, theirs: Floats) -> bool:
    """Whether our median delay is longer by more than chance: 95 % of resamples."""
    rng = np.random.default_rng(0)
    if not math.isfinite(middle(ours)) and not math.isfinite(middle(theirs)):
        return False
    draws = [middle(rng.choice(ours, ours.size)) > middle(rng.choice(theirs, theirs.size)) for _ in range(1000)]
    return float(np.mean(draws)) > 0.975


def report_together(done: list[tuple[Task, Any]]) -> tuple[str, list[str]]:
    rows, failed = [], []
    for kind, what in (
        ("correlation", "domain classifier: share of rows whose car_value is shuffled"),
        ("queries", "novelty: share of texts of 15 intents that the reference lacks"),
    ):
        for size in dict.fromkeys(t["size"] for t, _ in done if t["kind"] == kind):
            total = add_up(r for t, r in done if (t["kind"], t["size"]) == (kind, size))
            rows.append([what, f"{size:g}", total["repeats"], per_cent(total["found"] / total["repeats"])])
            if size == 0 and stats.binom.sf(total["found"] - 1, total["repeats"], 0.05) < 0.01:
                failed.append(f"{what}: {total['found']} false alarms in {total['repeats']}")
    return markdown(["check", "share", "repeats", "found %"], rows), failed


if __name__ == "__main__":
    sys.exit(main())
