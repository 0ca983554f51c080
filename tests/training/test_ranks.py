"""Several processes: two that torchrun starts end with the weights of one, and only the first writes."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from tests.tiny_model import make_tiny_model
from training.learning_settings import PretrainSettings, SftSettings
from training.pretrain import pretrain
from training.ranks import Ranks, joined_ranks
from training.sft import sft


def data_folder(folder: Path) -> Path:
    folder.mkdir()
    words = ("cat", "dog", "bird", "cow", "fish", "hen", "fox", "bee")
    talks = [
        {
            "messages": [
                {"role": "user", "content": f"What does the {word} do on day {day}?"},
                {"role": "assistant", "content": f"The {word} sings{' and eats' * (day % 7)}."},
            ]
        }
        for word in words
        for day in range(40)
    ]
    (folder / "talks.jsonl").write_text("\n".join(json.dumps(talk) for talk in talks))
    return folder


def settings(tmp_path: Path, name: str, stage: str) -> dict[str, Any]:
    both = {
        "data_dir": str(tmp_path / "data"), "output_dir": str(tmp_path / name), "steps": 12,
        "precision": "float32", "compile_model": False,
    }  # fmt: skip
    if stage == "pretrain":
        return {
            **both, "rows_per_step": 6, "vocab_size": 300, "context_length": 32, "n_layer": 1, "n_head": 2,
            "n_embd": 32, "optimizer": "adamw",  # Muon computes in bfloat16, which makes 1e-4 of a rounding of 1e-8
        }  # fmt: skip
    return {
        **both, "base": str(tmp_path / "base"), "accumulation": 2, "tokens_per_batch": 512, "dropout": 0,
        "auxiliary_weight": 0.3,
    }  # fmt: skip


def learn_alone(tmp_path: Path, stage: str) -> int:
    """Run the stage here; gives the tokens it read."""
    values = settings(tmp_path, "one", stage)
    if stage == "pretrain":
        return pretrain(PretrainSettings(**values), lambda _: None).tokens
    return sft(SftSettings(**values), lambda _: None).tokens


def learn_together(tmp_path: Path, stage: str) -> str:
    """Run the stage in two processes that torchrun starts; gives what they said."""
    path = tmp_path / "two.json"
    path.write_text(json.dumps(settings(tmp_path, "two", stage)))
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    ended = subprocess.run(
        [*torchrun, "-m", "tests.training.learn_in_ranks", stage, str(path)],
        env={**os.environ, "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": "", "PYTHONDONTWRITEBYTECODE": "1"},
        cwd=Path(__file__).parents[2], capture_output=True, text=True, timeout=240, check=False,
    )  # fmt: skip
    assert ended.returncode == 0, ended.stderr
    return ended.stdout


def learnt(folder: Path) -> dict[str, Tensor]:
    tensors = load_file(folder / "checkpoint" / "state.safetensors")
    return {key: value for key, value in tensors.items() if key.startswith("model.")}


@pytest.mark.parametrize(("stage", "record"), [("pretrain", "pretraining.json"), ("sft", "sft.json")])
def test_two_processes_end_with_the_weights_of_one(tmp_path: Path, stage: str, record: str) -> None:
    data_folder(tmp_path / "data")
    make_tiny_model(tmp_path / "base", architecture="llama")  # a key bias of GPT-2 learns from rounding alone
    said = learn_together(tmp_path, stage)
    tokens = learn_alone(tmp_path, stage)
    alone, together = learnt(tmp_path / "one"), learnt(tmp_path / "two")
    assert alone.keys() == together.keys()
    for name, weights in alone.items():
        torch.testing.assert_close(together[name], weights, rtol=0, atol=1e-5, msg=name)
    assert (tmp_path / "two" / "model" / "model.safetensors").exists()
    found = json.loads((tmp_path / "two" / record).read_text())
    assert found.get("result", found)["tokens"] == tokens
    assert said.count("held-out loss:") == 1  # the first rank's alone


def test_the_shares_of_all_ranks_are_the_batch() -> None:
    ranks = [Ranks(rank, 3, "cpu") for rank in range(3)]
    assert [list(rank.share(range(7))) for rank in ranks] == [[0, 3, 6], [1, 4], [2, 5]]
    assert [rank.is_first for rank in ranks] == [True, False, False]


def test_a_process_alone_sums_agrees_and_waits_for_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("WORLD_SIZE", raising=False)
    layer = nn.Linear(2, 1)
    torch.autograd.backward(layer(torch.ones(1, 2)).sum())
    with joined_ranks() as ranks:
        ranks.sum_gradients(layer)
        ranks.wait()
        assert ranks.agree(2.5) == 2.5
        assert ranks.is_first
    assert layer.weight.grad is not None
    assert layer.weight.grad.tolist() == [[1.0, 1.0]]
