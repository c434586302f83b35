"""Laws that every registered check obeys; a new check is held to them by being registered.

Each runs through its question, as a user would run it, with the other checks left out where one
must be looked at alone.
"""

from __future__ import annotations

import datetime as dt
import functools
import json
import math
import re
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import jsonschema
import numpy as np
import pandas as pd
import polars as pl
import pytest
from polars.testing import assert_frame_equal

import afterlaunch as al
from afterlaunch.checks import CHECKS
from afterlaunch.finding import Finding, Review, Verdict
from afterlaunch.questions import clusters as clusters_question
from afterlaunch.questions import compare as compare_question
from afterlaunch.questions import drift as drift_question
from afterlaunch.questions import experiment as experiment_question
from afterlaunch.questions import interleaving as interleaving_question
from afterlaunch.questions import launch as launch_question
from afterlaunch.questions import loop as loop_question
from afterlaunch.questions import off_policy as off_policy_question
from afterlaunch.questions import plan as plan_question
from tests.frames import (
    CLUSTERED,
    COMPARED,
    DRAFTED,
    ENGINES,
    EXPERIMENTED,
    LIVED,
    LOGGED,
    LOOPED,
    RANKED,
    ROLES,
    clustered,
    compared,
    drafted,
    experimented,
    handed_in,
    launched,
    lived,
    logged,
    looped,
    model,
    ranked,
    replicated,
    versions,
)

ROOT = Path(__file__).parents[2]


def _follow(before: Any, now: Any, **more: Any) -> Review:
    return al.drift(before, now, every="1d", **more)


def _compare(before: Any, now: Any, *, roles: dict[str, Any], **more: Any) -> Review:
    """One table has both versions; a log of one version is made such a panel."""
    del before
    if isinstance(now, pl.DataFrame) and "version" not in now.columns:
        now, roles = versions(now), COMPARED
    return al.compare(now, baseline="old", candidate="new", roles=roles, **more)


def _compare_lists(before: Any, now: Any, *, roles: dict[str, Any], **more: Any) -> Review:
    """A log of one version is made such a panel, with a list for each user."""
    del before
    if isinstance(now, pl.DataFrame) and "version" not in now.columns:
        now = versions(now)
        columns = {"list": "user", "item": "request", "position": "place", "category": "country"}
        roles = {"version": "version", **{r: c for r, c in columns.items() if c in now.columns}}
    return al.compare(now, baseline="old", candidate="new", roles=roles, **more)


def _compare_replicates(before: Any, now: Any, *, roles: dict[str, Any], **more: Any) -> Review:
    """A log of one version is made a panel of two with two replicates each."""
    del before
    if isinstance(now, pl.DataFrame) and "version" not in now.columns:
        now, roles = versions(now), COMPARED
        now = pl.concat([now.with_columns(seed=pl.lit(s)) for s in range(3)])
    return al.compare(now, baseline="old", candidate="new", replicates="seed", roles=roles, **more)


def _clusters(before: Any, now: Any, *, roles: dict[str, Any], **more: Any) -> Review:
    """Tables without clusters are taken as clustered by country."""
    clustered_by = "country" if roles is ROLES else "cluster"
    return al.clusters(before, now, label=clustered_by, roles={"id": roles["id"]}, **more)


def _experiment(before: Any, now: Any, *, roles: dict[str, Any], **more: Any) -> Review:
    """Two logs are made one of an experiment, the reference under the old rules."""
    if isinstance(now, pl.DataFrame) and "arm" not in now.columns:
        parts = [t.with_columns(arm=pl.lit(a)) for t, a in ((before, "rules"), (now, "model"))]
        now = pl.concat(parts, how="diagonal_relaxed")
        roles = {role: column for role, column in EXPERIMENTED.items() if column in now.columns}
        roles["outcome"] = "y"
    metrics: list[al.Mean | al.Ratio] = [al.Mean(roles["outcome"]), al.Ratio(roles["outcome"], name="rate")]
    slow = [al.Quantile(roles["latency_ms"], 0.9, better="down", name="slow")] if "latency_ms" in roles else []
    split = {"rules": 0.5, "model": 0.5}
    return al.experiment(now, control="rules", metrics=metrics, guardrails=slow, roles=roles, shares=split, **more)


