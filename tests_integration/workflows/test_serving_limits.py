"""Clients of `vox mens serve` that mean no good, ask too much, leave, or never ask."""

from __future__ import annotations

import json
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from tests_integration.running_server import Server, chat, client_of, running
from vox_populi.errors import EnvironmentFailure
from vox_populi.pipeline.serve import ServeRequest, Serving

openai = pytest.importorskip("openai", reason="the client is in the group test")
prometheus = pytest.importorskip("prometheus_client.parser", reason="needs vox-populi[serve]")
http_server = pytest.importorskip("vox_populi.serve.http_server", reason="needs vox-populi[serve]")
request_body = pytest.importorskip(
    "vox_populi.serve.request_body", reason="needs vox-populi[serve]"
)


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    request = ServeRequest(port=0, max_new_tokens=64, max_body_bytes=100_000)
    with running(request) as serving, client_of(serving, {}) as made:
        yield made


@pytest.mark.parametrize(
    ("body", "status", "problem"),
    [
        (b'{"model": "vox-nano"', 400, "MENS-S010"),
        (b"\xff\xfe{}", 400, "MENS-S010"),
        (b'{"model": "\xc3"}', 400, "MENS-S010"),
        (b"[" * 50_000, 400, "MENS-S010"),
        (b'{"a":' * 5_000 + b"1" + b"}" * 5_000, 400, "MENS-S010"),
        (b'{"model": "vox-nano", "model": "vox-nano"}', 400, "MENS-S010"),
        (b'{"temperature": NaN}', 400, "MENS-S010"),
        (b'{"seed": ' + b"9" * 5_000 + b"}", 400, "MENS-S010"),
        (b'"\\ud800"', 400, "MENS-S010"),
        (b"[]", 400, "MENS-S010"),
        (b"", 400, "MENS-S010"),
        (b" " * 100_001, 413, "MENS-S011"),
        (b"{}", 400, "MENS-S016"),
    ],
    ids=repr,
)
def test_a_body_that_cannot_be_used_is_an_error_of_the_client(
    server: Server, body: bytes, status: int, problem: str
) -> None:
    found, answer, _ = server.ask("POST", "/v1/chat/completions", body)
    assert (found, answer["error"]["problem"]) == (status, problem)


def test_routes_types_and_hosts_that_are_not_ours(server: Server) -> None:
    def problem(*asked: Any, **headers: str) -> tuple[int, str]:
        status, answer, _ = server.ask(*asked, **headers)
        return status, answer["error"]["problem"]

    assert problem("GET", "/v1/made-up") == (404, "MENS-S026")
    assert problem("GET", "/v1/chat/completions") == (405, "MENS-S027")
    assert problem("GET", "/v1/models/made-up") == (404, "MENS-S018")
    text = {"Content_Type": "text/plain"}
    assert problem("POST", "/v1/chat/completions", b"{}", **text) == (415, "MENS-S012")
    assert problem("GET", "/v1/models", Host="evil.example") == (403, "MENS-S025")
    status, _, headers = server.ask("GET", "/healthz", Origin="http://evil.example")
    assert status == 200
    assert not any(name.startswith("access-control") for name in headers)


def test_fields_that_change_nothing_are_named(server: Server) -> None:
    asked = {"model": "vox-nano", "messages": [{"role": "user", "content": "a"}], "max_tokens": 1}
    body = json.dumps({**asked, "user": "ann", "store": False, "seed": None})
    status, _, headers = server.ask("POST", "/v1/chat/completions", body)
    assert (status, headers["x-vox-ignored"]) == (200, "user, store")


