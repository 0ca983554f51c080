"""One frozen tree of all settings, read once at the edge from RAPPORT_ environment variables."""

import os
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from difflib import get_close_matches
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, Field, ValidationError, field_validator, model_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict
from sqlalchemy import make_url

from chat_app.errors import StartFailed
from chat_app.inference.settings import InferenceSettings
from db.settings import DatabaseSettings
from training.settings import PresetName, TrainingSettings, laid_over, preset
from training.worker import WorkerSettings

PREFIX = "RAPPORT_"
INTERNAL = {"RAPPORT_JOB", "RAPPORT_REQUIRE_ALL"}  # a job's own parameters; a switch of the tests
LOOPBACK = ("127.0.0.1", "::1", "localhost")


class DecodingSettings(BaseModel, frozen=True, extra="forbid"):
    """How answers are sampled in the chat, in comparisons and by `rapport winrate`."""

    max_new_tokens: int = Field(default=128, ge=1, le=4096)
    temperature: float = Field(default=0.5, ge=0, le=5)
    top_p: float = Field(default=0.9, gt=0, le=1)
    top_k: int = Field(default=0, ge=0)
    repetition_penalty: float = Field(default=1.0, ge=1, le=2)


def default_data_dir() -> Path:
    """Where this platform keeps a program's data of one person."""
    if sys.platform == "win32":
        return Path(os.environ.get("LOCALAPPDATA", Path.home() / "AppData" / "Local")) / "rapport"
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Application Support" / "rapport"
    return Path(os.environ.get("XDG_DATA_HOME") or Path.home() / ".local" / "share") / "rapport"


class Settings(BaseSettings):
    """All that can be set; nested names are joined by two underscores: RAPPORT_DECODING__TEMPERATURE."""

    model_config = SettingsConfigDict(
        env_prefix=PREFIX,
        env_nested_delimiter="__",
        env_ignore_empty=True,
        extra="forbid",
        frozen=True,
        nested_model_default_partial_update=True,
    )

    model: str = Field(
        default="", description="Model to start from: hub name or folder; empty: the bundled one"
    )
    data_dir: Path = Field(default_factory=default_data_dir, description="Database, models, jobs, snapshots")
    host: str = Field(default="127.0.0.1", description="Address to listen on")
    port: int = Field(default=7860, ge=0, le=65535, description="Port to listen on")
    allowed_hosts: Annotated[tuple[str, ...], NoDecode] = Field(
        default=(), description="Host names a browser may use, beside this machine's own"
    )
    trusted_network: bool = Field(
        default=False, description="Listen beyond this machine although there is no login"
    )
    worker: bool = Field(default=True, description="Run a training worker beside the app")
    max_message_characters: int = Field(default=4000, ge=1, le=100_000)
    max_body_bytes: int = Field(default=1_048_576, ge=1024, description="Largest body the API takes")
    database: DatabaseSettings
    inference: InferenceSettings = InferenceSettings()
    decoding: DecodingSettings = DecodingSettings()
    preset: PresetName = Field(default="quick", description="How much a retraining does")
    training: dict[str, Any] = Field(default={}, description="Changes to the preset, by name")
    retrain_every: int = Field(default=0, ge=0, description="Retrain by itself every N new votes; 0: never")
    retrain_cron: str = Field(default="", description="Retrain at the times of this cron line; empty: never")

    @model_validator(mode="before")
    @classmethod
    def _database_in_data_dir(cls, values: dict[str, Any]) -> dict[str, Any]:
        folder = Path(values.get("data_dir") or default_data_dir()).expanduser().absolute()
        database = dict(values.get("database") or {})
        database.setdefault("url", f"sqlite:///{folder / 'rapport.db'}")
        return {**values, "data_dir": folder, "database": database}

    @field_validator("allowed_hosts", mode="before")
    @classmethod
    def _split_hosts(cls, value: object) -> object:
        return tuple(filter(None, value.replace(",", " ").split())) if isinstance(value, str) else value

    @field_validator("inference")
    @classmethod
    def _pairs_fit_into_batch_and_queue(cls, inference: InferenceSettings) -> InferenceSettings:
        for name, size in (("max_batch", inference.max_batch), ("max_queue", inference.max_queue)):
            if size < 2:
                raise ValueError(f"inference.{name} is {size}; a pair of answers to compare needs 2 or more")
        return inference

    @property
    def models_dir(self) -> Path:
        """Model versions."""
        return self.data_dir / "models"

    @property
    def jobs_dir(self) -> Path:
        """Each job's log, checkpoints and artefacts."""
        return self.data_dir / "jobs"

    @property
    def snapshots_dir(self) -> Path:
        """Frozen datasets."""
        return self.data_dir / "snapshots"

    @property
    def is_loopback(self) -> bool:
        """Only this machine can reach the service."""
        return self.host in LOOPBACK

    def training_settings(
        self, preset_name: PresetName | None = None, overrides: Mapping[str, Any] | None = None
    ) -> TrainingSettings:
        """Resolve a preset (None: the set one) with the set changes and then `overrides` on top.

        Raises pydantic's ValidationError for an unknown or impossible setting.
        """
        return preset(preset_name or self.preset, **laid_over(self.training, dict(overrides or {})))

    def worker_settings(self) -> WorkerSettings:
        """The branch that the training worker gets."""
        return WorkerSettings(
            models_dir=self.models_dir,
            jobs_dir=self.jobs_dir,
            snapshots_dir=self.snapshots_dir,
            training=self.training_settings(),
            retrain_every=self.retrain_every,
            retrain_cron=self.retrain_cron,
        )

    def environment(self) -> dict[str, str]:
        """Return the RAPPORT_ variables that give another process of Rapport this same tree."""
        return dict(_variables(self.model_dump(mode="json"), PREFIX))

    def printable(self) -> dict[str, Any]:
        """Return the resolved tree for people to read, without secrets."""
        tree = self.model_dump(mode="json")
        tree["database"]["url"] = make_url(self.database.url).render_as_string(hide_password=True)
        tree["training"] = self.training_settings().model_dump(mode="json")
        return tree


