"""How alike two clusterings are, which of their clusters are the same, and what became of the others.

Everything starts from a contingency table: members by their cluster before (rows) and now (columns).
Empty rows and columns change nothing, nor does the order of either.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy import optimize

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Counts = NDArray[np.generic]

SURVIVES = 0.5
"""A cluster is the same as another when more than this share of the members of each is in both."""

PART = 0.3
"""From this share of a cluster's members on, what they went to, or came from, is a part of it."""

REACH = 0.5
"""A centroid is another one's successor within this part of the distance to the nearest other cluster."""

# ------------------------------------------------------------------ how alike


def adjusted_rand(table: Counts) -> float:
    """Rand index of two clusterings, corrected for chance: 1 when they are the same, about 0 at random.

    Args:
        table: Members by cluster before and now, shape (A, B).

    Returns:
        At most 1, at least -0.5; 1 for fewer than two members.

    Source:
        Hubert & Arabie (1985), Journal of Classification 2:193-218, equation (5).

    Example:
        >>> round(adjusted_rand(np.array([[5, 0, 0], [0, 1, 4]])), 4), adjusted_rand(np.array([[0, 3], [2, 0]]))
        (0.8163, 1.0)
    """
    t = np.asarray(table, dtype=np.float64)
    both, before, now, pairs = _pairs(t)
    if pairs <= 0 or before == now == both:
        return 1.0
    expected = before * now / pairs
    return float((both - expected) / ((before + now) / 2 - expected))


def _pairs(t: Floats) -> tuple[float, float, float, float]:
    """Pairs of members together in both clusterings, before, now, and all."""
    a, b, n = t.sum(axis=1), t.sum(axis=0), float(t.sum())
    both, before, now = (float((x * (x - 1)).sum()) / 2 for x in (t, a, b))
    return both, before, now, n * (n - 1) / 2


def adjusted_rand_slope(table: Counts) -> Floats:
    """How the adjusted Rand index changes with one more member in each cell.

    Args:
        table: Members by cluster before and now, shape (A, B).

    Returns:
        The partial derivatives, shape (A, B), shifted so that they average to zero over the members:
        times the number of members they are the influence of a single one.
        Zero where the index is 1 by convention.

    Example:
        >>> slope = adjusted_rand_slope(np.array([[5, 0, 0], [0, 1, 4]]))
        >>> bool(slope[0, 0] > 0 > slope[1, 1])
        True
    """
    t = np.asarray(table, dtype=np.float64)
    both, before, now, pairs = _pairs(t)
    expected = before * now / pairs if pairs > 0 else 0.0
    room = (before + now) / 2 - expected
    if pairs <= 0 or room <= 0:
        return np.zeros_like(t)
    index, n = (both - expected) / room, float(t.sum())
    d_before, d_now = t.sum(axis=1)[:, None] - 0.5, t.sum(axis=0)[None, :] - 0.5
    d_expected = (d_before * now + before * d_now) / pairs - expected * (n - 0.5) / pairs
    slope = (t - 0.5 - d_expected - index * ((d_before + d_now) / 2 - d_expected)) / room
    out: Floats = slope - float((t * slope).sum()) / n
    return out


# ------------------------------------------------------------------ which are the same


@dataclass(frozen=True)
class Matching:
    """Which clusters of two clusterings belong together, at most one to one.

    Attributes:
        pairs: (place before, place now), in the order of the places before.
        closeness: How close the two of each pair are, between 0 and 1, shape (pairs,).
        lost: Places before without a partner; empty clusters are none.
        new: Places now without a partner.
    """

    pairs: tuple[tuple[int, int], ...]
    closeness: tuple[float, ...]
    lost: tuple[int, ...]
    new: tuple[int, ...]


def match(table: Counts) -> Matching:
    """Pair the clusters of two clusterings of the same members so that their overlaps sum to the most.

    The overlap is Jaccard's: members in both over members in either. Clusters without a common
    member are not paired. Of equally good pairings the same one is found every time.

    Args:
        table: Members by cluster before and now, shape (A, B); A and B may differ.

    Source:
        Kuhn (1955), Naval Research Logistics Quarterly 2:83-97, for rectangular tables as in Crouse
        (2016), IEEE Transactions on Aerospace and Electronic Systems 52:1679-1696.

    Example:
        >>> match(np.array([[0, 8, 0], [6, 0, 2]])).pairs, match(np.array([[0, 8, 0], [6, 0, 2]])).new
        (((0, 1), (1, 0)), (2,))
    """
    t = np.asarray(table, dtype=np.float64)
    overlap = jaccard(t)
    return _matching(overlap, t.sum(axis=1) > 0, t.sum(axis=0) > 0)


def jaccard(table: Counts) -> Floats:
    """Members in both clusters over members in either, for every cell, shape (A, B); 0 of empty ones.

    Example:
        >>> jaccard(np.array([[6, 2], [0, 8]])).round(2).tolist()
        [[0.75, 0.12], [0.0, 0.8]]
    """
    t = np.asarray(table, dtype=np.float64)
    either = t.sum(axis=1)[:, None] + t.sum(axis=0)[None, :] - t
    out: Floats = np.divide(t, either, out=np.zeros_like(t), where=either > 0)
    return out


