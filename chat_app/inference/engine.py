"""The inference engine: one thread that decodes for everybody, a token of every answer per step.

Answers join and leave between tokens, in a batch per model version. What goes wrong with one answer ends that
answer; the thread lives on.
"""

from __future__ import annotations

import itertools
import logging
import threading
import time
from collections.abc import Callable, Sequence

from chat_app.inference.errors import VersionUnavailable
from chat_app.inference.gauges import EngineGauges, EngineStats
from chat_app.inference.generation import Generation
from chat_app.inference.metrics import EngineMetrics
from chat_app.inference.order import Order
from chat_app.inference.request import FinishReason, GenerationRequest
from chat_app.inference.settings import InferenceSettings
from chat_app.inference.versions import SHUTTING_DOWN, ServedVersion, VersionShelf, is_loaded
from chat_app.inference.waiting import WaitingLine
from training.generation import BrokenLogits, StepToken
from training.loading import LoadedModel

logger = logging.getLogger(__name__)

MODEL_FAILED = "The model failed while answering. Try again."
IDLE_LOOK_SECONDS = 0.25  # how often time limits are looked at while answers wait for a version to load


class InferenceEngine:
    """Owns the model versions and the thread that decodes; its methods may be called from any thread."""

    def __init__(
        self, *, load_version: Callable[[int], LoadedModel], settings: InferenceSettings | None = None
    ) -> None:
        """Load versions with `load_version`, in a thread of its own; nothing runs before `start`."""
        self._settings = settings or InferenceSettings()
        self._shelf = VersionShelf(load_version, self._settings)
        self._changed = threading.Condition()
        self._waiting = WaitingLine(self._settings)
        self._running: dict[int, Order] = {}
        self._ids = itertools.count(1)
        self._tokens_generated = 0
        self.metrics = EngineMetrics()
        self.metrics.registry.register(EngineGauges(self.stats))
        self._drain_until: float | None = None
        self._thread = threading.Thread(target=self._run, name="inference", daemon=True)

    # Life

    def start(self) -> None:
        """Start decoding."""
        self._thread.start()

    def stop(self) -> None:
        """Refuse new answers, let running ones finish for a while, then close them with what there is."""
        with self._changed:
            self._drain_until = time.monotonic() + self._settings.drain_seconds
            self._changed.notify_all()
        if self._thread.is_alive():
            self._thread.join()
        self._shelf.close()

    def serve_version(self, version_id: int) -> None:
        """Load a version beside the present one and swap; blocks until it serves.

        Running answers finish on the version they began with. Raises VersionUnavailable when it cannot be
        loaded; the present version then goes on serving.
        """
        self._shelf.serve(version_id)
        logger.info("Version %d is serving", version_id)

    # State

    @property
    def serving_version_id(self) -> int | None:
        """The version that answers requests which name none; None before the first is loaded."""
        return self._shelf.serving_version_id

    @property
    def ready(self) -> bool:
        """Whether the thread runs and a version is loaded and warm."""
        return self._thread.is_alive() and not self.is_ending and self._shelf.serving is not None

    @property
    def is_ending(self) -> bool:
        """Whether new answers are refused because the service stops."""
        return self._drain_until is not None

    def stats(self) -> EngineStats:
        """Look at queue, batch and versions."""
        loaded = self._shelf.loaded()
        running = [order.version for order in list(self._running.values())]
        answering = {version.result() for version in running if is_loaded(version)}
        with self._changed:
            queue_length, waiting_groups = len(self._waiting), self._waiting.group_count
        return EngineStats(
            is_ready=self.ready,
            queue_length=queue_length,
            waiting_groups=waiting_groups,
            active_rows=self._active_rows,
            tokens_generated=self._tokens_generated,
            tokens_per_second=self.metrics.tokens_per_second,
            serving_version_id=self.serving_version_id,
            loaded_version_ids=tuple(version.version_id for version in loaded),
            weight_bytes={version.version_id: version.weight_bytes for version in {*loaded, *answering}},
            swaps=self._shelf.swaps,
        )

    # Requests

    def submit(self, request: GenerationRequest) -> Generation:
        """Ask for one answer. Raises QueueFull, PromptTooLong, VersionUnavailable."""
        return self.submit_together([request])[0]

    def submit_together(self, requests: Sequence[GenerationRequest]) -> list[Generation]:
        """Ask for answers of one asker that start in the same step, on whichever versions.

        A version that is not in memory is loaded first; its errors then come from the answer itself. Raises
        QueueFull, PromptTooLong, VersionUnavailable, and ValueError for more requests than fit into a batch.
        """
        with self.metrics.counting_refusals():
            return self._submit(requests)

    def check_room(self, asker: str, count: int) -> None:
        """Tell beforehand whether that many answers could wait now. Raises QueueFull, VersionUnavailable."""
        with self.metrics.counting_refusals():
            self._check_room(asker, count)

    def _submit(self, requests: Sequence[GenerationRequest]) -> list[Generation]:
        rows = sum(request.parameters.beams for request in requests)
        if rows > self._settings.max_batch:
            raise ValueError(
                f"{len(requests)} answers of {rows} rows cannot start together; the batch holds "
                f"{self._settings.max_batch}. Ask for fewer, or raise inference.max_batch."
            )
        asker = requests[0].asker
        self._check_room(asker, len(requests))
        orders = [self._order(request) for request in requests]
        with self._changed:
            self._refuse_at_the_end()
            self._waiting.append(asker, orders)
            self._changed.notify_all()
        for order in orders:
            order.version.add_done_callback(lambda _: self._wake())
        return [order.generation for order in orders]

    def _check_room(self, asker: str, count: int) -> None:
        with self._changed:
            self._refuse_at_the_end()
            self._waiting.check_room(asker, count)

    def _refuse_at_the_end(self) -> None:
        if self.is_ending:
            raise VersionUnavailable(SHUTTING_DOWN)

    def _order(self, request: GenerationRequest) -> Order:
        version = self._shelf.serving if request.version_id is None else self._shelf.get(request.version_id)
        if version is None:
            raise VersionUnavailable("No model version is being served yet. Try again in a few seconds.")
        return Order(next(self._ids), request, version, self._wake)

    def _wake(self) -> None:
        with self._changed:
            self._changed.notify_all()

    # The thread

    def _run(self) -> None:
        while self._wait_for_work():
            try:
                self._turn()
            except Exception:
                logger.exception("The inference thread met an error of its own")
                self._abandon(list(self._running.values()))
        self._close_all()

    def _turn(self) -> None:
        """Let answers leave and join, and decode a token of each; on return nothing here holds a model."""
        self._let_leave()
        self._admit()
        for version in {order.version.result() for order in self._running.values()}:
            self._step(version)

    def _wait_for_work(self) -> bool:
        """Sleep until there is something to do; False when it is time to end."""
        with self._changed:
            if self._drain_until is not None:
                return bool(self._running) and time.monotonic() < self._drain_until
            if not self._running and not self._waiting.has_ready:
                self._changed.wait(IDLE_LOOK_SECONDS if len(self._waiting) else None)
            return True

    def _let_leave(self) -> None:
        """Let go of the cancelled, and of those whose time is up: with what there is, or without a start."""
        with self._changed:
            cancelled = self._waiting.pop_where(lambda order: order.generation.is_cancelled)
            late = self._waiting.pop_where(self._is_late)
        for order in cancelled:
            self._finish(order, "stopped")
        self._fail(
            late, f"The answer did not start within {self._settings.max_seconds:g} seconds. Try again."
        )
        for order in list(self._running.values()):
            if order.generation.is_cancelled or self._is_late(order):
                self._stop_row(order)
                self._finish(order, "stopped" if order.generation.is_cancelled else "length")

    @property
    def _active_rows(self) -> int:
        return sum(order.rows for order in list(self._running.values()))  # any thread may ask

    def _admit(self) -> None:
        """Let waiting orders join, as far as there are places; at the end of the service turn them away."""
        with self._changed:
            turned_away = self._waiting.pop_where(lambda _: self.is_ending)
            free = self._settings.max_batch - self._active_rows
            starting = self._waiting.pop_ready(free, self._running.values())
            self._running.update((order.order_id, order) for order in starting)
            self._waiting.tell_places(self._running.values())
        self._fail(turned_away, SHUTTING_DOWN)
        for order in starting:
            try:
                order.begin()
                self.metrics.note_start(order.seconds)
            except Exception as error:
                logger.warning("Answer %d cannot begin: %s", order.order_id, error)
                self._fail([order], str(error))

    def _step(self, version: ServedVersion) -> None:
        """Decode one token of every answer of a version."""
        try:
            steps = version.batch.step()
        except Exception:
            logger.exception("Version %d failed while decoding", version.version_id)
            self._abandon([order for order in self._running.values() if order.version.result() is version])
            return
        self.metrics.note_step(sum(step.error is None for step in steps))
        for step in steps:
            self._take(step)

    def _take(self, step: StepToken[int]) -> None:
        """Hand a token to its order."""
        order = self._running.get(step.row_id)
        if order is None:  # an earlier token of this step settled it: beam search gives all of them at once
            return
        if step.error is not None:
            logger.error("Answer %d failed: %s", order.order_id, step.error, exc_info=step.error)
            self._fail([order], str(step.error) if isinstance(step.error, BrokenLogits) else MODEL_FAILED)
            return
        order.append(step.token_id, step.logprob)
        self._tokens_generated += 1
        if order.is_at_first_token:
            self.metrics.note_first_token(order.seconds)
        if step.is_last or order.has_met_stop:
            self._stop_row(order)
            self._waiting.note_seconds(order.seconds)
            self._finish(order, order.natural_reason)

    def _finish(self, order: Order, reason: FinishReason) -> None:
        try:
            order.finish(reason)
            self.metrics.note_ending("stop_string" if order.has_met_stop else reason)
        except Exception:
            logger.exception("Answer %d cannot be turned into text", order.order_id)
            self._fail([order], MODEL_FAILED)

    def _stop_row(self, order: Order) -> None:
        order.version.result().batch.remove(order.order_id)
        del self._running[order.order_id]

    def _fail(self, orders: Sequence[Order], message: str) -> None:
        for order in orders:
            self._running.pop(order.order_id, None)
            order.fail(message)
            self.metrics.note_ending("failed")

    def _abandon(self, orders: Sequence[Order]) -> None:
        """Fail orders whose batch is in an unknown state, and begin with new batches."""
        for version in {order.version.result() for order in orders}:
            version.batch = version.new_batch()
        self._fail(orders, MODEL_FAILED)

    def _close_all(self) -> None:
        """Settle everything at the end: running answers with what there is, waiting ones with the reason."""
        for order in list(self._running.values()):
            self._stop_row(order)
            self._finish(order, "stopped")
        with self._changed:
            waiting = self._waiting.pop_where(lambda _: True)
        self._fail(waiting, SHUTTING_DOWN)

    def _is_late(self, order: Order) -> bool:
        return order.seconds > self._settings.max_seconds
