"""Team-draft interleaving: drafts worked out by hand, their properties, and the errors of a preference."""

import itertools
import math
from collections import Counter
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from afterlaunch.stats.interleaving import Preference, credit, preference, team_draft
from tests.simulation import SURE, at_most, most

FIRST, SECOND = "abcdgh", "beafgh"

# By hand from algorithm 2: who picks first in each of the three rounds, the list, and the teams.
DRAFTS = {
    "AAA": ("abcedf", "ABABAB"),
    "AAB": ("abcefd", "ABABBA"),
    "ABA": ("abecdf", "ABBAAB"),
    "ABB": ("abecfd", "ABBABA"),
    "BAA": ("bacedf", "BAABAB"),
    "BAB": ("bacefd", "BAABBA"),
    "BBA": ("baecdf", "BABAAB"),
    "BBB": ("baecfd", "BABABA"),
}


class Coins(np.random.Generator):
    """A generator whose coins fall as they are told: A picks at 0, B at 1."""

    def __init__(self, coins: str) -> None:
        super().__init__(np.random.PCG64(0))
        self.left = [int(c == "B") for c in coins]

    def integers(self, *args: Any, **kwargs: Any) -> Any:
        assert args == (2,)
        return self.left.pop(0)


def teams_of(text: str) -> tuple[int, ...]:
    return tuple(int(t == "B") for t in text)


@pytest.mark.parametrize("coins", ["".join(c) for c in itertools.product("AB", repeat=3)])
def test_every_way_that_the_coins_can_fall(coins: str) -> None:
    rng = Coins(coins)
    found = team_draft(FIRST, SECOND, 6, rng)
    items, teams = DRAFTS[coins]
    assert found.items == tuple(items)
    assert found.teams == teams_of(teams)
    assert not rng.left
    # Exactly mirrored, the rankers being swapped and every coin turned over.
    other = team_draft(SECOND, FIRST, 6, Coins(coins.translate(str.maketrans("AB", "BA"))))
    assert other.items == found.items
    assert other.teams == tuple(1 - t for t in found.teams)


def test_coins_are_fair_and_independent() -> None:
    rng = np.random.default_rng(0)
    seen = Counter(team_draft(FIRST, SECOND, 6, rng).items for _ in range(4000))
    assert set(seen) == {tuple(items) for items, _ in DRAFTS.values()}
    assert stats.chisquare([*seen.values()]).pvalue > SURE


@pytest.mark.parametrize(
    ("coins", "clicks", "expected"),
    [
        ("AAA", "be", (0, 2)),
        ("BAB", "be", (0, 2)),
        ("AAA", "ad", (2, 0)),
        ("ABB", "abd", (2, 1)),
        ("BBB", "", (0, 0)),
        ("BBB", "abcdef", (3, 3)),
    ],
)
def test_credit_goes_to_the_team_that_picked_the_item(coins: str, clicks: str, expected: tuple[int, int]) -> None:
    found = team_draft(FIRST, SECOND, 6, Coins(coins))
    assert credit(found.teams, [item in clicks for item in found.items]) == expected
    swapped = [1 - t for t in found.teams]
    assert credit(swapped, [item in clicks for item in found.items]) == expected[::-1]


def test_both_agree_on_one_order() -> None:
    """The list is theirs whatever the coins; a click on any place is worth the same to both in the mean."""
    rng = np.random.default_rng(1)
    drafts = [team_draft("abcd", "abcd", 4, rng) for _ in range(4000)]
    assert {d.items for d in drafts} == {tuple("abcd")}
    low, high = stats.binom.ppf([SURE / 8, 1 - SURE / 8], 4000, 0.5)
    for place in range(4):
        assert low <= sum(d.teams[place] for d in drafts) <= high


rankings = st.lists(st.integers(0, 12), max_size=12, unique=True)


@given(rankings, rankings, st.integers(0, 14), st.integers(0, 10_000))
def test_a_draft_is_fair_and_keeps_every_order(first: list[int], second: list[int], k: int, seed: int) -> None:
    found = team_draft(first, second, k, np.random.default_rng(seed))
    assert len(found.items) == len(found.teams) == len(set(found.items)) <= k
    # The list is full, or one of them has nothing new.
    out = any(set(r) <= set(found.items) for r in (first, second))
    assert len(found.items) == k or out
    assert len(found.items) >= min(k, len(first), len(second))
    assert abs(2 * sum(found.teams) - len(found.teams)) <= 1
    # In every round each picks once.
    assert all(a != b for a, b in zip(found.teams[::2], found.teams[1::2], strict=False))
    for team, ranker in enumerate((first, second)):
        own = [i for i, t in zip(found.items, found.teams, strict=True) if t == team]
        places = [ranker.index(i) for i in own]
        assert places == sorted(places)
        # It passed over nothing but what had been picked already.
        for item, place in zip(own, places, strict=True):
            before = found.items[: found.items.index(item)]
            assert set(ranker[:place]) <= set(before)


