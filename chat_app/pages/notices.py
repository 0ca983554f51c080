"""Turns an exception into the sentence that a page shows; what nobody expected is logged and told apart."""

import logging

from chat_app.errors import ServiceError
from chat_app.presenters.errors import error_text
from chat_app.words import Words
from db.errors import DatabaseError
from feedback.errors import FeedbackError
from training.errors import TrainingError

EXPECTED = (ServiceError, FeedbackError, TrainingError, DatabaseError)

_LOG = logging.getLogger(__name__)


def notice_text(error: Exception, words: Words) -> str:
    """Return the words for a domain error; log any other with its traceback and say that much."""
    if isinstance(error, EXPECTED):
        return error_text(error, words)
    _LOG.error("A page's handler failed.", exc_info=error)
    return words.unexpected
