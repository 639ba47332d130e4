"""Requests, configs, model folders and data folders of a few kilobytes, without torch."""

from __future__ import annotations

import json
import struct
from collections.abc import Callable, Collection, Mapping
from math import prod
from pathlib import Path
from typing import Any

import pytest

from vox_populi.containers.safetensors_header import TensorInfo
from vox_populi.contract.finetune_contract import FinetuneContract
from vox_populi.hf.families import gemma2, olmo2
from vox_populi.hf.inventory import ModelInventory
from vox_populi.hf.keymap import tensor_keys
from vox_populi.hf.model_config import ModelConfig, parse_model_config
from vox_populi.plan.device_choice import MachineFacts
from vox_tensor.tokenizer import VoxTokenizer

CONFIGS: dict[str, dict[str, Any]] = {
    "llama": {
        "model_type": "llama",
        "vocab_size": 300,
        "hidden_size": 16,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "intermediate_size": 40,
        "max_position_embeddings": 64,
        "tie_word_embeddings": True,
        "eos_token_id": 2,
    },
    "qwen3": {
        "model_type": "qwen3",
        "vocab_size": 300,
        "hidden_size": 16,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "head_dim": 4,
        "intermediate_size": 40,
        "max_position_embeddings": 64,
        "eos_token_id": 2,
    },
    "qwen2": {
        "model_type": "qwen2",
        "vocab_size": 300,
        "hidden_size": 8,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "num_key_value_heads": 1,
        "intermediate_size": 16,
        "max_position_embeddings": 64,
        "eos_token_id": 2,
    },
    "phi3": {
        "model_type": "phi3",
        "vocab_size": 300,
        "hidden_size": 16,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "intermediate_size": 40,
        "max_position_embeddings": 64,
        "eos_token_id": 2,
    },
    **{family.name: {**family.tiny, "vocab_size": 300} for family in (gemma2.FAMILY, olmo2.FAMILY)},
    "gpt2": {
        "model_type": "gpt2",
        "vocab_size": 300,
        "n_embd": 16,
        "n_layer": 2,
        "n_head": 4,
        "n_positions": 64,
        "eos_token_id": 2,
    },
}
ROWS = [{"prompt": f"Say {i}", "response": f"I say {i}."} for i in range(8)]

MakeContract = Callable[..., FinetuneContract]


@pytest.fixture
def make_config() -> Callable[..., ModelConfig]:
    """A tiny config of a family, with fields of `config.json` changed."""

    def make(family: str = "llama", **changes: Any) -> ModelConfig:
        return parse_model_config({**CONFIGS[family], **changes}, "config.json")

    return make


def stored_tensors(config: ModelConfig) -> dict[str, TensorInfo]:
    """Every tensor of a model, as headers would describe it."""
    return {
        key.theirs: TensorInfo(
            name=key.theirs,
            dtype="F32",
            shape=key.shape,
            shard="model.safetensors",
            start=0,
            end=4 * prod(key.shape),
        )
        for key in tensor_keys(config)
        if key.required
    }


@pytest.fixture
def make_inventory(make_config: Callable[..., ModelConfig]) -> Callable[..., ModelInventory]:
    """What a folder of that config would hold; the planner asks for no more."""

    def make(family: str = "llama", **changes: Any) -> ModelInventory:
        config = make_config(family, **changes)
        return ModelInventory(
            model_dir=Path("models") / family,
            config=config,
            tensors=stored_tensors(config),
            shards=(),
            total_bytes=0,
            tied_head=config.tie_word_embeddings,
        )

    return make


@pytest.fixture
def make_model(tmp_path: Path) -> Callable[..., Path]:
    """A folder that `read_inventory` accepts: config, one shard of zeros, our tokenizer.

    `only` names the tensors that are there, `shapes` those of another shape than they should be.
    """

    def make(
        family: str = "llama",
        *,
        tokenizer: bool = True,
        only: Collection[str] | None = None,
        shapes: Mapping[str, tuple[int, ...]] | None = None,
        **changes: Any,
    ) -> Path:
        folder = tmp_path / f"model-{family}"
        folder.mkdir()
        raw = {**CONFIGS[family], **changes}
        (folder / "config.json").write_text(json.dumps(raw), encoding="utf-8")
        config = parse_model_config(raw, "config.json")
        header: dict[str, object] = {}
        end = 0
        for key in tensor_keys(config):
            if key.required and (only is None or key.theirs in only):
                shape = (shapes or {}).get(key.theirs, key.shape)
                start, end = end, end + 4 * prod(shape)
                header[key.theirs] = {
                    "dtype": "F32",
                    "shape": list(shape),
                    "data_offsets": [start, end],
                }
        text = json.dumps(header).encode()
        text += b" " * (-len(text) % 8)
        shard = struct.pack("<Q", len(text)) + text + bytes(end)
        (folder / "model.safetensors").write_bytes(shard)
        if tokenizer:
            VoxTokenizer().save(folder / "tokenizer.json")
        return folder

    return make


@pytest.fixture
def data_dir(tmp_path: Path) -> Path:
    """Eight good rows in `train.jsonl`."""
    folder = tmp_path / "data"
    folder.mkdir()
    text = "".join(json.dumps(row) + "\n" for row in ROWS)
    (folder / "train.jsonl").write_text(text, encoding="utf-8")
    return folder


@pytest.fixture
def make_contract(tmp_path: Path) -> MakeContract:
    """A request whose paths need not exist."""

    def make(**changes: Any) -> FinetuneContract:
        settings: dict[str, Any] = {
            "data_dir": tmp_path / "data",
            "output_dir": tmp_path / "out",
            **changes,
        }
        return FinetuneContract.of(**settings)

    return make


@pytest.fixture
def cpu_machine() -> MachineFacts:
    """Two cores, 8 GiB, no accelerator."""
    return MachineFacts(n_cpus=2, memory_bytes=8 * 2**30, has_cuda=False, has_mps=False)
