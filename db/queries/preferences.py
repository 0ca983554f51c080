"""Queries on what was answered; a preference is current until a later one supersedes it."""

from sqlalchemy import ColumnElement, distinct, exists, func, select
from sqlalchemy.orm import Session, aliased, selectinload

from db.tables import Comparison, ComparisonCompletion, Preference, SnapshotPreference


def _is_current() -> ColumnElement[bool]:
    newer = aliased(Preference)
    return ~exists().where(newer.supersedes_id == Preference.id)


def current_preferences(*, session: Session) -> list[Preference]:
    """All current preferences, oldest first, with their comparisons and completions loaded."""
    shown = selectinload(Preference.comparison).selectinload(Comparison.shown)
    return list(
        session.scalars(
            select(Preference)
            .where(_is_current())
            .order_by(Preference.id)
            .options(shown.selectinload(ComparisonCompletion.completion))
        )
    )


def current_preference(*, session: Session, comparison_id: int, user_id: int) -> Preference | None:
    """The person's last word on the comparison."""
    return session.scalar(
        select(Preference).where(
            Preference.comparison_id == comparison_id, Preference.user_id == user_id, _is_current()
        )
    )


def preference_by_key(*, session: Session, user_id: int, idempotency_key: str) -> Preference | None:
    """The answer that the person already gave under this idempotency key."""
    return session.scalar(
        select(Preference).where(Preference.user_id == user_id, Preference.idempotency_key == idempotency_key)
    )


def count_answered_comparisons(*, session: Session, outside_snapshot_id: int | None = None) -> int:
    """How many comparisons have an answer; with a snapshot, those of which it holds no answer."""
    query = select(func.count(distinct(Preference.comparison_id)))
    if outside_snapshot_id is not None:
        frozen = (
            select(Preference.comparison_id)
            .join(SnapshotPreference, SnapshotPreference.preference_id == Preference.id)
            .where(SnapshotPreference.snapshot_id == outside_snapshot_id)
        )
        query = query.where(Preference.comparison_id.not_in(frozen))
    return session.scalar(query) or 0
