"""Between the services and the engine: requests go in, and what comes out is stored as completions."""

import secrets
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict

from sqlalchemy.orm import Session

from chat_app.errors import Busy, InvalidInput, PromptDoesNotFit, TooManyWaiting, Unavailable
from chat_app.inference import errors as inference
from chat_app.inference.engine import InferenceEngine
from chat_app.inference.errors import GenerationFailed, PromptTooLong, QueueFull, VersionUnavailable
from chat_app.inference.generation import Generation
from chat_app.inference.request import FinishedGeneration, GenerationRequest
from chat_app.services.choice import AS_SERVED, AnswerChoice, example_messages
from chat_app.services.person import Person
from chat_app.settings import DecodingSettings
from db.tables import Completion
from feedback.preference import Message
from training.generation import DecodingParameters


class Answering:
    """Asks the engine with the set decoding parameters and a fresh seed for each answer."""

    def __init__(self, *, engine: InferenceEngine, decoding: DecodingSettings, max_together: int) -> None:
        self._engine = engine
        self._max_together = max_together
        self._parameters = DecodingParameters(**decoding.model_dump())

    @property
    def parameters(self) -> DecodingParameters:
        """The decoding parameters of the settings."""
        return self._parameters

    def check_room(self, person: Person, count: int = 1) -> None:
        """Refuse before anything is stored what could not wait now. Raises Busy and its kin."""
        with engine_errors():
            self._engine.check_room(person.asker, count)

    def submit(
        self,
        person: Person,
        prompt: Sequence[Message],
        count: int = 1,
        choice: AnswerChoice = AS_SERVED,
    ) -> list[Generation]:
        """Queue `count` answers to a person's prompt, all in one batch. Raises Busy and its kin."""
        messages = [message.as_dict() for message in prompt]
        requests = [
            GenerationRequest(
                prompt=messages,
                parameters=self._parameters,
                seed=secrets.randbits(31),
                version_id=choice.version_id,
                examples=example_messages(choice.examples),
                asker=person.asker,
            )
            for _ in range(count)
        ]
        return self.submit_requests(requests)

    def submit_requests(self, requests: Sequence[GenerationRequest]) -> list[Generation]:
        """Queue answers that start together. Raises Busy and its kin."""
        if len(requests) > self._max_together:
            raise InvalidInput(
                f"{len(requests)} answers were asked for, and {self._max_together} fit into one batch.",
                "Ask for fewer, or raise RAPPORT_INFERENCE__MAX_BATCH.",
            )
        with engine_errors():
            return self._engine.submit_together(requests)


@contextmanager
def engine_errors() -> Iterator[None]:
    """Turn the engine's errors into those that a person meets."""
    try:
        yield
    except inference.TooManyWaiting as error:
        raise TooManyWaiting(error.waiting, error.retry_after) from error
    except QueueFull as error:
        raise Busy(error.waiting, error.retry_after) from error
    except PromptTooLong as error:
        raise PromptDoesNotFit(str(error)) from error
    except VersionUnavailable as error:
        raise Unavailable(str(error), retry_after=2) from error
    except GenerationFailed as error:
        raise Unavailable(str(error)) from error


def store_completion(
    *, session: Session, finished: FinishedGeneration, choice: AnswerChoice = AS_SERVED
) -> Completion:
    """Add a completion with all that is needed to write it again."""
    stop = {} if finished.stop_string is None else {"stop_string": finished.stop_string}
    completion = Completion(
        version_id=finished.version_id,
        text=finished.text,
        token_ids=list(finished.token_ids),
        finish_reason=finished.finish_reason,
        seed=finished.seed,
        decoding=asdict(finished.parameters)
        | choice.record()
        | {"example_exchanges": finished.example_exchanges}
        | stop,
        first_token_seconds=finished.first_token_seconds,
        seconds=finished.seconds,
    )
    session.add(completion)
    session.flush()
    return completion
