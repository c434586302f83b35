"""The metrics of an experiment: what is measured for each unit, which way is better, and what must be shown.

A unit, such as a user, is what was sent to an arm. `Mean("revenue")` is the mean over units of what each brought
in; `Ratio("clicked")` is the mean over rows, with rows of one unit taken as dependent.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, fields
from typing import Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

from afterlaunch.decide import InputError
from afterlaunch.finding import Direction

Floats = NDArray[np.float64]
Goal = Literal["superiority", "non-inferiority", "equivalence"]
How = Literal["sum", "any", "known"]
Term = tuple[How, str]
"""What is added up over the rows of a unit: a column, whether any of its values is not 0, or how many are known."""

GOALS: tuple[Goal, ...] = ("superiority", "non-inferiority", "equivalence")


@dataclass(frozen=True, kw_only=True)
class Measure(ABC):
    """What all metrics of an experiment have in common.

    Attributes:
        name: What it is called in findings and margin keys; made of the columns when empty.
        better: Whether more or less of it is better.
        goal: What must be shown for the metric to speak for shipping: "superiority" (better by more than nothing),
            "non-inferiority" (not worse by the margin) or "equivalence" (no change as large as the margin).
        margin: How much change matters, in the metric's own unit. Of superiority it is the least gain worth
            having: if even that can be excluded, the old rules stay.
        relative: The same as a share of the control's value; used when `margin` is None.
        unit: Its unit in words, such as "ms" or "EUR".
        winsorize: Share of units below the value at which larger per-unit sums are cut, such as 0.999, each sum at
            its own; None cuts nothing.
        segment_times: By how many times the margin a single segment may be worse.
        covariate: Column with a value of each unit from before the experiment, to take out variance that was
            there before (CUPED); with a `pre` table: the metric's own columns in it when None.
    """

    name: str = ""
    better: Literal["up", "down"] = "up"
    goal: Goal = "superiority"
    margin: float | None = None
    relative: float | None = None
    unit: str = ""
    winsorize: float | None = None
    covariate: str | None = None
    segment_times: float = 1.0
    kind: ClassVar[str] = ""

    def __post_init__(self) -> None:
        if not isinstance(self.name, str):
            raise InputError(f"The metric's name is {self.name!r}; give text.")
        label = f"The metric {self.label!r}"
        if self.better not in ("up", "down"):
            raise InputError(f"{label} is better {self.better!r}; give up or down.")
        if self.goal not in GOALS:
            raise InputError(f"{label} has the goal {self.goal!r}; give one of {', '.join(GOALS)}.")
        for name in ("margin", "relative", "segment_times"):
            value = getattr(self, name)
            if value is not None and not (_is_number(value) and value > 0 and math.isfinite(value)):
                raise InputError(f"{label} has the {name} {value!r}; give a positive number.")
        if self.margin is not None and self.relative is not None:
            raise InputError(f"{label} has a margin and a relative margin; give one of them.")
        if self.winsorize is not None and not (_is_number(self.winsorize) and 0.5 < self.winsorize < 1):
            raise InputError(f"{label} is cut at {self.winsorize!r}; give a share between 0.5 and 1, such as 0.999.")

    @property
    def label(self) -> str:
        """What it is called."""
        return self.name or self.default_name()

    @abstractmethod
    def default_name(self) -> str:
        """A name made of the columns."""

    @property
    @abstractmethod
    def terms(self) -> tuple[Term, ...]:
        """What is added up for each unit; nothing for a quantile, which is counted apart."""

    @property
    def direction(self) -> Direction:
        """Which direction of the difference is bad."""
        return "down" if self.better == "up" else "up"

    @abstractmethod
    def value(self, means: Floats) -> float:
        """The metric from the means over units of its terms."""


def _is_number(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


@dataclass(frozen=True)
class Mean(Measure):
    """The mean over units of the sum of a column over the unit's rows; without units, the mean over rows.

    Attributes:
        column: A numeric or Boolean column.

    Example:
        >>> Mean("revenue", margin=0.1).label
        'revenue'
    """

    column: str
    kind: ClassVar[str] = "mean"

    def default_name(self) -> str:
        """The column."""
        return self.column

    @property
    def terms(self) -> tuple[Term, ...]:
        """The sum of the column."""
        return (("sum", self.column),)

    def value(self, means: Floats) -> float:
        """The mean."""
        return float(means[0])


@dataclass(frozen=True)
class Share(Measure):
    """The share of units for which a column is anything but zero, such as users who bought.

    Attributes:
        column: A numeric or Boolean column.

    Example:
        >>> Share("bought").terms
        (('any', 'bought'),)
    """

    column: str
    kind: ClassVar[str] = "share"

    def __post_init__(self) -> None:
        Measure.__post_init__(self)
        if not self.unit:
            object.__setattr__(self, "unit", "share")

    def default_name(self) -> str:
        """The column."""
        return self.column

    @property
    def terms(self) -> tuple[Term, ...]:
        """Whether any value is not zero."""
        return (("any", self.column),)

    def value(self, means: Floats) -> float:
        """The share."""
        return float(means[0])


@dataclass(frozen=True)
class Ratio(Measure):
    """One total over another, such as revenue over orders; rows of one unit may depend on each other.

    Attributes:
        column: The numerator.
        over: The denominator; None for the rows in which the numerator is known.

    Example:
        >>> Ratio("revenue", "orders").label, Ratio("clicked").label
        ('revenue/orders', 'clicked per row')
    """

    column: str
    over: str | None = None
    kind: ClassVar[str] = "ratio"

    def default_name(self) -> str:
        """Both columns."""
        return f"{self.column}/{self.over}" if self.over is not None else f"{self.column} per row"

    @property
    def terms(self) -> tuple[Term, ...]:
        """Both sums."""
        return (("sum", self.column), ("known", self.column) if self.over is None else ("sum", self.over))

    def value(self, means: Floats) -> float:
        """The ratio; not a number when the denominator is 0."""
        return float(means[0] / means[1]) if means[1] != 0 else math.nan


@dataclass(frozen=True)
class Quantile(Measure):
    """A quantile over rows, such as the 99th percentile of latency; rows of one unit may depend on each other.

    Attributes:
        column: A numeric column.
        q: Between 0 and 1.

    Example:
        >>> Quantile("ms", 0.99, better="down").label
        'ms p99'
    """

    column: str
    q: float
    kind: ClassVar[str] = "quantile"

    def __post_init__(self) -> None:
        Measure.__post_init__(self)
        if not _is_number(self.q) or not 0 < self.q < 1:
            raise InputError(f"The metric {self.label!r} is the quantile {self.q!r}; give a number between 0 and 1.")
        for name in ("winsorize", "covariate"):
            if getattr(self, name) is not None:
                raise InputError(f"The metric {self.label!r} is a quantile, which takes no {name}; leave it out.")

    def default_name(self) -> str:
        """The column and the percentile."""
        return f"{self.column} p{100 * self.q:.6g}" if _is_number(self.q) else self.column

    @property
    def terms(self) -> tuple[Term, ...]:
        """Quantiles are counted apart."""
        return ()

    def value(self, means: Floats) -> float:
        """Quantiles are no functions of means."""
        raise TypeError("A quantile is no function of means.")


@dataclass(frozen=True)
class Custom(Measure):
    """Any smooth function of the means over units of some sums.

    Attributes:
        columns: Columns that are added up for each unit.
        function: Takes their means over units, one argument each, and gives a number.

    Example:
        >>> margin = Custom(("revenue", "cost", "orders"), lambda r, c, n: (r - c) / n, name="margin per order")
        >>> margin.value(np.array([10.0, 6.0, 2.0]))
        2.0
    """

    columns: Sequence[str]
    function: Callable[..., float] = field(repr=False)
    kind: ClassVar[str] = "custom"

    def __post_init__(self) -> None:
        object.__setattr__(self, "columns", (self.columns,) if isinstance(self.columns, str) else tuple(self.columns))
        Measure.__post_init__(self)
        if not self.columns or not callable(self.function):
            raise InputError(f"The metric {self.label!r} needs columns and a function of their means; give both.")

    def default_name(self) -> str:
        """The columns."""
        return ", ".join(map(str, self.columns)) or "custom"

    @property
    def terms(self) -> tuple[Term, ...]:
        """Their sums."""
        return tuple(("sum", c) for c in self.columns)

    def value(self, means: Floats) -> float:
        """The function of the means; not a number where it has no value."""
        try:
            return float(self.function(*(float(m) for m in means)))
        except (ArithmeticError, ValueError):
            return math.nan
        except TypeError as error:
            raise InputError(
                f"The function of the metric {self.label!r} does not make a number of the means of "
                f"{', '.join(map(repr, self.columns))}: {error}."
            ) from None


def parse_measure(text: str, *, goal: Goal = "superiority") -> Measure:
    """A metric from the words of the command line.

    Args:
        text: ``mean:COLUMN``, ``share:COLUMN``, ``ratio:COLUMN`` (per row), ``ratio:COLUMN/COLUMN`` or
            ``quantile:COLUMN:Q``, followed by settings such as ``,better=down,margin=0.3``.
        goal: The goal when the text gives none.

    Raises:
        InputError: For other words.

    Example:
        >>> parse_measure("quantile:ms:0.99,better=down,relative=0.05")
        Quantile(name='', better='down', goal='superiority', margin=None, relative=0.05, unit='', winsorize=None, \
covariate=None, segment_times=1.0, column='ms', q=0.99)
    """
    head, *settings = text.split(",")
    kind, colon, rest = head.partition(":")
    options: dict[str, Any] = {"goal": goal}
    allowed = {f.name for f in fields(Measure)}
    for setting in settings:
        key, equals, value = (part.strip() for part in setting.partition("="))
        if not equals or key not in allowed:
            raise InputError(
                f"The metric {text!r} has the setting {setting!r}; give NAME=VALUE with one of "
                f"{', '.join(sorted(allowed))}."
            )
        options[key] = _number(value, text) if key in ("margin", "relative", "winsorize", "segment_times") else value
    if not colon or not rest:
        raise InputError(f"The metric {text!r} is not of the form KIND:COLUMN, such as mean:clicked.")
    if kind == "mean":
        return Mean(rest, **options)
    if kind == "share":
        return Share(rest, **options)
    if kind == "ratio":
        above, slash, below = rest.partition("/")
        return Ratio(above, below if slash else None, **options)
    if kind == "quantile":
        column, _, q = rest.rpartition(":")
        if not column:
            raise InputError(f"The metric {text!r} does not say which quantile; write quantile:COLUMN:0.99.")
        return Quantile(column, _number(q, text), **options)
    raise InputError(f"The metric {text!r} is of no known kind; write mean, share, ratio or quantile before the colon.")


def _number(value: str, text: str) -> float:
    try:
        return float(value)
    except ValueError:
        raise InputError(f"The metric {text!r} holds {value!r} where a number is needed.") from None
