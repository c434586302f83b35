"""Who gets which version: the same on every engine, sticky, monotone, and by chance."""

from __future__ import annotations

import hashlib
import timeit
from collections.abc import Iterator
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
from afterlaunch.release.assignment import (
    BUCKETS,
    VECTORS,
    Assignment,
    bucket,
    require_salt,
    sql,
    sql_bucket,
    with_arm,
)

UNITS = ["", "a", "user-42", " padded ", "a:b", 'o\'clock "q" \\n %s ?', "naïve ☕ 🦆", *(f"u{i}" for i in range(3000))]
PLAN = Assignment("Größe 1/2", "holdout", "explore", challenger=0.25, holdout=0.1, exploration=0.05)

units = st.one_of(st.integers(), st.text(st.characters(exclude_categories=["Cs"])))
cuts = st.integers(0, BUCKETS)


def plan_of(challenger: int, holdout: int = 0, salt: str = "release") -> Assignment:
    return Assignment(salt, "holdout", "explore", challenger=challenger / BUCKETS, holdout=holdout / BUCKETS)


def vectors_as(kind: type) -> list[tuple[str, Any, int]]:
    return [v for v in VECTORS if type(v[1]) is kind]


# The formula ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("salt", "unit", "expected"), VECTORS)
def test_python_follows_the_published_formula(salt: str, unit: int | str, expected: int) -> None:
    assert int(hashlib.sha256(f"{salt}:{unit}".encode()).hexdigest()[:14], 16) % 10_000 == expected
    assert bucket(salt, unit) == expected


@pytest.mark.parametrize(("salt", "unit", "expected"), VECTORS)
@pytest.mark.parametrize("engine", ["polars", "duckdb"])
def test_engines_cut_where_the_vectors_say(engine: str, salt: str, unit: int | str, expected: int) -> None:
    """The first share that covers a unit's bucket is the one that treats it."""
    frame = pl.DataFrame({"unit": [unit]})
    for share, arm in ((expected, "champion"), (expected + 1, "challenger")):
        found = with_arm(on(engine, frame), "unit", plan_of(share, salt=salt))
        assert in_memory(found)["arm"].to_list() == [arm]


@pytest.mark.parametrize("kind", [int, str])
def test_duckdb_gives_the_vectors(kind: type) -> None:
    with duckdb.connect() as connection:
        check_vectors(lambda query, values: connection.execute(query, [values]).fetchall(), "duckdb", kind)


@pytest.mark.postgres
@pytest.mark.parametrize("kind", [int, str])
def test_postgres_gives_the_vectors(kind: type, postgres_url: str) -> None:
    import psycopg

    with psycopg.connect(postgres_url) as connection:
        check_vectors(
            lambda query, values: connection.execute(query.replace("?", "%s"), [values]).fetchall(), "postgres", kind
        )


@pytest.mark.postgres
def test_postgres_gives_the_arms_of_python(postgres_url: str) -> None:
    import psycopg

    column = 'the "unit"'
    with psycopg.connect(postgres_url) as connection:
        connection.execute('CREATE TEMP TABLE t ("the ""unit""" text)')
        connection.cursor().executemany("INSERT INTO t VALUES (%s)", [[u] for u in [*UNITS, None]])
        arm, explores = (sql("postgres", column, PLAN, what) for what in ("arm", "explores"))
        found = connection.execute(f'SELECT "the ""unit""", {arm}, {explores} FROM t').fetchall()
    assert sorted(found, key=str) == sorted(expected_rows(UNITS), key=str)


@pytest.fixture(scope="module")
def spark() -> Iterator[Any]:
    from pyspark.sql import SparkSession

    session = (
        SparkSession.builder.master("local[1]")
        .config("spark.ui.enabled", "false")
        .config("spark.driver.host", "127.0.0.1")
        .config("spark.driver.bindAddress", "127.0.0.1")
        .config("spark.sql.shuffle.partitions", "1")
        .getOrCreate()
    )
    yield session
    session.stop()


@pytest.mark.spark
def test_spark_gives_the_vectors(spark: Any) -> None:
    for kind, name in ((int, "bigint"), (str, "string")):
        vectors = vectors_as(kind)
        frame = spark.createDataFrame([(unit,) for _, unit, _ in vectors], f"unit {name}")
        salts = sorted({salt for salt, _, _ in vectors})
        found = frame.selectExpr(*(sql_bucket("spark", "unit", salt) for salt in salts)).collect()
        held = [row[salts.index(salt)] for row, (salt, _, _) in zip(found, vectors, strict=True)]
        assert held == [expected for _, _, expected in vectors]


