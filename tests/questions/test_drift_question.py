"""Asking whether columns have changed: tables, roles, units, margins, and what is refused."""

from __future__ import annotations

import datetime as dt
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

import afterlaunch as al
from afterlaunch.questions import gather
from tests.frames import mixed

RNG = np.random.default_rng


def table(rows: int = 300, seed: int = 0) -> pl.DataFrame:
    rng = RNG(seed)
    return pl.DataFrame(
        {
            "age": rng.normal(size=rows),
            "colour": rng.choice(["red", "blue"], rows),
            "user": rng.integers(0, 10_000, rows),
            "p": rng.uniform(size=rows),
        }
    )


def subjects(review: al.Review) -> set[str]:
    return {f.subject for f in review}


# ------------------------------------------------------------------ which columns


def test_features_and_what_the_model_put_out_are_compared_and_nothing_else() -> None:
    roles = al.Roles(unit="user", score="p", ignore=("colour",))
    assert subjects(al.drift(table(), table(seed=1), roles=roles)) == {"age", "p"}
    assert subjects(al.drift(table(), table(seed=1), roles={"features": ["age"], "unit": "user"})) == {"age"}


def test_an_id_and_a_time_are_taken_as_such_and_the_review_says_so() -> None:
    start = dt.datetime(2026, 1, 1, tzinfo=dt.UTC)
    frames = [
        table(seed=i).with_columns(
            request_id=pl.Series([f"r{i}-{j}" for j in range(300)]),
            created_at=pl.Series([start + dt.timedelta(hours=j) for j in range(300)]),
        )
        for i in range(2)
    ]
    review = al.drift(*frames)
    assert {"request_id", "created_at"}.isdisjoint(subjects(review))
    assert any("'request_id' was taken as the role 'id'" in note for note in review.notes)
    named = al.drift(*frames, roles={"features": ["age"]})
    assert subjects(named) == {"age"}


def test_the_settings_say_what_the_review_was_made_with() -> None:
    review = al.drift(table(), table(seed=1), roles={"unit": "user"}, margins={"drift/psi": 0.3}, alpha=0.01)
    assert review.question == "drift"
    assert review.rows == {"reference": 300, "production": 300}
    assert review.settings["margins"] == {"drift/psi": 0.3}
    assert review.settings["alpha"] == 0.01
    assert review.settings["roles"]["unit"] == "user"
    assert {f.margin for f in review if f.key == "psi"} == {0.3}
    assert {f.alpha for f in review} == {0.01}
    assert review.version == al.__version__


def test_progress_is_told_in_words() -> None:
    said: list[str] = []
    al.drift(table(), table(), progress=said.append)
    assert "counting production" in said
    assert len(said) > 4


# ------------------------------------------------------------------ margins


def test_the_most_specific_margin_holds() -> None:
    margins = {"drift": 0.5, "drift/psi": 0.4, "drift/psi@age": 0.3}
    found = {f.id: f.margin for f in al.drift(table(), table(seed=1), roles={"unit": "user"}, margins=margins)}
    assert found["drift/psi@age"] == 0.3
    assert found["drift/psi@colour"] == 0.4
    assert found["drift/ks@age"] == 0.5


@pytest.mark.parametrize(
    ("margins", "sentence"),
    [
        ({"drfit": 0.1}, "names no check; the checks are 'drift'"),
        ({"metric/auc": 0.1}, "names no check; the checks are 'drift'"),
        ({"drift/psy": 0.1}, "names no effect of 'drift'"),
        ({"drift/psi@ages": 0.1}, "names 'ages', which 'drift' did not look at"),
        ({"drift/psi@user": 0.1}, "names 'user', which 'drift' did not look at"),
        ({"drift/psi": 0}, "give a positive number"),
    ],
)
def test_a_margin_of_nothing_is_refused(margins: dict[str, float], sentence: str) -> None:
    with pytest.raises(al.InputError, match=sentence):
        al.drift(table(), table(), roles={"unit": "user"}, margins=margins)


@pytest.mark.parametrize("alpha", [0.0, 0.5, 7.0])
def test_an_error_rate_out_of_bounds_is_refused(alpha: float) -> None:
    with pytest.raises(al.InputError, match=r"give a number between 0 and 0.5"):
        al.drift(table(), table(), alpha=alpha)


# ------------------------------------------------------------------ units and buckets


