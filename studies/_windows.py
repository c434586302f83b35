"""What the studies of windows share: real days drawn again, columns moved to a known effect, evidence by hand.

A pool is a table cut into days, its days put together into weeks. A replay draws weeks with replacement, one
after the other, for the reference and for production, and rows with replacement within each day. So weekdays,
what a day shares, and how columns go together are those of the table, and nothing changes over time.

Values of a column with many are rounded to about a thousand, its lowest and highest ones kept as they are: a
window is then its rows per value, and every statistic, ours or a peer's, is computed from those exactly.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from _common import Floats, Ints

from afterlaunch.checks import Evidence
from afterlaunch.checks.drift_kinds import CATEGORIES, GROUPS, KIND
from afterlaunch.profile.bins import category_bins, numeric_bins
from afterlaunch.profile.buckets import INDEPENDENT
from afterlaunch.profile.types import Bins, CategoryBins, ColumnCounts, NumericBins, Profile, Timeline, WindowCounts
from afterlaunch.questions.gather import BIN_ROWS
from afterlaunch.roles import Roles
from afterlaunch.stats.distances import LEAST_EXPECTED, merge_rare
from afterlaunch.watch import Window

TABLES = ("car_loan", "complete_journey", "acs_employment_ma", "bank_marketing")
MONDAY = datetime(2023, 1, 2, tzinfo=UTC)
EXACT_VALUES = 150
ROUND_VALUES = 700


@dataclass(frozen=True)
class PoolColumn:
    """A column of the pool.

    Attributes:
        name: The column.
        numeric: Whether its values are numbers.
        values: Its different values in order, and at the end one that no row has: out of range, or a new category.
        codes: Place of each row's value among them, -1 for missing, shape (N,).
    """

    name: str
    numeric: bool
    values: Any
    codes: Ints

    @property
    def size(self) -> int:
        return len(self.values)

    @property
    def shares(self) -> Floats:
        """Share of each value among the rows that have one."""
        rows = np.bincount(self.codes[self.codes >= 0], minlength=self.size)
        return np.asarray(rows / rows.sum())


@dataclass(frozen=True)
class Pool:
    """A table cut into days and weeks.

    Attributes:
        name: The table.
        columns: Its columns.
        start: First row of each day, shape (D + 1,).
        weeks: Day of each weekday of each week, -1 for none, shape (W, 7).
        scale: Rows of a window over the rows of its day.
    """

    name: str
    columns: tuple[PoolColumn, ...]
    start: Ints
    weeks: Ints
    scale: float

    def rows_of(self, days: Ints) -> Ints:
        """Rows of a window made from each day."""
        size = np.diff(self.start)
        return np.where(days >= 0, np.rint(size[days] * self.scale), 0).astype(np.int64)


@cache
def pool(name: str, folder: str, rows: int, *, whole_days: bool = False) -> Pool:
    """Read a table and cut it into weeks.

    Args:
        name: The table.
        folder: Where the tables are.
        rows: Mean number of rows of a day with any.
        whole_days: Keep columns such as an interest rate, which all rows of a day have in common.
    """
    frame, days, weekdays = _days(name, Path(folder), rows)
    first = np.flatnonzero(np.append(True, days[1:] != days[:-1]))
    start = np.append(first, days.size)
    weekday = weekdays[first]
    weeks: list[Ints] = []
    for day, w in enumerate(weekday):
        if day == 0 or w <= weekday[day - 1]:
            weeks.append(np.full(7, -1))
        weeks[-1][w] = day
    most = max(int((w >= 0).sum()) for w in weeks)
    whole = np.stack([w for w in weeks if int((w >= 0).sum()) == most])
    used = np.diff(start)[whole[whole >= 0]]
    columns = tuple(c for c in map(_column, frame) if whole_days or not follows_days(c, start))
    return Pool(name, columns, start, whole, rows / float(used.mean()))


def follows_days(column: PoolColumn, start: Ints) -> bool:
    """Whether days explain most of a column: all rows of a day are then about one observation."""
    hit = column.codes == np.argmax(np.bincount(column.codes[column.codes >= 0]))
    day = np.repeat(np.arange(start.size - 1), np.diff(start))
    share = np.bincount(day, hit) / np.diff(start)
    return float((np.diff(start) * (share - hit.mean()) ** 2).sum()) > 0.25 * float(((hit - hit.mean()) ** 2).sum())


def _days(name: str, folder: Path, rows: int) -> tuple[pl.DataFrame, Ints, Ints]:
    """Rows in the order of their days, the day of each and its weekday."""
    if name == "complete_journey":
        t = pl.read_parquet(folder / name / "transactions_sample.parquet")
        products = pl.read_parquet(folder / name / "products.parquet")
        t = t.join(products, on="product_id", how="left").sort("transaction_timestamp", maintain_order=True)
        when = t["transaction_timestamp"].dt.date()
        gone = ["household_id", "basket_id", "product_id", "package_size", "week", "transaction_timestamp"]
        day = when.cast(pl.Int64).to_numpy() if when.dtype.is_numeric() else when.cast(pl.Int32).to_numpy()
        return t.drop(gone), day.astype(np.int64), when.dt.weekday().to_numpy().astype(np.int64) - 1
    if name == "bank_marketing":
        t = pl.read_parquet(folder / name / "bank_additional_full.parquet")[:20_000]
        names = ["mon", "tue", "wed", "thu", "fri"]
        weekday = np.array([names.index(d) for d in t["day_of_week"].to_list()])
        day = np.cumsum(np.append(True, weekday[1:] != weekday[:-1]))
        return t.drop("month", "day_of_week", "y"), day, weekday
    parts = [pl.read_parquet(folder / name / f"{part}.parquet") for part in ("reference", "analysis")]
    if name == "car_loan":
        parts[1] = parts[1][:25_000]  # from row 25,000 on it has changed
    else:
        parts[1] = parts[1].filter(pl.col("year") == 2016)  # 2017 and 2018 are sorted by kind of household
    shared = [c for c in parts[1].columns if c in parts[0].columns and c not in {"id", "year"}]
    t = pl.concat([p.select(shared) for p in parts], how="vertical_relaxed")
    if name == "car_loan":
        when = t["timestamp"].str.slice(0, 10).str.to_date()
        return t.drop("timestamp"), when.cast(pl.Int32).to_numpy().astype(np.int64), when.dt.weekday().to_numpy() - 1
    day = np.arange(t.height) // rows
    keep = day < t.height // rows
    return t.filter(keep), day[keep], day[keep] % 7


def _column(series: pl.Series) -> PoolColumn:
    if not series.dtype.is_numeric():
        text = series.cast(pl.String)
        names = sorted({v for v in text.to_list() if v is not None})
        place = {v: j for j, v in enumerate(names)} | {None: -1}
        return PoolColumn(series.name, False, (*names, "never seen"), np.array([place[v] for v in text.to_list()]))
    x = series.cast(pl.Float64).fill_null(math.nan).to_numpy()
    known = x[np.isfinite(x)]
    values = np.unique(known)
    if values.size > 2 * EXACT_VALUES + ROUND_VALUES:
        inner = np.quantile(known, np.linspace(0, 1, ROUND_VALUES), method="nearest")
        values = np.unique(np.concatenate([values[:EXACT_VALUES], inner, values[-EXACT_VALUES:]]))
    at = np.searchsorted(values, x).clip(1, max(values.size - 1, 1))
    if values.size == 1:
        at = np.ones(x.size, dtype=np.int64)
    lower = np.abs(x - values[at - 1]) <= np.abs(values[np.minimum(at, values.size - 1)] - x)
    codes = np.where(np.isfinite(x), at - lower, -1).astype(np.int64)
    # Just below the lowest: far above the highest, few rows would already be a large distance.
    below = values[0] - 0.01 * max(float(np.std(known)), 1e-9)
    return PoolColumn(series.name, True, np.append(values, below), codes)


# ------------------------------------------------------------------ moving a column


@dataclass(frozen=True)
class Move:
    """What happens to a column: a linear map of its shares.

    Attributes:
        share: Share of rows that go elsewhere: numbers to half the distance from the top in ranks, the most frequent
            category to the next.
        missing: Share of rows that lose their value.
        out: Share of the others that get a value that no row has.
    """

    share: float = 0.0
    missing: float = 0.0
    out: float = 0.0

    def codes(self, rng: np.random.Generator, column: PoolColumn, codes: Ints) -> Ints:
        """The values of rows after it."""
        out = codes.copy()
        at = (
            np.flatnonzero((rng.random(codes.size) < self.share) & (codes >= 0)) if self.share > 0 else np.empty(0, int)
        )
        if at.size:
            c, p = codes[at], column.shares
            if column.numeric:
                upto = np.append(0.0, np.cumsum(p[:-1]))
                rank = upto[c] + rng.random(at.size) * p[c]
                out[at] = np.searchsorted(upto[1:], (1 + rank) / 2, side="left").clip(0, column.size - 2)
            else:
                first, second = _most_frequent(p)
                out[at] = np.where(c == first, second, c)
        if self.out > 0:
            out[(rng.random(codes.size) < self.out) & (out >= 0)] = column.size - 1
        if self.missing > 0:
            out[rng.random(codes.size) < self.missing] = -1
        return out

    def shares(self, column: PoolColumn, before: Floats) -> Floats:
        """Shares of the values after it, shape (..., U) as those before."""
        p = column.shares
        moved = before.copy()
        if column.numeric:
            upto = np.cumsum(p[:-1])
            at = np.append(0.0, upto)
            for own, line in zip(moved.reshape(-1, p.size), before.reshape(-1, p.size), strict=True):
                own[:-1] = np.diff(np.interp(2 * at - 1, at, np.append(0.0, np.cumsum(line[:-1]))))
        else:
            first, second = _most_frequent(p)
            if first != second:
                moved[..., second] += moved[..., first]
                moved[..., first] = 0
        after = before + self.share * (moved - before)
        after *= 1 - self.out
        after[..., -1] += self.out
        return np.asarray(after)


def _most_frequent(p: Floats) -> tuple[int, int]:
    """The two most frequent values, or twice the only one."""
    order = np.argsort(-p, kind="stable")
    return int(order[0]), int(order[1] if p[order[1]] > 0 else order[0])


# ------------------------------------------------------------------ one replay


@dataclass(frozen=True)
class Side:
    """Windows of the reference or of production.

    Attributes:
        windows: The windows.
        index: Window of each row, shape (n,).
        rows: Rows of the pool, shape (n,).
        days: Day of the pool behind each window, -1 for none, shape (W,).
    """

    windows: tuple[Window, ...]
    index: Ints
    rows: Ints
    days: Ints

    def counts(self, column: PoolColumn, codes: Ints) -> tuple[Ints, Ints]:
        """Rows per window and value, shape (W, U), and rows without a value."""
        width, height = column.size + 1, len(self.windows)
        table = np.bincount(self.index * width + codes + 1, minlength=width * height).reshape(height, width)
        return table[:, 1:], table[:, 0]


def side(rng: np.random.Generator, p: Pool, days: int, start: datetime, draw: str = "weeks") -> Side:
    """Draw weeks, or days of each weekday, and rows within each day."""
    if draw == "weeks":
        own = p.weeks[rng.integers(len(p.weeks), size=math.ceil(days / 7))].reshape(-1)[:days]
    else:
        own = p.weeks[rng.integers(len(p.weeks), size=days), np.arange(days) % 7]
    n = p.rows_of(own)
    index = np.repeat(np.arange(days), n)
    size = np.diff(p.start)[own[index]]
    rows = p.start[own[index]] + (rng.random(index.size) * size).astype(np.int64)
    windows = []
    for i in range(days):
        at = start + timedelta(days=i)
        windows.append(Window(f"{at:%Y-%m-%d}", at, at + timedelta(days=1), int(n[i])))
    return Side(tuple(windows), index, rows, own)


@dataclass(frozen=True)
class Counted:
    """A column of one replay: rows per window and value, and what is frozen.

    Attributes:
        column: The column.
        bins: Its bins.
        member: Bin of each value, shape (U,).
        before: Rows per window of the reference and value, shape (R, U).
        lost_before: Those without a value, shape (R,).
        after: The same of production, shape (W, U).
        lost_after: The same of production, shape (W,).
    """

    column: PoolColumn
    bins: Bins
    member: Ints
    before: Ints
    lost_before: Ints
    after: Ints = field(default_factory=lambda: np.zeros((0, 0), np.int64))
    lost_after: Ints = field(default_factory=lambda: np.zeros(0, np.int64))

    def binned(self, table: Any) -> Any:
        """Add up values of one bin: (..., U) -> (..., K)."""
        out = np.zeros((*table.shape[:-1], self.bins.size), dtype=table.dtype)
        flat, into = table.reshape(-1, table.shape[-1]), out.reshape(-1, self.bins.size)
        for own, line in zip(into, flat, strict=True):
            own[:] = np.bincount(self.member, line, minlength=self.bins.size)
        return out

    def window_counts(self, *, production: bool) -> WindowCounts:
        table = self.after if production else self.before
        below = above = np.zeros(len(table), dtype=np.int64)
        others: dict[str, int] = {}
        if isinstance(self.bins, NumericBins):
            below = table[:, self.column.values < self.bins.low].sum(axis=1)
            above = table[:, self.column.values > self.bins.high].sum(axis=1)
        else:
            for j in np.flatnonzero(self.member == self.bins.size - 1):
                if table[:, j].sum():
                    others[self.column.values[j]] = int(table[:, j].sum())
        lost = self.lost_after if production else self.lost_before
        zero = np.zeros(len(table), dtype=np.int64)
        kind = "numeric" if self.column.numeric else "category"
        return WindowCounts(self.column.name, kind, self.bins, self.binned(table), lost, zero, below, above, others)

    def column_counts(self) -> ColumnCounts:
        w = self.window_counts(production=False)
        total = [x.sum(axis=0, keepdims=True) for x in (w.counts, w.missing, w.infinite, w.below, w.above)]
        return ColumnCounts(w.name, w.kind, w.bins, *total, others=w.others)


def freeze(column: PoolColumn, reference: Side, rng: np.random.Generator) -> Counted:
    """Count the reference and freeze its bins as the engine does."""
    codes = column.codes[reference.rows]
    before, lost = reference.counts(column, codes)
    rows = before.sum(axis=0)
    if column.numeric:
        known = codes[codes >= 0]
        if known.size > BIN_ROWS:
            known = rng.choice(known, BIN_ROWS, replace=False)
        bins: Bins | None = numeric_bins(column.values[known])
        assert isinstance(bins, NumericBins)
        seen = column.values[rows > 0]
        bins = replace(bins, low=float(seen.min()), high=float(seen.max()))
        member = np.searchsorted(np.array(bins.edges), column.values, side="left")
    else:
        seen_at = np.flatnonzero(rows)
        bins = category_bins(
            [column.values[j] for j in seen_at],
            [int(rows[j]) for j in seen_at],
            int(seen_at.size),
            int(np.count_nonzero(rows == 1)),
        )
        place = {v: j for j, v in enumerate(bins.values)}
        member = np.array([place.get(v, bins.size - 1) for v in column.values])
    return Counted(column, bins, member, before, lost)


def with_production(c: Counted, production: Side, codes: Ints) -> Counted:
    """Count production in the frozen bins."""
    after, lost = production.counts(c.column, codes)
    return replace(c, after=after, lost_after=lost)


def evidence(columns: Sequence[Counted], reference: Side, production: Side) -> Evidence:
    """What the reader would hand to the check."""
    kinds: dict[str, Any] = {c.column.name: "numeric" if c.column.numeric else "category" for c in columns}
    whole = {c.column.name: c.column_counts() for c in columns}
    n = [np.array([w.rows for w in s.windows]) for s in (reference, production)]
    history = Timeline(
        "1d", reference.windows, n[0], {c.column.name: c.window_counts(production=False) for c in columns}
    )
    now = Timeline("1d", production.windows, n[1], {c.column.name: c.window_counts(production=True) for c in columns})
    profile = Profile(INDEPENDENT, np.array([int(n[0].sum())]), whole, kinds)
    return Evidence(Roles(), None, kinds, kinds, profile, None, history=history, timeline=now)


# ------------------------------------------------------------------ true effects


def true_shares(p: Pool, column: PoolColumn) -> tuple[Floats, Floats]:
    """Shares of the values on each weekday and, last, in a whole week, shape (8, U); and the share missing, (8,)."""
    width = column.size + 1
    out = np.zeros((8, width))
    for weekday in range(7):
        days = p.weeks[:, weekday]
        for day in days[days >= 0]:
            own = np.bincount(column.codes[p.start[day] : p.start[day + 1]] + 1, minlength=width)
            out[weekday] += own * p.scale
    out[7] = out[:7].sum(axis=0)
    out = out[out.sum(axis=1) > 0]
    valid = out[:, 1:].sum(axis=1)
    return out[:, 1:] / valid[:, None], out[:, 0] / out.sum(axis=1)


def true_effects(c: Counted, before: Floats, after: Floats, rows: float) -> dict[str, float]:
    """Largest true effect over weekdays and the week, by its key; shares of values, shape (8, U)."""
    p, q = c.binned(before), c.binned(after)
    numeric = isinstance(c.bins, NumericBins)
    groups = merge_rare((p[-1] + q[-1]) / 2, LEAST_EXPECTED / rows, GROUPS if numeric else CATEGORIES, ordered=numeric)
    member = np.eye(int(groups.max()) + 1)[groups]
    coarse, now = p @ member, q @ member
    out = {}
    if coarse.shape[1] > 1:
        a, b = (np.maximum(x, 1e-9) for x in (coarse, now))
        out["psi"] = float(((b - a) * np.log(b / a)).sum(axis=1).max())
    if isinstance(c.bins, NumericBins):
        below = np.abs(np.cumsum(q - p, axis=1))[:, :-1]
        out["ks"] = float(below.max())
        if c.bins.scale > 0:
            half = np.diff(np.array(c.bins.edges) / 2)
            width = (np.append(half, 0.0) + np.append(0.0, half)) / c.bins.scale
            out["wasserstein"] = float((below @ width).max())
    elif coarse.shape[1] > 1:
        out["linf"] = float(np.abs(now - coarse).max())
    return out


def ratio(c: Counted, before: Floats, move: Move, rows: float) -> float:
    """Largest true effect on the shape over its margin."""
    found = true_effects(c, before, move.shares(c.column, before), rows)
    return max((v / KIND[k].margin for k, v in found.items()), default=0.0)


def move_to(c: Counted, before: Floats, size: float, rows: float, *, out: float = 0.0, missing: float = 0.0) -> Move:
    """The move whose largest effect on the shape is `size` times its margin, or as near as it gets."""
    low, high = 0.0, 1.0
    if ratio(c, before, Move(high, missing, out), rows) <= size:
        return Move(high, missing, out)
    for _ in range(25):
        middle = (low + high) / 2
        low, high = (middle, high) if ratio(c, before, Move(middle, missing, out), rows) < size else (low, middle)
    return Move(low, missing, out)


def complete(c: Counted) -> bool:
    """Whether a value that no row has would be noticed as new or out of range."""
    return isinstance(c.bins, NumericBins) or (isinstance(c.bins, CategoryBins) and c.bins.complete)


def by_key(findings: Mapping[str, int]) -> str:
    """Counts as a short text, most first."""
    return ", ".join(f"{k} {v}" for k, v in sorted(findings.items(), key=lambda kv: -kv[1]))
