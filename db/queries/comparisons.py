"""Queries on what was shown."""

from collections.abc import Sequence

from sqlalchemy import select
from sqlalchemy.orm import Session, selectinload

from db.tables import Comparison, ComparisonCompletion, Completion, Preference


def locked_comparison(*, session: Session, comparison_id: int) -> Comparison | None:
    """The comparison as it is now; others who want to answer or replace it wait for this transaction."""
    return session.scalar(
        select(Comparison)
        .where(Comparison.id == comparison_id)
        .with_for_update()
        .execution_options(populate_existing=True)
    )


def comparison_with_completions(*, session: Session, comparison_id: int) -> Comparison | None:
    """The comparison with its completions loaded, for use after the session's end."""
    return session.scalar(
        select(Comparison)
        .where(Comparison.id == comparison_id)
        .options(selectinload(Comparison.shown).selectinload(ComparisonCompletion.completion))
    )


def open_comparisons_on_message(*, session: Session, parent_message_id: int) -> Sequence[Comparison]:
    """The unanswered, unreplaced comparisons below a message, locked until the transaction's end."""
    candidates = session.scalars(
        select(Comparison)
        .where(Comparison.parent_message_id == parent_message_id, Comparison.superseded_by_id.is_(None))
        .order_by(Comparison.id)
        .with_for_update()
        .execution_options(populate_existing=True)
    ).all()
    # A second statement, so that it sees answers that were committed while the lock was awaited.
    answered = set(
        session.scalars(
            select(Preference.comparison_id).where(
                Preference.comparison_id.in_([candidate.id for candidate in candidates])
            )
        )
    )
    return [candidate for candidate in candidates if candidate.id not in answered]


def missing_completions(*, session: Session, completion_ids: Sequence[int]) -> set[int]:
    """Those of the ids that no completion has."""
    found = session.scalars(select(Completion.id).where(Completion.id.in_(completion_ids)))
    return set(completion_ids) - set(found)
