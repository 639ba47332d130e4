"""LoRA linear layers: the only place in the workspace that multiplies `B @ A`.

Shape letters: T tokens, I input features, O output features, R rank, ... any leading dims.
Weights are stored `[out, in]`, as in `torch.nn.Linear`; every product below is `x @ W.T`.

The base is frozen, so its weight gradient is never computed. The backward pass keeps only the
layer's input: the rank-R product `x @ A.T` costs R/O of the frozen product and is computed
again instead of being stored (Hu et al. 2021, arXiv 2106.09685, for the update itself).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple, Protocol

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from vox_tensor.lora_spec import LoraSpec


class FrozenWeight(Protocol):
    """A frozen weight `[O, I]` that is not a tensor: quantised, or left in its file."""

    @property
    def requires_grad(self) -> bool:
        """Always false."""

    @property
    def shape(self) -> torch.Size:
        """`[O, I]`."""

    @property
    def device(self) -> torch.device:
        """Device on which products are computed."""

    def linear(self, x_TI: Tensor, bias_O: Tensor | None) -> Tensor:
        """`x @ W.T + bias`, `[T, O]`, in the dtype of `x`."""

    def linear_before_gradient(self, x_TI: Tensor, bias_O: Tensor | None) -> Tensor:
        """Like `linear`; `input_gradient` follows unless the step is abandoned."""

    def input_gradient(self, g_TO: Tensor, dx_TI: Tensor | None) -> Tensor:
        """`g @ W`, `[T, I]`, added in place to `dx_TI` if given."""


class Projection(NamedTuple):
    """The tensors of one linear map, adapted (`a` and `b` set) or not.

    Shapes: weight `[O, I]`, bias `[O]`, a `[R, I]`, b `[O, R]`, keep `[T, I]` (the elements
    that dropout left in, pre-multiplied by 1 / (1 - p); `None` without dropout).
    """

    weight: Tensor | FrozenWeight
    bias: Tensor | None
    a: Tensor | None = None
    b: Tensor | None = None
    scale: float = 1.0
    keep: Tensor | None = None


class ProjectionGradients(NamedTuple):
    """What one projection contributes to the backward pass."""

    a: Tensor | None
    b: Tensor | None


def project(x_TI: Tensor, p: Projection, *, needs_dx: bool = False) -> Tensor:
    """Map `[T, I]` to `[T, O]`: `x @ W.T + bias + scale * (dropout(x) @ A.T) @ B.T`.

    The low-rank part is accumulated into the output of the frozen product. Plain tensor
    code: autograd may or may not be recording.

    Args:
        x_TI: The input.
        p: The projection.
        needs_dx: Whether `project_backward` will be called with `needs_dx` for this product.
    """
    if isinstance(p.weight, Tensor):
        y_TO = F.linear(x_TI, p.weight, p.bias)
    elif needs_dx:
        y_TO = p.weight.linear_before_gradient(x_TI, p.bias)
    else:
        y_TO = p.weight.linear(x_TI, p.bias)
    if p.a is None or p.b is None:
        return y_TO
    low_TR = _low_rank(x_TI, p, p.a)
    if y_TO.requires_grad:
        return torch.addmm(y_TO, low_TR, p.b.to(x_TI.dtype).t(), alpha=p.scale)
    return y_TO.addmm_(low_TR, p.b.to(x_TI.dtype).t(), alpha=p.scale)


def project_backward(
    g_TO: Tensor, x_TI: Tensor, p: Projection, dx_TI: Tensor | None, *, needs_dx: bool
) -> tuple[Tensor | None, ProjectionGradients]:
    """Gradients of `project`; the input's is added to `dx_TI` in place if given.

    Args:
        g_TO: Gradient of the output.
        x_TI: The input of the forward pass.
        p: The projection; its weight gets no gradient.
        dx_TI: Gradient of the same input from another projection, to add to.
        needs_dx: Whether anything below is trained.
    """
    dx_TI, g_low_TR = input_gradient(g_TO, p, dx_TI, needs_dx=needs_dx)
    return dx_TI, factor_gradients(g_TO, g_low_TR, x_TI, p)


def input_gradient(
    g_TO: Tensor, p: Projection, dx_TI: Tensor | None, *, needs_dx: bool
) -> tuple[Tensor | None, Tensor | None]:
    """The half of `project_backward` that does not read the input.

    Gives its gradient, and that of the low-rank product, `[T, R]`, for `factor_gradients`.
    """
    if needs_dx:
        dx_TI = _input_gradient(g_TO, p.weight, dx_TI)
    if p.a is None or p.b is None:
        return dx_TI, None
    a_RI, b_OR = p.a.to(g_TO.dtype), p.b.to(g_TO.dtype)
    g_low_TR = (g_TO @ b_OR).mul_(p.scale)
    if dx_TI is None:
        return None, g_low_TR
    if p.keep is None:
        return dx_TI.addmm_(g_low_TR, a_RI), g_low_TR
    return dx_TI.addcmul_(g_low_TR @ a_RI, p.keep.to(g_TO.dtype)), g_low_TR


def factor_gradients(
    g_TO: Tensor, g_low_TR: Tensor | None, x_TI: Tensor, p: Projection
) -> ProjectionGradients:
    """The other half of `project_backward`: gradients of A and B."""
    if p.a is None or p.b is None or g_low_TR is None:
        return ProjectionGradients(None, None)
    low_TR = _low_rank(x_TI, p, p.a)
    grad_b = (g_TO.t() @ low_TR).mul_(p.scale)
    grad_a = g_low_TR.t() @ (x_TI if p.keep is None else x_TI * p.keep)
    return ProjectionGradients(grad_a.to(p.a.dtype), grad_b.to(p.b.dtype))


def _input_gradient(g_TO: Tensor, weight: Tensor | FrozenWeight, dx_TI: Tensor | None) -> Tensor:
    if not isinstance(weight, Tensor):
        return weight.input_gradient(g_TO, dx_TI)
    return g_TO @ weight if dx_TI is None else dx_TI.addmm_(g_TO, weight)


def _low_rank(x_TI: Tensor, p: Projection, a: Tensor) -> Tensor:
    return F.linear(x_TI if p.keep is None else x_TI * p.keep, a.to(x_TI.dtype))


class _ProjectShared(torch.autograd.Function):
    """Several projections of one input; saves that input, once, and nothing else of size T."""

    @staticmethod
    def forward(ctx: Any, x_TI: Tensor, fixed: tuple[Fixed, ...], *flat: Any) -> Any:
        flat = factors_in(x_TI.dtype, flat)
        projections = unflatten(flat, fixed)
        ctx.save_for_backward(x_TI, *flat)
        ctx.fixed = fixed
        needs_dx = ctx.needs_input_grad[0]
        return tuple(project(x_TI, p, needs_dx=needs_dx) for p in projections)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Any:
        x_TI, *flat = ctx.saved_tensors
        dx: Tensor | None = None
        out: list[Tensor | None] = []
        for g_TO, p in zip(grads, unflatten(flat, ctx.fixed), strict=True):
            dx, (grad_a, grad_b) = project_backward(
                g_TO, x_TI, p, dx, needs_dx=ctx.needs_input_grad[0]
            )
            # As in `flatten`: weight, bias, a, b, keep. Only a and b are trained.
            out.extend((None, None, grad_a, grad_b, None))
        # One entry per argument of `forward`: x, fixed, then the flat tensors.
        return dx, None, *out


class Fixed(NamedTuple):
    """The parts of a projection that autograd does not see."""

    scale: float
    frozen: FrozenWeight | None
    """The weight, if it is not a tensor."""


def flatten(projections: Sequence[Projection]) -> tuple[tuple[Fixed, ...], tuple[Any, ...]]:
    """Split projections into fixed parts and a flat tuple of tensors, for autograd functions."""
    # Autograd tracks only tensors that are arguments of `apply` themselves, not those inside a
    # tuple, so each projection is passed as five arguments: weight, bias, a, b, keep. `backward`
    # must return one gradient for each, in this order.
    fixed: list[Fixed] = []
    flat: list[Any] = []
    for p in projections:
        is_tensor = isinstance(p.weight, Tensor)
        fixed.append(Fixed(p.scale, None if isinstance(p.weight, Tensor) else p.weight))
        flat += [p.weight if is_tensor else None, p.bias, p.a, p.b, p.keep]
    return tuple(fixed), tuple(flat)


def unflatten(flat: Sequence[Any], fixed: Sequence[Fixed]) -> list[Projection]:
    """The inverse of `flatten`."""
    groups = zip(*(flat[i::5] for i in range(5)), fixed, strict=True)
    return [
        Projection(weight if f.frozen is None else f.frozen, bias, a, b, f.scale, keep)
        for weight, bias, a, b, keep, f in groups
    ]


def factors_in(dtype: torch.dtype, flat: Sequence[Any]) -> tuple[Any, ...]:
    """The tensors of `flatten` with A and B converted once for a forward and a backward pass.

    autograd itself converts their gradients back.
    """
    return tuple(t if t is None or i % 5 not in (2, 3) else t.to(dtype) for i, t in enumerate(flat))


def detach(p: Projection) -> Projection:
    """The same projection without anything trainable, for a pass that needs no gradients."""
    weight = p.weight.detach() if isinstance(p.weight, Tensor) else p.weight
    bias, a, b = (None if t is None else t.detach() for t in (p.bias, p.a, p.b))
    return Projection(weight, bias, a, b, p.scale, p.keep)


def project_shared(x_TI: Tensor, projections: Sequence[Projection]) -> tuple[Tensor, ...]:
    """Apply several projections to one input `[T, I]`.

    With frozen weights the backward pass accumulates the input's gradient in one buffer and
    computes none for the weights. A trainable weight (pre-training) goes through plain autograd,
    and so does a pass without gradients, which has nothing to record.
    """
    if not torch.is_grad_enabled() or any(p.weight.requires_grad for p in projections):
        return tuple(project(x_TI, p) for p in projections)
    fixed, flat = flatten(projections)
    return _project_shared(x_TI, fixed, *flat)


# torch leaves `apply` unannotated; the name gives it a type.
_project_shared: Callable[..., tuple[Tensor, ...]] = _ProjectShared.apply


class FrozenLinear(nn.Module):
    """`x @ W.T + bias` with a frozen weight that is not a tensor: `[..., I]` to `[..., O]`."""

    def __init__(self, weight: FrozenWeight, bias: Tensor | None = None) -> None:
        super().__init__()
        self.weight = weight
        self.bias = None if bias is None else nn.Parameter(bias, requires_grad=False)

    @property
    def out_features(self) -> int:
        """O."""
        return self.weight.shape[0]

    @property
    def in_features(self) -> int:
        """I."""
        return self.weight.shape[1]

    def forward(self, x: Tensor) -> Tensor:
        """Map `[..., I]` to `[..., O]`."""
        x_TI = x.reshape(-1, x.shape[-1])
        (y_TO,) = project_shared(x_TI, (Projection(self.weight, self.bias),))
        return y_TO.view(*x.shape[:-1], y_TO.shape[-1])


class LoraLinear(nn.Module):
    """A frozen linear layer plus a trainable low-rank update.

    Computes `x @ W.T + b + scale * (dropout(x) @ A.T) @ B.T`, where only A and B learn.
    B starts at zero, so a fresh layer returns exactly what `base` returns. A and B are held
    in float32 whatever the base's dtype (a bf16 update of 2e-4 would round away) and cast to
    the input's dtype for the product.

    Shapes:
        base.weight: `[O, I]`, frozen
        a_RI: `[R, I]`, b_OR: `[O, R]`
        input `[..., I]` -> output `[..., O]`

    Args:
        base: The layer to adapt; its parameters are frozen in place.
        spec: Rank, alpha, dropout, scale rule.
        generator: Random stream for A's initial values.
        dropout_generator: Random stream for dropout masks; `None` uses torch's global one.
    """

    def __init__(
        self,
        base: nn.Linear | FrozenLinear,
        spec: LoraSpec,
        generator: torch.Generator | None = None,
        dropout_generator: torch.Generator | None = None,
    ) -> None:
        super().__init__()
        self.base: nn.Linear | FrozenLinear = base.requires_grad_(False)
        self.spec = spec
        self.dropout_generator = dropout_generator
        self.dropout_seed: Callable[[], int] | None = None
        """Asked for the seed of each mask; `None` continues the stream of `dropout_generator`."""
        self.is_on = True
        """Whether the update counts; see `adapters_off`."""
        device = base.weight.device
        # Drawn on the CPU, so that a seed means the same adapter on every device.
        start = torch.empty(spec.rank, base.in_features)
        nn.init.kaiming_uniform_(start, a=math.sqrt(5), generator=generator)
        self.a_RI = nn.Parameter(start.to(device))
        self.b_OR = nn.Parameter(torch.zeros(base.out_features, spec.rank, device=device))

    def forward(self, x: Tensor) -> Tensor:
        """Map `[..., I]` to `[..., O]`."""
        x_TI = x.reshape(-1, x.shape[-1])
        (y_TO,) = project_shared(x_TI, (self.projection(x_TI),))
        return y_TO.view(*x.shape[:-1], y_TO.shape[-1])

    def projection(self, x_TI: Tensor) -> Projection:
        """The tensors of this layer, with a dropout mask for `x_TI` drawn when training."""
        base = self.base
        if not self.is_on:
            return Projection(base.weight, base.bias)
        keep = self._dropout_keep(x_TI) if self.training and self.spec.dropout else None
        return Projection(base.weight, base.bias, self.a_RI, self.b_OR, self.spec.scale, keep)

    def _dropout_keep(self, x_TI: Tensor) -> Tensor:
        stay = 1.0 - self.spec.dropout
        if self.dropout_seed is not None and self.dropout_generator is not None:
            self.dropout_generator.manual_seed(self.dropout_seed())
        keep = torch.empty_like(x_TI).bernoulli_(stay, generator=self.dropout_generator)
        return keep.div_(stay)

    @torch.no_grad()
    def delta_OI(self) -> Tensor:
        """The dense update of this adapter, `[O, I]`, in float32."""
        return lora_delta(self.a_RI, self.b_OR, self.spec.scale)

    @torch.no_grad()
    def merged(self) -> nn.Linear:
        """Return a new plain linear layer with the update folded in: f32 sum, one rounding.

        Neither `self` nor `base` changes, so merging twice cannot add the update twice.
        Dropout is dropped: a merged layer is for inference.

        Raises:
            TypeError: When the base is not a plain layer.
        """
        if not isinstance(self.base, nn.Linear):
            message = "only a plain linear layer can take the update in"
            raise TypeError(message)
        dense = nn.Linear(
            self.base.in_features,
            self.base.out_features,
            bias=self.base.bias is not None,
            device=self.base.weight.device,
            dtype=self.base.weight.dtype,
        )
        dense.weight.copy_(self.base.weight.float() + self.delta_OI())
        if self.base.bias is not None:
            dense.bias.copy_(self.base.bias)
        return dense.requires_grad_(requires_grad=False)


@contextmanager
def adapters_off(layers: Iterable[LoraLinear]) -> Iterator[None]:
    """Let layers compute what their bases compute, bit for bit, until the block ends."""
    switched = [layer for layer in layers if layer.is_on]
    for layer in switched:
        layer.is_on = False
    try:
        yield
    finally:
        for layer in switched:
            layer.is_on = True


def lora_delta(a_RI: Tensor, b_OR: Tensor, scale: float) -> Tensor:
    """`scale * B @ A` as a dense `[O, I]` float32 tensor, with no graph."""
    return (b_OR.detach().float() @ a_RI.detach().float()).mul_(scale)


def projection_of(layer: nn.Module, x_TI: Tensor) -> Projection:
    """The tensors of a plain or adapted linear layer, for a fused function over `x_TI`.

    Raises:
        TypeError: For any other module.
    """
    if isinstance(layer, LoraLinear):
        return layer.projection(x_TI)
    if isinstance(layer, nn.Linear | FrozenLinear):
        return Projection(layer.weight, layer.bias)
    message = f"expected Linear or LoraLinear, got {type(layer).__name__}"
    raise TypeError(message)
