"""The plan of a staggered release: its stages, its gates, and what a person has to decide."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from itertools import pairwise
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from afterlaunch.decide import InputError
from afterlaunch.measures import Measure, parse_measure
from afterlaunch.tables import parse_every
from afterlaunch.tables.calendar import MICROSECONDS

Dimension = Literal["quality", "latency", "errors", "stability", "inputs", "concentration", "assignment"]


def duration(text: str) -> timedelta:
    """The length of a stage, such as "36h" or "0m".

    Raises:
        InputError: When it is no fixed length of time.

    Example:
        >>> duration("2d").days, duration("0m").total_seconds()
        (2, 0.0)
    """
    if text in ("0m", "0h", "0d"):
        return timedelta(0)
    every = parse_every(text)
    if every.unit not in MICROSECONDS:
        raise InputError(f"{text!r} is no fixed length of time; give minutes, hours, days or weeks, such as '2d'.")
    return timedelta(microseconds=every.count * MICROSECONDS[every.unit])


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Stage(_Frozen):
    """One share of traffic, and how long it lasts.

    Attributes:
        share: Share of units that get the challenger, 0 for shadow: it scores everything and is shown to nobody.
        least: Shortest time, such as "1d".
        longest: After this time without a decision a person has to decide.
        units: Least units of the challenger that must have been seen in this stage.
    """

    share: float = Field(ge=0, le=1)
    least: str = "1d"
    longest: str = "14d"
    units: int = Field(default=200, ge=0)

    @field_validator("least", "longest")
    @classmethod
    def _is_length(cls, text: str) -> str:
        duration(text)
        return text

    @model_validator(mode="after")
    def _in_order(self) -> Stage:
        if duration(self.longest) < duration(self.least):
            raise ValueError(f"a stage lasts at least {self.least} and at most {self.longest}; swap the two")
        return self

    @property
    def name(self) -> str:
        """What people call it."""
        return "shadow" if self.share == 0 else f"{100 * self.share:g} %"


class Gate(_Frozen):
    """One thing that must hold.

    Attributes:
        name: Its name, as in findings.
        metric: What is measured, in the words of the command line, such as "ratio:clicked" or
            "quantile:latency_ms:0.99,better=down"; of a gate on a whole review (stability, inputs, concentration,
            assignment) it is empty.
        dimension: What it is about.
        relative: How much worse the challenger may be, as a share of the champion's value.
        margin: The same in the metric's own unit, in place of `relative`.
        segments: Whether every segment must hold too.
        required_from: Share of traffic from which the gate has to be `ok` to go on. At smaller shares, where there is
            not enough to tell, it may only stop the release.
        against: What the challenger is held against: the "champion", or the "frozen" version that the holdout has. A
            gate against the frozen version stops the creep of many releases that are each just inside their margins.
        estimate_up_to: While outcomes are late, an estimate may let the release go on up to this share. It never
            completes a release.
    """

    name: str
    metric: str = ""
    dimension: Dimension = "quality"
    relative: float | None = Field(default=None, gt=0)
    margin: float | None = Field(default=None, gt=0)
    segments: bool = True
    required_from: float = Field(default=0.25, ge=0, le=1)
    against: Literal["champion", "frozen"] = "champion"
    estimate_up_to: float = Field(default=0.0, ge=0, lt=1)

    @field_validator("metric")
    @classmethod
    def _is_metric(cls, text: str) -> str:
        if text:
            try:
                parse_measure(text)
            except InputError as error:
                raise ValueError(str(error)) from None
        return text

    @model_validator(mode="after")
    def _has_metric(self) -> Gate:
        if self.dimension in ("quality", "latency", "errors") and not self.metric:
            raise ValueError(
                f"the gate {self.name!r} on {self.dimension} has no metric; give one, such as 'ratio:clicked'"
            )
        return self

    def measure(self) -> Measure | None:
        """The metric, to be shown no worse by its margin; None of a gate on a whole review."""
        if not self.metric:
            return None
        words = self.metric + f",name={self.name},goal=non-inferiority"
        if self.margin is not None:
            words += f",margin={self.margin}"
        elif self.relative is not None:
            words += f",relative={self.relative}"
        return parse_measure(words)


STAGES = (
    Stage(share=0.0, least="1d", longest="7d", units=0),
    Stage(share=0.01, least="1d", longest="7d"),
    Stage(share=0.05, least="1d", longest="7d"),
    Stage(share=0.25, least="2d", longest="14d"),
    Stage(share=0.5, least="3d", longest="21d"),
    Stage(share=1.0, least="0m", longest="1d", units=0),
)
"""Shadow, 1, 5, 25, 50 and 100 %."""


class Plan(_Frozen):
    """How a retrained model is released.

    Attributes:
        model: Name of the model.
        stages: In order; shares rise, the last one is 1.
        gates: What must hold.
        alpha: Chance that a release that is as good as the champion is rolled back at all, over gates, segments, stages
            and looks; and of each gate to be called `ok` wrongly.
        holdout: Share of units that stay on the frozen version, for a quarter or so.
        frozen: The version that the holdout has, kept for a stated term; "" for none.
        window: How long each unit is observed before it counts, such as "1d".
        settle: How long a router takes to follow the weights; rows from so long after a stage began are left out.
        stale: Evidence that is older holds the release.

    Example:
        >>> plan = Plan(model="ranker", gates=[Gate(name="clicks", metric="ratio:clicked", relative=0.02)])
        >>> [stage.name for stage in plan.stages]
        ['shadow', '1 %', '5 %', '25 %', '50 %', '100 %']
    """

    model: str = Field(min_length=1)
    stages: tuple[Stage, ...] = STAGES
    gates: Annotated[tuple[Gate, ...], Field(min_length=1)]
    alpha: float = Field(default=0.05, gt=0, lt=0.5)
    holdout: float = Field(default=0.0, ge=0, lt=1)
    frozen: str = ""
    window: str = "1d"
    settle: str = "1h"
    stale: str = "2d"

    @field_validator("window", "settle", "stale")
    @classmethod
    def _is_length(cls, text: str) -> str:
        duration(text)
        return text

    @model_validator(mode="after")
    def _whole(self) -> Plan:
        if not duration(self.window):
            raise ValueError("units are observed for no time at all; give a window such as '1d'")
        shares = [s.share for s in self.stages]
        if len(shares) < 2 or shares[-1] != 1 or any(a >= b for a, b in pairwise(shares)):
            raise ValueError(f"the shares of the stages are {shares}; they rise, and the last one is 1")
        names = [g.name for g in self.gates]
        twice = next((n for n in names if names.count(n) > 1), None)
        if twice is not None:
            raise ValueError(f"two gates are called {twice!r}; give one another name")
        if self.holdout and not self.frozen:
            raise ValueError("a share is held out, but on no version; name the version that it keeps with frozen")
        alone = next((g.name for g in self.gates if g.against == "frozen"), None)
        if alone is not None and not self.frozen:
            raise ValueError(f"the gate {alone!r} is against the frozen version; name that version with frozen")
        late = [g.name for g in self.gates if g.required_from > self.stages[-2].share]
        if late:
            raise ValueError(
                f"the gate {late[0]!r} must hold only from a share of {self.gate(late[0]).required_from:g} on, after "
                f"the last stage that is judged ({self.stages[-2].name}); it would never stand in the way"
            )
        return self

    def gate(self, name: str) -> Gate:
        """The gate of a name."""
        return next(g for g in self.gates if g.name == name)

    @property
    def judged(self) -> int:
        """Stages in which there is something to judge: all but shadow and the last."""
        return sum(0 < s.share < 1 for s in self.stages)

    @property
    def alpha_stage(self) -> float:
        """Part of alpha that the alarms of one stage share."""
        return self.alpha / max(1, self.judged)

    @classmethod
    def load(cls, source: str | Path | Mapping[str, Any]) -> Plan:
        """A plan from the table "release" of a TOML file, or from plain data.

        Args:
            source: Path of the file, or the table.

        Raises:
            InputError: For anything wrong, naming the setting, its value and the remedy.

        Example:
            >>> Plan.load({"model": "m", "gates": []})
            Traceback (most recent call last):
            afterlaunch.decide.InputError: The release plan's gates: Tuple should have at least 1 item ...
        """
        data = source if isinstance(source, Mapping) else _read(Path(source))
        try:
            return cls.model_validate(data)
        except ValidationError as error:
            first = error.errors()[0]
            where = ".".join(str(p) for p in first["loc"]) or "settings"
            said = first["msg"].removeprefix("Value error, ")
            raise InputError(f"The release plan's {where}: {said}.") from None


def _read(path: Path) -> Mapping[str, Any]:
    import tomllib

    try:
        with path.open("rb") as file:
            data = tomllib.load(file)
    except OSError as error:
        raise InputError(f"The plan {str(path)!r} cannot be read: {error.strerror}; check the path.") from None
    except tomllib.TOMLDecodeError as error:
        raise InputError(f"The plan {str(path)!r} is no TOML: {error}.") from None
    table = data.get("release")
    if not isinstance(table, Mapping):
        raise InputError(f"The file {str(path)!r} has no table [release]; write one with model and gates.")
    return table