def _plan(before: Any, now: Any, *, roles: dict[str, Any], **more: Any) -> Review:
    """What a log would show as traffic."""
    del before
    roles = {role: column for role, column in roles.items() if role in ("unit", "time", "outcome")}
    return al.plan(now, metrics=[al.Mean(roles["outcome"])], roles=roles, **more)


def _loop(before: Any, now: Any, *, roles: dict[str, Any], **more: Any) -> Review:
    """What a log would show as impressions of items."""
    del before
    chance = None
    if "item" not in roles:
        roles = {role: column for role, column in LOOPED.items() if column in now.columns} | {"item": "place"}
    else:
        chance = "by_chance"
    return al.loop(now, roles=roles, explored=chance, **more)


def _off_policy(before: Any, now: Any, *, roles: dict[str, Any], **more: Any) -> Review:
    """Of a log of scores: as if they were chances."""
    del before
    if roles is ROLES:
        roles = {"outcome": "y", "propensity": "p"}
        return al.off_policy(now, target="age", roles=roles, **more)
    target = NASTY["talk"] if roles["outcome"] == NASTY["y"] else "talk"
    return al.off_policy(now, target=target, roles=roles, **more)


def _interleaving(before: Any, now: Any, *, roles: dict[str, Any], **more: Any) -> Review:
    """Of another log: its countries are the rankers."""
    del before
    if roles is ROLES:
        roles = {"list": "request", "outcome": "y"}
        return al.interleaving(now, first="de", second="fr", team="country", roles=roles, **more)
    return al.interleaving(now, first="old", second="new", roles=roles, **more)


QUESTIONS: dict[str, tuple[tuple[ModuleType, str], Callable[..., Review]]] = {
    "launch": ((launch_question, "CHECKS"), al.launch),
    "drift": ((drift_question, "CHECKS"), al.drift),
    "drift over time": ((drift_question, "FOLLOWED"), _follow),
    "compare": ((compare_question, "CHECKS"), _compare),
    "compare lists": ((compare_question, "CHECKS"), _compare_lists),
    "compare replicates": ((compare_question, "CHECKS"), _compare_replicates),
    "clusters": ((clusters_question, "CHECKS"), _clusters),
    "experiment": ((experiment_question, "CHECKS"), _experiment),
    "plan": ((plan_question, "CHECKS"), _plan),
    "loop": ((loop_question, "CHECKS"), _loop),
    "off-policy": ((off_policy_question, "CHECKS"), _off_policy),
    "interleaving": ((interleaving_question, "CHECKS"), _interleaving),
}
"""Each question: where its checks are listed, and how it is asked."""

TWO_TABLES = ["launch", "drift", "drift over time"]
"""Questions that are asked of a reference and of production."""

OPTIONS = {"margins", "alpha", "domain"}
"""What a drift review can be told besides tables and roles."""

EVERY = pytest.mark.parametrize("check", sorted(CHECKS))
"""Every check, by name."""


def checks_of(question: str) -> tuple[str, ...]:
    module, listed = QUESTIONS[question][0]
    found: tuple[str, ...] = getattr(module, listed)
    return found


ASKED = pytest.mark.parametrize(("question", "check"), [(q, c) for q in QUESTIONS for c in checks_of(q)])
"""Every check under every question that asks it."""


def review(question: str, before: Any, now: Any, *, roles: dict[str, Any] | None = None, **more: Any) -> Review:
    """Ask a question; options that it does not have are left out."""
    ask = QUESTIONS[question][1]
    if question != "launch":
        more = {k: v for k, v in more.items() if k in OPTIONS}
    return ask(before, now, roles=ROLES if roles is None else roles, **more)


def story_of(check: str) -> str:
    """The question in whose story a check must find something."""
    if check in launch_question.CHECKS:
        return "launch"
    if check in drift_question.FOLLOWED:
        return "drift over time"
    return {
        "lists": "compare lists",
        "mix": "compare lists",
        "seeds": "compare replicates",
        "clusters": "clusters",
        "trust": "experiment",
        "effect": "experiment",
        "detectable": "plan",
        "amplification": "loop",
        "concentration": "loop",
        "popularity": "loop",
        "off_policy": "off-policy",
        "interleaving": "interleaving",
    }.get(check, "compare")


