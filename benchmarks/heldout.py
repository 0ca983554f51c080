"""The held-out text of a pretraining run in any model's tokens, and a model's loss on it."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional

from training.chat_format import ASSISTANT, SYSTEM, USER, ChatFormat
from training.loading import LoadedModel
from training.packing import encode_document
from training.records import Document

Tokens = NDArray[np.integer]

_ROWS_AT_ONCE = 8


@dataclass(frozen=True, slots=True)
class Loss:
    """What a model pays for a text: nats in all, over `tokens` of its own tokens, which are `text_bytes` of UTF-8.

    Marks between turns and documents are paid for and hold no bytes.
    """

    nats: float
    tokens: int
    text_bytes: int

    def __add__(self, other: Loss) -> Loss:
        return Loss(self.nats + other.nats, self.tokens + other.tokens, self.text_bytes + other.text_bytes)

    @property
    def per_token(self) -> float:
        """Nats per token."""
        return self.nats / self.tokens

    @property
    def perplexity(self) -> float:
        """Per token."""
        return math.exp(self.per_token)

    @property
    def bits_per_byte(self) -> float:
        """The same unit for every tokenizer."""
        return self.nats / math.log(2) / self.text_bytes


def documents_of(stream: Tokens, chat_format: ChatFormat) -> Iterator[Document]:
    """The documents of a stream that `training.packing.pack` made, read back from their tokens."""
    starts = np.flatnonzero(stream == chat_format.start_token_id)
    for first, stop in itertools.pairwise([*starts.tolist(), len(stream)]):
        yield _document(stream[first + 1 : stop].tolist(), chat_format)


def encode_stream(documents: Sequence[Document], chat_format: ChatFormat) -> Tokens:
    """The same documents, in the same order, in another model's tokens."""
    encoded = [np.asarray(encode_document(document, chat_format)) for document in documents]
    return np.concatenate(encoded)


def text_bytes(documents: Sequence[Document]) -> int:
    """UTF-8 bytes of all texts and messages, without what stands between them."""
    texts = [message["content"] for document in documents for message in document.messages]
    return sum(len(text.encode()) for text in [*texts, *(document.text for document in documents)])


@torch.inference_mode()
def model_nats(loaded: LoadedModel, stream: Tokens) -> float:
    """−log p of every token of a stream (time,) but the first, in nats, summed.

    The stream is cut into rows as long as the context, the last one shorter; each row sees nothing of the one before.
    """
    tokens, length = torch.from_numpy(stream.astype(np.int64)), loaded.context_length
    whole = (len(tokens) - 1) // length * length  # predicted tokens in rows of full length
    step = length * _ROWS_AT_ONCE
    nats = 0.0
    for first in range(0, whole, step):
        last = min(first + step, whole)
        nats += _nats(loaded, tokens[first:last].view(-1, length), tokens[first + 1 : last + 1])
    if whole + 1 < len(tokens):
        nats += _nats(loaded, tokens[None, whole:-1], tokens[whole + 1 :])
    return nats


def _nats(loaded: LoadedModel, inputs: torch.Tensor, targets: torch.Tensor) -> float:
    """inputs (rows, time), targets (rows · time,)."""
    logits = loaded.model(input_ids=inputs, use_cache=False).logits.float()  # (rows, time, vocabulary)
    return float(functional.cross_entropy(logits.flatten(0, 1), targets, reduction="sum"))


def _document(tokens: list[int], chat_format: ChatFormat) -> Document:
    """A conversation where a mark opens a turn, else a text."""
    names = {SYSTEM: "system", USER: "user", ASSISTANT: "assistant"}
    role_of = {chat_format.tokenizer.convert_tokens_to_ids(mark): role for mark, role in names.items()}
    opens = [place for place, token in enumerate(tokens) if token in role_of]
    if not opens:
        return Document("", text=chat_format.decode(tokens))
    turns = itertools.pairwise([*opens, len(tokens)])
    return Document(
        "",
        messages=tuple(
            {"role": role_of[tokens[first]], "content": chat_format.decode(tokens[first:stop])}
            for first, stop in turns
        ),
    )
