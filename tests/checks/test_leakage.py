"""Leaks are found, and columns that merely follow time, drift or weaken are not called leaks."""

import datetime as dt
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from afterlaunch.checks.leakage import CHECK
from afterlaunch.roles import Roles
from tests.checks.evidences import alarms, evidence, findings
from tests.simulation import at_least, at_most

ROLES = Roles(outcome="y")


def world(
    rng: np.random.Generator, rows: int, more: int, *, kept: float = 1.0, swing: float = 1.5
) -> tuple[pl.DataFrame, pl.DataFrame]:
    """A reference and the production after it: a base rate that moves, features that follow it, features with power.

    `kept` is the part of the relation of `x` and `kind` with the outcome that production keeps.
    """
    n = rows + more
    days = n // 50
    day = np.arange(n) * days // n
    t = np.linspace(0, 1, days)
    path = [
        lambda: (w := np.cumsum(rng.normal(size=days))) / w.std(),
        lambda: 3.4 * (t - 0.5),
        lambda: np.sign(np.sin(2 * np.pi * t * rng.uniform(0.5, 6))),
        lambda: 1.4 * np.sin(2 * np.pi * t * rng.uniform(0.5, 8)),
    ][rng.integers(4)]()[day]
    x, kind, worth = rng.normal(size=n), rng.integers(0, 5, n), rng.normal(size=5)
    part = np.where(np.arange(n) < rows, 1.0, kept)
    logit = rng.uniform(-2, 0) + swing * path + part * (rng.uniform(0.5, 2) * x + rng.uniform(0.3, 1.2) * worth[kind])
    frame = pl.DataFrame(
        {
            "rate": path.round(3),
            "month": pl.Series(day * 12 // days).cast(pl.String),
            "regime": path > 0,
            "season": pl.Series(day * 24 // days % 6).cast(pl.String),
            "smooth": path + 0.3 * rng.normal(size=n),
            "x": x,
            "kind": pl.Series(kind).cast(pl.String),
            "noise": rng.normal(size=n),
            "zip": pl.Series(rng.integers(0, 800, n)).cast(pl.String),
            "user": pl.Series(rng.integers(0, n // 3, n)).cast(pl.String),
            "y": (rng.random(n) < 1 / (1 + np.exp(-logit))).astype(int),
        }
    )
    return frame[:rows], frame[rows:]


@pytest.mark.slow
@pytest.mark.parametrize("kept", [1.0, 0.5])
@pytest.mark.parametrize("shuffled", [False, True])
@pytest.mark.parametrize(("rows", "more"), [(300, 200), (4000, 3000), (20_000, 1000)])
def test_nothing_honest_is_accused(rows: int, more: int, shuffled: bool, kept: float) -> None:
    """Any accusation in at most 5 % of worlds: also of a shuffled reference, and when relations weaken by half."""
    rng, repeats, said = np.random.default_rng(rows + 2 * shuffled), 60 if rows < 10_000 else 25, 0
    for i in range(repeats):
        before, after = world(rng, rows, more, kept=kept)
        if shuffled:
            before = before.sample(fraction=1, shuffle=True, seed=i)
        said += bool(alarms(findings(CHECK, evidence(before, after, ROLES))))
    assert said / repeats <= at_most(0.05, repeats)


@pytest.mark.slow
@pytest.mark.parametrize(("rows", "least"), [(300, 0.5), (1000, 0.9)])
@pytest.mark.parametrize("how", ["gone", "noise", "default", "null", "copy", "near copy"])
def test_leaks_are_found(how: str, rows: int, least: float) -> None:
    """In at least half of the worlds of 300 rows and 90 % of those of 1,000; and nothing else is accused."""
    if how == "near copy":
        least -= 0.5
    rng, repeats, found, false = np.random.default_rng(2), 40, 0, 0
    for _ in range(repeats):
        before, after = world(rng, rows, rows, swing=1.0)
        y, z = before["y"].to_numpy(), after["y"].to_numpy()
        signal = 2.0 * y + rng.normal(size=rows)
        leak: np.ndarray | pl.Series = signal
        served: np.ndarray | pl.Series = rng.permutation(signal)
        if how == "default":
            served = np.zeros(rows)
        if how == "null":
            served = pl.Series([None] * rows, dtype=pl.Float64)
        if how == "copy":
            leak, served = 1 - y, 1 - z
        if how == "near copy":
            leak, served = (
                pl.Series(np.where(rng.random(rows) < 0.01, 1 - y, y)).cast(pl.String),
                pl.Series(z).cast(pl.String),
            )
        before, after = before.with_columns(leak=leak), after.with_columns(leak=served)
        said = alarms(findings(CHECK, evidence(before, after.drop("leak") if how == "gone" else after, ROLES)))
        found += any(s.endswith("@leak") for s in said)
        false += any(not s.endswith("@leak") for s in said)
    assert found / repeats >= at_least(least, repeats)
    assert false / repeats <= at_most(0.05, repeats)


@pytest.mark.parametrize("task", ["binary", "text", "classes", "number"])
def test_a_leak_is_found_in_every_task(task: str) -> None:
    rng = np.random.default_rng(3)
    y = {
        "binary": rng.random(3000) < 0.2,
        "text": rng.choice(["yes", "no"], 3000, p=[0.2, 0.8]),
        "classes": rng.choice(["a", "b", "c"], 3000),
        "number": rng.normal(size=3000),
    }[task]
    code = np.unique(y, return_inverse=True)[1]
    frame = pl.DataFrame({"y": y, "leak": code * 2.0 + 1, "honest": 2 * code / code.max() + rng.normal(size=3000)})
    found = findings(CHECK, evidence(frame, frame, ROLES))
    assert "power@leak" in alarms(found)
    assert all(name.endswith("@leak") for name in alarms(found))
    gone = findings(CHECK, evidence(frame, frame.drop("y", "honest"), ROLES))
    assert {name for name in alarms(gone) if not name.endswith("@leak")} == {"lost_power@honest"}


def test_sentences_say_effect_first_and_what_to_do() -> None:
    rng = np.random.default_rng(4)
    before, after = world(rng, 4000, 2000)
    y = before["y"].to_numpy()
    before = before.with_columns(leak=pl.Series(2.0 * y + rng.normal(size=4000)))
    one = findings(CHECK, evidence(before, after, ROLES))["lost_power@leak"]
    assert one.effect is not None
    assert 0.35 < one.effect.value < 0.48
    assert one.sentence.startswith(f"'leak' loses {one.effect.value:.3f} of AUC: alone it reaches")
    assert one.sentence.endswith("and production does not have it.")
    assert "retrain without it" in one.action
    assert one.table is not None
    assert one.table["kind"] == "intervals"


def test_a_column_that_follows_time_is_named_as_such() -> None:
    rng = np.random.default_rng(5)
    swing = np.repeat([0.1, 0.6, 0.2, 0.7], 1000)
    frame = pl.DataFrame({"rate": swing, "y": (rng.random(4000) < swing).astype(int)})
    found = findings(CHECK, evidence(frame, frame, ROLES))
    assert found["follows_time@rate"].verdict == "ok"
    assert not found["follows_time@rate"].primary
    assert found["follows_time@rate"].sentence.endswith("That is no leak.")
    assert not alarms(found)


def test_time_is_taken_from_its_role() -> None:
    """Shuffled rows with a time are put in order: what follows time has no power within it."""
    rng = np.random.default_rng(6)
    swing = np.repeat([0.1, 0.6, 0.2, 0.7], 1000)
    start = dt.datetime.fromisoformat("2024-01-01")
    ts = [start + dt.timedelta(hours=i) for i in range(4000)]
    frame = pl.DataFrame({"rate": swing, "ts": ts, "y": (rng.random(4000) < swing).astype(int)})
    frame = frame.sample(fraction=1, shuffle=True, seed=1)
    for column in (pl.col("ts"), pl.col("ts").dt.to_string(), pl.col("ts").dt.timestamp(), pl.col("ts").dt.date()):
        timed = frame.with_columns(column.alias("ts"))
        one = findings(CHECK, evidence(timed, timed, Roles(outcome="y", time="ts")))["power@rate"]
        assert one.effect is not None
        assert abs(one.effect.value - 0.5) < 0.05, timed["ts"].dtype


def test_rows_in_the_order_of_the_outcome_are_shuffled() -> None:
    rng = np.random.default_rng(7)
    frame = pl.DataFrame({"x": np.repeat([0, 1], 500) + rng.normal(size=1000), "y": np.repeat([0, 1], 500)})
    one = findings(CHECK, evidence(frame, frame, ROLES))["power@x"]
    assert one.effect is not None
    assert one.effect.value == pytest.approx(0.76, abs=0.05)


def test_a_relation_that_weakens_is_said_to_and_does_not_alarm() -> None:
    rng = np.random.default_rng(8)
    frames = []
    for slope in (2.0, 0.6):
        x = rng.normal(size=6000)
        frames.append(pl.DataFrame({"x": x, "y": (rng.random(6000) < 1 / (1 + np.exp(-slope * x))).astype(int)}))
    one = findings(CHECK, evidence(*frames, ROLES))["lost_power@x"]
    assert (one.verdict, one.reason, one.primary) == ("undecided", "relation_changed", False)
    assert "no sign of a leak" in one.sentence


def test_a_column_that_hardly_varies_in_production_keeps_the_room_it_has() -> None:
    rng = np.random.default_rng(9)
    frames = []
    for spread in (1.0, 0.1):
        x = spread * rng.normal(size=6000)
        frames.append(pl.DataFrame({"x": x, "y": (rng.random(6000) < 1 / (1 + np.exp(-2 * x))).astype(int)}))
    assert not alarms(findings(CHECK, evidence(*frames, ROLES)))


def test_a_natural_constant_is_no_leak_and_a_new_or_default_one_is() -> None:
    rng = np.random.default_rng(10)
    x = rng.integers(0, 30, 4000)
    before = pl.DataFrame({"x": x, "y": (rng.random(4000) < 0.1 + 0.02 * x).astype(int)})
    for value, accused in ((12, False), (0, True), (-1, True), (500, True)):
        after = pl.DataFrame({"x": np.full(500, value), "y": rng.integers(0, 2, 500)})
        assert ("lost_power@x" in alarms(findings(CHECK, evidence(before, after, ROLES)))) == accused, value


def test_identifiers() -> None:
    rng = np.random.default_rng(11)
    n = 1000
    frame = pl.DataFrame(
        {
            "row": np.arange(n) + 7,
            "customerId": rng.permutation(10 * n)[:n],
            "token": [f"t{v:x}" for v in rng.integers(0, 2**60, n)],
            "income": rng.permutation(10 * n)[:n],
            "amount": rng.normal(size=n),
            "note": [f"a word or two about case {i}" for i in range(n)],
            "when": [f"2024-01-01 {i // 60:02d}:{i % 60:02d}:00" for i in range(n)],
            "y": rng.integers(0, 2, n),
        }
    )
    found = findings(CHECK, evidence(frame, frame, ROLES))
    assert alarms(found) == {"identifier@row", "identifier@customerId", "identifier@token"}
    assert not findings(
        CHECK, evidence(frame, frame, Roles(outcome="y", id="row", ignore=("token", "customerId")))
    ).keys() & {
        "identifier@row",
        "identifier@token",
    }
    assert not alarms(findings(CHECK, evidence(frame[:50], frame[:50], ROLES)))


def test_users_with_many_rows_are_no_evidence_each() -> None:
    """A column that is the user's own, noise for the outcome: rarely accused though rows repeat."""
    rng, repeats, said = np.random.default_rng(12), 60, 0
    for _ in range(repeats):
        frames = []
        for _ in range(2):
            user = np.repeat(rng.integers(0, 10**9, 60), 30)
            rng.shuffle(user)
            _, code = np.unique(user, return_inverse=True)
            frames.append(
                pl.DataFrame(
                    {
                        "u": user,
                        "age": rng.normal(size=60)[code],
                        "town": pl.Series(rng.integers(0, 9, 60)[code]).cast(pl.String),
                        "y": (rng.random(1800) < rng.beta(1, 1, 60)[code]).astype(int),
                    }
                )
            )
        said += bool(alarms(findings(CHECK, evidence(*frames, Roles(outcome="y", unit="u")))))
    assert said / repeats <= at_most(0.05, repeats)


# ------------------------------------------------------------------ poor and odd tables


@pytest.mark.parametrize("rows", [0, 1, 2, 5])
def test_hardly_any_rows(rows: int) -> None:
    before, after = world(np.random.default_rng(13), 100, 100)
    assert not alarms(findings(CHECK, evidence(before[:rows], after[:rows], ROLES)))
    assert not alarms(findings(CHECK, evidence(before, after[:rows], ROLES)))


@pytest.mark.parametrize(
    ("roles", "outcome", "reason"),
    [
        (Roles(), [0, 1], "no_outcome"),
        (Roles(outcome="other"), [0, 1], "no_outcome"),
        (ROLES, [[0], [1]], "no_outcome"),
        (ROLES, [1, 1], "one_class"),
        (ROLES, [None, None], "one_class"),
        (ROLES, [float("nan"), float("inf")], "one_class"),
    ],
)
def test_without_an_outcome_it_says_so(roles: Roles, outcome: list[object], reason: str) -> None:
    frame = pl.DataFrame({"x": range(100), "y": outcome * 50})
    (one,) = findings(CHECK, evidence(frame, frame, roles)).values()
    assert (one.verdict, one.reason, one.effect) == ("undecided", reason, None)


def test_odd_columns() -> None:
    rng = np.random.default_rng(14)
    odd = pl.DataFrame(
        {
            'a"; DROP TABLE x; --': [1.0, None, float("inf"), -float("inf"), float("nan")] * 40,
            "<script>😀</script>": ["a\u202eb", "", " ", None, "\x1b"] * 40,
            "_list": [[1], [2], [], None, [3]] * 40,
            "all null": pl.Series([None] * 200, dtype=pl.String),
            "null type": [None] * 200,
            "constant": [1] * 200,
            "when": [dt.date(2024, 1, 1), None] * 100,
            "^.*$": list(range(200)),
            "bool": [True, None] * 100,
            "cat": pl.Series(["a", "b"] * 100, dtype=pl.Categorical),
            "big": [2**62 + i for i in range(200)],
            "y": rng.integers(0, 2, 200),
        }
    )
    assert findings(CHECK, evidence(odd, odd, ROLES))
    as_text = odd.with_columns(pl.lit("text").alias("constant"), pl.col("y").cast(pl.String))
    assert findings(CHECK, evidence(odd, as_text, ROLES))


def test_it_is_the_same_twice_and_leaves_its_input_alone() -> None:
    before, after = world(np.random.default_rng(15), 1000, 500)
    copy = before.clone()
    first, second = (findings(CHECK, evidence(before, after, ROLES)) for _ in range(2))
    assert {k: f.to_dict() for k, f in first.items()} == {k: f.to_dict() for k, f in second.items()}
    assert before.equals(copy)


def test_five_thousand_columns_are_quick() -> None:
    rng = np.random.default_rng(16)
    data = {f"c{i}": rng.integers(0, 50, 2000) for i in range(5000)}
    wide = pl.DataFrame({**data, "y": rng.integers(0, 2, 2000)})
    given = evidence(wide, wide, ROLES)
    start = time.perf_counter()
    assert len(CHECK.run(given)) >= 5000
    assert time.perf_counter() - start < 60


# ------------------------------------------------------------------ real tables


@pytest.fixture
def bank(real_data: Path) -> pl.DataFrame:
    return pl.read_parquet(real_data / "bank_marketing" / "bank_additional_full.parquet")


@pytest.mark.real_data("bank_marketing")
@pytest.mark.parametrize("rows", [10_000, 20_000, 30_000])
@pytest.mark.parametrize("logged", [True, False])
def test_bank_marketing_accuses_duration_and_nothing_else(bank: pl.DataFrame, rows: int, logged: bool) -> None:
    before, after = bank[:rows], bank[rows:]
    for reference in (before, before.sample(fraction=1, shuffle=True, seed=1)):
        found = alarms(findings(CHECK, evidence(reference, after if logged else after.drop("duration"), ROLES)))
        assert {name.partition("@")[2] for name in found} <= {"duration"}
        assert logged or "lost_power@duration" in found


@pytest.mark.real_data("bank_marketing")
def test_bank_marketing_in_random_halves_accuses_nothing(bank: pl.DataFrame) -> None:
    for seed in range(5):
        mixed = bank.sample(fraction=1, shuffle=True, seed=seed)
        assert not alarms(findings(CHECK, evidence(mixed[:20_000], mixed[20_000:], ROLES)))


@pytest.mark.real_data("acs_employment_ma", "car_loan")
@pytest.mark.parametrize(
    ("folder", "roles"),
    [
        (
            "acs_employment_ma",
            Roles(outcome="employed", id="id", score="predicted_probability", prediction="prediction", time="year"),
        ),
        ("car_loan", Roles(outcome="repaid", id="id", score="y_pred_proba", prediction="y_pred", time="timestamp")),
    ],
)
def test_other_real_tables_accuse_nothing(real_data: Path, folder: str, roles: Roles) -> None:
    before, after, known = (
        pl.read_parquet(real_data / folder / f"{name}.parquet") for name in ("reference", "analysis", "analysis_target")
    )
    after = after.join(
        known.cast({roles.outcome or "": before.schema[roles.outcome or ""]}), on="id", maintain_order="left"
    )
    mixed = before.sample(fraction=1, shuffle=True, seed=1)
    for a, b in ((before, after), (mixed[:20_000], mixed[20_000:]), (before, after[-10_000:])):
        assert not alarms(findings(CHECK, evidence(a[:50_000], b[:50_000], roles)))


def test_without_production_rows_only_offline_power_is_judged() -> None:
    before, after = world(np.random.default_rng(17), 2000, 100)
    given = replace(evidence(before, after, ROLES), production_sample=None)
    assert not any(name.startswith("lost_power") for name in findings(CHECK, given))
    lone = after.with_columns(x=pl.lit(None, dtype=pl.Float64))
    assert "lost_power@x" in findings(CHECK, evidence(before, lone, ROLES))
