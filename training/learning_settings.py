"""The settings of pretraining and fine-tuning; without torch, so that a command line can read them at once."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

Architecture = Literal["gpt2", "llama"]
OptimizerKind = Literal["adamw", "muon"]
Precision = Literal["auto", "float32", "bfloat16"]

_MINUTES = 30.0


class RunSettings(BaseModel):
    """Length, text, optimiser and bookkeeping of a run; without `minutes` or `steps` it takes half an hour."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    output_dir: Path = Field(description="Folder of the run; its model/ is the result. A run resumes.")
    minutes: float | None = Field(
        default=None, gt=0, description=f"Length of the run; or give the steps. Else {_MINUTES:.0f} minutes."
    )
    steps: int | None = Field(default=None, gt=0, description="Length of the run; or give the minutes.")
    recipe: Path | None = Field(
        default=None, description="JSON: which files, how often and under which licence."
    )
    demonstrations: Path | None = Field(
        default=None, description="File or folder of good conversations beside the data."
    )
    keep_out: tuple[Path, ...] = Field(
        default=(), description="File of test texts (jsonl), of which nothing is learnt; can be repeated."
    )
    seed: int = 0
    accumulation: int = Field(default=1, ge=1, description="Batches that make one step of the optimiser.")
    optimizer: OptimizerKind = "adamw"
    learning_rate: float = Field(default=1e-3, gt=0)
    weight_decay: float = Field(default=0.1, ge=0)
    checkpoint_minutes: float = Field(default=4, gt=0)
    validate_steps: int = Field(
        default=250, ge=1, description="Steps between measurements of the held-out loss."
    )
    patience: int | None = Field(
        default=None,
        ge=1,
        description="End after so many validations without a lower held-out loss, and give the best weights.",
    )
    compile_model: bool | None = Field(
        default=None, description="Compile the model; by itself where a compiler is found."
    )
    precision: Precision = Field(default="auto", description="auto: the faster one on this machine.")

    @model_validator(mode="before")
    @classmethod
    def _lasts_half_an_hour(cls, values: dict[str, Any]) -> dict[str, Any]:
        if values.get("minutes") is None and values.get("steps") is None:
            return {**values, "minutes": _MINUTES}
        return values

    @model_validator(mode="after")
    def _has_one_length(self) -> RunSettings:
        if self.minutes is not None and self.steps is not None:
            raise ValueError("Give the length of the run either in minutes or in steps.")
        return self

    @property
    def model_dir(self) -> Path:
        """Where the finished model goes."""
        return self.output_dir / "model"


class PretrainSettings(RunSettings):
    """Text and size of a pretraining run."""

    data_dir: Path = Field(description="Folder of texts (.jsonl, .jsonl.gz).")
    demonstration_passes: float = Field(
        default=4, gt=0, description="Passes over the demonstrations for each pass over the texts."
    )
    start: str = Field(
        default="",
        description="Model folder or hub name to go on from, with its tokenizer, block and size; empty: a new model.",
    )
    vocab_size: int = Field(default=6144, ge=300, le=65_536)
    context_length: int = Field(default=512, ge=16)
    architecture: Architecture = "llama"
    n_layer: int = Field(default=6, ge=1, description="Number of layers.")
    n_head: int = Field(default=6, ge=1, description="Attention heads of a layer.")
    n_embd: int = Field(default=288, ge=8, description="Width of a layer; a multiple of the heads.")
    rows_per_step: int = Field(
        default=8,
        ge=1,
        description="Rows of a batch, each as long as the context, of all processes together.",
    )
    optimizer: OptimizerKind = "muon"
    learning_rate: float = Field(default=4e-3, gt=0)

    @model_validator(mode="after")
    def _fits_together(self) -> PretrainSettings:
        # Llama turns the numbers of a head in pairs (rotary positions)
        unit = self.n_head * (2 if self.architecture == "llama" else 1)
        if self.n_embd % unit:
            halves = ", twice for the llama architecture" if unit > self.n_head else ""
            raise ValueError(
                f"The width (n_embd) {self.n_embd} cannot be divided by the {self.n_head} heads (n_head){halves}. "
                f"Choose a width of {self.n_embd // unit * unit or unit}, or another number of heads."
            )
        return self


class SftSettings(RunSettings):
    """Base model and conversations of a fine-tuning run."""

    base: str = Field(description="Model folder or hub name to start from.")
    data_dir: Path | None = Field(default=None, description="Folder of conversations (.jsonl, .jsonl.gz).")
    demonstration_passes: float = Field(
        default=10, gt=0, description="Passes over the demonstrations for each pass over the rest."
    )
    tokens_per_batch: int = Field(
        default=4096, ge=64, description="Tokens of a batch, padding included, of all processes together."
    )
    learning_rate: float = Field(default=5e-4, gt=0)
    weight_decay: float = Field(default=0.01, ge=0)
    dropout: float = Field(default=0.1, ge=0, lt=1)
    auxiliary_weight: float = Field(
        default=0.0, ge=0, description="Weight of the loss on all other tokens than the answers' (GPT-1's λ)."
    )
    casual_share: float = Field(
        default=0.0,
        ge=0,
        lt=1,
        description="Share of the passes in which people type in a hurry: no capitals.",
    )
    base_share: float = Field(
        default=0.0,
        ge=0,
        lt=1,
        description="Share of the base's weights in the result: fewer slips from learning few conversations by heart.",
    )
    compile_model: bool | None = Field(
        default=False, description="Compile the model; pays on long runs, for batches come in many shapes."
    )

    @model_validator(mode="after")
    def _has_conversations(self) -> SftSettings:
        if self.data_dir is None and self.demonstrations is None:
            raise ValueError(
                "Give conversations to learn from: a data folder, a demonstrations file, or both."
            )
        return self
