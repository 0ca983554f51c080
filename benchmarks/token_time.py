"""Where the time goes per token: the inference engine with a stopwatch on its parts, at 1 and at 16 streams.

    python -m benchmarks.token_time [--model DIR]

On the CPU, where a call is over when it returns. Reading the prompts is a part of its own.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch

from benchmarks.chat_prompts import draw_prompts
from benchmarks.decoding import stored_decoding
from benchmarks.engine_side import running_engine, stream_through
from benchmarks.precision import load_as_served, precision_of
from benchmarks.results import Measurement, print_table, shown_path
from benchmarks.stopwatch import Part, Stopwatch
from chat_app.inference.detokenise import Detokeniser
from chat_app.inference.engine import InferenceEngine
from chat_app.inference.generation import Generation
from chat_app.inference.settings import InferenceSettings
from training.bundled import BUNDLED_MODEL_DIR
from training.generation import DecodingBatch
from training.generation.block_forward import BlockForward
from training.generation.blocks.gpt2 import Gpt2Blocks
from training.generation.blocks.llama import LlamaBlocks
from training.generation.blocks.weights import Projection
from training.generation.slot_memory import SlotPass
from training.generation.transformers_forward import TransformersForward
from training.loading import LoadedModel

READERS = "text for readers (another thread)"
PARTS = (
    Part("projections", Projection, "__call__"),
    Part("attention, with its memory", SlotPass, "attend", is_whole=True),
    Part("head", LlamaBlocks, "logits", is_whole=True),
    Part("head", Gpt2Blocks, "logits", is_whole=True),
    Part("norms, rotation, activation, sums", LlamaBlocks, "hidden"),
    Part("norms, rotation, activation, sums", Gpt2Blocks, "hidden"),
    Part("places and masks", BlockForward, "step"),
    Part("forward pass of transformers", TransformersForward, "step", is_whole=True),
    Part("sampling and log-probabilities", DecodingBatch, "_choose"),
    Part("reading prompts", DecodingBatch, "_read_on", is_whole=True),
    Part("engine: joining, leaving, metrics", InferenceEngine, "_turn"),
    Part("engine: telling readers", Generation, "append", is_whole=True),
    Part(READERS, Detokeniser, "text", is_whole=True),
)
REST = "waiting, and what is not named"


@dataclass(frozen=True, slots=True)
class TokenTime:
    """Microseconds per token by part, and the speed with the stopwatch and without it."""

    microseconds: Mapping[str, float]
    tokens_per_second: float
    tokens_per_second_untimed: float

    @property
    def total(self) -> float:
        """Microseconds per token on the clock."""
        return 1e6 / self.tokens_per_second


def main() -> None:
    options = parse_arguments()
    served = load_as_served(options.model)
    if served.model.device.type != "cpu":
        raise SystemExit(
            f"The parts can be told apart on the CPU only, and here serving uses {served.model.device}."
        )
    found = {streams: measure_token_time(served, streams, options.new_tokens) for streams in options.streams}
    print_times(found)
    write_row(found, served, options)


def measure_token_time(served: LoadedModel, streams: int, new_tokens: int) -> TokenTime:
    """Stream three times: to warm up, without the stopwatch, and with it."""
    parameters, room = stored_decoding(served, new_tokens), served.context_length // 2
    prompts = [draw_prompts(served.chat_format, streams, seed=seed, max_tokens=room) for seed in range(3)]
    watch = Stopwatch()
    with running_engine(served, max(streams, InferenceSettings().max_batch)) as engine:
        stream_through(engine, prompts[0], parameters)
        untimed = stream_through(engine, prompts[1], parameters)
        with watch.on(PARTS):
            timed = stream_through(engine, prompts[2], parameters)
    return TokenTime(
        by_token(watch.seconds, timed.seconds, timed.tokens),
        timed.tokens_per_second,
        untimed.tokens_per_second,
    )


def by_token(seconds: Mapping[str, float], clock_seconds: float, tokens: int) -> dict[str, float]:
    """Microseconds per token by part, in the order of `PARTS`; what no part of the engine's thread took is the rest."""
    names = [name for name in dict.fromkeys(part.part for part in PARTS) if name in seconds]
    rest = clock_seconds - sum(seconds[name] for name in names if name != READERS)
    ordered = {name: seconds[name] for name in names if name != READERS} | {REST: rest}
    if READERS in seconds:
        ordered[READERS] = seconds[READERS]
    return {name: 1e6 * taken / tokens for name, taken in ordered.items()}


def print_times(found: Mapping[int, TokenTime]) -> None:
    """A line per part: microseconds per token and share, at each number of streams."""
    names = list(dict.fromkeys(name for one in found.values() for name in one.microseconds))
    heading = ["part"]
    for streams in found:
        heading += [f"µs/token at {streams}", "share"]
    rows = [tuple(heading)]
    for name in names:
        cells = [name]
        for one in found.values():
            taken = one.microseconds.get(name, 0.0)
            cells += [f"{taken:,.1f}", f"{taken / one.total:.1%}"]
        rows.append(tuple(cells))
    total = ["all, on the clock"]
    for one in found.values():
        total += [f"{one.total:,.1f}", f"{1e6 / one.tokens_per_second_untimed:,.1f} untimed"]
    print_table([*rows, tuple(total)])


def write_row(found: Mapping[int, TokenTime], served: LoadedModel, options: argparse.Namespace) -> None:
    """Store all parts; the value is the time of a token in a single stream, without the stopwatch."""
    streams, first = next(iter(found.items()))
    untimed = 1e6 / first.tokens_per_second_untimed
    Measurement(
        row="token-time",
        measure=f"time per token through the inference engine at {streams} concurrent stream(s), prompts included",
        value=round(untimed, 1),
        unit="microseconds",
        baseline="with the stopwatch on",
        spread=[round(untimed, 1), round(first.total, 1)],
        command=f"python -m benchmarks.token_time --new-tokens {options.new_tokens}",
        detail={
            "model": shown_path(Path(options.model)),
            "precision": precision_of(served),
            "threads": torch.get_num_threads(),
            "microseconds_per_token": {
                str(streams): dict(one.microseconds) for streams, one in found.items()
            },
            "tokens_per_second": {
                str(streams): {"timed": one.tokens_per_second, "untimed": one.tokens_per_second_untimed}
                for streams, one in found.items()
            },
        },
    ).write()


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--model", type=Path, default=BUNDLED_MODEL_DIR)
    parser.add_argument("--streams", type=int, nargs="+", default=[1, 16])
    parser.add_argument("--new-tokens", type=int, default=256)
    return parser.parse_args()


if __name__ == "__main__":
    main()
