"""How much memory a run will need, term by term, from shapes alone. No torch here.

Letters: T tokens of a window, D model width, Q query features, K key (or value) features,
F MLP width, L layers, V vocabulary, R rank, s bytes of a value in the compute dtype.

What recomputation leaves of the activations is in `kept_per_token`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil, prod
from typing import NamedTuple

from vox_populi.containers.dtypes import BYTES_OF_VALUE
from vox_populi.contract.choices import ActivationMemoryChoice
from vox_populi.contract.optimizer_choice import OPTIMIZERS, OptimizerKind
from vox_populi.hf.keymap import AdapterModule, tensor_keys
from vox_populi.hf.model_config import ModelConfig
from vox_populi.plan.expert_memory import kept_by_experts, share_of_tokens, width_as_mlp
from vox_tensor.lora_spec import LoraSpec, lora_shapes

CAPPED_SCORES = 2**22
"""Scores in memory at a time where attention has a soft cap, as `vox_tensor.capped_attention`."""
LOSS_CHUNK_ROWS = 256
"""`vox_tensor.head_loss.CHUNK_ROWS`, which needs torch to be read; a test compares."""

CPU_RUNTIME_BYTES = 320 * 2**20
"""Resident set of an interpreter with torch, its optimizers and tokenizers, before any model:
319 MiB with torch 2.13 for CPUs on Linux."""

CUDA_RUNTIME_BYTES = 512 * 2**20
"""Kernels that are loaded at first use, workspaces of cuBLAS, and what an allocator of blocks of
2 to 20 MiB cannot fill. The context is not included, because free memory already excludes it.
An allowance, not a measurement."""

METAL_RUNTIME_BYTES = CPU_RUNTIME_BYTES + 512 * 2**20
"""The interpreter, since memory is shared, and compiled graphs and command buffers. An allowance,
not measured."""

_RUNTIME_BYTES = {
    "cpu": CPU_RUNTIME_BYTES,
    "cuda": CUDA_RUNTIME_BYTES,
    "mps": METAL_RUNTIME_BYTES,
}
"""Runtime bytes by torch's name of the device; others are assumed to be like CUDA."""

