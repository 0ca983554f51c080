"""Makes the web application: pages, API and guards around the services, started and stopped in order."""

import logging
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

from anyio.to_thread import run_sync
from fastapi import FastAPI

from chat_app import __version__
from chat_app.api import chat, comparisons, feedback, health, retrainings, versions
from chat_app.api.errors import install_error_handlers
from chat_app.api.openai.app import openai_app
from chat_app.body_limit import BodyLimit
from chat_app.container import Container, assemble
from chat_app.errors import StartFailed
from chat_app.inference.errors import VersionUnavailable
from chat_app.pages import mount_pages
from chat_app.records import open_records
from chat_app.security import SingleUserGuard, check_bind
from chat_app.settings import Settings
from chat_app.worker_child import WorkerChild

logger = logging.getLogger(__name__)

DESCRIPTION = (
    'Chat with a small GPT, compare its answers, vote, retrain. Errors are `{"error": {"code", "message", '
    '"remedy"}}`. There is no login yet, so the service listens on this machine only.'
)


def create_app(settings: Settings) -> FastAPI:
    """Assemble the service. Raises StartFailed, DatabaseError and training's UnusableModel."""
    check_bind(settings)
    container = assemble(open_records(settings))
    app = FastAPI(
        title="Rapport",
        version=__version__,
        description=DESCRIPTION,
        lifespan=_lifespan,
    )
    app.state.container = container
    app.state.runtime = Runtime(container)
    app.state.services = container.services
    for routes in (chat, comparisons, feedback, retrainings, versions, health):
        app.include_router(routes.router)
    install_error_handlers(app)
    app.mount("/v1", openai_app(container.services))
    mount_pages(app, container.services)
    app.add_middleware(BodyLimit, max_bytes=settings.max_body_bytes)
    app.add_middleware(
        SingleUserGuard, allowed_hosts=settings.allowed_hosts, may_be_forwarded=settings.trusted_network
    )
    return app


class Runtime:
    """Starts the parts of a service in order and stops them in the opposite one; twice is once."""

    def __init__(self, container: Container) -> None:
        settings = container.records.settings
        self._container = container
        self._worker = WorkerChild(settings) if settings.worker else None
        self._is_started = False

    def start(self) -> None:
        """Load the serving model, then watch for a newer one and start the worker.

        A model that cannot be loaded ends the start if it is the one of the settings (StartFailed). A trained
        version that broke does not: pages and API tell, and an administrator serves another one.
        """
        if self._is_started:
            return
        self._is_started = True
        self._container.engine.start()
        serving = self._container.records.registry.serving()
        try:
            self._container.engine.serve_version(serving.id)
        except VersionUnavailable as error:
            if serving.kind != "policy":
                raise StartFailed(str(error)) from error
            logger.error("%s The service runs without a model until another version is served.", error)
        self._container.watcher.start()
        if self._worker is not None:
            self._worker.start()

    def stop(self) -> None:
        """Stop all parts; running answers were stored before."""
        if self._worker is not None:
            self._worker.ask_to_stop()
        self._container.watcher.stop()
        self._container.engine.stop()
        if self._worker is not None:
            self._worker.stop()
        self._container.database.dispose()


@asynccontextmanager
async def _lifespan(app: FastAPI) -> AsyncGenerator[None, None]:
    runtime: Runtime = app.state.runtime
    await run_sync(runtime.start)
    try:
        yield
    finally:
        await app.state.services.chat.finish()
        await app.state.services.completions.finish()
        await run_sync(runtime.stop)
