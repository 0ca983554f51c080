"""The tables of Rapport, as SQLAlchemy 2 typed classes; feedback is appended to them and never edited."""

import re
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import (
    JSON,
    BigInteger,
    CheckConstraint,
    DateTime,
    ForeignKey,
    Index,
    Integer,
    MetaData,
    String,
    Text,
    TypeDecorator,
    UniqueConstraint,
    text,
)
from sqlalchemy.engine import Dialect
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column, relationship

ID = BigInteger().with_variant(Integer, "sqlite")

NAMING = {
    "ix": "ix_%(table_name)s_%(column_0_N_name)s",
    "uq": "uq_%(table_name)s_%(column_0_N_name)s",
    "ck": "ck_%(table_name)s_%(constraint_name)s",
    "fk": "fk_%(table_name)s_%(column_0_N_name)s",
    "pk": "pk_%(table_name)s",
}


class UtcDateTime(TypeDecorator[datetime]):
    """A moment in UTC, always aware, on databases with and without time zones."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        if value is None:
            return None
        if value.tzinfo is None:
            raise ValueError(f"The moment {value!r} has no time zone; use datetime.now(UTC).")
        return value.astimezone(UTC)

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        if value is None:
            return None
        return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)


class StorableText(TypeDecorator[str]):
    """Text of models and people; what a database cannot hold (NUL, halves of characters) becomes U+FFFD.

    A model's completion may have such characters; its token ids keep what was written.
    """

    impl = Text
    cache_ok = True

    def process_bind_param(self, value: str | None, dialect: Dialect) -> str | None:
        if value is None:
            return None
        return re.sub("[\x00\ud800-\udfff]", "\ufffd", value)


def utc_now() -> datetime:
    return datetime.now(UTC)


class Base(DeclarativeBase):
    metadata = MetaData(naming_convention=NAMING)
    type_annotation_map = {  # noqa: RUF012 - SQLAlchemy reads this as a class attribute
        datetime: UtcDateTime,
        dict[str, Any]: JSON,
        list[Any]: JSON,
    }


class User(Base):
    """A person, or a program that votes as one."""

    __tablename__ = "user"
    __table_args__ = (CheckConstraint("role IN ('chatter', 'annotator', 'admin')", name="role"),)

    id: Mapped[int] = mapped_column(ID, primary_key=True)
    name: Mapped[str] = mapped_column(String(80), unique=True)
    role: Mapped[str] = mapped_column(String(16), default="chatter")
    password_hash: Mapped[str | None] = mapped_column(String(255))
    is_active: Mapped[bool] = mapped_column(default=True)
    created_at: Mapped[datetime] = mapped_column(default=utc_now)


class Conversation(Base):
    """A tree of messages that one person began; `leaf_id` is the end of the branch that is shown."""

    __tablename__ = "conversation"

    id: Mapped[int] = mapped_column(ID, primary_key=True)
    user_id: Mapped[int] = mapped_column(ForeignKey("user.id"), index=True)
    title: Mapped[str] = mapped_column(StorableText, default="")
    leaf_id: Mapped[int | None] = mapped_column(
        ForeignKey("message.id", use_alter=True, name="fk_conversation_leaf_id")
    )
    created_at: Mapped[datetime] = mapped_column(default=utc_now)
    updated_at: Mapped[datetime] = mapped_column(default=utc_now)
    deleted_at: Mapped[datetime | None]


class Message(Base):
    """One turn; edit and regenerate add a sibling under the same parent and keep the old branch."""

    __tablename__ = "message"
    __table_args__ = (
        CheckConstraint("role IN ('system', 'user', 'assistant')", name="role"),
        Index(None, "conversation_id", "parent_id"),
    )

    id: Mapped[int] = mapped_column(ID, primary_key=True)
    conversation_id: Mapped[int] = mapped_column(ForeignKey("conversation.id"))
    parent_id: Mapped[int | None] = mapped_column(ForeignKey("message.id"), index=True)
    role: Mapped[str] = mapped_column(String(16))
    content: Mapped[str] = mapped_column(StorableText)
    completion_id: Mapped[int | None] = mapped_column(ForeignKey("completion.id"), index=True)
    created_at: Mapped[datetime] = mapped_column(default=utc_now)


class Completion(Base):
    """What a model version wrote for a prompt, with all that is needed to write it again."""

    __tablename__ = "completion"
    __table_args__ = (
        CheckConstraint("finish_reason IN ('end', 'length', 'stopped', 'imported')", name="finish_reason"),
    )

    id: Mapped[int] = mapped_column(ID, primary_key=True)
    version_id: Mapped[int | None] = mapped_column(ForeignKey("model_version.id"), index=True)
    text: Mapped[str] = mapped_column(StorableText)
    token_ids: Mapped[list[Any]]
    finish_reason: Mapped[str] = mapped_column(String(16))
    seed: Mapped[int | None] = mapped_column(BigInteger)
    decoding: Mapped[dict[str, Any]] = mapped_column(default=dict)
    first_token_seconds: Mapped[float | None]
    seconds: Mapped[float | None]
    created_at: Mapped[datetime] = mapped_column(default=utc_now)


class CompletionRequest(Base):
    """What a program asked for answers to: the prompt as it came; `public_id` is how the program names it."""

    __tablename__ = "completion_request"

    id: Mapped[int] = mapped_column(ID, primary_key=True)
    user_id: Mapped[int] = mapped_column(ForeignKey("user.id"), index=True)
    public_id: Mapped[str] = mapped_column(String(40), unique=True)
    prompt: Mapped[list[Any]]
    prompt_hash: Mapped[str] = mapped_column(String(64), index=True)
    created_at: Mapped[datetime] = mapped_column(default=utc_now)

    answers: Mapped[list["RequestedCompletion"]] = relationship(order_by="RequestedCompletion.position")


class RequestedCompletion(Base):
    """One answer to a program's request, at its place among the answers to that request."""

    __tablename__ = "requested_completion"

    request_id: Mapped[int] = mapped_column(ForeignKey("completion_request.id"), primary_key=True)
    position: Mapped[int] = mapped_column(primary_key=True)
    completion_id: Mapped[int] = mapped_column(ForeignKey("completion.id"), unique=True)

    completion: Mapped[Completion] = relationship()


