"""Starts a real `rapport serve` on a data folder of its own, for measurements and soaks."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx

RAPPORT = [sys.executable, "-m", "chat_app.cli"]
READY_SECONDS = 120


@dataclass(frozen=True, slots=True)
class Service:
    """A running service: its address, its process, and the environment its commands need."""

    url: str
    process: subprocess.Popen[bytes]
    environment: Mapping[str, str]

    def rapport(self, *arguments: str) -> str:
        """Run a `rapport` command on the same data and return what it prints. Raises CalledProcessError."""
        done = subprocess.run(
            [*RAPPORT, *arguments], env=dict(self.environment), check=True, stdout=subprocess.PIPE, text=True
        )
        return done.stdout

    def kill(self) -> None:
        """End the service the hard way, as a power cut would."""
        self.process.kill()
        self.process.wait()


@contextmanager
def running_service(data_dir: Path, **settings: str) -> Iterator[Service]:
    """Serve on a free port until the block ends; `settings` are RAPPORT_ names in lower case."""
    port = free_port()
    environment = {
        **{name: value for name, value in os.environ.items() if not name.startswith("RAPPORT_")},
        **{f"RAPPORT_{name.upper()}": value for name, value in settings.items()},
        "RAPPORT_DATA_DIR": str(data_dir),
        "RAPPORT_PORT": str(port),
    }
    data_dir.mkdir(parents=True, exist_ok=True)
    with (data_dir / "serve.log").open("ab") as log:
        process = subprocess.Popen([*RAPPORT, "serve"], env=environment, stdout=log, stderr=subprocess.STDOUT)
    service = Service(f"http://127.0.0.1:{port}", process, environment)
    try:
        wait_until_ready(service)
        yield service
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGTERM)
            try:
                process.wait(timeout=30)
            except subprocess.TimeoutExpired:
                service.kill()


def wait_until_ready(service: Service) -> None:
    """Wait until the service answers with a loaded model. Raises RuntimeError where it does not."""
    deadline = time.monotonic() + READY_SECONDS
    while time.monotonic() < deadline:
        if service.process.poll() is not None:
            raise RuntimeError(f"The service ended with exit code {service.process.returncode}.")
        try:
            if httpx.get(f"{service.url}/readyz", timeout=5).status_code == httpx.codes.OK:
                return
        except httpx.TransportError:
            pass
        time.sleep(0.1)
    raise RuntimeError(f"The service at {service.url} was not ready after {READY_SECONDS} seconds.")


def free_port() -> int:
    """A port of the loopback interface that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
