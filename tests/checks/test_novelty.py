"""The novelty check: what it judges, how often it is wrong, what it names, and that it hurts."""

from __future__ import annotations

import datetime as dt
from dataclasses import replace
from typing import Any

import numpy as np
import polars as pl
import pytest

from afterlaunch.checks import novelty
from afterlaunch.checks.evidence import Evidence, Sample
from afterlaunch.checks.novel_groups import Sides, cluster, row_groups, text_groups
from afterlaunch.checks.novel_look import LEAST_CALIBRATION, Judged, judge, split
from afterlaunch.checks.novel_space import (
    LENGTHS,
    embedded,
    nearest_distances,
    nearest_products,
    row_space,
    text_space,
)
from afterlaunch.decide import Estimate, Margins
from afterlaunch.finding import Finding, Verdict
from afterlaunch.profile.types import Timeline
from afterlaunch.roles import Roles
from afterlaunch.watch import Budget, Course, Window, watch
from tests.checks.evidences import evidence, findings
from tests.simulation import at_most

RNG = np.random.default_rng

USUAL = (
    "show my account balance",
    "pay the bill now",
    "book a table for two",
    "what is the weather like",
    "set alarm at",
)
EXTRA = ("please", "today", "tomorrow", "again", "quickly", "for me", "thanks", "in town", "at home", "number 123")
NEW = ("buy crypto with my wallet", "send crypto tokens to wallet", "crypto wallet address lost")


def queries(rng: np.random.Generator, rows: int, new: int = 0) -> list[str]:
    """Usual queries, the last `new` of them of a kind that is not usual."""
    known = [f"{rng.choice(USUAL)} {' '.join(rng.choice(EXTRA, 2))} {rng.integers(30)}" for _ in range(rows - new)]
    return [*known, *(f"{rng.choice(NEW)} {rng.choice(EXTRA)}" for _ in range(new))]


def texts(rows: int, new: int = 0, seed: int = 0) -> pl.DataFrame:
    return pl.DataFrame({"query": queries(RNG(seed), rows, new)})


TEXT = Roles(text="query")


def numbers(rng: np.random.Generator, rows: int, new: int = 0) -> pl.DataFrame:
    x = rng.normal(size=rows)
    y = x + 0.2 * rng.normal(size=rows)
    y[rows - new :] = -x[rows - new :] + 3
    return pl.DataFrame({"x": x, "y": y, "city": rng.choice(["Oslo", "Riga", "Turin"], rows)})


def ask(old: pl.DataFrame, new: pl.DataFrame, roles: Roles = TEXT, **more: Any) -> dict[str, Finding]:
    return findings(novelty.CHECK, evidence(old, new, roles, **more))


def one(given: Evidence) -> Judged:
    (found,) = judge(given)
    assert isinstance(found, Judged)
    return found


# ------------------------------------------------------------------ what is found


def test_a_new_kind_of_query_alarms_and_is_shown_with_examples() -> None:
    found = ask(texts(2000), texts(1000, 200, seed=1))["text@query"]
    assert found.verdict is Verdict.ALARM
    assert found.effect is not None
    # 20 % new, of the others 5 %: an excess of .19.
    assert 0.15 < found.effect.value < 0.23
    assert "crypto" in found.sentence
    assert found.table is not None
    assert found.table["kind"] == "examples"
    groups = {row[0]: row[1] for row in found.table["rows"] if "crypto" in row[0]}
    assert 180 < sum(groups.values()) <= 200
    for name in groups:
        examples = [row[-1] for row in found.table["rows"] if row[0] == name]
        assert len(set(examples)) == len(examples) <= 5
        assert all("crypto" in example for example in examples)


def test_the_same_kind_of_queries_is_fine() -> None:
    found = ask(texts(4000, seed=2), texts(4000, seed=3))["text@query"]
    assert found.verdict is Verdict.OK
    assert found.table is not None
    assert found.table["kind"] == "distribution"
    assert sum(found.table["production"]) == pytest.approx(1)


def test_digits_are_no_new_words() -> None:
    old = pl.DataFrame({"query": [f"order {i} is late {w}" for i in range(500) for w in ("now", "again")]})
    new = pl.DataFrame({"query": [f"order {i} is late {w}" for i in range(700, 950) for w in ("now", "again")]})
    found = ask(old, new)["text@query"]
    assert found.effect is not None
    assert found.effect.value == pytest.approx(0, abs=0.02)


