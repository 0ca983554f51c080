"""Routes to ask for answers to compare, and to vote."""

from typing import Annotated, Any, Literal, Self

from fastapi import APIRouter, Header
from pydantic import BaseModel, ConfigDict, Field, model_validator

from chat_app.api.dependencies import CurrentPerson, CurrentServices, Id
from chat_app.api.errors import documented
from chat_app.errors import InvalidInput
from chat_app.services.compare import Choice, answer_for
from chat_app.services.thread import ComparisonView, Verdict
from chat_app.services.voting import VoteReceipt
from feedback.collect import Answer

router = APIRouter(prefix="/api/comparisons", tags=["comparisons"])


class PromptTurn(BaseModel):
    """One message of a prompt."""

    role: Literal["system", "user", "assistant"]
    content: str


class NewComparison(BaseModel):
    """A prompt that ends with a user turn; without one, the prompt library gives one of its training part."""

    model_config = ConfigDict(extra="forbid")

    prompt: list[PromptTurn] | None = None
    k: int = Field(default=2, ge=2, le=9, description="How many answers")


class ShownAnswer(BaseModel):
    """An answer at its position; its version is told after the vote."""

    position: int
    text: str
    version: str | None


class ComparisonBody(BaseModel):
    """A comparison as its voter may see it."""

    id: int
    source: str
    prompt: list[PromptTurn]
    completions: list[ShownAnswer]
    verdict: Verdict | None

    @classmethod
    def of(cls, view: ComparisonView) -> Self:
        """Build the body from the service's value."""
        return cls(
            id=view.id,
            source=view.source,
            prompt=[PromptTurn(**turn.as_dict()) for turn in view.prompt],
            completions=[
                ShownAnswer(position=one.position, text=one.text, version=one.version_name)
                for one in view.completions
            ],
            verdict=view.verdict,
        )


class Vote(BaseModel):
    """Either `choice` between two answers, or `ranks` by position (1 the best, equal numbers a tie)."""

    model_config = ConfigDict(extra="forbid")

    choice: Choice | None = None
    ranks: list[int] | None = None
    is_both_bad: bool = False
    criteria: dict[str, Any] = {}
    comment: str = ""
    seconds: float | None = Field(default=None, ge=0)
    idempotency_key: str | None = Field(default=None, description="Instead of the header Idempotency-Key")

    @model_validator(mode="after")
    def _one_of_both(self) -> Self:
        if (self.choice is None) == (self.ranks is None):
            raise ValueError("give either choice or ranks")
        return self

    def answer(self, idempotency_key: str) -> Answer:
        """Build feedback's value."""
        if self.choice is not None:
            ranks = answer_for(self.choice, idempotency_key=idempotency_key).ranks
        else:
            ranks = self.ranks or []
        return Answer(
            ranks=ranks,
            is_both_bad=self.is_both_bad or self.choice == "both_bad",
            criteria=self.criteria,
            comment=self.comment,
            seconds=self.seconds,
            idempotency_key=idempotency_key,
        )


class VoteBody(BaseModel):
    """A stored vote; `versions` by position."""

    preference_id: int
    comparison_id: int
    verdict: Verdict
    versions: list[str]
    chosen_position: int

    @classmethod
    def of(cls, receipt: VoteReceipt) -> Self:
        """Build the body from the service's value."""
        return cls(
            preference_id=receipt.preference_id,
            comparison_id=receipt.comparison_id,
            verdict=receipt.verdict,
            versions=list(receipt.version_names),
            chosen_position=receipt.chosen_position,
        )


@router.post("", status_code=201, responses=documented(404, 422, 429, 503, 507))
async def open_comparison(
    body: NewComparison, services: CurrentServices, person: CurrentPerson
) -> ComparisonBody:
    """Ask for answers to a prompt and wait for them. 429 says in Retry-After when the queue has room."""
    prompt = None if body.prompt is None else [turn.model_dump() for turn in body.prompt]
    return ComparisonBody.of(await services.compare.open(person, prompt, body.k))


@router.get("/{comparison_id}", responses=documented(404))
def get_comparison(comparison_id: Id, services: CurrentServices, person: CurrentPerson) -> ComparisonBody:
    """Look at a comparison of your own."""
    return ComparisonBody.of(services.compare.get(person, comparison_id))


@router.post("/{comparison_id}/vote", responses=documented(404, 409, 422, 503, 507))
def vote(
    comparison_id: Id,
    body: Vote,
    services: CurrentServices,
    person: CurrentPerson,
    idempotency_key: Annotated[str | None, Header()] = None,
) -> VoteBody:
    """Vote. The same idempotency key again is the same vote; a new key changes your vote."""
    key = idempotency_key or body.idempotency_key
    if key is None:
        raise InvalidInput(
            "The vote has no idempotency key, so a retry could not be told from a second vote.",
            "Send a fresh random text as header Idempotency-Key, and the same one when you retry.",
        )
    return VoteBody.of(services.compare.vote(person, comparison_id, body.answer(key)))
