"""What each column means: its role. A column without a role is a feature."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, fields, replace

from afterlaunch.decide import InputError

MAPPED = ("scores", "feature_times")
LISTED = ("features", "ignore")


@dataclass(frozen=True)
class Roles:
    """Names the columns of a log that are not features.

    Args:
        id: One row's identifier; joins outcomes and finds training/serving skew.
        time: When the prediction was made.
        version: Which model version made it.
        unit: User or session: rows of one unit are not independent of each other.
        prediction: Predicted class or value.
        score: Predicted probability of the positive class, or a ranking score.
        outcome: What happened.
        outcome_time: When the outcome became known.
        latency_ms: How long the prediction took, in milliseconds.
        error: Whether the prediction failed.
        list: Identifier of a ranked list (a query, a page view).
        item: Identifier of the thing shown.
        position: Rank at which an item was shown, 1 first.
        propensity: Logged probability with which the item was shown there.
        category: Category of the item.
        segment: Group for which results are wanted separately.
        text: Free text, such as a query.
        embedding: Vector representation of the text.
        weight: Weight of a row.
        bucket: Integers 0..63 that group dependent rows, when you have hashed units yourself.
        scores: Class label to the column with its predicted probability (multi-class).
        feature_times: Feature to the column that says when its value became known.
        features: The model's features; None means every column without another role.
        ignore: Columns to leave out.
        positive: The outcome value that counts as positive in a binary task.

    Raises:
        InputError: When one column has two roles.

    Example:
        >>> roles = Roles(outcome="clicked", score="p")
        >>> roles.of("p"), roles.of("age")
        ('score', 'feature')
        >>> Roles.parse(["outcome=y", "positive=yes", "scores.red=p_red"]).scores
        {'red': 'p_red'}
    """

    id: str | None = None
    time: str | None = None
    version: str | None = None
    unit: str | None = None
    prediction: str | None = None
    score: str | None = None
    outcome: str | None = None
    outcome_time: str | None = None
    latency_ms: str | None = None
    error: str | None = None
    list: str | None = None
    item: str | None = None
    position: str | None = None
    propensity: str | None = None
    category: str | None = None
    segment: str | None = None
    text: str | None = None
    embedding: str | None = None
    weight: str | None = None
    bucket: str | None = None
    scores: Mapping[str, str] = field(default_factory=dict)
    feature_times: Mapping[str, str] = field(default_factory=dict)
    features: tuple[str, ...] | None = None
    ignore: tuple[str, ...] = ()
    positive: str | int | float | bool | None = None

    def __post_init__(self) -> None:
        for name in LISTED:
            value = getattr(self, name)
            if value is not None and not isinstance(value, tuple):
                object.__setattr__(self, name, (value,) if isinstance(value, str) else tuple(value))
        seen: dict[str, str] = {}
        for role, column in self.pairs():
            if not isinstance(column, str) or not column:
                raise InputError(f"The role {role!r} is {column!r}; give the name of a column.")
            if column in seen:
                raise InputError(
                    f"The column {column!r} has two roles, {seen[column]!r} and {role!r}; give it one of them."
                )
            seen[column] = role

    def pairs(self) -> tuple[tuple[str, str], ...]:
        """(role, column) for every column that has a role."""
        out: list[tuple[str, str]] = [(r, getattr(self, r)) for r in SINGLE if getattr(self, r) is not None]
        out += [(f"scores.{label}", column) for label, column in self.scores.items()]
        out += [(f"feature_times.{feature}", column) for feature, column in self.feature_times.items()]
        return tuple(out)

    def of(self, column: str) -> str:
        """The role of a column; "feature" when it has no other."""
        for role, name in self.pairs():
            if name == column:
                return role
        return "ignored" if column in self.ignore else "feature"

    def features_of(self, columns: Iterable[str]) -> tuple[str, ...]:
        """Which of the columns are features, in their order.

        With `features` given: those of them that are among the columns.
        """
        columns = tuple(columns)
        if self.features is not None:
            wanted = set(self.features)
            return tuple(c for c in columns if c in wanted)
        taken = {column for _, column in self.pairs()} | set(self.ignore)
        return tuple(c for c in columns if c not in taken)

    def with_(self, **changes: object) -> Roles:
        """A copy with some roles changed."""
        return replace(self, **changes)  # type: ignore[arg-type]

    def to_dict(self) -> dict[str, object]:
        """The roles that are set, as plain data."""
        out: dict[str, object] = {}
        for f in fields(self):
            value = getattr(self, f.name)
            if value is None or value in ({}, ()):
                continue
            out[f.name] = dict(value) if isinstance(value, Mapping) else [*value] if isinstance(value, tuple) else value
        return out

    @classmethod
    def from_mapping(cls, data: Mapping[str, object]) -> Roles:
        """Build roles from plain data, such as a TOML table.

        Raises:
            InputError: For a name that is no role, with the names that are.
        """
        known = {f.name for f in fields(cls)}
        for name in data:
            if name not in known:
                raise InputError(f"There is no role {name!r}; the roles are {', '.join(sorted(known))}.")
        for name in MAPPED:
            if name in data and not isinstance(data[name], Mapping):
                raise InputError(f"The role {name!r} is {data[name]!r}; give a table of name = column.")
        return cls(**data)  # type: ignore[arg-type]

    @classmethod
    def parse(cls, pairs: Iterable[str], base: Roles | None = None) -> Roles:
        """Build roles from command-line words like "outcome=clicked" or "scores.red=p_red".

        Args:
            pairs: The words; a later one replaces an earlier one; ``features=a,b`` takes a list.
            base: Roles to start from.

        Raises:
            InputError: For a word without "=" or a name that is no role.
        """
        data: dict[str, object] = dict((base or cls()).to_dict())
        for pair in pairs:
            role, equals, column = pair.partition("=")
            role = role.strip()
            if not equals or not role or not column:
                raise InputError(f"The role {pair!r} is not of the form ROLE=COLUMN, such as outcome=clicked.")
            head, dot, name = role.partition(".")
            if head in MAPPED and dot:
                data[head] = {**data.get(head, {}), name: column}  # type: ignore[dict-item]
            elif head in LISTED:
                data[head] = tuple(c for c in column.split(",") if c)
            else:
                data[role] = column
        return cls.from_mapping(data)


SINGLE = tuple(f.name for f in fields(Roles) if f.name not in {*MAPPED, *LISTED, "positive"})
"""Roles that one column can have."""
