"""What /v1 refuses: always in OpenAI's form, with the fitting status, in words that name the field."""

import json
import threading
from collections.abc import Iterator
from typing import Any

import httpx
import openai
import pytest
from openai import OpenAI

from tests.chat_app.api.openai.conftest import HELLO, ask, refused, slowed
from tests.chat_app.conftest import RunningServer
from tests.chat_app.inference.conftest import eventually

GOOD: dict[str, Any] = {"model": "rapport", "messages": HELLO, "max_tokens": 1}
TOOL = {"type": "function", "function": {"name": "clock"}}
IMAGE = {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}}


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("tools", [TOOL]),
        ("tool_choice", "required"),
        ("functions", [{"name": "clock"}]),
        ("response_format", {"type": "json_object"}),
        ("logit_bias", {"50": 5}),
        ("frequency_penalty", 0.5),
        ("presence_penalty", -1),
        ("modalities", ["text", "audio"]),
        ("audio", {"voice": "alloy", "format": "wav"}),
        ("reasoning_effort", "high"),
        ("store", False),
        ("metadata", {"a": "b"}),
        ("top_logprobs", 3),
        ("best_of", 4),
        ("frequency_penalty", False),
    ],
)
def test_what_is_not_supported_is_refused_by_name(client: httpx.Client, field: str, value: Any) -> None:
    error = refused(client, 400, GOOD | {"logprobs": True, field: value})
    assert (error["param"], error["code"]) == (field, "unsupported_parameter")
    assert error["type"] == "invalid_request_error"
    assert error["message"].startswith(f"{field} is not supported: ")


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("max_tokens", 0),
        ("max_tokens", -5),
        ("max_tokens", 10**9),
        ("max_tokens", 10**30),
        ("max_tokens", "7"),
        ("max_tokens", 1.5),
        ("max_tokens", True),
        ("max_completion_tokens", -1),
        ("temperature", -0.1),
        ("temperature", 2.1),
        ("temperature", float("nan")),
        ("temperature", "hot"),
        ("top_p", 0),
        ("top_p", 1.1),
        ("n", 0),
        ("n", 1000),
        ("seed", 2**63),
        ("seed", "one"),
        ("stop", ""),
        ("stop", ["a", ""]),
        ("stop", ["a", "b", "c", "d", "e"]),
        ("stop", 5),
        ("stop", "x" * 201),
        ("stream", "yes"),
        ("logprobs", 5),
        ("top_logprobs", 21),
        ("stream_options", {"include_usage": True}),
        ("model", None),
        ("model", 3),
        ("messages", "Hello!"),
        ("messages", []),
        ("messages", None),
    ],
)
def test_a_value_that_cannot_be_used_is_refused_by_name(client: httpx.Client, field: str, value: Any) -> None:
    error = refused(client, 400, json.dumps(GOOD | {field: value}).encode())
    assert (error["param"], error["code"]) == (field, "invalid_value")
    assert error["message"].startswith(field)


@pytest.mark.parametrize(
    ("message", "param"),
    [
        ({"role": "wizard", "content": "Hi"}, "messages[0].role"),
        ({"role": "tool", "content": "Hi", "tool_call_id": "1"}, "messages[0].role"),
        ({"content": "Hi"}, "messages[0].role"),
        ({"role": ["user"], "content": "Hi"}, "messages[0].role"),
        ({"role": "user"}, "messages[0].content"),
        ({"role": "user", "content": None}, "messages[0].content"),
        ({"role": "user", "content": " "}, "messages[0].content"),
        ({"role": "user", "content": []}, "messages[0].content"),
        ({"role": "user", "content": {"text": "Hi"}}, "messages[0].content"),
        ({"role": "user", "content": [{"type": "text", "text": "Hi"}, IMAGE]}, "messages[0].content[1]"),
        ({"role": "user", "content": [{"type": "input_audio"}]}, "messages[0].content[0]"),
        ({"role": "user", "content": ["Hi"]}, "messages[0].content[0]"),
        ({"role": "user", "content": [{"type": "text", "text": 5}]}, "messages[0].content[0].text"),
        ({"role": "user", "content": "Hi", "name": "Ada"}, "messages[0].name"),
        ({"role": "assistant", "content": "Hi", "tool_calls": [TOOL]}, "messages[0].tool_calls"),
        ("Hi", "messages[0]"),
        ({"role": "assistant", "content": "Hi"}, "messages"),
        ({"role": "system", "content": "Be kind."}, "messages"),
        ({"role": "user", "content": "a \x00 b"}, "messages"),
        ({"role": "user", "content": "x" * 4001}, "messages"),
    ],
)
def test_a_message_that_cannot_be_read_is_refused_by_name(
    client: httpx.Client, message: Any, param: str
) -> None:
    error = refused(client, 400, GOOD | {"messages": [message]})
    assert (error["param"], error["type"]) == (param, "invalid_request_error")


