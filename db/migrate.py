"""Brings a database to the form that this code knows, under a lock and after a backup."""

import os
from collections.abc import Iterator
from contextlib import closing, contextmanager
from datetime import UTC, datetime
from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from alembic.script.revision import ResolutionError
from alembic.util import CommandError
from filelock import FileLock, Timeout
from sqlalchemy import Connection, inspect, text

from db.engine import Database, sqlite_module
from db.errors import NewerDatabaseError, UnusableDatabaseError, translate_error
from db.tables import Base

MIGRATIONS_FOLDER = Path(__file__).parent / "migrations"
LOCK_SECONDS = 600
ADVISORY_LOCK = 0x52_61_70_70_6F_72_74  # "Rapport"


def migrate(database: Database) -> str:
    """Upgrade to the newest form, or to nothing if it has it; says in words what was done.

    An existing SQLite file is copied beside itself first. Safe to call from several processes at
    once: one upgrades, the others wait. Raises NewerDatabaseError and UnusableDatabaseError.
    """
    with _migration_lock(database), database.write_connection() as connection:
        backup = _back_up(database, connection) if database.is_sqlite else None
        with _without_foreign_keys(database, connection), connection.begin():
            if not database.is_sqlite:
                connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": ADVISORY_LOCK})
            old = current_revision(connection)
            _refuse_unknown(database, connection, old)
            if old == head_revision():
                return f"The database {database} is up to date (revision {old})."
            _upgrade(connection)
    step = (
        f"was created at revision {head_revision()}"
        if old is None
        else f"went from {old} to {head_revision()}"
    )
    return f"The database {database} {step}." + (f" The old one is in {backup}." if backup else "")


def current_revision(connection: Connection) -> str | None:
    """The revision that the database says it has; None for one without Rapport's tables."""
    return MigrationContext.configure(connection).get_current_revision()


def head_revision() -> str:
    """The newest revision that this code knows."""
    return str(_scripts().get_current_head())


def alembic_config(connection: Connection) -> Config:
    """Alembic's configuration for this connection; the scripts are found where the package is installed."""
    config = Config(attributes={"connection": connection})
    config.set_main_option("script_location", str(MIGRATIONS_FOLDER).replace("%", "%%"))
    config.set_main_option("path_separator", "os")
    return config


def _scripts() -> ScriptDirectory:
    return ScriptDirectory(str(MIGRATIONS_FOLDER))


def _upgrade(connection: Connection) -> None:
    command.upgrade(alembic_config(connection), "head")
    if connection.dialect.name == "sqlite":
        broken = connection.exec_driver_sql("PRAGMA foreign_key_check").fetchall()
        if broken:
            raise UnusableDatabaseError(
                f"After the migration {len(broken)} rows, the first in {broken[0][0]!r}, would "
                "point to nothing, so it was taken back. Please report this with the two versions of Rapport."
            )


def _refuse_unknown(database: Database, connection: Connection, revision: str | None) -> None:
    if revision is None:
        ours = set(Base.metadata.tables) & set(inspect(connection).get_table_names())
        if ours:
            raise UnusableDatabaseError(
                f"The database {database} has tables that are not Rapport's, of the same names: "
                f"{', '.join(sorted(ours))}. Give Rapport a database of its own."
            )
        return
    try:
        _scripts().get_revision(revision)
    except (ResolutionError, CommandError):
        raise NewerDatabaseError(
            f"The database {database} has revision {revision!r}; the newest that this Rapport knows is "
            f"{head_revision()!r}, so a newer Rapport wrote it. Upgrade Rapport (pip install --upgrade "
            "rapport-chat), or put the backup that was made before that upgrade back in its place."
        ) from None


@contextmanager
def _migration_lock(database: Database) -> Iterator[None]:
    """Let one process at a time migrate a SQLite file; PostgreSQL's lock is taken inside its transaction."""
    if not database.is_sqlite:
        yield
        return
    lock = FileLock(f"{database}.migration-lock", timeout=LOCK_SECONDS)
    try:
        lock.acquire()
    except Timeout as error:
        raise UnusableDatabaseError(
            f"Another process has been migrating the database {database} for {LOCK_SECONDS} s. Look for a "
            "Rapport that hangs and end it, then start again."
        ) from error
    except OSError as error:
        raise translate_error(error, place=str(database)) or error from error
    try:
        yield
    finally:
        lock.release()


@contextmanager
def _without_foreign_keys(database: Database, connection: Connection) -> Iterator[None]:
    """Let SQLite rebuild tables that others point to; the switch only works outside a transaction."""
    if not database.is_sqlite:
        yield
        return
    driver_connection = connection.connection.driver_connection
    assert driver_connection is not None
    driver_connection.execute("PRAGMA foreign_keys=OFF")
    try:
        yield
    finally:
        driver_connection.execute("PRAGMA foreign_keys=ON")


def _back_up(database: Database, connection: Connection) -> Path | None:
    """Copy an older SQLite database beside itself, as `<file>.backup-<old revision>-<time>`."""
    with connection.begin():
        revision = current_revision(connection)
        _refuse_unknown(database, connection, revision)
    if revision is None or revision == head_revision():
        return None
    moment = datetime.now(UTC).strftime("%Y%m%dT%H%M%SZ")
    backup = Path(f"{database}.backup-{revision}-{moment}")
    partial = Path(f"{backup}.partial")
    driver_connection = connection.connection.driver_connection
    assert driver_connection is not None
    with closing(sqlite_module().connect(str(partial))) as target:
        driver_connection.backup(target)
    os.replace(partial, backup)
    return backup
