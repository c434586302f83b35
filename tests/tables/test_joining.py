"""Outcomes join by id on every pair of engines, with the same result."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable
from typing import Any

import duckdb
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from afterlaunch.roles import Roles
from afterlaunch.tables import fetch, join_outcomes, open_table, sample

START = dt.datetime(2026, 1, 1, tzinfo=dt.UTC)
LOG = pl.DataFrame(
    {
        "id": [5, 3, None, 1, 9],
        "p": [0.5, 0.3, 0.2, 0.1, 0.9],
        "t": [START + dt.timedelta(hours=i) for i in range(5)],
    }
)
OUTCOMES = pl.DataFrame(
    {
        "id": [1, 5, None, None, 77],
        "y": [True, False, True, True, True],
        "when": [START + dt.timedelta(hours=h) for h in (4, 10, 0, 0, 0)],
        "other": [1, 2, 3, 4, 5],
        "w": [1.0, 2.0, 3.0, 4.0, 5.0],
    }
)
ROLES = Roles(id="id", score="p", time="t", outcome="y", outcome_time="when", weight="w")

HANDS: dict[str, Callable[[pl.DataFrame], Any]] = {
    "polars": lambda f: f,
    "pandas": lambda f: f.to_pandas(),
    "pyarrow": lambda f: f.to_arrow(),
    "duckdb": lambda f: duckdb.connect().from_arrow(f.to_arrow()),
    "duckdb default": lambda f: duckdb.from_arrow(f.to_arrow()),
}


@pytest.mark.parametrize("left", HANDS)
@pytest.mark.parametrize("right", HANDS)
def test_the_same_join_between_all_engines(left: str, right: str) -> None:
    log = open_table(HANDS[left](LOG), name="production")
    outcomes = open_table(HANDS[right](OUTCOMES), name="outcomes")
    joined, info = join_outcomes(log, outcomes, ROLES)
    assert joined.columns == ("id", "p", "t", "y", "when", "w")
    assert (joined.name, joined.engine, joined.kinds["y"]) == ("production", log.engine, "category")
    got = fetch(joined.frame, joined)
    assert got["p"].to_list() == LOG["p"].to_list()
    assert got["y"].to_list() == ["false", None, None, "true", None]
    assert got["w"].to_list() == [2.0, None, None, 1.0, None]
    assert (info.rows, info.matched, info.share) == (5, 2, 0.4)
    # Delays are 10 hours (id 5) and 1 hour (id 1).
    assert info.delay_seconds == pytest.approx({0.5: 5.5 * 3600, 0.9: 9.1 * 3600, 0.99: 9.91 * 3600})
    assert sample(joined, ["p"], 3, seed=1).equals(sample(log, ["p"], 3, seed=1))


def test_ids_of_different_number_types_match() -> None:
    types = (pl.Int32, pl.UInt8, pl.UInt64, pl.Int128, pl.Float64)
    for a in types:
        for b in types:
            log = open_table(pl.DataFrame({"id": pl.Series([1, 2, None], dtype=a)}), name="production")
            outcomes = open_table(pl.DataFrame({"id": pl.Series([2, None], dtype=b), "y": [1, 0]}), name="outcomes")
            joined, info = join_outcomes(log, outcomes, Roles(id="id", outcome="y"))
            assert (info.rows, info.matched) == (3, 1)
            assert fetch(joined.frame)["y"].to_list() == [None, 1, None]


def test_text_ids_and_odd_names() -> None:
    log = open_table(pl.DataFrame({'a "b"': ["x", "y"], "afterlaunch_key": [1, 2]}), name="production")
    outcomes = open_table(pl.DataFrame({'a "b"': ["y"], "it's": [0.5], "afterlaunch_hit": [3]}), name="outcomes")
    roles = Roles(id='a "b"', outcome="it's", weight="afterlaunch_hit")
    joined, info = join_outcomes(log, outcomes, roles)
    assert fetch(joined.frame).rows() == [("x", 1, None, None), ("y", 2, 0.5, 3)]
    assert info.matched == 1
    assert info.delay_seconds == {}


def test_tables_without_rows_join() -> None:
    log = open_table(LOG.head(0), name="production")
    joined, info = join_outcomes(log, open_table(OUTCOMES.head(0), name="outcomes"), ROLES)
    assert (joined.rows(), info.matched, info.share) == (0, 0, 0.0)


@settings(max_examples=25, deadline=None)
@given(st.sets(st.integers(-50, 50)), st.sets(st.integers(-50, 50)))
def test_every_prediction_stays_once(left: set[int], right: set[int]) -> None:
    log = pl.DataFrame({"id": list(left)}, schema={"id": pl.Int64})
    outcomes = pl.DataFrame({"id": list(right), "y": list(right)}, schema={"id": pl.Int64, "y": pl.Int64})
    joined, info = join_outcomes(
        open_table(log, name="production"), open_table(outcomes, name="outcomes"), Roles(id="id", outcome="y")
    )
    assert info.rows == len(left)
    assert info.matched == len(left & right)
    assert fetch(joined.frame).rows() == [(i, i if i in right else None) for i in log["id"]]