def _matching(closeness: Floats, before: NDArray[np.bool_], now: NDArray[np.bool_]) -> Matching:
    rows, columns = optimize.linear_sum_assignment(closeness, maximize=True)
    pairs = [(int(i), int(j)) for i, j in zip(rows, columns, strict=True) if closeness[i, j] > 0]
    taken = {i for i, _ in pairs}, {j for _, j in pairs}
    return Matching(
        tuple(pairs),
        tuple(float(closeness[i, j]) for i, j in pairs),
        tuple(int(i) for i in np.flatnonzero(before) if int(i) not in taken[0]),
        tuple(int(j) for j in np.flatnonzero(now) if int(j) not in taken[1]),
    )


def match_centroids(
    previous: Floats,
    current: Floats,
    sizes: tuple[Counts, Counts] | None = None,
    *,
    within: Floats | None = None,
    reach: float = REACH,
) -> Matching:
    """Pair clusters by their centroids, where their members are not the same ones.

    As many as may be are paired, and of such pairings the nearest. A pair is within reach when the distance of
    its centroids is at most `reach` times that from either to the nearest other cluster of its own
    clustering: farther away it is as near to where another cluster was. What is out of reach is lost or new.

    Args:
        previous: Centroids before, shape (A, d).
        current: Centroids now, shape (B, d).
        sizes: Members of each, shapes (A,) and (B,), for the spread and for empty clusters; alike when None.
        within: Standard deviation of each feature within clusters, shape (d,), in which distances are
            measured. When None it is that between the centroids. A feature without any spread is left out.
        reach: Part of the distance to the nearest other cluster. A single cluster has none, and reaches any.

    Returns:
        The matching; closeness is 1 at the same place and 0 at the end of reach.

    Raises:
        ValueError: When the centroids have different numbers of features.

    Example:
        >>> before = np.array([[0.0, 0.0], [10.0, 0.0]])
        >>> found = match_centroids(before, np.array([[10.5, 0.2], [0.1, 0.1], [5.2, 8.0]]))
        >>> found.pairs, found.lost, found.new
        (((0, 1), (1, 0)), (), (2,))
    """
    old, new = np.asarray(previous, dtype=np.float64), np.asarray(current, dtype=np.float64)
    if old.ndim != 2 or new.ndim != 2 or old.shape[1] != new.shape[1]:
        raise ValueError(f"The centroids have shapes {old.shape} and {new.shape}; give both the same features.")
    weights = [np.asarray(w, dtype=np.float64) for w in sizes or (np.ones(len(old)), np.ones(len(new)))]
    there = [w > 0 for w in weights]
    if within is None:
        parts = [w / w.sum() if w.sum() > 0 else w for w in weights]
        both, w = np.concatenate([old, new]), np.concatenate(parts)
        kept = w > 0
        both, w = both[kept], w[kept] / max(float(w[kept].sum()), 1e-300)
        scale = np.sqrt((w[:, None] * (both - (w[:, None] * both).sum(axis=0)) ** 2).sum(axis=0))
    else:
        scale = np.asarray(within, dtype=np.float64)
    usable = np.isfinite(scale) & (scale > 0)
    unit = np.where(usable, scale, 1.0)
    old, new = (np.where(usable, x / unit, 0.0) for x in (old, new))
    between = _distances(old, new)
    gaps = [_gap(x, t) for x, t in zip((old, new), there, strict=True)]
    limit = reach * np.minimum(gaps[0][:, None], gaps[1][None, :])
    far = np.where(np.isfinite(limit), limit, max(2 * float(between.max(initial=0.0)), 1.0))
    closeness = np.where(far > 0, 1 - between / np.where(far > 0, far, 1.0), (between == 0).astype(float))
    possible = (closeness >= 0) & there[0][:, None] & there[1][None, :]
    # A pair counts more than any nearness, so that as many as may be are paired; the rest is out of the way.
    most = min(between.shape, default=0) + 1.0
    nearness = 1 - between / max(float(between.max(initial=0.0)), 1e-300)
    found = _matching(np.where(possible, most + nearness, 0.0), *there)
    return Matching(found.pairs, tuple(float(max(closeness[p], 0.0)) for p in found.pairs), found.lost, found.new)


def _distances(a: Floats, b: Floats) -> Floats:
    out: Floats = np.sqrt(((a[:, None, :] - b[None, :, :]) ** 2).sum(axis=2))
    return out


def _gap(centroids: Floats, there: NDArray[np.bool_]) -> Floats:
    """Distance from each centroid to the nearest other one; infinite for a single one."""
    apart = _distances(centroids, centroids)
    np.fill_diagonal(apart, np.inf)
    apart[:, ~there] = np.inf
    out: Floats = apart.min(axis=1, initial=np.inf)
    return out


# ------------------------------------------------------------------ what became of them

EventKind = Literal["survive", "split", "merge", "birth", "death"]


