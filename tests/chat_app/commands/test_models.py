"""`rapport pretrain` and `rapport sft`: their options are the settings, and a short run of each on tiny data."""

import json
from pathlib import Path

import pytest
from pydantic import ValidationError
from typer.testing import CliRunner

from chat_app.cli import app
from chat_app.commands.failures import explain
from training.recipe import CorpusError

TALK = {"messages": [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello, you."}]}
SMALL = (
    "--steps", "2", "--vocab-size", "300", "--context-length", "32", "--layers", "1", "--heads", "2", "--width", "32",
    "--rows-per-step", "2", "--no-compile", "--precision", "float32",
)  # fmt: skip


@pytest.fixture
def texts(tmp_path: Path) -> Path:
    folder = tmp_path / "texts"
    folder.mkdir()
    lines = [json.dumps({"text": f"The cat eats {i} fish."}) for i in range(20)]
    (folder / "cats.jsonl").write_text("\n".join(lines))
    (tmp_path / "own.jsonl").write_text(json.dumps(TALK))
    (tmp_path / "tests.jsonl").write_text(json.dumps({"text": "The cat eats 7 fish."}))
    (tmp_path / "more_tests.jsonl").write_text(json.dumps({"text": "The cat eats 8 fish."}))
    return folder


def test_two_steps_of_each_give_a_model(texts: Path, tmp_path: Path) -> None:
    own = ("--demonstrations", str(tmp_path / "own.jsonl"))
    kept_out = ("--keep-out", str(tmp_path / "tests.jsonl"), "--keep-out", str(tmp_path / "more_tests.jsonl"))
    out = tmp_path / "base"
    made = CliRunner().invoke(
        app,
        ["pretrain", str(texts), "--out", str(out), *SMALL, *own, *kept_out, "--architecture", "gpt2",
         "--optimizer", "adamw", "--patience", "3", "--accumulation", "2"],
    )  # fmt: skip
    assert made.exit_code == 0, made.exception
    assert "2 test text" in made.output
    assert f"The model is in {out}/model: " in made.output
    settings = json.loads((out / "pretraining.json").read_text())["settings"]
    assert [settings[name] for name in ("architecture", "optimizer", "patience", "accumulation")] == [
        "gpt2", "adamw", 3, 2,
    ]  # fmt: skip
    assert settings["learning_rate"] == 4e-3  # the class's own default
    tuned = CliRunner().invoke(
        app,
        ["sft", "--base", f"{out}/model", "--out", str(tmp_path / "chat"), "--steps", "2", *own,
         "--tokens-per-batch", "64", "--auxiliary-weight", "0.5", "--precision", "float32"],
    )  # fmt: skip
    assert tuned.exit_code == 0, tuned.exception
    assert f"RAPPORT_MODEL={tmp_path}/chat/model rapport serve" in tuned.output
    settings = json.loads((tmp_path / "chat" / "sft.json").read_text())["settings"]
    assert (settings["auxiliary_weight"], settings["data_dir"]) == (0.5, None)


@pytest.mark.parametrize("name", ["pretrain", "sft"])
def test_help_lists_options_defaults_and_several_processes(name: str) -> None:
    shown = CliRunner().invoke(app, [name, "--help"], terminal_width=200, color=False).output
    for option in ("--out", "--patience", "--accumulation", "--demonstrations", "--keep-out", "--optimizer"):
        assert option in shown
    assert "torchrun --nproc-per-node 2 --no-python rapport" in shown
    assert {"pretrain": "default: 6144", "sft": "default: 4096"}[name] in shown


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--steps", "2", "--minutes", "1"), "either in minutes or in steps"),
        (("--steps", "2", "--width", "33"), "The width (n_embd) 33 cannot be divided by the 6 heads"),
        (("--steps", "0"), "steps: Input should be greater than 0"),
    ],
)
def test_settings_that_do_not_fit_are_explained(
    texts: Path, tmp_path: Path, arguments: tuple[str, ...], message: str
) -> None:
    result = CliRunner().invoke(app, ["pretrain", str(texts), "--out", str(tmp_path / "out"), *arguments])
    assert isinstance(result.exception, ValidationError)
    assert message in str(explain(result.exception))


def test_a_folder_without_text_is_explained(tmp_path: Path) -> None:
    (tmp_path / "notes.jsonl").write_text("These are my notes.\n")
    result = CliRunner().invoke(app, ["pretrain", str(tmp_path), "--out", str(tmp_path / "out"), *SMALL])
    assert isinstance(result.exception, CorpusError)
    assert "The first bad one is notes.jsonl:1:" in str(explain(result.exception))
