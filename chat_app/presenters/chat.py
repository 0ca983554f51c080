"""What the chat page shows of a conversation: turns with captions, variants and actions; and the list."""

from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup

from chat_app.presenters.markdown import markdown_html
from chat_app.services.chat import ChatEvent
from chat_app.services.thread import ConversationSummary, Thread, Turn
from chat_app.words import Words
from training.registry import VersionInfo
from training.version_rows import can_chat

AS_SERVED_OPTION = 0
ZERO_SHOT, FEW_SHOT = "zero-shot", "few-shot"


@dataclass(frozen=True, slots=True)
class Action:
    """A button under a turn; `name` is the event it triggers."""

    name: str
    label: str


@dataclass(frozen=True, slots=True)
class Variants:
    """The strip ‹ 2/3 › of a turn that was written more than once."""

    label: str
    spoken: str
    has_earlier: bool
    has_later: bool


@dataclass(frozen=True, slots=True)
class TurnCard:
    """One turn; a person's words are shown as they are, a model's as Markdown."""

    message_id: int
    is_user: bool
    speaker: str
    text: str
    html: Markup
    captions: tuple[str, ...]
    variants: Variants | None
    actions: tuple[Action, ...]


@dataclass(frozen=True, slots=True)
class ThreadCard:
    """The shown branch; `note` tells that the last message has no answer, or is being answered elsewhere."""

    conversation_id: int | None
    turns: tuple[TurnCard, ...]
    note: str
    note_actions: tuple[Action, ...]


@dataclass(frozen=True, slots=True)
class ConversationLine:
    """A line of the list of conversations."""

    id: int
    title: str
    is_current: bool


@dataclass(frozen=True, slots=True)
class LiveCard:
    """The answer that is being written; `status` is read out, `html` is None before the first word."""

    speaker: str
    status: str
    html: Markup | None


def thread_card(thread: Thread, words: Words, *, is_own_answer: bool = False) -> ThreadCard:
    """Build the thread; `is_own_answer`: this page streams the answer itself, so no note about it."""
    last = len(thread.turns) - 1
    last_user = max((i for i, turn in enumerate(thread.turns) if turn.role == "user"), default=-1)
    can_act = not thread.is_answering and not is_own_answer
    note = ""
    note_actions: tuple[Action, ...] = ()
    if thread.is_unanswered and not is_own_answer:
        note = words.chat.unanswered
        note_actions = (Action("retry", words.chat.try_again), Action("pair", words.chat.compare_again))
    elif thread.is_answering and not is_own_answer:
        note = words.chat.elsewhere
    return ThreadCard(
        conversation_id=thread.conversation_id,
        turns=tuple(
            _turn_card(turn, words, is_last=can_act and i == last, is_last_user=can_act and i == last_user)
            for i, turn in enumerate(thread.turns)
            if turn.role != "system"
        ),
        note=note,
        note_actions=note_actions,
    )


def _turn_card(turn: Turn, words: Words, *, is_last: bool, is_last_user: bool) -> TurnCard:
    is_user = turn.role == "user"
    return TurnCard(
        message_id=turn.message_id,
        is_user=is_user,
        speaker=words.chat.you if is_user else words.chat.model,
        text=turn.content,
        html=Markup("") if is_user else markdown_html(turn.content),
        captions=_captions(turn, words),
        variants=_variants(turn, words),
        actions=_actions(words, is_answer=is_last and not is_user, is_last_user=is_last_user),
    )


def _actions(words: Words, *, is_answer: bool, is_last_user: bool) -> tuple[Action, ...]:
    if is_answer:
        return (Action("retry", words.chat.regenerate), Action("pair", words.chat.compare_again))
    if is_last_user:
        return (Action("edit", words.chat.edit), Action("undo", words.chat.undo))
    return ()


def _captions(turn: Turn, words: Words) -> tuple[str, ...]:
    captions = []
    if turn.is_stopped:
        captions.append(words.chat.stopped)
    if turn.version_name:
        captions.append(words.chat.answered_by.format(version=turn.version_name))
    if turn.example_exchanges:
        captions.append(words.chat.after_examples.format(count=turn.example_exchanges))
    chosen = {
        "left": words.chat.chosen_from_two,
        "right": words.chat.chosen_from_two,
        "tie": words.chat.tie_from_two,
        "both_bad": words.chat.both_bad_from_two,
    }
    if turn.verdict in chosen:
        captions.append(chosen[turn.verdict])
    return tuple(captions)


def _variants(turn: Turn, words: Words) -> Variants | None:
    if turn.sibling_count < 2:
        return None
    index = turn.sibling_index + 1
    return Variants(
        label=f"{index}/{turn.sibling_count}",
        spoken=words.chat.variant.format(index=index, count=turn.sibling_count),
        has_earlier=turn.sibling_index > 0,
        has_later=index < turn.sibling_count,
    )


def empty_thread() -> ThreadCard:
    """A conversation that has not begun."""
    return ThreadCard(conversation_id=None, turns=(), note="", note_actions=())


def version_options(versions: Sequence[VersionInfo], words: Words) -> list[tuple[str, int]]:
    """List who may answer: the version that serves, whichever it is by then (0), or one for good."""
    serving = next((version.name for version in versions if version.is_serving), "–")
    chosen = [(version.name, version.id) for version in versions if can_chat(version)]
    return [(words.chat.version_served.format(version=serving), AS_SERVED_OPTION), *chosen]


def context_options(words: Words) -> list[tuple[str, str]]:
    """List what may stand before a conversation."""
    return [(words.chat.zero_shot, ZERO_SHOT), (words.chat.few_shot, FEW_SHOT)]


def conversation_lines(
    summaries: Sequence[ConversationSummary], current_id: int | None, words: Words
) -> list[ConversationLine]:
    """List the conversations; one without a message yet is left out unless it is the open one."""
    return [
        ConversationLine(item.id, item.title or words.chat.untitled, item.id == current_id)
        for item in summaries
        if item.title or item.id == current_id
    ]


def live_card(event: ChatEvent, words: Words) -> LiveCard:
    """Show the place in the queue, then the answer as far as it is written."""
    return LiveCard(
        speaker=words.chat.model,
        status=waiting_text(event.position, words) if event.kind == "queued" else words.chat.answering,
        html=markdown_html(event.text) if event.text else None,
    )


def waiting_text(position: int | None, words: Words) -> str:
    """Tell a request's place in the queue (1 is next), or that it is being answered."""
    return words.chat.queued.format(position=position) if position else words.chat.answering
