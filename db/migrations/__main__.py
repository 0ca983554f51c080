"""Drafts the next migration from what `db/tables.py` says: `python -m db.migrations "Add a motto"`."""

import sys
import tempfile
from pathlib import Path

from alembic import command

from db.engine import open_database
from db.migrate import alembic_config, head_revision, migrate
from db.settings import DatabaseSettings


def draft(message: str) -> None:
    """Write a migration from the newest published form to the tables of today, to be checked by hand."""
    number = int(head_revision()) + 1
    with tempfile.TemporaryDirectory() as folder:
        database = open_database(DatabaseSettings(url=f"sqlite:///{Path(folder)}/rapport.db"))
        migrate(database)
        with database.write_connection() as connection, connection.begin():
            command.revision(alembic_config(connection), message, autogenerate=True, rev_id=f"{number:04d}")
        database.dispose()


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit('Say in a few words what changes: python -m db.migrations "Add a motto"')
    draft(sys.argv[1])
