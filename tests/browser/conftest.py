"""A browser, services to open in it, and pages that fail their test when anything goes wrong unseen."""

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
from playwright.sync_api import (
    Browser,
    BrowserContext,
    ConsoleMessage,
    Page,
    Request,
    Response,
    expect,
    sync_playwright,
)
from transformers import AutoTokenizer, GPT2Config, GPT2LMHeadModel

from tests.browser.service import RapportProcess
from tests.conftest import must_run_all
from tests.tiny_model import make_tiny_model

FLAGS = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
PATIENCE_MS = 60_000  # a busy machine is no failure
LEFT_EARLY = ("AbortError", "BodyStreamBuffer was aborted", "Connection errored out")

OpenPage = Callable[..., Page]


@pytest.fixture(scope="package")
def browser() -> Iterator[Browser]:
    executable = shutil.which("chromium") or shutil.which("chromium-browser")
    if executable is None:
        reason = "Chromium is not installed here: apt-get install chromium"
        if must_run_all():
            pytest.fail(reason)
        pytest.skip(reason)
    expect.set_options(timeout=PATIENCE_MS)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=executable, args=FLAGS)
        yield browser
        browser.close()


@pytest.fixture(scope="package")
def rapport(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RapportProcess]:
    """A service with a random two-layer model, whose whole retraining takes half a minute."""
    folder = tmp_path_factory.mktemp("rapport")
    model = make_tiny_model(folder / "model", context=512)
    settings = {"RAPPORT_PRESET": "tiny", "RAPPORT_DECODING__MAX_NEW_TOKENS": "40"}
    yield from _running(RapportProcess(folder / "data", model, **settings))


@pytest.fixture(scope="package")
def slow_rapport(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RapportProcess]:
    """A service whose answers take some seconds, without a worker."""
    folder = tmp_path_factory.mktemp("slow")
    model = _make_slow_model(folder / "model")
    settings = {"RAPPORT_WORKER": "false", "RAPPORT_DECODING__MAX_NEW_TOKENS": "250"}
    yield from _running(RapportProcess(folder / "data", model, **settings))


@pytest.fixture(scope="package")
def small_rapport(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RapportProcess]:
    """A service that writes two slow answers at a time and lets two wait."""
    folder = tmp_path_factory.mktemp("small")
    model = _make_slow_model(folder / "model")
    settings = {
        "RAPPORT_WORKER": "false",
        "RAPPORT_DECODING__MAX_NEW_TOKENS": "900",
        "RAPPORT_INFERENCE__MAX_BATCH": "2",
        "RAPPORT_INFERENCE__MAX_QUEUE": "2",
        "RAPPORT_INFERENCE__MAX_SECONDS": "600",
    }
    yield from _running(RapportProcess(folder / "data", model, **settings))


def _running(service: RapportProcess) -> Iterator[RapportProcess]:
    service.start()
    yield service
    service.stop()


def _make_slow_model(folder: Path) -> Path:
    tokenizer = AutoTokenizer.from_pretrained(make_tiny_model(folder, context=1024))
    shape = {"n_positions": 1024, "n_embd": 384, "n_layer": 12, "n_head": 6}
    config = GPT2Config(
        vocab_size=len(tokenizer),
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
        **shape,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = GPT2LMHeadModel(config)
    with torch.no_grad():  # it never ends by itself: the first feature is always 1, special tokens get -30
        model.transformer.ln_f.weight[0], model.transformer.ln_f.bias[0] = 0.0, 1.0
        model.transformer.wte.weight[tokenizer.all_special_ids] = 0.0
        model.transformer.wte.weight[tokenizer.all_special_ids, 0] = -30.0
    model.save_pretrained(folder)
    return folder


@pytest.fixture
def open_page(browser: Browser) -> Iterator[OpenPage]:
    """Open a path of a service in a browser of its own.

    The test fails for an error on the console, a request that leaves the host, and an answer of 400 or more.
    `is_left_early`: the test leaves the page in mid-answer, which Gradio's client tells the console.
    """
    contexts: list[BrowserContext] = []
    problems: list[str] = []

    def open_path(
        service: RapportProcess,
        path: str,
        *,
        width: int = 1440,
        height: int = 900,
        scheme: str = "light",
        locale: str = "en-US",
        is_left_early: bool = False,
    ) -> Page:
        context = browser.new_context(
            viewport={"width": width, "height": height},
            color_scheme=scheme,  # type: ignore[arg-type]
            locale=locale,
            has_touch=width < 600,
        )
        contexts.append(context)
        page = context.new_page()
        page.set_default_timeout(PATIENCE_MS)
        _watch(page, service.url, problems, LEFT_EARLY if is_left_early else ())
        page.goto(service.url + path)
        return page

    yield open_path
    for context in contexts:
        context.close()
    assert problems == []


def _watch(page: Page, url: str, problems: list[str], expected: tuple[str, ...]) -> None:
    def hear(message: ConsoleMessage) -> None:
        if message.type == "error" and not any(part in message.text for part in expected):
            problems.append(message.text)

    def see_request(request: Request) -> None:
        if not request.url.startswith((url, "data:", "blob:")):
            problems.append(f"left the host: {request.url}")

    def see_answer(answer: Response) -> None:
        if answer.status >= 400:
            problems.append(f"{answer.status}: {answer.url}")

    page.on("pageerror", lambda error: problems.append(f"script error: {error}"))
    page.on("console", hear)
    page.on("request", see_request)
    page.on("response", see_answer)
