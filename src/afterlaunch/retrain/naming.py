"""Which cluster of this week is which of an earlier one, and what ids the others get."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from afterlaunch.stats.partitions import Event, events, match_centroids

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

Kind = Literal["survive", "split", "merge", "birth", "death", "return"]


@dataclass(frozen=True)
class ClusterEvent:
    """What became of a cluster, in persistent ids.

    Attributes:
        kind: "survive", "split", "merge", "birth", "death", or "return" of a cluster that was gone for some weeks.
        previous: Ids of last week: the cluster itself, those that merge, or, of a birth or a return, where the
            most of its members come from.
        current: Ids of this week: the cluster itself, the parts of a split, or, of a death, where the most of its
            members went.
        shares: As in `afterlaunch.stats.partitions.Event`; empty by centroids.
    """

    kind: Kind
    previous: tuple[int, ...]
    current: tuple[int, ...]
    shares: tuple[float, ...] = ()


@dataclass(frozen=True)
class Rules:
    """When a cluster is still the same.

    Attributes:
        recall: Weeks for which a cluster that is gone is remembered.
        survive: A cluster is the same when more than this share of the members of each is in both.
        part: From this share of a cluster's members on, what they went to or came from is a part of it.
        common: Least share of the members that two weeks must have in common for clusters to be followed by them.
    """

    recall: int = 12
    survive: float = 0.5
    part: float = 0.3
    common: float = 0.2


@dataclass(frozen=True)
class Clusters:
    """Clusters of a week in an order that does not depend on their labels.

    Attributes:
        ids: Persistent ids, shape (A,).
        sizes: Members, shape (A,).
        centroids: Shape (A, d), or None.
    """

    ids: tuple[int, ...]
    sizes: Ints
    centroids: Floats | None = None


@dataclass(frozen=True)
class Remembered:
    """A cluster that is gone, beside this week's.

    Attributes:
        id: Its persistent id.
        ago: Weeks since it was last seen.
        size: Members it had then.
        here: Of those, how many are in this week's clusters, shape (B,).
        present: Of those, how many are among this week's members at all.
        then: Members of this week's clusters that were among the members of the week in which it was last seen,
            shape (B,).
    """

    id: int
    ago: int
    size: int
    here: Ints
    present: int
    then: Ints


@dataclass
class Names:
    """Ids of this week's clusters by their place.

    Attributes:
        ids: Place to persistent id.
        parents: New id to those of last week from which the most of its members come.
        given: Highest id ever given.
        events: What became of the clusters.
    """

    ids: dict[int, int]
    given: int
    parents: dict[int, tuple[int, ...]] = field(default_factory=dict)
    events: tuple[ClusterEvent, ...] = ()


def follow(table: Ints, sizes: tuple[Ints, Ints], rules: Rules) -> tuple[dict[int, int], tuple[Event, ...]]:
    """Which previous cluster each current one carries on, by members.

    A cluster that survives is the same one; of a split the largest part is; of a merge the largest contributor
    goes on. No two carry on the same one: in each case more than half of a side is in common, or the part is the
    largest.

    Args:
        table: Members that both weeks have, by cluster before and now, shape (A, B).
        sizes: Members of each that both weeks have, those in no cluster in the other week too.
        rules: The thresholds.

    Returns:
        Current place to previous place, and the events.

    Example:
        >>> table = np.array([[58, 0, 36], [0, 90, 0]])
        >>> follow(table, (table.sum(axis=1), table.sum(axis=0)), Rules())[0]
        {0: 0, 1: 1}
    """
    found = events(table, survive=rules.survive, part=rules.part, sizes=sizes)
    kept: dict[int, int] = {}
    for e in found:
        goes_on = e.kind in {"survive", "split", "merge"}
        if goes_on and e.current[0] not in kept and e.previous[0] not in kept.values():
            kept[e.current[0]] = e.previous[0]
    return kept, found


def follow_centroids(previous: Clusters, current: Clusters, rules: Rules) -> dict[int, int]:
    """Which previous cluster each current one carries on, by centroids."""
    del rules
    if previous.centroids is None or current.centroids is None or not previous.ids or not len(current.sizes):
        return {}
    found = match_centroids(previous.centroids, current.centroids, (previous.sizes, current.sizes))
    return {j: i for i, j in found.pairs}


def returning(gone: Sequence[Remembered], open_places: Sequence[int], rules: Rules) -> dict[int, int]:
    """Which of this week's clusters are clusters that were gone.

    It is the same one when more than `survive` of its last members that are here are in it, and more than `survive` of
    the cluster's members that were there then were in it; and when at least `common` of its last members are here.
    What was seen last goes first.

    Args:
        gone: Clusters that are remembered.
        open_places: Places of this week's clusters that carry on none of last week's.
        rules: The thresholds.

    Returns:
        Place to persistent id.

    Example:
        >>> returning([Remembered(7, 2, 10, np.array([0, 9]), 9, np.array([40, 12]))], [1], Rules())
        {1: 7}
    """
    pairs: list[tuple[int, float, int, int]] = []
    for old in gone:
        if old.present < rules.common * old.size:
            continue
        for j in open_places:
            n = int(old.here[j])
            if n > rules.survive * old.present and n > rules.survive * old.then[j]:
                pairs.append((old.ago, -n / max(old.present, int(old.then[j])), old.id, j))
    out: dict[int, int] = {}
    for _, _, cluster, j in sorted(pairs):
        if j not in out and cluster not in out.values():
            out[j] = cluster
    return out


def returning_centroids(
    gone: Clusters, alive: Clusters, current: Clusters, open_places: Sequence[int]
) -> dict[int, int]:
    """Which of this week's clusters are clusters that were gone, by centroids: place to persistent id."""
    if gone.centroids is None or current.centroids is None or not gone.ids:
        return {}
    old, sizes = gone.centroids, gone.sizes
    if alive.centroids is not None and alive.ids:
        old, sizes = np.concatenate([old, alive.centroids]), np.concatenate([sizes, alive.sizes])
    found = match_centroids(old, current.centroids, (sizes, current.sizes))
    return {j: gone.ids[i] for i, j in found.pairs if i < len(gone.ids) and j in open_places}


