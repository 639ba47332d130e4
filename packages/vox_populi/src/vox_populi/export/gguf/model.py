"""Whole models as GGUF files for llama.cpp, written tensor by tensor and then read back.

Matrices become f32, f16, bf16 or q8_0; vectors, norms and learned positions stay f32. With q8_0,
matrices whose rows are not a multiple of a block become f16. Rows of q and k move as in
`gguf_file`.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from vox_populi import extras
from vox_populi.containers.tensor_reader import read_tensor
from vox_populi.errors import ArtifactError, EnvironmentFailure
from vox_populi.export.consumers import GgufType, name_alone
from vox_populi.export.gguf.file import rows_as_stored
from vox_populi.export.gguf.text import GgufText
from vox_populi.export.gguf.vocabulary import GgufVocabulary
from vox_populi.files.new_file import sync_file
from vox_populi.files.whole_file import writing
from vox_populi.hf.hub_name import folder_name
from vox_populi.hf.inventory import ModelInventory
from vox_populi.hf.keymap import (
    HEAD_WEIGHT,
    ProjectionRole,
    TensorKey,
    adapter_modules,
    tensor_keys,
)
from vox_populi.hf.model_config import ModelConfig
from vox_populi.hf.rope_config import RopeKind, RopeSpec
from vox_populi.operator_messages import export as say_export

BLOCK = 32
_BLOCK_BYTES = 34
_FILE_TYPES = {GgufType.F32: 0, GgufType.F16: 1, GgufType.Q8_0: 7, GgufType.BF16: 32}
_ROPE_FACTORS = "rope_freqs.weight"
_LONGROPE_FACTORS = ("rope_factors_long.weight", "rope_factors_short.weight")


@dataclass(frozen=True, slots=True, kw_only=True)
class GgufSource:
    """A model to write; its tensors are read when needed."""

    config: ModelConfig
    name: str
    """Display name of the model."""
    where: str
    """Place to report in problems."""
    tensors: Sequence[tuple[TensorKey, Callable[[], Tensor]]]
    """Tensors in float32, oriented as the base stores them."""


def stored_source(inventory: ModelInventory) -> GgufSource:
    """A model folder as stored."""
    config = inventory.config
    keys = [
        key
        for key in tensor_keys(config)
        if key.theirs in inventory.tensors
        and not (key.ours == HEAD_WEIGHT and config.tie_word_embeddings)
    ]
    return GgufSource(
        config=config,
        name=folder_name(inventory.model_dir),
        where=str(inventory.model_dir),
        tensors=[(key, _reader(inventory, key)) for key in keys],
    )


@dataclass(frozen=True, slots=True)
class _Stored:
    """One tensor of the file: how it is stored, and how to get it."""

    name: str
    kind: GgufType
    shape: tuple[int, ...]
    load: Callable[[], Tensor]


def gguf_context(config: ModelConfig) -> int:
    """Context length up to which llama.cpp computes the same.

    It has no sliding windows for these families, and chooses between LongRoPE's two lists by the
    context it is started with, not by the length of a text.
    """
    window = config.sliding_window if any(config.sliding_layers) else None
    rope, limits = config.rope, [config.max_positions, window]
    if rope is not None and rope.kind is RopeKind.LONGROPE:
        limits.append(rope.original_max_positions)
    return min(limit for limit in limits if limit is not None)


def write_model_gguf(
    path: Path,
    source: GgufSource,
    kind: GgufType,
    vocabulary: GgufVocabulary,
    text: GgufText,
) -> int:
    """Write a model and compare every tensor in the file; return their number.

    Args:
        path: A new file.
        source: The model.
        kind: Type of the matrices.
        vocabulary: The tokenizer's vocabulary.
        text: Chat templates and border tokens.

    Raises:
        MissingExtraError: Without the extra `gguf`.
        ArtifactError: For a model that the format cannot represent, or a weight beyond f16.
        EnvironmentFailure: When the system refuses, or the file reads back differently.
    """
    gguf = extras.load("gguf")
    config = source.config
    architecture = gguf.MODEL_ARCH[config.family.gguf.architecture]
    stored = list(_tensors(gguf, architecture, source, kind))
    with writing(path):
        writer = gguf.GGUFWriter(path, gguf.MODEL_ARCH_NAMES[architecture])
        _add_settings(gguf, writer, config, _display_name(source.name, vocabulary))
        _add_vocabulary(writer, vocabulary, text)
        writer.add_file_type(_FILE_TYPES[kind])
        writer.add_quantization_version(gguf.GGML_QUANT_VERSION)
        digests = _write_tensors(gguf, writer, stored, str(path))
        writer.close()
        sync_file(path)
    found = {tensor.name: _digest(tensor.data) for tensor in gguf.GGUFReader(path).tensors}
    for name in sorted(found.keys() | digests.keys()):
        if found.get(name) != digests.get(name):
            raise EnvironmentFailure(say_export.exported_file_differs(name).at(str(path)))
    return len(stored)


def _add_settings(gguf: Any, writer: Any, config: ModelConfig, name: str) -> None:
    writer.add_type(gguf.GGUFType.MODEL)
    writer.add_name(name)
    writer.add_block_count(config.n_layers)
    writer.add_context_length(gguf_context(config))
    writer.add_embedding_length(config.hidden_size)
    writer.add_feed_forward_length(config.intermediate_size)
    writer.add_head_count(config.n_heads)
    if config.rope is None:
        writer.add_layer_norm_eps(config.norm_eps)
        return
    writer.add_layer_norm_rms_eps(config.norm_eps)
    _add_scales(writer, config)
    writer.add_head_count_kv(config.n_kv_heads)
    writer.add_vocab_size(config.vocab_size)
    writer.add_key_length(config.head_dim)
    writer.add_value_length(config.head_dim)
    writer.add_rope_dimension_count(config.rotary_dim)
    writer.add_rope_freq_base(config.rope.theta)
    scaling = {RopeKind.LINEAR: "LINEAR", RopeKind.YARN: "YARN"}.get(config.rope.kind)
    if scaling is not None:
        writer.add_rope_scaling_type(gguf.RopeScalingType[scaling])
        writer.add_rope_scaling_factor(config.rope.factor)
    if config.rope.kind in (RopeKind.YARN, RopeKind.LONGROPE):
        writer.add_rope_scaling_orig_ctx_len(config.rope.original_max_positions)
    if config.rope.kind is RopeKind.YARN and config.family.gguf.yarn_is_unscaled:
        # The factor that follows from the stretch is divided by itself.
        writer.add_rope_scaling_yarn_log_mul(1.0)
    if config.rope.query_growth:
        writer.add_attn_temperature_scale(config.rope.query_growth)
    if config.rope.kind is RopeKind.LONGROPE:
        writer.add_rope_scaling_attn_factors(config.rope.attention_factor)


def _add_scales(writer: Any, config: ModelConfig) -> None:
    """The factors of a family that reads them from its config."""
    names = config.family.config
    if names.embedding_scale is not None:
        writer.add_embedding_scale(config.embedding_scale)
    if names.attention_scale is not None:
        writer.add_attention_scale(config.attention_scale)
    if names.residual_scale is not None:
        writer.add_residual_scale(config.residual_scale)
    if names.logit_divisor is not None:
        # Named a scale there too, and divided by.
        writer.add_logit_scale(1 / config.logit_scale)


def _display_name(name: str, vocabulary: GgufVocabulary) -> str:
    """The model's name; by it llama.cpp knows that control tokens swallow white space."""
    is_known = any(part in name.lower() for part in ("phi-3", "phi3"))
    return name if is_known or not vocabulary.strips_right else f"{name} (phi-3)"


