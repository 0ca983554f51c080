"""The rules of asking a person which completion is better, and of taking the answer."""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from db.queries.comparisons import locked_comparison, missing_completions, open_comparisons_on_message
from db.queries.preferences import current_preference, preference_by_key
from db.tables import Comparison, ComparisonCompletion, Preference
from feedback.errors import (
    ComparisonNotFound,
    ComparisonSuperseded,
    IdempotencyKeyReused,
    InvalidAnswer,
    InvalidComparison,
    InvalidPrompt,
    InvalidRanking,
    NotYourComparison,
)
from feedback.preference import UNSTORABLE, Message, Ranking, check_ranks, is_storable, prompt_hash

MIN_COMPLETIONS, MAX_COMPLETIONS = 2, 9
MAX_COMMENT_CHARACTERS = 4000
MAX_CRITERIA_CHARACTERS = 4000
MAX_KEY_CHARACTERS = 80


@dataclass(frozen=True, slots=True)
class Answer:
    """What a person says about a comparison; `ranks` go by position, 1 the best, equal numbers a tie."""

    ranks: Sequence[int]
    idempotency_key: str
    is_both_bad: bool = False
    criteria: Mapping[str, Any] = field(default_factory=dict)
    comment: str = ""
    seconds: float | None = None


def open_comparison(
    *,
    session: Session,
    user_id: int,
    source: str,
    prompt: Sequence[Message],
    completion_ids: Sequence[int],
    conversation_id: int | None = None,
    parent_message_id: int | None = None,
    prompt_id: int | None = None,
) -> Comparison:
    """Remember that a person is shown these completions, in this order, for this prompt.

    Unanswered older comparisons below the same message are superseded. Raises InvalidPrompt and
    InvalidComparison.
    """
    _check_prompt(prompt)
    _check_completions(session, completion_ids)
    older = (
        []
        if parent_message_id is None
        else open_comparisons_on_message(session=session, parent_message_id=parent_message_id)
    )
    comparison = Comparison(
        user_id=user_id,
        source=source,
        prompt=[message.as_dict() for message in prompt],
        prompt_hash=prompt_hash(prompt),
        prompt_id=prompt_id,
        conversation_id=conversation_id,
        parent_message_id=parent_message_id,
        shown=[
            ComparisonCompletion(position=position, completion_id=completion_id)
            for position, completion_id in enumerate(completion_ids)
        ],
    )
    session.add(comparison)
    session.flush()
    for old in older:
        old.superseded_by_id = comparison.id
    session.flush()
    return comparison


def answer_comparison(*, session: Session, user_id: int, comparison_id: int, answer: Answer) -> Preference:
    """Take a person's answer; the same idempotency key again gives the first success again.

    A later answer under a new key supersedes the person's earlier one and is marked `after_reveal`,
    because the versions were shown after the first. Raises ComparisonNotFound, NotYourComparison,
    ComparisonSuperseded, InvalidRanking, InvalidAnswer and IdempotencyKeyReused.
    """
    _check_answer(answer)
    comparison = _own_comparison(session, user_id, comparison_id)
    first = _first_success(session, user_id, comparison_id, answer.idempotency_key)
    if first is not None:
        return first
    if comparison.superseded_by_id is not None:
        raise ComparisonSuperseded(
            f"Comparison {comparison_id} was replaced by comparison {comparison.superseded_by_id} "
            "before it was answered. Answer that one."
        )
    ranking = _check_ranking(answer, len(comparison.shown))
    earlier = current_preference(session=session, comparison_id=comparison_id, user_id=user_id)
    preference = Preference(
        comparison_id=comparison_id,
        user_id=user_id,
        ranks=list(ranking),
        is_both_bad=answer.is_both_bad,
        criteria=dict(answer.criteria),
        comment=answer.comment,
        seconds=answer.seconds,
        idempotency_key=answer.idempotency_key,
        after_reveal=earlier is not None,
        supersedes_id=None if earlier is None else earlier.id,
    )
    return _insert_once(session, preference)


def _insert_once(session: Session, preference: Preference) -> Preference:
    """Store the preference, or give the one that another request stored under its key a moment before."""
    user_id, comparison_id, key = preference.user_id, preference.comparison_id, preference.idempotency_key
    try:
        with session.begin_nested():
            session.add(preference)
    except IntegrityError:
        first = _first_success(session, user_id, comparison_id, key)
        if first is None:
            raise
        return first
    return preference


