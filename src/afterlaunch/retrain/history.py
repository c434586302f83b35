"""Clusters that keep their names, over any number of weeks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from afterlaunch.decide import InputError
from afterlaunch.finding import Json
from afterlaunch.profile.labels import NOISE, label_text
from afterlaunch.retrain.history_store import FORMAT, KIND, Entry, Folder, Memory, Store, TakenError
from afterlaunch.retrain.naming import (
    ClusterEvent,
    Clusters,
    Names,
    Remembered,
    Rules,
    follow,
    follow_centroids,
    name_all,
    returning,
    returning_centroids,
)
from afterlaunch.stats.partitions import adjusted_rand

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
TRIES = 5
"""Times that a week is named anew because another process appended one in the meantime."""


@dataclass(frozen=True)
class Week:
    """One week of a history.

    Attributes:
        week: Its name.
        ids: Persistent id of every member's cluster, in the order in which members were given; null for none.
        names: Label to persistent id.
        events: What became of the clusters since the week before.
        parents: New cluster to those from which the most of its members come.
        change: One minus the adjusted Rand index against the week before, on members that both weeks have and that
            are in a cluster in both; None without any.
        common: Share of the larger week's members that both weeks have; None by centroids alone, and in the first week.
    """

    week: str
    ids: pl.Series
    names: Mapping[str, int]
    events: tuple[ClusterEvent, ...]
    parents: Mapping[int, tuple[int, ...]]
    change: float | None
    common: float | None


class ClusterHistory:
    """Gives clusters ids that stay: a cluster keeps its id as long as it survives, and no id is ever used again.

    A cluster is the same as last week's when more than half of the members of each are in both; of a split the largest
    part keeps the id, of a merge the largest contributor's goes on, and any other cluster gets an id that none ever
    had. One that was gone for up to `recall` weeks and comes back with most of its members gets its id back. Where
    hardly any member is in both weeks, clusters are followed by their centroids, if these were given.

    Args:
        recall: Weeks for which a cluster that is gone is remembered.
        survive: Share of members that must be in common, in [0.5, 1).
        part: Share of a cluster from which on something is a part of it, in (0, 1).
        common: Share of the larger week's members that both weeks must have to be followed by members.

    Source:
        MONIC: Spiliopoulou, Ntoutsi, Theodoridis & Schult (2006), KDD, 706-711, see `stats.partitions.events`.

    Example:
        >>> history = ClusterHistory()
        >>> history.append("W46", ids=range(6), labels=["a", "a", "a", "b", "b", "b"]).ids.to_list()
        [1, 1, 1, 2, 2, 2]
        >>> history.append("W47", ids=range(6), labels=[7, 7, 7, 0, 0, 9]).names
        {'7': 1, '0': 2, '9': 3}
    """

    def __init__(self, *, recall: int = 12, survive: float = 0.5, part: float = 0.3, common: float = 0.2) -> None:
        if recall < 0 or not 0.5 <= survive < 1 or not 0 < part < 1 or not 0 <= common <= 1:
            raise InputError(
                f"The rules are recall={recall}, survive={survive}, part={part}, common={common}; give recall of 0 or "
                "more, survive in [0.5, 1), part in (0, 1) and common in [0, 1]."
            )
        self._rules = Rules(recall, survive, part, common)
        self._store: Store = Memory()

    @classmethod
    def open(cls, folder: str | Path, **rules: Any) -> ClusterHistory:
        """A history that is kept in a folder, and goes on where it was.

        Args:
            folder: Made when it is not there. Several processes may append to it; each week is there whole or not
                at all.
            **rules: As for the class.

        Raises:
            InputError: When the folder cannot be used.
        """
        out = cls(**rules)
        out._store = Folder(Path(folder))
        return out

    def append(self, week: str, ids: Any = None, labels: Any = None, centroids: Mapping[Any, Any] | Any = None) -> Week:
        """Add a week, and name its clusters.

        The last week may be given again with the same clusters, which changes nothing; with others it is refused.

        Args:
            week: Name of the week, another one each time.
            ids: Members' ids, shape (n,), each once; None when members are not the same from week to week.
            labels: Label of each member's cluster, shape (n,): text or numbers. Missing, NaN and -1 are in no cluster.
            centroids: Label to centroid, shape (d,) each; or an array of shape (K, d) whose rows are the clusters
                0 to K - 1.

        Raises:
            InputError: For ids that repeat, another length, a name that was used, or weeks that nothing ties together.
        """
        if labels is None:
            raise InputError("No labels were given; give the label of each member's cluster.")
        texts = [label_text(v) for v in _list(labels)]
        members = _members(ids, len(texts))
        mine = _Given(str(week), members, texts, _centroids(centroids, texts))
        for _ in range(TRIES):
            # Before the last week is read: one that is added in between then has this number, and ours is refused.
            number = self._store.number()
            last = self._store.last()
            if last is not None and last["week"] == mine.week:
                return self._again(mine, last)
            if mine.week in self._names(last):
                raise InputError(f"The week {mine.week!r} is in the history already; give another name.")
            try:
                return self._append(mine, last, number)
            except TakenError:
                continue
        raise InputError(
            f"The week {mine.week!r} could not be added, because others were added all the time; try again."
        )

    def weeks(self) -> list[str]:
        """Names of all weeks, in order."""
        return self._names(self._store.last())

    def members(self, week: str | None = None) -> pl.DataFrame:
        """Members of a week ("id", where they were given) and their persistent "cluster"; null for none.

        Args:
            week: Its name; None is the last.

        Raises:
            InputError: When there is no such week.
        """
        return self._store.members(self._entry(week)["number"])

    def table(self) -> pl.DataFrame:
        """A row for every week and cluster: "week", "cluster" (persistent id) and "size"."""
        rows = [(e["week"], i, n) for e in self._entries() for i, n in zip(e["ids"], e["sizes"], strict=True)]
        kinds = {"week": pl.String, "cluster": pl.Int64, "size": pl.Int64}
        return pl.DataFrame(rows, schema=kinds, orient="row")

    def flow(self, last: int = 10) -> Json:
        """Members from cluster to cluster over weeks, as a picture of the kind "flow" (see `report.flow`).

        Args:
            last: Weeks that are shown, the newest ones.
        """
        shown = self._entries(last)
        nodes = [[{"name": str(i), "size": n} for i, n in zip(e["ids"], e["sizes"], strict=True)] for e in shown]
        places = [{i: p for p, i in enumerate(e["ids"])} for e in shown]
        flows = []
        for before, e in enumerate(shown[1:]):
            known = [(places[before].get(i), places[before + 1].get(j), n) for i, j, n in e["flows"]]
            flows.append([{"from": i, "to": j, "size": n} for i, j, n in known if i is not None and j is not None])
        return {
            "kind": "flow",
            "title": "Clusters over weeks",
            "columns": [e["week"] for e in shown],
            "nodes": nodes,
            "flows": flows,
        }

    # ---------------------------------------------------------------- reading

    def _names(self, last: Entry | None) -> list[str]:
        return list(last["weeks"]) if last is not None else []

    def _entry(self, week: str | None) -> Entry:
        last = self._store.last()
        known = self._names(last)
        if last is None or (week is not None and week not in known):
            raise InputError(f"There is no week {week!r} in the history; it has {', '.join(known[-12:]) or 'none'}.")
        return last if week is None else self._store.entry(last["numbers"][known.index(week)])

    def _entries(self, most: int | None = None) -> list[Entry]:
        last = self._store.last()
        if last is None:
            return []
        numbers = last["numbers"] if most is None else last["numbers"][-max(most, 1) :]
        return [self._store.entry(n) for n in numbers]

    def _again(self, given: _Given, last: Entry) -> Week:
        """The last week given once more."""
        kept = self._store.members(last["number"])
        names = {label: int(i) for label, i in last["names"].items()}
        mine = pl.Series("cluster", [names.get(t) for t in given.labels], dtype=pl.Int64)
        same = set(given.known) <= set(names) and kept["cluster"].to_list() == mine.to_list()
        if same and given.ids is not None:
            same = "id" in kept.columns and _text(kept["id"]).to_list() == _text(given.ids).to_list()
        if not same:
            raise InputError(
                f"The week {given.week!r} is in the history already, with other clusters; give another name."
            )
        return _week(last, mine)

    # ---------------------------------------------------------------- appending

    def _append(self, given: _Given, last: Entry | None, number: int) -> Week:
        clusters = given.clusters
        names, change, common, flows, gone = self._name(given, last)
        ids = [names.ids[p] for p in range(len(clusters.ids))]
        of = {label: names.ids[p] for p, label in enumerate(given.known)}
        mine = pl.Series("cluster", [of.get(t) for t in given.labels], dtype=pl.Int64)
        entry: Entry = {
            "afterlaunch": KIND,
            "format": FORMAT,
            "number": number,
            "week": given.week,
            "weeks": [*self._names(last), given.week],
            "numbers": [*(last["numbers"] if last is not None else []), number],
            "ids": ids,
            "sizes": clusters.sizes.tolist(),
            "names": of,
            "given": names.given,
            "parents": {str(i): list(p) for i, p in names.parents.items()},
            "events": [[e.kind, list(e.previous), list(e.current), list(e.shares)] for e in names.events],
            "change": change,
            "common": common,
            "flows": flows,
            "gone": gone,
        }
        columns = {"cluster": mine} if given.ids is None else {"id": given.ids, "cluster": mine}
        self._store.add(entry, pl.DataFrame(columns), clusters.centroids)
        return _week(entry, mine)

    def _name(
        self, given: _Given, last: Entry | None
    ) -> tuple[Names, float | None, float | None, list[Any], list[Any]]:
        """Ids of the week's clusters, what changed, and the clusters that are gone but remembered."""
        clusters = given.clusters
        # Never below what was ever given, even when the last week was removed or damaged.
        spent = max(self._store.given(), last["given"] if last is not None else 0)
        if last is None:
            first = name_all({}, (), {}, (), len(clusters.ids), spent)
            return first, None, None, [], []
        before = Clusters(
            tuple(last["ids"]), np.array(last["sizes"], dtype=np.int64), self._store.centroids(last["number"])
        )
        table, sizes, shared = self._table(given, last)
        remembered = [g for g in last["gone"] if given_number(last) + 1 - g["place"] <= self._rules.recall]
        by_members = shared is not None and shared >= self._rules.common
        change = None
        flows: list[Any] = []
        if by_members and table is not None and sizes is not None:
            kept, found = follow(table, sizes, self._rules)
            opened = [j for j in range(len(clusters.ids)) if j not in kept]
            back = returning(self._remember(given, remembered, last), opened, self._rules) if opened else {}
            change = 1.0 - adjusted_rand(table) if table.sum() > 1 else None
        elif before.centroids is not None and clusters.centroids is not None:
            if before.centroids.shape[1:] != clusters.centroids.shape[1:]:
                raise InputError(
                    f"The centroids have {clusters.centroids.shape[1]} features and last week's had "
                    f"{before.centroids.shape[1]}; give the same features every week."
                )
            kept, found = follow_centroids(before, clusters, self._rules), ()
            opened = [j for j in range(len(clusters.ids)) if j not in kept]
            back = self._back_by_centroids(remembered, before, clusters, opened) if opened else {}
        elif not before.ids or not clusters.ids:
            kept, found, back = {}, (), {}
        else:
            share = "none" if shared is None else f"{shared:.0%}"
            raise InputError(
                f"Nothing ties the week {given.week!r} to {last['week']!r}: {share} of the members are in both, less "
                f"than {self._rules.common:.0%}, and not both weeks have centroids; give ids of the same members, or "
                "centroids."
            )
        names = name_all(kept, found, back, before.ids, len(clusters.ids), spent)
        if table is not None:
            flows = [[before.ids[i], names.ids[j], int(table[i, j])] for i, j in zip(*np.nonzero(table), strict=True)]
        alive = set(names.ids.values())
        gone = [g for g in remembered if g["id"] not in alive]
        place = given_number(last)
        for i, cluster in enumerate(before.ids):
            if cluster not in alive:
                gone.append({"id": cluster, "place": place, "number": last["number"], "size": int(before.sizes[i])})
        return names, change, shared, flows, gone

    def _table(self, given: _Given, last: Entry) -> tuple[Ints | None, tuple[Ints, Ints] | None, float | None]:
        """Members that both weeks have by cluster, all common members of each, and their share of the larger week."""
        kept = self._store.members(last["number"])
        if given.ids is None or "id" not in kept.columns:
            return None, None, None
        both = _joined(kept, given)
        shared = both.height / max(kept.height, len(given.labels), 1)
        place = {cluster: i for i, cluster in enumerate(last["ids"])}
        old = both["cluster"].replace_strict(place, default=None, return_dtype=pl.Int64)
        new = both["now"]
        table = np.zeros((len(place), len(given.known)), dtype=np.int64)
        known = (old.is_not_null() & new.is_not_null()).to_numpy()
        np.add.at(table, (old.to_numpy()[known].astype(np.int64), new.to_numpy()[known].astype(np.int64)), 1)
        sizes = _counts(old, len(place)), _counts(new, len(given.known))
        return table, sizes, shared

    def _remember(self, given: _Given, remembered: Sequence[Any], last: Entry) -> list[Remembered]:
        """Clusters that are gone, beside this week's members."""
        out = []
        for number in sorted({g["number"] for g in remembered}, reverse=True):
            then = self._store.members(number)
            if "id" not in then.columns:
                continue
            both = _joined(then, given)
            all_then = _counts(both["now"], len(given.known))
            for g in (g for g in remembered if g["number"] == number):
                mine = both.filter(pl.col("cluster") == g["id"])
                here = _counts(mine["now"], len(given.known))
                ago = given_number(last) + 1 - g["place"]
                out.append(Remembered(g["id"], ago, g["size"], here, mine.height, all_then))
        return out

    def _back_by_centroids(
        self, remembered: Sequence[Any], before: Clusters, clusters: Clusters, opened: Sequence[int]
    ) -> dict[int, int]:
        ids, sizes, rows = [], [], []
        for g in remembered:
            centres = self._store.centroids(g["number"])
            known = self._store.entry(g["number"])["ids"]
            if centres is not None and g["id"] in known:
                ids.append(g["id"])
                sizes.append(g["size"])
                rows.append(centres[known.index(g["id"])])
        gone = Clusters(tuple(ids), np.array(sizes, dtype=np.int64), np.array(rows) if rows else None)
        return returning_centroids(gone, before, clusters, opened)


