"""Interleaved rankers from end to end: known preferences, fair and unfair drafts, engines, and what is refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
import typer
from typer.testing import CliRunner

from afterlaunch.cli.interleaving import command
from afterlaunch.decide import InputError
from afterlaunch.finding import Finding, Review, Verdict
from afterlaunch.questions.interleaving import interleaving, team_draft
from afterlaunch.stats.interleaving import preference
from tests.frames import handed_in

ROLES = {"list": "query", "outcome": "clicked", "position": "place"}
UNITS = {**ROLES, "unit": "user"}


def drafted(
    lists: int = 3_000, gain: float = 0.0, seed: int = 0, *, k: int = 5, users: int | None = None
) -> pl.DataFrame:
    """Lists drafted from two rankings of twelve items; the noise of the second is smaller by `gain`."""
    rng = np.random.default_rng(seed)
    users = lists // 3 if users is None else users
    parts: dict[str, list[Any]] = {"query": [], "user": [], "place": [], "team": [], "clicked": []}
    for query in range(lists):
        worth = rng.normal(size=12)
        old = np.argsort(-(worth + 1.5 * rng.normal(size=12))).tolist()
        new = np.argsort(-(worth + (1.5 - gain) * rng.normal(size=12))).tolist()
        found = team_draft(old, new, k, rng)
        for place, (item, team) in enumerate(zip(found.items, found.teams, strict=True), start=1):
            parts["query"].append(query)
            parts["user"].append(f"u{query % users}")
            parts["place"].append(place)
            parts["team"].append(("old", "new")[team])
            parts["clicked"].append(int(rng.random() < 1 / (1 + np.exp(2.0 + 0.3 * place - worth[int(str(item))]))))
    return pl.DataFrame(parts)


FAIR = drafted()
BETTER = drafted(gain=1.2, seed=1)


def asked(log: Any, **more: Any) -> Review:
    return interleaving(log, **({"first": "old", "second": "new", "roles": ROLES} | more))


def of(review: Review, key: str, subject: str = "") -> Finding:
    return next(f for f in review if (f.key, f.subject) == (key, subject))


# ------------------------------------------------------------------ what it says


def test_a_better_ranker_is_preferred() -> None:
    review = asked(BETTER)
    assert review.verdict is Verdict.OK
    assert review.decision.startswith("Go on with new: ")
    found = of(review, "preference")
    assert found.effect is not None
    assert found.effect.value > 0
    assert found.n == 3_000
    assert of(review, "draft", "first place").verdict is not Verdict.ALARM
    assert of(review, "draft", "larger team").verdict is not Verdict.ALARM


def test_the_other_way_round_it_is_kept() -> None:
    review = asked(BETTER, first="new", second="old")
    assert review.verdict is Verdict.ALARM
    assert review.decision.startswith("Keep new: ")
    there, back = of(asked(BETTER), "preference").effect, of(review, "preference").effect
    assert there is not None
    assert back is not None
    assert there.value == -back.value


def test_rankers_of_one_quality_are_not_decided() -> None:
    review = asked(FAIR.head(2_000))
    assert review.decision.startswith("Not decided: ")
    assert of(review, "preference").rows_needed is not None


def test_it_is_the_preference_of_the_lists_sums() -> None:
    """The engine's sums against the clicks of every list, one by one."""
    lists = BETTER.group_by("query").agg(
        *(pl.col("clicked").filter(pl.col("team") == t).sum().alias(t) for t in ("old", "new")), pl.col("user").first()
    )
    codes = lists["user"].rank("dense").cast(pl.Int64).to_numpy() - 1
    for roles, groups in ((ROLES, None), (UNITS, codes)):
        true = preference(lists["new"].to_numpy(), lists["old"].to_numpy(), groups=groups)
        found = of(asked(BETTER, roles=roles), "preference").effect
        assert found is not None
        assert (found.value, found.low, found.high) == pytest.approx(
            (true.value, *true.interval(0.05, 0.05)), rel=1e-12
        )


@pytest.mark.parametrize("engine", ["duckdb", "pandas", "parquet", "lazy"])
@pytest.mark.parametrize("roles", [ROLES, UNITS], ids=["lists", "units"])
def test_other_engines_say_the_same(engine: str, roles: dict[str, str], tmp_path: Path) -> None:
    ours = asked(BETTER, roles=roles)
    with handed_in(engine, tmp_path, log=BETTER) as given:
        theirs = asked(given["log"], roles=roles)
    assert ours.to_json() == theirs.to_json()


def test_lists_of_one_user_count_as_dependent() -> None:
    thrice = pl.concat([BETTER.with_columns(pl.col("query") + 10_000 * i, user=pl.col("query")) for i in range(3)])
    widths = []
    for roles in (UNITS, ROLES):
        found = of(asked(thrice, roles=roles), "preference").effect
        assert found is not None
        widths.append(found.high - found.low)
    assert 1.5 < widths[0] / widths[1] < 2.0


@pytest.mark.slow
def test_rankers_of_one_quality_are_seldom_preferred() -> None:
    rng = np.random.default_rng(4)
    wrong = 0
    for _ in range(200):
        clicks = rng.poisson(0.3, size=(400, 2))
        log = pl.DataFrame(
            {"query": np.repeat(np.arange(400), 2), "team": ["old", "new"] * 400, "clicked": clicks.ravel()}
        )
        wrong += asked(log, roles={"list": "query", "outcome": "clicked"}).verdict is Verdict.OK
    assert wrong <= 200 * 0.05 + 3.1 * (200 * 0.05 * 0.95) ** 0.5


