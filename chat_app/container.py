"""The composition root: makes every part of a running service from the settings, and nothing twice."""

from dataclasses import dataclass

from sqlalchemy import select

from chat_app.inference.engine import InferenceEngine
from chat_app.inference.watcher import ServingWatcher
from chat_app.services.answering import Answering
from chat_app.services.chat import ChatService
from chat_app.services.compare import CompareService
from chat_app.services.person import Person
from chat_app.services.retraining import RetrainingService
from chat_app.services.running import RunningAnswers
from chat_app.services.versions import VersionService
from chat_app.settings import Settings
from db.engine import Database, open_database
from db.migrate import migrate
from db.tables import User
from feedback.prompts import load_prompts
from training.bundled import BUNDLED_PROMPTS
from training.jobs import Jobs
from training.registry import Registry
from training.versions import load_policy

YOU = "you"
BASE_NAME = "sft"


@dataclass(frozen=True, slots=True)
class Services:
    """What pages and the API may use; `you` is the person of single-user mode."""

    chat: ChatService
    compare: CompareService
    retraining: RetrainingService
    versions: VersionService
    you: Person


@dataclass(frozen=True, slots=True)
class Records:
    """What is remembered: the database with the registry and the jobs in it, without any model loaded."""

    settings: Settings
    database: Database
    registry: Registry
    jobs: Jobs
    you: Person


@dataclass(frozen=True, slots=True)
class Container:
    """All parts of a running app."""

    records: Records
    engine: InferenceEngine
    watcher: ServingWatcher
    services: Services

    @property
    def database(self) -> Database:
        """The one database."""
        return self.records.database


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


def assemble(records: Records) -> Container:
    """Make the engine and the services; nothing is started yet."""
    settings, registry = records.settings, records.registry
    engine = InferenceEngine(
        load_version=lambda version_id: load_policy(registry, version_id), settings=settings.inference
    )
    answering = Answering(
        engine=engine, decoding=settings.decoding, max_together=settings.inference.max_batch
    )
    running = RunningAnswers()
    services = Services(
        chat=ChatService(
            database=records.database,
            answering=answering,
            running=running,
            max_characters=settings.max_message_characters,
        ),
        compare=CompareService(
            database=records.database,
            answering=answering,
            running=running,
            max_characters=settings.max_message_characters,
        ),
        retraining=RetrainingService(
            database=records.database, registry=registry, jobs=records.jobs, settings=settings
        ),
        versions=VersionService(registry=registry),
        you=records.you,
    )
    watcher = ServingWatcher(engine=engine, registry=registry, poll_seconds=settings.inference.poll_seconds)
    return Container(records, engine, watcher, services)
