"""llama.cpp's server (the wheel `xllamacpp`) with a GGUF file, for benchmarks."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.request import Request, urlopen

import xllamacpp

MOST_TOKENS = 24


@dataclass(frozen=True)
class Answer:
    """A greedy answer, and whether it ended by itself."""

    text: str
    stopped: bool


def chat(question: str) -> list[dict[str, str]]:
    """A question as messages."""
    return [{"role": "user", "content": question}]


class LlamaCpp:
    """llama.cpp's server with a GGUF file."""

    def __init__(self, file: Path) -> None:
        settings = xllamacpp.CommonParams()
        settings.model.path, settings.n_ctx, settings.warmup = str(file), 1024, False
        settings.n_parallel, settings.verbosity = 1, -1
        self._server = xllamacpp.Server(settings)

    def post(self, path: str, asked: object) -> Any:
        """What an endpoint answers."""
        request = Request(
            self._server.listening_address + path,
            data=json.dumps(asked).encode(),
            headers={"Content-Type": "application/json"},
        )
        with urlopen(request) as answer:
            return json.load(answer)

    def prompt_ids(self, messages: Sequence[dict[str, str]]) -> list[int]:
        """The ids of messages with an open answer, as the chat endpoint makes them."""
        prompt = self.post("/apply-template", {"messages": list(messages)})["prompt"]
        asked = {"content": prompt, "add_special": True, "parse_special": True}
        return list(self.post("/tokenize", asked)["tokens"])

    def answers(self, questions: Sequence[str]) -> list[Answer]:
        """Answers of the chat endpoint."""
        found = []
        for question in questions:
            asked = {"messages": chat(question), "temperature": 0.0, "max_tokens": MOST_TOKENS}
            choice = self.post("/v1/chat/completions", asked)["choices"][0]
            text = choice["message"]["content"].strip()
            found.append(Answer(text, choice["finish_reason"] == "stop"))
        return found
