"""Makes what a retraining learns from, in small: a loaded tiny model, votes, prompts."""

from collections.abc import Sequence
from pathlib import Path

from feedback.dataset import SnapshotRecord
from feedback.preference import Message, prompt_hash, vote_part
from tests.tiny_model import make_tiny_model
from training.chat_format import ChatFormat
from training.loading import LoadedModel, load_language_model
from training.numerics import Numerics

FLOAT32 = Numerics("cpu", is_bfloat16=False, is_compiled=False, reason="float32 for tests")


def make_anchor(folder: Path, architecture: str = "gpt2") -> LoadedModel:
    """A random two-layer model."""
    return load_language_model(make_tiny_model(folder, architecture=architecture))


def make_record(
    number: int,
    chat_format: ChatFormat,
    *,
    prompt: str | None = None,
    texts: Sequence[str] = ("Yes.", "What do you like?"),
    ranks: Sequence[int] = (2, 1),
) -> SnapshotRecord:
    """A vote on a prompt of its own; by default the question wins."""
    messages = (Message("user", prompt or f"I like music {number}"),)
    key = prompt_hash(messages)
    return SnapshotRecord(
        preference_id=number,
        comparison_id=number,
        user_id=1,
        prompt=messages,
        prompt_hash=key,
        completions=tuple(texts),
        token_ids=tuple(tuple(chat_format.completion_ids(text)) for text in texts),
        finish_reasons=("end",) * len(texts),
        version_ids=(1,) * len(texts),
        ranks=tuple(ranks),
        is_both_bad=False,
        part=vote_part(key),
    )


STATEMENTS = ("Yes.", "I think so.", "I love pizza.", "The sun is warm.", "I am fine.", "No.")
QUESTIONS = ("And you?", "Do you like it?", "What is it?", "Is it good?", "How are you?", "Yes, and you?")


def make_records(count: int, chat_format: ChatFormat) -> list[SnapshotRecord]:
    """Votes of somebody who likes questions: which of the two sides the question is on changes."""
    records = []
    for i in range(count):
        texts = (STATEMENTS[i % 6], QUESTIONS[(i * 5 + i // 6) % 6])
        is_left = i % 2 == 0
        records.append(
            make_record(
                i,
                chat_format,
                texts=texts if is_left else texts[::-1],
                ranks=(2, 1) if is_left else (1, 2),
            )
        )
    return records
