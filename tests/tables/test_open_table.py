"""The same rows mean the same however they come, and what the user handed in stays as it was."""

from __future__ import annotations

import datetime as dt
import http.server
import re
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import duckdb
import narwhals as nw
import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from afterlaunch.decide import InputError
from afterlaunch.tables import Table, align_kinds, fetch, fetch_all, free_name, missing, open_table

MOMENT = dt.datetime(2026, 1, 31, 9, 30, 0, 250_000, tzinfo=dt.UTC).replace(tzinfo=None)

FRAME = pl.DataFrame(
    {
        "int": pl.Series([1, None, -3], dtype=pl.Int64),
        "small": pl.Series([1, 2, 3], dtype=pl.UInt8),
        "big": pl.Series([2**63, 1, None], dtype=pl.UInt64),
        "float": pl.Series([1.5, float("nan"), float("inf")], dtype=pl.Float64),
        "short": pl.Series([0.1, None, -2.0], dtype=pl.Float32),
        "text": pl.Series(["a", None, "é"], dtype=pl.String),
        "class": pl.Series(["x", "y", None], dtype=pl.Categorical),
        "enum": pl.Series(["lo", "hi", "lo"], dtype=pl.Enum(["lo", "hi"])),
        "flag": pl.Series([True, None, False], dtype=pl.Boolean),
        "price": pl.Series(["1.25", None, "3.50"]).cast(pl.Decimal(10, 2)),
        "moment": pl.Series([MOMENT, None, MOMENT], dtype=pl.Datetime("us")),
        "zoned": pl.Series([MOMENT, None, MOMENT], dtype=pl.Datetime("us", "UTC")).dt.convert_time_zone("Asia/Tokyo"),
        "day": pl.Series([dt.date(2026, 1, 31), None, dt.date(2026, 2, 1)], dtype=pl.Date),
        "took": pl.Series([dt.timedelta(seconds=1.5), None, dt.timedelta(days=2)], dtype=pl.Duration("us")),
        "iso": pl.Series(["2026-01-31 09:30:00", None, "2026-01-31T09:30:00.250"]),
        "iso_zone": pl.Series(["2026-01-31T09:30:00Z", None, "2026-01-31 10:30:00+01:00"]),
        "almost": pl.Series(["2026-01-31", "2026-06-31", None]),
        "list": pl.Series([[1, 2], None, []], dtype=pl.List(pl.Int64)),
        "nothing": pl.Series([None, None, None], dtype=pl.Null),
    }
)

AWARE = dt.datetime(2026, 1, 31, 9, 30, tzinfo=dt.UTC)

EXPECTED: dict[str, tuple[str, list[Any]]] = {
    "int": ("numeric", [1, None, -3]),
    "small": ("numeric", [1, 2, 3]),
    "big": ("numeric", [2**63, 1, None]),
    "float": ("numeric", [1.5, None, float("inf")]),
    "short": ("numeric", [float(np.float32(0.1)), None, -2.0]),
    "text": ("category", ["a", None, "é"]),
    "class": ("category", ["x", "y", None]),
    "enum": ("category", ["lo", "hi", "lo"]),
    "flag": ("category", ["true", None, "false"]),
    "price": ("numeric", [1.25, None, 3.5]),
    "moment": ("time", [MOMENT, None, MOMENT]),
    "zoned": ("time", [MOMENT.replace(tzinfo=dt.UTC), None, MOMENT.replace(tzinfo=dt.UTC)]),
    "day": ("time", [dt.datetime(2026, 1, 31), None, dt.datetime(2026, 2, 1)]),  # noqa: DTZ001
    "took": ("numeric", [1.5, None, 172800.0]),
    "iso": ("time", [MOMENT.replace(microsecond=0), None, MOMENT]),
    "iso_zone": ("time", [AWARE, None, AWARE]),
    "almost": ("category", ["2026-01-31", "2026-06-31", None]),
    "list": ("other", []),
    "nothing": ("category", [None, None, None]),
}


def pandas_of(frame: pl.DataFrame) -> pd.DataFrame:
    """What a pandas user has: nullable integers, categoricals, object text, numpy times."""
    out = frame.drop("list", "big", "price", "enum", "zoned", "took", "nothing").to_pandas()
    out["int"] = pd.array([1, None, -3], dtype="Int64")
    out["big"] = pd.array([2**63, 1, None], dtype="UInt64")
    out["text"] = pd.Series(["a", None, "é"], dtype=object)
    out["flag"] = pd.Series([True, None, False], dtype="boolean")
    out["price"] = pd.Series(frame["price"].to_list(), dtype=object)
    out["enum"] = pd.Categorical(["lo", "hi", "lo"], ordered=True)
    out["zoned"] = pd.to_datetime(frame["zoned"].to_list(), utc=True).tz_convert("Asia/Tokyo")
    out["took"] = pd.to_timedelta([1.5, None, 172800.0], unit="s")
    out["list"] = pd.Series([[1, 2], None, []], dtype=object)
    out["nothing"] = pd.Series([None, None, None], dtype=object)
    return out[frame.columns]


