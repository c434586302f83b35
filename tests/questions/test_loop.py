"""Feedback loops from end to end: logs with and without one, forms of the same log, and what is refused."""

from __future__ import annotations

import datetime as dt
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from numpy.typing import NDArray

import afterlaunch as al
from afterlaunch.finding import Finding, Review, Verdict
from tests.frames import handed_in

ROLES = {"time": "ts", "item": "film"}
FULL = {**ROLES, "outcome": "clicked", "unit": "user", "category": "genre", "segment": "country"}
START = dt.datetime(2026, 1, 5)  # noqa: DTZ001
FILMS, WEEKS = 40, 10

Floats = NDArray[np.float64]
Change = Callable[[pl.DataFrame], pl.DataFrame]


def log(*, looped: bool = False, rows: int = 2000, weeks: int = WEEKS, seed: int = 0) -> pl.DataFrame:
    """Impressions of films, one in five by chance; where there is a loop, clicks of one week are shown in the next."""
    rng = np.random.default_rng(seed)
    quality = rng.uniform(0.1, 0.5, FILMS)
    fixed = rng.gamma(2.0, size=FILMS)
    shares, parts = fixed / fixed.sum(), []
    for week in range(weeks):
        chance = rng.random(rows) < 0.2
        film = np.where(chance, rng.integers(0, FILMS, rows), rng.choice(FILMS, rows, p=shares))
        clicked = rng.binomial(1, quality[film])
        minute = week * 7 * 1440 + rng.integers(0, 7 * 1440, rows)
        parts.append(
            pl.DataFrame(
                {
                    "ts": pl.Series([START + dt.timedelta(minutes=int(m)) for m in minute], dtype=pl.Datetime("us")),
                    "film": film,
                    "clicked": clicked,
                    "by_chance": chance,
                    "propensity": 0.2 / FILMS + 0.8 * shares[film],
                    "user": rng.integers(0, 300, rows),
                    "genre": np.array(["drama", "crime", "love"])[film % 3],
                    "country": np.array(["pl", "de"])[rng.integers(0, 2, rows)],
                    "born": pl.Series([START - dt.timedelta(days=int(7 * (f % 5))) for f in film]),
                }
            )
        )
        if looped:
            clicks = np.bincount(film, clicked, minlength=FILMS) + 1.0
            shares = clicks / clicks.sum()
    return pl.concat(parts)


def named(review: Review) -> dict[str, Finding]:
    return {f.id: f for f in review}


def response(table: Any, **more: Any) -> Finding:
    given = {"roles": {**ROLES, "outcome": "clicked"}, "explored": "by_chance", **more}
    return named(al.loop(table, **given))["amplification/response"]


def value(found: Finding) -> float:
    assert found.effect is not None
    return found.effect.value


# ------------------------------------------------------------------ with and without a loop


def test_a_loop_is_found_and_its_lack_is_no_alarm() -> None:
    roles = {**ROLES, "outcome": "clicked"}
    alarm = al.loop(log(looped=True, rows=6000, weeks=30), roles=roles, explored="by_chance")
    assert alarm.verdict is Verdict.ALARM
    assert alarm.findings[0].id == "amplification/response"
    assert "impressions filled by chance" in alarm.findings[0].sentence
    still = al.loop(log(rows=6000, weeks=30), roles=roles, explored="by_chance")
    assert still.verdict is not Verdict.ALARM
    effect = named(still)["amplification/response"].effect
    assert effect is not None
    assert effect.low < 0 < effect.high


def test_loops_of_other_seeds_are_found_too() -> None:
    seeds = range(1, 6)
    looped = [response(log(looped=True, rows=6000, weeks=30, seed=s)) for s in seeds]
    assert sum(f.verdict is Verdict.ALARM for f in looped) >= 4
    still = [response(log(rows=6000, weeks=30, seed=s)) for s in seeds]
    assert all(f.verdict is not Verdict.ALARM for f in still)
    assert max(value(f) for f in still) < min(value(f) for f in looped)


