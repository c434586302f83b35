"""Guessing what each column of a table means, with the reason; unsure means feature."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import polars as pl

from afterlaunch.profile.types import Kind
from afterlaunch.roles import Roles
from afterlaunch.tables import Table, fetch

LOOK = 1000
"""First rows of a table whose values are looked at."""


@dataclass(frozen=True, slots=True)
class Guess:
    """What one column seems to mean.

    Attributes:
        column: The column.
        role: A role of `Roles` that one column can have, or "ignore", or "feature".
        reason: Why, in one line.
    """

    column: str
    role: str
    reason: str


@dataclass(frozen=True, slots=True)
class _Column:
    """A column and the first of its values that are not missing."""

    name: str
    kind: Kind
    values: pl.Series

    @property
    def plain(self) -> str:
        """The name in lower case, words joined by one underscore."""
        spaced = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", self.name)
        return re.sub(r"[\W_]+", "_", spaced).strip("_").lower()

    @property
    def distinct(self) -> int:
        return self.values.n_unique() if self.kind != "other" else 0

    @property
    def unique(self) -> bool:
        return self.kind != "other" and self.values.len() > 0 and self.distinct == self.values.len()

    @property
    def binary(self) -> bool:
        return self.values.len() > 0 and self.distinct <= 2 and self.kind in {"category", "numeric"}

    @property
    def whole(self) -> bool:
        return self.kind == "numeric" and self.values.dtype.is_integer()

    def within(self, low: float, high: float) -> bool:
        """Whether it holds numbers, all of them within these."""
        return self.kind == "numeric" and self.values.len() > 0 and bool(self.values.is_between(low, high).all())


@dataclass(frozen=True, slots=True)
class _Rule:
    """One role: names from the likeliest to the least likely, and what the values must be."""

    role: str
    names: tuple[str, ...]
    fits: Callable[[_Column], bool]
    why: str
    unfit: str

    def rank(self, column: _Column) -> int | None:
        """Place of the column's name in the list, or None."""
        return next((i for i, pattern in enumerate(self.names) if re.fullmatch(pattern, column.plain)), None)


_UNITS = (
    "user",
    "customer",
    "client",
    "member",
    "account",
    "visitor",
    "player",
    "patient",
    "household",
    "device",
    "session",
)

