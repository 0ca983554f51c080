"""Times model folders on this machine: load to first token, and decoding beside `transformers`' generate.

    python -m benchmarks.decode_speed --model new=DIR --model first=DIR

Decoding runs in 1 and in 16 streams, the two sides taking turns; `generate` is there for orientation.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

import torch
from transformers import GenerationConfig

from benchmarks.decoding import stored_decoding
from benchmarks.first_token import seconds_to_first_token
from benchmarks.named import named_path
from benchmarks.results import Measurement, print_table
from training.generation import DecodingParameters, sample_completions
from training.loading import LoadedModel, load_language_model

STREAMS = (1, 16)
NEVER = -1  # an end token that does not occur, so that every row decodes to the limit
PROMPT = "Hello! I had a long day at work and I am tired. What would you do with the evening?"


@dataclass(frozen=True, slots=True)
class DecodeSpeed:
    """Tokens per second of all streams together, a figure for each alternated pair, ours and `generate`'s."""

    streams: int
    ours: tuple[float, ...]
    generate: tuple[float, ...]

    @property
    def ratios(self) -> list[float]:
        """Ours over `generate`'s, pair by pair."""
        return [a / b for a, b in zip(self.ours, self.generate, strict=True)]

    @property
    def median_ratio(self) -> float:
        return statistics.median(self.ratios)


@dataclass(frozen=True, slots=True)
class ModelSpeed:
    """One model folder's times: seconds from a fresh process's reading of it to a first token, and decoding."""

    load_seconds: tuple[float, ...]
    decoding: tuple[DecodeSpeed, ...]


def main() -> None:
    options = parse_arguments()
    folders = dict(options.model)
    found = {}
    for name, folder in folders.items():
        loaded = load_language_model(folder)
        found[name] = ModelSpeed(
            tuple(seconds_to_first_token(folder) for _ in range(options.pairs)),
            tuple(
                measure_decode_speed(
                    loaded, streams=streams, pairs=options.pairs, new_tokens=options.new_tokens
                )
                for streams in STREAMS
            ),
        )
    print_speeds(found)
    write_row(found, options)


def measure_decode_speed(loaded: LoadedModel, *, streams: int, pairs: int, new_tokens: int) -> DecodeSpeed:
    """Decode `new_tokens` in each of `streams` rows, sampled as the folder says, prompt included in the time.

    Both sides run once before they are timed, and take turns in who runs first.
    """
    parameters = stored_decoding(loaded, new_tokens)
    prompt = loaded.chat_format.prompt_ids([{"role": "user", "content": PROMPT}])
    prompt = prompt[-(loaded.context_length - new_tokens) :]
    generate_endlessly(loaded, parameters)
    sides: list[Callable[[], int]] = [
        lambda: _ours(loaded, prompt, parameters, streams),
        lambda: _generate(loaded, prompt, streams),
    ]
    for side in sides:
        side()
    speeds: list[list[float]] = [[], []]
    for pair in range(pairs):
        for place in (0, 1) if pair % 2 == 0 else (1, 0):
            speeds[place].append(_tokens_per_second(sides[place], streams * new_tokens))
    return DecodeSpeed(streams, tuple(speeds[0]), tuple(speeds[1]))


def generate_endlessly(loaded: LoadedModel, parameters: DecodingParameters) -> None:
    """Give the model a generation config of these parameters without an end token."""
    is_sampled = not parameters.is_greedy
    loaded.model.generation_config = GenerationConfig(
        do_sample=is_sampled,
        temperature=parameters.temperature if is_sampled else None,
        top_p=parameters.top_p if is_sampled else None,
        top_k=parameters.top_k,
        repetition_penalty=parameters.repetition_penalty,
        max_new_tokens=parameters.max_new_tokens,
        pad_token_id=loaded.chat_format.pad_token_id,
    )


def _ours(loaded: LoadedModel, prompt: list[int], parameters: DecodingParameters, streams: int) -> int:
    with torch.inference_mode():
        sampled = sample_completions(
            loaded.model,
            [prompt] * streams,
            parameters=parameters,
            seeds=list(range(streams)),
            end_token_id=NEVER,
            pad_token_id=loaded.chat_format.pad_token_id,
        )
    return sum(len(one.token_ids) for one in sampled)


def _generate(loaded: LoadedModel, prompt: list[int], streams: int) -> int:
    ids = torch.tensor([prompt] * streams)
    model: Any = loaded.model
    with torch.inference_mode():
        found = model.generate(ids, attention_mask=torch.ones_like(ids))
    return int(found[:, len(prompt) :].numel())


def _tokens_per_second(decode: Callable[[], int], expected: int) -> float:
    began = time.perf_counter()
    tokens = decode()
    seconds = time.perf_counter() - began
    assert tokens == expected, f"{tokens} tokens were decoded, not {expected}"
    return tokens / seconds


def print_speeds(found: Mapping[str, ModelSpeed]) -> None:
    """One line per model and number of streams; medians."""
    rows = [
        (
            name,
            f"{statistics.median(speed.load_seconds):.2f}",
            str(one.streams),
            f"{statistics.median(one.ours):,.0f}",
            f"{statistics.median(one.generate):,.0f}",
            f"{one.median_ratio:.2f} ({min(one.ratios):.2f} to {max(one.ratios):.2f})",
        )
        for name, speed in found.items()
        for one in speed.decoding
    ]
    heading = ("model", "seconds to first token", "streams", "tokens/s", "generate's", "ratio")
    print_table([heading, *rows])


def write_row(found: Mapping[str, ModelSpeed], options: argparse.Namespace) -> None:
    """Store the first model's single-stream ratio to `generate`, with all figures beside it."""
    name, speed = next(iter(found.items()))
    single = speed.decoding[0]
    Measurement(
        row="P4",
        measure=f"single-stream decode of model {name} over transformers' generate, tokens/s",
        value=round(single.median_ratio, 2),
        unit="times",
        baseline=f"transformers.generate: {statistics.median(single.generate):.0f} tokens/s",
        spread=[round(min(single.ratios), 2), round(max(single.ratios), 2)],
        command=f"python -m benchmarks.decode_speed --pairs {options.pairs} --new-tokens {options.new_tokens}",
        detail={
            "threads": torch.get_num_threads(),
            **{
                name: {
                    "load_seconds": speed.load_seconds,
                    "decoding": [
                        {
                            **asdict(one),
                            "ratios": one.ratios,
                            "tokens_per_second": statistics.median(one.ours),
                        }
                        for one in speed.decoding
                    ],
                }
                for name, speed in found.items()
            },
        },
    ).write()


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument(
        "--model", type=named_path, action="append", required=True, help="NAME=DIR, repeatable"
    )
    parser.add_argument("--pairs", type=int, default=5, help="alternated pairs; the median counts")
    parser.add_argument("--new-tokens", type=int, default=128)
    return parser.parse_args()


if __name__ == "__main__":
    main()
