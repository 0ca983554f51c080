"""Serves model versions: one thread decodes for everybody and swaps versions between answers."""

from chat_app.inference.engine import EngineStats, InferenceEngine
from chat_app.inference.errors import (
    GenerationFailed,
    InferenceError,
    PromptTooLong,
    QueueFull,
    VersionUnavailable,
)
from chat_app.inference.generation import Generation
from chat_app.inference.request import FinishedGeneration, FinishReason, GenerationEvent, GenerationRequest
from chat_app.inference.settings import InferenceSettings
from chat_app.inference.watcher import ServingWatcher

__all__ = [
    "EngineStats",
    "FinishReason",
    "FinishedGeneration",
    "Generation",
    "GenerationEvent",
    "GenerationFailed",
    "GenerationRequest",
    "InferenceEngine",
    "InferenceError",
    "InferenceSettings",
    "PromptTooLong",
    "QueueFull",
    "ServingWatcher",
    "VersionUnavailable",
]
