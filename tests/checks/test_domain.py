"""Many columns at once: what the classifier finds, when it runs, and how often it is wrong."""

import datetime as dt
import math
from typing import Any

import numpy as np
import polars as pl
import pytest

import afterlaunch as al
from afterlaunch.checks.domain import AUC, CHECK, MOST_LOOKS, looks_of
from afterlaunch.checks.evidence import Evidence, Sample
from afterlaunch.decide import Margins, decide
from afterlaunch.episodes import Change
from afterlaunch.finding import Finding, Verdict
from afterlaunch.profile.types import Timeline
from afterlaunch.watch import Course, Window
from tests.simulation import at_most

RNG = np.random.default_rng
START = dt.datetime(2026, 1, 5, tzinfo=dt.UTC)


def table(rng: np.random.Generator, rows: int, correlation: float = 0.0, shift: float = 0.0) -> pl.DataFrame:
    """Two columns with a correlation, whose own distributions never change; others beside them."""
    a, b = rng.normal(size=rows), rng.normal(size=rows)
    return pl.DataFrame(
        {
            "age": a,
            "income": correlation * a + math.sqrt(1 - correlation**2) * b,
            "talk": rng.exponential(1 + shift, rows),
            "city": rng.choice(["Oslo", "Porto", "Riga"], rows, p=[0.5, 0.3, 0.2]),
            "id": [str(i) for i in range(rows)],
        }
    )


def evidence(before: pl.DataFrame, now: pl.DataFrame, **more: Any) -> Evidence:
    options = more.pop("options", {"domain": "always"})
    roles = more.pop("roles", al.Roles(id="id"))
    old, new = (Sample(t, t.height, 0, window=more.get("window")) for t in (before, now))
    more.pop("window", None)
    return Evidence(roles, reference_sample=old, production_sample=new, options=options, **more)


def found(before: pl.DataFrame, now: pl.DataFrame, **more: Any) -> Finding:
    (one,) = decide(CHECK.run(evidence(before, now, **more)), margins=Margins({}), primary=["domain"])
    return one


# ------------------------------------------------------------------ what it finds


def test_a_change_of_correlation_alone_is_found_and_its_columns_are_named() -> None:
    rng = RNG(0)
    before, now = table(rng, 4000), table(rng, 4000, 0.7)
    alarm = found(before, now, options={})
    assert alarm.verdict is Verdict.ALARM
    assert alarm.id == "domain/auc"
    assert "'age'" in alarm.sentence
    assert "'income'" in alarm.sentence
    assert "'talk'" not in alarm.sentence
    assert alarm.sentence[0].isdigit()
    assert alarm.table is not None
    assert alarm.table["kind"] == "parts"
    assert {r["name"] for r in alarm.table["rows"][:2]} == {"age", "income"}
    assert all(f.verdict is not Verdict.ALARM for f in al.drift(before, now, roles={"id": "id"}))


def test_a_shift_of_one_column_is_found_too() -> None:
    rng = RNG(1)
    alarm = found(table(rng, 3000), table(rng, 3000, shift=1.0))
    assert alarm.verdict is Verdict.ALARM
    assert "a column loses of it: 'talk' (" in alarm.sentence


def test_many_rows_without_a_change_are_shown_to_be_fine() -> None:
    rng = RNG(2)
    fine = found(table(rng, 8000), table(rng, 8000))
    assert fine.verdict is Verdict.OK
    assert fine.table is None
    assert fine.sample is None
    assert fine.n == 8000


def test_few_rows_are_undecided_and_say_how_many_it_takes() -> None:
    rng = RNG(3)
    one = found(table(rng, 20_000), table(rng, 300))
    assert one.verdict is Verdict.UNDECIDED
    assert one.rows_needed is not None
    assert 600 < one.rows_needed < 3000
    assert one.sample == 600
    short = found(table(rng, 300), table(rng, 300))
    assert (short.rows_needed, short.reason) == (None, "reference_too_small")


