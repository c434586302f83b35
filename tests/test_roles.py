"""Roles of columns, and guessing them."""

from __future__ import annotations

import datetime as dt
from typing import Any

import polars as pl
import pytest

from afterlaunch.decide import InputError
from afterlaunch.roles import Roles
from afterlaunch.roles_guess import guess_roles, roles_from
from afterlaunch.tables import open_table

N = 60
TIMES = [dt.datetime(2026, 1, 1, tzinfo=dt.UTC) + dt.timedelta(hours=i) for i in range(N)]
UNIQUE = list(range(N))
BITS = [i % 2 for i in range(N)]
SHARES = [i / N for i in range(N)]
WORDS = [f"red shoes {i}" for i in range(N)]
FEW = ["a", "b", "c"] * (N // 3)

# (column, its values) -> role
ALONE: list[tuple[str, list[Any], str]] = [
    ("y", BITS, "outcome"),
    ("target", SHARES, "outcome"),
    ("clicked", [i == 3 for i in range(N)], "outcome"),
    ("Converted", ["yes", "no"] * (N // 2), "outcome"),
    ("label", FEW, "outcome"),
    ("label", WORDS, "feature"),
    ("default", ["yes", "no"] * (N // 2), "feature"),
    ("p_click", SHARES, "score"),
    ("y_pred_proba", SHARES, "score"),
    ("score", SHARES, "score"),
    ("credit_score", [300 + i for i in UNIQUE], "feature"),
    ("score", [300.0 + i for i in UNIQUE], "feature"),
    ("y_pred", BITS, "prediction"),
    ("id", UNIQUE, "id"),
    ("requestId", [f"r{i}" for i in UNIQUE], "id"),
    ("id", BITS, "feature"),
    ("id", [i + 0.5 for i in UNIQUE], "feature"),
    ("user_id", BITS, "unit"),
    ("session_id", [f"s{i}" for i in BITS], "unit"),
    ("ts", TIMES, "time"),
    ("whenever", TIMES, "time"),
    ("timestamp", [t.isoformat() for t in TIMES], "time"),
    ("timestamp", FEW, "feature"),
    ("rank", UNIQUE, "position"),
    ("rank", SHARES, "feature"),
    ("latency_ms", SHARES, "latency_ms"),
    ("latency_ms", [-1.0 for _ in UNIQUE], "feature"),
    ("model_version", FEW, "version"),
    ("model", [f"m{i}" for i in UNIQUE], "feature"),
    ("query", WORDS, "text"),
    ("query", FEW, "feature"),
    ("propensity", SHARES, "propensity"),
    ("item_id", BITS, "item"),
    ("query_id", BITS, "list"),
    ("query_id", UNIQUE, "feature"),
    ("error", BITS, "error"),
    ("error", UNIQUE, "feature"),
    ("weight", SHARES, "feature"),
    ("sample_weight", SHARES, "weight"),
    ("query_embedding", [[0.1, 0.2]] * N, "embedding"),
    ("Unnamed: 0", UNIQUE, "ignore"),
    ("", UNIQUE, "ignore"),
    ("age", UNIQUE, "feature"),
    ("bucket", BITS, "feature"),
    ("category", FEW, "feature"),
    ("y", [None] * N, "feature"),
]


@pytest.mark.parametrize(("column", "values", "role"), ALONE, ids=[f"{c}-{r}-{i}" for i, (c, _, r) in enumerate(ALONE)])
def test_a_guess(column: str, values: list[Any], role: str) -> None:
    (guess,) = guess_roles(open_table(pl.DataFrame({column: values}), name="log"))
    assert guess.role == role, guess.reason
    assert guess.reason
    assert "\n" not in guess.reason


def guesses(**columns: list[Any]) -> dict[str, str]:
    return {g.column: g.role for g in guess_roles(open_table(pl.DataFrame(columns), name="log"))}


def test_no_role_is_given_twice() -> None:
    assert guesses(y=BITS, clicked=BITS, label=FEW) == {"y": "feature", "clicked": "feature", "label": "outcome"}
    assert guesses(user_id=BITS, session_id=BITS) == {"user_id": "unit", "session_id": "feature"}
    assert guesses(ts=TIMES, date=TIMES) == {"ts": "time", "date": "feature"}


def test_equally_likely_columns_are_all_features_with_the_reason() -> None:
    table = open_table(pl.DataFrame({"p_red": SHARES, "p_blue": SHARES}), name="log")
    found = guess_roles(table)
    assert [g.role for g in found] == ["feature", "feature"]
    assert {g.reason for g in found} == {"several columns could be the score"}


def test_outcome_time_is_not_the_time() -> None:
    assert guesses(ts=TIMES, outcome_time=TIMES) == {"ts": "time", "outcome_time": "outcome_time"}


def test_columns_of_several_tables_are_guessed_once() -> None:
    log = open_table(pl.DataFrame({"id": UNIQUE, "p": SHARES}), name="production")
    outcomes = open_table(pl.DataFrame({"id": UNIQUE, "y": BITS}), name="outcomes")
    found = guess_roles([log, outcomes])
    assert [(g.column, g.role) for g in found] == [("id", "id"), ("p", "score"), ("y", "outcome")]
    assert roles_from(found) == Roles(id="id", score="p", outcome="y")


def test_empty_and_wide_tables_are_guessed() -> None:
    assert guesses(id=[], y=[]) == {"id": "feature", "y": "feature"}
    assert set(guesses(**{f"c{i}": [1.0] for i in range(2000)}).values()) == {"feature"}


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: Roles(id="a", time="a"), ["'a'", "'id'", "'time'"]),
        (lambda: Roles(scores={"x": "a"}, score="a"), ["'a'", "scores.x"]),
        (lambda: Roles(id=""), ["'id'", "name of a column"]),
        (lambda: Roles(id=3), ["'id'", "3"]),  # type: ignore[arg-type]
        (lambda: Roles.from_mapping({"idd": "a"}), ["'idd'", "the roles are"]),
        (lambda: Roles.from_mapping({"scores": "a"}), ["'scores'", "table"]),
        (lambda: Roles.parse(["time"]), ["'time'", "ROLE=COLUMN"]),
        (lambda: Roles.parse(["=a"]), ["'=a'"]),
    ],
)
def test_wrong_roles_are_one_sentence(make: Any, words: list[str]) -> None:
    with pytest.raises(InputError) as caught:
        make()
    assert "\n" not in str(caught.value)
    for word in words:
        assert word in str(caught.value)


def test_roles_come_back_from_words_and_plain_data() -> None:
    roles = Roles.parse(["outcome=y", "scores.red=p=r", "features=a,b", "ignore=z", "positive=1"])
    assert roles.scores == {"red": "p=r"}
    assert roles.features_of(["b", "x", "a"]) == ("b", "a")
    assert Roles.from_mapping(roles.to_dict()) == roles
    assert Roles.parse(["outcome=w"], roles).outcome == "w"
    assert Roles(ignore=("z",)).features_of(["z", "a"]) == ("a",)
    assert Roles(ignore=("z",)).of("z") == "ignored"
