"""A folder or file is replaced whole or not at all, also when the disk is full."""

import re
from pathlib import Path

import pytest
from safetensors import SafetensorError

from tests.training.disk import fill
from training.whole_files import UnwrittenError, whole


def test_a_folder_takes_the_place_of_the_one_before(tmp_path: Path) -> None:
    for word in ("old", "new"):
        with whole(tmp_path / "deep" / "words", "The words") as fresh:
            fresh.mkdir()
            (fresh / f"{word}.txt").write_text(word)
    assert [path.name for path in (tmp_path / "deep").rglob("*")] == ["words", "new.txt"]


def test_a_file_takes_the_place_of_the_one_before(tmp_path: Path) -> None:
    for word in ("old", "new"):
        with whole(tmp_path / "word.txt", "The word") as fresh:
            fresh.write_text(word)
    assert [path.name for path in tmp_path.iterdir()] == ["word.txt"]
    assert (tmp_path / "word.txt").read_text() == "new"


def cut_off(place: Path, error: BaseException) -> None:
    with whole(place, "The word") as fresh:
        fresh.write_text("ne")
        raise error


@pytest.mark.parametrize("error", [KeyboardInterrupt(), ValueError("no words")])
def test_what_is_cut_off_leaves_the_one_before(tmp_path: Path, error: BaseException) -> None:
    place = tmp_path / "word.txt"
    place.write_text("old")
    with pytest.raises(type(error)):
        cut_off(place, error)
    assert [path.name for path in tmp_path.iterdir()] == ["word.txt"]
    assert place.read_text() == "old"


@pytest.mark.parametrize(
    "error",
    [OSError("3 requested and 0 written"), SafetensorError("I/O error"), Exception("full (os error 28)")],
)
def test_a_failing_disk_is_told_with_place_and_remedy(tmp_path: Path, error: Exception) -> None:
    message = (
        rf"The words cannot be written to {tmp_path}/words \({re.escape(str(error))}\)\. Free some space"
    )
    with pytest.raises(UnwrittenError, match=message), whole(tmp_path / "words", "The words"):
        raise error


def test_a_full_disk_leaves_the_file_before(disk: Path) -> None:
    place = disk / "word.txt"
    with whole(place, "The word") as fresh:
        fresh.write_text("old")
    fill(disk, leave=4096)
    with (
        pytest.raises(UnwrittenError, match="No space left on device"),
        whole(place, "The word") as fresh,
    ):
        fresh.write_text("new" * 10_000)
    assert place.read_text() == "old"
    assert sorted(path.name for path in disk.iterdir()) == ["filler", "word.txt"]
