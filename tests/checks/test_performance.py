"""Realised and estimated metrics over windows: errors, maturity, trust, words, and what cannot be told."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import narwhals as nw
import numpy as np
import polars as pl
import pytest
from scipy.special import expit

from afterlaunch.checks.evidence import Evidence, Sample
from afterlaunch.checks.metric_kinds import METRICS
from afterlaunch.checks.performance import CHECK, KINDS
from afterlaunch.checks.performance_realised import Realised
from afterlaunch.checks.performance_rows import Estimator
from afterlaunch.decide import Margins, decide
from afterlaunch.finding import Finding, Verdict
from afterlaunch.profile.metrics import Task, count_metrics
from afterlaunch.profile.scores import score_knots
from afterlaunch.profile.types import MetricCounts, Timeline
from afterlaunch.roles import Roles
from afterlaunch.watch import Budget, Course, Look, Window, watch
from tests.simulation import at_most

START = datetime(2026, 1, 1, tzinfo=UTC)
ROLES = Roles(time="ts", score="s", outcome="y", outcome_time="at")


def log(
    rng: np.random.Generator,
    days: int,
    each: int,
    *,
    late: float | None = None,
    broken: float | None = None,
    day_sd: float = 0.0,
    moved: float = 0.0,
) -> pl.DataFrame:
    """A log of a calibrated model: from day `broken` on its score says little; days may have shocks of their own.

    Outcomes take exponential time of mean `late` days and are missing at the end of the log; None for at once.
    """
    day = np.repeat(np.arange(days), each)
    t = day + rng.random(day.size)
    x = rng.normal(moved, 1.0, day.size)
    slope = 1.5 * np.exp(rng.normal(0, day_sd, days))[day]
    if broken is not None:
        slope = np.where(t >= broken, 0.3, slope)
    y = (rng.random(day.size) < expit(slope * x - 0.5)).astype(float)
    wait = np.zeros(day.size) if late is None else rng.exponential(late, day.size)
    frame = pl.DataFrame({"w": day, "x": x, "s": expit(1.5 * x - 0.5), "y": y, "t": t, "wait": wait})
    here = pl.col("t") + pl.col("wait") <= days
    moment = pl.lit(START.replace(tzinfo=None)) + pl.duration(microseconds=(pl.col("t") * 86_400e6).cast(pl.Int64))
    later = moment + pl.duration(microseconds=(pl.col("wait") * 86_400e6).cast(pl.Int64))
    return frame.select("w", "x", "s", y=pl.when(here).then("y"), ts=moment, at=pl.when(here).then(later))


def counts(
    frame: pl.DataFrame, roles: Roles, task: Task, knots: tuple[float, ...], days: int
) -> dict[str, MetricCounts]:
    rows = frame.with_columns(bucket=pl.int_range(pl.len()) % 64)
    return count_metrics(
        nw.from_native(rows.lazy()),
        roles,
        task,
        fetch=lambda frames: [nw.to_native(f).collect() for f in frames],
        bucket="bucket",
        segment="w",
        segments=list(range(days)),
        knots=knots,
    )


def timeline(frame: pl.DataFrame, days: int) -> Timeline:
    rows = [frame.filter(pl.col("w") == d).height for d in range(days)]
    windows = tuple(
        Window(f"{START + timedelta(days=d):%Y-%m-%d}", START + timedelta(days=d), START + timedelta(days=d + 1), n)
        for d, n in enumerate(rows)
    )
    return Timeline("1d", windows, np.array(rows), {})


def evidence(
    reference: pl.DataFrame,
    production: pl.DataFrame,
    roles: Roles = ROLES,
    task: Task = "binary",
    features: tuple[str, ...] = (),
    **more: Any,
) -> Evidence:
    """As the reader would hand it over: counted by window, and the rows as samples."""
    days = [int(f["w"].max() or 0) + 1 for f in (reference, production)]  # type: ignore[arg-type]
    knots = score_knots(reference["s"].to_numpy()) if task == "binary" else ()
    old, new = (counts(f, roles, task, knots, d) for f, d in zip((reference, production), days, strict=True))
    kinds = {"x": "numeric", "s": "numeric"}
    return Evidence(
        roles=roles.with_(features=features),
        task=task,
        reference_kinds=kinds,  # type: ignore[arg-type]
        production_kinds=kinds,  # type: ignore[arg-type]
        metric_reference={"": old[""]},
        metric_production={"": new[""]},
        reference_sample=Sample(reference, reference.height, 0, window="w"),
        production_sample=Sample(production, production.height, 0, window="w"),
        history=timeline(reference, days[0]),
        timeline=timeline(production, days[1]),
        metric_history=[old[str(d)] for d in range(days[0])],
        metric_timeline=[new[str(d)] for d in range(days[1])],
        **more,
    )


def courses(given: Evidence) -> dict[tuple[str, str], Course]:
    assert CHECK.follow is not None
    return {(c.kind.key, c.subject): c for c in CHECK.follow(given)}


def whole(given: Evidence) -> dict[str, Finding]:
    found = decide(CHECK.run(given), margins=Margins(), primary=["performance"])
    for f in found:
        assert f.sentence.endswith(".")
        assert f.action.endswith(".")
        Finding.from_dict(f.to_dict())
    assert len({f.key for f in found}) == len(found)
    return {f.key: f for f in found}


def watched(given: Evidence) -> list[Finding]:
    assert CHECK.follow is not None
    out = watch(CHECK.follow(given), margins=Margins(), budget=Budget(), primary=["performance"]).findings
    for f in out:
        assert "nan" not in f.sentence
        Finding.from_dict(f.to_dict())
    return list(out)


# ------------------------------------------------------------------ promises


def auc_of(given: Evidence) -> Realised:
    return Realised(
        given, METRICS["binary"][0], given.metric_reference[""], given.metric_history, given.metric_timeline
    )


def test_each_end_of_a_realised_metric_keeps_its_error_also_with_days_of_their_own() -> None:
    """One-sided errors of 5 % and 0.5 %; a new reference in each draw, days vary beyond sampling."""
    rng, repeats = np.random.default_rng(3), 15
    misses, looks = np.zeros((2, 2)), 0
    for _ in range(repeats):
        source = auc_of(evidence(log(rng, 16, 200, day_sd=0.25), log(rng, 12, 200, day_sd=0.25)))
        for w in range(12):
            found = source.at(Look(w, w))
            assert not isinstance(found, tuple)
            looks += 1
            for i, alpha in enumerate((0.05, 0.005)):
                low, high = found.interval(alpha, alpha)
                misses[i] += [low > 0, high < 0]
    # Windows of one draw share its reference: as if a third of them were independent.
    for i, alpha in enumerate((0.06, 0.008)):
        assert misses[i].max() / looks <= at_most(alpha, looks // 3)


def test_days_of_their_own_widen_the_interval() -> None:
    rng = np.random.default_rng(4)
    given = evidence(log(rng, 20, 400, day_sd=0.4), log(rng, 2, 400))
    known, blind = auc_of(given), auc_of(replace(given, metric_history=()))
    widths = []
    for source in (known, blind):
        found = source.at(Look(0, 0))
        assert not isinstance(found, tuple)
        widths.append(float(np.diff(found.interval(0.05, 0.05))[0]))
    assert widths[0] > 1.2 * widths[1]
    assert "variance between reference windows" in known.method
    assert "sampling error only" in blind.method


def test_estimates_are_covered_and_the_comparison_says_so() -> None:
    rng, inside, size = np.random.default_rng(5), 0, 0
    for _ in range(4):
        given = evidence(log(rng, 8, 300), log(rng, 12, 200, moved=0.4))
        found = courses(given)
        for key in ("auc", "accuracy"):
            course = found["outside", key]
            size += int(course.n[0])
            inside += round((1 - float(course.value[0])) * int(course.n[0]))
            effect_low, effect_high = course.ends(np.array([0.05]), np.array([0.05]))
            assert effect_low[0] <= course.value[0] <= effect_high[0]
    assert (size - inside) / size <= at_most(0.06, size // 2)


def test_a_broken_relation_is_found_and_the_estimate_is_not_to_be_trusted() -> None:
    rng = np.random.default_rng(6)
    found = watched(evidence(log(rng, 12, 500), log(rng, 13, 500, broken=7.0)))
    episode = next(f for f in found if f.key == "auc")
    assert (episode.verdict, episode.primary) == (Verdict.ALARM, True)
    assert episode.window == "from 2026-01-08"
    assert "fell by" in episode.sentence
    trust = next(f for f in found if f.id.startswith("performance/outside@auc"))
    assert trust.effect is not None
    assert trust.effect.value > 0.4  # six of thirteen windows are broken
    assert "95 % prediction interval" in trust.sentence
    assert not any(f.verdict is Verdict.ALARM for f in found if f.key == "estimated_auc")


def test_other_rows_are_seen_without_outcomes() -> None:
    """All scores move toward the middle: the estimate falls, and says on what condition."""
    rng = np.random.default_rng(7)
    old = log(rng, 10, 1500)
    new = log(rng, 10, 1500).with_columns(y=pl.lit(None, dtype=pl.Float64), at=pl.lit(None, dtype=pl.Datetime("us")))
    new = new.filter((pl.col("s") - 0.5).abs() < 0.2)
    found = watched(evidence(old, new))
    alarm = next(f for f in found if f.key == "estimated_auc")
    assert (alarm.verdict, alarm.primary) == (Verdict.ALARM, True)
    assert "P(y | x), the outcomes given the features, is unchanged" in alarm.sentence
    assert "without outcomes" in alarm.sentence
    real = next(f for f in found if f.key == "auc")
    assert (real.verdict, real.reason) == (Verdict.UNDECIDED, "no_outcomes")


def test_the_same_day_after_day_is_fine() -> None:
    rng = np.random.default_rng(8)
    found = watched(evidence(log(rng, 10, 2000), log(rng, 8, 2000)))
    assert not any(f.verdict is Verdict.ALARM for f in found)
    assert {f.verdict for f in found if f.key in {"log_loss", "brier", "estimated_log_loss"}} == {Verdict.OK}
    assert all(f.effect is not None and f.effect.value <= 0.25 for f in found if f.key == "outside")


# ------------------------------------------------------------------ maturity


def test_windows_whose_outcomes_are_out_are_undecided_and_go_by_the_estimate() -> None:
    rng = np.random.default_rng(9)
    course = courses(evidence(log(rng, 12, 200), log(rng, 30, 200, late=1.5)))
    single = [i for i, k in enumerate(course["auc", ""].looks) if k.length == 1]
    reasons = [course["auc", ""].reasons[i] for i in single]
    assert reasons[:22] == [None] * 22
    assert set(reasons[-4:]) == {"outcomes_immature"}
    assert all(r is None for r in course["estimated_auc", ""].reasons)
    assert course["estimated_auc", ""].primary
    pooled = next(i for i, k in enumerate(course["auc", ""].looks) if k.length > 1 and k.last == 27)
    assert course["auc", ""].reasons[pooled] == "outcomes_immature"


def test_mature_outcomes_speak_for_themselves() -> None:
    rng = np.random.default_rng(10)
    found = courses(evidence(log(rng, 12, 300), log(rng, 10, 300)))
    assert found["auc", ""].primary
    assert not found["estimated_auc", ""].primary


def test_a_table_of_labelled_rows_only_is_immature_at_its_end() -> None:
    rng = np.random.default_rng(11)
    new = log(rng, 30, 300, late=1.5).drop_nulls("y")
    reasons = courses(evidence(log(rng, 12, 300), new))["auc", ""].reasons
    assert reasons[0] is None
    assert reasons[-1] == "outcomes_immature"


def test_without_times_the_share_of_rows_with_an_outcome_tells() -> None:
    rng = np.random.default_rng(12)
    new = log(rng, 30, 300, late=1.5).drop("at")
    reasons = courses(evidence(log(rng, 12, 300), new, ROLES.with_(outcome_time=None)))["auc", ""].reasons
    assert reasons[0] is None
    assert reasons[-1] == "outcomes_immature"


def test_two_tables_with_half_of_the_outcomes_out_wait() -> None:
    rng = np.random.default_rng(13)
    found = whole(evidence(log(rng, 10, 400), log(rng, 10, 400, late=6.0)))
    assert (found["auc"].verdict, found["auc"].reason) == (Verdict.UNDECIDED, "outcomes_immature")
    assert "late ones are still coming" in found["auc"].sentence
    assert found["estimated_auc"].primary


# ------------------------------------------------------------------ two tables


def test_two_tables_as_they_are() -> None:
    rng = np.random.default_rng(14)
    found = whole(evidence(log(rng, 10, 2000), log(rng, 10, 2000), features=("x",)))
    assert {k for k in found if not k.startswith(("estimated_", "reweighted_"))} == {
        "auc", "log_loss", "brier", "accuracy", "f1",
    }  # fmt: skip
    assert {f.verdict for f in found.values()} <= {Verdict.OK, Verdict.UNDECIDED}
    assert found["accuracy"].verdict is Verdict.OK
    assert found["estimated_accuracy"].verdict is Verdict.OK
    assert found["reweighted_auc"].effect is not None
    assert "overlap" in found["reweighted_auc"].sentence


def test_numbers_are_estimated_by_a_model_of_the_loss() -> None:
    rng = np.random.default_rng(15)

    def table(days: int, each: int, more: float) -> pl.DataFrame:
        frame = log(rng, days, each)
        x = rng.uniform(0, 1, frame.height) ** more
        y = 2 * x + rng.normal(0, 0.3 + x, frame.height)
        return frame.with_columns(x=pl.Series(x), s=pl.Series(2 * x), y=pl.Series(y))

    given = evidence(table(8, 600, 1.0), table(8, 600, 0.5), task="regression", features=("x",))
    found = whole(given)
    assert {"mae", "rmse", "estimated_mae", "estimated_rmse"} <= set(found)
    real, guess = found["mae"].effect, found["estimated_mae"].effect
    assert real is not None
    assert guess is not None
    assert guess.low < real.value < guess.high
    assert abs(guess.value - real.value) < 0.05
    assert {"mae", "estimated_mae", "estimated_rmse"} <= {k for k, _ in courses(given)}


def test_several_classes_are_estimated() -> None:
    rng = np.random.default_rng(16)

    def table(days: int, each: int) -> pl.DataFrame:
        frame = log(rng, days, each)
        p = rng.dirichlet(np.ones(3), frame.height)
        y = np.array(["a", "b", "c"])[(rng.random((frame.height, 1)) > p.cumsum(axis=1)).sum(axis=1).clip(max=2)]
        said = np.array(["a", "b", "c"])[p.argmax(axis=1)]
        return frame.with_columns(
            *(pl.Series(f"p{k}", p[:, i]) for i, k in enumerate("abc")), y=pl.Series(y), said=pl.Series(said)
        )

    roles = Roles(outcome="y", prediction="said", scores={k: f"p{k}" for k in "abc"})
    old, new = table(4, 800), table(4, 800)
    rows = [f.with_columns(bucket=pl.int_range(pl.len()) % 64) for f in (old, new)]
    both = [
        count_metrics(
            nw.from_native(f.lazy()),
            roles,
            "multiclass",
            fetch=lambda frames: [nw.to_native(g).collect() for g in frames],
            bucket="bucket",
            classes=["a", "b", "c"],
        )
        for f in rows
    ]
    found = whole(
        Evidence(
            roles=roles,
            task="multiclass",
            metric_reference=both[0],
            metric_production=both[1],
            reference_sample=Sample(old, old.height, 0),
            production_sample=Sample(new, new.height, 0),
        )
    )
    for key in ("accuracy", "macro_f1", "log_loss"):
        real, guess = found[key].effect, found[f"estimated_{key}"].effect
        assert real is not None
        assert guess is not None
        assert abs(real.value - guess.value) < 0.06


# ------------------------------------------------------------------ what cannot be told


@pytest.mark.parametrize(
    ("poor", "reason"),
    [
        (lambda t: t.with_columns(y=pl.lit(None, dtype=pl.Float64)), "no_outcomes"),
        (lambda t: t.with_columns(y=pl.lit(1.0)), "one_class"),
        (lambda t: t.head(30), "too_few_rows"),
    ],
)
def test_a_reference_that_teaches_nothing(poor: Any, reason: str) -> None:
    rng = np.random.default_rng(17)
    found = whole(evidence(poor(log(rng, 2, 300)), log(rng, 2, 300)))
    assert (found["estimated_auc"].verdict, found["estimated_auc"].reason) == (Verdict.UNDECIDED, reason)
    assert found["estimated_auc"].effect is None


def test_no_overlap_is_undecided() -> None:
    rng = np.random.default_rng(18)
    found = whole(evidence(log(rng, 4, 500), log(rng, 4, 500).with_columns(x=pl.col("x") + 50), features=("x",)))
    assert (found["reweighted_auc"].verdict, found["reweighted_auc"].reason) == (Verdict.UNDECIDED, "no_overlap")


def test_tiny_windows_are_undecided() -> None:
    rng = np.random.default_rng(19)
    found = courses(evidence(log(rng, 10, 300), log(rng, 6, 12)))
    assert set(found["auc", ""].reasons) <= {"too_few_of_rarer_class", "too_few_rows", "one_class"}
    assert set(found["estimated_auc", ""].reasons) == {"too_few_rows"}
    assert found["outside", "auc"].reasons == ("too_few_windows",)


def test_empty_and_absent_evidence() -> None:
    rng = np.random.default_rng(20)
    given = evidence(log(rng, 4, 300), log(rng, 4, 300))
    assert CHECK.run(replace(given, task=None)) == []
    assert CHECK.follow is not None
    assert CHECK.follow(replace(given, timeline=None)) == []
    only = CHECK.follow(replace(given, reference_sample=None))
    assert {c.kind.key for c in only} == {"auc", "log_loss", "brier", "accuracy", "f1"}
    late = CHECK.follow(replace(given, metric_timeline=()))
    assert {c.kind.key for c in late} >= {"estimated_auc"}


def test_kinds_are_each_of_one_key() -> None:
    keys = [k.key for k in KINDS]
    assert len(set(keys)) == len(keys)
    assert {"auc", "mae", "estimated_auc", "estimated_accuracy", "estimated_mae", "reweighted_auc", "outside"} <= set(
        keys
    )


def test_the_window_column_is_no_feature() -> None:
    rng = np.random.default_rng(21)
    given = evidence(log(rng, 4, 100), log(rng, 4, 100))
    given = replace(given, roles=given.roles.with_(features=None))
    (features, _), _ = Estimator(given).features
    assert features.shape[1] == 1


def test_weights_and_predictions_are_taken() -> None:
    rng = np.random.default_rng(22)
    old, new = (t.with_columns(k=pl.lit(2.0), p=pl.col("s") > 0.4) for t in (log(rng, 4, 400), log(rng, 4, 400)))
    plain = whole(evidence(old, new, ROLES.with_(prediction="p")))
    heavy = whole(evidence(old, new, ROLES.with_(prediction="p", weight="k")))
    for key in ("estimated_auc", "estimated_accuracy", "estimated_f1"):
        one, two = plain[key].effect, heavy[key].effect
        assert one is not None
        assert two is not None
        assert one.value == pytest.approx(two.value)
        assert one.low == pytest.approx(two.low, abs=1e-3)


def test_units_widen_estimates() -> None:
    rng = np.random.default_rng(23)

    def table() -> pl.DataFrame:
        frame = log(rng, 4, 400)
        unit = np.repeat(np.arange(frame.height // 8), 8)
        taste = rng.normal(0, 1.5, frame.height // 8)[unit]
        chance = expit(np.log(frame["s"].to_numpy() / (1 - frame["s"].to_numpy())) + taste)
        return frame.with_columns(u=pl.Series(unit), y=pl.Series((rng.random(unit.size) < chance).astype(float)))

    old, new = table(), table()
    alone, together = (
        whole(evidence(old, new, roles))["estimated_brier"].effect for roles in (ROLES, ROLES.with_(unit="u"))
    )
    assert alone is not None
    assert together is not None
    assert together.high - together.low > 1.2 * (alone.high - alone.low)