def relation_of(frame: pl.DataFrame) -> Any:
    con = duckdb.connect()
    con.execute("set timezone = 'America/New_York'")
    return con.from_arrow(frame.to_arrow())


def parquet_of(frame: pl.DataFrame, folder: Path) -> Path:
    frame.write_parquet(folder / "x.parquet")
    return folder / "x.parquet"


def arrow_of(frame: pl.DataFrame, folder: Path) -> Path:
    frame.write_ipc(folder / "x.arrow")
    return folder / "x.arrow"


def stream_of(frame: pl.DataFrame, folder: Path) -> Path:
    frame.write_ipc_stream(folder / "s.arrow")
    return folder / "s.arrow"


SOURCES: dict[str, Callable[[pl.DataFrame, Path], Any]] = {
    "parquet": parquet_of,
    "arrow file": arrow_of,
    "arrow stream": stream_of,
    "polars": lambda f, _: f,
    "polars lazy": lambda f, _: f.lazy(),
    "narwhals": lambda f, _: nw.from_native(f),
    "pandas": lambda f, _: pandas_of(f),
    "pandas with arrow types": lambda f, _: f.to_pandas(use_pyarrow_extension_array=True),
    "pyarrow": lambda f, _: f.to_arrow(),
    "record batch": lambda f, _: f.to_arrow().combine_chunks().to_batches()[0],
    "duckdb": lambda f, _: relation_of(f),
    "narwhals over duckdb": lambda f, _: nw.from_native(relation_of(f)),
}


@pytest.mark.parametrize("source", SOURCES)
def test_kinds_and_values_are_the_same_from_every_source(source: str, tmp_path: Path) -> None:
    table = open_table(SOURCES[source](FRAME, tmp_path), name="reference")
    assert table.rows() == 3
    assert table.columns == tuple(FRAME.columns)
    assert dict(table.kinds) == {c: kind for c, (kind, _) in EXPECTED.items()}
    values = fetch(table.frame.select([c for c, k in table.kinds.items() if k != "other"]), table)
    for column in values.columns:
        assert values[column].to_list() == EXPECTED[column][1], column
    counts = fetch(table.frame.select(missing(nw.col("list"), "other").cast(nw.Int64).sum(), nw.len().alias("n")))
    assert counts.row(0) == (1, 3)


TEXTS: dict[str, tuple[str, str]] = {
    "csv": ("x.csv", "n,f,c,b,t\n1,1.5,a,true,2026-01-31T09:30:00\n2,,,false,\n3,inf,b,,2026-01-31T09:30:00\n"),
    "semicolons": (
        "x.csv",
        "n;f;c;b;t\r\n1;1.5;a;True;2026-01-31T09:30:00\r\n2;;;False;\r\n3;inf;b;;2026-01-31T09:30:00",
    ),
    "tabs": (
        "x.tsv",
        "n\tf\tc\tb\tt\n1\t1.5\ta\ttrue\t2026-01-31 09:30\n2\t\t\tfalse\t\n3\tinf\tb\t\t2026-01-31 09:30\n",
    ),
    "byte order mark": (
        "x.csv",
        "\ufeffn,f,c,b,t\n1,1.5,a,true,2026-01-31 09:30:00\n2,,,false,\n3,inf,b,,2026-01-31 09:30:00\n\n\n",
    ),
    "words for missing": (
        "x.csv",
        "n,f,c,b,t\n1,1.5,a,true,2026-01-31 09:30:00\n2,NA,,false,\n3,inf,b,,2026-01-31 09:30:00\n",
    ),
    "ndjson": (
        "x.jsonl",
        '{"n":1,"f":1.5,"c":"a","b":true,"t":"2026-01-31T09:30:00"}\n\n{"n":2,"b":false,"t":null}\n'
        '{"n":3,"f":1e999,"c":"b","t":"2026-01-31 09:30:00.000"}\n',
    ),
}


