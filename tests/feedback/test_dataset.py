"""Snapshots: what is frozen, that it stays frozen, and that it is counted right."""

import json
from pathlib import Path

import pytest
from sqlalchemy import select

from db.engine import Database
from db.tables import Comparison, Snapshot, SnapshotPreference, User
from feedback.dataset import count_comparisons, count_new_comparisons, freeze, read_snapshot
from feedback.errors import SnapshotCorrupt, SnapshotNotWritten
from feedback.preference import Message
from tests.factories import make_comparison, make_user, make_vote


def freeze_in(database: Database, folder: Path) -> Snapshot:
    with database.write() as session:
        return freeze(session=session, folder=folder)


def vote(
    database: Database,
    ranks: tuple[int, ...] = (1, 2),
    *,
    prompt: str = "Good day?",
    is_both_bad: bool = False,
) -> Comparison:
    """A person's answer to a new comparison of as many completions as there are ranks."""
    with database.write() as session:
        user = session.scalar(select(User)) or make_user(session=session)
        texts = [f"answer {position}" for position in range(len(ranks))]
        comparison = make_comparison(session=session, user_id=user.id, prompt=prompt, texts=texts)
        make_vote(session=session, comparison=comparison, ranks=ranks, is_both_bad=is_both_bad)
    return comparison


def vote_again(database: Database, comparison: Comparison, ranks: tuple[int, ...]) -> None:
    with database.write() as session:
        make_vote(session=session, comparison=comparison, ranks=ranks)


def test_what_is_frozen_reads_back_as_it_was(database: Database, tmp_path: Path) -> None:
    vote(database, (2, 1, 1), prompt="你好\u2028?")
    snapshot = freeze_in(database, tmp_path / "snapshots")
    (record,) = read_snapshot(Path(snapshot.path), snapshot.sha256)
    assert (record.preference_id, record.comparison_id, record.user_id) == (1, 1, 1)
    assert record.prompt == (Message("user", "你好\u2028?"),)
    assert record.completions == ("answer 0", "answer 1", "answer 2")
    assert record.token_ids == ((5, 6, 1), (5, 6, 1), (5, 6, 1))
    assert record.finish_reasons == ("end", "end", "end")
    assert record.version_ids == (None, None, None)
    assert record.ranks == (2, 1, 1)
    assert record.is_both_bad is False
    assert len(record.prompt_hash) == 64


def test_the_file_is_named_by_its_hash_and_has_a_line_per_preference_in_order(
    database: Database, tmp_path: Path
) -> None:
    for _ in range(3):
        vote(database)
    snapshot = freeze_in(database, tmp_path)
    path = Path(snapshot.path)
    assert path == tmp_path / f"snapshot-{snapshot.sha256[:12]}.jsonl"
    assert [json.loads(line)["preference_id"] for line in path.read_text().splitlines()] == [1, 2, 3]
    assert [file.name for file in tmp_path.iterdir() if "partial" in file.name] == []


def test_only_the_last_word_on_a_comparison_is_frozen(database: Database, tmp_path: Path) -> None:
    changed = vote(database, (1, 2))
    vote(database, (1, 2))
    vote_again(database, changed, (2, 1))
    snapshot = freeze_in(database, tmp_path)
    records = read_snapshot(Path(snapshot.path), snapshot.sha256)
    assert [(record.preference_id, record.ranks) for record in records] == [(2, (1, 2)), (3, (2, 1))]


def test_unanswered_comparisons_are_not_frozen(database: Database, tmp_path: Path) -> None:
    with database.write() as session:
        make_comparison(session=session, user_id=make_user(session=session).id)
    assert freeze_in(database, tmp_path).counts["comparisons"] == 0


def test_a_snapshot_counts_what_it_holds(database: Database, tmp_path: Path) -> None:
    vote(database, (1, 2), prompt="a")
    vote(database, (1, 1), prompt="b", is_both_bad=True)
    vote(database, (1, 2, 2, 3), prompt="c")
    with database.write() as session:
        comparison = make_comparison(session=session, user_id=make_user(session=session).id, prompt="d")
        make_vote(session=session, comparison=comparison)
    counts = freeze_in(database, tmp_path).counts
    parts = (counts.pop("training"), counts.pop("heldout"))
    assert sum(parts) == 4
    assert counts == {"comparisons": 4, "ordered_pairs": 7, "ties": 2, "both_bad": 1, "people": 2}


def test_a_snapshot_knows_its_preferences_and_its_split_rule(database: Database, tmp_path: Path) -> None:
    vote(database)
    vote(database)
    snapshot = freeze_in(database, tmp_path)
    with database.read() as session:
        held = session.scalars(select(SnapshotPreference.preference_id)).all()
    assert sorted(held) == [1, 2]
    assert snapshot.split_rule == "sha256-vote-80-20-v1"


def test_the_same_content_gives_the_same_snapshot(database: Database, tmp_path: Path) -> None:
    vote(database)
    first = freeze_in(database, tmp_path)
    assert freeze_in(database, tmp_path).id == first.id
    vote(database)
    second = freeze_in(database, tmp_path)
    assert second.id != first.id
    assert len(read_snapshot(Path(first.path), first.sha256)) == 1


def test_a_lost_or_damaged_file_is_written_again(sqlite_database: Database, tmp_path: Path) -> None:
    vote(sqlite_database)
    first = freeze_in(sqlite_database, tmp_path)
    Path(first.path).write_text("damaged")
    assert freeze_in(sqlite_database, tmp_path).id == first.id
    assert len(read_snapshot(Path(first.path), first.sha256)) == 1


def test_a_moved_data_folder_gets_a_snapshot_of_its_own(sqlite_database: Database, tmp_path: Path) -> None:
    vote(sqlite_database)
    first = freeze_in(sqlite_database, tmp_path / "old")
    moved = freeze_in(sqlite_database, tmp_path / "new")
    assert moved.sha256 == first.sha256
    assert Path(moved.path).parent == tmp_path / "new"


def test_a_changed_file_is_not_read(sqlite_database: Database, tmp_path: Path) -> None:
    vote(sqlite_database)
    snapshot = freeze_in(sqlite_database, tmp_path)
    path = Path(snapshot.path)
    path.write_text(path.read_text().replace('"ranks":[1,2]', '"ranks":[2,1]'))
    with pytest.raises(SnapshotCorrupt, match=r"has the sha256 .* freezes anew"):
        read_snapshot(path, snapshot.sha256)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(SnapshotCorrupt, match=r"nothing\.jsonl cannot be read \(No such file"):
        read_snapshot(tmp_path / "nothing.jsonl", "0" * 64)


def test_a_folder_that_cannot_be_made_is_named_and_no_row_is_left(
    sqlite_database: Database, tmp_path: Path
) -> None:
    vote(sqlite_database)
    (tmp_path / "snapshots").write_text("a file in the folder's place")
    with pytest.raises(SnapshotNotWritten, match="cannot be written"):
        freeze_in(sqlite_database, tmp_path / "snapshots")
    with sqlite_database.read() as session:
        assert session.scalars(select(Snapshot)).all() == []


def test_new_comparisons_are_those_the_snapshot_does_not_know(database: Database, tmp_path: Path) -> None:
    changed = vote(database)
    vote(database)
    snapshot = freeze_in(database, tmp_path)
    vote_again(database, changed, (2, 1))
    vote(database)
    with database.read() as session:
        assert count_comparisons(session=session) == 3
        assert count_new_comparisons(session=session, since_snapshot_id=snapshot.id) == 1
        assert count_new_comparisons(session=session, since_snapshot_id=None) == 3
