"""How much is chance: what the check says of panels with replicates, few of them, or none."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import polars as pl
import pytest

import afterlaunch as al
from afterlaunch.checks.evidence import Evidence
from afterlaunch.checks.seeds import CHECK
from afterlaunch.finding import Finding, Verdict
from afterlaunch.profile.compared import Compared
from afterlaunch.roles import Roles

ROWS = 4000
ROLES = {"id": "row", "version": "version", "score": "p", "outcome": "y"}


def panel(
    names: Sequence[str] = tuple("123456789abc"),
    *,
    worse: float = 0.0,
    noisier: float = 1.0,
    kind: str = "score",
    shared: bool = False,
) -> pl.DataFrame:
    """Two versions with replicates; "sample=…" in a name shares the noise of the sample."""
    rng = np.random.default_rng(4)
    truth = rng.normal(size=ROWS)
    happened = truth + 0.7 * rng.normal(size=ROWS)
    parts = []
    for version in ("W46", "W47"):
        samples: dict[str, np.ndarray] = {}
        for name in names:
            late = version == "W47"
            base = samples.setdefault(name.split("/")[0], 0.4 * rng.normal(size=ROWS)) if shared else 0.0
            level = (noisier if late else 1.0) * rng.normal(0, 0.06)
            latent = truth + base + 0.3 * rng.normal(size=ROWS) + level + (worse * rng.normal(size=ROWS) if late else 0)
            parts.append(
                pl.DataFrame({"row": np.arange(ROWS), "y": happened > 0, "n": 100 + 50 * happened}).with_columns(
                    version=pl.lit(version),
                    seed=pl.lit(name),
                    p=pl.Series(1 / (1 + np.exp(-latent))) if kind == "score" else pl.Series(100 + 50 * latent),
                    label=pl.Series(np.digitize(latent, [-0.7, 0.7]).astype(str)),
                )
            )
    return pl.concat(parts).with_columns(y=pl.col("y").cast(pl.Int64))


def named(table: pl.DataFrame, **given: object) -> dict[str, Finding]:
    options = {"baseline": "W46", "candidate": "W47", "replicates": "seed", "roles": ROLES, **given}
    review = al.compare(table, **options)  # type: ignore[arg-type]
    return {f.id: f for f in review if f.check == "seeds"}


def test_nothing_but_the_seed_is_no_change() -> None:
    found = named(panel())
    metric = found["seeds/metric"]
    assert (metric.verdict, metric.primary) == (Verdict.OK, True)
    assert "in the mean of 12 and 12 runs; another seed and sample alone move it by" in metric.sentence
    assert "uncertain" not in metric.sentence
    assert metric.table is not None
    assert (len(metric.table["rows"]), metric.table["unit"]) == (24, "share")
    assert not found["seeds/floor"].primary
    assert found["seeds/spread"].verdict is not Verdict.ALARM


def test_a_worse_training_is_found_and_a_lottery_is() -> None:
    assert named(panel(worse=1.0))["seeds/metric"].verdict is Verdict.ALARM
    assert named(panel(noisier=8.0))["seeds/spread"].verdict is Verdict.ALARM


def test_the_change_is_that_of_the_accuracies() -> None:
    table = panel(worse=0.5)
    right = (
        table.with_columns(right=(pl.col("p") >= 0.5) == (pl.col("y") == 1))
        .group_by("version")
        .agg(pl.col("right").mean())
    )
    before, after = right.sort("version")["right"]
    effect = named(table)["seeds/metric"].effect
    assert effect is not None
    assert effect.value == pytest.approx(after - before)
    assert effect.low < effect.value < effect.high


def test_few_replicates_say_how_little_they_tell() -> None:
    five = named(panel("12345"))["seeds/metric"]
    assert "(from 5 replicates that is uncertain: " in five.sentence
    three = named(panel("123"))
    assert "(from 3 replicates that is hardly known)" in three["seeds/metric"].sentence
    assert three["seeds/spread"].reason == "too_few_replicates"
    two = named(panel("12"))["seeds/metric"]
    assert (two.verdict, two.reason) == (Verdict.UNDECIDED, "too_few_replicates")


def test_undecided_says_how_many_replicates_would_tell() -> None:
    few = named(panel("1234", noisier=6.0))["seeds/metric"]
    assert (few.verdict, few.reason) == (Verdict.UNDECIDED, "too_few_replicates")
    assert "replicates of each would show 1 %" in few.sentence


def test_more_replicates_are_not_advised_where_rows_bind() -> None:
    rows = named(panel(worse=0.4).filter(pl.col("row") < 200))["seeds/metric"]
    assert (rows.verdict, rows.reason) == (Verdict.UNDECIDED, "too_few_rows")
    assert "more replicates would not show 1 %, more rows would" in rows.sentence


def test_a_loss_is_in_parts_of_itself_and_counts_where_there_is_no_accuracy() -> None:
    found = named(panel(kind="number"), roles={**ROLES, "outcome": "n"})
    loss = found["seeds/loss@squared_error"]
    assert loss.primary
    assert not found["seeds/loss@absolute_error"].primary
    assert loss.table is not None
    assert loss.table["unit"] == ""
    assert loss.table["rows"][0]["value"] > 100
    assert found["seeds/spread"].sentence.endswith("of the loss.")
    worse = named(panel(kind="number", worse=1.0), roles={**ROLES, "outcome": "n"})
    assert worse["seeds/loss@squared_error"].verdict is Verdict.ALARM
    effect = named(panel())["seeds/loss@brier"].effect
    assert effect is not None
    assert abs(effect.value) < 0.05


def test_the_cures_are_told_for_scores_and_for_classes() -> None:
    floor = named(panel())["seeds/floor"]
    assert "; the mean of 6 seeds would change" in floor.sentence
    assert "; half the weight on the last model's scores would bring the churn between versions from" in floor.sentence
    assert floor.table is not None
    churn = floor.table["series"][0]["y"]
    assert churn == sorted(churn, reverse=True)
    classes = {"id": "row", "version": "version", "prediction": "label"}
    voted = named(panel(), roles=classes)["seeds/floor"]
    assert "; the majority of 6 seeds would change" in voted.sentence
    assert "the last model" not in voted.sentence


def test_sources_are_told_apart_and_seeds_of_one_sample_are_one_draw() -> None:
    names = [f"sample={i}/seed={j}" for i in range(6) for j in range(3)]
    found = named(panel(names, shared=True))
    assert "with another seed alone" in found["seeds/floor"].sentence
    metric = found["seeds/metric"]
    assert "of its variance: sample" in metric.sentence
    assert "(from 6 replicates" in metric.sentence
    alone = panel([n.replace("=", "_") for n in names], shared=True)
    plain, grouped = named(alone)["seeds/floor"].effect, found["seeds/floor"].effect
    assert plain is not None
    assert grouped is not None
    assert grouped.value > plain.value  # the floor is that between samples
    two = named(panel([f"sample={i}/seed={j}" for i in range(2) for j in range(6)], shared=True))
    assert two["seeds/metric"].reason == "too_few_replicates"


def test_without_replicates_there_is_nothing_to_say() -> None:
    assert named(panel("1")) == {}
    assert CHECK.run(Evidence(Roles(), panel=Compared())) == []
    assert CHECK.run(Evidence(Roles())) == []
    found = named(panel().drop("y"), roles={k: v for k, v in ROLES.items() if k != "outcome"})
    assert set(found) == {"seeds/floor"}
