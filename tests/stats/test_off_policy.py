"""Off-policy estimates: against loops, in simulation, and where they are exact or cannot be known."""

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy import stats

from afterlaunch.stats.off_policy import Estimated, OffPolicy, off_policy
from tests.simulation import SURE, at_least, most

Floats = NDArray[np.float64]
ACTIONS = 4


def by_hand(values: list[float], unit: list[int]) -> float:
    """Standard error of a mean of centred values, units being independent."""
    sums: dict[int, float] = {}
    for v, u in zip(values, unit, strict=True):
        sums[u] = sums.get(u, 0.0) + v
    g = len(sums)
    return math.sqrt(sum(s * s for s in sums.values()) * g / (g - 1)) / len(values)


def some(rng: np.random.Generator, n: int) -> dict[str, Floats]:
    """Arrays of no particular meaning."""
    return {
        "reward": rng.normal(size=n),
        "logged": rng.uniform(0.05, 1, n),
        "target": rng.random(n),
        "predicted": rng.normal(size=n),
        "expected": rng.normal(size=n),
    }


@given(st.integers(2, 30), st.integers(0, 1000), st.booleans())
def test_it_is_what_simple_loops_find(n: int, seed: int, grouped: bool) -> None:
    rng = np.random.default_rng(seed)
    table = some(rng, n)
    unit = [0, 1, *rng.integers(0, 6, n - 2).tolist()] if grouped else list(range(n))
    found = off_policy(**table, groups=np.array(unit) if grouped else None)
    rows = [
        dict(zip(table, (float(x) for x in row), strict=True)) | {"w": row[2] / row[1]}
        for row in zip(*table.values(), strict=True)
    ]
    plain = sum(x["reward"] for x in rows) / n
    heavy = sum(x["w"] for x in rows)
    ips = sum(x["w"] * x["reward"] for x in rows) / n
    snips = sum(x["w"] * x["reward"] for x in rows) / heavy
    dr = sum(x["expected"] + x["w"] * (x["reward"] - x["predicted"]) for x in rows) / n
    moves = {
        "on_policy": [x["reward"] - plain for x in rows],
        "ips": [x["w"] * x["reward"] - ips for x in rows],
        "snips": [x["w"] / (heavy / n) * (x["reward"] - snips) for x in rows],
        "dr": [x["expected"] + x["w"] * (x["reward"] - x["predicted"]) - dr for x in rows],
        "weight": [x["w"] - heavy / n for x in rows],
    }
    values = {"on_policy": plain, "ips": ips, "snips": snips, "dr": dr, "weight": heavy / n}
    for name in ("ips", "snips", "dr"):
        values[f"lift_{name}"] = values[name] - plain
        moves[f"lift_{name}"] = [a - b for a, b in zip(moves[name], moves["on_policy"], strict=True)]
    for name, value in values.items():
        one = getattr(found, name)
        assert one.value == pytest.approx(value, abs=1e-12)
        assert one.se == pytest.approx(by_hand(moves[name], unit), abs=1e-12)
        assert one.df == len(set(unit)) - 1
    each = [sum(x["w"] for x, u in zip(rows, unit, strict=True) if u == g) for g in set(unit)]
    assert found.effective == pytest.approx(heavy**2 / sum(x * x for x in each))
    assert found.largest == pytest.approx(max(x["w"] for x in rows) / heavy)
    assert found.rows == n


def test_standard_errors_are_those_of_the_jackknife() -> None:
    """Deleting one unit at a time knows nothing of influence values."""
    rng = np.random.default_rng(0)
    table, unit = some(rng, 900), np.repeat(np.arange(300), 3)
    whole = off_policy(**table, groups=unit)
    parts = [off_policy(**{k: v[unit != g] for k, v in table.items()}, groups=unit[unit != g]) for g in range(300)]
    for name in ("on_policy", "ips", "snips", "dr", "lift_ips", "lift_snips", "lift_dr", "weight"):
        left = np.array([getattr(p, name).value for p in parts])
        jackknife = math.sqrt(float(((left - left.mean()) ** 2).sum()) * 299 / 300)
        assert getattr(whole, name).se == pytest.approx(jackknife, rel=0.02)


