"""Building a plan's kernel: the base as planned, with fresh adapters.

| Wire name | Graph | Base |
|---|---|---|
| `burn_lora` | full | f32 on CPU and Metal, bf16 on CUDA by default; no quantisation happens |
| `candle_qlora` | full (`full_graph_v1`) | linear layers of the blocks in NF4, the rest dense |
| `candle_qlora` | proxy (`proxy_stack_v1_residual`, `lm_head_only`) | stack NF4, embedding dense |
"""

from __future__ import annotations

from types import ModuleType

from vox_populi import extras
from vox_populi.containers.torch_dtypes import TORCH_DTYPES
from vox_populi.hf.inventory import ModelInventory
from vox_populi.hf.keymap import EMBED_WEIGHT, HEAD, tensor_keys
from vox_populi.kernel.adapted_objective import AdaptedObjective, adapter_streams
from vox_populi.kernel.nf4_backend import Nf4Backend, choose_nf4_backend
from vox_populi.model.activation_memory import ActivationMemory, Activations
from vox_populi.model.causal_graph import CausalGraph
from vox_populi.model.hf_load import load_base, read_weight
from vox_populi.model.lora_transformer import attach_adapters
from vox_populi.model.nf4_load import load_nf4_base, quantize_stored
from vox_populi.model.proxy_stack import ProxyStack
from vox_populi.model.transformers_graph import TransformersGraph
from vox_populi.plan.execution_planner import ExecutionPlan
from vox_populi.plan.nf4_plan import QuantPlan
from vox_populi.train.objective import Objective
from vox_populi.train.seeds import NoiseKey
from vox_tensor.lora import FrozenLinear
from vox_tensor.nf4_weight import DenseCopies, DensePool, Nf4Weight


def build_objective(plan: ExecutionPlan, inventory: ModelInventory) -> Objective:
    """Read the base and attach fresh adapters: the plan's kernel, ready for its first step."""
    if plan.quant is None:
        dtype = TORCH_DTYPES[plan.compute_dtype]
        load = _divided_load().load_divided_base if plan.ranks.is_divided else load_base
        return _adapted(plan, load(inventory, dtype, plan.device), None)
    build = _qlora_full if plan.proxy is None else _qlora_proxy
    return build(plan, inventory, plan.quant)


def _qlora_full(plan: ExecutionPlan, inventory: ModelInventory, quant: QuantPlan) -> Objective:
    """Quantise what is read, tensor by tensor."""
    backend, dtype = _backend(plan, quant), TORCH_DTYPES[plan.compute_dtype]
    pool = _pool(quant, backend)
    if plan.ranks.is_divided:
        divided = _divided_load()
        packing = divided.Packing(quant.settings, pool, backend.quantize_on)
        model = divided.load_divided_base(inventory, dtype, plan.device, packing)
    else:
        model = load_nf4_base(
            inventory, dtype, plan.device, quant.settings, pool, quantize_on=backend.quantize_on
        )
    return _adapted(plan, model, pool)


def _divided_load() -> ModuleType:
    """What divides a base; it takes torch a second to import, so only where it is used."""
    return extras.load("vox_populi.model.divided_load")


def _qlora_proxy(plan: ExecutionPlan, inventory: ModelInventory, quant: QuantPlan) -> Objective:
    """Read only the plan's layers."""
    backend = _backend(plan, quant)
    pool = _pool(quant, backend)
    keys = {key.ours: key for key in tensor_keys(inventory.config)}

    def quantized(ours: str) -> FrozenLinear:
        stored = quantize_stored(inventory, keys[ours], quant.settings, backend.quantize_on)
        return FrozenLinear(Nf4Weight(stored.to(plan.device), pool))

    embed_VD = read_weight(inventory, keys[EMBED_WEIGHT])
    embed_VD = embed_VD.to(TORCH_DTYPES[plan.compute_dtype]).to(plan.device)
    middle = {
        module.ours: quantized(f"{module.ours}.weight")
        for module in plan.adapters
        if module.ours != HEAD
    }
    stack = ProxyStack(embed_VD, middle, quantized(EMBED_WEIGHT), inventory.config)
    adapted = stack.attach_adapters(plan.lora, *adapter_streams(plan))
    return AdaptedObjective(stack, adapted, pool, NoiseKey(plan.seed))


def _adapted(plan: ExecutionPlan, model: CausalGraph, pool: DensePool | None) -> Objective:
    init, dropout = adapter_streams(plan)
    adapted = attach_adapters(model, plan.adapters, plan.lora, init, dropout)
    if isinstance(model, TransformersGraph):
        model.packs = plan.proof is not None and plan.proof.packs
    memory = ActivationMemory(plan.activation_memory.value)
    model.activations = Activations(memory, (dropout,) if plan.lora.dropout else ())
    noise, is_shared = NoiseKey(plan.seed), plan.prefixes.is_shared
    return AdaptedObjective(model, adapted, pool, noise, share_prefixes=is_shared)


def _backend(plan: ExecutionPlan, quant: QuantPlan) -> Nf4Backend:
    dtype = TORCH_DTYPES[plan.compute_dtype]
    return choose_nf4_backend(plan.device, dtype, quant.settings.block_size)


def _pool(quant: QuantPlan, backend: Nf4Backend) -> DensePool:
    return DensePool(DenseCopies(quant.dense_copies), backend.dequantize)
