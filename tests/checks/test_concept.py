"""The concept check: at which row a model broke, how much worse it is since, and what is said without evidence."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import polars as pl
import pytest

from afterlaunch.checks import concept
from afterlaunch.checks.concept import LEAST_REFERENCE, LEAST_STREAM
from afterlaunch.checks.evidence import Evidence, Sample
from afterlaunch.decide import Margins, decide
from afterlaunch.finding import Finding, Verdict
from afterlaunch.report.charts import figure
from afterlaunch.roles import Roles
from tests.simulation import at_most

RNG = np.random.default_rng
START = datetime(2026, 10, 1, tzinfo=UTC)
BINARY = Roles(time="at", score="p", outcome="y")


def binary(seed: int, *parts: tuple[float, int]) -> pl.DataFrame:
    """Scores of .9 or .1 that are wrong with these chances, a row a minute."""
    rng = RNG(seed)
    wrong = np.concatenate([rng.random(n) < p for p, n in parts])
    y = rng.random(wrong.size) < 0.5
    at = [START + timedelta(minutes=i) for i in range(wrong.size)]
    return pl.DataFrame({"at": at, "p": np.where(y ^ wrong, 0.9, 0.1), "y": y.astype(np.int64)})


def judge(
    reference: pl.DataFrame,
    stream: pl.DataFrame,
    roles: Roles = BINARY,
    task: Any = "binary",
    alpha: float = 0.05,
    margins: Margins | None = None,
    options: dict[str, Any] | None = None,
) -> dict[str, Finding]:
    evidence = Evidence(
        roles,
        task,
        reference_sample=Sample(reference, reference.height, 0),
        stream=stream,
        options={"threshold": 0.5, **(options or {})},
    )
    found = decide(concept.CHECK.run(evidence), margins=margins or Margins(), alpha=alpha, primary=["concept"])
    for f in found:
        json.dumps(f.to_dict(), allow_nan=False)
    return {f.key: f for f in found}


REFERENCE = binary(0, (0.05, 5_000))


# ------------------------------------------------------------------ verdicts


def test_a_break_is_an_alarm_with_its_row_its_time_and_its_size() -> None:
    found = judge(REFERENCE, binary(1, (0.05, 6_000), (0.3, 4_000)))
    error = found["error"]
    assert error.verdict is Verdict.ALARM
    assert error.effect is not None
    assert error.effect.low < 0.25 < error.effect.high
    assert error.effect.value == pytest.approx(0.25, abs=0.03)
    assert error.table is not None
    (broke,) = error.table["breaks"]
    assert (broke["direction"], broke["low"] <= 6_000 <= broke["high"]) == ("rise", True)
    assert abs(broke["row"] - 6_000) < 30
    assert f"rose at row {broke['row']:,} (2026-10-05 0" in error.sentence
    assert f"between rows {broke['low']:,} and {broke['high']:,}" in error.sentence
    assert error.sentence.startswith("Error rate rose by 2")
    assert "False alarms come once in 250,000 rows on average, or less often." in error.sentence
    assert found["loss"].verdict is Verdict.ALARM


def test_no_break_is_ok_with_enough_rows() -> None:
    found = judge(REFERENCE, binary(2, (0.05, 20_000)))
    assert found["error"].verdict is Verdict.OK
    assert "there is no row from which it was found to be worse" in found["error"].sentence
    assert found["error"].table is not None
    assert found["error"].table["breaks"] == []


def test_few_rows_are_undecided_and_say_how_many_would_do() -> None:
    error = judge(REFERENCE, binary(3, (0.05, 400)))["error"]
    assert (error.verdict, error.reason) == (Verdict.UNDECIDED, "interval_straddles_margin")
    assert error.rows_needed is not None
    seeds = range(20)
    decided = sum(
        judge(REFERENCE, binary(100 + s, (0.05, error.rows_needed)))["error"].verdict is Verdict.OK for s in seeds
    )
    # The plan is for 80 %: fewer than 10 of 20 come by chance once in 500.
    assert decided >= 10


def test_a_small_reference_binds() -> None:
    error = judge(REFERENCE.head(150), binary(4, (0.05, 3_000)))["error"]
    assert (error.verdict, error.reason, error.rows_needed) == (Verdict.UNDECIDED, "reference_too_small", None)


def test_an_old_calm_does_not_hide_a_late_rise() -> None:
    error = judge(REFERENCE, binary(5, (0.05, 60_000), (0.075, 8_000)))["error"]
    assert error.verdict is not Verdict.OK


def test_several_breaks_are_one_story() -> None:
    stream = binary(6, (0.05, 4_000), (0.4, 2_000), (0.05, 6_000), (0.6, 2_000))
    error = judge(REFERENCE, stream)["error"]
    assert error.verdict is Verdict.ALARM
    assert error.table is not None
    assert [b["direction"] for b in error.table["breaks"]] == ["rise", "recovery", "rise"]
    assert error.effect is not None
    assert error.effect.value == pytest.approx(0.55, abs=0.05)
    assert "; it recovered at row" in error.sentence
    assert error.sentence.count("rose at row") == 2


def test_the_margin_of_the_user_decides() -> None:
    stream = binary(7, (0.05, 4_000), (0.12, 6_000))
    given = Margins({"concept/error": 0.2})
    assert judge(REFERENCE, stream)["error"].verdict is Verdict.ALARM
    known = judge(REFERENCE, stream, margins=given, options={"margins": given})["error"]
    assert known.verdict is Verdict.OK
    assert known.table is not None
    assert known.table["breaks"] == []


def test_an_alarm_at_a_smaller_margin_than_the_check_knew_still_tells_its_row() -> None:
    stream = binary(8, (0.05, 4_000), (0.068, 60_000))
    error = judge(binary(9, (0.05, 50_000)), stream, margins=Margins({"concept/error": 0.005}))["error"]
    assert error.verdict is Verdict.ALARM
    assert "rose at row" in error.sentence


def test_a_smaller_error_rate_alarms_no_sooner() -> None:
    stream = binary(10, (0.05, 3_000), (0.2, 400))
    lows = [judge(REFERENCE, stream, alpha=a)["error"].effect.low for a in (0.05, 1e-3, 1e-5)]  # type: ignore[union-attr]
    assert lows == sorted(lows, reverse=True)


@pytest.mark.parametrize("rise", [0.0, 0.02])
def test_false_alarms_are_no_more_than_promised(rise: float) -> None:
    """A new reference and a new stream each time, the true rise at zero and at the margin."""
    rng, repeats, alarms, roles = RNG(11), 120, 0, Roles(outcome="y", prediction="guess")
    kind = concept.CHECK.kind("error").margin
    for _ in range(repeats):
        tables = [
            pl.DataFrame({"y": np.zeros(n, dtype=np.int64), "guess": (rng.random(n) < p).astype(np.int64)})
            for p, n in ((0.05, 1_000), (0.05 + rise, 3_000))
        ]
        evidence = Evidence(roles, "binary", reference_sample=Sample(tables[0], 1_000, 0), stream=tables[1])
        (found,) = concept.CHECK.run(evidence)
        assert found.interval is not None
        alarms += found.interval(0.1, 0.1)[0] > kind
    assert alarms / repeats <= at_most(0.1, repeats)


# ------------------------------------------------------------------ losses


def test_without_a_threshold_the_error_rate_informs_only() -> None:
    stream = binary(12, (0.05, 500))
    evidence = Evidence(BINARY, "binary", reference_sample=Sample(REFERENCE, 5_000, 0), stream=stream)
    assert {e.kind.key: e.primary for e in concept.CHECK.run(evidence)} == {"error": False, "loss": True}


def test_predictions_of_classes() -> None:
    rng = RNG(13)

    def table(wrong: float, n: int) -> pl.DataFrame:
        y = rng.integers(0, 3, n)
        guess = np.where(rng.random(n) < wrong, (y + 1) % 3, y)
        names = np.array(["red", "green", "blue"])
        scores = {f"p_{name}": (guess == i) * 0.8 + 0.1 for i, name in enumerate(names)}
        return pl.DataFrame({"y": names[y], "guess": names[guess], **scores})

    before, after = table(0.1, 3_000), pl.concat([table(0.1, 2_000), table(0.4, 2_000)])
    named = judge(before, after, Roles(outcome="y", prediction="guess"), "multiclass")
    scored = judge(
        before, after, Roles(outcome="y", scores={n: f"p_{n}" for n in ("red", "green", "blue")}), "multiclass"
    )
    assert named.keys() == scored.keys() == {"error"}
    assert named["error"].verdict is scored["error"].verdict is Verdict.ALARM
    assert named["error"].effect == scored["error"].effect
    numbered = judge(
        before.with_columns(y=pl.col("y").rank("dense").cast(pl.Int64), guess=pl.col("guess").rank("dense")),
        after.with_columns(y=pl.col("y").rank("dense").cast(pl.Int64), guess=pl.col("guess").rank("dense")),
        Roles(outcome="y", prediction="guess"),
        "multiclass",
    )
    assert numbered["error"].effect == named["error"].effect


def test_numbers_are_measured_in_the_reference() -> None:
    rng = RNG(14)

    def table(spread: float, n: int, scale: float = 1.0) -> pl.DataFrame:
        y = rng.normal(size=n)
        return pl.DataFrame({"y": y * scale, "guess": (y + rng.normal(0, spread, n)) * scale})

    roles = Roles(outcome="y", prediction="guess")
    before, after = table(1.0, 3_000), pl.concat([table(1.0, 3_000), table(2.0, 2_000)])
    f = judge(before, after, roles, "regression")["absolute"]
    assert f.verdict is Verdict.ALARM
    assert f.table is not None
    assert abs(f.table["breaks"][0]["row"] - 3_000) < 60
    assert "the reference's 95 % quantile" in f.sentence
    larger = judge(before * 1000, after * 1000, roles, "regression")["absolute"]
    assert f.effect is not None
    assert larger.effect is not None
    assert larger.effect.low == pytest.approx(f.effect.low, abs=1e-3)
    same = judge(before, table(1.0, 12_000), roles, "regression")["absolute"]
    assert same.verdict is Verdict.OK


def test_a_reference_without_any_error() -> None:
    rng = RNG(15)
    y = rng.normal(size=2_000)
    before = pl.DataFrame({"y": y, "guess": y})
    after = before.with_columns(guess=pl.when(pl.int_range(pl.len()) < 1_000).then("guess").otherwise(pl.col("y") + 1))
    f = judge(before, after, Roles(outcome="y", prediction="guess"), "regression")["absolute"]
    assert f.verdict is Verdict.ALARM
    assert f.table is not None
    assert abs(f.table["breaks"][0]["row"] - 1_000) <= 1


# ------------------------------------------------------------------ too little


def test_rows_without_an_outcome_are_left_out_and_counted() -> None:
    stream = binary(16, (0.05, 3_000), (0.5, 1_000))
    hidden = stream.with_columns(y=pl.when(pl.int_range(pl.len()) % 4 == 0).then(None).otherwise("y"))
    error = judge(REFERENCE, hidden)["error"]
    assert error.n == 3_000
    assert "1,000 of 4,000 rows have no outcome yet and were left out." in error.sentence
    assert error.table is not None
    assert abs(error.table["breaks"][0]["row"] - 3_000) < 30


@pytest.mark.parametrize(
    ("reference", "stream", "reason"),
    [
        (REFERENCE, REFERENCE.head(LEAST_STREAM - 1), "too_few_rows"),
        (REFERENCE.head(LEAST_REFERENCE - 1), REFERENCE, "too_few_rows"),
        (REFERENCE, REFERENCE.head(0), "no_rows"),
        (REFERENCE, REFERENCE.with_columns(y=pl.lit(None, dtype=pl.Int64)), "no_outcomes"),
        (REFERENCE, REFERENCE.drop("y"), "no_score"),
        (REFERENCE, REFERENCE.drop("p"), "no_score"),
    ],
)
def test_too_little_is_undecided_and_says_why(reference: pl.DataFrame, stream: pl.DataFrame, reason: str) -> None:
    for f in judge(reference, stream).values():
        assert (f.verdict, f.reason, f.effect) == (Verdict.UNDECIDED, reason, None)
        assert f.sentence.endswith(".")


def test_nothing_to_follow_no_estimates() -> None:
    sample = Sample(REFERENCE, REFERENCE.height, 0)
    assert concept.CHECK.run(Evidence(BINARY)) == []
    assert concept.CHECK.run(Evidence(BINARY, "ranking", reference_sample=sample, stream=REFERENCE)) == []
    assert concept.CHECK.run(Evidence(Roles(score="p"), "binary", reference_sample=sample, stream=REFERENCE)) == []
    assert concept.CHECK.follow is None


@pytest.mark.parametrize("wrong", [0.0, 1.0])
def test_a_model_that_is_always_right_or_wrong(wrong: float) -> None:
    table = binary(17, (wrong, 600))
    assert judge(table, table)["error"].verdict is not Verdict.ALARM


def test_odd_values_are_no_error() -> None:
    odd = REFERENCE.with_columns(p=pl.when(pl.int_range(pl.len()) % 50 == 0).then(float("inf")).otherwise("p"))
    f = judge(odd, odd.with_columns(p=pl.when(pl.int_range(pl.len()) % 7 == 0).then(float("nan")).otherwise("p")))
    assert {v.verdict for v in f.values()} <= {Verdict.OK, Verdict.UNDECIDED}


# ------------------------------------------------------------------ laws


def test_it_reads_only_and_says_the_same_again() -> None:
    stream = binary(18, (0.05, 2_000), (0.3, 500))
    copies = REFERENCE.clone(), stream.clone()
    first, second = judge(REFERENCE, stream), judge(REFERENCE, stream)
    assert first == second
    assert REFERENCE.equals(copies[0])
    assert stream.equals(copies[1])
    for f in first.values():
        assert Finding.from_dict(json.loads(json.dumps(f.to_dict()))) == f


def test_its_chart_is_drawn() -> None:
    f = judge(REFERENCE, binary(19, (0.05, 2_000), (0.3, 500)))["error"]
    assert f.table is not None
    assert "No chart" not in figure(f.table)
