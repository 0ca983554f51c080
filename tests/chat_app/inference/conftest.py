"""Two tiny model versions on disk, and engines that serve them at a chosen pace."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import GPT2LMHeadModel

from chat_app.inference.engine import InferenceEngine
from chat_app.inference.request import GenerationRequest
from chat_app.inference.settings import InferenceSettings
from tests.tiny_model import make_tiny_model
from training.generation import DecodingParameters, sample_completions
from training.loading import LoadedModel, load_language_model

MESSAGES = ({"role": "user", "content": "Hello! What is your favorite food?"},)


class HookedGPT2(GPT2LMHeadModel):
    """A model of a class of its own, so that it is run by its own forward pass, and hooks on it are heard."""


class Versions:
    """Loads versions 1 and 2; tests make them slow, endless or broken, or leave them plain and fast."""

    def __init__(self, folders: dict[int, Path]) -> None:
        self.folders = folders
        self.step_seconds = 0.0
        self.may_load = threading.Event()
        self.may_load.set()
        self.is_endless = False
        self.is_plain = False
        self.prepare: Callable[[int, LoadedModel], None] = lambda *_: None

    def load(self, version_id: int) -> LoadedModel:
        assert self.may_load.wait(20)
        loaded = load_language_model(self.folders[version_id])
        if not self.is_plain:
            loaded.model.__class__ = HookedGPT2
            loaded.model.register_forward_pre_hook(lambda *_: time.sleep(self.step_seconds))
        if self.is_endless:
            loaded.model.lm_head.register_forward_hook(never(loaded.chat_format.tokenizer.all_special_ids))
        self.prepare(version_id, loaded)
        return loaded

    def answer(self, version_id: int, seed: int, max_new_tokens: int) -> str:
        """What this version answers when it is asked alone, without an engine."""
        loaded = load_language_model(self.folders[version_id])
        chat_format = loaded.chat_format
        [completion] = sample_completions(
            loaded.model,
            [chat_format.prompt_ids(MESSAGES)],
            parameters=DecodingParameters(max_new_tokens=max_new_tokens),
            seeds=[seed],
            end_token_id=chat_format.end_token_id,
            pad_token_id=chat_format.pad_token_id,
        )
        ids = list(completion.token_ids)
        special = [i for i, token in enumerate(ids) if token in chat_format.tokenizer.all_special_ids]
        return chat_format.decode(ids[: special[0]] if special else ids).rstrip("\ufffd")


def never(token_ids: list[int]) -> Callable[[Any, Any, torch.Tensor], torch.Tensor]:
    """Make a hook on the output layer that rules these tokens out."""

    def rule_out(_: Any, __: Any, logits: torch.Tensor) -> torch.Tensor:
        return logits.index_fill(-1, torch.tensor(token_ids), -1e9)

    return rule_out


def request(
    seed: int = 0,
    *,
    max_new_tokens: int = 20,
    version_id: int | None = None,
    asker: str = "",
    **sampling: Any,
) -> GenerationRequest:
    parameters = DecodingParameters(max_new_tokens=max_new_tokens, **sampling)
    return GenerationRequest(MESSAGES, parameters, seed, version_id, asker=asker)


def eventually(is_true: Callable[[], bool], seconds: float = 5) -> None:
    """Wait until something holds; fail when it does not within the time."""
    deadline = time.monotonic() + seconds
    while not is_true():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.005)


@pytest.fixture(scope="session")
def version_folders(tmp_path_factory: pytest.TempPathFactory) -> dict[int, Path]:
    folder = tmp_path_factory.mktemp("versions")
    return {seed: make_tiny_model(folder / str(seed), seed=seed) for seed in (1, 2)}


@pytest.fixture
def versions(version_folders: dict[int, Path]) -> Versions:
    return Versions(dict(version_folders))


StartEngine = Callable[..., InferenceEngine]


@pytest.fixture
def start_engine(versions: Versions) -> Iterator[StartEngine]:
    """Start engines that serve version 1; they are stopped at the end."""
    engines: list[InferenceEngine] = []

    def start(**settings: Any) -> InferenceEngine:
        settings.setdefault("drain_seconds", 0)
        engine = InferenceEngine(load_version=versions.load, settings=InferenceSettings(**settings))
        engines.append(engine)
        engine.start()
        engine.serve_version(1)
        return engine

    yield start
    for engine in engines:
        engine.stop()
