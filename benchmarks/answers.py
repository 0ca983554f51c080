"""Lets a model answer fixed openings, three-turn conversations and Chinese openings, and counts in its answers.

    python -m benchmarks.answers --model DIR --openings FILE --conversations FILE --chinese FILE --out FILE.json

The files are JSON lines: `id` with `messages`, or with the `user_turns` of a conversation. One answer is sampled
for each prompt as the model folder's generation config says; all are stored, for `benchmarks.readings` too.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import torch

from benchmarks.answer_quality import Measured, Quality, loops, quality, repeats
from benchmarks.decoding import stored_decoding
from benchmarks.json_lines import read_json_lines
from benchmarks.results import machine, print_table
from training.generation import DecodingParameters, sample_completions
from training.loading import LoadedModel, load_language_model
from training.seeds import derive_seed

Kind = Literal["opening", "conversation", "chinese"]
Messages = list[Mapping[str, str]]

LIMIT = 80  # tokens
LAST_TURN = 3


@dataclass(frozen=True, slots=True)
class Prompt:
    """What is answered: messages that end with a user's, as which turn of which line of a file."""

    id: str
    kind: Kind
    turn: int
    messages: Messages


@dataclass(frozen=True, slots=True)
class Answer:
    """A prompt's answer, its length in tokens with the end of turn, and whether it ended within the limit."""

    prompt: Prompt
    text: str
    tokens: int
    is_ended: bool

    @property
    def measured(self) -> Measured:
        return Measured(self.prompt.messages[-1]["content"], self.text, self.tokens, self.is_ended)

    def as_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        message = self.prompt.messages[-1]["content"]
        return {
            **asdict(self.prompt),
            **{"answer": self.text, "tokens": self.tokens, "is_ended": self.is_ended},
            **{"loops": loops(self.text), "repeats_prompt": repeats(message, self.text)},
        }


@dataclass(frozen=True, slots=True)
class Answerer:
    """A model with its decoding; the same seed gives a prompt the same answer, whatever else is asked."""

    loaded: LoadedModel
    parameters: DecodingParameters
    seed: int

    def answer(self, prompts: Sequence[Prompt]) -> list[Answer]:
        """Sample one answer per prompt, in order."""
        chat_format = self.loaded.chat_format
        room = self.loaded.context_length - self.parameters.max_new_tokens
        with torch.inference_mode():
            sampled = sample_completions(
                self.loaded.model,
                [chat_format.prompt_ids(prompt.messages, max_tokens=room) for prompt in prompts],
                parameters=self.parameters,
                seeds=[derive_seed(self.seed, prompt.kind, prompt.id, prompt.turn) for prompt in prompts],
                end_token_id=chat_format.end_token_id,
                pad_token_id=chat_format.pad_token_id,
            )
        return [
            Answer(prompt, chat_format.decode(one.token_ids), len(one.token_ids), one.is_ended)
            for prompt, one in zip(prompts, sampled, strict=True)
        ]


def main() -> None:
    options = parse_arguments()
    loaded = load_language_model(options.model)
    parameters = stored_decoding(loaded, LIMIT, temperature=options.temperature, top_p=options.top_p)
    answerer = Answerer(loaded, parameters, options.seed)
    answers = [
        *answerer.answer(read_openings(options.openings, "opening")),
        *play_conversations(answerer, read_json_lines(options.conversations, "id", "user_turns")),
        *answerer.answer(read_openings(options.chinese, "chinese")),
    ]
    summary = summarise(answers)
    print(f"{options.model}: " + ", ".join(f"{name} {value}" for name, value in asdict(parameters).items()))
    print_summary(summary)
    content = {
        "model": str(options.model),
        "decoding": asdict(parameters),
        "seed": options.seed,
        "machine": machine(),
        "summary": {name: asdict(found) for name, found in summary.items()},
        "answers": [one.as_dict() for one in answers],
    }
    options.out.parent.mkdir(parents=True, exist_ok=True)
    options.out.write_text(json.dumps(content, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def read_openings(path: Path, kind: Kind) -> list[Prompt]:
    """The prompts of a file of openings."""
    records = read_json_lines(path, "id", "messages")
    return [Prompt(record["id"], kind, 1, record["messages"]) for record in records]


def play_conversations(answerer: Answerer, records: Sequence[Mapping[str, Any]]) -> list[Answer]:
    """Say each conversation's user turns one after the other, with the model's own answers between them."""
    answers: list[Answer] = []
    histories: list[Messages] = [[] for _ in records]
    for turn in range(1, max((len(record["user_turns"]) for record in records), default=0) + 1):
        prompts = []
        for record, history in zip(records, histories, strict=True):
            if turn <= len(record["user_turns"]):
                history.append({"role": "user", "content": record["user_turns"][turn - 1]})
                prompts.append(Prompt(record["id"], "conversation", turn, list(history)))
        given = {one.prompt.id: one for one in answerer.answer(prompts)}
        answers += given.values()
        for record, history in zip(records, histories, strict=True):
            if record["id"] in given:
                history.append({"role": "assistant", "content": given[record["id"]].text})
    return answers


def summarise(answers: Sequence[Answer]) -> dict[str, Quality]:
    """What is counted in each kind of answers, and in all."""
    kinds = {
        "openings": [one for one in answers if one.prompt.kind == "opening"],
        "all turns": [one for one in answers if one.prompt.kind == "conversation"],
        "third turns": [one for one in answers if is_last_turn(one.prompt.kind, one.prompt.turn)],
        "Chinese": [one for one in answers if one.prompt.kind == "chinese"],
        "all": list(answers),
    }
    return {name: quality([one.measured for one in members]) for name, members in kinds.items() if members}


def is_last_turn(kind: str, turn: int) -> bool:
    """Whether an answer is one to the third turn of a conversation."""
    return kind == "conversation" and turn == LAST_TURN


def print_summary(summary: Mapping[str, Quality]) -> None:
    """One line per kind of answers."""
    heading = ("answers", "number", f"end within {LIMIT}", "loop", "repeat the prompt", "either")
    print_table(
        [(*heading, "distinct-1", "distinct-2", "mean tokens", "mean words"), *_summary_rows(summary)]
    )


def _summary_rows(summary: Mapping[str, Quality]) -> Iterator[tuple[str, ...]]:
    for name, found in summary.items():
        shares = (found.ended, found.looping, found.repeating, found.looping_or_repeating)
        yield (
            name,
            str(found.answers),
            *(f"{share:.1%}" for share in shares),
            *(f"{share:.3f}" for share in (found.distinct_1, found.distinct_2)),
            *(f"{mean:.1f}" for mean in (found.mean_tokens, found.mean_words)),
        )


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--model", type=Path, required=True, help="model folder")
    parser.add_argument("--openings", type=Path, required=True, help="JSON lines with id and messages")
    parser.add_argument("--conversations", type=Path, required=True, help="JSON lines with id and user_turns")
    parser.add_argument("--chinese", type=Path, required=True, help="JSON lines with id and messages")
    parser.add_argument("--out", type=Path, required=True, help="file for all answers and the counts")
    parser.add_argument("--temperature", type=float, help="default: the model folder's")
    parser.add_argument("--top-p", type=float, help="default: the model folder's")
    parser.add_argument("--seed", type=int, default=0)
    return parser.parse_args()


if __name__ == "__main__":
    main()
