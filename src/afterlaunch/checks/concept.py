"""At which row did the model break: has its loss risen, seen outcome by outcome, and since when?

Every row of the stream that has an outcome has a loss between 0 and 1. Its mean in the reference says what is
normal. An e-detector watches for a rise beyond the margin; its error rate holds over all rows of the stream,
wherever one stops to look, so no error rate is spent on looking again.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from itertools import pairwise

import numpy as np
import polars as pl
from numpy.typing import NDArray

from afterlaunch.checks.evidence import Check, Evidence
from afterlaunch.checks.rows import is_number, numbers, words
from afterlaunch.checks.scoring import column, finite, positives
from afterlaunch.decide import EffectKind, Estimate, Margins
from afterlaunch.finding import Effect, Json, Verdict
from afterlaunch.stats import losses
from afterlaunch.stats.intervals import Interval, normal_quantile
from afterlaunch.stats.sequences import Break, bets, first_alarm, mean_limits, monitor, sample_limits
from afterlaunch.words import estimate, number, quantity

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Loss = Callable[[pl.DataFrame], "Floats | None"]

LEAST_REFERENCE = 100
"""Fewest rows of the reference with a loss."""

LEAST_STREAM = 100
"""Fewest rows of the stream with a loss."""

OF_REFERENCE = 0.2
"""Share of the error rate that the limits of the reference's own mean take; the stream has the rest."""

RECENT = 4
"""One in so many rows counts as recent: the model is `ok` only if it is so over all rows and over these. It is more
where that would not decide, and at most twice the rows that do, so that a long past hides less of a late rise."""

LEAST_RECENT = 1_000
"""No fewer rows are recent, if there are as many."""

SCALE = 0.95
"""Absolute errors are measured in this quantile of the reference's, and cut there."""

DEFAULT_ALPHA = 0.05

KINDS = (
    EffectKind(
        "error",
        "rise of the error rate since the break",
        "share",
        0.02,
        "up",
        "two more wrong in a hundred predictions",
    ),
    EffectKind("loss", "rise of the Brier score since the break", "", 0.01, "up", "half the margin of the error rate"),
    EffectKind(
        "absolute",
        "rise of the mean absolute error since the break",
        "",
        0.05,
        "up",
        "in units of the reference's 95 % quantile of errors; an eighth of the mean when errors are normal",
    ),
)


def _run(evidence: Evidence) -> list[Estimate]:
    stream, reference, roles = evidence.stream, evidence.reference_sample, evidence.roles
    if stream is None or reference is None or evidence.task not in _LOSSES or roles.outcome is None:
        return []
    out = []
    for key, (loss, word, primary) in _LOSSES[evidence.task](evidence).items():
        kind = CHECK.kind(key)
        before, after = loss(reference.frame), loss(stream)
        lacking = _lacking(evidence, word, before, after)
        if lacking is not None:
            reason, sentence = lacking
            n = 0 if after is None else int(np.isfinite(after).sum())
            action = "Give both tables an outcome and what the model predicted, and wait for more outcomes."
            out.append(
                Estimate(
                    "concept", kind, "", None, n=n, reason=reason, sentence=sentence, action=action, primary=primary
                )
            )
            continue
        assert before is not None
        assert after is not None
        out.append(_estimate(evidence, kind, word, before[np.isfinite(before)], after, primary))
    return out


# ------------------------------------------------------------------ losses


_Named = Mapping[str, tuple[Loss, str, bool]]
"""Key of an effect to its loss, the loss in words, and whether it counts toward the verdict."""


def _of_classes(evidence: Evidence) -> _Named:
    roles, binary = evidence.roles, evidence.task == "binary"
    threshold = float(evidence.options.get("threshold", 0.5))
    scored = binary and roles.score is not None

    def missed(frame: pl.DataFrame) -> Floats | None:
        outcome, prediction = column(frame, roles.outcome), column(frame, roles.prediction)
        if outcome is None:
            return None
        if binary:
            if prediction is not None:
                return np.abs(positives(prediction, roles) - positives(outcome, roles))
            score = finite(column(frame, roles.score))
            if score is None:
                return None
            return np.where(np.isnan(score), np.nan, np.abs((score >= threshold) - positives(outcome, roles)))
        if prediction is not None and is_number(prediction) and is_number(outcome):
            a, b = numbers(prediction), numbers(outcome)
            return np.where(np.isfinite(a) & np.isfinite(b), losses.miss(a, b), np.nan)
        guess = words(prediction) if prediction is not None else _likeliest(frame, roles.scores)
        if guess is None:
            return None
        return (guess != words(outcome)).cast(pl.Float64).to_numpy().astype(np.float64)

    def brier(frame: pl.DataFrame) -> Floats | None:
        score, outcome = finite(column(frame, roles.score)), column(frame, roles.outcome)
        if score is None or outcome is None:
            return None
        return np.where((score >= 0) & (score <= 1), losses.brier(score, positives(outcome, roles)), np.nan)

    # Where nobody said that scores are cut at 0.5, the error rate informs only.
    cut = not scored or roles.prediction is not None or "threshold" in evidence.options
    out: dict[str, tuple[Loss, str, bool]] = {"error": (missed, "error rate", cut)}
    if scored:
        out["loss"] = (brier, "Brier score", True)
    return out


