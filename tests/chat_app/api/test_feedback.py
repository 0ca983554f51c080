"""Votes by id on answers that a program got over /v1: they become what a page's vote becomes, and feed training."""

from pathlib import Path
from typing import Any

import httpx
import pytest

from db.tables import CompletionRequest, User
from feedback.dataset import freeze, read_snapshot
from tests.chat_app.api.test_api import error_of
from tests.chat_app.conftest import RunningServer

Answers = list[str]


def ask(client: httpx.Client, content: str = "Hello!", **fields: Any) -> Answers:
    """Ask over /v1 and return the ids of the answers."""
    body = {"model": "rapport", "messages": [{"role": "user", "content": content}], "max_tokens": 5, **fields}
    ids: Answers = client.post("/v1/chat/completions", json=body).json()["rapport"]["completion_ids"]
    return ids


def say(client: httpx.Client, key: str | None, **body: Any) -> httpx.Response:
    headers = {} if key is None else {"Idempotency-Key": key}
    return client.post("/api/feedback", json=body, headers=headers)


def votes(answer: httpx.Response) -> list[dict[str, Any]]:
    assert answer.status_code == 200, answer.text
    found: list[dict[str, Any]] = answer.json()["votes"]
    return found


def test_a_preferred_answer_is_a_vote_that_training_reads(
    client: httpx.Client, server: RunningServer, tmp_path: Path
) -> None:
    first, second = ask(client, "What is good?", n=2)
    (vote,) = votes(say(client, "good", preferred=second, rejected=[first], comment="kinder", seconds=2.5))
    assert (vote["verdict"], vote["versions"]) == ("right", ["sft", "sft"])
    with server.container.database.write() as session:
        snapshot = freeze(session=session, folder=tmp_path)
        path, sha256 = Path(snapshot.path), snapshot.sha256
    (record,) = [one for one in read_snapshot(path, sha256) if one.preference_id == vote["preference_id"]]
    assert [message.content for message in record.prompt] == ["What is good?"]
    assert record.ranks == (2, 1)
    shown = client.get(f"/api/comparisons/{vote['comparison_id']}").json()
    assert [one["text"] for one in shown["completions"]] == list(record.completions)
    assert shown["source"] == "api"


def test_answers_stand_in_the_order_in_which_they_were_given_whichever_is_preferred(
    client: httpx.Client,
) -> None:
    earlier, later = ask(client, "One"), ask(client, "One")
    assert votes(say(client, "late", preferred=later[0], rejected=earlier))[0]["verdict"] == "right"
    assert votes(say(client, "early", preferred=earlier[0], rejected=later))[0]["verdict"] == "left"


def test_nothing_is_said_of_the_order_of_the_rejected(client: httpx.Client) -> None:
    ids = ask(client, "Three", n=3)
    made = votes(say(client, "best of three", preferred=ids[1], rejected=[ids[2], ids[0]]))
    assert [vote["verdict"] for vote in made] == ["right", "left"]
    assert votes(say(client, "best of three", preferred=ids[1], rejected=[ids[2], ids[0]])) == made


def test_a_ranking_and_a_tie_are_stored(client: httpx.Client, server: RunningServer) -> None:
    ids = ask(client, "Rank", n=3)
    (ranked,) = votes(say(client, "ranked", ranking=[[ids[2]], [ids[0], ids[1]]]))
    assert (ranked["verdict"], ranked["chosen_position"]) == ("ranked", 2)
    (tied,) = votes(say(client, "tied", ranking=[ids[:2]]))
    assert tied["verdict"] == "tie"
    (bad,) = votes(say(client, "bad", ranking=[ids[1:]], is_both_bad=True))
    assert bad["verdict"] == "both_bad"


def test_a_retry_is_the_same_vote_and_a_new_key_changes_it(client: httpx.Client) -> None:
    first, second = ask(client, "Again", n=2)
    (vote,) = votes(say(client, "once", preferred=first, rejected=[second]))
    assert votes(say(client, "once", preferred=first, rejected=[second])) == [vote]
    (changed,) = votes(say(client, "changed", preferred=second, rejected=[first]))
    assert (changed["comparison_id"], changed["verdict"]) == (vote["comparison_id"], "right")
    error_of(
        say(client, "once", preferred=ask(client)[0], rejected=ask(client)), 409, "idempotency_key_reused"
    )


