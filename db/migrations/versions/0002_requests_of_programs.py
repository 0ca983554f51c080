"""Requests of programs, so that each of their answers can be voted on."""

import sqlalchemy as sa
from alembic import op

revision: str = "0002"
down_revision: str | None = "0001"

ID = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    op.create_table(
        "completion_request",
        sa.Column("id", ID, nullable=False),
        sa.Column("user_id", ID, nullable=False),
        sa.Column("public_id", sa.String(length=40), nullable=False),
        sa.Column("prompt", sa.JSON(), nullable=False),
        sa.Column("prompt_hash", sa.String(length=64), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(["user_id"], ["user.id"], name=op.f("fk_completion_request_user_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_completion_request")),
        sa.UniqueConstraint("public_id", name=op.f("uq_completion_request_public_id")),
    )
    op.create_index(op.f("ix_completion_request_user_id"), "completion_request", ["user_id"])
    op.create_index(op.f("ix_completion_request_prompt_hash"), "completion_request", ["prompt_hash"])
    op.create_table(
        "requested_completion",
        sa.Column("request_id", ID, nullable=False),
        sa.Column("position", sa.Integer(), nullable=False),
        sa.Column("completion_id", ID, nullable=False),
        sa.ForeignKeyConstraint(
            ["request_id"], ["completion_request.id"], name=op.f("fk_requested_completion_request_id")
        ),
        sa.ForeignKeyConstraint(
            ["completion_id"], ["completion.id"], name=op.f("fk_requested_completion_completion_id")
        ),
        sa.PrimaryKeyConstraint("request_id", "position", name=op.f("pk_requested_completion")),
        sa.UniqueConstraint("completion_id", name=op.f("uq_requested_completion_completion_id")),
    )
