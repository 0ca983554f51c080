"""The API on a real server: the loop's main path, and every refusal in one form with the fitting status."""

import json
from typing import Any

import httpx
import pytest

from tests.chat_app.conftest import RunningServer


def events_of(answer: httpx.Response) -> list[tuple[str, dict[str, Any]]]:
    """Read server-sent events."""
    blocks = [block.splitlines() for block in answer.text.split("\n\n") if block]
    return [(kind.removeprefix("event: "), json.loads(data.removeprefix("data: "))) for kind, data in blocks]


def error_of(answer: httpx.Response, status: int, code: str) -> dict[str, str]:
    """Check the form of an error and return it."""
    assert answer.status_code == status, answer.text
    error: dict[str, str] = answer.json()["error"]
    assert set(error) == {"code", "message", "remedy"}
    assert error["code"] == code
    assert error["message"]
    return error


def new_comparison(client: httpx.Client) -> int:
    return int(client.post("/api/comparisons", json={}).json()["id"])


def vote(client: httpx.Client, comparison_id: int, key: str | None, **body: Any) -> httpx.Response:
    headers = {} if key is None else {"Idempotency-Key": key}
    return client.post(f"/api/comparisons/{comparison_id}/vote", json=body, headers=headers)


def test_the_service_is_alive_and_ready(client: httpx.Client) -> None:
    assert client.get("/healthz").json() == {"status": "ok"}
    assert client.get("/readyz").json() == {"status": "ready", "version_id": 1}


def test_a_chat_streams_and_the_conversation_can_be_read(client: httpx.Client) -> None:
    events = events_of(client.post("/api/chat", json={"text": "Hello!"}))
    assert (events[0][0], events[-1][0]) == ("queued", "done")
    conversation = events[0][1]["conversation_id"]
    thread = client.get(f"/api/conversations/{conversation}").json()
    assert [turn["role"] for turn in thread["turns"]] == ["user", "assistant"]
    assert thread["turns"][1]["content"] == events[-1][1]["text"]
    assert thread["turns"][1]["version"] == "sft"
    again = events_of(client.post("/api/chat", json={"text": "And?", "conversation_id": conversation}))
    assert again[-1][0] == "done"
    assert client.get("/api/conversations").json()[0]["id"] == conversation
    assert client.delete(f"/api/conversations/{conversation}").status_code == 204
    error_of(client.get(f"/api/conversations/{conversation}"), 404, "not_found")


def test_an_answer_is_asked_of_a_version_and_after_examples(client: httpx.Client) -> None:
    asked = {"text": "Hello!", "version_id": 1, "examples": "en"}
    events = events_of(client.post("/api/chat", json=asked))
    answer = client.get(f"/api/conversations/{events[0][1]['conversation_id']}").json()["turns"][1]
    assert answer["version"] == "sft"
    assert 1 <= answer["example_exchanges"] <= 4  # as many as the small context takes
    error_of(client.post("/api/chat", json={"text": "Hi", "version_id": 99}), 404, "version_not_found")
    error_of(client.post("/api/chat", json={"text": "Hi", "examples": "de"}), 422, "invalid_request")


def test_a_comparison_is_blind_until_the_vote_and_a_retry_is_the_same_vote(client: httpx.Client) -> None:
    prompt = [{"role": "user", "content": "Hello!"}]
    opened = client.post("/api/comparisons", json={"prompt": prompt})
    assert opened.status_code == 201
    body = opened.json()
    assert body["prompt"] == prompt
    assert [shown["position"] for shown in body["completions"]] == [0, 1]
    assert [shown["version"] for shown in body["completions"]] == [None, None]
    first = vote(client, body["id"], "once", choice="right", seconds=1.5, comment="better")
    assert first.status_code == 200
    assert first.json()["versions"] == ["sft", "sft"]
    assert vote(client, body["id"], "once", choice="right").json() == first.json()
    seen = client.get(f"/api/comparisons/{body['id']}").json()
    assert (seen["verdict"], seen["completions"][0]["version"]) == ("right", "sft")


def test_three_answers_are_ranked(client: httpx.Client) -> None:
    opened = client.post("/api/comparisons", json={"k": 3}).json()
    assert vote(client, opened["id"], "ranked", ranks=[2, 1, 3]).json()["chosen_position"] == 1


def test_the_key_may_be_in_the_body(client: httpx.Client) -> None:
    answer = vote(client, new_comparison(client), None, choice="tie", idempotency_key="in the body")
    assert answer.json()["verdict"] == "tie"


@pytest.mark.parametrize(
    ("body", "code"),
    [
        ({"text": "  "}, "empty_message"),
        ({"text": "x" * 4001}, "message_too_long"),
        ({"text": "x " * 300}, "prompt_does_not_fit"),
        ({"text": 5}, "invalid_request"),
        ({}, "invalid_request"),
        ({"text": "Hi", "model": "other"}, "invalid_request"),
    ],
)
def test_a_bad_message_is_refused(client: httpx.Client, body: dict[str, Any], code: str) -> None:
    error_of(client.post("/api/chat", json=body), 422, code)


