"""What the chat page shows of two blind answers: while they are written, before the vote, and after it."""

from dataclasses import dataclass

from markupsafe import Markup

from chat_app.presenters.chat import waiting_text
from chat_app.presenters.markdown import markdown_html
from chat_app.services.pair import PairEvent
from chat_app.services.thread import ComparisonView
from chat_app.services.voting import VoteReceipt
from chat_app.words import Words


@dataclass(frozen=True, slots=True)
class Pane:
    """One of the two answers; `status` is empty when it is complete."""

    title: str
    html: Markup
    status: str


@dataclass(frozen=True, slots=True)
class PairCard:
    """Two answers and whether they can be voted on; `vote_key` makes repeated clicks one vote."""

    left: Pane
    right: Pane
    status: str
    comparison_id: int | None
    vote_key: str

    @property
    def can_vote(self) -> bool:
        """Both are complete and stored."""
        return self.comparison_id is not None


def pair_card(event: PairEvent, words: Words, *, vote_key: str = "") -> PairCard:
    """Show two answers as far as they are written."""
    waiting = waiting_text(event.position, words) if event.kind == "queued" else words.compare.writing
    is_done = event.kind == "done"
    return PairCard(
        left=_pane(words.compare.answer_a, event.left, "" if is_done or event.is_left_done else waiting),
        right=_pane(words.compare.answer_b, event.right, "" if is_done or event.is_right_done else waiting),
        status=words.compare.question if is_done else words.compare.waits,
        comparison_id=event.comparison_id if is_done else None,
        vote_key=vote_key,
    )


def waiting_pair_card(comparison: ComparisonView, words: Words, *, vote_key: str) -> PairCard:
    """Show a comparison that was opened earlier and still waits for a vote."""
    left, right = comparison.completions[:2]
    return PairCard(
        left=_pane(words.compare.answer_a, left.text, ""),
        right=_pane(words.compare.answer_b, right.text, ""),
        status=words.compare.question,
        comparison_id=comparison.id,
        vote_key=vote_key,
    )


def _pane(title: str, text: str, status: str) -> Pane:
    return Pane(title=title, html=markdown_html(text), status=status)


def thanks_text(receipt: VoteReceipt, words: Words) -> str:
    """Thank, tell what was stored, which versions wrote A and B, and with which answer it goes on."""
    wrote = [
        words.compare.wrote.format(letter=letter, version=name)
        for letter, name in zip("AB", receipt.version_names, strict=False)
    ]
    parts = [words.compare.thanks, words.compare.verdicts[receipt.verdict], *wrote]
    if receipt.thread is not None and not receipt.is_branch_kept:
        answers = (words.compare.answer_a, words.compare.answer_b)
        parts.append(words.compare.goes_on_with.format(answer=answers[receipt.chosen_position]))
    separator = "" if words.language == "zh" else " "
    return separator.join(parts)
