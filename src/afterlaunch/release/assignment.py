"""Who gets which version: every unit falls into one of 10,000 buckets, the same on every engine.

The bucket of a unit under a salt, in every language:

1. Write the salt, a colon and the unit one after the other: text as it is, an integer in decimal (``-5``, ``42``).
2. Take the SHA-256 of that text in UTF-8.
3. Read its first 7 bytes, which are its first 14 hexadecimal digits, as a whole number, most significant byte first.
   It fits into a signed 64-bit integer, which is the widest that all engines have.
4. The bucket is the remainder of that number after division by 10,000.

Shares are whole numbers of buckets. Under a salt, buckets are below ``10,000 × share`` for a share of the units, and
raising the share only adds units. `VECTORS` lists values to test another implementation against; the id of the formula
is `SCHEME`.
"""

from __future__ import annotations

import hashlib
import math
import re
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Literal, TypeVar, get_args

import narwhals as nw
import polars as pl

from afterlaunch.decide import InputError
from afterlaunch.tables.table import free_name

Arm = Literal["champion", "challenger", "holdout"]
Dialect = Literal["duckdb", "postgres", "spark"]
Column = Literal["arm", "explores"]

BUCKETS = 10_000
SCHEME = "al10000-1"
"""Id of this formula; a change of the formula changes the id."""

HEX = 14
"""How many hexadecimal digits of the SHA-256 count."""

VECTORS: tuple[tuple[str, int | str, int], ...] = (
    ("churn-2026-10", 0, 8112),
    ("churn-2026-10", 1, 680),
    ("churn-2026-10", -5, 3654),
    ("churn-2026-10", 1_000_000_007, 5136),
    ("churn-2026-10", 2**63 - 1, 9616),
    ("churn-2026-10", -(2**63), 1410),
    ("churn-2026-10", "", 3748),
    ("churn-2026-10", "a", 3608),
    ("churn-2026-10", "A", 8843),
    ("churn-2026-10", "user-42", 7507),
    ("churn-2026-10", " user-42 ", 1348),
    ("churn-2026-10", "a:b", 4619),
    ("churn-2026-10", 'o\'clock "q" \\n %s ?', 8302),
    ("churn-2026-10", "naïve ☕ 🦆", 4230),
    ("churn-2026-11", "user-42", 5348),
    ("churn-holdout", "user-42", 5759),
    ("Größe 1/2", "user-42", 260),
)
"""(salt, unit, bucket) triples."""

_SALT = re.compile(r"\w[\w./+=@ -]{0,199}")
"""What every dialect writes in a literal without escapes, and without the colon that ends a salt."""

FrameT = TypeVar("FrameT")


def bucket(salt: str, unit: int | str) -> int:
    """The bucket of one unit under a salt.

    Args:
        salt: What makes this draw independent of others, see `Assignment`.
        unit: Id of the unit; 42 and "42" are the same unit.

    Returns:
        A number from 0 to 9,999.

    Raises:
        InputError: When the salt is not usable, or the unit is neither text nor an integer.

    Source:
        See the formula in the module's docstring; `VECTORS` holds its values.

    Example:
        >>> bucket("churn-2026-10", "user-42"), bucket("churn-2026-11", "user-42")
        (7507, 5348)
        >>> bucket("churn-2026-10", 42) == bucket("churn-2026-10", "42")
        True
        >>> all(bucket(salt, unit) == expected for salt, unit, expected in VECTORS)
        True
    """
    hasher = _salted(salt).copy()
    try:
        hasher.update(_text(unit))
    except UnicodeEncodeError as error:
        raise InputError(
            f"The unit {unit!r} is no valid text: it cannot be written in UTF-8; remove its surrogates."
        ) from error
    return int.from_bytes(hasher.digest()[:7], "big") % BUCKETS


def _text(unit: int | str) -> bytes:
    if isinstance(unit, str):
        return unit.encode()
    if isinstance(unit, int) and not isinstance(unit, bool):
        return str(unit).encode()
    raise InputError(f"The unit {unit!r} is neither text nor an integer; give its id as one of these.")


