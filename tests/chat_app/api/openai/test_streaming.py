"""Streams over /v1: the pieces are the answer, never part of a stop string, and a client that goes frees its rows."""

import json
import socket
import threading
from typing import Any

import httpx
from openai import OpenAI

from chat_app.api.openai.response import Heading
from chat_app.api.openai.streaming import stream
from chat_app.services.completions import CompletionWish
from tests.chat_app.api.openai.conftest import HELLO, ask, slowed, stored
from tests.chat_app.conftest import RunningServer, run
from tests.chat_app.inference.conftest import eventually


def contents(chunks: list[Any], index: int = 0) -> list[str]:
    """The pieces of text of one choice."""
    choices = [choice for chunk in chunks for choice in chunk.choices]
    return [choice.delta.content or "" for choice in choices if choice.index == index]


def test_the_pieces_of_a_stream_are_the_answer(openai_client: OpenAI, server: RunningServer) -> None:
    whole = ask(openai_client, max_tokens=40).choices[0].message.content
    with slowed(server, 0.002):
        chunks = list(ask(openai_client, max_tokens=40, stream=True))
    assert "".join(contents(chunks)) == whole
    assert len([piece for piece in contents(chunks) if piece]) > 5
    assert chunks[0].choices[0].delta.role == "assistant"
    assert [chunk.choices[0].finish_reason for chunk in chunks[-2:]] == [None, "length"]
    assert {chunk.id for chunk in chunks} == {chunks[0].id}
    assert {(chunk.object, chunk.model) for chunk in chunks} == {("chat.completion.chunk", "sft")}
    assert chunks[-1].rapport == {"completion_ids": [f"{chunks[0].id}-0"], "dropped_messages": 0}
    assert stored(server, chunks[0].id)[0].text == whole


def test_a_stream_is_server_sent_events_and_ends_with_done(server: RunningServer) -> None:
    body = {"model": "rapport", "messages": HELLO, "stream": True, "max_tokens": 3}
    with server.client() as client:
        answer = client.post("/v1/chat/completions", json=body)
    assert answer.headers["content-type"].startswith("text/event-stream")
    events = answer.text.split("\n\n")
    assert events[-2:] == ["data: [DONE]", ""]
    for event in events[:-2]:
        assert json.loads(event.removeprefix("data: "))["object"] == "chat.completion.chunk"


def test_several_choices_stream_side_by_side_and_usage_comes_last(openai_client: OpenAI) -> None:
    wish: dict[str, Any] = {"n": 3, "seed": 8, "temperature": 1, "max_tokens": 10}
    together = ask(openai_client, **wish)
    chunks = list(ask(openai_client, stream=True, stream_options={"include_usage": True}, **wish))
    for choice in together.choices:
        assert "".join(contents(chunks, choice.index)) == choice.message.content
    assert (chunks[-1].choices, chunks[-1].usage) == ([], together.usage)
    assert [chunk.usage for chunk in chunks[:-1]] == [None] * (len(chunks) - 1)


def test_a_stream_never_shows_part_of_a_stop_string(openai_client: OpenAI, server: RunningServer) -> None:
    whole = ask(openai_client, max_tokens=60).choices[0].message.content
    stop = whole[12:20]
    kept = whole[: whole.index(stop)]
    with slowed(server, 0.002):
        chunks = list(ask(openai_client, max_tokens=60, stream=True, stop=[stop], logprobs=True))
    assert "".join(contents(chunks)) == kept
    assert chunks[-1].choices[0].finish_reason == "stop"
    scored = [choice.logprobs for chunk in chunks for choice in chunk.choices if choice.logprobs]
    assert "".join(token.token for scores in scored for token in scores.content) == kept


def test_the_beginning_of_a_stop_string_that_does_not_come_is_shown_in_the_end(openai_client: OpenAI) -> None:
    whole = ask(openai_client, max_tokens=20).choices[0].message.content
    chunks = list(ask(openai_client, max_tokens=20, stream=True, stop=whole[-3:] + "never"))
    assert "".join(contents(chunks)) == whole


