"""What a chapter of the story is given, and what it hands back."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import polars as pl

from afterlaunch.finding import Finding, Review

Progress = Callable[[str], None]
"""Called with a few words on what is being done."""


@dataclass(frozen=True)
class Context:
    """What the chapters share.

    Attributes:
        calls: All calls, in the order of time; see `afterlaunch.demo.calls`.
    """

    calls: pl.DataFrame


@dataclass(frozen=True)
class Told:
    """What a chapter hands back.

    Attributes:
        words: What was done, a sentence or two each, in the order in which it happened.
        review: What afterlaunch said about it.
        reason: The finding that says why, when there is one.
    """

    words: tuple[str, ...]
    review: Review
    reason: Finding | None = None


@dataclass(frozen=True)
class Chapter:
    """One chapter.

    Attributes:
        name: Names its files, and the question of afterlaunch that it asks.
        title: What happens in it, in one line.
        tell: Makes it happen.
    """

    name: str
    title: str
    tell: Callable[[Context, Progress], Told]
