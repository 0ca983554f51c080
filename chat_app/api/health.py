"""Routes for whoever watches the service: is the process alive, can it answer, and how is it doing?"""

from typing import Annotated

from fastapi import APIRouter, Header, Request, Response
from fastapi.responses import JSONResponse
from prometheus_client.exposition import choose_encoder
from sqlalchemy import text

from chat_app.container import Container

router = APIRouter(tags=["health"])


@router.get("/healthz")
async def healthz() -> dict[str, str]:
    """The process answers."""
    return {"status": "ok"}


@router.get("/readyz")
def readyz(request: Request) -> JSONResponse:
    """The database answers, a version is warm and the service is not ending: chats are answered. 503 otherwise."""
    container = _container(request)
    engine = container.engine
    if engine.is_ending:
        return _not_ready("The service is shutting down.")
    if not engine.ready:
        return _not_ready("No model is loaded yet.")
    with container.database.read() as session:
        session.execute(text("SELECT 1"))
    return JSONResponse({"status": "ready", "version_id": engine.serving_version_id})


@router.get("/metrics")
def metrics(request: Request, accept: Annotated[str, Header()] = "") -> Response:
    """The figures of the engine and this process, in the text form of Prometheus; docs/metrics.md explains them."""
    encode, media_type = choose_encoder(accept)
    body = encode(_container(request).engine.metrics.registry)
    return Response(body, headers={"Content-Type": media_type, "Cache-Control": "no-store"})


def _container(request: Request) -> Container:
    container = request.app.state.container
    assert isinstance(container, Container)
    return container


def _not_ready(reason: str) -> JSONResponse:
    return JSONResponse({"status": "not ready", "reason": reason}, 503)
