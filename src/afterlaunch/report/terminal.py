"""A review in a terminal: the verdict, the worst findings as sentences, and counts by check."""

from __future__ import annotations

import codecs
from typing import TYPE_CHECKING

from afterlaunch.finding import Finding, Review, Verdict
from afterlaunch.report import text
from afterlaunch.report.timeline import BLOCKS, Timeline, read, strips

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

_COLOURS = {Verdict.ALARM: "red", Verdict.UNDECIDED: "yellow", Verdict.OK: "green"}
_ICONS = {Verdict.ALARM: "▲", Verdict.UNDECIDED: "◆", Verdict.OK: "●"}
_ASCII = str.maketrans({"▲": "!", "◆": "?", "●": "*", "→": ">", "…": "...", "±": "+/-", "·": "-", "█": "#", "▒": "?"})
STRIP = 60
"""Most blocks of a strip."""


def render(review: Review, console: Console | None = None, limit: int = 10, width: int | None = None) -> None:
    """Print the review.

    Names are printed as they are: neither console markup nor control characters in them act.
    A console that cannot show Unicode gets plain ASCII.

    Args:
        review: What to show.
        console: Where to print; standard output by default.
        limit: Most findings shown as sentences.
        width: Columns to fill; those of the console by default.

    Example:
        >>> from rich.console import Console
        >>> render(Review("launch", ()), Console(color_system=None), width=60)
        ◆ UNDECIDED  launch review
        Not decided: nothing could be checked.
    """
    from rich.console import Console

    out = _Printer(console or Console(highlight=False), width)
    verdict = review.verdict
    out.line(
        _lead(verdict),
        (verdict.value.upper(), f"bold {_COLOURS[verdict]}"),
        (f"  {_cut(review.question, 60)} review", "dim"),
    )
    out.line((_cut(review.headline, 600), "bold"))
    _over_time(review, out)
    worst = [f for f in review.findings if f.verdict is not Verdict.OK][: max(0, limit)]
    for finding in worst:
        out.line()
        _finding(out, finding)
    if review.findings:
        out.line()
        out.table(_counts(review, out))
    left = len(review.findings) - len(worst)
    if left:
        out.line()
        out.line((f"{left:,} more; --html FILE shows all." if worst else f"--html FILE shows all {left:,}.", "dim"))


def _finding(out: _Printer, finding: Finding) -> None:
    colour = _COLOURS[finding.verdict]
    about = [finding.check, text.scope(finding), "" if finding.primary else "informs only"]
    words = " · ".join(_cut(a, 60) for a in about if a)
    out.line(
        _lead(finding.verdict),
        (_cut(text.subject(finding), 60), "bold"),
        (f"  {finding.verdict.value}", colour),
        (f" · {words}", "dim"),
    )
    out.line((_cut(finding.sentence, 400), ""), indent=2)
    if finding.effect is not None:
        out.line((text.measured(finding), "dim"), indent=2)
    elif finding.reason is not None:
        out.line((text.reason(finding.reason), "dim"), indent=2)
    if finding.action:
        out.line(("→ ", colour), (_cut(finding.action, 400), ""), indent=2)


def _over_time(review: Review, out: _Printer) -> None:
    """The worst rows of a review over windows, one line each, and how the alarm budget is spent."""
    for table in review.figures:
        try:
            found = read(table) if table.get("kind") == "timeline" else None
        except ValueError:
            continue
        if found is not None:
            _strips(found, out)


def _strips(found: Timeline, out: _Printer) -> None:
    from rich.cells import cell_len, set_cell_size

    width = max(40, out.columns)
    chosen = strips(found, STRIP)
    name = min(28, width // 3, max((cell_len(_cut(r.name, 60)) for r in chosen), default=0))
    most = max(12, min(40, width - name - 12))
    words = max((len(_cut(r.words, most)) for r in chosen), default=0)
    rows = strips(found, max(8, min(STRIP, width - name - words - 4)))
    out.line()
    for row in rows:
        cells = [(BLOCKS[verdict], "" if verdict is None else _COLOURS[verdict]) for verdict in row.cells]
        out.line((set_cell_size(_cut(row.name, name), name) + "  ", ""), *cells, ("  " + _cut(row.words, most), "dim"))
    if rows:
        first, last = (_cut(found.windows[i], 20) for i in (0, -1))
        gap = max(1, len(rows[0].cells) - len(first) - len(last))
        out.line((" " * (name + 2) + first + " " * gap + last, "dim"))
    if found.budget:
        out.line((_cut(found.budget, 400), "dim"))


def _lead(verdict: Verdict) -> tuple[str, str]:
    return f"{_ICONS[verdict]} ", _COLOURS[verdict]


def _cut(words: str, limit: int) -> str:
    return text.shorten(text.plain(words), limit)


def _counts(review: Review, out: _Printer) -> Table:
    from rich.table import Table

    table = Table(box=None, pad_edge=False, header_style="dim", padding=(0, 2, 0, 0))
    table.add_column("check", overflow="fold")
    verdicts = sorted(Verdict, key=lambda v: v.rank)
    for verdict in verdicts:
        table.add_column(verdict.value, justify="right")
    for check in dict.fromkeys(f.check for f in review.findings):
        mine = [f.verdict for f in review.findings if f.check == check]
        counts = [mine.count(v) for v in verdicts]
        cells = [out.text((f"{n:,}", _COLOURS[v] if n else "dim")) for n, v in zip(counts, verdicts, strict=True)]
        table.add_row(out.text((_cut(check, 40), "")), *cells)
    return table


class _Printer:
    """Prints styled text without markup, in what the console's encoding can carry."""

    def __init__(self, console: Console, width: int | None) -> None:
        self.console, self.width = console, width
        try:
            self.encoding = codecs.lookup(console.encoding).name
        except LookupError:
            self.encoding = "ascii"

    @property
    def columns(self) -> int:
        """Columns to fill."""
        return self.width or self.console.width

    def text(self, *parts: tuple[str, str]) -> Text:
        from rich.text import Text

        return Text.assemble(*((self._carried(words), style) for words, style in parts))

    def line(self, *parts: tuple[str, str], indent: int = 0) -> None:
        width = max(20, self.columns - indent)
        # Wrapped here and not by a rich Padding, which fills every line with blanks to the right edge.
        for row in self.text(*parts).wrap(self.console, width) or [self.text()]:
            row.rstrip()
            row.pad_left(indent if row.plain else 0)
            self.console.print(row, width=self.width, highlight=False, no_wrap=True, overflow="ignore", crop=False)

    def table(self, table: Table) -> None:
        self.console.print(table, width=self.width, highlight=False)

    def _carried(self, words: str) -> str:
        try:
            words.encode(self.encoding)
        except UnicodeEncodeError:
            return words.translate(_ASCII).encode(self.encoding, "backslashreplace").decode(self.encoding)
        return words
