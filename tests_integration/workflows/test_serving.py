"""`vox mens serve` as OpenAI's own client sees it: answers are those of `vox mens generate`."""

from __future__ import annotations

import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from tests_integration.running_server import Server, chat, client_of, running
from vox_populi.contract.finetune_contract import FinetuneContract
from vox_populi.pipeline.generate import LoadedModel, load_model
from vox_populi.pipeline.serve import NamedAdapter, ServeRequest
from vox_populi.pipeline.train import RunOptions, run_training
from vox_populi.pipeline.weights_choice import WeightsChoice
from vox_tensor.lora_spec import LoraSpec

openai = pytest.importorskip("openai", reason="the client is in the group test")
pytest.importorskip("uvicorn", reason="needs vox-populi[serve]")

PROMPTS = ("Say red.", "Reverse a string in Python.", "What is a list?", "Count to ten.")


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
    served = {"red": runs["red"], "second": runs["blue"]}
    with running(request) as serving, client_of(serving, served) as made:
        yield made


@cache
def loaded(run: Path | None) -> LoadedModel:
    """What `vox mens generate` answers with."""
    return load_model(WeightsChoice(run=run, threads=1))


def generated(run: Path | None, prompt: str, **settings: Any) -> str:
    """The answer of `vox mens generate` to the same prompt."""
    return loaded(run).generate(prompt, **settings).text


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
    more = {"return_token_ids": True}
    found = create(prompt=[[1, 2, 3], [4, 5]], n=2, extra_body=more, **settings).choices
    assert [each.prompt_token_ids for each in found] == [[1, 2, 3]] * 2 + [[4, 5]] * 2
    assert found[0].token_ids == found[1].token_ids != found[2].token_ids


def test_stop_strings_scores_choices_and_seeds_as_the_client_has_them(server: Server) -> None:
    settings: dict[str, Any] = {"max_tokens": 12, "seed": 3, "temperature": 1.0}
    whole = chat(server, "vox-nano", PROMPTS[2], logprobs=True, top_logprobs=2, **settings)
    content = whole.choices[0].message.content
    scores = whole.choices[0].logprobs.content
    assert "".join(each.token for each in scores) == content
    assert bytes(b for each in scores for b in each.bytes).decode() == content
    assert all(each.logprob <= each.top_logprobs[0].logprob <= 0 for each in scores)
    stop = content[2:4]
    stopped = chat(server, "vox-nano", PROMPTS[2], stop=[stop], **settings).choices[0]
    assert stopped.message.content == content[: content.index(stop)]
    assert (stopped.finish_reason, stopped.stop_reason) == ("stop", stop)
    both = chat(server, "vox-nano", PROMPTS[2], n=2, **settings)
    texts = [each.message.content for each in both.choices]
    assert texts == [
        content,
        generated(None, PROMPTS[2], max_new_tokens=12, seed=4, temperature=1.0),
    ]
    assert both.usage.completion_tokens >= whole.usage.completion_tokens
    assert both.system_fingerprint == whole.system_fingerprint


def test_errors_are_those_that_the_client_knows(server: Server) -> None:
    with pytest.raises(openai.NotFoundError, match="not served here") as missing:
        chat(server, "made-up", "Hello")
    assert missing.value.code == "model_not_found"
    with pytest.raises(openai.BadRequestError) as long:
        chat(server, "red", "word " * 3000)
    assert long.value.code == "context_length_exceeded"
    tool = {"type": "function", "function": {"name": "add", "parameters": {}}}
    with pytest.raises(openai.BadRequestError, match="forced"):
        chat(server, "red", "Hello", tools=[tool], tool_choice="required")
    with pytest.raises(openai.APIStatusError) as refused:
        server.client.embeddings.create(model="red", input="Hello")
    assert refused.value.status_code == 501
