"""`vox mens serve` as its clients see it: OpenAI's own client, and clients that mean no good."""

from __future__ import annotations

import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from http.client import HTTPConnection
from pathlib import Path
from queue import Queue
from threading import Event, Thread
from typing import Any
from urllib.parse import urlsplit

import pytest

from vox_populi.contract.finetune_contract import FinetuneContract
from vox_populi.pipeline.generate import LoadedModel, load_model
from vox_populi.pipeline.serve import NamedAdapter, ServeRequest, Serving, serve
from vox_populi.pipeline.train import RunOptions, run_training
from vox_populi.pipeline.weights_choice import WeightsChoice
from vox_tensor.lora_spec import LoraSpec

openai = pytest.importorskip("openai", reason="the client is in the group test")

PROMPTS = ("Say red.", "Reverse a string in Python.", "What is a list?", "Count to ten.")


@dataclass(frozen=True, slots=True)
class Server:
    """A server that runs, with the runs that it serves."""

    serving: Serving
    runs: dict[str, Path]

    @property
    def client(self) -> Any:
        """OpenAI's client for it."""
        return openai.OpenAI(base_url=f"{self.serving.url}/v1", api_key="none", max_retries=0)

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
    ready: Queue[Serving | BaseException] = Queue()
    is_done = Event()

    def run() -> None:
        try:
            serve(request, ready.put, lambda _: None, is_done.is_set)
        except BaseException as error:
            ready.put(error)
            raise

    thread = Thread(target=run)
    thread.start()
    found = ready.get(timeout=60)
    if isinstance(found, BaseException):
        raise found
    try:
        yield found
    finally:
        is_done.set()
        thread.join(30)
        assert not thread.is_alive()


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Two short runs on the embedded base, which answer differently."""
    folder = tmp_path_factory.mktemp("served")
    made = {}
    for name, word in (("red", "red"), ("blue", "blue")):
        data = folder / f"data-{name}"
        data.mkdir()
        rows = [{"prompt": prompt, "response": f"{word} {word} is it"} for prompt in PROMPTS]
        text = "".join(json.dumps(row) + "\n" for row in rows)
        (data / "train.jsonl").write_text(text, encoding="utf-8")
        contract = FinetuneContract.of(
            data_dir=data,
            output_dir=folder / name,
            lora=LoraSpec(rank=4, alpha=8.0),
            epochs=8,
            batch_size=4,
            learning_rate=5e-3,
            threads=1,
        )
        run_training(contract, RunOptions())
        made[name] = folder / name
    return made


@pytest.fixture(scope="module")
def server(runs: dict[str, Path]) -> Iterator[Server]:
    request = ServeRequest(
        sources=(runs["red"],),
        adapters=(NamedAdapter("second", runs["blue"]),),
        port=0,
        max_queue=40,
        max_new_tokens=64,
        max_body_bytes=100_000,
    )
    with running(request) as serving:
        yield Server(serving, {"red": runs["red"], "second": runs["blue"]})


@cache
def loaded(run: Path | None) -> LoadedModel:
    """What `vox mens generate` answers with."""
    return load_model(WeightsChoice(run=run, threads=1))


def generated(run: Path | None, prompt: str, **settings: Any) -> str:
    """The answer of `vox mens generate` to the same prompt."""
    return loaded(run).generate(prompt, **settings).text


def chat(server: Server, model: str, prompt: str, **settings: Any) -> Any:
    messages = [{"role": "user", "content": prompt}]
    return server.client.chat.completions.create(model=model, messages=messages, **settings)


def test_models_are_listed_with_what_they_are(server: Server) -> None:
    models = {each.id: each for each in server.client.models.list()}
    assert list(models) == ["vox-nano", "red", "second"] == list(server.serving.models)
    base, red, second = models.values()
    assert base.base_digest == red.base_digest == second.base_digest
    assert base.adapter_digest is None
    assert red.adapter_digest != second.adapter_digest
    assert (red.root, red.parent, red.template) == ("vox-nano", "vox-nano", "chatml")
    assert server.client.models.retrieve("second").id == "second"


def test_answers_are_those_of_generate_whatever_else_is_asked_at_the_time(server: Server) -> None:
    """Two adapters and the base, sampled and greedy, 24 at a time, whole and streamed."""
    asked = [
        (model, run, prompt, {"temperature": temperature, "seed": seed})
        for model, run in {"vox-nano": None, **server.runs}.items()
        for prompt in PROMPTS
        for temperature, seed in ((0.0, 0), (1.0, 7))
    ]

    def answer(number: int) -> str:
        model, _, prompt, settings = asked[number]
        if number % 2:
            return str(
                chat(server, model, prompt, max_tokens=12, **settings).choices[0].message.content
            )
        stream = chat(server, model, prompt, max_tokens=12, stream=True, **settings)
        return "".join(each.choices[0].delta.content or "" for each in stream)

    with ThreadPoolExecutor(24) as pool:
        answers = list(pool.map(answer, range(len(asked))))
    for found, (_, run, prompt, settings) in zip(answers, asked, strict=True):
        assert found == generated(run, prompt, max_new_tokens=12, **settings)
    assert any("red" in each for each in answers)
    assert any("blue" in each for each in answers)


def test_a_stream_has_a_role_pieces_an_end_and_usage_if_asked_for(server: Server) -> None:
    settings: dict[str, Any] = {"temperature": 0.0, "max_tokens": 5}
    whole = chat(server, "red", PROMPTS[0], **settings)
    options = {"include_usage": True}
    stream = list(chat(server, "red", PROMPTS[0], stream=True, stream_options=options, **settings))
    assert stream[0].choices[0].delta.role == "assistant"
    text = "".join(each.choices[0].delta.content or "" for each in stream if each.choices)
    assert text == whole.choices[0].message.content
    assert stream[-2].choices[0].finish_reason == whole.choices[0].finish_reason
    assert stream[-1].choices == []
    assert stream[-1].usage == whole.usage
    assert len({each.id for each in stream}) == 1


def test_texts_are_continued_as_they_are(server: Server) -> None:
    settings: dict[str, Any] = {"temperature": 0.0, "max_tokens": 8, "model": "vox-nano"}
    create = server.client.completions.create
    one = create(prompt="def add(a, b):\n", logprobs=2, **settings)
    choice = one.choices[0]
    assert "".join(choice.logprobs.tokens) == choice.text
    assert choice.logprobs.text_offset[0] == 0
    assert all(len(each) == 2 for each in choice.logprobs.top_logprobs)
    many = create(prompt=["def add(a, b):\n", "import "], n=2, stream=True, **settings)
    texts = {0: "", 1: "", 2: "", 3: ""}
    for each in many:
        texts[each.choices[0].index] += each.choices[0].text
    assert texts[0] == texts[1] == choice.text
    assert texts[2] == texts[3] != texts[0]
    assert create(prompt=[1, 2, 3], **settings).usage.prompt_tokens == 3