def _first_success(session: Session, user_id: int, comparison_id: int, key: str) -> Preference | None:
    first = preference_by_key(session=session, user_id=user_id, idempotency_key=key)
    if first is not None and first.comparison_id != comparison_id:
        raise IdempotencyKeyReused(
            f"The idempotency key {key!r} belongs to your answer to comparison {first.comparison_id}. "
            f"Make a new key for comparison {comparison_id}."
        )
    return first


def _own_comparison(session: Session, user_id: int, comparison_id: int) -> Comparison:
    comparison = locked_comparison(session=session, comparison_id=comparison_id)
    if comparison is None:
        raise ComparisonNotFound(f"There is no comparison {comparison_id}. Open one first, then answer it.")
    if comparison.user_id != user_id:
        raise NotYourComparison(
            f"Comparison {comparison_id} was shown to another person. Open one of your own and answer that."
        )
    return comparison


def _check_prompt(prompt: Sequence[Message]) -> None:
    if not prompt:
        raise InvalidPrompt("The prompt has no messages; give at least one of role 'user'.")
    if prompt[-1].role != "user":
        raise InvalidPrompt(
            f"The prompt ends with a message of role {prompt[-1].role!r}; end it with one of role 'user', "
            "to which the completions answer."
        )
    if not prompt[-1].content.strip():
        raise InvalidPrompt("The last message of the prompt is empty; write something to answer to.")
    if not all(is_storable(message.content) for message in prompt):
        raise InvalidPrompt(f"The prompt holds {UNSTORABLE}; take them out.")


def _check_completions(session: Session, completion_ids: Sequence[int]) -> None:
    count = len(completion_ids)
    if not MIN_COMPLETIONS <= count <= MAX_COMPLETIONS:
        raise InvalidComparison(
            f"A comparison of {count} completions is not possible; "
            f"show {MIN_COMPLETIONS} to {MAX_COMPLETIONS}."
        )
    if len(set(completion_ids)) < count:
        raise InvalidComparison(f"The completions {list(completion_ids)} hold one twice; show each once.")
    missing = missing_completions(session=session, completion_ids=completion_ids)
    if missing:
        raise InvalidComparison(f"There are no completions {sorted(missing)}; store them before comparing.")


def _check_ranking(answer: Answer, k: int) -> Ranking:
    ranking = check_ranks(answer.ranks, k)
    if answer.is_both_bad and len(set(ranking)) > 1:
        raise InvalidRanking(
            f"The ranks {list(ranking)} prefer one completion, yet all are called bad; "
            f"give equal ranks {[1] * k} with that, or leave it out."
        )
    return ranking


def _check_answer(answer: Answer) -> None:
    """Refuse what is wrong with an answer whatever it answers."""
    key, comment, seconds = answer.idempotency_key, answer.comment, answer.seconds
    if not key.strip() or len(key) > MAX_KEY_CHARACTERS or not is_storable(key):
        raise InvalidAnswer(
            f"The idempotency key {key[: MAX_KEY_CHARACTERS + 1]!r} is not usable; "
            f"give 1 to {MAX_KEY_CHARACTERS} characters, new for each answer."
        )
    if len(comment) > MAX_COMMENT_CHARACTERS:
        raise InvalidAnswer(
            f"The comment has {len(comment):,} characters; shorten it to {MAX_COMMENT_CHARACTERS:,}."
        )
    if not is_storable(comment):
        raise InvalidAnswer(f"The comment holds {UNSTORABLE}; take them out.")
    if seconds is not None and not (math.isfinite(seconds) and seconds >= 0):
        raise InvalidAnswer(f"The seconds taken are {seconds}; give a number from 0 up, or leave them out.")
    _check_criteria(answer.criteria)


def _check_criteria(criteria: Mapping[str, Any]) -> None:
    try:
        size = len(json.dumps(dict(criteria), allow_nan=False))
    except (TypeError, ValueError) as error:
        raise InvalidAnswer(f"The criteria {criteria!r} are not plain JSON: {error}.") from error
    if size > MAX_CRITERIA_CHARACTERS:
        raise InvalidAnswer(
            f"The criteria take {size:,} characters as JSON; keep them to {MAX_CRITERIA_CHARACTERS:,}."
        )
