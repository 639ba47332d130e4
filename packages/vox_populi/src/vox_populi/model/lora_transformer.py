"""Placing adapters in a transformer, reading them out and putting them back.

The LoRA arithmetic is in `vox_tensor.lora`; this file only decides places and names.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from vox_populi.containers.tensor_comparison import tensor_differences
from vox_populi.hf.keymap import AdapterModule
from vox_populi.model.causal_graph import CausalGraph
from vox_tensor.lora import FrozenLinear, LoraLinear
from vox_tensor.lora_spec import LoraSpec

A_SUFFIX = ".lora_A"
B_SUFFIX = ".lora_B"


def attach_adapters(
    model: CausalGraph,
    modules: Sequence[AdapterModule],
    spec: LoraSpec,
    init: torch.Generator | None = None,
    dropout: torch.Generator | None = None,
) -> dict[str, LoraLinear]:
    """Freeze the model and wrap the named projections, in the given order.

    Args:
        model: Changed in place; its output stays the same, since B starts at zero.
        modules: Projections to adapt; the order fixes which draws of `init` each receives.
        spec: Hyper-parameters shared by all of them.
        init: Random stream for A's initial values.
        dropout: Random stream for dropout masks.

    Returns:
        The adapted layers by our module name.
    """
    model.requires_grad_(requires_grad=False)
    adapted: dict[str, LoraLinear] = {}
    for module in modules:
        base = model.layer(module.ours)
        assert isinstance(base, nn.Linear | FrozenLinear), f"{module.ours} is not a linear layer"
        layer = LoraLinear(base, spec, init, dropout)
        model.put_layer(module.ours, layer)
        adapted[module.ours] = layer
    return adapted


def adapter_parameters(adapted: Mapping[str, LoraLinear]) -> dict[str, nn.Parameter]:
    """Every A `[R, I]` and B `[O, R]`, by `<module>.lora_A` / `.lora_B`."""
    return {
        name + suffix: parameter
        for name, layer in adapted.items()
        for suffix, parameter in ((A_SUFFIX, layer.a_RI), (B_SUFFIX, layer.b_OR))
    }


def adapter_tensors(adapted: Mapping[str, LoraLinear]) -> dict[str, Tensor]:
    """Float32 CPU copies of `adapter_parameters`."""
    return {
        name: parameter.detach().float().cpu().clone()
        for name, parameter in adapter_parameters(adapted).items()
    }


@torch.no_grad()
def load_adapter_tensors(adapted: Mapping[str, LoraLinear], tensors: Mapping[str, Tensor]) -> None:
    """Fill adapted layers from the output of `adapter_tensors`; every tensor must match a layer.

    Raises:
        ValueError: Listing all missing, unexpected and misshaped tensors.
    """
    places = adapter_parameters(adapted)
    shapes = {name: tuple(place.shape) for name, place in places.items()}
    differences = tensor_differences(shapes, tensors)
    if differences:
        message = "; ".join(sorted(map(str, differences)))
        raise ValueError(message)
    for name, place in places.items():
        place.copy_(tensors[name])
