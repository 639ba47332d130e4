"""Our side: the step of `vox mens train`, on a dense base or on one in NF4."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path

import torch
from shapes import DTYPES, Shape
from starting_point import (
    CLIP,
    RATE,
    SPEC,
    Prepared,
    block_modules,
    digest_of,
    initial_factors,
)
from torch import Tensor
from variants import Variant

from vox_populi.contract.setting_groups import OptimizationSettings
from vox_populi.hf.inventory import read_inventory
from vox_populi.kernel.adapted_objective import AdaptedObjective
from vox_populi.kernel.nf4_backend import choose_nf4_backend
from vox_populi.model.allocator import keep_freed_memory
from vox_populi.model.causal_graph import CausalGraph
from vox_populi.model.hf_load import load_base
from vox_populi.model.lora_transformer import attach_adapters
from vox_populi.model.nf4_load import load_nf4_base
from vox_populi.train.batches import pack_batches
from vox_populi.train.gradients import clip_gradients, forget_gradients
from vox_populi.train.optimizers.registry import build_optimizer
from vox_tensor.lora import FrozenLinear
from vox_tensor.nf4 import NestedScales, Nf4Tensor
from vox_tensor.nf4_levels import Nf4Settings
from vox_tensor.nf4_weight import DenseCopies, DensePool, Nf4Weight
from vox_tensor.records import EncodedRow


def prepare_ours(
    variant: Variant,
    shape: Shape,
    base: Path,
    device: torch.device,
    job: dict[str, int],
    *,
    is_timed: bool,
) -> Prepared:
    """Packed rows, supervised-only head, fused LoRA functions."""
    keep_freed_memory()
    pool = pool_of(variant, device)
    model = load(shape, base, device, pool)
    digest = None if pool is None else digest_of(nf4_parts(model, base))
    seconds = None if pool is None or not is_timed else time_dequantising(pool, device)
    modules = block_modules(base)
    adapted = attach_adapters(model, modules, SPEC)
    with torch.no_grad():
        for module, start in zip(modules, initial_factors(base).values(), strict=True):
            adapted[module.ours].a_RI.copy_(start)
    objective = AdaptedObjective(model, adapted, pool)
    parameters = tuple(objective.parameters().values())
    optimizer = build_optimizer(OptimizationSettings(weight_decay=0.0), objective.parameters())
    objective.set_training(active=True)

    def step(rows: Sequence[EncodedRow]) -> float:
        forget_gradients(parameters)
        count = sum(row.n_supervised for row in rows)
        total = 0.0
        for batch in pack_batches(rows, job["window_tokens"], device):
            loss = objective.loss_sum(batch) / count
            loss.backward()
            total += loss.item()
        clip_gradients(parameters, CLIP)
        optimizer.step(RATE)
        return total

    return Prepared(step, digest, seconds)


def pool_of(variant: Variant, device: torch.device) -> DensePool | None:
    """The pool that makes dense copies; a dense base needs none."""
    if variant.dense_copies is None:
        return None
    return DensePool(DenseCopies(variant.dense_copies), choose_nf4_backend(str(device)).dequantize)


def load(shape: Shape, base: Path, device: torch.device, pool: DensePool | None) -> CausalGraph:
    """Tensor by tensor; a base in NF4 is quantised as it comes."""
    inventory, dtype = read_inventory(base), DTYPES[shape.dtype]
    if pool is None:
        return load_base(inventory, dtype, device)
    return load_nf4_base(inventory, dtype, device, Nf4Settings(), pool)


def nf4_parts(model: CausalGraph, base: Path) -> list[Tensor]:
    """Codes and 8-bit magnitudes of every layer of the blocks, in forward order."""
    parts = []
    for module in block_modules(base):
        layer = model.get_submodule(module.ours)
        assert isinstance(layer, FrozenLinear)
        assert isinstance(layer.weight, Nf4Weight)
        scales = layer.weight.quantized.scales
        assert isinstance(scales, NestedScales), "the default is double quantisation"
        parts += [layer.weight.quantized.codes, scales.codes_B]
    return parts


def time_dequantising(pool: DensePool, device: torch.device) -> list[float]:
    """From now on, the seconds of every call of the pool's dequantiser."""
    seconds: list[float] = []
    dequantize = pool.dequantize

    def timed(quantized: Nf4Tensor, dtype: torch.dtype, out: Tensor | None) -> Tensor:
        started = now(device)
        dense = dequantize(quantized, dtype, out)
        seconds.append(now(device) - started)
        return dense

    pool.dequantize = timed
    return seconds


def now(device: torch.device) -> float:
    """Clock that waits for the device."""
    if device.type == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter()
