"""Episodes and stories: whatever the alarms, they open at one, never overlap, and end once it is calm."""

from __future__ import annotations

import itertools

from hypothesis import given
from hypothesis import strategies as st

from afterlaunch.episodes import RECOVERY, Change, Episode, episodes_of, stories_of

SIZES = st.integers(1, 60)


@st.composite
def courses(draw: st.DrawFn) -> tuple[dict[int, int], list[bool | None]]:
    """Alarms by their window, and whether each window is inside the margin."""
    size = draw(SIZES)
    inside = draw(st.lists(st.sampled_from([True, False, None]), min_size=size, max_size=size))
    at = draw(st.lists(st.integers(0, size - 1), unique=True))
    return {w: i for i, w in enumerate(sorted(at))}, inside


@given(courses())
def test_episodes_never_overlap_and_open_at_an_alarm(course: tuple[dict[int, int], list[bool | None]]) -> None:
    alarms, inside = course
    episodes = episodes_of(alarms, inside)
    for e in episodes:
        assert e.first in alarms
        assert e.first <= e.last < len(inside)
        assert e.look in alarms.values()
    for a, b in itertools.pairwise(episodes):
        assert a.last < b.first
        assert not a.open
    # Every alarm lies in an episode.
    assert all(any(e.first <= w <= e.last for e in episodes) for w in alarms)


@given(courses())
def test_an_episode_is_over_exactly_after_calm_windows(course: tuple[dict[int, int], list[bool | None]]) -> None:
    alarms, inside = course
    for e in episodes_of(alarms, inside):
        after = [(w, inside[w]) for w in range(e.last + 1, len(inside)) if inside[w] is not None]
        if not e.open:
            assert len(after) >= RECOVERY
            assert all(calm for _, calm in after[:RECOVERY])
            assert all(w not in alarms for w, _ in after[:RECOVERY])
        else:
            assert e.last == len(inside) - 1


@given(courses())
def test_more_alarms_never_make_an_alarm_lie_outside(course: tuple[dict[int, int], list[bool | None]]) -> None:
    alarms, inside = course
    every = {w: w for w in range(len(inside))}
    (whole,) = episodes_of(every, inside)
    assert (whole.first, whole.last, whole.open) == (0, len(inside) - 1, True)
    assert len(episodes_of(alarms, inside)) <= len(alarms)


def test_nothing_alarms() -> None:
    assert episodes_of({}, [True] * 5) == ()
    assert episodes_of({}, []) == ()


def test_one_alarm_persists_until_it_is_calm() -> None:
    inside: list[bool | None] = [True] * 5 + [False] * 3 + [True] * 10
    (e,) = episodes_of({5: 0}, inside)
    assert (e.first, e.last, e.open) == (5, 7, False)
    assert e.look == 0


def test_windows_without_estimate_neither_end_nor_keep_an_episode() -> None:
    gap: list[bool | None] = [None] * 20
    (e,) = episodes_of({0: 0}, [False, *gap])
    assert e.open
    calm: list[bool | None] = [True, None] * RECOVERY
    (e,) = episodes_of({0: 0}, [False, *calm])
    assert not e.open


def test_an_episode_that_comes_back_is_another_one() -> None:
    inside: list[bool | None] = [False] + [True] * RECOVERY + [False] * 2
    first, second = episodes_of({0: 0, RECOVERY + 1: 1}, inside)
    assert (first.first, first.open) == (0, False)
    assert (second.first, second.open) == (RECOVERY + 1, True)


def test_it_counts_from_the_change_where_that_is_earlier() -> None:
    (e,) = episodes_of({6: 0}, [False] * 8, lambda first, last: Change(first - 3, first - 4, first))
    assert e.start == 3
    (late,) = episodes_of({6: 0}, [False] * 8, lambda first, last: Change(7, 6, 7))
    assert late.start == 6


@given(st.lists(st.tuples(st.sampled_from("abc"), st.integers(0, 30), st.integers(0, 10)), max_size=12))
def test_stories_hold_every_episode_once_and_lie_apart(drawn: list[tuple[str, int, int]]) -> None:
    episodes = [(name, Episode(first, first + length, False, 0)) for name, first, length in drawn]
    stories = stories_of(episodes)
    members = [m for _, own in stories for m in own]
    assert sorted(members) == list(range(len(episodes)))
    for (a, _), (b, _) in itertools.pairwise(stories):
        assert a.last < b.first
    for story, own in stories:
        assert story.first == min(episodes[m][1].start for m in own)
        assert set(story.subjects) == {episodes[m][0] for m in own}


def test_a_calm_window_that_alarms_is_not_counted_as_calm() -> None:
    alarms = {0: 0, 1: 1}
    assert [(e.first, e.last, e.open) for e in episodes_of(alarms, [False] + [True] * 8)] == [(0, 1, False)]
    assert [(e.first, e.last, e.open) for e in episodes_of(alarms, [False] + [True] * 7)] == [(0, 7, True)]


def test_a_look_back_at_what_is_over_keeps_no_episode_open_and_opens_none() -> None:
    """Four weeks that hold a fault of last month still alarm when it is mended."""
    inside: list[bool | None] = [False] * 10 + [True] * 30
    alarms = {**{w: w for w in range(10)}, 13: 100, 27: 101, 37: 102}
    begins = {13: 0, 27: 0, 37: 10}
    found = episodes_of(alarms, inside, None, begins)
    assert [(e.first, e.last, e.open) for e in found] == [(0, 9, False), (37, 39, True)]


def test_a_look_at_several_windows_opens_an_episode_that_no_single_one_shows() -> None:
    found = episodes_of({6: 0}, [False] * 9, None, {6: 0})
    assert [(e.first, e.last, e.open) for e in found] == [(6, 8, True)]
