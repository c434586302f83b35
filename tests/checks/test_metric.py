"""Offline against production: errors of both ends, power, rows needed, words, and what cannot be told."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from afterlaunch.checks.evidence import Evidence
from afterlaunch.checks.metric import CHECK, headline
from afterlaunch.decide import Estimate, Margins, decide
from afterlaunch.finding import Finding, Verdict
from afterlaunch.profile.types import MetricCounts
from afterlaunch.roles import Roles
from studies.coverage_metrics import CASES, Case, estimate, run
from tests.simulation import at_least, at_most

ROLES = Roles(outcome="y", score="p")
CASE = {case.kind: case for case in CASES}


def table(
    rng: np.random.Generator, n: int, slope: float = 1.5, base: float = 0.2, units: int | None = None
) -> MetricCounts:
    """Binormal scores, all that a binary task counts."""
    y = (rng.random(n) < base).astype(int)
    raw = slope * y + rng.normal(size=n)
    s = 1 / (1 + np.exp(-(np.log(base / (1 - base)) - 1.125 + 1.5 * raw)))
    bucket = np.arange(n) % 64 if units is None else rng.integers(0, 64, units)[rng.integers(0, units, n)]
    cell = np.minimum((s * 400).astype(int), 399)
    h, sums, confusion = np.zeros((64, 2, 400)), np.zeros((64, 400)), np.zeros((64, 2, 2))
    np.add.at(h, (bucket, y, cell), 1)
    np.add.at(sums, (bucket, cell), s)
    np.add.at(confusion, (bucket, y, (s >= 0.5).astype(int)), 1)
    rows = np.bincount(bucket, minlength=64)

    def moment(x: np.ndarray) -> np.ndarray:
        return np.stack([rows, np.bincount(bucket, x, minlength=64)], axis=-1).astype(float)

    chance = np.where(y == 1, s, 1 - s)
    return MetricCounts(
        rows=rows,
        unmatched=np.zeros(64, dtype=int),
        without_outcome=np.zeros(64, dtype=int),
        moments={"outcome": moment(y), "log_loss": moment(-np.log(chance)), "brier": moment((s - y) ** 2)},
        class_rows=h.sum(axis=2).astype(int),
        confusion=confusion,
        classes=("0", "1"),
        histogram=h,
        score_sums=sums,
    )


def findings(reference: Any, production: Any, roles: Roles = ROLES, task: Any = "binary", **more: Any) -> list[Finding]:
    wrap = lambda c: c if isinstance(c, dict) else {"": c}  # noqa: E731
    evidence = Evidence(
        roles=roles, task=task, metric_reference=wrap(reference), metric_production=wrap(production), **more
    )
    return decide(CHECK.run(evidence), margins=Margins(), primary=["metric"])


def of(found: list[Finding], key: str, segment: str | None = None) -> Finding:
    return next(f for f in found if f.key == key and f.segment == segment)


# ------------------------------------------------------------------ promises


@pytest.mark.parametrize("case", CASES, ids=lambda c: c.kind)
@pytest.mark.parametrize(("structure", "multiple"), [("independent", 0.0), ("clustered", 1.0), ("shared", 2.0)])
def test_each_end_keeps_its_error(case: Case, structure: str, multiple: float) -> None:
    """One-sided error 5 %, two points for the approximation; 1,000 offline and 400 production rows."""
    repeats = 150
    r = run(case, (1000, 400), structure, multiple, repeats, seed=11)
    assert r["nothing"] == 0
    assert r["low_misses"]["0.05"] <= at_most(0.07, repeats)
    assert r["high_misses"]["0.05"] <= at_most(0.07, repeats)
    assert max(r["low_misses"]["0.0005"], r["high_misses"]["0.0005"]) <= at_most(0.002, repeats)
    if multiple == 1.0:
        assert r["alarm"] <= at_most(0.05, repeats)


@pytest.mark.parametrize(
    ("kind", "ok", "alarm"),
    [
        ("auc", 0.85, 0.8),
        ("accuracy", 0.95, 0.95),
        ("f1", 0.95, 0.95),
        ("rmse", 0.99, 0.99),
        ("mae", 0.99, 0.99),
        ("ndcg", 0.99, 0.99),
        ("mrr", 0.8, 0.9),
        ("bias", 0.99, 0.99),
        ("macro_f1", 0.99, 0.99),
        ("log_loss", 0.4, 0.4),
        ("brier", 0.3, 0.3),
        ("calibration", 0.7, 0.4),
    ],
)
def test_power_stands_beside_it(kind: str, ok: float, alarm: float) -> None:
    """Tables of 10,000 rows: no change is shown to be none, and twice the margin is an alarm."""
    repeats = 40
    assert run(CASE[kind], (10_000, 10_000), "independent", 0.0, repeats, seed=5)["ok"] >= at_least(ok, repeats)
    assert run(CASE[kind], (10_000, 10_000), "independent", 2.0, repeats, seed=5)["alarm"] >= at_least(alarm, repeats)


@pytest.mark.parametrize("kind", ["auc", "log_loss", "accuracy", "f1", "rmse", "bias", "ndcg"])
def test_the_rows_needed_decide_four_times_in_five(kind: str) -> None:
    """With that many rows, no change is found `ok` in 80 % of tables; a factor 1.5 of rows either way brackets it."""
    case, margin = CASE[kind], CHECK.kind(kind).margin
    rng, reference, repeats = np.random.default_rng(2), 40_000, 60
    needed = [estimate(case, rng, (reference, 2000), "independent", 0.0).rows_needed for _ in range(5)]
    rows = int(np.median([f(margin, 0.05) for f in needed if f is not None]))
    shares = []
    for n in (int(rows / 1.5), int(rows * 1.5)):
        shares.append(run(case, (reference, n), "independent", 0.0, repeats, seed=3)["ok"])
    assert shares[0] <= at_most(0.8, repeats)
    assert shares[1] >= at_least(0.8, repeats)


def test_a_small_reference_binds() -> None:
    rng = np.random.default_rng(0)
    f = of(findings(table(rng, 200), table(rng, 100_000)), "auc")
    assert (f.verdict, f.reason, f.rows_needed) == (Verdict.UNDECIDED, "reference_too_small", None)
    assert "larger reference" in f.action


def test_units_in_both_tables_make_the_change_surer() -> None:
    """The same units, with tastes of their own: what they share cancels in the change."""
    rng = np.random.default_rng(4)
    widths = {}
    for structure in ("clustered", "shared"):
        e = [estimate(CASE["bias"], rng, (4000, 4000), structure, 0.0) for _ in range(20)]
        ends = [x.interval(0.05, 0.05) for x in e if x.interval is not None]
        widths[structure] = float(np.mean([b - a for a, b in ends]))
    assert widths["shared"] < 0.95 * widths["clustered"]


def test_the_p_value_agrees_with_the_interval() -> None:
    rng = np.random.default_rng(0)
    for slope in (1.5, 1.35, 1.2, 1.0):
        e = auc_estimate(table(rng, 4000), table(rng, 4000, slope))
        assert e.p_value is not None
        assert e.interval is not None
        p = e.p_value(0.02)
        if 1e-6 < p < 0.45:
            assert e.interval(0.3, p)[1] == pytest.approx(-0.02, abs=2e-4)
        elif p > 0.55:
            assert e.interval(1 - p, 0.3)[0] == pytest.approx(-0.02, abs=2e-4)


def auc_estimate(a: MetricCounts, b: MetricCounts) -> Estimate:
    found = CHECK.run(Evidence(roles=ROLES, task="binary", metric_reference={"": a}, metric_production={"": b}))
    return next(e for e in found if e.kind.key == "auc")


# ------------------------------------------------------------------ words and charts


def test_the_sentence_says_the_effect_first() -> None:
    rng = np.random.default_rng(0)
    f = of(findings(table(rng, 20_000), table(rng, 20_000, 1.0)), "auc")
    assert f.verdict is Verdict.ALARM
    assert f.sentence.startswith("AUC fell by 0.")
    assert f.sentence.endswith(" in production.")
    assert f.effect is not None
    assert f.effect.value == pytest.approx(-0.096, abs=0.02)
    assert f.effect.low < f.effect.value < f.effect.high < 0
    assert f.table is not None
    assert [r["name"] for r in f.table["rows"]] == ["offline", "production"]
    assert f.p_value is not None
    assert f.p_value < 1e-6
    rose = of(findings(table(rng, 20_000, 1.0), table(rng, 20_000)), "auc")
    assert rose.verdict is Verdict.OK
    assert rose.sentence.startswith("AUC rose by 0.")


def test_the_calibration_draws_a_reliability_curve() -> None:
    rng = np.random.default_rng(0)
    f = of(findings(table(rng, 20_000), table(rng, 20_000, 0.5)), "calibration")
    assert f.verdict is Verdict.ALARM
    assert f.table is not None
    assert (f.table["kind"], f.table["diagonal"], len(f.table["series"])) == ("lines", True, 2)
    assert "Recalibrate" in f.action


def test_accuracy_counts_only_where_a_threshold_is_known() -> None:
    rng = np.random.default_rng(0)
    a, b = table(rng, 3000), table(rng, 3000)
    assert not of(findings(a, b), "accuracy").primary
    assert of(findings(a, b, options={"threshold": 0.5}), "accuracy").primary
    assert of(findings(a, b, ROLES.with_(prediction="hat")), "f1").primary
    assert of(findings(a, b), "auc").primary
    assert not of(findings(a, b), "base_rate").primary


def test_segments_inform_and_take_little_of_the_error_rate() -> None:
    rng = np.random.default_rng(0)
    a, b, bad = table(rng, 4000), table(rng, 4000), table(rng, 4000, 0.3)
    found = findings({"": a + a, "x": a, "y": a}, {"": b + bad, "x": b, "y": bad}, ROLES.with_(segment="land"))
    f = of(found, "auc", "y")
    assert f.verdict is Verdict.ALARM
    assert not f.primary
    assert "where land is y" in f.sentence
    assert of(found, "auc", "x").verdict is not Verdict.ALARM
    # The two segments share the weight of one metric, and `decide` gives what informs a pool of its own.
    assert f.alpha_each == of(found, "auc", "x").alpha_each == pytest.approx(of(found, "base_rate").alpha_each / 2)
    assert f.alpha_each < of(found, "auc").alpha_each


def test_the_headline_metric() -> None:
    t = table(np.random.default_rng(0), 500)
    assert headline({"": t}, "binary") == "auc"
    assert headline({"": replace(t, histogram=None, score_sums=None, moments={})}, "binary") == "accuracy"


# ------------------------------------------------------------------ what cannot be told


def reason(found: list[Finding], key: str) -> str | None:
    f = of(found, key)
    assert f.verdict is Verdict.UNDECIDED
    assert f.effect is None
    assert "cannot be compared" in f.sentence
    return f.reason


def test_too_little_is_undecided_with_a_reason() -> None:
    rng = np.random.default_rng(0)
    good = table(rng, 2000)
    assert reason(findings(good, table(rng, 30)), "auc") == "too_few_of_rarer_class"
    assert reason(findings(table(rng, 30), good), "log_loss") == "too_few_of_rarer_class"
    one = table(rng, 500, base=1e-9)
    assert reason(findings(good, one), "auc") == "one_class"
    none = replace(good, rows=good.rows * 0, unmatched=good.rows, without_outcome=good.rows, moments={}, histogram=None)
    assert reason(findings(good, none), "auc") == "no_outcomes"
    lost = replace(good, rows=good.rows * 0, unmatched=good.rows, histogram=None)
    assert reason(findings(good, lost), "auc") == "no_score"
    empty = replace(none, unmatched=good.rows * 0, without_outcome=good.rows * 0)
    assert reason(findings(good, empty), "auc") == "no_rows"
    bare = replace(none, confusion=None)
    assert [f.reason for f in findings(bare, bare)] == ["no_outcomes"]


def test_too_few_units_are_undecided() -> None:
    rng = np.random.default_rng(0)
    roles = ROLES.with_(unit="user")
    good = table(rng, 4000, units=500)
    assert reason(findings(good, table(rng, 4000, units=15), roles), "auc") == "units_too_few"
    assert of(findings(good, table(rng, 4000, units=500), roles), "auc").effect is not None


def test_a_unit_with_most_rows_is_undecided() -> None:
    rng = np.random.default_rng(0)
    big = table(rng, 40_000)
    heavy = [k for k in range(64) if k]
    light = replace(big, rows=big.rows.copy(), histogram=np.array(big.histogram), score_sums=np.array(big.score_sums))
    for array in (light.rows, light.histogram, light.score_sums):
        assert array is not None
        array[heavy] = (array[heavy] // 40).astype(array.dtype)
    assert reason(findings(big, light, ROLES.with_(unit="user")), "auc") == "units_too_few"


def test_perfect_scores_have_an_interval_still() -> None:
    """AUC and accuracy of 1: the jackknife sees no variance, and the interval is not a point."""
    t = table(np.random.default_rng(0), 300, slope=60.0)
    found = findings(t, t, options={"threshold": 0.5})
    for key in ("auc", "accuracy", "f1"):
        f = of(found, key)
        assert f.effect is not None
        assert f.effect.low < 0 < f.effect.high
        assert f.p_value is not None


def test_a_loss_of_zero_has_no_relative_change() -> None:
    rows = np.full(64, 10)
    none = rows * 0
    still = MetricCounts(rows, none, none, {"absolute": np.stack([rows, none], axis=-1) * 1.0})
    assert reason(findings(still, still, task="regression"), "mae") == "zero"


def test_nothing_to_score_is_no_finding() -> None:
    t = table(np.random.default_rng(0), 100)
    assert findings(t, t, task=None) == []
    assert CHECK.run(Evidence(roles=ROLES, task="binary")) == []
