"""Is a recommender that teaches itself found, and are those that do not left alone?

Worlds of `recommenders.py`, whose truth is known, are judged by `al.loop` in both of its ways: by a slice of places
that were filled by chance (`explored=`), and by the logged chance of every impression (the role `propensity`). Models
without a loop are one that is retrained on what a panel says, one that is fixed, a Thompson sampler that learns
quality, and one whose items change in quality. To them come lists from `al.explore`, in which an item stands once,
of a fixed model. Last, the placements of `complete_journey` in displays and mailers, which nobody drew by chance.

    python studies/loop.py [--quick] [--worlds N] [--jobs J] [--data FOLDER] [--markdown FILE]
"""

from __future__ import annotations

import os

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
os.environ.setdefault("POLARS_MAX_THREADS", "1")

import math
import sys
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from _common import Task, arguments, data_folder, markdown, most_hits, per_cent, seed_of, work
from recommenders import START, World, simulate

import afterlaunch as al
from afterlaunch.finding import Finding, Review

USERS, ITEMS, WEEKS, SLOTS = 1_000, 200, 20, 10
EXPLORED = (0.02, 0.10)
WORLDS, LOOPED = 150, 40
"""Worlds of every kind without a loop, and of every kind with one."""

PROMISED = 0.05
STILL = [
    ("popularity", 0.0),
    ("mf", 0.0),
    ("thompson", 1.0),
    ("fixed", 1.0),
    ("quality_rises", 1.0),
    ("lists", 0.0),
]
"""Recommenders without a loop."""

LOOPS = [("popularity", 0.25), ("popularity", 0.5), ("popularity", 0.75), ("popularity", 1.0), ("mf", 0.5), ("mf", 1.0)]
PROPORTIONAL = ("popularity 0", "mf 0")
"""What shows items in proportion to their quality."""

ROLES = {"time": "time", "item": "item", "outcome": "clicked", "category": "category", "unit": "user"}
TREND = "concentration/"
BEYOND = "popularity/beyond_quality"


# ------------------------------------------------------------------ lists of al.explore


def lists(explore: float, seed: int) -> pl.DataFrame:
    """A log of a fixed model whose lists went through `al.explore`, all users of a week at once.

    A user's ranking is the same every week, so that nothing that is shown can change what is shown.
    """
    rng = np.random.default_rng(seed)
    user = np.arange(USERS)
    rank = np.argsort(-(rng.normal(size=ITEMS) + 0.5 * rng.gumbel(size=(USERS, ITEMS))), axis=1)
    names = pl.Series([f"c{c}" for c in range(6)])
    weeks = []
    for week in range(WEEKS):
        gone, at = np.zeros((USERS, ITEMS), dtype=bool), np.zeros(USERS, dtype=np.int64)
        second = week * 7 * 24 * 3600 + rng.integers(7 * 24 * 3600, size=USERS)
        for place in range(SLOTS):
            while (passed := gone[user, rank[user, at]]).any():
                at[passed] += 1
            ranked = rank[user, at]
            by_chance = rng.random(USERS) < explore
            drawn = rng.integers(ITEMS, size=USERS)
            while (twice := gone[user, drawn]).any():
                drawn[twice] = rng.integers(ITEMS, size=int(twice.sum()))
            item = np.where(by_chance, drawn, ranked)
            gone[user, item] = True
            chance = explore / (ITEMS - place) + (1 - explore) * (item == ranked)
            columns = {"second": second, "user": user, "item": item, "explored": by_chance, "propensity": chance}
            columns |= {"list": week * USERS + user, "position": np.full(USERS, place + 1)}
            clicked = rng.random(USERS) < 0.15 / math.log2(place + 2)
            weeks.append(pl.DataFrame({**columns, "clicked": clicked.astype(np.int64)}))
    time = (pl.lit(START) + pl.duration(seconds="second")).alias("time")
    table = pl.concat(weeks)
    return table.select(time, pl.exclude("second"), category=names.gather(table["item"] % 6))


# ------------------------------------------------------------------ one world


