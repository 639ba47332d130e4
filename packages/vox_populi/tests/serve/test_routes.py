"""Routes over an engine that says what it is told: calls of tools, leaving, failing."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from typing import Any

import pytest

from vox_populi.data.training_text import ChatTemplate, TextPolicy
from vox_populi.operator_messages import serving as say
from vox_populi.serve.app import build_app
from vox_populi.serve.guards import Access
from vox_populi.serve.served_model import ServedModel
from vox_populi.serve.service import HttpLimits, Service
from vox_populi.serve.text_job import Ended, Failed, Piece, TextEvent, TextJob
from vox_tensor.tokenizer import VoxTokenizer

CALL = '<tool_call>\n{"name": "add", "arguments": {"a": 1}}\n</tool_call>'
TOOL = {"type": "function", "function": {"name": "add", "parameters": {}}}


class ScriptedEngine:
    """Answers every job with the same events."""

    def __init__(self, *events: TextEvent) -> None:
        self.events = events
        self.is_open = True
        self.counts = (0, 0)
        self.cancelled: list[TextJob] = []
        self.seen: list[TextJob] = []
        self.most = 2000

    def submit(self, jobs: Sequence[TextJob]) -> None:
        self.seen += jobs
        for job in jobs:
            for event in self.events:
                job.on_event(event)

    def cancel(self, jobs: Sequence[TextJob]) -> None:
        self.cancelled += jobs

    def fits(self, n_tokens: int) -> bool:
        return n_tokens <= self.most


class OpenModel(ServedModel):
    """A model whose layout takes tools, as a template with a form for them does."""

    def encode_chat(self, messages: Any, tools: Any) -> list[int]:
        return [1, 2, 3, *(4 for _ in tools)]


def text_events(text: str, reason: str = "stop_token") -> list[TextEvent]:
    pieces = [Piece(text[i : i + 5]) for i in range(0, len(text), 5)]
    return [*pieces, Ended(text="", stop_reason=reason, ids=tuple(range(len(pieces))))]


def served(engine: ScriptedEngine, kind: type[ServedModel] = OpenModel) -> Any:
    model = kind(
        name="m",
        tokenizer=VoxTokenizer([]),
        policy=TextPolicy(template=ChatTemplate.CHATML),
        max_positions=2000,
        vocab_size=261,
        facts={"id": "m", "fingerprint": "f"},
    )
    limits = HttpLimits(max_tokens=1000, max_body_bytes=100_000, timeout_secs=5)
    return build_app(Service({"m": model}, engine, limits), Access(host="127.0.0.1"))


def post(app: Any, body: dict[str, Any], leaves: bool = False) -> tuple[int, str]:
    """Status and text of an answer; a client that leaves does so after its body."""
    sent: list[dict[str, Any]] = []
    received = [{"type": "http.request", "body": json.dumps(body).encode(), "more_body": False}]

    async def receive() -> dict[str, Any]:
        if received:
            return received.pop()
        if not leaves:
            await asyncio.Event().wait()
        return {"type": "http.disconnect"}

    async def send(message: dict[str, Any]) -> None:
        sent.append(message)

    scope = {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.3"},
        "http_version": "1.1",
        "method": "POST",
        "path": "/v1/chat/completions",
        "raw_path": b"/v1/chat/completions",
        "query_string": b"",
        "root_path": "",
        "scheme": "http",
        "headers": [(b"host", b"127.0.0.1"), (b"content-type", b"application/json")],
    }
    asyncio.run(asyncio.wait_for(app(scope, receive, send), 20))
    text = b"".join(each.get("body", b"") for each in sent).decode()
    return sent[0]["status"] if sent else 0, text


def chat(engine: ScriptedEngine, **fields: Any) -> Any:
    body = {"model": "m", "messages": [{"role": "user", "content": "1?"}], **fields}
    status, text = post(served(engine), body)
    if not fields.get("stream"):
        return status, json.loads(text)
    lines = [line.removeprefix("data: ") for line in text.split("\n\n") if line]
    assert lines[-1] == "[DONE]"
    return status, [json.loads(line) for line in lines[:-1]]


def test_calls_become_tool_calls_and_the_prompt_has_the_tools() -> None:
    status, answer = chat(ScriptedEngine(*text_events(f"I see. {CALL}")), tools=[TOOL])
    (choice,) = answer["choices"]
    assert (status, choice["finish_reason"]) == (200, "tool_calls")
    assert choice["message"]["content"] == "I see. "
    (call,) = choice["message"]["tool_calls"]
    assert call["function"] == {"name": "add", "arguments": '{"a": 1}'}
    assert (call["type"], call["id"][:5]) == ("function", "call_")
    assert answer["usage"]["prompt_tokens"] == 4


def test_ids_come_with_an_answer_that_asks_for_them_and_not_with_a_stream() -> None:
    engine = ScriptedEngine(*text_events("Hello there"))
    _, answer = chat(engine, return_token_ids=True)
    assert answer["prompt_token_ids"] == [1, 2, 3]
    assert answer["choices"][0]["token_ids"] == [0, 1, 2]
    _, answer = chat(engine)
    assert "prompt_token_ids" not in answer
    assert "token_ids" not in answer["choices"][0]
    body = {"model": "m", "messages": [{"role": "user", "content": "1?"}], "stream": True}
    status, text = post(served(engine), {**body, "return_token_ids": True})
    assert (status, json.loads(text)["error"]["param"]) == (400, "return_token_ids")


def test_a_stream_holds_calls_back_and_sends_them_whole() -> None:
    _, chunks = chat(
        ScriptedEngine(*text_events(f"I see. {CALL}{CALL}")), tools=[TOOL], stream=True
    )
    deltas = [each["choices"][0]["delta"] for each in chunks]
    assert "".join(each.get("content") or "" for each in deltas) == "I see. "
    (calls,) = [each["tool_calls"] for each in deltas if "tool_calls" in each]
    assert [(each["index"], each["function"]["name"]) for each in calls] == [(0, "add"), (1, "add")]
    assert chunks[-1]["choices"][0]["finish_reason"] == "tool_calls"


def test_without_tools_and_with_tool_choice_none_a_call_is_text() -> None:
    withheld: dict[str, Any] = {"tools": [TOOL], "tool_choice": "none"}
    fields: dict[str, Any]
    for fields in ({}, withheld):
        _, answer = chat(ScriptedEngine(*text_events(CALL)), **fields)
        assert answer["choices"][0]["message"]["content"] == CALL
        assert answer["choices"][0]["finish_reason"] == "stop"
        assert answer["usage"]["prompt_tokens"] == 3
    fields = {"tools": [TOOL], "parallel_tool_calls": False}
    _, answer = chat(ScriptedEngine(*text_events(CALL + CALL)), **fields)
    assert len(answer["choices"][0]["message"]["tool_calls"]) == 1


def test_a_layout_without_a_form_for_tools_is_an_error_of_the_request() -> None:
    body = {"model": "m", "messages": [{"role": "user", "content": "a"}], "tools": [TOOL]}
    status, text = post(served(ScriptedEngine(), ServedModel), body)
    assert (status, json.loads(text)["error"]["param"]) == (400, "messages")


@pytest.mark.parametrize(
    ("failed", "status"),
    [
        (Failed(say.REQUEST_TIMED_OUT, is_late=True), 504),
        (Failed(say.SERVER_STOPPED), 503),
        (Failed(say.UNFORESEEN), 500),
    ],
)
def test_a_text_that_fails_is_an_error_and_the_last_event_of_a_stream(
    failed: Failed, status: int
) -> None:
    found, answer = chat(ScriptedEngine(Piece("Hel"), failed))
    assert (found, answer["error"]["problem"]) == (status, failed.problem.code)
    found, chunks = chat(ScriptedEngine(Piece("Hel"), failed), stream=True)
    assert (found, chunks[-1]["error"]["problem"]) == (200, failed.problem.code)


@pytest.mark.parametrize("stream", [False, True])
def test_texts_of_a_client_that_left_are_cancelled(stream: bool) -> None:
    engine = ScriptedEngine(Piece("Hel"))
    body = {"model": "m", "messages": [{"role": "user", "content": "a"}], "n": 3, "stream": stream}
    post(served(engine), body, leaves=True)
    assert engine.cancelled == engine.seen
    assert len(engine.seen) == 3


def test_a_text_that_never_fits_and_one_that_is_too_long_are_refused() -> None:
    engine = ScriptedEngine()
    engine.most = 100
    status, answer = chat(engine, max_tokens=98)
    assert (status, answer["error"]["problem"]) == (400, "MENS-S020")
    assert engine.seen == []