@dataclass(frozen=True, slots=True)
class Event:
    """What became of a cluster, or where one comes from.

    Attributes:
        kind: "survive", "split", "merge", "birth" or "death".
        previous: Clusters before: the one that it is about, those that merge, or, of a birth, where the most of
            its members come from.
        current: Clusters now: the one that it is about, the parts of a split, or, of a death, where the most of
            its members went.
        shares: Of each of the clusters on the many side, the largest first: the share of the split or dead
            cluster's members that went there, of the merged or born one's that came from there; of a
            survival, the share of its members that stayed.
    """

    kind: EventKind
    previous: tuple[int, ...]
    current: tuple[int, ...]
    shares: tuple[float, ...]


def events(
    table: Counts, *, survive: float = SURVIVES, part: float = PART, sizes: tuple[Counts, Counts] | None = None
) -> tuple[Event, ...]:
    """Survivals, splits, merges, births and deaths between two clusterings of the same members.

    With F the share of a previous cluster's members that are in a current one, and B the share of a
    current cluster's members that come from a previous one:

    - **split**: two or more current clusters each hold `part` or more of it (F), and come mostly from it
      (B > `survive`); together they hold more than `survive` of it.
    - **merge**: the same with time reversed.
    - **survive**: F > `survive` and B > `survive`, in no split or merge.
    - **death** and **birth**: none of these. A cluster that is absorbed by a much larger one dies.

    Args:
        table: Members by cluster before and now, shape (A, B).
        survive: In [0.5, 1), so that a cluster survives as one at most.
        part: In (0, 1).
        sizes: All members of each cluster before and now, shapes (A,) and (B,), where some are in no cluster of the
            other clustering; the sums of the table when None.

    Returns:
        First what became of the previous clusters by their place, then merges and births. Empty clusters
        have no events. Every other cluster is in at least one.

    Raises:
        ValueError: For thresholds out of range.

    Source:
        MONIC: Spiliopoulou, Ntoutsi, Theodoridis & Schult (2006), KDD, 706-711, table 2, with members of
        the same weight at any age. There the overlap is F alone; B is asked for as well, so that
        a split is a merge when time is reversed.

    Example:
        >>> [(e.kind, e.previous, e.current) for e in events(np.array([[58, 0, 36], [0, 90, 0]]))]
        [('split', (0,), (0, 2)), ('survive', (1,), (1,))]
    """
    if not 0.5 <= survive < 1 or not 0 < part < 1:
        raise ValueError(f"The thresholds are {survive} and {part}; give survive in [0.5, 1) and part in (0, 1).")
    t = np.asarray(table, dtype=np.float64)
    size = [np.asarray(x, dtype=np.float64) for x in sizes or (t.sum(axis=1), t.sum(axis=0))]
    forward, backward = _shares(t, size[0]), _shares(t.T, size[1]).T
    splits = _parted(forward, backward, survive, part)
    merges = _parted(backward.T, forward.T, survive, part)
    parts = {j for js in splits.values() for j in js}
    merged = {i for sources in merges.values() for i in sources}
    out: list[Event] = []
    survived: set[int] = set()
    for i in np.flatnonzero(size[0] > 0).tolist():
        if i in splits:
            out.append(Event("split", (i,), splits[i], tuple(float(forward[i, j]) for j in splits[i])))
        elif i not in merged:
            j = int(forward[i].argmax()) if t.shape[1] else -1
            if j >= 0 and forward[i, j] > survive and backward[i, j] > survive and j not in merges and j not in parts:
                survived.add(j)
                out.append(Event("survive", (i,), (j,), (float(forward[i, j]),)))
            else:
                went = _largest(forward[i], part)
                out.append(Event("death", (i,), went, tuple(float(forward[i, j]) for j in went)))
    for j in np.flatnonzero(size[1] > 0).tolist():
        if j in merges:
            out.append(Event("merge", merges[j], (j,), tuple(float(backward[i, j]) for i in merges[j])))
        elif j not in survived and j not in parts:
            came = _largest(backward[:, j], part)
            out.append(Event("birth", came, (j,), tuple(float(backward[i, j]) for i in came)))
    return tuple(out)


def _shares(t: Floats, size: Floats) -> Floats:
    """Share of each row's members in each column; 0 of an empty row."""
    out: Floats = np.divide(t, size[:, None], out=np.zeros_like(t), where=size[:, None] > 0)
    return out


def _parted(forward: Floats, backward: Floats, survive: float, part: float) -> dict[int, tuple[int, ...]]:
    """Rows that come apart, and the columns that are their parts, the largest first."""
    mine = (forward >= part) & (backward > survive)
    several = (mine.sum(axis=1) >= 2) & ((forward * mine).sum(axis=1) > survive)
    return {int(i): _largest(np.where(mine[i], forward[i], 0.0), part) for i in np.flatnonzero(several)}


def _largest(shares: Floats, least: float) -> tuple[int, ...]:
    """Places with at least this share, the largest first."""
    places: list[int] = np.flatnonzero(shares >= least).tolist()
    return tuple(sorted(places, key=lambda j: (-shares[j], j)))
