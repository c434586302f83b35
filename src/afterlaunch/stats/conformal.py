"""How many rows are unlike the reference: split-conformal p-values and the excess of novel rows.

A score says how unlike the training rows of the reference a row is. Calibration rows, which the score
never saw, say what scores normal rows get. A row's conformal p-value is its rank among them; it is
uniform for a row like the reference, whatever the score. So a share `alpha` of normal rows is novel at
level `alpha`, and only what production has beyond that is an effect.

The calibration rows are a sample too. Given them, the level that is truly attained is Beta distributed
about `alpha`; the production share has a binomial error; the interval of their difference has both.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import special

from afterlaunch.stats.intervals import normal_quantile, rows_for

Floats = NDArray[np.float64]

_Z = np.linspace(-6.8, 6.8, 35)
_WEIGHTS = np.exp(-(_Z**2) / 2) / np.exp(-(_Z**2) / 2).sum()
_LOW, _HIGH = special.ndtr(_Z), special.ndtr(-_Z)


def p_values(calibration: ArrayLike, scores: ArrayLike) -> Floats:
    """Split-conformal p-values: the rank of each score among those of calibration rows.

    Args:
        calibration: Scores of rows that the score was not fitted on, shape (m,); higher is more unlike.
        scores: Scores to judge, shape (n,).

    Returns:
        (1 + calibration scores that are as high) / (m + 1), shape (n,). For a row exchangeable with the
        calibration rows P(p <= t) <= t, averaged over the draw of the calibration rows. All 1 without any.

    Source:
        Bates, Candès, Lei, Romano & Sesia (2023), Annals of Statistics 51:149-178, eq. 2;
        Vovk, Gammerman & Shafer (2005), Algorithmic Learning in a Random World, section 2.2.

    Example:
        >>> p_values([1.0, 2.0, 3.0], [0.0, 2.5, 9.0]).tolist()
        [1.0, 0.5, 0.25]
    """
    known, new = _sorted(calibration), np.asarray(scores, dtype=np.float64)
    as_high = known.size - np.searchsorted(known, new, side="left")
    out: Floats = (1 + as_high) / (known.size + 1)
    return out


def novel(calibration: ArrayLike, scores: ArrayLike, alpha: float) -> Floats:
    """How far each row is novel at level `alpha`: 1 or 0, and in between for a tie at the threshold.

    The smoothed p-value breaks ties with calibration rows at random and is exactly uniform, also for scores
    with few different values. This is the chance over that lottery that it is at most `alpha`.

    Args:
        calibration: Scores of calibration rows, shape (m,).
        scores: Scores to judge, shape (n,).
        alpha: Level in (0, 1).

    Returns:
        Shape (n,), each in [0, 1]; the mean over rows like the reference is `alpha`.

    Source:
        Vovk, Gammerman & Shafer (2005), Algorithmic Learning in a Random World, eq. 2.20 (smoothed
        conformal predictors).

    Example:
        >>> novel([1.0, 2.0, 3.0, 4.0], [4.5, 3.5, 0.0], 0.3).tolist()
        [1.0, 0.5, 0.0]
    """
    known, new = _sorted(calibration), np.asarray(scores, dtype=np.float64)
    higher = known.size - np.searchsorted(known, new, side="right")
    as_high = known.size - np.searchsorted(known, new, side="left")
    out: Floats = np.clip((alpha * (known.size + 1) - higher) / (as_high - higher + 1), 0.0, 1.0)
    return out


def _sorted(scores: ArrayLike) -> Floats:
    known = np.sort(np.asarray(scores, dtype=np.float64))
    if known.ndim != 1 or np.isnan(known).any():
        raise ValueError("Calibration scores are a flat sequence of numbers.")
    return known


@dataclass(frozen=True)
class Excess:
    """Shares of novel rows less the level at which rows are called novel, at L looks.

    The effect is the chance that a production row lies beyond the threshold in use, less the chance that
    a reference row does.

    Attributes:
        hits: Novel rows of each look, shape (L,).
        rows: All rows of each look, shape (L,).
        calibration: Calibration rows.
        alpha: The level.
        deff: Variance of each share over that of independent rows, shape (L,); less than 1 counts as 1.
        df: Degrees of freedom of `deff`, shape (L,); infinite for independent rows, 0 when it is not known.
        deff_calibration: The same for the calibration rows.
        df_calibration: Its degrees of freedom.
    """

    hits: Floats
    rows: Floats
    calibration: int
    alpha: float
    deff: Floats
    df: Floats
    deff_calibration: float = 1.0
    df_calibration: float = math.inf

    @property
    def value(self) -> Floats:
        """The estimates, shape (L,); NaN for a look without rows."""
        with np.errstate(invalid="ignore", divide="ignore"):
            out: Floats = np.where(self.rows > 0, self.hits / self.rows, np.nan) - self.alpha
        return out

    def ends(self, alpha_low: Floats, alpha_high: Floats) -> tuple[Floats, Floats]:
        """Ends of the intervals by inverting the exact test for both errors at once.

        With a calibration level B ~ Beta(alpha (m + 1), (1 - alpha) (m + 1)) and X | B ~ Bin(n, B + effect),
        P(X >= x) = P(U - B <= effect) for U ~ Beta(x, n - x + 1): the low end is a quantile of U - B.
        For independent rows its one-sided error is at most the rate asked for, at any rate.

        Args:
            alpha_low: One-sided errors of the low ends, shape (L,).
            alpha_high: Those of the high ends, shape (L,).

        Returns:
            Low and high ends, each of shape (L,); [-1, 1] where nothing is known.

        Source:
            Vovk (2013), Machine Learning 92:349-376, proposition 2b, for the Beta law of the level;
            Clopper & Pearson (1934), Biometrika 26:404-413; Korn & Graubard (1998), Survey Methodology
            24:193-201, for the effective number of rows.
        """
        low, high = np.full(self.rows.shape, -1.0), np.full(self.rows.shape, 1.0)
        good = (self.rows > 0) & (self.df > 0) & (self.calibration > 0) & (self.df_calibration > 0)
        if good.any():
            value = self.value[good]
            low[good] = np.minimum(self._end(alpha_low, good, upper=False), value)
            high[good] = np.maximum(self._end(alpha_high, good, upper=True), value)
        return low, high

    def _end(self, alpha: Floats, good: NDArray[np.bool_], *, upper: bool) -> Floats:
        rate = np.broadcast_to(np.asarray(alpha, dtype=np.float64), self.rows.shape)[good]
        u, v = self._laws(rate, good, upper)
        return _difference_quantile(u, v, 1 - rate if upper else rate, rate, upper)

    def _laws(
        self, rate: Floats, good: NDArray[np.bool_], upper: bool
    ) -> tuple[tuple[Floats, Floats], tuple[Floats, Floats]]:
        """Beta parameters of the production share's end and of the calibration level."""
        n = self.rows[good] / (np.maximum(self.deff[good], 1.0) * _shrink(rate, self.df[good]))
        x = self.hits[good] / self.rows[good] * n
        m = (self.calibration + 1) / (
            max(self.deff_calibration, 1.0) * _shrink(rate, np.full(rate.shape, self.df_calibration))
        )
        u = (x + 1, n - x) if upper else (x, n - x + 1)
        return u, (self.alpha * m, (1 - self.alpha) * m)

    def p_value(self, margin: float) -> Floats:
        """P-values of "at most `margin`", shape (L,): the error rate at which the low end meets it."""
        out = np.ones(self.rows.shape)
        good = (self.rows > 0) & (self.df > 0) & (self.calibration > 0) & (self.df_calibration > 0)
        good &= np.nan_to_num(self.value, nan=-1.0) > margin
        low, high = np.full(self.rows.shape, -40.0), np.full(self.rows.shape, math.log(0.5))
        for _ in range(40):
            middle = (low + high) / 2
            beyond = self.ends(np.exp(middle), np.full(self.rows.shape, 0.5))[0] > margin
            low, high = np.where(beyond, low, middle), np.where(beyond, middle, high)
        out[good] = np.exp(high[good])
        return out

    def rows_needed(self, margin: float, alpha: float, power: float = 0.8) -> int | None:
        """Rows of a single look that show an effect of zero to lie under `margin`.

        Args:
            margin: Above zero.
            alpha: One-sided error of the high end.
            power: Chance to show it.

        Returns:
            Rows; None when the calibration rows are too few for any number of them.
        """
        deff, df = (float(self.deff[0]), float(self.df[0])) if self.rows.size else (1.0, math.inf)
        if self.calibration <= 0 or df <= 0:
            return None
        z, m = normal_quantile(1 - power), self.calibration / max(self.deff_calibration, 1.0)

        def decides(n: float) -> bool:
            spread = math.sqrt(self.alpha * (1 - self.alpha) * (max(deff, 1.0) / n + 1 / m))
            hits = n * min(self.alpha + z * spread, 1.0)
            one = Excess(
                np.array([hits]),
                np.array([n]),
                self.calibration,
                self.alpha,
                np.array([deff]),
                np.array([df]),
                self.deff_calibration,
                self.df_calibration,
            )
            return bool(one.ends(np.array([0.5]), np.array([alpha]))[1][0] <= margin)

        return rows_for(decides, start=max(float(self.rows[0]) if self.rows.size else 2.0, 2.0), most=1e9)


