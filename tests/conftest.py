"""Databases for all tests: a migrated SQLite file, and the same on a real PostgreSQL."""

import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from db.engine import Database, open_database
from db.migrate import migrate
from db.settings import DatabaseSettings
from tests.postgres_server import PostgresServer, find_programs

DatabaseMaker = Callable[[], Database]


def must_run_all() -> bool:
    """Whether a test that lacks a program must fail, not skip: in CI, or when asked for."""
    return os.environ.get("CI") == "true" or os.environ.get("RAPPORT_REQUIRE_ALL") == "1"


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[PostgresServer]:
    programs = find_programs()
    if programs is None:
        reason = "PostgreSQL is not installed here: apt-get install postgresql"
        if must_run_all():
            pytest.fail(reason)
        pytest.skip(reason)
    server = PostgresServer.start(programs)
    yield server
    server.stop()


@pytest.fixture(scope="session")
def sqlite_template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("template") / "rapport.db"
    _migrate_once(f"sqlite:///{path}")
    return path


@pytest.fixture(scope="session")
def postgres_template(postgres_server: PostgresServer) -> str:
    name = postgres_server.create_database()
    _migrate_once(postgres_server.url(name))
    return name


@pytest.fixture
def sqlite_url(sqlite_template: Path, tmp_path: Path) -> str:
    """The URL of a fresh migrated SQLite file."""
    shutil.copy(sqlite_template, tmp_path / "rapport.db")
    return f"sqlite:///{tmp_path / 'rapport.db'}"


@pytest.fixture
def postgres_url(postgres_server: PostgresServer, postgres_template: str) -> Iterator[str]:
    """The URL of a fresh migrated PostgreSQL database."""
    name = postgres_server.create_database(postgres_template)
    yield postgres_server.url(name)
    postgres_server.drop_database(name)


@pytest.fixture
def sqlite_database(sqlite_url: str) -> Iterator[Database]:
    database = open_database(DatabaseSettings(url=sqlite_url))
    yield database
    database.dispose()


@pytest.fixture(params=["sqlite", "postgresql"])
def database_url(request: pytest.FixtureRequest) -> str:
    """The URL of a fresh migrated database; the test runs once on each kind."""
    fixture = "sqlite_url" if request.param == "sqlite" else "postgres_url"
    return str(request.getfixturevalue(fixture))


@pytest.fixture
def database(database_url: str) -> Iterator[Database]:
    """A fresh migrated database; the test runs once on each kind."""
    database = open_database(DatabaseSettings(url=database_url))
    yield database
    database.dispose()


@pytest.fixture(params=["sqlite", "postgresql"])
def empty_url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """The URL of a database without tables; the test runs once on each kind."""
    if request.param == "sqlite":
        yield f"sqlite:///{tmp_path / 'new' / 'rapport.db'}"
        return
    server: PostgresServer = request.getfixturevalue("postgres_server")
    name = server.create_database()
    yield server.url(name)
    server.drop_database(name)


def _migrate_once(url: str) -> None:
    with ExitStack() as closing:
        database = open_database(DatabaseSettings(url=url))
        closing.callback(database.dispose)
        migrate(database)