def test_propensities_tell_what_a_slice_tells() -> None:
    """The same loop by both ways; both hold the same response, within their intervals."""
    table = log(looped=True, rows=6000)
    by_slice = response(table)
    logged = response(table, explored=None, roles={**ROLES, "propensity": "propensity"})
    assert "logged propensities" in logged.sentence
    one, two = by_slice.effect, logged.effect
    assert one is not None
    assert two is not None
    assert max(one.low, two.low) < min(one.high, two.high)
    assert logged.verdict is Verdict.ALARM


def test_what_is_marked_as_chance_goes_before_propensities() -> None:
    """Propensities of a log may be anything where it says which impressions were drawn."""
    table = log(looped=True).with_columns(propensity=pl.Series(np.random.default_rng(1).uniform(0.01, 1, WEEKS * 2000)))
    both = response(table, roles={**ROLES, "propensity": "propensity"})
    assert "impressions filled by chance" in both.sentence
    assert both.effect == response(table, roles=ROLES).effect


def test_without_chance_the_slice_that_would_decide_is_said() -> None:
    many = log(rows=20_000).with_columns(film=25 * pl.col("film") + pl.col("user") % 25)
    review = al.loop(many, roles=ROLES)
    found = named(review)["amplification/response"]
    assert review.verdict is Verdict.UNDECIDED
    assert (found.verdict, found.reason) == (Verdict.UNDECIDED, "no_randomisation")
    assert " A slice of " in found.sentence
    assert "afterlaunch.explore" in found.action
    assert found.table is not None
    assert len(found.table["series"][0]["y"]) == WEEKS - 1
    nobody = response(log().with_columns(by_chance=False))
    assert nobody.reason == "no_randomisation"
    assert "Even half of all impressions over 10 weeks would not tell" in nobody.sentence


def explored_lists(rate: float = 0.1, users: int = 150, weeks: int = 12, seed: int = 0) -> pl.DataFrame:
    """A fixed model whose lists go through `explore`, and all of its rows are logged, as `docs/loop.md` says."""
    rng = np.random.default_rng(seed)
    catalogue = list(range(60))
    taste = rng.normal(size=60) + 0.5 * rng.gumbel(size=(users, 60))
    ranked = np.argsort(-taste, axis=1)
    rows = []
    for week in range(weeks):
        for user in range(users):
            shown = al.explore(ranked[user].tolist(), catalogue, rate=rate, k=8, rng=rng)
            at = START + dt.timedelta(weeks=week, minutes=int(rng.integers(7 * 1440)))
            rows += shown.rows(ts=at, user=user)
    return pl.DataFrame(rows)


def test_lists_of_explore_tell_their_response_by_what_was_explored() -> None:
    found = named(al.loop(explored_lists(), roles={"time": "ts", "item": "item"}, explored="explored"))
    told = found["amplification/response"]
    assert told.verdict is not Verdict.ALARM
    assert abs(value(told)) < 0.1


def test_lists_of_explore_tell_their_response_with_all_that_it_logs() -> None:
    """An item stands once in a list, so that it cannot come to a place below its own."""
    roles = {"time": "ts", "item": "item", "position": "position", "propensity": "propensity"}
    told = named(al.loop(explored_lists(), roles=roles, explored="explored"))["amplification/response"]
    assert told.reason != "too_few_windows", told.sentence
    assert abs(value(told)) < 0.1


def test_lists_of_explore_tell_their_response_by_its_propensities() -> None:
    """Where a list is known, an item is held to have had a chance at all places down to its own."""
    roles = {"time": "ts", "item": "item", "position": "position", "propensity": "propensity"}
    values = []
    for seed in range(4):
        table = explored_lists(rate=0.3, seed=seed).with_columns(list=pl.struct("ts", "user").rank("dense"))
        told = named(al.loop(table, roles={**roles, "list": "list"}))["amplification/response"]
        assert "logged propensities" in told.sentence
        assert told.verdict is not Verdict.ALARM
        values.append(value(told))
    assert abs(np.mean(values)) < 0.1


