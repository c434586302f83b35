"""Whether every column that the model learnt from is there in production."""

import datetime as dt
from dataclasses import replace

import numpy as np
import polars as pl
import pytest

from afterlaunch.checks.availability import CHECK
from afterlaunch.checks.evidence import Sample
from afterlaunch.checks.rows import later
from afterlaunch.decide import Margins, decide
from afterlaunch.roles import Roles
from tests.checks.evidences import alarms, evidence, findings
from tests.simulation import at_least, at_most


def table(rows: int, seed: int = 0) -> pl.DataFrame:
    rng = np.random.default_rng(seed)
    return pl.DataFrame(
        {
            "age": rng.normal(40, 10, rows).round(1),
            "colour": rng.choice(["red", "green", "blue"], rows),
            "visits": rng.poisson(1.0, rows),
            "flag": rng.random(rows) < 0.5,
        }
    )


def test_like_tables_are_fine() -> None:
    found = findings(CHECK, evidence(table(3000), table(3000, 1)))
    assert set(found) == {"missing@age", "missing@colour", "missing@visits", "missing@flag"}
    assert {f.verdict.value for f in found.values()} == {"ok"}
    assert all(f.action == "Nothing to do." and f.primary for f in found.values())


@pytest.mark.parametrize("rows", [5, 100, 100_000])
def test_a_column_that_is_gone_is_an_alarm_at_any_size(rows: int) -> None:
    found = findings(CHECK, evidence(table(3000), table(rows, 1).drop("age")))
    one = found["missing@age"]
    assert one.verdict == "alarm"
    assert one.effect is not None
    assert (one.effect.value, one.effect.high, one.n) == (1.0, 1.0, rows)
    assert (
        one.sentence
        == "100 % of production rows lack 'age': production has no such column, and the model learnt from it."
    )
    assert one.table is not None
    assert [r["value"] for r in one.table["rows"]] == [0.0, 1.0]
    assert alarms(found) == {"missing@age"}


def test_a_reference_that_misses_as_much_is_no_fault() -> None:
    half = pl.when(pl.int_range(pl.len()) % 2 == 0).then("age")
    found = findings(CHECK, evidence(table(40_000).with_columns(age=half), table(40_000, 1).with_columns(age=half)))
    assert found["missing@age"].verdict == "ok"
    found = findings(CHECK, evidence(table(4000), table(4000, 1).with_columns(age=half)))
    assert found["missing@age"].verdict == "alarm"
    assert found["missing@age"].sentence.startswith("50 % of production rows have no value of 'age', against 0 %")


def test_nan_and_null_are_missing_and_all_null_is_too() -> None:
    gone = table(500, 1).with_columns(age=float("nan"), colour=pl.lit(None, dtype=pl.String))
    assert alarms(findings(CHECK, evidence(table(500), gone))) == {"missing@age", "missing@colour"}


@pytest.mark.parametrize("clustered", [False, True])
@pytest.mark.parametrize("excess", [0.0, CHECK.kind("missing").margin, 0.15])
def test_false_alarms_and_power(clustered: bool, excess: float) -> None:
    """`alarm` in at most 5 % at an excess of none or of the margin, in most tables of 600 rows at .15."""
    rng, repeats, said = np.random.default_rng(1), 400, 0
    for _ in range(repeats):
        frames, buckets = [], []
        for share in (0.1, 0.1 + excess):
            p = rng.beta(2, 2 / share - 2, 100) if clustered else np.full(100, share)
            user = np.repeat(np.arange(100), 6)
            frames.append(pl.DataFrame({"x": np.where(rng.random(600) < p[user], np.nan, 1.0)}))
            buckets.append(rng.integers(0, 64, 100)[user])
        given = evidence(*frames, buckets=(buckets[0], buckets[1]) if clustered else None)
        (finding,) = decide(CHECK.run(given), margins=Margins({"availability/missing": 0.05}))
        said += finding.verdict == "alarm"
    if excess < 0.1:
        assert said / repeats <= at_most(0.07 if clustered else 0.05, repeats)
    else:
        assert said / repeats >= at_least(0.6 if clustered else 0.95, repeats)


def test_rows_needed_decides() -> None:
    given = evidence(
        pl.DataFrame({"x": np.where(np.arange(20_000) % 10 == 0, np.nan, 1)}), pl.DataFrame({"x": np.ones(30)})
    )
    (estimate,) = CHECK.run(given)
    assert estimate.rows_needed is not None
    needed = estimate.rows_needed(0.05, 0.05)
    assert needed is not None
    assert 100 < needed < 1000


# ------------------------------------------------------------------ constants and defaults


