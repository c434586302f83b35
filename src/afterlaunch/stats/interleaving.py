"""Which of two rankers do users prefer, when every list they see is drafted from both?"""

from __future__ import annotations

import math
from collections.abc import Hashable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import ArrayLike, NDArray

from afterlaunch.stats.clustered import Share, p_value
from afterlaunch.stats.intervals import Shares, normal_quantile, shares
from afterlaunch.stats.resampling import degrees, deviations

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Interleaved:
    """A list that two rankers drafted.

    Attributes:
        items: What is shown, from the first place on.
        teams: For every place which ranker picked the item: 0 for the first, 1 for the second.
    """

    items: tuple[Hashable, ...]
    teams: tuple[int, ...]


def team_draft(first: Sequence[Hashable], second: Sequence[Hashable], k: int, rng: np.random.Generator) -> Interleaved:
    """Let two rankers pick items in turn, as captains pick their teams.

    The ranker with the smaller team picks; where both are of one size, a coin decides. It picks its best item that
    neither has picked yet. The draft ends with k items, or as soon as one ranker has nothing new to pick: from there
    on the other would be the only one to gain clicks.

    Args:
        first: Items in the first ranker's order.
        second: Items in the second ranker's order.
        k: Length of the list, at least 0.
        rng: Tosses the coins.

    Returns:
        The list and who picked what.

    Raises:
        ValueError: If k is negative.

    Source:
        Radlinski, Kurup & Joachims (2008), How Does Clickthrough Data Reflect Retrieval Quality?, CIKM, algorithm 2.

    Example:
        >>> found = team_draft("abcdgh", "beafgh", 4, np.random.default_rng(2))
        >>> found.items, found.teams
        (('b', 'a', 'c', 'e'), (1, 0, 0, 1))
    """
    if k < 0:
        raise ValueError(f"A list cannot have {k} items.")
    rankers, at, sizes = (first, second), [0, 0], [0, 0]
    items: list[Hashable] = []
    teams: list[int] = []
    picked: set[Hashable] = set()
    while len(items) < k:
        for team, ranker in enumerate(rankers):
            while at[team] < len(ranker) and ranker[at[team]] in picked:
                at[team] += 1
        if at[0] == len(first) or at[1] == len(second):
            break
        team = int(rng.integers(2)) if sizes[0] == sizes[1] else int(sizes[1] < sizes[0])
        item = rankers[team][at[team]]
        items.append(item)
        teams.append(team)
        picked.add(item)
        sizes[team] += 1
    return Interleaved(tuple(items), tuple(teams))


def credit(teams: Sequence[int], clicked: Sequence[bool]) -> tuple[int, int]:
    """Clicks on the items of each team.

    Args:
        teams: From `Interleaved`.
        clicked: For every place whether its item was clicked.

    Returns:
        Clicked items that the first ranker picked, and that the second picked.

    Raises:
        ValueError: If the lengths differ, a team is neither 0 nor 1, or a click is neither true nor false.

    Source:
        Radlinski, Kurup & Joachims (2008), CIKM, as for `team_draft`.

    Example:
        >>> credit((0, 1, 0, 1), (True, False, True, True))
        (2, 1)
    """
    if len(teams) != len(clicked):
        raise ValueError(f"`clicked` has {len(clicked)} places and `teams` has {len(teams)}.")
    if any(t not in {0, 1} for t in teams):
        raise ValueError("A team in `teams` is neither 0 nor 1.")
    if any(c not in {0, 1} for c in clicked):
        raise ValueError("A value in `clicked` is neither true nor false.")
    second = sum(1 for t, c in zip(teams, clicked, strict=True) if c and t)
    return sum(map(bool, clicked)) - second, second


@dataclass(frozen=True, slots=True)
class Preference:
    """How much more often sessions prefer the first of two rankers.

    Attributes:
        value: Share of sessions won, a tie being half a win, less a half; between -0.5 and 0.5.
        se: Standard error. Where sessions show no variance, what so few can hide; infinite for a single user.
        df: Degrees of freedom of it; infinite for independent sessions, 0 when it is not known.
        wins: Sessions with more clicks for the first ranker.
        losses: Sessions with more clicks for the second.
        ties: The others, those without any click among them.
        parts: Shares of losses and of wins, with what dependence does to them.
    """

    value: float
    se: float
    df: float
    wins: int
    losses: int
    ties: int
    parts: Shares

    @property
    def sessions(self) -> int:
        """All sessions."""
        return self.wins + self.losses + self.ties

    def interval(self, alpha_low: float, alpha_high: float) -> tuple[float, float]:
        """Ends at given one-sided error rates, from exact intervals of both shares; all where nothing is known."""
        if self.df <= 0:
            return -0.5, 0.5
        found = self.parts.change(alpha_low, alpha_high)
        return max(found.low / 2, -0.5), min(found.high / 2, 0.5)

    def p_value(self, margin: float = 0.0) -> float:
        """P-value of "the first ranker is preferred by at most the margin"; 1.0 over a half."""
        return p_value(self.interval, margin)


