"""Checking that a device computes the same as the CPU: a few steps of a tiny model. Needs torch."""

from __future__ import annotations

import math
from functools import cache

import torch
from torch import Tensor, nn

from vox_populi.containers.torch_dtypes import TORCH_DTYPES
from vox_populi.contract.setting_groups import OptimizationSettings
from vox_populi.errors import first_line
from vox_populi.hf.keymap import adapter_modules
from vox_populi.hf.model_config import parse_model_config
from vox_populi.infer.cached_model import CachedModel
from vox_populi.kernel.adapted_objective import AdaptedObjective
from vox_populi.model.lora_transformer import attach_adapters
from vox_populi.model.transformer import Transformer
from vox_populi.train.gradients import clip_gradients, forget_gradients
from vox_populi.train.optimizers.registry import build_optimizer
from vox_tensor.collate import collate_window
from vox_tensor.lora import FrozenLinear
from vox_tensor.lora_spec import LoraSpec
from vox_tensor.nf4 import quantize_nf4
from vox_tensor.nf4_weight import DensePool, Nf4Weight
from vox_tensor.records import EncodedRow

_ALLOWED = {"float32": 1e-3, "bfloat16": 1e-1}
"""Allowed relative difference of a number: a hundred times the effect of summing in a different
order. A wrong kernel is off by more than that."""
_STEPS, _RATE = 3, 1e-2

_WIDTH, _VOCAB = 32, 64
_CONFIG = {
    "model_type": "mistral",
    "vocab_size": _VOCAB,
    "hidden_size": _WIDTH,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 32,
    "sliding_window": 8,
    "rms_norm_eps": 1e-5,
    "rope_theta": 10000.0,
    "tie_word_embeddings": True,
}
"""Grouped heads, and a window that some rows exceed and others do not."""


@cache
def step_failure(device: str, dtype: str = "float32") -> str | None:
    """The failure of training and answering on a device; `None` if there is none.

    Losses and scores are compared with the CPU's. Dense and NF4 layers take part, and a step
    with dropout, whose mask is the device's own and whose loss therefore only has to be finite.

    Args:
        device: torch's name.
        dtype: Dtype of weights and activations: `float32` or `bfloat16`.
    """
    try:
        found = _numbers(device, dtype)
    except (RuntimeError, TypeError, ValueError, AttributeError) as error:
        return f"{type(error).__name__}: {first_line(error)}"
    pairs = zip(found, _numbers("cpu", dtype), strict=True)
    off = [abs(ours - cpus) / max(1.0, abs(cpus)) for ours, cpus in pairs]
    # Each is asked for itself: a NaN would slip through a maximum.
    wrong = [difference for difference in off if not difference <= _ALLOWED[dtype]]
    if not wrong:
        return None
    return f"its numbers in a step of training differ from the CPU's by {wrong[0]:.1g}"


def _numbers(device: str, dtype: str) -> list[float]:
    """Loss, gradient norm of each step, and scores of an answer afterwards."""
    objective = _objective(device, dtype)
    rows = _rows()
    parameters = tuple(objective.parameters().values())
    optimizer = build_optimizer(OptimizationSettings(), objective.parameters())
    batch = collate_window(rows, device)
    found = []
    objective.set_training(active=False)
    for _ in range(_STEPS):
        forget_gradients(parameters)
        loss = objective.loss_sum(batch) / batch.n_supervised
        loss.backward()
        norm = clip_gradients(parameters, 1.0)
        optimizer.step(_RATE)
        found += [loss.item(), norm.item()]
    objective.set_training(active=True)
    dropped = objective.loss_sum(batch)
    dropped.backward()
    if not math.isfinite(dropped.item()):
        message = "a loss with dropout is not finite"
        raise ValueError(message)
    model = CachedModel(objective.model)
    ids = list(rows[0].ids)
    for length in (len(ids) - 3, len(ids) - 2, len(ids)):
        found += model.next_logits(ids[:length]).float().tolist()
    return found


def _objective(device: str, dtype: str) -> AdaptedObjective[Transformer]:
    config = parse_model_config(_CONFIG, "trial")
    with torch.device("meta"):
        model = Transformer(config)
    generator = torch.Generator().manual_seed(0)
    state = {
        name: _drawn(parameter, generator).to(TORCH_DTYPES[dtype]).to(device)
        for name, parameter in model.named_parameters()
    }
    model.load_state_dict(state, strict=False, assign=True)
    model.tie_head()
    _quantize_first_block(model, device)
    spec, dropout = LoraSpec(rank=4, dropout=0.1), torch.Generator(device=device)
    adapted = attach_adapters(model, adapter_modules(config), spec, generator, dropout)
    with torch.no_grad():
        for layer in adapted.values():
            # With B at zero nothing would reach A's gradient.
            layer.b_OR.copy_(torch.randn(layer.b_OR.shape, generator=generator) * 0.1)
    return AdaptedObjective(model, adapted)


def _drawn(parameter: Tensor, generator: torch.Generator) -> Tensor:
    noise = torch.randn(parameter.shape, generator=generator)
    return 1.0 + 0.2 * noise if parameter.dim() == 1 else noise / _WIDTH**0.5


def _quantize_first_block(model: Transformer, device: str) -> None:
    pool, block = DensePool(), model.blocks[0]
    for name, layer in list(block.named_modules()):
        if isinstance(layer, nn.Linear):
            packed = quantize_nf4(layer.weight.cpu()).to(device)
            parent, _, child = name.rpartition(".")
            setattr(block.get_submodule(parent), child, FrozenLinear(Nf4Weight(packed, pool)))


def _rows() -> list[EncodedRow]:
    generator = torch.Generator().manual_seed(1)
    drawn = (torch.randint(0, _VOCAB, (n,), generator=generator).tolist() for n in (20, 5, 11))
    return [EncodedRow(tuple(ids), tuple(ids), line) for line, ids in enumerate(drawn, start=1)]
