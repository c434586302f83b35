"""The data of the demo: what is shipped, and the time that is derived from it."""

from __future__ import annotations

from itertools import pairwise

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from afterlaunch.demo.calls import DATA, MONTHS, SOURCE, call_times, load_calls, raw_calls


@pytest.fixture(scope="module")
def calls() -> pl.DataFrame:
    return load_calls()


def test_the_table_is_the_published_one() -> None:
    raw = raw_calls()
    assert raw.shape == (41_188, 21)
    assert raw.columns[0] == "age"
    assert raw.columns[-1] == "y"
    assert {"duration", "month", "euribor3m", "nr.employed"} <= set(raw.columns)
    # Moro, Cortez and Rita report 4,640 successes, and no missing values but the word "unknown".
    assert raw["y"].value_counts().sort("y").rows() == [("no", 36_548), ("yes", 4_640)]
    assert raw.null_count().row(0) == (0,) * 21
    # The authors: "if duration=0 then y=no".
    assert set(raw.filter(pl.col("duration") == 0)["y"]) == {"no"}


def test_the_licence_is_beside_the_table() -> None:
    notice = DATA.joinpath("NOTICE").read_text(encoding="utf-8")
    for words in (
        "CC BY 4.0",
        "Moro",
        "Cortez",
        "Rita",
        "2014",
        "data set 222",
        "10.1016/j.dss.2014.03.001",
        "Changes:",
    ):
        assert words in notice
    named = {line.strip() for line in notice.splitlines() if line.endswith(".parquet")}
    assert named == {path.name for path in DATA.iterdir() if path.name != "NOTICE"}
    assert "CC BY 4.0" in SOURCE


def test_every_call_has_a_time_of_its_own(calls: pl.DataFrame) -> None:
    at = calls["called_at"]
    assert at.is_sorted()
    assert at.n_unique() == calls.height
    assert (at[0].year, at[0].month, at[0].day) == (2008, 5, 1)
    assert (at[-1].year, at[-1].month, at[-1].day) == (2010, 11, 30)
    assert calls["call_id"].to_list() == list(range(1, calls.height + 1))


def test_the_months_are_the_published_ones(calls: pl.DataFrame) -> None:
    published = pl.Series([MONTHS.index(m) + 1 for m in raw_calls()["month"]])
    assert (calls["called_at"].dt.month() == published).all()
    counts = calls.group_by(calls["called_at"].dt.year().alias("year"), maintain_order=True).len()
    assert counts.rows() == [(2008, 27_690), (2009, 11_440), (2010, 2_058)]


def test_the_times_agree_with_what_else_is_known_of_those_months(calls: pl.DataFrame) -> None:
    # The three-month Euribor: around 5 % until the crisis of October 2008, below 1 % from August 2009 on.
    rate = dict(calls.group_by(calls["called_at"].dt.strftime("%Y-%m")).agg(pl.col("euribor3m").mean()).rows())
    assert rate["2008-08"] > 4.9
    assert rate["2008-12"] < 4
    assert rate["2009-03"] < 2
    assert max(rate[month] for month in ("2009-08", "2009-12", "2010-03")) < 1


def test_the_outcome_is_never_a_feature_twice(calls: pl.DataFrame) -> None:
    assert "y" not in calls.columns
    assert "month" not in calls.columns
    assert calls["subscribed"].to_list() == raw_calls()["y"].to_list()


@given(st.lists(st.tuples(st.sampled_from(MONTHS), st.integers(1, 5)), min_size=1, max_size=40))
def test_times_follow_any_order_of_months(runs: list[tuple[str, int]]) -> None:
    months = [month for month, rows in runs for _ in range(rows)]
    times = call_times(months, first_year=2000)
    assert [MONTHS[t.month - 1] for t in times] == months
    assert times.is_sorted()
    assert times.n_unique() == len(months)
    steps_back = sum(MONTHS.index(b) < MONTHS.index(a) for a, b in pairwise(months))
    assert times[-1].year - times[0].year == steps_back


def test_no_calls_have_no_times() -> None:
    assert call_times([]).to_list() == []


def test_a_word_that_is_no_month_is_refused() -> None:
    with pytest.raises(ValueError, match="'mai' is no month"):
        call_times(["may", "mai"])
