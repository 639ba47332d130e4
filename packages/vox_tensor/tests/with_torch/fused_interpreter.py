"""Run in a process of its own: the fused kernels on this CPU, against torch's operations.

As in `triton_interpreter.py`, no test imports this file, and the process that runs it has
`TRITON_INTERPRET=1` from its start. Prints one JSON object: for each part and dtype how many values
were compared, which share of them is equal, and the largest difference over one plus the value.
"""

from __future__ import annotations

import json
import sys
from collections import defaultdict
from collections.abc import Callable, Iterator
from importlib import import_module
from itertools import product
from typing import Any

import numpy as np
import torch
import triton.language as tl
from torch import Tensor
from torch.nn import functional as F
from triton.runtime import interpreter

from vox_tensor import gate_triton, loss_triton, norm_triton
from vox_tensor.fused_parts import MODULE_OF, FusedPart, NormRule
from vox_tensor.fused_trial import trial_of

DTYPES = (torch.bfloat16, torch.float16, torch.float32)
EPS = 1e-5
Pairs = Iterator[tuple[str, Tensor, Tensor]]

_convert = interpreter._convert_float


def round_to_bfloat16(values: Any, source: Any, target: Any, mode: Any) -> Any:
    """What GPUs do; the interpreter cuts the bits off."""
    if (source, target) != (tl.float32, tl.bfloat16):
        return _convert(values, source, target, mode)
    bits = np.frombuffer(values.tobytes(), dtype=np.uint32).astype(np.uint64)
    is_nan = np.isnan(np.frombuffer(values.tobytes(), dtype=np.float32))
    rounded = (bits + 0x7FFF + ((bits >> 16) & 1)) >> 16
    return np.where(is_nan, 0x7FC0, rounded).astype(np.uint16).reshape(values.shape)


class Drawn:
    """Draws tensors of a dtype."""

    def __init__(self, dtype: torch.dtype) -> None:
        self.dtype, self.generator = dtype, torch.Generator().manual_seed(5)

    def __call__(self, *shape: int) -> Tensor:
        """Normal values."""
        return torch.randn(shape, generator=self.generator).to(self.dtype)

    def strided(self, *shape: int) -> Tensor:
        """The same in every second row of memory, beginning at the second feature."""
        return self(*shape[:-2], 2 * shape[-2], shape[-1] + 3)[..., ::2, 1:-2]


RULES = (NormRule(EPS), NormRule(EPS, 0.5, is_wide=True))


def draws(drawn: Drawn) -> tuple[tuple[Callable[..., Tensor], NormRule], ...]:
    """Plain and strided tensors, each with one of the rules."""
    return ((drawn, RULES[0]), (drawn.strided, RULES[1]))


def normed(x: Tensor, weight: Tensor, rule: NormRule) -> Tensor:
    """RMSNorm as `vox_populi.model.norm` and `wide_norm` compute it."""
    wide = x.float()
    scale = wide.square().mean(-1, keepdim=True).add(EPS).rsqrt()
    if rule.is_wide:
        return (wide * scale * (weight.float() + rule.centre)).to(x.dtype)
    return (wide * scale).to(x.dtype) * weight


def normed_back(g: Tensor, x: Tensor, weight: Tensor, rule: NormRule) -> Tensor:
    """Its input gradient."""
    wide, gw = x.float(), g.float() * (weight.float() + rule.centre)
    scale = wide.square().mean(-1, keepdim=True).add(EPS).rsqrt()
    mean = (gw * wide).mean(-1, keepdim=True)
    return (gw * scale - wide * (mean * scale**3)).to(x.dtype)


def turned(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """A rotation, in float32 and rounded once."""
    half = cos.shape[-1]
    first, second, rest = x.split([half, half, x.shape[-1] - 2 * half], dim=-1)
    parts = (first * cos - second * sin, second * cos + first * sin)
    return torch.cat([*(part.to(x.dtype) for part in parts), rest], dim=-1)


def norms(drawn: Drawn) -> Pairs:
    """Widths of every kind; no rows, one, more than a program takes; strided memory."""
    for n, width in ((0, 8), (1, 1), (70, 100), (2, 5000)):
        for draw, rule in draws(drawn):
            yield from norm_cases(draw(n, width), draw(n, width), drawn(width), rule)
    x, g, weight = drawn(3, 4, 24).transpose(0, 2), drawn(24, 4, 3), drawn(3)
    yield from norm_cases(x, g, weight, RULES[0])


def norm_cases(x: Tensor, g: Tensor, weight: Tensor, rule: NormRule) -> Pairs:
    """Forward and backward."""
    yield "norm", norm_triton.rms_norm(x, weight, rule), normed(x, weight, rule)
    found = norm_triton.rms_norm_backward(g, x, weight, rule)
    yield "norm, backward", found, normed_back(g, x, weight, rule)


def rotations(drawn: Drawn) -> Pairs:
    """Whole heads and parts of them, few and many."""
    for tokens, heads, half, rest in ((0, 2, 4, 0), (1, 1, 1, 0), (5, 3, 12, 5), (40, 3, 40, 0)):
        angles = torch.rand(tokens, 1, half) * 9
        cos, sin = angles.cos(), angles.sin()
        for draw, rule in draws(drawn):
            x, g = draw(tokens, heads, 2 * half + rest), draw(tokens, heads, 2 * half + rest)
            yield "rotation", norm_triton.rotate(x, cos, sin), turned(x, cos, sin)
            back = norm_triton.rotate(x, cos, sin, is_back=True)
            yield "rotation", back, turned(x, cos, -sin)
            if rest:
                continue
            weight = drawn(2 * half)
            found = norm_triton.normed_rotate(x, weight, (cos, sin), rule)
            yield "normed rotation", found, turned(normed(x, weight, rule), cos, sin)
            found = norm_triton.normed_rotate_backward(g, x, weight, (cos, sin), rule)
            expected = normed_back(turned(g, cos, -sin), x, weight, rule)
            yield "normed rotation, backward", found, expected


ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "silu": F.silu,
    "gelu": F.gelu,
    "gelu_tanh": lambda u: F.gelu(u, approximate="tanh"),
}