def test_the_margin_says_where_it_comes_from() -> None:
    assert (AUC.margin, AUC.direction, AUC.unit) == (0.05, "up", "AUC")
    assert len(AUC.why) > 40


# ------------------------------------------------------------------ when it runs


def test_it_runs_when_asked_and_when_the_screen_sees_something() -> None:
    rng = RNG(5)
    same, changed = (table(rng, 1000), table(rng, 1000)), (table(rng, 1000), table(rng, 1000, 0.6))
    runs = {
        (which, asked): len(CHECK.run(evidence(*pair, options={"domain": asked})))
        for which, pair in (("same", same), ("changed", changed))
        for asked in ("always", "screen", "never")
    }
    assert runs == {
        ("same", "always"): 1,
        ("same", "screen"): 0,
        ("same", "never"): 0,
        ("changed", "always"): 1,
        ("changed", "screen"): 1,
        ("changed", "never"): 0,
    }


def test_without_samples_there_is_nothing() -> None:
    assert CHECK.run(Evidence(al.Roles())) == []
    assert CHECK.follow is not None
    assert CHECK.follow(Evidence(al.Roles())) == []


@pytest.mark.parametrize(
    ("rows", "roles", "reason", "words"),
    [
        (150, {"id": "id"}, "too_few_rows", "150 reference rows are too few, and it takes 200."),
        (0, {"id": "id"}, "too_few_rows", "0 reference rows are too few"),
        (400, {"features": ["nothing"]}, "no_features", "no feature of one kind is in both tables."),
        (400, {"unit": "city", "id": "id"}, "units_too_few", "the reference rows come from 3 units"),
    ],
)
def test_what_is_lacking_is_said(rows: int, roles: dict[str, Any], reason: str, words: str) -> None:
    rng = RNG(6)
    one = found(table(rng, rows), table(rng, rows), roles=al.Roles(**roles))
    assert (one.verdict, one.reason, one.effect, one.primary) == (Verdict.UNDECIDED, reason, None, False)
    assert words in one.sentence


# ------------------------------------------------------------------ odd columns


@pytest.mark.parametrize(
    "column",
    [
        [math.nan] * 600,
        [None] * 600,
        [math.inf, -math.inf] * 300,
        [1.7e308, -1.7e308] * 300,
        [7] * 600,
        [f"row {i}" for i in range(600)],
        ["é\u202e😀\x00" * 50] * 600,
        [True, None] * 300,
        [[1, 2]] * 600,
        [START] * 600,
        [dt.timedelta(1)] * 600,
    ],
    ids=["nan", "null", "inf", "huge", "constant", "unique", "wide", "bool", "list", "time", "duration"],
)
def test_odd_columns_do_no_harm(column: list[Any]) -> None:
    """The same odd values in both tables: they tell nothing apart, and nothing breaks."""
    rng = RNG(7)
    odd = pl.Series("odd", column)
    one = found(table(rng, 600).with_columns(odd), table(rng, 600).with_columns(odd))
    assert one.effect is not None
    assert one.effect.low < 0.05


def test_a_column_of_words_that_never_repeat_does_not_tell_the_tables_apart() -> None:
    """Identifiers that go on where the reference ended are no change of what the columns mean."""
    rng = RNG(8)
    before, now = (
        table(rng, 1000).with_columns(request=pl.Series([f"r{i + first:06}" for i in range(1000)]))
        for first in (0, 1000)
    )
    one = found(before, now)
    assert one.effect is not None
    assert one.effect.low < 0


def test_a_column_that_is_gone_or_of_another_type_is_left_to_other_checks() -> None:
    rng = RNG(9)
    before, now = table(rng, 1000), table(rng, 1000)
    for changed in (
        now.drop("talk"),
        now.with_columns(talk=pl.lit("x")),
        now.with_columns(talk=pl.lit(None, dtype=pl.Float64)),
    ):
        one = found(before, changed)
        assert one.effect is not None
        assert one.effect.low < 0
        assert "by 3 columns" in one.sentence


