"""A 70B-sized model folder that takes no disk: real headers, and data that is one long hole."""

from __future__ import annotations

import json
import math
from pathlib import Path

N_LAYERS, WIDTH, KV_WIDTH, INNER, VOCAB = 80, 8192, 1024, 28_672, 128_256
N_SHARDS = 30

CONFIG = {
    "architectures": ["LlamaForCausalLM"],
    "model_type": "llama",
    "vocab_size": VOCAB,
    "hidden_size": WIDTH,
    "intermediate_size": INNER,
    "num_hidden_layers": N_LAYERS,
    "num_attention_heads": 64,
    "num_key_value_heads": 8,
    "max_position_embeddings": 131_072,
    "rms_norm_eps": 1e-5,
    "rope_theta": 500_000.0,
    "rope_scaling": {
        "rope_type": "llama3",
        "factor": 8.0,
        "low_freq_factor": 1.0,
        "high_freq_factor": 4.0,
        "original_max_position_embeddings": 8192,
    },
    "tie_word_embeddings": False,
    "torch_dtype": "bfloat16",
    "bos_token_id": 128_000,
    "eos_token_id": [128_001, 128_009],
}


def write_sparse_70b(folder: Path) -> int:
    """Write config, index and 30 sparse shards; return the bytes of all tensors."""
    folder.mkdir(parents=True, exist_ok=True)
    shapes = _shapes()
    names = list(shapes)
    per_shard = math.ceil(len(names) / N_SHARDS)
    weight_map: dict[str, str] = {}
    total = 0
    for number in range(N_SHARDS):
        shard = f"model-{number + 1:05d}-of-{N_SHARDS:05d}.safetensors"
        members = names[number * per_shard : (number + 1) * per_shard]
        weight_map.update(dict.fromkeys(members, shard))
        total += _write_shard(folder / shard, {name: shapes[name] for name in members})
    index = {"metadata": {"total_size": total}, "weight_map": weight_map}
    path = folder / "model.safetensors.index.json"
    path.write_text(json.dumps(index, indent=2), encoding="utf-8")
    (folder / "config.json").write_text(json.dumps(CONFIG, indent=2), encoding="utf-8")
    return total


def _shapes() -> dict[str, tuple[int, ...]]:
    shapes: dict[str, tuple[int, ...]] = {"model.embed_tokens.weight": (VOCAB, WIDTH)}
    for layer in range(N_LAYERS):
        block = f"model.layers.{layer}."
        shapes[f"{block}input_layernorm.weight"] = (WIDTH,)
        shapes[f"{block}self_attn.q_proj.weight"] = (WIDTH, WIDTH)
        shapes[f"{block}self_attn.k_proj.weight"] = (KV_WIDTH, WIDTH)
        shapes[f"{block}self_attn.v_proj.weight"] = (KV_WIDTH, WIDTH)
        shapes[f"{block}self_attn.o_proj.weight"] = (WIDTH, WIDTH)
        shapes[f"{block}post_attention_layernorm.weight"] = (WIDTH,)
        shapes[f"{block}mlp.gate_proj.weight"] = (INNER, WIDTH)
        shapes[f"{block}mlp.up_proj.weight"] = (INNER, WIDTH)
        shapes[f"{block}mlp.down_proj.weight"] = (WIDTH, INNER)
    shapes["model.norm.weight"] = (WIDTH,)
    shapes["lm_head.weight"] = (VOCAB, WIDTH)
    return shapes


def _write_shard(path: Path, shapes: dict[str, tuple[int, ...]]) -> int:
    header: dict[str, object] = {"__metadata__": {"format": "pt"}}
    position = 0
    for name, shape in shapes.items():
        end = position + 2 * math.prod(shape)
        header[name] = {"dtype": "BF16", "shape": list(shape), "data_offsets": [position, end]}
        position = end
    data = json.dumps(header).encode()
    with path.open("wb") as handle:
        handle.write(len(data).to_bytes(8, "little") + data)
        handle.truncate(8 + len(data) + position)
    return position