@pytest.mark.spark
def test_spark_gives_the_arms_of_python(spark: Any) -> None:
    frame = spark.createDataFrame([(u,) for u in [*UNITS, None]], "`the ``unit` string")
    found = with_arm(frame, "the `unit", PLAN, explores="explores")
    assert [tuple(row) for row in found.collect()] == expected_rows(UNITS)


# The same on every engine --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("engine", ["polars", "polars lazy", "duckdb", "narwhals polars", "narwhals duckdb"])
@pytest.mark.parametrize("given_units", [UNITS, list(range(-1500, 1500))], ids=["text", "integers"])
def test_engines_give_the_arms_of_python(engine: str, given_units: list[Any]) -> None:
    rows = [*given_units, None, *given_units[:10]]
    frame = on(engine, pl.DataFrame({"row": range(len(rows)), 'the "unit"': rows}))
    found = with_arm(frame, 'the "unit"', PLAN, arm="version", explores="explores")
    assert type(found) is type(frame)
    held = in_memory(found)
    assert held.columns == ["row", 'the "unit"', "version", "explores"]
    assert held["row"].to_list() == list(range(len(rows)))
    assert held.drop("row").rows() == [*expected_rows(given_units), *expected_rows(given_units[:10])[:-1]]


@pytest.mark.parametrize("kind", [pl.Categorical, pl.Enum(["u1", "u2", "u3"])])
def test_categories_are_their_text(kind: Any) -> None:
    frame = pl.DataFrame({"unit": ["u1", "u2", "u3", "u1", None]})
    found = with_arm(frame.with_columns(pl.col("unit").cast(kind)), "unit", PLAN)
    assert found["arm"].to_list() == with_arm(frame, "unit", PLAN)["arm"].to_list()
    assert found.columns == ["unit", "arm"]
    assert found["unit"].dtype == kind


@pytest.mark.parametrize("kind", [pl.Int8, pl.Int32, pl.UInt64])
@pytest.mark.parametrize("engine", ["polars", "duckdb"])
def test_integers_of_any_width_are_the_same_unit(engine: str, kind: Any) -> None:
    frame = on(engine, pl.DataFrame({"unit": pl.Series(range(100), dtype=kind)}))
    found = in_memory(with_arm(frame, "unit", PLAN))
    assert found["arm"].to_list() == [PLAN.arm(unit) for unit in range(100)]


@pytest.mark.parametrize(
    ("kind", "unit"),
    [("HUGEINT", 2**100), ("UBIGINT", 2**64 - 1), ("ENUM('é', 'b')", "é"), ("VARCHAR", "2026-10-12")],
)
def test_kinds_that_only_duckdb_has(kind: str, unit: int | str) -> None:
    with duckdb.connect() as connection:
        relation = connection.sql(f"SELECT CAST('{unit}' AS {kind}) AS unit")
        plan = plan_of(bucket("release", unit) + 1)
        assert with_arm(relation, "unit", plan).fetchall() == [(unit, "challenger")]
        assert with_arm(relation, "unit", plan_of(bucket("release", unit))).fetchall() == [(unit, "champion")]


@pytest.mark.parametrize("engine", ["polars", "duckdb"])
def test_a_table_without_rows_gets_its_column(engine: str) -> None:
    frame = on(engine, pl.DataFrame({"unit": pl.Series([], dtype=pl.String)}))
    found = in_memory(with_arm(frame, "unit", PLAN, explores="e"))
    assert found.schema == {"unit": pl.String, "arm": pl.String, "e": pl.Boolean}
    assert found.height == 0


def test_the_given_frame_stays_as_it_was() -> None:
    frame = pl.DataFrame({"unit": ["a", "b"]})
    with_arm(frame, "unit", PLAN)
    assert frame.equals(pl.DataFrame({"unit": ["a", "b"]}))


# By chance -----------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def million() -> dict[str, np.ndarray[Any, np.dtype[np.int64]]]:
    """Buckets of a million ids under two salts that differ in one character."""
    with duckdb.connect() as connection:
        columns = ", ".join(f'{sql_bucket("duckdb", "i", salt)} AS "{salt}"' for salt in ("r-1", "r-2"))
        return connection.execute(f"SELECT {columns} FROM range(1000000) t(i) ORDER BY i").fetchnumpy()


