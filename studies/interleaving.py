"""How many fewer sessions does team-draft interleaving need than an A/B test, and do they agree on the better ranker?

Users come with a query each and thirty items, some of them relevant. Two rankers see the items' worth through noise, a
part of which they share; the first sees it better. Three kinds of users look at the ten places of a list:

- navigational ones read from the top, click what is relevant and then mostly leave (cascade);
- informational ones do so too, but click more and mostly read on;
- position-based ones look at the r-th place with a chance of 1 / r, whatever they have found before.

The first two are the user models of Hofmann, Whiteson & de Rijke (2013), ACM TOIS 31(4), after Guo, Liu & Wang (2009),
WSDM; the third is that of Joachims, Swaminathan & Schnabel (2017), WSDM.

The sessions for 80 % power at 5 %, two-sided, follow from many simulated sessions of each kind. Click rates are the
share of sessions with a click and, as an alternative, clicks per session; of those that rise with quality the more
sensitive one counts. The sessions are then put to the test: with that many drawn again and again, `preference` must
find the better ranker in 80 % of the repeats.

Promises: interleaving finds the ranker that has more relevant items in the first places, for every kind of users. An
A/B test points the same way for navigational and position-based users. Where a click leads to leaving (navigational) it
takes at least 10 times the sessions, and decides less often on 10 times as many; where attention does not depend on
what was found (position-based) it takes at least twice the sessions. For informational users clicks do not measure
quality, and nothing is promised of the A/B test.

    python studies/interleaving.py [--quick] [--repeats REPEATS] [--jobs J] [--seed SEED] [--markdown FILE]
"""

from __future__ import annotations

import math
import os

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import sys
from typing import Any

import numpy as np
from _common import Task, arguments, error_of, markdown, per_cent, seed_of, work
from numpy.typing import NDArray
from scipy import stats

from afterlaunch.stats.interleaving import credit, preference, team_draft
from afterlaunch.stats.intervals import normal_quantile

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

ITEMS, LENGTH, SHARED, FIRST = 30, 10, 0.5, 0.5
NOISE = {"small": 0.65, "middling": 0.8, "large": 1.2}
"""Noise of the second ranker's own; the first ranker has `FIRST`."""

CASCADE = {"navigational": ((0.05, 0.95), (0.2, 0.9)), "informational": ((0.4, 0.9), (0.1, 0.5))}
"""Chances that an item is clicked, and that the user leaves then, if it is not relevant and if it is."""

FEWER = {"navigational": 10, "position-based": 2}
"""How many times more sessions an A/B test takes at least."""

ALPHA, POWER = 0.05, 0.8
BLOCK = 50_000
SURE = float(stats.norm.isf(0.001))
RATES: dict[str, Floats] = {
    "with a click": np.minimum(np.arange(LENGTH + 1.0), 1.0),
    "clicks": np.arange(LENGTH + 1.0),
}


class Coins(np.random.Generator):
    """Coins that were tossed before, for the library's draft to be the same as the one for many sessions at once."""

    def __init__(self, coins: Ints) -> None:
        super().__init__(np.random.PCG64(0))
        self.left = coins.tolist()

    def integers(self, *_: Any, **__: Any) -> Any:
        return self.left.pop(0)


