"""A base model, rows and requests of a few kilobytes, made without torch.

Tests that run a model are not collected on an install without torch.
"""

from __future__ import annotations

import json
import random
import signal
import struct
from array import array
from collections.abc import Callable, Iterator
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from vox_populi.contract.choices import Backend, DeviceKind, TokenizerKind
from vox_populi.contract.finetune_contract import FinetuneContract
from vox_populi.contract.qlora_spec import QloraGraph, QloraSpec
from vox_populi.hf.keymap import TensorKey, tensor_keys
from vox_populi.hf.model_config import parse_model_config
from vox_tensor.lora_spec import LoraSpec
from vox_tensor.tokenizer import VoxTokenizer

_NEED_TORCH = (
    "activation_memory",
    "convert",
    "export",
    "initial_adapter",
    "qlora",
    "qlora_use",
    "resume",
    "optimizer_resume",
    "train",
    "trial",
    "evaluate",
    "eval_local",
    "scorecard",
    "bench_completion",
    "generate",
    "serve_models",
    "chat",
    "merge",
    "merge_number_types",
    "nothing_outside",
    "qlora_merge",
    "qlora_merge_rows",
    "qlora_merge_refusals",
    "qlora_subset",
    "weights",
    "engine_setup",
    "model_template",
    "template_places",
    "best_checkpoint",
    "sample_answers",
    "loggers",
    "shared_prefix",
    "shared",
)
collect_ignore = [] if find_spec("torch") else [f"test_{name}_run.py" for name in _NEED_TORCH]
if not (find_spec("starlette") and find_spec("prometheus_client")):  # vox-populi[serve]
    collect_ignore.append("test_serve_models_run.py")

MakeContract = Callable[..., FinetuneContract]
MakeBase = Callable[..., Path]

HANGUP = getattr(signal, "SIGHUP", signal.SIGTERM)
"""Windows, where no test sends it, has none."""

LLAMA: dict[str, Any] = {
    "model_type": "llama",
    "vocab_size": 264,
    "hidden_size": 16,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "num_key_value_heads": 1,
    "intermediate_size": 24,
    "max_position_embeddings": 96,
    "tie_word_embeddings": False,
    "eos_token_id": 2,
}
ROWS = [
    {"prompt": f"Say {word}.", "response": f"{word}! " * 3, "source": f"words:{number}"}
    for number, word in enumerate(("one", "two", "three", "four", "five", "six", "seven"))
]


@pytest.fixture
def hangup_counts() -> Iterator[None]:
    """As in a terminal; `nohup`, and what starts tests in the background, lets it be ignored."""
    before = signal.signal(HANGUP, signal.SIG_DFL)
    yield
    signal.signal(HANGUP, before)


@pytest.fixture
def make_base(tmp_path: Path) -> MakeBase:
    """A Llama-shaped folder with random weights and our byte vocabulary."""

    def make(name: str = "base", seed: int = 0) -> Path:
        folder = tmp_path / "models" / name
        folder.mkdir(parents=True)
        (folder / "config.json").write_text(json.dumps(LLAMA), encoding="utf-8")
        draw = random.Random(seed)
        keys = tensor_keys(parse_model_config(LLAMA, "config.json"))
        write_safetensors(folder / "model.safetensors", keys, draw)
        VoxTokenizer().save(folder / "tokenizer.json")
        return folder

    return make


def write_safetensors(
    path: Path, keys: tuple[TensorKey, ...], draw: random.Random, stored: str = "F32"
) -> None:
    """Norms near one, everything else near zero; `F32`, or `BF16`, which is its upper half."""
    header: dict[str, object] = {}
    data = array("f")
    width = {"F32": 4, "BF16": 2}[stored]
    for key in keys:
        start, center = width * len(data), float("norm" in key.ours)
        count = 1
        for size in key.shape:
            count *= size
        data.extend(center + draw.gauss(0.0, 0.2) for _ in range(count))
        offsets = [start, width * len(data)]
        header[key.theirs] = {"dtype": stored, "shape": list(key.shape), "data_offsets": offsets}
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    halves = array("H", data.tobytes())
    content = (halves[1::2] if stored == "BF16" else halves).tobytes()
    path.write_bytes(struct.pack("<Q", len(text)) + text + content)


@pytest.fixture
def write_rows(tmp_path: Path) -> Callable[..., Path]:
    """Write rows into `data/<name>` and return the file."""

    def write(rows: list[dict[str, Any]], name: str = "train.jsonl") -> Path:
        folder = tmp_path / "data"
        folder.mkdir(exist_ok=True)
        path = folder / name
        path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
        return path

    return write


@pytest.fixture
def make_contract(
    tmp_path: Path, make_base: MakeBase, write_rows: Callable[..., Path]
) -> MakeContract:
    """A request that runs in a moment: seven rows, two of them held out."""
    base = make_base()
    write_rows(ROWS[:5])
    write_rows(ROWS[5:], "valid.jsonl")

    def make(**changes: Any) -> FinetuneContract:
        settings: dict[str, Any] = {
            "data_dir": tmp_path / "data",
            "output_dir": tmp_path / "runs" / "first",
            "model_dir": base,
            "tokenizer": TokenizerKind.VOX,
            "lora": LoraSpec(rank=2, alpha=4.0, dropout=0.1),
            "epochs": 2,
            "learning_rate": 5e-3,
            "warmup_steps": 1,
            "seq_len": 64,
            "batch_size": 2,
            "grad_accum": 1,
            "device": DeviceKind.CPU,
            "threads": 1,
            **changes,
        }
        return FinetuneContract.of(**settings)

    return make


@pytest.fixture
def make_qlora(make_contract: MakeContract) -> MakeContract:
    """A request of the same size for either graph."""

    def make(graph: QloraGraph = QloraGraph.FULL, **changes: Any) -> FinetuneContract:
        spec = replace(QloraSpec(graph=graph), **changes.pop("spec", {}))
        settings = {"backend": Backend.QLORA, "tokenizer": TokenizerKind.HF, "qlora": spec}
        return make_contract(**settings, **changes)

    return make