RULES: tuple[_Rule, ...] = (
    _Rule(
        "outcome_time",
        (
            "outcome_(time|ts|timestamp|at)",
            "label_(time|ts|timestamp|at)",
            "(clicked|converted|purchased|resolved|matured)_at",
        ),
        lambda c: c.kind == "time",
        "named like the time of an outcome, and holds times",
        "named like the time of an outcome, but holds no times: parse it to use it as outcome_time",
    ),
    _Rule(
        "time",
        (
            "ts",
            "timestamp",
            "(prediction|predicted|request|event|log|logged)_(time|ts|timestamp|at)",
            "datetime",
            "time",
            "created_at",
            "date",
        ),
        lambda c: c.kind == "time",
        "named like a time, and holds times",
        "named like a time, but holds no times: parse it to use it as time",
    ),
    _Rule(
        "id",
        ("(prediction|request|event|row|log|record|impression|transaction)_(id|uuid|key)", "id", "uuid", "guid"),
        lambda c: c.unique and (c.whole or c.kind == "category"),
        "named like an identifier, and no value repeats in the rows looked at",
        "named like an identifier, but values repeat or are no identifiers",
    ),
    _Rule(
        "unit",
        (*tuple(f"{u}_?(id|uuid|key|hash)" for u in _UNITS), "user", "visitor", "session"),
        lambda c: c.whole or c.kind == "category",
        "names who or what the rows belong to; rows of one unit are not independent",
        "named like a user or session, but holds no identifiers",
    ),
    _Rule(
        "score",
        (
            "y_pred_proba",
            "y_(score|proba|prob)",
            "score",
            "proba(bility)?",
            "prob",
            "p",
            "p_hat",
            "(pred(icted|iction)?|model)_(score|proba|prob|probability)",
            "(p|prob|proba|score)_[a-z0-9]+",
        ),
        lambda c: c.within(0, 1) and not c.whole,
        "named like a score, and all values looked at lie within [0, 1]",
        "named like a score, but values are not all decimal numbers within [0, 1]",
    ),
    _Rule(
        "prediction",
        ("y_pred", "y_hat", "yhat", "prediction", "predicted", "pred", "(predicted|prediction)_(class|label|value)"),
        lambda c: c.kind in {"numeric", "category"},
        "named like a prediction",
        "named like a prediction, but holds neither numbers nor text",
    ),
    _Rule(
        "outcome",
        (
            "outcome",
            "y_true",
            "label",
            "target",
            "y",
            "ground_truth",
            "actual",
            "(is_)?click(ed)?",
            "(is_)?conver(ted|sion)",
            "(is_)?purchase[d]?",
            "(is_)?churn(ed)?",
            "(is_)?fraud",
            "repaid",
            "class",
            "relevance",
        ),
        lambda c: c.binary or c.kind == "numeric" or (c.kind == "category" and 0 < c.distinct <= 20),
        "named like an outcome",
        "named like an outcome, but has too many different values for classes",
    ),
    _Rule(
        "position",
        ("position", "rank", "pos", "slot", "(display|list|item|shown)_(position|rank)", "(position|rank)_in_list"),
        lambda c: c.whole and c.within(0, 100_000),
        "named like a rank at which an item was shown, and holds whole numbers",
        "named like a rank, but does not hold whole numbers from 0 up",
    ),
    _Rule(
        "latency_ms",
        ("latency_ms", "(response|inference|elapsed|duration|took|request)(_time)?_ms", "ms", "latency"),
        lambda c: c.within(0, float("inf")),
        "named like the time a prediction took; it must be in milliseconds",
        "named like the time a prediction took, but does not hold numbers from 0 up",
    ),
    _Rule(
        "version",
        ("model_version", "version", "model_(name|id)", "model", "arm", "variant"),
        lambda c: c.kind in {"category", "numeric"} and 0 < c.distinct <= 20,
        "named like a model version, with few different values",
        "named like a model version, but has many different values",
    ),
    _Rule(
        "error",
        ("is_error", "error", "failed", "is_failed"),
        lambda c: c.binary,
        "named like a failure flag, with at most two values",
        "named like a failure flag, but has more than two values",
    ),
    _Rule(
        "propensity",
        ("propensity(_score)?", "logging_(propensity|prob|probability)", "exposure_(propensity|prob|probability)"),
        lambda c: c.within(0, 1),
        "named like the probability of being shown, within [0, 1]",
        "named like a propensity, but values are not within [0, 1]",
    ),
    _Rule(
        "list",
        ("(list|slate|search|query|page_view|pageview)_id",),
        lambda c: (c.whole or c.kind == "category") and not c.unique,
        "named like the identifier of a list, and several rows share a value",
        "named like the identifier of a list, but no two rows share a value",
    ),
    _Rule(
        "item",
        ("(item|product|document|doc|ad|listing|article)_(id|key)", "sku"),
        lambda c: c.whole or c.kind == "category",
        "named like the identifier of the thing shown",
        "named like an item, but holds no identifiers",
    ),
    _Rule(
        "text",
        ("query", "text", "(query|search|message|review|comment)_text", "search_term", "prompt", "message", "comment"),
        lambda c: c.kind == "category" and c.distinct > 20 and bool(c.values.cast(pl.String).str.contains(" ").any()),
        "named like free text, with many different values of several words",
        "named like free text, but holds few different values or single words",
    ),
    _Rule(
        "embedding",
        (".*embedding", ".*_emb", "vector"),
        lambda c: c.kind == "other",
        "named like an embedding, and holds vectors",
        "named like an embedding, but holds no vectors",
    ),
    _Rule(
        "weight",
        ("(sample|row|importance|case)_weight",),
        lambda c: c.within(0, float("inf")),
        "named like the weight of a row",
        "named like the weight of a row, but does not hold numbers from 0 up",
    ),
    _Rule(
        "segment",
        ("segment",),
        lambda c: 0 < c.distinct <= 100,
        "named segment",
        "named segment, but has too many different values to report each",
    ),
    _Rule(
        "ignore",
        ("", "unnamed_0", "index", "level_0", "index_level_0"),
        lambda c: c.unique and c.whole,
        "a row number that a dataframe wrote as a column",
        "named like a row number, but values repeat",
    ),
)
"""Earlier rules win a column that two would take."""


