"""The command line: what each command prints, and one clear paragraph with exit code 1 for what goes wrong."""

import json
import os
import socket
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from chat_app import __version__
from chat_app.cli import main
from chat_app.records import open_records
from chat_app.services.versions import VersionService
from chat_app.settings import load_settings
from tests.chat_app.conftest import RunningServer

Command = Callable[..., tuple[int, str, str]]


@pytest.fixture
def command(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path, tiny_model: Path
) -> Command:
    """Run `rapport` with arguments; give its exit code, output and errors."""
    for name in [name for name in os.environ if name.startswith("RAPPORT_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("RAPPORT_DATA_DIR", str(tmp_path / "data"))
    monkeypatch.setenv("RAPPORT_MODEL", str(tiny_model))
    monkeypatch.setenv("RAPPORT_PRESET", "tiny")
    monkeypatch.setenv("RAPPORT_DECODING__MAX_NEW_TOKENS", "8")

    def run(*arguments: str) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["rapport", *arguments])
        capsys.readouterr()
        with pytest.raises(SystemExit) as left:
            main()
        printed = capsys.readouterr()
        code = left.value.code
        return code if isinstance(code, int) else 0, printed.out, printed.err

    return run


def test_the_version_is_the_packages() -> None:
    assert f'version = "{__version__}"' in Path("pyproject.toml").read_text(encoding="utf-8")


def test_config_prints_each_setting_as_its_variable(command: Command, tmp_path: Path) -> None:
    code, out, _ = command("config")
    assert code == 0
    assert f"RAPPORT_DATA_DIR={tmp_path / 'data'}\n" in out
    assert "RAPPORT_TRAINING__PPO__UPDATES=2\n" in out
    assert json.loads(command("config", "--json")[1])["decoding"]["max_new_tokens"] == 8


def test_an_unknown_variable_is_told(command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAPPORT_PROT", "1")
    code, _, errors = command("config")
    assert code == 1
    assert (
        errors
        == "The environment variable RAPPORT_PROT is not a setting of Rapport. Did you mean RAPPORT_PORT?\n"
    )


def test_a_port_in_use_is_told_with_the_way_out(command: Command) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        code, _, errors = command("serve", "--port", str(port))
    assert code == 1
    assert f"Port {port} of 127.0.0.1 is in use" in errors
    assert f"rapport serve --port {port + 1}" in errors


def test_a_bind_beyond_this_machine_is_told_with_the_way_out(command: Command) -> None:
    code, _, errors = command("serve", "--host", "0.0.0.0", "--port", "0")
    assert code == 1
    assert "RAPPORT_TRUSTED_NETWORK=true" in errors


def test_a_data_folder_that_cannot_be_written_is_told(
    command: Command, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("no folder")
    monkeypatch.setenv("RAPPORT_DATA_DIR", str(tmp_path / "file" / "data"))
    code, _, errors = command("serve", "--port", "0")
    assert code == 1
    assert f"The data folder {tmp_path / 'file' / 'data'} cannot be written: Not a directory" in errors
    assert "RAPPORT_DATA_DIR" in errors


def test_a_folder_without_a_model_is_told(
    command: Command, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("RAPPORT_MODEL", str(tmp_path))
    code, _, errors = command("serve", "--port", "0", "--no-worker")
    assert code == 1
    assert f"{tmp_path} holds no model" in errors


def test_weights_that_cannot_be_read_are_told(
    command: Command, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, tiny_model: Path
) -> None:
    broken = tmp_path / "broken"
    broken.mkdir()
    for file in tiny_model.iterdir():
        (broken / file.name).write_bytes(file.read_bytes())
    (broken / "model.safetensors").write_bytes(b"garbage")
    monkeypatch.setenv("RAPPORT_MODEL", str(broken))
    code, _, errors = command("serve", "--port", "0", "--no-worker")
    assert code == 1
    assert str(broken) in errors.splitlines()[-1]


def test_a_database_of_a_newer_version_is_told(command: Command) -> None:
    records = open_records(load_settings())
    with records.database.write() as session:
        session.connection().exec_driver_sql("UPDATE alembic_version SET version_num = 'ffff'")
    records.database.dispose()
    code, _, errors = command("versions", "list")
    assert code == 1
    assert "Upgrade Rapport" in errors


def test_versions_and_jobs_are_listed_and_guarded(command: Command) -> None:
    code, out, _ = command("versions", "list")
    assert (code, out.split()) == (0, ["1", "sft", "sft", "serving"])
    assert command("jobs", "list")[1].startswith("There has been no retraining yet.")
    assert "nothing to roll back" in command("versions", "roll-back")[2]
    assert "no model version 7" in command("versions", "promote", "7", "--anyway", "--reason", "why")[2]
    assert "needs a reason" in command("versions", "promote", "1", "--anyway")[2]
    assert "no job 3" in command("jobs", "show", "3")[2]


def test_retraining_without_votes_is_told(command: Command) -> None:
    code, _, errors = command("retrain")
    assert code == 1
    assert "There are 0 comparisons; retraining needs at least 4." in errors
    assert 'no preset "huge"' in command("retrain", "--preset", "huge")[2]
    assert "ppo.update is" in command("retrain", "--set", "ppo.update=3")[2]
    assert "name=value" in command("retrain", "--set", "ppo.updates")[2]


def test_a_worker_that_is_not_there_is_told(command: Command) -> None:
    code, _, errors = command("worker", "--check")
    assert code == 1
    assert "rapport worker" in errors


def test_the_labellers_are_listed(command: Command) -> None:
    code, out, _ = command("simulate", "--list")
    assert code == 0
    assert "asks-back    Likes an answer that ends with a question" in out
    assert 'no labeller "nice"' in command("simulate", "--labeller", "nice")[2]


def test_simulation_votes_at_a_running_service(command: Command, server: RunningServer) -> None:
    code, out, _ = command(
        "simulate", "--url", server.url, "--comparisons", "5", "--labeller", "brief", "--noise", "0"
    )
    assert code == 0
    assert out.splitlines()[-1].startswith("5 votes in")
    assert server.container.services.retraining.status(server.container.services.you).all_comparisons == 5


def test_the_win_rate_of_a_version_against_itself_is_one_half(command: Command) -> None:
    code, out, errors = command("winrate", "1", "sft", "--prompts", "10", "--labeller", "brief")
    assert code == 0, errors
    assert "win rate 50.0%" in out
    assert "0 wins, 10 ties, 0 losses" in out
    found = json.loads(command("winrate", "sft", "1", "--prompts", "10", "--json")[1])
    assert (found["rate"], found["ties"], found["is_better"]) == (0.5, 10, False)


def test_a_win_rate_needs_versions_and_enough_prompts(command: Command) -> None:
    assert 'no chat model version "9"' in command("winrate", "1", "9")[2]
    assert "are held out" in command("winrate", "1", "1", "--prompts", "100000")[2]


def test_a_promoted_version_is_there_for_the_next_command(command: Command, tiny_model: Path) -> None:
    records = open_records(load_settings())
    folder = records.registry.models_dir / "incoming"
    folder.mkdir(parents=True)
    for file in tiny_model.iterdir():
        (folder / file.name).write_bytes(file.read_bytes())
    version_id = records.registry.add_version(
        kind="policy",
        name_hint="policy",
        folder=folder,
        metrics={"gate": {"verdict": "not enough evidence"}},
        start_id=1,
        anchor_id=1,
        reward_id=None,
        job_id=None,
    )
    code, _, errors = command("versions", "promote", str(version_id))
    assert code == 1
    assert "not enough evidence" in errors
    assert (
        "serves now"
        in command("versions", "promote", str(version_id), "--anyway", "--reason", "read them")[1]
    )
    assert VersionService(registry=records.registry).serving(records.you).id == version_id
    assert "sft serves again" in command("versions", "roll-back")[1]
    records.database.dispose()


def test_the_doctor_finds_everything_in_order_or_says_what_is_not(
    command: Command, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("RAPPORT_PORT", "0")
    code, out, _ = command("doctor")
    assert code == 0, out
    assert "✓ model" in out
    monkeypatch.setenv("RAPPORT_MODEL", str(tmp_path))
    code, out, errors = command("doctor")
    assert code == 1
    assert "! model" in out
    assert errors == "1 of these need attention.\n"
