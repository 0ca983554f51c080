"""Who acts, and the one table of rights that every service asks before it does anything."""

from dataclasses import dataclass
from typing import Literal

from chat_app.errors import NotAllowed

PersonRole = Literal["chatter", "annotator", "admin"]
Right = Literal["chat", "compare", "read training", "train", "read versions", "serve versions"]

EVERYONE: frozenset[PersonRole] = frozenset({"chatter", "annotator", "admin"})
ADMINS: frozenset[PersonRole] = frozenset({"admin"})

RIGHTS: dict[Right, frozenset[PersonRole]] = {
    "chat": EVERYONE,
    "compare": EVERYONE,
    "read training": EVERYONE,
    "train": ADMINS,
    "read versions": EVERYONE,
    "serve versions": ADMINS,
}


@dataclass(frozen=True, slots=True)
class Person:
    """The one who asks: the id and name of a user row, and the role that decides what is allowed.

    `via` tells callers apart who are all the same person, as long as there is no login: where the request is from.
    """

    id: int
    name: str
    role: PersonRole
    via: str = ""

    @property
    def asker(self) -> str:
        """Name the one between whom and others the places in the queue are shared fairly."""
        return f"{self.id} {self.via}".strip()

    def may(self, right: Right) -> bool:
        """Tell whether this person's role has the right; pages use it to leave out what would be refused."""
        return self.role in RIGHTS[right]


def require(person: Person, right: Right) -> None:
    """Raise NotAllowed unless the person has the right."""
    if not person.may(right):
        raise NotAllowed(right)
