"""Metrics without outcomes: derivatives, exact cases, and coverage of prediction intervals."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import expit
from sklearn import metrics as oracle
from sklearn.isotonic import IsotonicRegression

from afterlaunch.stats.estimated import Estimated, Learned, Rows, between, design_effect, variance_of
from afterlaunch.stats.estimated_map import fit_map
from afterlaunch.stats.estimated_metrics import CLASS_METRICS, loss_parts, parts
from tests.simulation import at_most

BINARY = ("auc", "accuracy", "f1", "precision", "recall", "log_loss", "brier")
ORACLES: dict[str, Callable[..., float]] = {
    "auc": lambda y, s, h, w: oracle.roc_auc_score(y, s, sample_weight=w),
    "accuracy": lambda y, s, h, w: oracle.accuracy_score(y, h, sample_weight=w),
    "f1": lambda y, s, h, w: oracle.f1_score(y, h, sample_weight=w),
    "precision": lambda y, s, h, w: oracle.precision_score(y, h, sample_weight=w),
    "recall": lambda y, s, h, w: oracle.recall_score(y, h, sample_weight=w),
    "log_loss": lambda y, s, h, w: oracle.log_loss(y, s, sample_weight=w),
    "brier": lambda y, s, h, w: oracle.brier_score_loss(y, s, sample_weight=w),
}


def draw(rng: np.random.Generator, n: int, shift: float = 0.0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Scores that are not calibrated, predictions, outcomes."""
    x = rng.normal(shift, 1.5, n)
    s = expit(x)
    return s, (s >= 0.5).astype(int), (rng.random(n) < expit(0.8 * x - 0.5)).astype(float)


# ------------------------------------------------------------------ metrics and their derivatives


@pytest.mark.parametrize("metric", BINARY)
@pytest.mark.parametrize("weighted", [False, True])
def test_known_outcomes_give_the_metric(metric: str, weighted: bool) -> None:
    rng = np.random.default_rng(0)
    s, h, y = draw(rng, 300)
    s = np.round(s, 2).clip(0.01, 0.99)
    w = rng.uniform(0.5, 2, 300) if weighted else None
    assert parts(metric, s, h, y, w).value == pytest.approx(ORACLES[metric](y, s, h, w))


@pytest.mark.parametrize("metric", ["accuracy", "macro_f1", "log_loss", "macro_auc"])
def test_several_classes(metric: str) -> None:
    rng = np.random.default_rng(1)
    p = rng.dirichlet(np.ones(4), 400)
    y = np.array([rng.choice(4, p=row) for row in p])
    h = p.argmax(axis=1)
    want = {
        "accuracy": oracle.accuracy_score(y, h),
        "macro_f1": oracle.f1_score(y, h, average="macro"),
        "log_loss": oracle.log_loss(y, p),
        "macro_auc": oracle.roc_auc_score(y, p, multi_class="ovr"),
    }
    assert parts(metric, p, h, np.eye(4)[y]).value == pytest.approx(want[metric])


@pytest.mark.parametrize("metric", CLASS_METRICS)
def test_slopes_and_influences_are_derivatives(metric: str) -> None:
    rng = np.random.default_rng(2)
    many = metric.startswith("macro")
    n = 40
    p = rng.dirichlet(np.ones(3), n) if many else rng.uniform(0.1, 0.9, n)
    s = np.round(p, 1)
    h = p.argmax(axis=1) if many else (s > 0.5).astype(int)
    w = rng.uniform(0.5, 1.5, n)
    here, step = parts(metric, s, h, p, w), 1e-6
    for i in (0, 7, 23):
        up = p.copy()
        up[(i, 1) if many else i] += step
        found = (parts(metric, s, h, up, w).value - here.value) / step
        assert here.slope[i, 1 if many else 0] == pytest.approx(found, rel=1e-3, abs=1e-6)
        heavier = w.copy()
        heavier[i] += step
        found = (parts(metric, s, h, p, heavier).value - here.value) / step * w[i]
        assert here.influence[i] == pytest.approx(found, rel=1e-3, abs=1e-6)
    assert here.influence.sum() == pytest.approx(0, abs=1e-9)


def test_losses() -> None:
    x = np.array([1.0, 2.0, 6.0])
    assert loss_parts("mae", x).value == 3
    assert loss_parts("rmse", x**2).value == pytest.approx(np.sqrt(np.mean(x**2)))
    assert np.isnan(parts("auc", [0.1, 0.2], None, [1.0, 1.0]).value)
    with pytest.raises(ValueError, match="needs predictions"):
        parts("f1", [0.1], None, [0.1])


# ------------------------------------------------------------------ what scores mean


