"""Reads a folder of training text: cleaned, without duplicates, weighted by a recipe, with a part held out.

A record is one JSON line with "messages" (a conversation), "text", or "en" and perhaps "zh" (a sentence
pair). A record that is none of these is named by file and line, and the others are used.
"""

from __future__ import annotations

import gzip
import hashlib
import json
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TextIO

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from training.errors import TrainingError
from training.tidy import duplicate_key, normalise, tidy_chat

HELD_OUT_PERCENT = 1
_ROLES = {"system", "user", "assistant"}


class CorpusError(TrainingError):
    """A folder or recipe that nothing can be trained on."""

    code = "corpus"


class SourceRecipe(BaseModel):
    """How one file is used; weights are passes over the file for each pass over the corpus."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    file: str
    pretrain: float = Field(default=1.0, ge=0)
    sft: float = Field(default=1.0, ge=0)
    tidy: bool = False
    openings: bool = False
    max_messages: int = Field(default=8, ge=2)
    replace: dict[str, str] = {}
    licence: str = ""
    attribution: str = ""


class Recipe(BaseModel):
    """Which files of a folder are used and how much each counts."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    sources: tuple[SourceRecipe, ...]


@dataclass(frozen=True, slots=True)
class Document:
    """One text or one conversation of a source."""

    source: str
    text: str = ""
    messages: tuple[dict[str, str], ...] = ()

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


@dataclass(frozen=True, slots=True)
class Corpus:
    """What was read: documents to train on, documents held out, and the count of every step by source."""

    recipe: Recipe
    training: tuple[Document, ...]
    heldout: tuple[Document, ...]
    counts: Mapping[str, Counter[str]]
    bad_records: tuple[BadRecord, ...] = field(default=())


def read_recipe(path: Path) -> Recipe:
    """Read a recipe file; raises CorpusError that names what is wrong with it."""
    try:
        return Recipe.model_validate_json(path.read_text(encoding="utf-8"))
    except (OSError, ValidationError) as error:
        raise CorpusError(f"The recipe {path} cannot be used: {error}") from error


def default_recipe(folder: Path) -> Recipe:
    """Every `*.jsonl` and `*.jsonl.gz` file below the folder, each with weight 1."""
    files = sorted(path for path in folder.rglob("*.jsonl*") if path.name.endswith((".jsonl", ".jsonl.gz")))
    return Recipe(sources=tuple(SourceRecipe(file=path.relative_to(folder).as_posix()) for path in files))


def read_corpus(folder: Path, recipe: Recipe | None = None) -> Corpus:
    """Read, clean and split the folder's text; raises CorpusError when nothing usable is left."""
    if not folder.is_dir():
        raise CorpusError(
            f"{folder} is not a folder. Give the folder that holds your .jsonl or .jsonl.gz files."
        )
    recipe = recipe or default_recipe(folder)
    training: list[Document] = []
    heldout: list[Document] = []
    bad: list[BadRecord] = []
    counts: dict[str, Counter[str]] = {}
    seen: set[bytes] = set()
    for source in recipe.sources:
        count = counts[source.file] = Counter()
        for document in _documents(folder, source, count, bad):
            key = hashlib.sha256(duplicate_key(document.words).encode()).digest()
            if key in seen:
                count["duplicate"] += 1
                continue
            seen.add(key)
            is_heldout = int.from_bytes(key[:4], "big") % 100 < HELD_OUT_PERCENT
            count["held out" if is_heldout else "training"] += 1
            (heldout if is_heldout else training).append(document)
    if not training:
        raise CorpusError(
            f"{folder} holds no usable record in {len(recipe.sources)} .jsonl files ({len(bad)} are bad). "
            'Each line must be a JSON object with "messages" or "text".'
        )
    return Corpus(recipe, tuple(training), tuple(heldout), counts, tuple(bad))


def _documents(
    folder: Path, source: SourceRecipe, count: Counter[str], bad: list[BadRecord]
) -> Iterator[Document]:
    path = folder / source.file
    if not path.is_file():
        raise CorpusError(
            f"The recipe names {source.file}, which is not in {folder}. Correct or remove that entry."
        )
    try:
        with _open_text(path) as lines:
            for number, line in enumerate(lines, start=1):
                if not line.strip():
                    continue
                count["read"] += 1
                try:
                    yield _document(json.loads(line), source)
                except ValueError as error:
                    count["bad"] += 1
                    bad.append(BadRecord(source.file, number, str(error)))
    except UnicodeDecodeError as error:
        bad.append(
            BadRecord(
                source.file, count["read"] + 1, f"not UTF-8 ({error.reason}); rest of the file left out"
            )
        )
    except (OSError, EOFError) as error:
        bad.append(
            BadRecord(source.file, count["read"] + 1, f"unreadable ({error}); rest of the file left out")
        )


def _open_text(path: Path) -> TextIO:
    if path.suffix == ".gz":
        return gzip.open(path, "rt", encoding="utf-8")
    return path.open(encoding="utf-8-sig")


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
    for old, new in source.replace.items():
        text = text.replace(old, new)
    return text
