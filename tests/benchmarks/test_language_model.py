"""The commands for held-out loss and for speed, on tiny models and a tiny pretraining run."""

import json
import math
import sys
from pathlib import Path

import numpy as np
import pytest

from benchmarks import decode_speed, language_model
from benchmarks.heldout import encode_stream
from tests.tiny_model import make_tiny_model
from training.chat_format import ChatFormat
from training.records import Document
from training.tokenizer import train_tokenizer


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of two sources; models "base" (its tokenizer, GPT-2) and "first" (another tokenizer, Llama)."""
    folder = tmp_path_factory.mktemp("run")
    make_tiny_model(folder / "base")
    make_tiny_model(folder / "first", architecture="llama", seed=1)
    train_tokenizer(["Other words entirely."], vocab_size=280, context_length=128).save_pretrained(
        folder / "first"
    )
    chat_format = ChatFormat.from_folder(folder / "base")
    chat_format.tokenizer.save_pretrained(folder / "run" / "tokenizer")
    chat = Document(
        "", messages=({"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Yes."})
    )
    write_shards(
        folder / "run" / "shards",
        training={"chats": [chat] * 5, "texts": [Document("", text="The sun is warm.")] * 5},
        heldout={"chats": [chat], "texts": [Document("", text="The sun is nice.")]},
        chat_format=chat_format,
    )
    return folder


def write_shards(folder: Path, *, chat_format: ChatFormat, **parts: dict[str, list[Document]]) -> None:
    """The files that a pretraining run leaves."""
    folder.mkdir(parents=True)
    files: dict[str, dict[str, str]] = {}
    for part, sources in parts.items():
        files[part] = {source: f"{part}-{source}.npy" for source in sources}
        for source, documents in sources.items():
            np.save(folder / files[part][source], encode_stream(documents, chat_format).astype(np.uint32))
    index = {"files": files, "weights": dict.fromkeys(files["training"], 1.0), "counts": {}}
    (folder / "shards.json").write_text(json.dumps(index), encoding="utf-8")


def test_all_models_pay_for_the_same_bytes_and_the_row_is_about_the_first_named(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("benchmarks.results.FOLDER", folder)
    arguments = ["--run", f"{folder / 'run'}", "--model", f"base={folder / 'base'}"]
    monkeypatch.setattr(sys, "argv", ["language_model", *arguments, "--first", str(folder / "first")])
    language_model.main()
    row = json.loads((folder / "language-model.json").read_text(encoding="utf-8"))
    found = row["detail"]
    assert set(found) == {"base", "first", "5-gram"}
    for losses in found.values():
        assert {source: loss["text_bytes"] for source, loss in losses.items()} == {
            "chats": 6,
            "texts": 16,
            "all": 22,
        }
        assert losses["all"]["nats"] == pytest.approx(losses["chats"]["nats"] + losses["texts"]["nats"])
    assert found["base"]["all"]["tokens"] == found["5-gram"]["all"]["tokens"]
    assert found["base"]["all"]["nats_per_token"] == pytest.approx(
        math.log(400), rel=0.05
    )  # it knows nothing
    assert found["5-gram"]["all"]["nats_per_token"] < 2  # it has read nearly all of it
    assert row["value"] == pytest.approx(found["base"]["all"]["bits_per_byte"], abs=1e-4)
    assert "bits per UTF-8 byte" in capsys.readouterr().out


def test_speeds_of_one_and_of_sixteen_streams_are_stored_beside_generates(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("benchmarks.results.FOLDER", folder)
    model = ["--model", f"base={folder / 'base'}"]
    monkeypatch.setattr(sys, "argv", ["decode_speed", *model, "--pairs", "1", "--new-tokens", "5"])
    decode_speed.main()
    row = json.loads((folder / "P4.json").read_text(encoding="utf-8"))
    found = row["detail"]["base"]
    assert [one["streams"] for one in found["decoding"]] == [1, 16]
    assert all(len(one["ours"]) == len(one["generate"]) == 1 for one in found["decoding"])
    assert len(found["load_seconds"]) == 1
    assert row["spread"][0] <= row["value"] <= row["spread"][1]


def test_a_model_that_is_not_there_is_named(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["decode_speed", "--model", "base=/nowhere"])
    with pytest.raises(SystemExit):
        decode_speed.main()
    assert "there is no /nowhere" in capsys.readouterr().err
