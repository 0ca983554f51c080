"""Fifty people chat for ten minutes by the pages' own protocol: quick, without an error, in level memory.

SOAK_PEOPLE, SOAK_SECONDS and SOAK_FIRST_WORD_SECONDS change the load and the limit.
"""

from pathlib import Path

import pytest

from benchmarks.service import running_service
from db.engine import open_database
from db.settings import DatabaseSettings
from tests.soak.crowd import chat_together
from tests.soak.load import load_from
from tests.soak.record import log_troubles, stored_answers
from tests.soak.report import listed, report
from tests.soak.tally import percentile
from tests.soak.watch import watching

MEMORY_GROWTH = 1.05  # last third of the time against the one before: what allocators and caches may wander


@pytest.mark.soak
def test_people_chat_without_an_error_a_long_wait_or_growing_memory(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    load = load_from()
    with running_service(tmp_path, worker="false") as service, watching(service) as watch:
        tally = chat_together(service.url, people=load.people, seconds=load.seconds)
    database = open_database(DatabaseSettings(url=f"sqlite:///{tmp_path / 'rapport.db'}"))
    stored = stored_answers(database)
    database.dispose()
    told = report(f"{load.people} people chat for {load.seconds:g} s", tally, watch, stored)
    with capsys.disabled():
        print(f"\n{told}")

    assert not tally.troubles, told
    assert not watch.failures, f"{told}\n{listed('Looks at the service that failed', watch.failures)}"
    assert not log_troubles(tmp_path), f"{told}\n{listed('Errors in the log', log_troubles(tmp_path))}"
    assert len(tally.answers) >= load.people, f"Too few answers to say anything.\n{told}"
    assert percentile(tally.first_words, 95) < load.first_word_seconds, told
    if load.is_judging_memory:
        _, second, last = watch.memory_thirds()
        assert last <= second * MEMORY_GROWTH, f"The memory grows.\n{told}"