def load_settings(**changes: Any) -> Settings:
    """Read the environment, put `changes` that are not None on top, and check everything.

    Raises StartFailed naming each wrong variable, what is wrong with it and the closest known name.
    """
    _refuse_unknown_variables(os.environ)
    given = {name: value for name, value in changes.items() if value is not None}
    with _told_in_words():
        settings = Settings(**given)
    with _told_in_words("training"):
        settings.training_settings()
    with _told_in_words():
        settings.worker_settings()
    return settings


@contextmanager
def _told_in_words(*branch: str) -> Iterator[None]:
    try:
        yield
    except ValidationError as error:
        raise StartFailed("\n".join(_describe(part, branch) for part in error.errors())) from None


def _variables(tree: Mapping[str, Any], prefix: str) -> Iterator[tuple[str, str]]:
    for name, value in tree.items():
        key = f"{prefix}{name}".upper()
        if isinstance(value, Mapping):
            yield from _variables(value, f"{key}__")
        elif isinstance(value, list):
            yield key, " ".join(map(str, value))
        elif value is not None:
            yield key, str(value)


def variable_names() -> set[str]:
    """All RAPPORT_ variables there are."""
    branches: dict[str, type[BaseModel]] = {"training": TrainingSettings}
    names = set(INTERNAL)
    for name, field in Settings.model_fields.items():
        branch = branches.get(name, field.annotation)
        inner = _leaves(branch) if isinstance(branch, type) and issubclass(branch, BaseModel) else [""]
        names |= {f"{PREFIX}{name}{leaf}".upper() for leaf in inner}
    return names


def _leaves(branch: type[BaseModel]) -> list[str]:
    leaves = []
    for name, field in branch.model_fields.items():
        kind = field.annotation
        nested = isinstance(kind, type) and issubclass(kind, BaseModel)
        leaves += [f"__{name}{leaf}" for leaf in (_leaves(kind) if nested else [""])]  # type: ignore[arg-type]
    return leaves


def _refuse_unknown_variables(environment: Mapping[str, str]) -> None:
    known = variable_names()
    for name in sorted(environment):
        if name.upper().startswith(PREFIX) and name.upper() not in known:
            near = get_close_matches(name.upper(), known, n=1)
            hint = f"Did you mean {near[0]}?" if near else "`rapport config` lists the settings there are."
            raise StartFailed(f"The environment variable {name} is not a setting of Rapport. {hint}")


def _describe(part: Any, branch: tuple[str, ...]) -> str:
    """Say a validation error with the variable's name; the value is left out where it may hold a secret."""
    place = [*branch, *(str(name) for name in part["loc"])]
    message = part["msg"].removeprefix("Value error, ").rstrip(".")
    if not part["loc"]:
        return f"{message}."
    variable = PREFIX + "__".join(place).upper()
    value = "" if "database" in place else f" is {part['input']!r}"
    return f"{variable}{value}: {message}. Change or unset it; `rapport config` shows the settings."
