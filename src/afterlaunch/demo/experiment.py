"""Chapter 2: the mended model is tested against the rules by which the bank called before."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime

import numpy as np
import polars as pl

from afterlaunch.demo.calls import SOURCE
from afterlaunch.demo.chapter import Chapter, Context, Progress, Told
from afterlaunch.demo.launch import LENGTH, LIVE, ROLES, split
from afterlaunch.demo.model import SEED, train
from afterlaunch.measures import Mean
from afterlaunch.questions.experiment import experiment

ENDS = datetime(2010, 1, 1)  # noqa: DTZ001 (the bank's own clock)
CALLED = 0.3
"""Share of the clients whom each arm calls, those that stand highest in its order."""


def tell(context: Context, progress: Progress) -> Told:
    """Draw an arm for every client, let each arm call those it likes best, and compare what they sold."""
    learnt, _ = split(context)
    features = [c for c in ROLES.features_of(learnt.columns) if c != LENGTH]
    progress("training the mended model")
    model = train(learnt, features, outcome="subscribed", positive="yes")
    clients = context.calls.filter(pl.col("called_at").is_between(LIVE, ENDS, closed="left"))
    log = trial(clients.with_columns(score=model.score(clients.drop("subscribed"))))
    review = experiment(
        log,
        control="rules",
        metrics=[Mean("sold", unit="sales", relative=0.15)],
        guardrails=[Mean("bothered", better="down", relative=0.05)],
        shares={"rules": 0.5, "model": 0.5},
        roles={"version": "arm", "time": "called_at", "segment": "contact"},
        progress=progress,
    )
    words = (
        "Before the mended model replaces the rules by which the bank called until then, it is tested. Each of "
        f"{log.height:,} clients from August 2008 to December 2009 is given one of two arms by chance, and each arm "
        f"calls the {100 * CALLED:.0f} % of its clients of every week that stand highest in its order: by the model's "
        "score, or by the rules (bought before, then students and the retired, then those with a mobile phone).",
        "Every one of them was called in truth, so the data say what each call would have sold. The question: does the "
        "model really sell more? It has to sell 15 % more to pay for itself.",
    )
    return Told(words, replace(review, notes=(*words, SOURCE, *review.notes)))


def trial(clients: pl.DataFrame) -> pl.DataFrame:
    """Who was in which arm, and what its calls sold.

    Args:
        clients: Calls with the column "score".

    Returns:
        A row for each client: "arm", "called_at", "contact", "sold" (1 when called and sold), and "bothered", how
        often a client had to be rung up.
    """
    arm = np.where(np.random.default_rng(SEED).random(clients.height) < 0.5, "model", "rules")
    rules = (
        4 * (pl.col("poutcome") == "success").cast(pl.Int64)
        + 2 * pl.col("job").is_in(["student", "retired"]).cast(pl.Int64)
        + (pl.col("contact") == "cellular").cast(pl.Int64)
    )
    order = pl.when(pl.col("arm") == "model").then(pl.col("score")).otherwise(rules.cast(pl.Float64))
    ranked = clients.with_columns(arm=pl.Series(arm)).with_columns(order.alias("order"))
    week = pl.col("called_at").dt.truncate("1w")
    # Where many stand alike, those who came first are called first.
    place = pl.col("order").rank("ordinal", descending=True).over(week, "arm")
    called = (place <= (CALLED * pl.len()).over(week, "arm")).cast(pl.Int64)
    sold = called * (pl.col("subscribed") == "yes").cast(pl.Int64)
    return ranked.select(
        "arm", "called_at", "contact", sold.alias("sold"), (called * pl.col("campaign")).alias("bothered")
    )


CHAPTER = Chapter("experiment", "Against the old rules", tell)
"""The chapter, for the story."""
