"""The chat page: what is served, under which policy, and that nothing else is asked for."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Sequence
from typing import Any

import pytest
from starlette.applications import Starlette

from vox_populi.serve.app import build_app
from vox_populi.serve.chat_page import page_routes
from vox_populi.serve.guards import PAGE_FILES, Access, AccessGuard
from vox_populi.serve.service import HttpLimits, Service
from vox_populi.serve.text_job import TextJob


class NoEngine:
    """Is never asked."""

    is_open = True
    counts = (0, 0)

    def submit(self, jobs: Sequence[TextJob]) -> None:
        raise AssertionError

    def cancel(self, jobs: Sequence[TextJob]) -> None:
        raise AssertionError

    def fits(self, n_tokens: int) -> bool:
        raise AssertionError


def get(path: str, key: str | None = None, app: Any = None) -> tuple[int, dict[str, str], str]:
    """Ask an application, else the page's routes, as a browser does, without a key."""
    sent: list[dict[str, Any]] = []

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message: Any) -> None:
        sent.append(message)

    headers = [(b"host", b"127.0.0.1:8000")]
    scope: dict[str, Any] = {"type": "http", "method": "GET", "path": path, "headers": headers}
    scope |= {"query_string": b"", "scheme": "http", "server": ("127.0.0.1", 8000)}
    if app is None:
        app = AccessGuard(Starlette(routes=page_routes()), Access(host="127.0.0.1", key=key))
    asyncio.run(app(scope, receive, send))
    named = {name.decode(): value.decode() for name, value in sent[0]["headers"]}
    return sent[0]["status"], named, b"".join(m.get("body", b"") for m in sent[1:]).decode()


@pytest.mark.parametrize("path", PAGE_FILES)
@pytest.mark.parametrize("key", [None, "0123456789abcdef"])
def test_the_page_is_served_under_a_strict_policy_without_a_key(path: str, key: str | None) -> None:
    status, headers, text = get(path, key)
    assert status == 200
    assert text
    assert headers["content-type"].startswith(PAGE_FILES[path][1])
    assert headers["content-security-policy"].startswith("default-src 'self';")
    assert "unsafe" not in headers["content-security-policy"]


def test_the_page_names_no_other_server_and_has_no_inline_script_or_style() -> None:
    text = "".join(get(path)[2] for path in ("/", "/chat.css", "/chat.js"))
    assert not re.search(r"https?://|url\(|innerHTML|insertAdjacentHTML|\beval\(", text)
    page = get("/")[2]
    assert not re.search(r"\son\w+=|\sstyle=|<style|<script(?! src=)", page)
    assert set(re.findall(r'(?:src|href)="([^"]+)"', page)) == set(PAGE_FILES) - {"/"}


def test_every_element_that_the_script_names_is_on_the_page() -> None:
    page, script = get("/")[2], get("/chat.js")[2]
    for name in re.findall(r'at\("(\w+)"\)', script):
        assert f'id="{name}"' in page


@pytest.mark.parametrize(("has_page", "status"), [(True, 200), (False, 404)])
def test_no_page_leaves_its_routes_out(has_page: bool, status: int) -> None:
    service = Service({}, NoEngine(), HttpLimits(max_tokens=1, max_body_bytes=1, timeout_secs=1))
    app = build_app(service, Access(host="127.0.0.1"), has_page=has_page)
    assert {get(path, app=app)[0] for path in PAGE_FILES} == {status}
