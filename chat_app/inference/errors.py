"""Why the engine refuses a request or gives up an answer; every message says what to do next."""

from __future__ import annotations

from training.chat_format import PromptTooLong

__all__ = ["GenerationFailed", "InferenceError", "PromptTooLong", "QueueFull", "VersionUnavailable"]


class InferenceError(Exception):
    """Base of what the inference engine raises itself."""


class QueueFull(InferenceError):
    """Too many answers are waiting already."""

    def __init__(self, waiting: int, retry_after: int) -> None:
        """Say how many wait and when to come back, in seconds."""
        super().__init__(f"{waiting} answers are already waiting. Try again in {retry_after} seconds.")
        self.retry_after = retry_after


class VersionUnavailable(InferenceError):
    """A model version that is not loaded and cannot be, or an engine that serves none."""


class GenerationFailed(InferenceError):
    """An answer that could not be generated; the service goes on."""
