"""llama.cpp's server beside ours, from the wheel `xllamacpp`; tests without it are skipped."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from urllib.request import Request, urlopen

import pytest

xllamacpp = pytest.importorskip("xllamacpp", reason="needs the wheel xllamacpp (llama.cpp)")


class LlamaCpp:
    """A GGUF file in llama.cpp's server, one thread, greedy."""

    def __init__(self, file: Path, context: int = 512) -> None:
        settings = xllamacpp.CommonParams()
        settings.model.path = str(file)
        settings.n_ctx = context
        settings.n_parallel = 1
        settings.warmup = False
        settings.verbosity = -1
        settings.cpuparams.n_threads = 1
        self._server = xllamacpp.Server(settings)

    def ids(self, text: str, *, with_controls: bool = False) -> list[int]:
        """The ids of a text, without anything in front."""
        asked = {"content": text, "add_special": False, "parse_special": with_controls}
        return list(self._post("/tokenize", asked)["tokens"])

    def continued(self, ids: Sequence[int], most: int) -> list[int]:
        """The ids that follow, greedily, whatever ends a text."""
        asked = {"prompt": list(ids), "n_predict": most, "temperature": 0.0, "ignore_eos": True}
        answer = self._post("/completion", {**asked, "return_tokens": True})
        return list(answer["tokens"])

    def laid_out(self, messages: Sequence[dict[str, str]]) -> str:
        """The prompt that the chat endpoint makes of messages."""
        return str(self._post("/apply-template", {"messages": list(messages)})["prompt"])

    def answer(self, messages: Sequence[dict[str, str]], most: int = 24) -> tuple[str, str]:
        """The chat endpoint's greedy answer, and why it ended: `stop` or `length`."""
        asked = {
            "messages": list(messages),
            "temperature": 0.0,
            "max_tokens": most,
            "cache_prompt": False,
        }
        choice = self._post("/v1/chat/completions", asked)["choices"][0]
        return str(choice["message"]["content"]), str(choice["finish_reason"])

    def _post(self, path: str, asked: object) -> Any:
        request = Request(
            self._server.listening_address + path,
            data=json.dumps(asked).encode(),
            headers={"Content-Type": "application/json"},
        )
        with urlopen(request) as answer:
            return json.load(answer)
