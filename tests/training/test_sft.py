"""Fine-tuning: the loss typed in, the end of turn learnt, resumed exactly, clear refusals."""

import json
import math
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import pytest
import torch
from torch import Tensor, nn

from tests.tiny_model import make_tiny_model
from training.demonstrations import Example, collate, make_example
from training.language_modelling import next_token_loss
from training.learning_settings import SftSettings
from training.loading import load_language_model
from training.recipe import CorpusError
from training.sft import sft, sft_loss

ANSWERS = {"What color is grass?": "It is green.", "What color is snow?": "It is white."}


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_tiny_model(tmp_path_factory.mktemp("models") / "base")


@pytest.fixture(scope="module")
def demonstrations(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("data") / "own.jsonl"
    chats = [
        {"messages": [{"role": "user", "content": question}, {"role": "assistant", "content": answer}]}
        for question, answer in ANSWERS.items()
    ]
    path.write_text("\n".join(json.dumps(chat) for chat in chats))
    return path


def settings(
    base: Path, demonstrations: Path, output_dir: Path, steps: int, **changes: object
) -> SftSettings:
    values = {
        "base": str(base), "demonstrations": demonstrations, "output_dir": output_dir, "steps": steps,
        "tokens_per_batch": 256, "learning_rate": 1e-2, "precision": "float32",
    }  # fmt: skip
    return SftSettings.model_validate({**values, **changes})


class FixedLogits(nn.Module):
    """Gives token 0 a logit of 1 everywhere and the three others 0."""

    def forward(self, input_ids: Tensor, **_: object) -> SimpleNamespace:
        logits = torch.zeros(*input_ids.shape, 4)
        logits[..., 0] = 1.0
        return SimpleNamespace(logits=logits)


def test_the_loss_is_the_mean_over_answer_tokens_plus_lambda_times_the_others() -> None:
    batch = collate([Example((1, 2, 0, 3), (False, False, True, True))], pad_id=1)
    normaliser = math.log(math.e + 3)  # 1.743668
    answers = ((normaliser - 1) + normaliser) / 2  # tokens 0 and 3
    prompt = normaliser  # token 2; the first token is predicted by none
    assert (
        sft_loss(FixedLogits(), batch, 0.0).item()
        == pytest.approx(answers)
        == pytest.approx(1.243668, abs=1e-6)
    )
    assert sft_loss(FixedLogits(), batch, 0.5).item() == pytest.approx(answers + 0.5 * prompt)


def test_it_learns_the_answers_and_to_stop(base: Path, demonstrations: Path, tmp_path: Path) -> None:
    result = sft(settings(base, demonstrations, tmp_path, 120), lambda _: None)
    loaded = load_language_model(result.model_dir)
    for question, answer in ANSWERS.items():
        prompt = loaded.chat_format.prompt_ids([{"role": "user", "content": question}])
        generated = cast(
            Tensor, loaded.model.generate(torch.tensor([prompt]), do_sample=False, max_new_tokens=40)
        )
        completion = generated[0, len(prompt) :].tolist()
        assert completion == loaded.chat_format.completion_ids(answer)
    assert result.examples == {"own.jsonl": 2}


def test_the_end_of_turn_is_an_answers_last_target(base: Path) -> None:
    chat_format = load_language_model(base).chat_format
    example = make_example(
        ({"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Yes."}),
        chat_format,
        context_length=128,
    )
    assert example is not None
    targets = collate([example], pad_id=chat_format.pad_token_id).answer_targets[0]
    learnt = targets[targets != -100].tolist()
    assert chat_format.tokenizer.decode(learnt) == "Yes.<|end|>"
    assert learnt[-1] == chat_format.end_token_id


def test_with_the_auxiliary_loss_it_learns_the_questions_too(
    base: Path, demonstrations: Path, tmp_path: Path
) -> None:
    losses = []
    for weight in (0.0, 1.0):
        run = settings(base, demonstrations, tmp_path / str(weight), 40, auxiliary_weight=weight)
        loaded = load_language_model(sft(run, lambda _: None).model_dir)
        asked = loaded.chat_format.prompt_ids([{"role": "user", "content": "What color is grass?"}])
        losses.append(next_token_loss(loaded.model, torch.tensor([asked])).item())
    assert losses[0] > 3
    assert losses[1] < 1


def test_an_interrupted_run_ends_like_an_unbroken_one(
    base: Path, demonstrations: Path, tmp_path: Path
) -> None:
    class Interrupted(Exception):
        pass

    def stop_at_step_25(line: str) -> None:
        if line.startswith("step     25"):
            raise Interrupted

    often = {"checkpoint_minutes": 1e-6}
    unbroken = sft(settings(base, demonstrations, tmp_path / "unbroken", 30, **often), lambda _: None)
    broken = settings(base, demonstrations, tmp_path / "broken", 30, **often)
    with pytest.raises(Interrupted):
        sft(broken, stop_at_step_25)
    resumed = sft(broken, lambda _: None)
    first, second = (load_language_model(run.model_dir).model for run in (unbroken, resumed))
    for name, weight in first.named_parameters():
        assert torch.equal(weight, second.get_parameter(name)), name


def test_text_without_conversations_is_refused(base: Path, tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text('{"text": "A story."}')
    with pytest.raises(CorpusError, match="No conversation with an assistant's answer was found"):
        sft(settings(base, tmp_path / "a.jsonl", tmp_path / "out", 1), lambda _: None)


def test_nothing_to_learn_from_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="a data folder, a demonstrations file, or both"):
        SftSettings(base="x", output_dir=tmp_path, steps=1)


def test_a_share_of_the_base_is_kept_in_the_weights(base: Path, demonstrations: Path, tmp_path: Path) -> None:
    weights = {}
    for name, share in (("own", 0.0), ("averaged", 0.25)):
        run = settings(base, demonstrations, tmp_path / name, 6, base_share=share)
        lines: list[str] = []
        sft(run, lines.append)
        weights[name] = dict(load_language_model(run.model_dir).model.named_parameters())
        assert any("averaged with 25% of the base" in line for line in lines) == bool(share)
    before = dict(load_language_model(base).model.named_parameters())
    assert any((weights["own"][name] - old).abs().max() > 0.01 for name, old in before.items())
    for name, old in before.items():
        expected = 0.25 * old + 0.75 * weights["own"][name]
        torch.testing.assert_close(weights["averaged"][name], expected, atol=2e-3, rtol=1e-2)