_F32 = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class MemoryEstimate:
    """Bytes by what they are for. Activations are the terms that a window's size decides."""

    weights: int
    """Frozen base, held in the compute dtype: parameters * s. A tied head counts once. Of a base
    in NF4 those that are not: embeddings, head, norms and biases."""
    adapter: int
    """Factors A and B of every adapted layer in f32: sum of R * (in + out) * 4."""
    gradients: int
    """One f32 value per adapter value."""
    optimizer: int
    """What the optimizer keeps by `OPTIMIZERS`: with AdamW two f32 moments per adapter value."""
    activations: int
    """What the forward pass keeps for the backward pass: T * (`kept_per_token` + 2 D) * s, the
    last term for the final norm's input and the gradient that the loss makes."""
    working: int
    """Temporaries of the largest block's backward pass: T * (max(4 F, 8 Q) + 2 D) * s, and with a
    soft cap of attention the scores that are in memory at a time, four times. A mixture of experts
    is counted as if one expert computed every token: `_widest_mlp`."""
    loss_chunk: int
    """Logits and their gradient for one chunk of supervised positions, in f32: C * V * 4 * 2,
    with C = min(256, T); with a soft cap of the logits also its slope, C * V * 4."""
    runtime: int
    """Interpreter and libraries, or what a GPU's libraries take of its memory."""
    packed_weights: int = 0
    """Codes and magnitudes of the layers that are in NF4."""
    dense_copies: int = 0
    """Their dense copies at the peak: one buffer for the largest matrix, or all of them."""
    host: int = 0
    """Inputs of the blocks in the host's memory: T * L * D * s. Not a term of the device's."""
    gathered: int = 0
    """The part of a base held together that one process gathers to compute with: the largest block
    twice, since it is copied from what the others sent, or the head, less the dense copies that are
    let go of for it."""
    exchange: int = 0
    """What several processes send, receive and add: the gradients three times."""

    @property
    def total(self) -> int:
        """Estimated peak; the terms are all alive together in the worst moment."""
        return sum(bytes_ for _, bytes_ in self.terms())

    def terms(self) -> tuple[tuple[str, int], ...]:
        """Name and bytes of each term; those of a base in NF4 only where there is one."""
        quantized = (
            ("packed_weights", self.packed_weights),
            ("dense_copies", self.dense_copies),
        )
        return (
            ("weights", self.weights),
            *(quantized if self.packed_weights else ()),
            *((("gathered", self.gathered),) if self.gathered else ()),
            ("adapter", self.adapter),
            ("gradients", self.gradients),
            *((("exchange", self.exchange),) if self.exchange else ()),
            ("optimizer", self.optimizer),
            ("activations", self.activations),
            ("working", self.working),
            ("loss_chunk", self.loss_chunk),
            ("runtime", self.runtime),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class PackedBase:
    """The part of a base that is in NF4."""

    values: int
    """How many values it has."""
    packed_bytes: int
    dense_copies: int
    """Bytes of dense copies at the peak."""


class AdapterSize(NamedTuple):
    """Bytes of an adapter that is trained."""

    values: int
    """A and B of every layer, in f32."""
    optimizer: int
    """What the optimizer keeps for them."""


def adapter_size(
    modules: Sequence[AdapterModule], rank: int, optimizer: OptimizerKind
) -> AdapterSize:
    """The size of an adapter on these layers."""
    shapes = [shape for m in modules for shape in lora_shapes(m.in_features, m.out_features, rank)]
    values = _F32 * sum(prod(shape) for shape in shapes)
    return AdapterSize(values, OPTIMIZERS[optimizer].state_bytes(shapes))


@dataclass(frozen=True, slots=True)
class WorkingSet:
    """What decides the size of a forward pass, besides the model."""

    tokens: int
    """Most tokens of a window."""
    compute_dtype: str
    """`float32` or `bfloat16`."""
    device: str
    """torch's name: `cpu`, `cuda` or `mps`."""
    kept: ActivationMemoryChoice = ActivationMemoryChoice.NONE
    """What the blocks keep; not `auto`."""


def estimate_memory(
    config: ModelConfig,
    modules: Sequence[AdapterModule],
    lora: LoraSpec,
    work: WorkingSet,
    packed: PackedBase | None = None,
    optimizer: OptimizerKind = OptimizerKind.ADAMW,
) -> MemoryEstimate:
    """Estimate the peak of a training step of the full graph.

    Args:
        config: The base model.
        modules: Layers that carry an adapter.
        lora: Rank and dropout.
        work: Window, dtype and device.
        packed: What of the base is in NF4, if anything.
        optimizer: What updates the adapter.
    """
    size = BYTES_OF_VALUE[work.compute_dtype]
    adapter = adapter_size(modules, lora.rank, optimizer)
    is_offloaded = work.kept is ActivationMemoryChoice.OFFLOAD and work.device == "cuda"
    # Without memory of its own a device keeps the inputs where they are.
    is_full = work.kept is ActivationMemoryChoice.OFFLOAD and not is_offloaded
    kept = ActivationMemoryChoice.FULL if is_full else work.kept
    saved = kept_per_token(config, modules if lora.dropout else (), kept) + 2 * config.hidden_size
    inputs = config.n_layers * config.hidden_size if is_offloaded else 0
    widest = max(4 * _widest_mlp(config), 8 * config.q_features) + 2 * config.hidden_size
    capped = 0 if config.attention_cap is None else 4 * CAPPED_SCORES * _F32
    buffers = 2 if config.logit_cap is None else 3
    return MemoryEstimate(
        weights=size * (count_parameters(config) - (packed.values if packed else 0)),
        packed_weights=packed.packed_bytes if packed else 0,
        dense_copies=packed.dense_copies if packed else 0,
        adapter=adapter.values,
        gradients=adapter.values,
        optimizer=adapter.optimizer,
        activations=work.tokens * saved * size,
        working=work.tokens * widest * size + capped,
        host=work.tokens * inputs * size,
        loss_chunk=min(LOSS_CHUNK_ROWS, work.tokens) * config.vocab_size * _F32 * buffers,
        runtime=_RUNTIME_BYTES.get(work.device, CUDA_RUNTIME_BYTES),
    )


def estimate_proxy_memory(
    config: ModelConfig,
    modules: Sequence[AdapterModule],
    lora: LoraSpec,
    work: WorkingSet,
    packed: PackedBase,
    optimizer: OptimizerKind = OptimizerKind.ADAMW,
) -> MemoryEstimate:
    """Estimate the peak of a training step of the proxy graph, where a token is a position.

    Every layer keeps its input and every middle layer its norm's; dense is the embedding table.

    Args:
        config: The base model.
        modules: The stack: middle layers and head, all of them in NF4.
        lora: Rank and dropout.
        work: Learned positions, dtype and device.
        packed: The stack in NF4.
        optimizer: What updates the adapter.
    """
    size, width = BYTES_OF_VALUE[work.compute_dtype], config.hidden_size
    adapter = adapter_size(modules, lora.rank, optimizer)
    saved = 2 * len(modules) + (len(modules) if lora.dropout else 0) + 2
    return MemoryEstimate(
        weights=size * config.vocab_size * width,
        packed_weights=packed.packed_bytes,
        dense_copies=packed.dense_copies,
        adapter=adapter.values,
        gradients=adapter.values,
        optimizer=adapter.optimizer,
        activations=work.tokens * saved * width * size,
        working=work.tokens * 4 * width * size,
        loss_chunk=min(LOSS_CHUNK_ROWS, work.tokens) * config.vocab_size * _F32 * 2,
        runtime=_RUNTIME_BYTES.get(work.device, CUDA_RUNTIME_BYTES),
    )


def kept_per_token(
    config: ModelConfig, masked: Sequence[AdapterModule], kept: ActivationMemoryChoice
) -> int:
    """Values that the blocks keep per token at the peak, with dropout masks.

    - `none`: L blocks of `activations_per_token`, and a mask for each layer with dropout;
    - `selective`: of the MLPs only one, which is being computed again, has more than its input;
    - `full`: L D for the inputs of the blocks, and one block that is being computed again;
    - `offload`: that block, and 2 D for the inputs on their way to the host and back.

    Args:
        config: The base model.
        masked: Layers with a dropout mask.
        kept: Not `auto`.
    """
    n_layers, width = config.n_layers, config.hidden_size
    of_mlps = ceil(sum(mask_size(module, config) for module in masked if ".mlp." in module.ours))
    masks = ceil(sum(mask_size(module, config) for module in masked))
    outside, in_mlps = _outside_mlp(config), _in_mlps(config)
    block = activations_per_token(config)
    match kept:
        case ActivationMemoryChoice.SELECTIVE:
            repeated = max(in_mlps) + -(-of_mlps // n_layers)
            return n_layers * outside + (masks - of_mlps) + repeated
        case ActivationMemoryChoice.FULL:
            return n_layers * width + block + -(-masks // n_layers)
        case ActivationMemoryChoice.OFFLOAD:
            return 2 * width + block + -(-masks // n_layers)
        case _:
            return n_layers * outside + sum(in_mlps) + masks


def activations_per_token(config: ModelConfig) -> int:
    """Values that the largest block keeps per token: `2 D (+ 2 D) + 2 Q + 2 K + H (+ Q + K) + 2 F`.

    - 2 D: the inputs of the two norms, or of attention and MLP; what norms return is made again;
    - 2 D: what attention and MLP return, in families that have norms there;
    - 2 Q + 2 K: query, key and value as attention reads them, and its result, which `o` reads;
    - H: one logarithm of a sum per query head;
    - Q + K: queries and keys before their norms, in families that have those;
    - 2 F: gate and up; F without a gate. Their product is computed again. Of a mixture see
      `expert_memory.kept_by_experts`.

    Low-rank products, rotations, softmax and the results of `o` and `down` keep nothing. A
    sliding window shorter than a row keeps attention's result once more.
    """
    return _outside_mlp(config) + max(_in_mlps(config))


def _outside_mlp(config: ModelConfig) -> int:
    attention = 2 * config.q_features + 2 * config.kv_features + config.n_heads
    if config.qk_norm:
        attention += config.q_features + config.kv_features
    # The MLP counts its own.
    inputs = (3 if config.post_norms else 2) * config.hidden_size
    return inputs + attention


def _in_mlps(config: ModelConfig) -> list[int]:
    """Values per token that the MLP of every layer keeps besides its input."""
    output = config.hidden_size if config.post_norms else 0
    dense = (2 if config.gated_mlp else 1) * config.intermediate_size
    mixture = kept_by_experts(config)
    return [
        output + (mixture if config.is_mixture(layer) else dense)
        for layer in range(config.n_layers)
    ]


def _widest_mlp(config: ModelConfig) -> int:
    layers = range(config.n_layers)
    dense = 0 if all(map(config.is_mixture, layers)) else config.intermediate_size
    return max(dense, width_as_mlp(config))


def mask_size(module: AdapterModule, config: ModelConfig) -> float:
    """Elements of a dropout mask per token."""
    share = share_of_tokens(config) if module.in_expert else 1.0
    return module.in_features * share


def count_parameters(config: ModelConfig) -> int:
    """Values of the base model; a tied head is part of the embedding."""
    return sum(prod(key.shape) for key in tensor_keys(config) if key.required)
