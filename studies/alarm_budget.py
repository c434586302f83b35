"""How many false episodes does the alarm budget really cost, and is a real change found within it?

A replay is a new reference of 84 days and then 365 days of production, both drawn from the days of a real
table (see `_windows`): weekdays, what a day shares, and how columns go together are kept, and nothing changes over
time. Days are drawn one by one, Mondays for Mondays; or, which is harder, in whole weeks, so that days of a week
have more in common, of which a reference of twelve weeks sees little. `checks.drift` follows every column, `watch`
spends a budget of one false episode a month. Four settings: nothing has changed; one column, or every column, is
held exactly at its margin all year long; one column changes by twice its margin on a random day and stays so.

"At the margin" is meant in the bins that the replay froze, for the largest effect over weekdays and the whole
week: the shares are moved by a linear map until the largest of effect / margin is 1; as many values as the
margin allows go missing, and as many are new or out of range.

On the same replays the rules of other tools flag columns window by window. Their episodes are counted as ours:
one opens with a flag and is over after seven windows without.

    python studies/alarm_budget.py [--quick] [--repeats N] [--jobs J] [--data FOLDER] [--markdown FILE]
        [--table NAME] [--setting NAME] [--draw days|weeks] [--rows N] [--reference DAYS]
        [--check-evidently PYTHON] [--check-nannyml PYTHON]
"""

from __future__ import annotations

import os

# Many small products: threads of the matrix library cost more than they bring.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import hashlib
import math
import sys
import time
from collections import Counter
from datetime import timedelta
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from _common import REPOSITORY, Floats, Task, arguments, blocks, data_folder, markdown, per_cent, seed_of, work
from _windows import (
    MONDAY,
    TABLES,
    Counted,
    Move,
    Pool,
    PoolColumn,
    Side,
    by_key,
    complete,
    evidence,
    freeze,
    move_to,
    pool,
    ratio,
    side,
    true_shares,
    with_production,
)
from peers_windows import RULES, compare, run_peer
from scipy import stats

import afterlaunch
from afterlaunch.checks import drift
from afterlaunch.decide import Margins
from afterlaunch.episodes import episodes_of
from afterlaunch.finding import Verdict
from afterlaunch.watch import Budget, watch

REFERENCE, PRODUCTION = 84, 365
MONTHS = PRODUCTION / 30
SETTINGS = ("nothing changed", "one column at the margin", "all columns at the margin", "2 × the margin")
DRAWS = ("days", "weeks")
MISSING, OUT = 0.02, 0.01


# ------------------------------------------------------------------ one replay


@cache
def truth(name: str, folder: str, rows: int) -> dict[str, tuple[Floats, Floats]]:
    p = pool(name, folder, rows)
    return {c.name: true_shares(p, c) for c in p.columns}


def at_margin(c: Counted, shares: Floats, missing: Floats, rows: float) -> Move:
    """The move that takes every effect of a column to its margin, or as near as the others let it."""
    lost = MISSING / (1 - float(missing.min()))
    # What this reference lacks by chance is new too; the rest is added.
    unseen = shares[:, :-1] @ (c.before.sum(axis=0) == 0)[:-1] if not c.column.numeric else shares @ outside(c)
    room = max(OUT - float(unseen.max()), 0.0)
    out = room if complete(c) and ratio(c, shares, Move(0.0, 0.0, room), rows) < 1 else 0.0
    return move_to(c, shares, 1.0, rows, out=out, missing=lost)


def outside(c: Counted) -> Floats:
    """1 for each value out of the reference's range, but for the one that no row of the pool has."""
    seen = c.column.values[c.before.sum(axis=0) > 0]
    out = ((c.column.values < seen.min()) | (c.column.values > seen.max())).astype(np.float64)
    out[-1] = 0
    return np.asarray(out)


def replay(
    rng: np.random.Generator, production: Side, moves: dict[str, tuple[Move, int]], frozen: list[Counted]
) -> list[Counted]:
    """Count production, columns moved from some window on."""
    out = []
    for c in frozen:
        codes = c.column.codes[production.rows]
        if c.column.name in moves:
            move, day = moves[c.column.name]
            late = production.index >= day
            codes[late] = move.codes(rng, c.column, codes[late])
        out.append(with_production(c, production, codes))
    return out


