"""Says a known error as one clear paragraph; what is not known here is a bug and says so."""

import errno

from pydantic import ValidationError

from chat_app.errors import ServiceError, StartFailed
from db.errors import DatabaseError
from feedback.errors import FeedbackError
from training.errors import TrainingError

KNOWN: tuple[type[Exception], ...] = (StartFailed, ServiceError, DatabaseError, FeedbackError, TrainingError)
KNOWN_BY_NAME = frozenset(  # raised by modules that are only imported when they are needed
    {
        "CheckpointError",
        "CorpusError",
        "ChatFormatError",
        "InferenceError",
        "LabellerError",
        "ModelFolderError",
        "SimulationError",
        "VersionUnavailable",
        "WinRateError",
    }
)


def explain(error: BaseException) -> str | None:
    """Return the paragraph for a known error, None for another one."""
    if isinstance(error, KNOWN) or type(error).__name__ in KNOWN_BY_NAME:
        return str(error)
    if isinstance(error, ValidationError):
        return "\n".join(_validation_line(part) for part in error.errors())
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
        return f"The disk is full ({error.filename}). Free space, then try again; what was stored is kept."
    if isinstance(error, PermissionError):
        return f"{error.filename} cannot be used ({error.strerror}). Change its rights, or choose another."
    return None


def _validation_line(part: object) -> str:
    assert isinstance(part, dict)
    name = ".".join(str(piece) for piece in part["loc"]) or "The settings"
    return f"{name}: {part['msg'].removeprefix('Value error, ')}"
