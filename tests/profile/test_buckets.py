"""Buckets of units: published vectors, the same on every engine, and even enough."""

from __future__ import annotations

import hashlib
from typing import Any

import duckdb
import narwhals as nw
import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from afterlaunch.decide import InputError
from afterlaunch.profile.buckets import BUCKETS, MULTIPLIER, PRIME, VECTORS, bucket_of, with_bucket

int64 = st.integers(-(2**63), 2**63 - 1)


def polars_buckets(units: pl.Series, *, integer: bool) -> list[int]:
    frame = nw.from_native(pl.DataFrame({"unit": units}).lazy())
    out: pl.LazyFrame = nw.to_native(with_bucket(frame, "unit", name="b", integer=integer))
    return out.collect()["b"].to_list()


def duckdb_buckets(units: pl.Series, *, integer: bool) -> list[int]:
    with duckdb.connect() as connection:
        rows = pl.DataFrame({"row": range(len(units)), "unit": units})  # noqa: F841
        frame: Any = nw.from_native(connection.sql("select * from rows"))
        out: Any = nw.to_native(with_bucket(frame, "unit", name="b", integer=integer))
        return [row[0] for row in out.order("row").select("b").fetchall()]


@pytest.mark.parametrize(("unit", "bucket"), VECTORS)
def test_the_published_vectors(unit: int | str, bucket: int) -> None:
    assert bucket_of(unit) == bucket
    units = pl.Series([unit])
    for engine in (polars_buckets, duckdb_buckets):
        assert engine(units, integer=isinstance(unit, int)) == [bucket]


def test_the_vectors_follow_from_the_words_of_the_docstring() -> None:
    for unit, bucket in VECTORS:
        if isinstance(unit, int):
            assert ((unit % PRIME + PRIME) % PRIME) * MULTIPLIER % PRIME * 64 // PRIME == bucket
        else:
            assert int(hashlib.sha256(unit.encode()).hexdigest()[:2], 16) % 64 == bucket


@given(st.lists(int64, min_size=1, max_size=50))
def test_integer_units_fall_alike_on_every_engine(units: list[int]) -> None:
    expected = [bucket_of(u) for u in units]
    series = pl.Series(units, dtype=pl.Int64)
    assert polars_buckets(series, integer=True) == expected
    assert duckdb_buckets(series, integer=True) == expected
    assert set(expected) <= set(range(BUCKETS))


@given(st.lists(st.text(st.characters(exclude_categories=("Cs",), exclude_characters="\x00")), min_size=1, max_size=30))
def test_text_units_fall_alike_on_every_engine(units: list[str]) -> None:
    expected = [bucket_of(u) for u in units]
    assert polars_buckets(pl.Series(units), integer=False) == expected
    assert duckdb_buckets(pl.Series(units), integer=False) == expected


@pytest.mark.parametrize("engine", [polars_buckets, duckdb_buckets])
def test_a_missing_unit_falls_into_bucket_zero(engine: Any) -> None:
    assert engine(pl.Series([None, 1]), integer=True) == [0, bucket_of(1)]
    assert engine(pl.Series([None, "a", None]), integer=False) == [0, bucket_of("a"), 0]


@pytest.mark.parametrize("engine", [polars_buckets, duckdb_buckets])
@pytest.mark.parametrize("dtype", [pl.Int8, pl.UInt8, pl.Int16, pl.UInt32, pl.UInt64])
def test_the_width_of_an_integer_does_not_matter(engine: Any, dtype: Any) -> None:
    assert engine(pl.Series([0, 1, 100], dtype=dtype), integer=True) == [bucket_of(u) for u in (0, 1, 100)]


@pytest.mark.parametrize("engine", [polars_buckets, duckdb_buckets])
def test_hashes_of_64_bits_without_a_sign_are_units_too(engine: Any) -> None:
    units = [2**64 - 1, 2**63, 2**63 - 1, 12345678901234567890]
    assert engine(pl.Series(units, dtype=pl.UInt64), integer=True) == [bucket_of(u) for u in units]


@pytest.mark.parametrize("kind", ["consecutive", "text"])
def test_units_spread_evenly(kind: str) -> None:
    """Chi-square over 64 buckets of 64,000 units; consecutive numbers must not clump either."""
    units = range(64_000)
    buckets = [bucket_of(u if kind == "consecutive" else f"user-{u}") for u in units]
    counts = np.bincount(buckets, minlength=BUCKETS)
    assert counts.min() > 0.9 * 1000
    if kind == "text":
        assert stats.chisquare(counts).pvalue > 1e-3


def test_rows_keep_their_order_and_their_columns() -> None:
    frame = pl.DataFrame({"unit": ["b", "a", "b"], "x": [3, 1, 2]})
    out: pl.LazyFrame = nw.to_native(with_bucket(nw.from_native(frame.lazy()), "unit", name="b", integer=False))
    assert out.collect().drop("b").equals(frame)


def test_names_with_quotes_are_names() -> None:
    with duckdb.connect() as connection:
        rows = pl.DataFrame({'a "quoted" unit': ["x"]})  # noqa: F841
        frame: Any = nw.from_native(connection.sql("select * from rows"))
        out: Any = nw.to_native(with_bucket(frame, 'a "quoted" unit', name='b"', integer=False))
        assert out.fetchall() == [("x", bucket_of("x"))]


def test_text_units_on_an_engine_without_sha_256_are_refused() -> None:
    ibis_like = nw.from_native(pl.DataFrame({"unit": ["a"]}).lazy())

    class Other:
        """Stands for a lazy frame of an engine that cannot hash."""

    real = nw.to_native
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(nw, "to_native", lambda frame: Other())
        with pytest.raises(InputError, match=r"give integers, or a column with the role bucket\.$"):
            with_bucket(ibis_like, "unit", name="b", integer=False)
    assert nw.to_native is real
