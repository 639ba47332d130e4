"""Between its first kernel and its last a step never waits for the device."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from vox_populi.contract.setting_groups import OptimizationSettings
from vox_populi.hf.keymap import adapter_modules
from vox_populi.hf.model_config import parse_model_config
from vox_populi.kernel.adapted_objective import AdaptedObjective
from vox_populi.model.lora_transformer import attach_adapters
from vox_populi.model.transformer import Transformer
from vox_populi.train.gradients import clip_gradients, forget_gradients
from vox_populi.train.optimizers.registry import build_optimizer
from vox_tensor.lora import FrozenLinear
from vox_tensor.lora_spec import LoraSpec
from vox_tensor.nf4 import quantize_nf4
from vox_tensor.nf4_weight import DensePool, Nf4Weight
from vox_tensor.records import EncodedRow

WAITING = {
    "_local_scalar_dense", "is_nonzero", "equal", "nonzero", "masked_select", "_unique2",
    "repeat_interleave.Tensor", "index.Tensor",
}  # fmt: skip
"""Operations whose result, or its size, the host must know: on a GPU it waits for all before."""

SIZES: Mapping[str, object] = {
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "vocab_size": 64,
    "max_position_embeddings": 64,
}
CONFIGS: Mapping[str, Mapping[str, object]] = {
    "llama": {},
    "qwen3": {"head_dim": 8},
    "mistral": {"sliding_window": 5},
    "phi3": {
        "original_max_position_embeddings": 16,
        "pad_token_id": 0,
        "rope_scaling": {
            "type": "longrope",
            "short_factor": [1.0, 1.1, 1.2, 1.3],
            "long_factor": [2.0, 2.1, 2.2, 2.3],
        },
    },
}


class Watch(TorchDispatchMode):
    """Notes operations that wait."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]  # torch's own, unannotated
        self.found: list[str] = []
        self.n_operations = 0

    def __torch_dispatch__(
        self, func: Any, types: object, args: Sequence[Any] = (), kwargs: Any = None
    ) -> Any:
        del types
        kwargs = kwargs or {}
        name = str(func._schema.name).removeprefix("aten::")
        full = f"{name}.{func._schema.overload_name}"
        self.n_operations += 1
        knows_size = kwargs.get("output_size") is not None
        if full == "index.Tensor":
            # By a mask, whose ones must be counted; by numbers it is a plain gather.
            knows_size = all(each is None or each.dtype != torch.bool for each in args[1])
        if (name in WAITING or full in WAITING) and not knows_size:
            self.found.append(full)
        return func(*args, **kwargs)


def objective(family: str, *, is_quantized: bool) -> AdaptedObjective[Transformer]:
    config = parse_model_config({"model_type": family, **SIZES, **CONFIGS[family]}, "config.json")
    model = Transformer(config)
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator) * 0.1)
    model.requires_grad_(requires_grad=False)
    pool = DensePool() if is_quantized else None
    for name, layer in list(model.blocks.named_modules()):
        if pool is not None and isinstance(layer, nn.Linear):
            parent, _, child = name.rpartition(".")
            frozen = FrozenLinear(Nf4Weight(quantize_nf4(layer.weight), pool))
            setattr(model.blocks.get_submodule(parent), child, frozen)
    spec = LoraSpec(rank=4, dropout=0.1)
    adapted = attach_adapters(model, adapter_modules(config), spec, generator, generator)
    return AdaptedObjective(model, adapted, pool)


def rows() -> list[EncodedRow]:
    drawn = torch.randint(64, (3, 20), generator=torch.Generator().manual_seed(1)).tolist()
    ids = [tuple(each[:n]) for each, n in zip(drawn, (20, 7, 12), strict=True)]
    return [EncodedRow(each, each, line) for line, each in enumerate(ids, start=1)]


@pytest.mark.parametrize("is_quantized", [False, True])
@pytest.mark.parametrize("family", CONFIGS)
def test_passes_clipping_and_update_ask_for_no_value(family: str, *, is_quantized: bool) -> None:
    model, learned = objective(family, is_quantized=is_quantized), rows()
    optimizer = build_optimizer(OptimizationSettings(), model.parameters())
    parameters = tuple(model.parameters().values())
    model.set_training(active=True)
    losses: list[Tensor] = []
    with Watch() as watch:
        for _ in range(2):
            forget_gradients(parameters)
            for loss_sum in model.loss_sums(learned, 24):
                (loss_sum / model.normaliser(learned)).backward()
                losses.append(loss_sum.detach())
            clip_gradients(parameters, 1.0)
            optimizer.step(1e-3)
    assert watch.found == []
    assert watch.n_operations > 500
    assert len(losses) == 4
    assert losses[0].item() > losses[2].item() > 0, "it must have learned something"


def test_the_watch_sees_what_waits() -> None:
    with Watch() as watch:
        values = torch.arange(3)
        assert values.sum().item() == 3
        assert len(values[values > 1]) == 1
        values.repeat_interleave(values)
        values.repeat_interleave(values, output_size=3)
    assert sorted(watch.found) == [
        "_local_scalar_dense.", "index.Tensor", "repeat_interleave.Tensor",
    ]  # fmt: skip
