"""Settings: read from the environment, checked by name, handed on whole, and printed without secrets."""

from pathlib import Path

import pytest

from chat_app.errors import StartFailed
from chat_app.settings import Settings, load_settings, variable_names


@pytest.fixture(autouse=True)
def _empty_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    import os

    for name in list(os.environ):
        if name.startswith("RAPPORT_"):
            monkeypatch.delenv(name)
    monkeypatch.setenv("RAPPORT_DATA_DIR", str(tmp_path))


def test_the_database_is_in_the_data_folder_unless_named(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    assert load_settings().database.url == f"sqlite:///{tmp_path}/rapport.db"
    monkeypatch.setenv("RAPPORT_DATABASE__URL", "postgresql+psycopg://u:p@host/rapport")
    assert load_settings().database.url == "postgresql+psycopg://u:p@host/rapport"


def test_a_part_of_a_branch_leaves_the_rest_of_it(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("RAPPORT_DATABASE__BUSY_TIMEOUT_SECONDS", "3")
    monkeypatch.setenv("RAPPORT_DECODING__TEMPERATURE", "0.5")
    settings = load_settings()
    assert (settings.database.busy_timeout_seconds, settings.database.url) == (
        3.0,
        f"sqlite:///{tmp_path}/rapport.db",
    )
    assert (settings.decoding.temperature, settings.decoding.max_new_tokens) == (0.5, 128)


def test_training_settings_are_changed_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAPPORT_PRESET", "tiny")
    monkeypatch.setenv("RAPPORT_TRAINING__PPO__UPDATES", "7")
    monkeypatch.setenv("RAPPORT_TRAINING__MIN_COMPARISONS", "9")
    training = load_settings().training_settings()
    assert (training.ppo.updates, training.min_comparisons, training.ppo.episodes) == (7, 9, 8)
    assert load_settings().training_settings("quick").ppo.episodes == 64
    assert load_settings().training_settings(None, {"ppo": {"updates": 3}}).ppo.updates == 3


def test_empty_variables_are_as_unset_ones(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAPPORT_MODEL", "")
    monkeypatch.setenv("RAPPORT_PORT", "")
    assert (load_settings().model, load_settings().port) == ("", 7860)


def test_hosts_are_a_list_with_blanks_or_commas(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAPPORT_ALLOWED_HOSTS", "my.box, other.box third")
    assert load_settings().allowed_hosts == ("my.box", "other.box", "third")


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("RAPPORT_PROT", "Did you mean RAPPORT_PORT"),
        ("RAPPORT_DECODING__TEMPRATURE", "Did you mean RAPPORT_DECODING__TEMPERATURE"),
        ("RAPPORT_TRAINING__PPO__UPDATE", "Did you mean RAPPORT_TRAINING__PPO__UPDATES"),
    ],
)
def test_an_unknown_variable_is_named_with_the_closest_known_one(
    monkeypatch: pytest.MonkeyPatch, name: str, hint: str
) -> None:
    monkeypatch.setenv(name, "1")
    with pytest.raises(StartFailed, match=f"{name} is not a setting.*{hint}"):
        load_settings()


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("RAPPORT_PORT", "many", "RAPPORT_PORT is 'many'"),
        ("RAPPORT_PORT", "70000", "RAPPORT_PORT is '70000'.*less than or equal to 65535"),
        ("RAPPORT_PRESET", "huge", "RAPPORT_PRESET is 'huge'.*'tiny', 'quick'"),
        ("RAPPORT_TRAINING__PPO__UPDATES", "0", "RAPPORT_TRAINING__PPO__UPDATES is .?0"),
        ("RAPPORT_INFERENCE__MAX_BATCH", "1", "inference.max_batch is 1; a pair"),
        ("RAPPORT_INFERENCE__MAX_QUEUE", "1", "inference.max_queue is 1; a pair"),
        ("RAPPORT_RETRAIN_CRON", "often", 'retrain_cron is "often"'),
    ],
)
def test_an_impossible_value_is_named(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str, message: str
) -> None:
    monkeypatch.setenv(name, value)
    with pytest.raises(StartFailed, match=message):
        load_settings()


def test_a_wrong_database_url_does_not_print_its_password(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAPPORT_DATABASE__URL", "mysql://u:secret-word@host/rapport")
    with pytest.raises(StartFailed) as caught:
        load_settings()
    assert "mysql" in str(caught.value)
    assert "secret-word" not in str(caught.value)


def test_the_printed_tree_hides_the_password(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAPPORT_DATABASE__URL", "postgresql+psycopg://u:secret-word@host/rapport")
    printed = str(load_settings().printable())
    assert "secret-word" not in printed
    assert "postgresql+psycopg://u:***@host/rapport" in printed


def test_another_process_gets_the_same_tree(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    settings = Settings(
        data_dir=tmp_path / "other",
        allowed_hosts=("my.box", "b"),
        training={"ppo": {"updates": 3}},
        decoding={"top_k": 5},
        worker=False,
    )
    environment = settings.environment()
    assert set(environment) <= variable_names()
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    again = load_settings()
    assert again.model_dump(exclude={"training"}) == settings.model_dump(exclude={"training"})
    assert again.training_settings() == settings.training_settings()


def test_a_setting_cannot_be_changed_afterwards() -> None:
    with pytest.raises(ValueError, match="frozen"):
        load_settings().port = 1