def _likeliest(frame: pl.DataFrame, scores: Mapping[str, str]) -> pl.Series | None:
    """The class with the largest score of every row; null where a score is missing."""
    given = [finite(column(frame, name)) for name in scores.values()]
    table = np.array([g for g in given if g is not None])
    if not given or len(table) < len(given):
        return None
    known = ~np.isnan(table).any(axis=0)
    best = np.where(known, np.nan_to_num(table).argmax(axis=0), -1)
    labels = [*scores, None]
    return pl.Series([labels[i] for i in best.tolist()], dtype=pl.String)


def _of_numbers(evidence: Evidence) -> _Named:
    roles, reference = evidence.roles, evidence.reference_sample
    assert reference is not None

    def distance(frame: pl.DataFrame) -> Floats | None:
        guess, outcome = finite(column(frame, roles.prediction or roles.score)), finite(column(frame, roles.outcome))
        return None if guess is None or outcome is None else losses.absolute_error(guess, outcome)

    normal = distance(reference.frame)
    known = np.array([]) if normal is None else normal[np.isfinite(normal)]
    scale = float(np.quantile(known, SCALE)) if known.size else 0.0

    def cut(frame: pl.DataFrame) -> Floats | None:
        errors = distance(frame)
        if errors is None:
            return None
        return np.minimum(errors / scale, 1.0) if scale > 0 else np.where(np.isnan(errors), np.nan, errors > 0)

    unit = f" (in {number(scale)}, the reference's 95 % quantile)" if scale > 0 else ""
    return {"absolute": (cut, f"mean absolute error{unit}", True)}


_LOSSES: Mapping[str | None, Callable[[Evidence], _Named]] = {
    "binary": _of_classes,
    "multiclass": _of_classes,
    "regression": _of_numbers,
}


def _lacking(evidence: Evidence, word: str, before: Floats | None, after: Floats | None) -> tuple[str, str] | None:
    """What is missing, as a reason code and in words; None when nothing is."""
    for table, loss, least in (("reference", before, LEAST_REFERENCE), ("production", after, LEAST_STREAM)):
        start = f"The {word} cannot be followed row by row: "
        if loss is None:
            return "no_score", start + f"the {table} table lacks an outcome, or a score or prediction."
        known = int(np.isfinite(loss).sum())
        if known == 0:
            reason = "no_rows" if len(loss) == 0 else "no_outcomes"
            return reason, start + f"no row of the {table} table has both an outcome and what the model predicted."
        if known < least:
            return "too_few_rows", start + f"{known} rows of the {table} table have an outcome, and it takes {least}."
    return None


# ------------------------------------------------------------------ one loss


