"""LoRA GGUF files, read with the package's own reader."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor

from vox_populi.errors import EnvironmentFailure
from vox_populi.export.gguf import file
from vox_populi.export.gguf.file import read_lora_gguf, write_lora_gguf
from vox_populi.hf.keymap import AdapterModule, adapter_modules
from vox_populi.hf.model_config import ModelConfig

gguf = pytest.importorskip("gguf", reason="needs vox-populi[gguf]")


def drawn(modules: tuple[AdapterModule, ...], rank: int = 2) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(5)
    made: dict[str, Tensor] = {}
    for m in modules:
        made[f"{m.ours}.lora_A"] = torch.randn(rank, m.in_features, generator=generator)
        made[f"{m.ours}.lora_B"] = torch.randn(m.out_features, rank, generator=generator)
    return made


def test_what_the_header_says_is_what_llama_cpp_asks(
    llama_config: ModelConfig, tmp_path: Path
) -> None:
    modules = adapter_modules(llama_config)
    write_lora_gguf(tmp_path / "a.gguf", 6.0, modules, drawn(modules), llama_config)
    reader = gguf.GGUFReader(tmp_path / "a.gguf")
    said = {
        name: reader.get_field(name).contents()
        for name in ("general.architecture", "general.type", "adapter.type", "adapter.lora.alpha")
    }
    assert said == {
        "general.architecture": "llama",
        "general.type": "adapter",
        "adapter.type": "lora",
        "adapter.lora.alpha": 6.0,
    }
    names = {tensor.name for tensor in reader.tensors}
    assert {"blk.0.attn_q.weight.lora_a", "blk.1.ffn_down.weight.lora_b"} <= names
    assert {"output.weight.lora_a", "output.weight.lora_b"} <= names
    assert len(names) == 2 * len(modules)


def test_rows_of_q_and_k_move_with_the_weights_of_llama(
    llama_config: ModelConfig, tmp_path: Path
) -> None:
    modules = adapter_modules(llama_config)
    tensors = drawn(modules)
    write_lora_gguf(tmp_path / "a.gguf", 6.0, modules, tensors, llama_config)
    _, stored = read_lora_gguf(tmp_path / "a.gguf")
    heads = {"q": llama_config.n_heads, "k": llama_config.n_kv_heads}
    for name, n_heads in heads.items():
        b = tensors[f"blocks.0.attn.{name}.lora_B"]
        half = b.shape[0] // n_heads // 2
        # Row i of the first half of a head, then row i of the second, and so on.
        expected = [
            b[head * 2 * half + part * half + i]
            for head in range(n_heads)
            for i in range(half)
            for part in (0, 1)
        ]
        assert torch.equal(stored[f"blk.0.attn_{name}.weight.lora_b"], torch.stack(expected))
        a = tensors[f"blocks.0.attn.{name}.lora_A"]
        assert torch.equal(stored[f"blk.0.attn_{name}.weight.lora_a"], a)
    v = tensors["blocks.0.attn.v.lora_B"]
    assert torch.equal(stored["blk.0.attn_v.weight.lora_b"], v)


def test_gpt2_is_stored_as_we_hold_it(gpt2_config: ModelConfig, tmp_path: Path) -> None:
    modules = adapter_modules(gpt2_config)[:-1]
    tensors = drawn(modules)
    write_lora_gguf(tmp_path / "a.gguf", 6.0, modules, tensors, gpt2_config)
    alpha, stored = read_lora_gguf(tmp_path / "a.gguf")
    assert alpha == 6.0
    b = tensors["blocks.0.attn.qkv.lora_B"]
    assert torch.equal(stored["blk.0.attn_qkv.weight.lora_b"], b)
    assert len(stored) == len(tensors)


def test_the_same_adapter_is_the_same_bytes(llama_config: ModelConfig, tmp_path: Path) -> None:
    modules = adapter_modules(llama_config)
    for name in ("a", "b"):
        write_lora_gguf(tmp_path / name, 6.0, modules, drawn(modules), llama_config)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_a_file_that_reads_back_differently_is_an_error(
    llama_config: ModelConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    modules = adapter_modules(llama_config)
    real = file.read_lora_gguf

    def torn(path: Path) -> tuple[float, dict[str, Tensor]]:
        alpha, tensors = real(path)
        tensors["blk.0.attn_q.weight.lora_a"][0, 0] += 1
        return alpha, tensors

    monkeypatch.setattr(file, "read_lora_gguf", torn)
    with pytest.raises(EnvironmentFailure) as caught:
        write_lora_gguf(tmp_path / "a", 6.0, modules, drawn(modules), llama_config)
    assert caught.value.problems[0].code == "MENS-A074"
