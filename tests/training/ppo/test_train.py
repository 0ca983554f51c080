"""The PPO loop on tiny models: it finds the optimum that theory names, resumes exactly, and stops with a reason."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from tests.tiny_model import SENTENCES
from tests.training.material import FLOAT32, make_records
from training.errors import JobCancelled
from training.loading import LoadedModel, load_language_model
from training.ppo import equations
from training.ppo.ordinary import OrdinaryText
from training.ppo.prompts import PromptStream, TooFewPrompts
from training.ppo.rollout import POLICY, VALUE
from training.ppo.train import PPOLoop, PPOResult, train_ppo
from training.ppo.update import Learner
from training.ppo.watch import find_trouble
from training.reporting import SilentReporter
from training.reward.train import train_reward
from training.reward.trainer import LossNotFinite
from training.roles import Roles
from training.settings import EarlyStop, LoraSettings, PPOSettings, RewardSettings, preset

PROMPTS = [[{"role": "user", "content": f"Good day {i}"}] for i in range(10)]
SETTINGS = preset("tiny", ppo={"updates": 3, "learning_rate": 0.01, "kl_target": 1.0}).ppo
LORA = LoraSettings(rank=4, alpha=8)


class Recorder(SilentReporter):
    """Keeps numbers and samples by update; raises at a phase's progress, if asked to."""

    def __init__(self, stop_after: float = 2.0) -> None:
        self.stop_after = stop_after
        self.by_update: dict[int, dict[str, float]] = {}
        self.samples: list[tuple[int, str]] = []
        self.lines: list[str] = []

    def phase(self, name: str, progress: float) -> None:
        if progress > self.stop_after:
            raise JobCancelled(1)

    def metrics(self, step: int, values: Any) -> None:
        self.by_update[step] = dict(values)

    def sample(self, step: int, prompt: Any, text: str, score: float | None) -> None:
        self.samples.append((step, text))

    def log(self, text: str, kind: str = "info") -> None:
        self.lines.append(text)


