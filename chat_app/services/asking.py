"""What a person may ask a model: checked words, a stored user turn, and the prompt that follows from them."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from sqlalchemy.orm import Session

from chat_app.errors import Conflict, EmptyMessage, InvalidInput, MessageTooLong, VoteWaits
from chat_app.services.choice import AS_SERVED, AnswerChoice, check_choice
from chat_app.services.person import Person
from chat_app.services.showing import open_comparison_id
from chat_app.services.tree import MessageTree, load_tree, own_conversation, own_message
from db.tables import Conversation, Message, utc_now
from feedback.preference import UNSTORABLE, is_storable, messages_from
from feedback.preference import Message as PromptMessage

TITLE_LENGTH = 60


@dataclass(frozen=True, slots=True)
class Question:
    """A stored user turn that is to be answered, the messages up to it as the database has them, and how."""

    conversation_id: int
    message_id: int
    prompt: tuple[PromptMessage, ...]
    choice: AnswerChoice = AS_SERVED


def checked_text(text: str, limit: int) -> str:
    """Return what is stored of a typed message: without blanks around it. Raises InvalidInput's kinds."""
    content = text.strip()
    if not content:
        raise EmptyMessage
    if len(content) > limit:
        raise MessageTooLong(len(content), limit)
    if not is_storable(content):
        raise InvalidInput(f"The message holds {UNSTORABLE}.", "Take them out and send it again.")
    return content


def ask(
    *,
    session: Session,
    person: Person,
    conversation_id: int,
    content: str,
    choice: AnswerChoice = AS_SERVED,
) -> Question:
    """Store a user turn at the end of the shown branch.

    A turn that got no answer is not asked twice in a row: a new one stands beside it, as an edit would, and the same
    words again are the same turn.
    Raises VoteWaits, and what `check_choice` raises.
    """
    check_choice(session=session, choice=choice)
    conversation = own_conversation(session=session, person=person, conversation_id=conversation_id)
    tree = load_tree(session=session, conversation_id=conversation_id)
    leaf = tree[conversation.leaf_id] if conversation.leaf_id is not None else None
    if leaf is not None and leaf.role == "user":
        _refuse_open_vote(session, leaf)
        if leaf.content == content:
            return replace(_question(conversation, tree.branch(leaf.id)), choice=choice)
        question = _store_turn(session, conversation, tree, parent_id=leaf.parent_id, content=content)
    else:
        question = _store_turn(session, conversation, tree, parent_id=conversation.leaf_id, content=content)
    return replace(question, choice=choice)


def ask_again(
    *, session: Session, person: Person, conversation_id: int, choice: AnswerChoice = AS_SERVED
) -> Question:
    """Take the last user turn of the shown branch once more. Raises Conflict when there is none."""
    check_choice(session=session, choice=choice)
    conversation = own_conversation(session=session, person=person, conversation_id=conversation_id)
    tree = load_tree(session=session, conversation_id=conversation_id)
    turn = tree.last_user_turn(conversation.leaf_id)
    if turn is None:
        raise Conflict("There is no message to answer in this conversation.", "Send one first.")
    return replace(_question(conversation, tree.branch(turn.id)), choice=choice)


def ask_otherwise(
    *, session: Session, person: Person, message_id: int, content: str, choice: AnswerChoice = AS_SERVED
) -> Question:
    """Store another wording of a user turn beside the old one. Raises Conflict for an answer."""
    check_choice(session=session, choice=choice)
    conversation, message = own_message(session=session, person=person, message_id=message_id)
    if message.role != "user":
        raise Conflict(
            f"Message {message_id} is an answer of the model, which cannot be edited.",
            "Edit your own message above it, or let the model answer again.",
        )
    tree = load_tree(session=session, conversation_id=conversation.id)
    question = _store_turn(session, conversation, tree, parent_id=message.parent_id, content=content)
    return replace(question, choice=choice)


def _refuse_open_vote(session: Session, turn: Message) -> None:
    comparison_id = open_comparison_id(session=session, message_id=turn.id)
    if comparison_id is not None:
        raise VoteWaits(comparison_id)


def _store_turn(
    session: Session, conversation: Conversation, tree: MessageTree, *, parent_id: int | None, content: str
) -> Question:
    turn = Message(conversation_id=conversation.id, parent_id=parent_id, role="user", content=content)
    session.add(turn)
    session.flush()
    conversation.leaf_id = turn.id
    conversation.updated_at = utc_now()
    conversation.title = conversation.title or title_from(content)
    return _question(conversation, [*tree.branch(parent_id), turn])


def _question(conversation: Conversation, branch: Sequence[Message]) -> Question:
    prompt = messages_from({"role": turn.role, "content": turn.content} for turn in branch)
    return Question(conversation_id=conversation.id, message_id=branch[-1].id, prompt=prompt)


def title_from(content: str) -> str:
    """Make a title of a first message: its first line, cut at a word."""
    line = content.splitlines()[0].strip()
    if len(line) <= TITLE_LENGTH:
        return line
    cut = line[:TITLE_LENGTH]
    return (cut.rsplit(" ", 1)[0] if " " in cut else cut).rstrip(" ,.;:") + "…"
