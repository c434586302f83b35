"""The story: its chapters in order, and a report of each."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from afterlaunch.demo import clusters, compare, drift, experiment, launch, loop
from afterlaunch.demo.calls import SOURCE, load_calls
from afterlaunch.demo.chapter import Chapter, Context, Told
from afterlaunch.report import write

CHAPTERS: tuple[Chapter, ...] = (
    launch.CHAPTER,
    experiment.CHAPTER,
    drift.CHAPTER,
    loop.CHAPTER,
    compare.CHAPTER,
    clusters.CHAPTER,
)
"""Every chapter, in the order of time."""


@dataclass(frozen=True)
class Saved:
    """Where the report of a chapter is.

    Attributes:
        html: For people.
        json: For programs.
    """

    html: Path
    json: Path


def begin() -> Context:
    """Read what the chapters share."""
    return Context(load_calls())


def opening(context: Context) -> tuple[str, ...]:
    """Which data the story is told on, a sentence or two each."""
    months = context.calls["called_at"].dt.strftime("%B %Y")
    return (
        f"One model's life on real data: {len(months):,} phone calls in which a Portuguese bank sold term deposits, "
        f"{months[0]} to {months[-1]}.",
        SOURCE,
    )


def save(chapter: Chapter, told: Told, folder: Path) -> Saved:
    """Write the report of a chapter into a folder that exists.

    Raises:
        OSError: When a file cannot be written; a file is written whole or not at all.
    """
    html, json = (write(told.review, folder / f"{chapter.name}{suffix}") for suffix in (".html", ".json"))
    return Saved(html, json)
