"""`afterlaunch clusters`: the same answer as the library."""

from __future__ import annotations

import json
from pathlib import Path

import polars as pl
import pytest

from afterlaunch.finding import Review
from afterlaunch.questions.clusters import clusters
from tests.cli.running import Run


@pytest.fixture
def weeks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Path]:
    monkeypatch.chdir(tmp_path)
    before = pl.DataFrame({"user": range(600), "cluster": [0, 1, 2] * 200, "age": [20.0, 40.0, 60.0] * 200})
    now = before.with_columns(cluster=pl.when(pl.col("user") < 300).then(0).otherwise(pl.col("cluster")))
    runs = [
        before.select("user", "cluster").with_columns(week=pl.lit(w), replicate=pl.lit(r))
        for w in ("previous", "current")
        for r in range(4)
    ]
    frames = {"before": before, "now": now, "runs": pl.concat(runs), "both": before.with_columns(new=now["cluster"])}
    for name, frame in frames.items():
        frame.write_parquet(f"{name}.parquet")
    return {name: tmp_path / f"{name}.parquet" for name in frames}


def test_it_answers_as_the_library_does(run: Run, weeks: dict[str, Path]) -> None:
    done = run(
        "clusters", "--previous", "before.parquet", "--current", "now.parquet", "--id", "user", "--json", "out.json"
    )
    assert done.code == 1
    assert "of members are in another cluster" in done.out
    saved = Review.from_json(Path("out.json").read_text(encoding="utf-8"))
    assert saved == clusters(weeks["before"], weeks["now"], id="user")


def test_every_option_reaches_the_question(run: Run, weeks: dict[str, Path]) -> None:
    words = [
        "--label",
        "cluster,new",
        "--features",
        "age",
        "--by",
        "both",
        "--alpha",
        "0.1",
        "--margin",
        "clusters/moved=0.9",
    ]
    done = run("clusters", "--previous", "both.parquet", *words, "--json", "out.json", "--html", "out.html")
    assert done.code == 1
    found = json.loads(Path("out.json").read_text(encoding="utf-8"))
    assert found["settings"]["labels"] == ["cluster", "new"]
    assert found["settings"]["alpha"] == 0.1
    assert {f["subject"] for f in found["findings"]} == {"", "centroids"}
    assert "al-flow" in Path("out.html").read_text(encoding="utf-8")
    done = run(
        *("clusters", "--previous", "before.parquet", "--current", "before.parquet", "--role", "id=user"),
        *("--reruns", "runs.parquet", "--json", "out.json"),
    )
    assert done.code == 0
    keys = {f["id"] for f in json.loads(Path("out.json").read_text(encoding="utf-8"))["findings"]}
    assert "clusters/excess" in keys


def test_tables_may_stand_in_the_configuration(run: Run, weeks: dict[str, Path]) -> None:
    text = 'previous = "before.parquet"\ncurrent = "before.parquet"\n[roles]\nid = "user"\n'
    Path("afterlaunch.toml").write_text(text, encoding="utf-8")
    assert run("clusters").code == 0


def test_what_is_lacking_is_said_in_a_sentence(run: Run, weeks: dict[str, Path]) -> None:
    done = run("clusters", "--current", "now.parquet")
    assert done.code == 2
    assert "--previous" in done.sentence
    done = run("clusters", "--previous", "before.parquet", "--current", "now.parquet", "--label", "k")
    assert done.code == 2
    assert "'k'" in done.sentence
