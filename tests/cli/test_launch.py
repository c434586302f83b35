"""`afterlaunch launch`: outcomes, the model, and options of its own."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import polars as pl
import pytest

import afterlaunch as al
from afterlaunch.finding import Review
from tests.cli.running import Run
from tests.frames import ROLES, launched, model

SCORING = """
import numpy as np

def predict(rows):
    def column(name, usual):
        values = np.asarray(rows[name].to_numpy(), dtype=float)
        return np.where(np.isnan(values), usual, values)
    z = 0.05 * (column("age", 40) - 40) + 0.8 * column("talk", 0) - 0.15 * (column("place", 3) - 3)
    return 1 / (1 + np.exp(-z))

constant = 3
"""


@pytest.fixture
def story(run: Run) -> list[str]:
    """Words for the story of a launch, whose files are in the working folder."""
    before, now = launched(600)
    before.write_parquet("offline.parquet")
    now.write_parquet("log.parquet")
    roles = [w for role, column in ROLES.items() for w in ("--role", f"{role}={column}")]
    return ["launch", "--reference", "offline.parquet", "--production", "log.parquet", *roles]


def saved() -> Review:
    return Review.from_json(Path("out.json").read_text(encoding="utf-8"))


def test_it_answers_as_the_library_does(run: Run, story: list[str]) -> None:
    done = run(*story, "--json", "out.json")
    assert saved() == al.launch(Path("offline.parquet"), Path("log.parquet"), roles=ROLES)
    assert done.code == 1
    assert "talk" in done.out


def test_the_model_is_a_function_of_the_working_folder(run: Run, story: list[str]) -> None:
    Path("scoring_of_launch.py").write_text(SCORING, encoding="utf-8")
    assert run(*story, "--json", "out.json", "--predict", "scoring_of_launch:predict").code == 1
    assert saved() == al.launch(Path("offline.parquet"), Path("log.parquet"), roles=ROLES, predict=model)
    assert "rescore/drop@talk" in {f.id for f in saved()}
    assert run(*story, "--predict", "scoring_of_launch:constant").code == 2


def test_outcomes_come_from_a_table_of_their_own(run: Run, story: list[str]) -> None:
    log = pl.read_parquet("log.parquet")
    log.select("request", "y")[:500].write_parquet("outcomes.parquet")
    log.drop("y").write_parquet("log.parquet")
    run(*story, "--json", "out.json", "--outcomes", "outcomes.parquet")
    assert saved().rows["with_outcome"] == 500
    assert {f.n for f in saved() if f.id == "metric/auc"} == {500}


def test_an_outcome_table_with_an_id_twice_is_refused(run: Run, story: list[str]) -> None:
    log = pl.read_parquet("log.parquet")
    pl.concat([log, log]).select("request", "y").write_parquet("outcomes.parquet")
    log.drop("y").write_parquet("log.parquet")
    done = run(*story, "--outcomes", "outcomes.parquet", "--json", "out.json")
    assert done.code == 2
    assert "'request'" in done.sentence
    assert not Path("out.json").exists()


@pytest.mark.parametrize("words", [["--role", "positive=1"], ["--role", "positive=0"], []])
def test_the_positive_outcome_may_be_given_as_text(run: Run, story: list[str], words: list[str]) -> None:
    run(*story, *words, "--json", "out.json")
    auc = next(f for f in saved() if f.id == "metric/auc")
    assert auc.effect is not None
    assert (auc.effect.value < 0) == (words != ["--role", "positive=0"])


def test_a_positive_outcome_that_never_happens_is_refused(run: Run, story: list[str]) -> None:
    done = run(*story, "--role", "positive=yes")
    assert done.code == 2
    assert "'yes'" in done.sentence


def test_the_threshold_moves_accuracy_and_not_auc(run: Run, story: list[str]) -> None:
    found: list[dict[str, Any]] = []
    for threshold in ("0.3", "0.7"):
        run(*story, "--threshold", threshold, "--json", "out.json")
        found.append({f.id: f.effect for f in saved() if f.check == "metric"})
    assert found[0]["metric/auc"] == found[1]["metric/auc"]
    assert found[0]["metric/accuracy"] != found[1]["metric/accuracy"]


def test_what_serving_fills_in_reaches_the_model(run: Run, story: list[str]) -> None:
    Path("scoring_of_launch.py").write_text(SCORING, encoding="utf-8")
    drops = []
    for words in ([], ["--serving", "talk=2"]):
        run(*story, "--json", "out.json", "--predict", "scoring_of_launch:predict", *words)
        drops.append(next(f.sentence for f in saved() if f.id == "rescore/drop@talk"))
    assert drops[0] != drops[1]
