"""`afterlaunch init`: guess what each column means, and write it down to be corrected."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table as Grid
from rich.text import Text

from afterlaunch.config import FILE, TABLES
from afterlaunch.decide import InputError
from afterlaunch.roles_guess import Guess, guess_roles
from afterlaunch.tables import open_table

ORDER = ("reference", "production", "outcomes")


def command(
    tables: Annotated[
        list[str],
        typer.Argument(
            metavar="TABLE...",
            help="Paths: reference, production and outcomes in this order; or NAME=PATH, such as production=log.csv.",
        ),
    ],
    force: Annotated[bool, typer.Option("--force", help="Write over a file that is there.")] = False,
    config: Annotated[Path, typer.Option("--config", help="The file to write.")] = Path(FILE),
) -> None:
    """Guess what each column means, and write it to a configuration file to be corrected."""
    init(tables, force=force, path=config)


def init(tables: list[str], force: bool = False, path: str | Path = FILE, console: Console | None = None) -> Path:
    """Guess the role of every column, show the reasons, and write a commented configuration file.

    Args:
        tables: Paths, taken as reference, production and outcomes in this order; or NAME=PATH,
            such as ``production=log/*.parquet``.
        force: Write over a file that is there.
        path: The file to write.
        console: Where to print; None prints to the terminal.

    Returns:
        The path written.

    Raises:
        InputError: When a table is unusable, the file is there, or it cannot be written.

    Example:
        >>> init([])
        Traceback (most recent call last):
        afterlaunch.decide.InputError: No table was given; give the path of at least one, such as ...
    """
    target = Path(path)
    named = _named(tables)
    if target.exists() and not force:
        raise InputError(f"The file {str(target)!r} is there already; give --force to write over it, or name another.")
    guesses = guess_roles([open_table(source, name=name) for name, source in named.items()])
    text = as_toml(named, guesses)
    _write(target, text)
    console = console or Console()
    console.print(_grid(guesses))
    console.print(Text(f"Wrote {target}. Correct the roles there; a column without a role is a feature."))
    return target


def _named(tables: Sequence[str]) -> dict[str, str]:
    """Table name to path."""
    if not tables:
        raise InputError("No table was given; give the path of at least one, such as afterlaunch init log.parquet.")
    out: dict[str, str] = {}
    free = iter(ORDER)
    for word in tables:
        name, equals, source = word.partition("=")
        if not equals or name not in TABLES:
            name, source = next((n for n in free if n not in out), ""), word
        if not name:
            raise InputError(f"{word!r} is one table too many; name it, such as log={word}, or leave it out.")
        if name in out:
            raise InputError(f"The table {name!r} is given twice, as {out[name]!r} and {source!r}; leave one out.")
        out[name] = source
    return out


def as_toml(tables: dict[str, str], guesses: Sequence[Guess]) -> str:
    """A commented configuration file with these tables and roles.

    Example:
        >>> print(as_toml({"reference": "a.csv"}, [Guess("ts", "time", "holds times")]).partition("finding")[0])
        <BLANKLINE>
        ...
        [roles]
        time = "ts"  # holds times
        ...
    """
    lines = [
        "# Settings of afterlaunch; a flag or AFTERLAUNCH_… in the environment wins over them.",
        "",
        *(f"{name} = {quoted(source)}" for name, source in tables.items()),
        "",
        "# alpha = 0.05         # chance of any false alarm in a review",
        '# task = "binary"      # or multiclass, regression, ranking; guessed when left out',
        "# threshold = 0.5      # a score from here on is a positive prediction",
        "# k = 10               # length of the list that ranking metrics look at",
        "",
        "[roles]",
        *(f"{g.role} = {quoted(g.column)}  # {g.reason}" for g in guesses if g.role not in {"feature", "ignore"}),
    ]
    ignored = [g.column for g in guesses if g.role == "ignore"]
    if ignored:
        lines.append(f"ignore = [{', '.join(map(quoted, ignored))}]")
    features = [g for g in guesses if g.role == "feature"]
    if features:
        lines += ["", "# Every other column is a feature:", *(f"#   {quoted(g.column)}: {g.reason}" for g in features)]
    lines += [
        "",
        "# How much change matters: CHECK[/EFFECT][@COLUMN] = number; the most specific key wins.",
        "[margins]",
        '# "metric/auc" = 0.01',
        '# "drift/psi" = 0.1',
    ]
    return "\n".join(lines) + "\n"


def quoted(text: str) -> str:
    r"""Text as a TOML string on one line.

    Example:
        >>> quoted('a "b"\n')
        '"a \\"b\\"\\n"'
    """
    short = {'"': '\\"', "\\": "\\\\", "\n": "\\n", "\t": "\\t", "\r": "\\r"}
    return '"' + "".join(short.get(c) or (c if _plain(c) else f"\\U{ord(c):08x}") for c in text) + '"'


def _plain(char: str) -> bool:
    """Whether a character may stand in a TOML string, and shows there."""
    return char == " " or char.isprintable()


def _grid(guesses: Sequence[Guess]) -> Grid:
    grid = Grid("Column", "Role", "Why", box=None, pad_edge=False)
    for g in guesses:
        style = "dim" if g.role == "feature" else "bold"
        grid.add_row(Text(g.column or '""'), Text(g.role, style=style), Text(g.reason))
    return grid


def _write(target: Path, text: str) -> None:
    """Whole or not at all: beside it first, then in its place."""
    beside = ""
    try:
        number, beside = tempfile.mkstemp(dir=target.parent, prefix=f".{target.name}.", suffix=".tmp")
        with os.fdopen(number, "w", encoding="utf-8") as opened:
            opened.write(text)
        mask = os.umask(0)
        os.umask(mask)
        os.chmod(beside, 0o666 & ~mask)
        os.replace(beside, target)
    except OSError as error:
        if beside:
            Path(beside).unlink(missing_ok=True)
        raise InputError(f"The file {str(target)!r} cannot be written ({error.strerror}); check the folder.") from error
