"""The bounded line in front of a running engine: shares, places, refusals, and that it keeps nothing."""

import asyncio
import gc
import weakref
from typing import Any

import pytest

from chat_app.inference.engine import InferenceEngine
from chat_app.inference.errors import QueueFull, TooManyWaiting
from chat_app.inference.generation import Generation
from tests.chat_app.inference.conftest import StartEngine, Versions, eventually, request
from training.loading import LoadedModel


@pytest.fixture
def versions(versions: Versions) -> Versions:
    versions.step_seconds, versions.is_endless = 0.005, True
    return versions


def ask(engine: InferenceEngine, asker: str, *, tokens: int = 2) -> Generation:
    return engine.submit(request(max_new_tokens=tokens, asker=asker))


def test_one_person_with_many_requests_does_not_hold_up_another(start_engine: StartEngine) -> None:
    engine = start_engine(max_batch=1)
    crowd = [ask(engine, "crowd", tokens=20) for _ in range(6)]
    eventually(lambda: engine.stats().active_rows == 1)
    single = ask(engine, "single")
    single.wait(20)
    assert sum(generation.is_done for generation in crowd) <= 2
    assert [generation.wait(20).finish_reason for generation in crowd] == ["length"] * 6


def test_requests_of_one_person_are_answered_as_they_came(start_engine: StartEngine) -> None:
    engine = start_engine(max_batch=1)
    generations = [ask(engine, "one") for _ in range(5)]
    finished = [generation.wait(20) for generation in generations]
    waits = [answer.first_token_seconds or 0 for answer in finished]
    assert waits == sorted(waits)


def test_the_place_that_is_told_is_the_turn_that_comes(start_engine: StartEngine) -> None:
    engine = start_engine(max_batch=1)

    async def first_place(asker: str) -> int | None:
        async for event in ask(engine, asker).events():
            return event.queue_position
        return None

    async def places() -> list[int | None]:
        ask(engine, "crowd", tokens=100)
        await asyncio.to_thread(eventually, lambda: engine.stats().active_rows == 1)
        for _ in range(4):
            ask(engine, "crowd")
        return [await first_place("newcomer"), await first_place("crowd")]

    assert asyncio.run(places()) == [1, 5]


def test_one_person_may_hold_only_so_many_places_and_others_may_still_ask(start_engine: StartEngine) -> None:
    engine = start_engine(max_batch=1, max_waiting_per_person=2)
    running = ask(engine, "crowd", tokens=60)
    eventually(lambda: engine.stats().active_rows == 1)
    waiting = [ask(engine, "crowd") for _ in range(2)]
    with pytest.raises(TooManyWaiting, match=r"2 of your own requests are already waiting") as refusal:
        ask(engine, "crowd")
    assert isinstance(refusal.value, QueueFull)
    assert 1 <= refusal.value.retry_after <= 30
    other = ask(engine, "other")
    for generation in [running, *waiting, other]:
        assert generation.wait(20).finish_reason == "length"
    assert ask(engine, "crowd").wait(20).finish_reason == "length"


def test_a_pair_is_one_of_a_persons_waiting_requests(start_engine: StartEngine) -> None:
    engine = start_engine(max_batch=2, max_waiting_per_person=2)
    ask(engine, "crowd", tokens=60)
    eventually(lambda: engine.stats().active_rows == 1)
    for _ in range(2):
        engine.submit_together([request(asker="crowd", max_new_tokens=1)] * 2)
    assert engine.stats().queue_length == 4
    with pytest.raises(TooManyWaiting):
        ask(engine, "crowd")


def test_cancelled_requests_free_their_asker_s_places(start_engine: StartEngine) -> None:
    engine = start_engine(max_batch=1, max_waiting_per_person=1)
    ask(engine, "crowd", tokens=100)
    eventually(lambda: engine.stats().active_rows == 1)
    waiting = ask(engine, "crowd")
    waiting.cancel()
    assert waiting.wait(2).finish_reason == "stopped"
    assert not ask(engine, "crowd").is_done


def test_room_can_be_asked_for_beforehand(start_engine: StartEngine) -> None:
    engine = start_engine(max_batch=1, max_queue=2)
    ask(engine, "crowd", tokens=100)
    eventually(lambda: engine.stats().active_rows == 1)
    ask(engine, "crowd")
    engine.check_room("other", 1)
    with pytest.raises(QueueFull, match="1 answers are already waiting"):
        engine.check_room("other", 2)


def test_a_line_that_has_emptied_holds_no_version(start_engine: StartEngine, versions: Versions) -> None:
    models: list[weakref.ReferenceType[Any]] = []

    def remember(_: int, loaded: LoadedModel) -> None:
        models.append(weakref.ref(loaded.model))

    versions.prepare = remember
    engine = start_engine(max_batch=1)
    for generation in [ask(engine, f"person {number}") for number in range(4)]:
        generation.wait(20)
    engine.serve_version(2)
    gc.collect()
    eventually(lambda: models[0]() is None)
