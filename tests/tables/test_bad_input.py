"""Every unusable input is refused early, in one sentence that names what, where and what to do."""

from __future__ import annotations

import datetime as dt
import decimal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from afterlaunch.decide import InputError
from afterlaunch.roles import Roles
from afterlaunch.tables import (
    collecting,
    fetch,
    join_outcomes,
    open_table,
    require_kinds,
    require_probability,
    require_roles,
    require_same_clock,
)

AWARE = dt.datetime(2026, 1, 1, tzinfo=dt.UTC)
NAIVE = AWARE.replace(tzinfo=None)


def write(path: Path, content: str | bytes) -> Path:
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def parquet(path: Path, **columns: Any) -> Path:
    pl.DataFrame(columns).write_parquet(path)
    return path


def truncated(path: Path) -> Path:
    whole = parquet(path, a=list(range(5000))).read_bytes()
    return write(path, whole[: len(whole) // 2])


def two_parquet(d: Path, first: dict[str, Any], second: dict[str, Any]) -> str:
    parquet(d / "a.parquet", **first)
    parquet(d / "b.parquet", **second)
    return str(d / "*.parquet")


def twice_in_parquet(d: Path) -> Path:
    table = pa.table([pa.array([1]), pa.array([2])], names=["clicks", "clicks"])
    pq.write_table(table, d / "x.parquet")
    return d / "x.parquet"


def no_columns(d: Path) -> Path:
    pq.write_table(pa.table({}), d / "x.parquet")
    return d / "x.parquet"


def folder(d: Path) -> Path:
    (d / "log").mkdir()
    write(d / "log" / "a.csv", "a\n1\n")
    return d / "log"


LATE = "n,m\n" + "1,2\n" * 10_500

FILES: dict[str, tuple[Callable[[Path], Any], list[str]]] = {
    "missing file": (lambda d: d / "nope.parquet", ["nope.parquet", "no file", "check the path"]),
    "misspelt file": (
        lambda d: parquet(d / "production.parquet", a=[1]).with_name("prodction.parquet"),
        ["prodction.parquet", "did you mean 'production.parquet'?"],
    ),
    "empty path": (lambda d: "", ["path", "empty"]),
    "null in path": (lambda d: "a\0b.csv", ["'a\\x00b.csv'", "check"]),
    "glob without match": (lambda d: str(d / "log-*.csv"), ["log-*.csv", "No file matches", "pattern"]),
    "folder without parquet": (folder, ["log", "holds no Parquet file", "*.csv"]),
    "0 bytes csv": (lambda d: write(d / "x.csv", ""), ["x.csv", "empty (0 bytes)"]),
    "0 bytes parquet": (lambda d: write(d / "x.parquet", ""), ["x.parquet", "empty (0 bytes)"]),
    "only empty lines": (lambda d: write(d / "x.csv", "\n\n"), ["x.csv", "no columns"]),
    "no suffix": (lambda d: write(d / "table", "a\n1\n"), ["table", "no suffix", ".parquet"]),
    "unknown suffix": (lambda d: write(d / "x.xlsx", "PK"), ["x.xlsx", "'.xlsx'", ".csv"]),
    "json array suffix": (lambda d: write(d / "x.json", "[]"), ["x.json", ".ndjson"]),
    "parquet named csv": (
        lambda d: parquet(d / "p.parquet", a=[1]).rename(d / "x.csv"),
        ["x.csv", "Parquet inside", "rename"],
    ),
    "csv named parquet": (lambda d: write(d / "x.parquet", "a,b\n1,2\n"), ["x.parquet", "not Parquet", "suffix"]),
    "truncated parquet": (lambda d: truncated(d / "x.parquet"), ["x.parquet", "damaged or cut short", "again"]),
    "parquet header only": (lambda d: write(d / "x.parquet", b"PAR1xx"), ["x.parquet", "damaged or cut short"]),
    "parquet without columns": (no_columns, ["x.parquet", "no columns"]),
    "parquet with a column twice": (twice_in_parquet, ["x.parquet", "'clicks'", "rename"]),
    "not arrow": (lambda d: write(d / "x.arrow", b"nothing of the sort"), ["x.arrow", "damaged", "again"]),
    "glob of different types": (
        lambda d: two_parquet(d, {"n": [1]}, {"n": ["1"]}),
        ["'n'", "Int64", "String", "a.parquet", "b.parquet", "one type"],
    ),
    "glob of different columns": (
        lambda d: two_parquet(d, {"n": [1]}, {"n": [1], "extra": [2]}),
        ["'extra'", "a.parquet", "b.parquet", "same columns"],
    ),
    "glob of several formats": (
        lambda d: [parquet(d / "a.parquet", n=[1]), write(d / "b.csv", "n\n1\n")],
        ["several formats", "CSV, Parquet"],
    ),
    "csvs of different columns": (
        lambda d: [write(d / "a.csv", "n\n1\n"), write(d / "b.csv", "m\n1\n")],
        ["'n'", "a.csv", "b.csv"],
    ),
    "csvs of different order": (
        lambda d: [write(d / "a.csv", "n,m\n1,2\n"), write(d / "b.csv", "m,n\n1,2\n")],
        ["order", "b.csv"],
    ),
    "csvs of different types": (
        lambda d: [write(d / "a.csv", "n\n1\n"), write(d / "b.csv", "n\nx\n")],
        ["'n'", "Int64", "String", "b.csv"],
    ),
    "csv with a long row": (lambda d: write(d / "x.csv", "a,b\n1,2\n1,2,3\n"), ["x.csv", "Line 3", "3 fields", "2"]),
    "csv with a short row": (lambda d: write(d / "x.csv", "a,b\n1,2\n1\n"), ["x.csv", "Line 3", "1 field", "2"]),
    "csv with an empty line": (lambda d: write(d / "x.csv", "a,b\n1,2\n\n3,4\n"), ["x.csv", "Line 3", "no field"]),
    "csv with a column twice": (lambda d: write(d / "x.csv", "a,a\n1,2\n"), ["x.csv", "two columns 'a'", "rename"]),
    "csv in latin-1": (lambda d: write(d / "x.csv", b"a,b\n1,caf\xe9\n"), ["x.csv", "0xe9", "UTF-8"]),
    "csv header in latin-1": (lambda d: write(d / "x.csv", b"caf\xe9\n1\n"), ["x.csv", "0xe9", "UTF-8"]),
    "csv in utf-16": (lambda d: write(d / "x.csv", "a,b\n1,2\n".encode("utf-16")), ["x.csv", "UTF-8"]),
    "csv with an open quote": (lambda d: write(d / "x.csv", 'a,b\n1,2\n3,"x\n'), ["x.csv"]),
    "csv with text after many numbers": (
        lambda d: write(d / "x.csv", LATE + "3,oops\n"),
        ["'m'", "'oops'", "x.csv", "line 10502", "correct it"],
    ),
    "ndjson that is not json": (lambda d: write(d / "x.jsonl", '{"a":1}\nnope\n'), ["x.jsonl", "Line 2", "not JSON"]),
    "ndjson cut short": (lambda d: write(d / "x.jsonl", '{"a":1}\n{"a":'), ["x.jsonl", "Line 2"]),
    "ndjson of lists": (lambda d: write(d / "x.jsonl", '{"a":1}\n[1]\n'), ["x.jsonl", "Line 2", "a list", "object"]),
    "ndjson as one array": (lambda d: write(d / "x.jsonl", '[{"a":1}]\n'), ["x.jsonl", "Line 1", "a list"]),
    "ndjson of mixed types": (
        lambda d: write(d / "x.jsonl", '{"a":1}\n{"a":"x"}\n'),
        ["'a'", "mixes types", "1 is a number", "'x' is text", "line 2"],
    ),
    "ndjson of bools and numbers": (lambda d: write(d / "x.jsonl", '{"a":1}\n{"a":true}\n'), ["'a'", "mixes types"]),
    "ndjson of empty lines": (lambda d: write(d / "x.jsonl", "\n\n"), ["x.jsonl", "no values"]),
    "ndjson of empty objects": (lambda d: write(d / "x.jsonl", "{}\n{}\n"), ["x.jsonl", "no values"]),
}

FRAMES: dict[str, tuple[Callable[[], Any], list[str]]] = {
    "no table": (lambda: 7, ["int", "Polars, pandas"]),
    "None": (lambda: None, ["NoneType", "path"]),
    "polars without columns": (pl.DataFrame, ["no columns", "at least one"]),
    "pandas without columns": (pd.DataFrame, ["no columns"]),
    "pandas of mixed types": (
        lambda: pd.DataFrame({"age": pd.Series([31, "unknown"], dtype=object)}),
        ["'age'", "mixes types", "31 is a number", "'unknown' is text", "one type"],
    ),
    "pandas of text and times": (
        lambda: pd.DataFrame({"t": pd.Series(["x", NAIVE], dtype=object)}),
        ["'t'", "mixes types", "'x' is text", "a time"],
    ),
    "pandas of aware and naive times": (
        lambda: pd.DataFrame({"t": pd.Series([AWARE, NAIVE], dtype=object)}),
        ["'t'", "mixes types", "a time with a zone"],
    ),
    "pandas of Python objects": (
        lambda: pd.DataFrame({"o": pd.Series([object()], dtype=object)}),
        ["'o'", "object"],
    ),
    "pandas with a column twice": (
        lambda: pd.DataFrame([[1, 2]], columns=["a", "a"]),
        ["two columns 'a'", "rename"],
    ),
    "pandas with 1 and '1' as names": (lambda: pd.DataFrame([[1, 2]], columns=[1, "1"]), ["two columns '1'"]),
    "polars of mixed objects": (
        lambda: pl.DataFrame({"o": pl.Series([1, "x"], dtype=pl.Object)}),
        ["'o'", "mixes types"],
    ),
    "a lazy frame of no file": (lambda: pl.scan_parquet("no/such.parquet"), ["no/such.parquet", "check the source"]),
    "a name that is a pattern": (lambda: pl.DataFrame({"^a$": [1]}), ["'^a$'", "rename"]),
    "a star as a name": (lambda: pl.DataFrame({"*": [1]}), ["'*'", "rename"]),
    "pyarrow with a column twice": (
        lambda: pa.table([pa.array([1]), pa.array([2])], names=["a", "a"]),
        ["two columns 'a'", "rename"],
    ),
}


def is_one_sentence(text: str) -> bool:
    return "\n" not in text and text[-1] in ".?" and text[0] not in " a" and "Traceback" not in text


@pytest.mark.parametrize("case", FILES)
def test_a_bad_file_is_one_sentence(case: str, tmp_path: Path) -> None:
    make, words = FILES[case]
    with pytest.raises(InputError) as caught:
        open_table(make(tmp_path), name="production")
    for word in words:
        assert word in str(caught.value)
    assert is_one_sentence(str(caught.value)), str(caught.value)


@pytest.mark.parametrize("case", FRAMES)
def test_a_bad_frame_is_one_sentence(case: str) -> None:
    make, words = FRAMES[case]
    with pytest.raises(InputError) as caught:
        open_table(make(), name="production")
    for word in ["production", *words]:
        assert word in str(caught.value)
    assert is_one_sentence(str(caught.value))


def table(name: str = "production", **columns: Any) -> Any:
    return open_table(pl.DataFrame(columns), name=name)


IDS = Roles(id="id", outcome="y", time="t", outcome_time="yt")

RULES: dict[str, tuple[Callable[[], Any], list[str]]] = {
    "role of no column": (
        lambda: require_roles(Roles(score="scor"), [table(score=[1.0]), table("reference", score=[1.0])]),
        ["'score'", "'scor'", "no table has", "did you mean 'score'?"],
    ),
    "role in other letters": (
        lambda: require_roles(Roles(score="XY"), [table(xy=[1.0])]),
        ["'XY'", "did you mean 'xy'?"],
    ),
    "role of nothing alike": (
        lambda: require_roles(Roles(unit="user"), [table(**{f"c{i}": [1] for i in range(20)})]),
        ["'user'", "'c0'", "and 12 more"],
    ),
    "feature of no column": (lambda: require_roles(Roles(features=("agee",)), [table(age=[1])]), ["'agee'", "'age'"]),
    "score above 1": (
        lambda: require_probability(table(p=[0.2, 7.5, 2.0]), "p"),
        ["'p'", "production", "2 of 3 rows", "7.5", "exp(-score)"],
    ),
    "score below 0": (lambda: require_probability(table(p=[-3.0, 1.5]), "p"), ["2 of 2", "-3.0"]),
    "infinite score": (lambda: require_probability(table(p=[0.5, float("inf")]), "p"), ["1 of 2", "inf"]),
    "score in text": (lambda: require_probability(table(p=["high"]), "p"), ["'p'", "'high'", "numbers"]),
    "score in percent, on duckdb": (
        lambda: require_probability(open_table(duckdb.sql("select 55.0 as p"), name="production"), "p"),
        ["1 of 1", "55.0"],
    ),
    "time in text": (
        lambda: require_kinds(table(ts=["2026-01-01", "1 May"]), Roles(time="ts")),
        ["'ts'", "'1 May'", "times", "2026-01-31T09:00:00Z"],
    ),
    "position in lists": (lambda: require_kinds(table(r=[[1]]), Roles(position="r")), ["'r'", "lists", "numbers"]),
    "zone beside no zone": (
        lambda: require_same_clock(table("reference", t=[NAIVE]), table(t=[AWARE]), Roles(time="t")),
        ["'t'", "reference", "production", "tz_localize"],
    ),
    "zone beside no zone in one table": (
        lambda: require_same_clock(*[table(t=[NAIVE], yt=[AWARE])] * 2, Roles(time="t", outcome_time="yt")),
        ["'t'", "'yt'"],
    ),
    "join without id role": (
        lambda: join_outcomes(table(i=[1]), table("outcomes", i=[1], y=[1]), Roles(outcome="y")),
        ["'id'", "outcomes"],
    ),
    "join without id column": (
        lambda: join_outcomes(table(i=[1]), table("outcomes", id=[1], y=[1]), IDS),
        ["production", "'id'", "no column"],
    ),
    "join without outcome": (lambda: join_outcomes(table(id=[1]), table("outcomes", id=[1]), IDS), ["outcomes", "'y'"]),
    "outcome in both": (
        lambda: join_outcomes(table(id=[1], y=[0]), table("outcomes", id=[1], y=[1]), IDS),
        ["'y'", "production", "outcomes", "leave it out"],
    ),
    "ids twice in outcomes": (
        lambda: join_outcomes(table(id=[1, 2]), table("outcomes", id=[5, 5, 6, 6, 6, 7], y=[1] * 6), IDS),
        ["'id'", "outcomes", "2 ids", "5 in 2 rows", "one row for each id"],
    ),
    "ids twice in predictions": (
        lambda: join_outcomes(table(id=["a", "a"]), table("outcomes", id=["a"], y=[1]), IDS),
        ["'id'", "production", "1 id", "'a' in 2 rows"],
    ),
    "ids of different types": (
        lambda: join_outcomes(table(id=[17]), table("outcomes", id=["17"], y=[1]), IDS),
        ["'id'", "numbers", "such as 17", "text", "such as '17'", "convert"],
    ),
    "ids with a fraction": (
        lambda: join_outcomes(table(id=[17]), table("outcomes", id=[17.5], y=[1]), IDS),
        ["'id'", "17.5", "integers or as text"],
    ),
    "ids too large for decimal numbers": (
        lambda: join_outcomes(table(id=[17]), table("outcomes", id=[2.0**60], y=[1]), IDS),
        ["'id'", "integers or as text"],
    ),
    "join across zones": (
        lambda: join_outcomes(table(id=[1], t=[NAIVE]), table("outcomes", id=[1], y=[1], yt=[AWARE]), IDS),
        ["'t'", "'yt'", "time zone"],
    ),
}


@pytest.mark.parametrize("case", RULES)
def test_a_contradiction_is_one_sentence(case: str) -> None:
    make, words = RULES[case]
    with pytest.raises(InputError) as caught:
        make()
    for word in words:
        assert word in str(caught.value)
    assert is_one_sentence(str(caught.value))


def test_what_breaks_after_opening_is_one_sentence(tmp_path: Path) -> None:
    path = parquet(tmp_path / "x.parquet", a=list(range(5000)))
    opened = open_table(path, name="production")
    path.unlink()
    with pytest.raises(
        InputError, match=r"The production table \(.*x.parquet\) cannot be read: .*check the source"
    ) as caught:
        opened.rows()
    assert is_one_sentence(str(caught.value))


def test_what_breaks_in_duckdb_is_one_sentence() -> None:
    opened = open_table(duckdb.sql("select 'x' as a").select("cast(a as integer) as b"), name="production")
    with pytest.raises(InputError, match="production table") as caught:
        fetch(opened.frame, opened)
    assert is_one_sentence(str(caught.value))


def test_our_own_mistakes_are_not_called_bad_input() -> None:
    opened = table(a=[1])
    with pytest.raises(Exception, match="nonsense") as caught, collecting(opened):
        raise KeyError("nonsense")
    assert not isinstance(caught.value, InputError)


GOOD: dict[str, tuple[Any, list[Any], str]] = {
    "numbers and nothing": (pd.Series([1, None], dtype=object), [1, None], "numeric"),
    "integers and decimals": (pd.Series([1, 2.5], dtype=object), [1.0, 2.5], "numeric"),
    "text and nothing": (pd.Series(["a", None, float("nan")], dtype=object), ["a", None, None], "category"),
    "truth and nothing": (pd.Series([True, None, False], dtype=object), ["true", None, "false"], "category"),
    "truth and 0": (pd.Series([True, 0, None], dtype=object), [1, 0, None], "numeric"),
    "decimals": (pd.Series([decimal.Decimal("1.5"), None], dtype=object), [1.5, None], "numeric"),
    "dates": (pd.Series([dt.date(2026, 1, 1), None], dtype=object), [NAIVE, None], "time"),
    "nothing": (pd.Series([None, None], dtype=object), [None, None], "category"),
    "huge integers": (pd.Series([2**70, 1], dtype=object), [float(2**70), 1.0], "numeric"),
    "NA and NaT": (pd.Series([pd.NA, pd.NaT, "x"], dtype=object), [None, None, "x"], "category"),
    "numpy values": (pd.Series([np.int64(3), np.float64("nan")], dtype=object), [3, None], "numeric"),
}


@pytest.mark.parametrize("case", GOOD)
def test_an_object_column_of_one_type_is_usable(case: str) -> None:
    series, values, kind = GOOD[case]
    opened = open_table(pd.DataFrame({"a": series}), name="production")
    assert opened.kinds["a"] == kind
    assert fetch(opened.frame)["a"].to_list() == values
