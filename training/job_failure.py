"""Says in a paragraph for a person why a job failed, or how its process ended; the trace stays in the log."""

import errno
import signal
from pathlib import Path

DONE, STOPPED, LEASE_LOST, DATABASE_FAILED = 0, 3, 4, 5  # exit codes of a job's process

OUR_PACKAGES = ("db.", "feedback.", "training.")  # their messages name thing, value and remedy

OUT_OF_MEMORY_SIGNS = ("out of memory", "can't allocate memory", "cannot allocate memory")


def describe_failure(error: BaseException, *, phase: str, folder: Path) -> str:
    """Name the phase, the cause and where the whole story is."""
    where = f' in phase "{phase}"' if phase else ""
    return (
        f"The job failed{where}: {_cause(error)} The served version is unchanged. "
        f"The whole output is in {folder / 'log.txt'}."
    )


def describe_exit(code: int) -> str:
    """Say how a process ended that wrote no end of its own: a negative code is a signal."""
    if code < 0:
        name = signal.Signals(-code).name if -code in set(signal.Signals) else "unknown"
        hint = " Often that is the system, which was out of memory." if -code == signal.SIGKILL else ""
        return f"The training process was killed by signal {-code} ({name}).{hint}"
    if code == STOPPED:
        return "The training process was asked to stop by somebody else than its worker."
    if code == DATABASE_FAILED:
        return "The training process could not use the database (the reason is in its log.txt)."
    return f"The training process ended with exit code {code} and no result."


def _cause(error: BaseException) -> str:
    text = " ".join(str(error).split()) or type(error).__name__
    if isinstance(error, MemoryError) or any(sign in text.lower() for sign in OUT_OF_MEMORY_SIGNS):
        return (
            f"memory ran out ({_cut(text)}). Choose a smaller preset or batch, or a machine with more memory."
        )
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
        return f"the disk is full ({_cut(text)}). Free space in the data folder, then start it again."
    if isinstance(error, OSError) and error.errno in (errno.EACCES, errno.EROFS, errno.EPERM):
        return f"a file cannot be written ({_cut(text)}). Make the data folder writable, then start it again."
    if type(error).__module__.startswith(OUR_PACKAGES):
        return text
    return f"{type(error).__name__}: {_cut(text)}{'' if text.endswith('.') else '.'}"


def _cut(text: str, limit: int = 500) -> str:
    return text if len(text) <= limit else text[: limit - 1] + "…"