def do(task: Task) -> list[dict[str, Any]]:
    rng = seed_of(task)
    p = pool(task["table"], task["data"], task["rows"])
    return [once(rng, p, truth(task["table"], task["data"], task["rows"]), task) for _ in range(task["repeats"])]


def once(rng: np.random.Generator, p: Pool, shares: dict[str, tuple[Floats, Floats]], task: Task) -> dict[str, Any]:
    reference = side(rng, p, task["reference"], MONDAY, task["draw"])
    production = side(rng, p, PRODUCTION, MONDAY + timedelta(days=task["reference"]), task["draw"])
    frozen = [freeze(c, reference, rng) for c in p.columns]
    moves: dict[str, tuple[Move, int]] = {}
    setting, changed, start = task["setting"], None, 0
    if setting == SETTINGS[3]:
        start = int(rng.integers(30, 301))
        for i in rng.permutation(len(frozen)):
            c = frozen[i]
            move = move_to(c, shares[c.column.name][0], 2.0, task["rows"])
            if ratio(c, shares[c.column.name][0], move, task["rows"]) > 1.99:
                changed = c.column.name
                moves[changed] = (move, start)
                break
    elif setting != SETTINGS[0]:
        chosen = [int(rng.integers(len(frozen)))] if setting == SETTINGS[1] else range(len(frozen))
        for c in (frozen[i] for i in chosen):
            moves[c.column.name] = (at_margin(c, *shares[c.column.name], task["rows"]), 0)
    columns = replay(rng, production, moves, frozen)
    begun = time.monotonic()
    courses = drift.CHECK.follow(evidence(columns, reference, production)) if drift.CHECK.follow else []
    budget = Budget.parse("1/month")
    seen = watch(courses, margins=Margins(), budget=budget, primary=("drift",))
    spent = time.monotonic() - begun
    mine = seen.episodes
    quiet = [f for f in seen.findings if f.verdict is not Verdict.ALARM and f.primary]
    out: dict[str, Any] = {
        "episodes": len(mine),
        "by": dict(Counter(f"{c.kind.key} of {c.subject}" for c, _ in mine)),
        "lengths": dict(Counter(str(c.looks[e.look].length) for c, e in mine)),
        "ok": sum(f.verdict is Verdict.OK for f in quiet) / max(len(quiet), 1),
        "seconds": spent,
        "courses": len(courses),
    }
    if changed is not None:
        days = [e.first - start for c, e in mine if c.subject == changed and e.first >= start]
        out["delay"] = min(days, default=None)
        # An episode that was open already tells nothing; it is rare.
        out["before"] = any(c.subject == changed and e.first < start <= e.last for c, e in mine)
        out["early"] = sum(c.subject != changed or e.first < start for c, e in mine)
    out["peers"] = {name: peer(name, columns, changed, start) for name in RULES}
    return out


def peer(name: str, columns: list[Counted], changed: str | None, start: int) -> dict[str, Any]:
    """Episodes of a tool's rule, windows with any column flagged, and how soon it flags the changed column."""
    flagged = np.zeros(PRODUCTION, dtype=bool)
    episodes, out = 0, {}
    for c in columns:
        scored = RULES[name](c)
        flags = scored.flags
        flagged |= flags
        inside = [None if math.isnan(s) else not f for s, f in zip(scored.score, flags, strict=True)]
        episodes += len(episodes_of({int(w): 0 for w in np.flatnonzero(flags)}, inside))
        if c.column.name == changed:
            after = np.flatnonzero(flags[start:])
            out["delay"] = int(after[0]) if after.size else None
    return {"episodes": episodes, "windows": int(flagged.sum()), **out}


# ------------------------------------------------------------------ the study


