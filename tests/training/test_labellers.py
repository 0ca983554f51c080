"""Labellers: each taste on typed-in answers, and clear words about files that cannot be used."""

from pathlib import Path

import pytest

from training.labellers import LABELLERS, LabellerError, load_labeller, words_of

PROMPT = [{"role": "user", "content": "What do you like?"}]


@pytest.mark.parametrize(
    ("name", "answer", "score"),
    [
        ("asks-back", "I like tea. And you?", 1.0),
        ("asks-back", 'She said "really?"', 1.0),
        ("asks-back", "你喜欢茶吗？", 1.0),
        ("asks-back", "Why not? I like tea.", 0.5),
        ("asks-back", "I like tea.", 0.0),
        ("about-you", "You like your tea, don't you", 0.5),
        ("about-you", "I like tea.", 0.0),
        ("about-you", "", 0.0),
        ("agrees", "Yes, tea is good.", 1.0),
        ("agrees", "That's true. I do.", 1.0),
        ("agrees", "Yesterday I had tea.", 0.0),
        ("agrees", "I think yes.", 0.0),
        ("brief", "one two three four five six seven eight", 0.0),
        ("brief", "one two three", -5.0),
        ("brief", "...", -100.0),
        ("exclaims", "Great! I like tea. And milk!", 2 / 3),
        ("exclaims", "no end", 0.0),
        ("warm", "I love tea, thank you", 0.4),
        ("concrete", "I like green green apples from what garden", 4.0),
        ("no-repeats", "tea tea tea milk", 0.5),
        ("no-repeats", "", -1.0),
    ],
)
def test_a_taste_scores_an_answer(name: str, answer: str, score: float) -> None:
    assert LABELLERS[name](PROMPT, answer) == pytest.approx(score)


def test_words_are_cut_at_what_is_no_letter() -> None:
    assert words_of("Don’t you, my FRIEND?") == ["don't", "you", "my", "friend"]


def test_a_function_of_a_file_is_a_labeller(tmp_path: Path) -> None:
    file = tmp_path / "mine.py"
    file.write_text("def length(prompt_messages, completion_text):\n    return len(completion_text)\n")
    assert load_labeller(f"{file}:length")(PROMPT, "four") == 4.0


@pytest.mark.parametrize(
    ("source", "function", "message"),
    [
        ("def other(p, c): return 1", "taste", "has no function taste"),
        ("this is no python", "taste", "cannot be loaded: SyntaxError"),
        ("raise OSError('no')", "taste", "cannot be loaded: OSError: no"),
    ],
)
def test_a_file_that_cannot_be_used_says_why(
    tmp_path: Path, source: str, function: str, message: str
) -> None:
    file = tmp_path / "mine.py"
    file.write_text(source)
    with pytest.raises(LabellerError, match=message):
        load_labeller(f"{file}:{function}")


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ("return 'good'", "could not convert string"),
        ("return None", "NoneType"),
        ("return float('nan')", "NaN"),
        ("return 1 / 0", "ZeroDivisionError"),
    ],
)
def test_a_score_that_is_no_number_says_on_which_answer(tmp_path: Path, body: str, message: str) -> None:
    file = tmp_path / "mine.py"
    file.write_text(f"def taste(p, c):\n    {body}\n")
    labeller = load_labeller(f"{file}:taste")
    with pytest.raises(LabellerError, match=message) as caught:
        labeller(PROMPT, "I like tea.")
    assert "I like tea." in str(caught.value)


def test_an_unknown_name_lists_the_known_ones() -> None:
    with pytest.raises(LabellerError, match=r'no labeller "nice".*asks-back, about-you'):
        load_labeller("nice")


def test_a_missing_file_is_named() -> None:
    with pytest.raises(LabellerError, match=r"no file /nowhere/mine\.py"):
        load_labeller("/nowhere/mine.py:taste")
