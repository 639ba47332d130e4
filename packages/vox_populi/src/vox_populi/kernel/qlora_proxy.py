"""QLoRA on the proxy graph (wire name `candle_qlora`, not the full graph).

Graphs `proxy_stack_v1_residual` and `lm_head_only`. Middle layers and head are stored in
NF4; the embedding table that tokens are looked up in is dense.
"""

from __future__ import annotations

from vox_populi.hf.inventory import ModelInventory
from vox_populi.hf.keymap import tensor_keys
from vox_populi.kernel.adapted_objective import TORCH_DTYPES, AdaptedObjective, adapter_streams
from vox_populi.kernel.nf4_backend import choose_dequantizer
from vox_populi.model.hf_load import read_weight
from vox_populi.model.nf4_load import Nf4Settings, quantize_stored
from vox_populi.model.proxy_stack import HEAD, ProxyStack
from vox_populi.plan.execution_planner import ExecutionPlan
from vox_tensor.lora import FrozenLinear
from vox_tensor.nf4_weight import DenseCopies, DensePool, Nf4Weight

_EMBEDDING = "embed.weight"


def build_qlora_proxy(
    plan: ExecutionPlan, inventory: ModelInventory
) -> AdaptedObjective[ProxyStack]:
    """Read only the plan's layers and attach fresh adapters."""
    quant = plan.quant
    assert quant is not None, "a QLoRA plan says how to quantise"
    settings = Nf4Settings(block_size=quant.block_size, double_quant=quant.double_quant)
    dtype = TORCH_DTYPES[plan.compute_dtype]
    chosen = choose_dequantizer(plan.device, dtype, quant.block_size)
    pool = DensePool(DenseCopies(quant.dense_copies), chosen.dequantize)
    keys = {key.ours: key for key in tensor_keys(inventory.config)}

    def quantized(ours: str) -> FrozenLinear:
        stored = quantize_stored(inventory, keys[ours], settings)
        return FrozenLinear(Nf4Weight(stored.to(plan.device), pool))

    embed_VD = read_weight(inventory, keys[_EMBEDDING])
    embed_VD = embed_VD.to(dtype).to(plan.device)
    middle = {
        module.ours: quantized(f"{module.ours}.weight")
        for module in plan.adapters
        if module.ours != HEAD
    }
    stack = ProxyStack(embed_VD, middle, quantized(_EMBEDDING))
    adapted = stack.attach_adapters(plan.lora, *adapter_streams(plan))
    return AdaptedObjective(stack, adapted, pool)