def test_the_order_and_names_of_columns_change_little_and_the_same_input_gives_the_same() -> None:
    rng = RNG(10)
    before, now = table(rng, 800), table(rng, 800, 0.6)
    one = found(before, now)
    assert found(before, now) == one
    turned = found(before.select(before.columns[::-1]), now.select(now.columns[::-1]))
    assert turned.verdict is one.verdict
    assert one.effect is not None
    assert turned.effect is not None
    assert turned.effect.value == pytest.approx(one.effect.value, abs=0.02)


def test_the_input_is_left_as_it_was() -> None:
    rng = RNG(11)
    before, now = table(rng, 300), table(rng, 300)
    given = before.clone(), now.clone()
    found(*given)
    assert given[0].equals(before)
    assert given[1].equals(now)


# ------------------------------------------------------------------ how often it is wrong


def test_without_a_change_it_seldom_alarms_and_with_one_it_mostly_does() -> None:
    """At a margin of next to nothing, where a false alarm is one of the interval: 400 rows each."""
    rng, repeats = RNG(12), 30
    margins = Margins({"domain": 1e-6})

    def alarm(correlation: float) -> bool:
        estimates = CHECK.run(evidence(table(rng, 400), table(rng, 400, correlation)))
        return decide(estimates, margins=margins, primary=["domain"])[0].verdict is Verdict.ALARM

    assert np.mean([alarm(0.0) for _ in range(repeats)]) <= at_most(0.05, repeats)
    assert all(alarm(0.85) for _ in range(5))


def test_users_are_never_learnt_from_and_scored_at_once() -> None:
    """Users with habits of their own, other ones in each table: taken as independent rows they are told apart."""
    rng = RNG(13)

    def users(first: int) -> pl.DataFrame:
        habit = rng.normal(size=(60, 3))
        who = rng.integers(60, size=900)
        x = habit[who] + 0.1 * rng.normal(size=(900, 3))
        return pl.DataFrame(x, schema=["a", "b", "c"]).with_columns(user=pl.Series(who + first))

    before, now = users(0), users(1000)
    by_row = found(before.drop("user"), now.drop("user"), roles=al.Roles())
    by_unit = found(before, now, roles=al.Roles(unit="user"))
    assert by_row.verdict is Verdict.ALARM
    assert by_unit.verdict is Verdict.UNDECIDED


# ------------------------------------------------------------------ over windows


def days(count: int, first: dt.datetime = START) -> tuple[Window, ...]:
    return tuple(
        Window(str((first + dt.timedelta(i)).date()), first + dt.timedelta(i), first + dt.timedelta(i + 1), 100)
        for i in range(count)
    )


def followed(
    rng: np.random.Generator,
    history: int = 28,
    log: int = 28,
    change: int = 99,
    shock: float = 0.3,
    weekly: float = 0.0,
    each: int = 120,
    **more: Any,
) -> list[Course]:
    """Days that differ by shocks and by a pattern of the week; the correlation changes on one of them."""

    def part(count: int, change: int) -> pl.DataFrame:
        parts = []
        for day in range(count):
            t = table(rng, each, 0.8 if day >= change else 0.0)
            level = shock * rng.normal() + weekly * (day % 7 >= 5)
            parts.append(t.with_columns(pl.col("talk") + level, window=pl.lit(day)))
        return pl.concat(parts)

    windows = days(log, START + dt.timedelta(28))
    timeline = Timeline("1d", windows, np.full(log, each), {})
    normal = Timeline("1d", days(history), np.full(history, each), {})
    given = evidence(part(history, 999), part(log, change), window="window", timeline=timeline, history=normal, **more)
    assert CHECK.follow is not None
    return CHECK.follow(given)


def low(course: Course, alpha: float) -> np.ndarray:
    rate = np.full(len(course.looks), alpha)
    return course.ends(rate, rate)[0]


