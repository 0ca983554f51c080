"""Makes rows for tests: people, versions, completions, comparisons and votes, with ordinary values."""

from collections.abc import Sequence
from itertools import count

from sqlalchemy.orm import Session

from db.tables import Comparison, Completion, Conversation, Message, ModelVersion, Preference, User
from feedback.collect import Answer, answer_comparison, open_comparison
from feedback.preference import Message as PromptMessage

_numbers = count(1)


def make_user(*, session: Session, name: str | None = None, role: str = "annotator") -> User:
    user = User(name=name or f"person {next(_numbers)}", role=role)
    session.add(user)
    session.flush()
    return user


def make_version(
    *, session: Session, name: str | None = None, kind: str = "sft", state: str = "candidate"
) -> ModelVersion:
    version = ModelVersion(
        name=name or f"version {next(_numbers)}", kind=kind, state=state, path="m", manifest={}
    )
    session.add(version)
    session.flush()
    return version


def make_completion(
    *,
    session: Session,
    text: str = "Hello.",
    version_id: int | None = None,
    token_ids: Sequence[int] = (5, 6, 1),
) -> Completion:
    completion = Completion(
        text=text, token_ids=list(token_ids), finish_reason="end", seed=7, version_id=version_id
    )
    session.add(completion)
    session.flush()
    return completion


def make_message(*, session: Session, user_id: int, content: str = "Good day?") -> Message:
    """A person's message that begins a conversation of its own."""
    conversation = Conversation(user_id=user_id)
    session.add(conversation)
    session.flush()
    message = Message(conversation_id=conversation.id, role="user", content=content)
    session.add(message)
    session.flush()
    return message


def make_comparison(
    *,
    session: Session,
    user_id: int,
    prompt: str = "Good day?",
    texts: Sequence[str] = ("left", "right"),
    parent_message_id: int | None = None,
    source: str = "chat",
) -> Comparison:
    completions = [make_completion(session=session, text=text) for text in texts]
    return open_comparison(
        session=session,
        user_id=user_id,
        source=source,
        prompt=(PromptMessage("user", prompt),),
        completion_ids=[completion.id for completion in completions],
        parent_message_id=parent_message_id,
    )


def make_vote(
    *, session: Session, comparison: Comparison, ranks: Sequence[int] = (1, 2), is_both_bad: bool = False
) -> Preference:
    """The owner's answer to the comparison, under a new idempotency key."""
    answer = Answer(ranks=ranks, is_both_bad=is_both_bad, idempotency_key=f"key {next(_numbers)}")
    return answer_comparison(
        session=session, user_id=comparison.user_id, comparison_id=comparison.id, answer=answer
    )
