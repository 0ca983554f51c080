"""Queries on the prompt library."""

from collections.abc import Sequence
from typing import Any

from sqlalchemy import select
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.orm import Session

from db.tables import Comparison, Preference, Prompt


def insert_missing_prompts(*, session: Session, rows: Sequence[dict[str, Any]]) -> int:
    """Add the prompts whose hash the library does not have yet; says how many, also when two add at once."""
    if not rows:
        return 0
    is_sqlite = session.get_bind().dialect.name == "sqlite"
    insert = sqlite.insert if is_sqlite else postgresql.insert
    statement = insert(Prompt).on_conflict_do_nothing(index_elements=["prompt_hash"]).returning(Prompt.id)
    return len(session.execute(statement, list(rows)).all())


def library_prompts(
    *, session: Session, part: str, source: str | None, limit: int | None, is_unvoted: bool
) -> list[Prompt]:
    """Prompts of one part, oldest first; `is_unvoted` leaves out those that people voted on."""
    query = select(Prompt).where(Prompt.part == part).order_by(Prompt.id).limit(limit)
    if source is not None:
        query = query.where(Prompt.source == source)
    if is_unvoted:
        voted = select(Comparison.prompt_hash).join(Preference, Preference.comparison_id == Comparison.id)
        query = query.where(Prompt.prompt_hash.not_in(voted))
    return list(session.scalars(query))