def excess(hits: ArrayLike, rows: ArrayLike, calibration: int, alpha: float) -> Excess:
    """Excess of novel rows where all rows are independent.

    Args:
        hits: Novel rows of each look, sums of `novel`, shape (L,).
        rows: All rows of each look, shape (L,).
        calibration: Number of calibration rows.
        alpha: The level in (0, 1).

    Example:
        >>> found = excess([60, 150], [1000, 1000], 2000, 0.05)
        >>> found.value.round(3).tolist()
        [0.01, 0.1]
        >>> low, high = found.ends(np.array([0.025, 0.025]), np.array([0.025, 0.025]))
        >>> low.round(3).tolist(), high.round(3).tolist()
        ([-0.007, 0.076], [0.029, 0.125])
    """
    if not 0 < alpha < 1:
        raise ValueError(f"The level is {alpha}; it lies between 0 and 1.")
    n = np.atleast_1d(np.asarray(rows, dtype=np.float64))
    h = np.atleast_1d(np.asarray(hits, dtype=np.float64))
    return Excess(h, n, calibration, alpha, np.ones(n.shape), np.full(n.shape, math.inf))


def _shrink(rate: Floats, df: Floats) -> Floats:
    """Squared ratio of the t to the normal quantile, by which the effective number of rows shrinks."""
    known = np.isfinite(df) & (rate < 0.5)
    t = special.stdtrit(np.where(known, df, 1.0), np.where(known, rate, 0.25))
    z = special.ndtri(np.where(known, rate, 0.25))
    out: Floats = np.where(known, (t / z) ** 2, 1.0)
    return out


