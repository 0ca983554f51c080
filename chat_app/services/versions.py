"""Model versions as people see them: the lineage, promotion and rolling back."""

from chat_app.services.person import Person
from training.registry import VersionInfo


class VersionService:
    """All methods block on the database: call them from a thread."""

    def list(self, person: Person) -> list[VersionInfo]:
        """List the versions, the newest first."""
        raise NotImplementedError

    def serving(self, person: Person) -> VersionInfo:
        """Return the version that answers now, as the database has it."""
        raise NotImplementedError

    def promote(self, person: Person, version_id: int) -> VersionInfo:
        """Serve a candidate that passed the gate.

        Raises NotFound, Conflict (the gate did not pass it: `promote_anyway`; already serving; a broken folder).
        """
        raise NotImplementedError

    def promote_anyway(self, person: Person, version_id: int, reason: str) -> VersionInfo:
        """Serve a version whatever the gate said; who, why and the verdict are kept in the audit.

        Raises InvalidInput for an empty reason, NotFound, Conflict.
        """
        raise NotImplementedError

    def roll_back(self, person: Person) -> VersionInfo:
        """Serve the version that was served before. Raises Conflict when there was none."""
        raise NotImplementedError