@settings(max_examples=50)
@given(st.lists(st.tuples(st.integers(0, 50), st.booleans(), st.floats(0.1, 3)), min_size=1, max_size=80))
def test_the_map_is_isotonic_regression(rows: list[tuple[int, bool, float]]) -> None:
    s, y, w = (np.array(c, dtype=float) for c in zip(*rows, strict=True))
    found = fit_map(s, y, w)
    want = IsotonicRegression().fit(s, y, sample_weight=w).predict(s)
    assert found(s) == pytest.approx(want, abs=1e-6)
    assert (np.diff(found(np.linspace(0, 50, 60))) >= -1e-12).all()
    assert (found.noise >= 0).all()
    assert np.isfinite(found.pull).all()
    assert float(w @ (y - found(s))) == pytest.approx(0, abs=1e-6)


def test_a_map_needs_rows() -> None:
    for weight in (None, []):
        with pytest.raises(ValueError, match="at least one row"):
            fit_map([], [], weight)


# ------------------------------------------------------------------ exact cases


def test_many_rows_and_a_calibrated_score_bring_the_estimate_to_the_realised_metric() -> None:
    rng = np.random.default_rng(3)
    s, t = rng.random(200_000), rng.beta(2, 3, 200_000)
    y, z = ((rng.random(200_000) < v).astype(float) for v in (s, t))
    known = Learned(Rows(s, y, (s >= 0.5).astype(int)))
    for metric in BINARY:
        h = (t >= 0.5).astype(int)
        found = known.estimate(metric, Rows(t, known.chances(t), h))
        assert found.value == pytest.approx(parts(metric, t, h, z).value, abs=0.006)


@pytest.mark.parametrize("metric", BINARY)
def test_the_reference_itself_has_its_own_metric(metric: str) -> None:
    """No shift at all: no change, whatever the calibration got wrong."""
    s, h, y = draw(np.random.default_rng(4), 800)
    known = Learned(Rows(s, y, h))
    found = known.estimate(metric, Rows(s, known.chances(s), h))
    assert found.change == pytest.approx(0, abs=1e-9)
    assert found.reference == pytest.approx(parts(metric, s, h, y).value)


@given(st.integers(0, 2**32 - 1), st.sampled_from(BINARY))
def test_intervals_hold_the_estimate_and_widen(seed: int, metric: str) -> None:
    rng = np.random.default_rng(seed)
    s, h, y = draw(rng, 300)
    t, g, _ = draw(rng, 60, 0.5)
    known = Learned(Rows(s, y, h))
    found = known.estimate(metric, Rows(t, known.chances(t), g))
    inner, outer = found.interval(0.1, 0.1), found.interval(1e-5, 1e-5)
    assert outer[0] <= inner[0] <= found.change + 1e-12
    assert found.change - 1e-12 <= inner[1] <= outer[1]
    assert all(np.isfinite(outer))
    again = known.estimate(metric, Rows(t[::-1], known.chances(t[::-1]), g[::-1]))
    assert again.value == pytest.approx(found.value)


def test_rows_drawn_from_a_window_bring_sampling_error_and_less_luck() -> None:
    rng = np.random.default_rng(5)
    s, h, y = draw(rng, 5000)
    t, g, _ = draw(rng, 300)
    known = Learned(Rows(s, y, h))
    row = Rows(t, known.chances(t), g)
    whole, part = known.estimate("accuracy", row), known.estimate("accuracy", row, drawn=0.1)
    assert part.outcome == pytest.approx(whole.outcome / 10)
    assert whole.sampling == 0 < part.sampling
    normal = known.estimate("accuracy", row, unexplained=(0.01, 7.0))
    assert normal.se(change=True) > 0.1
    assert normal.interval(0.01, 0.01)[0] < whole.interval(0.01, 0.01)[0]


# ------------------------------------------------------------------ coverage


def misses(case: Callable[[np.random.Generator], tuple[Estimated, float]], repeats: int, alpha: float) -> list[float]:
    rng, out = np.random.default_rng(7), np.zeros(2)
    for _ in range(repeats):
        found, real = case(rng)
        low, high = found.realised(alpha, alpha)
        out += [real < low, real > high]
    return [float(v) / repeats for v in out]


@pytest.mark.parametrize("metric", BINARY)
@pytest.mark.parametrize("shift", [0.0, 0.7])
def test_the_prediction_interval_holds_the_realised_metric(metric: str, shift: float) -> None:
    """Each end misses in 2.5 %, one and a half points for the approximation: 2,000 and 400 rows."""

    def case(rng: np.random.Generator) -> tuple[Estimated, float]:
        s, h, y = draw(rng, 2000)
        t, g, z = draw(rng, 400, shift)
        known = Learned(Rows(s, y, h))
        return known.estimate(metric, Rows(t, known.chances(t), g)), parts(metric, t, g, z).value

    repeats = 250
    assert max(misses(case, repeats, 0.025)) <= at_most(0.04, repeats)
    assert max(misses(case, repeats, 0.0005)) <= at_most(0.003, repeats)


