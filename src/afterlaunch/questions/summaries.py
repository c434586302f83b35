"""An experiment of which only sums are left: counts, means and variances of each arm, as they were at every look."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any

import numpy as np
import polars as pl

from afterlaunch.decide import InputError, require_alpha
from afterlaunch.finding import Review
from afterlaunch.measures import Mean, Measure
from afterlaunch.profile.arms import Arms, Cells, Stage
from afterlaunch.questions.arms import shares_of
from afterlaunch.questions.experiment import TUNED_FOR, judge
from afterlaunch.questions.gather import Progress, preload
from afterlaunch.stats.looks import AnyTime, Looks, Once
from afterlaunch.tables import as_text, fetch, open_table
from afterlaunch.words import plain

COLUMNS = ("arm", "count", "mean", "variance")


@dataclass(frozen=True)
class _Columns:
    arm: str
    count: str
    mean: str
    variance: str
    metric: str | None
    time: str | None


def experiment_summaries(
    table: Any,
    *,
    control: str,
    columns: Mapping[str, str] | None = None,
    measures: Sequence[Measure] = (),
    shares: Mapping[str, float] | None = None,
    looks: str = "any",
    planned: int | None = None,
    margins: Mapping[str, float] | None = None,
    alpha: float = 0.05,
    progress: Progress | None = None,
) -> Review:
    """Judge an experiment from cumulative counts, means and variances.

    Args:
        table: A row for each metric, arm and look: a path, or any dataframe or relation narwhals knows. Numbers are
            cumulative: those of all units until then.
        control: The arm that the others are compared with.
        columns: What the columns "arm", "count", "mean", "variance", and "metric" and "time" where there are any, are
            called in the table, where they have other names.
        measures: `Mean`s that say of the metrics by name which way is better, the goal and the margin; a metric that
            is not among them is better when higher, by default.
        shares: Planned share of units of each arm.
        looks: "any" for intervals that hold however often one looked, "once" for the last row alone.
        planned: Units for which intervals of "any" shall be narrowest.
        margins: How much change matters, over the defaults in `docs/experiment.md`.
        alpha: Chance of wrongly shipping, and of any false alarm.
        progress: Called with a few words on what is being done.

    Returns:
        The review, as of `experiment`; skewness and dependence of units are not to be seen in such sums.

    Raises:
        InputError: For unusable input, in one sentence.

    Example:
        >>> sums = pl.DataFrame({
        ...     "arm": ["rules", "model"], "count": [10_000, 10_050], "mean": [0.10, 0.13], "variance": [0.09, 0.1131],
        ... })
        >>> experiment_summaries(sums, control="rules", looks="once").verdict.value
        'ok'
    """
    say = progress or (lambda _: None)
    preload()
    require_alpha(alpha)
    if looks not in ("any", "once"):
        raise InputError(f"The looks are {looks!r}; give 'any' or 'once'.")
    if planned is not None and (isinstance(planned, bool) or not isinstance(planned, int) or planned < 2):
        raise InputError(f"The experiment is planned for {planned!r} units; give a whole number.")
    say("reading the sums")
    opened = open_table(table, name="summaries")
    known = _columns(opened.columns, columns or {})
    rows = fetch(opened.frame, opened)
    rows = _checked(rows, known)
    named = {m.label: m for m in measures}
    labels = list(dict.fromkeys(rows["metric"].to_list()))
    strange = next((label for label in named if label not in labels), None)
    if strange is not None:
        raise InputError(f"The summaries have no metric {strange!r}; they have {', '.join(map(repr, labels[:12]))}.")
    arms = [as_text(a) for a in rows["arm"].unique().to_list()]
    if control not in arms:
        raise InputError(f"The summaries have no arm {control!r}; they have {', '.join(map(repr, sorted(arms)))}.")
    if len(arms) < 2:
        raise InputError("The summaries have one arm; an experiment has another to compare it with.")
    names = (control, *sorted(a for a in arms if a != control))
    times = rows["time"].unique().sort().to_list()
    cells = {label: _cells(rows.filter(pl.col("metric") == label), names, times, label) for label in labels}
    assigned = np.diff(np.max([c.units.cumsum(axis=1) for c in cells.values()], axis=0), axis=1, prepend=0)
    way: Looks = AnyTime(planned or TUNED_FOR, alpha) if looks == "any" else Once()
    counted = Arms(
        names=names,
        measures=tuple(named.get(label, Mean(label)) for label in labels),
        cells={"": cells},
        looks=way,
        days=tuple(_day(t) for t in times) if len(times) > 1 else (None,),
        assigned=np.round(assigned).astype(np.int64),
        stages=_stage(shares, names),
        unit=True,
    )
    notes = [
        "Only sums were given: whether units were in several arms, outcomes were lost, or values are very skewed is "
        "not to be seen.",
    ]
    if looks == "any":
        notes.append(
            f"Intervals hold at every look, narrowest about {planned or TUNED_FOR:,} units, where each unit entered "
            "with its final value; sums that grow with returning units keep the promise only roughly."
        )
    return judge(
        counted,
        margins=margins or {},
        alpha=alpha,
        settings={"roles": {}},
        rows={"summaries": rows.height},
        notes=notes,
        progress=progress,
    )


def _columns(found: Sequence[str], given: Mapping[str, str]) -> _Columns:
    allowed = (*COLUMNS, "metric", "time")
    strange = next((name for name in given if name not in allowed), None)
    if strange is not None:
        raise InputError(f"Summaries have no column {strange!r}; their columns are {', '.join(allowed)}.")
    for name in allowed:
        if given.get(name, name) not in found and (name in COLUMNS or name in given):
            raise InputError(
                f"The summaries have no column {given.get(name, name)!r} for the {name}; name it in columns."
            )
    arm, count, mean, variance = (given.get(name, name) for name in COLUMNS)
    metric, time = (column if (column := given.get(name, name)) in found else None for name in ("metric", "time"))
    return _Columns(arm, count, mean, variance, metric, time)


def _checked(rows: pl.DataFrame, known: _Columns) -> pl.DataFrame:
    """The rows under our names, with numbers that can be."""
    out = rows.select(
        pl.col(known.arm).cast(pl.String).alias("arm"),
        (pl.lit("value") if known.metric is None else pl.col(known.metric).cast(pl.String)).alias("metric"),
        (pl.lit(0) if known.time is None else pl.col(known.time)).alias("time"),
        *(
            pl.col(c).alias(name)
            for name, c in (("count", known.count), ("mean", known.mean), ("variance", known.variance))
        ),
    )
    for name in ("count", "mean", "variance"):
        if not out[name].dtype.is_numeric():
            raise InputError(f"The {name} of the summaries holds {out[name].dtype}, no numbers.")
        bad = out.filter(pl.col(name).is_null() | ~pl.col(name).cast(pl.Float64).is_finite())
        if bad.height:
            raise InputError(f"The {name} of the summaries is missing in {bad.height:,} rows; leave those rows out.")
    for name, least in (("count", 1), ("variance", 0)):
        low = out[name].min()
        if low is not None and float(low) < least:  # type: ignore[arg-type]
            raise InputError(f"The {name} of the summaries is {low!r}; it is at least {least}.")
    if out.select("arm", "metric", "time").is_duplicated().any():
        raise InputError("The summaries hold two rows for one metric, arm and time; give one for each.")
    return out


def _cells(rows: pl.DataFrame, names: Sequence[str], times: Sequence[Any], label: str) -> Cells:
    """Sums of each arm from look to look, so that those until a look add up to what was given."""
    arms, looks = len(names), len(times)
    total, first, second = (np.full((arms, looks), np.nan) for _ in range(3))
    around = float(rows["mean"].mean() or 0.0)  # type: ignore[arg-type]
    at = {t: i for i, t in enumerate(times)}
    for row in rows.iter_rows(named=True):
        i, j = names.index(row["arm"]), at[row["time"]]
        n, away = float(row["count"]), float(row["mean"]) - around
        total[i, j], first[i, j] = n, n * away
        second[i, j] = float(row["variance"]) * (n - 1) + n * away**2
    for array in (total, first, second):
        for line in array:
            known = np.flatnonzero(np.isfinite(line))
            if not known.size:
                raise InputError(f"The metric {plain(label)!r} has no sums of one of the arms; give all of them.")
            # A look without sums of this arm keeps those of the look before.
            filled = np.maximum.accumulate(np.where(np.isfinite(line), np.arange(looks), -1))
            line[:] = np.where(filled >= 0, line[np.maximum(filled, 0)], 0.0)
    if (np.diff(total, axis=1) < 0).any():
        raise InputError(
            f"The counts of {plain(label)!r} fall from look to look; they are those of all units until then."
        )
    steps = [np.diff(a, axis=1, prepend=0) for a in (total, first, second)]
    return Cells(
        steps[0],
        steps[1][:, :, None],
        steps[2][:, :, None, None],
        np.zeros((arms, looks, 1, 1, 1)),
        np.array([around]),
    )


def _day(value: Any) -> Any:
    return value.date() if isinstance(value, datetime) else value if isinstance(value, date) else float(value)


def _stage(shares: Mapping[str, float] | None, names: Sequence[str]) -> tuple[Stage, ...]:
    if shares is None:
        return ()
    known = shares_of(shares)
    if set(known) != set(names):
        raise InputError(f"The planned shares are {known}; give a positive share for each of {', '.join(names)}.")
    return (Stage(0, tuple(known[n] / sum(known.values()) for n in names)),)
