"""Reading the pages of documentation: code blocks, tables, headings and links."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
DOCS = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
PAGES = [*DOCS, ROOT / "CONTRIBUTING.md", ROOT / "CHANGELOG.md", ROOT / "benchmarks" / "README.md"]

FENCE = re.compile(r"^```(\w*)[^\n]*\n(.*?)^```$", re.MULTILINE | re.DOTALL)
COMMENT = re.compile(r"<!--.*?-->", re.DOTALL)


@dataclass(frozen=True)
class Block:
    """A fenced block of a page.

    Attributes:
        page: The page it stands on.
        language: The word behind its fence.
        text: Its content.
        line: Line of the page that its content begins at, from 1.
    """

    page: Path
    language: str
    text: str
    line: int


def name(page: Path) -> str:
    """What a page is called, such as docs/cli.md."""
    return page.relative_to(ROOT).as_posix()


def read(page: str | Path) -> str:
    """The text of a page, such as "docs/cli.md"."""
    return (ROOT / page).read_text(encoding="utf-8")


def blocks(page: Path) -> list[Block]:
    """The fenced blocks of a page, in order."""
    text = read(page)
    return [Block(page, m[1], m[2], text[: m.start(2)].count("\n") + 1) for m in FENCE.finditer(text)]


def prose(page: str | Path) -> str:
    """A page without its fenced blocks and comments."""
    return COMMENT.sub("", FENCE.sub("", read(page)))


def section(page: str | Path, heading: str) -> str:
    """The prose under one heading, up to the next one of the same or a higher level."""
    found = re.search(rf"^(#+) {re.escape(heading)}$(.*?)(?=^(?!\1#)#+ |\Z)", prose(page), re.MULTILINE | re.DOTALL)
    assert found is not None, f"{page} has no heading {heading!r}"
    return found[2]


def rows(text: str) -> Iterator[dict[str, str]]:
    """The rows of every table of a text, as header to cell."""
    header: list[str] | None = None
    for line in text.splitlines():
        if not line.startswith("|"):
            header = None
            continue
        cells = [cell.strip() for cell in line.strip()[1:-1].split("|")]
        if header is None:
            header = cells
        elif not set("".join(cells)) <= set("-: |"):
            yield dict(zip(header, cells, strict=True))


def code(cell: str) -> list[str]:
    """What stands in backticks."""
    return re.findall(r"`([^`]+)`", cell)


def slug(heading: str) -> str:
    """The anchor of a heading on GitHub."""
    words = re.sub(r"[^\w\- ]", "", heading.replace("`", "").strip().lower())
    return words.replace(" ", "-")


def anchors(page: Path) -> set[str]:
    """The anchors of all headings of a page."""
    return {slug(h) for h in re.findall(r"^#+ (.*)$", FENCE.sub("", read(page)), re.MULTILINE)}
