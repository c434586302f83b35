"""Options that the questions share, how they add up with the configuration, and how a review leaves."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Iterator, Sequence
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

from afterlaunch.config import Config, resolve
from afterlaunch.decide import InputError
from afterlaunch.finding import Review, Verdict
from afterlaunch.questions.gather import Progress
from afterlaunch.roles import Roles


class FailOn(StrEnum):
    """From which verdict on the exit code is not 0."""

    ALARM = "alarm"
    UNDECIDED = "undecided"


ReferenceOption = Annotated[
    str | None, typer.Option("--reference", help="Table that says what normal is: a path, glob or URL.")
]
ProductionOption = Annotated[str | None, typer.Option("--production", help="Table to judge: the log.")]
OutcomesOption = Annotated[
    str | None, typer.Option("--outcomes", help="Table with the id and the outcome of production rows.")
]
RoleOption = Annotated[
    list[str] | None,
    typer.Option("--role", metavar="ROLE=COLUMN", help="What a column means, such as outcome=clicked; repeatable."),
]
MarginOption = Annotated[
    list[str] | None,
    typer.Option(
        "--margin", metavar="KEY=VALUE", help="How much change matters, such as drift/psi@income=0.2; repeatable."
    ),
]
AlphaOption = Annotated[
    float | None, typer.Option("--alpha", help="Chance of any false alarm in the review (default 0.05).")
]
ConfigOption = Annotated[
    Path | None,
    typer.Option("--config", help="Configuration file; afterlaunch.toml in this folder is read without asking."),
]
JsonOption = Annotated[Path | None, typer.Option("--json", help="Write the review as JSON.")]
HtmlOption = Annotated[Path | None, typer.Option("--html", help="Write the review as a self-contained HTML page.")]
FailOnOption = Annotated[
    FailOn, typer.Option("--fail-on", help="Exit with 1 on alarm; with undecided also exit with 3.")
]


def parse_margins(words: Sequence[str], base: dict[str, float]) -> dict[str, float]:
    """Margins from words like ``drift/psi@income=0.2``; a later one replaces an earlier one.

    Raises:
        InputError: For a word without "=" or a value that is no number.
    """
    out = dict(base)
    for word in words:
        key, equals, value = word.rpartition("=")
        if not equals or not key:
            raise InputError(
                f"The margin {word!r} is not of the form CHECK[/EFFECT][@SUBJECT]=VALUE, such as drift/psi=0.2."
            )
        try:
            out[key] = float(value)
        except ValueError:
            raise InputError(f"The margin {key!r} is {value!r}; give a positive number.") from None
    return out


@contextlib.contextmanager
def progress() -> Iterator[Progress]:
    """Shows what is being done, on stderr, when that is a terminal."""
    if not sys.stderr.isatty():
        yield lambda _: None
        return
    from rich.console import Console
    from rich.markup import escape

    with Console(stderr=True).status("afterlaunch", spinner="dots") as status:
        yield lambda text: status.update(escape(text))


def leave(review: Review, json: Path | None, html: Path | None, fail_on: FailOn) -> None:
    """Print a review, write the files asked for, and exit by verdict."""
    from afterlaunch.report import terminal, write

    require_places(json, html)
    try:
        for path in (json, html):
            if path is not None:
                write(review, path)
    except OSError as error:
        raise InputError(
            f"The file {str(error.filename)!r} cannot be written: {error.strerror}; choose another place."
        ) from None
    terminal.render(review)
    for path in (json, html):
        if path is not None:
            typer.echo(f"Written: {path}")
    if review.verdict is Verdict.ALARM:
        raise typer.Exit(1)
    if review.verdict is Verdict.UNDECIDED and fail_on is FailOn.UNDECIDED:
        raise typer.Exit(3)


def require_places(json: Path | None, html: Path | None) -> None:
    """Refuse output paths that cannot be written, before the work and before the first of them is.

    Raises:
        InputError: For an ending of another format, a folder that is not there or closed, or a path
            that is a folder.
    """
    for path, suffix in ((json, ".json"), (html, ".html")):
        if path is None:
            continue
        if path.suffix.lower() != suffix:
            raise InputError(f"The output {str(path)!r} does not end in {suffix}; rename it.")
        folder = path.parent
        if not folder.is_dir():
            raise InputError(f"The output {str(path)!r} cannot be written: there is no such folder; make it first.")
        if path.is_dir() or not os.access(folder, os.W_OK):
            why = "it is a folder" if path.is_dir() else "its folder is not writable"
            raise InputError(f"The output {str(path)!r} cannot be written: {why}; choose another place.")


def settle(
    config: Path | None,
    roles: Sequence[str] | None,
    margins: Sequence[str] | None,
    outputs: tuple[Path | None, Path | None],
    **flags: Any,
) -> tuple[Config, Roles, dict[str, float]]:
    """Flags over environment over configuration file over defaults.

    Args:
        config: Configuration file, or None for `afterlaunch.toml` in this folder if there is one.
        roles: Words of `--role`.
        margins: Words of `--margin`.
        outputs: Paths of `--json` and `--html`, refused here when they cannot be written.
        **flags: Values of other flags by their names in the configuration; None is not given.
    """
    require_places(*outputs)
    known = resolve({k: v for k, v in flags.items() if v is not None}, path=config)
    return known, Roles.parse(roles or [], base=known.roles), parse_margins(margins or [], dict(known.margins))


def require(value: str | None, flag: str) -> str:
    """A table that must be given."""
    if not value:
        raise InputError(f"No table was given for {flag}; add {flag} PATH, or set it in afterlaunch.toml.")
    return value