Tables = Callable[[], tuple[pl.DataFrame, pl.DataFrame]]
STORIES: dict[str, tuple[Tables, dict[str, Any], dict[str, Any]]] = {
    "launch": (lambda: launched(800), ROLES, {"predict": model}),
    "drift over time": (lived, LIVED, {"domain": "always"}),
    "compare": (compared, COMPARED, {}),
    "compare lists": (ranked, RANKED, {}),
    "compare replicates": (replicated, COMPARED, {}),
    "clusters": (clustered, CLUSTERED, {}),
    "experiment": (experimented, EXPERIMENTED, {}),
    "plan": (experimented, EXPERIMENTED, {}),
    "loop": (looped, LOOPED, {}),
    "off-policy": (logged, LOGGED, {}),
    "interleaving": (drafted, DRAFTED, {}),
}
"""A story for every question that tells one: its tables, roles and options."""


@functools.cache
def told(question: str, engine: str = "polars") -> Review:
    """A story in which every check of the question finds something, told with this engine's tables."""
    tables, roles, more = STORIES[question]
    before, now = tables()
    with tempfile.TemporaryDirectory() as folder, handed_in(engine, Path(folder), before=before, now=now) as given:
        return review(question, given["before"], given["now"], roles=roles, **more)


def whole(check: str, engine: str = "polars") -> Review:
    return told(story_of(check), engine)


def of(check: str, found: Review) -> list[Finding]:
    return [f for f in found if f.check == check]


@pytest.fixture
def alone(monkeypatch: pytest.MonkeyPatch) -> Callable[[str, str], None]:
    """Leaves a question with one check only."""

    def leave(question: str, check: str) -> None:
        module, listed = QUESTIONS[question][0]
        monkeypatch.setattr(module, listed, (check,))

    return leave


# ------------------------------------------------------------------ what a check is


@EVERY
def test_a_check_is_registered_under_its_name_and_asked_by_a_question(check: str) -> None:
    found = CHECKS[check]
    assert found.name == check
    assert found.asks.endswith("?")
    assert re.fullmatch(r"[a-z_]+", check)
    assert any(check in checks_of(question) for question in QUESTIONS)
    keys = [k.key for k in found.kinds]
    assert len(keys) == len(set(keys)) > 0
    for kind in found.kinds:
        assert re.fullmatch(r"[a-z0-9_@]+", kind.key)
        assert kind.margin > 0
        assert kind.name
        assert kind.why
        assert kind is found.kind(kind.key)


@EVERY
def test_a_check_finds_something_in_a_story(check: str) -> None:
    """Laws that hold because nothing is found hold for no good reason."""
    assert of(check, whole(check))


OF_THE_METRIC = ("effect", "detectable")
"""Checks whose margins, units and bad directions come from the metrics of the question."""


@EVERY
def test_findings_are_of_the_effects_that_the_check_declares(check: str) -> None:
    kinds = {k.key: k for k in CHECKS[check].kinds}
    for found in of(check, whole(check)):
        kind = kinds[found.key]
        if check in OF_THE_METRIC:
            continue
        assert (found.direction, found.margin) == (kind.direction, kind.margin)
        if found.effect is not None:
            assert found.effect.unit == kind.unit


@EVERY
def test_findings_are_sentences_with_something_to_do(check: str) -> None:
    for found in of(check, whole(check)):
        for text in (found.sentence, found.action):
            assert text.endswith("."), found.id
            assert text[0].isupper() or text[0] in "'0123456789−-", found.id
            assert "\n" not in text
            assert not re.search(r"\bnan\b|\binf\b|None|\{|\}", text), text
        assert (found.verdict is Verdict.UNDECIDED) == (found.reason is not None), found.id


@EVERY
def test_verdicts_follow_from_the_interval_that_is_shown(check: str) -> None:
    for found in of(check, whole(check)):
        if found.effect is None or found.margin is None:
            continue
        low, high, margin = found.effect.low, found.effect.high, found.margin
        inside = {"up": high <= margin, "down": low >= -margin, "both": -margin <= low and high <= margin}
        outside = {"up": low > margin, "down": high < -margin, "both": low > margin or high < -margin}
        if found.goal == "better":
            inside = {"up": high < 0, "down": low > 0}
            outside = {"up": low > -margin, "down": high < margin}
        elif found.goal == "none":
            outside = {"up": low > 0, "down": high < 0, "both": low > 0 or high < 0}
        if found.verdict is Verdict.OK:
            assert inside[found.direction], found.id
        elif found.verdict is Verdict.ALARM:
            assert outside[found.direction], found.id
        assert low <= found.effect.value <= high, found.id
        assert 0 < found.alpha_each <= found.alpha, found.id


