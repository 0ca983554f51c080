"""Cuts conversations into fine-tuning examples, and groups the examples into batches of similar length."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import torch
from torch import Tensor

from training.chat_format import ChatFormat
from training.recipe import SourceRecipe
from training.records import Document

Messages = tuple[dict[str, str], ...]

_IGNORED = -100
_LENGTH_STEP = 32  # batches are padded to multiples, so that few different shapes occur
_REFERS_BACK = re.compile(
    r"\b(it|its|that|this|these|those|they|them|their|he|him|his|she|her|hers|too|either|also|then|there|one|ones"
    r"|same|so|and|but|well|yeah|yes|no|okay|ok|else|really|which|sure|oh|exactly|agree|agreed|mean)\b",
    re.IGNORECASE,
)
# People answer these with a job, a home town or a wife; the model should claim none.
_ASKS_FOR_A_LIFE = re.compile(
    r"\b(living|work|job|from|live|old|born|name|kids|children|married|wife|husband|family|siblings|pets)\b",
    re.IGNORECASE,
)


@dataclass(frozen=True, slots=True)
class Example:
    """Token ids of a conversation and, for each, whether the assistant has to produce it."""

    token_ids: tuple[int, ...]
    assistant_mask: tuple[bool, ...]

    @property
    def answer_tokens(self) -> int:
        """How many tokens the loss on answers counts; the first token is predicted by none."""
        return sum(self.assistant_mask[1:])

    @property
    def prompt_tokens(self) -> int:
        """How many tokens the auxiliary loss counts."""
        return len(self.assistant_mask) - 1 - self.answer_tokens


@dataclass(frozen=True, slots=True)
class Batch:
    """Right-padded examples, each tensor (batch, time), with the two targets of L3 = L2 + λ·L1.

    `answer_targets` keeps the assistant's tokens with each end of turn, `prompt_targets` all others;
    the rest is −100.
    """

    input_ids: Tensor
    attention_mask: Tensor
    answer_targets: Tensor
    prompt_targets: Tensor

    def to(self, device: str) -> Batch:
        """The same batch on another device."""
        tensors = (self.input_ids, self.attention_mask, self.answer_targets, self.prompt_targets)
        return Batch(*(tensor.to(device) for tensor in tensors))


def cut_conversation(document: Document, source: SourceRecipe) -> list[Messages]:
    """A conversation's beginning and, where the recipe says so, each question that stands on its own."""
    beginning = _ending_with_answer(document.messages[: source.max_messages])
    pieces = [beginning] if beginning else []
    if source.openings:
        pieces += _openings(document.messages[1:])
    return pieces


def make_example(messages: Messages, chat_format: ChatFormat, *, context_length: int) -> Example | None:
    """Encode one conversation; None when an answer would be cut off by the context."""
    token_ids, mask = chat_format.conversation_ids(messages)
    return Example(tuple(token_ids), tuple(mask)) if len(token_ids) <= context_length and any(mask) else None


class ExampleBatches:
    """The endless sequence of batches; an epoch takes each example as often as its weight says."""

    def __init__(
        self,
        examples: Sequence[Example],
        weights: Sequence[float],
        *,
        tokens_per_batch: int,
        seed: int,
    ) -> None:
        self._examples = examples
        self._weights = np.asarray(weights, dtype=np.float64)
        self._tokens_per_batch = tokens_per_batch
        self._seed = seed
        self._first, self._epoch, self._plan = 0, 0, self._plan_epoch(0)

    def examples(self, number: int) -> list[Example]:
        """The examples of batch `number`; asked in ascending order."""
        if number < self._first:
            raise ValueError(f"Batch {number} lies before the current epoch, which starts at {self._first}.")
        while number >= self._first + len(self._plan):
            self._first += len(self._plan)
            self._epoch += 1
            self._plan = self._plan_epoch(self._epoch)
        return [self._examples[i] for i in self._plan[number - self._first]]

    def _plan_epoch(self, epoch: int) -> list[list[int]]:
        """Example numbers by batch: drawn, roughly sorted by length, cut at the token limit, shuffled."""
        random = np.random.default_rng([self._seed, epoch])
        times = np.floor(self._weights + random.random(len(self._weights))).astype(int)
        drawn = random.permutation(np.repeat(np.arange(len(self._weights)), times))
        batches: list[list[int]] = []
        for pool in np.array_split(drawn, max(1, len(drawn) // 2000)):
            by_length = sorted((int(i) for i in pool), key=lambda i: len(self._examples[i].token_ids))
            batches += self._fill(by_length)
        return [batches[i] for i in random.permutation(len(batches))]

    def _fill(self, by_length: Sequence[int]) -> list[list[int]]:
        batches: list[list[int]] = [[]]
        for index in by_length:
            width = _padded_length(len(self._examples[index].token_ids))
            if batches[-1] and (len(batches[-1]) + 1) * width > self._tokens_per_batch:
                batches.append([])
            batches[-1].append(index)
        return [batch for batch in batches if batch]


def collate(examples: Sequence[Example], *, pad_id: int) -> Batch:
    """Pad examples on the right to one length, a multiple of 32."""
    width = _padded_length(max(len(example.token_ids) for example in examples))
    input_ids = torch.full((len(examples), width), pad_id)
    attention_mask = torch.zeros_like(input_ids)
    answers = torch.full_like(input_ids, _IGNORED)
    prompts = torch.full_like(input_ids, _IGNORED)
    for row, example in enumerate(examples):
        length = len(example.token_ids)
        ids, is_answer = torch.tensor(example.token_ids), torch.tensor(example.assistant_mask)
        input_ids[row, :length] = ids
        attention_mask[row, :length] = 1
        answers[row, :length] = torch.where(is_answer, ids, _IGNORED)
        prompts[row, :length] = torch.where(is_answer, _IGNORED, ids)
    return Batch(input_ids, attention_mask, answers, prompts)


def _padded_length(length: int) -> int:
    return -(-length // _LENGTH_STEP) * _LENGTH_STEP


def _ending_with_answer(messages: Messages) -> Messages:
    while messages and messages[-1]["role"] != "assistant":
        messages = messages[:-1]
    return messages


def _openings(messages: Messages) -> list[Messages]:
    """Questions to "you" that need nothing said before, each with its reply."""
    return [
        ({"role": "user", "content": question["content"]}, {"role": "assistant", "content": reply["content"]})
        for question, reply in pairwise(messages)
        if _stands_alone(question["content"]) and len(reply["content"].split()) <= 40
    ]


def _stands_alone(question: str) -> bool:
    return (
        question.endswith("?")
        and question.count("?") == 1
        and " you" in question
        and 4 <= len(question.split()) <= 20
        and not _REFERS_BACK.search(question)
        and not _ASKS_FOR_A_LIFE.search(question)
    )
