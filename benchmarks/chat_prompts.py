"""Draws chat prompts of the lengths that chats have: our own conversations, cut before one of the answers."""

from __future__ import annotations

import random
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from benchmarks.json_lines import read_json_lines
from training.bundled import BUNDLED_DEMONSTRATIONS
from training.chat_format import ChatFormat


@dataclass(frozen=True, slots=True)
class ChatPrompt:
    """Messages that end with a person's turn, and the ids they become."""

    messages: tuple[dict[str, str], ...]
    token_ids: tuple[int, ...]


def draw_prompts(
    chat_format: ChatFormat, count: int, *, seed: int, max_tokens: int, folder: Path = BUNDLED_DEMONSTRATIONS
) -> list[ChatPrompt]:
    """Draw prompts of at most `max_tokens`; the same seed gives the same ones, another seed others.

    Raises ValueError where the folder's conversations do not give so many.
    """
    generator = random.Random(seed)
    conversations = conversations_of(folder)
    drawn: list[ChatPrompt] = []
    for conversation in generator.sample(conversations, len(conversations)):
        if len(drawn) == count:
            break
        answers = [place for place, turn in enumerate(conversation) if turn["role"] == "assistant"]
        messages = conversation[: generator.choice(answers)]
        ids = chat_format.prompt_ids(messages)
        if len(ids) <= max_tokens:
            drawn.append(ChatPrompt(tuple(messages), tuple(ids)))
    if len(drawn) < count:
        raise ValueError(
            f"{folder} gives {len(drawn)} prompts of at most {max_tokens} tokens, and {count} are wanted. "
            "Ask for fewer streams, or for fewer new tokens."
        )
    return drawn


@cache
def conversations_of(folder: Path) -> list[list[dict[str, Any]]]:
    """The messages of every conversation in a folder's JSON Lines files."""
    files = sorted(folder.glob("*.jsonl"))
    return [record["messages"] for file in files for record in read_json_lines(file, "messages")]
