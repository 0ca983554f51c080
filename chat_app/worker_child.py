"""The training worker beside the app: a child process that ends when the app does, however that ends."""

import logging
import os
import subprocess
import sys
from threading import Event, Lock, Thread

from chat_app.settings import PREFIX, Settings

logger = logging.getLogger(__name__)

RESTART_SECONDS = 5.0
STOP_SECONDS = 20.0


class WorkerChild:
    """Starts `rapport worker` and starts it anew if it crashes.

    The child holds the reading end of a pipe of ours: when this process is gone, even by kill -9, it reads
    the end of the pipe and stops itself and its job.
    """

    def __init__(self, settings: Settings) -> None:
        self._environment = {
            **{name: value for name, value in os.environ.items() if not name.upper().startswith(PREFIX)},
            **settings.environment(),
        }
        self._lock = Lock()  # a stop never meets a child that is just being started anew
        self._stopping = Event()
        self._thread = Thread(target=self._keep_alive, name="worker-child", daemon=True)
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int:
        """The process id of the child, which must have been started."""
        assert self._process is not None
        return self._process.pid

    def start(self) -> None:
        """Start the child and the thread that watches it."""
        self._process = self._launch()
        self._thread.start()

    def ask_to_stop(self) -> None:
        """Let the child begin to end, while other things end too."""
        with self._lock:
            self._stopping.set()
            if self._process is not None:
                _close_input(self._process)

    def stop(self) -> None:
        """End the child; a job of its goes back to the queue."""
        self.ask_to_stop()
        process = self._process
        if process is None:
            return
        try:
            process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            logger.warning("The training worker did not end within %.0f s and is killed.", STOP_SECONDS)
            process.kill()
            process.wait()
        self._thread.join()

    def _launch(self) -> subprocess.Popen[bytes]:
        command = [sys.executable, "-m", "chat_app.cli", "worker", "--until-stdin-closes"]
        return subprocess.Popen(command, stdin=subprocess.PIPE, env=self._environment, start_new_session=True)

    def _keep_alive(self) -> None:
        while self._process is not None:
            code = self._process.wait()
            if self._stopping.is_set():
                return
            logger.error("The training worker ended with code %d; it starts again.", code)
            if self._stopping.wait(RESTART_SECONDS):
                return
            with self._lock:
                if self._stopping.is_set():
                    return
                _close_input(self._process)
                self._process = self._launch()


def _close_input(process: subprocess.Popen[bytes]) -> None:
    assert process.stdin is not None
    process.stdin.close()
