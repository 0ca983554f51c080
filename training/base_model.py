"""Finds what the model setting names: the bundled model, a folder on this machine, or a name on a hub."""

from dataclasses import dataclass
from pathlib import Path

from training.bundled import BUNDLED_BASE_DIR, BUNDLED_MODEL_DIR
from training.errors import UnusableModel

BUNDLED = "bundled"
PRETRAINED = "bundled base"
HUB = "hub:"


@dataclass(frozen=True, slots=True)
class ModelSource:
    """Where a base model comes from: `name` tells sources apart, `folder` is None for a hub's model."""

    name: str
    folder: Path | None

    @property
    def is_bundled(self) -> bool:
        """It came with the package, so an upgrade may replace it."""
        return self.name in (BUNDLED, PRETRAINED)


def find_source(path_or_name: str) -> ModelSource:
    """Read the model setting ("" is the bundled model). Raises UnusableModel for a path without a model."""
    if path_or_name in ("", BUNDLED) or Path(path_or_name).absolute() == BUNDLED_MODEL_DIR:
        return ModelSource(BUNDLED, _checked(BUNDLED_MODEL_DIR))
    folder = Path(path_or_name).expanduser().absolute()
    if folder.exists() or _looks_like_path(path_or_name):
        return ModelSource(str(folder), _checked(folder))
    return ModelSource(HUB + path_or_name, None)


def find_pretrained() -> ModelSource | None:
    """What the bundled model was before fine-tuning; None where the package carries only the model."""
    is_there = (BUNDLED_BASE_DIR / "config.json").is_file()
    return ModelSource(PRETRAINED, BUNDLED_BASE_DIR) if is_there else None


def _checked(folder: Path) -> Path:
    if not folder.is_dir():
        raise UnusableModel(
            f"There is no model folder {folder}. Correct the path in RAPPORT_MODEL, "
            "or unset it for the bundled model.",
            folder=str(folder),
        )
    if not (folder / "config.json").is_file():
        raise UnusableModel(
            f"The folder {folder} holds no model: it has no config.json. Give RAPPORT_MODEL a folder that "
            "`save_pretrained` or `rapport sft` wrote, or unset it for the bundled model.",
            folder=str(folder),
        )
    return folder


def _looks_like_path(text: str) -> bool:
    return text.startswith((".", "/", "~")) or text.count("/") > 1
