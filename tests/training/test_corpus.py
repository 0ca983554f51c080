"""Reading a folder of text: shapes, bad records by line, duplicates, the part held out, recipes."""

import gzip
import hashlib
import json
from pathlib import Path

import numpy as np
import pytest

from training.bundled import BUNDLED_RECIPE
from training.corpus import read_corpus
from training.decontamination import KeepOut
from training.recipe import CorpusError, Recipe, SourceRecipe, demonstration_sources, read_recipe

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


def test_lines_in_another_encoding_are_named_and_the_others_used(tmp_path: Path) -> None:
    lines = ['{"text": "plain"}', '{"text": "caf\xe9"}', "", '{"text": "na\xefve"}', '{"text": "last"}']
    (tmp_path / "latin.jsonl").write_bytes("\n".join(lines).encode("latin-1"))
    (tmp_path / "utf16.jsonl").write_bytes('{"text": "wide"}\n'.encode("utf-16"))
    write_lines(tmp_path / "marked.jsonl", "\ufeff" + '{"text": "marked"}')
    corpus = read_corpus(tmp_path)
    assert [(bad.file, bad.line) for bad in corpus.bad_records] == [
        ("latin.jsonl", 2),
        ("latin.jsonl", 4),
        ("utf16.jsonl", 1),
        ("utf16.jsonl", 2),
    ]
    assert "not UTF-8 (invalid continuation byte); save the file" in corpus.bad_records[0].reason
    assert [document.text for document in corpus.training] == ["plain", "last", "marked"]


