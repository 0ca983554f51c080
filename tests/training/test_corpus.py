"""Reading a folder of text: shapes, bad records by line, duplicates, the part held out, recipes."""

import gzip
import json
from pathlib import Path

import pytest

from training.bundled import BUNDLED_RECIPE
from training.corpus import read_corpus
from training.recipe import CorpusError, Recipe, SourceRecipe, read_recipe

CHAT = {"messages": [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello, you."}]}


def write_lines(path: Path, *lines: object) -> Path:
    text = "\n".join(
        line if isinstance(line, str) else json.dumps(line, ensure_ascii=False) for line in lines
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == ".gz":
        path.write_bytes(gzip.compress(text.encode()))
    else:
        path.write_text(text, encoding="utf-8")
    return path


def test_every_jsonl_file_below_the_folder_is_read(tmp_path: Path) -> None:
    write_lines(tmp_path / "a.jsonl", {"text": "A story."})
    write_lines(tmp_path / "deep" / "b.jsonl.gz", CHAT, {"en": "Thanks.", "zh": "谢谢。"})
    (tmp_path / "notes.txt").write_text("not this one")
    corpus = read_corpus(tmp_path)
    assert [(d.source, d.words) for d in corpus.training] == [
        ("a.jsonl", "A story."),
        ("deep/b.jsonl.gz", "Hi\nHello, you."),
        ("deep/b.jsonl.gz", "Thanks.\n谢谢。"),
    ]


def test_bad_records_are_named_by_file_and_line_and_the_others_used(tmp_path: Path) -> None:
    write_lines(
        tmp_path / "a.jsonl",
        {"text": "Good."},
        "{not json",
        "[1, 2]",
        {"messages": [{"role": "robot", "content": "x"}]},
        {"messages": []},
        {"title": "no text"},
        "",
        CHAT,
    )
    corpus = read_corpus(tmp_path)
    assert [bad.line for bad in corpus.bad_records] == [2, 3, 4, 5, 6]
    assert str(corpus.bad_records[1]) == "a.jsonl:3: a JSON object was expected, found list"
    assert corpus.counts["a.jsonl"] == {"read": 7, "bad": 5, "training": 2}


def test_a_file_in_another_encoding_is_named_and_the_others_used(tmp_path: Path) -> None:
    write_lines(tmp_path / "good.jsonl", {"text": "Good."})
    (tmp_path / "latin.jsonl").write_bytes('{"text": "caf\xe9"}\n'.encode("latin-1"))
    (tmp_path / "cut.jsonl.gz").write_bytes(gzip.compress(b'{"text": "one"}\n' * 50)[:-12])
    corpus = read_corpus(tmp_path)
    reasons = {bad.file: bad.reason for bad in corpus.bad_records}
    assert "not UTF-8" in reasons["latin.jsonl"]
    assert "unreadable" in reasons["cut.jsonl.gz"]
    assert "Good." in [document.text for document in corpus.training]


def test_texts_that_say_the_same_count_once(tmp_path: Path) -> None:
    write_lines(
        tmp_path / "a.jsonl", {"text": "Hello, world!"}, {"text": "hello world"}, {"text": "Hello moon"}
    )
    corpus = read_corpus(tmp_path)
    assert len(corpus.training) == 2
    assert corpus.counts["a.jsonl"]["duplicate"] == 1


def test_one_document_in_a_hundred_is_held_out_and_always_the_same(tmp_path: Path) -> None:
    texts = [{"text": f"Story number {i}."} for i in range(2000)]
    write_lines(tmp_path / "a.jsonl", *texts)
    first = read_corpus(tmp_path)
    write_lines(tmp_path / "a.jsonl", *reversed(texts))
    second = read_corpus(tmp_path)
    assert 8 <= len(first.heldout) <= 35
    assert {d.text for d in first.heldout} == {d.text for d in second.heldout}
    assert not {d.text for d in first.heldout} & {d.text for d in first.training}


def test_a_recipe_chooses_files_and_replaces_words(tmp_path: Path) -> None:
    write_lines(tmp_path / "a.jsonl", {"text": "I am {{name}}."})
    write_lines(tmp_path / "b.jsonl", {"text": "Unused."})
    recipe = Recipe(sources=(SourceRecipe(file="a.jsonl", replace={"{{name}}": "Rapport"}),))
    assert [document.text for document in read_corpus(tmp_path, recipe).training] == ["I am Rapport."]


def test_a_recipe_that_names_a_missing_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(CorpusError, match=r"names gone\.jsonl, which is not in"):
        read_corpus(tmp_path, Recipe(sources=(SourceRecipe(file="gone.jsonl"),)))


def test_a_folder_without_text_is_refused_with_the_remedy(tmp_path: Path) -> None:
    with pytest.raises(CorpusError, match='Each line must be a JSON object with "messages" or "text"'):
        read_corpus(tmp_path)
    with pytest.raises(CorpusError, match="is not a folder"):
        read_corpus(tmp_path / "gone")


def test_the_bundled_recipe_uses_only_open_licences_without_share_alike() -> None:
    sources = read_recipe(BUNDLED_RECIPE).sources
    allowed = ("MIT", "Apache-2.0", "BSD-3-Clause", "CC0", "CC BY", "CDLA-", "public domain")
    assert len(sources) >= 10
    for source in sources:
        assert source.licence.startswith(allowed), source.file
        assert "SA" not in source.licence.split()
        assert source.attribution
        assert not any(
            word in source.file for word in ("TOXIC", "SENSITIVE", "sgd", "dolly", "onestop", "belle")
        )


def test_a_broken_recipe_is_named(tmp_path: Path) -> None:
    path = write_lines(tmp_path / "recipe.json", {"sources": [{"file": "a", "weight": 2}]})
    with pytest.raises(CorpusError, match=r"recipe\.json cannot be used"):
        read_recipe(path)
