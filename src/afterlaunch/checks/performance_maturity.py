"""Which windows have their outcomes, read from the rows of the log."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import polars as pl
from numpy.typing import NDArray

from afterlaunch.checks.evidence import Evidence
from afterlaunch.checks.rows import is_number, numbers, times
from afterlaunch.checks.scoring import column
from afterlaunch.profile.types import MetricCounts
from afterlaunch.stats import delays
from afterlaunch.stats.delays import Delays, Maturity
from afterlaunch.words import number, quantity

Floats = NDArray[np.float64]

DAY = 86_400.0


@dataclass(frozen=True)
class Coming:
    """How far outcomes have come.

    Attributes:
        windows: Maturity of each window; of all rows together where there are no windows.
        delays: The delay distribution, in days for times; None where outcomes have no time.
        unit: Unit of the delays.
    """

    windows: Maturity
    delays: Delays | None
    unit: str

    def says(self) -> str:
        """The delays in words, or nothing."""
        if self.delays is None or self.delays.time.size == 0:
            return ""
        if not self.delays.settled:
            return " The log is too short to know how long outcomes take: late ones are still coming."
        half, most = self.delays.quantile(0.5), self.delays.quantile(delays.ENOUGH)
        return (
            f" Half of the outcomes come within {number(half)} {self.unit}, "
            f"{quantity(delays.ENOUGH, 'share')} within {number(most)} {self.unit}."
        )


def coming(evidence: Evidence, counts: list[MetricCounts], window: Floats | None) -> Coming:
    """Maturity of windows of production.

    Args:
        evidence: Its production sample has the times, where there are any.
        counts: Counts of each window, from old to new.
        window: Index of each sample row's window, NaN for none; None to take all rows as one window.
    """
    frame = evidence.production_sample.frame if evidence.production_sample is not None else None
    dated = _dated(evidence, frame) if frame is not None else None
    rows = np.array([c.total for c in counts], dtype=np.float64)
    known = rows - np.array([float(c.without_outcome.sum()) for c in counts])
    if dated is None:
        if window is None:
            # A single window has no older ones: the reference says what share of rows gets an outcome at all.
            whole = evidence.metric_reference.get("")
            base = (whole.total - float(whole.without_outcome.sum()), float(whole.total)) if whole else (1.0, 1.0)
            both = delays.by_share([base[0], known[0]], [base[1], rows[0]])
            return Coming(Maturity(both.share[1:], both.low[1:], both.high[1:], both.mature[1:]), None, "")
        return Coming(delays.by_share(known, rows), None, "")
    delay, age, has, unit = dated
    known_age = np.isfinite(age)
    where = np.zeros(age.size) if window is None else window
    ages = [age[known_age & (where == w)] for w in range(len(counts))]
    late = bool((~has).any())
    if late:
        found = delays.censored(delay[known_age], age[known_age])
        here = [has[known_age & (where == w)] for w in range(len(counts))]
        return Coming(delays.by_delay(found, ages, here), found, unit)
    found = delays.truncated(delay[known_age & np.isfinite(delay)], age[known_age & np.isfinite(delay)])
    return Coming(delays.by_delay(found, ages), found, unit)


def _dated(evidence: Evidence, frame: pl.DataFrame) -> tuple[Floats, Floats, NDArray[np.bool_], str] | None:
    """Delay (NaN while none), age and whether there is an outcome, of every row; None without both times."""
    roles = evidence.roles
    start, end = column(frame, roles.time), column(frame, roles.outcome_time)
    outcome = column(frame, roles.outcome)
    if start is None or end is None or outcome is None or frame.height == 0:
        return None
    begun, unit = _clock(start)
    come, other = _clock(end)
    if begun is None or come is None or unit != other or not np.isfinite(begun).any() or not np.isfinite(come).any():
        return None
    has = outcome.is_not_null().to_numpy()
    if outcome.dtype.is_float():
        has = has & ~np.isnan(numbers(outcome))
    now = float(np.nanmax(np.concatenate([begun, come])))
    # An outcome without a time came at an unknown moment: it is left out of the delays.
    lost = has & ~np.isfinite(come)
    age = np.where(lost, np.nan, now - begun)
    return np.where(has, come - begun, np.nan), age, has, unit


def _clock(series: pl.Series) -> tuple[Floats | None, str]:
    if is_number(series):
        return numbers(series), "units of time"
    read = times(series)
    if read is None:
        return None, ""
    micro = read.cast(pl.Datetime("us")).to_physical().cast(pl.Float64).to_numpy().astype(np.float64)
    return micro / 1e6 / DAY, "days"
