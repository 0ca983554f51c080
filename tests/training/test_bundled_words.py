"""Our own prompts, demonstrations and ordinary text have the shapes and parts their page promises."""

import gzip
import json
import math
import re
from collections import Counter, defaultdict
from collections.abc import Iterable
from pathlib import Path
from typing import Any

BUNDLED = Path(__file__).parents[2] / "training" / "bundled"
Record = dict[str, Any]


def read(name: str) -> list[Record]:
    raw = (BUNDLED / name).read_bytes()
    text = (gzip.decompress(raw) if name.endswith(".gz") else raw).decode("utf-8")
    return [json.loads(line) for line in text.splitlines()]


def tokens(text: str) -> list[str]:
    """Lower-case English words and single Chinese characters; a prompt of signs alone is one token."""
    return re.findall(r"[a-z0-9']+|[\u4e00-\u9fff]", text.lower()) or [text]


def whole(record: Record) -> str:
    return " ".join(message["content"] for message in record["messages"])


def opening(record: Record) -> str:
    return " ".join(tokens(record["messages"][0]["content"]))


def is_chinese(text: str) -> bool:
    return re.search(r"[\u4e00-\u9fff]", text) is not None


def near_duplicates(texts: Iterable[str], limit: float = 0.8) -> list[tuple[str, str]]:
    """Pairs of texts whose token sets share more than `limit` of their union (Jaccard).

    Such a pair has one of each set's rarest tokens in common: only sets that meet there are compared.
    """
    sets = [(text, frozenset(tokens(text))) for text in texts]
    frequency = Counter(token for _, members in sets for token in members)
    meeting: dict[str, list[int]] = defaultdict(list)
    found = []
    for place, (text, members) in enumerate(sets):
        rarest = sorted(members, key=lambda token: (frequency[token], token))
        few = rarest[: len(members) - math.ceil(limit * len(members)) + 1]
        for other in {other for token in few for other in meeting[token]}:
            also, theirs = sets[other]
            if len(members & theirs) > limit * len(members | theirs):
                found.append((also, text))
        for token in few:
            meeting[token].append(place)
    return found


PROMPTS = read("prompts.jsonl")
DEMONSTRATIONS = [
    record
    for path in sorted((BUNDLED / "demonstrations").glob("*.jsonl"))
    for record in read(f"demonstrations/{path.name}")
]
PASSAGES = read("ordinary_text.jsonl.gz")


def test_every_conversation_starts_with_the_user_and_alternates() -> None:
    for record in PROMPTS + DEMONSTRATIONS:
        roles = [message["role"] for message in record["messages"]]
        assert roles == (["user", "assistant"] * len(roles))[: len(roles)], record
        assert all(set(message) == {"role", "content"} for message in record["messages"])


def test_every_message_has_words_and_no_space_around_them() -> None:
    for record in PROMPTS + DEMONSTRATIONS:
        for message in record["messages"]:
            assert message["content"], record
            assert message["content"] == message["content"].strip(), record


def test_prompts_end_with_the_user_and_demonstrations_with_the_assistant() -> None:
    assert all(record["messages"][-1]["role"] == "user" for record in PROMPTS)
    assert all(record["messages"][-1]["role"] == "assistant" for record in DEMONSTRATIONS)


def test_prompts_have_unique_ids_and_the_promised_fields() -> None:
    assert all(set(record) == {"id", "part", "messages"} for record in PROMPTS)
    assert len({record["id"] for record in PROMPTS}) == len(PROMPTS)


def test_the_parts_hold_40_40_and_20_percent_with_at_least_200_held_out() -> None:
    count = Counter(record["part"] for record in PROMPTS)
    assert set(count) == {"training", "ppo", "heldout"}
    assert len(PROMPTS) >= 2000
    assert count["heldout"] >= 400
    assert abs(count["training"] / len(PROMPTS) - 0.40) < 0.01
    assert abs(count["ppo"] / len(PROMPTS) - 0.40) < 0.01