@given(st.permutations(range(8)), st.permutations(range(8)), st.integers(0, 1000))
def test_two_orders_of_the_same_items_give_all_of_them(first: list[int], second: list[int], seed: int) -> None:
    found = team_draft(first, second, 8, np.random.default_rng(seed))
    assert set(found.items) == set(range(8))
    assert found.items[0] in {first[0], second[0]}


def test_nothing_to_draft() -> None:
    rng = np.random.default_rng(0)
    assert team_draft("", "abc", 3, rng).items == ()
    assert team_draft("a", "abc", 3, Coins("A")).items == ("a",)
    assert team_draft("aab", "caa", 3, Coins("AA")).items == ("a", "c")
    with pytest.raises(ValueError, match="-1 items"):
        team_draft("a", "b", -1, rng)


# ------------------------------------------------------------------ preference


def of(wins: int, losses: int, ties: int) -> Preference:
    counts = (wins, losses, ties)
    return preference(np.repeat([2, 0, 1], counts), np.repeat([1, 3, 1], counts))


@given(st.integers(0, 300), st.integers(0, 300), st.integers(0, 300), st.floats(0.001, 0.4), st.floats(0.001, 0.4))
def test_delta_and_symmetry(wins: int, losses: int, ties: int, low: float, high: float) -> None:
    n = wins + losses + ties
    if n == 0:
        return
    one, other = of(wins, losses, ties), of(losses, wins, ties)
    assert one.value == pytest.approx((wins + 0.5 * ties) / n - 0.5, abs=1e-15)
    assert (one.wins, one.losses, one.ties, one.sessions) == (wins, losses, ties, n)
    assert one.value == -other.value
    assert one.se == pytest.approx(other.se, rel=1e-12)
    a, b = one.interval(low, high)
    c, d = other.interval(high, low)
    assert (a, b) == pytest.approx((-d, -c), rel=1e-12, abs=1e-12)
    assert -0.5 <= a <= one.value <= b <= 0.5
    assert a < b
    assert one.se > 0


def test_the_standard_error_is_that_of_a_mean() -> None:
    one = of(30, 20, 50)
    score = np.repeat([0.5, -0.5, 0.0], (30, 20, 50))
    assert one.se == pytest.approx(score.std(ddof=1) / 10)
    # With many decided sessions, and so as good as symmetric, the ends are those of a normal mean.
    many = of(3000, 2800, 4200)
    low, high = many.interval(0.025, 0.025)
    assert (low, high) == pytest.approx((many.value - 1.96 * many.se, many.value + 1.96 * many.se), abs=2e-4)


def test_users_are_the_units() -> None:
    rng = np.random.default_rng(2)
    a, b = rng.integers(0, 3, 120), rng.integers(0, 3, 120)
    user = np.arange(120)
    one = preference(a, b, groups=user)
    five = preference(np.repeat(a, 5), np.repeat(b, 5), groups=np.repeat(user, 5) + 7)
    assert five.value == one.value
    assert five.se == pytest.approx(one.se)
    assert five.df == one.df == 119
    assert five.interval(0.05, 0.05) == pytest.approx(one.interval(0.05, 0.05), abs=0.004)
    assert preference(np.repeat(a, 5), np.repeat(b, 5)).se < 0.5 * five.se


def test_no_click_at_all_is_no_proof_of_equality() -> None:
    """Of 100 sessions 3 at most are decided (rule of three), which moves the preference by half of it."""
    one = preference(np.zeros(100), np.zeros(100))
    assert one.value == 0
    low, high = one.interval(0.05, 0.05)
    assert high == -low == pytest.approx(0.015, abs=0.0005)
    assert one.p_value() == 1.0
    users = preference(np.zeros(100), np.zeros(100), groups=np.repeat(np.arange(10), 10))
    assert users.interval(0.05, 0.05)[1] > 4 * high
    assert users.se > one.se


def test_one_sided_sessions_are_held_against_what_so_few_can_show() -> None:
    """Five wins in five sessions: 2 ** -5 by the sign test."""
    assert of(5, 0, 0).p_value() == pytest.approx(2**-5, rel=0.1)
    assert of(5, 0, 0).interval(0.05, 0.05)[1] == 0.5
    assert of(3, 0, 997).p_value() > 0.05
    assert of(1, 0, 0).interval(0.05, 0.05)[0] < -0.4


