"""Turns conversations into token ids and back, by the chat template that the tokenizer carries.

What a person typed can never become a control token: the template is rendered around marks that stand for the
messages, and the messages themselves are encoded as ordinary text. A typed "<|end|>" stays five plain pieces.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

from jinja2 import TemplateError, TemplateSyntaxError
from transformers import AutoTokenizer

from training.errors import TrainingError

START, PAD, SYSTEM, USER, ASSISTANT, END = SPECIAL_TOKENS = (
    "<|endoftext|>",
    "<|pad|>",
    "<|system|>",
    "<|user|>",
    "<|assistant|>",
    "<|end|>",
)

CHAT_TEMPLATE = (
    "{{ bos_token }}"
    "{%- for message in messages %}"
    "{{ '<|' + message['role'] + '|>' }}"
    "{%- if message['role'] == 'assistant' %}"
    "{% generation %}{{ message['content'] }}{{ eos_token }}{% endgeneration %}"
    "{%- else %}{{ message['content'] }}{{ eos_token }}{%- endif %}"
    "{%- endfor %}"
    "{%- if add_generation_prompt %}{{ '<|assistant|>' }}{%- endif %}"
)

# For a tokenizer that brings no template: the plain dialogue that base models continue without being taught.
PLAIN_TEMPLATE = (
    "{%- if bos_token %}{{ bos_token }}{%- endif %}"
    "{%- for message in messages %}"
    "{%- if message['role'] == 'assistant' %}"
    "{{ 'Assistant:' }}"
    "{% generation %}{{ ' ' + message['content'] + eos_token }}{% endgeneration %}{{ '\n' }}"
    "{%- elif message['role'] == 'user' %}{{ 'User: ' + message['content'] + '\n' }}"
    "{%- else %}{{ message['content'] + '\n\n' }}{%- endif %}"
    "{%- endfor %}"
    "{%- if add_generation_prompt %}{{ 'Assistant:' }}{%- endif %}"
)

ChatMessages = Sequence[Mapping[str, str]]

_SPARE_PADS = (PAD, "<pad>", "[PAD]", "<|finetune_right_pad_id|>", "<|reserved_special_token_0|>")
_MARK = re.compile("\ue000(\\d+)\ue001")


@dataclass(frozen=True, slots=True)
class FittedPrompt:
    """A prompt's ids, and how many of the oldest messages (after a system message, which stays) were left out."""

    ids: list[int]
    dropped_messages: int


class PromptTooLong(TrainingError):
    """The newest message alone does not fit into the model's context."""

    code = "prompt_too_long"


class ChatFormatError(TrainingError):
    """A conversation or a tokenizer that cannot be rendered."""

    code = "chat_format"