def test_an_odd_combination_of_usual_values_is_a_novel_row() -> None:
    found = ask(numbers(RNG(0), 2000), numbers(RNG(1), 1000, 250), Roles())["rows@"]
    assert found.verdict is Verdict.ALARM
    assert found.table is not None
    assert found.table["kind"] == "examples"


@pytest.mark.parametrize("array", [True, False])
def test_embeddings_are_judged_as_they_are(array: bool) -> None:
    def frame(seed: int, new: int) -> pl.DataFrame:
        rng = RNG(seed)
        x = rng.normal(size=(1500, 8)) + np.repeat(
            [[4.0, 0, 0, 0, 0, 0, 0, 0], [0, 0, 4.0, 0, 0, 0, 0, 0]], 750, axis=0
        )
        x[1500 - new :] = rng.normal(size=(new, 8)) - 5
        dtype: Any = pl.Array(pl.Float32, 8) if array else pl.List(pl.Float64)
        return pl.DataFrame({"e": pl.Series(x.tolist(), dtype=dtype)})

    found = ask(frame(0, 0), frame(1, 300), Roles(embedding="e"))["embedding@e"]
    assert found.verdict is Verdict.ALARM
    assert ask(frame(0, 0), frame(1, 0), Roles(embedding="e"))["embedding@e"].verdict is Verdict.OK


def test_groups_of_embeddings_are_named_by_their_texts() -> None:
    old, new = texts(1000), texts(600, 200, seed=1)
    rng = RNG(3)

    def vectors(frame: pl.DataFrame, novel: int) -> pl.Series:
        x = rng.normal(size=(frame.height, 6)) + 3
        x[frame.height - novel :] -= 8
        return pl.Series("e", x.tolist())

    found = ask(
        old.with_columns(vectors(old, 0)), new.with_columns(vectors(new, 200)), Roles(text="query", embedding="e")
    )
    assert set(found) == {"text@query", "embedding@e"}
    assert "crypto" in found["embedding@e"].sentence


def test_novelty_that_hurts_is_told() -> None:
    def scored(frame: pl.DataFrame, new: int, seed: int) -> pl.DataFrame:
        rng, n = RNG(seed), frame.height
        p = np.where(rng.random(n) < 0.5, 0.1, 0.9)
        y = (rng.random(n) < p).astype(int)
        y[n - new :] = rng.random(new) < 0.5
        return frame.with_columns(p=pl.Series(p), y=pl.Series(y))

    roles = Roles(text="query", score="p", outcome="y")
    old, new = scored(texts(2000), 0, 1), scored(texts(2000, 600, seed=1), 600, 2)
    found = ask(old, new, roles, task="binary")["harm@query"]
    assert found.effect is not None
    assert found.effect.low > 0.25
    assert (found.verdict, found.primary) == (Verdict.ALARM, False)
    assert "log loss" in found.sentence
    none = ask(old, new.with_columns(y=pl.lit(None, dtype=pl.Int64)), roles, task="binary")["harm@query"]
    assert none.reason == "no_outcomes"
    roles = Roles(text="query", prediction="p", outcome="y")
    assert "mean absolute error" in ask(old, new, roles, task="regression")["harm@query"].sentence
    assert (
        "error rate"
        in ask(old, new.with_columns(p=pl.col("p").round()), roles, task="multiclass")["harm@query"].sentence
    )


# ------------------------------------------------------------------ what cannot be judged


@pytest.mark.parametrize(
    ("old", "new", "reason"),
    [
        (texts(0), texts(50), "no_rows"),
        (texts(500), texts(0), "no_rows"),
        (texts(2 * LEAST_CALIBRATION - 2), texts(50), "too_few_rows"),
        (pl.DataFrame({"query": [None] * 300}, schema={"query": pl.String}), texts(50), "no_values"),
        (texts(500), pl.DataFrame({"query": ["", " ", None]}), "no_values"),
        (pl.DataFrame({"query": ["?!"] * 300}), texts(50), "no_values"),
        (pl.DataFrame({"x": [1.0] * 300}), texts(50), "only_in_production"),
        (texts(300), pl.DataFrame({"x": [1.0] * 50}), "only_in_reference"),
    ],
)
def test_too_little_to_go_by_is_undecided(old: pl.DataFrame, new: pl.DataFrame, reason: str) -> None:
    found = ask(old, new, Roles(text="query", ignore=("x",)))["text@query"]
    assert (found.verdict, found.reason) == (Verdict.UNDECIDED, reason)


