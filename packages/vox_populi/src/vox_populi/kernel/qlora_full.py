"""QLoRA on the full causal graph (wire name `candle_qlora`, graph `full_graph_v1`).

The linear layers of the blocks are stored in NF4, everything else in the compute dtype.
"""

from __future__ import annotations

from vox_populi.hf.inventory import ModelInventory
from vox_populi.kernel.adapted_objective import TORCH_DTYPES, AdaptedObjective, adapter_streams
from vox_populi.kernel.nf4_backend import choose_dequantizer
from vox_populi.model.lora_transformer import attach_adapters
from vox_populi.model.nf4_load import load_nf4_base
from vox_populi.model.transformer import Transformer
from vox_populi.plan.execution_planner import ExecutionPlan
from vox_tensor.nf4_weight import DenseCopies, DensePool


def build_qlora_full(
    plan: ExecutionPlan, inventory: ModelInventory
) -> AdaptedObjective[Transformer]:
    """Read the plan's base, quantising on the way, and attach fresh adapters."""
    quant = plan.quant
    assert quant is not None, "a QLoRA plan says how to quantise"
    dtype = TORCH_DTYPES[plan.compute_dtype]
    chosen = choose_dequantizer(plan.device, dtype, quant.settings.block_size)
    pool = DensePool(DenseCopies(quant.dense_copies), chosen.dequantize)
    model = load_nf4_base(inventory, dtype, plan.device, quant.settings, pool)
    adapted = attach_adapters(model, plan.adapters, plan.lora, *adapter_streams(plan))
    return AdaptedObjective(model, adapted, pool)
