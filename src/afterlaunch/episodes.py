"""Alarms put together: an episode is one alarm that opens, persists and recovers; a story, episodes that overlap."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

RECOVERY = 7
"""Windows in a row whose estimate lies inside the margin that end an episode."""


@dataclass(frozen=True, slots=True)
class Change:
    """When an effect began.

    Attributes:
        window: Index of the first window after the change.
        low: Earliest index that the data allow at 95 %.
        high: Latest index that they allow.
    """

    window: int
    low: int
    high: int


@dataclass(frozen=True)
class Episode:
    """A stretch of windows in which an effect alarms.

    Attributes:
        first: Window at which it was found.
        last: Last window of it; the last window of the log while it is open.
        open: Whether it is not over.
        look: The last look that alarmed.
        change: When the effect began, or None.
    """

    first: int
    last: int
    open: bool
    look: int
    change: Change | None = None

    @property
    def start(self) -> int:
        """Window from which it is counted: that of the change where it is known."""
        return min(self.change.window, self.first) if self.change else self.first


def episodes_of(
    alarms: Mapping[int, int],
    inside: Sequence[bool | None],
    change: Callable[[int, int], Change | None] | None = None,
    begins: Mapping[int, int] | None = None,
) -> tuple[Episode, ...]:
    """Open at a look that alarms, over once `RECOVERY` windows in a row were estimated inside the margin.

    A look at several windows opens an episode only when none of them belongs to the one before, and does
    not keep one from ending: it still holds windows of before a recovery.

    Args:
        alarms: Last window of each look that alarmed, and the look.
        inside: Whether each window by itself was estimated inside the margin, shape (W,); None where it was not
            estimated, which neither ends an episode nor keeps it from ending.
        change: (first window, last window of an episode) -> when it began.
        begins: First window of a look at several, by its last one.

    Example:
        >>> calm = [True] * 3 + [False] * 4 + [True] * 9
        >>> [(e.first, e.last, e.open) for e in episodes_of({4: 4, 6: 6}, calm)]
        [(4, 6, False)]
    """
    size = len(inside)
    out: list[Episode] = []

    def close(first: int, last: int, look: int, *, still: bool) -> None:
        last = max(last, first)
        begun = change(first, last) if change is not None else None
        after = out[-1].last + 1 if out else 0
        if begun is not None and begun.low < after:
            # What began within the episode before is not the beginning of this one.
            begun = Change(max(begun.window, after), after, max(begun.high, after))
        out.append(Episode(first, last, still, look, begun))

    begins = begins or {}
    first, look, calm = -1, -1, 0
    for w in range(size):
        if w in alarms and first < 0:
            if not out or begins.get(w, w) > out[-1].last:
                first, look, calm = w, alarms[w], 0
            continue
        if w in alarms:
            look = alarms[w]
            if begins.get(w, w) == w:
                calm = 0
                continue
        if first >= 0 and inside[w] is not None:
            calm = calm + 1 if inside[w] else 0
            if calm == RECOVERY:
                close(first, w - RECOVERY, look, still=False)
                first, calm = -1, 0
    if first >= 0:
        close(first, size - 1, look, still=True)
    return tuple(out)


@dataclass(frozen=True)
class Story:
    """Episodes that overlap in time: one thing that happened to the model.

    Attributes:
        first: Window from which it is counted.
        last: Last window of it.
        open: Whether it is not over.
        subjects: What it is about, in the order in which it began.
    """

    first: int
    last: int
    open: bool
    subjects: tuple[str, ...]


def stories_of(episodes: Sequence[tuple[str, Episode]]) -> list[tuple[Story, tuple[int, ...]]]:
    """Put overlapping episodes together.

    Args:
        episodes: Subject and episode.

    Returns:
        Each story, with the places of its episodes in the order in which they began.
    """
    order = sorted(range(len(episodes)), key=lambda i: (episodes[i][1].start, episodes[i][1].first, i))
    groups: list[list[int]] = []
    end = -1
    for i in order:
        if not groups or episodes[i][1].start > end:
            groups.append([])
            end = -1
        groups[-1].append(i)
        end = max(end, episodes[i][1].last)
    out = []
    for group in groups:
        mine = [episodes[i] for i in group]
        subjects = tuple(dict.fromkeys(subject for subject, _ in mine))
        last = max(e.last for _, e in mine)
        story = Story(min(e.start for _, e in mine), last, any(e.open for _, e in mine), subjects)
        out.append((story, tuple(group)))
    return out
