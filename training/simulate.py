"""A simulated person votes through the HTTP API: asks for pairs, scores both answers, and votes."""

import random
import time
import uuid
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, Literal

import httpx

from training.labellers import Labeller

Choice = Literal["left", "right", "tie"]

RETRY_STATUSES = frozenset({429, 503})


class SimulationError(Exception):
    """The service cannot be voted at; the message says why and what to do."""


@dataclass(frozen=True, slots=True)
class SimulationPlan:
    """How many comparisons to vote on, how often the vote is against the taste, and how hard to try."""

    comparisons: int = 100
    noise: float = 0.1
    seed: int = 0
    concurrency: int = 4
    patience_seconds: float = 60.0

    def __post_init__(self) -> None:
        if self.comparisons < 1:
            raise SimulationError(f"comparisons is {self.comparisons}; give 1 or more.")
        if not 0 <= self.noise <= 1:
            raise SimulationError(f"noise is {self.noise}; give the share of flipped votes, from 0 to 1.")
        if not 1 <= self.concurrency <= 64:
            raise SimulationError(f"concurrency is {self.concurrency}; give 1 to 64 pairs at once.")


@dataclass(frozen=True, slots=True)
class SimulatedVote:
    """One vote: what the taste says, what was voted after noise, and the stored preference."""

    comparison_id: int
    preference_id: int
    taste: Choice
    vote: Choice


@dataclass(frozen=True, slots=True)
class SimulationSummary:
    """What a simulation came to; `agreement` is the share of decided votes that say the labeller's taste."""

    votes: int
    left: int
    right: int
    ties: int
    agreement: float
    seconds: float

    def __str__(self) -> str:
        return (
            f"{self.votes} votes in {self.seconds:.0f} s: {self.left} left, {self.right} right, "
            f"{self.ties} ties. "
            f"{self.agreement:.0%} of the decided ones say the labeller's taste; the others are its noise."
        )


def connect(url: str) -> httpx.Client:
    """Make the client for a service at `url`. Raises SimulationError when that is no address."""
    if not url.startswith(("http://", "https://")):
        raise SimulationError(f'The address "{url}" is not usable; give one like http://127.0.0.1:7860.')
    return httpx.Client(base_url=url, timeout=120, trust_env=False)


def simulate(
    *,
    client: httpx.Client,
    labeller: Labeller,
    plan: SimulationPlan,
    on_vote: Callable[[int, SimulatedVote], None] = lambda _count, _vote: None,
) -> SimulationSummary:
    """Vote `plan.comparisons` times at the service that `client` has as its base address.

    The same seed flips the votes at the same numbers; which answers are shown is the service's doing.
    `on_vote` hears the count so far after each. Raises SimulationError and labellers' LabellerError.
    """
    started = time.monotonic()
    flips = [
        random.Random(f"{plan.seed}/{number}").random() < plan.noise for number in range(plan.comparisons)
    ]
    votes: list[SimulatedVote] = []

    def vote(is_flipped: bool) -> SimulatedVote:
        return _vote_once(client, labeller, plan, is_flipped)

    with ThreadPoolExecutor(plan.concurrency) as pool:
        try:
            for one in pool.map(vote, flips):
                votes.append(one)
                on_vote(len(votes), one)
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise
    return _summary(votes, time.monotonic() - started)


def _vote_once(
    client: httpx.Client, labeller: Labeller, plan: SimulationPlan, is_flipped: bool
) -> SimulatedVote:
    shown = _post(client, plan, "/api/comparisons", {})
    began = time.monotonic()
    left, right = (labeller(shown["prompt"], one["text"]) for one in shown["completions"])
    taste: Choice = "tie" if left == right else "left" if left > right else "right"
    choice = _opposite(taste) if is_flipped else taste
    body = {"choice": choice, "seconds": round(time.monotonic() - began, 3)}
    headers = {"Idempotency-Key": str(uuid.uuid4())}
    stored = _post(client, plan, f"/api/comparisons/{shown['id']}/vote", body, headers)
    return SimulatedVote(shown["id"], stored["preference_id"], taste, choice)


def _opposite(choice: Choice) -> Choice:
    return {"left": "right", "right": "left", "tie": "tie"}[choice]  # type: ignore[return-value]


def _post(
    client: httpx.Client,
    plan: SimulationPlan,
    path: str,
    body: dict[str, Any],
    headers: dict[str, str] | None = None,
) -> dict[str, Any]:
    """Post until it succeeds: a busy service and a lost connection are waited for, all else is told."""
    deadline = time.monotonic() + plan.patience_seconds
    while True:
        try:
            answer = client.post(path, json=body, headers=headers)
            if answer.status_code not in RETRY_STATUSES:
                return _success(client, answer)
            trouble, wait = _message(answer), float(answer.headers.get("retry-after", 1))
        except httpx.TransportError as error:
            trouble, wait = f"{type(error).__name__}: {error}", 1.0
        if time.monotonic() + wait > deadline:
            raise SimulationError(
                f"{client.base_url} did not take the request within {plan.patience_seconds:.0f} s ({trouble}). "
                "Is the service running there? Start it with `rapport serve`, or give another --url."
            )
        time.sleep(wait)


def _success(client: httpx.Client, answer: httpx.Response) -> dict[str, Any]:
    if answer.is_success:
        body: dict[str, Any] = answer.json()
        return body
    raise SimulationError(f"{client.base_url} refused it ({answer.status_code}): {_message(answer)}")


def _message(answer: httpx.Response) -> str:
    try:
        error = answer.json()["error"]
        return f"{error['message']} {error['remedy']}".strip()
    except (ValueError, KeyError, TypeError):
        return f"status {answer.status_code}: {answer.text[:200]}"


def _summary(votes: list[SimulatedVote], seconds: float) -> SimulationSummary:
    decided = [vote for vote in votes if vote.vote != "tie"]
    agreeing = sum(vote.vote == vote.taste for vote in decided)
    return SimulationSummary(
        votes=len(votes),
        left=sum(vote.vote == "left" for vote in votes),
        right=sum(vote.vote == "right" for vote in votes),
        ties=len(votes) - len(decided),
        agreement=agreeing / len(decided) if decided else 0.0,
        seconds=seconds,
    )
