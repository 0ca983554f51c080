"""The values of feedback: messages, prompts and their parts, rankings and the pairs they hold."""

import hashlib
import json
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any, Literal, cast, get_args

from feedback.errors import InvalidPrompt, InvalidRanking

Role = Literal["system", "user", "assistant"]
Ranking = tuple[int, ...]
PromptPart = Literal["training", "ppo", "heldout"]
VotePart = Literal["training", "heldout"]

SPLIT_RULE = "sha256-prompt-40-40-20-v1"
UNSTORABLE = "NUL characters or halves of characters, which cannot be stored"
VOTE_SPLIT_RULE = "sha256-vote-80-20-v1"


@dataclass(frozen=True, slots=True)
class Message:
    """One turn of a conversation."""

    role: Role
    content: str

    def as_dict(self) -> dict[str, str]:
        """The form that chat templates and the database have."""
        return {"role": self.role, "content": self.content}


@dataclass(frozen=True, slots=True)
class PreferencePair:
    """Two positions of a comparison, of which the first was preferred."""

    chosen: int
    rejected: int


def messages_from(messages: Iterable[Mapping[str, Any]]) -> tuple[Message, ...]:
    """Messages out of dictionaries; raises InvalidPrompt for an unknown role or content that is no text."""
    return tuple(_message_from(message) for message in messages)


def _message_from(message: Mapping[str, Any]) -> Message:
    role, content = message.get("role"), message.get("content")
    if role not in get_args(Role):
        raise InvalidPrompt(f"A message has the role {role!r}; use one of {', '.join(get_args(Role))}.")
    if not isinstance(content, str):
        raise InvalidPrompt(f"The content of a {role} message is {content!r}; give it as text.")
    if not is_storable(content):
        raise InvalidPrompt(f"A {role} message holds {UNSTORABLE}; take them out.")
    return Message(role=cast(Role, role), content=content)


def is_storable(text: str) -> bool:
    """Whether every database can store the text: no NUL characters, no halves of surrogate pairs."""
    return "\x00" not in text and not any("\ud800" <= character <= "\udfff" for character in text)


def check_ranks(ranks: Sequence[int], k: int) -> Ranking:
    """The ranking of k shown completions: by position, 1 the best, equal numbers a tie, no number left out.

    Raises InvalidRanking.
    """
    ranking = tuple(ranks)
    if any(isinstance(rank, bool) or not isinstance(rank, int) for rank in ranking):
        raise InvalidRanking(f"The ranks {list(ranking)} are not all whole numbers; give 1 to the best.")
    if len(ranking) != k:
        raise InvalidRanking(
            f"The ranks {list(ranking)} are {len(ranking)}, but {k} completions were shown; "
            "give one rank to each."
        )
    if set(ranking) != set(range(1, len(set(ranking)) + 1)):
        raise InvalidRanking(
            f"The ranks {list(ranking)} leave numbers out; give 1 to the best, 2 to the next, "
            "and so on, and the same number to equally good ones."
        )
    return ranking


def ordered_pairs(ranks: Sequence[int]) -> tuple[PreferencePair, ...]:
    """The pairs in which one completion was preferred, by position."""
    return tuple(
        PreferencePair(chosen=a, rejected=b) if ranks[a] < ranks[b] else PreferencePair(chosen=b, rejected=a)
        for a, b in combinations(range(len(ranks)), 2)
        if ranks[a] != ranks[b]
    )


def tied_pairs(ranks: Sequence[int]) -> tuple[tuple[int, int], ...]:
    """The pairs of positions that were judged equally good."""
    return tuple((a, b) for a, b in combinations(range(len(ranks)), 2) if ranks[a] == ranks[b])


def prompt_hash(messages: Sequence[Message | Mapping[str, Any]]) -> str:
    """The sha256 of a prompt, the same however its characters are composed (Unicode NFC)."""
    plain = [message if isinstance(message, Message) else _message_from(message) for message in messages]
    pairs = [[message.role, unicodedata.normalize("NFC", message.content)] for message in plain]
    canonical = json.dumps(pairs, ensure_ascii=False, separators=(",", ":"))
    return hashlib.sha256(canonical.encode("utf-8", "surrogatepass")).hexdigest()


def prompt_part(prompt_hash: str) -> PromptPart:
    """The part of the library a prompt falls in for good: 40 % training, 40 % PPO, 20 % held out."""
    share = _share(prompt_hash)
    if share < 0.4:
        return "training"
    return "ppo" if share < 0.8 else "heldout"


def vote_part(prompt_hash: str) -> VotePart:
    """The part a vote on this prompt falls in for good: 80 % train the reward model, 20 % judge it.

    Independent of `prompt_part`, so that votes on the library's training prompts are split as well.
    """
    return (
        "training" if _share(hashlib.sha256(f"vote:{prompt_hash}".encode()).hexdigest()) < 0.8 else "heldout"
    )


def _share(digest: str) -> float:
    """A hexadecimal digest as a number, uniform in [0, 1)."""
    return int(digest[:13], 16) / 16**13
