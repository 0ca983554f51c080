"""Routes for whoever watches the service: is the process alive, and can it answer?"""

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse
from sqlalchemy import text

from chat_app.container import Container

router = APIRouter(tags=["health"])


@router.get("/healthz")
async def healthz() -> dict[str, str]:
    """The process answers."""
    return {"status": "ok"}


@router.get("/readyz")
def readyz(request: Request) -> JSONResponse:
    """The database answers and a model is loaded: chats are answered. 503 with the reason otherwise."""
    container = request.app.state.container
    assert isinstance(container, Container)
    version_id = container.engine.serving_version_id
    if version_id is None:
        return JSONResponse({"status": "not ready", "reason": "No model is loaded yet."}, 503)
    with container.database.read() as session:
        session.execute(text("SELECT 1"))
    return JSONResponse({"status": "ready", "version_id": version_id})
