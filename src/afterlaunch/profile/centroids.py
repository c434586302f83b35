"""Two clusterings of different members, compared by their centroids."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from afterlaunch.profile.compared import Floats, Ints, Labelings
from afterlaunch.profile.labels import NO_LABEL, NOISE, in_order

LARGEST = 1e100
"""Features are taken to be no larger."""

_AT_ONCE = 4_000_000
"""Distances that are held in memory at once."""


def by_centroids(
    previous: tuple[Floats, Sequence[str]], current: tuple[Floats, Sequence[str]], sample: bool = True
) -> Labelings:
    """Put this week's members to the nearest of last week's centroids and to the nearest of this week's.

    Both labels of a member come about in the same way, so that nothing changes where no centroid does, whatever
    the shape of the clusters. Features are measured in their standard deviation within clusters; a missing value
    adds no distance.

    Args:
        previous: Rows of the previous week, shape (n, d), NaN for missing, and their labels, shape (n,).
        current: Rows of the current week, shape (m, d), and their labels, shape (m,).
        sample: Whether the rows are a sample.

    Returns:
        The two labelings of this week's members that are in a cluster. `recovered` says how many of the previous
        members get their own label back. When either week has no member in a cluster, all are in none.

    Example:
        >>> rng = np.random.default_rng(0)
        >>> x = np.concatenate([rng.normal(0, 1, (50, 2)), rng.normal(9, 1, (50, 2))])
        >>> found = by_centroids((x, ["a"] * 50 + ["b"] * 50), (x + 0.1, ["2"] * 50 + ["1"] * 50))
        >>> found.previous, found.current, found.counts[0].tolist(), found.recovered
        (('a', 'b'), ('1', '2'), [[0, 50], [50, 0]], 1.0)
    """
    weeks = []
    for rows, labels in (previous, current):
        kept = np.array([k not in NOISE for k in labels], dtype=bool)
        x = np.asarray(rows, dtype=np.float64)[kept]
        # Squares of larger numbers are no numbers any more; beyond that they are all equally far.
        x = np.where(np.isfinite(x), np.clip(x, -LARGEST, LARGEST), np.nan)
        names = [k for k, good in zip(labels, kept, strict=True) if good]
        known = in_order(names)
        place = {k: i for i, k in enumerate(known)}
        weeks.append((x, np.array([place[k] for k in names], dtype=np.int64), known))
    if not all(len(known) for _, _, known in weeks):
        counts = np.full((1, 1, 1), len(current[1]), dtype=np.int64)
        return Labelings((NO_LABEL,), (NO_LABEL,), counts, noise=frozenset({NO_LABEL}), recovered=0.0)
    centres = [_centroids(x, own, len(known)) for x, own, known in weeks]
    squares, values = np.zeros(weeks[0][0].shape[1]), np.zeros(weeks[0][0].shape[1])
    for (x, own, _), centre in zip(weeks, centres, strict=True):
        away = x - centre[own]
        squares += np.nansum(away**2, axis=0)
        values += np.isfinite(away).sum(axis=0)
    within = np.sqrt(np.divide(squares, values, out=np.zeros_like(squares), where=values > 0))
    together = np.concatenate([x for x, _, _ in weeks])
    spread = np.array([float(np.nanstd(c)) if np.isfinite(c).any() else 0.0 for c in together.T])
    # A feature that is the same for all members of each cluster still tells them apart.
    scale = np.where(within > 1e-9 * spread, within, spread)
    unit = np.where(scale > 0, scale, np.inf)
    old, new = (np.nan_to_num(c / unit) for c in centres)
    now = weeks[1][0] / unit
    first, second = nearest(now, old), nearest(now, new)
    counts = np.zeros((1, len(old), len(new)), dtype=np.int64)
    np.add.at(counts[0], (first, second), 1)
    back = nearest(weeks[0][0] / unit, old) == weeks[0][1]
    return Labelings(
        tuple(weeks[0][2]),
        tuple(weeks[1][2]),
        counts,
        sample=len(now) if sample else None,
        recovered=float(back.mean()),
        sizes=(counts[0].sum(axis=1), counts[0].sum(axis=0)),
    )


def _centroids(x: Floats, own: Ints, clusters: int) -> Floats:
    """Mean of every cluster's known values, shape (K, d); NaN where it has none."""
    known: NDArray[np.bool_] = np.isfinite(x)
    sums, counts = np.zeros((clusters, x.shape[1])), np.zeros((clusters, x.shape[1]))
    np.add.at(sums, own, np.where(known, x, 0.0))
    np.add.at(counts, own, known)
    out: Floats = np.divide(sums, counts, out=np.full_like(sums, np.nan), where=counts > 0)
    return out


def nearest(rows: Floats, centroids: Floats) -> Ints:
    """Place of the nearest centroid of every row, shape (n,); the first of equally near ones.

    Args:
        rows: Shape (n, d); what is missing (NaN) adds no distance.
        centroids: Shape (K, d).

    Example:
        >>> nearest(np.array([[0.2], [np.nan], [0.9]]), np.array([[0.0], [1.0]])).tolist()
        [0, 0, 1]
    """
    out = np.zeros(len(rows), dtype=np.int64)
    step = max(1, _AT_ONCE // max(len(centroids), 1))
    squares = centroids**2
    for start in range(0, len(rows), step):
        part = rows[start : start + step]
        known = np.isfinite(part)
        away = known.astype(np.float64) @ squares.T - 2 * np.where(known, part, 0.0) @ centroids.T
        out[start : start + step] = away.argmin(axis=1)
    return out
