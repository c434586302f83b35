"""Chapter 3: the model is trained again with the months of the crisis, and compared with the one before."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime

import numpy as np
import polars as pl

from afterlaunch.demo.calls import SOURCE
from afterlaunch.demo.chapter import Chapter, Context, Progress, Told
from afterlaunch.demo.launch import LENGTH, LIVE, ROLES
from afterlaunch.demo.model import train
from afterlaunch.questions.compare import compare
from afterlaunch.roles import Roles

SEEN = datetime(2009, 4, 1)  # noqa: DTZ001 (the bank's own clock; the data name no zone)
UNTIL = datetime(2009, 7, 1)  # noqa: DTZ001
BEFORE, AFTER = "August 2008", "April 2009"
REPLICATES = 10
PANEL = Roles(id="call_id", version="version", score="score", outcome="subscribed", positive="yes", segment="contact")


def tell(context: Context, progress: Progress) -> Told:
    """Train both versions ten times each, on resampled calls and with other seeds; all score the same calls."""
    calls = context.calls.drop(LENGTH)
    features = ROLES.features_of(calls.columns)
    panel = calls.filter(pl.col("called_at").is_between(SEEN, UNTIL, closed="left"))
    parts = []
    learnt = {BEFORE: calls.filter(pl.col("called_at") < LIVE), AFTER: calls.filter(pl.col("called_at") < SEEN)}
    for version, rows in learnt.items():
        for seed in range(REPLICATES):
            progress(f"training the model of {version}, {seed + 1} of {REPLICATES}")
            drawn = rows[np.random.default_rng(seed).integers(0, rows.height, rows.height)]
            model = train(drawn, features, outcome="subscribed", positive="yes", seed=seed)
            parts.append(
                panel.select("call_id", "contact", "subscribed").with_columns(
                    version=pl.lit(version), seed=pl.lit(seed), score=model.score(panel)
                )
            )
    review = compare(
        pl.concat(parts), baseline=BEFORE, candidate=AFTER, replicates="seed", roles=PANEL, progress=progress
    )
    words = (
        f"In spring 2009 the bank trains the model again, now with the months of the crisis: {learnt[AFTER].height:,} "
        f"calls in place of {learnt[BEFORE].height:,}. "
        f"Both versions score the {panel.height:,} calls of April to June 2009.",
        f"Each is trained {REPLICATES} times, on calls drawn anew and with another seed, because a model trained twice "
        "never is quite the same: that is the floor.",
        "The question: does the new model decide otherwise, beyond what another seed and another sample would change?",
    )
    return Told(words, replace(review, notes=(*words, SOURCE, *review.notes)))


CHAPTER = Chapter("compare", "The retrained model", tell)
"""The chapter, for the story."""
