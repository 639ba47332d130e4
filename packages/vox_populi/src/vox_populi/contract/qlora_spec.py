"""What a QLoRA run asks for beyond a LoRA run. Values and their contradictions, nothing else."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, fields
from enum import StrEnum
from pathlib import Path

from vox_populi.contract.choices import Backend, Kernel
from vox_populi.number_ranges import COUNT, PROXY_LAYERS, SHARE
from vox_populi.operator_messages import contract as say_contract
from vox_populi.operator_messages import qlora as say_qlora
from vox_tensor.errors import Problem
from vox_tensor.nf4_levels import BLOCK_SIZE, BLOCK_SIZES


class QloraGraph(StrEnum):
    """What is trained on a 4-bit base."""

    FULL = "full"
    """The whole causal transformer."""
    PROXY = "proxy"
    """The source system's stack of output projections and LM head over embedding rows."""


class BaseQuant(StrEnum):
    """How the frozen base is held."""

    NONE = "none"
    NF4 = "nf4"


class DenseCopiesChoice(StrEnum):
    """How long dense copies of 4-bit weights live; the numbers are the same."""

    AUTO = "auto"
    """The planner decides by memory."""
    NONE = "none"
    LAYER = "layer"
    STEP = "step"


@dataclass(frozen=True, slots=True, kw_only=True)
class QloraSpec:
    """Settings of a QLoRA run; all at their defaults in a LoRA run."""

    graph: QloraGraph | None = None
    """`None`: the full graph, or the proxy where another field asks for it."""
    double_quant: bool = True
    """Hold the magnitudes of blocks in 8 bits."""
    block_size: int = BLOCK_SIZE
    """Values that share one magnitude."""
    dense_copies: DenseCopiesChoice = DenseCopiesChoice.AUTO
    cache_dir: Path | None = None
    """Folder of quantised bases, to quantise each but once; `None` keeps none."""
    ce_last_k: int | None = None
    """Learn only the last so many supervised tokens of a row; `None`: all of them in the full
    graph, one in the proxy."""
    proxy_max_layers: int | None = None
    """Most middle layers of the proxy; 0 is the LM head alone."""
    lm_head_only: bool = False
    max_skip_rate: float | None = None
    """Largest share of rows that may be skipped; `None` is any."""
    require_full_proxy_stack: bool = False
    """Refuse a base without every output projection."""
    allow_partial_proxy_stack: bool = False
    """Accept such a base on a GPU that was asked for by name, where it is refused otherwise."""

    @property
    def resolved_graph(self) -> QloraGraph:
        """The graph that these settings ask for."""
        if self.graph is not None:
            return self.graph
        asks_for_proxy = (
            self.lm_head_only or self.proxy_max_layers is not None or self.require_full_proxy_stack
        )
        return QloraGraph.PROXY if asks_for_proxy else QloraGraph.FULL

    @property
    def resolved_ce_last_k(self) -> int | None:
        """The width of the loss; `None` is the whole assistant turn."""
        if self.ce_last_k is None and self.resolved_graph is QloraGraph.PROXY:
            return 1
        return self.ce_last_k

    @property
    def wants_head_only(self) -> bool:
        """Whether the LM head is asked for without any middle layer."""
        return self.lm_head_only or self.proxy_max_layers == 0

    def canonical(self) -> dict[str, object]:
        """What of it decides what is learned or refused, as JSON values."""
        rate = self.max_skip_rate
        return {
            "graph": self.resolved_graph.value,
            "double_quant": self.double_quant,
            "block_size": self.block_size,
            "ce_last_k": self.resolved_ce_last_k,
            "proxy_max_layers": self.proxy_max_layers,
            "lm_head_only": self.lm_head_only,
            "max_skip_rate": None if rate is None else float(rate),
            "require_full_proxy_stack": self.require_full_proxy_stack,
            "allow_partial_proxy_stack": self.allow_partial_proxy_stack,
        }


