"""The documents around the pages, and which page a visit is sent to."""

import re

import pytest

from chat_app.pages.document import page_document
from chat_app.words import EN, ZH
from tests.chat_app.conftest import RunningServer

DOCUMENT = """<!doctype html>
<html
	lang="en"
	style="margin: 0">
	<head>
		<meta property="og:image"
			content="https://example.org/header.jpg" />
		<link rel="manifest" href="/manifest.json" />
		<script type="module" src="./assets/index.js"></script>
	</head><body></body></html>"""


def test_the_language_is_set_before_gradios_bundle_runs() -> None:
    html = page_document(DOCUMENT, "train", ZH)
    assert '<html lang="zh-CN"' in html
    assert "<title>训练 · Rapport</title>" in html
    assert html.index('get:()=>"zh-CN"') < html.index("index.js")


def test_gradios_own_description_and_manifest_are_left_out() -> None:
    html = page_document(DOCUMENT, "chat", EN)
    assert "example.org" not in html
    assert "manifest" not in html


@pytest.mark.parametrize("path", ["/en/chat/", "/zh/chat/", "/en/train/", "/zh/models/"])
def test_a_page_may_load_nothing_from_elsewhere(server: RunningServer, path: str) -> None:
    with server.client() as client:
        answer = client.get(path)
    assert answer.status_code == 200
    assert answer.headers["content-security-policy"].startswith("default-src 'self' 'unsafe-inline'")
    assert re.findall(r'(?:src|href)="https?://', answer.text) == []
    assert f"rapport_language={path[1:3]}" in answer.headers["set-cookie"]


def test_a_visit_is_sent_to_the_chat_in_its_language(server: RunningServer) -> None:
    with server.client() as client:
        assert client.get("/", headers={"accept-language": "zh-CN"}).headers["location"] == "/zh/chat/"
        assert client.get("/", headers={"accept-language": "de"}).headers["location"] == "/en/chat/"
        assert client.get("/zh").headers["location"] == "/zh/chat/"
        client.cookies.set("rapport_language", "zh")
        assert client.get("/", headers={"accept-language": "en"}).headers["location"] == "/zh/chat/"


@pytest.mark.parametrize("page", ["chat", "train", "models"])
def test_no_handler_is_offered_as_an_api(server: RunningServer, page: str) -> None:
    with server.client() as client:
        config = client.get(f"/en/{page}/config").json()
        offered = client.get(f"/en/{page}/gradio_api/info").json()
    assert offered == {"named_endpoints": {}, "unnamed_endpoints": {}}
    assert {entry["api_visibility"] for entry in config["dependencies"]} == {"private"}
    assert config["analytics_enabled"] is False
