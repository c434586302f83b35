"""Realised metrics of windows whose outcomes have come, against the reference."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property, reduce
from operator import add

import numpy as np
from numpy.typing import NDArray
from scipy import special

from afterlaunch.checks.evidence import Evidence
from afterlaunch.checks.metric import LEAST_RARE, LEAST_ROWS, contrast_of, lacking, own_rows
from afterlaunch.checks.metric_kinds import Metric
from afterlaunch.checks.scoring import has_units
from afterlaunch.profile.types import MetricCounts
from afterlaunch.stats import contrast, estimated
from afterlaunch.stats.contrast import Contrast, Side
from afterlaunch.stats.resampling import jackknife
from afterlaunch.watch import Look

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Variation:
    """How much a metric varies between windows of the reference beyond sampling.

    Attributes:
        lags: Autocovariance of what varies, on the metric's own scale, at lags 0, 1, ...
        df: Degrees of freedom.
        windows: Windows it is from.
    """

    lags: Floats
    df: float
    windows: int

    def of(self, together: int) -> float:
        """Variance of the mean of so many neighbouring windows."""
        lag = np.arange(min(together, self.lags.size))
        parts = self.lags[lag] * (1 - lag / together)
        return float(parts[0] + 2 * np.maximum(parts[1:], 0.0).sum()) / together


@dataclass(frozen=True)
class Realised:
    """One metric over windows.

    Attributes:
        evidence: Where it comes from.
        metric: The metric.
        reference: Counts of the whole reference.
        history: Counts of each of its windows.
        windows: Counts of each window of production.
    """

    evidence: Evidence
    metric: Metric
    reference: MetricCounts
    history: Sequence[MetricCounts]
    windows: Sequence[MetricCounts]

    @cached_property
    def variation(self) -> Variation | None:
        """What is normal between windows; None where the reference has too few."""
        return variation_of(self.metric, self.history)

    def at(self, look: Look) -> Contrast | tuple[str, str]:
        """The change at a look, or a reason code and why there is none."""
        together = self.windows[look.first : look.last + 1]
        live = together[0] if len(together) == 1 else reduce(add, together)
        offline = _alike(self.reference, live)
        missing = lacking(self.evidence, self.metric, offline, live)
        if missing is not None:
            return missing
        first, second = self.metric.sums(offline), self.metric.sums(live)
        assert first is not None
        assert second is not None
        change, _ = contrast_of(self.evidence, self.metric, offline, live, first, second)
        if isinstance(change, tuple) or self.variation is None:
            return change
        return self._widened(change, live, look.length)

    def _widened(self, change: Contrast, live: MetricCounts, together: int) -> Contrast:
        """The change with the variance between normal windows in both of its sides."""
        normal = self.variation
        assert normal is not None
        sides = (
            (change.reference, normal.of(normal.windows), self.reference),
            (change.production, normal.of(together), live),
        )
        wide = [self._side(side, extra, counts, normal.df) for side, extra, counts in sides]
        spread = wide[0].se * wide[1].se
        shrunk = change.correlation * change.reference.se * change.production.se / spread if spread > 0 else 0.0
        return replace(change, reference=wide[0], production=wide[1], correlation=shrunk)

    def _side(self, side: Side, extra: float, counts: MetricCounts, df: float) -> Side:
        scale, value = self.metric.scale, side.value
        se = float(np.hypot(side.se, np.sqrt(extra) * _slope(scale, value)))
        df = min(side.df, df)
        if scale == "positive":
            return contrast.positive_side(value, se, df)
        if scale == "bias":
            return contrast.plain_side(value, se, df)
        rows = float(own_rows(self.evidence, self.metric, counts)[0].sum())
        if scale == "share":
            return contrast.share_side(value, rows, se**2, df)
        return contrast.unit_side(value, se, df, rows) if 0 < value < 1 and se > 0 else side

    @property
    def method(self) -> str:
        """How the interval is computed."""
        units = ", joint over units" if has_units(self.evidence) else ""
        normal = ", variance between reference windows" if self.variation is not None else ", sampling error only"
        return f"delete-one-bucket jackknife, MOVER{units}{normal}"


def variation_of(metric: Metric, history: Sequence[MetricCounts]) -> Variation | None:
    """How a metric varies between windows; None for too few that it can be computed in."""
    values, variances = [], []
    for counts in history:
        sums = metric.sums(counts)
        if sums is None or counts.rows.sum() < LEAST_ROWS:
            continue
        if metric.by_class and (counts.class_rows is None or counts.class_rows.sum(axis=0).min() < LEAST_RARE):
            continue
        j = jackknife(metric.statistic, *sums, size=counts.rows)
        value, se = float(j.value[0]), float(j.se[0])
        if metric.scale == "bias":
            squared = counts.moments["squared"].sum(axis=0)
            root = float(np.sqrt(squared[1] / squared[0]))
            value, se = (value / root, se / root) if root > 0 else (np.nan, np.nan)
        slope = _slope(metric.scale, value)
        if not (np.isfinite(value) and np.isfinite(se) and slope > 0):
            continue
        values.append(_scaled(metric.scale, value))
        variances.append((se / slope) ** 2)
    if len(values) < estimated.FEWEST_WINDOWS:
        return None
    x = np.array(values)
    own, df = estimated.between(x, np.array(variances))
    off = x - x.mean()
    lags = [float((off[k:] * off[: x.size - k]).sum()) / x.size for k in range(1, 7) if x.size > 2 * k]
    # Rows are drawn anew in each window, so that only what varies is shared by neighbours.
    return Variation(np.array([own, *(min(max(c, 0.0), own) for c in lags)]), df, x.size)


def _scaled(scale: str, value: float) -> float:
    if scale == "unit":
        return float(special.logit(value))
    return float(np.log(value)) if scale == "positive" else value


def _slope(scale: str, value: float) -> float:
    """How the metric moves with its scaled value."""
    if scale == "unit":
        return value * (1 - value)
    return value if scale == "positive" else 1.0


def _alike(reference: MetricCounts, other: MetricCounts) -> MetricCounts:
    """The reference's score bins put together as those of a window are."""
    if reference.histogram is None or other.histogram is None or reference.score_sums is None:
        return reference
    fine, coarse = reference.histogram.shape[-1], other.histogram.shape[-1]
    if fine == coarse or fine % coarse:
        return reference
    times = fine // coarse
    return replace(
        reference,
        histogram=reference.histogram.reshape(*reference.histogram.shape[:-1], coarse, times).sum(axis=-1),
        score_sums=reference.score_sums.reshape(-1, coarse, times).sum(axis=-1),
    )