@pytest.mark.parametrize("salt", ["r-1", "r-2"])
def test_buckets_are_equally_full(million: dict[str, Any], salt: str) -> None:
    counts = np.bincount(million[salt], minlength=BUCKETS)
    assert len(counts) == BUCKETS
    assert 0.001 < stats.chisquare(counts).pvalue < 0.999


def test_salts_are_independent(million: dict[str, Any]) -> None:
    table, _, _ = np.histogram2d(million["r-1"], million["r-2"], bins=50, range=[[0, BUCKETS], [0, BUCKETS]])
    assert 0.001 < stats.chi2_contingency(table).pvalue < 0.999
    assert abs(np.corrcoef(million["r-1"], million["r-2"])[0, 1]) < 4 / 1000


def test_neighbouring_ids_are_independent(million: dict[str, Any]) -> None:
    held = million["r-1"]
    assert abs(np.corrcoef(held[:-1], held[1:])[0, 1]) < 4 / 1000


def test_shares_are_those_outside_the_holdout() -> None:
    plan = Assignment("r", "h", "e", challenger=0.25, holdout=0.2, exploration=0.1)
    held = with_arm(pl.DataFrame({"unit": range(200_000)}), "unit", plan, explores="explores")
    counts = dict(held["arm"].value_counts().iter_rows())
    expected = {"holdout": 0.2, "challenger": 0.8 * 0.25, "champion": 0.8 * 0.75}
    observed = [counts[arm] for arm in expected]
    assert stats.chisquare(observed, [200_000 * share for share in expected.values()]).pvalue > 0.001
    exploring = held.group_by("arm").agg(pl.col("explores").sum(), pl.len())
    for _, explores, n in exploring.iter_rows():
        assert stats.binomtest(explores, n, 0.1).pvalue > 0.001


# Sticky and monotone -------------------------------------------------------------------------------------------------


@given(units, cuts, cuts, cuts)
def test_raising_the_share_moves_nobody_back(unit: int | str, one: int, other: int, holdout: int) -> None:
    before, after = (plan_of(c, holdout).arm(unit) for c in sorted((one, other)))
    assert before == after or (before, after) == ("champion", "challenger")


@given(units, cuts, cuts, cuts)
def test_the_holdout_is_the_same_in_every_release(unit: int | str, one: int, other: int, holdout: int) -> None:
    held = [plan_of(c, holdout, salt).arm(unit) == "holdout" for c, salt in ((one, "r-1"), (other, "r-2"))]
    assert held[0] == held[1]


@given(units, cuts, cuts, cuts)
def test_a_larger_holdout_keeps_whom_it_has(unit: int | str, one: int, other: int, challenger: int) -> None:
    small, large = (plan_of(challenger, h).arm(unit) for h in sorted((one, other)))
    assert small != "holdout" or large == "holdout"


@given(units, cuts, cuts)
def test_arms_are_sticky(unit: int | str, challenger: int, holdout: int) -> None:
    arms = {plan_of(challenger, holdout).arm(unit) for _ in range(3)}
    assert len(arms) == 1
    assert plan_of(challenger, holdout).explores(unit) == plan_of(0).explores(unit)


@given(units)
def test_the_ends_of_the_ramp_take_nobody_and_everybody(unit: int | str) -> None:
    assert plan_of(0).arm(unit) == "champion"
    assert plan_of(BUCKETS).arm(unit) == "challenger"
    assert plan_of(BUCKETS, BUCKETS).arm(unit) == "holdout"


@given(st.integers())
def test_an_integer_and_its_text_are_one_unit(unit: int) -> None:
    assert bucket("s", unit) == bucket("s", str(unit))


@pytest.mark.parametrize("share", [0.0001, 0.07, 0.29, 0.57, 1 / 3 - 1 / 3 % 0.0001])
def test_shares_that_floats_miss_are_exact(share: float) -> None:
    expected = round(share * BUCKETS)
    assert f"< {expected} THEN 'challenger'" in sql("duckdb", "u", Assignment("a", "b", "c", challenger=share))


# Speed ---------------------------------------------------------------------------------------------------------------


def test_a_bucket_costs_little() -> None:
    """Two microseconds on an idle machine; a busy one may take a few times that."""
    best = min(timeit.repeat(lambda: bucket("churn-2026-10", "user-12345678"), number=2000, repeat=25)) / 2000
    assert best < 6e-6


# Unusable input ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("salt", ["", "a:b", "it's", "back\\slash", "$", "é\u0301", "new\nline", "x" * 201, " a", None])
def test_a_salt_that_some_engine_would_change_is_refused(salt: Any) -> None:
    with pytest.raises(InputError, match=r"salt .* is not usable"):
        require_salt("salt", salt)
    with pytest.raises(InputError, match=r"holdout salt .* is not usable"):
        Assignment("a", salt, "c")


