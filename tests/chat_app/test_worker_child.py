"""The worker beside the app: it runs, starts again after a crash, and ends with the app, however that ends."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from chat_app.settings import Settings
from chat_app.worker_child import WorkerChild
from chat_app.worker_sign import WorkerSign

PARENT = """
import sys, time
from pathlib import Path
from chat_app.settings import Settings
from chat_app.worker_child import WorkerChild
child = WorkerChild(Settings(data_dir=Path(sys.argv[1]), model=sys.argv[2]))
child.start()
print(child.pid, flush=True)
time.sleep(300)
"""


def wait_until(is_so: Callable[[], bool], seconds: float = 60) -> None:
    deadline = time.monotonic() + seconds
    while not is_so():
        if time.monotonic() > deadline:
            pytest.fail(f"Not within {seconds} s.")
        time.sleep(0.05)


def test_the_worker_lives_until_the_app_stops_it(settings: Settings) -> None:
    sign, child = WorkerSign(settings.data_dir), WorkerChild(settings)
    assert not sign.is_fresh()
    child.start()
    wait_until(sign.is_fresh)
    pid = child.pid
    child.stop()
    assert not psutil.pid_exists(pid)
    assert not sign.is_fresh()


def test_a_killed_app_leaves_no_worker(tmp_path: Path, tiny_model: Path) -> None:
    arguments = [sys.executable, "-c", PARENT, str(tmp_path), str(tiny_model)]
    with subprocess.Popen(arguments, stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        worker = psutil.Process(int(parent.stdout.readline()))
        wait_until(WorkerSign(tmp_path).is_fresh)
        os.kill(parent.pid, signal.SIGKILL)
        parent.wait()
    wait_until(lambda: not worker.is_running() or worker.status() == psutil.STATUS_ZOMBIE, 30)


def test_a_killed_worker_is_started_again(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("chat_app.worker_child.RESTART_SECONDS", 0.1)
    child = WorkerChild(settings)
    child.start()
    first = child.pid
    os.kill(first, signal.SIGKILL)
    wait_until(lambda: child.pid != first)
    child.stop()
    assert not psutil.pid_exists(child.pid)
