"""LoRA on frozen full-precision bases: the full causal graph (wire name `burn_lora`).

f32 bases on CPU and Metal, bf16 on CUDA by default; no quantisation happens here.
"""

from __future__ import annotations

from vox_populi.hf.inventory import ModelInventory
from vox_populi.kernel.adapted_objective import TORCH_DTYPES, AdaptedObjective, adapter_streams
from vox_populi.model.hf_load import load_base
from vox_populi.model.lora_transformer import attach_adapters
from vox_populi.model.transformer import Transformer
from vox_populi.plan.execution_planner import ExecutionPlan


def build_lora_full(
    plan: ExecutionPlan, inventory: ModelInventory
) -> AdaptedObjective[Transformer]:
    """Load the plan's base and attach fresh adapters to the plan's modules."""
    model = load_base(inventory, TORCH_DTYPES[plan.compute_dtype], plan.device)
    adapted = attach_adapters(model, plan.adapters, plan.lora, *adapter_streams(plan))
    return AdaptedObjective(model, adapted)