@lru_cache(maxsize=1024)
def _salted(salt: str) -> hashlib._Hash:
    """A hasher that has read the salt; it is copied for each unit, and never changed."""
    return hashlib.sha256(require_salt("salt", salt).encode() + b":")


def require_salt(name: str, salt: str) -> str:
    """Refuse a salt that some engine could not write as it is.

    Args:
        name: What the sentence calls it.
        salt: The salt.

    Returns:
        The salt.

    Raises:
        InputError: When it is no text of 1 to 200 letters, digits, spaces and ``. _ / + = @ -``, or when it starts with
            something else than a letter, a digit or ``_``.

    Example:
        >>> require_salt("salt", "churn/2026-10-12")
        'churn/2026-10-12'
    """
    if not isinstance(salt, str) or not _SALT.fullmatch(salt):
        raise InputError(
            f"The {name} {salt!r} is not usable on every engine; give 1 to 200 letters, digits, spaces and "
            "any of ./+=@_-, starting with a letter or a digit."
        )
    return salt


@dataclass(frozen=True, slots=True)
class Assignment:
    """Which units get which version during one release.

    The holdout is taken first, by a salt that stays when releases change: the same units are held out in all of them.
    All other units are ramped by the salt of the release: the first to get the challenger are others each time.
    Exploration is drawn by a third salt and so with the same share in each arm: what it costs, it costs all of them.

    Nobody moves from the challenger back to the champion while `challenger` grows and the rest stays as it is.

    Attributes:
        salt: Salt of the release; a new one for each release.
        holdout_salt: Salt of the holdout; stays as long as its term.
        exploration_salt: Salt of exploration.
        challenger: Share of all units outside the holdout that get the challenger, from 0 to 1.
        holdout: Share of all units that stay on the frozen version.
        exploration: Share of units that get explored decisions, in each arm.

    Raises:
        InputError: When a salt is not usable or is given twice, or a share is no multiple of 0.0001 from 0 to 1.

    Example:
        >>> plan = Assignment("churn-2026-10", "churn-holdout", "churn-explore", challenger=0.25, holdout=0.05)
        >>> [plan.arm(unit) for unit in ("user-1", "user-3", "user-6")]
        ['champion', 'challenger', 'holdout']
        >>> plan.explores("user-1")
        False
    """

    salt: str
    holdout_salt: str
    exploration_salt: str
    challenger: float = 0.0
    holdout: float = 0.0
    exploration: float = 0.0

    def __post_init__(self) -> None:
        salts = {
            "salt": self.salt,
            "holdout salt": self.holdout_salt,
            "exploration salt": self.exploration_salt,
        }
        seen: dict[str, str] = {}
        for name, salt in salts.items():
            other = seen.setdefault(require_salt(name, salt), name)
            if other != name:
                raise InputError(
                    f"The {name} and the {other} are both {salt!r}, so that both draws would pick the same units; "
                    "give each a salt of its own."
                )
        for name in ("challenger", "holdout", "exploration"):
            _cut(name, getattr(self, name))

    def arm(self, unit: int | str) -> Arm:
        """Which version a unit gets.

        Args:
            unit: Id of the unit.

        Returns:
            "holdout" for the frozen version, "challenger" for the new one, "champion" for the present one.

        Raises:
            InputError: When the unit is neither text nor an integer.
        """
        if self.holdout and bucket(self.holdout_salt, unit) < round(self.holdout * BUCKETS):
            return "holdout"
        if bucket(self.salt, unit) < round(self.challenger * BUCKETS):
            return "challenger"
        return "champion"

    def explores(self, unit: int | str) -> bool:
        """Whether a unit gets explored decisions, whatever its arm.

        Args:
            unit: Id of the unit.

        Raises:
            InputError: When the unit is neither text nor an integer.
        """
        return bucket(self.exploration_salt, unit) < round(self.exploration * BUCKETS)


def _cut(name: str, share: float) -> int:
    """First bucket that is not part of a share."""
    usable = isinstance(share, (int, float)) and not isinstance(share, bool) and math.isfinite(share)
    cut = round(share * BUCKETS) if usable else -1
    if not 0 <= cut <= BUCKETS or abs(share * BUCKETS - cut) > 1e-6:
        raise InputError(f"The share {name} is {share!r}; give a multiple of 0.0001 from 0 to 1, such as 0.05.")
    return cut


