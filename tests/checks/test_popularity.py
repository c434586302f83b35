"""The popularity check: exposure in proportion to quality is no alarm, and its share beyond that comes back."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from afterlaunch.checks import popularity
from afterlaunch.checks.evidence import Evidence
from afterlaunch.checks.popularity import beyond
from afterlaunch.decide import Margins, decide
from afterlaunch.finding import Finding, Verdict
from afterlaunch.profile.exposures import Exposures
from afterlaunch.roles import Roles
from afterlaunch.watch import Window
from tests.simulation import at_least, at_most

Floats = NDArray[np.float64]


def findings(seen: Exposures | None) -> list[Finding]:
    estimates = popularity.run(Evidence(roles=Roles(), exposures=seen))
    return decide(estimates, margins=Margins({}), primary=("amplification",))


def only(seen: Exposures) -> Finding:
    (found,) = findings(seen)
    return found


def exposures(shown: Floats, **more: Any) -> Exposures:
    start, week = datetime(2026, 1, 5, tzinfo=UTC), timedelta(weeks=1)
    windows = tuple(Window(f"W{i:02}", start + i * week, start + (i + 1) * week, 0) for i in range(len(shown)))
    return Exposures(windows, "week", tuple(f"i{j}" for j in range(shown.shape[1])), shown, **more)


def shown(
    seed: int, share: Floats, quality: Floats, *, chance: int = 300, model: int = 5000, there: Floats | None = None
) -> Exposures:
    """Eight weeks in which the model shows by `share`, and as many by chance as `chance` says."""
    rng = np.random.default_rng(seed)
    weeks = 8 if there is None else len(there)
    here = np.ones((weeks, share.size)) if there is None else there
    counts = np.array([rng.multinomial(model, share * h / (share * h).sum()) for h in here])
    drawn = np.array([rng.multinomial(chance, h / h.sum()) for h in here])
    hits, lucky = rng.binomial(counts, quality), rng.binomial(drawn, quality)
    tables = {"chosen": hits + lucky, "explored": drawn, "explored_chosen": lucky}
    return exposures((counts + drawn).astype(float), **{k: v.astype(float) for k, v in tables.items()})


def qualities(seed: int, items: int = 150) -> Floats:
    return np.random.default_rng([seed, 1]).beta(2, 14, items)


# ------------------------------------------------------------------ what is lacking


def test_without_outcomes_there_is_nothing_to_say() -> None:
    assert findings(None) == []
    assert findings(exposures(np.full((4, 5), 100.0))) == []


def test_without_chance_quality_is_not_known() -> None:
    found = only(exposures(np.full((4, 5), 100.0), chosen=np.full((4, 5), 10.0)))
    assert (found.verdict, found.reason) == (Verdict.UNDECIDED, "no_randomisation")
    assert "no impression is marked as such" in found.sentence


def test_few_outcomes_do_not_tell() -> None:
    found = only(shown(0, np.full(20, 1 / 20), np.full(20, 0.05), chance=20))
    assert (found.verdict, found.reason) == (Verdict.UNDECIDED, "too_few_rows")
    assert "50 positive outcomes" in found.action


def test_a_log_of_chance_alone_has_no_model_to_judge() -> None:
    seen = shown(0, np.full(20, 1 / 20), np.full(20, 0.5), model=0, chance=1000)
    assert only(seen).reason == "too_few_rows"


@pytest.mark.parametrize("change", [0.5, -1.0, 100.0])
def test_outcomes_that_are_no_counts_are_not_judged(change: float) -> None:
    seen = shown(0, np.full(20, 1 / 20), np.full(20, 0.2))
    assert seen.explored_chosen is not None
    other = seen.explored_chosen.copy()
    other[0, 0] = other[:, 0].sum() * -1 - 1 if change < 0 else other[0, 0] + change
    assert seen.explored is not None
    found = exposures(seen.shown, chosen=seen.chosen, explored=seen.explored, explored_chosen=other)
    assert findings(found) == [] or (other.sum(axis=0) <= seen.explored.sum(axis=0)).all()


# ------------------------------------------------------------------ false alarms and truth


@pytest.mark.parametrize("chance", [100, 500])
def test_exposure_in_proportion_to_quality_is_no_alarm(chance: int) -> None:
    repeats = 150
    found = []
    for seed in range(repeats):
        quality = qualities(seed)
        found.append(only(shown(seed, quality / quality.sum(), quality, chance=chance)))
    assert np.mean([f.verdict is Verdict.ALARM for f in found]) <= at_most(0.05, repeats)
    above = [f.effect is not None and f.effect.low > 0 for f in found]
    assert np.mean(above) <= at_most(0.05, repeats)


def truth(share: Floats, quality: Floats) -> float:
    return float(np.maximum(share - quality / quality.sum(), 0).sum())


@pytest.mark.parametrize("power", [0.0, 2.0, 4.0])
def test_the_share_beyond_quality_comes_back_from_below(power: float) -> None:
    repeats, chance = 60, 3000
    values, above, alarms, true = [], 0, 0, []
    for seed in range(repeats):
        quality = qualities(seed, 100)
        share = quality**power / (quality**power).sum()
        found = only(shown(seed, share, quality, chance=chance))
        assert found.effect is not None
        true.append(truth(share, quality))
        values.append(found.effect.value)
        above += found.effect.low > true[-1]
        alarms += found.verdict is Verdict.ALARM
    assert above / repeats <= at_most(0.05, repeats)
    assert np.mean(values) == pytest.approx(np.mean(true), abs=0.03)
    assert np.mean(values) <= np.mean(true) + 0.01
    assert alarms / repeats >= (at_least(0.99, repeats) if np.mean(true) > 0.3 else 0)


def test_what_is_popular_by_chance_alone_is_found() -> None:
    """All items are alike, and a tenth of them get half of all places."""
    share = np.concatenate([np.full(10, 0.05), np.full(90, 0.5 / 90)])
    found = only(shown(1, share, np.full(100, 0.2), chance=3000))
    assert found.verdict is Verdict.ALARM
    assert found.effect is not None
    assert found.effect.low < 0.4 < found.effect.high
    assert found.table is not None
    named = {row[0] for row in found.table["rows"] if row[1] == "shown"}
    assert named == {f"i{j}" for j in range(10)}


@settings(max_examples=15)
@given(seed=st.integers(0, 1000), more=st.integers(2, 50))
def test_the_size_of_the_log_is_no_popularity(seed: int, more: int) -> None:
    """So much more from the model changes nothing; only what chance showed tells of quality."""
    rng = np.random.default_rng(seed)
    share, rows = rng.gamma(1.0, size=30), np.full(30, 200.0)
    hits = rng.binomial(200, 0.2, 30).astype(float)
    one, two = beyond(share, rows, hits), beyond(more * share, rows, hits)
    assert (one.value, one.se) == pytest.approx((two.value, two.se))
    assert -1 <= one.value <= 1


def test_an_item_that_is_never_shown_and_never_drawn_counts_as_average() -> None:
    share = np.array([1.0, 1.0, 1.0, 0.0])
    rows, hits = np.array([2000.0, 2000.0, 2000.0, 0.0]), np.array([400.0, 400.0, 400.0, 0.0])
    assert beyond(share, rows, hits).value == pytest.approx(0.25, abs=0.02)


def test_no_outcome_in_a_half_says_nothing() -> None:
    found = beyond(np.array([1.0, 1.0]), np.array([5.0, 5.0]), np.array([0.0, 0.0]))
    assert (found.value, found.se) == (0.0, 1.0)


# ------------------------------------------------------------------ the items that are named


def test_items_are_rarely_named_by_chance() -> None:
    repeats = 200
    named = 0
    for seed in range(repeats):
        quality = qualities(seed, 60)
        found = only(shown(seed, quality / quality.sum(), quality, chance=500, model=50_000))
        named += found.table is not None
    assert named / repeats <= at_most(0.05, repeats)


def test_at_most_one_in_twenty_of_the_named_is_wrong() -> None:
    wrong = []
    for seed in range(60):
        quality = np.full(100, 0.2)
        share = np.full(100, 0.6 / 80)
        share[:20] = 0.4 / 20
        # Eighty items are shown a little too little: those named as shown too much are right if they are of the twenty.
        found = only(shown(seed, share, quality, chance=600))
        if found.table is not None:
            rows = [row[0] for row in found.table["rows"] if row[1] == "shown"]
            wrong.append(sum(int(name[1:]) >= 20 for name in rows) / max(len(rows), 1))
    assert np.mean(wrong) <= 0.07


def test_items_that_lived_for_a_part_of_the_log_are_held_against_their_own_time() -> None:
    """Shown in proportion to quality while they are there, items that come and go are not beyond their quality."""
    repeats, weeks = 60, 16
    above = 0
    for seed in range(repeats):
        rng = np.random.default_rng([seed, 2])
        quality = qualities(seed, 200)
        born = rng.integers(-12, weeks, 200)
        week = np.arange(weeks)[:, None]
        there = ((born <= week) & (week < born + 12)).astype(float)
        found = only(shown(seed, quality / quality.sum(), quality, chance=300, there=there))
        above += found.effect is not None and found.effect.low > 0
    assert above / repeats <= at_most(0.05, repeats)
