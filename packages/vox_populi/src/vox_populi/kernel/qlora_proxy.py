"""QLoRA on the proxy graph (wire name `candle_qlora`, not the full graph).

Graphs `proxy_stack_v1_residual` and `lm_head_only`. Middle layers and head are stored in
NF4; the embedding table that tokens are looked up in is dense.
"""

from __future__ import annotations

from vox_populi.hf.inventory import ModelInventory
from vox_populi.hf.keymap import EMBED_WEIGHT, HEAD, tensor_keys
from vox_populi.kernel.adapted_objective import TORCH_DTYPES, AdaptedObjective, adapter_streams
from vox_populi.kernel.nf4_backend import choose_dequantizer
from vox_populi.model.hf_load import read_weight
from vox_populi.model.nf4_load import quantize_stored
from vox_populi.model.proxy_stack import ProxyStack
from vox_populi.plan.execution_planner import ExecutionPlan
from vox_tensor.lora import FrozenLinear
from vox_tensor.nf4_weight import DenseCopies, DensePool, Nf4Weight


def build_qlora_proxy(
    plan: ExecutionPlan, inventory: ModelInventory
) -> AdaptedObjective[ProxyStack]:
    """Read only the plan's layers and attach fresh adapters."""
    quant = plan.quant
    assert quant is not None, "a QLoRA plan says how to quantise"
    dtype = TORCH_DTYPES[plan.compute_dtype]
    chosen = choose_dequantizer(plan.device, dtype, quant.settings.block_size)
    pool = DensePool(DenseCopies(quant.dense_copies), chosen.dequantize)
    keys = {key.ours: key for key in tensor_keys(inventory.config)}

    def quantized(ours: str) -> FrozenLinear:
        stored = quantize_stored(inventory, keys[ours], quant.settings)
        return FrozenLinear(Nf4Weight(stored.to(plan.device), pool))

    embed_VD = read_weight(inventory, keys[EMBED_WEIGHT])
    embed_VD = embed_VD.to(dtype).to(plan.device)
    middle = {
        module.ours: quantized(f"{module.ours}.weight")
        for module in plan.adapters
        if module.ours != HEAD
    }
    stack = ProxyStack(embed_VD, middle, quantized(EMBED_WEIGHT))
    adapted = stack.attach_adapters(plan.lora, *adapter_streams(plan))
    return AdaptedObjective(stack, adapted, pool)
