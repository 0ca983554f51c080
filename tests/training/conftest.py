"""A random two-layer model for the tests of the stages; it is loaded anew for each, since adapters change it."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.tiny_model import make_tiny_model
from tests.training.disk import small_disk
from training.loading import LoadedModel, load_language_model


@pytest.fixture(scope="session")
def tiny_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_tiny_model(tmp_path_factory.mktemp("tiny"))


@pytest.fixture
def anchor(tiny_folder: Path) -> LoadedModel:
    return load_language_model(tiny_folder)


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 256 KiB."""
    with small_disk(tmp_path / "disk") as folder:
        yield folder
