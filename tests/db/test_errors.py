"""Databases that cannot be used: each is named, with the remedy, and without its password."""

import multiprocessing
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from sqlalchemy import text

from db.engine import Database, open_database, sqlite_module
from db.errors import UnusableDatabaseError, translate_error
from db.migrate import migrate
from db.settings import DatabaseSettings
from db.tables import AuditEvent, User
from tests.postgres_server import PostgresServer

NOBODY = 65534


def count_users(database: Database) -> int:
    with database.read() as session:
        return session.query(User).count()


def open_sqlite(path: Path) -> Database:
    return open_database(DatabaseSettings(url=f"sqlite:///{path}"))


def add_user(database: Database) -> None:
    with database.write() as session:
        session.add(User(name="Ada"))


def test_a_file_that_is_no_database_is_named(tmp_path: Path) -> None:
    (tmp_path / "rapport.db").write_text("Dear diary, " * 100)
    database = open_sqlite(tmp_path / "rapport.db")
    with pytest.raises(
        UnusableDatabaseError, match=r"rapport\.db is a file, but not a SQLite database.*Move"
    ):
        migrate(database)
    database.dispose()
    assert (tmp_path / "rapport.db").read_text().startswith("Dear diary")


def test_a_damaged_file_is_named(sqlite_url: str, tmp_path: Path) -> None:
    with (tmp_path / "rapport.db").open("r+b") as file:
        file.seek(4096)
        file.write(b"\xff" * 4096 * 20)
    database = open_database(DatabaseSettings(url=sqlite_url))
    with pytest.raises(UnusableDatabaseError, match=r"is damaged.*backup"):
        count_users(database)
    database.dispose()


def test_a_folder_in_place_of_the_file_is_named(tmp_path: Path) -> None:
    (tmp_path / "rapport.db").mkdir()
    database = open_sqlite(tmp_path / "rapport.db")
    with pytest.raises(UnusableDatabaseError, match="cannot be opened"):
        migrate(database)
    database.dispose()


def test_a_file_in_place_of_the_folder_is_named(tmp_path: Path) -> None:
    (tmp_path / "data").write_text("")
    with pytest.raises(
        UnusableDatabaseError, match=r"data/rapport\.db cannot be opened \(.*Check that its folder"
    ):
        open_sqlite(tmp_path / "data" / "rapport.db")


def test_a_full_disk_is_named_and_what_was_stored_stays(sqlite_database: Database) -> None:
    add_user(sqlite_database)

    def fill() -> None:
        with sqlite_database.write() as session:
            pages = session.execute(text("PRAGMA page_count")).scalar()
            session.execute(text(f"PRAGMA max_page_count={pages}"))
            session.add(AuditEvent(action="fill", subject="disk", detail={"text": "x" * 100_000}))

    with pytest.raises(UnusableDatabaseError, match=r"has no room left.*Free space"):
        fill()
    assert count_users(sqlite_database) == 1


@pytest.fixture
def folder_for_all() -> Iterator[Path]:
    """A folder that a process without our rights can enter."""
    folder = Path(tempfile.mkdtemp(prefix="rapport-"))
    folder.chmod(0o755)
    yield folder
    shutil.rmtree(folder)


def report_without_rights(
    action: Callable[[Path], object], path: Path, answers: "multiprocessing.Queue[str]"
) -> None:
    sqlite_module()
    if os.geteuid() == 0:
        os.setuid(NOBODY)
    try:
        action(path)
        answers.put("no error")
    except Exception as error:
        answers.put(f"{type(error).__name__}: {error}")


def error_without_rights(action: Callable[[Path], object], path: Path) -> str:
    start = multiprocessing.get_context("spawn")
    answers: multiprocessing.Queue[str] = start.Queue()
    process = start.Process(target=report_without_rights, args=(action, path, answers))
    process.start()
    said = answers.get(timeout=240)
    process.join()
    answers.close()
    answers.join_thread()
    return said


def open_and_migrate(path: Path) -> None:
    migrate(open_sqlite(path))


def open_and_add_user(path: Path) -> None:
    add_user(open_sqlite(path))


def test_a_folder_that_cannot_be_written_is_named(folder_for_all: Path) -> None:
    folder_for_all.chmod(0o555)
    said = error_without_rights(open_and_migrate, folder_for_all / "rapport.db")
    folder_for_all.chmod(0o755)
    assert said.startswith(
        f"UnusableDatabaseError: The database {folder_for_all}/rapport.db cannot be written"
    )
    assert "Make the file and its folder writable" in said


def test_a_data_folder_that_cannot_be_made_is_named(folder_for_all: Path) -> None:
    folder_for_all.chmod(0o555)
    said = error_without_rights(open_and_migrate, folder_for_all / "data" / "rapport.db")
    folder_for_all.chmod(0o755)
    assert said.startswith("UnusableDatabaseError")
    assert "data/rapport.db cannot be written" in said


def test_a_file_that_cannot_be_written_is_named(folder_for_all: Path, sqlite_template: Path) -> None:
    shutil.copy(sqlite_template, folder_for_all / "rapport.db")
    (folder_for_all / "rapport.db").chmod(0o444)
    folder_for_all.chmod(0o555)
    said = error_without_rights(open_and_add_user, folder_for_all / "rapport.db")
    folder_for_all.chmod(0o755)
    assert said.startswith("UnusableDatabaseError")
    assert "rapport.db cannot be" in said


def test_a_postgresql_that_is_not_there_is_named_without_its_password() -> None:
    url = "postgresql://rapport:geheim@127.0.0.1:1/rapport?connect_timeout=2&sslpassword=geheim"
    database = open_database(DatabaseSettings(url=url))
    with pytest.raises(UnusableDatabaseError) as caught:
        migrate(database)
    assert "postgresql+psycopg://rapport:***@127.0.0.1:1/rapport cannot be reached" in str(caught.value)
    assert "Start PostgreSQL" in str(caught.value)
    assert "geheim" not in str(caught.value)
    database.dispose()


def test_a_postgresql_database_that_does_not_exist_is_named(postgres_server: PostgresServer) -> None:
    database = open_database(DatabaseSettings(url=postgres_server.url("nowhere")))
    with pytest.raises(UnusableDatabaseError, match=r"/nowhere does not exist on the server.*createdb"):
        migrate(database)
    database.dispose()


def test_a_postgresql_that_comes_back_is_used_again(
    postgres_server: PostgresServer, postgres_url: str
) -> None:
    database = open_database(DatabaseSettings(url=postgres_url))
    add_user(database)
    postgres_server.pause()
    try:
        with pytest.raises(UnusableDatabaseError, match="cannot be reached"):
            count_users(database)
    finally:
        postgres_server.resume()
    assert count_users(database) == 1
    database.dispose()


def test_a_postgresql_that_was_restarted_meanwhile_is_not_noticed(
    postgres_server: PostgresServer, postgres_url: str
) -> None:
    database = open_database(DatabaseSettings(url=postgres_url))
    add_user(database)
    postgres_server.pause()
    postgres_server.resume()
    assert count_users(database) == 1
    database.dispose()


def test_ordinary_errors_are_not_translated() -> None:
    assert translate_error(ValueError("database is locked")) is None
