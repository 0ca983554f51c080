"""Times rollouts: `sample_completions` beside `transformers`' generate on a padded batch.

    python -m benchmarks.rollouts [--model DIR]

With log-probabilities and without; those of `generate` come from its scores and `compute_transition_scores`. Sampled
at temperature 1 with nothing filtered, as PPO does, and every completion has the same number of tokens.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch

from benchmarks.alternated import alternated, median_and_spread, ratios
from benchmarks.chat_prompts import draw_prompts
from benchmarks.endless import NEVER, generate_endlessly
from benchmarks.generate_sides import left_padded
from benchmarks.precision import load_as_served, load_fastest, precision_of
from benchmarks.results import Measurement, print_table
from training.bundled import BUNDLED_MODEL_DIR
from training.generation import DecodingParameters, sample_completions
from training.loading import LoadedModel

Prompts = Sequence[Sequence[int]]
OURS, GENERATE = "ours", "generate"


def main() -> None:
    options = parse_arguments()
    served = load_as_served(options.model)
    parameters = DecodingParameters(max_new_tokens=options.new_tokens)

    def prompts(number: int) -> Prompts:
        drawn = draw_prompts(
            served.chat_format, options.batch, seed=number, max_tokens=options.longest_prompt
        )
        return [prompt.token_ids for prompt in drawn]

    found = {}
    for keep_logprobs in (False, True):
        baseline = _fastest_generate(served, prompts(-2), parameters, keep_logprobs, options.model)
        sides = _sides(served, baseline, prompts, parameters, keep_logprobs)
        found[keep_logprobs] = alternated(sides, options.pairs)
        print(f"generate in {precision_of(baseline)}, ours in {precision_of(served)}")
    print_speeds(found)
    write_row(found, options)


def _fastest_generate(
    served: LoadedModel, prompts: Prompts, parameters: DecodingParameters, keep_logprobs: bool, folder: Path
) -> LoadedModel:
    def seconds(loaded: LoadedModel) -> float:
        generate_endlessly(loaded, parameters)
        return 1 / tokens_per_second(lambda: generated(loaded, prompts, keep_logprobs))

    return load_fastest(folder, served.model.device, seconds)


def _sides(
    served: LoadedModel,
    baseline: LoadedModel,
    prompts: Callable[[int], Prompts],
    parameters: DecodingParameters,
    keep_logprobs: bool,
) -> dict[str, Callable[[int], float]]:
    def ours(number: int) -> float:
        drawn = prompts(number)
        return tokens_per_second(lambda: sampled(served, drawn, parameters, keep_logprobs))

    def generate(number: int) -> float:
        drawn = prompts(number)
        return tokens_per_second(lambda: generated(baseline, drawn, keep_logprobs))

    return {OURS: ours, GENERATE: generate}


def sampled(
    loaded: LoadedModel, prompts: Prompts, parameters: DecodingParameters, keep_logprobs: bool
) -> int:
    """Sample with our decoder; returns how many tokens."""
    completions = sample_completions(
        loaded.model,
        prompts,
        parameters=parameters,
        seeds=range(len(prompts)),
        end_token_id=NEVER,
        pad_token_id=loaded.chat_format.pad_token_id,
        keep_logprobs=keep_logprobs,
    )
    return sum(len(completion.token_ids) for completion in completions)


def generated(loaded: LoadedModel, prompts: Prompts, keep_logprobs: bool) -> int:
    """Sample with `generate`; returns how many tokens."""
    ids, mask = left_padded(loaded, prompts)
    model: Any = loaded.model
    with torch.inference_mode():
        if not keep_logprobs:
            return int(model.generate(ids, attention_mask=mask)[:, ids.shape[1] :].numel())
        output = model.generate(ids, attention_mask=mask, output_scores=True, return_dict_in_generate=True)
        scores = model.compute_transition_scores(output.sequences, output.scores, normalize_logits=True)
    return int(scores.numel())


def tokens_per_second(decode: Callable[[], int]) -> float:
    """Time one call that returns how many tokens it decoded."""
    began = time.perf_counter()
    tokens = decode()
    return tokens / (time.perf_counter() - began)


def print_speeds(found: dict[bool, dict[str, list[float]]]) -> None:
    """One line without log-probabilities and one with them; medians."""
    rows = [
        (
            "kept" if keep_logprobs else "not kept",
            f"{statistics.median(speeds[OURS]):,.0f}",
            f"{statistics.median(speeds[GENERATE]):,.0f}",
            median_and_spread(ratios(speeds[OURS], speeds[GENERATE])),
        )
        for keep_logprobs, speeds in found.items()
    ]
    print_table([("log-probabilities", "tokens/s", "generate's", "ratio"), *rows])


def write_row(found: dict[bool, dict[str, list[float]]], options: argparse.Namespace) -> None:
    """Store the smaller of the two ratios, with all speeds."""
    by_case = {
        keep_logprobs: ratios(speeds[OURS], speeds[GENERATE]) for keep_logprobs, speeds in found.items()
    }
    worse = min(by_case, key=lambda case: statistics.median(by_case[case]))
    Measurement(
        row="rollouts",
        measure=f"rollout tokens/s at batch {options.batch} over transformers' padded generate, the lesser of "
        "with and without log-probabilities",
        value=round(statistics.median(by_case[worse]), 2),
        unit="times",
        baseline=f"transformers.generate: {statistics.median(found[worse][GENERATE]):.0f} tokens/s",
        spread=[round(min(by_case[worse]), 2), round(max(by_case[worse]), 2)],
        command=f"python -m benchmarks.rollouts --pairs {options.pairs} --new-tokens {options.new_tokens}",
        detail={
            "model": str(options.model),
            "threads": torch.get_num_threads(),
            "without_logprobs": found[False],
            "with_logprobs": found[True],
        },
    ).write()


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--model", type=Path, default=BUNDLED_MODEL_DIR)
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--longest-prompt", type=int, default=64)
    parser.add_argument("--new-tokens", type=int, default=64)
    parser.add_argument("--pairs", type=int, default=5)
    return parser.parse_args()


if __name__ == "__main__":
    main()
