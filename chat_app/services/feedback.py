"""Votes of programs on answers that they name by id: the same comparisons and preferences as the pages' votes."""

from collections.abc import Collection, Sequence
from dataclasses import replace

from sqlalchemy import select
from sqlalchemy.orm import Session

from chat_app.errors import InvalidInput, NotFound
from chat_app.services.person import Person, require
from chat_app.services.running import RunningAnswers
from chat_app.services.voting import VoteReceipt, receipt_of
from db.engine import Database
from db.tables import Comparison, ComparisonCompletion, CompletionRequest, RequestedCompletion
from feedback.collect import Answer, answer_comparison, open_comparison
from feedback.preference import messages_from


class FeedbackService:
    """Methods block on the database: call them from a thread.

    They raise NotFound for an answer that is not there or not the person's, InvalidInput for answers that cannot be
    compared, and what feedback's `open_comparison` and `answer_comparison` raise.
    """

    def __init__(self, *, database: Database, running: RunningAnswers) -> None:
        self._database = database
        self._running = running

    def prefer(
        self, person: Person, preferred: str, rejected: Sequence[str], answer: Answer
    ) -> list[VoteReceipt]:
        """Store that an answer is better than each of the others, of which no order is known: a vote for each.

        The ranks of `answer` are left out of account. The votes' idempotency keys follow from the answer's.
        """
        require(person, "compare")
        with self._database.write() as session:
            asked = _Asked(session, person, [preferred, *rejected])
            return [
                self._vote(asked, [[preferred], [other]], replace(answer, idempotency_key=key))
                for other, key in zip(sorted(rejected), _keys(answer, len(rejected)), strict=True)
            ]

    def rank(self, person: Person, ranking: Sequence[Sequence[str]], answer: Answer) -> VoteReceipt:
        """Store a ranking, the best first, equally good answers together."""
        require(person, "compare")
        with self._database.write() as session:
            asked = _Asked(session, person, [name for group in ranking for name in group])
            return self._vote(asked, ranking, answer)

    def _vote(self, asked: "_Asked", ranking: Sequence[Sequence[str]], answer: Answer) -> VoteReceipt:
        rank_of: dict[int, int] = {}
        for rank, names in enumerate(ranking, start=1):
            for name in names:
                completion_id = asked.answer(name).completion_id
                if completion_id in rank_of:
                    raise InvalidInput(f'The answer "{name[:80]}" is named twice.', "Name each answer once.")
                rank_of[completion_id] = rank
        comparison = asked.comparison(list(rank_of))
        preference = answer_comparison(
            session=asked.session,
            user_id=asked.person.id,
            comparison_id=comparison.id,
            answer=replace(answer, ranks=[rank_of[shown.completion_id] for shown in comparison.shown]),
        )
        asked.session.flush()
        return receipt_of(session=asked.session, preference=preference, running=self._running)


class _Asked:
    """The requests whose answers a vote names, locked so that two votes on the same answers make one comparison."""

    def __init__(self, session: Session, person: Person, names: Sequence[str]) -> None:
        self.session = session
        self.person = person
        query = (
            select(CompletionRequest)
            .where(
                CompletionRequest.user_id == person.id,
                CompletionRequest.public_id.in_({_parts(name)[0] for name in names}),
            )
            .order_by(CompletionRequest.id)
            .with_for_update()
        )
        self._requests = {request.public_id: request for request in session.scalars(query)}

    def answer(self, name: str) -> RequestedCompletion:
        """Find an answer. Raises NotFound, and InvalidInput for an id that says too little."""
        public_id, position = _parts(name)
        request = self._requests.get(public_id)
        answers = request.answers if request is not None else []
        if position is None and len(answers) > 1:
            raise InvalidInput(
                f'The request "{public_id}" has {len(answers)} answers.',
                f'Name one of them by its index, as in "{public_id}-0".',
            )
        for answer in answers:
            if position in (None, answer.position):
                return answer
        raise NotFound("answer", f'"{name[:80]}"')

    def comparison(self, completion_ids: Collection[int]) -> Comparison:
        """Give the comparison of these answers, in the order in which they were given; a later vote finds it again."""
        found = [
            (request, answer)
            for request in self._requests.values()
            for answer in request.answers
            if answer.completion_id in completion_ids
        ]
        if len({request.prompt_hash for request, _ in found}) > 1:
            raise InvalidInput("The answers are to different prompts.", "Compare answers to one prompt.")
        for request, answer in found:
            if answer.completion.finish_reason == "stopped":
                raise InvalidInput(
                    f'The answer "{request.public_id}-{answer.position}" was stopped before its end.',
                    "Compare whole answers.",
                )
        in_order = [answer.completion_id for _, answer in found]
        return self._existing(in_order) or self._opened(found[0][0], in_order)

    def _opened(self, request: CompletionRequest, completion_ids: Sequence[int]) -> Comparison:
        comparison = open_comparison(
            session=self.session,
            user_id=self.person.id,
            source="api",
            prompt=messages_from(request.prompt),
            completion_ids=completion_ids,
        )
        self.session.refresh(comparison, ["shown"])
        return comparison

    def _existing(self, completion_ids: Sequence[int]) -> Comparison | None:
        query = (
            select(Comparison)
            .join(ComparisonCompletion)
            .where(
                Comparison.user_id == self.person.id,
                Comparison.source == "api",
                ComparisonCompletion.completion_id.in_(completion_ids[:1]),
            )
            .order_by(Comparison.id)
        )
        for comparison in self.session.scalars(query):
            if [shown.completion_id for shown in comparison.shown] == list(completion_ids):
                return comparison
        return None


def _parts(name: str) -> tuple[str, int | None]:
    """Take an answer's id apart: its request's id, and its place, which an only answer's id may lack."""
    if name.count("-") < 2:
        return name[:80], None
    public_id, _, place = name.rpartition("-")
    return public_id[:80], int(place) if place.isdecimal() and len(place) < 4 else -1


def _keys(answer: Answer, count: int) -> list[str]:
    """Make a key for each of the votes that one request comes to; the first is the request's own."""
    key = answer.idempotency_key
    return [key, *(f"{key}/{number}" for number in range(2, count + 1))]
