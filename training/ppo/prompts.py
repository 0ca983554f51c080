"""The prompts of a PPO run: an endless shuffled stream to train on, and a few fresh ones to show samples of."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch

from training.errors import TrainingError
from training.loading import LoadedModel
from training.reward.data import fitted_prompt
from training.seeds import generator_for
from training.settings import PPOSettings

Prompt = Sequence[Mapping[str, str]]


class TooFewPrompts(TrainingError):
    """There is nothing to roll out from."""

    code = "too_few_prompts"


class PromptStream:
    """Encoded prompts; which ones an update gets depends on the seed and the update alone."""

    def __init__(
        self, prompts: Sequence[Prompt], anchor: LoadedModel, settings: PPOSettings, seed: int
    ) -> None:
        """Encode the prompts; a few from all over them are never trained on, to be shown. Raises TooFewPrompts."""
        if len(prompts) <= settings.sample_prompts:
            raise TooFewPrompts(
                f"There are {len(prompts)} prompts for PPO, and {settings.sample_prompts} of them are kept to show "
                "samples. Add prompts to the library, or lower ppo.sample_prompts."
            )
        room = anchor.context_length - settings.max_new_tokens
        encoded = [fitted_prompt(prompt, anchor.chat_format, room)[0] for prompt in prompts]
        kept = {len(prompts) * i // settings.sample_prompts for i in range(settings.sample_prompts)}
        self.trained = [ids for i, ids in enumerate(encoded) if i not in kept]
        self.shown = [prompts[i] for i in sorted(kept)]
        self.shown_ids = [encoded[i] for i in sorted(kept)]
        self.seed = seed

    def of_update(self, update: int, episodes: int) -> list[list[int]]:
        """The prompts of an update: pass after pass over all of them, each in a new order."""
        positions = range(update * episodes, (update + 1) * episodes)
        passes = {position // len(self.trained) for position in positions}
        orders = {number: self._order(number) for number in passes}
        return [
            self.trained[orders[position // len(self.trained)][position % len(self.trained)]]
            for position in positions
        ]

    def _order(self, number: int) -> list[int]:
        generator = generator_for(self.seed, "prompts", number)
        order: list[int] = torch.randperm(len(self.trained), generator=generator).tolist()
        return order