@pytest.mark.parametrize("question", STORIES)
def test_ids_are_unique(question: str) -> None:
    ids = [f.id for f in told(question)]
    assert len(ids) == len(set(ids))


@pytest.mark.parametrize("question", STORIES)
def test_no_column_of_our_own_making_is_a_subject(question: str) -> None:
    assert not [f.subject for f in told(question) if f.subject.startswith("afterlaunch")]


# ------------------------------------------------------------------ the same again, and JSON


@functools.cache
def again(question: str) -> Review:
    tables, roles, more = STORIES[question]
    return review(question, *tables(), roles=roles, **more)


@EVERY
def test_a_check_says_the_same_when_asked_again(check: str) -> None:
    first, second = of(check, whole(check)), of(check, again(story_of(check)))
    assert [(f.id, f.sentence, f.action) for f in first] == [(f.id, f.sentence, f.action) for f in second]
    for found, other in zip(first, second, strict=True):
        same(found, other)  # sums of floats are made in several threads, whose order may change their last digits


@EVERY
def test_findings_come_back_from_json_and_fit_the_schema(check: str) -> None:
    text = whole(check).to_json()
    assert of(check, Review.from_json(text)) == of(check, whole(check))
    schema = json.loads((ROOT / "docs" / "review.schema.json").read_text(encoding="utf-8"))
    data = json.loads(text)
    data["findings"] = [f for f in data["findings"] if f["check"] == check]
    jsonschema.validate(data, schema)


@pytest.mark.parametrize("question", STORIES)
def test_the_input_is_left_as_it_was(question: str) -> None:
    tables, roles, more = STORIES[question]
    before, now = tables()
    given = before.clone(), now.clone()
    review(question, *given, roles=roles, **more)
    for table, original in zip(given, (before, now), strict=True):
        assert_frame_equal(table, original)
    frames = before.to_pandas(), now.to_pandas()
    review(question, *frames, roles=roles, **more)
    for frame, original in zip(frames, (before, now), strict=True):
        pd.testing.assert_frame_equal(frame, original.to_pandas())


# ------------------------------------------------------------------ engines


def same(a: Finding, b: Finding) -> None:
    assert (a.verdict, a.reason, a.n, a.rows_needed, a.primary) == (b.verdict, b.reason, b.n, b.rows_needed, b.primary)
    if a.effect is not None and b.effect is not None:
        for end in ("value", "low", "high"):
            one, other = getattr(a.effect, end), getattr(b.effect, end)
            assert math.isclose(one, other, rel_tol=1e-9, abs_tol=1e-9), (a.id, end, one, other)
    assert (a.effect is None) == (b.effect is None)


@pytest.mark.parametrize("engine", [e for e in ENGINES if e != "polars"])
@EVERY
def test_every_engine_gives_the_same_findings(check: str, engine: str) -> None:
    ours, theirs = ({f.id: f for f in of(check, whole(check, e))} for e in ("polars", engine))
    assert list(ours) == list(theirs)
    for found, other in zip(ours.values(), theirs.values(), strict=True):
        same(found, other)


@EVERY
def test_the_order_of_columns_does_not_matter(check: str) -> None:
    ours, theirs = ({f.id: f for f in of(check, r)} for r in (whole(check), _reversed(story_of(check))))
    assert set(ours) == set(theirs)
    for found in ours.values():
        assert theirs[found.id].verdict is found.verdict, found.id


@functools.cache
def _reversed(question: str) -> Review:
    tables, roles, more = STORIES[question]
    before, now = tables()
    return review(question, before.select(before.columns[::-1]), now.select(now.columns[::-1]), roles=roles, **more)


# ------------------------------------------------------------------ names

