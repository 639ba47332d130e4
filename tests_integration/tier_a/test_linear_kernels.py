"""Tier A: linear attention by another package, with stand-ins for the package and for the GPU."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from itertools import pairwise
from types import ModuleType
from typing import Any

import pytest
import torch
from torch import Tensor
from transformers.integrations.hub_kernels import use_kernel_func_from_hub_with_fallback

from tests_integration.foreign_models import foreign_settings
from vox_populi.hf import linear_kernels
from vox_populi.hf.linear_kernels import (
    KernelByDevice,
    has_package_kernels,
    kernels_of,
    let_devices_decide,
)
from vox_populi.model.packing_proof import measure_packing
from vox_populi.plan.packing_proof_facts import PackingProof

MODEL = "transformers.models.qwen3_5.modeling_qwen3_5"


class OnGpu:
    """What is asked of a tensor on a GPU."""

    is_cuda = True


@pytest.fixture
def model_class(monkeypatch: pytest.MonkeyPatch) -> type:
    """A class in a module of its own, whose functions transformers' decorator has looked at."""
    fla: Any = ModuleType("fla")
    fla.__version__ = "0.6.0"
    fla.ops = ModuleType("fla.ops")
    fla.ops.gated_delta_rule = ModuleType("fla.ops.gated_delta_rule")
    fla.ops.gated_delta_rule.chunk_gated_delta_rule = lambda query, cu_seqlens=None: "package"
    monkeypatch.setitem(sys.modules, "fla", fla)
    monkeypatch.setitem(sys.modules, "causal_conv1d", None)
    module: Any = ModuleType("modeling_stand_in")
    monkeypatch.setitem(sys.modules, "modeling_stand_in", module)

    def rule(query: Any) -> str:
        return "torch"

    decorate: Any = use_kernel_func_from_hub_with_fallback
    module.rule = decorate("chunk_gated_delta_rule", "fla")(rule)
    module.conv = decorate("causal_conv1d_fn", "causal_conv1d")(rule)
    return type("StandIn", (), {"__module__": "modeling_stand_in"})


def test_the_device_of_the_numbers_decides(model_class: type) -> None:
    module: Any = sys.modules["modeling_stand_in"]
    assert module.rule(torch.zeros(1)) == "package", "transformers takes it on any device"
    for _ in range(2):
        let_devices_decide(model_class)
    assert has_package_kernels(model_class)
    assert module.rule(OnGpu(), cu_seqlens=[0, 3]) == "package"
    assert module.rule(torch.zeros(1), cu_seqlens=None, unknown=1) == "torch"
    with pytest.raises(ValueError, match="fla keeps packed rows apart on a GPU"):
        module.rule(torch.zeros(1), cu_seqlens=[0, 3])
    assert kernels_of(model_class, "cuda") == {"causal_conv1d": "torch", "fla": "0.6.0"}
    assert kernels_of(model_class, "cpu") == {"causal_conv1d": "torch", "fla": "torch"}


def parts(borders: Tensor, length: int) -> Iterator[slice]:
    """Where each row is."""
    assert int(borders[-1]) == length
    yield from (slice(a, b) for a, b in pairwise(borders.tolist()))


@pytest.mark.parametrize("keeps_apart", [True, False])
def test_the_proof_is_of_the_kernels_that_train(
    keeps_apart: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    raw = foreign_settings("qwen3_5_text")
    alone = measure_packing(raw, "config.json")
    assert alone.refused
    assert alone.kernels == (("causal_conv1d", "torch"), ("fla", "torch"))
    names = vars(sys.modules[MODEL])
    rule, conv = names["torch_chunk_gated_delta_rule"], names["causal_conv1d_fn"]

    def package_rule(q: Tensor, k: Tensor, v: Tensor, **more: Any) -> tuple[Tensor, None]:
        borders = more.pop("cu_seqlens", None)
        if borders is None or not keeps_apart:
            made: Tensor = rule(q, k, v, **{**more, "seq_idx": None})[0]
            return made, None
        g, beta = more.pop("g"), more.pop("beta")
        found = [
            rule(q[:, i], k[:, i], v[:, i], g=g[:, i], beta=beta[:, i], **{**more, "seq_idx": None})
            for i in parts(borders, q.shape[1])
        ]
        return torch.cat([each[0] for each in found], dim=1), None

    def package_conv(x: Tensor, *args: Any, seq_idx: Tensor | None = None, **more: Any) -> Tensor:
        if seq_idx is None:
            whole: Tensor = conv(x, *args, **more)
            return whole
        counts = torch.bincount(seq_idx[0])
        borders = torch.cat([torch.zeros(1, dtype=torch.int64), counts.cumsum(0)])
        rows = [conv(x[..., i], *args, **more) for i in parts(borders, x.shape[-1])]
        return torch.cat(rows, dim=-1)

    by_package: dict[str, Callable[..., Any]] = {
        "torch_chunk_gated_delta_rule": package_rule,
        "causal_conv1d_fn": package_conv,
    }
    for name, chosen in by_package.items():
        monkeypatch.setitem(names, name, KernelByDevice("fla", chosen, names[name]))
    monkeypatch.setattr(linear_kernels, "is_on_gpu", lambda value: isinstance(value, Tensor))
    found = measure_packing(raw, "config.json")
    proof = PackingProof(
        class_name="",
        version="",
        alone=found.alone,
        packed=found.packed,
        gradients=found.gradients,
        refused=found.refused,
        kernels=(("causal_conv1d", "torch"), ("fla", "0.6.0")),
    )
    assert not proof.refused
    assert proof.packs is keeps_apart
    assert proof.package_kernels == "fla 0.6.0"
    assert proof.as_json()["kernels"] == {"causal_conv1d": "torch", "fla": "0.6.0"}
