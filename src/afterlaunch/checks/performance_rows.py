"""Rows of the samples as what estimates without outcomes are made from."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import polars as pl
from numpy.typing import NDArray

from afterlaunch.checks.evidence import Evidence
from afterlaunch.checks.rows import groups, is_number, is_plain, numbers, text_codes
from afterlaunch.checks.scoring import column, finite, positives, row_groups
from afterlaunch.stats.estimated import Learned, Rows, design_effect
from afterlaunch.stats.shift import Overlap, domain_chance, overlap

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

LEAST_ROWS = 200
"""Fewest rows of the reference with an outcome that scores are calibrated on."""

LEAST_RARE = 10
"""Fewest of the rarer class, in the reference and expected in a window."""

MOST_ROWS = 20_000
"""Rows of each table that a model of losses or of the shift is trained on."""

MOST_LEVELS = 200
"""Values of a categorical feature that are told apart; the rest are one more value."""

LEAST_FINITE = 50
"""Fewest finite values in each sample of a numeric feature that is taken."""

FOLDS = 3
"""Parts of the cross-fitting."""

ESTIMATED = {
    "binary": ("auc", "log_loss", "brier", "accuracy", "f1"),
    "multiclass": ("accuracy", "macro_f1", "log_loss", "brier"),
    "regression": ("rmse", "mae"),
}
"""Metrics that are estimated without outcomes, by task, the one that sums it up first."""


@dataclass(frozen=True)
class Scored:
    """Scored rows of one sample.

    Attributes:
        row: Their places in the sample, shape (n,).
        score: Score of the positive class, shape (n,), of every class, (n, K), or for numbers the prediction, (n,).
        predicted: Predicted class, shape (n,); None for numbers.
        outcome: Shaped like `score`: 0 or 1, or the number; NaN where it has not come.
        weight: Shape (n,), or None.
    """

    row: Ints
    score: Floats
    predicted: Ints | None
    outcome: Floats
    weight: Floats | None

    def take(self, at: NDArray[np.generic]) -> Scored:
        """Some of the rows."""
        return Scored(
            self.row[at],
            self.score[at],
            None if self.predicted is None else self.predicted[at],
            self.outcome[at],
            None if self.weight is None else self.weight[at],
        )


class Estimator:
    """Everything that the reference teaches, ready for any rows of production.

    Args:
        evidence: With both samples.
    """

    def __init__(self, evidence: Evidence) -> None:
        assert evidence.reference_sample is not None
        assert evidence.production_sample is not None
        self.evidence = evidence
        self.frames = evidence.reference_sample.frame, evidence.production_sample.frame
        self.seed = evidence.reference_sample.seed
        self.groups = groups(evidence)
        self.lacking: tuple[str, str] | None = None
        both = [_scored(evidence, f) for f in self.frames]
        if both[0] is None or both[1] is None:
            self.lacking = "no_score", "a table has no score to calibrate."
            return
        known = np.isfinite(both[0].outcome if both[0].outcome.ndim == 1 else both[0].outcome[:, 0])
        self.reference, self.production = both[0].take(known), both[1]
        rows = self.reference.row.size
        if not known.any():
            self.lacking = "no_outcomes", "no reference row has an outcome, and that is what scores are calibrated on."
        elif rows < LEAST_ROWS:
            self.lacking = (
                "too_few_rows",
                f"only {rows} reference rows have an outcome and a score, and it takes {LEAST_ROWS}.",
            )
        elif evidence.task == "binary" and (rare := _rare(self.reference.outcome)) < LEAST_RARE:
            self.lacking = (
                "one_class" if rare == 0 else "too_few_of_rarer_class",
                f"only {rare:.0f} reference rows have the rarer outcome, and it takes {LEAST_RARE}.",
            )

    @property
    def numbers(self) -> bool:
        """Whether numbers are predicted, not classes."""
        return self.evidence.task == "regression"

    @property
    def metrics(self) -> tuple[str, ...]:
        """Metrics that can be estimated."""
        every = ESTIMATED.get(str(self.evidence.task), ())
        if self.evidence.task != "binary":
            return every
        if self.evidence.roles.score is None:
            return ("accuracy", "f1")
        both = np.concatenate([self.reference.score, self.production.score])
        probable = both.size > 0 and both.min() >= 0 and both.max() <= 1
        return every if probable else tuple(m for m in every if m not in {"log_loss", "brier"})

    @cached_property
    def group(self) -> Ints | None:
        """Group of dependent rows of every reference row, None for independent rows."""
        return None if self.groups[0] is None else self.groups[0][self.reference.row]

    @cached_property
    def _losses(self) -> dict[str, tuple[Learned, Floats]]:
        """Models of the loss: what they teach, and their prediction of every production row."""
        error = self.reference.score - self.reference.outcome
        features = self.features
        prediction = [self.reference.score, self.production.score]
        x = [np.column_stack([f, p]) for f, p in zip(self._of_rows(features[0]), prediction, strict=True)]
        out = {}
        for metric, loss in (("mae", np.abs(error)), ("rmse", error**2)):
            z = _cross_fitted(x[0], loss, x[1], row_groups(self.group, error.size), features[1], self.seed)
            rows = Rows(z[0], loss, None, self.reference.weight)
            out[metric] = Learned(rows, group=self.group), z[1]
        return out

    @cached_property
    def _classes(self) -> Learned:
        r = self.reference
        return Learned(Rows(r.score, r.outcome, r.predicted, r.weight), group=self.group)

    def learned(self, metric: str, importance: tuple[Ints, Floats] | None = None) -> Learned:
        """What the reference teaches for a metric, reweighted when importance weights of some rows are given."""
        if self.numbers:
            return self._losses[metric][0]
        if importance is None:
            return self._classes
        r = self.reference.take(importance[0])
        group = None if self.group is None else self.group[importance[0]]
        return Learned(Rows(r.score, r.outcome, r.predicted, r.weight), importance[1], group)

    def rows(self, metric: str, at: NDArray[np.generic], learned: Learned, weight: Floats | None) -> Rows:
        """Production rows as `Learned.estimate` takes them; `at` are places among the scored rows."""
        p = self.production
        own = p.weight[at] if p.weight is not None else None
        w = own if weight is None else weight if own is None else own * weight
        if self.numbers:
            z = self._losses[metric][1][at]
            return Rows(z, learned.chances(z), None, w)
        score = p.score[at]
        return Rows(score, learned.chances(score), None if p.predicted is None else p.predicted[at], w)

    def design(self, at: NDArray[np.generic]) -> float:
        """How much rows of one unit widen the luck of outcomes, from the reference's residuals."""
        roles = self.evidence.roles
        if self.groups[0] is None or self.groups[1] is None:
            return 1.0
        name = roles.unit if roles.unit is not None and all(roles.unit in f.columns for f in self.frames) else None
        if name is not None and all(is_plain(f[name]) for f in self.frames):
            a, b = text_codes(self.frames[0][name], self.frames[1][name])
        else:
            a, b = self.groups[0], self.groups[1]
        here = self.reference
        if self.numbers:
            residual = np.abs(here.score - here.outcome)
            residual = residual - self._losses["mae"][0].chances(self._losses["mae"][0].reference.score)
        else:
            chance = self._classes.chances(here.score)
            off = here.outcome - chance
            residual = off if off.ndim == 1 else off.max(axis=1)
        return design_effect(residual, a[here.row], b[self.production.row[at]])

    # -------------------------------------------------------------- features and shift

    @cached_property
    def features(self) -> tuple[tuple[Floats, Floats], list[int]]:
        """Features that both samples have, as numbers and codes: (of each frame, which are categorical)."""
        a, b = self.frames
        columns: list[tuple[Floats, Floats]] = []
        categorical: list[int] = []
        samples = self.evidence.reference_sample, self.evidence.production_sample
        cut = {s.window for s in samples if s is not None}
        for name in self.evidence.roles.features_of(a.columns):
            if name in cut:
                continue
            one, two = column(a, name), column(b, name)
            if one is None or two is None or one.null_count() == len(one) or two.null_count() == len(two):
                continue
            if is_number(one) and is_number(two):
                x, y = _numbers(one), _numbers(two)
                # A column that is not finite in enough rows tells only which table a row is from.
                if min(np.isfinite(x).sum(), np.isfinite(y).sum()) >= LEAST_FINITE:
                    columns.append((x, y))
            elif one.dtype in TEXT and two.dtype in TEXT:
                a_code, b_code = _codes(one, two)
                if int(max(a_code.max(initial=0), b_code.max(initial=0))) > 0:
                    categorical.append(len(columns))
                    columns.append((a_code.astype(np.float64), b_code.astype(np.float64)))
        empty = tuple(np.zeros((f.height, 0)) for f in (a, b))
        if not columns:
            return (empty[0], empty[1]), []
        return (np.column_stack([c[0] for c in columns]), np.column_stack([c[1] for c in columns])), categorical

    def _of_rows(self, features: tuple[Floats, Floats]) -> tuple[Floats, Floats]:
        return features[0][self.reference.row], features[1][self.production.row]

    def shift(self, at: NDArray[np.generic]) -> tuple[tuple[Ints, Floats], Overlap] | None:
        """Importance weights of reference rows for some production rows, and the overlap; None without features.

        Weights are truncated at the square root of their number (Ionides 2008, Journal of Computational and
        Graphical Statistics 17:295-311).
        """
        (a, b), categorical = self.features
        if a.shape[1] == 0 or len(at) == 0:
            return None
        one, two = _spread(np.arange(self.reference.row.size), MOST_ROWS), _spread(np.asarray(at), MOST_ROWS)
        here, there = self.reference.row[one], self.production.row[two]
        own = [row_groups(g, f.height) for g, f in zip(self.groups, self.frames, strict=True)]
        is_live = np.arange(one.size + two.size) >= one.size
        chance = domain_chance(
            np.concatenate([a[here], b[there]]),
            is_live,
            np.concatenate([own[0][here], own[1][there]]),
            categorical,
            self.seed,
        )
        both = chance[~is_live], chance[is_live]
        odds = np.clip(both[0], 1e-3, 1 - 1e-3)
        weight = odds / (1 - odds)
        weight = np.minimum(weight / weight.mean(), math.sqrt(weight.size))
        return (one, weight / weight.mean()), overlap(both)


