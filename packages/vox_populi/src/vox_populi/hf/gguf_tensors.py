"""Which tensor of a GGUF file each tensor of a model is, and how its rows are ordered there."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from vox_populi.containers.file_ranges import open_ranges
from vox_populi.containers.gguf_header import GgufHeader, GgufTensor
from vox_populi.containers.gguf_types import PLAIN_TYPES, QUANTISED_TYPES
from vox_populi.containers.tensor_comparison import tensor_differences, tensor_problem
from vox_populi.errors import ModelError
from vox_populi.hf.gguf_config import EMBEDDING, HEAD
from vox_populi.hf.gguf_rope import ROPE_TENSORS
from vox_populi.hf.keymap import EMBED_WEIGHT, HEAD_WEIGHT, TensorKey, tensor_keys
from vox_populi.hf.model_config import ModelConfig
from vox_populi.operator_messages.tensors import GGUF_FILE
from vox_tensor.problem_log import ProblemLog

_PARTS: Mapping[str, str] = {
    "attn_norm": "attn_norm",
    "attn.q": "attn_q",
    "attn.k": "attn_k",
    "attn.v": "attn_v",
    "attn.qkv": "attn_qkv",
    "attn.q_norm": "attn_q_norm",
    "attn.k_norm": "attn_k_norm",
    "attn.o": "attn_output",
    "mlp_norm": "ffn_norm",
    "mlp.gate": "ffn_gate",
    "mlp.up": "ffn_up",
    # llama.cpp splits the fused matrix by its shape, so it has the name of half of it.
    "mlp.gate_up": "ffn_up",
    "mlp.down": "ffn_down",
}
"""Names within a block by ours; equal for all families that are built."""
_WHOLE: Mapping[str, str] = {
    EMBED_WEIGHT: EMBEDDING,
    HEAD_WEIGHT: HEAD,
    "pos_embed.weight": "position_embd.weight",
    "final_norm.weight": "output_norm.weight",
    "final_norm.bias": "output_norm.bias",
}
_IN_BLOCK = re.compile(r"blocks\.(\d+)\.(.+)\.(weight|bias)")
_BY_PAIRS = ("attn.q", "attn.k")
_DERIVED = re.compile(r"blk\.\d+\.attn_rot_embd")
"""Tensors of old files that the metadata implies."""
_COMPARED = 2**20


@dataclass(frozen=True, slots=True)
class PlacedTensor:
    """A tensor of the model and its source."""

    key: TensorKey
    source: GgufTensor
    heads: int | None
    """Number of heads whose rows are stored pair by pair; `None` for rows in our order."""


def gguf_name(ours: str) -> str:
    """The name in a GGUF file by our name."""
    found = _IN_BLOCK.fullmatch(ours)
    if found is None:
        return _WHOLE[ours]
    layer, part, kind = found.groups()
    return f"blk.{layer}.{_PARTS[part]}.{kind}"


def placed_tensors(header: GgufHeader, config: ModelConfig) -> tuple[PlacedTensor, ...]:
    """Every tensor of the model with its source, in forward order.

    Raises:
        ModelError: With every tensor that is missing, unexpected, misshaped or of a type that
            holds no weights.
    """
    keys = {gguf_name(key.ours): key for key in tensor_keys(config)}
    if config.tie_word_embeddings:
        del keys[HEAD]
    found = {
        name: tensor
        for name, tensor in header.tensors.items()
        if name not in ROPE_TENSORS and not _DERIVED.match(name)
    }
    if config.tie_word_embeddings:
        found.pop(HEAD, None)
    where = str(header.path)
    problems = ProblemLog(where)
    described = {name: _Described(tensor.shape, tensor.type.name) for name, tensor in found.items()}
    shapes = {name: key.our_shape for name, key in keys.items()}
    for difference in tensor_differences(shapes, described, (*PLAIN_TYPES, *QUANTISED_TYPES)):
        problems.add([tensor_problem(GGUF_FILE, where, difference)])
    if problems:
        raise ModelError(*problems.shown())
    return tuple(PlacedTensor(key, found[name], _heads(key, config)) for name, key in keys.items())


def is_head_tied(header: GgufHeader) -> bool:
    """Whether the head is the embedding table: absent, or the same bytes again.

    Raises:
        ModelError: When the file cannot be read any more.
    """
    head, table = header.tensors.get(HEAD), header.tensors.get(EMBEDDING)
    if head is None or table is None:
        return head is None
    if (head.type, head.shape) != (table.type, table.shape):
        return False
    with open_ranges(header.path) as first, open_ranges(header.path) as second:
        pairs = zip(
            first.blocks(head.start, head.n_bytes, _COMPARED),
            second.blocks(table.start, table.n_bytes, _COMPARED),
            strict=True,
        )
        return all(one == other for one, other in pairs)


@dataclass(frozen=True, slots=True)
class _Described:
    """A tensor as `tensor_differences` compares it."""

    shape: tuple[int, ...]
    dtype: str


def _heads(key: TensorKey, config: ModelConfig) -> int | None:
    found = _IN_BLOCK.fullmatch(key.ours)
    if found is None or found[2] not in _BY_PAIRS or not config.family.gguf.paired_rotation:
        return None
    return config.n_heads if found[2] == _BY_PAIRS[0] else config.n_kv_heads
