"""Chapter 4: the bank groups its clients anew, and asks whether the groups are still the same."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import polars as pl
from numpy.typing import NDArray

from afterlaunch.demo.calls import SOURCE
from afterlaunch.demo.chapter import Chapter, Context, Progress, Told
from afterlaunch.demo.compare import SEEN, UNTIL
from afterlaunch.demo.launch import LIVE
from afterlaunch.demo.model import one_thread
from afterlaunch.questions.clusters import clusters

GROUPS, RERUNS = 5, 8
NUMBERS, WORDS = ("age", "campaign"), ("marital", "education", "housing")
"""What clients are grouped by: their own traits, not the times."""


def tell(context: Context, progress: Progress) -> Told:
    """Group clients by k-means on the calls of before the crisis and of within it, each several times."""
    calls = context.calls
    learnt = {
        "previous": calls.filter(pl.col("called_at") < LIVE),
        "current": calls.filter(pl.col("called_at").is_between(LIVE, SEEN, closed="left")),
    }
    panel = calls.filter(pl.col("called_at").is_between(SEEN, UNTIL, closed="left"))
    given, reruns = {}, []
    for week, rows in learnt.items():
        progress("grouping the clients")
        for run, labels in enumerate(_runs(rows, panel)):
            named = panel.select("call_id", *NUMBERS, *WORDS, "job").with_columns(cluster=labels)
            if run == 0:
                given[week] = named
            else:
                told = named.select("call_id", "cluster")
                reruns.append(told.with_columns(week=pl.lit(week), replicate=pl.lit(run)))
    cold = pl.concat(reruns)
    review = clusters(given["previous"], given["current"], id="call_id", reruns=cold, progress=progress)
    words = (
        f"For its letters the bank sorts clients into {GROUPS} groups by k-means: once on the calls before August "
        f"2008, and once on those since. Both put the same {panel.height:,} clients of spring 2009 into groups.",
        f"K-means starts at random, so each grouping is also run {RERUNS} times, on calls drawn anew and with other "
        "seeds.",
        "The question: are these still the same groups, beyond what another run would change?",
    )
    return Told(words, replace(review, notes=(*words, SOURCE, *review.notes)))


def _runs(rows: pl.DataFrame, panel: pl.DataFrame) -> Iterator[pl.Series]:
    """Groups of the panel's clients, from the calls as they are and then from calls drawn anew."""
    from sklearn.cluster import KMeans

    known, wanted = _traits(rows, panel)
    for run in range(RERUNS + 1):
        drawn = known if run == 0 else known[np.random.default_rng(run).integers(0, len(known), len(known))]
        with one_thread():
            model = KMeans(GROUPS, n_init=3, random_state=run).fit(drawn)
            yield pl.Series(model.predict(wanted).astype(np.int64))


def _traits(rows: pl.DataFrame, panel: pl.DataFrame) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Traits of both tables as numbers in units of the first one's standard deviations, shape (n, d)."""
    values = {c: sorted(rows[c].unique().to_list()) for c in WORDS}
    columns = [pl.col(c).cast(pl.Float64) for c in NUMBERS]
    columns += [(pl.col(c) == v).cast(pl.Float64).alias(f"{c} {v}") for c, each in values.items() for v in each]
    known, wanted = (t.select(columns).to_numpy() for t in (rows, panel))
    mean, scale = known.mean(axis=0), np.maximum(known.std(axis=0), 1e-9)
    return (known - mean) / scale, (wanted - mean) / scale


CHAPTER = Chapter("clusters", "The groups of clients", tell)
"""The chapter, for the story."""