def sql_bucket(dialect: Dialect, column: str, salt: str) -> str:
    """The bucket of a unit column as an expression in SQL.

    Args:
        dialect: "duckdb", "postgres" (11 or newer) or "spark".
        column: Name of a column of integers or text; it is quoted here.
        salt: What makes this draw independent of others.

    Returns:
        An expression of type BIGINT; NULL where the unit is NULL. It adds no ``%`` and no ``?``, which drivers take
        for parameters.

    Raises:
        InputError: When the dialect is unknown, or the salt is not usable.

    Example:
        >>> print(sql_bucket("duckdb", "user", "s"))
        mod(CAST('0x' || substr(sha256('s:' || CAST("user" AS VARCHAR)), 1, 14) AS BIGINT), 10000)
    """
    literal = f"'{require_salt('salt', salt)}:'"
    quoted = _quoted(dialect, column)
    if dialect == "duckdb":
        digits = f"substr(sha256({literal} || CAST({quoted} AS VARCHAR)), 1, {HEX})"
        number = f"CAST('0x' || {digits} AS BIGINT)"
    elif dialect == "postgres":
        digest = f"sha256(convert_to({literal} || CAST({quoted} AS text), 'UTF8'))"
        digits = f"substr(encode({digest}, 'hex'), 1, {HEX})"
        number = f"CAST(CAST('x' || {digits} AS bit({HEX * 4})) AS bigint)"
    else:
        digits = f"substr(sha2(CAST(concat({literal}, CAST({quoted} AS STRING)) AS BINARY), 256), 1, {HEX})"
        number = f"CAST(conv({digits}, 16, 10) AS BIGINT)"
    return f"mod({number}, {BUCKETS})"


def sql(dialect: Dialect, column: str, assignment: Assignment, what: Column = "arm") -> str:
    """The arm of a unit column, or whether it explores, as an expression in SQL.

    Args:
        dialect: "duckdb", "postgres" (11 or newer) or "spark".
        column: Name of a column of integers or text; it is quoted here.
        assignment: Salts and shares.
        what: "arm", or "explores".

    Returns:
        An expression of text ("arm") or of truth values ("explores"); NULL where the unit is NULL. Engines write
        fractions, times and truth values each in their own way: such a column makes different arms on each.

    Raises:
        InputError: When the dialect or `what` is unknown.

    Example:
        >>> plan = Assignment("s", "h", "e", exploration=0.01)
        >>> print(sql("duckdb", "user", plan, "explores"))
        mod(CAST('0x' || substr(sha256('e:' || CAST("user" AS VARCHAR)), 1, 14) AS BIGINT), 10000) < 100
    """
    if what not in get_args(Column):
        raise InputError(f"The column {what!r} is unknown; give 'arm' or 'explores'.")
    if what == "explores":
        cut = _cut("exploration", assignment.exploration)
        return f"{sql_bucket(dialect, column, assignment.exploration_salt)} < {cut}"
    held = f"{sql_bucket(dialect, column, assignment.holdout_salt)} < {_cut('holdout', assignment.holdout)}"
    treated = f"{sql_bucket(dialect, column, assignment.salt)} < {_cut('challenger', assignment.challenger)}"
    return (
        f"CASE WHEN {_quoted(dialect, column)} IS NULL THEN NULL WHEN {held} THEN 'holdout' "
        f"WHEN {treated} THEN 'challenger' ELSE 'champion' END"
    )


def _quoted(dialect: Dialect, column: str) -> str:
    if dialect not in get_args(Dialect):
        raise InputError(f"The SQL dialect {dialect!r} is unknown; give 'duckdb', 'postgres' or 'spark'.")
    mark = "`" if dialect == "spark" else '"'
    return mark + column.replace(mark, 2 * mark) + mark


