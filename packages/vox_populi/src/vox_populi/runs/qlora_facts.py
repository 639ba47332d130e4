"""Manifest and telemetry values of a run on a 4-bit base. No torch here.

Keys are the source system's if it has one. A LoRA run has none of them.
"""

from __future__ import annotations

from collections.abc import Mapping

from vox_populi.adapters.header import AdaptedModule, Quantization
from vox_populi.adapters.v3.names import logical_names
from vox_populi.containers.dtypes import STORED_NAME_OF
from vox_populi.data.data_report import DropReason
from vox_populi.hf.model_config import ModelConfig
from vox_populi.plan.execution_planner import ExecutionPlan
from vox_populi.plan.nf4_plan import QuantPlan

WHOLE_TURN = 0
"""The source system's width for a loss over all supervised tokens."""


def qlora_facts(plan: ExecutionPlan) -> dict[str, object]:
    """Graph, trained layers, width of the loss and quantisation, as they were used."""
    if plan.quant is None:
        return {}
    proxy = plan.proxy
    n_middle = plan.config.n_layers if proxy is None else len(proxy.middle)
    complete = {} if proxy is None else {"candle_qlora_proxy_stack_complete": proxy.is_complete}
    return {
        "candle_compat_mode": plan.candle_compat_mode,
        "candle_qlora_graph_id": plan.graph,
        "trainable_projection_stack": trained_stack(plan),
        "candle_qlora_middle_layers_active": n_middle,
        **complete,
        "candle_qlora_ce_last_k": WHOLE_TURN if plan.ce_last_k is None else plan.ce_last_k,
        "training_objective_note": plan.objective_note,
        "base_quant": "nf4",
        "double_quant": plan.quant.settings.double_quant,
        "nf4_block_size": plan.quant.settings.block_size,
        "base_is_prequantised": plan.quant.is_prequantised,
    }


def trained_stack(plan: ExecutionPlan) -> list[str]:
    """Names of the adapted layers in the adapter's files: `l0.q`, `mid0`, `lm_head`."""
    modules = [AdaptedModule.of(module) for module in plan.adapters]
    return list(logical_names(plan.graph, modules).values())


def skip_counts(dropped: Mapping[DropReason, int]) -> dict[str, int]:
    """Counts of skipped rows under the source system's names; all are skipped before the run."""
    return {
        # Ids beyond the embedding table are refused, and every position has a hidden state.
        "skips_bad_vocab": 0,
        "skips_last_hidden": 0,
        "skips_short_seq": dropped[DropReason.NOTHING_TO_LEARN],
    }


def quantization_of(plan: ExecutionPlan) -> Quantization | None:
    """How the base is quantised, for an adapter's header; `None` if it is not."""
    if plan.quant is None:
        return None
    return Quantization(
        nf4=plan.quant.settings,
        compute_dtype=STORED_NAME_OF[plan.compute_dtype].lower(),
        experts=_has_packed_experts(plan.config, plan.quant),
    )


def _has_packed_experts(config: ModelConfig, quant: QuantPlan) -> bool:
    """Whether experts that a class of transformers holds together are in NF4."""
    packed = frozenset(quant.modules)
    places = () if config.modules is None else config.modules.experts
    return any(module.ours in packed for place in places for module in place.modules())
