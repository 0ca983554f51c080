"""Jobs that tests run in real processes: this module, run as a job, does what the job's config says."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from db.engine import Database
from training.errors import BrokenVersion
from training.jobs import JobContext
from training.registry import Registry
from training.reporting import Reporter
from training.run_job import run

STEPS = 4


def body(job: JobContext, _registry: Registry, _database: Database, reporter: Reporter) -> dict[str, Any]:
    name = job.config.get("body", "counts")
    job.folder.mkdir(parents=True, exist_ok=True)
    result: dict[str, Any] = BODIES[name](job, reporter)
    return result


def counts(job: JobContext, reporter: Reporter) -> dict[str, Any]:
    """Counts to four with a checkpoint at each step, and goes on from it."""
    checkpoint = job.folder / "step"
    first = int(checkpoint.read_text()) if checkpoint.exists() else 0
    for step in range(first, STEPS):
        reporter.phase("counting", step / STEPS)
        reporter.metrics(step, {"count": float(step)})
        if job.config.get("die_at") == step and job.attempt <= job.config.get("deaths", 1):
            reporter.phase("dying", step / STEPS)
            os.kill(os.getpid(), signal.SIGKILL)
        checkpoint.write_text(str(step + 1))
    return {"first": first, "attempt": job.attempt}


def waits(job: JobContext, reporter: Reporter) -> dict[str, Any]:
    """Reports until it is told to stop, and leaves its number where the test finds it."""
    (job.folder / f"pid-{job.attempt}").write_text(str(os.getpid()))
    while True:
        reporter.metrics(0, {"waiting": time.monotonic()})
        time.sleep(0.05)


def ignores(job: JobContext, _reporter: Reporter) -> dict[str, Any]:
    """Does not hear signals, and has a grandchild in a session of its own that does not either."""
    child = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); time.sleep(600)"
    program = (
        f"import subprocess, sys; subprocess.run([sys.executable, '-c', {child!r}], start_new_session=True)"
    )
    subprocess.Popen([sys.executable, "-c", program])
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    (job.folder / f"pid-{job.attempt}").write_text(str(os.getpid()))
    time.sleep(600)
    return {}


def fails(_job: JobContext, reporter: Reporter) -> dict[str, Any]:
    reporter.phase("reward", 0.1)
    raise BrokenVersion(name="policy-7", path="/models/policy-7", trouble="the folder is missing")


def overflows(_job: JobContext, reporter: Reporter) -> dict[str, Any]:
    reporter.phase("ppo", 0.5)
    raise ZeroDivisionError("float division by zero")


def leaves(_job: JobContext, _reporter: Reporter) -> dict[str, Any]:
    """Ends without a word."""
    os._exit(7)


BODIES: dict[str, Any] = {
    "counts": counts,
    "waits": waits,
    "ignores": ignores,
    "fails": fails,
    "overflows": overflows,
    "leaves": leaves,
}

MODULE = "tests.training.job_bodies"


def pid_of(folder: Path, attempt: int = 1) -> int | None:
    """The number of the attempt's process, once it runs."""
    path = folder / f"pid-{attempt}"
    text = path.read_text() if path.exists() else ""
    return int(text) if text else None


if __name__ == "__main__":
    sys.exit(run(body))
