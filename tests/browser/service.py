"""A Rapport service of its own for browser tests: started like `rapport serve`, in a folder of its own."""

import os
import socket
import sqlite3
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

START_SECONDS = 240


class RapportProcess:
    """A running `rapport serve` with a model folder; its log is in the data folder."""

    def __init__(self, data_dir: Path, model_dir: Path, **settings: str) -> None:
        self.data_dir = data_dir
        self.url = f"http://127.0.0.1:{_free_port()}"
        data_dir.mkdir(parents=True, exist_ok=True)
        kept = {name: value for name, value in os.environ.items() if not name.startswith("RAPPORT_")}
        self._environment = kept | {
            "RAPPORT_DATA_DIR": str(data_dir),
            "RAPPORT_MODEL": str(model_dir),
            "RAPPORT_PORT": self.url.rsplit(":", 1)[1],
            "OMP_NUM_THREADS": "1",
            **settings,
        }
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start, and wait until it answers."""
        with (self.data_dir / "serve-output.txt").open("ab") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "chat_app.cli", "serve"],
                env=self._environment,
                stdout=log,
                stderr=subprocess.STDOUT,
            )
        deadline = time.monotonic() + START_SECONDS
        while not self._is_ready():
            if self._process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"The service did not start:\n{self.output()}")
            time.sleep(0.2)

    def stop(self) -> None:
        """Ask it to end, as Ctrl-C does."""
        if self._process is not None:
            self._process.terminate()
            self._process.wait(timeout=30)
            self._process = None

    def output(self) -> str:
        """What it has printed."""
        return (self.data_dir / "serve-output.txt").read_text(encoding="utf-8", errors="replace")

    def rows(self, query: str, *parameters: Any) -> list[tuple[Any, ...]]:
        """Ask the service's database, past the service."""
        connection = sqlite3.connect(self.data_dir / "rapport.db")
        try:
            return connection.execute(query, parameters).fetchall()
        finally:
            connection.close()

    def _is_ready(self) -> bool:
        try:
            with urllib.request.urlopen(f"{self.url}/readyz", timeout=5) as answer:
                return int(answer.status) == 200
        except (urllib.error.URLError, OSError):
            return False


def _free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])
