"""Settings: where they come from, which wins, what is refused; and the file that `init` writes."""

from __future__ import annotations

import io
import tomllib
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from afterlaunch.cli.init import as_toml, init
from afterlaunch.config import Config, resolve
from afterlaunch.decide import InputError
from afterlaunch.roles import Roles
from afterlaunch.roles_guess import Guess, roles_from

FILE = """
reference = "a.parquet"
production = "b/*.parquet"
alpha = 0.01
k = 5
every = "1d"
[roles]
outcome = "y"
time = "ts"
[roles.scores]
"the red" = "p red"
[margins]
"drift/psi@income" = 0.2
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_the_nearest_setting_wins(folder: Path) -> None:
    (folder / "afterlaunch.toml").write_text(FILE)
    environ = {
        "AFTERLAUNCH_ALPHA": "0.02",
        "AFTERLAUNCH_K": "7",
        "AFTERLAUNCH_REFERENCE": "env.csv",
        "AFTERLAUNCH_ROLES": '{"time": "moment"}',
        "AFTERLAUNCH_MARGINS": '{"skew": 0.5}',
        "AFTERLAUNCH_UNKNOWN": "left alone",
    }
    config = resolve({"alpha": 0.03, "k": None}, environ=environ)
    assert (config.alpha, config.k, config.every, config.threshold) == (0.03, 7, "1d", None)
    assert (config.reference, config.production, config.outcomes) == ("env.csv", "b/*.parquet", None)
    assert config.roles == Roles(outcome="y", time="moment", scores={"the red": "p red"})
    assert config.margins == {"drift/psi@income": 0.2, "skew": 0.5}


def test_without_anything_there_are_defaults(folder: Path) -> None:
    assert resolve({}, environ={}) == Config()


def test_the_file_is_found_by_name_and_by_the_environment(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (folder / "other.toml").write_text("alpha = 0.2\n")
    assert Config.load("other.toml").alpha == 0.2
    monkeypatch.setenv("AFTERLAUNCH_CONFIG", "other.toml")
    assert Config.load().alpha == 0.2


WRONG: dict[str, tuple[str, dict[str, Any], dict[str, str], list[str]]] = {
    "no toml": ("alpha = much\n", {}, {}, ["'afterlaunch.toml'", "not TOML", "line 1"]),
    "unknown key": ("alhpa = 0.1", {}, {}, ["'alhpa'", "'afterlaunch.toml'", "alpha"]),
    "alpha too large": ("alpha = 0.9", {}, {}, ["'alpha'", "afterlaunch.toml", "0.9", "between 0 and 0.5"]),
    "alpha in the environment": ("", {}, {"AFTERLAUNCH_ALPHA": "much"}, ["'alpha'", "environment", "'much'"]),
    "k on the command line": ("", {"k": 0}, {}, ["'k'", "command line", "0", "from 1 up"]),
    "every": ('every = "weekly"', {}, {}, ["'every'", "'weekly'", '"1d"']),
    "task": ('task = "guess"', {}, {}, ["'task'", "'guess'", "ranking"]),
    "threshold": ("threshold = nan", {}, {}, ["'threshold'", "nan", "0.5"]),
    "a table that is a number": ("reference = 3", {}, {}, ["'reference'", "3", "path"]),
    "roles that are no table": ('roles = "y"', {}, {}, ["'roles'", "'y'", "[roles]"]),
    "unknown role": ('[roles]\nlabell = "y"', {}, {}, ["'labell'", "the roles are"]),
    "one column with two roles": ('[roles]\nid = "a"\ntime = "a"', {}, {}, ["'a'", "two roles"]),
    "margin in words": ('[margins]\n"drift" = "wide"', {}, {}, ["'drift'", "'wide'", "positive number"]),
    "negative margin": ('[margins]\n"drift" = -1', {}, {}, ["'drift'", "-1", "positive"]),
    "roles in the environment": ("", {}, {"AFTERLAUNCH_ROLES": "y"}, ["AFTERLAUNCH_ROLES", "'y'", "JSON"]),
    "unknown flag": ("", {"colour": 1}, {}, ["'colour'", "command line"]),
}


@pytest.mark.parametrize("case", WRONG)
def test_a_wrong_setting_is_one_sentence(case: str, folder: Path) -> None:
    text, flags, environ, words = WRONG[case]
    (folder / "afterlaunch.toml").write_text(text)
    with pytest.raises(InputError) as caught:
        resolve(flags, environ=environ)
    assert "\n" not in str(caught.value)
    assert str(caught.value).endswith(".")
    for word in words:
        assert word in str(caught.value)


def test_unreadable_files_are_one_sentence(folder: Path) -> None:
    (folder / "latin.toml").write_bytes(b'reference = "caf\xe9"')
    for path, word in (("none.toml", "afterlaunch init"), (".", "cannot be read"), ("latin.toml", "UTF-8")):
        with pytest.raises(InputError, match=word):
            Config.load(path)


NAMES = st.text(st.characters(codec="utf-8"), min_size=1, max_size=12)


@given(st.lists(NAMES, min_size=4, max_size=4, unique=True), NAMES)
def test_the_written_file_reads_back_with_the_same_roles(names: list[str], path: str) -> None:
    guesses = [
        Guess(names[0], "outcome", "a reason"),
        Guess(names[1], "time", "a reason"),
        Guess(names[2], "ignore", "a reason"),
        Guess(names[3], "feature", "a reason"),
    ]
    data = tomllib.loads(as_toml({"reference": path}, guesses))
    assert data["reference"] == path
    assert Roles.from_mapping(data["roles"]) == roles_from(guesses)


def run_init(folder: Path, *tables: str, force: bool = False) -> str:
    out = io.StringIO()
    init(list(tables), force=force, console=Console(file=out, width=200))
    return out.getvalue()


def test_init_writes_what_it_shows(folder: Path) -> None:
    frame = pl.DataFrame({"id": [1, 2], 'it\'s "odd"\n[b]': [0.5, 1.5], "y": [0, 1], "p": [0.2, 0.8]})
    frame.drop("y").write_parquet("log.parquet")
    frame.select("id", "y").write_csv("outcomes.csv")
    shown = run_init(folder, "production=log.parquet", "outcomes=outcomes.csv")
    assert "named like a score" in shown
    assert "[b]" in shown
    config = Config.load()
    assert (config.reference, config.production, config.outcomes) == (None, "log.parquet", "outcomes.csv")
    assert config.roles == Roles(id="id", score="p", outcome="y")
    assert [p.name for p in folder.iterdir() if "tmp" in p.name] == []


def test_init_takes_tables_in_order(folder: Path) -> None:
    for name in ("a", "b", "c=d"):
        pl.DataFrame({name: [1]}).write_csv(f"{name}.csv")
    run_init(folder, "a.csv", "b.csv", "c=d.csv")
    config = Config.load()
    assert (config.reference, config.production, config.outcomes) == ("a.csv", "b.csv", "c=d.csv")


def test_init_writes_over_nothing_without_force(folder: Path) -> None:
    pl.DataFrame({"y": [0, 1]}).write_csv("a.csv")
    (folder / "afterlaunch.toml").write_text("# mine")
    with pytest.raises(InputError, match=r"'afterlaunch.toml' is there already; give --force"):
        run_init(folder, "a.csv")
    assert (folder / "afterlaunch.toml").read_text() == "# mine"
    run_init(folder, "a.csv", force=True)
    assert Config.load().roles.outcome == "y"


@pytest.mark.parametrize(
    ("tables", "word"),
    [
        ([], "No table"),
        (["a.csv"] * 4, "one table too many"),
        (["log=a.csv", "log=a.csv"], "given twice"),
        (["none.csv"], "no file 'none.csv'"),
    ],
)
def test_init_refuses_in_one_sentence(tables: list[str], word: str, folder: Path) -> None:
    pl.DataFrame({"y": [0, 1]}).write_csv("a.csv")
    with pytest.raises(InputError, match=word):
        run_init(folder, *tables)
    assert not (folder / "afterlaunch.toml").exists()


def test_init_names_a_folder_that_is_not_there(folder: Path) -> None:
    pl.DataFrame({"y": [0, 1]}).write_csv("a.csv")
    with pytest.raises(InputError, match="cannot be written"):
        init(["a.csv"], path="no/such/afterlaunch.toml")