class Comparison(Base):
    """What was shown: a prompt, as the database has it, and completions in the order shown."""

    __tablename__ = "comparison"
    __table_args__ = (CheckConstraint("source IN ('chat', 'queue', 'gold', 'import', 'api')", name="source"),)

    id: Mapped[int] = mapped_column(ID, primary_key=True)
    user_id: Mapped[int] = mapped_column(ForeignKey("user.id"), index=True)
    source: Mapped[str] = mapped_column(String(16))
    prompt: Mapped[list[Any]]
    prompt_hash: Mapped[str] = mapped_column(String(64), index=True)
    prompt_id: Mapped[int | None] = mapped_column(ForeignKey("prompt.id"), index=True)
    conversation_id: Mapped[int | None] = mapped_column(ForeignKey("conversation.id"), index=True)
    parent_message_id: Mapped[int | None] = mapped_column(ForeignKey("message.id"), index=True)
    superseded_by_id: Mapped[int | None] = mapped_column(ForeignKey("comparison.id"))
    created_at: Mapped[datetime] = mapped_column(default=utc_now)

    shown: Mapped[list["ComparisonCompletion"]] = relationship(order_by="ComparisonCompletion.position")


class ComparisonCompletion(Base):
    """One completion at its place in a comparison; position 0 is the first or left one."""

    __tablename__ = "comparison_completion"
    __table_args__ = (UniqueConstraint("comparison_id", "completion_id"),)

    comparison_id: Mapped[int] = mapped_column(ForeignKey("comparison.id"), primary_key=True)
    position: Mapped[int] = mapped_column(primary_key=True)
    completion_id: Mapped[int] = mapped_column(ForeignKey("completion.id"), index=True)

    completion: Mapped[Completion] = relationship()


class Preference(Base):
    """What was answered: a rank for each place of a comparison, 1 the best, equal numbers a tie."""

    __tablename__ = "preference"
    __table_args__ = (UniqueConstraint("user_id", "idempotency_key"),)

    id: Mapped[int] = mapped_column(ID, primary_key=True)
    comparison_id: Mapped[int] = mapped_column(ForeignKey("comparison.id"), index=True)
    user_id: Mapped[int] = mapped_column(ForeignKey("user.id"))
    ranks: Mapped[list[Any]]
    is_both_bad: Mapped[bool] = mapped_column(default=False)
    criteria: Mapped[dict[str, Any]] = mapped_column(default=dict)
    comment: Mapped[str] = mapped_column(Text, default="")
    seconds: Mapped[float | None]
    idempotency_key: Mapped[str] = mapped_column(String(80))
    after_reveal: Mapped[bool] = mapped_column(default=False)
    supersedes_id: Mapped[int | None] = mapped_column(ForeignKey("preference.id"), unique=True)
    created_at: Mapped[datetime] = mapped_column(default=utc_now)

    comparison: Mapped[Comparison] = relationship()


