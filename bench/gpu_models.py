"""Models with random weights, made on the device tensor by tensor; ours and the peer's are equal.

A weight is drawn by a generator that its checkpoint name seeds, so two processes, and two programs,
hold the same model without a file between them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any
from zlib import crc32

import torch
from gpu_shapes import RANK, GpuShape
from torch import Tensor, nn

from vox_populi.contract.setting_groups import OptimizationSettings
from vox_populi.hf.keymap import ProjectionRole, adapter_modules, block_weight_keys, tensor_keys
from vox_populi.hf.model_config import ModelConfig, parse_model_config
from vox_populi.kernel.adapted_objective import AdaptedObjective
from vox_populi.kernel.attention_backend import attention_notes
from vox_populi.kernel.nf4_backend import choose_nf4_backend
from vox_populi.kernel.pointwise_backend import pointwise_notes
from vox_populi.model.lora_transformer import attach_adapters
from vox_populi.model.transformer import Transformer
from vox_populi.train.gradients import clip_gradients, forget_gradients
from vox_populi.train.optimizers.registry import build_optimizer
from vox_tensor.lora import FrozenLinear
from vox_tensor.lora_spec import LoraSpec
from vox_tensor.nf4 import quantize_nf4
from vox_tensor.nf4_weight import DenseCopies, DensePool, Nf4Weight
from vox_tensor.records import EncodedRow

RATE, CLIP = 2e-4, 1.0
_SPREAD = 0.02


@dataclass(frozen=True, slots=True)
class Stepper:
    """A model that is ready to learn."""

    step: Callable[[Sequence[EncodedRow]], tuple[float, float]]
    """One optimizer step on rows; its mean loss and the norm of its gradient."""
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Made:
    """How a model is made."""

    device: torch.device
    dtype: torch.dtype
    draw_on: str
    """Device that draws the weights: generators of two kinds of devices draw different ones."""
    copies: str | None = None
    """QLoRA, with dense copies under this policy; `None`: LoRA."""


def drawn(name: str, shape: tuple[int, ...], made: Made) -> Tensor:
    """The weight of a name in bf16's values, in the dtype and on the device of the model."""
    if len(shape) == 1:
        return torch.ones(shape, dtype=made.dtype, device=made.device)
    generator = torch.Generator(device=made.draw_on).manual_seed(crc32(name.encode()))
    noise = torch.randn(shape, generator=generator, device=made.draw_on, dtype=torch.float32)
    return noise.mul_(_SPREAD).to(torch.bfloat16).to(made.device).to(made.dtype)


def random_base(config: ModelConfig, made: Made, pool: DensePool | None) -> Transformer:
    """Our transformer, with the linear layers of its blocks in NF4 if there is a pool."""
    with torch.device("meta"):
        model = Transformer(config)
    packed = {key.ours for key in block_weight_keys(config)} if pool is not None else set()
    state: dict[str, Tensor] = {}
    for key in tensor_keys(config):
        if not key.required:
            continue
        weight = drawn(key.theirs, key.our_shape, made)
        if pool is not None and key.ours in packed:
            parent, _, child = key.ours.removesuffix(".weight").rpartition(".")
            frozen = FrozenLinear(Nf4Weight(quantize_nf4(weight), pool))
            setattr(model.get_submodule(parent), child, frozen)
        else:
            state[key.ours] = weight
    model.load_state_dict(state, strict=False, assign=True)
    model.tie_head()
    return model.requires_grad_(requires_grad=False).eval()


