"""Reviews for people and for files: HTML, JSON, notebook and terminal.

Nothing here computes: a view shows what a review holds. The drawing libraries are imported
when something is drawn, so that importing the package stays cheap.
"""

from __future__ import annotations

import os
import secrets
from pathlib import Path
from typing import TYPE_CHECKING

from afterlaunch.finding import Review

if TYPE_CHECKING:
    from rich.console import Console

__all__ = ["html", "notebook", "render", "write"]


def html(review: Review) -> str:
    """The review as one self-contained HTML page: no scripts, nothing loaded from elsewhere."""
    from afterlaunch.report.page import page

    return page(review)


def notebook(review: Review) -> str:
    """The review as an HTML fragment for a notebook, with a style sheet that touches nothing else."""
    from afterlaunch.report.page import fragment

    return fragment(review)


def render(review: Review, console: Console | None = None, limit: int = 10, width: int | None = None) -> None:
    """Print the review to a terminal; see `afterlaunch.report.terminal.render`."""
    from afterlaunch.report import terminal

    terminal.render(review, console=console, limit=limit, width=width)


def write(review: Review, path: Path) -> Path:
    """Write a review to a file, as JSON or HTML by its ending.

    The file appears whole or not at all: it is written beside its place and moved there.

    Args:
        review: What to write.
        path: Ends in .json or .html; its folder must exist. An existing file is replaced.

    Returns:
        The path.

    Raises:
        ValueError: When the path has another ending.
        OSError: When the file cannot be written.
    """
    path = Path(path)
    suffix = path.suffix.lower()
    if suffix == ".json":
        text = review.to_json() + "\n"
    elif suffix == ".html":
        text = html(review)
    else:
        ending = f"in {path.suffix!r}" if path.suffix else "in no suffix"
        raise ValueError(f"The path {str(path)!r} ends {ending}; give one that ends in .json or .html.")
    # A lone surrogate has no UTF-8 form; as \udXXX it is still the same JSON string.
    _replace(path, text.encode("utf-8", "backslashreplace"))
    return path


def _replace(path: Path, data: bytes) -> None:
    target = Path(os.path.realpath(path))
    beside = target.with_name(f".{target.name[:100]}.{secrets.token_hex(6)}.tmp")
    try:
        # "x" and not `tempfile`, so that the file gets the usual rights and not those of its owner only.
        with beside.open("xb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(beside, target)
    finally:
        beside.unlink(missing_ok=True)