def name_all(
    kept: Mapping[int, int],
    found: Sequence[Event],
    returned: Mapping[int, int],
    previous: Sequence[int],
    current: int,
    given: int,
) -> Names:
    """Ids of all clusters, and the events in these ids.

    Args:
        kept: Current place to the previous place that it carries on.
        found: Events by place; none by centroids, where every cluster that is not carried on is gone or new.
        returned: Current place to the id of a cluster that was gone.
        previous: Ids of last week's clusters by place.
        current: Clusters this week.
        given: Highest id given before.
    """
    ids = {j: previous[i] for j, i in kept.items()} | dict(returned)
    for j in range(current):
        if j not in ids:
            given += 1
            ids[j] = given
    parents: dict[int, tuple[int, ...]] = {}
    out: list[ClusterEvent] = []
    for e in found:
        old, new = tuple(previous[i] for i in e.previous), tuple(ids[j] for j in e.current)
        kind: Kind = e.kind
        if kind == "birth" and e.current[0] in returned:
            kind = "return"
        out.append(ClusterEvent(kind, old, new, e.shares))
        if kind in {"split", "birth"}:
            parents |= {ids[j]: old for j in e.current if j not in kept and j not in returned and old}
        if kind == "split":
            out += [ClusterEvent("return", old, (ids[j],)) for j in e.current if j in returned]
    # By centroids, and of clusters without a member in common, there are none yet.
    told = {i for e in found for i in e.previous}, {j for e in found for j in e.current}
    back = {i: j for j, i in kept.items()}
    for i, cluster in enumerate(previous):
        if i not in told[0]:
            out.append(ClusterEvent("survive" if i in back else "death", (cluster,), (cluster,) if i in back else ()))
    for j in range(current):
        if j not in told[1] and j not in kept:
            out.append(ClusterEvent("return" if j in returned else "birth", (), (ids[j],)))
    return Names(ids, given, parents, tuple(out))