def do(task: Task) -> dict[str, Any]:
    seed = int(seed_of(task).integers(2**62))  # one of its own for every world
    name, explore = task["recommender"], task["explore"]
    roles = ROLES
    if name == "lists":
        log = lists(explore, seed)
        roles = {**ROLES, "list": "list", "position": "position"}  # an item stands once, unlike in the other worlds
    else:
        shape = {"items": ITEMS, "users": USERS, "weeks": WEEKS, "slots": SLOTS}
        log = simulate(World(**shape, recommender=name, strength=task["strength"], explore=explore, seed=seed))
    drawn = al.loop(log.drop("propensity"), roles=roles, explored="explored", catalogue=ITEMS)
    logged = al.loop(log.drop("explored"), roles={**roles, "propensity": "propensity"}, catalogue=ITEMS)
    found = {f.id: f for f in drawn}
    trends = [f for f in drawn if f.id.startswith(TREND)]
    return {
        "explored": told(drawn),
        "propensity": told(logged),
        "trend": [f.id for f in trends if f.verdict == "alarm"],
        "beyond": found[BEYOND].verdict.value if BEYOND in found else "none",
        "cost": value(found.get("amplification/cost")),
    }


def told(review: Review) -> list[Any]:
    """Verdict, value and both ends of the response; None where it was not told."""
    found = next(f for f in review if f.id == "amplification/response")
    effect = found.effect
    return [found.verdict.value, None, None, None] if effect is None else [found.verdict.value, *ends(found)]


def ends(found: Finding) -> list[float]:
    assert found.effect is not None
    return [found.effect.value, found.effect.low, found.effect.high]


def value(found: Finding | None) -> float | None:
    return None if found is None or found.effect is None else found.effect.value


# ------------------------------------------------------------------ tables


def kind_of(task: Task) -> str:
    name = str(task["recommender"])
    return f"{name} {task['strength']:g}" if name in {"popularity", "mf"} else name


def simulated(worlds: int, looped: int, jobs: int, quick: bool, seed: int) -> tuple[str, list[str]]:
    """Tables of the simulated worlds, and promises that were broken."""
    tasks = [
        {"recommender": name, "strength": strength, "explore": explore, "world": world, "seed": seed}
        for kinds, number in ((STILL, worlds), (LOOPS, looped))
        for name, strength in kinds
        for explore in (EXPLORED[-1:] if quick else EXPLORED)
        for world in range(number)
    ]
    groups: dict[tuple[str, float], list[dict[str, Any]]] = {}
    for task, result in work("loop", tasks, do, jobs):
        groups.setdefault((kind_of(task), task["explore"]), []).append(result)
    still = {kind_of({"recommender": name, "strength": strength}) for name, strength in STILL}
    failed: list[str] = []
    text = f"{worlds} worlds of every kind without a loop and {looped} of every kind with one: {USERS:,} users with "
    text += f"{SLOTS} places a week, {ITEMS} items, {WEEKS} weeks.\n"
    for mode in ("explored", "propensity"):
        rows = []
        for (kind, explore), results in groups.items():
            rows.append([kind, per_cent(explore), *_responses([r[mode] for r in results], kind in still)])
            if kind in still:
                failed += _broken(f"{kind}, {per_cent(explore)} %, {mode}", [r[mode] for r in results])
        head = [
            "recommender",
            "explored %",
            "alarm %",
            "ok %",
            "above 0 %",
            "mean",
            "median",
            "spread",
            "holds 0 %",
            "none %",
        ]
        text += f"\n### Response, by {mode}\n\n" + markdown(head, rows) + "\n"
    rows = []
    for (kind, explore), results in groups.items():
        n = len(results)
        trend = sum(bool(r["trend"]) for r in results) / n
        beyond = sum(r["beyond"] == "alarm" for r in results) / n
        costs = [r["cost"] for r in results if r["cost"] is not None]
        cost = f"{100 * float(np.mean(costs)):.2f}" if costs else "–"
        rows.append([kind, per_cent(explore), per_cent(trend), per_cent(beyond), cost])
        name = f"{kind}, {per_cent(explore)} %"
        if kind in {"fixed", "lists"} and trend > most_hits(PROMISED, n):
            failed.append(f"{name}: {per_cent(trend)} % of worlds without a trend have an alarm of concentration")
        if kind in PROPORTIONAL and beyond > most_hits(PROMISED, n):
            failed.append(f"{name}: {per_cent(beyond)} % have an alarm of exposure beyond quality")
    head = ["recommender", "explored %", "any concentration alarm %", "beyond-quality alarm %", "mean cost of 2 % in %"]
    return text + "\n### The other checks\n\n" + markdown(head, rows) + "\n", failed


