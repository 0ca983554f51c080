"""Sessions of `db.engine` on SQLite and PostgreSQL: what they keep, refuse and survive."""

import logging
import multiprocessing
import threading
from contextlib import closing
from pathlib import Path

import pytest
from sqlalchemy import text, update
from sqlalchemy.exc import IntegrityError, StatementError

from db.engine import Database, open_database, sqlite_module
from db.errors import UnusableDatabaseError
from db.settings import DatabaseSettings
from db.tables import Completion, Job, Metric, ModelVersion, User, utc_now


def test_a_write_session_commits_at_its_end(database: Database) -> None:
    with database.write() as session:
        session.add(User(name="Ada"))
    with database.read() as session:
        assert session.query(User.name).scalar() == "Ada"


def test_a_write_session_that_fails_keeps_nothing(database: Database) -> None:
    def fail() -> None:
        with database.write() as session:
            session.add(User(name="Ada"))
            session.flush()
            raise KeyError("stop")

    with pytest.raises(KeyError):
        fail()
    with database.read() as session:
        assert session.query(User).count() == 0


def test_objects_stay_usable_after_their_session(database: Database) -> None:
    with database.write() as session:
        user = User(name="Ada")
        session.add(user)
    assert (user.name, user.id) == ("Ada", 1)


def test_a_read_session_refuses_to_add_a_row(database: Database) -> None:
    with database.read() as session:
        session.add(User(name="Ada"))
        with pytest.raises(RuntimeError, match="only reads"):
            session.flush()


def test_a_read_session_refuses_an_update_statement(database: Database) -> None:
    with database.read() as session, pytest.raises(RuntimeError, match="only reads"):
        session.execute(update(User).values(name="Ada"))


def test_a_read_session_sees_one_state_while_another_writes(database: Database) -> None:
    with database.read() as reading:
        assert reading.query(User).count() == 0
        with database.write() as writing:
            writing.add(User(name="Ada"))
        assert reading.query(User).count() == 0


def test_moments_come_back_in_utc(database: Database) -> None:
    moment = utc_now()
    with database.write() as session:
        session.add(User(name="Ada", created_at=moment))
    with database.read() as session:
        stored = session.query(User.created_at).scalar()
    assert stored == moment
    assert stored.utcoffset().total_seconds() == 0


def test_foreign_keys_are_enforced(database: Database) -> None:
    def orphan() -> None:
        with database.write() as session:
            session.add(Metric(job_id=99, step=1, name="loss", value=1.0))

    with pytest.raises(IntegrityError):
        orphan()


def test_only_one_job_of_a_line_can_be_active(database: Database) -> None:
    def add_job(state: str) -> None:
        with database.write() as session:
            session.add(Job(kind="retrain", state=state, config={}))

    add_job("succeeded")
    add_job("succeeded")
    add_job("queued")
    with pytest.raises(IntegrityError):
        add_job("running")


def test_only_one_version_of_a_line_can_be_serving(database: Database) -> None:
    def add_version(name: str, state: str) -> None:
        with database.write() as session:
            session.add(ModelVersion(name=name, kind="policy", state=state, path="p", manifest={}))

    add_version("a", "retired")
    add_version("b", "retired")
    add_version("c", "serving")
    with pytest.raises(IntegrityError):
        add_version("d", "serving")


def test_sqlite_is_set_up_as_measured(sqlite_database: Database) -> None:
    with sqlite_database.read() as session:
        pragmas = {
            name: session.execute(text(f"PRAGMA {name}")).scalar()
            for name in ("journal_mode", "foreign_keys", "synchronous", "busy_timeout")
        }
        driver_connection = session.connection().connection.driver_connection
        assert driver_connection is not None
        assert driver_connection.isolation_level is None
    assert pragmas == {"journal_mode": "wal", "foreign_keys": 1, "synchronous": 2, "busy_timeout": 30000}


