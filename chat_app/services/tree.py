"""The messages of one conversation as a tree in memory: branches, siblings, and where a branch ends."""

from collections import defaultdict
from collections.abc import Iterable

from sqlalchemy import select
from sqlalchemy.orm import Session

from chat_app.errors import NotFound
from chat_app.services.person import Person
from db.tables import Conversation, Message


class MessageTree:
    """All messages of a conversation; edits and regenerated answers are siblings under one parent."""

    def __init__(self, messages: Iterable[Message]) -> None:
        self._by_id = {message.id: message for message in messages}
        self._children: dict[int | None, list[Message]] = defaultdict(list)
        for message in sorted(self._by_id.values(), key=lambda message: message.id):
            self._children[message.parent_id].append(message)

    def __getitem__(self, message_id: int) -> Message:
        return self._by_id[message_id]

    def branch(self, leaf_id: int | None) -> list[Message]:
        """Return the messages from the first one down to `leaf_id`."""
        branch = []
        while leaf_id is not None:
            message = self._by_id[leaf_id]
            branch.append(message)
            leaf_id = message.parent_id
        return branch[::-1]

    def siblings(self, message: Message) -> list[Message]:
        """Return the messages under the same parent, this one among them, the oldest first."""
        return self._children[message.parent_id]

    def newest_end(self, message: Message) -> Message:
        """Follow the newest child of each message down to the end of the branch."""
        while children := self._children[message.id]:
            message = children[-1]
        return message

    def last_user_turn(self, leaf_id: int | None) -> Message | None:
        """Return the user turn that the branch's last answer answers, or that waits for one."""
        turns = [message for message in self.branch(leaf_id) if message.role == "user"]
        return turns[-1] if turns else None


def load_tree(*, session: Session, conversation_id: int) -> MessageTree:
    """Read all messages of a conversation."""
    query = select(Message).where(Message.conversation_id == conversation_id)
    return MessageTree(session.scalars(query))


def own_conversation(*, session: Session, person: Person, conversation_id: int) -> Conversation:
    """Read a conversation of the person's own. Raises NotFound for others, so that ids tell nothing."""
    conversation = session.get(Conversation, conversation_id)
    if conversation is None or conversation.user_id != person.id or conversation.deleted_at is not None:
        raise NotFound("conversation", conversation_id)
    return conversation


def own_message(*, session: Session, person: Person, message_id: int) -> tuple[Conversation, Message]:
    """Read a message of one of the person's own conversations. Raises NotFound."""
    message = session.get(Message, message_id)
    if message is None:
        raise NotFound("message", message_id)
    try:
        conversation = own_conversation(
            session=session, person=person, conversation_id=message.conversation_id
        )
    except NotFound:
        raise NotFound("message", message_id) from None
    return conversation, message