def test_one_row_is_judged_but_decides_nothing() -> None:
    found = ask(texts(1000), texts(1))["text@query"]
    assert found.verdict is Verdict.UNDECIDED
    assert found.rows_needed is not None


def test_nothing_to_look_at() -> None:
    assert novelty.run(Evidence(Roles())) == []
    assert novelty.follow(Evidence(Roles())) == []
    none = pl.DataFrame({"y": [1] * 500})
    assert ask(none, none, Roles(outcome="y"))["rows@"].reason == "no_features"
    empty = pl.DataFrame({"x": [None] * 500}, schema={"x": pl.Float64})
    assert ask(empty, empty, Roles())["rows@"].reason == "no_values"


@pytest.mark.parametrize("bad", [["a"] * 300, [[]] * 300, [None] * 300])
def test_a_column_without_vectors_is_no_embedding(bad: list[Any]) -> None:
    good = pl.DataFrame({"e": RNG(0).normal(size=(300, 3)).tolist()})
    wrong = pl.DataFrame({"e": bad}, schema={"e": pl.String if bad[0] == "a" else pl.List(pl.Float64)})
    assert ask(wrong, good, Roles(embedding="e"))["embedding@e"].reason == "no_values"
    longer = pl.DataFrame({"e": RNG(0).normal(size=(300, 4)).tolist()})
    assert ask(good, longer, Roles(embedding="e"))["embedding@e"].reason == "no_values"


def test_vectors_of_another_length_or_not_finite_are_left_out() -> None:
    found = embedded(pl.Series([[1.0, 2.0], [3.0], None, [1.0, float("inf")], [0.0, 1.0]]))
    assert found is not None
    assert found[1].tolist() == [True, False, False, False, True]
    assert found[0][0].tolist() == [1.0, 2.0]


def test_missing_texts_are_left_out() -> None:
    new = pl.concat([texts(400, seed=1), pl.DataFrame({"query": [None, "", "  "] * 100})])
    assert ask(texts(1000), new)["text@query"].n == 400


@pytest.mark.parametrize("value", [0.0, 1e308, float("inf"), float("nan")])
def test_strange_numbers_leave_finite_scores(value: float) -> None:
    old = numbers(RNG(0), 400)
    new = numbers(RNG(1), 300).with_columns(x=pl.lit(value), y=pl.lit(-1e308))
    for before, now in ((old, new), (new, old), (new, new)):
        found = ask(before, now, Roles())["rows@"]
        assert found.effect is not None


# ------------------------------------------------------------------ how often it is wrong


def test_false_alarms_without_novelty() -> None:
    # Alarms at a margin next to nothing are errors of the low end at .05; 150 draws of both tables.
    alarms, missed, repeats = 0, 0, 150
    for r in range(repeats):
        rng = RNG(r)
        x = rng.normal(size=(700, 3))
        old, new = (pl.DataFrame(part, schema=["a", "b", "c"]) for part in (x[:400], x[400:]))
        (estimate,) = novelty.run(evidence(old, new))
        assert estimate.interval is not None
        low, high = estimate.interval(0.05, 0.05)
        alarms, missed = alarms + (low > 0), missed + (high < 0)
    assert alarms / repeats <= at_most(0.05, repeats)
    assert missed / repeats <= at_most(0.05, repeats)


def test_errors_hold_for_rows_of_units() -> None:
    # Each unit asks its own query 5 times, give or take: rows of one unit stand or fall together.
    alarms, repeats = 0, 60
    for r in range(repeats):
        rng = RNG(r)
        x = np.repeat(rng.normal(size=(240, 2)), 5, axis=0) + 0.01 * rng.normal(size=(1200, 2))
        frame = pl.DataFrame(x, schema=["a", "b"]).with_columns(user=pl.Series(np.repeat(np.arange(240), 5)))
        (estimate,) = novelty.run(evidence(frame[:700], frame[700:], Roles(unit="user")))
        assert estimate.interval is not None
        alarms += estimate.interval(0.05, 0.05)[0] > 0
    assert alarms / repeats <= at_most(0.05, repeats)


