"""Answers over /v1 by the real client of OpenAI's API: what comes, what it says of itself, and what is kept of it."""

from pathlib import Path

import pytest
import torch
from openai import NotFoundError, OpenAI

from db.tables import CompletionRequest
from tests.chat_app.api.openai.conftest import HELLO, ask, stored
from tests.chat_app.conftest import RunningServer
from training.chat_format import ChatFormat
from training.loading import load_language_model


def test_the_models_are_listed_and_the_served_one_has_a_name_of_its_own(openai_client: OpenAI) -> None:
    assert [model.id for model in openai_client.models.list()] == ["rapport", "sft"]
    model = openai_client.models.retrieve("sft")
    assert (model.id, model.object, model.owned_by) == ("sft", "model", "rapport")
    with pytest.raises(NotFoundError) as refusal:
        openai_client.models.retrieve("org/other")
    assert refusal.value.code == "model_not_found"


def test_an_answer_names_its_version_its_tokens_and_why_it_ended(openai_client: OpenAI) -> None:
    answer = ask(openai_client, max_tokens=7)
    assert (answer.object, answer.model) == ("chat.completion", "sft")
    assert answer.choices[0].message.role == "assistant"
    assert answer.choices[0].message.content
    assert answer.choices[0].finish_reason == "length"
    assert answer.usage.completion_tokens == 7
    assert answer.usage.total_tokens == answer.usage.prompt_tokens + 7
    assert answer.rapport == {"completion_ids": [f"{answer.id}-0"], "dropped_messages": 0}


def test_the_prompts_tokens_are_counted(openai_client: OpenAI, steady_model: Path) -> None:
    prompt = ChatFormat.from_folder(steady_model).prompt_ids(HELLO)
    assert ask(openai_client, max_tokens=1).usage.prompt_tokens == len(prompt)


def test_an_answer_is_kept_with_its_prompt_and_how_it_was_made(
    openai_client: OpenAI, server: RunningServer
) -> None:
    answer = ask(openai_client, max_completion_tokens=5, temperature=0.5, top_p=0.8, seed=11, n=2)
    first, second = stored(server, answer.id)
    assert (first.text, first.finish_reason) == (answer.choices[0].message.content, "length")
    assert (len(first.token_ids), first.version_id) == (5, 1)
    assert (first.seed, second.seed) == (11, 12)
    assert (first.decoding["temperature"], first.decoding["top_p"]) == (0.5, 0.8)
    assert first.decoding["max_new_tokens"] == 5
    with server.container.database.read() as session:
        request = session.query(CompletionRequest).filter_by(public_id=answer.id).one()
        assert request.prompt == HELLO


def test_what_is_left_out_is_as_in_the_chat(openai_client: OpenAI, server: RunningServer) -> None:
    answer = openai_client.chat.completions.create(model="rapport", messages=HELLO)  # type: ignore[arg-type]
    (kept,) = stored(server, answer.id)
    assert (kept.decoding["max_new_tokens"], kept.decoding["temperature"]) == (12, 0.5)


def test_the_same_seed_gives_the_same_answers_and_each_choice_its_own(openai_client: OpenAI) -> None:
    texts = [
        [choice.message.content for choice in ask(openai_client, seed=seed, n=2, temperature=1).choices]
        for seed in (3, 3, 4)
    ]
    assert texts[0] == texts[1]
    assert texts[0][0] != texts[0][1]
    assert texts[2][0] == texts[0][1]  # the i-th choice has the seed plus i


def test_an_answer_ends_before_a_stop_string(openai_client: OpenAI, server: RunningServer) -> None:
    whole = ask(openai_client, max_tokens=60).choices[0].message.content
    stop = whole[9:13]
    assert stop not in whole[:9]
    answer = ask(openai_client, max_tokens=60, stop=["not in it", stop])
    assert answer.choices[0].message.content == whole[: whole.index(stop)]
    assert answer.choices[0].finish_reason == "stop"
    assert answer.usage.completion_tokens < 60
    assert stored(server, answer.id)[0].text == whole[: whole.index(stop)]
    assert ask(openai_client, max_tokens=60, stop=stop).choices[0].message.content == whole[:9]


