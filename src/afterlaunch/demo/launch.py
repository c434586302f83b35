"""Chapter 1: a model that learnt from the length of calls is launched to say whom to call."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime

import numpy as np
import polars as pl

from afterlaunch.demo.calls import SOURCE
from afterlaunch.demo.chapter import Chapter, Context, Progress, Told
from afterlaunch.demo.model import SEED, Model, train
from afterlaunch.finding import Verdict
from afterlaunch.questions.launch import launch
from afterlaunch.roles import Roles

LIVE = datetime(2008, 8, 1)  # noqa: DTZ001 (the bank's own clock; the data name no zone)
ENDS = datetime(2009, 1, 1)  # noqa: DTZ001
TESTED = 0.4
"""Share of the calls before the launch on which the model is tested offline."""

LENGTH = "duration"
"""How long a call took, in seconds: known when it is over."""

ROLES = Roles(id="call_id", time="called_at", score="score", outcome="subscribed", positive="yes")


@dataclass(frozen=True)
class Launched:
    """A launch: the model and the tables that people have of it.

    Attributes:
        model: The model that went live.
        learnt: Calls that it was trained on.
        offline: Calls of the same months that it was tested on, with its scores.
        log: Calls since, with its scores and what was known when it gave them.
        outcomes: How the calls of the log ended.
    """

    model: Model
    learnt: pl.DataFrame
    offline: pl.DataFrame
    log: pl.DataFrame
    outcomes: pl.DataFrame


def split(context: Context) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Calls before the launch: those to learn from, and those drawn at random for the offline test."""
    before = context.calls.filter(pl.col("called_at") < LIVE)
    held_out = np.random.default_rng(SEED).permutation(before.height) < round(TESTED * before.height)
    return before.filter(~held_out), before.filter(held_out)


def put_live(context: Context) -> Launched:
    """Train on calls before the launch, test on others of them, then score the calls that follow."""
    learnt, offline = split(context)
    after = context.calls.filter(pl.col("called_at").is_between(LIVE, ENDS, closed="left"))
    model = train(learnt, ROLES.features_of(learnt.columns), outcome="subscribed", positive="yes")
    # Before a call nobody knows how long it will be, nor how it ends: the log has neither column.
    log = after.drop(LENGTH, "subscribed")
    return Launched(
        model,
        learnt,
        offline.with_columns(score=model.score(offline)),
        log.with_columns(score=model.score(log)),
        after.select("call_id", "subscribed"),
    )


def tell(context: Context, progress: Progress) -> Told:
    """Launch the model, and ask whether it is as good as its offline test said."""
    progress("training the bank's model")
    live = put_live(context)
    review = launch(
        live.offline, live.log, outcomes=live.outcomes, roles=ROLES, predict=live.model.score, progress=progress
    )
    done = (
        f"{_months(live.learnt)}: the bank trains a gradient-boosted model on {live.learnt.height:,} calls, to tell "
        f"from {len(live.model.features)} columns who will subscribe. One of them, {LENGTH!r}, is how long the call "
        f"took. Another {live.offline.height:,} calls, drawn at random, are held out for the offline test.",
        f"{_months(live.log)}: the model is live and scores {live.log.height:,} clients before the phone rings, when "
        f"no call has a length yet, so the log has no {LENGTH!r}. The bank calls them all, and the outcomes are joined "
        "to the log by 'call_id'.",
    )
    asked = "The question: is the model as good in production as the offline test said, and if not, why?"
    reason = next((f for f in review if f.check == "rescore" and f.verdict is Verdict.ALARM), None)
    return Told((*done, asked), replace(review, notes=(*done, SOURCE, *review.notes)), reason)


def _months(calls: pl.DataFrame) -> str:
    """The months from the first call to the last, in words."""
    months = calls["called_at"].dt.strftime("%B %Y")
    return f"{months[0]} to {months[-1]}"


CHAPTER = Chapter("launch", "The launch", tell)
"""The chapter, for the story."""