def test_a_compressed_file_cut_off_or_damaged_is_used_up_to_there(tmp_path: Path) -> None:
    texts = "".join(
        json.dumps({"text": f"{hashlib.sha256(bytes([i])).hexdigest()}"}) + "\n" for i in range(250)
    )
    whole = gzip.compress(texts.encode())
    (tmp_path / "cut.jsonl.gz").write_bytes(whole[: len(whole) // 2])
    (tmp_path / "damaged.jsonl.gz").write_bytes(whole[:5000] + b"\xff" * 1000 + whole[6000:])
    (tmp_path / "none.jsonl.gz").write_bytes(b"not compressed")
    corpus = read_corpus(tmp_path)
    last = {bad.file: bad for bad in corpus.bad_records}
    assert set(last) == {"cut.jsonl.gz", "damaged.jsonl.gz", "none.jsonl.gz"}
    assert all("rest of the file left out" in bad.reason for bad in last.values())
    read = corpus.counts["cut.jsonl.gz"]["read"]
    assert 50 < read < 200
    assert last["cut.jsonl.gz"].line in (read, read + 1)
    assert last["none.jsonl.gz"].line == 1


def test_records_that_are_json_but_no_text_are_named(tmp_path: Path) -> None:
    write_lines(
        tmp_path / "a.jsonl", r'{"text": "half of \ud83d"}', "[" * 100_000, {"text": 7}, {"text": "Good."}
    )
    corpus = read_corpus(tmp_path)
    assert [bad.line for bad in corpus.bad_records] == [1, 2, 3]
    assert [document.text for document in corpus.training] == ["Good."]


def test_texts_that_say_the_same_count_once(tmp_path: Path) -> None:
    write_lines(
        tmp_path / "a.jsonl", {"text": "Hello, world!"}, {"text": "hello world"}, {"text": "Hello moon"}
    )
    corpus = read_corpus(tmp_path)
    assert len(corpus.training) == 2
    assert corpus.counts["a.jsonl"]["duplicate"] == 1


def long_text(*others: int) -> str:
    return " ".join("other" if place in others else f"word{place}" for place in range(100))


def test_near_duplicates_are_left_out_across_sources_and_the_first_stays(tmp_path: Path) -> None:
    write_lines(tmp_path / "a.jsonl", {"text": long_text()}, {"text": long_text(*range(0, 100, 8))})
    write_lines(tmp_path / "b.jsonl", {"text": long_text(50)}, {"text": "Something else."})
    corpus = read_corpus(tmp_path)
    assert corpus.counts["a.jsonl"] == {"read": 2, "training": 2}
    assert corpus.counts["b.jsonl"] == {"read": 2, "near duplicate": 1, "training": 1}
    assert long_text() in [document.text for document in corpus.training]


def test_what_is_tested_is_left_out(tmp_path: Path) -> None:
    asked = {"messages": [{"role": "system", "content": "Be kind."}, *CHAT["messages"]]}
    write_lines(tmp_path / "a.jsonl", asked, {"text": f"Before. {long_text(99)}"}, {"text": "Hi, all."})
    corpus = read_corpus(tmp_path, keep_out=KeepOut(["hi!", long_text()]))
    assert corpus.counts["a.jsonl"] == {"read": 3, "test text": 2, "training": 1}
    assert [document.text for document in corpus.training] == ["Hi, all."]


def test_raw_documents_unlike_the_good_ones_are_mostly_left_out(tmp_path: Path) -> None:
    chat = [{"text": f"I like {thing}, and you?"} for thing in ("tea", "music", "dogs", "books", "films")]
    lists = [{"text": f"ISBN {i}-{i * 7}: vol. {i}, errata, addenda"} for i in range(200)]
    write_lines(tmp_path / "good.jsonl", *chat)
    write_lines(tmp_path / "raw.jsonl", {"text": "I like tea and dogs, and you?"}, *lists)
    sources = (SourceRecipe(file="good.jsonl", quality="good"), SourceRecipe(file="raw.jsonl", quality="raw"))
    corpus = read_corpus(tmp_path, Recipe(sources=sources, pareto_shape=9))
    counts = corpus.counts["raw.jsonl"]
    assert counts["low quality"] + counts["training"] + counts["held out"] == 201
    assert 160 <= counts["low quality"] <= 195  # the mean of (2 − rank)⁻⁹ over all ranks is 0.12
    assert "I like tea and dogs, and you?" in [document.text for document in corpus.training]
    assert "low quality" not in corpus.counts["good.jsonl"]


@pytest.mark.parametrize("kind", ["good", "raw"])
def test_without_both_kinds_nothing_is_filtered(tmp_path: Path, kind: str) -> None:
    write_lines(tmp_path / "a.jsonl", *({"text": f"Text {i}."} for i in range(50)))
    recipe = Recipe.model_validate({"sources": [{"file": "a.jsonl", "quality": kind}], "pareto_shape": 9})
    counts = read_corpus(tmp_path, recipe).counts["a.jsonl"]
    assert counts["training"] + counts["held out"] == 50


def test_training_documents_share_no_run_of_words_with_held_out_ones(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    texts = [" ".join(f"word{n}" for n in random.integers(0, 500, 30)) for _ in range(300)]
    write_lines(tmp_path / "a.jsonl", *({"text": text} for text in texts))
    heldout = read_corpus(tmp_path).heldout[0].text.split()
    known = {document.text for document in read_corpus(tmp_path).training}
    other = [f"new{i}" for i in range(80)]
    write_lines(
        tmp_path / "b.jsonl",
        {"text": " ".join([*other[:20], *heldout[5:18], *other[20:40]])},
        {"text": " ".join([*other[40:60], *heldout[5:17], *other[60:]])},
    )
    corpus = read_corpus(tmp_path)
    assert corpus.counts["b.jsonl"] == {"read": 2, "overlaps held out": 1, "training": 1}
    assert known < {document.text for document in corpus.training}


def test_a_recipe_leaves_out_documents_by_an_expression(tmp_path: Path) -> None:
    write_lines(tmp_path / "a.jsonl", {"text": "Hello [name]."}, {"text": "Hello you."})
    recipe = Recipe(sources=(SourceRecipe(file="a.jsonl", leave_out=r"\[[a-z]"),))
    assert read_corpus(tmp_path, recipe).counts["a.jsonl"] == {"read": 2, "left out": 1, "training": 1}
    with pytest.raises(ValueError, match=r'"\[" is no regular expression'):
        SourceRecipe(file="a.jsonl", leave_out="[")


def test_demonstrations_come_from_a_file_or_a_folder(tmp_path: Path) -> None:
    write_lines(tmp_path / "own" / "deep" / "b.jsonl", CHAT)
    folder = demonstration_sources(tmp_path / "own", passes=4)
    file = demonstration_sources(tmp_path / "own" / "deep" / "b.jsonl", passes=0.5)
    assert [(s.file, s.sft, s.pretrain, s.quality) for s in folder] == [("own/deep/b.jsonl", 4, 4, "good")]
    assert [(s.file, s.sft) for s in file] == [("b.jsonl", 0.5)]
    assert read_corpus(None, demonstrations=folder).training[0].messages[0]["content"] == "Hi"
    with pytest.raises(CorpusError, match="There are no demonstrations at"):
        demonstration_sources(tmp_path / "gone", passes=1)


def test_the_folder_one_stands_in_can_hold_the_demonstrations(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_lines(tmp_path / "own" / "a.jsonl", CHAT)
    monkeypatch.chdir(tmp_path / "own")
    assert len(read_corpus(None, demonstrations=demonstration_sources(Path("."), passes=1)).training) == 1


def test_demonstrations_within_the_data_folder_are_read_once(tmp_path: Path) -> None:
    write_lines(tmp_path / "own.jsonl", CHAT)
    write_lines(tmp_path / "a.jsonl", {"text": "Good."})
    corpus = read_corpus(tmp_path, demonstrations=demonstration_sources(tmp_path / "own.jsonl", passes=7))
    assert corpus.counts["own.jsonl"] == {"read": 1, "training": 1}
    assert {source.file: source.sft for source in corpus.recipe.sources} == {"a.jsonl": 1, "own.jsonl": 7}


def test_two_files_of_one_name_are_refused(tmp_path: Path) -> None:
    write_lines(tmp_path / "data" / "own.jsonl", {"text": "Good."})
    write_lines(tmp_path / "own.jsonl", CHAT)
    with pytest.raises(CorpusError, match=r"own\.jsonl is named twice"):
        read_corpus(tmp_path / "data", demonstrations=demonstration_sources(tmp_path / "own.jsonl", passes=1))


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
    (tmp_path / "notes.jsonl").write_text("These are notes.\nNo JSON.")
    with pytest.raises(
        CorpusError, match=r"\(2 are bad\).*The first bad one is notes\.jsonl:1: Expecting value"
    ):
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
