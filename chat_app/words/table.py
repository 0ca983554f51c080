"""The table of words: a field per thing a person reads, so a missing translation fails type checking."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

Language = Literal["en", "zh"]


@dataclass(frozen=True, slots=True, kw_only=True)
class NavigationWords:
    """The bar at the top of every page."""

    label: str
    chat: str
    train: str
    models: str
    other_language: str
    skip_to_content: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ChatWords:
    """The chat page: conversations, the thread, the composer."""

    title: str
    conversations: str
    hide_conversations: str
    new_conversation: str
    untitled: str
    rename: str
    rename_question: str
    delete: str
    delete_question: str
    empty_title: str
    empty_text: str
    openings_label: str
    openings: tuple[str, ...]
    you: str
    model: str
    message: str
    message_hint: str
    editing_hint: str
    editing: str
    cancel_editing: str
    send: str
    stop: str
    compare_switch: str
    compare_switch_info: str
    version_choice: str
    version_served: str
    context_choice: str
    zero_shot: str
    few_shot: str
    few_shot_hint: str
    regenerate: str
    compare_again: str
    try_again: str
    edit: str
    undo: str
    earlier_variant: str
    later_variant: str
    variant: str
    answering: str
    answered: str
    queued: str
    stopped: str
    unanswered: str
    elsewhere: str
    dropped: str
    answered_by: str
    after_examples: str
    chosen_from_two: str
    tie_from_two: str
    both_bad_from_two: str


@dataclass(frozen=True, slots=True, kw_only=True)
class CompareWords:
    """Two blind answers and the vote on them."""

    heading: str
    question: str
    answer_a: str
    answer_b: str
    writing: str
    vote_label: str
    left: str
    right: str
    tie: str
    both_bad: str
    waits: str
    stopped: str
    thanks: str
    wrote: str
    goes_on_with: str
    verdicts: Mapping[str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainWords:
    """The training page: where the loop stands, what runs, what came of it."""

    title: str
    intro: str
    comparisons: str
    new_comparisons: str
    needed: str
    serves_now: str
    by_itself: str
    preset: str
    presets: Mapping[str, tuple[str, str]]
    retrain: str
    cannot_too_few: str
    cannot_active: str
    can_start: str
    job: str
    states: Mapping[str, str]
    phases: Mapping[str, str]
    waiting_for_worker: str
    loading: str
    attempt: str
    elapsed: str
    remaining: str
    cancel: str
    cancel_question: str
    cancelling: str
    curves: str
    curve_names: Mapping[str, str]
    no_curves: str
    step: str
    samples: str
    before: str
    after: str
    score: str
    log: str
    no_log: str
    verdict: str
    verdicts: Mapping[str, str]
    verdict_explained: Mapping[str, str]
    promoted: str
    not_promoted: str
    measures: Mapping[str, str]
    recent: str
    no_jobs: str
    started_at: str
    requested_by: str
    schedule: str
    state: str
    took: str
    progress_label: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelsWords:
    """The page of model versions, and the panel that serves one whatever the gate said."""

    title: str
    intro: str
    version: str
    kind: str
    kinds: Mapping[str, str]
    kinds_explained: Mapping[str, str]
    state: str
    states: Mapping[str, str]
    made_from: str
    started_from: str
    anchored_to: str
    scored_by: str
    job: str
    votes: str
    win_rate: str
    verdict: str
    no_verdict: str
    made: str
    none: str
    serving: str
    roll_back: str
    rolled_back: str
    chat_with: str
    promote: str
    promote_anyway: str
    promote_heading: str
    promote_warning: str
    reason: str
    reason_hint: str
    confirm: str
    cancel: str
    promoted: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Words:
    """All that a person reads in one language.

    `errors` has a sentence per error code, filled with the error's facts; a code that is not there is told in
    the error's own (English) words.
    """

    language: Language
    tag: str
    product: str
    navigation: NavigationWords
    chat: ChatWords
    compare: CompareWords
    train: TrainWords
    models: ModelsWords
    errors: Mapping[str, str]
    unexpected: str
    colon: str
    second: str
    minute: str
    hour: str