def given_number(entry: Entry) -> int:
    """How many weeks the history has, up to this one."""
    return len(entry["weeks"])


class _Given:
    """A week as it was given, its clusters in an order that does not depend on their labels."""

    def __init__(self, week: str, ids: pl.Series | None, labels: list[str], centroids: dict[str, Floats]) -> None:
        self.week, self.ids, self.labels = week, ids, labels
        sizes: dict[str, int] = {}
        first: dict[str, tuple[int, str]] = {}
        order = _order(ids, len(labels))
        for place, label in enumerate(labels):
            if label not in NOISE:
                sizes[label] = sizes.get(label, 0) + 1
                at = (order[place], "")
                first[label] = min(first.get(label, at), at)
        for label in centroids:
            if label not in NOISE:
                sizes.setdefault(label, 0)
                first.setdefault(label, (len(labels), ""))
        places = {label: tuple(centroids[label].tolist()) for label in sizes} if centroids else {}
        self.known = sorted(sizes, key=lambda k: (-sizes[k], first[k], places.get(k, ()), k))
        rows = np.stack([centroids[k] for k in self.known]) if centroids and self.known else None
        self.clusters = Clusters(
            tuple(range(len(self.known))), np.array([sizes[k] for k in self.known], dtype=np.int64), rows
        )

    def places(self) -> pl.Series:
        """Place of each member's cluster, null for none."""
        place = {label: p for p, label in enumerate(self.known)}
        return pl.Series("now", [place.get(t) for t in self.labels], dtype=pl.Int64)