NASTY = {
    "age": 'age"; DROP TABLE log; --',
    "income": "<script>alert('income')</script>",
    "talk": "_talk 😀 日本語 \u202e rtl",
    "place": "place's [bold]/@= position",
    "country": " ",
    "y": "{y} %s \\n",
    "p": "p\tq",
    "user": "select",
    "query": "query?",
    "debt": "`debt`",
}


@functools.cache
def _renamed(question: str) -> Review:
    tables, named, more = STORIES[question]
    before, now = (t.rename({k: v for k, v in NASTY.items() if k in t.columns}) for t in tables())
    roles = {role: NASTY.get(column, column) for role, column in named.items()}
    back = {v: k for k, v in NASTY.items()}

    def renamed(rows: pl.DataFrame) -> np.ndarray:
        return model(rows.rename({c: back[c] for c in rows.columns if c in back}))

    more = {**more, "predict": renamed} if "predict" in more else more
    return review(question, before, now, roles=roles, **more)


@EVERY
def test_what_columns_are_called_changes_nothing_but_their_names(check: str) -> None:
    plain = {(f.key, NASTY.get(f.subject, f.subject), f.segment): f for f in of(check, whole(check))}
    nasty = {(f.key, f.subject, f.segment): f for f in of(check, _renamed(story_of(check)))}
    assert set(plain) == set(nasty)
    for key, found in nasty.items():
        assert found.verdict is plain[key].verdict, key
        expected = plain[key].effect
        if found.effect is not None and expected is not None:
            assert found.effect.value == pytest.approx(expected.value, abs=1e-6), key


