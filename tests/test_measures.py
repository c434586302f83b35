"""Metrics of an experiment: their names, what they add up, and what is refused in one sentence."""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from afterlaunch.decide import InputError
from afterlaunch.measures import Custom, Mean, Measure, Quantile, Ratio, Share, parse_measure


def margin(revenue: float, cost: float, orders: float) -> float:
    return (revenue - cost) / orders


@pytest.mark.parametrize(
    ("measure", "label", "terms"),
    [
        (Mean("y"), "y", (("sum", "y"),)),
        (Mean("y", name="clicks"), "clicks", (("sum", "y"),)),
        (Share("y"), "y", (("any", "y"),)),
        (Ratio("y"), "y per row", (("sum", "y"), ("known", "y"))),
        (Ratio("y", "n"), "y/n", (("sum", "y"), ("sum", "n"))),
        (Quantile("ms", 0.99), "ms p99", ()),
        (Quantile("ms", 0.999), "ms p99.9", ()),
        (Quantile("ms", 0.5), "ms p50", ()),
        (Custom(("r", "c", "n"), margin), "r, c, n", (("sum", "r"), ("sum", "c"), ("sum", "n"))),
        (Custom("r", abs), "r", (("sum", "r"),)),
        (Custom(["r"], abs, name="gain"), "gain", (("sum", "r"),)),
    ],
)
def test_names_and_sums(measure: Measure, label: str, terms: tuple[tuple[str, str], ...]) -> None:
    assert measure.label == label
    assert measure.terms == terms


def test_values_of_means() -> None:
    assert Mean("y").value(np.array([3.0])) == 3
    assert Share("y").value(np.array([0.2])) == 0.2
    assert Ratio("y", "n").value(np.array([3.0, 2.0])) == 1.5
    assert Custom(("r", "c", "n"), margin).value(np.array([10.0, 6.0, 2.0])) == 2


def test_what_has_no_value_is_not_a_number() -> None:
    assert math.isnan(Ratio("y", "n").value(np.array([3.0, 0.0])))
    assert math.isnan(Custom(("r", "c", "n"), margin).value(np.zeros(3)))
    assert math.isnan(Custom("r", math.log).value(np.array([-1.0])))
    with pytest.raises(TypeError, match="no function of means"):
        Quantile("ms", 0.5).value(np.zeros(1))


def test_the_bad_direction_is_the_other_one() -> None:
    assert Mean("y").direction == "down"
    assert Mean("y", better="down").direction == "up"


def test_a_share_is_a_share() -> None:
    assert Share("y").unit == "share"
    assert Share("y", unit="users").unit == "users"
    assert Mean("y").unit == ""


def test_equal_words_are_equal_metrics() -> None:
    assert Mean("y", margin=0.1) == Mean("y", margin=0.1)
    assert Mean("y") != Share("y")
    assert len({Mean("y"), Mean("y"), Mean("z")}) == 2


# ------------------------------------------------------------------ what is refused

WRONG: list[tuple[Callable[[], Any], str]] = [
    (lambda: Mean("y", better="more"), "The metric 'y' is better 'more'; give up or down."),  # type: ignore[arg-type]
    (
        lambda: Mean("y", goal="win"),  # type: ignore[arg-type]
        "The metric 'y' has the goal 'win'; give one of superiority, non-inferiority, equivalence.",
    ),
    (lambda: Mean("y", margin=0), "The metric 'y' has the margin 0; give a positive number."),
    (lambda: Mean("y", margin=-1.0), "The metric 'y' has the margin -1.0; give a positive number."),
    (lambda: Mean("y", margin=math.inf), "The metric 'y' has the margin inf; give a positive number."),
    (lambda: Mean("y", margin=math.nan), "The metric 'y' has the margin nan; give a positive number."),
    (lambda: Mean("y", margin="1"), "The metric 'y' has the margin '1'; give a positive number."),  # type: ignore[arg-type]
    (lambda: Mean("y", margin=True), "The metric 'y' has the margin True; give a positive number."),
    (lambda: Mean("y", relative=0.0), "The metric 'y' has the relative 0.0; give a positive number."),
    (
        lambda: Mean("y", margin=1.0, relative=0.1),
        "The metric 'y' has a margin and a relative margin; give one of them.",
    ),
    (
        lambda: Mean("y", winsorize=1.0),
        "The metric 'y' is cut at 1.0; give a share between 0.5 and 1, such as 0.999.",
    ),
    (
        lambda: Share("y", winsorize=0.5),
        "The metric 'y' is cut at 0.5; give a share between 0.5 and 1, such as 0.999.",
    ),
    (
        lambda: Ratio("y", winsorize="most"),  # type: ignore[arg-type]
        "The metric 'y per row' is cut at 'most'; give a share between 0.5 and 1, such as 0.999.",
    ),
    (lambda: Quantile("ms", 1.0), "The metric 'ms p100' is the quantile 1.0; give a number between 0 and 1."),
    (lambda: Quantile("ms", 0), "The metric 'ms p0' is the quantile 0; give a number between 0 and 1."),
    (
        lambda: Quantile("ms", "half"),  # type: ignore[arg-type]
        "The metric 'ms' is the quantile 'half'; give a number between 0 and 1.",
    ),
    (
        lambda: Quantile("ms", 0.5, winsorize=0.9),
        "The metric 'ms p50' is a quantile, which takes no winsorize; leave it out.",
    ),
    (
        lambda: Quantile("ms", 0.5, covariate="old"),
        "The metric 'ms p50' is a quantile, which takes no covariate; leave it out.",
    ),
    (lambda: Custom((), margin), "The metric 'custom' needs columns and a function of their means; give both."),
    (
        lambda: Custom("r", 3.0),  # type: ignore[arg-type]
        "The metric 'r' needs columns and a function of their means; give both.",
    ),
    (lambda: Custom("r", abs, better="left"), "The metric 'r' is better 'left'; give up or down."),  # type: ignore[arg-type]
    (
        lambda: parse_measure("mean:y,colour=red"),
        "The metric 'mean:y,colour=red' has the setting 'colour=red'; give NAME=VALUE with one of better, covariate, "
        "goal, margin, name, relative, segment_times, unit, winsorize.",
    ),
    (
        lambda: parse_measure("mean:y,better"),
        "The metric 'mean:y,better' has the setting 'better'; give NAME=VALUE with one of better, covariate, "
        "goal, margin, name, relative, segment_times, unit, winsorize.",
    ),
    (lambda: parse_measure("clicked"), "The metric 'clicked' is not of the form KIND:COLUMN, such as mean:clicked."),
    (lambda: parse_measure("mean:"), "The metric 'mean:' is not of the form KIND:COLUMN, such as mean:clicked."),
    (lambda: parse_measure(""), "The metric '' is not of the form KIND:COLUMN, such as mean:clicked."),
    (
        lambda: parse_measure("quantile:ms"),
        "The metric 'quantile:ms' does not say which quantile; write quantile:COLUMN:0.99.",
    ),
    (
        lambda: parse_measure("quantile:ms:p99"),
        "The metric 'quantile:ms:p99' holds 'p99' where a number is needed.",
    ),
    (
        lambda: parse_measure("mean:y,margin=much"),
        "The metric 'mean:y,margin=much' holds 'much' where a number is needed.",
    ),
    (
        lambda: parse_measure("median:y"),
        "The metric 'median:y' is of no known kind; write mean, share, ratio or quantile before the colon.",
    ),
    (lambda: parse_measure("mean:y,better=left"), "The metric 'y' is better 'left'; give up or down."),
]


