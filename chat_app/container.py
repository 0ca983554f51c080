"""The composition root: makes every part of a running service from the settings, and nothing twice."""

from dataclasses import dataclass

from chat_app.inference.engine import InferenceEngine
from chat_app.inference.watcher import ServingWatcher
from chat_app.records import Records
from chat_app.services.answering import Answering
from chat_app.services.chat import ChatService
from chat_app.services.compare import CompareService
from chat_app.services.completions import CompletionService
from chat_app.services.feedback import FeedbackService
from chat_app.services.person import Person
from chat_app.services.retraining import RetrainingService
from chat_app.services.running import RunningAnswers
from chat_app.services.versions import VersionService
from chat_app.version_loading import VersionLoader
from db.engine import Database


@dataclass(frozen=True, slots=True)
class Services:
    """What pages and the API may use; `you` is the person of single-user mode."""

    chat: ChatService
    compare: CompareService
    completions: CompletionService
    feedback: FeedbackService
    retraining: RetrainingService
    versions: VersionService
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


def assemble(records: Records) -> Container:
    """Make the engine and the services; nothing is started yet."""
    settings, registry = records.settings, records.registry
    engine = InferenceEngine(
        load_version=VersionLoader(registry, settings.inference.precision), settings=settings.inference
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
        completions=CompletionService(
            database=records.database,
            answering=answering,
            max_characters=settings.max_message_characters,
        ),
        feedback=FeedbackService(database=records.database, running=running),
        retraining=RetrainingService(
            database=records.database, registry=registry, jobs=records.jobs, settings=settings
        ),
        versions=VersionService(registry=registry),
        you=records.you,
    )
    watcher = ServingWatcher(engine=engine, registry=registry, poll_seconds=settings.inference.poll_seconds)
    return Container(records, engine, watcher, services)
