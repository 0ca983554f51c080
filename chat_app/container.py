"""What the composition root assembles once, and pages and the API receive."""

from dataclasses import dataclass

from chat_app.services.chat import ChatService
from chat_app.services.compare import CompareService
from chat_app.services.person import Person
from chat_app.services.retraining import RetrainingService
from chat_app.services.versions import VersionService


@dataclass(frozen=True, slots=True)
class Services:
    """The services of one running app; `you` is the person of single-user mode."""

    chat: ChatService
    compare: CompareService
    retraining: RetrainingService
    versions: VersionService
    you: Person
