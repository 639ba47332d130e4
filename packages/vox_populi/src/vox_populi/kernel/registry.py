"""Choice of the kernel that runs a plan."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from vox_populi.contract.choices import GraphId
from vox_populi.hf.inventory import ModelInventory
from vox_populi.kernel.lora_full import build_lora_full
from vox_populi.kernel.qlora_full import build_qlora_full
from vox_populi.kernel.qlora_proxy import build_qlora_proxy
from vox_populi.plan.execution_planner import (
    ExecutionPlan,
    Kernel,
)
from vox_populi.train.objective import Objective

Builder = Callable[[ExecutionPlan, ModelInventory], Objective]

BUILDERS: Mapping[tuple[Kernel, bool], Builder] = {
    (Kernel.BURN_LORA, True): build_lora_full,
    (Kernel.CANDLE_QLORA, True): build_qlora_full,
    (Kernel.CANDLE_QLORA, False): build_qlora_proxy,
}
"""Builders by kernel and whether the graph is the full one."""


def build_objective(plan: ExecutionPlan, inventory: ModelInventory) -> Objective:
    """Read the base and attach fresh adapters: the plan's kernel, ready for its first step."""
    return BUILDERS[plan.kernel, plan.graph == GraphId.FULL](plan, inventory)
