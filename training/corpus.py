"""Reads a folder of training text: cleaned, without duplicates, weighted by a recipe, with a part held out.

A record is one JSON line with "messages" (a conversation), "text", or "en" and perhaps "zh" (a sentence
pair). A record that is none of these is named by file and line, and the others are used.
"""

from __future__ import annotations

import gzip
import hashlib
import json
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, TextIO

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from training.decontamination import KeepOut, overlapping
from training.errors import TrainingError
from training.near_duplicates import NearDuplicates
from training.quality import is_kept, quality_ranks
from training.tidy import duplicate_key, normalise, tidy_chat

HELD_OUT_PERCENT = 1
_LONGEST_TESTED = 20_000  # characters: a book's chapter shares runs with its neighbours by nature
_ROLES = {"system", "user", "assistant"}


class CorpusError(TrainingError):
    """A folder or recipe that nothing can be trained on."""

    code = "corpus"


class SourceRecipe(BaseModel):
    """How one file is used; weights are passes over the file for each pass over the corpus.

    Where some sources are `good` and some `raw`, raw documents unlike the good ones are mostly left out.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    file: str
    quality: Literal["", "good", "raw"] = ""
    pretrain: float = Field(default=1.0, ge=0)
    sft: float = Field(default=1.0, ge=0)
    tidy: bool = False
    openings: bool = False
    max_messages: int = Field(default=8, ge=2)
    replace: dict[str, str] = {}
    leave_out: str = Field(default="", description="documents in which this regular expression is found")
    licence: str = ""
    attribution: str = ""
    folder: Path | None = Field(default=None, exclude=True)  # where another than the corpus's folder holds it


class Recipe(BaseModel):
    """Which files of a folder are used and how much each counts."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    sources: tuple[SourceRecipe, ...]
    pareto_shape: float = Field(
        default=1.0, gt=0, description="sharpness of the quality filter; GPT-3's is 9"
    )


@dataclass(frozen=True, slots=True)
class Document:
    """One text or one conversation of a source."""

    source: str
    text: str = ""
    messages: tuple[dict[str, str], ...] = ()

    @property
    def opening(self) -> str:
        """What a conversation begins with; a text is all opening."""
        return self.text or self.messages[0]["content"]

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


def demonstration_sources(path: Path, *, passes: float) -> tuple[SourceRecipe, ...]:
    """A file of conversations, or every one below a folder, as good sources taken `passes` times."""
    if not path.exists():
        raise CorpusError(f"There are no demonstrations at {path}. Correct the path.")
    found = default_recipe(path).sources if path.is_dir() else (SourceRecipe(file=path.name),)
    change = {
        "folder": path.parent,
        "quality": "good",
        "pretrain": passes,
        "sft": passes,
        "max_messages": 1000,
    }
    within = f"{path.name}/" if path.is_dir() else ""
    return tuple(source.model_copy(update={**change, "file": within + source.file}) for source in found)


def read_corpus(
    folder: Path | None,
    recipe: Recipe | None = None,
    *,
    demonstrations: Iterable[SourceRecipe] = (),
    keep_out: KeepOut | None = None,
) -> Corpus:
    """Read, clean and split the text of the folder and of the demonstrations; CorpusError if nothing is usable.

    In order: records, exact duplicates, near duplicates, texts of tests (`keep_out`), the quality filter, and
    the part held out, in which no run of thirteen words of the training part's documents occurs.
    """
    recipe = _whole_recipe(folder, recipe, demonstrations)
    bad: list[BadRecord] = []
    counts: dict[str, Counter[str]] = {source.file: Counter() for source in recipe.sources}
    documents = _filtered(
        _unique(_read(folder, recipe, counts, bad), recipe, counts, keep_out or KeepOut()), recipe, counts
    )
    training, heldout = _split(documents, counts)
    if not training:
        raise CorpusError(
            f"{folder or 'The demonstrations'} holds no usable record in {len(recipe.sources)} .jsonl files "
            f"({len(bad)} are bad). "
            'Each line must be a JSON object with "messages" or "text".'
        )
    return Corpus(recipe, tuple(training), tuple(heldout), counts, tuple(bad))