def draft(first: Ints, second: Ints, coins: Ints) -> tuple[Ints, Ints]:
    """`team_draft` for many sessions: lists and teams, shape (S, LENGTH), from one coin a round, (S, LENGTH / 2)."""
    every = np.arange(len(first))
    picked = np.zeros((len(first), ITEMS), dtype=bool)
    items, teams = np.empty_like(first), np.empty_like(first)
    for place in range(LENGTH):
        best = []
        for ranker in (first, second):
            free = ~np.take_along_axis(picked, ranker, axis=1)
            best.append(ranker[every, free.argmax(axis=1)])
        coin = coins[:, place // 2]
        team = coin if place % 2 == 0 else 1 - coin
        items[:, place], teams[:, place] = np.where(team == 0, best[0], best[1]), team
        picked[every, items[:, place]] = True
    return items, teams


def click(users: str, relevant: NDArray[np.bool_], luck: tuple[Floats, Floats]) -> NDArray[np.bool_]:
    """Clicks on lists of items that are relevant or not, shape (S, LENGTH)."""
    at = relevant.astype(int)
    if users == "position-based":
        return (luck[0] < np.array([0.1, 1.0])[at]) & (luck[1] < 1 / np.arange(1, LENGTH + 1))
    wants, leaves = (np.array(x)[at] for x in CASCADE[users])
    wanted = luck[0] < wants
    stays = ~wanted | (luck[1] >= leaves)
    reads = np.column_stack([np.ones(len(at), dtype=bool), np.logical_and.accumulate(stays[:, :-1], axis=1)])
    return wanted & reads


def sessions(rng: np.random.Generator, users: str, noise: float, many: int) -> dict[str, Any]:
    """Counts over sessions: how interleaved ones ended, clicks on the lists of both rankers alone, relevant items."""
    every = (many, ITEMS)
    worth = rng.normal(size=every)
    chance = 1 / (1 + np.exp(2.5 - 1.5 * worth - rng.normal(size=(many, 1))))
    relevant = rng.random(every) < chance
    seen = worth + SHARED * rng.normal(size=every)
    first, second = (np.argsort(-(seen + own * rng.normal(size=every)), axis=1)[:, :LENGTH] for own in (FIRST, noise))
    coins = rng.integers(0, 2, (many, LENGTH // 2))
    items, teams = draft(first, second, coins)
    # A user's luck with an item, and with a place, is the same for every list: differences are seen in fewer sessions.
    of_item, of_place = rng.random(every), rng.random((many, LENGTH))

    def take(values: NDArray[Any], chosen: Ints) -> NDArray[Any]:
        return np.take_along_axis(values, chosen, axis=1)

    clicked, alone, beside = (
        click(users, take(relevant, x), (take(of_item, x), of_place)) for x in (items, first, second)
    )
    ours, theirs = (clicked & (teams == 0)).sum(axis=1), (clicked & (teams == 1)).sum(axis=1)
    for s in range(20):
        one = team_draft(first[s].tolist(), second[s].tolist(), LENGTH, Coins(coins[s]))
        assert (one.items, one.teams) == (tuple(items[s].tolist()), tuple(teams[s].tolist()))
        assert credit(one.teams, clicked[s].tolist()) == (ours[s], theirs[s])
    both = alone.sum(axis=1) * (LENGTH + 1) + beside.sum(axis=1)
    return {
        "ended": np.bincount(np.sign(ours - theirs) + 1, minlength=3),
        "both": np.bincount(both, minlength=(LENGTH + 1) ** 2).reshape(LENGTH + 1, LENGTH + 1),
        "relevant": take(relevant, first)[:, :5].sum() - take(relevant, second)[:, :5].sum(),
    }


def needed(effect: float, variance: float) -> int:
    """Sessions for an effect whose estimate has this variance over the number of sessions."""
    return math.ceil((normal_quantile(ALPHA / 2) + normal_quantile(1 - POWER)) ** 2 * variance / effect**2)


def moments(counts: Floats, values: Floats) -> tuple[float, float]:
    """Mean and variance of `values` that were seen so often."""
    total, mean = counts.sum(), float((counts * values).sum() / counts.sum())
    return mean, float((counts * (values - mean) ** 2).sum() / total)


def do(task: Task) -> dict[str, Any]:
    """One setting: sessions needed, and the power that they have."""
    rng = seed_of(task)
    blocks = [sessions(rng, task["users"], task["noise"], BLOCK) for _ in range(task["blocks"])]
    ended, both = (np.sum([x[name] for x in blocks], axis=0).astype(float) for name in ("ended", "both"))
    many, arms = task["blocks"] * BLOCK, (both.sum(axis=1), both.sum(axis=0))
    delta, spread = moments(ended, np.array([-0.5, 0.0, 0.5]))
    n = needed(delta, spread)
    trials: dict[str, dict[str, float]] = {}
    for name, value in RATES.items():
        (x, s), (y, t) = (moments(arm, value) for arm in arms)
        paired = moments(both, value[:, None] - value)[1]
        # Half of the sessions go to each arm.
        trials[name] = {
            "lift": x / y - 1,
            "off": (x - y) / math.sqrt(paired / many) if paired > 0 else 0.0,
            "n": needed(x - y, 2 * (s + t)) if x != y else 0,
        }
    sound = [name for name in trials if trials[name]["off"] > SURE]
    best = min(sound, key=lambda name: trials[name]["n"]) if sound else None
    found = 0
    decided = {1: 0, 10: 0}
    for _ in range(task["repeats"]):
        losses, ties, wins = rng.multinomial(n, ended / ended.sum())
        counts = (wins, losses, ties)
        drawn = preference(np.repeat([1, 0, 0], counts), np.repeat([0, 1, 0], counts))
        found += drawn.interval(ALPHA / 2, ALPHA / 2)[0] > 0
        for times in decided if best else ():
            half = max(times * n // 2, 2)
            (x, s), (y, t) = (moments(rng.multinomial(half, arm / many).astype(float), RATES[best]) for arm in arms)
            decided[times] += x - y > normal_quantile(ALPHA / 2) * math.sqrt((s + t) / half)
    return {
        "relevant": int(sum(x["relevant"] for x in blocks)),
        "delta": delta,
        "off": delta / math.sqrt(spread / many),
        "n": n,
        "trials": trials,
        "best": best,
        "found": found / task["repeats"],
        "decided": [x / task["repeats"] for x in decided.values()] if best else [None, None],
    }


def main() -> int:
    given = arguments(__doc__).parse_args()
    repeats = given.repeats or (200 if given.quick else 1000)
    gaps = {k: NOISE[k] for k in (("middling", "large") if given.quick else NOISE)}
    tasks = [
        {"users": u, "gap": g, "noise": s, "blocks": 4 if given.quick else 16, "repeats": repeats, "seed": given.seed}
        for u in (*CASCADE, "position-based")
        for g, s in gaps.items()
    ]
    failed, rows = [], []
    for task, r in work("interleaving", tasks, do, given.jobs):
        users, name, trials = task["users"], f"{task['users']} users, {task['gap']} gap", r["trials"]
        best = r["best"]
        ratio = trials[best]["n"] / r["n"] if best else math.nan
        rows.append(
            [
                name,
                *(f"{100 * trials[rate]['lift']:+.1f}" for rate in RATES),
                f"{r['delta']:.3f}",
                f"{r['n']:,}",
                f"{trials[best]['n']:,}" if best else "–",
                f"{ratio:.0f}" if best else "–",
                per_cent(r["found"]),
                *map(per_cent, r["decided"]),
            ]
        )
        if r["relevant"] <= 0 or r["off"] < SURE:
            failed.append(f"{name}: interleaving does not prefer the better ranker")
        # Exact shares of few decided sessions, and rounding, may cost two points of power.
        if r["found"] < POWER - 0.02 - SURE * error_of(POWER, repeats):
            failed.append(f"{name}: the better ranker is found in only {per_cent(r['found'])} % of the repeats")
        if users not in FEWER:
            continue
        if best is None:
            failed.append(f"{name}: no click rate rises with quality")
        elif ratio < FEWER[users]:
            failed.append(f"{name}: interleaving needs only {ratio:.1f} times fewer sessions")
        if FEWER[users] == 10 and best and r["decided"][1] > POWER + SURE * error_of(POWER, repeats):
            failed.append(f"{name}: the A/B test decides on 10 times the sessions")
    text = f"{repeats} repeats; sessions for {per_cent(POWER)} % power at {per_cent(ALPHA)} %, two-sided.\n\n"
    text += markdown(
        [
            "users, gap",
            "sessions with a click, lift %",
            "clicks per session, lift %",
            "Delta",
            "sessions",
            "A/B sessions",
            "times fewer",
            "found %",
            "A/B on as many %",
            "A/B on 10 times as many %",
        ],
        rows,
    )
    print(text)
    if given.markdown:
        given.markdown.write_text(text + "\n", encoding="utf-8")
    print("\n".join(failed) if failed else "\nEvery promise is kept.")
    return int(bool(failed))


if __name__ == "__main__":
    sys.exit(main())