def _add_vocabulary(writer: Any, vocabulary: GgufVocabulary, text: GgufText) -> None:
    writer.add_tokenizer_model(vocabulary.model)
    writer.add_tokenizer_pre(vocabulary.pre)
    writer.add_token_list(vocabulary.tokens)
    if vocabulary.scores:
        writer.add_token_scores(vocabulary.scores)
        writer.add_add_space_prefix(vocabulary.adds_space)
    else:
        writer.add_token_merges(vocabulary.merges)
    writer.add_token_types(vocabulary.types)
    if text.bos_id is not None:
        writer.add_bos_token_id(text.bos_id)
    if text.eos_id is not None:
        writer.add_eos_token_id(text.eos_id)
    if text.eot_id is not None:
        writer.add_eot_token_id(text.eot_id)
    if vocabulary.unknown_id is not None:
        writer.add_unk_token_id(vocabulary.unknown_id)
    # Rows are rendered with their control tokens; another in front would be one too many.
    writer.add_add_bos_token(False)
    if text.templates:
        named = [{"name": name, "template": each} for name, each in text.templates.items()]
        writer.add_chat_template(named)


def _tensors(gguf: Any, architecture: Any, source: GgufSource, kind: GgufType) -> Iterator[_Stored]:
    config = source.config
    names = gguf.get_tensor_name_map(architecture, config.n_layers)
    roles = {module.ours: module.roles[0] for module in adapter_modules(config)}
    if config.rope is not None:
        for name, factors in _rope_factors(config.rope, config.rotary_dim):
            yield _Stored(name, GgufType.F32, tuple(factors.shape), partial(_same, factors))
    for key, load in source.tensors:
        theirs = name_alone(config, key.theirs)
        name = names.get_name(theirs, try_suffixes=(".weight", ".bias"))
        assert name is not None, f"gguf knows no name for {key.theirs}"
        role = roles.get(key.ours.rpartition(".")[0])
        placed = _placed(key, load, role, config)
        yield _Stored(name, kind_of(key, kind), key.our_shape, placed)


