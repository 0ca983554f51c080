"""Routes to list the models that can be asked."""

from typing import Literal

from fastapi import APIRouter
from pydantic import BaseModel

from chat_app.api.dependencies import CurrentPerson, CurrentServices
from chat_app.errors import ModelNotFound
from chat_app.services.completions import SERVED
from training.registry import VersionInfo
from training.version_rows import can_chat

router = APIRouter(tags=["models"])


class ModelBody(BaseModel):
    """A model version by its name; "rapport" is whichever serves. `created` is in seconds since 1970."""

    id: str
    object: Literal["model"] = "model"
    created: int
    owned_by: Literal["rapport"] = "rapport"


class ModelListBody(BaseModel):
    """All models, the served one first."""

    object: Literal["list"] = "list"
    data: list[ModelBody]


@router.get("/models")
def list_models(services: CurrentServices, person: CurrentPerson) -> ModelListBody:
    """List the models that can be asked."""
    return ModelListBody(data=_models(services.versions.list(person)))


@router.get("/models/{model_id:path}")
def get_model(model_id: str, services: CurrentServices, person: CurrentPerson) -> ModelBody:
    """Look at one model."""
    for model in _models(services.versions.list(person)):
        if model.id == model_id:
            return model
    raise ModelNotFound(model_id)


def _models(versions: list[VersionInfo]) -> list[ModelBody]:
    named = [(SERVED, version) for version in versions if version.is_serving]
    named += [(version.name, version) for version in versions if can_chat(version)]
    return [ModelBody(id=name, created=int(version.created_at.timestamp())) for name, version in named]
