"""The JSON of a review against its schema, and back."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from hypothesis import HealthCheck, given, settings

from afterlaunch.finding import Review
from tests.report.reviews import large_review, launch_review, nasty_review, reviews

DOCS = Path(__file__).parents[2] / "docs"
SCHEMA: dict[str, Any] = json.loads((DOCS / "review.schema.json").read_text(encoding="utf-8"))
VALIDATOR = jsonschema.Draft202012Validator(SCHEMA)


def test_the_schema_is_one() -> None:
    jsonschema.Draft202012Validator.check_schema(SCHEMA)


@pytest.mark.parametrize("make", [launch_review, nasty_review, large_review, lambda: Review("launch", ())])
def test_reviews_satisfy_the_schema(make: Any) -> None:
    review = make()
    VALIDATOR.validate(json.loads(review.to_json()))
    assert Review.from_json(review.to_json()) == review


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
@given(review=reviews())
def test_any_review_satisfies_the_schema_and_reads_back(review: Review) -> None:
    text = review.to_json()
    VALIDATOR.validate(json.loads(text))
    assert Review.from_json(text) == review
    assert not re.search(r"\b(NaN|Infinity)\b", re.sub(r'"(?:[^"\\]|\\.)*"', "", text))


def _change(path: str, value: Any) -> Any:
    data = json.loads(launch_review().to_json())
    *parents, last = path.split(".")
    place = data
    for key in parents:
        place = place[int(key) if key.isdigit() else key]
    place[last] = value
    return data


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("verdict", "fine"),
        ("schema_version", 2),
        ("more", 1),
        ("findings.0.more", 1),
        ("findings.0.verdict", None),
        ("findings.0.effect", None),
        ("findings.0.effect.value", "1"),
        ("findings.0.effect.more", 1),
        ("findings.0.margin", 0),
        ("findings.0.p_value", 1.5),
        ("findings.0.n", -1),
        ("findings.0.direction", "sideways"),
        ("findings.0.table", {"title": "no kind"}),
        ("findings.0.table.labels", [1]),
        ("findings.0.table.more", 1),
        ("notes", [1]),
    ],
)
def test_what_is_no_review_fails(path: str, value: Any) -> None:
    assert not VALIDATOR.is_valid(_change(path, value))


def test_unknown_kinds_of_tables_pass() -> None:
    assert VALIDATOR.is_valid(_change("findings.0.table", {"kind": "later", "anything": 1}))


def test_every_field_is_explained() -> None:
    text = (DOCS / "json.md").read_text(encoding="utf-8")
    named = set(re.findall(r"`(\w+)`", text))
    data = launch_review().to_dict()
    effect = data["findings"][0]["effect"]
    kinds = {table["kind"]: table for f in data["findings"] if (table := f["table"])}
    fields = {*data, *data["findings"][0], *effect, *(key for table in kinds.values() for key in table), *kinds}
    assert len(kinds) == 5
    assert fields - named == set()
    assert set(data) == set(SCHEMA["properties"]) == set(SCHEMA["required"])
    finding = SCHEMA["$defs"]["finding"]
    assert set(data["findings"][0]) == set(finding["properties"]) == set(finding["required"])
