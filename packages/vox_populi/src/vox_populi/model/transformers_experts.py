"""The experts of a class of transformers as linear layers of ours, computed by groups of tokens.

The library's interface for experts calls a function that is registered with it; routers and
activations stay the class's own. Experts of which a class makes no use of that interface are not
touched. Shape letters: T tokens, K experts of a token, E slots of one expert, N experts, D model
width.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from vox_populi.hf.experts_place import EACH, ExpertsPlace
from vox_populi.hf.module_table import ModuleTable
from vox_populi.hf.transformers_classes import load_transformers
from vox_tensor.expert_activation import AnyActivation, GateAndUp
from vox_tensor.expert_mlp import ExpertProjections, Routing, expert_mlp
from vox_tensor.gated_mlp import ActivationKind, activate
from vox_tensor.lora import LoraLinear, Projection, projection_of

EXPERTS = "vox"
"""Name under which transformers knows our function."""
_COUNTED = "vox_counted"
OWN_EXPERTS = "eager"
"""Name of the loop over experts that is each class's own."""
_DOWN = "down"
_PROBED = (-3.0, -0.7, 0.0, 0.4, 2.5)
"""Values at which an activation is compared with those that have a fused backward pass."""


class ForeignExpert(nn.Module):
    """The projections of one expert, without values; biases stay in the class's tensors."""

    def __init__(self, place: ExpertsPlace, dtype: torch.dtype) -> None:
        super().__init__()
        for part in place.parts:
            n_out, n_in = part.shape[::-1] if place.is_transposed else part.shape
            layer = nn.Linear(n_in, n_out, bias=False, device="meta", dtype=dtype)
            self.add_module(part.name, layer)

    def first(self) -> list[nn.Module]:
        """The projections that read the expert's input, in order."""
        return [layer for name, layer in self.named_children() if name != _DOWN]


class ForeignExperts(nn.ModuleList):
    """All experts of a layer, and which activation of ours theirs is, if it is one."""

    activation: GateAndUp | None = None


def register_experts() -> str:
    """Make our function known to transformers; returns its name there."""
    interface = _interface()
    interface.register(EXPERTS, _computed)
    return EXPERTS


def register_counted_experts() -> str:
    """Make a function known that keeps what ours does, for shapes alone; returns its name."""
    interface = _interface()
    interface.register(_COUNTED, _counted)
    return _COUNTED


def tell_experts_apart(model: Any, table: ModuleTable) -> dict[str, str]:
    """Replace tensors with all experts of a layer by a list of experts.

    Args:
        model: An instance of the class, without values.
        table: What it consists of.

    Returns:
        The paths of the experts' layers by our names.
    """
    paths: dict[str, str] = {}
    for place in table.experts:
        module = model.get_submodule(place.path)
        dtype = module.down_proj.dtype
        for tensor in place.tensors:
            delattr(module, tensor)
        each = ForeignExperts(ForeignExpert(place, dtype) for _ in range(place.count))
        each.activation = _activation(module)
        module.add_module(EACH, each)
        paths |= place.paths()
    return paths


@contextmanager
def experts_of_the_class(model: Any, table: ModuleTable) -> Iterator[None]:
    """A block of code in which a class computes its experts, with what adapters add to them.

    Args:
        model: An instance after `tell_experts_apart`, with values.
        table: What it consists of.
    """
    if not table.experts:
        yield
        return
    for place in table.experts:
        module = model.get_submodule(place.path)
        for tensor in place.tensors:
            whole = nn.Parameter(_whole(module, place, tensor), requires_grad=False)
            module.register_parameter(tensor, whole)
    model.set_experts_implementation(OWN_EXPERTS)
    try:
        yield
    finally:
        model.set_experts_implementation(EXPERTS)
        for place in table.experts:
            module = model.get_submodule(place.path)
            for tensor in place.tensors:
                delattr(module, tensor)


def _interface() -> Any:
    return load_transformers().integrations.moe.ALL_EXPERTS_FUNCTIONS