@dataclass(frozen=True)
class _Watched:
    """One loss over the stream, and what is normal.

    Attributes:
        normal: Losses of the reference, shape (m,).
        loss: Losses of the stream, in order, shape (n,).
        row: Row of the stream that each is from, shape (n,).
        margin: How much rise matters, for the story.
        alpha: Error rate of the story.
    """

    normal: Floats
    loss: Floats
    row: Ints
    margin: float
    alpha: float

    def limits(self, alpha_low: float, alpha_high: float) -> Interval:
        """Mean of the reference with limits at its share of the error rates."""
        return sample_limits(self.normal, OF_REFERENCE * alpha_low, OF_REFERENCE * alpha_high)

    def run_length(self, alpha: float) -> float:
        """Rows to a false alarm, at least and on average, so that alpha is left over all rows of the stream."""
        return len(self.loss) / ((1 - OF_REFERENCE) * alpha)

    def story(self, margin: float, alpha: float) -> tuple[Break, ...]:
        """All breaks at a margin and an error rate."""
        known = float(self.normal.sum()), float(len(self.normal))
        rate = OF_REFERENCE * alpha
        return monitor(self.loss, self.limits(alpha, alpha), margin, self.run_length(alpha), known=known, alpha=rate)

    def rises_beyond(self, alpha: float) -> float:
        """The largest margin at which the detector alarms, to the nearest 1 % or so from below."""
        high, threshold = self.limits(alpha, alpha).high, self.run_length(alpha)
        sizes = bets(float(self.normal.mean()), len(self.loss), threshold)

        def alarms(null: float) -> bool:
            return first_alarm(self.loss, null, threshold, sizes) is not None

        # The line of the story is tried first: the verdict then is what the detector itself says.
        low, top = 0.0, 1.0
        middle = high + self.margin
        for _ in range(9):
            if alarms(middle):
                low = middle
            else:
                top = middle
            middle = (low + top) / 2
            if top - low < 1e-4:
                break
        return low - high

    def rows_needed(self, margin: float, alpha: float) -> int | None:
        """Rows that show with 80 % power that nothing rose; None when the reference is too small for that."""
        limits = self.limits(alpha, alpha)
        room = margin - (limits.value - limits.low)
        if room <= 0:
            return None
        spread = float(self.normal.var()) or limits.high * (1 - limits.high)
        # A mixture of bets takes about 2 more in the logarithm than the best one.
        reach = np.sqrt(2 * (np.log(1 / ((1 - OF_REFERENCE) * alpha)) + 2)) + normal_quantile(0.2)
        return int(np.ceil(spread * (reach / room) ** 2))

    def recent(self, alpha: float) -> int:
        """Rows at the end of the stream that have to be fine by themselves."""
        part = max(1, len(self.loss) // RECENT)
        enough = self.rows_needed(self.margin, alpha)
        return part if enough is None else max(min(max(part, enough), 2 * enough), LEAST_RECENT)


def _estimate(
    evidence: Evidence, kind: EffectKind, word: str, normal: Floats, all_rows: Floats, primary: bool
) -> Estimate:
    row = np.flatnonzero(np.isfinite(all_rows))
    given = evidence.options.get("margins")
    margin = given.of("concept", kind, "") if isinstance(given, Margins) else kind.margin
    alpha = float(evidence.options.get("alpha", DEFAULT_ALPHA))
    watched = _Watched(normal, all_rows[row], row, margin, alpha)
    story = watched.story(margin, alpha)
    base = float(normal.mean())
    first, last = _worst(watched, story)
    value = float(watched.loss[first:last].mean()) - base

    def interval(alpha_low: float, alpha_high: float) -> tuple[float, float]:
        low = watched.rises_beyond(alpha_low)
        least = watched.limits(alpha_high, alpha_high).low
        rest = (1 - OF_REFERENCE) * alpha_high
        parts = [(first, last)]
        if not any(b.direction == "rise" for b in story):
            parts.append((max(first, last - watched.recent(alpha_high)), last))
        high = max(mean_limits(watched.loss[a:b], rest, rest).high for a, b in parts) - least
        # An alarm somewhere in a stretch may say more than the mean of the stretch.
        return (min(low, value) if value > margin or low <= margin else low), max(high, low, value)

    method = (
        f"e-detector (Shiryaev-Roberts, mixture of bets), at least {number(watched.run_length(alpha))} rows to a false "
        f"alarm on average at an error rate of {number(alpha)}; betting limits of the mean"
    )
    return Estimate(
        "concept",
        kind,
        "",
        value,
        interval=interval,
        say=partial(_say, evidence, watched, word, len(all_rows), value, story),
        action="Retrain on rows since the break, or go back to rules until then; ask what changed at that time "
        "(the world, an upstream table, or how outcomes are recorded).",
        n=len(row),
        method=method,
        rows_needed=watched.rows_needed,
        binding="reference_too_small",
        primary=primary,
        table=_chart(evidence, watched, word, story),
    )


def _worst(watched: _Watched, story: tuple[Break, ...]) -> tuple[int, int]:
    """The stretch with the largest mean loss among those after a rise; all rows where there was none."""
    ends = [*(b.change.row for b in story), len(watched.loss)][1:]
    stretches = [
        (b.change.row, end) for b, end in zip(story, ends, strict=True) if b.direction == "rise" and end > b.change.row
    ]
    return max(stretches, key=lambda s: float(watched.loss[s[0] : s[1]].mean()), default=(0, len(watched.loss)))


# ------------------------------------------------------------------ words


def _say(
    evidence: Evidence,
    watched: _Watched,
    word: str,
    rows: int,
    value: float,
    story: tuple[Break, ...],
    effect: Effect,
    verdict: Verdict,
) -> str:
    base, unit = float(watched.normal.mean()), effect.unit
    verb = "rose" if value >= 0 else "fell"
    shown = effect if value >= 0 else Effect(effect.name, -value, -effect.high, -effect.low, unit)
    means = f"from {quantity(base, unit)} in the reference to {quantity(base + value, unit)}"
    size = f"{word[:1].upper()}{word[1:]} {verb} by {estimate(shown)}, {means}"
    if verdict is Verdict.ALARM and not story and effect.low > 0:
        # The margin that alarmed is smaller than the one of the options.
        story = watched.story(effect.low, watched.alpha)
    told = [_tell(evidence, watched, b, unit) for b in story]
    if not told:
        size += f" over {len(watched.row):,} rows; there is no row from which it was found to be worse"
    elif verdict is Verdict.ALARM:
        size += f". The model broke: its {word} {'; it '.join(told)}"
    else:
        size += f". The model may have broken, which is not certain at this error rate: its {word} {'; it '.join(told)}"
    without = rows - len(watched.row)
    left = f" {without:,} of {rows:,} rows have no outcome yet and were left out." if without else ""
    length = number(watched.run_length(watched.alpha))
    return f"{size}.{left} False alarms come once in {length} rows on average, or less often."


_VERBS = {"rise": "rose", "fall": "fell", "recovery": "recovered"}


def _tell(evidence: Evidence, watched: _Watched, b: Break, unit: str) -> str:
    c = b.change
    at, low, high, alarm = (int(watched.row[i]) for i in (c.row, c.low, c.high, b.alarm))
    when = _time(evidence, at)
    since = f" ({when})" if when else ""
    return (
        f"{_VERBS[b.direction]} at row {at:,}{since}, between rows {low:,} and {high:,}, "
        f"from {quantity(c.before, unit)} to {quantity(c.after, unit)}, found at row {alarm:,}"
    )


def _time(evidence: Evidence, row: int) -> str | None:
    name, stream = evidence.roles.time, evidence.stream
    if name is None or stream is None or name not in stream.columns:
        return None
    value = stream[name][row]
    return None if value is None else str(value)[:19]


# ------------------------------------------------------------------ chart


_PARTS = 40


def _chart(evidence: Evidence, watched: _Watched, word: str, story: tuple[Break, ...]) -> Json:
    """Mean loss of equal parts of the stream, beside the reference's; the breaks as a list."""
    n = len(watched.loss)
    parts = min(_PARTS, max(1, n // 25))
    at = np.arange(parts + 1) * n // parts
    limits = [mean_limits(watched.loss[a:b], 0.025, 0.025) for a, b in pairwise(at)]
    x = [int(watched.row[(a + b) // 2]) for a, b in pairwise(at)]
    normal = watched.limits(watched.alpha, watched.alpha)
    ends = [x[0], x[-1]] if parts > 1 else x
    steady = {"x": ends, "low": None, "high": None}
    return {
        "kind": "lines",
        "title": f"{word[:1].upper()}{word[1:]} by row, with 95 % limits",
        "x_title": "row",
        "y_title": word,
        "series": [
            {
                "name": "production",
                "x": x,
                "y": [i.value for i in limits],
                "low": [i.low for i in limits],
                "high": [i.high for i in limits],
            },
            {"name": "reference", "y": [normal.value] * len(ends), **steady},
            {"name": "reference and margin", "y": [min(normal.value + watched.margin, 1.0)] * len(ends), **steady},
        ],
        "breaks": [
            {
                "direction": b.direction,
                "row": int(watched.row[b.change.row]),
                "low": int(watched.row[b.change.low]),
                "high": int(watched.row[b.change.high]),
                "time": _time(evidence, int(watched.row[b.change.row])),
                "found": int(watched.row[b.alarm]),
                "before": b.change.before,
                "after": b.change.after,
            }
            for b in story
        ],
        "run_length": watched.run_length(watched.alpha),
    }


CHECK = Check(
    name="concept",
    asks="At which row did the model break?",
    kinds=KINDS,
    needs=frozenset({"samples", "stream"}),
    run=_run,
)
