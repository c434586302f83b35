"""Two clusterings with and without the members that are in no cluster, and what became of the clusters, in words."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from afterlaunch.finding import Json
from afterlaunch.profile.compared import Floats, Ints, Labelings
from afterlaunch.stats.partitions import Event, events
from afterlaunch.words import plain, quantity, shorten

SHOWN = 24
"""Most clusters of a week that the flow shows."""

_ORDER = {"birth": 0, "death": 1, "split": 2, "merge": 3, "survive": 4}


@dataclass(frozen=True)
class Weeks:
    """Two clusterings in a form to be judged.

    Attributes:
        previous: Names of the previous clusters, shape (A,).
        current: Names of the current ones, shape (B,).
        clusters: Members in a cluster both times, shape (G, A, B).
        fell: Members that were in a cluster and are in none, shape (G, A).
        rose: Members that were in none and are in a cluster, shape (G, B).
        never: Members in none both times, shape (G,).
        noisy: Whether any member may be in no cluster.
    """

    previous: tuple[str, ...]
    current: tuple[str, ...]
    clusters: Floats
    fell: Floats
    rose: Floats
    never: Floats
    noisy: bool

    @property
    def members(self) -> Floats:
        """Members that are in a cluster at least once, shape (G,)."""
        out: Floats = self.clusters.sum(axis=(1, 2)) + self.fell.sum(axis=1) + self.rose.sum(axis=1)
        return out

    def table(self) -> Floats:
        """Members that are in a cluster at least once, being in none as one cluster more, shape (G, A + 1, B + 1)."""
        groups, a, b = self.clusters.shape
        out = np.zeros((groups, a + 1, b + 1))
        out[:, :a, :b], out[:, :a, b], out[:, a, :b] = self.clusters, self.fell, self.rose
        return out


def weeks_of(found: Labelings) -> Weeks:
    """Two clusterings with the labels that mean "in no cluster" taken apart."""
    t = found.counts.astype(np.float64)
    kept = [np.array([k not in found.noise for k in names], dtype=bool) for names in (found.previous, found.current)]
    a, b = kept
    return Weeks(
        tuple(k for k in found.previous if k not in found.noise),
        tuple(k for k in found.current if k not in found.noise),
        t[:, a][:, :, b],
        t[:, a][:, :, ~b].sum(axis=2),
        t[:, ~a][:, :, b].sum(axis=1),
        t[:, ~a][:, :, ~b].sum(axis=(1, 2)),
        bool((~a).any() or (~b).any()),
    )


@dataclass(frozen=True)
class Story:
    """What became of the clusters.

    Attributes:
        weeks: The two clusterings.
        told: "previous" and "current" to what is telling about each label.
    """

    weeks: Weeks
    told: Mapping[str, Mapping[str, str]]

    @cached_property
    def sizes(self) -> tuple[Floats, Floats]:
        """All members of each cluster before and now."""
        whole = self.weeks.clusters.sum(axis=0)
        return whole.sum(axis=1) + self.weeks.fell.sum(axis=0), whole.sum(axis=0) + self.weeks.rose.sum(axis=0)

    @cached_property
    def events(self) -> tuple[Event, ...]:
        """All events."""
        return events(self.weeks.clusters.sum(axis=0), sizes=self.sizes)

    def notable(self) -> list[Event]:
        """All but survivals, those of the largest clusters first."""

        def weight(e: Event) -> float:
            own = self.sizes[0][list(e.previous)] if e.kind in {"split", "death"} else self.sizes[1][list(e.current)]
            return float(own.max())

        found = [e for e in self.events if e.kind != "survive"]
        return sorted(found, key=lambda e: (-weight(e), e.previous, e.current))

    def phrase(self, e: Event) -> str:
        """An event in words."""
        old = [_name(self.weeks.previous[i]) for i in e.previous]
        new = [_name(self.weeks.current[j]) for j in e.current]
        shares = _and([quantity(float(f"{s:.2g}"), "share") for s in e.shares])
        what = f" ({shorten(self._about(e), 120)})" if self._about(e) else ""
        if e.kind == "split":
            return f"cluster {old[0]} split into {_and(new)}: {shares} of its members{what}"
        if e.kind == "merge":
            return f"clusters {_and(old)} merged into {new[0]}: {shares} of it{what}"
        if e.kind == "birth":
            came = f", {shares} of them from {_and(old)}" if old else ""
            return f"cluster {new[0]} is new: {self.sizes[1][e.current[0]]:,.0f} members{came}{what}"
        went = f", {shares} of them now in {_and(new)}" if new else ""
        return f"cluster {old[0]} is gone: {self.sizes[0][e.previous[0]]:,.0f} members{went}{what}"

    def _about(self, e: Event) -> str:
        """What is telling about the clusters that an event is about."""
        side, names = (
            ("previous", [self.weeks.previous[i] for i in e.previous])
            if e.kind == "death"
            else ("current", [self.weeks.current[j] for j in e.current])
        )
        about = self.told.get(side, {})
        known = [(k, about[k]) for k in names if k in about]
        if len(names) == 1:
            return known[0][1] if known else ""
        return "; ".join(f"{_name(k)}: {shorten(text, 80)}" for k, text in known)

    def table(self) -> Json:
        """All events as rows to read."""
        described = any(self.told.values())
        rows: list[list[Any]] = []
        for e in sorted(self.events, key=lambda e: (_ORDER[e.kind], e.previous, e.current)):
            rows.append(
                [
                    e.kind,
                    ", ".join(_name(self.weeks.previous[i]) for i in e.previous),
                    ", ".join(_name(self.weeks.current[j]) for j in e.current),
                    int(self.sizes[0][list(e.previous)].sum()) if e.kind != "birth" else None,
                    int(self.sizes[1][list(e.current)].sum()) if e.kind != "death" else None,
                    ", ".join(quantity(float(f"{s:.2g}"), "share") for s in e.shares),
                    *([self._about(e)] if described else []),
                ]
            )
        columns = ["event", "before", "now", "members before", "members now", "shares"]
        return {
            "kind": "examples",
            "title": "What became of the clusters",
            "columns": [*columns, "told by"] if described else columns,
            "rows": rows,
        }


def _name(label: str) -> str:
    return shorten(plain(label), 40) or "''"


def _and(parts: Sequence[str]) -> str:
    return parts[0] if len(parts) == 1 else f"{', '.join(parts[:-1])} and {parts[-1]}" if parts else ""


def flow(found: Labelings) -> Json | None:
    """The flow of members between the clusters of two weeks, for the review as a whole.

    Args:
        found: The two clusterings; of more than `SHOWN` clusters the smallest are one.

    Returns:
        Data for a figure of the kind "flow"; None without any members.
    """
    whole = found.counts.sum(axis=0)
    if not whole.sum():
        return None
    before, rows = _shown(found.previous, whole.sum(axis=1), found)
    now, columns = _shown(found.current, whole.sum(axis=0), found)
    table = np.zeros((len(before), len(now)), dtype=np.int64)
    np.add.at(table, (rows[:, None], columns[None, :]), whole)
    sides = [
        [{"name": k, "size": int(n)} for k, n in zip(names, sizes, strict=True)]
        for names, sizes in ((before, table.sum(axis=1)), (now, table.sum(axis=0)))
    ]
    flows = [{"from": int(i), "to": int(j), "size": int(table[i, j])} for i, j in np.argwhere(table > 0)]
    title = "Members from cluster to cluster"
    return {"kind": "flow", "title": title, "columns": ["previous", "current"], "nodes": sides, "flows": [flows]}


def _shown(labels: Sequence[str], sizes: Ints, found: Labelings) -> tuple[list[str], Ints]:
    """Names of what is shown, and the place of every label among them."""
    kept = np.sort(np.argsort(-sizes, kind="stable")[: SHOWN - 1]) if len(labels) > SHOWN else np.arange(len(labels))
    place = np.full(len(labels), len(kept), dtype=np.int64)
    place[kept] = np.arange(len(kept))
    names = ["in no cluster" if labels[i] in found.noise else labels[i] for i in kept.tolist()]
    rest = len(labels) - len(kept)
    return ([*names, f"{rest:,} smaller ones"] if rest else names), place
