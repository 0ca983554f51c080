"""Loading a model: other architectures, and every kind of broken folder with its remedy."""

import json
import shutil
from pathlib import Path

import pytest
import torch
from transformers import (
    BloomConfig,
    BloomForCausalLM,
    GPT2Config,
    GPT2LMHeadModel,
    GPTNeoConfig,
    GPTNeoForCausalLM,
)

from tests.tiny_model import make_tiny_model
from training.bundled import BUNDLED_BASE_DIR, BUNDLED_MODEL_DIR
from training.loading import ModelFolderError, load_language_model


@pytest.fixture(scope="module")
def healthy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_tiny_model(tmp_path_factory.mktemp("models") / "tiny")


@pytest.fixture
def folder(healthy: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(healthy, tmp_path / "model"))


def test_the_bundled_model_loads_in_float32() -> None:
    loaded = load_language_model(BUNDLED_MODEL_DIR)
    assert loaded.model.dtype == torch.float32
    assert not loaded.model.training
    assert loaded.context_length == 512
    assert loaded.chat_format.vocab_size == 6144


def test_the_bundled_models_stay_small() -> None:
    folders = (BUNDLED_MODEL_DIR, BUNDLED_BASE_DIR)
    assert sum(path.stat().st_size for folder in folders for path in folder.iterdir()) <= 32_000_000


def test_the_bundled_base_loads_and_has_the_tokenizer_of_the_fine_tuned_model() -> None:
    base, tuned = load_language_model(BUNDLED_BASE_DIR), load_language_model(BUNDLED_MODEL_DIR)
    assert base.chat_format.tokenizer.get_vocab() == tuned.chat_format.tokenizer.get_vocab()
    assert base.model.config.model_type == tuned.model.config.model_type == "llama"


def test_a_llama_folder_loads(tmp_path: Path) -> None:
    loaded = load_language_model(make_tiny_model(tmp_path / "llama", architecture="llama"))
    assert loaded.context_length == 128


def test_a_gpt_neo_folder_loads(folder: Path) -> None:
    config = GPTNeoConfig(
        vocab_size=400, hidden_size=32, num_layers=2, num_heads=2, max_position_embeddings=64,
        attention_types=[[["global", "local"], 1]],
    )  # fmt: skip
    GPTNeoForCausalLM(config).save_pretrained(folder)
    assert load_language_model(folder).context_length == 64


def test_a_folder_that_does_not_exist_is_named(tmp_path: Path) -> None:
    with pytest.raises(ModelFolderError, match=r"There is no model folder .*gone"):
        load_language_model(tmp_path / "gone")


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("config.json", r"has no config\.json, so it is not a model folder"),
        ("model.safetensors", r"has no model\.safetensors\. Copy the weights there"),
        ("tokenizer.json", r"has no tokenizer"),
    ],
)
def test_a_missing_file_is_named_with_the_remedy(folder: Path, name: str, message: str) -> None:
    (folder / name).unlink()
    with pytest.raises(ModelFolderError, match=message):
        load_language_model(folder)


def test_pickled_weights_are_not_opened(folder: Path) -> None:
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")
    with pytest.raises(ModelFolderError, match=r"pytorch_model\.bin may run code when opened"):
        load_language_model(folder)


@pytest.mark.parametrize("index", ["{", "[]", '{"weight_map": 3}'])
def test_an_index_of_weights_that_cannot_be_read_is_named(folder: Path, index: str) -> None:
    (folder / "model.safetensors.index.json").write_text(index)
    with pytest.raises(ModelFolderError, match=r"index\.json does not say which files hold the weights"):
        load_language_model(folder)


def test_a_missing_shard_is_named(folder: Path) -> None:
    index = {"weight_map": {"a": "model.safetensors", "b": "model-00002.safetensors"}}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    with pytest.raises(ModelFolderError, match=r"model-00002\.safetensors is missing or cut off"):
        load_language_model(folder)


@pytest.mark.parametrize("kept", [0, 7, 1000])
def test_weights_cut_off_in_copying_are_named(folder: Path, kept: int) -> None:
    weights = folder / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:kept])
    with pytest.raises(ModelFolderError, match=r"is missing or cut off .* Copy the file again"):
        load_language_model(folder)


@pytest.mark.parametrize("name", ["config.json", "tokenizer.json"])
def test_a_json_file_cut_off_is_named(folder: Path, name: str) -> None:
    (folder / name).write_text((folder / name).read_text()[:50])
    with pytest.raises(ModelFolderError, match=r"[Cc]opy the folder again"):
        load_language_model(folder)


def test_weights_of_another_model_are_refused(folder: Path) -> None:
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "n_layer": 3}))
    with pytest.raises(ModelFolderError, match="belong to different models"):
        load_language_model(folder)


def test_a_tokenizer_with_more_tokens_than_the_model_is_refused(folder: Path) -> None:
    GPT2LMHeadModel(
        GPT2Config(vocab_size=300, n_positions=64, n_embd=32, n_layer=1, n_head=2)
    ).save_pretrained(folder)
    with pytest.raises(ModelFolderError, match="has 400 tokens and the model 300 embeddings"):
        load_language_model(folder)


def test_a_tokenizer_with_far_fewer_tokens_than_the_model_is_refused(folder: Path) -> None:
    GPT2LMHeadModel(
        GPT2Config(vocab_size=801, n_positions=64, n_embd=32, n_layer=1, n_head=2)
    ).save_pretrained(folder)
    with pytest.raises(ModelFolderError, match="has 400 tokens and the model 801 embeddings"):
        load_language_model(folder)


def test_a_model_may_have_embeddings_to_spare(folder: Path) -> None:
    GPT2LMHeadModel(
        GPT2Config(vocab_size=512, n_positions=64, n_embd=32, n_layer=1, n_head=2)
    ).save_pretrained(folder)
    assert load_language_model(folder).model.config.vocab_size == 512


def test_a_tokenizer_that_names_no_end_is_refused(folder: Path) -> None:
    path = folder / "tokenizer_config.json"
    named = {key: value for key, value in json.loads(path.read_text()).items() if key != "eos_token"}
    path.write_text(json.dumps(named))
    with pytest.raises(ModelFolderError, match="Set eos_token in its tokenizer_config"):
        load_language_model(folder)


@pytest.mark.parametrize(
    ("template", "message"),
    [("{% for", "cannot be read"), ("Hello!", "leaves out what was said")],
)
def test_a_broken_chat_template_is_refused(folder: Path, template: str, message: str) -> None:
    (folder / "chat_template.jinja").write_text(template)
    with pytest.raises(ModelFolderError, match=f"chat template {message}.*plain dialogue"):
        load_language_model(folder)


def test_a_model_that_names_no_context_length_is_refused(folder: Path) -> None:
    shape = {"vocab_size": 400, "hidden_size": 32, "n_layer": 1, "n_head": 2}
    BloomForCausalLM(BloomConfig(**shape)).save_pretrained(folder)
    with pytest.raises(ModelFolderError, match='Add "max_position_embeddings"'):
        load_language_model(folder)


def test_an_architecture_that_is_not_a_language_model_is_refused(folder: Path) -> None:
    (folder / "config.json").write_text(json.dumps({"model_type": "vit"}))
    with pytest.raises(ModelFolderError, match="Use a complete folder of a causal language model"):
        load_language_model(folder)
