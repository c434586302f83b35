"""What a new policy would have brought, from end to end: known truths, real logs, and what is refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
import typer
from typer.testing import CliRunner

from afterlaunch.checks.off_policy import LEAST_EFFECTIVE, estimates
from afterlaunch.cli.off_policy import command
from afterlaunch.decide import InputError
from afterlaunch.finding import Finding, Review, Verdict
from afterlaunch.profile.logged import Logged
from afterlaunch.questions import off_policy as question
from afterlaunch.questions.off_policy import off_policy
from afterlaunch.stats.reward_model import Policy, cross_fitted
from afterlaunch.stats.skewed import paired
from tests.frames import handed_in

ROLES = {"outcome": "y", "propensity": "p", "item": "item", "position": "place"}
ITEMS, PLACES = 6, 2
RATES = np.array([0.05, 0.08, 0.1, 0.12, 0.15, 0.3])
BY_PLACE = np.array([1.0, 0.6])


def logged(rows: int = 20_000, seed: int = 0, shown: Any = None) -> pl.DataFrame:
    """Items drawn with the probabilities `shown`, the same at each place."""
    rng = np.random.default_rng(seed)
    p = np.full(ITEMS, 1 / ITEMS) if shown is None else np.asarray(shown)
    item, place = rng.choice(ITEMS, rows, p=p), rng.integers(PLACES, size=rows)
    y = (rng.random(rows) < RATES[item] * BY_PLACE[place]).astype(int)
    return pl.DataFrame(
        {
            "user": rng.integers(rows // 4, size=rows),
            "item": [f"i{i}" for i in item],
            "place": place + 1,
            "y": y,
            "p": p[item],
        }
    )


def policy(shares: Any) -> pl.DataFrame:
    return pl.DataFrame(
        {
            "item": [f"i{i}" for i in range(ITEMS)] * PLACES,
            "place": np.repeat(np.arange(PLACES) + 1, ITEMS),
            "probability": np.tile(np.asarray(shares, dtype=float), PLACES),
        }
    )


BETTER = [0.05, 0.05, 0.05, 0.05, 0.2, 0.6]
WORSE = BETTER[::-1]
SAME = [1 / ITEMS] * ITEMS
"""Of the truth: what the policies bring over even chances."""


def truth(shares: Any) -> float:
    return float(np.asarray(shares) @ RATES) * float(BY_PLACE.mean())


def of(review: Review, key: str) -> Finding:
    return next(f for f in review if f.key == key)


# ------------------------------------------------------------------ what it says


def test_a_better_policy_is_to_be_tried() -> None:
    review = off_policy(logged(), target_policy=policy(BETTER), roles=ROLES)
    lift = of(review, "lift")
    assert review.verdict is Verdict.OK
    assert review.decision.startswith("Try the new policy in an A/B: ")
    assert lift.effect is not None
    assert lift.effect.low <= truth(BETTER) / truth(SAME) - 1 <= lift.effect.high
    assert lift.sentence.endswith("; DR).")
    assert lift.table is not None
    assert [r["name"] for r in lift.table["rows"]] == ["as logged", "IPS", "SNIPS", "DR"]
    for row, value in zip(lift.table["rows"], [truth(SAME), *[truth(BETTER)] * 3], strict=True):
        assert row["low"] < value < row["high"]


def test_a_worse_policy_is_not() -> None:
    review = off_policy(logged(), target_policy=policy(WORSE), roles=ROLES)
    assert review.verdict is Verdict.ALARM
    assert review.decision.startswith("Do not bother: ")


def test_a_policy_like_the_old_one_is_not_decided_without_enough() -> None:
    slightly = [*SAME[:4], SAME[4] - 0.02, SAME[5] + 0.02]
    review = off_policy(logged(400), target_policy=policy(slightly), roles=ROLES, margins={"off_policy/lift": 1e-4})
    assert review.verdict is Verdict.UNDECIDED
    assert review.decision.startswith("Not decided: ")
    assert of(review, "lift").rows_needed is not None


def test_a_column_says_the_same_as_a_table_without_a_model() -> None:
    log = logged()
    shares = {f"i{i}": s for i, s in enumerate(BETTER)}
    with_column = log.with_columns(new=pl.col("item").replace_strict(shares))
    by_column = off_policy(with_column, target="new", roles=ROLES)
    by_table = off_policy(log, target_policy=policy(BETTER), roles=ROLES, model=False)
    assert of(by_column, "lift").effect == of(by_table, "lift").effect
    assert of(by_column, "lift").sentence.endswith("; SNIPS).")
    assert any("no doubly robust estimate" in n for n in by_column.notes)


def test_a_margin_in_the_outcomes_unit() -> None:
    review = off_policy(logged(), target_policy=policy(BETTER), roles=ROLES, margins={"off_policy/difference": 0.002})
    lift = of(review, "difference")
    assert lift.margin == 0.002
    assert lift.effect is not None
    assert lift.effect.low < truth(BETTER) - truth(SAME) < lift.effect.high
    assert not [f for f in review if f.key == "lift"]


def test_your_own_model_is_taken() -> None:
    log = logged()
    rates = {f"i{i}": float(r) for i, r in enumerate(RATES)}
    shares = {f"i{i}": s for i, s in enumerate(BETTER)}
    log = log.with_columns(
        new=pl.col("item").replace_strict(shares),
        predicted=pl.col("item").replace_strict(rates) * pl.col("place").replace_strict({1: 1.0, 2: 0.6}),
        expected=pl.col("place").replace_strict({1: 1.0, 2: 0.6}) * float(np.asarray(BETTER) @ RATES),
    )
    review = off_policy(log, target="new", roles=ROLES, model=["predicted", "expected"])
    lift = of(review, "lift")
    assert lift.effect is not None
    assert lift.effect.low < truth(BETTER) / truth(SAME) - 1 < lift.effect.high
    assert lift.method.startswith("DR, your model")


def test_units_widen_the_interval_where_they_repeat_rows() -> None:
    log = logged(4_000)
    thrice = pl.concat([log.with_columns(user=np.arange(4_000))] * 3)
    with_unit = of(off_policy(thrice, target_policy=policy(BETTER), roles={**ROLES, "unit": "user"}), "lift")
    without = of(off_policy(thrice, target_policy=policy(BETTER), roles=ROLES), "lift")
    assert with_unit.effect is not None
    assert without.effect is not None
    widths = [f.effect.high - f.effect.low for f in (with_unit, without) if f.effect is not None]
    assert 1.5 < widths[0] / widths[1] < 2.0
    assert "by unit" in with_unit.method


@pytest.mark.parametrize("engine", ["duckdb", "pandas", "parquet"])
def test_other_engines_say_the_same(engine: str, tmp_path: Path) -> None:
    log = logged(3_000)
    ours = off_policy(log, target_policy=policy(BETTER), roles={**ROLES, "unit": "user"})
    with handed_in(engine, tmp_path, log=log, new=policy(BETTER)) as given:
        theirs = off_policy(given["log"], target_policy=given["new"], roles={**ROLES, "unit": "user"})
    for a, b in zip(ours, theirs, strict=True):
        assert (a.id, a.verdict, a.n) == (b.id, b.verdict, b.n)
        if a.effect is not None:
            assert b.effect is not None
            assert a.effect.value == pytest.approx(b.effect.value, rel=1e-9)


def test_a_large_log_is_drawn_and_the_note_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(question, "MOST_ROWS", 5_000)
    review = off_policy(logged(), target_policy=policy(BETTER), roles=ROLES)
    assert "5,000 of 20,000 decisions were drawn" in review.notes[0]
    assert of(review, "lift").sample == 5_000


def test_truth_values_and_text_are_outcomes() -> None:
    log = logged(2_000)
    plain = of(off_policy(log, target_policy=policy(BETTER), roles=ROLES), "lift")
    true = log.with_columns(pl.col("y") == 1)
    words = log.with_columns(pl.col("y").replace_strict({1: "yes", 0: "no"}))
    assert of(off_policy(true, target_policy=policy(BETTER), roles=ROLES), "lift").effect == plain.effect
    spoken = off_policy(words, target_policy=policy(BETTER), roles={**ROLES, "positive": "yes"})
    assert of(spoken, "lift").effect == plain.effect


def test_money_is_an_outcome_by_ridge_regression() -> None:
    log = logged().with_columns(pl.col("y") * 12.5)
    lift = of(off_policy(log, target_policy=policy(BETTER), roles=ROLES), "lift")
    assert "ridge" in lift.method
    assert lift.effect is not None
    assert lift.effect.low < truth(BETTER) / truth(SAME) - 1 < lift.effect.high


# ------------------------------------------------------------------ when the log cannot tell


def test_what_the_log_never_shows_forbids_to_judge() -> None:
    log = logged(shown=[0.2, 0.2, 0.2, 0.2, 0.2, 0.0])
    review = off_policy(log, target_policy=policy(BETTER), roles=ROLES)
    support = of(review, "support")
    assert support.verdict is Verdict.ALARM
    assert support.effect is not None
    assert support.effect.value == pytest.approx(0.6, abs=0.02)
    assert "i5 at place" in support.sentence
    others = [f for f in review if f is not support]
    assert {(f.verdict, f.reason) for f in others} == {(Verdict.UNDECIDED, "no_support")}
    assert review.verdict is Verdict.UNDECIDED
    assert review.decision.startswith("Not decided: 59.9 %")


def test_a_policy_that_shares_nothing_with_the_log() -> None:
    log = logged(shown=[0.25, 0.25, 0.25, 0.25, 0.0, 0.0])
    review = off_policy(log, target_policy=policy([0, 0, 0, 0, 0.5, 0.5]), roles=ROLES)
    assert of(review, "support").verdict is Verdict.ALARM
    assert of(review, "lift").reason == "no_support"
    assert of(review, "lift").effect is None


def test_wrong_propensities_forbid_to_judge() -> None:
    review = off_policy(logged().with_columns(pl.col("p") / 2), target_policy=policy(BETTER), roles=ROLES)
    wrong = of(review, "propensity")
    assert wrong.verdict is Verdict.ALARM
    assert wrong.effect is not None
    assert wrong.effect.value == pytest.approx(1.0, abs=0.1)
    assert of(review, "lift").reason == "wrong_probabilities"


def test_uneven_weights_are_said() -> None:
    shown = np.array([0.0008] * 5 + [0.996])
    log = logged(20_000, shown=shown / shown.sum())
    review = off_policy(log, target_policy=policy(WORSE), roles=ROLES)
    effective = of(review, "effective")
    assert effective.reason == "weights_too_uneven" or effective.effect is not None
    few = off_policy(log.head(3_000), target_policy=policy(WORSE), roles=ROLES)
    assert of(few, "effective").reason == "weights_too_uneven"
    assert of(few, "lift").effect is None
    assert f"{LEAST_EFFECTIVE:.0f} are the least" in of(few, "effective").sentence


def test_too_few_rewards_are_said() -> None:
    log = logged(3_000).with_columns(y=pl.when(pl.int_range(pl.len()) < 30).then("y").otherwise(0))
    lift = of(off_policy(log, target_policy=policy(BETTER), roles=ROLES), "lift")
    assert lift.reason == "too_few_outcomes"


@pytest.mark.parametrize("value", [0, 1])
def test_a_constant_outcome_decides_nothing(value: int) -> None:
    log = logged(2_000).with_columns(y=pl.lit(value))
    review = off_policy(log, target_policy=policy(BETTER), roles=ROLES)
    assert review.verdict is Verdict.UNDECIDED
    assert of(review, "lift").reason in {"too_few_outcomes", "no_variation"}


def test_an_outcome_around_zero_has_no_relative_change() -> None:
    log = logged().with_columns(y=pl.when(pl.int_range(pl.len()) % 2 == 0).then(1.0).otherwise(-1.0))
    assert of(off_policy(log, target_policy=policy(BETTER), roles=ROLES), "lift").reason == "no_scale"
    both = off_policy(log, target_policy=policy(BETTER), roles=ROLES, margins={"off_policy/difference": 0.1})
    assert of(both, "difference").effect is not None


# ------------------------------------------------------------------ error rates


def simulated(rows: int, rate: float, rng: np.random.Generator, *, model: bool, users: int = 0) -> tuple[Logged, float]:
    """Thirty items, shown evenly, of which the new policy prefers some; and the true lift."""
    items = 30
    q = np.exp(1.2 * np.random.default_rng(5).normal(size=items))
    q /= q.sum()
    mu = rate * np.exp(0.5 * np.random.default_rng(6).normal(size=items))
    item = rng.integers(items, size=rows)
    p, groups = mu[item], None
    if users:
        groups = rng.integers(users, size=rows)
        p = np.minimum(p * rng.gamma(2, 0.5, users)[groups], 1)
    y = (rng.random(rows) < p).astype(float)
    found = Logged("y", y, np.full(rows, 1 / items), q[item], rows, groups)
    if model:
        place = np.zeros(rows, dtype=np.int64)
        of_policy = Policy(np.arange(items), np.zeros(items, dtype=np.int64), q)
        fitted = cross_fitted(y, item, place, of_policy, groups=groups)
        found = Logged("y", y, found.logged, found.target, rows, groups, fitted.predicted, fitted.expected, "logistic")
    return found, float(q @ mu) / float(mu.mean()) - 1


@pytest.mark.slow
@pytest.mark.parametrize(
    ("rows", "rate", "model", "users"), [(6_000, 0.02, False, 0), (6_000, 0.02, True, 0), (3_000, 0.2, False, 500)]
)
def test_ends_err_as_often_as_promised(rows: int, rate: float, model: bool, users: int) -> None:
    rng = np.random.default_rng(11)
    draws = 60 if model else 400
    missed = {"lift": 0, "support": 0, "propensity": 0}
    for _ in range(draws):
        found, true = simulated(rows, rate, rng, model=model, users=users)
        for e in estimates(found):
            if e.kind.key in missed and e.value is not None and e.interval is not None:
                low, high = e.interval(0.05, 0.05)
                missed[e.kind.key] += not low <= (true if e.kind.key == "lift" else 0.0) <= high
    most = 0.1 * draws + 3.1 * (0.1 * 0.9 * draws) ** 0.5
    assert all(n <= most for n in missed.values()), missed


def test_an_interval_of_rare_events_is_as_wide_above_as_it_has_to_be() -> None:
    rng = np.random.default_rng(3)
    above = sum(paired((rng.random(2_000) < 0.01).astype(float)).difference(0.05, 0.05)[1] < 0.01 for _ in range(1_000))
    assert above < 75


# ------------------------------------------------------------------ a real log


@pytest.mark.real_data("open_bandit_men")
def test_the_value_of_bts_is_found_in_the_rows_of_random(real_data: Path) -> None:
    """ZOZOTOWN ran both policies: what thompson sampling brought is known, and must lie in every interval."""
    frame = pl.read_parquet(real_data / "open_bandit_men" / "log.parquet")
    bts, random = (frame.filter(pl.col("policy") == p) for p in ("bts", "random"))
    new = bts.group_by("item_id", "position").agg(pl.col("propensity_score").mean().alias("probability"))
    new = new.with_columns(pl.col("probability") / pl.col("probability").sum().over("position"))
    roles = {"outcome": "click", "propensity": "propensity_score", "item": "item_id", "position": "position"}
    review = off_policy(random, target_policy=new, roles=roles)
    lift = of(review, "lift")
    assert lift.table is not None
    rows = {r["name"]: r for r in lift.table["rows"]}
    assert rows["as logged"]["value"] == pytest.approx(0.0046)
    for way in ("IPS", "SNIPS", "DR"):
        assert rows[way]["low"] < bts["click"].mean() < rows[way]["high"], way  # type: ignore[operator]
        assert rows[way]["high"] > 2 * rows[way]["low"], "forty-six clicks cannot say more"
    assert lift.verdict is Verdict.UNDECIDED
    assert of(review, "support").verdict is Verdict.OK
    assert of(review, "propensity").verdict is Verdict.OK


# ------------------------------------------------------------------ what is refused


def refused(log: pl.DataFrame | None = None, **more: Any) -> str:
    more = {"target_policy": policy(BETTER), "roles": ROLES} | more
    with pytest.raises(InputError) as caught:
        off_policy(logged(300) if log is None else log, **more)
    text = str(caught.value)
    assert text.endswith((".", "?"))
    assert "\n" not in text
    return text


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (0.0, "'p' of the log table is 0.0 in the worst"),
        (-0.1, "is -0.1"),
        (1.5, "1.5"),
        (None, "is missing in 1 of 300"),
    ],
)
def test_bad_propensities(value: float | None, words: str) -> None:
    log = logged(300)
    text = refused(log.with_columns(p=pl.when(pl.int_range(pl.len()) == 7).then(value).otherwise("p")))
    assert words in text
    assert text.startswith("The propensity 'p'")


@pytest.mark.parametrize(("value", "words"), [(-0.1, "-0.1"), (1.5, "1.5"), (None, "missing in 300")])
def test_bad_targets(value: float | None, words: str) -> None:
    log = logged(300).with_columns(new=pl.lit(value, dtype=pl.Float64))
    assert words in refused(log, target="new", target_policy=None)


def test_bad_policies() -> None:
    good = policy(BETTER)
    assert "sums to 0.5 over place = 1" in refused(target_policy=good.with_columns(pl.col("probability") / 2))
    assert "more than once" in refused(target_policy=pl.concat([good, good]))
    assert "no column 'probability'" in refused(target_policy=good.rename({"probability": "q"}))
    assert "no column 'item'" in refused(target_policy=good.drop("item"))
    assert "is empty" in refused(target_policy=good.head(0))
    assert "says nothing" in refused(target_policy=good.filter(pl.col("place") == 1))
    assert "convert one of them" in refused(target_policy=good.with_columns(item=pl.int_range(pl.len())))
    assert "missing in some rows" in refused(target_policy=good.with_columns(item=pl.lit(None, dtype=pl.String)))
    negative = good.with_columns(probability=pl.when(pl.int_range(pl.len()) == 0).then(-0.1).otherwise("probability"))
    assert "-0.1" in refused(target_policy=negative)


def test_bad_questions() -> None:
    log = logged(300)
    assert "either" in refused(target="p")
    assert "either" in refused(target_policy=None)
    assert "has no column 'new'" in refused(target="new", target_policy=None)
    assert "role outcome" in refused(roles={"propensity": "p"})
    assert "role propensity" in refused(roles={"outcome": "y"})
    assert "role item" in refused(roles={"outcome": "y", "propensity": "p"})
    assert "names the column 'q'" in refused(roles={**ROLES, "propensity": "q"})
    assert "holds String, no numbers" in refused(log.with_columns(y=pl.lit("yes")))
    assert "is infinite" in refused(log.with_columns(y=pl.lit(float("inf"))))
    assert "No row of the log has an outcome" in refused(log.with_columns(y=pl.lit(None, dtype=pl.Float64)))
    assert "No row of the log has an outcome" in refused(log.head(0))
    assert "is missing in 300 rows" in refused(log.with_columns(item=pl.lit(None, dtype=pl.String)))
    assert "alpha" in refused(alpha=0.7)
    assert "names no effect" in refused(margins={"off_policy/psi": 0.1})
    assert "names no check" in refused(margins={"drift": 0.1})
    assert "needs to know what else" in refused(log, target="p", target_policy=None, model=True)
    assert "no column 'a'" in refused(model=["a", "b"])
    assert "give two columns" in refused(model=["y"])
    assert "The positive outcome is 'yes'" in refused(roles={**ROLES, "positive": "yes"})


def test_outcomes_that_are_missing_are_left_out_and_said() -> None:
    log = logged(4_000)
    y = pl.when(pl.int_range(pl.len()) < 100).then(None).otherwise("y")
    review = off_policy(log.with_columns(y=y), target_policy=policy(BETTER), roles=ROLES)
    assert any(n.startswith("100 of 4,000 decisions have no outcome") for n in review.notes)
    assert review.rows["decisions looked at"] == 3_900


def test_a_review_survives_json_and_leaves_its_input_alone() -> None:
    log, new = logged(2_000), policy(BETTER)
    before = log.clone(), new.clone()
    review = off_policy(log, target_policy=new, roles=ROLES)
    assert Review.from_json(review.to_json()).findings == review.findings
    assert log.equals(before[0])
    assert new.equals(before[1])
    assert off_policy(log, target_policy=new, roles=ROLES).to_json() == review.to_json()


def test_the_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    logged().write_parquet("log.parquet")
    policy(WORSE).write_csv("new.csv")
    app = typer.Typer()
    app.command()(command)
    words = ["--log", "log.parquet", "--target-policy", "new.csv", "--json", "out.json"]
    words += [w for role, column in ROLES.items() for w in ("--role", f"{role}={column}")]
    done = CliRunner().invoke(app, words)
    assert done.exit_code == 1, done.output
    assert json.loads(Path("out.json").read_text(encoding="utf-8"))["question"] == "off_policy"
    assert "Do not bother" in done.output
    assert isinstance(CliRunner().invoke(app, [*words, "--model", "a"]).exception, InputError)
