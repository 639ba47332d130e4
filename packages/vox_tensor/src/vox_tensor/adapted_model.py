"""LoRA in a torch model of any kind: which layers get it, its tensors under PEFT's names, merging.

A model is changed in place, one linear layer at a time, and keeps its class: any loop, optimizer
and generation code works on it as before.
"""

from __future__ import annotations

import copy
import re
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, TypeVar, cast

import torch
from torch import Tensor, nn

from vox_tensor.lora import FrozenLinear, LoraLinear
from vox_tensor.lora_spec import LoraSpec

ALL_LINEAR = "all-linear"
"""PEFT's word for every linear layer but the output head."""
_PREFIX = "base_model.model."

M = TypeVar("M", bound=nn.Module)


def add_lora(
    model: nn.Module,
    spec: LoraSpec,
    targets: str | Iterable[str] = ALL_LINEAR,
    *,
    generator: torch.Generator | None = None,
) -> dict[str, LoraLinear]:
    """Freeze a model and give the linear layers that `targets` names an adapter, in place.

    The model computes what it did until an adapter has learned something. Afterwards, only the
    adapters ask for gradients: `[p for p in model.parameters() if p.requires_grad]`.

    Args:
        model: Any module. A linear layer is a `torch.nn.Linear`, a `FrozenLinear` (NF4) or a
            `Conv1D` of transformers.
        spec: Rank, alpha, dropout and scale rule, the same for each layer.
        targets: As in PEFT: names of modules or their last parts (`["q_proj", "v_proj"]`), one
            regular expression for a whole name, or `"all-linear"`.
        generator: Stream of the initial values of A, in the order of the modules.

    Returns:
        The new layers by the names of the modules that they replace.

    Raises:
        ValueError: When a target names no module, or the model has adapters.
        TypeError: When a target names a module that is not a linear layer.
    """
    if lora_layers(model):
        message = "the model has LoRA layers already"
        raise ValueError(message)
    chosen = _chosen(model, targets)
    model.requires_grad_(requires_grad=False)
    for name, base in chosen.items():
        layer = LoraLinear(base, spec, generator).train(base.training)
        model.set_submodule(name, layer)
    return lora_layers(model)


def lora_layers(model: nn.Module) -> dict[str, LoraLinear]:
    """The adapted layers of a model by name, in its order."""
    return {name: m for name, m in model.named_modules() if isinstance(m, LoraLinear)}


def lora_state_dict(model: nn.Module) -> dict[str, Tensor]:
    """A and B of each adapted layer, under the names that PEFT gives them in a file."""
    found: dict[str, Tensor] = {}
    for name, layer in lora_layers(model).items():
        found[f"{_PREFIX}{name}.lora_A.weight"] = layer.a_RI.detach()
        found[f"{_PREFIX}{name}.lora_B.weight"] = layer.b_OR.detach()
    return found


@torch.no_grad()
def load_lora_state_dict(model: nn.Module, tensors: Mapping[str, Tensor]) -> None:
    """Copy tensors with PEFT's names into the adapters of a model.

    Raises:
        ValueError: When names or shapes differ, with every difference; nothing is copied then.
    """
    own = lora_state_dict(model)
    problems = [f"{name} is missing" for name in own if name not in tensors]
    problems += [f"{name} is not expected" for name in tensors if name not in own]
    problems += [
        f"{name} is {list(tensors[name].shape)}, expected {list(tensor.shape)}"
        for name, tensor in own.items()
        if name in tensors and tensors[name].shape != tensor.shape
    ]
    if problems:
        message = "; ".join(problems)
        raise ValueError(message)
    for name, tensor in own.items():
        tensor.copy_(tensors[name])


def peft_config(model: nn.Module, base_model: str | None = None) -> dict[str, object]:
    """The content of the `adapter_config.json` that belongs beside `lora_state_dict`.

    Args:
        model: An adapted causal language model.
        base_model: Where PEFT finds its base, `base_model_name_or_path`.

    Raises:
        ValueError: When the model has no LoRA layers.
    """
    layers = lora_layers(model)
    if not layers:
        message = "the model has no LoRA layers"
        raise ValueError(message)
    spec = next(iter(layers.values())).spec
    roles = {name.rpartition(".")[2] for name in layers}
    others = {name for name, module in model.named_modules() if _is_linear(module)}
    is_exact = not any(_is_named(name, roles) for name in others)
    return {
        "peft_type": "LORA",
        "task_type": "CAUSAL_LM",
        "base_model_name_or_path": base_model,
        "r": spec.rank,
        "lora_alpha": spec.alpha,
        "lora_dropout": spec.dropout,
        "use_rslora": spec.use_rslora,
        "bias": "none",
        "target_modules": sorted(roles if is_exact else layers),
    }