def test_names_of_any_sort_reach_page_terminal_and_file_as_text(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from afterlaunch.report import render

    page = _renamed("launch").save(tmp_path / "a.html").read_text(encoding="utf-8")
    assert "<script>alert" not in page
    assert "&lt;script&gt;alert" in page
    render(_renamed("launch"), limit=1000)
    shown = capsys.readouterr().out
    assert "\u202e" not in shown
    assert Review.from_json(_renamed("launch").save(tmp_path / "a.json").read_text(encoding="utf-8")) == _renamed(
        "launch"
    )


# ------------------------------------------------------------------ poor and odd tables


def _all_null(frame: pl.DataFrame) -> pl.DataFrame:
    return frame.with_columns(pl.lit(None).cast(t).alias(c) for c, t in frame.schema.items())


def _features(frame: pl.DataFrame, value: pl.Expr) -> pl.DataFrame:
    return frame.with_columns(value.alias(c) for c in ("age", "income", "talk") if c in frame.columns)


Change = Callable[[pl.DataFrame], pl.DataFrame]

POOR: dict[str, Change] = {
    "no rows": lambda t: t.head(0),
    "one row": lambda t: t.head(1),
    "two rows": lambda t: t.head(2),
    "twelve rows": lambda t: t.head(12),
    "all null": _all_null,
    "null features": lambda t: _features(t, pl.lit(None, dtype=pl.Float64)),
    "constant features": lambda t: _features(t, pl.lit(7.0)),
    "infinite features": lambda t: _features(t, pl.lit(math.inf)),
    "some infinite": lambda t: t.with_columns(
        age=pl.when(pl.col("place") == 1).then(-math.inf).otherwise(pl.col("age"))
    ),
    "nan features": lambda t: _features(t, pl.lit(math.nan)),
    "enormous features": lambda t: t.with_columns(age=pl.when(pl.col("place") > 2).then(1.7e308).otherwise(-1.7e308)),
    "one class": lambda t: t.with_columns(y=pl.lit(1)),
    "no outcomes": lambda t: t.with_columns(y=pl.lit(None, dtype=pl.Int64)),
    "one unit": lambda t: t.with_columns(user=pl.lit(1)),
    "constant score": lambda t: t.with_columns(p=pl.lit(0.5)),
    "extreme scores": lambda t: t.with_columns(p=pl.col("y").cast(pl.Float64)),
    "far times": lambda t: t.with_columns(ts=pl.datetime(9999, 12, 31)),
    "wide text": lambda t: t.with_columns(country=pl.lit("é\u202e😀<b>'\";--\x00" * 50)),
    "text of its own": lambda t: t.with_columns(country=pl.col("request").cast(pl.String)),
    "only roles": lambda t: t.select([c for c in ROLES.values() if c in t.columns]),
    "another type": lambda t: t.with_columns(age=pl.col("age").cast(pl.String)),
}
SMALL = launched(240)


def judge(question: str, before: Any, now: Any, **more: Any) -> Review | str:
    """A review that holds together, or one sentence on why there is none; anything else is a fault."""
    try:
        found = review(question, before, now, predict=model, **more)
    except al.InputError as error:
        text = str(error)
        assert "\n" not in text
        assert text.endswith((".", "?")), text
        assert len(text) < 500, text
        return text
    assert Review.from_json(found.to_json()) == found
    assert not re.search(r"\bnan\b|Infinity", found.to_json())
    for f in found:
        assert f.sentence
        assert (f.verdict is Verdict.UNDECIDED) == (f.reason is not None), f.id
    return found


def poor_tables(poor: str, which: str) -> tuple[pl.DataFrame, pl.DataFrame]:
    before, now = SMALL
    return (
        POOR[poor](before) if which in {"reference", "both"} else before,
        POOR[poor](now) if which in {"production", "both"} else now,
    )


@functools.cache
def all_at_once(question: str, poor: str, which: str) -> bool:
    """Whether all checks together get through; if not, each is tried alone to see whose fault it is."""
    try:
        judge(question, *poor_tables(poor, which))
    except Exception:
        return False
    return True


SHAPES = ("no rows", "one row", "two rows", "twelve rows", "all null", "only roles", "another type", "one unit")
"""Of the poor tables those that are tried as the reference alone too."""


@pytest.mark.parametrize(
    ("poor", "which"),
    [
        (poor, which)
        for poor in POOR
        for which in (("reference", "production", "both") if poor in SHAPES else ("production", "both"))
    ],
)
@ASKED
def test_poor_tables_give_a_review_or_a_sentence(
    question: str, check: str, which: str, poor: str, alone: Callable[[str, str], None]
) -> None:
    if not all_at_once(question, poor, which):
        alone(question, check)
        judge(question, *poor_tables(poor, which))


@pytest.mark.parametrize("poor", ["no rows", "one row", "all null"])
@EVERY
def test_nothing_to_go_by_is_never_a_pass(check: str, poor: str, alone: Callable[[str, str], None]) -> None:
    """Missing evidence is undecided (or an alarm about what is missing), not `ok`."""
    question = story_of(check)
    alone(question, check)
    before, now = (POOR[poor](t) for t in SMALL)
    found = judge(question, before, now)
    if isinstance(found, Review):
        assert found.verdict is not Verdict.OK
        passed = {f.id for f in found if f.verdict is Verdict.OK and f.n == 0}
        assert passed == set()


@pytest.mark.parametrize("question", TWO_TABLES)
def test_two_columns_of_one_name_are_refused(question: str) -> None:
    frame = launched(50)[0].to_pandas()
    twice = pd.concat([frame, frame[["age"]]], axis=1)
    assert judge(question, twice, frame) == "The reference table has two columns 'age'; rename one of them."
    assert judge(question, frame, twice) == "The production table has two columns 'age'; rename one of them."


@pytest.mark.parametrize("question", TWO_TABLES)
def test_a_table_of_very_many_columns_is_reviewed(question: str) -> None:
    rng = np.random.default_rng(1)
    names = [f"c{i}" for i in range(200)]
    times = pl.Series("ts", [dt.datetime(2026, 1, 1 + i) for i in range(12)])  # noqa: DTZ001
    before, now = (pl.DataFrame(rng.normal(size=(12, 200)), schema=names).with_columns(times) for _ in range(2))
    found = review(question, before, now, roles={"time": "ts"})
    assert {f.subject for f in found if f.check == "drift"} == set(names)
    assert found.verdict is not Verdict.ALARM


# ------------------------------------------------------------------ pages


def pages() -> Iterator[str]:
    for path in sorted((ROOT / "docs").glob("*.md")):
        yield path.read_text(encoding="utf-8")


@EVERY
def test_the_pages_tell_of_the_check_and_all_its_effects(check: str) -> None:
    text = "\n".join(pages())
    assert re.search(rf"^#+ .*\b{check}\b", text, re.MULTILINE), f"no page has a section on {check}"
    for kind in CHECKS[check].kinds:
        assert f"`{check}/{kind.key}`" in text, f"no page tells of {check}/{kind.key}"