@pytest.mark.parametrize("metric", ["auc", "accuracy"])
def test_reweighting_holds_where_the_score_does_not_see_the_shift(metric: str) -> None:
    """A feature that the score lacks moves: P(y | score) changes, P(y | x) does not."""

    def both(rng: np.random.Generator, weighted: bool) -> tuple[Estimated, float]:
        x, y_chance = _hidden(rng, 4000, 0.5)
        s = expit(x[:, 0])
        y = (rng.random(4000) < y_chance).astype(float)
        z, z_chance = _hidden(rng, 500, 0.8)
        t = expit(z[:, 0])
        real = (rng.random(500) < z_chance).astype(float)
        importance = np.where(x[:, 1] > 0, 0.8 / 0.5, 0.2 / 0.5) if weighted else None
        known = Learned(Rows(s, y, (s > 0.5).astype(int)), importance)
        rows = Rows(t, known.chances(t), (t > 0.5).astype(int))
        return known.estimate(metric, rows), parts(metric, t, rows.predicted, real).value

    repeats = 200
    assert max(misses(lambda rng: both(rng, True), repeats, 0.025)) <= at_most(0.04, repeats)
    assert max(misses(lambda rng: both(rng, False), repeats, 0.025)) > 0.2


def _hidden(rng: np.random.Generator, n: int, share: float) -> tuple[np.ndarray, np.ndarray]:
    hidden = np.where(rng.random(n) < share, 1.0, -1.0)
    x = rng.normal(0, 1.5, n)
    return np.column_stack([x, hidden]), expit(x * np.where(hidden > 0, 0.3, 1.5) + 0.8 * hidden)


@pytest.mark.parametrize("metric", ["mae", "rmse"])
def test_expected_losses(metric: str) -> None:
    """Noise that grows with x, more large x in the window; the loss model is right up to a rising map."""

    def case(rng: np.random.Generator) -> tuple[Estimated, float]:
        x, z = rng.uniform(0, 1, 2000), rng.beta(2, 1, 400)
        loss, later = (np.abs(rng.normal(0, 0.5 + v)) for v in (x, z))
        if metric == "rmse":
            loss, later = loss**2, later**2
        known = Learned(Rows(x, loss))
        real = loss_parts(metric, later).value
        return known.estimate(metric, Rows(z, known.chances(z))), real

    repeats = 250
    assert max(misses(case, repeats, 0.025)) <= at_most(0.04, repeats)


def test_several_classes_are_covered() -> None:
    def case(rng: np.random.Generator) -> tuple[Estimated, float]:
        s, y = _three(rng, 2000)
        t, z = _three(rng, 400)
        known = Learned(Rows(s, np.eye(3)[y], s.argmax(axis=1)))
        rows = Rows(t, known.chances(t), t.argmax(axis=1))
        return known.estimate("accuracy", rows), float((t.argmax(axis=1) == z).mean())

    repeats = 200
    assert max(misses(case, repeats, 0.025)) <= at_most(0.04, repeats)


def _three(rng: np.random.Generator, n: int) -> tuple[np.ndarray, np.ndarray]:
    p = rng.dirichlet(np.ones(3), n)
    sharp = p**1.5
    return sharp / sharp.sum(axis=1, keepdims=True), (rng.random((n, 1)) > p.cumsum(axis=1)).sum(axis=1).clip(max=2)


def test_units_widen_the_interval() -> None:
    """Rows of a unit share what the score does not see: without units too narrow, with them right."""

    def case(rng: np.random.Generator, units: bool) -> tuple[Estimated, float]:
        def rows(n: int) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
            unit = np.repeat(np.arange(n // 10), 10)
            taste = rng.normal(0, 1.5, n // 10)[unit]
            s = expit(rng.normal(0, 1, n))
            return s, (s > 0.5).astype(int), (rng.random(n) < expit(np.log(s / (1 - s)) + taste)).astype(float), unit

        s, h, y, u = rows(3000)
        t, g, z, v = rows(500)
        known = Learned(Rows(s, y, h), group=u if units else None)
        design = design_effect((y - known.chances(s)), u, v) if units else 1.0
        found = known.estimate("brier", Rows(t, known.chances(t), g), design=design)
        return found, parts("brier", t, g, z).value

    assert case(np.random.default_rng(0), True)[0].se(change=True) > case(np.random.default_rng(0), False)[0].se(
        change=True
    )
    repeats = 150
    assert max(misses(lambda rng: case(rng, True), repeats, 0.025)) <= at_most(0.04, repeats)


def test_variances() -> None:
    x = np.array([1.0, -1.0, 2.0, -2.0])
    assert variance_of(x) == (10.0, np.inf)
    assert variance_of(x, np.array([0, 0, 1, 1])) == (0.0, 1.0)
    assert variance_of(x, np.zeros(4, dtype=int)) == (10.0, 1.0)
    assert between([1.0], [0.0]) == (0.0, np.inf)
    assert between([1.0, 1.0, 1.0], [0.5] * 3)[0] == 0
    assert design_effect(np.ones(3), np.arange(3), np.arange(3)) == 1