def logs(rng: np.random.Generator, units: int, each: int, spread: float) -> tuple[dict[str, Any], float, float]:
    """Logged decisions with contexts, units with levels of their own, and the truth of both policies.

    Rewards are 1 + a context's slope times the action + the unit's level + noise; the model of them is biased.
    """
    n = units * each
    context = rng.integers(0, 3, n)
    old = np.array([[0.4, 0.3, 0.2, 0.1], [0.25] * 4, [0.1, 0.2, 0.3, 0.4]])
    new = np.array([[0.1, 0.2, 0.3, 0.4], [0.7, 0.1, 0.1, 0.1], [0.25] * 4])
    mean = 1 + np.outer([0.5, 1.0, 1.5], [0.0, 0.2, 0.4, 0.6])
    action = (rng.random(n)[:, None] > np.cumsum(old, axis=1)[context]).sum(axis=1)
    unit = np.repeat(np.arange(units), each)
    reward = mean[context, action] + spread * rng.normal(size=units)[unit] + rng.normal(size=n)
    model = 0.8 * mean
    table = {
        "reward": reward,
        "logged": old[context, action],
        "target": new[context, action],
        "predicted": model[context, action],
        "expected": (new * model).sum(axis=1)[context],
        "groups": unit,
    }
    return table, float((new * mean).sum(axis=1).mean()), float((old * mean).sum(axis=1).mean())


@pytest.fixture(scope="module")
def simulated() -> tuple[list[OffPolicy], float, float]:
    rng = np.random.default_rng(1)
    drawn = [logs(rng, 150, 4, 1.0) for _ in range(1500)]
    return [off_policy(**table) for table, _, _ in drawn], drawn[0][1], drawn[0][2]


@pytest.mark.parametrize("name", ["on_policy", "ips", "snips", "dr", "lift_ips", "lift_snips", "lift_dr", "weight"])
def test_estimates_are_unbiased_and_their_ends_err_as_often_as_promised(
    simulated: tuple[list[OffPolicy], float, float], name: str
) -> None:
    found, new, old = simulated
    truth = 1.0 if name == "weight" else old if name == "on_policy" else new - old if "lift" in name else new
    ones: list[Estimated] = [getattr(x, name) for x in found]
    values = np.array([x.value for x in ones])
    off = (values.mean() - truth) / (values.std(ddof=1) / math.sqrt(len(values)))
    assert abs(off) < stats.norm.isf(SURE / 2)
    ends = np.array([x.interval(0.05, 0.05) for x in ones])
    for missed in (ends[:, 0] > truth, ends[:, 1] < truth):
        # One point of slack for the skewness that weights of up to four give a mean of 150 units.
        share = float(missed.mean())
        assert share <= most(0.06, 0.0, len(ones))
        assert share >= at_least(0.04, len(ones))


def test_a_lift_is_more_precise_than_two_unpaired_means(simulated: tuple[list[OffPolicy], float, float]) -> None:
    one = simulated[0][0]
    assert one.dr is not None
    assert one.lift_dr is not None
    assert one.lift_dr.se < 0.7 * math.hypot(one.dr.se, one.on_policy.se)


def test_dependence_within_units_widens_the_mean_and_copies_add_nothing() -> None:
    table, _, _ = logs(np.random.default_rng(2), 200, 1, 1.0)
    copied = {k: np.repeat(v, 5) for k, v in table.items()}
    one, five = off_policy(**table), off_policy(**copied)
    for name in ("ips", "snips", "dr", "lift_dr", "weight"):
        a, b = getattr(one, name), getattr(five, name)
        assert (a.value, a.se, a.df) == pytest.approx((b.value, b.se, b.df))
    assert one.effective == pytest.approx(five.effective)
    loose = off_policy(**{k: v for k, v in copied.items() if k != "groups"})
    assert loose.ips.se < 0.5 * five.ips.se


def test_the_policy_that_logged_earns_what_was_logged() -> None:
    rng = np.random.default_rng(3)
    p = rng.uniform(0.1, 1, 500)
    found = off_policy(rng.normal(size=500), p, p)
    assert found.ips.value == found.snips.value == found.on_policy.value
    assert found.ips.se == found.snips.se == found.on_policy.se
    assert found.lift_ips.interval(0.05, 0.05) == found.lift_snips.interval(0.05, 0.05) == (0.0, 0.0)
    assert (found.weight.value, found.weight.se) == (1.0, 0.0)
    assert found.effective == 500
    assert found.largest == pytest.approx(1 / 500)
    assert found.dr is None
    assert found.lift_dr is None


