"""Why a mean loss changed: other rows, or the same rows with other outcomes."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from afterlaunch.stats.resampling import jackknife

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

CLIP = 0.001
"""Domain probabilities are kept this far from 0 and 1."""


@dataclass(frozen=True)
class Split:
    """The gap of a mean loss in two parts that add up to it, all relative to the offline mean.

    Attributes:
        gap: Production mean less offline mean.
        covariate: The part from a change of the features' distribution.
        conditional: The part from a change of the loss given the features.
        se: Standard errors of the three, in this order, shape (3,).
        df: Their degrees of freedom.
        offline: The offline mean loss, in its own unit.
        production: The production mean loss.
    """

    gap: float
    covariate: float
    conditional: float
    se: Floats
    df: float
    offline: float
    production: float


@dataclass(frozen=True)
class Overlap:
    """How far two tables have rows in the same places.

    Attributes:
        share: Mass that the two distributions have in common in the sense of
            2 · integral of p q / (p + q); 1 for equal, 0 for separate ones.
        effective: Smaller effective share of rows under the shared distribution, of both tables.
        rows: Smaller effective number of rows.
    """

    share: float
    effective: float
    rows: float


def split_gap(
    loss: tuple[Floats, Floats],
    production_chance: tuple[Floats, Floats],
    group: tuple[Ints, Ints],
    *,
    joint: bool,
) -> Split:
    """Split the change of a mean loss into covariate and conditional shift.

    Both tables are weighted to a shared distribution s that is large where both have rows,
    s(x) = p(x) q(x) / (p(x) + q(x)). The conditional part is the difference of the two mean
    losses under s; what it takes to move each table there and back is the covariate part.

    Args:
        loss: Loss of every row, offline and production, shapes (m,) and (n,).
        production_chance: Chance that a row with these features is from production when both tables
            have equal weight, cross-fitted, same shapes.
        group: Group of every row, same shapes; rows of a unit share one.
        joint: Whether a unit has the same group in both tables and can be in both.

    Returns:
        The parts with standard errors of the jackknife over groups, the chances held fixed.

    Source:
        Cai, Namkoong & Yadlowsky (2023), Diagnosing model performance under distribution shift,
        arXiv:2303.02011, eq. 2.1 and 2.2.

    Example:
        >>> rng = np.random.default_rng(0)
        >>> x, z = rng.normal(size=4000), rng.normal(0.5, size=4000)
        >>> chance = [1 / (1 + np.exp(0.125 - v / 2)) for v in (x, z)]
        >>> group = np.arange(4000) % 64
        >>> parts = split_gap((np.exp(x), np.exp(z)), tuple(chance), (group, group), joint=False)
        >>> abs(parts.covariate + parts.conditional - parts.gap) < 1e-12, abs(parts.conditional) < 0.1
        (True, True)
    """
    size = 1 + max(int(g.max(initial=0)) for g in group)
    weight = (_clipped(production_chance[0]), 1 - _clipped(production_chance[1]))
    sums = [_sums(x, w, g, size) for x, w, g in zip(loss, weight, group, strict=True)]
    shares = [s[:, 0] / max(float(s[:, 0].sum()), 1.0) for s in sums]
    if joint:
        counts = shares[0] + shares[1]
    else:
        nothing = np.zeros_like(sums[0])
        sums = [np.concatenate([sums[0], nothing]), np.concatenate([nothing, sums[1]])]
        counts = np.concatenate(shares)
    j = jackknife(_parts, *sums, size=counts)
    return Split(
        gap=float(j.value[0]),
        covariate=float(j.value[1]),
        conditional=float(j.value[2]),
        se=j.se,
        df=j.df,
        offline=float(loss[0].mean()),
        production=float(loss[1].mean()),
    )


def overlap(production_chance: tuple[Floats, Floats]) -> Overlap:
    """How far two tables have rows in the same places, from domain probabilities as in `split_gap`.

    Source:
        Le Cam's harmonic-mean affinity (Le Cam 1986, Asymptotic Methods in Statistical Decision Theory,
        ch. 4); effective rows: Kish (1965), Survey Sampling, section 11.7.

    Example:
        >>> overlap((np.full(100, 0.5), np.full(100, 0.5))).share
        1.0
    """
    weights = (_clipped(production_chance[0]), 1 - _clipped(production_chance[1]))
    rows = [float(w.sum() ** 2 / (w**2).sum()) for w in weights]
    share = float(np.mean([2 * w.mean() for w in weights]))
    effective = min(r / w.size for r, w in zip(rows, weights, strict=True))
    return Overlap(min(share, 1.0), effective, min(rows))


def domain_chance(
    features: Floats, is_production: NDArray[np.bool_], group: Ints, categorical: list[int], seed: int
) -> Floats:
    """Chance that each row is from production when both tables have equal weight, cross-fitted.

    Args:
        features: Rows of both tables, NaN where missing, shape (m + n, F).
        is_production: Which table each row is from, shape (m + n,).
        group: Group of each row; a group is never in the part that a model is fitted on and in the
            part that it scores, shape (m + n,).
        categorical: Columns that hold codes below 255.
        seed: Seed of the folds.

    Returns:
        Shape (m + n,).

    Source:
        Chernozhukov et al. (2018), Econometrics Journal 21:C1-C68, section 3, for cross-fitting.
    """
    from sklearn.ensemble import HistGradientBoostingClassifier
    from threadpoolctl import threadpool_limits

    y = is_production.astype(np.int64)
    weight = np.where(is_production, 0.5 / max(float(y.mean()), 1e-12), 0.5 / max(1 - float(y.mean()), 1e-12))
    rng = np.random.default_rng(seed)
    fold = rng.permutation(int(group.max(initial=0)) + 1)[group] % FOLDS
    out = np.full(y.size, 0.5)
    for k in range(FOLDS):
        held = fold == k
        if np.unique(y[~held]).size < 2 or not held.any():
            continue
        model = HistGradientBoostingClassifier(
            max_iter=60,
            max_leaf_nodes=15,
            min_samples_leaf=40,
            l2_regularization=1.0,
            categorical_features=categorical or None,
            early_stopping=False,
            random_state=seed,
        )
        # Threads of a busy machine wait for each other longer than they work on tables this small.
        with threadpool_limits(limits=1):
            model.fit(features[~held], y[~held], sample_weight=weight[~held])
            out[held] = model.predict_proba(features[held])[:, 1]
    return out


FOLDS = 3
"""Parts of the cross-fitting."""


def _clipped(chance: Floats) -> Floats:
    return np.clip(chance, CLIP, 1 - CLIP)


def _sums(loss: Floats, weight: Floats, group: Ints, size: int) -> Floats:
    columns = (np.ones(loss.size), loss, weight, weight * loss)
    return np.stack([np.bincount(group, c, minlength=size) for c in columns], axis=-1)


def _parts(offline: Floats, production: Floats) -> Floats:
    with np.errstate(invalid="ignore", divide="ignore"):
        p, p_shared = offline[..., 1] / offline[..., 0], offline[..., 3] / offline[..., 2]
        q, q_shared = production[..., 1] / production[..., 0], production[..., 3] / production[..., 2]
        conditional = q_shared - p_shared
        parts = np.stack([q - p, (p_shared - p) + (q - q_shared), conditional], axis=-1)
        out: Floats = parts / p[..., None]
    return out
