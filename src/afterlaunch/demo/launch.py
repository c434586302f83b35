"""Chapter 1: a model that learnt from the length of calls is launched to say whom to call."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime

import numpy as np
import polars as pl

from afterlaunch.demo.calls import SOURCE
from afterlaunch.demo.chapter import Chapter, Context, Progress, Told
from afterlaunch.demo.model import SEED, train
from afterlaunch.questions.launch import launch
from afterlaunch.roles import Roles

LAUNCHED = datetime(2008, 8, 1)  # noqa: DTZ001 (the bank's own clock; the data name no zone)
ENDS = datetime(2009, 1, 1)  # noqa: DTZ001
TESTED = 0.4
"""Share of the calls before the launch on which the model is tested offline."""

KNOWN_AFTER_THE_CALL = "duration"
ROLES = Roles(id="call_id", time="called_at", score="score", outcome="subscribed", positive="yes")


def tell(context: Context, progress: Progress) -> Told:
    """Train, test offline, launch, let the outcomes come back, and review the launch."""
    before = context.calls.filter(pl.col("called_at") < LAUNCHED)
    after = context.calls.filter(pl.col("called_at").is_between(LAUNCHED, ENDS, closed="left"))

    held_out = np.random.default_rng(SEED).permutation(before.height) < round(TESTED * before.height)
    learnt, offline = before.filter(~held_out), before.filter(held_out)
    features = ROLES.features_of(context.calls.columns)
    progress("training the bank's model")
    model = train(learnt, features, outcome="subscribed", positive="yes")
    offline = offline.with_columns(score=model.score(offline))

    # Before a call nobody knows how long it will be, nor how it ends: the log has neither column.
    log = after.drop(KNOWN_AFTER_THE_CALL, "subscribed")
    log = log.with_columns(score=model.score(log))
    outcomes = after.select("call_id", "subscribed")
    review = launch(offline, log, outcomes=outcomes, roles=ROLES, predict=model.score, progress=progress)

    done = (
        f"{_months(before)}: the bank trains a gradient-boosted model on {learnt.height:,} calls, to tell from "
        f"{len(features)} columns who will subscribe. One of them, {KNOWN_AFTER_THE_CALL!r}, is how long the call took. "
        f"Another {offline.height:,} calls, drawn at random, are held out for the offline test.",
        f"{_months(after)}: the model is live and scores {log.height:,} clients before the phone rings, when no call has "
        f"a {KNOWN_AFTER_THE_CALL} yet, so the log has no such column. The bank calls them all, and the outcomes are "
        f"joined to the log by 'call_id'.",
    )
    asked = "The question: is the model as good in production as the offline test said, and if not, why?"
    return Told((*done, asked), replace(review, notes=(*done, SOURCE, *review.notes)))


def _months(calls: pl.DataFrame) -> str:
    """The months from the first call to the last, in words."""
    months = calls["called_at"].dt.strftime("%B %Y")
    return f"{months[0]} to {months[-1]}"


CHAPTER = Chapter("launch", "The launch", tell)
"""The chapter, for the story."""