# ------------------------------------------------------------------ difference of two Betas


def _difference_quantile(
    u: tuple[Floats, Floats], v: tuple[Floats, Floats], prob: Floats, tail: Floats, upper: bool
) -> Floats:
    """The `prob` quantile of U - V for independent U ~ Beta(u) and V ~ Beta(v); a parameter of 0 means a constant.

    Args:
        u: Parameters, each of shape (L,); where the first is 0, U is 0, and where the second is, 1.
        v: Parameters, each of shape (L,), above zero.
        prob: Probabilities, shape (L,).
        tail: The smaller tail beyond the quantile, shape (L,); keeps its digits where `prob` is near 1.
        upper: Whether that tail is the upper one.
    """
    out = np.empty(prob.shape)
    fixed = (u[0] <= 0) | (u[1] <= 0)
    if fixed.any():
        at = np.where(u[0] <= 0, 0.0, 1.0)[fixed]
        a, b, t = v[0][fixed], v[1][fixed], tail[fixed]
        out[fixed] = at - (special.betaincinv(a, b, t) if upper else special.betainccinv(a, b, t))
    rest = ~fixed
    if rest.any():
        out[rest] = _search(tuple(x[rest] for x in u), tuple(x[rest] for x in v), tail[rest], upper)  # type: ignore[arg-type]
    return out


