"""A server in a thread of this process, and OpenAI's client for it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http.client import HTTPConnection
from pathlib import Path
from queue import Queue
from threading import Event, Thread
from typing import Any
from urllib.parse import urlsplit

import pytest

from vox_populi.pipeline.serve import ServeRequest, Serving, serve
from vox_tensor.errors import VoxError


@dataclass(frozen=True, slots=True)
class Server:
    """A server that runs, with the runs that it serves."""

    serving: Serving
    runs: dict[str, Path]
    client: Any
    """OpenAI's client for it."""

    def ask(
        self, method: str, path: str, body: bytes | str | None = None, **headers: str
    ) -> tuple[int, dict[str, Any], dict[str, str]]:
        """Status, JSON and headers of an answer."""
        connection = HTTPConnection(urlsplit(self.serving.url).netloc, timeout=20)
        sent = {"Content-Type": "application/json"} if body is not None else {}
        sent |= {name.replace("_", "-"): value for name, value in headers.items()}
        connection.request(method, path, body, sent)
        answer = connection.getresponse()
        text = answer.read().decode()
        connection.close()
        is_json = answer.headers.get_content_type() == "application/json"
        found = {name.lower(): value for name, value in answer.headers.items()}
        return answer.status, json.loads(text) if is_json else {"text": text}, found


@contextmanager
def running(request: ServeRequest) -> Iterator[Serving]:
    """A server in a thread of this process."""
    ready: Queue[Serving | VoxError] = Queue()
    is_done = Event()

    def run() -> None:
        try:
            serve(request, ready.put, lambda _: None, is_done.is_set)
        except VoxError as error:
            ready.put(error)

    thread = Thread(target=run)
    thread.start()
    found = ready.get(timeout=60)
    if isinstance(found, VoxError):
        raise found
    try:
        yield found
    finally:
        is_done.set()
        thread.join(30)
        assert not thread.is_alive()


@contextmanager
def client_of(serving: Serving, runs: dict[str, Path]) -> Iterator[Server]:
    """A server with its client."""
    url = f"{serving.url}/v1"
    openai: Any = pytest.importorskip("openai", reason="the client is in the group test")
    with openai.OpenAI(base_url=url, api_key="none", max_retries=0) as client:
        yield Server(serving, runs, client)


def chat(server: Server, model: str, prompt: str, **settings: Any) -> Any:
    messages = [{"role": "user", "content": prompt}]
    return server.client.chat.completions.create(model=model, messages=messages, **settings)
