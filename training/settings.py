"""The settings of a retraining: one frozen tree, checked when made, with presets for how long it may take."""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

PresetName = Literal["tiny", "quick", "standard", "thorough"]
Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
NotNegative = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Share = Annotated[float, Field(ge=0, le=1)]
Count = Annotated[int, Field(ge=1)]


class _Branch(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class LoraSettings(_Branch):
    """The size of an adapter: every linear layer gets two matrices of this rank, scaled by alpha/rank."""

    rank: Count = 16
    alpha: Positive = 32


class NumericsSettings(_Branch):
    """Where training runs and in which precision; `auto` tries this machine.

    `threads` 0 leaves one core to the chat: with every core taken, a busy machine trained four times slower.
    """

    device: str = "auto"
    precision: Literal["auto", "float32", "bfloat16"] = "auto"
    threads: Annotated[int, Field(ge=0)] = 0
    microbatch_tokens: Count = 4096


class RewardSettings(_Branch):
    """How the reward model is trained on rankings (method: Ouyang et al. 2022, section 3.5)."""

    lora: LoraSettings = LoraSettings()
    learning_rate: Positive = 2e-3
    epochs: Count = 6
    batch_prompts: Count = 4
    warmup_share: Share = 0.1
    tie_margin: NotNegative = 0.5
    max_tokens: Count = 512
    heldout_share: Share = 0.1
    min_prompts_for_heldout: Count = 150
    patience: Count = 2
    reference_completions: Annotated[int, Field(ge=2)] = 96
    max_new_tokens: Count = 64


class EarlyStop(_Branch):
    """Limits at which PPO ends with a message that names the cause; the last good weights are kept."""

    max_kl: Positive = 25.0
    max_length_ratio: Annotated[float, Field(gt=1)] = 3.0
    min_share_ended: Share = 0.3
    min_entropy_ratio: Share = 0.25
    max_mismatch: Positive = 0.25


class PPOSettings(_Branch):
    """How the policy is trained (Schulman et al. 2017; Ziegler et al. 2019; Ouyang et al. 2022)."""

    lora: LoraSettings = LoraSettings()
    updates: Count = 12
    episodes: Count = 64
    epochs: Count = 2
    minibatches: Count = 4
    max_new_tokens: Count = 64
    learning_rate: Positive = 1e-3
    value_learning_rate: Positive = 1e-3
    learning_rate_warmup: Share = 0.1
    value_warmup_updates: Annotated[int, Field(ge=0)] = 1
    beta: NotNegative = 0.1
    kl_target: Positive | None = None
    kl_horizon: Count | None = None
    gae_lambda: Share = 0.95
    clip: Positive = 0.2
    value_clip: Positive = 0.2
    value_coefficient: Positive = 0.1
    max_grad_norm: Positive = 1.0
    no_end_penalty: float = -1.0
    gamma: NotNegative = 0.1
    gamma_tokens: Count = 64
    gamma_examples: Count = 4
    checkpoint_every: Count = 4
    sample_every: Count = 4
    sample_prompts: Annotated[int, Field(ge=0)] = 4
    early_stop: EarlyStop = EarlyStop()

    @model_validator(mode="after")
    def _sizes_divide(self) -> Self:
        if self.episodes % self.minibatches:
            raise ValueError(
                f"ppo.episodes is {self.episodes} and ppo.minibatches {self.minibatches}: {self.episodes} episodes "
                f"do not divide into {self.minibatches} equal parts. "
                f"Use {self.episodes // self.minibatches * self.minibatches or self.minibatches} episodes."
            )
        return self

    @property
    def minibatch_episodes(self) -> int:
        """Episodes in one optimiser step."""
        return self.episodes // self.minibatches

    @property
    def horizon_episodes(self) -> int:
        """The horizon of the adaptive KL coefficient: as given, or a tenth of the planned episodes.

        Ziegler et al.'s 10,000 belong to 2M episodes; kept in that proportion, β could not move within a short run.
        """
        return self.kl_horizon or max(1, self.updates * self.episodes // 10)


class GateSettings(_Branch):
    """What a candidate must show before it is promoted."""

    folds: Annotated[int, Field(ge=2)] = 3
    prompts: Count = 96
    max_new_tokens: Count = 64
    temperature: Positive = 1.0
    confidence: Annotated[float, Field(gt=0.5, lt=1)] = 0.95
    resamples: Count = 2000
    min_heldout_pairs: Count = 8
    max_kl: Positive = 20.0
    max_length_ratio: Annotated[float, Field(gt=1)] = 3.0
    max_ordinary_loss_increase: Positive = 0.03
    min_distinct_ratio: Share = 0.55
    min_prompts: Count = 20
    ordinary_rows: Count = 64
    ordinary_tokens: Count = 64
    samples: Annotated[int, Field(ge=0)] = 8


class TrainingSettings(_Branch):
    """Everything that decides a retraining; stored, resolved, with the job."""

    reward: RewardSettings = RewardSettings()
    ppo: PPOSettings = PPOSettings()
    gate: GateSettings = GateSettings()
    numerics: NumericsSettings = NumericsSettings()
    min_comparisons: Count = 20
    seed: int = 0
    anchor: Literal["sft", "serving"] = "sft"
    promotion: Literal["manual", "auto"] = "auto"


_TINY: dict[str, Any] = {
    "reward": {"lora": {"rank": 4, "alpha": 8}, "epochs": 1, "reference_completions": 8, "max_new_tokens": 8},
    "ppo": {
        "lora": {"rank": 4, "alpha": 8},
        "updates": 2,
        "episodes": 8,
        "epochs": 1,
        "minibatches": 2,
        "max_new_tokens": 8,
        "sample_prompts": 1,
        "gamma_tokens": 16,
        "gamma_examples": 2,
        "checkpoint_every": 1,
        "sample_every": 1,
        # A random model never ends its answers, so nothing may stop the run that tests need whole.
        "early_stop": {"min_share_ended": 0.0, "max_kl": 1000.0},
    },
    "gate": {
        "folds": 2,
        "prompts": 8,
        "max_new_tokens": 8,
        "resamples": 200,
        "min_prompts": 2,
        "ordinary_rows": 4,
        "ordinary_tokens": 16,
        "samples": 2,
    },
    "min_comparisons": 4,
}
_PRESETS: dict[PresetName, dict[str, Any]] = {
    "tiny": _TINY,
    "quick": {},
    "standard": {"ppo": {"updates": 32, "episodes": 128}, "gate": {"prompts": 192, "folds": 4}},
    "thorough": {"ppo": {"updates": 64, "episodes": 256}, "gate": {"prompts": 240, "folds": 5}},
}


def preset(name: PresetName, **overrides: Any) -> TrainingSettings:
    """The settings of a preset, with nested `overrides` such as `ppo={"updates": 8}` laid over them.

    tiny: seconds, for tests. quick: a few minutes on a laptop. standard: a quarter of an hour. thorough: an hour.
    Raises ValueError for an unknown name, pydantic.ValidationError for an unknown or impossible setting.
    """
    if name not in _PRESETS:
        raise ValueError(f'There is no preset "{name}"; use one of {", ".join(_PRESETS)}.')
    return TrainingSettings.model_validate(laid_over(_PRESETS[name], overrides))


def laid_over(below: dict[str, Any], above: dict[str, Any]) -> dict[str, Any]:
    """Nested dictionaries merged, the one above winning."""
    merged = dict(below)
    for key, value in above.items():
        is_nested = isinstance(value, dict) and isinstance(merged.get(key), dict)
        merged[key] = laid_over(merged[key], value) if is_nested else value
    return merged
