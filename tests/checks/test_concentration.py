"""The concentration check: no trend is no alarm, a trend is its size, and what is looked at on its own."""

from __future__ import annotations

import math
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from afterlaunch.checks import concentration
from afterlaunch.checks.evidence import Evidence
from afterlaunch.decide import Margins, decide
from afterlaunch.finding import Finding, Verdict
from afterlaunch.profile.exposures import Exposures
from afterlaunch.roles import Roles
from afterlaunch.watch import Window
from tests.simulation import at_least, at_most

Floats = NDArray[np.float64]
SEEDS = st.integers(0, 10_000)
WHOLE = ("gini", "hhi", "effective", "coverage")


def exposures(shown: NDArray[Any], **more: Any) -> Exposures:
    start = datetime(2026, 1, 5, tzinfo=UTC)
    week = timedelta(weeks=1)
    windows = tuple(Window(f"W{i:02}", start + i * week, start + (i + 1) * week, 0) for i in range(len(shown)))
    items = tuple(f"i{j}" for j in range(shown.shape[1]))
    return Exposures(windows, "week", items, shown.astype(float), **more)


def findings(seen: Exposures | None) -> list[Finding]:
    estimates = concentration.run(Evidence(roles=Roles(), exposures=seen))
    return decide(estimates, margins=Margins({}), primary=("amplification",))


def named(seen: Exposures) -> dict[str, Finding]:
    return {f.id: f for f in findings(seen)}


def effects(seen: Exposures) -> dict[str, tuple[float, float, float]]:
    out = {}
    for f in findings(seen):
        if f.effect is not None:
            out[f.id] = (f.effect.value, f.effect.low, f.effect.high)
    return out


def shares(rng: np.random.Generator, items: int, shape: float = 0.7) -> Floats:
    share: Floats = rng.gamma(shape, size=items)
    share /= share.sum()
    return share