@pytest.fixture(scope="module")
def reward_folder(tiny_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("reward")
    anchor = load_language_model(tiny_folder)
    train_reward(
        records=make_records(8, anchor.chat_format),
        anchor=anchor,
        settings=RewardSettings(lora=LORA, epochs=1, reference_completions=8, max_new_tokens=8),
        numerics=FLOAT32,
        folder=folder,
        seed=0,
        reporter=SilentReporter(),
    )
    return folder


@dataclass
class Run:
    """A PPO run with everything but the settings fixed."""

    anchor: LoadedModel
    reward_folder: Path

    def __call__(
        self, folder: Path, settings: PPOSettings = SETTINGS, reporter: Any = None, **kwargs: Any
    ) -> PPOResult:
        options = {"start_adapter": None, "prompts": PROMPTS, "ordinary_text": SENTENCES, "seed": 5, **kwargs}
        return train_ppo(
            anchor=self.anchor,
            reward_folder=self.reward_folder,
            settings=settings,
            numerics=FLOAT32,
            microbatch_tokens=256,
            folder=folder,
            reporter=reporter or Recorder(),
            **options,
        )


@pytest.fixture
def run(anchor: LoadedModel, reward_folder: Path) -> Run:
    return Run(anchor, reward_folder)


def adapter(folder: Path) -> bytes:
    return (folder / "policy" / "adapter_model.safetensors").read_bytes()


@pytest.mark.parametrize("stop_after", [0.3, 0.55, 0.8])
def test_a_broken_run_resumes_to_bitwise_the_same_weights(
    run: Run, tmp_path: Path, stop_after: float
) -> None:
    run(tmp_path / "whole")
    with pytest.raises(JobCancelled):
        run(tmp_path / "broken", reporter=Recorder(stop_after))
    reporter = Recorder()
    run(tmp_path / "broken", reporter=reporter)
    assert adapter(tmp_path / "broken") == adapter(tmp_path / "whole")
    assert reporter.lines[0].startswith("Resumed PPO after update")


def test_a_finished_run_is_not_run_again(run: Run, tmp_path: Path) -> None:
    first = run(tmp_path)
    reporter = Recorder()
    again = run(tmp_path, reporter=reporter)
    assert reporter.by_update == {}
    assert again.metrics["ppo/kl"] == first.metrics["ppo/kl"]


def test_a_half_written_checkpoint_is_passed_over(run: Run, tmp_path: Path) -> None:
    run(tmp_path / "whole")
    with pytest.raises(JobCancelled):
        run(tmp_path / "broken", reporter=Recorder(0.8))
    (tmp_path / "broken" / "checkpoint").rename(tmp_path / "broken" / "checkpoint.previous")
    torn = tmp_path / "broken" / "checkpoint"
    torn.mkdir()
    (torn / "loop.json").write_text('{"update": 3')
    run(tmp_path / "broken")
    assert adapter(tmp_path / "broken") == adapter(tmp_path / "whole")


def test_the_value_model_learns_alone_first(run: Run, tmp_path: Path) -> None:
    reporter = Recorder()
    run(tmp_path, SETTINGS.model_copy(update={"value_warmup_updates": 2}), reporter)
    assert "ppo/policy_loss" not in reporter.by_update[2]
    assert reporter.by_update[2]["ppo/kl"] == 0.0
    assert "ppo/policy_loss" in reporter.by_update[3]
    assert [step for step, _ in reporter.samples] == [1, 2, 3, 4, 5]


def test_every_update_says_what_it_did(run: Run, tmp_path: Path) -> None:
    reporter = Recorder()
    run(tmp_path, reporter=reporter)
    assert {name.removeprefix("ppo/") for name in reporter.by_update[4]} == {
        *(
            "score",
            "kl",
            "kl_k3",
            "entropy",
            "length",
            "share_ended",
            "explained_variance",
            "beta",
            "mismatch",
        ),
        *("policy_loss", "clip_fraction", "approximate_kl", "value_loss", "gamma_loss"),
        *("policy_gradient_norm", "gamma_gradient_norm", "value_gradient_norm", "learning_rate"),
        *("tokens_per_second", "seconds_rollout", "seconds_scoring", "seconds_update", "seconds"),
    }
    assert reporter.by_update[4]["ppo/kl"] != 0.0


def test_answers_without_an_end_get_the_fixed_penalty(run: Run, tmp_path: Path) -> None:
    """A random model does not end its answers: all scores are the penalty, whatever the reward model says."""
    reporter = Recorder()
    run(tmp_path, SETTINGS.model_copy(update={"no_end_penalty": -7.0, "max_new_tokens": 2}), reporter)
    ended = reporter.by_update[1]["ppo/share_ended"]
    assert reporter.by_update[1]["ppo/score"] == pytest.approx(-7.0, abs=0.1 + 10 * ended)


def test_a_run_that_breaks_a_limit_stops_with_the_cause(run: Run, tmp_path: Path) -> None:
    result = run(tmp_path, SETTINGS.model_copy(update={"early_stop": EarlyStop(min_share_ended=1.0)}))
    assert result.updates == 0
    assert result.stopped_because is not None
    assert "of the answers come to an end, below the limit of 100%" in result.stopped_because
    assert adapter(tmp_path)


def test_a_run_starts_from_the_adapter_it_is_given(run: Run, tmp_path: Path) -> None:
    first = run(tmp_path / "first")
    reporter = Recorder()
    run(tmp_path / "second", start_adapter=first.adapter_folder, reporter=reporter)
    assert reporter.by_update[1]["ppo/kl"] != 0.0  # the reference is the anchor, not the start


def test_too_few_prompts_are_counted(run: Run, tmp_path: Path) -> None:
    with pytest.raises(TooFewPrompts, match="There are 1 prompts for PPO, and 1 of them"):
        run(tmp_path, prompts=PROMPTS[:1])


def test_a_gradient_that_is_not_finite_names_the_update(run: Run, tmp_path: Path) -> None:
    with pytest.raises(LossNotFinite, match=r"became (nan|inf) in update 1"):
        run(tmp_path, SETTINGS.model_copy(update={"learning_rate": 1e30}))
    assert (tmp_path / "checkpoint" / "loop.json").exists()


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("ppo/kl", 30.0, "KL from the reference is 30.0 nats per answer, above the limit of 25"),
        ("ppo/length", 61.0, "Answers grew from 20 to 61 tokens, over 3 times"),
        ("ppo/share_ended", 0.2, "Only 20% of the answers come to an end"),
        ("ppo/entropy", 0.5, "Entropy fell from 3.00 to 0.50 nats"),
        ("ppo/mismatch", 0.4, "Sampler and trainer disagree by 0.400 nats"),
        ("ppo/kl", 5.0, None),
    ],
)
def test_what_counts_as_running_away(name: str, value: float, words: str | None) -> None:
    calm = {
        "ppo/kl": 2.0,
        "ppo/length": 20.0,
        "ppo/share_ended": 1.0,
        "ppo/entropy": 2.5,
        "ppo/mismatch": 0.0,
    }
    trouble = find_trouble({**calm, name: value}, EarlyStop(), first_length=20.0, first_entropy=3.0)
    assert (trouble is None) if words is None else (words in (trouble or ""))