# ------------------------------------------------------------------ whether the draft was fair


def test_a_ranker_that_always_has_the_first_place_is_not_believed() -> None:
    first = FAIR.with_columns(team=pl.when(pl.col("place") == 1).then(pl.lit("new")).otherwise("team"))
    review = asked(first)
    assert of(review, "draft", "first place").verdict is Verdict.ALARM
    assert of(review, "preference").reason == "not_trusted"
    assert review.verdict is Verdict.UNDECIDED
    assert review.decision.startswith("Not decided: 50")


def test_lost_places_are_not_believed() -> None:
    kept = FAIR.filter((pl.col("team") == "new") | (pl.int_range(pl.len()) % 5 > 0))
    review = asked(kept)
    assert of(review, "draft", "larger team").verdict is Verdict.ALARM


def test_lists_of_even_length_have_no_larger_team() -> None:
    review = asked(drafted(500, k=4))
    even = of(review, "draft", "larger team")
    assert (even.verdict, even.reason) == (Verdict.UNDECIDED, "no_drafts")
    assert not even.primary


def test_a_log_of_clicks_only_cannot_show_its_drafts() -> None:
    review = asked(BETTER.filter(pl.col("clicked") > 0))
    assert {f.key for f in review} == {"preference"}
    assert any("no place without a click" in n for n in review.notes)


# ------------------------------------------------------------------ odd logs


def test_too_few_clicks_decide_nothing() -> None:
    review = asked(FAIR.head(60))
    assert of(review, "preference").reason == "too_few_outcomes"
    none = asked(FAIR.with_columns(clicked=pl.lit(0)))
    assert of(none, "preference").reason == "too_few_outcomes"


def test_one_unit_says_nothing_of_others() -> None:
    found = of(asked(BETTER.with_columns(user=pl.lit("u")), roles=UNITS), "preference")
    assert found.reason == "units_too_few"


def test_what_is_missing_is_said() -> None:
    row = pl.int_range(pl.len())
    log = BETTER.with_columns(
        clicked=pl.when(row == 0).then(None).otherwise("clicked"),
        query=pl.when(row == 10).then(None).otherwise("query"),
        team=pl.when(row == 20).then(None).otherwise("team"),
        user=pl.when(pl.col("query") == 40).then(None).otherwise("user"),
    )
    notes = " ".join(asked(log, roles=UNITS).notes)
    for words in (
        "1 places without an outcome",
        "1 rows are of no list",
        "1 places that neither",
        "1 lists are of no unit",
    ):
        assert words in notes


def test_teams_may_be_numbers_and_truth_values() -> None:
    numbers = BETTER.with_columns(team=(pl.col("team") == "new").cast(pl.Int64))
    truth = BETTER.with_columns(team=pl.col("team") == "new")
    wanted = of(asked(BETTER), "preference").effect
    assert of(asked(numbers, first=0, second=1), "preference").effect == wanted
    assert of(asked(truth, first=False, second=True), "preference").effect == wanted


def refused(log: pl.DataFrame | None = None, **more: Any) -> str:
    with pytest.raises(InputError) as caught:
        asked(FAIR.head(300) if log is None else log, **more)
    text = str(caught.value)
    assert text.endswith((".", "?"))
    assert "\n" not in text
    return text


def test_what_is_refused() -> None:
    log = FAIR.head(300)
    assert "role list" in refused(roles={"outcome": "clicked"})
    assert "role outcome" in refused(roles={"list": "query"})
    assert "no column 'who'" in refused(team="who")
    assert "give two" in refused(second="old")
    assert "is 'best', the second ranker" in refused(log.filter(pl.col("team") == "old"), second="best")
    assert "holds 'old' in" in refused(first="older")
    assert "neither 'old' nor 'new'" in refused(log.with_columns(team=pl.lit("third")))
    assert "-1.0 in the worst of 300 rows" in refused(log.with_columns(clicked=pl.lit(-1)))
    assert "No row of the log has an outcome" in refused(log.with_columns(clicked=pl.lit(None, dtype=pl.Int64)))
    assert "is infinite" in refused(log.with_columns(clicked=pl.lit(float("inf"))))
    assert "several units" in refused(log.with_columns(user=pl.col("place").cast(pl.String)), roles=UNITS)
    assert "No row of 'team'" in refused(log.head(0))
    assert "both a list and a team" in refused(log.with_columns(query=pl.lit(None, dtype=pl.Int64)))
    assert "alpha" in refused(alpha=0.5)
    assert "names no check" in refused(margins={"lists": 0.1})
    assert "holds numbers" in refused(log.with_columns(team=pl.lit(1)), first="old")


def test_a_review_survives_json_and_leaves_its_input_alone() -> None:
    before = BETTER.clone()
    review = asked(BETTER, roles=UNITS)
    assert Review.from_json(review.to_json()).findings == review.findings
    assert BETTER.equals(before)


def test_the_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    BETTER.write_parquet("log.parquet")
    app = typer.Typer()
    app.command()(command)
    words = ["--log", "log.parquet", "--first", "new", "--second", "old", "--json", "out.json"]
    words += [w for role, column in ROLES.items() for w in ("--role", f"{role}={column}")]
    done = CliRunner().invoke(app, words)
    assert done.exit_code == 1, done.output
    assert json.loads(Path("out.json").read_text(encoding="utf-8"))["question"] == "interleaving"
    assert isinstance(CliRunner().invoke(app, ["--log", "log.parquet"]).exception, InputError)