def test_groups_that_are_no_news_are_seldom_shown() -> None:
    # 120 draws without novelty: the chance of any group is at most .1 (Benjamini-Hochberg).
    shown = 0
    for r in range(120):
        rng = RNG(r)
        new, old = int(rng.integers(30, 80)), int(rng.integers(30, 80))
        sides = Sides(new, (new * 20, old * 20))
        labels = rng.integers(6, size=new + old)
        # Given both sizes, members of a group fall to each side in proportion.
        shown += bool(sides.news(labels).any())
    assert shown / 120 <= at_most(0.1, 120)


# ------------------------------------------------------------------ what does not matter


def test_the_order_of_production_does_not_matter() -> None:
    old, new = texts(800), texts(500, 60, seed=1)
    a, b = one(evidence(old, new, TEXT)), one(evidence(old, new[::-1], TEXT))
    assert a.hits.sum() == pytest.approx(b.hits.sum())
    assert np.sort(a.p).tolist() == np.sort(b.p).tolist()
    assert [g.name for g in a.novel.groups] == [g.name for g in b.novel.groups]


def test_the_same_twice() -> None:
    old, new = texts(800), texts(500, 60, seed=1)
    assert [f.to_dict() for f in ask(old, new).values()] == [f.to_dict() for f in ask(old, new).values()]


def test_the_unit_decides_the_half_and_no_unit_is_in_both() -> None:
    frame = texts(600).with_columns(user=pl.Series(RNG(0).integers(0, 80, 600)))
    given = evidence(frame, frame, Roles(text="query", unit="user"))
    trains = split(given, 600)
    users = frame["user"].to_numpy()
    assert not set(users[trains]) & set(users[~trains])
    assert 0.3 < trains.mean() < 0.7


# ------------------------------------------------------------------ spaces


def test_neighbours_are_those_of_scikit_learn() -> None:
    from sklearn.neighbors import NearestNeighbors

    rng = RNG(0)
    old, new = (rng.normal(size=(n, 5)).astype(np.float32) for n in (200, 2500))
    found = NearestNeighbors(n_neighbors=3).fit(old).kneighbors(new)[0].mean(axis=1)
    assert nearest_distances(new, old) == pytest.approx(found, rel=1e-3, abs=1e-4)
    products = np.sort(new @ old.T, axis=1)[:, -3:].mean(axis=1)
    assert nearest_products(new, old) == pytest.approx(products, rel=1e-4, abs=1e-5)


def test_weights_are_those_of_scikit_learn_for_known_words() -> None:
    from sklearn.feature_extraction.text import TfidfVectorizer

    known = queries(RNG(0), 300)
    space = text_space(known, 0)
    assert space is not None
    order = np.random.default_rng(0).permutation(300)[:240]
    oracle = TfidfVectorizer(token_pattern=r"\w+", preprocessor=lambda t: "".join("0" if c.isdigit() else c for c in t))
    fitted = oracle.fit([known[i] for i in order])
    ours = space.vectors(known[:20]).known
    theirs = fitted.transform(known[:20])
    assert np.sort(ours.data) == pytest.approx(np.sort(theirs.data), abs=1e-5)
    assert (ours @ ours.T).toarray() == pytest.approx((theirs @ theirs.T).toarray(), abs=1e-4)


def test_unknown_words_make_a_text_unlike_everything() -> None:
    space = text_space(queries(RNG(0), 500), 0)
    assert space is not None
    far, half, near = space.likeness(
        space.vectors(["zyx wvu tsr", "pay the zyx wvu", "pay the bill now please today 1"])
    )
    assert far == 0
    assert 0 < half < near <= 1
    assert space.vectors(["a b a"]).words.tolist() == [2]
    assert np.isfinite(space.scores(space.vectors(["", "?", "word " * 500]))).all()
    assert len(space.mean) == LENGTHS.size + 1


def test_scripts_without_spaces_are_taken_by_letters() -> None:
    space = text_space(["我想订一张机票", "查询余额"] * 20, 0)
    assert space is not None
    assert space.analyzer == "char"
    assert space.likeness(space.vectors(["我想订票"]))[0] > 0.3


def test_long_texts_leave_fewer_neighbours() -> None:
    rng = RNG(0)
    long = [" ".join(f"w{chr(97 + a)}{chr(97 + b)}" for a, b in rng.integers(26, size=(600, 2))) for _ in range(600)]
    space = text_space(long, 0)
    assert space is not None
    assert 3 <= space.training.shape[0] < 480


