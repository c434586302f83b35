"""Can a classifier tell the rows of two tables apart? All columns at once.

The effect is the cross-validated AUC of a classifier that is taught which table a row comes from:
0.5 where the tables have one distribution, whatever it is. Rows that share a unit or a window of
time are never learnt from and scored at once, so that what one day or one user has for itself
does not count as a difference between the tables.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from afterlaunch.stats.intervals import Interval, rows_for, share
from afterlaunch.stats.resampling import degrees

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]

FIRST = 0.4
"""Share of the rows that are only learnt from."""

BLOCKS = 5
"""Blocks of rows or units; each but the first is scored by a classifier taught on those before it."""

CROSSED = 3
"""Blocks of windows, and of units where both are held out."""

MANY_UNITS = 1000
"""Units of both tables from which they are cut into `BLOCKS` blocks; fewer make `CROSSED`, each of enough units."""

CLEAR = 0.05
"""One-sided error at which the AUC must lie above one half before columns are named for it."""


@dataclass(frozen=True)
class Told:
    """How well a classifier tells the tables apart.

    Attributes:
        value: Cross-validated AUC.
        variance: Its variance, given the classifiers.
        df: Degrees of freedom of the variance; 0 when it cannot be known.
        rows: Rows of both tables, (reference, production).
        design: Variance over that of independent rows.
        columns: Columns whose values were shuffled, shape (C,).
        drop: How much AUC is lost when a column is shuffled, shape (C,).
        drop_se: Standard errors of the drops, shape (C,).
    """

    value: float
    variance: float
    df: float
    rows: tuple[int, int]
    design: float = 1.0
    columns: Ints = field(default_factory=lambda: np.zeros(0, dtype=np.int64))
    drop: Floats = field(default_factory=lambda: np.zeros(0))
    drop_se: Floats = field(default_factory=lambda: np.zeros(0))

    @property
    def excess(self) -> float:
        """AUC above one half."""
        return self.value - 0.5

    @property
    def critical(self) -> float:
        """Standard errors above zero at which a drop is sure, at 5 % over all columns shuffled (Bonferroni)."""
        return float(stats.norm.isf(0.05 / max(1, len(self.columns))))

    def interval(self, alpha_low: float, alpha_high: float) -> Interval:
        """Jeffreys interval of the excess at the effective number of rows, [-0.5, 0.5] without `df`.

        An AUC below one half is bad luck, for no tables are less different than equal ones: its high
        end is that of one half.

        Source:
            Kottas, Kuss & Zapf (2014), BMC Medical Research Methodology 14:26 (the AUC as a
            proportion); the least effective number from Birnbaum & Klose (1957), Annals of
            Mathematical Statistics 28:933-945, Var(AUC) <= A (1 - A) / min(n0, n1).

        Example:
            >>> i = Told(0.6, 0.0001, float("inf"), (2000, 2000)).interval(0.05, 0.05)
            >>> round(i.low, 3), round(i.high, 3)
            (0.083, 0.116)
        """
        if self.df <= 0:
            return Interval(self.excess, -0.5, 0.5)
        low, high = self._share(self.value, alpha_low, 0.5)[0], self._share(max(self.value, 0.5), 0.5, alpha_high)[1]
        return Interval(self.excess, min(low - 0.5, self.excess), max(high - 0.5, self.excess))

    def _share(self, value: float, alpha_low: float, alpha_high: float) -> tuple[float, float]:
        rarer = min(self.rows) / self.design
        # A variance from fewer than five disordered rows is not worth the name: take its bound.
        known = self.variance > 0 and min(value, 1 - value) * rarer >= 5
        rows = value * (1 - value) / self.variance if known else rarer
        i = share(value * rows, rows, alpha_low, alpha_high, df=self.df)
        return i.low, i.high

    def rows_needed(self, margin: float, alpha: float, most: int) -> int | None:
        """Rows of each table that show with 80 % power that the excess is under the margin, were it zero.

        Args:
            margin: Above zero.
            alpha: One-sided error of the upper end.
            most: Rows of each table that are looked at at most.
        """
        if self.df <= 0:
            return None
        quantiles = float(stats.norm.isf(alpha) + stats.norm.isf(0.2))
        needed = rows_for(lambda n: quantiles**2 * self.design / (6 * (1 - FIRST) * n) <= margin**2, 30.0)
        return needed if needed is not None and needed <= most else None


def told_apart(
    x: Floats,
    production: Bools,
    *,
    unit: Ints | None = None,
    window: Ints | None = None,
    candidates: Sequence[int] = (),
    seed: int = 0,
) -> Told:
    """Teach a classifier which table a row is from, and measure it on rows that it was not taught.

    Args:
        x: Columns as ranks or codes, NaN where missing, shape (n, D).
        production: Which rows are production's, shape (n,).
        unit: Unit of each row, shape (n,); one that is in both tables has the same number.
        window: Window of each row, shape (n,), numbered in the order of time, those of a table apart from
            those of the other; -1 where it is not known. What windows have for themselves is not learnt:
            blocks are stretches of whole windows, and where the reference has windows the variance holds
            how they differ.
        candidates: Columns to shuffle, to see what they contribute, when the AUC is clearly above one half.
        seed: Seed of folds, shuffles and classifiers.

    Returns:
        The mean AUC of the folds with its DeLong variance, by units and windows where they are given. `df`
        is 0 when there are too few windows to see how they differ; the value is NaN when no fold has rows
        of both tables.

    Source:
        Lopez-Paz & Oquab (2017), Revisiting classifier two-sample tests, arXiv:1610.06545; LeDell,
        Petersen & van der Laan (2015), Electronic Journal of Statistics 9:1583-1607, eq. 10, for the
        variance of a cross-validated AUC; two-way clusters as in Cameron, Gelbach & Miller (2011), Journal
        of Business & Economic Statistics 29:238-249, eq. 2.11; shuffled columns after Breiman (2001),
        Machine Learning 45:5-32.

    Example:
        >>> rng = np.random.default_rng(0)
        >>> x = np.concatenate([rng.normal(size=(600, 3)), rng.normal(1, 1, (600, 3))])
        >>> told = told_apart(x, np.arange(1200) >= 600, candidates=[0, 1, 2])
        >>> told.value > 0.8, told.interval(0.05, 0.05).low > 0.3, (told.drop > 0).all().item()
        (True, True, True)
    """
    import sklearn.ensemble  # noqa: F401  # limits hold for libraries that are loaded
    from threadpoolctl import threadpool_limits

    # One thread: small trees gain little from more, and lose all of it where cores are shared.
    with threadpool_limits(1):
        return _told_apart(x, production, unit, window, candidates, seed)


def _told_apart(
    x: Floats, production: Bools, unit: Ints | None, window: Ints | None, candidates: Sequence[int], seed: int
) -> Told:
    rng = np.random.default_rng(seed)
    cells = _cells(production, unit, window, rng)
    models = [_taught(x, production, learnt, seed) for _, learnt in cells]
    tests = [rows for rows, _ in cells]
    scores = [m(x[rows]) for m, rows in zip(models, tests, strict=True)]
    value, influence = _auc(scores, production, tests)
    influence[np.abs(influence) < ROUNDING / len(production)] = 0.0
    if not tests:
        return Told(math.nan, 0.0, 0.0, (int((~production).sum()), int(production.sum())))
    row, by_unit, by_window = float((influence**2).sum()), None, None
    df = math.inf
    if unit is not None:
        by_unit, df = _by_unit(influence, production, tests, unit)
    if window is not None and (window[~production] >= 0).any():
        by_window, free = _between(influence, production, tests, window)
        df = min(df, free)
    variance = row
    if by_unit is not None:
        variance = max(variance, by_unit)
    if by_window is not None:
        variance += max(0.0, by_window - row)
    sizes = (int((~production).sum()), int(production.sum()))
    design = variance / row if row > 0 else 1.0
    if row == 0 and 0 < df < min(sizes):
        # Not one row is disordered, and nothing shows how dependent rows are: each window or unit counts
        # once, as a number between 0 and 1 that was 1 (Clopper & Pearson 1934).
        design, df = min(sizes) / df, math.inf
    told = Told(value, variance, df, sizes, design)
    if not candidates or told.interval(CLEAR, CLEAR).low <= 0:
        return told
    drop, se = _drops(x, production, unit, candidates, models, tests, (value, influence), told.design, rng)
    return Told(value, variance, df, told.rows, told.design, np.asarray(candidates, dtype=np.int64), drop, se)


LEAST_TESTED = 20
"""Fewest rows of each table in a fold, or it is left out."""

ROUNDING = 1e-9
"""Influence of a row, beside one over the rows, that is taken for rounding."""

_Cell = tuple[Ints, Ints]
"""Rows that are scored, and rows that are learnt from."""


def _cells(production: Bools, unit: Ints | None, window: Ints | None, rng: np.random.Generator) -> list[_Cell]:
    """What is scored and what is learnt from: blocks of rows, units or windows, each scored by all before it."""
    n = len(production)
    parts: list[Ints] = []
    crossed = unit is not None and window is not None
    if unit is not None:
        place = rng.permutation(int(unit.max(initial=0)) + 1)
        parts.append(_blocks(place[unit], place.size, CROSSED if crossed or place.size < MANY_UNITS else BLOCKS))
    if window is not None:
        # Rows of a table without windows are independent of any day.
        block = _blocks(rng.permutation(n), n, CROSSED)
        for side in (production, ~production):
            rows = side & (window >= 0)
            _, place = np.unique(window[rows], return_inverse=True)
            block[rows] = _blocks(place, int(place.max(initial=0)) + 1, CROSSED)
        parts.append(block)
    if not parts:
        block = np.empty(n, dtype=np.int64)
        for side in (production, ~production):
            block[side] = _blocks(rng.permutation(int(side.sum())), int(side.sum()), BLOCKS)
        parts.append(block)
    cells = []
    for own in itertools.product(*(range(1, int(block.max(initial=0)) + 1) for block in parts)):
        tested, learnt = np.ones(n, dtype=np.bool_), np.ones(n, dtype=np.bool_)
        for block, at in zip(parts, own, strict=True):
            tested &= block == at
            learnt &= block < at
        sizes = [int((rows & side).sum()) for rows in (tested, learnt) for side in (production, ~production)]
        if min(sizes) >= LEAST_TESTED:
            cells.append((np.flatnonzero(tested), np.flatnonzero(learnt)))
    return cells


def _blocks(place: Ints, size: int, blocks: int) -> Ints:
    """Block of each of `size` places: the first holds `FIRST` of them, the others as many as each other."""
    at = (place + 0.5) / max(size, 1)
    later = 1 + np.floor((at - FIRST) / (1 - FIRST) * (blocks - 1))
    out: Ints = np.where(at < FIRST, 0, np.clip(later, 1, blocks - 1)).astype(np.int64)
    return out


def _taught(x: Floats, production: Bools, rows: Ints, seed: int) -> Callable[[Floats], Floats]:
    from sklearn.ensemble import HistGradientBoostingClassifier

    model = HistGradientBoostingClassifier(
        max_iter=40,
        learning_rate=0.1,
        max_leaf_nodes=8,
        min_samples_leaf=20,
        max_bins=63,
        early_stopping=False,
        random_state=seed,
    )
    y = production[rows]
    model.fit(x[rows], y)
    return lambda values: np.asarray(model.decision_function(values), dtype=np.float64)


def _auc(scores: list[Floats], production: Bools, tests: list[Ints]) -> tuple[float, Floats]:
    """Mean AUC of the cells, and the influence of every row on it, shape (n,)."""
    influence = np.zeros(len(production))
    value = total = 0.0
    for score, rows in zip(scores, tests, strict=True):
        y = production[rows]
        rank = stats.rankdata(score)
        m, n = int((~y).sum()), int(y.sum())
        above = (rank[y] - stats.rankdata(score[y])) / m
        below = 1 - (rank[~y] - stats.rankdata(score[~y])) / n
        weight, auc = m * n / (m + n), float(above.mean())
        value, total = value + weight * auc, total + weight
        influence[rows[y]] = weight / math.sqrt(n * (n - 1)) * (above - auc)
        influence[rows[~y]] = weight / math.sqrt(m * (m - 1)) * (below - auc)
    return (value / total, influence / total) if total else (math.nan, influence)


def _by_unit(influence: Floats, production: Bools, tests: list[Ints], unit: Ints) -> tuple[float, float]:
    """Variance of the mean AUC when rows of one unit are alike, and its degrees of freedom."""
    own, free = np.zeros(len(influence)), []
    for side in (production, ~production):
        sizes = []
        for rows in tests:
            rows = rows[side[rows]]
            size = np.bincount(unit[rows])
            sizes.append(size[size > 0])
            # Centring takes a share of what units differ by.
            groups = max(2.0, degrees(size.astype(np.float64)) + 1)
            own[rows] = influence[rows] * math.sqrt(groups / (groups - 1))
        free.append(degrees(np.concatenate(sizes).astype(np.float64)))
    return float((np.bincount(unit, own) ** 2).sum()), min(free)


def _between(influence: Floats, production: Bools, tests: list[Ints], window: Ints) -> tuple[float, float]:
    """Variance of the mean AUC when rows of one window are alike, and its degrees of freedom.

    How alike they are (the intraclass correlation of a row's influence) is pooled over both tables and all
    blocks, for a look has few windows of its own.
    """
    scale, block = np.zeros(len(influence)), np.full(len(influence), -1)
    starts: dict[int, int] = {}
    for rows in tests:
        # Cells of one stretch of windows begin with the same window of production.
        start = int(window[rows][production[rows]].min())
        block[rows] = starts.setdefault(start, len(starts))
        for side in (production[rows], ~production[rows]):
            scale[rows[side]] = influence[rows[side]].std() if influence[rows[side]].any() else 0.0
    together = free = spread = 0.0
    seen = [0.0, 0.0]
    for b in range(len(starts)):
        for side in (production, ~production):
            rows = np.flatnonzero((block == b) & side & (window >= 0))
            if not rows.size:
                continue
            _, place = np.unique(window[rows], return_inverse=True)
            pairs = float((np.bincount(place, scale[rows]) ** 2 - np.bincount(place, scale[rows] ** 2)).sum())
            spread += pairs
            windows = int(place.max()) + 1
            seen[int(side is production)] += windows
            if windows > 1 and pairs > 0:
                # Centring takes a share of what windows differ by.
                square = float((np.bincount(place, influence[rows]) ** 2).sum()) * windows / (windows - 1)
                together += (windows - 1) * (square - float((influence[rows] ** 2).sum())) / pairs
                free += windows - 1
    alike = min(max(0.0, together / free), 1.0) if free else 0.0
    return float((influence**2).sum()) + alike * spread, free if influence.any() else min(seen)


def _drops(
    x: Floats,
    production: Bools,
    unit: Ints | None,
    candidates: Sequence[int],
    models: list[Callable[[Floats], Floats]],
    tests: list[Ints],
    whole: tuple[float, Floats],
    design: float,
    rng: np.random.Generator,
) -> tuple[Floats, Floats]:
    """AUC lost when one column is shuffled over the rows of a fold, and its standard error, each of shape (C,)."""
    value, influence = whole
    drop, se = np.zeros(len(candidates)), np.zeros(len(candidates))
    shuffles = [rng.permutation(len(rows)) for rows in tests]
    for c, column in enumerate(candidates):
        scores = []
        for model, rows, shuffle in zip(models, tests, shuffles, strict=True):
            shuffled = x[rows]
            shuffled[:, column] = shuffled[shuffle, column]
            scores.append(model(shuffled))
        without, other = _auc(scores, production, tests)
        off = influence - other
        variance = float((off**2).sum()) * design
        if unit is not None:
            variance = max(variance, float((np.bincount(unit, off) ** 2).sum()))
        drop[c], se[c] = value - without, math.sqrt(variance)
    return drop, se
