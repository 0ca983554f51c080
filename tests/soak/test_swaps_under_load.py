"""A swap every ten seconds while fifty people chat: no answer fails, and none is written by two versions.

SOAK_PEOPLE, SOAK_SECONDS and SOAK_SWAP_SECONDS change the load. Answers are greedy and in float32, so that each can
be held against what its version, alone, would have written.
"""

from pathlib import Path

import pytest

from benchmarks.service import running_service
from db.engine import open_database
from db.settings import DatabaseSettings
from tests.soak.authorship import find_authors
from tests.soak.crowd import chat_together
from tests.soak.load import load_from
from tests.soak.record import log_troubles, stored_answers
from tests.soak.report import listed, report
from tests.soak.swapping import add_other_version, promoting_in_turns
from tests.soak.watch import watching
from training.registry import Registry
from training.versions import load_policy

MEMORY_GROWTH = 1.05  # last third of the time against the one before


@pytest.mark.soak
@pytest.mark.timeout(7200)
def test_no_answer_fails_or_is_written_by_two_versions_while_they_swap(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    load, data = load_from(), tmp_path / "data"
    settings = {"worker": "false", "decoding__temperature": "0", "inference__precision": "float32"}
    with running_service(data, **settings) as service:
        database = open_database(DatabaseSettings(url=f"sqlite:///{data / 'rapport.db'}"))
        registry = Registry(database=database, models_dir=data / "models")
        first = registry.serving().id
        other = add_other_version(registry, tmp_path / "other")
        with (
            watching(service) as watch,
            promoting_in_turns(registry, (first, other), every_seconds=load.swap_seconds) as promotions,
        ):
            tally = chat_together(service.url, people=load.people, seconds=load.seconds)
    stored = stored_answers(database)
    models = {version_id: load_policy(registry, version_id) for version_id in (first, other)}
    database.dispose()
    title = f"{load.people} people chat for {load.seconds:g} s, a swap every {load.swap_seconds:g} s"
    authors = find_authors(models, stored)
    told = f"{report(title, tally, watch, stored)}\n{authors}"
    with capsys.disabled():
        print(f"\n{told}")

    assert not tally.troubles, told
    assert not promotions.failures, f"{told}\n{listed('Promotions that failed', promotions.failures)}"
    assert not watch.failures, f"{told}\n{listed('Looks at the service that failed', watch.failures)}"
    assert not log_troubles(data), f"{told}\n{listed('Errors in the log', log_troubles(data))}"
    assert not authors.mixed, f"{told}\n{listed('Answers their version did not write', authors.mixed)}"
    assert watch.swaps >= 0.8 * len(promotions.at), told
    assert authors.across_a_swap > 0, f"No answer was under way at a swap: nothing was tried.\n{told}"
    assert authors.recognisable > len(stored) / 2, f"The two versions answer too much alike.\n{told}"
    if load.is_judging_memory:
        _, second, last = watch.memory_thirds()
        assert last <= second * MEMORY_GROWTH, f"The memory grows.\n{told}"
