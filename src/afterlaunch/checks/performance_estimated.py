"""Metrics of windows without outcomes, what reweighting says, and how far estimates came true."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from afterlaunch.checks.evidence import Evidence
from afterlaunch.checks.metric_kinds import METRICS, Metric
from afterlaunch.checks.performance_realised import Variation
from afterlaunch.checks.performance_rows import LEAST_RARE, MOST_ROWS, Estimator, effective
from afterlaunch.stats import estimated
from afterlaunch.stats.estimated import Estimated
from afterlaunch.stats.shift import Overlap
from afterlaunch.watch import Look

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

LEAST_ROWS = 30
"""Fewest scored rows of a look whose metric is estimated."""

LEAST_OVERLAP = 0.1
"""Smallest shared mass of the features of reference and production, as in the gap check."""

LEAST_EFFECTIVE = 200.0
"""Fewest effective rows of a reweighted reference: as few as scores are calibrated on without weights."""

BLOCKS = 6
"""Stretches of the log that are reweighted, each with a domain classifier of its own."""


@dataclass(frozen=True)
class Reweighted:
    """An estimate with the calibration reweighted to production's features.

    Attributes:
        found: The estimate.
        effective: Effective rows of the reweighted reference.
        overlap: Shared mass of the features.
    """

    found: Estimated
    effective: float
    overlap: float


class Estimates:
    """Estimates of one review, over windows or of the whole of production.

    Args:
        evidence: With both samples.
        rows: All rows of each window (of the whole table, where there are none), shape (W,).
        window: Index of each production sample row's window, NaN for none.
    """

    def __init__(self, evidence: Evidence, rows: Sequence[int], window: Floats) -> None:
        self.evidence, self.rows = evidence, rows
        self.model = Estimator(evidence)
        if self.model.lacking is not None:
            return
        here = window[self.model.production.row]
        self.places = [np.flatnonzero(here == w) for w in range(len(rows))]

    def metric(self, key: str) -> Metric:
        """The metric of a key."""
        assert self.evidence.task is not None
        return next(m for m in METRICS[self.evidence.task] if m.kind == key)

    def at(self, key: str, look: Look, normal: Variation | None) -> Estimated | tuple[str, str]:
        """The estimate at a look, or a reason code and why there is none."""
        if self.model.lacking is not None:
            return self.model.lacking
        places = np.concatenate(self.places[look.first : look.last + 1])
        if places.size < LEAST_ROWS:
            return "too_few_rows", f"only {places.size} rows have a score, and it takes {LEAST_ROWS}."
        drawn = self._drawn(look)
        learned = self.model.learned(key)
        rows = self.model.rows(key, places, learned, 1 / drawn)
        if not self.model.numbers and (rare := _rare(rows.chance, drawn)) < LEAST_RARE:
            return (
                "too_few_of_rarer_class",
                f"only {rare:.0f} outcomes of the rarer class are to be expected, and it takes {LEAST_RARE}.",
            )
        found = learned.estimate(
            key,
            rows,
            drawn=drawn,
            design=self.model.design(places),
            unexplained=self._unexplained(key, look.length, normal),
        )
        if not (math.isfinite(found.value) and math.isfinite(found.reference) and found.reference > 0):
            return "undefined", "it is not defined on one of the tables."
        return found

    def reweighted(self, key: str, look: Look) -> Reweighted | tuple[str, str]:
        """The estimate with the calibration reweighted for the shift of features, or why there is none."""
        if self.model.lacking is not None:
            return self.model.lacking
        places = np.concatenate(self.places[look.first : look.last + 1])
        if places.size < LEAST_ROWS:
            return "too_few_rows", f"only {places.size} rows have a score, and it takes {LEAST_ROWS}."
        found = self._shift(look, places)
        if found is None:
            return "no_features", "no feature is in both tables."
        (at, weight), both = found
        size = effective(weight)
        if both.share < LEAST_OVERLAP or size < LEAST_EFFECTIVE:
            return (
                "no_overlap",
                f"the features of reference and production overlap by only {100 * both.share:.0f} % "
                f"({size:,.0f} effective rows of the reference, and it takes {LEAST_EFFECTIVE:.0f}).",
            )
        learned = self.model.learned(key, (at, weight))
        drawn = self._drawn(look)
        rows = self.model.rows(key, places, learned, 1 / drawn)
        if _rare(rows.chance, drawn) < LEAST_RARE:
            return "too_few_of_rarer_class", "too few outcomes of the rarer class are to be expected."
        estimate = learned.estimate(key, rows, drawn=drawn, design=self.model.design(places))
        if not (math.isfinite(estimate.value) and estimate.reference > 0):
            return "undefined", "it is not defined on one of the tables."
        return Reweighted(estimate, size, both.share)

    def blocks(self) -> tuple[Look, ...]:
        """The stretches that are reweighted."""
        edges = np.unique(np.linspace(0, len(self.rows), min(BLOCKS, len(self.rows)) + 1).round().astype(int))
        return tuple(Look(int(a), int(b) - 1) for a, b in pairwise(edges))

    def _shift(self, look: Look, places: Ints) -> tuple[tuple[Ints, Floats], Overlap] | None:
        known = self._shifts.get((look.first, look.last))
        if known is None:
            known = self._shifts[look.first, look.last] = self.model.shift(places)
        return known

    @cached_property
    def _shifts(self) -> dict[tuple[int, int], tuple[tuple[Ints, Floats], Overlap] | None]:
        return {}

    def _drawn(self, look: Look) -> Floats:
        """Share of its window's rows that each sampled row stands for the draw of."""
        parts = []
        for w in range(look.first, look.last + 1):
            size = self.places[w].size
            parts.append(np.full(size, min(1.0, size / self.rows[w]) if self.rows[w] > 0 else 1.0))
        out: Floats = np.concatenate(parts)
        return out

    def _unexplained(self, key: str, together: int, normal: Variation | None) -> tuple[float, float]:
        """Variance of the realised metric between windows that the estimate does not explain.

        From the reference's own windows, realised less estimated, where its sample has them; else that of the
        realised metric, which is larger.
        """
        own = self._residual(key)
        if own is not None:
            return own[0] / together, own[1]
        if normal is None:
            return 0.0, math.inf
        value = self.model.learned(key).estimate(key, self._whole(key)).reference
        scale = self.metric(key).scale
        slope = value * (1 - value) if scale == "unit" else value if scale == "positive" else 1.0
        return normal.of(together) * slope**2, normal.df

    def _whole(self, key: str) -> estimated.Rows:
        learned = self.model.learned(key)
        return self.model.rows(key, np.arange(min(self.model.production.row.size, MOST_ROWS)), learned, None)

    def _residual(self, key: str) -> tuple[float, float] | None:
        if key not in self._residuals:
            self._residuals[key] = self._fit_residual(key)
        return self._residuals[key]

    @cached_property
    def _residuals(self) -> dict[str, tuple[float, float] | None]:
        return {}

    def _fit_residual(self, key: str) -> tuple[float, float] | None:
        sample = self.evidence.reference_sample
        if sample is None or sample.window is None or sample.window not in sample.frame.columns:
            return None
        window = sample.frame[sample.window].cast(float).fill_null(math.nan).to_numpy()[self.model.reference.row]
        return self.model.learned(key).unexplained(key, window, LEAST_RARE)


def _rare(chance: Floats, drawn: Floats) -> float:
    """Outcomes of the rarer class that are to be expected among all rows of a look."""
    if chance.ndim == 2:
        # Of several classes some may be rare: what is asked for is that not all rows are of one.
        total = (chance / drawn[:, None]).sum(axis=0)
        return float(total.sum() - total.max())
    return float(min((chance / drawn).sum(), ((1 - chance) / drawn).sum()))
