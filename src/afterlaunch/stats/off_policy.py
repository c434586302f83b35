"""What a new policy would have earned, from decisions that an old one took and logged with their chances.

Every estimate weighs a logged decision by how much likelier the new policy is to take it. It is right only where the
old policy had a chance to do everything that the new one would; `OffPolicy.weight` shows where it had not.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import ArrayLike, NDArray

from afterlaunch.stats.intervals import t_quantile

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Estimated:
    """A mean with its precision.

    Attributes:
        value: The estimate.
        se: Standard error; infinite where it is not known.
        df: Degrees of freedom of it: independent units less one.
    """

    value: float
    se: float
    df: float

    def interval(self, alpha_low: float, alpha_high: float) -> tuple[float, float]:
        """Ends at given one-sided error rates; the whole line where nothing is known."""
        if self.df <= 0:
            return -math.inf, math.inf
        return (
            self.value - t_quantile(alpha_low, self.df) * self.se,
            self.value + t_quantile(alpha_high, self.df) * self.se,
        )


@dataclass(frozen=True, slots=True)
class OffPolicy:
    """What a policy would have earned on logged decisions of another.

    Attributes:
        on_policy: Mean reward as logged.
        ips: Mean reward under the new policy, inverse propensity scoring.
        snips: The same, with weights normalised by their sum.
        dr: The same, doubly robust; None without a model of the reward.
        lift_ips: `ips` less `on_policy`, on the same rows.
        lift_snips: `snips` less `on_policy`.
        lift_dr: `dr` less `on_policy`; None without a model.
        weight: Mean weight. It should be 1; below, the new policy takes actions that the old one never took.
        effective: Rows, or units, of equal weight that would be as precise.
        largest: Share of the sum of all weights that the heaviest row has.
        rows: Logged decisions.
        each: "on_policy", "ips", "snips", "dr" and "weight" to a value of each unit, whose mean is the estimate and
            whose spread that of the units' influence, shape (units,).
    """

    on_policy: Estimated
    ips: Estimated
    snips: Estimated
    dr: Estimated | None
    lift_ips: Estimated
    lift_snips: Estimated
    lift_dr: Estimated | None
    weight: Estimated
    effective: float
    largest: float
    rows: int
    each: Mapping[str, Floats] = field(compare=False, repr=False)


def off_policy(
    reward: ArrayLike,
    logged: ArrayLike,
    target: ArrayLike,
    *,
    predicted: ArrayLike | None = None,
    expected: ArrayLike | None = None,
    groups: ArrayLike | None = None,
) -> OffPolicy:
    """Estimate the mean reward of a new policy, and its lift over the old one, from logged decisions.

    Args:
        reward: Of the logged actions, shape (n,).
        logged: Propensity with which the old policy took the logged action, in (0, 1], shape (n,).
        target: Probability with which the new policy would take the same action, in [0, 1], shape (n,).
        predicted: A model's reward of the logged action, cross-fitted, shape (n,).
        expected: The model's expected reward under the new policy in the same context, shape (n,).
        groups: Numbers of dependent units, integers of at least 0, shape (n,); None for independent rows.

    Returns:
        All estimates. Standard errors are those of sums of influence values by unit; a lift subtracts the influence
        values of both means row by row.

    Raises:
        ValueError: If an array is unusable, only one of `predicted` and `expected` is given, or the new policy would
            take none of the logged actions.

    Source:
        Horvitz & Thompson (1952), JASA 47:663-685; normalised weights: Swaminathan & Joachims (2015), The
        Self-Normalized Estimator for Counterfactual Learning, NeurIPS; doubly robust: Dudik, Langford & Li (2011),
        Doubly Robust Policy Evaluation and Learning, ICML; effective sample size: Kish (1965), Survey Sampling,
        section 11.7; as used on logs of recommenders: Saito et al. (2021), Open Bandit Dataset and Pipeline, NeurIPS
        Datasets and Benchmarks.

    Example:
        >>> rng = np.random.default_rng(0)
        >>> better = rng.random(4000) < 0.5  # the old policy tosses a coin between two actions
        >>> bought = rng.random(4000) < np.where(better, 0.3, 0.1)
        >>> found = off_policy(bought, np.full(4000, 0.5), np.where(better, 0.9, 0.1))
        >>> low, high = found.lift_snips.interval(0.025, 0.025)
        >>> round(found.lift_snips.value, 2), round(low, 2), round(high, 2)
        (0.08, 0.07, 0.09)
    """
    r = _usable("reward", reward)
    n = len(r)
    if n == 0:
        raise ValueError("There are no logged decisions.")
    p, q = _usable("logged", logged, n), _usable("target", target, n)
    if p.min() <= 0 or p.max() > 1:
        raise ValueError("The propensities in `logged` must be above 0 and at most 1.")
    if q.min() < 0 or q.max() > 1:
        raise ValueError("The probabilities in `target` must be between 0 and 1.")
    if (predicted is None) != (expected is None):
        raise ValueError("`predicted` and `expected` must be given together.")
    unit, units = _units(groups, n)
    with np.errstate(over="ignore"):
        w = q / p
    heavy = float(w.sum())
    if heavy <= 0:
        raise ValueError("By `target` the new policy would take none of the logged actions.")
    if not math.isfinite(heavy):
        raise ValueError("A propensity in `logged` is too small for a finite weight.")

    def estimated(value: float, influence: Floats) -> Estimated:
        if units < 2:
            return Estimated(value, math.inf, 0.0)
        sums = influence if unit is None else np.bincount(unit, influence)
        return Estimated(value, math.sqrt(float(sums @ sums) * units / (units - 1)) / n, units - 1.0)

    plain = float(r.mean())
    ips = float((w * r).mean())
    snips = float((w * r).sum()) / heavy
    off_plain, off_ips, off_snips = r - plain, w * r - ips, w * (r - snips) * (n / heavy)
    spread = {
        "on_policy": (plain, off_plain),
        "ips": (ips, off_ips),
        "snips": (snips, off_snips),
        "weight": (heavy / n, w - heavy / n),
    }
    dr = lift_dr = None
    if predicted is not None and expected is not None:
        each = _usable("expected", expected, n) + w * (r - _usable("predicted", predicted, n))
        value = float(each.mean())
        dr = estimated(value, each - value)
        lift_dr = estimated(value - plain, each - value - off_plain)
        spread["dr"] = (value, each - value)

    def values(value: float, influence: Floats) -> Floats:
        if unit is None:
            return value + influence
        sums = np.bincount(unit, influence)[np.bincount(unit) > 0]
        return np.asarray(value + sums * (units / n), dtype=np.float64)

    by_unit = w if unit is None else np.bincount(unit, w)
    return OffPolicy(
        on_policy=estimated(plain, off_plain),
        ips=estimated(ips, off_ips),
        snips=estimated(snips, off_snips),
        dr=dr,
        lift_ips=estimated(ips - plain, off_ips - off_plain),
        lift_snips=estimated(snips - plain, off_snips - off_plain),
        lift_dr=lift_dr,
        weight=estimated(heavy / n, w - heavy / n),
        effective=heavy**2 / float(by_unit @ by_unit),
        largest=float(w.max()) / heavy,
        rows=n,
        each={name: values(*parts) for name, parts in spread.items()},
    )


def _usable(name: str, values: ArrayLike, rows: int | None = None) -> Floats:
    found = np.asarray(values, dtype=np.float64)
    if found.ndim != 1:
        raise ValueError(f"`{name}` must have one dimension, not {found.ndim}.")
    if rows is not None and len(found) != rows:
        raise ValueError(f"`{name}` has {len(found)} rows and `reward` has {rows}.")
    if not np.isfinite(found).all():
        raise ValueError(f"`{name}` has values that are missing or infinite.")
    return found


def _units(groups: ArrayLike | None, rows: int) -> tuple[NDArray[np.intp] | None, int]:
    """The unit of every row, and how many units there are; None for independent rows."""
    if groups is None:
        return None, rows
    found = np.asarray(groups)
    if found.ndim != 1 or len(found) != rows:
        raise ValueError(f"`groups` has the shape {found.shape} and `reward` has {rows} rows.")
    if not np.issubdtype(found.dtype, np.integer) or found.min() < 0:
        raise ValueError("`groups` must have integers of at least 0.")
    unit = found.astype(np.intp)
    return unit, int(np.count_nonzero(np.bincount(unit)))