@pytest.mark.parametrize("case", TEXTS)
def test_text_files_have_the_same_kinds_and_values(case: str, tmp_path: Path) -> None:
    name, text = TEXTS[case]
    (tmp_path / name).write_text(text, newline="", encoding="utf-8")
    if case == "ndjson":
        (tmp_path / name).write_text(text.replace("1e999", "null"), newline="", encoding="utf-8")
    table = open_table(tmp_path / name, name="reference")
    moment = MOMENT.replace(microsecond=0)
    rows = fetch(table.frame).rows()
    infinite = None if case == "ndjson" else float("inf")
    assert rows == [(1, 1.5, "a", "true", moment), (2, None, None, "false", None), (3, infinite, "b", None, moment)]
    assert list(table.kinds.values()) == ["numeric", "numeric", "category", "category", "time"]


def test_whole_numbers_become_decimal_where_a_late_row_has_a_fraction(tmp_path: Path) -> None:
    (tmp_path / "x.csv").write_text("n\n" + "1\n" * 12_000 + "2.5\n")
    table = open_table(tmp_path / "x.csv", name="reference")
    assert table.kinds["n"] == "numeric"
    assert fetch(table.frame.select(nw.col("n").max())).item() == 2.5


def test_files_of_a_glob_share_types(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("n,m\n1,\n")
    (tmp_path / "b.csv").write_text("n,m\n2.5,7\n")
    table = open_table(str(tmp_path / "*.csv"), name="reference")
    assert fetch(table.frame).rows() == [(1.0, None), (2.5, 7)]


@pytest.mark.parametrize("read", [10, 10_000])
def test_empty_lines_at_the_end_are_no_rows(read: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("afterlaunch.tables.delimited.READ", read)
    (tmp_path / "a.csv").write_text("n,m\n1,\n2,3\n\n\n", newline="")
    (tmp_path / "b.csv").write_text("n,m\r\n3,4\r\n\r\n", newline="")
    (tmp_path / "one.csv").write_text("n\n1\n2\n\n", newline="")
    assert fetch(open_table(str(tmp_path / "[ab].csv"), name="r").frame).rows() == [(1, None), (2, 3), (3, 4)]
    assert fetch(open_table(tmp_path / "one.csv", name="r").frame).rows() == [(1,), (2,)]


def test_large_text_is_streamed_with_the_same_result(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("afterlaunch.tables.delimited.READ", 10)
    monkeypatch.setattr("afterlaunch.tables.json_lines.READ", 10)
    (tmp_path / "x.csv").write_text("n,c\n1,a\nNA,b\n")
    (tmp_path / "x.jsonl").write_text('{"n":1,"c":"a"}\n{"n":null,"c":"b"}\n')
    for name in ("x.csv", "x.jsonl"):
        assert fetch(open_table(tmp_path / name, name="reference").frame).rows() == [(1, "a"), (None, "b")]


def test_a_folder_of_parquet_reads_days_from_its_folders(tmp_path: Path) -> None:
    for day in ("2026-01-01", "2026-01-02"):
        (tmp_path / f"day={day}").mkdir()
        pl.DataFrame({"n": [1]}).write_parquet(tmp_path / f"day={day}" / "part.parquet")
    (tmp_path / "_SUCCESS").write_text("")
    (tmp_path / ".hidden.parquet").write_text("")
    table = open_table(tmp_path, name="production")
    assert dict(table.kinds) == {"n": "numeric", "day": "time"}
    assert table.rows() == 2


def test_a_file_named_like_a_pattern_is_that_file(tmp_path: Path) -> None:
    pl.DataFrame({"n": [1]}).write_parquet(tmp_path / "log[1].parquet")
    assert open_table(str(tmp_path / "log[1].parquet"), name="production").rows() == 1


@pytest.fixture
def site(tmp_path: Path) -> Iterator[str]:
    class Quiet(http.server.SimpleHTTPRequestHandler):
        """Answers requests for a range of bytes, as real servers and object stores do."""

        def log_message(self, *_: Any) -> None: ...

        def do_GET(self) -> None:
            data = Path(self.translate_path(self.path)).read_bytes()
            span = re.fullmatch(r"bytes=(\d*)-(\d*)", self.headers.get("Range", "bytes=0-"))
            assert span is not None
            first = int(span[1]) if span[1] else max(0, len(data) - int(span[2]))
            last = min(int(span[2]), len(data) - 1) if span[1] and span[2] else len(data) - 1
            self.send_response(206)
            self.send_header("Content-Range", f"bytes {first}-{last}/{len(data)}")
            self.send_header("Content-Length", str(last + 1 - first))
            self.end_headers()
            self.wfile.write(data[first : last + 1])

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(tmp_path)))
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_address[1]}"
    server.shutdown()
    thread.join()
    server.server_close()


