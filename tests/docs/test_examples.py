"""What the pages show happens: their Python runs, and their console sessions print what they say."""

from __future__ import annotations

import contextlib
import io
import os
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from afterlaunch.cli import main
from afterlaunch.config import resolve
from tests.docs.pages import DOCS, Block, blocks, name

RUN = [page for page in DOCS if any(b.language in {"python", "console"} for b in blocks(page))]
WIDTH = "92"


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """An empty working folder; what examples do to the environment and the modules is undone."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", WIDTH)
    environment, modules = dict(os.environ), set(sys.modules)
    yield tmp_path
    os.environ.clear()
    os.environ.update(environment)
    for module in set(sys.modules) - modules:
        if str(getattr(sys.modules[module], "__file__", None)).startswith(str(tmp_path)):
            del sys.modules[module]


@pytest.mark.parametrize("page", RUN, ids=name)
def test_examples_run(page: Path, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """All blocks of a page, in order, in one folder and one namespace."""
    namespace: dict[str, Any] = {"__name__": "example"}
    for block in blocks(page):
        if block.language == "python":
            run_python(block, namespace)
        elif block.language == "toml":
            run_toml(block, folder)
        elif block.language == "console":
            run_console(block, monkeypatch)


def run_python(block: Block, namespace: dict[str, Any]) -> None:
    source = "\n" * (block.line - 1) + block.text
    with contextlib.redirect_stdout(io.StringIO()):
        exec(compile(source, str(block.page), "exec"), namespace)


def run_toml(block: Block, folder: Path) -> None:
    """Every TOML block is a configuration; one that begins with "# NAME" is written down as that file."""
    given = re.match(r"# (\S+\.toml)\n", block.text)
    file = folder / (given[1] if given else "example.toml")
    file.write_text(block.text, encoding="utf-8")
    resolve({}, path=file, environ={})
    if not given:
        file.unlink()


def run_console(block: Block, monkeypatch: pytest.MonkeyPatch) -> None:
    status = 0
    for part in re.split(r"^\$ ", block.text, flags=re.MULTILINE)[1:]:
        command, _, expected = part.partition("\n")
        if command == "echo $?":
            assert expected.strip() == str(status)
            continue
        words = command.split()
        assert words[0] == "afterlaunch", f"{name(block.page)} runs {command!r}"
        printed, status = run_command(words, monkeypatch)
        seen = alike(printed)
        for piece in re.split(r"^\s*…\s*$", expected, flags=re.MULTILINE):
            assert alike(piece) in seen, f"{name(block.page)} shows what {command!r} does not print:\n{piece}"


def run_command(words: list[str], monkeypatch: pytest.MonkeyPatch) -> tuple[str, int]:
    monkeypatch.setattr(sys, "argv", words)
    out = io.StringIO()
    try:
        with contextlib.redirect_stdout(out):
            main()
    except SystemExit as end:
        return out.getvalue(), int(end.code or 0)
    return out.getvalue(), 0


def alike(text: str) -> str:
    """Text with its spaces and line ends made one, and numbers made alike: their last digits vary by library."""
    return re.sub(r"-?\d[\d,.]*\d|-?\d", "#", " ".join(text.split()))


def test_numbers_and_wrapping_do_not_matter_but_words_do() -> None:
    assert alike("fell by 0.46 [0.45,\n  0.47], to 3") == alike("fell by 0.5 [-0.4, 0.512], to 3")
    assert alike("fell by 0.46") != alike("rose by 0.46")