def still(seed: int, weeks: int = 12, items: int = 150, rows: int = 3000) -> Floats:
    rng = np.random.default_rng(seed)
    size = rng.integers(rows // 2, rows * 2, weeks)
    share = shares(rng, items)
    return np.array([rng.multinomial(n, share) for n in size])


def rising(seed: int, power: float, weeks: int = 12, items: int = 150, rows: int = 4000) -> tuple[Floats, Floats]:
    """Shares to a power that rises from 1, and the impressions drawn from them."""
    rng = np.random.default_rng(seed)
    base = shares(rng, items, 2.0)
    true = np.stack([base ** (1 + (power - 1) * w / (weeks - 1)) for w in range(weeks)])
    true /= true.sum(axis=1, keepdims=True)
    return true, np.array([rng.multinomial(rows, t) for t in true])


def test_without_exposures_there_is_nothing_to_say() -> None:
    assert findings(None) == []


# ------------------------------------------------------------------ what changes nothing


@settings(max_examples=20)
@given(seed=SEEDS)
def test_the_order_of_items_changes_nothing(seed: int) -> None:
    shown = still(seed, weeks=6, items=40, rows=500)
    order = np.random.default_rng(seed).permutation(40)
    one, two = effects(exposures(shown)), effects(exposures(shown[:, order]))
    assert one.keys() == two.keys()
    for key in one:
        assert one[key] == pytest.approx(two[key], rel=1e-9, abs=1e-12)


@settings(max_examples=20)
@given(seed=SEEDS, more=st.integers(1, 200))
def test_items_that_are_never_shown_are_no_items_to_choose_among(seed: int, more: int) -> None:
    shown = still(seed, weeks=6, items=40, rows=500)
    one, two = effects(exposures(shown)), effects(exposures(np.pad(shown, ((0, 0), (0, more)))))
    for key in ("concentration/hhi", "concentration/effective", "concentration/new_items"):
        assert (key in one) == (key in two)
        if key in one:
            assert one[key] == pytest.approx(two[key], rel=1e-9, abs=1e-12)
    part = 40 / (40 + more)
    expected = [part * v for v in one["concentration/coverage"]]
    assert two["concentration/coverage"] == pytest.approx(expected, rel=1e-6, abs=1e-12)


# ------------------------------------------------------------------ false alarms and truth


def test_without_a_trend_there_is_no_alarm() -> None:
    repeats = 300
    alarms = [any(f.verdict is Verdict.ALARM for f in findings(exposures(still(s)))) for s in range(repeats)]
    assert np.mean(alarms) <= at_most(0.05, repeats)


def test_trends_in_weeks_of_unlike_size_lie_around_zero() -> None:
    repeats = 300
    known = [effects(exposures(still(s))) for s in range(repeats)]
    for key in WHOLE:
        found = np.array([k[f"concentration/{key}"] for k in known])
        assert np.mean((found[:, 1] <= 0) & (found[:, 2] >= 0)) >= at_least(0.94, repeats), key


def hhi(share: Floats) -> Floats:
    out: Floats = (share**2).sum(axis=1)
    return out


def gini(share: Floats) -> Floats:
    ordered = np.sort(share, axis=1)
    m = share.shape[1]
    out: Floats = (ordered * (2 * np.arange(1, m + 1) - m - 1)).sum(axis=1) / m
    return out


def line(values: Floats) -> float:
    """Change along a straight line, first to last."""
    return float(np.polyfit(np.arange(values.size), values, 1)[0]) * (values.size - 1)


@pytest.mark.parametrize("power", [1.3, 2.5])
def test_a_trend_is_found_in_its_size(power: float) -> None:
    repeats = 100
    inside = {"gini": 0, "hhi": 0, "effective": 0}
    off: dict[str, list[float]] = {key: [] for key in inside}
    alarms = 0
    for seed in range(repeats):
        true, shown = rising(seed, power)
        found = named(exposures(shown))
        alarms += found["concentration/gini"].verdict is Verdict.ALARM
        truth = {"gini": line(gini(true)), "hhi": line(hhi(true)), "effective": math.expm1(line(-np.log(hhi(true))))}
        for key, value in truth.items():
            effect = found[f"concentration/{key}"].effect
            assert effect is not None
            inside[key] += effect.low <= value <= effect.high
            off[key].append(effect.value - value)
    for key, hits in inside.items():
        # Weights by precision pull a line that is not straight, so a little is allowed.
        assert hits / repeats >= at_least(0.9, repeats), key
        assert abs(np.mean(off[key])) < 0.02, key
    assert alarms / repeats >= (0.9 if power > 2 else 0.0)


def test_units_that_are_alike_make_the_interval_wider() -> None:
    seen = exposures(still(0))
    plain, alike = effects(seen), effects(replace(seen, inflation=9.0, units=True))
    for key in WHOLE:
        a, b = plain[f"concentration/{key}"], alike[f"concentration/{key}"]
        assert b[2] - b[1] > 1.5 * (a[2] - a[1])
    assert "design effect of units" in named(replace(seen, units=True))["concentration/gini"].method


# ------------------------------------------------------------------ what is too little


def test_few_windows_and_thin_ones_are_said() -> None:
    found = named(exposures(still(0, weeks=3)))
    assert {(f.verdict, f.reason) for f in found.values()} == {(Verdict.UNDECIDED, "too_few_windows")}
    assert "3 windows of 50 impressions or more are too few for a trend." in found["concentration/gini"].sentence
    shown = still(0, weeks=6)
    shown[2:] = 0
    shown[2:, 0] = 49
    thin = named(exposures(shown))["concentration/hhi"]
    assert thin.reason == "too_few_windows"
    assert "2 windows" in thin.sentence


def test_a_thin_window_between_others_is_left_out() -> None:
    shown = still(0, weeks=8)
    shown[3] = 0
    found = named(exposures(shown))
    assert found["concentration/gini"].verdict is not Verdict.ALARM
    table = found["concentration/gini"].table
    assert table is not None
    assert table["series"][0]["x"] == [f"W{w:02}" for w in range(8) if w != 3]
    assert "over 8 weeks" in found["concentration/gini"].sentence


def test_one_item_is_as_concentrated_as_can_be_and_does_not_change() -> None:
    shown = np.zeros((8, 5))
    shown[:, 2] = 1000
    found = effects(exposures(shown))
    assert found["concentration/hhi"][0] == pytest.approx(0, abs=1e-12)
    assert found["concentration/effective"][0] == pytest.approx(0, abs=1e-12)


def test_items_that_are_all_alike_do_not_change_either() -> None:
    found = named(exposures(np.full((8, 20), 100.0)))
    for key in WHOLE:
        assert found[f"concentration/{key}"].verdict is not Verdict.ALARM


# ------------------------------------------------------------------ categories, segments, new items, age


def test_categories_and_segments_are_followed_on_their_own() -> None:
    _, up = rising(0, 4.0, items=80)
    flat = still(1, items=80, rows=4000)
    both = np.concatenate([up, flat, np.full((12, 1), 10)], axis=1)
    category = np.repeat([0, 1, 2, -1], [80, 80, 1, 0])
    seen = exposures(
        both, category=category, categories=("up", "flat", "alone"), segments={"pl": both, "de": both[::-1]}
    )
    found = named(seen)
    assert found["concentration/gini@up"].verdict is Verdict.ALARM
    assert found["concentration/gini@flat"].verdict is not Verdict.ALARM
    assert "concentration/gini@alone" not in found
    assert found["concentration/gini[pl]"].segment == "pl"
    one, other = (found[f"concentration/gini[{s}]"].effect for s in ("pl", "de"))
    assert one is not None
    assert other is not None
    assert one.value == pytest.approx(-other.value, rel=1e-6)
    assert " among up" in found["concentration/gini@up"].sentence
    assert " in pl" in found["concentration/gini[pl]"].sentence


def test_items_without_a_category_belong_to_none() -> None:
    shown = still(0, items=40)
    seen = exposures(shown, category=np.full(40, -1), categories=())
    assert {f.subject for f in findings(seen)} == {""}


def launched(seed: int, fewer: bool, weeks: int = 16) -> Exposures:
    """Five items come every week and are shown as much as others, or less and less."""
    rng = np.random.default_rng(seed)
    born = np.concatenate([np.full(50, -10.0), np.repeat(np.arange(weeks), 5)])
    shown = []
    for week in range(weeks):
        there = (born <= week).astype(float)
        young = week - born < 4
        there[young] *= (1 - week / weeks) ** 2 if fewer else there.sum() / 60
        shown.append(rng.multinomial(3000, there / there.sum()))
    return exposures(np.array(shown), born=born)


def test_new_items_that_get_less_and_less_are_found() -> None:
    found = named(launched(0, fewer=True))
    assert found["concentration/new_items"].verdict is Verdict.ALARM
    effect = found["concentration/new_items"].effect
    assert effect is not None
    assert effect.value < -0.05
    assert named(launched(0, fewer=False))["concentration/new_items"].verdict is not Verdict.ALARM


def test_without_births_nothing_is_said_of_new_items() -> None:
    """When an item was first shown is not when it came: rare ones are met late."""
    seen = launched(0, fewer=True)
    births = {"concentration/age", "concentration/new_items"}
    assert births <= set(named(seen))
    assert not births & set(named(replace(seen, born=None)))
    assert not births & set(named(replace(seen, born=np.full_like(seen.born, np.nan))))


@pytest.mark.parametrize("born", [None, np.full(5000, -10.0)])
def test_a_long_tail_that_the_log_gets_to_know_is_not_new(born: Floats | None) -> None:
    """Nothing changes and nothing is new: rare items are met late, and fewer and fewer are left to be met."""
    for seed in range(10):
        rng = np.random.default_rng(seed)
        share = rng.pareto(1.0, 5000)
        found = named(exposures(rng.multinomial(3000, share / share.sum(), size=20), born=born))
        assert "concentration/new_items" not in found


def test_items_that_come_and_go_at_an_even_pace_are_no_trend_of_new_ones() -> None:
    """Five come and five go every week, of sixty that are there; a third of what is shown is new, in all weeks."""
    repeats, weeks, life = 100, 16, 12
    born = np.repeat(np.arange(1 - life, weeks), 5).astype(float)
    below = 0
    for seed in range(repeats):
        rng = np.random.default_rng(seed)
        shown = []
        for week in range(weeks):
            there = ((born <= week) & (week < born + life)).astype(float)
            shown.append(rng.multinomial(1000, there / there.sum()))
        found = named(exposures(np.array(shown), born=born))["concentration/new_items"]
        assert found.verdict is not Verdict.ALARM
        assert found.effect is not None
        below += found.effect.high < 0
    assert below / repeats <= at_most(0.05, repeats)


def test_what_is_shown_may_grow_older_than_what_there_is() -> None:
    weeks, rng = 16, np.random.default_rng(0)
    born = np.concatenate([np.full(50, -10.0), np.repeat(np.arange(weeks), 5)])
    fair, old = [], []
    for week in range(weeks):
        there = (born <= week).astype(float)
        fair.append(rng.multinomial(3000, there / there.sum()))
        older = there * np.exp(0.02 * week * np.maximum(week - born, 0))
        old.append(rng.multinomial(3000, older / older.sum()))
    level = named(exposures(np.array(fair), born=born))["concentration/age"]
    assert level.verdict is not Verdict.ALARM
    assert level.effect is not None
    assert abs(level.effect.value) < 0.5
    assert named(exposures(np.array(old), born=born))["concentration/age"].verdict is Verdict.ALARM
