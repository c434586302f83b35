"""`afterlaunch demo`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from afterlaunch.cli import options
from afterlaunch.decide import InputError
from afterlaunch.finding import Review, Verdict

if TYPE_CHECKING:
    from rich.console import Console

FOLDER = Path("afterlaunch-demo")
WORST = 3
WIDEST = 100
COLOURS = {Verdict.ALARM: "red", Verdict.UNDECIDED: "yellow", Verdict.OK: "green"}


def command(
    output: Annotated[
        Path, typer.Option("--output", help="Folder for the reports; made when it is not there.")
    ] = FOLDER,
) -> None:
    """Tell one model's life on real data, and write the reports."""
    from rich.console import Console

    from afterlaunch.demo import story

    try:
        output.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise _unwritable(output, error) from None
    context = story.begin()
    console = Console(highlight=False)
    console.width = min(console.width, WIDEST)
    for words in story.opening(context):
        _line(console, words)
    for number, chapter in enumerate(story.CHAPTERS, 1):
        with options.progress() as progress:
            told = chapter.tell(context, progress)
            progress("drawing the report")
            try:
                saved = story.save(chapter, told, output)
            except OSError as error:
                raise _unwritable(output, error) from None
        console.print()
        _line(console, f"{number}. {chapter.title}", "bold")
        for words in told.words:
            _line(console, words)
        console.print()
        _verdict(console, told.review)
        console.print()
        # As they are, however long: a path that is broken over two lines cannot be copied.
        _line(console, f"Report: {saved.html}", "bold", whole=True)
        _line(console, f"Data:   {saved.json}", whole=True)


def _verdict(console: Console, review: Review) -> None:
    """Print the verdict in one line and the worst findings as sentences."""
    counts = review.counts()
    said = ", ".join(f"{counts[v]:,} {v.value}" for v in sorted(counts, key=lambda v: v.rank))
    _line(
        console,
        f"Verdict: {review.verdict.value.upper()} ({said}). The worst findings:",
        f"bold {COLOURS[review.verdict]}",
    )
    for number, finding in enumerate(review.worst(WORST), 1):
        _line(console, f"{number}. {finding.sentence}")
        if finding.action:
            _line(console, f"   → {finding.action}", "dim")


def _line(console: Console, words: str, style: str = "", whole: bool = False) -> None:
    """Print words as they are: what looks like markup in them is text."""
    from rich.text import Text

    console.print(Text(words, style=style), soft_wrap=whole)


def _unwritable(folder: Path, error: OSError) -> InputError:
    place = str(folder) if error.filename is None else str(error.filename)
    return InputError(f"The output {place!r} cannot be written: {error.strerror}; choose another folder with --output.")
