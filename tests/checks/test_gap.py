"""The gap of a loss in two parts: which part finds which cause, and when none can be told."""

from __future__ import annotations

from typing import Any

import numpy as np
import polars as pl
import pytest

from afterlaunch.checks.evidence import Evidence, Sample
from afterlaunch.checks.gap import CHECK
from afterlaunch.decide import Margins, decide
from afterlaunch.finding import Finding, Verdict
from afterlaunch.roles import Roles

ROLES = Roles(score="p", outcome="y")


def rows(n: int, move: float = 0.0, flip: float = 0.0, seed: int = 0) -> pl.DataFrame:
    """Feature x moves by `move`; with `flip` the outcome follows x less than the model believes."""
    rng = np.random.default_rng([seed, n, int(10 * move), int(10 * flip)])
    x = rng.normal(move, 1, n)
    p, true = (1 / (1 + np.exp(1 - k * x)) for k in (1.0, 1 - flip))
    kind = rng.choice(["a", "b", "c"], n)
    y = (rng.random(n) < true).astype(int)
    return pl.DataFrame({"x": x, "noise": rng.normal(size=n), "kind": kind, "p": p, "y": y})


def findings(a: pl.DataFrame, b: pl.DataFrame, roles: Roles = ROLES, task: Any = "binary") -> list[Finding]:
    samples = [Sample(f, f.height, 0) for f in (a, b)]
    evidence = Evidence(roles=roles, task=task, reference_sample=samples[0], production_sample=samples[1])
    return decide(CHECK.run(evidence), margins=Margins(), primary=["gap"])


def of(found: list[Finding], key: str, subject: str = "log_loss") -> Finding:
    return next(f for f in found if f.key == key and f.subject == subject)


def test_other_rows_are_told_from_other_outcomes() -> None:
    offline = rows(8000)
    moved = findings(offline, rows(8000, move=1.0))
    assert of(moved, "covariate").verdict is Verdict.ALARM
    assert of(moved, "conditional").verdict is not Verdict.ALARM
    assert "moved most is x" in of(moved, "covariate").sentence
    changed = findings(offline, rows(8000, flip=0.8))
    assert of(changed, "conditional").verdict is Verdict.ALARM
    assert of(changed, "covariate").verdict is Verdict.OK
    same = findings(offline, rows(8000, seed=1))
    assert {f.verdict for f in same} <= {Verdict.OK, Verdict.UNDECIDED}


def test_it_informs_and_its_parts_add_up() -> None:
    found = findings(rows(4000), rows(4000, move=0.5, flip=0.4))
    assert {f.subject for f in found} == {"log_loss", "brier_score"}
    for f in found:
        assert not f.primary
        assert f.table is not None
        parts = {r["name"]: r["value"] for r in f.table["rows"]}
        assert parts["other rows"] + parts["other outcomes"] == pytest.approx(parts["whole change"])
        assert f.sample == 8000


def test_without_overlap_it_is_undecided() -> None:
    found = findings(rows(3000), rows(3000, move=9.0))
    assert {(f.verdict, f.reason) for f in found} == {(Verdict.UNDECIDED, "no_overlap")}
    assert "overlap by only" in found[0].sentence


def test_a_dead_column_does_not_separate_the_tables() -> None:
    """A feature that production lost would tell the tables apart by itself; it is left out and named."""
    live = rows(4000, flip=0.8).with_columns(noise=pl.lit(None, dtype=pl.Float64))
    f = of(findings(rows(4000), live), "conditional")
    assert f.verdict is Verdict.ALARM
    assert "noise" in f.sentence
    assert of(findings(rows(4000), live.drop("noise")), "conditional").effect is not None


def test_too_few_rows_and_no_features() -> None:
    assert {f.reason for f in findings(rows(100), rows(4000))} == {"too_few_rows"}
    bare = rows(1000).select("p", "y")
    assert {f.reason for f in findings(bare, bare)} == {"no_features"}


def test_rows_without_an_outcome_are_left_out() -> None:
    live = rows(4000).with_columns(y=pl.when(pl.int_range(pl.len()) % 2 == 0).then("y"))
    assert of(findings(rows(4000), live), "covariate").n == 2000
    assert findings(rows(500), rows(500).drop("y")) == []
    assert findings(rows(500), rows(500).clear()) == []


def test_numbers_and_classes() -> None:
    roles = Roles(prediction="p", outcome="y")
    found = findings(rows(2000), rows(2000), roles, "regression")
    assert {f.subject for f in found} == {"absolute_error", "squared_error"}
    named = [
        f.with_columns(p=pl.when(pl.col("p") > 0.5).then(1).otherwise(0)) for f in (rows(2000), rows(2000, flip=0.9))
    ]
    for task in ("multiclass", "binary"):
        f = of(findings(*named, roles, task), "conditional", "error_rate")
        assert f.effect is not None
        assert f.effect.value > 0
    words = [f.select("x", "p", "y").cast({"p": pl.String, "y": pl.String}) for f in named]
    assert of(findings(*words, roles, "multiclass"), "conditional", "error_rate").effect == pytest.approx(
        of(findings(*[f.select("x", "p", "y") for f in named], roles, "multiclass"), "conditional", "error_rate").effect
    )
    assert findings(rows(500), rows(500), ROLES, "ranking") == []


def test_it_is_the_same_every_time_and_leaves_its_input_alone() -> None:
    a, b = rows(2000), rows(2000, move=0.5)
    before = a.clone()
    first, second = findings(a, b), findings(a, b)
    assert first == second
    assert a.equals(before)


def test_units_are_kept_together() -> None:
    """40 rows a unit with a loss level of its own: the interval is far wider than that of independent rows."""
    rng = np.random.default_rng(0)
    frames = []
    for k in range(2):
        unit = np.repeat(np.arange(100), 40) + 100 * k
        level = rng.normal(0, 1, 200)[unit]
        f = rows(4000, seed=k).with_columns(unit=pl.Series(unit), y=pl.Series(rng.normal(size=4000) * 0.3 + level))
        frames.append(f.with_columns(p=pl.lit(0.0)))
    roles = Roles(prediction="p", outcome="y")
    widths = []
    for r in (roles.with_(ignore=("unit",)), roles.with_(unit="unit")):
        e = of(findings(*frames, r, "regression"), "conditional", "absolute_error").effect
        assert e is not None
        widths.append(e.high - e.low)
    assert widths[1] > 2 * widths[0]
