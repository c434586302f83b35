"""`afterlaunch drift`: the same answer as the library, files when asked for, settings from everywhere."""

from __future__ import annotations

import json
from pathlib import Path

import polars as pl
import pytest

import afterlaunch as al
from afterlaunch.finding import Review
from tests.cli.running import Run

TABLES = ["--reference", "normal.parquet", "--production", "moved.parquet"]


def saved(path: str = "out.json") -> Review:
    return Review.from_json(Path(path).read_text(encoding="utf-8"))


def margins_of(review: Review) -> dict[str, float | None]:
    return {f.id: f.margin for f in review}


def test_it_answers_as_the_library_does(run: Run, log_files: dict[str, Path]) -> None:
    done = run("drift", *TABLES, "--json", "out.json", "--role", "score=p", "--role", "outcome=y")
    assert saved() == al.drift(log_files["normal"], log_files["moved"], roles={"score": "p", "outcome": "y"})
    assert done.code == 1
    assert "Written: out.json" in done.out
    assert "'age' moved by" in done.out


def test_files_appear_only_when_asked_for(run: Run, log_files: dict[str, Path]) -> None:
    before = set(Path().iterdir())
    run("drift", *TABLES)
    assert set(Path().iterdir()) == before
    run("drift", *TABLES, "--html", "out.html")
    assert {p.name for p in set(Path().iterdir()) - before} == {"out.html"}
    page = Path("out.html").read_text(encoding="utf-8")
    assert page.startswith("<!doctype html>") or page.startswith("<!DOCTYPE html>")
    assert "age" in page


def test_the_most_specific_margin_wins_and_a_later_word_replaces_an_earlier_one(
    run: Run, log_files: dict[str, Path]
) -> None:
    words = ["drift=0.9", "drift/psi=0.5", "drift/psi@age=0.4", "drift/psi@age=0.3"]
    run("drift", *TABLES, "--json", "out.json", *(w for word in words for w in ("--margin", word)))
    found = margins_of(saved())
    assert (found["drift/psi@age"], found["drift/psi@colour"], found["drift/ks@age"]) == (0.3, 0.5, 0.9)


def test_a_flag_wins_over_the_environment_that_over_the_file_that_over_the_default(
    run: Run, log_files: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    Path("afterlaunch.toml").write_text(
        'reference = "normal.parquet"\nproduction = "few.parquet"\nalpha = 0.2\n'
        '[roles]\nscore = "p"\nignore = ["colour"]\n'
        '[margins]\n"drift/psi" = 0.5\n"drift/ks" = 0.6\n"drift/js" = 0.7\n',
        encoding="utf-8",
    )

    def alpha_rows_margins(*words: str) -> tuple[float, int, float | None, float | None, float | None]:
        assert run("drift", "--json", "out.json", *words).code in {0, 1}
        review = saved()
        found = margins_of(review)
        return (
            review.settings["alpha"],
            review.rows["production"],
            found["drift/psi@age"],
            found["drift/ks@age"],
            found["drift/js@age"],
        )

    assert alpha_rows_margins() == (0.2, 40, 0.5, 0.6, 0.7)
    assert saved().settings["roles"]["score"] == "p"
    assert "colour" not in {f.subject for f in saved()}
    monkeypatch.setenv("AFTERLAUNCH_ALPHA", "0.1")
    monkeypatch.setenv("AFTERLAUNCH_PRODUCTION", "moved.parquet")
    monkeypatch.setenv("AFTERLAUNCH_MARGINS", '{"drift/psi": 0.4}')
    assert alpha_rows_margins() == (0.1, 20_000, 0.4, 0.6, 0.7)
    words = [
        "--alpha",
        "0.01",
        "--production",
        "alike.parquet",
        "--margin",
        "drift/psi=0.3",
        "--margin",
        "drift/ks=0.2",
    ]
    assert alpha_rows_margins(*words) == (0.01, 20_000, 0.3, 0.2, 0.7)
    assert saved().verdict is not al.Verdict.ALARM


def test_a_role_on_the_command_line_is_added_to_those_of_the_file(run: Run, log_files: dict[str, Path]) -> None:
    Path("other.toml").write_text('[roles]\nscore = "p"\noutcome = "age"\n', encoding="utf-8")
    run("drift", *TABLES, "--json", "out.json", "--config", "other.toml", "--role", "outcome=y")
    assert saved().settings["roles"] == {"score": "p", "outcome": "y"}


def test_globs_and_csv(run: Run, log_files: dict[str, Path]) -> None:
    whole = pl.read_parquet("moved.parquet")
    for i in range(2):
        whole[i * 10_000 : (i + 1) * 10_000].write_csv(f"day{i}.csv")
    assert run("drift", "--reference", "normal.parquet", "--production", "day*.csv", "--json", "out.json").code == 1
    assert saved().rows == {"reference": 20_000, "production": 20_000}


def test_names_in_a_table_cannot_steer_the_terminal(run: Run, log_files: dict[str, Path]) -> None:
    odd = "\x1b[31m[bold red]evil\n<script>"
    for name in ("normal", "moved"):
        pl.read_parquet(f"{name}.parquet").rename({"age": odd}).write_parquet(f"{name}.parquet")
    done = run("drift", *TABLES, "--html", "out.html")
    assert done.code == 1
    assert "\x1b" not in done.out
    assert "[bold red]evil" in done.out
    assert "<script>" not in Path("out.html").read_text(encoding="utf-8")


def test_the_file_is_json_of_the_published_form(run: Run, log_files: dict[str, Path]) -> None:
    import jsonschema

    run("drift", *TABLES, "--json", "out.json")
    schema = Path(__file__).parents[2] / "docs" / "review.schema.json"
    jsonschema.validate(
        json.loads(Path("out.json").read_text(encoding="utf-8")), json.loads(schema.read_text(encoding="utf-8"))
    )