def test_prompts_come_in_a_new_order_each_pass_and_depend_on_the_update_alone(anchor: LoadedModel) -> None:
    settings = preset("tiny").ppo
    stream = PromptStream(PROMPTS, anchor, settings, seed=1)
    nine = sorted(map(tuple, stream.trained))
    assert len(nine) == 9
    assert sorted(map(tuple, stream.of_update(0, 9))) == nine == sorted(map(tuple, stream.of_update(1, 9)))
    assert stream.of_update(0, 9) != stream.of_update(1, 9)
    assert PromptStream(PROMPTS, anchor, settings, seed=1).of_update(1, 9) == stream.of_update(1, 9)


def test_ordinary_text_is_drawn_by_its_key(anchor: LoadedModel) -> None:
    text = OrdinaryText(SENTENCES, anchor.chat_format, window=8, seed=0)
    assert text.rows(3, 1, 2).shape == (3, 9)
    assert torch.equal(text.rows(3, 1, 2), text.rows(3, 1, 2))
    assert not torch.equal(text.rows(3, 1, 2), text.rows(3, 1, 3))
    with pytest.raises(ValueError, match=r"fewer than ppo\.gamma_tokens"):
        OrdinaryText(["Hi"], anchor.chat_format, window=64, seed=0).rows(1)


# --- the bandit with a known optimum ---

BETA = 0.5
BANDIT = PPOSettings(
    lora=LoraSettings(rank=8, alpha=16),
    updates=80,
    episodes=256,
    epochs=4,
    minibatches=4,
    max_new_tokens=1,
    learning_rate=2e-2,
    value_learning_rate=2e-2,
    value_warmup_updates=3,
    beta=BETA,
    gamma=0.0,
    value_clip=10.0,
    checkpoint_every=1000,
    sample_prompts=0,
    early_stop=EarlyStop(min_share_ended=0.0, max_length_ratio=100.0, min_entropy_ratio=0.0),
)
LIKELY = (20, 21, 22, 23, 24, 25)
REWARD_OF = {20: 0.5, 21: -0.3, 22: 0.0, 23: 0.8, 24: -0.6, 25: 0.2}