@pytest.mark.parametrize(("salts", "named"), [(("a", "a", "c"), "holdout"), (("a", "b", "a"), "exploration")])
def test_one_salt_for_two_draws_is_refused(salts: tuple[str, str, str], named: str) -> None:
    with pytest.raises(InputError, match=f"The {named} salt and the salt are both 'a'"):
        Assignment(*salts)


@pytest.mark.parametrize("share", [-0.1, 1.1, 0.00005, float("nan"), float("inf"), True, "0.5", None])
@pytest.mark.parametrize("name", ["challenger", "holdout", "exploration"])
def test_a_share_that_is_none_is_refused(name: str, share: Any) -> None:
    with pytest.raises(InputError, match=f"The share {name} is .* multiple of 0.0001"):
        Assignment("a", "b", "c", **{name: share})


@pytest.mark.parametrize("unit", [None, True, 1.0, b"a", float("nan")])
def test_a_unit_that_engines_write_differently_is_refused(unit: Any) -> None:
    with pytest.raises(InputError, match="neither text nor an integer"):
        bucket("s", unit)


def test_a_unit_outside_of_unicode_is_refused() -> None:
    with pytest.raises(InputError, match="UTF-8"):
        bucket("s", "\ud800")


@pytest.mark.parametrize("engine", ["polars", "duckdb"])
@pytest.mark.parametrize(
    ("columns", "named", "complaint"),
    [
        ({"unit": ["a"]}, {"column": "nobody"}, "no unit column 'nobody'; the columns are 'unit'"),
        ({"unit": [1.5]}, {}, "'unit' holds Float64"),
        ({"unit": [True]}, {}, "'unit' holds Boolean"),
        ({"unit": ["a"], "arm": [1]}, {}, "'arm' is there already"),
        ({"unit": ["a"]}, {"arm": "Unit"}, "'Unit' is there already"),
        ({"unit": ["a"]}, {"explores": "arm"}, "'arm' is there already"),
    ],
)
def test_a_table_that_cannot_be_assigned_is_refused(
    engine: str, columns: dict[str, Any], named: dict[str, str], complaint: str
) -> None:
    with pytest.raises(InputError, match=complaint):
        with_arm(on(engine, pl.DataFrame(columns)), **{"column": "unit", "assignment": PLAN, **named})


def test_a_frame_of_another_kind_is_refused() -> None:
    with pytest.raises(InputError, match="cannot be added to a dict"):
        with_arm({"unit": ["a"]}, "unit", PLAN)


def test_an_unknown_dialect_or_column_is_refused() -> None:
    with pytest.raises(InputError, match="dialect 'mysql' is unknown"):
        sql("mysql", "u", PLAN)  # type: ignore[arg-type]
    with pytest.raises(InputError, match="'weight' is unknown"):
        sql("duckdb", "u", PLAN, "weight")  # type: ignore[arg-type]


# Help ----------------------------------------------------------------------------------------------------------------


def on(engine: str, frame: pl.DataFrame) -> Any:
    """The frame on an engine."""
    wrapped = engine.startswith("narwhals ")
    name = engine.removeprefix("narwhals ")
    held: Any = frame
    if name == "polars lazy":
        held = frame.lazy()
    elif name == "duckdb":
        held = duckdb.sql("SELECT * FROM frame")
    return nw.from_native(held) if wrapped else held


def in_memory(found: Any) -> pl.DataFrame:
    native = nw.to_native(found, pass_through=True)
    if isinstance(native, pl.LazyFrame):
        return native.collect()
    held: pl.DataFrame = native if isinstance(native, pl.DataFrame) else native.pl()
    return held


def expected_rows(given_units: list[Any]) -> list[tuple[Any, str | None, bool | None]]:
    """(unit, arm, explores) by Python, and a missing unit at the end."""
    return [*((u, PLAN.arm(u), PLAN.explores(u)) for u in given_units), (None, None, None)]


def check_vectors(run: Any, dialect: Any, kind: type) -> None:
    for salt, unit, expected in vectors_as(kind):
        cast = "bigint" if kind is int else "text"
        query = f"SELECT {sql_bucket(dialect, 'unit', salt)} FROM (SELECT CAST(? AS {cast}) AS unit) AS t"
        assert run(query, unit) == [(expected,)]
