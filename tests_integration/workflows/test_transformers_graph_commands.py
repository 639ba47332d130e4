"""From training to answers by commands alone, on models that only transformers has code for.

The oracle of a text, of logits and of a loss is transformers on the merged folder.
"""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoModelForMultimodalLM, AutoTokenizer

from tests_integration.foreign_nested import write_foreign_nested
from tests_integration.tiny_mxfp4 import write_mxfp4_model
from tests_integration.tolerances import F32_LOSS_SUM, assert_parity
from vox_cli.app import run as run_command
from vox_populi.events import Event, EventName
from vox_populi.pipeline.progress_lines import ProgressLines

Vox = Callable[..., dict[str, Any]]
PROMPT = "say 1"
SETTINGS = (
    *("--max-steps", "3", "--batch-size", "2", "--grad-accum", "1", "--seq-len", "96"),
    *("--rank", "2", "--alpha", "8", "--dropout", "0.1", "--lr", "2e-2", "--warmup", "0"),
    *("--tokenizer", "hf", "--checkpoint-every", "1", "--threads", "1"),
)


@pytest.fixture
def vox(capsys: pytest.CaptureFixture[str]) -> Vox:
    """Calls `vox mens ...`, which has to end with a code, and reads its JSON."""

    def call(*argv: object, code: int = 0) -> dict[str, Any]:
        capsys.readouterr()
        found = run_command(["mens", *map(str, argv), "--json"])
        said = capsys.readouterr()
        assert found == code, said.err
        document: dict[str, Any] = json.loads(said.out)
        return document

    return call


@pytest.mark.skipif(os.name == "nt", reason="needs POSIX signals")
@pytest.mark.parametrize(("model_type", "spread"), [("qwen3_5", 0.5), ("gpt_oss", 0.9)])
def test_a_model_is_trained_resumed_merged_generated_and_measured(
    model_type: str, spread: float, tmp_path: Path, vox: Vox, monkeypatch: pytest.MonkeyPatch
) -> None:
    if model_type == "gpt_oss":
        write_mxfp4_model(tmp_path / "base", tokenizer=True, spread=spread)
    else:
        write_foreign_nested(tmp_path / "base", model_type, spread=spread)
    rows = [{"prompt": f"say {i} " * (1 + i % 4), "response": f"{i} it is"} for i in range(12)]
    data = tmp_path / "rows.jsonl"
    data.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    train = ("train", "--model", tmp_path / "base", "--data", data, *SETTINGS)

    vox(*train, "--output-dir", tmp_path / "whole")
    with monkeypatch.context() as patched:
        patched.setattr(ProgressLines, "emit", stop_after_second_step(ProgressLines.emit))
        vox(*train, "--output-dir", tmp_path / "run", code=128 + signal.SIGTERM)
    assert not (tmp_path / "run" / "model_final.bin").exists()
    vox(*train, "--output-dir", tmp_path / "run", "--resume", "auto")
    run, merged = tmp_path / "run", tmp_path / "merged"
    adapters = [(each / "model_final.bin").read_bytes() for each in (tmp_path / "whole", run)]
    assert adapters[0] == adapters[1]

    vox("merge", run, "--output-dir", merged)
    auto: Any = AutoModelForCausalLM if model_type == "gpt_oss" else AutoModelForMultimodalLM
    theirs = auto.from_pretrained(merged, dtype=torch.float32)
    tokenizer: Any = AutoTokenizer.from_pretrained(merged)
    asked = ("--prompt", PROMPT, "--max-new-tokens", 12, "--threads", 1)
    made = {name: vox("generate", tmp_path / name, *asked)["ids"] for name in ("run", "merged")}
    assert made["run"] == made["merged"] == greedy(theirs, tokenizer, len(made["merged"]))
    assert len(set(made["merged"])) > 1, "a text of one token would prove little"

    measured = vox("eval", merged, "--data", data, "--threads", 1)
    loss, n_tokens = loss_of_answers(theirs, tokenizer, rows)
    assert measured["supervised_tokens"] == n_tokens
    assert_parity(torch.tensor(measured["loss"] * n_tokens), loss, F32_LOSS_SUM)


def greedy(theirs: Any, tokenizer: Any, n_tokens: int) -> list[int]:
    """What transformers makes of the prompt."""
    given = tokenizer.apply_chat_template(
        [{"role": "user", "content": PROMPT}],
        add_generation_prompt=True,
        return_dict=True,
        return_tensors="pt",
    )
    found = theirs.generate(**given, max_new_tokens=n_tokens, do_sample=False)
    ids: list[int] = found[0, given["input_ids"].shape[1] :].tolist()
    return ids


@torch.no_grad()
def loss_of_answers(
    theirs: Any, tokenizer: Any, rows: Sequence[dict[str, str]]
) -> tuple[torch.Tensor, int]:
    """The sum of transformers' losses over the tokens of the answers, and their number."""
    total, n_tokens = torch.zeros(()), 0
    for row in rows:
        chat = [{"role": "user", "content": row["prompt"]}]
        begin = tokenizer.apply_chat_template(chat, add_generation_prompt=True, tokenize=False)
        chat.append({"role": "assistant", "content": row["response"]})
        whole = tokenizer.apply_chat_template(chat, tokenize=False)
        n_given = len(tokenizer(begin, add_special_tokens=False)["input_ids"])
        ids = torch.tensor(tokenizer(whole, add_special_tokens=False)["input_ids"])
        scores = theirs(ids.unsqueeze(0)).logits[0, n_given - 1 : -1]
        total += torch.nn.functional.cross_entropy(scores, ids[n_given:], reduction="sum")
        n_tokens += len(ids) - n_given
    return total, n_tokens


def stop_after_second_step(kept: Callable[[Any, Event], None]) -> Callable[[Any, Event], None]:
    """What shows a step, and asks the process to stop after the second."""

    def emit(self: Any, event: Event) -> None:
        kept(self, event)
        if event.name is EventName.STEP and event.payload["step"] == 2:
            signal.raise_signal(signal.SIGTERM)

    return emit
