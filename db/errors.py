"""What can be wrong with a database as a whole, in words that name it and the remedy."""

import errno
from dataclasses import dataclass

from sqlalchemy import URL
from sqlalchemy.exc import DBAPIError


class DatabaseError(Exception):
    """The database cannot be used as it is; the message says why and what to do."""


class NewerDatabaseError(DatabaseError):
    """The database was written by a newer Rapport than this one."""


class UnusableDatabaseError(DatabaseError):
    """The database is read-only, full, damaged, busy, unreachable, or not a database of Rapport."""


@dataclass(frozen=True, slots=True)
class _Trouble:
    signs: tuple[str, ...]  # parts of SQLite's messages, or SQLSTATE codes of PostgreSQL
    what: str
    remedy: str


_SQLITE_TROUBLES = (
    _Trouble(
        ("readonly database",),
        "cannot be written",
        "Make the file and its folder writable for the user that runs Rapport, or choose another place.",
    ),
    _Trouble(
        ("database or disk is full",),
        "has no room left",
        "Free space on its disk, then try again; nothing stored so far is lost.",
    ),
    _Trouble(
        ("unable to open database file",),
        "cannot be opened",
        "Check that its folder exists and that the user that runs Rapport may write there.",
    ),
    _Trouble(
        ("file is not a database",),
        "is a file, but not a SQLite database",
        "Move that file away, or give the path of another file.",
    ),
    _Trouble(
        ("disk image is malformed",),
        "is damaged",
        "Stop Rapport, keep the file, and put the newest backup beside it in its place.",
    ),
    _Trouble(
        ("disk i/o error",),
        "cannot be read or written on its disk",
        "Check the disk and its free space; SQLite needs a local disk, not a network share.",
    ),
    _Trouble(
        ("database is locked", "database table is locked"),
        "is held by another program",
        "Close what holds it open for writing, or raise database.busy_timeout_seconds.",
    ),
)

_POSTGRES_TROUBLES = (
    _Trouble(("53100",), "has no room left", "Free space on the server's disk, then try again."),
    _Trouble(("25006",), "is read-only", "Give the URL of the primary server, not of a standby."),
    _Trouble(("53300",), "accepts no more connections", "Raise max_connections of the server."),
    _Trouble(("3D000",), "does not exist on the server", "Create it: createdb <name>."),
    _Trouble(("28P01", "28000"), "refuses the user or the password", "Correct the database URL."),
    _Trouble(("42501",), "refuses its user a needed right", "Make that user the owner of the database."),
)

_UNREACHABLE = _Trouble(
    (), "cannot be reached", "Start PostgreSQL, or correct host and port in the database URL."
)

_OS_TROUBLES = {
    errno.EACCES: _SQLITE_TROUBLES[0],
    errno.EPERM: _SQLITE_TROUBLES[0],
    errno.EROFS: _SQLITE_TROUBLES[0],
    errno.ENOSPC: _SQLITE_TROUBLES[1],
    errno.EDQUOT: _SQLITE_TROUBLES[1],
    errno.ENOTDIR: _SQLITE_TROUBLES[2],
    errno.EEXIST: _SQLITE_TROUBLES[2],
    errno.EISDIR: _SQLITE_TROUBLES[2],
}


def describe_url(url: URL) -> str:
    """A database as a message may name it: a file's path, or a URL without password and options."""
    if url.get_backend_name() == "sqlite":
        return str(url.database)
    return url.set(query={}).render_as_string(hide_password=True)


def translate_error(error: Exception, *, place: str = "of this service") -> DatabaseError | None:
    """The trouble behind a driver's error, with its remedy; None where the error is an ordinary one."""
    if isinstance(error, DatabaseError):
        return error
    trouble = _find_trouble(error)
    if trouble is None:
        return None
    return UnusableDatabaseError(f"The database {place} {trouble.what} ({_reason(error)}). {trouble.remedy}")


def _find_trouble(error: Exception) -> _Trouble | None:
    if isinstance(error, OSError):
        return _OS_TROUBLES.get(error.errno or 0)
    cause = _cause(error)
    if type(cause).__module__.startswith("psycopg"):
        return _find_postgres_trouble(cause)
    if type(cause).__module__.startswith(("sqlite3", "pysqlite3")):
        text = str(cause).lower()
        return next((t for t in _SQLITE_TROUBLES if any(sign in text for sign in t.signs)), None)
    return None


def _find_postgres_trouble(cause: BaseException) -> _Trouble | None:
    state = getattr(cause, "sqlstate", None)
    for trouble in _POSTGRES_TROUBLES:
        if state in trouble.signs:
            return trouble
    is_connection_lost = state is not None and state[:3] in ("080", "57P")
    is_connection_refused = state is None and type(cause).__name__ in (
        "OperationalError",
        "ConnectionTimeout",
    )
    if is_connection_refused and "does not exist" in str(cause):
        return _POSTGRES_TROUBLES[3]
    if is_connection_refused and "authentication failed" in str(cause):
        return _POSTGRES_TROUBLES[4]
    return _UNREACHABLE if is_connection_lost or is_connection_refused else None


def _cause(error: Exception) -> BaseException:
    return error.orig if isinstance(error, DBAPIError) and error.orig is not None else error


def _reason(error: Exception) -> str:
    if isinstance(error, OSError):
        return error.strerror or str(error)
    lines = str(_cause(error)).strip().splitlines()
    return lines[0] if lines else type(error).__name__
