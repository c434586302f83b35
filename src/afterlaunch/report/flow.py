"""Members that go from cluster to cluster, week by week: an alluvial picture.

``{"kind": "flow", "title": str, "columns": [label], "nodes": [[{"name": str, "size": n}]], "flows": [[{"from": i,
"to": j, "size": n}]]}`` with a list of nodes for every column, and a list of flows for every two columns that
follow each other; `from` and `to` are places among the nodes of the two.

The height of a node, and the breadth of a flow, is its size. A node takes the colour of the one that most of it comes
from, if that one sends most of its own there; so a colour is a cluster that lives on, and a new colour is a new
one. The picture stretches to the room there is; with many columns it is scrolled.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from markupsafe import Markup

from afterlaunch.finding import Json
from afterlaunch.report.text import plain, shorten

MOST_COLUMNS = 26
"""Most columns of the picture; of more the last are shown."""

MOST_NODES = 24
"""Most nodes of a column; the smallest of more are one node."""

MOST_SAID = 60
"""Most flows that are read aloud."""

TALL = 260.0
"""Pixels of the largest column's nodes together."""

SLOT = 17.0
"""Least pixels from the top of one node to that of the next, so that every one has room for its name."""

GAP = 4.0
"""Least pixels between two nodes."""

THIN = 0.5
"""Least pixels of the breadth of a flow that is drawn."""

BAR = 10
"""Pixels of the breadth of a node."""

HEAD = 22
"""Pixels above the nodes, for the names of the columns."""

EACH = 118
"""Pixels from column to column where the picture is scrolled."""

STRETCHED = 3
"""Most columns that share the room there is."""

COLOURS = 6

_LIST = (list, tuple)


@dataclass(frozen=True)
class Node:
    """A node of the picture.

    Attributes:
        name: What it is called.
        size: How much is in it.
    """

    name: str
    size: float


@dataclass(frozen=True)
class Flow:
    """What goes from one node to another of the next column."""

    start: int
    end: int
    size: float


@dataclass(frozen=True)
class Picture:
    """A table of the kind "flow", checked.

    Attributes:
        title: What the picture shows.
        columns: Labels of the columns.
        nodes: Nodes of every column.
        flows: Flows from every column to the next.
    """

    title: str
    columns: tuple[str, ...]
    nodes: tuple[tuple[Node, ...], ...]
    flows: tuple[tuple[Flow, ...], ...]


def read(table: Json) -> Picture:
    """Check a table of this kind.

    Raises:
        ValueError: For a table that does not have the form of its kind.

    Example:
        >>> nodes = [[{"name": "a", "size": 3}], [{"name": "b", "size": 3}]]
        >>> flows = [[{"from": 0, "to": 0, "size": 3}]]
        >>> picture = read({"kind": "flow", "title": "t", "columns": ["x", "y"], "nodes": nodes, "flows": flows})
        >>> picture.flows[0][0]
        Flow(start=0, end=0, size=3.0)
    """
    title = table.get("title") or ""
    columns, nodes, flows = (_items(table.get(k)) for k in ("columns", "nodes", "flows"))
    if not isinstance(title, str):
        raise ValueError("the title of a flow is text")
    if not columns or len(nodes) != len(columns) or len(flows) != len(columns) - 1:
        raise ValueError("a flow has nodes for every column and flows for every two that follow each other")
    sides = tuple(tuple(_node(n) for n in _items(column)) for column in nodes)
    between = tuple(
        tuple(_flow(f, len(sides[i]), len(sides[i + 1])) for f in _items(part)) for i, part in enumerate(flows)
    )
    return Picture(plain(title), tuple(plain(c) for c in columns), sides, between)


def _items(value: Any) -> Sequence[Any]:
    if not isinstance(value, _LIST):
        raise ValueError("columns, nodes and flows of a flow are lists")
    return value


def _size(item: Any) -> float:
    value = item.get("size") if isinstance(item, Mapping) else None
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < 1e15:
        raise ValueError("the size of a node or a flow is a number from zero on")
    return float(value)


def _node(item: Any) -> Node:
    return Node(plain(item.get("name", "")) if isinstance(item, Mapping) else "", _size(item))


