import gc
import shutil
import threading
import time
import weakref
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import torch

from chat_app.inference.errors import GenerationFailed, VersionUnavailable
from chat_app.inference.request import FinishedGeneration
from tests.chat_app.inference.conftest import StartEngine, Versions, eventually, request
from training.loading import LoadedModel


def test_swapping_under_load_drops_and_mixes_no_answer(start_engine: StartEngine, versions: Versions) -> None:
    versions.step_seconds = 0.002
    engine = start_engine(max_batch=8, max_queue=100)
    expected = {
        (version, seed): versions.answer(version, seed, 25) for version in (1, 2) for seed in range(6)
    }
    answers: list[FinishedGeneration] = []
    is_over = threading.Event()

    def ask() -> None:
        seed = 0
        while not is_over.is_set():
            answers.append(engine.submit(request(seed % 6, max_new_tokens=25)).wait(20))
            seed += 1

    threads = [threading.Thread(target=ask) for _ in range(6)]
    for thread in threads:
        thread.start()
    for swap in range(8):
        engine.serve_version(2 - swap % 2)
        time.sleep(0.1)
    is_over.set()
    for thread in threads:
        thread.join()
    assert engine.stats().swaps == 8
    assert {answer.version_id for answer in answers} == {1, 2}
    assert len(answers) > 20
    assert all(answer.text == expected[answer.version_id, answer.seed] for answer in answers)


def test_a_running_answer_finishes_on_its_version_and_then_the_model_is_freed(
    start_engine: StartEngine, versions: Versions
) -> None:
    models: dict[int, weakref.ReferenceType[Any]] = {}

    def remember(version_id: int, loaded: LoadedModel) -> None:
        models[version_id] = weakref.ref(loaded.model)

    versions.prepare, versions.step_seconds, versions.is_endless = remember, 0.01, True
    engine = start_engine()
    running = engine.submit(request(max_new_tokens=60))
    eventually(lambda: engine.stats().tokens_generated > 0)
    engine.serve_version(2)
    new = engine.submit(request(max_new_tokens=2))
    assert (new.wait(10).version_id, running.is_done) == (2, False)
    assert running.wait(10).version_id == 1
    gc.collect()
    eventually(lambda: models[1]() is None)
    assert models[2]() is not None
    assert engine.stats().loaded_version_ids == (2,)


def test_answers_go_on_while_a_version_loads(start_engine: StartEngine, versions: Versions) -> None:
    engine = start_engine()
    versions.may_load.clear()
    loading = threading.Thread(target=engine.serve_version, args=(2,))
    loading.start()
    finished = [engine.submit(request(seed)).wait(5) for seed in range(3)]
    assert {answer.version_id for answer in finished} == {1}
    versions.may_load.set()
    loading.join()
    assert engine.serving_version_id == 2


def test_a_version_that_cannot_be_loaded_leaves_the_old_one_serving(
    start_engine: StartEngine, versions: Versions, caplog: pytest.LogCaptureFixture
) -> None:
    engine = start_engine()
    weights = versions.folders[2] / "model.safetensors"
    whole = weights.read_bytes()
    weights.write_bytes(whole[:1000])
    try:
        with pytest.raises(VersionUnavailable, match="Version 2 cannot be loaded"):
            engine.serve_version(2)
        with pytest.raises(GenerationFailed, match="Version 2 cannot be loaded"):
            engine.submit(request(version_id=2)).wait(10)
    finally:
        weights.write_bytes(whole)
    assert "Version 2 cannot be loaded" in caplog.text
    assert engine.submit(request()).wait(10).version_id == 1
    engine.serve_version(2)  # repaired
    assert engine.submit(request()).wait(10).version_id == 2


def test_a_version_that_answers_with_nan_is_not_put_into_service(
    start_engine: StartEngine, versions: Versions
) -> None:
    engine = start_engine()

    def damage(_: int, loaded: LoadedModel) -> None:
        with torch.no_grad():
            loaded.model.transformer.wpe.weight.fill_(float("nan"))

    versions.prepare = damage
    with pytest.raises(VersionUnavailable, match="no usable probabilities"):
        engine.serve_version(2)
    assert engine.serving_version_id == 1


def test_idle_versions_are_kept_up_to_the_limit(start_engine: StartEngine, versions: Versions) -> None:
    versions.folders |= {3: versions.folders[1], 4: versions.folders[2]}
    engine = start_engine(spare_versions=2)
    for version_id in (2, 3, 2, 4):
        engine.submit(request(version_id=version_id, max_new_tokens=1)).wait(10)
    assert engine.stats().loaded_version_ids == (1, 2, 4)  # 3 was asked for longest ago


def test_serving_the_served_version_again_changes_nothing(start_engine: StartEngine) -> None:
    engine = start_engine()
    engine.serve_version(1)
    assert engine.stats().swaps == 0


def test_the_served_version_is_in_memory_also_without_spare_ones(start_engine: StartEngine) -> None:
    engine = start_engine(spare_versions=0)
    engine.serve_version(2)
    assert engine.stats().loaded_version_ids == (2,)


def test_a_version_whose_files_are_removed_while_it_answers_goes_on(
    start_engine: StartEngine, versions: Versions, version_folders: dict[int, Path], tmp_path: Path
) -> None:
    versions.folders[2] = tmp_path / "removed"
    shutil.copytree(version_folders[2], versions.folders[2])
    versions.step_seconds, versions.is_endless = 0.01, True
    engine = start_engine(spare_versions=0)
    running = engine.submit(request(max_new_tokens=40, version_id=2))
    eventually(lambda: engine.stats().tokens_generated > 0)
    shutil.rmtree(versions.folders[2])
    engine.submit(request(max_new_tokens=1)).wait(10)
    assert running.wait(10).finish_reason == "length"
    with pytest.raises(GenerationFailed, match="Version 2 cannot be loaded"):
        engine.submit(request(version_id=2)).wait(10)
    assert engine.submit(request(max_new_tokens=1)).wait(10).version_id == 1


def test_a_storm_of_swaps_mixes_no_answer_and_leaves_one_version(
    start_engine: StartEngine, versions: Versions
) -> None:
    models: list[weakref.ReferenceType[Any]] = []

    def remember(_: int, loaded: LoadedModel) -> None:
        models.append(weakref.ref(loaded.model))

    versions.prepare, versions.is_plain = remember, True
    engine = start_engine(max_batch=4, spare_versions=0)
    expected = {
        (version, seed): versions.answer(version, seed, 12) for version in (1, 2) for seed in range(4)
    }
    answers: list[FinishedGeneration] = []

    def swap(first: int) -> None:
        for number in range(10):
            engine.serve_version(1 + (first + number) % 2)

    def ask(version_id: int | None) -> None:
        for number in range(15):
            asked = request(number % 4, max_new_tokens=12, version_id=version_id)
            answers.append(engine.submit(asked).wait(30))

    work = [(swap, 0), (swap, 1), (ask, None), (ask, None), (ask, 1), (ask, 2)]
    with ThreadPoolExecutor(len(work)) as threads:
        for done in [threads.submit(what, argument) for what, argument in work]:
            done.result()
    assert len(answers) == 60
    assert all(answer.text == expected[answer.version_id, answer.seed] for answer in answers)
    assert engine.stats().loaded_version_ids == (engine.serving_version_id,)
    assert len(models) > 2
    gc.collect()
    eventually(lambda: sum(model() is not None for model in models) == 1)
