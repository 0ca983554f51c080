"""Fine-tuning examples: how conversations are cut, what is masked, how batches are filled."""

import pytest

from tests.tiny_model import SENTENCES
from training.chat_format import ChatFormat
from training.demonstrations import Example, ExampleBatches, collate, cut_conversation, make_example
from training.recipe import SourceRecipe
from training.records import Document
from training.tokenizer import train_tokenizer


def talk(*turns: str) -> tuple[dict[str, str], ...]:
    return tuple({"role": ("user", "assistant")[i % 2], "content": turn} for i, turn in enumerate(turns))


def example(length: int, first: int = 10) -> Example:
    return Example(tuple(range(first, first + length)), (False,) * (length - 2) + (True, True))


def test_a_conversation_is_cut_after_an_answer() -> None:
    document = Document("chats", messages=talk("a", "b", "c", "d", "e"))
    assert cut_conversation(document, SourceRecipe(file="chats", max_messages=3)) == [talk("a", "b")]
    assert cut_conversation(document, SourceRecipe(file="chats", max_messages=9)) == [
        talk("a", "b", "c", "d")
    ]


def test_questions_that_stand_on_their_own_become_openings() -> None:
    messages = talk(
        "Hi", "Hey.", "What is your favorite food?", "Pizza.", "Do you like it with cheese?", "Yes.",
        "Which team do you like?", "None.", "What do you do for a living?", "I am a dog walker.",
        "Do you like to read books?", "Yes, at night.",
    )  # fmt: skip
    pieces = cut_conversation(
        Document("chats", messages=messages), SourceRecipe(file="chats", openings=True, max_messages=2)
    )
    assert pieces == [
        talk("Hi", "Hey."),
        talk("What is your favorite food?", "Pizza."),
        talk("Do you like to read books?", "Yes, at night."),
    ]


def test_an_example_that_would_be_cut_off_is_left_out() -> None:
    chat_format = ChatFormat(train_tokenizer(SENTENCES, vocab_size=400, context_length=128))
    assert make_example(talk("Hi", "Yes."), chat_format, context_length=128) is not None
    assert make_example(talk("Hi", "Yes. " * 100), chat_format, context_length=128) is None


def test_a_batch_is_padded_masked_and_has_two_disjoint_targets() -> None:
    batch = collate([example(3), example(5)], pad_id=1)
    assert batch.input_ids.shape == (2, 32)
    assert batch.input_ids[0, :4].tolist() == [10, 11, 12, 1]
    assert batch.attention_mask.sum(dim=1).tolist() == [3, 5]
    assert batch.answer_targets[1, :6].tolist() == [-100, -100, -100, 13, 14, -100]
    assert batch.prompt_targets[1, :6].tolist() == [10, 11, 12, -100, -100, -100]


def batches(weights: list[float], *, seed: int = 0) -> ExampleBatches:
    examples = [example(4 + i % 60, first=1000 * i) for i in range(len(weights))]
    return ExampleBatches(examples, weights, tokens_per_batch=256, seed=seed)


def rows_of_an_epoch(sequence: ExampleBatches, count: int) -> list[int]:
    rows: list[int] = []
    step = 0
    while len(rows) < count:
        rows += [example.token_ids[0] // 1000 for example in sequence.examples(step)]
        step += 1
    return sorted(rows)


def test_an_epoch_takes_each_example_as_often_as_its_weight() -> None:
    assert rows_of_an_epoch(batches([1.0] * 50 + [2.0] * 10), 70) == sorted(
        [*range(50), *range(50, 60), *range(50, 60)]
    )


def test_no_batch_is_larger_than_its_token_limit() -> None:
    sequence = batches([1.0] * 60)
    assert all(collate(sequence.examples(step), pad_id=0).input_ids.numel() <= 256 for step in range(30))


def test_batches_depend_on_seed_and_step_alone() -> None:
    late, through = batches([1.0] * 60), batches([1.0] * 60)
    for step in range(40):
        through.examples(step)
    assert late.examples(40) == through.examples(40)
    first_of_other = batches([1.0] * 60, seed=1).examples(0)
    assert first_of_other != batches([1.0] * 60).examples(0)
    with pytest.raises(ValueError, match="lies before the current epoch"):
        late.examples(0)
