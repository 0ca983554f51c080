"""How often one version beats another by a labeller's taste, on prompts that neither was trained on."""

import math
import random
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import torch

from training.generation import DecodingParameters, sample_completions
from training.labellers import Labeller, Prompt, words_of
from training.loading import LoadedModel
from training.reward.data import fitted_prompt

Z_95 = 1.959963984540054


class WinRateError(Exception):
    """The comparison cannot be made; the message says why and what to do."""


@dataclass(frozen=True, slots=True)
class Style:
    """How a version's answers look as a whole: mean words, different word pairs, share that ended."""

    mean_words: float
    distinct_2: float
    share_ended: float
    mean_score: float


@dataclass(frozen=True, slots=True)
class WinRate:
    """The share of prompts that A wins, ties counting one half, and its 95 % interval.

    The interval is Wilson's score interval around the rate with the number of prompts reduced or raised to
    what the spread of the per-prompt results (0, ½, 1) is worth: ties make it narrower than wins and losses.
    """

    version_a: str
    version_b: str
    labeller: str
    prompts: int
    seed: int
    rate: float
    low: float
    high: float
    wins: int
    ties: int
    losses: int
    style_a: Style
    style_b: Style

    @property
    def is_better(self) -> bool:
        """A is better with 95 % certainty: the whole interval lies above one half."""
        return self.low > 0.5

    def as_dict(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        return {**asdict(self), "is_better": self.is_better}


@dataclass(frozen=True, slots=True)
class Contest:
    """What both versions are asked, and how their answers are sampled and judged."""

    prompts: Sequence[Prompt]
    labeller: Labeller
    labeller_name: str
    parameters: DecodingParameters
    seed: int = 0


@dataclass(frozen=True, slots=True)
class Contestant:
    """A loaded version under its name; its answer to a prompt is the best of `best_of` samples by the taste.

    `best_of` above 1 measures headroom: what the model can say at all.
    """

    name: str
    loaded: LoadedModel
    best_of: int = 1


@dataclass(frozen=True, slots=True)
class Answers:
    """One answer per prompt, scored."""

    texts: list[str]
    scores: list[float]
    share_ended: float


def win_rate(a: Contestant, b: Contestant, contest: Contest) -> WinRate:
    """Let both answer every prompt, with the same seed per prompt, and count. Raises WinRateError."""
    if not contest.prompts:
        raise WinRateError(
            "There are no held-out prompts to compare on. Start the service once to load them."
        )
    answers_a, answers_b = answer_all(a, contest), answer_all(b, contest)
    results = [_result(x, y) for x, y in zip(answers_a.scores, answers_b.scores, strict=True)]
    low, high = wilson_interval(results)
    return WinRate(
        version_a=a.name,
        version_b=b.name,
        labeller=contest.labeller_name,
        prompts=len(results),
        seed=contest.seed,
        rate=sum(results) / len(results),
        low=low,
        high=high,
        wins=results.count(1.0),
        ties=results.count(0.5),
        losses=results.count(0.0),
        style_a=_style(answers_a),
        style_b=_style(answers_b),
    )


def answer_all(contestant: Contestant, contest: Contest) -> Answers:
    """Sample the contestant's answer to every prompt; the same contest gives the same answers."""
    format_, model = contestant.loaded.chat_format, contestant.loaded.model
    room = max(contestant.loaded.context_length - contest.parameters.max_new_tokens, 1)
    encoded = [fitted_prompt(prompt, format_, room)[0] for prompt in contest.prompts]
    with torch.inference_mode():
        sampled = sample_completions(
            model,
            [ids for ids in encoded for _ in range(contestant.best_of)],
            parameters=contest.parameters,
            seeds=_seeds(len(encoded), contestant.best_of, contest.seed),
            end_token_id=format_.end_token_id,
            pad_token_id=format_.pad_token_id,
        )
    texts = [format_.decode(one.token_ids) for one in sampled]
    best = [_best(texts, i, contestant.best_of, contest) for i in range(len(encoded))]
    return Answers(
        texts=[texts[index] for index, _ in best],
        scores=[score for _, score in best],
        share_ended=sum(sampled[index].is_ended for index, _ in best) / len(best),
    )


def wilson_interval(results: Sequence[float]) -> tuple[float, float]:
    """The 95 % score interval of a mean of results in {0, ½, 1} (Wilson 1927).

    Ties carry less variance than the binomial p(1 − p), so n is scaled by p(1 − p) / variance, at most to
    four times: an effective number of wins and losses. Without ties this is Wilson's interval itself.
    """
    n, p = len(results), sum(results) / len(results)
    variance = sum((result - p) ** 2 for result in results) / n
    scale = min(p * (1 - p) / variance, 4.0) if variance > 0 and 0 < p < 1 else 1.0
    effective = n * scale
    centre = (p + Z_95**2 / (2 * effective)) / (1 + Z_95**2 / effective)
    spread = math.sqrt(p * (1 - p) / effective + Z_95**2 / (4 * effective**2))
    half = Z_95 * spread / (1 + Z_95**2 / effective)
    return max(0.0, centre - half), min(1.0, centre + half)


def distinct_2(texts: Sequence[str]) -> float:
    """The share of different word pairs among all (Li et al. 2016): how much answers vary."""
    pairs = [pair for text in texts for pair in zip(words_of(text), words_of(text)[1:], strict=False)]
    return len(set(pairs)) / len(pairs) if pairs else 0.0


def sample_prompts(prompts: Sequence[Prompt], count: int, seed: int) -> list[Prompt]:
    """Choose `count` different prompts. Raises WinRateError when there are fewer."""
    if count > len(prompts):
        raise WinRateError(
            f"{count} prompts were asked for, and {len(prompts)} are held out and unvoted. "
            f"Ask for at most {len(prompts)} (--prompts {len(prompts)})."
        )
    return random.Random(seed).sample(list(prompts), count)


def _best(texts: Sequence[str], prompt_index: int, best_of: int, contest: Contest) -> tuple[int, float]:
    """The index and the score of the best of the prompt's samples."""
    first = prompt_index * best_of
    prompt = contest.prompts[prompt_index]
    scored = [(index, contest.labeller(prompt, texts[index])) for index in range(first, first + best_of)]
    return max(scored, key=lambda one: one[1])


def _seeds(prompts: int, best_of: int, seed: int) -> list[int]:
    source = random.Random(seed)
    return [source.getrandbits(31) for _ in range(prompts * best_of)]


def _result(score_a: float, score_b: float) -> float:
    return 0.5 if score_a == score_b else float(score_a > score_b)


def _style(answers: Answers) -> Style:
    lengths = [len(words_of(text)) for text in answers.texts]
    return Style(
        mean_words=sum(lengths) / len(lengths),
        distinct_2=distinct_2(answers.texts),
        share_ended=answers.share_ended,
        mean_score=sum(answers.scores) / len(answers.scores),
    )
