"""Starts a retraining by itself: every N new comparisons, or at the times of a cron line.

What was done when is read from the jobs' rows, so it survives a restart, and several workers agree on it.
"""

import logging
from collections.abc import Callable
from datetime import datetime
from typing import Self

from croniter import croniter
from pydantic import BaseModel, Field, model_validator
from sqlalchemy import select

from db.engine import Database
from db.tables import Job, utc_now
from feedback.dataset import count_new_comparisons
from training.errors import JobAlreadyActive, TooFewComparisons
from training.request import RETRAIN

logger = logging.getLogger(__name__)


class ScheduleSettings(BaseModel, frozen=True, extra="forbid"):
    """When to retrain without being asked; both are off by default."""

    retrain_every: int = Field(default=0, ge=0, description="Retrain every N new comparisons; 0: never")
    retrain_cron: str = Field(default="", description="Retrain at these local times; empty: never")

    @model_validator(mode="after")
    def _check_cron(self) -> Self:
        if self.retrain_cron and not croniter.is_valid(self.retrain_cron):
            raise ValueError(
                f'retrain_cron is "{self.retrain_cron}", which is no cron line. Give five fields: minute, '
                'hour, day of the month, month, day of the week; "0 3 * * *" is every night at three.'
            )
        return self


class Schedule:
    """Looks whether a retraining is due and asks for it: `request` takes the reason, returns the job's id."""

    def __init__(
        self,
        *,
        database: Database,
        settings: ScheduleSettings,
        request: Callable[[str], int],
        now: Callable[[], datetime] = utc_now,
    ) -> None:
        self._database = database
        self._settings = settings
        self._request = request
        self._now = now
        self._began_at = now()
        self._given_up: datetime | None = None  # the cron time at which there was too little to learn from

    def tick(self) -> int | None:
        """Ask for a retraining if one is due; return its job's id, None when none is due or one is active."""
        if not (self._settings.retrain_every or self._settings.retrain_cron):
            return None
        last = self._last_retraining()
        new = self._count_new(last)
        reason = self._reason(last, new)
        if reason is None:
            return None
        try:
            job_id = self._request(reason)
        except JobAlreadyActive:
            return None  # it is due still when that one has ended
        except TooFewComparisons as error:
            self._given_up = self._cron_time()
            logger.info("A retraining was due, but: %s", error)
            return None
        logger.info("Retraining %d was started by itself: %s.", job_id, reason)
        return job_id

    def _reason(self, last: Job | None, new: int) -> str | None:
        every = self._settings.retrain_every
        if every and new >= every:
            return f"{new} new comparisons (retrain_every is {every})"
        if self._is_cron_due(last) and new > 0:
            return f'the time has come (retrain_cron is "{self._settings.retrain_cron}")'
        return None

    def _is_cron_due(self, last: Job | None) -> bool:
        """Whether a cron time has come since the last retraining, or without one since this began."""
        time = self._cron_time()
        since = last.created_at if last else self._began_at
        return time is not None and time > since and time != self._given_up

    def _cron_time(self) -> datetime | None:
        """The newest cron time that has come."""
        if not self._settings.retrain_cron:
            return None
        local = self._now().astimezone()
        time: datetime = croniter(self._settings.retrain_cron, local).get_prev(datetime)
        return time

    def _last_retraining(self) -> Job | None:
        with self._database.read() as session:
            return session.scalars(select(Job).where(Job.kind == RETRAIN).order_by(Job.id.desc())).first()

    def _count_new(self, last: Job | None) -> int:
        with self._database.read() as session:
            return count_new_comparisons(
                session=session, since_snapshot_id=last.snapshot_id if last else None
            )
