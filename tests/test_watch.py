"""From courses to findings: the budget adds up, alarms become episodes, and no number is missing."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from afterlaunch.decide import INFORMING, EffectKind, InputError, Margins
from afterlaunch.episodes import Change
from afterlaunch.finding import Direction, Finding, Review, Verdict
from afterlaunch.watch import Budget, Course, Look, Watched, Window, alphas, watch

START = datetime(2026, 1, 5, tzinfo=UTC)
Floats = np.ndarray


def windows(number: int, hours: int = 24) -> tuple[Window, ...]:
    step = timedelta(hours=hours)
    return tuple(
        Window(f"{START + i * step:%Y-%m-%d %H}", START + i * step, START + (i + 1) * step, 100) for i in range(number)
    )


def kind(direction: Direction = "up") -> EffectKind:
    return EffectKind("shift", "shift", "share", 0.1, direction, "")


def course(
    values: Sequence[float],
    *,
    subject: str = "x",
    direction: Direction = "up",
    se: float = 0.01,
    together: int = 0,
    hours: int = 24,
    check: str = "drift",
    weight: float = 1.0,
    may_alarm: bool = True,
    primary: bool = True,
    change: Callable[[int, int], Change | None] | None = None,
    reasons: Sequence[str | None] | None = None,
) -> Course:
    """An effect with normal errors, looked at by window and, if asked for, by several windows together."""
    from scipy import stats

    number = len(values)
    looks, value = [], []
    for w in range(number):
        looks.append(Look(w, w))
        value.append(values[w])
        if together and (w + 1) % together == 0:
            looks.append(Look(w - together + 1, w))
            value.append(float(np.mean(values[w - together + 1 : w + 1])))
    x = np.array(value, dtype=np.float64)

    def ends(low: Floats, high: Floats) -> tuple[Floats, Floats]:
        return x - stats.norm.isf(low) * se, x + stats.norm.isf(high) * se

    return Course(
        check=check,
        kind=kind(direction),
        subject=subject,
        windows=windows(number, hours),
        looks=tuple(looks),
        value=x,
        ends=ends,
        n=np.full(len(looks), 100),
        reasons=tuple(reasons) if reasons else (None,) * len(looks),
        say=lambda effect, verdict, look: f"{effect.value:.2f} is the shift of {subject!r}.",
        action="Look at it.",
        method="normal",
        change=change,
        weight=weight,
        primary=primary,
        may_alarm=may_alarm,
    )


def review(*courses: Course, budget: str = "1/month", **other: object) -> Watched:
    options: dict[str, object] = {"margins": Margins(), "budget": Budget.parse(budget), "primary": ("drift",), **other}
    return watch(courses, **options)  # type: ignore[arg-type]


def only(found: Watched) -> Finding:
    (finding,) = found.findings
    return finding


# ------------------------------------------------------------------ the budget


@pytest.mark.parametrize(
    ("text", "monthly"), [("1/month", 1.0), ("0.5/week", 15 / 7), ("2/90d", 2 / 3), ("3/2weeks", None), ("1 / 30 d", 1)]
)
def test_a_budget_is_read(text: str, monthly: float | None) -> None:
    if monthly is None:
        with pytest.raises(InputError, match="weeks"):
            Budget.parse(text)
    else:
        assert Budget.parse(text).monthly == pytest.approx(monthly)


@pytest.mark.parametrize("text", ["", "0/month", "1/0d", "-1/week", "often", "1/century"])
def test_a_budget_that_cannot_be_read_is_an_input_error(text: str) -> None:
    with pytest.raises(InputError, match="alarm budget"):
        Budget.parse(text)


@settings(deadline=None, max_examples=50)
@given(
    number=st.integers(30, 200),
    hours=st.sampled_from([24, 12, 168]),
    together=st.sampled_from([0, 7]),
    monthly=st.floats(0.01, 1.5),
)
def test_the_error_rates_of_thirty_days_add_up_to_the_budget(
    number: int, hours: int, together: int, monthly: float
) -> None:
    each = alphas(course([0.0] * number, hours=hours, together=together), monthly)
    days = number * hours / 24
    spent = each.sum() * 30 / days
    assert spent <= monthly + 1e-9
    if each.max() < 0.05:
        assert spent == pytest.approx(monthly)
    assert (each > 0).all()


def test_the_budget_is_shared_by_weight_and_by_what_may_alarm() -> None:
    number = 60
    courses = [
        course([0.0] * number, subject="a"),
        course([0.0] * number, subject="b", weight=3.0),
        course([0.0] * number, subject="c", may_alarm=False),
    ]
    found = {f.subject: f for f in review(*courses).findings}
    assert found["b"].alpha_each == pytest.approx(3 * found["a"].alpha_each)
    assert sum(found[s].alpha_each for s in "ab") * number * 30 / number == pytest.approx(1.0)


def test_what_only_informs_has_a_small_part_of_the_budget() -> None:
    number = 60
    found = {
        f.subject: f
        for f in review(
            course([0.0] * number, subject="a"), course([0.0] * number, subject="b", check="other")
        ).findings
    }
    assert found["a"].alpha_each * 30 == pytest.approx(1 - INFORMING)
    assert found["b"].alpha_each * 30 == pytest.approx(INFORMING)
    assert found["a"].primary
    assert not found["b"].primary


def test_false_alarms_at_the_margin_are_within_the_budget() -> None:
    # 20 courses at their margin for 90 days, 40 times: the expected number of alarms is the budget, 3 episodes each.
    rng = np.random.default_rng(1)
    episodes = []
    for _ in range(40):
        many = [course(0.1 + 0.02 * rng.normal(size=90), subject=f"c{j}", se=0.02) for j in range(20)]
        episodes.append(sum(f.verdict is Verdict.ALARM for f in review(*many).findings))
    mean = float(np.mean(episodes))
    # A Poisson count of mean 120 is at most 155 with a chance of 0.999; some alarms fall into one episode.
    assert 1.5 < mean <= 155 / 40


# ------------------------------------------------------------------ verdicts


def test_a_shift_is_an_open_episode() -> None:
    f = only(review(course([0.0] * 30 + [0.5] * 10)))
    assert f.verdict is Verdict.ALARM
    assert f.primary
    assert f.window == f"from {windows(40)[30].label}"
    assert f.effect is not None
    assert f.effect.low > 0.1
    assert f.sentence == f"0.50 is the shift of 'x'. Since {windows(40)[30].label}."
    assert f.action == "Look at it."


def test_a_shift_that_is_over_informs() -> None:
    values = [0.0] * 10 + [0.5] * 5 + [0.0] * 20
    found = review(course(values)).findings
    assert [f.verdict for f in found] == [Verdict.ALARM, Verdict.OK]
    over, now = found
    assert not over.primary
    assert now.primary
    w = windows(35)
    assert over.window == f"{w[10].label} to {w[14].label}"
    assert over.sentence.endswith(f"From {w[10].label} to {w[14].label}.")


def test_a_small_shift_is_seen_in_windows_together() -> None:
    # Too small for one window, plain in seven.
    values = [0.0] * 28 + [0.16] * 28

    def errors(low: Floats, high: Floats) -> tuple[Floats, Floats]:
        from scipy import stats

        se = np.array([0.03 / math.sqrt(look.length) for look in c.looks])
        return c.value - stats.norm.isf(low) * se, c.value + stats.norm.isf(high) * se

    c = course(values, together=7)
    c = Course(**{**c.__dict__, "ends": errors})
    f = only(review(c))
    assert f.verdict is Verdict.ALARM
    assert f.window is not None
    assert f.window.startswith("from ")


def test_calm_is_ok_and_too_little_is_undecided() -> None:
    assert only(review(course([0.0] * 20))).verdict is Verdict.OK
    f = only(review(course([0.09] * 20, se=0.05)))
    assert f.verdict is Verdict.UNDECIDED
    assert f.reason == "interval_straddles_margin"
    assert "too uncertain" in f.sentence


@pytest.mark.parametrize(
    ("direction", "value", "verdict"),
    [
        ("up", 0.5, Verdict.ALARM),
        ("up", -0.5, Verdict.OK),
        ("down", -0.5, Verdict.ALARM),
        ("down", 0.5, Verdict.OK),
        ("both", 0.5, Verdict.ALARM),
        ("both", -0.5, Verdict.ALARM),
        ("both", 0.0, Verdict.OK),
        ("both", 0.1, Verdict.UNDECIDED),
    ],
)
def test_directions(direction: Direction, value: float, verdict: Verdict) -> None:
    f = only(review(course([value] * 20, direction=direction)))
    assert f.verdict is verdict
    assert f.direction == direction


def test_both_sides_share_the_error_rate() -> None:
    number, repeats = 200, 40
    rng = np.random.default_rng(3)
    hits = {"up": 0, "both": 0}
    for _ in range(repeats):
        x = rng.normal(size=number)
        for direction in hits:
            # At both margins at once: the effect is 0.1 up, or -0.1 for the two-sided one on even windows.
            sign = np.where(np.arange(number) % 2, 1.0, -1.0) if direction == "both" else 1.0
            c = course(sign * 0.1 + 0.02 * x, direction=direction, se=0.02)  # type: ignore[arg-type]
            each = alphas(c, 1.0)
            low, high = c.ends(each / 2, each / 2) if direction == "both" else c.ends(each, each)
            hits[direction] += int(((low > 0.1) | (high < -0.1 if direction == "both" else False)).sum())
    # Expected: 200 looks at 1/30 each; two-sided half of that, for only one margin is near.
    assert hits["up"] / repeats == pytest.approx(200 / 30, rel=0.2)
    assert hits["both"] / repeats == pytest.approx(200 / 60, rel=0.25)


def test_what_may_not_alarm_does_not() -> None:
    f = only(review(course([0.5] * 20, may_alarm=False)))
    assert f.verdict is Verdict.UNDECIDED


def test_nothing_to_look_at_is_undecided_with_its_reason() -> None:
    f = only(review(course([math.nan] * 5, reasons=["too_few_rows"] * 5)))
    assert (f.verdict, f.reason, f.effect) == (Verdict.UNDECIDED, "too_few_rows", None)
    assert review().findings == ()
    assert review().figure is None


def test_alpha_is_checked() -> None:
    with pytest.raises(InputError, match="alpha"):
        review(course([0.0] * 5), alpha=0.7)


def test_a_margin_of_the_user_counts() -> None:
    f = only(review(course([0.5] * 20), margins=Margins({"drift/shift@x": 0.9})))
    assert f.verdict is Verdict.OK
    assert f.margin == 0.9


# ------------------------------------------------------------------ stories, change points, output


def test_one_story_is_told_once() -> None:
    a = course([0.0] * 20 + [0.5] * 10, subject="a")
    b = course([0.0] * 22 + [0.5] * 8, subject="b")
    c = course([0.0] * 30, subject="c")
    found = review(a, b, c).findings
    told = [f for f in found if "story" in f.sentence]
    assert len(told) == 1
    assert "'b'" in told[0].sentence or "'a'" in told[0].sentence
    assert all("'c'" not in f.sentence for f in told)


def test_the_change_point_is_said_with_its_interval() -> None:
    f = only(review(course([0.0] * 30 + [0.5] * 10, change=lambda first, last: Change(27, 25, 29))))
    w = windows(40)
    assert f.window == f"from {w[27].label}"
    assert f"Since {w[27].label} (between {w[25].label} and {w[29].label})." in f.sentence


def test_of_effects_on_one_subject_the_worst_speaks() -> None:
    quiet, loud = course([0.0] * 30), course([0.0] * 20 + [0.5] * 10)
    loud = Course(**{**loud.__dict__, "kind": EffectKind("other", "other", "share", 0.1, "up", "")})
    found = {f.key: f for f in review(quiet, loud).findings}
    assert found["other"].primary
    assert not found["shift"].primary


def test_json_both_ways_and_no_number_is_missing() -> None:
    values = [0.0] * 10 + [0.5] * 5 + [0.0] * 20 + [math.nan] * 2 + [0.3] * 3
    found = review(course(values, together=7), course([math.nan] * 40, subject="y", reasons=["too_few_rows"] * 40))
    whole = Review("drift", found.findings, {}, {}, ())
    text = whole.to_json()
    assert "NaN" not in text
    assert "Infinity" not in text
    assert Review.from_json(text).findings == whole.findings
    json.dumps(found.figure, allow_nan=False)
    assert len({f.id for f in found.findings}) == len(found.findings)


def test_the_figure_has_a_row_for_every_subject() -> None:
    found = review(course([0.0] * 20, subject="a"), course([0.5] * 20, subject="b"))
    figure = found.figure
    assert figure is not None
    assert [row["name"] for row in figure["rows"]] == ["b (shift)", "a (shift)"]
    assert all(len(row["verdicts"]) == len(figure["windows"]) == 20 for row in figure["rows"])
    assert figure["rows"][0]["episodes"] == [{"from": 0, "to": 19, "open": True}]


@settings(deadline=None, max_examples=60)
@given(
    values=st.lists(st.one_of(st.floats(-1, 1), st.just(math.nan)), min_size=1, max_size=40),
    direction=st.sampled_from(["up", "down", "both"]),
    together=st.sampled_from([0, 7]),
)
def test_findings_are_whole_whatever_the_values(values: list[float], direction: Direction, together: int) -> None:
    known = course(values, direction=direction, together=together)
    reasons = tuple(None if math.isfinite(v) else "too_few_rows" for v in known.value)
    c = Course(**{**known.__dict__, "reasons": reasons})
    found = review(c)
    assert len([f for f in found.findings if f.verdict is not Verdict.ALARM]) <= 1
    for f in found.findings:
        assert f.reason or f.effect is not None
        if f.verdict is Verdict.ALARM:
            assert f.effect is not None
            assert f.window
        json.dumps(f.table, allow_nan=False)
    json.dumps(found.figure, allow_nan=False)


# ------------------------------------------------------------------ which look speaks


def test_an_episode_is_told_by_its_longest_look_and_not_by_its_noisiest() -> None:
    values = [0.0] * 14 + [0.31, 0.29] * 7
    found = only(review(course(values, together=7)))
    assert found.effect is not None
    assert found.effect.value == pytest.approx(np.mean(values[21:28]))
    assert found.verdict is Verdict.ALARM


def test_a_course_of_stretches_is_in_alarm_from_the_first_window_of_one() -> None:
    every = windows(20)
    looks = tuple(Look(i, i + 4) for i in range(0, 20, 5))
    values = np.array([0.0, 0.0, 0.5, 0.5])
    stretches = Course(
        "drift", kind(), "x", every, looks, values, lambda low, high: (values - 0.05, values + 0.05),
        np.full(4, 100), (None,) * 4, lambda effect, verdict, look: f"{effect.value:.2f} it is.", "Look.", "none",
    )  # fmt: skip
    watched = review(stretches)
    assert only(watched).window == f"from {every[10].label}"
    assert watched.figure is not None
    (row,) = watched.figure["rows"]
    assert row["verdicts"] == ["ok"] * 10 + ["alarm"] * 10
    assert row["episodes"] == [{"from": 10, "to": 19, "open": True}]


def test_what_could_not_be_looked_at_says_why_most_windows_could_not() -> None:
    found = only(review(course([math.nan] * 4, reasons=["too_few_rows"] * 3 + ["window_incomplete"])))
    assert (found.verdict, found.reason) == (Verdict.UNDECIDED, "too_few_rows")
    assert "shift of 'x'" in found.sentence
