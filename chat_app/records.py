"""What a service remembers, opened without loading any model: enough for a worker and for most commands."""

from dataclasses import dataclass

from sqlalchemy import select

from chat_app.services.person import Person
from chat_app.settings import Settings
from db.engine import Database, open_database
from db.migrate import migrate
from db.tables import User
from feedback.prompts import load_prompts
from training.bundled import BUNDLED_PROMPTS
from training.jobs import Jobs
from training.registry import Registry

YOU = "you"
BASE_NAME = "sft"


@dataclass(frozen=True, slots=True)
class Records:
    """What is remembered: the database with the registry and the jobs in it."""

    settings: Settings
    database: Database
    registry: Registry
    jobs: Jobs
    you: Person


def open_records(settings: Settings) -> Records:
    """Open and migrate the database, register the model of the settings, and load the prompt library.

    Raises DatabaseError, and training's UnusableModel.
    """
    database = open_database(settings.database)
    migrate(database)
    registry = Registry(database=database, models_dir=settings.models_dir)
    registry.sweep()
    registry.ensure_base(path_or_name=settings.model, name=BASE_NAME)
    with database.write() as session:
        load_prompts(session=session, path=BUNDLED_PROMPTS)
    return Records(settings, database, registry, Jobs(database), single_user(database))


def single_user(database: Database) -> Person:
    """Return the one person of single-user mode, an administrator, made at the first start."""
    with database.write() as session:
        user = session.scalars(select(User).where(User.name == YOU)).first()
        if user is None:
            user = User(name=YOU, role="admin")
            session.add(user)
            session.flush()
        return Person(user.id, user.name, "admin")