class Demonstration(Base):
    """An answer that a person wrote, or corrected from a completion."""

    __tablename__ = "demonstration"

    id: Mapped[int] = mapped_column(ID, primary_key=True)
    user_id: Mapped[int] = mapped_column(ForeignKey("user.id"), index=True)
    prompt: Mapped[list[Any]]
    prompt_hash: Mapped[str] = mapped_column(String(64), index=True)
    text: Mapped[str] = mapped_column(StorableText)
    corrected_completion_id: Mapped[int | None] = mapped_column(ForeignKey("completion.id"), index=True)
    created_at: Mapped[datetime] = mapped_column(default=utc_now)


class Snapshot(Base):
    """A frozen dataset of preferences: a file, its sha256, and the preferences it holds."""

    __tablename__ = "snapshot"

    id: Mapped[int] = mapped_column(ID, primary_key=True)
    sha256: Mapped[str] = mapped_column(String(64), index=True)
    path: Mapped[str] = mapped_column(Text)
    counts: Mapped[dict[str, Any]]
    split_rule: Mapped[str] = mapped_column(String(120))
    created_at: Mapped[datetime] = mapped_column(default=utc_now)


class SnapshotPreference(Base):
    """A preference that a snapshot holds."""

    __tablename__ = "snapshot_preference"

    snapshot_id: Mapped[int] = mapped_column(ForeignKey("snapshot.id"), primary_key=True)
    preference_id: Mapped[int] = mapped_column(ForeignKey("preference.id"), primary_key=True, index=True)


class Job(Base):
    """A piece of training: who asked, how far it is, who holds its lease, and what came of it."""

    __tablename__ = "job"
    __table_args__ = (
        CheckConstraint("state IN ('queued', 'running', 'succeeded', 'failed', 'cancelled')", name="state"),
        Index(
            "uq_job_one_active_per_line",
            "line",
            unique=True,
            sqlite_where=text("state IN ('queued', 'running')"),
            postgresql_where=text("state IN ('queued', 'running')"),
        ),
    )

    id: Mapped[int] = mapped_column(ID, primary_key=True)
    kind: Mapped[str] = mapped_column(String(16))
    line: Mapped[str] = mapped_column(String(80), default="default")
    state: Mapped[str] = mapped_column(String(16), default="queued", index=True)
    attempt: Mapped[int] = mapped_column(default=0)
    max_attempts: Mapped[int] = mapped_column(default=3)
    requested_by_id: Mapped[int | None] = mapped_column(ForeignKey("user.id"), index=True)
    snapshot_id: Mapped[int | None] = mapped_column(ForeignKey("snapshot.id"), index=True)
    config: Mapped[dict[str, Any]]
    phase: Mapped[str] = mapped_column(String(40), default="")
    progress: Mapped[float] = mapped_column(default=0.0)
    cancel_requested: Mapped[bool] = mapped_column(default=False)
    lease_owner: Mapped[str | None] = mapped_column(String(120))
    lease_until: Mapped[datetime | None]
    fencing_token: Mapped[int] = mapped_column(default=0)
    heartbeat_at: Mapped[datetime | None]
    process_group: Mapped[int | None]
    folder: Mapped[str | None] = mapped_column(Text)
    result: Mapped[dict[str, Any]] = mapped_column(default=dict)
    error: Mapped[str | None] = mapped_column(StorableText)
    created_at: Mapped[datetime] = mapped_column(default=utc_now)
    started_at: Mapped[datetime | None]
    finished_at: Mapped[datetime | None]


class Metric(Base):
    """One number that a job reported at a step of it."""

    __tablename__ = "metric"
    __table_args__ = (Index(None, "job_id", "name", "step"),)

    id: Mapped[int] = mapped_column(ID, primary_key=True)
    job_id: Mapped[int] = mapped_column(ForeignKey("job.id"))
    attempt: Mapped[int] = mapped_column(default=1)
    step: Mapped[int]
    name: Mapped[str] = mapped_column(String(80))
    value: Mapped[float]
    created_at: Mapped[datetime] = mapped_column(default=utc_now)