def _flow(item: Any, before: int, after: int) -> Flow:
    size = _size(item)
    ends = []
    for key, most in (("from", before), ("to", after)):
        place = item.get(key)
        if isinstance(place, bool) or not isinstance(place, int) or not 0 <= place < most:
            raise ValueError("a flow goes from a node of its column to one of the next")
        ends.append(place)
    return Flow(ends[0], ends[1], size)


# ------------------------------------------------------------------ drawing


@dataclass(frozen=True)
class _Box:
    """A drawn node."""

    top: float
    height: float
    colour: int


def flow(table: Json) -> tuple[Markup, str, Markup]:
    """Draw a table of this kind.

    Returns:
        The picture, a remark on what is not shown, and no legend.

    Raises:
        ValueError: For a table that does not have the form of its kind.
    """
    whole = read(table)
    found, notes = _cut(whole)
    largest = max((sum(n.size for n in column) for column in found.nodes), default=0.0)
    scale = TALL / largest if largest > 0 else 0.0
    orders = _orders(found)
    tops = [_tops(column, order, scale) for column, order in zip(found.nodes, orders, strict=True)]
    colours = _colours(found, orders)
    boxes = [
        [_Box(t, n.size * scale, c) for n, t, c in zip(column, top, colour, strict=True)]
        for column, top, colour in zip(found.nodes, tops, colours, strict=True)
    ]
    thin = sum(0 < f.size * scale < THIN for part in found.flows for f in part)
    if thin:
        least = f"{THIN / scale:,.0f}" if THIN / scale >= 10 else f"{THIN / scale:.2g}"
        notes.append(f"Flows of less than {least} are too thin to be drawn: {thin:,}.")
    height = (
        HEAD + math.ceil(max((b.top + max(b.height, SLOT - GAP) for column in boxes for b in column), default=0)) + 2
    )
    count = len(found.columns)
    inside = Markup("").join(_ribbons(found, boxes, i, count, height, orders) for i in range(count - 1))
    inside += Markup("").join(_bars(found, boxes, i, count) for i in range(count))
    width = "100%" if count <= STRETCHED else str(EACH * (count - 1) + 130)
    label = _label(whole)
    drawn = Markup(
        '<div class="al-scroll al-sub" tabindex="0" role="region" aria-label="{}"><svg class="al-flow" role="img" '
        'aria-label="{}" width="{}" height="{}">{}</svg>{}</div>'
    ).format(shorten(whole.title, 160) or "Flow", label, width, height, inside, _aloud(found))
    return drawn, " ".join(notes), Markup("")


def _cut(found: Picture) -> tuple[Picture, list[str]]:
    """The picture with few enough columns and nodes, and what was left out."""
    notes = []
    start = max(0, len(found.columns) - MOST_COLUMNS)
    if start:
        notes.append(f"The last {MOST_COLUMNS} of {len(found.columns):,} columns are shown.")
    nodes, places = [], []
    for column in found.nodes[start:]:
        filled = [i for i, node in enumerate(column) if node.size > 0]
        by_size = sorted(filled, key=lambda i, c=column: (-c[i].size, i))  # type: ignore[misc]
        kept = sorted(by_size[: MOST_NODES - 1] if len(filled) > MOST_NODES else by_size)
        place = dict.fromkeys(range(len(column)), len(kept)) | {old: new for new, old in enumerate(kept)}
        rest = [i for i in filled if place[i] == len(kept)]
        shown = [column[i] for i in kept]
        if rest:
            shown.append(Node(f"{len(rest):,} smaller ones", sum(column[i].size for i in rest)))
        nodes.append(tuple(shown))
        places.append(place)
    if any(sum(n.size > 0 for n in c) > MOST_NODES for c in found.nodes[start:]):
        notes.append(f"The {MOST_NODES - 1} largest of a column are shown one by one.")
    flows = []
    for i, part in enumerate(found.flows[start:]):
        sums: dict[tuple[int, int], float] = {}
        for f in part:
            if f.size <= 0:
                continue
            ends = places[i][f.start], places[i + 1][f.end]
            if max(ends[0] - len(nodes[i]), ends[1] - len(nodes[i + 1])) >= 0:
                raise ValueError("a flow goes from or to a node of size zero")
            sums[ends] = sums.get(ends, 0.0) + f.size
        flows.append(tuple(Flow(a, b, size) for (a, b), size in sorted(sums.items())))
    return Picture(found.title, found.columns[start:], tuple(nodes), tuple(flows)), notes


