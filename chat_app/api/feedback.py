"""The route to vote on answers by their ids, for programs that asked over /v1."""

from typing import Annotated, Any, Self

from fastapi import APIRouter, Header
from pydantic import BaseModel, ConfigDict, Field, model_validator

from chat_app.api.comparisons import VoteBody
from chat_app.api.dependencies import CurrentPerson, CurrentServices
from chat_app.api.errors import documented
from chat_app.errors import InvalidInput
from feedback.collect import MAX_COMPLETIONS, Answer

router = APIRouter(prefix="/api/feedback", tags=["feedback"])

AnswerId = Annotated[str, Field(min_length=1, max_length=80)]


class NewFeedback(BaseModel):
    """Either `preferred` with `rejected`, or a `ranking`, of answers to one prompt.

    An answer's id is the id of its response, a hyphen and its index: "chatcmpl-3f…-0". `preferred` is better than each
    of `rejected`, and nothing is said of the order of these. `ranking` has the best first, and equally good answers
    together: [["…-1"], ["…-0", "…-2"]].
    """

    model_config = ConfigDict(extra="forbid")

    preferred: AnswerId | None = None
    rejected: list[AnswerId] | None = Field(default=None, min_length=1, max_length=MAX_COMPLETIONS - 1)
    ranking: list[Annotated[list[AnswerId], Field(min_length=1)]] | None = Field(default=None, min_length=1)
    is_both_bad: bool = Field(default=False, description="With a ranking of equals: none of them is good")
    criteria: dict[str, Any] = {}
    comment: str = ""
    seconds: float | None = Field(default=None, ge=0)
    idempotency_key: str | None = Field(default=None, description="Instead of the header Idempotency-Key")

    @model_validator(mode="after")
    def _one_form(self) -> Self:
        if (self.preferred is None) == (self.ranking is None):
            raise ValueError("give either preferred with rejected, or ranking")
        if (self.preferred is None) != (self.rejected is None):
            raise ValueError(
                "preferred and rejected go together: a vote trains by what is better than what, so praise of one "
                "answer alone is not collected"
            )
        if self.preferred is not None and self.is_both_bad:
            raise ValueError("is_both_bad goes with a ranking of equals, not with a preferred answer")
        return self


class FeedbackBody(BaseModel):
    """The stored votes: one for a ranking, one for each rejected answer otherwise."""

    votes: list[VoteBody]


@router.post("", responses=documented(404, 409, 422, 503, 507))
def give_feedback(
    body: NewFeedback,
    services: CurrentServices,
    person: CurrentPerson,
    idempotency_key: Annotated[str | None, Header()] = None,
) -> FeedbackBody:
    """Vote on answers. The same idempotency key again is the same vote; a new key changes your vote."""
    key = idempotency_key or body.idempotency_key
    if key is None:
        raise InvalidInput(
            "The feedback has no idempotency key, so a retry could not be told from a second vote.",
            "Send a fresh random text as header Idempotency-Key, and the same one when you retry.",
        )
    answer = Answer(
        ranks=(),
        is_both_bad=body.is_both_bad,
        criteria=body.criteria,
        comment=body.comment,
        seconds=body.seconds,
        idempotency_key=key,
    )
    if body.ranking is not None:
        receipts = [services.feedback.rank(person, body.ranking, answer)]
    else:
        receipts = services.feedback.prefer(person, body.preferred or "", body.rejected or [], answer)
    return FeedbackBody(votes=[VoteBody.of(receipt) for receipt in receipts])