# ------------------------------------------------------------------ forms of the same log


def same(ours: Review, theirs: Review) -> None:
    assert [f.id for f in ours] == [f.id for f in theirs]
    assert ours.notes == theirs.notes
    assert ours.rows == theirs.rows
    for a, b in zip(ours, theirs, strict=True):
        assert (a.verdict, a.reason, a.n, a.rows_needed) == (b.verdict, b.reason, b.n, b.rows_needed), a.id
        assert (a.effect is None) == (b.effect is None)
        if a.effect is None or b.effect is None:
            continue
        for one, two in zip(
            (a.effect.value, a.effect.low, a.effect.high), (b.effect.value, b.effect.low, b.effect.high), strict=True
        ):
            assert math.isclose(one, two, rel_tol=1e-9, abs_tol=1e-9), a.id


@pytest.mark.parametrize("engine", ["parquet", "lazy", "pandas", "pyarrow", "duckdb"])
@pytest.mark.parametrize("how", ["explored", "propensity"])
def test_every_form_gives_the_same_review(engine: str, how: str, tmp_path: Path) -> None:
    table = log(looped=True)
    more: dict[str, Any] = {"roles": FULL, "explored": "by_chance", "born": "born", "catalogue": 50}
    if how == "propensity":
        more |= {"roles": {**FULL, "propensity": "propensity"}, "explored": None}
    ours = al.loop(table, **more)
    with handed_in(engine, tmp_path, log=table) as given:
        same(ours, al.loop(given["log"], **more))


@pytest.mark.parametrize(
    "change",
    [
        lambda t: t.with_columns(pl.col("by_chance").cast(pl.Int64)),
        lambda t: t.with_columns(pl.col("by_chance").cast(pl.Float64)),
        lambda t: t.with_columns(pl.when(pl.col("by_chance")).then(True).alias("by_chance")),
        lambda t: t.with_columns(pl.col("clicked").cast(pl.Boolean)),
        lambda t: t.with_columns(pl.col("clicked").cast(pl.Float32)),
        lambda t: t.with_columns(pl.col("film").cast(pl.Float64)),
        lambda t: t.with_columns(pl.col("ts").dt.replace_time_zone("UTC")),
        lambda t: t.with_columns(pl.col("ts").dt.replace_time_zone("UTC").dt.convert_time_zone("Asia/Tokyo")),
        lambda t: t.with_columns(pl.col("ts").dt.to_string()),
        lambda t: t.with_columns(pl.col("born").dt.replace_time_zone("UTC")),
        lambda t: t.with_columns(pl.col("born").cast(pl.Date)),
        lambda t: t.with_columns(pl.col("genre").cast(pl.Categorical)),
        lambda t: t.sort("film", "clicked"),
        lambda t: t.rename({"film": "al_i"}),
    ],
)
def test_the_same_log_written_otherwise_says_the_same(change: Change) -> None:
    table = log(looped=True)
    roles = {k: v for k, v in FULL.items() if k != "unit"}
    other = change(table)
    theirs = {**roles, "item": "al_i" if "al_i" in other.columns else "film"}
    more: dict[str, Any] = {"explored": "by_chance", "born": "born"}
    same(al.loop(table, roles=roles, **more), al.loop(other, roles=theirs, **more))


@pytest.mark.parametrize(
    ("role", "column", "name"),
    [
        ("item", "film", "shown"),
        ("item", "film", "chosen"),
        ("item", "film", "explored"),
        ("item", "film", "category"),
        ("segment", "country", "shown"),
        ("segment", "country", "inverse"),
    ],
)
def test_columns_may_have_any_name(role: str, column: str, name: str) -> None:
    table = log()
    roles = {**FULL, "propensity": "propensity"}
    ours = al.loop(table, roles=roles, explored="by_chance")
    same(ours, al.loop(table.rename({column: name}), roles={**roles, role: name}, explored="by_chance"))


