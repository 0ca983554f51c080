"""Makes the application that is mounted at /v1: its own errors, its own page of documentation."""

from fastapi import FastAPI

from chat_app import __version__
from chat_app.api.openai import chat_completions, models
from chat_app.api.openai.errors import install_error_handlers
from chat_app.container import Services

DESCRIPTION = (
    "Chat with the served model by any client of OpenAI's API. What is not supported is refused by name. Each "
    "answer can be voted on by its id: POST /api/feedback."
)


def openai_app(services: Services) -> FastAPI:
    """Make the application; the parent's guards stand before it."""
    app = FastAPI(title="Rapport, in the form of OpenAI's API", version=__version__, description=DESCRIPTION)
    app.state.services = services
    for routes in (models, chat_completions):
        app.include_router(routes.router)
    install_error_handlers(app)
    return app