def _responses(found: list[list[Any]], still: bool) -> list[str]:
    n = len(found)
    known = [f for f in found if f[1] is not None]
    alarm = sum(f[0] == "alarm" for f in found) / n
    fine = sum(f[0] == "ok" for f in found) / n
    above = sum(f[2] > 0 for f in known) / n
    holds = sum(f[2] <= 0 <= f[3] for f in known) / max(len(known), 1)
    none = per_cent(1 - len(known) / n)
    if not known:
        return [per_cent(alarm), per_cent(fine), per_cent(above), "–", "–", "–", "–", none]
    values = np.array([f[1] for f in known])
    middle = np.quantile(values, [0.16, 0.5, 0.84])
    spread = f"{(middle[2] - middle[0]) / 2:.3f}"
    numbers = [f"{values.mean():.3f}", f"{middle[1]:.3f}", spread]
    return [per_cent(alarm), per_cent(fine), per_cent(above), *numbers, per_cent(holds) if still else "–", none]


def _broken(name: str, found: list[list[Any]]) -> list[str]:
    n = len(found)
    most = most_hits(PROMISED, n)
    out = []
    alarm = sum(f[0] == "alarm" for f in found) / n
    above = sum(f[1] is not None and f[2] > 0 for f in found) / n
    if alarm > most:
        out.append(f"{name}: {per_cent(alarm)} % of worlds without a loop have an alarm")
    if above > most:
        out.append(f"{name}: {per_cent(above)} % of the intervals lie above 0, where there is no loop")
    if all(f[1] is None for f in found):
        out.append(f"{name}: no world has an estimate, though places were filled by chance")
    return out


# ------------------------------------------------------------------ complete_journey


def placements(folder: Path) -> pl.DataFrame:
    """A row for each product that a store had in a display or its mailer, by week of 2017."""
    place = folder / "complete_journey"
    rows = pl.read_parquet(place / "promotions_sample.parquet")
    rows = rows.filter((pl.col("display_location") != "0") | (pl.col("mailer_location") != "0"))
    kinds = pl.read_parquet(place / "products.parquet").select("product_id", "department")
    week = pl.datetime(2017, 1, 2) + pl.duration(days=7 * (pl.col("week") - 1))
    return rows.join(kinds, on="product_id", how="left", maintain_order="left").with_columns(ts=week)


def journey(folder: Path) -> tuple[str, list[str]]:
    """The table of the real log, and promises that were broken."""
    roles = {"time": "ts", "item": "product_id", "category": "department", "unit": "store_id"}
    review = al.loop(placements(folder), roles=roles)
    found = {f.id: f for f in review}
    asked = found["amplification/response"]
    failed = []
    if (asked.verdict.value, asked.reason) != ("undecided", "no_randomisation"):
        failed.append(f"complete_journey: the response is {asked.verdict.value}, {asked.reason}")
    if " A slice of " not in asked.sentence:
        failed.append("complete_journey: the size of the slice is not said")
    trends = [f for f in review if f.check == "concentration" and f.effect is not None]
    if not trends:
        failed.append("complete_journey: no trend of concentration is told")
    rows = []
    for f in trends:
        low, high = f.effect.low, f.effect.high  # type: ignore[union-attr]
        cells = [f"{x:.3g}" for x in (f.effect.value, low, high)]  # type: ignore[union-attr]
        rows.append([f.key, (f.subject or "all").lower(), cells[0], f"[{cells[1]}, {cells[2]}]", f.verdict.value])
    text = f"{review.rows['log']:,} placements of {review.rows['items']:,} products in {review.rows['windows']} weeks."
    text += f"\n\n> {asked.sentence}\n\n" + markdown(["measure", "of", "change", "interval", "verdict"], rows)
    return text, failed


def main() -> int:
    parser = arguments(__doc__)
    parser.add_argument("--worlds", type=int, default=None, help="worlds of every kind without a loop")
    parser.set_defaults(jobs=2)
    parser.add_argument("--data", type=Path, default=None, help="folder of the real tables")
    given = parser.parse_args()
    folder = data_folder(given.data)
    worlds = given.worlds or given.repeats or (20 if given.quick else WORLDS)
    looped = min(worlds, 10 if given.quick else LOOPED)
    text, failed = simulated(worlds, looped, given.jobs, given.quick, given.seed)
    real, more = journey(folder)
    failed += more
    text += "\n### Placements of complete_journey\n\n" + real
    print(text)
    if given.markdown:
        given.markdown.write_text(text + "\n", encoding="utf-8")
    print("\n" + ("\n".join(failed) if failed else "Every promise is kept."))
    return int(bool(failed))


if __name__ == "__main__":
    sys.exit(main())
