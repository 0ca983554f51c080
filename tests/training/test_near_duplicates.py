"""Near duplicates: what is left out around the threshold, and that the first of a pair stays."""

from training.near_duplicates import NearDuplicates
from training.word_grams import words_of

NUMBERED = [f"word{i}" for i in range(120)]


def with_other_words(*places: int) -> str:
    return " ".join("other" if place in places else word for place, word in enumerate(NUMBERED))


def test_a_text_with_one_other_word_is_a_repetition() -> None:
    alike = NearDuplicates()
    assert not alike.is_repeated(with_other_words())
    assert alike.is_repeated(with_other_words(60))  # 115 of 121 runs of three words are common: 0.95


def test_a_text_with_every_tenth_word_another_is_none() -> None:
    alike = NearDuplicates()
    assert not alike.is_repeated(with_other_words())
    assert not alike.is_repeated(with_other_words(*range(5, 120, 10)))  # 82 of 154: 0.53


def test_nearly_all_texts_over_the_threshold_are_found() -> None:
    found = 0
    for start in range(0, 40):
        alike = NearDuplicates()
        alike.is_repeated(with_other_words())
        found += alike.is_repeated(with_other_words(start, start + 40, start + 79))  # about 0.87
    assert found >= 34


def test_the_threshold_is_a_setting() -> None:
    alike = NearDuplicates(similarity=0.4)
    assert not alike.is_repeated(with_other_words())
    assert alike.is_repeated(with_other_words(*range(5, 120, 10)))


def test_signs_and_capitals_make_no_difference() -> None:
    alike = NearDuplicates()
    assert not alike.is_repeated("Good morning! How are you today?")
    assert alike.is_repeated("good morning, how are you today")


def test_a_repetition_is_not_remembered_itself() -> None:
    """Otherwise a chain of small changes would carry off ever more distant texts."""
    first, second = with_other_words(), with_other_words(10, 50)  # 0.90
    third = with_other_words(10, 30, 50, 70, 90)  # 0.86 of the second, 0.77 of the first
    assert _verdicts(second, third) == [False, True]
    assert _verdicts(first, second, third) == [False, True, False]


def _verdicts(*texts: str) -> list[bool]:
    alike = NearDuplicates()
    return [alike.is_repeated(text) for text in texts]


def test_chinese_texts_are_compared_by_characters() -> None:
    alike = NearDuplicates()
    text = "今天天气很好，我们一起去公园散步，看花，听鸟叫，然后回家做饭。"
    assert len(words_of(text)) == 26
    assert not alike.is_repeated(text)
    assert alike.is_repeated(text.replace("。", "！"))
    assert not alike.is_repeated("我喜欢看书，也喜欢听音乐，周末常常和朋友聊天。")
