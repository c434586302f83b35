"""Every command line of the pages is one that the program takes, and every command and option is documented."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from typing import Any

import pytest
import typer

from afterlaunch.cli import app
from afterlaunch.cli.commands import NAMES
from afterlaunch.cli.options import FailOn
from tests.docs.pages import DOCS, blocks, code, name, prose, rows, section

ROOT_COMMAND: Any = typer.main.get_command(app)
COMMANDS: dict[str, Any] = {name: ROOT_COMMAND.get_command(None, name) for name in NAMES}


def command_lines() -> Iterator[tuple[str, str]]:
    for page in DOCS:
        for block in blocks(page):
            if block.language in {"sh", "bash", "console"}:
                text = block.text.replace("\\\n", " ")
                for line in text.splitlines():
                    command = line.removeprefix("$ ")
                    if command.startswith("afterlaunch"):
                        yield name(page), command


LINES = list(command_lines())


def parse(words: list[str]) -> None:
    """Let the program read its arguments, without doing anything."""
    if words[:1] in (["--help"], ["--version"]):
        assert len(words) == 1
        return
    command = COMMANDS[words[0]]
    command.make_context(words[0], words[1:])


@pytest.mark.parametrize(("page", "line"), LINES, ids=[f"{page}: {line[:60]}" for page, line in LINES])
def test_command_lines_parse(page: str, line: str) -> None:
    words = shlex.split(line, comments=True)
    assert words[0] == "afterlaunch"
    parse(words[1:])


def test_a_wrong_option_would_be_noticed() -> None:
    with pytest.raises(Exception, match="--nonsense"):
        parse(["launch", "--nonsense"])


def test_every_command_is_shown_in_use() -> None:
    assert {shlex.split(line)[1] for _, line in LINES} >= set(COMMANDS)


def test_every_command_has_a_section_and_a_line() -> None:
    text = prose("docs/cli.md")
    headings = set(re.findall(r"^## afterlaunch ([\w-]+)$", text, re.MULTILINE))
    listed = {code(row["command"])[0] for row in rows(text) if "command" in row}
    assert headings == listed == set(COMMANDS)


@pytest.mark.parametrize("command", sorted(COMMANDS))
def test_every_option_is_documented(command: str) -> None:
    documented = {
        words.split()[0]
        for row in rows(section("docs/cli.md", f"afterlaunch {command}"))
        for words in code(next(iter(row.values())))
    }
    given = {
        p.opts[0] if p.param_type_name == "option" else p.metavar for p in COMMANDS[command].params if p.name != "help"
    }
    assert documented == given


def test_options_of_the_root_are_documented() -> None:
    for parameter in ROOT_COMMAND.params:
        assert f"`{parameter.opts[0]}`" in prose("docs/cli.md")


def test_options_named_in_text_exist() -> None:
    known = {o for c in [ROOT_COMMAND, *COMMANDS.values()] for p in c.params for o in p.opts} | {"--help"}
    named = {
        (name(page), option)
        for page in DOCS
        for words in code(prose(page))
        if not words.startswith(("python", "make", "pip"))
        for option in re.findall(r"(?<!\S)--[a-z][a-z-]*", words)
    }
    assert len(named) > 20
    assert sorted(n for n in named if n[1] not in known) == []


def test_commands_named_in_text_exist() -> None:
    named = {words.split()[1] for page in DOCS for words in code(prose(page)) if re.match(r"afterlaunch [a-z]", words)}
    assert named <= set(COMMANDS)


def test_exit_codes_are_documented() -> None:
    listed = {row["code"] for row in rows(section("docs/cli.md", "Exit codes"))}
    assert listed == {"0", "1", "2", "3", "70", "130"}
    assert {f.value for f in FailOn} == {"alarm", "undecided"}