def test_an_outcome_may_be_words() -> None:
    table = log(looped=True)
    words = table.with_columns(clicked=pl.when(pl.col("clicked") == 1).then(pl.lit("yes")).otherwise(pl.lit("no")))
    more: dict[str, Any] = {"explored": "by_chance"}
    roles = {**ROLES, "outcome": "clicked"}
    same(al.loop(table, roles=roles, **more), al.loop(words, roles={**roles, "positive": "yes"}, **more))


def test_roles_that_are_plain_are_guessed_and_noted() -> None:
    table = log().rename({"film": "item_id"}).select("ts", "item_id")
    with pytest.raises(al.InputError, match="Nothing says which column is the"):
        al.loop(log().select("clicked", "by_chance"))
    review = al.loop(table, roles={"item": "item_id"})
    assert any("'ts' was taken as the role 'time'" in note for note in review.notes)


# ------------------------------------------------------------------ windows


def test_first_and_last_windows_in_part_are_left_out_and_noted() -> None:
    table = log(looped=True)
    cut = table.filter(pl.col("ts").is_between(START + dt.timedelta(days=3), START + dt.timedelta(days=66)))
    whole = table.filter(pl.col("ts").is_between(START + dt.timedelta(days=7), START + dt.timedelta(days=63), "left"))
    review = al.loop(cut, roles=ROLES, explored="by_chance")
    assert review.notes == ("The log covers 2026-W02, 2026-W11 in part only; they were left out.",)
    assert review.rows["windows"] == WEEKS - 2
    assert response(cut).effect == response(whole).effect


def test_a_hole_in_the_log_makes_no_pair() -> None:
    table = log(looped=True, rows=4000)
    third = (START + dt.timedelta(weeks=3), START + dt.timedelta(weeks=4))
    found = response(table.filter(~pl.col("ts").is_between(*third, "left")))
    assert found.effect is not None
    assert found.verdict is response(table).verdict


def test_days_and_months_are_named() -> None:
    by_day = response(log(), every="1d")
    assert "in the next day" in by_day.sentence
    assert "68 days" in by_day.sentence  # of 70: the first has none before, the last none after
    months = response(log(weeks=26, rows=800), every="1mo")
    assert "in the next month" in months.sentence
    assert "2w window" in response(log(weeks=12), every="2w").sentence


@pytest.mark.parametrize("weeks", [1, 2, 3, 4])
def test_few_windows_are_said(weeks: int) -> None:
    found = response(log(weeks=weeks))
    assert (found.verdict, found.reason) == (Verdict.UNDECIDED, "too_few_windows")
    between = max(weeks - 2, 0)
    assert found.sentence == f"{between} windows with one before and one after are too few to see what comes back."
    assert "at least 5 whole windows" in found.action
    bare = named(al.loop(log(weeks=weeks), roles=ROLES))["amplification/response"]
    assert bare.reason == "no_randomisation"
    assert "slice" not in bare.sentence


def test_five_windows_are_enough_for_an_estimate() -> None:
    assert response(log(weeks=5)).effect is not None


# ------------------------------------------------------------------ the numbers