def guess_roles(tables: Table | Sequence[Table]) -> list[Guess]:
    """Guess the role of every column from its name, its kind and its first values.

    Args:
        tables: One table or several; the values of a column are read from the first that has it.

    Returns:
        One guess per column, in the order of the tables. No role is given twice, except "ignore"
        and "feature"; what is not sure is a feature, with the reason for the doubt.

    Raises:
        InputError: When a table cannot be read.

    Example:
        >>> from afterlaunch.tables import open_table
        >>> frame = pl.DataFrame({"request_id": [1, 2], "age": [31, 27], "clicked": [0, 1]})
        >>> [(g.column, g.role) for g in guess_roles(open_table(frame, name="log"))]
        [('request_id', 'id'), ('age', 'feature'), ('clicked', 'outcome')]
    """
    columns = _columns([tables] if isinstance(tables, Table) else tables)
    guesses: dict[str, Guess] = {}
    for rule in RULES:
        named = [(rank, c) for c in columns if c.name not in guesses and (rank := rule.rank(c)) is not None]
        fitting = sorted((p for p in named if rule.fits(p[1])), key=lambda p: p[0])
        if rule.role == "ignore":
            taken = [c for _, c in fitting]
        else:
            sure = fitting and (len(fitting) == 1 or fitting[0][0] < fitting[1][0])
            taken = [fitting[0][1]] if sure else []
        for c in taken:
            guesses[c.name] = Guess(c.name, rule.role, rule.why)
        doubt = (
            f"several columns could be the {rule.role}"
            if not taken
            else f"{taken[0].name!r} is likelier to be the {rule.role}"
        )
        for pair in named:
            c = pair[1]
            if c.name not in guesses and not any(r.rank(c) is not None and r.fits(c) for r in RULES if r is not rule):
                guesses[c.name] = Guess(c.name, "feature", doubt if pair in fitting else rule.unfit)
    _only_time(columns, guesses)
    return [guesses.get(c.name) or Guess(c.name, "feature", _plain_reason(c)) for c in columns]


def roles_from(guesses: Iterable[Guess]) -> Roles:
    """The guesses as roles.

    Example:
        >>> roles_from([Guess("ts", "time", ""), Guess("age", "feature", "")]).time
        'ts'
    """
    guesses = list(guesses)
    single = {g.role: g.column for g in guesses if g.role not in {"feature", "ignore"}}
    ignored = [g.column for g in guesses if g.role == "ignore"]
    return Roles.from_mapping({**single, **({"ignore": ignored} if ignored else {})})


def _columns(tables: Sequence[Table]) -> list[_Column]:
    out: dict[str, _Column] = {}
    for table in tables:
        new = [c for c in table.columns if c not in out]
        if not new:
            continue
        readable = [c for c in new if table.kinds[c] != "other"]
        head = fetch(table.frame.select(*readable).head(LOOK), table) if readable else pl.DataFrame()
        for c in new:
            values = head[c].drop_nulls() if c in head.columns else pl.Series(c, [], dtype=pl.Null)
            out[c] = _Column(c, table.kinds[c], values)
    return list(out.values())


def _only_time(columns: list[_Column], guesses: dict[str, Guess]) -> None:
    """The only column with times is the time, whatever its name."""
    if any(g.role == "time" for g in guesses.values()):
        return
    times = [
        c.name for c in columns if c.kind == "time" and getattr(guesses.get(c.name), "role", "feature") == "feature"
    ]
    if len(times) == 1:
        guesses[times[0]] = Guess(times[0], "time", "the only column that holds times")


def _plain_reason(column: _Column) -> str:
    words = {
        "numeric": "numbers",
        "category": "text",
        "time": "times",
        "text": "text",
        "other": "lists or other objects",
    }
    return f"holds {words[column.kind]}; its name says no other role"
