"""Pretraining on a small folder: it learns, its run is resumed exactly, and bad settings are refused."""

import json
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from tests.training.disk import fill
from training.checkpoint import CheckpointMismatchError
from training.export import export_model
from training.learning_settings import PretrainSettings
from training.loading import ModelFolderError, load_language_model
from training.numerics import Numerics
from training.pretrain import Rows, pretrain
from training.ranks import Ranks
from training.shards import open_shards
from training.whole_files import UnwrittenError


@pytest.fixture(scope="module")
def data_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("data")
    animals, acts = ("cat", "dog", "bird", "cow", "fish"), ("eats", "sleeps", "runs", "sings")
    texts = [f"The {animal} {act} {n} times a day." for animal in animals for act in acts for n in range(20)]
    (folder / "animals.jsonl").write_text("\n".join(json.dumps({"text": text}) for text in texts))
    return folder


def settings(data_dir: Path, output_dir: Path, steps: int, **changes: object) -> PretrainSettings:
    small = {
        "vocab_size": 300, "context_length": 32, "n_layer": 1, "n_head": 2, "n_embd": 32, "rows_per_step": 8,
        "learning_rate": 1e-2, "compile_model": False, "precision": "float32", "validate_steps": 20,
        "steps": steps,
    }  # fmt: skip
    return PretrainSettings.model_validate(
        {**small, "data_dir": data_dir, "output_dir": output_dir, **changes}
    )


def weights_of(folder: Path) -> torch.Tensor:
    return load_language_model(folder).model.get_input_embeddings().weight


def test_the_held_out_loss_falls_and_the_folder_loads(data_dir: Path, tmp_path: Path) -> None:
    lines: list[str] = []
    result = pretrain(settings(data_dir, tmp_path, 60), lines.append)
    assert result.steps == 60
    assert result.tokens == 60 * 8 * 32
    assert result.heldout_loss["animals.jsonl"] < 1.0  # chance is 5.7, the same eight rows for ever 1.6
    loaded = load_language_model(result.model_dir)
    assert loaded.context_length == 32
    assert loaded.model.generation_config.eos_token_id == loaded.chat_format.end_token_id
    assert any("tokens/s" in line and "left" in line for line in lines)
    assert any(line.startswith("held-out loss: animals") for line in lines)


def test_an_interrupted_run_ends_like_an_unbroken_one(data_dir: Path, tmp_path: Path) -> None:
    class Interrupted(Exception):
        pass

    def stop_at_step_25(line: str) -> None:
        if line.startswith("step     25"):
            raise Interrupted

    often = {"checkpoint_minutes": 1e-6}
    unbroken = pretrain(settings(data_dir, tmp_path / "unbroken", 30, **often), lambda _: None)
    with pytest.raises(Interrupted):
        pretrain(settings(data_dir, tmp_path / "broken", 30, **often), stop_at_step_25)
    lines: list[str] = []
    resumed = pretrain(settings(data_dir, tmp_path / "broken", 30, **often), lines.append)
    assert "resuming at step 24" in lines
    assert torch.equal(weights_of(unbroken.model_dir), weights_of(resumed.model_dir))


def test_a_resumed_run_does_not_read_its_texts_again(data_dir: Path, tmp_path: Path) -> None:
    texts = Path(shutil.copytree(data_dir, tmp_path / "texts"))
    pretrain(settings(texts, tmp_path / "out", 2), lambda _: None)
    shutil.rmtree(texts)
    lines: list[str] = []
    assert pretrain(settings(texts, tmp_path / "out", 4), lines.append).steps == 4
    assert "resuming at step 2" in lines
    assert not any(line.startswith(("animals.jsonl:", "tokenizer")) for line in lines)


def test_texts_prepared_for_other_settings_are_not_used(data_dir: Path, tmp_path: Path) -> None:
    """Also when the run was stopped before its first checkpoint."""

    def stop(line: str) -> None:
        if "parameters" in line:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        pretrain(settings(data_dir, tmp_path, 2), stop)
    with pytest.raises(
        CheckpointMismatchError, match=r"prepared for a run with other settings.*another output"
    ):
        pretrain(settings(data_dir, tmp_path, 2, vocab_size=310), lambda _: None)
    assert pretrain(settings(data_dir, tmp_path, 2, n_layer=2), lambda _: None).steps == 2


def test_two_batches_of_four_rows_learn_like_one_of_eight(data_dir: Path, tmp_path: Path) -> None:
    once = settings(data_dir, tmp_path / "once", 8, optimizer="adamw")
    twice = settings(data_dir, tmp_path / "twice", 8, optimizer="adamw", rows_per_step=4, accumulation=2)
    results = [pretrain(run, lambda _: None) for run in (once, twice)]
    assert results[0].tokens == results[1].tokens == 8 * 8 * 32
    learnt = [load_file(run.output_dir / "checkpoint" / "state.safetensors") for run in (once, twice)]
    for name, weights in learnt[0].items():
        torch.testing.assert_close(learnt[1][name], weights, rtol=0, atol=1e-5, msg=name)


