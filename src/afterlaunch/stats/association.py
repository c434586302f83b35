"""How well one column alone tells outcomes apart, honestly: learnt on other rows, judged within time.

Two traps make single-column power look like a leak. A column with many values (an identifier)
memorises the rows it was learnt from; so what a value means is learnt on *other* rows. And a
column that merely follows time (an interest rate) shares the ups and downs of the base rate;
so outcomes are only compared between rows of one *block* of time, and what a value means is
learnt from outcomes less the mean of their block.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import special

from afterlaunch.stats.intervals import Interval, share

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]

MOST_BLOCKS = 20
"""Most blocks of time. A base rate that moves steadily keeps 1/20 of its range within a block, and
gives a column that follows it at most AUC 0.5 + 1/80 in a world where it swings from 0.25 to 0.75."""
MOST_BINS = 64
MOST_RANKS = 256


@dataclass(frozen=True, slots=True)
class Power:
    """How well one column orders outcomes.

    Attributes:
        value: Chance that of two rows of one block with different outcomes the column puts the
            higher one higher, ties counting half: the AUC of a binary outcome, the concordance
            index of a number, the mean of one-against-rest AUCs of classes. 0.5 is none, 1 is all.
        variance: Its variance, given what was learnt.
        df: Degrees of freedom of the variance.
        rarer: Rows of the rarer outcome; the most that `variance` can be is v (1 - v) / rarer.
        rows: Rows that were compared.
    """

    value: float
    variance: float
    df: float
    rarer: float
    rows: int

    def interval(self, alpha_low: float, alpha_high: float) -> Interval:
        """Jeffreys interval at the effective number of rows, as for a share.

        Source:
            Kottas, Kuss & Zapf (2014), BMC Medical Research Methodology 14:26 (the AUC as a
            proportion); the least effective number from Birnbaum & Klose (1957), Annals of
            Mathematical Statistics 28:933-945, Var(AUC) <= A (1 - A) / min(n0, n1).

        Example:
            >>> i = Power(0.8, 0.0004, float("inf"), 100, 1000).interval(0.05, 0.05)
            >>> round(i.low, 2), round(i.high, 2)
            (0.77, 0.83)
        """
        spread = self.value * (1 - self.value)
        # A variance from fewer than five disordered rows is not worth the name: take its bound.
        known = self.variance > 0 and min(self.value, 1 - self.value) * self.rarer >= 5
        rows = min(spread / self.variance, self.rows) if known else self.rarer
        return share(self.value * rows, rows, alpha_low, alpha_high, df=self.df)


def blocks(rows: int, rarer: int) -> Ints:
    """Contiguous blocks of rows in time order, shape (rows,).

    As many as leave ten rows of the rarer outcome in each, at least 2 and at most `MOST_BLOCKS`.

    Args:
        rows: Number of rows.
        rarer: Rows of the rarer outcome (for a number: rows).

    Example:
        >>> blocks(6, 1).tolist()
        [0, 0, 0, 1, 1, 1]
    """
    count = max(2, min(MOST_BLOCKS, rarer // 10, rows // 20))
    return (np.arange(rows, dtype=np.int64) * count) // max(rows, 1)


def bins_for(rarer: float) -> int:
    """How many bins of a number can be learnt from so many rows of the rarer outcome.

    Twice the square root: the error of what a bin means then falls at the rate at which bins get
    finer, and learning costs a large sample about nothing and 50 rows about two points of AUC.

    Example:
        >>> bins_for(10), bins_for(100), bins_for(5000)
        (8, 20, 64)
    """
    return max(8, min(MOST_BINS, round(2 * math.sqrt(rarer))))


def binned(values: Floats, most: int = MOST_BINS) -> Ints:
    """Codes of a number: one per value when there are few, else one per quantile bin, shape (n,).

    NaN has a code of its own; infinite values lie in the outer bins.

    Args:
        values: Shape (n,).
        most: Most bins.

    Example:
        >>> binned(np.array([3.0, 1.0, np.nan, 3.0])).tolist()
        [1, 0, 2, 1]
    """
    distinct, codes = np.unique(values, return_inverse=True)
    if len(distinct) <= most + 1:
        return codes.astype(np.int64)
    known = np.sort(values[~np.isnan(values)])
    edges = np.unique(known[(np.arange(1, most) * len(known)) // most])
    return np.where(np.isnan(values), len(edges) + 1, np.searchsorted(edges, values, side="right")).astype(np.int64)


def levels(outcome: Floats, most: int = 10) -> Ints:
    """Ordered levels of a numeric outcome, shape (n,): its values when few, else quantile bins."""
    return binned(outcome, most)


def meaning(codes: Ints, outcome: Floats, block: Ints, size: int) -> Floats:
    """What each value of a column says about the outcome: the mean outcome less that of its block.

    Args:
        codes: The column's values as codes below `size`, shape (n,).
        outcome: Shape (n,).
        block: Block of every row, shape (n,).
        size: Number of codes.

    Returns:
        Shape (size,), shrunk towards zero by one row; zero for a value that does not occur.
    """
    if not len(codes):
        return np.zeros(size)
    count = np.bincount(block)
    mean = np.bincount(block, outcome) / np.maximum(count, 1)
    total = np.bincount(codes, outcome - mean[block], minlength=size)
    result: Floats = total / (np.bincount(codes, minlength=size) + 1.0)
    return result


def lesson(codes: Ints, outcome: Floats, block: Ints, size: int, ordered: int = 0) -> Floats:
    """Scores that put a column's values in the order of what they mean.

    A number whose outcome only rises, or only falls, with it is best kept in its own order; a
    meaning for each bin is for what does not. Akaike's criterion says which, on the rows learnt
    from, with a step of the monotone fit (isotonic regression) for a parameter.

    Args:
        codes: The column's values as codes below `size`, shape (n,).
        outcome: Shape (n,).
        block: Block of every row, shape (n,).
        size: Number of codes.
        ordered: How many of the codes, from 0 on, are in the order of a number; the rest
            (a missing value) keep a meaning of their own.

    Returns:
        Shape (size,).

    Source:
        Akaike (1974), IEEE Transactions on Automatic Control 19:716-723.
    """
    from scipy.optimize import isotonic_regression

    score = meaning(codes, outcome, block, size)
    count = np.bincount(codes, minlength=size).astype(np.float64)
    ordered = min(ordered, size)
    used = np.flatnonzero(count[:ordered])
    if len(used) < 3:
        return score
    n = count[used]
    mean = score[used] * (n + 1) / n
    fits = [isotonic_regression(mean, weights=n, increasing=up) for up in (True, False)]
    missed = [float(n @ (mean - fit.x) ** 2) for fit in fits]
    rising = missed[0] <= missed[1]
    fit = fits[0 if rising else 1]
    # One parameter a bin against one a step.
    if min(missed) > 2 * (len(used) - len(fit.blocks) + 1) * float(np.var(outcome)):
        return score
    codes_in_order = np.arange(ordered)
    score[:ordered] = np.interp(codes_in_order, used, fit.x)
    # Within a step the number's own order stands.
    gap = float(np.ptp(fit.x)) or 1.0
    score[:ordered] += (1e-6 if rising else -1e-6) * gap * codes_in_order / ordered
    return score


def concordance(rank: Ints, level: Ints, block: Ints) -> tuple[float, Floats]:
    """Concordance of ranks with outcomes within blocks, and how much every row moves it.

    Args:
        rank: Rank that a column gives each row, shape (n,), non-negative.
        level: Level of its outcome, shape (n,), non-negative.
        block: Its block, shape (n,), non-negative; rows are compared within blocks only.

    Returns:
        Share of pairs with different outcomes that the ranks order rightly, ties counting half
        (NaN without such pairs), and each row's influence on it, shape (n,), whose sum of squares
        over independent rows (or of sums over groups of rows) is the variance.

    Source:
        DeLong, DeLong & Clarke-Pearson (1988), Biometrics 44:837-845, eq. 4-5, over strata with
        weights by pairs; for numbers Harrell et al. (1982), JAMA 247:2543-2546.

    Example:
        >>> rank, level = np.array([0, 1, 2, 3]), np.array([0, 1, 0, 1])
        >>> concordance(rank, level, np.zeros(4, int))[0]
        0.75
    """
    n = len(rank)
    if n == 0:
        return math.nan, np.zeros(0)
    shape = (int(block.max()) + 1, int(rank.max()) + 1, int(level.max()) + 1)
    cell = (block * shape[1] + rank) * shape[2] + level
    table = np.bincount(cell, minlength=math.prod(shape)).reshape(shape).astype(np.float64)
    up_to_level = table.cumsum(axis=2)
    lower = up_to_level - table
    higher = up_to_level[:, :, -1:] - up_to_level
    below = lower.cumsum(axis=1) - lower
    above = higher.sum(axis=1, keepdims=True) - higher.cumsum(axis=1)
    right = below + above + 0.5 * (lower + higher)
    different = (lower + higher).sum(axis=1, keepdims=True)
    pairs = np.broadcast_to(different, shape)
    total = float((table * pairs).sum())
    if total == 0:
        return math.nan, np.zeros(n)
    value = float((table * right).sum()) / total
    influence = 2 * (right - value * pairs) / total
    return value, influence.reshape(-1)[cell]


def ranked(score: Floats) -> Ints:
    """Dense ranks of scores, shape as given; more than `MOST_RANKS` of them are binned."""
    return binned(np.round(score, 12), MOST_RANKS)


def power(
    codes: Ints,
    level: Ints,
    block: Ints,
    *,
    classes: bool = False,
    ordered: int = 0,
    group: Ints | None = None,
    taught: tuple[Ints, Ints, Ints] | None = None,
    fold: Ints | None = None,
) -> Power | None:
    """How well one column alone orders the outcomes of rows it was not learnt from.

    Args:
        codes: The column's values as codes, shape (n,).
        level: Outcome levels, shape (n,).
        block: Blocks of time, shape (n,).
        classes: Whether the levels are classes without an order.
        ordered: How many of the codes, from 0 on, are in the order of a number.
        group: Groups of dependent rows, shape (n,); None for independent rows.
        taught: (codes, level, block) of another table to learn from; None learns from the other fold.
        fold: Fold of every row, 0 or 1; None takes every other block, so that a value that
            occurs in one stretch of time only tells nothing.

    Returns:
        The power, or None when no block has two rows with different outcomes.

    Example:
        >>> rng = np.random.default_rng(0)
        >>> x, block = rng.integers(0, 2, 400), blocks(400, 200)
        >>> power(x, x, block).value, abs(power(x, rng.integers(0, 2, 400), block).value - 0.5) < 0.1
        (1.0, True)
    """
    n = len(codes)
    if n == 0:
        return None
    size = int(max(codes.max(), taught[0].max() if taught is not None and len(taught[0]) else 0)) + 1
    fold = block % 2 if fold is None else fold
    count = np.bincount(level)
    # One class against the rest is the same for both of two classes.
    targets = [None] if not classes or len(count) <= 2 else [k for k in range(len(count)) if count[k] > 0]
    value, influence, weight_sum, rarer = 0.0, np.zeros(n), 0.0, 0.0
    for target in targets:
        y = level if target is None else (level == target).astype(np.int64)
        score = np.zeros(n)
        if taught is not None:
            learnt = taught[1] if target is None else (taught[1] == target)
            score = lesson(taught[0], learnt.astype(np.float64), taught[2], size, ordered)[codes]
        else:
            for f in (0, 1):
                other, here = fold != f, fold == f
                known = lesson(codes[other], y[other].astype(np.float64), block[other], size, ordered)
                score[here] = known[codes[here]]
        strata = block if taught is not None else block * 2 + fold
        one, moved = concordance(ranked(score), y, strata)
        if math.isnan(one):
            continue
        weight = 1.0 if target is None else float(count[target])
        value, influence, weight_sum = value + weight * one, influence + weight * moved, weight_sum + weight
        rarer += weight * _rarer(y)
    if weight_sum == 0:
        return None
    value, influence, rarer = value / weight_sum, influence / weight_sum, rarer / weight_sum
    variance, df = _variance(influence, block, group)
    if taught is None and variance > 0:
        # Each fold judges what the other teaches. Where that is mostly noise both halves make the
        # same error, which doubles the variance; at three standard errors it is noise no more.
        variance *= 1 + min(1.0, 9 * variance / max((value - 0.5) ** 2, 1e-12))
    return Power(min(1.0, max(0.0, value)), variance, df, max(rarer, 1.0), n)


def _rarer(level: Ints) -> float:
    """Rows of the rarer of two outcomes; for more levels half the rows without the largest level."""
    count = np.bincount(level)
    rest = float(count.sum() - count.max())
    return rest if np.count_nonzero(count) <= 2 else max(1.0, rest / 2)


def _variance(influence: Floats, block: Ints, group: Ints | None) -> tuple[float, float]:
    """The larger of the variance between groups (or rows) and that between blocks of time, with its df."""

    def between(g: Ints, part: float) -> tuple[float, float]:
        _, codes, rows = np.unique(g, return_inverse=True, return_counts=True)
        sums = part * np.bincount(codes, influence)
        spread = float(((rows / rows.sum()) ** 2).sum())
        return float((sums**2).sum()) * (len(sums) / max(len(sums) - 1, 1)), max(1.0, 1.0 / spread - 1.0)

    n = len(influence)
    best = between(group, 1.0) if group is not None else (float((influence**2).sum()) * n / max(n - 1, 1), math.inf)
    # Rows of one time share its shocks; without enough blocks there is no telling. All pairs of a
    # row are in its own block, so that the sum over a block counts each pair twice.
    if int(block.max()) + 1 >= MOST_BLOCKS:
        best = max(best, between(block, 0.5), key=lambda pair: pair[0])
    return best


@dataclass(frozen=True, slots=True)
class Determined:
    """How nearly one column determines the outcome.

    Attributes:
        errors: Rows whose outcome differs from the commonest one of their value on other rows.
        guesses: Rows that differ from the commonest outcome of all.
        rows: All rows.
        deff: Variance of the errors between groups over that of independent errors, at least 1.
    """

    errors: int
    guesses: int
    rows: int
    deff: float = 1.0

    @property
    def value(self) -> float:
        """Goodman and Kruskal's lambda: share of the errors of always guessing alike that is saved; at least 0."""
        return max(0.0, 1 - self.errors / self.guesses) if self.guesses else 0.0

    def interval(self, alpha_low: float, alpha_high: float) -> tuple[float, float]:
        """Ends of the interval, from Jeffreys' for a Poisson count of errors.

        Source:
            Brown, Cai & DasGupta (2003), Statistica Sinica 13:19-49, section 2.

        Example:
            >>> low, high = Determined(errors=2, guesses=200, rows=1000).interval(0.05, 0.05)
            >>> round(low, 2), round(high, 3)
            (0.97, 0.997)
        """
        if not self.guesses:
            return 0.0, 1.0
        errors = self.errors / self.deff
        most = float(special.gammaincinv(errors + 0.5, 1 - alpha_low)) * self.deff
        least = float(special.gammaincinv(errors + 0.5, alpha_high)) * self.deff if self.errors else 0.0
        return max(0.0, 1 - most / self.guesses), max(0.0, min(1.0, 1 - least / self.guesses))