def test_an_only_answer_is_known_by_its_responses_id(client: httpx.Client) -> None:
    one, other = ask(client, "Only"), ask(client, "Only")
    bare = one[0].removesuffix("-0")
    assert votes(say(client, "bare", preferred=bare, rejected=other))[0]["verdict"] == "left"
    two = ask(client, "Only", n=2)
    error = error_of(
        say(client, "vague", preferred=two[0].removesuffix("-0"), rejected=one), 422, "invalid_input"
    )
    assert two[0] in error["remedy"]


@pytest.mark.parametrize("position", ["-1", "-2", "-x", "--0", "-0-0", "-٣", "-99999999999999999999"])
def test_an_answer_that_is_not_there_is_not_found(client: httpx.Client, position: str) -> None:
    only = ask(client)
    name = only[0].removesuffix("-0") + position
    error_of(say(client, "nothing", preferred=name, rejected=only), 404, "not_found")


def test_answers_of_another_person_are_not_found(client: httpx.Client, server: RunningServer) -> None:
    mine, theirs = ask(client, "Whose?"), ask(client, "Whose?")

    with server.container.database.write() as session:
        other = User(name="somebody else")
        session.add(other)
        session.flush()
        public_id = theirs[0].removesuffix("-0")
        session.query(CompletionRequest).filter_by(public_id=public_id).one().user_id = other.id
    error_of(say(client, "theirs", preferred=mine[0], rejected=theirs), 404, "not_found")


def test_what_cannot_be_compared_is_refused(client: httpx.Client) -> None:
    one, other = ask(client, "This"), ask(client, "That")
    error = error_of(say(client, "k1", preferred=one[0], rejected=other), 422, "invalid_input")
    assert "different prompts" in error["message"]
    error_of(say(client, "k2", preferred=one[0], rejected=one), 422, "invalid_input")
    error_of(say(client, "k3", ranking=[one]), 422, "invalid_comparison")
    error_of(say(client, "k4", ranking=[ask(client, "This"), one], is_both_bad=True), 422, "invalid_ranking")


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"preferred": "chatcmpl-1-0"},
        {"rejected": ["chatcmpl-1-0"]},
        {"preferred": "chatcmpl-1-0", "rejected": []},
        {"preferred": "chatcmpl-1-0", "rejected": ["chatcmpl-1-1"], "ranking": [["chatcmpl-1-0"]]},
        {"preferred": "chatcmpl-1-0", "rejected": ["chatcmpl-1-1"], "is_both_bad": True},
        {"ranking": []},
        {"ranking": [[]]},
        {"preferred": 5, "rejected": ["chatcmpl-1-1"]},
        {"thumb": "up"},
    ],
)
def test_feedback_in_another_form_is_refused(client: httpx.Client, body: dict[str, Any]) -> None:
    error_of(say(client, "form", **body), 422, "invalid_request")


def test_feedback_without_a_key_is_refused(client: httpx.Client) -> None:
    error_of(say(client, None, preferred="chatcmpl-1-0", rejected=["chatcmpl-1-1"]), 422, "invalid_input")
    first, second = ask(client, "Key", n=2)
    assert votes(say(client, None, preferred=first, rejected=[second], idempotency_key="in the body"))


def test_an_answer_that_was_stopped_is_not_compared(client: httpx.Client, server: RunningServer) -> None:
    first, second = ask(client, "Stopped", n=2)

    with server.container.database.write() as session:
        public_id = first.removesuffix("-0")
        request = session.query(CompletionRequest).filter_by(public_id=public_id).one()
        request.answers[1].completion.finish_reason = "stopped"
    error = error_of(say(client, "half", preferred=first, rejected=[second]), 422, "invalid_input")
    assert f'"{second}" was stopped' in error["message"]