def _whole_recipe(
    folder: Path | None, recipe: Recipe | None, demonstrations: Iterable[SourceRecipe]
) -> Recipe:
    if folder is None:
        return Recipe(sources=tuple(demonstrations))
    if not folder.is_dir():
        raise CorpusError(
            f"{folder} is not a folder. Give the folder that holds your .jsonl or .jsonl.gz files."
        )
    recipe = recipe or default_recipe(folder)
    return recipe.model_copy(update={"sources": (*recipe.sources, *demonstrations)})


def _read(
    folder: Path | None, recipe: Recipe, counts: Mapping[str, Counter[str]], bad: list[BadRecord]
) -> Iterator[Document]:
    for source in recipe.sources:
        yield from _documents(folder, source, counts[source.file], bad)


def _unique(
    documents: Iterable[Document], recipe: Recipe, counts: Mapping[str, Counter[str]], keep_out: KeepOut
) -> Iterator[Document]:
    """Each document that is wanted, says something new and nothing that is tested."""
    seen: set[bytes] = set()
    alike = NearDuplicates()
    unwanted = {source.file: source.leave_out for source in recipe.sources}
    for document in documents:
        count, key = counts[document.source], _key(document)
        pattern = unwanted[document.source]
        if pattern and re.search(pattern, document.words):
            count["left out"] += 1
        elif key in seen:
            count["duplicate"] += 1
        elif alike.is_repeated(document.words):
            count["near duplicate"] += 1
        elif keep_out.contaminates(document.opening, document.words):
            count["test text"] += 1
        else:
            yield document
        seen.add(key)


def _filtered(
    documents: Iterable[Document], recipe: Recipe, counts: Mapping[str, Counter[str]]
) -> list[Document]:
    """All documents but those raw ones that the quality filter's draw leaves out."""
    by_source: dict[str, list[Document]] = {source.file: [] for source in recipe.sources}
    for document in documents:
        by_source[document.source].append(document)
    kinds = {source.file: source.quality for source in recipe.sources}
    good = [
        document.words for file, members in by_source.items() if kinds[file] == "good" for document in members
    ]
    kept: list[Document] = []
    for file, members in by_source.items():
        if kinds[file] != "raw" or not good or not members:
            kept += members
            continue
        ranks = quality_ranks(good, [document.words for document in members])
        chosen = [
            document
            for document, rank in zip(members, ranks, strict=True)
            if is_kept(document.words, float(rank), pareto_shape=recipe.pareto_shape)
        ]
        counts[file]["low quality"] += len(members) - len(chosen)
        kept += chosen
    return kept


def _split(
    documents: Iterable[Document], counts: Mapping[str, Counter[str]]
) -> tuple[list[Document], list[Document]]:
    """The training and the held-out part; no short held-out text shares a run of words with training."""
    parts: tuple[list[Document], list[Document]] = ([], [])
    for document in documents:
        parts[int.from_bytes(_key(document)[:4], "big") % 100 < HELD_OUT_PERCENT].append(document)
    tested = KeepOut(document.words for document in parts[1] if len(document.words) < _LONGEST_TESTED)
    training = []
    repeats = overlapping([document.words for document in parts[0]], tested)
    for document, is_repeated in zip(parts[0], repeats, strict=True):
        counts[document.source]["overlaps held out" if is_repeated else "training"] += 1
        if not is_repeated:
            training.append(document)
    for document in parts[1]:
        counts[document.source]["held out"] += 1
    return training, parts[1]


def _key(document: Document) -> bytes:
    return hashlib.sha256(duplicate_key(document.words).encode()).digest()


def _documents(
    folder: Path | None, source: SourceRecipe, count: Counter[str], bad: list[BadRecord]
) -> Iterator[Document]:
    path = Path(source.folder or folder or ".") / source.file
    if not path.is_file():
        raise CorpusError(
            f"The recipe names {source.file}, which is not in {source.folder or folder}. Correct or remove that entry."
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
