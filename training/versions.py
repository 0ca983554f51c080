"""Loads a model version for use: whole models from their folder, adapters merged into the model they stand on."""

from __future__ import annotations

import json
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Protocol

import torch
from peft import PeftModel

from training.errors import BrokenVersion, NotServable
from training.loading import LoadedModel, load_language_model
from training.version_rows import VersionInfo

VERSION_FILE = "version.json"


class Versions(Protocol):
    """Where versions are looked up: the registry."""

    def get(self, version_id: int) -> VersionInfo: ...


@dataclass(frozen=True, slots=True)
class PolicyRecord:
    """What `version.json` says: whether the folder holds an adapter or a full model, and what it stands on."""

    format: Literal["adapter", "full"]
    anchor_id: int | None

    def write(self, folder: Path) -> None:
        """Store the record in the version's folder."""
        record = {"format": self.format, "anchor_id": self.anchor_id}
        (folder / VERSION_FILE).write_text(json.dumps(record), encoding="utf-8")


def read_policy_record(version: VersionInfo) -> PolicyRecord:
    """Say how a version's folder is to be read; a folder without the file is a full model.

    Raises BrokenVersion for a file that says nothing usable.
    """
    path = Path(version.path) / VERSION_FILE
    if not path.is_file():
        return PolicyRecord("full", None)
    try:
        record: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        if record["format"] == "adapter":
            return PolicyRecord("adapter", int(record["anchor_id"]))
        if record["format"] == "full":
            return PolicyRecord("full", None)
    except (ValueError, KeyError, TypeError):
        pass
    raise BrokenVersion(name=version.name, path=version.path, trouble=f"{VERSION_FILE} cannot be read")


def load_policy(
    versions: Versions, version_id: int, *, device: str = "cpu", dtype: torch.dtype = torch.float32
) -> LoadedModel:
    """Load a version that can answer: an adapter is merged into its anchor, however deep they stack.

    Merging is done in float32, and the result cast to `dtype`.
    Raises VersionNotFound, NotServable for a reward model, BrokenVersion, and loading's ModelFolderError.
    """
    version = versions.get(version_id)
    if version.kind == "reward":
        raise NotServable(name=version.name, kind=version.kind)
    record = read_policy_record(version)
    if record.anchor_id is None:
        return load_language_model(version.path, dtype=dtype, device=device)
    anchor = load_policy(versions, record.anchor_id, device=device)
    with warnings.catch_warnings():  # PEFT 0.21 reads a name that transformers 5.23 has given up
        warnings.filterwarnings("ignore", "`is_gradient_checkpointing` is deprecated", FutureWarning)
        merged = PeftModel.from_pretrained(anchor.model, version.path).merge_and_unload()
    return LoadedModel(merged.to(dtype).eval(), anchor.chat_format, version.path)