def preference(first_clicks: ArrayLike, second_clicks: ArrayLike, *, groups: ArrayLike | None = None) -> Preference:
    """Which ranker wins more sessions.

    Args:
        first_clicks: Clicks on the first ranker's team, one number for each session, shape (n,).
        second_clicks: Clicks on the second's, shape (n,).
        groups: Numbers of the users that sessions are of, integers of at least 0, shape (n,); None for independent
            sessions.

    Returns:
        The preference. Its interval puts together those of the shares of wins and of losses, so that it is honest
        for few sessions, for few that are decided, and for none.

    Raises:
        ValueError: If an array is unusable or there are no sessions.

    Source:
        Chapelle, Joachims, Radlinski & Yue (2012), Large-Scale Validation and Analysis of Interleaved Search
        Evaluation, ACM TOIS 30(1), the statistic Delta_AB; the interval: `intervals.difference`.

    Example:
        >>> found = preference([2] * 60 + [0] * 140, [0] * 60 + [1] * 30 + [0] * 110)
        >>> low, high = found.interval(0.025, 0.025)
        >>> found.value, round(low, 3), round(high, 3)
        (0.075, 0.028, 0.12)
    """
    a, b = _clicks("first_clicks", first_clicks), _clicks("second_clicks", second_clicks)
    n = len(a)
    if len(b) != n:
        raise ValueError(f"`second_clicks` has {len(b)} sessions and `first_clicks` has {n}.")
    if n == 0:
        raise ValueError("There are no sessions.")
    unit = np.arange(n) if groups is None else _users(groups, n)
    size = np.bincount(unit)
    won, lost = np.bincount(unit, a > b), np.bincount(unit, a < b)
    some = size > 0
    size, won, lost = size[some], won[some], lost[some]
    wins, losses = int(won.sum()), int(lost.sum())
    value, ties, users = (wins - losses) / n / 2, n - wins - losses, len(size)
    if groups is not None and users < 2:
        return Preference(value, math.inf, 0.0, wins, losses, ties, Shares((losses, wins), (n, n)))
    moves = deviations((won - lost) / 2, size)
    variance = float(moves @ moves) * (users - 1) / users
    parts = shares((lost, won), (size, size))
    if groups is None:
        parts = replace(parts, deff=(1.0, 1.0), df=math.inf)
    else:
        parts = replace(parts, df=degrees(size))
    if max(wins, losses, ties) == n:
        # Sessions that all went one way show no dependence; at most all of a user's count as one.
        deff = float((size.astype(np.float64) ** 2).sum()) / n if groups is not None else 1.0
        parts = replace(parts, deff=(deff, deff), correlation=0.0 if ties else -1.0)
        most = Share(0, n, deff, parts.df).interval(0.05, 0.05)[1]
        variance = (most / normal_quantile(0.05)) ** 2 / (4 if ties else 1)
    return Preference(value, math.sqrt(variance), parts.df, wins, losses, ties, parts)


def _clicks(name: str, values: ArrayLike) -> Floats:
    found = np.asarray(values, dtype=np.float64)
    if found.ndim != 1:
        raise ValueError(f"`{name}` must have one dimension, not {found.ndim}.")
    if not np.isfinite(found).all() or (found < 0).any():
        raise ValueError(f"`{name}` has values that are no numbers of clicks.")
    return found


def _users(groups: ArrayLike, rows: int) -> NDArray[np.intp]:
    found = np.asarray(groups)
    if found.ndim != 1 or len(found) != rows:
        raise ValueError(f"`groups` has the shape {found.shape} and there are {rows} sessions.")
    if not np.issubdtype(found.dtype, np.integer) or found.min() < 0:
        raise ValueError("`groups` must have integers of at least 0.")
    return found.astype(np.intp)
