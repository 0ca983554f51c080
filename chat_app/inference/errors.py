"""Why the engine refuses a request or gives up an answer; every message says what to do next."""

from __future__ import annotations

from training.chat_format import PromptTooLong

__all__ = [
    "GenerationFailed",
    "InferenceError",
    "PromptTooLong",
    "QueueFull",
    "TooManyWaiting",
    "VersionUnavailable",
]


class InferenceError(Exception):
    """Base of what the inference engine raises itself."""


class QueueFull(InferenceError):
    """Too many answers are waiting already."""

    def __init__(self, waiting: int, retry_after: int) -> None:
        """Say how many wait and when to come back, in seconds."""
        super().__init__(self._message(waiting, retry_after))
        self.waiting = waiting
        self.retry_after = retry_after

    def _message(self, waiting: int, retry_after: int) -> str:
        return f"{waiting} answers are already waiting. Try again in {_in_seconds(retry_after)}."


class TooManyWaiting(QueueFull):
    """One person's requests fill their share of the queue, though others may still ask."""

    def _message(self, waiting: int, retry_after: int) -> str:
        return (
            f"{waiting} of your own requests are already waiting, which is as many as one person may have. "
            f"Wait for some of them, and try again in {_in_seconds(retry_after)}."
        )


class VersionUnavailable(InferenceError):
    """A model version that is not loaded and cannot be, or an engine that serves none."""


class GenerationFailed(InferenceError):
    """An answer that could not be generated; the service goes on."""


def _in_seconds(seconds: int) -> str:
    return "a second" if seconds == 1 else f"{seconds} seconds"