def make_bandit(anchor: LoadedModel, prompts: Sequence[Sequence[int]]) -> None:
    """Give the tiny model an output layer under which six tokens have nearly all the probability."""
    model: Any = anchor.model
    with torch.no_grad():
        hidden = torch.stack([model.base_model(torch.tensor([list(p)]))[0][0, -1] for p in prompts])
        generator = torch.Generator().manual_seed(0)
        weight = torch.randn(400, 32, generator=generator) * 0.01
        away = torch.linalg.pinv(hidden) @ torch.full((len(prompts), 1), 12.0)  # logit 12 for every prompt
        weight -= away.T
        weight[list(LIKELY)] = torch.randn(6, 32, generator=generator) * 0.25
    head = torch.nn.Linear(32, 400, bias=False)
    head.weight.data = weight
    model.config.tie_word_embeddings = False
    model.set_output_embeddings(head)


def distribution(roles: Roles, role: str | None, prompt: Sequence[int]) -> Tensor:
    ids = torch.tensor([list(prompt)])
    last = torch.zeros_like(ids, dtype=torch.bool)
    last[0, -1] = True
    with torch.no_grad(), roles.playing(role):
        return roles.logits(ids, last)[0].double().softmax(-1)


@pytest.mark.slow
def test_on_a_one_token_bandit_the_policy_reaches_its_closed_form(
    anchor: LoadedModel, tmp_path: Path
) -> None:
    """π* ∝ π_ref exp(r/β), through the real rollouts and the real loop; the reward also depends on the prompt."""
    messages = [[{"role": "user", "content": text}] for text in ("Hello", "pizza")]
    prompts = [anchor.chat_format.prompt_ids(each) for each in messages]
    make_bandit(anchor, prompts)
    signs = {tuple(prompts[0]): 1.0, tuple(prompts[1]): -1.0}

    def scorer(sequences: Sequence[Sequence[int]], is_ended: Tensor) -> Tensor:
        return torch.tensor([signs[tuple(s[:-1])] * REWARD_OF.get(s[-1], 0.0) for s in sequences])

    with Roles(anchor, FLOAT32) as roles:
        roles.add(POLICY, BANDIT.lora, seed=1)
        roles.add(VALUE, BANDIT.lora, seed=2, has_head=True)
        learner = Learner(roles, BANDIT, values_of=lambda raw: raw, microbatch_tokens=8192)
        PPOLoop(learner, scorer, messages, [], tmp_path, 0, SilentReporter()).run()
        for prompt in prompts:
            scores = torch.zeros(400, dtype=torch.float64)
            for token, reward in REWARD_OF.items():
                scores[token] = signs[tuple(prompt)] * reward
            best = distribution(roles, None, prompt) * (scores / BETA).exp()
            best /= best.sum()
            distance = 0.5 * float((distribution(roles, POLICY, prompt) - best).abs().sum())
            start = 0.5 * float((distribution(roles, None, prompt) - best).abs().sum())
            assert start > 0.15
            assert distance < 0.02


def test_at_the_optimum_the_enumerated_gradient_is_zero() -> None:
    reference = torch.tensor([0.5, 0.3, 0.2], dtype=torch.float64)
    scores = torch.tensor([1.0, -0.5, 0.25], dtype=torch.float64)
    best = reference * (scores / BETA).exp()
    best /= best.sum()
    logits = best.log().clone().requires_grad_()
    logprobs = logits.log_softmax(-1)[:, None]
    mask = torch.ones(3, 1, dtype=torch.bool)
    old = best.log()[:, None]
    rewards = equations.kl_rewards(old, reference.log()[:, None], scores, mask, BETA)
    values = (best[:, None] * rewards).sum().expand(3, 1)
    advantages, _ = equations.advantages_and_returns(rewards, values, mask, 0.95)
    losses = equations.policy_losses(logprobs, old, advantages, 0.2)
    (best[:, None] * losses).sum().backward()  # type: ignore[no-untyped-call]
    assert logits.grad is not None
    torch.testing.assert_close(logits.grad, torch.zeros(3, dtype=torch.float64), atol=1e-12, rtol=0)
