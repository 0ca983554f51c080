"""What pages show of model versions: their lineage, the gate's verdict, and what may be done with them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from chat_app.presenters.curves import number_text
from chat_app.presenters.training import SampleCard, Tile
from chat_app.words import Words
from training.registry import VersionInfo
from training.version_rows import can_chat, is_servable


@dataclass(frozen=True, slots=True)
class Offer:
    """A version that may be made to answer; `is_forced`: against the gate, with a reason."""

    version_id: int
    label: str
    is_forced: bool


@dataclass(frozen=True, slots=True)
class VerdictCard:
    """What the gate said of a version, why, and what can be done about it."""

    verdict: str
    label: str
    explained: str
    reasons: tuple[str, ...]
    measures: tuple[Tile, ...]
    outcome: str
    offer: Offer | None


@dataclass(frozen=True, slots=True)
class VersionLine:
    """A line of the list of versions."""

    id: int
    name: str
    kind: str
    explained: str
    state: str
    state_label: str
    is_serving: bool
    lineage: tuple[str, ...]
    job_id: int | None
    made: datetime
    votes: str
    win_rate: str
    verdict: str
    verdict_label: str
    offer: Offer | None
    can_chat: bool


def gate_report(version: VersionInfo) -> Mapping[str, Any]:
    """Return what the gate reported of a version; empty where it was never asked."""
    report = version.metrics.get("gate")
    return report if isinstance(report, Mapping) else {}


def version_of_job(versions: Sequence[VersionInfo], job_id: int) -> VersionInfo | None:
    """Find the chat model that a retraining made."""
    return next(
        (version for version in versions if version.job_id == job_id and version.kind == "policy"), None
    )


def verdict_card(version: VersionInfo, words: Words, *, may_serve: bool) -> VerdictCard | None:
    """Show what the gate said of a version; None where it was never asked."""
    report = gate_report(version)
    verdict = str(report.get("verdict", ""))
    if not verdict:
        return None
    outcome = words.train.promoted if version.is_serving else words.train.not_promoted
    return VerdictCard(
        verdict=verdict,
        label=words.train.verdicts.get(verdict, verdict),
        explained=words.train.verdict_explained.get(verdict, ""),
        reasons=tuple(str(reason) for reason in report.get("reasons", ())),
        measures=_measures(report, words),
        outcome=outcome.format(version=version.name) if version.state != "retired" else "",
        offer=offer(version, words) if may_serve else None,
    )


def _measures(report: Mapping[str, Any], words: Words) -> tuple[Tile, ...]:
    """Show the numbers of the report; where the gate compared two, as "candidate / other"."""
    judges, limits = report.get("judge_accuracy") or {}, report.get("limits") or {}
    numbers: dict[str, tuple[Any, ...]] = {
        "win_rate": (report.get("win_rate"),),
        "interval": tuple(report.get("interval") or (None,)),
        "judge_accuracy": (judges.get("share") if judges.get("rankings") else None,),
        "prompts": (report.get("prompts"),),
        "kl": (limits.get("kl"),),
        "length": (limits.get("length"), limits.get("serving_length")),
        "ordinary_loss": (limits.get("ordinary_loss"), limits.get("anchor_ordinary_loss")),
        "distinct_share": (limits.get("distinct_2"), limits.get("anchor_distinct_2")),
    }
    return tuple(
        Tile(words.train.measures[name], _numbers_text(name, values))
        for name, values in numbers.items()
        if all(isinstance(value, int | float) for value in values)
    )


def _numbers_text(name: str, values: tuple[Any, ...]) -> str:
    separator = " – " if name == "interval" else " / "
    kind = "rate" if name == "interval" else name
    return separator.join(number_text(kind, float(value)) for value in values)


def gate_samples(version: VersionInfo) -> list[SampleCard]:
    """Put what the serving version and the candidate answered to the gate's first prompts side by side."""
    return [
        SampleCard(
            prompt="\n".join(str(message.get("content", "")) for message in sample.get("prompt", ())),
            before=str(sample.get("serving", "")),
            before_score="",
            after=str(sample.get("candidate", "")),
            after_score="",
        )
        for sample in gate_report(version).get("samples", ())
    ]


def offer(version: VersionInfo, words: Words) -> Offer | None:
    """Offer to serve a version that may and does not answer now; against the gate only with a reason."""
    if version.is_serving or not is_servable(version):
        return None
    is_forced = gate_report(version).get("verdict") != "pass" and version.promoted_at is None
    label = words.models.promote_anyway if is_forced else words.models.promote
    return Offer(version.id, label, is_forced)


def version_lines(versions: Sequence[VersionInfo], words: Words, *, may_serve: bool) -> list[VersionLine]:
    """List the versions with the names of those they were made from."""
    names = {version.id: version.name for version in versions}
    return [_line(version, names, words, may_serve) for version in versions]


def _line(version: VersionInfo, names: Mapping[int, str], words: Words, may_serve: bool) -> VersionLine:
    report = gate_report(version)
    verdict = str(report.get("verdict", ""))
    rate = report.get("win_rate")
    votes = version.metrics.get("comparisons")
    return VersionLine(
        id=version.id,
        name=version.name,
        kind=words.models.kinds[version.kind],
        explained=words.models.kinds_explained.get(version.kind, ""),
        state=version.state,
        state_label=words.models.states[version.state] if is_servable(version) else "",
        is_serving=version.is_serving,
        lineage=_lineage(version, names, words),
        job_id=version.job_id,
        made=version.created_at,
        votes=str(votes) if isinstance(votes, int) else "",
        win_rate=number_text("win_rate", float(rate)) if isinstance(rate, int | float) else "",
        verdict=verdict,
        verdict_label=words.train.verdicts.get(verdict, verdict) or words.models.no_verdict,
        offer=offer(version, words) if may_serve else None,
        can_chat=can_chat(version),
    )


def _lineage(version: VersionInfo, names: Mapping[int, str], words: Words) -> tuple[str, ...]:
    parents = (
        (words.models.started_from, version.start_id),
        (words.models.anchored_to, version.anchor_id),
        (words.models.scored_by, version.reward_id),
    )
    return tuple(f"{how} {names.get(parent, parent)}" for how, parent in parents if parent is not None)
