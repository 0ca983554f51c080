"""Runs migrations, or drafts one, on the connection that `db.migrate` or `db.migrations` hands over."""

from typing import Any, Literal

from alembic import context
from sqlalchemy import TypeDecorator

from db.tables import Base


def render_item(kind: str, item: Any, _context: object) -> str | Literal[False]:
    """Write our own column types as the plain ones below them; a published migration must not change."""
    if kind == "type" and isinstance(item, TypeDecorator):
        return f"sa.{item.impl_instance!r}"
    return False


context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=Base.metadata,
    render_as_batch=True,
    render_item=render_item,
)
with context.begin_transaction():
    context.run_migrations()
