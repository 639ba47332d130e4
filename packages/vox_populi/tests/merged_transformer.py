"""A transformer with its adapters folded in, in memory."""

from __future__ import annotations

import torch
from torch import nn

from vox_populi.model.transformer import Transformer
from vox_tensor.lora import LoraLinear


def merged_transformer(model: Transformer) -> Transformer:
    """A new transformer whose adapted projections are plain layers with the update folded in.

    Rotation is applied after the projections, so folding into q and k of a RoPE model is exact
    (D6). Untouched parameters are shared with `model`, which does not change. A tied head with an
    adapter becomes a separate matrix.
    """
    with torch.device("meta"):
        merged = Transformer(model.config)
    for name, module in model.named_modules():
        if isinstance(module, LoraLinear):
            _set_module(merged, name, module.merged())
        elif not _is_inside_adapter(model, name):
            for leaf, parameter in module.named_parameters(recurse=False):
                setattr(merged.get_submodule(name), leaf, parameter)
    return merged.eval()


def _is_inside_adapter(model: Transformer, name: str) -> bool:
    parent = name.rpartition(".")[0]
    return bool(parent) and isinstance(model.get_submodule(parent), LoraLinear)


def _set_module(model: Transformer, name: str, layer: nn.Module) -> None:
    parent, _, child = name.rpartition(".")
    setattr(model.get_submodule(parent), child, layer)