def effective(weight: Floats) -> float:
    """Rows that carry as much information as weighted ones do (Kish 1965, section 11.7)."""
    return float(weight.sum() ** 2 / (weight**2).sum())


TEXT = (pl.String, pl.Boolean, pl.Categorical, pl.Enum)


def _scored(evidence: Evidence, frame: pl.DataFrame) -> Scored | None:
    roles, n = evidence.roles, frame.height
    outcome = column(frame, roles.outcome)
    weight = finite(column(frame, roles.weight)) if roles.weight is not None else None
    nothing = np.full(n, np.nan)
    predicted: Ints | None = None
    if evidence.task == "regression":
        score = finite(column(frame, roles.prediction or roles.score))
        y = finite(outcome)
        y = nothing if y is None else y
    elif evidence.task == "binary":
        score, given = finite(column(frame, roles.score)), column(frame, roles.prediction)
        said = positives(given, roles) if given is not None else None
        score = said if score is None else score
        if score is None:
            return None
        y = positives(outcome, roles) if outcome is not None else nothing
        said = (
            np.where(np.isfinite(score), score >= evidence.options.get("threshold", 0.5), np.nan)
            if said is None
            else said
        )
        score = np.where(np.isfinite(said), score, np.nan)
        predicted = np.nan_to_num(said).astype(np.int64)
    elif evidence.task == "multiclass":
        found = _classes(evidence, frame, outcome)
        if found is None:
            return None
        score, y, predicted = found
    else:
        return None
    if score is None:
        return None
    good = np.isfinite(score) if score.ndim == 1 else np.isfinite(score).all(axis=1)
    if weight is not None:
        good &= np.isfinite(weight) & (weight >= 0)
    row = np.flatnonzero(good).astype(np.int64)
    whole = Scored(np.arange(n, dtype=np.int64), score, predicted, y, weight)
    return whole.take(row)


