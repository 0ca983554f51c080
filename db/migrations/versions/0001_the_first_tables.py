"""The first tables."""

import sqlalchemy as sa
from alembic import op

revision: str = "0001"
down_revision: str | None = None

ID = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
MOMENT = sa.DateTime(timezone=True)


def upgrade() -> None:
    create_people()
    create_jobs()
    create_versions()
    create_chat()
    create_feedback()


def create_people() -> None:
    """People, their keys for the API, and what they did."""
    op.create_table(
        "user",
        sa.Column("id", ID, nullable=False),
        sa.Column("name", sa.String(length=80), nullable=False),
        sa.Column("role", sa.String(length=16), nullable=False),
        sa.Column("password_hash", sa.String(length=255), nullable=True),
        sa.Column("is_active", sa.Boolean(), nullable=False),
        sa.Column("created_at", MOMENT, nullable=False),
        sa.CheckConstraint("role IN ('chatter', 'annotator', 'admin')", name=op.f("ck_user_role")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_user")),
        sa.UniqueConstraint("name", name=op.f("uq_user_name")),
    )
    op.create_table(
        "api_key",
        sa.Column("id", ID, nullable=False),
        sa.Column("user_id", ID, nullable=False),
        sa.Column("name", sa.String(length=80), nullable=False),
        sa.Column("key_hash", sa.String(length=64), nullable=False),
        sa.Column("scopes", sa.JSON(), nullable=False),
        sa.Column("created_at", MOMENT, nullable=False),
        sa.Column("revoked_at", MOMENT, nullable=True),
        sa.ForeignKeyConstraint(["user_id"], ["user.id"], name=op.f("fk_api_key_user_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_api_key")),
        sa.UniqueConstraint("key_hash", name=op.f("uq_api_key_key_hash")),
    )
    op.create_index(op.f("ix_api_key_user_id"), "api_key", ["user_id"])
    op.create_table(
        "audit_event",
        sa.Column("id", ID, nullable=False),
        sa.Column("user_id", ID, nullable=True),
        sa.Column("action", sa.String(length=60), nullable=False),
        sa.Column("subject", sa.String(length=120), nullable=False),
        sa.Column("detail", sa.JSON(), nullable=False),
        sa.Column("created_at", MOMENT, nullable=False),
        sa.ForeignKeyConstraint(["user_id"], ["user.id"], name=op.f("fk_audit_event_user_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_audit_event")),
    )
    op.create_index(op.f("ix_audit_event_action"), "audit_event", ["action"])
    op.create_index(op.f("ix_audit_event_user_id"), "audit_event", ["user_id"])


def create_jobs() -> None:
    """Frozen datasets, the jobs that read them, and what jobs report."""
    op.create_table(
        "snapshot",
        sa.Column("id", ID, nullable=False),
        sa.Column("sha256", sa.String(length=64), nullable=False),
        sa.Column("path", sa.Text(), nullable=False),
        sa.Column("counts", sa.JSON(), nullable=False),
        sa.Column("split_rule", sa.String(length=120), nullable=False),
        sa.Column("created_at", MOMENT, nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_snapshot")),
    )
    op.create_index(op.f("ix_snapshot_sha256"), "snapshot", ["sha256"])
    op.create_table(
        "job",
        sa.Column("id", ID, nullable=False),
        sa.Column("kind", sa.String(length=16), nullable=False),
        sa.Column("line", sa.String(length=80), nullable=False),
        sa.Column("state", sa.String(length=16), nullable=False),
        sa.Column("attempt", sa.Integer(), nullable=False),
        sa.Column("max_attempts", sa.Integer(), nullable=False),
        sa.Column("requested_by_id", ID, nullable=True),
        sa.Column("snapshot_id", ID, nullable=True),
        sa.Column("config", sa.JSON(), nullable=False),
        sa.Column("phase", sa.String(length=40), nullable=False),
        sa.Column("progress", sa.Double(), nullable=False),
        sa.Column("cancel_requested", sa.Boolean(), nullable=False),
        sa.Column("lease_owner", sa.String(length=120), nullable=True),
        sa.Column("lease_until", MOMENT, nullable=True),
        sa.Column("fencing_token", sa.Integer(), nullable=False),
        sa.Column("heartbeat_at", MOMENT, nullable=True),
        sa.Column("process_group", sa.Integer(), nullable=True),
        sa.Column("folder", sa.Text(), nullable=True),
        sa.Column("result", sa.JSON(), nullable=False),
        sa.Column("error", sa.Text(), nullable=True),
        sa.Column("created_at", MOMENT, nullable=False),
        sa.Column("started_at", MOMENT, nullable=True),
        sa.Column("finished_at", MOMENT, nullable=True),
        sa.CheckConstraint(
            "state IN ('queued', 'running', 'succeeded', 'failed', 'cancelled')", name=op.f("ck_job_state")
        ),
        sa.ForeignKeyConstraint(["requested_by_id"], ["user.id"], name=op.f("fk_job_requested_by_id")),
        sa.ForeignKeyConstraint(["snapshot_id"], ["snapshot.id"], name=op.f("fk_job_snapshot_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_job")),
    )
    op.create_index(op.f("ix_job_requested_by_id"), "job", ["requested_by_id"])
    op.create_index(op.f("ix_job_snapshot_id"), "job", ["snapshot_id"])
    op.create_index(op.f("ix_job_state"), "job", ["state"])
    op.create_index(
        "uq_job_one_active_per_line",
        "job",
        ["line"],
        unique=True,
        sqlite_where=sa.text("state IN ('queued', 'running')"),
        postgresql_where=sa.text("state IN ('queued', 'running')"),
    )
    op.create_table(
        "job_event",
        sa.Column("id", ID, nullable=False),
        sa.Column("job_id", ID, nullable=False),
        sa.Column("attempt", sa.Integer(), nullable=False),
        sa.Column("kind", sa.String(length=16), nullable=False),
        sa.Column("text", sa.Text(), nullable=False),
        sa.Column("data", sa.JSON(), nullable=False),
        sa.Column("created_at", MOMENT, nullable=False),
        sa.CheckConstraint("kind IN ('info', 'warning', 'error', 'sample')", name=op.f("ck_job_event_kind")),
        sa.ForeignKeyConstraint(["job_id"], ["job.id"], name=op.f("fk_job_event_job_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_job_event")),
    )
    op.create_index(op.f("ix_job_event_job_id_id"), "job_event", ["job_id", "id"])
    op.create_table(
        "metric",
        sa.Column("id", ID, nullable=False),
        sa.Column("job_id", ID, nullable=False),
        sa.Column("attempt", sa.Integer(), nullable=False),
        sa.Column("step", sa.Integer(), nullable=False),
        sa.Column("name", sa.String(length=80), nullable=False),
        sa.Column("value", sa.Double(), nullable=False),
        sa.Column("created_at", MOMENT, nullable=False),
        sa.ForeignKeyConstraint(["job_id"], ["job.id"], name=op.f("fk_metric_job_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_metric")),
    )
    op.create_index(op.f("ix_metric_job_id_name_step"), "metric", ["job_id", "name", "step"])


def create_versions() -> None:
    """Model versions and what they wrote."""
    op.create_table(
        "model_version",
        sa.Column("id", ID, nullable=False),
        sa.Column("line", sa.String(length=80), nullable=False),
        sa.Column("name", sa.String(length=120), nullable=False),
        sa.Column("kind", sa.String(length=16), nullable=False),
        sa.Column("state", sa.String(length=16), nullable=False),
        sa.Column("path", sa.Text(), nullable=False),
        sa.Column("manifest", sa.JSON(), nullable=False),
        sa.Column("metrics", sa.JSON(), nullable=False),
        sa.Column("start_id", ID, nullable=True),
        sa.Column("anchor_id", ID, nullable=True),
        sa.Column("reward_id", ID, nullable=True),
        sa.Column("job_id", ID, nullable=True),
        sa.Column("created_at", MOMENT, nullable=False),
        sa.Column("promoted_at", MOMENT, nullable=True),
        sa.CheckConstraint("kind IN ('base', 'sft', 'reward', 'policy')", name=op.f("ck_model_version_kind")),
        sa.CheckConstraint(
            "state IN ('candidate', 'canary', 'serving', 'retired')", name=op.f("ck_model_version_state")
        ),
        sa.ForeignKeyConstraint(["anchor_id"], ["model_version.id"], name=op.f("fk_model_version_anchor_id")),
        sa.ForeignKeyConstraint(["job_id"], ["job.id"], name=op.f("fk_model_version_job_id")),
        sa.ForeignKeyConstraint(["reward_id"], ["model_version.id"], name=op.f("fk_model_version_reward_id")),
        sa.ForeignKeyConstraint(["start_id"], ["model_version.id"], name=op.f("fk_model_version_start_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_model_version")),
        sa.UniqueConstraint("name", name=op.f("uq_model_version_name")),
    )
    op.create_index(op.f("ix_model_version_job_id"), "model_version", ["job_id"])
    op.create_index(op.f("ix_model_version_state"), "model_version", ["state"])
    op.create_index(
        "uq_model_version_one_serving_per_line",
        "model_version",
        ["line"],
        unique=True,
        sqlite_where=sa.text("state = 'serving'"),
        postgresql_where=sa.text("state = 'serving'"),
    )
    op.create_table(
        "completion",
        sa.Column("id", ID, nullable=False),
        sa.Column("version_id", ID, nullable=True),
        sa.Column("text", sa.Text(), nullable=False),
        sa.Column("token_ids", sa.JSON(), nullable=False),
        sa.Column("finish_reason", sa.String(length=16), nullable=False),
        sa.Column("seed", sa.BigInteger(), nullable=True),
        sa.Column("decoding", sa.JSON(), nullable=False),
        sa.Column("first_token_seconds", sa.Double(), nullable=True),
        sa.Column("seconds", sa.Double(), nullable=True),
        sa.Column("created_at", MOMENT, nullable=False),
        sa.CheckConstraint(
            "finish_reason IN ('end', 'length', 'stopped', 'imported')",
            name=op.f("ck_completion_finish_reason"),
        ),
        sa.ForeignKeyConstraint(["version_id"], ["model_version.id"], name=op.f("fk_completion_version_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_completion")),
    )
    op.create_index(op.f("ix_completion_version_id"), "completion", ["version_id"])


def create_chat() -> None:
    """The prompt library and conversations; a conversation and its leaf point to each other."""
    op.create_table(
        "prompt",
        sa.Column("id", ID, nullable=False),
        sa.Column("prompt_hash", sa.String(length=64), nullable=False),
        sa.Column("messages", sa.JSON(), nullable=False),
        sa.Column("part", sa.String(length=16), nullable=False),
        sa.Column("source", sa.String(length=40), nullable=False),
        sa.Column("created_at", MOMENT, nullable=False),
        sa.CheckConstraint("part IN ('training', 'ppo', 'heldout')", name=op.f("ck_prompt_part")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_prompt")),
        sa.UniqueConstraint("prompt_hash", name=op.f("uq_prompt_prompt_hash")),
    )
    op.create_index(op.f("ix_prompt_part"), "prompt", ["part"])
    op.create_table(
        "conversation",
        sa.Column("id", ID, nullable=False),
        sa.Column("user_id", ID, nullable=False),
        sa.Column("title", sa.Text(), nullable=False),
        sa.Column("leaf_id", ID, nullable=True),
        sa.Column("created_at", MOMENT, nullable=False),
        sa.Column("updated_at", MOMENT, nullable=False),
        sa.Column("deleted_at", MOMENT, nullable=True),
        sa.ForeignKeyConstraint(["user_id"], ["user.id"], name=op.f("fk_conversation_user_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_conversation")),
    )
    op.create_index(op.f("ix_conversation_user_id"), "conversation", ["user_id"])
    op.create_table(
        "message",
        sa.Column("id", ID, nullable=False),
        sa.Column("conversation_id", ID, nullable=False),
        sa.Column("parent_id", ID, nullable=True),
        sa.Column("role", sa.String(length=16), nullable=False),
        sa.Column("content", sa.Text(), nullable=False),
        sa.Column("completion_id", ID, nullable=True),
        sa.Column("created_at", MOMENT, nullable=False),
        sa.CheckConstraint("role IN ('system', 'user', 'assistant')", name=op.f("ck_message_role")),
        sa.ForeignKeyConstraint(["completion_id"], ["completion.id"], name=op.f("fk_message_completion_id")),
        sa.ForeignKeyConstraint(
            ["conversation_id"], ["conversation.id"], name=op.f("fk_message_conversation_id")
        ),
        sa.ForeignKeyConstraint(["parent_id"], ["message.id"], name=op.f("fk_message_parent_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_message")),
    )
    op.create_index(op.f("ix_message_completion_id"), "message", ["completion_id"])
    op.create_index(op.f("ix_message_conversation_id_parent_id"), "message", ["conversation_id", "parent_id"])
    op.create_index(op.f("ix_message_parent_id"), "message", ["parent_id"])
    with op.batch_alter_table("conversation") as batch:
        batch.create_foreign_key("fk_conversation_leaf_id", "message", ["leaf_id"], ["id"])


def create_feedback() -> None:
    """What was shown and what people answered."""
    op.create_table(
        "comparison",
        sa.Column("id", ID, nullable=False),
        sa.Column("user_id", ID, nullable=False),
        sa.Column("source", sa.String(length=16), nullable=False),
        sa.Column("prompt", sa.JSON(), nullable=False),
        sa.Column("prompt_hash", sa.String(length=64), nullable=False),
        sa.Column("prompt_id", ID, nullable=True),
        sa.Column("conversation_id", ID, nullable=True),
        sa.Column("parent_message_id", ID, nullable=True),
        sa.Column("superseded_by_id", ID, nullable=True),
        sa.Column("created_at", MOMENT, nullable=False),
        sa.CheckConstraint(
            "source IN ('chat', 'queue', 'gold', 'import', 'api')", name=op.f("ck_comparison_source")
        ),
        sa.ForeignKeyConstraint(
            ["conversation_id"], ["conversation.id"], name=op.f("fk_comparison_conversation_id")
        ),
        sa.ForeignKeyConstraint(
            ["parent_message_id"], ["message.id"], name=op.f("fk_comparison_parent_message_id")
        ),
        sa.ForeignKeyConstraint(["prompt_id"], ["prompt.id"], name=op.f("fk_comparison_prompt_id")),
        sa.ForeignKeyConstraint(
            ["superseded_by_id"], ["comparison.id"], name=op.f("fk_comparison_superseded_by_id")
        ),
        sa.ForeignKeyConstraint(["user_id"], ["user.id"], name=op.f("fk_comparison_user_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_comparison")),
    )
    op.create_index(op.f("ix_comparison_conversation_id"), "comparison", ["conversation_id"])
    op.create_index(op.f("ix_comparison_parent_message_id"), "comparison", ["parent_message_id"])
    op.create_index(op.f("ix_comparison_prompt_hash"), "comparison", ["prompt_hash"])
    op.create_index(op.f("ix_comparison_prompt_id"), "comparison", ["prompt_id"])
    op.create_index(op.f("ix_comparison_user_id"), "comparison", ["user_id"])
    op.create_table(
        "comparison_completion",
        sa.Column("comparison_id", ID, nullable=False),
        sa.Column("position", sa.Integer(), nullable=False),
        sa.Column("completion_id", ID, nullable=False),
        sa.ForeignKeyConstraint(
            ["comparison_id"], ["comparison.id"], name=op.f("fk_comparison_completion_comparison_id")
        ),
        sa.ForeignKeyConstraint(
            ["completion_id"], ["completion.id"], name=op.f("fk_comparison_completion_completion_id")
        ),
        sa.PrimaryKeyConstraint("comparison_id", "position", name=op.f("pk_comparison_completion")),
        sa.UniqueConstraint(
            "comparison_id",
            "completion_id",
            name=op.f("uq_comparison_completion_comparison_id_completion_id"),
        ),
    )
    op.create_index(
        op.f("ix_comparison_completion_completion_id"), "comparison_completion", ["completion_id"]
    )
    op.create_table(
        "preference",
        sa.Column("id", ID, nullable=False),
        sa.Column("comparison_id", ID, nullable=False),
        sa.Column("user_id", ID, nullable=False),
        sa.Column("ranks", sa.JSON(), nullable=False),
        sa.Column("is_both_bad", sa.Boolean(), nullable=False),
        sa.Column("criteria", sa.JSON(), nullable=False),
        sa.Column("comment", sa.Text(), nullable=False),
        sa.Column("seconds", sa.Double(), nullable=True),
        sa.Column("idempotency_key", sa.String(length=80), nullable=False),
        sa.Column("after_reveal", sa.Boolean(), nullable=False),
        sa.Column("supersedes_id", ID, nullable=True),
        sa.Column("created_at", MOMENT, nullable=False),
        sa.ForeignKeyConstraint(
            ["comparison_id"], ["comparison.id"], name=op.f("fk_preference_comparison_id")
        ),
        sa.ForeignKeyConstraint(
            ["supersedes_id"], ["preference.id"], name=op.f("fk_preference_supersedes_id")
        ),
        sa.ForeignKeyConstraint(["user_id"], ["user.id"], name=op.f("fk_preference_user_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_preference")),
        sa.UniqueConstraint("supersedes_id", name=op.f("uq_preference_supersedes_id")),
        sa.UniqueConstraint("user_id", "idempotency_key", name=op.f("uq_preference_user_id_idempotency_key")),
    )
    op.create_index(op.f("ix_preference_comparison_id"), "preference", ["comparison_id"])
    op.create_table(
        "demonstration",
        sa.Column("id", ID, nullable=False),
        sa.Column("user_id", ID, nullable=False),
        sa.Column("prompt", sa.JSON(), nullable=False),
        sa.Column("prompt_hash", sa.String(length=64), nullable=False),
        sa.Column("text", sa.Text(), nullable=False),
        sa.Column("corrected_completion_id", ID, nullable=True),
        sa.Column("created_at", MOMENT, nullable=False),
        sa.ForeignKeyConstraint(
            ["corrected_completion_id"],
            ["completion.id"],
            name=op.f("fk_demonstration_corrected_completion_id"),
        ),
        sa.ForeignKeyConstraint(["user_id"], ["user.id"], name=op.f("fk_demonstration_user_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_demonstration")),
    )
    op.create_index(
        op.f("ix_demonstration_corrected_completion_id"), "demonstration", ["corrected_completion_id"]
    )
    op.create_index(op.f("ix_demonstration_prompt_hash"), "demonstration", ["prompt_hash"])
    op.create_index(op.f("ix_demonstration_user_id"), "demonstration", ["user_id"])
    op.create_table(
        "snapshot_preference",
        sa.Column("snapshot_id", ID, nullable=False),
        sa.Column("preference_id", ID, nullable=False),
        sa.ForeignKeyConstraint(
            ["preference_id"], ["preference.id"], name=op.f("fk_snapshot_preference_preference_id")
        ),
        sa.ForeignKeyConstraint(
            ["snapshot_id"], ["snapshot.id"], name=op.f("fk_snapshot_preference_snapshot_id")
        ),
        sa.PrimaryKeyConstraint("snapshot_id", "preference_id", name=op.f("pk_snapshot_preference")),
    )
    op.create_index(op.f("ix_snapshot_preference_preference_id"), "snapshot_preference", ["preference_id"])
