"""Says which files of a folder are trained on, how often each is taken, and what is done to its words."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from training.errors import TrainingError


class CorpusError(TrainingError):
    """A folder or recipe that nothing can be trained on."""

    code = "corpus"


class SourceRecipe(BaseModel):
    """How one file is used; weights are passes over the file for each pass over the corpus.

    Where some sources are `good` and some `raw`, raw documents unlike the good ones are mostly left out.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    file: str
    quality: Literal["", "good", "raw"] = ""
    pretrain: float = Field(default=1.0, ge=0)
    sft: float = Field(default=1.0, ge=0)
    tidy: bool = False
    openings: bool = False
    max_messages: int = Field(default=8, ge=2)
    replace: dict[str, str] = {}
    leave_out: str = Field(default="", description="documents in which this regular expression is found")
    licence: str = ""
    attribution: str = ""
    folder: Path | None = Field(default=None, exclude=True)  # where another than the corpus's folder holds it

    @field_validator("leave_out")
    @classmethod
    def _is_an_expression(cls, value: str) -> str:
        try:
            re.compile(value)
        except re.error as error:
            raise ValueError(f'"{value}" is no regular expression ({error})') from error
        return value

    def path(self, folder: Path | None) -> Path:
        """Where the file lies, if the corpus is in this folder."""
        return (self.folder or folder or Path()) / self.file


class Recipe(BaseModel):
    """Which files of a folder are used and how much each counts."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    sources: tuple[SourceRecipe, ...]
    pareto_shape: float = Field(
        default=1.0, gt=0, description="sharpness of the quality filter; GPT-3's is 9"
    )

    @model_validator(mode="after")
    def _names_each_file_once(self) -> Recipe:
        twice = [file for file, count in Counter(source.file for source in self.sources).items() if count > 1]
        if twice:
            raise ValueError(f"{twice[0]} is named twice; leave one entry, or rename one of the files.")
        return self


def read_recipe(path: Path) -> Recipe:
    """Read a recipe file; raises CorpusError that names what is wrong with it."""
    try:
        return Recipe.model_validate_json(path.read_text(encoding="utf-8-sig"))
    except (OSError, ValueError) as error:  # not there, not UTF-8, not JSON, not a recipe
        raise CorpusError(f"The recipe {path} cannot be used: {error}") from error


def default_recipe(folder: Path) -> Recipe:
    """Every `*.jsonl` and `*.jsonl.gz` file below the folder, each with weight 1."""
    files = sorted(path for path in folder.rglob("*.jsonl*") if path.name.endswith((".jsonl", ".jsonl.gz")))
    return Recipe(
        sources=tuple(
            SourceRecipe(file=path.relative_to(folder).as_posix()) for path in files if path.is_file()
        )
    )


def demonstration_sources(path: Path, *, passes: float) -> tuple[SourceRecipe, ...]:
    """A file of conversations, or every one below a folder, as good sources taken `passes` times."""
    if not path.exists():
        raise CorpusError(f"There are no demonstrations at {path}. Correct the path.")
    path = path.resolve()  # "." has no name
    found = default_recipe(path).sources if path.is_dir() else (SourceRecipe(file=path.name),)
    change = {
        "folder": path.parent,
        "quality": "good",
        "pretrain": passes,
        "sft": passes,
        "max_messages": 1000,
    }
    within = f"{path.name}/" if path.is_dir() else ""
    return tuple(source.model_copy(update={**change, "file": within + source.file}) for source in found)


def whole_recipe(
    folder: Path | None, recipe: Recipe | None, demonstrations: Iterable[SourceRecipe]
) -> Recipe:
    """The folder's recipe and the demonstrations; a file that is in both is used as a demonstration.

    Raises CorpusError if the folder is none, or if two files would go by one name.
    """
    demonstrations = tuple(demonstrations)
    if folder is None:
        return Recipe(sources=demonstrations)
    if not folder.is_dir():
        raise CorpusError(
            f"{folder} is not a folder. Give the folder that holds your .jsonl or .jsonl.gz files."
        )
    recipe = recipe or default_recipe(folder)
    own = {source.path(None) for source in demonstrations}
    others = [source for source in recipe.sources if source.path(folder).resolve() not in own]
    try:
        return Recipe(sources=(*others, *demonstrations), pareto_shape=recipe.pareto_shape)
    except ValidationError as error:
        raise CorpusError(f"{folder} and the demonstrations cannot be used together: {error}") from error
