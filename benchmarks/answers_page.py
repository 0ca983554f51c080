"""Writes answers as markdown: the blind sheet for the readers, and the page with everything they said."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from benchmarks.rated import KINDS, Rated, Table

_SPECIAL = re.compile(r"([\\`*_\[\]<>|#~&])")

_RUBRIC = """*sensible* (fits what was said, is right and could be read as a person's answer),
*so-so* (to the subject, but clumsy, half wrong or half beside it) or *nonsense* (not English or Chinese that can be
followed, beside the subject, or contradicting itself)"""

_SHEET_HEAD = f"""# Answers to rate

Each of the answers is to be rated alone, by what was said before it: {_RUBRIC}.
Write one line of JSON for each: `{{"id": "r001", "rating": "sensible"}}`, or "so-so", or "nonsense".
"""

_PAGE_HEAD = f"""# All answers, and how two readers rated them

Each model answered every prompt once, with its own default sampling. The answers of the models were mixed, and two
readers rated them without knowing whose they were and without seeing each other's ratings:
{_RUBRIC}.
Intervals are Wilson's, 95 %; where both readers are taken together, an answer counts as the share of them that says
so. `benchmarks/readings.py` made this page.
"""


def sheet(records: Sequence[Mapping[str, Any]]) -> str:
    """All answers under their opaque ids, each with the conversation before it."""
    return "\n".join([_SHEET_HEAD, *map(_sheet_entry, records)])


def answers_page(rated: Sequence[Rated], verdicts: Table, agreements: Table) -> str:
    """The readers' verdicts, their agreement, and every prompt with each model's answer and its two ratings."""
    parts = [_PAGE_HEAD, markdown_table(verdicts), "How far the two agree:\n", markdown_table(agreements)]
    for kind in KINDS:
        members = sorted((one for one in rated if one.kind == kind), key=lambda one: one.source_id)
        if members:
            parts.append(f"## {kind[0].upper()}{kind[1:]}\n")
            parts.append(_single_turns(members) if len(members[0].messages) == 1 else _conversations(members))
    return "\n".join(parts)


def markdown_table(rows: Table) -> str:
    """Rows as a table; the cells are taken as they are."""
    head, *body = [f"| {' | '.join(row)} |" for row in rows]
    return "\n".join([head, "|" + "---|" * len(rows[0]), *body]) + "\n"


def escape(text: str) -> str:
    """Text on one line that markdown shows as it is."""
    return "<br>".join(_SPECIAL.sub(r"\\\1", line) for line in text.splitlines())


def _sheet_entry(record: Mapping[str, Any]) -> str:
    return (
        f"## {record['id']}\n\n{_transcript(record['messages'])}\n\n**Answer:** {escape(record['answer'])}\n"
    )


def _transcript(messages: Sequence[Mapping[str, str]]) -> str:
    """Who said what, a quoted line each."""
    names = {"user": "Person", "assistant": "Model", "system": "System"}
    return "\n>\n".join(f"> {names[one['role']]}: {escape(one['content'])}" for one in messages)


def _single_turns(members: Sequence[Rated]) -> str:
    """One row per prompt, with every model's answer and ratings."""
    models = sorted({one.model for one in members})
    by_prompt: dict[str, dict[str, Rated]] = {}
    for one in members:
        by_prompt.setdefault(one.source_id, {})[one.model] = one
    rows = []
    for source_id, answers in by_prompt.items():
        message = next(iter(answers.values())).messages[-1]["content"]
        cells = [cell for model in models for cell in _cells(answers.get(model))]
        rows.append((source_id, escape(message), *cells))
    heading = [cell for model in models for cell in (model, "rated")]
    return markdown_table([("", "prompt", *heading), *rows])


def _cells(one: Rated | None) -> tuple[str, str]:
    return (escape(one.answer), _ratings(one)) if one else ("", "")


def _conversations(members: Sequence[Rated]) -> str:
    """Whole conversations, since each model's own earlier answers stand before its last."""
    return "\n".join(
        f"**{one.source_id}, {one.model}**, last answer rated {_ratings(one)}\n\n"
        f"{_transcript([*one.messages, {'role': 'assistant', 'content': one.answer}])}\n"
        for one in sorted(members, key=lambda one: (one.source_id, one.model))
    )


def _ratings(one: Rated) -> str:
    """Both readers' words, or the one word they share."""
    return one.ratings[0] if len(set(one.ratings)) == 1 else " / ".join(one.ratings)
