"""Times concurrent chats through the inference engine, beside what `transformers` offers for them.

    python -m benchmarks.streams [--model DIR]

Every answer has the same number of tokens; prompts are new in each round and the same for all sides, which take
turns. Stores the rows P3 (16 streams against `generate` behind a lock) and P5 (idle first token at 16 streams).
"""

from __future__ import annotations

import argparse
import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from benchmarks.alternated import alternated, median_and_spread, ratios
from benchmarks.chat_prompts import ChatPrompt, draw_prompts
from benchmarks.decoding import stored_decoding
from benchmarks.endless import generate_endlessly
from benchmarks.engine_side import running_engine, stream_through
from benchmarks.generate_sides import behind_a_lock, continuously, padded_together
from benchmarks.precision import load_as_served, load_fastest, precision_of
from benchmarks.results import Measurement, print_table, shown_path
from benchmarks.streams_run import StreamsRun, first_token_percentile
from chat_app.inference.settings import InferenceSettings
from training.bundled import BUNDLED_MODEL_DIR
from training.loading import LoadedModel

ENGINE, LOCK = "engine", "generate behind a lock"
BASELINES: dict[str, Callable[[LoadedModel, Sequence[ChatPrompt]], StreamsRun]] = {
    LOCK: behind_a_lock,
    "generate, padded": padded_together,
    "generate_batch": continuously,
}
ROW_STREAMS = 16  # the line that P3 and P5 speak of


@dataclass(frozen=True, slots=True)
class StreamsLine:
    """All sides at one number of streams: their runs, round by round, and the precision of each."""

    streams: int
    runs: dict[str, list[StreamsRun]]
    precisions: dict[str, str]

    def speeds(self, side: str) -> list[float]:
        """Tokens per second of all streams together, round by round."""
        return [run.tokens_per_second for run in self.runs[side]]

    def ratios(self, side: str) -> list[float]:
        """The engine's speed over this side's, round by round."""
        return ratios(self.speeds(ENGINE), self.speeds(side))


def main() -> None:
    options = parse_arguments()
    served = load_as_served(options.model)
    lines = []
    for streams in options.streams:
        rounds = options.pairs if streams == ROW_STREAMS else options.other_pairs
        lines.append(measure_streams(served, streams, rounds=rounds, options=options))
        print_lines(lines[-1:])
    print_lines(lines)
    for line in lines:
        if line.streams == ROW_STREAMS:
            write_rows(line, lines, options)


def measure_streams(
    served: LoadedModel, streams: int, *, rounds: int, options: argparse.Namespace
) -> StreamsLine:
    """Let the engine and every baseline answer the same prompts, in turn."""
    parameters = stored_decoding(served, options.new_tokens)

    def prompts(number: int) -> list[ChatPrompt]:
        room = served.context_length // 2
        return draw_prompts(served.chat_format, streams, seed=1000 * streams + number, max_tokens=room)

    def baseline(name: str) -> LoadedModel:
        def seconds(loaded: LoadedModel) -> float:
            generate_endlessly(loaded, parameters)
            few = 1 if name == LOCK else streams
            return BASELINES[name](loaded, prompts(-2)[:few]).seconds

        return load_fastest(options.model, served.model.device, seconds)

    models = {name: baseline(name) for name in options.baseline}
    with running_engine(served, max(streams, InferenceSettings().max_batch)) as engine:
        sides: dict[str, Callable[[int], StreamsRun]] = {
            ENGINE: lambda number: stream_through(engine, prompts(number), parameters)
        }
        for name, model in models.items():
            sides[name] = _side(name, model, prompts)
        runs = alternated(sides, rounds)
    precisions = {name: precision_of(model) for name, model in {ENGINE: served, **models}.items()}
    return StreamsLine(streams, runs, precisions)


def _side(
    name: str, model: LoadedModel, prompts: Callable[[int], list[ChatPrompt]]
) -> Callable[[int], StreamsRun]:
    return lambda number: BASELINES[name](model, prompts(number))


def print_lines(lines: Sequence[StreamsLine]) -> None:
    """One line per number of streams and side: medians, first tokens over all answers, the engine's lead."""
    rows = [
        (
            str(line.streams),
            side,
            line.precisions[side],
            f"{statistics.median(line.speeds(side)):,.0f}",
            f"{first_token_percentile(runs, 0.5):.3f}",
            f"{first_token_percentile(runs, 0.95):.3f}",
            "" if side == ENGINE else median_and_spread(line.ratios(side)),
        )
        for line in lines
        for side, runs in line.runs.items()
    ]
    heading = (
        "streams",
        "side",
        "precision",
        "tokens/s",
        "first token p50",
        "p95",
        "engine is times as fast",
    )
    print_table([heading, *rows])


def write_rows(line: StreamsLine, lines: Sequence[StreamsLine], options: argparse.Namespace) -> None:
    """Store P3 and P5, each with everything measured."""
    command = f"python -m benchmarks.streams --pairs {options.pairs} --new-tokens {options.new_tokens}"
    detail: dict[str, Any] = {
        "model": shown_path(Path(options.model)),
        "threads": torch.get_num_threads(),
        "new_tokens": options.new_tokens,
        "lines": [_detail(line) for line in lines],
    }
    found = line.ratios(LOCK)
    Measurement(
        row="P3",
        measure=f"chat tokens/s at {line.streams} concurrent streams over one generate at a time behind a lock",
        value=round(statistics.median(found), 2),
        unit="times",
        baseline=f"{LOCK}: {statistics.median(line.speeds(LOCK)):.0f} tokens/s",
        spread=[round(min(found), 2), round(max(found), 2)],
        command=command,
        detail=detail,
    ).write()
    by_round = [first_token_percentile([run], 0.95) for run in line.runs[ENGINE]]
    Measurement(
        row="P5",
        measure=f"first-token p95 at {line.streams} concurrent chats that begin at once, idle machine",
        value=round(first_token_percentile(line.runs[ENGINE], 0.95), 3),
        unit="seconds",
        baseline=f"{LOCK}: {first_token_percentile(line.runs[LOCK], 0.95):.2f} seconds",
        spread=[round(min(by_round), 3), round(max(by_round), 3)],
        command=command,
        detail=detail,
    ).write()


def _detail(line: StreamsLine) -> dict[str, Any]:
    return {
        "streams": line.streams,
        "sides": {
            side: {
                "precision": line.precisions[side],
                "tokens_per_second": line.speeds(side),
                "first_token_p50": first_token_percentile(runs, 0.5),
                "first_token_p95": first_token_percentile(runs, 0.95),
                "ratios": [] if side == ENGINE else line.ratios(side),
            }
            for side, runs in line.runs.items()
        },
    }


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--model", type=Path, default=BUNDLED_MODEL_DIR)
    parser.add_argument("--streams", type=int, nargs="+", default=[1, 4, 16, 64])
    parser.add_argument("--new-tokens", type=int, default=128)
    parser.add_argument("--pairs", type=int, default=7, help=f"rounds at {ROW_STREAMS} streams")
    parser.add_argument("--other-pairs", type=int, default=3, help="rounds at other numbers of streams")
    parser.add_argument("--baseline", choices=list(BASELINES), nargs="+", default=list(BASELINES))
    options = parser.parse_args()
    if LOCK not in options.baseline:
        parser.error(f'the rows are held against "{LOCK}"; name it among the baselines')
    return options


if __name__ == "__main__":
    main()
