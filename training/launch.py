"""Starts a job as a process group of its own on this machine, and ends it without leaving anything behind."""

import os
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import psutil
from pydantic import BaseModel, ValidationError

import training
from training.processes import ORDER_VARIABLE, end_processes, processes_with_order

LOG_NAME = "log.txt"


class JobOrder(BaseModel, frozen=True, extra="forbid"):
    """What a job's process is told: which job, under which token, where its things are, what it may use."""

    job_id: int
    fencing_token: int
    database_url: str
    models_dir: Path
    jobs_dir: Path
    snapshots_dir: Path
    threads: int | None = None  # for torch; None: as many as it thinks best
    niceness: int = 5  # the chat on the same machine goes first

    @classmethod
    def from_environment(cls, environment: Mapping[str, str]) -> "JobOrder":
        """Read the order that the worker gave. Raises KeyError, ValueError."""
        return cls.model_validate_json(environment[ORDER_VARIABLE])


@dataclass(frozen=True, slots=True)
class JobProcess:
    """A started job: its leading process, and its order as the environment has it."""

    leader: subprocess.Popen[bytes]
    order: str

    @property
    def group(self) -> int:
        """The number of the process group."""
        return self.leader.pid

    def exit_code(self) -> int | None:
        """How the leader ended: an exit code, a negative signal number, or None while it runs."""
        return self.leader.poll()


class LocalLauncher:
    """Runs `python -m <module>` per job; the job dies with this process, which holds a pipe to it."""

    def __init__(self, *, module: str = "training.run_job", grace_seconds: float = 5.0) -> None:
        self.module = module
        self.grace_seconds = grace_seconds

    def start(
        self, order: JobOrder, *, folder: Path, environment: Mapping[str, str] | None = None
    ) -> JobProcess:
        """Start the job in a session of its own; its output goes to the end of `folder`/log.txt."""
        folder.mkdir(parents=True, exist_ok=True)
        text = order.model_dump_json()
        with (folder / LOG_NAME).open("ab") as log:
            leader = subprocess.Popen(
                [sys.executable, "-P", "-m", self.module],
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                env=_environment(environment or {}, order, text),
            )
        return JobProcess(leader, text)

    def stop(self, process: JobProcess) -> bool:
        """End every process of the job, with grace, then by force; whether all are gone in ten seconds."""

        def find() -> list[psutil.Process]:
            process.exit_code()  # so that the ended leader is no zombie
            return processes_with_order(lambda order: order == process.order)

        is_gone = end_processes(find, grace_seconds=self.grace_seconds)
        if process.leader.stdin is not None:
            process.leader.stdin.close()
        return is_gone

    def end_leftovers(self, *, job_id: int, last_token: int, database_url: str) -> bool:
        """End what a job's attempts up to `last_token` left running here; whether nothing of them is left."""

        def is_leftover(text: str) -> bool:
            order = _read_order(text)
            return (
                order is not None
                and (order.job_id, order.database_url) == (job_id, database_url)
                and order.fencing_token <= last_token
            )

        return end_processes(lambda: processes_with_order(is_leftover), grace_seconds=self.grace_seconds)


def _environment(extra: Mapping[str, str], order: JobOrder, text: str) -> dict[str, str]:
    """This process's environment, with the order, the threads, and the same code to import as here."""
    source = str(Path(training.__file__).parent.parent)
    paths = [source, *filter(None, os.environ.get("PYTHONPATH", "").split(os.pathsep))]
    return {
        **os.environ,
        "PYTHONPATH": os.pathsep.join(paths),
        "PYTHONUNBUFFERED": "1",
        "PYTHONUTF8": "1",  # models write any character, and the log takes it in any locale
        **({"OMP_NUM_THREADS": str(order.threads)} if order.threads else {}),
        **extra,
        ORDER_VARIABLE: text,
    }


def _read_order(text: str) -> JobOrder | None:
    try:
        return JobOrder.model_validate_json(text)
    except ValidationError:
        return None
