"""One table in every form that a user may hand in, and a table with a bit of everything in it."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import polars as pl

ENGINES = ("parquet", "polars", "lazy", "pandas", "pandas-arrow", "pyarrow", "duckdb")


@contextmanager
def handed_in(engine: str, folder: Path, **tables: pl.DataFrame) -> Iterator[dict[str, Any]]:
    """The tables as this engine's objects (or as paths), while its connection is open."""
    connection = duckdb.connect() if engine == "duckdb" else None
    try:
        yield {name: _as(engine, frame, folder / f"{name}.parquet", connection) for name, frame in tables.items()}
    finally:
        if connection is not None:
            connection.close()


def _as(engine: str, frame: pl.DataFrame, path: Path, connection: duckdb.DuckDBPyConnection | None) -> Any:
    if engine in {"parquet", "duckdb"}:
        frame.write_parquet(path)
    if connection is not None:
        return connection.read_parquet(str(path))
    if engine == "parquet":
        return path
    if engine == "lazy":
        return frame.lazy()
    if engine == "pandas":
        return frame.to_pandas()
    if engine == "pandas-arrow":
        return frame.to_pandas(use_pyarrow_extension_array=True)
    if engine == "pyarrow":
        return frame.to_arrow()
    return frame


def mixed(rows: int, seed: int, *, shift: float = 0.0) -> pl.DataFrame:
    """A log with every type and every kind of hole; `shift` moves its numbers and its categories.

    Features: floats with null, NaN and both infinities; integers with nulls; booleans with nulls;
    a categorical; text of many values; times; a constant; a column of nulls. Outcome `y`, score
    `p`, unit `user` (numbers), `name` (the same as text), bucket `group`, segment `country`.
    """
    rng = np.random.default_rng(seed)
    age = rng.normal(40 + 10 * shift, 12, rows)
    score = 1 / (1 + np.exp(-(0.06 * (age - 40) + rng.normal(0, 0.7, rows))))
    user = rng.integers(0, max(rows // 4, 1), rows)
    amount = rng.lognormal(3 + shift, 1, rows)
    amount[rng.random(rows) < 0.02] = np.inf
    amount[rng.random(rows) < 0.01] = -np.inf
    amount[rng.random(rows) < 0.05] = np.nan
    kinds = rng.choice(["red", "green", "blue", "grey"], rows, p=[0.5 - 0.2 * shift, 0.3, 0.15, 0.05 + 0.2 * shift])
    start = dt.datetime(2026, 1, 1)  # noqa: DTZ001 - a naive time is what most tables hold
    return pl.DataFrame(
        {
            "age": pl.Series(age).set(pl.Series(rng.random(rows) < 0.03), None),
            "amount": pl.Series(amount).set(pl.Series(rng.random(rows) < 0.02), None),
            "visits": pl.Series(rng.poisson(3 + shift, rows)).set(pl.Series(rng.random(rows) < 0.1), None),
            "member": pl.Series(rng.random(rows) < 0.3 + 0.1 * shift).set(pl.Series(rng.random(rows) < 0.04), None),
            "colour": pl.Series(kinds).cast(pl.Categorical),
            "town": pl.Series([f"town {i}" for i in rng.zipf(1.4, rows) % 300]),
            "seen": pl.Series([start + dt.timedelta(minutes=int(m)) for m in rng.integers(0, 10_000, rows)]),
            "constant": pl.Series([7] * rows),
            "nothing": pl.Series([None] * rows, dtype=pl.Float64),
            "user": pl.Series(user),
            "name": pl.Series([f"user {u}" for u in user]),
            "group": pl.Series(user % 64),
            "country": pl.Series(rng.choice(["DE", "FR"], rows)),
            "p": pl.Series(score),
            "y": pl.Series((rng.random(rows) < score).astype(int)),
        }
    )


def model(rows: Any) -> np.ndarray:
    """A served model: takes Polars or pandas rows, returns probabilities; what is missing counts as average."""

    def column(name: str, usual: float) -> np.ndarray:
        values = np.asarray(rows[name].to_numpy(), dtype=float)
        return np.where(np.isnan(values), usual, values)

    z = 0.05 * (column("age", 40) - 40) + 0.8 * column("talk", 0) - 0.15 * (column("place", 3) - 3)
    return np.asarray(1 / (1 + np.exp(-z)))


ROLES: dict[str, Any] = {
    "id": "request",
    "time": "ts",
    "unit": "user",
    "version": "build",
    "score": "p",
    "outcome": "y",
    "position": "place",
    "segment": "country",
}
"""Roles of the columns of `launched`."""


def launched(rows: int = 3000, seed: int = 0) -> tuple[pl.DataFrame, pl.DataFrame]:
    """An offline test and the log of a launch in which every check finds something.

    `talk` is known only after the outcome: a leak, absent from the log. `income` is another unit in
    the log for the same requests. `place` is where the item stood, and a feature. `age` moved.
    """
    rng = np.random.default_rng(seed)
    start = dt.datetime(2026, 1, 1)  # noqa: DTZ001
    frames = []
    for first, older in ((0, 0.0), (rows // 2, 6.0)):
        age = rng.normal(40 + older, 12, rows)
        truth = 1 / (1 + np.exp(-0.05 * (age - 40)))
        y = (rng.random(rows) < truth).astype(int)
        number = np.arange(first, first + rows)
        frames.append(
            pl.DataFrame(
                {
                    "request": number,
                    "ts": [start + dt.timedelta(minutes=int(m)) for m in number],
                    "user": number % 400,
                    "build": np.where(number % 2, "a", "b"),
                    "country": rng.choice(["DE", "FR"], rows),
                    "place": rng.integers(1, 6, rows),
                    "age": age,
                    "income": np.random.default_rng(1).lognormal(10, 1, 2 * rows)[first : first + rows],
                    "talk": rng.normal(2 * y, 1.0),
                    "y": y,
                }
            )
        )
    offline, log = frames
    offline = offline.with_columns(p=pl.Series(model(offline)))
    served = log.with_columns(talk=pl.lit(None, dtype=pl.Float64))
    log = log.with_columns(p=pl.Series(model(served)), income=pl.col("income") / 100).drop("talk")
    return offline, log


LIVED: dict[str, Any] = {
    "id": "request",
    "time": "ts",
    "unit": "user",
    "score": "p",
    "prediction": "said",
    "outcome": "y",
    "text": "query",
    "segment": "country",
}
"""Roles of the columns of `lived`."""

_OLD = ("cheap flights to oslo", "flights oslo morning", "hotel near airport", "rent a car", "bus to the airport")
_NEW = ("refund my cancelled ticket", "visa for turkey rules", "lost luggage claim form")


def lived(rows: int = 24, seed: int = 0) -> tuple[pl.DataFrame, pl.DataFrame]:
    """A reference of eight weeks and a log of the four that follow, in which every check that follows windows finds
    something: half-way `age` moves, `income` and `debt` come apart, users ask for other things, and the score, which
    follows what the outcome was, turns wrong.

    Args:
        rows: Rows of a day.
        seed: Of the draw.
    """
    rng = np.random.default_rng(seed)
    start = dt.datetime(2026, 1, 5)  # noqa: DTZ001
    frames = []
    for first, days in ((0, 56), (56, 28)):
        n = days * rows
        day = first + np.arange(n) // rows
        late = day >= 70
        age = rng.normal(40 + 9 * late, 12, n)
        income = rng.normal(0, 1, n)
        debt = np.where(late, -1, 1) * income + rng.normal(0, 0.3, n)
        truth = 1 / (1 + np.exp(-1.5 * income))
        y = rng.random(n) < np.where(late, 1 - truth, truth)
        query = np.where(late & (rng.random(n) < 0.5), rng.choice(_NEW, n), rng.choice(_OLD, n))
        number = first * rows + np.arange(n)
        frames.append(
            pl.DataFrame(
                {
                    "request": number,
                    "ts": [start + dt.timedelta(days=int(d), minutes=int(i % rows)) for i, d in enumerate(day)],
                    "user": number % 300,
                    "country": rng.choice(["DE", "FR"], n),
                    "age": age,
                    "income": income,
                    "debt": debt,
                    "query": query,
                    "p": truth,
                    "said": (truth >= 0.5).astype(int),
                    "y": y.astype(int),
                }
            )
        )
    return frames[0], frames[1]


COMPARED: dict[str, Any] = {
    "version": "version",
    "id": "request",
    "unit": "user",
    "score": "p",
    "outcome": "y",
    "segment": "country",
}
"""Roles of the columns of `compared`."""


def versions(frame: pl.DataFrame) -> pl.DataFrame:
    """A log as the panel of two versions: the new one scores otherwise."""
    new = frame.with_columns(p=1 - pl.col("p") ** 2) if "p" in frame.columns else frame
    return pl.concat([frame.with_columns(version=pl.lit("old")), new.with_columns(version=pl.lit("new"))])


def compared(rows: int = 800, seed: int = 0) -> tuple[pl.DataFrame, pl.DataFrame]:
    """A panel in which two versions disagree, twice: a comparison has one table."""
    panel = versions(launched(rows, seed)[0])
    return panel, panel


RANKED: dict[str, Any] = {
    "version": "version",
    "list": "user",
    "item": "item",
    "position": "place",
    "category": "genre",
    "segment": "country",
}
"""Roles of the columns of `ranked`."""


def ranked(users: int = 200, seed: int = 0) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Lists of five items by two versions, of which the new one shows other items and mostly one category; twice."""
    rng = np.random.default_rng(seed)
    genres, parts = np.array(["action", "comedy", "drama"]), []
    for version, items in (("old", 30), ("new", 36)):
        chosen = np.argsort(rng.random((users, items)) + (np.arange(items) % 3 == 1) * (version == "old"), axis=1)[
            :, :5
        ]
        parts.append(
            pl.DataFrame(
                {
                    "version": [version] * (5 * users),
                    "user": np.repeat(np.arange(users), 5),
                    "country": np.repeat(np.where(np.arange(users) % 2, "DE", "FR"), 5),
                    "item": [f"item {i}" for i in chosen.ravel()],
                    "genre": genres[chosen.ravel() % 3],
                    "place": np.tile(np.arange(1, 6), users),
                }
            )
        )
    panel = pl.concat(parts)
    return panel, panel


def replicated(rows: int = 400, seeds: int = 6) -> tuple[pl.DataFrame, pl.DataFrame]:
    """A panel of two versions, each trained several times; twice."""
    base = launched(rows)[0]
    parts = []
    for version, lean in (("old", 0.0), ("new", 0.4)):
        for seed in range(seeds):
            noise = np.random.default_rng([seed, len(version), int(10 * lean)]).normal(0, 0.3, rows)
            logit = (pl.col("p") / (1 - pl.col("p"))).log() + lean + pl.Series(noise)
            parts.append(base.with_columns(p=1 / (1 + (-logit).exp()), version=pl.lit(version), seed=pl.lit(seed)))
    panel = pl.concat(parts)
    return panel, panel


CLUSTERED: dict[str, Any] = {"id": "member"}
"""Roles of the columns of `clustered`."""


def clustered(rows: int = 600, seed: int = 0) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Two weeks of the same members: cluster 0 splits, cluster 1 goes on under another label, and 2 loses some."""
    rng = np.random.default_rng(seed)
    before = np.arange(rows) % 3
    age, colour = rng.normal(20 + 20 * before, 2), np.array(["red", "green", "blue"])[before]
    after = np.select([before == 1, before == 2, np.arange(rows) % 2 == 0], [7, 2, 5], 9)
    after = np.where(rng.random(rows) < 0.05, 2, after)
    common = pl.DataFrame({"member": np.arange(rows), "age": age, "colour": colour})
    return common.with_columns(cluster=pl.Series(before)), common.with_columns(cluster=pl.Series(after))


LOOPED: dict[str, Any] = {
    "time": "ts",
    "unit": "user",
    "item": "place",
    "category": "country",
    "outcome": "y",
}
"""Roles of the columns of `looped`; "by_chance" says which impressions were filled by chance."""


def looped(rows: int = 8000, seed: int = 0) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Ten weeks of impressions, in both places: what is clicked is shown more the next week."""
    rng = np.random.default_rng(seed)
    start = dt.datetime(2026, 1, 5)  # noqa: DTZ001
    shares, parts = np.full(40, 1 / 40), []
    quality = rng.uniform(0.1, 0.5, 40)
    for week in range(10):
        chance = rng.random(rows // 10) < 0.3
        item = np.where(chance, rng.integers(0, 40, rows // 10), rng.choice(40, rows // 10, p=shares))
        clicked = rng.binomial(1, quality[item])
        at = [start + dt.timedelta(weeks=week, minutes=round(m)) for m in rng.uniform(0, 7 * 24 * 60 - 1, rows // 10)]
        parts.append(
            pl.DataFrame(
                {
                    "ts": at,
                    "user": rng.integers(0, 300, rows // 10),
                    "place": item,
                    "country": np.array(["pl", "de"])[item % 2],
                    "y": clicked,
                    "by_chance": chance,
                }
            )
        )
        clicks = np.bincount(item, clicked, minlength=40) + 1.0
        shares = clicks / clicks.sum()
    log = pl.concat(parts)
    return log, log


LOGGED: dict[str, Any] = {"outcome": "y", "propensity": "p", "unit": "user", "item": "place"}
"""Roles of the columns of `logged`; "talk" is the new policy's probability."""


def logged(rows: int = 4000, seed: int = 0) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Decisions of an old policy among four items, with their chances under it and under a new one, in both places."""
    rng = np.random.default_rng(seed)
    old, new, rates = np.array([0.4, 0.3, 0.2, 0.1]), np.array([0.1, 0.2, 0.3, 0.4]), np.array([0.1, 0.2, 0.3, 0.4])
    item = rng.choice(4, rows, p=old)
    log = pl.DataFrame(
        {
            "user": rng.integers(0, rows // 4, rows),
            "place": item,
            "y": rng.binomial(1, rates[item]),
            "p": old[item],
            "talk": new[item],
        }
    )
    return log, log


DRAFTED: dict[str, Any] = {"list": "request", "outcome": "y", "unit": "user", "position": "place"}
"""Roles of the columns of `drafted`."""


def drafted(lists: int = 600, seed: int = 0) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Lists of four places drafted from two rankers, of which users like the second, in both places."""
    rng = np.random.default_rng(seed)
    team = np.array([[0, 1, 1, 0], [1, 0, 0, 1]])[rng.integers(0, 2, lists)].ravel()
    log = pl.DataFrame(
        {
            "request": np.repeat(np.arange(lists), 4),
            "user": np.repeat(rng.integers(0, lists // 3, lists), 4),
            "place": np.tile(np.arange(1, 5), lists),
            "team": np.array(["old", "new"])[team],
            "y": rng.binomial(1, np.array([0.1, 0.3])[team]),
        }
    )
    return log, log


EXPERIMENTED: dict[str, Any] = {
    "version": "arm",
    "unit": "user",
    "time": "ts",
    "segment": "country",
    "outcome": "y",
    "latency_ms": "age",
}
"""Roles of the columns of `experimented`."""


def experimented(users: int = 1600, seed: int = 0) -> tuple[pl.DataFrame, pl.DataFrame]:
    """A log of twelve days of an experiment, in both places: the model sells more, and a few values miss."""
    rng = np.random.default_rng(seed)
    rows = rng.poisson(2, users) + 1
    user = np.repeat(np.arange(users), rows)
    arm = np.where(user % 2 == 0, "rules", "model")
    start = dt.datetime(2026, 1, 1)  # noqa: DTZ001
    days = rng.uniform(0, 12, user.size)
    bought = rng.binomial(1, np.where(arm == "model", 0.5, 0.3)).astype(float)
    frame = pl.DataFrame(
        {
            "user": user,
            "arm": arm,
            "ts": [start + dt.timedelta(seconds=round(86_400 * float(d))) for d in days],
            "country": np.array(["pl", "de"])[user // 2 % 2],
            "y": bought,
            "age": rng.lognormal(3, 0.5, user.size),
        }
    )
    frame = frame.with_columns(y=pl.when(pl.int_range(pl.len()) % 50 == 0).then(None).otherwise(pl.col("y")))
    return frame, frame
