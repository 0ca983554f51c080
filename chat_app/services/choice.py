"""How a person wants an answer: by which version, and after which example exchanges (zero-shot or few-shot)."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Literal, get_args

from sqlalchemy.orm import Session

from db.tables import Completion, ModelVersion
from training.errors import NotServable, VersionNotFound
from training.version_rows import can_chat

ExampleSet = Literal["none", "en", "zh"]

EXAMPLES_DIR = Path(__file__).parents[1] / "few_shot"


@dataclass(frozen=True, slots=True)
class AnswerChoice:
    """`version_id` None is the version that serves; `examples` none is zero-shot, else a language's four."""

    version_id: int | None = None
    examples: ExampleSet = "none"

    def record(self) -> dict[str, Any]:
        """Return what is kept beside the decoding parameters of an answer."""
        return {"is_version_chosen": self.version_id is not None, "examples": self.examples}


AS_SERVED = AnswerChoice()


def choice_of(completion: Completion) -> AnswerChoice:
    """Read back how an answer was wanted; answers from before there was a choice are as served."""
    kept = completion.decoding
    examples: Any = kept.get("examples")
    return AnswerChoice(
        version_id=completion.version_id if kept.get("is_version_chosen") else None,
        examples=examples if examples in get_args(ExampleSet) else "none",
    )


def check_choice(*, session: Session, choice: AnswerChoice) -> None:
    """Raise VersionNotFound, or NotServable for a reward model, before anything is stored or asked."""
    if choice.version_id is None:
        return
    version = session.get(ModelVersion, choice.version_id)
    if version is None:
        raise VersionNotFound(choice.version_id)
    if not can_chat(version):
        raise NotServable(name=version.name, kind=version.kind)


@cache
def example_messages(examples: ExampleSet) -> tuple[Mapping[str, str], ...]:
    """Read the messages of a set of examples, in the order they stand before the conversation."""
    if examples == "none":
        return ()
    lines = (EXAMPLES_DIR / f"{examples}.jsonl").read_text(encoding="utf-8").splitlines()
    return tuple(message for line in lines for message in json.loads(line)["messages"])