def determined(codes: Ints, level: Ints, fold: Ints, group: Ints | None = None) -> Determined:
    """Predict each half of the rows from what the column's values meant in the other half.

    Args:
        codes: The column's values as codes, shape (n,).
        level: Outcome classes, shape (n,).
        fold: 0 or 1, shape (n,).
        group: Groups of dependent rows, shape (n,); None for independent rows.

    Returns:
        Errors; a value that the other half lacks predicts the commonest outcome.

    Source:
        Goodman & Kruskal (1954), Journal of the American Statistical Association 49:732-764, section 5.

    Example:
        >>> x = np.tile([0, 1, 1], 20)
        >>> determined(x, 1 - x, np.arange(60) // 30).value
        1.0
    """
    size, kinds = int(codes.max()) + 1, int(level.max()) + 1
    count = np.bincount(level, minlength=kinds)
    wrong = np.zeros(len(codes), dtype=bool)
    for f in (0, 1):
        other, here = fold != f, fold == f
        table = np.bincount(codes[other] * kinds + level[other], minlength=size * kinds).reshape(size, kinds)
        guess = np.where(table.sum(axis=1) > 0, table.argmax(axis=1), int(count.argmax()))
        wrong[here] = guess[codes[here]] != level[here]
    errors, deff = int(wrong.sum()), 1.0
    if group is not None and errors:
        deff = max(1.0, float((np.bincount(group, wrong) ** 2).sum()) / errors)
    return Determined(errors, int(count.sum() - count.max()), int(count.sum()), deff)
