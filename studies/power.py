"""Is a shift that matters found, and one that does not matter cleared, on big tables?

Reference and production of 100,000 rows each. Production is the same distribution, moved up by a
fraction of the reference's standard deviation. The margin of the Wasserstein distance is .05 sd: a move
of .08 sd must be an `alarm` and one of .02 sd must be `ok`, in 95 % of draws or more. Where values are
whole numbers, a move lets a random part of the rows rise by one, or adds the same fraction to all.

    python studies/power.py [--quick] [--repeats N] [--jobs J] [--rows N] [--markdown FILE]
"""

from __future__ import annotations

import sys
from collections.abc import Callable

import numpy as np
import polars as pl
from _common import Floats, Task, add_up, arguments, blocks, markdown, per_cent, seed_of, work

import afterlaunch

MARGIN = 0.05
MOVES = (0.0, 0.02, 0.05, 0.08)
Draw = Callable[[np.random.Generator, int, float], Floats]


def moved(values: Callable[[np.random.Generator, int], Floats], sd: float) -> Draw:
    """Every row rises by the move."""
    return lambda rng, n, move: values(rng, n) + move * sd


def some_moved(values: Callable[[np.random.Generator, int], Floats], sd: float) -> Draw:
    """Every row rises by the whole part of the move, and a random part of the rows by one more."""
    return lambda rng, n, move: values(rng, n) + np.floor(move * sd) + (rng.random(n) < move * sd % 1)


def lognormal(rng: np.random.Generator, n: int) -> Floats:
    return rng.lognormal(sigma=0.75, size=n)


def ages(rng: np.random.Generator, n: int) -> Floats:
    return np.round(np.clip(rng.normal(42.0, 20.0, n), 0, 95))


def poisson(rng: np.random.Generator, n: int) -> Floats:
    return rng.poisson(3.0, n).astype(np.float64)


SPREAD = float(np.sqrt((np.exp(0.75**2) - 1) * np.exp(0.75**2)))
COLUMNS: dict[str, Draw] = {
    "normal": moved(lambda rng, n: rng.normal(size=n), 1.0),
    "lognormal": moved(lognormal, SPREAD),
    "ages, some a year older": some_moved(ages, 19.4),
    "ages, all a fraction older": moved(ages, 19.4),
    "Poisson, some one more": some_moved(poisson, 3.0**0.5),
}


def do(task: Task) -> dict[str, float]:
    rng = seed_of(task)
    draw, n = COLUMNS[task["column"]], task["rows"]
    out = {"ok": 0, "alarm": 0, "undecided": 0, "value": 0.0, "draws": 0}
    for _ in range(task["repeats"]):
        reference = pl.DataFrame({"x": draw(rng, n, 0.0)})
        production = pl.DataFrame({"x": draw(rng, n, task["move"])})
        review = afterlaunch.drift(reference, production, margins={"drift/wasserstein": MARGIN})
        finding = next(f for f in review.findings if f.key == "wasserstein")
        assert finding.effect is not None
        out[finding.verdict.value] += 1
        out["value"] += finding.effect.value
        out["draws"] += 1
    return out


def main() -> int:
    parser = arguments(__doc__)
    parser.add_argument("--rows", type=int, default=100_000)
    given = parser.parse_args()
    repeats = given.repeats or (10 if given.quick else 500)
    tasks = [
        {"column": c, "move": move, "rows": given.rows, "block": block, "repeats": size, "seed": given.seed}
        for c in COLUMNS
        for move in MOVES
        for block, size in blocks(repeats, 25)
    ]
    groups: dict[tuple[str, float], list[dict[str, float]]] = {}
    for task, result in work("power", tasks, do, given.jobs):
        groups.setdefault((task["column"], task["move"]), []).append(result)
    rows, failed = [], []
    for (column, move), results in groups.items():
        total = add_up(results)
        share = {v: total[v] / total["draws"] for v in ("ok", "alarm", "undecided")}
        rows.append([column, move, f"{total['value'] / total['draws']:.4f}", *(per_cent(share[v]) for v in share)])
        wanted = {0.0: "ok", 0.02: "ok", 0.08: "alarm"}.get(move)
        if wanted and share[wanted] < 0.95:
            failed.append(f"{column} moved by {move} sd is {wanted} in {per_cent(share[wanted])} % only")
    head = ["column", "moved by (sd)", "estimate (sd)", "ok %", "alarm %", "undecided %"]
    text = f"{given.rows:,} rows each, margin {MARGIN} sd, {repeats} draws\n\n{markdown(head, rows)}"
    print(text)
    print("\n".join(failed) or "Every promise is kept.")
    if given.markdown is not None:
        given.markdown.write_text(text + "\n", encoding="utf-8")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