def test_a_column_that_stops_varying() -> None:
    found = findings(CHECK, evidence(table(2000), table(500, 1).with_columns(colour=pl.lit("red"), flag=pl.lit(True))))
    assert alarms(found) == {"constant@colour", "constant@flag"}
    assert found["constant@colour"].sentence.startswith("100 % of production's values of 'colour' are 'red', against 3")


def test_a_value_that_is_filled_in() -> None:
    rng = np.random.default_rng(2)
    served = table(2000, 1).with_columns(
        age=pl.Series(np.where(rng.random(2000) < 0.8, -1.0, 40.0 + rng.normal(size=2000))),
        colour=pl.Series(np.where(rng.random(2000) < 0.6, "unknown", "red")),
    )
    found = findings(CHECK, evidence(table(2000), served))
    assert alarms(found) == {"default@age", "default@colour"}
    assert "which stands for no value" in found["default@age"].sentence


def test_the_mean_of_the_reference_is_filled_in() -> None:
    before = table(2000)
    mean = before["age"].mean()
    found = findings(CHECK, evidence(before, table(500, 1).with_columns(age=pl.lit(mean))))
    assert alarms(found) == {"default@age"}


@pytest.mark.parametrize("share", [0.5, 0.75, 0.97])
def test_a_natural_zero_that_gets_commoner_is_drift_and_no_default(share: float) -> None:
    rng = np.random.default_rng(3)
    served = table(2000, 1).with_columns(
        visits=pl.Series(np.where(rng.random(2000) < share, 0, 1)), flag=pl.Series(rng.random(2000) > share)
    )
    assert not alarms(findings(CHECK, evidence(table(2000), served)))