def test_two_turn_and_chinese_prompts_are_spread_evenly_over_the_parts() -> None:
    two_turns = [record["part"] for record in PROMPTS if len(record["messages"]) == 3]
    chinese = [record["part"] for record in PROMPTS if is_chinese(whole(record))]
    assert 0.09 < len(two_turns) / len(PROMPTS) < 0.15
    assert 0.035 < len(chinese) / len(PROMPTS) < 0.065
    for parts in (two_turns, chinese):
        assert 0.15 < parts.count("heldout") / len(parts) < 0.25
        assert 0.35 < parts.count("training") / len(parts) < 0.45


def test_no_prompt_stands_twice_and_none_is_nearly_another() -> None:
    assert near_duplicates(whole(record) for record in PROMPTS) == []


def test_no_held_out_prompt_opens_a_conversation_of_another_part() -> None:
    held_out = {opening(r) for r in PROMPTS if r["part"] == "heldout" and len(r["messages"]) == 1}
    assert held_out & {opening(record) for record in PROMPTS if record["part"] != "heldout"} == set()


def test_no_demonstration_opens_with_a_held_out_prompt() -> None:
    held_out = {opening(r) for r in PROMPTS if r["part"] == "heldout" and len(r["messages"]) == 1}
    assert held_out & {opening(record) for record in DEMONSTRATIONS} == set()


def test_no_held_out_conversation_stands_in_a_demonstration() -> None:
    held_out = {whole(record) for record in PROMPTS if record["part"] == "heldout"}
    turns = ({"messages": d["messages"][:n]} for d in DEMONSTRATIONS for n in (1, 3, 5))
    assert held_out & {whole(turn) for turn in turns} == set()


def test_no_opening_is_a_template() -> None:
    for n_words, share in ((6, 0.01), (3, 0.05)):
        starts = Counter(
            " ".join(tokens(opening(r))[:n_words]) for r in PROMPTS if not is_chinese(opening(r))
        )
        start, count = starts.most_common(1)[0]
        assert count <= share * len(PROMPTS), (start, count)


def test_no_answer_is_given_in_more_than_one_percent_of_demonstrations() -> None:
    answers = [m["content"] for d in DEMONSTRATIONS for m in d["messages"] if m["role"] == "assistant"]
    assert Counter(answers).most_common(1)[0][1] <= 0.01 * len(answers)


def test_demonstrations_are_short_varied_and_many() -> None:
    assert len(DEMONSTRATIONS) >= 1500
    assert sum(is_chinese(opening(d)) for d in DEMONSTRATIONS) >= 150
    assert max(len(d["messages"]) for d in DEMONSTRATIONS) <= 8
    answers = [m["content"] for d in DEMONSTRATIONS for m in d["messages"] if m["role"] == "assistant"]
    assert max(len(answer.split()) for answer in answers) <= 60
    assert 0.2 < sum("?" in answer for answer in answers) / len(answers) < 0.6


def test_chinese_text_has_chinese_punctuation() -> None:
    texts = [
        m["content"] for r in PROMPTS + DEMONSTRATIONS for m in r["messages"] if is_chinese(m["content"])
    ]
    assert [text for text in texts if re.search(r"[,!?:;]", text)] == []


def test_no_demonstration_stands_twice() -> None:
    assert near_duplicates((whole(record) for record in DEMONSTRATIONS), limit=0.9) == []


def test_passages_have_30_to_200_words_and_one_of_two_parts() -> None:
    assert all(set(record) == {"text", "part"} for record in PASSAGES)
    assert [r["text"] for r in PASSAGES if not 30 <= len(r["text"].split()) <= 200] == []
    assert sum(len(record["text"].encode()) for record in PASSAGES) >= 900_000
    count = Counter(record["part"] for record in PASSAGES)
    assert set(count) == {"training", "heldout"}
    assert abs(count["heldout"] / len(PASSAGES) - 0.15) < 0.02


def test_no_passage_is_nearly_another() -> None:
    assert near_duplicates((record["text"] for record in PASSAGES), limit=0.5) == []
