"""Samples are bounded, uniform, in order, and the same from every engine."""

from __future__ import annotations

from pathlib import Path

import duckdb
import numpy as np
import polars as pl
import pytest

from afterlaunch.tables import fetch, open_table, sample, with_row_number

ROWS = 2000
FRAME = pl.DataFrame(
    {"n": range(ROWS), "x": np.linspace(0, 1, ROWS), "c": [f"v{i % 7}" for i in range(ROWS)]},
    schema_overrides={"n": pl.Int64},
)


def sources(folder: Path) -> list[object]:
    FRAME.write_parquet(folder / "x.parquet", row_group_size=300)
    FRAME.write_csv(folder / "x.csv")
    return [
        FRAME,
        FRAME.lazy(),
        FRAME.to_pandas(),
        FRAME.to_arrow(),
        folder / "x.parquet",
        folder / "x.csv",
        duckdb.connect().from_arrow(FRAME.to_arrow()),
        duckdb.connect().from_parquet(str(folder / "x.parquet")),
    ]


@pytest.mark.parametrize("most", [1, 100, ROWS - 1, ROWS, ROWS + 1])
def test_the_same_rows_from_every_source(most: int, tmp_path: Path) -> None:
    drawn = [sample(open_table(s, name="r"), ["c", "n"], most, seed=3) for s in sources(tmp_path)]
    assert drawn[0].columns == ["c", "n"]
    assert drawn[0].height == min(most, ROWS)
    assert drawn[0]["n"].is_sorted()
    assert drawn[0]["n"].n_unique() == drawn[0].height
    for other in drawn[1:]:
        assert other.equals(drawn[0])
        assert other.schema == drawn[0].schema


def test_the_same_rows_when_columns_are_drawn_in_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    table = open_table(FRAME, name="r")
    whole = sample(table, FRAME.columns, 50, seed=1)
    monkeypatch.setattr("afterlaunch.tables.sampling.CELLS", 1)
    assert sample(table, FRAME.columns, 50, seed=1).equals(whole)


def test_the_seed_decides() -> None:
    table = open_table(FRAME, name="r")
    one, again, other = (sample(table, ["n"], 50, seed=s) for s in (1, 1, 2))
    assert one.equals(again)
    assert not one.equals(other)


def test_every_row_is_as_likely_as_any_other() -> None:
    table = open_table(FRAME.head(20), name="r")
    counts = np.zeros(20)
    for seed in range(1000):
        counts[sample(table, ["n"], 5, seed=seed)["n"].to_numpy()] += 1
    # Each count is binomial(1000, 1/4): sd 13.7.
    assert np.abs(counts - 250).max() < 4.5 * 13.7


def test_nothing_wanted_nothing_drawn() -> None:
    table = open_table(FRAME, name="r")
    assert sample(table, ["n"], 0, seed=1).shape == (0, 1)
    assert sample(table, [], 10, seed=1).shape == (0, 0)
    assert sample(table, ["n", "n"], 3, seed=1).columns == ["n"]


def test_row_numbers_follow_the_table(tmp_path: Path) -> None:
    for source in sources(tmp_path):
        numbered, name = with_row_number(open_table(source, name="r"))
        found = fetch(numbered.frame.select(name, "n")).sort(name)
        assert found[name].to_list() == found["n"].to_list() == list(range(ROWS))
        assert numbered.kinds[name] == "numeric"


def test_the_row_number_takes_no_other_columns_name() -> None:
    numbered, name = with_row_number(open_table(pl.DataFrame({"afterlaunch_row": [7]}), name="r"))
    assert fetch(numbered.frame).to_dict(as_series=False) == {name: [0], "afterlaunch_row": [7]}
