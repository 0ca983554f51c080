"""The settings of a retraining refuse what cannot work, and name it."""

import pytest
from pydantic import ValidationError

from training.settings import PPOSettings, TrainingSettings, laid_over, preset


@pytest.mark.parametrize("name", ["tiny", "quick", "standard", "thorough"])
def test_every_preset_is_valid_and_survives_json(name: str) -> None:
    settings = preset(name)  # type: ignore[arg-type]
    assert TrainingSettings.model_validate_json(settings.model_dump_json()) == settings


def test_presets_take_longer_and_longer() -> None:
    episodes = [
        settings.ppo.updates * settings.ppo.episodes
        for settings in (preset("tiny"), preset("quick"), preset("standard"), preset("thorough"))
    ]
    assert episodes == sorted(set(episodes))


def test_an_unknown_preset_names_those_there_are() -> None:
    with pytest.raises(ValueError, match='no preset "fast"; use one of tiny, quick, standard, thorough'):
        preset("fast")  # type: ignore[arg-type]


def test_overrides_reach_one_setting_and_leave_the_others() -> None:
    settings = preset("tiny", ppo={"updates": 5}, seed=3)
    assert (settings.ppo.updates, settings.ppo.episodes, settings.seed) == (5, 8, 3)


def test_what_lies_above_wins() -> None:
    assert laid_over({"a": {"b": 1, "c": 2}, "d": 3}, {"a": {"b": 9}, "d": 4}) == {
        "a": {"b": 9, "c": 2},
        "d": 4,
    }


def test_sizes_that_do_not_divide_are_named_with_a_remedy() -> None:
    with pytest.raises(
        ValidationError, match=r"50 episodes do not divide into 4 equal parts\. Use 48 episodes"
    ):
        PPOSettings(episodes=50, minibatches=4)


@pytest.mark.parametrize(
    ("branch", "setting", "value"),
    [
        ("ppo", "kl_target", 0),
        ("ppo", "kl_target", -1),
        ("ppo", "learning_rate", float("nan")),
        ("ppo", "speed", 3),
        ("reward", "epochs", 0),
        ("gate", "folds", 1),
        ("gate", "confidence", 0.4),
    ],
)
def test_an_impossible_or_unknown_setting_is_refused_by_name(branch: str, setting: str, value: float) -> None:
    with pytest.raises(ValidationError, match=f"{branch}.{setting}"):
        preset("quick", **{branch: {setting: value}})


def test_the_horizon_follows_the_planned_episodes() -> None:
    assert PPOSettings(updates=20, episodes=64).horizon_episodes == 128
    assert PPOSettings(kl_horizon=500).horizon_episodes == 500
