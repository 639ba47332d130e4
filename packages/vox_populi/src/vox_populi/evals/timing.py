"""How long an answer takes. No torch."""

from __future__ import annotations

import time
from dataclasses import dataclass

from vox_populi.evals.server_client import Json, ServerClient


@dataclass(frozen=True, slots=True)
class Timing:
    """One measured answer, in seconds."""

    first_token: float
    whole: float
    tokens: int
    """Number of tokens after the prompt; at least the one that ended the answer."""


def time_answer(client: ServerClient, model: str, prompt: str, most_tokens: int) -> Timing:
    """Time a greedy, streamed answer of a server.

    Raises:
        EnvironmentFailure: When the server does not answer, or breaks off.
    """
    body: Json = {
        "model": model,
        "messages": [{"role": "user", "content": prompt}],
        "max_tokens": most_tokens,
        "temperature": 0,
        "stream": True,
        "stream_options": {"include_usage": True},
    }
    started = time.perf_counter()
    first, pieces, counted, ended = None, 0, None, False
    for event in client.events("/v1/chat/completions", body):
        choice, usage = _first_choice(event), event.get("usage")
        delta = choice.get("delta")
        if isinstance(delta, dict) and delta.get("content"):
            first = time.perf_counter() if first is None else first
            pieces += 1
        ended = ended or choice.get("finish_reason") is not None
        if isinstance(usage, dict) and isinstance(usage.get("completion_tokens"), int):
            counted = int(usage["completion_tokens"])
    whole = time.perf_counter()
    if not ended:
        reason = "the stream broke off"
        raise client.malformed(reason)
    tokens = pieces if counted is None else counted
    return Timing((whole if first is None else first) - started, whole - started, max(tokens, 1))


def _first_choice(event: Json) -> Json:
    choices = event.get("choices")
    found = choices[0] if isinstance(choices, list) and choices else None
    return found if isinstance(found, dict) else {}