def test_a_streams_log_probabilities_are_those_of_the_whole(openai_client: OpenAI) -> None:
    whole = ask(openai_client, max_tokens=30, logprobs=True).choices[0].logprobs.content
    chunks = ask(openai_client, max_tokens=30, logprobs=True, stream=True)
    pieces = [choice.logprobs for chunk in chunks for choice in chunk.choices if choice.logprobs]
    assert [token for piece in pieces for token in piece.content] == whole


def test_a_client_that_goes_in_mid_stream_frees_its_rows(
    openai_client: OpenAI, server: RunningServer
) -> None:
    engine = server.container.engine
    with slowed(server, 0.1):
        chunks = ask(openai_client, max_tokens=100, stream=True, n=2)
        first = [next(chunks) for _ in range(5)][-1]
        assert engine.stats().active_rows == 2
        chunks.close()
        eventually(lambda: engine.stats().active_rows == 0, seconds=4)
        eventually(lambda: len(stored(server, first.id)) == 2)
    assert {one.finish_reason for one in stored(server, first.id)} == {"stopped"}


def test_a_client_that_goes_before_the_first_word_frees_its_rows(server: RunningServer) -> None:
    services = server.container.services

    async def go_at_once() -> list[bool]:
        wish = CompletionWish(messages=HELLO, count=2, decoding={"max_new_tokens": 100})
        answers = await services.completions.begin(services.you, wish)
        heading = Heading(answers.public_id, answers.version_name, created=0)
        events = stream(answers, heading, with_logprobs=False, with_usage=False)
        await anext(events)
        await events.aclose()
        cancelled = [generation.is_cancelled for generation in answers.generations]
        await answers.finished()
        return cancelled

    with slowed(server, 0.02):
        assert run(go_at_once) == [True, True]


def test_a_client_that_does_not_wait_for_a_whole_answer_frees_its_row(server: RunningServer) -> None:
    engine = server.container.engine
    body = json.dumps({"model": "rapport", "messages": HELLO, "max_tokens": 100, "temperature": 0}).encode()
    head = f"POST /v1/chat/completions HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: {len(body)}\r\n"
    address = httpx.URL(server.url)
    with slowed(server, 0.1):
        with socket.create_connection((address.host, address.port or 0)) as connection:
            connection.sendall(head.encode() + b"Content-Type: application/json\r\n\r\n" + body)
            eventually(lambda: engine.stats().active_rows == 1)
        eventually(lambda: engine.stats().active_rows == 0, seconds=4)


def test_a_slow_reader_gets_the_whole_answer_and_holds_nobody_up(server: RunningServer) -> None:
    body = {"model": "rapport", "messages": HELLO, "max_tokens": 100, "temperature": 0, "stream": True}
    with server.client() as client, client.stream("POST", "/v1/chat/completions", json=body) as answer:
        eventually(lambda: server.container.engine.stats().active_rows == 0)
        lines = list(answer.iter_lines())
    assert lines[-2] == "data: [DONE]"


def test_a_failure_in_mid_stream_is_told_in_the_stream(openai_client: OpenAI, server: RunningServer) -> None:
    serving: Any = server.container.engine._shelf.serving
    failing = threading.Event()

    def step() -> Any:
        if failing.is_set():
            raise RuntimeError("broken on purpose")
        return type(batch).step(batch)

    batch = serving.result().batch
    batch.step = step
    body = {"model": "rapport", "messages": HELLO, "max_tokens": 100, "stream": True}
    with (
        slowed(server, 0.02),
        server.client() as client,
        client.stream("POST", "/v1/chat/completions", json=body) as answer,
    ):
        lines = answer.iter_lines()
        next(lines)
        failing.set()
        last = [line for line in lines if line][-1]
    error = json.loads(last.removeprefix("data: "))["error"]
    assert (error["type"], error["code"]) == ("server_error", "unavailable")
    assert set(error) == {"message", "type", "param", "code"}
    assert ask(openai_client, max_tokens=2).choices[0].message.content  # the service goes on
