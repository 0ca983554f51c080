"""A Gradio page without a browser: gets the document, joins the queue, reads the stream of events, applies them.

The protocol is "sse_v3", that of Gradio's own script: an event is a POST to `queue/join` with the values of its
inputs; all events of a page come back on one stream, `queue/data`; the first output of an event is whole, each later
one says what has changed; the stream ends when no event of the page is running.
"""

from __future__ import annotations

import json
import re
import secrets
from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import Any, Self

import httpx
from gradio_client.utils import apply_diff  # type: ignore[import-untyped]

_CONFIG = re.compile(r"window\.gradio_config = (\{.*?\});?\s*</script>", re.DOTALL)
_NO_LIMIT = httpx.Timeout(
    30, read=None
)  # a stream is silent while an answer waits; its reader has the patience


class PageFailed(Exception):
    """The page got something else than what its script expects."""


@dataclass(slots=True)
class _Running:
    """An event under way: the components it fills, and its outputs so far, to which the next differ."""

    name: str
    targets: list[int]
    outputs: list[Any] = field(default_factory=list)


class GradioPage:
    """One open page: its components' values by id, and its events by the name of their handler."""

    def __init__(self, client: httpx.AsyncClient, config: dict[str, Any], query: str) -> None:
        if config["protocol"] != "sse_v3":
            raise PageFailed(f"The page speaks {config['protocol']}, this reader only sse_v3.")
        self._client = client
        self._api = httpx.URL(config["root"]).path + config["api_prefix"]
        self._query = query
        self._session = secrets.token_hex(6)
        self._events = {event["api_name"]: event for event in config["dependencies"] if event["backend_fn"]}
        self._running: dict[str, _Running] = {}
        self.values: dict[int, Any] = {
            part["id"]: part["props"].get("value") for part in config["components"]
        }

    @classmethod
    async def open(cls, client: httpx.AsyncClient, path: str, query: str = "") -> Self:
        """Get the document, as a visit does; the browser has the scripts and styles in its cache."""
        answer = await client.get(path, params=httpx.QueryParams(query))
        found = _CONFIG.search(_checked(answer).text)
        if found is None:
            raise PageFailed(f"{path} is no page of Gradio: {answer.text[:200]!r}")
        return cls(client, json.loads(found.group(1)), query)

    def inputs(self, event: str) -> list[int]:
        """Ids of the components that an event sends."""
        return list(self._events[event]["inputs"])

    def outputs(self, event: str) -> list[int]:
        """Ids of the components that an event fills."""
        return list(self._events[event]["outputs"])

    async def fire(self, event: str, data: dict[str, Any] | None = None) -> str:
        """Join the queue and return the event's id; what comes of it is on the stream."""
        handler = self._events[event]
        body = {
            "data": [self.values[part] for part in handler["inputs"]],
            "event_data": data,
            "fn_index": handler["id"],
            "trigger_id": handler["targets"][0][0],
            "session_hash": self._session,
        }
        answer = await self._client.post(f"{self._api}/queue/join?{self._query}", json=body)
        event_id = str(_checked(answer).json()["event_id"])
        self._running[event_id] = _Running(event, handler["outputs"])
        return event_id

    async def run(self, event: str, data: dict[str, Any] | None = None) -> AsyncGenerator[None, None]:
        """Fire an event and follow the stream until all of the page's events are done; yields after each change.

        Closing the generator closes the connection, as closing the tab does. Raises PageFailed.
        """
        await self.fire(event, data)
        while self._running:  # one fired while the stream was closing comes on the next stream
            async with aclosing(self._stream()) as messages:
                async for message in messages:
                    self._take(message)
                    yield

    async def _stream(self) -> AsyncGenerator[dict[str, Any], None]:
        parameters = {"session_hash": self._session}
        address = f"{self._api}/queue/data"
        async with self._client.stream("GET", address, params=parameters, timeout=_NO_LIMIT) as answer:
            _checked(answer)
            async for line in answer.aiter_lines():
                if not line.startswith("data:"):
                    continue
                message: dict[str, Any] = json.loads(line[5:])
                if message["msg"] == "close_stream":
                    return
                yield message
        raise PageFailed("The stream of events ended in the middle.")

    def _take(self, message: dict[str, Any]) -> None:
        kind, event_id = message["msg"], message.get("event_id")
        if kind == "unexpected_error":
            raise PageFailed(f"The stream of events broke: {message['message']}")
        if kind not in ("process_generating", "process_completed") or event_id not in self._running:
            return
        event = self._running[event_id]
        if not message["success"]:
            raise PageFailed(f'The handler "{event.name}" failed: {message["output"]}')
        outputs = message["output"]["data"]
        if kind == "process_completed":
            del self._running[event_id]  # the last output is whole again
        else:
            outputs = event.outputs = _changed(event.outputs, outputs)
        for part, value in zip(event.targets, outputs, strict=True):
            self._fill(part, value)

    def _fill(self, part: int, value: Any) -> None:
        if not isinstance(value, dict) or value.get("__type__") != "update":
            self.values[part] = value
        elif "value" in value:
            self.values[part] = value["value"]


def _changed(before: list[Any], output: list[Any]) -> list[Any]:
    """The outputs of an event: whole the first time, afterwards as differences to those before."""
    if not before:
        return output
    return [apply_diff(old, change) if change else old for old, change in zip(before, output, strict=True)]


def _checked(answer: httpx.Response) -> httpx.Response:
    if answer.status_code != httpx.codes.OK:
        raise PageFailed(f"{answer.request.method} {answer.request.url} was answered {answer.status_code}.")
    return answer
