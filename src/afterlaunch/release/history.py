"""What was decided in a release, when, and on what evidence: steps that are only ever added.

The steps of a model are numbered 1, 2, 3, … A controller reads the latest, decides, and appends the next one *on the
condition that it still is the next*: of two that decide at once, one appends and the other gets a `Conflict`, so that
only one of them carries out the actions. It marks them done afterwards. Whoever is killed between the two leaves a
step that `History.pending` lists: its actions have to be carried out once more, and should bear that.

A file of SQLite is enough on one machine; PostgreSQL serves several.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, NamedTuple

from afterlaunch.decide import InputError
from afterlaunch.finding import Json

if TYPE_CHECKING:
    from sqlalchemy import URL, Connection, Engine, MetaData, Row, Select, Table

VERSION = 1
"""Number of the schema; goes up whenever what is kept, or how, changes its meaning."""

PART = "release_steps"
"""Name under which `schema_version` holds `VERSION`; other parts of a database have others."""

PATIENCE = 30
"""Seconds to wait for another process that is writing."""

LOCK = 4_821_120_926
"""Number of the lock under which PostgreSQL makes the tables: any, as long as it stays."""

MEMORY = {None, "", ":memory:"}
"""What SQLite calls a database that is gone with its connection."""


class Conflict(Exception):
    """Somebody else appended a step in the meantime: read the latest, and decide again.

    Attributes:
        model: The model.
        expected: Version that the latest step was taken to have.
    """

    def __init__(self, model: str, expected: int) -> None:
        super().__init__(model, expected)
        self.model = model
        self.expected = expected

    def __str__(self) -> str:
        return (
            f"The latest step of {self.model!r} is not number {self.expected} (any more); "
            "read the latest, and decide again."
        )


@dataclass(frozen=True, slots=True)
class Step:
    """One step of a release.

    Attributes:
        model: The model.
        release: The release of that model.
        version: Number of the step among all steps of the model, from 1 without gaps.
        at: When it was decided, in UTC.
        state: The state after it.
        evidence: What it was decided on.
        actions: What had to be done because of it.
        done: When that had been done, in UTC; None as long as it is not known to be.
    """

    model: str
    release: str
    version: int
    at: datetime
    state: Json
    evidence: Json
    actions: list[Any]
    done: datetime | None


class _Tables(NamedTuple):
    metadata: MetaData
    steps: Table
    versions: Table


class History:
    """The steps of all models in one database; any number of processes may have it open.

    Args:
        place: Path of a file for SQLite, which is made when it is not there, or a URL such as
            "postgresql://user@host/database".

    Raises:
        InputError: When the place cannot be used, was written by a newer version, or a package is missing.

    Example:
        >>> from tempfile import TemporaryDirectory
        >>> now = datetime(2026, 10, 12, 9, tzinfo=UTC)
        >>> with TemporaryDirectory() as folder, History(f"{folder}/steps.db") as history:
        ...     step = history.append(
        ...         "churn", 0, release="r-7", at=now, state={"share": 0.01}, evidence={}, actions=["ramp"]
        ...     )
        ...     waiting = [(s.version, s.actions) for s in history.pending()]
        ...     history.mark_done("churn", step.version, at=now), history.pending(), waiting
        (True, [], [(1, ['ramp'])])
    """

    def __init__(self, place: str | Path) -> None:
        _require_package()
        self._engine = _open(_url(place))
        try:
            self._make_tables()
        except BaseException:
            self.close()
            raise

    def append(
        self,
        model: str,
        expected_version: int,
        *,
        release: str,
        at: datetime,
        state: Json,
        evidence: Json,
        actions: list[Any],
    ) -> Step:
        """Add the next step of a model, if it still is the next.

        Args:
            model: The model.
            expected_version: Version of the latest step that was seen; 0 when there was none.
            release: The release of that model.
            at: When it was decided.
            state: The state after it.
            evidence: What it was decided on.
            actions: What has to be done because of it. A step without any is done as it is appended.

        Returns:
            The step as it is kept.

        Raises:
            Conflict: When the latest step has another version; nothing was changed.
            InputError: When something cannot be kept as it is, such as NaN, or the database cannot be written.
        """
        import sqlalchemy as sa

        _require_name("model", model)
        _require_name("release", release)
        if isinstance(expected_version, bool) or not isinstance(expected_version, int) or expected_version < 0:
            raise InputError(
                f"The expected version is {expected_version!r}; give that of the latest step, or 0 for none."
            )
        _require_json("state", state, dict)
        _require_json("evidence", evidence, dict)
        _require_json("actions", actions, list)
        written = _written("at", at)
        table = _tables().steps
        values: dict[str, Any] = {
            "model": model,
            "release": release,
            "version": expected_version + 1,
            "at": written,
            "state": state,
            "evidence": evidence,
            "actions": actions,
            "done": None if actions else written,
        }
        # One statement compares and adds. Where two of them overlap, as on PostgreSQL, the key refuses the later one.
        latest = sa.select(sa.func.coalesce(sa.func.max(table.c.version), 0)).where(table.c.model == model)
        row = sa.select(*(sa.literal(v, table.c[n].type) for n, v in values.items())).where(
            latest.scalar_subquery() == expected_version
        )
        with self._connected() as connection:
            try:
                # What was added comes back: drivers do not all count the rows of an INSERT.
                added = connection.execute(table.insert().from_select(list(values), row).returning(*table.c)).first()
            except sa.exc.IntegrityError as error:
                raise Conflict(model, expected_version) from error
        if added is None:
            raise Conflict(model, expected_version)
        return _step(added)

    def latest(self, model: str) -> Step | None:
        """The newest step of a model, or None when it has none.

        Raises:
            InputError: When the database cannot be read.
        """
        table = _tables().steps
        query = self._select().where(table.c.model == model).order_by(table.c.version.desc()).limit(1)
        found = self._read(query)
        return found[0] if found else None

    def steps(self, model: str) -> list[Step]:
        """All steps of a model, the oldest first.

        Raises:
            InputError: When the database cannot be read.
        """
        table = _tables().steps
        return self._read(self._select().where(table.c.model == model).order_by(table.c.version))

    def pending(self) -> list[Step]:
        """Steps of all models whose actions are not known to be done, by model, the oldest first.

        Raises:
            InputError: When the database cannot be read.
        """
        table = _tables().steps
        return self._read(self._select().where(table.c.done.is_(None)).order_by(table.c.model, table.c.version))

    def mark_done(self, model: str, version: int, *, at: datetime) -> bool:
        """Note that the actions of a step were carried out; the first note stays.

        Args:
            model: The model.
            version: Version of the step.
            at: When they had been carried out.

        Returns:
            Whether this was the first note.

        Raises:
            InputError: When there is no such step, or the database cannot be written.
        """
        table = _tables().steps
        written = _written("at", at)
        with self._connected() as connection:
            change = table.update().where(*_is(table, model, version), table.c.done.is_(None)).values(done=written)
            if connection.execute(change).rowcount:
                return True
            if connection.execute(self._select().where(*_is(table, model, version))).first() is None:
                raise InputError(f"The model {model!r} has no step number {version}; give that of a step it has.")
        return False

    def close(self) -> None:
        """Close all connections."""
        self._engine.dispose()

    def __enter__(self) -> History:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _select(self) -> Select[Any]:
        return _tables().steps.select()

    def _read(self, query: Select[Any]) -> list[Step]:
        with self._connected() as connection:
            return [_step(row) for row in connection.execute(query)]

    @contextmanager
    def _connected(self) -> Iterator[Connection]:
        """A transaction, and a sentence when the database cannot do it."""
        import sqlalchemy as sa

        try:
            with self._engine.begin() as connection:
                yield connection
        except sa.exc.DBAPIError as error:
            shown = self._engine.url.render_as_string(hide_password=True)
            reason = " ".join(str(error.orig).split())
            raise InputError(f"The history of releases at {shown!r} cannot be used: {reason}.") from error

    def _make_tables(self) -> None:
        """Make what is not there yet; one process at a time does so."""
        import sqlalchemy as sa

        metadata, _, versions = _tables()
        with self._connected() as connection:
            if self._engine.dialect.name == "postgresql":
                connection.execute(sa.select(sa.func.pg_advisory_xact_lock(LOCK)))
            else:
                # Transactions here begin as readers; this one is the only writer from the start.
                connection.exec_driver_sql("BEGIN IMMEDIATE")
            metadata.create_all(connection)
            found = connection.execute(sa.select(versions.c.version).where(versions.c.part == PART)).scalar()
            if found is None:
                connection.execute(versions.insert().values(part=PART, version=VERSION))
            elif found > VERSION:
                raise InputError(
                    f"The history of releases has schema {found}, which a newer version of afterlaunch made; "
                    "update this one."
                )


@cache
def _tables() -> _Tables:
    import sqlalchemy as sa

    metadata = sa.MetaData()
    steps = sa.Table(
        "release_steps",
        metadata,
        sa.Column("model", sa.Text, primary_key=True),
        sa.Column("release", sa.Text, nullable=False),
        sa.Column("version", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("at", sa.Text, nullable=False),
        sa.Column("state", sa.JSON, nullable=False),
        sa.Column("evidence", sa.JSON, nullable=False),
        sa.Column("actions", sa.JSON, nullable=False),
        sa.Column("done", sa.Text),
    )
    sa.Index("release_steps_pending", steps.c.model, steps.c.version, **_where_pending(steps))
    versions = sa.Table(
        "schema_version",
        metadata,
        sa.Column("part", sa.Text, primary_key=True),
        sa.Column("version", sa.Integer, nullable=False),
    )
    return _Tables(metadata, steps, versions)


def _where_pending(steps: Table) -> dict[str, Any]:
    return {f"{dialect}_where": steps.c.done.is_(None) for dialect in ("sqlite", "postgresql")}


def _is(table: Table, model: str, version: int) -> tuple[Any, Any]:
    return table.c.model == model, table.c.version == version


def _step(row: Row[Any]) -> Step:
    held = dict(row._mapping)
    done = held.pop("done")
    return Step(
        **held | {"at": datetime.fromisoformat(held["at"])}, done=None if done is None else datetime.fromisoformat(done)
    )


def _require_package() -> None:
    try:
        import sqlalchemy  # noqa: F401
    except ModuleNotFoundError as error:
        raise InputError(
            "Keeping the steps of releases needs sqlalchemy; run: pip install 'afterlaunch[service]'."
        ) from error


def _url(place: str | Path) -> URL:
    import sqlalchemy as sa

    if isinstance(place, Path) or "://" not in place:
        return sa.URL.create("sqlite", database=str(place))
    try:
        url = sa.make_url(place)
    except (sa.exc.ArgumentError, ValueError):
        # Neither the URL nor the error is shown: there may be a password in it.
        raise InputError(
            "The URL of the history of releases cannot be read; give one such as 'postgresql://user@host/database'."
        ) from None
    if url.drivername in {"postgres", "postgresql"}:
        return url.set(drivername="postgresql+psycopg")
    if url.get_backend_name() not in {"sqlite", "postgresql"}:
        raise InputError(
            f"The history of releases cannot be kept in {url.get_backend_name()!r}; "
            "give the path of a file for SQLite, or the URL of a PostgreSQL database."
        )
    return url


def _open(url: URL) -> Engine:
    import sqlalchemy as sa

    arguments: dict[str, Any] = {}
    if url.get_backend_name() == "sqlite":
        if url.database in MEMORY:
            raise InputError("A history of releases in memory is lost with its process; give the path of a file.")
        arguments["connect_args"] = {"timeout": PATIENCE}
    else:
        # A stricter level would answer the later of two that append at once with an error of its own.
        arguments["isolation_level"] = "READ COMMITTED"
    try:
        # A server that was restarted has closed the connections that wait in the pool.
        engine = sa.create_engine(url, pool_pre_ping=True, json_serializer=_dumped, **arguments)
    except ModuleNotFoundError as error:
        raise InputError(
            f"A history of releases on {url.get_backend_name()} needs {error.name}; "
            "run: pip install 'afterlaunch[service]'."
        ) from error
    if engine.dialect.name == "sqlite":
        sa.event.listen(engine, "connect", _durable)
    return engine


def _durable(connection: Any, _: object) -> None:
    """What is committed survives a loss of power, and readers do not stand in the way of a writer."""
    cursor = connection.cursor()
    try:
        if cursor.execute("PRAGMA journal_mode").fetchone()[0] != "wal":
            cursor.execute("PRAGMA journal_mode = WAL")
        cursor.execute("PRAGMA synchronous = FULL")
    finally:
        cursor.close()


def _require_name(what: str, name: str) -> None:
    if not isinstance(name, str) or not name.strip() or "\0" in name or not _is_unicode(name):
        raise InputError(f"The {what} is {name!r}; give its name as text.")


def _is_unicode(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _require_json(what: str, value: object, kind: type) -> None:
    """Refuse what would not be read back as it was given."""
    if not isinstance(value, kind):
        raise InputError(f"The {what} of a step is a {type(value).__name__}; give a {kind.__name__}.")
    try:
        same = json.loads(_dumped(value)) == value
    except (TypeError, ValueError, RecursionError) as error:
        raise InputError(
            f"The {what} of a step cannot be kept as JSON ({error}); give numbers that are finite, text, truth values, "
            "None, and lists and dicts of these."
        ) from error
    if not same:
        raise InputError(
            f"The {what} of a step would be read back as something else; "
            "give dicts with keys of text, and lists in place of tuples."
        )


def _dumped(value: object) -> str:
    return json.dumps(value, allow_nan=False)


def _written(what: str, moment: datetime) -> str:
    """A moment as text that sorts as the moments do."""
    if not isinstance(moment, datetime) or moment.tzinfo is None:
        raise InputError(f"The time {what!r} is {moment!r}; give a datetime with a time zone.")
    return moment.astimezone(UTC).isoformat(timespec="microseconds")