def test_a_perfect_model_leaves_only_the_variance_of_contexts() -> None:
    rng = np.random.default_rng(4)
    table, _, _ = logs(rng, 500, 1, 0.0)
    table["reward"] = table["predicted"]
    found = off_policy(**table)
    assert found.dr is not None
    assert found.dr.value == pytest.approx(table["expected"].mean())
    assert found.dr.se == pytest.approx(table["expected"].std(ddof=1) / math.sqrt(500))
    assert found.dr.se < 0.2 * found.ips.se


def test_snips_keeps_to_the_rewards_seen_and_does_not_mind_a_shift() -> None:
    table, _, _ = logs(np.random.default_rng(5), 300, 1, 0.0)
    few = {k: table[k] for k in ("reward", "logged", "target")}
    one = off_policy(**few)
    two = off_policy(**{**few, "reward": few["reward"] + 100})
    assert few["reward"].min() <= one.snips.value <= few["reward"].max()
    assert two.snips.value == pytest.approx(one.snips.value + 100)
    assert two.lift_snips.se == pytest.approx(one.lift_snips.se)
    assert two.ips.se > 5 * one.ips.se


def test_actions_that_were_never_logged_show_in_the_weight() -> None:
    """The new policy gives a third of its chances to an action that the old one never takes."""
    rng = np.random.default_rng(6)
    action = rng.integers(0, 3, 3000)
    found = off_policy(rng.random(3000), np.full(3000, 1 / 3), np.array([0.2, 0.2, 0.27])[action])
    assert found.weight.value == pytest.approx(0.67, abs=0.02)
    assert found.weight.interval(0.001, 0.001)[1] < 1


def test_heavy_weights_are_few_rows() -> None:
    p = np.array([0.001] + [1.0] * 999)
    found = off_policy(np.ones(1000), p, np.ones(1000))
    assert found.effective < 4.01
    assert found.largest == pytest.approx(1000 / 1999)


def test_one_unit_says_nothing_about_precision() -> None:
    found = off_policy([1.0, 0.0], [0.5, 0.5], [0.5, 1.0], groups=[3, 3])
    assert found.ips.value == 0.5
    assert found.ips.interval(0.05, 0.05) == (-math.inf, math.inf)
    assert off_policy([1], [1], [1]).ips.df == 0


GOOD = {"reward": [1.0, 0.0], "logged": [0.5, 0.5], "target": [0.2, 1.0]}


@pytest.mark.parametrize(
    ("bad", "words"),
    [
        ({"reward": [], "logged": [], "target": []}, "no logged decisions"),
        ({"reward": [[1.0, 0.0]]}, "`reward` must have one dimension"),
        ({"reward": [1.0, math.nan]}, "`reward` has values that are missing"),
        ({"logged": [0.5]}, "`logged` has 1 rows and `reward` has 2"),
        ({"logged": [0.5, 0.0]}, "`logged` must be above 0"),
        ({"logged": [0.5, 1.1]}, "`logged` must be above 0"),
        ({"logged": [0.5, math.nan]}, "`logged` has values that are missing"),
        ({"logged": [5e-324, 0.5]}, "too small for a finite weight"),
        ({"target": [0.5, -0.1]}, "`target` must be between 0 and 1"),
        ({"target": [0.5, 1.1]}, "`target` must be between 0 and 1"),
        ({"target": [0.0, 0.0]}, "none of the logged actions"),
        ({"predicted": [0.5, 0.5]}, "must be given together"),
        ({"expected": [0.5, 0.5]}, "must be given together"),
        ({"expected": [0.5, math.inf], "predicted": [0.5, 0.5]}, "`expected` has values that are missing"),
        ({"expected": [0.5, 0.5], "predicted": [0.5]}, "`predicted` has 1 rows"),
        ({"groups": [1]}, "`groups` has the shape"),
        ({"groups": [-1, 0]}, "`groups` must have integers"),
        ({"groups": [0.5, 1.0]}, "`groups` must have integers"),
    ],
)
@pytest.mark.filterwarnings("error")
def test_unusable_arrays_are_named(bad: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        off_policy(**{**GOOD, **bad})
