"""Times model folders on this machine: load to first token, and decoding beside `transformers`' generate.

    python -m benchmarks.decode_speed --model new=DIR --model first=DIR

Decoding runs in 1 and in 16 streams, the two sides taking turns: ours in the precision that serving uses, and
`generate` in the one it is faster with.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

from benchmarks.alternated import alternated, median_and_spread, ratios
from benchmarks.decoding import stored_decoding
from benchmarks.endless import NEVER, generate_endlessly
from benchmarks.first_token import seconds_to_first_token
from benchmarks.named import named_path
from benchmarks.precision import load_as_served, load_fastest, precision_of
from benchmarks.results import Measurement, print_table
from training.generation import DecodingParameters, sample_completions
from training.loading import LoadedModel

STREAMS = (1, 16)
PROMPT = "Hello! I had a long day at work and I am tired. What would you do with the evening?"


@dataclass(frozen=True, slots=True)
class DecodeSpeed:
    """Tokens per second of all streams together, a figure for each alternated pair, ours and `generate`'s."""

    streams: int
    ours: tuple[float, ...]
    generate: tuple[float, ...]
    our_precision: str
    generate_precision: str

    @property
    def ratios(self) -> list[float]:
        """Ours over `generate`'s, pair by pair."""
        return ratios(self.ours, self.generate)

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
    found = {
        name: ModelSpeed(
            tuple(seconds_to_first_token(folder) for _ in range(options.pairs)),
            tuple(
                measure_decode_speed(
                    folder, streams=streams, pairs=options.pairs, new_tokens=options.new_tokens
                )
                for streams in STREAMS
            ),
        )
        for name, folder in options.model
    }
    print_speeds(found)
    write_row(found, options)


def measure_decode_speed(folder: Path, *, streams: int, pairs: int, new_tokens: int) -> DecodeSpeed:
    """Decode `new_tokens` in each of `streams` rows, sampled as the folder says, prompt included in the time.

    Both sides run once before they are timed, and take turns in who runs first.
    """
    served = load_as_served(folder)
    parameters = stored_decoding(served, new_tokens)
    prompt = served.chat_format.prompt_ids([{"role": "user", "content": PROMPT}])
    prompt = prompt[-(served.context_length - new_tokens) :]

    def generate_seconds(loaded: LoadedModel) -> float:
        generate_endlessly(loaded, parameters)
        return _timed(lambda: _generate(loaded, prompt, streams))[1]

    baseline = load_fastest(folder, served.model.device, generate_seconds)
    expected = streams * new_tokens
    sides: dict[str, Callable[[int], float]] = {
        "ours": lambda _: _tokens_per_second(lambda: _ours(served, prompt, parameters, streams), expected),
        "generate": lambda _: _tokens_per_second(lambda: _generate(baseline, prompt, streams), expected),
    }
    speeds = alternated(sides, pairs)
    return DecodeSpeed(
        streams,
        tuple(speeds["ours"]),
        tuple(speeds["generate"]),
        precision_of(served),
        precision_of(baseline),
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
    ids = torch.tensor([prompt] * streams, device=loaded.model.device)
    model: Any = loaded.model
    with torch.inference_mode():
        found = model.generate(ids, attention_mask=torch.ones_like(ids))
    return int(found[:, len(prompt) :].numel())


def _tokens_per_second(decode: Callable[[], int], expected: int) -> float:
    tokens, seconds = _timed(decode)
    assert tokens == expected, f"{tokens} tokens were decoded, not {expected}"
    return tokens / seconds


def _timed(decode: Callable[[], int]) -> tuple[int, float]:
    began = time.perf_counter()
    tokens = decode()
    return tokens, time.perf_counter() - began


def print_speeds(found: Mapping[str, ModelSpeed]) -> None:
    """One line per model and number of streams; medians."""
    rows = [
        (
            name,
            f"{statistics.median(speed.load_seconds):.2f}",
            str(one.streams),
            f"{statistics.median(one.ours):,.0f} ({one.our_precision})",
            f"{statistics.median(one.generate):,.0f} ({one.generate_precision})",
            median_and_spread(one.ratios),
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
