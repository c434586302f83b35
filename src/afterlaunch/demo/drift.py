"""Chapter 3: the model is mended and watched week by week, through the financial crisis."""

from __future__ import annotations

from dataclasses import replace

import polars as pl

from afterlaunch.demo.calls import SOURCE
from afterlaunch.demo.chapter import Chapter, Context, Progress, Told
from afterlaunch.demo.launch import LENGTH, LIVE, ROLES, split
from afterlaunch.demo.model import train
from afterlaunch.questions.drift import drift

EVERY = "1w"
BUDGET = "1/month"


def tell(context: Context, progress: Progress) -> Told:
    """Train the model again without the column that gave it away, and follow it until the log ends."""
    learnt, offline = split(context)
    features = [c for c in ROLES.features_of(learnt.columns) if c != LENGTH]
    progress("training the mended model")
    model = train(learnt, features, outcome="subscribed", positive="yes")
    live = context.calls.filter(pl.col("called_at") >= LIVE)
    log = live.drop(LENGTH, "subscribed")
    reference = offline.drop(LENGTH).with_columns(score=model.score(offline))
    review = drift(
        reference,
        log.with_columns(score=model.score(log)),
        outcomes=live.select("call_id", "subscribed"),
        roles=ROLES,
        every=EVERY,
        alarm_budget=BUDGET,
        progress=progress,
    )
    weeks = len(review.figures[0]["windows"]) if review.figures else 0
    words = (
        f"The bank trains the model again, without {LENGTH!r}, and watches it for {weeks} weeks, until November 2010. "
        f"The {reference.height:,} calls of its offline test say how much weeks differ in normal times.",
        "The question: have the clients changed, since when, and is the model still good? "
        "At most one false episode a month is allowed over all columns together.",
    )
    return Told(words, replace(review, notes=(*words, SOURCE, *review.notes)))


CHAPTER = Chapter("drift", "The crisis", tell)
"""The chapter, for the story."""
