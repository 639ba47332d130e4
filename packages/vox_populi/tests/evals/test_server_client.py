"""Asking a server: bounds of time and size, no redirects, the key, and answers in other forms."""

from __future__ import annotations

import json
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from threading import Thread

import pytest

from vox_populi.errors import ConfigError, EnvironmentFailure
from vox_populi.evals import server_client
from vox_populi.evals.server_address import read_address
from vox_populi.evals.server_client import RefusedError, ServerClient, ServerKey

KEY = ServerKey(variable="SOME_KEY", token="0123456789abcdef")


@contextmanager
def answering(
    *answers: bytes, then: Callable[[socket.socket], object] | None = None
) -> Iterator[tuple[str, list[bytes]]]:
    """A server that sends these bytes to one connection after the other."""
    heard: list[bytes] = []
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def run() -> None:
            for answer in answers:
                with suppress(OSError):
                    connection, _ = listening.accept()
                    with connection:
                        heard.append(request_of(connection))
                        connection.sendall(answer)
                        if then is not None:
                            then(connection)

        thread = Thread(target=run, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{listening.getsockname()[1]}", heard
    thread.join(10)


def request_of(connection: socket.socket) -> bytes:
    data = connection.recv(65536)
    head = data.partition(b"\r\n\r\n")[0]
    length = next((int(line[16:]) for line in head.split(b"\r\n") if b"Length" in line), 0)
    while len(data) < len(head) + 4 + length:
        data += connection.recv(65536)
    return data


def reply(body: bytes, status: str = "200 OK", more: str = "") -> bytes:
    head = f"HTTP/1.1 {status}\r\nContent-Length: {len(body)}\r\n{more}Connection: close\r\n\r\n"
    return head.encode() + body


def client(url: str, seconds: float = 5, key: ServerKey = KEY) -> ServerClient:
    return ServerClient(read_address(url), key, seconds)


def code_of(url: str, seconds: float = 5) -> str:
    with pytest.raises(EnvironmentFailure) as caught:
        client(url, seconds).ask("GET", "/v1/models")
    (problem,) = caught.value.problems
    return problem.code


def test_an_object_is_read_and_the_key_is_sent_there() -> None:
    with answering(reply(b'{"a": 1}'), reply(b"{}")) as (url, heard):
        assert client(f"{url}/some/v1/").ask("POST", "/v1/x", {"b": "\u00fc"}) == {"a": 1}
        client(url, key=ServerKey(variable="SOME_KEY", token=None)).ask("GET", "/y")
    head, _, body = heard[0].partition(b"\r\n\r\n")
    assert head.startswith(b"POST /some/v1/x HTTP/1.1\r\n")
    assert b"\r\nAuthorization: Bearer 0123456789abcdef" in head
    assert json.loads(body) == {"b": "\u00fc"}
    assert b"Authorization" not in heard[1]


@pytest.mark.parametrize(
    ("answer", "code"),
    [
        (reply(b"", "302 Found", "Location: http://127.0.0.1:1/\r\n"), "MENS-S043"),
        (reply(b"{}", "401 Unauthorized"), "MENS-S047"),
        (reply(b"[]"), "MENS-S046"),
        (reply(b'{"a": NaN}'), "MENS-S046"),
        (reply(b'{"a": "\xff"}'), "MENS-S046"),
        (reply(b'{"a": 1')[:-3], "MENS-S046"),
        (b"SSH-2.0-OpenSSH\r\n", "MENS-S042"),
        (b"", "MENS-S042"),
        (reply(b"a" * 3000), "MENS-S044"),
    ],
    ids=lambda each: repr(each)[:40],
)
def test_what_is_no_answer_has_a_message_of_its_own(
    monkeypatch: pytest.MonkeyPatch, answer: bytes, code: str
) -> None:
    monkeypatch.setattr(server_client, "MOST_BYTES", 2000)
    with answering(answer) as (url, _):
        assert code_of(url) == code


def test_a_refusal_has_the_words_of_the_server_and_no_key() -> None:
    body = json.dumps({"error": {"message": "no \x1b[31mroute"}}).encode()
    answer = reply(body, "404 Not Found")
    with answering(answer) as (url, _), pytest.raises(RefusedError) as caught:
        client(url).ask("GET", "/v1/models")
    assert "route" in caught.value.problems[0].what
    assert "0123456789abcdef" not in repr(KEY) + str(caught.value)


def test_nobody_there_is_one_line() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        port = listening.getsockname()[1]
    assert code_of(f"http://127.0.0.1:{port}") == "MENS-S042"


def test_an_answer_that_trickles_is_cut_at_the_deadline() -> None:
    def trickle(connection: socket.socket) -> None:
        connection.settimeout(0.02)
        for _ in range(500):
            with suppress(TimeoutError):
                if not connection.recv(1):
                    return
            connection.sendall(b" ")

    head = b"HTTP/1.1 200 OK\r\nContent-Length: 9999\r\n"
    for answer in (head + b"\r\n{", head + b"Connection: close\r\n\r\n{", b"HTTP/1.1 2"):
        with answering(answer, then=trickle) as (url, _):
            assert code_of(url, 0.1) == "MENS-S045"


def test_a_stream_gives_its_events_and_ends() -> None:
    lines = [b": hello", b'data: {"a": 1}', b"", b'data:{"a": 2}', b"", b"data: [DONE]", b""]
    with answering(reply(b"\n".join(lines)), reply(b'data: {"error": {"message": "x"}}\n')) as (
        url,
        _,
    ):
        assert list(client(url).events("/v1/x", {})) == [{"a": 1}, {"a": 2}]
        with pytest.raises(EnvironmentFailure):
            list(client(url).events("/v1/x", {}))


@pytest.mark.parametrize(
    "url",
    [
        *("127.0.0.1:8000", "ftp://host", "http://", "http://host:99999", "http://a b", ""),
        *("http://user:secret@host", "http://host/?key=1", "http://host/#x", "http://[::1"),
    ],
)
def test_an_address_that_cannot_be_meant_is_refused_without_its_password(url: str) -> None:
    with pytest.raises(ConfigError) as caught:
        read_address(url)
    assert "secret" not in str(caught.value.problems)


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("http://127.0.0.1:8000/v1/", "http://127.0.0.1:8000"),
        ("https://host/api/v1", "https://host:443/api"),
        ("http://127.0.0.1:8080/v1/completions", "http://127.0.0.1:8080"),
        ("http://host/v1/chat/completions", "http://host:80"),
        ("http://[::1]:80", "http://[::1]:80"),
    ],
)
def test_addresses_are_those_that_clients_are_given(url: str, shown: str) -> None:
    assert read_address(url).url == shown
