"""Recommenders that teach themselves, and some that do not: impressions over weeks whose truth is known.

Every slot of a list is filled on its own: with chance `explore` by any item of the catalogue, all alike, otherwise by
an item drawn from what the model makes of its scores. So the chance of every impression is known, and what one more
random impression does to the next week's ranking can be measured. A user clicks an item with a chance that is its
quality, times the user's taste for its category, times 1 / log2(1 + position).

    python studies/recommenders.py [--seeds N]

Other studies import `World`, `simulate`, `gini_by_week` and `response`.
"""

from __future__ import annotations

import argparse
import sys
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Literal

import numpy as np
import polars as pl
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Recommender = Literal["popularity", "mf", "thompson", "fixed", "quality_rises"]

START = datetime(2025, 1, 6, tzinfo=UTC)  # a Monday
SECONDS = 7 * 24 * 3600
PANEL = 400
"""People of a panel who judge every item every week: what a model knows of quality without its own lists."""
MOST = 0.65
"""Highest quality: even those with a taste for it click it with a chance below 1."""
SMOOTHING = 0.5
RANK, WINDOW, FLOOR = 6, 4, 0.02
"""Singular vectors of the clicks of so many weeks, and what an item gets at least, in units of the mean."""
DRAWS = 1000
"""Draws from the posterior that a Thompson sampler makes in a week; it fills every slot with the best of one."""
RISING, GAIN = 0.1, 6.0
"""Share of the items whose quality rises, and how many times as good they are in the end."""


@dataclass(frozen=True)
class World:
    """A catalogue, its users, and what recommends one to the other.

    `strength` says what a model is retrained on: at 0 on what a panel says of every item, which does not depend on what
    was shown, at 1 on the clicks of its own lists, and on a mix in between. A `fixed` model and one whose
    `quality_rises` have no use for it. A `thompson` sampler learns from clicks too, but per impression and examined
    position, so that it learns quality and does not take its own lists for it.

    `taste` is how much more a user clicks items of the category that is theirs, and `quality` in the output is the
    chance of a click at the first position, over all users.
    """

    items: int = 300
    users: int = 400
    categories: int = 6
    weeks: int = 12
    slots: int = 10
    recommender: Recommender = "popularity"
    strength: float = 1.0
    explore: float = 0.1
    seed: int = 0
    taste: float = 0.5


def qualities(world: World) -> Floats:
    """Chance of a click at the first position, shape (weeks, items)."""
    rng = _stream(world, 0)
    quality = np.clip(rng.beta(2, 14, world.items), 0.01, MOST)
    rise = np.zeros(world.items)
    if world.recommender == "quality_rises":
        rise[rng.permutation(world.items)[: round(RISING * world.items)]] = GAIN - 1
    passed = np.linspace(0, 1, world.weeks) if world.weeks > 1 else np.zeros(1)
    return np.minimum(quality * (1 + np.outer(passed, rise)), MOST)


def categories_of(world: World) -> Ints:
    """The category of every item, shape (items,)."""
    return _stream(world, 1).permutation(np.arange(world.items) % world.categories)


def simulate(world: World) -> pl.DataFrame:
    """One row per impression: week, time, user, item, category, position, clicked, explored, propensity, quality."""
    if world.weeks < 1 or not 0 <= world.strength <= 1 or not 0 <= world.explore <= 1:
        raise ValueError("A world has weeks, and a strength and a share of exploration between 0 and 1.")
    quality, category, tastes = qualities(world), categories_of(world), _tastes(world)
    model = _Model(world)
    # A stream of its own for every purpose: worlds that differ in strength alone have the same luck.
    panel, fill, luck, clock = (_stream(world, purpose) for purpose in (3, 4, 5, 6))
    shape = (world.users, world.slots)
    user = np.repeat(np.arange(world.users), world.slots).reshape(shape)
    discount = 1 / np.log2(np.arange(world.slots) + 2)
    columns: dict[str, list[NDArray[np.generic]]] = {
        name: [] for name in ("week", "second", "item", "clicked", "explored", "propensity", "quality")
    }
    for week in range(world.weeks):
        judged = panel.binomial(PANEL, quality[week])
        chance = model.chances(judged)  # (1 or users, items)
        explored = fill.random(shape) < world.explore
        item = np.where(explored, fill.integers(world.items, size=shape), _draw(chance, fill.random(shape)))
        row = user if len(chance) > 1 else np.zeros_like(user)
        propensity = world.explore / world.items + (1 - world.explore) * chance[row, item]
        true = quality[week][item]
        likes = np.minimum(true * tastes[user, category[item]], 1.0)
        clicked = luck.random(shape) < likes * discount
        model.learn(user, item, clicked, np.broadcast_to(discount, shape))
        second = np.repeat(week * SECONDS + clock.integers(SECONDS, size=world.users), world.slots)
        found = (
            np.full(shape, week),
            second,
            item,
            clicked.astype(np.int64),
            explored,
            propensity,
            true,
        )
        for column, values in zip(columns.values(), found, strict=True):
            column.append(values.ravel())
    flat = {name: np.concatenate(parts) for name, parts in columns.items()}
    names = pl.Series([f"c{c}" for c in range(world.categories)])
    return pl.DataFrame(flat).select(
        "week",
        (pl.lit(START) + pl.duration(seconds="second")).alias("time"),
        pl.Series("user", np.tile(user.ravel(), world.weeks)),
        "item",
        names.gather(pl.Series(category[flat["item"]])).alias("category"),
        pl.Series("position", np.tile(np.arange(world.slots) + 1, world.users * world.weeks)),
        "clicked",
        "explored",
        "propensity",
        "quality",
    )