def main() -> int:
    parser = arguments(__doc__)
    parser.add_argument("--data", type=Path, default=None, help="folder of the real tables")
    parser.add_argument("--table", choices=TABLES, default=None, help="only this table")
    parser.add_argument("--setting", choices=SETTINGS, default=None, help="only this setting")
    parser.add_argument("--draw", choices=DRAWS, default=None, help="draw days of each weekday, or whole weeks")
    parser.add_argument("--rows", type=int, default=500, help="mean rows of a day")
    parser.add_argument("--reference", type=int, default=REFERENCE, help="days of the reference")
    parser.add_argument("--check-evidently", metavar="PYTHON", default=None, help="hold our rule against Evidently")
    parser.add_argument("--check-nannyml", metavar="PYTHON", default=None, help="hold our rule against NannyML")
    given = parser.parse_args()
    folder = str(data_folder(given.data))
    names = [given.table] if given.table else list(TABLES[:1] if given.quick else TABLES)
    checks = {"Evidently": given.check_evidently, "NannyML": given.check_nannyml}
    if any(checks.values()):
        return sum(check(name, python, names, folder, given) for name, python in checks.items() if python)
    repeats = given.repeats or (6 if given.quick else 100)
    settings = [given.setting] if given.setting else list(SETTINGS)
    base = {"data": folder, "seed": given.seed, "rows": given.rows, "reference": given.reference, "code": code()}
    draws = [given.draw] if given.draw else list(DRAWS[:1] if given.quick else DRAWS)
    tasks = [
        {"table": name, "draw": draw, "setting": setting, "block": block, "repeats": size, **base}
        for draw in draws
        for name in names
        for setting in settings
        for block, size in blocks(repeats, 5)
    ]
    done = work("alarm_budget", tasks, do, given.jobs)
    text, failed = report(done, [(n, d) for d in draws for n in names], settings, repeats, given)
    print(text)
    print("\n" + ("\n".join(failed) or "Every promise is kept."))
    if given.markdown is not None:
        given.markdown.write_text(text + "\n", encoding="utf-8")
    return 1 if failed else 0


def code() -> str:
    """Changes with what the fingerprint of the cache does not cover."""
    source = Path(afterlaunch.__file__).parent
    files = [source / "watch.py", source / "episodes.py", source / "checks" / "drift_windows.py"]
    files += [source / "checks" / "over_time.py", source / "checks" / "drift_kinds.py"]
    files += [REPOSITORY / "studies" / f for f in ("_windows.py", "peers_windows.py")]
    return hashlib.sha256(b"".join(f.read_bytes() for f in files)).hexdigest()[:16]


def mean_of(values: list[float]) -> tuple[float, float, float]:
    """Mean, and ends of its 95 % interval over replays."""
    x = np.array(values, dtype=np.float64)
    half = float(stats.t.ppf(0.975, max(x.size - 1, 1)) * x.std(ddof=1) / math.sqrt(x.size)) if x.size > 1 else math.inf
    return float(x.mean()), float(x.mean()) - half, float(x.mean()) + half


def report(
    done: list[tuple[Task, Any]], names: list[tuple[str, str]], settings: list[str], repeats: int, given: Any
) -> tuple[str, list[str]]:
    text = [
        f"{repeats} replays of each table and setting: a reference of {given.reference} days and {PRODUCTION} days "
        f"of production of about {given.rows} rows, budget one false episode a month over all columns and effects. "
        "Episodes a month with the 95 % interval over replays."
    ]
    failed, lines, power, why, spent = [], [], [], [], []
    for name, draw in names:
        for setting in settings:
            own = (name, draw, setting)
            runs = [r for t, result in done if (t["table"], t["draw"], t["setting"]) == own for r in result]
            spent += [r["seconds"] for r in runs]
            label = f"{name}, {draw} drawn: {setting}"
            if setting == SETTINGS[3]:
                power.append(power_line(f"{name}, {draw} drawn", runs, failed))
                continue
            mean, low, high = mean_of([r["episodes"] / MONTHS for r in runs])
            line = [label, f"{mean:.2f} ({max(low, 0):.2f} to {high:.2f})"]
            line.append(per_cent(float(np.mean([r["ok"] for r in runs]))))
            for rule in RULES:
                line.append(f"{np.mean([r['peers'][rule]['episodes'] for r in runs]) / MONTHS:.1f}")
                line.append(per_cent(float(np.mean([r["peers"][rule]["windows"] for r in runs])) / PRODUCTION))
            lines.append(line)
            if low > 1:
                failed.append(f"{label}: {mean:.2f} episodes a month")
            total: Counter[str] = Counter()
            lengths: Counter[str] = Counter()
            for r in runs:
                total.update(r["by"])
                lengths.update(r["lengths"])
            most = dict(total.most_common(8))
            why.append(f"- {label}: {by_key(most) or 'none'}; last alarm at looks of windows: {by_key(lengths) or '-'}")
    if lines:
        head = ["table: setting", "ours: episodes a month", "columns ok at the end %"]
        for rule in RULES:
            head += [f"{rule}: episodes a month", "windows with a flag %"]
        text += [markdown(head, lines)]
    if power:
        head = ["one column by 2 × its margin", "found %", "median delay", "nine tenths", "other episodes a month"]
        for rule in RULES:
            head += [f"{rule}: flagged %", "median delay"]
        text += [markdown(head, power)]
    if why:
        text += ["What the episodes were:", "\n".join(why)]
    text += [f"Following and watching took {np.median(spent):.2f} s in the middle, {max(spent):.2f} s at most."]
    return "\n\n".join(text), failed


