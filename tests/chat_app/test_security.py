"""Single-user mode: only this machine's own pages and programs come in."""

import asyncio

import httpx
import pytest
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Receive, Scope, Send

from chat_app.body_limit import BodyLimit
from chat_app.errors import StartFailed
from chat_app.security import SingleUserGuard, check_bind, host_name
from chat_app.settings import Settings

OWN = {"host": "127.0.0.1:7860"}


async def welcome(scope: Scope, receive: Receive, send: Send) -> None:
    await PlainTextResponse("welcome")(scope, receive, send)


def guarded(*hosts: str, may_be_forwarded: bool = False) -> ASGIApp:
    return SingleUserGuard(welcome, allowed_hosts=hosts, may_be_forwarded=may_be_forwarded)


def ask(app: ASGIApp, method: str = "GET", path: str = "/", **options: object) -> httpx.Response:
    async def send() -> httpx.Response:
        transport = httpx.ASGITransport(app=app)
        async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1:7860") as client:
            return await client.request(method, path, **options)  # type: ignore[arg-type]

    return asyncio.run(send())


@pytest.mark.parametrize(
    "host", ["127.0.0.1:7860", "localhost:7860", "LOCALHOST", "[::1]:7860", "localhost."]
)
def test_this_machines_names_are_let_in(host: str) -> None:
    assert ask(guarded(), headers={"host": host}).text == "welcome"


@pytest.mark.parametrize("host", ["evil.com", "127.0.0.1.evil.com", "localhost.evil.com:7860", "192.168.1.5"])
def test_another_name_is_turned_away_with_the_remedy(host: str) -> None:
    answer = ask(guarded(), headers={"host": host})
    assert answer.status_code == 421
    assert "RAPPORT_ALLOWED_HOSTS" in answer.text


def test_a_request_without_a_host_is_turned_away() -> None:
    assert ask(guarded(), headers={"host": ""}).status_code == 400


def test_an_allowed_name_is_let_in() -> None:
    assert ask(guarded("my.box"), headers={"host": "my.box:80"}).status_code == 200


@pytest.mark.parametrize("name", ["X-Forwarded-For", "Forwarded", "X-Forwarded-Host", "X-Real-IP"])
def test_forwarded_requests_are_turned_away_unless_the_network_is_trusted(name: str) -> None:
    headers = {**OWN, name: "10.0.0.1"}
    assert ask(guarded(), headers=headers).status_code == 403
    assert ask(guarded(may_be_forwarded=True), headers=headers).status_code == 200


@pytest.mark.parametrize("method", ["GET", "POST"])
@pytest.mark.parametrize(
    "origin", ["http://evil.com", "null", "http://127.0.0.1:8000", "http://localhost:7860"]
)
def test_another_sites_page_is_turned_away(method: str, origin: str) -> None:
    assert ask(guarded(), method, headers={**OWN, "origin": origin}).status_code == 403


def test_the_own_page_and_programs_are_let_in() -> None:
    own_page = {**OWN, "origin": "http://127.0.0.1:7860", "sec-fetch-site": "same-origin"}
    assert ask(guarded(), "POST", headers=own_page).status_code == 200
    assert ask(guarded(), "POST", headers=OWN).status_code == 200


@pytest.mark.parametrize(
    ("method", "site", "mode", "status"),
    [
        ("GET", "cross-site", "navigate", 200),  # a link to the page
        ("GET", "cross-site", "no-cors", 403),
        ("GET", "same-site", "cors", 403),
        ("POST", "cross-site", "navigate", 403),  # another site's form
        ("POST", "none", "navigate", 200),
    ],
)
def test_what_another_site_makes_the_browser_do(method: str, site: str, mode: str, status: int) -> None:
    headers = {**OWN, "sec-fetch-site": site, "sec-fetch-mode": mode}
    assert ask(guarded(), method, headers=headers).status_code == status


def test_refusals_of_the_api_have_its_form() -> None:
    answer = ask(guarded(), "POST", "/api/chat", headers={"host": "evil.com"})
    assert set(answer.json()["error"]) == {"code", "message", "remedy"}
    assert answer.json()["error"]["code"] == "unknown_host"


def test_answers_carry_security_headers() -> None:
    headers = ask(guarded()).headers
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["content-security-policy"] == "frame-ancestors 'self'"
    assert headers["referrer-policy"] == "same-origin"


def test_a_websocket_of_another_host_is_closed() -> None:
    sent: list[dict[str, object]] = []

    async def send(message: dict[str, object]) -> None:
        sent.append(message)

    async def receive() -> dict[str, object]:
        return {"type": "websocket.connect"}

    scope = {"type": "websocket", "path": "/", "headers": [(b"host", b"evil.com")]}
    asyncio.run(guarded()(scope, receive, send))  # type: ignore[arg-type]
    assert sent[0]["type"] == "websocket.close"


@pytest.mark.parametrize(
    ("header", "name"),
    [("a.b:1", "a.b"), ("[::1]:80", "::1"), ("", ""), ("[broken", ""), ("user@evil.com", "evil.com")],
)
def test_the_name_in_a_host_header(header: str, name: str) -> None:
    assert host_name(header) == name


def test_a_large_body_is_refused_before_it_is_read() -> None:
    app = BodyLimit(welcome, max_bytes=10)
    assert ask(app, "POST", content=b"x" * 10).status_code == 200
    answer = ask(app, "POST", content=b"x" * 11)
    assert answer.status_code == 413
    assert answer.json()["error"]["code"] == "body_too_large"


def test_a_body_without_a_length_is_refused() -> None:
    async def pieces() -> object:
        yield b"x"

    assert ask(BodyLimit(welcome, max_bytes=10), "POST", content=pieces()).status_code == 411


@pytest.mark.parametrize("host", ["0.0.0.0", "192.168.1.5", "::"])
def test_listening_beyond_this_machine_needs_the_named_setting(host: str) -> None:
    with pytest.raises(StartFailed, match=r"no login.*RAPPORT_TRUSTED_NETWORK=true"):
        check_bind(Settings(host=host))
    check_bind(Settings(host=host, trusted_network=True))


@pytest.mark.parametrize("host", ["127.0.0.1", "::1", "localhost"])
def test_loopback_needs_nothing(host: str) -> None:
    check_bind(Settings(host=host))
