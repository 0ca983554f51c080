from collections.abc import Sequence

import pytest
import torch
from transformers.generation.logits_process import (
    RepetitionPenaltyLogitsProcessor,
    TopKLogitsWarper,
    TopPLogitsWarper,
)

from training.generation import DecodingParameters
from training.generation.sampling import (
    SamplingSettings,
    choose_tokens,
    chosen_logprobs,
    draw,
    keep_top_k,
    keep_top_p,
    penalise_repetition,
)

CPU = torch.device("cpu")


def logits_of(*probabilities: float) -> torch.Tensor:
    return torch.tensor([probabilities]).log()


def kept(logits: torch.Tensor) -> list[list[int]]:
    return [row.isfinite().nonzero().squeeze(-1).tolist() for row in logits]


@pytest.mark.parametrize(
    ("uniform", "token"), [(0.0, 0), (0.49, 0), (0.51, 1), (0.79, 1), (0.81, 2), (1 - 2**-24, 2)]
)
def test_a_draw_inverts_the_cumulative_distribution(uniform: float, token: int) -> None:
    assert draw(logits_of(0.5, 0.3, 0.2), [uniform]).tolist() == [token]


@pytest.mark.parametrize("uniform", [0.0, 0.5, 1 - 2**-24])
def test_a_token_of_probability_zero_is_never_drawn(uniform: float) -> None:
    assert draw(logits_of(0.0, 1.0, 0.0), [uniform]).tolist() == [1]


def test_a_large_vocabulary_is_summed_without_drift() -> None:
    assert draw(torch.zeros(1, 150_000), [100_000.5 / 150_000]).tolist() == [100_000]


def test_each_row_is_drawn_at_its_own_point() -> None:
    assert draw(logits_of(0.5, 0.3, 0.2).expand(3, 3), [0.9, 0.1, 0.6]).tolist() == [2, 0, 1]


def test_top_k_keeps_the_k_likeliest_of_each_row() -> None:
    logits = torch.tensor([[1.0, 4.0, 3.0, 2.0], [1.0, 4.0, 3.0, 2.0], [1.0, 4.0, 3.0, 2.0]])
    assert kept(keep_top_k(logits, torch.tensor([2, 0, 9]))) == [[1, 2], [0, 1, 2, 3], [0, 1, 2, 3]]


def test_top_p_keeps_tokens_up_to_the_one_that_reaches_the_mass() -> None:
    logits = logits_of(0.05, 0.5, 0.15, 0.3).expand(4, 4)
    top_ps = torch.tensor([0.4, 0.7, 0.9, 1.0])
    assert kept(keep_top_p(logits, top_ps)) == [[1], [1, 3], [1, 2, 3], [0, 1, 2, 3]]


@pytest.mark.parametrize(
    "scale", [0.05, 1.0, 4.0]
)  # flat (the nucleus is wider than the first look) to sharp
@pytest.mark.parametrize("top_p", [0.1, 0.6, 0.95])
def test_top_p_and_top_k_keep_what_transformers_keeps(top_p: float, scale: float) -> None:
    logits = torch.randn(3, 1000, generator=torch.Generator().manual_seed(1)) * scale
    ids = torch.zeros(3, 1, dtype=torch.long)
    assert kept(keep_top_p(logits, torch.full((3,), top_p))) == kept(TopPLogitsWarper(top_p)(ids, logits))
    assert kept(keep_top_k(logits, torch.full((3,), 7))) == kept(TopKLogitsWarper(7)(ids, logits))


def test_the_repetition_penalty_is_the_one_of_transformers() -> None:
    logits = torch.randn(2, 50, generator=torch.Generator().manual_seed(2))
    ids = torch.tensor([[3, 4, 4], [10, 11, 49]])
    seen = torch.zeros(2, 50, dtype=torch.bool).scatter_(1, ids, True)
    expected = RepetitionPenaltyLogitsProcessor(1.3)(ids, logits.clone())
    torch.testing.assert_close(penalise_repetition(logits, seen, torch.tensor([1.3, 1.3])), expected)


def choose(rows: Sequence[DecodingParameters], logits: torch.Tensor, uniform: float) -> list[int]:
    settings = SamplingSettings.of_rows(rows, CPU)
    chosen: list[int] = choose_tokens(logits, settings, [uniform] * len(rows)).tolist()
    return chosen


def test_greedy_and_sampling_rows_share_a_batch() -> None:
    rows = [
        DecodingParameters(temperature=0),
        DecodingParameters(),
        DecodingParameters(top_k=2),
        DecodingParameters(top_p=0.6),
    ]
    assert choose(rows, logits_of(0.3, 0.5, 0.2).expand(4, 3), 0.99) == [1, 2, 1, 1]


def test_a_low_temperature_sharpens_and_a_high_one_flattens() -> None:
    logits = logits_of(0.6, 0.4).expand(3, 2)
    rows = [DecodingParameters(temperature=t) for t in (0.5, 1.0, 4.0)]
    # 0.6² / (0.6² + 0.4²) = 0.692; 0.6; 0.6^¼ / (0.6^¼ + 0.4^¼) = 0.525
    assert choose(rows, logits, 0.65) == [0, 1, 1]
    assert choose(rows, logits, 0.55) == [0, 0, 1]


def test_the_logprob_of_the_chosen_token_is_its_log_probability() -> None:
    logits = logits_of(0.5, 0.25, 0.25).expand(2, 3) + 3
    expected = torch.tensor([-0.693147, -1.386294])
    torch.testing.assert_close(chosen_logprobs(logits, torch.tensor([0, 2])), expected)