def test_a_change_is_found_in_the_looks_after_it() -> None:
    (course,) = followed(RNG(14), change=14)
    assert [(k.first, k.last) for k in course.looks] == [(0, 6), (7, 13), (14, 20), (21, 27)]
    ends = low(course, 1e-3)
    assert (ends[:2] < 0.05).all()
    assert (ends[2:] > 0.05).all()
    assert course.reasons == (None,) * 4
    assert (course.n > 0).all()
    effect = al.Effect(course.kind.name, 0.2, 0.1, 0.3, "AUC")
    words = course.say(effect, Verdict.ALARM, 3)
    assert "production rows in 2026-02-23 to 2026-03-01" in words
    assert "'age'" in words
    assert course.change is not None
    assert course.change(20, 27) == Change(14, 0, 20)  # small looks: none before it is shown to be fine
    assert course.change(3, 27) == Change(0, 0, 6)
    assert course.change(28, 28) is None


def test_days_of_their_own_and_weekends_seldom_alarm() -> None:
    """Four looks a replay at α = 5 % each, of days with shocks and weekends: rows taken as independent would alarm."""
    replays, alpha = 6, 0.05
    courses = [followed(RNG(100 + i), weekly=1.0, each=60, options={"domain": "always"}) for i in range(replays)]
    alarms = [low(c[0], alpha) > 0 for c in courses]
    assert np.mean(alarms) <= at_most(alpha, 4 * replays)


def test_a_look_of_some_days_of_the_week_is_held_against_those_days() -> None:
    """Four days without a weekend, against a reference of whole weeks."""
    (course,) = followed(RNG(15), log=4, weekly=3.0, shock=0.0, each=100, options={"domain": "always"})
    assert len(course.looks) == 1
    assert low(course, 0.05)[0] < 0.05


def test_the_screen_leaves_out_logs_without_a_change() -> None:
    assert followed(RNG(16), shock=0.0, options={"domain": "screen"}) == []
    assert followed(RNG(16), change=7, options={"domain": "never"}) == []


def test_looks_without_rows_or_windows_give_a_reason() -> None:
    (course,) = followed(RNG(17), log=14, each=20, shock=0.0, options={"domain": "always"})
    assert set(course.reasons) == {"too_few_rows"}
    assert np.isnan(course.value).all()
    assert np.isnan(low(course, 0.05)).all()
    assert followed(RNG(18), log=2, options={"domain": "always"}) == []
    (course,) = followed(RNG(19), options={"domain": "always"}, roles=al.Roles(features=("nothing",)))
    assert set(course.reasons) == {"no_features"}


def test_a_reference_without_windows_will_do() -> None:
    rng = RNG(20)
    log = pl.concat([table(rng, 100, 0.8).with_columns(window=pl.lit(day)) for day in range(14)])
    given = Evidence(
        al.Roles(id="id"),
        reference_sample=Sample(table(rng, 1500), 1500, 0),
        production_sample=Sample(log, log.height, 0, window="window"),
        timeline=Timeline("1d", days(14), np.full(14, 100), {}),
        options={},
    )
    assert CHECK.follow is not None
    (course,) = CHECK.follow(given)
    assert (low(course, 1e-3) > 0.05).all()


@pytest.mark.parametrize("count", [1, 2, 3, 6, 7, 30, 100, 365, 1000])
@pytest.mark.parametrize("hours", [1, 6, 24, 168])
def test_looks_are_few_of_one_length_and_never_overlap(count: int, hours: int) -> None:
    step = dt.timedelta(hours=hours)
    looks = looks_of([Window(str(i), START + i * step, START + (i + 1) * step, 1) for i in range(count)])
    assert len(looks) <= MOST_LOOKS
    assert bool(looks) == (count >= 3)
    assert len({k.length for k in looks}) <= 1
    covered = [w for k in looks for w in range(k.first, k.last + 1)]
    assert covered == list(range(len(covered)))
    assert not looks or count - len(covered) < looks[0].length
    if hours == 24 and count >= 7:
        assert all(k.length % 7 == 0 for k in looks)


def test_windows_of_rows_have_looks() -> None:
    looks = looks_of([Window(str(i), i * 100, (i + 1) * 100, 100) for i in range(20)])
    assert [(k.first, k.last) for k in looks] == [(0, 3), (4, 7), (8, 11), (12, 15), (16, 19)]