def test_clients_that_leave_or_never_ask_stop_nobody(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(http_server, "HEAD_SECONDS", 0.3)
    monkeypatch.setattr(request_body, "BODY_SECONDS", 0.3)
    address = (urlsplit(server.serving.url).hostname, urlsplit(server.serving.url).port)
    head = b"POST /v1/chat/completions HTTP/1.1\r\nHost: 127.0.0.1\r\n"
    typed = head + b"Content-Type: application/json\r\n"
    asked = {"model": "vox-nano", "messages": [{"role": "user", "content": "a"}], "n": 16}

    def whole(**more: bool) -> bytes:
        body = json.dumps({**asked, **more})
        return typed + f"Content-Length: {len(body)}\r\n\r\n{body}".encode()

    openings = {
        "nothing": b"",
        "half a head": head,
        "half a body": typed + b"Content-Length: 500\r\n\r\n{",
        "a flood of headers": head + b"X-Flood: " + b"a" * 100_000,
        "a stream that is not read": whole(stream=True, logprobs=True),
        "gone": whole(),
    }
    sockets = {}
    for name, opening in openings.items():
        sockets[name] = socket.create_connection(address, timeout=20)
        sockets[name].sendall(opening)
    sockets.pop("gone").close()
    assert chat(server, "vox-nano", "Say red.", temperature=0.0, max_tokens=4).choices
    sockets.pop("a stream that is not read").close()
    answers = {name: received(each) for name, each in sockets.items()}
    assert answers["nothing"] == answers["half a head"] == b""
    assert answers["half a body"].startswith(b"HTTP/1.1 408 ")
    assert answers["a flood of headers"].startswith(b"HTTP/1.1 400 ")
    for each in sockets.values():
        each.close()
    chat(server, "vox-nano", "Say red.", temperature=0.0, max_tokens=4)


def received(connection: socket.socket) -> bytes:
    """Everything until the server closes; a reset counts as the end."""
    data = b""
    with suppress(ConnectionError):
        while part := connection.recv(65536):
            data += part
            if b"\r\n\r\n" in data and b"connection: close" not in data.lower():
                break
    return data


def test_figures_are_in_the_text_format_of_prometheus(server: Server) -> None:
    chat(server, "vox-nano", "Say hello in French.", temperature=0.0, max_tokens=4)
    status, answer, _ = server.ask("GET", "/metrics")
    families = {
        each.name: each for each in prometheus.text_string_to_metric_families(answer["text"])
    }
    assert status == 200
    counted = {tuple(each.labels.values()): each.value for each in families["vox_texts"].samples}
    assert any(labels[0] == "vox-nano" for labels in counted)
    assert families["vox_texts_running"].samples[0].value >= 0
    assert families["vox_new_tokens"].samples[0].value > 0
    routes = {each.labels["route"] for each in families["vox_requests"].samples}
    assert routes <= {
        "/v1/chat/completions",
        "/v1/completions",
        "/v1/models",
        "/healthz",
        "/v1/embeddings",
        "/metrics",
        "other",
    }


def test_what_does_not_fit_the_queue_is_told_when_to_come_back() -> None:
    request = ServeRequest(port=0, max_batch=1, max_queue=0, api_key="0123456789abcdef")
    request = replace(request, allow_origins=("http://localhost:3000",))
    with running(request) as serving, client_of(serving, {}) as server:
        body = {"model": "vox-nano", "messages": [{"role": "user", "content": "a"}], "n": 2}
        key = {"Authorization": "Bearer 0123456789abcdef"}
        status, answer, headers = server.ask(
            "POST", "/v1/chat/completions", json.dumps(body), **key
        )
        assert (status, answer["error"]["problem"]) == (429, "MENS-S021")
        assert int(headers["retry-after"]) >= 1
        status, _, headers = server.ask("GET", "/v1/models", Origin="http://localhost:3000", **key)
        assert (status, headers["access-control-allow-origin"]) == (200, "http://localhost:3000")
        status, _, headers = server.ask("GET", "/v1/models", Origin="http://evil.example")
        assert (status, headers["www-authenticate"]) == (401, "Bearer")
        assert "access-control-allow-origin" not in headers
        with pytest.raises(openai.AuthenticationError):
            server.client.models.list()


def started(err: Path, port: int) -> tuple[subprocess.Popen[bytes], Serving]:
    """A server of its own process, when it is ready."""
    command = [sys.executable, "-m", "vox_cli", "mens", "serve", "--port", str(port), "--json"]
    with err.open("ab") as written:
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=written)
    assert process.stdout is not None
    ready = json.loads(process.stdout.readline())
    process.stdout.close()
    assert (ready["models"], ready["needs_key"]) == (["vox-nano"], False)
    return process, Serving(url=ready["url"], models=("vox-nano",), needs_key=False)


def test_a_killed_server_starts_again_and_a_signal_lets_running_answers_finish(
    tmp_path: Path,
) -> None:
    asked: dict[str, Any] = {"max_tokens": 60, "n": 4, "seed": 1}
    process, served = started(tmp_path / "err", 0)
    connection = HTTPConnection(urlsplit(served.url).netloc, timeout=20)
    body = {"model": "vox-nano", "messages": [{"role": "user", "content": "Hi"}], "stream": True}
    sent = {"Content-Type": "application/json"}
    connection.request("POST", "/v1/chat/completions", json.dumps({**body, **asked}), sent)
    answer = connection.getresponse()
    assert answer.readline().startswith(b"data: ")
    process.kill()
    rest = b""
    with suppress(OSError, HTTPException):
        rest = answer.read()
    assert b"[DONE]" not in rest
    connection.close()
    assert process.wait(30) == -signal.SIGKILL
    port = urlsplit(served.url).port
    assert port is not None
    process, again = started(tmp_path / "err", port)
    assert again == served
    with client_of(again, {}) as server:
        stream = chat(server, "vox-nano", "Hi", stream=True, **asked)
        next(stream)
        process.send_signal(signal.SIGTERM)
        reasons = [each.choices[0].finish_reason for each in stream if each.choices]
    assert len([each for each in reasons if each in ("stop", "length")]) == 4
    assert process.wait(30) == 0
    assert "stopping" in (tmp_path / "err").read_text(encoding="utf-8")


def test_a_port_that_is_taken_is_one_line(server: Server) -> None:
    port = urlsplit(server.serving.url).port
    assert port is not None
    with pytest.raises(EnvironmentFailure) as caught, running(ServeRequest(port=port)):
        pass
    assert caught.value.problems[0].code == "MENS-S001"