def with_arm(
    frame: FrameT, column: str, assignment: Assignment, *, arm: str = "arm", explores: str | None = None
) -> FrameT:
    """Add the arm of every row to a table.

    DuckDB and Spark hash the units themselves. For Polars every different unit is hashed once, in Python, and joined
    back; a lazy frame is read once for that.

    Args:
        frame: A Polars frame, lazy or not, a DuckDB relation or a Spark frame, or one of these in narwhals.
        column: The unit column, of integers or text.
        assignment: Salts and shares.
        arm: Name of the new column of arms.
        explores: Name of the new column that says who explores; None leaves it out.

    Returns:
        A frame of the same kind, with its rows in the order that they had; missing units have no arm.

    Raises:
        InputError: When there is no such column, it holds something else than integers or text, a new column is there
            already, or the frame is of another kind.

    Example:
        >>> plan = Assignment("churn-2026-10", "churn-holdout", "churn-explore", challenger=0.5)
        >>> with_arm(pl.DataFrame({"user": ["a", "b", None]}), "user", plan)["arm"].to_list()
        ['challenger', 'champion', None]
    """
    native: Any = nw.to_native(frame, pass_through=True)
    _require_columns(native, column, [arm] if explores is None else [arm, explores])
    found: Any
    if isinstance(native, pl.DataFrame):
        found = _joined(native.lazy(), column, assignment, arm, explores).collect()
    elif isinstance(native, pl.LazyFrame):
        found = _joined(native, column, assignment, arm, explores)
    else:
        spark = _package(native) == "pyspark"
        dialect: Dialect = "spark" if spark else "duckdb"
        new = [f"{sql(dialect, column, assignment)} AS {_quoted(dialect, arm)}"]
        if explores is not None:
            new.append(f"{sql(dialect, column, assignment, 'explores')} AS {_quoted(dialect, explores)}")
        found = native.selectExpr("*", *new) if spark else native.select(", ".join(["*", *new]))
    if isinstance(frame, (nw.DataFrame, nw.LazyFrame)):
        found = nw.from_native(found)
    return found  # type: ignore[no-any-return]


def _package(native: object) -> str:
    return type(native).__module__.partition(".")[0].lstrip("_")


def _require_columns(native: object, column: str, new: list[str]) -> None:
    if not isinstance(native, (pl.DataFrame, pl.LazyFrame)) and _package(native) not in {"duckdb", "pyspark"}:
        raise InputError(
            f"Arms cannot be added to a {type(native).__name__}; "
            "give a Polars frame, a DuckDB relation or a Spark frame."
        )
    schema = nw.from_native(native).collect_schema()  # type: ignore[call-overload]
    if column not in schema:
        raise InputError(f"There is no unit column {column!r}; the columns are {', '.join(map(repr, schema))}.")
    kind = schema[column]
    if not kind.is_integer() and not isinstance(kind, (nw.String, nw.Categorical, nw.Enum)):
        raise InputError(
            f"The unit column {column!r} holds {kind}, which engines write differently; cast it to text or to integers."
        )
    # DuckDB and Spark take names that differ in capitals only for the same.
    taken = {name.lower() for name in schema}
    for name in new:
        if name.lower() in taken:
            raise InputError(f"The new column {name!r} is there already; give it another name.")
        taken.add(name.lower())


def _joined(native: pl.LazyFrame, column: str, assignment: Assignment, arm: str, explores: str | None) -> pl.LazyFrame:
    """Hash every different unit once, and join what it gets to the rows."""
    schema = native.collect_schema()
    key = column
    if not schema[column].is_integer() and schema[column] != pl.String:
        key = free_name([*schema.names(), arm, explores or ""], "afterlaunch_unit")
        native = native.with_columns(pl.col(column).cast(pl.String).alias(key))
    units = native.select(pl.col(key).unique()).drop_nulls().collect(engine="streaming")[key]
    listed = units.to_list()
    found = {key: units, arm: pl.Series([assignment.arm(unit) for unit in listed], dtype=pl.String)}
    if explores is not None:
        found[explores] = pl.Series([assignment.explores(unit) for unit in listed], dtype=pl.Boolean)
    joined = native.join(pl.LazyFrame(found), on=key, how="left", maintain_order="left")
    return joined if key == column else joined.drop(key)
