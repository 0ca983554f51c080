"""The simulated person, against a small real HTTP server that answers as the service does."""

import json
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from training.labellers import Prompt
from training.simulate import SimulationError, SimulationPlan, connect, simulate


@dataclass
class Service:
    """What the server shall do and what it was told."""

    url: str = ""
    texts: tuple[str, str] = ("long answer", "short")
    refusals: list[tuple[int, dict[str, str]]] = field(default_factory=list)
    votes: list[tuple[str, str, str]] = field(default_factory=list)  # path, key, choice
    opened: int = 0

    def answer(self, path: str, key: str, body: dict[str, Any]) -> tuple[int, dict[str, Any]]:
        if path == "/api/comparisons":
            self.opened += 1
            shown = [{"position": i, "text": text} for i, text in enumerate(self.texts)]
            prompt = [{"role": "user", "content": "Hi"}]
            return 201, {"id": self.opened, "prompt": prompt, "completions": shown}
        self.votes.append((path, key, body["choice"]))
        return 200, {"preference_id": 100 + len(self.votes)}


@pytest.fixture
def service() -> Iterator[Service]:
    service, lock = Service(), threading.Lock()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            with lock:
                if service.refusals:
                    status, headers = service.refusals.pop(0)
                    answer: dict[str, Any] = {"error": {"message": "No.", "remedy": "Wait."}}
                else:
                    headers = {}
                    status, answer = service.answer(self.path, self.headers["Idempotency-Key"], body)
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(json.dumps(answer).encode())

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    service.url = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield service
    server.shutdown()
    thread.join()
    server.server_close()


def length(_prompt: Prompt, text: str) -> float:
    return float(len(text))


def run(service: Service, **plan: Any) -> Any:
    with connect(service.url) as client:
        return simulate(client=client, labeller=length, plan=SimulationPlan(**plan))


def test_each_comparison_gets_the_vote_of_the_taste_under_a_key_of_its_own(service: Service) -> None:
    summary = run(service, comparisons=6, noise=0.0)
    assert sorted(path for path, _, _ in service.votes) == [
        f"/api/comparisons/{number}/vote" for number in range(1, 7)
    ]
    assert {choice for _, _, choice in service.votes} == {"left"}
    assert len({key for _, key, _ in service.votes}) == 6
    assert (summary.votes, summary.left, summary.ties, summary.agreement) == (6, 6, 0, 1.0)


def test_noise_turns_about_its_share_of_the_votes_and_the_seed_says_which(service: Service) -> None:
    first = run(service, comparisons=200, noise=0.25, seed=3, concurrency=1)
    choices = [choice for _, _, choice in service.votes]
    service.votes.clear()
    run(service, comparisons=200, noise=0.25, seed=3, concurrency=1)
    assert [choice for _, _, choice in service.votes] == choices
    assert 30 <= choices.count("right") <= 70
    assert first.agreement == pytest.approx(choices.count("left") / 200)


def test_equal_scores_are_a_tie_whatever_the_noise(service: Service) -> None:
    service.texts = ("same", "size")
    summary = run(service, comparisons=4, noise=1.0)
    assert {choice for _, _, choice in service.votes} == {"tie"}
    assert (summary.ties, summary.agreement) == (4, 0.0)


def test_a_busy_service_is_waited_for(service: Service) -> None:
    service.refusals = [(429, {"Retry-After": "0"}), (503, {"Retry-After": "0"})]
    assert run(service, comparisons=2, concurrency=1).votes == 2


def test_a_refusal_is_told_with_the_services_words(service: Service) -> None:
    service.refusals = [(422, {})]
    with pytest.raises(SimulationError, match=r"refused it \(422\): No. Wait."):
        run(service, comparisons=3, concurrency=1)


def test_without_a_service_the_remedy_is_told() -> None:
    with (
        connect("http://127.0.0.1:9") as client,
        pytest.raises(SimulationError, match="Start it with `rapport serve`"),
    ):
        simulate(client=client, labeller=length, plan=SimulationPlan(comparisons=1, patience_seconds=0.1))


@pytest.mark.parametrize("plan", [{"comparisons": 0}, {"noise": 1.5}, {"concurrency": 0}])
def test_an_impossible_plan_names_its_value(plan: dict[str, Any]) -> None:
    name, value = next(iter(plan.items()))
    with pytest.raises(SimulationError, match=f"{name} is {value}"):
        SimulationPlan(**plan)


def test_an_address_without_http_is_refused() -> None:
    with pytest.raises(SimulationError, match="give one like"):
        connect("localhost:7860")