@contextmanager
def merged(model: M) -> Iterator[M]:
    """The model with its adapters folded into plain layers, for as long as the context lasts.

    Each sum is made in float32 and rounded once to the layer's type. The base and the adapters stay
    as they are: `with merged(model): model.save_pretrained(folder)`.

    Raises:
        TypeError: When a base layer is quantised: it has no dense weight to add to.
    """
    with _replaced(model, {name: _merged(layer) for name, layer in lora_layers(model).items()}):
        yield model


@contextmanager
def without_lora(model: M) -> Iterator[M]:
    """The base model alone, for as long as the context lasts."""
    with _replaced(model, {name: _base(layer) for name, layer in lora_layers(model).items()}):
        yield model


@contextmanager
def _replaced(model: nn.Module, modules: Mapping[str, nn.Module]) -> Iterator[None]:
    layers = lora_layers(model)
    try:
        for name, module in modules.items():
            model.set_submodule(name, module)
        yield
    finally:
        for name, layer in layers.items():
            model.set_submodule(name, layer)


class _Conv1DView(nn.Linear):
    """transformers' `Conv1D` as a linear layer on the same memory; its weight is `[in, out]`."""

    def __init__(self, conv: nn.Module) -> None:
        weight_IO = cast("Tensor", conv.weight)
        n_in, n_out = weight_IO.shape
        super().__init__(n_in, n_out, device="meta")
        self.weight = nn.Parameter(weight_IO.detach().t(), requires_grad=False)
        self.bias = cast("nn.Parameter", conv.bias)
        # Not a submodule: its tensors are those of this layer.
        self.__dict__["conv"] = conv


def _merged(layer: LoraLinear) -> nn.Module:
    plain = layer.merged()
    if not isinstance(layer.base, _Conv1DView):
        return plain
    conv = copy.deepcopy(cast("Any", layer.base).conv)
    conv.weight = nn.Parameter(plain.weight.t().contiguous(), requires_grad=False)
    return cast("nn.Module", conv)


def _base(layer: LoraLinear) -> nn.Module:
    return cast("nn.Module", layer.base.__dict__.get("conv", layer.base))


def _chosen(model: nn.Module, targets: str | Iterable[str]) -> dict[str, nn.Linear | FrozenLinear]:
    """The layers to adapt by name, as linear layers."""
    modules = {name: module for name, module in model.named_modules() if name}
    if isinstance(targets, str) and targets.lower() == ALL_LINEAR:
        head = getattr(model, "get_output_embeddings", lambda: None)()
        names = [n for n, module in modules.items() if _is_linear(module) and module is not head]
    else:
        asked = targets if isinstance(targets, str) else frozenset(targets)
        names = [name for name in modules if _is_named(name, asked)]
        _require_each_found(asked, names)
    wrong = [name for name in names if not _is_linear(modules[name])]
    if wrong:
        message = f"not linear layers: {', '.join(wrong)}"
        raise TypeError(message)
    if not names:
        message = f"no linear layer is named by {targets!r}"
        raise ValueError(message)
    return {name: _as_linear(modules[name]) for name in names}


def _is_named(name: str, targets: str | Iterable[str]) -> bool:
    if isinstance(targets, str):
        return re.fullmatch(targets, name) is not None
    return any(name == target or name.endswith(f".{target}") for target in targets)


def _require_each_found(targets: str | Iterable[str], names: Iterable[str]) -> None:
    """PEFT is content when one of several targets is found; a misspelt one is an error here."""
    asked = () if isinstance(targets, str) else targets
    lost = [target for target in asked if not any(_is_named(name, (target,)) for name in names)]
    if lost:
        message = f"no module is named {', '.join(sorted(lost))}"
        raise ValueError(message)


def _is_linear(module: nn.Module) -> bool:
    return isinstance(module, nn.Linear | FrozenLinear) or _is_conv1d(module)


def _is_conv1d(module: nn.Module) -> bool:
    """Whether a layer is transformers' `Conv1D`, which is not imported for that."""
    kind = type(module)
    return kind.__name__ == "Conv1D" and kind.__module__.startswith("transformers.")


def _as_linear(module: nn.Module) -> nn.Linear | FrozenLinear:
    if isinstance(module, nn.Linear | FrozenLinear):
        return module
    return _Conv1DView(module)