def test_features_of_no_variety_are_left_out_or_alone() -> None:
    frame = pl.DataFrame({"k": [7.0] * 50, "none": pl.Series([None] * 50, dtype=pl.Float64), "c": ["a"] * 50})
    space = row_space(frame, frame.columns)
    assert space is not None
    assert space.names == ("k", "c")
    moved = frame.with_columns(k=pl.lit(9.0))
    assert space.scores(space.vectors(moved)).min() > space.scores(space.vectors(frame)).max()
    assert row_space(frame, ["none"]) is None


# ------------------------------------------------------------------ groups


def test_clusters_of_unlike_sizes_are_told_apart() -> None:
    rng = RNG(0)
    centre = np.array([[0, 0], [10, 0], [0, 10.0]])
    truth = np.repeat([0, 1, 2], [200, 30, 15])
    labels = cluster(centre[truth] + 0.5 * rng.normal(size=(245, 2)), 0)
    assert len(set(zip(truth, labels, strict=True))) == 3
    many = np.repeat(truth, 10)
    labels = cluster(centre[many] + 0.5 * rng.normal(size=(2450, 2)), 0)
    assert len(set(zip(many, labels, strict=True))) == len(set(labels)), "a group has rows of two"


def test_few_rows_or_rows_all_alike_are_one_group() -> None:
    assert cluster(np.zeros((50, 3)), 0).tolist() == [0] * 50
    assert cluster(RNG(0).normal(size=(3, 3)), 0).tolist() == [0] * 3
    assert text_groups(["a"], [], Sides(1, (10, 10)), 0) == []
    assert text_groups(["a", "b", "c", "d", "e", "f"], [], Sides(6, (10, 10)), 0) == []


def test_a_unit_counts_once_in_a_group() -> None:
    labels, units = np.zeros(40, dtype=np.int64), np.r_[np.zeros(38, dtype=np.int64), 1, 2]
    assert Sides(38, (400, 400)).news(labels).tolist() == [True]
    assert Sides(38, (400, 400), units).news(labels).tolist() == [False]


def test_rows_are_named_by_the_features_that_set_them_apart() -> None:
    rng = RNG(0)
    old = numbers(rng, 500).with_columns(z=pl.lit(None, dtype=pl.Float64))
    new = numbers(rng, 40).with_columns(x=pl.lit(9.0) + pl.Series(rng.random(40)), city=pl.lit("Porto"), z=pl.lit(1.0))
    (group,) = row_groups(new, np.zeros((40, 2)), old, Sides(40, (400, 400)), 0)
    assert "'city' is 'Porto'" in group.name
    assert "'x' near 9" in group.name


# ------------------------------------------------------------------ windows


def windowed(days: int = 30, rows: int = 60, begin: int | None = 20, history: int | None = None) -> Evidence:
    rng, parts = RNG(5), []
    for day in range(days):
        new = rows // 3 if begin is not None and day >= begin else 0
        parts.append(pl.DataFrame({"query": queries(rng, rows, new)}).with_columns(w=pl.lit(day)))
    start = dt.datetime(2026, 1, 1, tzinfo=dt.UTC)
    windows = tuple(
        Window(f"day {i:02d}", start + dt.timedelta(days=i), start + dt.timedelta(days=i + 1), 10 * rows)
        for i in range(days)
    )
    log, old = pl.concat(parts), texts(3000)
    if history is not None:
        old = old.with_columns(w=pl.Series(np.arange(3000) % history))
    return replace(
        evidence(old, log, Roles(text="query", ignore=("w",))),
        reference_sample=Sample(old, 3000, 0, "w" if history else None),
        production_sample=Sample(log, 10 * log.height, 0, "w"),
        timeline=Timeline("1d", windows, np.full(days, 10 * rows), {}),
    )


def courses(given: Evidence) -> list[Course]:
    found = novelty.follow(given)
    for c in found:
        low, high = c.ends(np.full(len(c.looks), 1e-4), np.full(len(c.looks), 0.05))
        good = np.isfinite(c.value)
        assert ((low <= c.value) & (c.value <= high))[good].all()
        assert [r is None for r in c.reasons] == good.tolist()
        assert len(c.looks) == len(c.value) == len(c.n) == len(c.reasons)
        assert [look.last for look in c.looks] == sorted(look.last for look in c.looks)
    return found