def test_the_parts_of_a_step_add_up_to_the_gradient_of_the_whole(data_dir: Path, tmp_path: Path) -> None:
    """The optimiser hides a wrong scale, so this looks at the gradient itself."""
    run = settings(data_dir, tmp_path, 1)
    loaded = load_language_model(pretrain(run, lambda _: None).model_dir)
    shards = open_shards(tmp_path / "shards")
    assert shards is not None
    numerics = Numerics("cpu", is_bfloat16=False, is_compiled=False, reason="")
    gradients = []
    for rows, parts, ranks in ((8, 1, 1), (4, 2, 1), (2, 4, 1), (8, 1, 3)):
        changed = run.model_copy(update={"rows_per_step": rows, "accumulation": parts})
        loaded.model.zero_grad()
        for rank in range(ranks):
            material = Rows(changed, shards, loaded.model, numerics, Ranks(rank, ranks, "cpu"))
            assert sum(material.backward(5, part)[1] for part in range(parts)) == 8 * 32
        weight = loaded.model.get_input_embeddings().weight
        assert weight.grad is not None
        gradients.append(weight.grad.clone())
    for gradient in gradients[1:]:
        torch.testing.assert_close(gradient, gradients[0])


def test_a_full_disk_at_the_end_leaves_the_model_before(data_dir: Path, disk: Path, tmp_path: Path) -> None:
    """Wherever in writing the room ends: the weights, the settings, the tokenizer."""
    model = pretrain(settings(data_dir, tmp_path, 1), lambda _: None).model_dir
    loaded = load_language_model(model)
    size = sum(path.stat().st_size // 4096 + 1 for path in model.iterdir())  # in pages of the disk
    export_model(loaded.model, loaded.chat_format, disk / "model")
    before = {path.name: path.read_bytes() for path in (disk / "model").iterdir()}
    for pages in (0, size // 4, size // 2, size - 3, size - 1):
        fill(disk, leave=4096 * pages)
        with pytest.raises(UnwrittenError, match=r"The model cannot be written to .*Free some space"):
            export_model(loaded.model, loaded.chat_format, disk / "model")
        assert {path.name: path.read_bytes() for path in (disk / "model").iterdir()} == before
        assert {path.name for path in disk.iterdir()} == {"filler", "model"}


def test_a_run_without_a_length_takes_half_an_hour(data_dir: Path, tmp_path: Path) -> None:
    values = settings(data_dir, tmp_path, 2).model_dump(exclude={"steps"})
    assert PretrainSettings(**values).minutes == 30
    assert PretrainSettings(**values, steps=3).minutes is None


def test_a_run_with_other_settings_does_not_resume_this_one(data_dir: Path, tmp_path: Path) -> None:
    pretrain(settings(data_dir, tmp_path, 2), lambda _: None)
    with pytest.raises(CheckpointMismatchError):
        pretrain(settings(data_dir, tmp_path, 2, seed=1), lambda _: None)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"minutes": 1.0}, "either in minutes or in steps"),
        (
            {"n_embd": 33, "architecture": "gpt2"},
            r"33 cannot be divided by the 2 heads .* Choose a width of 32",
        ),
        ({"n_embd": 30}, r"by the 2 heads \(n_head\), twice for the llama .* Choose a width of 28"),
        ({"learning_rte": 1.0}, "learning_rte"),
    ],
)
def test_settings_that_do_not_fit_are_refused(
    data_dir: Path, tmp_path: Path, changes: dict[str, object], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        settings(data_dir, tmp_path, **{"steps": 2, **changes})  # type: ignore[arg-type]


def test_a_run_can_go_on_from_another_model_with_its_tokenizer_and_size(
    data_dir: Path, tmp_path: Path
) -> None:
    first = pretrain(settings(data_dir, tmp_path / "first", 40), lambda _: None)
    start = {"start": str(first.model_dir), "learning_rate": 1e-5, "n_embd": 64, "vocab_size": 400}
    second = pretrain(settings(data_dir, tmp_path / "second", 1, **start), lambda _: None)
    assert second.parameters == first.parameters
    assert second.heldout_loss["animals.jsonl"] == pytest.approx(
        first.heldout_loss["animals.jsonl"], abs=0.02
    )


def test_rows_longer_than_the_context_of_the_model_to_go_on_from_are_refused(
    data_dir: Path, tmp_path: Path
) -> None:
    first = pretrain(settings(data_dir, tmp_path / "first", 1), lambda _: None)
    longer = settings(data_dir, tmp_path / "second", 1, start=str(first.model_dir), context_length=64)
    with pytest.raises(ModelFolderError, match="attends to 32 tokens"):
        pretrain(longer, lambda _: None)
