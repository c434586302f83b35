"""A review over windows as one picture: a row for every subject, a cell for every window.

``{"kind": "timeline", "title": str, "windows": [label], "rows": [row], "budget": {...}}`` where a row is
``{"name": str, "unit": str, "verdicts": ["ok" | "undecided" | "alarm" | null], "values": [x | null],
"episodes": [{"from": i, "to": j, "open": bool}]}`` with an entry for every window, and the budget is
``{"episodes": x, "per_days": x, "spent": str}``. Episodes name their first and last window.

A verdict is a colour and a height: a low bar is ok, a half one undecided, a full one an alarm; nothing
is drawn where nothing could be said. An episode is outlined, one that is not over is open to the right.
The picture is a table, so that it can be read aloud: every row says in words what its cells show.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any

from markupsafe import Markup

from afterlaunch.finding import Json, Verdict
from afterlaunch.report.text import count, plain, shorten

MOST_ROWS = 60
"""Most rows of the picture."""

MOST_CELLS = 800
"""Most cells of a row; of more windows several share a cell, which shows the worst of them."""

WIDTH, HEIGHT = 630, 16
"""Pixels of a full row, and height of a cell."""

LETTER = 6.2
"""Pixels of a letter of a label of the axis."""

_LIST = (list, tuple)
_HEIGHTS = {Verdict.OK: 4, Verdict.UNDECIDED: 9, Verdict.ALARM: HEIGHT}
_MONTH = re.compile(r"\d{4}-\d\d-01")


@dataclass(frozen=True)
class Row:
    """A row of the picture.

    Attributes:
        name: What it is about.
        verdicts: Verdict of each window, None where there is none.
        episodes: First window, last window, and whether it is not over.
    """

    name: str
    verdicts: tuple[Verdict | None, ...]
    episodes: tuple[tuple[int, int, bool], ...]

    def inside(self, window: int) -> bool:
        """Whether a window lies in an episode."""
        return any(first <= window <= last for first, last, _ in self.episodes)


@dataclass(frozen=True)
class Timeline:
    """A table of the kind "timeline", checked.

    Attributes:
        title: What the picture shows.
        windows: Labels of the windows.
        rows: The rows, those that alarmed longest first.
        budget: What was allowed and how it is spent, in a sentence.
    """

    title: str
    windows: tuple[str, ...]
    rows: tuple[Row, ...]
    budget: str


def read(table: Json) -> Timeline:
    """Check a table of this kind.

    Raises:
        ValueError: For a table that does not have the form of its kind.

    Example:
        >>> row = {"name": "age", "verdicts": ["ok", "alarm"], "episodes": [{"from": 1, "to": 1, "open": True}]}
        >>> read({"kind": "timeline", "title": "t", "windows": ["a", "b"], "rows": [row]}).rows[0].episodes
        ((1, 1, True),)
    """
    title, windows, rows = table.get("title", ""), table.get("windows"), table.get("rows")
    if not isinstance(title, str) or not isinstance(windows, _LIST) or not windows or not isinstance(rows, _LIST):
        raise ValueError("a timeline has a title, windows and rows")
    labels = tuple(plain(w) for w in windows)
    return Timeline(plain(title), labels, tuple(_row(r, len(labels)) for r in rows), _budget(table))


def _row(row: Any, size: int) -> Row:
    given = row.get("verdicts") if isinstance(row, Mapping) else None
    if not isinstance(given, _LIST) or len(given) != size:
        raise ValueError("a row of a timeline has a verdict for every window")
    verdicts = tuple(None if v is None else Verdict(v) for v in given)
    episodes = []
    for e in row.get("episodes") or ():
        first, last = e.get("from") if isinstance(e, Mapping) else None, e.get("to") if isinstance(e, Mapping) else None
        if not isinstance(first, int) or not isinstance(last, int) or not 0 <= first <= last < size:
            raise ValueError("an episode of a timeline lies within its windows")
        episodes.append((first, last, e.get("open") is True))
    return Row(plain(row.get("name", "")), verdicts, tuple(sorted(episodes)))


def _budget(table: Json) -> str:
    budget = table.get("budget")
    if not isinstance(budget, Mapping):
        return ""
    spent = plain(budget.get("spent") or "").strip()
    allowed, days = budget.get("episodes"), budget.get("per_days")
    if not spent and isinstance(allowed, int | float) and isinstance(days, int | float):
        spent = f"{allowed:g} false episode{'' if allowed == 1 else 's'} in {days:g} days"
    return f"Alarm budget: {spent}".rstrip(".") + "." if spent else ""


# ------------------------------------------------------------------ HTML


def timeline(table: Json) -> tuple[Markup, str, Markup]:
    """Draw a table of this kind.

    Returns:
        The picture, a remark on what is not shown, and the legend.

    Raises:
        ValueError: For a table that does not have the form of its kind.
    """
    found = read(table)
    size = len(found.windows)
    cells = _Cells(size)
    ticks = _ticks(found.windows, cells)
    rows = Markup("").join(_html_row(row, found.windows, cells, ticks) for row in found.rows[:MOST_ROWS])
    label = f"{found.title}: {count(len(found.rows), 'row')} over {count(size, 'window')}"
    drawn = Markup(
        '<div class="al-scroll al-lanes" tabindex="0" role="region" aria-label="{}"><table>'
        '<caption class="al-hide">{}</caption><colgroup><col class="al-l1"><col class="al-l2"><col></colgroup><thead class="al-hide"><tr><th scope="col">Subject</th>'
        '<th scope="col">In words</th><th scope="col">Windows</th></tr></thead><tbody>{}</tbody>'
        '<tbody aria-hidden="true"><tr><th></th><td></td><td>{}{}</td></tr></tbody></table></div>{}'
    ).format(
        shorten(label, 200),
        f"{shorten(label, 200)}, from {shorten(found.windows[0], 60)} to {shorten(found.windows[-1], 60)}",
        rows,
        _axis(ticks, cells),
        _ends(found.windows),
        Markup('<p class="al-budget">{}</p>').format(shorten(found.budget, 1000)) if found.budget else "",
    )
    notes = []
    if len(found.rows) > MOST_ROWS:
        notes.append(f"The first {MOST_ROWS} of {len(found.rows):,} rows are shown.")
    if cells.together > 1:
        notes.append(f"A cell is {cells.together} windows, and shows the worst of them.")
    return drawn, " ".join(notes), _legend()


class _Cells:
    """Windows to pixels."""

    def __init__(self, windows: int) -> None:
        self.windows = windows
        self.together = -(-windows // MOST_CELLS)
        self.count = -(-windows // self.together)
        self.step = min(24.0, max(1.0, WIDTH / self.count))
        self.width = round(self.count * self.step)

    def start(self, window: int) -> float:
        """Left edge of the cell of a window."""
        return window // self.together * self.step

    def end(self, window: int) -> float:
        """Right edge of the cell of a window."""
        return (window // self.together + 1) * self.step


def _html_row(row: Row, windows: Sequence[str], cells: _Cells, ticks: Sequence[tuple[float, str]]) -> Markup:
    marks = Markup("").join(
        Markup('<path class="al-lane-{}" d="{}"/>').format(verdict.value, d)
        for verdict, d in _paths(worst_of(row.verdicts, cells.together), cells)
    )
    grid = "".join(f"M{_px(x)} 0V{HEIGHT}" for x, _ in ticks[1:])
    drawn = Markup('<path class="al-lane-tick" d="{}"/>').format(grid) if grid else Markup("")
    drawn += marks + Markup("").join(_outline(e, windows, cells) for e in row.episodes)
    words = in_words(row, windows)
    worst = _worst(row)
    return Markup(
        '<tr{}><th scope="row"><span class="al-name">{}</span>{}</th><td>{}</td>'
        '<td><svg class="al-lane" role="img" aria-label="{}" width="{}" height="{}" viewBox="0 -2 {} {}" '
        'preserveAspectRatio="none">{}</svg></td></tr>'
    ).format(
        Markup(' class="al-{}"').format(worst.value) if worst is not None else "",
        _name(row.name),
        # Where there is no room for the words beside it, they stand below the name.
        Markup('<span class="al-when" aria-hidden="true">{}</span>').format(words) if row.episodes else "",
        words,
        _aloud(row, windows),
        cells.width,
        HEIGHT + 4,
        cells.width,
        HEIGHT + 4,
        drawn,
    )


def _name(name: str) -> Markup:
    shown = name if name.strip() else repr(name) if name else "(empty)"
    if len(shown) <= 60:
        return Markup("<bdi>{}</bdi>").format(shown)
    return Markup('<bdi title="{}">{}</bdi>').format(shorten(shown, 4000), shorten(shown, 60))


def worst_of(verdicts: Sequence[Verdict | None], together: int) -> list[Verdict | None]:
    """The worst verdict of every so many windows.

    Example:
        >>> [v and v.value for v in worst_of([Verdict.OK, None, Verdict.ALARM, Verdict.OK, None], 2)]
        ['ok', 'alarm', None]
    """
    out: list[Verdict | None] = []
    for i in range(0, len(verdicts), together):
        known = [v for v in verdicts[i : i + together] if v is not None]
        out.append(min(known, key=lambda v: v.rank, default=None))
    return out


def _paths(verdicts: Sequence[Verdict | None], cells: _Cells) -> Iterator[tuple[Verdict, str]]:
    """One path for each verdict, of a box for every run of windows that have it."""
    boxes: dict[Verdict, list[str]] = {}
    at = 0
    gap = 1.0 if cells.step >= 6 else 0.0
    for verdict, run in groupby(verdicts):
        length = sum(1 for _ in run)
        if verdict is not None:
            top = HEIGHT - _HEIGHTS[verdict]
            # Cells wide enough to be told apart stand apart.
            for k in range(length if gap else 1):
                x0 = (at + k) * cells.step
                x1 = (at + k + 1 if gap else at + length) * cells.step - gap
                boxes.setdefault(verdict, []).append(f"M{_px(x0)} {top}H{_px(x1)}V{HEIGHT}H{_px(x0)}Z")
        at += length
    for verdict in sorted(boxes, key=lambda v: v.rank):
        yield verdict, "".join(boxes[verdict])


def _px(x: float) -> str:
    return f"{x:.1f}".removesuffix(".0")


def _outline(episode: tuple[int, int, bool], windows: Sequence[str], cells: _Cells) -> Markup:
    first, last, still = episode
    left, right = _px(max(cells.start(first) - 0.5, 0.5)), _px(cells.end(last) + (0 if cells.step < 6 else -0.5))
    low, high = HEIGHT + 1, -1
    side = f"M{right} {high}H{left}V{low}H{right}" if still else f"M{left} {high}H{right}V{low}H{left}Z"
    return Markup('<path class="al-lane-episode" d="{}"><title>{}</title></path>').format(side, _span(episode, windows))


def _span(episode: tuple[int, int, bool], windows: Sequence[str]) -> str:
    first, last, still = episode
    start, end = shorten(windows[first], 60), shorten(windows[last], 60)
    return f"since {start}" if still else start if first == last else f"{start} to {end}"


def in_words(row: Row, windows: Sequence[str]) -> str:
    """What a row shows, in a few words.

    Example:
        >>> in_words(Row("age", (Verdict.OK, Verdict.ALARM), ((1, 1, True),)), ["Mon", "Tue"])
        'alarm since Tue'
    """
    if row.episodes:
        first, last, still = row.episodes[-1]
        more = f", {len(row.episodes) - 1} before" if len(row.episodes) > 1 else ""
        return (
            f"alarm since {shorten(windows[first], 60)}" if still else f"alarm until {shorten(windows[last], 60)}"
        ) + more
    known = [v for v in row.verdicts if v is not None]
    if not known:
        return "no window judged"
    unsure = known.count(Verdict.UNDECIDED)
    if unsure == 0 and Verdict.ALARM not in known:
        return "ok throughout"
    if Verdict.ALARM in known:
        return f"alarm in {known.count(Verdict.ALARM):,} of {len(known):,}"
    return f"undecided in {unsure:,} of {len(known):,}"


def _aloud(row: Row, windows: Sequence[str]) -> str:
    parts = [f"{row.verdicts.count(v):,} {v.value}" for v in sorted(Verdict, key=lambda v: v.rank) if v in row.verdicts]
    nothing = row.verdicts.count(None)
    parts += [f"{nothing:,} without a verdict"] if nothing else []
    spans = [_span(e, windows) for e in row.episodes[-5:]]
    return "Windows: " + ", ".join(parts) + (f"; episodes: {', '.join(spans)}" if spans else "")


def _worst(row: Row) -> Verdict | None:
    """The verdict that the row stands under now: an open episode is an alarm."""
    if any(still for _, _, still in row.episodes):
        return Verdict.ALARM
    return next((v for v in reversed(row.verdicts) if v is not None), None)


def _ticks(windows: Sequence[str], cells: _Cells) -> list[tuple[float, str]]:
    """Places and labels of the axis: first days of months where windows are days, else every so many windows."""
    months = [i for i, label in enumerate(windows) if _MONTH.fullmatch(label)]
    places, text = list(range(len(windows))), [shorten(w, 16) for w in windows]
    if len(months) >= 4 and len(windows) >= 60:
        places, text = months, [windows[i][:7] for i in months]
    out: list[tuple[float, str]] = []
    free = -1.0
    for i, label in zip(places, text, strict=True):
        x, long = cells.start(i), LETTER * len(label)
        if x < free or (out and x + long > cells.width):
            continue
        out.append((x, label))
        free = x + long + 14
    return out


def _axis(ticks: Sequence[tuple[float, str]], cells: _Cells) -> Markup:
    words = Markup("").join(Markup('<text x="{}" y="13">{}</text>').format(_px(x), label) for x, label in ticks)
    marks = "".join(f"M{_px(x + 0.5)} 0V3" for x, _ in ticks)
    return Markup(
        '<svg class="al-axis" width="{}" height="18" viewBox="0 0 {} 18"><path class="al-lane-tick" d="{}"/>{}</svg>'
    ).format(cells.width, cells.width, marks, words)


def _ends(windows: Sequence[str]) -> Markup:
    """The axis where it is too narrow for one: first and last window."""
    places = dict.fromkeys([0, len(windows) - 1])
    words = Markup("").join(Markup("<span>{}</span>").format(shorten(windows[i], 16)) for i in places)
    return Markup('<span class="al-ends">{}</span>').format(words)


def _legend() -> Markup:
    keys = [
        (verdict.value, Markup('<path class="al-lane-{}" d="M5 {}h12V16H5Z"/>').format(verdict.value, HEIGHT - high))
        for verdict, high in _HEIGHTS.items()
    ]
    keys.append(("episode", Markup('<path class="al-lane-episode" d="M3 1H19V15H3Z"/>')))
    keys.append(("not over", Markup('<path class="al-lane-episode" d="M19 1H3V15H19"/>')))
    return Markup('<span class="al-legend">{}</span>').format(
        Markup("").join(
            Markup(
                '<span class="al-key"><svg viewBox="0 0 22 16" width="22" height="16" aria-hidden="true">{}</svg>{}</span>'
            ).format(mark, name)
            for name, mark in keys
        )
    )


# ------------------------------------------------------------------ terminal

BLOCKS: dict[Verdict | None, str] = {Verdict.ALARM: "█", Verdict.UNDECIDED: "▒", Verdict.OK: "·", None: " "}
"""A window in a terminal."""

ROWS_SHOWN = 8
"""Most rows in a terminal."""


@dataclass(frozen=True)
class Strip:
    """A row for a terminal.

    Attributes:
        name: What it is about.
        cells: Verdict of each block, from left to right.
        words: What it shows.
    """

    name: str
    cells: tuple[Verdict | None, ...]
    words: str


def strips(found: Timeline, room: int) -> list[Strip]:
    """The rows that alarmed as strips of at most `room` blocks, those that still do first.

    Without one, three of those that are undecided now; rows of which nothing is to be said are left out.
    """
    bad = [r for r in found.rows if r.episodes or Verdict.ALARM in r.verdicts]
    bad.sort(key=lambda r: (not any(still for _, _, still in r.episodes), not r.episodes))
    rows = bad[:ROWS_SHOWN] or [r for r in found.rows if _worst(r) is Verdict.UNDECIDED][:3]
    together = -(-len(found.windows) // max(1, room))
    return [Strip(r.name, tuple(worst_of(r.verdicts, together)), in_words(r, found.windows)) for r in rows]
