"""The settings of a QLoRA run beyond a LoRA run: only values and their contradictions."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from enum import StrEnum
from pathlib import Path

from vox_populi.contract.choices import Backend, Kernel
from vox_populi.contract.setting import (
    Recorded,
    in_order,
    out_of_range,
    record_of,
    setting,
    settings_of,
)
from vox_populi.number_ranges import COUNT, NF4_BLOCK, PROXY_LAYERS, SHARE, NumberRange
from vox_populi.operator_messages import contract as say
from vox_tensor.errors import Problem
from vox_tensor.nf4_levels import BLOCK_SIZE, Nf4Settings


class QloraGraph(StrEnum):
    """What is trained on a 4-bit base."""

    FULL = "full"
    """The whole causal transformer."""
    PROXY = "proxy"
    """The source system's stack of output projections and LM head over embedding rows."""


class BaseQuant(StrEnum):
    """How the frozen base is stored."""

    NONE = "none"
    NF4 = "nf4"


class DenseCopiesChoice(StrEnum):
    """How long dense copies of 4-bit weights are kept; the numbers are the same."""

    AUTO = "auto"
    """The planner decides by memory."""
    NONE = "none"
    LAYER = "layer"
    STEP = "step"


@dataclass(frozen=True, slots=True, kw_only=True)
class QloraSpec:
    """Settings of a QLoRA run; all at their defaults in a LoRA run."""

    graph: QloraGraph | None = setting(
        None,
        "What QLoRA trains: the transformer, or a bounded proxy.",
        name="qlora_graph",
        default_text="full",
    )
    """`None`: the full graph, or the proxy if another field requires it."""
    double_quant: bool = setting(
        True,
        "Keep the magnitudes of NF4 blocks in f32.",
        name="qlora_no_double_quant",
        negated=True,
    )
    """Hold the magnitudes of blocks in 8 bits."""
    block_size: int = setting(
        BLOCK_SIZE, "Values per block, 32 to 4096.", name="nf4_block_size", allowed=NF4_BLOCK
    )
    dense_copies: DenseCopiesChoice = setting(
        DenseCopiesChoice.AUTO,
        "How long to keep dense copies of NF4 weights.",
        name="nf4_cache",
        recorded=Recorded.NEVER,
    )
    cache_dir: Path | None = setting(
        None,
        "Folder that keeps quantised bases for later runs.",
        name="nf4_cache_dir",
        recorded=Recorded.NEVER,
    )
    ce_last_k: int | None = setting(
        None,
        "Learn only the last N supervised tokens of a row.",
        name="qlora_ce_last_k",
        allowed=COUNT,
        default_text="all, with proxy 1",
    )
    """`None`: all of them in the full graph, one in the proxy."""
    max_skip_rate: float | None = setting(
        None,
        "Largest share of rows that may be skipped, 0 to 1.",
        name="qlora_max_skip_rate",
        allowed=SHARE,
    )
    proxy_max_layers: int | None = setting(
        None,
        "Largest number of middle layers in the proxy; 0 is only the LM head.",
        name="qlora_proxy_max_layers",
        allowed=PROXY_LAYERS,
    )
    lm_head_only: bool = setting(
        False, "Train only the LM head (proxy without middle layers).", name="qlora_lm_head_only"
    )
    require_full_proxy_stack: bool = setting(
        False,
        "Refuse a base that lacks an output projection.",
        name="qlora_require_full_proxy_stack",
    )
    allow_partial_proxy_stack: bool = setting(
        False,
        "Fall back to the LM head, even with --device cuda.",
        name="qlora_allow_partial_proxy_stack",
    )

    @property
    def resolved_graph(self) -> QloraGraph:
        """The graph that follows from these settings."""
        if self.graph is not None:
            return self.graph
        asks_for_proxy = (
            self.lm_head_only or self.proxy_max_layers is not None or self.require_full_proxy_stack
        )
        return QloraGraph.PROXY if asks_for_proxy else QloraGraph.FULL

    @property
    def nf4(self) -> Nf4Settings:
        """How a base is quantised that is not stored in NF4."""
        return Nf4Settings(block_size=self.block_size, double_quant=self.double_quant)

    @property
    def resolved_ce_last_k(self) -> int | None:
        """The width of the loss; `None` is the whole assistant turn."""
        if self.ce_last_k is None and self.resolved_graph is QloraGraph.PROXY:
            return 1
        return self.ce_last_k

    @property
    def wants_head_only(self) -> bool:
        """Whether only the LM head is trained, without any middle layers."""
        return self.lm_head_only or self.proxy_max_layers == 0

    def canonical(self) -> dict[str, object]:
        """The values that decide what is learned or refused, as JSON."""
        decided = {"graph": self.resolved_graph.value, "ce_last_k": self.resolved_ce_last_k}
        return in_order({**record_of(self), **decided}, last=_LAST_IN_RECORD)


