"""Times rollouts: `sample_completions` beside `transformers`' generate on a padded batch.

    python -m benchmarks.rollouts [--model DIR]

With log-probabilities and without; those of `generate` come from its scores and `compute_transition_scores`. Sampled
at temperature 1 with nothing filtered, as PPO does, and every completion has the same number of tokens. Ours runs in
float32, as PPO's policy does, unless told otherwise; `generate` in the precision it is faster with.
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
from benchmarks.precision import load_fastest, precision_of
from benchmarks.results import Measurement, print_table, shown_path
from training.bundled import BUNDLED_MODEL_DIR
from training.generation import DecodingParameters, sample_completions
from training.loading import LoadedModel, load_language_model
from training.numerics import probe_numerics

Prompts = Sequence[Sequence[int]]
OURS, GENERATE = "ours", "generate"


def main() -> None:
    options = parse_arguments()
    policy = load_language_model(
        options.model,
        dtype=getattr(torch, options.precision),
        device=probe_numerics(precision=options.precision, compile_model=False).device,
    )
    parameters = DecodingParameters(max_new_tokens=options.new_tokens)

    def prompts(number: int) -> Prompts:
        drawn = draw_prompts(
            policy.chat_format, options.batch, seed=number, max_tokens=options.longest_prompt
        )
        return [prompt.token_ids for prompt in drawn]

    found: dict[bool, dict[str, list[float]]] = {}
    precisions: dict[bool, str] = {}
    for keep_logprobs in (False, True):
        baseline = _fastest_generate(policy, prompts(-2), parameters, keep_logprobs, options.model)
        sides = _sides(policy, baseline, prompts, parameters, keep_logprobs)
        found[keep_logprobs] = alternated(sides, options.pairs)
        precisions[keep_logprobs] = precision_of(baseline)
    print_speeds(found, precisions, options.precision)
    write_row(found, precisions, options)


def _fastest_generate(
    policy: LoadedModel, prompts: Prompts, parameters: DecodingParameters, keep_logprobs: bool, folder: Path
) -> LoadedModel:
    def seconds(loaded: LoadedModel) -> float:
        generate_endlessly(loaded, parameters)
        return 1 / tokens_per_second(lambda: generated(loaded, prompts, keep_logprobs))

    return load_fastest(folder, policy.model.device, seconds)


def _sides(
    policy: LoadedModel,
    baseline: LoadedModel,
    prompts: Callable[[int], Prompts],
    parameters: DecodingParameters,
    keep_logprobs: bool,
) -> dict[str, Callable[[int], float]]:
    def ours(number: int) -> float:
        drawn = prompts(number)
        return tokens_per_second(lambda: sampled(policy, drawn, parameters, keep_logprobs))

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


def print_speeds(
    found: dict[bool, dict[str, list[float]]], precisions: dict[bool, str], our_precision: str
) -> None:
    """One line without log-probabilities and one with them; medians."""
    rows = [
        (
            "kept" if keep_logprobs else "not kept",
            f"{statistics.median(speeds[OURS]):,.0f} ({our_precision})",
            f"{statistics.median(speeds[GENERATE]):,.0f} ({precisions[keep_logprobs]})",
            median_and_spread(ratios(speeds[OURS], speeds[GENERATE])),
        )
        for keep_logprobs, speeds in found.items()
    ]
    print_table([("log-probabilities", "tokens/s", "generate's", "ratio"), *rows])


def write_row(
    found: dict[bool, dict[str, list[float]]], precisions: dict[bool, str], options: argparse.Namespace
) -> None:
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
        command=f"python -m benchmarks.rollouts --pairs {options.pairs} --precision {options.precision}",
        detail={
            "model": shown_path(Path(options.model)),
            "threads": torch.get_num_threads(),
            "our_precision": options.precision,
            "without_logprobs": {**found[False], "generate_precision": precisions[False]},
            "with_logprobs": {**found[True], "generate_precision": precisions[True]},
        },
    ).write()


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--model", type=Path, default=BUNDLED_MODEL_DIR)
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--longest-prompt", type=int, default=64)
    parser.add_argument("--new-tokens", type=int, default=64)
    parser.add_argument("--precision", choices=("float32", "bfloat16"), default="float32", help="of ours")
    parser.add_argument("--pairs", type=int, default=5)
    return parser.parse_args()


if __name__ == "__main__":
    main()