class ChatFormat:
    """One tokenizer's way of writing conversations: prompts, completions, masks, and text back from ids."""

    def __init__(self, tokenizer: Any) -> None:
        """Take a Hugging Face fast tokenizer; give it a template and a distinct pad where it lacks them."""
        self.tokenizer = tokenizer
        if tokenizer.eos_token_id is None:
            raise ChatFormatError(
                "The tokenizer has no end-of-sequence token, so answers could never end. "
                "Set eos_token in its tokenizer_config.json."
            )
        if not tokenizer.chat_template:
            ours = set(SPECIAL_TOKENS) <= set(tokenizer.get_vocab())
            tokenizer.chat_template = CHAT_TEMPLATE if ours else PLAIN_TEMPLATE
        _give_distinct_pad(tokenizer)
        self._special_ids = _special_ids(tokenizer)
        self._spelt_controls = _spelt_controls(tokenizer)
        self._end_token_id = self._end_of_turn()

    @classmethod
    def from_folder(cls, path: str | Path) -> ChatFormat:
        """Read the tokenizer of a model folder or hub name."""
        return cls(AutoTokenizer.from_pretrained(str(path), trust_remote_code=False))

    @property
    def special_ids(self) -> frozenset[int]:
        """The control tokens: ends, pads and the marks of turns, whether the tokenizer names them or not."""
        return self._special_ids

    @property
    def end_token_id(self) -> int:
        """The token that ends a turn."""
        return self._end_token_id

    @property
    def pad_token_id(self) -> int:
        """The token that fills a batch; never the end of turn."""
        return int(self.tokenizer.pad_token_id)

    @property
    def start_token_id(self) -> int:
        """The token that separates documents: the tokenizer's bos, or its eos where it has no bos."""
        start = self.tokenizer.bos_token_id
        return int(self.tokenizer.eos_token_id if start is None else start)

    @property
    def vocab_size(self) -> int:
        """How many token ids the tokenizer can produce, added tokens included."""
        return len(self.tokenizer)

    def text_ids(self, text: str) -> list[int]:
        """Encode ordinary text; control tokens spelt out in it stay ordinary text."""
        return [token for part in self._without_controls(text) for token in self._plain_ids(part)]

    def completion_ids(self, text: str) -> list[int]:
        """Encode an answer as the model should have produced it: its text, then the end of turn."""
        exchange = [{"role": "user", "content": "?"}, {"role": "assistant", "content": text}]
        return [token for piece, is_answer in self._pieces(exchange) if is_answer for token in piece]

    def prompt_ids(self, messages: ChatMessages, *, max_tokens: int | None = None) -> list[int]:
        """Encode messages that end with a user turn, and open the assistant's turn.

        Over `max_tokens` the oldest turns are dropped and a system message is kept.
        Raises PromptTooLong when the newest turn alone does not fit.
        """
        if max_tokens is not None:
            return self.fitted_prompt(messages, max_tokens).ids
        _check_ends_with_user(messages)
        return [token for piece, _ in self._pieces(messages, open_answer=True) for token in piece]

    def fitted_prompt(self, messages: ChatMessages, max_tokens: int) -> FittedPrompt:
        """Encode a prompt into `max_tokens`: the oldest turns are dropped, and a system message is kept.

        The newest turns are tried first, and then more at a time, so that the work grows with `max_tokens` and not
        with the length of the conversation. Raises PromptTooLong when the newest turn alone does not fit.
        """
        _check_ends_with_user(messages)
        system, firsts = _turns(messages)
        dropping, too_few, step = len(firsts) - 1, -1, 1  # turns: enough to drop, and known to be too few
        ids = self.prompt_ids([*system, *messages[firsts[dropping] :]])
        if len(ids) > max_tokens:
            raise PromptTooLong(
                f"The message takes {len(ids)} tokens with its markup; there is room for {max_tokens}. "
                "Shorten it, or send it in several parts."
            )
        while dropping - too_few > 1:
            tried = max(dropping - step, 0) if too_few < 0 else (dropping + too_few) // 2
            longer = self.prompt_ids([*system, *messages[firsts[tried] :]])
            if len(longer) <= max_tokens:
                ids, dropping, step = longer, tried, step * 2
            else:
                too_few = tried
        return FittedPrompt(ids, firsts[dropping] - len(system))

    def conversation_ids(self, messages: ChatMessages) -> tuple[list[int], list[bool]]:
        """Encode a whole conversation; the mask keeps the assistant's tokens, each end of turn included."""
        ids: list[int] = []
        assistant_mask: list[bool] = []
        for piece, is_answer in self._pieces(messages):
            ids += piece
            assistant_mask += [is_answer] * len(piece)
        return ids, assistant_mask

    def decode(self, ids: Sequence[int]) -> str:
        """Turn token ids into text, without special tokens and without blanks before the first word."""
        kept = [token for token in ids if token not in self._special_ids]
        return str(self.tokenizer.decode(kept, clean_up_tokenization_spaces=False)).lstrip(" ")

    def _plain_ids(self, text: str) -> list[int]:
        return list(
            self.tokenizer.encode(text, add_special_tokens=False, split_special_tokens=True, verbose=False)
        )

    def _without_controls(self, text: str) -> list[str]:
        """Cut text inside each added token that the library would not split because it is not marked special."""
        cuts = (
            [match.start() + 1 for match in self._spelt_controls.finditer(text)]
            if self._spelt_controls
            else []
        )
        return [text[start:end] for start, end in pairwise([0, *cuts, len(text)])]

    def _pieces(self, messages: ChatMessages, *, open_answer: bool = False) -> list[tuple[list[int], bool]]:
        """Cut a rendered conversation into runs of ids, each with whether the assistant produces it."""
        parts = self._render(messages, open_answer)  # markup, index, markup, …, index, markup
        markup, pieces = parts[0], list[tuple[list[int], bool]]()
        for index, closing in zip(parts[1::2], parts[2::2], strict=True):
            message, is_answer = messages[int(index)], messages[int(index)]["role"] == "assistant"
            text = message["content"].strip()
            if is_answer and markup.endswith(
                " "
            ):  # byte-level BPE joins the blank to the answer's first word
                markup, text = markup[:-1], " " + text
            pieces += [(self._markup_ids(markup), False), (self.text_ids(text), is_answer)]
            if is_answer:
                end = self._markup_ids(closing)
                pieces.append(([self._end_token_id], True))
                closing = self._after_end(closing) if self._end_token_id in end else closing
            markup = closing
        return [*pieces, (self._markup_ids(markup), False)]

    def _render(self, messages: ChatMessages, open_answer: bool) -> list[str]:
        """Render the template around marks, and split it at them."""
        marked = [{**message, "content": f"\ue000{i}\ue001"} for i, message in enumerate(messages)]
        try:
            rendered = self.tokenizer.apply_chat_template(
                marked, tokenize=False, add_generation_prompt=open_answer, enable_thinking=False
            )
        except TemplateSyntaxError as error:
            raise ChatFormatError(
                f"The model's chat template cannot be read ({error}). "
                "Correct it, or delete it for plain dialogue."
            ) from error
        except TemplateError as error:
            roles = ", ".join(message["role"] for message in messages)
            raise ChatFormatError(
                f"The model's chat template refuses the turns ({roles}): {error}. "
                "Leave out the system message, or use a model whose template takes it."
            ) from error
        return _MARK.split(str(rendered))

    def _markup_ids(self, markup: str) -> list[int]:
        return list(self.tokenizer.encode(markup, add_special_tokens=False)) if markup else []

    def _after_end(self, markup: str) -> str:
        end = str(self.tokenizer.convert_ids_to_tokens(self._end_token_id))
        return markup.partition(end)[2]

    def _end_of_turn(self) -> int:
        """Read from the template which token closes an answer; the eos where none does."""
        exchange = [{"role": "user", "content": "?"}, {"role": "assistant", "content": "!"}]
        parts = self._render(exchange, open_answer=False)
        if parts[1::2] != ["0", "1"]:
            raise ChatFormatError(
                "The model's chat template leaves out what was said. Correct it, or delete it for plain dialogue."
            )
        closing = self._markup_ids(parts[-1])
        return next(
            (token for token in closing if token in self._special_ids), int(self.tokenizer.eos_token_id)
        )


