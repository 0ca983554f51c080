import asyncio
import itertools
import threading

import pytest

from chat_app.inference.errors import GenerationFailed
from chat_app.inference.request import FinishedGeneration
from tests.chat_app.inference.conftest import StartEngine, Versions, eventually, request


def test_events_grow_to_the_whole_text(start_engine: StartEngine, versions: Versions) -> None:
    versions.step_seconds, versions.is_endless = 0.005, True
    engine = start_engine()

    async def read() -> tuple[list[str], FinishedGeneration]:
        generation = engine.submit(request(max_new_tokens=40))
        texts = [event.text async for event in generation.events()]
        return texts, await generation.result()

    texts, finished = asyncio.run(read())
    assert texts[-1] == finished.text
    assert len(texts) > 5
    assert all(finished.text.startswith(text) for text in texts)
    assert all(len(before) < len(after) for before, after in itertools.pairwise(texts))


def test_a_slow_reader_sees_the_latest_text_and_misses_nothing_at_the_end(
    start_engine: StartEngine, versions: Versions
) -> None:
    versions.step_seconds, versions.is_endless = 0.002, True
    engine = start_engine()

    async def read() -> tuple[list[str], FinishedGeneration]:
        generation = engine.submit(request(max_new_tokens=80))
        texts = []
        async for event in generation.events():
            texts.append(event.text)
            await asyncio.sleep(0.1)
        return texts, await generation.result()

    texts, finished = asyncio.run(read())
    assert texts[-1] == finished.text
    assert len(texts) < 20


def test_a_reader_that_goes_away_cancels_the_answer(start_engine: StartEngine, versions: Versions) -> None:
    versions.step_seconds, versions.is_endless = 0.01, True
    engine = start_engine()

    async def leave_early() -> FinishedGeneration:
        generation = engine.submit(request(max_new_tokens=100))
        events = generation.events()
        await anext(events)
        await events.aclose()
        return await generation.result()

    finished = asyncio.run(leave_early())
    assert finished.finish_reason == "stopped"
    assert len(finished.token_ids) < 100
    assert engine.stats().active_rows == 0


def test_a_cancelled_wait_cancels_the_answer(start_engine: StartEngine, versions: Versions) -> None:
    versions.step_seconds, versions.is_endless = 0.01, True
    engine = start_engine()

    async def give_up() -> None:
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(engine.submit(request(max_new_tokens=100)).result(), timeout=0.1)

    asyncio.run(give_up())
    eventually(lambda: engine.stats().active_rows == 0, seconds=0.5)


def test_an_event_loop_that_is_gone_cancels_the_answer(start_engine: StartEngine, versions: Versions) -> None:
    versions.step_seconds, versions.is_endless = 0.01, True
    engine = start_engine()
    loop = asyncio.new_event_loop()
    generation = engine.submit(request(max_new_tokens=100))
    events = generation.events()
    loop.run_until_complete(anext(events))
    loop.close()
    assert generation.wait(1).finish_reason == "stopped"


def test_readers_on_two_event_loops_and_a_thread_see_the_same_answer(
    start_engine: StartEngine, versions: Versions
) -> None:
    versions.step_seconds, versions.is_endless = 0.005, True
    generation = start_engine().submit(request(max_new_tokens=40))
    last_texts: list[str] = []

    async def read() -> None:
        texts = [event.text async for event in generation.events()]
        last_texts.append(texts[-1])

    threads = [threading.Thread(target=lambda: asyncio.run(read())) for _ in range(2)]
    for thread in threads:
        thread.start()
    finished = generation.wait(10)
    for thread in threads:
        thread.join()
    assert last_texts == [finished.text] * 2


def test_a_failure_reaches_every_kind_of_reader(start_engine: StartEngine, versions: Versions) -> None:
    engine = start_engine()
    versions.folders.pop(2)

    async def read() -> None:
        generation = engine.submit(request(version_id=2))
        with pytest.raises(GenerationFailed, match="Version 2 cannot be loaded"):
            async for _ in generation.events():
                pass
        with pytest.raises(GenerationFailed, match="Version 2 cannot be loaded"):
            await generation.result()
        with pytest.raises(GenerationFailed, match="Version 2 cannot be loaded"):
            generation.wait(0)

    asyncio.run(read())


def test_waiting_for_too_short_a_time_leaves_the_answer_running(
    start_engine: StartEngine, versions: Versions
) -> None:
    versions.step_seconds, versions.is_endless = 0.01, True
    generation = start_engine().submit(request(max_new_tokens=20))
    with pytest.raises(TimeoutError, match="not finished within 0 seconds"):
        generation.wait(0)
    assert generation.wait(10).finish_reason == "length"