FLAG_OF_FIELD = {
    "graph": "--qlora-graph",
    "double_quant": "--qlora-no-double-quant",
    "block_size": "--nf4-block-size",
    "dense_copies": "--nf4-cache",
    "cache_dir": "--nf4-cache-dir",
    "ce_last_k": "--qlora-ce-last-k",
    "proxy_max_layers": "--qlora-proxy-max-layers",
    "lm_head_only": "--qlora-lm-head-only",
    "max_skip_rate": "--qlora-max-skip-rate",
    "require_full_proxy_stack": "--qlora-require-full-proxy-stack",
    "allow_partial_proxy_stack": "--qlora-allow-partial-proxy-stack",
}
"""The flag that sets each field."""

_PROXY_FIELDS = (
    "proxy_max_layers",
    "lm_head_only",
    "require_full_proxy_stack",
    "allow_partial_proxy_stack",
)


def implied_kernel(backend: Backend, base_quant: BaseQuant | None) -> Kernel:
    """The kernel that a request leads to: NF4 or QLoRA is the one, all else the other."""
    is_quantized = backend is Backend.QLORA or base_quant is BaseQuant.NF4
    return Kernel.CANDLE_QLORA if is_quantized else Kernel.BURN_LORA


def kernel_problems(
    backend: Backend, base_quant: BaseQuant | None, forced: Kernel | None
) -> Iterator[Problem]:
    """Contradictions between backend, quantisation and kernel."""
    if base_quant is BaseQuant.NF4 and backend is Backend.LORA:
        yield say_qlora.nf4_needs_qlora()
    if base_quant is BaseQuant.NONE and backend is Backend.QLORA:
        yield say_qlora.qlora_needs_nf4()
    implied = implied_kernel(backend, base_quant)
    if forced is not None and forced is not implied:
        default = BaseQuant.NF4 if backend is Backend.QLORA else BaseQuant.NONE
        yield say_qlora.kernel_not_implied(forced, implied, backend, base_quant or default)


def qlora_problems(spec: QloraSpec, backend: Backend, seq_len: int) -> Iterator[Problem]:
    """Contradictions and values out of range among the settings of a QLoRA run."""
    given = [name for name in FLAG_OF_FIELD if _is_given(spec, name)]
    if backend is Backend.LORA and given:
        yield say_qlora.qlora_flags_without_qlora([FLAG_OF_FIELD[name] for name in given])
    about_proxy = [FLAG_OF_FIELD[name] for name in _PROXY_FIELDS if name in given]
    if spec.graph is QloraGraph.FULL and about_proxy:
        yield say_qlora.proxy_flags_with_full_graph(about_proxy)
    yield from _exclusive(spec)
    yield from _out_of_range(spec, seq_len)


def _is_given(spec: QloraSpec, name: str) -> bool:
    default = next(field.default for field in fields(QloraSpec) if field.name == name)
    return bool(getattr(spec, name) != default)


def _exclusive(spec: QloraSpec) -> Iterator[Problem]:
    required, layers = spec.require_full_proxy_stack, spec.proxy_max_layers
    for one, other, contradict in (
        (
            "allow_partial_proxy_stack",
            "require_full_proxy_stack",
            required and spec.allow_partial_proxy_stack,
        ),
        ("require_full_proxy_stack", "lm_head_only", required and spec.lm_head_only),
        ("require_full_proxy_stack", "proxy_max_layers", required and layers == 0),
        ("lm_head_only", "proxy_max_layers", spec.lm_head_only and (layers or 0) > 0),
    ):
        if contradict:
            yield say_qlora.flags_exclude_each_other(FLAG_OF_FIELD[one], FLAG_OF_FIELD[other])


def _out_of_range(spec: QloraSpec, seq_len: int) -> Iterator[Problem]:
    width, layers, rate = spec.ce_last_k, spec.proxy_max_layers, spec.max_skip_rate
    sizes = ", ".join(str(size) for size in BLOCK_SIZES)
    for name, allowed, is_good in (
        ("block_size", f"one of {sizes}", spec.block_size in BLOCK_SIZES),
        (
            "ce_last_k",
            f"1 to {seq_len} (--seq-len)",
            width is None or (COUNT.holds(width) and width <= seq_len),
        ),
        ("proxy_max_layers", str(PROXY_LAYERS), layers is None or PROXY_LAYERS.holds(layers)),
        ("max_skip_rate", str(SHARE), rate is None or SHARE.holds(rate)),
    ):
        if not is_good:
            yield say_contract.setting_out_of_range(
                FLAG_OF_FIELD[name], getattr(spec, name), allowed
            )