def _orders(found: Picture) -> list[list[int]]:
    """Places of the nodes from top to bottom: the first column as it is given, others near to where they come from."""
    orders = [list(range(len(found.nodes[0])))]
    for i, part in enumerate(found.flows):
        rank = {node: at for at, node in enumerate(orders[-1])}
        sums = [[0.0, 0.0] for _ in found.nodes[i + 1]]
        for f in part:
            sums[f.end][0] += f.size * rank[f.start]
            sums[f.end][1] += f.size
        middle = [a / b if b > 0 else math.inf for a, b in sums]
        orders.append(sorted(range(len(middle)), key=lambda j, m=middle: (m[j], j)))  # type: ignore[misc]
    return orders


def _tops(column: Sequence[Node], order: Sequence[int], scale: float) -> list[float]:
    out, at = [0.0] * len(column), 0.0
    for i in order:
        out[i] = at
        at += max(column[i].size * scale + GAP, SLOT)
    return out


def _colours(found: Picture, orders: Sequence[Sequence[int]]) -> list[list[int]]:
    """Number of the colour of every node; a cluster that lives on keeps its own."""
    first = [0] * len(found.nodes[0])
    for at, node in enumerate(orders[0]):
        first[node] = at
    out, free = [first], len(first)
    for i, part in enumerate(found.flows):
        into: dict[int, Flow] = {}
        out_of: dict[int, Flow] = {}
        for f in part:
            if f.end not in into or f.size > into[f.end].size:
                into[f.end] = f
            if f.start not in out_of or f.size > out_of[f.start].size:
                out_of[f.start] = f
        own = []
        for j in range(len(found.nodes[i + 1])):
            f_in = into.get(j)
            if f_in is not None and out_of[f_in.start].end == j:
                own.append(out[-1][f_in.start])
            else:
                own.append(free)
                free += 1
        out.append(own)
    return out


def _fill(colour: int) -> str:
    return f"var(--al-s{colour % COLOURS + 1})"


def _percent(i: int, count: int) -> str:
    return f"{100 * i / max(count - 1, 1):.2f}".rstrip("0").rstrip(".")


def _ribbons(
    found: Picture, boxes: Sequence[Sequence[_Box]], i: int, count: int, height: int, orders: Sequence[Sequence[int]]
) -> Markup:
    """Flows between two columns, in a picture of its own that is as broad as the room between them."""
    ranks = [{node: at for at, node in enumerate(orders[k])} for k in (i, i + 1)]
    offsets: list[dict[int, float]] = [{}, {}]
    starts: dict[tuple[int, int], float] = {}
    ends: dict[tuple[int, int], float] = {}
    scale = next((b.height / n.size for b, n in zip(boxes[i], found.nodes[i], strict=True) if n.size > 0), 0.0)
    for f in sorted(found.flows[i], key=lambda f: (ranks[0][f.start], ranks[1][f.end])):
        starts[f.start, f.end] = boxes[i][f.start].top + offsets[0].get(f.start, 0.0)
        offsets[0][f.start] = offsets[0].get(f.start, 0.0) + f.size * scale
    for f in sorted(found.flows[i], key=lambda f: (ranks[1][f.end], ranks[0][f.start])):
        ends[f.start, f.end] = boxes[i + 1][f.end].top + offsets[1].get(f.end, 0.0)
        offsets[1][f.end] = offsets[1].get(f.end, 0.0) + f.size * scale
    paths = Markup("")
    # The narrow ones last, so that they stay in sight.
    for f in sorted(found.flows[i], key=lambda f: (-f.size, f.start, f.end)):
        a, b = starts[f.start, f.end], ends[f.start, f.end]
        breadth = f.size * scale
        if breadth < THIN:
            continue
        paths += Markup(
            '<path d="M0 {}C50 {} 50 {} 100 {}V{}C50 {} 50 {} 0 {}Z" fill="{}" fill-opacity=".38"><title>{}</title></path>'
        ).format(
            *(_px(y) for y in (a, a, b, b, b + breadth, b + breadth, a + breadth, a + breadth)),
            _fill(boxes[i][f.start].colour),
            _said(found, i, f),
        )
    inner = height - HEAD
    return Markup(
        '<svg x="{}%" y="{}" width="{}%" height="{}" viewBox="0 0 100 {}" preserveAspectRatio="none">{}</svg>'
    ).format(_percent(i, count), HEAD, _percent(1, count), inner, inner, paths)


