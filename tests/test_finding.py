"""Effects, findings and reviews: what they refuse, how they sort, and JSON both ways."""

from __future__ import annotations

import dataclasses
import json
import math
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from afterlaunch.finding import SCHEMA_VERSION, Direction, Effect, Finding, Json, Review, Verdict

EFFECT = Effect("PSI", 0.3, 0.2, 0.4, "PSI")


def finding(**more: Any) -> Finding:
    """A finding that alarms on the column age."""
    fields: dict[str, Any] = {
        "check": "drift",
        "key": "psi",
        "subject": "age",
        "verdict": Verdict.ALARM,
        "sentence": "PSI of 'age' is 0.30.",
        "action": "Look.",
        "effect": EFFECT,
        "margin": 0.1,
    }
    return Finding(**{**fields, **more})


def undecided(**more: Any) -> Finding:
    return finding(verdict=Verdict.UNDECIDED, effect=None, reason="no_values", **more)


# ------------------------------------------------------------------ what is refused


@pytest.mark.parametrize("field", ["value", "low", "high"])
@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_an_effect_has_finite_numbers(field: str, bad: float) -> None:
    with pytest.raises(ValueError, match=f"The {field} of effect 'PSI' is {bad}"):
        dataclasses.replace(EFFECT, **{field: bad})


def test_the_ends_of_an_interval_are_in_order() -> None:
    with pytest.raises(ValueError, match="low end is above its high one"):
        Effect("PSI", 0.3, 0.5, 0.4, "PSI")
    assert Effect("PSI", 0.3, 0.3, 0.3, "PSI").low == 0.3


@pytest.mark.parametrize("more", [{"verdict": Verdict.OK}, {"verdict": Verdict.ALARM, "reason": "x"}, {"reason": None}])
def test_without_an_effect_a_finding_is_undecided_and_says_why(more: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="must be undecided and give a reason"):
        finding(**{"verdict": Verdict.UNDECIDED, "effect": None, **more})


@pytest.mark.parametrize("margin", [0, -0.1, math.nan])
def test_a_margin_is_above_zero(margin: float) -> None:
    with pytest.raises(ValueError, match="a margin is above zero"):
        finding(margin=margin)


@pytest.mark.parametrize("p", [-0.01, 1.01, math.nan])
def test_a_p_value_is_a_probability(p: float) -> None:
    with pytest.raises(ValueError, match="lies between 0 and 1"):
        finding(p_value=p)


@pytest.mark.parametrize("thing", [EFFECT, finding(), Review("drift", ())])
def test_results_are_frozen(thing: Any) -> None:
    field = dataclasses.fields(thing)[0].name
    with pytest.raises(dataclasses.FrozenInstanceError):
        setattr(thing, field, "other")


# ------------------------------------------------------------------ ids and order


@pytest.mark.parametrize(
    ("more", "expected"),
    [
        ({}, "drift/psi@age"),
        ({"subject": ""}, "drift/psi"),
        ({"segment": "DE"}, "drift/psi@age[DE]"),
        ({"segment": "", "window": "2026-W01"}, "drift/psi@age[](2026-W01)"),
    ],
)
def test_the_id_is_the_margin_key_with_segment_and_window(more: dict[str, Any], expected: str) -> None:
    assert finding(**more).id == expected
    assert expected.startswith(finding(**more).margin_key)


def test_findings_sort_by_verdict_then_primary_then_excess_then_id() -> None:
    order = [
        finding(subject="worst", effect=Effect("PSI", 9, 8, 10, "PSI")),
        finding(subject="a"),
        finding(subject="b"),
        finding(subject="informs", primary=False, effect=Effect("PSI", 99, 8, 100, "PSI")),
        finding(subject="near", verdict=Verdict.UNDECIDED, effect=Effect("PSI", 0.09, 0, 1, "PSI"), reason="x"),
        undecided(subject="z", primary=False),
        finding(subject="fine", verdict=Verdict.OK, effect=Effect("PSI", 0.01, 0, 0.02, "PSI")),
    ]
    assert list(Review("drift", tuple(reversed(order))).findings) == order


@pytest.mark.parametrize(
    ("direction", "value", "excess"), [("up", 0.3, 2.0), ("up", -0.3, -4.0), ("down", -0.3, 2.0), ("both", -0.3, 2.0)]
)
def test_excess_is_the_distance_beyond_the_margin_in_margins(direction: Direction, value: float, excess: float) -> None:
    found = finding(direction=direction, effect=Effect("PSI", value, -1, 1, "PSI"))
    assert found.excess == pytest.approx(excess)
    assert undecided().excess == 0
    assert finding(margin=None).excess == 0


# ------------------------------------------------------------------ the verdict of a review


OK = finding(verdict=Verdict.OK)
ALARM = finding()
UNDECIDED = undecided()


@pytest.mark.parametrize(
    ("findings", "verdict"),
    [
        ((), "undecided"),  # missing evidence is not a pass
        ((OK,), "ok"),
        ((OK, UNDECIDED), "undecided"),
        ((OK, UNDECIDED, ALARM), "alarm"),
        ((OK, finding(primary=False)), "ok"),
        ((OK, undecided(primary=False)), "ok"),
        ((finding(primary=False),), "undecided"),
    ],
)
def test_the_verdict_is_that_of_the_worst_primary_finding(findings: tuple[Finding, ...], verdict: str) -> None:
    assert Review("drift", findings).verdict == verdict


