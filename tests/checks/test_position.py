"""Positions used as features, and what a place does to clicks."""

from pathlib import Path

import numpy as np
import polars as pl
import pytest

from afterlaunch.checks.position import CHECK
from afterlaunch.roles import Roles
from tests.checks.evidences import alarms, evidence, findings
from tests.simulation import at_most

FULL = Roles(list="q", position="rank", outcome="y", item="item", version="v", propensity="p", unit="u")


def log(rng: np.random.Generator, lists: int, *, slope: float = 1.0, how: str = "random") -> pl.DataFrame:
    """Lists of five of 20 items; clicks fall off as place ** -slope; how they were ordered."""
    n = 5 * lists
    worth = np.linspace(0.1, 0.5, 20)
    rank = np.tile(np.arange(1, 6), lists)
    item = np.concatenate([rng.choice(20, 5, replace=False) for _ in range(lists)])
    version = np.full(n, "only")
    if how == "by worth":
        item = np.sort(item.reshape(-1, 5), axis=1)[:, ::-1].ravel()
    if how == "two versions":
        which = rng.integers(0, 2, lists)
        order = np.where(which[:, None] == 0, worth[item.reshape(-1, 5)], np.sin(5.0 * item.reshape(-1, 5)))
        item = np.take_along_axis(item.reshape(-1, 5), np.argsort(-order, axis=1), axis=1).ravel()
        version = np.where(np.repeat(which, 5) == 0, "old", "new")
    clicked = rng.random(n) < worth[item] * rank.astype(float) ** -slope
    return pl.DataFrame(
        {
            "q": np.repeat(np.arange(lists), 5),
            "u": np.repeat(np.arange(lists) // 3, 5),
            "rank": rank,
            "item": item,
            "x": rng.normal(size=n),
            "v": version,
            "p": np.full(n, 0.05) if how == "random" else rng.random(n),
            "y": clicked.astype(int),
        }
    )


# ------------------------------------------------------------------ positions as features


def used(frame: pl.DataFrame, roles: Roles) -> set[str]:
    return {n for n in alarms(findings(CHECK, evidence(frame, frame, roles))) if n.startswith("used@")}


def test_no_feature_like_the_position() -> None:
    frame = log(np.random.default_rng(0), 300)
    found = findings(CHECK, evidence(frame, frame, FULL))
    assert found["used@x"].verdict == "ok"
    assert "no feature comes closer" in found["used@x"].sentence


def test_the_position_as_a_feature() -> None:
    frame = log(np.random.default_rng(1), 300)
    roles = Roles(list="q", position="rank", outcome="y", features=("rank", "x"))
    assert used(frame, roles) == {"used@rank"}
    one = findings(CHECK, evidence(frame, frame, roles))["used@rank"]
    assert (
        one.sentence
        == "'rank' is the position itself, and is a feature of the model; a place is not known before the ranking."
    )
    assert one.effect is not None
    assert (one.effect.value, one.primary) == (1.0, True)
    assert "Retrain without 'rank'" in one.action


@pytest.mark.parametrize("listed", [True, False])
def test_columns_that_stand_in_for_it(listed: bool) -> None:
    rng = np.random.default_rng(2)
    frame = log(rng, 300)
    rank = frame["rank"].to_numpy().astype(float)
    offset = np.repeat(rng.normal(size=300) * 50, 5)
    frame = frame.with_columns(
        slot=pl.Series(-10 * rank),
        noisy=pl.Series(rank + 0.1 * rng.normal(size=1500)),
        shifted=pl.Series(-np.exp(-rank) + offset),
        loose=pl.Series(rank + 2 * rng.normal(size=1500)),
        holes=pl.Series(np.where(rng.random(1500) < 0.3, np.nan, rank)),
        text=pl.Series(rank).cast(pl.String),
    )
    roles = FULL if listed else Roles(position="rank", outcome="y", ignore=("q", "u", "item", "v", "p"))
    expected = {"used@slot", "used@noisy", "used@holes"} | ({"used@shifted"} if listed else set())
    assert used(frame, roles) == expected


def test_a_column_that_says_it_is_a_rank_without_a_position_role() -> None:
    frame = log(np.random.default_rng(3), 100).with_columns(rank_of_page=pl.lit(1), position_score=pl.col("x"))
    roles = Roles(list="q", outcome="y", ignore=("u", "item", "v", "p"))
    assert used(frame, roles) == {"used@rank"}
    assert not used(frame, roles.with_(ignore=("rank",)))


@pytest.mark.parametrize("rho", [0.95, 0.99])
def test_false_alarms_and_power_of_a_stand_in(rho: float) -> None:
    """Rank correlation of the margin itself: an alarm in at most 5 %; of .99 in nearly all tables of 300 rows."""
    rng, repeats, said = np.random.default_rng(4), 300, 0
    roles = Roles(position="p", outcome="y")
    linear = 2 * np.sin(np.pi * rho / 6)
    for _ in range(repeats):
        place = rng.normal(size=300)
        other = linear * place + np.sqrt(1 - linear**2) * rng.normal(size=300)
        said += bool(used(pl.DataFrame({"p": place, "z": other}), roles))
    assert (said / repeats <= at_most(0.05, repeats)) if rho == 0.95 else (said / repeats > 0.95)


# ------------------------------------------------------------------ what a place does to clicks


@pytest.mark.parametrize("how", ["random", "two versions"])
def test_the_curve_and_the_corrected_click_rate(how: str) -> None:
    frame = log(np.random.default_rng(5), 6000, how=how)
    found = findings(CHECK, evidence(frame, frame, FULL))
    one = found["examination@rank"]
    assert one.effect is not None
    assert one.effect.low < 0.8 < one.effect.high
    assert (one.verdict, one.primary) == ("alarm", False)
    assert one.table is not None
    assert one.table["kind"] == "lines"
    assert one.table["series"][0]["x"] == [1, 2, 3, 4, 5]
    rate = found["corrected@click rate"]
    assert rate.effect is not None
    assert rate.verdict == "alarm"
    if how == "random":
        assert rate.effect.low < 5 / sum(1 / k for k in range(1, 6)) - 1 < rate.effect.high


def test_a_version_named_random_is_taken_for_random() -> None:
    frame = log(np.random.default_rng(6), 2000).with_columns(v=pl.lit("random-slice")).drop("p")
    assert "examination@rank" in alarms(findings(CHECK, evidence(frame, frame, FULL)))


@pytest.mark.slow
def test_false_alarms_of_the_curve() -> None:
    """Where places do nothing, "a fifth is lost" or "a fifth is taken" is said in at most 5 % of 200 logs."""
    rng, repeats, said = np.random.default_rng(7), 200, 0
    for _ in range(repeats):
        frame = log(rng, 1000, slope=0.0)
        said += bool(alarms(findings(CHECK, evidence(frame, frame, FULL))))
    assert said / repeats <= at_most(0.05, repeats)


def test_without_randomisation_it_says_so() -> None:
    frame = log(np.random.default_rng(8), 500, how="by worth")
    found = findings(CHECK, evidence(frame, frame, Roles(list="q", position="rank", outcome="y", propensity="p")))
    for name in ("examination@rank", "corrected@rank"):
        assert (found[name].verdict, found[name].reason, found[name].primary) == (
            "undecided",
            "no_randomisation",
            False,
        )
    assert "random order" in found["examination@rank"].action


def test_a_propensity_of_one_is_no_chance() -> None:
    frame = log(np.random.default_rng(9), 500).with_columns(p=pl.lit(1.0)).drop("item")
    assert findings(CHECK, evidence(frame, frame, FULL))["examination@rank"].reason == "no_randomisation"


def test_too_few_clicks_are_said_to_be() -> None:
    frame = log(np.random.default_rng(10), 20)
    one = findings(CHECK, evidence(frame, frame, FULL))["examination@rank"]
    assert one.reason == "too_few_clicks"
    assert "at least 10 at each place" in one.sentence


def test_scores_give_a_corrected_dcg_and_text_outcomes_count() -> None:
    rng = np.random.default_rng(11)
    frame = log(rng, 3000).with_columns(
        s=pl.Series(rng.normal(size=15_000)), y=pl.col("y").replace_strict({0: "no", 1: "yes"})
    )
    found = findings(CHECK, evidence(frame, frame, FULL.with_(score="s", positive="yes")))
    assert {"corrected@click rate", "corrected@DCG"} <= found.keys()


@pytest.mark.real_data("open_bandit_men")
def test_open_bandit_is_honestly_undecided(real_data: Path) -> None:
    """46 random clicks on three positions: the curve and the correction cannot be told from none."""
    frame = pl.read_parquet(real_data / "open_bandit_men" / "log.parquet")
    roles = Roles(
        version="policy",
        position="position",
        outcome="click",
        item="item_id",
        propensity="propensity_score",
        time="timestamp",
    )
    random = frame.filter(pl.col("policy") == "random")
    found = findings(CHECK, evidence(random, frame, roles))
    assert not alarms(found)
    assert found["examination@position"].verdict == found["corrected@click rate"].verdict == "undecided"
    assert (found["examination@position"].rows_needed or 0) > 50_000


# ------------------------------------------------------------------ poor and odd tables


@pytest.mark.parametrize("rows", [0, 1, 2, 7])
def test_hardly_any_rows(rows: int) -> None:
    frame = log(np.random.default_rng(12), 3)[:rows]
    assert not alarms(findings(CHECK, evidence(frame, frame, FULL)))


def test_odd_values() -> None:
    frame = log(np.random.default_rng(13), 40)
    for column in (
        pl.lit(None, dtype=pl.Int64).alias("rank"),
        pl.lit(1).alias("rank"),
        pl.lit("first").alias("rank"),
        pl.lit(float("inf")).alias("rank"),
        pl.lit(1e30).alias("rank"),
        pl.lit(None, dtype=pl.Int64).alias("y"),
        pl.lit(-1).alias("y"),
        pl.lit("yes").alias("y"),
        pl.lit(None, dtype=pl.String).alias("q"),
        pl.lit(0).alias("y"),
        pl.col("rank").alias("slot"),
        pl.lit(None, dtype=pl.String).alias("v"),
        pl.lit(float("nan")).alias("p"),
        pl.lit(None, dtype=pl.Int64).alias("x"),
        pl.col("x").alias("^.*$"),
    ):
        odd = frame.with_columns(column)
        findings(CHECK, evidence(odd, odd, FULL))
    assert not findings(CHECK, evidence(frame.drop("rank", "y"), frame.drop("rank", "y"), Roles()))


def test_five_thousand_columns_are_quick() -> None:
    import time

    rng = np.random.default_rng(14)
    frame = log(rng, 400).hstack(pl.DataFrame(rng.random((2000, 5000)), orient="row"))
    given = evidence(frame, frame, FULL)
    start = time.perf_counter()
    CHECK.run(given)
    assert time.perf_counter() - start < 30


def test_features_that_are_no_numbers_are_no_positions() -> None:
    frame = log(np.random.default_rng(15), 50).select("q", "rank", "y").with_columns(t=pl.lit("a"))
    assert not used(frame, Roles(list="q", position="rank", outcome="y"))
    empty = frame.with_columns(rank=pl.lit(None, dtype=pl.Int64))
    assert not used(empty, Roles(list="q", outcome="y"))