def _search(u: tuple[Floats, Floats], v: tuple[Floats, Floats], tail: Floats, upper: bool) -> Floats:
    """Where the tail of U - V has the wanted size, by false position on the normal scale and bisection in turn."""
    sign = 1.0 if upper else -1.0
    beyond = _Tail(u, v, upper)
    goal = special.ndtri(tail)
    (mu, su), (mv, sv) = _moments(*u), _moments(*v)
    low, high = np.full(tail.shape, -1.0), np.full(tail.shape, 1.0)
    f_low, f_high = np.full(tail.shape, sign * 40.0), np.full(tail.shape, sign * -40.0)
    x = np.clip(mu - mv - sign * goal * np.sqrt(su**2 + sv**2), -1 + 1e-9, 1 - 1e-9)
    open_ = np.arange(tail.size)
    for step in range(60):
        at = x[open_]
        with np.errstate(divide="ignore"):
            f = np.clip(special.ndtri(beyond.at(at, open_)), -40.0, 40.0) - goal[open_]
        # The upper tail falls and the lower one rises with x.
        left = sign * f > 0
        low[open_], f_low[open_] = np.where(left, at, low[open_]), np.where(left, f, f_low[open_])
        high[open_], f_high[open_] = np.where(left, high[open_], at), np.where(left, f_high[open_], f)
        a, b, fa, fb = low[open_], high[open_], f_low[open_], f_high[open_]
        new = (a + b) / 2
        if step % 4 != 3:
            secant = (a * fb - b * fa) / np.where(fb != fa, fb - fa, 1.0)
            new = np.where((secant > a) & (secant < b), secant, new)
        x[open_] = new
        open_ = open_[(np.abs(new - at) > 1e-8) & (b - a > 1e-8)]
        if open_.size == 0:
            break
    return x


def _moments(a: Floats, b: Floats) -> tuple[Floats, Floats]:
    total = a + b
    mean = a / total
    return mean, np.sqrt(mean * (1 - mean) / (total + 1))


class _Tail:
    """P(U - V > x), or P(U - V <= x), summed over normal quantiles of the narrower of the two."""

    def __init__(self, u: tuple[Floats, Floats], v: tuple[Floats, Floats], upper: bool) -> None:
        self.narrow_u = _moments(*u)[1] < _moments(*v)[1]
        a, b = (np.where(self.narrow_u, p, q)[:, None] for p, q in zip(u, v, strict=True))
        self.c, self.d = (np.where(self.narrow_u, q, p) for p, q in zip(u, v, strict=True))
        self.nodes = np.where(_Z < 0, special.betaincinv(a, b, _LOW), special.betainccinv(a, b, _HIGH))
        self.upper = upper

    def at(self, x: Floats, rows: NDArray[np.intp]) -> Floats:
        """The tail beyond x of the looks in `rows`."""
        out = np.empty(x.shape)
        for narrow_u in (True, False):
            mine = self.narrow_u[rows] == narrow_u
            if not mine.any():
                continue
            which, shift = rows[mine], x[mine, None]
            # Over U: V < U - x, or V >= U - x; over V: U > V + x, or U <= V + x.
            at = np.clip(self.nodes[which] - shift if narrow_u else self.nodes[which] + shift, 0.0, 1.0)
            law = special.betainc if narrow_u == self.upper else special.betaincc
            out[mine] = law(self.c[which, None], self.d[which, None], at) @ _WEIGHTS
        return out
