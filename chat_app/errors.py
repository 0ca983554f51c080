"""The errors a person can meet, each with the thing, its value, the remedy and a status."""

from typing import Any


class ServiceError(Exception):
    """Something that was asked cannot be done.

    `code` is stable and names the case for programs and translations; `message` and `remedy` are plain
    English sentences; `facts` are the values in them; `status` is the HTTP status; `retry_after` is seconds.
    """

    code = "service_error"
    status = 500

    def __init__(
        self, message: str, remedy: str = "", *, retry_after: float | None = None, **facts: Any
    ) -> None:
        super().__init__(f"{message} {remedy}".strip())
        self.message = message
        self.remedy = remedy
        self.retry_after = retry_after
        self.facts = facts


class InvalidInput(ServiceError):
    """A value that cannot be used as it is."""

    code = "invalid_input"
    status = 422


class EmptyMessage(InvalidInput):
    """A message without a word in it."""

    code = "empty_message"

    def __init__(self) -> None:
        super().__init__("The message is empty.", "Write something and send it again.")


class MessageTooLong(InvalidInput):
    """A message over the limit of characters, or over the model's context."""

    code = "message_too_long"

    def __init__(self, length: int, limit: int) -> None:
        super().__init__(
            f"The message has {length:,} characters; the limit is {limit:,}.",
            "Shorten it, or send it in several parts.",
            length=length,
            limit=limit,
        )


class PromptDoesNotFit(InvalidInput):
    """A message within the limit of characters that still fills the model's whole context."""

    code = "prompt_does_not_fit"


class NotAllowed(ServiceError):
    """The person's role lacks a right."""

    code = "not_allowed"
    status = 403

    def __init__(self, right: str) -> None:
        super().__init__(
            f'Your role does not have the right "{right}".', "Ask an administrator.", right=right
        )


class NotFound(ServiceError):
    """A thing that does not exist, or is not this person's to see."""

    code = "not_found"
    status = 404

    def __init__(self, thing: str, key: object) -> None:
        super().__init__(f"There is no {thing} {key}.", "Reload to see what there is.", thing=thing, key=key)


class ModelNotFound(NotFound):
    """A model that a program names and that is not there, or that cannot chat."""

    code = "model_not_found"

    def __init__(self, name: str) -> None:
        super().__init__("model", f'"{name[:100]}"')
        self.remedy = "GET /v1/models lists those there are."


class Conflict(ServiceError):
    """The state of things does not allow it now."""

    code = "conflict"
    status = 409


class StillAnswering(Conflict):
    """A second message while the first is being answered."""

    code = "still_answering"

    def __init__(self) -> None:
        super().__init__(
            "The model is still answering in this conversation.",
            "Wait for the answer, or stop it, then send again.",
        )


class VoteWaits(Conflict):
    """A message while two answers wait for a choice."""

    code = "vote_waits"

    def __init__(self, comparison_id: int) -> None:
        super().__init__(
            "Two answers wait for your choice.",
            "Choose one of them, or undo the last message, then write on.",
            comparison_id=comparison_id,
        )


class Busy(ServiceError):
    """The queue is full."""

    code = "busy"
    status = 429

    def __init__(self, waiting: int, retry_after: int) -> None:
        message, remedy = self._words(waiting, "a second" if retry_after == 1 else f"{retry_after} seconds")
        super().__init__(message, remedy, retry_after=retry_after, waiting=waiting, seconds=retry_after)

    def _words(self, waiting: int, seconds: str) -> tuple[str, str]:
        message = f"Too many people ask at once: {waiting} answers are waiting, and the queue takes no more."
        return message, f"Try again in {seconds}."


class TooManyWaiting(Busy):
    """One person's requests fill their share of the queue."""

    code = "too_many_waiting"

    def _words(self, waiting: int, seconds: str) -> tuple[str, str]:
        message = f"You have {waiting} requests waiting, which is as many as one person may have."
        return message, f"Wait for some of them, or stop them, and try again in {seconds}."


class Unavailable(ServiceError):
    """Something this needs does not work at the moment."""

    code = "unavailable"
    status = 503


class PairFailed(Unavailable):
    """One of the two answers of a comparison failed, so there is nothing to vote on."""

    code = "pair_failed"

    def __init__(self, reason: str) -> None:
        super().__init__(
            f"One of the two answers failed ({reason}), so there is nothing to compare.",
            "Try again; your message is kept.",
            reason=reason,
        )


class StartFailed(Exception):
    """The service cannot start; the message is one clear paragraph with the remedy."""
