"""What broken columns cost: which are tried, the drop with its interval, and models that refuse."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import polars as pl
import pytest
from sklearn.metrics import roc_auc_score

from afterlaunch.checks.evidence import Evidence, Sample
from afterlaunch.checks.rescore import CHECK
from afterlaunch.decide import Margins, decide
from afterlaunch.finding import Finding, Verdict
from afterlaunch.profile.types import MetricCounts, PairCounts
from afterlaunch.roles import Roles
from tests.simulation import at_least, at_most

ROLES = Roles(score="p", outcome="y")
WEIGHT = {"x": 2.0, "z": 1.0, "w": 0.5}


def model(frame: pl.DataFrame) -> np.ndarray:
    raw = sum(k * frame[name].fill_null(0).to_numpy() for name, k in WEIGHT.items() if name in frame.columns)
    return np.asarray(1 / (1 + np.exp(1 - raw)))


def offline(n: int = 4000, seed: int = 0) -> pl.DataFrame:
    rng = np.random.default_rng(seed)
    frame = pl.DataFrame({name: rng.normal(size=n) for name in WEIGHT})
    return frame.with_columns(y=pl.Series((rng.random(n) < model(frame)).astype(int)), p=pl.Series(model(frame)))


def findings(
    reference: pl.DataFrame,
    production: pl.DataFrame,
    predict: Callable[..., Any] | None = model,
    roles: Roles = ROLES,
    task: Any = "binary",
    **more: Any,
) -> list[Finding]:
    evidence = Evidence(
        roles=roles,
        task=task,
        reference_kinds=dict.fromkeys(reference.columns, "numeric"),
        production_kinds=dict.fromkeys(production.columns, "numeric"),
        reference_sample=Sample(reference, reference.height, 3),
        production_sample=Sample(production, production.height, 3),
        predict=predict,
        **more,
    )
    return decide(CHECK.run(evidence), margins=Margins(), primary=[])


def of(found: list[Finding], subject: str) -> Finding:
    return next(f for f in found if f.subject == subject)


def value(f: Finding) -> float:
    assert f.effect is not None
    return f.effect.value


def test_an_absent_column_costs_its_drop() -> None:
    frame = offline()
    (f,) = findings(frame, frame.drop("x"))
    before, after = (roc_auc_score(frame["y"], model(g)) for g in (frame, frame.drop("x")))
    assert value(f) == pytest.approx(before - after, abs=1e-4)
    assert (f.subject, f.key, f.verdict) == ("x", "drop", Verdict.ALARM)
    assert "x is missing, as production lacks it" in f.sentence
    assert f.table is not None
    assert f.table["kind"] == "parts"


def test_what_production_has_as_training_had_it_is_left_alone() -> None:
    assert findings(offline(), offline(seed=1)) == []
    assert findings(offline(), offline().drop("x"), None) == []


def test_every_way_of_being_broken_is_tried() -> None:
    frame = offline()
    rng = np.random.default_rng(0)
    live = offline(seed=1).with_columns(
        w=pl.lit(1.5), z=pl.when(pl.Series(rng.random(4000) < 0.3)).then(None).otherwise("z")
    )
    found = findings(frame, live.drop("x"))
    assert {f.subject for f in found} == {"x", "z", "w", ""}
    assert "always 1.5" in of(found, "w").sentence
    assert "missing in 3" in of(found, "z").sentence
    fixed = frame.with_columns(w=pl.lit(1.5))
    drop = roc_auc_score(frame["y"], model(frame)) - roc_auc_score(frame["y"], model(fixed))
    assert value(of(found, "w")) == pytest.approx(drop, abs=1e-4)
    # Losing 30 % of a column costs less than losing all of it.
    assert 0 < value(of(found, "z")) < value(of(findings(frame, frame.drop("z")), "z"))
    assert value(of(found, "")) > value(of(found, "x"))


def test_a_serving_value_goes_before_all() -> None:
    frame = offline()
    found = findings(frame, frame.drop("x"), options={"serving": {"x": 3, "z": 0.0}})
    assert "the value that serving puts in" in of(found, "x").sentence
    assert {f.subject for f in found} == {"x", "z", ""}


def test_columns_that_differ_row_by_row_are_drawn_anew() -> None:
    frame, live = offline(), offline(seed=1)
    pairs = PairCounts(
        matched=np.array([1000]),
        only_reference=0,
        only_production=0,
        different={"x": np.array([600]), "z": np.array([3])},
        missing={},
        examples={},
    )
    (f,) = findings(frame, live, pairs=pairs)
    assert f.subject == "x"
    assert value(f) > 0.05


def test_the_position_and_what_stands_in_for_it_are_missing_at_serving() -> None:
    frame = offline().with_columns(place=(pl.col("x") * 10).rank(), twin=pl.col("x") ** 3)
    found = findings(frame, frame, roles=ROLES.with_(position="place"))
    assert {f.subject for f in found} == {"place", "x", "twin", ""}
    assert "since it says the place" in of(found, "x").sentence


def test_a_model_that_refuses_is_undecided() -> None:
    def picky(frame: pl.DataFrame) -> np.ndarray:
        if frame["x"].null_count():
            raise ValueError("Input X contains NaN.\nUse an imputer.")
        return model(frame)

    (f,) = findings(offline(), offline().drop("x"), picky)
    assert (f.verdict, f.reason) == (Verdict.UNDECIDED, "model_refused_missing")
    assert "ValueError: Input X contains NaN. Use an imputer." in f.sentence
    assert "serving={'x': 0}" in f.action
    lost = lambda frame: np.where(frame["x"].is_null(), np.nan, model(frame))  # noqa: E731
    assert findings(offline(), offline().drop("x"), lost)[0].reason == "model_refused_missing"


@pytest.mark.parametrize(
    "broken", [lambda f: 1 / 0, lambda f: np.zeros(3), lambda f: ["a"] * f.height, lambda f: np.zeros((f.height, 5))]
)
def test_a_broken_model_is_undecided(broken: Callable[..., Any]) -> None:
    (f,) = findings(offline(), offline().drop("x"), broken)
    assert f.reason == "model_failed"


def test_too_little_is_undecided() -> None:
    frame = offline()
    assert findings(frame[:20], frame.drop("x"))[0].reason == "too_few_rows"
    assert findings(frame.with_columns(y=pl.lit(0)), frame.drop("x"))[0].reason == "too_few_of_rarer_class"
    assert findings(frame.drop("y"), frame.drop("x"))[0].reason == "no_outcomes"
    assert (
        findings(frame.with_columns(u=pl.lit(1)), frame.drop("x"), roles=ROLES.with_(unit="u"))[0].reason
        == "units_too_few"
    )


def test_two_columns_of_probabilities() -> None:
    frame = offline()
    both = lambda f: np.stack([1 - model(f), model(f)], axis=1)  # noqa: E731
    assert findings(frame, frame.drop("x"), both) == findings(frame, frame.drop("x"))


def test_numbers_and_classes() -> None:
    frame = offline().with_columns(y=pl.col("x") * 2 + pl.col("z"))
    guess = lambda f: f["x"].fill_null(0).to_numpy() * 2 + 0.9 * f["z"].fill_null(0).to_numpy()  # noqa: E731
    (f,) = findings(frame, frame.drop("z"), guess, task="regression")
    assert f.key == "drop_rmse"
    assert value(f) == pytest.approx(9, rel=0.02)
    named = frame.with_columns(y=pl.when(pl.col("x") > 0).then(pl.lit("up")).otherwise(pl.lit("down")))
    says = lambda f: np.where(f["x"].fill_null(-1) > 0, "up", "down")  # noqa: E731
    (g,) = findings(named, named.drop("x"), says, task="multiclass")
    assert g.key == "drop_accuracy"
    assert value(g) == pytest.approx(float((named["y"] == "up").mean()))


def test_its_part_of_the_gap_is_named() -> None:
    frame = offline(8000)
    counts = [histogram(frame["y"].to_numpy(), model(f)) for f in (frame, frame.drop("x"))]
    (f,) = findings(frame, frame.drop("x"), metric_reference={"": counts[0]}, metric_production={"": counts[1]})
    assert "100 % of the gap" in f.sentence
    assert f.table is not None
    assert [r["name"] for r in f.table["rows"]] == ["x", "whole gap"]


def histogram(y: np.ndarray, s: np.ndarray) -> MetricCounts:
    h = np.zeros((64, 2, 4000))
    np.add.at(h, (np.arange(y.size) % 64, y, np.minimum((s * 4000).astype(int), 3999)), 1)
    rows = h.sum(axis=(1, 2)).astype(int)
    return MetricCounts(rows, rows * 0, rows * 0, histogram=h)


def test_each_end_keeps_its_error_and_finds_a_drop() -> None:
    """The true drop is that of a million rows; both ends miss it in 5 % of samples of 800 rows."""
    large = offline(400_000, seed=99)
    truth = roc_auc_score(large["y"], model(large)) - roc_auc_score(large["y"], model(large.drop("w")))
    repeats, low, high, found = 200, 0, 0, 0
    for seed in range(repeats):
        frame = offline(800, seed=seed + 1)
        evidence = Evidence(
            roles=ROLES,
            task="binary",
            production_kinds=dict.fromkeys(["x", "z"], "numeric"),
            reference_sample=Sample(frame, 800, 0),
            predict=model,
        )
        (e,) = CHECK.run(evidence)
        assert e.interval is not None
        a, b = e.interval(0.05, 0.05)
        low, high, found = low + (a > truth), high + (b < truth), found + (a > 0)
    assert low / repeats <= at_most(0.07, repeats)
    assert high / repeats <= at_most(0.07, repeats)
    assert found / repeats >= at_least(0.7, repeats)


def test_it_is_the_same_every_time_and_leaves_its_input_alone() -> None:
    frame = offline()
    live = frame.with_columns(z=pl.when(pl.int_range(pl.len()) % 3 > 0).then("z"))
    before = frame.clone()
    assert findings(frame, live) == findings(frame, live)
    assert frame.equals(before)
