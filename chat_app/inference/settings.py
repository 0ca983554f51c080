"""How much the inference engine takes on at once, and how long it works on one answer."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field


class InferenceSettings(BaseModel):
    """Limits of the inference engine."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    max_batch: int = Field(default=16, ge=1, description="Answers decoded at the same time.")
    max_queue: int = Field(default=128, ge=1, description="Answers that may wait; more are refused.")
    max_waiting_per_person: int = Field(default=64, ge=1, description="Requests of one person that may wait.")
    max_seconds: float = Field(default=120.0, gt=0, description="Longest time for an answer, with its wait.")
    precision: Literal["auto", "float32", "bfloat16"] = Field(
        default="auto", description="Of the weights served; auto: bfloat16 where it is faster."
    )
    memory_bytes: int = Field(
        default=2 << 30,
        ge=1,
        description="Keys and values of a version's running answers; more answers wait for their turn.",
    )
    prefix_bytes: int = Field(
        default=128 << 20,
        ge=0,
        description="Keys and values kept of a version's finished answers, for the next turn.",
    )
    read_per_step: int = Field(
        default=256, ge=1, description="Tokens of new prompts read between two tokens of running answers."
    )
    spare_versions: int = Field(default=1, ge=0, description="Idle versions kept beside the served one.")
    drain_seconds: float = Field(default=5.0, ge=0, description="Time to finish answers at shutdown.")
    poll_seconds: float = Field(default=0.5, gt=0, le=1, description="How often to look for a promotion.")