class _Model:
    """What is known at the start of a week, and what is made of it."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.kind = world.recommender
        self.rng = _stream(world, 7)
        self.first: Floats | None = None
        self.clicks: Ints | None = None  # of the week before
        self.matrices: list[Floats] = []  # clicks per user and item, of the last weeks
        self.own = np.zeros((2, world.items))  # clicks and examined impressions of all weeks
        self.panel = np.zeros((2, world.items))

    def chances(self, judged: Ints) -> Floats:
        """Chance of every item in a slot that the model fills, shape (1, items) or (users, items)."""
        s = self.world.strength
        self.panel += np.stack([judged, np.full(judged.size, PANEL)])
        fresh = _log_share(judged)[None, :]
        if self.kind == "fixed":
            self.first = fresh if self.first is None else self.first
            return _softmax(self.first)
        if self.kind == "thompson":
            return self._thompson()
        if self.kind == "quality_rises" or self.clicks is None or s == 0:
            return _softmax(fresh)
        own = _log_share(self.clicks)[None, :] if self.kind == "popularity" else self._factors()
        return _softmax((1 - s) * fresh + s * own)

    def learn(self, user: Ints, item: Ints, clicked: NDArray[np.bool_], examined: Floats) -> None:
        items = self.world.items
        self.clicks = np.bincount(item[clicked], minlength=items)
        self.own += np.stack([self.clicks, np.bincount(item.ravel(), examined.ravel(), minlength=items)])
        if self.kind == "mf":
            cell = user[clicked] * items + item[clicked]
            week = np.bincount(cell, minlength=self.world.users * items).reshape(self.world.users, items)
            self.matrices = [*self.matrices, week.astype(np.float64)][-WINDOW:]

    def _factors(self) -> Floats:
        """Log shares of clicks that the first singular vectors foretell for every user, shape (users, items)."""
        clicks = np.sum(self.matrices, axis=0)
        _, vectors = np.linalg.eigh(clicks.T @ clicks)
        leading = vectors[:, -RANK:]
        foretold = np.maximum(clicks @ leading @ leading.T, 0.0) + FLOOR * max(clicks.mean(), 1e-6)
        return np.log(foretold / foretold.sum(axis=1, keepdims=True))

    def _thompson(self) -> Floats:
        s = self.world.strength
        # The panel is weighted down to the size of the own lists, or it would leave nothing to learn.
        weight = self.world.slots * self.world.users / self.world.items / PANEL
        clicks, shown = s * self.own + (1 - s) * weight * self.panel
        drawn = self.rng.beta(1 + clicks, 4 + np.maximum(shown - clicks, 0), size=(DRAWS, self.world.items))
        return np.bincount(drawn.argmax(axis=1), minlength=self.world.items)[None, :] / DRAWS


def _stream(world: World, purpose: int) -> np.random.Generator:
    return np.random.default_rng([world.seed, purpose])


def _tastes(world: World) -> Floats:
    """How much more than others a user clicks a category, shape (users, categories); 1 on average."""
    own = _stream(world, 2).permutation(np.arange(world.users) % world.categories)
    rest = 1 - world.taste / max(world.categories - 1, 1)
    return np.where(own[:, None] == np.arange(world.categories), 1 + world.taste * (world.categories > 1), rest)


def _log_share(counts: Ints) -> Floats:
    some = counts + SMOOTHING
    return np.log(some / some.sum())


def _softmax(scores: Floats) -> Floats:
    weight = np.exp(scores - scores.max(axis=1, keepdims=True))
    return weight / weight.sum(axis=1, keepdims=True)


def _draw(chance: Floats, at: Floats) -> Ints:
    """An item for every uniform number in `at`, shape (users, slots), from the chances of its user or of all."""
    ends = chance.cumsum(axis=1)
    ends /= ends[:, -1:]
    if len(chance) == 1:
        return np.searchsorted(ends[0], at, side="right").astype(np.int64)
    step = np.arange(len(chance))[:, None]
    found = np.searchsorted((ends + step).ravel(), at + step, side="right") - step * chance.shape[1]
    return np.minimum(found, chance.shape[1] - 1).astype(np.int64)


# ------------------------------------------------------------------ what it comes to


def exposure(data: pl.DataFrame, world: World, *, explored: bool | None = None) -> Ints:
    """Impressions, shape (weeks, items): all, those of the model, or the random ones."""
    rows = data if explored is None else data.filter(pl.col("explored") == explored)
    cell = rows["week"].to_numpy() * world.items + rows["item"].to_numpy()
    return np.bincount(cell, minlength=world.weeks * world.items).reshape(world.weeks, world.items)


def gini_by_week(data: pl.DataFrame, world: World) -> Floats:
    """Gini index of the impressions of all items of the catalogue, shape (weeks,)."""
    counts = np.sort(exposure(data, world), axis=1)
    rank = 2 * np.arange(1, world.items + 1) - world.items - 1
    return (counts * rank).sum(axis=1) / (world.items * counts.sum(axis=1))


def response(data: pl.DataFrame, world: World) -> tuple[float, float]:
    """What a random impression does to an item's share of the model's slots in the week after, and its standard error.

    Slope of the share on the number of random impressions, given the model's share and the quality in this week,
    over items within weeks. The standard error is that of independent items of unlike variance.
    """
    random = exposure(data, world, explored=True).astype(float)[:-1]
    shown = exposure(data, world, explored=False)
    share = shown / np.maximum(shown.sum(axis=1, keepdims=True), 1)
    quality = qualities(world)
    within = [x - x.mean(axis=1, keepdims=True) for x in (random, share[:-1], quality[:-1], quality[1:], share[1:])]
    *given, y = (x.ravel() for x in within)
    x = np.stack(given, axis=1)
    inverse = np.linalg.pinv(x.T @ x)
    slope = inverse @ x.T @ y
    off = (x * (y - x @ slope)[:, None]).reshape(*random.shape, -1).sum(axis=0)  # an item's weeks together
    return float(slope[0]), float(np.sqrt((inverse @ off.T @ off @ inverse)[0, 0]))


WORLDS = [
    World(recommender="popularity", strength=0.0),
    World(recommender="popularity", strength=0.5),
    World(recommender="popularity", strength=1.0),
    World(recommender="mf", strength=0.0),
    World(recommender="mf", strength=0.5),
    World(recommender="mf", strength=1.0),
    World(recommender="thompson", strength=1.0),
    World(recommender="fixed"),
    World(recommender="quality_rises"),
]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=10, help="worlds of every kind")
    seeds = parser.parse_args().seeds
    print("Gini index of exposure by week, and what one random impression adds to the model's share, in 1/10,000.\n")
    print("| recommender | strength | week 0 | week 3 | week 6 | week 11 | response | ± se |")
    print("|---|---:|---:|---:|---:|---:|---:|---:|")
    for world in WORLDS:
        tables = [(w := replace(world, seed=seed), simulate(w)) for seed in range(seeds)]
        gini = np.mean([gini_by_week(data, w) for w, data in tables], axis=0)
        found = np.array([response(data, w) for w, data in tables])
        slope, se = found[:, 0].mean(), np.sqrt((found[:, 1] ** 2).sum()) / seeds
        strength = "–" if world.recommender in {"fixed", "quality_rises"} else f"{world.strength:g}"
        cells = [world.recommender, strength, *(f"{gini[w]:.2f}" for w in (0, 3, 6, 11))]
        print("| " + " | ".join([*cells, f"{1e4 * slope:.2f}", f"{1e4 * se:.2f}"]) + " |")
    return 0


if __name__ == "__main__":
    sys.exit(main())
