"""What pages show of model versions and of the gate's verdict."""

from datetime import UTC, datetime
from typing import Any

from chat_app.presenters.versions import (
    gate_samples,
    offer,
    verdict_card,
    version_lines,
    version_of_job,
)
from chat_app.words import EN
from training.registry import VersionInfo

MADE = datetime(2026, 1, 1, tzinfo=UTC)
GATE = {
    "verdict": "pass",
    "reasons": ["It is better."],
    "win_rate": 0.8125,
    "interval": [0.71, 0.9],
    "prompts": 96,
    "judge_accuracy": {"rankings": 40, "right": 32, "share": 0.8},
    "limits": {
        "kl": 2.5,
        "length": 12.0,
        "serving_length": 10.0,
        "distinct_2": 0.5,
        "anchor_distinct_2": 0.6,
    },
    "samples": [{"prompt": [{"content": "Hi"}], "serving": "a", "candidate": "b"}],
}


def version(version_id: int, **facts: Any) -> VersionInfo:
    values: dict[str, Any] = {
        "name": f"v{version_id}",
        "kind": "policy",
        "state": "candidate",
        "path": "/nowhere",
        "metrics": {},
        "start_id": None,
        "anchor_id": None,
        "reward_id": None,
        "job_id": None,
        "created_at": MADE,
        "promoted_at": None,
    }
    return VersionInfo(version_id, **{**values, **facts})


def test_a_version_names_what_it_was_made_from() -> None:
    made = version(3, start_id=1, anchor_id=1, reward_id=2, job_id=5, metrics={"gate": GATE})
    lines = version_lines([made, version(1)], EN, may_serve=True)
    assert lines[0].lineage == ("started from v1", "held near v1", "scored by 2")
    assert (lines[0].win_rate, lines[0].verdict_label, lines[1].verdict_label) == (
        "81%",
        "Passed",
        "not judged",
    )


def test_only_a_verdict_or_an_earlier_time_in_service_spares_the_reason() -> None:
    passed = offer(version(3, metrics={"gate": GATE}), EN)
    doubtful = offer(version(3, metrics={"gate": {"verdict": "not enough evidence"}}), EN)
    served = offer(version(1, state="retired", promoted_at=MADE), EN)
    assert passed is not None
    assert doubtful is not None
    assert served is not None
    assert (passed.is_forced, doubtful.is_forced, served.is_forced) == (False, True, False)
    assert (passed.label, doubtful.label) == ("Serve it", "Promote anyway")


def test_the_pretrained_base_is_explained_and_there_to_chat_with_but_not_to_serve() -> None:
    base, sft, reward = version_lines(
        [version(1, kind="base"), version(2, kind="sft", state="serving"), version(3, kind="reward")],
        EN,
        may_serve=True,
    )
    assert (base.kind, base.state_label, base.offer) == ("pretrained base", "", None)
    assert base.explained.startswith("What pretraining gives, before fine-tuning:")
    assert sft.explained == ""
    assert [line.can_chat for line in (base, sft, reward)] == [True, True, False]


def test_what_answers_now_and_reward_models_are_not_offered() -> None:
    assert offer(version(1, state="serving"), EN) is None
    assert offer(version(2, kind="reward"), EN) is None
    [line] = version_lines([version(3, metrics={"gate": GATE})], EN, may_serve=False)
    assert line.offer is None


def test_a_verdict_shows_its_numbers() -> None:
    card = verdict_card(version(3, metrics={"gate": GATE}), EN, may_serve=True)
    assert card is not None
    assert [tile.value for tile in card.measures] == [
        "81%",
        "71% – 90%",
        "80%",
        "96",
        "2.5",
        "12 / 10",
        "50% / 60%",
    ]
    assert card.outcome == "Version v3 is a candidate; it does not answer yet."


def test_judges_that_judged_nothing_have_no_accuracy() -> None:
    gate = {
        "verdict": "not enough evidence",
        "judge_accuracy": {"rankings": 0, "share": 0.5},
        "win_rate": None,
    }
    card = verdict_card(version(3, metrics={"gate": gate}), EN, may_serve=True)
    assert card is not None
    assert card.measures == ()


def test_a_version_the_gate_never_saw_has_no_verdict() -> None:
    assert verdict_card(version(1), EN, may_serve=True) is None
    assert gate_samples(version(1)) == []


def test_samples_of_the_gate_are_old_and_new_answers() -> None:
    [card] = gate_samples(version(3, metrics={"gate": GATE}))
    assert (card.prompt, card.before, card.after) == ("Hi", "a", "b")


def test_a_job_is_known_by_the_chat_model_it_made() -> None:
    reward, policy = version(2, kind="reward", job_id=5), version(3, job_id=5)
    assert version_of_job([policy, reward], 5) is policy
    assert version_of_job([policy, reward], 6) is None