def _read_then_write(url: str, times: int, errors: list[str]) -> None:
    database = open_database(DatabaseSettings(url=url))
    try:
        for _ in range(times):
            with database.write() as session:
                step = session.query(Metric).count()
                session.add(Metric(job_id=1, step=step, name="loss", value=1.0))
    except Exception as error:
        errors.append(repr(error))
    finally:
        database.dispose()


def _read_then_write_in_threads(url: str, threads: int, times: int) -> None:
    errors: list[str] = []
    running = [threading.Thread(target=_read_then_write, args=(url, times, errors)) for _ in range(threads)]
    for thread in running:
        thread.start()
    for thread in running:
        thread.join()
    if errors:
        raise SystemExit(errors[0])


def test_processes_and_threads_that_read_then_write_never_find_sqlite_locked(sqlite_url: str) -> None:
    database = open_database(DatabaseSettings(url=sqlite_url))
    with database.write() as session:
        session.add(Job(kind="retrain", config={}))
    start = multiprocessing.get_context("spawn")
    processes = [
        start.Process(target=_read_then_write_in_threads, args=(sqlite_url, 4, 10)) for _ in range(2)
    ]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    assert [process.exitcode for process in processes] == [0, 0]
    with database.read() as session:
        assert session.query(Metric).count() == 80
        assert sorted(session.scalars(text("SELECT step FROM metric"))) == list(range(80))
    database.dispose()


def test_a_writer_that_waits_too_long_is_told_why(sqlite_url: str) -> None:
    patient = open_database(DatabaseSettings(url=sqlite_url))
    hasty = open_database(DatabaseSettings(url=sqlite_url, busy_timeout_seconds=0.1))
    with patient.write() as holding:
        holding.execute(text("SELECT 1"))
        with pytest.raises(UnusableDatabaseError, match="held by another program"), hasty.write() as waiting:
            waiting.execute(text("SELECT 1"))
    patient.dispose()
    hasty.dispose()


def test_the_first_opening_waits_for_another_program_that_writes(tmp_path: Path) -> None:
    path = tmp_path / "rapport.db"
    database = open_database(DatabaseSettings(url=f"sqlite:///{path}"))
    with closing(sqlite_module().connect(str(path), isolation_level=None, check_same_thread=False)) as other:
        other.execute("CREATE TABLE note (text)")
        other.execute("BEGIN IMMEDIATE")
        other.execute("INSERT INTO note VALUES ('busy')")
        release = threading.Timer(0.3, other.rollback)
        release.start()
        with database.write() as session:
            assert session.execute(text("PRAGMA journal_mode")).scalar() == "wal"
        release.join()
    database.dispose()


def test_a_number_that_is_none_is_refused_in_json_on_either_database(database: Database) -> None:
    def add_nan() -> None:
        with database.write() as session:
            session.add(Job(kind="retrain", config={"loss": float("nan")}))

    with pytest.raises((StatementError, ValueError), match="not JSON compliant"):
        add_nan()


@pytest.mark.parametrize("unstorable", ["a\x00b", "a\ud83db"])
def test_text_of_a_model_is_stored_even_with_characters_that_no_database_takes(
    database: Database, unstorable: str
) -> None:
    with database.write() as session:
        session.add(Completion(text=unstorable, token_ids=[1], finish_reason="end"))
    with database.read() as session:
        assert session.query(Completion.text).scalar() == "a\ufffdb"


def test_an_old_sqlite_is_warned_of(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("db.engine.SAFE_SQLITE", (99, 0, 0))
    with caplog.at_level(logging.WARNING):
        sqlite_module()
    assert "Install pysqlite3" in caplog.text


def test_the_sqlite_in_use_is_a_safe_one(caplog: pytest.LogCaptureFixture) -> None:
    assert sqlite_module().sqlite_version_info >= (3, 51, 3)
    assert caplog.text == ""


def test_the_folder_of_a_new_file_is_made(tmp_path: Path) -> None:
    database = open_database(DatabaseSettings(url=f"sqlite:///{tmp_path}/a/b/rapport.db"))
    assert (tmp_path / "a" / "b").is_dir()
    database.dispose()