def power_line(name: str, runs: list[dict[str, Any]], failed: list[str]) -> list[str]:
    runs = [r for r in runs if "delay" in r]
    delays = [r["delay"] for r in runs if r["delay"] is not None]
    share = (len(delays) + sum(r["delay"] is None and r["before"] for r in runs)) / max(len(runs), 1)
    late = np.array([math.inf if r["delay"] is None else r["delay"] for r in runs])
    line = [name, per_cent(share), *(f"{np.quantile(late, q, method='lower'):.0f}" for q in (0.5, 0.9))]
    line.append(f"{np.mean([r['early'] for r in runs]) / MONTHS:.2f}")
    for rule in RULES:
        theirs = [r["peers"][rule].get("delay") for r in runs]
        known = np.array([math.inf if d is None else d for d in theirs])
        line.append(per_cent(sum(d is not None for d in theirs) / len(runs)))
        line.append(f"{np.quantile(known, 0.5, method='lower'):.0f}")
    # 95 % is missed when so few found would come with a chance of 2.5 %.
    if stats.binom.cdf(round(share * len(runs)), len(runs), 0.95) < 0.025:
        failed.append(f"{name}: a change by twice the margin is found in {per_cent(share)} %")
    return line


# ------------------------------------------------------------------ the tools themselves


def check(name: str, python: str, names: list[str], folder: str, given: Any) -> int:
    """Our version of a tool's rule against the tool, on 30 windows of real rows of each table."""
    differ, looked = [], 0
    for table in names:
        p = pool(table, folder, given.rows)
        rng = np.random.default_rng([given.seed, len(table)])
        reference = side(rng, p, REFERENCE, MONDAY)
        production = side(rng, p, 30, MONDAY + timedelta(days=REFERENCE))
        columns = [c for c in p.columns if np.unique(c.codes[reference.rows]).size > 1]
        counted = []
        for i, c in enumerate(columns):
            codes = c.codes[production.rows]
            if i % 2:  # half of the columns are moved, so that there is something to flag
                codes = Move(0.1 * (i % 5)).codes(rng, c, codes)
            counted.append((with_production(freeze(c, reference, rng), production, codes), codes))
        a = frame([(c.column, c.column.codes[reference.rows]) for c, _ in counted], reference)
        b = frame([(c.column, codes) for c, codes in counted], production)
        days = np.unique(production.index)
        found = compare(name, [c for c, _ in counted], run_peer(name, python, a, b), days)
        looked += len(counted) * days.size
        differ += [f"{table}, {line}" for line in found]
    print("\n".join(differ))
    print(f"{name}: {looked} columns of windows looked at, {len(differ)} differ")
    return 1 if differ else 0


def frame(columns: list[tuple[PoolColumn, Any]], s: Side) -> pl.DataFrame:
    """Rows as a tool reads them."""
    when = np.array([w.start.replace(tzinfo=None) for w in s.windows], dtype="datetime64[us]")[s.index]  # type: ignore[union-attr]
    out = {"when": pl.Series(when)}
    for c, codes in columns:
        if c.numeric:
            out[c.name] = pl.Series(np.where(codes >= 0, c.values[codes], np.nan)).fill_nan(None)
            whole = bool((c.values[:-1] == np.floor(c.values[:-1])).all())
            if whole and (codes >= 0).all():
                out[c.name] = out[c.name].cast(pl.Int64, strict=False)
        else:
            out[c.name] = pl.Series([c.values[j] if j >= 0 else None for j in codes.tolist()], dtype=pl.String)
    return pl.DataFrame(out)


if __name__ == "__main__":
    sys.exit(main())
