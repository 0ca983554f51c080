"""New models: parameter counts from the formula, tied embeddings, and which optimiser takes which parameter."""

from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM

from tests.tiny_model import SENTENCES
from training.chat_format import ChatFormat
from training.language_modelling import make_optimizers, parameter_count
from training.learning_settings import Architecture
from training.new_model import new_model
from training.tokenizer import train_tokenizer


@pytest.fixture(scope="module")
def chat_format() -> ChatFormat:
    return ChatFormat(train_tokenizer(SENTENCES, vocab_size=400, context_length=64))


def small(architecture: Architecture, chat_format: ChatFormat) -> torch.nn.Module:
    """400 tokens, context 64, two layers of width 32 with two heads."""
    model: torch.nn.Module = new_model(
        architecture, chat_format, context_length=64, n_layer=2, n_head=2, n_embd=32
    )
    return model


def test_gpt2_has_its_parameters(chat_format: ChatFormat) -> None:
    # tokens 400·32, positions 64·32, two layers of 12·32² + 13·32, the last norm 2·32
    assert parameter_count(small("gpt2", chat_format)) == 12_800 + 2_048 + 2 * 12_704 + 64 == 40_320


def test_llama_has_its_parameters(chat_format: ChatFormat) -> None:
    # tokens 400·32, two layers of 4·32² + 3·32·96 + 2·32 (8/3 of 32 is nearest to 96), the last norm 32
    assert parameter_count(small("llama", chat_format)) == 12_800 + 2 * 13_376 + 32 == 39_584


@pytest.mark.parametrize("architecture", ["gpt2", "llama"])
def test_embeddings_are_tied_and_come_back_from_the_folder(
    architecture: Architecture, chat_format: ChatFormat, tmp_path: Path
) -> None:
    model = small(architecture, chat_format)
    model.save_pretrained(tmp_path)
    loaded = AutoModelForCausalLM.from_pretrained(tmp_path)
    assert loaded.get_output_embeddings().weight is loaded.get_input_embeddings().weight
    assert parameter_count(loaded) == parameter_count(model)
    assert loaded.config.eos_token_id == chat_format.end_token_id
    for name, weight in model.named_parameters():
        assert torch.equal(loaded.get_parameter(name), weight), name


@pytest.mark.parametrize(
    ("architecture", "matrices"),
    [
        ("gpt2", ("attn.c_attn", "attn.c_proj", "mlp.c_fc", "mlp.c_proj")),
        ("llama", ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")),
    ],
)
def test_muon_takes_the_matrices_of_the_blocks_and_adamw_the_rest(
    architecture: Architecture, matrices: tuple[str, ...], chat_format: ChatFormat
) -> None:
    model = small(architecture, chat_format)
    adamw, muon = make_optimizers(model, weight_decay=0.1, kind="muon")
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    taken = {
        optimizer: [names[id(p)] for group in optimizer.param_groups for p in group["params"]]
        for optimizer in (adamw, muon)
    }
    assert len(taken[muon]) == 2 * len(matrices)
    assert all(name.endswith(tuple(f"{part}.weight" for part in matrices)) for name in taken[muon])
    assert sorted([*taken[adamw], *taken[muon]]) == sorted(names.values())
    assert [group["weight_decay"] for group in adamw.param_groups] == [0.1, 0.0]
    assert all(parameter.dim() < 2 for parameter in adamw.param_groups[1]["params"])


def test_adamw_alone_takes_everything(chat_format: ChatFormat) -> None:
    model = small("llama", chat_format)
    (adamw,) = make_optimizers(model, weight_decay=0.1)
    taken = sum(p.numel() for group in adamw.param_groups for p in group["params"])
    assert taken == 39_584
