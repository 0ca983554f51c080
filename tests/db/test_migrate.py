"""Migrations on SQLite and PostgreSQL: what they make, keep, refuse, and how they meet each other."""

import multiprocessing
import shutil
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from sqlalchemy import Inspector, inspect, text
from sqlalchemy.exc import DBAPIError

import db.migrate
from db.engine import Database, open_database, sqlite_module
from db.errors import NewerDatabaseError, UnusableDatabaseError
from db.migrate import head_revision, migrate
from db.migrations.__main__ import draft
from db.settings import DatabaseSettings
from db.tables import Base, Conversation, Message, User

ADD_COLUMN = "op.add_column('user', sa.Column('motto', sa.String(80)))"
REBUILD_USER = """with op.batch_alter_table('user') as batch:
        batch.alter_column('name', type_=sa.String(99))"""
FAIL_HALF_WAY = f"{ADD_COLUMN}\n    op.execute('SELECT * FROM no_such_table')"
ORPHAN_ROWS = "op.execute('DELETE FROM \"user\"')"


@pytest.fixture
def empty_database(empty_url: str) -> Iterator[Database]:
    database = open_database(DatabaseSettings(url=empty_url))
    yield database
    database.dispose()


def add_migration(folder: Path, monkeypatch: pytest.MonkeyPatch, body: str) -> None:
    """Let the code know one more migration than it ships with."""
    scripts = folder / "100% other folder" / "migrations"
    shutil.copytree(db.migrate.MIGRATIONS_FOLDER, scripts, ignore=shutil.ignore_patterns("__pycache__"))
    (scripts / "versions" / "next.py").write_text(
        f"import sqlalchemy as sa\nfrom alembic import op\nrevision = 'next'\n"
        f"down_revision = {head_revision()!r}\n\n\ndef upgrade():\n    {body}\n"
    )
    monkeypatch.setattr(db.migrate, "MIGRATIONS_FOLDER", scripts)


def backups_of(database: Database) -> list[Path]:
    path = Path(str(database))
    return sorted(path.parent.glob(f"{path.name}.backup-*"))


def rows(path: Path, query: str) -> list[Any]:
    with closing(sqlite_module().connect(str(path))) as connection:
        return list(connection.execute(query))


def test_an_empty_database_is_created_and_the_second_time_left_alone(empty_database: Database) -> None:
    assert "was created at revision 0002" in migrate(empty_database)
    assert "is up to date (revision 0002)" in migrate(empty_database)


def test_a_new_sqlite_file_needs_no_backup(tmp_path: Path) -> None:
    database = open_database(DatabaseSettings(url=f"sqlite:///{tmp_path}/rapport.db"))
    migrate(database)
    database.dispose()
    assert backups_of(database) == []


def test_migrations_and_tables_agree(database: Database) -> None:
    with database.write_connection() as connection:
        assert compare_metadata(MigrationContext.configure(connection), Base.metadata) == []


def plain(value: Any) -> Any:
    """A reflected value in a form that can be compared."""
    if isinstance(value, dict):
        return sorted((key, plain(inner)) for key, inner in value.items())
    return [plain(inner) for inner in value] if isinstance(value, (list, tuple)) else str(value)


def describe_schema(inspector: Inspector) -> dict[str, Any]:
    """Every table's columns, constraints and indexes, in an order that does not depend on creation."""
    return {
        table: [
            [
                (column["name"], str(column["type"]), column["nullable"])
                for column in inspector.get_columns(table)
            ],
            plain(inspector.get_pk_constraint(table)),
            sorted(plain(inspector.get_foreign_keys(table))),
            sorted(plain(inspector.get_unique_constraints(table))),
            sorted(plain(inspector.get_check_constraints(table))),
            sorted(plain(inspector.get_indexes(table))),
        ]
        for table in inspector.get_table_names()
        if table != "alembic_version"
    }


def test_migrations_make_the_same_constraints_as_the_tables(empty_database: Database) -> None:
    with empty_database.write_connection() as connection, connection.begin():
        Base.metadata.create_all(connection)
        wanted = describe_schema(inspect(connection))
        Base.metadata.drop_all(connection)
    migrate(empty_database)
    with empty_database.write_connection() as connection:
        assert describe_schema(inspect(connection)) == wanted
    assert set(wanted) == set(Base.metadata.tables)


