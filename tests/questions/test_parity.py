"""The same tables in any form give the same review, to the last count and to 1e-9 in every interval."""

from __future__ import annotations

import functools
import math
import tempfile
from pathlib import Path
from typing import Any

import polars as pl
import pytest

import afterlaunch as al
from afterlaunch.finding import Finding, Json, Review
from tests.frames import handed_in, mixed

LAUNCH = {"outcome": "y", "score": "p", "segment": "country", "ignore": ["user", "name", "group"]}
DRIFT = {"ignore": ["user", "name", "group"]}

UNITS: dict[str, dict[str, Any]] = {
    "rows": {},
    "numbers": {"unit": "user", "ignore": ["name", "group"]},
    "text": {"unit": "name", "ignore": ["user", "group"]},
    "buckets": {"bucket": "group", "ignore": ["user", "name"]},
}
"""What groups dependent rows, and what to leave out then."""


@functools.cache
def asked(question: str, units: str, engine: str) -> Review:
    tables = {"before": mixed(900, 0), "now": mixed(700, 1, shift=0.4)}
    with tempfile.TemporaryDirectory() as folder, handed_in(engine, Path(folder), **tables) as given:
        if question == "drift":
            return al.drift(given["before"], given["now"], roles={**DRIFT, **UNITS[units]})
        return al.launch(given["before"], given["now"], roles={**LAUNCH, **UNITS[units]})


def close(a: float, b: float) -> bool:
    return math.isclose(a, b, rel_tol=1e-9, abs_tol=1e-9)


def same_table(a: Json | None, b: Json | None) -> bool:
    """Chart data: the same texts and counts, and numbers to 1e-6, at which they are rounded."""
    if isinstance(a, dict) and isinstance(b, dict):
        return list(a) == list(b) and all(same_table(a[k], b[k]) for k in a)
    if isinstance(a, list) and isinstance(b, list):
        return len(a) == len(b) and all(map(same_table, a, b))
    if isinstance(a, float) and isinstance(b, float):
        return math.isclose(a, b, rel_tol=1e-6, abs_tol=2e-6)
    return bool(a == b)


def same(a: Finding, b: Finding) -> None:
    for name in ("verdict", "reason", "n", "rows_needed", "primary", "margin", "alpha_each", "direction"):
        assert getattr(a, name) == getattr(b, name), (a.id, name)
    assert (a.effect is None) == (b.effect is None)
    if a.effect is not None and b.effect is not None:
        for end in ("value", "low", "high"):
            assert close(getattr(a.effect, end), getattr(b.effect, end)), (a.id, end, a.effect, b.effect)
    if a.p_value is not None and b.p_value is not None:
        assert close(a.p_value, b.p_value), a.id
    assert same_table(a.table, b.table), a.id


@pytest.mark.parametrize("question", ["drift", "launch"])
@pytest.mark.parametrize("units", UNITS)
@pytest.mark.parametrize("engine", ["parquet", "pandas", "pyarrow", "duckdb"])
def test_every_form_gives_the_same_review(question: str, units: str, engine: str) -> None:
    ours, theirs = asked(question, units, "polars"), asked(question, units, engine)
    assert theirs.verdict is ours.verdict
    assert theirs.rows == ours.rows
    assert theirs.notes == ours.notes
    assert theirs.settings == ours.settings
    assert [f.id for f in theirs] == [f.id for f in ours]
    for found, other in zip(ours, theirs, strict=True):
        same(found, other)


@pytest.mark.parametrize("question", ["drift", "launch"])
def test_the_reviews_compared_have_something_in_them(question: str) -> None:
    review = asked(question, "rows", "polars")
    assert min(review.counts().values()) > 0
    assert {f.key for f in review if f.check == "drift"} >= {
        "psi",
        "js",
        "ks",
        "wasserstein",
        "linf",
        "missing",
        "new",
        "range",
    }
    if question == "launch":
        assert {f.key for f in review if f.check == "metric"} >= {"auc", "log_loss", "calibration"}
        assert {f.segment for f in review} >= {"DE", "FR"}


@pytest.mark.parametrize("question", ["drift", "launch"])
def test_units_as_numbers_or_text_are_the_same_units(question: str) -> None:
    """Other buckets, so other ends; the same estimates, but for those whose bias is taken off by the buckets."""
    numbers, text = ({f.id: f for f in asked(question, u, "polars")} for u in ("numbers", "text"))
    assert set(numbers) == set(text)
    debiased = {"psi", "js", "ks", "linf", "wasserstein", "calibration"}
    for key, one in numbers.items():
        other = text[key]
        if one.effect is None or other.effect is None or one.check not in {"drift", "metric"} or one.key in debiased:
            continue
        assert close(one.effect.value, other.effect.value), key


def test_tables_of_two_forms_may_be_mixed(tmp_path: Path) -> None:
    before, now = mixed(900, 0), mixed(700, 1, shift=0.4)
    with handed_in("duckdb", tmp_path, now=now) as given:
        review = al.drift(before.to_pandas(), given["now"], roles=DRIFT)
    for found, other in zip(asked("drift", "rows", "polars"), review, strict=True):
        same(found, other)


def test_many_files_are_one_table(tmp_path: Path) -> None:
    before, now = mixed(900, 0), mixed(700, 1, shift=0.4)
    for i in range(4):
        now[i * 175 : (i + 1) * 175].write_parquet(tmp_path / f"day{i}.parquet")
    review = al.drift(before, str(tmp_path / "day*.parquet"), roles=DRIFT)
    for found, other in zip(asked("drift", "rows", "polars"), review, strict=True):
        same(found, other)


@pytest.mark.parametrize("question", ["drift", "launch"])
def test_the_order_of_rows_does_not_matter_where_they_come_in_units(question: str) -> None:
    before, now = mixed(900, 0), mixed(700, 1, shift=0.4)
    shuffled = [t.sample(fraction=1.0, shuffle=True, seed=5) for t in (before, now)]
    ask = al.drift if question == "drift" else al.launch
    roles = {**(DRIFT if question == "drift" else LAUNCH), **UNITS["numbers"]}
    ours = {f.id: f for f in asked(question, "numbers", "polars")}
    theirs = {f.id: f for f in ask(*shuffled, roles=roles)}
    assert set(ours) == set(theirs)
    for key, found in ours.items():
        if found.check in {"drift", "metric"}:
            same(found, theirs[key])


def test_csv_is_what_it_was_before_it_was_written(tmp_path: Path) -> None:
    """CSV knows no types: true and false come back as text, which is how they are counted anyway."""
    columns = ["age", "visits", "member", "colour", "town"]
    before, now = mixed(900, 0).select(columns), mixed(700, 1, shift=0.4).select(columns)
    before.write_csv(tmp_path / "before.csv")
    now.write_csv(tmp_path / "now.csv")
    ours, theirs = al.drift(before, now), al.drift(tmp_path / "before.csv", tmp_path / "now.csv")
    for found, other in zip(ours, theirs, strict=True):
        same(found, other)


def test_short_floats_and_wide_integers_are_numbers_like_others() -> None:
    before, now = mixed(500, 0).select("age", "visits"), mixed(500, 1).select("age", "visits")
    ours = al.drift(
        before.with_columns(pl.col("age").cast(pl.Float32)), now.with_columns(pl.col("age").cast(pl.Float32))
    )
    wide = [
        t.with_columns(pl.col("age").cast(pl.Float32).cast(pl.Float64), pl.col("visits").cast(pl.UInt8))
        for t in (before, now)
    ]
    for found, other in zip(ours, al.drift(*wide), strict=True):
        same(found, other)