def _check_ends_with_user(messages: ChatMessages) -> None:
    if not messages or messages[-1]["role"] != "user":
        raise ChatFormatError("A prompt must end with a user message.")


def _turns(messages: ChatMessages) -> tuple[ChatMessages, list[int]]:
    """Give a leading system message, and where the conversation may begin: after it, or at a later user message."""
    system = messages[:1] if messages[0]["role"] == "system" else []
    start = len(system)
    later = (i for i in range(start + 1, len(messages)) if messages[i]["role"] == "user")
    return system, [start, *later]


def _special_ids(tokenizer: Any) -> frozenset[int]:
    """Control tokens by name, and those that are only marked: Phi 3 ends its turns with one of these."""
    marked = (token for token, added in tokenizer.added_tokens_decoder.items() if added.special)
    return frozenset(int(token) for token in (*tokenizer.all_special_ids, *marked))


def _spelt_controls(tokenizer: Any) -> re.Pattern[str] | None:
    """Find added tokens that are not marked special, such as Qwen's <think>; runs of blanks are ordinary text."""
    added = [token.content for token in tokenizer.added_tokens_decoder.values() if not token.special]
    spelt = sorted((text for text in added if len(text) > 1 and text.strip()), key=len, reverse=True)
    return re.compile("|".join(map(re.escape, spelt))) if spelt else None


def _give_distinct_pad(tokenizer: Any) -> None:
    """Make sure that padding is not the end of turn: libraries would then read a score one token early."""
    if tokenizer.pad_token_id is not None and tokenizer.pad_token_id != tokenizer.eos_token_id:
        return
    vocabulary = tokenizer.get_vocab()
    spare = next((token for token in _SPARE_PADS if token in vocabulary), PAD)
    tokenizer.add_special_tokens({"pad_token": spare})