def test_a_url_is_read(tmp_path: Path, site: str) -> None:
    frame = pl.DataFrame({"n": [1, 2]})
    frame.write_csv(tmp_path / "x.csv")
    frame.write_parquet(tmp_path / "x.parquet")
    for name in ("x.csv", "x.parquet"):
        assert open_table(f"{site}/{name}", name="production").rows() == 2
    (tmp_path / "y.parquet").write_text("not parquet at all")
    with pytest.raises(InputError, match=r"URL .*y.parquet' cannot be read as Parquet \(.*\); check the address"):
        open_table(f"{site}/y.parquet", name="production")


ODD = [
    'a "b"',
    "a'b",
    "a b",
    "; drop table x; --",
    "<b>é</b>",
    "🦊",
    "_a",
    "a.b",
    "select",
    "row",
    "",
    " ",
    "\\",
    "A",
    "a",
]


@pytest.mark.parametrize("engine", ["polars", "duckdb"])
def test_odd_column_names_are_data(engine: str) -> None:
    names = [n for n in ODD if engine == "polars" or n not in {"", "A"}]
    frame = pl.DataFrame({n: [i, i + 1] for i, n in enumerate(names)})
    table = open_table(frame if engine == "polars" else relation_of(frame), name="reference")
    assert table.columns == tuple(names)
    assert fetch(table.frame.select(names)).row(1) == tuple(i + 1 for i in range(len(names)))


@settings(max_examples=40, deadline=None)
@given(
    st.lists(
        st.text(st.characters(codec="utf-8", exclude_characters="\0"), min_size=1, max_size=8),
        min_size=1,
        max_size=5,
        unique=True,
    )
)
def test_any_column_name_is_data(names: list[str]) -> None:
    assume(not any(n == "*" or (n[0] == "^" and n[-1] == "$") for n in names))
    frame = pl.DataFrame({n: [float(i), None] for i, n in enumerate(names)})
    for source in (frame, frame.to_pandas(), frame.to_arrow()):
        table = open_table(source, name="reference")
        assert table.columns == tuple(names)
        assert fetch(table.frame).row(0) == tuple(map(float, range(len(names))))
    assert free_name(names, names[0]) not in names


@pytest.mark.parametrize("rows", [0, 1])
@pytest.mark.parametrize("source", ["parquet", "polars", "pandas", "pyarrow", "duckdb"])
def test_no_row_and_one_row_are_usable(rows: int, source: str, tmp_path: Path) -> None:
    table = open_table(
        SOURCES[source](FRAME.head(rows), tmp_path) if source != "pandas" else pandas_of(FRAME).head(rows), name="r"
    )
    assert table.rows() == rows
    assert table.columns == tuple(FRAME.columns)


def test_a_header_alone_is_a_table_without_rows(tmp_path: Path) -> None:
    (tmp_path / "x.csv").write_text("a,b\n")
    table = open_table(tmp_path / "x.csv", name="reference")
    assert (table.rows(), table.columns) == (0, ("a", "b"))


def test_5000_columns_open_quickly() -> None:
    frame = pl.DataFrame({f"c{i}": [1.0, float(i)] for i in range(5000)})
    table = open_table(frame, name="reference")
    assert len(fetch(table.frame.select(nw.all().null_count())).columns) == 5000


def test_pandas_in_odd_shapes() -> None:
    frame = pd.DataFrame(
        {
            0: pd.Categorical([1, None, 2]),
            ("price", "mean"): pd.arrays.SparseArray([0.0, 0.0, 1.5]),
            "period": pd.period_range("2026-01", periods=3, freq="M").astype(str),
            "bool": [True, False, True],
            "seconds": np.array(["2026-01-31", "NaT", "2026-02-01"], dtype="datetime64[s]"),
        },
        index=pd.Index(["x", "y", "z"], name="key"),
    )
    frame.columns = pd.Index([0, ("price", "mean"), "period", "bool", "seconds"], tupleize_cols=False)
    table = open_table(frame, name="reference")
    assert table.columns == ("0", "price mean", "period", "bool", "seconds")
    assert list(table.kinds.values()) == ["category", "numeric", "category", "category", "time"]
    assert fetch(table.frame).row(1) == (None, 0.0, "2026-02", "false", None)


def snapshot(source: Any) -> Any:
    if isinstance(source, (pd.DataFrame, pl.DataFrame)):
        return source.copy(deep=True) if isinstance(source, pd.DataFrame) else source.clone()
    return str(source.to_pydict() if isinstance(source, pa.Table) else source.fetchall())