@pytest.mark.parametrize(
    ("body", "code"),
    [
        ({"k": 1}, "invalid_request"),
        ({"prompt": []}, "invalid_input"),
        ({"prompt": [{"role": "assistant", "content": "Hi"}]}, "invalid_input"),
        ({"prompt": [{"role": "tool", "content": "Hi"}]}, "invalid_request"),
        ({"prompt": [{"role": "user", "content": " "}]}, "empty_message"),
    ],
)
def test_a_bad_prompt_is_refused(client: httpx.Client, body: dict[str, Any], code: str) -> None:
    error_of(client.post("/api/comparisons", json=body), 422, code)


def test_a_bad_vote_is_refused(client: httpx.Client) -> None:
    comparison = new_comparison(client)
    error_of(vote(client, 9999, "k1", choice="left"), 404, "comparison_not_found")
    error_of(vote(client, comparison, None, choice="left"), 422, "invalid_input")
    error_of(vote(client, comparison, "k2", choice="both"), 422, "invalid_request")
    error_of(vote(client, comparison, "k3"), 422, "invalid_request")
    error_of(vote(client, comparison, "k4", ranks=[1, 3]), 422, "invalid_ranking")
    error_of(vote(client, comparison, "k5", ranks=[1]), 422, "invalid_ranking")
    error_of(vote(client, comparison, "x" * 81, choice="left"), 422, "invalid_answer")
    error_of(vote(client, 2**70, "k6", choice="left"), 422, "invalid_request")
    vote(client, comparison, "k7", choice="left")
    error_of(vote(client, new_comparison(client), "k7", choice="left"), 409, "idempotency_key_reused")
    assert client.get(f"/api/comparisons/{comparison}").json()["verdict"] == "left"


def test_too_few_votes_do_not_train_and_unknown_settings_are_named(client: httpx.Client) -> None:
    error = error_of(
        client.post("/api/retrainings", json={"settings": {"min_comparisons": 1000}}),
        409,
        "too_few_comparisons",
    )
    assert "1000" in error["message"]
    error_of(client.post("/api/retrainings", json={"preset": "huge"}), 422, "invalid_input")
    unknown = client.post("/api/retrainings", json={"settings": {"ppo": {"update": 3}}})
    assert "ppo.update" in error_of(unknown, 422, "invalid_input")["message"]


def test_a_retraining_is_queued_followed_and_cancelled(client: httpx.Client) -> None:
    for number in range(4):
        vote(client, new_comparison(client), f"for training {number}", choice="left")
    started = client.post("/api/retrainings", json={})
    assert started.status_code == 202
    job = started.json()["job_id"]
    assert started.headers["location"] == f"/api/retrainings/{job}"
    error_of(client.post("/api/retrainings", json={}), 409, "job_already_active")
    followed = client.get(f"/api/retrainings/{job}").json()
    assert (followed["job"]["state"], followed["config"]["ppo"]["updates"]) == ("queued", 2)
    assert followed["events"]
    last = followed["events"][-1]["id"]
    assert client.get(f"/api/retrainings/{job}", params={"since_event": last}).json()["events"] == []
    assert client.post(f"/api/retrainings/{job}/cancel").json()["state"] == "cancelled"
    error_of(client.post(f"/api/retrainings/{job}/cancel"), 409, "job_not_active")
    error_of(client.get("/api/retrainings/999"), 404, "job_not_found")
    assert [one["id"] for one in client.get("/api/retrainings").json()] == [job]


def test_versions_are_listed_and_guarded(client: httpx.Client) -> None:
    (version,) = client.get("/api/versions").json()
    assert (version["name"], version["kind"], version["state"]) == ("sft", "sft", "serving")
    assert client.get("/api/versions/1").json() == version
    error_of(client.post("/api/versions/1/promote", json={}), 409, "conflict")
    error_of(client.post("/api/versions/1/promote", json={"reason": " "}), 422, "invalid_input")
    error_of(client.post("/api/versions/99/promote", json={"reason": "why"}), 404, "version_not_found")
    error_of(client.post("/api/versions/roll-back"), 409, "nothing_before")


def test_an_unknown_path_and_a_wrong_method_have_the_same_form(client: httpx.Client) -> None:
    error_of(client.get("/api/nothing"), 404, "not_found")
    error_of(client.delete("/api/versions"), 405, "method_not_allowed")
    error_of(
        client.post("/api/chat", content=b"{", headers={"content-type": "application/json"}),
        422,
        "invalid_request",
    )


def test_guards_stand_before_the_routes(client: httpx.Client) -> None:
    error_of(client.get("/api/versions", headers={"host": "evil.com"}), 421, "unknown_host")
    foreign = {"origin": "http://evil.com"}
    error_of(client.post("/api/chat", json={"text": "Hi"}, headers=foreign), 403, "foreign_origin")
    error_of(client.post("/api/chat", content=b"x" * 1_048_577), 413, "body_too_large")
    assert client.get("/en/").headers["x-content-type-options"] == "nosniff"


def test_the_api_is_documented_with_its_errors(client: httpx.Client) -> None:
    paths = client.get("/openapi.json").json()["paths"]
    assert {
        "/api/chat",
        "/api/comparisons",
        "/api/comparisons/{comparison_id}/vote",
        "/api/retrainings",
    } <= set(paths)
    assert {"404", "409", "422"} <= set(paths["/api/comparisons/{comparison_id}/vote"]["post"]["responses"])


def test_a_lost_listener_stops_the_answer(server: RunningServer) -> None:
    with server.client() as client:
        with client.stream("POST", "/api/chat", json={"text": "Hello!"}) as answer:
            next(answer.iter_lines())
        assert client.get("/readyz").status_code == 200
