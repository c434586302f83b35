"""What a review says: an effect, its interval, the margin it is held against, and what to do.

Everything here is frozen and free of computation: checks and `decide` build these
objects, the report, the command line and the service only read them.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from pathlib import Path
from typing import Any, Literal

SCHEMA_VERSION = 1

Direction = Literal["up", "down", "both"]
Goal = Literal["inside", "better", "none"]
"""What is to be shown: that the effect lies inside its margin; that it is on the good side of zero, where not even
the margin's worth of good is an alarm; or that there is none, where any effect beyond zero is an alarm."""

Json = dict[str, Any]


class Verdict(StrEnum):
    """How an interval lies against its margin."""

    OK = "ok"
    ALARM = "alarm"
    UNDECIDED = "undecided"

    @property
    def rank(self) -> int:
        """Position in a list that puts the worst first: alarm 0, undecided 1, ok 2."""
        return {"alarm": 0, "undecided": 1, "ok": 2}[self.value]


@dataclass(frozen=True, slots=True)
class Effect:
    """A change in the user's units, with its interval.

    Attributes:
        name: What is measured, in words, such as "share missing".
        value: The estimate.
        low: Lower end of the interval; it decides whether an effect that is bad
            upward is an alarm, so it stands at the family's adjusted error rate.
        high: Upper end of the interval.
        unit: Unit of all three, such as "share", "AUC", "sd" or "ms".
    """

    name: str
    value: float
    low: float
    high: float
    unit: str

    def __post_init__(self) -> None:
        for key in ("value", "low", "high"):
            number = getattr(self, key)
            if not math.isfinite(number):
                raise ValueError(f"The {key} of effect {self.name!r} is {number}; an effect has finite numbers.")
        if self.low > self.high:
            raise ValueError(
                f"The interval of effect {self.name!r} is [{self.low}, {self.high}]; its low end is above its high one."
            )


