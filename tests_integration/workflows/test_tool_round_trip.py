"""A call of a tool and its result, through the model's own template and OpenAI's client."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoTokenizer, LlamaConfig, LlamaForCausalLM

from tests_integration.running_server import Server, client_of, running
from tests_integration.tier_a.chat_tokenizers import write_folder
from vox_populi.contract.choices import TokenizerKind
from vox_populi.contract.finetune_contract import FinetuneContract
from vox_populi.data.training_text import ChatTemplate
from vox_populi.pipeline.serve import ServeRequest
from vox_populi.pipeline.train import RunOptions, run_training

pytest.importorskip("openai", reason="the client is in the group test")
pytest.importorskip("uvicorn", reason="needs vox-populi[serve]")

TEMPLATE = Path(__file__).resolve().parents[1] / "tier_a" / "tool_templates" / "hermes.jinja"
TOOL: dict[str, Any] = {
    "type": "function",
    "function": {
        "name": "sky",
        "description": "The sky.",
        "parameters": {"type": "object", "properties": {"city": {"type": "string"}}},
    },
}
QUESTION = {"role": "user", "content": "Rome?"}
CALL = {"name": "sky", "arguments": {"city": "Rome"}}
ANSWER = "It is clear."
ROW = {
    "tools": [TOOL],
    "messages": [
        QUESTION,
        {"role": "assistant", "tool_calls": [{"type": "function", "function": CALL}]},
        {"role": "tool", "name": "sky", "content": "clear"},
        {"role": "assistant", "content": ANSWER},
    ],
}


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A tiny model that has learned the row, over HTTP."""
    folder = tmp_path_factory.mktemp("tools")
    base, data = folder / "base", folder / "data"
    write_folder(base, "byte_level", TEMPLATE.read_text(encoding="utf-8"))
    tokenizer: Any = AutoTokenizer.from_pretrained(base)
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=64,
        intermediate_size=96,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=1024,
        tie_word_embeddings=False,
        initializer_range=0.2,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
    )
    LlamaForCausalLM(config).save_pretrained(base)
    data.mkdir()
    (data / "train.jsonl").write_text(json.dumps(ROW) + "\n", encoding="utf-8")
    contract = FinetuneContract.of(
        model_dir=base,
        data_dir=data,
        output_dir=folder / "run",
        tokenizer=TokenizerKind.HF,
        template=ChatTemplate.MODEL,
        seq_len=1024,
        epochs=60,
        batch_size=1,
        grad_accum=1,
        learning_rate=0.01,
        alpha=32.0,
        rank=16,
        threads=1,
    )
    report = run_training(contract, RunOptions())
    request = ServeRequest(sources=(report.run,), port=0)
    with running(request) as serving, client_of(serving, {}) as made:
        yield made


def test_a_call_comes_back_as_a_result_and_becomes_an_answer(server: Server) -> None:
    create = server.client.chat.completions.create
    model = server.serving.models[-1]
    settings: dict[str, Any] = {"model": model, "temperature": 0, "max_tokens": 80, "tools": [TOOL]}
    asked = create(messages=[QUESTION], **settings).choices[0]
    assert asked.finish_reason == "tool_calls"
    (call,) = asked.message.tool_calls
    assert (call.function.name, json.loads(call.function.arguments)) == ("sky", {"city": "Rome"})
    result = {"role": "tool", "tool_call_id": call.id, "name": "sky", "content": "clear"}
    turns = [QUESTION, asked.message.model_dump(exclude_none=True), result]
    answer = create(messages=turns, **settings).choices[0]
    assert (answer.message.content, answer.finish_reason) == (ANSWER, "stop")
    stream = create(messages=[QUESTION], stream=True, **settings)
    calls = [each for part in stream for each in part.choices[0].delta.tool_calls or ()]
    assert [json.loads(each.function.arguments) for each in calls] == [{"city": "Rome"}]