def test_a_message_over_the_whole_context_is_refused(client: httpx.Client) -> None:
    long = [{"role": "user", "content": "x " * 300}]
    error = refused(client, 400, GOOD | {"messages": long})
    assert (error["param"], error["code"]) == ("messages", "context_length_exceeded")


def test_two_different_limits_are_refused(client: httpx.Client) -> None:
    assert refused(client, 400, GOOD | {"max_completion_tokens": 2})["param"] == "max_tokens"
    answer = client.post("/v1/chat/completions", json=GOOD | {"max_completion_tokens": 1})
    assert answer.status_code == 200


def test_more_answers_than_start_together_are_refused(client: httpx.Client) -> None:
    assert "fit into one batch" in refused(client, 400, GOOD | {"n": 5})["message"]


@pytest.mark.parametrize("model", ["gpt-4o", "", "../sft", "x" * 500, "1"])
def test_an_unknown_model_is_not_found(client: httpx.Client, model: str) -> None:
    error = refused(client, 404, GOOD | {"model": model})
    assert (error["param"], error["code"]) == ("model", "model_not_found")


@pytest.mark.parametrize(
    "body", [b"{", b"", b"[" * 5000, b"\xff\xfe", b"null", b"[]", b'"text"', b'{"model": "rapport"', b"NaN"]
)
def test_a_body_that_is_no_json_object_is_refused(client: httpx.Client, body: bytes) -> None:
    assert refused(client, 400, body)["type"] == "invalid_request_error"


def test_a_body_of_ten_megabytes_is_refused_before_it_is_read(client: httpx.Client) -> None:
    error = refused(client, 413, b"x" * 10_000_000)
    assert (error["type"], error["code"]) == ("invalid_request_error", "body_too_large")


def test_the_guards_stand_before_it_and_refuse_in_its_form(client: httpx.Client) -> None:
    assert refused(client, 421, GOOD, host="evil.com")["code"] == "unknown_host"
    error = refused(client, 403, GOOD, origin="http://evil.com")
    assert (error["type"], error["code"]) == ("permission_error", "foreign_origin")
    assert refused(client, 403, GOOD, **{"x-forwarded-for": "1.2.3.4"})["code"] == "forwarded"


def test_an_unknown_path_and_a_wrong_method_have_the_same_form(client: httpx.Client) -> None:
    unknown, wrong = client.get("/v1/embeddings"), client.get("/v1/chat/completions")
    assert (unknown.status_code, wrong.status_code) == (404, 405)
    for answer in (unknown, wrong):
        assert set(answer.json()["error"]) == {"message", "type", "param", "code"}


def test_the_client_meets_its_own_kinds_of_errors(openai_client: OpenAI) -> None:
    with pytest.raises(openai.BadRequestError) as bad:
        ask(openai_client, tools=[TOOL])
    assert (bad.value.param, bad.value.code) == ("tools", "unsupported_parameter")
    with pytest.raises(openai.NotFoundError):
        ask(openai_client, model="gpt-4o")


@pytest.fixture
def full(server: RunningServer) -> Iterator[None]:
    """Four answers run and four wait, which is all the server takes."""
    body = GOOD | {"n": 4, "max_tokens": 100, "temperature": 0, "stream": True}
    engine = server.container.engine
    leave = threading.Event()

    def hold() -> None:
        with server.client() as client, client.stream("POST", "/v1/chat/completions", json=body):
            leave.wait(60)

    holders = [threading.Thread(target=hold) for _ in range(2)]
    with slowed(server, 0.3):
        for holder in holders:
            holder.start()
        try:
            eventually(lambda: (engine.stats().active_rows, engine.stats().queue_length) == (4, 4), 20)
            yield
        finally:
            leave.set()
            for holder in holders:
                holder.join()
    eventually(lambda: engine.stats().active_rows == 0, 20)


@pytest.mark.usefixtures("full")
def test_a_full_queue_says_when_to_come_back(openai_client: OpenAI, client: httpx.Client) -> None:
    with pytest.raises(openai.RateLimitError) as refusal:
        ask(openai_client)
    assert refusal.value.code == "rate_limit_exceeded"
    assert 1 <= int(refusal.value.response.headers["retry-after"]) <= 30
    assert refused(client, 429, GOOD | {"stream": True})["type"] == "rate_limit_error"