_LAST_IN_RECORD = (
    "max_skip_rate",
    "require_full_proxy_stack",
    "allow_partial_proxy_stack",
)
_PROXY_FIELDS = (
    "proxy_max_layers",
    "lm_head_only",
    "require_full_proxy_stack",
    "allow_partial_proxy_stack",
)


def implied_kernel(backend: Backend, base_quant: BaseQuant | None) -> Kernel:
    """The kernel that follows from a request: QLoRA's for NF4 or QLoRA, otherwise LoRA's."""
    is_quantized = backend is Backend.QLORA or base_quant is BaseQuant.NF4
    return Kernel.CANDLE_QLORA if is_quantized else Kernel.BURN_LORA


def kernel_problems(
    backend: Backend, base_quant: BaseQuant | None, forced: Kernel | None
) -> Iterator[Problem]:
    """Contradictions between backend, quantisation and kernel."""
    if base_quant is BaseQuant.NF4 and backend is Backend.LORA:
        yield say.NF4_NEEDS_QLORA
    if base_quant is BaseQuant.NONE and backend is Backend.QLORA:
        yield say.QLORA_NEEDS_NF4
    implied = implied_kernel(backend, base_quant)
    if forced is not None and forced is not implied:
        default = BaseQuant.NF4 if backend is Backend.QLORA else BaseQuant.NONE
        yield say.kernel_not_implied(forced, implied, backend, base_quant or default)


def qlora_problems(spec: QloraSpec, backend: Backend, seq_len: int) -> Iterator[Problem]:
    """Contradictions and values out of range among the settings of a QLoRA run."""
    settings = settings_of(QloraSpec)
    flags = {each.field: each.flag for each in settings}
    given = [each.field for each in settings if each.of(spec) != each.default]
    if backend is Backend.LORA and given:
        yield say.qlora_flags_without_qlora([flags[name] for name in given])
    about_proxy = [flags[name] for name in _PROXY_FIELDS if name in given]
    if spec.graph is QloraGraph.FULL and about_proxy:
        yield say.proxy_flags_with_full_graph(about_proxy)
    for one, other in _exclusive(spec):
        yield say.flags_exclude_each_other(flags[one], flags[other])
    yield from out_of_range(spec, settings, {"ce_last_k": _width_within(seq_len)})


def _exclusive(spec: QloraSpec) -> Iterator[tuple[str, str]]:
    required, layers = spec.require_full_proxy_stack, spec.proxy_max_layers
    if required and spec.allow_partial_proxy_stack:
        yield "allow_partial_proxy_stack", "require_full_proxy_stack"
    if required and spec.lm_head_only:
        yield "require_full_proxy_stack", "lm_head_only"
    if required and layers == 0:
        yield "require_full_proxy_stack", "proxy_max_layers"
    if spec.lm_head_only and (layers or 0) > 0:
        yield "lm_head_only", "proxy_max_layers"


def _width_within(seq_len: int) -> NumberRange:
    """A row has no more supervised tokens than tokens."""
    return replace(COUNT, highest=seq_len, words=f"1 to {seq_len} (--seq-len)")