def _classes(evidence: Evidence, frame: pl.DataFrame, outcome: pl.Series | None) -> tuple[Floats, Floats, Ints] | None:
    roles = evidence.roles
    names = list(roles.scores)
    each = [finite(column(frame, roles.scores[name])) for name in names]
    if len(names) < 2 or any(e is None for e in each):
        return None
    score = np.column_stack([e for e in each if e is not None])
    index = {_label(name): k for k, name in enumerate(names)}

    def code(series: pl.Series) -> Ints:
        text = [_label(v) if v is not None else None for v in series.to_list()]
        return np.array([index.get(t, -1) if t is not None else -1 for t in text], dtype=np.int64)

    y = np.full(score.shape, np.nan)
    if outcome is not None:
        at = code(outcome)
        y[at >= 0] = (at[at >= 0, None] == np.arange(len(names))).astype(np.float64)
    given = column(frame, roles.prediction)
    said = np.where(np.isnan(score), -np.inf, score).argmax(axis=1).astype(np.int64) if given is None else code(given)
    return score, y, said


def _label(value: object) -> str:
    """A class as text, the same for 1, 1.0, True and "1", as metrics are counted."""
    if isinstance(value, bool):
        return str(int(value))
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    return str(value)


def _rare(outcome: Floats) -> float:
    positive = float(outcome.sum())
    return min(positive, outcome.size - positive)


