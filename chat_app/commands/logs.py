"""Logging for people: one line per record, and known errors in words instead of a traceback."""

import logging
from types import TracebackType

from chat_app.commands.failures import explain

QUIET = ("httpx", "httpcore", "filelock", "asyncio", "urllib3", "alembic", "uvicorn.error")

_ExcInfo = tuple[type[BaseException], BaseException, TracebackType | None] | tuple[None, None, None]


class PlainFormatter(logging.Formatter):
    """Tells a known error as its paragraph; the traceback of an unknown one is a bug's and stays."""

    def formatException(self, ei: _ExcInfo) -> str:  # noqa: N802 - logging calls it so
        """Return the paragraph, or the traceback."""
        told = explain(ei[1]) if ei[1] is not None else None
        return told if told is not None else super().formatException(ei)


def set_up_logging(*, debug: bool) -> None:
    """Log to standard error; with `debug` more, and tracebacks of everything."""
    form = "%(asctime)s %(levelname)s %(name)s: %(message)s"
    handler = logging.StreamHandler()
    handler.setFormatter(logging.Formatter(form) if debug else PlainFormatter(form))
    logging.basicConfig(level=logging.DEBUG if debug else logging.INFO, handlers=[handler])
    for name in QUIET:
        logging.getLogger(name).setLevel(logging.WARNING)
