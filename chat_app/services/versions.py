"""Model versions as people see them: the lineage, promotion and rolling back."""

import builtins

from chat_app.errors import Conflict, InvalidInput
from chat_app.services.asking import checked_text
from chat_app.services.person import Person, require
from training.registry import Registry, VersionInfo

REASON_LIMIT = 500


class VersionService:
    """All methods block on the database: call them from a thread.

    They raise training's VersionNotFound, BrokenVersion, NotServable, NothingServing and NothingBefore.
    """

    def __init__(self, *, registry: Registry) -> None:
        self._registry = registry

    def list(self, person: Person) -> builtins.list[VersionInfo]:
        """List the versions, the newest first."""
        require(person, "read versions")
        return sorted(self._registry.list(), key=lambda version: version.id, reverse=True)

    def get(self, person: Person, version_id: int) -> VersionInfo:
        """Return one version."""
        require(person, "read versions")
        return self._registry.get(version_id)

    def serving(self, person: Person) -> VersionInfo:
        """Return the version that answers now, as the database has it."""
        require(person, "read versions")
        return self._registry.serving()

    def promote(self, person: Person, version_id: int) -> VersionInfo:
        """Serve a candidate that passed the gate, or a version that served before.

        Raises Conflict when the gate did not pass it (then `promote_anyway` is the way).
        """
        require(person, "serve versions")
        version = self._registry.get(version_id)
        verdict = _verdict(version)
        if verdict != "pass" and version.promoted_at is None:
            said = verdict or "nothing, for it was never asked"
            raise Conflict(
                f"The gate's verdict on version {version.name} is: {said}.",
                "Promote it anyway with a reason, or train with more votes.",
                verdict=said,
            )
        return self._promote(person, version, reason="passed the gate", is_forced=False)

    def promote_anyway(self, person: Person, version_id: int, reason: str) -> VersionInfo:
        """Serve a version whatever the gate said; who, why and the verdict are kept in the audit.

        Raises InvalidInput for an empty reason, Conflict when it serves already.
        """
        require(person, "serve versions")
        if not reason.strip():
            raise InvalidInput(
                "Promoting against the gate needs a reason.",
                "Say in a few words why; it is kept in the audit.",
            )
        version = self._registry.get(version_id)
        return self._promote(person, version, reason=checked_text(reason, REASON_LIMIT), is_forced=True)

    def roll_back(self, person: Person) -> VersionInfo:
        """Serve the version that was served before."""
        require(person, "serve versions")
        return self._registry.roll_back(by_user_id=person.id)

    def _promote(self, person: Person, version: VersionInfo, *, reason: str, is_forced: bool) -> VersionInfo:
        if version.state == "serving":
            raise Conflict(f"Version {version.name} is serving already.")
        self._registry.promote(
            version.id,
            by_user_id=person.id,
            reason=reason,
            verdict=version.metrics.get("gate", {}),
            forced=is_forced,
        )
        return self._registry.get(version.id)


def _verdict(version: VersionInfo) -> str | None:
    verdict: str | None = version.metrics.get("gate", {}).get("verdict")
    return verdict
