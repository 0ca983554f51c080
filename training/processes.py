"""Finds and ends all processes of a job, children of children too, and ends a job whose worker is gone.

Every process of a job carries the job's order in its environment, which children inherit. So "is this
process really ours?" has an answer even when its number was given away again, its parent is gone, or it
left the group.
"""

import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress

import psutil

ORDER_VARIABLE = "RAPPORT_JOB"

LOOK_SECONDS = 0.05
SURE_LOOKS = 3  # a process that is just starting a program has no environment for a moment


def processes_with_order(is_ours: Callable[[str], bool]) -> list[psutil.Process]:
    """The living processes whose order `is_ours` accepts; other users' cannot be asked and are left out."""
    found = []
    for process in psutil.process_iter():
        try:
            order = process.environ().get(ORDER_VARIABLE)
            is_alive = process.status() != psutil.STATUS_ZOMBIE
        except (psutil.Error, OSError):
            continue
        if order is not None and is_alive and process.pid != os.getpid() and is_ours(order):
            found.append(process)
    return found


def end_processes(
    find: Callable[[], list[psutil.Process]], *, grace_seconds: float = 5.0, kill_seconds: float = 4.0
) -> bool:
    """Ask what `find` finds to end (SIGTERM), and after the grace kill what is left; whether all are gone."""
    if _signal_until_gone(find, signal.SIGTERM, once=True, seconds=grace_seconds):
        return True
    return _signal_until_gone(find, signal.SIGKILL, once=False, seconds=kill_seconds)


def _signal_until_gone(
    find: Callable[[], list[psutil.Process]], number: signal.Signals, *, once: bool, seconds: float
) -> bool:
    deadline = time.monotonic() + seconds
    told: set[int] = set()
    empty_looks = 0
    while empty_looks < SURE_LOOKS:
        processes = find()
        empty_looks = 0 if processes else empty_looks + 1
        for process in processes:
            if not (once and process.pid in told):
                told.add(process.pid)
                _send(process, number)
        if processes and time.monotonic() > deadline:
            return False
        time.sleep(LOOK_SECONDS)
    return True


def _send(process: psutil.Process, number: signal.Signals) -> None:
    with suppress(psutil.Error):  # it may have ended by itself
        process.send_signal(number)  # psutil checks that the number still means the same process


def die_with_parent(descriptor: int = 0) -> None:
    """Kill this process's whole group as soon as the pipe at `descriptor` closes: the parent holds its
    other end.

    The system closes the pipe however the parent ends, kill -9 too. (Linux could send a signal at the
    parent's death, but only to one process, and also when merely the *thread* that started it ends.)
    """
    threading.Thread(target=_wait_for_end, args=(descriptor,), name="parent", daemon=True).start()


def _wait_for_end(descriptor: int) -> None:
    while os.read(descriptor, 1024):
        pass
    print("The parent process is gone: this one ends too.", file=sys.stderr, flush=True)
    os.killpg(os.getpgrp(), signal.SIGKILL)


def name_of_this_process() -> str:
    """Host, number and start of this process: together they never mean another one."""
    return f"{socket.gethostname()}:{os.getpid()}:{_start(psutil.Process())}"


def is_process_gone(name: str) -> bool:
    """Whether a process of this host, by such a name, has ended; of another host nothing is known: False."""
    host, _, rest = name.rpartition(":")[0].rpartition(":")
    start = name.rpartition(":")[2]
    if host != socket.gethostname() or not rest.isdigit():
        return False
    try:
        return _start(psutil.Process(int(rest))) != start
    except psutil.NoSuchProcess:
        return True


def _start(process: psutil.Process) -> str:
    return f"{process.create_time():.2f}"