def two_stages(lottery: Floats, model: Floats) -> float:
    """The response, week by week: what the model showed before the lottery and after it, weighed by how it scatters."""
    rows = []
    for this in range(1, len(model) - 1):
        before, after = model[this - 1], model[this + 1]
        rows.append((lottery[this], before, after * before.sum() / after.sum()))
    large = np.concatenate([x > x.mean() for _, x, _ in rows])
    x, y = np.concatenate([r[1] for r in rows])[large], np.concatenate([r[2] for r in rows])[large]
    beyond_counts = max((((y - x) ** 2 - y - x) / x).sum() / x.sum(), 0.0)
    above = below = 0.0
    for given, x, y in rows:
        weight = 1 / (x.mean() + x + beyond_counts * x**2)
        line = np.polyfit(x, y, 1, w=np.sqrt(weight))
        luck = given - np.average(given, weights=weight)
        above += (weight * luck * (y - np.polyval(line, x))).sum()
        below += (weight * luck * (given - np.polyval(np.polyfit(x, given, 1, w=np.sqrt(weight)), x))).sum()
    return float(above / below)


def test_the_numbers_are_those_of_a_few_lines_of_numpy() -> None:
    table = log(looped=True).with_columns(week=(pl.col("ts") - START).dt.total_days() // 7)
    counts = np.zeros((2, WEEKS, FILMS))
    np.add.at(counts, (table["by_chance"].cast(int), table["week"], table["film"]), 1)
    review = al.loop(table, roles={**ROLES, "outcome": "clicked"}, explored="by_chance", share=0.05)
    found = named(review)
    both = counts.sum(axis=0)
    shares = both / both.sum(axis=1, keepdims=True)
    chart = found["concentration/hhi"].table
    assert chart is not None
    n = both.sum(axis=1)
    expected = ((both * (both - 1)).sum(axis=1) / (n * (n - 1))).tolist()
    assert chart["series"][0]["y"] == pytest.approx(expected, rel=1e-5)
    told = found["amplification/response"]
    assert told.n == int(counts[1][1:-1].sum())  # the first week has none before, the last none after
    assert value(told) == pytest.approx(two_stages(counts[1], counts[0]), rel=1e-9)
    rates = table.group_by("by_chance").agg(pl.col("clicked").mean()).sort("by_chance")["clicked"]
    assert value(found["amplification/cost"]) == pytest.approx(0.05 * (1 - rates[1] / rates[0]))
    elasticity = told.table
    assert elasticity is not None
    first = np.polyfit(np.log(shares[0]), np.log(shares[1]), 1)[0]
    assert elasticity["series"][0]["y"][0] == pytest.approx(first, rel=1e-5)


def test_a_larger_catalogue_is_items_that_were_never_shown() -> None:
    table = log()
    plain, more = (named(al.loop(table, roles=ROLES, catalogue=c)) for c in (None, 4 * FILMS))
    assert value(more["concentration/hhi"]) == pytest.approx(value(plain["concentration/hhi"]), abs=1e-12)
    assert value(more["concentration/coverage"]) == pytest.approx(value(plain["concentration/coverage"]) / 4)
    same(al.loop(table, roles=ROLES), al.loop(table, roles=ROLES, catalogue=FILMS))


def test_categories_segments_and_age_are_followed() -> None:
    found = named(al.loop(log(), roles=FULL, born="born"))
    assert {"concentration/gini@drama", "concentration/gini@crime", "concentration/gini@love"} <= set(found)
    assert {f.segment for f in found.values()} == {None, "pl", "de"}
    assert "concentration/age" in found
    many = al.loop(log().with_columns(country=pl.col("user") % 20), roles=FULL)
    assert len({f.segment for f in many} - {None}) == 12
    assert any("The 12 largest segments of 'country'" in note for note in many.notes)
    nobody = log().with_columns(genre=pl.lit(None, dtype=pl.String), country=pl.lit(None, dtype=pl.String))
    assert {(f.subject, f.segment) for f in al.loop(nobody, roles=FULL)} == {("", None)}


def test_rows_of_a_user_are_not_taken_as_independent() -> None:
    """Every user watches one film again and again."""
    table = log().with_columns(film=pl.col("user") % FILMS)
    alone, units = (
        named(al.loop(table, roles={**ROLES, **more}))["concentration/hhi"].effect for more in ({}, {"unit": "user"})
    )
    assert alone is not None
    assert units is not None
    assert units.high - units.low > 1.5 * (alone.high - alone.low)
    fresh = named(al.loop(log(), roles={**ROLES, "unit": "user"}))["concentration/hhi"].effect
    plain = named(al.loop(log(), roles=ROLES))["concentration/hhi"].effect
    assert fresh is not None
    assert plain is not None
    assert fresh.high - fresh.low < 1.3 * (plain.high - plain.low)


def test_rows_without_a_time_or_an_item_are_left_out() -> None:
    table = log()
    holes = table.with_columns(
        ts=pl.when(pl.col("user") % 10 > 0).then(pl.col("ts")),
        film=pl.when(pl.col("user") % 10 != 1).then(pl.col("film")),
    )
    same_rows = table.filter(pl.col("user") % 10 > 1)
    assert response(holes).effect == response(same_rows).effect


def test_margins_and_alpha_are_taken() -> None:
    table = log(looped=True, rows=6000, weeks=30)
    assert response(table).verdict is Verdict.ALARM
    assert response(table, margins={"amplification/response": 5.0}).verdict is Verdict.OK
    wide, narrow = (response(table, alpha=a).effect for a in (0.001, 0.2))
    assert wide is not None
    assert narrow is not None
    assert wide.low < narrow.low


# ------------------------------------------------------------------ what is refused


@pytest.mark.parametrize(
    ("change", "more", "words"),
    [
        (None, {"explored": "chance"}, "The log has no column 'chance'"),
        (None, {"explored": "genre"}, "give true or false, or 1 and 0"),
        (None, {"explored": "user"}, "'user'"),
        (None, {"explored": "propensity"}, "'propensity'"),
        (None, {"born": "birth"}, "The log has no column 'birth'"),
        (None, {"born": "user"}, "The column 'user' holds"),
        (None, {"roles": {**ROLES, "item": "song"}}, "The role 'item' names the column 'song'"),
        (None, {"roles": {**ROLES, "category": "film"}}, "has two roles"),
        (None, {"roles": {**ROLES, "outcome": "genre"}}, "name the value that counts with the role positive"),
        (None, {"roles": {"time": "ts"}}, "Nothing says which column is the item"),
        (lambda t: t.with_columns(ts=pl.col("user")), {}, "the role 'time' needs times"),
        (
            lambda t: t.with_columns(propensity=pl.when(pl.col("film") == 3).then(0.0).otherwise(0.5)),
            {"roles": {**ROLES, "propensity": "propensity"}},
            "The propensity 'propensity' of the log table is 0.0 in the worst of 114 of 3,000 rows at or below 0",
        ),
        (
            lambda t: t.with_columns(propensity=pl.when(pl.col("film") == 3).then(1.5).otherwise(0.5)),
            {"roles": {**ROLES, "propensity": "propensity"}},
            "The propensity 'propensity' of the log table is 1.5 in the worst of 114 of 3,000 rows above 1",
        ),
        (
            lambda t: t.with_columns(propensity=pl.when(pl.col("film") == 3).then(None).otherwise(0.5)),
            {"roles": {**ROLES, "propensity": "propensity"}},
            "The propensity 'propensity' of the log table is missing in 114 of 3,000 rows",
        ),
        (None, {"catalogue": FILMS - 1}, f"The catalogue has {FILMS - 1} items, but {FILMS} were shown"),
        (None, {"catalogue": 0}, "The catalogue has 0 items"),
        (None, {"catalogue": True}, "The catalogue has True items"),
        (None, {"catalogue": 50.5}, "The catalogue has 50.5 items"),
        (None, {"every": "500 rows"}, "give one such as '1w'"),
        (None, {"every": "soon"}, "'soon' is no length of a window"),
        (None, {"every": "1y"}, "The log covers no whole window of 1y"),
        (None, {"share": 0}, "The exploration share is 0"),
        (None, {"share": 1.0}, "The exploration share is 1.0"),
        (None, {"share": True}, "The exploration share is True"),
        (None, {"share": "2 %"}, "The exploration share is '2 %'"),
        (None, {"alpha": 0.7}, "The error rate alpha is 0.7"),
        (None, {"margins": {"drift": 1}}, "The margin 'drift' names no check"),
        (None, {"margins": {"amplification": 0}}, "The margin 'amplification' is 0"),
        (lambda t: t.head(0), {}, "The item 'film' is missing in every row"),
        (lambda t: t.filter(pl.col("ts") < START + dt.timedelta(days=2)), {}, "The log covers no whole window"),
        (lambda t: t.with_columns(ts=pl.lit(None, dtype=pl.Datetime)), {}, "The log covers no whole window"),
        (
            lambda t: t.with_columns(film=pl.lit(None, dtype=pl.String)),
            {},
            "The item 'film' is missing in every row; give what was shown.",
        ),
    ],
)
def test_bad_input_is_one_sentence(change: Change | None, more: dict[str, Any], words: str) -> None:
    table = log(rows=300)
    with pytest.raises(al.InputError) as caught:
        al.loop(change(table) if change else table, **{"roles": ROLES, **more})
    text = str(caught.value)
    assert words in text
    assert text.endswith(".")
    assert "\n" not in text


def test_a_lottery_that_was_none_is_not_believed() -> None:
    """A fifth of what a fixed model shows is marked as chance, so that popular items are marked more often."""
    for seed in range(10):
        rng = np.random.default_rng(seed)
        table = log(seed=seed).filter(~pl.col("by_chance"))
        found = response(table.with_columns(by_chance=pl.Series(rng.random(table.height) < 0.2)))
        assert (found.verdict, found.reason, found.effect) == (Verdict.UNDECIDED, "not_random", None)
        assert "not spread evenly over the items" in found.sentence
        assert "afterlaunch.explore" in found.action


def test_one_row_by_chance_is_too_little() -> None:
    one = log().with_columns(by_chance=pl.int_range(pl.len()) == WEEKS * 1000)
    found = response(one)
    assert (found.verdict, found.reason, found.effect) == (Verdict.UNDECIDED, "too_little_chance", None)
    assert "Too little was left to chance" in found.sentence
    assert "Explore a larger share" in found.action


# ------------------------------------------------------------------ complete_journey


@pytest.mark.real_data("complete_journey")
def test_placements_of_complete_journey(real_data: Path) -> None:
    """Displays and mailers of 2017: nobody drew them by chance, so no loop is claimed; concentration is followed."""
    place = real_data / "complete_journey"
    week = pl.lit(dt.datetime(2017, 1, 2)) + pl.duration(days=7 * (pl.col("week") - 1))  # noqa: DTZ001
    kinds = pl.read_parquet(place / "products.parquet").select("product_id", "department")
    rows = pl.read_parquet(place / "promotions_sample.parquet")
    rows = rows.filter((pl.col("display_location") != "0") | (pl.col("mailer_location") != "0"))
    rows = rows.join(kinds, on="product_id").with_columns(ts=week)
    roles = {"time": "ts", "item": "product_id", "category": "department", "unit": "store_id"}
    review = al.loop(rows, roles=roles)
    found = named(review)
    assert review.verdict is Verdict.UNDECIDED
    assert review.rows == {"log": rows.height, "items": rows["product_id"].n_unique(), "windows": 53}
    asked = found["amplification/response"]
    assert (asked.verdict, asked.reason) == (Verdict.UNDECIDED, "no_randomisation")
    assert " A slice of " in asked.sentence
    for key in ("gini", "hhi", "effective", "coverage"):
        assert found[f"concentration/{key}"].verdict is Verdict.OK
    by_department = {f.subject for f in review if f.key == "gini" and f.effect is not None}
    assert {"GROCERY", "MEAT", "PRODUCE", "DELI"} <= by_department