@pytest.mark.parametrize("values", [pl.UInt64, pl.Int8, pl.String, pl.Categorical])
def test_units_may_be_of_many_types(values: Any) -> None:
    frames = [
        table(seed=i).with_columns((pl.col("user") % 100).cast(pl.String).cast(values, strict=False)) for i in range(2)
    ]
    review = al.drift(*frames, roles={"unit": "user"})
    assert "units" in next(f.method for f in review if f.key == "psi")


def test_the_largest_units_there_are() -> None:
    big = table().with_columns(user=pl.Series([2**64 - 1 - i for i in range(300)], dtype=pl.UInt64))
    review = al.drift(big, big, roles={"unit": "user"})
    assert review.findings


def test_a_unit_that_one_table_lacks_is_said_and_rows_count_as_independent() -> None:
    review = al.drift(table(), table(seed=1).drop("user"), roles={"unit": "user"})
    assert "The unit 'user' is not in the production table, so rows were taken as independent." in review.notes
    assert all("independent rows" in f.method for f in review if f.key == "psi")


def test_units_of_two_types_are_refused() -> None:
    text = table().with_columns(pl.col("user").cast(pl.String))
    with pytest.raises(al.InputError, match=r"The unit 'user' is .* in the reference and .* in production; give both"):
        al.drift(table(), text, roles={"unit": "user"})


@pytest.mark.parametrize("bad", [[64] * 300, [-1] * 300, [None] + [1] * 299, [0.5] * 300, ["a"] * 300])
def test_a_bucket_that_is_none_is_refused(bad: list[Any]) -> None:
    frame = table().with_columns(b=pl.Series(bad))
    with pytest.raises(al.InputError, match="'b'"):
        al.drift(frame, table().with_columns(b=pl.lit(1)), roles={"bucket": "b", "ignore": ["user"]})


def test_a_table_against_itself_is_fine_by_row_and_by_unit() -> None:
    frame = mixed(5000, 0)
    for roles in ({"ignore": ["user", "name", "group"]}, {"unit": "user", "ignore": ["name", "group"]}):
        review = al.drift(frame, frame, roles=roles)
        assert review.counts()[al.Verdict.ALARM] == 0
        assert all(f.effect is None or f.effect.low <= 1e-9 for f in review)


# ------------------------------------------------------------------ what is refused


@pytest.mark.parametrize(
    ("roles", "sentence"),
    [
        ({"score": "agee"}, "The role 'score' names the column 'agee', which no table has; did you mean 'age'"),
        ({"score": "p", "prediction": "p"}, "The column 'p' has two roles, 'prediction' and 'score'"),
        ({"skore": "p"}, "There is no role 'skore'"),
        ({"time": "colour"}, "needs times"),
        ({"latency_ms": "colour"}, "needs numbers"),
        ({"scores": "p"}, "give a table of name = column"),
    ],
)
def test_roles_that_cannot_be(roles: dict[str, Any], sentence: str) -> None:
    with pytest.raises(al.InputError, match=sentence) as caught:
        al.drift(table(), table(), roles=roles)
    assert "\n" not in str(caught.value)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(al.InputError, match=r"nowhere\.parquet"):
        al.drift(tmp_path / "nowhere.parquet", table())


@pytest.mark.parametrize("thing", [3, {"a": [1]}, [], "", None])
def test_what_is_no_table_is_refused(thing: Any) -> None:
    with pytest.raises(al.InputError):
        al.drift(thing, table())


def test_times_with_and_without_a_zone_are_refused() -> None:
    naive = dt.datetime(2026, 1, 1)  # noqa: DTZ001
    one = table().with_columns(ts=pl.lit(naive))
    two = table().with_columns(ts=pl.lit(naive.replace(tzinfo=dt.UTC)))
    with pytest.raises(al.InputError, match="time zone"):
        al.drift(one, two, roles={"time": "ts"})


# ------------------------------------------------------------------ long tables


def test_a_reference_too_long_to_hold_is_sampled_for_bins_and_counted_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    before, now = table(4000), table(3000, seed=1)
    roles = {"unit": "user"}
    whole = {f.id: f for f in al.drift(before, now, roles=roles)}
    monkeypatch.setattr(gather, "BIN_ROWS", 500)
    monkeypatch.setattr(gather, "HELD_BYTES", 0)
    sampled = {f.id: f for f in al.drift(before, now, roles=roles)}
    assert set(whole) == set(sampled)
    for key, found in sampled.items():
        assert found.verdict is whole[key].verdict
        assert found.n == whole[key].n