def test_a_single_user_says_nothing() -> None:
    one = preference([1, 1, 0], [0, 0, 1], groups=[4, 4, 4])
    assert one.value == pytest.approx(1 / 6)
    assert one.interval(0.05, 0.05) == (-0.5, 0.5)
    assert one.p_value() == 1.0
    assert math.isinf(one.se)


@pytest.mark.parametrize("margin", [0.0, 0.03])
def test_the_p_value_is_where_the_low_end_meets_the_margin(margin: float) -> None:
    one = of(300, 200, 400)
    p = one.p_value(margin)
    assert one.interval(1.1 * p, 0.5)[0] >= margin >= one.interval(0.9 * p, 0.5)[0]


@pytest.mark.parametrize(("sessions", "clicks"), [(60, 0.3), (400, 0.02), (2000, 0.3)])
def test_two_equal_rankers_raise_no_more_false_alarms_than_promised(sessions: int, clicks: float) -> None:
    """Both rankers are one; every place of the shared list is clicked with the same chance, whoever's team it is in."""
    rng, repeats = np.random.default_rng(3), 1500
    team = rng.integers(0, 2, (repeats, sessions))
    teams = np.stack([team, 1 - team, 1 - team, team], axis=2)
    clicked = rng.random(teams.shape) < clicks * np.array([1.0, 0.6, 0.4, 0.3])
    a, b = (clicked & (teams == 0)).sum(axis=2), (clicked & (teams == 1)).sum(axis=2)
    ends = np.array([preference(x, y).interval(0.05, 0.05) for x, y in zip(a, b, strict=True)])
    for alarms in (ends[:, 0] > 0, ends[:, 1] < 0):
        assert alarms.mean() <= at_most(0.05, repeats)
        if sessions == 2000:
            assert alarms.mean() >= 0.03


def test_false_alarms_and_coverage_with_users() -> None:
    """Users of 1 to 12 sessions, each with a taste of his own; half of them prefer either ranker a little."""
    rng, repeats = np.random.default_rng(4), 1500
    low = high = loose = 0
    for _ in range(repeats):
        size = rng.integers(1, 13, 120)
        user = np.repeat(np.arange(120), size)
        taste = rng.beta(2, 2, 120)[user]
        decided = rng.random(len(user)) < 0.5
        won = rng.random(len(user)) < taste
        a, b = (decided & won).astype(int), (decided & ~won).astype(int)
        found = preference(a, b, groups=user).interval(0.05, 0.05)
        low, high = low + (found[0] > 0), high + (found[1] < 0)
        loose += preference(a, b).interval(0.05, 0.05)[0] > 0
    # One point of slack for the jackknife with unequal users.
    assert low / repeats <= most(0.06, 0.0, repeats)
    assert high / repeats <= most(0.06, 0.0, repeats)
    assert loose / repeats > 0.07


@pytest.mark.parametrize(
    ("bad", "words"),
    [
        ({"first_clicks": [], "second_clicks": []}, "no sessions"),
        ({"first_clicks": [1]}, "`second_clicks` has 2 sessions and `first_clicks` has 1"),
        ({"first_clicks": [[1, 2]]}, "`first_clicks` must have one dimension"),
        ({"first_clicks": [-1, 2]}, "`first_clicks` has values that are no numbers of clicks"),
        ({"second_clicks": [math.nan, 2]}, "`second_clicks` has values that are no numbers of clicks"),
        ({"groups": [1]}, "`groups` has the shape"),
        ({"groups": [-1, 1]}, "`groups` must have integers"),
        ({"groups": [0.5, 1]}, "`groups` must have integers"),
    ],
)
def test_unusable_sessions_are_named(bad: dict[str, Any], words: str) -> None:
    good: dict[str, Any] = {"first_clicks": [1, 0], "second_clicks": [0, 0]}
    with pytest.raises(ValueError, match=words):
        preference(**{**good, **bad})


def test_unusable_clicks_are_named() -> None:
    with pytest.raises(ValueError, match="`clicked` has 1 places and `teams` has 2"):
        credit([0, 1], [True])
    with pytest.raises(ValueError, match="neither 0 nor 1"):
        credit([0, 2], [True, False])
    with pytest.raises(ValueError, match="neither true nor false"):
        credit([0, 1], [True, 2])  # type: ignore[list-item]
