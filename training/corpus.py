"""Makes a corpus of a folder of text: cleaned, without duplicates and tests, filtered, with a part held out."""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from training.decontamination import KeepOut, overlapping, read_keep_out
from training.learning_settings import PretrainSettings, SftSettings
from training.near_duplicates import NearDuplicates
from training.quality import is_kept, quality_ranks
from training.recipe import (
    CorpusError,
    Recipe,
    SourceRecipe,
    demonstration_sources,
    read_recipe,
    whole_recipe,
)
from training.records import BadRecord, Document, read_documents
from training.tidy import duplicate_key

HELD_OUT_PERCENT = 1
_LONGEST_TESTED = 20_000  # characters: a book's chapter shares runs with its neighbours by nature


@dataclass(frozen=True, slots=True)
class Corpus:
    """What was read: documents to train on, documents held out, and the count of every step by source."""

    recipe: Recipe
    training: tuple[Document, ...]
    heldout: tuple[Document, ...]
    counts: Mapping[str, Counter[str]]
    bad_records: tuple[BadRecord, ...] = field(default=())


def corpus_of(settings: PretrainSettings | SftSettings) -> Corpus:
    """The corpus that a run's settings name; raises what reading its files, recipe and test texts raises."""
    demonstrations: tuple[SourceRecipe, ...] = ()
    if settings.demonstrations:
        demonstrations = demonstration_sources(settings.demonstrations, passes=settings.demonstration_passes)
    return read_corpus(
        settings.data_dir,
        read_recipe(settings.recipe) if settings.recipe else None,
        demonstrations=demonstrations,
        keep_out=read_keep_out(settings.keep_out),
    )


def read_corpus(
    folder: Path | None,
    recipe: Recipe | None = None,
    *,
    demonstrations: Iterable[SourceRecipe] = (),
    keep_out: KeepOut | None = None,
) -> Corpus:
    """Read, clean and split the text of the folder and of the demonstrations; CorpusError if nothing is usable.

    In order: records, exact duplicates, near duplicates, texts of tests (`keep_out`), the quality filter, and the part
    held out. A training document that shares thirteen words in a row with a held-out one is left out too, unless
    these are a stock phrase or the held-out one is as long as a chapter.
    """
    recipe = whole_recipe(folder, recipe, demonstrations)
    bad: list[BadRecord] = []
    counts: dict[str, Counter[str]] = {source.file: Counter() for source in recipe.sources}
    documents = _filtered(
        _unique(_read(folder, recipe, counts, bad), counts, keep_out or KeepOut()), recipe, counts
    )
    training, heldout = _split(documents, counts)
    if not training:
        first = f" The first bad one is {bad[0]}." if bad else ""
        raise CorpusError(
            f"{folder or 'The demonstrations'} holds no usable record in {len(recipe.sources)} .jsonl files "
            f'({len(bad)} are bad). Each line must be a JSON object with "messages" or "text".{first}'
        )
    return Corpus(recipe, tuple(training), tuple(heldout), counts, tuple(bad))


def report_corpus(corpus: Corpus, report: Callable[[str], None]) -> None:
    """Say what was read, source by source, and name the first bad records."""
    for source, counts in corpus.counts.items():
        report(f"{source}: " + ", ".join(f"{count:,} {step}" for step, count in counts.items()))
    for bad in corpus.bad_records[:10]:
        report(f"left out {bad}")
    if len(corpus.bad_records) > 10:
        report(f"… and {len(corpus.bad_records) - 10} more bad records")


def _read(
    folder: Path | None, recipe: Recipe, counts: Mapping[str, Counter[str]], bad: list[BadRecord]
) -> Iterator[Document]:
    """Every document that the recipe does not leave out by its words."""
    for source in recipe.sources:
        count = counts[source.file]
        for document in read_documents(folder, source, count, bad):
            if source.leave_out and re.search(source.leave_out, document.words):
                count["left out"] += 1
            else:
                yield document


def _unique(
    documents: Iterable[Document], counts: Mapping[str, Counter[str]], keep_out: KeepOut
) -> Iterator[Document]:
    """Each document that says something new and nothing that is tested."""
    seen: set[bytes] = set()
    alike = NearDuplicates()
    for document in documents:
        count, key = counts[document.source], _key(document)
        if key in seen:
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
    """The training and the held-out part, and what overlaps between them left out of training."""
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