@pytest.mark.parametrize("timed", [False, True])
def test_a_column_that_follows_time_may_be_constant_for_a_while(timed: bool) -> None:
    rows = 2000
    before = table(rows).with_columns(
        rate=pl.Series(np.arange(rows) // 100 * 0.25),
        ts=pl.Series(np.arange(rows)),
        month=pl.Series(np.arange(rows) // 500),
    )
    if timed:
        before = before.sample(fraction=1, shuffle=True, seed=1)
    after = table(300, 1).with_columns(rate=pl.lit(4.75), ts=pl.Series(np.arange(300) + rows), month=pl.lit(3))
    found = findings(CHECK, evidence(before, after, Roles(time="ts")))
    assert not alarms(found)
    assert found["steady@rate"].verdict == "ok"
    assert not found["steady@rate"].primary
    assert "follows time" in found["steady@rate"].sentence
    broken = findings(CHECK, evidence(before, after.with_columns(rate=pl.lit(-1.0)), Roles(time="ts")))
    assert alarms(broken) == {"default@rate"}


def test_halves_of_a_table_give_no_false_alarm() -> None:
    """Any alarm in at most 5 % of 200 random halves, small and large, with rare and common values."""
    rng, repeats, said = np.random.default_rng(4), 200, 0
    for i in range(repeats):
        n = int(rng.choice([30, 100, 1000]))
        both = table(2 * n, i).with_columns(
            rare=pl.Series(np.where(rng.random(2 * n) < 0.02, 5.0, 0.0)),
            holes=pl.Series(np.where(rng.random(2 * n) < 0.3, np.nan, 1.0)),
        )
        said += bool(alarms(findings(CHECK, evidence(both[:n], both[n:]))))
    assert said / repeats <= at_most(0.05, repeats)


# ------------------------------------------------------------------ late values, unexpected columns, roles


def test_values_known_after_the_prediction() -> None:
    start = dt.datetime.fromisoformat("2024-01-01")
    ts = pl.Series([start + dt.timedelta(minutes=i) for i in range(400)])
    frame = pl.DataFrame({"x": range(400), "z": range(400), "ts": ts, "known": ts, "z_at": ts - dt.timedelta(hours=1)})
    ahead = frame.with_columns(
        known=pl.when(pl.col("x") % 4 == 0).then(pl.col("known") + dt.timedelta(minutes=1)).otherwise("known")
    )
    roles = Roles(time="ts", feature_times={"x": "known"})
    found = findings(CHECK, evidence(ahead, frame, roles))
    assert alarms(found) == {"late@x"}
    assert (
        found["late@x"].sentence
        == "25 % of the values of 'x' in the reference became known after the prediction, by 'known'."
    )
    assert found["late@z"].verdict == "ok"
    assert "late@x" in alarms(findings(CHECK, evidence(frame, ahead, roles)))
    assert "in production" in findings(CHECK, evidence(frame, ahead, roles))["late@x"].sentence.replace(
        "the production", "production"
    )


def test_false_alarms_of_late_values() -> None:
    """Half a percent late in both tables, margin 1 %: an alarm in at most 5 %; 5 % late: always."""
    rng, repeats = np.random.default_rng(5), 300
    said = {0.005: 0, 0.05: 0}
    for share in said:
        for _ in range(repeats):
            frames = [
                pl.DataFrame({"x": np.ones(400), "ts": np.zeros(400), "k": (rng.random(400) < share).astype(float)})
                for _ in range(2)
            ]
            found = [
                e
                for e in CHECK.run(evidence(*frames, Roles(time="ts", feature_times={"x": "k"})))
                if e.kind.key == "late"
            ]
            said[share] += decide(found, margins=Margins())[0].verdict == "alarm"
    assert said[0.005] / repeats <= at_most(0.05, repeats)
    assert said[0.05] / repeats >= at_least(0.99, repeats)


@pytest.mark.parametrize(
    ("a", "b", "expected"),
    [
        (["2024-01-02 00:00:01"], ["2024-01-02 00:00:00"], 1),
        (["2024-01-02T00:00:00+02:00"], ["2024-01-01T23:00:00Z"], 0),
        ([dt.date(2024, 1, 2)], [dt.datetime.fromisoformat("2024-01-02T09:00")], 0),
        ([dt.date(2024, 1, 3)], ["2024-01-02 10:00:00"], 1),
        ([2.0], [1.0], 1),
        ([float("nan")], [1.0], 0),
    ],
)
def test_later(a: list[object], b: list[object], expected: int) -> None:
    both = later(pl.Series(a), pl.Series(b))
    assert both is not None
    assert both[0].tolist() == [expected]


def test_words_are_no_times() -> None:
    assert later(pl.Series(["soon"]), pl.Series(["now"])) is None


def test_what_one_table_has_alone_informs() -> None:
    roles = Roles(outcome="y", latency_ms="ms")
    before, after = table(100).with_columns(y=pl.lit(1)), table(100, 1).with_columns(ms=pl.lit(5), extra=pl.lit("<b>"))
    found = findings(CHECK, evidence(before, after, roles))
    assert found["unexpected@extra"].reason == "only_in_production"
    assert found["role@y"].reason == "only_in_reference"
    assert found["role@ms"].reason == "only_in_production"
    assert not any(found[k].primary for k in ("unexpected@extra", "role@y", "role@ms"))


# ------------------------------------------------------------------ poor and odd tables


@pytest.mark.parametrize("rows", [0, 1, 2])
def test_hardly_any_rows(rows: int) -> None:
    found = findings(CHECK, evidence(table(rows), table(rows, 1)))
    assert {f.verdict.value for f in found.values()} <= {"ok", "undecided"}
    assert "missing@age" in findings(CHECK, evidence(table(100), table(rows, 1).drop("age")))


def test_odd_columns() -> None:
    odd = pl.DataFrame(
        {
            'a"; DROP TABLE x; --': [1.0, None, float("inf"), -float("inf")] * 10,
            "<script>😀</script>": ["a\u202eb", "", " ", None] * 10,
            "_list": [[1], [2], [], None] * 10,
            "all null": pl.Series([None] * 40, dtype=pl.String),
            "when": [*map(dt.datetime.fromisoformat, ["2024-01-01", "2999-01-01", "1900-01-01"]), None] * 10,
            "^.*$": list(range(40)),
        }
    )
    found = findings(CHECK, evidence(odd, odd))
    assert len(found) == 6
    assert not alarms(found)
    swapped = odd.with_columns(pl.col("^\\^.*$").cast(pl.String), pl.lit("text").alias('a"; DROP TABLE x; --'))
    assert findings(CHECK, evidence(odd, swapped))


def test_five_thousand_columns_are_quick() -> None:
    import time

    wide = pl.DataFrame({f"c{i}": np.arange(50) % (i % 7 + 1) for i in range(5000)})
    given = evidence(wide, wide)
    start = time.perf_counter()
    assert len(CHECK.run(given)) == 5000
    assert time.perf_counter() - start < 20


def test_what_was_not_fetched_is_left_out_or_said() -> None:
    given = evidence(table(100), table(100, 1))
    bare = replace(given, reference=None, production=None, reference_sample=None, production_sample=None)
    found = findings(CHECK, bare)
    assert {f.reason for f in found.values()} == {"not_counted"}
    narrow = replace(given, production_sample=Sample(table(100, 1).select("age"), 100, 0))
    assert set(findings(CHECK, narrow)) == {"missing@age", "missing@colour", "missing@visits", "missing@flag"}
    gone = replace(given, reference=None, production_kinds={})
    assert findings(CHECK, gone)["missing@age"].verdict == "alarm"