class JobEvent(Base):
    """A line of a job's log, or completions of its fresh prompts at a step (`kind` sample)."""

    __tablename__ = "job_event"
    __table_args__ = (
        CheckConstraint("kind IN ('info', 'warning', 'error', 'sample')", name="kind"),
        Index(None, "job_id", "id"),
    )

    id: Mapped[int] = mapped_column(ID, primary_key=True)
    job_id: Mapped[int] = mapped_column(ForeignKey("job.id"))
    attempt: Mapped[int] = mapped_column(default=1)
    kind: Mapped[str] = mapped_column(String(16))
    text: Mapped[str] = mapped_column(StorableText)
    data: Mapped[dict[str, Any]] = mapped_column(default=dict)
    created_at: Mapped[datetime] = mapped_column(default=utc_now)


class ModelVersion(Base):
    """A model that a job made, or the base that came with the package; at most one per line is serving."""

    __tablename__ = "model_version"
    __table_args__ = (
        CheckConstraint("kind IN ('base', 'sft', 'reward', 'policy')", name="kind"),
        CheckConstraint("state IN ('candidate', 'canary', 'serving', 'retired')", name="state"),
        Index(
            "uq_model_version_one_serving_per_line",
            "line",
            unique=True,
            sqlite_where=text("state = 'serving'"),
            postgresql_where=text("state = 'serving'"),
        ),
    )

    id: Mapped[int] = mapped_column(ID, primary_key=True)
    line: Mapped[str] = mapped_column(String(80), default="default")
    name: Mapped[str] = mapped_column(String(120), unique=True)
    kind: Mapped[str] = mapped_column(String(16))
    state: Mapped[str] = mapped_column(String(16), default="candidate", index=True)
    path: Mapped[str] = mapped_column(Text)
    manifest: Mapped[dict[str, Any]]
    metrics: Mapped[dict[str, Any]] = mapped_column(default=dict)
    start_id: Mapped[int | None] = mapped_column(ForeignKey("model_version.id"))
    anchor_id: Mapped[int | None] = mapped_column(ForeignKey("model_version.id"))
    reward_id: Mapped[int | None] = mapped_column(ForeignKey("model_version.id"))
    job_id: Mapped[int | None] = mapped_column(ForeignKey("job.id"), index=True)
    created_at: Mapped[datetime] = mapped_column(default=utc_now)
    promoted_at: Mapped[datetime | None]


class Prompt(Base):
    """An opening of the prompt library, in the part of the data it belongs to."""

    __tablename__ = "prompt"
    __table_args__ = (CheckConstraint("part IN ('training', 'ppo', 'heldout')", name="part"),)

    id: Mapped[int] = mapped_column(ID, primary_key=True)
    prompt_hash: Mapped[str] = mapped_column(String(64), unique=True)
    messages: Mapped[list[Any]]
    part: Mapped[str] = mapped_column(String(16), index=True)
    source: Mapped[str] = mapped_column(String(40))
    created_at: Mapped[datetime] = mapped_column(default=utc_now)


class ApiKey(Base):
    """A key for the HTTP API; only its hash is kept."""

    __tablename__ = "api_key"

    id: Mapped[int] = mapped_column(ID, primary_key=True)
    user_id: Mapped[int] = mapped_column(ForeignKey("user.id"), index=True)
    name: Mapped[str] = mapped_column(String(80))
    key_hash: Mapped[str] = mapped_column(String(64), unique=True)
    scopes: Mapped[list[Any]] = mapped_column(default=list)
    created_at: Mapped[datetime] = mapped_column(default=utc_now)
    revoked_at: Mapped[datetime | None]


class AuditEvent(Base):
    """An act worth remembering: who did what to which thing, and the facts beside it."""

    __tablename__ = "audit_event"

    id: Mapped[int] = mapped_column(ID, primary_key=True)
    user_id: Mapped[int | None] = mapped_column(ForeignKey("user.id"), index=True)
    action: Mapped[str] = mapped_column(String(60), index=True)
    subject: Mapped[str] = mapped_column(String(120))
    detail: Mapped[dict[str, Any]] = mapped_column(default=dict)
    created_at: Mapped[datetime] = mapped_column(default=utc_now)