@pytest.mark.parametrize("history", [None, 20])
def test_an_episode_opens_when_a_new_kind_of_query_comes(history: int | None) -> None:
    (course,) = courses(windowed(history=history))
    assert (course.sample, len(course.looks)) == (1800, 30 + 24)
    found = watch([course], margins=Margins({}), budget=Budget(), primary=("novelty",)).findings
    (alarm,) = [f for f in found if f.verdict is Verdict.ALARM]
    assert alarm.window == "from day 20"
    assert "crypto" in alarm.sentence
    assert course.change is not None
    change = course.change(21, 29)
    assert change is not None
    assert change.low <= 20 <= change.high
    assert change.window == 20


def test_a_group_that_grew_is_said_to_be_more_than_before() -> None:
    (course,) = courses(windowed(days=30, begin=25))
    effect = watch([course], margins=Margins({}), budget=Budget()).findings[0].effect
    assert effect is not None
    assert "more than before" in course.say(effect, Verdict.ALARM, len(course.looks) - 1)


def test_windows_without_novelty_or_rows() -> None:
    given = windowed(days=5, begin=None)
    assert given.timeline is not None
    gap = Window("day 05", dt.datetime(2026, 1, 6, tzinfo=dt.UTC), dt.datetime(2026, 1, 7, tzinfo=dt.UTC), 0)
    given = replace(given, timeline=replace(given.timeline, windows=(*given.timeline.windows, gap)))
    (course,) = courses(given)
    assert course.reasons[-1] == "no_rows"
    found = watch([course], margins=Margins({}), budget=Budget()).findings
    assert all(f.verdict is not Verdict.ALARM for f in found)


def test_what_cannot_be_followed_says_why() -> None:
    given = windowed(days=3)
    few = texts(50)
    (course,) = courses(replace(given, reference_sample=Sample(few, 50, 0)))
    assert set(course.reasons) == {"too_few_rows"}
    (found,) = watch([course], margins=Margins({}), budget=Budget()).findings
    assert (found.verdict, found.reason) == (Verdict.UNDECIDED, "too_few_rows")


def test_harm_is_followed_over_the_last_seven_windows() -> None:
    given = windowed()
    assert given.production_sample is not None
    rng, log = RNG(0), given.production_sample.frame
    new = log["query"].str.contains("crypto").to_numpy()
    y = rng.integers(2, size=log.height)
    p = np.where(new, 1 - y, y)
    log = log.with_columns(y=pl.Series(y), p=pl.Series(np.where(rng.random(log.height) < 0.1, 1 - p, p)))
    given = replace(
        given,
        roles=given.roles.with_(outcome="y", prediction="p"),
        task="multiclass",
        production_sample=replace(given.production_sample, frame=log),
    )
    _, harm = courses(given)
    assert (harm.kind.key, harm.primary, len(harm.looks)) == ("harm", False, 30)
    assert harm.reasons[0] == "too_few_rows"
    assert harm.value[-1] > 1


def test_the_variation_between_windows_of_the_reference_widens_the_interval() -> None:
    rng = RNG(0)

    def shaken(days: int, seed: int) -> pl.DataFrame:
        shift = np.repeat(RNG(seed).normal(0, 0.7, days), 100)
        return pl.DataFrame({"x": shift + rng.normal(size=days * 100), "w": np.repeat(np.arange(days), 100)})

    old, new = shaken(40, 1), shaken(4, 2)
    start = dt.datetime(2026, 1, 1, tzinfo=dt.UTC)
    windows = tuple(Window(f"{i}", start + dt.timedelta(i), start + dt.timedelta(i + 1), 100) for i in range(4))
    given = replace(
        evidence(old, new, Roles(ignore=("w",))),
        production_sample=Sample(new, new.height, 0, "w"),
        timeline=Timeline("1d", windows, np.full(4, 100), {}),
    )
    (plain,) = courses(given)
    (wary,) = courses(replace(given, reference_sample=Sample(old, old.height, 0, "w")))
    rate = np.full(4, 0.01)
    assert (np.subtract(*wary.ends(rate, rate)[::-1]) > 1.3 * np.subtract(*plain.ends(rate, rate)[::-1])).all()
    assert "variation between windows" in wary.method


def test_kinds_are_documented_in_the_check() -> None:
    assert [k.key for k in novelty.CHECK.kinds] == ["text", "embedding", "rows", "harm"]
    assert all(isinstance(e, Estimate) for e in novelty.run(evidence(texts(300), texts(100), TEXT)))