@pytest.mark.parametrize(("make", "sentence"), WRONG, ids=[s[:60] for _, s in WRONG])
def test_what_is_refused_is_said_in_one_sentence(make: Callable[[], Any], sentence: str) -> None:
    with pytest.raises(InputError, match=f"^{re.escape(sentence)}$"):
        make()


def test_a_name_that_is_no_text_is_refused() -> None:
    with pytest.raises(InputError, match="name"):
        Mean("y", name=3)  # type: ignore[arg-type]


# ------------------------------------------------------------------ words of the command line


@pytest.mark.parametrize(
    ("text", "measure"),
    [
        ("mean:y", Mean("y")),
        ("mean:a:b", Mean("a:b")),
        ("share:bought", Share("bought")),
        ("ratio:clicked", Ratio("clicked")),
        ("ratio:revenue/orders", Ratio("revenue", "orders")),
        ("quantile:ms:0.99", Quantile("ms", 0.99)),
        ("quantile:a:b:0.5", Quantile("a:b", 0.5)),
        ("mean:y,better=down", Mean("y", better="down")),
        ("mean:y, better = down , margin = 0.3", Mean("y", better="down", margin=0.3)),
        ("mean:y,name=clicks,unit=EUR,relative=0.02", Mean("y", name="clicks", unit="EUR", relative=0.02)),
        ("mean:y,winsorize=0.999,covariate=old", Mean("y", winsorize=0.999, covariate="old")),
        ("share:y,goal=equivalence", Share("y", goal="equivalence")),
    ],
)
def test_words_are_metrics(text: str, measure: Measure) -> None:
    assert parse_measure(text) == measure


def test_the_goal_is_that_of_the_text_before_that_of_the_place() -> None:
    assert parse_measure("mean:y", goal="non-inferiority").goal == "non-inferiority"
    assert parse_measure("mean:y,goal=equivalence", goal="non-inferiority").goal == "equivalence"


NAMES = st.text("abcdefgh_", min_size=1, max_size=6)


@given(
    st.sampled_from(["mean", "share", "ratio", "over", "quantile"]),
    NAMES,
    NAMES,
    st.floats(0.01, 0.99),
    st.sampled_from(["up", "down"]),
    st.sampled_from(["superiority", "non-inferiority", "equivalence"]),
    st.one_of(st.none(), st.floats(1e-6, 1e6)),
    st.booleans(),
)
def test_a_metric_survives_being_written_down(
    kind: str, a: str, b: str, q: float, better: Any, goal: Any, size: float | None, relative: bool
) -> None:
    settings = {"better": better, "goal": goal}
    if size is not None:
        settings["relative" if relative else "margin"] = size
    made: dict[str, tuple[str, Callable[[], Measure]]] = {
        "mean": (f"mean:{a}", lambda: Mean(a, **settings)),
        "share": (f"share:{a}", lambda: Share(a, **settings)),
        "ratio": (f"ratio:{a}", lambda: Ratio(a, **settings)),
        "over": (f"ratio:{a}/{b}", lambda: Ratio(a, b, **settings)),
        "quantile": (f"quantile:{a}:{q!r}", lambda: Quantile(a, q, **settings)),
    }
    text, make = made[kind]
    assert parse_measure(",".join([text, *(f"{k}={v}" for k, v in settings.items())])) == make()
