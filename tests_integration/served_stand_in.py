"""A server that answers in the forms of vLLM, llama-server or any other, with one fault or none.

Weights are ours; the forms are those of vLLM 0.11 and of llama.cpp's server b6500.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import torch

from vox_populi.data.supervision import encode_prompt
from vox_populi.data.training_text import ChatTemplate, TextPolicy
from vox_populi.infer.cached_model import CachedModel
from vox_populi.pipeline.answers import stop_ids
from vox_populi.pipeline.load_model import find_weights, load_weights
from vox_populi.pipeline.weights_choice import WeightsChoice
from vox_tensor.records import Message, Role

OWNERS = {"vllm": "vllm", "llama": "llamacpp", "other": "somebody"}
START = 65
"""An id that a server puts in front of a text by mistake."""


class StandIn:
    """The model behind the forms.

    Args:
        run: The run that is served.
        form: `vllm`, `llama` or `other`.
        fault: `template`, `bos`, `end`, `base`, `half`, `weights`, `choice`, or empty.
    """

    def __init__(self, run: Path, form: str, fault: str) -> None:
        self.form, self.fault = form, fault
        self.asked: list[tuple[str, dict[str, str], dict[str, Any]]] = []
        self._found = find_weights(WeightsChoice(run=run, threads=1))
        self._objective = load_weights(self._found)
        self._prompts: dict[str, list[int]] = {}
        if fault == "half":
            self._objective.model.half()
        for parameter in self._objective.parameters().values() if fault == "weights" else ():
            parameter.data *= 1.5

    def answer(self, path: str, body: dict[str, Any]) -> tuple[int, dict[str, Any]]:
        """Status and JSON of an answer."""
        if path == "/v1/models":
            return 200, {"data": [{"id": "served", "owned_by": OWNERS[self.form]}]}
        if path == "/v1/chat/completions" and (self.form != "other" or "logprobs" not in body):
            return 200, self._chat(body)
        if path == "/tokenize" and self.form == "vllm":
            return 200, {"tokens": self._prompt(body), "count": 0}
        if path == "/apply-template" and self.form == "llama":
            text = f"prompt {len(self._prompts)}"
            self._prompts[text] = self._prompt(body)
            return 200, {"prompt": text}
        if path == "/tokenize" and self.form == "llama":
            assert (body["add_special"], body["parse_special"]) == (True, True)
            return 200, {"tokens": self._prompts[body["content"]]}
        return 404, {"error": {"message": "no such \x1b[31mroute"}}

    def _prompt(self, body: dict[str, Any]) -> list[int]:
        messages = [Message(Role(each["role"]), each["content"]) for each in body["messages"]]
        policy = self._found.policy
        if self.fault == "template":
            policy = TextPolicy(template=ChatTemplate.PLAIN)
        ids = encode_prompt(messages, self._found.tokenizer, policy)
        return [START, *ids] if self.fault == "bos" else ids

    @torch.inference_mode()
    def _chat(self, body: dict[str, Any]) -> dict[str, Any]:
        prompt = self._prompt(body)
        ids, logprobs, finish = list(prompt), [], "length"
        ends = set() if self.fault == "end" else stop_ids(self._found)
        weights = self._objective.adapters_off() if self.fault == "base" else nullcontext()
        model = CachedModel(self._objective.model)
        with weights:
            for number in range(body["max_tokens"]):
                scores = model.next_logits(ids).float().log_softmax(-1)
                rank = 1 if self.fault == "choice" and number == 1 else 0
                token = int(scores.topk(2).indices[rank])
                ids.append(token)
                logprobs.append(float(scores[token]))
                if token in ends:
                    finish = "stop"
                    break
        return self._form(prompt, ids[len(prompt) :], logprobs, finish)

    def _form(
        self, prompt: list[int], new: list[int], logprobs: list[float], finish: str
    ) -> dict[str, Any]:
        text = self._found.tokenizer.decode(new)
        choice: dict[str, Any] = {"message": {"content": text}, "finish_reason": finish}
        answer: dict[str, Any] = {"choices": [choice], "usage": {"prompt_tokens": len(prompt)}}
        scored = list(zip(new, logprobs, strict=True))
        if self.form == "vllm":
            content = [{"token": f"token_id:{each}", "logprob": score} for each, score in scored]
            choice |= {"logprobs": {"content": content}, "token_ids": new}
            answer["prompt_token_ids"] = prompt
        if self.form == "llama":
            kept = scored[:-1] if finish == "stop" else scored
            content = [{"id": each, "token": "?", "logprob": score} for each, score in kept]
            choice["logprobs"] = {"content": content}
        return answer


@contextmanager
def standing_in(run: Path, form: str, fault: str = "") -> Iterator[tuple[str, StandIn]]:
    """The address of a stand-in on a free port of the loopback interface."""
    made = StandIn(run, form, fault)

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self._answer({})

        def do_POST(self) -> None:
            length = int(self.headers["Content-Length"])
            self._answer(json.loads(self.rfile.read(length)))

        def _answer(self, body: dict[str, Any]) -> None:
            made.asked.append((self.path, dict(self.headers), body))
            status, found = made.answer(self.path, body)
            data = json.dumps(found).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, *args: Any) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}", made
        finally:
            server.shutdown()
            thread.join(10)