def our_stepper(shape: GpuShape, made: Made) -> Stepper:
    """Our step, as `vox mens train` computes it."""
    config = parse_model_config(shape.config, shape.name)
    pool: DensePool | None = None
    notes: tuple[str, ...] = ()
    if made.copies is not None:
        backend = choose_nf4_backend(str(made.device), made.dtype)
        pool, notes = DensePool(DenseCopies(made.copies), backend.dequantize), backend.notes
    model = random_base(config, made, pool)
    modules = [m for m in adapter_modules(config) if ProjectionRole.LM_HEAD not in m.roles]
    adapted = attach_adapters(model, modules, LoraSpec(rank=RANK, alpha=2.0 * RANK))
    for module in modules:
        layer = adapted[module.ours]
        _start(module.theirs, layer.a_RI, layer.b_OR, made)
    objective = AdaptedObjective(model, adapted, pool)
    parameters = tuple(objective.parameters().values())
    optimizer = build_optimizer(OptimizationSettings(weight_decay=0.0), objective.parameters())
    objective.set_training(active=True)

    def step(rows: Sequence[EncodedRow]) -> tuple[float, float]:
        forget_gradients(parameters)
        count = objective.normaliser(rows)
        losses = []
        for loss_sum in objective.loss_sums(rows, shape.window_tokens):
            (loss_sum / count).backward()
            losses.append(loss_sum.detach())
        norm = clip_gradients(parameters, CLIP)
        optimizer.step(RATE)
        return sum(loss.item() for loss in losses) / count, norm.item()

    kind = (str(made.device), made.dtype, config)
    return Stepper(step, (*notes, *attention_notes(*kind), *pointwise_notes(*kind)))


def _block_modules(shape: GpuShape) -> dict[str, str]:
    """The linear layers of the blocks: the checkpoint's path of each, and ours."""
    config = parse_model_config(shape.config, shape.name)
    modules = adapter_modules(config)
    return {m.theirs: m.ours for m in modules if ProjectionRole.LM_HEAD not in m.roles}


def _start(name: str, a_RI: Tensor, b_OR: Tensor, made: Made) -> None:
    """A small A and B: with B at zero the gradient of A would be zero in the first step."""
    exact = Made(device=made.device, dtype=torch.float32, draw_on=made.draw_on)
    with torch.no_grad():
        a_RI.copy_(drawn(f"{name}.a", tuple(a_RI.shape), exact))
        b_OR.copy_(drawn(f"{name}.b", tuple(b_OR.shape), exact).mul_(0.1))


def peft_stepper(shape: GpuShape, made: Made, rows_at_a_time: int) -> Stepper:
    """The loop that most people write with PEFT: padded batches, accumulation, SDPA."""
    from peer_step import pad  # noqa: PLC0415 - our parts would wait seconds for these
    from peft import LoraConfig, get_peft_model  # noqa: PLC0415 - as above
    from transformers import AutoConfig, AutoModelForCausalLM  # noqa: PLC0415 - as above

    settings: Any = dict(shape.config)
    config = AutoConfig.for_model(**settings)
    auto: Any = AutoModelForCausalLM
    with torch.device(made.device):
        dense = auto.from_config(config, dtype=made.dtype, attn_implementation="sdpa")
    with torch.no_grad():
        for name, parameter in dense.named_parameters():
            parameter.copy_(drawn(name, tuple(parameter.shape), made))
    targets = sorted({path.rpartition(".")[2] for path in _block_modules(shape)})
    lora = LoraConfig(
        r=RANK, lora_alpha=2 * RANK, lora_dropout=0.0, target_modules=targets, task_type="CAUSAL_LM"
    )
    model: Any = get_peft_model(dense, lora)
    for name, layer in model.base_model.model.named_modules():
        if hasattr(layer, "lora_A"):
            _start(name, layer.lora_A["default"].weight, layer.lora_B["default"].weight, made)
    parameters = [p for p in model.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(parameters, lr=RATE, weight_decay=0.0)
    model.train()

    def step(rows: Sequence[EncodedRow]) -> tuple[float, float]:
        optimizer.zero_grad(set_to_none=True)
        count = sum(row.n_supervised for row in rows)
        total = 0.0
        for start in range(0, len(rows), rows_at_a_time):
            inputs = pad(rows[start : start + rows_at_a_time], made.device)
            loss = model(**inputs, num_items_in_batch=count, use_cache=False).loss
            loss.backward()
            total += loss.item()
        norm = nn.utils.clip_grad_norm_(parameters, CLIP)
        optimizer.step()
        return total, norm.item()

    return Stepper(step)