def _order(ids: pl.Series | None, size: int) -> list[int]:
    """Rank of each member, by which clusters of one size are told apart whatever the order of rows."""
    if ids is None:
        return [0] * size
    return ids.rank("ordinal").to_list() if ids.len() else []


def _joined(kept: pl.DataFrame, given: _Given) -> pl.DataFrame:
    """Members of another week that are among those given: "cluster" then and the place "now"."""
    now = pl.DataFrame({"id": given.ids, "now": given.places()})
    if now["id"].dtype != kept["id"].dtype:
        now, kept = (t.with_columns(pl.col("id").cast(pl.String)) for t in (now, kept))
    return kept.join(now, on="id", how="inner")


def _counts(places: pl.Series, size: int) -> Ints:
    known = places.drop_nulls().to_numpy().astype(np.int64)
    return np.bincount(known, minlength=size).astype(np.int64)


def _text(values: pl.Series) -> pl.Series:
    return values.cast(pl.String)


def _list(values: Any) -> list[Any]:
    if isinstance(values, pl.Series):
        return values.to_list()
    return values.tolist() if hasattr(values, "tolist") else list(values)


def _members(ids: Any, size: int) -> pl.Series | None:
    if ids is None:
        return None
    try:
        found = ids.alias("id") if isinstance(ids, pl.Series) else pl.Series("id", _list(ids))
    except (TypeError, pl.exceptions.PolarsError) as error:
        raise InputError("The ids hold values of several types; give all as text or all as numbers.") from error
    if found.len() != size:
        raise InputError(f"There are {found.len()} ids and {size} labels; give one label for each id.")
    if found.null_count():
        raise InputError(f"{found.null_count()} ids are missing; leave those members out.")
    if found.dtype.is_float() and bool((found == found.floor()).all()):
        found = found.cast(pl.Int64)
    repeated = found.filter(found.is_duplicated())
    if repeated.len():
        raise InputError(f"The id {repeated[0]!r} is given twice; give each member once.")
    return found


