"""What happens on the training page; all of it is drawn from the database, so every browser sees the same."""

import asyncio
from dataclasses import dataclass, fields
from datetime import UTC, datetime
from typing import Any

import gradio as gr

from chat_app.container import Services
from chat_app.pages.events import Updates
from chat_app.pages.markup import render
from chat_app.pages.notices import notice_text
from chat_app.pages.page_events import event_data, event_id, whole
from chat_app.presenters.curves import HEIGHT, WIDTH, curve_cards
from chat_app.presenters.training import (
    history_lines,
    job_card,
    log_lines,
    sample_cards,
    status_card,
)
from chat_app.presenters.versions import gate_samples, verdict_card, version_of_job
from chat_app.services.retraining import JobView
from chat_app.words import Words
from training.registry import VersionInfo

ACTIVE_SECONDS, IDLE_SECONDS = 1.0, 5.0


@dataclass(frozen=True, slots=True)
class TrainView:
    """The components of one training page; `job` holds the shown job's id, `seen` what has been drawn."""

    status: Any
    notice: Any
    start: Any
    progress: Any
    verdict: Any
    curves: Any
    samples: Any
    log: Any
    history: Any
    job: Any
    seen: Any
    timer: Any

    def outputs(self) -> list[Any]:
        """Every component a handler may fill."""
        return [getattr(self, field.name) for field in fields(self)]


@dataclass(frozen=True, slots=True)
class Seen:
    """How much of the database has been drawn: the status, the job's state, its last number and line."""

    status: str = ""
    job: str = ""
    last_metric: int = -1
    last_event: int = -1


class TrainHandlers:
    """The handlers of one training page."""

    def __init__(self, services: Services, words: Words, view: TrainView) -> None:
        self._services = services
        self._words = words
        self._view = view

    async def open(self, request: gr.Request) -> Updates:
        """Show the job of the address, or the one under way, or the newest."""
        asked = request.query_params.get("job", "")
        return await self._drawn(int(asked) if asked.isdecimal() else None, Seen())

    async def tick(self, job_id: float | None, seen: Seen | None) -> Updates:
        """Draw what has changed since the last time."""
        return await self._drawn(whole(job_id), seen or Seen())

    async def redraw(self, version: VersionInfo) -> Updates:
        """Draw everything after a version was promoted, with the job that made it."""
        return await self._drawn(version.job_id, Seen())

    async def start(self, preset: str) -> Updates:
        """Freeze the votes and queue a retraining, then follow it."""
        try:
            job_id = await asyncio.to_thread(self._services.retraining.start, self._services.you, preset)
        except Exception as error:
            return self._told(notice_text(error, self._words), is_error=True)
        return await self._drawn(job_id, Seen()) | self._told("")

    async def cancel(self, job_id: float | None, event: gr.EventData) -> Updates:
        """Ask the job to end."""
        try:
            cancelled = event_id(event_data(event))
            await asyncio.to_thread(self._services.retraining.cancel, self._services.you, cancelled)
        except Exception as error:
            return self._told(notice_text(error, self._words), is_error=True)
        return await self._drawn(whole(job_id), Seen())

    def _told(self, text: str, *, is_error: bool = False) -> Updates:
        return {self._view.notice: render("notice", text=text, is_error=is_error)}

    async def _drawn(self, job_id: int | None, seen: Seen) -> Updates:
        try:
            return await asyncio.to_thread(self._changes, job_id, seen)
        except Exception as error:
            return self._told(notice_text(error, self._words), is_error=True)

    def _changes(self, job_id: int | None, seen: Seen) -> Updates:
        """Read what there is and return what differs from what has been drawn; blocks on the database."""
        services, you, view = self._services, self._services.you, self._view
        status = services.retraining.status(you)
        serving = services.versions.serving(you)
        jobs = services.retraining.recent(you)
        shown_id = job_id if job_id is not None else next((job.id for job in jobs), None)
        updates: Updates = {}
        drawn = repr((status, serving.name, [(job.id, job.state) for job in jobs], shown_id))
        if drawn != seen.status:
            card = status_card(status, serving.name, self._words)
            lines = history_lines(jobs, shown_id, self._words)
            updates |= {
                view.status: render("status", status=card, words=self._words),
                view.history: render("history", lines=lines, words=self._words),
                view.start: gr.update(interactive=status.active is None and you.may("train")),
                view.timer: gr.Timer(ACTIVE_SECONDS if status.active else IDLE_SECONDS),
                view.job: shown_id,
            }
        if shown_id is None:
            return updates | ({view.seen: Seen(status=drawn)} if updates else {})
        return updates | self._job_changes(shown_id, seen, drawn)

    def _job_changes(self, job_id: int, seen: Seen, status: str) -> Updates:
        services, you, view = self._services, self._services.you, self._view
        new = services.retraining.follow(you, job_id, seen.last_metric, seen.last_event)
        job = repr((job_id, new.job.state, new.job.cancel_requested, status))
        updates: Updates = {}
        if new.job.is_active or job != seen.job:
            updates |= self._progress(new) | self._verdict(new, job_id)
        if new.metrics or job != seen.job:
            everything = services.retraining.follow(you, job_id)
            cards = curve_cards(everything.metrics, self._words)
            updates[view.curves] = render(
                "curves", curves=cards, is_shown=True, width=WIDTH, height=HEIGHT, words=self._words
            )
        if new.events or job != seen.job:
            updates |= self._events(services.retraining.follow(you, job_id), job_id)
        if not updates and status == seen.status:
            return {}
        drawn = Seen(
            status=status,
            job=job,
            last_metric=max([seen.last_metric, *(point.id for point in new.metrics)]),
            last_event=max([seen.last_event, *(event.id for event in new.events)]),
        )
        return updates | {view.seen: drawn}

    def _progress(self, shown: JobView) -> Updates:
        may_train = self._services.you.may("train")
        card = job_card(shown.job, datetime.now(UTC), self._words, may_train=may_train)
        return {self._view.progress: render("job", job=card, words=self._words)}

    def _verdict(self, shown: JobView, job_id: int) -> Updates:
        version = None if shown.job.is_active else self._made_by(job_id)
        may_serve = self._services.you.may("serve versions")
        card = verdict_card(version, self._words, may_serve=may_serve) if version else None
        return {self._view.verdict: render("verdict", verdict=card, words=self._words)}

    def _made_by(self, job_id: int) -> VersionInfo | None:
        return version_of_job(self._services.versions.list(self._services.you), job_id)

    def _events(self, shown: JobView, job_id: int) -> Updates:
        version = self._made_by(job_id)
        samples = gate_samples(version) if version else sample_cards(shown.events, self._words)
        lines = log_lines(shown.events)
        return {
            self._view.samples: render("samples", samples=samples, words=self._words),
            self._view.log: render("log", lines=lines, is_shown=True, words=self._words),
        }
