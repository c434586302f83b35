"""`afterlaunch demo`."""

from __future__ import annotations

import textwrap
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
        if told.reason is not None:
            _line(console, told.reason.sentence, first="Why: ")
        console.print()
        # Not wrapped, however long: a path that is broken over two lines cannot be copied.
        console.print(f"Report: {saved.html}", style="bold", markup=False, soft_wrap=True)
        console.print(f"Data:   {saved.json}", markup=False, soft_wrap=True)


def _verdict(console: Console, review: Review) -> None:
    """Print the verdict in one line and the worst findings as sentences."""
    primary = [f.verdict for f in review.findings if f.primary]
    said = ", ".join(f"{primary.count(v):,} {v.value}" for v in sorted(Verdict, key=lambda v: v.rank))
    more = len(review.findings) - len(primary)
    verdict = f"Verdict: {review.verdict.value.upper()}. Of the findings that count, {said}; {more:,} more inform."
    _line(console, verdict, f"bold {COLOURS[review.verdict]}")
    for number, finding in enumerate(review.worst(WORST), 1):
        _line(console, finding.sentence, first=f"{number}. ")
        if finding.action:
            _line(console, finding.action, "dim", first="   To do: ")


def _line(console: Console, words: str, style: str = "", first: str = "") -> None:
    """Print words as they are, for what looks like markup in them is text, indented as far as `first` reaches."""
    rows = textwrap.wrap(
        first + words, console.width, subsequent_indent=" " * len(first), break_on_hyphens=False, break_long_words=False
    )
    for row in rows:
        console.print(row, style=style, markup=False, no_wrap=True, overflow="ignore", crop=False)


def _unwritable(folder: Path, error: OSError) -> InputError:
    place = str(folder) if error.filename is None else str(error.filename)
    return InputError(f"The output {place!r} cannot be written: {error.strerror}; choose another folder with --output.")
