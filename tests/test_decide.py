"""Intervals against margins: verdicts, who shares the error rate, margins and their precedence."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

import afterlaunch as al
from afterlaunch.decide import (
    REMEDIES,
    EffectKind,
    Estimate,
    InputError,
    IntervalAt,
    Margins,
    decide,
    verdict_of,
)
from afterlaunch.finding import Direction, Finding, Verdict
from afterlaunch.stats.intervals import normal_quantile
from tests.simulation import at_least, at_most

finite = st.floats(-1e6, 1e6)
positive = st.floats(1e-6, 1e6)
directions = st.sampled_from(["up", "down", "both"])

UP = EffectKind("rise", "rise", "share", 0.1, "up", "an example")
KINDS: dict[Direction, EffectKind] = {
    "up": UP,
    "down": replace(UP, key="fall", direction="down"),
    "both": replace(UP, key="change", direction="both"),
}


def normal(value: float, se: float) -> IntervalAt:
    """The interval of a normal estimate."""
    return lambda low, high: (value - normal_quantile(low) * se, value + normal_quantile(high) * se)


def estimated(value: float | None, se: float = 0.01, direction: Direction = "up", **more: Any) -> Estimate:
    """An estimate with a normal interval."""
    fields: dict[str, Any] = {
        "check": "drift",
        "kind": KINDS[direction],
        "subject": "age",
        "value": value,
        "interval": None if value is None else normal(value, se),
        "say": lambda e, v: f"It is {e.value:.2f} and {v.value}.",
        "action": "Look.",
    }
    return Estimate(**{**fields, **more})


def only(e: Estimate, **more: Any) -> Finding:
    """The one finding of a family of one."""
    return decide([e], margins=Margins(), primary=("drift",), **more)[0]


# ------------------------------------------------------------------ verdicts


@given(finite, finite, positive, directions)
def test_a_verdict_is_where_the_interval_lies(a: float, b: float, margin: float, direction: Direction) -> None:
    low, high = sorted((a, b))
    bad = {"up": lambda x: x > margin, "down": lambda x: x < -margin, "both": lambda x: abs(x) > margin}[direction]
    ends = [bad(low), bad(high)]
    verdict = verdict_of(low, high, margin, direction)
    if direction == "both" and all(ends) and low < 0 < high:
        assert verdict is Verdict.UNDECIDED  # the interval reaches from one bad side to the other
    else:
        assert verdict is (Verdict.ALARM if all(ends) else Verdict.UNDECIDED if any(ends) else Verdict.OK)


@given(finite, finite, positive)
def test_down_is_up_mirrored_and_both_is_the_worse_of_the_two(a: float, b: float, margin: float) -> None:
    low, high = sorted((a, b))
    up, down = verdict_of(low, high, margin, "up"), verdict_of(low, high, margin, "down")
    assert down is verdict_of(-high, -low, margin, "up")
    assert verdict_of(low, high, margin, "both") is min((up, down), key=lambda v: v.rank)


@given(finite, finite, positive, positive, directions)
def test_a_wider_margin_never_makes_it_worse(a: float, b: float, one: float, two: float, direction: Direction) -> None:
    low, high = sorted((a, b))
    verdicts = [verdict_of(low, high, m, direction) for m in sorted((one, two))]
    assert verdicts[0].rank <= verdicts[1].rank


@given(st.floats(-10, 10), positive, st.sampled_from([0.1, 0.5, 2, 10, 1000]), directions)
def test_a_verdict_does_not_depend_on_the_unit(value: float, width: float, unit: float, direction: Direction) -> None:
    low, high = value - width / 2, value + width / 2
    near = min(abs(abs(end) - 0.7) for end in (low, high))
    if near > 1e-9:
        assert verdict_of(low, high, 0.7, direction) is verdict_of(low * unit, high * unit, 0.7 * unit, direction)


@pytest.mark.parametrize(
    ("low", "high", "direction", "verdict"),
    [
        (0.0, 0.1, "up", "ok"),  # an end on the margin is inside it
        (0.1, 0.2, "up", "undecided"),
        (-0.1, 0.0, "down", "ok"),
        (-9.0, 0.1, "up", "ok"),  # far on the good side
        (-0.1, 9.0, "down", "ok"),
        (-0.1, 0.1, "both", "ok"),
        (-0.3, 0.3, "both", "undecided"),
        (0.2, 0.3, "both", "alarm"),
        (-0.3, -0.2, "both", "alarm"),
    ],
)
def test_verdicts_at_the_border(low: float, high: float, direction: Direction, verdict: str) -> None:
    assert verdict_of(low, high, 0.1, direction) == verdict


# ------------------------------------------------------------------ deciding


def test_the_alarm_end_shares_the_error_rate_and_the_ok_end_does_not() -> None:
    asked: list[tuple[float, float]] = []

    def watched(low: float, high: float) -> tuple[float, float]:
        asked.append((low, high))
        return normal(0.05, 0.01)(low, high)

    family = [estimated(0.05, interval=watched), *(estimated(0.05) for _ in range(9))]
    finding = decide(family, margins=Margins(), alpha=0.05)[0]
    assert asked == [(pytest.approx(0.005), 0.05)]
    assert (finding.alpha, finding.alpha_each) == (0.05, pytest.approx(0.005))
    assert finding.family == "review: 10 effects, weighted Bonferroni"
    asked.clear()
    decide([estimated(0.0, direction="down", interval=watched), estimated(0.0)], margins=Margins(), alpha=0.04)
    assert asked == [(0.04, pytest.approx(0.02))]


def test_an_effect_bad_both_ways_alarms_at_half_the_rate_on_each_side_and_is_ok_by_two_one_sided_tests() -> None:
    asked: list[tuple[float, float]] = []

    def watched(low: float, high: float) -> tuple[float, float]:
        asked.append((low, high))
        return normal(0.0, 0.01)(low, high)

    finding = only(estimated(0.0, direction="both", interval=watched), alpha=0.05)
    assert asked == [(0.025, 0.025), (0.05, 0.05)]
    assert finding.verdict is Verdict.OK
    assert only(estimated(-0.2, direction="both")).verdict is Verdict.ALARM


@given(st.lists(st.floats(0.1, 5), min_size=1, max_size=30), st.floats(1e-4, 0.49))
def test_the_shares_of_the_error_rate_add_up_to_it(weights: list[float], alpha: float) -> None:
    family = [estimated(0.0, weight=w) for w in weights]
    findings = decide(family, margins=Margins(), alpha=alpha)
    assert sum(f.alpha_each for f in findings) == pytest.approx(alpha)
    assert [f.alpha_each / findings[0].alpha_each for f in findings] == pytest.approx([w / weights[0] for w in weights])


def test_what_can_never_alarm_takes_no_share_and_never_alarms() -> None:
    silent = estimated(0.9, may_alarm=False)
    findings = decide([silent, estimated(0.5), estimated(0.5)], margins=Margins(), alpha=0.05)
    assert [f.verdict.value for f in findings] == ["undecided", "alarm", "alarm"]
    assert findings[1].alpha_each == pytest.approx(0.025)
    assert only(estimated(-0.9, direction="both", may_alarm=False)).verdict is not Verdict.ALARM


@pytest.mark.parametrize("alpha", [0.0, 0.5, 1.0, -0.1, math.nan])
def test_an_error_rate_that_is_none_is_refused(alpha: float) -> None:
    with pytest.raises(InputError, match=r"^The error rate alpha is .*; give a number between 0 and 0.5, such as"):
        decide([], margins=Margins(), alpha=alpha)


def test_nothing_to_estimate_is_undecided_with_its_reason() -> None:
    finding = only(estimated(None, reason="no_values", sentence="There is nothing."))
    assert (finding.verdict, finding.reason, finding.effect) == (Verdict.UNDECIDED, "no_values", None)
    assert finding.sentence == "There is nothing."
    assert (finding.p_value, finding.rows_needed) == (None, None)


def test_rows_needed_only_where_undecided_and_with_a_remedy() -> None:
    calls: list[tuple[float, float]] = []

    def rows_needed(margin: float, alpha: float) -> int:
        calls.append((margin, alpha))
        return 12_345

    undecided = only(estimated(0.1, rows_needed=rows_needed))
    assert (undecided.rows_needed, undecided.reason) == (12_345, "interval_straddles_margin")
    assert undecided.action == "Wait for about 12,345 production rows; they would decide it."
    assert undecided.sentence.endswith("That is too uncertain to hold against the margin of 10 %.")
    assert calls == [(0.1, 0.05)]
    for value, action in ((0.0, "Nothing to do."), (0.5, "Look.")):
        decided = only(estimated(value, rows_needed=rows_needed))
        assert (decided.rows_needed, decided.reason, decided.action) == (None, None, action)


@pytest.mark.parametrize("reason", sorted(REMEDIES))
def test_where_rows_do_not_bind_the_remedy_says_what_does(reason: str) -> None:
    finding = only(estimated(0.1, rows_needed=lambda m, a: None, binding=reason))
    assert (finding.rows_needed, finding.reason, finding.action) == (None, reason, REMEDIES[reason])


def test_primary_is_a_matter_of_the_question_and_of_the_estimate() -> None:
    family = [estimated(0.0), estimated(0.0, primary=False), estimated(0.0, check="gap")]
    found = decide(family, margins=Margins(), primary=("drift",))
    assert [f.primary for f in found] == [True, False, False]


@pytest.mark.parametrize(("p", "kept"), [(0.3, 0.3), (1.0000001, 1.0), (-1e-12, 0.0)])
def test_p_values_are_kept_in_bounds(p: float, kept: float) -> None:
    assert only(estimated(0.0, p_value=lambda margin: p)).p_value == kept


def test_everything_else_is_handed_on() -> None:
    table = {"kind": "bars"}
    finding = only(estimated(0.2, n=7, method="by hand", sample=5, segment="DE", table=table))
    assert (finding.n, finding.method, finding.sample, finding.segment, finding.table) == (7, "by hand", 5, "DE", table)
    assert (finding.margin, finding.direction, finding.key) == (0.1, "up", "rise")
    assert finding.sentence == "It is 0.20 and alarm."


def test_the_family_has_the_error_rate_it_promises_and_the_power_of_bonferroni() -> None:
    """20 normal effects on their margins: any alarm in <= 5 % of families; one at 5 se beyond is found in 97 %."""
    rng, repeats, size = np.random.default_rng(0), 2000, 20
    draws = rng.normal(0.1, 0.01, size=(repeats, size))
    any_alarm = found = all_ok = 0
    for row in draws:
        findings = decide([estimated(float(x)) for x in row], margins=Margins(), alpha=0.05)
        any_alarm += any(f.verdict is Verdict.ALARM for f in findings)
        all_ok += all(f.verdict is Verdict.OK for f in findings)
        found += only(estimated(float(row[0]) + 0.05), alpha=0.05 / size).verdict is Verdict.ALARM
    assert any_alarm / repeats <= at_most(0.05, repeats)
    assert any_alarm / repeats >= at_least(0.04, repeats)  # no more careful than it must be
    assert all_ok / repeats <= at_most(0.05, repeats)
    assert found / repeats >= at_least(stats.norm.cdf(5 - stats.norm.isf(0.05 / size)), repeats)


def test_whole_reviews_without_drift_rarely_alarm_and_with_drift_mostly_do() -> None:
    """Halves of one population, 400 and 100 rows, margins of next to nothing: the error rate at its very border.

    Any alarm in at most 5 % of the reviews, up to the binomial tolerance; with a shift of one
    standard deviation in one of five columns, in at least 90 %, at the same margins and n.
    """
    rng, repeats = np.random.default_rng(1), 100
    margins = {"drift": 1e-6}

    def halves() -> tuple[pl.DataFrame, pl.DataFrame]:
        both = pl.DataFrame(
            {
                "a": rng.normal(size=500),
                "b": rng.exponential(size=500).round(2),
                "c": rng.integers(0, 6, 500),
                "d": rng.choice(["x", "y", "z"], 500, p=[0.6, 0.3, 0.1]),
                "e": np.where(rng.random(500) < 0.2, None, rng.choice([True, False], 500)).tolist(),
            }
        )
        return both[:400], both[400:]

    false = sum(al.drift(*halves(), margins=margins).verdict is Verdict.ALARM for _ in range(repeats))
    assert false / repeats <= at_most(0.05, repeats)
    found = 0
    for _ in range(30):
        before, now = halves()
        found += al.drift(before, now.with_columns(pl.col("a") + 1), margins=margins).verdict is Verdict.ALARM
    assert found >= 27


# ------------------------------------------------------------------ margins


def test_the_most_specific_margin_wins() -> None:
    kind = EffectKind("psi", "PSI", "PSI", 0.1, "up", "")
    keys = ["drift", "drift/psi", "drift@age", "drift/psi@age"]
    expected = 0.1
    given_margins: dict[str, float] = {}
    for value, key in enumerate(keys, start=1):
        assert Margins(given_margins).of("drift", kind, "age") == expected
        given_margins[key] = expected = value
    assert Margins(given_margins).of("drift", kind, "age") == 4
    assert Margins(given_margins).of("drift", kind, "income") == 2
    assert Margins(given_margins).of("drift", replace(kind, key="ks"), "age") == 3
    assert Margins(given_margins).of("drift", replace(kind, key="ks"), "income") == 1
    assert Margins(given_margins).of("metric", kind, "age") == 0.1


def test_a_subject_may_contain_the_signs_of_a_key() -> None:
    kind = EffectKind("psi", "PSI", "PSI", 0.1, "up", "")
    odd = "a/b@c=d"
    margins = Margins({f"drift/psi@{odd}": 0.3})
    assert margins.of("drift", kind, odd) == 0.3
    margins.require_known({"drift": [kind]}, {"drift": [odd]})


@pytest.mark.parametrize("value", [0, -1, math.nan, math.inf, "0.1", True, None])
def test_a_margin_that_is_no_positive_number_is_refused(value: Any) -> None:
    with pytest.raises(InputError, match=r"^The margin 'drift/psi' is .*; give a positive number\.$"):
        Margins({"drift/psi": value})


@pytest.mark.parametrize(
    ("key", "sentence"),
    [
        ("dirft", r"names no check; the checks are 'drift', 'metric'\.$"),
        ("", r"names no check"),
        ("drift/pis", r"names no effect of 'drift'; its effects are 'psi'\.$"),
        ("drift/", r"names no effect of 'drift'"),
        ("drift/psi@aeg", r"names 'aeg', which 'drift' did not look at; it looked at 'age', 'b'\.$"),
        ("metric@age", r"names 'age', which 'metric' did not look at; it looked at none\.$"),
    ],
)
def test_an_unknown_margin_key_is_refused_with_what_is_known(key: str, sentence: str) -> None:
    kinds = {"drift": [EffectKind("psi", "", "", 0.1, "up", "")], "metric": [EffectKind("auc", "", "", 0.1, "up", "")]}
    with pytest.raises(InputError, match=sentence):
        Margins({key: 0.1}).require_known(kinds, {"drift": ["b", "age", "age"]})


def test_a_long_list_of_what_is_known_is_cut() -> None:
    kinds = {"drift": [EffectKind("psi", "", "", 0.1, "up", "")]}
    with pytest.raises(InputError, match=r"'c00', .*'c11' and 18 more\.$"):
        Margins({"drift@no": 0.1}).require_known(kinds, {"drift": [f"c{i:02}" for i in range(30)]})