@dataclass(frozen=True, slots=True)
class Finding:
    """One answer: an effect on a subject, held against a margin.

    Attributes:
        check: Name of the check that found it, such as "drift".
        key: Short name of the effect, the part after the slash in a margin key, such as "psi".
        subject: What it is about: a column, a metric, or "" for the table as a whole.
        verdict: Where the interval lies against the margin.
        sentence: The finding in one sentence, effect first.
        action: What to do about it.
        effect: The effect; None only when `verdict` is undecided and `reason` says why.
        reason: A code that says why a finding is undecided, else None.
        direction: Which direction of the effect is bad.
        goal: What is to be shown, see `Goal`.
        margin: How much change matters, in the effect's unit.
        primary: Whether the finding counts toward the verdict of the review.
        segment: The segment it is about, or None for all rows.
        window: The time window it is about, or None for all rows.
        alpha: Error rate shared by the family (chance of any false alarm in it).
        alpha_each: Part of `alpha` that this finding's alarm end was computed at.
        family: Which findings share `alpha`, in words.
        method: How the interval was computed.
        n: Rows behind the estimate (production side).
        p_value: For the hypothesis that the effect lies inside the margin, or None.
        rows_needed: Production rows that would decide with 80 % power if the true effect
            were zero; None when decided or when something else than rows binds (see `reason`).
        sample: Rows of a bounded sample it rests on, or None when every row was counted.
        table: Data for its chart: a dict with a "kind" (see `report.charts`).
    """

    check: str
    key: str
    subject: str
    verdict: Verdict
    sentence: str
    action: str
    effect: Effect | None
    reason: str | None = None
    direction: Direction = "up"
    margin: float | None = None
    primary: bool = True
    segment: str | None = None
    window: str | None = None
    alpha: float = 0.05
    alpha_each: float = 0.05
    family: str = ""
    method: str = ""
    n: int = 0
    p_value: float | None = None
    rows_needed: int | None = None
    sample: int | None = None
    table: Json | None = None
    goal: Goal = "inside"

    def __post_init__(self) -> None:
        if self.effect is None and (self.verdict is not Verdict.UNDECIDED or not self.reason):
            raise ValueError(f"Finding {self.id!r} has no effect, so it must be undecided and give a reason.")
        if self.margin is not None and not self.margin > 0:
            raise ValueError(f"The margin of finding {self.id!r} is {self.margin}; a margin is above zero.")
        if self.p_value is not None and not 0 <= self.p_value <= 1:
            raise ValueError(f"The p-value of finding {self.id!r} is {self.p_value}; it lies between 0 and 1.")

    @property
    def margin_key(self) -> str:
        """The most specific key under which its margin can be set."""
        return f"{self.check}/{self.key}@{self.subject}" if self.subject else f"{self.check}/{self.key}"

    @property
    def id(self) -> str:
        """Stable across runs: the margin key, and the segment and window if there are any."""
        text = self.margin_key
        if self.segment is not None:
            text += f"[{self.segment}]"
        if self.window is not None:
            text += f"({self.window})"
        return text

    @property
    def excess(self) -> float:
        """Distance of the estimate beyond the margin, in margins; negative when inside it."""
        if self.effect is None or self.margin is None:
            return 0.0
        bad = {"up": self.effect.value, "down": -self.effect.value, "both": abs(self.effect.value)}[self.direction]
        if self.goal == "better":
            bad += 2 * self.margin
        elif self.goal == "none":
            bad += self.margin
        return (bad - self.margin) / self.margin if self.margin > 0 else bad

    @property
    def order(self) -> tuple[int, int, float, str]:
        """Sort key: verdict, primary, distance beyond the margin, id."""
        return (self.verdict.rank, 0 if self.primary else 1, -self.excess, self.id)

    def to_dict(self) -> Json:
        """The finding as plain JSON data."""
        effect = None
        if self.effect is not None:
            e = self.effect
            effect = {"name": e.name, "value": e.value, "low": e.low, "high": e.high, "unit": e.unit}
        return {
            "id": self.id,
            "check": self.check,
            "key": self.key,
            "subject": self.subject,
            "segment": self.segment,
            "window": self.window,
            "primary": self.primary,
            "verdict": self.verdict.value,
            "reason": self.reason,
            "effect": effect,
            "direction": self.direction,
            "goal": self.goal,
            "margin": self.margin,
            "alpha": self.alpha,
            "alpha_each": self.alpha_each,
            "family": self.family,
            "method": self.method,
            "n": self.n,
            "p_value": self.p_value,
            "rows_needed": self.rows_needed,
            "sample": self.sample,
            "sentence": self.sentence,
            "action": self.action,
            "table": self.table,
        }

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Finding:
        """Read a finding back from `to_dict`.

        Raises:
            ValueError: When a field is missing or has a value that no finding can have.
        """
        try:
            fields = {k: v for k, v in data.items() if k != "id"}
            fields["verdict"] = Verdict(fields["verdict"])
            if fields["effect"] is not None:
                fields["effect"] = Effect(**fields["effect"])
            return cls(**fields)
        except (AttributeError, KeyError, TypeError) as error:
            raise ValueError(f"This is not a finding of schema version {SCHEMA_VERSION}: {error}.") from error