def test_the_headline_says_whether_the_model_is_fine_and_what_to_do() -> None:
    assert Review("drift", (OK,)).headline == "Fine: the finding that counts lies inside its margin. Nothing to do."
    assert Review("drift", (OK, ALARM)).headline == "Not fine: PSI of 'age' is 0.30. Look."
    assert Review("drift", ()).headline == "Not decided: nothing could be checked."
    assert Review("drift", (UNDECIDED,)).headline == "Not decided: 1 finding had too little evidence."
    more = [finding(verdict=Verdict.UNDECIDED, reason="x", rows_needed=n, subject=str(n)) for n in (1200, 34_000)]
    assert Review("drift", (*more, UNDECIDED)).headline == (
        "Not decided: 3 findings had too little evidence. About 34,000 rows would decide all that rows can decide."
    )


def test_counting_and_iterating() -> None:
    review = Review("drift", (OK, ALARM, UNDECIDED))
    assert review.counts() == {Verdict.OK: 1, Verdict.ALARM: 1, Verdict.UNDECIDED: 1}
    assert list(review) == list(review.findings) == [ALARM, UNDECIDED, OK]
    assert review.worst(2) == (ALARM, UNDECIDED)
    assert review.with_findings((OK,)).verdict is Verdict.OK


# ------------------------------------------------------------------ JSON


def test_the_json_has_the_fields_that_others_read() -> None:
    review = Review("launch", (ALARM,), {"reference": 5}, {"alpha": 0.05}, ("A note.",), "1.2.3")
    data = json.loads(review.to_json())
    assert list(data) == [
        *("afterlaunch", "schema_version", "question", "verdict", "headline", "decision", "rows", "settings", "notes"),
        *("figures", "findings"),
    ]
    assert (data["schema_version"], data["afterlaunch"], data["verdict"]) == (SCHEMA_VERSION, "1.2.3", "alarm")
    found = data["findings"][0]
    assert found["effect"] == {"name": "PSI", "value": 0.3, "low": 0.2, "high": 0.4, "unit": "PSI"}
    assert set(found) == {"id", *(f.name for f in dataclasses.fields(Finding))}
    assert found["id"] == ALARM.id


small = st.floats(-1e9, 1e9)
texts = st.text(max_size=12)
tables: st.SearchStrategy[Json | None] = st.none() | st.dictionaries(
    texts, st.recursive(st.none() | small | texts | st.booleans(), lambda x: st.lists(x, max_size=3), max_leaves=5)
)


@st.composite
def findings(draw: st.DrawFn) -> Finding:
    low, value, high = sorted(draw(st.tuples(small, small, small)))
    return Finding(
        check=draw(texts),
        key=draw(texts),
        subject=draw(texts),
        verdict=draw(st.sampled_from(Verdict)),
        sentence=draw(texts),
        action=draw(texts),
        effect=Effect(draw(texts), value, low, high, draw(texts)),
        reason=draw(st.none() | texts),
        direction=draw(st.sampled_from(["up", "down", "both"])),
        margin=draw(st.none() | st.floats(1e-9, 1e9)),
        primary=draw(st.booleans()),
        segment=draw(st.none() | texts),
        window=draw(st.none() | texts),
        n=draw(st.integers(0, 10**12)),
        p_value=draw(st.none() | st.floats(0, 1)),
        rows_needed=draw(st.none() | st.integers(1, 10**12)),
        sample=draw(st.none() | st.integers(1, 10**6)),
        table=draw(tables),
    )


@given(st.lists(findings(), max_size=4), texts, st.lists(texts, max_size=2))
def test_a_review_comes_back_from_json_as_it_was(found: list[Finding], question: str, notes: list[str]) -> None:
    review = Review(question, tuple(found), {"reference": 1}, {"alpha": 0.05}, tuple(notes), "0")
    text = review.to_json()
    again = Review.from_json(text)
    assert again == review
    assert again.to_json() == text
    assert "NaN" not in json.dumps(review.to_dict(), allow_nan=True) or "NaN" in str(review)


def test_nan_in_chart_data_never_reaches_a_file() -> None:
    with pytest.raises(ValueError, match=r"[Nn]a[Nn]|JSON"):
        Review("drift", (finding(table={"x": [math.nan]}),)).to_json()


SHELL = json.dumps(
    {"schema_version": 1, "question": "q", "findings": 0, "rows": {}, "settings": {}, "notes": [], "afterlaunch": ""}
)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "[]",
        "null",
        '"review"',
        "{}",
        '{"schema_version": 0}',
        '{"schema_version": 1}',
        SHELL.replace("0", "3"),
        SHELL.replace("0", "[3]"),
        SHELL.replace("0", "[{}]"),
    ],
)
def test_what_is_no_review_is_refused_in_one_sentence(text: str) -> None:
    with pytest.raises(ValueError, match=r"^This is not .*\.$") as caught:
        Review.from_json(text)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "change", [{"verdict": "fine"}, {"effect": {"name": "x"}}, {"surprise": 1}, {"margin": -1}, {"effect": None}]
)
def test_a_finding_that_cannot_be_is_refused(change: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"."):
        Finding.from_dict({**ALARM.to_dict(), **change})


def test_saving_writes_json_or_html_and_nothing_else(tmp_path: Path) -> None:
    review = Review("drift", (ALARM,))
    assert Review.from_json(review.save(tmp_path / "a.json").read_text(encoding="utf-8")) == review
    assert "PSI of" in review.save(str(tmp_path / "a.html")).read_text(encoding="utf-8")
    with pytest.raises(ValueError, match=r"\.json or \.html"):
        review.save(tmp_path / "a.txt")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a.html", "a.json"]


def test_a_notebook_shows_the_report() -> None:
    assert "PSI of" in Review("drift", (ALARM,))._repr_html_()