@pytest.mark.parametrize("source", ["polars", "pandas", "pyarrow", "duckdb"])
def test_the_users_object_stays_as_it_was(source: str, tmp_path: Path) -> None:
    frame = FRAME.drop("took", "nothing", "enum", "class", "list")
    mine = pandas_of(FRAME) if source == "pandas" else SOURCES[source](frame, tmp_path)
    before = snapshot(mine)
    table = open_table(mine, name="reference")
    fetch_all([table.frame.with_columns(nw.col("int") + 1), table.frame.select(nw.len())], table)
    if source == "pandas":
        pd.testing.assert_frame_equal(mine, before)
    elif source == "polars":
        assert mine.equals(before)
        assert mine.schema == frame.schema
    else:
        assert snapshot(mine) == before


def test_an_opened_table_is_returned_as_it_is() -> None:
    table = open_table(FRAME, name="reference")
    assert open_table(table, name="other") is table


WITHOUT_PYARROW = """
import sys
sys.modules["pyarrow"] = None
import duckdb, pandas as pd, polars as pl
from afterlaunch.roles import Roles
from afterlaunch.tables import fetch, join_outcomes, open_table, sample
frame = pd.DataFrame({
    "id": [1, 2, 3], "x": [1.5, None, 2.0], "c": ["a", None, "b"],
    "o": pd.Series(["a", None, float("nan")], dtype=object),
    "k": pd.Categorical(["u", None, "u"]), "n": pd.array([1, None, 3], dtype="Int64"),
    "b": pd.array([True, None, False], dtype="boolean"),
    "t": pd.to_datetime(["2026-01-31", None, "2026-02-01"]),
    "z": pd.to_datetime(["2026-01-31", None, "2026-02-01"], utc=True),
})
table = open_table(frame, name="production")
print(list(table.kinds.values()))
print(fetch(table.frame).drop("t", "z").rows())
relation = duckdb.sql("select * from (values (1, 'yes'), (3, 'no')) t(id, y)")
other = open_table(duckdb.sql("select 1 as id, 0 as w"), name="outcomes")
for log, outcomes in ((table, open_table(relation, name="outcomes")), (open_table(relation, name="log"), other)):
    joined, info = join_outcomes(log, outcomes, Roles(id="id", outcome="y" if log is table else "w"))
    print(log.engine, info.rows, info.matched, sample(joined, ["id"], 1, 0).height)
local = open_table(pl.DataFrame({"id": [1], "w": [0]}), name="outcomes")
join_outcomes(open_table(relation, name="log"), local, Roles(id="id", outcome="w"))
"""


def test_pandas_and_duckdb_need_no_pyarrow() -> None:
    done = subprocess.run([sys.executable, "-c", WITHOUT_PYARROW], capture_output=True, text=True, check=False)
    assert done.stderr.splitlines()[-1] == (
        "afterlaunch.decide.InputError: Joining a table to one in DuckDB needs pyarrow; "
        "run: pip install 'afterlaunch[arrow]'."
    )
    kinds, rows, joined, inside = done.stdout.splitlines()
    assert kinds == str(["numeric", "numeric", *["category"] * 3, "numeric", "category", "time", "time"])
    assert rows == str(
        [
            (1, 1.5, "a", "a", "u", 1, "true"),
            (2, None, None, None, None, None, None),
            (3, 2.0, "b", None, "u", 3, "false"),
        ]
    )
    assert (joined, inside) == ("polars 3 2 1", "duckdb 2 1 1")


def test_a_column_without_values_takes_the_kind_of_the_other_table() -> None:
    full = open_table(pl.DataFrame({"x": [1.5], "t": [MOMENT], "same": ["a"]}), name="reference")
    empty = open_table(pl.DataFrame({"x": [None], "t": ["never"], "same": ["b"]}), name="production")
    a, b = align_kinds(full, empty)
    assert a is full
    assert (b.kinds["x"], b.kinds["t"], b.kinds["same"]) == ("numeric", "category", "category")
    assert fetch(b.frame).rows() == [(None, "never", "b")]
    c, d = align_kinds(empty, full)
    assert c.kinds["x"] == "numeric"
    assert d is full


def test_aggregates_have_the_same_types_on_every_engine() -> None:
    frame = pl.DataFrame({"a": [1, 2, None], "b": [0.5, 1.5, 2.5]})
    tables: list[Table] = [open_table(s, name="r") for s in (frame, relation_of(frame))]
    aggregates = [nw.col("a").sum(), nw.col("b").mean(), nw.len().alias("n"), nw.col("a").count().alias("k")]
    one, two = (fetch(t.frame.select(aggregates)) for t in tables)
    assert one.row(0) == two.row(0) == (3, 1.5, 3, 2)
    assert [t.is_integer() for t in one.dtypes] == [t.is_integer() for t in two.dtypes]