def _computed(module: Any, x_TD: Tensor, chosen_TK: Tensor, weights_TK: Tensor) -> Tensor:
    """What transformers calls for the experts of a layer."""
    each: ForeignExperts = module.each
    routing = Routing.of(chosen_TK, len(each))
    weights_TK = weights_TK.to(torch.promote_types(weights_TK.dtype, torch.float32))
    groups = zip(_experts(each), routing.counts, strict=True)
    experts = [
        _projections(module, expert, number, count, x_TD)
        for number, (expert, count) in enumerate(groups)
    ]
    activation = each.activation or AnyActivation(
        module._apply_gate if module.has_gate else module.act_fn
    )
    return expert_mlp(x_TD, weights_TK, routing, experts, activation)


def _counted(module: Any, x_TD: Tensor, chosen_TK: Tensor, weights_TK: Tensor) -> Tensor:
    """What transformers calls where only shapes matter."""
    first = module.gate_up_proj if module.has_gate else module.up_proj
    n_features = first.shape[2 if module.is_transposed else 1]
    out_TD: Tensor = _kept(x_TD, weights_TK.float(), chosen_TK.shape[1], n_features)
    return out_TD


class _Kept(torch.autograd.Function):
    """Experts of which only what they keep matters: input, weights, slots, first products."""

    @staticmethod
    def forward(
        ctx: Any, x_TD: Tensor, weights_TK: Tensor, per_token: int, n_features: int
    ) -> Tensor:
        n_slots = x_TD.shape[0] * per_token
        made_SP = x_TD.new_empty(n_slots, n_features)
        slots_S = x_TD.new_empty(n_slots, dtype=torch.long)
        ctx.save_for_backward(x_TD, weights_TK, slots_S, made_SP)
        return torch.empty_like(x_TD)


# torch leaves `apply` unannotated.
_kept: Any = _Kept.apply


def _experts(each: ForeignExperts) -> Iterator[ForeignExpert]:
    return (expert for expert in each if isinstance(expert, ForeignExpert))


def _projections(
    module: Any, expert: ForeignExpert, number: int, count: int, like: Tensor
) -> ExpertProjections:
    """An expert's projections, with its biases."""
    first = [_projection(layer, count, like) for layer in expert.first()]
    down = _projection(expert.get_submodule(_DOWN), count, like)
    if module.has_bias:
        biases = module.gate_up_proj_bias if module.has_gate else module.up_proj_bias
        sizes = [p.weight.shape[0] for p in first]
        parts = biases[number].split(sizes)
        first = [p._replace(bias=bias) for p, bias in zip(first, parts, strict=True)]
        down = down._replace(bias=module.down_proj_bias[number])
    return ExpertProjections(tuple(first), down)


def _projection(layer: Any, n_tokens: int, like: Tensor) -> Projection:
    """The tensors of a layer for so many tokens; `like` has their device and dtype."""
    # Dropout masks need a shape: without memory of its own.
    return projection_of(layer, like.new_empty(1).expand(n_tokens, layer_width(layer)))


def layer_width(layer: Any) -> int:
    """Input features of a plain or adapted layer."""
    width: int = (layer.base if isinstance(layer, LoraLinear) else layer).in_features
    return width


def _activation(module: Any) -> GateAndUp | None:
    """A layer's activation with a fused backward pass, if its gate is the usual one."""
    moe = load_transformers().integrations.moe
    is_usual = type(module)._apply_gate is moe._default_apply_gate
    names = not (module.is_transposed or module.has_bias) and module.is_concatenated
    if not (is_usual and names and module.has_gate):
        return None
    probe = torch.tensor(_PROBED)
    found = module.act_fn(probe)
    kinds = (kind for kind in ActivationKind if torch.equal(activate(probe, kind), found))
    return next(map(GateAndUp, kinds), None)


@torch.no_grad()
def _whole(module: Any, place: ExpertsPlace, tensor: str) -> Tensor:
    """A tensor of the class, made of the experts' layers and their adapters."""
    matrices = []
    for expert in module.each:
        layers = [expert.get_submodule(part.name) for part in place.tensors[tensor]]
        own_OI = torch.cat([_dense(layer) for layer in layers])
        matrices.append(own_OI.t() if place.is_transposed else own_OI)
    return torch.stack(matrices)


def _dense(layer: Any) -> Tensor:
    """The weight of a layer with its update, `[O, I]`."""
    if not isinstance(layer, LoraLinear):
        weight: Tensor = layer.weight
        return weight
    base_OI = layer.base.weight
    assert isinstance(base_OI, Tensor), "a proof has no quantised weights"
    return base_OI + layer.delta_OI().to(base_OI.dtype)
