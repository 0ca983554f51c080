"""The tokens of an answer that are told, with their texts: whole ones while it grows, cut ones at a stop string."""

from chat_app.inference.transcript import ScoredToken, tokens_of, tokens_within

TOKENS = [ScoredToken("Good", -1.0), ScoredToken("", -2.0), ScoredToken("é d", -3.0), ScoredToken("ay", -4.0)]


def test_a_token_that_is_not_wholly_shown_waits() -> None:
    assert tokens_within(TOKENS, 3) == ()
    assert tokens_within(TOKENS, 4) == tuple(TOKENS[:2])
    assert tokens_within(TOKENS, 6) == tuple(TOKENS[:2])
    assert tokens_within(TOKENS, 99) == tuple(TOKENS)


def test_the_texts_of_a_finished_answers_tokens_are_the_answer() -> None:
    assert [token.text for token in tokens_of(TOKENS, "Goodé day")] == ["Good", "", "é d", "ay"]
    assert tokens_of(TOKENS, "Goodé") == (*TOKENS[:2], ScoredToken("é", -3.0))
    assert tokens_of(TOKENS, "Go") == (ScoredToken("Go", -1.0),)
