"""The numbers we hold to, held against what was measured, and the tables that show both."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from environments import Installed
from measure import Series


@dataclass(frozen=True)
class Target:
    """One number to hold to.

    Attributes:
        what: What is measured, in words.
        value: What came out; None if it was left out or failed.
        unit: Its unit: "x" for a ratio, else "s", "MB" or "".
        sense: Which side of the limit is good.
        limit: The limit; None for a number that is shown beside the others and held to nothing.
        binds: False where the tables are too small for the target to mean anything (`--quick`).
        cpu: The same ratio by CPU time, which suffers less from other work on the machine; None if it has none.
    """

    what: str
    value: float | None
    unit: str
    sense: Literal[">=", "<=", "<"]
    limit: float | None
    binds: bool = True
    cpu: float | None = None

    @property
    def holds(self) -> bool | None:
        """Whether the target is met; None if it was not measured, does not bind or has no limit."""
        if self.value is None or self.limit is None or not self.binds:
            return None
        if self.sense == ">=":
            return self.value >= self.limit
        return self.value <= self.limit if self.sense == "<=" else self.value < self.limit


def _ratio(
    what: str, top: Series | None, bottom: Series | None, sense: Literal[">=", "<="], limit: float | None, binds: bool
) -> Target:
    if top is None or bottom is None:
        return Target(what, None, "x", sense, limit, binds)
    return Target(what, top.wall / bottom.wall, "x", sense, limit, binds, top.cpu / bottom.cpu)


def targets(
    measured: Mapping[str, Series], import_time: float | None, core: Installed | None, *, full: bool
) -> list[Target]:
    """Every number this benchmark holds us to.

    Args:
        measured: Series by name: ours, ours-unit, ours-large, evidently, nannyml, nannyml-shared, frouros, scan,
            scan-large; those not run are absent.
        import_time: Seconds that `import afterlaunch` takes, interpreter start taken off.
        core: What the core install brings.
        full: Whether the tables have their full size; else ratios are shown and not judged.
    """
    get = measured.get
    ours, large = get("ours"), get("ours-large")
    return [
        _ratio("Evidently / ours", get("evidently"), ours, ">=", 100, full),
        _ratio("NannyML / ours", get("nannyml"), ours, ">=", 25, full),
        _ratio("NannyML, only distances ours has too / ours", get("nannyml-shared"), ours, ">=", None, full),
        _ratio("Frouros / ours", get("frouros"), ours, ">=", 8, full),
        _ratio("ours / scan", ours, get("scan"), "<=", 4, full),
        Target("peak memory", ours.peak if ours else None, "MB", "<", 700, full),
        _ratio("ours with a unit / ours", get("ours-unit"), ours, "<=", 2, full),
        _ratio("ours on ten times the rows / ours", large, ours, "<=", 12, full),
        _ratio("ours / scan, both on ten times the rows", large, get("scan-large"), "<=", None, full),
        Target("peak memory on ten times the rows", large.peak if large else None, "MB", "<", 1200, full),
        Target("import afterlaunch", import_time, "s", "<", 0.5),
        Target("core install, distributions", core.distributions if core else None, "", "<", 36),
        Target("core install, size", core.megabytes if core else None, "MB", "<", 620),
    ]


def _grid(rows: Sequence[Sequence[str]]) -> str:
    """Rows of cells as aligned text; the first column to the left, the others to the right."""
    widths = [max(len(cell) for cell in column) for column in zip(*rows, strict=True)]
    lines = []
    for row in rows:
        cells = [cell.rjust(width) for cell, width in zip(row, widths, strict=True)]
        lines.append("  ".join([row[0].ljust(widths[0]), *cells[1:]]).rstrip())
    lines.insert(1, "  ".join("-" * width for width in widths))
    return "\n".join(lines)


def costs_table(series: Iterable[Series]) -> str:
    """What each process cost."""
    rows = [["process", "rows", "runs", "wall s", "least", "most", "CPU s", "peak MB"]]
    for one in series:
        times = [f"{seconds:.2f}" for seconds in (one.wall, *one.spread, one.cpu)]
        rows.append([one.name, f"{one.rows:,}", str(len(one.costs)), *times, f"{one.peak:.0f}"])
    return _grid(rows)


def _number(value: float | None, unit: str) -> str:
    if value is None:
        return "-"
    digits = 0 if unit in ("MB", "") or value >= 100 else 2 if value < 10 else 1
    return f"{value:.{digits}f} {unit}".rstrip()


def _verdict(line: Target) -> str:
    if line.value is None:
        return "not measured"
    if line.limit is None:
        return ""
    if not line.binds:
        return "full size only"
    return "yes" if line.holds else "NO"


def targets_table(lines: Iterable[Target]) -> str:
    """Each number beside its target and whether it holds."""
    rows = [["what", "measured", "target", "holds", "by CPU time"]]
    for line in lines:
        limit = "" if line.limit is None else f"{line.sense} {line.limit:g} {line.unit}".rstrip()
        rows.append([line.what, _number(line.value, line.unit), limit, _verdict(line), _number(line.cpu, "x")])
    return _grid(rows)
