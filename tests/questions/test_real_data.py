"""End to end on real tables whose truth is known; run where the data is (see tests/conftest.py)."""

from __future__ import annotations

import functools
from pathlib import Path

import polars as pl
import pytest

import afterlaunch as al
from afterlaunch.finding import Finding, Review, Verdict
from tests.conftest import REAL_DATA, absent

CAR_ROLES = {"id": "id", "outcome": "repaid", "score": "y_pred_proba", "prediction": "y_pred", "ignore": ["timestamp"]}
BREAK = 25_000
"""Row of the car loans from which on everything is different, by their publisher."""


def read(path: str) -> pl.DataFrame:
    return pl.read_parquet(REAL_DATA / path)


def alarms(review: Review, check: str) -> list[Finding]:
    return [f for f in review if f.check == check and f.verdict is Verdict.ALARM]


# ------------------------------------------------------------------ bank marketing


@pytest.mark.real_data("bank_marketing")
class TestBankMarketing:
    """Calls in time order: the first 20,000 as training data with `duration`, later ones as a log without it."""

    @staticmethod
    @functools.cache
    def review() -> Review:
        calls = read("bank_marketing/bank_additional_full.parquet")
        return al.launch(calls[:20_000], calls[20_000:].drop("duration"), roles={"outcome": "y"})

    def test_the_missing_feature_is_the_worst_finding(self) -> None:
        worst = self.review().findings[0]
        assert (worst.id, worst.verdict, worst.primary) == ("availability/missing@duration", Verdict.ALARM, True)
        assert self.review().verdict is Verdict.ALARM

    def test_the_leak_is_named_and_nothing_else_is_called_one(self) -> None:
        """`euribor3m`, `nr.employed` and the like follow time; they are strong and legitimate."""
        found = alarms(self.review(), "leakage")
        assert {f.subject for f in found} == {"duration"}

    def test_what_follows_time_is_drift(self) -> None:
        moved = {f.subject for f in alarms(self.review(), "drift")}
        assert moved >= {"euribor3m", "emp.var.rate", "nr.employed", "cons.price.idx"}
        assert not any(f.primary for f in alarms(self.review(), "drift"))

    def test_the_share_of_subscribers_rose(self) -> None:
        rate = next(f for f in self.review() if f.id == "metric/base_rate")
        assert rate.effect is not None
        assert rate.effect.low > 1


# ------------------------------------------------------------------ employment in Massachusetts


@pytest.mark.real_data("acs_employment_ma")
class TestEmployment:
    """A model of 2015 in 2016 to 2018: its AUC is .903, .902, .905, .906, so nothing is wrong with it."""

    @pytest.mark.parametrize("year", [2016, 2017, 2018, None])
    def test_nothing_degrades(self, year: int | None) -> None:
        log = read("acs_employment_ma/analysis.parquet")
        review = al.launch(
            read("acs_employment_ma/reference.parquet"),
            log if year is None else log.filter(pl.col("year") == year),
            outcomes=read("acs_employment_ma/analysis_target.parquet"),
            roles={
                "id": "id",
                "outcome": "employed",
                "score": "predicted_probability",
                "prediction": "prediction",
                "ignore": ["year"],
            },
            margins={"metric/auc": 0.01},
        )
        auc = next(f for f in review if f.id == "metric/auc")
        assert auc.verdict is Verdict.OK
        assert auc.effect is not None
        assert abs(auc.effect.value) < 0.004
        assert alarms(review, "metric") == []
        assert alarms(review, "leakage") == []
        assert review.verdict is not Verdict.ALARM
        assert review.rows["with_outcome"] == review.rows["production"]


# ------------------------------------------------------------------ car loans


def against(folder: str, prefix: str, *, before: bool) -> Review:
    log = read(f"{folder}/{prefix}analysis.parquet")
    rows = log[:BREAK] if before else log[BREAK:]
    return al.drift(read(f"{folder}/{prefix}reference.parquet"), rows, roles=CAR_ROLES)


@pytest.mark.real_data("car_loan")
class TestCarLoan:
    def test_before_the_break_nothing_drifts(self) -> None:
        assert against("car_loan", "", before=True).verdict is Verdict.OK

    def test_the_value_of_the_car_leads_the_shift(self) -> None:
        review = against("car_loan", "", before=False)
        assert review.verdict is Verdict.ALARM
        leading = [f.subject for f in review.findings[:4]]
        assert leading.count("car_value") >= 3
        assert leading[0] == "car_value"

    def test_the_launch_review_says_so_too(self) -> None:
        log = read("car_loan/analysis.parquet")[BREAK:]
        review = al.launch(
            read("car_loan/reference.parquet"), log, outcomes=read("car_loan/analysis_target.parquet"), roles=CAR_ROLES
        )
        assert alarms(review, "drift")[0].subject == "car_value"
        assert alarms(review, "leakage") == []
        auc = next(f for f in review if f.id == "metric/auc")
        assert auc.effect is not None
        assert -0.02 < auc.effect.value < 0


FAULTS = ("drift/missing@salary_range", "drift/missing@driver_tenure", "drift/new@size_of_downpayment")


@pytest.mark.real_data("car_loan_quality")
class TestCarLoanQuality:
    def test_before_the_break_no_fault_alarms(self) -> None:
        found = {f.id: f for f in against("car_loan_quality", "dq_", before=True)}
        assert [found[fault].verdict for fault in FAULTS] == [Verdict.OK] * 3

    def test_after_it_all_three_do(self) -> None:
        found = {f.id: f for f in against("car_loan_quality", "dq_", before=False)}
        assert [found[fault].verdict for fault in FAULTS] == [Verdict.ALARM] * 3
        assert "'50%'" in found[FAULTS[2]].sentence
        for fault in FAULTS[:2]:
            effect = found[fault].effect
            assert effect is not None
            assert effect.value == pytest.approx(0.12, abs=0.01)


# ------------------------------------------------------------------ where there is no data


def test_absent_folders_are_noticed(tmp_path: Path) -> None:
    (tmp_path / "there").mkdir()
    assert absent(["there", "not_there"], tmp_path) == ["not_there"]
    assert absent([], tmp_path) == []
