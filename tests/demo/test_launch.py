"""The first chapter: the numbers of its review, against scikit-learn's."""

from __future__ import annotations

import polars as pl
import pytest
from sklearn.metrics import log_loss, roc_auc_score

from afterlaunch.demo import story
from afterlaunch.demo.chapter import Told
from afterlaunch.demo.launch import LENGTH, Launched, put_live, tell
from afterlaunch.finding import Finding, Verdict


@pytest.fixture(scope="module")
def live() -> Launched:
    return put_live(story.begin())


@pytest.fixture(scope="module")
def told() -> Told:
    """Trained anew, so that what agrees with `live` shows that training is repeatable too."""
    return tell(story.begin(), lambda _: None)


def found(told: Told, name: str) -> Finding:
    (finding,) = [f for f in told.review if f.id == name]
    return finding


def test_every_call_before_the_launch_is_learnt_from_or_tested_on(live: Launched) -> None:
    ids = pl.concat([live.learnt["call_id"], live.offline["call_id"]]).sort()
    assert ids.to_list() == list(range(1, ids.len() + 1))
    assert live.log["call_id"].min() == ids.len() + 1
    assert live.log["called_at"].dt.year().unique().to_list() == [2008]


def test_the_log_has_what_was_known_before_the_call(live: Launched) -> None:
    assert set(live.offline.columns) - set(live.log.columns) == {LENGTH, "subscribed"}
    assert live.outcomes["call_id"].to_list() == live.log["call_id"].to_list()


def test_the_model_scores_a_missing_column_as_missing_values(live: Launched) -> None:
    rows = live.offline.head(50)
    empty = live.model.score(rows.with_columns(pl.lit(None, dtype=pl.Int64).alias(LENGTH)))
    assert live.model.score(rows.drop(LENGTH)).tolist() == empty.tolist()
    assert live.model.score(rows).tolist() == rows["score"].to_list()
    assert live.model.score(rows).tolist() != empty.tolist()


def test_the_model_scores_words_it_never_saw(live: Launched) -> None:
    rows = live.log.head(20).with_columns(pl.lit("astronaut").alias("job"))
    assert live.model.score(rows).shape == (20,)


def test_the_gap_is_that_of_the_scores(live: Launched, told: Told) -> None:
    offline, log = live.offline, live.log.join(live.outcomes, on="call_id", validate="1:1")
    sides = [(t["subscribed"] == "yes", t["score"]) for t in (offline, log)]
    auc = [roc_auc_score(*side) for side in sides]
    loss = [log_loss(*side) for side in sides]
    measured = found(told, "metric/auc"), found(told, "metric/log_loss")
    assert [f.verdict for f in measured] == [Verdict.ALARM] * 2
    assert measured[0].effect is not None
    assert measured[0].effect.value == pytest.approx(auc[1] - auc[0], abs=0.003)
    assert measured[1].effect is not None
    assert measured[1].effect.value == pytest.approx(loss[1] / loss[0] - 1, rel=1e-6)


def test_the_first_cause_is_the_column_that_production_lacks(told: Told) -> None:
    causes = [f for f in told.review if f.check != "metric"]
    assert causes[0].id == f"availability/missing@{LENGTH}"
    assert causes[0].verdict is Verdict.ALARM
    assert causes[0] in told.review.worst(3)
    unavailable = {f.subject for f in told.review if f.check == "availability" and f.verdict is Verdict.ALARM}
    assert unavailable == {LENGTH}


def test_re_scoring_sizes_what_the_missing_column_explains(live: Launched, told: Told) -> None:
    outcome = live.offline["subscribed"] == "yes"
    with_it, without = live.offline["score"], live.model.score(live.offline.drop(LENGTH))
    rescored = [f for f in told.review if f.check == "rescore" and f.verdict is Verdict.ALARM]
    assert {f.subject for f in rescored} == {LENGTH}
    assert told.reason is rescored[0]
    assert told.reason.effect is not None
    drop = roc_auc_score(outcome, with_it) - roc_auc_score(outcome, without)
    assert told.reason.effect.value == pytest.approx(drop, abs=0.003)
    gap = found(told, "metric/auc").effect
    assert gap is not None
    assert told.reason.effect.value == pytest.approx(-gap.value, rel=0.1)


def test_no_other_column_is_called_a_leak(told: Told) -> None:
    leaks = [f for f in told.review if f.check == "leakage"]
    assert {f.subject for f in leaks if f.verdict is Verdict.ALARM} == {LENGTH}
    assert {f.subject for f in leaks if f.verdict is Verdict.UNDECIDED and f.primary} <= {LENGTH}


@pytest.mark.parametrize("column", ["euribor3m", "nr.employed", "emp.var.rate", "cons.price.idx", "cons.conf.idx"])
def test_what_follows_time_drifts_and_is_no_leak(told: Told, column: str) -> None:
    mine = [f for f in told.review if f.subject == column]
    assert Verdict.ALARM in {f.verdict for f in mine if f.check == "drift"}
    assert {f.verdict for f in mine if f.check == "leakage"} == {Verdict.OK}
    assert not any(f.primary for f in mine if f.check == "drift")
    assert "is no leak" in found(told, f"leakage/follows_time@{column}").sentence


def test_the_report_says_what_was_done_and_whose_data_they_are(told: Told) -> None:
    notes = " ".join(told.review.notes)
    assert all(words in notes for words in told.words[:-1])
    assert "CC BY 4.0" in notes
    assert "8,868 clients" in notes