def test_an_older_sqlite_file_is_backed_up_with_what_is_still_in_its_log(
    sqlite_database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with sqlite_database.write() as session:
        session.add(User(name="Ada"))  # in the write-ahead log, not yet in the file itself
    add_migration(tmp_path, monkeypatch, ADD_COLUMN)
    done = migrate(sqlite_database)
    (backup,) = backups_of(sqlite_database)
    assert backup.name.startswith("rapport.db.backup-0002-")
    assert done == f"The database {sqlite_database} went from 0002 to next. The old one is in {backup}."
    assert rows(backup, "SELECT name FROM user") == [("Ada",)]
    assert rows(backup, "SELECT version_num FROM alembic_version") == [("0002",)]
    assert rows(Path(str(sqlite_database)), "SELECT name, motto FROM user") == [("Ada", None)]


def test_an_older_postgresql_is_upgraded(
    postgres_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    database = open_database(DatabaseSettings(url=postgres_url))
    add_migration(tmp_path, monkeypatch, ADD_COLUMN)
    assert "went from 0002 to next" in migrate(database)
    with database.read() as session:
        assert session.execute(text('SELECT count(motto) FROM "user"')).scalar() == 0
    database.dispose()


def test_a_table_that_others_point_to_can_be_rebuilt(
    database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with database.write() as session:
        user = User(name="Ada")
        session.add(user)
        session.flush()
        conversation = Conversation(user_id=user.id)
        session.add(conversation)
        session.flush()
        session.add(Message(conversation_id=conversation.id, role="user", content="Good day."))
    add_migration(tmp_path, monkeypatch, REBUILD_USER)
    migrate(database)
    with database.read() as session:
        assert session.query(User.name).join(Conversation).join(Message, Message.role == "user").one() == (
            "Ada",
        )
        if database.is_sqlite:
            assert session.execute(text("PRAGMA foreign_keys")).scalar() == 1


def test_a_migration_that_fails_half_way_changes_nothing(
    database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    add_migration(tmp_path, monkeypatch, FAIL_HALF_WAY)
    with pytest.raises(DBAPIError, match="no_such_table"):
        migrate(database)
    with database.write_connection() as connection:
        assert "motto" not in {column["name"] for column in inspect(connection).get_columns("user")}
        assert connection.execute(text("SELECT version_num FROM alembic_version")).scalar() == "0002"


def test_a_migration_that_leaves_rows_pointing_to_nothing_is_taken_back(
    sqlite_database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with sqlite_database.write() as session:
        user = User(name="Ada")
        session.add(user)
        session.flush()
        session.add(Conversation(user_id=user.id))
    add_migration(tmp_path, monkeypatch, ORPHAN_ROWS)
    with pytest.raises(UnusableDatabaseError, match="'conversation'"):
        migrate(sqlite_database)
    with sqlite_database.read() as session:
        assert session.query(User.name).scalar() == "Ada"


def test_a_database_of_a_newer_rapport_is_refused_and_untouched(database: Database) -> None:
    with database.write() as session:
        session.execute(text("UPDATE alembic_version SET version_num = '9999'"))
    with pytest.raises(NewerDatabaseError, match=r"revision '9999'.* is '0002'.*Upgrade Rapport.*backup"):
        migrate(database)
    with database.read() as session:
        assert session.execute(text("SELECT version_num FROM alembic_version")).scalar() == "9999"
    if database.is_sqlite:
        assert backups_of(database) == []


def test_a_database_with_tables_of_another_program_is_refused(empty_database: Database) -> None:
    with empty_database.write() as session:
        session.execute(text('CREATE TABLE "user" (id INTEGER)'))
    with pytest.raises(
        UnusableDatabaseError, match=r"of the same names: user\. Give Rapport a database of its own"
    ):
        migrate(empty_database)


def test_a_drafted_migration_brings_a_database_to_the_tables_of_today(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scripts = tmp_path / "migrations"
    shutil.copytree(db.migrate.MIGRATIONS_FOLDER, scripts, ignore=shutil.ignore_patterns("__pycache__"))
    first = scripts / "versions" / "0001_the_first_tables.py"
    first.write_text(first.read_text().replace("    create_feedback()\n", ""))
    monkeypatch.setattr(db.migrate, "MIGRATIONS_FOLDER", scripts)
    draft("Add feedback")
    drafted = (scripts / "versions" / "0003_add_feedback.py").read_text()
    assert drafted.startswith('"""Add feedback."""')
    assert "sa.DateTime(timezone=True)" in drafted
    assert "db.tables" not in drafted
    database = open_database(DatabaseSettings(url=f"sqlite:///{tmp_path}/rapport.db"))
    assert "at revision 0003" in migrate(database)
    with database.write_connection() as connection:
        assert compare_metadata(MigrationContext.configure(connection), Base.metadata) == []
    database.dispose()


def test_an_older_file_that_several_upgrade_at_once_is_backed_up_once(
    sqlite_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    add_migration(tmp_path, monkeypatch, ADD_COLUMN)
    databases = [open_database(DatabaseSettings(url=sqlite_url)) for _ in range(4)]
    with ThreadPoolExecutor(4) as pool:
        said = list(pool.map(migrate, databases))
    assert sum("went from 0002 to next" in line for line in said) == 1
    assert sum("is up to date" in line for line in said) == 3
    assert len(backups_of(databases[0])) == 1
    for database in databases:
        database.dispose()


def migrate_in_a_process(url: str, answers: "multiprocessing.Queue[str]") -> None:
    database = open_database(DatabaseSettings(url=url))
    answers.put(migrate(database))
    database.dispose()


def test_three_processes_that_migrate_at_once_do_it_once(empty_url: str) -> None:
    start = multiprocessing.get_context("spawn")
    answers: multiprocessing.Queue[str] = start.Queue()
    processes = [start.Process(target=migrate_in_a_process, args=(empty_url, answers)) for _ in range(3)]
    for process in processes:
        process.start()
    said = [answers.get(timeout=240) for _ in processes]
    for process in processes:
        process.join()
    answers.close()
    answers.join_thread()
    assert sum("was created" in line for line in said) == 1
    assert sum("is up to date" in line for line in said) == 2


def test_a_database_from_before_programs_could_ask_keeps_what_it_has(
    empty_database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scripts, today = tmp_path / "migrations", db.migrate.MIGRATIONS_FOLDER
    shutil.copytree(today, scripts, ignore=shutil.ignore_patterns("__pycache__", "0002*"))
    monkeypatch.setattr(db.migrate, "MIGRATIONS_FOLDER", scripts)
    assert "created at revision 0001" in migrate(empty_database)
    with empty_database.write() as session:
        session.add(User(name="Ada"))
    monkeypatch.setattr(db.migrate, "MIGRATIONS_FOLDER", today)
    assert "went from 0001 to 0002" in migrate(empty_database)
    with empty_database.write_connection() as connection:
        assert connection.execute(text('SELECT name FROM "user"')).scalar() == "Ada"
        assert compare_metadata(MigrationContext.configure(connection), Base.metadata) == []