def _bars(found: Picture, boxes: Sequence[Sequence[_Box]], i: int, count: int) -> Markup:
    """The nodes of a column and their names; those of the last stand to its left."""
    x, last = _percent(i, count), i == count - 1 and count > 1
    out = Markup('<text x="{}%" y="13" fill="var(--al-soft)" text-anchor="{}">{}</text>').format(
        x, "end" if last else "middle" if i else "start", shorten(found.columns[i], 16)
    )
    for box, node in zip(boxes[i], found.nodes[i], strict=True):
        top, tall = HEAD + box.top, max(box.height, 1.0)
        # A bar stands to the left of the last column's edge, to the right of the first's, and astride of others.
        shift = -BAR if last else 0 if i == 0 else -BAR / 2
        share = f"{shorten(node.name, 200) or '(empty)'}: {node.size:,.0f}"
        out += Markup(
            '<rect x="{}%" y="{}" width="{}" height="{}" fill="{}" transform="translate({} 0)"><title>{}</title></rect>'
        ).format(x, _px(top), BAR, _px(tall), _fill(box.colour), _px(shift), share)
        side = -(BAR + 5) if last else shift + BAR + 5
        out += Markup(
            '<text x="{}%" y="{}" fill="var(--al-ink)" text-anchor="{}" transform="translate({} 0)">{}</text>'
        ).format(
            x,
            _px(top + tall / 2 + 4.5),
            "end" if last else "start",
            _px(side),
            shorten(node.name, 18) or "(empty)",
        )
    return out


def _px(x: float) -> str:
    return f"{x:.1f}".removesuffix(".0")


def _said(found: Picture, i: int, f: Flow) -> str:
    a, b = found.nodes[i][f.start], found.nodes[i + 1][f.end]
    return f"{shorten(a.name, 60) or '(empty)'} to {shorten(b.name, 60) or '(empty)'}: {f.size:,.0f}"


def _label(found: Picture) -> str:
    sizes = [sum(n.size > 0 for n in column) for column in found.nodes]
    first, last = shorten(found.columns[0], 40), shorten(found.columns[-1], 40)
    if len(sizes) == 1:
        return f"{shorten(found.title, 160)}: {sizes[0]} in {first}"
    return f"{shorten(found.title, 160)}: from {sizes[0]} in {first} to {sizes[-1]} in {last}, {len(sizes)} columns"


def _aloud(found: Picture) -> Markup:
    """The flows as a table for whoever does not see the picture, the largest of each step first."""
    rows, each = [], max(1, MOST_SAID // max(len(found.flows), 1))
    for i, part in enumerate(found.flows):
        for f in sorted(part, key=lambda f: (-f.size, f.start, f.end))[:each]:
            cells = (
                found.columns[i],
                found.nodes[i][f.start].name,
                found.columns[i + 1],
                found.nodes[i + 1][f.end].name,
                f"{f.size:,.0f}",
            )
            rows.append(
                Markup("<tr>{}</tr>").format(
                    Markup("").join(Markup("<td><bdi>{}</bdi></td>").format(shorten(c, 60)) for c in cells)
                )
            )
    if not rows:
        return Markup("")
    head = Markup("").join(
        Markup('<th scope="col">{}</th>').format(h) for h in ("From", "Cluster", "To", "Cluster", "Size")
    )
    return Markup(
        '<div class="al-hide"><table><caption>{}</caption><thead><tr>{}</tr></thead><tbody>{}</tbody></table></div>'
    ).format(shorten(found.title, 160), head, Markup("").join(rows))
