"""Have the columns changed? Every column of production against the reference, by several distances."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
from scipy import special

from afterlaunch.checks.drift_kinds import ACTION, CATEGORIES, GROUPS, KIND, KINDS
from afterlaunch.checks.drift_windows import follow
from afterlaunch.checks.evidence import Check, Evidence
from afterlaunch.decide import Estimate
from afterlaunch.finding import Effect, Json, Verdict
from afterlaunch.profile.types import CategoryBins, ColumnCounts, Ints, NumericBins, Profile
from afterlaunch.stats import distances
from afterlaunch.stats.distances import Distance, Pair
from afterlaunch.stats.intervals import Interval, Shares, difference, filled, rows_for, share, shares
from afterlaunch.words import estimate, number, quantity

DEGREES_EACH = 3
"""Degrees of freedom of a covariance from units that each category compared takes up."""

FEWEST_UNITS = 10
"""With rows of fewer filled buckets of units than this in a table, dependence cannot be judged."""


def run(evidence: Evidence) -> list[Estimate]:
    """Compare every column of production with the reference."""
    reference, production = evidence.reference, evidence.production
    if reference is None or production is None:
        return []
    columns = [c for c in reference.columns if c in reference.kinds]
    out: list[Estimate] = []
    for name in columns:
        if name not in production.kinds:
            continue
        out += _missing(reference.columns[name], production.columns[name], (reference.rows, production.rows))
        if not _retyped(reference, production, name):
            out += _distribution(reference.columns[name], production.columns[name])
    return structure(evidence) + out


def structure(evidence: Evidence) -> list[Estimate]:
    """Columns that are gone, new or of another type: changes that concern every row."""
    reference, production = evidence.reference, evidence.production
    if reference is None or production is None:
        return []
    out: list[Estimate] = []
    for name in reference.columns:
        if name not in reference.kinds:
            continue
        if name not in production.kinds:
            out.append(_whole(name, "missing", production.total, f"production has no column {name!r}", action="gone"))
        elif _retyped(reference, production, name):
            old, new = reference.kinds[name], production.kinds[name]
            out.append(_whole(name, "type", production.total, f"{name!r} was {old} and is {new} in production"))
    for name in evidence.roles.features_of(production.kinds):
        if name not in reference.kinds:
            out.append(
                _whole(name, "added", production.total, f"{name!r} is only in the production table", inform=True)
            )
    return out


def _retyped(reference: Profile, production: Profile, name: str) -> bool:
    """Whether a column with values has another type; it is then counted for missing values only."""
    values = production.total > int(production.columns[name].missing.sum())
    return values and production.kinds[name] != reference.kinds[name]


CHECK = Check(
    name="drift",
    asks="Have the columns changed since the reference?",
    kinds=KINDS,
    needs=frozenset({"columns", "windows"}),
    run=run,
    follow=follow,
)


def _distribution(a: ColumnCounts, b: ColumnCounts) -> list[Estimate]:
    if a.kind not in {"numeric", "category"}:
        return []
    if a.bins is None or b.bins is None or (why := _too_little(a, b)):
        reason, sentence = why if a.bins is not None and b.bins is not None and why else _nothing(a, b)
        return [Estimate("drift", KIND["psi"], a.name, None, reason=reason, sentence=sentence, n=b.valid)]
    out: list[Estimate] = []
    shapes = list(_numeric(a, b) if isinstance(a.bins, NumericBins) else _categorical(a, b))
    table = _chart(a, b)
    for key, distance in shapes:
        out.append(_distance(a, b, key, distance, table))
    if "psi" not in {key for key, _ in shapes}:
        sentence = (
            f"{min(a.valid, b.valid):,} values of {a.name!r} are too few: all but one bin would have under 5 rows."
        )
        out.append(Estimate("drift", KIND["psi"], a.name, None, reason="too_few_rows", sentence=sentence, n=b.valid))
    out += _range(a, b) if isinstance(a.bins, NumericBins) else _new(a, b)
    return out


def _nothing(a: ColumnCounts, b: ColumnCounts) -> tuple[str, str]:
    table = "reference" if a.bins is None or a.valid == 0 else "production"
    return "no_values", f"There is nothing to compare: {a.name!r} has no values in the {table} table."


def _too_little(a: ColumnCounts, b: ColumnCounts) -> tuple[str, str] | None:
    if a.valid == 0 or b.valid == 0:
        return _nothing(a, b)
    for counts, table in ((a, "reference"), (b, "production")):
        if counts.counts.shape[0] > 1 and filled(counts.counts.sum(axis=1)) < FEWEST_UNITS:
            return (
                "units_too_few",
                f"The rows of {a.name!r} in the {table} table come from too few units to judge a change.",
            )
    least = min(a.valid, b.valid)
    if least < 2 * distances.LEAST_EXPECTED:
        return (
            "too_few_rows",
            f"{least} values of {a.name!r} are too few to judge a change of its distribution; 10 are the least.",
        )
    return None


# ------------------------------------------------------------------ distances


@dataclass(frozen=True)
class _Constant:
    """A column that has one and the same value in both tables: no distance, up to what the rows can exclude."""

    rows: int
    most: Callable[[float], float]
    value: float = 0.0

    def interval(self, alpha_low: float, alpha_high: float) -> tuple[float, float]:
        return 0.0, self.most(share(0, self.rows, 0.5, alpha_high).high)

    def p_value(self, margin: float) -> float:
        return 1.0

    def rows_needed(self, margin: float, alpha: float) -> int | None:
        return rows_for(lambda n: self.most(share(0, n, 0.5, alpha).high) <= margin, start=self.rows)


def _numeric(a: ColumnCounts, b: ColumnCounts) -> Iterator[tuple[str, Distance | _Constant]]:
    bins = a.bins
    assert isinstance(bins, NumericBins)
    fine = distances.pair(a.counts, b.counts)
    if np.count_nonzero(fine.pooled) == 1:
        yield from _constant(a, b, ("psi", "js", "ks"))
        return
    groups = distances.merge_rare(fine.pooled, distances.LEAST_EXPECTED / min(fine.m, fine.n), GROUPS, ordered=True)
    coarse = fine.grouped(groups)
    if coarse.p.size > 1:
        yield "psi", distances.psi(coarse)
        yield "js", distances.jensen_shannon(coarse)
    yield "ks", distances.kolmogorov_smirnov(fine)
    if bins.scale > 0:
        yield "wasserstein", distances.wasserstein(fine, np.array(bins.edges), bins.scale)


def _categorical(a: ColumnCounts, b: ColumnCounts) -> Iterator[tuple[str, Distance | _Constant]]:
    fine = distances.pair(a.counts, b.counts)
    if np.count_nonzero(fine.pooled) == 1:
        yield from _constant(a, b, ("psi", "js", "linf"))
        return
    coarse = _categories(fine)
    if coarse.p.size > 1:
        yield "psi", distances.psi(coarse)
        yield "js", distances.jensen_shannon(coarse)
        yield "linf", distances.l_infinity(coarse)


def _categories(fine: Pair) -> Pair:
    least = distances.LEAST_EXPECTED / min(fine.m, fine.n)
    return fine.grouped(distances.merge_rare(fine.pooled, least, most_categories(fine.df), ordered=False))


def most_categories(df: float) -> int:
    """How many categories are compared one by one: not more than the degrees of freedom can tell apart.

    Example:
        >>> most_categories(math.inf), most_categories(30.0)
        (50, 10)
    """
    return CATEGORIES if math.isinf(df) else max(min(CATEGORIES, int(df / DEGREES_EACH)), 2)


def _constant(a: ColumnCounts, b: ColumnCounts, keys: tuple[str, ...]) -> Iterator[tuple[str, _Constant]]:
    rows = min(a.valid, b.valid)
    bounds: dict[str, Callable[[float], float]] = {
        "psi": lambda u: u * float(np.log(max(u * 2 * rows, 1.0))),
        "js": lambda u: float(np.sqrt(u)),  # The divergence in bits is at most the total variation (Lin 1991).
        "ks": lambda u: u,
        "linf": lambda u: u,
    }
    for key in keys:
        yield key, _Constant(rows, bounds[key])


def _distance(a: ColumnCounts, b: ColumnCounts, key: str, d: Distance | _Constant, table: Json) -> Estimate:
    name = a.name

    def say(e: Effect, verdict: Verdict) -> str:
        if key == "wasserstein":
            return f"{name!r} moved by {estimate(e)} (Wasserstein distance)."
        if key == "linf":
            return f"The share of one category of {name!r} changed by {estimate(e)}{_which(a, b)}."
        return f"{KIND[key].name} of {name!r} is {estimate(e)}."

    groups = "units" if a.counts.shape[0] > 1 else "independent rows"
    return Estimate(
        check="drift",
        kind=KIND[key],
        subject=name,
        value=d.value,
        interval=d.interval,
        say=say,
        action=ACTION["shape"],
        n=b.valid,
        method=f"{KIND[key].name} over frozen bins, bias taken off, test inversion, {groups}",
        rows_needed=d.rows_needed,
        binding="reference_too_small",
        p_value=d.p_value,
        table=table,
    )


def _which(a: ColumnCounts, b: ColumnCounts) -> str:
    assert isinstance(a.bins, CategoryBins)
    p, q = a.counts.sum(axis=0) / max(a.valid, 1), b.counts.sum(axis=0) / max(b.valid, 1)
    j = int(np.argmax(np.abs(q - p)))
    label = repr(a.bins.values[j]) if j < len(a.bins.values) else "all rarer ones together"
    return f": {label} went from {quantity(float(p[j]), 'share')} to {quantity(float(q[j]), 'share')}"


def _chart(a: ColumnCounts, b: ColumnCounts) -> Json:
    fine = distances.pair(a.counts, b.counts)
    if isinstance(a.bins, NumericBins):
        if a.bins.discrete:
            groups = np.arange(fine.p.size)
        else:
            groups = distances.merge_rare((fine.p + fine.q) / 2, 0.04, 20, ordered=True)
        labels = [_span(a.bins, np.flatnonzero(groups == g)) for g in range(int(groups.max()) + 1)]
        shown = fine.grouped(groups)
        p, q, ordered = shown.p, shown.q, True
    else:
        assert isinstance(a.bins, CategoryBins)
        top = np.argsort(-(fine.p + fine.q)[:-1], kind="stable")[:15]
        rest = [j for j in range(fine.p.size) if j not in set(top.tolist())]
        labels = [a.bins.values[j] for j in top] + ["all others"]
        p, q = (np.append(s[top], s[rest].sum()) for s in (fine.p, fine.q))
        ordered = False
    keep = (p > 0) | (q > 0)
    return {
        "kind": "distribution",
        "title": a.name,
        "ordered": ordered,
        "labels": [x for x, k in zip(labels, keep, strict=True) if k],
        "reference": [round(float(x), 6) for x in p[keep]],
        "production": [round(float(x), 6) for x in q[keep]],
    }


def _span(bins: NumericBins, members: Ints) -> str:
    """What values a run of neighbouring bins holds."""
    first, last = int(members[0]), int(members[-1])
    low = bins.edges[first - 1] if first > 0 else None
    high = bins.edges[last] if last < len(bins.edges) else None
    if bins.discrete and low is not None and high is not None and high == math.nextafter(low, math.inf):
        return number(high)
    if low is None:
        return f"≤ {number(high)}" if high is not None else "all"
    return f"> {number(low)}" if high is None else f"{number(low)} to {number(high)}"


# ------------------------------------------------------------------ shares


def _missing(a: ColumnCounts, b: ColumnCounts, rows: tuple[Ints, Ints]) -> list[Estimate]:
    if not rows[0].sum() or not rows[1].sum():
        return []
    both = shares((a.missing, b.missing), rows)
    before, now = both.of(0, 0.05, 0.05).value, both.of(1, 0.05, 0.05).value

    def say(e: Effect, verdict: Verdict) -> str:
        return (
            f"The share missing of {a.name!r} changed by {estimate(e)}, "
            f"from {quantity(before, 'share')} to {quantity(now, 'share')}."
        )

    return [_share(a.name, "missing", both.change, say, both.rows_needed, both.p_value, int(rows[1].sum()))]


def _new(a: ColumnCounts, b: ColumnCounts) -> list[Estimate]:
    bins = a.bins
    assert isinstance(bins, CategoryBins)
    if not bins.complete:
        return []
    # A reference sees not all categories there are. By Good & Turing, the share of rows in unseen
    # ones is the share of its rows whose category occurs once; only the excess over that is new.
    seen_once = np.zeros_like(a.missing)
    seen_once[0] = bins.singletons
    unseen = b.counts[:, -1]
    both = shares((np.zeros_like(unseen), unseen), (a.counts.sum(axis=1), b.counts.sum(axis=1)))

    def known(low: float, high: float) -> Interval:
        return share(bins.singletons, a.valid, low, high, deff=2.0)

    def change(low: float, high: float) -> Interval:
        return difference(known, lambda x, y: both.of(1, x, y), low, high)

    names = sorted((b.others or {}).items(), key=lambda kv: (-kv[1], kv[0]))
    named = ", ".join(f"{value!r} ({count:,} rows)" for value, count in names[:3])
    more = f" and {len(names) - 3:,} more" if len(names) > 3 else ""

    def say(e: Effect, verdict: Verdict) -> str:
        text = f"{estimate(e)} of the values of {a.name!r} are in categories that the reference lacks"
        return text + (f": {named}{more}." if named else ".")

    def rows_needed(margin: float, alpha: float) -> int | None:
        planned = Shares((bins.singletons, 0.0), (a.valid, b.valid), (2.0, both.deff[1]), both.df)
        return planned.rows_needed(margin, alpha)

    return [_share(a.name, "new", change, say, rows_needed, None, b.valid)]


def _range(a: ColumnCounts, b: ColumnCounts) -> list[Estimate]:
    # Infinite values are out of range, unless the reference has some too.
    outside = b.below + b.above - (b.infinite if a.infinite.any() else 0)
    both = shares((np.zeros_like(outside), outside), (a.counts.sum(axis=1), b.counts.sum(axis=1)))
    m = a.valid

    def expected(low: float, high: float) -> Interval:
        # The probability beyond the extremes of m rows is Beta(2, m - 1) whatever the distribution (Wilks 1941).
        if m < 2:
            return Interval(1.0, 0.0, 1.0)
        return Interval(
            2 / (m + 1), float(special.betaincinv(2, m - 1, low)), float(special.betainccinv(2, m - 1, high))
        )

    def change(low: float, high: float) -> Interval:
        i = difference(expected, lambda x, y: both.of(1, x, y), low, high)
        # No distribution has less than nothing out of range.
        return Interval(max(i.value, 0.0), max(i.low, 0.0), max(i.high, 0.0))

    assert isinstance(a.bins, NumericBins)
    span = f"[{number(a.bins.low)}, {number(a.bins.high)}]"
    seen = f", production has [{number(b.low)}, {number(b.high)}]" if b.low is not None and b.high is not None else ""

    def say(e: Effect, verdict: Verdict) -> str:
        return f"{estimate(e)} of the values of {a.name!r} are out of the reference's range {span}{seen}."

    def rows_needed(margin: float, alpha: float) -> int | None:
        def decides(n: float) -> bool:
            hits = expected(0.2, 0.2).high * n
            return (
                difference(expected, lambda x, y: share(hits, n, x, y, deff=both.deff[1], df=both.df), 0.5, alpha).high
                <= margin
            )

        return rows_for(decides, start=max(b.valid, 2))

    return [_share(a.name, "range", change, say, rows_needed, None, b.valid)]


def _share(
    name: str,
    key: str,
    change: Callable[[float, float], Interval],
    say: Callable[[Effect, Verdict], str],
    rows_needed: Callable[[float, float], int | None],
    p_value: Callable[[float], float] | None,
    n: int,
) -> Estimate:
    def interval(alpha_low: float, alpha_high: float) -> tuple[float, float]:
        i = change(alpha_low, alpha_high)
        return i.low, i.high

    return Estimate(
        check="drift",
        kind=KIND[key],
        subject=name,
        value=change(0.25, 0.25).value,
        interval=interval,
        say=say,
        action=ACTION[key],
        n=n,
        method="Jeffreys intervals of the two shares, combined by MOVER",
        rows_needed=rows_needed,
        binding="reference_too_small",
        p_value=p_value,
    )


def _whole(name: str, key: str, rows: int, sentence: str, *, action: str = "", inform: bool = False) -> Estimate:
    """A change that concerns every row by construction of the table."""
    if rows == 0:
        return Estimate(
            "drift", KIND[key], name, None, reason="no_rows", sentence=f"There are no production rows, and {sentence}."
        )

    def interval(alpha_low: float, alpha_high: float) -> tuple[float, float]:
        i = share(rows, rows, alpha_low, alpha_high)
        return i.low, i.high

    return Estimate(
        check="drift",
        kind=KIND[key],
        subject=name,
        value=1.0,
        interval=interval,
        say=lambda e, v: f"All {rows:,} rows are affected: {sentence}.",
        action=ACTION[action or key],
        n=rows,
        method="Jeffreys interval",
        primary=not inform,
        may_alarm=not inform,
    )