@dataclass(frozen=True, slots=True)
class Review:
    """The answer to one question: a verdict and the findings behind it, worst first.

    Attributes:
        question: Which question was asked, such as "launch".
        findings: Sorted by verdict, primary first, then distance beyond the margin.
        rows: Row counts by table, and whatever else a reader needs to judge the size of the evidence.
        settings: Roles, margins and error rate that the review was made with.
        notes: Sentences on what was left out or assumed.
        version: Version of afterlaunch that made it.
        figures: Data for charts of the review as a whole, see `report.charts`.
        decision: What to do, in one sentence, where the question asks for a decision.
    """

    question: str
    findings: tuple[Finding, ...]
    rows: Json = field(default_factory=dict)
    settings: Json = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    version: str = ""
    figures: tuple[Json, ...] = ()
    decision: str = ""

    def __post_init__(self) -> None:
        object.__setattr__(self, "findings", tuple(sorted(self.findings, key=lambda f: f.order)))

    @property
    def verdict(self) -> Verdict:
        """Alarm if a primary finding alarms, else undecided if one is, or if there is none, else ok."""
        verdicts = {f.verdict for f in self.findings if f.primary}
        if Verdict.ALARM in verdicts:
            return Verdict.ALARM
        if Verdict.UNDECIDED in verdicts or not verdicts:
            return Verdict.UNDECIDED
        return Verdict.OK

    @property
    def headline(self) -> str:
        """One line: whether the model is fine, and what to do."""
        if self.decision:
            return self.decision
        primary = [f for f in self.findings if f.primary]
        alarms = [f for f in primary if f.verdict is Verdict.ALARM]
        undecided = [f for f in primary if f.verdict is Verdict.UNDECIDED]
        if alarms:
            first = alarms[0]
            return f"Not fine: {first.sentence} {first.action}"
        if undecided:
            need = [f.rows_needed for f in undecided if f.rows_needed is not None]
            more = f" About {max(need):,} rows would decide all that rows can decide." if need else ""
            return f"Not decided: {_count(len(undecided), 'finding')} had too little evidence.{more}"
        if not primary:
            return "Not decided: nothing could be checked."
        if len(primary) == 1:
            return "Fine: the finding that counts lies inside its margin. Nothing to do."
        return f"Fine: all {_count(len(primary), 'finding')} lie inside their margins. Nothing to do."

    def counts(self) -> dict[Verdict, int]:
        """How many findings have each verdict."""
        return {v: sum(f.verdict is v for f in self.findings) for v in Verdict}

    def worst(self, count: int = 3) -> tuple[Finding, ...]:
        """The first findings of the sorted list."""
        return self.findings[:count]

    def __iter__(self) -> Iterator[Finding]:
        return iter(self.findings)

    def with_findings(self, findings: tuple[Finding, ...]) -> Review:
        """A copy with other findings."""
        return replace(self, findings=findings)

    def to_dict(self) -> Json:
        """The review as plain JSON data."""
        return {
            "afterlaunch": self.version,
            "schema_version": SCHEMA_VERSION,
            "question": self.question,
            "verdict": self.verdict.value,
            "headline": self.headline,
            "decision": self.decision or None,
            "rows": self.rows,
            "settings": self.settings,
            "notes": list(self.notes),
            "figures": list(self.figures),
            "findings": [f.to_dict() for f in self.findings],
        }

    def to_json(self) -> str:
        """The review as JSON text; never contains NaN or infinity."""
        return json.dumps(self.to_dict(), ensure_ascii=False, allow_nan=False, indent=1)

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Review:
        """Read a review back from `to_dict`.

        Raises:
            ValueError: When the data is not a review of this schema version.
        """
        if not isinstance(data, Mapping) or data.get("schema_version") != SCHEMA_VERSION:
            raise ValueError(
                f"This is not a review of schema version {SCHEMA_VERSION}; save it again with `review.save`."
            )
        try:
            return cls(
                question=data["question"],
                findings=tuple(Finding.from_dict(f) for f in data["findings"]),
                rows=data["rows"],
                settings=data["settings"],
                notes=tuple(data["notes"]),
                version=data["afterlaunch"],
                figures=tuple(data.get("figures", ())),
                decision=data.get("decision") or "",
            )
        except (KeyError, TypeError) as error:
            raise ValueError(f"This is not a review of schema version {SCHEMA_VERSION}: {error}.") from error

    @classmethod
    def from_json(cls, text: str) -> Review:
        """Read a review back from `to_json`.

        Raises:
            ValueError: When the text is not JSON or not a review.
        """
        try:
            return cls.from_dict(json.loads(text))
        except json.JSONDecodeError as error:
            raise ValueError(f"This is not JSON: {error}.") from error

    def save(self, path: str | Path) -> Path:
        """Write the review as JSON or HTML, by the ending of the path.

        The file appears whole or not at all.

        Raises:
            ValueError: When the path ends neither in .json nor in .html.
        """
        from afterlaunch.report import write

        return write(self, Path(path))

    def _repr_html_(self) -> str:
        from afterlaunch.report import notebook

        return notebook(self)


def _count(number: int, noun: str) -> str:
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"
