"""What routes are given: the services, and the person who asks."""

from typing import Annotated

from fastapi import Depends, Path, Request

from chat_app.container import Services
from chat_app.security import current_person
from chat_app.services.person import Person

MAX_ID = 2**63 - 1


def _services(request: Request) -> Services:
    services = request.app.state.services
    assert isinstance(services, Services)
    return services


Id = Annotated[int, Path(ge=1, le=MAX_ID)]
CurrentServices = Annotated[Services, Depends(_services)]
CurrentPerson = Annotated[Person, Depends(current_person)]
