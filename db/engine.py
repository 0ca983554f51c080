"""Opens the one database of a service: SQLite done properly, or PostgreSQL, with read and write sessions."""

import importlib
import json
import logging
import sqlite3
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any

from sqlalchemy import URL, Connection, Engine, QueuePool, create_engine, event
from sqlalchemy.exc import DBAPIError
from sqlalchemy.orm import ORMExecuteState, Session

from db.errors import UnusableDatabaseError, describe_url, translate_error
from db.settings import DatabaseSettings

logger = logging.getLogger(__name__)

SAFE_SQLITE = (3, 51, 3)  # earlier ones can corrupt a database when the write-ahead log is reset
POOL_SIZE = 10
POOL_OVERFLOW = 30  # the web server answers in up to 40 threads
IS_WRITING = "rapport_is_writing"


class Database:
    """The engine of one database, and the only way to its sessions.

    A read session sees one state of the data and refuses to write. A write session takes SQLite's
    write lock with its first statement, so it never fails half-way because another one wrote; it commits at
    the end, or rolls back when an error leaves it. Objects stay usable after either.
    Both raise `db.errors.DatabaseError` where the database as a whole is the trouble.
    """

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self.url: URL = engine.url
        self.is_sqlite: bool = engine.dialect.name == "sqlite"
        one_state = {} if self.is_sqlite else {"isolation_level": "REPEATABLE READ"}
        self._reading = engine.execution_options(postgresql_readonly=True, **one_state)
        self._writing = engine.execution_options(**{IS_WRITING: True})

    @contextmanager
    def read(self) -> Iterator[Session]:
        """A session that sees one state of the data; nothing done in it is kept."""
        with self._translated(), Session(self._reading, expire_on_commit=False) as session:
            _refuse_writes(session)
            yield session

    @contextmanager
    def write(self) -> Iterator[Session]:
        """A session that commits at the end of the block, or rolls back when an error leaves it."""
        with self._translated(), Session(self._writing, expire_on_commit=False) as session, session.begin():
            yield session

    @contextmanager
    def write_connection(self) -> Iterator[Connection]:
        """A connection without a transaction yet, for migrations; `begin()` on it takes the write lock."""
        with self._translated(), self._writing.connect() as connection:
            yield connection

    def dispose(self) -> None:
        """Close the pooled connections."""
        self.engine.dispose()

    def __str__(self) -> str:
        return describe_url(self.url)

    @contextmanager
    def _translated(self) -> Iterator[None]:
        try:
            yield
        except DBAPIError as error:
            translated = translate_error(error, place=str(self))
            if translated is None:
                raise
            raise translated from error


def open_database(settings: DatabaseSettings) -> Database:
    """Make the database's engine (no connection yet, no migration) and its folder if it is a file."""
    url = settings.parsed_url
    if url.get_backend_name() == "sqlite":
        return Database(_sqlite_engine(url, settings.busy_timeout_seconds))
    return Database(_postgres_engine(url))


def _postgres_engine(url: URL) -> Engine:
    try:
        return create_engine(
            url,
            pool_pre_ping=True,
            pool_size=POOL_SIZE,
            max_overflow=POOL_OVERFLOW,
            json_serializer=to_json,
        )
    except ModuleNotFoundError as error:
        raise UnusableDatabaseError(
            f"The database {describe_url(url)} needs the driver psycopg, which is not installed. "
            "Install it: pip install 'rapport-chat[postgres]'."
        ) from error


def _sqlite_engine(url: URL, busy_timeout_seconds: float) -> Engine:
    path = Path(str(url.database)).expanduser().absolute()
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise translate_error(error, place=str(path)) or error from error
    engine = create_engine(
        url.set(database=str(path)),
        module=sqlite_module(),
        poolclass=QueuePool,
        pool_size=POOL_SIZE,
        max_overflow=POOL_OVERFLOW,
        connect_args={"timeout": busy_timeout_seconds},
        json_serializer=to_json,
    )

    @event.listens_for(engine, "connect")
    def configure(connection: Any, _record: object) -> None:
        _configure_sqlite(connection, busy_timeout_seconds)

    @event.listens_for(engine, "begin")
    def begin(connection: Connection) -> None:
        is_writing = connection.get_execution_options().get(IS_WRITING, False)
        connection.exec_driver_sql("BEGIN IMMEDIATE" if is_writing else "BEGIN")

    return engine


def to_json(value: Any) -> str:
    """JSON that PostgreSQL reads as well: NaN and infinity raise ValueError on either database."""
    return json.dumps(value, allow_nan=False)


def sqlite_module() -> ModuleType:
    """The newest SQLite at hand: pysqlite3, which bundles its own, else Python's with a warning if old.

    Two SQLite libraries in one process do not see each other's locks on a file, so this is the only
    one that may open the database.
    """
    try:
        module = importlib.import_module("pysqlite3.dbapi2")
    except ImportError:
        module = sqlite3
    if tuple(module.sqlite_version_info) < SAFE_SQLITE:
        logger.warning(
            "SQLite %s can damage a database in a rare case; version %s cannot. "
            "Install pysqlite3, which brings a newer one (pip install pysqlite3), or use PostgreSQL.",
            module.sqlite_version,
            ".".join(map(str, SAFE_SQLITE)),
        )
    return module


def _configure_sqlite(connection: Any, busy_timeout_seconds: float) -> None:
    """Set what each connection needs; transactions begin where we say, in the `begin` event."""
    connection.isolation_level = None
    connection.execute(f"PRAGMA busy_timeout={int(busy_timeout_seconds * 1000)}")
    _turn_on_wal(connection, busy_timeout_seconds)
    connection.execute("PRAGMA foreign_keys=ON")
    connection.execute("PRAGMA synchronous=FULL")


def _turn_on_wal(connection: Any, patience_seconds: float) -> None:
    """Switch a new file to the write-ahead log; SQLite's busy timeout does not cover this step."""
    deadline = time.monotonic() + patience_seconds
    while True:
        try:
            connection.execute("PRAGMA journal_mode=WAL").fetchone()
            return
        except Exception as error:
            if "database is locked" not in str(error) or time.monotonic() > deadline:
                raise
            time.sleep(0.02)


def _refuse_writes(session: Session) -> None:
    """Make a write in a read session an error at once; it would be rolled back without a word."""
    message = "This session only reads; write in `with database.write() as session:`."

    @event.listens_for(session, "before_flush")
    def refuse_flush(*_: object) -> None:
        raise RuntimeError(message)

    @event.listens_for(session, "do_orm_execute")
    def refuse_statement(state: ORMExecuteState) -> None:
        if state.is_insert or state.is_update or state.is_delete:
            raise RuntimeError(message)