def test_log_probabilities_are_the_models_own(
    openai_client: OpenAI, server: RunningServer, steady_model: Path
) -> None:
    answer = ask(openai_client, logprobs=True, temperature=1.5, top_p=0.5, seed=2, max_tokens=9)
    tokens = answer.choices[0].logprobs.content
    loaded = load_language_model(steady_model)
    prompt = loaded.chat_format.prompt_ids(HELLO)
    written = stored(server, answer.id)[0].token_ids
    with torch.no_grad():
        logits = loaded.model(torch.tensor([prompt + written])).logits[0, len(prompt) - 1 : -1]
    expected = logits.log_softmax(-1)[range(len(written)), written].tolist()
    ended = len(written) - len(tokens)  # the token that ends an answer is none of its text
    assert ended in (0, 1)
    assert [token.logprob for token in tokens] == pytest.approx(expected[: len(tokens)], abs=1e-5)
    assert [token.top_logprobs for token in tokens] == [[]] * len(tokens)


def test_the_texts_of_the_tokens_are_the_answer_and_a_stop_string_is_in_none(openai_client: OpenAI) -> None:
    whole = ask(openai_client, logprobs=True, max_tokens=40).choices[0]
    assert "".join(token.token for token in whole.logprobs.content) == whole.message.content
    stop = whole.message.content[10:13]
    cut = ask(openai_client, logprobs=True, max_tokens=40, stop=stop).choices[0]
    text = "".join(token.token for token in cut.logprobs.content)
    assert text == cut.message.content == whole.message.content[: whole.message.content.index(stop)]
    assert bytes(b for token in cut.logprobs.content for b in token.bytes).decode() == text


def test_the_oldest_turns_make_room_and_the_system_message_stays(
    openai_client: OpenAI, steady_model: Path
) -> None:
    system = {"role": "system", "content": "You are kind."}
    turns = [
        {"role": role, "content": f"Turn {number}: what did you do at the weekend?"}
        for number in range(6)
        for role in ("user", "assistant")
    ]
    question = {"role": "user", "content": "And you?"}
    answer = ask(openai_client, messages=[system, *turns, question], max_tokens=4)
    dropped = answer.rapport["dropped_messages"]
    assert dropped in (2, 4, 6, 8, 10, 12)
    kept = ChatFormat.from_folder(steady_model).prompt_ids([system, *turns[dropped:], question])
    assert answer.usage.prompt_tokens == len(kept)


def test_instructions_of_both_names_become_one_and_parts_of_text_are_joined(
    openai_client: OpenAI, server: RunningServer
) -> None:
    messages = [
        {"role": "system", "content": "Be kind."},
        {"role": "developer", "content": "Be brief."},
        {"role": "user", "content": [{"type": "text", "text": "Good "}, {"type": "text", "text": "day"}]},
        {"role": "assistant", "content": "Hello", "refusal": None, "tool_calls": None},
        {"role": "user", "content": "How are you?"},
    ]
    answer = ask(openai_client, messages=messages, max_tokens=2)
    with server.container.database.read() as session:
        request = session.query(CompletionRequest).filter_by(public_id=answer.id).one()
        assert request.prompt == [
            {"role": "system", "content": "Be kind.\n\nBe brief."},
            {"role": "user", "content": "Good day"},
            {"role": "assistant", "content": "Hello"},
            {"role": "user", "content": "How are you?"},
        ]


def test_what_asks_for_nothing_is_let_pass(openai_client: OpenAI) -> None:
    nothing = {
        "frequency_penalty": 0,
        "presence_penalty": 0.0,
        "logit_bias": {},
        "response_format": {"type": "text"},
        "tool_choice": "none",
        "user": "somebody",
        "top_logprobs": 0,
    }
    assert ask(openai_client, max_tokens=1, **nothing).choices[0].finish_reason == "length"