def _numbers(series: pl.Series) -> Floats:
    x = numbers(series)
    return np.where(np.isfinite(x), x, np.nan)


def _codes(a: pl.Series, b: pl.Series) -> tuple[Ints, Ints]:
    """Values of both columns as codes up to `MOST_LEVELS`, most frequent first."""
    one, two = text_codes(a, b)
    code = np.concatenate([one, two])
    _, inverse, count = np.unique(code, return_inverse=True, return_counts=True)
    rank = np.empty(count.size, dtype=np.int64)
    rank[np.argsort(-count, kind="stable")] = np.arange(count.size)
    out = np.minimum(rank[inverse], MOST_LEVELS)
    return out[: one.size], out[one.size :]


def _spread(at: NDArray[np.generic], most: int) -> Ints:
    """At most so many of the places, evenly spread."""
    x = np.asarray(at, dtype=np.int64)
    return x if x.size <= most else x[np.arange(most) * x.size // most]


def _cross_fitted(
    x: Floats, loss: Floats, other: Floats, group: Ints, categorical: list[int], seed: int
) -> tuple[Floats, Floats]:
    """Expected loss of the reference's rows by models that have not seen them, and of other rows by the same models.

    Every other row is scored by one of the models only, as the reference's rows are: so both kinds of scores mean
    the same, and what they mean can be learned from the one and read off for the other.
    """
    from sklearn.ensemble import HistGradientBoostingRegressor
    from threadpoolctl import threadpool_limits

    rng = np.random.default_rng(seed)
    fold = rng.permutation(int(group.max(initial=0)) + 1)[group] % FOLDS
    out, there = np.zeros(loss.size), np.zeros(len(other))
    turn = np.arange(len(other)) % FOLDS
    for k in range(FOLDS):
        held = fold == k
        known = _spread(np.flatnonzero(~held), MOST_ROWS)
        if known.size == 0:
            continue
        model = HistGradientBoostingRegressor(
            max_iter=100,
            learning_rate=0.1,
            max_leaf_nodes=15,
            min_samples_leaf=40,
            l2_regularization=1.0,
            categorical_features=categorical or None,
            early_stopping=False,
            random_state=seed,
        )
        with threadpool_limits(limits=1):
            model.fit(x[known], loss[known])
            if held.any():
                out[held] = model.predict(x[held])
            if (turn == k).any():
                there[turn == k] = model.predict(other[turn == k])
    return out, there