def _centroids(given: Any, labels: Sequence[str]) -> dict[str, Floats]:
    if given is None:
        return {}
    if isinstance(given, Mapping):
        found = {label_text(k): np.asarray(v, dtype=np.float64).ravel() for k, v in given.items()}
    else:
        rows = np.asarray(given, dtype=np.float64)
        if rows.ndim != 2:
            raise InputError(f"The centroids have shape {rows.shape}; give one row for each cluster.")
        found = {str(i): row for i, row in enumerate(rows)}
    missing = sorted({t for t in labels if t not in NOISE} - set(found))
    if missing:
        raise InputError(f"The cluster {missing[0]!r} has no centroid; give one for every cluster, or none at all.")
    if len({len(v) for v in found.values()}) > 1 or not all(np.isfinite(v).all() for v in found.values()):
        raise InputError(
            "The centroids have missing values or different lengths; give the same finite features for all."
        )
    return found


def _week(entry: Entry, ids: pl.Series) -> Week:
    return Week(
        entry["week"],
        ids,
        {label: int(i) for label, i in entry["names"].items()},
        tuple(ClusterEvent(kind, tuple(old), tuple(new), tuple(shares)) for kind, old, new, shares in entry["events"]),
        {int(i): tuple(p) for i, p in entry["parents"].items()},
        entry["change"],
        entry["common"],
    )
