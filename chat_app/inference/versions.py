"""Keeps model versions in memory: loads one beside the others in its own thread, lets unused ones go."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import CancelledError, Future, ThreadPoolExecutor
from dataclasses import dataclass

from chat_app.inference.detokenise import UNFINISHED, Detokeniser
from chat_app.inference.errors import VersionUnavailable
from chat_app.inference.request import FinishReason, GenerationRequest
from chat_app.inference.settings import InferenceSettings
from training.chat_format import ChatMessages
from training.errors import TrainingError
from training.generation import BrokenLogits, DecodingBatch, DecodingParameters
from training.loading import LoadedModel

logger = logging.getLogger(__name__)

SHUTTING_DOWN = "The service is shutting down. Try again when it is back."
WARM_UP_PROMPT = ({"role": "user", "content": "Hello!"},)
WARM_UP_TOKENS = 3


@dataclass(frozen=True, slots=True)
class EncodedPrompt:
    """A prompt's ids, how many of the oldest messages did not fit, and how many examples did."""

    ids: list[int]
    dropped_messages: int
    example_exchanges: int


class ServedVersion:
    """A loaded version: its model, its tokenizer (one user at a time), the batch of its running answers."""

    def __init__(
        self, version_id: int, loaded: LoadedModel, settings: InferenceSettings | None = None
    ) -> None:
        """Wrap a loaded model; `batch` belongs to the engine's thread."""
        self.version_id = version_id
        self._settings = settings or InferenceSettings()
        self._loaded = loaded
        self._chat_format = loaded.chat_format
        self._tokenizer_lock = (
            threading.Lock()
        )  # encoding switches a flag of the shared tokenizer back and forth
        self._special_ids = loaded.chat_format.special_ids
        self.batch = self.new_batch()

    @property
    def weight_bytes(self) -> int:
        """Bytes of the model's weights."""
        model = self._loaded.model
        return sum(tensor.nbytes for tensors in (model.parameters(), model.buffers()) for tensor in tensors)

    def new_batch(self) -> DecodingBatch[int]:
        """Make an empty batch; every control token ends an answer, for what follows is another's turn."""
        return DecodingBatch(
            self._loaded.model,
            end_token_id=self._chat_format.end_token_id,
            pad_token_id=self._chat_format.pad_token_id,
            other_stop_ids=self._special_ids,
            keep_logprobs=True,
            memory_bytes=self._settings.memory_bytes,
            prefix_bytes=self._settings.prefix_bytes,
            read_per_step=self._settings.read_per_step,
        )

    def warm_up(self) -> None:
        """Decode a few tokens: the first person does not wait for it, and a broken model shows itself."""
        ids = self._chat_format.prompt_ids(WARM_UP_PROMPT)
        self.batch.add(0, ids, DecodingParameters(max_new_tokens=WARM_UP_TOKENS, temperature=0), 0)
        while len(self.batch):
            for step in self.batch.step():
                if step.error is not None:
                    raise step.error

    def encode(self, request: GenerationRequest) -> EncodedPrompt:
        """Turn a request's messages into ids that leave room for the answer.

        Examples are the first to be dropped, then the oldest turns. A wish for a very long answer leaves the prompt
        at least half of the context. Raises PromptTooLong when the newest message does not fit.
        """
        messages = _after_examples(request)
        context = self._loaded.context_length
        room = max(context - request.parameters.max_new_tokens, context // 2)
        with self._tokenizer_lock:
            fitted = self._chat_format.fitted_prompt(messages, room)
        lost = min(fitted.dropped_messages, len(request.examples))
        examples_kept = len(request.examples) - lost
        return EncodedPrompt(fitted.ids, fitted.dropped_messages - lost, examples_kept // 2)

    def detokeniser(self) -> Detokeniser:
        """Make the detokeniser of one answer."""
        return Detokeniser(self._decode)

    def is_stop(self, token_id: int) -> bool:
        """Whether a token ends the answer."""
        return token_id in self._special_ids

    def close_turn(self, tokens: Sequence[int], reason: FinishReason) -> tuple[str, tuple[int, ...]]:
        """Give an answer's text and token ids; whichever control token ended it is recorded as the end token.

        Reward models read their score at the end token, and a wrong control token means the same: turn over.
        """
        kept = list(tokens)
        if reason == "end":
            kept[-1] = self._chat_format.end_token_id
        with self._tokenizer_lock:
            text = self._chat_format.decode(kept)
        return text.rstrip(UNFINISHED), tuple(kept)

    def _decode(self, token_ids: Sequence[int]) -> str:
        with self._tokenizer_lock:
            text: str = self._chat_format.tokenizer.decode(
                token_ids, skip_special_tokens=True, clean_up_tokenization_spaces=False
            )
        return text


class VersionShelf:
    """The versions in memory, by id; one loads at a time, in a thread of its own, while decoding goes on."""

    def __init__(self, load_version: Callable[[int], LoadedModel], settings: InferenceSettings) -> None:
        """Load with `load_version`; beside the served version, keep the `spare_versions` asked for last."""
        self._load_version = load_version
        self._settings = settings
        self._lock = threading.RLock()
        self._versions: dict[int, Future[ServedVersion]] = {}  # least recently used first
        self._loader = ThreadPoolExecutor(max_workers=1, thread_name_prefix="version-loader")
        self.serving: Future[ServedVersion] | None = None
        self.swaps = 0

    @property
    def serving_version_id(self) -> int | None:
        """The version that answers requests which name none."""
        return None if self.serving is None else self.serving.result().version_id

    def loaded(self) -> list[ServedVersion]:
        """The versions in memory, by id."""
        with self._lock:
            loaded = [version.result() for version in self._versions.values() if is_loaded(version)]
        return sorted(loaded, key=lambda version: version.version_id)

    def get(self, version_id: int) -> Future[ServedVersion]:
        """Give a version, or the promise of one that starts loading now, also after a failure."""
        with self._lock:
            version = self._versions.pop(version_id, None)
            if version is None or (version.done() and not is_loaded(version)):
                version = self._start_loading(version_id)
            self._versions[version_id] = version
        version.add_done_callback(lambda _: self._let_go())
        return version

    def serve(self, version_id: int) -> None:
        """Load a version and let it answer from now on. Raises VersionUnavailable; then the old one stays."""
        version = self.get(version_id)
        try:
            version.result()
        except CancelledError as error:
            raise VersionUnavailable(SHUTTING_DOWN) from error
        with self._lock:
            if version is self.serving:
                return
            if self.serving is not None:
                self.swaps += 1
                self._versions.pop(self.serving.result().version_id, None)
            self.serving = version
            self._versions[version_id] = version  # it may have been let go as one spare version too many

    def close(self) -> None:
        """Stop loading and let every version go."""
        self._loader.shutdown(wait=True, cancel_futures=True)
        with self._lock:
            self._versions.clear()
            self.serving = None

    def _start_loading(self, version_id: int) -> Future[ServedVersion]:
        try:
            return self._loader.submit(self._load, version_id)
        except RuntimeError as error:
            raise VersionUnavailable(SHUTTING_DOWN) from error

    def _load(self, version_id: int) -> ServedVersion:
        try:
            version = ServedVersion(version_id, self._load_version(version_id), self._settings)
            version.warm_up()
        except Exception as error:
            logger.exception("Version %d cannot be loaded", version_id)
            raise VersionUnavailable(
                f"Version {version_id} cannot be loaded: {_with_remedy(error)}"
            ) from error
        logger.info("Version %d is loaded", version_id)
        return version

    def _let_go(self) -> None:
        """Forget the versions asked for longest ago; running answers hold theirs until they are finished."""
        with self._lock:
            spare = [
                version_id
                for version_id, version in self._versions.items()
                if is_loaded(version) and version is not self.serving
            ]
            for version_id in spare[: max(0, len(spare) - self._settings.spare_versions)]:
                del self._versions[version_id]


def _after_examples(request: GenerationRequest) -> ChatMessages:
    """Put the examples before the conversation, behind a system message."""
    system = 1 if request.prompt[0]["role"] == "system" else 0
    return [*request.prompt[:system], *request.examples, *request.prompt[system:]]


def _with_remedy(error: Exception) -> str:
    """The message of an error; those of our own name the remedy already."""
    if isinstance(error, TrainingError | BrokenLogits):
        return str(error)
    return f"{error or type(error).__name__}. Serve another version, or restore this one's files."


def is_loaded(version: Future[ServedVersion]) -> bool:
    """Whether a promised version is there."""
    return version.done() and not version.cancelled() and version.exception() is None
