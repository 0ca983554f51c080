"""Reads what a page shows: a conversation's branch, and a comparison as its voter may see it."""

from collections.abc import Sequence

from sqlalchemy import select
from sqlalchemy.orm import Session

from chat_app.services.choice import AS_SERVED, AnswerChoice, choice_of
from chat_app.services.thread import ComparisonView, ShownCompletion, Thread, Turn, Verdict
from chat_app.services.tree import MessageTree, load_tree
from db.tables import (
    Comparison,
    ComparisonCompletion,
    Completion,
    Conversation,
    Message,
    ModelVersion,
    Preference,
)
from feedback.preference import messages_from

VERDICTS: dict[tuple[int, ...], Verdict] = {(1, 2): "left", (2, 1): "right", (1, 1): "tie"}


def verdict_of(preference: Preference) -> Verdict:
    """Name what was answered; more than two answers are "ranked"."""
    return "both_bad" if preference.is_both_bad else VERDICTS.get(tuple(preference.ranks), "ranked")


def current_preference(*, session: Session, comparison_id: int) -> Preference | None:
    """Return the newest answer to a comparison."""
    query = select(Preference).where(Preference.comparison_id == comparison_id)
    return session.scalars(query.order_by(Preference.id.desc()).limit(1)).first()


def open_comparison_id(*, session: Session, message_id: int) -> int | None:
    """Return the comparison about a user turn that waits for a vote."""
    answered = select(Preference.id).where(Preference.comparison_id == Comparison.id).exists()
    query = select(Comparison.id).where(
        Comparison.parent_message_id == message_id, Comparison.superseded_by_id.is_(None), ~answered
    )
    return session.scalars(query.order_by(Comparison.id.desc()).limit(1)).first()


def version_names(*, session: Session, completions: Sequence[Completion]) -> tuple[str, ...]:
    """Name the versions that wrote the completions, in their order."""
    ids = {completion.version_id for completion in completions}
    names = _names(session, {version_id for version_id in ids if version_id is not None})
    return tuple(names.get(completion.version_id, "") for completion in completions)


def show_comparison(*, session: Session, comparison: Comparison) -> ComparisonView:
    """Build the view; the versions are named only after the vote."""
    preference = current_preference(session=session, comparison_id=comparison.id)
    completions = [shown.completion for shown in comparison.shown]
    names = version_names(session=session, completions=completions) if preference else None
    return ComparisonView(
        id=comparison.id,
        source=comparison.source,
        prompt=messages_from(comparison.prompt),
        completions=tuple(
            ShownCompletion(position, completion.text, names[position] if names else None)
            for position, completion in enumerate(completions)
        ),
        conversation_id=comparison.conversation_id,
        verdict=verdict_of(preference) if preference else None,
    )


def show_thread(*, session: Session, conversation: Conversation, is_answering: bool) -> Thread:
    """Build the shown branch with its siblings, versions and votes."""
    tree = load_tree(session=session, conversation_id=conversation.id)
    branch = tree.branch(conversation.leaf_id)
    waits = branch[-1] if branch and branch[-1].role == "user" else None
    comparison_id = open_comparison_id(session=session, message_id=waits.id) if waits else None
    comparison = session.get(Comparison, comparison_id) if comparison_id is not None else None
    completions = _completions(session, branch)
    return Thread(
        conversation_id=conversation.id,
        title=conversation.title,
        turns=_turns(session, tree, branch, completions),
        open_comparison=show_comparison(session=session, comparison=comparison) if comparison else None,
        is_answering=is_answering,
        is_unanswered=waits is not None and comparison is None and not is_answering,
        choice=_newest_choice(completions, branch, comparison),
    )


def _newest_choice(
    completions: dict[int, Completion], branch: Sequence[Message], comparison: Comparison | None
) -> AnswerChoice:
    """Read how the two answers that wait for a vote were wanted, or else the branch's last one."""
    if comparison is not None:
        return choice_of(comparison.shown[0].completion)
    answered = [message.completion_id for message in branch if message.completion_id is not None]
    return choice_of(completions[answered[-1]]) if answered else AS_SERVED


def _completions(session: Session, branch: Sequence[Message]) -> dict[int, Completion]:
    ids = {message.completion_id for message in branch if message.completion_id is not None}
    return {row.id: row for row in session.scalars(select(Completion).where(Completion.id.in_(ids)))}


def _turns(
    session: Session, tree: MessageTree, branch: Sequence[Message], completions: dict[int, Completion]
) -> tuple[Turn, ...]:
    names = _names(session, {row.version_id for row in completions.values() if row.version_id is not None})
    votes = _votes(session, set(completions))
    return tuple(_turn(tree, message, completions, names, votes) for message in branch)


def _turn(
    tree: MessageTree,
    message: Message,
    completions: dict[int, Completion],
    names: dict[int | None, str],
    votes: dict[int, Preference],
) -> Turn:
    siblings = tree.siblings(message)
    completion = completions.get(message.completion_id) if message.completion_id is not None else None
    vote = votes.get(completion.id) if completion else None
    return Turn(
        message_id=message.id,
        role=message.role,  # type: ignore[arg-type]  # the table's check allows these alone
        content=message.content,
        version_name=names.get(completion.version_id) if completion else None,
        sibling_index=siblings.index(message),
        sibling_count=len(siblings),
        completion_id=message.completion_id,
        is_stopped=completion is not None and completion.finish_reason == "stopped",
        comparison_id=vote.comparison_id if vote else None,
        verdict=verdict_of(vote) if vote else None,
        example_exchanges=int(completion.decoding.get("example_exchanges", 0)) if completion else 0,
    )


def _votes(session: Session, completion_ids: set[int]) -> dict[int, Preference]:
    """Return the newest vote on the comparison that each completion was shown in."""
    query = (
        select(ComparisonCompletion.completion_id, Preference)
        .join(Preference, Preference.comparison_id == ComparisonCompletion.comparison_id)
        .where(ComparisonCompletion.completion_id.in_(completion_ids))
        .order_by(Preference.id)
    )
    return {row[0]: row[1] for row in session.execute(query)}


def _names(session: Session, version_ids: set[int]) -> dict[int | None, str]:
    query = select(ModelVersion.id, ModelVersion.name).where(ModelVersion.id.in_(version_ids))
    return {row[0]: row[1] for row in session.execute(query)}
