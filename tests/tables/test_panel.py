"""Panels, long and wide, on every engine."""

from __future__ import annotations

from pathlib import Path

import polars as pl
import pytest

from afterlaunch.decide import InputError
from afterlaunch.profile.compared import Run
from afterlaunch.tables import fetch, open_table
from afterlaunch.tables.panel import require_one_row_each, runs_of, spread, wide
from tests.frames import ENGINES, handed_in

LONG = pl.DataFrame(
    {
        "row": [1, 1, 2, 2, 3, 4],
        "version": ["a", "b", "a", "b", "a", "b"],
        "seed": [1, 1, 1, 1, 2, 2],
        "label": ["x", "y", "x", "x", "y", "y"],
        "p": [0.1, 0.9, 0.2, 0.3, 0.4, float("nan")],
        "y": ["x", "x", "x", "x", "y", "y"],
    }
)


@pytest.mark.parametrize("engine", ENGINES)
def test_a_long_panel_becomes_one_row_for_each_id(engine: str, tmp_path: Path) -> None:
    with handed_in(engine, tmp_path, panel=LONG) as tables:
        table = open_table(tables["panel"], name="panel")
        runs, before, _ = runs_of(table, "version", "a", "b", None)
        assert runs == (Run("a"), Run("b"))
        found = spread(
            table,
            runs,
            before,
            key="row",
            version="version",
            replicate=None,
            prediction="label",
            score="p",
            others=["y"],
        )
        rows = fetch(found.table.frame, found.table).sort("row")
        assert rows[found.predictions[0]].to_list() == ["x", "x", "y", None]
        assert rows[found.predictions[1]].to_list() == ["y", "x", None, "y"]
        assert rows[found.scores[1]].to_list() == [0.9, 0.3, None, None]
        assert rows["y"].to_list() == ["x", "x", "y", "y"]
        require_one_row_each(found, "panel")


def test_replicates_are_runs_in_the_order_of_their_numbers() -> None:
    panel = pl.DataFrame({"v": ["a"] * 3 + ["b"] * 2, "seed": [10, 9, 1, 2, 11]})
    runs, before, _ = runs_of(open_table(panel, name="panel"), "v", "a", "b", "seed")
    assert [r.replicate for r in runs] == ["1", "9", "10", "2", "11"]
    assert before == 3


@pytest.mark.parametrize("versions", [[46, 47], [46.0, 47.0], ["46", "47"], [True, False]])
def test_versions_may_be_numbers(versions: list[object]) -> None:
    panel = pl.DataFrame({"v": versions})
    words = [str(v).lower() if isinstance(v, bool) else str(v) for v in versions]
    assert runs_of(open_table(panel, name="panel"), "v", words[0], words[1], None)[1] == 1


def test_an_unknown_version_is_refused_with_those_that_are_there() -> None:
    table = open_table(LONG, name="panel")
    with pytest.raises(InputError, match=r"version column 'version' of the panel has no 'c'; it has 'a', 'b'\."):
        runs_of(table, "version", "a", "c", None)
    with pytest.raises(InputError, match="Baseline and candidate are both 'a'"):
        runs_of(table, "version", "a", "a", None)


def test_ids_that_repeat_within_a_version_are_refused() -> None:
    table = open_table(pl.concat([LONG, LONG.head(1)]), name="panel")
    runs, before, _ = runs_of(table, "version", "a", "b", None)
    found = spread(
        table, runs, before, key="row", version="version", replicate=None, prediction="label", score=None, others=[]
    )
    with pytest.raises(
        InputError, match="'row' of the panel repeats 1 id within one version, such as 1, up to 2 times"
    ):
        require_one_row_each(found, "panel")


def test_too_many_replicates_are_refused() -> None:
    panel = pl.DataFrame({"v": ["a"] * 60 + ["b"] * 60, "seed": range(120)})
    with pytest.raises(InputError, match="tells 120 runs of the two versions apart"):
        runs_of(open_table(panel, name="panel"), "v", "a", "b", "seed")


def test_a_wide_panel_names_columns() -> None:
    table = open_table(pl.DataFrame({"w1": [0.5], "w2": [0.4], "w3": ["x"], "n": [1]}), name="panel")
    assert wide(table, ["w1"], ["w2"], None).scores == ("w1", "w2")
    with pytest.raises(InputError, match="no column 'w4'"):
        wide(table, ["w1"], ["w4"], None)
    with pytest.raises(InputError, match="'w1' is named twice"):
        wide(table, ["w1"], ["w1"], None)
    with pytest.raises(InputError, match="'w1' and 'w3' hold numeric and category values"):
        wide(table, ["w1"], ["w3"], None)
