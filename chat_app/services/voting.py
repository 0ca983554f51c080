"""What a vote comes to: the versions are named, and the conversation goes on with the chosen answer."""

from dataclasses import dataclass

from sqlalchemy import select
from sqlalchemy.orm import Session

from chat_app.services.running import RunningAnswers
from chat_app.services.showing import show_thread, verdict_of, version_names
from chat_app.services.thread import Thread, Verdict
from db.tables import Comparison, Conversation, Message, Preference, utc_now


@dataclass(frozen=True, slots=True)
class VoteReceipt:
    """What a stored vote came to; it is committed before a person sees this.

    `version_names` by position. `chosen_position` is where the conversation goes on: the best, the left one
    (0) after a tie or both bad. `thread` is that conversation, None outside of one. `is_branch_kept`: the
    conversation had already gone on from another answer, so the branch that is shown stayed.
    """

    preference_id: int
    comparison_id: int
    verdict: Verdict
    version_names: tuple[str, ...]
    chosen_position: int
    thread: Thread | None
    is_branch_kept: bool = False


def receipt_of(*, session: Session, preference: Preference, running: RunningAnswers) -> VoteReceipt:
    """Let the conversation go on as the vote says, unless a later vote did so, and tell what came of it."""
    comparison = session.get_one(Comparison, preference.comparison_id)
    completions = [shown.completion for shown in comparison.shown]
    chosen = preference.ranks.index(min(preference.ranks))
    conversation = _conversation(session, comparison)
    is_kept = False
    if conversation is not None and not _is_superseded(session, preference):
        is_kept = not _continue_with(session, conversation, comparison, chosen)
    is_shown = conversation is not None and conversation.deleted_at is None
    return VoteReceipt(
        preference_id=preference.id,
        comparison_id=comparison.id,
        verdict=verdict_of(preference),
        version_names=version_names(session=session, completions=completions),
        chosen_position=chosen,
        thread=_thread(session, conversation, running) if conversation is not None and is_shown else None,
        is_branch_kept=is_kept,
    )


def _continue_with(
    session: Session, conversation: Conversation, comparison: Comparison, position: int
) -> bool:
    """Make the chosen completion the end of the shown branch; False when the branch has gone elsewhere."""
    completion = comparison.shown[position].completion
    answers = {message.completion_id: message for message in _answers(session, comparison)}
    ends = {comparison.parent_message_id, *(message.id for message in answers.values())}
    if completion.id not in answers:
        answers[completion.id] = Message(
            conversation_id=conversation.id,
            parent_id=comparison.parent_message_id,
            role="assistant",
            content=completion.text,
            completion_id=completion.id,
        )
        session.add(answers[completion.id])
        session.flush()
    if conversation.leaf_id not in ends:
        return False
    conversation.leaf_id = answers[completion.id].id
    conversation.updated_at = utc_now()
    session.flush()
    return True


def _answers(session: Session, comparison: Comparison) -> list[Message]:
    shown = [one.completion_id for one in comparison.shown]
    query = select(Message).where(
        Message.parent_id == comparison.parent_message_id, Message.completion_id.in_(shown)
    )
    return list(session.scalars(query))


def _conversation(session: Session, comparison: Comparison) -> Conversation | None:
    if comparison.conversation_id is None or comparison.parent_message_id is None:
        return None
    return session.get_one(Conversation, comparison.conversation_id)


def _is_superseded(session: Session, preference: Preference) -> bool:
    query = select(Preference.id).where(Preference.supersedes_id == preference.id)
    return session.scalars(query).first() is not None


def _thread(session: Session, conversation: Conversation, running: RunningAnswers) -> Thread:
    is_answering = running.is_answering(conversation.id)
    return show_thread(session=session, conversation=conversation, is_answering=is_answering)
