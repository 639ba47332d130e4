"""Model folders made of plain Python, so that these tests need neither torch nor safetensors."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

Shapes = Mapping[str, tuple[int, ...]]

_ITEM_BYTES = {"F64": 8, "F32": 4, "BF16": 2, "F16": 2, "U8": 1, "I32": 4}

LLAMA = {
    "architectures": ["LlamaForCausalLM"],
    "model_type": "llama",
    "vocab_size": 24,
    "hidden_size": 8,
    "intermediate_size": 12,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 32,
    "rms_norm_eps": 1e-5,
    "rope_parameters": {"rope_type": "default", "rope_theta": 10000.0},
    "tie_word_embeddings": False,
    "dtype": "float32",
    "bos_token_id": 1,
    "eos_token_id": 2,
}
GPT2 = {
    "architectures": ["GPT2LMHeadModel"],
    "model_type": "gpt2",
    "vocab_size": 24,
    "n_embd": 8,
    "n_layer": 2,
    "n_head": 2,
    "n_positions": 16,
    "bos_token_id": 50256,
    "eos_token_id": 50256,
}


def safetensors_bytes(header: Mapping[str, object] | bytes, data: bytes = b"") -> bytes:
    """A container; a header given as bytes is taken as it is."""
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return len(text).to_bytes(8, "little") + text + data


def write_shard(
    path: Path, shapes: Shapes, *, dtype: str = "F32", fill: Mapping[str, int] | None = None
) -> None:
    """Tensors one behind the other, each filled with one byte value."""
    header: dict[str, object] = {"__metadata__": {"format": "pt"}}
    data = bytearray()
    for name, shape in shapes.items():
        n_bytes = math.prod(shape) * _ITEM_BYTES[dtype]
        offsets = [len(data), len(data) + n_bytes]
        header[name] = {"dtype": dtype, "shape": list(shape), "data_offsets": offsets}
        data += bytes([(fill or {}).get(name, 0)]) * n_bytes
    path.write_bytes(safetensors_bytes(header, bytes(data)))


def llama_shapes(config: Mapping[str, object]) -> dict[str, tuple[int, ...]]:
    """Names and shapes of `LLAMA`, written out by hand."""
    vocab, layers = config["vocab_size"], config["num_hidden_layers"]
    assert isinstance(vocab, int)
    assert isinstance(layers, int)
    shapes: dict[str, tuple[int, ...]] = {"model.embed_tokens.weight": (vocab, 8)}
    for layer in range(layers):
        block = f"model.layers.{layer}."
        shapes |= {
            f"{block}input_layernorm.weight": (8,),
            f"{block}self_attn.q_proj.weight": (8, 8),
            f"{block}self_attn.k_proj.weight": (4, 8),
            f"{block}self_attn.v_proj.weight": (4, 8),
            f"{block}self_attn.o_proj.weight": (8, 8),
            f"{block}post_attention_layernorm.weight": (8,),
            f"{block}mlp.gate_proj.weight": (12, 8),
            f"{block}mlp.up_proj.weight": (12, 8),
            f"{block}mlp.down_proj.weight": (8, 12),
        }
    shapes |= {"model.norm.weight": (8,), "lm_head.weight": (vocab, 8)}
    return shapes


def gpt2_shapes(prefix: str) -> dict[str, tuple[int, ...]]:
    """Names and shapes of `GPT2`, written out by hand, without a head."""
    shapes: dict[str, tuple[int, ...]] = {"wte.weight": (24, 8), "wpe.weight": (16, 8)}
    for layer in range(2):
        block = f"h.{layer}."
        shapes |= {
            f"{block}ln_1.weight": (8,),
            f"{block}ln_1.bias": (8,),
            f"{block}attn.c_attn.weight": (8, 24),
            f"{block}attn.c_attn.bias": (24,),
            f"{block}attn.c_proj.weight": (8, 8),
            f"{block}attn.c_proj.bias": (8,),
            f"{block}ln_2.weight": (8,),
            f"{block}ln_2.bias": (8,),
            f"{block}mlp.c_fc.weight": (8, 32),
            f"{block}mlp.c_fc.bias": (32,),
            f"{block}mlp.c_proj.weight": (32, 8),
            f"{block}mlp.c_proj.bias": (8,),
        }
    shapes |= {"ln_f.weight": (8,), "ln_f.bias": (8,)}
    return {prefix + name: shape for name, shape in shapes.items()}


@pytest.fixture
def llama() -> dict[str, object]:
    """A fresh copy of a tiny Llama's config."""
    copy: dict[str, object] = json.loads(json.dumps(LLAMA))
    return copy


@pytest.fixture
def gpt2() -> dict[str, object]:
    """A fresh copy of a tiny GPT-2's config."""
    copy: dict[str, object] = json.loads(json.dumps(GPT2))
    return copy


@pytest.fixture
def container() -> Callable[..., bytes]:
    """`container(header, data)`: the bytes of a safetensors file."""
    return safetensors_bytes


@pytest.fixture
def shard() -> Callable[..., None]:
    """`shard(path, shapes, dtype=, fill=)` writes a safetensors file."""
    return write_shard


@pytest.fixture
def shapes_of_llama() -> dict[str, tuple[int, ...]]:
    """Tensors of the tiny Llama."""
    return llama_shapes(LLAMA)


@pytest.fixture
def shapes_of_gpt2() -> Callable[[str], dict[str, tuple[int, ...]]]:
    """`shapes_of_gpt2(prefix)`: tensors of the tiny GPT-2."""
    return gpt2_shapes


@pytest.fixture
def folder(tmp_path: Path) -> Callable[..., Path]:
    """`folder(config, shapes, shards=1, dtype=, fill=)` writes a whole model folder."""

    def write(
        config: Mapping[str, object],
        shapes: Shapes,
        *,
        shards: int = 1,
        dtype: str = "F32",
        fill: Mapping[str, int] | None = None,
    ) -> Path:
        (tmp_path / "config.json").write_text(json.dumps(config), encoding="utf-8")
        if shards == 1:
            write_shard(tmp_path / "model.safetensors", shapes, dtype=dtype, fill=fill)
            return tmp_path
        names = list(shapes)
        weight_map: dict[str, str] = {}
        for number in range(shards):
            file = f"model-{number + 1:05d}-of-{shards:05d}.safetensors"
            members = {name: shapes[name] for name in names[number::shards]}
            write_shard(tmp_path / file, members, dtype=dtype, fill=fill)
            weight_map |= dict.fromkeys(members, file)
        index = {"metadata": {"total_size": 0}, "weight_map": weight_map}
        path = tmp_path / "model.safetensors.index.json"
        path.write_text(json.dumps(index), encoding="utf-8")
        return tmp_path

    return write
