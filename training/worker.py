"""The worker: takes one job after the other, starts its process, keeps its lease, and ends or recovers it."""

import logging
import threading
import time
from pathlib import Path

from db.engine import Database
from db.errors import DatabaseError
from training.errors import StaleLease
from training.job_failure import describe_exit
from training.jobs import ClaimedJob, Jobs
from training.launch import JobOrder, JobProcess, LocalLauncher
from training.processes import is_process_gone, name_of_this_process
from training.registry import Registry
from training.request import request_retraining
from training.schedule import Schedule, ScheduleSettings
from training.settings import TrainingSettings

logger = logging.getLogger(__name__)


class WorkerSettings(ScheduleSettings, frozen=True, extra="forbid"):
    """Where a worker's things are, how it keeps time, and with which settings it retrains by itself."""

    models_dir: Path
    jobs_dir: Path
    snapshots_dir: Path
    training: TrainingSettings = TrainingSettings()
    poll_seconds: float = 0.5
    lease_seconds: float = 30.0
    schedule_seconds: float = 5.0
    threads: int | None = None
    niceness: int = 5

    @property
    def heartbeat_seconds(self) -> float:
        """A lease is renewed three times before it runs out."""
        return self.lease_seconds / 3


class Worker:
    """Works through the jobs of one database, one at a time; several workers may do so at once."""

    def __init__(
        self,
        *,
        database: Database,
        registry: Registry,
        settings: WorkerSettings,
        launcher: LocalLauncher | None = None,
    ) -> None:
        self.settings = settings
        self.jobs = Jobs(database, lease_seconds=settings.lease_seconds)
        self.owner = name_of_this_process()
        self._database = database
        self._database_url = database.url.render_as_string(hide_password=False)
        self._registry = registry
        self._launcher = launcher or LocalLauncher()
        self._schedule = Schedule(database=database, settings=settings, request=self._request)
        self._next_look = 0.0  # at abandoned jobs
        self._next_tick = 0.0  # of the schedule

    def run_forever(self, stop: threading.Event) -> None:
        """Work until `stop` is set; a job that runs then is ended and given back, to go on from its
        checkpoint.

        Trouble with the database or a disk is logged and waited out: a worker ends only when it is told to.
        """
        is_swept = False
        while not stop.is_set():
            try:
                if not is_swept:
                    self._sweep()
                    is_swept = True
                if not self.work_once(stop):
                    stop.wait(self.settings.poll_seconds)
            except Exception as error:
                self._report_trouble(error)
                stop.wait(self.settings.heartbeat_seconds)

    def work_once(self, stop: threading.Event) -> bool:
        """Recover, look at the schedule, and run one job to its end if one waits; whether there was one."""
        if time.monotonic() >= self._next_look:
            self._recover()
            self._next_look = time.monotonic() + self.settings.heartbeat_seconds
        if time.monotonic() >= self._next_tick:
            self._schedule.tick()
            self._next_tick = time.monotonic() + self.settings.schedule_seconds
        claimed = self.jobs.claim(self.owner)
        if claimed is None:
            return False
        self._run(claimed, stop)
        return True

    def _run(self, claimed: ClaimedJob, stop: threading.Event) -> None:
        logger.info("Job %d begins, attempt %d.", claimed.job_id, claimed.attempt)
        self._end_leftovers(claimed.job_id, claimed.fencing_token - 1)
        try:
            process = self._launcher.start(
                self._order(claimed), folder=self.settings.jobs_dir / claimed.folder_name
            )
        except OSError as error:
            self._settle(claimed, f"The training process could not be started ({error}).", is_released=False)
            return
        try:
            self.jobs.note_process(claimed, process.group)
            self._watch(claimed, process, stop)
            code = process.exit_code()
        finally:
            if not self._launcher.stop(process):
                logger.error("Processes of job %d would not end, not even by force.", claimed.job_id)
        reason = "The training process was ended by its worker." if code is None else describe_exit(code)
        self._settle(claimed, reason, is_released=code is None and stop.is_set())

    def _watch(self, claimed: ClaimedJob, process: JobProcess, stop: threading.Event) -> None:
        """Renew the lease until the process ends, a cancel is asked for, the lease is lost, or we stop."""
        renewed_at = time.monotonic()
        while process.exit_code() is None and not stop.wait(self.settings.poll_seconds):
            try:
                if self.jobs.must_stop(claimed):
                    return
                if time.monotonic() - renewed_at >= self.settings.heartbeat_seconds:
                    self.jobs.heartbeat(claimed)
                    renewed_at = time.monotonic()
            except StaleLease:
                return
            except DatabaseError as error:
                logger.warning("The lease of job %d cannot be renewed: %s", claimed.job_id, error)
                if time.monotonic() - renewed_at > self.settings.lease_seconds:
                    return  # another worker may hold the job by now

    def _settle(self, claimed: ClaimedJob, reason: str, *, is_released: bool) -> None:
        """Write down what the process, which is gone now, has not written itself."""
        try:
            if is_released:
                self.jobs.release(claimed)
            else:
                self.jobs.end_attempt(claimed, reason)
        except StaleLease:
            pass  # the usual end: the job has written its own
        info = self.jobs.get(claimed.job_id)
        logger.info("Job %d is %s. %s", info.id, info.state, info.error or "")

    def _recover(self) -> None:
        """Queue abandoned jobs again, and end what is left of them on this machine."""
        for job in self.jobs.recover_expired(is_process_gone):
            logger.warning("Job %d lost its worker and is %s now.", job.job_id, job.state)
            self._end_leftovers(job.job_id, job.fencing_token)

    def _end_leftovers(self, job_id: int, last_token: int) -> None:
        """Two attempts of one job never run on this machine at once."""
        self._launcher.end_leftovers(job_id=job_id, last_token=last_token, database_url=self._database_url)

    def _sweep(self) -> None:
        for name in self._registry.sweep():
            logger.warning("Removed the model folder %s, which a crash left unfinished.", name)

    def _order(self, claimed: ClaimedJob) -> JobOrder:
        return JobOrder(
            job_id=claimed.job_id,
            fencing_token=claimed.fencing_token,
            database_url=self._database_url,
            models_dir=self.settings.models_dir.absolute(),
            jobs_dir=self.settings.jobs_dir.absolute(),
            snapshots_dir=self.settings.snapshots_dir.absolute(),
            threads=self.settings.threads,
            niceness=self.settings.niceness,
        )

    def _request(self, reason: str) -> int:
        return request_retraining(
            database=self._database,
            registry=self._registry,
            jobs=self.jobs,
            settings=self.settings.training,
            snapshots_dir=self.settings.snapshots_dir,
            requested_by_id=None,
            reason=reason,
        )

    def _report_trouble(self, error: Exception) -> None:
        if isinstance(error, DatabaseError):
            logger.error("The worker waits: %s", error)
        else:
            logger.exception("The worker met an error and tries again.")
