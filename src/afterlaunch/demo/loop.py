"""Chapter 4: a model that is trained every week on its own calls."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta

import numpy as np
import polars as pl

from afterlaunch.demo.calls import SOURCE
from afterlaunch.demo.chapter import Chapter, Context, Progress, Told
from afterlaunch.demo.model import SEED
from afterlaunch.questions.loop import loop

WEEKS = 26
CALLS = 3000
"""Calls of a week."""

EXPLORED = 0.05
"""Share of the calls that go to a group drawn by chance."""

LEAST_CLIENTS = 30
"""Clients from which a group can be called."""

START = datetime(2009, 1, 5)  # noqa: DTZ001 (the bank's own clock)


def tell(context: Context, progress: Progress) -> Told:
    """Call groups of clients in proportion to what they bought last week, and see what that does."""
    progress("calling week after week")
    log, groups = campaign(context.calls)
    review = loop(
        log,
        roles={"time": "called_at", "item": "group", "outcome": "sold", "propensity": "propensity"},
        explored="by_chance",
        catalogue=groups,
        progress=progress,
    )
    words = (
        f"To save work the bank lets the model train itself: every week {CALLS:,} calls go to {groups} groups of "
        "clients (job, marital status, kind of phone) in proportion to what each group bought the week before. "
        "A group that is called more buys more, and is called more. "
        f"One call in {1 / EXPLORED:.0f} goes to a group drawn by chance, and the chance of every call is logged.",
        f"Played for {WEEKS} weeks with the clients' own answers: each call draws a client of its group from the data. "
        "The question: are groups called because they buy, or because they were called?",
    )
    return Told(words, replace(review, notes=(*words, SOURCE, *review.notes)))


def campaign(calls: pl.DataFrame) -> tuple[pl.DataFrame, int]:
    """The log of a campaign that trains itself, and how many groups of clients there are.

    Args:
        calls: All calls.

    Returns:
        A row for each call: "called_at", "group", "sold", "by_chance" and "propensity".
    """
    rng = np.random.default_rng(SEED)
    name = pl.concat_str(["job", "marital", "contact"], separator=", ")
    known = calls.select(name.alias("group"), sold=(pl.col("subscribed") == "yes").cast(pl.Int64))
    large = known.group_by("group").agg("sold").filter(pl.col("sold").list.len() >= LEAST_CLIENTS).sort("group")
    names, answers = large["group"].to_numpy(), [np.asarray(v) for v in large["sold"].to_list()]
    groups = len(names)
    shares, parts = np.full(groups, 1 / groups), []
    for week in range(WEEKS):
        chance = rng.random(CALLS) < EXPLORED
        group = np.where(chance, rng.integers(0, groups, CALLS), rng.choice(groups, CALLS, p=shares))
        sold = np.array([answers[g][rng.integers(len(answers[g]))] for g in group])
        minutes = np.sort(rng.integers(0, 7 * 24 * 60, CALLS))
        # The first and the last minute of the week belong to it, so that the log covers it whole.
        minutes[0], minutes[-1] = 0, 7 * 24 * 60 - 1
        parts.append(
            pl.DataFrame(
                {
                    "called_at": [START + timedelta(weeks=week, minutes=int(m)) for m in minutes],
                    "group": names[group],
                    "sold": sold,
                    "by_chance": chance,
                    "propensity": EXPLORED / groups + (1 - EXPLORED) * shares[group],
                }
            )
        )
        bought = np.bincount(group, sold, minlength=groups) + 0.5
        shares = bought / bought.sum()
    return pl.concat(parts), groups


CHAPTER = Chapter("loop", "Teaching itself", tell)
"""The chapter, for the story."""
