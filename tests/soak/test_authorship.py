"""The soak's check for mixed answers sees one token of another version, and lets honest answers pass."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from tests.soak.authorship import find_authors
from tests.soak.record import StoredAnswer
from tests.tiny_model import make_tiny_model
from training.generation import DecodingParameters, sample_completions
from training.loading import LoadedModel, load_language_model

PROMPT = ({"role": "user", "content": "What is your favorite food?"},)
NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> dict[int, LoadedModel]:
    folder = tmp_path_factory.mktemp("models")
    return {seed: load_language_model(make_tiny_model(folder / str(seed), seed=seed)) for seed in (1, 2)}


def written_by(loaded: LoadedModel) -> tuple[int, ...]:
    """Twelve tokens, or fewer up to the end."""
    chat_format = loaded.chat_format
    [completion] = sample_completions(
        loaded.model,
        [chat_format.prompt_ids(list(PROMPT))],
        parameters=DecodingParameters(max_new_tokens=12, temperature=0),
        seeds=[0],
        end_token_id=chat_format.end_token_id,
        pad_token_id=chat_format.pad_token_id,
    )
    return tuple(completion.token_ids)


def stored(
    loaded: LoadedModel, version_id: int, token_ids: tuple[int, ...], stored_at: datetime = NOON
) -> StoredAnswer:
    return StoredAnswer(
        completion_id=7,
        version_id=version_id,
        token_ids=token_ids,
        text=loaded.chat_format.decode(list(token_ids)).rstrip("\ufffd"),
        finish_reason="length",
        max_new_tokens=12,
        first_token_seconds=0.1,
        seconds=2.0,
        stored_at=stored_at,
        prompt=PROMPT,
    )


def test_an_answer_of_one_version_is_not_mixed(models: dict[int, LoadedModel]) -> None:
    answers = [stored(models[each], each, written_by(models[each])) for each in (1, 2)]
    authors = find_authors(models, answers)
    assert authors.mixed == []
    assert authors.recognisable == 2
    assert authors.by_version == {1: 1, 2: 1}


def test_an_answer_of_two_halves_by_two_versions_is_mixed(models: dict[int, LoadedModel]) -> None:
    mixed = written_by(models[1])[:6] + written_by(models[2])[6:]
    assert len(mixed) == 12
    for version_id in (1, 2):
        [told] = find_authors(models, [stored(models[1], version_id, mixed)]).mixed
        assert f"completion 7 of version {version_id}: token" in told


def test_an_answer_under_another_versions_name_is_mixed(models: dict[int, LoadedModel]) -> None:
    assert len(find_authors(models, [stored(models[1], 2, written_by(models[1]))]).mixed) == 1


def test_a_text_that_its_tokens_do_not_make_is_mixed(models: dict[int, LoadedModel]) -> None:
    answer = stored(models[1], 1, written_by(models[1]))
    other = replace(answer, text="no")
    assert len(find_authors(models, [other]).mixed) == 1


def test_an_answer_is_across_a_swap_when_one_of_another_version_begins_meanwhile(
    models: dict[int, LoadedModel],
) -> None:
    old = stored(models[1], 1, written_by(models[1]))  # from 11:59:58 to noon
    during = stored(models[2], 2, written_by(models[2]), NOON + timedelta(seconds=1))
    after = stored(models[2], 2, written_by(models[2]), NOON + timedelta(seconds=3))
    assert find_authors(models, [old, after]).across_a_swap == 0
    assert find_authors(models, [old, during]).across_a_swap == 1
