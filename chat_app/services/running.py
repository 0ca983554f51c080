"""Which conversations are being answered right now, so that each is answered once and any tab can stop it."""

from collections.abc import Sequence
from threading import Lock
from typing import Protocol

from chat_app.errors import StillAnswering


class Cancellable(Protocol):
    """Something that can be told to end early, from any thread."""

    def cancel(self) -> None:
        """End soon; does nothing when it has ended."""


class Claim:
    """The right to answer in one conversation, until it is released."""

    def __init__(self, running: "RunningAnswers", conversation_id: int) -> None:
        self._running = running
        self.conversation_id = conversation_id
        self.generations: Sequence[Cancellable] = ()
        self.is_stopped = False

    def attach(self, generations: Sequence[Cancellable]) -> None:
        """Say what `stop` has to end; ends it at once when somebody stopped before it began."""
        self.generations = generations
        if self.is_stopped:
            self.stop()

    def stop(self) -> None:
        """End what is being written."""
        self.is_stopped = True
        for generation in self.generations:
            generation.cancel()

    def release(self) -> None:
        """Let the conversation be answered again."""
        self._running.forget(self)


class RunningAnswers:
    """The claims of this process; the app is one process, so there are no others."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._claims: dict[int, Claim] = {}

    def claim(self, conversation_id: int) -> Claim:
        """Take the conversation for one answer. Raises StillAnswering."""
        with self._lock:
            if conversation_id in self._claims:
                raise StillAnswering
            return self._claims.setdefault(conversation_id, Claim(self, conversation_id))

    def is_answering(self, conversation_id: int) -> bool:
        """Tell whether a model is writing in the conversation."""
        return conversation_id in self._claims

    def refuse_if_answering(self, conversation_id: int) -> None:
        """Raise StillAnswering when a model is writing in the conversation."""
        if self.is_answering(conversation_id):
            raise StillAnswering

    def stop(self, conversation_id: int) -> bool:
        """End what is being written in the conversation; tell whether anything was."""
        claim = self._claims.get(conversation_id)
        if claim is not None:
            claim.stop()
        return claim is not None

    def stop_all(self) -> None:
        """End everything that is being written, before the app goes down."""
        for claim in list(self._claims.values()):
            claim.stop()

    def forget(self, claim: Claim) -> None:
        """Drop a claim; a claim that was released before is no error."""
        with self._lock:
            if self._claims.get(claim.conversation_id) is claim:
                del self._claims[claim.conversation_id]