def kind_of(key: TensorKey, kind: GgufType) -> GgufType:
    """The type of one tensor in a file whose matrices have the given type."""
    if len(key.shape) == 1 or key.ours == "pos_embed.weight":
        return GgufType.F32
    fits = key.our_shape[-1] % BLOCK == 0
    return GgufType.F16 if kind is GgufType.Q8_0 and not fits else kind


def _reader(inventory: ModelInventory, key: TensorKey) -> Callable[[], Tensor]:
    info = inventory.tensors[key.theirs]
    return lambda: read_tensor(inventory.model_dir / info.shard, info).float()


def _placed(
    key: TensorKey, load: Callable[[], Tensor], role: ProjectionRole | None, config: ModelConfig
) -> Callable[[], Tensor]:
    """The tensor as llama.cpp orders it, `[O, I]`."""

    def placed() -> Tensor:
        tensor = load()
        tensor = tensor.t() if key.transposed else tensor
        if role is not None:
            tensor = rows_as_stored(tensor, role, config)
        return tensor.contiguous()

    return placed


def _write_tensors(gguf: Any, writer: Any, stored: list[_Stored], where: str) -> dict[str, str]:
    """Write sizes, then the numbers, one tensor in memory at a time; return their digests."""
    probe = torch.empty(0)
    types = gguf.GGMLQuantizationType
    for each in stored:
        shape, values = each.shape, math.prod(each.shape)
        if each.kind is GgufType.Q8_0:
            as_bytes = (*shape[:-1], shape[-1] // BLOCK * _BLOCK_BYTES)
            dtype = probe.to(torch.uint8).numpy().dtype
            n_bytes = math.prod(as_bytes)
            writer.add_tensor_info(each.name, as_bytes, dtype, n_bytes, raw_dtype=types.Q8_0)
        elif each.kind is GgufType.BF16:
            as_bytes = (*shape[:-1], shape[-1] * 2)
            dtype = probe.to(torch.uint8).numpy().dtype
            writer.add_tensor_info(each.name, as_bytes, dtype, 2 * values, raw_dtype=types.BF16)
        elif each.kind is GgufType.F16:
            writer.add_tensor_info(each.name, shape, probe.half().numpy().dtype, 2 * values)
        else:
            writer.add_tensor_info(each.name, shape, probe.numpy().dtype, 4 * values)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_ti_data_to_file()
    digests: dict[str, str] = {}
    for each in stored:
        array = _array(gguf, each, where)
        digests[each.name] = _digest(array)
        writer.write_tensor_data(array)
    return digests


def _array(gguf: Any, each: _Stored, where: str) -> Any:
    tensor = each.load()
    if each.kind is GgufType.BF16:
        # numpy has no bfloat16; the bytes are what counts.
        return tensor.to(torch.bfloat16).view(torch.uint8).numpy()
    limit = torch.finfo(torch.float16).max
    # A q8_0 block's scale is an f16 of a 127th of its largest value.
    limit = limit * 127 if each.kind is GgufType.Q8_0 else limit
    if each.kind is not GgufType.F32 and not bool((tensor.abs() <= limit).all()):
        raise ArtifactError(say_export.gguf_value_too_large(each.name, each.kind).at(where))
    if each.kind is GgufType.Q8_0:
        return gguf.quants.quantize(tensor.numpy(), gguf.GGMLQuantizationType.Q8_0)
    return (tensor.half() if each.kind is GgufType.F16 else tensor).numpy()


def _rope_factors(rope: RopeSpec, dim: int) -> Iterator[tuple[str, Tensor]]:
    """Tensors with the divisor of each frequency, if settings cannot express it."""
    if rope.kind is RopeKind.LLAMA3:
        yield _ROPE_FACTORS, _llama3_factors(rope, dim)
    if rope.kind is RopeKind.LONGROPE:
        long_name, short_name = _LONGROPE_FACTORS
        yield long_name, torch.tensor(rope.long_factors)
        yield short_name, torch.tensor(rope.short_factors)


def _same(tensor: Tensor) -> Tensor:
    return tensor


def _llama3_factors(rope: RopeSpec, head_dim: int) -> Tensor:
    """Divisor of each frequency (Llama 3.1's rule), `[head_dim / 2]`."""
    low, high, length = rope.low_freq_factor, rope.high_freq_factor, rope.original_max_positions
    assert low is not None
    assert high is not None
    assert length is not None
    factors = []
    for index in range(0, head_dim, 2):
        turns = length / (2 * math.pi * rope.theta ** (index / head_dim))
        smooth = min(max((turns - low) / (high - low), 0.0), 1.0)
        factors.append(1 / ((1 - smooth) / rope.factor + smooth))
    return torch.tensor(factors)


def _digest(array: Any) -> str:
    return hashlib.sha256(array.tobytes()).hexdigest()
