"""Reads the records of one file as documents; a bad one is named by file and line, and the others are used.

A record is one JSON line with "messages" (a conversation), "text", or "en" and perhaps "zh" (a sentence pair).
"""

from __future__ import annotations

import gzip
import json
import zlib
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from io import BufferedIOBase
from pathlib import Path
from typing import Any

from training.recipe import CorpusError, SourceRecipe
from training.tidy import normalise, tidy_chat

_ROLES = {"system", "user", "assistant"}


@dataclass(frozen=True, slots=True)
class Document:
    """One text or one conversation of a source."""

    source: str
    text: str = ""
    messages: tuple[dict[str, str], ...] = ()

    @property
    def opening(self) -> str:
        """What a person begins a conversation with; a text is all opening."""
        asked = (message["content"] for message in self.messages if message["role"] == "user")
        return self.text or next(asked, self.messages[0]["content"])

    @property
    def words(self) -> str:
        """All its text, for duplicate search and tokenizer training."""
        return self.text or "\n".join(message["content"] for message in self.messages)


@dataclass(frozen=True, slots=True)
class BadRecord:
    """A line that could not be used, and why."""

    file: str
    line: int
    reason: str

    def __str__(self) -> str:
        return f"{self.file}:{self.line}: {self.reason}"


def read_documents(
    folder: Path | None, source: SourceRecipe, count: Counter[str], bad: list[BadRecord]
) -> Iterator[Document]:
    """The documents of one file; counts what is "read" and "bad", and adds the bad ones to the list.

    Raises CorpusError if there is no such file.
    """
    path = source.path(folder)
    if not path.is_file():
        raise CorpusError(
            f"The recipe names {source.file}, which is not in {source.folder or folder}. "
            "Correct or remove that entry."
        )
    number = 0
    try:
        with _open(path) as lines:
            for number, line in enumerate(lines, start=1):
                if not line.strip():
                    continue
                count["read"] += 1
                try:
                    document = _document(json.loads(_decoded(line)), source)
                except (ValueError, RecursionError) as error:
                    count["bad"] += 1
                    bad.append(BadRecord(source.file, number, str(error)))
                else:
                    yield document
    except (OSError, EOFError, zlib.error) as error:
        bad.append(BadRecord(source.file, number + 1, f"unreadable ({error}); rest of the file left out"))


def _open(path: Path) -> BufferedIOBase:
    return gzip.open(path) if path.suffix == ".gz" else path.open("rb")


def _decoded(line: bytes) -> str:
    try:
        return line.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise ValueError(f"not UTF-8 ({error.reason}); save the file in that encoding") from error


def _document(record: Any, source: SourceRecipe) -> Document:
    """Make a document of one JSON record; raises ValueError that says what shape is wrong."""
    if not isinstance(record, dict):
        raise ValueError(f"a JSON object was expected, found {type(record).__name__}")
    if "messages" in record:
        return Document(source.file, messages=_messages(record["messages"], source))
    texts = [record[key] for key in ("text", "en", "zh") if isinstance(record.get(key), str)]
    text = normalise("\n".join(texts))
    if not text:
        raise ValueError('neither "messages" nor "text" with anything in it')
    return Document(source.file, text=_replaced(text, source))


def _messages(messages: Any, source: SourceRecipe) -> tuple[dict[str, str], ...]:
    if not isinstance(messages, list) or not messages:
        raise ValueError('"messages" must be a list with at least one message')
    clean = tidy_chat if source.tidy else normalise
    kept: list[dict[str, str]] = []
    for message in messages:
        role, content = (
            (message.get("role"), message.get("content")) if isinstance(message, dict) else (None, None)
        )
        if role not in _ROLES or not isinstance(content, str) or not content.strip():
            raise ValueError(
                'each message needs a "role" (system, user or assistant) and a "content" with text'
            )
        kept.append({"role": str(role), "content": _replaced(clean(content), source)})
    return tuple(kept)


def _replaced(text: str, source: SourceRecipe) -> str:
    text.encode()  # half a surrogate pair, which JSON can spell, is no text: UnicodeEncodeError, a ValueError
    for old, new in source.replace.items():
        text = text.replace(old, new)
    return text