def gates(drawn: Drawn) -> Pairs:
    """Widths around what a program takes; u and up as halves of one tensor."""
    shapes = [*product(ACTIVATIONS, ((0, 5), (3, 100))), ("silu", (1, 1)), ("silu", (2, 2049))]
    for kind, (n, width) in shapes:
        both = drawn(n, 2 * width) * 3
        for u, up in (both.chunk(2, dim=-1), (both[:, :width].clone(), drawn(n, width))):
            dh, act = drawn(n, width), ACTIVATIONS[kind](u)
            yield kind, gate_triton.gate(u, up, kind), act * up
            h, du, dup = gate_triton.gate_backward(dh.clone(), u, up, kind)
            yield kind, h, act * up
            yield kind, dup, act * dh
            leaf = u.detach().requires_grad_()
            (ACTIVATIONS[kind](leaf) * (dh * up)).sum().backward()
            assert leaf.grad is not None
            yield f"{kind}, backward", du, leaf.grad


def losses(drawn: Drawn) -> Pairs:
    """Vocabularies around what a program takes at a time, with and without weights."""
    for (n, vocabulary), has_weights in product(((0, 5), (3, 11), (2, 8193)), (True, False)):
        logits = drawn(n, vocabulary) * 6
        targets = torch.randint(vocabulary, (n,), generator=drawn.generator)
        weights = torch.rand(n) if has_weights else None
        scale = torch.ones(n) if weights is None else weights
        expected = F.cross_entropy(logits.float(), targets, reduction="none") * scale
        g = (logits.float().softmax(-1) - F.one_hot(targets, vocabulary)) * scale.unsqueeze(1)
        kept = logits.clone()
        found = loss_triton.row_losses(logits, targets, weights, wants_gradient=False)
        assert torch.equal(kept, logits)
        yield "loss", found, expected
        loss_triton.row_losses(logits, targets, weights, wants_gradient=True)
        yield "loss, backward", logits, g.to(drawn.dtype)


def not_finite(dtype: torch.dtype) -> bool:
    """Whether logits that are not finite show in the loss, and -inf does not."""
    logits = torch.zeros(4, 5, dtype=dtype)
    for row, value in enumerate((float("nan"), float("inf"), float("-inf"))):
        logits[row, 2] = value
    targets = torch.zeros(4, dtype=torch.int64)
    with np.errstate(invalid="ignore"):
        found = loss_triton.row_losses(logits, targets, None, wants_gradient=False)
    return found.isfinite().tolist() == [False, False, True, True]


def main() -> None:
    """Compare everything in every dtype."""
    interpreter._convert_float = round_to_bfloat16
    torch.manual_seed(0)
    seen: dict[str, list[tuple[int, int, float]]] = defaultdict(list)
    for dtype, cases in product(DTYPES, (norms, rotations, gates, losses)):
        for part, found, expected in cases(Drawn(dtype)):
            assert found.dtype == expected.dtype
            assert found.shape == expected.shape
            wide, other = found.float(), expected.float()
            apart = ((wide - other).abs() / (1 + other.abs())).flatten()
            n_equal = int((found == expected).sum())
            worst = float(apart.max()) if len(apart) else 0.0
            seen[f"{part}, {str(dtype)[6:]}"].append((len(apart), n_equal, worst))
    tried = [
        trial_of(part, import_module(f"vox_tensor.{module}"), torch.device("cpu"), torch.bfloat16)
        for part, module in MODULE_OF.items()
    ]
    result = {
        "apart": {case: _summed(counts) for case, counts in seen.items()},
        "differing_trials": sum(tried),
        "shows_what_is_not_finite": all(map(not_finite, DTYPES)),
        "parts": len(FusedPart),
    }
    sys.stdout.write(json.dumps(result) + "\n")


def _summed(counts: list[tuple[int, int, float]]) -> dict[str, float]:
    compared, equal, worst = zip(*counts, strict=True)
    return {"compared": sum(compared), "equal": sum(equal), "worst": max(worst)}


if __name__ == "__main__":
    main()
