"""Drift followed over windows, on real data and on made logs."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

import numpy as np
import polars as pl
import pytest

import afterlaunch as al
from afterlaunch.decide import InputError
from afterlaunch.demo.calls import load_calls
from afterlaunch.finding import Finding, Review, Verdict
from tests.conftest import REAL_DATA

WEEKDAYS = (0.0, 0.0, 0.0, 0.0, 0.1, 0.4, 0.5)
START = datetime(2026, 1, 5)  # noqa: DTZ001 (a Monday)


def log(
    days: int, *, first: int = 0, seed: int = 0, rows: int = 300, shift: float = 0.0, since: int = 0
) -> pl.DataFrame:
    """A log with a weekly pattern and days that differ; from day `since` on the column `a` is shifted."""
    rng = np.random.default_rng(seed)
    parts = []
    for day in range(first, first + days):
        at = START + timedelta(days=day)
        n = rng.poisson(rows)
        level = WEEKDAYS[day % 7] + rng.normal(0, 0.05) + (shift if day >= first + since else 0.0)
        seconds = np.sort(rng.uniform(0, 86_400, n))
        parts.append(
            pl.DataFrame(
                {
                    "ts": [at + timedelta(seconds=s) for s in seconds],
                    "a": rng.normal(level, 1.0, n),
                    "b": rng.exponential(1.0, n),
                    "c": rng.choice(["x", "y", "z"], n, p=[0.6, 0.3, 0.1]),
                }
            )
        )
    return pl.concat(parts)


def alarms(review: Review, *, primary: bool | None = None) -> list[Finding]:
    """Alarms about single columns."""
    found = [f for f in review if f.check == "drift" and f.verdict is Verdict.ALARM]
    return [f for f in found if primary in {None, f.primary}]


def columns(review: Review) -> set[str]:
    return {f.subject for f in alarms(review)}


def test_a_quiet_log_with_weekends_and_unlike_days_raises_no_alarm() -> None:
    review = al.drift(log(56), log(60, first=56, seed=1), every="1d", roles={"time": "ts"})
    assert review.counts()[Verdict.ALARM] == 0
    figure = review.figures[0]
    assert figure["kind"] == "timeline"
    assert len(figure["windows"]) == 60
    assert {row["name"].split(" ")[0] for row in figure["rows"]} >= {"a", "b", "c"}


def test_a_shift_is_one_episode_with_the_day_on_which_it_began() -> None:
    now = log(60, first=56, seed=1, shift=0.6, since=30)
    review = al.drift(log(56), now, every="1d", roles={"time": "ts"})
    assert columns(review) == {"a"}
    lead = alarms(review, primary=True)
    assert len(lead) == 1
    begun = START + timedelta(days=56 + 30)
    assert lead[0].window is not None
    told = datetime.fromisoformat(lead[0].window.removeprefix("from "))
    assert abs((told - begun).days) <= 2
    assert f"Since {told:%Y-%m-%d}" in lead[0].sentence
    assert len({f.id for f in review}) == len(review.findings)


def test_an_episode_that_is_over_informs_and_the_review_does_not_alarm() -> None:
    before, after = log(20, first=56, seed=1, shift=1.0), log(30, first=76, seed=2)
    review = al.drift(log(56), pl.concat([before, after]), every="1d", roles={"time": "ts"})
    over = [f for f in alarms(review) if f.subject == "a"]
    assert over
    assert all(not f.primary and " to 2026-" in f.sentence for f in over)
    assert review.verdict is not Verdict.ALARM


def test_the_budget_is_told_and_a_smaller_one_makes_intervals_wider() -> None:
    tables = (log(35), log(30, first=35, seed=1))
    found = [
        al.drift(*tables, every="1d", alarm_budget=budget, roles={"time": "ts"}) for budget in ("1/month", "1/year")
    ]
    assert [r.settings["alarm_budget"]["days"] for r in found] == [30.0, 365.0]
    each = [[f.alpha_each for f in r if f.check == "drift"] for r in found]
    assert all(b < a for a, b in zip(*each, strict=True))


def test_without_a_history_it_says_what_is_not_known() -> None:
    review = al.drift(log(56).drop("ts"), log(10, first=56), every="1d", roles={"time": "ts"})
    assert any("no history of windows" in note for note in review.notes)


def test_windows_of_rows_need_no_time() -> None:
    before, now = log(40).drop("ts"), log(40, first=42, seed=3, shift=0.8, since=20).drop("ts")
    review = al.drift(before, now, every="1000 rows")
    assert "a" in columns(review)
    assert review.figures[0]["windows"][0] == "rows 0 to 999"


def test_a_segment_is_followed_by_itself() -> None:
    before, now = log(56, rows=400), log(40, first=56, seed=1, rows=400)
    moved = pl.when((pl.col("c") == "y") & (pl.col("ts") >= START + timedelta(days=70))).then(1.2).otherwise(0.0)
    now = now.with_columns(pl.col("a") + moved)
    review = al.drift(before, now, every="1d", roles={"time": "ts", "segment": "c"})
    found = {f.segment for f in alarms(review) if f.subject == "a"}
    assert "y" in found
    assert "x" not in found


@pytest.mark.parametrize(
    ("more", "words"),
    [
        ({"every": "1 fortnight"}, "no length of a window"),
        ({"every": "1d", "alarm_budget": "often"}, "alarm budget"),
        ({"every": "1d", "alarm_budget": "0/month"}, "alarm budget"),
        ({"every": "1d", "domain": "perhaps"}, "screen, always or never"),
        ({"every": "1d", "roles": {"ignore": ["ts"]}}, "role 'time'"),
    ],
)
def test_bad_options_are_refused_in_a_sentence(more: dict[str, Any], words: str) -> None:
    with pytest.raises(InputError, match=words):
        al.drift(log(3), log(3), **{"roles": {"time": "ts"}, **more})


# ------------------------------------------------------------------ real data


@pytest.mark.real_data("car_loan_quality")
def test_car_loan_quality_faults_open_once_each_where_they_begin() -> None:
    folder = REAL_DATA / "car_loan_quality"
    roles = {"time": "timestamp", "id": "id", "outcome": "repaid", "score": "y_pred_proba", "prediction": "y_pred"}
    review = al.drift(folder / "dq_reference.parquet", folder / "dq_analysis.parquet", every="1d", roles=roles)
    for key in ("drift/missing@salary_range", "drift/missing@driver_tenure", "drift/new@size_of_downpayment"):
        found = [f for f in alarms(review) if f.margin_key == key]
        assert len(found) == 1
        assert found[0].window in {"from 2019-03-31", "from 2019-04-01"}


@pytest.mark.real_data("car_loan")
def test_car_loan_shift_leads_and_what_stayed_is_quiet() -> None:
    folder = REAL_DATA / "car_loan"
    roles = {"time": "timestamp", "id": "id", "outcome": "repaid", "score": "y_pred_proba", "prediction": "y_pred"}
    review = al.drift(folder / "reference.parquet", folder / "analysis.parquet", every="1d", roles=roles)
    first = next(f for f in review if f.check == "drift")
    assert (first.subject, first.window) == ("car_value", "from 2019-03-31")
    assert not columns(review) & {"debt_to_income_ratio", "driver_tenure", "size_of_downpayment"}


def test_the_crisis_is_one_story_of_the_bank() -> None:
    calls = load_calls()
    live = datetime(2008, 8, 1)  # noqa: DTZ001
    roles = {"id": "call_id", "time": "called_at", "outcome": "subscribed"}
    review = al.drift(
        calls.filter(pl.col("called_at") < live),
        calls.filter(pl.col("called_at") >= live).drop("subscribed"),
        every="1w",
        roles=roles,
    )
    lead = review.findings[0]
    assert lead.primary
    assert "It is one story with" in lead.sentence
    assert sum("one story" in f.sentence for f in review) <= 2
    euribor = [f for f in alarms(review) if f.subject == "euribor3m" and f.primary]
    assert len(euribor) == 1
    assert "2008-W4" in str(euribor[0].window)
